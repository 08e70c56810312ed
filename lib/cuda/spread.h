/* Transposed convolutions of 2x2x2 at a stride of 2 between few channels in bfloat16, on tensor cores: each voxel of y
 * becomes 8 of x, which are written once, normalized or with their moments on the way. */
#ifndef DBI_CUDA_SPREAD_H
#define DBI_CUDA_SPREAD_H

#include "cuda/conv.h"
#include "cuda/direct.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dbi_spread_plan {
    const struct dbi_spread_variant *variant;
    dbi_conv_sides sides;
    int64_t blocks; /* also the chunks of the moments */
} dbi_spread_plan;

/* false: these kernels do not do this convolution's pass to x, or not on the current device; *plan is then undefined.
 */
bool dbi_spread_make(dbi_spread_plan *plan, const dbi_conv_sides *sides);

/* Overwrites x from y. extra: or NULL; no heads. */
int dbi_spread(const dbi_spread_plan *plan, dbi_stream stream, void *x, const void *weight, const void *y,
               const dbi_conv_extra *extra, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
