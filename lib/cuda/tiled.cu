#include "cuda/tiled.h"

#include <cuda_runtime.h>

#include "cuda/common.h"
#include "cuda/mma.h"

/* A tile has 8 voxels along x and z, and HEIGHT (8 or 4) along y. Its border is one voxel wide. */
enum { EDGE = 8, WIDE = EDGE + 2, TAPS = 27, UNITS = EDGE / 2 };

/* ---- Shared memory: rows (a voxel's channels, an output channel's weights) of 16-byte pieces ---- */

/* Where a piece of a row lies. Pieces are permuted within a row, so that the same piece of 8 consecutive rows uses all
 * banks. */
template <int PIECES> static __device__ __forceinline__ int place_of(int row, int piece)
{
    return PIECES == 1 ? row : PIECES == 2 ? row * 2 + (piece ^ (row >> 2 & 1)) : row * 4 + (piece ^ (row >> 1 & 3));
}

/* ---- Tiles ---- */

typedef struct grid {
    int size[3], tiles[3]; /* tiles: their number along each axis */
    int all;               /* number of tiles of the batch */
} grid;

typedef struct tile {
    int sample, at[3];
} tile;

template <int HEIGHT> static __device__ __forceinline__ tile tile_of(const grid *g, int index)
{
    tile t;
    const int z = index % g->tiles[2], yz = index / g->tiles[2], y = yz % g->tiles[1], xyz = yz / g->tiles[1],
              x = xyz % g->tiles[0];
    t.sample = xyz / g->tiles[0];
    t.at[0] = x * EDGE;
    t.at[1] = y * HEIGHT;
    t.at[2] = z * EDGE;
    return t;
}

/* The first tile of a block. Blocks have nearly equal numbers of tiles, and the tiles of a block are neighbours. */
static __device__ __forceinline__ int first_tile(const grid *g, int block)
{
    return (int)((int64_t)g->all * block / gridDim.x);
}

/* Copies a tile of C channels and its border of BORDER voxels, with zeros outside the image, into shared memory. A
 * thread copies one piece at one place along z, for some of the rows. */
template <int C, int HEIGHT, int BORDER, int THREADS>
static __device__ __forceinline__ void fetch_tile(uint32_t to, const dbi_bf16 *from, const grid *g, const tile *t)
{
    enum { PIECES = C / 8, SIDE = EDGE + 2 * BORDER, TALL = HEIGHT + 2 * BORDER, ROWS = SIDE * TALL };
    enum { COLUMNS = SIDE * PIECES, GROUPS = THREADS / COLUMNS };
    const int column = (int)threadIdx.x % COLUMNS, group = (int)threadIdx.x / COLUMNS, vz = column / PIECES,
              piece = column % PIECES;
    const int x0 = t->at[0] - BORDER, y0 = t->at[1] - BORDER, z = t->at[2] + vz - BORDER;
    const bool z_there = (unsigned)z < (unsigned)g->size[2];
    const int at = ((t->sample * g->size[0] + x0) * g->size[1] + y0) * g->size[2] + z;
    if (group >= GROUPS)
        return;
#pragma unroll 4
    for (int row = group; row < ROWS; row += GROUPS) {
        const int vx = row / TALL, vy = row % TALL;
        const bool there =
            z_there && (unsigned)(x0 + vx) < (unsigned)g->size[0] && (unsigned)(y0 + vy) < (unsigned)g->size[1];
        const int voxel = at + (vx * g->size[1] + vy) * g->size[2];
        fetch(to + 16 * (uint32_t)place_of<PIECES>(row * SIDE + vz, piece), there ? from + voxel * C + piece * 8 : from,
              there);
    }
}

/* ---- Forward, and the data gradient: the same with the taps mirrored and the channels' roles exchanged ---- */

typedef struct tiled_arguments {
    grid g;
    const dbi_bf16 *in, *weight; /* weight: [y channels,taps,x channels] in both directions */
    dbi_bf16 *out;
    bool mirrored;
    dbi_conv_moments moments; /* count NULL: none */
    dbi_conv_norm norm;       /* scale NULL: none */
    dbi_conv_heads heads;     /* logits NULL: none */
} tiled_arguments;

