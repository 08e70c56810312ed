/* Stands in for runtime.cu and cudnn.cu where the CUDA device's other sources are compiled for the host: device memory is the host's, a stream does at once
 * what it is given, convolutions are plain loops. */
#include "emulated.h"

#include <stdlib.h>

#include "base/memory.h"
#include "cuda/conv.h"
#include "cuda/direct.h"
#include "cuda/stream.h"

bool dbi_emulated_backwards;
size_t dbi_emulated_memory;

int dbi_cuda_check_device(const char *name, dbi_error *error)
{
    dbi_cuda_device device;
    return dbi_cuda_parse(name, &device, error);
}

int dbi_cuda_select(const dbi_cuda_device *device, dbi_error *error)
{
    return device->index ? dbi_fail(error, "one device is emulated") : 0;
}

/* What the device's arena guarantees and no more: zeros, and 256-byte alignment. */
int dbi_arena_open(dbi_arena *arena, dbi_error *error)
{
    dbi_emulated_memory = arena->bytes;
    arena->base = aligned_alloc(256, arena->bytes + 256);
    if (!arena->base)
        return dbi_fail(error, "out of memory");
    memset(arena->base, 0, arena->bytes);
    dbi_arena_point(arena);
    return 0;
}

void dbi_arena_close(dbi_arena *arena)
{
    free(arena->base);
    arena->base = NULL;
}

int dbi_cuda_put(dbi_stream stream, void *device, const void *host, size_t bytes, dbi_error *error)
{
    (void)stream;
    (void)error;
    memcpy(device, host, bytes);
    return 0;
}

int dbi_cuda_get(dbi_stream stream, void *host, const void *device, size_t bytes, dbi_error *error)
{
    return dbi_cuda_put(stream, host, device, bytes, error);
}

int dbi_cuda_copy(dbi_stream stream, void *device, const void *from_device, size_t bytes, dbi_error *error)
{
    return dbi_cuda_put(stream, device, from_device, bytes, error);
}

int dbi_cuda_clear(dbi_stream stream, void *device, size_t bytes, dbi_error *error)
{
    (void)stream;
    (void)error;
    memset(device, 0, bytes);
    return 0;
}

int dbi_cuda_wait(dbi_stream stream, dbi_error *error)
{
    (void)stream;
    (void)error;
    return 0;
}

int dbi_stream_open(dbi_stream *stream, dbi_error *error)
{
    (void)error;
    *stream = NULL;
    return 0;
}

void dbi_stream_close(dbi_stream stream)
{
    (void)stream;
}

int dbi_event_open(dbi_event *event, dbi_error *error)
{
    (void)error;
    *event = NULL;
    return 0;
}

void dbi_event_close(dbi_event event)
{
    (void)event;
}

int dbi_event_record(dbi_event event, dbi_stream stream, dbi_error *error)
{
    (void)event;
    return dbi_cuda_wait(stream, error);
}

int dbi_event_before(dbi_event event, dbi_stream stream, dbi_error *error)
{
    return dbi_event_record(event, stream, error);
}

int dbi_event_wait(dbi_event event, dbi_error *error)
{
    return dbi_event_record(event, NULL, error);
}

int dbi_pinned_open(void **memory, size_t bytes, dbi_error *error)
{
    return (*memory = dbi_alloc(bytes, 1, error)) ? 0 : -1;
}

void dbi_pinned_close(void *memory)
{
    free(memory);
}

/* A graph is the call that was to be recorded: made again at each launch. */
struct CUgraphExec_st {
    int (*run)(void *context, dbi_error *error);
    void *context;
};

int dbi_graph_record(dbi_graph *graph, dbi_stream stream, int (*run)(void *context, dbi_error *error), void *context, dbi_error *error)
{
    (void)stream;
    *graph = dbi_alloc(1, sizeof **graph, error);
    if (!*graph)
        return -1;
    (*graph)->run = run;
    (*graph)->context = context;
    return 0;
}

int dbi_graph_launch(dbi_graph graph, dbi_stream stream, dbi_error *error)
{
    (void)stream;
    return graph->run(graph->context, error);
}

void dbi_graph_close(dbi_graph graph)
{
    free(graph);
}

/* ---- Convolutions, in plain loops: an own way, so that direct.cu can be judged by it ---- */

struct dbi_convs {
    bool bf16;
    int layers;
    dbi_conv_sides sides[DBI_MAX_LAYERS];
    dbi_layer_kind kind[DBI_MAX_LAYERS];
};

dbi_convs *dbi_convs_open(const dbi_cuda_device *device, int layers, const dbi_conv_shape *shapes, bool gradients, size_t *workspace,
                          dbi_error *error)
{
    (void)gradients;
    dbi_convs *c = dbi_alloc(1, sizeof *c, error);
    if (!c)
        return NULL;
    c->bf16 = device->precision == DBI_PRECISION_BF16;
    c->layers = layers;
    for (int l = 0; l < layers; l++) {
        c->sides[l] = dbi_conv_sides_of(&shapes[l]);
        c->kind[l] = shapes[l].kind;
    }
    *workspace = 0;
    return c;
}

void dbi_convs_close(dbi_convs *convs)
{
    free(convs);
}

