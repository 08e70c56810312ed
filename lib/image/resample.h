/* Changing a grid's step along its axes. Voxel i of the result covers the scan from i * step to (i + 1) * step, in
 * voxels from the scan's outer edge: the edges of both grids meet at voxel 0, and the centre of voxel i is at (i +
 * 1/2) step - 1/2. Arrays are [X,Y,Z] in C order. */
#ifndef DBI_IMAGE_RESAMPLE_H
#define DBI_IMAGE_RESAMPLE_H

#include <stdint.h>

#include "base/error.h"
#include "image/volume.h"

/* The grid with these steps, in voxels of `from`, and this size. */
void dbi_grid_step(const dbi_grid *from, const double step[3], const int64_t shape[3], dbi_grid *to);

/* to[a] = max(1, round(from[a] / step[a])); more than 2^31 voxels are an error. */
int dbi_resample_shape(const int64_t from[3], const double step[3], int64_t to[3], dbi_error *error);

/* Linear interpolation. Where the step is above 1, the triangle kernel is as wide as the step, so that nothing finer
 * than the new grid survives (no aliasing); below 1 it is plain linear interpolation. Ramps stay ramps; beyond an edge
 * the last voxel is repeated. Returns a new array, free(), or NULL with an error. `in` is freed as soon as it is no
 * longer needed, on failure too. */
float *dbi_resample_linear(float *in, const int64_t from[3], const double step[3], const int64_t to[3],
                           dbi_error *error);
/* Nearest neighbour. Returns a new array, free(), or NULL with an error; `in` is kept. */
uint8_t *dbi_resample_nearest(const uint8_t *in, const int64_t from[3], const double step[3], const int64_t to[3],
                              dbi_error *error);

/* Means of blocks of factor^3 voxels. Planes that do not fill a block are dropped. The sizes are from / factor, at
 * least 1. Returns a new array, free(), or NULL with an error; `in` is kept. */
float *dbi_downsample_mean(const float *in, const int64_t from[3], int64_t factor, dbi_error *error);
/* The same blocks for a label: the class that fills at least half of the block (the lower of two foreground classes),
 * else 0. */
uint8_t *dbi_downsample_label(const uint8_t *in, const int64_t from[3], int64_t factor, dbi_error *error);

#endif
