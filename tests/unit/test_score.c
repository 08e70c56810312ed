/* Scores against scipy's (tests/fixtures/metrics.safetensors) and against what can be worked out by hand; order
 * statistics and the bootstrap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "base/random.h"
#include "record/metadata.h"
#include "record/stream.h"
#include "score/metrics.h"
#include "score/order.h"
#include "score/summary.h"

static const double voxels[3] = {1, 1, 1};

/* "dice", "hd95_voxel", ... of one case of the fixture; those with a unit only in that unit. */
static void compare_scores(json_t *expected, const char *unit, const dbi_scores *scores)
{
    int compared = 0;
    for (int m = 0; m < DBI_METRICS; m++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s", dbi_metric_names[m], unit);
        json_t *value = json_object_get(expected, dbi_metric_names[m]);
        value = value ? value : json_object_get(expected, name);
        if (!value)
            continue;
        compared++;
        assert_true(fabs(scores->value[m] - json_number_value(value)) < 1e-4);
    }
    assert_int_equal(compared, 6);
}

static void test_scipy(void **state)
{
    (void)state;
    const char *directory = getenv("FIXTURES");
    const double spacings[2][3] = {{1, 1, 1}, {0.625, 0.625, 1.25}};
    char path[4096], name[64];
    dbi_error error;
    snprintf(path, sizeof path, "%s/metrics.safetensors", directory ? directory : "tests/fixtures");
    dbi_record *fixture = dbi_record_load(path, &error);
    assert_non_null(fixture);
    json_t *expected = dbi_meta_get_json(fixture, "expected", &error);
    assert_int_equal(json_array_size(expected), 6);
    for (int c = 0; c < 6; c++) {
        snprintf(name, sizeof name, "case%d.prediction", c);
        const dbi_tensor *p = dbi_record_find(fixture, name);
        snprintf(name, sizeof name, "case%d.reference", c);
        const dbi_tensor *r = dbi_record_find(fixture, name);
        for (int mm = 0; mm < 2; mm++) {
            dbi_scores s;
            assert_int_equal(dbi_score(p->data, r->data, 1, p->shape, spacings[mm], 1, &s, &error), 0);
            compare_scores(json_array_get(expected, (size_t)c), mm ? "mm" : "voxel", &s);
        }
    }
    json_decref(expected);
    dbi_record_free(fixture);
}

/* Two boxes, one inside the other: everything can be counted. */
static void test_boxes(void **state)
{
    (void)state;
    const int64_t shape[3] = {8, 7, 9};
    const double spacing[3] = {2, 1, 1};
    static uint8_t p[8 * 7 * 9], r[8 * 7 * 9];
    for (int x = 0, i = 0; x < 8; x++)
        for (int y = 0; y < 7; y++)
            for (int z = 0; z < 9; z++, i++) {
                r[i] = x >= 1 && x <= 5 && y >= 1 && y <= 5 && z >= 1 && z <= 5 ? 3 : 1; /* 5 x 5 x 5 */
                p[i] = x >= 2 && x <= 4 && y >= 2 && y <= 4 && z >= 2 && z <= 4 ? 3 : 1; /* 3 x 3 x 3 */
            }
    dbi_scores s;
    dbi_error error;
    assert_int_equal(dbi_score(p, r, 3, shape, spacing, 1, &s, &error), 0);
    assert_true(fabs(s.value[DBI_METRIC_DICE] - 54.0 / 152) < 1e-12);
    assert_true(fabs(s.value[DBI_METRIC_JACCARD] - 27.0 / 125) < 1e-12);
    assert_true(s.value[DBI_METRIC_PRECISION] == 1 && fabs(s.value[DBI_METRIC_RECALL] - 27.0 / 125) < 1e-12);
    assert_true(s.value[DBI_METRIC_VOLUME] == 54 && s.value[DBI_METRIC_REFERENCE_VOLUME] == 250 &&
                s.value[DBI_METRIC_VOLUME_DIFFERENCE] == -196);
    assert_true(fabs(s.value[DBI_METRIC_HD] - sqrt(6)) < 1e-6); /* from a corner, with an x step of 2 */
    /* Of the 26 predicted surface voxels the two in the middle of the x faces are 2 away, the others 1. */
    assert_true(fabs(s.value[DBI_METRIC_ASD] - 28.0 / 26) < 1e-6);
    assert_true(s.value[DBI_METRIC_HD95] > 1 && s.value[DBI_METRIC_HD95] <= s.value[DBI_METRIC_HD]);
    assert_int_equal(s.empty, DBI_EMPTY_NONE);
    /* Within 1, that included: all but those two, and of the 98 outer ones the 9 opposite to each y and z face. */
    assert_true(fabs(s.value[DBI_METRIC_SURFACE_DICE] - (24.0 + 36) / (26 + 98)) < 1e-12);
    /* The other way round: directions change places. */
    dbi_scores t;
    assert_int_equal(dbi_score(r, p, 3, shape, spacing, 1, &t, &error), 0);
    assert_true(t.value[DBI_METRIC_RECALL] == 1 && t.value[DBI_METRIC_VOLUME_DIFFERENCE] == 196);
    assert_true(fabs(s.value[DBI_METRIC_ASD] + t.value[DBI_METRIC_ASD] - 2 * s.value[DBI_METRIC_ASSD]) < 1e-6);
    static const dbi_metric symmetric[] = {DBI_METRIC_DICE, DBI_METRIC_JACCARD, DBI_METRIC_HD,
                                           DBI_METRIC_HD95, DBI_METRIC_ASSD,    DBI_METRIC_SURFACE_DICE};
    for (size_t i = 0; i < sizeof symmetric / sizeof *symmetric; i++)
        assert_true(s.value[symmetric[i]] == t.value[symmetric[i]]);
    /* Everything is within a large tolerance, and only what coincides within none. */
    assert_int_equal(dbi_score(p, r, 3, shape, spacing, 3, &s, &error), 0);
    assert_true(s.value[DBI_METRIC_SURFACE_DICE] == 1);
    assert_int_equal(dbi_score(p, r, 3, shape, spacing, 0, &s, &error), 0);
    assert_true(s.value[DBI_METRIC_SURFACE_DICE] == 0);
}

