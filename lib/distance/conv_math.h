/* The soft distance's formulas that are computed in double whatever the type of p, for host and device.
 *
 * There are two ways to the same sums. When the smallest weight exp(-radius/h) is far from underflow, sums of
 * products are exact enough: a correlation with one positive kernel. Otherwise (long radius, low temperature, whole
 * volumes) every term is kept as a logarithm. The first is hundreds of times faster, and the paper's h and radius
 * are in its reach. */
#ifndef DBI_DISTANCE_CONV_MATH_H
#define DBI_DISTANCE_CONV_MATH_H

#include <math.h>
#include <stdint.h>

#include "base/host_device.h"
#include "distance/transform.h"

/* Terms this much (in log) below the largest are lost in rounding. */
#define DBI_CONV_LOST 40
/* No gradient is above exp(60) times the loss's derivative, so that sums of them stay finite. */
#define DBI_CONV_STEEPEST 60

/* The ball of voxels round one. */
typedef struct dbi_conv_window {
    int64_t radius[3]; /* per axis, not beyond the volume */
    int64_t square;    /* the ball's radius squared; INT64_MAX: no limit */
    double h;
} dbi_conv_window;

DBI_HD dbi_conv_window dbi_conv_window_of(const dbi_transform *transform, const int64_t shape[3])
{
    const int64_t radius = transform->radius;
    dbi_conv_window w;
    w.square = radius ? radius * radius : INT64_MAX;
    w.h = transform->h;
    for (int a = 0; a < 3; a++)
        w.radius[a] = radius && radius < shape[a] - 1 ? radius : shape[a] - 1;
    return w;
}

/* The longest distance that can be told: beyond its radius the soft distance knows only on which side it is. */
DBI_HD double dbi_conv_most(const dbi_transform *transform, const int64_t shape[3])
{
    const double voxel[3] = {1, 1, 1};
    return transform->radius ? transform->radius : dbi_diagonal(shape, voxel);
}

/* How far the window reaches along an axis where it is `square` away in the other two. */
DBI_HD int64_t dbi_conv_half(const dbi_conv_window *w, int axis, int64_t square)
{
    const int64_t radius = w->radius[axis], left = w->square - square;
    return left > radius * radius ? radius : (int64_t)sqrt((double)left);
}

/* Places on an axis of n voxels. */
typedef struct dbi_conv_span {
    int64_t first, end;
} dbi_conv_span;

DBI_HD dbi_conv_span dbi_conv_span_of(int64_t at, int64_t radius, int64_t n)
{
    dbi_conv_span s;
    s.first = at > radius ? at - radius : 0;
    s.end = at + radius < n ? at + radius + 1 : n;
    return s;
}

/* The weight of a voxel whose squared distance is `square`. */
DBI_HD double dbi_conv_weight(int64_t square, double h)
{
    return exp(-sqrt((double)square) / h);
}

DBI_HD double dbi_conv_exp(double log_weight)
{
    return exp(log_weight < DBI_CONV_STEEPEST ? log_weight : DBI_CONV_STEEPEST);
}

#endif
