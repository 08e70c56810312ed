#include "distance/edt.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distance/envelope.h"
#include "distance/normalize.h"
#include "distance/normalize.real.h"
#include "distance/squares_math.h"

/* One array holds both sides: each voxel's squared distance to the other side, with the sign of its own. The
 * contiguous axis is scanned. The other two are done for LANES lines side by side: for each voxel, the voxels of its
 * line are tried from the nearest on, at a minimum and an addition of vectors for each. The time of that grows with
 * the square of the distance. Lower envelopes take linear time, but do one voxel at a time: they take over where a
 * tile of lines has cost as much as they would. */

enum {
    LANES = 16,        /* lines that are copied to the cache and back together: a cache line of floats */
    STEPS_A_VOXEL = 48 /* an envelope takes about as long for a voxel of each of the lines */
};

typedef enum side { INSIDE, OUTSIDE, SIDES } side;

/* Lines side by side. Each side has an array of its own, [n][LANES], in which the voxels of the other side are at
 * distance 0. */
typedef struct tile {
    float *square[SIDES];
    float *before[SIDES], *after[SIDES]; /* [n + 1][LANES]: the least square of the rows before this one, and of this
                                            one and those after it */
    uint8_t *has[SIDES];                 /* [n]: one of the row's voxels is on this side */
    float *line;                         /* [n]: one line, for the envelope */
    envelope hull;
} tile;

/* What a pass along an axis needs to know of it. */
typedef struct axis {
    int32_t n;
    float w, inverse_w;  /* squared spacing */
    float limit;         /* squares above it are INFINITY */
    const float *square; /* [n + 1]: w k² */
    const double *inverse;
    bool both; /* both sides are wanted, or the outer one alone */
    bool root; /* distances, not their squares, are stored */
} axis;

static void *take(char **arena, size_t bytes)
{
    char *taken = *arena;
    *arena += (bytes + 63) / 64 * 64;
    return taken;
}

static size_t tile_bytes(int64_t longest)
{
    size_t n = (size_t)longest;
    return SIDES * (3 * LANES * (n + 1) * sizeof(float) + n + 4 * 64) + n * sizeof(float) + 64 +
           ((n + 2) * (sizeof(int32_t) + sizeof(float) + sizeof(double)) + 3 * 64);
}

static tile tile_of_thread(char *arena, int64_t longest)
{
    size_t n = (size_t)longest;
    tile t;
    arena += (size_t)omp_get_thread_num() * ((tile_bytes(longest) + 63) / 64 * 64);
    for (side s = 0; s < SIDES; s++) {
        t.square[s] = take(&arena, LANES * n * sizeof(float));
        t.before[s] = take(&arena, LANES * (n + 1) * sizeof(float));
        t.after[s] = take(&arena, LANES * (n + 1) * sizeof(float));
        t.has[s] = take(&arena, n);
    }
    t.line = take(&arena, n * sizeof(float));
    t.hull.from = take(&arena, (n + 2) * sizeof(double));
    t.hull.height = take(&arena, (n + 2) * sizeof(float));
    t.hull.at = take(&arena, (n + 2) * sizeof(int32_t));
    return t;
}

/* First axis of the transform, the contiguous one: distances along the line. */
DBI_CLONES static void scan_line(const uint8_t *label, uint8_t value, int32_t n, float w, float limit, float *d)
{
    for (int32_t a = 0, b; a < n; a = b) {
        const bool inside = label[a] == value;
        for (b = a + 1; b < n && (label[b] == value) == inside; b++)
            ;
        const float sign = inside ? 1 : -1;
        if (a == 0 && b == n) {
            for (int32_t i = 0; i < n; i++)
                d[i] = sign * INFINITY;
            return;
        }
        const int32_t before = a > 0 ? 1 - a : n, after = b < n ? b : 2 * n; /* n and more: none */
        for (int32_t i = a; i < b; i++) {
            const int32_t left = i + before, right = after - i, k = left < right ? left : right;
            d[i] = sign * dbi_within(dbi_steps_square(w, (float)k), limit);
        }
    }
}

