/* Declares one interface for float and for double: includes DBI_REAL_HEADER twice, with `real` the type and R(name) the name of a function or
 * type (name_f32, name_f64). The sources (*.real.c) are compiled twice in the same way, see base/real.h. */
#define real    float
#define R(name) name##_f32
#include DBI_REAL_HEADER
#undef real
#undef R
#define real    double
#define R(name) name##_f64
#include DBI_REAL_HEADER
#undef real
#undef R
#undef DBI_REAL_HEADER
