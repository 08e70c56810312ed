/* Sliding windows on the device: the scan and the means over its windows stay there, beside the network. */
#ifndef DBI_CUDA_SLIDE_H
#define DBI_CUDA_SLIDE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "predict/postprocess.h"
#include "predict/slide.h"

#include "net/net.h"
#include "net/weights.h"

/* The device has no room for scan and means: nothing was done, and dbi_slide_run will do. */
enum { DBI_CUDA_NO_ROOM = 1 };

/* What dbi_fuse_heads and dbi_label_probabilities make of the means: on the device, so that the means themselves need not come back. */
typedef struct dbi_slide_label {
    dbi_head head;
    double threshold;
    uint8_t *label; /* [X,Y,Z] of the scan */
} dbi_slide_label;

/* What dbi_slide_run does with the network for its function: as many windows at once as the net was opened for, added to the means one after
 * another in the same order. The scores' arrays and the label (or NULL) are written once, at the end. same_weights: as in dbi_pass. 0, -1, or
 * DBI_CUDA_NO_ROOM with the reason. */
int dbi_cuda_slide_run(struct dbi_cuda_host_net *net, const dbi_weights_f32 *weights, bool same_weights, const dbi_slide *slide, const float *image,
                       const dbi_scores *scores, const dbi_slide_label *label, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
