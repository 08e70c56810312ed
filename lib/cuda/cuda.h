/* What the sources of the CUDA device share.
 *
 * They are written in the common subset of C and CUDA C++ and are compiled twice: by nvcc for the device, and by the C
 * compiler into the unit tests, where a launch is a loop over blocks, phases and threads (see DBI_KERNEL) and device
 * memory is the host's. The convolutions on tensor cores, in tiled.cu and spread.cu, are CUDA C++ and use what a warp
 * does together, in ptx.h; there the unit tests have coroutines for threads (tests/emulated/warps.h). So everything but
 * the calls of CUDA and cuDNN themselves, in runtime.cu and cudnn.cu, runs and is judged without a GPU. */
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
 * that every thread of every block runs once for each phase, with a barrier of the block between two phases. What a
 * later phase needs is in `shared` (one per block, undefined at first), never in variables. Within a phase no thread
 * reads what another one writes in it, and no block reads what another one writes: then a loop over the threads, in any
 * order, does what the device does. Sums are added in a fixed order, without atomics: equal bytes from run to run.
 *
 * DBI_KERNEL(NAME, ARGUMENTS, THREADS, PHASES, SHARED) makes of it
 *     int NAME_launch(dbi_stream stream, int64_t blocks, const ARGUMENTS *a, dbi_error *error)
 * which copies the arguments; no blocks: nothing is done. ARGUMENTS at most 4 KiB, SHARED at most 48 KiB.
 * DBI_KERNEL_RESIDENT: with as few registers as let a multiprocessor have RESIDENT blocks at once. */
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
/* Blocks and threads run backwards where this is true: a result that depends on it is a race. */
extern bool dbi_emulated_backwards;
/* run(arguments, blocks), on a copy of the arguments, when the stream comes to it. */
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

/* So that NAME may be a macro. */
#define DBI_KERNEL(NAME, ARGUMENTS, THREADS, PHASES, SHARED)                                                           \
    DBI_KERNEL_(NAME, ARGUMENTS, (THREADS), THREADS, PHASES, SHARED)
#define DBI_KERNEL_RESIDENT(NAME, ARGUMENTS, THREADS, RESIDENT, PHASES, SHARED)                                        \
    DBI_KERNEL_(NAME, ARGUMENTS, (THREADS, RESIDENT), THREADS, PHASES, SHARED)

/* Blocks of `threads` for `count` things, one each. */
DBI_HD int64_t dbi_cuda_blocks(int64_t count, int64_t threads)
{
    return (count + threads - 1) / threads;
}

/* ---- Errors ---- */

#ifdef __CUDACC__
/* 0, or -1 with "CUDA: WHAT: why"; what is out of memory or without a driver is said in plain words. */
int dbi_cuda_check(cudaError_t status, const char *what, dbi_error *error);
/* if (DBI_CUDA(cudaCall(...), error)) return -1; */
#define DBI_CUDA(call, error) dbi_cuda_check((call), #call, (error))
#endif

/* ---- Memory ----
 *
 * One allocation: whoever needs device memory says how much, before the arena is opened, and where to put the address.
 * For tools that see what leaves an allocation, each buffer can be one instead. */
enum { DBI_ARENA_NEEDS = 1024 };

typedef struct dbi_arena {
    int count;
    struct {
        void *pointer; /* to the pointer to be set */
        size_t offset, bytes;
        void *own; /* its allocation, where each has one */
    } need[DBI_ARENA_NEEDS];
    size_t bytes;
    unsigned char
        *base; /* device memory; NULL before it is opened, and where each buffer has an allocation of its own */
} dbi_arena;

/* pointer: the address of a pointer that gets `bytes` of device memory, aligned to 256, when the arena is opened (0
 * bytes: NULL). It must not move until then. */
int dbi_arena_need(dbi_arena *arena, void *pointer, size_t bytes, dbi_error *error);
/* Sets the pointers, for dbi_arena_open: into the one allocation, or to the buffers' own. */
void dbi_arena_point(const dbi_arena *arena);
/* Allocates, clears, and sets all the pointers. */
int dbi_arena_open(dbi_arena *arena, dbi_error *error);
void dbi_arena_close(dbi_arena *arena);

/* Copies and clears on a stream. Host memory that is not pinned is copied before the call returns; device to host:
 * valid after dbi_cuda_wait. */
int dbi_cuda_put(dbi_stream stream, void *device, const void *host, size_t bytes, dbi_error *error);
int dbi_cuda_get(dbi_stream stream, void *host, const void *device, size_t bytes, dbi_error *error);
int dbi_cuda_copy(dbi_stream stream, void *device, const void *from_device, size_t bytes, dbi_error *error);
int dbi_cuda_clear(dbi_stream stream, void *device, size_t bytes, dbi_error *error);
/* Until the stream is done; reports what failed in it. */
int dbi_cuda_wait(dbi_stream stream, dbi_error *error);

/* ---- The parameter block ----
 *
 * What changes from step to step, in device memory: written by one copy before the step's graph is launched. Kernels
 * read it through a pointer, for their arguments are fixed in the graph. */
typedef struct dbi_cuda_parameters {
    double ramp;      /* weight of the unsupervised terms: dbi_ramp() */
    double threshold; /* ua-mt: entropy below which a voxel counts */
    uint64_t seed;
    uint32_t step;
    float rate, momentum, weight_decay;
    float average, average_rest; /* shares of the old value and the student's in the teacher's average; average < 0: the
                                    teacher stays */
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

/* Rounded to nearest, ties to even; NaN stays NaN. */
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

/* What kernels for float store: the unit tests can have it rounded to bfloat16, so that the code for float is a
 * reference for that for bfloat16. */
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
