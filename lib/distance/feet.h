/* Which point of a surface is nearest to each voxel, when the points lie on the lines of the grid, between voxels. */
#ifndef DBI_DISTANCE_FEET_H
#define DBI_DISTANCE_FEET_H

#include <stdint.h>

#include "base/error.h"

/* An edge joins voxel i to the next one along axis a; its number is 3 i + a. */
#define DBI_NO_EDGE UINT32_MAX

/* A nearest point for every voxel: its squared distance (INFINITY: none yet) and the edge it lies on. Both [X,Y,Z]. */
typedef struct dbi_feet {
    float *square;
    uint32_t *edge;
} dbi_feet;

/* Whether the edges of such a volume have numbers. */
int dbi_feet_check(const int64_t shape[3], dbi_error *error);
int dbi_feet_alloc(dbi_feet *feet, int64_t count, dbi_error *error);
void dbi_feet_free(dbi_feet *feet);

/* Every voxel takes the nearest of the points of all voxels on its line along `axis`: one dimension of the exact
 * transform. Points farther away than `limit` (0: no limit) are dropped. */
int dbi_feet_pass(dbi_feet *feet, const int64_t shape[3], int axis, double limit, dbi_error *error);

/* The nearer of the two points, voxel by voxel, into `feet`. */
void dbi_feet_merge(dbi_feet *feet, const dbi_feet *other, int64_t count);

#endif
