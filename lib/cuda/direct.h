/* Convolutions by kernels of our own: for what cuDNN has no engine for, and for the tests, where there is no GPU.
 * Simple, not fast. */
#ifndef DBI_CUDA_DIRECT_H
#define DBI_CUDA_DIRECT_H

#include "cuda/conv.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A convolution joins a side x and a side y: y(v) = Σ w(t) x(stride v + t - padding). For a transposed convolution x is
 * the output, y the input: its forward pass is the other's data gradient. Weights [y channels,taps,x channels]. */
typedef struct dbi_conv_sides {
    int edge, stride, padding;
    int x_channels, y_channels; /* padded */
    int64_t batch, x_size[3], y_size[3];
} dbi_conv_sides;

typedef enum dbi_conv_pass { DBI_CONV_TO_Y, DBI_CONV_TO_X, DBI_CONV_TO_WEIGHT } dbi_conv_pass;

dbi_conv_sides dbi_conv_sides_of(const dbi_conv_shape *shape);

/* Overwrites y, x or weight from the other two. */
int dbi_direct(dbi_conv_pass pass, bool bf16, const dbi_conv_sides *sides, dbi_stream stream, void *x, void *weight,
               void *y, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
