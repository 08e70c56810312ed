/* The loops of direct.h for A_LANES and B_LANES channels in a block of a and of b; included by direct.c once for each
 * pair. A vector is one voxel of one block of b. */
typedef float D(vec) __attribute__((vector_size(4 * B_LANES), may_alias));
#define vec D(vec)

/* sum[k] += Σ_i w[i] a[k step][i] for a tile of `count` voxels of a, `step` apart; the tile's voxels before `from` and
 * from `to` on are left out. */
DBI_INLINE void D(accumulate)(vec *sum, int count, const float *a, int step, const float *weight, int from, int to)
{
#pragma GCC unroll 1 /* unrolled, the sums no longer stay in registers */
    for (int i = 0; i < A_LANES; i++) {
        vec w = *(const vec *)(weight + i * B_LANES);
        for (int k = 0; k < count; k++)
            if (k >= from && k < to)
                sum[k] += w * a[k * step * A_LANES + i];
    }
}

/* `count` voxels of b from (x, y, z) on, of a sample, for `same`. A value of a is loaded once for the three voxels of b
 * that see it. */
DBI_INLINE void D(same_tile)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y,
                             int64_t z, const int count)
{
    static const float nothing[A_LANES] = {0};
    const int64_t X = d->b.size[0], Y = d->b.size[1], Z = d->b.size[2];
    vec sum[MOST_VOXELS];
#pragma GCC unroll 16
    for (int k = 0; k < count; k++)
        sum[k] = (vec){0};
    for (int block = 0; block < blocks_of(d->a.channels, A_LANES); block++)
        for (int taps = 0; taps < 9; taps++) {
            const int kx = taps / 3, ky = taps % 3;
            if (x + kx < 1 || x + kx > X || y + ky < 1 || y + ky > Y)
                continue;
            const float *row = a + (((block * X + x + kx - 1) * Y + y + ky - 1) * Z + z) * A_LANES;
            const float *before = z > 0 ? row - A_LANES : nothing,
                        *after = z + count < Z ? row + count * A_LANES : nothing;
            const vec *w = (const vec *)(packed + (int64_t)(block * 27 + taps * 3) * A_LANES * B_LANES);
#pragma GCC unroll 1 /* unrolled, the sums no longer stay in registers */
            for (int i = 0; i < A_LANES; i++) {
                const vec w0 = w[i], w1 = w[A_LANES + i], w2 = w[2 * A_LANES + i];
                sum[0] += w0 * before[i];
#pragma GCC unroll 16
                for (int k = 0; k < count; k++) {
                    const float value = row[k * A_LANES + i];
                    if (k + 1 < count)
                        sum[k + 1] += w0 * value;
                    sum[k] += w1 * value;
                    if (k > 0)
                        sum[k - 1] += w2 * value;
                }
                sum[count - 1] += w2 * after[i];
            }
        }
#pragma GCC unroll 16
    for (int k = 0; k < count; k++)
        b[k] = sum[k];
}

/* The longest tile that divides the row's length, as far as there is one: network sizes are multiples of 16 halved a
 * few times. */
DBI_INLINE void D(same_row)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y)
{
    const int64_t Z = d->b.size[2];
    int64_t z = 0;
    if (Z % 10 == 0)
        for (; z < Z; z += 10)
            D(same_tile)(d, a, packed, b + z, x, y, z, 10);
    for (; z + 8 <= Z; z += 8)
        D(same_tile)(d, a, packed, b + z, x, y, z, 8);
    if (z + 5 <= Z) {
        D(same_tile)(d, a, packed, b + z, x, y, z, 5);
        z += 5;
    }
    if (z + 4 <= Z) {
        D(same_tile)(d, a, packed, b + z, x, y, z, 4);
        z += 4;
    }
    for (; z < Z; z++)
        D(same_tile)(d, a, packed, b + z, x, y, z, 1);
}

/* sum[0][k] += Σ_i w0[i] a[k step][i], and sum[1] with w1, for `count` voxels of a: a value of a is loaded once for
 * both. */
