/* Trilinear interpolation to twice the size with aligned corners, along one axis: place o of the output lies at
 * o (n - 1) / (2 n - 1) of an input of n places. In whole numbers, so that all devices and precisions take the same two
 * neighbours. */
#ifndef DBI_NET_INTERPOLATION_MATH_H
#define DBI_NET_INTERPOLATION_MATH_H

#include <stdint.h>

#include "base/host_device.h"

typedef struct dbi_interpolation {
    int64_t low, high; /* places of the input; equal at its end, where share is 0 */
    double share;      /* of high; low has the rest */
} dbi_interpolation;

/* What output place o, from 0 to 2 n - 1, is made of. */
DBI_HD dbi_interpolation dbi_interpolation_at(int64_t o, int64_t n)
{
    const int64_t at = o * (n - 1), span = 2 * n - 1;
    dbi_interpolation p;
    p.low = at / span;
    p.high = p.low + 1 < n ? p.low + 1 : p.low;
    p.share = (double)(at - p.low * span) / (double)span;
    return p;
}

/* The share of input place i in output place o, 0 where it has none. */
DBI_HD double dbi_interpolation_share(int64_t o, int64_t i, int64_t n)
{
    const dbi_interpolation p = dbi_interpolation_at(o, n);
    return i == p.low ? 1 - p.share : i == p.high ? p.share : 0;
}

/* No input place has a share in more output places. */
enum { DBI_INTERPOLATION_MOST = 5 };

typedef struct dbi_interpolation_range {
    int64_t begin, end;
} dbi_interpolation_range;

/* The output places, end left out, in which input place i has a share: what its gradient is gathered from. */
DBI_HD dbi_interpolation_range dbi_interpolation_range_of(int64_t i, int64_t n)
{
    const int64_t span = 2 * n - 1;
    dbi_interpolation_range r = {0, 2 * n};
    if (i > 0)
        r.begin = (i - 1) * span / (n - 1) + 1;
    if (i < n - 1)
        r.end = ((i + 1) * span - 1) / (n - 1) + 1;
    return r;
}

#endif
