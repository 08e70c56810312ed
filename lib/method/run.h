/* What a training run writes besides weights: its entry in the checkpoint's history, and its log. */
#ifndef DBI_METHOD_RUN_H
#define DBI_METHOD_RUN_H

#include "method/step.h"
#include "record/record.h"
#include "record/sink.h"

/* The canonical history of training: one entry per run, {"tool", "version", "settings", "seed", "first", "last",
 * "batches"}, with the first and last step done and a rolling hash of the batches. A run with equal settings and
 * seed that continues at the next step uses the same entry, so that one process and many processes write the same
 * history. */
typedef struct dbi_run dbi_run;

/* Reads the checkpoint's history and finds or begins the entry. step: the next step. The run takes the reference to
 * settings, on failure too. NULL with an error. */
dbi_run *dbi_run_open(const dbi_record *checkpoint, struct json_t *settings, uint64_t seed, int64_t step,
                      dbi_error *error);
void dbi_run_close(dbi_run *run);
/* Adds a batch to the entry; call it once for each step, in order. It removes `truth` from the batch first, because a
 * checkpoint must not depend on whether somebody looked at it. */
int dbi_run_add(dbi_run *run, dbi_record *batch, dbi_error *error);
/* Writes the history into a checkpoint's metadata. */
int dbi_run_store(const dbi_run *run, dbi_record *checkpoint, dbi_error *error);

/* Write the log, tab-separated: a header, then for each step a row with every term before weighting. Terms between two
 * decoders have columns where the network has two. */
int dbi_log_header(dbi_sink *sink, int decoders, dbi_error *error);
int dbi_log_row(dbi_sink *sink, int decoders, int64_t step, const dbi_step_log *log, dbi_error *error);

#endif
