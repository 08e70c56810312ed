/* Text files line by line. */
#ifndef DBI_RECORD_LINES_H
#define DBI_RECORD_LINES_H

#include <stddef.h>

#include "base/error.h"

typedef struct dbi_lines {
    char *text; /* the whole file; the lines point into it */
    size_t count;
    char **line; /* without line feeds and carriage returns; the last line feed begins no new line */
} dbi_lines;

/* Reads a text of at most 64 MiB; a NUL byte in it is an error. path: "-" is standard input. Errors name the file. */
int dbi_lines_read(const char *path, dbi_lines *lines, dbi_error *error);
void dbi_lines_free(dbi_lines *lines);

#endif
