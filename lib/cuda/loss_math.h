/* The arithmetic of loss.cu: what the terms of method/loss.real.c are at one voxel, what they are of all the sums, and what they give back to the
 * voxel. */
#ifndef DBI_CUDA_LOSS_MATH_H
#define DBI_CUDA_LOSS_MATH_H

#include "cuda/common.h"
#include "cuda/loss.h"

/* Sums over one class of the labelled or of the unlabelled samples. y, r and the weights w of the first ones are the label's and 1, or the teacher's
 * pseudo-targets and voxel weights. */
typedef enum dbi_sum {
    DBI_SUM_PY, /* w p y, ... */
    DBI_SUM_PP,
    DBI_SUM_YY,
    DBI_SUM_AY,
    DBI_SUM_AA,
    DBI_SUM_ENTROPY_P, /* cross-entropy of p and of a */
    DBI_SUM_ENTROPY_A,
    DBI_SUM_REG,             /* w (sdf - r)^2 */
    DBI_SUM_CROSS_REG,       /* w (s - r)^2 */
    DBI_SUM_CONSISTENCY_SEG, /* (p - a)^2 */
    DBI_SUM_CONSISTENCY_REG, /* (sdf - s)^2 */
    DBI_SUM_WEIGHT,          /* w, or the teacher's mask where there are no pseudo-targets */
    DBI_SUM_TEACHER,         /* mask (p - teacher's p)^2 */
    DBI_SUM_MASK,
    DBI_SUM_BOTH, /* voxels that pseudo-label and truth have in common, and of both together */
    DBI_SUM_EITHER,
    DBI_SUM_WEIGHTED_BOTH, /* the same with each voxel counted as much as its weight */
    DBI_SUM_WEIGHTED_EITHER,
    DBI_SUMS
} dbi_sum;

/* What the sums make of the gradient: the factors of one class of the labelled or of the unlabelled samples. */
typedef struct dbi_loss_factors {
    float py, pp, ay, aa;       /* Dice: of y and of q, for q = p and a */
    float entropy_p, entropy_a; /* cross-entropy */
    float reg, cross_reg, consistency_seg, consistency_reg, teacher;
} dbi_loss_factors;

typedef struct dbi_loss_settings {
    double weight[DBI_TERMS]; /* 0: the term is not computed */
    bool unsupervised[DBI_TERMS], regression[DBI_TERMS];
    double beta;
    float k, gamma;
    bool uncertainty, cross_entropy, teacher, pseudo; /* pseudo: there are pseudo-targets; teacher: there is one */
    int64_t batch, labeled, classes, voxels;
} dbi_loss_settings;

typedef struct dbi_loss_arguments {
    dbi_loss_settings set;
    dbi_cuda_loss_input in;
    const float *s, *teacher_s; /* [batch,...], [unlabelled,...]; NULL where no term needs them */
    int64_t chunks;             /* of a sample and class */
    double *sums;               /* [batch,K,chunks][DBI_SUMS] */
    double *totals;             /* [labelled, unlabelled][K][DBI_SUMS] */
    dbi_loss_factors *factors;  /* [labelled, unlabelled][K] */
    dbi_loss_values *values;
    float *dlogits, *dsdf, *ds; /* ds: NULL as s */
} dbi_loss_arguments;

DBI_HD float dbi_sigmoid(float z)
{
    return 1 / (1 + expf(-z));
}

/* Which numbers a voxel has. */
typedef struct dbi_loss_voxel {
    float z, r, p, a, s;   /* the student's */
    float y, target, w;    /* label and distance, or pseudo-targets and voxel weight */
    float teacher_p, mask; /* unlabelled */
    int truth;             /* unlabelled: 0 or 1, -1: not known */
} dbi_loss_voxel;

