/* Batches made ahead of time. */
#ifndef DBI_COHORT_AHEAD_H
#define DBI_COHORT_AHEAD_H

#include "cohort/sampler.h"

/* Makes batches first, first + 1, ... first + count - 1 ahead of time. At most `ahead` of them are being made or are
 * waiting. Each is made by one thread; there are as many threads as OpenMP would use, but at most `ahead`. The sampler
 * must not be closed meanwhile. NULL with an error. */
typedef struct dbi_ahead dbi_ahead;
dbi_ahead *dbi_ahead_start(dbi_sampler *sampler, uint32_t first, uint32_t count, int ahead, dbi_error *error);
/* Returns 1 and the next batch, which the caller frees, 0 after the last, or -1 with an error. An error comes when all
 * batches before the one that could not be made are taken. */
int dbi_ahead_next(dbi_ahead *ahead, dbi_record **batch, dbi_error *error);
/* Waits for the batches that are being made, then frees everything. NULL is allowed. */
void dbi_ahead_stop(dbi_ahead *ahead);

#endif
