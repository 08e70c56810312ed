/* Kernels of the CPU device on blocked activations: [batch, channels / LANES rounded up, voxels, LANES], LANES channels
 * side by side as the lanes of a vector. Lanes past the channels hold zeros and stay zero. Sums are taken per chunk in
 * single precision and added in double, in an order that depends on the shape alone: results are the same for any
 * number of threads. */
#ifndef DBI_CPU_BLOCKED_H
#define DBI_CPU_BLOCKED_H

#include "cpu/backend.real.h"

/* Voxels of one partial sum. */
enum { DBI_CHUNK = 1024 };

/* An activation's shape. */
typedef struct dbi_blocked {
    int64_t batch, size[3];
    int channels;
} dbi_blocked;

/* The kernels for one number of lanes. partial: working memory, floats: dbi_blocked_partials(). */
typedef struct dbi_blocked_kernels {
    int lanes;
    /* Over the whole batch. */
    void (*moments)(const dbi_blocked *at, const float *z, float *partial, double *mean, double *variance);
    void (*normalize)(const dbi_blocked *at, const float *z, const dbi_norm_f32 *norm, float *a);
    void (*normalize_sums)(const dbi_blocked *at, const float *z, const dbi_norm_f32 *norm, const float *da,
                           const float *da_skip, float *partial, double *sum, double *dot);
    void (*normalize_gradient)(const dbi_blocked *at, float *z, const dbi_norm_f32 *norm, const float *da,
                               const float *da_skip, const float *by_dy, const float *by_z, const float *constant);
    void (*heads)(const dbi_blocked *at, int classes, const float *z, const dbi_norm_f32 *norm,
                  const dbi_heads_f32 *heads, float *logits, float *sdf);
    void (*heads_sums)(const dbi_blocked *at, int classes, const float *z, const dbi_norm_f32 *norm,
                       const dbi_heads_f32 *heads, const float *dlogits, const float *dr, float *partial, double *sum,
                       double *dot, const dbi_heads_gradient_f32 *gradient);
    void (*heads_gradient)(const dbi_blocked *at, int classes, float *z, const dbi_norm_f32 *norm,
                           const dbi_heads_f32 *heads, const float *dlogits, const float *dr, const float *by_dy,
                           const float *by_z, const float *constant);
    /* The first layer: 3^3, from an image padded by dbi_image_pad. at: the output. weight [channels,C,3,3,3] plain. */
    void (*first)(const dbi_blocked *at, int image_channels, const float *padded, const float *weight, float *z);
    void (*first_weight_gradient)(const dbi_blocked *at, int image_channels, const float *padded, const float *dz,
                                  float *partial, float *dweight);
} dbi_blocked_kernels;

extern const dbi_blocked_kernels dbi_blocked_8, dbi_blocked_16;

/* Floats of working memory that any of the kernels needs for this activation. */
size_t dbi_blocked_partials(const dbi_blocked *at, int lanes, int classes, int image_channels);

/* An image with a border of zeros, so that a 3^3 kernel needs no edges: [batch,C,X + 2,Y + 2,row], row >= Z + 2 with
 * room to read on. */
size_t dbi_image_padded_count(int64_t batch, int channels, const int64_t size[3]);
void dbi_image_pad(int64_t batch, int channels, const int64_t size[3], const float *image, float *padded);

/* Sums of a plain [batch,K,X,Y,Z] over all but K. */
void dbi_channel_sums(int64_t batch, int channels, const int64_t size[3], const float *values, float *partial,
                      float *sums);

#endif
