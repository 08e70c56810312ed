/* Exact Euclidean distances (Felzenszwalb & Huttenlocher, "Distance Transforms of Sampled Functions", 2012; linear time, one axis after another). */
#ifndef DBI_DISTANCE_EDT_H
#define DBI_DISTANCE_EDT_H

#include <stdint.h>

#include "base/error.h"
#include "distance/normalize.h"

/* out[x] = distance from voxel x to the centre of the nearest voxel whose mask is nonzero (0 on those), spacing in any unit, shape [X,Y,Z] in C
 * order. Without any such voxel every distance is INFINITY. */
int dbi_edt(const uint8_t *mask, const int64_t shape[3], const double spacing[3], float *out, dbi_error *error);

/* Signed distance of class `value` of a label: distance to the nearest background voxel's centre inside (positive), minus the distance to the
 * nearest foreground voxel's centre outside, then normalized. */
int dbi_signed_distance(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3], const dbi_normalize *normalize,
                        float *out, dbi_error *error);

#endif
