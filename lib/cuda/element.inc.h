/* Included by net.cu for each type of activations; T, E(name), LOAD(x) and STORE(f) as in vector.inc.h. Arithmetic is in float throughout. Formulas:
 * reference.real.c. */
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

DBI_HD void E(pack)(const E(pack_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i < a->table.count) {
        const int64_t from = dbi_pack_source(&a->table, i);
        a->packed[i] = STORE(from < 0 ? 0 : a->parameters[from]);
    }
}
DBI_KERNEL(E(pack), E(pack_arguments), DBI_BLOCK, 1, dbi_nothing)

typedef struct E(unpack_arguments) {
    dbi_pack_table table;
    const T *packed;
    float *gradient;
} E(unpack_arguments);

DBI_HD void E(unpack)(const E(unpack_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i < a->table.count) {
        const int64_t to = dbi_pack_source(&a->table, i);
        if (to >= 0)
            a->gradient[to] = LOAD(a->packed[i]);
    }
}
DBI_KERNEL(E(unpack), E(unpack_arguments), DBI_BLOCK, 1, dbi_nothing)

/* ---- Moments of a chunk: sums of z - shift and of its square, shift being the chunk's first value, so that nothing cancels ---- */

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
            for (int64_t v = p.first; v < p.end; v += a->at.rows) {
                E(load)(a->z + v * padded + c, x);
                for (int i = 0; i < DBI_GROUP; i++) {
                    const float d = x[i] - shift[i];
                    sum[i] += d;
                    squares[i] += d * d;
                }
            }
        }
        for (int i = 0; i < DBI_GROUP; i++) {
            shared->value[i][thread] = sum[i];
            shared->value[DBI_GROUP + i][thread] = squares[i];
        }
    } else if (phase <= DBI_BLOCK_LOG) {
        dbi_halve(&shared->value[0][0], 2 * DBI_GROUP, phase, thread, a->at.lanes);
    } else if (thread < a->at.lanes && p.group < a->at.groups) {
        float shift[DBI_GROUP];
        E(load)(a->z + p.begin * padded + c, shift);
        for (int i = 0; i < DBI_GROUP; i++) {
            a->shift[p.chunk * padded + c + i] = shift[i];
            a->sum[p.chunk * padded + c + i] = shared->value[i][thread];
            a->squares[p.chunk * padded + c + i] = shared->value[DBI_GROUP + i][thread];
        }
    }
}
DBI_KERNEL(E(moments), E(moments_arguments), DBI_BLOCK, DBI_BLOCK_LOG + 2, dbi_sums16)

/* ---- Normalization, ReLU, dropout, sum: a = relu(scale (z - mean) + shift) drop + skip ---- */

typedef struct E(normalize_arguments) {
    dbi_norm_cuda norm;
    const T *z, *skip; /* skip: or NULL */
    T *a;              /* may be z */
    int64_t all, voxels;
    int groups;
} E(normalize_arguments);

DBI_HD void E(normalize)(const E(normalize_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i >= a->all * a->groups)
        return;
    const int64_t v = dbi_divide(i, a->groups);
    const int c = (int)(i - v * a->groups) * DBI_GROUP, padded = a->groups * DBI_GROUP;
    const float *drop = a->norm.drop ? a->norm.drop + dbi_divide(v, a->voxels) * padded + c : NULL;
    float z[DBI_GROUP], skip[DBI_GROUP] = {0};
    E(load)(a->z + v * padded + c, z);
    if (a->skip)
        E(load)(a->skip + v * padded + c, skip);
    for (int k = 0; k < DBI_GROUP; k++)
        z[k] = dbi_activate(&a->norm, c + k, z[k], drop ? drop[k] : 1) + skip[k];
    E(store)(a->a + v * padded + c, z);
}
DBI_KERNEL(E(normalize), E(normalize_arguments), DBI_BLOCK, 1, dbi_nothing)

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
        const float *sdf_weight = a->heads.sdf_weight + (int64_t)k * channels, *seg_weight = a->heads.seg_weight + (int64_t)k * channels;
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
    const T *da, *da_skip; /* da: NULL where it comes from the heads; da_skip: or NULL */
    dbi_heads_cuda heads;  /* used where da is NULL */
    T *z;                  /* written by gradient alone */
    int64_t voxels;        /* of a sample */
    float *sum, *dot;      /* sums: [chunks,padded] */
    const float *by_dy, *by_z, *constant;
} E(gradient_arguments);

/* z and dy of 8 channels of a voxel. */
DBI_HD void E(gradient_of_y)(const E(gradient_arguments) * a, int64_t v, int c, float z[DBI_GROUP], float dy[DBI_GROUP])
{
    const int padded = a->at.groups * DBI_GROUP;
    const int64_t n = a->norm.drop || !a->da ? dbi_divide(v, a->voxels) : 0;
    const float *drop = a->norm.drop ? a->norm.drop + n * padded + c : NULL;
    E(load)(a->z + v * padded + c, z);
    if (a->da) {
        E(load)(a->da + v * padded + c, dy);
        if (a->da_skip) {
            float more[DBI_GROUP];
            E(load)(a->da_skip + v * padded + c, more);
            for (int i = 0; i < DBI_GROUP; i++)
                dy[i] += more[i];
        }
    } else {
        dbi_heads_da(&a->heads, n, v - n * a->voxels, a->voxels, c, dy);
    }
    for (int i = 0; i < DBI_GROUP; i++) {
        const float y = a->norm.scale[c + i] * (z[i] - a->norm.mean[c + i]) + a->norm.shift[c + i];
        dy[i] = y > 0 ? dy[i] * (drop ? drop[i] : 1) : 0;
    }
}

