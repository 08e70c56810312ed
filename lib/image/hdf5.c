/* HDF5 files: libhdf5 interprets the file's structure, the voxels are taken from its bytes here. libhdf5 1.10 trusts the sizes that a damaged file claims for its chunks and
 * reads beyond their ends. */
#include <hdf5.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "image/scan.h"

static const uint8_t magic[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

enum { MOST_FILTERS = 4, LARGEST_RATIO = 1100 }; /* deflate makes at most 1032 bytes of one */

bool dbi_hdf5_magic(const uint8_t *bytes, size_t size)
{
    return size >= sizeof magic && !memcmp(bytes, magic, sizeof magic);
}

/* One dataset's description. */
typedef struct layout {
    const uint8_t *bytes; /* the file */
    size_t size;
    dbi_voxel_type type;
    size_t width;
    bool swapped;
    int64_t shape[3], chunk[3], grid[3]; /* voxels; voxels of a chunk; chunks along each axis */
    int filters;
    H5Z_filter_t filter[MOST_FILTERS];
} layout;

static bool fits(const layout *l, uint64_t at, uint64_t length)
{
    return at <= l->size && length <= l->size - at;
}

static int get_type(hid_t dataset, layout *l, dbi_error *error)
{
    const struct {
        hid_t little, big;
        dbi_voxel_type type;
    } types[] = {{H5T_STD_U8LE, H5T_STD_U8BE, DBI_VOXEL_U8},      {H5T_STD_I8LE, H5T_STD_I8BE, DBI_VOXEL_I8},
                 {H5T_STD_U16LE, H5T_STD_U16BE, DBI_VOXEL_U16},   {H5T_STD_I16LE, H5T_STD_I16BE, DBI_VOXEL_I16},
                 {H5T_STD_U32LE, H5T_STD_U32BE, DBI_VOXEL_U32},   {H5T_STD_I32LE, H5T_STD_I32BE, DBI_VOXEL_I32},
                 {H5T_STD_U64LE, H5T_STD_U64BE, DBI_VOXEL_U64},   {H5T_STD_I64LE, H5T_STD_I64BE, DBI_VOXEL_I64},
                 {H5T_IEEE_F32LE, H5T_IEEE_F32BE, DBI_VOXEL_F32}, {H5T_IEEE_F64LE, H5T_IEEE_F64BE, DBI_VOXEL_F64}};
    hid_t type = H5Dget_type(dataset);
    if (type < 0)
        return dbi_fail(error, "the type of the voxels cannot be read");
    l->type = DBI_VOXEL_NONE;
    for (size_t i = 0; i < sizeof types / sizeof *types && l->type == DBI_VOXEL_NONE; i++)
        if (H5Tequal(type, types[i].little) > 0 || H5Tequal(type, types[i].big) > 0) {
            l->type = types[i].type;
            l->width = H5Tget_size(types[i].little);
            l->swapped = l->width > 1 && H5Tget_order(type) != H5Tget_order(H5T_NATIVE_INT);
        }
    H5Tclose(type);
    return l->type == DBI_VOXEL_NONE ? dbi_fail(error, "the voxels are not numbers of 8 to 64 bits") : 0;
}

/* Three sizes, and no more voxels than the stored bytes can have been compressed from. */
static int get_shape(hid_t dataset, layout *l, dbi_error *error)
{
    hsize_t sizes[H5S_MAX_RANK] = {0};
    hid_t space = H5Dget_space(dataset);
    int rank = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    if (rank == 3)
        H5Sget_simple_extent_dims(space, sizes, NULL);
    if (space >= 0)
        H5Sclose(space);
    if (rank != 3)
        return dbi_fail(error, "%dD data: a scan is one 3D volume", rank < 0 ? 0 : rank);
    int64_t count;
    for (int i = 0; i < 3; i++)
        l->shape[i] = sizes[i] > INT64_MAX ? -1 : (int64_t)sizes[i];
    if (!dbi_count((int64_t[]){l->shape[0], l->shape[1], l->shape[2], (int64_t)l->width}, 4, &count) || count == 0)
        return dbi_fail(error, "impossible shape %" PRIuMAX " x %" PRIuMAX " x %" PRIuMAX, (uintmax_t)sizes[0], (uintmax_t)sizes[1],
                        (uintmax_t)sizes[2]);
    hsize_t stored = H5Dget_storage_size(dataset);
    if (stored > l->size || (uint64_t)count / LARGEST_RATIO > stored)
        return dbi_fail(error, "%" PRId64 " x %" PRId64 " x %" PRId64 " voxels, but %s", l->shape[0], l->shape[1], l->shape[2],
                        stored > l->size ? "more data than the file has" : "hardly any data");
    return 0;
}

static int get_filters(hid_t list, layout *l, dbi_error *error)
{
    l->filters = H5Pget_nfilters(list);
    if (l->filters < 0 || l->filters > MOST_FILTERS)
        return dbi_fail(error, "the voxels went through %d filters", l->filters);
    for (int i = 0; i < l->filters; i++) {
        unsigned flags, values[16];
        size_t count = 16;
        l->filter[i] = H5Pget_filter2(list, (unsigned)i, &flags, &count, values, 0, NULL, NULL);
        if (l->filter[i] != H5Z_FILTER_DEFLATE && l->filter[i] != H5Z_FILTER_SHUFFLE)
            return dbi_fail(error, "the voxels went through filter %d; gzip and shuffle are supported", (int)l->filter[i]);
    }
    return 0;
}

/* One stored chunk; length 0: never written, all voxels zero. */
typedef struct chunk {
    size_t at, length;
} chunk;

static int get_chunks(hid_t dataset, const layout *l, chunk *chunks, dbi_error *error)
{
    size_t i = 0;
    for (int64_t x = 0; x < l->grid[0]; x++)
        for (int64_t y = 0; y < l->grid[1]; y++)
            for (int64_t z = 0; z < l->grid[2]; z++, i++) {
                const hsize_t offset[] = {(hsize_t)(x * l->chunk[0]), (hsize_t)(y * l->chunk[1]), (hsize_t)(z * l->chunk[2])};
                unsigned skipped = 0;
                haddr_t at = HADDR_UNDEF;
                hsize_t length = 0;
                if (H5Dget_chunk_info_by_coord(dataset, offset, &skipped, &at, &length) < 0)
                    return dbi_fail(error, "the list of chunks is damaged");
                if (at == HADDR_UNDEF || length == 0)
                    continue;
                if (!fits(l, at, length) || (skipped && l->filters))
                    return dbi_fail(error, "the list of chunks is damaged");
                chunks[i] = (chunk){at, length};
            }
    return 0;
}

/* Undoes the filters, last first, between the two buffers; the chunk's bytes, or NULL when they are not as many as the chunk's voxels take. */
static const uint8_t *decode(const layout *l, const chunk *c, size_t wanted, uint8_t *one, uint8_t *two)
{
    const uint8_t *from = l->bytes + c->at;
    size_t length = c->length;
    for (int f = l->filters - 1; f >= 0; f--) {
        uint8_t *to = from == one ? two : one;
        if (l->filter[f] == H5Z_FILTER_DEFLATE) {
            uLongf made = wanted;
            if (uncompress(to, &made, from, length) != Z_OK)
                return NULL;
            length = made;
        } else {
            if (length != wanted)
                return NULL;
            size_t count = length / l->width;
            for (size_t b = 0; b < l->width; b++)
                for (size_t v = 0; v < count; v++)
                    to[v * l->width + b] = from[b * count + v];
        }
        from = to;
    }
    return length == wanted ? from : NULL;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void place_chunk(const layout *l, size_t index, const uint8_t *voxels, uint8_t *out)
{
    int64_t i = (int64_t)index, begin[3], end[3];
    begin[2] = i % l->grid[2] * l->chunk[2];
    begin[1] = i / l->grid[2] % l->grid[1] * l->chunk[1];
    begin[0] = i / l->grid[2] / l->grid[1] * l->chunk[0];
    for (int a = 0; a < 3; a++)
        end[a] = least(begin[a] + l->chunk[a], l->shape[a]);
    for (int64_t x = begin[0]; x < end[0]; x++)
        for (int64_t y = begin[1]; y < end[1]; y++) {
            size_t from = (size_t)(((x - begin[0]) * l->chunk[1] + y - begin[1]) * l->chunk[2]),
                   to = (size_t)((x * l->shape[1] + y) * l->shape[2] + begin[2]);
            memcpy(out + to * l->width, voxels + from * l->width, (size_t)(end[2] - begin[2]) * l->width);
        }
}

static int decode_all(const layout *l, const chunk *chunks, size_t count, size_t wanted, uint8_t *out, dbi_error *error)
{
    int bad = 0, memory = 0;
#pragma omp parallel reduction(| : bad, memory)
    {
        uint8_t *one = malloc(wanted), *two = malloc(wanted);
        memory |= !one || !two;
#pragma omp for schedule(static)
        for (size_t i = 0; i < count; i++) {
            if (memory || chunks[i].length == 0)
                continue;
            const uint8_t *voxels = decode(l, &chunks[i], wanted, one, two);
            if (voxels)
                place_chunk(l, i, voxels, out);
            else
                bad = 1;
        }
        free(one);
        free(two);
    }
    return memory ? dbi_fail(error, "out of memory: chunks of %zu bytes", wanted) : bad ? dbi_fail(error, "a chunk of voxels is damaged") : 0;
}

static int read_chunked(hid_t dataset, hid_t list, layout *l, uint8_t *out, dbi_error *error)
{
    hsize_t sizes[3];
    int64_t bytes, count;
    if (get_filters(list, l, error))
        return -1;
    if (H5Pget_chunk(list, 3, sizes) != 3)
        return dbi_fail(error, "impossible chunks");
    for (int a = 0; a < 3; a++) {
        l->chunk[a] = sizes[a] > UINT32_MAX ? -1 : (int64_t)sizes[a];
        l->grid[a] = l->chunk[a] > 0 ? (l->shape[a] - 1) / l->chunk[a] + 1 : -1;
    }
    hsize_t stored = H5Dget_storage_size(dataset);
    if (!dbi_count((int64_t[]){l->chunk[0], l->chunk[1], l->chunk[2], (int64_t)l->width}, 4, &bytes) || !dbi_count(l->grid, 3, &count) || bytes < 1 ||
        (uint64_t)bytes / LARGEST_RATIO > stored)
        return dbi_fail(error, "impossible chunks");
    chunk *chunks = dbi_alloc((size_t)count, sizeof *chunks, error);
    int result = !chunks || get_chunks(dataset, l, chunks, error) || decode_all(l, chunks, (size_t)count, (size_t)bytes, out, error) ? -1 : 0;
    free(chunks);
    return result;
}

static int read_whole(hid_t dataset, const layout *l, size_t bytes, uint8_t *out, dbi_error *error)
{
    haddr_t at = H5Dget_offset(dataset);
    if (H5Dget_storage_size(dataset) < bytes || at == HADDR_UNDEF || !fits(l, at, bytes))
        return dbi_fail(error, "the voxels are not all in the file");
    memcpy(out, l->bytes + at, bytes);
    return 0;
}

static void swap(uint8_t *data, size_t count, size_t width)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        for (size_t b = 0; b < width / 2; b++) {
            uint8_t byte = data[i * width + b];
            data[i * width + b] = data[i * width + width - 1 - b];
            data[i * width + width - 1 - b] = byte;
        }
}

static int read_voxels(hid_t dataset, layout *l, dbi_voxels *voxels, dbi_error *error)
{
    if (get_type(dataset, l, error) || get_shape(dataset, l, error))
        return -1;
    size_t count = (size_t)(l->shape[0] * l->shape[1] * l->shape[2]);
    hid_t list = H5Dget_create_plist(dataset);
    uint8_t *data = list >= 0 ? dbi_alloc(count, l->width, error) : NULL;
    int result = -1;
    if (list < 0)
        dbi_fail(error, "the layout cannot be read");
    else if (data && H5Pget_layout(list) == H5D_CHUNKED)
        result = read_chunked(dataset, list, l, data, error);
    else if (data && H5Pget_layout(list) == H5D_CONTIGUOUS)
        result = read_whole(dataset, l, count * l->width, data, error);
    else if (data)
        dbi_fail(error, "the voxels are neither in chunks nor contiguous");
    if (list >= 0)
        H5Pclose(list);
    if (result) {
        free(data);
        return -1;
    }
    if (l->swapped)
        swap(data, count, l->width);
    *voxels = (dbi_voxels){.type = l->type, .owned = data, .at = data, .stride = {l->shape[1] * l->shape[2], l->shape[2], 1}, .slope = 1};
    return 0;
}

/* 1: it is not there, and may be missing. A link to elsewhere is not followed: a scan is one file. */
static int read_dataset(hid_t file, const char *name, bool optional, layout *l, dbi_voxels *voxels, dbi_error *error)
{
    H5L_info_t link;
    htri_t there = H5Lexists(file, name, H5P_DEFAULT);
    if (there == 0 && optional)
        return 1;
    if (there <= 0)
        return dbi_fail(error, "no dataset \"%s\"", name);
    hid_t dataset = H5Lget_info(file, name, &link, H5P_DEFAULT) >= 0 && link.type == H5L_TYPE_HARD ? H5Dopen2(file, name, H5P_DEFAULT) : -1;
    if (dataset < 0)
        return dbi_fail(error, "dataset \"%s\" cannot be opened", name);
    int result = read_voxels(dataset, l, voxels, error);
    H5Dclose(dataset);
    return result ? dbi_fail_in(error, "dataset \"%s\"", name) : 0;
}

static void place(const int64_t shape[3], const double *spacing, dbi_source *source)
{
    memcpy(source->grid.shape, shape, sizeof source->grid.shape);
    for (int i = 0; i < 3; i++)
        source->grid.affine[i][i] = source->pixdim[i] = spacing ? spacing[i] : 1;
    source->grid.affine[3][3] = 1;
    source->qfac = 1;
    source->units = 2;
    strcpy(source->format, "hdf5");
}

static int load(hid_t file, layout *l, unsigned want, const double *spacing, dbi_scan *scan, dbi_error *error)
{
    int64_t shape[3] = {0};
    if (want & DBI_SCAN_IMAGE) {
        if (read_dataset(file, "image", false, l, &scan->image, error))
            return -1;
        memcpy(shape, l->shape, sizeof shape);
    }
    if (want & DBI_SCAN_LABEL) {
        int found = read_dataset(file, "label", want & DBI_SCAN_IMAGE, l, &scan->label, error);
        if (found < 0)
            return -1;
        if (!(want & DBI_SCAN_IMAGE))
            memcpy(shape, l->shape, sizeof shape);
        else if (found == 0 && memcmp(shape, l->shape, sizeof shape))
            return dbi_fail(error, "datasets \"image\" and \"label\" have different shapes");
    }
    place(shape, spacing, &scan->source);
    return dbi_grid_check(&scan->source.grid, error);
}

/* A file of HDF5's "core" driver, which holds a copy of it in memory. */
static hid_t open_image(uint8_t *bytes, size_t size)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    hid_t file = -1;
    if (access >= 0 && H5Pset_fapl_core(access, 1 << 20, 0) >= 0 && H5Pset_file_image(access, bytes, size) >= 0)
        file = H5Fopen("memory", H5F_ACC_RDONLY, access);
    if (access >= 0)
        H5Pclose(access);
    return file;
}

int dbi_hdf5_scan(uint8_t *bytes, size_t size, unsigned want, const double *source_spacing, dbi_scan *scan, dbi_error *error)
{
    layout l = {.bytes = bytes, .size = size};
    int result = -1;
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    dbi_scan_checksum(scan->checksum, bytes, size);
    hid_t file = open_image(bytes, size);
    if (file < 0) {
        dbi_fail(error, "the HDF5 file is damaged or cut off");
    } else {
        result = load(file, &l, want, source_spacing, scan, error);
        H5Fclose(file);
    }
    free(bytes);
    return result;
}
