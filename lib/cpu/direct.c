#include "cpu/direct.h"

#include <string.h>

#include "base/clones.h"

/* A tile is so many voxels of a row, held in registers; a row that is no multiple of it is done in shorter ones. */
enum { TILE = 8, MOST_VOXELS = 10 };

enum { TILE_BYTES = 1 << 14 }; /* of b, for the sums of the weights' gradient */

static int taps_of(const dbi_direct *d)
{
    return d->kind == DBI_DIRECT_SAME ? 27 : 8;
}

static int blocks_of(int channels, int lanes)
{
    return (channels + lanes - 1) / lanes;
}

/* Two rows y and y + 1 of b side by side in one vector: they share the rows y - 1 to y + 2 of a, each with its own
 * weights. Half of the two outer rows' work is for nothing, which leaves a gain of half again over vectors of 8. */
static bool in_row_pairs(const dbi_direct *d)
{
    return d->kind == DBI_DIRECT_SAME && d->long_vectors && d->a_lanes == 8 && d->b_lanes == 8 &&
           d->b.size[1] % 2 == 0 && d->b.size[2] % TILE == 0;
}

enum {
    ROW_PAIR_WEIGHTS = 3 * 4 * 3 * 8 * 16
}; /* of a pair of blocks: [kx][row of a][kz][a lane][two rows of b lanes] */

static size_t packed_count(const dbi_direct *d)
{
    return (size_t)blocks_of(d->a.channels, d->a_lanes) * (size_t)blocks_of(d->b.channels, d->b_lanes) *
           (size_t)(taps_of(d) * d->a_lanes * d->b_lanes);
}

size_t dbi_direct_packed(const dbi_direct *d)
{
    size_t pairs = packed_count(d) / (size_t)(taps_of(d) * d->a_lanes * d->b_lanes);
    return in_row_pairs(d) ? pairs * ROW_PAIR_WEIGHTS : packed_count(d);
}

/* The coarser of the two grids: the one that a loop over both walks through. */
static const int64_t *grid(const dbi_direct *d)
{
    return d->kind == DBI_DIRECT_SCATTER ? d->a.size : d->b.size;
}

/* The weight gradient is summed in so many groups of slabs (an x of a sample), for threads to share: more where there
 * are few pairs of blocks. */
static int64_t groups_of(const dbi_direct *d)
{
    int64_t pairs = (int64_t)blocks_of(d->a.channels, d->a_lanes) * blocks_of(d->b.channels, d->b_lanes),
            slabs = d->a.batch * grid(d)[0];
    int64_t groups = (64 + pairs - 1) / pairs;
    return groups < slabs ? groups : slabs;
}

size_t dbi_direct_partials(const dbi_direct *d)
{
    return packed_count(d) * (size_t)groups_of(d);
}

float *dbi_direct_taps(const dbi_direct *d, const float *weight, int a_block, int b_block, int i, int o)
{
    const int a_channel = a_block * d->a_lanes + i, b_channel = b_block * d->b_lanes + o;
    if (a_channel >= d->a.channels || b_channel >= d->b.channels)
        return NULL;
    return (float *)(uintptr_t)(weight + a_channel * d->a_step + b_channel * d->b_step);
}

static int plain_tap(const dbi_direct *d, int tap)
{
    return d->mirrored ? taps_of(d) - 1 - tap : tap;
}

/* packed [b block][a block][tap][a lane][b lane] */
static void pack(const dbi_direct *d, const float *weight, float *packed)
{
    const int a_blocks = blocks_of(d->a.channels, d->a_lanes), b_blocks = blocks_of(d->b.channels, d->b_lanes),
              lanes = d->a_lanes * d->b_lanes, taps = taps_of(d);
#pragma omp parallel for schedule(static)
    for (int p = 0; p < a_blocks * b_blocks; p++)
        for (int e = 0; e < lanes; e++) {
            const float *from = dbi_direct_taps(d, weight, p % a_blocks, p / a_blocks, e / d->b_lanes, e % d->b_lanes);
            float *to = packed + (int64_t)p * taps * lanes + e;
            for (int tap = 0; tap < taps; tap++)
                to[tap * lanes] = from ? from[plain_tap(d, tap)] : 0;
        }
}

static void pack_row_pairs(const dbi_direct *d, const float *weight, float *packed)
{
    int a_blocks = blocks_of(d->a.channels, 8), b_blocks = blocks_of(d->b.channels, 8);
    for (int p = 0; p < a_blocks * b_blocks; p++)
        for (int e = 0; e < ROW_PAIR_WEIGHTS; e++) {
            int lane = e % 16, i = e / 16 % 8, kz = e / 128 % 3, ky = e / 384 % 4 - lane / 8, kx = e / 1536;
            const float *from =
                ky < 0 || ky > 2 ? NULL : dbi_direct_taps(d, weight, p % a_blocks, p / a_blocks, i, lane % 8);
            packed[(int64_t)p * ROW_PAIR_WEIGHTS + e] = from ? from[plain_tap(d, (kx * 3 + ky) * 3 + kz)] : 0;
        }
}

