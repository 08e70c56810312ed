/* The soft distance by exponential kernels, the transform of the DBiSL paper (arXiv 2602.09378). */
#ifndef DBI_DISTANCE_CONV_H
#define DBI_DISTANCE_CONV_H

#include <stdint.h>

#include "base/error.h"
#include "distance/transform.real.h"

#endif
