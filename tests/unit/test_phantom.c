/* The synthetic cohort: reproducible scan by scan, anatomically of one piece, and as hard as the settings say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "cohort/phantom.h"
#include "cohort/smooth.h"

static dbi_error error;

static dbi_phantom_settings small_settings(void)
{
    dbi_phantom_settings s = dbi_phantom_defaults();
    s.size = 40;
    s.seed = 5;
    return s;
}

static dbi_phantom make(const dbi_phantom_settings *s, uint32_t index)
{
    dbi_phantom p;
    if (dbi_phantom_make(s, index, &p, &error))
        fail_msg("%s", error.text);
    return p;
}

static size_t voxels_of(const dbi_volume *v)
{
    return (size_t)(v->grid.shape[0] * v->grid.shape[1] * v->grid.shape[2]);
}

static bool equal(const dbi_volume *a, const dbi_volume *b, size_t size)
{
    return !memcmp(&a->grid, &b->grid, sizeof a->grid) && !memcmp(a->data, b->data, voxels_of(a) * size);
}

static void test_a_function_of_settings_and_index(void **state)
{
    (void)state;
    dbi_phantom_settings s = small_settings(), other = s;
    other.seed++;
    dbi_phantom a = make(&s, 3), b = make(&s, 4), again = make(&s, 3), seed = make(&other, 3);
    assert_true(equal(&a.image[0], &again.image[0], 4) && equal(&a.label, &again.label, 1));
    assert_false(equal(&a.label, &b.label, 1));
    assert_false(equal(&a.label, &seed.label, 1));
    other = s;
    other.channels = 3;
    other.classes = 3;
    dbi_phantom more = make(&other, 3); /* the first channel and class stay what they are */
    assert_true(equal(&a.image[0], &more.image[0], 4));
    for (size_t i = 0; i < voxels_of(&a.label); i++)
        assert_int_equal(((uint8_t *)a.label.data)[i] == 1, ((uint8_t *)more.label.data)[i] == 1);
    assert_false(equal(&more.image[0], &more.image[1], 4));
    assert_false(equal(&more.image[1], &more.image[2], 4));
    dbi_phantom *all[] = {&a, &b, &again, &seed, &more};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        dbi_phantom_free(all[i]);
}

/* The voxels of label `value` that hang together with the first one of them, by faces. */
static size_t connected(const dbi_volume *v, uint8_t value)
{
    size_t n = voxels_of(v), found = 0, *stack = malloc(n * sizeof *stack), top = 0;
    uint8_t *mask = malloc(n);
    const int64_t *shape = v->grid.shape, stride[3] = {shape[1] * shape[2], shape[2], 1};
    for (size_t i = 0; i < n; i++)
        mask[i] = ((uint8_t *)v->data)[i] == value;
    size_t first = 0;
    while (first < n && !mask[first])
        first++;
    if (first < n) {
        stack[top++] = first;
        mask[first] = 0;
    }
    while (top) {
        size_t i = stack[--top];
        found++;
        for (int a = 0; a < 3; a++)
            for (int sign = -1; sign < 2; sign += 2) {
                int64_t at = (int64_t)i / stride[a] % shape[a] + sign;
                size_t next = i + (size_t)(sign * stride[a]);
                if (at >= 0 && at < shape[a] && mask[next]) {
                    mask[next] = 0;
                    stack[top++] = next;
                }
            }
    }
    free(stack);
    free(mask);
    return found;
}

