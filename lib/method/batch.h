/* A batch record, checked against what a training step needs. */
#ifndef DBI_METHOD_BATCH_H
#define DBI_METHOD_BATCH_H

#include "method/step.h"
#include "net/arch.h"
#include "record/record.h"

typedef struct dbi_batch {
    dbi_loss_shape shape;
    int64_t step;
    const char *preprocessing; /* JSON text or NULL; this and the arrays belong to the record */
    const float *image;
    const uint8_t *label, *truth; /* truth: NULL when the record has none */
    const float *label_sdf;       /* normalized as the method says; points into the record, or to `own` */
    float *own;
} dbi_batch;

/* Takes the record's arrays for a network of this architecture and a method; the record must outlive the batch.
 * Distances that are normalized as the method wants are used as they are. Distances in voxels are normalized here. For
 * `max` they are computed from the label's crop. Fails when the record does not fit; nothing is left to close then. */
int dbi_batch_open(const dbi_record *record, const dbi_arch *arch, const dbi_method *method, dbi_batch *batch,
                   dbi_error *error);
/* Frees what the batch owns; the record is kept. */
void dbi_batch_close(dbi_batch *batch);

#endif
