#include "distance/levelset.real.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <tgmath.h>

#include "base/clones.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distance/feet.h"

/* The feet on the edges along one axis share the grid's coordinates in the other two, so that an exact transform that begins with their own axis
 * finds the nearest of them: at first along the line they are on, where positions between voxels are no difficulty, and then from line to line.
 * Three such families together are the level set. Positions are computed in double from either type of p: both then choose the same feet. */

static double crossing(real a, real b)
{
    return (0.5 - (double)a) / ((double)b - (double)a);
}

/* Of one contiguous line: each voxel's nearest crossing, in runs between them. */
static void scan_along(const real *p, int64_t n, int64_t first, float *square, uint32_t *edge)
{
    int64_t at = 0, crossed = -1; /* voxels from `at` on have no crossing before them but the one behind voxel `crossed` */
    double place = -INFINITY;
    for (int64_t i = 0; i <= n; i++) {
        if (i < n && (i == n - 1 || (p[i] > (real)0.5) == (p[i + 1] > (real)0.5)))
            continue;
        /* where the next crossing gets nearer than the last */
        const double next = i < n ? (double)i + crossing(p[i], p[i + 1]) : (double)INFINITY;
        const double middle = crossed < 0 ? -1 : i < n ? floor((place + next) / 2) : (double)(n - 1);
        const uint32_t number = crossed < 0 ? DBI_NO_EDGE : (uint32_t)(3 * (first + crossed) + 2);
        const int64_t end = (int64_t)middle + 1;
        for (; at < end; at++) {
            const double away = (double)at - place;
            square[at] = (float)(away * away);
            edge[at] = number;
        }
        place = next;
        crossed = i;
    }
    for (; at < n; at++) {
        square[at] = INFINITY;
        edge[at] = DBI_NO_EDGE;
    }
}

/* Lines side by side, CHUNK at most: voxel i of line j is at i * stride + j. One sweep for the nearest crossing before each voxel, one for after. */
enum { CHUNK = 128 };

typedef struct sweep {
    double last[CHUNK]; /* where the last crossing was */
    uint32_t edge[CHUNK];
} sweep;

static inline bool crosses(const real *a, const real *b, int64_t count)
{
    int any = 0;
#pragma omp simd reduction(| : any)
    for (int64_t j = 0; j < count; j++)
        any |= (a[j] > (real)0.5) != (b[j] > (real)0.5);
    return any;
}

/* The crossings between voxels i and i + 1, whose values are a and b; number: of line 0's edge. */
static inline void pass_crossings(sweep *s, const real *a, const real *b, int64_t i, int64_t count, uint32_t number)
{
    if (!crosses(a, b, count))
        return;
    for (int64_t j = 0; j < count; j++)
        if ((a[j] > (real)0.5) != (b[j] > (real)0.5)) {
            s->last[j] = (double)i + crossing(a[j], b[j]);
            s->edge[j] = number + 3 * (uint32_t)j;
        }
}

DBI_CLONES static void scan_across(const real *p, int64_t n, int64_t stride, int64_t count, uint32_t number, float *square, uint32_t *edge)
{
    sweep s;
    for (int64_t j = 0; j < count; j++) {
        s.last[j] = -INFINITY;
        s.edge[j] = DBI_NO_EDGE;
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = i * stride;
        if (i > 0)
            pass_crossings(&s, p + at - stride, p + at, i - 1, count, number + (uint32_t)(3 * (at - stride)));
#pragma omp simd
        for (int64_t j = 0; j < count; j++) {
            const double away = (double)i - s.last[j];
            square[at + j] = (float)(away * away);
            edge[at + j] = s.edge[j];
        }
    }
    for (int64_t j = 0; j < count; j++)
        s.last[j] = INFINITY;
    for (int64_t i = n - 2; i >= 0; i--) {
        const int64_t at = i * stride;
        pass_crossings(&s, p + at, p + at + stride, i, count, number + (uint32_t)(3 * at));
#pragma omp simd
        for (int64_t j = 0; j < count; j++) {
            const double away = (double)i - s.last[j];
            const float after = (float)(away * away);
            const int nearer = after < square[at + j];
            edge[at + j] = nearer ? s.edge[j] : edge[at + j];
            square[at + j] = nearer ? after : square[at + j];
        }
    }
}

