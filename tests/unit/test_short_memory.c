/* What is written as JSON while memory runs out: whichever allocation of jansson's fails, there is an error, or what
 * there would be otherwise. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cohort/phantom_cohort.h"
#include "method/method.h"
#include "method/run.h"
#include "record/bytes.h"
#include "record/checksum.h"
#include "record/history.h"
#include "record/json.h"
#include "record/metadata.h"
#include "record/record.h"
#include "record/sink.h"
#include "score/table.h"

static size_t calls, failing; /* of jansson's allocations, from 1; 0: none fails */

static void *short_malloc(size_t size)
{
    return ++calls == failing ? NULL : malloc(size);
}

/* `attempt` gives what was written, to be freed, or NULL with an error. */
static void check(char *(*attempt)(dbi_error *error))
{
    dbi_error error = {""};
    failing = calls = 0;
    char *good = attempt(&error);
    if (!good)
        fail_msg("%s", error.text);
    const size_t all = calls;
    assert_true(all > 0);
    for (size_t n = 1; n <= all; n++) {
        failing = n;
        calls = 0;
        error = (dbi_error){""};
        char *got = attempt(&error);
        failing = 0;
        if (got ? strcmp(got, good) != 0 : !*error.text)
            fail_msg("allocation %zu of %zu fails: %s", n, all, got ? got : "no error is set");
        free(got);
    }
    free(good);
}

static int limit_jansson(void **state)
{
    (void)state;
    json_set_alloc_funcs(short_malloc, free);
    return 0;
}

static dbi_record *two_tensors(dbi_error *error)
{
    dbi_record *record = dbi_record_new(error);
    if (!dbi_record_add(record, "a", DBI_F32, 3, (int64_t[]){2, 3, 4}, error) ||
        !dbi_record_add(record, "b", DBI_U8, 0, NULL, error) || dbi_meta_set(record, "kind", "case", error) ||
        dbi_meta_set(record, "id", "x", error))
        fail();
    return record;
}

static char *checksum(dbi_error *error)
{
    dbi_record *record = two_tensors(error);
    char *text = malloc(33);
    if (dbi_record_checksum(record, text, error)) {
        free(text);
        text = NULL;
    }
    dbi_record_free(record);
    return text;
}

static char *history(dbi_error *error)
{
    dbi_record *record = two_tensors(error);
    json_t *settings = json_pack("{s:o}", "seed", dbi_json_seed(UINT64_MAX));
    int status = settings ? dbi_history_add(record, "two", settings, error, "scan", "00ff", NULL)
                          : dbi_fail(error, "out of memory");
    json_decref(settings);
    char *text = status ? NULL : strdup(dbi_meta_get(record, "history"));
    dbi_record_free(record);
    return text;
}

static char *numbers(dbi_error *error)
{
    dbi_record *record = two_tensors(error);
    char *text =
        dbi_meta_set_numbers(record, "v", (double[]){1, 2.5, 3}, 3, error) ? NULL : strdup(dbi_meta_get(record, "v"));
    dbi_record_free(record);
    return text;
}

static json_t *settings_of_dbisl(dbi_error *error)
{
    dbi_method method;
    assert_int_equal(dbi_method_preset("dbisl", &method, error), 0);
    return dbi_method_settings(&method, 100, error);
}

static char *settings_text(dbi_error *error)
{
    json_t *settings = settings_of_dbisl(error);
    char *text = settings ? dbi_json_text(settings, JSON_COMPACT, error) : NULL;
    if (settings && !text)
        dbi_fail(error, "out of memory");
    json_decref(settings);
    return text;
}

static char *run(dbi_error *error)
{
    dbi_record *checkpoint = two_tensors(error), *batch = two_tensors(error);
    json_t *settings = settings_of_dbisl(error);
    dbi_run *training = settings ? dbi_run_open(checkpoint, settings, 1, 0, error) : NULL;
    const bool done = training && !dbi_run_add(training, batch, error) && !dbi_run_store(training, checkpoint, error);
    char *text = done ? strdup(dbi_meta_get(checkpoint, "history")) : NULL;
    dbi_run_close(training);
    dbi_record_free(checkpoint);
    dbi_record_free(batch);
    return text;
}

static char *read_and_remove(const char *path, dbi_error *error)
{
    uint8_t *text;
    size_t size;
    if (dbi_bytes_read(path, 0, &text, &size, error))
        return NULL;
    unlink(path);
    return (char *)text;
}

static char *scores(dbi_error *error)
{
    char path[] = "/tmp/test_short_memory.XXXXXX", id[] = "one";
    close(mkstemp(path));
    dbi_table_case one = {.id = id, .classes = 1};
    one.scores = calloc(1, sizeof *one.scores);
    one.scores[0].value[0] = 0.5;
    const dbi_table table = {.settings = {.tolerance = 1}, .cases = &one, .count = 1, .classes = 1};
    dbi_sink *sink = dbi_sink_open(path, error);
    int status = dbi_table_write_json(&table, sink, error);
    if (status)
        dbi_sink_abort(sink);
    else
        status = dbi_sink_commit(sink, error);
    free(one.scores);
    if (!status)
        return read_and_remove(path, error);
    unlink(path);
    return NULL;
}

static char folder[32], index_path[64];

static char *cohort(dbi_error *error)
{
    dbi_phantom_settings settings = dbi_phantom_defaults();
    settings.size = 16;
    settings.channels = 2;
    return dbi_phantom_write(&settings, 1, 1, folder, NULL, error) ? NULL : read_and_remove(index_path, error);
}

static void test_checksum(void **state)
{
    (void)state;
    check(checksum);
}

static void test_history(void **state)
{
    (void)state;
    check(history);
}

static void test_numbers(void **state)
{
    (void)state;
    check(numbers);
}

static void test_settings(void **state)
{
    (void)state;
    check(settings_text);
}

static void test_run(void **state)
{
    (void)state;
    check(run);
}

static void test_scores(void **state)
{
    (void)state;
    check(scores);
}

static void test_cohort(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(strcpy(folder, "/tmp/test_short_memory.XXXXXX")));
    snprintf(index_path, sizeof index_path, "%s/dataset.json", folder);
    check(cohort);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum), cmocka_unit_test(test_history), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_settings), cmocka_unit_test(test_run),     cmocka_unit_test(test_scores),
        cmocka_unit_test(test_cohort),
    };
    return cmocka_run_group_tests(tests, limit_jansson, NULL);
}
