/* Threads: OpenMP, one team for the whole program; in dbisl-sample one for each thread that makes batches
 * (cohort/ahead.c). */
#ifndef DBI_BASE_PARALLEL_H
#define DBI_BASE_PARALLEL_H

#include <omp.h>

/* Sets the number of threads of all parallel loops of the calling thread; 0: OpenMP's own choice, which is
 * OMP_NUM_THREADS or all the cores that this process may use. Results may depend on it in the last bits, never on
 * timing: what a turn of a loop computes is the same whichever thread takes it, and sums are added in a fixed order.
 * Loops over large pieces hand them out as threads become free: cores are seldom equally fast. */
static inline void dbi_set_threads(int threads)
{
    if (threads > 0)
        omp_set_num_threads(threads);
}

#endif
