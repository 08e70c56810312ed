/* The options that say what batches are made of, for dbisl-sample, and for dbisl-train-step when it makes its batches
 * itself. */
#ifndef DBI_TOOLS_SAMPLING_H
#define DBI_TOOLS_SAMPLING_H

#include "cohort/sampler.h"
#include "tool.h"

typedef struct tool_sampling {
    dbi_sampler_settings settings;
    const char *split; /* NULL: not given */
    int ahead;
    const char *first; /* the first of these options that was given; NULL: none */
} tool_sampling;

/* The settings of dbi_sampler_defaults, and four batches ahead. */
tool_sampling tool_sampling_defaults(void);

enum {
    TOOL_KEY_SPLIT = 0x400,
    TOOL_KEY_PATCH,
    TOOL_KEY_LABELED,
    TOOL_KEY_UNLABELED,
    TOOL_KEY_TRUTH,
    TOOL_KEY_NO_FLIP,
    TOOL_KEY_FLIP_Z,
    TOOL_KEY_NO_ROTATE,
    TOOL_KEY_INTENSITY,
    TOOL_KEY_NOISE,
    TOOL_KEY_CACHE,
    TOOL_KEY_AHEAD
};

/* For a program's list of options: what is in a batch, how it is augmented, and how much memory it takes. Each argument
 * is a group of --help. */
#define TOOL_SAMPLING_OPTIONS(BATCH, AUGMENTATION, MEMORY)                                                             \
    {"split", TOOL_KEY_SPLIT, "FILE", 0, "The manifest that names the cases, see dbisl-split(1)", BATCH},              \
        {"patch", TOOL_KEY_PATCH, "X,Y,Z", 0, "Size of a sample in voxels", BATCH},                                    \
        {"labeled", TOOL_KEY_LABELED, "N", 0, "N labelled samples in a batch (default 2)", BATCH},                     \
        {"unlabeled", TOOL_KEY_UNLABELED, "N", 0, "N unlabelled samples in a batch (default 2)", BATCH},               \
        {"truth", TOOL_KEY_TRUTH, 0, 0, "Add the labels of the unlabelled samples, as the tensor truth", BATCH},       \
        {"no-flip", TOOL_KEY_NO_FLIP, 0, 0, "No mirroring along the first two axes", AUGMENTATION},                    \
        {"flip-z", TOOL_KEY_FLIP_Z, 0, 0, "Mirror along the third axis, too", AUGMENTATION},                           \
        {"no-rotate", TOOL_KEY_NO_ROTATE, 0, 0, "No turns by 90 degrees in the first two axes", AUGMENTATION},         \
        {"intensity", TOOL_KEY_INTENSITY, "A", 0, "Scale by 1 +- A and shift by +- A, 0 to 0.99 (default 0: off)",     \
         AUGMENTATION},                                                                                                \
        {"noise", TOOL_KEY_NOISE, "S", 0, "Add normal noise of standard deviation S (default 0: off)", AUGMENTATION},  \
        {"cache-mb", TOOL_KEY_CACHE, "N", 0, "Keep at most N MiB of cases in memory (default 4096)", MEMORY},          \
    {                                                                                                                  \
        "ahead", TOOL_KEY_AHEAD, "N", 0, "Have at most N batches ready ahead of the reader (default 4)", MEMORY        \
    }

/* For a program's parser: takes one of these options, or returns ARGP_ERR_UNKNOWN. */
error_t tool_sampling_parse(int key, char *arg, struct argp_state *state, tool_sampling *sampling);
/* To be called when all options are read: a usage error when no batch can be made. */
void tool_sampling_check(struct argp_state *state, const tool_sampling *sampling);

/* Reads the manifest, declares its cases as inputs and opens the sampler. NULL with an error. */
dbi_sampler *tool_sampling_open(tool_sampling *sampling, uint64_t seed, dbi_error *error);

#endif
