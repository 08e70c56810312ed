#include "cohort/smooth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Along an axis the sum of the squared cubic B-spline weights is 151/315 in the mean over all positions. The inverse
 * root of its third power makes the variance 1. */
#define UNIT_VARIANCE 3.0130

static int64_t lattice_points(int64_t size, double spacing, double cell)
{
    return (int64_t)floor((double)(size - 1) * spacing / cell) + 4;
}

/* The four weights of the lattice points round x = i * spacing / cell. Returns the index of the first point. */
static int64_t spline_weights(double x, float w[4])
{
    double base = floor(x), t = x - base, u = 1 - t;
    w[0] = (float)(u * u * u / 6);
    w[1] = (float)((3 * t * t * t - 6 * t * t + 4) / 6);
    w[2] = (float)((3 * u * u * u - 6 * u * u + 4) / 6);
    w[3] = (float)(t * t * t / 6);
    return (int64_t)base;
}

/* Interpolates along the middle axis of in [before, points, after], from lattice points to `size` grid points: out
 * [before, size, after]. */
static void expand(const float *in, int64_t before, int64_t points, int64_t after, int64_t size, double step,
                   float *out)
{
    for (int64_t b = 0; b < before; b++)
        for (int64_t i = 0; i < size; i++) {
            float w[4];
            const float *from = in + (b * points + spline_weights((double)i * step, w)) * after;
            float *to = out + (b * size + i) * after;
            for (int64_t a = 0; a < after; a++)
                to[a] =
                    w[0] * from[a] + w[1] * from[after + a] + w[2] * from[2 * after + a] + w[3] * from[3 * after + a];
        }
}

int dbi_smooth_field(dbi_random *random, const int64_t shape[3], const double spacing[3], double cell, float *out,
                     dbi_error *error)
{
    int64_t points[3];
    for (int a = 0; a < 3; a++) {
        if (shape[a] < 1 || !(spacing[a] > 0) || !(cell > 0))
            return dbi_fail(error, "a smooth field needs positive sizes");
        points[a] = lattice_points(shape[a], spacing[a], cell);
    }
    int64_t lattice = points[0] * points[1] * points[2];
    float *coarse = dbi_alloc((size_t)lattice, sizeof *coarse, error);
    float *along_z = coarse ? dbi_alloc((size_t)(points[0] * points[1] * shape[2]), sizeof *along_z, error) : NULL;
    float *along_y = along_z ? dbi_alloc((size_t)(points[0] * shape[1] * shape[2]), sizeof *along_y, error) : NULL;
    if (along_y) {
        for (int64_t i = 0; i < lattice; i++)
            coarse[i] = (float)(UNIT_VARIANCE * dbi_random_normal(random));
        expand(coarse, points[0] * points[1], points[2], 1, shape[2], spacing[2] / cell, along_z);
        expand(along_z, points[0], points[1], shape[2], shape[1], spacing[1] / cell, along_y);
        expand(along_y, 1, points[0], shape[1] * shape[2], shape[0], spacing[0] / cell, out);
    }
    free(coarse);
    free(along_z);
    int result = along_y ? 0 : -1;
    free(along_y);
    return result;
}
