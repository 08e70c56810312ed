/* JSON from files, by way of jansson. */
#ifndef DBI_RECORD_JSON_H
#define DBI_RECORD_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct json_t;

/* Parses a text of any kind of value, which must not hold a key twice. A new reference; NULL with an error, which it
 * also is when dbi_json_check refuses the text. */
struct json_t *dbi_json_parse(const char *text, size_t size, dbi_error *error);

/* Refuses a text that may take more than 256 MiB in memory as a tree: a few kilobytes of compressed brackets would take
 * many gigabytes otherwise. */
int dbi_json_check(const char *text, size_t size, dbi_error *error);

/* The most bytes that jansson has in use at any time while it parses the text. */
size_t dbi_json_cost(const char *text, size_t size);

/* The value as text, by jansson's flags for dumps; free(). json_dumps itself leaves keys out when its memory does not
 * suffice. */
char *dbi_json_text(const struct json_t *value, size_t flags, dbi_error *error);

/* A seed for settings: an integer, or a string of its digits where it is above INT64_MAX, which an integer of jansson
 * cannot hold. A new reference, NULL when memory is out. */
struct json_t *dbi_json_seed(uint64_t seed);

#endif
