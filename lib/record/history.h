/* What made a record: "history" in its metadata. */
#ifndef DBI_RECORD_HISTORY_H
#define DBI_RECORD_HISTORY_H

#include "record/record.h"

struct json_t;

/* Appends an entry to the history, a JSON array with one entry per tool, {"tool", "version", "settings": {...},
 * "inputs": {role: checksum}}. tool: the program, "sdf" or "dbisl-sdf"; the long name is written. settings: a JSON
 * object of what changes the result, without paths, hosts, times or thread counts; the reference stays the caller's.
 * After error come the inputs, pairs of role and checksum (of dbi_record_checksum), ended by NULL. */
int dbi_history_add(dbi_record *record, const char *tool, const struct json_t *settings, dbi_error *error, ...)
    __attribute__((sentinel));

#endif
