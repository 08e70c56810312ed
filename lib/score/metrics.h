/* Compares a segmentation with a reference: overlap, volumes, distances between the surfaces. */
#ifndef DBI_SCORE_METRICS_H
#define DBI_SCORE_METRICS_H

#include <stdint.h>

#include "base/error.h"

/* P are the predicted and R the reference voxels of a class. A surface is the voxels of a mask that have a 6-neighbour
 * outside the mask; voxels beyond the volume are outside. Distances are between voxel centres, from each voxel of one
 * surface to the nearest voxel of the other.
 *
 * Masks without voxels: when both are empty they agree, so dice, jaccard, precision, recall and surface_dice are 1 and
 * the distances are 0. When one is empty the ratios are 0 and the distances are the volume's diagonal, which no
 * distance in it can exceed: to lose an object must cost more than to find it badly, and leaving such a case out of a
 * mean would reward the loss. `empty` says which mask is empty. */
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
    DBI_METRIC_SURFACE_DICE,      /* fraction of both surfaces' voxels within the tolerance of the other surface */
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

/* Scores class `value` of two labels of one shape [X,Y,Z]. spacing: 1,1,1 for scores in voxels. tolerance: of
 * surface_dice, in the unit of the spacing. */
int dbi_score(const uint8_t *prediction, const uint8_t *reference, uint8_t value, const int64_t shape[3],
              const double spacing[3], double tolerance, dbi_scores *scores, dbi_error *error);

/* The scores of a class that neither label has. */
dbi_scores dbi_score_of_nothing(void);

#endif