DBI_INLINE void D(accumulate_two)(vec sum[2][TILE], const int count, const float *a, int step, const vec *w0,
                                  const vec *w1)
{
#pragma GCC unroll 1
    for (int i = 0; i < A_LANES; i++) {
        const vec one = w0[i], two = w1[i];
#pragma GCC unroll 8
        for (int k = 0; k < count; k++) {
            const float value = a[k * step * A_LANES + i];
            sum[0][k] += one * value;
            sum[1][k] += two * value;
        }
    }
}

/* count voxels of two blocks of b, `apart` vectors from one another, from the 2^3 voxels of a below each. */
DBI_INLINE void D(gather_two)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t apart,
                              int64_t x, int64_t y, int64_t z, const int count)
{
    const int64_t X = d->a.size[0], Y = d->a.size[1], Z = d->a.size[2];
    const int a_blocks = blocks_of(d->a.channels, A_LANES);
    vec sum[2][TILE];
#pragma GCC unroll 8
    for (int k = 0; k < count; k++)
        sum[0][k] = sum[1][k] = (vec){0};
    for (int block = 0; block < a_blocks; block++)
        for (int tap = 0; tap < 8; tap++) {
            const float *row =
                a + (((block * X + 2 * x + tap / 4) * Y + 2 * y + tap / 2 % 2) * Z + 2 * z + tap % 2) * A_LANES;
            const vec *w = (const vec *)(packed + (int64_t)(block * 8 + tap) * A_LANES * B_LANES);
            D(accumulate_two)(sum, count, row, 2, w, w + a_blocks * 8 * A_LANES);
        }
#pragma GCC unroll 8
    for (int k = 0; k < count; k++) {
        b[k] = sum[0][k];
        b[apart + k] = sum[1][k];
    }
}

/* count voxels of b from the 2^3 voxels of a below each. */
DBI_INLINE void D(gather_tile)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y,
                               int64_t z, int count)
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

/* A row of a block of b, and with `two` of the block behind it too. */
DBI_INLINE void D(gather_row)(const dbi_direct *d, const float *a, const float *packed, vec *b, bool two, int64_t x,
                              int64_t y)
{
    const int64_t Z = d->b.size[2], apart = d->b.size[0] * d->b.size[1] * Z;
    int64_t z = 0;
    if (two) {
        if (Z % 5 == 0)
            for (; z < Z; z += 5)
                D(gather_two)(d, a, packed, b + z, apart, x, y, z, 5);
        for (; z + 4 <= Z; z += 4)
            D(gather_two)(d, a, packed, b + z, apart, x, y, z, 4);
        for (; z < Z; z++)
            D(gather_two)(d, a, packed, b + z, apart, x, y, z, 1);
    }
    for (; z + TILE <= Z; z += TILE)
        D(gather_tile)(d, a, packed, b + z, x, y, z, TILE);
    for (; z < Z; z++)
        D(gather_tile)(d, a, packed, b + z, x, y, z, 1);
}

/* count voxels of a to two of the 2^3 voxels of b below each, that follow one another along the row. */
DBI_INLINE void D(scatter_tile)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y,
                                int64_t z, int taps, const int count)
{
    const int64_t v = d->a.size[0] * d->a.size[1] * d->a.size[2], at = (x * d->a.size[1] + y) * d->a.size[2] + z;
    vec sum[2][TILE];
#pragma GCC unroll 8
    for (int k = 0; k < count; k++)
        sum[0][k] = sum[1][k] = (vec){0};
    for (int block = 0; block < blocks_of(d->a.channels, A_LANES); block++) {
        const vec *w = (const vec *)(packed + (int64_t)(block * 8 + 2 * taps) * A_LANES * B_LANES);
        D(accumulate_two)(sum, count, a + (block * v + at) * A_LANES, 1, w, w + A_LANES);
    }
    vec *to = b + ((2 * x + taps / 2) * d->b.size[1] + 2 * y + taps % 2) * d->b.size[2] + 2 * z;
#pragma GCC unroll 8
    for (int k = 0; k < count; k++) {
        to[2 * k] = sum[0][k];
        to[2 * k + 1] = sum[1][k];
    }
}

