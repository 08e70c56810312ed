/* Memory: checked sizes, 64-byte alignment for vectors. */
#ifndef DBI_BASE_MEMORY_H
#define DBI_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* count * size zeroed bytes, aligned to 64; NULL with an error when the product overflows or the memory is not there.
 * Free with free(). A count of 0 gives a valid pointer. */
void *dbi_alloc(size_t count, size_t size, dbi_error *error);
/* The same, but the bytes are not zeroed. */
void *dbi_alloc_raw(size_t count, size_t size, dbi_error *error);

/* Product of ndim sizes, each >= 0, into *count. False when one is negative or the product is above INT64_MAX. */
bool dbi_count(const int64_t *shape, int ndim, int64_t *count);

#endif