static float *widen(bool bf16, const void *from, size_t count, bool read, dbi_error *error)
{
    float *to = dbi_alloc(count, sizeof *to, error);
    for (size_t i = 0; to && read && i < count; i++)
        to[i] = bf16 ? dbi_bf16_to_float(((const dbi_bf16 *)from)[i]) : ((const float *)from)[i];
    return to;
}

static void narrow(bool bf16, const float *from, size_t count, void *to)
{
    for (size_t i = 0; i < count; i++)
        if (bf16)
            ((dbi_bf16 *)to)[i] = dbi_bf16_from_float(from[i]);
        else
            ((float *)to)[i] = from[i];
}

/* One voxel of each side and the tap that joins them. */
static void join(dbi_conv_pass pass, const dbi_conv_sides *s, float *x, float *weight, float *y)
{
    const int channels = s->x_channels, taps = s->edge * s->edge * s->edge;
    for (int o = 0; o < s->y_channels; o++) {
        float *w = weight + (int64_t)o * taps * channels, sum = 0;
        if (pass == DBI_CONV_TO_Y) {
            for (int c = 0; c < channels; c++)
                sum += w[c] * x[c];
            y[o] += sum;
        } else if (pass == DBI_CONV_TO_X) {
            for (int c = 0; c < channels; c++)
                x[c] += w[c] * y[o];
        } else {
            for (int c = 0; c < channels; c++)
                w[c] += x[c] * y[o];
        }
    }
}

static void visit(dbi_conv_pass pass, const dbi_conv_sides *s, float *x, float *weight, float *y)
{
    const int64_t *xs = s->x_size, *ys = s->y_size;
    int tap = 0;
    for (int i = 0; i < s->edge; i++)
        for (int j = 0; j < s->edge; j++)
            for (int k = 0; k < s->edge; k++, tap++)
                for (int64_t n = 0; n < s->batch; n++)
                    for (int64_t a = 0; a < ys[0]; a++)
                        for (int64_t b = 0; b < ys[1]; b++)
                            for (int64_t c = 0; c < ys[2]; c++) {
                                const int64_t u = a * s->stride + i - s->padding, v = b * s->stride + j - s->padding,
                                              w = c * s->stride + k - s->padding;
                                if (u >= 0 && u < xs[0] && v >= 0 && v < xs[1] && w >= 0 && w < xs[2])
                                    join(pass, s, x + (((n * xs[0] + u) * xs[1] + v) * xs[2] + w) * s->x_channels, weight + tap * s->x_channels,
                                         y + (((n * ys[0] + a) * ys[1] + b) * ys[2] + c) * s->y_channels);
                            }
}

int dbi_emulated_conv(dbi_conv_pass pass, bool bf16, const dbi_conv_sides *s, void *x, void *weight, void *y, dbi_error *error)
{
    const size_t counts[] = {(size_t)(s->batch * s->y_size[0] * s->y_size[1] * s->y_size[2] * s->y_channels),
                             (size_t)(s->batch * s->x_size[0] * s->x_size[1] * s->x_size[2] * s->x_channels),
                             (size_t)s->x_channels * (size_t)s->y_channels * (size_t)(s->edge * s->edge * s->edge)};
    void *const arrays[] = {y, x, weight}; /* in the order of the passes that write them */
    float *wide[3];
    for (int i = 0; i < 3; i++)
        wide[i] = widen(bf16, arrays[i], counts[i], i != (int)pass, error);
    const bool good = wide[0] && wide[1] && wide[2];
    if (good) {
        visit(pass, s, wide[1], wide[2], wide[0]);
        narrow(bf16, wide[pass], counts[pass], arrays[pass]);
    }
    for (int i = 0; i < 3; i++)
        free(wide[i]);
    return good ? 0 : -1;
}

int dbi_convs_forward(dbi_convs *c, dbi_stream stream, int l, const void *in, const void *weight, void *out, void *workspace, dbi_error *error)
{
    (void)stream;
    (void)workspace;
    return c->kind[l] == DBI_LAYER_UP ? dbi_emulated_conv(DBI_CONV_TO_X, c->bf16, &c->sides[l], out, (void *)weight, (void *)in, error)
                                      : dbi_emulated_conv(DBI_CONV_TO_Y, c->bf16, &c->sides[l], (void *)in, (void *)weight, out, error);
}

int dbi_convs_data(dbi_convs *c, dbi_stream stream, int l, const void *dout, const void *weight, void *din, void *workspace, dbi_error *error)
{
    (void)stream;
    (void)workspace;
    return c->kind[l] == DBI_LAYER_UP ? dbi_emulated_conv(DBI_CONV_TO_Y, c->bf16, &c->sides[l], (void *)dout, (void *)weight, din, error)
                                      : dbi_emulated_conv(DBI_CONV_TO_X, c->bf16, &c->sides[l], din, (void *)weight, (void *)dout, error);
}

int dbi_convs_weight(dbi_convs *c, dbi_stream stream, int l, const void *in, const void *dout, void *dweight, void *workspace, dbi_error *error)
{
    (void)stream;
    (void)workspace;
    const bool up = c->kind[l] == DBI_LAYER_UP;
    return dbi_emulated_conv(DBI_CONV_TO_WEIGHT, c->bf16, &c->sides[l], (void *)(up ? dout : in), dweight, (void *)(up ? in : dout), error);
}