DBI_INLINE void D(scatter_row)(const dbi_direct *d, const float *a, const float *packed, vec *b, int64_t x, int64_t y)
{
    const int64_t Z = d->a.size[2];
    int64_t z = 0;
    if (Z % 5 == 0)
        for (; z < Z; z += 5)
            for (int taps = 0; taps < 4; taps++)
                D(scatter_tile)(d, a, packed, b, x, y, z, taps, 5);
    for (; z + 4 <= Z; z += 4)
        for (int taps = 0; taps < 4; taps++)
            D(scatter_tile)(d, a, packed, b, x, y, z, taps, 4);
    for (; z < Z; z++)
        for (int taps = 0; taps < 4; taps++)
            D(scatter_tile)(d, a, packed, b, x, y, z, taps, 1);
}

/* The sample's block of channels. */
DBI_INLINE int64_t D(sample)(const dbi_blocked *at, int lanes, int64_t n)
{
    return n * blocks_of(at->channels, lanes) * at->size[0] * at->size[1] * at->size[2] * lanes;
}

DBI_CLONES static void D(apply)(const dbi_direct *d, const float *a, const float *packed, float *b)
{
    int64_t X = grid(d)[0], Y = grid(d)[1], v = d->b.size[0] * d->b.size[1] * d->b.size[2];
    const int b_blocks = blocks_of(d->b.channels, B_LANES),
              together = d->kind == DBI_DIRECT_GATHER && b_blocks % 2 == 0 ? 2 : 1, units = b_blocks / together;
    int64_t per_block = (int64_t)blocks_of(d->a.channels, A_LANES) * taps_of(d) * A_LANES * B_LANES;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < d->a.batch * units * X; i++) {
        int64_t n = i / X / units, block = i / X % units * together, x = i % X;
        const float *from = a + D(sample)(&d->a, A_LANES, n), *w = packed + block * per_block;
        vec *to = (vec *)(b + D(sample)(&d->b, B_LANES, n)) + block * v;
        for (int64_t y = 0; y < Y; y++)
            if (d->kind == DBI_DIRECT_SAME)
                D(same_row)(d, from, w, to + (x * Y + y) * d->b.size[2], x, y);
            else if (d->kind == DBI_DIRECT_GATHER)
                D(gather_row)(d, from, w, to + (x * Y + y) * d->b.size[2], together == 2, x, y);
            else
                D(scatter_row)(d, from, w, to, x, y);
    }
}

/* sum[kz][i] += Σ_z a[z + kz - 1][i] b[z] along two rows, for four channels of a: each value of a meets the three
 * voxels of b that see it, and the twelve sums stay in registers. */
DBI_INLINE void D(correlate_taps)(vec sum[3][4], const float *a, const vec *b, int64_t count)
{
    vec before = {0}, at = b[0];
    for (int64_t z = 0; z < count; z++) {
        vec after = z + 1 < count ? b[z + 1] : (vec){0};
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float value = a[z * A_LANES + i];
            sum[0][i] += after * value;
            sum[1][i] += at * value;
            sum[2][i] += before * value;
        }
        before = at;
        at = after;
    }
}

/* Slabs (an x of a sample) and their y from .. to - 1: so few that what they hold of b stays in the cache while all
 * taps go over it. */
typedef struct D(tile) {
    int64_t slab[2], y[2];
} D(tile);

