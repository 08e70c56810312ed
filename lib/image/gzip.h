/* gzip on the way to a sink: always the same bytes for the same data, whatever the time and the number of threads. */
#ifndef DBI_IMAGE_GZIP_H
#define DBI_IMAGE_GZIP_H

#include <stddef.h>

#include "base/error.h"
#include "record/sink.h"

/* Writes one whole gzip member. Blocks of 1 MiB are compressed independently of each other, several at a time. */
int dbi_gzip_write(dbi_sink *sink, const void *data, size_t size, int level, dbi_error *error);

#endif
