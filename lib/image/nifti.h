/* Reads NIfTI-1 and NIfTI-2 files. nifticlib interprets the headers. */
#ifndef DBI_IMAGE_NIFTI_H
#define DBI_IMAGE_NIFTI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/stored.h"

/* Whether the bytes are the start of a header of either version and byte order. */
bool dbi_nifti_probe(const uint8_t *bytes, size_t size);

/* For the .img of a pair: reads the .hdr beside it and gives its name; free() both. Returns 1 when `path` does not end
 * in .img. */
int dbi_nifti_header(const char *path, char **header, uint8_t **bytes, size_t *size, dbi_error *error);

/* Reads a file in memory. Its one volume becomes the image or, when only the label is wanted, the label. For the header
 * of a pair, reads the .img beside `path`. Takes the ownership of bytes (malloc'ed), on failure too. source_spacing is
 * not used, because the file has its own. */
int dbi_nifti_read(const char *path, uint8_t *bytes, size_t size, unsigned want, const double *source_spacing,
                   dbi_scan *scan, dbi_error *error);

/* Millimetres in one unit of a header (NIFTI_UNITS_...). */
double dbi_nifti_unit(int units);

#endif
