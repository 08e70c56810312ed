/* 3^3 convolutions of interpolated activations, without the interpolated activation. Interpolation acts on each channel
 * by itself, so the channels are mixed first, on the coarse grid, once for each tap: an eighth of the products. The 27
 * mixed fields are then interpolated, moved by their taps and added, one axis after the other.
 *
 * Each output value is computed by one thread in an order that depends on the shape alone: results are the same for any
 * number of threads. */
#ifndef DBI_CPU_INTERPOLATED_H
#define DBI_CPU_INTERPOLATED_H

#include "cpu/blocked.h"

/* in: of the interpolation; out: of the convolution, twice the size. Weights are plain, [out,in,3,3,3]. */
typedef struct dbi_interpolated {
    dbi_blocked in, out;
    int in_lanes, out_lanes; /* 8 or 16 each */
} dbi_interpolated;

/* Floats of working memory that each of the functions below needs for so many threads or fewer, without and with the
 * gradients. */
size_t dbi_interpolated_floats(const dbi_interpolated *d, int threads, bool gradients);

/* working: aligned to 64 bytes, as are all arrays but the weights. */
void dbi_interpolated_apply(const dbi_interpolated *d, int threads, const float *in, const float *weight,
                            float *working, float *out);
/* The gradient of `in` from that of `out`; with `add` it is added to what is in din. */
void dbi_interpolated_data(const dbi_interpolated *d, int threads, const float *dout, const float *weight,
                           float *working, float *din, bool add);
/* The gradient of the weights (overwritten). */
void dbi_interpolated_weights(const dbi_interpolated *d, int threads, const float *in, const float *dout,
                              float *working, float *dweight);

#endif
