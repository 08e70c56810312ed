/* The kernels of blocked.h for LANES channels; included by blocked.c once for each number. A vector is one voxel of one
 * block of channels. */
typedef float L(vec) __attribute__((vector_size(4 * LANES), may_alias));
typedef int L(mask) __attribute__((vector_size(4 * LANES), may_alias));
#define vec  L(vec)
#define mask L(mask)

DBI_INLINE int L(blocks)(const dbi_blocked *at)
{
    return (at->channels + LANES - 1) / LANES;
}

/* A chunk of one sample's block of channels: index i counts (sample, block, chunk). */
typedef struct L(chunk) {
    int64_t sample, block, begin, end; /* voxels */
    int64_t base;                      /* of the block, in floats */
} L(chunk);

DBI_INLINE L(chunk) L(chunk_at)(const dbi_blocked *at, int64_t i)
{
    int64_t v = voxels(at), chunks = chunks_of(v), block = i / chunks;
    L(chunk)
    c = {.sample = block / L(blocks)(at),
         .block = block % L(blocks)(at),
         .begin = i % chunks * DBI_CHUNK,
         .base = block * v * LANES};
    c.end = c.begin + DBI_CHUNK < v ? c.begin + DBI_CHUNK : v;
    return c;
}

DBI_INLINE int64_t L(chunk_count)(const dbi_blocked *at)
{
    return at->batch * L(blocks)(at) * chunks_of(voxels(at));
}

/* Adds the partial sums of channel c, `which` of `per_chunk` vectors of each chunk, over chunks and `samples` samples
 * from `first` on. */
static double L(add_partials)(const dbi_blocked *at, const float *partial, int per_chunk, int which, int64_t first,
                              int64_t samples, int c)
{
    int64_t chunks = chunks_of(voxels(at));
    double sum = 0;
    for (int64_t n = first; n < first + samples; n++)
        for (int64_t i = 0; i < chunks; i++)
            sum += partial[(((n * L(blocks)(at) + c / LANES) * chunks + i) * per_chunk + which) * LANES + c % LANES];
    return sum;
}

/* Samples that share a row of a normalization. */
DBI_INLINE int64_t L(samples_of_row)(const dbi_blocked *at, const dbi_norm_f32 *norm)
{
    return norm->step ? 1 : at->batch;
}

/* Sums of z - pivot and its square, the pivot being one of the values: no cancellation when the mean is far from 0. */
DBI_CLONES static void L(moments)(const dbi_blocked *at, const float *z, float *partial, double *mean, double *variance)
{
    int64_t count = L(chunk_count)(at), v = voxels(at);
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < count; i++) {
        L(chunk) c = L(chunk_at)(at, i);
        vec pivot = *(const vec *)(z + c.block * v * LANES), sum[2] = {{0}}, squares[2] = {{0}};
        const vec *from = (const vec *)(z + c.base);
        int64_t j = c.begin;
        for (; j + 1 < c.end; j += 2)
            for (int k = 0; k < 2; k++) {
                vec d = from[j + k] - pivot;
                sum[k] += d;
                squares[k] += d * d;
            }
        if (j < c.end) {
            vec d = from[j] - pivot;
            sum[0] += d;
            squares[0] += d * d;
        }
        vec *to = (vec *)(partial + i * 2 * LANES);
        to[0] = sum[0] + sum[1];
        to[1] = squares[0] + squares[1];
    }
    for (int c = 0; c < at->channels; c++) {
        double total = (double)(at->batch * v), shift = L(add_partials)(at, partial, 2, 0, 0, at->batch, c) / total;
        double square = L(add_partials)(at, partial, 2, 1, 0, at->batch, c) / total - shift * shift;
        mean[c] = z[c / LANES * v * LANES + c % LANES] + shift;
        variance[c] = square > 0 ? square : 0;
    }
}

/* One block's numbers of the normalization. */
typedef struct L(factors) {
    vec mean, scale, shift, drop;
} L(factors);

DBI_INLINE void L(load)(vec *to, const float *from)
{
    memcpy(to, from, sizeof *to);
}

