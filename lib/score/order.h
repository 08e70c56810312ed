/* Order statistics. */
#ifndef DBI_SCORE_ORDER_H
#define DBI_SCORE_ORDER_H

#include <stddef.h>

/* The q-quantile (0 <= q <= 1) of n > 0 values, linear between ranks: at rank q (n - 1), like numpy.percentile.
 * Reorders the values; takes linear time. */
double dbi_quantile(double *values, size_t n, double q);

#endif
