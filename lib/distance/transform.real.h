#pragma once
#include "base/real.h"
#include "distance/transform.h"

/* s = normalized signed distance (positive inside, in voxels before the normalization) of one probability map p,
 * both [X,Y,Z]. *tape: what the backward pass needs, allocated here when tape is not NULL and freed with
 * dbi_tape_free_f32; NULL: no gradient will be asked for. */
typedef struct dbi_tape_f32 dbi_tape_f32;
int dbi_transform_forward_f32(const dbi_transform *transform, const dbi_normalize *normalize, const int64_t shape[3],
                              const real *p, real *s, dbi_tape_f32 **tape, dbi_error *error);
/* dp = (ds/dp)^T ds, overwritten; dp may be ds itself. Every value is finite for finite ds, whatever p in [0, 1].
 * Maxima of `max` normalization count as constants. */
int dbi_transform_backward_f32(const dbi_tape_f32 *tape, const real *ds, real *dp, dbi_error *error);
void dbi_tape_free_f32(dbi_tape_f32 *tape);
