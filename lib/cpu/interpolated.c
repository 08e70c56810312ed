#include "cpu/interpolated.h"

#include <string.h>

#include "base/clones.h"
#include "base/parallel.h"
#include "net/interpolation_math.h"

/* Rows of the output that are done together: they keep their sums over y of three planes. Voxels of the input whose
 * gathered fields are kept near the processor. */
enum { TILE_ROWS = 32, PIECE_VOXELS = 192 };

/* The weights' gradient is summed in so many groups of planes, for threads to share: fewer where there are several
 * blocks of output channels. */
enum { MOST_SUMS = 16 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t quotient_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* ---- one axis ---- */

/* A place is the sum of others, in the order of taps and places. */
enum { MOST_TERMS = 6 };

typedef struct terms {
    int count, tap[MOST_TERMS];
    int64_t from[MOST_TERMS];
    float share[MOST_TERMS];
} terms;

static void add_term(terms *t, int tap, int64_t from, double share)
{
    if (share == 0)
        return;
    t->tap[t->count] = tap;
    t->from[t->count] = from;
    t->share[t->count++] = (float)share;
}

/* What output place o takes: through each tap two neighbours of the input, of at most three in all. Places beside the
 * output are zeros of the convolution. */
static terms terms_of(int64_t o, int64_t n)
{
    terms t = {0};
    for (int tap = 0; tap < 3; tap++) {
        const int64_t place = o + tap - 1;
        if (place < 0 || place >= 2 * n)
            continue;
        const dbi_interpolation at = dbi_interpolation_at(place, n);
        add_term(&t, tap, at.low, 1 - at.share);
        add_term(&t, tap, at.high, at.share);
    }
    return t;
}

static int64_t first_of(const terms *t)
{
    return t->from[0];
}

static int64_t last_of(const terms *t)
{
    return t->from[t->count - 1];
}

/* The output places that take input place i through a tap. */
static terms takers_of(int64_t i, int tap, int64_t n)
{
    terms t = {0};
    const dbi_interpolation_range r = dbi_interpolation_range_of(i, n);
    for (int64_t place = r.begin; place < r.end; place++) {
        const int64_t o = place - tap + 1;
        if (o >= 0 && o < 2 * n)
            add_term(&t, tap, o, dbi_interpolation_share(place, i, n));
    }
    return t;
}

/* The same along a row, as vectors from its beginning: found once, because it costs divisions. */
typedef struct spot {
    int count, offset[MOST_TERMS];
    float share[MOST_TERMS];
} spot;

static spot spot_of(const terms *t, int64_t tap_step)
{
    spot s = {.count = t->count};
    for (int k = 0; k < t->count; k++) {
        s.offset[k] = (int)(t->tap[k] * tap_step + t->from[k]);
        s.share[k] = t->share[k];
    }
    return s;
}

/* [2 Z]: places of an output row, from mixed rows [tap][Z]. */
static void find_spots(int64_t n, spot *spots)
{
    for (int64_t o = 0; o < 2 * n; o++) {
        const terms t = terms_of(o, n);
        spots[o] = spot_of(&t, n);
    }
}

/* [tap][Z]: places of the gathered rows, from an output row. */
static void find_taking_spots(int64_t n, spot *spots)
{
    for (int64_t i = 0; i < 3 * n; i++) {
        const terms t = takers_of(i % n, (int)(i / n), n);
        spots[i] = spot_of(&t, 0);
    }
}

/* Rows to be added. */
typedef struct rows {
    int count;
    const float *row[MOST_TERMS];
    float share[MOST_TERMS];
} rows;

/* ---- parts of the work ---- */

/* A part of the output: planes x and rows y of a sample's block of channels. */
typedef struct part {
    int64_t sample, block, x, x_end, y, y_end;
} part;

/* A part of the input: rows y of a plane x of a sample. */
typedef struct piece {
    int64_t sample, x, y, y_end;
} piece;

static int in_blocks(const dbi_interpolated *d)
{
    return (d->in.channels + d->in_lanes - 1) / d->in_lanes;
}

static int out_blocks(const dbi_interpolated *d)
{
    return (d->out.channels + d->out_lanes - 1) / d->out_lanes;
}

static int64_t voxels_of(const dbi_blocked *at)
{
    return at->size[0] * at->size[1] * at->size[2];
}

/* Of one block of output channels. */
static int64_t weight_floats(const dbi_interpolated *d)
{
    return (int64_t)27 * in_blocks(d) * d->in_lanes * d->out_lanes;
}

static int64_t tiles_of(const dbi_interpolated *d)
{
    return quotient_up(d->out.size[1], TILE_ROWS);
}

static int64_t rows_of_tile(const dbi_interpolated *d)
{
    return quotient_up(d->out.size[1], tiles_of(d));
}

/* Planes are shared out where samples, blocks and tiles are too few for the threads. */
static int64_t slabs_of(const dbi_interpolated *d, int threads)
{
    return smaller(quotient_up(d->out.size[0], 16),
                   quotient_up(2 * (int64_t)threads, d->in.batch * out_blocks(d) * tiles_of(d)));
}

static part part_of(const dbi_interpolated *d, int64_t slabs, int64_t i)
{
    const int64_t tiles = tiles_of(d), height = rows_of_tile(d), tile = i % tiles, slab = i / tiles % slabs,
                  X = d->out.size[0];
    return (part){.sample = i / tiles / slabs / out_blocks(d),
                  .block = i / tiles / slabs % out_blocks(d),
                  .x = slab * X / slabs,
                  .x_end = (slab + 1) * X / slabs,
                  .y = smaller(tile * height, d->out.size[1]),
                  .y_end = smaller((tile + 1) * height, d->out.size[1])};
}

static int64_t rows_of_piece(const dbi_interpolated *d)
{
    return smaller(d->in.size[1], larger(1, PIECE_VOXELS / d->in.size[2]));
}

static int64_t pieces_of_plane(const dbi_interpolated *d)
{
    return quotient_up(d->in.size[1], rows_of_piece(d));
}

/* Pieces are counted over samples, planes and rows. */
static piece piece_of(const dbi_interpolated *d, int64_t i)
{
    const int64_t pieces = pieces_of_plane(d), y = i % pieces * rows_of_piece(d);
    return (piece){.sample = i / pieces / d->in.size[0],
                   .x = i / pieces % d->in.size[0],
                   .y = y,
                   .y_end = smaller(y + rows_of_piece(d), d->in.size[1])};
}

static int64_t groups_of(const dbi_interpolated *d)
{
    return smaller(quotient_up(MOST_SUMS, out_blocks(d)), d->in.batch * d->in.size[0]);
}

/* ---- working memory: weights or sums, spots, then each thread's own ---- */

/* Output rows in which a piece can have shares: two for each of its rows, and those beside. */
static int64_t taking_rows(const dbi_interpolated *d)
{
    return smaller(d->out.size[1], 2 * rows_of_piece(d) + 8);
}

/* Mixed rows [3][Z], those of three rows along z [3][9][2 Z], those of three planes along y too [3][3][rows][2 Z]. */
static int64_t apply_floats(const dbi_interpolated *d)
{
    const int64_t row = d->out.size[2];
    return (3 * d->in.size[2] + 27 * row + 9 * rows_of_tile(d) * row) * d->out_lanes;
}

/* Output rows added along x [3][rows][2 Z], one added along y too [2 Z], the gathered fields [27][voxels]. */
static int64_t gather_floats(const dbi_interpolated *d)
{
    const int64_t row = d->out.size[2];
    return ((3 * taking_rows(d) + 1) * row + 27 * rows_of_piece(d) * d->in.size[2]) * d->out_lanes;
}

static int64_t spot_floats(const dbi_interpolated *d)
{
    return quotient_up(3 * d->in.size[2] * (int64_t)sizeof(spot), 64) * 16;
}

size_t dbi_interpolated_floats(const dbi_interpolated *d, int threads, bool gradients)
{
    const int64_t copies = gradients ? groups_of(d) : 1,
                  own = gradients ? larger(apply_floats(d), gather_floats(d)) : apply_floats(d);
    return (size_t)(copies * out_blocks(d) * weight_floats(d) + spot_floats(d) + threads * own);
}

/* ---- weights ---- */

/* The taps of a pair of channels in the plain weights; NULL in the padding. */
static float *taps_of(const dbi_interpolated *d, const float *weight, int64_t in, int64_t out)
{
    if (in >= d->in.channels || out >= d->out.channels)
        return NULL;
    return (float *)(uintptr_t)(weight + (out * d->in.channels + in) * 27);
}

/* For mixing: [out block][tap x, y][in channel][tap z][out lane]. The sums of their gradient lie so, too. */
static int64_t mixing_place(const dbi_interpolated *d, int64_t in, int64_t out, int tap)
{
    const int64_t channels = (int64_t)in_blocks(d) * d->in_lanes;
    return out / d->out_lanes * weight_floats(d) + ((tap / 3 * channels + in) * 3 + tap % 3) * d->out_lanes +
           out % d->out_lanes;
}

/* For the gradient of the input: [out block][tap][out lane][in channel]. */
static int64_t gradient_place(const dbi_interpolated *d, int64_t in, int64_t out, int tap)
{
    const int64_t channels = (int64_t)in_blocks(d) * d->in_lanes;
    return ((out / d->out_lanes * 27 + tap) * d->out_lanes + out % d->out_lanes) * channels + in;
}

static void pack(const dbi_interpolated *d, int threads, const float *weight, bool gradient, float *packed)
{
    const int64_t outs = (int64_t)out_blocks(d) * d->out_lanes, ins = (int64_t)in_blocks(d) * d->in_lanes;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t p = 0; p < outs * ins; p++) {
        const int64_t in = p % ins, out = p / ins;
        const float *taps = taps_of(d, weight, in, out);
        for (int tap = 0; tap < 27; tap++)
            packed[gradient ? gradient_place(d, in, out, tap) : mixing_place(d, in, out, tap)] = taps ? taps[tap] : 0;
    }
}

