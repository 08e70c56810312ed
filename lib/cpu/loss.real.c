#include "cpu/loss.real.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h>

#include "base/memory.h"
#include "distance/transform.real.h"
/* Sums run over chunks of this many voxels, each summed in double, the chunks added in order: the result does not depend on the threads. */
enum { CHUNK = 8192, MAX_SUMS = 4 };

struct dbi_loss_f32 {
    dbi_method method;
    dbi_loss_shape shape;
    int64_t voxels, chunks; /* of one sample and class */
    real *p, *a, *s;        /* student: probability, T_r2s(r), T_s2r(p) */
    real *dp, *da, *ds;     /* gradients with respect to them */
    real *y, *r;            /* targets: label and distance, pseudo-label and pseudo-distance */
    real *weight;           /* of the pseudo terms' voxels */
    real *teacher_p, *teacher_s;
    double *sums;        /* [samples][chunks][MAX_SUMS] */
    dbi_tape_f32 **tape; /* [samples][classes] */
};

/* Some of the samples. */
typedef struct span {
    int64_t first, count;
} span;

static bool needs_transform(const dbi_method *m, span unlabeled)
{
    for (int i = 0; i < DBI_TERMS; i++)
        if (m->weight[i] > 0 && dbi_terms[i].transform && (!dbi_terms[i].teacher || unlabeled.count))
            return true;
    return false;
}

dbi_loss_f32 *dbi_loss_open_f32(const dbi_method *method, const dbi_loss_shape *shape, dbi_error *error)
{
    dbi_loss_f32 *l = calloc(1, sizeof *l);
    if (!l) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    l->method = *method;
    l->shape = *shape;
    int64_t dims[5] = {shape->batch, shape->classes, shape->size[0], shape->size[1], shape->size[2]}, count;
    if (!dbi_count(dims, 5, &count) || !dbi_count(shape->size, 3, &l->voxels)) {
        dbi_fail(error, "the batch is too large");
        free(l);
        return NULL;
    }
    l->chunks = (l->voxels + CHUNK - 1) / CHUNK;
    span unlabeled = {shape->labeled, shape->batch - shape->labeled};
    bool transform = needs_transform(method, unlabeled), teacher = dbi_method_needs_teacher(method) && unlabeled.count;
    struct {
        real **array;
        bool wanted;
    } arrays[] = {{&l->p, true},      {&l->a, true},       {&l->dp, true},        {&l->da, true},           {&l->y, true},           {&l->r, true},
                  {&l->s, transform}, {&l->ds, transform}, {&l->weight, teacher}, {&l->teacher_p, teacher}, {&l->teacher_s, teacher}};
    bool failed = false;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        if (arrays[i].wanted && !failed)
            failed = !(*arrays[i].array = dbi_alloc((size_t)count, sizeof(real), error));
    if (!failed)
        failed = !(l->sums = dbi_alloc((size_t)(shape->batch * l->chunks * MAX_SUMS), sizeof(double), error)) ||
                 !(l->tape = dbi_alloc((size_t)(shape->batch * shape->classes), sizeof *l->tape, error));
    if (failed) {
        dbi_loss_close_f32(l);
        return NULL;
    }
    return l;
}

static void free_tapes_f32(dbi_loss_f32 *l)
{
    for (int64_t i = 0; l->tape && i < l->shape.batch * l->shape.classes; i++) {
        dbi_tape_free_f32(l->tape[i]);
        l->tape[i] = NULL;
    }
}

void dbi_loss_close_f32(dbi_loss_f32 *l)
{
    if (!l)
        return;
    free_tapes_f32(l);
    real *arrays[] = {l->p, l->a, l->s, l->dp, l->da, l->ds, l->y, l->r, l->weight, l->teacher_p, l->teacher_s};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    free(l->sums);
    free(l->tape);
    free(l);
}

/* The loops below visit chunk j of class c of a span: BEGIN..END. `at` is the index of its first voxel in a [samples,K,X,Y,Z] array, n its length,
 * sum its MAX_SUMS sums. */