static void scan(const int64_t shape[3], const real *p, int axis, dbi_feet *feet)
{
    const int64_t n = shape[axis], inner = axis == 0 ? shape[1] * shape[2] : shape[2], chunks = (inner + CHUNK - 1) / CHUNK;
    const int64_t outer = axis == 1 ? shape[0] : 1;
    if (axis == 2) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < shape[0] * shape[1]; i++)
            scan_along(p + i * n, n, i * n, feet->square + i * n, feet->edge + i * n);
    } else {
#pragma omp parallel for schedule(static)
        for (int64_t k = 0; k < outer * chunks; k++) {
            const int64_t first = k % chunks * CHUNK, at = k / chunks * n * inner + first;
            scan_across(p + at, n, inner, inner - first < CHUNK ? inner - first : CHUNK, (uint32_t)(3 * at + axis), feet->square + at,
                        feet->edge + at);
        }
    }
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
static inline real to_centre(real d)
{
    const real near = d < (real)0.25 ? 2 * d : (real)0.5, far = (real)0.5 / sqrt(d);
    return d < 1 ? near : far;
}

/* An edge of the grid, and where p passes 1/2 on it. */
typedef struct crossed_edge {
    uint32_t number;
    int axis;
    int64_t a, b;    /* its ends */
    double t;        /* 0 at a, 1 at b */
    double place[3]; /* of the foot */
    double change;   /* of p from a to b */
} crossed_edge;

static void set_edge(crossed_edge *e, const int64_t shape[3], const real *p, uint32_t number)
{
    const uint32_t ny = (uint32_t)shape[1], nz = (uint32_t)shape[2], a = number / 3, line = a / nz;
    const int64_t stride[3] = {shape[1] * shape[2], shape[2], 1};
    e->number = number;
    e->axis = (int)(number % 3);
    e->a = a;
    e->b = e->a + stride[e->axis];
    e->t = crossing(p[e->a], p[e->b]);
    e->change = (double)p[e->b] - (double)p[e->a];
    e->place[0] = line / ny;
    e->place[1] = line % ny;
    e->place[2] = a % nz;
    e->place[e->axis] += e->t;
}

static inline double square_to(const crossed_edge *e, int64_t x, int64_t y, int64_t z)
{
    const double away[3] = {e->place[0] - (double)x, e->place[1] - (double)y, e->place[2] - (double)z};
    return away[0] * away[0] + away[1] * away[1] + away[2] * away[2];
}

/* The squares are floats: where doubles are wanted, the distances are measured again. */
static void measure_again(const int64_t shape[3], const real *p, int64_t x, const dbi_feet *feet, real *s)
{
    crossed_edge e = {.number = DBI_NO_EDGE};
    for (int64_t y = 0; y < shape[1]; y++)
        for (int64_t z = 0; z < shape[2]; z++) {
            const int64_t at = (x * shape[1] + y) * shape[2] + z;
            if (feet->edge[at] != DBI_NO_EDGE && feet->edge[at] != e.number)
                set_edge(&e, shape, p, feet->edge[at]);
            const double d = feet->edge[at] == DBI_NO_EDGE ? INFINITY : sqrt(square_to(&e, x, y, z)), away = d + to_centre(d);
            s[at] = p[at] > 0.5 ? away : -away;
        }
}

DBI_CLONES static void measure(const int64_t shape[3], const real *p, int64_t x, const dbi_feet *feet, real *s)
{
    const int64_t first = x * shape[1] * shape[2];
    for (int64_t at = first; at < first + shape[1] * shape[2]; at++) {
        const real d = sqrt(feet->square[at]), away = d + to_centre(d);
        s[at] = p[at] > (real)0.5 ? away : -away;
    }
}

