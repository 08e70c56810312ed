#include "distance/blur.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "base/memory.h"

/* Weights 0 to radius of the kernel, which is even. */
static double *make_kernel(double sigma, int64_t radius, dbi_error *error)
{
    double *kernel = dbi_alloc((size_t)radius + 1, sizeof *kernel, error), sum = 0;
    if (!kernel)
        return NULL;
    for (int64_t k = 0; k <= radius; k++) {
        kernel[k] = exp(-0.5 * (double)(k * k) / (sigma * sigma));
        sum += k ? 2 * kernel[k] : kernel[k];
    }
    for (int64_t k = 0; k <= radius; k++)
        kernel[k] /= sum;
    return kernel;
}

static int64_t clamp(int64_t i, int64_t n)
{
    return i < 0 ? 0 : i < n ? i : n - 1;
}

/* The middle axis of in [before, n, after]; sum: one row of `after`. */
DBI_CLONES static void blur_axis(const float *in, int64_t before, int64_t n, int64_t after, const double *kernel,
                                 int64_t radius, double *sum, float *out)
{
    for (int64_t b = 0; b < before; b++)
        for (int64_t i = 0; i < n; i++) {
            memset(sum, 0, (size_t)after * sizeof *sum);
            for (int64_t k = -radius; k <= radius; k++) {
                const float *from = in + (b * n + clamp(i + k, n)) * after;
                const double weight = kernel[k < 0 ? -k : k];
                for (int64_t a = 0; a < after; a++)
                    sum[a] += weight * (double)from[a];
            }
            for (int64_t a = 0; a < after; a++)
                out[(b * n + i) * after + a] = (float)sum[a];
        }
}

int dbi_gaussian_blur(const int64_t shape[3], double sigma, float *v, dbi_error *error)
{
    int64_t count;
    if (!(sigma >= 0) || !(sigma <= 1000))
        return dbi_fail(error, "a blur of %g voxels is not from 0 to 1000", sigma);
    if (!dbi_count(shape, 3, &count))
        return dbi_fail(error, "impossible shape [%lld,%lld,%lld]", (long long)shape[0], (long long)shape[1],
                        (long long)shape[2]);
    if (sigma == 0 || !count)
        return 0;
    const int64_t radius = (int64_t)(4 * sigma + 0.5);
    double *kernel = make_kernel(sigma, radius, error),
           *sum = kernel ? dbi_alloc((size_t)count, sizeof *sum, error) : NULL;
    float *other = sum ? dbi_alloc((size_t)count, sizeof *other, error) : NULL;
    if (other) {
        blur_axis(v, 1, shape[0], shape[1] * shape[2], kernel, radius, sum, other);
        blur_axis(other, shape[0], shape[1], shape[2], kernel, radius, sum, v);
        blur_axis(v, shape[0] * shape[1], shape[2], 1, kernel, radius, sum, other);
        memcpy(v, other, (size_t)count * sizeof *v);
    }
    free(kernel);
    free(sum);
    free(other);
    return other ? 0 : -1;
}
