/* The metadata "source" of a record: the grid of the scan that a case was made of, and what its file said about it. */
#ifndef DBI_IMAGE_SOURCE_H
#define DBI_IMAGE_SOURCE_H

#include <stdbool.h>

#include "base/error.h"
#include "image/volume.h"
#include "record/record.h"

/* Each refuses what the other would not accept. */
int dbi_source_get(const dbi_record *record, dbi_source *source, dbi_error *error);
int dbi_source_set(dbi_record *record, const dbi_source *source, dbi_error *error);

/* Whether the file's format says where the voxels are in space. */
bool dbi_source_placed(const dbi_source *source);

#endif
