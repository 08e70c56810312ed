#include "net/direct.h"

#include <string.h>

#include "base/clones.h"

/* A tile is so many voxels of a row, held in registers; a row that is no multiple of it is done in shorter ones. */
enum { TILE = 8 };

static int taps_of(const dbi_direct *d)
{
    return d->kind == DBI_DIRECT_SAME ? 27 : 8;
}

static int blocks_of(int channels, int lanes)
{
    return (channels + lanes - 1) / lanes;
}

static size_t packed_count(const dbi_direct *d)
{
    return (size_t)blocks_of(d->a.channels, d->a_lanes) * (size_t)blocks_of(d->b.channels, d->b_lanes) *
           (size_t)(taps_of(d) * d->a_lanes * d->b_lanes);
}

size_t dbi_direct_packed(const dbi_direct *d)
{
    return packed_count(d);
}

/* The coarser of the two grids: the one that a loop over both walks through. */
static const int64_t *grid(const dbi_direct *d)
{
    return d->kind == DBI_DIRECT_SCATTER ? d->a.size : d->b.size;
}

/* The weight gradient is summed in so many groups of slabs (an x of a sample), for threads to share: more where there are few pairs of blocks. */
static int64_t groups_of(const dbi_direct *d)
{
    int64_t pairs = (int64_t)blocks_of(d->a.channels, d->a_lanes) * blocks_of(d->b.channels, d->b_lanes), slabs = d->a.batch * grid(d)[0];
    int64_t groups = (64 + pairs - 1) / pairs;
    return groups < slabs ? groups : slabs;
}

size_t dbi_direct_partials(const dbi_direct *d)
{
    return packed_count(d) * (size_t)groups_of(d);
}

/* Where element e of one packed block pair [tap][a lane][b lane] lies in the plain weights; -1: in the padding. */
static int64_t plain_index(const dbi_direct *d, int a_block, int b_block, int e)
{
    int tap = e / (d->a_lanes * d->b_lanes), i = a_block * d->a_lanes + e / d->b_lanes % d->a_lanes, o = b_block * d->b_lanes + e % d->b_lanes;
    if (i >= d->a.channels || o >= d->b.channels)
        return -1;
    return i * d->a_step + o * d->b_step + (d->mirrored ? taps_of(d) - 1 - tap : tap);
}

/* packed [b block][a block][tap][a lane][b lane] */
static void pack(const dbi_direct *d, const float *weight, float *packed)
{
    int a_blocks = blocks_of(d->a.channels, d->a_lanes), b_blocks = blocks_of(d->b.channels, d->b_lanes), pair = taps_of(d) * d->a_lanes * d->b_lanes;
#pragma omp parallel for schedule(static)
    for (int p = 0; p < a_blocks * b_blocks; p++)
        for (int e = 0; e < pair; e++) {
            int64_t at = plain_index(d, p % a_blocks, p / a_blocks, e);
            packed[(int64_t)p * pair + e] = at < 0 ? 0 : weight[at];
        }
}

/* Sums the groups' parts. */
static void unpack(const dbi_direct *d, const float *partial, float *dweight)
{
    int a_blocks = blocks_of(d->a.channels, d->a_lanes), b_blocks = blocks_of(d->b.channels, d->b_lanes), pair = taps_of(d) * d->a_lanes * d->b_lanes;
    int64_t groups = groups_of(d), stride = (int64_t)packed_count(d);
#pragma omp parallel for schedule(static)
    for (int p = 0; p < a_blocks * b_blocks; p++)
        for (int e = 0; e < pair; e++) {
            int64_t at = plain_index(d, p % a_blocks, p / a_blocks, e);
            double sum = 0;
            for (int64_t g = 0; g < groups && at >= 0; g++)
                sum += partial[g * stride + (int64_t)p * pair + e];
            if (at >= 0)
                dweight[at] = (float)sum;
        }
}

#define A_LANES 8
#define B_LANES 8
#define D(name) name##_8_8
#include "net/direct.inc.h"
#define A_LANES 8
#define B_LANES 16
#define D(name) name##_8_16
#include "net/direct.inc.h"
#define A_LANES 16
#define B_LANES 8
#define D(name) name##_16_8
#include "net/direct.inc.h"
#define A_LANES 16
#define B_LANES 16
#define D(name) name##_16_16
#include "net/direct.inc.h"

void dbi_direct_apply(const dbi_direct *d, const float *a, const float *weight, float *packed, float *b)
{
    static void (*const apply[2][2])(const dbi_direct *, const float *, const float *, float *) = {{apply_8_8, apply_8_16},
                                                                                                   {apply_16_8, apply_16_16}};
    pack(d, weight, packed);
    apply[d->a_lanes == 16][d->b_lanes == 16](d, a, packed, b);
}

void dbi_direct_weights(const dbi_direct *d, const float *a, const float *db, float *partial, float *dweight)
{
    static void (*const sums[2][2])(const dbi_direct *, const float *, const float *, float *) = {{weights_8_8, weights_8_16},
                                                                                                  {weights_16_8, weights_16_16}};
    sums[d->a_lanes == 16][d->b_lanes == 16](d, a, db, partial);
    unpack(d, partial, dweight);
}
