/* Loops over the voxels for the arithmetic of method/loss_math.real.h. */
#include "cpu/loss.real.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "base/memory.h"
#include "distance/transform.real.h"
#include "method/loss_math.real.h"

/* Voxels are visited in chunks of this many. The chunks' sums are added in order: the result does not depend on the
 * threads. */
enum { CHUNK = 8192 };

struct dbi_loss_f32 {
    dbi_loss_settings set;
    dbi_transform transform;
    dbi_normalize normalize;
    int64_t size[3];
    int64_t chunks; /* of one sample and class */
    int64_t count;  /* voxels of one decoder's output, of all samples and classes */
    /* [decoders,batch,K,X,Y,Z] */
    real *p, *a, *s;         /* student: probability, T_r2s(r), T_s2r(p) */
    real *dp, *da, *ds;      /* gradients with respect to them */
    real *other_y, *other_r; /* what a decoder learns from the other one: label and distance */
    real *teacher_p, *teacher_s;
    /* [batch,K,X,Y,Z] */
    real *y, *r;                   /* targets: label and distance, pseudo-label and pseudo-distance */
    real *weight, *agreed;         /* of the voxels of the pseudo and of the exchange terms */
    double *sums;                  /* [decoders][batch,K,chunks][DBI_SLOTS] */
    double *totals;                /* [decoders][labelled, unlabelled][K][DBI_SLOTS] */
    dbi_term_factors_f32 *factors; /* [decoders][K][DBI_TERMS] */
    dbi_tape_f32 **tape;           /* [decoders,batch,K] */
};

static int allocate_f32(dbi_loss_f32 *l, dbi_error *error)
{
    const dbi_loss_settings *set = &l->set;
    const int64_t one = l->count, all = set->decoders * l->count;
    const struct {
        real **array;
        int64_t count;
    } arrays[] = {{&l->p, all},
                  {&l->a, all},
                  {&l->s, set->transform ? all : 0},
                  {&l->dp, all},
                  {&l->da, all},
                  {&l->ds, set->transform ? all : 0},
                  {&l->other_y, set->exchange ? all : 0},
                  {&l->other_r, set->exchange ? all : 0},
                  {&l->teacher_p, set->teacher ? all : 0},
                  {&l->teacher_s, set->teacher_transform ? all : 0},
                  {&l->y, one},
                  {&l->r, one},
                  {&l->weight, set->teacher ? one : 0},
                  {&l->agreed, set->exchange ? one : 0}};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (arrays[i].count && !(*arrays[i].array = dbi_alloc((size_t)arrays[i].count, sizeof(real), error)))
            return -1;
    const size_t classes = (size_t)(set->decoders * set->classes), maps = (size_t)set->batch * classes;
    return (l->sums = dbi_alloc(maps * (size_t)l->chunks * DBI_SLOTS, sizeof(double), error)) &&
                   (l->totals = dbi_alloc(2 * classes * DBI_SLOTS, sizeof(double), error)) &&
                   (l->factors = dbi_alloc(classes * DBI_TERMS, sizeof *l->factors, error)) &&
                   (l->tape = dbi_alloc(maps, sizeof *l->tape, error))
               ? 0
               : -1;
}

dbi_loss_f32 *dbi_loss_open_f32(const dbi_method *method, const dbi_loss_shape *shape, dbi_error *error)
{
    const int64_t dims[6] = {shape->decoders, shape->batch,   shape->classes,
                             shape->size[0],  shape->size[1], shape->size[2]};
    int64_t count;
    if (!dbi_count(dims, 6, &count)) {
        dbi_fail(error, "the batch is too large");
        return NULL;
    }
    dbi_loss_f32 *l = calloc(1, sizeof *l);
    if (!l) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    l->set = dbi_loss_settle(method, shape);
    l->transform = method->transform;
    l->normalize = method->normalize;
    memcpy(l->size, shape->size, sizeof l->size);
    l->chunks = (l->set.voxels + CHUNK - 1) / CHUNK;
    l->count = l->set.batch * l->set.classes * l->set.voxels;
    if (allocate_f32(l, error)) {
        dbi_loss_close_f32(l);
        return NULL;
    }
    return l;
}

