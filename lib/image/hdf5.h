/* HDF5 files with datasets "image" and "label", as the public left-atrium files have them. */
#ifndef DBI_IMAGE_HDF5_H
#define DBI_IMAGE_HDF5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/stored.h"

/* The bytes start an HDF5 file. */
bool dbi_hdf5_probe(const uint8_t *bytes, size_t size);

/* From a whole file in memory; takes the ownership of bytes (malloc'ed), whether it succeeds or not. Of a wanted
 * image the label may be missing. source_spacing: three, mm; NULL: 1,1,1. Voxels that have never been written have
 * the dataset's fill value. */
int dbi_hdf5_read(const char *path, uint8_t *bytes, size_t size, unsigned want, const double *source_spacing,
                  dbi_scan *scan, dbi_error *error);

#endif
