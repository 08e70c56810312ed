/* dbisl-predict: cases or scans and a checkpoint -> labels, probabilities, distances. */
#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "image/case.h"
#include "image/case_id.h"
#include "image/formats.h"
#include "image/preparation.h"
#include "image/restore.h"
#include "image/scan.h"
#include "predict/predict.h"
#include "record/checksum.h"
#include "record/metadata.h"

enum {
    KEY_WINDOW = 1,
    KEY_STRIDE,
    KEY_WEIGHTS,
    KEY_HEAD,
    KEY_DECODER,
    KEY_OUTPUT,
    KEY_THRESHOLD,
    KEY_LARGEST,
    KEY_EVERYWHERE,
    KEY_SLOPE,
    KEY_MEMORY,
    KEY_FORMAT,
    KEY_SPACING,
    KEY_FORCE
};

static const struct argp_option options[] = {
    {"window", KEY_WINDOW, "X,Y,Z", 0,
     "See X,Y,Z voxels at a time (multiples of 16), as many as the patches of the training had: auto (the default), or "
     "the whole scan in one pass: whole",
     0},
    {"stride", KEY_STRIDE, "X,Y,Z", 0, "Voxels from one window to the next (default: half of the window)", 0},
    {"weights", KEY_WEIGHTS, "HOW", 0, "How windows count where they overlap: uniform (the default) or gaussian", 0},
    {"head", KEY_HEAD, "HEAD", 0, "The probability comes from seg (the default), sdf or both", 0},
    {"decoder", KEY_DECODER, "WHICH", 0,
     "Of a network with two decoders use the mean (the default), 1 or 2, or write each: NAME.1 and NAME.2", 0},
    {"output", KEY_OUTPUT, "LIST", 0, "What to write: any of label, prob, logits, sdf, uncertainty (default label)", 0},
    {"threshold", KEY_THRESHOLD, "P", 0, "The label is where the probability is above P (default 0.5)", 0},
    {"largest", KEY_LARGEST, 0, 0, "Keep the largest component of each class of the label", 0},
    {"everywhere", KEY_EVERYWHERE, 0, 0,
     "Look at the empty planes around a patient, too; by default they are background", 0},
    {"k", KEY_SLOPE, "K", 0, "Slope of the distance head's step (default: the checkpoint's)", 0},
    {"memory", KEY_MEMORY, "MB", 0,
     "Choose windows so that scan, results and network take at most so much (default 3000)", 0},
    {"format", KEY_FORMAT, "TYPE", 0, "Files in a folder are st.zst (the default), nii.gz or nii", 0},
    {"source-spacing", KEY_SPACING, "X,Y,Z", 0, "Voxel size in mm of HDF5 scans, which have none", 0},
    {"force", KEY_FORCE, 0, 0, "Only warn of a case that was prepared otherwise than the checkpoint says", 0},
    /* Without the long name of other programs: here --output says what to write, not where. */
    {0, 'o', "FILE", 0, "Write to FILE, or to one file per case in the folder DIR/; - is standard output (the default)",
     100},
    {0},
};

/* One stream of records, one NIfTI file, or one file per case in a folder. */
typedef enum target { TARGET_STREAM, TARGET_NIFTI, TARGET_FOLDER } target;

typedef struct settings {
    tool_options tool;
    dbi_predict_settings predict;
    bool explicit_whole, has_spacing, force;
    double source_spacing[3];
    const char *format; /* for the files in a folder; NULL: not given */
    const char *checkpoint;
    char **inputs;
    int count;
    target target;
    bool nifti;
} settings;

static void parse_window(struct argp_state *state, settings *s, const char *text)
{
    s->explicit_whole = !strcmp(text, "whole");
    s->predict.choice = s->explicit_whole       ? DBI_WINDOW_WHOLE
                        : !strcmp(text, "auto") ? DBI_WINDOW_TRAINED
                                                : DBI_WINDOW_GIVEN;
    if (s->predict.choice != DBI_WINDOW_GIVEN)
        return;
    tool_ints3(state, "window", text, 1, 65536, s->predict.window);
    for (int a = 0; a < 3; a++)
        if (s->predict.window[a] % DBI_NET_MULTIPLE)
            argp_error(state, "--window: \"%s\" is not made of multiples of %d", text, DBI_NET_MULTIPLE);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcasecmp(text + n - m, end);
}

