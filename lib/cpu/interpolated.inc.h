/* The loops of interpolated.h for A_LANES channels in a block of the input and B_LANES in one of the output; included
 * by interpolated.c once for each pair. A vector is one voxel of one block of the output, a wide one of the input. */
typedef float D(vec) __attribute__((vector_size(4 * B_LANES), may_alias));
typedef float D(wide) __attribute__((vector_size(4 * A_LANES), may_alias));
#define vec  D(vec)
#define wide D(wide)
#if A_LANES == 16 || B_LANES == 16
#define CLONES DBI_CLONES_16
#else
#define CLONES DBI_CLONES
#endif

/* Voxels and channels whose sums are held in registers: there are 32 registers where blocks have 16 channels. */
enum { D(mixed) = B_LANES == 16 ? 8 : 4, D(spread) = A_LANES == 16 ? 8 : 4 };

/* to = Σ share row */
DBI_INLINE void D(add_rows)(const rows *r, int64_t count, vec *to)
{
    int64_t v = 0;
    for (; v + 8 <= count; v += 8) {
        vec sum[8] = {{0}};
        for (int t = 0; t < r->count; t++) {
            const vec *row = (const vec *)r->row[t] + v;
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
                sum[k] += r->share[t] * row[k];
        }
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            to[v + k] = sum[k];
    }
    for (; v < count; v++) {
        vec sum = {0};
        for (int t = 0; t < r->count; t++)
            sum += r->share[t] * ((const vec *)r->row[t])[v];
        to[v] = sum;
    }
}

DBI_INLINE void D(add_spots)(const spot *s, int64_t count, const vec *from, vec *to)
{
    for (int64_t v = 0; v < count; v++, s++) {
        vec sum = s->share[0] * from[s->offset[0]];
        if (s->count == MOST_TERMS)
#pragma GCC unroll 8
            for (int t = 1; t < MOST_TERMS; t++)
                sum += s->share[t] * from[s->offset[t]];
        else
            for (int t = 1; t < s->count; t++)
                sum += s->share[t] * from[s->offset[t]];
        to[v] = sum;
    }
}

/* ---- forward ---- */

/* mixed[tap z][Z]: count voxels of three mixed rows. apart: floats from one block of the input to the next. */
DBI_INLINE void D(mix_tile)(const float *in, int64_t apart, int blocks, const vec *w, vec *mixed, int64_t Z,
                            const int count)
{
    vec sum[3][D(mixed)];
#pragma GCC unroll 8
    for (int k = 0; k < count; k++)
        sum[0][k] = sum[1][k] = sum[2][k] = (vec){0};
    for (int block = 0; block < blocks; block++, in += apart)
#pragma GCC unroll 1 /* unrolled, the sums no longer stay in registers */
        for (int i = 0; i < A_LANES; i++, w += 3) {
            const vec w0 = w[0], w1 = w[1], w2 = w[2];
#pragma GCC unroll 8
            for (int k = 0; k < count; k++) {
                const float value = in[k * A_LANES + i];
                sum[0][k] += w0 * value;
                sum[1][k] += w1 * value;
                sum[2][k] += w2 * value;
            }
        }
#pragma GCC unroll 8
    for (int k = 0; k < count; k++) {
        mixed[k] = sum[0][k];
        mixed[Z + k] = sum[1][k];
        mixed[2 * Z + k] = sum[2][k];
    }
}

/* Row y of plane x of the input through the nine taps of x and y, interpolated along z: [9][2 Z]. mixed: [3][Z]. */
DBI_INLINE void D(mix_row)(const dbi_interpolated *d, const float *in, const float *packed, const spot *spots,
                           vec *mixed, vec *to)
{
    const int64_t Z = d->in.size[2], apart = voxels_of(&d->in) * A_LANES;
    const int blocks = in_blocks(d);
    for (int taps = 0; taps < 9; taps++) {
        const vec *w = (const vec *)packed + (int64_t)taps * blocks * A_LANES * 3;
        int64_t z = 0;
        for (; z + D(mixed) <= Z; z += D(mixed))
            D(mix_tile)(in + z * A_LANES, apart, blocks, w, mixed + z, Z, D(mixed));
        for (; z + 2 <= Z; z += 2)
            D(mix_tile)(in + z * A_LANES, apart, blocks, w, mixed + z, Z, 2);
        for (; z < Z; z++)
            D(mix_tile)(in + z * A_LANES, apart, blocks, w, mixed + z, Z, 1);
        D(add_spots)(spots, 2 * Z, mixed, to + taps * 2 * Z);
    }
}

