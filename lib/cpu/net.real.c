/* The network over a backend: which buffer holds what and when, the normalizations' numbers, the order of the passes.
 *
 * Training keeps two activations of each layer, z (convolved) and a (normalized and what follows). The backward pass
 * needs no more: the gradient of z overwrites z, the gradient of a overwrites a, as soon as nobody reads them any more.
 * Without training, z becomes a in place, and buffers are used again after their last reader. */
#include "cpu/net.real.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "cpu/backend.real.h"
#include "net/norm_math.h"

struct dbi_cpu_net_f32 {
    const dbi_backend_f32 *backend;
    void *state;
    dbi_net_shape shape;
    unsigned char *arena;
    real *z[DBI_MAX_LAYERS], *a[DBI_MAX_LAYERS];
    real *mean[DBI_MAX_LAYERS], *scale[DBI_MAX_LAYERS], *shift[DBI_MAX_LAYERS], *drop[DBI_MAX_LAYERS];
    double *deviation_inverse[DBI_MAX_LAYERS];
    double *away[DBI_MAX_LAYERS];  /* groups of channels: how far each channel's mean is from its group's */
    real *by_dy, *by_z, *constant; /* factors of the layer at hand */
    double *first, *second;        /* two sums per row and channel of the layer at hand */
    real *sdf, *dr;                /* training: what the forward pass gave, and the gradient before tanh */
    /* Of the last forward pass with keep. */
    bool kept;
    const real *image;
    dbi_statistics_mode statistics;
    bool dropout;
};

/* A buffer of the arena, needed from one moment of a pass to another. */
typedef struct buffer {
    void *pointer; /* to the pointer to be set */
    size_t bytes, offset;
    int from, to;
} buffer;

enum { MAX_BUFFERS = 9 * DBI_MAX_LAYERS, WHOLE_PASS = 2 * DBI_MAX_LAYERS };

typedef struct plan {
    int count;
    buffer buffers[MAX_BUFFERS];
    size_t bytes;
} plan;

static void need(plan *p, void *pointer, size_t bytes, int from, int to)
{
    p->buffers[p->count++] = (buffer){pointer, (bytes + 63) / 64 * 64, 0, from, to};
}

static int larger_first(const void *left, const void *right)
{
    const buffer *l = left, *r = right;
    if (l->bytes != r->bytes)
        return l->bytes < r->bytes ? 1 : -1;
    return l->from - r->from;
}

/* Gives every buffer the lowest place where nothing lives at the same time, the large ones first. */
static void place(plan *p)
{
    qsort(p->buffers, (size_t)p->count, sizeof *p->buffers, larger_first);
    for (int i = 0; i < p->count; i++) {
        buffer *b = &p->buffers[i];
        for (int j = 0; j < i; j++) {
            const buffer *o = &p->buffers[j];
            bool together = b->from <= o->to && o->from <= b->to;
            if (together && b->offset < o->offset + o->bytes && o->offset < b->offset + b->bytes) {
                b->offset = o->offset + o->bytes;
                j = -1; /* the new place may hit an earlier one */
            }
        }
        if (p->bytes < b->offset + b->bytes)
            p->bytes = b->offset + b->bytes;
    }
}

/* Is layer l an interpolation that the convolution behind it does on the way? */
static bool on_the_way(const dbi_cpu_net_f32 *net, int l)
{
    return net->shape.layout->layer[l].kind == DBI_LAYER_INTERPOLATE && !net->backend->interpolate;
}

/* As dbi_layout_last_reader, with convolutions that read on the way through an interpolation. */
static int last_reader(const dbi_cpu_net_f32 *net, int l)
{
    const dbi_layout *layout = net->shape.layout;
    int last = dbi_layout_last_reader(layout, l);
    for (int t = dbi_layout_reader(layout, l, l); t >= 0; t = dbi_layout_reader(layout, l, t))
        if (on_the_way(net, t) && last < dbi_layout_last_reader(layout, t))
            last = dbi_layout_last_reader(layout, t);
    return last;
}

