/* Exact distances against brute force and against scipy's (tests/fixtures/distance.safetensors), and their
 * normalizations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "base/random.h"
#include "distance/edt.h"
#include "distance/normalize.h"
#include "distance/transform.real.h"
#include "record/stream.h"

static dbi_record *fixture;

static int load_fixture(void **state)
{
    (void)state;
    const char *directory = getenv("FIXTURES");
    char path[4096];
    dbi_error error;
    snprintf(path, sizeof path, "%s/distance.safetensors", directory ? directory : "tests/fixtures");
    fixture = dbi_record_load(path, &error);
    if (!fixture)
        fprintf(stderr, "%s\n", error.text);
    return fixture ? 0 : -1;
}

static int free_fixture(void **state)
{
    (void)state;
    dbi_record_free(fixture);
    return 0;
}

static int64_t size_of(const int64_t shape[3])
{
    return shape[0] * shape[1] * shape[2];
}

/* Distances from voxel i to the nearest voxel of each side, INFINITY where a side is empty. */
static void brute(const uint8_t *label, const int64_t shape[3], const double spacing[3], int64_t i, double nearest[2])
{
    const int64_t x = i / (shape[1] * shape[2]), y = i / shape[2] % shape[1], z = i % shape[2];
    nearest[0] = nearest[1] = INFINITY;
    for (int64_t a = 0, j = 0; a < shape[0]; a++)
        for (int64_t b = 0; b < shape[1]; b++)
            for (int64_t c = 0; c < shape[2]; c++, j++) {
                const double dx = (double)(a - x) * spacing[0], dy = (double)(b - y) * spacing[1],
                             dz = (double)(c - z) * spacing[2];
                const double d = sqrt(dx * dx + dy * dy + dz * dz);
                nearest[label[j]] = fmin(nearest[label[j]], d);
            }
}

static double clip(double value)
{
    return fmin(fmax(value, -1), 1);
}

static bool borders(const uint8_t *label, const int64_t shape[3], int64_t i)
{
    const int64_t stride[3] = {shape[1] * shape[2], shape[2], 1},
                  at[3] = {i / stride[0], i / stride[1] % shape[1], i % shape[2]};
    for (int a = 0; a < 3; a++)
        if ((at[a] > 0 && !label[i - stride[a]]) || (at[a] + 1 < shape[a] && !label[i + stride[a]]))
            return true;
    return false;
}

/* `max` of what was not normalized. */
static void check_maximum(const uint8_t *label, const int64_t shape[3], const double spacing[3], const float *none)
{
    const int64_t count = size_of(shape);
    float *s = malloc((size_t)count * sizeof *s), most[2] = {0, 0};
    int64_t inside = 0;
    dbi_error error;
    assert_int_equal(
        dbi_signed_distance(label, 1, shape, spacing, &(dbi_normalize){.kind = DBI_NORMALIZE_MAX}, s, &error), 0);
    for (int64_t i = 0; i < count; i++) {
        most[label[i]] = fmaxf(most[label[i]], fabsf(none[i]));
        inside += label[i];
    }
    for (int64_t i = 0; i < count; i++) {
        const bool zero = inside == 0 || inside == count || (label[i] && borders(label, shape, i));
        assert_true(fabsf(s[i] - (zero ? 0 : none[i] / most[label[i]])) < 1e-5f);
    }
    free(s);
}

