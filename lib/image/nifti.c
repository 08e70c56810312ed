#include "image/nifti.h"

#include <inttypes.h>
#include <math.h>
#include <nifti2_io.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/names.h"
#include "record/bytes.h"

bool dbi_nifti_probe(const uint8_t *bytes, size_t size)
{
    int32_t header;
    if (size < sizeof header)
        return false;
    memcpy(&header, bytes, sizeof header);
    int32_t turned = (int32_t)__builtin_bswap32((uint32_t)header);
    return header == 348 || header == 540 || turned == 348 || turned == 540;
}

/* What the headers of both versions say, in native byte order. nifticlib silently changes wrong values, so they are
 * taken before it sees them. */
typedef struct header_facts {
    double vox_offset, pixdim[3];
    int64_t dim[8];
    int datatype;
    bool pair;
    union {
        nifti_1_header n1;
        nifti_2_header n2;
    } header;
} header_facts;

static int read_header1(const uint8_t *bytes, size_t size, header_facts *facts, dbi_error *error)
{
    nifti_1_header *h = &facts->header.n1;
    if (size < sizeof *h)
        return dbi_fail(error, "the NIfTI header is cut off after %zu bytes", size);
    memcpy(h, bytes, sizeof *h);
    if (memcmp(h->magic, "n+1", 4) && memcmp(h->magic, "ni1", 4))
        return dbi_fail(error, "not NIfTI: the header has no magic (an Analyze file?)");
    facts->pair = h->magic[1] == 'i';
    if (h->sizeof_hdr != 348)
        swap_nifti_header(h, 1);
    facts->vox_offset = (double)h->vox_offset;
    for (int i = 0; i < 3; i++)
        facts->pixdim[i] = (double)h->pixdim[i + 1];
    for (int i = 0; i < 8; i++)
        facts->dim[i] = h->dim[i];
    facts->datatype = h->datatype;
    h->vox_offset = 352; /* nifticlib casts it to an integer, and a hostile value does not fit */
    return 0;
}

static int read_header2(const uint8_t *bytes, size_t size, header_facts *facts, dbi_error *error)
{
    nifti_2_header *h = &facts->header.n2;
    if (size < sizeof *h)
        return dbi_fail(error, "the NIfTI header is cut off after %zu bytes", size);
    memcpy(h, bytes, sizeof *h);
    if ((memcmp(h->magic, "n+2", 4) && memcmp(h->magic, "ni2", 4)) || memcmp(h->magic + 4, "\r\n\032\n", 4))
        return dbi_fail(error, "the NIfTI-2 header has a wrong magic");
    facts->pair = h->magic[1] == 'i';
    if (h->sizeof_hdr != 540)
        swap_nifti_header(h, 2);
    facts->vox_offset = (double)h->vox_offset;
    for (int i = 0; i < 3; i++)
        facts->pixdim[i] = h->pixdim[i + 1];
    for (int i = 0; i < 8; i++)
        facts->dim[i] = h->dim[i];
    facts->datatype = h->datatype;
    h->vox_offset = 544;
    return 0;
}

static int check_dims(const header_facts *facts, dbi_error *error)
{
    const int64_t *dim = facts->dim;
    if (dim[0] < 1 || dim[0] > 7)
        return dbi_fail(error, "the NIfTI header claims %" PRId64 " dimensions", dim[0]);
    for (int i = 1; i <= dim[0]; i++)
        if (dim[i] < 1)
            return dbi_fail(error, "the NIfTI header has size %" PRId64 " in dimension %d", dim[i], i);
    for (int i = 4; i <= dim[0]; i++)
        if (dim[i] > 1)
            return dbi_fail(error,
                            "%" PRId64 "D data, with %" PRId64 " volumes along dimension %d: a scan is one 3D volume",
                            dim[0], dim[i], i);
    if (dim[0] < 3)
        return dbi_fail(error, "%" PRId64 "D data: a scan is one 3D volume", dim[0]);
    return 0;
}

/* Checked even when the affine does not come from pixdim: a file with such a header is broken, and other programs take
 * the spacing from it. */
static int check_pixdim(const header_facts *facts, dbi_error *error)
{
    for (int i = 0; i < 3; i++)
        if (!isfinite(facts->pixdim[i]) || facts->pixdim[i] == 0)
            return dbi_fail(error, "the spacing along axis %d is %g", i, facts->pixdim[i]);
    return 0;
}

