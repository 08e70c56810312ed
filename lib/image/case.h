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
    bool ignore_label;            /* no label is read; `label` is NULL then */
    const double *source_spacing; /* three, in mm, for files that have no spacing; NULL: 1,1,1 for these */
    const char *id;               /* NULL: made from the scan's name, see case_id.h */
    int64_t classes; /* the number of classes; 0: the label's largest value, and an empty label is an error */
} dbi_case_input;

/* Makes the case, which the caller frees: tensors `image` f32 [C,X,Y,Z] and `label` u8 [X,Y,Z], metadata kind, id,
 * classes, affine, spacing, source, geometry, preprocessing, normalization and a history of one entry. The geometry is
 * done in the order orient, resample, downsample, crop. Intensities are normalized after the geometry but before the
 * crop, so that they do not depend on the label. NULL with an error that names the file. settings->crop needs a label:
 * to prepare a scan without one by settings that have a crop, set crop to -1 first (and tell the user). */
dbi_record *dbi_case_from_scan(const dbi_case_input *input, const dbi_preparation *settings, dbi_error *error);

#endif
