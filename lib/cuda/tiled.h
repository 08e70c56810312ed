/* Convolutions of 3x3x3 between few channels in bfloat16, on tensor cores: where cuDNN's kernels reach a tenth of what
 * the device can do. A block keeps a tile of 8x8x8 voxels, and the border that its taps reach, in shared memory, and
 * all the weights; it works on several tiles, one after another. Sums are added in a fixed order: equal bytes from run
 * to run on one kind of GPU. */
#ifndef DBI_CUDA_TILED_H
#define DBI_CUDA_TILED_H

#include "cuda/conv.h"
#include "cuda/direct.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How one pass of one convolution is done. */
typedef struct dbi_tiled_plan {
    const struct dbi_tiled_variant *variant;
    dbi_conv_pass pass;
    dbi_conv_sides sides;
    int64_t blocks; /* also the chunks of the moments */
    size_t workspace;
} dbi_tiled_plan;

/* false: these kernels do not do this convolution, or not on the current device; *plan is then undefined. */
bool dbi_tiled_make(dbi_tiled_plan *plan, dbi_conv_pass pass, const dbi_conv_sides *sides);

/* Can it do extra.heads? */
bool dbi_tiled_has_heads(const dbi_tiled_plan *plan);

/* Bytes of shared memory that a block takes. */
size_t dbi_tiled_shared(const dbi_tiled_plan *plan);

/* Overwrites y, x or weight from the other two. extra: for DBI_CONV_TO_Y alone, or NULL. */
int dbi_tiled(const dbi_tiled_plan *plan, dbi_stream stream, void *x, void *weight, void *y,
              const dbi_conv_extra *extra, void *workspace, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
