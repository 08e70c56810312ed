/* The dual V-Net as a list of layers and parameters. The names and layouts are those of the field's public V-Nets (a
 * PyTorch state_dict). */
#ifndef DBI_NET_ARCH_H
#define DBI_NET_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "net/norm.h"

typedef struct dbi_arch {
    int channels; /* C, of the image, >= 1 */
    int classes;  /* K, foreground classes, >= 1 */
    int filters;  /* of the first block, >= 1 */
    dbi_normalization norm;
    int decoders; /* 1; 2: a second one, with heads of its own, that goes up by interpolation; 0 stands for 1 */
} dbi_arch;

typedef enum dbi_layer_kind {
    DBI_LAYER_CONV3,      /* 3^3, padding 1 */
    DBI_LAYER_DOWN,       /* 2^3, stride 2 */
    DBI_LAYER_UP,         /* transposed 2^3, stride 2 */
    DBI_LAYER_INTERPOLATE /* trilinear to twice the size, corners aligned (net/interpolation_math.h) */
} dbi_layer_kind;

/* The tensors of a layer, in their order: kernel and bias of the convolution, weight and bias of the normalization,
 * running mean and variance. A normalization may have none of its own, or the first two alone: dbi_layout_has. */
typedef enum dbi_layer_tensor {
    DBI_CONV_WEIGHT,
    DBI_CONV_BIAS,
    DBI_NORM_GAMMA,
    DBI_NORM_BETA,
    DBI_RUNNING_MEAN,
    DBI_RUNNING_VARIANCE
} dbi_layer_tensor;

/* One convolution with bias, normalization and ReLU; then, where given, dropout, the sum with an earlier layer's
 * output, or both. An interpolation is that alone, without any of these and without tensors. */
typedef struct dbi_layer {
    dbi_layer_kind kind;
    int in, out;  /* channels */
    int level;    /* of the output: its sizes are the image's >> level */
    int input;    /* index of the layer whose output it takes, -1: the image */
    int skip;     /* index of the layer whose output is added to this one's, -1: none */
    int groups;   /* of channels normalized together, each sample by itself; 0: each channel over the whole batch */
    bool dropout; /* whole-channel dropout behind it in training */
    int tensor;   /* index of its first tensor in dbi_layout.tensor, a dbi_layer_tensor each; -1: none */
} dbi_layer;

typedef enum dbi_tensor_role { DBI_PARAMETER, DBI_STATISTIC } dbi_tensor_role;

typedef struct dbi_named {
    char name[80];
    dbi_tensor_role role;
    int ndim;
    int64_t shape[5];
    size_t offset, count; /* into the flat array of its role */
} dbi_named;

/* Labels are bytes. */
enum { DBI_MAX_CLASSES = 255, DBI_MAX_FILTERS = 256 };

/* The encoder halves its input so many times; sizes have to be multiples. */
enum { DBI_NET_LEVELS = 4, DBI_NET_MULTIPLE = 1 << DBI_NET_LEVELS };

enum { DBI_MAX_DECODERS = 2, DBI_MAX_LAYERS = 48, DBI_MAX_TENSORS = 6 * DBI_MAX_LAYERS + 4 * DBI_MAX_DECODERS };

/* The end of a decoder: the layer whose output its heads read, and the index of each head's weight tensor
 * [K,filters,1,1,1], whose bias follows. out_conv is the distance, out_conv2 the logits. */
typedef struct dbi_decoder {
    int layer, sdf_head, seg_head;
} dbi_decoder;

typedef struct dbi_layout {
    dbi_arch arch; /* decoders is not 0 */
    int layers;
    int layer_tensors; /* of each layer that has some: the first so many of dbi_layer_tensor */
    dbi_layer layer[DBI_MAX_LAYERS];
    dbi_decoder decoder[DBI_MAX_DECODERS]; /* [arch.decoders]; all end in layers of one shape */
    int tensors;
    dbi_named tensor[DBI_MAX_TENSORS];
    size_t parameters, statistics; /* sizes of the flat arrays */
} dbi_layout;

/* Fills the layout; refuses impossible numbers. */
int dbi_layout_make(const dbi_arch *arch, dbi_layout *layout, dbi_error *error);

/* What the names of the encoder's tensors, and those of decoder d, begin with. */
const char *dbi_encoder_prefix(int decoders);
const char *dbi_decoder_prefix(int decoders, int d);

/* The level of the layer's input. */
int dbi_layer_in_level(const dbi_layer *layer);
/* Channels of the widest layer. */
int dbi_layout_widest(const dbi_layout *layout);
/* Do the layers, interpolations aside, have this tensor? */
bool dbi_layout_has(const dbi_layout *layout, dbi_layer_tensor tensor);
/* Where a tensor of layer l, which has it, begins in the flat array of its role. */
size_t dbi_layout_offset(const dbi_layout *layout, int l, dbi_layer_tensor tensor);
/* The decoder whose heads read layer l's output, -1: none. */
int dbi_layout_heads(const dbi_layout *layout, int l);
/* The last layer that reads layer l's output, as its input or as a skip; l itself where only heads do. Until that
 * layer's turn is over the output has to be kept. */
int dbi_layout_last_reader(const dbi_layout *layout, int l);
/* The first layer behind `after` that has layer l's output as its input, -1: none. Of two readers, the second one is an
 * interpolation. */
int dbi_layout_reader(const dbi_layout *layout, int l, int after);
/* The first layer behind `after` that adds layer l's output to its own, -1: none. The gradient of a sum is that of each
 * of its terms. */
int dbi_layout_adder(const dbi_layout *layout, int l, int after);

#endif
