/* The method: which terms make the loss, with which weights, and the presets. A new term has its row in dbi_terms, its value and gradient in
 * loss.real.c, and its weight in the presets that use it. */
#ifndef DBI_METHOD_METHOD_H
#define DBI_METHOD_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "distance/transform.real.h"

/* With Y the label and R its signed distance, p the student's probability, r its signed distance, T_r2s(r) = sigmoid(k r), T_s2r the transform of
 * distance/transform.h, and y~, r~ the teacher's pseudo-label and pseudo-distance:
 *   seg(q, y) = Dice loss 1 - (2 sum qy + e) / (sum q^2 + sum y^2 + e), e = 1e-5, sums over all samples of the term, averaged over the classes (optionally
 *   + cross-entropy); reg(a, b) = mean (a - b)^2. */
typedef enum dbi_term {
    DBI_TERM_SEG,              /* labelled: seg(p, Y) */
    DBI_TERM_REG,              /* labelled: reg(r, R) */
    DBI_TERM_CROSS_SEG,        /* labelled: seg(T_r2s(r), Y) */
    DBI_TERM_CROSS_REG,        /* labelled: reg(T_s2r(p), R) */
    DBI_TERM_CONSISTENCY_SEG,  /* all: mean (p - T_r2s(r))^2 */
    DBI_TERM_CONSISTENCY_REG,  /* all: mean (r - T_s2r(p))^2 */
    DBI_TERM_PSEUDO_SEG,       /* unlabelled, weighted by voxel: seg(p, y~) */
    DBI_TERM_PSEUDO_REG,       /* unlabelled, weighted by voxel: reg(r, r~) */
    DBI_TERM_PSEUDO_CROSS_SEG, /* unlabelled, weighted by voxel: seg(T_r2s(r), y~) */
    DBI_TERM_PSEUDO_CROSS_REG, /* unlabelled, weighted by voxel: reg(T_s2r(p), r~) */
    DBI_TERM_TEACHER,          /* unlabelled: mean (p - teacher's p)^2, masked by certainty where `passes` is set */
    DBI_TERMS
} dbi_term;

typedef struct dbi_term_info {
    const char *name;  /* option and log column: "cross-seg" */
    bool unsupervised; /* times the ramped weight lambda */
    bool regression;   /* times beta */
    bool teacher;      /* needs a teacher's pass */
    bool transform;    /* needs T_s2r of the student */
    const char *formula;
} dbi_term_info;
extern const dbi_term_info dbi_terms[DBI_TERMS];

typedef struct dbi_method {
    char name[32];
    double weight[DBI_TERMS];
    double beta, lambda, k;
    double ramp;        /* length of the ramp-up in steps, as a fraction of all steps */
    int64_t ramp_steps; /* the same in steps, where > 0 */
    int64_t ramp_every; /* the ramp moves in stairs of so many steps */
    double gamma;       /* of the voxel weight exp(-gamma |y - T_r2s(r)|) (1 - H(y) / ln 2), y and r the teacher's */
    bool uncertainty;   /* voxel weights in the pseudo terms; without: 1 */
    bool cross_entropy; /* seg is Dice + cross-entropy */
    double dropout, teacher_noise;
    int passes; /* ua-mt: noisy dropout passes whose mean's entropy masks the teacher term; 0: none */
    dbi_transform transform;
    dbi_normalize normalize; /* of R */
    double rate, momentum, weight_decay;
    char schedule[64]; /* see dbi_rate */
} dbi_method;

/* Fills in a preset by its name. */
int dbi_method_preset(const char *name, dbi_method *method, dbi_error *error);
/* The names of the presets in their order, NULL after the last one. */
const char *dbi_method_preset_at(size_t index);

/* "TERM=WEIGHT". */
int dbi_method_set_weight(dbi_method *method, const char *text, dbi_error *error);
/* Switches a whole component off: cross, consistency, pseudo, uncertainty. */
int dbi_method_without(dbi_method *method, const char *component, dbi_error *error);

bool dbi_method_needs_teacher(const dbi_method *method);

/* The settings that change results, as a JSON object (a new reference) with sorted keys. */
struct json_t;
struct json_t *dbi_method_settings(const dbi_method *method, int64_t total_steps, dbi_error *error);

/* Checks a schedule: "constant", "every:N" (a tenth after each N steps), "at:S[,S...]" (a tenth at each S, a step or a percentage of all steps) or
 * "poly[:POWER]" (rate (1 - t/total)^POWER, default 0.9). */
int dbi_schedule_check(const char *schedule, dbi_error *error);
/* The rate of step t (from 0). */
double dbi_rate(const dbi_method *method, int64_t t, int64_t total_steps);
/* The weight of the unsupervised terms at step t: lambda exp(-5 (1 - min(t/T, 1))^2). */
double dbi_ramp(const dbi_method *method, int64_t t, int64_t total_steps);

#endif
