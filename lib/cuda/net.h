/* The network on the device: everything stays there. */
#ifndef DBI_CUDA_NET_H
#define DBI_CUDA_NET_H

#include "cuda/cuda.h"
#include "cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dbi_cuda_net dbi_cuda_net;

/* How to run a forward pass; what changes from step to step is read from the parameter block. */
typedef struct dbi_cuda_pass {
    dbi_statistics_mode statistics;
    bool update_running;
    bool keep;
    double dropout; /* probability; 0: none. The seed is the block's, the step in the random stream step * passes +
                       index */
    dbi_role role;
    uint32_t passes, index;
    const dbi_cuda_parameters *parameters; /* in device memory; may be NULL without dropout */
} dbi_cuda_pass;

/* The shape has been checked (dbi_net_shape_check); its layout must outlive the net. What it needs is added to the
 * arena, which must be opened before the first pass. */
dbi_cuda_net *dbi_cuda_net_new(const dbi_device *device, const dbi_net_shape *shape, dbi_arena *arena,
                               dbi_error *error);
void dbi_cuda_net_free(dbi_cuda_net *net);

/* Takes the convolutions' weights over, into cuDNN's arrangement: before a pass with weights that have changed. All
 * arrays here are device memory: parameters and statistics flat as in dbi_weights, image [batch,C,X,Y,Z], outputs
 * [decoders,batch,K,X,Y,Z], float. */
int dbi_cuda_net_weights(dbi_cuda_net *net, dbi_stream stream, const float *parameters, dbi_error *error);
/* The pass has been checked (dbi_pass_check). statistics is written where pass->update_running. */
int dbi_cuda_net_forward(dbi_cuda_net *net, dbi_stream stream, const float *parameters, float *statistics,
                         const dbi_cuda_pass *pass, const float *image, float *logits, float *sdf, dbi_error *error);
/* After a forward pass with keep, once. sdf: as that pass gave it. gradient: flat, overwritten. */
int dbi_cuda_net_backward(dbi_cuda_net *net, dbi_stream stream, const float *parameters, const float *sdf,
                          const float *dlogits, const float *dsdf, float *gradient, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
