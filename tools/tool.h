/* What all programs share: options with common names, messages, exit statuses. */
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

/* The shared options that a program can have. */
enum {
    TOOL_OUTPUT = 1,    /* -o, --output=FILE */
    TOOL_THREADS = 2,   /* --threads=N */
    TOOL_SEED = 4,      /* --seed=N */
    TOOL_COMPRESS = 8,  /* --compress=none|zstd[:LEVEL] */
    TOOL_DEVICE = 16,   /* --device=cpu|reference|cuda[:N]|auto, --precision=fp32|tf32|bf16, --deterministic=yes|no */
    TOOL_PROGRESS = 32, /* --progress; every program has -q, --quiet */
    TOOL_GPU = 64       /* --device=cpu|cuda[:N]|auto, for programs that do not use the network */
};

typedef struct tool_options {
    const char *output; /* NULL: standard output */
    int threads;        /* 0: all cores */
    uint64_t seed;
    dbi_compression compression;
    dbi_device device;    /* the CPU by default; it has been found usable */
    bool quiet, progress; /* progress: not quiet, and asked for or stderr is a terminal */
} tool_options;

/* Parses with GNU argp: the program's own options, then the shared ones that it has; --help, --version (-V), --usage.
 * Wrong usage exits with 2. Sets the threads and chooses the device. name: "dbisl-sdf". options ends with {0}. parse is
 * an argp parser for the program's own keys; its state->input is `input`. */
void tool_parse(int argc, char **argv, const char *name, unsigned shared, const struct argp_option *options,
                argp_parser_t parse, const char *arguments, const char *description, void *input, tool_options *out);

typedef struct tool_files {
    char **names;
    int count;
} tool_files;

/* All arguments that are not options, for a parser's ARGP_KEY_ARGS. */
tool_files tool_arguments(const struct argp_state *state);
/* The same files, or standard input when there are none. */
tool_files tool_or_input(tool_files files);
/* The name of an input in messages: NULL and "-" are "standard input". */
const char *tool_input_name(const char *path);

/* What a program writes to a file, as the ending of the name must say. */
typedef enum tool_form {
    TOOL_RECORDS, /* a tensor file */
    TOOL_SCAN,    /* an image, in a format that can be written */
    TOOL_RESULTS, /* a tensor file or an image */
    TOOL_TEXT,
    TOOL_FOLDER
} tool_form;

/* Every program declares before any work which files it reads and which it writes. It exits when an output is an input,
 * whatever the two names are (links, other folders; for ARCHIVE:MEMBER the archive), when two outputs are one file,
 * when the folder does not exist, or when the ending of the name is that of an image that cannot be written. NULL and
 * "-" are standard input and output. */
void tool_reads(const char *path);
void tool_reads_all(tool_files files);
/* may_be: the one input that this output may replace, as given to tool_reads; NULL: none. */
void tool_writes(const char *path, tool_form form, const char *may_be);

/* Makes the allocator keep freed memory, because each batch or step asks for as much as the one before has freed, and
 * new pages must be cleared first. Call it when the program starts. */
void tool_keep_freed_memory(void);

/* tool_sink opens the program's output and exits when that fails. tool_commit takes the status of what was written to
 * it: 0 publishes the result, any other drops it. It exits unless the result is published. */
dbi_sink *tool_sink(const tool_options *options);
void tool_commit(dbi_sink *sink, int status, dbi_error *error);

/* Prints "dbisl-NAME: text" on stderr and exits with TOOL_FAILED. */
_Noreturn void tool_die(const dbi_error *error);
/* Prints "dbisl-NAME: warning: ..." on stderr unless quiet. */
void tool_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints a line that replaces itself on a terminal, if progress is on. tool_progress_end finishes the line. */
void tool_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tool_progress_end(void);

/* Read option arguments, for parsers. Wrong ones are usage errors (exit status 2) that name the option. */
long tool_int(struct argp_state *state, const char *option, const char *text, long least, long most);
double tool_number(struct argp_state *state, const char *option, const char *text, double least, double most);
/* "X,Y,Z" (or "X" for all three). */
void tool_ints3(struct argp_state *state, const char *option, const char *text, long least, long most, int64_t out[3]);
void tool_numbers3(struct argp_state *state, const char *option, const char *text, double least, double most,
                   double out[3]);
/* Reads one of two words, of which the first is the default. Returns whether it is the second. */
bool tool_either(struct argp_state *state, const char *option, const char *text, const char *first, const char *second);
/* Makes a usage error of the error of a library's parse function. */
_Noreturn void tool_usage(struct argp_state *state, const char *option, const dbi_error *error);

#endif
