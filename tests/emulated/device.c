/* Stands in for runtime.cu and cudnn.cu where the CUDA device's other sources are compiled for the host: device memory
 * is the host's, convolutions are plain loops. Streams are in streams.c. */
#include "emulated.h"

#include <stdlib.h>

#include "base/memory.h"
#include "cuda/conv.h"
#include "cuda/direct.h"
#include "cuda/stream.h"

bool dbi_emulated_backwards, dbi_emulated_rounding;
size_t dbi_emulated_memory, dbi_emulated_held, dbi_emulated_most, dbi_emulated_limit = SIZE_MAX;

int dbi_cuda_check(int status, const char *what, dbi_error *error);
int dbi_cuda_check(int status, const char *what, dbi_error *error)
{
    return status ? dbi_fail(error, "CUDA: %s: it failed", what) : 0;
}

int dbi_cuda_describe(const dbi_device *device, dbi_device_facts *facts, dbi_error *error)
{
    (void)facts;
    return dbi_fail(error, "%s is emulated", device->table->name);
}

int dbi_cuda_select(const dbi_device *device, dbi_error *error)
{
    return device->index ? dbi_fail(error, "there is no device cuda:%d: one is emulated", device->index) : 0;
}

/* What the device's arena guarantees and no more: zeros, and 256-byte alignment. Each buffer is an allocation of its
 * own and of just its size, so that AddressSanitizer sees what leaves one. */
int dbi_arena_open(dbi_arena *arena, dbi_error *error)
{
    if (arena->bytes + dbi_emulated_held > dbi_emulated_limit)
        return dbi_fail(error, "the GPU has not enough memory: %zu bytes are needed", arena->bytes);
    dbi_emulated_memory = arena->bytes;
    for (int i = 0; i < arena->count; i++) {
        if (posix_memalign(&arena->need[i].own, 256, arena->need[i].bytes)) {
            arena->need[i].own = NULL;
            dbi_arena_close(arena);
            return dbi_fail(error, "out of memory");
        }
        memset(arena->need[i].own, 0, arena->need[i].bytes);
        dbi_emulated_held += arena->need[i].bytes;
    }
    dbi_emulated_most = dbi_emulated_held > dbi_emulated_most ? dbi_emulated_held : dbi_emulated_most;
    dbi_arena_point(arena);
    return 0;
}

void dbi_arena_close(dbi_arena *arena)
{
    dbi_emulated_finish();
    for (int i = 0; i < arena->count; i++) {
        dbi_emulated_held -= arena->need[i].own ? arena->need[i].bytes : 0;
        free(arena->need[i].own);
        arena->need[i].own = NULL;
    }
}

/* ---- Convolutions ---- */

struct dbi_convs {
    bool bf16;
    int layers;
    dbi_conv_sides sides[DBI_MAX_LAYERS];
    dbi_layer_kind kind[DBI_MAX_LAYERS];
};

dbi_convs *dbi_convs_open(const dbi_device *device, int layers, const dbi_conv_shape *shapes, bool gradients,
                          size_t *workspace, dbi_error *error)
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

/* Every second convolution does on the way what those of few channels do on the device. */
enum { CHUNKS = 3 };

int64_t dbi_convs_chunks(const dbi_convs *c, int l)
{
    return c->kind[l] != DBI_LAYER_DOWN && l % 2 == 0 ? CHUNKS : 0;
}

static float loaded(const dbi_convs *c, const void *from, int64_t i)
{
    return c->bf16 ? dbi_bf16_to_float(((const dbi_bf16 *)from)[i]) : ((const float *)from)[i];
}

static void stored(const dbi_convs *c, void *to, int64_t i, float f)
{
    if (c->bf16)
        ((dbi_bf16 *)to)[i] = dbi_bf16_from_float(f);
    else
        ((float *)to)[i] = DBI_STORED(f);
}

/* The sides of an output that is what y of a convolution is, also of a transposed one. */
static dbi_conv_sides outputs_of(const dbi_convs *c, int l)
{
    dbi_conv_sides s = c->sides[l];
    if (c->kind[l] == DBI_LAYER_UP) {
        s.y_channels = s.x_channels;
        memcpy(s.y_size, s.x_size, sizeof s.y_size);
    }
    return s;
}

/* Chunks of a fifth, of nothing and of the rest, each with a shift of its own, so that it shows how many values it has.
 */
static void take_moments(const dbi_convs *c, const dbi_conv_sides *s, const void *z, const dbi_conv_moments *m)
{
    const int64_t voxels = s->batch * s->y_size[0] * s->y_size[1] * s->y_size[2],
                  bound[CHUNKS + 1] = {0, voxels / 5, voxels / 5, voxels};
    for (int j = 0; j < CHUNKS; j++) {
        m->count[j] = (float)(bound[j + 1] - bound[j]);
        for (int k = 0; k < s->y_channels; k++) {
            const float shift = loaded(c, z, (bound[j + 1] ? bound[j + 1] - 1 : 0) * s->y_channels + k);
            double sum = 0, squares = 0;
            for (int64_t v = bound[j]; v < bound[j + 1]; v++) {
                const double d = loaded(c, z, v * s->y_channels + k) - shift;
                sum += d;
                squares += d * d;
            }
            m->shift[j * s->y_channels + k] = shift;
            m->sum[j * s->y_channels + k] = (float)sum;
            m->squares[j * s->y_channels + k] = (float)squares;
        }
    }
}

