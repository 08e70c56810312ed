#include "image/hdf5_facts.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image/fence.h"

enum { MOST_SECONDS = 20 }; /* libhdf5 1.10 takes 2 s to list 8000 chunks and 8 s for 16000 */

typedef struct file_image {
    const uint8_t *bytes;
    size_t size;
    unsigned want;
} file_image;

static const char *const names[2] = {"image", "label"};

static int get_type(hid_t dataset, dbi_hdf5_facts *facts, dbi_error *error)
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
    facts->type = DBI_VOXEL_NONE;
    for (size_t i = 0; i < sizeof types / sizeof *types && facts->type == DBI_VOXEL_NONE; i++)
        if (H5Tequal(type, types[i].little) > 0 || H5Tequal(type, types[i].big) > 0) {
            facts->type = types[i].type;
            facts->swapped = H5Tget_size(type) > 1 && H5Tget_order(type) != H5Tget_order(H5T_NATIVE_INT);
        }
    H5Tclose(type);
    return facts->type == DBI_VOXEL_NONE ? dbi_fail(error, "the voxels are not numbers of 8 to 64 bits") : 0;
}

static void get_shape(hid_t space, dbi_hdf5_facts *facts)
{
    hsize_t sizes[H5S_MAX_RANK] = {0};
    facts->rank = H5Sget_simple_extent_ndims(space);
    if (facts->rank == 3)
        H5Sget_simple_extent_dims(space, sizes, NULL);
    for (int a = 0; a < 3; a++)
        facts->shape[a] = sizes[a];
}

/* Reads the fill value in the type of the dataset, so that nothing is converted. */
static int get_fill(hid_t dataset, hid_t list, dbi_hdf5_facts *facts, dbi_error *error)
{
    H5D_fill_value_t defined;
    if (H5Pfill_value_defined(list, &defined) < 0)
        return dbi_fail(error, "the fill value cannot be read");
    if (defined == H5D_FILL_VALUE_UNDEFINED)
        return 0;
    hid_t type = H5Dget_type(dataset);
    int result = type < 0 || H5Tget_size(type) > sizeof facts->fill || H5Pget_fill_value(list, type, facts->fill) < 0
                     ? dbi_fail(error, "the fill value cannot be read")
                     : 0;
    if (type >= 0)
        H5Tclose(type);
    return result;
}

static int get_filters(hid_t list, dbi_hdf5_facts *facts, dbi_error *error)
{
    facts->filters = H5Pget_nfilters(list);
    for (int i = 0; i < facts->filters && i < DBI_HDF5_MOST_FILTERS; i++) {
        unsigned flags, values[16];
        size_t count = 16;
        facts->filter[i] = H5Pget_filter2(list, (unsigned)i, &flags, &count, values, 0, NULL, NULL);
        if (facts->filter[i] < 0)
            return dbi_fail(error, "the list of filters is damaged");
    }
    return 0;
}

static int get_chunks(hid_t dataset, hid_t space, size_t most, dbi_hdf5_facts *facts, dbi_hdf5_chunk **chunks,
                      dbi_error *error)
{
    static const char damaged[] = "the list of chunks is damaged";
    hsize_t count;
    if (H5Dget_num_chunks(dataset, space, &count) < 0 || count > most)
        return dbi_fail(error, damaged);
    facts->count = count;
    *chunks = calloc(count ? count : 1, sizeof **chunks);
    if (!*chunks)
        return dbi_fail(error, "out of memory");
    for (hsize_t i = 0; i < count; i++) {
        unsigned skipped = 0;
        haddr_t at = HADDR_UNDEF;
        hsize_t length = 0, begin[3] = {0};
        if (H5Dget_chunk_info(dataset, space, i, begin, &skipped, &at, &length) < 0 || (skipped && facts->filters))
            return dbi_fail(error, damaged);
        (*chunks)[i] = (dbi_hdf5_chunk){{begin[0], begin[1], begin[2]}, at, length};
    }
    return 0;
}

static int get_layout(hid_t dataset, hid_t list, hid_t space, size_t most, dbi_hdf5_facts *facts,
                      dbi_hdf5_chunk **chunks, dbi_error *error)
{
    hsize_t sizes[3];
    H5D_layout_t layout = H5Pget_layout(list);
    facts->chunked = layout == H5D_CHUNKED;
    facts->at = UINT64_MAX;
    if (layout == H5D_CONTIGUOUS) {
        haddr_t at = H5Dget_offset(dataset);
        facts->at = at == HADDR_UNDEF ? UINT64_MAX : at;
        return 0;
    }
    if (!facts->chunked)
        return dbi_fail(error, "the voxels are neither in chunks nor contiguous");
    if (get_filters(list, facts, error))
        return -1;
    if (facts->rank != 3)
        return 0;
    if (H5Pget_chunk(list, 3, sizes) != 3)
        return dbi_fail(error, "impossible chunks");
    for (int a = 0; a < 3; a++)
        facts->chunk[a] = sizes[a];
    return get_chunks(dataset, space, most, facts, chunks, error);
}