/* Voxel i of class c of sample n. */
DBI_HD dbi_loss_voxel dbi_loss_voxel_of(const dbi_loss_arguments *a, int64_t n, int64_t c, int64_t i)
{
    const dbi_loss_settings *set = &a->set;
    const int64_t at = (n * set->classes + c) * set->voxels + i;
    dbi_loss_voxel v;
    v.z = a->in.logits[at];
    v.r = a->in.sdf[at];
    v.p = dbi_sigmoid(v.z);
    v.a = dbi_sigmoid(set->k * v.r);
    v.s = a->s ? a->s[at] : 0;
    v.y = v.target = v.teacher_p = 0;
    v.w = v.mask = 1;
    v.truth = -1;
    if (n < set->labeled) {
        v.y = a->in.label[n * set->voxels + i] == c + 1 ? 1 : 0;
        v.target = a->in.label_sdf[at];
    } else if (set->teacher) {
        const int64_t theirs = ((n - set->labeled) * set->classes + c) * set->voxels + i;
        v.y = v.teacher_p = dbi_sigmoid(a->in.teacher_logits[theirs]);
        if (a->in.teacher_mask)
            v.mask = a->in.teacher_mask[theirs];
        if (set->pseudo) {
            const float p = v.teacher_p, r = a->in.teacher_sdf[theirs], seen = dbi_sigmoid(set->k * r);
            v.y = (p + seen) / 2;
            v.target = (r + (a->teacher_s ? a->teacher_s[theirs] : 0)) / 2;
            if (set->uncertainty) {
                const float q = 1 - p, entropy = -(p > 0 ? p * logf(p) : 0) - (q > 0 ? q * logf(q) : 0);
                const float w = expf(-set->gamma * fabsf(p - seen)) * (1 - entropy / 0.69314718055994530942f);
                v.w = w > 0 ? w : 0; /* rounding may leave a hair below 0 at p = 1/2 */
            }
        }
        if (a->in.truth)
            v.truth = a->in.truth[(n - set->labeled) * set->voxels + i] == c + 1 ? 1 : 0;
    }
    return v;
}

/* Terms of the labelled samples and those like them of the unlabelled ones. */
DBI_HD bool dbi_loss_has(const dbi_loss_settings *set, bool labeled, dbi_term of_labeled, dbi_term of_unlabeled)
{
    return set->weight[labeled ? of_labeled : of_unlabeled] > 0;
}

/* Cross-entropy of sigmoid(x) against y. */
DBI_HD float dbi_cross_entropy(float x, float y)
{
    return (x > 0 ? x : 0) - x * y + log1pf(expf(-fabsf(x)));
}

/* Its derivative by x. */
DBI_HD float dbi_cross_entropy_slope(float x, float y)
{
    const float small = expf(-fabsf(x));
    return (x > 0 ? 1 : small) / (1 + small) - y;
}

DBI_HD double dbi_squared(float a, float b)
{
    const double d = (double)a - (double)b;
    return d * d;
}

