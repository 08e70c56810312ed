/* From the means over windows to what a user asked for. Tensors are [K,X,Y,Z] or [X,Y,Z], given by classes K and voxels
 * X*Y*Z. */
#ifndef DBI_PREDICT_POSTPROCESS_H
#define DBI_PREDICT_POSTPROCESS_H

#include <stdint.h>

#include "net/head.h"

/* seg and step: the two heads' probabilities; the one that neither `head` nor uncertainty needs may be NULL. prob
 * [K,X,Y,Z] may be one of them. Rounding of the means is clipped to [0, 1]. uncertainty [X,Y,Z] or NULL: mean over the
 * classes of 1 - (1 - H(p) / ln 2) (1 - |p_seg - p_sdf|), with H(p) = -p ln p - (1-p) ln(1-p): 0 where p is 0 or 1 and
 * the heads agree, 1 where p is 1/2 or the heads contradict each other; training weighs pseudo-labels by the same two
 * quantities. */
void dbi_fuse_heads(dbi_head head, int64_t classes, int64_t voxels, const float *seg, const float *step, float *prob,
                    float *uncertainty);

/* label = the class (1..K) of the largest probability among those above the threshold, the first one of equal ones, or
 * 0. */
void dbi_label_probabilities(const float *prob, int64_t classes, int64_t voxels, double threshold, uint8_t *label);

#endif
