/* What all programs share: options of one vocabulary, messages, exit statuses. */
#ifndef DBI_TOOLS_TOOL_H
#define DBI_TOOLS_TOOL_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "device/device.h"
#include "record/sink.h"
#include "record/stream.h"

enum { TOOL_DONE = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

/* Which of the shared options a program takes. */
enum {
    TOOL_OUTPUT = 1,    /* -o, --output=FILE */
    TOOL_THREADS = 2,   /* --threads=N */
    TOOL_SEED = 4,      /* --seed=N */
    TOOL_COMPRESS = 8,  /* --compress=none|zstd[:LEVEL] */
    TOOL_DEVICE = 16,   /* --device=cpu|reference|cuda[:N]|auto, --precision=fp32|tf32|bf16, --deterministic=yes|no */
    TOOL_PROGRESS = 32, /* --progress; -q, --quiet is always there */
    TOOL_GPU = 64       /* --device=cpu|cuda[:N]|auto, for what is not the network's */
};

typedef struct tool_options {
    const char *output; /* NULL: standard output */
    int threads;        /* 0: all cores */
    uint64_t seed;
    dbi_compression compression;
    dbi_device device;    /* the CPU where nothing was asked for; it has been found usable */
    bool quiet, progress; /* progress: asked for, or stderr is a terminal, and not quiet */
} tool_options;

/* Parses with GNU argp: the program's own options, then the shared ones it takes; --help, --version (-V), --usage.
 * Wrong usage exits with 2. Sets the threads. name: "dbisl-sdf". options ends with {0}. parse is an argp parser for the
 * program's own keys; its state->input is `input`. */
void tool_parse(int argc, char **argv, const char *name, unsigned shared, const struct argp_option *options,
                argp_parser_t parse, const char *arguments, const char *description, void *input, tool_options *out);

typedef struct tool_files {
    char **names;
    int count;
} tool_files;

/* All the arguments that are no options, for a parser's ARGP_KEY_ARGS. */
tool_files tool_arguments(const struct argp_state *state);
/* The same, or standard input where there are none. */
tool_files tool_or_input(tool_files files);
/* How messages call an input: NULL and "-" are standard input. */
const char *tool_input_name(const char *path);

/* What is written to a file, as far as its name's end tells. */
typedef enum tool_form {
    TOOL_RECORDS, /* a tensor file */
    TOOL_SCAN,    /* an image, in a format of scans that is written */
    TOOL_RESULTS, /* a tensor file, where an image would be possible */
    TOOL_TEXT,
    TOOL_FOLDER
} tool_form;

/* Every program says before any work which files it reads, and which it writes. It exits where an output is an input,
 * whatever the two are called (links, other folders; ARCHIVE:MEMBER is ARCHIVE), where two outputs are one file, where
 * the folder is not there, or where the name's end is that of an image that is not written. NULL and "-": standard
 * input and output. */
void tool_reads(const char *path);
void tool_reads_all(tool_files files);
/* may_be: the one input that this output may replace, as tool_reads was told it; NULL: none. */
void tool_writes(const char *path, tool_form form, const char *may_be);

/* What a batch or a step frees, the next one asks for again: kept by the allocator, its pages need not be made and
 * cleared anew. For the start of a program. */
void tool_keep_freed_memory(void);

/* Where the program's result goes; exits when it cannot be opened. tool_commit takes the status of what was written to
 * it: 0 publishes the result, any other drops it; exits unless it is published. */
dbi_sink *tool_sink(const tool_options *options);
void tool_commit(dbi_sink *sink, int status, dbi_error *error);

/* "dbisl-NAME: text" on stderr; exit status TOOL_FAILED. */
_Noreturn void tool_die(const dbi_error *error);
/* "dbisl-NAME: warning: ..." unless quiet. */
void tool_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line that replaces itself on a terminal; nothing unless progress is on. tool_progress_end finishes the line. */
void tool_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tool_progress_end(void);

/* Option arguments, for parsers: wrong ones are usage errors (exit status 2) that name the option. */
long tool_int(struct argp_state *state, const char *option, const char *text, long least, long most);
double tool_number(struct argp_state *state, const char *option, const char *text, double least, double most);
/* "X,Y,Z" (or "X" for all three). */
void tool_ints3(struct argp_state *state, const char *option, const char *text, long least, long most, int64_t out[3]);
void tool_numbers3(struct argp_state *state, const char *option, const char *text, double least, double most,
                   double out[3]);
/* One of two words, the default first: whether it is the second. */
bool tool_either(struct argp_state *state, const char *option, const char *text, const char *first, const char *second);
/* A usage error from a library's parse function. */
_Noreturn void tool_usage(struct argp_state *state, const char *option, const dbi_error *error);

#endif