static void plan_layer(plan *p, dbi_cpu_net_f32 *net, int l)
{
    const dbi_layout *layout = net->shape.layout;
    const dbi_layer *layer = &layout->layer[l];
    bool training = net->shape.training;
    size_t bytes = net->backend->elements(&net->shape, layer->out, layer->level) * sizeof(real),
           lanes = (size_t)layer->out + DBI_LANES;
    const size_t numbers = (size_t)dbi_norm_rows(&net->shape) * lanes;
    if (on_the_way(net, l))
        return;
    need(p, &net->z[l], bytes, training ? 0 : l, training ? WHOLE_PASS : last_reader(net, l));
    if (layer->kind == DBI_LAYER_INTERPOLATE)
        return;
    if (training && dbi_layout_heads(layout, l) < 0)
        need(p, &net->a[l], bytes, 0, WHOLE_PASS);
    need(p, &net->mean[l], numbers * sizeof(real), 0, WHOLE_PASS);
    need(p, &net->scale[l], numbers * sizeof(real), 0, WHOLE_PASS);
    need(p, &net->shift[l], numbers * sizeof(real), 0, WHOLE_PASS);
    need(p, &net->deviation_inverse[l], numbers * sizeof(double), 0, WHOLE_PASS);
    if (layer->groups)
        need(p, &net->away[l], numbers * sizeof(double), 0, WHOLE_PASS);
    if (layer->dropout)
        need(p, &net->drop[l], (size_t)net->shape.batch * lanes * sizeof(real), 0, WHOLE_PASS);
}

static void plan_net(plan *p, dbi_cpu_net_f32 *net, void **scratch, size_t scratch_bytes)
{
    const dbi_layout *layout = net->shape.layout;
    const size_t numbers =
        (size_t)dbi_norm_rows(&net->shape) * ((size_t)dbi_layout_widest(layout) + DBI_LANES); /* of the widest layer */
    size_t outputs = (size_t)net->shape.batch * (size_t)layout->arch.classes *
                     (size_t)(net->shape.size[0] * net->shape.size[1] * net->shape.size[2]);
    for (int l = 0; l < layout->layers; l++)
        plan_layer(p, net, l);
    need(p, &net->by_dy, numbers * sizeof(real), 0, WHOLE_PASS);
    need(p, &net->by_z, numbers * sizeof(real), 0, WHOLE_PASS);
    need(p, &net->constant, numbers * sizeof(real), 0, WHOLE_PASS);
    need(p, &net->first, numbers * sizeof(double), 0, WHOLE_PASS);
    need(p, &net->second, numbers * sizeof(double), 0, WHOLE_PASS);
    need(p, scratch, scratch_bytes, 0, WHOLE_PASS);
    if (net->shape.training) {
        need(p, &net->sdf, (size_t)layout->arch.decoders * outputs * sizeof(real), 0, WHOLE_PASS);
        need(p, &net->dr, outputs * sizeof(real), 0, WHOLE_PASS);
    }
    place(p);
}

/* The backend's part and the plan, without the arena. */
static int prepare(dbi_cpu_net_f32 *net, plan *p, void **scratch, dbi_error *error)
{
    size_t scratch_bytes;
    if (!(net->state = net->backend->open(&net->shape, &scratch_bytes, error)))
        return -1;
    plan_net(p, net, scratch, scratch_bytes);
    return 0;
}

