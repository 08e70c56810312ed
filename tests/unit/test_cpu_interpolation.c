/* Convolutions of interpolated activations, whose channels are mixed first, against an interpolation and a convolution
 * behind it in double: blocks of 8 and 16, full and not, sizes down to 1, rows and planes in one part and in several. */
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
#include "cpu/interpolated.h"
#include "net/interpolation_math.h"

enum { MOST_WORKERS = 5 };

/* Batch, sizes and channels of the input, channels of the output, lanes of longer blocks. */
static const struct {
    int64_t batch, size[3];
    int in, out, lanes;
} cases[] = {
    {1, {1, 1, 1}, 8, 8, 8},   {2, {2, 1, 3}, 20, 5, 16},  {1, {3, 5, 11}, 9, 17, 8}, {1, {4, 2, 9}, 5, 17, 16},
    {1, {9, 2, 2}, 33, 3, 16}, {2, {2, 20, 3}, 3, 10, 16}, {1, {3, 17, 2}, 3, 4, 8},  {1, {2, 3, 70}, 3, 3, 8},
};

typedef struct problem {
    dbi_interpolated d;
    int64_t coarse, fine; /* voxels */
    size_t in, out, weights, working;
    float *a, *b, *weight;
    double *input, *output, *taps; /* wanted: gradient of a, output, gradient of the weights */
} problem;

static int64_t blocks(int channels, int lanes)
{
    return (channels + lanes - 1) / lanes;
}

/* Where voxel v of channel c of sample n lies. */
static int64_t place(const dbi_blocked *at, int lanes, int64_t n, int c, int64_t v)
{
    return ((n * blocks(at->channels, lanes) + c / lanes) * at->size[0] * at->size[1] * at->size[2] + v) * lanes +
           c % lanes;
}

/* What a function has to write before it reads. */
static float *nans(size_t count)
{
    float *to = aligned_alloc(64, (count * sizeof *to + 63) / 64 * 64);
    assert_non_null(to);
    for (size_t i = 0; i < count; i++)
        to[i] = NAN;
    return to;
}

static double *zeros(size_t count)
{
    double *to = calloc(count, sizeof *to);
    assert_non_null(to);
    return to;
}

/* Random values; what fills the blocks up is 0. */
static float *drawn(const dbi_blocked *at, int lanes, size_t count, uint32_t stream)
{
    dbi_random random;
    float *to = nans(count);
    memset(to, 0, count * sizeof *to);
    dbi_random_start(&random, 2, DBI_ROLE_TEST, 0, stream);
    for (int64_t n = 0; n < at->batch; n++)
        for (int c = 0; c < at->channels; c++)
            for (int64_t v = 0; v < at->size[0] * at->size[1] * at->size[2]; v++)
                to[place(at, lanes, n, c, v)] = (float)dbi_random_normal(&random);
    return to;
}

/* What one tap makes of one place of the interpolation: place v of the output, and the interpolation's at. */
static void expect_tap(problem *p, int64_t n, int64_t v, int tap, const int64_t at[3])
{
    const dbi_interpolated *d = &p->d;
    const int64_t *size = d->in.size;
    for (int corner = 0; corner < 8; corner++) {
        int64_t voxel = 0;
        double share = 1;
        for (int k = 0; k < 3; k++) {
            const dbi_interpolation i = dbi_interpolation_at(at[k], size[k]);
            const bool high = corner >> k & 1;
            voxel = voxel * size[k] + (high ? i.high : i.low);
            share *= high ? i.share : 1 - i.share;
        }
        for (int o = 0; share > 0 && o < d->out.channels; o++)
            for (int i = 0; i < d->in.channels; i++) {
                const int64_t from = place(&d->in, d->in_lanes, n, i, voxel),
                              to = place(&d->out, d->out_lanes, n, o, v);
                const int64_t w = ((int64_t)o * d->in.channels + i) * 27 + tap;
                p->output[to] += share * p->a[from] * p->weight[w];
                p->input[from] += share * p->b[to] * p->weight[w];
                p->taps[w] += share * p->b[to] * p->a[from];
            }
    }
}

