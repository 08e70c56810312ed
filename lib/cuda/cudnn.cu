/* Convolutions with cuDNN's graph interface, by its C functions (a tree of descriptors with attributes); see conv.h.
 * For each convolution cuDNN's heuristics name candidates, called engine configurations, with the best guess first. The
 * fastest of the first few is found by measuring and remembered (algorithms.h). The precision limits which of them are
 * allowed; unless the device is `fast`, those whose last bits depend on timing are left out. When no candidate is left,
 * our own kernels compute (direct.h). */
#include <cuda_runtime.h>
#include <cudnn.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "cuda/algorithms.h"
#include "cuda/conv.h"
#include "cuda/cudnn.h"
#include "cuda/direct.h"
#include "cuda/spread.h"
#include "cuda/tiled.h"

/* ---- Loading ---- */

#define FUNCTIONS(X)                                                                                                   \
    X(GetVersion)                                                                                                      \
    X(GetErrorString)                                                                                                  \
    X(Create)                                                                                                          \
    X(Destroy)                                                                                                         \
    X(SetStream)                                                                                                       \
    X(BackendCreateDescriptor)                                                                                         \
    X(BackendDestroyDescriptor)                                                                                        \
    X(BackendSetAttribute)                                                                                             \
    X(BackendGetAttribute)                                                                                             \
    X(BackendFinalize)                                                                                                 \
    X(BackendExecute)

static struct {
    void *library;
#define X(name) __typeof__(&cudnn##name) name;
    FUNCTIONS(X)
#undef X
} dnn;

#ifndef DBI_CUDNN_FOLDER
#define DBI_CUDNN_FOLDER ""
#endif

