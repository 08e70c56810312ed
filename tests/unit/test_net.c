/* The network: against PyTorch's numbers, against central differences, and device against device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/parallel.h"
#include "devices.h"
#include "net/weights.f64.h"
#include "net/weights.real.h"
#include "record/stream.h"

#define BATCH                                                                                                          \
    {                                                                                                                  \
        DBI_NORM_BATCH, 0                                                                                              \
    }

/* One forward and backward pass, everything in double whatever the device computes in. */
typedef struct job {
    const char *device;
    bool wide; /* double precision */
    dbi_layout layout;
    int64_t batch, size[3];
    dbi_pass pass;
    double *parameters, *statistics, *image;
    double *logits, *sdf, *dlogits, *dsdf, *gradient;
} job;

/* Of all decoders. */
static size_t outputs(const job *j)
{
    return (size_t)(j->layout.arch.decoders * j->batch * j->layout.arch.classes * j->size[0] * j->size[1] * j->size[2]);
}

static size_t inputs(const job *j)
{
    return (size_t)(j->batch * j->layout.arch.channels * j->size[0] * j->size[1] * j->size[2]);
}

static void *zeros(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    assert_non_null(p);
    return p;
}

static void job_new(job *j, const char *device, bool wide, const dbi_arch *arch, int64_t batch, int64_t x, int64_t y,
                    int64_t z)
{
    dbi_error error;
    *j = (job){.device = device, .wide = wide, .batch = batch, .size = {x, y, z}};
    assert_int_equal(dbi_layout_make(arch, &j->layout, &error), 0);
    j->parameters = zeros(j->layout.parameters, sizeof(double));
    j->statistics = zeros(j->layout.statistics, sizeof(double));
    j->gradient = zeros(j->layout.parameters, sizeof(double));
    j->image = zeros(inputs(j), sizeof(double));
    j->logits = zeros(outputs(j), sizeof(double));
    j->sdf = zeros(outputs(j), sizeof(double));
    j->dlogits = zeros(outputs(j), sizeof(double));
    j->dsdf = zeros(outputs(j), sizeof(double));
}

static void job_free(job *j)
{
    double *arrays[] = {j->parameters, j->statistics, j->gradient, j->image, j->logits, j->sdf, j->dlogits, j->dsdf};
    for (int i = 0; i < 8; i++)
        free(arrays[i]);
}

