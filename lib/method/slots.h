/* The slots of the terms' sums among those of a voxel. A voxel is either labelled or unlabelled, so the terms of
 * labelled and of unlabelled samples share slots, which follow those of the terms of all samples. */
#ifndef DBI_METHOD_SLOTS_H
#define DBI_METHOD_SLOTS_H

#include "method/terms.h"

/* The number of sums that a form needs. */
enum { DBI_SUMS_OF_DICE = 4, DBI_SUMS_OF_SQUARE = 1, DBI_SUMS_OF_MASKED = 2 };

/* A row takes the slots of its form in the list of its own samples, and none in the other lists. */
#define DBI_TAKES(FORM, SAMPLES, WHICH) (DBI_SAMPLES_##SAMPLES == DBI_SAMPLES_##WHICH ? DBI_SUMS_OF_##FORM : 0)

enum {
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, ...)                                                 \
    DBI_ALL_##ID, DBI_ALL_LAST_##ID = DBI_ALL_##ID + DBI_TAKES(FORM, SAMPLES, ALL) - 1,
#include "method/terms.def"
    DBI_ALL_END
};

enum {
    DBI_LABELED_BEGIN = DBI_ALL_END - 1,
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, ...)                                                 \
    DBI_LABELED_##ID, DBI_LABELED_LAST_##ID = DBI_LABELED_##ID + DBI_TAKES(FORM, SAMPLES, LABELED) - 1,
#include "method/terms.def"
    DBI_LABELED_END
};

enum {
    DBI_UNLABELED_BEGIN = DBI_ALL_END - 1,
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, ...)                                                 \
    DBI_UNLABELED_##ID, DBI_UNLABELED_LAST_##ID = DBI_UNLABELED_##ID + DBI_TAKES(FORM, SAMPLES, UNLABELED) - 1,
#include "method/terms.def"
    /* The rest is for the log alone. */
    DBI_SLOT_WEIGHT, /* voxel weights, or the mask when there are no pseudo-targets */
    DBI_SLOT_BOTH,   /* voxels of both pseudo-label and truth; next: voxels of one plus voxels of the other */
    DBI_SLOT_EITHER,
    DBI_SLOT_WEIGHTED_BOTH, /* the same two, each voxel counted with its weight */
    DBI_SLOT_WEIGHTED_EITHER,
    DBI_UNLABELED_END
};

/* A term's first slot, DBI_SLOT_ID. */
enum {
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, ...) DBI_SLOT_##ID = (int)DBI_##SAMPLES##_##ID,
#include "method/terms.def"
    DBI_SLOTS = (int)DBI_LABELED_END > (int)DBI_UNLABELED_END ? (int)DBI_LABELED_END : (int)DBI_UNLABELED_END
};

#endif
