/* dbisl-info: shows what is in tensor files, or cuts a stream into files of one record each. */
#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "record/checksum.h"
#include "record/json.h"
#include "record/metadata.h"
#include "record/sink.h"
#include "record/summary.h"
#include "tool.h"

typedef struct arguments {
    bool json, history;
    const char *split;
    tool_files files;
} arguments;

enum { KEY_JSON = 1, KEY_HISTORY, KEY_SPLIT };

static const struct argp_option options[] = {
    {"json", KEY_JSON, 0, 0, "Print a JSON document for each record, one a line", 0},
    {"history", KEY_HISTORY, 0, 0, "Print which programs, settings and inputs led to each record", 0},
    {"split", KEY_SPLIT, "PREFIX", 0,
     "Write the records to PREFIX0000.st.zst, PREFIX0001.st.zst, ... (.safetensors with --compress=none)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case KEY_JSON:
        a->json = true;
        return 0;
    case KEY_HISTORY:
        a->history = true;
        return 0;
    case KEY_SPLIT:
        a->split = arg;
        return 0;
    case ARGP_KEY_ARGS:
        a->files = tool_arguments(state);
        return 0;
    case ARGP_KEY_END:
        if (a->json + a->history + (a->split != NULL) > 1)
            argp_error(state, "choose one of --json, --history and --split");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Prints with each control character as '?', because metadata and names may come from hostile files, and terminals obey
 * escape sequences. */
static int __attribute__((format(printf, 3, 4))) show(dbi_sink *out, dbi_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = dbi_format(error, format, args);
    va_end(args);
    if (!text)
        return -1;
    for (char *c = text; *c; c++)
        if (((unsigned char)*c < 0x20 && (*c != '\n' || c[1])) || *c == 0x7f)
            *c = '?';
    int result = dbi_sink_write(out, text, strlen(text), error);
    free(text);
    return result;
}

/* "file.st.zst: record 0: case pa01" */
static int print_title(dbi_sink *out, const char *name, size_t index, const dbi_record *record, dbi_error *error)
{
    static const char *const keys[] = {"kind", "id", "step"};
    if (show(out, error, "%s: record %zu:", name, index))
        return -1;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = dbi_meta_get(record, keys[i]);
        if (value && show(out, error, " %s%s", !strcmp(keys[i], "step") ? "step " : "", value))
            return -1;
    }
    return dbi_sink_write(out, "\n", 1, error);
}

static void shape_text(char *text, size_t size, const dbi_tensor *tensor)
{
    size_t at = 0;
    for (int i = 0; i < tensor->ndim; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%" PRId64, i ? "," : "", tensor->shape[i]);
    text[at] = 0;
}

static int print_tensor(dbi_sink *out, const dbi_tensor *tensor, int width, dbi_error *error)
{
    char shape[DBI_MAX_DIMS * 21 + 1];
    shape_text(shape, sizeof shape, tensor);
    dbi_summary summary = dbi_tensor_summary(tensor);
    if (show(out, error, "  %-*s  %-4s [%s]  %zu bytes", width, tensor->name, dbi_dtype_name(tensor->dtype), shape,
             tensor->count * dbi_dtype_size(tensor->dtype)))
        return -1;
    if (!isnan(summary.mean) &&
        show(out, error, "  min %.6g  max %.6g  mean %.6g", summary.min, summary.max, summary.mean))
        return -1;
    if (summary.nonfinite && show(out, error, "  %zu not finite", summary.nonfinite))
        return -1;
    return dbi_sink_write(out, "\n", 1, error);
}

/* The larger of `width` and the text's length, but lengths above 40 do not count. */
static int wider(int width, const char *text)
{
    size_t length = strlen(text);
    return length > (size_t)width && length <= 40 ? (int)length : width;
}

static int list_record(dbi_sink *out, const char *name, size_t index, const dbi_record *record, dbi_error *error)
{
    int width = 0;
    for (size_t i = 0; i < dbi_record_count(record); i++)
        width = wider(width, dbi_record_at(record, i)->name);
    int result = print_title(out, name, index, record, error);
    for (size_t i = 0; !result && i < dbi_record_count(record); i++)
        result = print_tensor(out, dbi_record_at(record, i), width, error);
    const char *key;
    width = 0;
    for (size_t i = 0; (key = dbi_meta_key(record, i)); i++)
        width = wider(width, key);
    for (size_t i = 0; !result && (key = dbi_meta_key(record, i)); i++)
        if (strcmp(key, "history")) /* too long to read here; --history shows it */
            result = show(out, error, "  %-*s  %s\n", width, key, dbi_meta_get(record, key));
    return result;
}

/* JSON has no NaN. */
static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *shape_json(const dbi_tensor *tensor)
{
    json_t *shape = json_array();
    for (int i = 0; shape && i < tensor->ndim; i++)
        if (json_array_append_new(shape, json_integer(tensor->shape[i]))) {
            json_decref(shape);
            shape = NULL;
        }
    return shape;
}

static json_t *tensor_json(const dbi_tensor *tensor)
{
    dbi_summary summary = dbi_tensor_summary(tensor);
    return json_pack("{s:s, s:s, s:o, s:I, s:o, s:o, s:o, s:I}", "name", tensor->name, "dtype",
                     dbi_dtype_name(tensor->dtype), "shape", shape_json(tensor), "bytes",
                     (json_int_t)(tensor->count * dbi_dtype_size(tensor->dtype)), "min", number_or_null(summary.min),
                     "max", number_or_null(summary.max), "mean", number_or_null(summary.mean), "nonfinite",
                     (json_int_t)summary.nonfinite);
}

static json_t *tensors_json(const dbi_record *record)
{
    json_t *tensors = json_array();
    for (size_t i = 0; tensors && i < dbi_record_count(record); i++)
        if (json_array_append_new(tensors, tensor_json(dbi_record_at(record, i)))) {
            json_decref(tensors);
            tensors = NULL;
        }
    return tensors;
}

static json_t *metadata_json(const dbi_record *record)
{
    json_t *metadata = json_object();
    const char *key;
    for (size_t i = 0; metadata && (key = dbi_meta_key(record, i)); i++)
        if (json_object_set_new(metadata, key, json_string(dbi_meta_get(record, key)))) {
            json_decref(metadata);
            metadata = NULL;
        }
    return metadata;
}

static bool is_utf8(const char *text)
{
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        const int more = c < 0x80 ? 0 : c < 0xc2 ? -1 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : -1;
        for (int i = 0; i < more; i++)
            if ((*++text & 0xc0) != 0x80)
                return false;
        if (more < 0)
            return false;
    }
    return true;
}

/* A file name that is not UTF-8 cannot be written in JSON. */
static json_t *name_json(const char *name)
{
    return is_utf8(name) ? json_string(name) : json_null();
}

static int print_json(dbi_sink *out, const char *name, size_t index, const dbi_record *record, dbi_error *error)
{
    char checksum[33];
    if (dbi_record_checksum(record, checksum, error))
        return -1;
    json_t *document =
        json_pack("{s:o, s:I, s:s, s:o, s:o}", "file", name_json(name), "record", (json_int_t)index, "checksum",
                  checksum, "tensors", tensors_json(record), "metadata", metadata_json(record));
    char *text = document ? dbi_json_text(document, JSON_COMPACT, error) : NULL;
    json_decref(document);
    int result = text ? dbi_sink_printf(out, error, "%s\n", text) : dbi_fail(error, "out of memory");
    free(text);
    return result;
}

/* Prints "key value"; an object's members take a line each. */
static int print_entry_value(dbi_sink *out, const char *key, const json_t *value, dbi_error *error)
{
    const char *inner;
    json_t *member;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, inner, member)
        {
            char *text = dbi_json_text(member, JSON_COMPACT | JSON_ENCODE_ANY, error);
            int result = text ? show(out, error, "     %s.%s %s\n", key, inner,
                                     json_is_string(member) ? json_string_value(member) : text)
                              : dbi_fail(error, "out of memory");
            free(text);
            if (result)
                return -1;
        }
        return 0;
    }
    char *text = dbi_json_text(value, JSON_COMPACT | JSON_ENCODE_ANY, error);
    int result = text ? show(out, error, "     %s %s\n", key, json_is_string(value) ? json_string_value(value) : text)
                      : dbi_fail(error, "out of memory");
    free(text);
    return result;
}

