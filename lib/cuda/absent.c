/* What stands in for the CUDA device where dbisl is built without it. */
#include "cuda/device.h"
#include "cuda/net.h"

static int absent(dbi_error *error)
{
    return dbi_fail(error,
                    "this dbisl was built without CUDA: install the CUDA toolkit and cuDNN 9 (CUDA_HOME and CUDNN_ROOT say where they are), then "
                    "build it again; --device cpu needs neither");
}

int dbi_cuda_check_device(const char *name, dbi_error *error)
{
    dbi_cuda_device device;
    return dbi_cuda_parse(name, &device, error) ? -1 : absent(error);
}

dbi_cuda_host_net *dbi_cuda_host_net_open(const dbi_layout *layout, const char *device, int64_t batch, const int64_t size[3], bool training,
                                          dbi_error *error)
{
    (void)layout;
    (void)batch;
    (void)size;
    (void)training;
    dbi_cuda_check_device(device, error);
    return NULL;
}

void dbi_cuda_host_net_close(dbi_cuda_host_net *net)
{
    (void)net;
}

int dbi_cuda_host_net_forward(dbi_cuda_host_net *net, dbi_weights_f32 *weights, const dbi_pass *pass, const float *image, float *logits, float *sdf,
                              dbi_error *error)
{
    (void)net;
    (void)weights;
    (void)pass;
    (void)image;
    (void)logits;
    (void)sdf;
    return absent(error);
}

int dbi_cuda_host_net_backward(dbi_cuda_host_net *net, const float *dlogits, const float *dsdf, float *gradient, dbi_error *error)
{
    (void)net;
    (void)dlogits;
    (void)dsdf;
    (void)gradient;
    return absent(error);
}

size_t dbi_cuda_host_net_bytes(const dbi_layout *layout, const char *device, int64_t batch, const int64_t size[3], bool training)
{
    (void)layout;
    (void)device;
    (void)batch;
    (void)size;
    (void)training;
    return SIZE_MAX;
}
