/* Batches made ahead of time. */
#ifndef DBI_COHORT_AHEAD_H
#define DBI_COHORT_AHEAD_H

#include "cohort/sampler.h"

/* Makes batches first, first + 1, ... first + count - 1 ahead of time, at most `ahead` of them being made or waiting,
 * each by one of as many threads as OpenMP would use, where so many can be ahead. The sampler must not be closed
 * meanwhile. */
typedef struct dbi_ahead dbi_ahead;
dbi_ahead *dbi_ahead_start(dbi_sampler *sampler, uint32_t first, uint32_t count, int ahead, dbi_error *error);
/* 1 and the next batch, 0 after the last, -1 on error: that of the first batch that could not be made, once those
 * before it are taken. */
int dbi_ahead_next(dbi_ahead *ahead, dbi_record **batch, dbi_error *error);
/* Stops after the batches that are being made. */
void dbi_ahead_stop(dbi_ahead *ahead);

#endif