DBI_INLINE void L(load_factors)(L(factors) * f, const dbi_blocked *at, const dbi_norm_f32 *norm, int64_t sample,
                                int64_t block)
{
    const int64_t from = sample * norm->step + block * LANES;
    L(load)(&f->mean, norm->mean + from);
    L(load)(&f->scale, norm->scale + from);
    L(load)(&f->shift, norm->shift + from);
    f->drop = (vec){0} + 1;
    if (norm->drop)
        L(load)(&f->drop, norm->drop + sample * (at->channels + DBI_LANES) + block * LANES);
}

#define NORMALIZED(f, z)         ((f).scale * ((z) - (f).mean) + (f).shift)
#define WHERE_POSITIVE(y, value) ((vec)((mask)(value) & ((y) > 0)))

DBI_CLONES static void L(normalize)(const dbi_blocked *at, const float *z, const dbi_norm_f32 *norm, float *a)
{
    int64_t count = L(chunk_count)(at);
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < count; i++) {
        L(chunk) c = L(chunk_at)(at, i);
        L(factors) f;
        L(load_factors)(&f, at, norm, c.sample, c.block);
        const vec *from = (const vec *)(z + c.base), *skip = norm->skip ? (const vec *)(norm->skip + c.base) : NULL;
        vec *to = (vec *)(a + c.base);
        if (skip)
            for (int64_t j = c.begin; j < c.end; j++) {
                vec y = NORMALIZED(f, from[j]);
                to[j] = WHERE_POSITIVE(y, y * f.drop) + skip[j];
            }
        else
            for (int64_t j = c.begin; j < c.end; j++) {
                vec y = NORMALIZED(f, from[j]);
                to[j] = WHERE_POSITIVE(y, y * f.drop);
            }
    }
}

/* The first two sums of each chunk, per row of the normalization and channel. */
static void L(add_rows)(const dbi_blocked *at, const dbi_norm_f32 *norm, const float *partial, int per_chunk,
                        double *sum, double *dot)
{
    const int64_t samples = L(samples_of_row)(at, norm);
    for (int64_t first = 0; first < at->batch; first += samples)
        for (int c = 0; c < at->channels; c++) {
            *sum++ = L(add_partials)(at, partial, per_chunk, 0, first, samples, c);
            *dot++ = L(add_partials)(at, partial, per_chunk, 1, first, samples, c);
        }
}

DBI_CLONES static void L(normalize_sums)(const dbi_blocked *at, const float *z, const dbi_norm_f32 *norm,
                                         const float *da, const float *da_skip, float *partial, double *sum,
                                         double *dot)
{
    int64_t count = L(chunk_count)(at);
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < count; i++) {
        L(chunk) c = L(chunk_at)(at, i);
        L(factors) f;
        L(load_factors)(&f, at, norm, c.sample, c.block);
        const vec *from = (const vec *)(z + c.base), *above = (const vec *)(da + c.base),
                  *skip = da_skip ? (const vec *)(da_skip + c.base) : NULL;
        vec s = {0}, d = {0};
        for (int64_t j = c.begin; j < c.end; j++) {
            vec y = NORMALIZED(f, from[j]), g = above[j];
            if (skip)
                g += skip[j];
            vec dy = WHERE_POSITIVE(y, g * f.drop);
            s += dy;
            d += dy * (from[j] - f.mean);
        }
        vec *to = (vec *)(partial + i * 2 * LANES);
        to[0] = s;
        to[1] = d;
    }
    L(add_rows)(at, norm, partial, 2, sum, dot);
}

DBI_CLONES static void L(normalize_gradient)(const dbi_blocked *at, float *z, const dbi_norm_f32 *norm, const float *da,
                                             const float *da_skip, const float *by_dy, const float *by_z,
                                             const float *constant)
{
    int64_t count = L(chunk_count)(at);
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < count; i++) {
        L(chunk) c = L(chunk_at)(at, i);
        L(factors) f;
        L(load_factors)(&f, at, norm, c.sample, c.block);
        vec dy_factor, z_factor, rest;
        const int64_t row = c.sample * norm->step + c.block * LANES;
        L(load)(&dy_factor, by_dy + row);
        L(load)(&z_factor, by_z + row);
        L(load)(&rest, constant + row);
        vec *to = (vec *)(z + c.base);
        const vec *above = (const vec *)(da + c.base), *skip = da_skip ? (const vec *)(da_skip + c.base) : NULL;
        for (int64_t j = c.begin; j < c.end; j++) {
            vec y = NORMALIZED(f, to[j]), g = above[j];
            if (skip)
                g += skip[j];
            to[j] = dy_factor * WHERE_POSITIVE(y, g * f.drop) + z_factor * (to[j] - f.mean) + rest;
        }
    }
}

