/* Converts stored voxels to arrays in C order, turned to the canonical axes. */
#ifndef DBI_IMAGE_VOXELS_H
#define DBI_IMAGE_VOXELS_H

#include <stdint.h>

#include "base/error.h"
#include "image/orient.h"
#include "image/stored.h"

/* Converts an image. shape is the scan's, out has the turned shape. A voxel that is not finite is an error. Errors name
 * a voxel by its indices in the scan. */
int dbi_voxels_image(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, float *out,
                     dbi_error *error);
/* Converts a label of whole numbers from 0 to `most` (at most 255). *largest: the largest of them. */
int dbi_voxels_label(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, int most,
                     uint8_t *out, int *largest, dbi_error *error);

#endif
