/* All that was done to a scan's grid to make the case: the metadata "geometry". */
#ifndef DBI_IMAGE_GEOMETRY_H
#define DBI_IMAGE_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/orient.h"
#include "record/record.h"

typedef struct dbi_geometry {
    dbi_orientation orientation;
    bool resampled;
    double ratio[3]; /* new spacing / old spacing, of the canonical axes */
    int64_t resampled_shape[3];
    int64_t downsample; /* 1: none */
    int64_t shape[3];   /* before the crop */
    bool cropped;
    int64_t offset[3], size[3]; /* of the crop; without one 0 and shape */
} dbi_geometry;

/* Stores the steps as JSON, in their order: [{"op":"orient","axes":[..],"flip":[..]},
 * {"op":"resample","ratio":[..],"size":[..]}, {"op":"downsample","factor":N,"size":[..]},
 * {"op":"crop","offset":[..],"size":[..]}]. Steps that were not done are left out, except the first. */
int dbi_geometry_set(dbi_record *record, const dbi_geometry *geometry, dbi_error *error);
/* Reads the steps and checks them: the axes are a permutation, ratios are above 0, sizes follow from the scan's shape,
 * the crop lies inside. */
int dbi_geometry_get(const dbi_record *record, const int64_t scan_shape[3], dbi_geometry *geometry, dbi_error *error);

/* The case's step along a canonical axis, in voxels of the scan. Before the crop, voxel i of the case has its centre at
 * (i + 1/2) step - 1/2. */
double dbi_geometry_step(const dbi_geometry *geometry, int axis);

#endif
