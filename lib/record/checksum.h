/* The checksum of a record. */
#ifndef DBI_RECORD_CHECKSUM_H
#define DBI_RECORD_CHECKSUM_H

#include "record/record.h"

/* Writes the record's checksum: 128 bits of XXH3 over the record as it would be written without compression, as 32
 * hexadecimal digits and a NUL. Fails when the record cannot be written or memory is out. */
int dbi_record_checksum(const dbi_record *record, char text[33], dbi_error *error);

#endif
