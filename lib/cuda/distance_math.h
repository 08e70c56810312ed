/* How the device looks for distances, voxel by voxel. The formulas are the host's, in headers ..._math.h of
 * lib/distance.
 *
 * A voxel looks along its line for what is nearest, from its neighbours on, and stops as soon as nothing farther can
 * be nearer. For the distances that training clips this takes a few loads. Each voxel has a thread of its own, and
 * the loads of neighbouring threads lie side by side whatever the axis. Envelopes take linear time however long the
 * distances are, but would leave one thread for each line: too few for a device that hides the time its memory takes
 * behind a hundred times as many. */
#ifndef DBI_CUDA_DISTANCE_MATH_H
#define DBI_CUDA_DISTANCE_MATH_H

#include "cuda/geometry.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "distance/conv_math.real.h"
#include "distance/feet.h"
#include "distance/levelset_math.real.h"
#include "distance/normalize.h"
#include "distance/normalize_math.real.h"
#include "distance/squares_math.h"

#ifdef __cplusplus
}
#endif

/* ---- Maps and their voxels ---- */

/* Voxels of a map have 32-bit numbers (so have edges, see feet.h), and blocks do not cross from one map into the
 * next. */
typedef struct dbi_maps {
    uint32_t size[3], stride[3], voxels;
    int64_t shape[3];      /* the size, as the formulas want it */
    int64_t count, blocks; /* maps; blocks of DBI_BLOCK threads for each of them */
} dbi_maps;

DBI_HD dbi_maps dbi_maps_make(const int64_t shape[3], int64_t count)
{
    dbi_maps m;
    for (int a = 0; a < 3; a++)
        m.size[a] = (uint32_t)(m.shape[a] = shape[a]);
    m.stride[0] = m.size[1] * m.size[2];
    m.stride[1] = m.size[2];
    m.stride[2] = 1;
    m.voxels = m.size[0] * m.stride[0];
    m.count = count;
    m.blocks = dbi_cuda_blocks(m.voxels, DBI_BLOCK);
    return m;
}

/* One thread, one voxel. */
typedef struct dbi_voxel {
    bool valid;
    int64_t map, base; /* base: of the map's voxel 0 in the array of all maps */
    uint32_t i;
} dbi_voxel;

DBI_HD dbi_voxel dbi_voxel_of(const dbi_maps *m, int64_t block, int thread)
{
    dbi_voxel v;
    v.map = dbi_divide(block, m->blocks);
    const int64_t i = (block - v.map * m->blocks) * DBI_BLOCK + thread;
    v.base = v.map * (int64_t)m->voxels;
    v.valid = i < (int64_t)m->voxels;
    v.i = (uint32_t)i;
    return v;
}

DBI_HD void dbi_place_of(const dbi_maps *m, uint32_t i, uint32_t at[3])
{
    at[0] = i / m->stride[0];
    const uint32_t rest = i - at[0] * m->stride[0];
    at[1] = rest / m->stride[1];
    at[2] = rest - at[1] * m->stride[1];
}

/* The coordinate along one axis alone. */
DBI_HD uint32_t dbi_here(const dbi_maps *m, uint32_t i, int axis)
{
    return i / m->stride[axis] % m->size[axis];
}

/* ---- Feet of the level set ---- */

typedef struct dbi_foot {
    float square;
    uint32_t edge;
} dbi_foot;

/* How far a voxel looks for a crossing: as long as the near end of an edge is not beyond `most`. */
DBI_HD uint32_t dbi_reach(float most, uint32_t n)
{
    const float root = sqrtf(most);
    uint32_t reach = root < (float)n ? (uint32_t)root : n;
    while (reach > 0 && (float)reach * (float)reach > most)
        reach--;
    while (reach < n && (float)(reach + 1) * (float)(reach + 1) <= most)
        reach++;
    return reach < n ? reach + 1 : n;
}

