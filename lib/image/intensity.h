/* Intensity normalization. */
#ifndef DBI_IMAGE_INTENSITY_H
#define DBI_IMAGE_INTENSITY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef enum dbi_intensity_kind {
    DBI_INTENSITY_ZSCORE,     /* minus the mean, divided by the standard deviation, of all voxels */
    DBI_INTENSITY_FOREGROUND, /* of the voxels brighter than the mean of all */
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

/* "zscore", "zscore:foreground", "window:LO,HI" or "none"; and back (text of at least 80 bytes). */
int dbi_intensity_parse(const char *text, dbi_intensity *intensity, dbi_error *error);
void dbi_intensity_format(const dbi_intensity *intensity, char text[80]);

/* In place. Sums in double, in a fixed order whatever the number of threads. A constant image, before or after the
 * clipping, is an error, and so are voxels that are not finite, before or after. */
int dbi_intensity_apply(const dbi_intensity *intensity, float *voxels, size_t count, dbi_intensity_result *result,
                        dbi_error *error);

#endif