/* Returns false if the tile has nothing that any of its voxels could be near to. */
DBI_INLINE bool fill_tile(const tile *t, const axis *along, const float *d, int64_t lanes, int64_t stride)
{
    int sides[SIDES] = {0}, found = 0;
    for (int64_t i = 0; i < along->n; i++) {
        float *in = t->square[INSIDE] + i * LANES, *out = t->square[OUTSIDE] + i * LANES, row[LANES];
        if (lanes == LANES)
#pragma omp simd
            for (int j = 0; j < LANES; j++)
                row[j] = d[i * stride + j];
        else
            for (int64_t j = 0; j < LANES; j++)
                row[j] = d[i * stride + (j < lanes ? j : lanes - 1)];
        int any_in = 0, any_out = 0;
#pragma omp simd reduction(| : any_in, any_out, found)
        for (int j = 0; j < LANES; j++) {
            in[j] = row[j] > 0 ? row[j] : 0;
            out[j] = row[j] < 0 ? -row[j] : 0;
            any_in |= row[j] > 0;
            any_out |= row[j] < 0;
            found |= fabsf(row[j]) <= along->limit;
        }
        sides[INSIDE] |= t->has[INSIDE][i] = (uint8_t)any_in;
        sides[OUTSIDE] |= t->has[OUTSIDE][i] = (uint8_t)any_out;
    }
    return found || (sides[INSIDE] && sides[OUTSIDE]);
}

DBI_INLINE void find_least(const tile *t, const axis *along, side s)
{
    float *before = t->before[s], *after = t->after[s] + (int64_t)along->n * LANES;
    for (int j = 0; j < LANES; j++)
        before[j] = after[j] = INFINITY;
    for (int64_t i = 0; i < along->n; i++) {
        const float *first = t->square[s] + i * LANES, *last = t->square[s] + (along->n - 1 - i) * LANES;
        float *next = before + LANES, *previous = after - LANES;
#pragma omp simd
        for (int j = 0; j < LANES; j++) {
            next[j] = first[j] < before[j] ? first[j] : before[j];
            previous[j] = last[j] < after[j] ? last[j] : after[j];
        }
        before = next;
        after = previous;
    }
}

DBI_INLINE int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* A square in rows, rounded down, but so that the last place of a rounded square takes no row away. */
DBI_INLINE int32_t rows_of(const axis *along, int32_t reach, float square)
{
    const float rows = sqrtf(square * along->inverse_w) * (1 + 1e-6f);
    return rows < (float)reach ? (int32_t)rows : reach;
}

/* How many rows away, up to `reach`, squares can be that lower `best` when they are added to no less than `least`. */
DBI_INLINE int32_t within(const axis *along, int32_t reach, const float best[LANES], const float least[LANES])
{
    float most = 0;
#pragma omp simd reduction(max : most)
    for (int j = 0; j < LANES; j++) {
        const float room = best[j] > least[j] ? best[j] - least[j] : 0;
        most = room > most ? room : most;
    }
    return rows_of(along, reach, most);
}

/* best[j] becomes the least of square[i][j] + w (i - row)² over the rows i that are up to `reach` away. Returns how
 * many steps that took. */
DBI_INLINE int64_t search(const axis *along, const tile *t, side s, int32_t row, int32_t reach,
                          float best[restrict LANES])
{
    const float *at = t->square[s] + (int64_t)row * LANES;
    const int32_t before = within(along, smaller(reach, row), best, t->before[s] + (int64_t)row * LANES),
                  after =
                      within(along, smaller(reach, along->n - 1 - row), best, t->after[s] + (int64_t)(row + 1) * LANES),
                  common = smaller(before, after), rest = before > after ? before : after;
    const int64_t way = before > after ? -LANES : LANES;
    for (int64_t k = 1; k <= common; k++) {
        const float *a = at - k * LANES, *b = at + k * LANES;
#pragma omp simd
        for (int j = 0; j < LANES; j++) {
            const float candidate = (a[j] < b[j] ? a[j] : b[j]) + along->square[k];
            best[j] = candidate < best[j] ? candidate : best[j];
        }
    }
    for (int64_t k = common + 1; k <= rest; k++) {
        const float *a = at + way * k;
#pragma omp simd
        for (int j = 0; j < LANES; j++) {
            const float candidate = a[j] + along->square[k];
            best[j] = candidate < best[j] ? candidate : best[j];
        }
    }
    return rest;
}

/* How many rows away, up to `reach`, the largest of these squares is. */
DBI_INLINE int32_t rows_to(const axis *along, int32_t reach, const float best[LANES])
{
    float most = 0;
#pragma omp simd reduction(max : most)
    for (int j = 0; j < LANES; j++)
        most = best[j] > most ? best[j] : most;
    return rows_of(along, reach, most);
}