/* Grid, values, label: what a scanner or an annotator could have made. */
static void test_plausible_scans(void **state)
{
    (void)state;
    dbi_phantom_settings s = small_settings();
    s.classes = 3;
    s.channels = 2;
    unsigned axes = 0;
    int labeled_everywhere = 0;
    for (uint32_t i = 0; i < 48; i++) {
        dbi_phantom p = make(&s, i);
        const dbi_grid *g = &p.label.grid;
        double spacing[3], least = INFINITY, most = 0;
        assert_int_equal(dbi_grid_check(g, &error), 0);
        dbi_grid_spacing(g, spacing);
        int pairs = 0;
        for (int a = 0; a < 3; a++) {
            least = fmin(least, spacing[a]);
            most = fmax(most, spacing[a]);
            assert_in_range(g->shape[a], 27, 45);
            pairs += fabs(spacing[a] - spacing[(a + 1) % 3]) < 1e-9;
            double dot = 0;
            for (int r = 0; r < 3; r++)
                dot += g->affine[r][a] * g->affine[r][(a + 1) % 3];
            assert_true(fabs(dot) < 1e-9);
        }
        assert_int_equal(pairs, 1); /* two axes alike, slices thicker */
        assert_true(most / least > 1.1 && most / least < 1.5);
        /* the axis that comes closest to each direction, and its sign */
        for (int r = 0; r < 3; r++) {
            int a = 0;
            for (int b = 1; b < 3; b++)
                a = fabs(g->affine[r][b]) > fabs(g->affine[r][a]) ? b : a;
            assert_true(fabs(g->affine[r][a]) > 0.85 * spacing[a]);
            axes |= 1u << (6 * r + 2 * a + (g->affine[r][a] > 0));
        }
        size_t n = voxels_of(&p.label), count[4] = {0};
        for (size_t v = 0; v < n; v++) {
            assert_in_range(((uint8_t *)p.label.data)[v], 0, 3);
            count[((uint8_t *)p.label.data)[v]]++;
            for (int c = 0; c < 2; c++) {
                float x = ((float *)p.image[c].data)[v];
                assert_true(x >= 0 && x <= 32767 && x == roundf(x));
            }
        }
        assert_in_range(count[1], n / 200, n / 8);
        assert_true(connected(&p.label, 1) >= count[1] - count[1] / 100);
        labeled_everywhere += count[2] > n / 200 && count[3] > n / 200;
        dbi_phantom_free(&p);
    }
    assert_int_equal(axes, (1u << 18) - 1); /* each stored axis along each direction, both ways */
    assert_true(labeled_everywhere >= 44);
}

/* Mean brightness of the label's inside and of everything else, and the standard deviation inside. */
static void brightness(const dbi_phantom *p, double *inside, double *outside, double *deviation)
{
    double sum[2] = {0}, squares = 0;
    size_t count[2] = {0};
    for (size_t v = 0; v < voxels_of(&p->label); v++) {
        int in = ((uint8_t *)p->label.data)[v] == 1;
        double x = ((float *)p->image[0].data)[v];
        sum[in] += x;
        squares += in ? x * x : 0;
        count[in]++;
    }
    *inside = sum[1] / (double)count[1];
    *outside = sum[0] / (double)count[0];
    *deviation = sqrt(squares / (double)count[1] - *inside * *inside);
}

static void test_knobs(void **state)
{
    (void)state;
    dbi_phantom_settings base = small_settings();
    for (uint32_t i = 0; i < 4; i++) {
        double in[2], out[2], deviation[2];
        dbi_phantom_settings s = base;
        for (int high = 0; high < 2; high++) {
            s.contrast = high ? 0.8 : 0.2;
            dbi_phantom p = make(&s, i);
            brightness(&p, &in[high], &out[high], &deviation[high]);
            dbi_phantom_free(&p);
        }
        assert_true(in[1] / out[1] > 1.1 * in[0] / out[0]);
        s = base;
        for (int high = 0; high < 2; high++) {
            s.noise = high ? 0.3 : 0;
            dbi_phantom p = make(&s, i);
            brightness(&p, &in[high], &out[high], &deviation[high]);
            dbi_phantom_free(&p);
        }
        assert_true(pow(deviation[1] / in[1], 2) >
                    pow(deviation[0] / in[0], 2) + 0.01); /* sigma is at least 0.15, before the bias field */
    }
}

/* Volume of the body in mm^3. */
static double body_volume(const dbi_phantom_settings *s, uint32_t index)
{
    dbi_phantom p = make(s, index);
    double spacing[3], count = 0;
    dbi_grid_spacing(&p.label.grid, spacing);
    for (size_t v = 0; v < voxels_of(&p.label); v++)
        count += ((uint8_t *)p.label.data)[v] == 1;
    dbi_phantom_free(&p);
    return count * spacing[0] * spacing[1] * spacing[2];
}

static void test_variability(void **state)
{
    (void)state;
    double spread[3];
    for (int v = 0; v < 3; v++) {
        dbi_phantom_settings s = small_settings();
        s.variability = v;
        double sum = 0, squares = 0;
        for (uint32_t i = 0; i < 10; i++) {
            double volume = body_volume(&s, i);
            sum += volume;
            squares += volume * volume;
        }
        spread[v] = sqrt(squares / 10 - sum * sum / 100) / (sum / 10);
    }
    assert_true(spread[0] < 0.03 && spread[1] > 0.2 && spread[2] > spread[1]);
}

