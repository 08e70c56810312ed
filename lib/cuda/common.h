/* Arguments and arithmetic that the kernels of net.cu share, whatever the type of the activations. */
#ifndef DBI_CUDA_COMMON_H
#define DBI_CUDA_COMMON_H

#include "cuda/geometry.h"

/* The most that a thread can load or store at once. */
typedef struct __attribute__((aligned(16))) dbi_sixteen_bytes {
    uint32_t word[4];
} dbi_sixteen_bytes;

typedef struct dbi_nothing {
    char unused;
} dbi_nothing;

/* A block's sums over its rows: two for each channel, and two more. The rows of the arrays are so far apart that a
 * warp, which adds two of them, has no bank conflicts. */
enum { DBI_CHANNEL_SUMS = 2 * DBI_GROUP, DBI_SUM_PARTS = 16 };

typedef struct dbi_sums16 {
    float value[DBI_CHANNEL_SUMS + 2][DBI_BLOCK + DBI_SUM_PARTS]; /* of each thread */
    float part[DBI_CHANNEL_SUMS + 2][DBI_MOST_LANES];
} dbi_sums16;

DBI_HD int dbi_sum_width(int lanes)
{
    return lanes > DBI_SUM_PARTS ? lanes : DBI_SUM_PARTS;
}

/* First step, between two barriers: reduces `count` times DBI_BLOCK values to a few sums each. */
DBI_HD void dbi_add_parts(dbi_sums16 *sums, int count, int thread, int lanes)
{
    const int width = dbi_sum_width(lanes);
    for (int k = thread / DBI_SUM_PARTS; k < count; k += DBI_BLOCK / DBI_SUM_PARTS)
        for (int i = thread % DBI_SUM_PARTS; i < width; i += DBI_SUM_PARTS) {
            float sum = 0;
            for (int j = i; j < DBI_BLOCK; j += width)
                sum += sums->value[k][j];
            sums->part[k][i] = sum;
        }
}

/* Second step: sum k of one lane. */
DBI_HD float dbi_sum_of(const dbi_sums16 *sums, int k, int lane, int lanes)
{
    float sum = 0;
    for (int i = lane; i < dbi_sum_width(lanes); i += lanes)
        sum += sums->part[k][i];
    return sum;
}

/* Third step: writes sums 0 ... 7 of a tile's groups to `low` and 8 ... 15 to `high`, each [padded]. tile: the place of
 * the block's thread 0. */
DBI_HD void dbi_put_sums(const dbi_sums16 *sums, const dbi_tiling *at, const dbi_place *tile, int thread, float *low,
                         float *high)
{
    for (int i = thread; i < DBI_CHANNEL_SUMS * at->lanes; i += DBI_BLOCK) {
        const int half = i / (DBI_GROUP * at->lanes), rest = i - half * DBI_GROUP * at->lanes, k = rest % DBI_GROUP,
                  lane = rest / DBI_GROUP;
        if (tile->group + lane < at->groups)
            (half ? high : low)[(tile->group + lane) * DBI_GROUP + k] =
                dbi_sum_of(sums, half * DBI_GROUP + k, lane, at->lanes);
    }
}

typedef struct dbi_finish_sums {
    double first[DBI_FINISH], second[DBI_FINISH];
} dbi_finish_sums;

/* Of `count` values the first `width` become sums of values that are `width` apart. */
DBI_HD void dbi_fold(double *values, int thread, int width, int count)
{
    if (thread < width) {
        double sum = values[thread];
        for (int i = thread + width; i < count; i += width)
            sum += values[i];
        values[thread] = sum;
    }
}

/* Phase 1, 2, ... of a sum over a block's rows: each row of the upper half is added to its partner in the lower half,
 * until one row of `lanes` is left. */
DBI_HD void dbi_halve(float *values, int count, int phase, int thread, int lanes)
{
    const int half = DBI_BLOCK >> phase;
    if (half < lanes || thread >= half)
        return;
    for (int i = 0; i < count; i++)
        values[i * DBI_BLOCK + thread] += values[i * DBI_BLOCK + thread + half];
}

/* Normalization of one layer, per channel (padded); drop [batch,padded] or NULL. */
typedef struct dbi_norm_cuda {
    const float *mean, *scale, *shift, *drop;
} dbi_norm_cuda;

/* 8 floats from an address aligned to 16 bytes. */
DBI_HD void dbi_load8(const float *from, float to[DBI_GROUP])
{
    for (int i = 0; i < DBI_GROUP; i += 4) {
        const dbi_sixteen_bytes raw = *(const dbi_sixteen_bytes *)(const void *)(from + i);
        memcpy(to + i, &raw, sizeof raw);
    }
}

/* The normalization of channels c ... c + 7, which one thread works on throughout. */
typedef struct dbi_norm8 {
    float mean[DBI_GROUP], scale[DBI_GROUP], shift[DBI_GROUP];
} dbi_norm8;

DBI_HD dbi_norm8 dbi_norm8_of(const dbi_norm_cuda *norm, int c)
{
    dbi_norm8 n;
    dbi_load8(norm->mean + c, n.mean);
    dbi_load8(norm->scale + c, n.scale);
    dbi_load8(norm->shift + c, n.shift);
    return n;
}

/* Dropout's factors of the current sample, for a thread that goes through the voxels in rising order; 1 without
 * dropout. */
typedef struct dbi_drop8 {
    int64_t end; /* the first voxel after the sample */
    float factor[DBI_GROUP];
} dbi_drop8;

