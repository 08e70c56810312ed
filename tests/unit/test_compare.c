/* The signed-rank test against scipy's and against all tosses of the signs; comparisons against what can be worked out
 * by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "score/compare.h"
#include "score/signed_rank.h"

/* ---- signed ranks ---- */

static double p_of(const double *differences, size_t count)
{
    double p = NAN;
    dbi_error error;
    assert_int_equal(dbi_signed_rank(differences, count, &p, &error), 0);
    return p;
}

/* scipy.stats.wilcoxon(d, mode="exact"), and mode="approx" for more than a hundred; scipy 1.10. */
static void test_scipy(void **state)
{
    (void)state;
    const double a[] = {0.031, -0.012, 0.154, 0.077, -0.045, 0.102, 0.018, 0.063, -0.008, 0.121, 0.057, 0.089};
    const double b[] = {1, 2, -3, 4, 5, -6, 7, 8, 9, -10, 11, 12, 13, 14, -15, 16};
    const double c[] = {1, 2, 3, 4, 5}, one[] = {1.5};
    assert_float_equal(p_of(a, 12), 0.01220703125, 1e-12);
    assert_float_equal(p_of(b, 16), 0.083251953125, 1e-12);
    assert_float_equal(p_of(c, 5), 0.0625, 1e-12);
    assert_float_equal(p_of(one, 1), 1, 1e-12);
    double d[150];
    for (int i = 0; i < 60; i++)
        d[i] = i * 37 % 61 - 25.25;
    assert_float_equal(p_of(d, 60), 0.05015683352005865, 1e-12);
    for (int i = 0; i < 150; i++)
        d[i] = (i * 37 % 151 - 70) / 10.0;
    assert_float_equal(p_of(d, 150), 0.19816740409329547, 1e-9);
    for (int i = 0; i < 150; i++)
        d[i] = i * 37 % 50 - 23;
    assert_float_equal(p_of(d, 150), 0.2132716690350911, 1e-9);
}

/* The p value by its definition: mean ranks of the sizes, and all ways to give signs to them. */
static double p_by_definition(const double *differences, size_t count)
{
    double size[12], rank[12];
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (differences[i] != 0)
            size[n++] = differences[i];
    double sum = 0, below = 0, above = 0;
    for (size_t i = 0; i < n; i++) {
        rank[i] = 0.5;
        for (size_t k = 0; k < n; k++)
            rank[i] += (fabs(size[k]) < fabs(size[i])) + 0.5 * (fabs(size[k]) == fabs(size[i]));
        sum += size[i] > 0 ? rank[i] : 0;
    }
    for (uint32_t signs = 0; signs < 1u << n; signs++) {
        double tossed = 0;
        for (size_t i = 0; i < n; i++)
            tossed += signs >> i & 1 ? rank[i] : 0;
        below += tossed <= sum;
        above += tossed >= sum;
    }
    return fmin(1, 2 * fmin(below, above) / (double)(1u << n));
}

static void test_ties_and_zeros(void **state)
{
    (void)state;
    dbi_random r;
    dbi_random_start(&r, 11, DBI_ROLE_TEST, 0, 0);
    for (int trial = 0; trial < 300; trial++) {
        double d[12], turned[12];
        const size_t n = 1 + dbi_random_below(&r, 12);
        const uint32_t kinds = 1 + dbi_random_below(&r, 9);
        for (size_t i = 0; i < n; i++) {
            d[i] = (double)dbi_random_below(&r, kinds + 3) - kinds / 2;
            turned[i] = -d[i];
        }
        assert_float_equal(p_of(d, n), p_by_definition(d, n), 1e-12);
        assert_float_equal(p_of(d, n), p_of(turned, n), 1e-12);
    }
    const double zeros[3] = {0};
    assert_true(p_of(zeros, 3) == 1 && p_of(zeros, 0) == 1);
}

/* Where the exact distribution ends, the approximation (scipy's) is close to it. */
static void test_both_ways_agree(void **state)
{
    (void)state;
    double d[DBI_SIGNED_RANK_EXACT + 1];
    for (int i = 0; i <= DBI_SIGNED_RANK_EXACT; i++)
        d[i] = i * 37 % 101 - 40.5;
    assert_float_equal(p_of(d, DBI_SIGNED_RANK_EXACT), 0.003831433127470124, 5e-4);
    assert_float_equal(p_of(d, DBI_SIGNED_RANK_EXACT + 1), 0.003067598930140447, 1e-9);
}