static void check_brute(const int64_t shape[3], const double spacing[3], unsigned percent, uint32_t stream)
{
    const int64_t count = size_of(shape);
    uint8_t *label = malloc((size_t)count);
    float *edt = malloc((size_t)count * sizeof *edt), *none = malloc((size_t)count * sizeof *none),
          *clipped = malloc((size_t)count * sizeof *clipped);
    dbi_random r;
    dbi_error error;
    dbi_random_start(&r, 1, DBI_ROLE_TEST, 0, stream);
    for (int64_t i = 0; i < count; i++)
        label[i] = dbi_random_below(&r, 100) < percent;
    assert_int_equal(dbi_edt(label, shape, spacing, edt, &error), 0);
    assert_int_equal(
        dbi_signed_distance(label, 1, shape, spacing, &(dbi_normalize){.kind = DBI_NORMALIZE_NONE}, none, &error), 0);
    assert_int_equal(dbi_signed_distance(label, 1, shape, spacing,
                                         &(dbi_normalize){.kind = DBI_NORMALIZE_CLIP, .t = 1.75}, clipped, &error),
                     0);
    const double x = (double)shape[0] * spacing[0], y = (double)shape[1] * spacing[1],
                 z = (double)shape[2] * spacing[2];
    for (int64_t i = 0; i < count; i++) {
        double nearest[2];
        brute(label, shape, spacing, i, nearest);
        const double want = fmin(label[i] ? nearest[0] : nearest[1], sqrt(x * x + y * y + z * z)) * (label[i] ? 1 : -1);
        assert_true(isinf(nearest[1]) ? isinf(edt[i]) : fabs(edt[i] - nearest[1]) < 1e-5);
        assert_true(fabs(none[i] - want) < 1e-5);
        assert_true(fabs(clipped[i] -
                         (isinf(label[i] ? nearest[0] : nearest[1]) ? (label[i] ? 1 : -1) : clip(want / 1.75))) < 1e-5);
    }
    check_maximum(label, shape, spacing, none);
    free(label);
    free(edt);
    free(none);
    free(clipped);
}

static void test_brute_force(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{7, 8, 19}, {1, 13, 17}, {17, 1, 5}, {6, 18, 1},
                                        {1, 1, 9},  {30, 3, 3},  {1, 1, 1}};
    static const double spacings[][3] = {{1, 1, 1}, {0.625, 0.625, 1.25}, {3, 0.1, 0.7}};
    static const unsigned densities[] = {0, 1, 10, 50, 97, 100};
    uint32_t stream = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t a = 0; a < sizeof spacings / sizeof *spacings; a++)
            for (size_t d = 0; d < sizeof densities / sizeof *densities; d++)
                check_brute(shapes[s], spacings[a], densities[d], stream++);
}

/* One voxel unlike all others: lines so long that the lower envelopes take over, and every distance known. */
static void test_far(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{300, 2, 20}, {3, 260, 17}, {150, 150, 4}};
    static const double spacings[][3] = {{1, 1, 1}, {0.7, 1.3, 2}};
    static const dbi_normalize none = {.kind = DBI_NORMALIZE_NONE}, clip = {.kind = DBI_NORMALIZE_CLIP, .t = 25};
    dbi_error error;
    for (size_t c = 0; c < 3 * 2 * 2; c++) {
        const int64_t *shape = shapes[c % 3], at[3] = {shape[0] / 5, shape[1] - 1, 3}, count = size_of(shape);
        const double *spacing = spacings[c / 3 % 2];
        const uint8_t alone = c / 6 % 2;
        uint8_t *label = malloc((size_t)count);
        float *s = malloc((size_t)count * sizeof *s), *clipped = malloc((size_t)count * sizeof *clipped);
        memset(label, !alone, (size_t)count);
        label[(at[0] * shape[1] + at[1]) * shape[2] + at[2]] = alone;
        assert_int_equal(dbi_signed_distance(label, 1, shape, spacing, &none, s, &error), 0);
        assert_int_equal(dbi_signed_distance(label, 1, shape, spacing, &clip, clipped, &error), 0);
        for (int64_t i = 0; i < count; i++) {
            const int64_t to[3] = {i / shape[2] / shape[1] - at[0], i / shape[2] % shape[1] - at[1],
                                   i % shape[2] - at[2]};
            double square = 0;
            for (int a = 0; a < 3; a++)
                square += (double)(to[a] * to[a]) * spacing[a] * spacing[a];
            if (square > 0) {
                assert_true(fabs(fabs(s[i]) - sqrt(square)) < 1e-4);
                assert_true(fabs(fabs(clipped[i]) - fmin(sqrt(square) / 25, 1)) < 1e-5);
                assert_int_equal(s[i] > 0, !alone);
            }
        }
        free(label);
        free(s);
        free(clipped);
    }
}

