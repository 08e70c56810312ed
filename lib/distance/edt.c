#include "distance/edt.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clones.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distance/envelope.h"
#include "distance/normalize.h"
#include "distance/squares.h"

/* One array holds both sides: a voxel's squared distance to the other side, with the sign of its own. A line falls into runs of one sign; the
 * voxels next to a run belong to the other side, at distance 0, and no voxel beyond them can be nearer. So each run has its own envelope, ended
 * by two parabolas of height 0, and both sides together cost what one would. */

enum { LANES = 16 }; /* lines that are copied to the cache and back together: a cache line of floats */

typedef struct scratch {
    float *lines; /* [LANES][longest axis] */
    envelope hull;
} scratch;

static void *take(char **arena, size_t bytes)
{
    char *taken = *arena;
    *arena += (bytes + 63) / 64 * 64;
    return taken;
}

static size_t scratch_bytes(int64_t longest)
{
    size_t n = (size_t)longest;
    return (LANES * n * sizeof(float) + 64) + ((n + 2) * (sizeof(int32_t) + sizeof(float) + sizeof(double)) + 3 * 64);
}

static scratch scratch_of_thread(char *arena, int64_t longest)
{
    size_t n = (size_t)longest;
    scratch s;
    arena += (size_t)omp_get_thread_num() * ((scratch_bytes(longest) + 63) / 64 * 64);
    s.lines = take(&arena, LANES * n * sizeof(float));
    s.hull.from = take(&arena, (n + 2) * sizeof(double));
    s.hull.height = take(&arena, (n + 2) * sizeof(float));
    s.hull.at = take(&arena, (n + 2) * sizeof(int32_t));
    return s;
}

/* First axis of the transform, the contiguous one: distances along the line. */
static void scan_line(const uint8_t *label, uint8_t value, int64_t n, float w, float limit, float *d)
{
    for (int64_t a = 0, b; a < n; a = b) {
        bool inside = label[a] == value;
        for (b = a + 1; b < n && (label[b] == value) == inside; b++)
            ;
        float sign = inside ? 1 : -1;
        for (int64_t i = a; i < b; i++) {
            int64_t left = a > 0 ? i - a + 1 : INT32_MAX, right = b < n ? b - i : INT32_MAX;
            int64_t k = left < right ? left : right;
            float square = w * (float)k * (float)k;
            d[i] = sign * (k == INT32_MAX || square > limit ? INFINITY : square);
        }
    }
}

/* Voxels a to b - 1 of a line of n, all of one sign. */
static void pass_run(float *d, int32_t a, int32_t b, int32_t n, float w, float limit, envelope *e)
{
    float sign = d[a] > 0 ? 1 : -1;
    e->top = -1;
    if (a > 0)
        envelope_push(e, a - 1, 0);
    for (int32_t i = a; i < b; i++)
        if (fabsf(d[i]) <= limit)
            envelope_push(e, i, fabsf(d[i]));
    if (b < n)
        envelope_push(e, b, 0);
    if (e->top < 0)
        return;
    e->from[e->top + 1] = 1e300;
    for (int32_t i = a, k = 0; i < b; i++) {
        while (e->from[k + 1] < i)
            k++;
        float away = (float)(i - e->at[k]), square = e->height[k] + w * away * away;
        d[i] = sign * (square > limit ? INFINITY : square);
    }
}

static void pass_line(float *d, int32_t n, float w, float limit, bool both, envelope *e)
{
    for (int32_t a = 0, b; a < n; a = b) {
        bool inside = d[a] > 0;
        for (b = a + 1; b < n && (d[b] > 0) == inside; b++)
            ;
        if (both || !inside)
            pass_run(d, a, b, n, w, limit, e);
    }
}

/* Lines of n voxels, `stride` apart, beginning at d[0] to d[count - 1]. */
DBI_CLONES static void pass_lines(float *d, int64_t count, int64_t n, int64_t stride, float w, float limit, bool both, scratch *s)
{
    for (int64_t first = 0; first < count; first += LANES) {
        int64_t lanes = count - first < LANES ? count - first : LANES;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < lanes; j++)
                s->lines[j * n + i] = d[i * stride + first + j];
        for (int64_t j = 0; j < lanes; j++)
            pass_line(s->lines + j * n, (int32_t)n, w, limit, both, &s->hull);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < lanes; j++)
                d[i * stride + first + j] = s->lines[j * n + i];
    }
}

