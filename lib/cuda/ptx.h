/* The instructions that kernels on tensor cores use: asynchronous copies into shared memory, matrices of 8x8 from
 * there, their products. For nvcc; tests/emulated has them for the host. */
#ifndef DBI_CUDA_PTX_H
#define DBI_CUDA_PTX_H

#include "cuda/cuda.h"

/* What a block gets at its launch. */
#define DBI_DYNAMIC_SHARED(NAME) extern __shared__ __align__(128) unsigned char NAME[]

static __device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* 16 bytes on their way from global to shared memory, zeros where not `there`. */
static __device__ __forceinline__ void fetch(uint32_t to, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}

static __device__ __forceinline__ void fetch_end(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until no more than LEFT groups of fetches are under way. */
template <int LEFT> static __device__ __forceinline__ void fetch_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

/* COUNT matrices of 8x8; lane l gives the address of row l % 8 of matrix l / 8. */
template <int COUNT> static __device__ __forceinline__ void load_matrices(uint32_t *r, uint32_t address)
{
    if (COUNT == 4)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(address)
                     : "memory");
    else if (COUNT == 2)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(address) : "memory");
}

template <int COUNT> static __device__ __forceinline__ void load_transposed(uint32_t *r, uint32_t address)
{
    if (COUNT == 4)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1])
                     : "r"(address)
                     : "memory");
}

/* c += a b, a of 16 rows and K columns, b of 8 columns. */
template <int K> static __device__ __forceinline__ void multiply(float c[4], const uint32_t *a, const uint32_t *b)
{
    if (K == 16)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    else
        asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}

/* Two floats as bfloat16, the first one in the lower half. */
static __device__ __forceinline__ uint32_t pack_two(float low, float high)
{
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

#endif
