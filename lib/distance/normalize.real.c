#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "distance/normalize.real.h"
#include "distance/normalize_math.real.h"

static void apply_none(int64_t count, real far, real *s, real *slope)
{
    if (slope)
#pragma omp parallel for simd schedule(static)
        for (int64_t i = 0; i < count; i++)
            slope[i] = dbi_plain_slope_f32(s[i]);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++)
        s[i] = dbi_plain_f32(s[i], far);
}

static void apply_clip(int64_t count, real t, real *s, real *slope)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        if (slope)
            slope[i] = dbi_clipped_slope_f32(s[i], t);
        s[i] = dbi_clipped_f32(s[i], t);
    }
}

/* Largest finite value and largest finite negated value. */
static void maxima(int64_t count, const real *s, real *inside, real *outside)
{
    real most = 0, least = 0;
#pragma omp parallel for schedule(static) reduction(max : most) reduction(min : least)
    for (int64_t i = 0; i < count; i++) {
        if (isinf(s[i]))
            continue;
        most = s[i] > most ? s[i] : most;
        least = s[i] < least ? s[i] : least;
    }
    *inside = most;
    *outside = -least;
}

static int apply_max(const int64_t shape[3], int64_t count, real *s, real *slope, dbi_error *error)
{
    uint8_t *boundary = dbi_alloc((size_t)count, 1, error);
    if (!boundary)
        return -1;
#pragma omp parallel for schedule(static)
    for (int64_t x = 0; x < shape[0]; x++)
        for (int64_t y = 0; y < shape[1]; y++)
            for (int64_t z = 0; z < shape[2]; z++) {
                const int64_t i = (x * shape[1] + y) * shape[2] + z;
                boundary[i] = dbi_on_inner_boundary_f32(s + i, x, y, z, shape);
            }
    real inside, outside;
    maxima(count, s, &inside, &outside);
    const real up = dbi_maximum_factor_f32(inside), down = dbi_maximum_factor_f32(outside);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        const real factor = boundary[i] || isinf(s[i]) ? 0 : s[i] > 0 ? up : down;
        s[i] = dbi_scaled_f32(s[i], factor);
        if (slope)
            slope[i] = factor;
    }
    free(boundary);
    return 0;
}

int dbi_normalize_apply_f32(const dbi_normalize *normalize, const int64_t shape[3], const double spacing[3], real *s,
                            real *slope, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    switch (normalize->kind) {
    case DBI_NORMALIZE_NONE:
        apply_none(count, (real)dbi_diagonal(shape, spacing), s, slope);
        return 0;
    case DBI_NORMALIZE_CLIP:
        apply_clip(count, (real)normalize->t, s, slope);
        return 0;
    case DBI_NORMALIZE_MAX:
        return apply_max(shape, count, s, slope, error);
    }
    return dbi_fail(error, "unknown normalization");
}