/* A warp computes two planes of 8x8 voxels. The rows of its matrix products are 2x8 voxels along x and z; SPLIT warps
 * share the output channels. A warp goes along y with three taps at once, so that each loaded row of the input is used
 * for three rows of the output. */
template <int IN, int OUT, int SPLIT, int HEIGHT, int STAGES> struct shape {
    enum {
        THREADS = 32 * UNITS * SPLIT,
        IN_PIECES = IN / 8,
        K = IN == 8 ? 8 : 16,
        STEPS = IN / K,
        CHANNELS = OUT / SPLIT,                /* for each warp */
        COLUMNS = CHANNELS / 8,                /* number of products side by side */
        OWN = CHANNELS / 4,                    /* channels for each lane */
        WEIGHTS = TAPS * OUT * IN_PIECES * 16, /* bytes */
        ROWS = HEIGHT + 2,                     /* rows of the input that a warp goes along */
        CUBE = WIDE * ROWS * WIDE * IN_PIECES * 16,
        SHARED = WEIGHTS + STAGES * CUBE
    };
};

/* The output channel of a row of the weights in shared memory. The order makes the columns of a lane neighbouring
 * channels. */
template <int CHANNELS> static __device__ __forceinline__ int channel_of(int row)
{
    const int part = row / CHANNELS, column = row % CHANNELS / 8, q = row % 8;
    return part * CHANNELS + q / 2 * (CHANNELS / 4) + 2 * column + q % 2;
}

template <int IN, int OUT, int SPLIT, int HEIGHT, int STAGES>
static __device__ __forceinline__ void take_weights(const tiled_arguments *a, unsigned char *to)
{
    typedef shape<IN, OUT, SPLIT, HEIGHT, STAGES> S;
    for (int i = (int)threadIdx.x; i < TAPS * OUT * IN; i += S::THREADS) {
        const int k = i % IN, row = i / IN % OUT, tap = i / (IN * OUT), channel = channel_of<S::CHANNELS>(row);
        const int from = a->mirrored ? (k * TAPS + (TAPS - 1 - tap)) * OUT + channel : (channel * TAPS + tap) * IN + k;
        ((dbi_bf16 *)(to + 16 * place_of<S::IN_PIECES>(tap * OUT + row, k / 8)))[k % 8] = a->weight[from];
    }
}

/* Loads the weights of the three taps along y for the columns of the products. */
template <int IN, int OUT, int SPLIT, int HEIGHT, int STAGES>
static __device__ __forceinline__ void load_taps(uint32_t *b, uint32_t weights, int round, int part, int lane)
{
    typedef shape<IN, OUT, SPLIT, HEIGHT, STAGES> S;
    const int t = round / S::STEPS, step = round % S::STEPS;
#pragma unroll
    for (int dy = 0; dy < 3; dy++) {
        const int rows = ((t / 3 * 3 + dy) * 3 + t % 3) * OUT + part * S::CHANNELS;
        if (S::K == 16 && S::COLUMNS % 2 == 0) {
#pragma unroll
            for (int c = 0; c < S::COLUMNS; c += 2)
                load_matrices<4>(b + (dy * S::COLUMNS + c) * 2,
                                 weights +
                                     16 * (uint32_t)place_of<S::IN_PIECES>(rows + c * 8 + (lane & 7) + (lane >> 4) * 8,
                                                                           step * 2 + (lane >> 3 & 1)));
        } else if (S::K == 16) {
            load_matrices<2>(b + dy * 2, weights + 16 * (uint32_t)place_of<S::IN_PIECES>(rows + (lane & 7),
                                                                                         step * 2 + (lane >> 3 & 1)));
        } else {
            load_matrices<S::COLUMNS>(b + dy * S::COLUMNS,
                                      weights + 16 * (uint32_t)(rows + (lane & (8 * S::COLUMNS - 1))));
        }
    }
}

/* Loads the factors of the next products before it computes the current ones. The hardware does loads and products in
 * the order in which they are written here. */
