/* The direct convolutions, and those by Winograd's algorithm, against plain loops in double: all three kinds, channels
 * that fill their blocks and that do not, blocks of 8 and 16, and rows of every length that their tiles divide
 * differently. */
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
#include "cpu/direct.h"
#include "cpu/winograd.h"

static int64_t voxels(const dbi_blocked *at)
{
    return at->size[0] * at->size[1] * at->size[2];
}

static int64_t blocks(int channels, int lanes)
{
    return (channels + lanes - 1) / lanes;
}

/* Where voxel v of channel c of sample n lies: [n][block][voxel][lane]. */
static int64_t place(const dbi_blocked *at, int lanes, int64_t n, int c, int64_t v)
{
    return ((n * blocks(at->channels, lanes) + c / lanes) * voxels(at) + v) * lanes + c % lanes;
}

static size_t floats(const dbi_blocked *at, int lanes)
{
    return (size_t)(at->batch * blocks(at->channels, lanes) * voxels(at) * lanes);
}

/* What a function has to write before it reads. */
static float *working(size_t count)
{
    float *array = aligned_alloc(64, (count * sizeof *array + 63) / 64 * 64);
    assert_non_null(array);
    for (size_t i = 0; i < count; i++)
        array[i] = NAN;
    return array;
}

static float *allocate(size_t count)
{
    float *array = aligned_alloc(64, (count * sizeof *array + 63) / 64 * 64);
    assert_non_null(array);
    memset(array, 0, count * sizeof *array);
    return array;
}

/* Random values; what fills the blocks up is 0, as the network keeps it. */
static float *random_blocked(const dbi_blocked *at, int lanes, dbi_random *r)
{
    float *array = allocate(floats(at, lanes));
    for (int64_t n = 0; n < at->batch; n++)
        for (int c = 0; c < at->channels; c++)
            for (int64_t v = 0; v < voxels(at); v++)
                array[place(at, lanes, n, c, v)] = (float)dbi_random_normal(r);
    return array;
}

/* The voxel of a that tap t of voxel v of the coarser grid (for `same`: of b) sees, and the one of b; false: outside.
 */
static bool pair_of(const dbi_direct *d, const int64_t v[3], int t, int64_t *in_a, int64_t *in_b)
{
    const int edge = d->kind == DBI_DIRECT_SAME ? 3 : 2;
    const int64_t tap[3] = {t / (edge * edge), t / edge % edge, t % edge};
    int64_t a[3], b[3];
    for (int i = 0; i < 3; i++) {
        const int64_t fine = 2 * v[i] + tap[i];
        a[i] = d->kind == DBI_DIRECT_SAME ? v[i] + tap[i] - 1 : d->kind == DBI_DIRECT_GATHER ? fine : v[i];
        b[i] = d->kind == DBI_DIRECT_SCATTER ? fine : v[i];
        if (a[i] < 0 || a[i] >= d->a.size[i])
            return false;
    }
    *in_a = (a[0] * d->a.size[1] + a[1]) * d->a.size[2] + a[2];
    *in_b = (b[0] * d->b.size[1] + b[1]) * d->b.size[2] + b[2];
    return true;
}

static int taps_of(const dbi_direct *d)
{
    return d->kind == DBI_DIRECT_SAME ? 27 : 8;
}

static int64_t weight_at(const dbi_direct *d, int i, int o, int tap)
{
    return i * d->a_step + o * d->b_step + (d->mirrored ? taps_of(d) - 1 - tap : tap);
}

