/* Sliding windows on the device: the scan and the means over its windows stay there, beside the network. */
#ifndef DBI_CUDA_SLIDE_H
#define DBI_CUDA_SLIDE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "cuda/host_net.h"
#include "device/slide.h"

/* What dbi_slide_run does with the network for its function: as many windows at once as the net was opened for, added
 * to the means one after another in the same order. The means' arrays and the label (or NULL) are written once, at the
 * end. same_weights: as in dbi_pass. 0, -1, or DBI_NO_ROOM with the reason. */
int dbi_cuda_slide_run(dbi_cuda_host_net *net, const dbi_weights_f32 *weights, bool same_weights,
                       const dbi_slide *slide, const float *image, const dbi_window_means *means,
                       const dbi_slide_label *label, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
