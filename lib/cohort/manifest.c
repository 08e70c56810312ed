#include "cohort/manifest.h"

#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record/lines.h"
#include "record/sink.h"

static const char header[] = "path\tid\tpart";

const char *dbi_part_name(dbi_part part)
{
    static const char *const names[DBI_PARTS] = {"labeled", "unlabeled", "validation", "test"};
    return names[part];
}

int dbi_manifest_add(dbi_manifest *manifest, const char *path, const char *id, dbi_part part, dbi_error *error)
{
    size_t n = manifest->count;
    if ((n & (n - 1)) == 0) { /* room grows when count is a power of two */
        dbi_manifest_row *rows = realloc(manifest->rows, (n ? 2 * n : 1) * sizeof *rows);
        if (!rows)
            return dbi_fail(error, "out of memory");
        manifest->rows = rows;
    }
    dbi_manifest_row *row = &manifest->rows[n];
    *row = (dbi_manifest_row){strdup(path), strdup(id), part};
    if (row->path && row->id) {
        manifest->count++;
        return 0;
    }
    free(row->path);
    free(row->id);
    return dbi_fail(error, "out of memory");
}

void dbi_manifest_free(dbi_manifest *manifest)
{
    for (size_t i = 0; i < manifest->count; i++) {
        free(manifest->rows[i].path);
        free(manifest->rows[i].id);
    }
    free(manifest->rows);
    free(manifest->name);
    *manifest = (dbi_manifest){0};
}

/* The folder of a manifest's name, with a slash; "" for the current one. */
static char *folder_of(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("");
}

/* A header may have more columns. */
static bool is_header(const char *line)
{
    size_t n = sizeof header - 1;
    return !strncmp(line, header, n) && (!line[n] || line[n] == '\t');
}

static int read_row(char *line, const char *folder, dbi_manifest *manifest, dbi_error *error)
{
    char *path = strsep(&line, "\t"), *id = strsep(&line, "\t"), *name = strsep(&line, "\t");
    if (!name)
        return dbi_fail(error, "not three columns separated by tabs");
    if (!*path || !*id)
        return dbi_fail(error, "the %s is empty", *path ? "id" : "path");
    int part = 0;
    while (part < DBI_PARTS && strcmp(name, dbi_part_name((dbi_part)part)))
        part++;
    if (part == DBI_PARTS)
        return dbi_fail(error, "\"%s\": write labeled, unlabeled, validation or test", name);
    char *whole;
    if (asprintf(&whole, "%s%s", *path == '/' ? "" : folder, path) < 0)
        return dbi_fail(error, "out of memory");
    int result = dbi_manifest_add(manifest, whole, id, (dbi_part)part, error);
    free(whole);
    return result;
}

static int by_id(const void *a, const void *b)
{
    return strcmp((*(dbi_manifest_row *const *)a)->id, (*(dbi_manifest_row *const *)b)->id);
}

static int by_path(const void *a, const void *b)
{
    return strcmp((*(dbi_manifest_row *const *)a)->path, (*(dbi_manifest_row *const *)b)->path);
}

static int check_unique(const dbi_manifest *manifest, dbi_error *error)
{
    const dbi_manifest_row **rows = calloc(manifest->count + 1, sizeof *rows);
    if (!rows)
        return dbi_fail(error, "out of memory");
    int result = 0;
    for (int pass = 0; pass < 2 && result == 0; pass++) {
        int (*order)(const void *, const void *) = pass ? by_path : by_id;
        for (size_t i = 0; i < manifest->count; i++)
            rows[i] = &manifest->rows[i];
        qsort(rows, manifest->count, sizeof *rows, order);
        for (size_t i = 1; i < manifest->count && result == 0; i++)
            if (!order(&rows[i - 1], &rows[i]))
                result = dbi_fail(error, "the %s \"%s\" is there twice", pass ? "path" : "id",
                                  pass ? rows[i]->path : rows[i]->id);
    }
    free(rows);
    return result;
}

int dbi_manifest_read(const char *path, dbi_manifest *manifest, dbi_error *error)
{
    *manifest = (dbi_manifest){0};
    const char *name = path && strcmp(path, "-") ? path : "standard input";
    dbi_lines lines;
    if (dbi_lines_read(path ? path : "-", &lines, error))
        return -1;
    int result = 0;
    char *folder = folder_of(path);
    if (!folder || !(manifest->name = strdup(name)))
        result = dbi_fail(error, "out of memory");
    else if (!lines.count)
        result = dbi_fail(error, "%s: the file is empty", name);
    else if (!is_header(lines.line[0]))
        result = dbi_fail(error, "%s: line 1: not the header of a manifest, path id part separated by tabs", name);
    for (size_t i = 1; i < lines.count && result == 0; i++)
        if (*lines.line[i] && read_row(lines.line[i], folder, manifest, error))
            result = dbi_fail_in(error, "%s: line %zu", name, i + 1);
    if (result == 0 && check_unique(manifest, error))
        result = dbi_fail_in(error, "%s", name);
    free(folder);
    dbi_lines_free(&lines);
    if (result)
        dbi_manifest_free(manifest);
    return result;
}

/* The real path of the file's folder, and the file's own name, so that a link to a case stays a link. NULL when there
 * is no such folder. */
static char *absolute(const char *path)
{
    char *copy = strdup(path), *real = copy ? realpath(dirname(copy), NULL) : NULL, *whole = NULL;
    const char *slash = strrchr(path, '/');
    if (real && asprintf(&whole, "%s/%s", strcmp(real, "/") ? real : "", slash ? slash + 1 : path) < 0)
        whole = NULL;
    free(copy);
    free(real);
    return whole;
}

/* The path from the folder of file `from` to `path`; both are absolute. */
static char *relative(const char *from, const char *path)
{
    size_t same = 0, ups = 0;
    for (size_t i = 0; from[i] && from[i] == path[i]; i++)
        if (from[i] == '/')
            same = i + 1;
    for (const char *p = from + same; *p; p++)
        ups += *p == '/';
    char *out = malloc(3 * ups + strlen(path + same) + 1);
    if (!out)
        return NULL;
    for (size_t i = 0; i < ups; i++)
        memcpy(out + 3 * i, "../", 3);
    strcpy(out + 3 * ups, path + same);
    return out;
}

static int write_row(dbi_sink *sink, const dbi_manifest_row *row, const char *from, dbi_error *error)
{
    if (strpbrk(row->path, "\t\n\r") || strpbrk(row->id, "\t\n\r"))
        return dbi_fail(error, "%s: a tab or line break in the name or the id", row->path);
    char *whole = absolute(row->path), *path = whole ? relative(from, whole) : NULL;
    int result = path ? dbi_sink_printf(sink, error, "%s\t%s\t%s\n", path, row->id, dbi_part_name(row->part))
                      : dbi_fail_errno(error, "%s", row->path);
    free(whole);
    free(path);
    return result;
}

int dbi_manifest_write(const dbi_manifest *manifest, const char *path, dbi_error *error)
{
    char *from = absolute(path && strcmp(path, "-") ? path : "manifest");
    if (!from)
        return dbi_fail_errno(error, "%s", path ? path : "standard output");
    dbi_sink *sink = dbi_sink_open(path, error);
    int result = sink ? dbi_sink_printf(sink, error, "%s\n", header) : -1;
    for (size_t i = 0; i < manifest->count && result == 0; i++)
        result = write_row(sink, &manifest->rows[i], from, error);
    free(from);
    if (sink && result) {
        dbi_sink_abort(sink);
        return -1;
    }
    return sink ? dbi_sink_commit(sink, error) : -1;
}