int dbi_levelset_f32(const int64_t shape[3], const real *p, double limit, real *s, uint32_t *foot, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    float *square = NULL;
    dbi_feet other = {0};
    int status = dbi_feet_check(shape, error) || !(square = dbi_alloc((size_t)count, sizeof *square, error)) ||
                         dbi_feet_alloc(&other, count, error) || nearest_feet(shape, p, limit, &(dbi_feet){square, foot}, &other, error)
                     ? -1
                     : 0;
    if (!status) {
#pragma omp parallel for schedule(static)
        for (int64_t x = 0; x < shape[0]; x++)
            (sizeof(real) == sizeof(double) ? measure_again : measure)(shape, p, x, &(dbi_feet){square, foot}, s);
    }
    free(square);
    dbi_feet_free(&other);
    return status;
}

/* Voxels whose gradients are computed together. */
enum { BATCH = 64 };

typedef struct batch {
    int count;
    int64_t a[BATCH], b[BATCH];                        /* ends of the foot's edge */
    double t[BATCH], change[BATCH];                    /* see crossed_edge */
    double square[BATCH], along[BATCH], factor[BATCH]; /* distance from the foot, its part along the edge; the loss's derivative, - inside */
} batch;

/* dS/dt of the foot's place on its edge, times dt/dp's common factor and the loss's derivative, in place of the factor. On the foot itself the distance
 * has no direction: there S grows as the foot moves away. */
DBI_CLONES static void slopes(batch *s)
{
    const double steepest = 1 / DBI_LEVELSET_FLOOR;
#pragma omp simd
    for (int k = 0; k < s->count; k++) {
        const double d = sqrt(s->square[k]), towards = s->t[k] < 0.5 ? 1 : -1, cosine = d > 1e-9 ? s->along[k] / d : towards;
        const double up = cosine / s->change[k], slope = up > steepest ? steepest : up < -steepest ? -steepest : up;
        const double near = d < 0.25 ? 3 : 1, far = 1 - 0.25 / (d * sqrt(d));
        s->factor[k] *= slope * (d < 1 ? near : far); /* d/dd of d + to_centre(d) */
    }
}

static void scatter(batch *s, double *sum)
{
    slopes(s);
    for (int k = 0; k < s->count; k++) {
        sum[s->a[k]] += s->factor[k] * (1 - s->t[k]);
        sum[s->b[k]] += s->factor[k] * s->t[k];
    }
    s->count = 0;
}

static inline void add_voxel(batch *s, const crossed_edge *e, int64_t x, int64_t y, int64_t z, double factor)
{
    const int64_t at[3] = {x, y, z};
    const int k = s->count++;
    s->a[k] = e->a;
    s->b[k] = e->b;
    s->t[k] = e->t;
    s->change[k] = e->change;
    s->square[k] = square_to(e, x, y, z);
    s->along[k] = e->place[e->axis] - (double)at[e->axis];
    s->factor[k] = factor;
}

int dbi_levelset_gradient_f32(const int64_t shape[3], const real *p, const uint32_t *foot, const real *g, real *dp, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    double *sum = dbi_alloc((size_t)count, sizeof *sum, error);
    if (!sum)
        return -1;
    /* One thread: feet are shared by many voxels, and the order of the sums must not depend on who comes first. */
    crossed_edge e = {.number = DBI_NO_EDGE};
    batch s = {.count = 0};
    for (int64_t x = 0; x < shape[0]; x++)
        for (int64_t y = 0; y < shape[1]; y++)
            for (int64_t z = 0; z < shape[2]; z++) {
                const int64_t at = (x * shape[1] + y) * shape[2] + z;
                if (foot[at] == DBI_NO_EDGE || g[at] == 0)
                    continue;
                if (foot[at] != e.number)
                    set_edge(&e, shape, p, foot[at]);
                add_voxel(&s, &e, x, y, z, p[at] > (real)0.5 ? -(double)g[at] : (double)g[at]);
                if (s.count == BATCH)
                    scatter(&s, sum);
            }
    scatter(&s, sum);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++)
        dp[i] = (real)sum[i];
    free(sum);
    return 0;
}
