/* Kernels and their order; what they compute is in distance_math.h. Most kernels move 8 to 20 bytes a voxel, and
 * what one writes the next one reads from the second-level cache as long as the maps of a step fit there, as those
 * of four patches do on a recent device. */
#include "cuda/distance.h"

#include <stdlib.h>

#include "cuda/distance_math.h"
#include "distance/normalize.h"

typedef struct no_shared {
    char unused;
} no_shared;

/* Integer operations whose result does not depend on the order, so that equal inputs still give equal bytes. */
DBI_HD void atomic_most(uint32_t *most, uint32_t value)
{
#ifdef __CUDA_ARCH__
    atomicMax(most, value);
#else
    *most = value > *most ? value : *most;
#endif
}

DBI_HD void atomic_add(int64_t *sum, int64_t value)
{
#ifdef __CUDA_ARCH__
    atomicAdd((unsigned long long *)sum, (unsigned long long)value);
#else
    *sum += value;
#endif
}

/* Floats that are not negative are in the order of their bits. */
DBI_HD uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

DBI_HD float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- Distances ---- */

/* Where a distance goes, and what is done to it first. */
typedef struct put_arguments {
    dbi_normalizer normal;
    bool raw;         /* not normalized here: `max` needs all of them first */
    float *s, *slope; /* slope: NULL where not wanted */
} put_arguments;

DBI_HD void put_distance(const put_arguments *a, int64_t i, float value)
{
    float slope = 1, reached = 1;
    if (a->normal.most < INFINITY)
        value = dbi_conv_capped_f32(value, a->normal.most, &reached);
    a->s[i] = a->raw ? value : dbi_normalize_value(&a->normal, value, &slope);
    if (a->slope)
        a->slope[i] = slope * reached;
}

/* ---- Feet ---- */

typedef struct feet_arguments {
    dbi_maps maps;
    int axis;
    float most;
    uint32_t reach;           /* scan: dbi_reach(most, ...) */
    const float *p;           /* scan, finish */
    const float *from_square; /* pass, finish */
    const uint32_t *from_edge;
    float *square;
    uint32_t *edge;
    bool merge;        /* pass: only where nearer than what is there */
    put_arguments put; /* finish; its s may be `square` */
} feet_arguments;

