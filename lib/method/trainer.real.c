#include "method/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h>

#include "base/memory.h"
#include "cuda/device.h"
#include "cuda/trainer.h"
#include "net/net.h"

#include "base/real.h"

struct R(dbi_trainer) {
#if DBI_REAL_BITS == 32
    dbi_cuda_trainer *cuda; /* a CUDA device does whole steps by itself; of what follows it uses the gradient alone */
#endif
    dbi_method method;
    int64_t total_steps;
    uint64_t seed;
    dbi_loss_shape shape;
    const dbi_layout *layout;
    R(dbi_net) * student_net, *teacher_net; /* teacher_net: NULL without teacher or without unlabelled samples */
    R(dbi_loss) * loss;
    real *logits, *sdf, *dlogits, *dsdf, *gradient;
    real *teacher_logits, *teacher_sdf, *noisy; /* of the unlabelled samples; noisy: their images with noise */
    real *mask, *mean;                          /* ua-mt: certain voxels, mean probability of the passes */
    double average;                             /* < 0: none */
    bool warmup;
    dbi_step_log submitted[2]; /* done, and not yet asked for */
    int under_way;
};

R(dbi_trainer) * R(dbi_trainer_open)(const dbi_method *method, int64_t total_steps, uint64_t seed, const dbi_layout *layout, const char *device,
                                     const dbi_loss_shape *shape, dbi_error *error)
{
    R(dbi_trainer) *t = calloc(1, sizeof *t);
    if (!t) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    *t = (R(dbi_trainer)){.method = *method, .total_steps = total_steps, .seed = seed, .shape = *shape, .layout = layout, .average = -1};
#if DBI_REAL_BITS == 32
    if (dbi_is_cuda(device)) {
        if (!(t->gradient = dbi_alloc(layout->parameters, sizeof(real), error)) ||
            !(t->cuda = dbi_cuda_trainer_open(method, total_steps, seed, layout, device, shape, error)))
            goto fail;
        return t;
    }
#endif
    const int64_t unlabeled = shape->batch - shape->labeled;
    int64_t voxels;
    if (!dbi_count(shape->size, 3, &voxels) || voxels > INT64_MAX / 1024 / (shape->batch + 1)) {
        dbi_fail(error, "the batch is too large");
        goto fail;
    }
    const size_t outputs = (size_t)(shape->batch * shape->classes * voxels), theirs = (size_t)(unlabeled * shape->classes * voxels);
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
                  {&t->teacher_logits, teacher ? theirs : 0},
                  {&t->teacher_sdf, teacher ? theirs : 0},
                  {&t->noisy, teacher && method->teacher_noise > 0 ? images : 0},
                  {&t->mask, teacher && method->passes ? theirs : 0},
                  {&t->mean, teacher && method->passes ? theirs : 0}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (arrays[i].count && !(*arrays[i].array = dbi_alloc(arrays[i].count, sizeof(real), error)))
            goto fail;
    if (!(t->student_net = R(dbi_net_open)(layout, device, shape->batch, shape->size, true, error)) ||
        (teacher && !(t->teacher_net = R(dbi_net_open)(layout, device, unlabeled, shape->size, false, error))) ||
        !(t->loss = R(dbi_loss_open)(method, shape, error)))
        goto fail;
    return t;
fail:
    R(dbi_trainer_close)(t);
    return NULL;
}

void R(dbi_trainer_close)(R(dbi_trainer) * t)
{
    if (!t)
        return;
#if DBI_REAL_BITS == 32
    dbi_cuda_trainer_close(t->cuda);
#endif
    R(dbi_net_close)(t->student_net);
    R(dbi_net_close)(t->teacher_net);
    R(dbi_loss_close)(t->loss);
    real *arrays[] = {t->logits, t->sdf, t->dlogits, t->dsdf, t->gradient, t->teacher_logits, t->teacher_sdf, t->noisy, t->mask, t->mean};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    free(t);
}

const real *R(dbi_trainer_gradient)(R(dbi_trainer) * t)
{
#if DBI_REAL_BITS == 32
    if (t->cuda && dbi_cuda_trainer_gradient(t->cuda, t->gradient, NULL))
        return NULL;
#endif
    return t->gradient;
}

/* The image with Gaussian noise, clipped at two standard deviations as in the UA-MT code. Every voxel has its own place in the random stream. */
static const real *R(add_noise)(R(dbi_trainer) * t, const real *image, int64_t count, int64_t step, uint32_t pass)
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