static void normalize(const dbi_convs *c, const dbi_conv_sides *s, void *z, const dbi_conv_norm *norm)
{
    const int64_t all = s->batch * s->y_size[0] * s->y_size[1] * s->y_size[2] * s->y_channels;
    for (int64_t i = 0; i < all; i++) {
        const int64_t k = i % s->y_channels;
        const float y = norm->scale[k] * (loaded(c, z, i) - norm->mean[k]) + norm->shift[k];
        stored(c, z, i, (y > 0 ? y : 0) + (norm->skip ? loaded(c, norm->skip, i) : 0));
    }
}

bool dbi_convs_has_heads(const dbi_convs *c, int l)
{
    return dbi_convs_chunks(c, l) && c->kind[l] == DBI_LAYER_CONV3;
}

static void make_outputs(const dbi_convs *c, const dbi_conv_sides *s, const void *z, const dbi_conv_norm *norm,
                         const dbi_conv_heads *h)
{
    const int64_t voxels = s->y_size[0] * s->y_size[1] * s->y_size[2];
    for (int64_t i = 0; i < s->batch * h->classes * voxels; i++) {
        const int64_t v = i % voxels, k = i / voxels % h->classes, n = i / voxels / h->classes;
        float sdf = h->sdf_bias[k], seg = h->seg_bias[k];
        for (int j = 0; j < h->channels; j++) {
            const float y =
                norm->scale[j] * (loaded(c, z, (n * voxels + v) * s->y_channels + j) - norm->mean[j]) + norm->shift[j];
            sdf += h->sdf_weight[k * h->channels + j] * (y > 0 ? y : 0);
            seg += h->seg_weight[k * h->channels + j] * (y > 0 ? y : 0);
        }
        h->logits[i] = seg;
        h->sdf[i] = tanhf(sdf);
    }
}

/* A convolution and what it does on the way, when the stream comes to it. */
typedef struct conv_arguments {
    const dbi_convs *convs;
    int layer;
    dbi_conv_pass pass;
    void *x, *weight, *y;
    dbi_conv_extra extra;
} conv_arguments;

static void run_conv(const void *arguments, int64_t blocks)
{
    const conv_arguments *a = arguments;
    const dbi_convs *c = a->convs;
    const dbi_conv_sides *sides = &c->sides[a->layer], outputs = outputs_of(c, a->layer);
    void *const out = a->pass == DBI_CONV_TO_X ? a->x : a->y;
    dbi_error error;
    (void)blocks;
    if (dbi_emulated_conv(a->pass, c->bf16, sides, a->x, a->weight, a->y, &error))
        abort();
    if (a->extra.heads.logits)
        make_outputs(c, &outputs, out, &a->extra.norm, &a->extra.heads);
    else if (a->extra.norm.scale)
        normalize(c, &outputs, out, &a->extra.norm);
    else if (a->extra.moments.count)
        take_moments(c, &outputs, out, &a->extra.moments);
}

static int submit(const dbi_convs *c, dbi_stream stream, const conv_arguments *a, dbi_error *error)
{
    conv_arguments mine = *a;
    mine.convs = c;
    return dbi_emulated_submit(stream, run_conv, &mine, sizeof mine, 1, error);
}

int dbi_convs_forward(dbi_convs *c, dbi_stream stream, int l, const void *in, const void *weight, void *out,
                      const dbi_conv_extra *extra, void *workspace, dbi_error *error)
{
    const bool up = c->kind[l] == DBI_LAYER_UP;
    conv_arguments a = {.layer = l, .weight = (void *)weight};
    (void)workspace;
    if (extra)
        a.extra = *extra;
    a.pass = up ? DBI_CONV_TO_X : DBI_CONV_TO_Y;
    a.x = up ? out : (void *)in;
    a.y = up ? (void *)in : out;
    return submit(c, stream, &a, error);
}

int dbi_convs_data(dbi_convs *c, dbi_stream stream, int l, const void *dout, const void *weight, void *din,
                   void *workspace, dbi_error *error)
{
    const bool up = c->kind[l] == DBI_LAYER_UP;
    conv_arguments a = {.layer = l, .weight = (void *)weight};
    (void)workspace;
    a.pass = up ? DBI_CONV_TO_Y : DBI_CONV_TO_X;
    a.x = up ? (void *)dout : din;
    a.y = up ? din : (void *)dout;
    return submit(c, stream, &a, error);
}

int dbi_convs_weight(dbi_convs *c, dbi_stream stream, int l, const void *in, const void *dout, void *dweight,
                     void *workspace, dbi_error *error)
{
    const bool up = c->kind[l] == DBI_LAYER_UP;
    const conv_arguments a = {.layer = l,
                              .pass = DBI_CONV_TO_WEIGHT,
                              .x = (void *)(up ? dout : in),
                              .weight = dweight,
                              .y = (void *)(up ? in : dout)};
    (void)workspace;
    return submit(c, stream, &a, error);
}
