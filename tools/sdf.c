/* dbisl-sdf: label or probability -> signed distance map. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "distance/normalize.h"
#include "maps/maps.h"
#include "record/checksum.h"
#include "record/history.h"
#include "tool.h"

typedef struct arguments {
    bool from_prob, allow_empty;
    dbi_transform transform;
    dbi_normalize normalize;
    const char *input;
} arguments;

enum { KEY_FROM = 1, KEY_TRANSFORM, KEY_NORMALIZE, KEY_ALLOW_EMPTY };

static const struct argp_option options[] = {
    {"from", KEY_FROM, "TENSOR", 0, "label (the default) or prob", 0},
    {"transform", KEY_TRANSFORM, "HOW", 0, "exact (the default), levelset or conv:H,RADIUS", 0},
    {"normalize", KEY_NORMALIZE, "HOW", 0, "clip:T, max or none (default clip:10)", 0},
    {"allow-empty", KEY_ALLOW_EMPTY, 0, 0, "Take a label without foreground: its map says outside everywhere", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    dbi_error error;
    switch (key) {
    case KEY_FROM:
        a->from_prob = tool_either(state, "from", arg, "label", "prob");
        return 0;
    case KEY_TRANSFORM:
        if (dbi_transform_parse(arg, &a->transform, &error))
            tool_usage(state, "transform", &error);
        return 0;
    case KEY_NORMALIZE:
        if (dbi_normalize_parse(arg, &a->normalize, &error))
            tool_usage(state, "normalize", &error);
        return 0;
    case KEY_ALLOW_EMPTY:
        a->allow_empty = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            argp_error(state, "give one CASE");
        a->input = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Adds the history entry: the settings, and the checksum of the record before the map was added. */
static int add_history(dbi_record *record, const arguments *a, const char *checksum, dbi_error *error)
{
    char transform[64], normalize[64];
    dbi_transform_format(&a->transform, transform);
    dbi_normalize_format(&a->normalize, normalize);
    json_t *settings = json_pack("{s:s, s:s, s:s}", "from", a->from_prob ? "prob" : "label", "transform", transform,
                                 "normalize", normalize);
    int status = settings ? dbi_history_add(record, "sdf", settings, error, "case", checksum, NULL)
                          : dbi_fail(error, "out of memory");
    json_decref(settings);
    return status;
}

/* A label without foreground is usually a mistake, so it is an error. For probabilities and with --allow-empty there is
 * only a warning. */
static int convert(dbi_record *record, const arguments *a, const dbi_device *device, bool *empty, dbi_error *error)
{
    char checksum[33];
    if (dbi_record_checksum(record, checksum, error) ||
        dbi_record_add_sdf(record, a->from_prob, &a->transform, &a->normalize, device, empty, error))
        return -1;
    if (*empty && !a->from_prob && !a->allow_empty)
        return dbi_fail(error, "tensor \"label\" has no foreground (--allow-empty takes it)");
    return add_history(record, a, checksum, error);
}

int main(int argc, char **argv)
{
    arguments a = {.transform = {.kind = DBI_TRANSFORM_EXACT}, .normalize = {.kind = DBI_NORMALIZE_CLIP, .t = 10}};
    tool_options tool;
    dbi_error error;
    tool_parse(argc, argv, "dbisl-sdf", TOOL_OUTPUT | TOOL_GPU | TOOL_THREADS | TOOL_COMPRESS, options, parse, "[CASE]",
               "Adds signed distance maps, positive inside, one for each class, to cases or predictions.", &a, &tool);
    if (!tool.compression.level)
        tool.compression.level = DBI_LEVEL_OF_CASES;
    const char *name = tool_input_name(a.input);
    tool_reads(a.input);
    tool_writes(tool.output, TOOL_RECORDS, name);
    dbi_reader *reader = dbi_reader_open(a.input, &error);
    dbi_writer *writer = reader ? dbi_writer_open(tool.output, &tool.compression, &error) : NULL;
    if (!writer)
        tool_die(&error);
    dbi_record *record;
    int got;
    for (int index = 0; (got = dbi_reader_next(reader, &record, &error)) > 0; index++) {
        bool empty;
        if (convert(record, &a, &tool.device, &empty, &error)) {
            dbi_fail_in(&error, "%s: record %d", name, index);
            got = -1;
        } else if (empty) {
            tool_warn("%s: record %d: no foreground: the whole map says outside", name, index);
        }
        if (got < 0 || dbi_writer_put(writer, record, &error))
            got = -1;
        dbi_record_free(record);
        if (got < 0)
            break;
    }
    dbi_reader_close(reader);
    if (got < 0) {
        dbi_writer_abort(writer);
        tool_die(&error);
    }
    if (dbi_writer_commit(writer, &error))
        tool_die(&error);
    return TOOL_DONE;
}
