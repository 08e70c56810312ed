/* How activations lie in device memory, and how kernels divide them among threads. Functions of host and device, tested
 * without one.
 *
 * An activation is [batch, X, Y, Z, channels], channels fastest, their number rounded up to whole groups of 8: 16 bytes
 * of bfloat16, what one thread loads at once and what tensor cores want. Channels past the layer's are zeros and stay
 * zeros: their weights, means, scales and shifts are. */
#ifndef DBI_CUDA_GEOMETRY_H
#define DBI_CUDA_GEOMETRY_H

#include "cuda/cuda.h"

enum {
    DBI_GROUP = 8,           /* channels of one thread */
    DBI_BLOCK = 256,         /* threads */
    DBI_BLOCK_LOG = 8,       /* its logarithm: halvings from a block to one thread */
    DBI_FINISH = 512,        /* threads of the kernels that add partial sums */
    DBI_ROUNDS = 4,          /* voxels that a thread loads at once: it waits for memory once for all of them */
    DBI_MOST_PARTIALS = 528, /* partial sums of a channel, at most: four blocks for each multiprocessor of a large
                                device, all at work at once */
    DBI_MOST_LANES = 32      /* groups of channels side by side in a block */
};

DBI_HD int dbi_padded(int channels)
{
    return (channels + DBI_GROUP - 1) / DBI_GROUP * DBI_GROUP;
}

/* Divisions of 64 bits are slow on the device, and rarely needed. a >= 0, b > 0. */
DBI_HD int64_t dbi_divide(int64_t a, int64_t b)
{
    return ((uint64_t)a | (uint64_t)b) >> 32 ? a / b : (int64_t)((uint32_t)a / (uint32_t)b);
}

/* A block works on runs of voxels for one tile of `lanes` groups; its thread t works for group t % lanes of the tile on
 * voxels t / lanes, t / lanes + rows, ... of a run, DBI_ROUNDS of them: for one group always, so that what a channel
 * has is loaded once. Where voxels are added, a block adds one chunk: runs j, j + chunks, ... of them, so that all
 * blocks together go through memory from begin to end. */
typedef struct dbi_tiling {
    int64_t voxels; /* of the whole batch */
    int64_t runs;   /* of rows DBI_ROUNDS voxels, the last one of what is left */
    int64_t chunks;
    int groups; /* of channels */
    int lanes;  /* a power of 2 */
    int tiles;
    int rows; /* DBI_BLOCK / lanes */
} dbi_tiling;

DBI_HD dbi_tiling dbi_tiling_make(int64_t voxels, int channels)
{
    dbi_tiling t;
    t.voxels = voxels;
    t.groups = dbi_padded(channels) / DBI_GROUP;
    t.lanes = 1;
    while (2 * t.lanes <= t.groups && t.lanes < DBI_MOST_LANES)
        t.lanes *= 2;
    t.tiles = (t.groups + t.lanes - 1) / t.lanes;
    t.rows = DBI_BLOCK / t.lanes;
    const int64_t run = (int64_t)t.rows * DBI_ROUNDS;
    t.runs = (voxels + run - 1) / run;
    const int64_t each = (t.runs + DBI_MOST_PARTIALS - 1) / DBI_MOST_PARTIALS;
    t.chunks = (t.runs + each - 1) / each;
    return t;
}

/* Of a kernel whose blocks add a chunk each, and of one whose blocks work on a run each. */
DBI_HD int64_t dbi_tiling_blocks(const dbi_tiling *t)
{
    return t->chunks * t->tiles;
}

DBI_HD int64_t dbi_tiling_run_blocks(const dbi_tiling *t)
{
    return t->runs * t->tiles;
}

/* Voxels of chunk j. */
DBI_HD int64_t dbi_tiling_count(const dbi_tiling *t, int64_t j)
{
    const int64_t run = (int64_t)t->rows * DBI_ROUNDS, each = dbi_divide(t->runs, t->chunks),
                  rest = t->runs - each * t->chunks;
    const bool last = j == (rest ? rest : t->chunks) - 1;
    return (each + (j < rest ? 1 : 0)) * run - (last ? t->runs * run - t->voxels : 0);
}

/* What thread `thread` of block `block` works on: group (valid where < groups), and of chunk (or run) `chunk`, which
 * begins at voxel `begin`, from voxel `first` on: dbi_tiling_rounds() voxels, `rows` apart; then, of a chunk, the same
 * from first + step on, and so on, as long as there are voxels. */
typedef struct dbi_place {
    int group;
    int64_t chunk, begin, first, step;
} dbi_place;

DBI_HD dbi_place dbi_tiling_place(const dbi_tiling *t, int64_t block, int thread)
{
    dbi_place p;
    p.chunk = dbi_divide(block, t->tiles);
    p.group = (int)(block - p.chunk * t->tiles) * t->lanes + thread % t->lanes;
    p.begin = p.chunk * t->rows * DBI_ROUNDS;
    p.first = p.begin + thread / t->lanes;
    p.step = t->chunks * t->rows * DBI_ROUNDS;
    return p;
}

/* How many of voxels v, v + rows, ... of a run there are; v itself is. */
DBI_HD int dbi_tiling_rounds(const dbi_tiling *t, int64_t v)
{
    int rounds = 1;
    for (int k = 1; k < DBI_ROUNDS; k++)
        rounds += v + (int64_t)k * t->rows < t->voxels ? 1 : 0;
    return rounds;
}

#endif
