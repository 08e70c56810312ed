/* Sliding windows over made-up functions, whose means are known: constants stay, what does not look around stays, what
 * does is averaged as written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "device/slide.h"

enum { C = 2, K = 2 };

/* What the functions need to know, and what they saw. */
typedef struct view {
    int64_t window[3], voxels;
    double constant;
    int64_t calls, fail_at;
} view;

static int constant(void *context, const float *image, float *logits, float *sdf, dbi_error *error)
{
    (void)image, (void)error;
    view *v = context;
    v->calls++;
    for (int64_t i = 0; i < K * v->voxels; i++) {
        logits[i] = (float)v->constant;
        sdf[i] = (float)(v->constant / 10);
    }
    return 0;
}

/* Voxel by voxel, the channels mixed: 2 a - b and a + b. */
static int mix(void *context, const float *image, float *logits, float *sdf, dbi_error *error)
{
    (void)error;
    view *v = context;
    for (int64_t i = 0; i < v->voxels; i++) {
        logits[i] = 2 * image[i] - image[v->voxels + i];
        logits[v->voxels + i] = image[i] + image[v->voxels + i];
        sdf[i] = 0.5f * image[i];
        sdf[v->voxels + i] = -0.5f * image[i];
    }
    return 0;
}

/* Depends on where in the window a voxel lies, and on its six neighbours in the window (0 beyond it), each with a
 * weight of its own. */
static float look(const view *v, const float *image, int64_t i, int64_t j, int64_t k)
{
    const int64_t step[3] = {v->window[1] * v->window[2], v->window[2], 1}, place[3] = {i, j, k};
    const float *at = image + i * step[0] + j * step[1] + k;
    float value = *at + 0.01f * (float)(i - 2 * j + 3 * k);
    for (int a = 0; a < 3; a++) {
        value += (float)(a + 1) * 0.1f * (place[a] > 0 ? at[-step[a]] : 0);
        value += (float)(a + 4) * 0.1f * (place[a] + 1 < v->window[a] ? at[step[a]] : 0);
    }
    return value;
}

static int lookaround(void *context, const float *image, float *logits, float *sdf, dbi_error *error)
{
    (void)error;
    view *v = context;
    for (int64_t c = 0; c < K; c++)
        for (int64_t i = 0; i < v->window[0]; i++)
            for (int64_t j = 0; j < v->window[1]; j++)
                for (int64_t k = 0; k < v->window[2]; k++) {
                    int64_t at = (i * v->window[1] + j) * v->window[2] + k;
                    logits[c * v->voxels + at] = look(v, image + c * v->voxels, i, j, k);
                    sdf[c * v->voxels + at] = -logits[c * v->voxels + at];
                }
    return 0;
}

static int failing(void *context, const float *image, float *logits, float *sdf, dbi_error *error)
{
    view *v = context;
    if (v->calls == v->fail_at)
        return dbi_fail(error, "the function's own fault");
    return constant(context, image, logits, sdf, error);
}

static int broken(void *context, const float *image, float *logits, float *sdf, dbi_error *error)
{
    constant(context, image, logits, sdf, error);
    view *v = context;
    (v->calls == 2 ? sdf : logits)[v->voxels / 2] = v->calls == 2 ? NAN : logits[0];
    return 0;
}

typedef struct scan {
    int64_t shape[3], window[3], stride[3], voxels;
    dbi_window_weights weights;
    float *image;
    dbi_window_means scores;
} scan;

