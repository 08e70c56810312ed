/* Makes a prediction's tensors of the means over windows. Tensors are [K,X,Y,Z] or [X,Y,Z], given by classes K and
 * voxels X*Y*Z. */
#ifndef DBI_PREDICT_POSTPROCESS_H
#define DBI_PREDICT_POSTPROCESS_H

#include <stdint.h>

#include "net/head.h"

/* The probabilities that a decoder's two heads give, [K,X,Y,Z] each. */
typedef struct dbi_head_pair {
    const float *seg, *step;
} dbi_head_pair;

/* Makes the probability, the mean over the decoders, and, if asked for, the uncertainty. heads: [decoders]; the one of
 * seg and step that neither `head` nor uncertainty needs may be NULL. prob [K,X,Y,Z] may be one of the inputs; rounding
 * of the means is clipped to [0, 1]. uncertainty [X,Y,Z] or NULL: the mean over the classes of 1 - (1 - H(p) / ln 2) (1
 * - D), with H(p) = -p ln p - (1-p) ln(1-p) and D the largest difference between two of all heads' probabilities. It is
 * 0 where p is 0 or 1 and the heads agree, and 1 where p is 1/2 or heads contradict each other. Training weights
 * pseudo-labels by the same two quantities. */
void dbi_fuse_heads(dbi_head head, int decoders, const dbi_head_pair *heads, int64_t classes, int64_t voxels,
                    float *prob, float *uncertainty);

/* The mean of two volumes, voxel by voxel. */
void dbi_mean_of_two(float *mean, const float *first, const float *second, int64_t count);

/* Sets label to the class (1..K) of the largest probability above the threshold, the first of equal ones, or to 0 when
 * no probability is above it. */
void dbi_label_probabilities(const float *prob, int64_t classes, int64_t voxels, double threshold, uint8_t *label);

#endif