template <int IN, int OUT, int SPLIT, int HEIGHT, int STAGES>
static __device__ __forceinline__ void convolve(uint32_t cube, uint32_t weights, int unit, int part, int lane,
                                                float sum[HEIGHT][shape<IN, OUT, SPLIT, HEIGHT, STAGES>::COLUMNS][4])
{
    typedef shape<IN, OUT, SPLIT, HEIGHT, STAGES> S;
    enum { A = S::K == 16 ? 4 : 2, B = S::K == 16 ? 2 : 1 }; /* registers of the two factors of a product */
    enum { ROUNDS = 9 * S::STEPS, AHEAD = S::STEPS == 1 };   /* AHEAD: found by measuring */
    const int row = (lane & 7) + (lane & 8), a_piece = S::K == 16 ? lane >> 4 : 0,
              corner = (2 * unit + (row >> 3)) * S::ROWS * WIDE + (row & 7);
    uint32_t next[3 * S::COLUMNS * B];
#pragma unroll
    for (int y = 0; y < HEIGHT; y++)
#pragma unroll
        for (int c = 0; c < S::COLUMNS; c++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                sum[y][c][i] = 0;
    if (AHEAD)
        load_taps<IN, OUT, SPLIT, HEIGHT, STAGES>(next, weights, 0, part, lane);
#pragma unroll 1
    for (int round = 0; round < ROUNDS; round++) {
        const int t = round / S::STEPS, piece = round % S::STEPS * 2 + a_piece,
                  voxel = corner + t / 3 * (S::ROWS * WIDE) + t % 3;
        uint32_t b[3 * S::COLUMNS * B], x[2][A];
        load_matrices<A>(x[0], cube + 16 * (uint32_t)place_of<S::IN_PIECES>(voxel, piece));
        if (!AHEAD)
            load_taps<IN, OUT, SPLIT, HEIGHT, STAGES>(b, weights, round, part, lane);
#pragma unroll
        for (int i = 0; AHEAD && i < 3 * S::COLUMNS * B; i++)
            b[i] = next[i];
#pragma unroll
        for (int y = 0; y < S::ROWS; y++) {
            if (y + 1 < S::ROWS)
                load_matrices<A>(x[(y + 1) % 2],
                                 cube + 16 * (uint32_t)place_of<S::IN_PIECES>(voxel + (y + 1) * WIDE, piece));
            if (AHEAD && y == S::ROWS - 2)
                load_taps<IN, OUT, SPLIT, HEIGHT, STAGES>(next, weights, round + 1 < ROUNDS ? round + 1 : round, part,
                                                          lane);
#pragma unroll
            for (int dy = 0; dy < 3; dy++)
                if (y - dy >= 0 && y - dy < HEIGHT) {
#pragma unroll
                    for (int c = 0; c < S::COLUMNS; c++)
                        multiply<S::K>(sum[y - dy][c], x[y % 2], b + (dy * S::COLUMNS + c) * B);
                }
        }
    }
}

/* What is done with the sums: PLAIN stores them; MOMENTS stores them and adds up their moments; NORMALIZED normalizes
 * them; HEADS computes the network's outputs. */
enum { PLAIN, MOMENTS, NORMALIZED, HEADS, KINDS };

/* Computes the outputs of a voxel from the four lanes that have its channels. All four lanes must call it. */
template <int OWN>
static __device__ __forceinline__ void store_outputs(const dbi_conv_heads *h, const float value[OWN], int channel,
                                                     int64_t at, int64_t voxels, int lane)
{
    for (int k = 0; k < h->classes; k++) {
        float sdf = 0, seg = 0;
#pragma unroll
        for (int i = 0; i < OWN; i++)
            if (channel + i < h->channels) {
                sdf += h->sdf_weight[k * h->channels + channel + i] * value[i];
                seg += h->seg_weight[k * h->channels + channel + i] * value[i];
            }
#pragma unroll
        for (int distance = 1; distance < 4; distance *= 2) {
            sdf += __shfl_xor_sync(~0u, sdf, distance);
            seg += __shfl_xor_sync(~0u, seg, distance);
        }
        if ((lane & 3) == 0 && at >= 0) {
            h->logits[k * voxels + at] = seg + h->seg_bias[k];
            h->sdf[k * voxels + at] = tanhf(sdf + h->sdf_bias[k]);
        }
    }
}

template <int IN, int OUT, int SPLIT, int HEIGHT, int STAGES, int KIND>
static __global__ void __launch_bounds__(shape<IN, OUT, SPLIT, HEIGHT, STAGES>::THREADS)
    tiled_kernel(const tiled_arguments __grid_constant__ a)
{
    typedef shape<IN, OUT, SPLIT, HEIGHT, STAGES> S;
    DBI_DYNAMIC_SHARED(memory);
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, unit = warp % UNITS, part = warp / UNITS;
    const int channel = part * S::CHANNELS + (lane & 3) * S::OWN, first = first_tile(&a.g, (int)blockIdx.x),
              last = first_tile(&a.g, (int)blockIdx.x + 1);
    const uint32_t weights = shared_address(memory), cubes = weights + S::WEIGHTS;
    lane_moments<S::OWN> moments;
    lane_norm<S::OWN> norm;
    moments_start(&moments);
    if (KIND == NORMALIZED || KIND == HEADS)
        norm_load(&norm, &a.norm, channel);
    tile t = tile_of<HEIGHT>(&a.g, first);
    fetch_tile<IN, HEIGHT, 1, S::THREADS>(cubes, a.in, &a.g, &t);
    fetch_end();
    take_weights<IN, OUT, SPLIT, HEIGHT, STAGES>(&a, memory);
    for (int index = first; index < last; index++) {
        const uint32_t stage = STAGES == 2 ? (uint32_t)((index - first) & 1) : 0;
        tile next = t;
        if (STAGES == 2 && index + 1 < last) {
            next = tile_of<HEIGHT>(&a.g, index + 1);
            fetch_tile<IN, HEIGHT, 1, S::THREADS>(cubes + (1 - stage) * S::CUBE, a.in, &a.g, &next);
            fetch_end();
            fetch_wait<1>();
        } else {
            fetch_wait<0>();
        }
        __syncthreads();
        float sum[HEIGHT][S::COLUMNS][4];
        convolve<IN, OUT, SPLIT, HEIGHT, STAGES>(cubes + stage * S::CUBE, weights, unit, part, lane, sum);
        __syncthreads();
        if (STAGES == 1 && index + 1 < last) {
            next = tile_of<HEIGHT>(&a.g, index + 1);
            fetch_tile<IN, HEIGHT, 1, S::THREADS>(cubes, a.in, &a.g, &next);
            fetch_end();
        }
        const int z = t.at[2] + (lane >> 2);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int x = t.at[0] + 2 * unit + half;
            const bool there = x < a.g.size[0] && z < a.g.size[2];
            if (!there && KIND != HEADS)
                continue;
#pragma unroll
            for (int y = 0; y < HEIGHT; y++) {
                if (t.at[1] + y >= a.g.size[1])
                    break;
                const int64_t voxel =
                    (((int64_t)t.sample * a.g.size[0] + x) * a.g.size[1] + t.at[1] + y) * a.g.size[2] + z;
                float value[S::OWN];
                uint32_t word[S::OWN / 2];
#pragma unroll
                for (int c = 0; c < S::COLUMNS; c++)
#pragma unroll
                    for (int i = 0; i < 2; i++)
                        value[2 * c + i] = sum[y][c][2 * half + i];
                if (KIND == NORMALIZED || KIND == HEADS)
                    norm_apply(&norm,
                               KIND == NORMALIZED && a.norm.skip ? (const dbi_bf16 *)a.norm.skip + voxel * OUT + channel
                                                                 : NULL,
                               value);
                if constexpr (KIND == HEADS) {
                    const int64_t voxels = (int64_t)a.g.size[0] * a.g.size[1] * a.g.size[2],
                                  at = voxel - t.sample * voxels;
                    dbi_conv_heads heads = a.heads;
                    heads.logits += t.sample * heads.classes * voxels;
                    heads.sdf += t.sample * heads.classes * voxels;
                    store_outputs<S::OWN>(&heads, value, channel, there ? at : -1, voxels, lane);
                } else {
#pragma unroll
                    for (int i = 0; i < S::OWN / 2; i++)
                        word[i] = pack_two(value[2 * i], value[2 * i + 1]);
                    if (KIND == MOMENTS)
                        moments_take(&moments, word);
                    store_words<S::OWN / 2>(a.out + voxel * OUT + channel, word);
                }
            }
        }
        t = next;
    }
    if (KIND != MOMENTS)
        return;
    seen *const all = (seen *)memory; /* [UNITS,OUT] */
    __syncthreads();
    moments_join<S::OWN, 4>(&moments, channel, all + unit * OUT);
    __syncthreads();
    moments_put(&a.moments, all, UNITS, OUT);
}

