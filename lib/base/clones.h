/* DBI_CLONES before a function makes the compiler build it for several x86-64 levels; the program chooses the best one
 * when it starts. The loops stay plain C. DBI_CLONES_16 is for loops over vectors of 16 floats, which are long in code
 * and seldom used where the processor has none. Both are off under sanitizers, whose start-up comes after the choice,
 * and with other compilers. */
#ifndef DBI_BASE_CLONES_H
#define DBI_BASE_CLONES_H

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(DBI_NO_CLONES)
#define DBI_CLONES    __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#define DBI_CLONES_16 __attribute__((target_clones("default", "arch=x86-64-v4")))
#else
#define DBI_CLONES
#define DBI_CLONES_16
#endif

/* For a function that clones call. Without it the compiler may build the function once, for the oldest processor, and
 * all clones would call that one. */
#define DBI_INLINE static inline __attribute__((always_inline))

#endif