/* ---- comparisons ---- */

static const char header[] =
    "method\tvariant\tlabels\tseed\tcase\tclass\tlargest\tdice\tjaccard\thd95\tasd\tempty\tsettings\n";

/* Reads a table from a file of its own. */
static int read_text(dbi_results *results, const char *text, dbi_error *error)
{
    char path[] = "/tmp/test_compare.XXXXXX";
    const int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
    const int status = dbi_results_read(results, path, error);
    unlink(path);
    return status;
}

static void add_row(char *text, const char *method, const char *variant, int seed, const char *id, int class,
                    const char *dice, const char *empty)
{
    sprintf(text + strlen(text), "%s\t%s\t8\t%d\t%s\t%d\t0\t%s\t0.5\t2\t1\t%s\th%d\n", method, variant, seed, id, class,
            dice, empty, seed);
}

static const dbi_compared *find(const dbi_compare_table *table, const char *method, const char *class)
{
    for (size_t i = 0; i < table->count; i++)
        if (!strcmp(table->rows[i].method, method) && !strcmp(table->rows[i].class, class))
            return table->rows + i;
    return NULL;
}

static void test_by_hand(void **state)
{
    (void)state;
    char text[8192];
    dbi_error error;
    strcpy(text, header);
    /* Case means of a: 0.3, 0.5, 0.7; of b with seed 1 alone: 0.6, 0.5, 1; a with that seed: 0.2, 0.4, 0.6. */
    const char *const a[2][3] = {{"0.2", "0.4", "0.6"}, {"0.4", "0.6", "0.8"}}, *const b[3] = {"0.6", "0.5", "1"},
                      *const ids[3] = {"x", "y", "z"};
    for (int seed = 0; seed < 2; seed++)
        for (int i = 0; i < 3; i++)
            add_row(text, "a", "-", seed + 1, ids[i], 1, a[seed][i], "none");
    for (int i = 2; i >= 0; i--)
        add_row(text, "b", "off", 1, ids[i], 1, b[i], i == 1 ? "prediction" : i == 2 ? "both" : "none");
    dbi_results *results = dbi_results_new(&error);
    assert_int_equal(read_text(results, text, &error), 0);
    assert_int_equal(read_text(results, text, &error), 0); /* twice the same says nothing new */
    dbi_compare_table table;
    assert_int_equal(dbi_compare(results, "a", 0, &table, &error), 0);
    assert_int_equal(table.count, 2);
    const dbi_compared *first = find(&table, "a", "1"), *second = find(&table, "b+off", "1");
    assert_true(first == table.rows && first->seeds == 2 && first->cases == 3 && first->empty == 0);
    assert_float_equal(first->score[DBI_RESULT_DICE].mean, 0.5, 1e-12);
    assert_float_equal(first->score[DBI_RESULT_DICE].sd, sqrt(0.02), 1e-12); /* of 0.4 and 0.6 */
    assert_true(first->score[DBI_RESULT_DICE].low >= 0.3 && first->score[DBI_RESULT_DICE].high <= 0.7);
    assert_int_equal(first->score[DBI_RESULT_DICE].pairs, 0);
    const dbi_compared_score *dice = second->score + DBI_RESULT_DICE;
    assert_true(second->seeds == 1 && second->cases == 3 && second->empty == 1);
    assert_float_equal(dice->mean, 0.7, 1e-12);
    assert_true(isnan(dice->sd) && dice->pairs == 3 && dice->seeds == 1);
    assert_float_equal(dice->difference, 0.3, 1e-12); /* of 0.4, 0.1, 0.4 */
    assert_float_equal(dice->p, 0.25, 1e-12);
    assert_true(dice->difference_low >= 0.1 - 1e-12 && dice->difference_high <= 0.4 + 1e-12);
    dbi_compare_table_free(&table);
    assert_int_equal(dbi_compare(results, "c", 0, &table, &error), -1);
    assert_non_null(strstr(error.text, "baseline c"));
    dbi_results_free(results);
}

