/* Probability to signed distance: values against PyTorch's (tests/fixtures/distance.safetensors), against the
 * formulas by brute force and against exact distances; gradients against central differences, float against double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "base/random.h"
#include "distance/edt.h"
#include "distance/normalize.h"
#include "distance/transform.f64.h"
#include "distance/transform.real.h"
#include "record/stream.h"

static const int64_t shape[3] = {13, 12, 14};
enum { COUNT = 13 * 12 * 14 };

static const dbi_normalize none = {.kind = DBI_NORMALIZE_NONE}, clip3 = {.kind = DBI_NORMALIZE_CLIP, .t = 3},
                           maximum = {.kind = DBI_NORMALIZE_MAX};

static dbi_transform parsed(const char *text)
{
    dbi_transform t;
    dbi_error error;
    assert_int_equal(dbi_transform_parse(text, &t, &error), 0);
    return t;
}

/* A bumpy ball with a soft edge: smooth enough that a small change moves no foot to another edge. The values are
 * floats. */
static void soft_ball(double p[COUNT])
{
    for (int i = 0; i < COUNT; i++) {
        const double x = i / (12 * 14), y = i / 14 % 12, z = i % 14;
        const double r = 4.1 + 0.2 * sin(1.1 * x) + 0.3 * sin(1.7 * y + z),
                     d = sqrt((x - 6.3) * (x - 6.3) + (y - 5.6) * (y - 5.6) + (z - 6.4) * (z - 6.4));
        p[i] = (float)(1 / (1 + exp((d - r) / 1.5)));
    }
}

static void random_weights(double w[COUNT], uint32_t stream)
{
    dbi_random r;
    dbi_random_start(&r, 3, DBI_ROLE_TEST, 0, stream);
    for (int i = 0; i < COUNT; i++)
        w[i] = (float)dbi_random_normal(&r);
}

static void forward(const dbi_transform *t, const dbi_normalize *n, const double *p, double *s, dbi_tape_f64 **tape)
{
    dbi_error error;
    assert_int_equal(dbi_transform_forward_f64(t, n, shape, p, s, tape, &error), 0);
}

static double weighted(const dbi_transform *t, const dbi_normalize *n, const double *p, const double *w)
{
    static double s[COUNT];
    double sum = 0;
    forward(t, n, p, s, NULL);
    for (int i = 0; i < COUNT; i++)
        sum += w[i] * s[i];
    return sum;
}

/* The soft distance of two temperatures over the whole volume, and its gradient, with PyTorch. */
static void test_torch(void **state)
{
    (void)state;
    const char *directory = getenv("FIXTURES");
    char path[4096];
    dbi_error error;
    snprintf(path, sizeof path, "%s/distance.safetensors", directory ? directory : "tests/fixtures");
    dbi_record *fixture = dbi_record_load(path, &error);
    assert_non_null(fixture);
    const dbi_tensor *p = dbi_record_find(fixture, "prob"), *w = dbi_record_find(fixture, "weight");
    float *s = malloc(p->count * sizeof *s), *dp = malloc(p->count * sizeof *dp);
    static const char *const names[2] = {"0.35", "1"}, *const labels[2] = {"0.35", "1.0"};
    for (int k = 0; k < 2; k++) {
        char name[64];
        snprintf(name, sizeof name, "conv:%s,all", names[k]);
        const dbi_transform t = parsed(name);
        snprintf(name, sizeof name, "conv_h%s.value", labels[k]);
        const float *value = dbi_record_find(fixture, name)->data;
        snprintf(name, sizeof name, "conv_h%s.grad", labels[k]);
        const float *grad = dbi_record_find(fixture, name)->data;
        dbi_tape_f32 *tape;
        memset(dp, 0xff, p->count * sizeof *dp); /* NaN: the gradient takes its place */
        assert_int_equal(dbi_transform_forward_f32(&t, &none, p->shape, p->data, s, &tape, &error), 0);
        assert_int_equal(dbi_transform_backward_f32(tape, w->data, dp, &error), 0);
        dbi_tape_free_f32(tape);
        double wrong = 0, all = 0;
        for (size_t i = 0; i < p->count; i++) {
            assert_true(fabsf(s[i] - value[i]) < 1e-3f);
            wrong += ((double)dp[i] - (double)grad[i]) * ((double)dp[i] - (double)grad[i]);
            all += (double)grad[i] * (double)grad[i];
        }
        assert_true(sqrt(wrong / all) < 1e-3);
    }
    free(s);
    free(dp);
    dbi_record_free(fixture);
}

