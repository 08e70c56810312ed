#include "record/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "record/json.h"
#include "record/metadata.h"
#include "record/private.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensor files are little-endian, and so must the machine be"
#endif

static const char metadata_key[] = "__metadata__";

static int by_offset(const void *a, const void *b)
{
    const dbi_tensor_place *p = a, *q = b;
    if (p->begin != q->begin)
        return p->begin < q->begin ? -1 : 1;
    return (p->end > q->end) - (p->end < q->end);
}

/* Gives every tensor its place in the file; parts stay in the record's order. Free layout->parts, on failure too. */
static int lay_out(const dbi_record *record, dbi_tensor_places *layout, dbi_error *error)
{
    *layout = (dbi_tensor_places){.parts = calloc(record->count + 1, sizeof *layout->parts), .count = record->count};
    if (!layout->parts)
        return dbi_fail(error, "out of memory");
    for (size_t element = 8; element; element /= 2)
        for (size_t i = 0; i < record->count; i++) {
            dbi_tensor *tensor = record->tensors[i];
            if (dbi_dtype_size(tensor->dtype) != element)
                continue;
            uint64_t begin = layout->size;
            if (__builtin_add_overflow(begin, dbi_tensor_bytes(tensor), &layout->size) || layout->size > INT64_MAX)
                return dbi_fail(error, "the tensors are too large together");
            layout->parts[i] = (dbi_tensor_place){tensor, begin, layout->size};
        }
    return 0;
}

static json_t *metadata_object(const dbi_record *record, dbi_error *error)
{
    json_t *object = json_object();
    for (size_t i = 0; object && i < record->meta_count; i++)
        if (json_object_set_new(object, record->meta[i].key, json_string(record->meta[i].value))) {
            dbi_fail(error, "metadata \"%s\" is not UTF-8", record->meta[i].key);
            json_decref(object);
            return NULL;
        }
    if (!object)
        dbi_fail(error, "out of memory");
    return object;
}

/* NULL when memory is out. */
static json_t *tensor_object(const dbi_tensor_place *part)
{
    json_t *shape = json_array();
    for (int i = 0; shape && i < part->tensor->ndim; i++)
        if (json_array_append_new(shape, json_integer(part->tensor->shape[i]))) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dbi_dtype_name(part->tensor->dtype), "shape", shape,
                     "data_offsets", (json_int_t)part->begin, (json_int_t)part->end);
}

static int put_tensor(json_t *header, const dbi_tensor_place *part, dbi_error *error)
{
    const char *name = part->tensor->name;
    json_t *object = tensor_object(part);
    if (!object)
        return dbi_fail(error, "out of memory");
    if (!strcmp(name, metadata_key) || json_object_set(header, name, object)) {
        json_decref(object);
        return dbi_fail(error, "a tensor cannot be called \"%s\"", name);
    }
    json_decref(object);
    return 0;
}

static int fill_header(json_t *header, const dbi_record *record, const dbi_tensor_places *layout, dbi_error *error)
{
    if (record->meta_count) {
        json_t *metadata = metadata_object(record, error);
        if (!metadata)
            return -1;
        if (json_object_set_new(header, metadata_key, metadata))
            return dbi_fail(error, "out of memory");
    }
    for (size_t i = 0; i < layout->count; i++)
        if (put_tensor(header, &layout->parts[i], error))
            return -1;
    return 0;
}

static json_t *header_object(const dbi_record *record, const dbi_tensor_places *layout, dbi_error *error)
{
    json_t *header = json_object();
    if (!header)
        dbi_fail(error, "out of memory");
    else if (!fill_header(header, record, layout, error))
        return header;
    json_decref(header);
    return NULL;
}

/* The length, the JSON, and spaces up to a multiple of 8. */
static int header_bytes(const json_t *header, char **bytes, size_t *size, dbi_error *error)
{
    size_t length = json_dumpb(header, NULL, 0, JSON_COMPACT);
    size_t padded = (length + 7) / 8 * 8;
    if (!length || padded > DBI_HEADER_LIMIT)
        return dbi_fail(error,
                        length ? "the header would be larger than 100 MB" : "the header cannot be written as JSON");
    char *all = malloc(8 + padded);
    if (!all)
        return dbi_fail(error, "out of memory");
    memcpy(all, &(uint64_t){padded}, 8);
    int status = 0;
    if (json_dumpb(header, all + 8, length, JSON_COMPACT) != length)
        status = dbi_fail(error, "out of memory");
    else if (dbi_json_check(all + 8, length, error)) /* no reader would accept it */
        status = dbi_fail_in(error, "the header's JSON");
    if (status) {
        free(all);
        return -1;
    }
    memset(all + 8 + length, ' ', padded - length);
    *bytes = all;
    *size = 8 + padded;
    return 0;
}