DBI_HD void dbi_loss_add(const dbi_loss_settings *set, bool labeled, const dbi_loss_voxel *v, double sum[DBI_SUMS])
{
    const double p = v->p, a = v->a, y = v->y, w = v->w;
    if (dbi_loss_has(set, labeled, DBI_TERM_SEG, DBI_TERM_PSEUDO_SEG)) {
        sum[DBI_SUM_PY] += w * p * y;
        sum[DBI_SUM_PP] += w * p * p;
        if (set->cross_entropy)
            sum[DBI_SUM_ENTROPY_P] += (double)(v->w * dbi_cross_entropy(v->z, v->y));
    }
    if (dbi_loss_has(set, labeled, DBI_TERM_CROSS_SEG, DBI_TERM_PSEUDO_CROSS_SEG)) {
        sum[DBI_SUM_AY] += w * a * y;
        sum[DBI_SUM_AA] += w * a * a;
        if (set->cross_entropy)
            sum[DBI_SUM_ENTROPY_A] += (double)(v->w * dbi_cross_entropy(set->k * v->r, v->y));
    }
    sum[DBI_SUM_YY] += w * y * y;
    if (dbi_loss_has(set, labeled, DBI_TERM_REG, DBI_TERM_PSEUDO_REG))
        sum[DBI_SUM_REG] += w * dbi_squared(v->r, v->target);
    if (dbi_loss_has(set, labeled, DBI_TERM_CROSS_REG, DBI_TERM_PSEUDO_CROSS_REG))
        sum[DBI_SUM_CROSS_REG] += w * dbi_squared(v->s, v->target);
    if (set->weight[DBI_TERM_CONSISTENCY_SEG] > 0)
        sum[DBI_SUM_CONSISTENCY_SEG] += dbi_squared(v->p, v->a);
    if (set->weight[DBI_TERM_CONSISTENCY_REG] > 0)
        sum[DBI_SUM_CONSISTENCY_REG] += dbi_squared(v->r, v->s);
    if (labeled || !set->teacher)
        return;
    const double weight = set->pseudo ? w : (double)v->mask;
    sum[DBI_SUM_WEIGHT] += weight;
    if (set->weight[DBI_TERM_TEACHER] > 0) {
        sum[DBI_SUM_TEACHER] += (double)v->mask * dbi_squared(v->p, v->teacher_p);
        sum[DBI_SUM_MASK] += (double)v->mask;
    }
    if (v->truth >= 0) {
        const int here = v->y > 0.5f, both = here & v->truth, either = here + v->truth;
        sum[DBI_SUM_BOTH] += both;
        sum[DBI_SUM_EITHER] += either;
        sum[DBI_SUM_WEIGHTED_BOTH] += both * weight;
        sum[DBI_SUM_WEIGHTED_EITHER] += either * weight;
    }
}

/* Term t of the sums [labelled, unlabelled][K][DBI_SUMS], and what it adds to the factors. factor: the term's in the loss. */
typedef struct dbi_loss_finish {
    const dbi_loss_settings *set;
    const double *totals;
    dbi_loss_factors *factors;
    bool masked;
} dbi_loss_finish;

DBI_HD double dbi_total(const dbi_loss_finish *f, int side, int64_t c, dbi_sum sum)
{
    return f->totals[(side * f->set->classes + c) * DBI_SUMS + sum];
}

DBI_HD double dbi_finish_seg(const dbi_loss_finish *f, int side, bool of_a, double factor, double count)
{
    const double e = 1e-5, classes = (double)f->set->classes, scale = of_a ? (double)f->set->k : 1;
    double value = 0, entropy = 0;
    for (int64_t c = 0; c < f->set->classes; c++) {
        dbi_loss_factors *to = &f->factors[side * f->set->classes + c];
        const double above = 2 * dbi_total(f, side, c, of_a ? DBI_SUM_AY : DBI_SUM_PY) + e;
        const double below = dbi_total(f, side, c, of_a ? DBI_SUM_AA : DBI_SUM_PP) + dbi_total(f, side, c, DBI_SUM_YY) + e;
        const float by_y = (float)(-2 * factor / classes / below), by_q = (float)(2 * factor / classes * above / (below * below));
        const float by_x = f->set->cross_entropy ? (float)(factor * scale / count) : 0;
        value += 1 - above / below;
        entropy += dbi_total(f, side, c, of_a ? DBI_SUM_ENTROPY_A : DBI_SUM_ENTROPY_P);
        if (of_a) {
            to->ay = by_y;
            to->aa = by_q;
            to->entropy_a = by_x;
        } else {
            to->py = by_y;
            to->pp = by_q;
            to->entropy_p = by_x;
        }
    }
    return value / classes + (f->set->cross_entropy ? entropy / count : 0);
}

