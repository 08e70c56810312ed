/* The terms of the loss: what terms.def says of each, as enums and a table.
 *
 * With Y the label and R its signed distance, p the student's probability, r its signed distance,
 * T_r2s(r) = sigmoid(k r), T_s2r the transform of distance/transform.h, and y~, r~ the teacher's pseudo-label and
 * pseudo-distance:
 *   seg(q, y) = Dice loss 1 - (2 sum qy + e) / (sum q^2 + sum y^2 + e), e = 1e-5, sums over all samples of the term,
 *   averaged over the classes (optionally + cross-entropy);
 *   reg(a, b) = mean (a - b)^2. */
#ifndef DBI_METHOD_TERMS_H
#define DBI_METHOD_TERMS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum dbi_term {
#define DBI_TERM(ID, ...) DBI_TERM_##ID,
#include "method/terms.def"
    DBI_TERMS
} dbi_term;

/* How a term makes a number of two quantities; the arithmetic is in loss_math.real.h. */
typedef enum dbi_term_form {
    DBI_FORM_DICE,   /* seg(what, against), weighted by voxel */
    DBI_FORM_SQUARE, /* sum w (what - against)^2 / number of voxels */
    DBI_FORM_MASKED  /* sum w (what - against)^2 / sum w */
} dbi_term_form;

/* The quantities of a voxel. The first ones are the student's: the gradient is taken with respect to each of them. */
typedef enum dbi_term_quantity {
    DBI_OF_LOGIT, /* the network's output: p = sigmoid(logit) */
    DBI_OF_R,
    DBI_OF_P,
    DBI_OF_A, /* T_r2s(r) */
    DBI_OF_S, /* T_s2r(p) */
    DBI_STUDENT_QUANTITIES,
    DBI_OF_LABEL = DBI_STUDENT_QUANTITIES, /* Y and R of the labelled samples */
    DBI_OF_DISTANCE,
    DBI_OF_PSEUDO_LABEL, /* y~ and r~ of the unlabelled samples: the mean of what the teacher's decoders say */
    DBI_OF_PSEUDO_DISTANCE,
    DBI_OF_TEACHER_P, /* the teacher's probability alone, the mean of its decoders' */
    DBI_OF_OTHER_P,   /* p and r of the student's other decoder: a term of these is the same for both decoders */
    DBI_OF_OTHER_R,
    DBI_OF_OTHER_LABEL,    /* what the other decoder alone says of an unlabelled sample: (p + T_r2s(r)) / 2 */
    DBI_OF_OTHER_DISTANCE, /* and (r + T_s2r(p)) / 2; both are constants for the gradient */
    DBI_QUANTITIES
} dbi_term_quantity;

typedef enum dbi_term_samples { DBI_SAMPLES_LABELED, DBI_SAMPLES_UNLABELED, DBI_SAMPLES_ALL } dbi_term_samples;

/* How much a voxel counts. */
typedef enum dbi_term_voxels {
    DBI_VOXELS_ALIKE,
    DBI_VOXELS_WEIGHTED, /* by the uncertainty weight of dbi_method.gamma and delta, made of the teacher's outputs */
    DBI_VOXELS_AGREED,   /* the same, made of the outputs of the student's two decoders */
    DBI_VOXELS_KEPT,     /* 1 where the mean of the teacher's passes is certain, 0 elsewhere; 1 without passes */
    DBI_VOXELS
} dbi_term_voxels;

/* What a term's weight is multiplied with. */
typedef enum dbi_term_times {
    DBI_TIMES_ONE = 0,
    DBI_TIMES_BETA = 1,
    DBI_TIMES_LAMBDA = 2,
    DBI_TIMES_LAMBDA_BETA = 3
} dbi_term_times;

/* Components that can be switched off as a whole. */
typedef enum dbi_term_component {
    DBI_COMPONENT_NONE,
    DBI_COMPONENT_CROSS,
    DBI_COMPONENT_CONSISTENCY,
    DBI_COMPONENT_PSEUDO,
    DBI_COMPONENT_DECODERS,
    DBI_COMPONENT_EXCHANGE
} dbi_term_component;

typedef struct dbi_term_info {
    const char *name; /* option and log column: "cross-seg" */
    dbi_term_form form;
    dbi_term_quantity what, against;
    dbi_term_samples samples;
    dbi_term_voxels voxels;
    dbi_term_times times;
    dbi_term_component component;
    const char *formula;
} dbi_term_info;
extern const dbi_term_info dbi_terms[DBI_TERMS];

/* The term with this name of `length` characters, or -1. */
int dbi_term_find(const char *name, size_t length);
/* Whether the term needs a pass of the teacher. */
bool dbi_term_needs_teacher(int term);
/* Whether the term needs the teacher's pseudo-label, pseudo-distance or voxel weight, and not its probability alone. */
bool dbi_term_needs_pseudo(int term);
/* Whether the term compares this quantity. */
bool dbi_term_needs(int term, dbi_term_quantity quantity);

/* Whether the term compares two decoders: it is not computed for a network with one. */
bool dbi_term_needs_decoders(int term);
/* Whether the term needs what the other decoder says, or the weight made of both. */
bool dbi_term_needs_exchange(int term);

#endif
