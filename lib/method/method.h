/* The method: the weights with which the terms (terms.h) make the loss, and the presets.
 *
 * A new term is a row in terms.def, its weight in the presets that use it (method.c), and a row in the manual page of
 * dbisl-train-step. Both devices, the log, --weight, --without, --explain and the tests go through that list. Rows that
 * make no sense do not compile (terms.c), and neither do more sums than a GPU keeps for a voxel (cuda/loss.cu).
 * A term of a new form first needs the form's name in terms.h, the number of its sums in slots.h, its branch in each of
 * the three functions of loss_math.real.h that know forms (dbi_term_add, dbi_conclude_term, dbi_term_slopes_of), and
 * its formula in tests/unit/test_loss.c.
 * A term is computed for one decoder at a time; dbi_conclude_term makes the mean of two.
 * A term of a new quantity first needs its name in terms.h, and its numbers where the devices have theirs (view_of in
 * cpu/loss.real.c, dbi_loss_voxel_of in cuda/loss_math.h) and where the test has its own. */
#ifndef DBI_METHOD_METHOD_H
#define DBI_METHOD_METHOD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "distance/transform.real.h"
#include "method/terms.h"

typedef struct dbi_method {
    char name[32];
    double weight[DBI_TERMS];
    double beta, lambda, k;
    double ramp;         /* length of the ramp-up in steps, as a fraction of all steps */
    int64_t ramp_steps;  /* the same in steps; used when > 0 */
    int64_t ramp_every;  /* the ramp changes only every so many steps */
    double gamma, delta; /* of the voxel weight exp(-gamma D - delta E) (1 - H(p) / ln 2); with all decoders' outputs, D
                            is the spread (largest minus smallest) of p and T_r2s(r), E half that of r and T_s2r(p), and
                            H the entropy of the mean p */
    bool uncertainty;    /* whether the pseudo and exchange terms have voxel weights; they are 1 otherwise */
    bool cross_entropy;  /* seg is Dice + cross-entropy */
    double dropout, teacher_noise;
    int passes; /* ua-mt: noisy dropout passes whose mean's entropy masks the teacher term; 0: none */
    dbi_transform transform;
    dbi_normalize normalize; /* how R is normalized */
    double rate, momentum, weight_decay;
    char schedule[64]; /* see dbi_rate */
} dbi_method;

/* Fills in the preset of this name; the error lists the names. */
int dbi_method_preset(const char *name, dbi_method *method, dbi_error *error);
/* The name of preset i, NULL behind the last. */
const char *dbi_method_preset_name(int i);

/* Sets a weight from "TERM=WEIGHT". */
int dbi_method_set_weight(dbi_method *method, const char *text, dbi_error *error);
/* Switches a whole component off: cross, consistency, pseudo, decoders, exchange, uncertainty. */
int dbi_method_without(dbi_method *method, const char *component, dbi_error *error);

/* Switches off what a network with this many decoders cannot have: terms between two, where it has one. */
void dbi_method_fit(dbi_method *method, int decoders);

/* Whether a term with a weight above 0 needs the teacher. */
bool dbi_method_needs_teacher(const dbi_method *method);

/* The settings that change results, as a JSON object (a new reference). Terms whose weight is 0 and a delta of 0 are left
 * out, so that the stored settings of a training stay the same when a term is added. NULL with an error. */
struct json_t;
struct json_t *dbi_method_settings(const dbi_method *method, int64_t total_steps, dbi_error *error);

/* The loss as people write it: "seg(p, Y) + 0.5 beta reg(r, R)". free(); NULL with an error. */
char *dbi_method_formula(const dbi_method *method, dbi_error *error);

/* Checks a schedule: "constant", "every:N" (a tenth after each N steps), "at:S[,S...]" (a tenth at each S, a step
 * or a percentage of all steps) or "poly[:POWER]" (rate (1 - t/total)^POWER, default 0.9). */
int dbi_schedule_check(const char *schedule, dbi_error *error);
/* The rate of step t (from 0). */
double dbi_rate(const dbi_method *method, int64_t t, int64_t total_steps);
/* The weight of the unsupervised terms at step t: lambda exp(-5 (1 - min(t/T, 1))^2). */
double dbi_ramp(const dbi_method *method, int64_t t, int64_t total_steps);

#endif
