/* Wilcoxon's signed-rank test. */
#ifndef DBI_SCORE_SIGNED_RANK_H
#define DBI_SCORE_SIGNED_RANK_H

#include <stddef.h>

#include "base/error.h"

/* Up to so many differences the p value is exact; with more of them it is that of the normal approximation. */
enum { DBI_SIGNED_RANK_EXACT = 100 };

/* The two-sided p value of the hypothesis that the paired differences are symmetric about zero: how likely signs that
 * are tossed give a sum of positive ranks as far from its mean as this one. Differences of zero are left out and equal
 * ones share their mean rank, of which the exact distribution is taken too (Wilcoxon 1945; Pratt 1959 on ties). 1 when
 * nothing is left. */
int dbi_signed_rank(const double *differences, size_t count, double *p, dbi_error *error);

#endif
