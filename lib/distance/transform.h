/* Probability -> signed distance, forward and backward: T_s2r. One interface for all the transforms. */
#ifndef DBI_DISTANCE_TRANSFORM_H
#define DBI_DISTANCE_TRANSFORM_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "distance/edt.h"

typedef enum dbi_transform_kind {
    DBI_TRANSFORM_EXACT,   /* exact distance of p > 1/2; no gradient */
    DBI_TRANSFORM_CONV,    /* the paper's soft distance, S = D[1-p] - D[p], D[q](x) = -h log sum_y q(y) exp(-|x-y|/h) */
    DBI_TRANSFORM_LEVELSET /* distance to the 1/2 level set, feet between voxels, gradient by implicit differentiation */
} dbi_transform_kind;

typedef struct dbi_transform {
    dbi_transform_kind kind;
    double h;   /* conv: temperature in voxels */
    int radius; /* conv: window in voxels, 0: the whole volume */
} dbi_transform;

/* "exact", "levelset", "conv:H,RADIUS" or "conv:H,all"; and back. */
int dbi_transform_parse(const char *text, dbi_transform *transform, dbi_error *error);
void dbi_transform_format(const dbi_transform *transform, char text[64]);

#define DBI_REAL_HEADER "distance/transform.real.h"
#include "base/each_real.h"

#endif
