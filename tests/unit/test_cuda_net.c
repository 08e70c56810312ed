/* The CUDA device's network without a GPU: its kernels and the order of its passes, run on the host (emulated.h),
 * against the reference in double. What this cannot show is what CUDA and cuDNN themselves do: `make check-gpu` runs
 * the same tests on the device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES_WITH_CUDA
#include "devices.h"
#include "emulated.h"
#include "net/weights.f64.h"
#include "net/weights.real.h"
#include "record/stream.h"

#define BATCH                                                                                                          \
    {                                                                                                                  \
        DBI_NORM_BATCH, 0                                                                                              \
    }

typedef struct sample_case {
    dbi_arch arch;
    int64_t batch, size[3];
    double dropout;
    dbi_statistics_mode statistics;
    double shift; /* of the normalizations, up in most channels and down in the others; 0: as they are at first */
} sample_case;

/* A rounded value on the other side of ReLU's kink changes the gradient by what no rounding is: with a batch's
 * statistics, which at the lowest level are those of a dozen values, one voxel shows in all that lies above. So these
 * statistics are judged where hardly a value comes near the kink, shifted by four deviations: some channels then are on
 * nearly everywhere, the others off. The kink itself is judged with running statistics, and less closely with both. */
static const sample_case cases[] = {
    {{1, 1, 1, BATCH, 1}, 2, {32, 16, 48}, 0, DBI_BATCH_STATISTICS, 0},
    {{3, 2, 3, BATCH, 1}, 2, {16, 32, 48}, 0.5, DBI_BATCH_STATISTICS, 0},
    {{9, 3, 5, BATCH, 1}, 1, {16, 16, 32}, 0, DBI_RUNNING_STATISTICS, 0},
    {{1, 1, 9, BATCH, 1}, 1, {16, 16, 16}, 0.5, DBI_RUNNING_STATISTICS, 0},
    {{1, 1, 1, BATCH, 1}, 2, {32, 16, 48}, 0, DBI_BATCH_STATISTICS, 4},
    {{3, 2, 3, BATCH, 1}, 2, {16, 32, 48}, 0.5, DBI_BATCH_STATISTICS, 4},
    {{1, 2, 2, {DBI_NORM_INSTANCE, 0}, 1}, 2, {32, 32, 32}, 0.5, DBI_RUNNING_STATISTICS, 0},
    {{1, 1, 9, {DBI_NORM_INSTANCE_AFFINE, 0}, 1}, 1, {32, 16, 32}, 0, DBI_RUNNING_STATISTICS, 4},
    {{2, 1, 4, {DBI_NORM_GROUP, 2}, 1}, 3, {16, 32, 32}, 0.5, DBI_BATCH_STATISTICS, 4},
    {{1, 2, 2, BATCH, 2}, 2, {32, 16, 32}, 0.5, DBI_BATCH_STATISTICS, 4},
    {{2, 2, 3, BATCH, 2}, 1, {16, 16, 32}, 0.5, DBI_RUNNING_STATISTICS, 0},
    {{1, 1, 3, {DBI_NORM_INSTANCE_AFFINE, 0}, 2}, 1, {32, 16, 32}, 0.5, DBI_RUNNING_STATISTICS, 4},
    {{1, 2, 2, {DBI_NORM_GROUP, 2}, 2}, 2, {16, 16, 32}, 0, DBI_BATCH_STATISTICS, 4},
    {{1, 1, 2, {DBI_NORM_INSTANCE, 0}, 2}, 1, {32, 32, 32}, 0, DBI_RUNNING_STATISTICS, 0},
};
enum { CASES = sizeof cases / sizeof *cases };

static bool at_the_kink(const sample_case *c)
{
    return (c->statistics == DBI_BATCH_STATISTICS || c->arch.norm.kind != DBI_NORM_BATCH) && c->shift == 0;
}

