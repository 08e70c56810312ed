/* The loops of direct.h for A_LANES and B_LANES channels in a block of a and of b; included by direct.c once for each pair. A vector is one voxel of
 * one block of b. */
typedef float D(vec) __attribute__((vector_size(4 * B_LANES), may_alias));
#define vec    D(vec)
#define INLINE static inline __attribute__((always_inline))

/* sum[k] += Σ_i w[i] a[k step][i] for a tile of `count` voxels of a, `step` apart; the tile's voxels before `from` and from `to` on are left out. */
INLINE void D(accumulate)(vec *sum, int count, const float *a, int step, const float *weight, int from, int to)
{
#pragma GCC unroll 1 /* unrolled, the sums no longer stay in registers */
    for (int i = 0; i < A_LANES; i++) {
        vec w = *(const vec *)(weight + i * B_LANES);
        for (int k = 0; k < count; k++)
            if (k >= from && k < to)
                sum[k] += w * a[k * step * A_LANES + i];
    }
}

/* A tile of b at (x, y, z) of a sample for `same`. first, last: whether the tile touches the row's ends, where a tap falls outside. */
INLINE void D(same_tile)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y, int64_t z, int count, bool first,
                         bool last)
{
    int64_t X = d->b.size[0], Y = d->b.size[1], Z = d->b.size[2];
    vec sum[TILE];
    for (int k = 0; k < count; k++)
        sum[k] = (vec){0};
    for (int block = 0; block < blocks_of(d->a.channels, A_LANES); block++)
        for (int kx = 0; kx < 3; kx++)
            for (int ky = 0; ky < 3; ky++) {
                if (x + kx < 1 || x + kx > X || y + ky < 1 || y + ky > Y)
                    continue;
                const float *row = a + (((block * X + x + kx - 1) * Y + y + ky - 1) * Z + z - 1) * A_LANES;
                const float *w = packed + (int64_t)(block * 27 + (kx * 3 + ky) * 3) * A_LANES * B_LANES;
                D(accumulate)(sum, count, row, 1, w, first, count);
                D(accumulate)(sum, count, row + A_LANES, 1, w + A_LANES * B_LANES, 0, count);
                D(accumulate)(sum, count, row + 2 * A_LANES, 1, w + 2 * A_LANES * B_LANES, 0, count - last);
            }
    for (int k = 0; k < count; k++)
        b[k] = sum[k];
}

INLINE void D(same_row)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y)
{
    int64_t Z = d->b.size[2], z = 0;
    if (Z % TILE == 0 && Z > TILE) {
        D(same_tile)(d, a, packed, b, x, y, 0, TILE, true, false);
        for (z = TILE; z < Z - TILE; z += TILE)
            D(same_tile)(d, a, packed, b + z, x, y, z, TILE, false, false);
        D(same_tile)(d, a, packed, b + z, x, y, z, TILE, false, true);
    } else if (Z == TILE) {
        D(same_tile)(d, a, packed, b, x, y, 0, TILE, true, true);
    } else {
        for (; z < Z; z++)
            D(same_tile)(d, a, packed, b + z, x, y, z, 1, z == 0, z == Z - 1);
    }
}

/* count voxels of b from the 2^3 voxels of a below each. */
INLINE void D(gather_tile)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y, int64_t z, int count)
{
    int64_t X = d->a.size[0], Y = d->a.size[1], Z = d->a.size[2];
    vec sum[TILE];
    for (int k = 0; k < count; k++)
        sum[k] = (vec){0};
    for (int block = 0; block < blocks_of(d->a.channels, A_LANES); block++)
        for (int tap = 0; tap < 8; tap++)
            D(accumulate)
    (sum, count, a + (((block * X + 2 * x + tap / 4) * Y + 2 * y + tap / 2 % 2) * Z + 2 * z + tap % 2) * A_LANES, 2,
     packed + (int64_t)(block * 8 + tap) * A_LANES * B_LANES, 0, count);
    for (int k = 0; k < count; k++)
        b[k] = sum[k];
}