static void test_missing(void **state)
{
    (void)state;
    char text[8192];
    dbi_error error;
    strcpy(text, header);
    add_row(text, "a", "-", 1, "x", 1, "nan", "none");
    add_row(text, "a", "-", 2, "x", 1, "0.4", "none");
    add_row(text, "a", "-", 1, "y", 1, "0.8", "none");
    add_row(text, "a", "-", 2, "y", 1, "-", "none");
    add_row(text, "b", "-", 1, "x", 1, "nan", "none");
    add_row(text, "b", "-", 1, "y", 1, "0.9", "none");
    dbi_results *results = dbi_results_new(&error);
    assert_int_equal(read_text(results, text, &error), 0);
    dbi_compare_table table;
    assert_int_equal(dbi_compare(results, "a", 0, &table, &error), 0);
    const dbi_compared_score *a = table.rows[0].score, *b = table.rows[1].score;
    assert_true(a->missing == 2 && b->missing == 1 && table.rows[0].score[DBI_RESULT_ASD].missing == 0);
    assert_float_equal(a->mean, 0.6, 1e-12);
    assert_float_equal(b->mean, 0.9, 1e-12);
    assert_int_equal(b->pairs, 1); /* x has no number with the seed that both have */
    assert_float_equal(b->difference, 0.1, 1e-12);
    dbi_compare_table_free(&table);
    dbi_results_free(results);
}

static void test_classes(void **state)
{
    (void)state;
    char text[8192];
    dbi_error error;
    strcpy(text, header);
    add_row(text, "a", "-", 1, "x", 1, "0.2", "prediction");
    add_row(text, "a", "-", 1, "x", 2, "0.6", "none");
    add_row(text, "a", "-", 1, "y", 1, "0.4", "none");
    add_row(text, "a", "-", 1, "y", 2, "1", "none");
    dbi_results *results = dbi_results_new(&error);
    assert_int_equal(read_text(results, text, &error), 0);
    dbi_compare_table table;
    assert_int_equal(dbi_compare(results, NULL, 0, &table, &error), 0);
    assert_int_equal(table.count, 3);
    assert_float_equal(find(&table, "a", "1")->score->mean, 0.3, 1e-12);
    assert_float_equal(find(&table, "a", "2")->score->mean, 0.8, 1e-12);
    const dbi_compared *mean = find(&table, "a", "mean");
    assert_true(mean == table.rows + 2 && mean->cases == 2 && mean->empty == 1);
    assert_float_equal(mean->score->mean, 0.55, 1e-12);
    dbi_compare_table_free(&table);
    dbi_results_free(results);
}

/* Each text is refused, with these words in the error. */
static void test_bad(void **state)
{
    (void)state;
    const struct {
        const char *rows, *words;
    } bad[] = {
        {"", "no results"},
        {"a\t-\t8\t1\tx\t1\t0\t0.5\t0.5\t2\n", "line 2: no asd"},
        {"a\t-\t8\t1\tx\t1\t2\t0.5\t0.5\t2\t1\tnone\th\n", "line 2: largest"},
        {"a\t-\t8\t1\tx\t1\t0\t0.5x\t0.5\t2\t1\tnone\th\n", "line 2: dice: \"0.5x\""},
        {"a\t-\t8\t\tx\t1\t0\t0.5\t0.5\t2\t1\tnone\th\n", "line 2: no seed"},
        {"a\t-\t8\t1\tx\t1\t0\t0.5\t0.5\t2\t1\tnone\th\na\t-\t8\t1\tx\t1\t0\t0.6\t0.5\t2\t1\tnone\th\n",
         "other scores"},
        {"a\t-\t8\t1\tx\t1\t0\t0.5\t0.5\t2\t1\tnone\th\na\t-\t8\t1\tx\t1\t0\t0.5\t0.5\t2\t1\tnone\tg\n",
         "other settings"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[1024];
        dbi_error error;
        dbi_compare_table table;
        dbi_results *results = dbi_results_new(&error);
        snprintf(text, sizeof text, "%s%s", header, bad[i].rows);
        assert_true(read_text(results, text, &error) || dbi_compare(results, NULL, 0, &table, &error));
        if (!strstr(error.text, bad[i].words))
            fail_msg("\"%s\" without \"%s\"", error.text, bad[i].words);
        dbi_results_free(results);
    }
    dbi_error error;
    dbi_results *results = dbi_results_new(&error);
    assert_int_equal(read_text(results, "", &error), -1);
    assert_int_equal(read_text(results, "method\tvariant\n", &error), -1);
    assert_non_null(strstr(error.text, "no column \"labels\""));
    assert_int_equal(read_text(results, "method\tmethod\n", &error), -1);
    assert_non_null(strstr(error.text, "two columns"));
    dbi_results_free(results);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scipy),   cmocka_unit_test(test_ties_and_zeros), cmocka_unit_test(test_both_ways_agree),
        cmocka_unit_test(test_by_hand), cmocka_unit_test(test_missing),        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
