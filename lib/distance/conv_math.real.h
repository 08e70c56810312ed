/* The soft distance's formulas that depend on the type of p, for host and device. Volumes are [X,Y,Z]. */
#pragma once
#include <stdbool.h>

#include "base/real.h"
#include "distance/conv_math.h"

/* Whether sums of products do. */
DBI_HD bool dbi_conv_is_short_f32(const dbi_transform *transform)
{
    return transform->radius && transform->radius <= (sizeof(real) == sizeof(double) ? 300 : 60) * transform->h;
}

/* What p counts as. */
DBI_HD real dbi_conv_clamped_f32(real p)
{
    return p > 0 ? (p < 1 ? p : 1) : 0;
}

DBI_HD real dbi_conv_log_f32(real q)
{
    return q > 0 ? (real)log((double)q) : -(real)INFINITY;
}

/* log sum exp of log_q(y) - |x-y|/h over the window round (x, y, z): the largest term first, then the sum of what
 * counts beside it. */
DBI_HD real dbi_conv_log_sum_f32(const dbi_conv_window *w, const int64_t shape[3], int64_t x, int64_t y, int64_t z,
                                 const real *log_q)
{
    const dbi_conv_span sx = dbi_conv_span_of(x, w->radius[0], shape[0]),
                        sy = dbi_conv_span_of(y, w->radius[1], shape[1]),
                        sz = dbi_conv_span_of(z, w->radius[2], shape[2]);
    const double per_h = 1 / w->h;
    double most = -INFINITY, sum = 0;
    for (int second = 0; second < 2; second++) {
        const double least = second ? most - DBI_CONV_LOST : 0;
        for (int64_t i = sx.first; i < sx.end; i++)
            for (int64_t j = sy.first; j < sy.end; j++) {
                const int64_t plane = (i - x) * (i - x) + (j - y) * (j - y);
                if (plane > w->square || -sqrt((double)plane) * per_h < (second ? least : most))
                    continue;
                const real *line = log_q + (i * shape[1] + j) * shape[2];
                for (int64_t k = sz.first; k < sz.end; k++) {
                    const int64_t square = plane + (k - z) * (k - z);
                    if (square > w->square)
                        continue;
                    const double term = (double)line[k] - sqrt((double)square) * per_h;
                    if (!second)
                        most = term > most ? term : most;
                    else if (term >= least)
                        sum += exp(term - most);
                }
            }
        if (!(most > -INFINITY))
            return -(real)INFINITY;
    }
    return (real)(most + log(sum));
}

/* The soft distance before its cap. */
DBI_HD real dbi_conv_distance_f32(double h, real log_in, real log_out)
{
    return (real)h * (log_in - log_out);
}

/* most: see dbi_conv_most(). *reached: 1, or 0 where s was beyond it. */
DBI_HD real dbi_conv_capped_f32(real s, real most, real *reached)
{
    const bool inside = s > -most && s < most;
    *reached = inside;
    return inside ? s : s > 0 ? most : -most;
}

/* The gradient at one voxel, gathered from all the voxels whose window it is in. g: by the distance. */
DBI_HD real dbi_conv_gather_f32(const dbi_conv_window *w, const int64_t shape[3], int64_t x, int64_t y, int64_t z,
                                const real *log_in, const real *log_out, const real *g)
{
    const dbi_conv_span sx = dbi_conv_span_of(x, w->radius[0], shape[0]),
                        sy = dbi_conv_span_of(y, w->radius[1], shape[1]),
                        sz = dbi_conv_span_of(z, w->radius[2], shape[2]);
    double sum = 0;
    for (int64_t i = sx.first; i < sx.end; i++)
        for (int64_t j = sy.first; j < sy.end; j++)
            for (int64_t k = sz.first; k < sz.end; k++) {
                const int64_t at = (i * shape[1] + j) * shape[2] + k;
                const int64_t square = (i - x) * (i - x) + (j - y) * (j - y) + (k - z) * (k - z);
                if (square > w->square || g[at] == 0)
                    continue;
                const double near = -sqrt((double)square) / w->h;
                sum += (double)g[at] *
                       (dbi_conv_exp(near - (double)log_in[at]) + dbi_conv_exp(near - (double)log_out[at]));
            }
    return (real)(w->h * sum);
}

/* h g (1/exp(log_in) + 1/exp(log_out)): what a voxel gives to those in its window, before their weights. */
DBI_HD real dbi_conv_share_f32(double h, real g, real log_in, real log_out)
{
    return g != 0 ? (real)(h * (double)g * (dbi_conv_exp(-(double)log_in) + dbi_conv_exp(-(double)log_out))) : 0;
}