/* How far from voxel i, at most `last`, the first one on the other side is, 0 if there is none; step: -stride or
 * stride. Several are loaded at once, past the last one that one again. */
DBI_HD uint32_t dbi_other_side(const float *p, uint32_t i, uint32_t step, uint32_t last, bool inside)
{
    enum { AHEAD = 4 };
    for (uint32_t k = 1; k <= last; k += AHEAD) {
        float there[AHEAD];
        DBI_UNROLL
        for (uint32_t u = 0; u < AHEAD; u++)
            there[u] = p[(uint32_t)(i + (k + u < last ? k + u : last) * step)];
        DBI_UNROLL
        for (uint32_t u = 0; u < AHEAD; u++)
            if (dbi_inside_f32(there[u]) != inside)
                return k + u < last ? k + u : last;
    }
    return 0;
}

/* The nearest crossing on voxel i's line along `axis`, at most `reach` edges away; `here` is its place on the line
 * of n. */
DBI_HD dbi_foot dbi_scan_feet(const float *p, uint32_t i, uint32_t here, uint32_t n, uint32_t stride, int axis,
                              uint32_t reach)
{
    dbi_foot foot;
    foot.square = INFINITY;
    foot.edge = DBI_NO_EDGE;
    const bool inside = dbi_inside_f32(p[i]);
    const uint32_t back = dbi_other_side(p, i, 0 - stride, here < reach ? here : reach, inside);
    /* farther than the one before, none is nearer */
    const uint32_t rest = n - 1 - here < reach ? n - 1 - here : reach,
                   ahead = dbi_other_side(p, i, stride, back && back < rest ? back : rest, inside);
    if (back) {
        const uint32_t at = i - back * stride;
        const double away = (double)here - ((double)(here - back) + dbi_crossing_f32(p[at], p[at + stride]));
        foot.square = (float)(away * away);
        foot.edge = 3 * at + (uint32_t)axis;
    }
    if (ahead) {
        const uint32_t at = i + (ahead - 1) * stride;
        const double away = (double)here - ((double)(here + ahead - 1) + dbi_crossing_f32(p[at], p[at + stride]));
        if ((float)(away * away) < foot.square) {
            foot.square = (float)(away * away);
            foot.edge = 3 * at + (uint32_t)axis;
        }
    }
    return foot;
}

/* The nearest of the points of all voxels on the line. Of equally near ones its own, then those of the nearest
 * voxels, lower ones first. */
DBI_HD dbi_foot dbi_pass_feet(const float *square, const uint32_t *edge, uint32_t i, uint32_t here, uint32_t n,
                              uint32_t stride, float most)
{
    float best = dbi_within(square[i], most);
    uint32_t from = i;
    for (uint32_t k = 1; k <= here || k < n - here; k++) {
        const float k2 = (float)k * (float)k;
        if (k2 > most || !(best > k2))
            break;
        if (k <= here && square[i - k * stride] + k2 < best) {
            best = square[i - k * stride] + k2;
            from = i - k * stride;
        }
        if (k < n - here && square[i + k * stride] + k2 < best) {
            best = square[i + k * stride] + k2;
            from = i + k * stride;
        }
    }
    dbi_foot foot;
    foot.square = dbi_within(best, most);
    foot.edge = best <= most ? edge[from] : DBI_NO_EDGE;
    return foot;
}

/* Feet are shared by many voxels. Their contributions are added as 64-bit integers, in units of 2^-exponent: such
 * sums do not depend on the order, and no sum can overflow, as |g| <= largest for all voxels of the map. The unit is
 * below 2^-38 of the largest contribution that is possible for maps of 2^20 voxels, and below 2^-31 for 2^27.
 * largest: finite, above 0. */
