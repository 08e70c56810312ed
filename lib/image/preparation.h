/* The settings by which scans become cases: how they are written, and read again. */
#ifndef DBI_IMAGE_PREPARATION_H
#define DBI_IMAGE_PREPARATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/intensity.h"

struct json_t;

/* The settings that make the cases of a cohort comparable; the same for all of them, and kept by the checkpoints
 * trained on them. */
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
 * {"crop":"none|label:M","downsample":N,"normalize":"zscore|zscore:foreground|window:LO,HI|none",
 *  "spacing":[X,Y,Z]|null}.
 * Unknown keys are errors. */
int dbi_preparation_parse(const char *json, dbi_preparation *settings, dbi_error *error);
/* The same text for equal settings; free(). */
char *dbi_preparation_format(const dbi_preparation *settings, dbi_error *error);
/* The same as a value of jansson: a new reference. */
struct json_t *dbi_preparation_json(const dbi_preparation *settings, dbi_error *error);

/* "none" or "label:MARGIN". */
int dbi_crop_parse(const char *text, int64_t *crop, dbi_error *error);

#endif
