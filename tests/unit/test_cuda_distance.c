/* The CUDA device's distances against the library's own transforms: its kernels in their order, without a GPU run on
 * the host (emulated.h). What that cannot show is what CUDA itself does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "base/random.h"
#include "cuda/distance.h"
#include "cuda/distance_math.h"
#include "device_memory.h"
#include "distance/edt.h"
#include "distance/normalize.h"
#include "distance/transform.real.h"

static const dbi_normalize none = {.kind = DBI_NORMALIZE_NONE}, clip3 = {.kind = DBI_NORMALIZE_CLIP, .t = 3},
                           maximum = {.kind = DBI_NORMALIZE_MAX};
static const dbi_normalize *const normalizations[] = {&none, &clip3, &maximum};
static const char *const transforms[] = {"exact", "levelset", "conv:0.7,3", "conv:2,30", "conv:0.02,3", "conv:0.35,6"};
enum { TRANSFORMS = sizeof transforms / sizeof *transforms, MAPS = 3 };

static dbi_transform parsed(const char *text)
{
    dbi_transform t;
    dbi_error error;
    assert_int_equal(dbi_transform_parse(text, &t, &error), 0);
    return t;
}

static void *zeros(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    assert_non_null(p);
    return p;
}

static int64_t count_of(const int64_t shape[3])
{
    return shape[0] * shape[1] * shape[2];
}

enum kind { BALL, NOISE, SPECKS, BITS, EXTREMES, OUTSIDE, INSIDE, CORNER, KINDS };

/* Probabilities of one map. BALL: a bumpy ball with a soft edge. */
static void fill(enum kind kind, uint32_t stream, const int64_t shape[3], float *p)
{
    static const float extremes[] = {0, 1, 0.5f, 1e-45f, 1e-30f, 0.99999994f};
    dbi_random r;
    dbi_random_start(&r, 11, DBI_ROLE_TEST, (uint32_t)kind, stream);
    for (int64_t i = 0; i < count_of(shape); i++) {
        const double x = (double)(i / (shape[1] * shape[2])) - 0.48 * (double)shape[0],
                     y = (double)(i / shape[2] % shape[1]) - 0.46 * (double)shape[1],
                     z = (double)(i % shape[2]) - 0.47 * (double)shape[2];
        const double radius = 0.31 * (double)shape[0] + 0.2 * sin(1.1 * x + stream) + 0.3 * sin(1.7 * y + z),
                     d = sqrt(x * x + y * y + z * z);
        const uint32_t draw = dbi_random_below(&r, 40);
        switch (kind) {
        case BALL:
            p[i] = (float)(1 / (1 + exp((d - radius) / 1.5)));
            break;
        case NOISE:
            p[i] = (float)dbi_random_uniform(&r);
            break;
        case SPECKS:
            p[i] = draw == 0 ? 1.0f : draw == 1 ? 0.001f : 0.0f;
            break;
        case BITS:
            p[i] = (float)(draw % 2);
            break;
        case EXTREMES:
            p[i] = extremes[draw % 6];
            break;
        case OUTSIDE:
        case INSIDE:
            p[i] = kind == OUTSIDE ? 0.5f : 0.8f;
            break;
        case CORNER:
        case KINDS:
            p[i] = i == 0;
            break;
        }
    }
}

/* A device transform and its maps. */
typedef struct device {
    dbi_arena arena;
    dbi_cuda_transform *transform;
    int64_t voxels;
    float *p, *s, *ds, *dp;
} device;

static void device_open(device *d, const dbi_transform *t, const dbi_normalize *n, const int64_t shape[3], int64_t maps)
{
    dbi_error error = {""};
    memset(d, 0, sizeof *d);
    d->voxels = count_of(shape);
    d->transform = dbi_cuda_transform_new(t, n, shape, maps, true, &d->arena, &error);
    if (!d->transform)
        fail_msg("%s", error.text);
    float **const arrays[] = {&d->p, &d->s, &d->ds, &d->dp};
    for (int i = 0; i < 4; i++)
        device_need(&d->arena, arrays[i], (size_t)(maps * d->voxels) * sizeof(float));
    device_open_arena(&d->arena);
}