DBI_HD int dbi_fixed_exponent(float largest, uint32_t voxels)
{
    int size = 0; /* voxels <= 2^size */
    while (size < 32 && (1ull << size) < voxels)
        size++;
    /* |sum| < 2^(ilogb + 1) 2^6 2^size units of 1: with 2^exponent of them below 2^62 */
    return 62 - 6 - size - (ilogb((double)largest) + 1);
}

DBI_HD int64_t dbi_to_fixed(double value, int exponent)
{
    return (int64_t)llrint(scalbn(value, exponent));
}

DBI_HD double dbi_from_fixed(int64_t value, int exponent)
{
    return scalbn((double)value, -exponent);
}

/* ---- Squared distances to the other side, with the sign of the own one ---- */

/* Voxel i of a line along the last axis; `sides` says for each voxel whether it is inside. w: squared spacing. */
#define DBI_SCAN_SIDES(NAME, TYPE, INSIDE)                                                                             \
    DBI_HD float NAME(const TYPE *sides, TYPE value, uint32_t i, uint32_t here, uint32_t n, float w, float most)       \
    {                                                                                                                  \
        const bool inside = INSIDE(sides[i], value);                                                                   \
        const float sign = inside ? 1.0f : -1.0f;                                                                      \
        for (uint32_t k = 1; k <= here || k < n - here; k++) {                                                         \
            const float square = dbi_steps_square(w, (float)k);                                                        \
            if (square > most)                                                                                         \
                break;                                                                                                 \
            if ((k <= here && INSIDE(sides[i - k], value) != inside) ||                                                \
                (k < n - here && INSIDE(sides[i + k], value) != inside))                                               \
                return sign * square;                                                                                  \
        }                                                                                                              \
        return sign * INFINITY;                                                                                        \
    }
#define DBI_ABOVE(a, b) ((a) > (b))
#define DBI_EQUAL(a, b) ((a) == (b))
DBI_SCAN_SIDES(dbi_scan_probability, float, DBI_ABOVE)
DBI_SCAN_SIDES(dbi_scan_label, uint8_t, DBI_EQUAL)
#undef DBI_SCAN_SIDES
#undef DBI_ABOVE
#undef DBI_EQUAL

/* Voxels of the other side are at distance 0, and nothing beyond them can be nearer. */
DBI_HD float dbi_pass_sides(const float *d, uint32_t i, uint32_t here, uint32_t n, uint32_t stride, float w, float most)
{
    const bool inside = d[i] > 0;
    float best = dbi_within(fabsf(d[i]), most);
    bool left = true, right = true;
    for (uint32_t k = 1; (left && k <= here) || (right && k < n - here); k++) {
        const float k2 = dbi_steps_square(w, (float)k);
        if (k2 > most || !(best > k2))
            break;
        if (left && k <= here) {
            const float there = d[i - k * stride];
            left = (there > 0) == inside;
            const float candidate = k2 + (left ? fabsf(there) : 0.0f);
            best = candidate < best ? candidate : best;
        }
        if (right && k < n - here) {
            const float there = d[i + k * stride];
            right = (there > 0) == inside;
            const float candidate = k2 + (right ? fabsf(there) : 0.0f);
            best = candidate < best ? candidate : best;
        }
    }
    return (inside ? 1.0f : -1.0f) * dbi_within(best, most);
}

/* ---- Normalization, of one value: none and clip ---- */

typedef struct dbi_normalizer {
    int kind;   /* dbi_normalize_kind */
    float t;    /* clip */
    float far;  /* none: the volume's diagonal */
    float most; /* conv: beyond it a distance is not known; INFINITY: none */
} dbi_normalizer;

DBI_HD float dbi_normalize_value(const dbi_normalizer *n, float s, float *slope)
{
    if (n->kind == DBI_NORMALIZE_CLIP) {
        *slope = dbi_clipped_slope_f32(s, n->t);
        return dbi_clipped_f32(s, n->t);
    }
    *slope = dbi_plain_slope_f32(s);
    return dbi_plain_f32(s, n->far);
}

/* ---- The soft distance, where sums of products do ---- */