static const scan layouts[] = {
    {{20, 33, 17}, {16, 16, 16}, {8, 8, 8}, 0, DBI_WEIGHTS_UNIFORM, NULL, {0}},
    {{20, 33, 17}, {16, 32, 16}, {5, 32, 3}, 0, DBI_WEIGHTS_GAUSSIAN, NULL, {0}},
    {{5, 40, 9}, {16, 16, 32}, {8, 16, 1}, 0, DBI_WEIGHTS_GAUSSIAN, NULL, {0}},
    {{16, 16, 16}, {16, 16, 16}, {16, 16, 16}, 0, DBI_WEIGHTS_UNIFORM, NULL, {0}},
    {{1, 1, 1}, {16, 16, 16}, {8, 8, 8}, 0, DBI_WEIGHTS_GAUSSIAN, NULL, {0}},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static float *volume(int64_t volumes, int64_t voxels)
{
    float *v = calloc((size_t)(volumes * voxels), sizeof *v);
    assert_non_null(v);
    return v;
}

static scan make_scan(const scan *layout)
{
    scan s = *layout;
    s.voxels = s.shape[0] * s.shape[1] * s.shape[2];
    s.image = volume(C, s.voxels);
    s.scores = (dbi_window_means){volume(K, s.voxels), volume(K, s.voxels), volume(K, s.voxels), volume(K, s.voxels)};
    dbi_random random;
    dbi_random_start(&random, 7, DBI_ROLE_TEST, 0, 0);
    for (int64_t i = 0; i < C * s.voxels; i++)
        s.image[i] = (float)dbi_random_normal(&random);
    return s;
}

static void free_scan(scan *s)
{
    free(s->image);
    free(s->scores.seg);
    free(s->scores.step);
    free(s->scores.logits);
    free(s->scores.sdf);
}

static int run(const scan *s, dbi_window_function function, view *v, dbi_error *error)
{
    dbi_windows windows;
    assert_int_equal(dbi_windows_plan(s->shape, s->window, s->stride, s->weights, &windows, error), 0);
    memcpy(v->window, s->window, sizeof v->window);
    v->voxels = s->window[0] * s->window[1] * s->window[2];
    const dbi_slide slide = {
        .windows = &windows, .channels = C, .classes = K, .k = 40, .function = function, .context = v};
    int status = dbi_slide_run(&slide, s->image, &s->scores, error);
    if (!status && function == constant)
        assert_int_equal(v->calls, dbi_windows_count(&windows));
    dbi_windows_free(&windows);
    return status;
}

static void test_constant(void **state)
{
    (void)state;
    dbi_error error;
    for (int l = 0; l < LAYOUTS; l++) {
        scan s = make_scan(&layouts[l]);
        view v = {.constant = 0.3};
        assert_int_equal(run(&s, constant, &v, &error), 0);
        for (int64_t i = 0; i < K * s.voxels; i++) {
            assert_true(fabs(s.scores.logits[i] - 0.3) < 1e-6);
            assert_true(fabs(s.scores.sdf[i] - 0.03) < 1e-7);
            assert_true(fabs(s.scores.seg[i] - 1 / (1 + exp(-0.3))) < 1e-6);
            assert_true(fabs(s.scores.step[i] - 1 / (1 + exp(-1.2))) < 1e-6);
        }
        free_scan(&s);
    }
}

/* The second decoder's outputs are twice those of the first. */
static int doubling(void *context, const float *image, float *logits, float *sdf, dbi_error *error)
{
    const view *v = context;
    constant(context, image, logits, sdf, error);
    for (int64_t i = 0; i < K * v->voxels; i++) {
        logits[K * v->voxels + i] = 2 * logits[i];
        sdf[K * v->voxels + i] = 2 * sdf[i];
    }
    return 0;
}

/* The mean, each, and each alone. */
static void test_decoders(void **state)
{
    (void)state;
    dbi_error error;
    for (int choice = DBI_DECODER_MEAN; choice <= DBI_DECODER_FIRST + 1; choice++) {
        scan s = make_scan(&layouts[1]), other = make_scan(&layouts[1]);
        dbi_windows windows;
        assert_int_equal(dbi_windows_plan(s.shape, s.window, s.stride, s.weights, &windows, &error), 0);
        view v = {.constant = 0.3, .voxels = s.window[0] * s.window[1] * s.window[2]};
        memcpy(v.window, s.window, sizeof v.window);
        const dbi_slide slide = {.windows = &windows,
                                 .channels = C,
                                 .classes = K,
                                 .decoders = 2,
                                 .decoder = (dbi_decoder_choice)choice,
                                 .k = 40,
                                 .function = doubling,
                                 .context = &v};
        const dbi_window_means means[2] = {s.scores, other.scores};
        const double first = choice == DBI_DECODER_MEAN ? 1.5 : choice == DBI_DECODER_FIRST + 1 ? 2 : 1;
        assert_int_equal(dbi_slide_means(&slide), choice == DBI_DECODER_EACH ? 2 : 1);
        assert_int_equal(dbi_slide_run(&slide, s.image, means, &error), 0);
        for (int64_t i = 0; i < K * s.voxels; i++) {
            assert_true(fabs(s.scores.logits[i] - 0.3 * first) < 1e-6 && fabs(s.scores.sdf[i] - 0.03 * first) < 1e-6);
            assert_true(fabs(other.scores.logits[i] - (choice == DBI_DECODER_EACH ? 0.6 : 0)) < 1e-6);
        }
        const double p[2] = {1 / (1 + exp(-0.3)), 1 / (1 + exp(-0.6))};
        assert_true(fabs(s.scores.seg[0] - (choice == DBI_DECODER_MEAN        ? (p[0] + p[1]) / 2
                                            : choice == DBI_DECODER_FIRST + 1 ? p[1]
                                                                              : p[0])) < 1e-6);
        dbi_windows_free(&windows);
        free_scan(&s);
        free_scan(&other);
    }
}

static void test_voxelwise(void **state)
{
    (void)state;
    dbi_error error;
    for (int l = 0; l < LAYOUTS; l++) {
        scan s = make_scan(&layouts[l]);
        view v = {0};
        assert_int_equal(run(&s, mix, &v, &error), 0);
        for (int64_t i = 0; i < s.voxels; i++) {
            double a = s.image[i], b = s.image[s.voxels + i];
            assert_true(fabs(s.scores.logits[i] - (2 * a - b)) < 1e-5);
            assert_true(fabs(s.scores.logits[s.voxels + i] - (a + b)) < 1e-5);
            assert_true(fabs(s.scores.seg[s.voxels + i] - 1 / (1 + exp(-(a + b)))) < 1e-5);
            assert_true(fabs(s.scores.step[i] - 1 / (1 + exp(-20 * a))) < 1e-5);
            assert_true(fabs(s.scores.sdf[s.voxels + i] + 0.5 * a) < 1e-5);
        }
        free_scan(&s);
    }
}

/* The same mean written down directly: every window in turn, in double, with a volume of weights. */
static void direct(const scan *s, double *logits)
{
    int64_t *starts[3], counts[3], before[3];
    double *sum = calloc((size_t)s->voxels, sizeof *sum);
    assert_non_null(sum);
    for (int a = 0; a < 3; a++) {
        starts[a] = calloc(100, sizeof **starts);
        assert_non_null(starts[a]);
        before[a] = s->shape[a] < s->window[a] ? (s->window[a] - s->shape[a]) / 2 : 0;
        counts[a] = 0;
        int64_t x = 0;
        for (; x + s->window[a] < s->shape[a]; x += s->stride[a])
            starts[a][counts[a]++] = x;
        starts[a][counts[a]++] = s->shape[a] < s->window[a] ? -before[a] : s->shape[a] - s->window[a];
    }
    view v;
    memcpy(v.window, s->window, sizeof v.window);
    v.voxels = s->window[0] * s->window[1] * s->window[2];
    float *window = volume(1, v.voxels);
    for (int c = 0; c < K; c++) {
        memset(sum, 0, (size_t)s->voxels * sizeof *sum);
        for (int64_t n = 0; n < counts[0] * counts[1] * counts[2]; n++) {
            int64_t at[3] = {starts[0][n / counts[2] / counts[1]], starts[1][n / counts[2] % counts[1]],
                             starts[2][n % counts[2]]};
            for (int pass = 0; pass < 2; pass++)
                for (int64_t o = 0; o < v.voxels; o++) {
                    int64_t in[3] = {o / v.window[2] / v.window[1], o / v.window[2] % v.window[1], o % v.window[2]},
                            x[3], nearest[3];
                    bool inside = true;
                    double weight = 1;
                    for (int a = 0; a < 3; a++) {
                        x[a] = at[a] + in[a];
                        inside = inside && x[a] >= 0 && x[a] < s->shape[a];
                        nearest[a] = x[a] < 0 ? 0 : x[a] < s->shape[a] ? x[a] : s->shape[a] - 1;
                        double z = ((double)in[a] - (double)(v.window[a] - 1) / 2) / ((double)v.window[a] / 8);
                        weight *= s->weights == DBI_WEIGHTS_GAUSSIAN ? exp(-z * z / 2) : 1;
                    }
                    int64_t voxel = (nearest[0] * s->shape[1] + nearest[1]) * s->shape[2] + nearest[2];
                    if (pass == 0)
                        window[o] = s->image[c * s->voxels + voxel];
                    else if (inside) {
                        logits[c * s->voxels + voxel] += weight * (double)look(&v, window, in[0], in[1], in[2]);
                        sum[voxel] += weight;
                    }
                }
        }
        for (int64_t i = 0; i < s->voxels; i++)
            logits[c * s->voxels + i] /= sum[i];
    }
    for (int a = 0; a < 3; a++)
        free(starts[a]);
    free(window);
    free(sum);
}

static void test_direct(void **state)
{
    (void)state;
    dbi_error error;
    for (int l = 0; l < LAYOUTS; l++) {
        scan s = make_scan(&layouts[l]);
        view v = {0};
        double *expected = calloc((size_t)(K * s.voxels), sizeof *expected);
        assert_non_null(expected);
        assert_int_equal(run(&s, lookaround, &v, &error), 0);
        direct(&s, expected);
        for (int64_t i = 0; i < K * s.voxels; i++) {
            assert_true(fabs(s.scores.logits[i] - expected[i]) < 1e-5);
            assert_true(fabs(s.scores.sdf[i] + expected[i]) < 1e-5);
        }
        free(expected);
        free_scan(&s);
    }
}

/* Scores that are not asked for need no memory. */
static void test_some(void **state)
{
    (void)state;
    dbi_error error;
    scan s = make_scan(&layouts[0]);
    view v = {.constant = 1};
    float *kept = s.scores.step;
    free(s.scores.seg);
    free(s.scores.logits);
    free(s.scores.sdf);
    s.scores = (dbi_window_means){.step = kept};
    assert_int_equal(run(&s, constant, &v, &error), 0);
    assert_true(fabs(kept[0] - 1 / (1 + exp(-4))) < 1e-6);
    free_scan(&s);
}

static void test_faults(void **state)
{
    (void)state;
    dbi_error error;
    scan s = make_scan(&layouts[0]);
    view v = {.fail_at = 3};
    assert_int_equal(run(&s, failing, &v, &error), -1);
    assert_string_equal(error.text, "the function's own fault");
    v = (view){0};
    assert_int_equal(run(&s, broken, &v, &error), -1);
    assert_non_null(strstr(error.text, "not finite"));
    free_scan(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant), cmocka_unit_test(test_decoders), cmocka_unit_test(test_voxelwise),
        cmocka_unit_test(test_direct),   cmocka_unit_test(test_some),     cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
