/* Convolutions on the device, by cuDNN or, where channels are few, by kernels of our own (tiled.h, spread.h).
 * Activations [batch,X,Y,Z,channels] and weights [A,taps,B] of float or bfloat16, channels padded as in geometry.h; A
 * and B are output and input channels, of a transposed convolution input and output channels. */
#ifndef DBI_CUDA_CONV_H
#define DBI_CUDA_CONV_H

#include "cuda/cuda.h"
#include "cuda/device.h"
#include "net/arch.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dbi_conv_shape {
    dbi_layer_kind kind;
    int in, out; /* channels, padded */
    int64_t batch, in_size[3], out_size[3];
} dbi_conv_shape;

typedef struct dbi_convs dbi_convs;

/* Chooses an algorithm for each layer's passes, from the cache (algorithms.h) where it knows them. gradients: the two
 * backward passes will be wanted too. *workspace: bytes that each call needs. */
dbi_convs *dbi_convs_open(const dbi_device *device, int layers, const dbi_conv_shape *shapes, bool gradients,
                          size_t *workspace, dbi_error *error);
void dbi_convs_close(dbi_convs *convs);

/* What a forward convolution can do on the way, where it can (dbi_convs_chunks): take moments, or normalize. */
typedef struct dbi_conv_moments {
    float *count;                 /* [chunks]: values of a channel in the chunk; NULL: no moments */
    float *shift, *sum, *squares; /* [chunks,channels]: sums of out - shift and of its square */
} dbi_conv_moments;

typedef struct dbi_conv_norm {
    const float *mean, *scale, *shift; /* [channels]; scale NULL: none. out = relu(scale (z - mean) + shift) + skip */
    const void *skip;                  /* as the output; or NULL */
} dbi_conv_norm;

/* The network's two outputs, of the normalized values, which are not kept: logits and tanh of distances, plain
 * [batch,classes,voxels]. */
typedef struct dbi_conv_heads {
    const float *sdf_weight, *sdf_bias, *seg_weight, *seg_bias; /* [classes,channels], [classes] */
    float *logits, *sdf;                                        /* logits NULL: none */
    int classes, channels;                                      /* channels: without padding */
} dbi_conv_heads;

typedef struct dbi_conv_extra {
    dbi_conv_moments moments;
    dbi_conv_norm norm;
    dbi_conv_heads heads; /* with norm, without its skip: instead of out */
} dbi_conv_extra;

/* Chunks of the moments that the forward convolution of the layer can take; 0: it takes none and does not normalize. */
int64_t dbi_convs_chunks(const dbi_convs *convs, int layer);
/* Can it make the heads' outputs? */
bool dbi_convs_has_heads(const dbi_convs *convs, int layer);

/* Outputs are overwritten. extra: or NULL. */
int dbi_convs_forward(dbi_convs *convs, dbi_stream stream, int layer, const void *in, const void *weight, void *out,
                      const dbi_conv_extra *extra, void *workspace, dbi_error *error);
int dbi_convs_data(dbi_convs *convs, dbi_stream stream, int layer, const void *dout, const void *weight, void *din,
                   void *workspace, dbi_error *error);
int dbi_convs_weight(dbi_convs *convs, dbi_stream stream, int layer, const void *in, const void *dout, void *dweight,
                     void *workspace, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