/* Few voxels of 1 and of a small probability among zeros. */
static void specks(double p[COUNT])
{
    dbi_random r;
    dbi_random_start(&r, 8, DBI_ROLE_TEST, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        const uint32_t kind = dbi_random_below(&r, 40);
        p[i] = kind == 0 ? 1 : kind == 1 ? 0.001 : 0;
    }
}

/* The soft distance of one voxel, term by term. */
static double formula(const double *p, int i, double h, int radius)
{
    const int x = i / (12 * 14), y = i / 14 % 12, z = i % 14;
    double sum[2] = {0, 0};
    for (int j = 0; j < COUNT; j++) {
        const int a = j / (12 * 14) - x, b = j / 14 % 12 - y, c = j % 14 - z, d2 = a * a + b * b + c * c;
        if (d2 > radius * radius)
            continue;
        sum[0] += (1 - p[j]) * exp(-sqrt(d2) / h);
        sum[1] += p[j] * exp(-sqrt(d2) / h);
    }
    return fmin(fmax(h * (log(sum[1]) - log(sum[0])), -radius), radius);
}

/* The window, and both ways of summing (h = 0.03 and 0.01 are beyond the reach of plain sums). */
static void test_window(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double h;
        int radius;
    } cases[] = {{"conv:0.7,3", 0.7, 3}, {"conv:0.03,3", 0.03, 3}, {"conv:0.01,4", 0.01, 4}, {"conv:2,30", 2, 30}};
    static double p[COUNT], s[COUNT];
    static float pf[COUNT], sf[COUNT];
    dbi_error error;
    for (int sparse = 0; sparse < 2; sparse++) {
        if (sparse)
            specks(p);
        else
            soft_ball(p);
        for (int i = 0; i < COUNT; i++)
            pf[i] = (float)p[i];
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            const dbi_transform t = parsed(cases[c].text);
            forward(&t, &none, p, s, NULL);
            assert_int_equal(dbi_transform_forward_f32(&t, &none, shape, pf, sf, NULL, &error), 0);
            for (int i = 0; i < COUNT; i += 7) {
                const double want = formula(p, i, cases[c].h, cases[c].radius);
                assert_true(fabs(s[i] - want) < 1e-9);
                assert_true(fabs(sf[i] - want) < 1e-4);
            }
        }
    }
}

/* Where a window sees one side alone there is its radius, and nothing to learn. */
static void test_beyond_window(void **state)
{
    (void)state;
    static double p[COUNT], s[COUNT], ds[COUNT], dp[COUNT];
    static const char *const transforms[] = {"conv:1,2", "conv:0.1,2", "conv:0.03,2"};
    dbi_error error;
    for (int i = 0; i < COUNT; i++) {
        const int x = i / (12 * 14);
        p[i] = x < 6;
        ds[i] = x < 4 || x >= 8;
    }
    for (int k = 0; k < 3; k++) {
        const dbi_transform t = parsed(transforms[k]);
        dbi_tape_f64 *tape;
        memset(dp, 0xff, sizeof dp);
        forward(&t, &none, p, s, &tape);
        assert_int_equal(dbi_transform_backward_f64(tape, ds, dp, &error), 0);
        dbi_tape_free_f64(tape);
        for (int i = 0; i < COUNT; i++) {
            assert_true(dp[i] == 0);
            assert_true(ds[i] == 0 || s[i] == (p[i] > 0 ? 2 : -2));
        }
    }
}

static double to_surface(double d)
{
    return d + fmin(2 * d, fmin(0.5, 0.5 / sqrt(d)));
}

