/* Included last by the sources that are compiled for float and for double (*.real.c, with -DDBI_REAL_BITS=32 and 64): `real` is the type of
 * the arithmetic, R(name) the name of a function or type in that precision. */
#if DBI_REAL_BITS == 64
#define real    double
#define R(name) name##_f64
#elif DBI_REAL_BITS == 32
#define real    float
#define R(name) name##_f32
#else
#error "compile a .real.c file with -DDBI_REAL_BITS=32 or 64"
#endif