/* ---- The weights' gradient: a warp for each place of the taps along x and z, with the three along y ---- */

typedef struct weight_arguments {
    grid g;
    const dbi_bf16 *x, *y;
    float *partial; /* [blocks,y channels,taps,x channels] */
} weight_arguments;

template <int X, int Y, int STAGES> struct weight_shape {
    enum {
        THREADS = 32 * 9,
        ROWS = (Y + 15) / 16,
        COLUMNS = X / 8,
        X_CUBE = WIDE * WIDE * WIDE * X * 2,
        Y_CUBE = EDGE * EDGE * EDGE * Y * 2,
        STAGE = X_CUBE + Y_CUBE,
        SHARED = STAGES * STAGE,
        BLOCKS = X == 32 ? 1 : 3 /* least number on a multiprocessor at once; it limits the registers */
    };
};

template <int X, int Y, int STAGES>
static __device__ __forceinline__ void fetch_both(uint32_t to, const weight_arguments *a, const tile *t)
{
    typedef weight_shape<X, Y, STAGES> S;
    fetch_tile<X, EDGE, 1, S::THREADS>(to, a->x, &a->g, t);
    fetch_tile<Y, EDGE, 0, S::THREADS>(to + S::X_CUBE, a->y, &a->g, t);
    fetch_end();
}

