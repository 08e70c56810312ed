/* What the sources of the CUDA device share.
 *
 * They are written in the common subset of C and CUDA C++ and are compiled twice: by nvcc for the device, and by the C
 * compiler into the unit tests. There a launch is a loop over blocks, phases and threads (see DBI_KERNEL), and device
 * memory is host memory. The convolutions on tensor cores, in tiled.cu and spread.cu, are CUDA C++ and use operations
 * of a whole warp (ptx.h); in the unit tests their threads are coroutines (tests/emulated/warps.h). So everything but
 * the calls of CUDA and cuDNN themselves, in runtime.cu and cudnn.cu, is run and tested without a GPU. */
#ifndef DBI_CUDA_CUDA_H
#define DBI_CUDA_CUDA_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/error.h"
#include "base/host_device.h"

/* ---- Kernels ----
 *
 * A kernel is a function of host and device
 *     DBI_HD void NAME(const ARGUMENTS *a, int64_t block, int thread, int phase, SHARED *shared)
 * that every thread of every block runs once for each phase, with a barrier of the block between two phases. Values for
 * later phases are kept in `shared` (one per block, undefined at first), never in variables. Within a phase no thread
 * reads what another thread writes, and no block reads what another block writes. So a loop over the threads, in any
 * order, computes what the device computes. Sums are added in a fixed order, without atomics, so that every run gives
 * equal bytes.
 *
 * DBI_KERNEL(NAME, ARGUMENTS, THREADS, PHASES, SHARED) defines
 *     int NAME_launch(dbi_stream stream, int64_t blocks, const ARGUMENTS *a, dbi_error *error)
 * which copies the arguments and does nothing for 0 blocks. ARGUMENTS has at most 4 KiB, SHARED at most 48 KiB.
 * DBI_KERNEL_RESIDENT limits the registers, so that a multiprocessor can hold RESIDENT blocks at once. */
typedef struct CUstream_st *dbi_stream;

