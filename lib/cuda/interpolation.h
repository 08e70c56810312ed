/* The layer that interpolates (net/interpolation_math.h): kernels for float and bfloat16. */
#ifndef DBI_CUDA_INTERPOLATION_H
#define DBI_CUDA_INTERPOLATION_H

#include "cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dbi_interpolation_shape {
    int64_t batch, size[3]; /* size: of the input; the output is twice as large along each axis */
    int channels;           /* padded as in geometry.h */
} dbi_interpolation_shape;

/* out [batch,2 size,channels] is overwritten from in [batch,size,channels]. */
int dbi_interpolate(bool bf16, const dbi_interpolation_shape *shape, dbi_stream stream, const void *in, void *out,
                    dbi_error *error);
/* The gradient of `in` from that of `out`; add: to what is in din, otherwise it is overwritten. */
int dbi_interpolate_gradient(bool bf16, const dbi_interpolation_shape *shape, dbi_stream stream, const void *dout,
                             void *din, bool add, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
