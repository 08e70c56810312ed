/* Interpolation to twice the size on blocked activations. Each value is computed by one thread, in an order that depends
 * on the shape alone. */
#ifndef DBI_CPU_INTERPOLATE_H
#define DBI_CPU_INTERPOLATE_H

#include "cpu/blocked.h"

/* at: the input. lanes: of a block, 8 or 16. */
void dbi_blocked_interpolate(const dbi_blocked *at, int lanes, const float *in, float *out);
/* Its gradient; with `add` it is added to what is in din. */
void dbi_blocked_interpolate_gradient(const dbi_blocked *at, int lanes, const float *dout, float *din, bool add);

#endif
