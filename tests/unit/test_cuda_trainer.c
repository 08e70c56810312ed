/* The CUDA device's training step without a GPU, run on the host (emulated.h): whole steps of every preset against the
 * reference in double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES_WITH_CUDA
#include "base/random.h"
#include "devices.h"
#include "emulated.h"
#include "net/weights.f64.h"
#include "net/weights.real.h"

enum { EDGE = 32, VOXELS = EDGE * EDGE * EDGE, BATCH = 3, LABELED = 1, STEPS = 2, TOTAL = 10 };

static dbi_arch arch = {1, 1, .filters = 2, .decoders = 1};

/* Given to every run. */
static float image[STEPS][BATCH * VOXELS], label_sdf[LABELED * VOXELS];
static uint8_t label[LABELED * VOXELS], truth[(BATCH - LABELED) * VOXELS];

/* What a run gives. */
typedef struct outcome {
    dbi_step_log log[STEPS];
    dbi_layout layout;
    double *student, *momentum, *teacher, *gradient; /* weights: parameters, then statistics */
    int64_t batches[2];                              /* student's, teacher's */
} outcome;

/* A ball, somewhere else in each sample, in noise. */
static int make_samples(void **state)
{
    (void)state;
    dbi_random random;
    dbi_random_start(&random, 1, DBI_ROLE_TEST, 0, 0);
    for (int step = 0; step < STEPS; step++)
        for (int n = 0; n < BATCH; n++)
            for (int i = 0; i < VOXELS; i++) {
                const double x = i / EDGE / EDGE - 14 - n, y = i / EDGE % EDGE - 15, z = i % EDGE - 17 + n,
                             distance = 9 - sqrt(x * x + y * y + z * z);
                image[step][n * VOXELS + i] = (float)((distance > 0) + 0.3 * dbi_random_normal(&random));
                if (n < LABELED) {
                    label[n * VOXELS + i] = distance > 0;
                    label_sdf[n * VOXELS + i] = (float)fmax(-1, fmin(1, distance / 10));
                } else {
                    truth[(n - LABELED) * VOXELS + i] = distance > 0;
                }
            }
    return 0;
}

/* Fresh weights, but for normalizations that are shifted by two deviations, up in most channels and down in the others:
 * few values come so near to ReLU's kink that rounding takes them to its other side, where the gradient is another one
 * (see test_cuda_net.c). */
static void draw_weights(dbi_weights_f32 *weights)
{
    const dbi_layout *layout = weights->layout;
    dbi_weights_init_f32(weights, 3);
    for (int l = 0; l < layout->layers; l++) {
        if (layout->layer[l].tensor < 0)
            continue;
        const dbi_named *gamma = &layout->tensor[layout->layer[l].tensor + 2], *beta = gamma + 1;
        for (size_t i = 0; i < beta->count; i++) {
            weights->parameters[gamma->offset + i] = (float)(1 + 0.3 * sin((double)i));
            weights->parameters[beta->offset + i] = (float)((i % 4 == 1 ? -2 : 2) + 0.3 * cos((double)i));
        }
    }
}

static double *zeros(size_t count)
{
    double *p = calloc(count, sizeof *p);
    assert_non_null(p);
    return p;
}

static void outcome_free(outcome *o)
{
    free(o->student);
    free(o->momentum);
    free(o->teacher);
    free(o->gradient);
}