static bool is_folder(const char *path)
{
    struct stat status;
    return ends_with(path, "/") || (!stat(path, &status) && S_ISDIR(status.st_mode));
}

/* Sets where the output goes, and refuses what cannot go there. */
static void choose_target(struct argp_state *state, settings *s)
{
    const char *output = s->tool.output;
    s->target = !output                       ? TARGET_STREAM
                : is_folder(output)           ? TARGET_FOLDER
                : dbi_is_written_scan(output) ? TARGET_NIFTI
                                              : TARGET_STREAM;
    if (s->format && s->target != TARGET_FOLDER)
        argp_error(state, "--format needs a folder: give an -o whose name ends in /");
    if (!s->format)
        s->format = "st.zst";
    s->nifti = s->target == TARGET_NIFTI || (s->target == TARGET_FOLDER && strcmp(s->format, "st.zst"));
    if (s->target == TARGET_NIFTI && s->count > 1)
        argp_error(state, "%d inputs do not fit into one NIfTI file: give a folder, -o DIR/ --format=nii.gz", s->count);
    if (s->nifti && s->predict.decoder == DBI_DECODER_EACH)
        argp_error(state, "--decoder=each: a NIfTI file holds one volume; choose mean, 1 or 2");
    if (s->nifti && (s->predict.outputs & (s->predict.outputs - 1) || s->predict.outputs == DBI_PREDICT_LOGITS))
        argp_error(state, "--output: a NIfTI file holds one of label, prob, sdf, uncertainty");
}

static void check_together(struct argp_state *state, settings *s)
{
    if (s->predict.choice == DBI_WINDOW_GIVEN)
        for (int a = 0; a < 3; a++)
            if (s->predict.stride[a] > s->predict.window[a])
                argp_error(state, "--stride: choose at most the size of the window, or voxels would be left out");
    if (!s->count)
        argp_error(state, s->checkpoint ? "give a CASE or a SCAN" : "give a CHECKPOINT");
    choose_target(state, s);
}

