/* Where a term's sums are among those of a voxel. Terms of the labelled and of the unlabelled samples never meet in
 * one voxel: they share slots, behind those of the terms of all samples. */
#ifndef DBI_METHOD_SLOTS_H
#define DBI_METHOD_SLOTS_H

#include "method/terms.h"

/* Sums that a form needs. */
enum { DBI_SUMS_OF_DICE = 4, DBI_SUMS_OF_SQUARE = 1, DBI_SUMS_OF_MASKED = 2 };

/* Each row takes as many as its form needs, if it is of these samples, and none else. */
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
    /* for the log alone */
    DBI_SLOT_WEIGHT, /* voxel weights, or the mask where there are no pseudo-targets */
    DBI_SLOT_BOTH,   /* voxels that pseudo-label and truth have in common, and of both together */
    DBI_SLOT_EITHER,
    DBI_SLOT_WEIGHTED_BOTH, /* the same with each voxel counted as much as its weight */
    DBI_SLOT_WEIGHTED_EITHER,
    DBI_UNLABELED_END
};

/* A term's first slot: DBI_SLOT_ and its name. */
enum {
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, ...) DBI_SLOT_##ID = (int)DBI_##SAMPLES##_##ID,
#include "method/terms.def"
    DBI_SLOTS = (int)DBI_LABELED_END > (int)DBI_UNLABELED_END ? (int)DBI_LABELED_END : (int)DBI_UNLABELED_END
};

#endif
