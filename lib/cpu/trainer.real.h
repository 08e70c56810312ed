/* A training step on the host, see device/trainer.h. */
#pragma once
#include "base/real.h"
#include "cpu/backend.real.h"
#include "device/device.h"
#include "method/samples.real.h"
#include "method/step.h"
#include "net/weights.real.h"

typedef struct dbi_cpu_trainer_f32 dbi_cpu_trainer_f32;

/* Takes all memory. The method is copied, the layout must outlive the trainer. */
dbi_cpu_trainer_f32 *dbi_cpu_trainer_open_f32(const dbi_backend_f32 *backend, const dbi_training *training,
                                              dbi_error *error);
void dbi_cpu_trainer_close_f32(dbi_cpu_trainer_f32 *trainer); /* NULL is allowed */

/* As dbi_trainer_step and dbi_trainer_average. */
int dbi_cpu_trainer_step_f32(dbi_cpu_trainer_f32 *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                             const dbi_samples_f32 *samples, int64_t step, dbi_step_log *log, dbi_error *error);
void dbi_cpu_trainer_average_f32(dbi_cpu_trainer_f32 *trainer, double decay, bool warmup);

/* The gradient of the last step, [layout->parameters]; owned by the trainer. */
const real *dbi_cpu_trainer_gradient_f32(const dbi_cpu_trainer_f32 *trainer);