int dbi_header_make(const dbi_record *record, char **bytes, size_t *size, dbi_tensor_places *layout, dbi_error *error)
{
    json_t *header = NULL;
    if (lay_out(record, layout, error) || !(header = header_object(record, layout, error)) ||
        header_bytes(header, bytes, size, error)) {
        json_decref(header);
        free(layout->parts);
        layout->parts = NULL;
        return -1;
    }
    json_decref(header);
    qsort(layout->parts, layout->count, sizeof *layout->parts, by_offset);
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sets the keys in sorted order, because then each takes constant time. */
static int parse_metadata(dbi_record *record, json_t *object, dbi_error *error)
{
    if (!json_is_object(object))
        return dbi_fail(error, "the header's __metadata__ is not an object");
    size_t count = json_object_size(object), n = 0;
    const char **keys = calloc(count + 1, sizeof *keys), *key;
    if (!keys)
        return dbi_fail(error, "out of memory");
    json_t *value;
    json_object_foreach(object, key, value) keys[n++] = key;
    qsort(keys, count, sizeof *keys, by_text);
    int result = 0;
    for (size_t i = 0; !result && i < count; i++) {
        const char *text = json_string_value(json_object_get(object, keys[i]));
        result = text ? dbi_meta_set(record, keys[i], text, error)
                      : dbi_fail(error, "metadata \"%s\" is not a string", keys[i]);
    }
    free(keys);
    return result;
}

/* A size or an offset: a whole number that is not negative. */
static bool whole(const json_t *json, int64_t *value)
{
    *value = json_integer_value(json);
    return json_is_integer(json) && *value >= 0;
}

static int parse_shape(const char *name, const json_t *shape, int64_t sizes[DBI_MAX_DIMS], dbi_error *error)
{
    if (!json_is_array(shape))
        return dbi_fail(error, "tensor \"%s\" has no shape", name);
    if (json_array_size(shape) > DBI_MAX_DIMS)
        return dbi_fail(error, "tensor \"%s\" has %zu dimensions; at most %d are possible", name,
                        json_array_size(shape), DBI_MAX_DIMS);
    for (size_t i = 0; i < json_array_size(shape); i++)
        if (!whole(json_array_get(shape, i), &sizes[i]))
            return dbi_fail(error, "tensor \"%s\" has a size that is negative or not a whole number", name);
    return 0;
}

static int parse_tensor(dbi_record *record, const char *name, const json_t *object, dbi_tensor_place *part,
                        dbi_error *error)
{
    if (!json_is_object(object))
        return dbi_fail(error, "tensor \"%s\" is not described by an object", name);
    const char *type = json_string_value(json_object_get(object, "dtype"));
    if (!type)
        return dbi_fail(error, "tensor \"%s\" has no dtype", name);
    dbi_dtype dtype = dbi_dtype_named(type);
    if (dtype == DBI_DTYPES)
        return dbi_fail(error, "tensor \"%s\" has the unknown dtype \"%.40s\"", name, type);
    const json_t *shape = json_object_get(object, "shape"), *offsets = json_object_get(object, "data_offsets");
    int64_t sizes[DBI_MAX_DIMS], begin, end;
    if (parse_shape(name, shape, sizes, error))
        return -1;
    if (json_array_size(offsets) != 2 || !whole(json_array_get(offsets, 0), &begin) ||
        !whole(json_array_get(offsets, 1), &end) || begin > end)
        return dbi_fail(error, "tensor \"%s\" has no valid data_offsets", name);
    dbi_tensor *tensor = dbi_record_append(record, name, dtype, (int)json_array_size(shape), sizes, error);
    if (!tensor)
        return -1;
    if (dbi_tensor_bytes(tensor) != (size_t)(end - begin))
        return dbi_fail(error, "tensor \"%s\" has %zu bytes by its shape and %zu by its data_offsets", name,
                        dbi_tensor_bytes(tensor), (size_t)(end - begin));
    *part = (dbi_tensor_place){tensor, (uint64_t)begin, (uint64_t)end};
    return 0;
}

static int parse_tensors(dbi_record *record, json_t *header, dbi_tensor_places *layout, dbi_error *error)
{
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value)
    {
        if (!strcmp(name, metadata_key)) {
            if (parse_metadata(record, value, error))
                return -1;
        } else if (parse_tensor(record, name, value, &layout->parts[layout->count], error)) {
            return -1;
        } else {
            layout->count++;
        }
    }
    return 0;
}

/* Sorted by offset, each tensor must begin where the one before it ends. */
static int check_layout(dbi_tensor_places *layout, dbi_error *error)
{
    qsort(layout->parts, layout->count, sizeof *layout->parts, by_offset);
    for (size_t i = 0; i < layout->count; i++) {
        const dbi_tensor_place *part = &layout->parts[i];
        if (part->begin != layout->size)
            return dbi_fail(error, "tensor \"%s\" %s", part->tensor->name,
                            part->begin < layout->size ? "overlaps the one before it" : "leaves a hole before it");
        layout->size = part->end;
    }
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (layout->size > memory)
        return dbi_fail(error, "its tensors take %llu bytes, more than this machine's memory",
                        (unsigned long long)layout->size);
    return 0;
}

dbi_record *dbi_header_parse(const char *json, size_t size, dbi_tensor_places *layout, dbi_error *error)
{
    *layout = (dbi_tensor_places){0};
    if (!size || *json != '{') {
        dbi_fail(error, "the header does not begin with {");
        return NULL;
    }
    json_t *header = dbi_json_parse(json, size, error);
    if (!header) {
        dbi_fail_in(error, "the header's JSON");
        return NULL;
    }
    dbi_record *record = dbi_record_new(error);
    layout->parts = calloc(json_object_size(header) + 1, sizeof *layout->parts);
    if (record && !layout->parts)
        dbi_fail(error, "out of memory");
    if (!record || !layout->parts || parse_tensors(record, header, layout, error) || check_layout(layout, error)) {
        dbi_record_free(record);
        free(layout->parts);
        layout->parts = NULL;
        record = NULL;
    }
    json_decref(header);
    return record;
}
