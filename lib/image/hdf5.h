/* HDF5 files with datasets "image" and "label", as the public left-atrium files have them. */
#ifndef DBI_IMAGE_HDF5_H
#define DBI_IMAGE_HDF5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/stored.h"

/* Whether the bytes are the start of an HDF5 file. */
bool dbi_hdf5_probe(const uint8_t *bytes, size_t size);

/* Reads a whole file in memory. Takes the ownership of bytes (malloc'ed), on failure too. When an image is wanted, the
 * label may be missing. source_spacing: three, in mm; NULL: 1,1,1. Voxels that were never written have the dataset's
 * fill value. path is not used. */
int dbi_hdf5_read(const char *path, uint8_t *bytes, size_t size, unsigned want, const double *source_spacing,
                  dbi_scan *scan, dbi_error *error);

#endif