#define FOR_CHUNKS(l, range, c, at, n, sum)                                                                                                          \
    _Pragma("omp parallel for schedule(static)") for (int64_t j = 0; j < (range).count * (l)->chunks; j++)                                           \
    {                                                                                                                                                \
        const int64_t sample = (range).first + j / (l)->chunks, start = j % (l)->chunks * CHUNK;                                                     \
        const int64_t at = (sample * (l)->shape.classes + (c)) * (l)->voxels + start;                                                                \
        const int64_t n = (l)->voxels - start < CHUNK ? (l)->voxels - start : CHUNK;                                                                 \
        double *sum = (l)->sums + j * MAX_SUMS;                                                                                                      \
        (void)sum;
#define END_CHUNKS }

static void add_up_f32(const dbi_loss_f32 *l, span range, double total[MAX_SUMS])
{
    for (int k = 0; k < MAX_SUMS; k++)
        total[k] = 0;
    for (int64_t j = 0; j < range.count * l->chunks; j++)
        for (int k = 0; k < MAX_SUMS; k++)
            total[k] += l->sums[j * MAX_SUMS + k];
}

/* Dice loss of q against the target y, voxels weighted by w (NULL: 1), averaged over the classes; dq += factor * gradient. */
static double dice_f32(dbi_loss_f32 *l, span range, const real *q, const real *y, const real *w, double factor, real *dq)
{
    const double e = 1e-5;
    double value = 0;
    factor /= (double)l->shape.classes;
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, range, c, at, n, sum)
        double qy = 0, qq = 0, yy = 0;
        for (int64_t i = at; i < at + n; i++) {
            double v = w ? (double)w[i] : 1;
            qy += v * (double)q[i] * (double)y[i];
            qq += v * (double)q[i] * (double)q[i];
            yy += v * (double)y[i] * (double)y[i];
        }
        sum[0] = qy;
        sum[1] = qq;
        sum[2] = yy;
        END_CHUNKS
        double total[MAX_SUMS];
        add_up_f32(l, range, total);
        const double above = 2 * total[0] + e, below = total[1] + total[2] + e;
        value += 1 - above / below;
        const real gy = (real)(-2 * factor / below), gq = (real)(2 * factor * above / (below * below));
        FOR_CHUNKS(l, range, c, at, n, sum)
        for (int64_t i = at; i < at + n; i++)
            dq[i] += (w ? w[i] : 1) * (gy * y[i] + gq * q[i]);
        END_CHUNKS
    }
    return value / (double)l->shape.classes;
}

/* Mean cross-entropy of sigmoid(scale z) against y, from the logits, so that it stays finite; dz += factor * gradient. */
static double cross_entropy_f32(dbi_loss_f32 *l, span range, const real *z, double scale, const real *y, const real *w, double factor, real *dz)
{
    const double count = (double)(range.count * l->shape.classes * l->voxels);
    const real k = (real)scale, g = (real)(factor * scale / count);
    double value = 0;
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, range, c, at, n, sum)
        double loss = 0;
        for (int64_t i = at; i < at + n; i++) {
            const real x = k * z[i], v = w ? w[i] : 1, small = exp(-fabs(x));
            loss += (double)(v * ((x > 0 ? x : 0) - x * y[i] + log1p(small)));
            dz[i] += g * v * ((x > 0 ? 1 : small) / (1 + small) - y[i]);
        }
        sum[0] = loss;
        sum[1] = sum[2] = 0;
        END_CHUNKS
        double total[MAX_SUMS];
        add_up_f32(l, range, total);
        value += total[0];
    }
    return value / count;
}

/* Sum of w (a - b)^2 over the span, divided by the number of its values, or by the sum of w where `by_weight`; da += factor * gradient, and db (where
 * not NULL) likewise. w lacks the `before` values that come first in the other arrays. */
