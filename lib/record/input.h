/* The uncompressed bytes of a stream, record by record: plain ones as they are, zstd frames undone. */
#ifndef DBI_RECORD_INPUT_H
#define DBI_RECORD_INPUT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct dbi_input dbi_input;

/* path: NULL is standard input. */
dbi_input *dbi_input_open(const char *path, dbi_error *error);
/* 1: a record begins here; 0: the stream ends; -1: an error. */
int dbi_input_begin(dbi_input *input, dbi_error *error);
/* Exactly `size` bytes. Takes from the file only what these need. */
int dbi_input_read(dbi_input *input, void *data, size_t size, dbi_error *error);
/* `size` bytes in memory that is aligned to 64 bytes and is never much larger than what has come so far. Free with
 * free(). */
void *dbi_input_take(dbi_input *input, size_t size, dbi_error *error);
/* The record is complete: where its frame ends with it, this checks the frame's checksum. */
int dbi_input_end(dbi_input *input, dbi_error *error);
void dbi_input_close(dbi_input *input);

#endif