static int look_at(hid_t dataset, size_t most, dbi_hdf5_facts *facts, dbi_hdf5_chunk **chunks, dbi_error *error)
{
    if (get_type(dataset, facts, error))
        return -1;
    facts->stored = H5Dget_storage_size(dataset);
    hid_t space = H5Dget_space(dataset), list = H5Dget_create_plist(dataset);
    if (space < 0 || list < 0)
        return dbi_fail(error, "the layout cannot be read");
    get_shape(space, facts);
    if (get_fill(dataset, list, facts, error) || get_layout(dataset, list, space, most, facts, chunks, error))
        return -1;
    H5Pclose(list);
    H5Sclose(space);
    return 0;
}

/* A link to another file or name is not followed: a scan is one file. */
static int find(hid_t file, const char *name, bool optional, size_t most, dbi_hdf5_facts *facts,
                dbi_hdf5_chunk **chunks, dbi_error *error)
{
    H5L_info_t link;
    htri_t there = H5Lexists(file, name, H5P_DEFAULT);
    if (there == 0 && optional)
        return 0;
    if (there <= 0)
        return dbi_fail(error, "no dataset \"%s\"", name);
    bool own = H5Lget_info(file, name, &link, H5P_DEFAULT) >= 0 && link.type == H5L_TYPE_HARD;
    hid_t dataset = own ? H5Dopen2(file, name, H5P_DEFAULT) : -1;
    if (dataset < 0)
        return dbi_fail(error, "dataset \"%s\" cannot be opened", name);
    facts->found = true;
    int result = look_at(dataset, most, facts, chunks, error);
    H5Dclose(dataset);
    return result ? dbi_fail_in(error, "dataset \"%s\"", name) : 0;
}

/* The file is in memory already, and libhdf5's driver for files in memory would copy it. These functions make it use
 * our bytes, which it only reads. */
static void *given(size_t size, H5FD_file_image_op_t op, void *image)
{
    (void)op;
    const file_image *file = image;
    return size <= file->size ? (void *)(uintptr_t)file->bytes : NULL;
}

static void *not_copied(void *to, const void *from, size_t size, H5FD_file_image_op_t op, void *image)
{
    (void)from, (void)size, (void)op, (void)image;
    return to;
}

static void *not_resized(void *bytes, size_t size, H5FD_file_image_op_t op, void *image)
{
    (void)bytes, (void)size, (void)op, (void)image;
    return NULL;
}

static herr_t not_freed(void *bytes, H5FD_file_image_op_t op, void *image)
{
    (void)bytes, (void)op, (void)image;
    return 0;
}

static void *same_image(void *image)
{
    return image;
}

static herr_t image_not_freed(void *image)
{
    (void)image;
    return 0;
}

static hid_t open_image(const file_image *image)
{
    H5FD_file_image_callbacks_t callbacks = {
        given, not_copied, not_resized, not_freed, same_image, image_not_freed, (void *)(uintptr_t)image};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0 || H5Pset_fapl_core(access, 1 << 20, 0) < 0 || H5Pset_file_image_callbacks(access, &callbacks) < 0 ||
        H5Pset_file_image(access, (void *)(uintptr_t)image->bytes, image->size) < 0)
        return -1;
    return H5Fopen("memory", H5F_ACC_RDONLY, access);
}

/* Makes the reply: the facts of both datasets, then their chunks. On failure nothing is freed, because the process
 * ends. */
static int look_at_file(const void *input, uint8_t **reply, size_t *size, dbi_error *error)
{
    const file_image *image = input;
    dbi_hdf5_facts facts[2];
    dbi_hdf5_chunk *chunks[2] = {NULL, NULL};
    memset(facts, 0, sizeof facts);
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t file = open_image(image);
    if (file < 0)
        return dbi_fail(error, "the HDF5 file is damaged or cut off");
    for (int d = 0; d < 2; d++)
        if (image->want >> d & 1 &&
            find(file, names[d], d == 1 && image->want & DBI_SCAN_IMAGE, image->size, &facts[d], &chunks[d], error))
            return -1;
    size_t first = facts[0].count * sizeof **chunks, second = facts[1].count * sizeof **chunks;
    *size = sizeof facts + first + second;
    *reply = malloc(*size);
    if (!*reply)
        return dbi_fail(error, "out of memory");
    memcpy(*reply, facts, sizeof facts);
    if (first)
        memcpy(*reply + sizeof facts, chunks[0], first);
    if (second)
        memcpy(*reply + sizeof facts + first, chunks[1], second);
    return 0;
}

int dbi_hdf5_facts_get(const uint8_t *bytes, size_t size, unsigned want, dbi_hdf5_facts facts[2],
                       dbi_hdf5_chunk **chunks, dbi_error *error)
{
    const file_image image = {bytes, size, want};
    const size_t both = 2 * sizeof *facts, width = sizeof **chunks;
    uint8_t *reply;
    size_t length;
    if (dbi_fence(look_at_file, &image, MOST_SECONDS, both + 2 * size * width, &reply, &length, error))
        return -1;
    bool whole = length >= both;
    if (whole) {
        memcpy(facts, reply, both);
        whole = facts[0].count <= size && facts[1].count <= size &&
                length == both + (facts[0].count + facts[1].count) * width;
    }
    if (whole) {
        memmove(reply, reply + both, length - both);
        *chunks = (dbi_hdf5_chunk *)(void *)reply;
        return 0;
    }
    free(reply);
    return dbi_fail(error, "the HDF5 file is damaged");
}
