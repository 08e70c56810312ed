/* s = normalized signed distance (positive inside, in voxels before the normalization) of one probability map p, both [X,Y,Z]. *tape: what the
 * backward pass needs, allocated here when tape is not NULL and freed with R(dbi_tape_free); NULL: no gradient will be asked for. */
typedef struct R(dbi_tape) R(dbi_tape);
int R(dbi_transform_forward)(const dbi_transform *transform, const dbi_normalize *normalize, const int64_t shape[3], const real *p, real *s,
                             R(dbi_tape) * *tape, dbi_error *error);
/* dp += (ds/dp)^T ds. Every value is finite for finite ds, whatever p in [0, 1]. Maxima of `max` normalization count as constants. */
int R(dbi_transform_backward)(const R(dbi_tape) * tape, const real *ds, real *dp, dbi_error *error);
void R(dbi_tape_free)(R(dbi_tape) * tape);