static void device_close(device *d)
{
    dbi_cuda_transform_free(d->transform);
    dbi_arena_close(&d->arena);
}

/* in_place: dp takes the place of ds. */
static void device_run(device *d, int64_t maps, const float *p, const float *ds, float *s, float *dp, bool in_place)
{
    const size_t bytes = (size_t)(maps * d->voxels) * sizeof(float);
    float *to = in_place ? d->ds : d->dp;
    dbi_error error = {""};
    device_put(d->p, p, bytes);
    device_put(d->ds, ds, bytes);
    memset(dp, 0xff, bytes); /* NaN, in whose place the gradient comes */
    device_put(d->dp, dp, bytes);
    if (dbi_cuda_transform_forward(d->transform, test_stream, maps, d->p, d->s, &error) ||
        dbi_cuda_transform_backward(d->transform, test_stream, d->p, d->ds, to, &error))
        fail_msg("%s", error.text);
    device_get(s, d->s, bytes);
    device_get(dp, to, bytes);
}

static void random_weights(float *w, int64_t count, uint32_t stream)
{
    dbi_random r;
    dbi_random_start(&r, 12, DBI_ROLE_TEST, 0, stream);
    for (int64_t i = 0; i < count; i++)
        w[i] = (float)dbi_random_normal(&r);
}

static void expect(const dbi_transform *t, const dbi_normalize *n, const int64_t shape[3], const float *p,
                   const float *ds, float *s, float *dp)
{
    dbi_tape_f32 *tape;
    dbi_error error;
    memset(dp, 0xff, (size_t)count_of(shape) * sizeof *dp);
    assert_int_equal(dbi_transform_forward_f32(t, n, shape, p, s, &tape, &error), 0);
    assert_int_equal(dbi_transform_backward_f32(tape, ds, dp, &error), 0);
    dbi_tape_free_f32(tape);
}

/* Values voxel by voxel, gradients too, but relative to the largest one of the map. The soft distance adds many
 * floats, in another order. */
static void check_map(const char *what, int kind, int64_t count, const float *s, const float *dp, const float *want_s,
                      const float *want_dp)
{
    const float tolerance = strncmp(what, "conv", 4) ? 1e-5f : 1e-4f;
    double largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)want_dp[i]));
    for (int64_t i = 0; i < count; i++) {
        if (!(fabsf(s[i] - want_s[i]) <= tolerance * (1 + fabsf(want_s[i]))))
            fail_msg("%s, input %d, voxel %lld: distance %.9g, expected %.9g", what, kind, (long long)i, (double)s[i],
                     (double)want_s[i]);
        if (!(fabs((double)dp[i] - (double)want_dp[i]) <= (double)tolerance * largest))
            fail_msg("%s, input %d, voxel %lld: gradient %.9g, expected %.9g of %g", what, kind, (long long)i,
                     (double)dp[i], (double)want_dp[i], largest);
    }
}

static void check_shape(const int64_t shape[3], int t, const dbi_normalize *n)
{
    const int64_t count = count_of(shape);
    const dbi_transform transform = parsed(transforms[t]);
    float *p = zeros((size_t)(MAPS * count), sizeof *p), *ds = zeros((size_t)(MAPS * count), sizeof *p),
          *s = zeros((size_t)(MAPS * count), sizeof *p), *dp = zeros((size_t)(MAPS * count), sizeof *p),
          *want_s = zeros((size_t)count, sizeof *p), *want_dp = zeros((size_t)count, sizeof *p);
    device d;
    device_open(&d, &transform, n, shape, MAPS);
    random_weights(ds, MAPS * count, 1);
    for (int first = 0; first < KINDS; first += MAPS) {
        for (int m = 0; m < MAPS; m++)
            fill((enum kind)((first + m) % KINDS), (uint32_t)m, shape, p + m * count);
        device_run(&d, MAPS, p, ds, s, dp, false);
        for (int m = 0; m < MAPS; m++) {
            char what[96], text[64];
            dbi_normalize_format(n, text);
            snprintf(what, sizeof what, "%s, %s, [%d,%d,%d]", transforms[t], text, (int)shape[0], (int)shape[1],
                     (int)shape[2]);
            expect(&transform, n, shape, p + m * count, ds + m * count, want_s, want_dp);
            check_map(what, (first + m) % KINDS, count, s + m * count, dp + m * count, want_s, want_dp);
        }
    }
    device_close(&d);
    free(p);
    free(ds);
    free(s);
    free(dp);
    free(want_s);
    free(want_dp);
}

