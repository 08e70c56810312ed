/* The uncompressed bytes of a stream, record by record: plain ones as they are, zstd frames undone. */
#ifndef DBI_RECORD_SOURCE_H
#define DBI_RECORD_SOURCE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct dbi_source dbi_source;

/* path: NULL is standard input. */
dbi_source *dbi_source_open(const char *path, dbi_error *error);
/* 1: a record begins here; 0: the stream ends; -1: an error. */
int dbi_source_begin(dbi_source *source, dbi_error *error);
/* Exactly `size` bytes. Takes from the file only what these need. */
int dbi_source_read(dbi_source *source, void *data, size_t size, dbi_error *error);
/* `size` bytes in memory that is aligned to 64 bytes and is never much larger than what has come so far. Free with free(). */
void *dbi_source_take(dbi_source *source, size_t size, dbi_error *error);
/* The record is complete: where its frame ends with it, this checks the frame's checksum. */
int dbi_source_end(dbi_source *source, dbi_error *error);
void dbi_source_close(dbi_source *source);

#endif
