typedef struct R(dbi_net) R(dbi_net);

/* device: "reference", "cpu" or a CUDA device's name (cuda/device.h), both float only. size: X, Y, Z, multiples of 16. All memory is taken here, one arena; a step takes none. The layout must
 * outlive the net. */
R(dbi_net) * R(dbi_net_open)(const dbi_layout *layout, const char *device, int64_t batch, const int64_t size[3], bool training, dbi_error *error);
void R(dbi_net_close)(R(dbi_net) * net);

/* A forward pass: image [batch,C,X,Y,Z] -> logits and sdf (after tanh, in [-1,1]), both [batch,K,X,Y,Z]. weights is written only when pass->update_running.
 * With keep, the image must stay as it is until the backward pass is done. Fails on batch statistics of a single value. */
int R(dbi_net_forward)(R(dbi_net) * net, R(dbi_weights) * weights, const dbi_pass *pass, const real *image, real *logits, real *sdf,
                       dbi_error *error);

/* After a forward pass with keep, once: gradients with respect to logits and sdf (after tanh) -> gradient [layout->parameters], overwritten. */
int R(dbi_net_backward)(R(dbi_net) * net, const R(dbi_weights) * weights, const real *dlogits, const real *dsdf, real *gradient, dbi_error *error);
