/* The checksum of a record. */
#ifndef DBI_RECORD_CHECKSUM_H
#define DBI_RECORD_CHECKSUM_H

#include "record/record.h"

/* XXH3 128 bits over the record as it would be written, uncompressed, in hexadecimal: 32 characters and a NUL. */
int dbi_record_checksum(const dbi_record *record, char text[33], dbi_error *error);

#endif