/* One block pair's sums over a tile; a and b are the pair's blocks in the first sample. */
DBI_INLINE void D(same_sums)(const dbi_direct *d, const float *a, const float *b, float *sums, const D(tile) * tile)
{
    const int64_t X = d->b.size[0], Y = d->b.size[1], Z = d->b.size[2];
    const int64_t a_sample = D(sample)(&d->a, A_LANES, 1), b_sample = D(sample)(&d->b, B_LANES, 1);
    for (int taps = 0; taps < 9; taps++)
        for (int half = 0; half < A_LANES; half += 4) {
            const int kx = taps / 3, ky = taps % 3;
            const int64_t first = tile->y[0] + ky < 1 ? 1 : tile->y[0],
                          end = tile->y[1] + ky > Y + 1 ? Y + 1 - ky : tile->y[1];
            float *to = sums + ((int64_t)taps * 3 * A_LANES + half) * B_LANES;
            vec sum[3][4];
            for (int kz = 0; kz < 3; kz++)
                for (int i = 0; i < 4; i++)
                    sum[kz][i] = *(const vec *)(to + (kz * A_LANES + i) * B_LANES);
            for (int64_t s = tile->slab[0]; s < tile->slab[1]; s++) {
                const int64_t n = s / X, x = s % X;
                if (x + kx < 1 || x + kx > X)
                    continue;
                const float *a_plane = a + n * a_sample + ((x + kx - 1) * Y + ky - 1) * Z * A_LANES + half;
                const float *b_plane = b + n * b_sample + x * Y * Z * B_LANES;
                for (int64_t y = first; y < end; y++)
                    D(correlate_taps)(sum, a_plane + y * Z * A_LANES, (const vec *)(b_plane + y * Z * B_LANES), Z);
            }
            for (int kz = 0; kz < 3; kz++)
                for (int i = 0; i < 4; i++)
                    *(vec *)(to + (kz * A_LANES + i) * B_LANES) = sum[kz][i];
        }
}

/* The slabs from .. to - 1, tile by tile, for pairs of blocks that follow one another in a: all that is made of a tile
 * of b is made while it is in the cache. */
DBI_INLINE void D(same_slabs)(const dbi_direct *d, const float *a, const float *b, int pairs, float *sums, int64_t from,
                              int64_t to)
{
    const int64_t a_block = d->a.size[0] * d->a.size[1] * d->a.size[2] * A_LANES;
    const int64_t Y = d->b.size[1], Z = d->b.size[2], most = TILE_BYTES / (int64_t)sizeof(vec) / Z,
                  rows = most > 4 ? most : 4;
    const int64_t height = rows < Y ? rows : Y, width = rows / Y > 1 ? rows / Y : 1;
    for (int64_t s = from; s < to; s += width)
        for (int64_t y = 0; y < Y; y += height) {
            const D(tile) tile = {{s, s + width < to ? s + width : to}, {y, y + height < Y ? y + height : Y}};
            for (int p = 0; p < pairs; p++)
                D(same_sums)(d, a + p * a_block, b, sums + (int64_t)p * 27 * A_LANES * B_LANES, &tile);
        }
}

/* sum[0][i] += Σ_z a[z a_step][i] b0[z b_step] and sum[1] with b1, for four channels of a: a value of a is loaded once
 * for both. */
DBI_INLINE void D(correlate_two)(vec sum[2][4], const float *a, int a_step, const vec *b0, const vec *b1, int b_step,
                                 int64_t count)
{
    for (int64_t z = 0; z < count; z++) {
        const vec one = b0[z * b_step], two = b1[z * b_step];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float value = a[z * a_step * A_LANES + i];
            sum[0][i] += one * value;
            sum[1][i] += two * value;
        }
    }
}

/* The sums of four channels of a over a slab, the x-th plane of the coarser grid, at to[0] and to[1]. gather: two
 * blocks of b at one tap; scatter: one block of b at two taps along the row. */