/* Loads the factors of the products from row y of two planes. */
template <int X>
static __device__ __forceinline__ void load_x(uint32_t x[X / 8][2], uint32_t cube, int plane, int y, int dz, int piece,
                                              int lane)
{
    const int from = (plane * WIDE + y) * WIDE + (lane & 7) + dz;
    if (X == 8)
        load_transposed<2>(x[0], cube + 16 * (uint32_t)from);
#pragma unroll
    for (int c = 0; c + 1 < X / 8; c += 2)
        load_transposed<4>(x[c], cube + 16 * (uint32_t)place_of<X / 8>(from, c + piece));
}

template <int Y>
static __device__ __forceinline__ void load_y(uint32_t factor[(Y + 15) / 16][4], uint32_t cube, int unit, int plane,
                                              int y, int piece, int lane)
{
    if (Y == 8) {
        uint32_t two[2];
        load_transposed<2>(two, cube + 16 * (uint32_t)(((2 * unit + (lane >> 3 & 1)) * EDGE + y) * EDGE + (lane & 7)));
        factor[0][0] = two[0];
        factor[0][1] = 0;
        factor[0][2] = two[1];
        factor[0][3] = 0;
    } else {
#pragma unroll
        for (int r = 0; r < (Y + 15) / 16; r++)
            load_transposed<4>(factor[r], cube + 16 * (uint32_t)place_of<Y / 8>((plane * EDGE + y) * EDGE + (lane & 7),
                                                                                2 * r + piece));
    }
}