int dbi_cudnn_load(dbi_error *error)
{
    static const char *const places[] = {"libcudnn.so.9", DBI_CUDNN_FOLDER "/libcudnn.so.9"};
    void *library = NULL;
    if (dnn.library)
        return 0;
    for (int i = 0; !library && i < 2; i++)
        library = dlopen(places[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return dbi_fail(error,
                        "cuDNN 9 is not there (libcudnn.so.9): install it, or name its folder in LD_LIBRARY_PATH");
#define X(name)                                                                                                        \
    if (!(dnn.name = (__typeof__(&cudnn##name))dlsym(library, "cudnn" #name))) {                                       \
        dlclose(library);                                                                                              \
        return dbi_fail(error, "libcudnn.so.9 has no function cudnn" #name);                                           \
    }
    FUNCTIONS(X)
#undef X
    dnn.library = library;
    return 0;
}

static int check(cudnnStatus_t status, const char *what, dbi_error *error)
{
    return status == CUDNN_STATUS_SUCCESS ? 0 : dbi_fail(error, "cuDNN: %s: %s", what, dnn.GetErrorString(status));
}

/* ---- Descriptors: a chain of them in which the first failure stops all ---- */

typedef cudnnBackendDescriptor_t descriptor;

static void destroy(descriptor *d)
{
    if (*d)
        dnn.BackendDestroyDescriptor(*d);
    *d = NULL;
}

static bool create(descriptor *d, cudnnBackendDescriptorType_t type)
{
    *d = NULL;
    return dnn.BackendCreateDescriptor(type, d) == CUDNN_STATUS_SUCCESS;
}

static bool set(descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                const void *values)
{
    return dnn.BackendSetAttribute(d, name, type, count, values) == CUDNN_STATUS_SUCCESS;
}

static bool finalize(descriptor d)
{
    return dnn.BackendFinalize(d) == CUDNN_STATUS_SUCCESS;
}

/* A filter [A,taps,B] or an activation [batch,X,Y,Z,channels]. cuDNN's dimensions are batch (A), channels (B), X, Y,
 * Z. */
static bool make_tensor(descriptor *d, int64_t id, bool bf16, int64_t first, int64_t channels, const int64_t size[3])
{
    const cudnnDataType_t type = bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    const int64_t alignment = 16, dims[5] = {first, channels, size[0], size[1], size[2]};
    const int64_t strides[5] = {channels * size[0] * size[1] * size[2], 1, channels * size[1] * size[2],
                                channels * size[2], channels};
    return create(d, CUDNN_BACKEND_TENSOR_DESCRIPTOR) &&
           set(*d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type) &&
           set(*d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 5, dims) &&
           set(*d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 5, strides) &&
           set(*d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id) &&
           set(*d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment) && finalize(*d);
}

static bool make_convolution(descriptor *d, const dbi_conv_sides *s)
{
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t dims = 3, padding[3] = {s->padding, s->padding, s->padding},
                  stride[3] = {s->stride, s->stride, s->stride}, dilation[3] = {1, 1, 1};
    return create(d, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR) &&
           set(*d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type) &&
           set(*d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode) &&
           set(*d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims) &&
           set(*d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 3, padding) &&
           set(*d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 3, padding) &&
           set(*d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 3, stride) &&
           set(*d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 3, dilation) && finalize(*d);
}

/* Ids of the tensors in the plans' argument lists. */
enum { ID_X = 1, ID_WEIGHT, ID_Y };

/* One convolution as a graph of one operation. */
typedef struct graph {
    descriptor x, weight, y, convolution, operation, graph;
} graph;

static void graph_free(graph *g)
{
    destroy(&g->graph);
    destroy(&g->operation);
    destroy(&g->convolution);
    destroy(&g->y);
    destroy(&g->weight);
    destroy(&g->x);
}

static const struct {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, weight, y, convolution, alpha, beta;
} operations[] = {
    /* DBI_CONV_TO_Y */
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    /* DBI_CONV_TO_X */
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    /* DBI_CONV_TO_WEIGHT */
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static bool graph_make(graph *g, cudnnHandle_t handle, dbi_conv_pass pass, const dbi_conv_sides *s, bool bf16)
{
    const int64_t edges[3] = {s->edge, s->edge, s->edge};
    const float alpha = 1, beta = 0;
    memset(g, 0, sizeof *g);
    return make_tensor(&g->x, ID_X, bf16, s->batch, s->x_channels, s->x_size) &&
           make_tensor(&g->y, ID_Y, bf16, s->batch, s->y_channels, s->y_size) &&
           make_tensor(&g->weight, ID_WEIGHT, bf16, s->y_channels, s->x_channels, edges) &&
           make_convolution(&g->convolution, s) && create(&g->operation, operations[pass].type) &&
           set(g->operation, operations[pass].x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->x) &&
           set(g->operation, operations[pass].weight, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->weight) &&
           set(g->operation, operations[pass].y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->y) &&
           set(g->operation, operations[pass].convolution, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->convolution) &&
           set(g->operation, operations[pass].alpha, CUDNN_TYPE_FLOAT, 1, &alpha) &&
           set(g->operation, operations[pass].beta, CUDNN_TYPE_FLOAT, 1, &beta) && finalize(g->operation) &&
           create(&g->graph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) &&
           set(g->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->operation) &&
           set(g->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle) && finalize(g->graph);
}

/* ---- Candidates ---- */

enum { MOST_CANDIDATES = 64, MOST_TRIED = 8, TIMINGS = 3 };

typedef struct candidates {
    int count;
    descriptor configuration[MOST_CANDIDATES];
} candidates;

static void candidates_free(candidates *c)
{
    for (int i = 0; i < c->count; i++)
        destroy(&c->configuration[i]);
    c->count = 0;
}

/* Whether the configuration is allowed, by the same rules as PyTorch's: tensor cores round float factors to 10 bits,
 * and some engines convert the inputs to still fewer. */
static bool allowed(descriptor configuration, const dbi_device *device)
{
    descriptor engine;
    int64_t got = 0;
    bool good = create(&engine, CUDNN_BACKEND_ENGINE_DESCRIPTOR) &&
                dnn.BackendGetAttribute(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                        &got, &engine) == CUDNN_STATUS_SUCCESS;
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t notes = 0;
    good = good && dnn.BackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                           CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &notes, note) == CUDNN_STATUS_SUCCESS;
    for (int64_t i = 0; good && i < notes; i++)
        if (note[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
            note[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
            (note[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && device->precision == DBI_PRECISION_FP32) ||
            (note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC && !device->fast))
            good = false;
    destroy(&engine);
    return good;
}

/* Adds the candidates of one of cuDNN's heuristics, in its order. */
static void propose(candidates *c, descriptor graph, cudnnBackendHeurMode_t mode, const dbi_device *device)
{
    descriptor heuristics, proposed[MOST_CANDIDATES];
    int64_t wanted = 0, got = 0;
    if (create(&heuristics, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) &&
        set(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph) &&
        set(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) && finalize(heuristics)) {
        while (wanted < MOST_CANDIDATES && create(&proposed[wanted], CUDNN_BACKEND_ENGINECFG_DESCRIPTOR))
            wanted++;
        if (dnn.BackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, wanted,
                                    &got, proposed) != CUDNN_STATUS_SUCCESS)
            got = 0;
    }
    for (int64_t i = 0; i < wanted; i++)
        if (i < got && c->count < MOST_CANDIDATES && allowed(proposed[i], device))
            c->configuration[c->count++] = proposed[i];
        else
            destroy(&proposed[i]);
    destroy(&heuristics);
}

/* Makes an executable plan of a configuration. False when cuDNN cannot make one or it needs more than `limit` bytes of
 * workspace. */
static bool make_plan(descriptor *plan, cudnnHandle_t handle, descriptor configuration, size_t limit, size_t *workspace)
{
    int64_t bytes = 0, got = 0;
    if (create(plan, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) &&
        set(*plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle) &&
        set(*plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &configuration) &&
        finalize(*plan) &&
        dnn.BackendGetAttribute(*plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &got, &bytes) ==
            CUDNN_STATUS_SUCCESS &&
        bytes >= 0 && (size_t)bytes <= limit) {
        *workspace = (size_t)bytes;
        return true;
    }
    destroy(plan);
    return false;
}

static cudnnStatus_t execute(cudnnHandle_t handle, descriptor plan, void *x, void *weight, void *y, void *workspace)
{
    void *const pointers[] = {x, weight, y};
    const int64_t ids[] = {ID_X, ID_WEIGHT, ID_Y};
    descriptor pack;
    cudnnStatus_t status = CUDNN_STATUS_INTERNAL_ERROR;
    if (create(&pack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR) &&
        set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers) &&
        set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, ids) &&
        set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace) && finalize(pack))
        status = dnn.BackendExecute(handle, plan, pack);
    destroy(&pack);
    return status;
}

/* ---- The choice ---- */

typedef enum kernels { BY_CUDNN, BY_TILES, BY_SPREADING } kernels;

typedef struct plan {
    kernels by;
    dbi_tiled_plan tiles;
    dbi_spread_plan spread;
    descriptor plan; /* cuDNN's plan; NULL: direct.h computes */
    size_t workspace;
} plan;

struct dbi_convs {
    dbi_device device;
    cudnnHandle_t handle;
    int layers;
    bool up[DBI_MAX_LAYERS];
    dbi_conv_sides sides[DBI_MAX_LAYERS];
    plan plan[DBI_MAX_LAYERS][3]; /* by dbi_conv_pass */
    /* Used while plans are made. */
    dbi_algorithms *algorithms;
    cudaDeviceProp gpu;
    size_t limit; /* the most bytes of workspace */
    cudaStream_t stream;
    cudaEvent_t start, stop;
    void *memory; /* x, weight, y and workspace for measurements; taken when the first one is made */
    size_t bytes, largest[3];
};

static void key_of(const dbi_convs *c, dbi_conv_pass pass, const dbi_conv_sides *s, char key[DBI_ALGORITHM_KEY])
{
    static const char *const names[] = {"y", "x", "w"};
    snprintf(key, DBI_ALGORITHM_KEY,
             "%.64s sm%d%d cudnn%zu %s%s to-%s n%lld x%dx%lldx%lldx%lld y%dx%lldx%lldx%lld k%d s%d p%d", c->gpu.name,
             c->gpu.major, c->gpu.minor, dnn.GetVersion(), dbi_precision_name(c->device.precision),
             c->device.fast ? " fast" : "", names[pass], (long long)s->batch, s->x_channels, (long long)s->x_size[0],
             (long long)s->x_size[1], (long long)s->x_size[2], s->y_channels, (long long)s->y_size[0],
             (long long)s->y_size[1], (long long)s->y_size[2], s->edge, s->stride, s->padding);
}

/* The bytes of x, weight and y, rounded up to multiples of 256. */
static void sizes_of(const dbi_convs *c, const dbi_conv_sides *s, size_t bytes[3])
{
    const size_t element = c->device.precision == DBI_PRECISION_BF16 ? 2 : 4, x = (size_t)s->x_channels,
                 y = (size_t)s->y_channels;
    bytes[0] = (size_t)(s->batch * s->x_size[0] * s->x_size[1] * s->x_size[2]) * x * element;
    bytes[1] = x * y * (size_t)(s->edge * s->edge * s->edge) * element;
    bytes[2] = (size_t)(s->batch * s->y_size[0] * s->y_size[1] * s->y_size[2]) * y * element;
    for (int i = 0; i < 3; i++)
        bytes[i] = (bytes[i] + 255) / 256 * 256;
}

/* Takes memory for all measurements; it is given back before the arena is taken. False when there is too little memory,
 * or on an error, which the arena will report. */
static bool take_memory(dbi_convs *c)
{
    if (c->memory)
        return true;
    if (cudaEventCreate(&c->start) != cudaSuccess || cudaEventCreate(&c->stop) != cudaSuccess ||
        cudaMalloc(&c->memory, c->bytes) != cudaSuccess || cudaMemset(c->memory, 0, c->bytes) != cudaSuccess) {
        cudaGetLastError();
        return false;
    }
    return true;
}

static void give_memory_back(dbi_convs *c)
{
    if (c->memory)
        cudaFree(c->memory);
    if (c->start)
        cudaEventDestroy(c->start);
    if (c->stop)
        cudaEventDestroy(c->stop);
    c->memory = NULL;
    c->start = c->stop = NULL;
}

/* The milliseconds of a run, the least of several runs; < 0 when it cannot be run. */
static float measure(dbi_convs *c, descriptor plan)
{
    unsigned char *x = (unsigned char *)c->memory, *weight = x + c->largest[0], *y = weight + c->largest[1],
                  *workspace = y + c->largest[2];
    float least = -1;
    for (int i = 0; i <= TIMINGS; i++) { /* the first one warms up */
        float ms = 0;
        if (cudaEventRecord(c->start, c->stream) != cudaSuccess ||
            execute(c->handle, plan, x, weight, y, workspace) != CUDNN_STATUS_SUCCESS ||
            cudaEventRecord(c->stop, c->stream) != cudaSuccess || cudaEventSynchronize(c->stop) != cudaSuccess ||
            cudaEventElapsedTime(&ms, c->start, c->stop) != cudaSuccess) {
            cudaGetLastError();
            return -1;
        }
        if (i && (least < 0 || ms < least))
            least = ms;
    }
    return least;
}

/* Measures the first candidates. Returns the index of the fastest, or -1. */
static int fastest(dbi_convs *c, const candidates *all)
{
    int best = -1, tried = 0;
    float least = 0;
    for (int i = 0; i < all->count && tried < MOST_TRIED; i++) {
        descriptor plan;
        size_t workspace;
        if (!make_plan(&plan, c->handle, all->configuration[i], c->limit, &workspace))
            continue;
        const float ms = measure(c, plan);
        tried += ms >= 0;
        if (ms >= 0 && (best < 0 || ms < least)) {
            best = i;
            least = ms;
        }
        destroy(&plan);
    }
    return best;
}

/* Chooses the plan of one convolution: the remembered candidate, else the fastest. When the fastest cannot be
 * remembered or measured, it takes the first that works, which is the same in every run. */
static int choose(dbi_convs *c, dbi_conv_pass pass, const dbi_conv_sides *s, plan *out, dbi_error *error)
{
    char key[DBI_ALGORITHM_KEY];
    graph g;
    candidates all;
    all.count = 0;
    if (c->device.precision == DBI_PRECISION_BF16 && dbi_tiled_make(&out->tiles, pass, s)) {
        out->by = BY_TILES;
        out->workspace = out->tiles.workspace;
        return 0;
    }
    if (c->device.precision == DBI_PRECISION_BF16 && pass == DBI_CONV_TO_X && dbi_spread_make(&out->spread, s)) {
        out->by = BY_SPREADING;
        return 0;
    }
    key_of(c, pass, s, key);
    if (graph_make(&g, c->handle, pass, s, c->device.precision == DBI_PRECISION_BF16)) {
        propose(&all, g.graph, CUDNN_HEUR_MODE_A, &c->device);
        propose(&all, g.graph, CUDNN_HEUR_MODE_FALLBACK, &c->device);
    }
    int choice = dbi_algorithms_find(c->algorithms, key), status = 0;
    if (choice < 0 && all.count) {
        status = dbi_algorithms_lock(c->algorithms, error);
        choice = dbi_algorithms_find(c->algorithms, key);
    }
    if (choice < 0 || choice >= all.count ||
        !make_plan(&out->plan, c->handle, all.configuration[choice], c->limit, &out->workspace)) {
        choice = (c->device.fast || dbi_algorithms_lasting(c->algorithms)) && take_memory(c) ? fastest(c, &all) : -1;
        if (!status && choice >= 0)
            status = dbi_algorithms_set(c->algorithms, key, choice, error);
        if (choice < 0 || !make_plan(&out->plan, c->handle, all.configuration[choice], c->limit, &out->workspace))
            for (int i = 0; !out->plan && i < all.count; i++)
                make_plan(&out->plan, c->handle, all.configuration[i], c->limit, &out->workspace);
    }
    candidates_free(&all);
    graph_free(&g);
    return status;
}

/* ---- The interface ---- */

static int prepare(dbi_convs *c, const dbi_conv_shape *shapes, dbi_error *error)
{
    size_t available = 0, total = 0, bytes[3];
    for (int l = 0; l < c->layers; l++) {
        c->up[l] = shapes[l].kind == DBI_LAYER_UP;
        c->sides[l] = dbi_conv_sides_of(&shapes[l]);
        sizes_of(c, &c->sides[l], bytes);
        for (int i = 0; i < 3; i++)
            c->largest[i] = bytes[i] > c->largest[i] ? bytes[i] : c->largest[i];
    }
    if (!(c->algorithms = dbi_algorithms_open(NULL, error)) ||
        DBI_CUDA(cudaGetDeviceProperties(&c->gpu, c->device.index), error) ||
        DBI_CUDA(cudaMemGetInfo(&available, &total), error) ||
        DBI_CUDA(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), error) ||
        check(dnn.Create(&c->handle), "cudnnCreate", error) ||
        check(dnn.SetStream(c->handle, c->stream), "cudnnSetStream", error))
        return -1;
    /* A part of the total memory, so that other programs on the GPU do not change the choice. */
    c->limit = total / 16;
    c->bytes = c->largest[0] + c->largest[1] + c->largest[2] + c->limit;
    return 0;
}

dbi_convs *dbi_convs_open(const dbi_device *device, int layers, const dbi_conv_shape *shapes, bool gradients,
                          size_t *workspace, dbi_error *error)
{
    dbi_convs *c = (dbi_convs *)calloc(1, sizeof *c);
    *workspace = 0;
    if (!c) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    c->device = *device;
    c->layers = layers;
    int status = dbi_cudnn_load(error) || prepare(c, shapes, error);
    for (int l = 0; !status && l < layers; l++)
        for (int pass = 0; !status && pass < 3; pass++) {
            const dbi_conv_pass forward = c->up[l] ? DBI_CONV_TO_X : DBI_CONV_TO_Y,
                                backward = c->up[l] ? DBI_CONV_TO_Y : DBI_CONV_TO_X;
            if (pass != (int)forward && (!gradients || (pass == (int)backward && l == 0)))
                continue;
            status = choose(c, (dbi_conv_pass)pass, &c->sides[l], &c->plan[l][pass], error);
            *workspace = c->plan[l][pass].workspace > *workspace ? c->plan[l][pass].workspace : *workspace;
        }
    give_memory_back(c);
    if (status) {
        dbi_convs_close(c);
        return NULL;
    }
    dbi_algorithms_save(c->algorithms);
    dbi_algorithms_close(c->algorithms);
    c->algorithms = NULL;
    return c;
}

void dbi_convs_close(dbi_convs *c)
{
    if (!c)
        return;
    for (int l = 0; l < c->layers; l++)
        for (int pass = 0; pass < 3; pass++)
            destroy(&c->plan[l][pass].plan);
    dbi_algorithms_close(c->algorithms);
    if (c->handle)
        dnn.Destroy(c->handle);
    if (c->stream)
        cudaStreamDestroy(c->stream);
    free(c);
}

static int run(dbi_convs *c, dbi_stream stream, int layer, dbi_conv_pass pass, void *x, void *weight, void *y,
               const dbi_conv_extra *extra, void *workspace, dbi_error *error)
{
    const plan *p = &c->plan[layer][pass];
    if (p->by == BY_TILES)
        return dbi_tiled(&p->tiles, stream, x, weight, y, extra, workspace, error);
    if (p->by == BY_SPREADING)
        return dbi_spread(&p->spread, stream, x, weight, y, extra, error);
    if (!p->plan)
        return dbi_direct(pass, c->device.precision == DBI_PRECISION_BF16, &c->sides[layer], stream, x, weight, y,
                          error);
    return check(dnn.SetStream(c->handle, stream), "cudnnSetStream", error) ||
                   check(execute(c->handle, p->plan, x, weight, y, workspace), "convolution", error)
               ? -1
               : 0;
}

int64_t dbi_convs_chunks(const dbi_convs *c, int l)
{
    const plan *p = &c->plan[l][c->up[l] ? DBI_CONV_TO_X : DBI_CONV_TO_Y];
    return p->by == BY_TILES ? p->tiles.blocks : p->by == BY_SPREADING ? p->spread.blocks : 0;
}

bool dbi_convs_has_heads(const dbi_convs *c, int l)
{
    const plan *p = &c->plan[l][DBI_CONV_TO_Y];
    return !c->up[l] && p->by == BY_TILES && dbi_tiled_has_heads(&p->tiles);
}

int dbi_convs_forward(dbi_convs *c, dbi_stream stream, int l, const void *in, const void *weight, void *out,
                      const dbi_conv_extra *extra, void *workspace, dbi_error *error)
{
    return c->up[l] ? run(c, stream, l, DBI_CONV_TO_X, out, (void *)weight, (void *)in, extra, workspace, error)
                    : run(c, stream, l, DBI_CONV_TO_Y, (void *)in, (void *)weight, out, extra, workspace, error);
}

int dbi_convs_data(dbi_convs *c, dbi_stream stream, int l, const void *dout, const void *weight, void *din,
                   void *workspace, dbi_error *error)
{
    return c->up[l] ? run(c, stream, l, DBI_CONV_TO_Y, (void *)dout, (void *)weight, din, NULL, workspace, error)
                    : run(c, stream, l, DBI_CONV_TO_X, din, (void *)weight, (void *)dout, NULL, workspace, error);
}

int dbi_convs_weight(dbi_convs *c, dbi_stream stream, int l, const void *in, const void *dout, void *dweight,
                     void *workspace, dbi_error *error)
{
    return c->up[l] ? run(c, stream, l, DBI_CONV_TO_WEIGHT, (void *)dout, dweight, (void *)in, NULL, workspace, error)
                    : run(c, stream, l, DBI_CONV_TO_WEIGHT, (void *)in, dweight, (void *)dout, NULL, workspace, error);
}
