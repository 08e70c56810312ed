/* The numbers of a normalization, per channel, in double precision: the same on every device. With z a channel's values
 * (convolved, without the bias) and x = (z - mean) / deviation, a layer gives y = scale (z - mean) + shift, scale =
 * gamma / deviation, shift = beta (Ioffe and Szegedy 2015). */
#ifndef DBI_NET_NORM_MATH_H
#define DBI_NET_NORM_MATH_H

#include <math.h>
#include <stdbool.h>

#include "base/host_device.h"

/* PyTorch's BatchNorm3d: what is added to a variance, and a batch's share in the running statistics. */
#define DBI_NORM_EPSILON       1e-5
#define DBI_NORM_RUNNING_SHARE 0.1

/* 1 / deviation. */
DBI_HD double dbi_norm_inverse(double variance)
{
    return 1 / sqrt(variance + DBI_NORM_EPSILON);
}

/* A running mean after a batch whose mean, with the convolution's bias, is `mean`. */
DBI_HD double dbi_norm_running_mean(double running, double mean)
{
    return (1 - DBI_NORM_RUNNING_SHARE) * running + DBI_NORM_RUNNING_SHARE * mean;
}

/* A running variance, which is unbiased, after a batch of `count` values with a (biased) variance. */
DBI_HD double dbi_norm_running_variance(double running, double variance, double count)
{
    return (1 - DBI_NORM_RUNNING_SHARE) * running + DBI_NORM_RUNNING_SHARE * variance * count / (count - 1);
}

/* What the backward pass makes of a channel's sums over dy: the gradients of gamma, beta and the convolution's bias,
 * and the factors of dz = scale dy + by_z (z - mean) + constant. */
typedef struct dbi_norm_gradient {
    double gamma, beta, bias, by_z, constant;
} dbi_norm_gradient;

/* sum = sum of dy, dot = sum of dy (z - mean), over `count` values. own: mean and deviation are those of these values,
 * and dz = scale (dy - mean(dy) - x mean(dy x)); otherwise they are constants, and dz = scale dy. */
DBI_HD dbi_norm_gradient dbi_norm_gradient_of(bool own, double sum, double dot, double inverse, double scale,
                                              double count)
{
    dbi_norm_gradient g;
    g.gamma = dot * inverse;
    g.beta = sum;
    g.bias = own ? 0 : scale * sum; /* a mean of these values takes the bias out again */
    g.by_z = own ? -scale * inverse * inverse * dot / count : 0;
    g.constant = own ? -scale * sum / count : 0;
    return g;
}

#endif
