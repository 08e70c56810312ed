/* Where windows lie and how much they count: they cover everything, end with the scan, and their weights sum to 1 at
 * every voxel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/window.h"

static const int64_t extents[] = {1, 15, 16, 17, 31, 32, 33, 48, 61, 100, 183};
static const int64_t windows[] = {16, 32, 48, 112};
enum { EXTENTS = sizeof extents / sizeof *extents, WINDOWS = sizeof windows / sizeof *windows };

static void check_axis(const dbi_windows *plan, int a)
{
    const dbi_axis *axis = &plan->axis[a];
    int64_t place[3], start[3], previous = 0, step = 1;
    double *sum = calloc((size_t)axis->extent, sizeof *sum);
    assert_non_null(sum);
    for (int b = a + 1; b < 3; b++)
        step *= plan->axis[b].count;
    for (int64_t i = 0; i < axis->count; i++) {
        dbi_windows_start(plan, i * step, place, start);
        assert_int_equal(place[a], i);
        if (i) /* on the way, no gap */
            assert_true(start[a] > previous && start[a] - previous <= axis->stride);
        else
            assert_true(axis->extent >= axis->window ? start[a] == 0
                                                     : start[a] == -((axis->window - axis->extent) / 2));
        previous = start[a];
        for (int64_t o = 0; o < axis->window; o++) {
            int64_t x = start[a] + o;
            float w = axis->weight[i * axis->window + o];
            if (x >= 0 && x < axis->extent) {
                assert_true(w > 0);
                sum[x] += w;
            } else
                assert_true(w == 0);
        }
    }
    if (axis->extent >= axis->window)
        assert_int_equal(previous + axis->window, axis->extent); /* the last one ends with the scan */
    for (int64_t x = 0; x < axis->extent; x++)
        assert_true(fabs(sum[x] - 1) < 1e-6);
    free(sum);
}

static void test_axes(void **state)
{
    (void)state;
    dbi_error error;
    for (int e = 0; e < EXTENTS; e++)
        for (int w = 0; w < WINDOWS; w++)
            for (int64_t stride = 1; stride <= windows[w]; stride += 1 + stride)
                for (int kind = 0; kind < 2; kind++) {
                    int a = (e + w) % 3;
                    int64_t shape[3] = {20, 40, 16}, window[3] = {16, 32, 16}, strides[3] = {8, 16, 5};
                    shape[a] = extents[e];
                    window[a] = windows[w];
                    strides[a] = stride;
                    dbi_windows plan;
                    assert_int_equal(dbi_windows_plan(shape, window, strides,
                                                      kind ? DBI_WEIGHTS_GAUSSIAN : DBI_WEIGHTS_UNIFORM, &plan, &error),
                                     0);
                    for (int b = 0; b < 3; b++)
                        check_axis(&plan, b);
                    assert_int_equal(dbi_windows_count(&plan),
                                     plan.axis[0].count * plan.axis[1].count * plan.axis[2].count);
                    dbi_windows_free(&plan);
                }
}

/* One window alone counts 1 wherever there is scan, with either kind of weights: one pass is one pass. */
static void test_single(void **state)
{
    (void)state;
    dbi_error error;
    const int64_t shape[3] = {10, 16, 31}, window[3] = {16, 16, 32}, stride[3] = {8, 16, 1};
    for (int kind = 0; kind < 2; kind++) {
        dbi_windows plan;
        assert_int_equal(
            dbi_windows_plan(shape, window, stride, kind ? DBI_WEIGHTS_GAUSSIAN : DBI_WEIGHTS_UNIFORM, &plan, &error),
            0);
        assert_int_equal(dbi_windows_count(&plan), 1);
        for (int a = 0; a < 3; a++)
            for (int64_t o = 0; o < window[a]; o++)
                assert_true(plan.axis[a].weight[o] ==
                            (o >= plan.axis[a].before && o < plan.axis[a].before + shape[a] ? 1.0f : 0.0f));
        dbi_windows_free(&plan);
    }
}

/* Where two windows meet in the middle, each one's nearer half counts more. */
static void test_gaussian(void **state)
{
    (void)state;
    dbi_error error;
    const int64_t shape[3] = {48, 16, 16}, window[3] = {32, 16, 16}, stride[3] = {16, 16, 16};
    dbi_windows plan;
    assert_int_equal(dbi_windows_plan(shape, window, stride, DBI_WEIGHTS_GAUSSIAN, &plan, &error), 0);
    const float *first = plan.axis[0].weight, *second = first + 32;
    for (int64_t x = 16; x < 32; x++) {
        /* sigma = 4 voxels, centres 15.5 and 31.5 */
        double a = exp(-0.5 * pow(((double)x - 15.5) / 4, 2)), b = exp(-0.5 * pow(((double)x - 31.5) / 4, 2));
        assert_true(fabs(first[x] - a / (a + b)) < 1e-6);
        assert_true(fabs(second[x - 16] - b / (a + b)) < 1e-6);
    }
    dbi_windows_free(&plan);
}

static void test_refused(void **state)
{
    (void)state;
    const struct {
        int64_t extent, window, stride;
    } bad[] = {{0, 16, 8}, {-1, 16, 8}, {20, 0, 1}, {20, -16, 1}, {20, 24, 8}, {20, 16, 0}, {20, 16, 17}, {20, 16, -3}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t shape[3] = {20, 20, bad[i].extent}, window[3] = {16, 16, bad[i].window},
                stride[3] = {8, 8, bad[i].stride};
        dbi_windows plan;
        dbi_error error = {""};
        assert_int_equal(dbi_windows_plan(shape, window, stride, DBI_WEIGHTS_UNIFORM, &plan, &error), -1);
        assert_true(strlen(error.text) > 0);
    }
}

static void test_round(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 100; n++) {
        int64_t r = dbi_window_round(n);
        assert_true(r >= n && r < n + 16 && r % 16 == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_axes),    cmocka_unit_test(test_single), cmocka_unit_test(test_gaussian),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