/* What a pass gives, as doubles. */
typedef struct result {
    dbi_layout layout;
    size_t in, out;
    double *image, *dlogits, *dsdf, *nudge; /* given; nudge: relative changes of the parameters */
    double *logits, *sdf, *evaluated, *gradient,
        *statistics; /* computed; evaluated: the logits of a second pass, with running statistics */
} result;

static void *zeros(size_t count, size_t size)
{
    void *p = calloc(count, size);
    assert_non_null(p);
    return p;
}

static void draw(double *to, size_t count, uint32_t stream, double scale, double offset)
{
    dbi_random random;
    dbi_random_start(&random, 1, DBI_ROLE_TEST, 0, stream);
    for (size_t i = 0; i < count; i++)
        to[i] = (float)(offset + scale * dbi_random_normal(&random));
}

static void result_new(result *r, const sample_case *c)
{
    dbi_error error;
    int64_t voxels = c->batch * c->size[0] * c->size[1] * c->size[2];
    assert_int_equal(dbi_layout_make(&c->arch, &r->layout, &error), 0);
    r->in = (size_t)(voxels * c->arch.channels);
    r->out = (size_t)(r->layout.arch.decoders * voxels * c->arch.classes);
    double **arrays[] = {&r->image, &r->dlogits, &r->dsdf, &r->logits, &r->sdf, &r->evaluated};
    for (int i = 0; i < 6; i++)
        *arrays[i] = zeros(i ? r->out : r->in, sizeof(double));
    r->gradient = zeros(r->layout.parameters, sizeof(double));
    r->statistics = zeros(r->layout.statistics, sizeof(double));
    r->nudge = zeros(r->layout.parameters, sizeof(double));
    draw(r->image, r->in, 1000, 1, 0.5);
    draw(r->dlogits, r->out, 1001, 1 / sqrt((double)r->out), 0);
    draw(r->dsdf, r->out, 1002, 1 / sqrt((double)r->out), 0);
}

static void result_free(result *r)
{
    double *arrays[] = {r->image,     r->dlogits,  r->dsdf,       r->logits, r->sdf,
                        r->evaluated, r->gradient, r->statistics, r->nudge};
    for (int i = 0; i < 9; i++)
        free(arrays[i]);
}

/* Normalizations away from their defaults. */
static double parameter(const dbi_layout *layout, const dbi_weights_f32 *fresh, const sample_case *c, size_t i)
{
    for (int l = 0; dbi_layout_has(layout, DBI_NORM_GAMMA) && l < layout->layers; l++) {
        if (layout->layer[l].tensor < 0)
            continue;
        const dbi_named *gamma = &layout->tensor[layout->layer[l].tensor + 2], *beta = gamma + 1;
        const double shift = i < beta->offset ? 0 : (i - beta->offset) % 4 == 1 ? -c->shift : c->shift;
        if (i >= gamma->offset && i < beta->offset + beta->count)
            return (float)(fresh->parameters[i] + shift + 0.3 * sin((double)i));
    }
    return fresh->parameters[i];
}

