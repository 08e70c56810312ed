/* Preparing a case: from scans to the record that all other tools work on. */
#ifndef DBI_IMAGE_CASE_H
#define DBI_IMAGE_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/intensity.h"
#include "record/record.h"

/* The settings that make the cases of a cohort comparable; the same for all of them, and kept by the checkpoints trained on them. */
typedef struct dbi_preparation {
    bool resample;
    double spacing[3];  /* mm, of the canonical (RAS+) axes; where resample */
    int64_t downsample; /* mean of so many voxels along each axis; 1: none */
    dbi_intensity intensity;
    int64_t crop; /* margin in voxels round the label's foreground; -1: no crop */
} dbi_preparation;

/* Nothing but the canonical orientation and zscore. */
void dbi_preparation_default(dbi_preparation *settings);
/* The metadata "preprocessing" of cases and checkpoints: compact JSON with sorted keys,
 * {"crop":"none|label:M","downsample":N,"normalize":"zscore|zscore:foreground|window:LO,HI|none","spacing":[X,Y,Z]|null}. Unknown keys are errors. */
int dbi_preparation_parse(const char *json, dbi_preparation *settings, dbi_error *error);
/* The same text for equal settings; free(). */
char *dbi_preparation_format(const dbi_preparation *settings, dbi_error *error);
/* "none" or "label:MARGIN". */
int dbi_crop_parse(const char *text, int64_t *crop, dbi_error *error);

/* Where a case comes from. Paths are files, "-", or ARCHIVE:MEMBER; formats are told by content: NIfTI-1 and -2 (.nii, .nii.gz, .hdr with .img), HDF5
 * with `image` and, if there, `label`. */
typedef struct dbi_case_input {
    const char *const *scans; /* one per channel, all in one grid */
    size_t channels;
    const char *label;            /* NULL: the HDF5's own, if there is one and ignore_label is false */
    bool ignore_label;            /* as if there were no label; `label` is NULL then */
    const double *source_spacing; /* three, mm: of HDF5 scans (which have none; 1,1,1 without); NULL otherwise */
    const char *id;               /* NULL: from the scan's name, see dbi_case_id */
    int64_t classes;              /* K; 0: the label's largest value. A label without foreground is an error then */
} dbi_case_input;

/* The case: tensors `image` f32 [C,X,Y,Z] and `label` u8 [X,Y,Z], metadata kind, id, classes, affine, spacing, source, geometry, preprocessing,
 * normalization and a history of one entry. Geometry is done in the order orient, resample, downsample, crop; intensities are normalized after the
 * geometry but before the crop, so that they do not depend on the label. NULL on failure; errors name the file. settings->crop needs a label: to prepare
 * a scan without one by settings that have a crop, set crop to -1 first (and tell the user). */
dbi_record *dbi_case_from_scan(const dbi_case_input *input, const dbi_preparation *settings, dbi_error *error);

/* A scan's name without folders, archive and the extensions .gz, .nii, .hdr, .img, .h5, .hdf5; for files all called mri_norm2 (the public left-atrium
 * HDF5 files) the name of the folder they are in. free(). */
char *dbi_case_id(const char *path, dbi_error *error);

/* Is this a scan's file rather than a stream of records? By its first bytes where they tell (NIfTI, HDF5), else, as for compressed scans and members of archives,
 * by the name's end: .nii, .nii.gz, .hdr, .hdr.gz, .img, .img.gz, .h5, .hdf5. */
bool dbi_is_scan(const char *path);

#endif
