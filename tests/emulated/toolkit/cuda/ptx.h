/* lib/cuda/ptx.h on the host, in its place. */
#ifndef DBI_CUDA_PTX_H
#define DBI_CUDA_PTX_H

#include <string.h>

#include "cuda/cuda.h"
#include "warps.h"

#define DBI_DYNAMIC_SHARED(NAME) unsigned char *const NAME = dbi_shared_memory()

static inline uint32_t shared_address(const void *p)
{
    return dbi_shared_address(p);
}

static inline void fetch(uint32_t to, const void *from, bool there)
{
    dbi_copy_start(to, there ? from : NULL);
}

static inline void fetch_end(void)
{
    dbi_copy_commit();
}

template <int LEFT> static inline void fetch_wait(void)
{
    dbi_copy_wait(LEFT);
}

template <int COUNT> static inline void load_matrices(uint32_t *r, uint32_t address)
{
    dbi_load_matrices(COUNT, false, r, address);
}

template <int COUNT> static inline void load_transposed(uint32_t *r, uint32_t address)
{
    dbi_load_matrices(COUNT, true, r, address);
}

template <int K> static inline void multiply(float c[4], const uint32_t *a, const uint32_t *b)
{
    dbi_multiply(K, c, a, b);
}

static inline uint32_t pack_two(float low, float high)
{
    return (uint32_t)dbi_bf16_from_float(low).bits | (uint32_t)dbi_bf16_from_float(high).bits << 16;
}

#endif
