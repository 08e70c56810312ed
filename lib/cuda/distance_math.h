/* The arithmetic of distance.cu, voxel by voxel; what each function computes is that of distance/levelset.real.c, edt.c, conv.real.c and
 * normalize.real.c.
 *
 * A voxel looks along its line for what is nearest, from its neighbours on, and stops as soon as nothing farther can be nearer: a few loads for the
 * distances that training clips, one thread for each voxel, and loads of neighbouring threads lie side by side whatever the axis. Envelopes, which
 * take linear time however long the distances are, would leave one thread for each line: too few for a device that hides its memory's latency
 * behind a hundred times as many. */
#ifndef DBI_CUDA_DISTANCE_MATH_H
#define DBI_CUDA_DISTANCE_MATH_H

#include "cuda/geometry.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "distance/feet.h"
#include "distance/levelset.real.h"
#include "distance/normalize.h"

#ifdef __cplusplus
}
#endif

/* ---- Maps and their voxels ---- */

/* Voxels of a map have 32-bit numbers (so have edges, see feet.h), and blocks do not cross from one map into the next. */
typedef struct dbi_maps {
    uint32_t size[3], stride[3], voxels;
    int64_t count, blocks; /* maps; blocks of DBI_BLOCK threads for each of them */
} dbi_maps;

DBI_HD dbi_maps dbi_maps_make(const int64_t shape[3], int64_t count)
{
    dbi_maps m;
    for (int a = 0; a < 3; a++)
        m.size[a] = (uint32_t)shape[a];
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

/* The squared limit, with room for rounding; without a limit what no distance reaches. */
DBI_HD float dbi_most_square(double limit)
{
    return limit > 0 && limit < 1e18 ? (float)(limit * limit * (1 + 1e-6)) : 3e38f;
}

DBI_HD double dbi_crossing(float a, float b)
{
    return (0.5 - (double)a) / ((double)b - (double)a);
}

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

/* How far from voxel i, at most `last`, the first one on the other side is, 0 if there is none; step: -stride or stride. Several are loaded at once, past the
 * last one that one again. */
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
            if ((there[u] > 0.5f) != inside)
                return k + u < last ? k + u : last;
    }
    return 0;
}

/* The nearest crossing on voxel i's line along `axis`, at most `reach` edges away; `here` is its place on the line of n. */
DBI_HD dbi_foot dbi_scan_feet(const float *p, uint32_t i, uint32_t here, uint32_t n, uint32_t stride, int axis, uint32_t reach)
{
    dbi_foot foot;
    foot.square = INFINITY;
    foot.edge = DBI_NO_EDGE;
    const bool inside = p[i] > 0.5f;
    const uint32_t back = dbi_other_side(p, i, 0 - stride, here < reach ? here : reach, inside);
    /* farther than the one before, none is nearer */
    const uint32_t rest = n - 1 - here < reach ? n - 1 - here : reach,
                   ahead = dbi_other_side(p, i, stride, back && back < rest ? back : rest, inside);
    if (back) {
        const uint32_t at = i - back * stride;
        const double away = (double)here - ((double)(here - back) + dbi_crossing(p[at], p[at + stride]));
        foot.square = (float)(away * away);
        foot.edge = 3 * at + (uint32_t)axis;
    }
    if (ahead) {
        const uint32_t at = i + (ahead - 1) * stride;
        const double away = (double)here - ((double)(here + ahead - 1) + dbi_crossing(p[at], p[at + stride]));
        if ((float)(away * away) < foot.square) {
            foot.square = (float)(away * away);
            foot.edge = 3 * at + (uint32_t)axis;
        }
    }
    return foot;
}

/* The nearest of the points of all voxels on the line. Of equally near ones its own, then those of the nearest voxels, lower ones first. */
DBI_HD dbi_foot dbi_pass_feet(const float *square, const uint32_t *edge, uint32_t i, uint32_t here, uint32_t n, uint32_t stride, float most)
{
    float best = square[i] <= most ? square[i] : INFINITY;
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
    foot.square = best <= most ? best : INFINITY;
    foot.edge = best <= most ? edge[from] : DBI_NO_EDGE;
    return foot;
}

DBI_HD double dbi_to_centre(double d)
{
    return d < 0.25 ? 2 * d : d < 1 ? 0.5 : 0.5 / sqrt(d);
}

DBI_HD double dbi_to_centre_slope(double d)
{
    return d < 0.25 ? 3 : d < 1 ? 1 : 1 - 0.25 / (d * sqrt(d));
}

