/* Preparing a case: from scans to the record that all other tools work on. */
#ifndef DBI_IMAGE_CASE_H
#define DBI_IMAGE_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/preparation.h"
#include "record/record.h"

/* Where a case comes from. Paths are files, "-", or ARCHIVE:MEMBER, of any format that formats.h has. */
typedef struct dbi_case_input {
    const char *const *scans; /* one per channel, all in one grid */
    size_t channels;
    const char *label;            /* NULL: the first scan's own, if it has one and ignore_label is false */
    bool ignore_label;            /* as if there were no label; `label` is NULL then */
    const double *source_spacing; /* three, mm, of scans whose files have none (1,1,1 without); NULL otherwise */
    const char *id;               /* NULL: from the scan's name, see case_id.h */
    int64_t classes;              /* K; 0: the label's largest value. A label without foreground is an error then */
} dbi_case_input;

/* The case: tensors `image` f32 [C,X,Y,Z] and `label` u8 [X,Y,Z], metadata kind, id, classes, affine, spacing,
 * source, geometry, preprocessing, normalization and a history of one entry. Geometry is done in the order orient,
 * resample, downsample, crop; intensities are normalized after the geometry but before the crop, so that they do not
 * depend on the label. NULL on failure; errors name the file. settings->crop needs a label: to prepare a scan
 * without one by settings that have a crop, set crop to -1 first (and tell the user). */
dbi_record *dbi_case_from_scan(const dbi_case_input *input, const dbi_preparation *settings, dbi_error *error);

#endif
