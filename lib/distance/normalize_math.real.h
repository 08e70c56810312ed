/* Normalization voxel by voxel, for host and device: new values of a signed distance s, and their derivatives by the
 * old ones (slopes). s is +-INFINITY where the volume has one side only. */
#pragma once
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/host_device.h"
#include "base/real.h"

/* ---- none ---- */

/* far: what stands for INFINITY. */
DBI_HD real dbi_plain_f32(real s, real far)
{
    return s == (real)INFINITY ? far : s == -(real)INFINITY ? -far : s;
}

DBI_HD real dbi_plain_slope_f32(real s)
{
    return s > -(real)INFINITY && s < (real)INFINITY;
}

/* ---- clip:T ---- */

DBI_HD real dbi_clipped_f32(real s, real t)
{
    return s >= t ? 1 : s <= -t ? -1 : s / t;
}

DBI_HD real dbi_clipped_slope_f32(real s, real t)
{
    return s > -t && s < t ? 1 / t : 0;
}

/* ---- max ---- */

/* Whether voxel (x, y, z), whose distance is *s, is of the inside and has a neighbour of the outside within the
 * volume. */
DBI_HD bool dbi_on_inner_boundary_f32(const real *s, int64_t x, int64_t y, int64_t z, const int64_t shape[3])
{
    const int64_t at[3] = {x, y, z}, stride[3] = {shape[1] * shape[2], shape[2], 1};
    if (!(*s > 0))
        return false;
    for (int a = 0; a < 3; a++)
        if ((at[a] > 0 && !(s[-stride[a]] > 0)) || (at[a] + 1 < shape[a] && !(s[stride[a]] > 0)))
            return true;
    return false;
}

/* What the distances of a side are multiplied by; most: its largest finite |s|, 0: there is none. */
DBI_HD real dbi_maximum_factor_f32(real most)
{
    return most > 0 ? 1 / most : 0;
}

/* factor: 0 where there is no distance. */
DBI_HD real dbi_scaled_f32(real s, real factor)
{
    return factor > 0 ? s * factor : 0;
}

/* ---- all ---- */

/* A loss's derivative by the old value, given the one by the new value, which may be anything where nothing passes. */
DBI_HD real dbi_sloped_f32(real g, real slope)
{
    return slope != 0 ? g * slope : 0;
}