/* All crossings of all edges of a volume n. */
static int all_feet(const double *p, const int64_t n[3], double (*feet)[3])
{
    const int64_t stride[3] = {n[1] * n[2], n[2], 1};
    int count = 0;
    for (int64_t i = 0; i < n[0] * n[1] * n[2]; i++) {
        const int64_t at[3] = {i / stride[0], i / stride[1] % n[1], i % n[2]};
        for (int a = 0; a < 3; a++) {
            if (at[a] + 1 >= n[a] || (p[i] > 0.5) == (p[i + stride[a]] > 0.5))
                continue;
            for (int b = 0; b < 3; b++)
                feet[count][b] = (double)at[b];
            feet[count++][a] += (0.5 - p[i]) / (p[i + stride[a]] - p[i]);
        }
    }
    return count;
}

/* The level set's distances by brute force, as they are and clipped. */
static void check_feet(const double *p, const int64_t n[3])
{
    const int64_t voxels = n[0] * n[1] * n[2];
    const dbi_transform t = parsed("levelset");
    double *s = malloc((size_t)voxels * sizeof *s), *clipped = malloc((size_t)voxels * sizeof *clipped);
    double(*feet)[3] = malloc(3 * (size_t)voxels * sizeof *feet);
    dbi_error error;
    const int count = all_feet(p, n, feet);
    assert_int_equal(dbi_transform_forward_f64(&t, &none, n, p, s, NULL, &error), 0);
    assert_int_equal(dbi_transform_forward_f64(&t, &clip3, n, p, clipped, NULL, &error), 0);
    for (int64_t i = 0; i < voxels; i++) {
        const double x = (double)(i / (n[1] * n[2])), y = (double)(i / n[2] % n[1]), z = (double)(i % n[2]);
        double d2 = INFINITY;
        for (int f = 0; f < count; f++) {
            const double dx = feet[f][0] - x, dy = feet[f][1] - y, dz = feet[f][2] - z;
            d2 = fmin(d2, dx * dx + dy * dy + dz * dz);
        }
        const double want = (p[i] > 0.5 ? 1 : -1) * to_surface(sqrt(d2));
        if (!(fabs(s[i] - want) < 1e-5) || !(fabs(clipped[i] - fmax(-1, fmin(1, want / 3))) < 1e-5))
            fail_msg("[%lld,%lld,%lld], voxel %lld: %g, clipped %g, not %g", (long long)n[0], (long long)n[1],
                     (long long)n[2], (long long)i, s[i], clipped[i], want);
    }
    free(s);
    free(clipped);
    free(feet);
}

static void test_feet(void **state)
{
    (void)state;
    static double p[COUNT];
    soft_ball(p);
    check_feet(p, shape);
    /* specks, few enough that distances are long; along each axis more voxels than are compared at once, in
     * multiples and not */
    static const int64_t shapes[][3] = {{13, 12, 14}, {3, 37, 50}, {40, 5, 32}, {34, 35, 3},
                                        {1, 1, 70},   {70, 1, 1},  {2, 64, 16}};
    dbi_random r;
    dbi_random_start(&r, 4, DBI_ROLE_TEST, 0, 0);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        const int64_t voxels = shapes[k][0] * shapes[k][1] * shapes[k][2];
        double *sparse = malloc((size_t)voxels * sizeof *sparse);
        for (int64_t i = 0; i < voxels; i++)
            sparse[i] = dbi_random_below(&r, 200) == 0 ? 0.5 + dbi_random_uniform(&r) / 2 : dbi_random_uniform(&r) / 2;
        sparse[voxels / 3] = 0.9;
        check_feet(sparse, shapes[k]);
        free(sparse);
    }
}

/* A field of blobs with values around 1/2, from noise that was smoothed `passes` times along each axis. */
static void smooth_along(double *v, const int64_t n[3], int axis)
{
    const int64_t stride[3] = {n[1] * n[2], n[2], 1}, count = n[0] * n[1] * n[2];
    double *old = malloc((size_t)count * sizeof *old);
    memcpy(old, v, (size_t)count * sizeof *old);
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = i / stride[axis] % n[axis];
        v[i] = (old[at > 0 ? i - stride[axis] : i] + 2 * old[i] + old[at + 1 < n[axis] ? i + stride[axis] : i]) / 4;
    }
    free(old);
}

