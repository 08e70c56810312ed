/* The exact transform's core, for those who need squared distances. */
#ifndef DBI_DISTANCE_SQUARES_H
#define DBI_DISTANCE_SQUARES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* out[x] = squared distance from voxel x to the nearest voxel centre of the other side, positive where label is `value`, negative elsewhere;
 * +-INFINITY where there is no other side. Distances above `limit` (0: no limit) may be +-INFINITY too, which saves time. both = false: only
 * the negative side is right, the positive side has nothing but its sign. */
int dbi_squares(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3], double limit, bool both, float *out,
                dbi_error *error);

#endif
