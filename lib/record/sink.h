/* Bytes out: every file of every format leaves through a sink. */
#ifndef DBI_RECORD_SINK_H
#define DBI_RECORD_SINK_H

#include <stddef.h>

#include "base/error.h"

/* A target that appears whole or not at all: it is written as ".NAME.part" beside the target, synced and renamed. NULL
 * or "-" is standard output; pipes and devices are written at once. The temporary file is locked while it is open, and
 * a second writer of the same target fails. A program that exits with open sinks, for example after a failure, leaves
 * no temporary file; one that is killed leaves it, and the next writer overwrites it. Errors name the target. */
typedef struct dbi_sink dbi_sink;
dbi_sink *dbi_sink_open(const char *path, dbi_error *error);
int dbi_sink_write(dbi_sink *sink, const void *data, size_t size, dbi_error *error);
int dbi_sink_printf(dbi_sink *sink, dbi_error *error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Hands on what is buffered, except to a file. */
int dbi_sink_flush(dbi_sink *sink, dbi_error *error);
int dbi_sink_commit(dbi_sink *sink, dbi_error *error); /* and free; on failure the target is as it was */
void dbi_sink_abort(dbi_sink *sink);                   /* and free; NULL is allowed */

/* The two steps of a commit, for programs that must publish several files together. Prepare each sink: this writes and
 * syncs everything; when it fails, abort. Then publish all of them: this renames and frees them, also when it fails;
 * NULLs among them are skipped. When one cannot be published, those before it are taken back, and all targets are as
 * they were. Two things cannot be undone: a kill in between, and the loss of an old file on file systems that cannot
 * exchange two names, such as NFS. */
int dbi_sink_prepare(dbi_sink *sink, dbi_error *error);
int dbi_sink_publish(dbi_sink *const *sinks, size_t count, dbi_error *error);

#endif
