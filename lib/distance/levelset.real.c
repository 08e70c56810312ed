#include "distance/levelset.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "distance/feet.h"

#include "base/real.h"

/* The feet on the edges along one axis share the grid's coordinates in the other two, so that an exact transform that begins with their own axis
 * finds the nearest of them: at first along the line they are on, where positions between voxels are no difficulty, and then from line to line.
 * Three such families together are the level set. Positions are computed in double from either type of p: both then choose the same feet. */

static double crossing(real a, real b)
{
    return (0.5 - (double)a) / ((double)b - (double)a);
}

typedef struct lines { /* all lines along an axis: voxel i of line (outer, inner) is at outer * n * inner_count + i * inner_count + inner */
    int64_t outer_count, n, inner_count;
} lines;

static lines lines_along(const int64_t shape[3], int axis)
{
    lines l = {1, shape[axis], 1};
    for (int a = 0; a < axis; a++)
        l.outer_count *= shape[a];
    for (int a = axis + 1; a < 3; a++)
        l.inner_count *= shape[a];
    return l;
}

/* One line: the nearest crossing before each voxel, then the nearest after. */
static void scan_line(const real *p, int64_t first, int64_t n, int64_t stride, int axis, dbi_feet *feet)
{
    double last = -INFINITY;
    uint32_t edge = DBI_NO_EDGE;
    for (int64_t i = 0, at = first; i < n; i++, at += stride) {
        if (i > 0 && (p[at - stride] > (real)0.5) != (p[at] > (real)0.5)) {
            last = (double)(i - 1) + crossing(p[at - stride], p[at]);
            edge = (uint32_t)(3 * (at - stride) + axis);
        }
        feet->square[at] = (float)(((double)i - last) * ((double)i - last));
        feet->edge[at] = edge;
    }
    last = INFINITY;
    for (int64_t i = n - 1, at = first + i * stride; i >= 0; i--, at -= stride) {
        if (i + 1 < n && (p[at] > (real)0.5) != (p[at + stride] > (real)0.5)) {
            last = (double)i + crossing(p[at], p[at + stride]);
            edge = (uint32_t)(3 * at + axis);
        }
        float square = (float)(((double)i - last) * ((double)i - last));
        if (square < feet->square[at]) {
            feet->square[at] = square;
            feet->edge[at] = edge;
        }
    }
}

static void scan(const int64_t shape[3], const real *p, int axis, dbi_feet *feet)
{
    const lines l = lines_along(shape, axis);
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t outer = 0; outer < l.outer_count; outer++)
        for (int64_t inner = 0; inner < l.inner_count; inner++)
            scan_line(p, outer * l.n * l.inner_count + inner, l.n, l.inner_count, axis, feet);
}

static int nearest_feet(const int64_t shape[3], const real *p, double limit, dbi_feet *feet, dbi_feet *other, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    scan(shape, p, 2, feet);
    if (dbi_feet_pass(feet, shape, 1, limit, error))
        return -1;
    scan(shape, p, 1, other);
    if (dbi_feet_pass(other, shape, 2, limit, error))
        return -1;
    dbi_feet_merge(feet, other, count);
    if (dbi_feet_pass(feet, shape, 0, limit, error)) /* the last axis is the same for these two */
        return -1;
    scan(shape, p, 0, other);
    if (dbi_feet_pass(other, shape, 1, limit, error) || dbi_feet_pass(other, shape, 2, limit, error))
        return -1;
    dbi_feet_merge(feet, other, count);
    return 0;
}

/* From the distance of the level set to the one that S stands for, the exact distance of the label p > 1/2: that one goes on to the centre of the
 * nearest voxel of the other side. Behind a plane, of one centre per unit volume, the nearest one adds e with a probability density that gives a
 * mean of about 1 / (2 sqrt(d)) (the cap that a sphere of radius d + e cuts off holds pi d e^2 centres on average), and 1/2 right behind it. A
 * steep ramp makes S continuous across the surface. On blurred left-atrium labels this halves the error of adding 1/2 everywhere. */
static double to_centre(double d)
{
    return d < 0.25 ? 2 * d : d < 1 ? 0.5 : 0.5 / sqrt(d);
}