/* The mean position of class `value`, and the largest distance of its voxels from it, both in world millimetres. */
static double centre_of(const dbi_volume *v, uint8_t value, double centre[3])
{
    const int64_t *n = v->grid.shape;
    double count = 0, largest = 0;
    memset(centre, 0, 3 * sizeof *centre);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < n[0] * n[1] * n[2]; i++) {
            if (((uint8_t *)v->data)[i] != value)
                continue;
            const double at[4] = {(double)(i / (n[1] * n[2])), (double)(i / n[2] % n[1]), (double)(i % n[2]), 1};
            double far = 0;
            for (int r = 0; r < 3; r++) {
                double x = 0;
                for (int c = 0; c < 4; c++)
                    x += v->grid.affine[r][c] * at[c];
                if (pass == 0)
                    centre[r] += x;
                else
                    far += pow(x - centre[r] / count, 2);
            }
            count += pass == 0;
            largest = fmax(largest, sqrt(far));
        }
    for (int r = 0; r < 3; r++)
        centre[r] /= count;
    return largest;
}

/* However the voxels are stored, the affine puts the anatomy where it belongs: without variation the chamber lies in
 * the same direction from the body in every scan, to the left, to the front and below. And vessels are labelled only
 * near the body: they reach 47 mm. */
static void test_affine_and_anatomy_agree(void **state)
{
    (void)state;
    dbi_phantom_settings s = small_settings();
    s.variability = 0;
    s.classes = 2;
    double first[3] = {0};
    for (uint32_t i = 0; i < 12; i++) {
        dbi_phantom p = make(&s, i);
        double body[3], chamber[3], along = 0, length = 0;
        double reach = centre_of(&p.label, 1, body);
        assert_true(reach > 22 && reach < 36);
        centre_of(&p.label, 2, chamber);
        for (int r = 0; r < 3; r++)
            length += pow(chamber[r] - body[r], 2);
        for (int r = 0; r < 3; r++) {
            chamber[r] = (chamber[r] - body[r]) / sqrt(length);
            if (i == 0)
                first[r] = chamber[r];
            along += chamber[r] * first[r];
        }
        assert_true(chamber[0] < -0.2 && chamber[1] > 0.5 && chamber[2] < -0.2);
        assert_true(along > 0.99); /* 8 degrees: the field of view cuts the chamber in other places */
        dbi_phantom_free(&p);
    }
}

static void test_smooth_fields(void **state)
{
    (void)state;
    const int64_t shape[3] = {50, 40, 30};
    const double spacing[3] = {1, 1, 2};
    float *field = dbi_alloc(50 * 40 * 30, sizeof *field, &error);
    double rough[2];
    for (int wide = 0; wide < 2; wide++) {
        double sum = 0, squares = 0, steps = 0;
        for (uint32_t seed = 0; seed < 10; seed++) {
            dbi_random r;
            dbi_random_start(&r, seed, DBI_ROLE_TEST, 0, 0);
            assert_int_equal(dbi_smooth_field(&r, shape, spacing, wide ? 12 : 3, field, &error), 0);
            for (int i = 0; i < 50 * 40 * 30; i++) {
                sum += field[i];
                squares += field[i] * field[i];
                steps += i >= 40 * 30 ? pow(field[i] - field[i - 40 * 30], 2) : 0;
            }
        }
        const double n = 10 * 50 * 40 * 30;
        assert_true(fabs(sum / n) < 0.15 && fabs(squares / n - 1) < 0.2);
        rough[wide] = steps / n;
    }
    assert_true(rough[1] < rough[0] / 8); /* a slope of 1/cell: a sixteenth */
    dbi_random r;
    dbi_random_start(&r, 0, DBI_ROLE_TEST, 0, 0);
    assert_int_equal(dbi_smooth_field(&r, shape, spacing, 0, field, &error), -1);
    assert_int_equal(dbi_smooth_field(&r, shape, (double[]){1, NAN, 1}, 3, field, &error), -1);
    free(field);
}

static void test_impossible_settings(void **state)
{
    (void)state;
    dbi_phantom p;
    dbi_phantom_settings good = small_settings(), s;
#define REFUSED(change)                                                                                                \
    s = good;                                                                                                          \
    change;                                                                                                            \
    assert_int_equal(dbi_phantom_make(&s, 0, &p, &error), -1)
    REFUSED(s.size = 15);
    REFUSED(s.size = 513);
    REFUSED(s.channels = 0);
    REFUSED(s.channels = DBI_PHANTOM_CHANNELS + 1);
    REFUSED(s.classes = DBI_PHANTOM_CLASSES + 1);
    REFUSED(s.contrast = NAN);
    REFUSED(s.noise = -0.1);
    REFUSED(s.variability = 2.1);
    REFUSED(s.neighbors = INFINITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_function_of_settings_and_index),
        cmocka_unit_test(test_plausible_scans),
        cmocka_unit_test(test_knobs),
        cmocka_unit_test(test_variability),
        cmocka_unit_test(test_affine_and_anatomy_agree),
        cmocka_unit_test(test_smooth_fields),
        cmocka_unit_test(test_impossible_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
