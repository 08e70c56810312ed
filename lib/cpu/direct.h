/* Direct convolutions on blocked activations, where they are faster than oneDNN or it has no fast code: 3^3 kernels
 * without AVX-512 whose rows do not fill the tiles of winograd.h, blocks of 8 channels on machines with longer vectors,
 * 2^3 kernels between blocks of different lengths, weight gradients.
 *
 * There are three loops for all layers and passes; which array is what is the caller's choice:
 *   same     3^3, padding 1: b(v) = Σ w(tap) a(v + tap - 1)          forward; data gradient with mirrored taps
 *   gather   2^3, stride 2:  b(v) = Σ w(tap) a(2v + tap)             forward of down, data gradient of up
 *   scatter  2^3, stride 2:  b(2v + tap) = Σ w(tap) a(v)             forward of up, data gradient of down
 * and, of each, the gradient of w from a and b. */
#ifndef DBI_CPU_DIRECT_H
#define DBI_CPU_DIRECT_H

#include "cpu/blocked.h"

typedef enum dbi_direct_kind { DBI_DIRECT_SAME, DBI_DIRECT_GATHER, DBI_DIRECT_SCATTER } dbi_direct_kind;

/* How the plain weights lie: w(a's channel i, b's channel o, tap) at [i a_step + o b_step + (mirrored ? taps - 1 - tap
 * : tap)]. */
typedef struct dbi_direct {
    dbi_direct_kind kind;
    dbi_blocked a, b;
    int a_lanes, b_lanes; /* 8 or 16 each */
    int64_t a_step, b_step;
    bool mirrored;
    bool long_vectors; /* the processor has vectors of 16: blocks of 8 are then taken two at a time where they can be */
} dbi_direct;

/* The taps of the plain weights of channel i of a's block and o of b's; NULL in the padding. A pass over them is a pass
 * over memory in its order. */
float *dbi_direct_taps(const dbi_direct *d, const float *weight, int a_block, int b_block, int i, int o);

/* Floats of working memory that the two functions need. */
size_t dbi_direct_packed(const dbi_direct *d);
size_t dbi_direct_partials(const dbi_direct *d);

/* b from a. packed: working memory. */
void dbi_direct_apply(const dbi_direct *d, const float *a, const float *weight, float *packed, float *b);
/* The gradient of the weights (overwritten), given b's gradient. */
void dbi_direct_weights(const dbi_direct *d, const float *a, const float *db, float *partial, float *dweight);

#endif