static int voxel_type(int datatype, dbi_voxel_type *type, dbi_error *error)
{
    static const struct {
        int code;
        dbi_voxel_type type;
    } types[] = {
        {DT_UINT8, DBI_VOXEL_U8},    {DT_INT8, DBI_VOXEL_I8},     {DT_UINT16, DBI_VOXEL_U16}, {DT_INT16, DBI_VOXEL_I16},
        {DT_UINT32, DBI_VOXEL_U32},  {DT_INT32, DBI_VOXEL_I32},   {DT_UINT64, DBI_VOXEL_U64}, {DT_INT64, DBI_VOXEL_I64},
        {DT_FLOAT32, DBI_VOXEL_F32}, {DT_FLOAT64, DBI_VOXEL_F64},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].code == datatype) {
            *type = types[i].type;
            return 0;
        }
    return dbi_fail(error, "voxels of NIfTI type %d (%s) are not supported", datatype, nifti_datatype_string(datatype));
}

double dbi_nifti_unit(int units)
{
    return units == NIFTI_UNITS_METER ? 1000 : units == NIFTI_UNITS_MICRON ? 0.001 : 1;
}

/* Sets the place in space, in mm: the sform if there is one, else the qform, else the spacing alone. */
static void place(const nifti_image *nim, dbi_source *source)
{
    const nifti_dmat44 *m = nim->sform_code > 0 ? &nim->sto_xyz : &nim->qto_xyz;
    double unit = dbi_nifti_unit(nim->xyz_units);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            source->grid.affine[i][j] = m->m[i][j] * unit;
    source->grid.affine[3][3] = 1;
    source->sform_code = nim->sform_code > 0 ? nim->sform_code : 0;
    source->qform_code = nim->qform_code > 0 ? nim->qform_code : 0;
    source->units = nim->xyz_units;
    source->qfac = nim->qfac < 0 ? -1 : 1;
    const double quatern[] = {nim->quatern_b, nim->quatern_c, nim->quatern_d},
                 offset[] = {nim->qoffset_x, nim->qoffset_y, nim->qoffset_z};
    for (int i = 0; i < 3; i++) {
        source->grid.shape[i] = nim->dim[i + 1];
        source->pixdim[i] = nim->pixdim[i + 1];
        source->quatern[i] = isfinite(quatern[i]) ? quatern[i] : 0;
        source->offset[i] = isfinite(offset[i]) ? offset[i] : 0;
    }
}

/* The name of a pair's other file: .hdr for .img or the other way round, with .gz or without. free(). */
static char *other_name(const char *path, const char *from, const char *to, bool gzip)
{
    size_t length = strlen(path) - (dbi_name_ends(path, ".gz") ? 3 : 0);
    if (length < 4 || strncasecmp(path + length - 4, from, 4))
        return NULL;
    char *name;
    return asprintf(&name, "%.*s%s%s", (int)(length - 4), path, to, gzip ? ".gz" : "") < 0 ? NULL : name;
}

/* Reads the other file of a pair, which may be compressed when the first is not, and the other way round. */
static int read_other(const char *path, const char *from, const char *to, uint8_t **bytes, size_t *size,
                      dbi_error *error)
{
    bool gzip = dbi_name_ends(path, ".gz");
    char *name = other_name(path, from, to, gzip), *second = other_name(path, from, to, !gzip);
    int result = -1;
    if (!name || !second)
        dbi_fail(error, "a header of a .hdr and .img pair in a file that is not called %s", from);
    else if (!(result = dbi_bytes_read(name, 0, bytes, size, error)) || !dbi_bytes_read(second, 0, bytes, size, NULL))
        result = 0;
    free(name);
    free(second);
    return result;
}

int dbi_nifti_header(const char *path, char **header, uint8_t **bytes, size_t *size, dbi_error *error)
{
    bool gzip = dbi_name_ends(path, ".gz");
    *header = other_name(path, ".img", ".hdr", gzip);
    return *header ? read_other(path, ".img", ".hdr", bytes, size, error) : 1;
}

/* NIfTI-2 has 32 bits for the codes, but NIfTI-1, which we may write, has 16. */
static int check_codes(const dbi_source *source, dbi_error *error)
{
    if (source->sform_code > DBI_MOST_CODE || source->qform_code > DBI_MOST_CODE)
        return dbi_fail(error, "the NIfTI header has the codes %d (sform) and %d (qform), at most %d is possible",
                        source->sform_code, source->qform_code, DBI_MOST_CODE);
    return 0;
}

