/* Turns a scan's axes towards right, front and up. */
#ifndef DBI_IMAGE_ORIENT_H
#define DBI_IMAGE_ORIENT_H

#include <stdbool.h>

#include "image/volume.h"

/* How the axes are turned: axis a of the result is axis axis[a] of the scan, in reverse when flip[a]. */
typedef struct dbi_orientation {
    int axis[3];
    bool flip[3];
} dbi_orientation;

/* Finds the turn towards RAS+: of all permutations, the one whose axes are nearest to right, front and up. */
void dbi_orientation_find(const dbi_grid *grid, dbi_orientation *orientation);
/* The grid after the turn: its voxels stay where they are in space. */
void dbi_orientation_grid(const dbi_orientation *orientation, const dbi_grid *from, dbi_grid *to);

#endif