DBI_HD double dbi_finish_square(const dbi_loss_finish *f, int term, int side, double factor, double count)
{
    const dbi_sum sum = term == DBI_TERM_CONSISTENCY_SEG                      ? DBI_SUM_CONSISTENCY_SEG
                        : term == DBI_TERM_CONSISTENCY_REG                    ? DBI_SUM_CONSISTENCY_REG
                        : term == DBI_TERM_TEACHER                            ? DBI_SUM_TEACHER
                        : term == DBI_TERM_REG || term == DBI_TERM_PSEUDO_REG ? DBI_SUM_REG
                                                                              : DBI_SUM_CROSS_REG;
    const bool all = sum == DBI_SUM_CONSISTENCY_SEG || sum == DBI_SUM_CONSISTENCY_REG;
    const int first = all ? 0 : side, last = all ? 1 : side;
    double squares = 0, mask = 0;
    for (int k = first; k <= last; k++)
        for (int64_t c = 0; c < f->set->classes; c++) {
            squares += dbi_total(f, k, c, sum);
            mask += dbi_total(f, k, c, DBI_SUM_MASK);
        }
    const double divisor = term == DBI_TERM_TEACHER && f->masked ? mask + 1e-16 : count;
    const float g = (float)(2 * factor / divisor);
    for (int k = first; k <= last; k++)
        for (int64_t c = 0; c < f->set->classes; c++) {
            dbi_loss_factors *to = &f->factors[k * f->set->classes + c];
            if (sum == DBI_SUM_REG)
                to->reg = g;
            else if (sum == DBI_SUM_CROSS_REG)
                to->cross_reg = g;
            else if (sum == DBI_SUM_CONSISTENCY_SEG)
                to->consistency_seg = g;
            else if (sum == DBI_SUM_CONSISTENCY_REG)
                to->consistency_reg = g;
            else
                to->teacher = g;
        }
    return squares / divisor;
}

DBI_HD double dbi_pseudo_dice(const dbi_loss_finish *f, dbi_sum both, dbi_sum either)
{
    double dice = 0;
    for (int64_t c = 0; c < f->set->classes; c++)
        dice += dbi_total(f, 1, c, either) > 0 ? 2 * dbi_total(f, 1, c, both) / dbi_total(f, 1, c, either) : 1;
    return dice / (double)f->set->classes;
}

DBI_HD void dbi_finish_teacher(const dbi_loss_finish *f, bool truth, double theirs, dbi_loss_values *values)
{
    double weight = 0;
    for (int64_t c = 0; c < f->set->classes; c++)
        weight += dbi_total(f, 1, c, DBI_SUM_WEIGHT);
    values->voxel_weight = weight / theirs;
    if (truth) {
        values->pseudo_dice = dbi_pseudo_dice(f, DBI_SUM_BOTH, DBI_SUM_EITHER);
        values->weighted_dice = dbi_pseudo_dice(f, DBI_SUM_WEIGHTED_BOTH, DBI_SUM_WEIGHTED_EITHER);
    }
}

/* The whole: values, and all factors (0 first). */
DBI_HD void dbi_loss_conclude(const dbi_loss_arguments *a)
{
    const dbi_loss_settings *set = &a->set;
    const double each = (double)(set->classes * set->voxels), ours = (double)set->labeled * each, theirs = (double)(set->batch - set->labeled) * each;
    dbi_loss_finish f;
    dbi_loss_values values;
    f.set = set;
    f.totals = a->totals;
    f.factors = a->factors;
    f.masked = a->in.teacher_mask != NULL;
    memset(&values, 0, sizeof values);
    memset(a->factors, 0, 2 * (size_t)set->classes * sizeof *a->factors);
    values.pseudo_dice = values.weighted_dice = (double)NAN;
    if (set->teacher)
        dbi_finish_teacher(&f, a->in.truth != NULL, theirs, &values);
    for (int t = 0; t < DBI_TERMS; t++) {
        if (!(set->weight[t] > 0))
            continue;
        const double factor = set->weight[t] * (set->unsupervised[t] ? a->in.parameters->ramp : 1) * (set->regression[t] ? set->beta : 1);
        const int side = t > DBI_TERM_CROSS_REG;
        const bool of_p = t == DBI_TERM_SEG || t == DBI_TERM_PSEUDO_SEG, of_a = t == DBI_TERM_CROSS_SEG || t == DBI_TERM_PSEUDO_CROSS_SEG;
        const double count = t == DBI_TERM_CONSISTENCY_SEG || t == DBI_TERM_CONSISTENCY_REG ? ours + theirs : side ? theirs : ours;
        values.term[t] = of_p || of_a ? dbi_finish_seg(&f, side, of_a, factor, count) : dbi_finish_square(&f, t, side, factor, count);
        values.total += factor * values.term[t];
    }
    *a->values = values;
}

