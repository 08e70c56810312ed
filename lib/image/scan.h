/* Scans as their files hold them: any format, told by content, voxels not yet converted. */
#ifndef DBI_IMAGE_SCAN_H
#define DBI_IMAGE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/volume.h"

/* Types of stored voxels; all of them native-endian once loaded. */
typedef enum dbi_voxel_type {
    DBI_VOXEL_NONE, /* no voxels */
    DBI_VOXEL_U8,
    DBI_VOXEL_I8,
    DBI_VOXEL_U16,
    DBI_VOXEL_I16,
    DBI_VOXEL_U32,
    DBI_VOXEL_I32,
    DBI_VOXEL_U64,
    DBI_VOXEL_I64,
    DBI_VOXEL_F32,
    DBI_VOXEL_F64
} dbi_voxel_type;

/* Voxel (x,y,z) is at[x * stride[0] + y * stride[1] + z * stride[2]], its value slope * stored + inter. */
typedef struct dbi_voxels {
    dbi_voxel_type type;
    void *owned; /* to be freed */
    const void *at;
    int64_t stride[3];
    double slope, inter;
} dbi_voxels;

typedef struct dbi_scan {
    dbi_source source;
    dbi_voxels image, label; /* type DBI_VOXEL_NONE: not there */
    char checksum[33];       /* XXH3-128 of the file (gzip undone; of a pair, of both files) in hexadecimal */
} dbi_scan;

enum { DBI_SCAN_IMAGE = 1, DBI_SCAN_LABEL = 2 };

/* Loads what `want` names. A NIfTI file holds one volume, given as the image or, when only the label is wanted, as the label. An HDF5 file has
 * datasets `image` and `label`: asked for both, the label may be missing. source_spacing: see case.h. Errors name the file. */
int dbi_scan_load(const char *path, unsigned want, const double *source_spacing, dbi_scan *scan, dbi_error *error);
/* A zeroed struct is allowed. */
void dbi_scan_free(dbi_scan *scan);

/* How the axes are turned: axis a of the result is axis[a] of the scan, from its far end where flip[a]. */
typedef struct dbi_orientation {
    int axis[3];
    bool flip[3];
} dbi_orientation;

/* Towards RAS+: the turn that brings the axes nearest to right, front, up, over all permutations. */
void dbi_orientation_find(const dbi_grid *grid, dbi_orientation *orientation);
void dbi_orientation_grid(const dbi_orientation *orientation, const dbi_grid *from, dbi_grid *to);

/* The voxels, turned, in C order. shape is the scan's. The image must be finite; a label must hold whole numbers from 0 to `most` (<= 255), *largest is
 * the largest of them. Errors name the voxel by its indices in the scan. */
int dbi_voxels_image(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, float *out, dbi_error *error);
int dbi_voxels_label(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, int most, uint8_t *out, int *largest,
                     dbi_error *error);

/* Readers of one format each, from a whole file in memory. They take the ownership of bytes (malloc'ed), whether they succeed or not. */
int dbi_nifti_scan(const char *path, uint8_t *bytes, size_t size, unsigned want, dbi_scan *scan, dbi_error *error);
int dbi_hdf5_scan(uint8_t *bytes, size_t size, unsigned want, const double *source_spacing, dbi_scan *scan, dbi_error *error);
/* For an .img of a pair: reads the header beside it, and gives its name (free()). 1: the path is not called .img. */
int dbi_nifti_header_of(const char *path, char **header, uint8_t **bytes, size_t *size, dbi_error *error);
/* The bytes start a NIfTI header of either version and byte order. */
bool dbi_nifti_magic(const uint8_t *bytes, size_t size);
bool dbi_hdf5_magic(const uint8_t *bytes, size_t size);

/* XXH3-128 of the bytes; of the text that is there followed by the bytes when it is not empty: the second file of a pair. */
void dbi_scan_checksum(char text[33], const uint8_t *bytes, size_t size);

#endif
