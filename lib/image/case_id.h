/* What a case is called after its scan. */
#ifndef DBI_IMAGE_CASE_ID_H
#define DBI_IMAGE_CASE_ID_H

#include "base/error.h"

/* A scan's name without folders, archive and the endings of scans (formats.h); for files all called mri_norm2 (the
 * public left-atrium HDF5 files) the name of the folder they are in. The archive of ARCHIVE:MEMBER is left out where
 * it is one: see dbi_bytes_member. free(). */
char *dbi_case_id(const char *path, dbi_error *error);

#endif
