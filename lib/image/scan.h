/* Scans as their files hold them: any format, told by content, voxels not yet converted. */
#ifndef DBI_IMAGE_SCAN_H
#define DBI_IMAGE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/stored.h"

/* Loads what `want` names. A NIfTI file holds one volume, given as the image or, when only the label is wanted, as the label. An HDF5 file has
 * datasets `image` and `label`: asked for both, the label may be missing. source_spacing: see case.h. Errors name the file. */
int dbi_scan_load(const char *path, unsigned want, const double *source_spacing, dbi_scan *scan, dbi_error *error);
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
/* For an .img of a pair: reads the header beside it, and gives its name (free()). 1: the path is not called .img. */
int dbi_nifti_header_of(const char *path, char **header, uint8_t **bytes, size_t *size, dbi_error *error);
/* The bytes start a NIfTI header of either version and byte order. */
bool dbi_nifti_magic(const uint8_t *bytes, size_t size);

#endif