dbi_cpu_net_f32 *dbi_cpu_net_open_f32(const dbi_backend_f32 *backend, const dbi_net_shape *shape, dbi_error *error)
{
    plan p = {0};
    void *scratch = NULL;
    const dbi_layout *layout = shape->layout;
    dbi_cpu_net_f32 *net = dbi_alloc(1, sizeof *net, error);
    if (!net)
        return NULL;
    net->backend = backend;
    net->shape = *shape;
    if (prepare(net, &p, &scratch, error))
        goto failed;
    size_t page = 1 << 21, bytes = (p.bytes + page - 1) / page * page;
    if (!(net->arena = aligned_alloc(page, bytes))) {
        dbi_fail(error, "out of memory: %zu bytes for the network", bytes);
        goto failed;
    }
    madvise(net->arena, bytes, MADV_HUGEPAGE); /* only a hint */
    for (int i = 0; i < p.count; i++) {
        void *address = net->arena + p.buffers[i].offset;
        memcpy(p.buffers[i].pointer, &address, sizeof address);
    }
    for (int l = 0; l < layout->layers; l++) {
        const size_t numbers = (size_t)dbi_norm_rows(shape) * ((size_t)layout->layer[l].out + DBI_LANES);
        const bool interpolation = layout->layer[l].kind == DBI_LAYER_INTERPOLATE;
        if (!shape->training || interpolation)
            net->a[l] = net->z[l];
        if (interpolation)
            continue;
        memset(net->mean[l], 0, numbers * sizeof(real)); /* the lanes past the channels stay 0 */
        memset(net->scale[l], 0, numbers * sizeof(real));
        memset(net->shift[l], 0, numbers * sizeof(real));
    }
    net->backend->bind(net->state, scratch);
    return net;
failed:
    dbi_cpu_net_close_f32(net);
    return NULL;
}

void dbi_cpu_net_close_f32(dbi_cpu_net_f32 *net)
{
    if (!net)
        return;
    if (net->state)
        net->backend->close(net->state);
    free(net->arena);
    free(net);
}

size_t dbi_cpu_net_bytes_f32(const dbi_backend_f32 *backend, const dbi_net_shape *shape)
{
    plan p = {0};
    void *scratch;
    dbi_cpu_net_f32 net = {.backend = backend, .shape = *shape};
    const bool possible = !prepare(&net, &p, &scratch, NULL);
    if (net.state)
        backend->close(net.state);
    return possible ? p.bytes : SIZE_MAX;
}

static real *tensor_of(const dbi_layout *layout, int l, dbi_layer_tensor tensor, real *array)
{
    return array + dbi_layout_offset(layout, l, tensor);
}

/* What layer l reads. */
static const real *input_of(const dbi_cpu_net_f32 *net, int l, const real *image)
{
    int input = net->shape.layout->layer[l].input;
    if (input >= 0 && on_the_way(net, input))
        input = net->shape.layout->layer[input].input;
    return input < 0 ? image : net->a[input];
}

/* Mean, scale and shift of the layer's normalization. z is without the convolution's bias, which a batch's mean would
 * take out again: it only shows in the running mean. */
static void batch_normalization(dbi_cpu_net_f32 *net, int l, dbi_weights_f32 *weights, const dbi_pass *pass)
{
    const dbi_layout *layout = net->shape.layout;
    const real *bias = tensor_of(layout, l, DBI_CONV_BIAS, weights->parameters),
               *gamma = tensor_of(layout, l, DBI_NORM_GAMMA, weights->parameters);
    const real *beta = tensor_of(layout, l, DBI_NORM_BETA, weights->parameters);
    real *running_mean = tensor_of(layout, l, DBI_RUNNING_MEAN, weights->statistics),
         *running_variance = tensor_of(layout, l, DBI_RUNNING_VARIANCE, weights->statistics);
    double count = (double)dbi_layer_values(&net->shape, l);
    bool batch = pass->statistics == DBI_BATCH_STATISTICS;
    if (batch)
        net->backend->moments(net->state, l, net->z[l], net->first, net->second);
    for (int c = 0; c < layout->layer[l].out; c++) {
        double mean = batch ? net->first[c] : (double)running_mean[c] - bias[c],
               variance = batch ? net->second[c] : running_variance[c];
        net->deviation_inverse[l][c] = dbi_norm_inverse(variance);
        net->mean[l][c] = (real)mean;
        net->scale[l][c] = (real)(gamma[c] * net->deviation_inverse[l][c]);
        net->shift[l][c] = beta[c];
        if (batch && pass->update_running) {
            running_mean[c] = (real)dbi_norm_running_mean(running_mean[c], mean + bias[c]);
            running_variance[c] = (real)dbi_norm_running_variance(running_variance[c], variance, count);
        }
    }
}

