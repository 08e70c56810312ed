/* The network on a device: forward and backward pass of the dual V-Net for a fixed batch shape. */
#ifndef DBI_DEVICE_NET_H
#define DBI_DEVICE_NET_H

#include "device/device.h"

typedef struct dbi_net dbi_net;

/* size: X, Y, Z, multiples of DBI_NET_MULTIPLE. All memory is taken here; a pass takes none. The device is copied; the
 * layout must outlive the net. NULL with an error. */
dbi_net *dbi_net_open(const dbi_device *device, const dbi_layout *layout, int64_t batch, const int64_t size[3],
                      bool training, dbi_error *error);
void dbi_net_close(dbi_net *net); /* NULL is allowed */

/* The bytes that such a net would need, to choose a window by; SIZE_MAX when it cannot be made. */
size_t dbi_net_bytes(const dbi_device *device, const dbi_layout *layout, int64_t batch, const int64_t size[3],
                     bool training);

/* A forward pass: image [batch,C,X,Y,Z] -> logits and sdf (after tanh, in [-1,1]), both
 * [decoders,batch,K,X,Y,Z]. weights is written only when pass->update_running. With pass->keep the image must not change until the backward pass is done.
 * Fails when batch statistics would be those of a single value. */
int dbi_net_forward(dbi_net *net, dbi_weights_f32 *weights, const dbi_pass *pass, const float *image, float *logits,
                    float *sdf, dbi_error *error);

/* The backward pass, once after a forward pass with keep: gradients with respect to logits and sdf (after tanh), which
 * lie like these -> gradient [layout->parameters], overwritten. */
int dbi_net_backward(dbi_net *net, const dbi_weights_f32 *weights, const float *dlogits, const float *dsdf,
                     float *gradient, dbi_error *error);

/* The windows of a scan, on a device that has dbi_device_table.slide: see there. Returns 0, -1 or DBI_NO_ROOM. */
int dbi_net_slide(dbi_net *net, const dbi_weights_f32 *weights, bool same_weights, const dbi_slide *slide,
                  const float *image, const dbi_window_means *means, const dbi_slide_label *label, dbi_error *error);

#endif
