/* Scans in files of any format. */
#ifndef DBI_IMAGE_SCAN_H
#define DBI_IMAGE_SCAN_H

#include <stdbool.h>

#include "base/error.h"
#include "image/stored.h"

/* Loads what `want` names (DBI_SCAN_...) from a file, "-" or ARCHIVE:MEMBER, whose content says which format it is. The
 * one volume of a file becomes the image or, when only the label is wanted, the label. When both are wanted and the
 * format can hold both, the label may be missing. source_spacing: three, in mm, for files that have no spacing; NULL:
 * 1,1,1 for these. Free with dbi_scan_free. Errors name the file. */
int dbi_scan_load(const char *path, unsigned want, const double *source_spacing, dbi_scan *scan, dbi_error *error);

/* Whether the path is a scan rather than a stream of records. The first bytes of a regular file decide; when they do
 * not, as with compressed scans and members of archives, the ending of the name does. Nothing is read from pipes. */
bool dbi_is_scan(const char *path);

/* Whether dbi_scan_write can write a file of this name, by its ending. */
bool dbi_is_written_scan(const char *path);

/* Writes a volume in the format of the name's ending, into the place of `source`. source NULL, or a source without a
 * place in space: at the volume's own affine. volume->grid.shape must be the source's. path NULL or "-": standard
 * output. The file appears whole or not at all; equal volumes make equal bytes. */
int dbi_scan_write(const char *path, const dbi_volume *volume, const dbi_source *source, dbi_error *error);

#endif
