#include "sampling.h"

tool_sampling tool_sampling_defaults(void)
{
    return (tool_sampling){.settings = dbi_sampler_defaults(), .ahead = 4};
}

static const struct argp_option options[] = {TOOL_SAMPLING_OPTIONS(0, 0, 0), {0}};

static const char *name_of(int key)
{
    const struct argp_option *o = options;
    while (o->name && o->key != key)
        o++;
    return o->name;
}

static error_t take(int key, char *arg, struct argp_state *state, tool_sampling *sampling)
{
    dbi_sampler_settings *s = &sampling->settings;
    switch (key) {
    case TOOL_KEY_SPLIT:
        sampling->split = arg;
        return 0;
    case TOOL_KEY_PATCH:
        tool_ints3(state, "patch", arg, 1, 4096, s->patch);
        return 0;
    case TOOL_KEY_LABELED:
        s->labeled = (int)tool_int(state, "labeled", arg, 0, DBI_SAMPLES_MAX);
        return 0;
    case TOOL_KEY_UNLABELED:
        s->unlabeled = (int)tool_int(state, "unlabeled", arg, 0, DBI_SAMPLES_MAX);
        return 0;
    case TOOL_KEY_TRUTH:
        s->truth = true;
        return 0;
    case TOOL_KEY_NO_FLIP:
        s->flip = false;
        return 0;
    case TOOL_KEY_FLIP_Z:
        s->flip_z = true;
        return 0;
    case TOOL_KEY_NO_ROTATE:
        s->turn = false;
        return 0;
    case TOOL_KEY_INTENSITY:
        s->intensity = tool_number(state, "intensity", arg, 0, 0.99);
        return 0;
    case TOOL_KEY_NOISE:
        s->noise = tool_number(state, "noise", arg, 0, 1e6);
        return 0;
    case TOOL_KEY_CACHE:
        s->cache_bytes = (int64_t)tool_int(state, "cache-mb", arg, 0, 1 << 24) << 20;
        return 0;
    case TOOL_KEY_AHEAD:
        sampling->ahead = (int)tool_int(state, "ahead", arg, 1, 1024);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

error_t tool_sampling_parse(int key, char *arg, struct argp_state *state, tool_sampling *sampling)
{
    const error_t status = take(key, arg, state, sampling);
    if (!status && !sampling->first)
        sampling->first = name_of(key);
    return status;
}

void tool_sampling_check(struct argp_state *state, const tool_sampling *sampling)
{
    if (!sampling->split)
        argp_error(state, "--split is missing");
    if (!sampling->settings.patch[0])
        argp_error(state, "--patch is missing");
    if (sampling->settings.labeled + sampling->settings.unlabeled < 1)
        argp_error(state, "a batch needs samples: choose --labeled or --unlabeled above 0");
}

dbi_sampler *tool_sampling_open(tool_sampling *sampling, uint64_t seed, dbi_error *error)
{
    dbi_manifest manifest;
    sampling->settings.seed = seed;
    tool_reads(sampling->split);
    if (dbi_manifest_read(sampling->split, &manifest, error))
        return NULL;
    for (size_t i = 0; i < manifest.count; i++)
        tool_reads(manifest.rows[i].path);
    dbi_sampler *sampler = dbi_sampler_open(&manifest, &sampling->settings, error);
    dbi_manifest_free(&manifest);
    return sampler;
}
