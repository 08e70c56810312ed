#include "cpu/winograd.h"

#include <string.h>

#include "base/clones.h"
#include "base/parallel.h"

/* A vector is one voxel of a block of channels. */
enum { LANES = 8 };
typedef float vec __attribute__((vector_size(4 * LANES), may_alias));

#define HALF_ROOT 0.70710678118654752440f
#define ROOT      1.41421356237309504880f

/* Of a pair of blocks: six products instead of the three taps along a row. */
enum { PAIR_FLOATS = 6 * 9 * LANES * LANES };

/* What a thread holds of a at a time, spread out, is to stay in the second-level cache with the weights and the
 * products. */
enum { SPREAD_BYTES = 240 << 10, MOST_ROWS = 16, LEAST_ROWS = 8 };

/* How many sums of a product are made at a time, in registers: tiles along the row by rows below one another. Tall ones
 * find more of what they read in the first-level cache. For the weights' gradient a column may have any even number of
 * rows. */
typedef enum shape { TILES_2, ROWS_10, ROWS_8, TILES_3, FOR_WEIGHTS } shape;
enum { MOST_SUMS = 10 };

/* speed: of a convolution that fills them, in GFLOP/s on a core with vectors of 8 and a peak of 103. */
static const struct {
    int tiles, rows;
    double speed;
} shapes[] = {[TILES_2] = {2, 5, 155},
              [ROWS_10] = {1, 10, 150},
              [ROWS_8] = {1, 8, 140},
              [TILES_3] = {3, 3, 130},
              [FOR_WEIGHTS] = {1, 2, 0}};

/* A part of the work: of a sample the planes x[0] .. x[1] - 1, `depth` at a time, in them `rows` rows from `row` on,
 * and along the rows `tiles` tiles of four voxels from `tile` on. The last rows and tiles can lie outside. */
typedef struct part {
    shape shape;
    int64_t sample, x[2], row, rows, tile, tiles, depth;
} part;

/* How a convolution is divided: a plane in strips of rows and spans of tiles, which are whole shapes; all planes in
 * slices. */
typedef struct division {
    shape shape;
    int64_t rows, tiles; /* of a plane, in shapes */
    int64_t strips, spans, slices;
    int64_t depth; /* so many planes at a time */
} division;

static int blocks_of(const dbi_blocked *at)
{
    return (at->channels + LANES - 1) / LANES;
}

