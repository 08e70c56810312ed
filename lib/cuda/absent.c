/* What stands in for the CUDA device where dbisl is built without it. */
#include "cuda/device.h"
#include "cuda/host_maps.h"
#include "cuda/net.h"
#include "cuda/slide.h"
#include "cuda/trainer.h"

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

int dbi_cuda_describe(const char *name, dbi_cuda_facts *facts, dbi_error *error)
{
    (void)facts;
    return dbi_cuda_check_device(name, error);
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

int dbi_cuda_slide_run(dbi_cuda_host_net *net, const dbi_weights_f32 *weights, bool same_weights, const dbi_slide *slide, const float *image,
                       const dbi_scores *scores, const dbi_slide_label *label, dbi_error *error)
{
    (void)net;
    (void)weights;
    (void)same_weights;
    (void)slide;
    (void)image;
    (void)scores;
    (void)label;
    return absent(error);
}

dbi_cuda_trainer *dbi_cuda_trainer_open(const dbi_method *method, int64_t total_steps, uint64_t seed, const dbi_layout *layout, const char *device,
                                        const dbi_loss_shape *shape, dbi_error *error)
{
    (void)method;
    (void)total_steps;
    (void)seed;
    (void)layout;
    (void)shape;
    dbi_cuda_check_device(device, error);
    return NULL;
}

void dbi_cuda_trainer_close(dbi_cuda_trainer *trainer)
{
    (void)trainer;
}

void dbi_cuda_trainer_average(dbi_cuda_trainer *trainer, double decay, bool warmup)
{
    (void)trainer;
    (void)decay;
    (void)warmup;
}

int dbi_cuda_trainer_submit(dbi_cuda_trainer *trainer, const dbi_weights_f32 *student, const dbi_weights_f32 *teacher, const dbi_samples_f32 *samples,
                            int64_t step, dbi_error *error)
{
    (void)trainer;
    (void)student;
    (void)teacher;
    (void)samples;
    (void)step;
    return absent(error);
}

int dbi_cuda_trainer_finish(dbi_cuda_trainer *trainer, dbi_step_log *log, dbi_error *error)
{
    (void)trainer;
    (void)log;
    return absent(error);
}

int dbi_cuda_trainer_fetch(dbi_cuda_trainer *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher, dbi_error *error)
{
    (void)trainer;
    (void)student;
    (void)teacher;
    return absent(error);
}

int dbi_cuda_trainer_gradient(dbi_cuda_trainer *trainer, float *gradient, dbi_error *error)
{
    (void)trainer;
    (void)gradient;
    return absent(error);
}

int dbi_cuda_host_maps(const char *device, const uint8_t *label, const float *prob, const dbi_transform *transform, const dbi_normalize *normalize,
                       const int64_t shape[3], int64_t classes, float *out, dbi_error *error)
{
    (void)label;
    (void)prob;
    (void)transform;
    (void)normalize;
    (void)shape;
    (void)classes;
    (void)out;
    return dbi_cuda_check_device(device, error);
}
