/* The formats of scans, one row each. Who wants to know what a file is, or which files can be written, asks this table.
 *
 * A new format is a file of its own and a row in formats.c. */
#ifndef DBI_IMAGE_FORMATS_H
#define DBI_IMAGE_FORMATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/stored.h"

enum { DBI_FORMAT_ENDINGS = 6, DBI_FORMAT_PROBE = 512 };

typedef struct dbi_scan_format {
    const char *name;    /* in messages */
    const char *kind[3]; /* dbi_source.format of what it reads; NULL after the last, as in the two lists that follow */
    bool placed;         /* a file says where its voxels are in space */
    bool gzip;           /* the endings may be followed by .gz */
    const char *endings[DBI_FORMAT_ENDINGS]; /* of files that are read; they matter where the content is not at hand */
    const char *written[DBI_FORMAT_ENDINGS]; /* of files that are written */

    /* By the first bytes of a file, DBI_FORMAT_PROBE or all there are, gzip undone. */
    bool (*probe)(const uint8_t *bytes, size_t size);
    /* NULL, or: where the path is that of voxels whose header is in another file, reads that one, and gives its
     * name. Both are freed with free(). 1: it is no such path. */
    int (*header)(const char *path, char **name, uint8_t **bytes, size_t *size, dbi_error *error);
    /* The scan of a whole file in memory. Takes the ownership of bytes (malloc'ed), whether it succeeds or not.
     * path: for what lies beside the file. want, source_spacing: see scan.h. On failure the scan may be filled in
     * part. */
    int (*read)(const char *path, uint8_t *bytes, size_t size, unsigned want, const double *source_spacing,
                dbi_scan *scan, dbi_error *error);
    /* NULL: cannot be written. path: NULL or "-" is standard output. source: NULL where it has no place in space.
     * See dbi_scan_write. */
    int (*write)(const char *path, const dbi_volume *volume, const dbi_source *source, dbi_error *error);
} dbi_scan_format;

/* The rows in their order: the first whose probe is true is taken. NULL after the last one. */
const dbi_scan_format *dbi_format_at(size_t index);

/* By content. NULL with an error that says what the file is instead, if that is known. */
const dbi_scan_format *dbi_format_of_bytes(const uint8_t *bytes, size_t size, dbi_error *error);
/* By the ending of a name. NULL: no format's. */
const dbi_scan_format *dbi_format_of_name(const char *path);
/* By dbi_source.format. NULL: no format's. */
const dbi_scan_format *dbi_format_of_kind(const char *kind);

/* The format in which a file of this name is written, by its ending; of standard output (NULL or "-") the first one
 * that can be written. NULL with an error that says which endings there are. */
const dbi_scan_format *dbi_format_to_write(const char *path, dbi_error *error);
/* The endings of files that are written, those of all formats: ".nii.gz"; NULL after the last one. */
const char *dbi_format_written_at(size_t index);

/* Cuts off all that says that a file of this name is a scan. */
void dbi_format_strip(char *name);

#endif
