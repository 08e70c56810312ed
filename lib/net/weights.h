/* Weights: fresh, from and to checkpoints, optimizer and average. */
#ifndef DBI_NET_WEIGHTS_H
#define DBI_NET_WEIGHTS_H

#include "net/arch.h"
#include "record/record.h"

typedef struct dbi_sgd {
    double rate, momentum, weight_decay;
} dbi_sgd;

/* The architecture of a checkpoint: from its metadata "architecture" ({"name":"dual-vnet","channels":C,"classes":K,"filters":F}), or from the
 * tensors' shapes where that is missing (a public state_dict). */
int dbi_arch_from_record(const dbi_record *record, dbi_arch *arch, dbi_error *error);

#define DBI_REAL_HEADER "net/weights_io.real.h"
#include "base/each_real.h"

#endif