static int64_t quotient_up(int64_t n, int64_t by)
{
    return (n + by - 1) / by;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The shape that covers a plane in the least time. */
static shape shape_for(const dbi_direct *d)
{
    double least = 0;
    shape best = 0;
    for (shape s = 0; s < FOR_WEIGHTS; s++) {
        const int64_t tiles = quotient_up(quotient_up(d->b.size[2], 4), shapes[s].tiles) * shapes[s].tiles,
                      rows = quotient_up(d->b.size[1], shapes[s].rows) * shapes[s].rows;
        const double time = (double)(tiles * rows) / shapes[s].speed;
        if (s == 0 || time < least) {
            least = time;
            best = s;
        }
    }
    return best;
}

static division divide(const dbi_direct *d, shape with, int64_t slices)
{
    division v = {.shape = with, .depth = 1, .slices = smaller(slices, d->b.size[0])};
    const int64_t height = shapes[v.shape].rows, width = shapes[v.shape].tiles;
    const int64_t row_of_tiles = (int64_t)sizeof(float) * 18 * blocks_of(&d->a) * LANES;
    v.rows = quotient_up(d->b.size[1], height);
    v.tiles = quotient_up(quotient_up(d->b.size[2], 4), width);
    /* As many rows as the cache has room for with whole rows, within limits; then as many tiles. */
    int64_t rows = SPREAD_BYTES / (row_of_tiles * v.tiles * width) - 2;
    rows = rows > MOST_ROWS ? MOST_ROWS : rows < LEAST_ROWS ? LEAST_ROWS : rows;
    v.strips = quotient_up(v.rows, rows > height ? rows / height : 1);
    const int64_t tiles = SPREAD_BYTES / (row_of_tiles * (quotient_up(v.rows, v.strips) * height + 2)) / width;
    v.spans = quotient_up(v.tiles, tiles > 1 ? tiles : 1);
    /* The sums of the weights are worth loading for some hundred voxels, not for a few. */
    if (with == FOR_WEIGHTS)
        v.depth = smaller(quotient_up(160, quotient_up(v.rows, v.strips) * height * quotient_up(v.tiles, v.spans)),
                          d->b.size[0]);
    return v;
}

static int64_t parts_of(const dbi_direct *d, const division *v)
{
    return d->b.batch * v->strips * v->spans * v->slices;
}

static part part_of(const dbi_direct *d, const division *v, int64_t index)
{
    const int64_t slice = index % v->slices, span = index / v->slices % v->spans,
                  strip = index / v->slices / v->spans % v->strips;
    const int64_t height = shapes[v->shape].rows, width = shapes[v->shape].tiles;
    part p = {.shape = v->shape, .depth = v->depth, .sample = index / v->slices / v->spans / v->strips};
    p.x[0] = d->b.size[0] * slice / v->slices;
    p.x[1] = d->b.size[0] * (slice + 1) / v->slices;
    p.row = v->rows * strip / v->strips * height;
    p.rows = v->rows * (strip + 1) / v->strips * height - p.row;
    p.tile = v->tiles * span / v->spans * width;
    p.tiles = v->tiles * (span + 1) / v->spans * width - p.tile;
    return p;
}

/* All planes are cut into slices where the parts would be too few for the threads; a result does not depend on it. */
static division division_for_apply(const dbi_direct *d, int threads)
{
    const shape with = shape_for(d);
    const division whole = divide(d, with, 1);
    return divide(d, with, quotient_up(4 * (int64_t)threads, parts_of(d, &whole)));
}

/* The weight gradient of so many blocks of b is made together: they share the planes of a. */
static int64_t blocks_together(const dbi_direct *d)
{
    return smaller(blocks_of(&d->b), 4);
}

static int64_t bundles_of(const dbi_direct *d)
{
    return quotient_up(blocks_of(&d->b), blocks_together(d));
}

/* Slices where parts would be too few; a result depends on them, so that their number must not depend on the threads.
 */
static division division_for_weights(const dbi_direct *d)
{
    const division whole = divide(d, FOR_WEIGHTS, 1);
    return divide(d, FOR_WEIGHTS, quotient_up(16, parts_of(d, &whole) * bundles_of(d)));
}

/* It is summed in so many groups of parts, for threads to share: more where there are few blocks of b. */
static int64_t groups_of(const dbi_direct *d, const division *v)
{
    return smaller(quotient_up(32, bundles_of(d)), parts_of(d, v));
}

static int64_t pairs_of(const dbi_direct *d)
{
    return (int64_t)blocks_of(&d->a) * blocks_of(&d->b);
}

/* Of a thread: planes of a with one more on both sides, and planes of b or of the products. */
static int64_t thread_floats(const dbi_direct *d, const division *v)
{
    const int64_t rows = quotient_up(v->rows, v->strips) * shapes[v->shape].rows,
                  tiles = quotient_up(v->tiles, v->spans) * shapes[v->shape].tiles;
    return 6 * tiles * ((v->depth + 2) * blocks_of(&d->a) * LANES * (rows + 2) + v->depth * LANES * rows);
}

bool dbi_winograd_serves(const dbi_direct *d)
{
    return d->kind == DBI_DIRECT_SAME && d->a_lanes == LANES && d->b_lanes == LANES;
}

size_t dbi_winograd_apply_floats(const dbi_direct *d, int threads)
{
    const division v = division_for_apply(d, threads);
    return (size_t)(pairs_of(d) * PAIR_FLOATS + smaller(threads, parts_of(d, &v)) * thread_floats(d, &v));
}

size_t dbi_winograd_weights_floats(const dbi_direct *d, int threads)
{
    const division v = division_for_weights(d);
    return (size_t)(groups_of(d, &v) * pairs_of(d) * PAIR_FLOATS +
                    smaller(threads, groups_of(d, &v) * bundles_of(d)) * thread_floats(d, &v));
}

/* Four voxels d[1] to d[4] with their neighbours, as the six values that products are made of: B^T d. */
DBI_INLINE void spread_input(const vec d[6], vec v[6])
{
    const vec even1 = d[4] - 2 * d[2], odd1 = HALF_ROOT * (d[3] - 2 * d[1]), even2 = d[4] - 0.5f * d[2],
              odd2 = ROOT * (d[3] - 0.5f * d[1]);
    v[0] = d[0] - 2.5f * d[2] + d[4];
    v[1] = even1 + odd1;
    v[2] = even1 - odd1;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = d[1] - 2.5f * d[3] + d[5];
}

/* Four voxels' gradients as six values: A y. */
DBI_INLINE void spread_output(const vec y[4], vec w[6])
{
    const vec even1 = y[0] + 0.5f * y[2], odd1 = HALF_ROOT * (y[1] + 0.5f * y[3]), even2 = y[0] + 2 * y[2],
              odd2 = ROOT * (y[1] + 2 * y[3]);
    w[0] = y[0];
    w[1] = even1 + odd1;
    w[2] = even1 - odd1;
    w[3] = even2 + odd2;
    w[4] = even2 - odd2;
    w[5] = y[3];
}

/* The four voxels that six sums of products make: A^T m. */
DBI_INLINE void gather_output(const vec m[6], vec y[4])
{
    const vec sum1 = m[1] + m[2], difference1 = m[1] - m[2], sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    y[0] = m[0] + (sum1 + sum2);
    y[1] = HALF_ROOT * (difference1 + 2 * difference2);
    y[2] = 0.5f * sum1 + 2 * sum2;
    y[3] = m[5] + HALF_ROOT * (0.5f * difference1 + 4 * difference2);
}

/* One block's plane x, rows first .. first + rows - 1 and tiles `from` .. from + tiles - 1 of the grid, spread out to
 * spread [product][tile][row]. What is outside the grid is zero. */
DBI_INLINE void spread_plane(const float *block, const int64_t size[3], int64_t x, int64_t first, int64_t rows,
                             int64_t from, int64_t tiles, vec *spread, const bool input)
{
    const int64_t Y = size[1], Z = size[2], apart = tiles * rows;
    for (int64_t r = 0; r < rows; r++) { /* row by row: that is what the processor fetches ahead */
        const bool inside = first + r >= 0 && first + r < Y;
        const vec *row = (const vec *)block + (x * Y + first + r) * Z;
        for (int64_t t = 0; t < tiles; t++) {
            const int64_t z = 4 * (from + t) - input, values = input ? 6 : 4;
            vec *to = spread + t * rows + r, d[6], v[6];
            if (inside && z >= 0 && z + values <= Z)
                for (int k = 0; k < values; k++)
                    d[k] = row[z + k];
            else
                for (int k = 0; k < values; k++)
                    d[k] = inside && z + k >= 0 && z + k < Z ? row[z + k] : (vec){0};
            if (input)
                spread_input(d, v);
            else
                spread_output(d, v);
            for (int k = 0; k < 6; k++)
                to[k * apart] = v[k];
        }
    }
}

/* A sample's first block. */
static int64_t sample_size(const dbi_blocked *at)
{
    return blocks_of(at) * at->size[0] * at->size[1] * at->size[2] * LANES;
}

/* All blocks of a's plane x into its slot of the working memory, of which there are `depth` + 2. */
DBI_INLINE void spread_input_plane(const dbi_direct *d, const part *p, const float *sample, int64_t x, vec *spread)
{
    const int a_blocks = blocks_of(&d->a);
    const int64_t voxels = d->a.size[0] * d->a.size[1] * d->a.size[2], count = 6 * p->tiles * (p->rows + 2);
    for (int block = 0; block < a_blocks; block++)
        spread_plane(sample + block * voxels * LANES, d->a.size, x, p->row - 1, p->rows + 2, p->tile, p->tiles,
                     spread + (x % (p->depth + 2) * a_blocks + block) * count, true);
}

/* The sums of one product for `tiles` tiles of `rows` voxels below one another: over the blocks of a, the planes from
 * .. to - 1 of the three and three rows. A value is loaded once for the three rows of b that see it. a_apart, apart:
 * between tiles of a and of m, in vectors. */
DBI_INLINE void patch(const vec *const plane[3], int from, int to, int64_t block_size, int a_blocks, const vec *weight,
                      int64_t a_apart, vec *m, int64_t apart, const int tiles, const int rows)
{
    vec sum[MOST_SUMS];
#pragma GCC unroll 16
    for (int s = 0; s < tiles * rows; s++)
        sum[s] = (vec){0};
    for (int block = 0; block < a_blocks; block++)
        for (int kx = from; kx < to; kx++) {
            const float *value = (const float *)(plane[kx] + block * block_size);
            const vec *w = weight + (block * 3 + kx) * 3 * LANES;
            const vec *next = kx + 1 < to ? plane[kx + 1] + block * block_size : plane[from] + (block + 1) * block_size;
#pragma GCC unroll 16
            for (int t = 0; t < tiles; t++)
#pragma GCC unroll 16
                for (int r = 0; r < rows + 2; r += 64 / (4 * LANES))
                    __builtin_prefetch(next + t * a_apart + r);
#pragma GCC unroll 1 /* unrolled, the sums no longer stay in registers */
            for (int i = 0; i < LANES; i++) {
                const vec w0 = w[i], w1 = w[LANES + i], w2 = w[2 * LANES + i];
#pragma GCC unroll 16
                for (int r = 0; r < rows + 2; r++)
#pragma GCC unroll 16
                    for (int t = 0; t < tiles; t++) {
                        const float v = value[(t * a_apart + r) * LANES + i];
                        if (r < rows)
                            sum[t * rows + r] += w0 * v;
                        if (r > 0 && r <= rows)
                            sum[t * rows + r - 1] += w1 * v;
                        if (r > 1)
                            sum[t * rows + r - 2] += w2 * v;
                    }
            }
        }
#pragma GCC unroll 16
    for (int s = 0; s < tiles * rows; s++)
        m[s / rows * apart + s % rows] = sum[s];
}

/* All products of one block of b in one plane. */
DBI_INLINE void patches(const dbi_direct *d, const part *p, const vec *spread, const vec *packed, int64_t x, vec *m,
                        const int tiles, const int rows)
{
    const int a_blocks = blocks_of(&d->a), from = x == 0, to = x + 1 < d->a.size[0] ? 3 : 2;
    const int64_t a_apart = p->rows + 2, block_size = 6 * p->tiles * a_apart;
    for (int k = 0; k < 6; k++)
        for (int64_t t = 0; t < p->tiles; t += tiles)
            for (int64_t r = 0; r < p->rows; r += rows) {
                const vec *plane[3];
                for (int kx = 0; kx < 3; kx++)
                    plane[kx] = spread + (x + kx + 2) % 3 * a_blocks * block_size + (k * p->tiles + t) * a_apart + r;
                patch(plane, from, to, block_size, a_blocks, packed + k * a_blocks * 9 * LANES, a_apart,
                      m + (k * p->tiles + t) * p->rows + r, p->rows, tiles, rows);
            }
}

/* Puts a plane of products together. */
DBI_INLINE void gather_plane(const dbi_direct *d, const part *p, const vec *m, vec *b, int64_t x)
{
    const int64_t Y = d->b.size[1], Z = d->b.size[2], apart = p->tiles * p->rows,
                  rows = p->row + p->rows < Y ? p->rows : Y - p->row;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t t = 0; t < p->tiles; t++) {
            const int64_t z = 4 * (p->tile + t);
            vec *to = b + (x * Y + p->row + r) * Z + z, product[6], y[4];
            for (int k = 0; k < 6; k++)
                product[k] = m[k * apart + t * p->rows + r];
            gather_output(product, y);
            for (int k = 0; k < 4 && z + k < Z; k++)
                to[k] = y[k];
        }
}

