/* The network on the host, see device/net.h. */
#pragma once
#include "base/real.h"
#include "cpu/backend.real.h"
#include "net/pass.h"
#include "net/weights.real.h"

typedef struct dbi_cpu_net_f32 dbi_cpu_net_f32;

/* All memory is taken here, one arena; a pass takes none. The shape has been checked (dbi_net_shape_check); its layout
 * must outlive the net. */
dbi_cpu_net_f32 *dbi_cpu_net_open_f32(const dbi_backend_f32 *backend, const dbi_net_shape *shape, dbi_error *error);
void dbi_cpu_net_close_f32(dbi_cpu_net_f32 *net); /* NULL is allowed */

/* Bytes of that arena, SIZE_MAX where no such net can be made. */
size_t dbi_cpu_net_bytes_f32(const dbi_backend_f32 *backend, const dbi_net_shape *shape);

/* As dbi_net_forward and dbi_net_backward; the pass has been checked (dbi_pass_check). */
int dbi_cpu_net_forward_f32(dbi_cpu_net_f32 *net, dbi_weights_f32 *weights, const dbi_pass *pass, const real *image,
                            real *logits, real *sdf, dbi_error *error);
int dbi_cpu_net_backward_f32(dbi_cpu_net_f32 *net, const dbi_weights_f32 *weights, const real *dlogits,
                             const real *dsdf, real *gradient, dbi_error *error);
