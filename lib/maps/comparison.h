/* Compares transforms from segmentation to distance, on maps that look like a network's outputs. */
#ifndef DBI_MAPS_COMPARISON_H
#define DBI_MAPS_COMPARISON_H

#include <stdbool.h>
#include <stdint.h>

#include "distance/transform.real.h"
#include "record/record.h"
#include "record/sink.h"

enum { DBI_COMPARED_MOST = 16 };

typedef struct dbi_comparison_settings {
    bool from_prob;   /* use the records' `prob` as maps and prob > 1/2 as labels; otherwise make maps of `label` */
    int64_t patch[3]; /* in voxels, round the foreground's middle; 0: the whole axis */
    double blurs[DBI_COMPARED_MOST], backgrounds[DBI_COMPARED_MOST];
    dbi_transform transforms[DBI_COMPARED_MOST];
    int blur_count, background_count, transform_count; /* each from 1 to DBI_COMPARED_MOST */
    bool time;                                         /* write a column with seconds of processor time */
} dbi_comparison_settings;

typedef struct dbi_comparison dbi_comparison;

/* Copies the settings. NULL with an error. */
dbi_comparison *dbi_comparison_open(const dbi_comparison_settings *settings, dbi_error *error);
void dbi_comparison_close(dbi_comparison *comparison);

/* Adds the maps of a record, one for each class and pair of settings. The patch p of 0 and 1 (or of probabilities) is
 * blurred by a Gaussian and becomes e + (1 - 2e) p. Each transform of it, without normalization, is compared with the
 * exact signed distance of the patch's label before the blur, and gets the gradient of the sum of squared differences.
 * A class whose patch has no foreground or no background is skipped. *added: how many classes were not skipped. */
int dbi_comparison_add(dbi_comparison *comparison, const dbi_record *record, int *added, dbi_error *error);

/* Writes a header, then a row for each blur, background, transform and band; see closeness.h. */
int dbi_comparison_write(const dbi_comparison *comparison, dbi_sink *sink, dbi_error *error);

#endif
