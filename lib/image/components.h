/* Connected components. */
#ifndef DBI_IMAGE_COMPONENTS_H
#define DBI_IMAGE_COMPONENTS_H

#include <stdint.h>

#include "base/error.h"

/* Numbers the components (26 neighbours) of the voxels of `label` that equal `value`, from 1 on, in the order of their
 * first voxels. Other voxels get id 0. shape: [X,Y,Z], C order; id has as many elements as label. *count: the number of
 * components. Fails when memory is out. */
int dbi_components(const uint8_t *label, uint8_t value, const int64_t shape[3], uint32_t *id, uint32_t *count,
                   dbi_error *error);

/* Keeps the largest component of each class from 1 to `classes`, the first of several equally large ones, and sets the
 * others to 0. */
int dbi_largest_components(uint8_t *label, const int64_t shape[3], int64_t classes, dbi_error *error);

#endif
