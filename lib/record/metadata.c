#include "record/metadata.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record/json.h"
#include "record/private.h"

/* The index of the key, or where it belongs. The last place is tried first: files hold their keys in order. */
static size_t place(const dbi_record *record, const char *key, bool *found)
{
    size_t low = 0, high = record->meta_count;
    *found = false;
    if (high && strcmp(record->meta[high - 1].key, key) < 0)
        return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(record->meta[middle].key, key);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const char *dbi_meta_get(const dbi_record *record, const char *key)
{
    bool found;
    size_t i = place(record, key, &found);
    return found ? record->meta[i].value : NULL;
}

const char *dbi_meta_need(const dbi_record *record, const char *key, dbi_error *error)
{
    const char *value = dbi_meta_get(record, key);
    if (!value)
        dbi_fail(error, "no metadata \"%s\"", key);
    return value;
}

const char *dbi_meta_key(const dbi_record *record, size_t index)
{
    return index < record->meta_count ? record->meta[index].key : NULL;
}

static void meta_remove(dbi_record *record, size_t i)
{
    free(record->meta[i].key);
    free(record->meta[i].value);
    record->meta_count--;
    memmove(record->meta + i, record->meta + i + 1, (record->meta_count - i) * sizeof *record->meta);
}

static int meta_insert(dbi_record *record, size_t i, const char *key, const char *value)
{
    if (record->meta_count == record->meta_capacity) {
        size_t capacity = record->meta_capacity ? 2 * record->meta_capacity : 16;
        dbi_meta *meta = reallocarray(record->meta, capacity, sizeof *meta);
        if (!meta)
            return -1;
        record->meta = meta;
        record->meta_capacity = capacity;
    }
    dbi_meta entry = {strdup(key), strdup(value)};
    if (!entry.key || !entry.value) {
        free(entry.key);
        free(entry.value);
        return -1;
    }
    memmove(record->meta + i + 1, record->meta + i, (record->meta_count - i) * sizeof *record->meta);
    record->meta[i] = entry;
    record->meta_count++;
    return 0;
}

static int meta_replace(dbi_record *record, size_t i, const char *value)
{
    char *copy = strdup(value);
    if (!copy)
        return -1;
    free(record->meta[i].value);
    record->meta[i].value = copy;
    return 0;
}

int dbi_meta_set(dbi_record *record, const char *key, const char *value, dbi_error *error)
{
    bool found;
    size_t i = place(record, key, &found);
    if (!value) {
        if (found)
            meta_remove(record, i);
        return 0;
    }
    if (found ? meta_replace(record, i, value) : meta_insert(record, i, key, value))
        return dbi_fail(error, "out of memory");
    return 0;
}

int dbi_meta_set_format(dbi_record *record, const char *key, dbi_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = dbi_format(error, format, args);
    va_end(args);
    if (!text)
        return -1;
    int result = dbi_meta_set(record, key, text, error);
    free(text);
    return result;
}

int dbi_meta_set_int(dbi_record *record, const char *key, int64_t value, dbi_error *error)
{
    return dbi_meta_set_format(record, key, error, "%" PRId64, value);
}

int dbi_meta_set_numbers(dbi_record *record, const char *key, const double *values, size_t count, dbi_error *error)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            json_decref(array);
            return dbi_fail(error, "metadata \"%s\": a number is not finite", key);
        }
        /* whole numbers look better without jansson's ".0" */
        json_array_append_new(array, values[i] == trunc(values[i]) && fabs(values[i]) < 1e15
                                         ? json_integer((json_int_t)values[i])
                                         : json_real(values[i]));
    }
    int result = json_array_size(array) == count ? dbi_meta_set_json(record, key, array, error)
                                                 : dbi_fail(error, "out of memory");
    json_decref(array);
    return result;
}

int dbi_meta_get_int(const dbi_record *record, const char *key, int64_t *value, dbi_error *error)
{
    const char *text = dbi_meta_need(record, key, error);
    if (!text)
        return -1;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || end == text || *end || strchr(" \t\n\v\f\r+", *text))
        return dbi_fail(error, "metadata \"%s\" is \"%.80s\", not a whole number", key, text);
    *value = number;
    return 0;
}

/* Appends the numbers in depth-first order. *at becomes more than count when there are too many. Returns false when
 * something else than numbers and arrays is found. */
static bool flatten(const json_t *json, double *values, size_t count, size_t *at)
{
    if (json_is_number(json)) {
        if (*at < count)
            values[*at] = json_number_value(json);
        ++*at;
        return true;
    }
    if (!json_is_array(json))
        return false;
    size_t i;
    json_t *item;
    json_array_foreach(json, i, item) if (!flatten(item, values, count, at)) return false;
    return true;
}

int dbi_meta_get_numbers(const dbi_record *record, const char *key, double *values, size_t count, dbi_error *error)
{
    json_t *json = dbi_meta_get_json(record, key, error);
    if (!json)
        return -1;
    size_t got = 0;
    bool numbers = flatten(json, values, count, &got);
    json_decref(json);
    if (!numbers || got != count)
        return dbi_fail(error, "metadata \"%s\" is not an array of %zu numbers", key, count);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return dbi_fail(error, "metadata \"%s\" holds a number that is not finite", key);
    return 0;
}

json_t *dbi_meta_get_json(const dbi_record *record, const char *key, dbi_error *error)
{
    const char *text = dbi_meta_need(record, key, error);
    if (!text)
        return NULL;
    json_t *json = dbi_json_parse(text, strlen(text), error);
    if (!json)
        dbi_fail_in(error, "metadata \"%s\" is not JSON", key);
    return json;
}

int dbi_meta_set_json(dbi_record *record, const char *key, const json_t *value, dbi_error *error)
{
    char *text = dbi_json_text(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY, error);
    if (!text)
        return dbi_fail_in(error, "metadata \"%s\"", key);
    int result = dbi_meta_set(record, key, text, error);
    free(text);
    return result;
}

int dbi_meta_copy(dbi_record *to, const dbi_record *from, dbi_error *error)
{
    for (size_t i = 0; i < from->meta_count; i++)
        if (dbi_meta_set(to, from->meta[i].key, from->meta[i].value, error))
            return -1;
    return 0;
}