DBI_HD void scan_feet(const feet_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (!v.valid)
        return;
    const dbi_foot foot = dbi_scan_feet(a->p + v.base, v.i, dbi_here(&a->maps, v.i, a->axis), a->maps.size[a->axis],
                                        a->maps.stride[a->axis], a->axis, a->reach);
    a->square[v.base + v.i] = foot.square;
    a->edge[v.base + v.i] = foot.edge;
}
DBI_KERNEL(scan_feet, feet_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD dbi_foot pass_of(const feet_arguments *a, const dbi_voxel *v)
{
    return dbi_pass_feet(a->from_square + v->base, a->from_edge + v->base, v->i, dbi_here(&a->maps, v->i, a->axis),
                         a->maps.size[a->axis], a->maps.stride[a->axis], a->most);
}

DBI_HD void pass_feet(const feet_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (!v.valid)
        return;
    const dbi_foot foot = pass_of(a, &v);
    if (a->merge && !(foot.square < a->square[v.base + v.i]))
        return;
    a->square[v.base + v.i] = foot.square;
    a->edge[v.base + v.i] = foot.edge;
}
DBI_KERNEL(pass_feet, feet_arguments, DBI_BLOCK, 1, no_shared)

/* The last pass, merged, and what comes of it. */
DBI_HD void finish_feet(const feet_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (!v.valid)
        return;
    const dbi_foot foot = pass_of(a, &v);
    float square = a->square[v.base + v.i];
    if (foot.square < square) {
        square = foot.square;
        a->edge[v.base + v.i] = foot.edge;
    }
    put_distance(&a->put, v.base + v.i, dbi_levelset_value_f32(a->p[v.base + v.i], sqrtf(square)));
}
DBI_KERNEL(finish_feet, feet_arguments, DBI_BLOCK, 1, no_shared)

/* ---- Normalization by maxima ---- */

/* The largest of several values of each voxel, over a map. A block looks at a chunk of a map. */
enum { CHUNK = 16 * DBI_BLOCK, PARTS = 16 };

typedef struct most_arguments {
    dbi_maps maps;
    int64_t chunks;         /* of a map */
    const float *s;         /* sides: raw distances */
    const float *g, *slope; /* gradient: |g slope| */
    uint32_t *most;         /* [maps][2], bits of floats */
} most_arguments;

typedef struct most_shared {
    uint32_t value[2][DBI_BLOCK];
} most_shared;

DBI_HD void find_most(const most_arguments *a, int64_t block, int thread, int phase, most_shared *shared)
{
    const int64_t map = dbi_divide(block, a->chunks), first = (block - map * a->chunks) * CHUNK,
                  base = map * (int64_t)a->maps.voxels;
    if (phase == 0) {
        uint32_t most[2] = {0, 0};
        for (int64_t i = first + thread; i < first + CHUNK && i < (int64_t)a->maps.voxels; i += DBI_BLOCK) {
            if (a->s) {
                const float s = a->s[base + i];
                const uint32_t bits = bits_of(fabsf(s));
                const int side = s > 0 ? 0 : 1;
                if (bits < 0x7f800000u && bits > most[side])
                    most[side] = bits;
            } else {
                const uint32_t bits = bits_of(fabsf(dbi_sloped_f32(a->g[base + i], a->slope[base + i])));
                most[0] = bits > most[0] ? bits : most[0];
            }
        }
        shared->value[0][thread] = most[0];
        shared->value[1][thread] = most[1];
    } else if (phase == 1) {
        for (int side = 0; side < 2 && thread < PARTS; side++)
            for (int i = thread + PARTS; i < DBI_BLOCK; i += PARTS)
                if (shared->value[side][i] > shared->value[side][thread])
                    shared->value[side][thread] = shared->value[side][i];
    } else if (thread < 2) {
        uint32_t most = 0;
        for (int i = 0; i < PARTS; i++)
            most = shared->value[thread][i] > most ? shared->value[thread][i] : most;
        atomic_most(&a->most[2 * map + thread], most);
    }
}
DBI_KERNEL(find_most, most_arguments, DBI_BLOCK, 3, most_shared)

typedef struct maximum_arguments {
    dbi_maps maps;
    const float *raw;
    const uint32_t *most;
    float *s, *slope;
} maximum_arguments;

/* `max`: each side divided by its own maximum, the inner boundary 0. slope: multiplied, where not NULL. */
DBI_HD void apply_maximum(const maximum_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (!v.valid)
        return;
    uint32_t at[3];
    dbi_place_of(&a->maps, v.i, at);
    const float *raw = a->raw + v.base + v.i, s = *raw;
    const bool no =
        s == INFINITY || s == -INFINITY || dbi_on_inner_boundary_f32(raw, at[0], at[1], at[2], a->maps.shape);
    const float factor = no ? 0 : dbi_maximum_factor_f32(float_of(a->most[2 * v.map + (s > 0 ? 0 : 1)]));
    a->s[v.base + v.i] = dbi_scaled_f32(s, factor);
    if (a->slope)
        a->slope[v.base + v.i] *= factor;
}
DBI_KERNEL(apply_maximum, maximum_arguments, DBI_BLOCK, 1, no_shared)

/* ---- Squared distances to the other side ---- */

typedef struct sides_arguments {
    dbi_maps maps;
    int axis;
    float w, most;
    const float *p;       /* scan: a probability map for each map ... */
    const uint8_t *label; /* ... or a label for each `classes` maps */
    int64_t classes;
    const float *from; /* pass, finish */
    float *d;          /* scan, pass */
    put_arguments put; /* finish */
} sides_arguments;

DBI_HD void scan_sides(const sides_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (!v.valid)
        return;
    const uint32_t here = dbi_here(&a->maps, v.i, 2), n = a->maps.size[2];
    if (a->p) {
        a->d[v.base + v.i] = dbi_scan_probability(a->p + v.base, 0.5f, v.i, here, n, a->w, a->most);
    } else {
        const int64_t sample = dbi_divide(v.map, a->classes);
        const uint8_t value = (uint8_t)(v.map - sample * a->classes + 1);
        a->d[v.base + v.i] =
            dbi_scan_label(a->label + sample * (int64_t)a->maps.voxels, value, v.i, here, n, a->w, a->most);
    }
}
DBI_KERNEL(scan_sides, sides_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD float side_of(const sides_arguments *a, const dbi_voxel *v)
{
    return dbi_pass_sides(a->from + v->base, v->i, dbi_here(&a->maps, v->i, a->axis), a->maps.size[a->axis],
                          a->maps.stride[a->axis], a->w, a->most);
}

DBI_HD void pass_sides(const sides_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (v.valid)
        a->d[v.base + v.i] = side_of(a, &v);
}
DBI_KERNEL(pass_sides, sides_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void finish_sides(const sides_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (v.valid) {
        const float square = side_of(a, &v);
        put_distance(&a->put, v.base + v.i, dbi_signed_root(square));
    }
}
DBI_KERNEL(finish_sides, sides_arguments, DBI_BLOCK, 1, no_shared)

/* ---- The soft distance ---- */

typedef struct conv_arguments {
    dbi_maps maps;
    dbi_conv_window window;
    int64_t weights; /* of the table, by squared distance */
    float *weight;
    const float *p, *g, *slope;
    const float *log_in, *log_out;
    put_arguments put; /* finish */
    float *in, *out;   /* correlate, logs: logarithms of both sides' sums; shares, gather: in alone */
} conv_arguments;

DBI_HD void make_weights(const conv_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i < a->weights)
        a->weight[i] = (float)dbi_conv_weight(i, a->window.h);
}
DBI_KERNEL(make_weights, conv_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void correlate_sides(const conv_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    int64_t base, at[3];
    float in[DBI_CONV_TILE], out[DBI_CONV_TILE];
    if (!dbi_tile_of(&a->maps, block, thread, &base, at))
        return;
    dbi_correlate(&a->maps, &a->window, a->weight, a->p + base, at[0], at[1], at[2], true, in, out);
    for (int j = 0; j < DBI_CONV_TILE && at[1] + j < a->maps.size[1]; j++) {
        const int64_t i = base + at[0] * a->maps.stride[0] + (at[1] + j) * a->maps.stride[1] + at[2];
        a->in[i] = (float)log((double)in[j]);
        a->out[i] = (float)log((double)out[j]);
    }
}
DBI_KERNEL(correlate_sides, conv_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void correlate_shares(const conv_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    int64_t base, at[3];
    float in[DBI_CONV_TILE], out[DBI_CONV_TILE];
    if (!dbi_tile_of(&a->maps, block, thread, &base, at))
        return;
    dbi_correlate(&a->maps, &a->window, a->weight, a->p + base, at[0], at[1], at[2], false, in, out);
    for (int j = 0; j < DBI_CONV_TILE && at[1] + j < a->maps.size[1]; j++)
        a->in[base + at[0] * a->maps.stride[0] + (at[1] + j) * a->maps.stride[1] + at[2]] = in[j];
}
DBI_KERNEL(correlate_shares, conv_arguments, DBI_BLOCK, 1, no_shared)

/* in, out = the logarithms of p and 1 - p. */
DBI_HD void take_logs(const conv_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (!v.valid)
        return;
    const float inside = dbi_conv_clamped_f32(a->p[v.base + v.i]);
    a->in[v.base + v.i] = dbi_conv_log_f32(inside);
    a->out[v.base + v.i] = dbi_conv_log_f32(1 - inside);
}
DBI_KERNEL(take_logs, conv_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void sum_logs(const conv_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    uint32_t at[3];
    if (!v.valid)
        return;
    dbi_place_of(&a->maps, v.i, at);
    a->in[v.base + v.i] = dbi_conv_log_sum_f32(&a->window, a->maps.shape, at[0], at[1], at[2], a->log_in + v.base);
    a->out[v.base + v.i] = dbi_conv_log_sum_f32(&a->window, a->maps.shape, at[0], at[1], at[2], a->log_out + v.base);
}
DBI_KERNEL(sum_logs, conv_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void finish_logs(const conv_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (v.valid)
        put_distance(&a->put, v.base + v.i,
                     dbi_conv_distance_f32(a->window.h, a->log_in[v.base + v.i], a->log_out[v.base + v.i]));
}
DBI_KERNEL(finish_logs, conv_arguments, DBI_BLOCK, 1, no_shared)

/* in = what each voxel gives to those around it (with weights), or its gradient (without). */
DBI_HD void make_shares(const conv_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (!v.valid)
        return;
    const int64_t i = v.base + v.i;
    const float g = dbi_sloped_f32(a->g[i], a->slope[i]);
    a->in[i] = a->weight ? dbi_conv_share_f32(a->window.h, g, a->log_in[i], a->log_out[i]) : g;
}
DBI_KERNEL(make_shares, conv_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void gather_shares(const conv_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    uint32_t at[3];
    if (!v.valid)
        return;
    dbi_place_of(&a->maps, v.i, at);
    a->in[v.base + v.i] = dbi_conv_gather_f32(&a->window, a->maps.shape, at[0], at[1], at[2], a->log_in + v.base,
                                              a->log_out + v.base, a->g + v.base);
}
DBI_KERNEL(gather_shares, conv_arguments, DBI_BLOCK, 1, no_shared)

/* ---- The level set's gradient ---- */

typedef struct scatter_arguments {
    dbi_maps maps;
    const float *p, *g, *slope;
    const uint32_t *foot, *most;
    int64_t *sum;
    float *dp;
} scatter_arguments;

DBI_HD bool is_finite_bits(uint32_t bits)
{
    return bits < 0x7f800000u;
}

DBI_HD void scatter(const scatter_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (!v.valid)
        return;
    const uint32_t most = a->most[2 * v.map], edge = a->foot[v.base + v.i];
    const float g = dbi_sloped_f32(a->g[v.base + v.i], a->slope[v.base + v.i]);
    if (edge == DBI_NO_EDGE || g == 0 || !is_finite_bits(most))
        return;
    const float *p = a->p + v.base;
    const dbi_crossed_edge e = dbi_crossed_edge_of_f32(a->maps.size, p, edge);
    uint32_t at[3];
    double along;
    dbi_place_of(&a->maps, v.i, at);
    const double d = sqrt(dbi_foot_square(&e, at[0], at[1], at[2], &along)),
                 factor = dbi_inside_f32(p[v.i]) ? -(double)g : (double)g;
    const double slope = factor * dbi_levelset_slope(d, along, e.t, e.change);
    const int exponent = dbi_fixed_exponent(float_of(most), a->maps.voxels);
    atomic_add(&a->sum[v.base + e.a], dbi_to_fixed(slope * (1 - e.t), exponent));
    atomic_add(&a->sum[v.base + e.b], dbi_to_fixed(slope * e.t, exponent));
}
DBI_KERNEL(scatter, scatter_arguments, DBI_BLOCK, 1, no_shared)

DBI_HD void take_sums(const scatter_arguments *a, int64_t block, int thread, int phase, no_shared *shared)
{
    (void)phase;
    (void)shared;
    const dbi_voxel v = dbi_voxel_of(&a->maps, block, thread);
    if (!v.valid)
        return;
    const uint32_t most = a->most[2 * v.map];
    if (!is_finite_bits(most))
        a->dp[v.base + v.i] = NAN;
    else
        a->dp[v.base + v.i] =
            most ? (float)dbi_from_fixed(a->sum[v.base + v.i], dbi_fixed_exponent(float_of(most), a->maps.voxels)) : 0;
}
DBI_KERNEL(take_sums, scatter_arguments, DBI_BLOCK, 1, no_shared)

/* ---- The transforms ---- */

struct dbi_cuda_transform {
    dbi_transform transform;
    dbi_normalize normalize;
    int64_t shape[3], most_maps, maps; /* maps: of the last forward call */
    double limit;
    dbi_normalizer normal;
    dbi_conv_window window;
    int64_t weights;
    bool gradient;
    /* Device memory, of most_maps maps. The work areas hold 8 bytes a voxel each. */
    float *work[2];
    uint32_t *foot, *most;
    float *slope, *log_in, *log_out, *weight;
};

static int check_shape(const int64_t shape[3], int64_t maps, dbi_error *error)
{
    int64_t count = maps;
    for (int a = 0; a < 3; a++) {
        if (shape[a] < 0 || maps < 0 || (shape[a] > 0 && count > INT64_MAX / 64 / shape[a]))
            return dbi_fail(error, "impossible shape [%lld,%lld,%lld]", (long long)shape[0], (long long)shape[1],
                            (long long)shape[2]);
        count *= shape[a];
    }
    if (maps && count / maps > UINT32_MAX / 3 - 1)
        return dbi_fail(error, "a volume of shape [%lld,%lld,%lld] is too large for a CUDA device", (long long)shape[0],
                        (long long)shape[1], (long long)shape[2]);
    if (maps && dbi_cuda_blocks(count / maps, DBI_BLOCK) > INT32_MAX / maps)
        return dbi_fail(error, "%lld volumes are too many for a CUDA device", (long long)maps);
    return 0;
}

static dbi_normalizer normalizer_of(const dbi_normalize *normalize, const int64_t shape[3], const double spacing[3])
{
    dbi_normalizer n;
    n.kind = (int)normalize->kind;
    n.t = (float)normalize->t;
    n.far = (float)dbi_diagonal(shape, spacing);
    n.most = INFINITY;
    return n;
}

static void set_window(dbi_cuda_transform *t)
{
    int64_t corner = 0;
    t->window = dbi_conv_window_of(&t->transform, t->shape);
    for (int a = 0; a < 3; a++)
        corner += t->window.radius[a] * t->window.radius[a];
    t->normal.most = (float)dbi_conv_most(&t->transform, t->shape);
    t->weights = dbi_conv_is_short_f32(&t->transform) ? (corner < t->window.square ? corner : t->window.square) + 1 : 0;
}

static int need_all(dbi_cuda_transform *t, dbi_arena *arena, dbi_error *error)
{
    const bool levelset = t->transform.kind == DBI_TRANSFORM_LEVELSET, conv = t->transform.kind == DBI_TRANSFORM_CONV;
    const bool maximum = t->normalize.kind == DBI_NORMALIZE_MAX;
    const size_t voxels = (size_t)(t->most_maps * t->shape[0] * t->shape[1] * t->shape[2]), maps = (size_t)t->most_maps;
    /* conv: logarithms of both sides, or shares and `max`'s raw values; exact: two fields and raw values */
    return dbi_arena_need(arena, &t->work[0], 8 * voxels, error) ||
                   dbi_arena_need(arena, &t->work[1], levelset ? 8 * voxels : 0, error) ||
                   dbi_arena_need(arena, &t->foot, levelset ? 4 * voxels : 0, error) ||
                   dbi_arena_need(arena, &t->most, maximum || levelset ? 8 * maps : 0, error) ||
                   dbi_arena_need(arena, &t->slope, t->gradient ? 4 * voxels : 0, error) ||
                   dbi_arena_need(arena, &t->log_in, conv ? 4 * voxels : 0, error) ||
                   dbi_arena_need(arena, &t->log_out, conv ? 4 * voxels : 0, error) ||
                   dbi_arena_need(arena, &t->weight, 4 * (size_t)t->weights, error)
               ? -1
               : 0;
}

dbi_cuda_transform *dbi_cuda_transform_new(const dbi_transform *transform, const dbi_normalize *normalize,
                                           const int64_t shape[3], int64_t maps, bool gradient, dbi_arena *arena,
                                           dbi_error *error)
{
    static const double voxels[3] = {1, 1, 1};
    if (check_shape(shape, maps, error))
        return NULL;
    dbi_cuda_transform *t = (dbi_cuda_transform *)calloc(1, sizeof *t);
    if (!t) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    t->transform = *transform;
    t->normalize = *normalize;
    memcpy(t->shape, shape, sizeof t->shape);
    t->most_maps = maps;
    t->limit = dbi_normalize_limit(normalize);
    t->gradient = gradient && transform->kind != DBI_TRANSFORM_EXACT;
    t->normal = normalizer_of(normalize, shape, voxels);
    if (transform->kind == DBI_TRANSFORM_CONV)
        set_window(t);
    if (need_all(t, arena, error)) {
        free(t);
        return NULL;
    }
    return t;
}

void dbi_cuda_transform_free(dbi_cuda_transform *t)
{
    free(t);
}

/* `max`, when `raw` holds distances and slope what has become of it so far. */
static int normalize_by_maxima(const dbi_maps *maps, dbi_stream stream, const float *raw, uint32_t *most, float *s,
                               float *slope, dbi_error *error)
{
    most_arguments find;
    maximum_arguments apply;
    memset(&find, 0, sizeof find);
    find.maps = *maps;
    find.chunks = dbi_cuda_blocks(maps->voxels, CHUNK);
    find.s = raw;
    find.most = most;
    apply.maps = *maps;
    apply.raw = raw;
    apply.most = most;
    apply.s = s;
    apply.slope = slope;
    return dbi_cuda_clear(stream, most, 8 * (size_t)maps->count, error) ||
                   find_most_launch(stream, find.chunks * maps->count, &find, error) ||
                   apply_maximum_launch(stream, maps->blocks * maps->count, &apply, error)
               ? -1
               : 0;
}

/* One step of the search for feet. */
static int feet_step(const dbi_cuda_transform *t, feet_arguments *a, dbi_stream stream, int axis, const float *from,
                     float *to, uint32_t *to_edge, bool merge, dbi_error *error)
{
    const int64_t stride = t->most_maps * (int64_t)a->maps.voxels, blocks = a->maps.blocks * a->maps.count;
    a->axis = axis;
    a->reach = dbi_reach(a->most, a->maps.size[axis]);
    a->from_square = from;
    a->from_edge = from ? (const uint32_t *)(from + stride) : NULL;
    a->square = to;
    a->edge = to_edge ? to_edge : (uint32_t *)(to + stride);
    a->merge = merge;
    return from ? pass_feet_launch(stream, blocks, a, error) : scan_feet_launch(stream, blocks, a, error);
}

/* As nearest_feet() in levelset.real.c: the edges along each axis begin with that axis, and two families share the
 * last one. */
static int find_levelset(const dbi_cuda_transform *t, const dbi_maps *maps, dbi_stream stream, const float *p, float *s,
                         const put_arguments *put, dbi_error *error)
{
    const int64_t stride = t->most_maps * (int64_t)maps->voxels;
    float *u = t->work[0], *v = t->work[1];
    feet_arguments a;
    memset(&a, 0, sizeof a);
    a.maps = *maps;
    a.most = dbi_most_square(t->limit);
    a.p = p;
    a.put = *put;
    if (feet_step(t, &a, stream, 2, NULL, u, NULL, false, error) ||
        feet_step(t, &a, stream, 1, u, v, NULL, false, error) ||
        feet_step(t, &a, stream, 1, NULL, u, NULL, false, error) ||
        feet_step(t, &a, stream, 2, u, v, NULL, true, error) ||
        feet_step(t, &a, stream, 0, v, s, t->foot, false, error) ||
        feet_step(t, &a, stream, 0, NULL, u, NULL, false, error) ||
        feet_step(t, &a, stream, 1, u, v, NULL, false, error))
        return -1;
    a.axis = 2;
    a.from_square = v;
    a.from_edge = (const uint32_t *)(v + stride);
    a.square = s;
    a.edge = t->foot;
    return finish_feet_launch(stream, maps->blocks * maps->count, &a, error);
}

static conv_arguments conv_of(const dbi_cuda_transform *t, const dbi_maps *maps)
{
    conv_arguments a;
    memset(&a, 0, sizeof a);
    a.maps = *maps;
    a.window = t->window;
    a.weights = t->weights;
    a.weight = t->weight;
    a.log_in = t->log_in;
    a.log_out = t->log_out;
    return a;
}

static int64_t tile_blocks(const dbi_maps *maps)
{
    return dbi_cuda_blocks(dbi_tiles(maps), DBI_BLOCK) * maps->count;
}

static int find_conv(const dbi_cuda_transform *t, const dbi_maps *maps, dbi_stream stream, const float *p,
                     const put_arguments *put, dbi_error *error)
{
    const int64_t blocks = maps->blocks * maps->count;
    conv_arguments a = conv_of(t, maps), b = a;
    a.p = b.p = p;
    a.put = *put;
    a.in = t->log_in;
    a.out = t->log_out;
    if (t->weights)
        return make_weights_launch(stream, dbi_cuda_blocks(t->weights, DBI_BLOCK), &a, error) ||
                       correlate_sides_launch(stream, tile_blocks(maps), &a, error) ||
                       finish_logs_launch(stream, blocks, &a, error)
                   ? -1
                   : 0;
    b.in = t->work[0];
    b.out = t->work[0] + t->most_maps * (int64_t)maps->voxels;
    if (take_logs_launch(stream, blocks, &b, error))
        return -1;
    a.log_in = b.in;
    a.log_out = b.out;
    if (sum_logs_launch(stream, blocks, &a, error))
        return -1;
    a.log_in = t->log_in;
    a.log_out = t->log_out;
    return finish_logs_launch(stream, blocks, &a, error);
}

/* The exact transform of probabilities or of labels. d: two fields to work in. */
static int find_exact(const dbi_maps *maps, dbi_stream stream, const float *p, const uint8_t *label, int64_t classes,
                      const double spacing[3], double limit, float *const d[2], const put_arguments *put,
                      dbi_error *error)
{
    const int64_t blocks = maps->blocks * maps->count;
    sides_arguments a;
    memset(&a, 0, sizeof a);
    a.maps = *maps;
    a.most = dbi_most_square(limit);
    a.p = p;
    a.label = label;
    a.classes = classes;
    a.put = *put;
    a.axis = 2;
    a.w = (float)(spacing[2] * spacing[2]);
    a.d = d[0];
    if (scan_sides_launch(stream, blocks, &a, error))
        return -1;
    a.axis = 1;
    a.w = (float)(spacing[1] * spacing[1]);
    a.from = d[0];
    a.d = d[1];
    if (pass_sides_launch(stream, blocks, &a, error))
        return -1;
    a.axis = 0;
    a.w = (float)(spacing[0] * spacing[0]);
    a.from = d[1];
    return finish_sides_launch(stream, blocks, &a, error);
}

int dbi_cuda_transform_forward(dbi_cuda_transform *t, dbi_stream stream, int64_t count, const float *p, float *s,
                               dbi_error *error)
{
    static const double voxels[3] = {1, 1, 1};
    if (count < 0 || count > t->most_maps)
        return dbi_fail(error, "%lld maps in place of at most %lld", (long long)count, (long long)t->most_maps);
    const dbi_maps maps = dbi_maps_make(t->shape, count);
    const int64_t stride = t->most_maps * (int64_t)maps.voxels;
    t->maps = count;
    if (!count || !maps.voxels)
        return 0;
    put_arguments put;
    put.normal = t->normal;
    put.raw = t->normalize.kind == DBI_NORMALIZE_MAX;
    put.s = put.raw ? t->work[0] : s;
    put.slope = t->slope;
    int status = -1;
    switch (t->transform.kind) {
    case DBI_TRANSFORM_EXACT: {
        float *const d[2] = {s, t->work[0] + stride};
        status = find_exact(&maps, stream, p, NULL, 1, voxels, t->limit, d, &put, error);
        break;
    }
    case DBI_TRANSFORM_LEVELSET:
        status = find_levelset(t, &maps, stream, p, s, &put, error);
        break;
    case DBI_TRANSFORM_CONV:
        status = find_conv(t, &maps, stream, p, &put, error);
        break;
    }
    if (status)
        return -1;
    return put.raw ? normalize_by_maxima(&maps, stream, t->work[0], t->most, s, t->slope, error) : 0;
}

static int levelset_backward(const dbi_cuda_transform *t, const dbi_maps *maps, dbi_stream stream, const float *p,
                             const float *ds, float *dp, dbi_error *error)
{
    const int64_t blocks = maps->blocks * maps->count;
    most_arguments find;
    scatter_arguments a;
    memset(&find, 0, sizeof find);
    find.maps = *maps;
    find.chunks = dbi_cuda_blocks(maps->voxels, CHUNK);
    find.g = ds;
    find.slope = t->slope;
    find.most = t->most;
    a.maps = *maps;
    a.p = p;
    a.g = ds;
    a.slope = t->slope;
    a.foot = t->foot;
    a.most = t->most;
    a.sum = (int64_t *)t->work[0];
    a.dp = dp;
    return dbi_cuda_clear(stream, t->most, 8 * (size_t)maps->count, error) ||
                   dbi_cuda_clear(stream, a.sum, 8 * (size_t)maps->count * maps->voxels, error) ||
                   find_most_launch(stream, find.chunks * maps->count, &find, error) ||
                   scatter_launch(stream, blocks, &a, error) || take_sums_launch(stream, blocks, &a, error)
               ? -1
               : 0;
}

static int conv_backward(const dbi_cuda_transform *t, const dbi_maps *maps, dbi_stream stream, const float *ds,
                         float *dp, dbi_error *error)
{
    conv_arguments a = conv_of(t, maps);
    a.g = ds;
    a.slope = t->slope;
    a.in = t->work[0];
    if (make_shares_launch(stream, maps->blocks * maps->count, &a, error))
        return -1;
    a.p = a.g = t->work[0];
    a.in = dp;
    return t->weights ? correlate_shares_launch(stream, tile_blocks(maps), &a, error)
                      : gather_shares_launch(stream, maps->blocks * maps->count, &a, error);
}

int dbi_cuda_transform_backward(dbi_cuda_transform *t, dbi_stream stream, const float *p, const float *ds, float *dp,
                                dbi_error *error)
{
    const dbi_maps maps = dbi_maps_make(t->shape, t->maps);
    if (!t->maps || !maps.voxels)
        return 0;
    if (t->transform.kind == DBI_TRANSFORM_EXACT)
        return dbi_cuda_clear(stream, dp, 4 * (size_t)t->maps * maps.voxels, error);
    if (!t->gradient)
        return dbi_fail(error, "no gradient was asked for");
    return t->transform.kind == DBI_TRANSFORM_LEVELSET ? levelset_backward(t, &maps, stream, p, ds, dp, error)
                                                       : conv_backward(t, &maps, stream, ds, dp, error);
}

/* ---- Labels ---- */

struct dbi_cuda_sdf {
    dbi_maps maps;
    dbi_normalize normalize;
    dbi_normalizer normal;
    double spacing[3], limit;
    int64_t classes;
    float *work, *raw; /* raw: for `max` */
    uint32_t *most;
};

dbi_cuda_sdf *dbi_cuda_sdf_new(const int64_t shape[3], const double spacing[3], const dbi_normalize *normalize,
                               int64_t samples, int64_t classes, dbi_arena *arena, dbi_error *error)
{
    if (samples < 0 || classes < 1 || classes > UINT8_MAX || samples > INT64_MAX / classes) {
        dbi_fail(error, "impossible number of classes or samples");
        return NULL;
    }
    for (int a = 0; a < 3; a++)
        if (!(spacing[a] > 0) || !isfinite(spacing[a])) {
            dbi_fail(error, "a spacing of %g is not positive", spacing[a]);
            return NULL;
        }
    if (check_shape(shape, samples * classes, error))
        return NULL;
    dbi_cuda_sdf *sdf = (dbi_cuda_sdf *)calloc(1, sizeof *sdf);
    if (!sdf) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    sdf->maps = dbi_maps_make(shape, samples * classes);
    sdf->normalize = *normalize;
    sdf->normal = normalizer_of(normalize, shape, spacing);
    sdf->limit = dbi_normalize_limit(normalize);
    memcpy(sdf->spacing, spacing, sizeof sdf->spacing);
    sdf->classes = classes;
    const size_t bytes = 4 * (size_t)sdf->maps.count * sdf->maps.voxels;
    const bool maximum = normalize->kind == DBI_NORMALIZE_MAX;
    if (dbi_arena_need(arena, &sdf->work, bytes, error) ||
        dbi_arena_need(arena, &sdf->raw, maximum ? bytes : 0, error) ||
        dbi_arena_need(arena, &sdf->most, maximum ? 8 * (size_t)sdf->maps.count : 0, error)) {
        free(sdf);
        return NULL;
    }
    return sdf;
}

void dbi_cuda_sdf_free(dbi_cuda_sdf *sdf)
{
    free(sdf);
}

int dbi_cuda_sdf_run(dbi_cuda_sdf *sdf, dbi_stream stream, const uint8_t *label, float *out, dbi_error *error)
{
    float *const d[2] = {out, sdf->work};
    put_arguments put;
    put.normal = sdf->normal;
    put.raw = sdf->normalize.kind == DBI_NORMALIZE_MAX;
    put.s = put.raw ? sdf->raw : out;
    put.slope = NULL;
    if (!sdf->maps.count || !sdf->maps.voxels)
        return 0;
    if (find_exact(&sdf->maps, stream, NULL, label, sdf->classes, sdf->spacing, sdf->limit, d, &put, error))
        return -1;
    return put.raw ? normalize_by_maxima(&sdf->maps, stream, sdf->raw, sdf->most, out, NULL, error) : 0;
}
