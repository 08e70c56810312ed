/* Transforms from segmentation to distance, compared on maps that look like a network's outputs. */
#ifndef DBI_MAPS_COMPARISON_H
#define DBI_MAPS_COMPARISON_H

#include <stdbool.h>
#include <stdint.h>

#include "distance/transform.real.h"
#include "record/record.h"
#include "record/sink.h"

enum { DBI_COMPARED_MOST = 16 };

typedef struct dbi_comparison_settings {
    bool
        from_prob; /* maps are the records' `prob`, and their labels prob > 1/2; otherwise maps are made from `label` */
    int64_t patch[3]; /* voxels, round the foreground's middle; 0: all of that axis */
    double blurs[DBI_COMPARED_MOST], backgrounds[DBI_COMPARED_MOST];
    dbi_transform transforms[DBI_COMPARED_MOST];
    int blur_count, background_count, transform_count; /* each from 1 to DBI_COMPARED_MOST */
    bool time;                                         /* a column with seconds of processor time */
} dbi_comparison_settings;

typedef struct dbi_comparison dbi_comparison;

/* The settings are copied. */
dbi_comparison *dbi_comparison_open(const dbi_comparison_settings *settings, dbi_error *error);
void dbi_comparison_close(dbi_comparison *comparison);

/* Adds the maps of a record, one for each class and each pair of settings: the patch p of 0 and 1 (or of probabilities)
 * is blurred by a Gaussian and lifted to e + (1 - 2e) p. Each transform of it, unnormalized, is compared with the
 * signed exact distance of the patch's unblurred label, and given the gradient of the sum of squared differences. A
 * class without both sides in its patch is left out. *added: classes that were not. */
int dbi_comparison_add(dbi_comparison *comparison, const dbi_record *record, int *added, dbi_error *error);

/* A header, then a row for each blur, background, transform and band; see closeness.h. */
int dbi_comparison_write(const dbi_comparison *comparison, dbi_sink *sink, dbi_error *error);

#endif