/* b from a (want != NULL), and the gradient of the weights from a and b's gradient (dwant != NULL). */
static void plain(const dbi_direct *d, const float *a, const float *weight, double *want, const float *db,
                  double *dwant)
{
    const int64_t *grid = d->kind == DBI_DIRECT_SCATTER ? d->a.size : d->b.size;
    for (int64_t n = 0; n < d->a.batch; n++)
        for (int64_t g = 0; g < grid[0] * grid[1] * grid[2]; g++)
            for (int t = 0; t < taps_of(d); t++) {
                const int64_t v[3] = {g / grid[2] / grid[1], g / grid[2] % grid[1], g % grid[2]};
                int64_t in_a, in_b;
                if (!pair_of(d, v, t, &in_a, &in_b))
                    continue;
                for (int i = 0; i < d->a.channels; i++)
                    for (int o = 0; o < d->b.channels; o++) {
                        const double value = a[place(&d->a, d->a_lanes, n, i, in_a)];
                        want[place(&d->b, d->b_lanes, n, o, in_b)] += value * weight[weight_at(d, i, o, t)];
                        dwant[weight_at(d, i, o, t)] += value * db[place(&d->b, d->b_lanes, n, o, in_b)];
                    }
            }
}

/* What is computed is near to what is wanted; what fills the blocks up is zero, as is all that the plain loops leave
 * alone. */
static void assert_near(const float *array, const double *want, size_t count, double most)
{
    for (size_t i = 0; i < count; i++)
        assert_true(fabs(array[i] - want[i]) <
                    most); /* false for what is not a number, so all of it has been written */
}

static void check(const dbi_direct *d, uint32_t stream)
{
    const size_t weights = (size_t)(d->a.channels * d->b.channels * taps_of(d)), outputs = floats(&d->b, d->b_lanes);
    const double most = 1e-6 * (d->a.channels * 27 + 64), most_weight = 1e-6 * (double)(voxels(&d->b) + 64);
    dbi_random r;
    dbi_random_start(&r, 7, DBI_ROLE_TEST, 0, stream);
    float *a = random_blocked(&d->a, d->a_lanes, &r), *db = random_blocked(&d->b, d->b_lanes, &r),
          *weight = allocate(weights), *dweight = allocate(weights), *b = allocate(outputs),
          *packed = working(dbi_direct_packed(d)), *partial = working(dbi_direct_partials(d));
    double *want = calloc(outputs, sizeof *want), *dwant = calloc(weights, sizeof *dwant);
    for (size_t i = 0; i < weights; i++)
        weight[i] = (float)dbi_random_normal(&r);
    plain(d, a, weight, want, db, dwant);
    for (int winograd = 0; winograd < 1 + dbi_winograd_serves(d); winograd++) {
        for (size_t i = 0; i < outputs; i++)
            b[i] = NAN;
        for (size_t i = 0; i < weights; i++)
            dweight[i] = NAN;
        if (winograd) {
            const int threads = 1 + (int)(stream % 4);
            float *own = working(dbi_winograd_apply_floats(d, threads)),
                  *sums = working(dbi_winograd_weights_floats(d, threads));
            dbi_winograd_apply(d, threads, a, weight, own, b);
            dbi_winograd_weights(d, threads, a, db, sums, dweight);
            free(own);
            free(sums);
        } else {
            dbi_direct_apply(d, a, weight, packed, b);
            dbi_direct_weights(d, a, db, partial, dweight);
        }
        assert_near(b, want, outputs, most);
        assert_near(dweight, dwant, weights, most_weight);
    }
    free(a);
    free(db);
    free(weight);
    free(dweight);
    free(b);
    free(packed);
    free(partial);
    free(want);
    free(dwant);
}

static void check_kind(dbi_direct_kind kind)
{
    static const int64_t coarse[][3] = {{3, 4, 16}, {2, 3, 10}, {2, 2, 5},  {1, 5, 9},  {4, 1, 4},
                                        {2, 3, 3},  {1, 1, 1},  {2, 2, 14}, {1, 2, 24}, {5, 12, 8}};
    static const int channels[][2] = {{8, 8}, {3, 5}, {16, 24}, {9, 16}, {24, 9}, {2, 33}};
    uint32_t stream = 0;
    for (size_t s = 0; s < sizeof coarse / sizeof *coarse; s++)
        for (size_t c = 0; c < sizeof channels / sizeof *channels; c++)
            for (int lanes = 0; lanes < 4; lanes++) {
                const int64_t *n = coarse[s];
                const int in = channels[c][0], out = channels[c][1], taps = kind == DBI_DIRECT_SAME ? 27 : 8;
                const int64_t f = kind == DBI_DIRECT_SAME ? 1 : 2;
                const dbi_blocked low = {2, {n[0], n[1], n[2]}, 0}, high = {2, {f * n[0], f * n[1], f * n[2]}, 0};
                dbi_direct d = {.kind = kind,
                                .a = kind == DBI_DIRECT_SCATTER ? low : high,
                                .b = kind == DBI_DIRECT_SCATTER ? high : low,
                                .a_lanes = lanes % 2 ? 16 : 8,
                                .b_lanes = lanes / 2 ? 16 : 8,
                                .a_step = stream % 2 ? taps : (int64_t)out * taps,
                                .b_step = stream % 2 ? (int64_t)in * taps : taps,
                                .mirrored = kind == DBI_DIRECT_SAME && stream % 3 == 0,
                                .long_vectors = stream % 5 > 2};
                d.a.channels = in;
                d.b.channels = out;
                check(&d, stream++);
            }
}

