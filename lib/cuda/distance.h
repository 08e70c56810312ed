/* Signed distance maps on the device: the exact transform of labels, and the transforms of probabilities with their
 * gradients. Same values as distance/transform.h's to rounding, many maps at once. Nothing is allocated, waited for
 * or decided on the host after the arena is open, so that all of it can be recorded in a graph; equal inputs give
 * equal bytes. Maps are [X,Y,Z], one after another. */
#ifndef DBI_CUDA_DISTANCE_H
#define DBI_CUDA_DISTANCE_H

#include "cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

#include "distance/transform.real.h"

typedef struct dbi_cuda_transform dbi_cuda_transform;

/* For up to `maps` maps of this shape in one call. Adds what it needs to the arena (arena->bytes says how much),
 * which must be opened before the first call. gradient: dbi_cuda_transform_backward() will be called. NULL with an
 * error where a volume is too large for 32-bit numbers of edges. */
dbi_cuda_transform *dbi_cuda_transform_new(const dbi_transform *transform, const dbi_normalize *normalize,
                                           const int64_t shape[3], int64_t maps, bool gradient, dbi_arena *arena,
                                           dbi_error *error);
void dbi_cuda_transform_free(dbi_cuda_transform *t); /* NULL is allowed */

/* s = normalized signed distance of each probability map p; all in device memory, p and s different. */
int dbi_cuda_transform_forward(dbi_cuda_transform *t, dbi_stream stream, int64_t maps, const float *p, float *s,
                               dbi_error *error);
/* dp = (ds/dp)^T ds, overwritten, for the p and the number of maps of the last forward call. dp may be ds itself.
 * Values are finite for finite ds; where a map's ds is not finite, its dp is NaN or infinite somewhere. */
int dbi_cuda_transform_backward(dbi_cuda_transform *t, dbi_stream stream, const float *p, const float *ds, float *dp,
                                dbi_error *error);

/* The exact signed distance of every class 1 ... classes of `samples` labels: dbi_signed_distance() on the device. */
typedef struct dbi_cuda_sdf dbi_cuda_sdf;
dbi_cuda_sdf *dbi_cuda_sdf_new(const int64_t shape[3], const double spacing[3], const dbi_normalize *normalize,
                               int64_t samples, int64_t classes, dbi_arena *arena, dbi_error *error);
void dbi_cuda_sdf_free(dbi_cuda_sdf *sdf); /* NULL is allowed */
/* label [samples,X,Y,Z], out [samples,classes,X,Y,Z]. */
int dbi_cuda_sdf_run(dbi_cuda_sdf *sdf, dbi_stream stream, const uint8_t *label, float *out, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
