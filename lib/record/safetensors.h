/* The header of a record as bytes: the length in 8 bytes, little-endian, then JSON. See dbisl-format(5). */
#ifndef DBI_RECORD_SAFETENSORS_H
#define DBI_RECORD_SAFETENSORS_H

#include "record/record.h"

enum { DBI_HEADER_LIMIT = 100000000 }; /* bytes of JSON, the format's own limit */

/* Where the tensors' data lie behind the header, in the order of their offsets, without holes. */
typedef struct dbi_tensor_place {
    dbi_tensor *tensor;
    uint64_t begin, end;
} dbi_tensor_place;

typedef struct dbi_tensor_places {
    dbi_tensor_place *parts; /* free() it */
    size_t count;
    uint64_t size; /* bytes of all data */
} dbi_tensor_places;

/* Makes the header's bytes, with the length in front and padded to a multiple of 8, and the layout. Names stay in the
 * record's order. Data are laid out by falling element size, so that each tensor's offset is a multiple of its element
 * size. Free *bytes and layout->parts. */
int dbi_header_make(const dbi_record *record, char **bytes, size_t *size, dbi_tensor_places *layout, dbi_error *error);

/* A record whose tensors have no data yet, and the layout, from the JSON text. NULL with an error. */
dbi_record *dbi_header_parse(const char *json, size_t size, dbi_tensor_places *layout, dbi_error *error);

#endif
