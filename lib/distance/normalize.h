/* Normalization of signed distance maps. */
#ifndef DBI_DISTANCE_NORMALIZE_H
#define DBI_DISTANCE_NORMALIZE_H

#include <stdint.h>

#include "base/error.h"

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

#endif
