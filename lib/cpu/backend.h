/* What is the same for both tables of layers, in single and in double precision. */
#ifndef DBI_CPU_BACKEND_H
#define DBI_CPU_BACKEND_H

#include "net/pass.h"

/* Nothing here handles channels in larger groups. */
enum { DBI_LANES = 16 };

#endif