/* A plane of the input (`in` is its beginning) through the three taps of x, interpolated along y and z: [3][rows of a
 * tile][2 Z]. The rows of the input wait in `ring`, the three last ones. */
DBI_INLINE void D(mix_plane)(const dbi_interpolated *d, const part *p, const float *in, const float *packed,
                             const spot *spots, vec *mixed, vec *ring, vec *to)
{
    const int64_t row = 2 * d->in.size[2], height = rows_of_tile(d);
    int64_t next = -1;
    for (int64_t y = p->y; y < p->y_end; y++) {
        const terms t = terms_of(y, d->in.size[1]);
        for (next = next < 0 ? first_of(&t) : next; next <= last_of(&t); next++)
            D(mix_row)(d, in + next * d->in.size[2] * A_LANES, packed, spots, mixed, ring + next % 3 * 9 * row);
        for (int tap = 0; tap < 3; tap++) {
            rows r = {.count = t.count};
            for (int k = 0; k < t.count; k++) {
                r.row[k] = (const float *)(ring + (t.from[k] % 3 * 9 + tap * 3 + t.tap[k]) * row);
                r.share[k] = t.share[k];
            }
            D(add_rows)(&r, row, to + (tap * height + y - p->y) * row);
        }
    }
}

CLONES static void D(apply)(const dbi_interpolated *d, const part *p, const spot *spots, const float *in,
                            const float *packed, float *own, float *out)
{
    const int64_t row = 2 * d->in.size[2], height = rows_of_tile(d), plane = d->in.size[1] * d->in.size[2] * A_LANES;
    vec *mixed = (vec *)own, *ring = mixed + 3 * d->in.size[2], *planes = ring + 27 * row;
    int64_t next = -1;
    in += p->sample * in_blocks(d) * voxels_of(&d->in) * A_LANES;
    out += (p->sample * out_blocks(d) + p->block) * voxels_of(&d->out) * B_LANES;
    packed += p->block * weight_floats(d);
    for (int64_t x = p->x; x < p->x_end; x++) {
        const terms t = terms_of(x, d->in.size[0]);
        for (next = next < 0 ? first_of(&t) : next; next <= last_of(&t); next++)
            D(mix_plane)(d, p, in + next * plane, packed, spots, mixed, ring, planes + next % 3 * 3 * height * row);
        rows r = {.count = t.count};
        for (int k = 0; k < t.count; k++) {
            r.row[k] = (const float *)(planes + (t.from[k] % 3 * 3 + t.tap[k]) * height * row);
            r.share[k] = t.share[k];
        }
        D(add_rows)(&r, (p->y_end - p->y) * row, (vec *)out + (x * d->out.size[1] + p->y) * row);
    }
}

/* ---- gradients ---- */

/* The 27 fields of a piece that the gradient of block `block` of the output gives: [27][voxels]. */
DBI_INLINE const vec *D(gather)(const dbi_interpolated *d, const piece *p, int64_t block, const spot *spots,
                                const float *dout, vec *own)
{
    const int64_t *n = d->in.size, row = 2 * n[2], height = taking_rows(d), voxels = (p->y_end - p->y) * n[2];
    const int64_t begin = larger(0, dbi_interpolation_range_of(p->y, n[1]).begin - 1),
                  end = smaller(2 * n[1], dbi_interpolation_range_of(p->y_end - 1, n[1]).end + 1);
    vec *along_x = own, *along_y = along_x + 3 * height * row, *fields = along_y + row;
    dout += (p->sample * out_blocks(d) + block) * voxels_of(&d->out) * B_LANES;
    for (int tap = 0; tap < 3; tap++) {
        const terms t = takers_of(p->x, tap, n[0]);
        rows r = {.count = t.count};
        for (int k = 0; k < t.count; k++) {
            r.row[k] = dout + (t.from[k] * 2 * n[1] + begin) * row * B_LANES;
            r.share[k] = t.share[k];
        }
        D(add_rows)(&r, (end - begin) * row, along_x + tap * height * row);
    }
    for (int taps = 0; taps < 9; taps++)
        for (int64_t y = p->y; y < p->y_end; y++) {
            const terms t = takers_of(y, taps % 3, n[1]);
            rows r = {.count = t.count};
            for (int k = 0; k < t.count; k++) {
                r.row[k] = (const float *)(along_x + (taps / 3 * height + t.from[k] - begin) * row);
                r.share[k] = t.share[k];
            }
            D(add_rows)(&r, row, along_y);
            for (int tap = 0; tap < 3; tap++)
                D(add_spots)(spots + tap * n[2], n[2], along_y, fields + (taps * 3 + tap) * voxels + (y - p->y) * n[2]);
        }
    return fields;
}