static void free_tapes_f32(dbi_loss_f32 *l)
{
    for (int64_t i = 0; l->tape && i < l->set.decoders * l->set.batch * l->set.classes; i++) {
        dbi_tape_free_f32(l->tape[i]);
        l->tape[i] = NULL;
    }
}

void dbi_loss_close_f32(dbi_loss_f32 *l)
{
    if (!l)
        return;
    free_tapes_f32(l);
    real *arrays[] = {l->p,       l->a,         l->s,         l->dp, l->da, l->ds,     l->other_y,
                      l->other_r, l->teacher_p, l->teacher_s, l->y,  l->r,  l->weight, l->agreed};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    free(l->sums);
    free(l->totals);
    free(l->factors);
    free(l->tape);
    free(l);
}

/* ---- Loops ---- */

typedef struct step_f32 {
    dbi_loss_f32 *loss;
    const dbi_loss_settings *set; /* the loss's, or what is left of it without a teacher */
    dbi_weighting_f32 weighting;
    const dbi_loss_input_f32 *in;
    real *dlogits, *dsdf;
} step_f32;

typedef struct chunk_f32 {
    int64_t number;            /* among the chunks of a decoder */
    int64_t class, at, theirs; /* its first voxel in arrays of all and of the unlabelled samples [samples,K,X,Y,Z] */
    int64_t in_label;          /* and in those of the labels: labelled or unlabelled [samples,X,Y,Z] */
    int64_t count;
    bool labeled;
} chunk_f32;

static chunk_f32 chunk_of_f32(const dbi_loss_f32 *l, int64_t j)
{
    const dbi_loss_settings *set = &l->set;
    const int64_t map = j / l->chunks, start = j % l->chunks * CHUNK, sample = map / set->classes;
    const bool labeled = sample < set->labeled;
    return (chunk_f32){.number = j,
                       .class = map % set->classes,
                       .at = map * set->voxels + start,
                       .theirs = labeled ? 0 : (map - set->labeled * set->classes) * set->voxels + start,
                       .in_label = (labeled ? sample : sample - set->labeled) * set->voxels + start,
                       .count = set->voxels - start < CHUNK ? set->voxels - start : CHUNK,
                       .labeled = labeled};
}

/* A chunk's sums [DBI_SLOTS] for one decoder. */
static double *sums_of_f32(const dbi_loss_f32 *l, const chunk_f32 *c, int decoder)
{
    return l->sums + (decoder * l->set.batch * l->set.classes * l->chunks + c->number) * DBI_SLOTS;
}

/* Chunks are of a sample and class: whoever visits one goes through the decoders. */
static void visit_chunks_f32(const step_f32 *s, void (*visit)(const step_f32 *, const chunk_f32 *))
{
    const int64_t chunks = s->set->batch * s->set->classes * s->loss->chunks;
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < chunks; j++) {
        const chunk_f32 c = chunk_of_f32(s->loss, j);
        visit(s, &c);
    }
}

/* A chunk's part of all arrays, as one decoder sees them. NULL: there is none; of weights: all voxels alike. */
typedef struct view_f32 {
    const real *of[DBI_QUANTITIES];
    const real *weight[DBI_VOXELS];
    real *slope[DBI_STUDENT_QUANTITIES];
} view_f32;

