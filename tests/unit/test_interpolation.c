/* Places and shares of the interpolation against their formula in floating point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "net/interpolation_math.h"

static double formula(int64_t o, int64_t i, int64_t n)
{
    const double away = fabs((double)o * (double)(n - 1) / (double)(2 * n - 1) - (double)i);
    return away < 1 ? 1 - away : 0;
}

static void test_shares_are_those_of_the_formula(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 70; n++)
        for (int64_t o = 0; o < 2 * n; o++) {
            const dbi_interpolation p = dbi_interpolation_at(o, n);
            double sum = 0;
            assert_true(p.low >= 0 && p.low <= p.high && p.high < n && p.share >= 0 && p.share < 1);
            for (int64_t i = 0; i < n; i++) {
                sum += dbi_interpolation_share(o, i, n);
                assert_true(fabs(dbi_interpolation_share(o, i, n) - formula(o, i, n)) < 1e-12);
            }
            assert_true(fabs(sum - 1) < 1e-12);
        }
}

/* Both ends of the output are the input's ends; sizes of all networks, and a long one. */
static void test_corners_are_aligned(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 5, 40, 1000003};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int64_t n = sizes[s];
        const dbi_interpolation first = dbi_interpolation_at(0, n), last = dbi_interpolation_at(2 * n - 1, n);
        assert_true(first.low == 0 && first.share == 0 && last.low == n - 1 && last.share == 0);
    }
}

/* Nothing that has a share is left out, and nothing else is in the range. */
static void test_ranges_are_where_shares_are(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 70; n++)
        for (int64_t i = 0; i < n; i++) {
            const dbi_interpolation_range r = dbi_interpolation_range_of(i, n);
            assert_true(r.begin >= 0 && r.end <= 2 * n && r.end - r.begin <= DBI_INTERPOLATION_MOST);
            for (int64_t o = 0; o < 2 * n; o++)
                assert_int_equal(dbi_interpolation_share(o, i, n) > 0, o >= r.begin && o < r.end);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_are_those_of_the_formula),
        cmocka_unit_test(test_corners_are_aligned),
        cmocka_unit_test(test_ranges_are_where_shares_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
