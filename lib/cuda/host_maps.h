/* Signed distance maps on the device for callers with arrays of the host. */
#ifndef DBI_CUDA_HOST_MAPS_H
#define DBI_CUDA_HOST_MAPS_H

#ifdef __cplusplus
extern "C" {
#endif

#include "cuda/device.h"
#include "distance/normalize.h"

/* out [classes,X,Y,Z]: the maps of `label` u8 [X,Y,Z] or, where that is NULL, of `prob` [classes,X,Y,Z]; spacing of one
 * voxel. Values as dbi_record_add_sdf computes them, to rounding. */
int dbi_cuda_host_maps(const dbi_device *device, const uint8_t *label, const float *prob,
                       const dbi_transform *transform, const dbi_normalize *normalize, const int64_t shape[3],
                       int64_t classes, float *out, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
