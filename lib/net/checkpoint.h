/* Checkpoints: weights, where training stands, and what the weights were trained for, as one record (dbisl-format(5)).
 */
#ifndef DBI_NET_CHECKPOINT_H
#define DBI_NET_CHECKPOINT_H

#include "net/weights.real.h"
#include "record/stream.h"

typedef struct dbi_checkpoint {
    dbi_layout layout;
    dbi_weights_f32 weights; /* weights.layout is the one above; momentum is NULL in a teacher */
    int64_t step;            /* steps done, which is the number of the next one */
    dbi_record *meta;        /* the metadata, no tensors; owned. What is not written below is kept as it was */
} dbi_checkpoint;

/* Fresh weights, step 0. Free with dbi_checkpoint_free. */
dbi_checkpoint *dbi_checkpoint_new(const dbi_arch *arch, bool momentum, uint64_t seed, dbi_error *error);

/* From a record, which stays the caller's: a checkpoint of ours, or a public state_dict (then step 0). Momentum is read
 * where it is there. Refuses records of another kind, other architectures, distance heads of another sign, missing
 * tensors, wrong shapes, weights that are not finite. */
dbi_checkpoint *dbi_checkpoint_from_record(const dbi_record *record, dbi_error *error);
/* The same of a record that should have this normalization: refused where it shows another one. What a public one's
 * tensors cannot tell is then known. NULL: any. */
dbi_checkpoint *dbi_checkpoint_from_record_of(const dbi_record *record, const dbi_normalization *norm,
                                              dbi_error *error);
/* Reads the one record of a file; errors name the file. */
dbi_checkpoint *dbi_checkpoint_load(const char *path, dbi_error *error);
/* Adds a zeroed momentum where there is none: before training. */
int dbi_checkpoint_need_momentum(dbi_checkpoint *checkpoint, dbi_error *error);

/* Makes a start of it: step 0, no momentum. flip_sdf: the distance head is negative inside and is turned, by its last
 * weights' sign; refused for a checkpoint that says that it is positive inside. What the weights were trained for
 * (preprocessing, regression) stays. */
int dbi_checkpoint_restart(dbi_checkpoint *checkpoint, bool flip_sdf, dbi_error *error);

/* The record to be written: meta with `kind`, `architecture`, `step` and `sdf_sign` brought up to date, then the
 * tensors. Free with dbi_record_free. */
dbi_record *dbi_checkpoint_to_record(const dbi_checkpoint *checkpoint, dbi_error *error);
int dbi_checkpoint_save(const dbi_checkpoint *checkpoint, const char *path, const dbi_compression *compression,
                        dbi_error *error);
void dbi_checkpoint_free(dbi_checkpoint *checkpoint); /* NULL is allowed */

/* The teacher's update after a step of the student: average of weights and statistics with
 * dbi_average_decay(student->step, ..), and the student's step and metadata, so that both files tell of the same run. A
 * teacher has no momentum. Refuses another architecture. */
int dbi_checkpoint_average(dbi_checkpoint *teacher, const dbi_checkpoint *student, double decay, bool warmup,
                           dbi_error *error);
/* The same without the weights, for those who have averaged them already (dbi_trainer_average). */
int dbi_checkpoint_follow(dbi_checkpoint *teacher, const dbi_checkpoint *student, dbi_error *error);

#endif
