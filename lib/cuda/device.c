#include "cuda/device.h"

#include "cuda/host_maps.h"
#include "cuda/host_net.h"
#include "cuda/slide.h"
#include "cuda/trainer.h"

static void *net_open(const dbi_device *device, const dbi_net_shape *shape, dbi_error *error)
{
    return dbi_cuda_host_net_open(device, shape, error);
}

static void net_close(void *net)
{
    dbi_cuda_host_net_close(net);
}

static int net_forward(void *net, dbi_weights_f32 *weights, const dbi_pass *pass, const float *image, float *logits,
                       float *sdf, dbi_error *error)
{
    return dbi_cuda_host_net_forward(net, weights, pass, image, logits, sdf, error);
}

/* The weights are on the device. */
static int net_backward(void *net, const dbi_weights_f32 *weights, const float *dlogits, const float *dsdf,
                        float *gradient, dbi_error *error)
{
    (void)weights;
    return dbi_cuda_host_net_backward(net, dlogits, dsdf, gradient, error);
}

static void *trainer_open(const dbi_device *device, const dbi_training *training, dbi_error *error)
{
    return dbi_cuda_trainer_open(device, training, error);
}

static void trainer_close(void *trainer)
{
    dbi_cuda_trainer_close(trainer);
}

static void trainer_average(void *trainer, double decay, bool warmup)
{
    dbi_cuda_trainer_average(trainer, decay, warmup);
}

static int trainer_submit(void *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                          const dbi_samples_f32 *samples, int64_t step, dbi_error *error)
{
    return dbi_cuda_trainer_submit(trainer, student, teacher, samples, step, error);
}

static int trainer_finish(void *trainer, dbi_step_log *log, dbi_error *error)
{
    return dbi_cuda_trainer_finish(trainer, log, error);
}

static int trainer_fetch(void *trainer, dbi_weights_f32 *student, dbi_weights_f32 *teacher, dbi_error *error)
{
    return dbi_cuda_trainer_fetch(trainer, student, teacher, error);
}

static int trainer_gradient(void *trainer, float *gradient, dbi_error *error)
{
    return dbi_cuda_trainer_gradient(trainer, gradient, error);
}

static int slide(void *net, const dbi_weights_f32 *weights, bool same_weights, const dbi_slide *run, const float *image,
                 const dbi_window_means *means, const dbi_slide_label *label, dbi_error *error)
{
    return dbi_cuda_slide_run(net, weights, same_weights, run, image, means, label, error);
}

const dbi_device_table dbi_cuda = {.name = "cuda",
                                   .precisions = true,
                                   .check = dbi_cuda_select,
                                   .describe = dbi_cuda_describe,
                                   .net_open = net_open,
                                   .net_close = net_close,
                                   .net_bytes = dbi_cuda_host_net_bytes,
                                   .net_forward = net_forward,
                                   .net_backward = net_backward,
                                   .trainer_open = trainer_open,
                                   .trainer_close = trainer_close,
                                   .trainer_average = trainer_average,
                                   .trainer_submit = trainer_submit,
                                   .trainer_finish = trainer_finish,
                                   .trainer_fetch = trainer_fetch,
                                   .trainer_gradient = trainer_gradient,
                                   .slide = slide,
                                   .maps = dbi_cuda_host_maps};