DBI_INLINE void store_row(const axis *along, const float row[LANES], int64_t lanes, float *d)
{
    float out[LANES];
#pragma omp simd
    for (int j = 0; j < LANES; j++) {
        const float square = dbi_within(fabsf(row[j]), along->limit);
        out[j] = copysignf(along->root ? sqrtf(square) : square, row[j]);
    }
    if (lanes == LANES)
#pragma omp simd
        for (int j = 0; j < LANES; j++)
            d[j] = out[j];
    else
        for (int64_t j = 0; j < lanes; j++)
            d[j] = out[j];
}

DBI_INLINE int any(const uint8_t *mask, int64_t count)
{
    int found = 0;
    for (int64_t i = 0; i < count; i++)
        found |= mask[i];
    return found;
}

/* From a row to the next a distance changes by one step at most, which says how far the next row has to look.
 * Returns false when that has become too far to pay; then some rows of d are done, and the tile is as it was. */
DBI_INLINE bool search_tile(const tile *t, const axis *along, int32_t farthest, const uint8_t *wanted, int64_t lanes,
                            int64_t stride, float *d)
{
    int64_t steps = 0;
    int32_t reach[SIDES] = {farthest, farthest};
    for (side s = along->both ? INSIDE : OUTSIDE; s < SIDES; s++)
        find_least(t, along, s);
    for (int32_t i = 0; i < along->n; i++) {
        float best[SIDES][LANES];
        for (int s = INSIDE; s < SIDES; s++) {
#pragma omp simd
            for (int j = 0; j < LANES; j++)
                best[s][j] = t->square[s][(int64_t)i * LANES + j];
            if (!t->has[s][i] || (s == INSIDE && !along->both)) {
                reach[s] = 0;
                continue;
            }
            reach[s] = smaller(reach[s] + 1, farthest);
            if (wanted && !any(wanted + i * stride, lanes))
                continue;
            steps += search(along, t, s, i, reach[s], best[s]);
            reach[s] = rows_to(along, reach[s], best[s]);
        }
        if (steps > (int64_t)STEPS_A_VOXEL * along->n)
            return false;
        float row[LANES];
#pragma omp simd
        for (int j = 0; j < LANES; j++)
            row[j] = best[INSIDE][j] > 0 ? best[INSIDE][j] : -best[OUTSIDE][j];
        store_row(along, row, lanes, d + i * stride);
    }
    return true;
}

/* Voxels a to b - 1 of a line of n, all of one sign. The voxels next to them are on the other side, at distance 0,
 * and no voxel beyond those can be nearer: two parabolas of height 0 end the run's envelope. */
static void envelope_run(float *d, int32_t a, int32_t b, const axis *along, envelope *e)
{
    const float sign = d[a] > 0 ? 1 : -1;
    e->top = -1;
    if (a > 0)
        envelope_push(e, a - 1, 0);
    for (int32_t i = a; i < b; i++)
        if (fabsf(d[i]) <= along->limit)
            envelope_push(e, i, fabsf(d[i]));
    if (b < along->n)
        envelope_push(e, b, 0);
    if (e->top < 0)
        return;
    e->from[e->top + 1] = 1e300;
    for (int32_t i = a, k = 0; i < b; i++) {
        while (e->from[k + 1] < i)
            k++;
        d[i] = sign * (e->height[k] + along->square[abs(i - e->at[k])]);
    }
}

static void envelope_line(float *d, const axis *along, envelope *e)
{
    for (int32_t a = 0, b; a < along->n; a = b) {
        const bool inside = d[a] > 0;
        for (b = a + 1; b < along->n && (d[b] > 0) == inside; b++)
            ;
        if (along->both || !inside)
            envelope_run(d, a, b, along, e);
    }
}

DBI_INLINE void envelope_tile(tile *t, const axis *along, int64_t lanes, int64_t stride, float *d)
{
    t->hull.inverse = along->inverse;
    for (int64_t j = 0; j < lanes; j++) {
        for (int64_t i = 0; i < along->n; i++)
            t->line[i] = t->square[INSIDE][i * LANES + j] - t->square[OUTSIDE][i * LANES + j];
        envelope_line(t->line, along, &t->hull);
        for (int64_t i = 0; i < along->n; i++)
            t->square[INSIDE][i * LANES + j] = t->line[i];
    }
    for (int64_t i = 0; i < along->n; i++)
        store_row(along, t->square[INSIDE] + i * LANES, lanes, d + i * stride);
}

