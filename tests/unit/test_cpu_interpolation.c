/* The interpolation of blocked activations and its gradient, against loops in double: blocks of 8 and 16, full and not,
 * rows shorter and longer than the pieces that they are done in. */
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
#include "cpu/interpolate.h"
#include "net/interpolation_math.h"

static const struct {
    dbi_blocked at;
    int lanes;
} cases[] = {
    {{1, {1, 1, 1}, 8}, 8},    {{2, {2, 1, 3}, 20}, 16}, {{1, {3, 5, 31}, 9}, 8},
    {{1, {4, 2, 32}, 16}, 16}, {{2, {2, 3, 33}, 8}, 8},  {{1, {5, 4, 70}, 17}, 16},
};

typedef struct fields {
    int64_t blocks, coarse, fine; /* blocks of all samples; voxels */
    size_t in, out;               /* floats */
    float *a, *b, *got, *again;
    double *expected;
} fields;

static float *drawn(size_t count, uint32_t stream)
{
    dbi_random random;
    float *to = aligned_alloc(64, (count * sizeof *to + 63) / 64 * 64);
    assert_non_null(to);
    dbi_random_start(&random, 2, DBI_ROLE_TEST, 0, stream);
    for (size_t i = 0; i < count; i++)
        to[i] = (float)dbi_random_normal(&random);
    return to;
}

/* a: of the input's size, b, got and again: of the output's. */
static fields make(size_t c)
{
    const dbi_blocked *at = &cases[c].at;
    const int lanes = cases[c].lanes;
    fields f = {.blocks = at->batch * ((at->channels + lanes - 1) / lanes),
                .coarse = at->size[0] * at->size[1] * at->size[2]};
    f.fine = 8 * f.coarse;
    f.in = (size_t)(f.blocks * f.coarse * lanes);
    f.out = 8 * f.in;
    f.a = drawn(f.in, 1);
    f.b = drawn(f.out, 2);
    f.got = drawn(f.out, 3);
    f.again = drawn(f.out, 4);
    f.expected = calloc(f.out, sizeof *f.expected);
    assert_non_null(f.expected);
    return f;
}

static void drop(fields *f)
{
    free(f->a);
    free(f->b);
    free(f->got);
    free(f->again);
    free(f->expected);
}

/* Of every output value, the sum over its eight neighbours; or each neighbour's share of its gradient. */
static void expect(fields *f, size_t c, bool back)
{
    const int64_t *n = cases[c].at.size, lanes = cases[c].lanes;
    for (int64_t i = 0; i < f->blocks * f->fine; i++) {
        const int64_t v = i % f->fine, z = v % (2 * n[2]), y = v / (2 * n[2]) % (2 * n[1]), x = v / (4 * n[1] * n[2]);
        const dbi_interpolation p[] = {dbi_interpolation_at(x, n[0]), dbi_interpolation_at(y, n[1]),
                                       dbi_interpolation_at(z, n[2])};
        for (int corner = 0; corner < 8; corner++) {
            int64_t at = i / f->fine * n[0]; /* of the block's first plane, then the voxel's */
            double share = 1;
            for (int d = 0; d < 3; d++) {
                const bool high = corner >> d & 1;
                at = d ? at * n[d] : at;
                at += high ? p[d].high : p[d].low;
                share *= high ? p[d].share : 1 - p[d].share;
            }
            for (int64_t k = 0; k < lanes; k++)
                f->expected[(back ? at : i) * lanes + k] +=
                    share * (double)(back ? f->b[i * lanes + k] : f->a[at * lanes + k]);
        }
    }
}

static void assert_near(const float *got, const double *expected, const float *added, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - expected[i] - (added ? (double)added[i] : 0)) < 1e-5))
            fail_msg("value %zu: %g instead of %g", i, (double)got[i], expected[i]);
}

static void test_values(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        fields f = make(c);
        expect(&f, c, false);
        dbi_set_threads(1);
        dbi_blocked_interpolate(&cases[c].at, cases[c].lanes, f.a, f.got);
        assert_near(f.got, f.expected, NULL, f.out);
        dbi_set_threads(3);
        dbi_blocked_interpolate(&cases[c].at, cases[c].lanes, f.a, f.again);
        assert_memory_equal(f.got, f.again, f.out * sizeof *f.got);
        drop(&f);
    }
}

static void test_gradient(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        fields f = make(c);
        expect(&f, c, true);
        dbi_set_threads(1);
        dbi_blocked_interpolate_gradient(&cases[c].at, cases[c].lanes, f.b, f.got, false);
        assert_near(f.got, f.expected, NULL, f.in);
        dbi_set_threads(3);
        dbi_blocked_interpolate_gradient(&cases[c].at, cases[c].lanes, f.b, f.again, false);
        assert_memory_equal(f.got, f.again, f.in * sizeof *f.got);
        memcpy(f.again, f.a, f.in * sizeof *f.a);
        dbi_blocked_interpolate_gradient(&cases[c].at, cases[c].lanes, f.b, f.again, true);
        assert_near(f.again, f.expected, f.a, f.in);
        drop(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