/* d/dd of d + to_centre(d). */
static double to_centre_slope(double d)
{
    return d < 0.25 ? 3 : d < 1 ? 1 : 1 - 0.25 / (d * sqrt(d));
}

/* A voxel's foot: where it lies on its edge, how far it is, and the part of that distance along the edge. */
typedef struct view {
    int64_t a, b; /* the ends of the edge */
    double t;     /* 0 at a, 1 at b */
    double distance, along;
} view;

static view view_of(const int64_t shape[3], const real *p, int64_t x, int64_t y, int64_t z, uint32_t edge)
{
    const int64_t stride[3] = {shape[1] * shape[2], shape[2], 1};
    const int axis = (int)(edge % 3);
    view v = {.a = edge / 3};
    v.b = v.a + stride[axis];
    v.t = crossing(p[v.a], p[v.b]);
    double away[3] = {(double)(v.a / stride[0] - x), (double)(v.a / stride[1] % shape[1] - y), (double)(v.a % shape[2] - z)};
    away[axis] += v.t;
    v.distance = sqrt(away[0] * away[0] + away[1] * away[1] + away[2] * away[2]);
    v.along = away[axis];
    return v;
}

int R(dbi_levelset)(const int64_t shape[3], const real *p, double limit, real *s, uint32_t *foot, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    dbi_feet feet = {0}, other = {0};
    int status = dbi_feet_check(shape, error) || dbi_feet_alloc(&feet, count, error) || dbi_feet_alloc(&other, count, error) ||
                         nearest_feet(shape, p, limit, &feet, &other, error)
                     ? -1
                     : 0;
    if (!status) {
#pragma omp parallel for schedule(static)
        for (int64_t x = 0; x < shape[0]; x++)
            for (int64_t y = 0; y < shape[1]; y++)
                for (int64_t z = 0; z < shape[2]; z++) {
                    const int64_t at = (x * shape[1] + y) * shape[2] + z;
                    const uint32_t edge = feet.square[at] < INFINITY ? feet.edge[at] : DBI_NO_EDGE;
                    const double d = edge == DBI_NO_EDGE ? INFINITY : view_of(shape, p, x, y, z, edge).distance, away = d + to_centre(d);
                    s[at] = (real)(p[at] > (real)0.5 ? away : -away);
                    foot[at] = edge;
                }
    }
    dbi_feet_free(&feet);
    dbi_feet_free(&other);
    return status;
}

/* dS/dt of the foot's place on its edge, times dt/dp's common factor. On the foot itself the distance has no direction: there S grows as the foot
 * moves away. */
static double slope_of(const view *v, real p_here, real p_a, real p_b)
{
    const double sign = p_here > (real)0.5 ? 1 : -1, change = (double)p_b - (double)p_a;
    const double cosine = v->distance > 1e-9 ? v->along / v->distance : v->t < 0.5 ? 1 : -1;
    const double slope = -sign * cosine / change, steepest = 1 / DBI_LEVELSET_FLOOR;
    return slope > steepest ? steepest : slope < -steepest ? -steepest : slope;
}

int R(dbi_levelset_gradient)(const int64_t shape[3], const real *p, const uint32_t *foot, const real *g, real *dp, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    double *sum = dbi_alloc((size_t)count, sizeof *sum, error);
    if (!sum)
        return -1;
    /* One thread: feet are shared by many voxels, and the order of the sums must not depend on who comes first. */
    for (int64_t x = 0; x < shape[0]; x++)
        for (int64_t y = 0; y < shape[1]; y++)
            for (int64_t z = 0; z < shape[2]; z++) {
                const int64_t at = (x * shape[1] + y) * shape[2] + z;
                if (foot[at] == DBI_NO_EDGE || g[at] == 0)
                    continue;
                const view v = view_of(shape, p, x, y, z, foot[at]);
                const double slope = (double)g[at] * to_centre_slope(v.distance) * slope_of(&v, p[at], p[v.a], p[v.b]);
                sum[v.a] += slope * (1 - v.t);
                sum[v.b] += slope * v.t;
            }
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++)
        dp[i] += (real)sum[i];
    free(sum);
    return 0;
}