static double square_f32(dbi_loss_f32 *l, span range, const real *a, const real *b, const real *w, int64_t before, bool by_weight, double factor,
                         real *da, real *db)
{
    double squares = 0, weights = 0;
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, range, c, at, n, sum)
        double square = 0, weight = 0;
        for (int64_t i = at; i < at + n; i++) {
            const double d = (double)a[i] - (double)b[i], v = w ? (double)w[i - before] : 1;
            square += v * d * d;
            weight += v;
        }
        sum[0] = square;
        sum[1] = weight;
        sum[2] = 0;
        END_CHUNKS
        double total[MAX_SUMS];
        add_up_f32(l, range, total);
        squares += total[0];
        weights += total[1];
    }
    const double divisor = by_weight ? weights + 1e-16 : (double)(range.count * l->shape.classes * l->voxels);
    const real g = (real)(2 * factor / divisor);
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, range, c, at, n, sum)
        for (int64_t i = at; i < at + n; i++) {
            const real d = g * (w ? w[i - before] : 1) * (a[i] - b[i]);
            da[i] += d;
            if (db)
                db[i] -= d;
        }
        END_CHUNKS
    }
    return squares / divisor;
}

/* out = sigmoid(scale z). z lacks the `before` values that come first in `out`. */
static void sigmoid_f32(const dbi_loss_f32 *l, span range, const real *z, int64_t before, double scale, real *out)
{
    const real k = (real)scale;
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, range, c, at, n, sum)
        for (int64_t i = at; i < at + n; i++)
            out[i] = 1 / (1 + exp(-k * z[i - before]));
        END_CHUNKS
    }
}

/* T_s2r of every sample and class in the span; keeps the tapes where `keep`. */
static int transform_f32(dbi_loss_f32 *l, span range, const real *p, real *s, bool keep, dbi_error *error)
{
    for (int64_t i = range.first * l->shape.classes; i < (range.first + range.count) * l->shape.classes; i++)
        if (dbi_transform_forward_f32(&l->method.transform, &l->method.normalize, l->shape.size, p + i * l->voxels, s + i * l->voxels,
                                      keep ? &l->tape[i] : NULL, error))
            return -1;
    return 0;
}

static void label_targets_f32(dbi_loss_f32 *l, span labeled, const dbi_loss_input_f32 *in)
{
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, labeled, c, at, n, sum)
        const uint8_t *label = in->label + sample * l->voxels + start;
        for (int64_t i = 0; i < n; i++) {
            l->y[at + i] = label[i] == c + 1;
            l->r[at + i] = (real)in->label_sdf[at + i];
        }
        END_CHUNKS
    }
}

static bool has_pseudo_terms(const dbi_method *m)
{
    for (int t = DBI_TERM_PSEUDO_SEG; t <= DBI_TERM_PSEUDO_CROSS_REG; t++)
        if (m->weight[t] > 0)
            return true;
    return false;
}

/* For a method whose teacher gives nothing but its probability: that is the pseudo-label, and what masks the teacher's term (NULL: 1) is the voxel
 * weight. The mask starts at the first unlabelled sample. */
static void teacher_targets_f32(dbi_loss_f32 *l, span unlabeled, const real *mask)
{
    const int64_t before = unlabeled.first * l->shape.classes * l->voxels;
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, unlabeled, c, at, n, sum)
        for (int64_t i = at; i < at + n; i++) {
            l->y[i] = l->teacher_p[i];
            l->weight[i] = mask ? mask[i - before] : 1;
        }
        END_CHUNKS
    }
}

/* The teacher's two outputs, each also seen through its transform, make the soft pseudo-label y, the pseudo-distance r and the voxel weights.
 * The teacher's arrays start at the first unlabelled sample; the targets' at the first sample. */
static void pseudo_targets_f32(dbi_loss_f32 *l, span unlabeled, const dbi_loss_input_f32 *in)
{
    const real k = (real)l->method.k, gamma = (real)l->method.gamma;
    const real ln2 = (real)0.69314718055994530942;
    const int64_t before = unlabeled.first * l->shape.classes * l->voxels;
    const bool uncertainty = l->method.uncertainty;
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, unlabeled, c, at, n, sum)
        for (int64_t i = at; i < at + n; i++) {
            const real p = l->teacher_p[i], r = in->teacher_sdf[i - before], a = 1 / (1 + exp(-k * r));
            real w = 1;
            if (uncertainty) {
                const real q = 1 - p;
                const real entropy = -(p > 0 ? p * log(p) : 0) - (q > 0 ? q * log(q) : 0);
                w = exp(-gamma * fabs(p - a)) * (1 - entropy / ln2);
                w = w > 0 ? w : 0; /* rounding may leave a hair below 0 at p = 1/2 */
            }
            l->y[i] = (p + a) / 2;
            l->r[i] = (r + l->teacher_s[i]) / 2;
            l->weight[i] = w;
        }
        END_CHUNKS
    }
}