DBI_INLINE float L(total)(const vec *v)
{
    float halves[LANES];
    memcpy(halves, v, sizeof halves);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            halves[i] += halves[i + width];
    return halves[0];
}

/* Block `block` of row k of a head's weights [K,channels], zeros past the channels. */
DBI_INLINE void L(head_row)(vec *to, const dbi_blocked *at, const float *weight, int k, int64_t block)
{
    int64_t left = at->channels - block * LANES;
    *to = (vec){0};
    memcpy(to, weight + (int64_t)k * at->channels + block * LANES,
           sizeof(float) * (size_t)(left < LANES ? left : LANES));
}

/* logits and sdf hold the sums until the tanh; each block of channels adds its part. */
DBI_CLONES static void L(heads)(const dbi_blocked *at, int classes, const float *z, const dbi_norm_f32 *norm,
                                const dbi_heads_f32 *h, float *logits, float *sdf)
{
    int64_t v = voxels(at), chunks = chunks_of(v);
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < at->batch * chunks; i++) {
        int64_t n = i / chunks, begin = i % chunks * DBI_CHUNK, end = begin + DBI_CHUNK < v ? begin + DBI_CHUNK : v;
        for (int k = 0; k < classes; k++) {
            float *l = logits + (n * classes + k) * v, *s = sdf + (n * classes + k) * v;
            for (int64_t j = begin; j < end; j++) {
                l[j] = h->seg_bias[k];
                s[j] = h->sdf_bias[k];
            }
            for (int b = 0; b < L(blocks)(at); b++) {
                const vec *from = (const vec *)(z + (n * L(blocks)(at) + b) * v * LANES);
                L(factors) f;
                vec seg, distance;
                L(load_factors)(&f, at, norm, n, b);
                L(head_row)(&seg, at, h->seg_weight, k, b);
                L(head_row)(&distance, at, h->sdf_weight, k, b);
                for (int64_t j = begin; j < end; j++) {
                    vec y = NORMALIZED(f, from[j]), a = WHERE_POSITIVE(y, y * f.drop), one = a * seg,
                        two = a * distance;
                    l[j] += L(total)(&one);
                    s[j] += L(total)(&two);
                }
            }
#pragma omp simd
            for (int64_t j = begin; j < end; j++)
                s[j] = tanh_of(s[j]);
        }
    }
}

/* Block `block` of both heads' rows: segmentation, distance, class after class. */
DBI_INLINE void L(head_rows)(vec *rows, const dbi_blocked *at, int classes, const dbi_heads_f32 *h, int64_t block)
{
    for (int k = 0; k < classes; k++) {
        L(head_row)(&rows[2 * k], at, h->seg_weight, k, block);
        L(head_row)(&rows[2 * k + 1], at, h->sdf_weight, k, block);
    }
}

/* Gradient of a at a voxel, from the heads. */
DBI_INLINE void L(from_heads)(vec *g, const vec *rows, int classes, const float *dlogits, const float *dr, int64_t v)
{
    *g = rows[0] * dlogits[0] + rows[1] * dr[0];
    for (int k = 1; k < classes; k++)
        *g += rows[2 * k] * dlogits[k * v] + rows[2 * k + 1] * dr[k * v];
}

