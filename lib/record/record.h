/* Records: named tensors and a string map, in memory. The file format is in record/stream.h. */
#ifndef DBI_RECORD_RECORD_H
#define DBI_RECORD_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { DBI_MAX_DIMS = 8 };

typedef enum dbi_dtype {
    DBI_BOOL,
    DBI_U8,
    DBI_I8,
    DBI_U16,
    DBI_I16,
    DBI_F16,
    DBI_BF16,
    DBI_U32,
    DBI_I32,
    DBI_F32,
    DBI_U64,
    DBI_I64,
    DBI_F64,
    DBI_DTYPES
} dbi_dtype;

/* Bytes of one element. */
size_t dbi_dtype_size(dbi_dtype dtype);
/* The safetensors name: "F32", "U8", ... */
const char *dbi_dtype_name(dbi_dtype dtype);

/* A dense tensor in C order. A scalar has ndim 0. */
typedef struct dbi_tensor {
    char *name;
    dbi_dtype dtype;
    int ndim;
    int64_t shape[DBI_MAX_DIMS];
    size_t count; /* elements */
    void *data;   /* aligned to 64 bytes, owned by the record */
} dbi_tensor;

typedef struct dbi_record dbi_record;

dbi_record *dbi_record_new(dbi_error *error);
/* NULL is allowed. */
void dbi_record_free(dbi_record *record);

/* Adds a zeroed tensor at the end; the record owns it, and it stays where it is until it is dropped or the record
 * freed. NULL when the name is there already, the shape is impossible or memory is out. */
dbi_tensor *dbi_record_add(dbi_record *record, const char *name, dbi_dtype dtype, int ndim, const int64_t *shape,
                           dbi_error *error);
/* The same, but the memory is not cleared: for a caller that writes every element. */
dbi_tensor *dbi_record_add_raw(dbi_record *record, const char *name, dbi_dtype dtype, int ndim, const int64_t *shape,
                               dbi_error *error);
size_t dbi_record_count(const dbi_record *record);
/* The tensor at an index from 0, in the order in which they were added; NULL past the last. */
dbi_tensor *dbi_record_at(const dbi_record *record, size_t index);
/* NULL when there is none. */
dbi_tensor *dbi_record_find(const dbi_record *record, const char *name);
/* The tensor, or NULL with an error when it is missing or of another type or shape: 'no tensor "label"', 'tensor
 * "label" is F32, not U8', 'tensor "label" has shape [3,4], not [*,4,5]'. shape: ndim sizes, -1 for any; NULL for any
 * shape of ndim dimensions. */
dbi_tensor *dbi_record_need(const dbi_record *record, const char *name, dbi_dtype dtype, int ndim, const int64_t *shape,
                            dbi_error *error);
/* Removes a tensor if it is there. */
void dbi_record_drop(dbi_record *record, const char *name);

#endif
