#pragma once
#include "base/real.h"
#include "method/step.h"

typedef struct dbi_loss_f32 dbi_loss_f32;

/* Holds all the memory that the steps need. The method is copied. */
dbi_loss_f32 *dbi_loss_open_f32(const dbi_method *method, const dbi_loss_shape *shape, dbi_error *error);
void dbi_loss_close_f32(dbi_loss_f32 *loss);

/* One step's inputs. The student's outputs are of all samples, the teacher's (NULL without) of the unlabelled ones;
 * arrays [decoders,samples,K,X,Y,Z], decoders as in the loss's shape. */
typedef struct dbi_loss_input_f32 {
    const real *logits, *sdf;
    const real *teacher_logits, *teacher_sdf;
    const real *teacher_mask; /* weight of the teacher term's voxels [unlabelled,K,X,Y,Z], or NULL */
    const uint8_t *label;     /* [labelled,X,Y,Z], 0..K */
    const float *label_sdf;   /* [labelled,K,X,Y,Z], normalized as the method says */
    const uint8_t *truth;     /* [unlabelled,X,Y,Z] or NULL; for the log alone */
    double ramp;              /* weight of the unsupervised terms */
} dbi_loss_input_f32;

/* Values and gradients (overwritten) with respect to logits and sdf. */
int dbi_loss_step_f32(dbi_loss_f32 *loss, const dbi_loss_input_f32 *input, dbi_loss_values *values, real *dlogits,
                      real *dsdf, dbi_error *error);
