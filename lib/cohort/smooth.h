/* Smooth random fields on a grid: random numbers on a coarse lattice, joined by cubic B-splines. */
#ifndef DBI_COHORT_SMOOTH_H
#define DBI_COHORT_SMOOTH_H

#include <stdint.h>

#include "base/error.h"
#include "base/random.h"

/* Fills out [X,Y,Z], C order, with a field of mean 0 and variance about 1. Its structures are about `cell` wide, in the
 * unit of the spacing. Takes one number from `random` for each lattice point. Shapes below 1 and spacings and cells
 * that are not positive are errors. */
int dbi_smooth_field(dbi_random *random, const int64_t shape[3], const double spacing[3], double cell, float *out,
                     dbi_error *error);

#endif
