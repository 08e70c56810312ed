#include "distance/feet.h"

#include <math.h>
#include <stdlib.h>

#include "base/clones.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distance/envelope.h"

enum { LANES = 16 }; /* lines that are copied to the cache and back together */

int dbi_feet_check(const int64_t shape[3], dbi_error *error)
{
    int64_t count;
    if (!dbi_count(shape, 3, &count) || count > UINT32_MAX / 3 - 1)
        return dbi_fail(error, "a volume of shape [%lld,%lld,%lld] is too large", (long long)shape[0], (long long)shape[1], (long long)shape[2]);
    return 0;
}

int dbi_feet_alloc(dbi_feet *feet, int64_t count, dbi_error *error)
{
    feet->square = dbi_alloc((size_t)count, sizeof *feet->square, error);
    feet->edge = feet->square ? dbi_alloc((size_t)count, sizeof *feet->edge, error) : NULL;
    return feet->edge ? 0 : -1;
}

void dbi_feet_free(dbi_feet *feet)
{
    free(feet->square);
    free(feet->edge);
    *feet = (dbi_feet){0};
}

typedef struct scratch {
    float *square;  /* [LANES][n] */
    uint32_t *edge; /* [LANES][n] */
    uint32_t *kept; /* edges of the parabolas, by position */
    envelope hull;
} scratch;

static size_t scratch_bytes(size_t n)
{
    return (2 * LANES * n * sizeof(float) + n * sizeof(uint32_t) + (n + 2) * (sizeof(int32_t) + sizeof(float) + sizeof(double)) + 6 * 64 + 63) / 64 *
           64;
}

static void *take(char **arena, size_t bytes)
{
    char *taken = *arena;
    *arena += (bytes + 63) / 64 * 64;
    return taken;
}

static scratch scratch_of_thread(char *arena, size_t n, const double *inverse)
{
    scratch s;
    arena += (size_t)omp_get_thread_num() * scratch_bytes(n);
    s.square = take(&arena, LANES * n * sizeof(float));
    s.edge = take(&arena, LANES * n * sizeof(uint32_t));
    s.kept = take(&arena, n * sizeof(uint32_t));
    s.hull.from = take(&arena, (n + 2) * sizeof(double));
    s.hull.height = take(&arena, (n + 2) * sizeof(float));
    s.hull.at = take(&arena, (n + 2) * sizeof(int32_t));
    s.hull.inverse = inverse;
    return s;
}

static void pass_line(float *square, uint32_t *edge, int32_t n, float limit, uint32_t *kept, envelope *e)
{
    e->top = -1;
    for (int32_t i = 0; i < n; i++)
        if (square[i] <= limit) {
            envelope_push(e, i, square[i]);
            kept[i] = edge[i];
        }
    if (e->top < 0)
        return;
    e->from[e->top + 1] = 1e300;
    for (int32_t i = 0, k = 0; i < n; i++) {
        while (e->from[k + 1] < i)
            k++;
        float away = (float)(i - e->at[k]), least = e->height[k] + away * away;
        square[i] = least > limit ? INFINITY : least;
        edge[i] = least > limit ? DBI_NO_EDGE : kept[e->at[k]];
    }
}

/* Lines of n voxels, `stride` apart, beginning at the first `count` ones. */
DBI_CLONES static void pass_lines(float *square, uint32_t *edge, int64_t count, int64_t n, int64_t stride, float limit, scratch *s)
{
    for (int64_t first = 0; first < count; first += LANES) {
        int64_t lanes = count - first < LANES ? count - first : LANES;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < lanes; j++) {
                s->square[j * n + i] = square[i * stride + first + j];
                s->edge[j * n + i] = edge[i * stride + first + j];
            }
        for (int64_t j = 0; j < lanes; j++)
            pass_line(s->square + j * n, s->edge + j * n, (int32_t)n, limit, s->kept, &s->hull);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < lanes; j++) {
                square[i * stride + first + j] = s->square[j * n + i];
                edge[i * stride + first + j] = s->edge[j * n + i];
            }
    }
}

int dbi_feet_pass(dbi_feet *feet, const int64_t shape[3], int axis, double limit, dbi_error *error)
{
    const int64_t nx = shape[0], ny = shape[1], nz = shape[2], n = shape[axis];
    const float most = limit > 0 && limit < 1e18 ? (float)(limit * limit * (1 + 1e-6)) : 3e38f;
    double *inverse = dbi_alloc((size_t)n + 1, sizeof *inverse, error);
    char *arena = inverse ? dbi_alloc((size_t)omp_get_max_threads(), scratch_bytes((size_t)n), error) : NULL;
    if (!arena) {
        free(inverse);
        return -1;
    }
    for (int64_t k = 1; k <= n; k++)
        inverse[k] = 1 / (2 * (double)k);
#pragma omp parallel
    {
        scratch s = scratch_of_thread(arena, (size_t)n, inverse);
        if (axis == 0) {
#pragma omp for schedule(static)
            for (int64_t y = 0; y < ny; y++)
                pass_lines(feet->square + y * nz, feet->edge + y * nz, nz, nx, ny * nz, most, &s);
        } else if (axis == 1) {
#pragma omp for schedule(static)
            for (int64_t x = 0; x < nx; x++)
                pass_lines(feet->square + x * ny * nz, feet->edge + x * ny * nz, nz, ny, nz, most, &s);
        } else {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < nx * ny; i++)
                pass_line(feet->square + i * nz, feet->edge + i * nz, (int32_t)nz, most, s.kept, &s.hull);
        }
    }
    free(arena);
    free(inverse);
    return 0;
}

void dbi_feet_merge(dbi_feet *feet, const dbi_feet *other, int64_t count)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++)
        if (other->square[i] < feet->square[i]) {
            feet->square[i] = other->square[i];
            feet->edge[i] = other->edge[i];
        }
}
