/* What tiled.cu and spread.cu use of the CUDA runtime, on the host: they are compiled as C++ with this in front, as
 * nvcc puts its own header there. */
#ifndef EMULATED_CUDA_RUNTIME_H
#define EMULATED_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "warps.h"

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__                                                                                              \
    &/* arguments lie with the caller: a kernel is then called with their address, whatever their type */
#define __shared__                      static
#define threadIdx                       dbi_thread_index
#define blockIdx                        dbi_block_index
#define blockDim                        dbi_block_extent
#define gridDim                         dbi_grid_extent
#define __syncthreads()                 dbi_block_barrier()
#define __shfl_xor_sync(m, value, mask) dbi_shuffle_xor(value, mask)

typedef struct alignas(16) uint4 {
    uint32_t x, y, z, w;
} uint4;

typedef struct alignas(8) uint2 {
    uint32_t x, y;
} uint2;

typedef struct alignas(8) float2 {
    float x, y;
} float2;

static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w)
{
    return {x, y, z, w};
}

static inline uint2 make_uint2(uint32_t x, uint32_t y)
{
    return {x, y};
}

static inline float2 make_float2(float x, float y)
{
    return {x, y};
}

static inline float __uint_as_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned all) : x(all), y(1), z(1)
    {
    }
};

typedef enum cudaError_t { cudaSuccess, cudaErrorInvalidValue } cudaError_t;
typedef enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin } cudaDeviceAttr;
typedef enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize } cudaFuncAttribute;
typedef struct CUstream_st *cudaStream_t;

static inline cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

static inline cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

static inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int)
{
    *value = attribute == cudaDevAttrMultiProcessorCount ? dbi_emulated_processors : (int)dbi_emulated_shared;
    return cudaSuccess;
}

static inline cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int bytes)
{
    return (size_t)bytes <= dbi_emulated_shared ? cudaSuccess : cudaErrorInvalidValue;
}

static inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int, size_t)
{
    *blocks = dbi_emulated_resident;
    return cudaSuccess;
}

static inline cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared,
                                           cudaStream_t)
{
    dbi_warps_launch((void (*)(const void *))kernel, arguments[0], grid.x, block.x, shared);
    return cudaSuccess;
}

#endif
