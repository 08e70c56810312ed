/* The arithmetic of the loss, for host and device. A term of terms.def is computed in three passes, for each decoder:
 *     sums      dbi_term_add: sums over the voxels of a class, of the pairs of numbers that a term compares
 *     factors   dbi_loss_conclude: makes values of the sums of all classes, and the factors of the slopes
 *     slopes    dbi_term_slopes_of: the derivatives of the loss by the two numbers, voxel by voxel
 * The loops are each device's own. The form of a term is passed as a constant, so that the compiler drops the other
 * forms' code when it inlines these functions. */
#pragma once
#ifdef __cplusplus
#include <cmath>
extern "C" {
#else
#include <tgmath.h>
#endif

#include <string.h>

#include "base/host_device.h"
#include "base/real.h"
#include "method/loss.h"
#include "method/slots.h"

#ifdef __cplusplus
}
#endif

DBI_HD real dbi_sigmoid_f32(real z)
{
    return 1 / (1 + exp(-z));
}

/* The derivative by z, from the derivative by q = sigmoid(k z). */
DBI_HD real dbi_sigmoid_slope_f32(real k, real by_q, real q)
{
    return k * by_q * q * (1 - q);
}

/* ---- What the outputs of a network make of a voxel ---- */

/* The outputs of one decoder or of all, added one after another. */
typedef struct dbi_outputs_f32 {
    int decoders;
    real p, label, distance; /* sums: of p, of the means of p and T_r2s(r), of the means of r and T_s2r(p) */
    real least_p, most_p;    /* of all p and T_r2s(r) */
    real least_r, most_r;    /* of all r and T_s2r(p) */
} dbi_outputs_f32;

DBI_HD dbi_outputs_f32 dbi_outputs_none_f32(void)
{
    dbi_outputs_f32 none;
    memset(&none, 0, sizeof none);
    return none;
}

/* p, r: a decoder's probability and distance; seen: T_r2s(r); s: T_s2r(p), or 0 where that is not needed. */
DBI_HD void dbi_outputs_add_f32(dbi_outputs_f32 *o, real p, real seen, real r, real s)
{
    const bool first = o->decoders == 0;
    const real least_p = p < seen ? p : seen, most_p = p < seen ? seen : p;
    const real least_r = r < s ? r : s, most_r = r < s ? s : r;
    o->decoders++;
    o->p += p;
    o->label += (p + seen) / 2;
    o->distance += (r + s) / 2;
    o->least_p = first || least_p < o->least_p ? least_p : o->least_p;
    o->most_p = first || most_p > o->most_p ? most_p : o->most_p;
    o->least_r = first || least_r < o->least_r ? least_r : o->least_r;
    o->most_r = first || most_r > o->most_r ? most_r : o->most_r;
}

/* Of the loss's settings what a voxel's weight is made with. */
typedef struct dbi_weighting_f32 {
    real gamma, delta;
    bool uncertainty; /* false: all weights are 1 */
} dbi_weighting_f32;

/* Probabilities spread over at most 1, distances over at most 2: half of it is their part. The entropy is that of the
 * decoders' mean probability. */
DBI_HD real dbi_voxel_weight_f32(const dbi_weighting_f32 *by, const dbi_outputs_f32 *o)
{
    if (!by->uncertainty)
        return 1;
    const real p = o->p / (real)o->decoders, q = 1 - p, ln2 = (real)0.69314718055994530942;
    const real entropy = -(p > 0 ? p * log(p) : 0) - (q > 0 ? q * log(q) : 0);
    const real spread = by->gamma * (o->most_p - o->least_p) + by->delta * ((o->most_r - o->least_r) / 2);
    const real w = exp(-spread) * (1 - entropy / ln2);
    return w > 0 ? w : 0; /* rounding may leave a value just below 0 at p = 1/2 */
}

typedef struct dbi_pseudo_f32 {
    real p, label, distance, weight;
} dbi_pseudo_f32;

/* The pseudo-targets of these outputs: means over their decoders. */
DBI_HD dbi_pseudo_f32 dbi_pseudo_targets_f32(const dbi_weighting_f32 *by, const dbi_outputs_f32 *o)
{
    const real decoders = (real)o->decoders;
    dbi_pseudo_f32 to;
    to.p = o->p / decoders;
    to.label = o->label / decoders;
    to.distance = o->distance / decoders;
    to.weight = dbi_voxel_weight_f32(by, o);
    return to;
}

/* ---- Sums ---- */

/* The two numbers of a voxel that a term compares. */
typedef struct dbi_pair_f32 {
    real q, y;   /* those that terms.def calls what and against */
    real weight; /* of the voxel */
    real logit;  /* of q, when q is a probability */
} dbi_pair_f32;

/* Cross-entropy of sigmoid(x) against y, computed from x, so that it stays finite. Its derivative by x is sigmoid(x) -
 * y. */
DBI_HD real dbi_cross_entropy_f32(real x, real y)
{
    return (x > 0 ? x : 0) - x * y + log1p(exp(-fabs(x)));
}

