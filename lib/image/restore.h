/* Brings a case, or a prediction for it, back into the scan's own grid: undoes crop, downsampling, resampling and
 * orientation. */
#ifndef DBI_IMAGE_RESTORE_H
#define DBI_IMAGE_RESTORE_H

#include <stdbool.h>

#include "base/error.h"
#include "image/volume.h"
#include "record/record.h"

typedef struct dbi_restore_options {
    const char *from; /* tensor: "label" (nearest neighbour), "prob", "sdf" or "uncertainty" (linear) */
    /* For prob and sdf: after resampling, each voxel gets the class of the largest value above the threshold, or 0. */
    bool to_label;
    double threshold; /* usual: 0.5 for prob, 0 for sdf */
    bool largest;     /* labels: keep each class's largest component (image/components.h) */
} dbi_restore_options;

/* The record needs the tensor and the metadata `source` and `geometry`. *volume: u8 with one channel for labels, f32
 * with one or K channels otherwise; free it with dbi_volume_free. Beyond a crop label, prob and uncertainty are 0, and
 * sdf is the smallest value of its class. */
int dbi_restore(const dbi_record *record, const dbi_restore_options *options, dbi_volume *volume, dbi_error *error);

/* dbi_restore, then dbi_scan_write. */
int dbi_restore_to_file(const dbi_record *record, const dbi_restore_options *options, const char *path,
                        dbi_error *error);

#endif
