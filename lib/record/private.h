/* What the sources of lib/record share among themselves. */
#ifndef DBI_RECORD_PRIVATE_H
#define DBI_RECORD_PRIVATE_H

#include "record/record.h"

typedef struct dbi_meta {
    char *key, *value;
} dbi_meta;

struct dbi_record {
    dbi_tensor **tensors; /* in order; pointers, so that they stay where they are while the list grows */
    size_t count, capacity;
    void *names;    /* the same tensors as a tree by name (tsearch): hostile headers hold millions of names */
    dbi_meta *meta; /* sorted by key */
    size_t meta_count, meta_capacity;
};

/* dbi_record_add without memory for the elements: data is NULL. When the caller sets it, the record owns it. */
dbi_tensor *dbi_record_append(dbi_record *record, const char *name, dbi_dtype dtype, int ndim, const int64_t *shape,
                              dbi_error *error);
size_t dbi_tensor_bytes(const dbi_tensor *tensor);
/* DBI_DTYPES when there is no such type. */
dbi_dtype dbi_dtype_named(const char *name);

#endif