#define DEFINE_RUN(SUFFIX, REAL)                                                                                       \
    static void run_##SUFFIX(result *r, const sample_case *c, const char *device)                                      \
    {                                                                                                                  \
        dbi_error error = {""};                                                                                        \
        dbi_weights_f32 fresh;                                                                                         \
        dbi_weights_##SUFFIX w;                                                                                        \
        assert_int_equal(dbi_weights_new_f32(&fresh, &r->layout, false, &error), 0);                                   \
        dbi_weights_init_f32(&fresh, 5);                                                                               \
        dbi_weights_init_kaiming_f32(&fresh, 5); /* keeps signals' size where constant statistics do not */            \
        assert_int_equal(dbi_weights_new_##SUFFIX(&w, &r->layout, false, &error), 0);                                  \
        for (size_t i = 0; i < r->layout.parameters; i++)                                                              \
            w.parameters[i] = (REAL)(parameter(&r->layout, &fresh, c, i) * (1 + r->nudge[i]));                         \
        for (size_t i = 0; i < r->layout.statistics; i++)                                                              \
            w.statistics[i] = (REAL)(float)(1 + 0.3 * cos((double)i));                                                 \
        REAL *image = zeros(r->in, sizeof *image), *outs = zeros(4 * r->out, sizeof *outs);                            \
        REAL *gradient = zeros(r->layout.parameters, sizeof *gradient);                                                \
        for (size_t i = 0; i < r->in; i++)                                                                             \
            image[i] = (REAL)r->image[i];                                                                              \
        net_##SUFFIX *net = net_open_##SUFFIX(&r->layout, device, c->batch, c->size, true, &error);                    \
        if (!net)                                                                                                      \
            fail_msg("%s", error.text);                                                                                \
        dbi_pass pass = {.statistics = c->statistics,                                                                  \
                         .update_running = true,                                                                       \
                         .keep = true,                                                                                 \
                         .dropout = c->dropout,                                                                        \
                         .seed = 0x123456789abcdef,                                                                    \
                         .role = DBI_ROLE_DROPOUT,                                                                     \
                         .step = 7};                                                                                   \
        assert_int_equal(net_forward_##SUFFIX(net, &w, &pass, image, outs, outs + r->out, &error), 0);                 \
        assert_int_equal(w.batches, dbi_layout_has(&r->layout, DBI_RUNNING_MEAN));                                     \
        for (size_t i = 0; i < r->out; i++) {                                                                          \
            r->logits[i] = outs[i];                                                                                    \
            r->sdf[i] = outs[r->out + i];                                                                              \
            outs[2 * r->out + i] = (REAL)r->dlogits[i];                                                                \
            outs[3 * r->out + i] = (REAL)r->dsdf[i];                                                                   \
        }                                                                                                              \
        assert_int_equal(net_backward_##SUFFIX(net, &w, outs + 2 * r->out, outs + 3 * r->out, gradient, &error), 0);   \
        assert_int_equal(net_backward_##SUFFIX(net, &w, outs + 2 * r->out, outs + 3 * r->out, gradient, &error), -1);  \
        net_close_##SUFFIX(net);                                                                                       \
        for (size_t i = 0; i < r->layout.parameters; i++)                                                              \
            r->gradient[i] = gradient[i];                                                                              \
        for (size_t i = 0; i < r->layout.statistics; i++)                                                              \
            r->statistics[i] = w.statistics[i];                                                                        \
        net = net_open_##SUFFIX(&r->layout, device, c->batch, c->size, false, &error); /* buffers are shared now */    \
        assert_non_null(net);                                                                                          \
        pass = (dbi_pass){.statistics = DBI_RUNNING_STATISTICS};                                                       \
        assert_int_equal(net_forward_##SUFFIX(net, &w, &pass, image, outs, outs + r->out, &error), 0);                 \
        memset(outs, 0, r->out * sizeof *outs);                                                                        \
        pass.same_weights = true;                                                                                      \
        assert_int_equal(net_forward_##SUFFIX(net, &w, &pass, image, outs, outs + r->out, &error), 0);                 \
        for (size_t i = 0; i < r->out; i++)                                                                            \
            r->evaluated[i] = outs[i];                                                                                 \
        net_close_##SUFFIX(net);                                                                                       \
        dbi_weights_free_##SUFFIX(&w);                                                                                 \
        dbi_weights_free_f32(&fresh);                                                                                  \
        free(image);                                                                                                   \
        free(outs);                                                                                                    \
        free(gradient);                                                                                                \
    }
DEFINE_RUN(f32, float)
DEFINE_RUN(f64, double)

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

static void below(double value, double limit, int number, const char *device, const char *what)
{
    if (!(value <= limit))
        fail_msg("case %d, %s: %s: %g > %g", number, device, what, value, limit);
}

/* The bias of a convolution before a normalization of single channels by what they hold: its gradient is truly 0. */
static bool is_idle(const dbi_layout *layout, int tensor, dbi_statistics_mode statistics)
{
    for (int l = 0; l < layout->layers; l++)
        if (layout->layer[l].tensor >= 0 && tensor == layout->layer[l].tensor + DBI_CONV_BIAS)
            return dbi_norm_own(layout, statistics) &&
                   (!layout->layer[l].groups || layout->layer[l].groups == layout->layer[l].out);
    return false;
}

/* Relative errors, as vectors: of outputs, of the whole gradient and of each tensor's. */
typedef struct limits {
    double output, gradient, tensor;
} limits;

/* "" or what is beyond its limit. */
typedef struct verdict {
    char text[256];
} verdict;

static void look_at(verdict *v, const double *got, const double *want, size_t count, double limit, const char *what)
{
    const double error = distance(got, want, count);
    if (!(error <= limit) && !*v->text)
        snprintf(v->text, sizeof v->text, "%s: %g > %g", what, error, limit);
}

static verdict judge(const result *narrow, const result *wide, const sample_case *c, const limits *most)
{
    verdict v = {""};
    look_at(&v, narrow->logits, wide->logits, wide->out, most->output, "logits");
    look_at(&v, narrow->sdf, wide->sdf, wide->out, most->output, "sdf");
    look_at(&v, narrow->evaluated, wide->evaluated, wide->out, most->output, "logits with running statistics");
    look_at(&v, narrow->statistics, wide->statistics, wide->layout.statistics, most->output, "statistics");
    look_at(&v, narrow->gradient, wide->gradient, wide->layout.parameters, most->gradient, "gradient");
    for (int t = 0; t < wide->layout.tensors; t++) {
        const dbi_named *tensor = &wide->layout.tensor[t];
        if (tensor->role == DBI_PARAMETER && !is_idle(&wide->layout, t, c->statistics))
            look_at(&v, narrow->gradient + tensor->offset, wide->gradient + tensor->offset, tensor->count, most->tensor,
                    tensor->name);
    }
    return v;
}

/* The reference, or the number-th one whose parameters are a rounding away, so that what any layer computes is. */
static void reference(result *r, const sample_case *c, int number)
{
    result_new(r, c);
    if (number)
        draw(r->nudge, r->layout.parameters, 2000 + (uint32_t)number, number % 2 ? 1e-7 : 5e-7, 0);
    run_f64(r, c, "reference");
}

/* The limits of cases with running statistics, and of those with a batch's away from the kink and at it. At the kink,
 * where one value on its other side changes the gradient by some percent, a reference whose parameters are a rounding
 * away may have the device's signs; its gradient then agrees as closely as any. */
static void compare(const char *device, const limits *running, const limits *shifted, const limits *kink)
{
    enum { NEIGHBOURS = 24 };
    for (int i = 0; i < CASES; i++) {
        if (sanitized() &&
            i % 3 != 2) /* leaves one with running statistics and one with a batch's, dropout and several classes */
            continue;
        const bool at_kink = at_the_kink(&cases[i]);
        const bool constants =
            cases[i].statistics == DBI_RUNNING_STATISTICS && cases[i].arch.norm.kind == DBI_NORM_BATCH;
        const limits *most = constants ? running : at_kink ? kink : shifted;
        result narrow;
        verdict first = {""}, v = {""};
        result_new(&narrow, &cases[i]);
        run_f32(&narrow, &cases[i], device);
        for (int number = 0; number <= (at_kink ? NEIGHBOURS : 0); number++) {
            result wide;
            reference(&wide, &cases[i], number);
            v = judge(&narrow, &wide, &cases[i], most);
            result_free(&wide);
            first = number ? first : v;
            if (!*v.text)
                break;
        }
        result_free(&narrow);
        if (*v.text)
            fail_msg("case %d, %s: %s", i, device, first.text);
    }
}

/* An error of 1 % in a formula is ten times beyond the limits. */
static void test_fp32_agrees_with_the_reference(void **state)
{
    (void)state;
    static const limits sharp = {1e-4, 1e-4, 1e-3}, kink = {1e-4, 5e-4, 5e-3};
    compare("cuda", &sharp, &sharp, &kink);
}

/* Activations of 8 bits of mantissa. Gradients of single tensors, where much cancels, hold for running statistics
 * alone, and none at the kink: the next test judges them. */
static void test_bf16_agrees_with_the_reference(void **state)
{
    (void)state;
    static const limits running = {1e-2, 0.15, 0.3}, shifted = {2e-2, 3e-2, (double)INFINITY},
                        kink = {0.1, (double)INFINITY, (double)INFINITY};
    compare("cuda:0,bf16", &running, &shifted, &kink);
}

static void same_bytes(const result *a, const result *b)
{
    assert_memory_equal(a->logits, b->logits, a->out * sizeof(double));
    assert_memory_equal(a->sdf, b->sdf, a->out * sizeof(double));
    assert_memory_equal(a->evaluated, b->evaluated, a->out * sizeof(double));
    assert_memory_equal(a->gradient, b->gradient, a->layout.parameters * sizeof(double));
    assert_memory_equal(a->statistics, b->statistics, a->layout.statistics * sizeof(double));
}

/* A reference of bfloat16 that computes in another order is of no use: a last bit of one activation that comes out
 * differently spreads, layer by layer, until all differ by rounding. But the code for float, which is judged above,
 * with its activations rounded where bfloat16 rounds them, gives equal bytes. */
static void test_bf16_is_rounded_float(void **state)
{
    (void)state;
    if (on_gpu())
        skip();
    for (int i = 0; i < CASES; i++) {
        result bf16, rounded;
        result_new(&bf16, &cases[i]);
        result_new(&rounded, &cases[i]);
        run_f32(&bf16, &cases[i], "cuda,bf16");
        dbi_emulated_rounding = true;
        run_f32(&rounded, &cases[i], "cuda");
        dbi_emulated_rounding = false;
        same_bytes(&bf16, &rounded);
        result_free(&bf16);
        result_free(&rounded);
    }
}

/* The order in which a block's threads run within a phase must not matter, and nothing may depend on what ran before;
 * on a GPU: equal bytes when run again. */
static void test_no_races(void **state)
{
    (void)state;
    if (sanitized())
        skip();
    static const int some[] = {1, 3, 9};
    for (int s = 0; s < 3; s++) {
        static const char *const devices[] = {"cuda", "cuda,bf16"};
        const int i = some[s];
        for (int d = 0; d < 2; d++) {
            result forwards, backwards;
            result_new(&forwards, &cases[i]);
            result_new(&backwards, &cases[i]);
            run_f32(&forwards, &cases[i], devices[d]);
            dbi_emulated_backwards = !on_gpu();
            run_f32(&backwards, &cases[i], devices[d]);
            dbi_emulated_backwards = false;
            same_bytes(&forwards, &backwards);
            result_free(&forwards);
            result_free(&backwards);
        }
    }
}

/* PyTorch's outputs of the fixture. The limits of tf32 and bf16 are those that the device promises; with the batch's
 * statistics, which at the lowest level are those of 16 values here, rounding to 8 bits shows more. */
static void test_outputs_agree_with_pytorch(void **state)
{
    (void)state;
    static const struct {
        const char *device;
        double limit[2];
    } devices[] = {{"cuda", {1e-4, 1e-4}}, {"cuda,tf32", {1e-3, 1e-2}}, {"cuda,bf16", {2e-2, 0.2}}};
    static const char *const modes[] = {"eval", "supervised.train"};
    dbi_error error = {""};
    const char *directory = getenv("FIXTURES");
    char path[4096], name[96];
    const int64_t size[] = {32, 32, 32};
    const size_t count = 2 * 32 * 32 * 32;
    dbi_layout layout;
    dbi_weights_f32 w;
    snprintf(path, sizeof path, "%s/network.safetensors", directory ? directory : "tests/fixtures");
    dbi_record *fixture = dbi_record_load(path, &error);
    if (!fixture)
        fail_msg("%s", error.text);
    assert_int_equal(dbi_layout_make(&(dbi_arch){1, 1, .filters = 2}, &layout, &error), 0);
    assert_int_equal(dbi_weights_new_f32(&w, &layout, false, &error), 0);
    for (int t = 0; t < layout.tensors; t++) {
        const dbi_named *tensor = &layout.tensor[t];
        snprintf(name, sizeof name, "state.%s", tensor->name);
        const dbi_tensor *from = dbi_record_find(fixture, name);
        assert_true(from && from->count == tensor->count);
        memcpy((tensor->role == DBI_PARAMETER ? w.parameters : w.statistics) + tensor->offset, from->data,
               tensor->count * sizeof(float));
    }
    float *out = zeros(2 * count, sizeof *out);
    double *got = zeros(count, sizeof *got), *expected = zeros(count, sizeof *expected);
    for (int d = 0; d < 3; d++)
        for (int mode = 0; mode < (sanitized() ? 1 : 2); mode++) {
            net_f32 *net = net_open_f32(&layout, devices[d].device, 2, size, false, &error);
            if (!net)
                fail_msg("%s", error.text);
            const dbi_pass pass = {.statistics = mode ? DBI_BATCH_STATISTICS : DBI_RUNNING_STATISTICS};
            assert_int_equal(
                net_forward_f32(net, &w, &pass, dbi_record_find(fixture, "image")->data, out, out + count, &error), 0);
            net_close_f32(net);
            for (int o = 0; o < 2; o++) {
                snprintf(name, sizeof name, "%s.%s", modes[mode], o ? "sdf" : "logits");
                const dbi_tensor *tensor = dbi_record_find(fixture, name);
                assert_true(tensor && tensor->count == count);
                for (size_t i = 0; i < count; i++) {
                    got[i] = out[(size_t)o * count + i];
                    expected[i] = ((const float *)tensor->data)[i];
                }
                below(distance(got, expected, count), devices[d].limit[mode], mode, devices[d].device, name);
            }
        }
    dbi_record_free(fixture);
    dbi_weights_free_f32(&w);
    free(out);
    free(got);
    free(expected);
}

/* Our own convolutions, for what cuDNN does not have. */
static void test_direct_convolutions(void **state)
{
    (void)state;
    static const dbi_conv_shape shapes[] = {
        {DBI_LAYER_CONV3, 8, 16, 2, {5, 3, 4}, {5, 3, 4}},  {DBI_LAYER_CONV3, 24, 8, 1, {1, 1, 9}, {1, 1, 9}},
        {DBI_LAYER_DOWN, 16, 32, 2, {6, 4, 8}, {3, 2, 4}},  {DBI_LAYER_UP, 32, 16, 2, {3, 1, 2}, {6, 2, 4}},
        {DBI_LAYER_CONV3, 8, 8, 1, {17, 8, 8}, {17, 8, 8}},
    };
    dbi_error error;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int bf16 = 0; bf16 < 2; bf16++)
            for (int pass = 0; pass < 3; pass++) {
                const dbi_conv_sides s = dbi_conv_sides_of(&shapes[i]);
                const size_t counts[] = {(size_t)(s.batch * s.y_size[0] * s.y_size[1] * s.y_size[2] * s.y_channels),
                                         (size_t)(s.batch * s.x_size[0] * s.x_size[1] * s.x_size[2] * s.x_channels),
                                         (size_t)(s.x_channels * s.y_channels * s.edge * s.edge * s.edge)};
                const size_t size = bf16 ? sizeof(dbi_bf16) : sizeof(float);
                dbi_arena arena = {0};
                void *array[3], *device[3];
                double *results[2];
                for (int a = 0; a < 3; a++) {
                    double *wide = zeros(counts[a], sizeof *wide);
                    draw(wide, counts[a], (uint32_t)(10 * i) + (uint32_t)a, 1, 0);
                    array[a] = zeros(counts[a], sizeof(float));
                    for (size_t e = 0; e < counts[a]; e++)
                        if (bf16)
                            ((dbi_bf16 *)array[a])[e] = dbi_bf16_from_float((float)wide[e]);
                        else
                            ((float *)array[a])[e] = (float)wide[e];
                    free(wide);
                    assert_int_equal(dbi_arena_need(&arena, &device[a], counts[a] * size, &error), 0);
                }
                assert_int_equal(dbi_arena_open(&arena, &error), 0);
                for (int a = 0; a < 3; a++)
                    assert_int_equal(dbi_cuda_put(NULL, device[a], array[a], counts[a] * size, &error), 0);
                for (int way = 0; way < 2; way++) {
                    if (way == 0)
                        assert_int_equal(
                            dbi_emulated_conv((dbi_conv_pass)pass, bf16, &s, array[1], array[2], array[0], &error), 0);
                    else
                        assert_true(
                            !dbi_direct((dbi_conv_pass)pass, bf16, &s, NULL, device[1], device[2], device[0], &error) &&
                            !dbi_cuda_get(NULL, array[pass], device[pass], counts[pass] * size, &error) &&
                            !dbi_cuda_wait(NULL, &error));
                    results[way] = zeros(counts[pass], sizeof(double));
                    for (size_t e = 0; e < counts[pass]; e++)
                        results[way][e] =
                            bf16 ? dbi_bf16_to_float(((dbi_bf16 *)array[pass])[e]) : ((float *)array[pass])[e];
                    memset(array[pass], 0xff, counts[pass] * size);
                }
                dbi_arena_close(&arena);
                below(distance(results[1], results[0], counts[pass]), bf16 ? 4e-3 : 1e-5, (int)i,
                      bf16 ? "bf16" : "fp32",
                      pass == 0   ? "to y"
                      : pass == 1 ? "to x"
                                  : "to weight");
                for (int a = 0; a < 3; a++)
                    free(array[a]);
                free(results[0]);
                free(results[1]);
            }
}

static void test_bad_passes(void **state)
{
    (void)state;
    dbi_error error;
    dbi_layout layout;
    const int64_t size[] = {16, 16, 16}, odd[] = {16, 17, 16};
    assert_int_equal(dbi_layout_make(&(dbi_arch){1, 1, .filters = 2}, &layout, &error), 0);
    assert_null(net_open_f32(&layout, "cuda", 1, odd, false, &error));
    assert_non_null(strstr(error.text, "multiples of 16"));
    assert_true(net_bytes(&layout, "cuda", 1, size, false) < net_bytes(&layout, "cuda", 1, size, true));
    assert_true(net_bytes(&layout, "cuda", 1, odd, false) == SIZE_MAX);
    net_f32 *net = net_open_f32(&layout, "cuda", 1, size, true, &error);
    assert_non_null(net);
    if (!on_gpu())
        assert_int_equal(dbi_emulated_memory, net_bytes(&layout, "cuda", 1, size, true));
    dbi_weights_f32 w;
    assert_int_equal(dbi_weights_new_f32(&w, &layout, false, &error), 0);
    float *image = zeros(4096, sizeof *image), *logits = zeros(4096, sizeof *logits), *sdf = zeros(4096, sizeof *sdf);
    assert_int_equal(
        net_forward_f32(net, &w, &(dbi_pass){.statistics = DBI_BATCH_STATISTICS}, image, logits, sdf, &error), -1);
    assert_int_equal(net_forward_f32(net, &w, &(dbi_pass){.dropout = 1}, image, logits, sdf, &error), -1);
    net_close_f32(net);
    net = net_open_f32(&layout, "cuda", 1, size, false, &error);
    assert_int_equal(net_forward_f32(net, &w, &(dbi_pass){.keep = true}, image, logits, sdf, &error), -1);
    net_close_f32(net);
    dbi_weights_free_f32(&w);
    free(image);
    free(logits);
    free(sdf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32_agrees_with_the_reference),
        cmocka_unit_test(test_bf16_agrees_with_the_reference),
        cmocka_unit_test(test_bf16_is_rounded_float),
        cmocka_unit_test(test_no_races),
        cmocka_unit_test(test_outputs_agree_with_pytorch),
        cmocka_unit_test(test_direct_convolutions),
        cmocka_unit_test(test_bad_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