template <int X, int Y, int STAGES>
static __global__ void __launch_bounds__(weight_shape<X, Y, STAGES>::THREADS, weight_shape<X, Y, STAGES>::BLOCKS)
    tiled_weight_kernel(const weight_arguments __grid_constant__ a)
{
    typedef weight_shape<X, Y, STAGES> S;
    DBI_DYNAMIC_SHARED(memory);
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, dx = warp / 3, dz = warp % 3;
    const int first = first_tile(&a.g, (int)blockIdx.x), last = first_tile(&a.g, (int)blockIdx.x + 1);
    const uint32_t stages = shared_address(memory);
    float sum[3][S::ROWS][S::COLUMNS][4];
#pragma unroll
    for (int dy = 0; dy < 3; dy++)
#pragma unroll
        for (int r = 0; r < S::ROWS; r++)
#pragma unroll
            for (int c = 0; c < S::COLUMNS; c++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    sum[dy][r][c][i] = 0;
    tile t = tile_of<EDGE>(&a.g, first);
    fetch_both<X, Y, STAGES>(stages, &a, &t);
    for (int index = first; index < last; index++) {
        const uint32_t stage = STAGES == 2 ? (uint32_t)((index - first) & 1) : 0, x_cube = stages + stage * S::STAGE,
                       y_cube = x_cube + S::X_CUBE;
        if (STAGES == 2 && index + 1 < last) {
            t = tile_of<EDGE>(&a.g, index + 1);
            fetch_both<X, Y, STAGES>(stages + (1 - stage) * S::STAGE, &a, &t);
            fetch_wait<1>();
        } else {
            fetch_wait<0>();
        }
        __syncthreads();
#pragma unroll 1
        for (int unit = 0; unit < UNITS; unit++) {
            /* Rows of the loaded matrices are 2x8 voxels. The first and the second half are two matrices apart for y,
             * and one for x. */
            const int y_plane = 2 * unit + (lane >> 4), y_piece = lane >> 3 & 1,
                      x_plane = 2 * unit + dx + (lane >> 3 & 1), x_piece = lane >> 4;
            uint32_t factor[4][S::ROWS][4], x[2][S::COLUMNS][2];
            load_x<X>(x[0], x_cube, x_plane, 0, dz, x_piece, lane);
            load_y<Y>(factor[0], y_cube, unit, y_plane, 0, y_piece, lane);
#pragma unroll
            for (int y = 0; y < WIDE; y++) {
                if (y + 1 < WIDE)
                    load_x<X>(x[(y + 1) % 2], x_cube, x_plane, y + 1, dz, x_piece, lane);
                if (y + 1 < EDGE)
                    load_y<Y>(factor[(y + 1) % 4], y_cube, unit, y_plane, y + 1, y_piece, lane);
#pragma unroll
                for (int dy = 0; dy < 3; dy++)
                    if (y - dy >= 0 && y - dy < EDGE) {
#pragma unroll
                        for (int r = 0; r < S::ROWS; r++)
#pragma unroll
                            for (int c = 0; c < S::COLUMNS; c++)
                                multiply<16>(sum[dy][r][c], factor[(y - dy) % 4][r], x[y % 2][c]);
                    }
            }
        }
        __syncthreads();
        if (STAGES == 1 && index + 1 < last) {
            t = tile_of<EDGE>(&a.g, index + 1);
            fetch_both<X, Y, STAGES>(stages, &a, &t);
        }
    }
    float *const to = a.partial + (int64_t)blockIdx.x * Y * TAPS * X;
#pragma unroll
    for (int dy = 0; dy < 3; dy++)
#pragma unroll
        for (int r = 0; r < S::ROWS; r++)
#pragma unroll
            for (int c = 0; c < S::COLUMNS; c++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int o = r * 16 + half * 8 + (lane >> 2), i = c * 8 + (lane & 3) * 2,
                              tap = (dx * 3 + dy) * 3 + dz;
                    if (o < Y)
                        *(float2 *)(to + ((int64_t)o * TAPS + tap) * X + i) =
                            make_float2(sum[dy][r][c][2 * half], sum[dy][r][c][2 * half + 1]);
                }
}

/* Adds the sums of the blocks. A block does this for 32 weights, with 8 threads for each. */
enum { ADDED = 32, ADDERS = 8 };

typedef struct add_arguments {
    const float *partial;
    dbi_bf16 *weight;
    int blocks, count;
} add_arguments;

static __global__ void __launch_bounds__(ADDED *ADDERS) add_partial_kernel(const add_arguments __grid_constant__ a)
{
    __shared__ float part[ADDERS][ADDED];
    const int at = (int)threadIdx.x % ADDED, adder = (int)threadIdx.x / ADDED, i = (int)blockIdx.x * ADDED + at;
    float sum = 0;
#pragma unroll 8
    for (int b = adder; b < a.blocks; b += ADDERS)
        sum += i < a.count ? a.partial[(int64_t)b * a.count + i] : 0;
    part[adder][at] = sum;
    __syncthreads();
    if (adder || i >= a.count)
        return;
    for (int k = 1; k < ADDERS; k++)
        sum += part[k][at];
    a.weight[i] = dbi_bf16_from_float(sum);
}

/* ---- Which kernels there are ---- */

typedef struct dbi_tiled_variant {
    int in, out; /* channels of the forward kernel's input and output, or of x and y for the weights' gradient */
    bool weight;
    int height, threads;
    size_t shared;
    const void *kernel[KINDS]; /* by kind; the weights' gradient has only the first */
} dbi_tiled_variant;

/* Heads need a warp that has all channels of its voxels. */
template <int IN, int OUT, int SPLIT, int HEIGHT, int STAGES> static const void *heads_kernel(void)
{
    if constexpr (SPLIT == 1)
        return (const void *)tiled_kernel<IN, OUT, SPLIT, HEIGHT, STAGES, HEADS>;
    else
        return NULL;
}

#define CONVOLUTION(IN, OUT, SPLIT, HEIGHT, STAGES)                                                                    \
    {                                                                                                                  \
        IN, OUT, false, HEIGHT, shape<IN, OUT, SPLIT, HEIGHT, STAGES>::THREADS,                                        \
            shape<IN, OUT, SPLIT, HEIGHT, STAGES>::SHARED,                                                             \
        {                                                                                                              \
            (const void *)tiled_kernel<IN, OUT, SPLIT, HEIGHT, STAGES, PLAIN>,                                         \
                (const void *)tiled_kernel<IN, OUT, SPLIT, HEIGHT, STAGES, MOMENTS>,                                   \
                (const void *)tiled_kernel<IN, OUT, SPLIT, HEIGHT, STAGES, NORMALIZED>,                                \
                heads_kernel<IN, OUT, SPLIT, HEIGHT, STAGES>()                                                         \
        }                                                                                                              \
    }
#define GRADIENT(X, Y, STAGES)                                                                                         \
    {                                                                                                                  \
        X, Y, true, EDGE, weight_shape<X, Y, STAGES>::THREADS, weight_shape<X, Y, STAGES>::SHARED,                     \
        {                                                                                                              \
            (const void *)tiled_weight_kernel<X, Y, STAGES>, NULL, NULL                                                \
        }                                                                                                              \
    }

/* The first variant that fits the device's shared memory is used. */
static const dbi_tiled_variant variants[] = {
    CONVOLUTION(8, 8, 1, 8, 1),   CONVOLUTION(8, 16, 1, 8, 1), CONVOLUTION(16, 8, 1, 8, 1),
    CONVOLUTION(16, 16, 1, 8, 1), CONVOLUTION(8, 32, 2, 8, 1), CONVOLUTION(32, 32, 2, 8, 2),
    CONVOLUTION(32, 32, 2, 8, 1), GRADIENT(8, 8, 1),           GRADIENT(8, 16, 1),
    GRADIENT(16, 16, 1),          GRADIENT(8, 32, 1),          GRADIENT(32, 32, 2),
    GRADIENT(32, 32, 1),
};

static grid grid_of(const dbi_conv_sides *s, int height)
{
    grid g;
    g.all = (int)s->batch;
    for (int d = 0; d < 3; d++) {
        const int extent = d == 1 ? height : EDGE;
        g.size[d] = (int)s->x_size[d];
        g.tiles[d] = (g.size[d] + extent - 1) / extent;
        g.all *= g.tiles[d];
    }
    return g;
}

/* The kernels count values with int. */
static bool within_int(const dbi_conv_sides *s)
{
    const int64_t size[] = {s->x_channels > s->y_channels ? s->x_channels : s->y_channels, s->batch, s->x_size[0],
                            s->x_size[1], s->x_size[2]};
    int64_t all = 1;
    for (int i = 0; i < 5; i++) {
        if (size[i] < 1 || all > INT32_MAX / 2 / size[i])
            return false;
        all *= size[i];
    }
    return true;
}

bool dbi_tiled_make(dbi_tiled_plan *plan, dbi_conv_pass pass, const dbi_conv_sides *s)
{
    const bool weight = pass == DBI_CONV_TO_WEIGHT, back = pass == DBI_CONV_TO_X;
    const int in = back ? s->y_channels : s->x_channels, out = back ? s->x_channels : s->y_channels;
    int device = 0, processors = 0, most = 0, occupancy = 0;
    if (s->edge != 3 || s->stride != 1 || s->padding != 1 || memcmp(s->x_size, s->y_size, sizeof s->x_size) ||
        !within_int(s))
        return false;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess) {
        cudaGetLastError();
        return false;
    }
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        const dbi_tiled_variant *v = &variants[i];
        if (v->weight != weight || v->in != in || v->out != out || v->shared > (size_t)most)
            continue;
        bool good = true;
        for (int k = 0; k < KINDS && good; k++)
            good = !v->kernel[k] || cudaFuncSetAttribute(v->kernel[k], cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                         (int)v->shared) == cudaSuccess;
        if (!good || (occupancy = dbi_least_occupancy(v->kernel, KINDS, v->threads, v->shared)) < 1) {
            cudaGetLastError();
            continue;
        }
        const int64_t tiles = grid_of(s, v->height).all, most_blocks = (int64_t)processors * occupancy;
        plan->variant = v;
        plan->pass = pass;
        plan->sides = *s;
        plan->blocks = most_blocks < tiles ? most_blocks : tiles;
        plan->workspace = weight ? (size_t)plan->blocks * TAPS * (size_t)(in * out) * sizeof(float) : 0;
        return true;
    }
    return false;
}

