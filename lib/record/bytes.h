/* Bytes in: every file of every format is read here. Files are written through record/sink.h. */
#ifndef DBI_RECORD_BYTES_H
#define DBI_RECORD_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Reads a whole input into memory: a file, standard input ("-" or NULL), or a member of a tar or zip archive, named
 * ARCHIVE:MEMBER, when no file has that whole name. Data that begin as gzip data do are decompressed. Free *data with
 * free(); a NUL follows the last byte, and *size does not count it. An input of more than `limit` bytes (0: 64 GiB) is
 * refused before it takes that much memory. Errors name the input. */
int dbi_bytes_read(const char *path, size_t limit, uint8_t **data, size_t *size, dbi_error *error);

/* Where MEMBER begins in a path that dbi_bytes_read takes for ARCHIVE:MEMBER; NULL for any other path. Such a path
 * names no file as a whole, but the part before one of its ':' names a regular file. The first such ':' counts. */
const char *dbi_bytes_member(const char *path);

#endif
