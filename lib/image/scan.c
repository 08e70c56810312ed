#include "image/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "image/formats.h"
#include "image/source.h"
#include "record/bytes.h"

/* Reads the file that says which format it is: the one with the header, whose name is then *header, or `path`
 * itself. */
static int read_first(const char *path, char **header, uint8_t **bytes, size_t *size, dbi_error *error)
{
    const dbi_scan_format *format;
    for (size_t i = 0; (format = dbi_format_at(i)); i++) {
        int result = format->header ? format->header(path, header, bytes, size, error) : 1;
        if (result != 1)
            return result;
    }
    return dbi_bytes_read(path, 0, bytes, size, error);
}

int dbi_scan_load(const char *path, unsigned want, const double *source_spacing, dbi_scan *scan, dbi_error *error)
{
    uint8_t *bytes = NULL;
    size_t size;
    char *header = NULL;
    *scan = (dbi_scan){0};
    if (read_first(path, &header, &bytes, &size, error)) { /* the error names the file */
        free(header);
        return -1;
    }
    const dbi_scan_format *format = dbi_format_of_bytes(bytes, size, error);
    int result = format ? format->read(header ? header : path, bytes, size, want, source_spacing, scan, error) : -1;
    if (!format)
        free(bytes);
    free(header);
    if (result) {
        dbi_scan_free(scan);
        dbi_fail_in(error, "%s", path);
    }
    return result;
}

/* Reads the first bytes of a regular file. Nothing else is opened: bytes that are read from a pipe here would be lost
 * for its reader. */
static size_t first_bytes(const char *path, uint8_t *bytes, size_t size)
{
    struct stat is;
    FILE *file = !stat(path, &is) && S_ISREG(is.st_mode) ? fopen(path, "rb") : NULL;
    if (!file)
        return 0;
    size = fread(bytes, 1, size, file);
    fclose(file);
    return size;
}

bool dbi_is_scan(const char *path)
{
    uint8_t head[DBI_FORMAT_PROBE];
    size_t size = first_bytes(path, head, sizeof head);
    return dbi_format_of_bytes(head, size, NULL) || dbi_format_of_name(path);
}

bool dbi_is_written_scan(const char *path)
{
    return dbi_format_to_write(path, NULL) != NULL;
}

int dbi_scan_write(const char *path, const dbi_volume *volume, const dbi_source *source, dbi_error *error)
{
    const dbi_scan_format *format = dbi_format_to_write(path, error);
    return format ? format->write(path, volume, source && dbi_source_placed(source) ? source : NULL, error) : -1;
}
