/* Connected components. */
#ifndef DBI_IMAGE_COMPONENTS_H
#define DBI_IMAGE_COMPONENTS_H

#include <stdint.h>

#include "base/error.h"

/* Numbers the components of the voxels of `label` that equal `value` (26 neighbours) from 1 in the order of their
 * first voxels; id 0: other voxels. shape [X,Y,Z] in C order. */
int dbi_components(const uint8_t *label, uint8_t value, const int64_t shape[3], uint32_t *id, uint32_t *count,
                   dbi_error *error);

/* Keeps the largest component of each class 1..K (the first one of equally large ones), sets the others to 0. */
int dbi_largest_components(uint8_t *label, const int64_t shape[3], int64_t classes, dbi_error *error);

#endif
