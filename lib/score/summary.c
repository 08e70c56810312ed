#include "score/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "score/order.h"

static double mean_of(const double *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum / (double)count;
}

/* The mean of one bootstrap sample: as many values as there are, drawn with replacement. */
static double resampled_mean(const double *values, size_t count, uint64_t seed, uint32_t sample)
{
    dbi_random r;
    dbi_random_start(&r, seed, DBI_ROLE_BOOTSTRAP, sample, 0);
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[dbi_random_below(&r, (uint32_t)count)];
    return sum / (double)count;
}

int dbi_score_summarize(const double *values, size_t count, uint64_t seed, dbi_score_summary *summary, dbi_error *error)
{
    if (count < 1 || count > UINT32_MAX)
        return dbi_fail(error, "%zu scores cannot be summed up", count);
    double *copy = dbi_alloc(count, sizeof *copy, error),
           *means = copy ? dbi_alloc(DBI_BOOTSTRAP_SAMPLES, sizeof *means, error) : NULL;
    if (!means) {
        free(copy);
        return -1;
    }
    memcpy(copy, values, count * sizeof *copy);
    *summary =
        (dbi_score_summary){.count = count, .mean = mean_of(values, count), .median = dbi_quantile(copy, count, 0.5)};
    double squares = 0;
    for (size_t i = 0; i < count; i++)
        squares += (values[i] - summary->mean) * (values[i] - summary->mean);
    summary->sd = count > 1 ? sqrt(squares / (double)(count - 1)) : NAN;
#pragma omp parallel for schedule(static)
    for (uint32_t i = 0; i < DBI_BOOTSTRAP_SAMPLES; i++)
        means[i] = resampled_mean(values, count, seed, i);
    summary->low = dbi_quantile(means, DBI_BOOTSTRAP_SAMPLES, 0.025);
    summary->high = dbi_quantile(means, DBI_BOOTSTRAP_SAMPLES, 0.975);
    free(copy);
    free(means);
    return 0;
}
