#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static size_t rounded_up(size_t bytes)
{
    return bytes ? (bytes + 63) / 64 * 64 : 64;
}

void *dbi_alloc_raw(size_t count, size_t size, dbi_error *error)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        dbi_fail(error, "a size of %zu times %zu bytes is beyond this machine", count, size);
        return NULL;
    }
    void *data = aligned_alloc(64, rounded_up(bytes));
    if (!data)
        dbi_fail(error, "out of memory: %zu bytes", bytes);
    return data;
}

void *dbi_alloc(size_t count, size_t size, dbi_error *error)
{
    void *data = dbi_alloc_raw(count, size, error);
    return data ? memset(data, 0, rounded_up(count * size)) : NULL;
}

bool dbi_count(const int64_t *shape, int ndim, int64_t *count)
{
    int64_t product = 1;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(product, shape[i], &product))
            return false;
    *count = product;
    return true;
}
