/* A tensor in four numbers, for showing. */
#ifndef DBI_RECORD_SUMMARY_H
#define DBI_RECORD_SUMMARY_H

#include "record/record.h"

typedef struct dbi_summary {
    double min, max, mean; /* of the finite elements; NaN when there is none */
    size_t nonfinite;
} dbi_summary;

/* The summary of a tensor of any type. Elements are taken as doubles: integers beyond 2^53 are rounded, BOOL is 0 or
 * 1. */
dbi_summary dbi_tensor_summary(const dbi_tensor *tensor);

#endif
