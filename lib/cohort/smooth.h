/* Smooth random fields on a grid: random numbers on a coarse lattice, joined by cubic B-splines. */
#ifndef DBI_COHORT_SMOOTH_H
#define DBI_COHORT_SMOOTH_H

#include <stdint.h>

#include "base/error.h"
#include "base/random.h"

/* out [X,Y,Z] in C order: a field of mean 0 and variance about 1 whose structures are about `cell` wide, in the unit of
 * the spacing. Takes its numbers from `random`, as many as the lattice has points. Shapes below 1 or a cell that is not
 * positive are refused. */
int dbi_smooth_field(dbi_random *random, const int64_t shape[3], const double spacing[3], double cell, float *out,
                     dbi_error *error);

#endif