static view_f32 view_of_f32(const step_f32 *s, const chunk_f32 *c, int decoder)
{
    const dbi_loss_f32 *l = s->loss;
    const int64_t own = decoder * l->count + c->at, other = (1 - decoder) * l->count + c->at;
    view_f32 v = {.of = {[DBI_OF_LOGIT] = s->in->logits + own,
                         [DBI_OF_R] = s->in->sdf + own,
                         [DBI_OF_P] = l->p + own,
                         [DBI_OF_A] = l->a + own,
                         [DBI_OF_LABEL] = l->y + c->at,
                         [DBI_OF_DISTANCE] = l->r + c->at,
                         [DBI_OF_PSEUDO_LABEL] = l->y + c->at,
                         [DBI_OF_PSEUDO_DISTANCE] = l->r + c->at},
                  .slope = {[DBI_OF_LOGIT] = s->dlogits + own,
                            [DBI_OF_R] = s->dsdf + own,
                            [DBI_OF_P] = l->dp + own,
                            [DBI_OF_A] = l->da + own}};
    if (s->set->transform) {
        v.of[DBI_OF_S] = l->s + own;
        v.slope[DBI_OF_S] = l->ds + own;
    }
    if (s->set->decoders > 1) {
        v.of[DBI_OF_OTHER_P] = l->p + other;
        v.of[DBI_OF_OTHER_R] = s->in->sdf + other;
    }
    if (s->set->exchange && !c->labeled) {
        v.of[DBI_OF_OTHER_LABEL] = l->other_y + own;
        v.of[DBI_OF_OTHER_DISTANCE] = l->other_r + own;
        v.weight[DBI_VOXELS_AGREED] = l->agreed + c->at;
    }
    if (s->set->teacher && !c->labeled) {
        v.of[DBI_OF_TEACHER_P] = l->teacher_p + c->at;
        v.weight[DBI_VOXELS_WEIGHTED] = l->weight + c->at;
        v.weight[DBI_VOXELS_KEPT] = s->in->teacher_mask ? s->in->teacher_mask + c->theirs : NULL;
    }
    return v;
}

/* ---- What the terms compare ---- */

static void sigmoids_f32(const real *z, real k, int64_t count, real *q)
{
    for (int64_t i = 0; i < count; i++)
        q[i] = dbi_sigmoid_f32(k * z[i]);
}

/* The teacher's outputs of one decoder are so far apart in the caller's arrays. */
static int64_t theirs_f32(const dbi_loss_settings *set)
{
    return (set->batch - set->labeled) * set->classes * set->voxels;
}

static void look_f32(const step_f32 *s, const chunk_f32 *c)
{
    const dbi_loss_f32 *l = s->loss;
    for (int d = 0; d < s->set->decoders; d++) {
        const view_f32 v = view_of_f32(s, c, d);
        const int64_t own = d * l->count + c->at;
        for (int q = 0; q < DBI_STUDENT_QUANTITIES; q++)
            if (v.slope[q])
                memset(v.slope[q], 0, (size_t)c->count * sizeof(real));
        sigmoids_f32(v.of[DBI_OF_LOGIT], 1, c->count, l->p + own);
        sigmoids_f32(v.of[DBI_OF_R], (real)s->set->k, c->count, l->a + own);
        if (!c->labeled && s->set->teacher)
            sigmoids_f32(s->in->teacher_logits + d * theirs_f32(s->set) + c->theirs, 1, c->count, l->teacher_p + own);
    }
    if (c->labeled) {
        const uint8_t *label = s->in->label + c->in_label;
        for (int64_t i = 0; i < c->count; i++) {
            l->y[c->at + i] = label[i] == c->class + 1;
            l->r[c->at + i] = (real)s->in->label_sdf[c->at + i];
        }
    }
}

/* T_s2r of all decoders and of samples from `first` on; keeps the tapes where `keep`. */
static int transform_f32(dbi_loss_f32 *l, int64_t first, const real *p, real *to, bool keep, dbi_error *error)
{
    const int64_t maps = l->set.batch * l->set.classes;
    for (int64_t i = 0; i < l->set.decoders * maps; i++)
        if (i % maps >= first * l->set.classes &&
            dbi_transform_forward_f32(&l->transform, &l->normalize, l->size, p + i * l->set.voxels,
                                      to + i * l->set.voxels, keep ? &l->tape[i] : NULL, error))
            return -1;
    return 0;
}

