/* 3^3 convolutions on blocked activations with half the multiplications of direct.h: along the rows, six products make
 * four voxels of three taps (Winograd's F(4,3): S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and
 * S. Gray, Fast Algorithms for Convolutional Neural Networks, 2016). The points are 0, +-1/sqrt 2, +-sqrt 2 and
 * infinity: rounding errors are up to one and a half times those of a direct sum, those of weight gradients up to five
 * times (at 1e-6 of the gradient); with the usual 0, +-1, +-2 both are two to three times as large again.
 *
 * The arrays and their roles are those of dbi_direct with the kind DBI_DIRECT_SAME. */
#ifndef DBI_CPU_WINOGRAD_H
#define DBI_CPU_WINOGRAD_H

#include "cpu/direct.h"

/* Is this a convolution for dbi_winograd_apply and dbi_winograd_weights: 3^3, blocks of 8 channels on both sides? */
bool dbi_winograd_serves(const dbi_direct *d);

/* Floats of working memory that the two functions need for so many threads or fewer. */
size_t dbi_winograd_apply_floats(const dbi_direct *d, int threads);
size_t dbi_winograd_weights_floats(const dbi_direct *d, int threads);

/* b from a. The result does not depend on the number of threads. */
void dbi_winograd_apply(const dbi_direct *d, int threads, const float *a, const float *weight, float *working,
                        float *b);
/* The gradient of the weights (overwritten), given b's gradient. The result does not depend on the number of threads.
 */
void dbi_winograd_weights(const dbi_direct *d, int threads, const float *a, const float *db, float *working,
                          float *dweight);

#endif
