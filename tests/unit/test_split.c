/* Splits and manifests: every case in one part at most, the parts as asked for, and a file that finds its cases again.
 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cohort/split.h"
#include "record/metadata.h"
#include "record/stream.h"

enum { CASES = 12 };

static char directory[] = "/tmp/test_split.XXXXXX";
static dbi_error error;
static char paths[CASES][32];
static const char *cases[CASES];

static void save_case(const char *path, const char *id, bool label, int channels, const char *classes,
                      const char *preprocessing)
{
    dbi_record *record = dbi_record_new(&error);
    assert_non_null(dbi_record_add(record, "image", DBI_F32, 4, (int64_t[]){channels, 2, 3, 4}, &error));
    if (label)
        assert_non_null(dbi_record_add(record, "label", DBI_U8, 3, (int64_t[]){2, 3, 4}, &error));
    dbi_meta_set(record, "kind", "case", &error);
    dbi_meta_set(record, "id", id, &error);
    dbi_meta_set(record, "preprocessing", preprocessing, &error);
    if (label)
        dbi_meta_set(record, "classes", classes, &error);
    remove(path);
    if (dbi_record_save(record, path, &(dbi_compression){0}, &error))
        fail_msg("%s", error.text);
    dbi_record_free(record);
}

/* c00 ... c11; c02 and c09 have no label. */
static int make_cases(void **state)
{
    (void)state;
    if (!mkdtemp(directory) || chdir(directory) || mkdir("cases", 0777) || mkdir("runs", 0777))
        return -1;
    for (int i = 0; i < CASES; i++) {
        char id[16];
        snprintf(id, sizeof id, "c%02d", i);
        snprintf(paths[i], sizeof paths[i], "cases/%s.st.zst", id);
        save_case(paths[i], id, i != 2 && i != 9, 1, "1", "{}");
        cases[i] = paths[i];
    }
    return 0;
}

static int remove_one(const char *path, const struct stat *is, int kind, struct FTW *place)
{
    (void)is, (void)kind, (void)place;
    return remove(path);
}

