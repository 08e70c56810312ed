/* Weights: fresh, from and to checkpoints, optimizer and average. */
#ifndef DBI_NET_WEIGHTS_H
#define DBI_NET_WEIGHTS_H

#include "net/arch.h"
#include "record/record.h"

typedef struct dbi_sgd {
    double rate, momentum, weight_decay;
} dbi_sgd;

/* The architecture of a checkpoint: from its metadata "architecture"
 * ({"name":"dual-vnet","channels":C,"classes":K,"filters":F,"decoders":D,"norm":TEXT}, without decoders: 1, without a
 * norm: batch), or from the tensors where that is missing (a public state_dict). told: the normalization that it should have, refused where it has
 * another one; NULL: any that the record shows. */
int dbi_arch_from_record(const dbi_record *record, const dbi_normalization *told, dbi_arch *arch, dbi_error *error);

/* Share of the old value in the teacher's average after the student has done `step` steps (1 after the first): min(1 -
 * 1/(step + 1), decay) with warm-up, so that the first averages are not dominated by the fresh weights; `decay`
 * without. */
double dbi_average_decay(int64_t step, double decay, bool warmup);

#endif