DBI_CLONES static void apply_part(const dbi_direct *d, const part *p, const float *a, const float *packed,
                                  float *working, float *b)
{
    const int a_blocks = blocks_of(&d->a), b_blocks = blocks_of(&d->b);
    const int64_t voxels = d->b.size[0] * d->b.size[1] * d->b.size[2];
    const float *sample = a + p->sample * sample_size(&d->a);
    vec *to = (vec *)(b + p->sample * sample_size(&d->b)), *spread = (vec *)working,
        *m = spread + 18 * a_blocks * p->tiles * (p->rows + 2);
    for (int64_t x = p->x[0] > 0 ? p->x[0] - 1 : 0; x <= p->x[0]; x++)
        spread_input_plane(d, p, sample, x, spread);
    for (int64_t x = p->x[0]; x < p->x[1]; x++) {
        if (x + 1 < d->a.size[0])
            spread_input_plane(d, p, sample, x + 1, spread);
        for (int block = 0; block < b_blocks; block++) {
            const vec *weight = (const vec *)packed + (int64_t)block * 6 * a_blocks * 9 * LANES;
            switch (p->shape) {
            case TILES_2:
                patches(d, p, spread, weight, x, m, 2, 5);
                break;
            case ROWS_10:
                patches(d, p, spread, weight, x, m, 1, 10);
                break;
            case ROWS_8:
                patches(d, p, spread, weight, x, m, 1, 8);
                break;
            default:
                patches(d, p, spread, weight, x, m, 3, 3);
            }
            gather_plane(d, p, m, to + block * voxels, x);
        }
    }
}

