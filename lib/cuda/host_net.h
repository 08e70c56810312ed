/* The network on the device for callers with arrays of the host. */
#ifndef DBI_CUDA_HOST_NET_H
#define DBI_CUDA_HOST_NET_H

#include "cuda/cuda.h"
#include "cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dbi_cuda_host_net dbi_cuda_host_net;

/* As in dbi_device_table. */
dbi_cuda_host_net *dbi_cuda_host_net_open(const dbi_device *device, const dbi_net_shape *shape, dbi_error *error);
void dbi_cuda_host_net_close(dbi_cuda_host_net *net);
/* Bytes of device memory that such a net would take, SIZE_MAX where none can be made. */
size_t dbi_cuda_host_net_bytes(const dbi_device *device, const dbi_net_shape *shape);
int dbi_cuda_host_net_forward(dbi_cuda_host_net *net, dbi_weights_f32 *weights, const dbi_pass *pass,
                              const float *image, float *logits, float *sdf, dbi_error *error);
int dbi_cuda_host_net_backward(dbi_cuda_host_net *net, const float *dlogits, const float *dsdf, float *gradient,
                               dbi_error *error);

/* For callers whose images are on the device: where the net takes an image [batch,C,X,Y,Z] from and puts its outputs
 * [decoders,batch,K,X,Y,Z], and the stream in which it works. */
typedef struct dbi_cuda_net_buffers {
    dbi_stream stream;
    int64_t batch;
    float *image;
    const float *logits, *sdf;
} dbi_cuda_net_buffers;
dbi_cuda_net_buffers dbi_cuda_host_net_buffers(const dbi_cuda_host_net *net);
/* A forward pass from buffer to buffers, for which nothing waits. */
int dbi_cuda_host_net_pass(dbi_cuda_host_net *net, const dbi_weights_f32 *weights, const dbi_pass *pass,
                           dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
