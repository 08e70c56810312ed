#include "cuda/host_net.h"

#include <stdlib.h>

#include "cuda/net.h"
#include "cuda/stream.h"

struct dbi_cuda_host_net {
    const dbi_layout *layout;
    int64_t batch, voxels;
    bool have_weights;
    dbi_cuda_net *net;
    dbi_stream stream;
    dbi_arena arena;
    float *parameters, *statistics, *image, *logits, *sdf, *dlogits, *dsdf, *gradient;
    dbi_cuda_parameters *block;
};

static size_t image_bytes(const dbi_cuda_host_net *h)
{
    return (size_t)(h->batch * h->layout->arch.channels * h->voxels) * sizeof(float);
}

static size_t output_bytes(const dbi_cuda_host_net *h)
{
    return (size_t)(h->layout->arch.decoders * h->batch * h->layout->arch.classes * h->voxels) * sizeof(float);
}

/* Everything but the memory itself. */
static dbi_cuda_host_net *plan(const dbi_device *device, const dbi_net_shape *shape, dbi_error *error)
{
    const dbi_layout *layout = shape->layout;
    dbi_cuda_host_net *h = (dbi_cuda_host_net *)calloc(1, sizeof *h);
    if (!h) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    h->layout = layout;
    h->batch = shape->batch;
    h->voxels = shape->size[0] * shape->size[1] * shape->size[2];
    const size_t parameters = layout->parameters * sizeof(float), outputs = output_bytes(h);
    if (dbi_cuda_select(device, error) || dbi_stream_open(&h->stream, error) ||
        !(h->net = dbi_cuda_net_new(device, shape, &h->arena, error)) ||
        dbi_arena_need(&h->arena, &h->parameters, parameters, error) ||
        dbi_arena_need(&h->arena, &h->statistics, layout->statistics * sizeof(float), error) ||
        dbi_arena_need(&h->arena, &h->image, image_bytes(h), error) ||
        dbi_arena_need(&h->arena, &h->logits, outputs, error) || dbi_arena_need(&h->arena, &h->sdf, outputs, error) ||
        dbi_arena_need(&h->arena, &h->block, sizeof *h->block, error) ||
        (shape->training && (dbi_arena_need(&h->arena, &h->dlogits, outputs, error) ||
                             dbi_arena_need(&h->arena, &h->dsdf, outputs, error) ||
                             dbi_arena_need(&h->arena, &h->gradient, parameters, error)))) {
        dbi_cuda_host_net_close(h);
        return NULL;
    }
    return h;
}

dbi_cuda_host_net *dbi_cuda_host_net_open(const dbi_device *device, const dbi_net_shape *shape, dbi_error *error)
{
    dbi_cuda_host_net *h = plan(device, shape, error);
    if (h && dbi_arena_open(&h->arena, error)) {
        dbi_cuda_host_net_close(h);
        return NULL;
    }
    return h;
}

void dbi_cuda_host_net_close(dbi_cuda_host_net *h)
{
    if (!h)
        return;
    dbi_cuda_net_free(h->net);
    dbi_arena_close(&h->arena);
    dbi_stream_close(h->stream);
    free(h);
}

size_t dbi_cuda_host_net_bytes(const dbi_device *device, const dbi_net_shape *shape)
{
    dbi_cuda_host_net *h = plan(device, shape, NULL);
    const size_t bytes = h ? h->arena.bytes : SIZE_MAX;
    dbi_cuda_host_net_close(h);
    return bytes;
}

dbi_cuda_net_buffers dbi_cuda_host_net_buffers(const dbi_cuda_host_net *h)
{
    dbi_cuda_net_buffers buffers;
    buffers.stream = h->stream;
    buffers.batch = h->batch;
    buffers.image = h->image;
    buffers.logits = h->logits;
    buffers.sdf = h->sdf;
    return buffers;
}

static int put_weights(dbi_cuda_host_net *h, const dbi_weights_f32 *weights, dbi_error *error)
{
    h->have_weights = false;
    if (dbi_cuda_put(h->stream, h->parameters, weights->parameters, h->layout->parameters * sizeof(float), error) ||
        dbi_cuda_put(h->stream, h->statistics, weights->statistics, h->layout->statistics * sizeof(float), error) ||
        dbi_cuda_net_weights(h->net, h->stream, h->parameters, error))
        return -1;
    h->have_weights = true;
    return 0;
}

/* The parameter block is for dropout alone: a copy from the host would wait for the passes before. */
static int put_block(dbi_cuda_host_net *h, const dbi_pass *pass, dbi_error *error)
{
    dbi_cuda_parameters block;
    memset(&block, 0, sizeof block);
    block.seed = pass->seed;
    block.step = pass->step;
    return dbi_cuda_put(h->stream, h->block, &block, sizeof block, error);
}

int dbi_cuda_host_net_pass(dbi_cuda_host_net *h, const dbi_weights_f32 *weights, const dbi_pass *pass, dbi_error *error)
{
    dbi_cuda_pass p;
    memset(&p, 0, sizeof p);
    p.statistics = pass->statistics;
    p.update_running = pass->update_running;
    p.keep = pass->keep;
    p.dropout = pass->dropout;
    p.role = pass->role;
    p.passes = 1;
    p.parameters = h->block;
    return ((!pass->same_weights || !h->have_weights) && put_weights(h, weights, error)) ||
                   (pass->dropout > 0 && put_block(h, pass, error)) ||
                   dbi_cuda_net_forward(h->net, h->stream, h->parameters, h->statistics, &p, h->image, h->logits,
                                        h->sdf, error)
               ? -1
               : 0;
}

int dbi_cuda_host_net_forward(dbi_cuda_host_net *h, dbi_weights_f32 *weights, const dbi_pass *pass, const float *image,
                              float *logits, float *sdf, dbi_error *error)
{
    const size_t statistics = h->layout->statistics * sizeof(float);
    const bool update = pass->update_running && dbi_layout_has(h->layout, DBI_RUNNING_MEAN);
    if (dbi_cuda_put(h->stream, h->image, image, image_bytes(h), error) ||
        dbi_cuda_host_net_pass(h, weights, pass, error) ||
        dbi_cuda_get(h->stream, logits, h->logits, output_bytes(h), error) ||
        dbi_cuda_get(h->stream, sdf, h->sdf, output_bytes(h), error) ||
        (update && dbi_cuda_get(h->stream, weights->statistics, h->statistics, statistics, error)) ||
        dbi_cuda_wait(h->stream, error))
        return -1;
    if (update)
        weights->batches++;
    return 0;
}

int dbi_cuda_host_net_backward(dbi_cuda_host_net *h, const float *dlogits, const float *dsdf, float *gradient,
                               dbi_error *error)
{
    return dbi_cuda_put(h->stream, h->dlogits, dlogits, output_bytes(h), error) ||
                   dbi_cuda_put(h->stream, h->dsdf, dsdf, output_bytes(h), error) ||
                   dbi_cuda_net_backward(h->net, h->stream, h->parameters, h->sdf, h->dlogits, h->dsdf, h->gradient,
                                         error) ||
                   dbi_cuda_get(h->stream, gradient, h->gradient, h->layout->parameters * sizeof(float), error) ||
                   dbi_cuda_wait(h->stream, error)
               ? -1
               : 0;
}
