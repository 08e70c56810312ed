#include "device/trainer.h"

#include <stdlib.h>

#include "base/memory.h"

struct dbi_trainer {
    const dbi_device_table *table;
    void *state; /* belongs to the device */
};

static int check_shape(const dbi_loss_shape *shape, const dbi_layout *layout, dbi_error *error)
{
    const dbi_net_shape net = {layout, shape->batch, {shape->size[0], shape->size[1], shape->size[2]}, true};
    if (shape->labeled < 0 || shape->labeled > shape->batch)
        return dbi_fail(error, "%lld labelled samples of %lld", (long long)shape->labeled, (long long)shape->batch);
    if (shape->decoders != layout->arch.decoders)
        return dbi_fail(error, "a loss of %d decoders for a network of %d", shape->decoders, layout->arch.decoders);
    return dbi_net_shape_check(&net, error);
}

/* Checks the passes of every step: the student's over the whole batch, the teacher's over the unlabelled samples. */
static int check_passes(const dbi_training *training, dbi_error *error)
{
    const dbi_loss_shape *shape = &training->shape;
    dbi_net_shape net = {training->layout, shape->batch, {shape->size[0], shape->size[1], shape->size[2]}, true};
    const dbi_pass pass = {.statistics = DBI_BATCH_STATISTICS, .dropout = training->method->dropout, .keep = true};
    if (dbi_pass_check(&net, &pass, error))
        return -1;
    net.batch = shape->batch - shape->labeled;
    return net.batch && dbi_method_needs_teacher(training->method) ? dbi_pass_check(&net, &pass, error) : 0;
}

dbi_trainer *dbi_trainer_open(const dbi_device *device, const dbi_training *training, dbi_error *error)
{
    if (!device->table->trainer_open) {
        dbi_fail(error, "the device %s does not train", device->table->name);
        return NULL;
    }
    dbi_trainer *t = check_shape(&training->shape, training->layout, error) || check_passes(training, error)
                         ? NULL
                         : dbi_alloc(1, sizeof *t, error);
    if (!t)
        return NULL;
    t->table = device->table;
    if (!(t->state = device->table->trainer_open(device, training, error))) {
        free(t);
        return NULL;
    }
    return t;
}

void dbi_trainer_close(dbi_trainer *t)
{
    if (!t)
        return;
    t->table->trainer_close(t->state);
    free(t);
}

void dbi_trainer_average(dbi_trainer *t, double decay, bool warmup)
{
    t->table->trainer_average(t->state, decay, warmup);
}

int dbi_trainer_submit(dbi_trainer *t, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                       const dbi_samples_f32 *samples, int64_t step, dbi_error *error)
{
    return t->table->trainer_submit(t->state, student, teacher, samples, step, error);
}

int dbi_trainer_finish(dbi_trainer *t, dbi_step_log *log, dbi_error *error)
{
    return t->table->trainer_finish(t->state, log, error);
}

int dbi_trainer_fetch(dbi_trainer *t, dbi_weights_f32 *student, dbi_weights_f32 *teacher, dbi_error *error)
{
    return t->table->trainer_fetch(t->state, student, teacher, error);
}

int dbi_trainer_gradient(dbi_trainer *t, float *gradient, dbi_error *error)
{
    return t->table->trainer_gradient(t->state, gradient, error);
}

int dbi_trainer_step(dbi_trainer *t, dbi_weights_f32 *student, dbi_weights_f32 *teacher, const dbi_samples_f32 *samples,
                     int64_t step, dbi_step_log *log, dbi_error *error)
{
    return dbi_trainer_submit(t, student, teacher, samples, step, error) || dbi_trainer_finish(t, log, error) ||
                   dbi_trainer_fetch(t, student, teacher, error)
               ? -1
               : 0;
}
