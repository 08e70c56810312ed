#include "tool.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/parallel.h"
#include "base/version.h"
#include "devices.h"
#include "record/sink.h"

static const char *program = "dbisl";
static bool quiet, progress, line_open;

enum { KEY_THREADS = 0x1000, KEY_SEED, KEY_COMPRESS, KEY_DEVICE, KEY_PRECISION, KEY_DETERMINISTIC, KEY_PROGRESS };

static const struct {
    unsigned flag;
    struct argp_option option;
} shared_options[] = {
    {TOOL_OUTPUT, {"output", 'o', "FILE", 0, "Write to FILE; - is standard output (the default)", 100}},
    {TOOL_DEVICE,
     {"device", KEY_DEVICE, "NAME", 0,
      "Compute on cpu (the default), cuda[:N], auto (cuda if usable) or reference (plain C, slow)", 100}},
    {TOOL_DEVICE, {"precision", KEY_PRECISION, "TYPE", 0, "On cuda: fp32 (the default), tf32 or bf16", 100}},
    {TOOL_DEVICE,
     {"deterministic", KEY_DETERMINISTIC, "YES|NO", 0, "On cuda: equal bytes from run to run (default yes)", 100}},
    {TOOL_GPU,
     {"device", KEY_DEVICE, "NAME", 0, "Compute on cpu (the default), cuda[:N] or auto (cuda if usable)", 100}},
    {TOOL_THREADS, {"threads", KEY_THREADS, "N", 0, "Use N threads (default: OMP_NUM_THREADS, else all cores)", 100}},
    {TOOL_SEED, {"seed", KEY_SEED, "N", 0, "Seed of the random numbers (default 0)", 100}},
    {TOOL_COMPRESS, {"compress", KEY_COMPRESS, "HOW", 0, "none, zstd or zstd:LEVEL (default zstd)", 100}},
    {TOOL_PROGRESS, {"progress", KEY_PROGRESS, 0, 0, "Show progress even when standard error is no terminal", 100}},
    {0, {"quiet", 'q', 0, 0, "No warnings, no progress", 100}},
};

typedef struct parse_state {
    tool_options *out;
    unsigned shared;
    bool any; /* --device=auto */
    dbi_precision precision;
    bool nondeterministic;
    void *input;
    argp_parser_t own;
} parse_state;

static void parse_device(struct argp_state *state, parse_state *s, const char *arg)
{
    dbi_error error;
    s->any = !strcmp(arg, "auto");
    if (s->any)
        return;
    if (devices_find(arg, s->shared & TOOL_DEVICE, &s->out->device, &error))
        tool_usage(state, "device", &error);
}

/* Runs when all options are known, because whether a device can be used depends on several of them. */
static void choose_device(const parse_state *s)
{
    dbi_error error;
    dbi_device *device = &s->out->device;
    device->precision = s->precision;
    device->fast = s->nondeterministic;
    if (s->any) {
        devices_choose(device);
    } else if (devices_check(device, &error)) {
        dbi_fail_in(&error, device->index ? "--device %s:%d" : "--device %s", device->table->name, device->index);
        tool_die(&error);
    }
}