static void agrees_with_the_library(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{13, 12, 14}, {1, 1, 9}, {1, 7, 1}, {5, 1, 3}, {1, 1, 1}, {4, 17, 16}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        for (int t = 0; t < TRANSFORMS; t++)
            for (int n = 0; n < 3; n++)
                check_shape(shapes[k], t, normalizations[n]);
}

/* Limits cut searches short, and nothing else. The volume has several chunks for the kernels that look for maxima. */
static void limits_cut_nothing_off(void **state)
{
    (void)state;
    static const int64_t shape[3] = {20, 19, 17};
    static const dbi_normalize clips[] = {{DBI_NORMALIZE_CLIP, 0.4},
                                          {DBI_NORMALIZE_CLIP, 1},
                                          {DBI_NORMALIZE_CLIP, 7.25},
                                          {DBI_NORMALIZE_CLIP, 1e6},
                                          {DBI_NORMALIZE_MAX, 0}};
    for (size_t n = 0; n < sizeof clips / sizeof *clips; n++)
        for (int t = 0; t < 2; t++)
            check_shape(shape, t, &clips[n]);
}

/* The whole volume as a window, and where sums of products underflow. */
static void long_windows_agree(void **state)
{
    (void)state;
    static const int64_t shape[3] = {6, 7, 9};
    static const char *const texts[] = {"conv:0.6,all", "conv:0.03,20", "conv:0.01,all"};
    enum { COUNT = 6 * 7 * 9 };
    float p[COUNT], ds[COUNT], s[COUNT], dp[COUNT], want_s[COUNT], want_dp[COUNT];
    random_weights(ds, COUNT, 2);
    for (int k = 0; k < 3; k++)
        for (int kind = 0; kind < KINDS; kind++)
            for (int n = 0; n < 3; n++) {
                const dbi_transform t = parsed(texts[k]);
                device d;
                device_open(&d, &t, normalizations[n], shape, 1);
                fill((enum kind)kind, 0, shape, p);
                device_run(&d, 1, p, ds, s, dp, false);
                expect(&t, normalizations[n], shape, p, ds, want_s, want_dp);
                check_map(texts[k], kind, COUNT, s, dp, want_s, want_dp);
                device_close(&d);
            }
}

/* No 1/2 anywhere: one value, no gradient. */
static void no_level(void **state)
{
    (void)state;
    static const int64_t shape[3] = {9, 8, 11};
    enum { COUNT = 9 * 8 * 11 };
    float p[COUNT], ds[COUNT], s[COUNT], dp[COUNT];
    const dbi_transform t = parsed("levelset");
    random_weights(ds, COUNT, 3);
    for (int inside = 0; inside < 2; inside++) {
        device d;
        device_open(&d, &t, &clip3, shape, 1);
        fill(inside ? INSIDE : OUTSIDE, 0, shape, p);
        device_run(&d, 1, p, ds, s, dp, false);
        for (int i = 0; i < COUNT; i++)
            assert_true(s[i] == (inside ? 1 : -1) && dp[i] == 0);
        device_close(&d);
    }
}

