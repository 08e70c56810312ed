/* Random numbers: Philox4x32-10 of Random123 (Salmon et al., SC 2011). It is counter-based: a number depends on (seed,
 * role, step, stream, position) alone, and not on threads, order or device. */
#ifndef DBI_BASE_RANDOM_H
#define DBI_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* What a stream of numbers is for; two roles never share numbers. The values are part of the results: append, never
 * renumber. */
typedef enum dbi_role {
    DBI_ROLE_INIT = 1,      /* fresh weights; stream: index of the tensor */
    DBI_ROLE_SPLIT,         /* drawing cases into parts */
    DBI_ROLE_PHANTOM,       /* synthetic scans; step: case, stream: part of the scan */
    DBI_ROLE_LABELED,       /* labelled sample; step: batch, stream: index in the batch */
    DBI_ROLE_UNLABELED,     /* unlabelled sample; likewise */
    DBI_ROLE_DROPOUT,       /* student's dropout; step, stream: layer */
    DBI_ROLE_TEACHER_NOISE, /* noise on the teacher's input; step, stream: pass */
    DBI_ROLE_TEACHER_DROPOUT,
    DBI_ROLE_BOOTSTRAP,
    DBI_ROLE_TEST,
} dbi_role;

typedef struct dbi_random {
    uint32_t key[2], counter[4], block[4];
    int left; /* unused numbers at the end of block */
} dbi_random;

/* Starts a stream at its first number. */
void dbi_random_start(dbi_random *r, uint64_t seed, dbi_role role, uint32_t step, uint32_t stream);
/* Goes to the 32-bit number `position`, which is below 2^34, of the stream, so that threads can share one stream. */
void dbi_random_seek(dbi_random *r, uint64_t position);
/* The next 32-bit number of the stream. */
uint32_t dbi_random_u32(dbi_random *r);
/* Uniform in [0, bound) without bias; bound > 0. */
uint32_t dbi_random_below(dbi_random *r, uint32_t bound);
/* Uniform in [0, 1), 53 bits, from two numbers. */
double dbi_random_uniform(dbi_random *r);
/* Standard normal (Box-Muller, the cosine branch alone, from four numbers). */
double dbi_random_normal(dbi_random *r);

#endif
