/* Scans in files of any format. */
#ifndef DBI_IMAGE_SCAN_H
#define DBI_IMAGE_SCAN_H

#include <stdbool.h>

#include "base/error.h"
#include "image/stored.h"

/* Loads what `want` names (DBI_SCAN_...), from a file, "-", or ARCHIVE:MEMBER, by its content. A file of one volume
 * gives it as the image or, when only the label is wanted, as the label. Of a file with both, asked for both, the
 * label may be missing. source_spacing: three, mm, of files that do not tell it (1,1,1 without); NULL otherwise.
 * Errors name the file. */
int dbi_scan_load(const char *path, unsigned want, const double *source_spacing, dbi_scan *scan, dbi_error *error);

/* Is this a scan's file rather than a stream of records? By the first bytes of a regular file where they tell, else,
 * as for compressed scans and members of archives, by the ending of its name. Nothing is read from pipes. */
bool dbi_is_scan(const char *path);

/* Is it the name of a file that dbi_scan_write can write, by its ending? */
bool dbi_is_written_scan(const char *path);

/* Writes a volume in the format that the name's ending says, into the place of `source`: in its coordinates, where
 * it has any, and as its file said them. source NULL: at the volume's own affine. volume->grid.shape must be the
 * source's. path NULL or "-": standard output. The file appears whole or not at all; equal volumes make equal bytes. */
int dbi_scan_write(const char *path, const dbi_volume *volume, const dbi_source *source, dbi_error *error);

#endif
