/* The fast table of layers, in single precision: oneDNN and kernels of our own. */
#ifndef DBI_CPU_FAST_H
#define DBI_CPU_FAST_H

#include "cpu/backend.real.h"

extern const dbi_backend_f32 dbi_backend_fast;

#endif