/* Adds the groups' sums. */
static void unpack(const dbi_interpolated *d, int threads, const float *sums, float *dweight)
{
    const int64_t step = out_blocks(d) * weight_floats(d), pairs = (int64_t)d->out.channels * d->in.channels;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t p = 0; p < pairs; p++) {
        const int64_t in = p % d->in.channels, out = p / d->in.channels;
        float *taps = taps_of(d, dweight, in, out);
        for (int tap = 0; tap < 27; tap++) {
            double sum = 0;
            for (int64_t g = 0; g < groups_of(d); g++)
                sum += sums[g * step + mixing_place(d, in, out, tap)];
            taps[tap] = (float)sum;
        }
    }
}

#define A_LANES 8
#define B_LANES 8
#define D(name) name##_8_8
#include "cpu/interpolated.inc.h"
#define A_LANES 8
#define B_LANES 16
#define D(name) name##_8_16
#include "cpu/interpolated.inc.h"
#define A_LANES 16
#define B_LANES 8
#define D(name) name##_16_8
#include "cpu/interpolated.inc.h"
#define A_LANES 16
#define B_LANES 16
#define D(name) name##_16_16
#include "cpu/interpolated.inc.h"

void dbi_interpolated_apply(const dbi_interpolated *d, int threads, const float *in, const float *weight,
                            float *working, float *out)
{
    static void (*const apply[2][2])(const dbi_interpolated *, const part *, const spot *, const float *, const float *,
                                     float *, float *) = {{apply_8_8, apply_8_16}, {apply_16_8, apply_16_16}};
    float *own = working + out_blocks(d) * weight_floats(d) + spot_floats(d);
    spot *spots = (spot *)(working + out_blocks(d) * weight_floats(d));
    const int64_t slabs = slabs_of(d, threads), parts = d->in.batch * out_blocks(d) * slabs * tiles_of(d);
    pack(d, threads, weight, false, working);
    find_spots(d->in.size[2], spots);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t i = 0; i < parts; i++) {
        const part p = part_of(d, slabs, i);
        apply[d->in_lanes == 16][d->out_lanes == 16](d, &p, spots, in, working,
                                                     own + omp_get_thread_num() * apply_floats(d), out);
    }
}

