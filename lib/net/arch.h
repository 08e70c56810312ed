/* The dual V-Net as a list of layers and parameters. The names and layouts are those of the field's public V-Nets (a PyTorch state_dict). */
#ifndef DBI_NET_ARCH_H
#define DBI_NET_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dbi_arch {
    int channels; /* C, of the image, >= 1 */
    int classes;  /* K, foreground classes, >= 1 */
    int filters;  /* of the first block, >= 1 */
} dbi_arch;

typedef enum dbi_layer_kind {
    DBI_LAYER_CONV3, /* 3^3, padding 1 */
    DBI_LAYER_DOWN,  /* 2^3, stride 2 */
    DBI_LAYER_UP     /* transposed 2^3, stride 2 */
} dbi_layer_kind;

/* One convolution with bias, batch normalization and ReLU; then, where given, dropout, the sum with an earlier layer's output, or both. */
typedef struct dbi_layer {
    dbi_layer_kind kind;
    int in, out;  /* channels */
    int level;    /* of the output: its sizes are the image's >> level */
    int skip;     /* index of the layer whose output is added to this one's, -1: none */
    bool dropout; /* whole-channel dropout behind it in training */
    int weight; /* index of its first tensor in dbi_layout.tensors: weight, bias, norm weight, norm bias; running mean and var at [weight + 4], [+ 5] */
} dbi_layer;

typedef enum dbi_tensor_role { DBI_PARAMETER, DBI_STATISTIC } dbi_tensor_role;

typedef struct dbi_named {
    char name[64];
    dbi_tensor_role role;
    int ndim;
    int64_t shape[5];
    size_t offset, count; /* into the flat array of its role */
} dbi_named;

/* Labels are bytes. */
enum { DBI_MAX_CLASSES = 255 };

/* The encoder halves its input so many times; sizes have to be multiples. */
enum { DBI_NET_LEVELS = 4, DBI_NET_MULTIPLE = 1 << DBI_NET_LEVELS };

enum { DBI_MAX_LAYERS = 32, DBI_MAX_TENSORS = 6 * DBI_MAX_LAYERS + 4 };

typedef struct dbi_layout {
    dbi_arch arch;
    int layers;
    dbi_layer layer[DBI_MAX_LAYERS];
    int sdf_head,
        seg_head; /* index of each head's weight tensor [K,filters,1,1,1]; its bias follows. out_conv is the distance, out_conv2 the logits */
    int tensors;
    dbi_named tensor[DBI_MAX_TENSORS];
    size_t parameters, statistics; /* sizes of the flat arrays */
} dbi_layout;

/* Fills the layout; refuses impossible numbers. */
int dbi_layout_make(const dbi_arch *arch, dbi_layout *layout, dbi_error *error);

/* Channels of the widest layer. */
int dbi_layout_widest(const dbi_layout *layout);
/* The last layer that reads layer l's output; the number of layers for the heads. */
int dbi_layout_last_reader(const dbi_layout *layout, int l);

#endif
