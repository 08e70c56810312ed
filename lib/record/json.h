/* JSON from files, by way of jansson. */
#ifndef DBI_RECORD_JSON_H
#define DBI_RECORD_JSON_H

#include <stddef.h>

#include "base/error.h"

struct json_t;

/* Parses a text of any kind of value, which must not hold a key twice. A new reference; NULL with an error. A text may take 256 MiB in memory, as
 * a tree: a few kilobytes of compressed brackets would take many gigabytes otherwise. */
struct json_t *dbi_json_parse(const char *text, size_t size, dbi_error *error);

/* The value as text, by jansson's flags for dumps; free(). json_dumps itself leaves keys out when its memory does not suffice. */
char *dbi_json_text(const struct json_t *value, size_t flags, dbi_error *error);

#endif
