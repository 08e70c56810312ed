/* Writes NIfTI-1 and NIfTI-2 files. */
#ifndef DBI_IMAGE_NIFTI_WRITE_H
#define DBI_IMAGE_NIFTI_WRITE_H

#include "base/error.h"
#include "image/volume.h"

/* Writes a volume into the place of `source`, with its sform and qform and their codes. The version is the source's, or
 * 2 when a size is too large for version 1. source NULL: version 1 at the volume's own affine (sform, code 1).
 * volume->grid.shape must be the source's. Several channels make a 4D file. A name that ends in .gz makes a compressed
 * file; NULL or "-" is standard output, not compressed. The file appears whole or not at all; equal volumes make equal
 * bytes. */
int dbi_nifti_write(const char *path, const dbi_volume *volume, const dbi_source *source, dbi_error *error);

#endif