static void test_same(void **state)
{
    (void)state;
    check_kind(DBI_DIRECT_SAME);
}

static void test_gather(void **state)
{
    (void)state;
    check_kind(DBI_DIRECT_GATHER);
}

static void test_scatter(void **state)
{
    (void)state;
    check_kind(DBI_DIRECT_SCATTER);
}

/* Large enough for several tiles of rows, groups of slabs, strips and spans; equal bytes from any number of threads. */
static void check_threads(const dbi_direct *d, bool winograd)
{
    const size_t weights = (size_t)(27 * d->a.channels * d->b.channels), outputs = floats(&d->b, 8);
    static const int number[] = {1, 3, 16};
    float *result[3], *gradient[3];
    for (int i = 0; i < 3; i++) {
        const int threads = number[i];
        dbi_random r;
        dbi_random_start(&r, 8, DBI_ROLE_TEST, 0, 0);
        dbi_set_threads(threads);
        float *a = random_blocked(&d->a, 8, &r), *db = random_blocked(&d->b, 8, &r), *weight = allocate(weights),
              *packed = working(winograd ? dbi_winograd_apply_floats(d, threads) : dbi_direct_packed(d)),
              *partial = working(winograd ? dbi_winograd_weights_floats(d, threads) : dbi_direct_partials(d));
        for (size_t k = 0; k < weights; k++)
            weight[k] = (float)dbi_random_normal(&r);
        result[i] = allocate(outputs);
        gradient[i] = allocate(weights);
        if (winograd) {
            dbi_winograd_apply(d, threads, a, weight, packed, result[i]);
            dbi_winograd_weights(d, threads, a, db, partial, gradient[i]);
        } else {
            dbi_direct_apply(d, a, weight, packed, result[i]);
            dbi_direct_weights(d, a, db, partial, gradient[i]);
        }
        free(a);
        free(db);
        free(weight);
        free(packed);
        free(partial);
    }
    dbi_set_threads(1);
    for (int i = 1; i < 3; i++) {
        assert_memory_equal(result[0], result[i], outputs * sizeof(float));
        assert_memory_equal(gradient[0], gradient[i], weights * sizeof(float));
    }
    for (int i = 0; i < 3; i++) {
        free(result[i]);
        free(gradient[i]);
    }
}

static void test_large(void **state)
{
    (void)state;
    const dbi_direct large = {
        DBI_DIRECT_SAME, {2, {12, 40, 48}, 16}, {2, {12, 40, 48}, 8}, 8, 8, 27, 27 * 16, false, false};
    /* So many channels that a thread takes part of a row at a time, and gradients of some blocks of b. */
    const dbi_direct deep = {
        DBI_DIRECT_SAME, {1, {5, 13, 46}, 40}, {1, {5, 13, 46}, 40}, 8, 8, 27, 27 * 40, true, false};
    check(&large, 99);
    check(&deep, 98);
    for (int winograd = 0; winograd < 2; winograd++) {
        check_threads(&large, winograd);
        check_threads(&deep, winograd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_scatter),
        cmocka_unit_test(test_large),
    };
    dbi_set_threads(1); /* small volumes, where threads wait for each other */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
