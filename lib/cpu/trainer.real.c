#include "cpu/trainer.real.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h>

#include "base/memory.h"
#include "cpu/loss.real.h"
#include "cpu/net.real.h"

struct dbi_cpu_trainer_f32 {
    dbi_method method;
    int64_t total_steps;
    uint64_t seed;
    dbi_loss_shape shape;
    const dbi_layout *layout;
    dbi_cpu_net_f32 *student_net, *teacher_net; /* teacher_net: NULL without teacher or without unlabelled samples */
    dbi_loss_f32 *loss;
    real *logits, *sdf, *dlogits, *dsdf, *gradient;
    real *teacher_logits, *teacher_sdf, *noisy; /* of the unlabelled samples; noisy: their images with noise */
    real *mask, *mean;                          /* ua-mt: certain voxels, mean probability of the passes and decoders */
    double average;                             /* < 0: none */
    bool warmup;
};

dbi_cpu_trainer_f32 *dbi_cpu_trainer_open_f32(const dbi_backend_f32 *backend, const dbi_training *training,
                                              dbi_error *error)
{
    const dbi_loss_shape *shape = &training->shape;
    const dbi_method *method = training->method;
    const dbi_layout *layout = training->layout;
    dbi_cpu_trainer_f32 *t = dbi_alloc(1, sizeof *t, error);
    if (!t)
        return NULL;
    *t = (dbi_cpu_trainer_f32){.method = *method,
                               .total_steps = training->total_steps,
                               .seed = training->seed,
                               .shape = *shape,
                               .layout = layout,
                               .average = -1};
    const int64_t unlabeled = shape->batch - shape->labeled, voxels = shape->size[0] * shape->size[1] * shape->size[2];
    const dbi_net_shape student_shape = {layout, shape->batch, {shape->size[0], shape->size[1], shape->size[2]}, true};
    dbi_net_shape teacher_shape = student_shape;
    teacher_shape.batch = unlabeled;
    teacher_shape.training = false;
    const size_t decoders = (size_t)shape->decoders,
                 outputs = decoders * (size_t)(shape->batch * shape->classes * voxels),
                 theirs = (size_t)(unlabeled * shape->classes * voxels);
    const size_t images = (size_t)(unlabeled * layout->arch.channels * voxels);
    const bool teacher = dbi_method_needs_teacher(method) && unlabeled;
    struct {
        real **array;
        size_t count;
    } arrays[] = {{&t->logits, outputs},
                  {&t->sdf, outputs},
                  {&t->dlogits, outputs},
                  {&t->dsdf, outputs},
                  {&t->gradient, layout->parameters},
                  {&t->teacher_logits, teacher ? decoders * theirs : 0},
                  {&t->teacher_sdf, teacher ? decoders * theirs : 0},
                  {&t->noisy, teacher && method->teacher_noise > 0 ? images : 0},
                  {&t->mask, teacher && method->passes ? theirs : 0},
                  {&t->mean, teacher && method->passes ? theirs : 0}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (arrays[i].count && !(*arrays[i].array = dbi_alloc(arrays[i].count, sizeof(real), error)))
            goto fail;
    if (!(t->student_net = dbi_cpu_net_open_f32(backend, &student_shape, error)) ||
        (teacher && !(t->teacher_net = dbi_cpu_net_open_f32(backend, &teacher_shape, error))) ||
        !(t->loss = dbi_loss_open_f32(method, shape, error)))
        goto fail;
    return t;
fail:
    dbi_cpu_trainer_close_f32(t);
    return NULL;
}

void dbi_cpu_trainer_close_f32(dbi_cpu_trainer_f32 *t)
{
    if (!t)
        return;
    dbi_cpu_net_close_f32(t->student_net);
    dbi_cpu_net_close_f32(t->teacher_net);
    dbi_loss_close_f32(t->loss);
    real *arrays[] = {t->logits,         t->sdf,         t->dlogits, t->dsdf, t->gradient,
                      t->teacher_logits, t->teacher_sdf, t->noisy,   t->mask, t->mean};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    free(t);
}

const real *dbi_cpu_trainer_gradient_f32(const dbi_cpu_trainer_f32 *t)
{
    return t->gradient;
}

/* The image with Gaussian noise, clipped at two standard deviations as in the UA-MT code. Every voxel has its own place
 * in the random stream. */
static const real *add_noise_f32(dbi_cpu_trainer_f32 *t, const real *image, int64_t count, int64_t step, uint32_t pass)
{
    const double sigma = t->method.teacher_noise;
    if (!t->noisy)
        return image;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < (count + 4095) / 4096; block++) {
        dbi_random random;
        dbi_random_start(&random, t->seed, DBI_ROLE_TEACHER_NOISE, (uint32_t)step, pass);
        dbi_random_seek(&random, (uint64_t)block * 4096 * 4); /* a normal number takes four */
        for (int64_t i = block * 4096; i < count && i < (block + 1) * 4096; i++) {
            const double noise = sigma * dbi_random_normal(&random);
            t->noisy[i] = image[i] + (real)fmax(-2 * sigma, fmin(2 * sigma, noise));
        }
    }
    return t->noisy;
}