static int remove_directory(void **state)
{
    (void)state;
    return chdir("/") || nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* "0 1 3|2 4|..." : the numbers of the cases of each part, in order. */
static char *describe(const dbi_manifest *m)
{
    static char text[256];
    char *to = text;
    *to = 0;
    for (int part = 0; part < DBI_PARTS; part++) {
        for (size_t i = 0; i < m->count; i++)
            if (m->rows[i].part == (dbi_part)part)
                to += sprintf(to, "%d ", atoi(m->rows[i].id + 1));
        to += sprintf(to, "|");
    }
    return text;
}

static void expect_split(const dbi_split_settings *s, const char *wanted)
{
    dbi_manifest m;
    if (dbi_split(cases, CASES, s, &m, &error))
        fail_msg("%s", error.text);
    assert_string_equal(describe(&m), wanted);
    dbi_manifest_free(&m);
}

static void expect_fault(const char *const *paths_, size_t count, const dbi_split_settings *s, const char *text)
{
    dbi_manifest m;
    assert_int_equal(dbi_split(paths_, count, s, &m, &error), -1);
    if (!strstr(error.text, text))
        fail_msg("%s instead of: %s", error.text, text);
    assert_null(m.rows);
}

static void write_text(const char *path, const char *text)
{
    remove(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void test_by_number(void **state)
{
    (void)state;
    dbi_split_settings s = dbi_split_defaults();
    expect_split(&s, "0 1 3 4 5 6 7 8 10 11 |2 9 |||");
    s.count[DBI_PART_LABELED] = 3;
    expect_split(&s, "0 1 3 |2 4 5 6 7 8 9 10 11 |||");
    s.count[DBI_PART_VALIDATION] = 2;
    s.count[DBI_PART_TEST] = 2;
    expect_split(&s, "0 1 3 |2 4 5 6 9 |7 8 |10 11 |");
    s.count[DBI_PART_UNLABELED] = 2;
    expect_split(&s, "0 1 3 |2 4 |7 8 |10 11 |");
    s.count[DBI_PART_LABELED] = 0;
    s.count[DBI_PART_UNLABELED] = 0;
    expect_split(&s, "||7 8 |10 11 |");
    s.count[DBI_PART_LABELED] = 7;
    expect_fault(cases, CASES, &s, "the labeled part needs 7 cases with a label, 6 are left");
    s.count[DBI_PART_TEST] = 11;
    expect_fault(cases, CASES, &s, "the test part needs 11 cases with a label, 10 are left");
}

static void test_by_lists(void **state)
{
    (void)state;
    write_text("lab", "c05\r\n\nc01"); /* DOS line ends, empty lines, no last line feed */
    write_text("unlab", "c02\nc00\n");
    write_text("val", "c09\n"); /* without a label, but asked for */
    write_text("tst", "c11\nc10\n");
    dbi_split_settings s = dbi_split_defaults();
    s.list[DBI_PART_LABELED] = "lab";
    s.list[DBI_PART_TEST] = "tst";
    expect_split(&s, "1 5 |0 2 3 4 6 7 8 9 ||10 11 |");
    s.list[DBI_PART_UNLABELED] = "unlab";
    s.list[DBI_PART_VALIDATION] = "val";
    expect_split(&s, "1 5 |0 2 |9 |10 11 |");
    s.list[DBI_PART_LABELED] = NULL;
    s.count[DBI_PART_LABELED] = 2;
    expect_split(&s, "1 3 |0 2 |9 |10 11 |");
    s.list[DBI_PART_LABELED] = "lab";
    expect_fault(cases, CASES, &s, "both a list and a number");
    s.count[DBI_PART_LABELED] = -1;
    write_text("lab", "c01\nc02\n");
    s.list[DBI_PART_UNLABELED] = NULL;
    expect_fault(cases, CASES, &s,
                 "lab: line 2: an unlabelled case in the labelled list: \"c02\" (cases/c02.st.zst) has no label");
    write_text("lab", "c01\nc99\n");
    expect_fault(cases, CASES, &s, "lab: line 2: no case has the id \"c99\"");
    write_text("lab", "c01\nc01\n");
    expect_fault(cases, CASES, &s, "lab: line 2: \"c01\" is in the labeled part already");
    write_text("lab", "c01\nc11\n");
    expect_fault(cases, CASES, &s, "tst: line 1: \"c11\" is in the labeled part already");
    write_text("lab", "");
    expect_fault(cases, CASES, &s, "lab: the file is empty");
    s.list[DBI_PART_LABELED] = "nowhere";
    expect_fault(cases, CASES, &s, "nowhere: No such file");
}

/* Over all folds, every case with a label is validated exactly once, and never trained on at the same time. */
static void test_folds(void **state)
{
    (void)state;
    for (int shuffled = 0; shuffled < 2; shuffled++)
        for (int folds = 2; folds <= 8; folds++) {
            int seen[CASES] = {0};
            for (int fold = 1; fold <= folds; fold++) {
                dbi_split_settings s = dbi_split_defaults();
                s.count[DBI_PART_TEST] = 2;
                s.count[DBI_PART_LABELED] = 3;
                s.fold = fold;
                s.folds = folds;
                s.shuffle = shuffled;
                dbi_manifest m;
                assert_int_equal(dbi_split(cases, CASES, &s, &m, &error), 0);
                int parts[DBI_PARTS] = {0};
                assert_int_equal(m.count, CASES);
                for (size_t i = 0; i < m.count; i++) {
                    parts[m.rows[i].part]++;
                    seen[atoi(m.rows[i].id + 1)] += m.rows[i].part == DBI_PART_VALIDATION ? 1
                                                    : m.rows[i].part == DBI_PART_TEST     ? 100
                                                                                          : 0;
                }
                assert_int_equal(parts[DBI_PART_LABELED], 3);
                assert_int_equal(parts[DBI_PART_TEST], 2);
                assert_in_range(parts[DBI_PART_VALIDATION], 8 / folds, (8 + folds - 1) / folds);
                dbi_manifest_free(&m);
            }
            for (int i = 0; i < CASES; i++)
                assert_true(seen[i] == (i == 2 || i == 9 ? 0 : 1) || seen[i] == 100 * folds);
        }
    dbi_split_settings s = dbi_split_defaults();
    s.folds = 11;
    s.fold = 1;
    expect_fault(cases, CASES, &s, "11 folds need as many cases with a label, 10 are left");
    s.fold = 12;
    expect_fault(cases, CASES, &s, "fold 12 of 11");
    s.fold = 2;
    s.count[DBI_PART_VALIDATION] = 1;
    expect_fault(cases, CASES, &s, "a fold is the validation part");
}

static void test_random_order(void **state)
{
    (void)state;
    dbi_split_settings s = dbi_split_defaults();
    s.count[DBI_PART_LABELED] = 3;
    s.shuffle = true;
    int first[CASES] = {0}, repeated = 0;
    char before[256] = "";
    for (s.seed = 0; s.seed < 300; s.seed++) {
        dbi_manifest m, turned;
        const char *backwards[CASES];
        for (int i = 0; i < CASES; i++)
            backwards[i] = cases[CASES - 1 - i];
        assert_int_equal(dbi_split(cases, CASES, &s, &m, &error), 0);
        for (size_t i = 0; i < 3; i++)
            first[atoi(m.rows[i].id + 1)]++;
        repeated += !strcmp(before, describe(&m));
        strcpy(before, describe(&m));
        if (s.seed < 5) {
            assert_int_equal(dbi_split(backwards, CASES, &s, &turned, &error), 0);
            assert_string_equal(before, describe(&turned));
            dbi_manifest_free(&turned);
        }
        dbi_manifest_free(&m);
    }
    assert_in_range(repeated, 0, 3);
    for (int i = 0; i < CASES; i++) /* 90 each; standard deviation 8 */
        assert_in_range(first[i], i == 2 || i == 9 ? 0 : 55, i == 2 || i == 9 ? 0 : 125);
}

static void test_cases_that_do_not_fit(void **state)
{
    (void)state;
    dbi_split_settings s = dbi_split_defaults();
    const char *two[] = {paths[0], "odd.st.zst"};
    save_case("odd.st.zst", "odd", true, 1, "1", "{\"downsample\":2}");
    expect_fault(two, 2, &s, "odd.st.zst: prepared with {\"downsample\":2}, but cases/c00.st.zst with {}");
    save_case("odd.st.zst", "odd", true, 2, "1", "{}");
    expect_fault(two, 2, &s, "odd.st.zst: 2 channels, but cases/c00.st.zst has 1");
    save_case("odd.st.zst", "odd", true, 1, "2", "{}");
    expect_fault(two, 2, &s, "odd.st.zst: 2 classes, but cases/c00.st.zst has 1");
    save_case("odd.st.zst", "c00", true, 1, "1", "{}");
    expect_fault(two, 2, &s, "the id \"c00\" is that of");
    save_case("odd.st.zst", "", true, 1, "1", "{}");
    expect_fault(two, 2, &s, "odd.st.zst: record 0: the id is empty");
    write_text("odd.st.zst", "no tensor file at all");
    expect_fault(two, 2, &s, "odd.st.zst: record 0");
    write_text("odd.st.zst", "");
    expect_fault(two, 2, &s, "odd.st.zst: ");
    remove("odd.st.zst");
    expect_fault(two, 2, &s, "odd.st.zst: ");
    two[1] = "-";
    expect_fault(two, 2, &s, "standard input");
    two[1] = paths[0]; /* the same file twice */
    expect_fault(two, 2, &s, "the id \"c00\" is that of");
    expect_fault(two, 0, &s, "no cases");
}

/* What is written is read again from anywhere, after a move of the whole folder, too. */
static void test_manifest_round_trip(void **state)
{
    (void)state;
    dbi_split_settings s = dbi_split_defaults();
    s.count[DBI_PART_LABELED] = 4;
    dbi_manifest m, again;
    char absolute[256];
    snprintf(absolute, sizeof absolute, "%s/%s", directory, paths[3]);
    const char *some[CASES];
    memcpy(some, cases, sizeof some);
    some[3] = absolute;
    assert_int_equal(dbi_split(some, CASES, &s, &m, &error), 0);
    if (dbi_manifest_write(&m, "runs/split.tsv", &error))
        fail_msg("%s", error.text);
    assert_int_equal(dbi_manifest_read("runs/split.tsv", &again, &error), 0);
    assert_int_equal(again.count, m.count);
    for (size_t i = 0; i < m.count; i++) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "runs/../cases/%s.st.zst", m.rows[i].id);
        assert_string_equal(again.rows[i].path, wanted);
        assert_string_equal(again.rows[i].id, m.rows[i].id);
        assert_int_equal(again.rows[i].part, m.rows[i].part);
        assert_int_equal(access(again.rows[i].path, R_OK), 0);
    }
    dbi_manifest_free(&again);
    dbi_manifest_free(&m);
    assert_int_equal(
        mkdir("moved", 0777) || rename("runs", "moved/runs") || rename("cases", "moved/cases") || chdir("/"), 0);
    snprintf(absolute, sizeof absolute, "%s/moved/runs/split.tsv", directory);
    assert_int_equal(dbi_manifest_read(absolute, &again, &error), 0);
    for (size_t i = 0; i < again.count; i++)
        assert_int_equal(access(again.rows[i].path, R_OK), 0);
    dbi_manifest_free(&again);
    assert_int_equal(chdir(directory) || rename("moved/runs", "runs") || rename("moved/cases", "cases"), 0);
}

static void test_manifest_faults(void **state)
{
    (void)state;
    static const struct {
        const char *text, *fault;
    } faults[] = {
        {"", "empty"},
        {"path,id,part\n", "line 1: not the header"},
        {"path\tid\tparts\na\tb\tlabeled\n", "line 1: not the header"},
        {"path\tid\tpart\na\tb\n", "line 2: not three columns"},
        {"path\tid\tpart\na\tb\tlabeled\n\nc\td\ttraining\n", "line 4: \"training\": write labeled"},
        {"path\tid\tpart\n\tb\tlabeled\n", "line 2: the path is empty"},
        {"path\tid\tpart\na\t\tlabeled\n", "line 2: the id is empty"},
        {"path\tid\tpart\na\tb\tlabeled\nc\tb\ttest\n", "the id \"b\" is there twice"},
        {"path\tid\tpart\na\tb\tlabeled\na\tc\ttest\n", "the path \"a\" is there twice"},
    };
    dbi_manifest m;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        write_text("bad.tsv", faults[i].text);
        assert_int_equal(dbi_manifest_read("bad.tsv", &m, &error), -1);
        if (!strstr(error.text, faults[i].fault) || strncmp(error.text, "bad.tsv: ", 9))
            fail_msg("%s instead of: %s", error.text, faults[i].fault);
    }
    FILE *file = fopen("bad.tsv", "w");
    fwrite("path\tid\tpart\na\0b\tc\tlabeled\n", 1, 28, file);
    fclose(file);
    assert_int_equal(dbi_manifest_read("bad.tsv", &m, &error), -1);
    assert_non_null(strstr(error.text, "not a text file"));
    write_text("good.tsv", "path\tid\tpart\tnote\n/a\tb\tlabeled\tmine\nc\td\ttest\n");
    assert_int_equal(dbi_manifest_read("good.tsv", &m, &error), 0);
    assert_int_equal(m.count, 2);
    assert_string_equal(m.rows[0].path, "/a");
    dbi_manifest_free(&m);
    dbi_manifest tabs = {0};
    assert_int_equal(dbi_manifest_add(&tabs, "a\tb", "id", DBI_PART_TEST, &error), 0);
    assert_int_equal(dbi_manifest_write(&tabs, "tabs.tsv", &error), -1);
    assert_int_not_equal(access("tabs.tsv", F_OK), 0);
    dbi_manifest_free(&tabs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_number),
        cmocka_unit_test(test_by_lists),
        cmocka_unit_test(test_folds),
        cmocka_unit_test(test_random_order),
        cmocka_unit_test(test_cases_that_do_not_fit),
        cmocka_unit_test(test_manifest_round_trip),
        cmocka_unit_test(test_manifest_faults),
    };
    return cmocka_run_group_tests(tests, make_cases, remove_directory);
}