#ifdef __CUDACC__
#define DBI_KERNEL_(NAME, ARGUMENTS, BOUNDS, THREADS, PHASES, SHARED)                                                  \
    static __global__ void __launch_bounds__ BOUNDS NAME##_kernel(const __grid_constant__ ARGUMENTS a)                 \
    {                                                                                                                  \
        __shared__ SHARED shared;                                                                                      \
        _Pragma("unroll 1") for (int phase = 0; phase < (PHASES); phase++)                                             \
        {                                                                                                              \
            if (phase)                                                                                                 \
                __syncthreads();                                                                                       \
            NAME(&a, (int64_t)blockIdx.x, (int)threadIdx.x, phase, &shared);                                           \
        }                                                                                                              \
    }                                                                                                                  \
    static int NAME##_launch(dbi_stream stream, int64_t blocks, const ARGUMENTS *a, dbi_error *error)                  \
    {                                                                                                                  \
        if (blocks < 1)                                                                                                \
            return 0;                                                                                                  \
        if (blocks > INT32_MAX)                                                                                        \
            return dbi_fail(error, #NAME ": a grid beyond this device");                                               \
        NAME##_kernel<<<(unsigned)blocks, THREADS, 0, stream>>>(*a);                                                   \
        return dbi_cuda_check(cudaGetLastError(), #NAME, error);                                                       \
    }
#else
/* When true, blocks and threads run in reverse order. A result that depends on the order shows a race. */
extern bool dbi_emulated_backwards;
/* Calls run(arguments, blocks) with a copy of the arguments, when all work before it on the stream is done. */
int dbi_emulated_submit(dbi_stream stream, void (*run)(const void *arguments, int64_t blocks), const void *arguments,
                        size_t bytes, int64_t blocks, dbi_error *error);
#define DBI_KERNEL_(NAME, ARGUMENTS, BOUNDS, THREADS, PHASES, SHARED)                                                  \
    static void NAME##_blocks(const void *arguments, int64_t blocks)                                                   \
    {                                                                                                                  \
        for (int64_t block = 0; block < blocks; block++) {                                                             \
            SHARED shared;                                                                                             \
            memset(&shared, 0xff, sizeof shared);                                                                      \
            for (int phase = 0; phase < (PHASES); phase++)                                                             \
                for (int thread = 0; thread < (THREADS); thread++)                                                     \
                    NAME((const ARGUMENTS *)arguments, dbi_emulated_backwards ? blocks - 1 - block : block,            \
                         dbi_emulated_backwards ? (THREADS)-1 - thread : thread, phase, &shared);                      \
        }                                                                                                              \
    }                                                                                                                  \
    static int NAME##_launch(dbi_stream stream, int64_t blocks, const ARGUMENTS *a, dbi_error *error)                  \
    {                                                                                                                  \
        return dbi_emulated_submit(stream, NAME##_blocks, a, sizeof *a, blocks, error);                                \
    }
#endif

/* Needed so that NAME may be a macro. */
#define DBI_KERNEL(NAME, ARGUMENTS, THREADS, PHASES, SHARED)                                                           \
    DBI_KERNEL_(NAME, ARGUMENTS, (THREADS), THREADS, PHASES, SHARED)
#define DBI_KERNEL_RESIDENT(NAME, ARGUMENTS, THREADS, RESIDENT, PHASES, SHARED)                                        \
    DBI_KERNEL_(NAME, ARGUMENTS, (THREADS, RESIDENT), THREADS, PHASES, SHARED)

/* The number of blocks of `threads` threads for `count` things, one for each thread. */
DBI_HD int64_t dbi_cuda_blocks(int64_t count, int64_t threads)
{
    return (count + threads - 1) / threads;
}

/* ---- Errors ---- */

#ifdef __CUDACC__
/* Returns 0, or -1 with "CUDA: WHAT: why". Too little memory and a missing driver are reported in plain words. */
int dbi_cuda_check(cudaError_t status, const char *what, dbi_error *error);
/* if (DBI_CUDA(cudaCall(...), error)) return -1; */
#define DBI_CUDA(call, error) dbi_cuda_check((call), #call, (error))
#endif

/* ---- Memory ----
 *
 * One allocation for all buffers. Each user of device memory asks for its size, and gives a pointer to be set, before
 * the arena is opened. With DBISL_ARENA=apart each buffer is an allocation of its own, so that tools which check the
 * bounds of allocations find errors. */
enum { DBI_ARENA_NEEDS = 1024 };

typedef struct dbi_arena {
    int count;
    struct {
        void *pointer; /* to the pointer to be set */
        size_t offset, bytes;
        void *own; /* its own allocation, if each buffer has one */
    } need[DBI_ARENA_NEEDS];
    size_t bytes;
    unsigned char *base; /* device memory; NULL before it is opened, and if buffers have their own */
} dbi_arena;

/* pointer: the address of a pointer, which must not move. When the arena is opened, the pointer gets `bytes` of device
 * memory, aligned to 256 (0 bytes: NULL). */
int dbi_arena_need(dbi_arena *arena, void *pointer, size_t bytes, dbi_error *error);
/* Sets the pointers, into the one allocation or to the buffers' own; called by dbi_arena_open. */
void dbi_arena_point(const dbi_arena *arena);
/* Allocates, clears, and sets all the pointers. */
int dbi_arena_open(dbi_arena *arena, dbi_error *error);
void dbi_arena_close(dbi_arena *arena);

/* Copy and clear on a stream. Host memory that is not pinned is read before the call returns; what is copied to the
 * host is valid after dbi_cuda_wait. */
int dbi_cuda_put(dbi_stream stream, void *device, const void *host, size_t bytes, dbi_error *error);
int dbi_cuda_get(dbi_stream stream, void *host, const void *device, size_t bytes, dbi_error *error);
int dbi_cuda_copy(dbi_stream stream, void *device, const void *from_device, size_t bytes, dbi_error *error);
int dbi_cuda_clear(dbi_stream stream, void *device, size_t bytes, dbi_error *error);
/* Waits until the stream is done; reports errors of its work. */
int dbi_cuda_wait(dbi_stream stream, dbi_error *error);

/* ---- The parameter block ----
 *
 * What changes from step to step, in device memory. One copy writes it before the step's graph is launched. Kernels
 * read it through a pointer, because their arguments are fixed in the graph. */
typedef struct dbi_cuda_parameters {
    double ramp;      /* weight of the unsupervised terms: dbi_ramp() */
    double threshold; /* ua-mt: a voxel counts when its entropy is below this */
    uint64_t seed;
    uint32_t step;
    float rate, momentum, weight_decay;
    float average,
        average_rest; /* the teacher becomes average * teacher + average_rest * student; average < 0: it stays */
} dbi_cuda_parameters;

/* ---- bfloat16: the upper half of a float ---- */

typedef struct dbi_bf16 {
    uint16_t bits;
} dbi_bf16;

DBI_HD float dbi_bf16_to_float(dbi_bf16 x)
{
    const uint32_t bits = (uint32_t)x.bits << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds to nearest, ties to even; NaN stays NaN. */
DBI_HD dbi_bf16 dbi_bf16_from_float(float f)
{
    dbi_bf16 x;
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ >= 800
    __asm__("cvt.rn.bf16.f32 %0, %1;" : "=h"(x.bits) : "f"(f));
#else
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        x.bits = (uint16_t)(bits >> 16 | 64);
    else
        x.bits = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
    return x;
}

/* What kernels for float store. In the unit tests it can be rounded to bfloat16, so that the code for float is the
 * reference for the code for bfloat16. */
#ifdef __CUDACC__
#define DBI_STORED(f) (f)
#else
extern bool dbi_emulated_rounding;
#define DBI_STORED(f) (dbi_emulated_rounding ? dbi_bf16_to_float(dbi_bf16_from_float(f)) : (f))
#endif

#ifdef __cplusplus
}
#endif

#endif
