/* The numbers of a normalization, in double precision: the same on every device. With z a channel's values (convolved,
 * without the bias) and x = (z - mean) / deviation, a layer gives y = scale (z - mean) + shift, scale = gamma /
 * deviation, shift = beta. Mean and deviation are a channel's over the batch (Ioffe and Szegedy 2015), or a group of
 * channels', each sample by itself (Wu and He 2018); with groups of one channel that is normalization by instance. */
#ifndef DBI_NET_NORM_MATH_H
#define DBI_NET_NORM_MATH_H

#include <math.h>
#include <stdbool.h>

#include "base/host_device.h"

/* PyTorch's: what is added to a variance, and a batch's share in the running statistics. */
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

/* ---- Groups of channels of one sample ---- */

typedef struct dbi_norm_group {
    double mean, inverse; /* inverse: 1 / deviation */
} dbi_norm_group;

/* A group of `width` channels with as many values each, from the mean and (biased) variance of each channel. The means
 * are with the convolutions' biases, which differ between the channels; a group of one channel takes its bias out
 * again. */
DBI_HD dbi_norm_group dbi_norm_group_of(const double *mean, const double *variance, int width)
{
    dbi_norm_group g;
    double sum = 0, squares = 0;
    for (int i = 0; i < width; i++)
        sum += mean[i];
    g.mean = sum / width;
    for (int i = 0; i < width; i++)
        squares += variance[i] + (mean[i] - g.mean) * (mean[i] - g.mean);
    g.inverse = dbi_norm_inverse(squares / width);
    return g;
}

/* The factors of dz = scale dy + by_z (z - mean) + constant, the same for all channels of a group of `count` values. */
typedef struct dbi_norm_group_gradient {
    double by_z, constant;
} dbi_norm_group_gradient;

/* sum and dot: of scale dy and of scale dy (z - mean) over the group. */
DBI_HD dbi_norm_group_gradient dbi_norm_group_gradient_of(double sum, double dot, double inverse, double count)
{
    dbi_norm_group_gradient g;
    g.by_z = -inverse * inverse * dot / count;
    g.constant = -sum / count;
    return g;
}

/* The gradient of a channel's bias in a group of several, Σ dz: sum = Σ dy over the channel's `count` values, whose
 * mean is `away` from the group's. */
DBI_HD double dbi_norm_group_bias(double scale, double sum, double by_z, double constant, double away, double count)
{
    return scale * sum + count * (by_z * away + constant);
}

#endif
