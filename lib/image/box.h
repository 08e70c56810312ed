/* Boxes of voxels, and the box of a scan in which there is something to see. */
#ifndef DBI_IMAGE_BOX_H
#define DBI_IMAGE_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Voxels from[a] to to[a] - 1 of each axis. */
typedef struct dbi_box {
    int64_t from[3], to[3];
} dbi_box;

/* The box of image [C,X,Y,Z] (finite voxels) without the empty planes at its ends, such as the air around a patient.
 * With `low` and `high` the percentiles 0.5 and 99.5 of a channel, a voxel is empty when it lies below low + (high -
 * low) / 10 in every channel; a plane is empty when at most 1 % of its voxels are not. The whole scan when all planes
 * are empty. */
int dbi_box_of_content(const float *image, int64_t channels, const int64_t shape[3], dbi_box *box, dbi_error *error);

/* Makes the box at least as large as `least`, about its middle, as far as the scan of this shape has room. */
void dbi_box_widen(dbi_box *box, const int64_t shape[3], const int64_t least[3]);

/* Does the box hold all voxels of this shape? */
bool dbi_box_is_whole(const dbi_box *box, const int64_t shape[3]);
void dbi_box_size(const dbi_box *box, int64_t size[3]);

/* Copies the box out of `count` volumes of this shape, or back into them. width: bytes of a voxel. */
void dbi_box_cut(const dbi_box *box, int64_t count, const int64_t shape[3], size_t width, const void *volumes,
                 void *part);
void dbi_box_paste(const dbi_box *box, int64_t count, const int64_t shape[3], size_t width, const void *part,
                   void *volumes);

#endif