/* sum[ky][i] += what a column of voxels of b adds, for four channels of a: each value of a meets the three voxels of b
 * that see it, and the twelve sums stay in registers. There are two more values than voxels of b, of which there are
 * two or more. */
DBI_INLINE void correlate_column(vec sum[3][4], const float *a, const vec *b, int64_t rows)
{
    vec before = b[0], at = b[1];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        sum[0][i] += before * a[i];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const float value = a[LANES + i];
        sum[0][i] += at * value;
        sum[1][i] += before * value;
    }
#pragma GCC unroll 1
    for (int64_t r = 2; r < rows; r++) {
        const vec after = b[r];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float value = a[r * LANES + i];
            sum[0][i] += after * value;
            sum[1][i] += at * value;
            sum[2][i] += before * value;
        }
        before = at;
        at = after;
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const float value = a[rows * LANES + i];
        sum[1][i] += at * value;
        sum[2][i] += before * value;
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        sum[2][i] += at * a[(rows + 1) * LANES + i];
}

/* sums [product][kx][half of a's lanes][ky][4][b lane] of a pair of blocks += the products of `count` planes of b from
 * x on. a: the block's place in the first slot of planes. */
DBI_INLINE void correlate(const dbi_direct *d, const part *p, const vec *a, int64_t a_slot, const vec *b, vec *sums,
                          int64_t x, int64_t count)
{
    const int64_t a_product = p->tiles * (p->rows + 2), b_product = p->tiles * p->rows;
    for (int k = 0; k < 6; k++)
        for (int kx = 0; kx < 3; kx++)
            for (int half = 0; half < LANES / 4; half++) {
                vec *at = sums + ((k * 3 + kx) * (LANES / 4) + half) * 12, sum[3][4];
#pragma GCC unroll 12
                for (int i = 0; i < 12; i++)
                    sum[i / 4][i % 4] = at[i];
                for (int64_t plane = 0; plane < count; plane++) {
                    const int64_t from = x + plane + kx - 1;
                    if (from < 0 || from >= d->a.size[0])
                        continue;
                    const float *values =
                        (const float *)(a + from % (p->depth + 2) * a_slot + k * a_product) + 4 * half;
                    const vec *other = b + (plane * 6 + k) * b_product;
#pragma GCC unroll 1
                    for (int64_t t = 0; t < p->tiles; t++)
                        correlate_column(sum, values + t * (p->rows + 2) * LANES, other + t * p->rows, p->rows);
                }
#pragma GCC unroll 12
                for (int i = 0; i < 12; i++)
                    at[i] = sum[i / 4][i % 4];
            }
}

