#include "record/record.h"

#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "record/private.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[DBI_DTYPES] = {
    [DBI_BOOL] = {"BOOL", 1}, [DBI_U8] = {"U8", 1},   [DBI_I8] = {"I8", 1},     [DBI_U16] = {"U16", 2},
    [DBI_I16] = {"I16", 2},   [DBI_F16] = {"F16", 2}, [DBI_BF16] = {"BF16", 2}, [DBI_U32] = {"U32", 4},
    [DBI_I32] = {"I32", 4},   [DBI_F32] = {"F32", 4}, [DBI_U64] = {"U64", 8},   [DBI_I64] = {"I64", 8},
    [DBI_F64] = {"F64", 8},
};

size_t dbi_dtype_size(dbi_dtype dtype)
{
    return dtypes[dtype].size;
}

const char *dbi_dtype_name(dbi_dtype dtype)
{
    return dtypes[dtype].name;
}

dbi_dtype dbi_dtype_named(const char *name)
{
    int i = 0;
    while (i < DBI_DTYPES && strcmp(dtypes[i].name, name))
        i++;
    return (dbi_dtype)i;
}

size_t dbi_tensor_bytes(const dbi_tensor *tensor)
{
    return tensor->count * dtypes[tensor->dtype].size;
}

dbi_record *dbi_record_new(dbi_error *error)
{
    dbi_record *record = calloc(1, sizeof *record);
    if (!record)
        dbi_fail(error, "out of memory");
    return record;
}

static void tensor_free(dbi_tensor *tensor)
{
    free(tensor->data);
    free(tensor->name);
    free(tensor);
}

static void keep(void *node)
{
    (void)node; /* the tree's tensors are freed with the list */
}

void dbi_record_free(dbi_record *record)
{
    if (!record)
        return;
    tdestroy(record->names, keep);
    for (size_t i = 0; i < record->count; i++)
        tensor_free(record->tensors[i]);
    for (size_t i = 0; i < record->meta_count; i++) {
        free(record->meta[i].key);
        free(record->meta[i].value);
    }
    free(record->tensors);
    free(record->meta);
    free(record);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const dbi_tensor *)a)->name, ((const dbi_tensor *)b)->name);
}

/* Makes room for one more. */
static bool grow(dbi_record *record)
{
    if (record->count < record->capacity)
        return true;
    size_t capacity = record->capacity ? 2 * record->capacity : 8;
    dbi_tensor **tensors = reallocarray(record->tensors, capacity, sizeof *tensors);
    if (!tensors)
        return false;
    record->tensors = tensors;
    record->capacity = capacity;
    return true;
}

dbi_tensor *dbi_record_append(dbi_record *record, const char *name, dbi_dtype dtype, int ndim, const int64_t *shape,
                              dbi_error *error)
{
    if (ndim < 0 || ndim > DBI_MAX_DIMS) {
        dbi_fail(error, "tensor \"%s\" has %d dimensions; at most %d are possible", name, ndim, DBI_MAX_DIMS);
        return NULL;
    }
    int64_t count, bytes;
    if (!dbi_count(shape, ndim, &count) || __builtin_mul_overflow(count, (int64_t)dtypes[dtype].size, &bytes)) {
        dbi_fail(error, "tensor \"%s\" has an impossible shape", name);
        return NULL;
    }
    dbi_tensor *tensor = calloc(1, sizeof *tensor);
    if (!tensor || !(tensor->name = strdup(name)) || !grow(record)) {
        if (tensor)
            tensor_free(tensor);
        dbi_fail(error, "out of memory");
        return NULL;
    }
    tensor->dtype = dtype;
    tensor->ndim = ndim;
    if (ndim)
        memcpy(tensor->shape, shape, (size_t)ndim * sizeof *shape);
    tensor->count = (size_t)count;
    dbi_tensor **node = tsearch(tensor, &record->names, by_name);
    if (!node || *node != tensor) {
        dbi_fail(error, node ? "two tensors are called \"%s\"" : "out of memory", name);
        tensor_free(tensor);
        return NULL;
    }
    record->tensors[record->count++] = tensor;
    return tensor;
}