static int print_entry(dbi_sink *out, size_t number, json_t *entry, dbi_error *error)
{
    const char *tool = json_string_value(json_object_get(entry, "tool")),
               *version = json_string_value(json_object_get(entry, "version"));
    const char *key;
    json_t *value;
    if (show(out, error, "  %zu. %s%s%s\n", number, tool ? tool : "training run", version ? " " : "",
             version ? version : ""))
        return -1;
    json_object_foreach(entry, key, value)
    {
        if (strcmp(key, "tool") && strcmp(key, "version") && print_entry_value(out, key, value, error))
            return -1;
    }
    return 0;
}

static int print_history(dbi_sink *out, const char *name, size_t index, const dbi_record *record, dbi_error *error)
{
    if (print_title(out, name, index, record, error))
        return -1;
    if (!dbi_meta_get(record, "history"))
        return show(out, error, "  no history\n");
    json_t *history = dbi_meta_get_json(record, "history", error), *entry;
    if (!history)
        return dbi_fail_in(error, "%s: record %zu", name, index);
    int result = json_is_array(history) ? 0 : -1;
    size_t i;
    json_array_foreach(history, i, entry)
    {
        if (!json_is_object(entry))
            result = -1;
    }
    if (result)
        dbi_fail(error, "%s: record %zu: metadata \"history\" is not an array of objects", name, index);
    for (i = 0; !result && i < json_array_size(history); i++)
        result = print_entry(out, i + 1, json_array_get(history, i), error);
    json_decref(history);
    return result;
}

