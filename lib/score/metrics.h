/* How well a segmentation agrees with a reference: overlap, volumes, distances between the surfaces. */
#ifndef DBI_SCORE_METRICS_H
#define DBI_SCORE_METRICS_H

#include <stdint.h>

#include "base/error.h"

/* With P the predicted and R the reference voxels of a class. A surface is the voxels of a mask that have a 6-neighbour
 * outside the mask, beyond the volume included. Distances are between voxel centres, from each voxel of one surface to
 * the nearest one of the other.
 *
 * Masks without voxels. Both: agreement, so dice, jaccard, precision, recall, surface_dice 1, the distances 0. One of
 * them: the ratios 0, and the distances the volume's diagonal, which is more than any distance in it can be: a lost
 * object must cost more than a bad one, and leaving it out of a mean would reward losing it. `empty` tells which. */
typedef enum dbi_metric {
    DBI_METRIC_DICE,              /* 2 |P and R| / (|P| + |R|) */
    DBI_METRIC_JACCARD,           /* |P and R| / |P or R| */
    DBI_METRIC_PRECISION,         /* |P and R| / |P| */
    DBI_METRIC_RECALL,            /* |P and R| / |R| */
    DBI_METRIC_VOLUME,            /* |P| times a voxel's volume */
    DBI_METRIC_REFERENCE_VOLUME,  /* |R| times a voxel's volume */
    DBI_METRIC_VOLUME_DIFFERENCE, /* volume - reference_volume */
    DBI_METRIC_HD,                /* the largest of both directions' distances */
    DBI_METRIC_HD95,              /* 95th percentile of both directions' distances together, linear between ranks */
    DBI_METRIC_ASD,               /* mean distance from the predicted to the reference surface */
    DBI_METRIC_ASSD,              /* mean of both directions' means */
    DBI_METRIC_SURFACE_DICE,      /* part of both surfaces' voxels that is within the tolerance of the other surface */
    DBI_METRICS
} dbi_metric;

/* "dice", ... */
extern const char *const dbi_metric_names[DBI_METRICS];

typedef enum dbi_emptiness { DBI_EMPTY_NONE, DBI_EMPTY_PREDICTION, DBI_EMPTY_REFERENCE, DBI_EMPTY_BOTH } dbi_emptiness;

/* "none", "prediction", "reference", "both". */
extern const char *const dbi_emptiness_names[4];

typedef struct dbi_scores {
    double value[DBI_METRICS];
    dbi_emptiness empty;
} dbi_scores;

/* Scores of class `value` of two labels of one shape. spacing: 1,1,1 for scores in voxels. tolerance: in the unit of
 * the spacing. */
int dbi_score(const uint8_t *prediction, const uint8_t *reference, uint8_t value, const int64_t shape[3],
              const double spacing[3], double tolerance, dbi_scores *scores, dbi_error *error);

/* The scores of a class that neither label has. */
dbi_scores dbi_score_of_nothing(void);

#endif