/* Integer sums and fixed orders: whatever runs first, the same bytes; and no map sees another. dp may be ds. */
static void order_changes_nothing(void **state)
{
    (void)state;
    static const int64_t shape[3] = {13, 12, 14};
    enum { COUNT = 13 * 12 * 14 };
    static float p[MAPS * COUNT], ds[MAPS * COUNT], s[2][MAPS * COUNT], dp[2][MAPS * COUNT], alone[2][COUNT];
    random_weights(ds, MAPS * COUNT, 4);
    for (int m = 0; m < MAPS; m++)
        fill(m == 2 ? SPECKS : BALL, (uint32_t)m, shape, p + m * COUNT);
    for (int t = 0; t < TRANSFORMS; t++)
        for (int n = 0; n < 3; n++) {
            const dbi_transform transform = parsed(transforms[t]);
            device d;
            device_open(&d, &transform, normalizations[n], shape, MAPS);
            for (int k = 0; k < 2; k++) {
                device_backwards(k);
                device_run(&d, MAPS, p, ds, s[k], dp[k], k);
            }
            device_backwards(false);
            assert_memory_equal(s[0], s[1], sizeof s[0]);
            assert_memory_equal(dp[0], dp[1], sizeof dp[0]);
            device_run(&d, 1, p + COUNT, ds + COUNT, alone[0], alone[1], false);
            assert_memory_equal(alone[0], s[0] + COUNT, sizeof alone[0]);
            assert_memory_equal(alone[1], dp[0] + COUNT, sizeof alone[1]);
            device_close(&d);
        }
}

/* Whatever the input: no access out of bounds (the sanitizers see to that), an end, and for finite gradients finite
 * results; others show. */
static void anything_goes_in(void **state)
{
    (void)state;
    static const int64_t shape[3] = {7, 6, 8};
    enum { COUNT = 7 * 6 * 8 };
    static const float odd[] = {NAN, INFINITY, -INFINITY, -1, 2, 3e38f, 0.5f, 0};
    float p[COUNT], ds[COUNT], s[COUNT], dp[COUNT];
    dbi_random r;
    dbi_random_start(&r, 13, DBI_ROLE_TEST, 0, 0);
    for (int t = 0; t < TRANSFORMS; t++)
        for (int n = 0; n < 3; n++) {
            const dbi_transform transform = parsed(transforms[t]);
            device d;
            device_open(&d, &transform, normalizations[n], shape, 1);
            for (int i = 0; i < COUNT; i++) {
                p[i] = odd[dbi_random_below(&r, 8)];
                ds[i] = odd[dbi_random_below(&r, 8)];
            }
            device_run(&d, 1, p, ds, s, dp, false);
            for (int kind = 0; kind < KINDS; kind++) {
                fill((enum kind)kind, 0, shape, p);
                for (int i = 0; i < COUNT; i++)
                    ds[i] = i % 2 ? 1e3f : -1e3f;
                device_run(&d, 1, p, ds, s, dp, false);
                for (int i = 0; i < COUNT; i++)
                    assert_true(isfinite(s[i]) && isfinite(dp[i]));
            }
            fill(BALL, 0, shape, p);
            for (int i = 0; i < COUNT; i++)
                ds[i] = NAN;
            device_run(&d, 1, p, ds, s, dp, false);
            int shown = 0;
            for (int i = 0; i < COUNT; i++)
                shown += !isfinite(dp[i]);
            assert_true(transform.kind == DBI_TRANSFORM_EXACT || shown > 0);
            device_close(&d);
        }
}