/* The sums of the blocks from .. to - 1 of b with all of a, over a part. sums: of block `from`; the others follow. */
DBI_CLONES static void weights_part(const dbi_direct *d, const part *p, const float *a, const float *db, int from,
                                    int to, float *working, float *sums)
{
    const int a_blocks = blocks_of(&d->a);
    const int64_t X = d->a.size[0], voxels = X * d->a.size[1] * d->a.size[2], block_size = 6 * p->tiles * (p->rows + 2);
    const float *sample = a + p->sample * sample_size(&d->a), *b_sample = db + p->sample * sample_size(&d->b);
    vec *spread = (vec *)working, *b = spread + (p->depth + 2) * a_blocks * block_size;
    int64_t ready = p->x[0] > 0 ? p->x[0] - 1 : 0; /* the first plane of a that is not spread out yet */
    for (int64_t x = p->x[0]; x < p->x[1]; x += p->depth) {
        const int64_t count = smaller(p->x[1] - x, p->depth);
        for (; ready < X && ready <= x + count; ready++)
            spread_input_plane(d, p, sample, ready, spread);
        for (int block = from; block < to; block++) {
            for (int64_t plane = 0; plane < count; plane++)
                spread_plane(b_sample + block * voxels * LANES, d->b.size, x + plane, p->row, p->rows, p->tile,
                             p->tiles, b + plane * 6 * p->tiles * p->rows, false);
            for (int a_block = 0; a_block < a_blocks; a_block++)
                correlate(d, p, spread + a_block * block_size, a_blocks * block_size, b,
                          (vec *)sums + (int64_t)((block - from) * a_blocks + a_block) * (PAIR_FLOATS / LANES), x,
                          count);
        }
    }
}