/* What reaches a voxel's logit and distance directly, and what reaches T_s2r(p). */
typedef struct dbi_loss_slopes {
    float logit, sdf, s;
} dbi_loss_slopes;

DBI_HD dbi_loss_slopes dbi_loss_slopes_of(const dbi_loss_settings *set, bool labeled, const dbi_loss_voxel *v, const dbi_loss_factors *f)
{
    dbi_loss_slopes g;
    float dp = 0, da = 0;
    g.logit = g.sdf = g.s = 0;
    if (dbi_loss_has(set, labeled, DBI_TERM_SEG, DBI_TERM_PSEUDO_SEG)) {
        dp += v->w * (f->py * v->y + f->pp * v->p);
        if (set->cross_entropy)
            g.logit += f->entropy_p * v->w * dbi_cross_entropy_slope(v->z, v->y);
    }
    if (dbi_loss_has(set, labeled, DBI_TERM_CROSS_SEG, DBI_TERM_PSEUDO_CROSS_SEG)) {
        da += v->w * (f->ay * v->y + f->aa * v->a);
        if (set->cross_entropy)
            g.sdf += f->entropy_a * v->w * dbi_cross_entropy_slope(set->k * v->r, v->y);
    }
    if (dbi_loss_has(set, labeled, DBI_TERM_REG, DBI_TERM_PSEUDO_REG))
        g.sdf += f->reg * v->w * (v->r - v->target);
    if (dbi_loss_has(set, labeled, DBI_TERM_CROSS_REG, DBI_TERM_PSEUDO_CROSS_REG))
        g.s += f->cross_reg * v->w * (v->s - v->target);
    if (set->weight[DBI_TERM_CONSISTENCY_SEG] > 0) {
        dp += f->consistency_seg * (v->p - v->a);
        da -= f->consistency_seg * (v->p - v->a);
    }
    if (set->weight[DBI_TERM_CONSISTENCY_REG] > 0) {
        g.sdf += f->consistency_reg * (v->r - v->s);
        g.s -= f->consistency_reg * (v->r - v->s);
    }
    if (!labeled && set->weight[DBI_TERM_TEACHER] > 0)
        dp += f->teacher * v->mask * (v->p - v->teacher_p);
    g.logit += dp * v->p * (1 - v->p);
    g.sdf += set->k * da * v->a * (1 - v->a);
    return g;
}

/* ---- The teacher's noise and mask ---- */

/* Number i of dbi_random_normal() in the stream (seed, role, step, stream): it takes four, a whole block. */
DBI_HD double dbi_normal_of(uint64_t seed, uint32_t role, uint32_t step, uint32_t stream, uint32_t i)
{
    uint32_t u[4];
    dbi_random_block(seed, role, step, stream, i, u);
    return sqrt(-2 * log(1 - dbi_uniform_of(u[0], u[1]))) * cos(2 * 3.14159265358979323846 * dbi_uniform_of(u[2], u[3]));
}

DBI_HD float dbi_certain(float p, float threshold)
{
    const float q = 1 - p, least = 1e-6f;
    return -(p * logf(p + least) + q * logf(q + least)) < threshold ? 1 : 0;
}

#endif