DBI_CLONES static void L(heads_sums)(const dbi_blocked *at, int classes, const float *z, const dbi_norm_f32 *norm,
                                     const dbi_heads_f32 *h, const float *dlogits, const float *dr, float *partial,
                                     double *sum, double *dot, const dbi_heads_gradient_f32 *gradient)
{
    int64_t count = L(chunk_count)(at), v = voxels(at);
    int per_chunk = 2 + 2 * classes;
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < count; i++) {
        L(chunk) c = L(chunk_at)(at, i);
        L(factors) f;
        L(load_factors)(&f, at, norm, c.sample, c.block);
        const vec *from = (const vec *)(z + c.base);
        const float *dl = dlogits + c.sample * classes * v, *dd = dr + c.sample * classes * v;
        vec rows[2 * DBI_MAX_CLASSES];
        L(head_rows)(rows, at, classes, h, c.block);
        vec *to = (vec *)(partial + i * per_chunk * LANES), s = {0}, d = {0};
        for (int64_t j = c.begin; j < c.end; j++) {
            vec y = NORMALIZED(f, from[j]), g;
            L(from_heads)(&g, rows, classes, dl + j, dd + j, v);
            vec dy = WHERE_POSITIVE(y, g * f.drop);
            s += dy;
            d += dy * (from[j] - f.mean);
        }
        to[0] = s;
        to[1] = d;
        for (int k = 0; k < classes; k++) {
            vec seg = {0}, distance = {0};
            for (int64_t j = c.begin; j < c.end; j++) {
                vec y = NORMALIZED(f, from[j]), a = WHERE_POSITIVE(y, y * f.drop);
                seg += a * dl[k * v + j];
                distance += a * dd[k * v + j];
            }
            to[2 + 2 * k] = seg;
            to[3 + 2 * k] = distance;
        }
    }
    L(add_rows)(at, norm, partial, per_chunk, sum, dot);
    for (int c = 0; c < at->channels; c++)
        for (int k = 0; k < classes; k++) {
            gradient->seg_weight[k * at->channels + c] =
                (float)L(add_partials)(at, partial, per_chunk, 2 + 2 * k, 0, at->batch, c);
            gradient->sdf_weight[k * at->channels + c] =
                (float)L(add_partials)(at, partial, per_chunk, 3 + 2 * k, 0, at->batch, c);
        }
}

DBI_CLONES static void L(heads_gradient)(const dbi_blocked *at, int classes, float *z, const dbi_norm_f32 *norm,
                                         const dbi_heads_f32 *h, const float *dlogits, const float *dr,
                                         const float *by_dy, const float *by_z, const float *constant)
{
    int64_t count = L(chunk_count)(at), v = voxels(at);
#pragma omp parallel for schedule(guided)
    for (int64_t i = 0; i < count; i++) {
        L(chunk) c = L(chunk_at)(at, i);
        L(factors) f;
        L(load_factors)(&f, at, norm, c.sample, c.block);
        vec dy_factor, z_factor, rest;
        const int64_t row = c.sample * norm->step + c.block * LANES;
        L(load)(&dy_factor, by_dy + row);
        L(load)(&z_factor, by_z + row);
        L(load)(&rest, constant + row);
        vec *to = (vec *)(z + c.base);
        const float *dl = dlogits + c.sample * classes * v, *dd = dr + c.sample * classes * v;
        vec rows[2 * DBI_MAX_CLASSES];
        L(head_rows)(rows, at, classes, h, c.block);
        for (int64_t j = c.begin; j < c.end; j++) {
            vec y = NORMALIZED(f, to[j]), g;
            L(from_heads)(&g, rows, classes, dl + j, dd + j, v);
            to[j] = dy_factor * WHERE_POSITIVE(y, g * f.drop) + z_factor * (to[j] - f.mean) + rest;
        }
    }
}

/* weight [channels,C,27] at one tap of one input channel, as lanes. */
DBI_INLINE void L(first_weight)(vec *to, const dbi_blocked *at, int image_channels, const float *weight, int64_t block,
                                int ci, int tap)
{
    *to = (vec){0};
    for (int b = 0; b < LANES && block * LANES + b < at->channels; b++)
        (*to)[b] = weight[((block * LANES + b) * image_channels + ci) * 27 + tap];
}

/* sum[k] += Σ_t w[t] in[k + t]: each value is loaded once for the three voxels that see it. */
DBI_INLINE void L(add_row)(vec sum[TILE], const vec w[3], const float *in)
{
    const vec w0 = w[0], w1 = w[1], w2 = w[2];
#pragma GCC unroll 16
    for (int k = 0; k < TILE + 2; k++) {
        const float value = in[k];
        if (k < TILE)
            sum[k] += w0 * value;
        if (k > 0 && k <= TILE)
            sum[k - 1] += w1 * value;
        if (k > 1)
            sum[k - 2] += w2 * value;
    }
}

