/* Exact Euclidean distances (Felzenszwalb & Huttenlocher, "Distance Transforms of Sampled Functions", 2012; linear time, one axis after another). */
#ifndef DBI_DISTANCE_EDT_H
#define DBI_DISTANCE_EDT_H

#include <stdint.h>

#include "base/error.h"

/* out[x] = distance from voxel x to the centre of the nearest voxel whose mask is nonzero (0 on those), spacing in any unit, shape [X,Y,Z] in C
 * order. Without any such voxel every distance is INFINITY. */
int dbi_edt(const uint8_t *mask, const int64_t shape[3], const double spacing[3], float *out, dbi_error *error);

typedef enum dbi_normalize_kind {
    DBI_NORMALIZE_NONE, /* as it is, in the unit of the spacing; no foreground: -INFINITY is replaced by -(the volume's diagonal), no background + */
    DBI_NORMALIZE_CLIP, /* divided by T and clipped to [-1, 1]; no foreground -1, no background +1 */
    DBI_NORMALIZE_MAX   /* each side divided by its own maximum, inner boundary voxels (a background 6-neighbour inside the volume) 0, an empty side
                           0: the published DTC code's way */
} dbi_normalize_kind;

typedef struct dbi_normalize {
    dbi_normalize_kind kind;
    double t; /* for clip */
} dbi_normalize;

/* "none", "clip:T" or "max"; and back (text of at least 64 bytes). */
int dbi_normalize_parse(const char *text, dbi_normalize *normalize, dbi_error *error);
void dbi_normalize_format(const dbi_normalize *normalize, char text[64]);

/* Signed distance of class `value` of a label: distance to the nearest background voxel's centre inside (positive), minus the distance to the
 * nearest foreground voxel's centre outside, then normalized. */
int dbi_signed_distance(const uint8_t *label, uint8_t value, const int64_t shape[3], const double spacing[3], const dbi_normalize *normalize,
                        float *out, dbi_error *error);

#endif
