/* Text files line by line. */
#ifndef DBI_RECORD_LINES_H
#define DBI_RECORD_LINES_H

#include <stddef.h>

#include "base/error.h"

typedef struct dbi_lines {
    char *text; /* the whole file; the lines point into it */
    size_t count;
    char **line; /* without line feeds and carriage returns; empty lines are kept, but for the one behind the last line
                    feed */
} dbi_lines;

/* A text of at most 64 MiB; NUL bytes in it are an error. path: "-" is standard input. */
int dbi_lines_read(const char *path, dbi_lines *lines, dbi_error *error);
void dbi_lines_free(dbi_lines *lines);

#endif
