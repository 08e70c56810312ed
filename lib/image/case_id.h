/* The name of a case, made from the name of its scan. */
#ifndef DBI_IMAGE_CASE_ID_H
#define DBI_IMAGE_CASE_ID_H

#include "base/error.h"

/* The scan's name without folders, archive and the endings of scans (formats.h). For a file called mri_norm2, as all
 * the public left-atrium HDF5 files are, the name of its folder. Of ARCHIVE:MEMBER (see dbi_bytes_member) only MEMBER
 * counts. Free with free(); NULL with an error. */
char *dbi_case_id(const char *path, dbi_error *error);

#endif