static int launch(const dbi_tiled_plan *plan, const void *kernel, const void *arguments, dbi_stream stream,
                  dbi_error *error)
{
    void *list[] = {(void *)arguments};
    return DBI_CUDA(cudaLaunchKernel(kernel, dim3((unsigned)plan->blocks), dim3((unsigned)plan->variant->threads), list,
                                     plan->variant->shared, stream),
                    error);
}

static int to_weight(const dbi_tiled_plan *plan, dbi_stream stream, const void *x, void *weight, const void *y,
                     void *workspace, dbi_error *error)
{
    weight_arguments a;
    add_arguments add;
    memset(&a, 0, sizeof a);
    memset(&add, 0, sizeof add);
    a.g = grid_of(&plan->sides, plan->variant->height);
    a.x = (const dbi_bf16 *)x;
    a.y = (const dbi_bf16 *)y;
    a.partial = (float *)workspace;
    if (launch(plan, plan->variant->kernel[0], &a, stream, error))
        return -1;
    add.partial = a.partial;
    add.weight = (dbi_bf16 *)weight;
    add.blocks = (int)plan->blocks;
    add.count = TAPS * plan->sides.x_channels * plan->sides.y_channels;
    void *list[] = {&add};
    return DBI_CUDA(cudaLaunchKernel((const void *)add_partial_kernel,
                                     dim3((unsigned)((add.count + ADDED - 1) / ADDED)), dim3(ADDED * ADDERS), list, 0,
                                     stream),
                    error);
}

