#include "cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cpu/fast.h"
#include "cpu/net.real.h"
#include "cpu/trainer.real.h"

/* The two devices differ in their table of layers alone. */
static const dbi_backend_f32 *layers_of(const dbi_device *device)
{
    return device->table == &dbi_reference ? &dbi_backend_reference_f32 : &dbi_backend_fast;
}

static void *net_open(const dbi_device *device, const dbi_net_shape *shape, dbi_error *error)
{
    return dbi_cpu_net_open_f32(layers_of(device), shape, error);
}

static size_t net_bytes(const dbi_device *device, const dbi_net_shape *shape)
{
    return dbi_cpu_net_bytes_f32(layers_of(device), shape);
}

static void net_close(void *net)
{
    dbi_cpu_net_close_f32(net);
}

static int net_forward(void *net, dbi_weights_f32 *weights, const dbi_pass *pass, const float *image, float *logits,
                       float *sdf, dbi_error *error)
{
    return dbi_cpu_net_forward_f32(net, weights, pass, image, logits, sdf, error);
}

static int net_backward(void *net, const dbi_weights_f32 *weights, const float *dlogits, const float *dsdf,
                        float *gradient, dbi_error *error)
{
    return dbi_cpu_net_backward_f32(net, weights, dlogits, dsdf, gradient, error);
}

/* A step is done when it is submitted; what it gave waits here until it is asked for. */
enum { MOST_UNDER_WAY = 2 };

typedef struct trainer {
    dbi_cpu_trainer_f32 *trainer;
    size_t parameters;
    dbi_step_log done[MOST_UNDER_WAY];
    int under_way;
} trainer;

static void trainer_close(void *opaque)
{
    trainer *t = opaque;
    dbi_cpu_trainer_close_f32(t->trainer);
    free(t);
}

static void *trainer_open(const dbi_device *device, const dbi_training *training, dbi_error *error)
{
    trainer *t = dbi_alloc(1, sizeof *t, error);
    if (!t)
        return NULL;
    t->parameters = training->layout->parameters;
    if (!(t->trainer = dbi_cpu_trainer_open_f32(layers_of(device), training, error))) {
        free(t);
        return NULL;
    }
    return t;
}

static void trainer_average(void *opaque, double decay, bool warmup)
{
    trainer *t = opaque;
    dbi_cpu_trainer_average_f32(t->trainer, decay, warmup);
}

static int trainer_submit(void *opaque, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                          const dbi_samples_f32 *samples, int64_t step, dbi_error *error)
{
    trainer *t = opaque;
    if (t->under_way == MOST_UNDER_WAY)
        return dbi_fail(error, "more than %d steps are under way", MOST_UNDER_WAY);
    if (dbi_cpu_trainer_step_f32(t->trainer, student, teacher, samples, step, &t->done[t->under_way], error))
        return -1;
    t->under_way++;
    return 0;
}

static int trainer_finish(void *opaque, dbi_step_log *log, dbi_error *error)
{
    trainer *t = opaque;
    if (!t->under_way)
        return dbi_fail(error, "no step is under way");
    *log = t->done[0];
    t->under_way--;
    memmove(t->done, t->done + 1, (size_t)t->under_way * sizeof *t->done);
    return 0;
}

/* Weights never leave the host. */
static int trainer_fetch(void *opaque, dbi_weights_f32 *student, dbi_weights_f32 *teacher, dbi_error *error)
{
    (void)opaque;
    (void)student;
    (void)teacher;
    (void)error;
    return 0;
}

static int trainer_gradient(void *opaque, float *gradient, dbi_error *error)
{
    const trainer *t = opaque;
    (void)error;
    memcpy(gradient, dbi_cpu_trainer_gradient_f32(t->trainer), t->parameters * sizeof *gradient);
    return 0;
}

#define FUNCTIONS                                                                                                      \
    .net_open = net_open, .net_close = net_close, .net_bytes = net_bytes, .net_forward = net_forward,                  \
    .net_backward = net_backward, .trainer_open = trainer_open, .trainer_close = trainer_close,                        \
    .trainer_average = trainer_average, .trainer_submit = trainer_submit, .trainer_finish = trainer_finish,            \
    .trainer_fetch = trainer_fetch, .trainer_gradient = trainer_gradient

const dbi_device_table dbi_cpu = {.name = "cpu", FUNCTIONS};
const dbi_device_table dbi_reference = {.name = "reference", FUNCTIONS};