/* The same by sample and group of channels. The means of a group's channels are with their biases, the mean that is
 * taken from z without. */
static void group_normalization(dbi_cpu_net_f32 *net, int l, dbi_weights_f32 *weights)
{
    const dbi_layout *layout = net->shape.layout;
    const dbi_layer *layer = &layout->layer[l];
    const int width = layer->out / layer->groups;
    const bool affine = dbi_layout_has(layout, DBI_NORM_GAMMA);
    const real *bias = tensor_of(layout, l, DBI_CONV_BIAS, weights->parameters),
               *gamma = affine ? tensor_of(layout, l, DBI_NORM_GAMMA, weights->parameters) : NULL,
               *beta = affine ? tensor_of(layout, l, DBI_NORM_BETA, weights->parameters) : NULL;
    net->backend->moments(net->state, l, net->z[l], net->first, net->second);
    for (int64_t i = 0; i < net->shape.batch * layer->groups; i++) {
        const int first = (int)(i % layer->groups) * width;
        double *mean = net->first + i * width;
        const int64_t row = i / layer->groups * (layer->out + DBI_LANES);
        for (int c = 0; width > 1 && c < width; c++)
            mean[c] += bias[first + c];
        const dbi_norm_group g = dbi_norm_group_of(mean, net->second + i * width, width);
        for (int c = first; c < first + width; c++) {
            net->deviation_inverse[l][row + c] = g.inverse;
            net->away[l][row + c] = mean[c - first] - g.mean;
            net->mean[l][row + c] = (real)(width > 1 ? g.mean - bias[c] : g.mean);
            net->scale[l][row + c] = (real)(affine ? gamma[c] * g.inverse : g.inverse);
            net->shift[l][row + c] = affine ? beta[c] : 0;
        }
    }
}

static void normalization(dbi_cpu_net_f32 *net, int l, dbi_weights_f32 *weights, const dbi_pass *pass)
{
    if (net->shape.layout->layer[l].groups)
        group_normalization(net, l, weights);
    else
        batch_normalization(net, l, weights, pass);
}

static void draw_dropout(dbi_cpu_net_f32 *net, int l, const dbi_pass *pass)
{
    int channels = net->shape.layout->layer[l].out;
    dbi_random random;
    dbi_random_start(&random, pass->seed, pass->role, pass->step, (uint32_t)l);
    memset(net->drop[l], 0, (size_t)net->shape.batch * (size_t)(channels + DBI_LANES) * sizeof(real));
    for (int64_t n = 0; n < net->shape.batch; n++)
        for (int c = 0; c < channels; c++)
            net->drop[l][n * (channels + DBI_LANES) + c] =
                dbi_random_uniform(&random) < pass->dropout ? 0 : (real)(1 / (1 - pass->dropout));
}

static dbi_norm_f32 norm_of(const dbi_cpu_net_f32 *net, int l, bool dropout)
{
    const dbi_layer *layer = &net->shape.layout->layer[l];
    return (dbi_norm_f32){.mean = net->mean[l],
                          .scale = net->scale[l],
                          .shift = net->shift[l],
                          .step = layer->groups ? layer->out + DBI_LANES : 0,
                          .drop = dropout && layer->dropout ? net->drop[l] : NULL,
                          .skip = layer->skip < 0 ? NULL : net->a[layer->skip]};
}

static dbi_heads_f32 heads_of(const dbi_layout *layout, int decoder, const dbi_weights_f32 *weights)
{
    const dbi_decoder *end = &layout->decoder[decoder];
    const real *p = weights->parameters;
    return (dbi_heads_f32){.sdf_weight = p + layout->tensor[end->sdf_head].offset,
                           .sdf_bias = p + layout->tensor[end->sdf_head + 1].offset,
                           .seg_weight = p + layout->tensor[end->seg_head].offset,
                           .seg_bias = p + layout->tensor[end->seg_head + 1].offset};
}

