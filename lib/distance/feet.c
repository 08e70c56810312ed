#include "distance/feet.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distance/squares_math.h"

enum { LANES = 16 };

int dbi_feet_check(const int64_t shape[3], dbi_error *error)
{
    int64_t count;
    if (!dbi_count(shape, 3, &count) || count > UINT32_MAX / 3 - 1)
        return dbi_fail(error, "a volume of shape [%lld,%lld,%lld] is too large", (long long)shape[0],
                        (long long)shape[1], (long long)shape[2]);
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

/* For each voxel the points of the other voxels of its line are tried, those of the nearest voxels first, until no
 * farther voxel can have a nearer point. This is done for LANES voxels side by side, and then takes less time than
 * the lower envelope of parabolas as long as distances are below a few hundred voxels. */

/* The lanes of voxel i, and of the one that they are compared with, k away. */
static inline void choose(float *best, uint32_t *foot, const float *square, const uint32_t *edge, float k2)
{
#pragma omp simd
    for (int j = 0; j < LANES; j++) {
        const float candidate = square[j] + k2;
        const int nearer = candidate < best[j];
        foot[j] = nearer ? edge[j] : foot[j];
        best[j] = nearer ? candidate : best[j];
    }
}

/* Whether a voxel k or more away could still be nearer to one of the lanes. */
static inline bool is_open(const float *best, float k2)
{
    int open = 0;
#pragma omp simd reduction(| : open)
    for (int j = 0; j < LANES; j++)
        open |= best[j] > k2;
    return open;
}

static inline void store(const float *best, const uint32_t *foot, float limit, int64_t lanes, float *square,
                         uint32_t *edge)
{
    for (int64_t j = 0; j < lanes; j++) {
        square[j] = dbi_within(best[j], limit);
        edge[j] = best[j] > limit ? DBI_NO_EDGE : foot[j];
    }
}

/* Up to LANES lines side by side: voxel i of lane j at i * stride + j. */
typedef struct tile {
    float *square;  /* [n][LANES] */
    uint32_t *edge; /* [n][LANES] */
    uint8_t *found; /* [n]: one of the lanes has a point within the limit */
} tile;

static inline void fill_tile(const tile *t, const float *square, const uint32_t *edge, int64_t lanes, int64_t n,
                             int64_t stride, float limit)
{
    for (int64_t i = 0; i < n; i++) {
        float *to = t->square + i * LANES;
        uint32_t *to_edge = t->edge + i * LANES;
        if (lanes == LANES) {
            memcpy(to, square + i * stride, LANES * sizeof *to);
            memcpy(to_edge, edge + i * stride, LANES * sizeof *to_edge);
        } else {
            for (int64_t j = 0; j < LANES; j++) {
                to[j] = square[i * stride + (j < lanes ? j : lanes - 1)];
                to_edge[j] = edge[i * stride + (j < lanes ? j : lanes - 1)];
            }
        }
        int found = 0;
#pragma omp simd reduction(| : found)
        for (int j = 0; j < LANES; j++)
            found |= to[j] <= limit;
        t->found[i] = (uint8_t)found;
    }
}

DBI_CLONES static void pass_across(float *square, uint32_t *edge, int64_t lanes, int64_t n, int64_t stride, float limit,
                                   const tile *t)
{
    fill_tile(t, square, edge, lanes, n, stride, limit);
    for (int64_t i = 0; i < n; i++) {
        float best[LANES];
        uint32_t foot[LANES];
        memcpy(best, t->square + i * LANES, sizeof best);
        memcpy(foot, t->edge + i * LANES, sizeof foot);
        bool changed = true; /* since the last look at what is open, which takes as long as a choice: not at every k */
        for (int64_t k = 1; k <= i || k < n - i; k++) {
            const float k2 = (float)(k * k);
            if (k2 > limit || (changed && k % 2 && !is_open(best, k2)))
                break;
            const bool before = k <= i && t->found[i - k], after = k < n - i && t->found[i + k];
            if (before)
                choose(best, foot, t->square + (i - k) * LANES, t->edge + (i - k) * LANES, k2);
            if (after)
                choose(best, foot, t->square + (i + k) * LANES, t->edge + (i + k) * LANES, k2);
            changed = before || after || (changed && k % 2 == 0);
        }
        store(best, foot, limit, lanes, square + i * stride, edge + i * stride);
    }
}

/* One contiguous line. The tile holds it between LANES voxels on either side that are infinitely far away: lanes
 * that look beyond the ends of the line find these. `found` has a value for each block of LANES voxels, counted from
 * the first of these on. */
static bool fill_line(const tile *t, const float *square, const uint32_t *edge, int64_t n, float limit)
{
    const int64_t blocks = n / LANES + 3;
    for (int64_t j = 0; j < blocks * LANES; j++)
        t->square[j] = INFINITY;
    memcpy(t->square + LANES, square, (size_t)n * sizeof *square);
    memcpy(t->edge + LANES, edge, (size_t)n * sizeof *edge);
    int any = 0;
    for (int64_t block = 0; block < blocks; block++) {
        int found = 0;
#pragma omp simd reduction(| : found)
        for (int j = 0; j < LANES; j++)
            found |= t->square[block * LANES + j] <= limit;
        t->found[block] = (uint8_t)found;
        any |= found;
    }
    return any;
}

static inline bool found_from(const tile *t, int64_t place)
{
    return t->found[place / LANES] | t->found[(place + LANES - 1) / LANES];
}

DBI_CLONES static void pass_along(float *square, uint32_t *edge, int64_t n, float limit, const tile *t)
{
    if (!fill_line(t, square, edge, n, limit)) {
        for (int64_t i = 0; i < n; i++) {
            square[i] = INFINITY;
            edge[i] = DBI_NO_EDGE;
        }
        return;
    }
    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t lanes = n - i < LANES ? n - i : LANES, at = i + LANES;
        float best[LANES];
        uint32_t foot[LANES];
        for (int64_t j = 0; j < LANES; j++) {
            best[j] = t->square[at + (j < lanes ? j : lanes - 1)];
            foot[j] = t->edge[at + (j < lanes ? j : lanes - 1)];
        }
        bool changed = true;
        for (int64_t k = 1; k < at || k < n - i; k++) {
            const float k2 = (float)(k * k);
            if (k2 > limit || (changed && k % 2 && !is_open(best, k2)))
                break;
            const bool before = k < at && found_from(t, at - k), after = k < n - i && found_from(t, at + k);
            if (before)
                choose(best, foot, t->square + at - k, t->edge + at - k, k2);
            if (after)
                choose(best, foot, t->square + at + k, t->edge + at + k, k2);
            changed = before || after || (changed && k % 2 == 0);
        }
        store(best, foot, limit, lanes, square + i, edge + i);
    }
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t tile_bytes(size_t n)
{
    return round_up((n + 3) * (2 * LANES * sizeof(float) + 1));
}

static tile tile_of_thread(char *arena, size_t n)
{
    char *own = arena + (size_t)omp_get_thread_num() * tile_bytes(n);
    const size_t half = (n + 3) * LANES * sizeof(float);
    return (tile){(float *)own, (uint32_t *)(own + half), (uint8_t *)(own + 2 * half)};
}

int dbi_feet_pass(dbi_feet *feet, const int64_t shape[3], int axis, double limit, dbi_error *error)
{
    const int64_t n = shape[axis], inner = axis == 0 ? shape[1] * shape[2] : shape[2],
                  tiles = (inner + LANES - 1) / LANES;
    const int64_t outer = axis == 1 ? shape[0] : 1;
    const float most = dbi_most_square(limit);
    char *arena = dbi_alloc((size_t)omp_get_max_threads(), tile_bytes((size_t)n), error);
    if (!arena)
        return -1;
#pragma omp parallel
    {
        const tile t = tile_of_thread(arena, (size_t)n);
        if (axis == 2) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < shape[0] * shape[1]; i++)
                pass_along(feet->square + i * n, feet->edge + i * n, n, most, &t);
        } else {
#pragma omp for schedule(static)
            for (int64_t k = 0; k < outer * tiles; k++) {
                const int64_t first = k % tiles * LANES, at = k / tiles * n * inner + first;
                pass_across(feet->square + at, feet->edge + at, inner - first < LANES ? inner - first : LANES, n, inner,
                            most, &t);
            }
        }
    }
    free(arena);
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
