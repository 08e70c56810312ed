/* A batch record, checked against what a training step needs. */
#ifndef DBI_METHOD_BATCH_H
#define DBI_METHOD_BATCH_H

#include "method/step.h"
#include "net/arch.h"
#include "record/record.h"

typedef struct dbi_batch {
    dbi_loss_shape shape;
    int64_t step;
    const char
        *preprocessing; /* JSON text, NULL when the record has none; borrowed from the record, as are the arrays */
    const float *image;
    const uint8_t *label, *truth; /* truth: NULL when the record has none */
    const float *label_sdf;       /* normalized as the method says; points into the record, or to `own` */
    float *own;
} dbi_batch;

/* Reads the record's arrays for a network of this architecture and a method. Distances are taken as they are when they
 * are normalized as the method wants, normalized here when they are raw voxels, and computed from the label's crop for
 * `max`. */
int dbi_batch_open(const dbi_record *record, const dbi_arch *arch, const dbi_method *method, dbi_batch *batch,
                   dbi_error *error);
void dbi_batch_close(dbi_batch *batch);

#endif
