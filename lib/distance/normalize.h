/* Normalization of signed distance maps. */
#ifndef DBI_DISTANCE_NORMALIZE_H
#define DBI_DISTANCE_NORMALIZE_H

#include <math.h>
#include <stdint.h>

#include "base/error.h"
#include "base/host_device.h"

typedef enum dbi_normalize_kind {
    /* As it is, in the unit of the spacing; no foreground: minus the volume's diagonal everywhere, no background:
     * plus. */
    DBI_NORMALIZE_NONE,
    /* Divided by T and clipped to [-1, 1]; no foreground: -1, no background: +1. */
    DBI_NORMALIZE_CLIP,
    /* Each side divided by its own maximum, inner boundary voxels (with a background 6-neighbour inside the volume)
     * 0, an empty side 0: the published DTC code's way. */
    DBI_NORMALIZE_MAX
} dbi_normalize_kind;

typedef struct dbi_normalize {
    dbi_normalize_kind kind;
    double t; /* for clip */
} dbi_normalize;

/* "none", "clip:T" or "max"; and back (text of at least 64 bytes). */
int dbi_normalize_parse(const char *text, dbi_normalize *normalize, dbi_error *error);
void dbi_normalize_format(const dbi_normalize *normalize, char text[64]);

/* The distance beyond which all distances give the same value, 0: there is none. */
static inline double dbi_normalize_limit(const dbi_normalize *normalize)
{
    return normalize->kind == DBI_NORMALIZE_CLIP ? normalize->t : 0;
}

/* The volume's diagonal: no distance in it is longer. */
DBI_HD double dbi_diagonal(const int64_t shape[3], const double spacing[3])
{
    const double x = (double)shape[0] * spacing[0], y = (double)shape[1] * spacing[1],
                 z = (double)shape[2] * spacing[2];
    return sqrt(x * x + y * y + z * z);
}

#endif