static int transforms_f32(const step_f32 *s, dbi_error *error)
{
    dbi_loss_f32 *l = s->loss;
    free_tapes_f32(l);
    if (s->set->transform && transform_f32(l, 0, l->p, l->s, true, error))
        return -1;
    return s->set->teacher_transform ? transform_f32(l, s->set->labeled, l->teacher_p, l->teacher_s, false, error) : 0;
}

/* Targets and weights of the unlabelled samples. From here on the first part of teacher_p is the mean of the decoders'
 * probabilities. Where no term needs pseudo-targets, it is the pseudo-label too, and the mask is the weight that the log
 * shows. */
static void teach_f32(const step_f32 *s, const chunk_f32 *c)
{
    dbi_loss_f32 *l = s->loss;
    const dbi_loss_settings *set = s->set;
    const real *sdf = s->in->teacher_sdf + c->theirs,
               *mask = s->in->teacher_mask ? s->in->teacher_mask + c->theirs : NULL;
    real *p = l->teacher_p + c->at, *y = l->y + c->at, *r = l->r + c->at, *weight = l->weight + c->at;
    const real *seen = set->teacher_transform ? l->teacher_s + c->at : NULL;
    for (int64_t i = 0; i < c->count; i++) {
        dbi_outputs_f32 outputs = dbi_outputs_none_f32();
        for (int d = 0; d < set->decoders; d++) {
            const int64_t at = d * l->count + i;
            const real distance = set->pseudo ? sdf[d * theirs_f32(set) + i] : 0;
            dbi_outputs_add_f32(&outputs, p[at], set->pseudo ? dbi_sigmoid_f32((real)set->k * distance) : 0, distance,
                                seen ? seen[at] : 0);
        }
        const dbi_pseudo_f32 to = dbi_pseudo_targets_f32(&s->weighting, &outputs);
        p[i] = to.p;
        y[i] = set->pseudo ? to.label : to.p;
        r[i] = to.distance;
        weight[i] = set->pseudo ? to.weight : mask ? mask[i] : 1;
    }
}

/* What the student's two decoders tell each other about an unlabelled sample. */
static void exchange_f32(const step_f32 *s, const chunk_f32 *c)
{
    dbi_loss_f32 *l = s->loss;
    const view_f32 view[2] = {view_of_f32(s, c, 0), view_of_f32(s, c, 1)};
    for (int64_t i = 0; i < c->count; i++) {
        dbi_outputs_f32 both = dbi_outputs_none_f32();
        for (int d = 0; d < 2; d++) {
            const view_f32 *v = &view[d];
            const real distance = s->set->transform ? v->of[DBI_OF_S][i] : 0;
            const int64_t to = (1 - d) * l->count + c->at + i;
            dbi_outputs_add_f32(&both, v->of[DBI_OF_P][i], v->of[DBI_OF_A][i], v->of[DBI_OF_R][i], distance);
            l->other_y[to] = (v->of[DBI_OF_P][i] + v->of[DBI_OF_A][i]) / 2;
            l->other_r[to] = (v->of[DBI_OF_R][i] + distance) / 2;
        }
        l->agreed[c->at + i] = dbi_voxel_weight_f32(&s->weighting, &both);
    }
}

/* ---- Sums, values, slopes ---- */

/* Which numbers a term compares, beside the view that has them. */
typedef struct pairs_f32 {
    const real *q, *y, *weight, *logit;
    real k; /* of the logit */
} pairs_f32;

DBI_INLINE pairs_f32 pairs_of_f32(const step_f32 *s, const view_f32 *v, int what, int against, int voxels)
{
    return (pairs_f32){v->of[what], v->of[against], v->weight[voxels], v->of[dbi_logit_of(what)],
                       what == DBI_OF_A ? (real)s->set->k : 1};
}

