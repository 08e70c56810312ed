/* dbisl-transforms: compares transforms of labels or probabilities with the exact distance. */
#include <string.h>

#include "maps/comparison.h"
#include "record/sink.h"
#include "record/stream.h"
#include "tool.h"

typedef struct arguments {
    dbi_comparison_settings settings;
    tool_files files;
} arguments;

enum { KEY_FROM = 1, KEY_PATCH, KEY_BLUR, KEY_BACKGROUND, KEY_TRANSFORM, KEY_TIME };

static const struct argp_option options[] = {
    {"from", KEY_FROM, "TENSOR", 0, "label (the default) or prob", 0},
    {"patch", KEY_PATCH, "X,Y,Z", 0, "Compare on a patch of this size round the foreground (default: all)", 0},
    {"blur", KEY_BLUR, "S[,S...]", 0, "Blur the maps by Gaussians of S voxels (default 0)", 0},
    {"background", KEY_BACKGROUND, "E[,E...]", 0, "Lift the maps to E + (1 - 2 E) p (default 0)", 0},
    {"transform", KEY_TRANSFORM, "HOW", 0, "exact, levelset or conv:H,RADIUS; once for each", 0},
    {"time", KEY_TIME, 0, 0, "Add a column with the processor time of the fastest map", 0},
    {0},
};

static const char *const default_transforms[] = {"exact", "levelset", "conv:0.35,10", "conv:1,10"};

static void parse_list(struct argp_state *state, const char *option, char *arg, double most,
                       double values[DBI_COMPARED_MOST], int *count)
{
    *count = 0;
    for (char *rest, *text = strtok_r(arg, ",", &rest); text || !*count; text = strtok_r(NULL, ",", &rest)) {
        if (*count == DBI_COMPARED_MOST)
            argp_error(state, "--%s: more than %d values", option, DBI_COMPARED_MOST);
        values[(*count)++] = tool_number(state, option, text ? text : "", 0, most);
    }
}

static void add_transform(struct argp_state *state, const char *text, dbi_comparison_settings *s)
{
    dbi_error error;
    if (s->transform_count == DBI_COMPARED_MOST)
        argp_error(state, "--transform: more than %d", DBI_COMPARED_MOST);
    if (dbi_transform_parse(text, &s->transforms[s->transform_count++], &error))
        tool_usage(state, "transform", &error);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    dbi_comparison_settings *s = &a->settings;
    switch (key) {
    case KEY_FROM:
        s->from_prob = tool_either(state, "from", arg, "label", "prob");
        return 0;
    case KEY_PATCH:
        tool_ints3(state, "patch", arg, 1, 1000000, s->patch);
        return 0;
    case KEY_BLUR:
        parse_list(state, "blur", arg, 100, s->blurs, &s->blur_count);
        return 0;
    case KEY_BACKGROUND:
        parse_list(state, "background", arg, 0.499, s->backgrounds, &s->background_count);
        return 0;
    case KEY_TRANSFORM:
        add_transform(state, arg, s);
        return 0;
    case KEY_TIME:
        s->time = true;
        return 0;
    case ARGP_KEY_ARGS:
        a->files = tool_arguments(state);
        return 0;
    case ARGP_KEY_END:
        if (!s->transform_count)
            for (size_t i = 0; i < sizeof default_transforms / sizeof *default_transforms; i++)
                add_transform(state, default_transforms[i], s);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Adds all records of a file. */
static int add_file(dbi_comparison *comparison, const char *path, int *maps, dbi_error *error)
{
    const char *name = tool_input_name(path);
    dbi_reader *reader = dbi_reader_open(path, error);
    dbi_record *record;
    int got = reader ? 0 : -1;
    for (int index = 0; reader && (got = dbi_reader_next(reader, &record, error)) > 0; index++) {
        int added;
        const int status = dbi_comparison_add(comparison, record, &added, error);
        dbi_record_free(record);
        if (status) {
            got = dbi_fail_in(error, "%s: record %d", name, index);
            break;
        }
        if (!added)
            tool_warn("%s: record %d: left out: no patch has both foreground and background", name, index);
        *maps += added;
        tool_progress("%d maps", *maps);
    }
    dbi_reader_close(reader);
    return got;
}

int main(int argc, char **argv)
{
    arguments a = {.settings = {.blur_count = 1, .background_count = 1}};
    tool_options tool;
    dbi_error error;
    tool_parse(argc, argv, "dbisl-transforms", TOOL_OUTPUT | TOOL_THREADS | TOOL_PROGRESS, options, parse, "[CASE...]",
               "Measures how close transforms from segmentation to distance come to the exact distance.", &a, &tool);
    const tool_files files = tool_or_input(a.files);
    tool_reads_all(files);
    tool_writes(tool.output, TOOL_TEXT, NULL);
    dbi_comparison *comparison = dbi_comparison_open(&a.settings, &error);
    int maps = 0, status = comparison ? 0 : -1;
    for (int i = 0; !status && i < files.count; i++)
        status = add_file(comparison, files.names[i], &maps, &error);
    tool_progress_end();
    if (!status && !maps)
        status =
            dbi_fail(&error, "no patch has both foreground and background: choose a larger --patch or other cases");
    if (status)
        tool_die(&error);
    dbi_sink *sink = tool_sink(&tool);
    tool_commit(sink, dbi_comparison_write(comparison, sink, &error), &error);
    dbi_comparison_close(comparison);
    return TOOL_DONE;
}
