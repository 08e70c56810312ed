/* Changing a grid's step along its axes. Voxel i of the result covers the scan from i * step to (i + 1) * step, in
 * voxels from the scan's outer edge: the edges of both grids meet at voxel 0, and the centre of voxel i is at (i +
 * 1/2) step - 1/2. Arrays are [X,Y,Z] in C order. */
#ifndef DBI_IMAGE_RESAMPLE_H
#define DBI_IMAGE_RESAMPLE_H

#include <stdint.h>

#include "base/error.h"
#include "image/volume.h"

/* The grid of the given step per axis and size. */
void dbi_grid_step(const dbi_grid *from, const double step[3], const int64_t shape[3], dbi_grid *to);

/* max(1, round(size / step)) for each axis; an error when that is more than 2^31 voxels. */
int dbi_resample_shape(const int64_t from[3], const double step[3], int64_t to[3], dbi_error *error);

/* Linear interpolation. Where the step is above 1 the triangle kernel is as wide as the step, so that nothing finer
 * than the new grid survives (no aliasing); where it is below 1 it is plain linear interpolation. Ramps come through
 * as they are; at the edges the last voxel goes on. A new array, free(); `in` is freed as soon as it is not needed
 * any more, on failure too. */
float *dbi_resample_linear(float *in, const int64_t from[3], const double step[3], const int64_t to[3],
                           dbi_error *error);
/* Nearest neighbour. A new array; `in` is kept. */
uint8_t *dbi_resample_nearest(const uint8_t *in, const int64_t from[3], const double step[3], const int64_t to[3],
                              dbi_error *error);

/* Means of factor^3 voxels; planes that do not fill a block are dropped. Sizes from / factor, at least 1. A new
 * array; `in` is kept. */
float *dbi_downsample_mean(const float *in, const int64_t from[3], int64_t factor, dbi_error *error);
/* The class whose share of the block is at least one half (the lower one of two foreground classes), else 0. */
uint8_t *dbi_downsample_label(const uint8_t *in, const int64_t from[3], int64_t factor, dbi_error *error);

#endif