/* Lines of n voxels, `stride` apart, beginning at d[0] to d[count - 1]. wanted: NULL, or where distances are wanted. */
DBI_CLONES static void pass_lines(float *d, const uint8_t *wanted, int64_t count, int64_t stride, const axis *along,
                                  tile *t)
{
    int32_t farthest = along->n - 1;
    while (farthest > 0 && along->square[farthest] > along->limit)
        farthest--;
    for (int64_t first = 0; first < count; first += LANES) {
        const int64_t lanes = count - first < LANES ? count - first : LANES;
        if (fill_tile(t, along, d + first, lanes, stride) &&
            !search_tile(t, along, farthest, wanted ? wanted + first : NULL, lanes, stride, d + first))
            envelope_tile(t, along, lanes, stride, d + first);
    }
}

static int check(const int64_t shape[3], const double spacing[3], int64_t *count, dbi_error *error)
{
    if (!dbi_count(shape, 3, count))
        return dbi_fail(error, "impossible shape [%lld,%lld,%lld]", (long long)shape[0], (long long)shape[1],
                        (long long)shape[2]);
    for (int a = 0; a < 3; a++) {
        if (shape[a] > INT32_MAX / 2 - 2)
            return dbi_fail(error, "an axis of %lld voxels is too long", (long long)shape[a]);
        if (!(spacing[a] > 0) || !isfinite(spacing[a]))
            return dbi_fail(error, "a spacing of %g is not positive", spacing[a]);
    }
    return 0;
}

/* The axis's tables follow one another in `arena`. */
static axis axis_of(int64_t n, double spacing, float limit, bool both, bool root, char **arena)
{
    const double w = spacing * spacing;
    float *square = take(arena, (size_t)(n + 1) * sizeof *square);
    double *inverse = take(arena, (size_t)(n + 2) * sizeof *inverse);
    for (int64_t k = 0; k <= n; k++)
        square[k] = dbi_steps_square((float)w, (float)k);
    for (int64_t k = 1; k < n + 2; k++)
        inverse[k] = 1 / (2 * w * (double)k);
    return (axis){(int32_t)n, (float)w, (float)(1 / w), limit, square, inverse, both, root};
}

static size_t axis_bytes(int64_t n)
{
    return (size_t)(n + 1) * sizeof(float) + (size_t)(n + 2) * sizeof(double) + 2 * 64;
}

static int transform(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3], double limit,
                     bool both, const uint8_t *wanted, bool root, float *out, dbi_error *error)
{
    int64_t count;
    if (check(shape, spacing, &count, error))
        return -1;
    if (!count)
        return 0;
    const int64_t nx = shape[0], ny = shape[1], nz = shape[2], longest = nx > ny ? nx : ny;
    char *tables = dbi_alloc(axis_bytes(nx) + axis_bytes(ny), 1, error), *free_tables = tables;
    char *tiles = tables ? dbi_alloc((size_t)omp_get_max_threads(), (tile_bytes(longest) + 63) / 64 * 64, error) : NULL;
    if (!tiles) {
        free(tables);
        return -1;
    }
    const float largest = dbi_most_square(limit);
    const axis x = axis_of(nx, spacing[0], largest, both, root, &free_tables),
               y = axis_of(ny, spacing[1], largest, both, false, &free_tables);
    const float wz = (float)(spacing[2] * spacing[2]);
#pragma omp parallel
    {
        tile t = tile_of_thread(tiles, longest);
#pragma omp for schedule(dynamic, 2)
        for (int64_t i = 0; i < nx; i++) {
            for (int64_t j = 0; j < ny; j++)
                scan_line(label + (i * ny + j) * nz, value, (int32_t)nz, wz, largest, out + (i * ny + j) * nz);
            pass_lines(out + i * ny * nz, NULL, nz, nz, &y, &t);
        }
#pragma omp for schedule(dynamic, 2)
        for (int64_t j = 0; j < ny; j++)
            pass_lines(out + j * nz, wanted ? wanted + j * nz : NULL, nz, ny * nz, &x, &t);
    }
    free(tiles);
    free(tables);
    return 0;
}

int dbi_squares(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3], double limit,
                const uint8_t *wanted, float *out, dbi_error *error)
{
    return transform(label, value, shape, spacing, limit, !wanted, wanted, false, out, error);
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
    int status = transform(zeros, 1, shape, spacing, 0, false, NULL, true, out, error);
    free(zeros);
    if (status)
        return -1;
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = out[i] > 0 ? 0 : -out[i];
    return 0;
}

int dbi_signed_distance(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3],
                        const dbi_normalize *normalize, float *out, dbi_error *error)
{
    int64_t count;
    if (check(shape, spacing, &count, error) ||
        transform(label, value, shape, spacing, dbi_normalize_limit(normalize), true, NULL, true, out, error))
        return -1;
    return dbi_normalize_apply_f32(normalize, shape, spacing, out, NULL, error);
}
