/* dbisl-sample: cases -> a stream of augmented, cropped batches. */
#include "cohort/sampler.h"
#include "tool.h"

typedef struct arguments {
    dbi_sampler_settings settings;
    const char *split;
    long start, count;
    int ahead;
} arguments;

enum {
    KEY_SPLIT = 1,
    KEY_PATCH,
    KEY_LABELED,
    KEY_UNLABELED,
    KEY_START,
    KEY_COUNT,
    KEY_TRUTH,
    KEY_NO_FLIP,
    KEY_FLIP_Z,
    KEY_NO_ROTATE,
    KEY_INTENSITY,
    KEY_NOISE,
    KEY_CACHE,
    KEY_AHEAD
};

static const struct argp_option options[] = {
    {"split", KEY_SPLIT, "FILE", 0, "The manifest that names the cases, see dbisl-split(1)", 0},
    {"patch", KEY_PATCH, "X,Y,Z", 0, "Size of a sample in voxels", 0},
    {"labeled", KEY_LABELED, "N", 0, "N labelled samples in a batch (default 2)", 0},
    {"unlabeled", KEY_UNLABELED, "N", 0, "N unlabelled samples in a batch (default 2)", 0},
    {"start", KEY_START, "K", 0, "Number of the first batch (default 0)", 0},
    {"count", KEY_COUNT, "N", 0, "Write N batches (default 1)", 0},
    {"truth", KEY_TRUTH, 0, 0, "Add the labels of the unlabelled samples, as the tensor truth", 0},
    {"no-flip", KEY_NO_FLIP, 0, 0, "No mirroring along the first two axes", 1},
    {"flip-z", KEY_FLIP_Z, 0, 0, "Mirror along the third axis, too", 1},
    {"no-rotate", KEY_NO_ROTATE, 0, 0, "No turns by 90 degrees in the first two axes", 1},
    {"intensity", KEY_INTENSITY, "A", 0, "Scale by 1 +- A and shift by +- A, 0 to 0.99 (default 0: off)", 1},
    {"noise", KEY_NOISE, "S", 0, "Add normal noise of standard deviation S (default 0: off)", 1},
    {"cache-mb", KEY_CACHE, "N", 0, "Keep at most N MiB of cases in memory (default 4096)", 2},
    {"ahead", KEY_AHEAD, "N", 0, "Have at most N batches ready ahead of the reader (default 4)", 2},
    {0},
};

static void check_usage(struct argp_state *state, const arguments *a)
{
    if (!a->split)
        argp_error(state, "--split is missing");
    if (!a->settings.patch[0])
        argp_error(state, "--patch is missing");
    if (a->settings.labeled + a->settings.unlabeled < 1)
        argp_error(state, "a batch of no samples");
    if (a->start + a->count - 1 > UINT32_MAX)
        argp_error(state, "--start and --count go beyond batch %u", UINT32_MAX);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    dbi_sampler_settings *s = &a->settings;
    switch (key) {
    case KEY_SPLIT:
        a->split = arg;
        return 0;
    case KEY_PATCH:
        tool_ints3(state, "patch", arg, 1, 4096, s->patch);
        return 0;
    case KEY_LABELED:
        s->labeled = (int)tool_int(state, "labeled", arg, 0, DBI_SAMPLES_MAX);
        return 0;
    case KEY_UNLABELED:
        s->unlabeled = (int)tool_int(state, "unlabeled", arg, 0, DBI_SAMPLES_MAX);
        return 0;
    case KEY_START:
        a->start = tool_int(state, "start", arg, 0, UINT32_MAX);
        return 0;
    case KEY_COUNT:
        a->count = tool_int(state, "count", arg, 1, UINT32_MAX);
        return 0;
    case KEY_TRUTH:
        s->truth = true;
        return 0;
    case KEY_NO_FLIP:
        s->flip = false;
        return 0;
    case KEY_FLIP_Z:
        s->flip_z = true;
        return 0;
    case KEY_NO_ROTATE:
        s->turn = false;
        return 0;
    case KEY_INTENSITY:
        s->intensity = tool_number(state, "intensity", arg, 0, 0.99);
        return 0;
    case KEY_NOISE:
        s->noise = tool_number(state, "noise", arg, 0, 1e6);
        return 0;
    case KEY_CACHE:
        s->cache_bytes = (int64_t)tool_int(state, "cache-mb", arg, 0, 1 << 24) << 20;
        return 0;
    case KEY_AHEAD:
        a->ahead = (int)tool_int(state, "ahead", arg, 1, 1024);
        return 0;
    case ARGP_KEY_END:
        check_usage(state, a);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Everything between opening and closing the output; what fails leaves an error. */
static int write_batches(const arguments *a, dbi_ahead *ahead, dbi_writer *writer, dbi_error *error)
{
    dbi_record *batch;
    int more;
    for (long k = 1; (more = dbi_ahead_next(ahead, &batch, error)) == 1; k++) {
        int result = dbi_writer_put(writer, batch, error);
        dbi_record_free(batch);
        if (result)
            return -1;
        tool_progress("%ld of %ld batches", k, a->count);
    }
    tool_progress_end();
    return more;
}

int main(int argc, char **argv)
{
    arguments a = {.settings = dbi_sampler_defaults(), .count = 1, .ahead = 4};
    tool_options o;
    dbi_error error;
    tool_keep_freed_memory();
    tool_parse(argc, argv, "dbisl-sample", TOOL_OUTPUT | TOOL_SEED | TOOL_COMPRESS | TOOL_THREADS | TOOL_PROGRESS, options, parse, "",
               "Writes a stream of batches: crops of the cases of a manifest, turned, mirrored and otherwise augmented at random.", &a, &o);
    a.settings.seed = o.seed;
    dbi_manifest manifest;
    if (dbi_manifest_read(a.split, &manifest, &error))
        tool_die(&error);
    dbi_sampler *sampler = dbi_sampler_open(&manifest, &a.settings, &error);
    dbi_manifest_free(&manifest);
    dbi_writer *writer = sampler ? dbi_writer_open(o.output, &o.compression, &error) : NULL;
    dbi_ahead *ahead = writer ? dbi_ahead_start(sampler, (uint32_t)a.start, (uint32_t)a.count, a.ahead, &error) : NULL;
    int result = ahead ? write_batches(&a, ahead, writer, &error) : -1;
    dbi_ahead_stop(ahead);
    if (writer && result)
        dbi_writer_abort(writer);
    else if (writer)
        result = dbi_writer_commit(writer, &error);
    dbi_sampler_close(sampler);
    if (result)
        tool_die(&error);
    return TOOL_DONE;
}
