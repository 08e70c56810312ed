/* Arguments and arithmetic that the kernels of net.cu share, whatever the type of the activations. */
#ifndef DBI_CUDA_COMMON_H
#define DBI_CUDA_COMMON_H

#include "cuda/geometry.h"

/* One load or store of a thread. */
typedef struct __attribute__((aligned(16))) dbi_sixteen_bytes {
    uint32_t word[4];
} dbi_sixteen_bytes;

typedef struct dbi_nothing {
    char unused;
} dbi_nothing;

typedef struct dbi_sums16 {
    float value[2 * DBI_GROUP][DBI_BLOCK];
} dbi_sums16;

typedef struct dbi_finish_sums {
    double first[DBI_FINISH], second[DBI_FINISH];
} dbi_finish_sums;

/* Phase 1, 2, ... of a sum over a block's rows: each row of the upper half is added to its partner in the lower half, until one row of `lanes` is left. */
DBI_HD void dbi_halve(float *values, int count, int phase, int thread, int lanes)
{
    const int half = DBI_BLOCK >> phase;
    if (half < lanes || thread >= half)
        return;
    for (int i = 0; i < count; i++)
        values[i * DBI_BLOCK + thread] += values[i * DBI_BLOCK + thread + half];
}

/* The same for two sums in double over DBI_FINISH threads. */
DBI_HD void dbi_halve_double(double *values, int phase, int thread)
{
    const int half = DBI_FINISH >> phase;
    if (thread < half)
        values[thread] += values[thread + half];
}

/* Normalization of one layer, per channel (padded); drop [batch,padded] or NULL. */
typedef struct dbi_norm_cuda {
    const float *mean, *scale, *shift, *drop;
} dbi_norm_cuda;

DBI_HD float dbi_activate(const dbi_norm_cuda *norm, int c, float z, float drop)
{
    const float y = norm->scale[c] * (z - norm->mean[c]) + norm->shift[c];
    return y > 0 ? y * drop : 0;
}

/* The heads' weights [classes,channels] and biases; sdf (after tanh), dlogits, dsdf [batch,classes,voxels], for the backward pass. */
typedef struct dbi_heads_cuda {
    const float *sdf_weight, *sdf_bias, *seg_weight, *seg_bias;
    const float *sdf, *dlogits, *dsdf;
    int classes, channels;
} dbi_heads_cuda;

/* Gradient of an output before tanh: o < classes: distance o, else logit o - classes. */
DBI_HD float dbi_heads_dout(const dbi_heads_cuda *h, int o, int64_t n, int64_t at, int64_t voxels)
{
    if (o >= h->classes)
        return h->dlogits[(n * h->classes + o - h->classes) * voxels + at];
    const int64_t i = (n * h->classes + o) * voxels + at;
    return h->dsdf[i] * (1 - h->sdf[i] * h->sdf[i]);
}

/* Gradient of the last activation, 8 channels of voxel `at` of sample n. */
DBI_HD void dbi_heads_da(const dbi_heads_cuda *h, int64_t n, int64_t at, int64_t voxels, int c, float da[DBI_GROUP])
{
    for (int i = 0; i < DBI_GROUP; i++)
        da[i] = 0;
    for (int k = 0; k < h->classes; k++) {
        const float dr = dbi_heads_dout(h, k, n, at, voxels), dl = dbi_heads_dout(h, h->classes + k, n, at, voxels);
        for (int i = 0; i < DBI_GROUP && c + i < h->channels; i++)
            da[i] += h->sdf_weight[(int64_t)k * h->channels + c + i] * dr + h->seg_weight[(int64_t)k * h->channels + c + i] * dl;
    }
}

/* A product and a sum that are rounded one by one, as the host's are, where the device would make one operation of them. */
DBI_HD float dbi_times(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

DBI_HD float dbi_plus(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

/* Where each convolution's weights lie: flat [A,B,taps] from `flat`, packed [A,taps,B] with padded channels from `packed`. */
enum { DBI_PACK_LAYERS = 32 };

typedef struct dbi_pack_table {
    int layers;
    int64_t count; /* of packed elements, of all layers */
    struct {
        int64_t flat, packed;
        int a, b, taps;
    } layer[DBI_PACK_LAYERS];
} dbi_pack_table;

/* The flat index of packed element i, -1 for padding. */
DBI_HD int64_t dbi_pack_source(const dbi_pack_table *table, int64_t i)
{
    int l = table->layers - 1;
    while (l > 0 && i < table->layer[l].packed)
        l--;
    const int a = table->layer[l].a, b = table->layer[l].b, taps = table->layer[l].taps, padded = dbi_padded(b);
    const int64_t at = i - table->layer[l].packed, row = dbi_divide(at, padded), from_b = at - row * padded;
    const int64_t from_a = dbi_divide(row, taps), tap = row - from_a * taps;
    return from_a < a && from_b < b ? table->layer[l].flat + (from_a * b + from_b) * taps + tap : -1;
}

/* Philox4x32-10 (Salmon et al., SC 2011), as base/random.h has it: the same numbers on host and device. */
DBI_HD void dbi_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1], c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Numbers 4 block ... 4 block + 3 of the stream (seed, role, step, stream) of base/random.h. */
DBI_HD void dbi_random_block(uint64_t seed, uint32_t role, uint32_t step, uint32_t stream, uint32_t block, uint32_t out[4])
{
    uint32_t key[2], counter[4];
    key[0] = (uint32_t)seed;
    key[1] = (uint32_t)(seed >> 32);
    counter[0] = block;
    counter[1] = stream;
    counter[2] = step;
    counter[3] = role;
    dbi_philox(key, counter, out);
}

/* dbi_random_uniform() of two consecutive numbers. */
DBI_HD double dbi_uniform_of(uint32_t high, uint32_t low)
{
    return (double)((uint64_t)high << 21 | (uint64_t)low >> 11) * (1.0 / 9007199254740992.0);
}

#endif
