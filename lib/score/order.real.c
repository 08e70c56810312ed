#include "score/order.h"

#include <math.h>

#include "base/real.h"

static void swap(real *a, real *b)
{
    const real old = *a;
    *a = *b;
    *b = old;
}

static real median_of_three(real a, real b, real c)
{
    if (a > b)
        swap(&a, &b);
    return c < a ? a : c > b ? b : c;
}

/* Hoare's selection: afterwards v[k] is what it would be in sorted order, with nothing larger before and nothing smaller behind. Equal values, of
 * which distances have many, are exchanged, so that they split in halves. */
static void place(real *v, size_t n, size_t k)
{
    size_t low = 0, high = n - 1;
    while (low < high) {
        const real pivot = median_of_three(v[low], v[low + (high - low) / 2], v[high]);
        size_t i = low, j = high;
        for (;;) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i >= j)
                break;
            swap(&v[i++], &v[j--]);
        }
        /* v[low..i-1] <= pivot <= v[i..high] */
        if (k < i)
            high = i - 1;
        else if (i > low)
            low = i;
        else
            low++;
    }
}

double R(dbi_quantile)(real *values, size_t n, double q)
{
    const double rank = q * (double)(n - 1);
    const size_t k = (size_t)rank;
    place(values, n, k);
    if (k + 1 == n)
        return (double)values[k];
    real next = values[k + 1];
    for (size_t i = k + 2; i < n; i++)
        next = values[i] < next ? values[i] : next;
    return (double)values[k] + (rank - (double)k) * ((double)next - (double)values[k]);
}