/* A voxel's foot, see levelset.real.c. */
typedef struct dbi_view {
    uint32_t a, b;
    double t, distance, along;
} dbi_view;

DBI_HD dbi_view dbi_view_of(const dbi_maps *m, const float *p, uint32_t i, uint32_t edge)
{
    uint32_t here[3], there[3];
    dbi_view v;
    v.a = edge / 3;
    const uint32_t axis = edge - 3 * v.a;
    v.b = v.a + (axis == 0 ? m->stride[0] : axis == 1 ? m->stride[1] : 1);
    v.t = dbi_crossing(p[v.a], p[v.b]);
    dbi_place_of(m, i, here);
    dbi_place_of(m, v.a, there);
    const double x = (double)there[0] - (double)here[0] + (axis == 0 ? v.t : 0), y = (double)there[1] - (double)here[1] + (axis == 1 ? v.t : 0),
                 z = (double)there[2] - (double)here[2] + (axis == 2 ? v.t : 0);
    v.distance = sqrt(x * x + y * y + z * z);
    v.along = axis == 0 ? x : axis == 1 ? y : z;
    return v;
}

/* The signed distance before normalization. */
DBI_HD float dbi_levelset_value(float p, float square)
{
    const float d = sqrtf(square), away = d + (float)dbi_to_centre(d);
    return p > 0.5f ? away : -away;
}

/* What a gradient of 1 at voxel i gives its foot, to be shared between the edge's ends: (1 - t) and t of it. At most 3 / DBI_LEVELSET_FLOOR. */
DBI_HD double dbi_levelset_slope(const dbi_view *v, float here, float a, float b)
{
    const double sign = here > 0.5f ? 1 : -1, change = (double)b - (double)a;
    const double cosine = v->distance > 1e-9 ? v->along / v->distance : v->t < 0.5 ? 1 : -1;
    const double slope = -sign * cosine / change, steepest = 1 / DBI_LEVELSET_FLOOR;
    return dbi_to_centre_slope(v->distance) * (slope > steepest ? steepest : slope < -steepest ? -steepest : slope);
}

/* Feet are shared by many voxels. Their contributions are added as 64-bit integers, in units of 2^-exponent: such sums do not depend on the order,
 * and no sum can overflow, as |g| <= largest for all voxels of the map. The unit is below 2^-38 of the largest contribution that is
 * possible for maps of 2^20 voxels, and below 2^-31 for 2^27. largest: finite, above 0. */
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

/* ---- Squared distances to the other side, with the sign of the own one; the arithmetic of edt.c ---- */

/* Voxel i of a line along the last axis; `sides` says for each voxel whether it is inside. w: squared spacing. */
#define DBI_SCAN_SIDES(NAME, TYPE, INSIDE)                                                                                                           \
    DBI_HD float NAME(const TYPE *sides, TYPE value, uint32_t i, uint32_t here, uint32_t n, float w, float most)                                     \
    {                                                                                                                                                \
        const bool inside = INSIDE(sides[i], value);                                                                                                 \
        const float sign = inside ? 1.0f : -1.0f;                                                                                                    \
        for (uint32_t k = 1; k <= here || k < n - here; k++) {                                                                                       \
            const float square = w * (float)k * (float)k;                                                                                            \
            if (square > most)                                                                                                                       \
                break;                                                                                                                               \
            if ((k <= here && INSIDE(sides[i - k], value) != inside) || (k < n - here && INSIDE(sides[i + k], value) != inside))                     \
                return sign * square;                                                                                                                \
        }                                                                                                                                            \
        return sign * INFINITY;                                                                                                                      \
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
    float best = fabsf(d[i]) <= most ? fabsf(d[i]) : INFINITY;
    bool left = true, right = true;
    for (uint32_t k = 1; (left && k <= here) || (right && k < n - here); k++) {
        const float k2 = w * (float)k * (float)k;
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
    return (inside ? 1.0f : -1.0f) * (best <= most ? best : INFINITY);
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
        *slope = s > -n->t && s < n->t ? 1 / n->t : 0;
        return s >= n->t ? 1 : s <= -n->t ? -1 : s / n->t;
    }
    const bool one_side = s == INFINITY || s == -INFINITY;
    *slope = one_side ? 0 : 1;
    return one_side ? (s > 0 ? n->far : -n->far) : s;
}