/* The format is st.zst or an ending of scans without its first dot. */
static void parse_format(struct argp_state *state, const char *arg)
{
    enum { MOST = 30 };
    const char *names[MOST + 1] = {"st.zst"}, *end;
    dbi_error error;
    bool known = !strcmp(arg, names[0]);
    for (int i = 1; i < MOST && (end = dbi_format_written_at((size_t)i - 1)); i++) {
        names[i] = end + 1;
        known = known || !strcmp(arg, names[i]);
    }
    if (!known) {
        dbi_fail_choose(&error, arg, names);
        tool_usage(state, "format", &error);
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    settings *s = state->input;
    dbi_error error;
    switch (key) {
    case 'o':
        if (!*arg)
            argp_error(state, "-o: the name is empty");
        s->tool.output = strcmp(arg, "-") ? arg : NULL;
        return 0;
    case KEY_WINDOW:
        parse_window(state, s, arg);
        return 0;
    case KEY_STRIDE:
        tool_ints3(state, "stride", arg, 1, 65536, s->predict.stride);
        return 0;
    case KEY_WEIGHTS:
        s->predict.weights =
            tool_either(state, "weights", arg, "uniform", "gaussian") ? DBI_WEIGHTS_GAUSSIAN : DBI_WEIGHTS_UNIFORM;
        return 0;
    case KEY_HEAD:
        if (dbi_head_parse(arg, &s->predict.head, &error))
            tool_usage(state, "head", &error);
        return 0;
    case KEY_DECODER:
        if (dbi_decoder_parse(arg, &s->predict.decoder, &error))
            tool_usage(state, "decoder", &error);
        return 0;
    case KEY_OUTPUT:
        if (dbi_predict_outputs_parse(arg, &s->predict.outputs, &error))
            tool_usage(state, "output", &error);
        return 0;
    case KEY_THRESHOLD:
        s->predict.threshold = tool_number(state, "threshold", arg, 0, 1);
        return 0;
    case KEY_LARGEST:
        s->predict.largest = true;
        return 0;
    case KEY_EVERYWHERE:
        s->predict.everywhere = true;
        return 0;
    case KEY_SLOPE:
        s->predict.k = tool_number(state, "k", arg, 1e-6, 1e9);
        return 0;
    case KEY_MEMORY:
        s->predict.memory = (size_t)tool_int(state, "memory", arg, 1, 100000000) * 1000000;
        return 0;
    case KEY_FORMAT:
        parse_format(state, arg);
        s->format = arg;
        return 0;
    case KEY_SPACING:
        tool_numbers3(state, "source-spacing", arg, 1e-6, 1e6, s->source_spacing);
        s->has_spacing = true;
        return 0;
    case KEY_FORCE:
        s->force = true;
        return 0;
    case ARGP_KEY_ARG:
        if (!s->checkpoint) {
            s->checkpoint = arg;
            return 0;
        }
        return ARGP_ERR_UNKNOWN; /* the remaining arguments come together, as ARGP_KEY_ARGS */
    case ARGP_KEY_ARGS:
        s->inputs = state->argv + state->next;
        s->count = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        check_together(state, s);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A file in the folder, and the input it belongs to. */
typedef struct claim {
    char *id;
    const char *input; /* the file of the case */
    bool written;
} claim;

typedef struct run {
    const settings *settings;
    dbi_checkpoint *checkpoint;
    char checksum[33]; /* of the checkpoint's record */
    dbi_predictor *predictor;
    dbi_writer *writer; /* for TARGET_STREAM */
    dbi_record *only;   /* for TARGET_NIFTI: written when no other case has followed */
    claim *claims;      /* for TARGET_FOLDER */
    size_t claim_count;
    bool warned;         /* of whole scans for a network that was trained on crops */
    bool warned_of_host; /* of windows cut on the host */
} run;

static int open_run(run *r, dbi_error *error)
{
    const settings *s = r->settings;
    dbi_record *record = dbi_record_load(s->checkpoint, error);
    if (!record)
        return -1;
    int status = dbi_record_checksum(record, r->checksum, error);
    if (!status && !(r->checkpoint = dbi_checkpoint_from_record(record, error)))
        status = dbi_fail_in(error, "%s", s->checkpoint);
    dbi_record_free(record);
    if (status)
        return -1;
    dbi_predict_settings predict = s->predict;
    if (s->nifti && predict.outputs == DBI_PREDICT_LABEL)
        predict.outputs = DBI_PREDICT_PROB; /* it is brought into the scan's grid and thresholded there */
    predict.device = s->tool.device;
    if (!(r->predictor = dbi_predictor_open(r->checkpoint, &predict, error)))
        return dbi_fail_in(error, "%s", s->checkpoint);
    if (s->target == TARGET_STREAM)
        r->writer = dbi_writer_open(s->tool.output, &s->tool.compression, error);
    return s->target == TARGET_STREAM && !r->writer ? -1 : 0;
}

static void close_run(run *r)
{
    dbi_writer_abort(r->writer);
    dbi_record_free(r->only);
    dbi_predictor_close(r->predictor);
    dbi_checkpoint_free(r->checkpoint);
    for (size_t i = 0; i < r->claim_count; i++)
        free(r->claims[i].id);
    free(r->claims);
}

/* DIR/ID.FORMAT. An id may come from a hostile file: it must not lead out of the folder. */
static char *name_in_folder(const settings *s, const char *id, dbi_error *error)
{
    char *path;
    if (!id || !*id || *id == '.' || strchr(id, '/')) {
        dbi_fail(error, "id \"%s\" cannot name a file", id ? id : "");
        return NULL;
    }
    if (asprintf(&path, "%s%s%s.%s", s->tool.output, ends_with(s->tool.output, "/") ? "" : "/", id, s->format) < 0) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    return path;
}

static claim *find_claim(const run *r, const char *id)
{
    for (size_t i = 0; i < r->claim_count; i++)
        if (!strcmp(r->claims[i].id, id))
            return &r->claims[i];
    return NULL;
}

/* Reserves the folder's file of this id for the input; no other case may have it. NULL on error. */
static claim *add_claim(run *r, const char *id, const char *path, const char *input, dbi_error *error)
{
    const claim *other = find_claim(r, id);
    if (other) {
        dbi_fail(error, "id \"%s\" is there a second time, it would replace the file of %s", id,
                 tool_input_name(other->input));
        return NULL;
    }
    claim *claims = realloc(r->claims, (r->claim_count + 1) * sizeof *claims);
    if (claims)
        r->claims = claims;
    char *copy = claims ? strdup(id) : NULL;
    if (!copy) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    struct stat status;
    if (!stat(r->settings->tool.output, &status)) /* a folder that does not exist has no file to replace */
        tool_writes(path, TOOL_RESULTS, NULL);
    claims[r->claim_count] = (claim){.id = copy, .input = input};
    return &claims[r->claim_count++];
}

/* The path of a result; makes the folder. free(); NULL on error. */
static char *take_place(run *r, const char *id, const char *input, dbi_error *error)
{
    char *path = name_in_folder(r->settings, id, error);
    claim *mine = path ? find_claim(r, id) : NULL;
    if (path && (!mine || mine->written))
        mine = add_claim(r, id, path, input, error);
    if (mine && mkdir(r->settings->tool.output, 0777) && errno != EEXIST) {
        dbi_fail_errno(error, "%s", r->settings->tool.output);
        mine = NULL;
    }
    if (mine) {
        mine->written = true;
        return path;
    }
    free(path);
    return NULL;
}

static int write_nifti(const settings *s, const dbi_record *prediction, const char *path, dbi_error *error)
{
    bool label = s->predict.outputs == DBI_PREDICT_LABEL;
    const dbi_restore_options how = {.from = label || s->predict.outputs == DBI_PREDICT_PROB ? "prob"
                                             : s->predict.outputs == DBI_PREDICT_SDF         ? "sdf"
                                                                                             : "uncertainty",
                                     .to_label = label,
                                     .threshold = s->predict.threshold,
                                     .largest = s->predict.largest};
    return dbi_restore_to_file(prediction, &how, path, error);
}

/* Writes the prediction and frees it, or keeps it in run.only. */
static int emit(run *r, dbi_record *prediction, const char *input, dbi_error *error)
{
    const settings *s = r->settings;
    if (s->target == TARGET_NIFTI) {
        r->only = prediction;
        return 0;
    }
    char *path = NULL;
    int status;
    if (s->target == TARGET_STREAM)
        status = dbi_writer_put(r->writer, prediction, error);
    else if (!(path = take_place(r, dbi_meta_get(prediction, "id"), input, error)))
        status = -1;
    else
        status = s->nifti ? write_nifti(s, prediction, path, error)
                          : dbi_record_save(prediction, path, &s->tool.compression, error);
    free(path);
    dbi_record_free(prediction);
    return status;
}

static void show(void *context, int64_t done, int64_t total)
{
    tool_progress("%s: window %lld of %lld", (const char *)context, (long long)done, (long long)total);
}

static int note_window(const run *r, const dbi_record *input, const char *name, dbi_error *error)
{
    const dbi_tensor *image = dbi_record_find(input, "image");
    int64_t window[3], stride[3];
    if (!r->settings->explicit_whole)
        return 0;
    if (dbi_predictor_window(r->predictor, image->shape + 1, window, stride, error))
        return -1;
    if (window[0] < image->shape[1] || window[1] < image->shape[2] || window[2] < image->shape[3])
        tool_warn("%s: one pass would take more than --memory allows; windows of %lldx%lldx%lld voxels instead", name,
                  (long long)window[0], (long long)window[1], (long long)window[2]);
    return 0;
}

static int check(run *r, const dbi_record *input, const char *name, dbi_error *error)
{
    if (r->only)
        return dbi_fail(error, "more than one case for one NIfTI file");
    if (dbi_predictor_check(r->predictor, input, error))
        return -1;
    if (dbi_predictor_check_preparation(r->predictor, input, error)) {
        if (!r->settings->force)
            return -1;
        tool_warn("%s: %s", name, error->text);
    }
    if (!r->warned && dbi_predictor_beyond_crops(r->predictor, input)) {
        tool_warn("%s was trained on cases cropped round their labels: a whole scan shows it more than it has seen",
                  r->settings->checkpoint);
        r->warned = true;
    }
    return note_window(r, input, name, error);
}

/* Frees the case as soon as it is no longer needed: the image of a large scan takes most of the memory. */
static int predict(run *r, dbi_record *input, const char *name, dbi_error *error)
{
    dbi_record *prediction = check(r, input, name, error)
                                 ? NULL
                                 : dbi_predict(r->predictor, input, r->checksum, show, (void *)(uintptr_t)name, error);
    dbi_record_free(input);
    const char *why = dbi_predictor_on_host(r->predictor);
    if (prediction && why && !r->warned_of_host) {
        tool_warn("%s: cut into windows on the CPU, which is slower: %s", name, why);
        r->warned_of_host = true;
    }
    return prediction ? emit(r, prediction, name, error) : -1;
}

static int predict_stream(run *r, const char *path, dbi_error *error)
{
    const char *name = tool_input_name(path);
    dbi_reader *reader = dbi_reader_open(path, error);
    if (!reader)
        return -1;
    dbi_record *input;
    int status;
    for (int i = 0; (status = dbi_reader_next(reader, &input, error)) > 0; i++)
        if (predict(r, input, name, error)) {
            status = dbi_fail_in(error, "%s: record %d", name, i);
            break;
        }
    dbi_reader_close(reader);
    return status;
}

/* The checkpoint's preparation without the crop, which needs a label; a scan that is to be predicted has none. */
static int scan_preparation(const run *r, dbi_preparation *preparation, dbi_error *error)
{
    const char *text = dbi_meta_get(r->checkpoint->meta, "preprocessing");
    if (!text)
        return dbi_fail(error,
                        "a scan, but %s does not say how to prepare one (no metadata \"preprocessing\"): run "
                        "dbisl-preprocess first",
                        r->settings->checkpoint);
    if (dbi_preparation_parse(text, preparation, error))
        return dbi_fail_in(error, "%s: metadata \"preprocessing\"", r->settings->checkpoint);
    preparation->crop = -1;
    return 0;
}

/* Cuts "A,B,C" into the scans of the network's channels; scans point into *copy. */
static int cut_channels(const char *path, size_t channels, char **copy, const char **scans, dbi_error *error)
{
    if (!(*copy = strdup(path)))
        return dbi_fail(error, "out of memory");
    size_t count = 0;
    for (char *p = *copy; p; count++) {
        char *comma = channels > 1 ? strchr(p, ',') : NULL;
        if (comma)
            *comma = 0;
        if (count < channels)
            scans[count] = p;
        p = comma ? comma + 1 : NULL;
    }
    return count == channels
               ? 0
               : dbi_fail(error, "%zu scans for a network of %zu channels: give them as A,B,...", count, channels);
}

static dbi_record *prepare(const run *r, const char *path, dbi_error *error)
{
    size_t channels = (size_t)r->checkpoint->layout.arch.channels;
    const char **scans = dbi_alloc(channels, sizeof *scans, error);
    char *copy = NULL;
    dbi_record *record = NULL;
    dbi_preparation preparation;
    if (scans && (scan_preparation(r, &preparation, error) || cut_channels(path, channels, &copy, scans, error)))
        dbi_fail_in(error, "%s", path);
    else if (scans)
        record = dbi_case_from_scan(
            &(dbi_case_input){.scans = scans,
                              .channels = channels,
                              .ignore_label = true,
                              .source_spacing = r->settings->has_spacing ? r->settings->source_spacing : NULL},
            &preparation, error);
    free(copy);
    free(scans);
    return record;
}

static int predict_scan(run *r, const char *path, dbi_error *error)
{
    tool_progress("%s: preparing", path);
    dbi_record *input = prepare(r, path, error);
    if (!input)
        return -1;
    return predict(r, input, path, error) ? dbi_fail_in(error, "%s", path) : 0;
}

/* With several channels the first one decides. */
static bool is_scan(const char *path, int channels)
{
    char *first = strdup(path);
    if (first && channels > 1)
        first[strcspn(first, ",")] = 0;
    bool scan = first && strcmp(first, "-") && dbi_is_scan(first);
    free(first);
    return scan;
}

static bool is_pipe(const char *path)
{
    struct stat status;
    return !strcmp(path, "-") || (!stat(path, &status) && !S_ISREG(status.st_mode));
}

/* The id of an input's first case, if it can be known before the input is read; otherwise NULL. Errors are reported
 * later, when it is read. */
static char *first_id(const run *r, const char *path)
{
    dbi_error error;
    const int channels = r->checkpoint->layout.arch.channels;
    if (is_pipe(path))
        return NULL;
    if (is_scan(path, channels)) {
        char *first = strdup(path);
        if (first && channels > 1)
            first[strcspn(first, ",")] = 0;
        char *id = first ? dbi_case_id(first, &error) : NULL;
        free(first);
        return id;
    }
    dbi_record *record = dbi_record_peek(path, &error);
    const char *id = record ? dbi_meta_get(record, "id") : NULL;
    char *copy = id ? strdup(id) : NULL;
    dbi_record_free(record);
    return copy;
}

/* Reserves the files in the folder by the ids of the inputs, before the first is predicted, so that equal ids are found
 * at once. */
static int claim_files(run *r, dbi_error *error)
{
    const settings *s = r->settings;
    for (int i = 0; i < s->count; i++) {
        dbi_error unusable;
        char *id = first_id(r, s->inputs[i]), *path = id ? name_in_folder(s, id, &unusable) : NULL;
        const int status =
            path && !add_claim(r, id, path, s->inputs[i], error) ? dbi_fail_in(error, "%s", s->inputs[i]) : 0;
        free(path);
        free(id);
        if (status)
            return -1;
    }
    return 0;
}

static int predict_all(run *r, dbi_error *error)
{
    const settings *s = r->settings;
    if (s->target == TARGET_FOLDER && claim_files(r, error))
        return -1;
    for (int i = 0; i < s->count; i++)
        if (is_scan(s->inputs[i], r->checkpoint->layout.arch.channels) ? predict_scan(r, s->inputs[i], error)
                                                                       : predict_stream(r, s->inputs[i], error))
            return -1;
    tool_progress_end();
    if (r->only)
        return write_nifti(s, r->only, s->tool.output, error) ? dbi_fail_in(error, "%s", s->inputs[0]) : 0;
    dbi_writer *writer = r->writer;
    r->writer = NULL;
    return writer ? dbi_writer_commit(writer, error) : 0;
}

static void declare_files(const settings *s)
{
    tool_reads(s->checkpoint);
    for (int i = 0; i < s->count; i++) {
        tool_reads(s->inputs[i]);
        struct stat status;
        char *channels = strchr(s->inputs[i], ',') && stat(s->inputs[i], &status) ? strdup(s->inputs[i]) : NULL;
        for (char *rest, *scan = channels ? strtok_r(channels, ",", &rest) : NULL; scan;
             scan = strtok_r(NULL, ",", &rest))
            tool_reads(scan);
        free(channels);
    }
    tool_writes(s->tool.output, s->target == TARGET_FOLDER ? TOOL_FOLDER : TOOL_RESULTS, NULL);
}

int main(int argc, char **argv)
{
    settings s = {.predict = {.weights = DBI_WEIGHTS_UNIFORM,
                              .outputs = DBI_PREDICT_LABEL,
                              .threshold = 0.5,
                              .memory = (size_t)3000 * 1000000}};
    tool_parse(argc, argv, "dbisl-predict", TOOL_DEVICE | TOOL_THREADS | TOOL_COMPRESS | TOOL_PROGRESS, options, parse,
               "CHECKPOINT CASE|SCAN...",
               "Segments cases or scans with a trained network.\vThe output is a stream of prediction records, or a "
               "NIfTI file in the scan's own grid where FILE ends in .nii or .nii.gz, or one file per case where FILE "
               "is a folder (its name ends in / or it is there).",
               &s, &s.tool);
    declare_files(&s);
    run r = {.settings = &s};
    dbi_error error;
    int status = open_run(&r, &error) || predict_all(&r, &error);
    close_run(&r);
    if (status)
        tool_die(&error);
    return TOOL_DONE;
}