/* count voxels of one or two blocks of the input's gradient. apart: wide vectors from one block to the next. */
DBI_INLINE void D(spread_tile)(const float *fields, int64_t voxels, const wide *w, int64_t in_step, wide *din,
                               int64_t apart, const int blocks, const int count, bool add)
{
    wide sum[2][D(spread)];
#pragma GCC unroll 8
    for (int k = 0; k < count; k++)
        for (int b = 0; b < blocks; b++)
            sum[b][k] = add ? din[b * apart + k] : (wide){0};
    for (int tap = 0; tap < 27; tap++, fields += voxels * B_LANES)
#pragma GCC unroll 1
        for (int o = 0; o < B_LANES; o++, w += in_step) {
            const wide w0 = w[0], w1 = w[blocks - 1];
#pragma GCC unroll 8
            for (int k = 0; k < count; k++) {
                const float value = fields[k * B_LANES + o];
                sum[0][k] += w0 * value;
                if (blocks == 2)
                    sum[1][k] += w1 * value;
            }
        }
#pragma GCC unroll 8
    for (int k = 0; k < count; k++)
        for (int b = 0; b < blocks; b++)
            din[b * apart + k] = sum[b][k];
}

DBI_INLINE void D(spread_fields)(const float *fields, int64_t voxels, const wide *w, int64_t in_step, wide *din,
                                 int64_t apart, const int blocks, bool add)
{
    int64_t v = 0;
    for (; v + D(spread) <= voxels; v += D(spread))
        D(spread_tile)(fields + v * B_LANES, voxels, w, in_step, din + v, apart, blocks, D(spread), add);
    for (; v < voxels; v++)
        D(spread_tile)(fields + v * B_LANES, voxels, w, in_step, din + v, apart, blocks, 1, add);
}

CLONES static void D(data)(const dbi_interpolated *d, const piece *p, const spot *spots, const float *dout,
                           const float *packed, float *own, float *din, bool add)
{
    const int64_t voxels = (p->y_end - p->y) * d->in.size[2], apart = voxels_of(&d->in);
    const int blocks = in_blocks(d);
    wide *to = (wide *)din + p->sample * blocks * apart + (p->x * d->in.size[1] + p->y) * d->in.size[2];
    for (int64_t block = 0; block < out_blocks(d); block++) {
        const float *fields = (const float *)D(gather)(d, p, block, spots, dout, (vec *)own);
        const wide *w = (const wide *)(packed + block * weight_floats(d));
        int b = 0;
        for (; b + 2 <= blocks; b += 2)
            D(spread_fields)(fields, voxels, w + b, blocks, to + b * apart, apart, 2, add || block);
        if (b < blocks)
            D(spread_fields)(fields, voxels, w + b, blocks, to + b * apart, apart, 1, add || block);
    }
}

/* Adds a piece's part of the weights' gradient of one block of the output. */
CLONES static void D(weights)(const dbi_interpolated *d, const piece *p, int64_t block, const spot *spots,
                              const float *in, const float *dout, float *own, float *sums)
{
    enum { CHANNELS = B_LANES == 16 ? 8 : 4 };
    const int64_t voxels = (p->y_end - p->y) * d->in.size[2], apart = voxels_of(&d->in) * A_LANES;
    const vec *fields = D(gather)(d, p, block, spots, dout, (vec *)own);
    vec *to = (vec *)sums;
    in += p->sample * in_blocks(d) * apart + (p->x * d->in.size[1] + p->y) * d->in.size[2] * A_LANES;
    for (int taps = 0; taps < 9; taps++, fields += 3 * voxels)
        for (int64_t i = 0; i < (int64_t)in_blocks(d) * A_LANES; i += CHANNELS, to += CHANNELS * 3) {
            const float *from = in + i / A_LANES * apart + i % A_LANES;
            vec sum[CHANNELS][3] = {{{0}}};
#pragma GCC unroll 1
            for (int64_t v = 0; v < voxels; v++) {
                const vec f0 = fields[v], f1 = fields[voxels + v], f2 = fields[2 * voxels + v];
#pragma GCC unroll 8
                for (int k = 0; k < CHANNELS; k++) {
                    const float value = from[v * A_LANES + k];
                    sum[k][0] += f0 * value;
                    sum[k][1] += f1 * value;
                    sum[k][2] += f2 * value;
                }
            }
#pragma GCC unroll 8
            for (int k = 0; k < CHANNELS; k++)
                for (int t = 0; t < 3; t++)
                    to[k * 3 + t] += sum[k][t];
        }
}

#undef vec
#undef wide
#undef CLONES
#undef A_LANES
#undef B_LANES
#undef D
