/* The arithmetic of loss.cu: what a voxel's numbers are, and the terms of method/loss_math.real.h at one voxel
 * after the other. */
#ifndef DBI_CUDA_LOSS_MATH_H
#define DBI_CUDA_LOSS_MATH_H

#include "cuda/common.h"
#include "cuda/loss.h"
#include "method/loss_math.real.h"

typedef struct dbi_loss_arguments {
    dbi_loss_settings set;
    float k; /* the settings' */
    dbi_weighting_f32 weighting;
    dbi_cuda_loss_input in;
    const float *s, *teacher_s;    /* [decoders,batch,...], [decoders,unlabelled,...]; NULL where no term needs them */
    int64_t chunks;                /* of a sample and class */
    double *sums;                  /* [decoders][batch,K,chunks][DBI_SLOTS] */
    double *totals;                /* [decoders][labelled, unlabelled][K][DBI_SLOTS] */
    dbi_term_factors_f32 *factors; /* [decoders][K][DBI_TERMS] */
    dbi_loss_values *values;
    float *dlogits, *dsdf, *ds; /* ds: NULL as s */
} dbi_loss_arguments;

/* The numbers of a voxel. Indexed by constants alone, they are registers. */
typedef struct dbi_loss_voxel {
    float of[DBI_QUANTITIES], weight[DBI_VOXELS];
    int truth; /* unlabelled: 0 or 1, -1: not known */
} dbi_loss_voxel;

/* A place in the arrays of outputs. */
typedef struct dbi_loss_place {
    int decoder;
    bool labeled;
    int64_t n, c, i; /* sample, class, voxel */
} dbi_loss_place;

/* Where the number of this place, in an array of `samples` samples from sample `first` on, is for a decoder. */
DBI_HD int64_t dbi_loss_at(const dbi_loss_settings *set, const dbi_loss_place *p, int decoder, int64_t first,
                           int64_t samples)
{
    return ((decoder * samples + p->n - first) * set->classes + p->c) * set->voxels + p->i;
}

/* What the teacher says of a voxel of an unlabelled sample. */
DBI_HD void dbi_loss_taught(const dbi_loss_arguments *a, const dbi_loss_place *place, dbi_loss_voxel *v)
{
    const dbi_loss_settings *set = &a->set;
    dbi_outputs_f32 outputs = dbi_outputs_none_f32();
    for (int d = 0; d < set->decoders; d++) {
        const int64_t at = dbi_loss_at(set, place, d, set->labeled, set->batch - set->labeled);
        const float r = set->pseudo ? a->in.teacher_sdf[at] : 0;
        dbi_outputs_add_f32(&outputs, dbi_sigmoid_f32(a->in.teacher_logits[at]),
                            set->pseudo ? dbi_sigmoid_f32(a->k * r) : 0, r,
                            set->teacher_transform ? a->teacher_s[at] : 0);
    }
    const dbi_pseudo_f32 to = dbi_pseudo_targets_f32(&a->weighting, &outputs);
    v->of[DBI_OF_TEACHER_P] = v->of[DBI_OF_PSEUDO_LABEL] = to.p;
    if (a->in.teacher_mask)
        v->weight[DBI_VOXELS_KEPT] =
            a->in.teacher_mask[dbi_loss_at(set, place, 0, set->labeled, set->batch - set->labeled)];
    if (set->pseudo) {
        v->of[DBI_OF_PSEUDO_LABEL] = to.label;
        v->of[DBI_OF_PSEUDO_DISTANCE] = to.distance;
        v->weight[DBI_VOXELS_WEIGHTED] = to.weight;
    }
}

/* What the student's other decoder says of a voxel. */
DBI_HD void dbi_loss_exchanged(const dbi_loss_arguments *a, const dbi_loss_place *place, dbi_loss_voxel *v)
{
    const int64_t at = dbi_loss_at(&a->set, place, 1 - place->decoder, 0, a->set.batch);
    const float r = a->in.sdf[at], p = dbi_sigmoid_f32(a->in.logits[at]);
    v->of[DBI_OF_OTHER_P] = p;
    v->of[DBI_OF_OTHER_R] = r;
    if (a->set.exchange && !place->labeled) {
        const float seen = dbi_sigmoid_f32(a->k * r), s = a->set.transform ? a->s[at] : 0;
        dbi_outputs_f32 both = dbi_outputs_none_f32();
        dbi_outputs_add_f32(&both, v->of[DBI_OF_P], v->of[DBI_OF_A], v->of[DBI_OF_R], v->of[DBI_OF_S]);
        dbi_outputs_add_f32(&both, p, seen, r, s);
        v->of[DBI_OF_OTHER_LABEL] = (p + seen) / 2;
        v->of[DBI_OF_OTHER_DISTANCE] = (r + s) / 2;
        v->weight[DBI_VOXELS_AGREED] = dbi_voxel_weight_f32(&a->weighting, &both);
    }
}

