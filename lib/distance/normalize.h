/* Normalization of signed distance maps. */
#ifndef DBI_DISTANCE_NORMALIZE_H
#define DBI_DISTANCE_NORMALIZE_H

#include <stdint.h>

#include "base/error.h"
#include "distance/edt.h"

#endif