INLINE void D(gather_row)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y)
{
    int64_t Z = d->b.size[2], z = 0;
    for (; z + TILE <= Z; z += TILE)
        D(gather_tile)(d, a, packed, b + z, x, y, z, TILE);
    for (; z < Z; z++)
        D(gather_tile)(d, a, packed, b + z, x, y, z, 1);
}

/* count voxels of a to one of the 2^3 voxels of b below each. */
INLINE void D(scatter_tile)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y, int64_t z, int tap, int count)
{
    int64_t v = d->a.size[0] * d->a.size[1] * d->a.size[2];
    vec sum[TILE];
    for (int k = 0; k < count; k++)
        sum[k] = (vec){0};
    for (int block = 0; block < blocks_of(d->a.channels, A_LANES); block++)
        D(accumulate)
    (sum, count, a + (block * v + (x * d->a.size[1] + y) * d->a.size[2] + z) * A_LANES, 1, packed + (int64_t)(block * 8 + tap) * A_LANES * B_LANES, 0,
     count);
    vec *to = b + ((2 * x + tap / 4) * d->b.size[1] + 2 * y + tap / 2 % 2) * d->b.size[2] + 2 * z + tap % 2;
    for (int k = 0; k < count; k++)
        to[2 * k] = sum[k];
}

INLINE void D(scatter_row)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y)
{
    int64_t Z = d->a.size[2], z = 0;
    for (; z + TILE <= Z; z += TILE)
        for (int tap = 0; tap < 8; tap++)
            D(scatter_tile)(d, a, packed, b, x, y, z, tap, TILE);
    for (; z < Z; z++)
        for (int tap = 0; tap < 8; tap++)
            D(scatter_tile)(d, a, packed, b, x, y, z, tap, 1);
}

/* The sample's block of channels. */
INLINE int64_t D(sample)(const dbi_blocked *at, int lanes, int64_t n)
{
    return n * blocks_of(at->channels, lanes) * at->size[0] * at->size[1] * at->size[2] * lanes;
}

DBI_CLONES static void D(apply)(const dbi_direct *d, const float *a, const float *packed, float *b)
{
    int64_t X = grid(d)[0], Y = grid(d)[1], v = d->b.size[0] * d->b.size[1] * d->b.size[2];
    int b_blocks = blocks_of(d->b.channels, B_LANES);
    int64_t per_block = (int64_t)blocks_of(d->a.channels, A_LANES) * taps_of(d) * A_LANES * B_LANES;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < d->a.batch * b_blocks * X; i++) {
        int64_t n = i / X / b_blocks, block = i / X % b_blocks, x = i % X;
        const float *from = a + D(sample)(&d->a, A_LANES, n), *w = packed + block * per_block;
        vec *to = (vec *)(b + D(sample)(&d->b, B_LANES, n)) + block * v;
        for (int64_t y = 0; y < Y; y++)
            if (d->kind == DBI_DIRECT_SAME)
                D(same_row)(d, from, w, to + (x * Y + y) * d->b.size[2], x, y);
            else if (d->kind == DBI_DIRECT_GATHER)
                D(gather_row)(d, from, w, to + (x * Y + y) * d->b.size[2], x, y);
            else
                D(scatter_row)(d, from, w, to, x, y);
    }
}

/* sum[i] += Σ_z a[z][i] b[z] along two rows. */
INLINE void D(correlate)(float *sum, const float *a, int a_step, const float *b, int b_step, int64_t count)
{
    vec total[A_LANES];
    memcpy(total, sum, sizeof total);
    for (int64_t z = 0; z < count; z++) {
        vec at = *(const vec *)(b + z * b_step * B_LANES);
        for (int i = 0; i < A_LANES; i++)
            total[i] += at * a[z * a_step * A_LANES + i];
    }
    memcpy(sum, total, sizeof total);
}