/* ua-mt's mask: 1 where the entropy of the mean over noisy dropout passes is low. */
static int R(certain)(R(dbi_trainer) * t, R(dbi_weights) * teacher, const real *image, int64_t images, int64_t outputs, int64_t step,
                      dbi_error *error)
{
    const int passes = t->method.passes;
    memset(t->mean, 0, (size_t)outputs * sizeof(real));
    for (int i = 0; i < passes; i++) {
        dbi_pass pass = {.statistics = DBI_BATCH_STATISTICS,
                         .dropout = t->method.dropout,
                         .seed = t->seed,
                         .role = DBI_ROLE_TEACHER_DROPOUT,
                         .step = (uint32_t)(step * passes + i)};
        if (R(dbi_net_forward)(t->teacher_net, teacher, &pass, R(add_noise)(t, image, images, step, (uint32_t)i + 1), t->teacher_logits,
                               t->teacher_sdf, error))
            return -1;
#pragma omp parallel for schedule(static)
        for (int64_t j = 0; j < outputs; j++)
            t->mean[j] += 1 / (1 + exp(-t->teacher_logits[j])) / (real)passes;
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

static int R(compute)(R(dbi_trainer) * t, R(dbi_weights) * student, R(dbi_weights) * teacher, const R(dbi_samples) * samples, int64_t step,
                      dbi_step_log *log, dbi_error *error)
{
    const int64_t voxels = t->shape.size[0] * t->shape.size[1] * t->shape.size[2], unlabeled = t->shape.batch - t->shape.labeled;
    const int64_t channels = t->layout->arch.channels;
    *log = (dbi_step_log){.rate = dbi_rate(&t->method, step, t->total_steps), .ramp = dbi_ramp(&t->method, step, t->total_steps)};
    R(dbi_loss_input)
    input = {
        .logits = t->logits, .sdf = t->sdf, .label = samples->label, .label_sdf = samples->label_sdf, .truth = samples->truth, .ramp = log->ramp};
    if (t->teacher_net) {
        const real *image = samples->image + t->shape.labeled * channels * voxels;
        if (t->method.passes) {
            if (R(certain)(t, teacher, image, unlabeled * channels * voxels, unlabeled * t->shape.classes * voxels, step, error))
                return -1;
            input.teacher_mask = t->mask;
        }
        const dbi_pass pass = {.statistics = DBI_BATCH_STATISTICS};
        if (R(dbi_net_forward)(t->teacher_net, teacher, &pass, R(add_noise)(t, image, unlabeled * channels * voxels, step, 0), t->teacher_logits,
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
    if (R(dbi_net_forward)(t->student_net, student, &pass, samples->image, t->logits, t->sdf, error) ||
        R(dbi_loss_step)(t->loss, &input, &log->loss, t->dlogits, t->dsdf, error))
        return -1;
    if (!isfinite(log->loss.total))
        return dbi_fail(error, "step %lld: the loss is not finite; the rate or a weight may be too high", (long long)step);
    if (R(dbi_net_backward)(t->student_net, student, t->dlogits, t->dsdf, t->gradient, error))
        return -1;
    const dbi_sgd sgd = {.rate = log->rate, .momentum = t->method.momentum, .weight_decay = t->method.weight_decay};
    R(dbi_sgd_step)(student, &sgd, t->gradient);
    if (t->average >= 0 && teacher)
        R(dbi_average)(teacher, student, dbi_average_decay(step + 1, t->average, t->warmup));
    return 0;
}

int R(dbi_trainer_submit)(R(dbi_trainer) * t, R(dbi_weights) * student, R(dbi_weights) * teacher, const R(dbi_samples) * samples, int64_t step,
                          dbi_error *error)
{
#if DBI_REAL_BITS == 32
    if (t->cuda)
        return dbi_cuda_trainer_submit(t->cuda, student, teacher, samples, step, error);
#endif
    if (t->under_way == 2)
        return dbi_fail(error, "more than 2 steps are under way");
    if (R(compute)(t, student, teacher, samples, step, &t->submitted[t->under_way], error))
        return -1;
    t->under_way++;
    return 0;
}

int R(dbi_trainer_finish)(R(dbi_trainer) * t, dbi_step_log *log, dbi_error *error)
{
#if DBI_REAL_BITS == 32
    if (t->cuda)
        return dbi_cuda_trainer_finish(t->cuda, log, error);
#endif
    if (!t->under_way)
        return dbi_fail(error, "no step is under way");
    *log = t->submitted[0];
    t->submitted[0] = t->submitted[1];
    t->under_way--;
    return 0;
}

int R(dbi_trainer_fetch)(R(dbi_trainer) * t, R(dbi_weights) * student, R(dbi_weights) * teacher, dbi_error *error)
{
#if DBI_REAL_BITS == 32
    if (t->cuda)
        return dbi_cuda_trainer_fetch(t->cuda, student, teacher, error);
#endif
    (void)t;
    (void)student;
    (void)teacher;
    (void)error;
    return 0;
}

void R(dbi_trainer_average)(R(dbi_trainer) * t, double decay, bool warmup)
{
    t->average = decay;
    t->warmup = warmup;
#if DBI_REAL_BITS == 32
    if (t->cuda)
        dbi_cuda_trainer_average(t->cuda, decay, warmup);
#endif
}

int R(dbi_trainer_step)(R(dbi_trainer) * t, R(dbi_weights) * student, R(dbi_weights) * teacher, const R(dbi_samples) * samples, int64_t step,
                        dbi_step_log *log, dbi_error *error)
{
    return R(dbi_trainer_submit)(t, student, teacher, samples, step, error) || R(dbi_trainer_finish)(t, log, error) ||
                   R(dbi_trainer_fetch)(t, student, teacher, error)
               ? -1
               : 0;
}