dbi_tensor *dbi_record_add_raw(dbi_record *record, const char *name, dbi_dtype dtype, int ndim, const int64_t *shape,
                               dbi_error *error)
{
    dbi_tensor *tensor = dbi_record_append(record, name, dtype, ndim, shape, error);
    if (!tensor)
        return NULL;
    tensor->data = dbi_alloc_raw(tensor->count, dtypes[dtype].size, error);
    if (!tensor->data) {
        dbi_fail_in(error, "tensor \"%s\"", name);
        dbi_record_drop(record, name);
        return NULL;
    }
    return tensor;
}

dbi_tensor *dbi_record_add(dbi_record *record, const char *name, dbi_dtype dtype, int ndim, const int64_t *shape,
                           dbi_error *error)
{
    dbi_tensor *tensor = dbi_record_add_raw(record, name, dtype, ndim, shape, error);
    if (tensor)
        memset(tensor->data, 0, dbi_tensor_bytes(tensor));
    return tensor;
}

size_t dbi_record_count(const dbi_record *record)
{
    return record->count;
}

dbi_tensor *dbi_record_at(const dbi_record *record, size_t index)
{
    return index < record->count ? record->tensors[index] : NULL;
}

dbi_tensor *dbi_record_find(const dbi_record *record, const char *name)
{
    dbi_tensor key = {.name = (char *)(uintptr_t)name};
    dbi_tensor **node = tfind(&key, &record->names, by_name);
    return node ? *node : NULL;
}

/* "[3,4]"; -1 is shown as "*". */
static void shape_text(char *text, size_t size, int ndim, const int64_t *shape)
{
    size_t at = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < ndim; i++) {
        if (shape[i] == -1)
            at += (size_t)snprintf(text + at, size - at, "%s*", i ? "," : "");
        else
            at += (size_t)snprintf(text + at, size - at, "%s%" PRId64, i ? "," : "", shape[i]);
    }
    snprintf(text + at, size - at, "]");
}

dbi_tensor *dbi_record_need(const dbi_record *record, const char *name, dbi_dtype dtype, int ndim, const int64_t *shape,
                            dbi_error *error)
{
    dbi_tensor *tensor = dbi_record_find(record, name);
    if (!tensor) {
        dbi_fail(error, "no tensor \"%s\"", name);
        return NULL;
    }
    if (tensor->dtype != dtype) {
        dbi_fail(error, "tensor \"%s\" is %s, not %s", name, dbi_dtype_name(tensor->dtype), dbi_dtype_name(dtype));
        return NULL;
    }
    bool fits = tensor->ndim == ndim;
    for (int i = 0; fits && shape && i < ndim; i++)
        fits = shape[i] == -1 || shape[i] == tensor->shape[i];
    if (fits)
        return tensor;
    static const int64_t any[DBI_MAX_DIMS] = {-1, -1, -1, -1, -1, -1, -1, -1};
    char is[DBI_MAX_DIMS * 21 + 3], wanted[sizeof is];
    shape_text(is, sizeof is, tensor->ndim, tensor->shape);
    shape_text(wanted, sizeof wanted, ndim, shape ? shape : any);
    dbi_fail(error, "tensor \"%s\" has shape %s, not %s", name, is, wanted);
    return NULL;
}

void dbi_record_drop(dbi_record *record, const char *name)
{
    dbi_tensor *tensor = dbi_record_find(record, name);
    if (!tensor)
        return;
    tdelete(tensor, &record->names, by_name);
    size_t i = 0;
    while (record->tensors[i] != tensor)
        i++;
    record->count--;
    memmove(record->tensors + i, record->tensors + i + 1, (record->count - i) * sizeof *record->tensors);
    tensor_free(tensor);
}
