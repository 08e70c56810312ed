/* What a pass asks of the host: the arithmetic of the layers on arrays whose arrangement in memory is the table's own.
 * There are two tables: the reference, slow and plain, in both precisions, and the fast one in single precision. */
#pragma once
#include "base/real.h"
#include "cpu/backend.h"

/* Normalization, ReLU, dropout and skip sum of one layer: a = relu(scale (z - mean) + shift) drop + skip. Mean, scale
 * and shift are [rows, channels + DBI_LANES] with 0 past the channels, and as many rows as dbi_norm_rows. */
typedef struct dbi_norm_f32 {
    const real *mean, *scale, *shift;
    int64_t step;     /* elements from one sample's row to the next one's; 0: one row for all */
    const real *drop; /* [batch, channels + DBI_LANES], or NULL: 1 */
    const real *skip; /* an activation like a, or NULL */
} dbi_norm_f32;

/* The heads: 1^3 convolutions of a decoder's last a, weights [K,filters] and biases [K]. */
typedef struct dbi_heads_f32 {
    const real *sdf_weight, *sdf_bias, *seg_weight, *seg_bias;
} dbi_heads_f32;

typedef struct dbi_heads_gradient_f32 {
    real *sdf_weight, *sdf_bias, *seg_weight, *seg_bias;
} dbi_heads_gradient_f32;

/* Convolutions have no bias here: before a normalization it only moves the mean, and that is the net's business. `in`
 * of layer 0 is the image, plain [batch,C,X,Y,Z]; every other array is an activation of the device. Weights and their
 * gradients are plain, in PyTorch's layout. */
typedef struct dbi_backend_f32 {
    /* Elements of an activation with so many channels at a level; a multiple of 16. */
    size_t (*elements)(const dbi_net_shape *shape, int channels, int level);
    /* Everything but data memory; *scratch: bytes that must be lent with bind() before the first pass. */
    void *(*open)(const dbi_net_shape *shape, size_t *scratch, dbi_error *error);
    void (*bind)(void *state, void *scratch);
    void (*close)(void *state);
    int (*convolve)(void *state, int layer, const real *in, const real *weight, real *z, dbi_error *error);
    /* Mean and (biased) variance [rows, channels] of each channel over the voxels of a row: the batch, or a sample. */
    void (*moments)(void *state, int layer, const real *z, double *mean, double *variance);
    /* a may be z. */
    void (*normalize)(void *state, int layer, const real *z, const dbi_norm_f32 *norm, real *a);
    /* Of one decoder, with the normalization of its last layer inside. logits and sdf (after tanh): plain
     * [batch,K,X,Y,Z]. */
    void (*heads)(void *state, const real *z, const dbi_norm_f32 *norm, const dbi_heads_f32 *heads, real *logits,
                  real *sdf);

    /* With dy = (da + da_skip) drop [y > 0], y = scale (z - mean) + shift; da_skip may be NULL: per row and channel sum
     * = Σ dy and dot = Σ dy (z - mean). */
    void (*normalize_sums)(void *state, int layer, const real *z, const dbi_norm_f32 *norm, const real *da,
                           const real *da_skip, double *sum, double *dot);
    /* z becomes dz = by_dy dy + by_z (z - mean) + constant; the three factors lie like scale. */
    void (*normalize_gradient)(void *state, int layer, real *z, const dbi_norm_f32 *norm, const real *da,
                               const real *da_skip, const real *by_dy, const real *by_z, const real *constant);
    /* The same two for a decoder's last layer, whose da comes from the heads: dlogits and dr (before tanh), plain; and
     * the heads' own gradients. */
    void (*heads_sums)(void *state, const real *z, const dbi_norm_f32 *norm, const dbi_heads_f32 *heads,
                       const real *dlogits, const real *dr, double *sum, double *dot,
                       const dbi_heads_gradient_f32 *gradient);
    void (*heads_gradient)(void *state, real *z, const dbi_norm_f32 *norm, const dbi_heads_f32 *heads,
                           const real *dlogits, const real *dr, const real *by_dy, const real *by_z,
                           const real *constant);
    int (*weight_gradient)(void *state, int layer, const real *in, const real *dz, real *dweight, dbi_error *error);
    /* Not for layer 0. */
    int (*data_gradient)(void *state, int layer, const real *dz, const real *weight, real *din, dbi_error *error);

    /* An interpolation and its gradient, which with `add` is added to what is in din. NULL, both: interpolations have no
     * arrays; the convolution that reads one interpolates on the way, and its `in` is the interpolation's. */
    void (*interpolate)(void *state, int layer, const real *in, real *out);
    void (*interpolate_gradient)(void *state, int layer, const real *dout, real *din, bool add);
    /* Of such a convolution, in place of data_gradient: down to the interpolation's input. */
    void (*interpolated_gradient)(void *state, int layer, const real *dz, const real *weight, real *din, bool add);
} dbi_backend_f32;

/* Plain C, the judge of all others. */
extern const dbi_backend_f32 dbi_backend_reference_f32;
