/* A pass through the network: its shape, how it is run, and what is true of it on every device. */
#ifndef DBI_NET_PASS_H
#define DBI_NET_PASS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "net/arch.h"

/* The shape that a net is opened for. */
typedef struct dbi_net_shape {
    const dbi_layout *layout; /* must outlive the net */
    int64_t batch, size[3];   /* of the image: X, Y, Z, multiples of DBI_NET_MULTIPLE */
    bool training;            /* a backward pass may follow a forward pass */
} dbi_net_shape;

/* Of batch normalization; by instance and by group a pass takes each sample's own statistics, whatever the mode. */
typedef enum dbi_statistics_mode {
    DBI_RUNNING_STATISTICS, /* evaluation */
    DBI_BATCH_STATISTICS    /* training, and the teacher's pass */
} dbi_statistics_mode;

/* How to run a forward pass. */
typedef struct dbi_pass {
    dbi_statistics_mode statistics;
    bool update_running; /* running = 0.9 running + 0.1 batch (variance unbiased), batches + 1; nothing where there are
                            none */
    double dropout;      /* probability, 0: none */
    uint64_t seed;       /* of the dropout masks, with role, step and the layer's index as the stream */
    dbi_role role;
    uint32_t step;
    bool keep;         /* keep what the backward pass needs (the net must be opened for training) */
    bool same_weights; /* the weights have not changed since this net's last pass: a device with memory of its own need
                          not fetch them again */
} dbi_pass;

/* Refuses a size of an image that is no multiple of DBI_NET_MULTIPLE in X, Y and Z. */
int dbi_net_size_check(const int64_t size[3], dbi_error *error);
/* The same for a net's shape, and refuses those beyond this machine. */
int dbi_net_shape_check(const dbi_net_shape *shape, dbi_error *error);
/* Refuses a pass that a net of this shape cannot do. */
int dbi_pass_check(const dbi_net_shape *shape, const dbi_pass *pass, dbi_error *error);

/* Rows of statistics that each normalization has: one for the whole batch, or one for each sample. */
int64_t dbi_norm_rows(const dbi_net_shape *shape);
/* Are mean and deviation those of the values of the pass, so that the gradient goes through them? */
bool dbi_norm_own(const dbi_layout *layout, dbi_statistics_mode statistics);

/* Voxels of layer l's output, over the whole batch: as many values as a channel has. */
int64_t dbi_layer_values(const dbi_net_shape *shape, int l);

#endif