static void smooth(double *v, const int64_t n[3], int passes)
{
    for (int pass = 0; pass < passes; pass++)
        for (int axis = 0; axis < 3; axis++)
            smooth_along(v, n, axis);
}

/* Mean distance to the exact signed distance of the unblurred label, in bands of it. */
static void check_closeness(const uint8_t *label, const int64_t n[3], int passes, double allowed)
{
    const int64_t count = n[0] * n[1] * n[2];
    const double spacing[3] = {1, 1, 1}, bands[] = {0, 1.2, 2.1, 4, 7, 10};
    double *p = malloc((size_t)count * sizeof *p), *s = malloc((size_t)count * sizeof *s);
    float *exact = malloc((size_t)count * sizeof *exact);
    const dbi_transform t = parsed("levelset");
    dbi_error error;
    for (int64_t i = 0; i < count; i++)
        p[i] = 0.0001 + 0.9998 * label[i];
    smooth(p, n, passes);
    assert_int_equal(dbi_transform_forward_f64(&t, &none, n, p, s, NULL, &error), 0);
    assert_int_equal(dbi_signed_distance(label, 1, n, spacing, &none, exact, &error), 0);
    for (int b = 0; b < 5; b++) {
        double sum = 0;
        int64_t voxels = 0;
        for (int64_t i = 0; i < count; i++)
            if (fabsf(exact[i]) > bands[b] && fabsf(exact[i]) <= bands[b + 1]) {
                sum += fabs(s[i] - (double)exact[i]);
                voxels++;
            }
        if (voxels && sum / (double)voxels > allowed)
            fail_msg("%d passes, band %d: %g voxels from the exact distance", passes, b, sum / (double)voxels);
    }
    free(p);
    free(s);
    free(exact);
}

static void test_closeness(void **state)
{
    (void)state;
    const int64_t n[3] = {48, 44, 40}, count = 48 * 44 * 40;
    double *field = malloc((size_t)count * sizeof *field);
    uint8_t *label = malloc((size_t)count);
    dbi_random r;
    dbi_random_start(&r, 5, DBI_ROLE_TEST, 0, 0);
    for (int64_t i = 0; i < count; i++)
        field[i] = dbi_random_normal(&r);
    smooth(field, n, 60);
    for (int shape_kind = 0; shape_kind < 2; shape_kind++) {
        for (int64_t i = 0; i < count; i++) {
            const double x = (double)(i / (44 * 40)) - 23.4, y = (double)(i / 40 % 44) - 21.8,
                         z = (double)(i % 40) - 19.7;
            label[i] = shape_kind ? field[i] > 0.01 : x * x + y * y + z * z < 14 * 14;
        }
        /* one pass: sigma = 0.71 voxels; three: 1.22, which takes the blobs' smallest parts away */
        check_closeness(label, n, 0, 0.3);
        check_closeness(label, n, 1, shape_kind ? 0.4 : 0.25);
        check_closeness(label, n, 3, shape_kind ? 0.6 : 0.35);
    }
    free(field);
    free(label);
}