/* Beyond its radius the soft distance knows only on which side it is. */
DBI_HD float dbi_cap(const dbi_normalizer *n, float s, float *reached)
{
    const bool inside = s > -n->most && s < n->most;
    *reached = inside ? 1 : 0;
    return inside ? s : s > 0 ? n->most : -n->most;
}

DBI_HD bool dbi_on_inner_boundary(const dbi_maps *m, const float *s, uint32_t i)
{
    uint32_t at[3];
    if (!(s[i] > 0))
        return false;
    dbi_place_of(m, i, at);
    for (int a = 0; a < 3; a++)
        if ((at[a] > 0 && !(s[i - m->stride[a]] > 0)) || (at[a] + 1 < m->size[a] && !(s[i + m->stride[a]] > 0)))
            return true;
    return false;
}

/* ---- The soft distance ---- */

/* How conv.real.c sums: see there. */
#define DBI_CONV_REACH    60
#define DBI_CONV_LOST     40
#define DBI_CONV_STEEPEST 60

typedef struct dbi_window {
    int64_t radius[3]; /* per axis, not beyond the volume */
    int64_t square;    /* the ball's radius squared; INT64_MAX: no limit */
    double h;
} dbi_window;

DBI_HD int64_t dbi_root(int64_t square)
{
    int64_t root = (int64_t)sqrt((double)square);
    while (root * root > square)
        root--;
    while ((root + 1) * (root + 1) <= square)
        root++;
    return root;
}

DBI_HD double dbi_conv_weight(double log_weight)
{
    return exp(log_weight < DBI_CONV_STEEPEST ? log_weight : DBI_CONV_STEEPEST);
}

/* Outputs of one thread, beside one another along the second axis: each load serves all of them. */
enum { DBI_CONV_TILE = 4 };

DBI_HD int64_t dbi_tiles(const dbi_maps *m)
{
    return (int64_t)m->size[0] * (((int64_t)m->size[1] + DBI_CONV_TILE - 1) / DBI_CONV_TILE) * m->size[2];
}

/* The first voxel of a thread's tile, and the map's voxel 0; false: no tile is left for it. */
DBI_HD bool dbi_tile_of(const dbi_maps *m, int64_t block, int thread, int64_t *base, int64_t at[3])
{
    const int64_t tiles = dbi_tiles(m), blocks = dbi_cuda_blocks(tiles, DBI_BLOCK), rows = ((int64_t)m->size[1] + DBI_CONV_TILE - 1) / DBI_CONV_TILE;
    const int64_t map = dbi_divide(block, blocks), tile = (block - map * blocks) * DBI_BLOCK + thread;
    const int64_t line = dbi_divide(tile, m->size[2]);
    *base = map * (int64_t)m->voxels;
    at[2] = tile - line * m->size[2];
    at[0] = dbi_divide(line, rows);
    at[1] = (line - at[0] * rows) * DBI_CONV_TILE;
    return tile < tiles;
}

/* in[j] = sum of weight(|dx,dy,dz|^2) q at (x, y + j, z) with q = p clamped to [0, 1], out[j] the same of 1 - q (two), or (not two) in[j] the sum
 * of p as it is. Outside the volume there is nothing. */
DBI_HD void dbi_correlate(const dbi_maps *m, const dbi_window *w, const float *weight, const float *p, int64_t x, int64_t y, int64_t z, bool two,
                          float in[DBI_CONV_TILE], float out[DBI_CONV_TILE])
{
    const int nx = (int)m->size[0], ny = (int)m->size[1], nz = (int)m->size[2];
    const int rx = (int)w->radius[0], ry = (int)w->radius[1], rz = (int)w->radius[2], here[3] = {(int)x, (int)y, (int)z};
    const int first_x = here[0] > rx ? -rx : -here[0], last_x = here[0] < nx - rx ? rx : nx - 1 - here[0];
    const int first_z = here[2] > rz ? -rz : -here[2], last_z = here[2] < nz - rz ? rz : nz - 1 - here[2];
    for (int j = 0; j < DBI_CONV_TILE; j++)
        in[j] = out[j] = 0;
    for (int dx = first_x; dx <= last_x; dx++)
        for (int dz = first_z; dz <= last_z; dz++) {
            const int plane = dx * dx + dz * dz;
            if (plane > w->square)
                continue;
            const int root = (int)dbi_root(w->square - plane), half = root < ry ? root : ry;
            const int first = here[1] > half ? -half : -here[1], most = half + DBI_CONV_TILE - 1;
            const int last = here[1] < ny - most ? most : ny - 1 - here[1];
            int64_t at = (x + dx) * m->stride[0] + (y + first) * m->stride[1] + (z + dz);
            float tap[DBI_CONV_TILE]; /* weights of the voxel at dy for each output: those of the offsets dy - j */
            for (int j = 1; j < DBI_CONV_TILE; j++)
                tap[j - 1] = first - j >= -half ? weight[plane + (first - j) * (first - j)] : 0;
            for (int dy = first; dy <= last; dy++, at += m->stride[1]) {
                for (int j = DBI_CONV_TILE - 1; j > 0; j--)
                    tap[j] = tap[j - 1];
                tap[0] = dy <= half ? weight[plane + dy * dy] : 0;
                const float value = p[at], q = two ? (value > 0 ? (value < 1 ? value : 1) : 0) : value;
                for (int j = 0; j < DBI_CONV_TILE; j++) {
                    in[j] += tap[j] * q;
                    if (two)
                        out[j] += tap[j] * (1 - q);
                }
            }
        }
}

