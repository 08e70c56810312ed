/* A record's metadata: strings with keys, written in the order of the keys. Strings that are returned belong to the
 * record until their key is set again. */
#ifndef DBI_RECORD_METADATA_H
#define DBI_RECORD_METADATA_H

#include "record/record.h"

/* Numbers are stored as "%.17g", structures as compact JSON with sorted keys. */
const char *dbi_meta_get(const dbi_record *record, const char *key); /* NULL when missing */
/* The same; a missing key is an error. */
const char *dbi_meta_need(const dbi_record *record, const char *key, dbi_error *error);
int dbi_meta_set(dbi_record *record, const char *key, const char *value,
                 dbi_error *error); /* value NULL: removes the key */
int dbi_meta_set_format(dbi_record *record, const char *key, dbi_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int dbi_meta_set_int(dbi_record *record, const char *key, int64_t value, dbi_error *error);
/* Stores "[a,b,c]", whole numbers without a decimal point, others with 17 digits. Numbers must be finite. */
int dbi_meta_set_numbers(dbi_record *record, const char *key, const double *values, size_t count, dbi_error *error);
/* A whole number in decimal digits; anything else is an error. */
int dbi_meta_get_int(const dbi_record *record, const char *key, int64_t *value, dbi_error *error);
/* Reads exactly `count` finite numbers from a JSON array. Nested arrays are flattened: an affine is [[..],..]. */
int dbi_meta_get_numbers(const dbi_record *record, const char *key, double *values, size_t count, dbi_error *error);
/* Structures, as jansson's values. get: a new reference, NULL with an error when the key is missing or its text is not
 * JSON. set: the reference stays the caller's. */
struct json_t;
struct json_t *dbi_meta_get_json(const dbi_record *record, const char *key, dbi_error *error);
int dbi_meta_set_json(dbi_record *record, const char *key, const struct json_t *value, dbi_error *error);
/* Keys in sorted order, for showing; index from 0; NULL past the last. */
const char *dbi_meta_key(const dbi_record *record, size_t index);
/* Copies all metadata to another record; a key that is there gets the new value. */
int dbi_meta_copy(dbi_record *to, const dbi_record *from, dbi_error *error);

#endif
