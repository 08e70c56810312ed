/* From stored voxels to arrays in C order, turned to the canonical axes on the way. */
#ifndef DBI_IMAGE_VOXELS_H
#define DBI_IMAGE_VOXELS_H

#include <stdint.h>

#include "base/error.h"
#include "image/orient.h"
#include "image/stored.h"

/* shape is the scan's, out is of the turned shape. Errors name a voxel by its indices in the scan.
 * The image: every voxel must be finite. */
int dbi_voxels_image(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, float *out,
                     dbi_error *error);
/* A label: whole numbers from 0 to `most` (<= 255); *largest is the largest of them. */
int dbi_voxels_label(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, int most,
                     uint8_t *out, int *largest, dbi_error *error);

#endif