/* Where distances are wanted they are what they are without a mask. */
static void test_wanted(void **state)
{
    (void)state;
    const int64_t shape[3] = {40, 35, 33}, count = size_of(shape);
    const double spacing[3] = {1, 1.5, 0.8};
    uint8_t *label = malloc((size_t)count), *wanted = malloc((size_t)count);
    float *all = malloc((size_t)count * sizeof *all), *some = malloc((size_t)count * sizeof *some);
    dbi_error error;
    dbi_random r;
    for (unsigned rarity = 20; rarity < 20000; rarity *= 10) {
        dbi_random_start(&r, 3, DBI_ROLE_TEST, 0, rarity);
        for (int64_t i = 0; i < count; i++) {
            label[i] = dbi_random_below(&r, rarity) == 0;
            wanted[i] = dbi_random_below(&r, 200) == 0;
        }
        assert_int_equal(dbi_squares(label, 1, shape, spacing, 0, NULL, all, &error), 0);
        assert_int_equal(dbi_squares(label, 1, shape, spacing, 0, wanted, some, &error), 0);
        for (int64_t i = 0; i < count; i++)
            assert_true(!wanted[i] || (all[i] > 0 ? some[i] > 0 : all[i] == some[i]));
    }
    free(label);
    free(wanted);
    free(all);
    free(some);
}

static const float *tensor(const char *name)
{
    return dbi_record_find(fixture, name)->data;
}

static void test_scipy(void **state)
{
    (void)state;
    static const double spacings[2][3] = {{1, 1, 1}, {0.625, 0.625, 1.25}};
    static const char *const inside[2] = {"edt_inside", "edt_inside_mm"}, *const outside[2] = {"edt_outside",
                                                                                               "edt_outside_mm"};
    const dbi_tensor *label = dbi_record_find(fixture, "label");
    float *s = malloc(label->count * sizeof *s);
    dbi_error error;
    for (int mm = 0; mm < 2; mm++) {
        assert_int_equal(dbi_signed_distance(label->data, 1, label->shape, spacings[mm],
                                             &(dbi_normalize){.kind = DBI_NORMALIZE_NONE}, s, &error),
                         0);
        for (size_t i = 0; i < label->count; i++)
            assert_true(fabsf(s[i] - (tensor(inside[mm])[i] - tensor(outside[mm])[i])) < 1e-4f);
    }
    assert_int_equal(dbi_signed_distance(label->data, 1, label->shape, spacings[0],
                                         &(dbi_normalize){.kind = DBI_NORMALIZE_MAX}, s, &error),
                     0);
    for (size_t i = 0; i < label->count; i++)
        assert_true(fabsf(s[i] - tensor("sdf_normalized")[i]) < 1e-4f);
    free(s);
}

/* One side only: the value that edt.h names; other classes are background. */
static void test_one_side(void **state)
{
    (void)state;
    const int64_t shape[3] = {4, 3, 2};
    const double spacing[3] = {1, 1, 1};
    const struct {
        dbi_normalize normalize;
        float empty, full;
    } cases[] = {{{.kind = DBI_NORMALIZE_NONE}, -sqrtf(29), sqrtf(29)},
                 {{.kind = DBI_NORMALIZE_CLIP, .t = 100}, -1, 1},
                 {{.kind = DBI_NORMALIZE_MAX}, 0, 0}};
    uint8_t label[24];
    float s[24];
    dbi_error error;
    memset(label, 2, sizeof label);
    for (size_t c = 0; c < 3; c++)
        for (uint8_t value = 1; value <= 2; value++) {
            assert_int_equal(dbi_signed_distance(label, value, shape, spacing, &cases[c].normalize, s, &error), 0);
            for (int i = 0; i < 24; i++)
                assert_true(fabsf(s[i] - (value == 2 ? cases[c].full : cases[c].empty)) < 1e-6f);
        }
}

