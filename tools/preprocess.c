/* dbisl-preprocess: makes a case of a scan and its label. */
#include <stdlib.h>
#include <string.h>

#include "image/case.h"
#include "image/preparation.h"
#include "tool.h"

enum {
    KEY_SPACING = 1,
    KEY_DOWNSAMPLE,
    KEY_NORMALIZE,
    KEY_CROP,
    KEY_SOURCE_SPACING,
    KEY_ID,
    KEY_CLASSES,
    KEY_LABEL,
    KEY_NO_LABEL,
    KEY_CHANNEL
};

enum { MOST_CHANNELS = 64 };

static const struct argp_option options[] = {
    {"label", KEY_LABEL, "FILE", 0, "The scan's label: whole numbers, 0 is background", 0},
    {"no-label", KEY_NO_LABEL, 0, 0, "Ignore the label inside an HDF5 file", 0},
    {"classes", KEY_CLASSES, "K", 0, "The label has classes 1 to K (default: to its largest value)", 0},
    {"channel", KEY_CHANNEL, "FILE", 0, "A further channel in the grid of SCAN; may be repeated", 0},
    {"spacing", KEY_SPACING, "X,Y,Z", 0, "Resample to this spacing in mm, of the axes right, front, up", 1},
    {"downsample", KEY_DOWNSAMPLE, "N", 0, "Take means of N x N x N voxels", 1},
    {"normalize", KEY_NORMALIZE, "HOW", 0, "zscore (the default), zscore:foreground, window:LO,HI or none", 1},
    {"crop", KEY_CROP, "HOW", 0, "label:MARGIN, the foreground and MARGIN voxels round it, or none (the default)", 1},
    {"source-spacing", KEY_SOURCE_SPACING, "X,Y,Z", 0,
     "Spacing in mm of an HDF5 scan, which cannot tell (default 1,1,1)", 1},
    {"id", KEY_ID, "ID", 0, "The case's name (default: from the file's name)", 1},
    {0},
};

typedef struct arguments {
    dbi_case_input input;
    dbi_preparation settings;
    double source_spacing[3];
    const char *scans[MOST_CHANNELS];
} arguments;

static void take_id(arguments *a, const char *text, struct argp_state *state)
{
    if (!*text || strpbrk(text, "\t\n\r/"))
        argp_error(state, "--id: \"%s\" is empty or has a tab, a line end or a slash in it", text);
    a->input.id = text;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    dbi_error error;
    switch (key) {
    case KEY_LABEL:
        a->input.label = arg;
        return 0;
    case KEY_NO_LABEL:
        a->input.ignore_label = true;
        return 0;
    case KEY_CLASSES:
        a->input.classes = tool_int(state, "classes", arg, 1, 255);
        return 0;
    case KEY_CHANNEL:
        if (a->input.channels + 1 >= MOST_CHANNELS)
            argp_error(state, "--channel: more than %d channels", MOST_CHANNELS);
        a->scans[++a->input.channels] = arg;
        return 0;
    case KEY_SPACING:
        a->settings.resample = true;
        tool_numbers3(state, "spacing", arg, 1e-3, 1e3, a->settings.spacing);
        return 0;
    case KEY_DOWNSAMPLE:
        a->settings.downsample = tool_int(state, "downsample", arg, 1, 64);
        return 0;
    case KEY_NORMALIZE:
        if (dbi_intensity_parse(arg, &a->settings.intensity, &error))
            tool_usage(state, "normalize", &error);
        return 0;
    case KEY_CROP:
        if (dbi_crop_parse(arg, &a->settings.crop, &error))
            tool_usage(state, "crop", &error);
        return 0;
    case KEY_SOURCE_SPACING:
        tool_numbers3(state, "source-spacing", arg, 1e-3, 1e3, a->source_spacing);
        a->input.source_spacing = a->source_spacing;
        return 0;
    case KEY_ID:
        take_id(a, arg, state);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            argp_error(state, "give one SCAN; --channel adds further channels");
        a->scans[0] = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->scans[0])
            argp_error(state, "give a SCAN");
        if (a->input.label && a->input.ignore_label)
            argp_error(state, "choose --label or --no-label");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    arguments a = {0};
    tool_options tool;
    dbi_error error;
    dbi_preparation_default(&a.settings);
    a.input.scans = a.scans;
    tool_parse(argc, argv, "dbisl-preprocess", TOOL_OUTPUT | TOOL_THREADS | TOOL_COMPRESS, options, parse, "SCAN",
               "Prepares a case from a scan: NIfTI-1 or -2, or HDF5, also as a member of an archive (ARCHIVE:MEMBER). "
               "Axes are turned to right, front, up; then come resampling, downsampling, normalization and crop, as "
               "far as they are asked for.",
               &a, &tool);
    if (!tool.compression.level)
        tool.compression.level = DBI_LEVEL_OF_CASES;
    a.input.channels++; /* SCAN itself */
    for (size_t i = 0; i < a.input.channels; i++)
        tool_reads(a.scans[i]);
    if (a.input.label)
        tool_reads(a.input.label);
    tool_writes(tool.output, TOOL_RECORDS, NULL);
    dbi_record *record = dbi_case_from_scan(&a.input, &a.settings, &error);
    if (!record || dbi_record_save(record, tool.output, &tool.compression, &error))
        tool_die(&error);
    dbi_record_free(record);
    return TOOL_DONE;
}