static void labels_agree_with_the_library(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{13, 12, 14}, {1, 5, 7}, {31, 3, 2}};
    static const double spacings[][3] = {{1, 1, 1}, {0.625, 0.625, 2.5}, {3, 0.1, 1.7}};
    enum { SAMPLES = 2, CLASSES = 3 };
    for (int k = 0; k < 27; k++) {
        const int64_t *shape = shapes[k % 3], count = count_of(shape);
        const double *spacing = spacings[k / 3 % 3];
        const dbi_normalize *n = normalizations[k / 9];
        uint8_t *label = zeros((size_t)(SAMPLES * count), 1);
        const size_t values = (size_t)(SAMPLES * CLASSES * count);
        float *out = zeros(values, sizeof *out), *want = zeros((size_t)count, sizeof *want), *to;
        uint8_t *from;
        dbi_arena arena = {0};
        dbi_error error = {""};
        dbi_random r;
        dbi_random_start(&r, 14, DBI_ROLE_TEST, 0, (uint32_t)k);
        for (int64_t i = 0; i < SAMPLES * count; i++)
            label[i] = (uint8_t)(dbi_random_below(&r, 30)
                                     ? 0
                                     : 1 + dbi_random_below(&r, 2)); /* of the third class there is none */
        dbi_cuda_sdf *sdf = dbi_cuda_sdf_new(shape, spacing, n, SAMPLES, CLASSES, &arena, &error);
        if (!sdf)
            fail_msg("%s", error.text);
        device_need(&arena, &from, (size_t)(SAMPLES * count));
        device_need(&arena, &to, values * sizeof *to);
        device_open_arena(&arena);
        device_put(from, label, (size_t)(SAMPLES * count));
        if (dbi_cuda_sdf_run(sdf, test_stream, from, to, &error))
            fail_msg("%s", error.text);
        device_get(out, to, values * sizeof *to);
        for (int m = 0; m < SAMPLES * CLASSES; m++) {
            assert_int_equal(dbi_signed_distance(label + m / CLASSES * count, (uint8_t)(m % CLASSES + 1), shape,
                                                 spacing, n, want, &error),
                             0);
            for (int64_t i = 0; i < count; i++)
                assert_true(fabsf(out[m * count + i] - want[i]) <= 1e-6f * (1 + fabsf(want[i])));
        }
        dbi_cuda_sdf_free(sdf);
        dbi_arena_close(&arena);
        free(label);
        free(out);
        free(want);
    }
}

/* Every voxel has one thread, and every tile; also where indices are beyond 32 bits. */
static void geometry(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{13, 12, 14}, {1, 1, 1}, {16, 16, 1}, {3, 5, 257}};
    for (size_t k = 0; k < 4; k++) {
        const dbi_maps m = dbi_maps_make(shapes[k], MAPS);
        const size_t all = (size_t)(MAPS * count_of(shapes[k]));
        uint8_t *seen = zeros(all, 1), *tiled = zeros(all, 1);
        for (int64_t block = 0; block < m.blocks * MAPS; block++)
            for (int thread = 0; thread < DBI_BLOCK; thread++) {
                const dbi_voxel v = dbi_voxel_of(&m, block, thread);
                uint32_t at[3];
                if (!v.valid)
                    continue;
                dbi_place_of(&m, v.i, at);
                assert_true(v.base + v.i < (int64_t)all && v.base / count_of(shapes[k]) == v.map);
                assert_true((at[0] * m.size[1] + at[1]) * m.size[2] + at[2] == v.i);
                for (int a = 0; a < 3; a++)
                    assert_true(at[a] < m.size[a] && dbi_here(&m, v.i, a) == at[a]);
                seen[v.base + v.i]++;
            }
        for (int64_t block = 0; block < dbi_cuda_blocks(dbi_tiles(&m), DBI_BLOCK) * MAPS; block++)
            for (int thread = 0; thread < DBI_BLOCK; thread++) {
                int64_t base, at[3];
                if (dbi_tile_of(&m, block, thread, &base, at))
                    for (int64_t j = 0; j < DBI_CONV_TILE && at[1] + j < shapes[k][1]; j++)
                        tiled[base + (at[0] * shapes[k][1] + at[1] + j) * shapes[k][2] + at[2]]++;
            }
        for (size_t i = 0; i < all; i++)
            assert_true(seen[i] == 1 && tiled[i] == 1);
        free(seen);
        free(tiled);
    }
    const int64_t large[3] = {1100, 1100, 1100}; /* eight of them are beyond 2^32 */
    const dbi_maps m = dbi_maps_make(large, 8);
    const int64_t last = count_of(large) - 1;
    const dbi_voxel v = dbi_voxel_of(&m, 7 * m.blocks + last / DBI_BLOCK, (int)(last % DBI_BLOCK));
    assert_true(v.valid && v.map == 7 && v.base + v.i == 8 * count_of(large) - 1);
    assert_false(dbi_voxel_of(&m, 8 * m.blocks - 1, DBI_BLOCK - 1).valid && last % DBI_BLOCK != DBI_BLOCK - 1);
    int64_t base, at[3];
    const int64_t tile = dbi_tiles(&m) - 1, blocks = dbi_cuda_blocks(dbi_tiles(&m), DBI_BLOCK);
    assert_true(dbi_tile_of(&m, 7 * blocks + tile / DBI_BLOCK, (int)(tile % DBI_BLOCK), &base, at));
    assert_true(base == 7 * count_of(large) && at[0] == 1099 && at[1] == 1096 && at[2] == 1099);
}

