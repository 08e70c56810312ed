#pragma once
#include "base/real.h"
#include "net/weights.h"
#include "record/record.h"

/* The state of a network: flat arrays in the layout's order. */
typedef struct dbi_weights_f32 {
    const dbi_layout *layout; /* not owned */
    real *parameters;         /* [layout->parameters] */
    real *momentum;           /* likewise, or NULL: the optimizer's */
    real *statistics; /* [layout->statistics]: running mean and variance (unbiased) of each batch normalization */
    int64_t batches;  /* num_batches_tracked, the same for all batch normalizations */
} dbi_weights_f32;

/* Allocates the arrays (zeroed; variance 1); momentum only where asked for. */
int dbi_weights_new_f32(dbi_weights_f32 *weights, const dbi_layout *layout, bool momentum, dbi_error *error);
void dbi_weights_free_f32(dbi_weights_f32 *weights);
/* What PyTorch's layers begin with, and so the field's V-Nets: kernels and biases uniform within 1 / sqrt(fan-in), 1 and
 * 0 for normalizations. */
void dbi_weights_init_f32(dbi_weights_f32 *weights, uint64_t seed);
/* Then, on request: kernels of convolutions that normalizations follow anew, normal with variance 2 / fan-in (He et al.,
 * 2015). A normalization undoes the scale of the kernel before it, so SGD turns larger kernels less: these are 2.4 times
 * as large and need a rate 6 times as high. */
void dbi_weights_init_kaiming_f32(dbi_weights_f32 *weights, uint64_t seed);
/* Every tensor of the layout must be there with its shape (F32; F64 and F16 are converted), finite. Momentum: from
 * "momentum.NAME" when all are there, else zero. A public state_dict (no metadata "architecture") may have a softmax over
 * background and one class for segmentation head, and no distance head, which is zero then. */
int dbi_weights_load_f32(dbi_weights_f32 *weights, const dbi_record *record, dbi_error *error);
/* Adds the tensors (F32) to a record. */
int dbi_weights_store_f32(const dbi_weights_f32 *weights, dbi_record *record, dbi_error *error);
/* PyTorch's SGD: g += decay w; m = momentum m + g; w -= rate m. */
void dbi_sgd_step_f32(dbi_weights_f32 *weights, const dbi_sgd *sgd, const real *gradient);
/* teacher = a teacher + (1 - a) student over parameters and statistics; the batch count is copied. */
void dbi_average_f32(dbi_weights_f32 *teacher, const dbi_weights_f32 *student, double a);
