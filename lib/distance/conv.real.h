/* The soft distance by exponential kernels, the transform of the DBiSL paper (arXiv 2602.09378). */
#pragma once
#include <stdint.h>

#include "base/error.h"
#include "base/real.h"
#include "distance/transform.h"

/* log_in[x] = log sum_y p(y) exp(-|x-y|/h) and log_out[x] the same of 1 - p, over the y of the window round x;
 * -INFINITY where nothing but zeros is in reach. All [X,Y,Z]. p is clamped to [0, 1]. */
int dbi_conv_logs_f32(const dbi_transform *transform, const int64_t shape[3], const real *p, real *log_in,
                      real *log_out, dbi_error *error);
/* dp = the gradient of S = h (log_in - log_out), overwritten, given g = the loss's derivative by S, another array than
 * dp. */
int dbi_conv_gradient_f32(const dbi_transform *transform, const int64_t shape[3], const real *log_in,
                          const real *log_out, const real *g, real *dp, dbi_error *error);
