/* dbisl-compare: tables of results of many trainings -> the methods' scores and their differences to a baseline. */
#include "record/sink.h"
#include "score/compare_table.h"
#include "tool.h"

typedef struct arguments {
    const char *baseline;
    dbi_compare_format format;
    tool_files files;
} arguments;

enum { KEY_BASELINE = 1, KEY_MARKDOWN, KEY_TSV };

static const struct argp_option options[] = {
    {"baseline", KEY_BASELINE, "METHOD", 0, "Compare all others with METHOD or METHOD+VARIANT", 0},
    {"markdown", KEY_MARKDOWN, 0, 0, "Write tables in Markdown", 0},
    {"tsv", KEY_TSV, 0, 0, "Write one line per method and score, tab-separated", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_BASELINE:
        a->baseline = arg;
        return 0;
    case KEY_MARKDOWN:
    case KEY_TSV:
        if (a->format != DBI_COMPARE_TEXT)
            argp_error(state, "choose --markdown or --tsv");
        a->format = key == KEY_TSV ? DBI_COMPARE_TSV : DBI_COMPARE_MARKDOWN;
        return 0;
    case ARGP_KEY_ARGS:
        a->files = tool_arguments(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    arguments a = {.baseline = NULL};
    tool_options tool;
    dbi_error error;
    tool_parse(
        argc, argv, "dbisl-compare", TOOL_OUTPUT | TOOL_THREADS | TOOL_SEED, options, parse, "[RESULTS...]",
        "Compares methods by the results of many trainings: means, intervals, and paired tests against a baseline.", &a,
        &tool);
    const tool_files files = tool_or_input(a.files);
    tool_reads_all(files);
    tool_writes(tool.output, TOOL_TEXT, NULL);
    dbi_results *results = dbi_results_new(&error);
    if (!results)
        tool_die(&error);
    for (int i = 0; i < files.count; i++)
        if (dbi_results_read(results, files.names[i], &error))
            tool_die(&error);
    dbi_compare_table comparison;
    if (dbi_compare(results, a.baseline, tool.seed, &comparison, &error)) {
        if (files.count == 1)
            dbi_fail_in(&error, "%s", tool_input_name(files.names[0]));
        tool_die(&error);
    }
    dbi_sink *sink = tool_sink(&tool);
    tool_commit(sink, dbi_compare_table_write(&comparison, a.format, sink, &error), &error);
    dbi_compare_table_free(&comparison);
    dbi_results_free(results);
    return TOOL_DONE;
}
