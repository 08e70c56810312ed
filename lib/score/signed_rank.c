#include "score/signed_rank.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"

typedef struct ranked {
    double size;
    bool positive;
    int64_t twice; /* twice the rank: the ranks of ties may be halves */
} ranked;

static int by_size(const void *a, const void *b)
{
    const double x = ((const ranked *)a)->size, y = ((const ranked *)b)->size;
    return (x > y) - (x < y);
}

/* Ranks from 1 in order of size. Returns the sum of t^3 - t over the groups of t equal sizes. */
static double rank(ranked *values, size_t count)
{
    double ties = 0;
    qsort(values, count, sizeof *values, by_size);
    for (size_t first = 0, end; first < count; first = end) {
        for (end = first; end < count && values[end].size == values[first].size; end++)
            ;
        for (size_t i = first; i < end; i++)
            values[i].twice = (int64_t)(first + 1 + end);
        const double t = (double)(end - first);
        ties += t * t * t - t;
    }
    return ties;
}

/* The p value when each rank is positive or negative by the toss of a coin: twice the smaller chance of a sum of at
 * most or at least `sum`. Computes the chances of all sums. */
static int exact(const ranked *values, size_t count, int64_t sum, double *p, dbi_error *error)
{
    const size_t sums = count * (count + 1) + 1; /* sums of twice the ranks go from 0 to n (n + 1) */
    double *chance = dbi_alloc(sums, sizeof *chance, error);
    if (!chance)
        return -1;
    chance[0] = 1;
    for (size_t i = 0; i < count; i++)
        for (size_t s = sums; s-- > 0;)
            chance[s] = 0.5 * (chance[s] + (s >= (size_t)values[i].twice ? chance[s - (size_t)values[i].twice] : 0));
    double below = 0, above = 0;
    for (size_t s = 0; s < sums; s++) {
        below += (int64_t)s <= sum ? chance[s] : 0;
        above += (int64_t)s >= sum ? chance[s] : 0;
    }
    free(chance);
    *p = fmin(1, 2 * fmin(below, above));
    return 0;
}

int dbi_signed_rank(const double *differences, size_t count, double *p, dbi_error *error)
{
    ranked *values = dbi_alloc(count, sizeof *values, error);
    if (!values)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (differences[i] != 0)
            values[n++] = (ranked){.size = fabs(differences[i]), .positive = differences[i] > 0};
    const double ties = rank(values, n);
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i].positive ? values[i].twice : 0;
    int status = 0;
    if (n == 0) {
        *p = 1;
    } else if (n <= DBI_SIGNED_RANK_EXACT) {
        status = exact(values, n, sum, p, error);
    } else {
        const double m = (double)n, mean = m * (m + 1) / 4, variance = m * (m + 1) * (2 * m + 1) / 24 - ties / 48;
        *p = erfc(fabs((double)sum / 2 - mean) / sqrt(2 * variance));
    }
    free(values);
    return status;
}