/* Of one decoder; the next one's follow. */
static size_t outputs_of(const dbi_cpu_net_f32 *net)
{
    return (size_t)dbi_layer_values(&net->shape, net->shape.layout->decoder[0].layer) *
           (size_t)net->shape.layout->arch.classes;
}

int dbi_cpu_net_forward_f32(dbi_cpu_net_f32 *net, dbi_weights_f32 *weights, const dbi_pass *pass, const real *image,
                            real *logits, real *sdf, dbi_error *error)
{
    const dbi_layout *layout = net->shape.layout;
    bool dropout = pass->dropout > 0;
    net->kept = false;
    for (int l = 0; l < layout->layers; l++) {
        const int decoder = dbi_layout_heads(layout, l);
        if (on_the_way(net, l))
            continue;
        if (layout->layer[l].kind == DBI_LAYER_INTERPOLATE) {
            net->backend->interpolate(net->state, l, input_of(net, l, image), net->z[l]);
            continue;
        }
        const real *weight = tensor_of(layout, l, DBI_CONV_WEIGHT, weights->parameters);
        if (net->backend->convolve(net->state, l, input_of(net, l, image), weight, net->z[l], error))
            return -1;
        normalization(net, l, weights, pass);
        if (dropout && layout->layer[l].dropout)
            draw_dropout(net, l, pass);
        dbi_norm_f32 norm = norm_of(net, l, dropout);
        if (decoder < 0) {
            net->backend->normalize(net->state, l, net->z[l], &norm, net->a[l]);
        } else {
            const size_t at = (size_t)decoder * outputs_of(net);
            dbi_heads_f32 heads = heads_of(layout, decoder, weights);
            net->backend->heads(net->state, net->z[l], &norm, &heads, logits + at, sdf + at);
        }
    }
    if (pass->update_running && dbi_layout_has(layout, DBI_RUNNING_MEAN))
        weights->batches++;
    if (pass->keep) {
        net->kept = true;
        net->image = image;
        net->statistics = pass->statistics;
        net->dropout = dropout;
        memcpy(net->sdf, sdf, (size_t)layout->arch.decoders * outputs_of(net) * sizeof(real));
    }
    return 0;
}

/* From the sums over dy; see net/norm_math.h. */
static void batch_normalization_gradient(dbi_cpu_net_f32 *net, int l, real *gradient)
{
    const dbi_layout *layout = net->shape.layout;
    int channels = layout->layer[l].out;
    real *bias = tensor_of(layout, l, DBI_CONV_BIAS, gradient), *gamma = tensor_of(layout, l, DBI_NORM_GAMMA, gradient),
         *beta = tensor_of(layout, l, DBI_NORM_BETA, gradient);
    bool batch = net->statistics == DBI_BATCH_STATISTICS;
    double count = (double)dbi_layer_values(&net->shape, l);
    for (int c = 0; c < channels; c++) {
        const double scale = net->scale[l][c];
        const dbi_norm_gradient g =
            dbi_norm_gradient_of(batch, net->first[c], net->second[c], net->deviation_inverse[l][c], scale, count);
        gamma[c] = (real)g.gamma;
        beta[c] = (real)g.beta;
        bias[c] = (real)g.bias;
        net->by_dy[c] = (real)scale;
        net->by_z[c] = (real)g.by_z;
        net->constant[c] = (real)g.constant;
    }
}