/* One block pair's sums over the row (x, y) of the coarser grid; a and b are the pair's blocks. */
INLINE void D(same_sums)(const dbi_direct *d, const float *a, const float *b, float *sums, int64_t x, int64_t y)
{
    int64_t X = d->b.size[0], Y = d->b.size[1], Z = d->b.size[2];
    for (int tap = 0; tap < 27; tap++) {
        int64_t ax = x + tap / 9 - 1, ay = y + tap / 3 % 3 - 1, shift = tap % 3 - 1;
        if (ax < 0 || ax >= X || ay < 0 || ay >= Y)
            continue;
        const float *a_row = a + ((ax * Y + ay) * Z + (shift > 0)) * A_LANES, *b_row = b + ((x * Y + y) * Z + (shift < 0)) * B_LANES;
        D(correlate)(sums + (int64_t)tap * A_LANES * B_LANES, a_row, 1, b_row, 1, Z - (shift != 0));
    }
}

INLINE void D(gather_sums)(const dbi_direct *d, const float *a, const float *b, float *sums, int64_t x, int64_t y)
{
    for (int tap = 0; tap < 8; tap++)
        D(correlate)
    (sums + (int64_t)tap * A_LANES * B_LANES, a + (((2 * x + tap / 4) * d->a.size[1] + 2 * y + tap / 2 % 2) * d->a.size[2] + tap % 2) * A_LANES, 2,
     b + (x * d->b.size[1] + y) * d->b.size[2] * B_LANES, 1, d->b.size[2]);
}

INLINE void D(scatter_sums)(const dbi_direct *d, const float *a, const float *b, float *sums, int64_t x, int64_t y)
{
    for (int tap = 0; tap < 8; tap++)
        D(correlate)
    (sums + (int64_t)tap * A_LANES * B_LANES, a + (x * d->a.size[1] + y) * d->a.size[2] * A_LANES, 1,
     b + (((2 * x + tap / 4) * d->b.size[1] + 2 * y + tap / 2 % 2) * d->b.size[2] + tap % 2) * B_LANES, 2, d->a.size[2]);
}

/* partial [group][b block][a block][tap][a lane][b lane] */
DBI_CLONES static void D(weights)(const dbi_direct *d, const float *a, const float *b, float *partial)
{
    int a_blocks = blocks_of(d->a.channels, A_LANES), pairs = a_blocks * blocks_of(d->b.channels, B_LANES);
    int64_t X = grid(d)[0], Y = grid(d)[1], slabs = d->a.batch * X, groups = groups_of(d), pair = taps_of(d) * A_LANES * B_LANES;
    int64_t a_size = d->a.size[0] * d->a.size[1] * d->a.size[2] * A_LANES, b_size = d->b.size[0] * d->b.size[1] * d->b.size[2] * B_LANES;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < groups * pairs; i++) {
        int64_t group = i / pairs, p = i % pairs;
        float *sums = partial + i * pair;
        memset(sums, 0, (size_t)pair * sizeof *sums);
        for (int64_t s = slabs * group / groups; s < slabs * (group + 1) / groups; s++) {
            const float *from = a + D(sample)(&d->a, A_LANES, s / X) + p % a_blocks * a_size;
            const float *to = b + D(sample)(&d->b, B_LANES, s / X) + p / a_blocks * b_size;
            for (int64_t y = 0; y < Y; y++)
                if (d->kind == DBI_DIRECT_SAME)
                    D(same_sums)(d, from, to, sums, s % X, y);
                else if (d->kind == DBI_DIRECT_GATHER)
                    D(gather_sums)(d, from, to, sums, s % X, y);
                else
                    D(scatter_sums)(d, from, to, sums, s % X, y);
        }
    }
}

#undef vec
#undef INLINE
#undef A_LANES
#undef B_LANES
#undef D
