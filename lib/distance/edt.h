/* Exact Euclidean distances of labels, by one axis after another (Felzenszwalb & Huttenlocher, "Distance Transforms
 * of Sampled Functions", 2012). Volumes are [X,Y,Z] in C order; the spacing is in any unit, and distances are in the
 * same. */
#ifndef DBI_DISTANCE_EDT_H
#define DBI_DISTANCE_EDT_H

#include <stdint.h>

#include "base/error.h"
#include "distance/normalize.h"

/* out[x] = distance from voxel x to the centre of the nearest voxel whose mask is nonzero (0 on those). Without any
 * such voxel every distance is INFINITY. */
int dbi_edt(const uint8_t *mask, const int64_t shape[3], const double spacing[3], float *out, dbi_error *error);

/* out[x] = squared distance from voxel x to the nearest voxel centre of the other side, positive where label is
 * `value`, negative elsewhere; +-INFINITY where there is no other side. Distances above `limit` (0: no limit) may be
 * +-INFINITY too, which saves time. wanted: NULL, or a mask: only the negative side is right, and only where the
 * mask is not 0. */
int dbi_squares(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3], double limit,
                const uint8_t *wanted, float *out, dbi_error *error);

/* Signed distance of class `value` of a label: distance to the nearest background voxel's centre inside (positive),
 * minus the distance to the nearest foreground voxel's centre outside, then normalized. */
int dbi_signed_distance(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3],
                        const dbi_normalize *normalize, float *out, dbi_error *error);

#endif
