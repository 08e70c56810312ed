/* Intensity normalization. */
#ifndef DBI_IMAGE_INTENSITY_H
#define DBI_IMAGE_INTENSITY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef enum dbi_intensity_kind {
    DBI_INTENSITY_ZSCORE,     /* (voxel - mean) / standard deviation, both of all voxels */
    DBI_INTENSITY_FOREGROUND, /* the same, both of the voxels brighter than the mean of all */
    DBI_INTENSITY_WINDOW,     /* clipped to [low, high], then brought to [0, 1] */
    DBI_INTENSITY_NONE
} dbi_intensity_kind;

typedef struct dbi_intensity {
    dbi_intensity_kind kind;
    double low, high; /* of the window */
} dbi_intensity;

/* What a normalization did: voxel -> (clip(voxel) - shift) / scale. */
typedef struct dbi_intensity_result {
    double shift, scale;
} dbi_intensity_result;

/* Reads "zscore", "zscore:foreground", "window:LO,HI" or "none"; and writes it (text of at least 80 bytes). */
int dbi_intensity_parse(const char *text, dbi_intensity *intensity, dbi_error *error);
void dbi_intensity_format(const dbi_intensity *intensity, char text[80]);

/* Normalizes in place. Sums are in double precision and in an order that does not depend on the number of threads. It
 * is an error when the image is constant or has voxels that are not finite, before or after. */
int dbi_intensity_apply(const dbi_intensity *intensity, float *voxels, size_t count, dbi_intensity_result *result,
                        dbi_error *error);

#endif
