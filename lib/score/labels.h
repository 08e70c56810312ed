/* Labels to be scored, from records or scans. */
#ifndef DBI_SCORE_LABELS_H
#define DBI_SCORE_LABELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/volume.h"

typedef struct dbi_label {
    char *id;      /* metadata `id`, or the scan's name */
    bool named;    /* a record said so: predictions and references of different cases can be told apart */
    dbi_grid grid; /* shape, and the affine if placed */
    bool placed;
    int64_t classes; /* metadata `classes`, 0: not said */
    uint8_t *voxels; /* [X,Y,Z] */
    int most;        /* the largest value */
} dbi_label;

/* A file of labels: a stream of cases or predictions with tensor `label`, or one scan (NIfTI, HDF5), which is brought
 * into canonical orientation, as cases are. */
typedef struct dbi_label_reader dbi_label_reader;
dbi_label_reader *dbi_label_open(const char *path, dbi_error *error);
/* 1 and a label that the caller frees, 0 at the end, -1 on error; errors name file and record. */
int dbi_label_next(dbi_label_reader *reader, dbi_label *label, dbi_error *error);
void dbi_label_close(dbi_label_reader *reader);
/* A zeroed label is allowed. */
void dbi_label_free(dbi_label *label);

/* Fails unless the two can be compared: names, shapes, places, classes. */
int dbi_label_check(const dbi_label *prediction, const dbi_label *reference, dbi_error *error);

#endif