/* Sums the groups' parts of a pair of blocks and puts the taps along each row together: G^T m.
 * sums [group][b block][a block][product][kx][half of a's lanes][ky][4][b lane] */
DBI_CLONES static void unpack(const dbi_direct *d, int64_t groups, int64_t pair, const float *sums, float *dweight)
{
    typedef double wide __attribute__((vector_size(32))); /* longer ones do not stay in registers */
    typedef float four __attribute__((vector_size(16), may_alias));
    const int a_blocks = blocks_of(&d->a);
    const int64_t group = pairs_of(d) * PAIR_FLOATS;
    for (int i = 0; i < LANES; i++) {
        float taps[27][LANES] __attribute__((aligned(16)));
        for (int fours = 0; fours < 9 * LANES / 4; fours++) {
            const int row = fours / (LANES / 4), o = fours % (LANES / 4) * 4;
            const float *from =
                sums + pair * PAIR_FLOATS + ((row / 3 * (LANES / 4) + i / 4) * 12 + row % 3 * 4 + i % 4) * LANES + o;
            wide m[6] = {{0}};
            for (int64_t g = 0; g < groups; g++)
#pragma GCC unroll 6
                for (int k = 0; k < 6; k++)
                    m[k] += __builtin_convertvector(*(const four *)(from + g * group + k * 9 * LANES * LANES), wide);
            const wide sum1 = (m[1] + m[2]) * (-2 / 3.0), difference1 = (m[1] - m[2]) * (-2 / 3.0),
                       sum2 = (m[3] + m[4]) * (1 / 6.0), difference2 = (m[3] - m[4]) * (1 / 6.0);
            *(four *)&taps[3 * row][o] = __builtin_convertvector(m[0] + sum1 + sum2, four);
            *(four *)&taps[3 * row + 1][o] =
                __builtin_convertvector(1.41421356237309504880 * (0.5 * difference1 + difference2), four);
            *(four *)&taps[3 * row + 2][o] = __builtin_convertvector(0.5 * sum1 + 2 * sum2 + m[5], four);
        }
        for (int o = 0; o < LANES; o++) {
            float *to = dbi_direct_taps(d, dweight, (int)pair % a_blocks, (int)pair / a_blocks, i, o);
            for (int k = 0; k < 27 && to; k++)
                to[d->mirrored ? 26 - k : k] = taps[k][o];
        }
    }
}