/* Outputs of one thread, beside one another along the second axis: each load serves all of them. */
enum { DBI_CONV_TILE = 4 };

DBI_HD int64_t dbi_tiles(const dbi_maps *m)
{
    return (int64_t)m->size[0] * (((int64_t)m->size[1] + DBI_CONV_TILE - 1) / DBI_CONV_TILE) * m->size[2];
}

/* The first voxel of a thread's tile, and the map's voxel 0; false: no tile is left for it. */
DBI_HD bool dbi_tile_of(const dbi_maps *m, int64_t block, int thread, int64_t *base, int64_t at[3])
{
    const int64_t tiles = dbi_tiles(m), blocks = dbi_cuda_blocks(tiles, DBI_BLOCK),
                  rows = ((int64_t)m->size[1] + DBI_CONV_TILE - 1) / DBI_CONV_TILE;
    const int64_t map = dbi_divide(block, blocks), tile = (block - map * blocks) * DBI_BLOCK + thread;
    const int64_t line = dbi_divide(tile, m->size[2]);
    *base = map * (int64_t)m->voxels;
    at[2] = tile - line * m->size[2];
    at[0] = dbi_divide(line, rows);
    at[1] = (line - at[0] * rows) * DBI_CONV_TILE;
    return tile < tiles;
}

/* in[j] = sum of weight(|dx,dy,dz|^2) q at (x, y + j, z) with q = p clamped to [0, 1], out[j] the same of 1 - q
 * (two), or (not two) in[j] the sum of p as it is. Outside the volume there is nothing. */
DBI_HD void dbi_correlate(const dbi_maps *m, const dbi_conv_window *w, const float *weight, const float *p, int64_t x,
                          int64_t y, int64_t z, bool two, float in[DBI_CONV_TILE], float out[DBI_CONV_TILE])
{
    const int nx = (int)m->size[0], ny = (int)m->size[1], nz = (int)m->size[2];
    const int rx = (int)w->radius[0], rz = (int)w->radius[2], here[3] = {(int)x, (int)y, (int)z};
    const int first_x = here[0] > rx ? -rx : -here[0], last_x = here[0] < nx - rx ? rx : nx - 1 - here[0];
    const int first_z = here[2] > rz ? -rz : -here[2], last_z = here[2] < nz - rz ? rz : nz - 1 - here[2];
    for (int j = 0; j < DBI_CONV_TILE; j++)
        in[j] = out[j] = 0;
    for (int dx = first_x; dx <= last_x; dx++)
        for (int dz = first_z; dz <= last_z; dz++) {
            const int plane = dx * dx + dz * dz;
            if (plane > w->square)
                continue;
            const int half = (int)dbi_conv_half(w, 1, plane), first = here[1] > half ? -half : -here[1],
                      most = half + DBI_CONV_TILE - 1;
            const int last = here[1] < ny - most ? most : ny - 1 - here[1];
            int64_t at = (x + dx) * m->stride[0] + (y + first) * m->stride[1] + (z + dz);
            float tap[DBI_CONV_TILE]; /* weights of the voxel at dy for each output: those of the offsets dy - j */
            for (int j = 1; j < DBI_CONV_TILE; j++)
                tap[j - 1] = first - j >= -half ? weight[plane + (first - j) * (first - j)] : 0;
            for (int dy = first; dy <= last; dy++, at += m->stride[1]) {
                for (int j = DBI_CONV_TILE - 1; j > 0; j--)
                    tap[j] = tap[j - 1];
                tap[0] = dy <= half ? weight[plane + dy * dy] : 0;
                const float q = two ? dbi_conv_clamped_f32(p[at]) : p[at];
                for (int j = 0; j < DBI_CONV_TILE; j++) {
                    in[j] += tap[j] * q;
                    if (two)
                        out[j] += tap[j] * (1 - q);
                }
            }
        }
}

#endif
