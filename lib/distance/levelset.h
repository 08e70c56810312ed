/* The distance to the 1/2 level set of a probability map. */
#ifndef DBI_DISTANCE_LEVELSET_H
#define DBI_DISTANCE_LEVELSET_H

#include <stdint.h>

#include "base/error.h"

/* The gradient's floor: dS/dp at a foot is 1 / |grad p|, and |grad p| counts as at least this much per voxel. */
#define DBI_LEVELSET_FLOOR 0.05

#endif
