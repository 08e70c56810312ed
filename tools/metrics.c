/* dbisl-metrics: predictions and references -> scores. */
#include <stdlib.h>
#include <string.h>

#include "image/case_id.h"
#include "image/components.h"
#include "image/scan.h"
#include "record/sink.h"
#include "score/table.h"
#include "tool.h"

typedef struct arguments {
    dbi_table_settings settings;
    bool json, summary, largest;
    tool_files files;
} arguments;

enum { KEY_UNIT = 1, KEY_TOLERANCE, KEY_JSON, KEY_SUMMARY, KEY_LARGEST };

static const struct argp_option options[] = {
    {"unit", KEY_UNIT, "UNIT", 0, "Distances and volumes in voxel (the default) or mm", 0},
    {"tolerance", KEY_TOLERANCE, "T", 0, "How far apart surfaces may be for surface_dice, in that unit (default 1)", 0},
    {"largest", KEY_LARGEST, 0, 0, "Keep the largest component of each class of the predictions", 0},
    {"summary", KEY_SUMMARY, 0, 0, "Print the summary over the cases instead of the cases", 0},
    {"json", KEY_JSON, 0, 0, "Print cases and summary as JSON", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_UNIT:
        a->settings.mm = tool_either(state, "unit", arg, "voxel", "mm");
        return 0;
    case KEY_TOLERANCE:
        a->settings.tolerance = tool_number(state, "tolerance", arg, 0, 1e6);
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case KEY_SUMMARY:
        a->summary = true;
        return 0;
    case KEY_LARGEST:
        a->largest = true;
        return 0;
    case ARGP_KEY_ARGS:
        a->files = tool_arguments(state);
        return 0;
    case ARGP_KEY_END:
        if (!a->files.count || a->files.count % 2)
            argp_error(state, "give each prediction with its reference: %d files are no pairs", a->files.count);
        if (a->json && a->summary)
            argp_error(state, "choose --json or --summary: the JSON has the summary, too");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int add(const arguments *a, dbi_table *table, dbi_label *prediction, const dbi_label *reference,
               dbi_error *error)
{
    if (dbi_label_check(prediction, reference, error) ||
        (a->largest && dbi_largest_components(prediction->voxels, prediction->grid.shape, prediction->most, error)))
        return -1;
    return dbi_table_add(table, prediction, reference, error);
}

/* Scores all records of two files, pair by pair. */
static int add_files(const arguments *a, dbi_table *table, const char *predictions, const char *references,
                     dbi_error *error)
{
    dbi_label_reader *p = dbi_label_open(predictions, error), *r = p ? dbi_label_open(references, error) : NULL;
    int status = r ? 0 : -1;
    for (int index = 0; !status; index++) {
        dbi_label prediction, reference = {0};
        const int has_prediction = dbi_label_next(p, &prediction, error),
                  has_reference = has_prediction < 0 ? 0 : dbi_label_next(r, &reference, error);
        if (has_prediction < 0 || has_reference < 0)
            status = -1;
        else if (has_prediction != has_reference)
            status = dbi_fail(error, "%s: %s records than in %s", predictions, has_prediction ? "more" : "fewer",
                              references);
        else if (has_prediction && add(a, table, &prediction, &reference, error))
            status = dbi_fail_in(error, "%s: record %d", predictions, index);
        dbi_label_free(&prediction);
        dbi_label_free(&reference);
        if (!has_prediction)
            break;
    }
    dbi_label_close(p);
    dbi_label_close(r);
    return status;
}

static bool same_name(const char *a, const char *b, dbi_error *error)
{
    char *first = dbi_case_id(a, error), *second = first ? dbi_case_id(b, error) : NULL;
    const bool same = second && !strcmp(first, second), failed = !second;
    free(first);
    free(second);
    if (failed)
        tool_die(error);
    return same;
}

static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash + 1 - path) : 0;
}

static bool one_folder(const char *a, const char *b)
{
    const size_t length = folder_length(a);
    return length == folder_length(b) && !memcmp(a, b, length);
}

/* Whether these are all predictions and then all references, each from a folder of its own, as a shell makes them of
 * two patterns. With two pairs the order may be meant: CASE1/pred CASE1/ref CASE2/pred CASE2/ref. */
static bool are_lists(const tool_files *files)
{
    const int half = files->count / 2;
    for (int i = 1; i < half; i++)
        if (!one_folder(files->names[0], files->names[i]) || !one_folder(files->names[half], files->names[half + i]))
            return false;
    return half >= 3 && !one_folder(files->names[0], files->names[half]);
}

/* Records have ids, scans do not: pairs of scans with different names may be a mistake. */
static void check_names(const tool_files *files)
{
    dbi_error error;
    if (files->count < 4)
        return;
    for (int i = 0; i < files->count; i += 2) {
        const char *prediction = files->names[i], *reference = files->names[i + 1];
        if (same_name(prediction, reference, &error))
            continue;
        if (are_lists(files)) {
            dbi_fail(&error, "%s would be scored against %s: give the reference of each prediction right behind it",
                     prediction, reference);
            tool_die(&error);
        }
        if (dbi_is_scan(prediction) && dbi_is_scan(reference)) {
            tool_warn("%s is scored against %s, which has another name", prediction, reference);
            return;
        }
    }
}

int main(int argc, char **argv)
{
    arguments a = {.settings = {.tolerance = 1}};
    tool_options tool;
    dbi_error error;
    tool_parse(argc, argv, "dbisl-metrics", TOOL_OUTPUT | TOOL_THREADS | TOOL_SEED | TOOL_PROGRESS, options, parse,
               "PREDICTION REFERENCE [PREDICTION REFERENCE...]", "Scores predicted labels against reference labels.",
               &a, &tool);
    tool_reads_all(a.files);
    tool_writes(tool.output, TOOL_TEXT, NULL);
    check_names(&a.files);
    dbi_table table = {.settings = a.settings};
    table.settings.seed = tool.seed;
    for (int i = 0; i < a.files.count; i += 2) {
        tool_progress("%d of %d", i / 2 + 1, a.files.count / 2);
        if (add_files(&a, &table, a.files.names[i], a.files.names[i + 1], &error))
            tool_die(&error);
    }
    tool_progress_end();
    dbi_sink *sink = tool_sink(&tool);
    int status = a.json      ? dbi_table_write_json(&table, sink, &error)
                 : a.summary ? dbi_table_write_summary(&table, sink, &error)
                             : dbi_table_write_cases(&table, sink, &error);
    tool_commit(sink, status, &error);
    dbi_table_free(&table);
    return TOOL_DONE;
}