int dbi_tiled(const dbi_tiled_plan *plan, dbi_stream stream, void *x, void *weight, void *y,
              const dbi_conv_extra *extra, void *workspace, dbi_error *error)
{
    const bool back = plan->pass == DBI_CONV_TO_X;
    tiled_arguments a;
    if (plan->pass == DBI_CONV_TO_WEIGHT)
        return to_weight(plan, stream, x, weight, y, workspace, error);
    memset(&a, 0, sizeof a);
    a.g = grid_of(&plan->sides, plan->variant->height);
    a.in = (const dbi_bf16 *)(back ? y : x);
    a.out = (dbi_bf16 *)(back ? x : y);
    a.weight = (const dbi_bf16 *)weight;
    a.mirrored = back;
    int kind = PLAIN;
    if (extra) {
        a.moments = extra->moments;
        a.norm = extra->norm;
        a.heads = extra->heads;
        kind = a.heads.logits ? HEADS : a.norm.scale ? NORMALIZED : a.moments.count ? MOMENTS : PLAIN;
    }
    return plan->variant->kernel[kind]
               ? launch(plan, plan->variant->kernel[kind], &a, stream, error)
               : dbi_fail(error, "no heads for convolutions of %d channels", plan->variant->out);
}

bool dbi_tiled_has_heads(const dbi_tiled_plan *plan)
{
    return plan->variant->kernel[HEADS];
}

size_t dbi_tiled_shared(const dbi_tiled_plan *plan)
{
    return plan->variant->shared;
}
