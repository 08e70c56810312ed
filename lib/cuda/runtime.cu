/* All calls of CUDA: device, memory, streams, graphs. Everything else uses cuda.h and stream.h. */
#include <cuda_runtime.h>

#include <stdlib.h>

#include "cuda/stream.h"

#include "cuda/cudnn.h"

/* The least compute capability that the kernels are compiled for: they need bfloat16 on tensor cores. */
enum { LEAST_CAPABILITY = 8 };

int dbi_cuda_check(cudaError_t status, const char *what, dbi_error *error)
{
    if (status == cudaSuccess)
        return 0;
    cudaGetLastError(); /* clears the error, so that the next call does not report it again */
    if (status == cudaErrorMemoryAllocation)
        return dbi_fail(error, "the GPU has not enough memory");
    return dbi_fail(error, "CUDA: %.200s: %s", what, cudaGetErrorString(status));
}

/* ---- Device ---- */

static int find_devices(int *count, dbi_error *error)
{
    int driver = 0, runtime = 0;
    const cudaError_t status = cudaGetDeviceCount(count);
    if (status == cudaSuccess && *count > 0)
        return 0;
    cudaGetLastError();
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return dbi_fail(error, "no NVIDIA driver is loaded on this machine");
    if (status == cudaErrorInsufficientDriver && cudaRuntimeGetVersion(&runtime) == cudaSuccess)
        return dbi_fail(error,
                        "the NVIDIA driver is too old: it supports CUDA %d.%d, this dbisl was built with CUDA %d.%d",
                        driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (status == cudaErrorNoDevice || status == cudaSuccess)
        return dbi_fail(error, "there is no GPU, or CUDA_VISIBLE_DEVICES hides it");
    return dbi_fail(error, "no GPU can be used: %s", cudaGetErrorString(status));
}

int dbi_cuda_select(const dbi_device *device, dbi_error *error)
{
    int count = 0;
    cudaDeviceProp p;
    if (find_devices(&count, error))
        return -1;
    if (device->index >= count)
        return dbi_fail(error, "there is no device cuda:%d, the last one is cuda:%d", device->index, count - 1);
    if (DBI_CUDA(cudaGetDeviceProperties(&p, device->index), error))
        return -1;
    if (p.major < LEAST_CAPABILITY)
        return dbi_fail(error, "%s is too old: it has compute capability %d.%d, %d.0 (Ampere) is needed", p.name,
                        p.major, p.minor, LEAST_CAPABILITY);
    return DBI_CUDA(cudaSetDevice(device->index), error) || dbi_cudnn_load(error) ? -1 : 0;
}

/* Operations of dense matrix products that one multiprocessor does in a clock, from NVIDIA's white papers on its
 * generations. */
static double operations_per_clock(int major, int minor, dbi_precision precision)
{
    const bool server = (major == 8 && minor == 0) || major == 9 || major == 10;
    const double fp32 = major == 8 && minor == 0 ? 128 : 256, bf16 = major == 10  ? 8192
                                                                     : major == 9 ? 4096
                                                                     : server     ? 2048
                                                                                  : 1024;
    return precision == DBI_PRECISION_FP32 ? fp32 : precision == DBI_PRECISION_TF32 ? bf16 / 2 : bf16;
}

int dbi_cuda_describe(const dbi_device *device, dbi_device_facts *facts, dbi_error *error)
{
    cudaDeviceProp p;
    int clock = 0, memory_clock = 0; /* kHz */
    if (dbi_cuda_select(device, error) || DBI_CUDA(cudaGetDeviceProperties(&p, device->index), error) ||
        DBI_CUDA(cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, device->index), error) ||
        DBI_CUDA(cudaDeviceGetAttribute(&memory_clock, cudaDevAttrMemoryClockRate, device->index), error))
        return -1;
    memcpy(facts->name, p.name, sizeof facts->name);
    facts->name[sizeof facts->name - 1] = 0;
    facts->bandwidth = 2e3 * memory_clock * p.memoryBusWidth / 8; /* two transfers a clock */
    facts->arithmetic = 1e3 * clock * p.multiProcessorCount * operations_per_clock(p.major, p.minor, device->precision);
    return 0;
}

/* ---- Memory ---- */

/* Allocates `bytes` of device memory, set to 0. */
static cudaError_t allocate(void **memory, size_t bytes)
{
    *memory = NULL;
    const cudaError_t status = cudaMalloc(memory, bytes);
    return status == cudaSuccess ? cudaMemset(*memory, 0, bytes) : status;
}

static cudaError_t allocate_together(dbi_arena *arena)
{
    void *base;
    const cudaError_t status = allocate(&base, arena->bytes ? arena->bytes : 256);
    arena->base = (unsigned char *)base;
    return status;
}

static cudaError_t allocate_apart(dbi_arena *arena)
{
    cudaError_t status = cudaSuccess;
    for (int i = 0; i < arena->count && status == cudaSuccess; i++)
        status = allocate(&arena->need[i].own, arena->need[i].bytes);
    return status;
}

