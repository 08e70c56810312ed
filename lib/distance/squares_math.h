/* Squared distances along a line of voxels, for host and device. A square that is positive belongs to a voxel of the
 * inside, one that is negative to a voxel of the outside. */
#ifndef DBI_DISTANCE_SQUARES_MATH_H
#define DBI_DISTANCE_SQUARES_MATH_H

#include <math.h>

#include "base/host_device.h"

/* The largest square that counts where distances above `limit` do not (0: all count). Rounding must not lose what
 * lies at the limit. Without a limit it is a finite number, so that INFINITY, which stands for "nothing found yet",
 * is above it. */
DBI_HD float dbi_most_square(double limit)
{
    return limit > 0 && limit < 1e18 ? (float)(limit * limit * (1 + 1e-6)) : 3e38f;
}

/* Of voxels that are `steps` apart; w: the squared spacing. */
DBI_HD float dbi_steps_square(float w, float steps)
{
    return w * steps * steps;
}

/* A square without a sign; what is above `most` counts as not found. */
DBI_HD float dbi_within(float square, float most)
{
    return square > most ? INFINITY : square;
}

DBI_HD float dbi_signed_root(float square)
{
    return copysignf(sqrtf(fabsf(square)), square);
}

#endif
