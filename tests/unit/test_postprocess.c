/* Heads to probabilities, labels and uncertainty, against the formulas of postprocess.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "predict/postprocess.h"

static double entropy(double p)
{
    return p > 0 && p < 1 ? -(p * log2(p) + (1 - p) * log2(1 - p)) : 0;
}

static void test_heads(void **state)
{
    (void)state;
    /* two classes, five voxels; a mean that rounding pushed beyond 1 */
    const float seg[10] = {0, 1, 0.5f, 0.9f, 1.0000001f, 0.2f, 1, 0.5f, 0.4f, 0},
                step[10] = {0, 1, 0.5f, 0.3f, 1, 0.8f, 0, 0.1f, 0.4f, 1e-7f};
    for (int head = 0; head < 3; head++) {
        float prob[10], uncertainty[5];
        dbi_fuse_heads((dbi_head)head, 1, &(dbi_head_pair){seg, step}, 2, 5, prob, uncertainty);
        for (int v = 0; v < 5; v++) {
            double sum = 0;
            for (int i = v; i < 10; i += 5) {
                double p = head == 0 ? seg[i] : head == 1 ? step[i] : ((double)seg[i] + step[i]) / 2;
                p = fmin(p, 1);
                assert_true(prob[i] >= 0 && prob[i] <= 1 && fabs(prob[i] - p) < 1e-6);
                sum += 1 - (1 - entropy(p)) * (1 - fabs((double)seg[i] - step[i]));
            }
            assert_true(uncertainty[v] >= 0 && uncertainty[v] <= 1 && fabs(uncertainty[v] - sum / 2) < 1e-5);
        }
    }
    const float certain[1] = {1}, other[1] = {0}, half[1] = {0.5f};
    float p, u;
    dbi_fuse_heads(DBI_HEAD_SEG, 1, &(dbi_head_pair){certain, certain}, 1, 1, &p, &u);
    assert_true(u == 0);
    dbi_fuse_heads(DBI_HEAD_SEG, 1, &(dbi_head_pair){certain, other}, 1, 1, &p, &u);
    assert_true(u == 1);
    dbi_fuse_heads(DBI_HEAD_BOTH, 1, &(dbi_head_pair){half, half}, 1, 1, &p, &u);
    assert_true(u == 1);
}

static void test_two_decoders(void **state)
{
    (void)state;
    const float seg[2][2] = {{0.9f, 0.2f}, {0.7f, 0.2f}}, step[2][2] = {{0.8f, 0.2f}, {0.4f, 0.2f}};
    const dbi_head_pair heads[2] = {{seg[0], step[0]}, {seg[1], step[1]}};
    const double expected[3] = {0.8, 0.6, 0.7};
    for (int head = 0; head < 3; head++) {
        float prob[2], uncertainty[2];
        dbi_fuse_heads((dbi_head)head, 2, heads, 1, 2, prob, uncertainty);
        assert_true(fabs(prob[0] - expected[head]) < 1e-6 && fabs(prob[1] - 0.2) < 1e-6);
        assert_true(fabs(uncertainty[0] - (1 - (1 - entropy(expected[head])) * (1 - (0.9 - 0.4)))) < 1e-5);
        assert_true(fabs(uncertainty[1] - entropy(0.2)) < 1e-5);
    }
    float mean[2];
    dbi_mean_of_two(mean, seg[0], seg[1], 2);
    assert_true(fabsf(mean[0] - 0.8f) < 1e-6f && fabsf(mean[1] - 0.2f) < 1e-6f);
}

/* The result may lie over either input, and an input that nothing needs may be missing. */
static void test_in_place(void **state)
{
    (void)state;
    float seg[3] = {0.1f, 0.6f, 0.9f}, step[3] = {0.3f, 0.2f, 0.7f};
    dbi_fuse_heads(DBI_HEAD_BOTH, 1, &(dbi_head_pair){seg, step}, 1, 3, seg, NULL);
    assert_true(fabsf(seg[0] - 0.2f) < 1e-6f && fabsf(seg[1] - 0.4f) < 1e-6f && fabsf(seg[2] - 0.8f) < 1e-6f);
    dbi_fuse_heads(DBI_HEAD_SDF, 1, &(dbi_head_pair){NULL, step}, 1, 3, step, NULL);
    assert_true(step[1] == 0.2f);
    dbi_fuse_heads(DBI_HEAD_SEG, 1, &(dbi_head_pair){seg, NULL}, 1, 3, seg, NULL);
    assert_true(fabsf(seg[2] - 0.8f) < 1e-6f);
}

static void test_label(void **state)
{
    (void)state;
    const float prob[12] = {0.5f,  0.6f,  0.2f, 0.9f, /* class 1 */ 0.4f, 0.7f, 0.3f, 0.9f, /* class 2 */ 0.1f,
                            0.65f, 0.51f, 0.8f /* class 3 */};
    const uint8_t half[4] = {0, 2, 3, 1}, high[4] = {0, 0, 0, 1}, none[4] = {0, 0, 0, 0}, all[4] = {1, 2, 3, 1};
    uint8_t label[4];
    dbi_label_probabilities(prob, 3, 4, 0.5, label);
    assert_memory_equal(label, half, 4);
    dbi_label_probabilities(prob, 3, 4, 0.7, label);
    assert_true(label[0] == high[0] && label[2] == high[2] && label[3] == high[3]);
    dbi_label_probabilities(prob, 3, 4, 1, label);
    assert_memory_equal(label, none, 4);
    dbi_label_probabilities(prob, 3, 4, 0, label);
    assert_memory_equal(label, all, 4);
}

static void test_names(void **state)
{
    (void)state;
    dbi_error error;
    for (int head = 0; head < 3; head++) {
        dbi_head parsed;
        assert_int_equal(dbi_head_parse(dbi_head_name((dbi_head)head), &parsed, &error), 0);
        assert_int_equal(parsed, head);
    }
    dbi_head parsed;
    assert_int_equal(dbi_head_parse("segm", &parsed, &error), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_heads), cmocka_unit_test(test_two_decoders),
                                       cmocka_unit_test(test_in_place), cmocka_unit_test(test_label),
                                       cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