/* Float against double, and double against central differences at every step-th voxel (0: at none). */
static void check_gradient(const char *text, const dbi_normalize *n, int step)
{
    static double p[COUNT], w[COUNT], s[COUNT], dp[COUNT];
    static float pf[COUNT], wf[COUNT], sf[COUNT], dpf[COUNT];
    const dbi_transform t = parsed(text);
    dbi_tape_f64 *tape;
    dbi_tape_f32 *tape_f;
    dbi_error error;
    soft_ball(p);
    random_weights(w, 1);
    memset(dp, 0xff, sizeof dp);
    memset(dpf, 0xff, sizeof dpf);
    forward(&t, n, p, s, &tape);
    assert_int_equal(dbi_transform_backward_f64(tape, w, dp, &error), 0);
    dbi_tape_free_f64(tape);
    for (int i = 0; i < COUNT; i++) {
        pf[i] = (float)p[i];
        wf[i] = (float)w[i];
    }
    assert_int_equal(dbi_transform_forward_f32(&t, n, shape, pf, sf, &tape_f, &error), 0);
    assert_int_equal(dbi_transform_backward_f32(tape_f, wf, dpf, &error), 0);
    dbi_tape_free_f32(tape_f);
    double wrong = 0, all = 0, rounding = 0, everything = 0;
    for (int i = 0; i < COUNT; i++) {
        rounding += (dp[i] - (double)dpf[i]) * (dp[i] - (double)dpf[i]);
        everything += dp[i] * dp[i];
        if (!step || i % step)
            continue;
        const double old = p[i], h = 1e-7;
        p[i] = old + h;
        const double up = weighted(&t, n, p, w);
        p[i] = old - h;
        const double down = weighted(&t, n, p, w);
        p[i] = old;
        wrong += (dp[i] - (up - down) / (2 * h)) * (dp[i] - (up - down) / (2 * h));
        all += dp[i] * dp[i];
    }
    assert_true(everything > 0 && sqrt(rounding / everything) < 1e-4);
    assert_true(!step || all > 0);
    if (step && !(sqrt(wrong / all) < 1e-4))
        fail_msg("%s: %g of the gradient is not in the central differences", text, sqrt(wrong / all));
}

static void test_gradients(void **state)
{
    (void)state;
    check_gradient("levelset", &none, 5);
    check_gradient("levelset", &clip3, 5);
    check_gradient("levelset", &maximum, 0);
    check_gradient("conv:0.6,4", &none, 41);
    check_gradient("conv:0.6,4", &clip3, 41);
    check_gradient("conv:0.03,2", &none, 97);
    check_gradient("conv:0.6,all", &clip3, 1101);
}

/* With maxima held, `max` is a product: its gradient is that of the bare distance with the weights divided by the
 * maxima, and 0 on the boundary. */