static int split_name(char **name, const arguments *a, const tool_options *shared, size_t index, dbi_error *error)
{
    if (asprintf(name, "%s%04zu%s", a->split, index, shared->compression.none ? ".safetensors" : ".st.zst") >= 0)
        return 0;
    *name = NULL;
    return dbi_fail(error, "out of memory");
}

/* Whether this name, in the folder of PREFIX, could be that of a record. end: ".st.zst" or ".safetensors". */
static bool is_of_split(const char *name, const char *base, const char *end)
{
    if (strncmp(name, base, strlen(base)))
        return false;
    const char *number = name + strlen(base);
    const size_t digits = strspn(number, "0123456789");
    return digits >= 4 && !strcmp(number + digits, end);
}

/* The number of records is not known yet, so every file there that could be one of theirs is declared as an output:
 * none may be an input. */
static void declare_split(const arguments *a, const tool_options *shared)
{
    dbi_error error;
    char *first, *path;
    if (split_name(&first, a, shared, 0, &error))
        tool_die(&error);
    tool_writes(first, TOOL_RECORDS, NULL);
    const char *slash = strrchr(a->split, '/'), *base = slash ? slash + 1 : a->split;
    const int folder = slash ? (int)(slash + 1 - a->split) : 0;
    if (asprintf(&path, "%.*s.", folder, a->split) < 0)
        path = NULL;
    DIR *entries = path ? opendir(path) : NULL;
    free(path);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        if (!is_of_split(entry->d_name, base, first + strlen(a->split) + 4) ||
            asprintf(&path, "%.*s%s", folder, a->split, entry->d_name) < 0)
            continue;
        if (strcmp(path, first))
            tool_writes(path, TOOL_RECORDS, NULL);
        free(path);
    }
    if (entries)
        closedir(entries);
    free(first);
}

/* Removes the files of a stream that broke off, although each of them is whole: all files or none. */
static void remove_split(const arguments *a, const tool_options *shared, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *name;
        if (!split_name(&name, a, shared, i, NULL))
            unlink(name);
        free(name);
    }
}

static int split_record(const arguments *a, const tool_options *shared, size_t index, const dbi_record *record,
                        dbi_error *error)
{
    char *name;
    int result = split_name(&name, a, shared, index, error);
    if (!result)
        result = dbi_record_save(record, name, &shared->compression, error);
    free(name);
    return result;
}

/* total: the number of records so far, over all files. */
static int show_file(const arguments *a, const tool_options *shared, const char *path, dbi_sink *out, size_t *total,
                     dbi_error *error)
{
    const char *name = tool_input_name(path);
    dbi_reader *reader = dbi_reader_open(path, error);
    if (!reader)
        return -1;
    dbi_record *record;
    int more, result = 0;
    for (size_t index = 0; !result && (more = dbi_reader_next(reader, &record, error)); index++) {
        if (more < 0)
            result = -1;
        else if (a->split)
            result = split_record(a, shared, *total, record, error);
        else
            result = (a->json ? print_json : a->history ? print_history : list_record)(out, name, index, record, error);
        if (!result && out)
            result = dbi_sink_flush(out, error); /* so that a reader of a stream sees each record when it comes */
        *total += !result;
        dbi_record_free(record);
    }
    dbi_reader_close(reader);
    return result;
}

int main(int argc, char **argv)
{
    arguments a = {0};
    tool_options shared;
    dbi_error error;
    tool_parse(argc, argv, "dbisl-info", TOOL_OUTPUT | TOOL_COMPRESS, options, parse, "[FILE...]",
               "Shows what is in tensor files: each record's kind, tensors and metadata. Without a FILE, or with -, "
               "reads standard input.",
               &a, &shared);
    if (a.split && shared.output) {
        fprintf(stderr, "dbisl-info: leave out -o: --split names its files by PREFIX\n");
        return TOOL_USAGE;
    }
    const tool_files files = tool_or_input(a.files);
    tool_reads_all(files);
    if (a.split)
        declare_split(&a, &shared);
    else
        tool_writes(shared.output, TOOL_TEXT, NULL);
    dbi_sink *out = a.split ? NULL : tool_sink(&shared);
    size_t total = 0;
    int result = 0;
    for (int i = 0; !result && i < files.count; i++)
        result = show_file(&a, &shared, files.names[i], out, &total, &error);
    if (!result && out) {
        result = dbi_sink_commit(out, &error);
        out = NULL;
    }
    if (!result)
        return TOOL_DONE;
    dbi_sink_abort(out);
    if (a.split)
        remove_split(&a, &shared, total);
    tool_die(&error);
}
