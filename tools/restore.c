/* dbisl-restore: brings a tensor of a case or prediction back into the scan's own grid, as NIfTI. */
#include <stdlib.h>
#include <string.h>

#include "image/restore.h"
#include "image/scan.h"
#include "image/source.h"
#include "tool.h"

enum { KEY_FROM = 1, KEY_LARGEST, KEY_THRESHOLD };

static const struct argp_option options[] = {
    {"from", KEY_FROM, "TENSOR", 0, "label (the default), prob, sdf or uncertainty", 0},
    {"threshold", KEY_THRESHOLD, "T", 0, "Make a label of prob or sdf: the voxels above T", 0},
    {"largest", KEY_LARGEST, 0, 0, "Keep the largest connected component of each class", 0},
    {0},
};

typedef struct arguments {
    dbi_restore_options options;
    const char *record;
} arguments;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    dbi_restore_options *o = &a->options;
    switch (key) {
    case KEY_FROM:
        if (strcmp(arg, "label") && strcmp(arg, "prob") && strcmp(arg, "sdf") && strcmp(arg, "uncertainty"))
            argp_error(state, "--from: \"%s\": choose label, prob, sdf or uncertainty", arg);
        o->from = arg;
        return 0;
    case KEY_LARGEST:
        o->largest = true;
        return 0;
    case KEY_THRESHOLD:
        o->to_label = true;
        o->threshold = tool_number(state, "threshold", arg, -1e9, 1e9);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            argp_error(state, "give one RECORD");
        a->record = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->to_label && strcmp(o->from, "prob") && strcmp(o->from, "sdf"))
            argp_error(state, "--threshold needs --from=prob or --from=sdf");
        if (o->largest && !o->to_label && strcmp(o->from, "label"))
            argp_error(state, "--largest needs a label: --threshold makes one of %s", o->from);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    arguments a = {.options = {.from = "label"}};
    tool_options tool;
    dbi_error error;
    tool_parse(argc, argv, "dbisl-restore", TOOL_OUTPUT | TOOL_THREADS, options, parse, "[RECORD]",
               "Writes a tensor of a case or of a prediction as NIfTI in the scan's own grid: crop, downsampling, "
               "resampling and orientation are undone. Labels are restored by nearest neighbour, prob, sdf and "
               "uncertainty by linear interpolation.",
               &a, &tool);
    tool_reads(a.record);
    tool_writes(tool.output, TOOL_SCAN, NULL);
    dbi_record *record = dbi_record_load(a.record, &error);
    if (!record)
        tool_die(&error);
    dbi_volume volume;
    dbi_source source;
    if (dbi_restore(record, &a.options, &volume, &error) || dbi_source_get(record, &source, &error)) {
        dbi_fail_in(&error, "%s: record 0", a.record ? a.record : "standard input");
        tool_die(&error);
    }
    dbi_record_free(record);
    if (dbi_scan_write(tool.output, &volume, &source, &error))
        tool_die(&error);
    dbi_volume_free(&volume);
    return TOOL_DONE;
}
