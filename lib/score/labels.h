/* Labels to be scored, from records or scans. */
#ifndef DBI_SCORE_LABELS_H
#define DBI_SCORE_LABELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/volume.h"

typedef struct dbi_label {
    char *id;      /* the metadata `id`, or the scan's name */
    bool named;    /* the id is from a record, so that it can tell cases apart */
    dbi_grid grid; /* shape, and the affine if placed */
    bool placed;
    int64_t classes; /* the metadata `classes`; 0: not known */
    uint8_t *voxels; /* [X,Y,Z] */
    int most;        /* the largest value */
} dbi_label;

/* A file of labels: a stream of cases or predictions with the tensor `label`, or one scan of any format, which is
 * turned to the canonical orientation as cases are. The path must outlive the reader. NULL with an error. */
typedef struct dbi_label_reader dbi_label_reader;
dbi_label_reader *dbi_label_open(const char *path, dbi_error *error);
/* Returns 1 and a label that the caller frees, 0 at the end, -1 on error. Errors name file and record. */
int dbi_label_next(dbi_label_reader *reader, dbi_label *label, dbi_error *error);
void dbi_label_close(dbi_label_reader *reader);
/* A zeroed label is allowed. */
void dbi_label_free(dbi_label *label);

/* Fails unless names, shapes, places and classes of the two fit together. */
int dbi_label_check(const dbi_label *prediction, const dbi_label *reference, dbi_error *error);

#endif
