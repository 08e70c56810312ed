/* The interpolation's kernels against its formula in double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cuda/interpolation.h"
#include "emulated.h"

/* Sizes of one place, odd ones, more places than a block has along z, more lines than a block has, many channels. */
static const dbi_interpolation_shape shapes[] = {
    {2, {1, 1, 1}, 8},   {1, {2, 3, 5}, 16}, {2, {4, 7, 2}, 24},
    {1, {2, 3, 131}, 8}, {1, {1, 40, 3}, 8}, {2, {3, 2, 1}, 520},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static size_t count_of(const dbi_interpolation_shape *s, int factor)
{
    const size_t voxels = (size_t)(s->size[0] * s->size[1] * s->size[2]);
    return (size_t)(s->batch * s->channels) * voxels * (size_t)(factor * factor * factor);
}

static double share(int64_t o, int64_t i, int64_t n)
{
    const double away = fabs((double)o * (double)(n - 1) / (double)(2 * n - 1) - (double)i);
    return away < 1 ? 1 - away : 0;
}

/* Along one axis, of [outer,n,inner]; back: the other way. */
static void along(const double *from, double *to, int64_t outer, int64_t n, int64_t inner, bool back)
{
    for (int64_t k = 0; k < outer; k++)
        for (int64_t o = 0; o < 2 * n; o++)
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < inner && share(o, i, n) > 0; j++) {
                    const int64_t large = (k * 2 * n + o) * inner + j, small = (k * n + i) * inner + j;
                    to[back ? small : large] += share(o, i, n) * from[back ? large : small];
                }
}

static double *zeros(size_t count)
{
    double *p = calloc(count, sizeof *p);
    assert_non_null(p);
    return p;
}

/* One axis after another. */
static double *formula(const dbi_interpolation_shape *s, const double *from, bool back)
{
    const int64_t *n = s->size;
    double *one = zeros(count_of(s, 2)), *two = zeros(count_of(s, 2)), *all = zeros(count_of(s, 2));
    if (back) {
        along(from, one, s->batch, n[0], 4 * n[1] * n[2] * s->channels, true);
        along(one, two, s->batch * n[0], n[1], 2 * n[2] * s->channels, true);
        along(two, all, s->batch * n[0] * n[1], n[2], s->channels, true);
    } else {
        along(from, one, s->batch, n[0], n[1] * n[2] * s->channels, false);
        along(one, two, s->batch * 2 * n[0], n[1], n[2] * s->channels, false);
        along(two, all, s->batch * 4 * n[0] * n[1], n[2], s->channels, false);
    }
    free(one);
    free(two);
    return all;
}

/* An array as the device stores it, bfloat16 or float. */
static void *array_of(const double *values, size_t count, bool bf16)
{
    float *array = calloc(count, sizeof *array);
    assert_non_null(array);
    for (size_t i = 0; i < count; i++)
        if (bf16)
            ((dbi_bf16 *)array)[i] = dbi_bf16_from_float((float)values[i]);
        else
            array[i] = (float)values[i];
    return array;
}

/* Values that both types can store. */
static double *drawn(size_t count, uint32_t stream)
{
    dbi_random random;
    double *values = zeros(count);
    dbi_random_start(&random, 1, DBI_ROLE_TEST, 0, stream);
    for (size_t i = 0; i < count; i++)
        values[i] = dbi_bf16_to_float(dbi_bf16_from_float((float)dbi_random_normal(&random)));
    return values;
}

typedef enum direction { FORWARD, GRADIENT, GRADIENT_ADDS } direction;

/* What the kernel makes of `from`, over `before`; as the device stores it. */
static void *run(const dbi_interpolation_shape *s, direction way, bool bf16, const double *from, const double *before)
{
    const size_t size = bf16 ? sizeof(dbi_bf16) : sizeof(float), in = count_of(s, way == FORWARD ? 1 : 2),
                 out = count_of(s, way == FORWARD ? 2 : 1);
    void *given = array_of(from, in, bf16), *result = array_of(before, out, bf16), *device[2];
    dbi_arena arena = {0};
    dbi_error error = {""};
    if (dbi_arena_need(&arena, &device[0], in * size, &error) ||
        dbi_arena_need(&arena, &device[1], out * size, &error) || dbi_arena_open(&arena, &error) ||
        dbi_cuda_put(NULL, device[0], given, in * size, &error) ||
        dbi_cuda_put(NULL, device[1], result, out * size, &error) ||
        (way == FORWARD
             ? dbi_interpolate(bf16, s, NULL, device[0], device[1], &error)
             : dbi_interpolate_gradient(bf16, s, NULL, device[0], device[1], way == GRADIENT_ADDS, &error)) ||
        dbi_cuda_get(NULL, result, device[1], out * size, &error) || dbi_cuda_wait(NULL, &error))
        fail_msg("%s", error.text);
    dbi_arena_close(&arena);
    free(given);
    return result;
}

static void check(const dbi_interpolation_shape *s, direction way)
{
    const size_t in = count_of(s, way == FORWARD ? 1 : 2), out = count_of(s, way == FORWARD ? 2 : 1);
    double *from = drawn(in, 1), *before = drawn(out, 2), *want = formula(s, from, way != FORWARD);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        void *got = run(s, way, bf16, from, before);
        for (size_t i = 0; i < out; i++) {
            const double is = bf16 ? dbi_bf16_to_float(((dbi_bf16 *)got)[i]) : ((float *)got)[i],
                         was = way == GRADIENT_ADDS ? before[i] : 0, limit = bf16 ? 4e-3 : 2e-6;
            if (!(fabs(is - was - want[i]) <= limit * (2 + fabs(was + want[i]))))
                fail_msg("way %d, value %zu: %g instead of %g", (int)way, i, is, was + want[i]);
        }
        free(got);
    }
    free(from);
    free(before);
    free(want);
}

static void test_kernels_agree_with_the_formula(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++)
        for (int w = 0; w < 3; w++)
            check(&shapes[i], (direction)w);
}

/* Equal bytes in both orders of blocks and threads; on a GPU: when run again. */
static void test_no_races(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++)
        for (int w = 0; w < 6; w++) {
            const direction way = (direction)(w / 2);
            const bool bf16 = w % 2;
            const size_t in = count_of(&shapes[i], way == FORWARD ? 1 : 2),
                         out = count_of(&shapes[i], way == FORWARD ? 2 : 1);
            double *from = drawn(in, 1), *before = drawn(out, 2);
            void *forwards = run(&shapes[i], way, bf16, from, before);
            dbi_emulated_backwards = !on_gpu();
            void *backwards = run(&shapes[i], way, bf16, from, before);
            dbi_emulated_backwards = false;
            assert_memory_equal(forwards, backwards, out * (bf16 ? sizeof(dbi_bf16) : sizeof(float)));
            free(forwards);
            free(backwards);
            free(from);
            free(before);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_agree_with_the_formula),
        cmocka_unit_test(test_no_races),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
