/* dbisl-sample: cases -> a stream of augmented, cropped batches. */
#include "cohort/ahead.h"
#include "sampling.h"

typedef struct arguments {
    tool_sampling sampling;
    long start, count;
} arguments;

enum { KEY_START = 1, KEY_COUNT };

static const struct argp_option options[] = {
    {"start", KEY_START, "K", 0, "Number of the first batch (default 0)", 0},
    {"count", KEY_COUNT, "N", 0, "Write N batches (default 1)", 0},
    TOOL_SAMPLING_OPTIONS(0, 1, 2),
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_START:
        a->start = tool_int(state, "start", arg, 0, UINT32_MAX);
        return 0;
    case KEY_COUNT:
        a->count = tool_int(state, "count", arg, 1, UINT32_MAX);
        return 0;
    case ARGP_KEY_END:
        tool_sampling_check(state, &a->sampling);
        if (a->start + a->count - 1 > UINT32_MAX)
            argp_error(state, "--start and --count go beyond batch %u", UINT32_MAX);
        return 0;
    default:
        return tool_sampling_parse(key, arg, state, &a->sampling);
    }
}

/* Writes all batches to the open output. -1 with an error. */
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
    arguments a = {.sampling = tool_sampling_defaults(), .count = 1};
    tool_options o;
    dbi_error error;
    tool_keep_freed_memory();
    tool_parse(argc, argv, "dbisl-sample", TOOL_OUTPUT | TOOL_SEED | TOOL_COMPRESS | TOOL_THREADS | TOOL_PROGRESS,
               options, parse, "",
               "Writes a stream of batches: crops of the cases of a manifest, turned, mirrored and otherwise augmented "
               "at random.",
               &a, &o);
    tool_writes(o.output, TOOL_RECORDS, NULL);
    dbi_sampler *sampler = tool_sampling_open(&a.sampling, o.seed, &error);
    dbi_writer *writer = sampler ? dbi_writer_open(o.output, &o.compression, &error) : NULL;
    dbi_ahead *ahead =
        writer ? dbi_ahead_start(sampler, (uint32_t)a.start, (uint32_t)a.count, a.sampling.ahead, &error) : NULL;
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