/* The logarithm of the sum where plain sums would underflow; log_q: of one side. */
DBI_HD float dbi_log_sum(const dbi_maps *m, const dbi_window *w, int64_t x, int64_t y, int64_t z, const float *log_q)
{
    const int64_t n[3] = {m->size[0], m->size[1], m->size[2]}, at[3] = {x, y, z};
    int64_t first[3], end[3];
    for (int a = 0; a < 3; a++) {
        first[a] = at[a] > w->radius[a] ? at[a] - w->radius[a] : 0;
        end[a] = at[a] + w->radius[a] < n[a] ? at[a] + w->radius[a] + 1 : n[a];
    }
    const double per_h = 1 / w->h;
    double most = -INFINITY, sum = 0;
    for (int second = 0; second < 2; second++) {
        const double least = second ? most - DBI_CONV_LOST : 0;
        for (int64_t i = first[0]; i < end[0]; i++)
            for (int64_t j = first[1]; j < end[1]; j++) {
                const int64_t plane = (i - x) * (i - x) + (j - y) * (j - y);
                if (plane > w->square || -sqrt((double)plane) * per_h < (second ? least : most))
                    continue;
                const float *line = log_q + i * m->stride[0] + j * m->stride[1];
                for (int64_t k = first[2]; k < end[2]; k++) {
                    const int64_t square = plane + (k - z) * (k - z);
                    if (square > w->square)
                        continue;
                    const double term = (double)line[k] - sqrt((double)square) * per_h;
                    if (!second)
                        most = term > most ? term : most;
                    else if (term >= least)
                        sum += exp(term - most);
                }
            }
        if (!(most > -INFINITY))
            return -INFINITY;
    }
    return (float)(most + log(sum));
}

/* The gradient at one voxel, gathered from all those in whose window it is. g: by the distance. */
DBI_HD float dbi_conv_gather(const dbi_maps *m, const dbi_window *w, int64_t x, int64_t y, int64_t z, const float *log_in, const float *log_out,
                             const float *g)
{
    const int64_t n[3] = {m->size[0], m->size[1], m->size[2]}, at[3] = {x, y, z};
    int64_t first[3], end[3];
    for (int a = 0; a < 3; a++) {
        first[a] = at[a] > w->radius[a] ? at[a] - w->radius[a] : 0;
        end[a] = at[a] + w->radius[a] < n[a] ? at[a] + w->radius[a] + 1 : n[a];
    }
    double sum = 0;
    for (int64_t i = first[0]; i < end[0]; i++)
        for (int64_t j = first[1]; j < end[1]; j++)
            for (int64_t k = first[2]; k < end[2]; k++) {
                const int64_t from = i * m->stride[0] + j * m->stride[1] + k;
                const int64_t square = (i - x) * (i - x) + (j - y) * (j - y) + (k - z) * (k - z);
                if (square > w->square || g[from] == 0)
                    continue;
                const double near = -sqrt((double)square) / w->h;
                sum += (double)g[from] * (dbi_conv_weight(near - (double)log_in[from]) + dbi_conv_weight(near - (double)log_out[from]));
            }
    return (float)(w->h * sum);
}

/* h g (1/exp(log_in) + 1/exp(log_out)): what a voxel gives to those in its window, before their weights. */
DBI_HD float dbi_conv_share(double h, float g, float log_in, float log_out)
{
    return g != 0 ? (float)(h * (double)g * (dbi_conv_weight(-(double)log_in) + dbi_conv_weight(-(double)log_out))) : 0;
}

#endif