/* The factors of the gradient of z, group by group. */
static void group_factors(dbi_cpu_net_f32 *net, int l)
{
    const dbi_layer *layer = &net->shape.layout->layer[l];
    const int width = layer->out / layer->groups;
    const double count = (double)(dbi_layer_values(&net->shape, l) / net->shape.batch * width);
    for (int64_t i = 0; i < net->shape.batch * layer->groups; i++) {
        const int64_t row = i / layer->groups * (layer->out + DBI_LANES) + i % layer->groups * width;
        double sum = 0, dot = 0;
        for (int c = 0; c < width; c++) {
            sum += net->scale[l][row + c] * net->first[i * width + c];
            dot += net->scale[l][row + c] * net->second[i * width + c];
        }
        const dbi_norm_group_gradient g = dbi_norm_group_gradient_of(sum, dot, net->deviation_inverse[l][row], count);
        for (int c = 0; c < width; c++) {
            net->by_dy[row + c] = net->scale[l][row + c];
            net->by_z[row + c] = (real)g.by_z;
            net->constant[row + c] = (real)g.constant;
        }
    }
}

static void group_normalization_gradient(dbi_cpu_net_f32 *net, int l, real *gradient)
{
    const dbi_layout *layout = net->shape.layout;
    const dbi_layer *layer = &layout->layer[l];
    const bool affine = dbi_layout_has(layout, DBI_NORM_GAMMA);
    const double count = (double)(dbi_layer_values(&net->shape, l) / net->shape.batch);
    group_factors(net, l);
    for (int c = 0; c < layer->out; c++) {
        double bias = 0, gamma = 0, beta = 0;
        for (int64_t n = 0; n < net->shape.batch; n++) {
            const int64_t at = n * (layer->out + DBI_LANES) + c;
            const double sum = net->first[n * layer->out + c], dot = net->second[n * layer->out + c];
            bias +=
                dbi_norm_group_bias(net->scale[l][at], sum, net->by_z[at], net->constant[at], net->away[l][at], count);
            gamma += dot * net->deviation_inverse[l][at];
            beta += sum;
        }
        tensor_of(layout, l, DBI_CONV_BIAS, gradient)[c] =
            layer->groups < layer->out ? (real)bias : 0; /* a mean takes it out again */
        if (affine) {
            tensor_of(layout, l, DBI_NORM_GAMMA, gradient)[c] = (real)gamma;
            tensor_of(layout, l, DBI_NORM_BETA, gradient)[c] = (real)beta;
        }
    }
}

static void normalization_gradient(dbi_cpu_net_f32 *net, int l, real *gradient)
{
    const int channels = net->shape.layout->layer[l].out;
    if (net->shape.layout->layer[l].groups)
        group_normalization_gradient(net, l, gradient);
    else
        batch_normalization_gradient(net, l, gradient);
    for (int64_t r = 0; r < dbi_norm_rows(&net->shape); r++) {
        const int64_t end = r * (channels + DBI_LANES) + channels;
        memset(net->by_dy + end, 0, DBI_LANES * sizeof(real));
        memset(net->by_z + end, 0, DBI_LANES * sizeof(real));
        memset(net->constant + end, 0, DBI_LANES * sizeof(real));
    }
}

/* A decoder's last layer, from the outputs' gradients; z of that layer becomes its gradient. */
static void heads_backward(dbi_cpu_net_f32 *net, int decoder, const dbi_weights_f32 *weights, const real *dlogits,
                           const real *dsdf, real *gradient)
{
    const dbi_layout *layout = net->shape.layout;
    const dbi_decoder *end = &layout->decoder[decoder];
    const int last = end->layer;
    const size_t count = outputs_of(net), at = (size_t)decoder * count;
    dbi_norm_f32 norm = norm_of(net, last, net->dropout);
    dbi_heads_f32 heads = heads_of(layout, decoder, weights);
    dlogits += at;
    dbi_heads_gradient_f32 out = {.sdf_weight = gradient + layout->tensor[end->sdf_head].offset,
                                  .sdf_bias = gradient + layout->tensor[end->sdf_head + 1].offset,
                                  .seg_weight = gradient + layout->tensor[end->seg_head].offset,
                                  .seg_bias = gradient + layout->tensor[end->seg_head + 1].offset};
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        net->dr[i] = dsdf[at + i] * (1 - net->sdf[at + i] * net->sdf[at + i]);
    net->backend->heads_sums(net->state, net->z[last], &norm, &heads, dlogits, net->dr, net->first, net->second, &out);
    normalization_gradient(net, last, gradient);
    net->backend->heads_gradient(net->state, net->z[last], &norm, &heads, dlogits, net->dr, net->by_dy, net->by_z,
                                 net->constant);
}