/* The forward pass, then `losses` (may be NULL) fills dlogits and dsdf, then the backward pass. */
#define DEFINE_RUN(SUFFIX, REAL)                                                                                       \
    static void run_##SUFFIX(job *j, void (*losses)(job *, const void *), const void *context)                         \
    {                                                                                                                  \
        dbi_error error = {""};                                                                                        \
        dbi_weights_##SUFFIX w;                                                                                        \
        size_t in = inputs(j), out = outputs(j);                                                                       \
        REAL *image = zeros(in, sizeof *image), *outs = zeros(4 * out, sizeof *outs),                                  \
             *gradient = zeros(j->layout.parameters, sizeof *gradient);                                                \
        assert_int_equal(dbi_weights_new_##SUFFIX(&w, &j->layout, false, &error), 0);                                  \
        for (size_t i = 0; i < j->layout.parameters; i++)                                                              \
            w.parameters[i] = (REAL)j->parameters[i];                                                                  \
        for (size_t i = 0; i < j->layout.statistics; i++)                                                              \
            w.statistics[i] = (REAL)j->statistics[i];                                                                  \
        for (size_t i = 0; i < in; i++)                                                                                \
            image[i] = (REAL)j->image[i];                                                                              \
        net_##SUFFIX *net = net_open_##SUFFIX(&j->layout, j->device, j->batch, j->size, j->pass.keep, &error);         \
        if (!net)                                                                                                      \
            fail_msg("%s", error.text);                                                                                \
        if (net_forward_##SUFFIX(net, &w, &j->pass, image, outs, outs + out, &error))                                  \
            fail_msg("%s", error.text);                                                                                \
        for (size_t i = 0; i < out; i++) {                                                                             \
            j->logits[i] = outs[i];                                                                                    \
            j->sdf[i] = outs[out + i];                                                                                 \
        }                                                                                                              \
        for (size_t i = 0; i < j->layout.statistics; i++)                                                              \
            j->statistics[i] = w.statistics[i];                                                                        \
        if (losses) {                                                                                                  \
            losses(j, context);                                                                                        \
            for (size_t i = 0; i < out; i++) {                                                                         \
                outs[2 * out + i] = (REAL)j->dlogits[i];                                                               \
                outs[3 * out + i] = (REAL)j->dsdf[i];                                                                  \
            }                                                                                                          \
            if (net_backward_##SUFFIX(net, &w, outs + 2 * out, outs + 3 * out, gradient, &error))                      \
                fail_msg("%s", error.text);                                                                            \
            for (size_t i = 0; i < j->layout.parameters; i++)                                                          \
                j->gradient[i] = gradient[i];                                                                          \
        }                                                                                                              \
        net_close_##SUFFIX(net);                                                                                       \
        dbi_weights_free_##SUFFIX(&w);                                                                                 \
        free(image);                                                                                                   \
        free(outs);                                                                                                    \
        free(gradient);                                                                                                \
    }
DEFINE_RUN(f32, float)
DEFINE_RUN(f64, double)

static void run(job *j, void (*losses)(job *, const void *), const void *context)
{
    if (j->wide)
        run_f64(j, losses, context);
    else
        run_f32(j, losses, context);
}

/* |a - b| / |b| as vectors. */
static double distance(const double *a, const double *b, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return sqrt(difference / (norm > 0 ? norm : 1));
}

static double largest(const double *a, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        if (!(fabs(a[i]) <= most))
            most = fabs(a[i]);
    return most;
}

#define assert_below(value, limit, ...)                                                                                \
    do {                                                                                                               \
        double value_ = (value), limit_ = (limit);                                                                     \
        if (!(value_ <= limit_)) {                                                                                     \
            print_error("%g > %g: ", value_, limit_);                                                                  \
            fail_msg(__VA_ARGS__);                                                                                     \
        }                                                                                                              \
    } while (0)

/* The bias of a convolution before a normalization of single channels by what they hold: its gradient is truly 0. */
static bool is_idle_bias(const dbi_layout *layout, int tensor, dbi_statistics_mode statistics)
{
    for (int l = 0; l < layout->layers; l++)
        if (layout->layer[l].tensor >= 0 && tensor == layout->layer[l].tensor + DBI_CONV_BIAS)
            return dbi_norm_own(layout, statistics) &&
                   (!layout->layer[l].groups || layout->layer[l].groups == layout->layer[l].out);
    return false;
}

/* ---- PyTorch's numbers ---- */

/* norms: outputs and gradients by instance and by group, of a mixture of the images, same weights; decoders: of the same
 * images, the network with two decoders. */
static dbi_record *fixture, *norms, *decoders;

static const float *floats_of(const dbi_record *record, const char *name, size_t count)
{
    const dbi_tensor *t = dbi_record_find(record, name);
    if (!t || t->dtype != DBI_F32 || t->count != count)
        fail_msg("fixture tensor %s", name);
    return t->data;
}

static const float *fixture_floats(const char *name, size_t count)
{
    return floats_of(fixture, name, count);
}

static void widen_from(const dbi_record *record, double *to, const char *name, size_t count)
{
    const float *from = floats_of(record, name, count);
    for (size_t i = 0; i < count; i++)
        to[i] = from[i];
}

static void widen(double *to, const char *name, size_t count)
{
    widen_from(fixture, to, name, count);
}

static dbi_record *load_fixture(const char *name)
{
    dbi_error error;
    const char *directory = getenv("FIXTURES");
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.safetensors", directory ? directory : "tests/fixtures", name);
    dbi_record *record = dbi_record_load(path, &error);
    if (!record)
        print_error("%s\n", error.text);
    return record;
}

static int open_fixture(void **state)
{
    (void)state;
    fixture = load_fixture("network");
    norms = load_fixture("norms");
    decoders = load_fixture("decoders");
    return fixture && norms && decoders ? 0 : -1;
}

static int close_fixture(void **state)
{
    (void)state;
    dbi_record_free(fixture);
    dbi_record_free(norms);
    dbi_record_free(decoders);
    return 0;
}

static void fixture_job(job *j, const char *device, bool wide, const dbi_arch *arch, const dbi_record *record)
{
    job_new(j, device, wide, arch, 2, 32, 32, 32);
    for (int t = 0; t < j->layout.tensors; t++) {
        const dbi_named *tensor = &j->layout.tensor[t];
        char name[96];
        snprintf(name, sizeof name, "state.%s", tensor->name);
        widen_from(record, (tensor->role == DBI_PARAMETER ? j->parameters : j->statistics) + tensor->offset, name,
                   tensor->count);
    }
    widen(j->image, "image", inputs(j));
}

static void compare_outputs(const job *j, const char *mode, double limit)
{
    char name[64];
    double *expected = zeros(outputs(j), sizeof(double));
    snprintf(name, sizeof name, "%s.logits", mode);
    widen(expected, name, outputs(j));
    assert_below(distance(j->logits, expected, outputs(j)), limit, "%s %s", j->device, name);
    snprintf(name, sizeof name, "%s.sdf", mode);
    widen(expected, name, outputs(j));
    assert_below(distance(j->sdf, expected, outputs(j)), limit, "%s %s", j->device, name);
    free(expected);
}

/* Of one decoder, share of the loss. */
static void supervised_decoder(job *j, size_t at, size_t count, double share)
{
    const dbi_tensor *label = dbi_record_find(fixture, "label");
    const float *distances = fixture_floats("sdf", count);
    const uint8_t *y = label->data;
    const double *logits = j->logits + at, *sdf = j->sdf + at;
    double both = 0, squares = 0, eps = 1e-5;
    for (size_t i = 0; i < count; i++) {
        double p = 1 / (1 + exp(-logits[i]));
        both += p * y[i];
        squares += p * p + y[i];
    }
    for (size_t i = 0; i < count; i++) {
        double p = 1 / (1 + exp(-logits[i]));
        double dp = -2 * y[i] / (squares + eps) + (2 * both + eps) / ((squares + eps) * (squares + eps)) * 2 * p;
        j->dlogits[at + i] = share * dp * p * (1 - p);
        j->dsdf[at + i] = share * 0.3 * 2 * (sdf[i] - distances[i]) / (double)count;
    }
}

/* Dice + 0.3 mean squared distance error, of the fixture's label and distance; the decoders' mean. */
static void supervised(job *j, const void *context)
{
    (void)context;
    const int all = j->layout.arch.decoders;
    const size_t count = outputs(j) / (size_t)all;
    for (int d = 0; d < all; d++)
        supervised_decoder(j, (size_t)d * count, count, 1.0 / all);
}

/* Against "PREFIX.grad.TENSOR" of the record. */
static void compare_gradients(const job *j, const dbi_record *record, const char *prefix, double whole, double each,
                              double idle)
{
    double *expected = zeros(j->layout.parameters, sizeof(double));
    char name[96];
    for (int t = 0; t < j->layout.tensors; t++) {
        const dbi_named *tensor = &j->layout.tensor[t];
        if (tensor->role != DBI_PARAMETER)
            continue;
        snprintf(name, sizeof name, "%s.grad.%s", prefix, tensor->name);
        widen_from(record, expected + tensor->offset, name, tensor->count);
        if (is_idle_bias(&j->layout, t, j->pass.statistics))
            assert_below(largest(j->gradient + tensor->offset, tensor->count), idle, "%s %s", j->device, name);
        else
            assert_below(distance(j->gradient + tensor->offset, expected + tensor->offset, tensor->count), each,
                         "%s %s", j->device, name);
    }
    assert_below(distance(j->gradient, expected, j->layout.parameters), whole, "%s, all gradients", j->device);
    free(expected);
}

/* Against "PREFIX.after1.TENSOR" of the record. */
static void compare_statistics(const job *j, const dbi_record *record, const char *prefix, double limit)
{
    char name[96];
    for (int t = 0; t < j->layout.tensors; t++) {
        const dbi_named *tensor = &j->layout.tensor[t];
        if (tensor->role != DBI_STATISTIC)
            continue;
        double *expected = zeros(tensor->count, sizeof(double));
        snprintf(name, sizeof name, "%s.after1.%s", prefix, tensor->name);
        widen_from(record, expected, name, tensor->count);
        assert_below(distance(j->statistics + tensor->offset, expected, tensor->count), limit, "%s %s", j->device,
                     name);
        free(expected);
    }
}

static void check_fixture(const char *device, bool wide, double output, double whole, double each, double idle,
                          double statistics)
{
    job j;
    fixture_job(&j, device, wide, &(dbi_arch){1, 1, 2, BATCH, 1}, fixture);
    j.pass = (dbi_pass){.statistics = DBI_RUNNING_STATISTICS};
    run(&j, NULL, NULL);
    compare_outputs(&j, "eval", output);
    j.pass = (dbi_pass){.statistics = DBI_BATCH_STATISTICS, .update_running = true, .keep = true};
    run(&j, supervised, NULL);
    compare_outputs(&j, "supervised.train", output);
    compare_gradients(&j, fixture, "supervised", whole, each, idle);
    compare_statistics(&j, fixture, "supervised", statistics);
    job_free(&j);
}

static void compare_first_sample(const job *j, const char *norm, const char *what, const double *got, double limit)
{
    const size_t count = outputs(j) / (size_t)j->batch;
    double *expected = zeros(count, sizeof(double));
    char name[64];
    snprintf(name, sizeof name, "%s.%s", norm, what);
    widen_from(norms, expected, name, count);
    assert_below(distance(got, expected, count), limit, "%s %s", j->device, name);
    free(expected);
}

/* The fixture's two samples, each with a part of the other: see norms.py. */
static void mix_samples(job *j)
{
    double mix;
    widen_from(norms, &mix, "mix", 1);
    const size_t count = inputs(j) / 2;
    for (size_t i = 0; i < count; i++) {
        const double first = j->image[i], second = j->image[count + i];
        j->image[i] = (float)(first + mix * second);
        j->image[count + i] = (float)(second + mix * first);
    }
}

/* In use and in training they give the same. */
static void check_norms(const char *device, bool wide, double output, double whole, double each, double idle)
{
    static const char *const names[] = {"instance", "instance:affine", "group:2"};
    for (int i = 0; i < 3; i++) {
        job j;
        dbi_normalization norm;
        assert_int_equal(dbi_norm_parse(names[i], &norm, NULL), 0);
        fixture_job(&j, device, wide, &(dbi_arch){1, 1, 2, norm, 1}, fixture);
        mix_samples(&j);
        j.pass = (dbi_pass){.statistics = DBI_RUNNING_STATISTICS};
        run(&j, NULL, NULL);
        compare_first_sample(&j, names[i], "logits", j.logits, output);
        compare_first_sample(&j, names[i], "sdf", j.sdf, output);
        j.pass = (dbi_pass){.statistics = DBI_BATCH_STATISTICS, .update_running = true, .keep = true};
        run(&j, supervised, NULL);
        compare_first_sample(&j, names[i], "logits", j.logits, output);
        compare_gradients(&j, norms, names[i], whole, each, idle);
        job_free(&j);
    }
}

/* Every second voxel of each decoder's first sample. */
static void compare_thinned(const job *j, const char *norm, const char *what, const double *got, double limit)
{
    const int64_t *n = j->size;
    const size_t sample = outputs(j) / 2 / (size_t)j->batch, count = sample / 8;
    double *expected = zeros(2 * count, sizeof(double)), *thin = zeros(2 * count, sizeof(double)), *to = thin;
    char name[64];
    snprintf(name, sizeof name, "%s.%s", norm, what);
    widen_from(decoders, expected, name, 2 * count);
    for (int d = 0; d < 2; d++)
        for (int64_t x = 0; x < n[0]; x += 2)
            for (int64_t y = 0; y < n[1]; y += 2)
                for (int64_t z = 0; z < n[2]; z += 2)
                    *to++ = got[(size_t)(d * j->batch) * sample + (size_t)((x * n[1] + y) * n[2] + z)];
    assert_below(distance(thin, expected, 2 * count), limit, "%s two decoders %s", j->device, name);
    free(expected);
    free(thin);
}

static void check_decoders(const char *device, bool wide, double output, double whole, double each, double idle,
                           double statistics)
{
    static const char *const names[] = {"batch", "instance", "instance:affine", "group:1"};
    for (int i = 0; i < 4; i++) {
        job j;
        dbi_arch arch = {1, 1, 1, BATCH, 2};
        assert_int_equal(dbi_norm_parse(names[i], &arch.norm, NULL), 0);
        fixture_job(&j, device, wide, &arch, decoders);
        j.pass = (dbi_pass){.statistics = DBI_RUNNING_STATISTICS};
        run(&j, NULL, NULL);
        compare_thinned(&j, i ? names[i] : "eval", "logits", j.logits, output);
        compare_thinned(&j, i ? names[i] : "eval", "sdf", j.sdf, output);
        j.pass = (dbi_pass){.statistics = DBI_BATCH_STATISTICS, .update_running = true, .keep = true};
        run(&j, supervised, NULL);
        compare_thinned(&j, names[i], "logits", j.logits, output);
        compare_thinned(&j, names[i], "sdf", j.sdf, output);
        compare_gradients(&j, decoders, names[i], whole, each, idle);
        compare_statistics(&j, decoders, names[i], statistics);
        job_free(&j);
    }
}

static void test_cpu_agrees_with_pytorch(void **state)
{
    (void)state;
    check_fixture("cpu", false, 1e-4, 2e-3, 2e-2, 1e-6, 1e-3);
    check_norms("cpu", false, 1e-4, 2e-3, 2e-2, 1e-6);
    check_decoders("cpu", false, 1e-4, 2e-3, 2e-2, 1e-6, 1e-3);
}

static void test_reference_agrees_with_pytorch(void **state)
{
    (void)state;
    check_fixture("reference", true, 1e-6, 1e-6, 1e-6, 1e-9, 1e-6);
    check_norms("reference", true, 1e-6, 1e-6, 1e-6, 1e-9);
    check_decoders("reference", true, 1e-6, 1e-6, 1e-6, 1e-9, 1e-6);
    check_fixture("reference", false, 1e-4, 2e-3, 2e-2, 1e-6, 1e-3);
    check_norms("reference", false, 1e-4, 2e-3, 2e-2, 1e-6);
}

/* The second run of this program, see test_without_avx512. */
static bool is_child(void)
{
    return getenv("TEST_NET_ISA");
}

/* ---- Devices against each other ---- */

static void draw(double *to, size_t count, uint32_t stream, double scale, double offset)
{
    dbi_random random;
    dbi_random_start(&random, 1, DBI_ROLE_TEST, 0, stream);
    for (size_t i = 0; i < count; i++)
        to[i] = (float)(offset + scale * dbi_random_normal(&random));
}

/* Random weights and image; normalization parameters and running statistics away from their defaults. */
static void random_job(job *j)
{
    dbi_error error;
    dbi_weights_f32 w;
    assert_int_equal(dbi_weights_new_f32(&w, &j->layout, false, &error), 0);
    dbi_weights_init_f32(&w, 5);
    dbi_weights_init_kaiming_f32(&w, 5); /* keeps the size of signals also where constant statistics do not */
    for (size_t i = 0; i < j->layout.parameters; i++)
        j->parameters[i] = w.parameters[i];
    dbi_weights_free_f32(&w);
    for (int l = 0; l < j->layout.layers; l++) {
        if (j->layout.layer[l].tensor < 0)
            continue;
        const dbi_named *t = &j->layout.tensor[j->layout.layer[l].tensor];
        if (dbi_layout_has(&j->layout, DBI_NORM_GAMMA)) {
            draw(j->parameters + t[2].offset, t[2].count, (uint32_t)(4 * l), 0.2, 1);
            draw(j->parameters + t[3].offset, t[3].count, (uint32_t)(4 * l + 1), 0.2, 0);
        }
        if (dbi_layout_has(&j->layout, DBI_RUNNING_MEAN)) {
            draw(j->statistics + t[4].offset, t[4].count, (uint32_t)(4 * l + 2), 0.1, 0);
            draw(j->statistics + t[5].offset, t[5].count, (uint32_t)(4 * l + 3), 0.05, 1);
        }
    }
    draw(j->image, inputs(j), 1000, 1, 0.5);
}

/* A loss that is linear in the outputs: its gradient is a fixed random field. */
static void linear(job *j, const void *context)
{
    (void)context;
    draw(j->dlogits, outputs(j), 1001, 1 / sqrt((double)outputs(j)), 0);
    draw(j->dsdf, outputs(j), 1002, 1 / sqrt((double)outputs(j)), 0);
}

typedef struct sample_case {
    dbi_arch arch;
    int64_t batch, size[3];
    double dropout;
    dbi_statistics_mode statistics;
} sample_case;

static void run_random(job *j, const sample_case *c)
{
    random_job(j);
    j->pass = (dbi_pass){.statistics = c->statistics,
                         .update_running = true,
                         .keep = true,
                         .dropout = c->dropout,
                         .seed = 3,
                         .role = DBI_ROLE_DROPOUT,
                         .step = 7};
    run(j, linear, NULL);
}

enum { WOBBLES = 2 };

/* How far the gradients move when the image is off by what single precision leaves of a layer's sums: the largest of
 * some tries, for all of the gradient and per tensor. That is no small number where few voxels make a batch's
 * statistics: a value near the kink of a ReLU may fall to its other side, and its gradient comes or goes as a whole. */
static void wobble(const sample_case *c, const job *wide, double *whole, double *tensor)
{
    for (uint32_t k = 0; k < WOBBLES; k++) {
        job off;
        dbi_random random;
        job_new(&off, "reference", true, &c->arch, c->batch, c->size[0], c->size[1], c->size[2]);
        random_job(&off);
        dbi_random_start(&random, 1, DBI_ROLE_TEST, 0, 2000 + k);
        for (size_t i = 0; i < inputs(&off); i++)
            off.image[i] *= 1 + 1e-6 * dbi_random_normal(&random);
        off.pass = wide->pass;
        run(&off, linear, NULL);
        *whole = fmax(*whole, distance(off.gradient, wide->gradient, wide->layout.parameters));
        for (int t = 0; t < wide->layout.tensors; t++) {
            const dbi_named *at = &wide->layout.tensor[t];
            if (at->role == DBI_PARAMETER)
                tensor[t] =
                    fmax(tensor[t], distance(off.gradient + at->offset, wide->gradient + at->offset, at->count));
        }
        job_free(&off);
    }
}

static void compare_jobs(const job *narrow, const job *wide, double whole, const double *wobbles, const char *text)
{
    const bool kinks = dbi_norm_own(&wide->layout, wide->pass.statistics) ||
                       wide->layout.arch.decoders > 1; /* by statistics of few values, or by many values */
    assert_below(distance(narrow->logits, wide->logits, outputs(wide)), 1e-4, "%s: logits", text);
    assert_below(distance(narrow->sdf, wide->sdf, outputs(wide)), 1e-4, "%s: sdf", text);
    assert_below(distance(narrow->statistics, wide->statistics, wide->layout.statistics), 1e-4, "%s: statistics", text);
    assert_below(distance(narrow->gradient, wide->gradient, wide->layout.parameters), (kinks ? 2e-3 : 1e-4) + 2 * whole,
                 "%s: gradient", text);
    for (int t = 0; t < wide->layout.tensors; t++) {
        const dbi_named *tensor = &wide->layout.tensor[t];
        bool idle = is_idle_bias(&wide->layout, t, wide->pass.statistics);
        if (tensor->role == DBI_PARAMETER && !idle)
            assert_below(distance(narrow->gradient + tensor->offset, wide->gradient + tensor->offset, tensor->count),
                         (kinks ? 2e-2 : 1e-3) + 2 * wobbles[t], "%s: %s", text, tensor->name);
    }
}

/* A batch's statistics of few values are ill-conditioned, in every precision: the smallest grid, 1/16 of the size, has
 * at least 12 voxels here, or the statistics are the running ones. */
static void test_devices_agree(void **state)
{
    (void)state;
    static const sample_case cases[] = {
        {{1, 1, 1, BATCH, 1}, 1, {32, 32, 48}, 0, DBI_BATCH_STATISTICS},
        {{3, 2, 3, BATCH, 1}, 2, {16, 32, 48}, 0.5, DBI_BATCH_STATISTICS},
        {{1, 1, 4, BATCH, 1}, 3, {32, 16, 32}, 0.5, DBI_BATCH_STATISTICS},
        {{2, 3, 5, BATCH, 1}, 1, {16, 32, 48}, 0, DBI_RUNNING_STATISTICS},
        {{1, 1, 8, BATCH, 1}, 2, {32, 32, 16}, 0.5, DBI_RUNNING_STATISTICS},
        {{5, 1, 9, BATCH, 1}, 1, {16, 32, 16}, 0.5, DBI_RUNNING_STATISTICS},
        {{1, 2, 12, BATCH, 1}, 1, {32, 16, 16}, 0, DBI_RUNNING_STATISTICS},
        {{1, 1, 17, BATCH, 1}, 2, {16, 16, 16}, 0, DBI_RUNNING_STATISTICS},
        {{1, 2, 3, {DBI_NORM_INSTANCE, 0}, 1}, 2, {32, 32, 48}, 0.5, DBI_BATCH_STATISTICS},
        {{2, 1, 9, {DBI_NORM_INSTANCE_AFFINE, 0}, 1}, 1, {32, 32, 48}, 0, DBI_RUNNING_STATISTICS},
        {{1, 3, 6, {DBI_NORM_GROUP, 3}, 1}, 3, {32, 32, 48}, 0.5, DBI_BATCH_STATISTICS},
        {{1, 2, 4, BATCH, 2}, 2, {32, 16, 48}, 0.5, DBI_BATCH_STATISTICS},
        {{2, 1, 8, BATCH, 2}, 1, {16, 32, 16}, 0.5, DBI_RUNNING_STATISTICS},
        {{1, 1, 17, BATCH, 2}, 1, {16, 16, 16}, 0, DBI_RUNNING_STATISTICS},
        {{1, 1, 3, {DBI_NORM_GROUP, 3}, 2}, 1, {48, 32, 32}, 0.5, DBI_RUNNING_STATISTICS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const sample_case *c = &cases[i];
        static const char *const devices[] = {"cpu", "reference"};
        char text[96];
        job wide, narrow;
        job_new(&wide, "reference", true, &c->arch, c->batch, c->size[0], c->size[1], c->size[2]);
        run_random(&wide, c);
        double whole = 0, wobbles[DBI_MAX_TENSORS] = {0};
        if (dbi_norm_own(&wide.layout, c->statistics))
            wobble(c, &wide, &whole, wobbles);
        for (int d = 0; d < (is_child() ? 1 : 2); d++) {
            snprintf(text, sizeof text, "%s, %d channels, %d classes, %d filters, %d decoders", devices[d],
                     c->arch.channels, c->arch.classes, c->arch.filters, c->arch.decoders);
            job_new(&narrow, devices[d], false, &c->arch, c->batch, c->size[0], c->size[1], c->size[2]);
            run_random(&narrow, c);
            compare_jobs(&narrow, &wide, whole, wobbles, text);
            job_free(&narrow);
        }
        job_free(&wide);
    }
}

static void test_equal_bytes_when_run_again(void **state)
{
    (void)state;
    static const sample_case c = {{1, 2, 8, BATCH, 1}, 2, {32, 16, 48}, 0.5, DBI_BATCH_STATISTICS};
    job first, second;
    job *both[] = {&first, &second};
    dbi_set_threads(2);
    for (int i = 0; i < 2; i++) {
        job_new(both[i], "cpu", false, &c.arch, c.batch, c.size[0], c.size[1], c.size[2]);
        run_random(both[i], &c);
    }
    dbi_set_threads(1);
    assert_memory_equal(first.logits, second.logits, outputs(&first) * sizeof(double));
    assert_memory_equal(first.gradient, second.gradient, first.layout.parameters * sizeof(double));
    assert_memory_equal(first.statistics, second.statistics, first.layout.statistics * sizeof(double));
    job_free(&first);
    job_free(&second);
}

/* Forward, of both decoders. */
static void test_equal_bytes_with_any_threads(void **state)
{
    (void)state;
    const dbi_arch arch = {1, 2, 9, BATCH, 2};
    job jobs[3];
    for (int i = 0; i < 3; i++) {
        dbi_set_threads(i + 1);
        job_new(&jobs[i], "cpu", false, &arch, 2, 16, 32, 48);
        random_job(&jobs[i]);
        jobs[i].pass = (dbi_pass){.statistics = DBI_BATCH_STATISTICS, .dropout = 0.5};
        run(&jobs[i], NULL, NULL);
        assert_memory_equal(jobs[0].logits, jobs[i].logits, outputs(&jobs[0]) * sizeof(double));
        assert_memory_equal(jobs[0].sdf, jobs[i].sdf, outputs(&jobs[0]) * sizeof(double));
    }
    dbi_set_threads(1);
    for (int i = 0; i < 3; i++)
        job_free(&jobs[i]);
}

/* ---- Central differences ---- */

static double linear_loss(const job *j)
{
    double sum = 0;
    for (size_t i = 0; i < outputs(j); i++)
        sum += j->logits[i] * j->dlogits[i] + j->sdf[i] * j->dsdf[i];
    return sum;
}

/* The loss with a tensor moved by `by` along a direction. */
static double moved_loss(const job *base, size_t offset, const double *direction, size_t count, double by)
{
    job j = *base;
    double *parameters = zeros(j.layout.parameters, sizeof(double)),
           *statistics = zeros(j.layout.statistics, sizeof(double));
    memcpy(parameters, base->parameters, j.layout.parameters * sizeof(double));
    memcpy(statistics, base->statistics, j.layout.statistics * sizeof(double));
    j.parameters = parameters;
    j.statistics = statistics;
    j.pass.keep = j.pass.update_running = false;
    for (size_t i = 0; i < count; i++)
        parameters[offset + i] += by * direction[i];
    run_f64(&j, NULL, NULL);
    free(parameters);
    free(statistics);
    return linear_loss(&j);
}

static double slope_of(const job *j, const dbi_named *tensor, const double *direction, double step)
{
    return (moved_loss(j, tensor->offset, direction, tensor->count, step) -
            moved_loss(j, tensor->offset, direction, tensor->count, -step)) /
           (2 * step);
}

/* Every tensor along a random direction: the slope is the gradient's component. All kinds of layers and normalizations,
 * dropout, skips and heads. */
static void check_slopes(dbi_normalization norm, int ends, dbi_statistics_mode statistics, int64_t size)
{
    job j;
    const dbi_arch arch = {2, 2, norm.kind == DBI_NORM_GROUP ? 2 : 1, norm, ends};
    job_new(&j, "reference", true, &arch, 2, size, 32, 32);
    random_job(&j);
    j.pass = (dbi_pass){
        .statistics = statistics, .keep = true, .dropout = 0.25, .seed = 3, .role = DBI_ROLE_DROPOUT, .step = 7};
    run_f64(&j, linear, NULL);
    double *direction = zeros(j.layout.parameters, sizeof(double));
    for (int t = 0; t < j.layout.tensors; t++) {
        const dbi_named *tensor = &j.layout.tensor[t];
        if (tensor->role != DBI_PARAMETER)
            continue;
        draw(direction, tensor->count, 2000 + (uint32_t)t, 1, 0);
        const double *gradient = j.gradient + tensor->offset;
        double inner = 0, squares[2] = {0}, error = INFINITY;
        for (size_t i = 0; i < tensor->count; i++) {
            inner += gradient[i] * direction[i];
            squares[0] += gradient[i] * gradient[i];
            squares[1] += direction[i] * direction[i];
        }
        /* Short steps, so that hardly a value crosses the kink of ReLU, and a shorter one in case one does. */
        const double limit = is_idle_bias(&j.layout, t, statistics) ? 1e-7 : 1e-4 * sqrt(squares[0] * squares[1]);
        for (double step = 1e-7; step > 5e-9 && !(error <= limit); step /= 10)
            error = fabs(slope_of(&j, tensor, direction, step) - inner);
        assert_below(error, limit, "normalization %d, %d decoders, %s: gradient %g", (int)norm.kind, ends, tensor->name,
                     inner);
    }
    free(direction);
    job_free(&j);
}

static void test_gradients_are_slopes(void **state)
{
    (void)state;
    check_slopes((dbi_normalization)BATCH, 1, DBI_BATCH_STATISTICS, 32);
    check_slopes((dbi_normalization)BATCH, 1, DBI_RUNNING_STATISTICS, 16);
    check_slopes((dbi_normalization){DBI_NORM_INSTANCE, 0}, 1, DBI_BATCH_STATISTICS, 32);
    check_slopes((dbi_normalization){DBI_NORM_INSTANCE_AFFINE, 0}, 1, DBI_RUNNING_STATISTICS, 32);
    check_slopes((dbi_normalization){DBI_NORM_GROUP, 2}, 1, DBI_BATCH_STATISTICS, 32);
    check_slopes((dbi_normalization)BATCH, 2, DBI_RUNNING_STATISTICS, 16);
}

/* ---- Passes ---- */

static void test_dropout_masks_whole_channels(void **state)
{
    (void)state;
    static const sample_case c = {{1, 1, 2, BATCH, 1}, 2, {16, 16, 32}, 0.5, DBI_RUNNING_STATISTICS};
    job with, again, without;
    job *all[] = {&with, &again, &without};
    for (int i = 0; i < 3; i++) {
        job_new(all[i], "cpu", false, &c.arch, c.batch, c.size[0], c.size[1], c.size[2]);
        random_job(all[i]);
        all[i]->pass = (dbi_pass){.dropout = i < 2 ? 0.5 : 0, .seed = 3, .role = DBI_ROLE_DROPOUT, .step = (uint32_t)i};
        run(all[i], NULL, NULL);
    }
    assert_true(distance(with.logits, without.logits, outputs(&with)) > 1e-4);
    assert_true(distance(with.logits, again.logits, outputs(&with)) > 1e-4); /* another step, another mask */
    for (int i = 0; i < 3; i++)
        job_free(all[i]);
}

static void test_impossible_nets_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *device;
        int64_t batch, size[3];
        const char *text;
    } wrong[] = {
        {"cpu", 1, {24, 16, 16}, "multiples of 16"},
        {"cpu", 1, {0, 16, 16}, "multiples of 16"},
        {"cpu", 0, {16, 16, 16}, "batch"},
        {"cpu", 1, {INT64_C(1) << 40, 16, 16}, ""},
        {"cpu", INT64_C(1) << 60, {16, 16, 16}, "beyond"},
    };
    dbi_arch arch = {1, 1, .filters = 2};
    dbi_layout layout;
    dbi_error error;
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        error.text[0] = 0;
        assert_null(net_open_f32(&layout, wrong[i].device, wrong[i].batch, wrong[i].size, false, &error));
        assert_non_null(strstr(error.text, wrong[i].text));
        assert_true(error.text[0]);
    }
    static const dbi_arch impossible[] = {{0, 1, 1, BATCH, 1},
                                          {1, 0, 1, BATCH, 1},
                                          {1, 1, 0, BATCH, 1},
                                          {1, 256, 1, BATCH, 1},
                                          {1, 1, 100000, BATCH, 1},
                                          {1, 1, 1, BATCH, 3},
                                          {1, 1, 1, BATCH, -1},
                                          {1, 1, 6, {DBI_NORM_GROUP, 4}, 1},
                                          {1, 1, 6, {DBI_NORM_GROUP, 0}, 1}};
    for (size_t i = 0; i < sizeof impossible / sizeof *impossible; i++)
        assert_int_equal(dbi_layout_make(&impossible[i], &layout, &error), -1);
}

static void test_impossible_passes_are_refused(void **state)
{
    (void)state;
    dbi_arch arch = {1, 1, .filters = 2};
    dbi_layout layout;
    dbi_weights_f32 weights;
    dbi_error error;
    int64_t size[] = {16, 16, 16};
    float *array = zeros(4096, sizeof(float)), *gradient;
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    assert_int_equal(dbi_weights_new_f32(&weights, &layout, false, &error), 0);
    gradient = zeros(layout.parameters, sizeof(float));
    net_f32 *net = net_open_f32(&layout, "cpu", 1, size, false, &error);
    assert_non_null(net);
    dbi_pass keep = {.keep = true}, dropout = {.dropout = 1}, batch = {.statistics = DBI_BATCH_STATISTICS}, plain = {0};
    assert_int_equal(net_forward_f32(net, &weights, &keep, array, array, array, &error), -1);
    assert_int_equal(net_forward_f32(net, &weights, &dropout, array, array, array, &error), -1);
    assert_int_equal(net_forward_f32(net, &weights, &batch, array, array, array, &error),
                     -1); /* one value per channel at the deepest level */
    float *outs = zeros(8192, sizeof(float));
    assert_int_equal(net_forward_f32(net, &weights, &plain, array, outs, outs + 4096, &error), 0);
    assert_int_equal(net_backward_f32(net, &weights, array, array, gradient, &error), -1);
    net_close_f32(net);
    dbi_weights_free_f32(&weights);
    dbi_arch own = arch;
    own.norm.kind = DBI_NORM_INSTANCE;
    assert_int_equal(dbi_layout_make(&own, &layout, &error), 0);
    assert_int_equal(dbi_weights_new_f32(&weights, &layout, false, &error), 0);
    net = net_open_f32(&layout, "cpu", 1, size, false, &error);
    assert_non_null(net);
    assert_int_equal(net_forward_f32(net, &weights, &plain, array, outs, outs + 4096, &error), -1); /* in use, too */
    assert_non_null(strstr(error.text, "window"));
    assert_int_equal(dbi_net_slide(net, &weights, false, NULL, array, NULL, NULL, &error), -1);
    net_close_f32(net);
    dbi_weights_free_f32(&weights);
    free(array);
    free(outs);
    free(gradient);
}

/* What a net takes is told before it is taken, and inference takes a fraction of training. */
static void test_memory_is_planned(void **state)
{
    (void)state;
    dbi_arch arch = {1, 1, .filters = 16};
    dbi_layout layout;
    dbi_error error;
    int64_t patch[] = {112, 112, 80}, wrong[] = {112, 112, 81};
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    size_t training = net_bytes(&layout, "cpu", 2, patch, true), inference = net_bytes(&layout, "cpu", 2, patch, false);
    assert_in_range(training, 1, (size_t)1500 << 20);
    assert_in_range(inference, 1, training / 3);
    assert_true(net_bytes(&layout, "cpu", 2, wrong, true) == SIZE_MAX);
    arch.decoders = 2;
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    assert_in_range(net_bytes(&layout, "cpu", 2, patch, true), training, training / 10 * 22);
    assert_in_range(net_bytes(&layout, "cpu", 2, patch, false), inference, inference / 10 * 18);
}

/* ---- oneDNN on an older processor: blocks of 8, other gaps filled by our own loops ---- */

static void test_without_avx512(void **state)
{
    (void)state;
    if (is_child())
        skip();
    pid_t child = fork();
    if (child == 0) {
        setenv("TEST_NET_ISA", "AVX2", 1);
        setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
        execl("/proc/self/exe", "test_net", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_agrees_with_pytorch),
        cmocka_unit_test(test_devices_agree),
        cmocka_unit_test(test_equal_bytes_when_run_again),
        cmocka_unit_test(test_equal_bytes_with_any_threads),
        cmocka_unit_test(test_memory_is_planned),
        cmocka_unit_test(test_reference_agrees_with_pytorch), /* from here on nothing depends on the processor */
        cmocka_unit_test(test_gradients_are_slopes),
        cmocka_unit_test(test_dropout_masks_whole_channels),
        cmocka_unit_test(test_impossible_nets_are_refused),
        cmocka_unit_test(test_impossible_passes_are_refused),
        cmocka_unit_test(test_without_avx512),
    };
    dbi_set_threads(1); /* the sizes are small, and other tests run at the same time */
    if (is_child())
        return _cmocka_run_group_tests("without AVX-512", tests, 5, open_fixture, close_fixture);
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
