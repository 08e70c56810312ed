/* Makes a prediction's tensors of the means over windows. Tensors are [K,X,Y,Z] or [X,Y,Z], given by classes K and
 * voxels X*Y*Z. */
#ifndef DBI_PREDICT_POSTPROCESS_H
#define DBI_PREDICT_POSTPROCESS_H

#include <stdint.h>

#include "net/head.h"

/* Makes the probability and, if asked for, the uncertainty. seg and step: the two heads' probabilities [K,X,Y,Z]; the
 * one that neither `head` nor uncertainty needs may be NULL. prob [K,X,Y,Z] may be one of them; rounding of the means
 * is clipped to [0, 1]. uncertainty [X,Y,Z] or NULL: the mean over the classes of 1 - (1 - H(p) / ln 2) (1 - |p_seg -
 * p_sdf|), with H(p) = -p ln p - (1-p) ln(1-p). It is 0 where p is 0 or 1 and the heads agree, and 1 where p is 1/2 or
 * the heads contradict each other. Training weights pseudo-labels by the same two quantities. */
void dbi_fuse_heads(dbi_head head, int64_t classes, int64_t voxels, const float *seg, const float *step, float *prob,
                    float *uncertainty);

/* Sets label to the class (1..K) of the largest probability above the threshold, the first of equal ones, or to 0 when
 * no probability is above it. */
void dbi_label_probabilities(const float *prob, int64_t classes, int64_t voxels, double threshold, uint8_t *label);

#endif
