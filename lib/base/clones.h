/* DBI_CLONES before a function: compiled for several x86-64 levels, the best one chosen when the program starts. The
 * loops stay plain C. Not under sanitizers (their start-up comes after the choice) nor with other compilers. */
#ifndef DBI_BASE_CLONES_H
#define DBI_BASE_CLONES_H

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(DBI_NO_CLONES)
#define DBI_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define DBI_CLONES
#endif

/* Before a function that clones call: left to itself the compiler may make one function of it for all of them, for the
 * oldest processor. */
#define DBI_INLINE static inline __attribute__((always_inline))

#endif
