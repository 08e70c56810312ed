#include "distance/levelset.real.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clones.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distance/feet.h"
#include "distance/levelset_math.real.h"

/* All feet on edges along one axis have whole coordinates along the other two. So an exact transform that begins
 * with that axis finds the nearest of them: first along the lines that they lie on, where it does not matter that
 * they are between voxels, then from line to line. The level set is the three families, one for each axis, together. */

/* Of one contiguous line: each voxel's nearest crossing, in runs between them. */
static void scan_along(const real *p, int64_t n, int64_t first, float *square, uint32_t *edge)
{
    int64_t at = 0,
            crossed = -1; /* voxels from `at` on have no crossing before them but the one behind voxel `crossed` */
    double place = -INFINITY;
    for (int64_t i = 0; i <= n; i++) {
        if (i < n && (i == n - 1 || dbi_inside_f32(p[i]) == dbi_inside_f32(p[i + 1])))
            continue;
        /* where the next crossing gets nearer than the last */
        const double next = i < n ? (double)i + dbi_crossing_f32(p[i], p[i + 1]) : (double)INFINITY;
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

/* Lines side by side, CHUNK at most: voxel i of line j is at i * stride + j. One sweep finds the nearest crossing
 * before each voxel, one the nearest after it. */
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
        any |= dbi_inside_f32(a[j]) != dbi_inside_f32(b[j]);
    return any;
}

/* The crossings between voxels i and i + 1, whose values are a and b; number: of line 0's edge. */
static inline void pass_crossings(sweep *s, const real *a, const real *b, int64_t i, int64_t count, uint32_t number)
{
    if (!crosses(a, b, count))
        return;
    for (int64_t j = 0; j < count; j++)
        if (dbi_inside_f32(a[j]) != dbi_inside_f32(b[j])) {
            s->last[j] = (double)i + dbi_crossing_f32(a[j], b[j]);
            s->edge[j] = number + 3 * (uint32_t)j;
        }
}

DBI_CLONES static void scan_across(const real *p, int64_t n, int64_t stride, int64_t count, uint32_t number,
                                   float *square, uint32_t *edge)
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
    const int64_t n = shape[axis], inner = axis == 0 ? shape[1] * shape[2] : shape[2],
                  chunks = (inner + CHUNK - 1) / CHUNK;
    const int64_t outer = axis == 1 ? shape[0] : 1;
    if (axis == 2) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < shape[0] * shape[1]; i++)
            scan_along(p + i * n, n, i * n, feet->square + i * n, feet->edge + i * n);
    } else {
#pragma omp parallel for schedule(static)
        for (int64_t k = 0; k < outer * chunks; k++) {
            const int64_t first = k % chunks * CHUNK, at = k / chunks * n * inner + first;
            scan_across(p + at, n, inner, inner - first < CHUNK ? inner - first : CHUNK, (uint32_t)(3 * at + axis),
                        feet->square + at, feet->edge + at);
        }
    }
}

static int nearest_feet(const int64_t shape[3], const real *p, double limit, dbi_feet *feet, dbi_feet *other,
                        dbi_error *error)
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

static void set_size(const int64_t shape[3], uint32_t size[3])
{
    for (int a = 0; a < 3; a++)
        size[a] = (uint32_t)shape[a]; /* see dbi_feet_check() */
}

/* The squares are floats: where doubles are wanted, the distances are measured again. */
static void measure_again(const int64_t shape[3], const real *p, int64_t x, const dbi_feet *feet, real *s)
{
    uint32_t size[3], number = DBI_NO_EDGE;
    dbi_crossed_edge e = {0};
    double along;
    set_size(shape, size);
    for (int64_t y = 0; y < shape[1]; y++)
        for (int64_t z = 0; z < shape[2]; z++) {
            const int64_t at = (x * shape[1] + y) * shape[2] + z;
            const bool none = feet->edge[at] == DBI_NO_EDGE;
            if (!none && feet->edge[at] != number) {
                number = feet->edge[at];
                e = dbi_crossed_edge_of_f32(size, p, number);
            }
            const double square = none ? INFINITY : dbi_foot_square(&e, (double)x, (double)y, (double)z, &along);
            s[at] = dbi_levelset_value_f32(p[at], (real)sqrt(square));
        }
}

DBI_CLONES static void measure(const int64_t shape[3], const real *p, int64_t x, const dbi_feet *feet, real *s)
{
    const int64_t first = x * shape[1] * shape[2];
    for (int64_t at = first; at < first + shape[1] * shape[2]; at++)
        s[at] = dbi_levelset_value_f32(p[at], (real)sqrtf(feet->square[at]));
}

int dbi_levelset_f32(const int64_t shape[3], const real *p, double limit, real *s, uint32_t *foot, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    float *square = NULL;
    dbi_feet other = {0};
    int status = dbi_feet_check(shape, error) || !(square = dbi_alloc((size_t)count, sizeof *square, error)) ||
                         dbi_feet_alloc(&other, count, error) ||
                         nearest_feet(shape, p, limit, &(dbi_feet){square, foot}, &other, error)
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
    uint32_t a[BATCH], b[BATCH];                       /* ends of the foot's edge */
    double t[BATCH], change[BATCH];                    /* see dbi_crossed_edge */
    double square[BATCH], along[BATCH], factor[BATCH]; /* see dbi_foot_square(); the loss's derivative, - inside */
} batch;

/* The loss's derivatives by p at the feet, in place of the factors. */
DBI_CLONES static void slopes(batch *s)
{
#pragma omp simd
    for (int k = 0; k < s->count; k++)
        s->factor[k] *= dbi_levelset_slope(sqrt(s->square[k]), s->along[k], s->t[k], s->change[k]);
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

static inline void add_voxel(batch *s, const dbi_crossed_edge *e, int64_t x, int64_t y, int64_t z, double factor)
{
    const int k = s->count++;
    s->a[k] = e->a;
    s->b[k] = e->b;
    s->t[k] = e->t;
    s->change[k] = e->change;
    s->square[k] = dbi_foot_square(e, (double)x, (double)y, (double)z, &s->along[k]);
    s->factor[k] = factor;
}

int dbi_levelset_gradient_f32(const int64_t shape[3], const real *p, const uint32_t *foot, const real *g, real *dp,
                              dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    double *sum = dbi_alloc((size_t)count, sizeof *sum, error);
    if (!sum)
        return -1;
    /* One thread: feet are shared by many voxels, and the order of the sums must not depend on who comes first. */
    uint32_t size[3], number = DBI_NO_EDGE;
    dbi_crossed_edge e = {0};
    set_size(shape, size);
    batch s = {.count = 0};
    for (int64_t x = 0; x < shape[0]; x++)
        for (int64_t y = 0; y < shape[1]; y++)
            for (int64_t z = 0; z < shape[2]; z++) {
                const int64_t at = (x * shape[1] + y) * shape[2] + z;
                if (foot[at] == DBI_NO_EDGE || g[at] == 0)
                    continue;
                if (foot[at] != number) {
                    number = foot[at];
                    e = dbi_crossed_edge_of_f32(size, p, number);
                }
                add_voxel(&s, &e, x, y, z, dbi_inside_f32(p[at]) ? -(double)g[at] : (double)g[at]);
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
