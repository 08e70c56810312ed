/* The uncompressed bytes of a stream, record by record. Plain bytes are passed on as they are, zstd frames are
 * decompressed. */
#ifndef DBI_RECORD_INPUT_H
#define DBI_RECORD_INPUT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct dbi_input dbi_input;

/* path: NULL is standard input. NULL with an error. */
dbi_input *dbi_input_open(const char *path, dbi_error *error);
/* 1: a record begins here; 0: the stream ends; -1: an error. */
int dbi_input_begin(dbi_input *input, dbi_error *error);
/* Reads exactly `size` bytes; it is an error when the data end before. Never waits for bytes that come after them. */
int dbi_input_read(dbi_input *input, void *data, size_t size, dbi_error *error);
/* `size` bytes in new memory, aligned to 64 bytes. The memory grows as bytes arrive, so that a false size in a small
 * file does not claim gigabytes. Free with free(); NULL with an error. */
void *dbi_input_take(dbi_input *input, size_t size, dbi_error *error);
/* Ends the record. Where its zstd frame ends too, this checks the frame's checksum. */
int dbi_input_end(dbi_input *input, dbi_error *error);
/* NULL is allowed. */
void dbi_input_close(dbi_input *input);

#endif