static double mean_weight_f32(dbi_loss_f32 *l, span unlabeled)
{
    double mean = 0;
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, unlabeled, c, at, n, sum)
        double weights = 0;
        for (int64_t i = at; i < at + n; i++)
            weights += (double)l->weight[i];
        sum[0] = weights;
        END_CHUNKS
        double total[MAX_SUMS];
        add_up_f32(l, unlabeled, total);
        mean += total[0];
    }
    return mean / (double)(unlabeled.count * l->shape.classes * l->voxels);
}

/* How good the thresholded pseudo-label is, for the log alone: Dice, mean over classes, with every voxel alike and with the voxel weights. */
static void pseudo_dice_f32(dbi_loss_f32 *l, span unlabeled, const uint8_t *truth, dbi_loss_values *values)
{
    double dice[2] = {0, 0};
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, unlabeled, c, at, n, sum)
        const uint8_t *label = truth + (sample - unlabeled.first) * l->voxels + start;
        int64_t both = 0, either = 0;
        double weighted_both = 0, weighted_either = 0;
        for (int64_t i = 0; i < n; i++) {
            const int a = l->y[at + i] > (real)0.5, b = label[i] == c + 1;
            both += a & b;
            either += a + b;
            weighted_both += (a & b) * (double)l->weight[at + i];
            weighted_either += (a + b) * (double)l->weight[at + i];
        }
        sum[0] = (double)both;
        sum[1] = (double)either;
        sum[2] = weighted_both;
        sum[3] = weighted_either;
        END_CHUNKS
        double total[MAX_SUMS];
        add_up_f32(l, unlabeled, total);
        dice[0] += total[1] > 0 ? 2 * total[0] / total[1] : 1;
        dice[1] += total[3] > 0 ? 2 * total[2] / total[3] : 1;
    }
    values->pseudo_dice = dice[0] / (double)l->shape.classes;
    values->weighted_dice = dice[1] / (double)l->shape.classes;
}

/* The derivative of the chain logits -> p, sdf -> T_r2s(sdf). dlogits and dsdf hold what reached them directly. */
static void chain_f32(const dbi_loss_f32 *l, real *dlogits, real *dsdf)
{
    const span all = {0, l->shape.batch};
    const real k = (real)l->method.k;
    for (int64_t c = 0; c < l->shape.classes; c++) {
        FOR_CHUNKS(l, all, c, at, n, sum)
        for (int64_t i = at; i < at + n; i++) {
            dlogits[i] += l->dp[i] * l->p[i] * (1 - l->p[i]);
            dsdf[i] += k * l->da[i] * l->a[i] * (1 - l->a[i]);
        }
        END_CHUNKS
    }
}

/* One of the four seg terms: Dice, and cross-entropy where set. */
static double seg_f32(dbi_loss_f32 *l, span range, const real *q, const real *z, double scale, const real *w, double factor, real *dq, real *dz)
{
    double value = dice_f32(l, range, q, l->y, w, factor, dq);
    if (l->method.cross_entropy)
        value += cross_entropy_f32(l, range, z, scale, l->y, w, factor, dz);
    return value;
}

