/* Threads are OpenMP's. A program has one team of threads; dbisl-sample has one for each thread that makes batches
 * (cohort/ahead.c). */
#ifndef DBI_BASE_PARALLEL_H
#define DBI_BASE_PARALLEL_H

#include <omp.h>

/* Sets the number of threads of all parallel loops of the calling thread. 0 leaves it to OpenMP: OMP_NUM_THREADS, or
 * all the cores that this process may use. Results may depend on the number in their last bits, but never on timing: an
 * iteration of a loop computes the same whichever thread runs it, and sums are added in a fixed order. Loops over large
 * pieces hand out a piece whenever a thread is free, because cores are seldom equally fast. */
static inline void dbi_set_threads(int threads)
{
    if (threads > 0)
        omp_set_num_threads(threads);
}

#endif
