/* The network on a device: forward and backward pass of the dual V-Net for a fixed batch shape. */
#ifndef DBI_NET_NET_H
#define DBI_NET_NET_H

#include "base/random.h"
#include "net/arch.h"

typedef enum dbi_statistics_mode {
    DBI_RUNNING_STATISTICS, /* evaluation */
    DBI_BATCH_STATISTICS    /* training, and the teacher's pass */
} dbi_statistics_mode;

/* How to run a forward pass. */
typedef struct dbi_pass {
    dbi_statistics_mode statistics;
    bool update_running; /* running = 0.9 running + 0.1 batch (variance unbiased), batches + 1 */
    double dropout;      /* probability, 0: none */
    uint64_t seed;       /* of the dropout masks, with role, step and the layer's index as the stream */
    dbi_role role;
    uint32_t step;
    bool keep;         /* keep what the backward pass needs (the net must be opened for training) */
    bool same_weights; /* the weights have not changed since this net's last pass: a device with memory of its own need not fetch them again */
} dbi_pass;

/* Bytes that a net would need, without making it; for choosing a window. */
size_t dbi_net_bytes(const dbi_layout *layout, const char *device, int64_t batch, const int64_t size[3], bool training);

#define DBI_REAL_HEADER "net/net.real.h"
#include "base/each_real.h"

/* The CUDA device's own part of a net that was opened on one, for what keeps its arrays there (cuda/slide.h); NULL for other nets. */
struct dbi_cuda_host_net *dbi_net_on_cuda(const dbi_net_f32 *net);

#endif
