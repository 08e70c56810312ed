#include "score/order.h"

static void swap(double *a, double *b)
{
    const double old = *a;
    *a = *b;
    *b = old;
}

static double median_of_three(double a, double b, double c)
{
    if (a > b)
        swap(&a, &b);
    return c < a ? a : c > b ? b : c;
}

/* Hoare's selection: afterwards v[k] is the value that sorting would put there, with no larger value before it and
 * no smaller one behind it. Equal values, which are common among distances, are exchanged, so that they split into
 * halves. */
static void place(double *v, size_t n, size_t k)
{
    size_t low = 0, high = n - 1;
    while (low < high) {
        const double pivot = median_of_three(v[low], v[low + (high - low) / 2], v[high]);
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

double dbi_quantile(double *values, size_t n, double q)
{
    const double rank = q * (double)(n - 1);
    const size_t k = (size_t)rank;
    place(values, n, k);
    if (k + 1 == n)
        return values[k];
    double next = values[k + 1];
    for (size_t i = k + 2; i < n; i++)
        next = values[i] < next ? values[i] : next;
    return values[k] + (rank - (double)k) * (next - values[k]);
}
