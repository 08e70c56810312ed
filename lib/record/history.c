#include "record/history.h"

#include <jansson.h>
#include <stdarg.h>
#include <string.h>

#include "base/version.h"
#include "record/metadata.h"
#include "record/private.h"

/* The entry's inputs, from pairs of role and checksum. */
static json_t *inputs_of(va_list args)
{
    json_t *inputs = json_object();
    for (const char *role; inputs && (role = va_arg(args, const char *));)
        if (json_object_set_new(inputs, role, json_string(va_arg(args, const char *)))) {
            json_decref(inputs);
            inputs = NULL;
        }
    return inputs;
}

int dbi_history_add(dbi_record *record, const char *tool, const json_t *settings, dbi_error *error, ...)
{
    static const char prefix[] = "dbisl-";
    va_list args;
    va_start(args, error);
    json_t *inputs = inputs_of(args);
    va_end(args);
    json_t *entry =
        inputs ? json_pack("{s:s+, s:s, s:O, s:o}", "tool", strncmp(tool, prefix, sizeof prefix - 1) ? prefix : "",
                           tool, "version", DBI_VERSION, "settings", (json_t *)(uintptr_t)settings, "inputs", inputs)
               : NULL;
    if (!entry)
        return dbi_fail(error, "the history entry cannot be written as JSON");
    json_t *history = dbi_meta_get(record, "history") ? dbi_meta_get_json(record, "history", error) : json_array();
    int result = -1;
    if (!json_is_array(history)) {
        if (history)
            dbi_fail(error, "metadata \"history\" is not an array");
        else if (!dbi_meta_get(record, "history"))
            dbi_fail(error, "out of memory");
        json_decref(entry);
    } else if (json_array_append_new(history, entry)) {
        dbi_fail(error, "out of memory");
    } else {
        result = dbi_meta_set_json(record, "history", history, error);
    }
    json_decref(history);
    return result;
}
