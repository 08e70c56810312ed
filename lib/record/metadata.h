/* A record's metadata: strings, by key; written sorted by key. */
#ifndef DBI_RECORD_METADATA_H
#define DBI_RECORD_METADATA_H

#include "record/record.h"

/* Numbers are "%.17g", structures compact JSON with sorted keys. */
const char *dbi_meta_get(const dbi_record *record, const char *key); /* NULL when missing */
const char *dbi_meta_need(const dbi_record *record, const char *key, dbi_error *error);
int dbi_meta_set(dbi_record *record, const char *key, const char *value, dbi_error *error); /* NULL value removes */
int dbi_meta_set_format(dbi_record *record, const char *key, dbi_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int dbi_meta_set_int(dbi_record *record, const char *key, int64_t value, dbi_error *error);
/* "[a,b,c]", each %.17g. */
int dbi_meta_set_numbers(dbi_record *record, const char *key, const double *values, size_t count, dbi_error *error);
int dbi_meta_get_int(const dbi_record *record, const char *key, int64_t *value, dbi_error *error);
/* Exactly `count` finite numbers from a JSON array (nested arrays are flattened: an affine is [[..],..]). */
int dbi_meta_get_numbers(const dbi_record *record, const char *key, double *values, size_t count, dbi_error *error);
/* Structures, by way of jansson. get: a new reference, NULL with an error when missing or not JSON. set: does not take
 * the reference. */
struct json_t;
struct json_t *dbi_meta_get_json(const dbi_record *record, const char *key, dbi_error *error);
int dbi_meta_set_json(dbi_record *record, const char *key, const struct json_t *value, dbi_error *error);
/* Keys in sorted order, for showing; index from 0; NULL past the last. */
const char *dbi_meta_key(const dbi_record *record, size_t index);
/* Copies all metadata of one record to another, over what is there. */
int dbi_meta_copy(dbi_record *to, const dbi_record *from, dbi_error *error);

#endif
