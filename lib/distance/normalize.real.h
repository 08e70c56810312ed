#pragma once
#include "base/real.h"
#include "distance/normalize.h"

/* Normalizes a signed distance map s [X,Y,Z] in place; +-INFINITY where the volume has one side only. The inside is
 * where s > 0. slope (NULL: not wanted): the derivative of each new value by the old one, the maxima of `max` taken
 * as constants; 0 where a value was clipped or set. */
int dbi_normalize_apply_f32(const dbi_normalize *normalize, const int64_t shape[3], const double spacing[3], real *s,
                            real *slope, dbi_error *error);
