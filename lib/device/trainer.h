/* Training on a device, one step after another: teacher's pass, student's pass, loss, gradient, SGD, and where it is
 * asked for the average that makes the teacher. */
#ifndef DBI_DEVICE_TRAINER_H
#define DBI_DEVICE_TRAINER_H

#include "device/device.h"

typedef struct dbi_trainer dbi_trainer;

/* Takes all memory. A device with memory of its own keeps the weights there from the first step on, see
 * dbi_trainer_fetch. */
dbi_trainer *dbi_trainer_open(const dbi_device *device, const dbi_training *training, dbi_error *error);
void dbi_trainer_close(dbi_trainer *trainer); /* NULL is allowed */

/* From now on every step ends with the teacher's average, of decay dbi_average_decay(step + 1, decay, warmup). */
void dbi_trainer_average(dbi_trainer *trainer, double decay, bool warmup);

/* Step number `step` (from 0) on these samples; the student has momentum. teacher: NULL for methods without; read, and
 * written by the average. A loss that is not finite is an error, and the student is then as it was but for its running
 * statistics. */
int dbi_trainer_step(dbi_trainer *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                     const dbi_samples_f32 *samples, int64_t step, dbi_step_log *log, dbi_error *error);

/* The parts of a step, for callers that get the next batch ready while a device computes: submit() gives a step to the
 * device, finish() waits for the oldest one that was submitted and says what its loss was (where that is not finite, so
 * it is with the steps submitted after it). At most two may be under way. What `samples` points to is free again when
 * submit() returns. */
int dbi_trainer_submit(dbi_trainer *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                       const dbi_samples_f32 *samples, int64_t step, dbi_error *error);
int dbi_trainer_finish(dbi_trainer *trainer, dbi_step_log *log, dbi_error *error);
/* Brings student and teacher up to date, after every step that was submitted; before that they may be on the device
 * alone. They must be those of every step. */
int dbi_trainer_fetch(dbi_trainer *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher, dbi_error *error);

/* The gradient of the last step, [layout->parameters]. */
int dbi_trainer_gradient(dbi_trainer *trainer, float *gradient, dbi_error *error);

#endif