DBI_INLINE void D(slab_sums)(const dbi_direct *d, const float *a, const float *b, int64_t next_block,
                             float *const to[2], int tap, int64_t x)
{
    const bool gather = d->kind == DBI_DIRECT_GATHER;
    const int64_t Y = grid(d)[1], Z = grid(d)[2];
    vec sum[2][4];
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 4; i++)
            sum[k][i] = *(const vec *)(to[k] + i * B_LANES);
    for (int64_t y = 0; y < Y; y++) {
        const int64_t fine_x = 2 * x + tap / 4, fine_y = 2 * y + tap / 2 % 2;
        const int64_t a_at = gather ? (fine_x * d->a.size[1] + fine_y) * d->a.size[2] + tap % 2 : (x * Y + y) * Z;
        const int64_t b_at = gather ? (x * Y + y) * Z : (fine_x * d->b.size[1] + fine_y) * d->b.size[2];
        const vec *row = (const vec *)b + b_at;
        if (gather)
            D(correlate_two)(sum, a + a_at * A_LANES, 2, row, row + next_block, 1, Z);
        else
            D(correlate_two)(sum, a + a_at * A_LANES, 1, row, row + 1, 2, Z);
    }
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 4; i++)
            *(vec *)(to[k] + i * B_LANES) = sum[k][i];
}

/* One block pair's sums over a slab, or with `apart` not 0 those of two pairs, the second one's that far behind the
 * first one's. With 0 the only one is computed twice. */
DBI_INLINE void D(strided_sums)(const dbi_direct *d, const float *a, const float *b, float *sums, int64_t apart,
                                int64_t x)
{
    const bool gather = d->kind == DBI_DIRECT_GATHER;
    const int64_t next_block = apart ? d->b.size[0] * d->b.size[1] * d->b.size[2] : 0;
    for (int tap = 0; tap < 8; tap += gather ? 1 : 2)
        for (int half = 0; half < A_LANES; half += 4) {
            float *at = sums + ((int64_t)tap * A_LANES + half) * B_LANES;
            float *const to[2] = {at, at + (gather ? apart : A_LANES * B_LANES)};
            D(slab_sums)(d, a + half, b, next_block, to, tap, x);
        }
}

/* partial [group][b block][a block][tap][a lane][b lane] */
DBI_CLONES static void D(weights)(const dbi_direct *d, const float *a, const float *b, float *partial)
{
    int a_blocks = blocks_of(d->a.channels, A_LANES), b_blocks = blocks_of(d->b.channels, B_LANES),
        pairs = a_blocks * b_blocks;
    int64_t X = grid(d)[0], slabs = d->a.batch * X, groups = groups_of(d), pair = taps_of(d) * A_LANES * B_LANES;
    int64_t a_size = d->a.size[0] * d->a.size[1] * d->a.size[2] * A_LANES,
            b_size = d->b.size[0] * d->b.size[1] * d->b.size[2] * B_LANES;
    if (d->kind == DBI_DIRECT_SAME) {
        const int together =
            groups * b_blocks < 16 ? 1 : a_blocks; /* few large pieces of work would leave threads without any */
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = 0; i < groups * pairs / together; i++) {
            const int64_t group = i * together / pairs, p = i * together % pairs;
            float *sums = partial + i * together * pair;
            memset(sums, 0, (size_t)(together * pair) * sizeof *sums);
            D(same_slabs)
            (d, a + p % a_blocks * a_size, b + p / a_blocks * b_size, together, sums, slabs * group / groups,
             slabs * (group + 1) / groups);
        }
        return;
    }
    /* Blocks of b two at a time, where the number of them is even. */
    const int together = d->kind == DBI_DIRECT_GATHER && b_blocks % 2 == 0 ? 2 : 1;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < groups * pairs / together; i++) {
        const int64_t group = i * together / pairs, unit = i % (pairs / together), a_block = unit % a_blocks,
                      b_block = unit / a_blocks * together;
        float *sums = partial + (group * pairs + b_block * a_blocks + a_block) * pair;
        for (int k = 0; k < together; k++)
            memset(sums + k * a_blocks * pair, 0, (size_t)pair * sizeof *sums);
        for (int64_t s = slabs * group / groups; s < slabs * (group + 1) / groups; s++)
            D(strided_sums)
        (d, a + D(sample)(&d->a, A_LANES, s / X) + a_block * a_size,
         b + D(sample)(&d->b, B_LANES, s / X) + b_block * b_size, sums, (together - 1) * a_blocks * pair, s % X);
    }
}

#undef vec
#undef A_LANES
#undef B_LANES
#undef D