/* Adds a voxel to the sums of a term; sum points to the term's first slot. */
DBI_HD void dbi_term_add_f32(int form, bool cross_entropy, const dbi_pair_f32 *v, double *sum)
{
    const double q = (double)v->q, y = (double)v->y, w = (double)v->weight;
    if (form == DBI_FORM_DICE) {
        sum[0] += w * q * y;
        sum[1] += w * q * q;
        sum[2] += w * y * y;
        if (cross_entropy)
            sum[3] += (double)(v->weight * dbi_cross_entropy_f32(v->logit, v->y));
    } else {
        const double d = q - y;
        sum[0] += w * d * d;
        if (form == DBI_FORM_MASKED)
            sum[1] += w;
    }
}

/* For the log alone: adds up how good the pseudo-label y is. truth: 0 or 1, or -1 when it is not known. All decoders
 * learn from one pseudo-label: it is added to the sums of the first. */
DBI_HD void dbi_log_add_f32(real y, real weight, int truth, double *sum)
{
    sum[DBI_SLOT_WEIGHT] += (double)weight;
    if (truth >= 0) {
        const int here = y > (real)0.5, both = here & truth, either = here + truth;
        sum[DBI_SLOT_BOTH] += both;
        sum[DBI_SLOT_EITHER] += either;
        sum[DBI_SLOT_WEIGHTED_BOTH] += both * (double)weight;
        sum[DBI_SLOT_WEIGHTED_EITHER] += either * (double)weight;
    }
}

/* ---- Values and factors ---- */

/* The factors of one term and class. For Dice the derivative by q is weight (by_q q + by_y y), for squares it is weight
 * by_q (q - y). by_logit is the factor of the cross-entropy. */
typedef struct dbi_term_factors_f32 {
    real by_q, by_y, by_logit;
} dbi_term_factors_f32;

typedef struct dbi_loss_sums_f32 {
    const dbi_loss_settings *set;
    const double *totals;          /* [decoders][labelled, unlabelled][classes][DBI_SLOTS] */
    dbi_term_factors_f32 *factors; /* [decoders][classes][DBI_TERMS] */
} dbi_loss_sums_f32;

/* Those of one decoder. What follows takes the sums of one. */
DBI_HD dbi_loss_sums_f32 dbi_sums_of_decoder_f32(const dbi_loss_sums_f32 *s, int decoder)
{
    dbi_loss_sums_f32 its = *s;
    its.totals += decoder * 2 * s->set->classes * DBI_SLOTS;
    its.factors += decoder * s->set->classes * DBI_TERMS;
    return its;
}

/* A slot's sum over the samples of a term. */
DBI_HD double dbi_total_f32(const dbi_loss_sums_f32 *s, int samples, int64_t c, int slot)
{
    const double labeled = samples == DBI_SAMPLES_UNLABELED ? 0 : s->totals[c * DBI_SLOTS + slot];
    return labeled + (samples == DBI_SAMPLES_LABELED ? 0 : s->totals[(s->set->classes + c) * DBI_SLOTS + slot]);
}

/* factor: what the term is multiplied with in the loss; count: how many numbers it compares; scale: what the logit is
 * multiplied with before the sigmoid. */
DBI_HD double dbi_conclude_dice_f32(const dbi_loss_sums_f32 *s, int term, int samples, int slot, double factor,
                                    double count, double scale)
{
    const double e = 1e-5, classes = (double)s->set->classes;
    double value = 0, entropy = 0;
    for (int64_t c = 0; c < s->set->classes; c++) {
        dbi_term_factors_f32 *to = &s->factors[c * DBI_TERMS + term];
        const double above = 2 * dbi_total_f32(s, samples, c, slot) + e;
        const double below = dbi_total_f32(s, samples, c, slot + 1) + dbi_total_f32(s, samples, c, slot + 2) + e;
        to->by_y = (real)(-2 * (factor / classes) / below);
        to->by_q = (real)(2 * (factor / classes) * above / (below * below));
        to->by_logit = s->set->cross_entropy ? (real)(factor * scale / count) : 0;
        value += 1 - above / below;
        entropy += s->set->cross_entropy ? dbi_total_f32(s, samples, c, slot + 3) : 0;
    }
    return value / classes + (s->set->cross_entropy ? entropy / count : 0);
}

DBI_HD double dbi_conclude_square_f32(const dbi_loss_sums_f32 *s, int term, int samples, int slot, bool masked,
                                      double factor, double count)
{
    double squares = 0, weights = 0;
    for (int64_t c = 0; c < s->set->classes; c++) {
        squares += dbi_total_f32(s, samples, c, slot);
        weights += masked ? dbi_total_f32(s, samples, c, slot + 1) : 0;
    }
    const double divisor = masked ? weights + 1e-16 : count;
    for (int64_t c = 0; c < s->set->classes; c++)
        s->factors[c * DBI_TERMS + term].by_q = (real)(2 * factor / divisor);
    return squares / divisor;
}

