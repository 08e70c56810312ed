/* Sliding windows on the CUDA device, run on the host (emulated.h): the same bytes as dbi_slide_run gives with the same
 * network, however many windows are taken at once, and what happens where the device has no room. `make check-gpu` runs
 * the same tests on a GPU, where results agree to rounding. */
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
#include "cuda/slide.h"
#include "devices.h"
#include "emulated.h"
#include "net/checkpoint.h"
#include "predict/predict.h"
#include "record/metadata.h"

enum { C = 2, K = 2, SCORES = 4 };

static const char *const score_names[] = {"seg", "step", "logits", "sdf"};

typedef struct layout {
    int64_t shape[3], window[3], stride[3];
    dbi_window_weights weights;
} layout;

/* 16, 8, 3 and 1 windows; the last two reach beyond the scan. */
static const layout layouts[] = {
    {{20, 33, 17}, {16, 16, 16}, {8, 8, 8}, DBI_WEIGHTS_UNIFORM},
    {{20, 33, 17}, {16, 32, 16}, {3, 32, 1}, DBI_WEIGHTS_GAUSSIAN},
    {{5, 40, 9}, {16, 16, 32}, {8, 16, 1}, DBI_WEIGHTS_GAUSSIAN},
    {{1, 1, 1}, {16, 16, 16}, {8, 8, 8}, DBI_WEIGHTS_UNIFORM},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static dbi_checkpoint *checkpoint;

static float *array(int64_t count)
{
    float *values = calloc((size_t)count, sizeof *values);
    assert_non_null(values);
    return values;
}

static void draw(float *to, int64_t count, uint32_t stream, double scale, double offset)
{
    dbi_random random;
    dbi_random_start(&random, 3, DBI_ROLE_TEST, 0, stream);
    for (int64_t i = 0; i < count; i++)
        to[i] = (float)(offset + scale * dbi_random_normal(&random));
}

/* A network whose outputs are of size 1 and depend on all that it sees. */
static int make_checkpoint_of(dbi_normalization norm, int decoders)
{
    dbi_error error;
    checkpoint = dbi_checkpoint_new(&(dbi_arch){C, K, 1, norm, decoders}, false, 5, &error);
    if (!checkpoint)
        return -1;
    dbi_weights_init_kaiming_f32(&checkpoint->weights, 5);
    for (int t = 0; t < checkpoint->layout.tensors; t++) {
        const dbi_named *tensor = &checkpoint->layout.tensor[t];
        if (tensor->role == DBI_PARAMETER && strstr(tensor->name, "bias"))
            draw(checkpoint->weights.parameters + tensor->offset, (int64_t)tensor->count, (uint32_t)t, 0.3, 0.2);
    }
    return 0;
}

static int make_checkpoint(void **state)
{
    (void)state;
    return make_checkpoint_of((dbi_normalization){DBI_NORM_BATCH, 0}, 1);
}

static int free_checkpoint(void **state)
{
    (void)state;
    dbi_checkpoint_free(checkpoint);
    return 0;
}

/* Each window has its own statistics, whatever is beside it. */
static int to_group(void **state)
{
    free_checkpoint(state);
    return make_checkpoint_of((dbi_normalization){DBI_NORM_GROUP, 1}, 1);
}

static int to_two_decoders(void **state)
{
    free_checkpoint(state);
    return make_checkpoint_of((dbi_normalization){DBI_NORM_BATCH, 0}, 2);
}

static int to_batch(void **state)
{
    free_checkpoint(state);
    return make_checkpoint(state);
}

typedef struct scan {
    const layout *layout;
    dbi_windows windows;
    int64_t voxels;
    float *image, *score[SCORES]; /* room for the means of two decoders */
    bool wanted[SCORES];
    dbi_decoder_choice decoder;
    const dbi_slide_label *label; /* or NULL */
    int64_t calls, done, total;   /* of progress */
} scan;

static scan make_scan(const layout *l)
{
    dbi_error error;
    scan s = {.layout = l, .voxels = l->shape[0] * l->shape[1] * l->shape[2], .wanted = {true, true, true, true}};
    assert_int_equal(dbi_windows_plan(l->shape, l->window, l->stride, l->weights, &s.windows, &error), 0);
    s.image = array(C * s.voxels);
    draw(s.image, C * s.voxels, 100, 1, 0.3);
    for (int i = 0; i < SCORES; i++)
        s.score[i] = array(2 * K * s.voxels);
    return s;
}

static void free_scan(scan *s)
{
    dbi_windows_free(&s->windows);
    free(s->image);
    for (int i = 0; i < SCORES; i++)
        free(s->score[i]);
}

static void note(void *context, int64_t done, int64_t total)
{
    scan *s = context;
    assert_true(done > s->done && done <= total);
    s->calls++;
    s->done = done;
    s->total = total;
}

static int see(void *context, const float *image, float *logits, float *sdf, dbi_error *error)
{
    return net_forward_f32(context, &checkpoint->weights, &(dbi_pass){.statistics = DBI_RUNNING_STATISTICS}, image,
                           logits, sdf, error);
}

/* batch 0: by dbi_slide_run, one window after another. */
static int run(scan *s, const char *device, int64_t batch, dbi_error *error)
{
    dbi_window_means scores[2];
    for (int m = 0; m < 2; m++) {
        float *of[SCORES];
        for (int i = 0; i < SCORES; i++)
            of[i] = s->wanted[i] ? s->score[i] + m * K * s->voxels : NULL;
        scores[m] = (dbi_window_means){of[0], of[1], of[2], of[3]};
    }
    net_f32 *net = net_open_f32(&checkpoint->layout, device, batch ? batch : 1, s->layout->window, false, error);
    if (!net)
        fail_msg("%s", error->text);
    const dbi_slide slide = {.windows = &s->windows,
                             .channels = C,
                             .classes = K,
                             .decoders = checkpoint->layout.arch.decoders,
                             .decoder = s->decoder,
                             .k = 7.3,
                             .function = see,
                             .context = net,
                             .progress = note,
                             .progress_context = s};
    s->calls = s->done = 0;
    for (int i = 0; i < SCORES; i++)
        memset(s->score[i], 0, (size_t)(2 * K * s->voxels) * sizeof(float));
    int status = batch ? dbi_net_slide(net, &checkpoint->weights, false, &slide, s->image, scores, s->label, error)
                       : dbi_slide_run(&slide, s->image, scores, error);
    net_close_f32(net);
    return status;
}

/* |a - b| / |b| as vectors. */
static double distance(const float *a, const float *b, int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(difference / norm);
}

/* Emulated: equal bytes. On a GPU e^x has other last bits, and for a batch of another size cuDNN may take another
 * algorithm. */
static void compare(const scan *got, const scan *expected, double on_gpu_limit, const char *what, int number)
{
    for (int i = 0; i < SCORES; i++) {
        const int64_t count = (got->decoder == DBI_DECODER_EACH ? 2 : 1) * K * got->voxels;
        if (!got->wanted[i]) {
            for (int64_t v = 0; v < count; v++)
                assert_true(got->score[i][v] == 0);
        } else if (on_gpu()) {
            if (!(distance(got->score[i], expected->score[i], count) <= on_gpu_limit))
                fail_msg("%s %d: %s: %g", what, number, score_names[i],
                         distance(got->score[i], expected->score[i], count));
        } else if (memcmp(got->score[i], expected->score[i], (size_t)count * sizeof(float))) {
            fail_msg("%s %d: %s", what, number, score_names[i]);
        }
    }
}

static void test_as_on_the_host(void **state)
{
    (void)state;
    dbi_error error;
    static const int64_t batches[] = {1, 3, 16};
    for (int l = 0; l < LAYOUTS; l++) {
        scan expected = make_scan(&layouts[l]), got = make_scan(&layouts[l]);
        const int64_t total = dbi_windows_count(&got.windows);
        assert_int_equal(run(&expected, "cuda", 0, &error), 0);
        assert_int_equal(expected.calls, total);
        for (int i = 0; i < SCORES; i++) /* nothing that any other place, weight or border would give too */
            assert_true(got.voxels == 1 || fabsf(expected.score[i][0] - expected.score[i][got.voxels - 1]) > 1e-4f);
        for (int b = 0; b < 3 && (b == 0 || batches[b - 1] < total); b++) {
            assert_int_equal(run(&got, "cuda", batches[b], &error), 0);
            compare(&got, &expected, batches[b] == 1 ? 1e-5 : 1e-3, "layout", l);
            assert_true(got.done == total && got.total == total);
            assert_int_equal(got.calls, (total + batches[b] - 1) / batches[b]);
        }
        free_scan(&expected);
        free_scan(&got);
    }
}

/* The mean, each decoder, and the second one alone, which is that of each. */
static void test_two_decoders(void **state)
{
    (void)state;
    dbi_error error;
    scan expected = make_scan(&layouts[2]), each = make_scan(&layouts[2]);
    each.decoder = DBI_DECODER_EACH;
    assert_int_equal(run(&each, "cuda", 2, &error), 0);
    static const dbi_decoder_choice choices[] = {DBI_DECODER_MEAN, DBI_DECODER_EACH, DBI_DECODER_FIRST + 1};
    for (int c = 0; c < 3; c++) {
        scan got = make_scan(&layouts[2]);
        expected.decoder = got.decoder = choices[c];
        assert_int_equal(run(&expected, "cuda", 0, &error), 0);
        assert_int_equal(run(&got, "cuda", 2, &error), 0);
        compare(&got, &expected, 1e-3, "choice", c);
        for (int i = 0; i < SCORES; i++) {
            const float *second = each.score[i] + K * got.voxels, mean = (each.score[i][0] + second[0]) / 2;
            assert_true(fabsf(each.score[i][0] - second[0]) > 1e-4f);
            assert_true(fabsf(got.score[i][0] - (c == 0 ? mean : c == 1 ? each.score[i][0] : second[0])) < 1e-5f);
        }
        free_scan(&got);
    }
    free_scan(&expected);
    free_scan(&each);
}

/* The label is the one that the host makes of the device's means, whether they come back or not. */
static void test_label(void **state)
{
    (void)state;
    dbi_error error;
    scan s = make_scan(&layouts[1]);
    uint8_t *label[3];
    float *prob = array(K * s.voxels);
    for (int i = 0; i < 3; i++) {
        label[i] = calloc((size_t)s.voxels, 1);
        assert_non_null(label[i]);
    }
    for (int head = DBI_HEAD_SEG; head <= DBI_HEAD_BOTH; head++) {
        const double threshold = 0.5; /* both classes are above it in many voxels */
        const dbi_slide_label with = {(dbi_head)head, threshold, label[0]},
                              without = {(dbi_head)head, threshold, label[1]};
        int64_t count[K + 1] = {0};
        s.label = &with;
        for (int i = 0; i < SCORES; i++)
            s.wanted[i] = true;
        assert_int_equal(run(&s, "cuda", 3, &error), 0);
        dbi_fuse_heads((dbi_head)head, 1, &(dbi_head_pair){s.score[0], s.score[1]}, K, s.voxels, prob, NULL);
        dbi_label_probabilities(prob, K, s.voxels, threshold, label[2]);
        s.label = &without;
        for (int i = 0; i < SCORES; i++)
            s.wanted[i] = false;
        assert_int_equal(run(&s, "cuda", 3, &error), 0);
        assert_memory_equal(label[0], label[2], (size_t)s.voxels);
        assert_memory_equal(label[1], label[2], (size_t)s.voxels);
        for (int64_t v = 0; v < s.voxels; v++)
            count[label[2][v]]++;
        assert_true((count[0] > 0) + (count[1] > 0) + (count[2] > 0) > 1);
    }
    for (int i = 0; i < 3; i++)
        free(label[i]);
    free(prob);
    free_scan(&s);
}

/* A net that has seen other weights takes the new ones over, and keeps them where it is told that they are the same. */
static void test_new_weights(void **state)
{
    (void)state;
    dbi_error error;
    dbi_weights_f32 others;
    scan s = make_scan(&layouts[3]);
    assert_int_equal(dbi_weights_new_f32(&others, &checkpoint->layout, false, &error), 0);
    dbi_weights_init_f32(&others, 77);
    net_f32 *net = net_open_f32(&checkpoint->layout, "cuda", 1, s.layout->window, false, &error);
    assert_non_null(net);
    const dbi_slide slide = {.windows = &s.windows, .channels = C, .classes = K};
    float *const logits = s.score[2], *const kept = s.score[3];
    const dbi_window_means scores = {.logits = logits};
    for (int i = 0; i < 4; i++) {
        const bool same = i == 1 || i == 3;
        assert_int_equal(dbi_net_slide(net, i == 0 || i == 3 ? &others : &checkpoint->weights, same, &slide, s.image,
                                       &scores, NULL, &error),
                         0);
        if (i == 0 || i == 2)
            assert_memory_not_equal(logits, kept, K * sizeof(float));
        else
            assert_memory_equal(logits, kept, K * sizeof(float));
        memcpy(kept, logits, K * sizeof(float));
    }
    net_close_f32(net);
    dbi_weights_free_f32(&others);
    free_scan(&s);
}

/* Another order of threads, and memory that was used before; on a GPU another run. Each precision; scores that are not
 * wanted take no memory. */
static void test_equal_bytes(void **state)
{
    (void)state;
    if (sanitized())
        skip();
    dbi_error error;
    static const char *const devices[] = {"cuda", "cuda,tf32", "cuda,bf16"};
    for (int d = 0; d < 3; d++) {
        scan first = make_scan(&layouts[2]), again = make_scan(&layouts[2]);
        assert_int_equal(run(&first, devices[d], 2, &error), 0);
        const size_t all = dbi_emulated_memory;
        for (int i = 0; i < SCORES; i++)
            again.wanted[i] = i % 2 == d % 2;
        dbi_emulated_backwards = !on_gpu();
        assert_int_equal(run(&again, devices[d], 2, &error), 0);
        dbi_emulated_backwards = false;
        for (int i = 0; i < SCORES; i++)
            if (again.wanted[i])
                assert_memory_equal(again.score[i], first.score[i], (size_t)(K * first.voxels) * sizeof(float));
        compare(&again, &first, 0, "precision", d);
        if (!on_gpu())
            assert_true(dbi_emulated_memory + 2 * K * (size_t)first.voxels * sizeof(float) <= all);
        free_scan(&first);
        free_scan(&again);
    }
}

/* One output of one window, of either head. */
static void test_not_finite(void **state)
{
    (void)state;
    dbi_error error;
    const dbi_layout *net = &checkpoint->layout;
    float *const logit_bias = checkpoint->weights.parameters + net->tensor[net->decoder[0].seg_head + 1].offset + K - 1;
    float *const sdf_bias = checkpoint->weights.parameters + net->tensor[net->decoder[0].sdf_head + 1].offset + K - 1;
    const float logit_kept = *logit_bias, sdf_kept = *sdf_bias;
    for (int i = 0; i < 4; i++) {
        scan s = make_scan(&layouts[2]);
        *logit_bias = i == 0 ? -INFINITY : logit_kept;
        *sdf_bias = i == 1 ? NAN : sdf_kept;
        if (i == 2) /* which the first window does not see */
            s.image[C * s.voxels - 1] = INFINITY;
        const int status = run(&s, "cuda", 2, &error);
        assert_int_equal(status, i < 3 ? -1 : 0);
        if (i < 3)
            assert_non_null(strstr(error.text, "not finite"));
        free_scan(&s);
    }
}

/* ---- The predictor ---- */

enum {
    OUTPUTS = DBI_PREDICT_LABEL | DBI_PREDICT_PROB | DBI_PREDICT_LOGITS | DBI_PREDICT_SDF | DBI_PREDICT_UNCERTAINTY
};

static dbi_predictor *open_predictor(dbi_window_choice choice, size_t memory)
{
    dbi_error error = {""};
    const dbi_predict_settings settings = {.choice = choice,
                                           .window = {16, 16, 16},
                                           .stride = {8, 8, 8},
                                           .weights = DBI_WEIGHTS_GAUSSIAN,
                                           .outputs = OUTPUTS,
                                           .threshold = 0.5,
                                           .k = 7.3,
                                           .memory = memory,
                                           .device = device_named("cuda")};
    dbi_predictor *predictor = dbi_predictor_open(checkpoint, &settings, &error);
    if (!predictor)
        fail_msg("%s", error.text);
    return predictor;
}

static dbi_record *make_case(void)
{
    dbi_error error;
    dbi_record *record = dbi_record_new(&error);
    assert_non_null(record);
    const int64_t *size = layouts[0].shape, shape[] = {C, size[0], size[1], size[2]};
    dbi_tensor *image = dbi_record_add(record, "image", DBI_F32, 4, shape, &error);
    assert_non_null(image);
    draw(image->data, (int64_t)image->count, 100, 1, 0.3);
    return record;
}

static void same_prediction(const dbi_record *a, const dbi_record *b)
{
    static const char *const names[] = {"label", "prob", "logits", "sdf", "uncertainty"};
    for (int i = 0; i < 5; i++) {
        const dbi_tensor *x = dbi_record_find(a, names[i]), *y = dbi_record_find(b, names[i]);
        assert_true(x && y && x->count == y->count && x->count);
        assert_memory_equal(x->data, y->data, x->count * (i ? sizeof(float) : 1));
    }
}

/* The label is that of the decoders' mean, also when nothing else of them is asked for. */
static void test_label_of_each(void **state)
{
    (void)state;
    dbi_error error = {""};
    dbi_record *input = make_case(), *got[3];
    const struct {
        dbi_decoder_choice decoder;
        unsigned outputs;
    } cases[] = {{DBI_DECODER_MEAN, DBI_PREDICT_LABEL | DBI_PREDICT_PROB},
                 {DBI_DECODER_EACH, DBI_PREDICT_LABEL},
                 {DBI_DECODER_FIRST, DBI_PREDICT_LABEL}};
    for (int i = 0; i < 3; i++) {
        const dbi_predict_settings settings = {.choice = DBI_WINDOW_GIVEN,
                                               .window = {16, 16, 16},
                                               .decoder = cases[i].decoder,
                                               .outputs = cases[i].outputs,
                                               .threshold = 0.5,
                                               .device = device_named("cuda")};
        dbi_predictor *predictor = dbi_predictor_open(checkpoint, &settings, &error);
        got[i] = predictor ? dbi_predict(predictor, input, "", NULL, NULL, &error) : NULL;
        if (!got[i])
            fail_msg("%s", error.text);
        dbi_predictor_close(predictor);
    }
    const dbi_tensor *mean = dbi_record_find(got[0], "label"), *each = dbi_record_find(got[1], "label"),
                     *first = dbi_record_find(got[2], "label");
    assert_memory_equal(mean->data, each->data, mean->count);
    assert_memory_not_equal(mean->data, first->data, mean->count); /* otherwise nothing would be shown */
    for (int i = 0; i < 3; i++)
        dbi_record_free(got[i]);
    dbi_record_free(input);
}

static size_t bytes_of(int64_t batch)
{
    return net_bytes(&checkpoint->layout, "cuda", batch, layouts[0].window, false);
}

/* As many windows at once as there is room for, and at last on the host: the same bytes each time. */
static void test_room(void **state)
{
    (void)state;
    if (on_gpu())
        skip();
    dbi_error error = {""};
    dbi_record *input = make_case();
    dbi_predictor *predictor = open_predictor(DBI_WINDOW_GIVEN, 0);
    dbi_emulated_most = 0;
    dbi_record *expected = dbi_predict(predictor, input, "", NULL, NULL, &error);
    if (!expected)
        fail_msg("%s", error.text);
    assert_null(dbi_predictor_on_host(predictor));
    dbi_predictor_close(predictor);
    assert_true(dbi_emulated_most > bytes_of(16) && dbi_emulated_held == 0); /* all 16 windows at once */
    const size_t room = dbi_emulated_memory;                                 /* of the scan */
    const struct {
        size_t limit;
        bool on_host;
    } rooms[] = {{bytes_of(16) + room, false},
                 {bytes_of(16) + room / 2, false},
                 {bytes_of(1) + room, false},
                 {bytes_of(1) + room / 2, true}};
    for (int i = 0; i < 4; i++) {
        predictor = open_predictor(DBI_WINDOW_GIVEN, 0);
        dbi_emulated_limit = rooms[i].limit;
        for (int again = 0; again < 2; again++) {
            dbi_record *got = dbi_predict(predictor, input, "", NULL, NULL, &error);
            if (!got)
                fail_msg("room %d: %s", i, error.text);
            same_prediction(got, expected);
            dbi_record_free(got);
            const char *why = dbi_predictor_on_host(predictor);
            assert_int_equal(why != NULL, rooms[i].on_host);
            assert_true(!why || strstr(why, "not enough memory"));
            dbi_emulated_limit = again ? SIZE_MAX : dbi_emulated_limit; /* what was found holds for later cases */
        }
        dbi_predictor_close(predictor);
        assert_int_equal(dbi_emulated_held, 0);
    }
    predictor = open_predictor(DBI_WINDOW_GIVEN, 0);
    dbi_emulated_limit = bytes_of(1) - 1;
    assert_null(dbi_predict(predictor, input, "", NULL, NULL, &error));
    assert_non_null(strstr(error.text, "not enough memory"));
    dbi_emulated_limit = SIZE_MAX;
    dbi_predictor_close(predictor);
    dbi_record_free(expected);
    dbi_record_free(input);
}

/* Windows that are chosen keep to the memory that is allowed, also where several are taken at once. */
static void test_memory(void **state)
{
    (void)state;
    if (on_gpu())
        skip();
    dbi_error error = {""};
    dbi_record *input = make_case();
    assert_int_equal(dbi_meta_set(checkpoint->meta, "patch", "[16,16,16]", &error), 0);
    const size_t memory = (bytes_of(4) + bytes_of(8)) / 2;
    dbi_predictor *predictor = open_predictor(DBI_WINDOW_TRAINED, memory);
    dbi_emulated_most = 0;
    dbi_record *got = dbi_predict(predictor, input, "", NULL, NULL, &error);
    if (!got)
        fail_msg("%s", error.text);
    assert_true(dbi_emulated_most > bytes_of(4) && dbi_emulated_most <= memory);
    dbi_record_free(got);
    dbi_predictor_close(predictor);
    assert_int_equal(dbi_meta_set(checkpoint->meta, "patch", NULL, &error), 0);
    dbi_record_free(input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_on_the_host),
        cmocka_unit_test(test_label),
        cmocka_unit_test(test_new_weights),
        cmocka_unit_test(test_equal_bytes),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_memory),
        cmocka_unit_test_setup_teardown(test_as_on_the_host, to_group, to_batch),
        cmocka_unit_test_setup_teardown(test_equal_bytes, to_group, to_batch),
        cmocka_unit_test_setup_teardown(test_two_decoders, to_two_decoders, to_batch),
        cmocka_unit_test_setup_teardown(test_label_of_each, to_two_decoders, to_batch),
    };
    return cmocka_run_group_tests(tests, make_checkpoint, free_checkpoint);
}
