/* The distance to the 1/2 level set of a probability map. */
#pragma once
#include <stdint.h>

#include "base/error.h"
#include "base/real.h"
#include "distance/levelset_math.h"

/* s = signed distance of every voxel to the level set, in voxels, positive where p > 1/2; +-INFINITY where the level
 * set has no point (within `limit`, 0: anywhere). Its points are the feet: where p, linear along the grid's edges,
 * passes 1/2. With d the distance to the nearest foot, |s| = d + min(2 d, 1/2, 1 / (2 sqrt(d))): what is added
 * stands for the way on to the centre of a voxel of the other side, where the exact distance of a label ends.
 * foot[x]: the edge of x's foot (distance/feet.h), DBI_NO_EDGE: none. All [X,Y,Z]. */
int dbi_levelset_f32(const int64_t shape[3], const real *p, double limit, real *s, uint32_t *foot, dbi_error *error);
/* dp = the gradient, overwritten, given g = the loss's derivative by s, and the p and the feet of the forward pass. */
int dbi_levelset_gradient_f32(const int64_t shape[3], const real *p, const uint32_t *foot, const real *g, real *dp,
                              dbi_error *error);