static void add_to(real *sum, const real *term, size_t count)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        sum[i] += term[i];
}

/* a of layer l becomes its gradient through the layers that have it as their input. Those have had their turns: their z
 * are their gradients, and the gradients of their weights need a no more. */
static int gather(dbi_cpu_net_f32 *net, int l, const dbi_weights_f32 *weights, dbi_error *error)
{
    const dbi_layout *layout = net->shape.layout;
    const int first = dbi_layout_reader(layout, l, l);
    for (int t = first; t >= 0; t = dbi_layout_reader(layout, l, t)) {
        if (on_the_way(net, t)) {
            const int by = dbi_layout_reader(layout, t, t);
            net->backend->interpolated_gradient(net->state, by, net->z[by],
                                                tensor_of(layout, by, DBI_CONV_WEIGHT, weights->parameters), net->a[l],
                                                t != first);
            continue;
        }
        if (layout->layer[t].kind == DBI_LAYER_INTERPOLATE) {
            net->backend->interpolate_gradient(net->state, t, net->z[t], net->a[l], t != first);
            continue;
        }
        const real *weight = tensor_of(layout, t, DBI_CONV_WEIGHT, weights->parameters);
        if (net->backend->data_gradient(net->state, t, net->z[t], weight, net->a[l], error))
            return -1;
    }
    return 0;
}

/* The gradient of a of layer l through the layers that add it, NULL: none. It lies in a of the first of them, which has
 * had its turn. */
static const real *gather_skip(dbi_cpu_net_f32 *net, int l)
{
    const dbi_layout *layout = net->shape.layout;
    const size_t count = net->backend->elements(&net->shape, layout->layer[l].out, layout->layer[l].level);
    const int first = dbi_layout_adder(layout, l, l);
    if (first < 0)
        return NULL;
    for (int t = dbi_layout_adder(layout, l, first); t >= 0; t = dbi_layout_adder(layout, l, t))
        add_to(net->a[first], net->a[t], count);
    return net->a[first];
}

/* z of layer l becomes its gradient, from the gradients of a in the layers that read it. */
static void normalize_backward(dbi_cpu_net_f32 *net, int l, real *gradient)
{
    dbi_norm_f32 norm = norm_of(net, l, net->dropout);
    const real *da_skip = gather_skip(net, l);
    net->backend->normalize_sums(net->state, l, net->z[l], &norm, net->a[l], da_skip, net->first, net->second);
    normalization_gradient(net, l, gradient);
    net->backend->normalize_gradient(net->state, l, net->z[l], &norm, net->a[l], da_skip, net->by_dy, net->by_z,
                                     net->constant);
}

int dbi_cpu_net_backward_f32(dbi_cpu_net_f32 *net, const dbi_weights_f32 *weights, const real *dlogits,
                             const real *dsdf, real *gradient, dbi_error *error)
{
    const dbi_layout *layout = net->shape.layout;
    if (!net->kept)
        return dbi_fail(error, "a backward pass without a forward pass that was kept");
    net->kept = false;
    for (int l = layout->layers - 1; l >= 0; l--) {
        const int decoder = dbi_layout_heads(layout, l);
        if (on_the_way(net, l))
            continue;
        if (decoder < 0 && gather(net, l, weights, error))
            return -1;
        if (layout->layer[l].kind == DBI_LAYER_INTERPOLATE)
            continue;
        if (decoder >= 0)
            heads_backward(net, decoder, weights, dlogits, dsdf, gradient);
        else
            normalize_backward(net, l, gradient);
        if (net->backend->weight_gradient(net->state, l, input_of(net, l, net->image), net->z[l],
                                          tensor_of(layout, l, DBI_CONV_WEIGHT, gradient), error))
            return -1;
    }
    return 0;
}