DBI_HD dbi_drop8 dbi_drop8_of(const dbi_norm_cuda *norm)
{
    dbi_drop8 d;
    d.end = norm->drop ? 0 : INT64_MAX;
    for (int i = 0; i < DBI_GROUP; i++)
        d.factor[i] = 1;
    return d;
}

/* Called before work on voxel v: loads the factors of its sample. voxels: of a sample. */
DBI_HD void dbi_drop8_at(dbi_drop8 *d, const dbi_norm_cuda *norm, int64_t v, int64_t voxels, int c, int padded)
{
    if (v < d->end)
        return;
    const int64_t n = dbi_divide(v, voxels);
    d->end = (n + 1) * voxels;
    dbi_load8(norm->drop + n * padded + c, d->factor);
}

DBI_HD float dbi_activate(const dbi_norm_cuda *norm, int c, float z, float drop)
{
    const float y = norm->scale[c] * (z - norm->mean[c]) + norm->shift[c];
    return y > 0 ? y * drop : 0;
}

/* The heads' weights [classes,channels] and biases; sdf (after tanh), dlogits, dsdf [batch,classes,voxels], for the
 * backward pass. */
typedef struct dbi_heads_cuda {
    const float *sdf_weight, *sdf_bias, *seg_weight, *seg_bias;
    const float *sdf, *dlogits, *dsdf;
    int classes, channels;
} dbi_heads_cuda;

/* The gradient of an output before tanh: distance o when o < classes, else logit o - classes. */
DBI_HD float dbi_heads_dout(const dbi_heads_cuda *h, int o, int64_t n, int64_t at, int64_t voxels)
{
    if (o >= h->classes)
        return h->dlogits[(n * h->classes + o - h->classes) * voxels + at];
    const int64_t i = (n * h->classes + o) * voxels + at;
    return h->dsdf[i] * (1 - h->sdf[i] * h->sdf[i]);
}

/* The gradient of the last activation: 8 channels of voxel `at` of sample n. */
DBI_HD void dbi_heads_da(const dbi_heads_cuda *h, int64_t n, int64_t at, int64_t voxels, int c, float da[DBI_GROUP])
{
    for (int i = 0; i < DBI_GROUP; i++)
        da[i] = 0;
    for (int k = 0; k < h->classes; k++) {
        const float dr = dbi_heads_dout(h, k, n, at, voxels), dl = dbi_heads_dout(h, h->classes + k, n, at, voxels);
        for (int i = 0; i < DBI_GROUP && c + i < h->channels; i++)
            da[i] += h->sdf_weight[(int64_t)k * h->channels + c + i] * dr +
                     h->seg_weight[(int64_t)k * h->channels + c + i] * dl;
    }
}

/* A product and a sum that are rounded separately, as on the host; the device would make one operation of both. */
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

/* Where the weights of each convolution are: [A,B,taps] from `flat` on, and packed as [A,taps,B] with padded channels
 * from `packed` on. A block copies a tile of B and all taps for one A, through shared memory, so that both reads and
 * writes are to consecutive addresses. */
enum { DBI_PACK_LAYERS = 48, DBI_PACK_TILE = 64, DBI_PACK_TAPS = 27 };

typedef struct dbi_pack_table {
    int layers;
    int64_t count;  /* of packed elements, of all layers */
    int64_t blocks; /* of all layers */
    struct {
        int64_t flat, packed, block; /* block: the first block of the layer */
        int a, b, taps;
    } layer[DBI_PACK_LAYERS];
} dbi_pack_table;

typedef struct dbi_pack_shared {
    float value[DBI_PACK_TILE * DBI_PACK_TAPS]; /* [B,taps]; the length of a row is odd, against bank conflicts */
} dbi_pack_shared;

/* The number of blocks of a layer. */
DBI_HD int64_t dbi_pack_blocks(int a, int b)
{
    return (int64_t)dbi_padded(a) * ((dbi_padded(b) + DBI_PACK_TILE - 1) / DBI_PACK_TILE);
}

/* A block's tile: `wide` padded channels of B, of which `full` exist (0 when its A is padding). */
typedef struct dbi_pack_place {
    int64_t flat, packed; /* of the tile's first element */
    int taps, pitch, padded, wide, full;
} dbi_pack_place;

DBI_HD dbi_pack_place dbi_pack_place_of(const dbi_pack_table *table, int64_t block)
{
    dbi_pack_place p;
    int l = 0;
    while (l + 1 < table->layers && block >= table->layer[l + 1].block)
        l++;
    const int b = table->layer[l].b, tiles = (dbi_padded(b) + DBI_PACK_TILE - 1) / DBI_PACK_TILE;
    const int at = (int)(block - table->layer[l].block), a = at / tiles, from = (at - a * tiles) * DBI_PACK_TILE;
    p.taps = table->layer[l].taps;
    p.pitch = p.taps | 1;
    p.padded = dbi_padded(b);
    p.wide = p.padded - from < DBI_PACK_TILE ? p.padded - from : DBI_PACK_TILE;
    p.full = a >= table->layer[l].a ? 0 : b - from < DBI_PACK_TILE ? b - from : DBI_PACK_TILE;
    p.flat = table->layer[l].flat + ((int64_t)a * b + from) * p.taps;
    p.packed = table->layer[l].packed + (int64_t)a * p.taps * p.padded + from;
    return p;
}

/* Philox4x32-10 (Salmon et al., SC 2011), as in base/random.h: host and device have the same numbers. */
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
DBI_HD void dbi_random_block(uint64_t seed, uint32_t role, uint32_t step, uint32_t stream, uint32_t block,
                             uint32_t out[4])
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
