/* Divides cases into labelled, unlabelled, validation and test parts. */
#ifndef DBI_COHORT_SPLIT_H
#define DBI_COHORT_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "cohort/manifest.h"

typedef struct dbi_split_settings {
    const char *list[DBI_PARTS]; /* files with the ids of a part, one a line; NULL: by number */
    int64_t count[DBI_PARTS]; /* how many of the cases that are in no list. -1: for labelled all the rest with a label,
                                 for unlabelled all the rest, otherwise none. For unlabelled it is the most, for the
                                 others the exact number */
    int fold, folds;          /* fold number `fold` (from 1) of `folds` is the validation part; folds 0: none */
    bool shuffle;             /* take the cases in random order; false: in the given order */
    uint64_t seed;
} dbi_split_settings;

/* No lists, every number -1, no folds, the given order. */
dbi_split_settings dbi_split_defaults(void);

/* Reads the header of every case and assigns the cases to parts; free the manifest. Lists come first. Of the other
 * cases that have a label, in their order, test cases are taken from the end, validation cases before them, and
 * labelled cases from the beginning; all the rest is unlabelled. Folds are made of what lists and test cases leave, in
 * pieces as equal as possible. A random order is a shuffle of the sorted ids, so it does not depend on the given order.
 * With a list of unlabelled cases, those that no part takes are left out of the manifest. Rows are ordered by part, as
 * in dbi_part. Errors: not a case, ids that occur twice or are unknown, an id in two lists, a case without label in the
 * labelled list, too few cases, cases of different preprocessing, channels or classes. */
int dbi_split(const char *const *cases, size_t count, const dbi_split_settings *settings, dbi_manifest *manifest,
              dbi_error *error);

#endif
