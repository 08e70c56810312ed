/* Probability -> signed distance, forward and backward: T_s2r. One interface for all the transforms. */
#ifndef DBI_DISTANCE_TRANSFORM_H
#define DBI_DISTANCE_TRANSFORM_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "distance/normalize.h"

typedef enum dbi_transform_kind {
    DBI_TRANSFORM_EXACT, /* exact distance of p > 1/2; no gradient */
    /* The paper's soft distance, S = D[1-p] - D[p], D[q](x) = -h log sum_y q(y) exp(-|x-y|/h). Clamped to +-radius
     * (the volume's diagonal without a radius), without gradient there. Its gradient is h / q where a tiny
     * probability q is all that is in reach: finite, but as large as that. */
    DBI_TRANSFORM_CONV,
    /* Distance to the 1/2 level set, feet between voxels, plus the way on to a voxel's centre
     * (distance/levelset.real.h); gradient by implicit differentiation, at most 3 / DBI_LEVELSET_FLOOR for each
     * voxel. No 1/2 in the volume: as a label of one side, without gradient. */
    DBI_TRANSFORM_LEVELSET
} dbi_transform_kind;

typedef struct dbi_transform {
    dbi_transform_kind kind;
    double h;   /* conv: temperature in voxels */
    int radius; /* conv: window in voxels, 0: the whole volume */
} dbi_transform;

/* "exact", "levelset", "conv:H,RADIUS" or "conv:H,all"; and back. */
int dbi_transform_parse(const char *text, dbi_transform *transform, dbi_error *error);
void dbi_transform_format(const dbi_transform *transform, char text[64]);

#endif
