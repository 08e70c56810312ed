/* What the network asks of a device: the arithmetic of its layers on arrays whose arrangement in memory is the device's own. */
#ifndef DBI_NET_BACKEND_H
#define DBI_NET_BACKEND_H

#include "net/arch.h"

/* The shape that a net is opened for. */
typedef struct dbi_net_shape {
    const dbi_layout *layout;
    int64_t batch, size[3]; /* of the image; a layer's output has size >> layer->level */
    bool training;
} dbi_net_shape;

/* No device handles channels in larger groups. */
enum { DBI_LANES = 16 };

#define DBI_REAL_HEADER "net/backend.real.h"
#include "base/each_real.h"

/* oneDNN and kernels of our own. */
extern const dbi_backend_f32 dbi_cpu;

#endif