DBI_HD double dbi_pseudo_dice_f32(const dbi_loss_sums_f32 *s, int both, int either)
{
    double dice = 0;
    for (int64_t c = 0; c < s->set->classes; c++) {
        const double all = dbi_total_f32(s, DBI_SAMPLES_UNLABELED, c, either);
        dice += all > 0 ? 2 * dbi_total_f32(s, DBI_SAMPLES_UNLABELED, c, both) / all : 1;
    }
    return dice / (double)s->set->classes;
}

/* s: of the first decoder. */
DBI_HD void dbi_conclude_log_f32(const dbi_loss_sums_f32 *s, bool truth, double count, dbi_loss_values *values)
{
    double weight = 0;
    for (int64_t c = 0; c < s->set->classes; c++)
        weight += dbi_total_f32(s, DBI_SAMPLES_UNLABELED, c, DBI_SLOT_WEIGHT);
    values->voxel_weight = weight / count;
    if (truth) {
        values->pseudo_dice = dbi_pseudo_dice_f32(s, DBI_SLOT_BOTH, DBI_SLOT_EITHER);
        values->weighted_dice = dbi_pseudo_dice_f32(s, DBI_SLOT_WEIGHTED_BOTH, DBI_SLOT_WEIGHTED_EITHER);
    }
}

/* Computes the value of one term, the mean over the decoders, and adds its part to the total.
 *
 * A term of OTHER_P or OTHER_R has gradients in both decoders, but a decoder's pass over the voxels writes its own alone.
 * Such a term has the same value for both, and both values depend on the outputs of each: by symmetry the slope of their
 * mean is twice that of a decoder's own half. The factors are for that slope. */
DBI_HD void dbi_conclude_term_f32(const dbi_loss_sums_f32 *s, int term, int form, int what, int against, int samples,
                                  int times, int slot, double ramp, dbi_loss_values *values)
{
    const dbi_loss_settings *set = s->set;
    if (!(set->weight[term] > 0))
        return;
    const double factor =
        set->weight[term] * (times & DBI_TIMES_LAMBDA ? ramp : 1) * (times & DBI_TIMES_BETA ? set->beta : 1);
    const double own = factor / set->decoders * (against == DBI_OF_OTHER_P || against == DBI_OF_OTHER_R ? 2 : 1);
    const int64_t first = samples == DBI_SAMPLES_UNLABELED ? set->labeled : 0,
                  last = samples == DBI_SAMPLES_LABELED ? set->labeled : set->batch;
    const double count = (double)((last - first) * set->classes * set->voxels);
    for (int d = 0; d < set->decoders; d++) {
        const dbi_loss_sums_f32 its = dbi_sums_of_decoder_f32(s, d);
        values->term[term] +=
            form == DBI_FORM_DICE
                ? dbi_conclude_dice_f32(&its, term, samples, slot, own, count, what == DBI_OF_A ? set->k : 1)
                : dbi_conclude_square_f32(&its, term, samples, slot, form == DBI_FORM_MASKED, own, count);
    }
    values->term[term] /= set->decoders;
    values->total += factor * values->term[term];
}

/* Computes all values and all factors; they are 0 for terms that are off. truth: the batch has it. */
DBI_HD void dbi_loss_conclude_f32(const dbi_loss_sums_f32 *s, double ramp, bool truth, dbi_loss_values *values)
{
    memset(values, 0, sizeof *values);
    memset(s->factors, 0, (size_t)(s->set->decoders * s->set->classes * DBI_TERMS) * sizeof *s->factors);
    values->pseudo_dice = values->weighted_dice = (double)NAN;
    if (s->set->teacher)
        dbi_conclude_log_f32(s, truth, (double)((s->set->batch - s->set->labeled) * s->set->classes * s->set->voxels),
                             values);
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, VOXELS, TIMES, COMPONENT)                            \
    dbi_conclude_term_f32(s, DBI_TERM_##ID, DBI_FORM_##FORM, DBI_OF_##WHAT, DBI_OF_##AGAINST, DBI_SAMPLES_##SAMPLES,   \
                          DBI_TIMES_##TIMES, DBI_SLOT_##ID, ramp, values);
#include "method/terms.def"
}

/* ---- Slopes ---- */

/* The derivative by q, and the one by its logit when the form has cross-entropy. The derivative of a square by y is
 * that by q with the other sign. */
typedef struct dbi_term_slopes_f32 {
    real by_q, by_logit;
} dbi_term_slopes_f32;

DBI_HD dbi_term_slopes_f32 dbi_term_slopes_of_f32(int form, bool cross_entropy, const dbi_pair_f32 *v,
                                                  const dbi_term_factors_f32 *f)
{
    dbi_term_slopes_f32 slopes;
    slopes.by_logit = 0;
    if (form == DBI_FORM_DICE) {
        slopes.by_q = v->weight * (f->by_y * v->y + f->by_q * v->q);
        slopes.by_logit = cross_entropy ? f->by_logit * v->weight * (v->q - v->y) : 0;
    } else {
        slopes.by_q = f->by_q * v->weight * (v->q - v->y);
    }
    return slopes;
}