int dbi_loss_step_f32(dbi_loss_f32 *l, const dbi_loss_input_f32 *in, dbi_loss_values *values, real *dlogits, real *dsdf, dbi_error *error)
{
    const dbi_method *m = &l->method;
    const span all = {0, l->shape.batch}, labeled = {0, l->shape.labeled}, unlabeled = {l->shape.labeled, l->shape.batch - l->shape.labeled};
    const size_t bytes = (size_t)(l->shape.batch * l->shape.classes * l->voxels) * sizeof(real);
    const int64_t before = unlabeled.first * l->shape.classes * l->voxels;
    const bool teacher = in->teacher_logits && l->teacher_p;
    *values = (dbi_loss_values){.pseudo_dice = (double)NAN, .weighted_dice = (double)NAN};

    memset(l->dp, 0, bytes);
    memset(l->da, 0, bytes);
    memset(dlogits, 0, bytes);
    memset(dsdf, 0, bytes);
    sigmoid_f32(l, all, in->logits, 0, 1, l->p);
    sigmoid_f32(l, all, in->sdf, 0, m->k, l->a);
    label_targets_f32(l, labeled, in);
    if (l->s) {
        memset(l->ds, 0, bytes);
        free_tapes_f32(l);
        if (transform_f32(l, all, l->p, l->s, true, error))
            return -1;
    }
    if (teacher) {
        sigmoid_f32(l, unlabeled, in->teacher_logits, before, 1, l->teacher_p);
        if ((m->weight[DBI_TERM_PSEUDO_REG] > 0 || m->weight[DBI_TERM_PSEUDO_CROSS_REG] > 0) &&
            transform_f32(l, unlabeled, l->teacher_p, l->teacher_s, false, error))
            return -1;
        if (has_pseudo_terms(m))
            pseudo_targets_f32(l, unlabeled, in);
        else
            teacher_targets_f32(l, unlabeled, in->teacher_mask);
        values->voxel_weight = mean_weight_f32(l, unlabeled);
        if (in->truth)
            pseudo_dice_f32(l, unlabeled, in->truth, values);
    }
    for (int t = 0; t < DBI_TERMS; t++) {
        const dbi_term_info *info = &dbi_terms[t];
        const double factor = m->weight[t] * (info->unsupervised ? in->ramp : 1) * (info->regression ? m->beta : 1);
        const span range = t <= DBI_TERM_CROSS_REG ? labeled : info->teacher ? unlabeled : all;
        if (!(m->weight[t] > 0) || !range.count || (info->teacher && !teacher))
            continue;
        const real *w = info->teacher ? l->weight : NULL;
        double value = 0;
        switch ((dbi_term)t) {
        case DBI_TERM_SEG:
        case DBI_TERM_PSEUDO_SEG:
            value = seg_f32(l, range, l->p, in->logits, 1, w, factor, l->dp, dlogits);
            break;
        case DBI_TERM_CROSS_SEG:
        case DBI_TERM_PSEUDO_CROSS_SEG:
            value = seg_f32(l, range, l->a, in->sdf, m->k, w, factor, l->da, dsdf);
            break;
        case DBI_TERM_REG:
        case DBI_TERM_PSEUDO_REG:
            value = square_f32(l, range, in->sdf, l->r, w, 0, false, factor, dsdf, NULL);
            break;
        case DBI_TERM_CROSS_REG:
        case DBI_TERM_PSEUDO_CROSS_REG:
            value = square_f32(l, range, l->s, l->r, w, 0, false, factor, l->ds, NULL);
            break;
        case DBI_TERM_CONSISTENCY_SEG:
            value = square_f32(l, range, l->p, l->a, NULL, 0, false, factor, l->dp, l->da);
            break;
        case DBI_TERM_CONSISTENCY_REG:
            value = square_f32(l, range, in->sdf, l->s, NULL, 0, false, factor, dsdf, l->ds);
            break;
        case DBI_TERM_TEACHER:
            value = square_f32(l, range, l->p, l->teacher_p, in->teacher_mask, before, in->teacher_mask != NULL, factor, l->dp, NULL);
            break;
        case DBI_TERMS:
            break;
        }
        values->term[t] = value;
        values->total += factor * value;
    }
    if (l->s) {
        for (int64_t i = 0; i < l->shape.batch * l->shape.classes; i++) {
            real *ds = l->ds + i * l->voxels, *dp = l->dp + i * l->voxels;
            if (dbi_transform_backward_f32(l->tape[i], ds, ds, error))
                return -1;
#pragma omp parallel for simd schedule(static)
            for (int64_t v = 0; v < l->voxels; v++)
                dp[v] += ds[v];
        }
        free_tapes_f32(l);
    }
    chain_f32(l, dlogits, dsdf);
    return 0;
}
