/* dbisl-init: makes a checkpoint with fresh weights or with those of another checkpoint. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "net/checkpoint.h"
#include "record/checksum.h"
#include "record/history.h"
#include "tool.h"

typedef struct arguments {
    dbi_arch arch;      /* 0: not given */
    bool norm;          /* given */
    bool kaiming, init; /* init: given */
    const char *from;
    bool flip;
} arguments;

enum { KEY_CHANNELS = 1, KEY_CLASSES, KEY_FILTERS, KEY_DECODERS, KEY_NORM, KEY_FROM, KEY_FLIP, KEY_INIT };

static const struct argp_option options[] = {
    {"channels", KEY_CHANNELS, "N", 0, "Channels of the image (default 1)", 0},
    {"classes", KEY_CLASSES, "N", 0, "Classes besides the background (default 1)", 0},
    {"filters", KEY_FILTERS, "N", 0, "Filters of the first block; the deepest has 16 times as many (default 16)", 0},
    {"decoders", KEY_DECODERS, "N", 0,
     "Decoders, each with a segmentation and a distance head: 1, or 2, the second one by interpolation (default 1)", 0},
    {"norm", KEY_NORM, "KIND", 0,
     "Normalization: batch, instance, instance:affine or group:N (default instance:affine)", 0},
    {"init", KEY_INIT, "HOW", 0, "Fresh kernels: pytorch (its default, and this one's) or kaiming", 0},
    {"from", KEY_FROM, "FILE", 0,
     "Take the weights of FILE: a checkpoint, or a public V-Net's state_dict as safetensors", 0},
    {"flip-sdf", KEY_FLIP, 0, 0, "With --from: the distance head of FILE is negative inside; turn it", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    dbi_error error;
    switch (key) {
    case KEY_CHANNELS:
        a->arch.channels = (int)tool_int(state, "channels", arg, 1, 256);
        return 0;
    case KEY_CLASSES:
        a->arch.classes = (int)tool_int(state, "classes", arg, 1, DBI_MAX_CLASSES);
        return 0;
    case KEY_FILTERS:
        a->arch.filters = (int)tool_int(state, "filters", arg, 1, 256);
        return 0;
    case KEY_DECODERS:
        a->arch.decoders = (int)tool_int(state, "decoders", arg, 1, DBI_MAX_DECODERS);
        return 0;
    case KEY_NORM:
        if (dbi_norm_parse(arg, &a->arch.norm, &error))
            tool_usage(state, "norm", &error);
        a->norm = true;
        return 0;
    case KEY_INIT:
        a->kaiming = tool_either(state, "init", arg, "pytorch", "kaiming");
        a->init = true;
        return 0;
    case KEY_FROM:
        a->from = arg;
        return 0;
    case KEY_FLIP:
        a->flip = true;
        return 0;
    case ARGP_KEY_END:
        if (a->flip && !a->from)
            argp_error(state, "--flip-sdf needs --from");
        if (a->from && a->init)
            argp_error(state, "leave out --init: the weights of --from are not fresh");
        if (a->from && (a->arch.channels || a->arch.classes || a->arch.filters || a->arch.decoders))
            argp_error(state,
                       "leave out --channels, --classes, --filters and --decoders: the file of --from has its own");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Appends the history entry; takes the reference to settings. from_checksum: NULL for fresh weights. */
static int add_history(dbi_checkpoint *checkpoint, json_t *settings, const char *from_checksum, dbi_error *error)
{
    if (!settings)
        return dbi_fail(error, "out of memory");
    int status =
        dbi_history_add(checkpoint->meta, "init", settings, error, from_checksum ? "from" : NULL, from_checksum, NULL);
    json_decref(settings);
    return status;
}

static dbi_checkpoint *fresh(const arguments *a, uint64_t seed, dbi_error *error)
{
    const dbi_arch arch = {a->arch.channels ? a->arch.channels : 1, a->arch.classes ? a->arch.classes : 1,
                           a->arch.filters ? a->arch.filters : 16,
                           a->norm ? a->arch.norm : (dbi_normalization){DBI_NORM_INSTANCE_AFFINE, 0},
                           a->arch.decoders ? a->arch.decoders : 1};
    dbi_checkpoint *checkpoint = dbi_checkpoint_new(&arch, true, seed, error);
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, seed); /* JSON's integers end below 2^63 */
    json_t *settings = json_pack("{s:i, s:i, s:i, s:s}", "channels", arch.channels, "classes", arch.classes, "filters",
                                 arch.filters, "seed", text);
    if (settings && arch.norm.kind != DBI_NORM_BATCH) {
        dbi_norm_text(&arch.norm, text);
        json_object_set_new(settings, "norm", json_string(text));
    }
    if (settings && arch.decoders != 1)
        json_object_set_new(settings, "decoders", json_integer(arch.decoders));
    if (settings && a->kaiming)
        json_object_set_new(settings, "init", json_string("kaiming"));
    if (checkpoint && a->kaiming)
        dbi_weights_init_kaiming_f32(&checkpoint->weights, seed);
    if (checkpoint && add_history(checkpoint, settings, NULL, error)) {
        dbi_checkpoint_free(checkpoint);
        return NULL;
    }
    return checkpoint;
}

static dbi_checkpoint *from_file(const arguments *a, dbi_error *error)
{
    char checksum[33];
    dbi_record *record = dbi_record_load(a->from, error);
    dbi_checkpoint *checkpoint = NULL;
    if (record && !dbi_record_checksum(record, checksum, error) &&
        (checkpoint = dbi_checkpoint_from_record_of(record, a->norm ? &a->arch.norm : NULL, error)) &&
        (dbi_checkpoint_restart(checkpoint, a->flip, error) ||
         add_history(checkpoint, json_pack("{s:b}", "flip_sdf", a->flip), checksum, error))) {
        dbi_checkpoint_free(checkpoint);
        checkpoint = NULL;
    }
    if (record && !checkpoint)
        dbi_fail_in(error, "%s", a->from);
    dbi_record_free(record);
    return checkpoint;
}

int main(int argc, char **argv)
{
    arguments a = {0};
    tool_options common;
    dbi_error error;
    tool_parse(argc, argv, "dbisl-init", TOOL_OUTPUT | TOOL_SEED | TOOL_COMPRESS, options, parse, "",
               "Makes a checkpoint to start training from: fresh weights, or the weights of another one without its "
               "optimizer state, as a teacher starts with its student's.",
               &a, &common);
    if (a.from)
        tool_reads(a.from);
    tool_writes(common.output, TOOL_RECORDS, NULL);
    dbi_checkpoint *checkpoint = a.from ? from_file(&a, &error) : fresh(&a, common.seed, &error);
    if (!checkpoint || dbi_checkpoint_save(checkpoint, common.output, &common.compression, &error))
        tool_die(&error);
    dbi_checkpoint_free(checkpoint);
    return TOOL_DONE;
}
