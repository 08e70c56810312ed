#include "method/terms.h"

#include <string.h>

const dbi_term_info dbi_terms[DBI_TERMS] = {
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, VOXELS, TIMES, COMPONENT)                            \
    [DBI_TERM_##ID] = {.name = NAME,                                                                                   \
                       .formula = FORMULA,                                                                             \
                       .form = DBI_FORM_##FORM,                                                                        \
                       .what = DBI_OF_##WHAT,                                                                          \
                       .against = DBI_OF_##AGAINST,                                                                    \
                       .samples = DBI_SAMPLES_##SAMPLES,                                                               \
                       .voxels = DBI_VOXELS_##VOXELS,                                                                  \
                       .times = DBI_TIMES_##TIMES,                                                                     \
                       .component = DBI_COMPONENT_##COMPONENT},
#include "method/terms.def"
};

/* Refuses rows that make no sense. Without these checks such a row would give a wrong loss and no error. */
#define STUDENT(QUANTITY)     (DBI_OF_##QUANTITY < DBI_STUDENT_QUANTITIES)
#define OF_LABEL(QUANTITY)    (DBI_OF_##QUANTITY == DBI_OF_LABEL || DBI_OF_##QUANTITY == DBI_OF_DISTANCE)
#define OTHER(QUANTITY)       (DBI_OF_##QUANTITY == DBI_OF_OTHER_P || DBI_OF_##QUANTITY == DBI_OF_OTHER_R)
#define PROBABILITY(QUANTITY) (DBI_OF_##QUANTITY == DBI_OF_P || DBI_OF_##QUANTITY == DBI_OF_A)
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, VOXELS, TIMES, COMPONENT)                            \
    _Static_assert(STUDENT(WHAT), NAME ": what is compared has to be the student's");                                  \
    _Static_assert(!OF_LABEL(AGAINST) || DBI_SAMPLES_##SAMPLES == DBI_SAMPLES_LABELED,                                 \
                   NAME ": only labelled samples have a label");                                                       \
    _Static_assert(STUDENT(AGAINST) || OF_LABEL(AGAINST) || OTHER(AGAINST) ||                                          \
                       DBI_SAMPLES_##SAMPLES == DBI_SAMPLES_UNLABELED,                                                 \
                   NAME ": only unlabelled samples have pseudo-targets");                                              \
    _Static_assert(!OTHER(AGAINST) || (DBI_FORM_##FORM == DBI_FORM_SQUARE &&                                           \
                                       DBI_OF_##WHAT == (DBI_OF_##AGAINST == DBI_OF_OTHER_P ? DBI_OF_P : DBI_OF_R)),   \
                   NAME ": decoders are compared by squares of one quantity, so that they can change places");         \
    _Static_assert(DBI_VOXELS_##VOXELS == DBI_VOXELS_ALIKE || DBI_SAMPLES_##SAMPLES == DBI_SAMPLES_UNLABELED,          \
                   NAME ": only unlabelled samples have voxel weights");                                               \
    _Static_assert(DBI_FORM_##FORM != DBI_FORM_DICE || (PROBABILITY(WHAT) && !STUDENT(AGAINST)),                       \
                   NAME ": Dice is of a probability and a label");
#include "method/terms.def"

int dbi_term_find(const char *name, size_t length)
{
    for (int t = 0; t < DBI_TERMS; t++)
        if (strlen(dbi_terms[t].name) == length && !memcmp(name, dbi_terms[t].name, length))
            return t;
    return -1;
}

bool dbi_term_needs(int term, dbi_term_quantity quantity)
{
    return dbi_terms[term].what == quantity || dbi_terms[term].against == quantity;
}

bool dbi_term_needs_pseudo(int term)
{
    return dbi_term_needs(term, DBI_OF_PSEUDO_LABEL) || dbi_term_needs(term, DBI_OF_PSEUDO_DISTANCE) ||
           dbi_terms[term].voxels == DBI_VOXELS_WEIGHTED;
}

bool dbi_term_needs_teacher(int term)
{
    return dbi_term_needs_pseudo(term) || dbi_term_needs(term, DBI_OF_TEACHER_P) ||
           dbi_terms[term].voxels == DBI_VOXELS_KEPT;
}

bool dbi_term_needs_exchange(int term)
{
    return dbi_term_needs(term, DBI_OF_OTHER_LABEL) || dbi_term_needs(term, DBI_OF_OTHER_DISTANCE) ||
           dbi_terms[term].voxels == DBI_VOXELS_AGREED;
}

bool dbi_term_needs_decoders(int term)
{
    return dbi_term_needs_exchange(term) || dbi_term_needs(term, DBI_OF_OTHER_P) ||
           dbi_term_needs(term, DBI_OF_OTHER_R);
}
