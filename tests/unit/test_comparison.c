/* Blur, closeness and the comparison of transforms: against formulas and against errors that were put in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "base/random.h"
#include "distance/blur.h"
#include "distance/closeness.h"
#include "maps/comparison.h"
#include "record/metadata.h"

static const int64_t shape[3] = {23, 14, 19};
enum { COUNT = 23 * 14 * 19 };

/* The blur of one voxel, term by term. */
static double blurred(const float *v, const int64_t at[3], double sigma)
{
    const int64_t radius = (int64_t)(4 * sigma + 0.5);
    double sum = 0, weights = 0;
    for (int64_t dx = -radius; dx <= radius; dx++)
        for (int64_t dy = -radius; dy <= radius; dy++)
            for (int64_t dz = -radius; dz <= radius; dz++) {
                const int64_t d[3] = {dx, dy, dz};
                int64_t i = 0;
                for (int a = 0; a < 3; a++) {
                    const int64_t k = at[a] + d[a];
                    i = i * shape[a] + (k < 0 ? 0 : k < shape[a] ? k : shape[a] - 1);
                }
                const double w = exp(-0.5 * (double)(dx * dx + dy * dy + dz * dz) / (sigma * sigma));
                sum += w * (double)v[i];
                weights += w;
            }
    return sum / weights;
}

static void test_blur(void **state)
{
    (void)state;
    static float v[COUNT], before[COUNT];
    static const double sigmas[] = {0, 0.05, 0.7, 1.2, 5};
    dbi_random r;
    dbi_error error;
    dbi_random_start(&r, 1, DBI_ROLE_TEST, 0, 0);
    for (int i = 0; i < COUNT; i++)
        before[i] = (float)dbi_random_uniform(&r);
    for (size_t k = 0; k < sizeof sigmas / sizeof *sigmas; k++) {
        memcpy(v, before, sizeof v);
        assert_int_equal(dbi_gaussian_blur(shape, sigmas[k], v, &error), 0);
        for (int i = 0; i < COUNT; i += 397) {
            const int64_t at[3] = {i / (14 * 19), i / 19 % 14, i % 19};
            const double want = sigmas[k] > 0 ? blurred(before, at, sigmas[k]) : (double)before[i];
            assert_true(fabs((double)v[i] - want) < 1e-6);
        }
    }
    assert_int_equal(dbi_gaussian_blur(shape, -1, v, &error), -1);
    assert_int_equal(dbi_gaussian_blur(shape, NAN, v, &error), -1);
    assert_int_equal(dbi_gaussian_blur((int64_t[]){3, -1, 2}, 1, v, &error), -1);
    assert_int_equal(dbi_gaussian_blur((int64_t[]){3, 0, 2}, 1, v, &error), 0);
}

static dbi_closeness_report summed_up(dbi_closeness *c)
{
    dbi_closeness_report report;
    dbi_closeness_sum_up(c, &report);
    dbi_closeness_free(c);
    return report;
}

/* Errors that were put in come out, band by band. */
static void test_closeness(void **state)
{
    (void)state;
    enum { N = 4000 };
    static float s[N], exact[N], gradient[N];
    dbi_error error;
    dbi_closeness *c = dbi_closeness_new(&error);
    double sum = 0;
    for (int i = 0; i < N; i++) {
        /* on both sides of the surface: 0 to 5 too far by 2 and a wave, 5 to 20 too near by 1, beyond exact */
        const float d = 1 + (float)(i / 2) * 0.02f, wave = 0.5f * sinf((float)(i / 2));
        const float wrong = d <= 5 ? 2 + wave : d <= 20 ? -1 : 0;
        sum += d <= 5 ? fabs(2 + (double)wave) : 0;
        exact[i] = i % 2 ? d : -d;
        s[i] = i % 2 ? d + wrong : -d - wrong;
        gradient[i] = i % 4 ? 0 : i % 8 ? 1 : NAN;
    }
    dbi_closeness_add(c, N, s, exact, gradient);
    const float bad[4] = {NAN, INFINITY, -INFINITY, 3}, three[4] = {3, 3, 3, 3};
    dbi_closeness_add(c, 4, bad, three, NULL);
    const dbi_closeness_report r = summed_up(c);
    assert_int_equal(r.voxels, N + 4);
    assert_int_equal(r.bands[0].voxels + r.bands[1].voxels + r.bands[2].voxels, N + 1);
    assert_true(fabs(r.nonfinite - 3.0 / (N + 4)) < 1e-12);
    assert_true(fabs(r.gradient - 0.25 * N / (N + 4)) < 1e-12);
    assert_true(fabs(r.nonfinite_gradient - 0.125 * N / (N + 4)) < 1e-12);
    assert_true(fabs(r.bands[0].mean - sum / (double)r.bands[0].voxels) < 1e-4);
    assert_true(fabs(r.bands[0].offset + 2) < 0.1 && fabs(r.bands[0].p95 - 2.49) < 0.03);
    assert_true(fabs(r.bands[0].shifted_mean - 1 / M_PI) < 0.03 && r.bands[0].shifted_p95 < 0.6);
    assert_true(fabs(r.bands[1].mean - 1) < 1e-5 && fabs(r.bands[1].p95 - 1) < 0.01 &&
                fabs(r.bands[1].offset - 1) < 0.01);
    assert_true(r.bands[1].shifted_mean < 0.01 && r.bands[1].shifted_p95 < 0.01);
    assert_true(r.bands[2].mean == 0 && r.bands[2].p95 == 0 && r.bands[2].offset == 0 && r.bands[2].shifted_mean == 0);
}

