/* gzip output. Equal data give equal bytes, at any time and with any number of threads. */
#ifndef DBI_IMAGE_GZIP_H
#define DBI_IMAGE_GZIP_H

#include <stddef.h>

#include "base/error.h"
#include "record/sink.h"

/* Writes one whole gzip member. level: zlib's. Blocks of 1 MiB are compressed independently, several at a time. */
int dbi_gzip_write(dbi_sink *sink, const void *data, size_t size, int level, dbi_error *error);

#endif