static void check_same(const dbi_scores *s)
{
    for (int m = 0; m < DBI_METRICS; m++)
        if (m != DBI_METRIC_VOLUME && m != DBI_METRIC_REFERENCE_VOLUME)
            assert_true(s->value[m] == (m <= DBI_METRIC_RECALL || m == DBI_METRIC_SURFACE_DICE ? 1 : 0));
}

static void test_empty(void **state)
{
    (void)state;
    const int64_t shape[3] = {2, 3, 6};
    uint8_t nothing[36] = {0}, something[36] = {0}, full[36];
    dbi_scores s;
    dbi_error error;
    something[20] = 1;
    memset(full, 1, sizeof full);
    assert_int_equal(dbi_score(nothing, nothing, 1, shape, voxels, 1, &s, &error), 0);
    assert_int_equal(s.empty, DBI_EMPTY_BOTH);
    check_same(&s);
    const dbi_scores of_nothing = dbi_score_of_nothing();
    assert_int_equal(of_nothing.empty, DBI_EMPTY_BOTH);
    check_same(&of_nothing);
    for (int lost = 0; lost < 2; lost++) {
        assert_int_equal(
            dbi_score(lost ? nothing : something, lost ? something : nothing, 1, shape, voxels, 1, &s, &error), 0);
        assert_int_equal(s.empty, lost ? DBI_EMPTY_PREDICTION : DBI_EMPTY_REFERENCE);
        for (int m = 0; m < DBI_METRICS; m++)
            assert_true(isfinite(s.value[m]));
        assert_true(s.value[DBI_METRIC_DICE] == 0 && s.value[DBI_METRIC_SURFACE_DICE] == 0);
        assert_true(s.value[DBI_METRIC_PRECISION] == 0 && s.value[DBI_METRIC_RECALL] == 0);
        assert_true(s.value[DBI_METRIC_HD95] == 7 && s.value[DBI_METRIC_ASD] == 7); /* the diagonal */
        assert_true(s.value[DBI_METRIC_VOLUME_DIFFERENCE] == (lost ? -1 : 1));
    }
    const uint8_t *const same[2] = {something, full};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dbi_score(same[i], same[i], 1, shape, voxels, 1, &s, &error), 0);
        check_same(&s);
    }
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Selection against sorting, with many equal values and with few. */
static void test_quantiles(void **state)
{
    (void)state;
    dbi_random r;
    dbi_random_start(&r, 7, DBI_ROLE_TEST, 0, 0);
    for (int trial = 0; trial < 5000; trial++) {
        double values[50], sorted[50];
        const size_t n = 1 + dbi_random_below(&r, 50);
        const uint32_t kinds = 1 + dbi_random_below(&r, 60);
        for (size_t i = 0; i < n; i++)
            values[i] = sorted[i] = dbi_random_below(&r, kinds);
        qsort(sorted, n, sizeof *sorted, compare);
        const double q = dbi_random_below(&r, 101) / 100.0, rank = q * (double)(n - 1);
        const size_t k = (size_t)rank;
        const double want = k + 1 < n ? sorted[k] + (rank - (double)k) * (sorted[k + 1] - sorted[k]) : sorted[n - 1];
        assert_true(fabs(dbi_quantile(values, n, q) - want) < 1e-12);
    }
}

static void test_summary(void **state)
{
    (void)state;
    double values[40];
    dbi_score_summary s, again;
    dbi_error error;
    for (int i = 0; i < 40; i++)
        values[i] = (i * 7) % 40;
    assert_int_equal(dbi_score_summarize(values, 40, 1, &s, &error), 0);
    assert_true(s.count == 40 && s.mean == 19.5 && s.median == 19.5 && fabs(s.sd - sqrt(40 * 41 / 12.0)) < 1e-9);
    /* Near the normal interval, mean +- 1.96 sd / sqrt(n), with the bootstrap's n - 1 : n. */
    const double half = 1.96 * s.sd * sqrt(39 / 40.0) / sqrt(40);
    assert_true(fabs(s.low - (19.5 - half)) < 0.25 && fabs(s.high - (19.5 + half)) < 0.25);
    dbi_set_threads(3);
    assert_int_equal(dbi_score_summarize(values, 40, 1, &again, &error), 0);
    assert_memory_equal(&s, &again, sizeof s);
    assert_int_equal(dbi_score_summarize(values, 40, 2, &again, &error), 0);
    assert_true(again.mean == s.mean && again.low != s.low && fabs(again.low - s.low) < 0.3);
    assert_int_equal(dbi_score_summarize(values, 1, 1, &s, &error), 0);
    assert_true(s.mean == 0 && isnan(s.sd) && s.median == 0 && s.low == 0 && s.high == 0);
    assert_int_equal(dbi_score_summarize(values, 0, 1, &s, &error), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scipy),     cmocka_unit_test(test_boxes),   cmocka_unit_test(test_empty),
        cmocka_unit_test(test_quantiles), cmocka_unit_test(test_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