/* together: two steps are under way at once, and the weights are fetched at the end alone. */
#define DEFINE_RUN(SUFFIX, REAL)                                                                                       \
    static void copy_##SUFFIX(const dbi_weights_##SUFFIX *w, double *to)                                               \
    {                                                                                                                  \
        for (size_t i = 0; i < w->layout->parameters; i++)                                                             \
            to[i] = w->parameters[i];                                                                                  \
        for (size_t i = 0; i < w->layout->statistics; i++)                                                             \
            to[w->layout->parameters + i] = w->statistics[i];                                                          \
    }                                                                                                                  \
    static void run_##SUFFIX(outcome *o, const dbi_method *method, const char *device, double average, bool together,  \
                             bool with_truth)                                                                          \
    {                                                                                                                  \
        dbi_error error = {""};                                                                                        \
        dbi_weights_f32 fresh;                                                                                         \
        dbi_weights_##SUFFIX student, teacher;                                                                         \
        assert_int_equal(dbi_layout_make(&arch, &o->layout, &error), 0);                                               \
        const dbi_loss_shape shape = {BATCH, LABELED, 1, {EDGE, EDGE, EDGE}, o->layout.arch.decoders};                 \
        assert_int_equal(dbi_weights_new_f32(&fresh, &o->layout, false, &error), 0);                                   \
        assert_int_equal(dbi_weights_new_##SUFFIX(&student, &o->layout, true, &error), 0);                             \
        assert_int_equal(dbi_weights_new_##SUFFIX(&teacher, &o->layout, false, &error), 0);                            \
        draw_weights(&fresh);                                                                                          \
        for (size_t i = 0; i < o->layout.parameters; i++) {                                                            \
            student.parameters[i] = (REAL)fresh.parameters[i];                                                         \
            teacher.parameters[i] = (REAL)(float)(fresh.parameters[i] * (1 + 0.1 * sin((double)i)));                   \
        }                                                                                                              \
        student.batches = 5;                                                                                           \
        trainer_##SUFFIX *trainer = trainer_open_##SUFFIX(method, TOTAL, 11, &o->layout, device, &shape, &error);      \
        if (!trainer)                                                                                                  \
            fail_msg("%s", error.text);                                                                                \
        if (average >= 0)                                                                                              \
            trainer_average_##SUFFIX(trainer, average, false);                                                         \
        REAL *given = calloc(BATCH * VOXELS, sizeof *given);                                                           \
        assert_non_null(given);                                                                                        \
        dbi_weights_##SUFFIX *t = dbi_method_needs_teacher(method) ? &teacher : NULL;                                  \
        assert_int_equal(trainer_finish_##SUFFIX(trainer, &o->log[0], &error), -1);                                    \
        for (int step = 0; step < STEPS; step++) {                                                                     \
            for (int i = 0; i < BATCH * VOXELS; i++)                                                                   \
                given[i] = (REAL)image[step][i];                                                                       \
            const dbi_samples_##SUFFIX samples = {given, label, label_sdf, with_truth || step == 1 ? truth : NULL};    \
            if (together ? trainer_submit_##SUFFIX(trainer, &student, t, &samples, step, &error) ||                    \
                               (step && trainer_finish_##SUFFIX(trainer, &o->log[step - 1], &error))                   \
                         : trainer_step_##SUFFIX(trainer, &student, t, &samples, step, &o->log[step], &error))         \
                fail_msg("%s", error.text);                                                                            \
            for (int i = 0; i < BATCH * VOXELS; i++) /* the samples are free again */                                  \
                given[i] = 1e9f;                                                                                       \
        }                                                                                                              \
        if (together && (trainer_finish_##SUFFIX(trainer, &o->log[STEPS - 1], &error) ||                               \
                         trainer_fetch_##SUFFIX(trainer, &student, t, &error)))                                        \
            fail_msg("%s", error.text);                                                                                \
        o->student = zeros(o->layout.parameters + o->layout.statistics);                                               \
        o->teacher = zeros(o->layout.parameters + o->layout.statistics);                                               \
        o->momentum = zeros(o->layout.parameters);                                                                     \
        o->gradient = zeros(o->layout.parameters);                                                                     \
        copy_##SUFFIX(&student, o->student);                                                                           \
        copy_##SUFFIX(&teacher, o->teacher);                                                                           \
        REAL *own = calloc(o->layout.parameters, sizeof *own);                                                         \
        const REAL *gradient = trainer_gradient_##SUFFIX(trainer, own);                                                \
        assert_non_null(gradient);                                                                                     \
        for (size_t i = 0; i < o->layout.parameters; i++) {                                                            \
            o->momentum[i] = student.momentum[i];                                                                      \
            o->gradient[i] = gradient[i];                                                                              \
        }                                                                                                              \
        free(own);                                                                                                     \
        o->batches[0] = student.batches;                                                                               \
        o->batches[1] = teacher.batches;                                                                               \
        trainer_close_##SUFFIX(trainer);                                                                               \
        dbi_weights_free_##SUFFIX(&student);                                                                           \
        dbi_weights_free_##SUFFIX(&teacher);                                                                           \
        dbi_weights_free_f32(&fresh);                                                                                  \
        free(given);                                                                                                   \
    }
DEFINE_RUN(f32, float)
DEFINE_RUN(f64, double)

static double distance(const double *a, const double *b, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return sqrt(difference / (norm > 0 ? norm : 1));
}

static void below(double value, double limit, const char *method, const char *what)
{
    if (!(value <= limit))
        fail_msg("%s: %s: %g > %g", method, what, value, limit);
}

static void close_to(double got, double expected, double tolerance, const char *method, const char *what)
{
    if (isnan(expected) ? !isnan(got) : !(fabs(got - expected) <= tolerance * (fabs(expected) + 1e-3)))
        fail_msg("%s: %s: %.9g, expected %.9g", method, what, got, expected);
}

static dbi_method preset(const char *name)
{
    dbi_error error;
    dbi_method method;
    assert_int_equal(dbi_method_preset(name, &method, &error), 0);
    method.ramp = 0; /* the unsupervised terms at their full weight */
    method.ramp_steps = 0;
    if (method.passes)
        method.passes = 2;
    if (method.k > 100)
        method.k = 40; /* a step as steep as DTC's turns the last bit of a distance into another probability */
    return method;
}

static void compare(const dbi_method *method, const char *device, double loss, double update)
{
    outcome expected = {0}, got = {0};
    const size_t parameters = (run_f64(&expected, method, "reference", 0.9, false, true), expected.layout.parameters);
    run_f32(&got, method, device, 0.9, true, true);
    for (int step = 0; step < STEPS; step++) {
        close_to(got.log[step].loss.total, expected.log[step].loss.total, loss, method->name, "total");
        for (int t = 0; t < DBI_TERMS; t++)
            close_to(got.log[step].loss.term[t], expected.log[step].loss.term[t], 5 * loss, method->name,
                     dbi_terms[t].name);
        close_to(got.log[step].loss.voxel_weight, expected.log[step].loss.voxel_weight, loss, method->name,
                 "voxel weight");
        close_to(got.log[step].loss.pseudo_dice, expected.log[step].loss.pseudo_dice, 10 * loss, method->name,
                 "pseudo-Dice");
        close_to(got.log[step].rate, expected.log[step].rate, 0, method->name, "rate");
        close_to(got.log[step].ramp, expected.log[step].ramp, 0, method->name, "ramp");
    }
    below(distance(got.student, expected.student, parameters), update / 10, method->name, "student");
    below(distance(got.student + parameters, expected.student + parameters, expected.layout.statistics), update / 10,
          method->name, "statistics");
    below(distance(got.momentum, expected.momentum, parameters), update, method->name, "momentum");
    below(distance(got.gradient, expected.gradient, parameters), update, method->name, "gradient");
    below(distance(got.teacher, expected.teacher, parameters + expected.layout.statistics), update / 10, method->name,
          "teacher");
    assert_int_equal(got.batches[0], dbi_layout_has(&got.layout, DBI_RUNNING_MEAN) ? 5 + STEPS : 5);
    assert_int_equal(got.batches[1], expected.batches[1]);
    outcome_free(&expected);
    outcome_free(&got);
}

static void test_presets_agree_with_the_reference(void **state)
{
    (void)state;
    for (int i = 0; dbi_method_preset_name(i); i++) {
        const dbi_method method = preset(dbi_method_preset_name(i));
        if (sanitized() && strcmp(method.name, "dbisl") &&
            strcmp(method.name, "ua-mt")) /* what the others have these two have */
            continue;
        compare(&method, "cuda", 2e-5, 1e-3);
    }
}

/* Each sample by itself, student and teacher. */
static void test_normalization_by_group(void **state)
{
    (void)state;
    const dbi_method method = preset("dbisl");
    arch.norm = (dbi_normalization){DBI_NORM_GROUP, 2};
    compare(&method, "cuda", 2e-5, 1e-3);
    arch.norm = (dbi_normalization){DBI_NORM_BATCH, 0};
}

/* The outputs of both decoders, student's and teacher's: all terms, and ua-mt's mask. */
static void test_two_decoders(void **state)
{
    (void)state;
    dbi_method all = preset("dbisl"), masked = preset("ua-mt");
    all.weight[DBI_TERM_DECODERS_SEG] = all.weight[DBI_TERM_DECODERS_REG] = 1;
    all.delta = 0.5;
    masked.ramp = 0.117; /* in step 1 a bit below its full weight, so that the mask leaves some voxels out */
    masked.ramp_every = 1;
    arch.decoders = 2;
    compare(&all, "cuda", 2e-5, 1e-3);
    arch.norm = (dbi_normalization){DBI_NORM_GROUP, 2};
    compare(&masked, "cuda", 2e-5, 1e-3);
    arch.norm = (dbi_normalization){DBI_NORM_BATCH, 0};
    arch.decoders = 1;
}

static void same_bytes(const outcome *a, const outcome *b)
{
    const size_t parameters = a->layout.parameters, all = parameters + a->layout.statistics;
    assert_memory_equal(a->student, b->student, all * sizeof(double));
    assert_memory_equal(a->teacher, b->teacher, all * sizeof(double));
    assert_memory_equal(a->momentum, b->momentum, parameters * sizeof(double));
    assert_memory_equal(a->gradient, b->gradient, parameters * sizeof(double));
}

/* Against the reference as far as rounding allows, and, in the emulation, to the last bit against the code for float
 * with activations rounded (see test_cuda_net.c). */
static void test_bf16(void **state)
{
    (void)state;
    dbi_method method = preset("dbisl");
    method.dropout = 0;
    compare(&method, "cuda,bf16", 3e-2, 0.1);
    if (on_gpu())
        return;
    outcome bf16 = {0}, rounded = {0};
    run_f32(&bf16, &method, "cuda,bf16", 0.9, true, true);
    dbi_emulated_rounding = true;
    run_f32(&rounded, &method, "cuda", 0.9, true, true);
    dbi_emulated_rounding = false;
    same_bytes(&bf16, &rounded);
    for (int step = 0; step < STEPS; step++)
        assert_true(bf16.log[step].loss.total == rounded.log[step].loss.total);
    outcome_free(&bf16);
    outcome_free(&rounded);
}

/* Equal bytes, whether steps are done one by one or in a row, whatever the order of threads; and averages as dbisl-ema
 * makes them. */
static void test_one_by_one_or_in_a_row(void **state)
{
    (void)state;
    if (sanitized())
        skip();
    const dbi_method method = preset("ua-mt");
    outcome one = {0}, row = {0};
    run_f32(&one, &method, "cuda", 0.9, false, false);
    dbi_emulated_backwards = !on_gpu();
    run_f32(&row, &method, "cuda", 0.9, true, false);
    dbi_emulated_backwards = false;
    same_bytes(&one, &row);
    assert_true(isnan(one.log[0].loss.pseudo_dice) && !isnan(one.log[1].loss.pseudo_dice));
    outcome_free(&row);
    run_f32(&row, &method, "cuda", -1, true, true); /* the teacher stays; the log's truth changes no weight */
    assert_int_equal(row.batches[1], 0);
    assert_memory_not_equal(one.teacher, row.teacher, one.layout.parameters * sizeof(double));
    outcome_free(&one);
    outcome_free(&row);
}

/* ---- Streams: what the trainer gives one may be done long after what it gives another ---- */

enum { SMALL = 16, MANY = 5 };

/* MANY steps of small batches, two under way at once; what each leaves in `log` and in the end in `weights` [student,
 * momentum, teacher], of `all` bytes. */
static void run_small(const dbi_method *method, dbi_step_log log[MANY], float *weights)
{
    dbi_error error;
    dbi_layout layout;
    dbi_weights_f32 student, teacher;
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    const dbi_loss_shape shape = {BATCH, LABELED, 1, {SMALL, SMALL, SMALL}, layout.arch.decoders};
    assert_int_equal(dbi_weights_new_f32(&student, &layout, true, &error), 0);
    assert_int_equal(dbi_weights_new_f32(&teacher, &layout, false, &error), 0);
    draw_weights(&student);
    draw_weights(&teacher);
    trainer_f32 *trainer = trainer_open_f32(method, TOTAL, 11, &layout, "cuda", &shape, &error);
    assert_non_null(trainer);
    trainer_average_f32(trainer, 0.9, false);
    float *given = calloc(BATCH * VOXELS, sizeof *given);
    assert_non_null(given);
    for (int step = 0; step < MANY; step++) {
        for (int i = 0; i < BATCH * VOXELS; i++)
            given[i] = image[0][i] * (float)(1 + step);
        const dbi_samples_f32 samples = {given, label + VOXELS / 2, label_sdf + VOXELS / 2, NULL};
        if (trainer_submit_f32(trainer, &student, &teacher, &samples, step, &error) ||
            (step && trainer_finish_f32(trainer, &log[step - 1], &error)))
            fail_msg("%s", error.text);
        memset(given, 0xff, BATCH * VOXELS * sizeof *given);
    }
    if (trainer_finish_f32(trainer, &log[MANY - 1], &error) || trainer_fetch_f32(trainer, &student, &teacher, &error))
        fail_msg("%s", error.text);
    const float *const parts[] = {student.parameters, student.momentum, teacher.parameters, student.statistics,
                                  teacher.statistics};
    for (int i = 0; i < 5; i++) {
        const size_t count = i < 3 ? layout.parameters : layout.statistics;
        memcpy(weights, parts[i], count * sizeof *weights);
        weights += count;
    }
    trainer_close_f32(trainer);
    dbi_weights_free_f32(&student);
    dbi_weights_free_f32(&teacher);
    free(given);
}

/* The number of decoders is that of `arch`. */
static void check_streams(const char *name)
{
    dbi_error error;
    dbi_layout layout;
    dbi_step_log log[2][MANY];
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    const size_t all = 3 * layout.parameters + 2 * layout.statistics;
    float *expected = calloc(all, sizeof *expected), *got = calloc(all, sizeof *got);
    assert_non_null(expected);
    assert_non_null(got);
    const uint32_t before = dbi_emulated_disorder;
    const dbi_method method = preset(name);
    dbi_emulated_disorder = 0;
    run_small(&method, log[0], expected);
    for (dbi_emulated_disorder = 1; dbi_emulated_disorder < 9; dbi_emulated_disorder++) {
        run_small(&method, log[1], got);
        if (memcmp(expected, got, all * sizeof *got))
            fail_msg("%s, disorder %u: other weights", name, dbi_emulated_disorder);
        for (int step = 0; step < MANY; step++)
            if (memcmp(&log[0][step].loss.total, &log[1][step].loss.total, sizeof log[0][step].loss.total))
                fail_msg("%s, disorder %u: another loss in step %d", name, dbi_emulated_disorder, step);
        if (on_gpu())
            break; /* which has an order of its own */
    }
    dbi_emulated_disorder = before;
    free(expected);
    free(got);
}

static void test_streams_in_any_order(void **state)
{
    (void)state;
    for (int decoders = 1; decoders <= 2; decoders++) {
        arch.decoders = decoders;
        check_streams("dbisl");
        check_streams("ua-mt");
    }
    arch.decoders = 1;
}

static void test_update_is_the_hosts(void **state)
{
    (void)state;
    dbi_error error;
    dbi_method method = preset("mean-teacher");
    dbi_layout layout;
    dbi_weights_f32 student, teacher, expected, average;
    dbi_step_log log;
    const dbi_loss_shape shape = {BATCH, LABELED, 1, {EDGE, EDGE, EDGE}, 1};
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    dbi_weights_f32 *all[] = {&student, &teacher, &expected, &average};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(dbi_weights_new_f32(all[i], &layout, i % 2 == 0, &error), 0);
        dbi_weights_init_f32(all[i], (uint64_t)(i % 2));
    }
    for (size_t i = 0; i < layout.parameters; i++)
        student.momentum[i] = expected.momentum[i] = (float)sin((double)i);
    trainer_f32 *trainer = trainer_open_f32(&method, TOTAL, 1, &layout, "cuda", &shape, &error);
    assert_non_null(trainer);
    trainer_average_f32(trainer, 0.97, true);
    const dbi_samples_f32 samples = {image[0], label, label_sdf, NULL};
    assert_int_equal(trainer_step_f32(trainer, &student, &teacher, &samples, 4, &log, &error), 0);
    const dbi_sgd sgd = {.rate = log.rate, .momentum = method.momentum, .weight_decay = method.weight_decay};
    float *gradient = calloc(layout.parameters, sizeof *gradient);
    dbi_sgd_step_f32(&expected, &sgd, trainer_gradient_f32(trainer, gradient));
    free(gradient);
    memcpy(expected.statistics, student.statistics, layout.statistics * sizeof(float)); /* which the step has changed */
    dbi_average_f32(&average, &expected, dbi_average_decay(5, 0.97, true));
    assert_memory_equal(student.parameters, expected.parameters, layout.parameters * sizeof(float));
    assert_memory_equal(student.momentum, expected.momentum, layout.parameters * sizeof(float));
    assert_memory_equal(teacher.parameters, average.parameters, layout.parameters * sizeof(float));
    assert_memory_equal(teacher.statistics, average.statistics, layout.statistics * sizeof(float));
    trainer_close_f32(trainer);
    for (int i = 0; i < 4; i++)
        dbi_weights_free_f32(all[i]);
}

/* A loss that is not finite is an error that names the step; neither that step nor one submitted after it changes the
 * weights. */
static void test_infinite_loss(void **state)
{
    (void)state;
    dbi_error error;
    dbi_method method = preset("supervised");
    dbi_layout layout;
    dbi_weights_f32 student, before;
    dbi_step_log log;
    const dbi_loss_shape shape = {BATCH, LABELED, 1, {EDGE, EDGE, EDGE}, 1};
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    assert_int_equal(dbi_weights_new_f32(&student, &layout, true, &error), 0);
    assert_int_equal(dbi_weights_new_f32(&before, &layout, true, &error), 0);
    dbi_weights_init_f32(&student, 1);
    dbi_weights_init_f32(&before, 1);
    trainer_f32 *trainer = trainer_open_f32(&method, TOTAL, 1, &layout, "cuda", &shape, &error);
    assert_non_null(trainer);
    float *bad = calloc(LABELED * VOXELS, sizeof *bad);
    assert_non_null(bad);
    bad[7] = INFINITY;
    const dbi_samples_f32 broken = {image[0], label, bad, NULL}, good = {image[0], label, label_sdf, NULL};
    assert_int_equal(trainer_submit_f32(trainer, &student, NULL, &broken, 7, &error), 0);
    assert_int_equal(trainer_submit_f32(trainer, &student, NULL, &good, 8, &error), 0);
    assert_int_equal(trainer_submit_f32(trainer, &student, NULL, &good, 9, &error), -1); /* two are under way */
    assert_int_equal(trainer_finish_f32(trainer, &log, &error), -1);
    assert_non_null(strstr(error.text, "step 7: the loss is not finite"));
    assert_int_equal(trainer_fetch_f32(trainer, &student, NULL, &error), 0);
    assert_memory_equal(student.parameters, before.parameters, layout.parameters * sizeof(float));
    assert_memory_equal(student.momentum, before.momentum, layout.parameters * sizeof(float));
    trainer_close_f32(trainer);
    dbi_weights_free_f32(&student);
    dbi_weights_free_f32(&before);
    free(bad);
}

static void test_bad_trainers(void **state)
{
    (void)state;
    dbi_error error;
    dbi_layout layout;
    const dbi_method method = preset("dbisl");
    dbi_loss_shape shape = {BATCH, LABELED, 1, {EDGE, EDGE, EDGE}, 1};
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    shape.size[1] = 24;
    assert_null(trainer_open_f32(&method, TOTAL, 1, &layout, "cuda", &shape, &error));
    shape.size[1] = (int64_t)1 << 50;
    assert_null(trainer_open_f32(&method, TOTAL, 1, &layout, "cuda", &shape, &error));
    shape.size[1] = EDGE;
    trainer_f32 *trainer = trainer_open_f32(&method, TOTAL, 1, &layout, "cuda", &shape, &error);
    assert_non_null(trainer);
    dbi_weights_f32 student;
    assert_int_equal(dbi_weights_new_f32(&student, &layout, true, &error), 0);
    const dbi_samples_f32 samples = {image[0], label, label_sdf, NULL};
    assert_int_equal(trainer_submit_f32(trainer, &student, NULL, &samples, 0, &error), -1);
    assert_non_null(strstr(error.text, "teacher"));
    trainer_close_f32(trainer);
    dbi_weights_free_f32(&student);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets_agree_with_the_reference),
        cmocka_unit_test(test_normalization_by_group),
        cmocka_unit_test(test_two_decoders),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_one_by_one_or_in_a_row),
        cmocka_unit_test(test_streams_in_any_order),
        cmocka_unit_test(test_update_is_the_hosts),
        cmocka_unit_test(test_infinite_loss),
        cmocka_unit_test(test_bad_trainers),
    };
    return cmocka_run_group_tests(tests, make_samples, NULL);
}
