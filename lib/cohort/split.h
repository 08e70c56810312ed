/* Cases -> labelled, unlabelled, validation and test parts. */
#ifndef DBI_COHORT_SPLIT_H
#define DBI_COHORT_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "cohort/manifest.h"

typedef struct dbi_split_settings {
    const char *list[DBI_PARTS]; /* files that name the ids of a part, one a line; NULL: by number */
    int64_t count[DBI_PARTS];    /* how many of the cases that no list names; -1: labelled: all that are left and have a
                                    label, unlabelled: all that    are left; for validation and test the same as 0. For
                                    unlabelled a most, for the others exactly so many */
    int fold, folds;             /* part `fold` (from 1) of `folds` is the validation part; folds 0: none */
    bool shuffle;                /* draw from the cases in random order; false: in the order given */
    uint64_t seed;
} dbi_split_settings;

/* Every list and number -1, no folds, order as given. */
dbi_split_settings dbi_split_defaults(void);

/* Reads the header of every case and assigns it. Lists first; of the other cases, in order, test cases are taken from
 * the end, validation cases before them, labelled ones from the beginning, each among those that have a label; the rest
 * is unlabelled. Folds are cut from what lists and test cases leave, in pieces as equal as can be. A random order is a
 * shuffle of the ids in sorted order: it does not depend on the order given. An unlabelled list leaves out of the
 * manifest what no part takes. Rows come by part, in that order. Errors: not a case, ids that are there twice or
 * unknown, an id in two lists, a case without label in the labelled list, too few cases, cases of different
 * preprocessing, channels or classes. */
int dbi_split(const char *const *cases, size_t count, const dbi_split_settings *settings, dbi_manifest *manifest,
              dbi_error *error);

#endif
