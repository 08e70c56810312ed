#include "record/lines.h"

#include <stdlib.h>
#include <string.h>

#include "record/bytes.h"

enum { TEXT_LIMIT = 64 << 20 };

int dbi_lines_read(const char *path, dbi_lines *lines, dbi_error *error)
{
    *lines = (dbi_lines){0};
    uint8_t *data;
    size_t size;
    if (dbi_bytes_read(path, TEXT_LIMIT, &data, &size, error))
        return -1;
    char *text = memchr(data, 0, size) ? NULL : realloc(data, size + 1);
    if (!text) {
        free(data);
        return dbi_fail(error, "%s: not a text file", path);
    }
    text[size] = 0;
    size_t most = 1;
    for (size_t i = 0; i < size; i++)
        most += text[i] == '\n';
    lines->text = text;
    if (!(lines->line = calloc(most, sizeof *lines->line))) {
        dbi_lines_free(lines);
        return dbi_fail(error, "out of memory");
    }
    for (char *at = text; at < text + size;) {
        char *end = at + strcspn(at, "\n");
        *end = 0;
        if (end > at && end[-1] == '\r')
            end[-1] = 0;
        lines->line[lines->count++] = at;
        at = end + 1;
    }
    return 0;
}

void dbi_lines_free(dbi_lines *lines)
{
    free(lines->line);
    free(lines->text);
    *lines = (dbi_lines){0};
}