DBI_HD dbi_loss_voxel dbi_loss_voxel_of(const dbi_loss_arguments *a, const dbi_loss_place *place)
{
    const dbi_loss_settings *set = &a->set;
    const int64_t at = dbi_loss_at(set, place, place->decoder, 0, set->batch);
    dbi_loss_voxel v;
    for (int k = 0; k < DBI_QUANTITIES; k++)
        v.of[k] = 0;
    for (int k = 0; k < DBI_VOXELS; k++)
        v.weight[k] = 1;
    v.truth = -1;
    v.of[DBI_OF_LOGIT] = a->in.logits[at];
    v.of[DBI_OF_R] = a->in.sdf[at];
    v.of[DBI_OF_P] = dbi_sigmoid_f32(v.of[DBI_OF_LOGIT]);
    v.of[DBI_OF_A] = dbi_sigmoid_f32(a->k * v.of[DBI_OF_R]);
    if (set->transform)
        v.of[DBI_OF_S] = a->s[at];
    if (set->decoders > 1)
        dbi_loss_exchanged(a, place, &v);
    if (place->labeled) {
        v.of[DBI_OF_LABEL] = a->in.label[place->n * set->voxels + place->i] == place->c + 1 ? 1 : 0;
        v.of[DBI_OF_DISTANCE] = a->in.label_sdf[dbi_loss_at(set, place, 0, 0, set->labeled)];
    } else if (set->teacher) {
        dbi_loss_taught(a, place, &v);
        if (a->in.truth)
            v.truth = a->in.truth[(place->n - set->labeled) * set->voxels + place->i] == place->c + 1 ? 1 : 0;
    }
    return v;
}

/* What a term compares at a voxel. */
DBI_HD dbi_pair_f32 dbi_loss_pair(const dbi_loss_arguments *a, const dbi_loss_voxel *v, int what, int against,
                                  int voxels)
{
    dbi_pair_f32 pair;
    pair.q = v->of[what];
    pair.y = v->of[against];
    pair.weight = v->weight[voxels];
    pair.logit = what == DBI_OF_A ? a->k * v->of[DBI_OF_R] : v->of[DBI_OF_LOGIT];
    return pair;
}

DBI_HD void dbi_loss_add(const dbi_loss_arguments *a, const dbi_loss_place *place, const dbi_loss_voxel *v,
                         double sum[DBI_SLOTS])
{
    const dbi_loss_settings *set = &a->set;
    const bool labeled = place->labeled;
    if (!labeled && set->teacher && place->decoder == 0) {
        const float weight = set->pseudo ? v->weight[DBI_VOXELS_WEIGHTED] : v->weight[DBI_VOXELS_KEPT];
        dbi_log_add_f32(v->of[DBI_OF_PSEUDO_LABEL], weight, v->truth, sum);
    }
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, VOXELS, ...)                                         \
    if (dbi_loss_has(set, DBI_TERM_##ID, DBI_SAMPLES_##SAMPLES, labeled)) {                                            \
        const dbi_pair_f32 pair = dbi_loss_pair(a, v, DBI_OF_##WHAT, DBI_OF_##AGAINST, DBI_VOXELS_##VOXELS);           \
        dbi_term_add_f32(DBI_FORM_##FORM, set->cross_entropy, &pair, sum + DBI_SLOT_##ID);                             \
    }
#include "method/terms.def"
}

/* What reaches a voxel's quantities: of the student's outputs first what reaches them directly. */
typedef struct dbi_loss_slopes {
    float of[DBI_STUDENT_QUANTITIES];
} dbi_loss_slopes;

DBI_HD void dbi_loss_slope(const dbi_pair_f32 *pair, int form, bool cross_entropy, int what, int against,
                           const dbi_term_factors_f32 *factors, dbi_loss_slopes *to)
{
    const dbi_term_slopes_f32 slopes = dbi_term_slopes_of_f32(form, cross_entropy, pair, factors);
    to->of[what] += slopes.by_q;
    if (against < DBI_STUDENT_QUANTITIES)
        to->of[against] -= slopes.by_q;
    if (form == DBI_FORM_DICE)
        to->of[dbi_logit_of(what)] += slopes.by_logit;
}

/* factors: of the voxel's class [DBI_TERMS]. */
DBI_HD dbi_loss_slopes dbi_loss_slopes_of(const dbi_loss_arguments *a, bool labeled, const dbi_loss_voxel *v,
                                          const dbi_term_factors_f32 *factors)
{
    const dbi_loss_settings *set = &a->set;
    dbi_loss_slopes g;
    for (int k = 0; k < DBI_STUDENT_QUANTITIES; k++)
        g.of[k] = 0;
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, VOXELS, ...)                                         \
    if (dbi_loss_has(set, DBI_TERM_##ID, DBI_SAMPLES_##SAMPLES, labeled)) {                                            \
        const dbi_pair_f32 pair = dbi_loss_pair(a, v, DBI_OF_##WHAT, DBI_OF_##AGAINST, DBI_VOXELS_##VOXELS);           \
        dbi_loss_slope(&pair, DBI_FORM_##FORM, set->cross_entropy, DBI_OF_##WHAT, DBI_OF_##AGAINST,                    \
                       factors + DBI_TERM_##ID, &g);                                                                   \
    }
#include "method/terms.def"
    g.of[DBI_OF_LOGIT] += dbi_sigmoid_slope_f32(1, g.of[DBI_OF_P], v->of[DBI_OF_P]);
    g.of[DBI_OF_R] += dbi_sigmoid_slope_f32(a->k, g.of[DBI_OF_A], v->of[DBI_OF_A]);
    return g;
}

/* ---- The teacher's noise and mask ---- */

/* Number i of dbi_random_normal() in the stream (seed, role, step, stream): it takes four, a whole block. */
DBI_HD double dbi_normal_of(uint64_t seed, uint32_t role, uint32_t step, uint32_t stream, uint32_t i)
{
    uint32_t u[4];
    dbi_random_block(seed, role, step, stream, i, u);
    return sqrt(-2 * log(1 - dbi_uniform_of(u[0], u[1]))) *
           cos(2 * 3.14159265358979323846 * dbi_uniform_of(u[2], u[3]));
}

DBI_HD float dbi_certain(float p, float threshold)
{
    const float q = 1 - p, least = 1e-6f;
    return -(p * logf(p + least) + q * logf(q + least)) < threshold ? 1 : 0;
}

#endif