DBI_CLONES static void L(first)(const dbi_blocked *at, int image_channels, const float *padded, const float *weight,
                                float *z)
{
    int64_t X = at->size[0], Y = at->size[1], Z = at->size[2], row = padded_row(Z);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < at->batch * L(blocks)(at) * X; i++) {
        int64_t n = i / X / L(blocks)(at), block = i / X % L(blocks)(at), x = i % X;
        for (int ci = 0; ci < image_channels; ci++) {
            vec w[27];
            for (int tap = 0; tap < 27; tap++)
                L(first_weight)(&w[tap], at, image_channels, weight, block, ci, tap);
            for (int64_t y = 0; y < Y; y++) {
                const float *from = padded + (((n * image_channels + ci) * (X + 2) + x) * (Y + 2) + y) * row;
                vec *to = (vec *)(z + (((n * L(blocks)(at) + block) * X + x) * Y + y) * Z * LANES);
                for (int64_t j = 0; j < Z; j += TILE) { /* Z is a multiple of TILE */
                    vec sum[TILE];
                    for (int k = 0; k < TILE; k++)
                        sum[k] = ci ? to[j + k] : (vec){0};
#pragma GCC unroll 1 /* unrolled, the sums no longer stay in registers */
                    for (int taps = 0; taps < 9; taps++) {
                        const float *in = from + (taps / 3 * (Y + 2) + taps % 3) * row + j;
                        L(add_row)(sum, w + 3 * taps, in);
                    }
                    for (int k = 0; k < TILE; k++)
                        to[j + k] = sum[k];
                }
            }
        }
    }
}

/* Partial sums per slab of one x of one sample. */
DBI_CLONES static void L(first_weight_gradient)(const dbi_blocked *at, int image_channels, const float *padded,
                                                const float *dz, float *partial, float *dweight)
{
    int64_t X = at->size[0], Y = at->size[1], Z = at->size[2], row = padded_row(Z), slabs = at->batch * X;
    int blocks = L(blocks)(at), vectors = blocks * image_channels * 27;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < slabs; i++) {
        int64_t n = i / X, x = i % X;
        for (int block = 0; block < blocks; block++)
            for (int ci = 0; ci < image_channels; ci++)
                for (int kx = 0; kx < 3; kx++) {
                    vec sum[9] = {{0}};
                    for (int64_t y = 0; y < Y; y++) {
                        const float *from =
                            padded + (((n * image_channels + ci) * (X + 2) + x + kx) * (Y + 2) + y) * row;
                        const vec *d = (const vec *)(dz + (((n * blocks + block) * X + x) * Y + y) * Z * LANES);
                        for (int64_t j = 0; j < Z; j++)
                            for (int tap = 0; tap < 9; tap++)
                                sum[tap] += d[j] * from[tap / 3 * row + tap % 3 + j];
                    }
                    memcpy(partial + (i * vectors + (block * image_channels + ci) * 27 + kx * 9) * LANES, sum,
                           sizeof sum);
                }
    }
    for (int co = 0; co < at->channels; co++)
        for (int t = 0; t < image_channels * 27; t++) {
            double sum = 0;
            for (int64_t i = 0; i < slabs; i++)
                sum += partial[(i * vectors + (int64_t)(co / LANES) * image_channels * 27 + t) * LANES + co % LANES];
            dweight[(int64_t)co * image_channels * 27 + t] = (float)sum;
        }
}

const dbi_blocked_kernels TABLE = {.lanes = LANES,
                                   .moments = L(moments),
                                   .normalize = L(normalize),
                                   .normalize_sums = L(normalize_sums),
                                   .normalize_gradient = L(normalize_gradient),
                                   .heads = L(heads),
                                   .heads_sums = L(heads_sums),
                                   .heads_gradient = L(heads_gradient),
                                   .first = L(first),
                                   .first_weight_gradient = L(first_weight_gradient)};

#undef vec
#undef mask
#undef NORMALIZED
#undef WHERE_POSITIVE