DBI_INLINE dbi_pair_f32 pair_at_f32(const pairs_f32 *pairs, int64_t i)
{
    return (dbi_pair_f32){pairs->q[i], pairs->y[i], pairs->weight ? pairs->weight[i] : 1, pairs->k * pairs->logit[i]};
}

DBI_INLINE void add_term_f32(const step_f32 *s, const view_f32 *v, int64_t count, int form, int what, int against,
                             int voxels, double *restrict sum)
{
    const pairs_f32 pairs = pairs_of_f32(s, v, what, against, voxels);
    const bool cross_entropy = s->set->cross_entropy;
    for (int64_t i = 0; i < count; i++) {
        const dbi_pair_f32 pair = pair_at_f32(&pairs, i);
        dbi_term_add_f32(form, cross_entropy, &pair, sum);
    }
}

static void add_terms_f32(const step_f32 *s, const chunk_f32 *c, int decoder, double *sum)
{
    const view_f32 v = view_of_f32(s, c, decoder);
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, VOXELS, ...)                                         \
    if (dbi_loss_has(s->set, DBI_TERM_##ID, DBI_SAMPLES_##SAMPLES, c->labeled))                                        \
        add_term_f32(s, &v, c->count, DBI_FORM_##FORM, DBI_OF_##WHAT, DBI_OF_##AGAINST, DBI_VOXELS_##VOXELS,           \
                     sum + DBI_SLOT_##ID);
#include "method/terms.def"
}

static void add_f32(const step_f32 *s, const chunk_f32 *c)
{
    const dbi_loss_f32 *l = s->loss;
    for (int d = 0; d < s->set->decoders; d++)
        memset(sums_of_f32(l, c, d), 0, DBI_SLOTS * sizeof(double));
    if (!c->labeled && s->set->teacher) {
        teach_f32(s, c);
        const uint8_t *truth = s->in->truth ? s->in->truth + c->in_label : NULL;
        for (int64_t i = 0; i < c->count; i++)
            dbi_log_add_f32(l->y[c->at + i], l->weight[c->at + i], truth ? truth[i] == c->class + 1 : -1,
                            sums_of_f32(l, c, 0));
    }
    if (!c->labeled && s->set->exchange)
        exchange_f32(s, c);
    for (int d = 0; d < s->set->decoders; d++)
        add_terms_f32(s, c, d, sums_of_f32(l, c, d));
}

static void conclude_f32(const step_f32 *s, dbi_loss_values *values)
{
    dbi_loss_f32 *l = s->loss;
    const int64_t classes = s->set->classes;
    memset(l->totals, 0, (size_t)(s->set->decoders * 2 * classes) * DBI_SLOTS * sizeof *l->totals);
    for (int d = 0; d < s->set->decoders; d++)
        for (int64_t j = 0; j < s->set->batch * classes * l->chunks; j++) {
            const chunk_f32 c = chunk_of_f32(l, j);
            const double *sum = sums_of_f32(l, &c, d);
            double *total = l->totals + ((2 * d + (c.labeled ? 0 : 1)) * classes + c.class) * DBI_SLOTS;
            for (int k = 0; k < DBI_SLOTS; k++)
                total[k] += sum[k];
        }
    const dbi_loss_sums_f32 sums = {s->set, l->totals, l->factors};
    dbi_loss_conclude_f32(&sums, s->in->ramp, s->in->truth != NULL, values);
}

DBI_INLINE void slope_term_f32(const step_f32 *s, const view_f32 *v, int64_t count, int form, int what, int against,
                               int voxels, const dbi_term_factors_f32 *factors)
{
    const pairs_f32 pairs = pairs_of_f32(s, v, what, against, voxels);
    const dbi_term_factors_f32 f = *factors;
    const bool cross_entropy = form == DBI_FORM_DICE && s->set->cross_entropy;
    real *by_q = v->slope[what], *by_y = against < DBI_STUDENT_QUANTITIES ? v->slope[against] : NULL;
    real *by_logit = cross_entropy ? v->slope[dbi_logit_of(what)] : NULL;
    for (int64_t i = 0; i < count; i++) {
        const dbi_pair_f32 pair = pair_at_f32(&pairs, i);
        const dbi_term_slopes_f32 slopes = dbi_term_slopes_of_f32(form, cross_entropy, &pair, &f);
        by_q[i] += slopes.by_q;
        if (by_y)
            by_y[i] -= slopes.by_q;
        if (by_logit)
            by_logit[i] += slopes.by_logit;
    }
}

static void slope_terms_f32(const step_f32 *s, const chunk_f32 *c, int decoder, const dbi_term_factors_f32 *factors)
{
    const view_f32 v = view_of_f32(s, c, decoder);
#define DBI_TERM(ID, NAME, FORMULA, FORM, WHAT, AGAINST, SAMPLES, VOXELS, ...)                                         \
    if (dbi_loss_has(s->set, DBI_TERM_##ID, DBI_SAMPLES_##SAMPLES, c->labeled))                                        \
        slope_term_f32(s, &v, c->count, DBI_FORM_##FORM, DBI_OF_##WHAT, DBI_OF_##AGAINST, DBI_VOXELS_##VOXELS,         \
                       factors + DBI_TERM_##ID);
#include "method/terms.def"
}

static void slope_f32(const step_f32 *s, const chunk_f32 *c)
{
    for (int d = 0; d < s->set->decoders; d++)
        slope_terms_f32(s, c, d, s->loss->factors + (d * s->set->classes + c->class) * DBI_TERMS);
}

/* The slopes of T_s2r(p) become what they are for p. */
static int transform_back_f32(const step_f32 *s, dbi_error *error)
{
    dbi_loss_f32 *l = s->loss;
    for (int64_t i = 0; s->set->transform && i < s->set->decoders * s->set->batch * s->set->classes; i++) {
        real *slope = l->ds + i * s->set->voxels;
        if (dbi_transform_backward_f32(l->tape[i], slope, slope, error))
            return -1;
    }
    free_tapes_f32(l);
    return 0;
}

/* What reached the probabilities goes on to the outputs. */
static void chain_f32(const step_f32 *s, const chunk_f32 *c)
{
    const real k = (real)s->set->k;
    for (int d = 0; d < s->set->decoders; d++) {
        const view_f32 v = view_of_f32(s, c, d);
        for (int64_t i = 0; i < c->count; i++) {
            const real of_p = v.slope[DBI_OF_P][i] + (s->set->transform ? v.slope[DBI_OF_S][i] : 0);
            v.slope[DBI_OF_LOGIT][i] += dbi_sigmoid_slope_f32(1, of_p, v.of[DBI_OF_P][i]);
            v.slope[DBI_OF_R][i] += dbi_sigmoid_slope_f32(k, v.slope[DBI_OF_A][i], v.of[DBI_OF_A][i]);
        }
    }
}

int dbi_loss_step_f32(dbi_loss_f32 *l, const dbi_loss_input_f32 *in, dbi_loss_values *values, real *dlogits, real *dsdf,
                      dbi_error *error)
{
    const dbi_loss_settings alone = dbi_loss_settle_alone(&l->set);
    const step_f32 s = {.loss = l,
                        .set = in->teacher_logits ? &l->set : &alone,
                        .weighting = {(real)l->set.gamma, (real)l->set.delta, l->set.uncertainty},
                        .in = in,
                        .dlogits = dlogits,
                        .dsdf = dsdf};
    visit_chunks_f32(&s, look_f32);
    if (transforms_f32(&s, error))
        return -1;
    visit_chunks_f32(&s, add_f32);
    conclude_f32(&s, values);
    visit_chunks_f32(&s, slope_f32);
    if (transform_back_f32(&s, error))
        return -1;
    visit_chunks_f32(&s, chain_f32);
    return 0;
}