static void test_threads(void **state)
{
    (void)state;
    const int64_t shape[3] = {23, 31, 37};
    const double spacing[3] = {1.5, 1, 0.8};
    const int64_t count = size_of(shape);
    uint8_t *label = malloc((size_t)count);
    float *one = malloc((size_t)count * sizeof *one), *many = malloc((size_t)count * sizeof *many);
    dbi_error error;
    dbi_random r;
    dbi_random_start(&r, 2, DBI_ROLE_TEST, 0, 0);
    for (int64_t i = 0; i < count; i++)
        label[i] = dbi_random_below(&r, 50) == 0;
    const dbi_normalize none = {.kind = DBI_NORMALIZE_NONE};
    dbi_set_threads(1);
    assert_int_equal(dbi_signed_distance(label, 1, shape, spacing, &none, one, &error), 0);
    for (int threads = 2; threads < 5; threads++) {
        dbi_set_threads(threads);
        assert_int_equal(dbi_signed_distance(label, 1, shape, spacing, &none, many, &error), 0);
        assert_memory_equal(one, many, (size_t)count * sizeof *one);
    }
    free(label);
    free(one);
    free(many);
}

static void test_bad_grids(void **state)
{
    (void)state;
    const int64_t shape[3] = {2, 2, 2}, negative[3] = {2, -1, 2}, vast[3] = {INT64_MAX / 2, 4, 4};
    const double good[3] = {1, 1, 1}, zero[3] = {1, 0, 1}, nan[3] = {1, 1, NAN};
    uint8_t label[8] = {1};
    float out[8];
    dbi_error error;
    assert_int_equal(dbi_edt(label, shape, zero, out, &error), -1);
    assert_non_null(strstr(error.text, "spacing"));
    assert_int_equal(dbi_edt(label, shape, nan, out, &error), -1);
    assert_int_equal(dbi_edt(label, negative, good, out, &error), -1);
    assert_non_null(strstr(error.text, "shape"));
    assert_int_equal(dbi_edt(label, vast, good, out, &error), -1);
}

static void test_texts(void **state)
{
    (void)state;
    static const char *const good[] = {"none", "max", "clip:10", "clip:0.3", "clip:2.125"};
    static const char *const bad[] = {"",         "clip",     "clip:",   "clip:0",  "clip:-1",
                                      "clip:nan", "clip:inf", "clip:3x", "maximum", "NONE"};
    dbi_normalize n;
    dbi_error error;
    char text[64];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(dbi_normalize_parse(good[i], &n, &error), 0);
        dbi_normalize_format(&n, text);
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dbi_normalize_parse(bad[i], &n, &error), -1);
    static const char *const transforms[] = {"exact", "levelset", "conv:0.35,10", "conv:1,all"};
    static const char *const wrong[] = {"",          "conv",     "conv:1",     "conv:0,3", "conv:1,0",
                                        "conv:1,2x", "conv:x,2", "conv:nan,4", "levelsets"};
    dbi_transform t;
    for (size_t i = 0; i < sizeof transforms / sizeof *transforms; i++) {
        assert_int_equal(dbi_transform_parse(transforms[i], &t, &error), 0);
        dbi_transform_format(&t, text);
        assert_string_equal(text, transforms[i]);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(dbi_transform_parse(wrong[i], &t, &error), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brute_force), cmocka_unit_test(test_far),      cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_scipy),       cmocka_unit_test(test_one_side), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_bad_grids),   cmocka_unit_test(test_texts),
    };
    dbi_set_threads(1); /* small volumes, where threads wait for each other */
    return cmocka_run_group_tests(tests, load_fixture, free_fixture);
}