static error_t parse_shared(int key, char *arg, struct argp_state *state)
{
    parse_state *s = state->input;
    dbi_error error;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = s->input;
        return 0;
    case 'o':
        if (!*arg)
            argp_error(state, "--output: the name is empty");
        s->out->output = strcmp(arg, "-") ? arg : NULL;
        return 0;
    case 'q':
        s->out->quiet = true;
        return 0;
    case KEY_THREADS:
        s->out->threads = (int)tool_int(state, "threads", arg, 1, 1024);
        return 0;
    case KEY_SEED: {
        char *end;
        errno = 0;
        s->out->seed = strtoull(arg, &end, 10);
        if (errno || end == arg || *end || strchr(arg, '-'))
            argp_error(state, "--seed: \"%s\" is not a whole number from 0 to 2^64 - 1", arg);
        return 0;
    }
    case KEY_COMPRESS:
        if (dbi_compression_parse(arg, &s->out->compression, &error))
            tool_usage(state, "compress", &error);
        return 0;
    case KEY_DEVICE:
        parse_device(state, s, arg);
        return 0;
    case KEY_PRECISION:
        if (dbi_precision_parse(arg, &s->precision, &error))
            tool_usage(state, "precision", &error);
        return 0;
    case KEY_DETERMINISTIC:
        if (strcmp(arg, "yes") && strcmp(arg, "no"))
            argp_error(state, "--deterministic: \"%s\": choose yes or no", arg);
        s->nondeterministic = !strcmp(arg, "no");
        return 0;
    case ARGP_KEY_END:
        if (s->precision != DBI_PRECISION_FP32 && !s->any && !s->out->device.table->precisions)
            argp_error(state, "--precision: %s is for --device cuda; %s computes in fp32",
                       dbi_precision_name(s->precision), s->out->device.table->name);
        return 0;
    case KEY_PROGRESS:
        s->out->progress = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_version(FILE *stream, struct argp_state *state)
{
    (void)state;
    fprintf(stream, "%s %s\n", program, DBI_VERSION);
}

void tool_parse(int argc, char **argv, const char *name, unsigned shared, const struct argp_option *options,
                argp_parser_t parse, const char *arguments, const char *description, void *input, tool_options *out)
{
    program = name;
    argp_err_exit_status = TOOL_USAGE;
    argp_program_version_hook = print_version;
    *out = (tool_options){0};
    devices_host(&out->device);
    struct argp_option mine[sizeof shared_options / sizeof *shared_options + 1] = {0};
    int count = 0;
    for (size_t i = 0; i < sizeof shared_options / sizeof *shared_options; i++)
        if (!shared_options[i].flag || (shared & shared_options[i].flag))
            mine[count++] = shared_options[i].option;
    struct argp own = {.options = options, .parser = parse};
    struct argp_child children[] = {{&own, 0, NULL, 0}, {0}};
    struct argp all = {
        .options = mine, .parser = parse_shared, .args_doc = arguments, .doc = description, .children = children};
    parse_state state = {.out = out, .shared = shared, .input = input, .own = parse};
    argv[0] =
        (char *)(uintptr_t)name; /* messages and --help show the program's name and not the path it was started with */
    errno = argp_parse(&all, argc, argv, 0, NULL, &state); /* returns an error of the system; wrong usage exits */
    if (errno) {
        dbi_error error;
        dbi_fail_errno(&error, "the options could not be read");
        tool_die(&error);
    }
    quiet = out->quiet;
    out->progress = progress = !quiet && (out->progress || ((shared & TOOL_PROGRESS) && isatty(2)));
    dbi_set_threads(out->threads);
    choose_device(&state);
}

tool_files tool_arguments(const struct argp_state *state)
{
    return (tool_files){.names = state->argv + state->next, .count = state->argc - state->next};
}

tool_files tool_or_input(tool_files files)
{
    static char standard[] = "-", *names[] = {standard};
    return files.count ? files : (tool_files){.names = names, .count = 1};
}

const char *tool_input_name(const char *path)
{
    return path && strcmp(path, "-") ? path : "standard input";
}

dbi_sink *tool_sink(const tool_options *options)
{
    dbi_error error;
    dbi_sink *sink = dbi_sink_open(options->output, &error);
    if (!sink)
        tool_die(&error);
    return sink;
}

void tool_commit(dbi_sink *sink, int status, dbi_error *error)
{
    if (status)
        dbi_sink_abort(sink);
    if (status || dbi_sink_commit(sink, error))
        tool_die(error);
}

void tool_die(const dbi_error *error)
{
    tool_progress_end();
    fprintf(stderr, "%s: %s\n", program, error->text);
    exit(TOOL_FAILED);
}

void tool_warn(const char *format, ...)
{
    if (quiet)
        return;
    tool_progress_end();
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: warning: ", program);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void tool_progress(const char *format, ...)
{
    if (!progress)
        return;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "\r%s: ", program);
    vfprintf(stderr, format, args);
    fputs("\033[K", stderr);
    fflush(stderr);
    line_open = true;
    va_end(args);
}

void tool_progress_end(void)
{
    if (line_open)
        fputc('\n', stderr);
    line_open = false;
}

void tool_usage(struct argp_state *state, const char *option, const dbi_error *error)
{
    argp_error(state, "--%s: %s", option, error->text);
    exit(TOOL_USAGE);
}

long tool_int(struct argp_state *state, const char *option, const char *text, long least, long most)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < least || value > most)
        argp_error(state, "--%s: \"%s\" is not a whole number from %ld to %ld", option, text, least, most);
    return value;
}

double tool_number(struct argp_state *state, const char *option, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < least || value > most)
        argp_error(state, "--%s: \"%s\" is not a number from %g to %g", option, text, least, most);
    return value;
}

bool tool_either(struct argp_state *state, const char *option, const char *text, const char *first, const char *second)
{
    const bool is_second = !strcmp(text, second);
    if (!is_second && strcmp(text, first))
        argp_error(state, "--%s: \"%s\": choose %s or %s", option, text, first, second);
    return is_second;
}

/* Cuts "A,B,C", or "A" for all three, into three texts; false when the text is neither. */
static bool cut3(const char *text, char part[3][64])
{
    int n = 0;
    for (const char *p = text;; n++) {
        size_t length = strcspn(p, ",");
        if (n == 3 || length >= sizeof part[0])
            return false;
        memcpy(part[n], p, length);
        part[n][length] = 0;
        if (!p[length])
            break;
        p += length + 1;
    }
    if (n == 0) {
        memcpy(part[1], part[0], sizeof part[0]);
        memcpy(part[2], part[0], sizeof part[0]);
    }
    return n != 1;
}

void tool_ints3(struct argp_state *state, const char *option, const char *text, long least, long most, int64_t out[3])
{
    char part[3][64];
    if (!cut3(text, part))
        argp_error(state, "--%s: \"%s\" is not X,Y,Z", option, text);
    for (int i = 0; i < 3; i++)
        out[i] = tool_int(state, option, part[i], least, most);
}

void tool_numbers3(struct argp_state *state, const char *option, const char *text, double least, double most,
                   double out[3])
{
    char part[3][64];
    if (!cut3(text, part))
        argp_error(state, "--%s: \"%s\" is not X,Y,Z", option, text);
    for (int i = 0; i < 3; i++)
        out[i] = tool_number(state, option, part[i], least, most);
}

void tool_keep_freed_memory(void)
{
    mallopt(M_ARENA_MAX, 1); /* otherwise another thread could not use what one thread has freed */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
}
