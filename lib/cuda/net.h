/* The network on the device: everything stays there. */
#ifndef DBI_CUDA_NET_H
#define DBI_CUDA_NET_H

#include "cuda/cuda.h"
#include "cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "net/net.h"

typedef struct dbi_cuda_net dbi_cuda_net;

/* How to run a forward pass; what changes from step to step is read from the parameter block. */
typedef struct dbi_cuda_pass {
    dbi_statistics_mode statistics;
    bool update_running;
    bool keep;
    double dropout; /* probability; 0: none. The seed is the block's, the step in the random stream step * passes + index */
    dbi_role role;
    uint32_t passes, index;
    const dbi_cuda_parameters *parameters; /* in device memory; may be NULL without dropout */
} dbi_cuda_pass;

/* The layout must outlive the net. What it needs is added to the arena, which must be opened before the first pass. */
dbi_cuda_net *dbi_cuda_net_new(const dbi_layout *layout, const dbi_cuda_device *device, int64_t batch, const int64_t size[3], bool training,
                               dbi_arena *arena, dbi_error *error);
void dbi_cuda_net_free(dbi_cuda_net *net);

/* Takes the convolutions' weights over, into cuDNN's arrangement: before a pass with weights that have changed. All arrays here are device memory:
 * parameters and statistics flat as in dbi_weights, image [batch,C,X,Y,Z], outputs [batch,K,X,Y,Z], float. */
int dbi_cuda_net_weights(dbi_cuda_net *net, dbi_stream stream, const float *parameters, dbi_error *error);
/* statistics is written where pass->update_running. */
int dbi_cuda_net_forward(dbi_cuda_net *net, dbi_stream stream, const float *parameters, float *statistics, const dbi_cuda_pass *pass,
                         const float *image, float *logits, float *sdf, dbi_error *error);
/* After a forward pass with keep, once. sdf: as that pass gave it. gradient: flat, overwritten. */
int dbi_cuda_net_backward(dbi_cuda_net *net, dbi_stream stream, const float *parameters, const float *sdf, const float *dlogits, const float *dsdf,
                          float *gradient, dbi_error *error);

/* The same with arrays of the host, for dbi_net_f32; see net.real.h. */
typedef struct dbi_cuda_host_net dbi_cuda_host_net;
dbi_cuda_host_net *dbi_cuda_host_net_open(const dbi_layout *layout, const char *device, int64_t batch, const int64_t size[3], bool training,
                                          dbi_error *error);
void dbi_cuda_host_net_close(dbi_cuda_host_net *net);
int dbi_cuda_host_net_forward(dbi_cuda_host_net *net, dbi_weights_f32 *weights, const dbi_pass *pass, const float *image, float *logits, float *sdf,
                              dbi_error *error);
int dbi_cuda_host_net_backward(dbi_cuda_host_net *net, const float *dlogits, const float *dsdf, float *gradient, dbi_error *error);
/* For callers whose images are on the device: where the net takes an image [batch,C,X,Y,Z] from and puts its outputs [batch,K,X,Y,Z], and the stream
 * in which it works. */
typedef struct dbi_cuda_net_buffers {
    dbi_stream stream;
    int64_t batch;
    float *image;
    const float *logits, *sdf;
} dbi_cuda_net_buffers;
dbi_cuda_net_buffers dbi_cuda_host_net_buffers(const dbi_cuda_host_net *net);
/* A forward pass from buffer to buffers, for which nothing waits. */
int dbi_cuda_host_net_pass(dbi_cuda_host_net *net, const dbi_weights_f32 *weights, const dbi_pass *pass, dbi_error *error);
/* Bytes of device memory that such a net would take, SIZE_MAX where none can be made. */
size_t dbi_cuda_host_net_bytes(const dbi_layout *layout, const char *device, int64_t batch, const int64_t size[3], bool training);

#ifdef __cplusplus
}
#endif

#endif
