/* JSON from files, parsed by jansson. */
#ifndef DBI_RECORD_JSON_H
#define DBI_RECORD_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct json_t;

/* Parses a JSON value of any kind. An object that holds a key twice is an error, and so is a text that dbi_json_check
 * refuses. Returns a new reference, or NULL with an error. */
struct json_t *dbi_json_parse(const char *text, size_t size, dbi_error *error);

/* Fails when the text may take more than 256 MiB in memory as a tree: a few kilobytes of compressed brackets could take
 * many gigabytes. */
int dbi_json_check(const char *text, size_t size, dbi_error *error);

/* The most bytes that jansson has in use at any time while it parses the text. */
size_t dbi_json_cost(const char *text, size_t size);

/* The value as text, with jansson's flags for dumps. Free with free(); NULL with an error. jansson's own json_dumps
 * leaves keys out when memory is short. */
char *dbi_json_text(const struct json_t *value, size_t flags, dbi_error *error);

/* A seed for settings: an integer, or above INT64_MAX, where jansson has no integers, a string of digits. Returns a new
 * reference, NULL when memory is out. */
struct json_t *dbi_json_seed(uint64_t seed);

#endif
