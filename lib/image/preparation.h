/* The settings by which scans become cases, and their text. */
#ifndef DBI_IMAGE_PREPARATION_H
#define DBI_IMAGE_PREPARATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/intensity.h"

struct json_t;

/* Cases of a cohort are made with the same settings, so that they can be compared. Checkpoints keep the settings of the
 * cases they were trained on. */
typedef struct dbi_preparation {
    bool resample;
    double spacing[3];  /* in mm, along the canonical (RAS+) axes; used if resample */
    int64_t downsample; /* this many voxels along each axis become one; 1: none */
    dbi_intensity intensity;
    int64_t crop; /* margin in voxels round the label's foreground; -1: no crop */
} dbi_preparation;

/* The canonical orientation and zscore, nothing else. */
void dbi_preparation_default(dbi_preparation *settings);

/* The metadata "preprocessing" of cases and checkpoints: compact JSON with sorted keys,
 * {"crop":"none|label:M","downsample":N,"normalize":"zscore|zscore:foreground|window:LO,HI|none",
 *  "spacing":[X,Y,Z]|null}.
 * Unknown keys are errors. */
int dbi_preparation_parse(const char *json, dbi_preparation *settings, dbi_error *error);
/* The text of the settings; equal settings give equal text. free(); NULL with an error. */
char *dbi_preparation_format(const dbi_preparation *settings, dbi_error *error);
/* The same as a value of jansson: a new reference; NULL with an error. */
struct json_t *dbi_preparation_json(const dbi_preparation *settings, dbi_error *error);

/* Reads "none" or "label:MARGIN"; an error says what to choose. */
int dbi_crop_parse(const char *text, int64_t *crop, dbi_error *error);

#endif