/* *begin: the byte where the voxels begin; *count: how many voxels there are. */
static int check_size(const header_facts *facts, int width, size_t size, size_t *begin, size_t *count, dbi_error *error)
{
    const int64_t *n = facts->dim + 1;
    int64_t wanted;
    if (!dbi_count((int64_t[]){n[0], n[1], n[2], width}, 4, &wanted))
        return dbi_fail(error, "the NIfTI header claims more voxels than a file can hold");
    size_t least = facts->pair ? 0 : facts->header.n1.sizeof_hdr == 348 ? 348 : 540;
    double offset = facts->vox_offset;
    if (!(offset >= 0) || offset != floor(offset) || offset > 0x1p53)
        return dbi_fail(error, "the NIfTI header has the voxels begin at byte %g", offset);
    *begin = offset < (double)least ? least : (size_t)offset;
    *count = (size_t)(wanted / width);
    if (*begin > size || (uint64_t)wanted > size - *begin)
        return dbi_fail(error,
                        "%" PRId64 " x %" PRId64 " x %" PRId64 " voxels of %d bytes take %" PRId64
                        " bytes from byte %zu on, but there are %zu bytes",
                        n[0], n[1], n[2], width, wanted, *begin, size);
    return 0;
}

static void fill_voxels(const nifti_image *nim, bool swapped, uint8_t *bytes, size_t begin, size_t count,
                        dbi_voxel_type type, dbi_voxels *voxels)
{
    size_t width = (size_t)nim->nbyper;
    if (begin % width) { /* the voxels may begin at any byte, but reading needs alignment */
        memmove(bytes, bytes + begin, count * width);
        begin = 0;
    }
    if (width > 1 && swapped)
        nifti_swap_Nbytes((int64_t)count, (int)width, bytes + begin);
    *voxels = (dbi_voxels){.type = type,
                           .owned = bytes,
                           .at = bytes + begin,
                           .stride = {1, nim->dim[1], nim->dim[1] * nim->dim[2]},
                           .slope = 1};
    if (nim->scl_slope != 0) {
        voxels->slope = nim->scl_slope;
        voxels->inter = nim->scl_inter;
    }
}

/* Reads the header. What would make nifticlib print a complaint is refused first. */
static nifti_image *read_header(const uint8_t *bytes, size_t size, header_facts *facts, dbi_voxel_type *type,
                                bool *swapped, dbi_error *error)
{
    int32_t first;
    memcpy(&first, bytes, sizeof first);
    int32_t turned = (int32_t)__builtin_bswap32((uint32_t)first);
    *swapped = first != 348 && first != 540;
    bool one = first == 348 || turned == 348;
    if ((one ? read_header1 : read_header2)(bytes, size, facts, error) || check_dims(facts, error) ||
        check_pixdim(facts, error) || voxel_type(facts->datatype, type, error))
        return NULL;
    nifti_set_debug_level(0);
    nifti_image *nim =
        one ? nifti_convert_n1hdr2nim(facts->header.n1, NULL) : nifti_convert_n2hdr2nim(facts->header.n2, NULL);
    if (!nim)
        dbi_fail(error, "out of memory");
    return nim;
}

/* When the voxels own *bytes, it is set to NULL. */
static int load(const char *path, uint8_t **bytes, size_t size, dbi_voxels *voxels, dbi_scan *scan, dbi_error *error)
{
    header_facts facts;
    dbi_voxel_type type = DBI_VOXEL_NONE;
    bool swapped = false;
    memset(&facts, 0, sizeof facts);
    nifti_image *nim = read_header(*bytes, size, &facts, &type, &swapped, error);
    if (!nim)
        return -1;
    place(nim, &scan->source);
    strcpy(scan->source.format, facts.header.n1.sizeof_hdr == 348 ? "nifti1" : "nifti2");
    dbi_scan_checksum(scan->checksum, *bytes, size);
    int result = dbi_grid_check(&scan->source.grid, error) || check_codes(&scan->source, error) ? -1 : 0;
    if (!result && nim->sform_code <= 0 && (facts.pixdim[0] < 0 || facts.pixdim[1] < 0 || facts.pixdim[2] < 0))
        result = dbi_fail(error, "the spacing is negative");
    if (!result && facts.pair) {
        uint8_t *voxel_bytes;
        result = read_other(path, ".hdr", ".img", &voxel_bytes, &size, error);
        if (!result) {
            free(*bytes);
            *bytes = voxel_bytes;
            dbi_scan_checksum(scan->checksum, *bytes, size);
        }
    }
    size_t begin = 0, count = 0;
    if (!result && !(result = check_size(&facts, nim->nbyper, size, &begin, &count, error))) {
        fill_voxels(nim, swapped, *bytes, begin, count, type, voxels);
        *bytes = NULL;
    }
    nifti_image_free(nim);
    return result;
}

int dbi_nifti_read(const char *path, uint8_t *bytes, size_t size, unsigned want, const double *source_spacing,
                   dbi_scan *scan, dbi_error *error)
{
    (void)source_spacing;
    int result = load(path, &bytes, size, want & DBI_SCAN_IMAGE ? &scan->image : &scan->label, scan, error);
    free(bytes);
    return result;
}
