#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "distance/normalize.real.h"

static void apply_none(int64_t count, real far, real *s, real *slope)
{
    if (slope)
#pragma omp parallel for simd schedule(static)
        for (int64_t i = 0; i < count; i++)
            slope[i] = s[i] > -(real)INFINITY && s[i] < (real)INFINITY;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++)
        s[i] = s[i] == (real)INFINITY ? far : s[i] == -(real)INFINITY ? -far : s[i];
}

static void apply_clip(int64_t count, real t, real *s, real *slope)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        if (slope)
            slope[i] = s[i] > -t && s[i] < t ? 1 / t : 0;
        s[i] = s[i] >= t ? 1 : s[i] <= -t ? -1 : s[i] / t;
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

static int on_inner_boundary(const real *s, int64_t i, const int64_t at[3], const int64_t shape[3])
{
    const int64_t stride[3] = {shape[1] * shape[2], shape[2], 1};
    if (!(s[i] > 0))
        return 0;
    for (int a = 0; a < 3; a++)
        if ((at[a] > 0 && !(s[i - stride[a]] > 0)) || (at[a] + 1 < shape[a] && !(s[i + stride[a]] > 0)))
            return 1;
    return 0;
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
                int64_t i = (x * shape[1] + y) * shape[2] + z, at[3] = {x, y, z};
                boundary[i] = (uint8_t)on_inner_boundary(s, i, at, shape);
            }
    real inside, outside;
    maxima(count, s, &inside, &outside);
    const real up = inside > 0 ? 1 / inside : 0, down = outside > 0 ? 1 / outside : 0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        real factor = boundary[i] || isinf(s[i]) ? 0 : s[i] > 0 ? up : down;
        s[i] = factor > 0 ? s[i] * factor : 0;
        if (slope)
            slope[i] = factor;
    }
    free(boundary);
    return 0;
}

int dbi_normalize_apply_f32(const dbi_normalize *normalize, const int64_t shape[3], const double spacing[3], real *s, real *slope, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    const double x = (double)shape[0] * spacing[0], y = (double)shape[1] * spacing[1], z = (double)shape[2] * spacing[2];
    switch (normalize->kind) {
    case DBI_NORMALIZE_NONE:
        apply_none(count, (real)sqrt(x * x + y * y + z * z), s, slope);
        return 0;
    case DBI_NORMALIZE_CLIP:
        apply_clip(count, (real)normalize->t, s, slope);
        return 0;
    case DBI_NORMALIZE_MAX:
        return apply_max(shape, count, s, slope, error);
    }
    return dbi_fail(error, "unknown normalization");
}