/* packed [b block][product][a block][kx][ky][a lane][b lane]: G g for the three taps g along each row. */
static void pack(const dbi_direct *d, int threads, const float *weight, float *packed)
{
    const int a_blocks = blocks_of(&d->a), lanes = LANES * LANES;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t p = 0; p < pairs_of(d); p++)
        for (int e = 0; e < lanes; e++) {
            const int a_block = (int)p % a_blocks, b_block = (int)p / a_blocks;
            const float *taps = dbi_direct_taps(d, weight, a_block, b_block, e / LANES, e % LANES);
            float *to = packed + ((int64_t)b_block * 6 * a_blocks + a_block) * 9 * lanes + e;
            const int64_t product = (int64_t)a_blocks * 9 * lanes;
            for (int row = 0; row < 9; row++, to += lanes) {
                float g[3] = {0};
                for (int k = 0; k < 3 && taps; k++)
                    g[k] = taps[d->mirrored ? 26 - (3 * row + k) : 3 * row + k];
                const float even1 = (g[0] + 0.5f * g[2]) * (-2 / 3.0f), odd1 = HALF_ROOT * g[1] * (-2 / 3.0f),
                            even2 = (g[0] + 2 * g[2]) * (1 / 6.0f), odd2 = ROOT * g[1] * (1 / 6.0f);
                to[0] = g[0];
                to[product] = even1 + odd1;
                to[2 * product] = even1 - odd1;
                to[3 * product] = even2 + odd2;
                to[4 * product] = even2 - odd2;
                to[5 * product] = g[2];
            }
        }
}

void dbi_winograd_apply(const dbi_direct *d, int threads, const float *a, const float *weight, float *working, float *b)
{
    const division v = division_for_apply(d, threads);
    float *own = working + pairs_of(d) * PAIR_FLOATS;
    const int workers = (int)smaller(threads, parts_of(d, &v));
    pack(d, threads, weight, working);
#pragma omp parallel for schedule(dynamic) num_threads(workers)
    for (int64_t i = 0; i < parts_of(d, &v); i++) {
        const part p = part_of(d, &v, i);
        apply_part(d, &p, a, working, own + omp_get_thread_num() * thread_floats(d, &v), b);
    }
}

void dbi_winograd_weights(const dbi_direct *d, int threads, const float *a, const float *db, float *working,
                          float *dweight)
{
    const division v = division_for_weights(d);
    const int64_t blocks = blocks_of(&d->b), together = blocks_together(d), bundles = bundles_of(d),
                  groups = groups_of(d, &v), parts = parts_of(d, &v), block_floats = pairs_of(d) / blocks * PAIR_FLOATS;
    const int workers = (int)smaller(threads, groups * bundles);
    float *own = working + groups * blocks * block_floats;
#pragma omp parallel for schedule(dynamic) num_threads(workers)
    for (int64_t i = 0; i < groups * bundles; i++) {
        const int64_t group = i / bundles, from = i % bundles * together, to = smaller(from + together, blocks);
        float *sums = working + (group * blocks + from) * block_floats;
        memset(sums, 0, (size_t)((to - from) * block_floats) * sizeof *sums);
        for (int64_t k = parts * group / groups; k < parts * (group + 1) / groups; k++) {
            const part p = part_of(d, &v, k);
            weights_part(d, &p, a, db, (int)from, (int)to, own + omp_get_thread_num() * thread_floats(d, &v), sums);
        }
    }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t pair = 0; pair < pairs_of(d); pair++)
        unpack(d, groups, pair, working, dweight);
}
