/* Bytes out: every file of every format leaves through a sink. */
#ifndef DBI_RECORD_SINK_H
#define DBI_RECORD_SINK_H

#include <stddef.h>

#include "base/error.h"

/* A target that appears whole or not at all: written as ".NAME.part" beside it, synced, renamed. NULL or "-" is
 * standard output; pipes and devices are written at once. While it is open the temporary file is locked, and a second
 * writer of the same target fails. A program that exits with open sinks, as after a fault, leaves no temporary file;
 * one that is killed leaves it for the next writer to overwrite. */
typedef struct dbi_sink dbi_sink;
dbi_sink *dbi_sink_open(const char *path, dbi_error *error);
int dbi_sink_write(dbi_sink *sink, const void *data, size_t size, dbi_error *error);
int dbi_sink_printf(dbi_sink *sink, dbi_error *error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* To a pipe, hands over what is buffered. */
int dbi_sink_flush(dbi_sink *sink, dbi_error *error);
int dbi_sink_commit(dbi_sink *sink, dbi_error *error); /* and free; on failure the target is as it was */
void dbi_sink_abort(dbi_sink *sink);                   /* and free; NULL is allowed */

/* The two steps of a commit on their own, for programs that must publish several files together: prepare each (flush
 * and sync everything; when it fails, abort), then publish them all (rename; frees them, whether it fails or not; NULLs
 * among them are left out). When one cannot be published, those before it are taken back, and all targets are as they
 * were. What cannot be undone: a kill in between, and the loss of an old file where the file system does not exchange
 * two names, as NFS does not. */
int dbi_sink_prepare(dbi_sink *sink, dbi_error *error);
int dbi_sink_publish(dbi_sink *const *sinks, size_t count, dbi_error *error);

#endif
