/* Which case belongs to which part of an experiment: a table of tab-separated values with the header "path id part". */
#ifndef DBI_COHORT_MANIFEST_H
#define DBI_COHORT_MANIFEST_H

#include <stddef.h>

#include "base/error.h"

typedef enum dbi_part { DBI_PART_LABELED, DBI_PART_UNLABELED, DBI_PART_VALIDATION, DBI_PART_TEST, DBI_PARTS } dbi_part;

/* The part's name: "labeled", "unlabeled", "validation" or "test". */
const char *dbi_part_name(dbi_part part);

typedef struct dbi_manifest_row {
    char *path; /* can be opened from the current folder */
    char *id;
    dbi_part part;
} dbi_manifest_row;

typedef struct dbi_manifest {
    size_t count;
    dbi_manifest_row *rows;
    char *name; /* the file it was read from, for messages; NULL: none */
} dbi_manifest;

/* Adds a row; copies the texts. */
int dbi_manifest_add(dbi_manifest *manifest, const char *path, const char *id, dbi_part part, dbi_error *error);

/* Reads a manifest. path: NULL or "-" is standard input. Paths in the file are relative to the file's folder (the
 * current one for standard input); they are returned with that folder in front. Further columns are ignored. The same
 * path or id twice is an error. Errors name the file and the line. */
int dbi_manifest_read(const char *path, dbi_manifest *manifest, dbi_error *error);

/* Writes a manifest, whole or not at all. path: NULL or "-" is standard output. Paths are written relative to the
 * folder of the manifest (the current one for standard output), so that a folder with cases and manifests can be moved
 * as a whole. Texts with tabs or line breaks are refused. */
int dbi_manifest_write(const dbi_manifest *manifest, const char *path, dbi_error *error);

/* Frees what the manifest holds; a zeroed struct is allowed. */
void dbi_manifest_free(dbi_manifest *manifest);

#endif
