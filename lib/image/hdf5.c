#include <hdf5.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/scan.h"

static const uint8_t magic[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

bool dbi_hdf5_magic(const uint8_t *bytes, size_t size)
{
    return size >= sizeof magic && !memcmp(bytes, magic, sizeof magic);
}

/* A file of HDF5's "core" driver, which holds it in memory. */
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

/* Three sizes, and no more voxels than the stored bytes can have been compressed from: deflate reaches 1032 to 1. */
static int read_shape(hid_t dataset, int64_t shape[3], size_t width, dbi_error *error)
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
        shape[i] = sizes[i] > INT64_MAX ? -1 : (int64_t)sizes[i];
    if (!dbi_count((int64_t[]){shape[0], shape[1], shape[2], (int64_t)width}, 4, &count) || count == 0)
        return dbi_fail(error, "impossible shape %" PRIuMAX " x %" PRIuMAX " x %" PRIuMAX, (uintmax_t)sizes[0], (uintmax_t)sizes[1],
                        (uintmax_t)sizes[2]);
    if ((uint64_t)count / 1100 > H5Dget_storage_size(dataset))
        return dbi_fail(error, "%" PRId64 " x %" PRId64 " x %" PRId64 " voxels, but hardly any data", shape[0], shape[1], shape[2]);
    return 0;
}

/* Labels are read as double, so that values that are not whole numbers are seen; images as float. */
static int read_voxels(hid_t dataset, bool label, int64_t shape[3], dbi_voxels *voxels, dbi_error *error)
{
    hid_t type = H5Dget_type(dataset);
    H5T_class_t class = type >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    bool bytes = class == H5T_INTEGER && H5Tget_size(type) == 1 && H5Tget_sign(type) == H5T_SGN_NONE;
    if (type >= 0)
        H5Tclose(type);
    if (class != H5T_INTEGER && class != H5T_FLOAT)
        return dbi_fail(error, "the voxels are not numbers");
    hid_t wanted = !label ? H5T_NATIVE_FLOAT : bytes ? H5T_NATIVE_UINT8 : H5T_NATIVE_DOUBLE;
    size_t width = H5Tget_size(wanted);
    if (read_shape(dataset, shape, width, error))
        return -1;
    size_t count = (size_t)(shape[0] * shape[1] * shape[2]);
    void *data = dbi_alloc(count, width, error);
    if (!data)
        return -1;
    if (H5Dread(dataset, wanted, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        free(data);
        return dbi_fail(error, "the voxels cannot be read: the file is damaged, or compressed by a filter that is not there");
    }
    *voxels = (dbi_voxels){.type = !label  ? DBI_VOXEL_F32
                                   : bytes ? DBI_VOXEL_U8
                                           : DBI_VOXEL_F64,
                           .owned = data,
                           .at = data,
                           .stride = {shape[1] * shape[2], shape[2], 1},
                           .slope = 1};
    return 0;
}

/* 1: it is not there, and may be missing. */
static int read_dataset(hid_t file, const char *name, bool optional, int64_t shape[3], dbi_voxels *voxels, dbi_error *error)
{
    htri_t there = H5Lexists(file, name, H5P_DEFAULT);
    if (there == 0 && optional)
        return 1;
    if (there <= 0)
        return dbi_fail(error, "no dataset \"%s\"", name);
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0)
        return dbi_fail(error, "dataset \"%s\" cannot be opened", name);
    int result = read_voxels(dataset, !strcmp(name, "label"), shape, voxels, error);
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

static int load(hid_t file, unsigned want, const double *spacing, dbi_scan *scan, dbi_error *error)
{
    int64_t shape[3] = {0}, label_shape[3];
    if (want & DBI_SCAN_IMAGE && read_dataset(file, "image", false, shape, &scan->image, error))
        return -1;
    if (want & DBI_SCAN_LABEL) {
        int found = read_dataset(file, "label", want & DBI_SCAN_IMAGE, label_shape, &scan->label, error);
        if (found < 0)
            return -1;
        if (found == 0 && want & DBI_SCAN_IMAGE && memcmp(shape, label_shape, sizeof shape))
            return dbi_fail(error, "datasets \"image\" and \"label\" have different shapes");
        if (!(want & DBI_SCAN_IMAGE))
            memcpy(shape, label_shape, sizeof shape);
    }
    place(shape, spacing, &scan->source);
    return dbi_grid_check(&scan->source.grid, error);
}

int dbi_hdf5_scan(uint8_t *bytes, size_t size, unsigned want, const double *source_spacing, dbi_scan *scan, dbi_error *error)
{
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    dbi_scan_checksum(scan->checksum, bytes, size);
    hid_t file = open_image(bytes, size);
    free(bytes); /* the driver holds a copy */
    if (file < 0)
        return dbi_fail(error, "the HDF5 file is damaged or cut off");
    int result = load(file, want, source_spacing, scan, error);
    H5Fclose(file);
    return result;
}