/* What is beyond the device is refused, before anything is allocated. */
static void refusals(void **state)
{
    (void)state;
    static const int64_t bad[][4] = {
        {2000, 2000, 2000, 1}, {-1, 2, 3, 1}, {INT64_MAX, 2, 2, 1}, {1000, 1000, 1000, 100000}, {4, 4, 4, -1}};
    static const double ones[3] = {1, 1, 1}, flat[3] = {1, 0, 1};
    const dbi_transform t = parsed("levelset");
    dbi_arena arena = {0};
    dbi_error error;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(dbi_cuda_transform_new(&t, &clip3, bad[i], bad[i][3], true, &arena, &error));
        assert_null(dbi_cuda_sdf_new(bad[i], ones, &clip3, bad[i][3], 1, &arena, &error));
    }
    const int64_t good[3] = {4, 4, 4};
    assert_null(dbi_cuda_sdf_new(good, flat, &clip3, 1, 1, &arena, &error));
    assert_null(dbi_cuda_sdf_new(good, ones, &clip3, 1, 256, &arena, &error));
    assert_int_equal(arena.bytes, 0);
    device d;
    device_open(&d, &t, &clip3, good, 1);
    assert_int_equal(dbi_cuda_transform_forward(d.transform, test_stream, 2, d.p, d.s, &error), -1);
    device_close(&d);
}

/* Sums of contributions neither overflow nor lose what a float would keep. */
static void fixed_point(void **state)
{
    (void)state;
    static const float sizes[] = {1e-45f, 1e-38f, 1e-7f, 0.999f, 1, 1.001f, 1e3f, 3.4e38f};
    static const uint32_t voxels[] = {1, 2, 3, 1u << 20, (1u << 20) + 1, UINT32_MAX / 3 - 1};
    const double steepest = 3 / DBI_LEVELSET_FLOOR;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof voxels / sizeof *voxels; j++) {
            const int exponent = dbi_fixed_exponent(sizes[i], voxels[j]);
            const double most = scalbn(steepest * (double)sizes[i] * voxels[j], exponent);
            assert_true(most < 0x1p62 && most > 0x1p58);
            const double value = -0.3 * steepest * (double)sizes[i];
            assert_true(fabs(dbi_from_fixed(dbi_to_fixed(value, exponent), exponent) - value) <=
                        scalbn(0.5, -exponent));
        }
    assert_true(scalbn(1, -dbi_fixed_exponent(1, 1u << 20)) < steepest * 0x1p-38);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_library),
        cmocka_unit_test(limits_cut_nothing_off),
        cmocka_unit_test(long_windows_agree),
        cmocka_unit_test(no_level),
        cmocka_unit_test(order_changes_nothing),
        cmocka_unit_test(anything_goes_in),
        cmocka_unit_test(labels_agree_with_the_library),
        cmocka_unit_test(geometry),
        cmocka_unit_test(refusals),
        cmocka_unit_test(fixed_point),
    };
    dbi_set_threads(1); /* small volumes, where threads wait for each other */
    return cmocka_run_group_tests(tests, open_device, close_device);
}
