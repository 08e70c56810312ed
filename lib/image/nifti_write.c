#include "image/nifti_write.h"

#include <inttypes.h>
#include <nifti2_io.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/gzip.h"
#include "image/names.h"
#include "image/nifti.h"
#include "record/sink.h"

/* Fills nifticlib's structure, which lives on the stack and owns nothing. */
static void describe(const dbi_volume *volume, const dbi_source *source, bool two, nifti_image *nim)
{
    double unit = dbi_nifti_unit(source->units);
    *nim = (nifti_image){0};
    nim->ndim = volume->channels > 1 ? 4 : 3;
    nim->nx = volume->grid.shape[0];
    nim->ny = volume->grid.shape[1];
    nim->nz = volume->grid.shape[2];
    nim->nt = volume->channels;
    nim->nu = nim->nv = nim->nw = 1;
    nim->dim[0] = nim->ndim;
    const int64_t sizes[] = {nim->nx, nim->ny, nim->nz, nim->nt, 1, 1, 1};
    for (int i = 0; i < 7; i++) {
        nim->dim[i + 1] = sizes[i];
        nim->pixdim[i + 1] = i < 3 ? source->pixdim[i] : 1;
    }
    nim->dx = source->pixdim[0];
    nim->dy = source->pixdim[1];
    nim->dz = source->pixdim[2];
    nim->dt = nim->du = nim->dv = nim->dw = 1;
    nim->nvox = nim->nx * nim->ny * nim->nz * nim->nt;
    nim->datatype = volume->dtype == DBI_U8 ? DT_UINT8 : DT_FLOAT32;
    nim->nbyper = volume->dtype == DBI_U8 ? 1 : 4;
    nim->scl_slope = 1;
    nim->xyz_units = source->units;
    nim->nifti_type = two ? NIFTI_FTYPE_NIFTI2_1 : NIFTI_FTYPE_NIFTI1_1;
    nim->iname_offset = two ? 544 : 352;
    nim->qform_code = source->qform_code;
    nim->sform_code = source->sform_code;
    nim->quatern_b = source->quatern[0];
    nim->quatern_c = source->quatern[1];
    nim->quatern_d = source->quatern[2];
    nim->qoffset_x = source->offset[0];
    nim->qoffset_y = source->offset[1];
    nim->qoffset_z = source->offset[2];
    nim->qfac = source->qfac;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            nim->sto_xyz.m[i][j] = source->grid.affine[i][j] / (i < 3 ? unit : 1);
}

/* Copies [C,X,Y,Z] in C order to the file's order, x fastest. */
static void reorder(const dbi_volume *volume, uint8_t *out)
{
    const int64_t *n = volume->grid.shape, tile = 32;
    int64_t plane = n[0] * n[1];
    for (int64_t c = 0; c < volume->channels; c++)
#pragma omp parallel for collapse(2) schedule(static)
        for (int64_t x0 = 0; x0 < n[0]; x0 += tile)
            for (int64_t y = 0; y < n[1]; y++)
                for (int64_t z0 = 0; z0 < n[2]; z0 += tile)
                    for (int64_t x = x0; x < n[0] && x < x0 + tile; x++)
                        for (int64_t z = z0; z < n[2] && z < z0 + tile; z++) {
                            int64_t from = ((c * n[0] + x) * n[1] + y) * n[2] + z,
                                    to = c * plane * n[2] + z * plane + y * n[0] + x;
                            if (volume->dtype == DBI_U8)
                                out[to] = ((const uint8_t *)volume->data)[from];
                            else
                                ((float *)(void *)out)[to] = ((const float *)volume->data)[from];
                        }
}

/* The file's bytes without compression; free(). */
static uint8_t *encode(const dbi_volume *volume, const dbi_source *source, size_t *size, dbi_error *error)
{
    const int64_t *n = volume->grid.shape;
    bool two = !strcmp(source->format, "nifti2") || n[0] > INT16_MAX || n[1] > INT16_MAX || n[2] > INT16_MAX ||
               volume->channels > INT16_MAX;
    nifti_image nim;
    describe(volume, source, two, &nim);
    size_t voxels = (size_t)nim.nvox * (size_t)nim.nbyper;
    *size = (size_t)nim.iname_offset + voxels;
    uint8_t *bytes = dbi_alloc(*size, 1, error);
    if (!bytes)
        return NULL;
    nifti_1_header h1;
    nifti_2_header h2;
    nifti_set_debug_level(0);
    if (two ? nifti_convert_nim2n2hdr(&nim, &h2) : nifti_convert_nim2n1hdr(&nim, &h1)) {
        free(bytes);
        dbi_fail(error, "the NIfTI header cannot be made");
        return NULL;
    }
    memcpy(bytes, two ? (void *)&h2 : (void *)&h1, two ? sizeof h2 : sizeof h1);
    reorder(volume, bytes + nim.iname_offset);
    return bytes;
}

/* The place for a grid that did not come from a NIfTI header. */
static dbi_source place_of(const dbi_grid *grid)
{
    dbi_source source = {
        .grid = *grid, .format = "nifti1", .sform_code = NIFTI_XFORM_SCANNER_ANAT, .qfac = 1, .units = NIFTI_UNITS_MM};
    dbi_grid_spacing(grid, source.pixdim);
    return source;
}

int dbi_nifti_write(const char *path, const dbi_volume *volume, const dbi_source *source, dbi_error *error)
{
    bool gzip = path && dbi_name_ends(path, ".gz");
    dbi_source place = !source                               ? place_of(&volume->grid)
                       : strncmp(source->format, "nifti", 5) ? place_of(&source->grid)
                                                             : *source;
    if (memcmp(place.grid.shape, volume->grid.shape, sizeof place.grid.shape))
        return dbi_fail(error, "the volume is not in the scan's grid");
    size_t size;
    uint8_t *bytes = encode(volume, &place, &size, error);
    dbi_sink *sink = bytes ? dbi_sink_open(path, error) : NULL;
    int result = -1;
    if (sink && (gzip ? dbi_gzip_write(sink, bytes, size, volume->dtype == DBI_U8 ? 6 : 1, error)
                      : dbi_sink_write(sink, bytes, size, error)))
        dbi_sink_abort(sink);
    else if (sink)
        result = dbi_sink_commit(sink, error);
    free(bytes);
    return result;
}