static void test_maximum(void **state)
{
    (void)state;
    static double p[COUNT], w[COUNT], s[COUNT], bare[COUNT], scaled[COUNT], dp[COUNT], want[COUNT];
    const dbi_transform t = parsed("levelset");
    dbi_tape_f64 *tape, *bare_tape;
    dbi_error error;
    soft_ball(p);
    random_weights(w, 2);
    forward(&t, &maximum, p, s, &tape);
    forward(&t, &none, p, bare, &bare_tape);
    double most = 0, least = 0;
    for (int i = 0; i < COUNT; i++) {
        most = fmax(most, bare[i]);
        least = fmin(least, bare[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        const double factor = s[i] == 0 ? 0 : bare[i] > 0 ? 1 / most : -1 / least;
        assert_true(fabs(s[i] - factor * bare[i]) < 1e-12);
        scaled[i] = w[i] * factor;
    }
    memset(dp, 0xff, sizeof dp);
    memset(want, 0xff, sizeof want);
    assert_int_equal(dbi_transform_backward_f64(tape, w, dp, &error), 0);
    assert_int_equal(dbi_transform_backward_f64(bare_tape, scaled, want, &error), 0);
    for (int i = 0; i < COUNT; i++)
        assert_true(fabs(dp[i] - want[i]) < 1e-9);
    dbi_tape_free_f64(tape);
    dbi_tape_free_f64(bare_tape);
}

static void fill_extreme(float p[COUNT], int kind)
{
    static const float values[] = {0, 1, 0.5f, 1e-45f, 1e-30f, 0.99999994f};
    dbi_random r;
    dbi_random_start(&r, 6, DBI_ROLE_TEST, 0, (uint32_t)kind);
    for (int i = 0; i < COUNT; i++)
        p[i] = kind < 6    ? values[kind]
               : kind == 6 ? (float)dbi_random_below(&r, 2)
               : kind == 7 ? values[dbi_random_below(&r, 6)]
                           : i == COUNT / 2;
}

/* Whatever the probabilities: finite values and gradients. */
static void test_finite(void **state)
{
    (void)state;
    static const char *const transforms[] = {"exact", "levelset", "conv:0.35,10", "conv:0.02,3", "conv:5,2"};
    static float p[COUNT], s[COUNT], ds[COUNT], dp[COUNT];
    const dbi_normalize *const normalizations[] = {&none, &clip3, &maximum};
    dbi_error error;
    for (int i = 0; i < COUNT; i++)
        ds[i] = i % 2 ? 1e3f : -1e3f;
    for (int kind = 0; kind < 9; kind++)
        for (size_t t = 0; t < 5; t++)
            for (int n = 0; n < 3; n++) {
                const dbi_transform transform = parsed(transforms[t]);
                dbi_tape_f32 *tape;
                fill_extreme(p, kind);
                memset(dp, 0xff, sizeof dp);
                assert_int_equal(dbi_transform_forward_f32(&transform, normalizations[n], shape, p, s, &tape, &error),
                                 0);
                assert_int_equal(dbi_transform_backward_f32(tape, ds, dp, &error), 0);
                dbi_tape_free_f32(tape);
                for (int i = 0; i < COUNT; i++)
                    if (!isfinite(s[i]) || !isfinite(dp[i]) || (n == 1 && fabsf(s[i]) > 1))
                        fail_msg("%s, kind %d, normalization %d: %g with gradient %g", transforms[t], kind, n,
                                 (double)s[i], (double)dp[i]);
            }
}

/* No 1/2 in the crop, or none near: one value everywhere and no gradient. */
static void test_no_level(void **state)
{
    (void)state;
    static double p[COUNT], s[COUNT], w[COUNT], dp[COUNT];
    const dbi_transform t = parsed("levelset");
    dbi_error error;
    random_weights(w, 3);
    for (int inside = 0; inside < 2; inside++) {
        dbi_tape_f64 *tape;
        for (int i = 0; i < COUNT; i++)
            p[i] = inside ? 0.8 : 0.5;
        memset(dp, 0xff, sizeof dp);
        forward(&t, &clip3, p, s, &tape);
        assert_int_equal(dbi_transform_backward_f64(tape, w, dp, &error), 0);
        dbi_tape_free_f64(tape);
        for (int i = 0; i < COUNT; i++)
            assert_true(s[i] == (inside ? 1 : -1) && dp[i] == 0);
    }
}

/* A voxel of exactly 1/2 is its own foot, at either end of an edge. Which way the foot moves then decides: dp says what
 * S does when p changes a little, up or down. */
static void test_on_foot(void **state)
{
    (void)state;
    static const int64_t line[3] = {1, 1, 3};
    static const double maps[2][3] = {{0, 0.5, 1}, {1, 0.5, 0}}, ds[3] = {0, 1, 0};
    const dbi_transform t = parsed("levelset");
    dbi_error error;
    for (int k = 0; k < 2; k++) {
        double p[3], s[3], dp[3];
        dbi_tape_f64 *tape;
        memcpy(p, maps[k], sizeof p);
        assert_int_equal(dbi_transform_forward_f64(&t, &none, line, p, s, &tape, &error), 0);
        assert_int_equal(dbi_transform_backward_f64(tape, ds, dp, &error), 0);
        dbi_tape_free_f64(tape);
        assert_true(s[1] == 0 && dp[0] == 0 && dp[2] == 0);
        for (int up = 0; up < 2; up++) {
            const double h = up ? 1e-7 : -1e-7;
            p[1] = 0.5 + h;
            assert_int_equal(dbi_transform_forward_f64(&t, &none, line, p, s, NULL, &error), 0);
            assert_true(fabs(dp[1] - s[1] / h) < 1e-4);
        }
    }
}

/* The exact transform is the signed distance of p > 1/2, and has no gradient. */
static void test_exact(void **state)
{
    (void)state;
    static double p[COUNT], s[COUNT], w[COUNT], dp[COUNT];
    static uint8_t label[COUNT];
    static float want[COUNT];
    const dbi_transform t = parsed("exact");
    const double spacing[3] = {1, 1, 1};
    dbi_tape_f64 *tape;
    dbi_error error;
    soft_ball(p);
    random_weights(w, 4);
    for (int i = 0; i < COUNT; i++)
        label[i] = p[i] > 0.5;
    const dbi_normalize *const normalizations[] = {&none, &clip3, &maximum};
    for (int n = 0; n < 3; n++) {
        forward(&t, normalizations[n], p, s, &tape);
        memset(dp, 0xff, sizeof dp);
        assert_int_equal(dbi_transform_backward_f64(tape, w, dp, &error), 0);
        dbi_tape_free_f64(tape);
        assert_int_equal(dbi_signed_distance(label, 1, shape, spacing, normalizations[n], want, &error), 0);
        for (int i = 0; i < COUNT; i++)
            assert_true(fabs(s[i] - (double)want[i]) < 1e-6 && dp[i] == 0);
    }
}

/* The gradient takes the place of what was there, its own weights included. */
static void test_overwritten(void **state)
{
    (void)state;
    static const char *const transforms[] = {"exact", "levelset", "conv:0.7,3", "conv:0.02,2"};
    static double p[COUNT], s[COUNT], w[COUNT], dp[COUNT], in_place[COUNT];
    dbi_error error;
    soft_ball(p);
    random_weights(w, 7);
    for (int k = 0; k < 4; k++) {
        const dbi_transform t = parsed(transforms[k]);
        dbi_tape_f64 *tape;
        forward(&t, &clip3, p, s, &tape);
        memset(dp, 0xff, sizeof dp);
        memcpy(in_place, w, sizeof w);
        assert_int_equal(dbi_transform_backward_f64(tape, w, dp, &error), 0);
        assert_int_equal(dbi_transform_backward_f64(tape, in_place, in_place, &error), 0);
        dbi_tape_free_f64(tape);
        for (int i = 0; i < COUNT; i++)
            assert_true(isfinite(dp[i]));
        assert_memory_equal(dp, in_place, sizeof dp);
    }
}

/* The same bytes from any number of threads. */
static void test_threads(void **state)
{
    (void)state;
    static double p[COUNT], s[2][COUNT], w[COUNT], dp[2][COUNT];
    static const char *const transforms[] = {"levelset", "conv:0.7,3", "conv:0.02,2"};
    dbi_error error;
    soft_ball(p);
    random_weights(w, 5);
    for (int t = 0; t < 3; t++) {
        const dbi_transform transform = parsed(transforms[t]);
        for (int k = 0; k < 2; k++) {
            dbi_tape_f64 *tape;
            dbi_set_threads(k ? 3 : 1);
            memset(dp[k], 0xff, sizeof dp[k]);
            forward(&transform, &clip3, p, s[k], &tape);
            assert_int_equal(dbi_transform_backward_f64(tape, w, dp[k], &error), 0);
            dbi_tape_free_f64(tape);
        }
        assert_memory_equal(s[0], s[1], sizeof s[0]);
        assert_memory_equal(dp[0], dp[1], sizeof dp[0]);
    }
}

/* A kind that was added to the list and not to the switches. */
static void test_unknown_kind(void **state)
{
    (void)state;
    static double p[COUNT], s[COUNT], ds[COUNT], dp[COUNT];
    soft_ball(p);
    const dbi_transform unknown = {.kind = (dbi_transform_kind)7}, known = parsed("conv:1,all");
    dbi_error error = {""};
    assert_int_equal(dbi_transform_forward_f64(&unknown, &none, shape, p, s, NULL, &error), -1);
    assert_string_equal(error.text, "there is no transform of kind 7");
    dbi_tape_f64 *tape;
    forward(&known, &none, p, s, &tape);
    memcpy(tape, &unknown, sizeof unknown); /* a tape begins with the transform */
    error = (dbi_error){""};
    assert_int_equal(dbi_transform_backward_f64(tape, ds, dp, &error), -1);
    assert_string_equal(error.text, "there is no transform of kind 7");
    dbi_tape_free_f64(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torch),       cmocka_unit_test(test_window),    cmocka_unit_test(test_beyond_window),
        cmocka_unit_test(test_feet),        cmocka_unit_test(test_closeness), cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_maximum),     cmocka_unit_test(test_finite),    cmocka_unit_test(test_unknown_kind),
        cmocka_unit_test(test_no_level),    cmocka_unit_test(test_exact),     cmocka_unit_test(test_threads),
        cmocka_unit_test(test_overwritten), cmocka_unit_test(test_on_foot),
    };
    dbi_set_threads(1); /* small volumes, where threads wait for each other */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
