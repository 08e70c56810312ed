/* Boxes of voxels, and what of a scan is empty. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "image/box.h"

enum { X = 30, Y = 24, Z = 20, VOXELS = X * Y * Z };
static const int64_t shape[3] = {X, Y, Z};
static const dbi_box body = {{5, 0, 3}, {22, 20, 20}};

/* Bright in the box, with a grain everywhere. */
static void draw(float *image, const dbi_box *box, double noise)
{
    dbi_random random;
    dbi_random_start(&random, 3, DBI_ROLE_TEST, 0, 0);
    for (int64_t v = 0; v < VOXELS; v++) {
        const int64_t at[3] = {v / (Y * Z), v / Z % Y, v % Z};
        bool inside = true;
        for (int a = 0; a < 3; a++)
            inside = inside && at[a] >= box->from[a] && at[a] < box->to[a];
        image[v] = (float)((inside ? 300 : -1000) + noise * fabs(dbi_random_normal(&random)));
    }
}

static void assert_box(const dbi_box *got, const dbi_box *expected)
{
    for (int a = 0; a < 3; a++) {
        assert_int_equal(got->from[a], expected->from[a]);
        assert_int_equal(got->to[a], expected->to[a]);
    }
}

static void test_content(void **state)
{
    (void)state;
    static float image[2 * VOXELS];
    const dbi_box all = {{0, 0, 0}, {X, Y, Z}}, other = {{8, 10, 0}, {25, 24, 10}}, both = {{5, 0, 0}, {25, 24, 20}};
    dbi_box box;
    for (int noise = 0; noise <= 30; noise += 30) { /* a voxel in 10000 of the noise is above the limit */
        draw(image, &body, noise);
        assert_int_equal(dbi_box_of_content(image, 1, shape, &box, NULL), 0);
        assert_box(&box, &body);
    }
    draw(image + VOXELS, &other, 10); /* what any channel shows is there */
    assert_int_equal(dbi_box_of_content(image, 2, shape, &box, NULL), 0);
    assert_box(&box, &both);
    for (int64_t v = 0; v < VOXELS; v++) /* all alike: nothing tells where to look */
        image[v] = 7;
    assert_int_equal(dbi_box_of_content(image, 1, shape, &box, NULL), 0);
    assert_box(&box, &all);
    image[VOXELS / 2] = 1e6f;
    assert_int_equal(dbi_box_of_content(image, 1, shape, &box, NULL), 0);
    assert_box(&box, &all);
}

static void test_widen(void **state)
{
    (void)state;
    static const struct {
        int64_t least[3];
        dbi_box expected;
    } cases[] = {
        {{0, 0, 0}, {{5, 0, 3}, {22, 20, 20}}},    {{17, 20, 17}, {{5, 0, 3}, {22, 20, 20}}},
        {{20, 22, 18}, {{4, 0, 2}, {24, 22, 20}}}, {{30, 24, 20}, {{0, 0, 0}, {30, 24, 20}}},
        {{64, 64, 64}, {{0, 0, 0}, {30, 24, 20}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dbi_box box = body;
        dbi_box_widen(&box, shape, cases[i].least);
        assert_box(&box, &cases[i].expected);
        assert_int_equal(dbi_box_is_whole(&box, shape), i > 2);
    }
}

static void test_cut_and_paste(void **state)
{
    (void)state;
    static int16_t volumes[2 * VOXELS], part[2 * VOXELS], back[2 * VOXELS];
    for (int v = 0; v < 2 * VOXELS; v++)
        volumes[v] = (int16_t)v;
    int64_t size[3];
    dbi_box_size(&body, size);
    dbi_box_cut(&body, 2, shape, sizeof *part, volumes, part);
    assert_int_equal(part[0], (5 * Y + 0) * Z + 3);
    assert_int_equal(part[size[0] * size[1] * size[2] + 1], VOXELS + (5 * Y + 0) * Z + 4);
    memset(back, 0xff, sizeof back);
    dbi_box_paste(&body, 2, shape, sizeof *part, part, back);
    int64_t kept = 0;
    for (int v = 0; v < 2 * VOXELS; v++) {
        assert_true(back[v] == -1 || back[v] == volumes[v]);
        kept += back[v] != -1;
    }
    assert_int_equal(kept, 2 * size[0] * size[1] * size[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_content), cmocka_unit_test(test_widen),
                                       cmocka_unit_test(test_cut_and_paste)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