void dbi_interpolated_data(const dbi_interpolated *d, int threads, const float *dout, const float *weight,
                           float *working, float *din, bool add)
{
    static void (*const data[2][2])(const dbi_interpolated *, const piece *, const spot *, const float *, const float *,
                                    float *, float *, bool) = {{data_8_8, data_8_16}, {data_16_8, data_16_16}};
    float *own = working + out_blocks(d) * weight_floats(d) + spot_floats(d);
    spot *spots = (spot *)(working + out_blocks(d) * weight_floats(d));
    pack(d, threads, weight, true, working);
    find_taking_spots(d->in.size[2], spots);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t i = 0; i < d->in.batch * d->in.size[0] * pieces_of_plane(d); i++) {
        const piece p = piece_of(d, i);
        data[d->in_lanes == 16][d->out_lanes == 16](d, &p, spots, dout, working,
                                                    own + omp_get_thread_num() * gather_floats(d), din, add);
    }
}

void dbi_interpolated_weights(const dbi_interpolated *d, int threads, const float *in, const float *dout,
                              float *working, float *dweight)
{
    static void (*const weights[2][2])(const dbi_interpolated *, const piece *, int64_t, const spot *, const float *,
                                       const float *, float *,
                                       float *) = {{weights_8_8, weights_8_16}, {weights_16_8, weights_16_16}};
    const int64_t groups = groups_of(d), blocks = out_blocks(d), planes = d->in.batch * d->in.size[0],
                  pieces = pieces_of_plane(d), sums = groups * blocks * weight_floats(d);
    float *own = working + sums + spot_floats(d);
    spot *spots = (spot *)(working + sums);
    find_taking_spots(d->in.size[2], spots);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t i = 0; i < groups * blocks; i++) {
        const int64_t group = i / blocks, block = i % blocks;
        float *sum = working + i * weight_floats(d);
        memset(sum, 0, (size_t)weight_floats(d) * sizeof *sum);
        for (int64_t k = group * planes / groups * pieces; k < (group + 1) * planes / groups * pieces; k++) {
            const piece p = piece_of(d, k);
            weights[d->in_lanes == 16][d->out_lanes == 16](d, &p, block, spots, in, dout,
                                                           own + omp_get_thread_num() * gather_floats(d), sum);
        }
    }
    unpack(d, threads, working, dweight);
}
