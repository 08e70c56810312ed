/* How activations lie in device memory, and how kernels divide them among threads. Functions of host and device, tested without one.
 *
 * An activation is [batch, X, Y, Z, channels], channels fastest, their number rounded up to whole groups of 8: 16 bytes of bfloat16, what one thread loads
 * at once and what tensor cores want. Channels past the layer's are zeros and stay zeros: their weights, means, scales and shifts are. */
#ifndef DBI_CUDA_GEOMETRY_H
#define DBI_CUDA_GEOMETRY_H

#include "cuda/cuda.h"

enum {
    DBI_GROUP = 8,            /* channels of one thread */
    DBI_BLOCK = 256,          /* threads */
    DBI_BLOCK_LOG = 8,        /* its logarithm: halvings from a block to one thread */
    DBI_FINISH = 128,         /* threads of the kernels that add partial sums */
    DBI_FINISH_LOG = 7,       /* */
    DBI_LEAST_ROUNDS = 16,    /* voxels that a thread adds before threads are added, at least */
    DBI_MOST_PARTIALS = 2048, /* partial sums of a channel, at most */
    DBI_MOST_LANES = 32       /* groups of channels side by side in a block */
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

/* A sum over voxels for each channel: a block adds one chunk of voxels for one tile of `lanes` groups; its thread t works for group t % lanes of the tile on
 * voxels t / lanes, t / lanes + rows, ... of the chunk. */
typedef struct dbi_tiling {
    int64_t voxels; /* of the whole batch */
    int64_t chunk;  /* voxels */
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
    t.chunk = (int64_t)t.rows * DBI_LEAST_ROUNDS;
    if (t.chunk * DBI_MOST_PARTIALS < voxels)
        t.chunk = (voxels + DBI_MOST_PARTIALS - 1) / DBI_MOST_PARTIALS;
    t.chunks = (voxels + t.chunk - 1) / t.chunk;
    return t;
}

DBI_HD int64_t dbi_tiling_blocks(const dbi_tiling *t)
{
    return t->chunks * t->tiles;
}

/* What thread `thread` of block `block` adds: group (valid where < groups), and voxels first, first + rows, ... < end. */
typedef struct dbi_place {
    int group;
    int64_t chunk, first, begin, end; /* begin: of the chunk */
} dbi_place;

DBI_HD dbi_place dbi_tiling_place(const dbi_tiling *t, int64_t block, int thread)
{
    dbi_place p;
    p.chunk = dbi_divide(block, t->tiles);
    p.group = (int)(block - p.chunk * t->tiles) * t->lanes + thread % t->lanes;
    p.begin = p.chunk * t->chunk;
    p.end = p.begin + t->chunk < t->voxels ? p.begin + t->chunk : t->voxels;
    p.first = p.begin + thread / t->lanes;
    return p;
}

#endif
