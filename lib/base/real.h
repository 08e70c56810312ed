/* The type of the arithmetic in sources and headers named *.real.c and *.real.h, which exist in two precisions. They
 * are written for single precision, with names that end in _f32. scripts/double-precision makes the double precision
 * version, *.f64.c and *.f64.h, with _f64 for _f32 and double for real. */
#ifndef DBI_BASE_REAL_H
#define DBI_BASE_REAL_H

typedef float real;

#endif
