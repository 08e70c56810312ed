/* The loss and its gradient on the device: all terms, with the values of the CPU to rounding. Nothing is allocated,
 * waited for or decided on the host after the arena is open, so that a step can be recorded in a graph; what
 * changes from step to step is in the parameter block. Sums are added in double in a fixed order: equal inputs give
 * equal bytes. All arrays here are device memory. */
#ifndef DBI_CUDA_LOSS_H
#define DBI_CUDA_LOSS_H

#include "cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "method/loss.h"

typedef struct dbi_cuda_loss dbi_cuda_loss;

/* Adds what it needs to the arena, which must be opened before the first step. The method is copied. */
dbi_cuda_loss *dbi_cuda_loss_new(const dbi_method *method, const dbi_loss_shape *shape, dbi_arena *arena,
                                 dbi_error *error);
void dbi_cuda_loss_free(dbi_cuda_loss *loss); /* NULL is allowed */

/* One step's inputs, as in dbi_loss_input_f32, without the ramp: that is in the parameter block. */
typedef struct dbi_cuda_loss_input {
    const float *logits, *sdf;                 /* [decoders,batch,K,X,Y,Z] */
    const float *teacher_logits, *teacher_sdf; /* [decoders,unlabelled,...], NULL without a teacher */
    const float *teacher_mask;                 /* [unlabelled,...], or NULL */
    const uint8_t *label;                      /* [labelled,X,Y,Z] */
    const float *label_sdf;                    /* [labelled,K,X,Y,Z], normalized as the method says */
    const uint8_t *truth;                      /* [unlabelled,X,Y,Z] or NULL; for the log alone */
    const dbi_cuda_parameters *parameters;
} dbi_cuda_loss_input;

/* *values and the gradients (overwritten) with respect to logits and sdf. A loss that is not finite is no error
 * here: who uses *values or the gradients looks at values->total. */
int dbi_cuda_loss_step(dbi_cuda_loss *loss, dbi_stream stream, const dbi_cuda_loss_input *input,
                       dbi_loss_values *values, float *dlogits, float *dsdf, dbi_error *error);

/* ---- What the teacher is given and what its passes give ---- */

/* to = image + Gaussian noise of deviation sigma, clipped at two deviations: the numbers of (seed,
 * DBI_ROLE_TEACHER_NOISE, step, pass), a place in the stream for each of `count` voxels. seed and step are the
 * parameter block's. */
int dbi_cuda_noise(dbi_stream stream, const float *image, int64_t count, double sigma, uint32_t pass,
                   const dbi_cuda_parameters *parameters, float *to, dbi_error *error);
/* ua-mt: mean = (pass > 0 ? mean : 0) + sigmoid(logits) / passes. The outputs of each decoder count as a pass. */
int dbi_cuda_mean(dbi_stream stream, const float *logits, int64_t count, int passes, int pass, float *mean,
                  dbi_error *error);
/* ua-mt: mask = 1 where the entropy of the mean is below the parameter block's threshold, 0 elsewhere. */
int dbi_cuda_mask(dbi_stream stream, const float *mean, int64_t count, const dbi_cuda_parameters *parameters,
                  float *mask, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