/* Per channel and chunk: sum = Σ dy, dot = Σ dy (z - mean). */
DBI_HD void E(sums)(const E(gradient_arguments) * a, int64_t block, int thread, int phase, dbi_sums16 *shared)
{
    const dbi_place p = dbi_tiling_place(&a->at, block, thread);
    const int padded = a->at.groups * DBI_GROUP, c = p.group * DBI_GROUP;
    if (phase == 0) {
        float sum[DBI_GROUP] = {0}, dot[DBI_GROUP] = {0}, z[DBI_GROUP], dy[DBI_GROUP];
        if (p.group < a->at.groups)
            for (int64_t v = p.first; v < p.end; v += a->at.rows) {
                E(gradient_of_y)(a, v, c, z, dy);
                for (int i = 0; i < DBI_GROUP; i++) {
                    sum[i] += dy[i];
                    dot[i] += dy[i] * (z[i] - a->norm.mean[c + i]);
                }
            }
        for (int i = 0; i < DBI_GROUP; i++) {
            shared->value[i][thread] = sum[i];
            shared->value[DBI_GROUP + i][thread] = dot[i];
        }
    } else if (phase <= DBI_BLOCK_LOG) {
        dbi_halve(&shared->value[0][0], 2 * DBI_GROUP, phase, thread, a->at.lanes);
    } else if (thread < a->at.lanes && p.group < a->at.groups) {
        for (int i = 0; i < DBI_GROUP; i++) {
            a->sum[p.chunk * padded + c + i] = shared->value[i][thread];
            a->dot[p.chunk * padded + c + i] = shared->value[DBI_GROUP + i][thread];
        }
    }
}
DBI_KERNEL(E(sums), E(gradient_arguments), DBI_BLOCK, DBI_BLOCK_LOG + 2, dbi_sums16)

/* z becomes dz = by_dy dy + by_z (z - mean) + constant. */
DBI_HD void E(gradient)(const E(gradient_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i >= a->at.voxels * a->at.groups)
        return;
    const int64_t v = dbi_divide(i, a->at.groups);
    const int c = (int)(i - v * a->at.groups) * DBI_GROUP, padded = a->at.groups * DBI_GROUP;
    float z[DBI_GROUP], dy[DBI_GROUP];
    E(gradient_of_y)(a, v, c, z, dy);
    for (int k = 0; k < DBI_GROUP; k++)
        z[k] = a->by_dy[c + k] * dy[k] + a->by_z[c + k] * (z[k] - a->norm.mean[c + k]) + a->constant[c + k];
    E(store)(a->z + v * padded + c, z);
}
DBI_KERNEL(E(gradient), E(gradient_arguments), DBI_BLOCK, 1, dbi_nothing)

/* ---- The heads' own gradients of a chunk: per output o (distances first, then logits) and channel Σ out a, and Σ out for the bias ---- */

typedef struct E(head_weights_arguments) {
    dbi_tiling at;
    dbi_norm_cuda norm;
    dbi_heads_cuda heads;
    const T *z;
    int64_t voxels;
    float *weight, *bias; /* [2 classes,chunks,padded], [2 classes,chunks] */
} E(head_weights_arguments);

DBI_HD void E(head_weights)(const E(head_weights_arguments) * a, int64_t block, int thread, int phase, dbi_sums16 *shared)
{
    const int64_t blocks = dbi_tiling_blocks(&a->at), output = dbi_divide(block, blocks);
    const dbi_place p = dbi_tiling_place(&a->at, block - output * blocks, thread);
    const int padded = a->at.groups * DBI_GROUP, c = p.group * DBI_GROUP;
    if (phase == 0) {
        float sum[DBI_GROUP] = {0}, bias = 0, z[DBI_GROUP];
        if (p.group < a->at.groups)
            for (int64_t v = p.first; v < p.end; v += a->at.rows) {
                const int64_t n = dbi_divide(v, a->voxels);
                const float *drop = a->norm.drop ? a->norm.drop + n * padded + c : NULL;
                const float out = dbi_heads_dout(&a->heads, (int)output, n, v - n * a->voxels, a->voxels);
                E(load)(a->z + v * padded + c, z);
                bias += out;
                for (int i = 0; i < DBI_GROUP; i++)
                    sum[i] += out * dbi_activate(&a->norm, c + i, z[i], drop ? drop[i] : 1);
            }
        for (int i = 0; i < DBI_GROUP; i++)
            shared->value[i][thread] = sum[i];
        shared->value[DBI_GROUP][thread] = bias;
    } else if (phase <= DBI_BLOCK_LOG) {
        dbi_halve(&shared->value[0][0], DBI_GROUP + 1, phase, thread, a->at.lanes);
    } else if (thread < a->at.lanes && p.group < a->at.groups) {
        const int64_t row = output * a->at.chunks + p.chunk;
        for (int i = 0; i < DBI_GROUP; i++)
            a->weight[row * padded + c + i] = shared->value[i][thread];
        if (p.group == 0)
            a->bias[row] = shared->value[DBI_GROUP][thread];
    }
}
DBI_KERNEL(E(head_weights), E(head_weights_arguments), DBI_BLOCK, DBI_BLOCK_LOG + 2, dbi_sums16)
