/* The formats of scans, one row for each. This table says what a file is and which files can be written.
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
    const char *kind[3]; /* the values of dbi_source.format; NULL after the last, as in the next two lists */
    bool placed;         /* a file says where its voxels are in space */
    bool gzip;           /* the endings may be followed by .gz */
    const char *endings[DBI_FORMAT_ENDINGS]; /* of files that are read; used where the content is not at hand */
    const char *written[DBI_FORMAT_ENDINGS]; /* of files that are written */

    /* Whether a file is of this format, by its first bytes: DBI_FORMAT_PROBE of them or all there are, gzip undone. */
    bool (*probe)(const uint8_t *bytes, size_t size);
    /* For formats with the header in a file of its own; NULL for others. When `path` names the file with the voxels,
     * reads the file with the header and gives its name. The caller frees both with free(). Returns 1 when `path` is
     * not such a file. */
    int (*header)(const char *path, char **name, uint8_t **bytes, size_t *size, dbi_error *error);
    /* Reads the scan from a whole file in memory. Takes the ownership of bytes (malloc'ed), on failure too. path: to
     * find files beside this one. want, source_spacing: see scan.h. On failure the scan may be filled in part. */
    int (*read)(const char *path, uint8_t *bytes, size_t size, unsigned want, const double *source_spacing,
                dbi_scan *scan, dbi_error *error);
    /* NULL: this format cannot be written. path: NULL or "-" is standard output. source: NULL when it has no place in
     * space. See dbi_scan_write. */
    int (*write)(const char *path, const dbi_volume *volume, const dbi_source *source, dbi_error *error);
} dbi_scan_format;

/* The rows in their order; NULL after the last one. Of several rows whose probe is true the first is taken. */
const dbi_scan_format *dbi_format_at(size_t index);

/* The format of a file's content. NULL with an error that says what the file is instead, if that is known. */
const dbi_scan_format *dbi_format_of_bytes(const uint8_t *bytes, size_t size, dbi_error *error);
/* The format of a file's name, by its ending. NULL: of no format. */
const dbi_scan_format *dbi_format_of_name(const char *path);
/* The format of a dbi_source.format. NULL: of no format. */
const dbi_scan_format *dbi_format_of_kind(const char *kind);

/* The format in which a file of this name is written, by its ending. For standard output (NULL or "-") it is the first
 * format that can be written. NULL with an error that names the possible endings. */
const dbi_scan_format *dbi_format_to_write(const char *path, dbi_error *error);
/* The endings of written files of all formats, such as ".nii.gz"; NULL after the last one. */
const char *dbi_format_written_at(size_t index);

/* Cuts the endings of scans off a file's name. */
void dbi_format_strip(char *name);

#endif
