/* Summary of a sample of scores. */
#ifndef DBI_SCORE_SUMMARY_H
#define DBI_SCORE_SUMMARY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { DBI_BOOTSTRAP_SAMPLES = 10000 };

typedef struct dbi_score_summary {
    size_t count;
    double mean, sd; /* sd: of the sample, n - 1; NaN for one value */
    double median;
    double low, high; /* 95 % interval of the mean: percentiles 2.5 and 97.5 of the means of DBI_BOOTSTRAP_SAMPLES
                         bootstrap samples */
} dbi_score_summary;

/* Summarizes count > 0 values. The bootstrap samples depend on seed and count alone, so that all scores of a table use
 * the same ones. */
int dbi_score_summarize(const double *values, size_t count, uint64_t seed, dbi_score_summary *summary,
                        dbi_error *error);

#endif