/* Adds a pass's share to the mean probability over passes and decoders. */
static void add_mean_f32(dbi_cpu_trainer_f32 *t, int64_t outputs)
{
    const int decoders = t->shape.decoders;
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < outputs; j++)
        for (int d = 0; d < decoders; d++)
            t->mean[j] += 1 / (1 + exp(-t->teacher_logits[d * outputs + j])) / (real)(t->method.passes * decoders);
}

/* ua-mt's mask: 1 where the entropy of the mean over noisy dropout passes is low. */
static int certain_f32(dbi_cpu_trainer_f32 *t, dbi_weights_f32 *teacher, const real *image, int64_t images,
                       int64_t outputs, int64_t step, dbi_error *error)
{
    const int passes = t->method.passes;
    memset(t->mean, 0, (size_t)outputs * sizeof(real));
    for (int i = 0; i < passes; i++) {
        dbi_pass pass = {.statistics = DBI_BATCH_STATISTICS,
                         .dropout = t->method.dropout,
                         .seed = t->seed,
                         .role = DBI_ROLE_TEACHER_DROPOUT,
                         .step = (uint32_t)(step * passes + i)};
        if (dbi_cpu_net_forward_f32(t->teacher_net, teacher, &pass,
                                    add_noise_f32(t, image, images, step, (uint32_t)i + 1), t->teacher_logits,
                                    t->teacher_sdf, error))
            return -1;
        add_mean_f32(t, outputs);
    }
    const double lambda = t->method.lambda > 0 ? t->method.lambda : 1;
    const real threshold = (real)((0.75 + 0.25 * dbi_ramp(&t->method, step, t->total_steps) / lambda) * log(2.0));
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < outputs; j++) {
        const real p = t->mean[j], q = 1 - p, least = (real)1e-6;
        t->mask[j] = -(p * log(p + least) + q * log(q + least)) < threshold;
    }
    return 0;
}

int dbi_cpu_trainer_step_f32(dbi_cpu_trainer_f32 *t, dbi_weights_f32 *student, dbi_weights_f32 *teacher,
                             const dbi_samples_f32 *samples, int64_t step, dbi_step_log *log, dbi_error *error)
{
    const int64_t voxels = t->shape.size[0] * t->shape.size[1] * t->shape.size[2],
                  unlabeled = t->shape.batch - t->shape.labeled;
    const int64_t channels = t->layout->arch.channels;
    *log = (dbi_step_log){.rate = dbi_rate(&t->method, step, t->total_steps),
                          .ramp = dbi_ramp(&t->method, step, t->total_steps)};
    dbi_loss_input_f32 input = {.logits = t->logits,
                                .sdf = t->sdf,
                                .label = samples->label,
                                .label_sdf = samples->label_sdf,
                                .truth = samples->truth,
                                .ramp = log->ramp};
    if (t->teacher_net) {
        const real *image = samples->image + t->shape.labeled * channels * voxels;
        if (t->method.passes) {
            if (certain_f32(t, teacher, image, unlabeled * channels * voxels, unlabeled * t->shape.classes * voxels,
                            step, error))
                return -1;
            input.teacher_mask = t->mask;
        }
        const dbi_pass pass = {.statistics = DBI_BATCH_STATISTICS};
        if (dbi_cpu_net_forward_f32(t->teacher_net, teacher, &pass,
                                    add_noise_f32(t, image, unlabeled * channels * voxels, step, 0), t->teacher_logits,
                                    t->teacher_sdf, error))
            return -1;
        input.teacher_logits = t->teacher_logits;
        input.teacher_sdf = t->teacher_sdf;
    }
    const dbi_pass pass = {.statistics = DBI_BATCH_STATISTICS,
                           .update_running = true,
                           .dropout = t->method.dropout,
                           .seed = t->seed,
                           .role = DBI_ROLE_DROPOUT,
                           .step = (uint32_t)step,
                           .keep = true};
    if (dbi_cpu_net_forward_f32(t->student_net, student, &pass, samples->image, t->logits, t->sdf, error) ||
        dbi_loss_step_f32(t->loss, &input, &log->loss, t->dlogits, t->dsdf, error))
        return -1;
    if (!isfinite(log->loss.total))
        return dbi_fail(error, "step %lld: the loss is not finite; the rate or a weight may be too high",
                        (long long)step);
    if (dbi_cpu_net_backward_f32(t->student_net, student, t->dlogits, t->dsdf, t->gradient, error))
        return -1;
    const dbi_sgd sgd = {.rate = log->rate, .momentum = t->method.momentum, .weight_decay = t->method.weight_decay};
    dbi_sgd_step_f32(student, &sgd, t->gradient);
    if (t->average >= 0 && teacher)
        dbi_average_f32(teacher, student, dbi_average_decay(step + 1, t->average, t->warmup));
    return 0;
}

void dbi_cpu_trainer_average_f32(dbi_cpu_trainer_f32 *t, double decay, bool warmup)
{
    t->average = decay;
    t->warmup = warmup;
}
