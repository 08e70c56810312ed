/* The exact transform's core, for those who need squared distances. */
#ifndef DBI_DISTANCE_SQUARES_H
#define DBI_DISTANCE_SQUARES_H

#include <stdint.h>

#include "base/error.h"

/* out[x] = squared distance from voxel x to the nearest voxel centre of the other side, positive where label is `value`, negative elsewhere;
 * +-INFINITY where there is no other side. Distances above `limit` (0: no limit) may be +-INFINITY too, which saves time.
 * wanted: NULL, or a mask: the negative side is right where it is not 0, and that is all that is. */
int dbi_squares(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3], double limit, const uint8_t *wanted, float *out,
                dbi_error *error);

#endif