static void expect(problem *p)
{
    const int64_t *size = p->d.out.size;
    for (int64_t n = 0; n < p->d.in.batch; n++)
        for (int64_t v = 0; v < p->fine; v++)
            for (int tap = 0; tap < 27; tap++) {
                const int64_t at[] = {v / size[2] / size[1] + tap / 9 - 1, v / size[2] % size[1] + tap / 3 % 3 - 1,
                                      v % size[2] + tap % 3 - 1};
                bool inside = true;
                for (int k = 0; k < 3; k++)
                    inside = inside && at[k] >= 0 && at[k] < size[k];
                if (inside)
                    expect_tap(p, n, v, tap, at);
            }
}

static problem make(size_t c)
{
    const int64_t *n = cases[c].size;
    problem p = {.d = {.in = {cases[c].batch, {n[0], n[1], n[2]}, cases[c].in},
                       .out = {cases[c].batch, {2 * n[0], 2 * n[1], 2 * n[2]}, cases[c].out},
                       .in_lanes = cases[c].in > 8 ? cases[c].lanes : 8,
                       .out_lanes = cases[c].out > 8 ? cases[c].lanes : 8}};
    dbi_random random;
    p.coarse = n[0] * n[1] * n[2];
    p.fine = 8 * p.coarse;
    p.in = (size_t)(p.d.in.batch * blocks(p.d.in.channels, p.d.in_lanes) * p.d.in_lanes * p.coarse);
    p.out = (size_t)(p.d.in.batch * blocks(p.d.out.channels, p.d.out_lanes) * p.d.out_lanes * p.fine);
    p.weights = (size_t)(27 * p.d.in.channels * p.d.out.channels);
    p.working = dbi_interpolated_floats(&p.d, MOST_WORKERS, true);
    p.a = drawn(&p.d.in, p.d.in_lanes, p.in, 1);
    p.b = drawn(&p.d.out, p.d.out_lanes, p.out, 2);
    p.weight = nans(p.weights);
    dbi_random_start(&random, 2, DBI_ROLE_TEST, 0, 3);
    for (size_t i = 0; i < p.weights; i++)
        p.weight[i] = (float)dbi_random_normal(&random);
    p.input = zeros(p.in);
    p.output = zeros(p.out);
    p.taps = zeros(p.weights);
    expect(&p);
    return p;
}

static void drop(problem *p)
{
    free(p->a);
    free(p->b);
    free(p->weight);
    free(p->input);
    free(p->output);
    free(p->taps);
}

/* added: what was there before. */
static void assert_near(const float *got, const double *expected, const float *added, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs(expected[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - expected[i] - (added ? (double)added[i] : 0)) < 2e-6 * (1 + most)))
            fail_msg("value %zu: %g instead of %g", i, (double)got[i], expected[i]);
}

typedef void (*function)(const problem *p, int threads, float *memory, float *got);

static void forward(const problem *p, int threads, float *memory, float *got)
{
    dbi_interpolated_apply(&p->d, threads, p->a, p->weight, memory, got);
}

static void input_gradient(const problem *p, int threads, float *memory, float *got)
{
    dbi_interpolated_data(&p->d, threads, p->b, p->weight, memory, got, false);
}

static void weight_gradient(const problem *p, int threads, float *memory, float *got)
{
    dbi_interpolated_weights(&p->d, threads, p->a, p->b, memory, got);
}

/* Near to what is expected; all bytes alike with another number of threads, whose parts are others. */
static void check(const problem *p, function f, const double *expected, size_t count)
{
    float *got = nans(count), *again = nans(count), *memory = nans(p->working), *other = nans(p->working);
    f(p, 1, memory, got);
    assert_near(got, expected, NULL, count);
    f(p, MOST_WORKERS, other, again);
    assert_memory_equal(got, again, count * sizeof *got);
    free(got);
    free(again);
    free(memory);
    free(other);
}

static void test_values_and_gradients(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        problem p = make(c);
        check(&p, forward, p.output, p.out);
        check(&p, input_gradient, p.input, p.in);
        check(&p, weight_gradient, p.taps, p.weights);
        drop(&p);
    }
}

static void test_a_gradient_is_added(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        problem p = make(c);
        float *got = nans(p.in), *memory = nans(p.working);
        memcpy(got, p.a, p.in * sizeof *got);
        dbi_interpolated_data(&p.d, 2, p.b, p.weight, memory, got, true);
        assert_near(got, p.input, p.a, p.in);
        free(got);
        free(memory);
        drop(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_gradients),
        cmocka_unit_test(test_a_gradient_is_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