static int check(const int64_t shape[3], const double spacing[3], int64_t *count, dbi_error *error)
{
    if (!dbi_count(shape, 3, count))
        return dbi_fail(error, "impossible shape [%lld,%lld,%lld]", (long long)shape[0], (long long)shape[1], (long long)shape[2]);
    for (int a = 0; a < 3; a++) {
        if (shape[a] > INT32_MAX - 2)
            return dbi_fail(error, "an axis of %lld voxels is too long", (long long)shape[a]);
        if (!(spacing[a] > 0) || !isfinite(spacing[a]))
            return dbi_fail(error, "a spacing of %g is not positive", spacing[a]);
    }
    return 0;
}

int dbi_squares(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3], double limit, bool both, float *out,
                dbi_error *error)
{
    int64_t count;
    if (check(shape, spacing, &count, error))
        return -1;
    if (!count)
        return 0;
    const int64_t nx = shape[0], ny = shape[1], nz = shape[2];
    int64_t longest = nx > ny ? nx : ny;
    double *inverse = dbi_alloc((size_t)(longest + 2) * 2, sizeof *inverse, error);
    char *arena = inverse ? dbi_alloc((size_t)omp_get_max_threads(), (scratch_bytes(longest) + 63) / 64 * 64, error) : NULL;
    if (!arena) {
        free(inverse);
        return -1;
    }
    const double wx = spacing[0] * spacing[0], wy = spacing[1] * spacing[1], wz = spacing[2] * spacing[2];
    /* Rounding must not lose what lies at the limit. */
    const float most = limit > 0 && limit < 1e18 ? (float)(limit * limit * (1 + 1e-6)) : INFINITY;
    double *inverse_x = inverse, *inverse_y = inverse + longest + 2;
    for (int64_t k = 1; k < longest + 2; k++) {
        inverse_x[k] = 1 / (2 * wx * (double)k);
        inverse_y[k] = 1 / (2 * wy * (double)k);
    }
    const float largest = most < INFINITY ? most : 3e38f; /* a height above it is no parabola: nothing was found yet */
#pragma omp parallel
    {
        scratch s = scratch_of_thread(arena, longest);
        s.hull.inverse = inverse_y;
#pragma omp for schedule(static)
        for (int64_t x = 0; x < nx; x++) {
            for (int64_t y = 0; y < ny; y++)
                scan_line(label + (x * ny + y) * nz, value, nz, (float)wz, largest, out + (x * ny + y) * nz);
            pass_lines(out + x * ny * nz, nz, ny, nz, (float)wy, largest, both, &s);
        }
        s.hull.inverse = inverse_x;
#pragma omp for schedule(static)
        for (int64_t y = 0; y < ny; y++)
            pass_lines(out + y * nz, nz, nx, ny * nz, (float)wx, largest, both, &s);
    }
    free(arena);
    free(inverse);
    return 0;
}

int dbi_edt(const uint8_t *mask, const int64_t shape[3], const double spacing[3], float *out, dbi_error *error)
{
    /* The zeros of the mask are the side whose distances are wanted. */
    int64_t count;
    if (check(shape, spacing, &count, error))
        return -1;
    uint8_t *zeros = dbi_alloc((size_t)count, 1, error);
    if (!zeros)
        return -1;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++)
        zeros[i] = mask[i] != 0;
    int status = dbi_squares(zeros, 1, shape, spacing, 0, false, out, error);
    free(zeros);
    if (status)
        return -1;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = out[i] > 0 ? 0 : sqrtf(-out[i]);
    return 0;
}

int dbi_signed_distance(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3], const dbi_normalize *normalize,
                        float *out, dbi_error *error)
{
    int64_t count;
    double limit = normalize->kind == DBI_NORMALIZE_CLIP ? normalize->t : 0;
    if (check(shape, spacing, &count, error) || dbi_squares(label, value, shape, spacing, limit, true, out, error))
        return -1;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = copysignf(sqrtf(fabsf(out[i])), out[i]);
    return dbi_normalize_apply_f32(normalize, shape, spacing, out, NULL, error);
}