/* Sums the groups' parts. */
static void unpack(const dbi_direct *d, const float *partial, float *dweight)
{
    const int a_blocks = blocks_of(d->a.channels, d->a_lanes), b_blocks = blocks_of(d->b.channels, d->b_lanes),
              lanes = d->a_lanes * d->b_lanes, taps = taps_of(d);
    const int64_t groups = groups_of(d), stride = (int64_t)packed_count(d);
#pragma omp parallel for schedule(static)
    for (int p = 0; p < a_blocks * b_blocks; p++)
        for (int e = 0; e < lanes; e++) {
            float *to = dbi_direct_taps(d, dweight, p % a_blocks, p / a_blocks, e / d->b_lanes, e % d->b_lanes);
            const float *from = partial + (int64_t)p * taps * lanes + e;
            for (int tap = 0; tap < taps && to; tap++) {
                double sum = 0;
                for (int64_t g = 0; g < groups; g++)
                    sum += from[g * stride + tap * lanes];
                to[plain_tap(d, tap)] = (float)sum;
            }
        }
}

#define A_LANES 8
#define B_LANES 8
#define D(name) name##_8_8
#include "cpu/direct.inc.h"
#define A_LANES 8
#define B_LANES 16
#define D(name) name##_8_16
#include "cpu/direct.inc.h"
#define A_LANES 16
#define B_LANES 8
#define D(name) name##_16_8
#include "cpu/direct.inc.h"
#define A_LANES 16
#define B_LANES 16
#define D(name) name##_16_16
#include "cpu/direct.inc.h"

/* A tile of the rows y and y + 1 of b, side by side. first, last: as in `same`. */
DBI_INLINE void sum_row_pair(const dbi_direct *d, const float *a, const float *packed, vec_8_16 *tile, int64_t x,
                             int64_t y, int64_t z, bool first, bool last)
{
    int64_t X = d->b.size[0], Y = d->b.size[1], Z = d->b.size[2];
    vec_8_16 sum[TILE] = {{0}};
    for (int block = 0; block < blocks_of(d->a.channels, 8); block++)
        for (int kx = 0; kx < 3; kx++)
            for (int r = 0; r < 4; r++) {
                if (x + kx < 1 || x + kx > X || y + r < 1 || y + r > Y)
                    continue;
                const float *row = a + (((block * X + x + kx - 1) * Y + y + r - 1) * Z + z - 1) * 8;
                const float *w = packed + (int64_t)block * ROW_PAIR_WEIGHTS + (kx * 4 + r) * 3 * 8 * 16;
                accumulate_8_16(sum, TILE, row, 1, w, first, TILE);
                accumulate_8_16(sum, TILE, row + 8, 1, w + 8 * 16, 0, TILE);
                accumulate_8_16(sum, TILE, row + 16, 1, w + 2 * 8 * 16, 0, TILE - last);
            }
    for (int k = 0; k < TILE; k++)
        tile[k] = sum[k];
}

/* A function of its own: were the two rows taken apart in the same one, the compiler would keep the sums in memory. */
DBI_CLONES __attribute__((noinline)) static void row_pair_tile(const dbi_direct *d, const float *a, const float *packed,
                                                               vec_8_16 *tile, int64_t x, int64_t y, int64_t z)
{
    bool first = z == 0, last = z == d->b.size[2] - TILE;
    if (first && last)
        sum_row_pair(d, a, packed, tile, x, y, z, true, true);
    else if (first)
        sum_row_pair(d, a, packed, tile, x, y, z, true, false);
    else if (last)
        sum_row_pair(d, a, packed, tile, x, y, z, false, true);
    else
        sum_row_pair(d, a, packed, tile, x, y, z, false, false);
}

DBI_CLONES static void apply_row_pairs(const dbi_direct *d, const float *a, const float *packed, float *b)
{
    int64_t X = d->b.size[0], Y = d->b.size[1], Z = d->b.size[2];
    int a_blocks = blocks_of(d->a.channels, 8), b_blocks = blocks_of(d->b.channels, 8);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < d->a.batch * b_blocks * X; i++) {
        int64_t n = i / X / b_blocks, block = i / X % b_blocks, x = i % X;
        const float *from = a + sample_8_8(&d->a, 8, n), *w = packed + block * a_blocks * ROW_PAIR_WEIGHTS;
        float *to = b + sample_8_8(&d->b, 8, n) + (block * X + x) * Y * Z * 8;
        for (int64_t y = 0; y < Y; y += 2) {
            float *row = to + y * Z * 8;
            for (int64_t z = 0; z < Z; z += TILE) {
                vec_8_16 tile[TILE];
                row_pair_tile(d, from, w, tile, x, y, z);
                for (int k = 0; k < TILE; k++) {
                    memcpy(row + (z + k) * 8, &tile[k], 32);
                    memcpy(row + (Z + z + k) * 8, (const char *)&tile[k] + 32, 32);
                }
            }
        }
    }
}

void dbi_direct_apply(const dbi_direct *d, const float *a, const float *weight, float *packed, float *b)
{
    static void (*const apply[2][2])(const dbi_direct *, const float *, const float *,
                                     float *) = {{apply_8_8, apply_8_16}, {apply_16_8, apply_16_16}};
    if (in_row_pairs(d)) {
        pack_row_pairs(d, weight, packed);
        apply_row_pairs(d, a, packed, b);
        return;
    }
    pack(d, weight, packed);
    apply[d->a_lanes == 16][d->b_lanes == 16](d, a, packed, b);
}

void dbi_direct_weights(const dbi_direct *d, const float *a, const float *db, float *partial, float *dweight)
{
    static void (*const sums[2][2])(const dbi_direct *, const float *, const float *,
                                    float *) = {{weights_8_8, weights_8_16}, {weights_16_8, weights_16_16}};
    sums[d->a_lanes == 16][d->b_lanes == 16](d, a, db, partial);
    unpack(d, partial, dweight);
}
