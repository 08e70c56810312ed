/* Gaussian blur of a volume. */
#ifndef DBI_DISTANCE_BLUR_H
#define DBI_DISTANCE_BLUR_H

#include <stdint.h>

#include "base/error.h"

/* Convolves v [X,Y,Z] in place with a Gaussian of standard deviation sigma, in voxels (0: leaves it as it is), cut
 * off at 4 sigma; the outermost voxels go on beyond the volume. */
int dbi_gaussian_blur(const int64_t shape[3], double sigma, float *v, dbi_error *error);

#endif
