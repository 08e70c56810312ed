/* Included by net.cu for each type of activations; T, E(name), LOAD(x) and STORE(f) as in vector.inc.h. Arithmetic is
 * in float throughout. Formulas: reference.real.c. */
#include "cuda/vector.inc.h"

/* ---- The image: plain [batch,C,voxels] -> [batch,voxels,channels], channels past C are 0 ---- */

typedef struct E(image_arguments) {
    const float *image;
    T *out;
    int64_t voxels, all; /* of a sample, of the batch */
    int channels, padded;
} E(image_arguments);

DBI_HD void E(image)(const E(image_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const int64_t v = block * DBI_BLOCK + thread;
    if (v >= a->all)
        return;
    const int64_t n = dbi_divide(v, a->voxels), at = v - n * a->voxels;
    for (int c = 0; c < a->padded; c += DBI_GROUP) {
        float x[DBI_GROUP];
        for (int i = 0; i < DBI_GROUP; i++)
            x[i] = c + i < a->channels ? a->image[(n * a->channels + c + i) * a->voxels + at] : 0;
        E(store)(a->out + v * a->padded + c, x);
    }
}
DBI_KERNEL(E(image), E(image_arguments), DBI_BLOCK, 1, dbi_nothing)

/* ---- Weights of convolutions: PyTorch's [A,B,taps] <-> [A,taps,B], both channels padded ---- */

typedef struct E(pack_arguments) {
    dbi_pack_table table;
    const float *parameters;
    T *packed;
} E(pack_arguments);

DBI_HD void E(pack)(const E(pack_arguments) * a, int64_t block, int thread, int phase, dbi_pack_shared *shared)
{
    const dbi_pack_place p = dbi_pack_place_of(&a->table, block);
    if (phase == 0) {
        for (int i = thread; i < p.wide * p.taps; i += DBI_BLOCK) {
            const int b = (int)((unsigned)i / (unsigned)p.taps), tap = i - b * p.taps;
            shared->value[b * p.pitch + tap] = b < p.full ? a->parameters[p.flat + i] : 0;
        }
    } else {
        const int groups = p.wide / DBI_GROUP;
        for (int i = thread; i < groups * p.taps; i += DBI_BLOCK) {
            const int tap = (int)((unsigned)i / (unsigned)groups), b = (i - tap * groups) * DBI_GROUP;
            float x[DBI_GROUP];
            for (int k = 0; k < DBI_GROUP; k++)
                x[k] = shared->value[(b + k) * p.pitch + tap];
            E(store)(a->packed + p.packed + (int64_t)tap * p.padded + b, x);
        }
    }
}
DBI_KERNEL(E(pack), E(pack_arguments), DBI_BLOCK, 2, dbi_pack_shared)

typedef struct E(unpack_arguments) {
    dbi_pack_table table;
    const T *packed;
    float *gradient;
} E(unpack_arguments);

DBI_HD void E(unpack)(const E(unpack_arguments) * a, int64_t block, int thread, int phase, dbi_pack_shared *shared)
{
    const dbi_pack_place p = dbi_pack_place_of(&a->table, block);
    if (phase == 0) {
        const int groups = p.wide / DBI_GROUP;
        for (int i = thread; p.full > 0 && i < groups * p.taps; i += DBI_BLOCK) {
            const int tap = (int)((unsigned)i / (unsigned)groups), b = (i - tap * groups) * DBI_GROUP;
            float x[DBI_GROUP];
            E(load)(a->packed + p.packed + (int64_t)tap * p.padded + b, x);
            for (int k = 0; k < DBI_GROUP; k++)
                shared->value[(b + k) * p.pitch + tap] = x[k];
        }
    } else {
        for (int i = thread; i < p.full * p.taps; i += DBI_BLOCK) {
            const int b = (int)((unsigned)i / (unsigned)p.taps), tap = i - b * p.taps;
            a->gradient[p.flat + i] = shared->value[b * p.pitch + tap];
        }
    }
}
DBI_KERNEL(E(unpack), E(unpack_arguments), DBI_BLOCK, 2, dbi_pack_shared)

/* ---- A thread's voxels of a run ---- */

/* All loads before the first use. Past the last of `rounds` voxels the first one again: what is not used need not be
 * asked for. */
DBI_HD void E(take_run)(const T *from, int64_t apart, int rounds, E(eight) raw[DBI_ROUNDS])
{
    DBI_UNROLL
    for (int k = 0; k < DBI_ROUNDS; k++)
        raw[k] = E(take)(from + (k < rounds ? k * apart : 0));
}

/* ---- Moments of a chunk: sums of z - shift and of its square, shift being the chunk's first value, so that nothing
 * cancels ---- */

typedef struct E(moments_arguments) {
    dbi_tiling at;
    const T *z;
    float *shift, *sum, *squares; /* [chunks,padded] */
} E(moments_arguments);

DBI_HD void E(moments)(const E(moments_arguments) * a, int64_t block, int thread, int phase, dbi_sums16 *shared)
{
    const dbi_place p = dbi_tiling_place(&a->at, block, thread);
    const int padded = a->at.groups * DBI_GROUP, c = p.group * DBI_GROUP;
    if (phase == 0) {
        float sum[DBI_GROUP] = {0}, squares[DBI_GROUP] = {0}, shift[DBI_GROUP], x[DBI_GROUP];
        if (p.group < a->at.groups) {
            E(load)(a->z + p.begin * padded + c, shift);
            for (int64_t v = p.first; v < a->at.voxels; v += p.step) {
                const int rounds = dbi_tiling_rounds(&a->at, v);
                E(eight) z[DBI_ROUNDS];
                E(take_run)(a->z + v * padded + c, (int64_t)a->at.rows * padded, rounds, z);
                DBI_UNROLL
                for (int k = 0; k < DBI_ROUNDS; k++) {
                    E(spread)(&z[k], x);
                    for (int i = 0; i < DBI_GROUP && k < rounds; i++) {
                        const float d = x[i] - shift[i];
                        sum[i] += d;
                        squares[i] += d * d;
                    }
                }
            }
        }
        for (int i = 0; i < DBI_GROUP; i++) {
            shared->value[i][thread] = sum[i];
            shared->value[DBI_GROUP + i][thread] = squares[i];
        }
    } else if (phase == 1) {
        dbi_add_parts(shared, DBI_CHANNEL_SUMS, thread, a->at.lanes);
    } else {
        const dbi_place tile = dbi_tiling_place(&a->at, block, 0);
        for (int i = thread; i < DBI_GROUP * a->at.lanes; i += DBI_BLOCK)
            if (tile.group * DBI_GROUP + i < padded)
                a->shift[p.chunk * padded + tile.group * DBI_GROUP + i] =
                    LOAD(a->z[p.begin * padded + tile.group * DBI_GROUP + i]);
        dbi_put_sums(shared, &a->at, &tile, thread, a->sum + p.chunk * padded, a->squares + p.chunk * padded);
    }
}
DBI_KERNEL_RESIDENT(E(moments), E(moments_arguments), DBI_BLOCK, 4, 3, dbi_sums16)

/* ---- Normalization, ReLU, dropout, sum: a = relu(scale (z - mean) + shift) drop + skip ----
 *
 * This and the gradient of z go from the last voxel to the first: what the kernel before has read or written last is in
 * the second-level cache. */

typedef struct E(normalize_arguments) {
    dbi_tiling at;
    dbi_norm_cuda norm;
    const T *z, *skip; /* skip: normalize_skip alone */
    T *a;              /* may be z */
    int64_t voxels;    /* of a sample */
} E(normalize_arguments);

DBI_HD void E(normalize_of)(const E(normalize_arguments) * a, bool skips, int64_t block, int thread, int phase,
                            dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const dbi_place p = dbi_tiling_place(&a->at, dbi_tiling_run_blocks(&a->at) - 1 - block, thread);
    const int padded = a->at.groups * DBI_GROUP, c = p.group * DBI_GROUP;
    if (p.group >= a->at.groups || p.first >= a->at.voxels)
        return;
    const int rounds = dbi_tiling_rounds(&a->at, p.first);
    const int64_t from = p.first * padded + c, apart = (int64_t)a->at.rows * padded;
    E(eight) z[DBI_ROUNDS], skip[DBI_ROUNDS];
    E(take_run)(a->z + from, apart, rounds, z);
    if (skips)
        E(take_run)(a->skip + from, apart, rounds, skip);
    const dbi_norm8 norm = dbi_norm8_of(&a->norm, c);
    dbi_drop8 drop = dbi_drop8_of(&a->norm);
    DBI_UNROLL
    for (int k = 0; k < DBI_ROUNDS; k++) {
        float x[DBI_GROUP], more[DBI_GROUP] = {0};
        if (k >= rounds)
            continue;
        E(spread)(&z[k], x);
        if (skips)
            E(spread)(&skip[k], more);
        dbi_drop8_at(&drop, &a->norm, p.first + (int64_t)k * a->at.rows, a->voxels, c, padded);
        for (int i = 0; i < DBI_GROUP; i++) {
            const float y = norm.scale[i] * (x[i] - norm.mean[i]) + norm.shift[i];
            x[i] = (y > 0 ? y * drop.factor[i] : 0) + more[i];
        }
        E(store)(a->a + from + k * apart, x);
    }
}
DBI_HD void E(normalize)(const E(normalize_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    E(normalize_of)(a, false, block, thread, phase, shared);
}
DBI_KERNEL_RESIDENT(E(normalize), E(normalize_arguments), DBI_BLOCK, 3, 1, dbi_nothing)

DBI_HD void E(normalize_skip)(const E(normalize_arguments) * a, int64_t block, int thread, int phase,
                              dbi_nothing *shared)
{
    E(normalize_of)(a, true, block, thread, phase, shared);
}
DBI_KERNEL(E(normalize_skip), E(normalize_arguments), DBI_BLOCK, 1, dbi_nothing)

/* ---- The heads, with the last layer's normalization inside; outputs plain [batch,K,voxels] ---- */

typedef struct E(heads_arguments) {
    dbi_norm_cuda norm;
    dbi_heads_cuda heads;
    const T *z;
    float *logits, *sdf;
    int64_t all, voxels;
} E(heads_arguments);

DBI_HD void E(heads)(const E(heads_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const int64_t v = block * DBI_BLOCK + thread;
    if (v >= a->all)
        return;
    const int64_t n = dbi_divide(v, a->voxels), at = v - n * a->voxels;
    const int channels = a->heads.channels, padded = dbi_padded(channels);
    const float *drop = a->norm.drop ? a->norm.drop + n * padded : NULL;
    for (int k = 0; k < a->heads.classes; k++) {
        const float *sdf_weight = a->heads.sdf_weight + (int64_t)k * channels,
                    *seg_weight = a->heads.seg_weight + (int64_t)k * channels;
        float sdf = a->heads.sdf_bias[k], seg = a->heads.seg_bias[k];
        for (int c = 0; c < channels; c += DBI_GROUP) {
            float z[DBI_GROUP];
            E(load)(a->z + v * padded + c, z);
            for (int i = 0; i < DBI_GROUP && c + i < channels; i++) {
                const float x = dbi_activate(&a->norm, c + i, z[i], drop ? drop[c + i] : 1);
                sdf += sdf_weight[c + i] * x;
                seg += seg_weight[c + i] * x;
            }
        }
        a->logits[(n * a->heads.classes + k) * a->voxels + at] = seg;
        a->sdf[(n * a->heads.classes + k) * a->voxels + at] = tanhf(sdf);
    }
}
DBI_KERNEL(E(heads), E(heads_arguments), DBI_BLOCK, 1, dbi_nothing)

/* ---- The gradient: dy = (da + da_skip) drop [y > 0], da from the next layers or from the heads ---- */

typedef struct E(gradient_arguments) {
    dbi_tiling at;
    dbi_norm_cuda norm;
    const T *da, *da_skip; /* da_skip: or NULL */
    dbi_heads_cuda heads;  /* head_sums, head_gradient: where da comes from */
    T *z;                  /* written by gradient alone */
    int64_t voxels;        /* of a sample */
    float *sum, *dot;      /* sums: [chunks,padded] */
    const float *by_z, *constant;
} E(gradient_arguments);

/* What a thread reads of a run. */
typedef struct E(gradient_run) {
    int rounds;
    E(eight) z[DBI_ROUNDS], da[DBI_ROUNDS], more[DBI_ROUNDS];
} E(gradient_run);

DBI_HD void E(take_gradient)(const E(gradient_arguments) * a, bool heads, int64_t v, int c, E(gradient_run) * run)
{
    const int padded = a->at.groups * DBI_GROUP;
    const int64_t from = v * padded + c, apart = (int64_t)a->at.rows * padded;
    run->rounds = dbi_tiling_rounds(&a->at, v);
    E(take_run)(a->z + from, apart, run->rounds, run->z);
    if (!heads)
        E(take_run)(a->da + from, apart, run->rounds, run->da);
    if (!heads && a->da_skip)
        E(take_run)(a->da_skip + from, apart, run->rounds, run->more);
}

/* z - mean and dy of its voxel k, v being its first one. */
DBI_HD void E(gradient_of_y)(const E(gradient_arguments) * a, bool heads, const E(gradient_run) * run, int64_t v, int k,
                             int c, const dbi_norm8 *norm, dbi_drop8 *drop, float z[DBI_GROUP], float dy[DBI_GROUP])
{
    const int64_t at = v + (int64_t)k * a->at.rows;
    E(spread)(&run->z[k], z);
    if (!heads) {
        E(spread)(&run->da[k], dy);
        if (a->da_skip) {
            float more[DBI_GROUP];
            E(spread)(&run->more[k], more);
            for (int i = 0; i < DBI_GROUP; i++)
                dy[i] += more[i];
        }
    } else {
        const int64_t n = dbi_divide(at, a->voxels);
        dbi_heads_da(&a->heads, n, at - n * a->voxels, a->voxels, c, dy);
    }
    dbi_drop8_at(drop, &a->norm, at, a->voxels, c, a->at.groups * DBI_GROUP);
    for (int i = 0; i < DBI_GROUP; i++) {
        z[i] -= norm->mean[i];
        dy[i] = norm->scale[i] * z[i] + norm->shift[i] > 0 ? dy[i] * drop->factor[i] : 0;
    }
}

/* Per channel and chunk: sum = Σ dy, dot = Σ dy (z - mean). */
DBI_HD void E(sums_of)(const E(gradient_arguments) * a, bool heads, int64_t block, int thread, int phase,
                       dbi_sums16 *shared)
{
    const dbi_place p = dbi_tiling_place(&a->at, block, thread);
    const int padded = a->at.groups * DBI_GROUP, c = p.group * DBI_GROUP;
    if (phase == 0) {
        float sum[DBI_GROUP] = {0}, dot[DBI_GROUP] = {0}, z[DBI_GROUP], dy[DBI_GROUP];
        if (p.group < a->at.groups) {
            const dbi_norm8 norm = dbi_norm8_of(&a->norm, c);
            dbi_drop8 drop = dbi_drop8_of(&a->norm);
            for (int64_t v = p.first; v < a->at.voxels; v += p.step) {
                E(gradient_run) run;
                E(take_gradient)(a, heads, v, c, &run);
                DBI_UNROLL
                for (int k = 0; k < DBI_ROUNDS; k++) {
                    if (k >= run.rounds)
                        continue;
                    E(gradient_of_y)(a, heads, &run, v, k, c, &norm, &drop, z, dy);
                    for (int i = 0; i < DBI_GROUP; i++) {
                        sum[i] += dy[i];
                        dot[i] += dy[i] * z[i];
                    }
                }
            }
        }
        for (int i = 0; i < DBI_GROUP; i++) {
            shared->value[i][thread] = sum[i];
            shared->value[DBI_GROUP + i][thread] = dot[i];
        }
    } else if (phase == 1) {
        dbi_add_parts(shared, DBI_CHANNEL_SUMS, thread, a->at.lanes);
    } else {
        const dbi_place tile = dbi_tiling_place(&a->at, block, 0);
        dbi_put_sums(shared, &a->at, &tile, thread, a->sum + p.chunk * padded, a->dot + p.chunk * padded);
    }
}
DBI_HD void E(sums)(const E(gradient_arguments) * a, int64_t block, int thread, int phase, dbi_sums16 *shared)
{
    E(sums_of)(a, false, block, thread, phase, shared);
}

DBI_HD void E(head_sums)(const E(gradient_arguments) * a, int64_t block, int thread, int phase, dbi_sums16 *shared)
{
    E(sums_of)(a, true, block, thread, phase, shared);
}
DBI_KERNEL(E(sums), E(gradient_arguments), DBI_BLOCK, 3, dbi_sums16)
DBI_KERNEL(E(head_sums), E(gradient_arguments), DBI_BLOCK, 3, dbi_sums16)

/* z becomes dz = scale dy + by_z (z - mean) + constant. */
DBI_HD void E(gradient_of)(const E(gradient_arguments) * a, bool heads, int64_t block, int thread, int phase,
                           dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const dbi_place p = dbi_tiling_place(&a->at, dbi_tiling_run_blocks(&a->at) - 1 - block, thread);
    const int padded = a->at.groups * DBI_GROUP, c = p.group * DBI_GROUP;
    if (p.group >= a->at.groups || p.first >= a->at.voxels)
        return;
    E(gradient_run) run;
    E(take_gradient)(a, heads, p.first, c, &run);
    const dbi_norm8 norm = dbi_norm8_of(&a->norm, c);
    dbi_drop8 drop = dbi_drop8_of(&a->norm);
    float by_z[DBI_GROUP], constant[DBI_GROUP];
    dbi_load8(a->by_z + c, by_z);
    dbi_load8(a->constant + c, constant);
    DBI_UNROLL
    for (int k = 0; k < DBI_ROUNDS; k++) {
        float z[DBI_GROUP], dy[DBI_GROUP];
        if (k >= run.rounds)
            continue;
        E(gradient_of_y)(a, heads, &run, p.first, k, c, &norm, &drop, z, dy);
        for (int i = 0; i < DBI_GROUP; i++)
            z[i] = norm.scale[i] * dy[i] + by_z[i] * z[i] + constant[i];
        E(store)(a->z + (p.first + (int64_t)k * a->at.rows) * padded + c, z);
    }
}
DBI_HD void E(gradient)(const E(gradient_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    E(gradient_of)(a, false, block, thread, phase, shared);
}

DBI_HD void E(head_gradient)(const E(gradient_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    E(gradient_of)(a, true, block, thread, phase, shared);
}
DBI_KERNEL(E(gradient), E(gradient_arguments), DBI_BLOCK, 1, dbi_nothing)
DBI_KERNEL(E(head_gradient), E(gradient_arguments), DBI_BLOCK, 1, dbi_nothing)

/* ---- Gradients of the same values add up: to += term, 8 channels of a voxel for a thread ---- */

typedef struct E(sum_arguments) {
    T *to;
    const T *term;
    int64_t groups;
} E(sum_arguments);

DBI_HD void E(sum)(const E(sum_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    const int64_t i = (block * DBI_BLOCK + thread) * DBI_GROUP;
    float x[DBI_GROUP], more[DBI_GROUP];
    (void)phase;
    (void)shared;
    if (i >= a->groups * DBI_GROUP)
        return;
    E(load)(a->to + i, x);
    E(load)(a->term + i, more);
    for (int k = 0; k < DBI_GROUP; k++)
        x[k] += more[k];
    E(store)(a->to + i, x);
}
DBI_KERNEL(E(sum), E(sum_arguments), DBI_BLOCK, 1, dbi_nothing)

/* ---- The heads' own gradients of a chunk, both of a class by one block: per output o (distances first, then logits)
 * and channel Σ out a, and Σ out for the bias ---- */

typedef struct E(head_weights_arguments) {
    dbi_tiling at;
    dbi_norm_cuda norm;
    dbi_heads_cuda heads;
    const T *z;
    int64_t voxels;
    int64_t first, chunks; /* of all rows of the normalization: the chunks of this one begin at `first` */
    float *weight, *bias;  /* [2 classes,chunks,padded], [2 classes,chunks] */
} E(head_weights_arguments);

DBI_HD void E(head_weights)(const E(head_weights_arguments) * a, int64_t block, int thread, int phase,
                            dbi_sums16 *shared)
{
    const int64_t blocks = dbi_tiling_blocks(&a->at), label = dbi_divide(block, blocks);
    const dbi_place p = dbi_tiling_place(&a->at, block - label * blocks, thread);
    const int padded = a->at.groups * DBI_GROUP, c = p.group * DBI_GROUP;
    if (phase == 0) {
        float sdf[DBI_GROUP] = {0}, seg[DBI_GROUP] = {0}, sdf_bias = 0, seg_bias = 0, x[DBI_GROUP];
        if (p.group < a->at.groups) {
            const dbi_norm8 norm = dbi_norm8_of(&a->norm, c);
            dbi_drop8 drop = dbi_drop8_of(&a->norm);
            for (int64_t v = p.first; v < a->at.voxels; v += p.step) {
                const int rounds = dbi_tiling_rounds(&a->at, v);
                float dr[DBI_ROUNDS], dl[DBI_ROUNDS];
                E(eight) z[DBI_ROUNDS];
                E(take_run)(a->z + v * padded + c, (int64_t)a->at.rows * padded, rounds, z);
                DBI_UNROLL
                for (int k = 0; k < DBI_ROUNDS; k++) {
                    const int64_t at = k < rounds ? v + (int64_t)k * a->at.rows : v, n = dbi_divide(at, a->voxels),
                                  i = at - n * a->voxels;
                    dr[k] = dbi_heads_dout(&a->heads, (int)label, n, i, a->voxels);
                    dl[k] = dbi_heads_dout(&a->heads, a->heads.classes + (int)label, n, i, a->voxels);
                }
                DBI_UNROLL
                for (int k = 0; k < DBI_ROUNDS; k++) {
                    if (k >= rounds)
                        continue;
                    E(spread)(&z[k], x);
                    dbi_drop8_at(&drop, &a->norm, v + (int64_t)k * a->at.rows, a->voxels, c, padded);
                    sdf_bias += dr[k];
                    seg_bias += dl[k];
                    for (int i = 0; i < DBI_GROUP; i++) {
                        const float y = norm.scale[i] * (x[i] - norm.mean[i]) + norm.shift[i],
                                    out = y > 0 ? y * drop.factor[i] : 0;
                        sdf[i] += dr[k] * out;
                        seg[i] += dl[k] * out;
                    }
                }
            }
        }
        for (int i = 0; i < DBI_GROUP; i++) {
            shared->value[i][thread] = sdf[i];
            shared->value[DBI_GROUP + i][thread] = seg[i];
        }
        shared->value[DBI_CHANNEL_SUMS][thread] = sdf_bias;
        shared->value[DBI_CHANNEL_SUMS + 1][thread] = seg_bias;
    } else if (phase == 1) {
        dbi_add_parts(shared, DBI_CHANNEL_SUMS + 2, thread, a->at.lanes);
    } else {
        const dbi_place tile = dbi_tiling_place(&a->at, block - label * blocks, 0);
        const int64_t chunk = a->first + p.chunk,
                      row[2] = {label * a->chunks + chunk, (a->heads.classes + label) * a->chunks + chunk};
        dbi_put_sums(shared, &a->at, &tile, thread, a->weight + row[0] * padded, a->weight + row[1] * padded);
        if (tile.group == 0 && thread < 2)
            a->bias[row[thread]] = dbi_sum_of(shared, DBI_CHANNEL_SUMS + thread, 0, a->at.lanes);
    }
}
DBI_KERNEL(E(head_weights), E(head_weights_arguments), DBI_BLOCK, 3, dbi_sums16)
