/* Bytes in: every file of every format comes through here, and leaves through record/sink.h. */
#ifndef DBI_RECORD_BYTES_H
#define DBI_RECORD_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A whole input in memory: a file, standard input ("-"), a member of a tar or zip archive as ARCHIVE:MEMBER (when no
 * file of the whole name exists), each with gzip undone where its magic is there. Free *data with free(); a NUL follows
 * its last byte, which `size` does not count. Refuses more than `limit` bytes (0: 64 GiB) before holding them. Errors
 * name the input. */
int dbi_bytes_read(const char *path, size_t limit, uint8_t **data, size_t *size, dbi_error *error);

/* The MEMBER of a path that dbi_bytes_read takes for ARCHIVE:MEMBER, a pointer into the path: no file has the whole
 * name, and ARCHIVE, as far as the first ':' where it is one, is a file. NULL where it is something else. */
const char *dbi_bytes_member(const char *path);

#endif
