/* Training on the device: network, loss, optimizer and average stay there. The host gives a batch and gets the loss;
 * weights come back when they are asked for. One allocation; a step is recorded once as a graph and launched again and
 * again; the next batch is copied while a step runs. */
#ifndef DBI_CUDA_TRAINER_H
#define DBI_CUDA_TRAINER_H

#include "cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "device/device.h"

typedef struct dbi_cuda_trainer dbi_cuda_trainer;

/* As in dbi_device_table; see device/trainer.h. */
dbi_cuda_trainer *dbi_cuda_trainer_open(const dbi_device *device, const dbi_training *training, dbi_error *error);
void dbi_cuda_trainer_close(dbi_cuda_trainer *trainer); /* NULL is allowed */

/* The weights are read by the first submission alone, and written by dbi_cuda_trainer_fetch. */
void dbi_cuda_trainer_average(dbi_cuda_trainer *trainer, double decay, bool warmup);
int dbi_cuda_trainer_submit(dbi_cuda_trainer *trainer, const dbi_weights_f32 *student, const dbi_weights_f32 *teacher,
                            const dbi_samples_f32 *samples, int64_t step, dbi_error *error);
int dbi_cuda_trainer_finish(dbi_cuda_trainer *trainer, dbi_step_log *log, dbi_error *error);
int dbi_cuda_trainer_fetch(dbi_cuda_trainer *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                           dbi_error *error);
/* The gradient of the last step. */
int dbi_cuda_trainer_gradient(dbi_cuda_trainer *trainer, float *gradient, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