/* No offset leaves less; no 95 % lie within less. */
static void test_best(void **state)
{
    (void)state;
    enum { N = 1001 };
    static float s[N], exact[N];
    dbi_random r;
    dbi_error error;
    dbi_random_start(&r, 2, DBI_ROLE_TEST, 0, 0);
    dbi_closeness *c = dbi_closeness_new(&error);
    for (int i = 0; i < N; i++) {
        exact[i] = 10;
        s[i] = 10 + (float)(dbi_random_uniform(&r) * dbi_random_uniform(&r) * 8 - 1);
    }
    dbi_closeness_add(c, N, s, exact, NULL);
    const dbi_closeness_report report = summed_up(c);
    for (double offset = -7; offset < 2; offset += 0.01) {
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += fabs((double)s[i] + offset - 10);
        assert_true(report.bands[1].shifted_mean < sum / N + 0.002);
    }
    int within = 0;
    for (int i = 0; i < N; i++)
        within += fabs((double)s[i] - 10) <= report.bands[1].p95 + 0.002;
    assert_true(within >= 0.95 * N && within < 0.96 * N);
    assert_true(isnan(report.bands[0].mean) && report.bands[0].voxels == 0);
}

static dbi_record *labelled(uint8_t value, double radius, const char *classes)
{
    dbi_error error;
    dbi_record *record = dbi_record_new(&error);
    uint8_t *label = dbi_record_add(record, "label", DBI_U8, 3, shape, &error)->data;
    assert_int_equal(dbi_meta_set(record, "classes", classes, &error), 0);
    for (int i = 0; i < COUNT; i++) {
        const double x = i / (14 * 19) - 14.0, y = i / 19 % 14 - 7.0, z = i % 19 - 8.0;
        label[i] = x * x + y * y + z * z < radius * radius ? value : 0;
    }
    return record;
}

/* Classes with both sides are added, others are not; a patch larger than the volume is the volume; wrong records are
 * errors. */
static void test_comparison(void **state)
{
    (void)state;
    dbi_comparison_settings settings = {
        .blurs = {0}, .backgrounds = {0}, .blur_count = 1, .background_count = 1, .transform_count = 1};
    dbi_error error;
    int added;
    for (int patch = 0; patch < 3; patch++) {
        for (int a = 0; a < 3; a++)
            settings.patch[a] = (const int64_t[]){0, 9, 100}[patch];
        dbi_comparison *c = dbi_comparison_open(&settings, &error);
        dbi_record *one = labelled(1, 4, "1"), *second = labelled(2, 4, "3"), *full = labelled(1, 100, "1"),
                   *wrong = labelled(2, 4, "1");
        assert_int_equal(dbi_comparison_add(c, one, &added, &error), 0);
        assert_int_equal(added, 1);
        assert_int_equal(dbi_comparison_add(c, second, &added, &error), 0);
        assert_int_equal(added, 1);
        assert_int_equal(dbi_comparison_add(c, full, &added, &error), 0);
        assert_int_equal(added, 0);
        assert_int_equal(dbi_comparison_add(c, wrong, &added, &error), -1);
        dbi_comparison_close(c);
        dbi_record_free(one);
        dbi_record_free(second);
        dbi_record_free(full);
        dbi_record_free(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blur),
        cmocka_unit_test(test_closeness),
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_comparison),
    };
    dbi_set_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
