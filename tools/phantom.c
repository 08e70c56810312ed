/* dbisl-phantom: a synthetic cohort. */
#include "cohort/phantom_cohort.h"
#include "tool.h"

typedef struct arguments {
    dbi_phantom_settings settings;
    int train, test;
} arguments;

enum {
    KEY_TRAIN = 1,
    KEY_TEST,
    KEY_SIZE,
    KEY_CLASSES,
    KEY_CHANNELS,
    KEY_CONTRAST,
    KEY_NOISE,
    KEY_VARIABILITY,
    KEY_NEIGHBORS
};

static const struct argp_option options[] = {
    {"train", KEY_TRAIN, "N", 0, "Make N training scans (default 20)", 0},
    {"test", KEY_TEST, "N", 0, "Make N test scans (default 8)", 0},
    {"size", KEY_SIZE, "N", 0, "About N voxels across (default 80)", 0},
    {"classes", KEY_CLASSES, "K", 0, "Label K structures, 1 to 3 (default 1)", 0},
    {"channels", KEY_CHANNELS, "C", 0, "Make C images of each scan, 1 to 4, of different contrast (default 1)", 0},
    {"contrast", KEY_CONTRAST, "X", 0, "Body against tissue, 0 to 1 (default 0.45)", 1},
    {"noise", KEY_NOISE, "X", 0, "Noise as a part of the body's brightness, 0 to 1 (default 0.06)", 1},
    {"variability", KEY_VARIABILITY, "X", 0, "How much scans differ in shape and appearance, 0 to 2 (default 1)", 1},
    {"neighbors", KEY_NEIGHBORS, "X", 0, "How alike the unlabelled neighbours are, 0 to 1 (default 0.8)", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    dbi_phantom_settings *s = &a->settings;
    switch (key) {
    case KEY_TRAIN:
        a->train = (int)tool_int(state, "train", arg, 0, 9999);
        return 0;
    case KEY_TEST:
        a->test = (int)tool_int(state, "test", arg, 0, 9999);
        return 0;
    case KEY_SIZE:
        s->size = tool_int(state, "size", arg, 16, 512);
        return 0;
    case KEY_CLASSES:
        s->classes = (int)tool_int(state, "classes", arg, 1, DBI_PHANTOM_CLASSES);
        return 0;
    case KEY_CHANNELS:
        s->channels = (int)tool_int(state, "channels", arg, 1, DBI_PHANTOM_CHANNELS);
        return 0;
    case KEY_CONTRAST:
        s->contrast = tool_number(state, "contrast", arg, 0, 1);
        return 0;
    case KEY_NOISE:
        s->noise = tool_number(state, "noise", arg, 0, 1);
        return 0;
    case KEY_VARIABILITY:
        s->variability = tool_number(state, "variability", arg, 0, 2);
        return 0;
    case KEY_NEIGHBORS:
        s->neighbors = tool_number(state, "neighbors", arg, 0, 1);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void show(int count, int of)
{
    tool_progress("%d of %d scans", count, of);
}

int main(int argc, char **argv)
{
    arguments a = {.settings = dbi_phantom_defaults(), .train = 20, .test = 8};
    tool_options o;
    dbi_error error;
    tool_parse(argc, argv, "dbisl-phantom", TOOL_OUTPUT | TOOL_SEED | TOOL_THREADS | TOOL_PROGRESS, options, parse,
               "-o FOLDER",
               "Makes a synthetic cohort of scans with labels, as NIfTI files in the layout of the Medical "
               "Segmentation Decathlon.",
               &a, &o);
    if (!o.output) {
        dbi_fail(&error, "-o FOLDER is missing: a cohort is many files");
        fprintf(stderr, "dbisl-phantom: %s\n", error.text);
        return TOOL_USAGE;
    }
    tool_writes(o.output, TOOL_FOLDER, NULL);
    a.settings.seed = o.seed;
    if (dbi_phantom_write(&a.settings, a.train, a.test, o.output, show, &error))
        tool_die(&error);
    tool_progress_end();
    return TOOL_DONE;
}