int dbi_arena_open(dbi_arena *arena, dbi_error *error)
{
    const char *how = getenv("DBISL_ARENA");
    size_t available = 0, total = 0;
    if (DBI_CUDA(cudaMemGetInfo(&available, &total), error))
        return -1;
    const cudaError_t status = how && !strcmp(how, "apart") ? allocate_apart(arena) : allocate_together(arena);
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        dbi_arena_close(arena);
        return dbi_fail(error, "the GPU has not enough memory: %zu MB are needed, %zu of its %zu MB are free",
                        arena->bytes / 1000000 + 1, available / 1000000, total / 1000000);
    }
    if (DBI_CUDA(status, error) || DBI_CUDA(cudaDeviceSynchronize(), error)) {
        dbi_arena_close(arena);
        return -1;
    }
    dbi_arena_point(arena);
    return 0;
}

void dbi_arena_close(dbi_arena *arena)
{
    for (int i = 0; i < arena->count; i++) {
        if (arena->need[i].own)
            cudaFree(arena->need[i].own);
        arena->need[i].own = NULL;
    }
    if (arena->base)
        cudaFree(arena->base);
    arena->base = NULL;
}

int dbi_cuda_put(dbi_stream stream, void *device, const void *host, size_t bytes, dbi_error *error)
{
    return bytes ? DBI_CUDA(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream), error) : 0;
}

int dbi_cuda_get(dbi_stream stream, void *host, const void *device, size_t bytes, dbi_error *error)
{
    return bytes ? DBI_CUDA(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream), error) : 0;
}

int dbi_cuda_copy(dbi_stream stream, void *device, const void *from_device, size_t bytes, dbi_error *error)
{
    return bytes ? DBI_CUDA(cudaMemcpyAsync(device, from_device, bytes, cudaMemcpyDeviceToDevice, stream), error) : 0;
}

int dbi_cuda_clear(dbi_stream stream, void *device, size_t bytes, dbi_error *error)
{
    return bytes ? DBI_CUDA(cudaMemsetAsync(device, 0, bytes, stream), error) : 0;
}

int dbi_cuda_wait(dbi_stream stream, dbi_error *error)
{
    return DBI_CUDA(cudaStreamSynchronize(stream), error);
}

int dbi_pinned_open(void **memory, size_t bytes, dbi_error *error)
{
    *memory = NULL;
    return DBI_CUDA(cudaMallocHost(memory, bytes ? bytes : 1), error);
}

void dbi_pinned_close(void *memory)
{
    if (memory)
        cudaFreeHost(memory);
}

/* ---- Streams and events ---- */

int dbi_stream_open(dbi_stream *stream, dbi_error *error)
{
    *stream = NULL;
    return DBI_CUDA(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), error);
}

void dbi_stream_close(dbi_stream stream)
{
    if (stream) {
        cudaStreamSynchronize(stream);
        cudaStreamDestroy(stream);
    }
}

int dbi_event_open(dbi_event *event, dbi_error *error)
{
    *event = NULL;
    return DBI_CUDA(cudaEventCreateWithFlags(event, cudaEventDisableTiming), error);
}

void dbi_event_close(dbi_event event)
{
    if (event)
        cudaEventDestroy(event);
}

int dbi_event_record(dbi_event event, dbi_stream stream, dbi_error *error)
{
    return DBI_CUDA(cudaEventRecord(event, stream), error);
}

int dbi_event_before(dbi_event event, dbi_stream stream, dbi_error *error)
{
    return DBI_CUDA(cudaStreamWaitEvent(stream, event, 0), error);
}

int dbi_event_wait(dbi_event event, dbi_error *error)
{
    return DBI_CUDA(cudaEventSynchronize(event), error);
}

/* ---- Graphs ---- */

int dbi_graph_record(dbi_graph *graph, dbi_stream stream, int (*run)(void *context, dbi_error *error), void *context,
                     dbi_error *error)
{
    cudaGraph_t recorded = NULL;
    *graph = NULL;
    if (DBI_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), error))
        return -1;
    dbi_error ignored;
    const int status = run(context, &ignored);
    const cudaError_t end = cudaStreamEndCapture(stream, &recorded);
    cudaGetLastError();
    /* A step that cannot be recorded is done call by call instead. If that fails too, the error is reported there. */
    if (!status && end == cudaSuccess && recorded && cudaGraphInstantiate(graph, recorded, 0) != cudaSuccess) {
        cudaGetLastError();
        *graph = NULL;
    }
    if (recorded)
        cudaGraphDestroy(recorded);
    return 0;
}

int dbi_graph_launch(dbi_graph graph, dbi_stream stream, dbi_error *error)
{
    return DBI_CUDA(cudaGraphLaunch(graph, stream), error);
}

void dbi_graph_close(dbi_graph graph)
{
    if (graph)
        cudaGraphExecDestroy(graph);
}
