/* Wilcoxon's signed-rank test. */
#ifndef DBI_SCORE_SIGNED_RANK_H
#define DBI_SCORE_SIGNED_RANK_H

#include <stddef.h>

#include "base/error.h"

/* Up to this many differences the p value is exact; for more the normal approximation is used. */
enum { DBI_SIGNED_RANK_EXACT = 100 };

/* The two-sided p value of the hypothesis that the paired differences are symmetric about zero: the chance that random
 * signs give a sum of positive ranks as far from its mean as this one. Differences of zero are left out; equal sizes
 * share their mean rank, also in the exact distribution (Wilcoxon 1945; Pratt 1959 on ties). It is 1 when nothing is
 * left. */
int dbi_signed_rank(const double *differences, size_t count, double *p, dbi_error *error);

#endif
