#include "device/net.h"

#include <stdlib.h>

#include "base/memory.h"

struct dbi_net {
    const dbi_device_table *table;
    dbi_net_shape shape;
    void *state; /* belongs to the device */
    bool kept;   /* a backward pass may follow */
};

static dbi_net_shape shape_of(const dbi_layout *layout, int64_t batch, const int64_t size[3], bool training)
{
    return (dbi_net_shape){layout, batch, {size[0], size[1], size[2]}, training};
}

dbi_net *dbi_net_open(const dbi_device *device, const dbi_layout *layout, int64_t batch, const int64_t size[3],
                      bool training, dbi_error *error)
{
    const dbi_net_shape shape = shape_of(layout, batch, size, training);
    if (!device->table->net_open) {
        dbi_fail(error, "the device %s has no network", device->table->name);
        return NULL;
    }
    dbi_net *net = dbi_net_shape_check(&shape, error) ? NULL : dbi_alloc(1, sizeof *net, error);
    if (!net)
        return NULL;
    net->table = device->table;
    net->shape = shape;
    if (!(net->state = device->table->net_open(device, &shape, error))) {
        free(net);
        return NULL;
    }
    return net;
}

void dbi_net_close(dbi_net *net)
{
    if (!net)
        return;
    net->table->net_close(net->state);
    free(net);
}

size_t dbi_net_bytes(const dbi_device *device, const dbi_layout *layout, int64_t batch, const int64_t size[3],
                     bool training)
{
    const dbi_net_shape shape = shape_of(layout, batch, size, training);
    return !device->table->net_bytes || dbi_net_shape_check(&shape, NULL) ? SIZE_MAX
                                                                          : device->table->net_bytes(device, &shape);
}

int dbi_net_forward(dbi_net *net, dbi_weights_f32 *weights, const dbi_pass *pass, const float *image, float *logits,
                    float *sdf, dbi_error *error)
{
    net->kept = false;
    if (dbi_pass_check(&net->shape, pass, error) ||
        net->table->net_forward(net->state, weights, pass, image, logits, sdf, error))
        return -1;
    net->kept = pass->keep;
    return 0;
}

int dbi_net_backward(dbi_net *net, const dbi_weights_f32 *weights, const float *dlogits, const float *dsdf,
                     float *gradient, dbi_error *error)
{
    if (!net->kept)
        return dbi_fail(error, "a backward pass without a forward pass that was kept");
    net->kept = false;
    return net->table->net_backward(net->state, weights, dlogits, dsdf, gradient, error);
}

int dbi_net_slide(dbi_net *net, const dbi_weights_f32 *weights, bool same_weights, const dbi_slide *slide,
                  const float *image, const dbi_window_means *means, const dbi_slide_label *label, dbi_error *error)
{
    const dbi_pass pass = {.statistics = DBI_RUNNING_STATISTICS};
    return dbi_pass_check(&net->shape, &pass, error)
               ? -1
               : net->table->slide(net->state, weights, same_weights, slide, image, means, label, error);
}
