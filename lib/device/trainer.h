/* Training on a device, one step after another: the teacher's pass, the student's pass, loss, gradient, SGD, and on
 * request the average that makes the teacher. */
#ifndef DBI_DEVICE_TRAINER_H
#define DBI_DEVICE_TRAINER_H

#include "device/device.h"

typedef struct dbi_trainer dbi_trainer;

/* Takes all memory that training needs. A device with memory of its own keeps the weights there from the first step on;
 * see dbi_trainer_fetch. NULL with an error. */
dbi_trainer *dbi_trainer_open(const dbi_device *device, const dbi_training *training, dbi_error *error);
void dbi_trainer_close(dbi_trainer *trainer); /* NULL is allowed */

/* From now on every step ends with the teacher's average, with decay dbi_average_decay(step + 1, decay, warmup). */
void dbi_trainer_average(dbi_trainer *trainer, double decay, bool warmup);

/* Does step number `step` (from 0) on these samples. The student has momentum. teacher: NULL for methods without one;
 * it is read, and the average writes it. A loss that is not finite is an error; then only the running statistics of the
 * student have changed. */
int dbi_trainer_step(dbi_trainer *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                     const dbi_samples_f32 *samples, int64_t step, dbi_step_log *log, dbi_error *error);

/* The parts of a step, for callers that prepare the next batch while a device computes. submit() gives a step to the
 * device. finish() waits for the oldest submitted step and returns its loss; when that is not finite, it fails, and so
 * do the steps submitted after it. At most two steps may be under way. The caller may reuse what `samples` points to
 * when submit() returns. */
int dbi_trainer_submit(dbi_trainer *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                       const dbi_samples_f32 *samples, int64_t step, dbi_error *error);
int dbi_trainer_finish(dbi_trainer *trainer, dbi_step_log *log, dbi_error *error);
/* Brings student and teacher up to date with every submitted step; before that the new values may be on the device
 * alone. Pass the same student and teacher as in every step. */
int dbi_trainer_fetch(dbi_trainer *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher, dbi_error *error);

/* The gradient of the last step, [layout->parameters]. */
int dbi_trainer_gradient(dbi_trainer *trainer, float *gradient, dbi_error *error);

#endif
