/* NIfTI-1 and NIfTI-2 files, read. nifticlib interprets the headers. */
#ifndef DBI_IMAGE_NIFTI_H
#define DBI_IMAGE_NIFTI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/stored.h"

/* The bytes start a header of either version and byte order. */
bool dbi_nifti_probe(const uint8_t *bytes, size_t size);

/* For an .img of a pair: reads the .hdr beside it, and gives its name; both are freed with free(). 1: the path is
 * not called .img. */
int dbi_nifti_header(const char *path, char **header, uint8_t **bytes, size_t *size, dbi_error *error);

/* A file in memory, of one volume: the image or, where only the label is wanted, the label. For a header of a pair,
 * reads the .img beside the path. Takes the ownership of bytes (malloc'ed), whether it succeeds or not.
 * source_spacing is not used: the file has its own. */
int dbi_nifti_read(const char *path, uint8_t *bytes, size_t size, unsigned want, const double *source_spacing,
                   dbi_scan *scan, dbi_error *error);

/* Millimetres in the unit of a header. */
double dbi_nifti_unit(int units);

#endif
