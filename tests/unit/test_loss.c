/* Every term of the loss against its formula and against central differences in double, and float against double, for one
 * decoder and for two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cpu/loss.f64.h"
#include "cpu/loss.real.h"
#include "distance/levelset.f64.h"
#include "distance/levelset.real.h"
#include "distance/transform.f64.h"

enum { N = 3, M = 1, K = 2, X = 8, Y = 9, Z = 10, V = X * Y * Z, COUNT = N * K * V, THEIRS = (N - M) * K * V };
enum { MOST = 2, ALL = MOST * COUNT, ALL_THEIRS = MOST * THEIRS }; /* of two decoders */

typedef struct fields {
    double logits[ALL], sdf[ALL], teacher_logits[ALL_THEIRS], teacher_sdf[ALL_THEIRS], mask[THEIRS];
    uint8_t label[M * V];
    float label_sdf[M * K * V];
} fields;

/* A smooth field, as the output of a network is: a few random waves. */
static void waves(dbi_random *random, double amplitude, int64_t volumes, double *out)
{
    for (int64_t v = 0; v < volumes; v++) {
        double a[4][4];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                a[i][j] = j < 3 ? 0.9 * (dbi_random_uniform(random) - 0.5) : 6.28 * dbi_random_uniform(random);
        for (int x = 0; x < X; x++)
            for (int y = 0; y < Y; y++)
                for (int z = 0; z < Z; z++) {
                    double sum = 0;
                    for (int i = 0; i < 4; i++)
                        sum += sin(a[i][0] * x + a[i][1] * y + a[i][2] * z + a[i][3]);
                    out[((v * X + x) * Y + y) * Z + z] = amplitude * sum;
                }
    }
}

/* steepness: of the student's logits. The second decoder's are the first one's of another class or sample, with the other
 * sign: as steep. */
static void make_fields(fields *f, double steepness)
{
    for (int d = 0; d < MOST; d++) {
        dbi_random random;
        dbi_random_start(&random, 5, DBI_ROLE_TEST, 0, (uint32_t)d);
        waves(&random, steepness, N * K, f->logits + d * COUNT);
        waves(&random, 0.7, N * K, f->sdf + d * COUNT);
        waves(&random, 1.0, (N - M) * K, f->teacher_logits + d * THEIRS);
        waves(&random, 0.7, (N - M) * K, f->teacher_sdf + d * THEIRS);
        for (int i = 0; i < THEIRS && d == 0; i++)
            f->mask[i] = dbi_random_below(&random, 2);
        for (int i = 0; i < M * V && d == 0; i++)
            f->label[i] = (uint8_t)dbi_random_below(&random, K + 1);
        for (int i = 0; i < M * K * V && d == 0; i++)
            f->label_sdf[i] = (float)(2 * dbi_random_uniform(&random) - 1);
    }
    for (int i = 0; i < COUNT; i++)
        f->logits[COUNT + i] = -f->logits[(i + V) % COUNT];
    for (int i = 0; i < ALL; i++)
        f->sdf[i] = tanh(f->sdf[i]);
    for (int i = 0; i < ALL_THEIRS; i++)
        f->teacher_sdf[i] = tanh(f->teacher_sdf[i]);
}

static dbi_method method_of(int term, const char *transform, double k)
{
    dbi_method m;
    dbi_error error;
    assert_int_equal(dbi_method_preset("dbisl", &m, &error), 0);
    for (int i = 0; i < DBI_TERMS; i++)
        m.weight[i] = term < 0 ? 0.5 + 0.1 * i : i == term;
    m.k = k;
    m.normalize.t = 4;
    assert_int_equal(dbi_transform_parse(transform, &m.transform, &error), 0);
    return m;
}

static void run(const dbi_method *m, const fields *f, int decoders, dbi_loss_values *values, double *dlogits,
                double *dsdf)
{
    dbi_error error = {""};
    const dbi_loss_shape shape = {N, M, K, {X, Y, Z}, decoders};
    dbi_loss_f64 *loss = dbi_loss_open_f64(m, &shape, &error);
    assert_non_null(loss);
    const dbi_loss_input_f64 in = {.logits = f->logits,
                                   .sdf = f->sdf,
                                   .teacher_logits = f->teacher_logits,
                                   .teacher_sdf = f->teacher_sdf,
                                   .teacher_mask = f->mask,
                                   .label = f->label,
                                   .label_sdf = f->label_sdf,
                                   .ramp = 0.7};
    if (dbi_loss_step_f64(loss, &in, values, dlogits, dsdf, &error))
        fail_msg("%s", error.text);
    dbi_loss_close_f64(loss);
}

/* All quantities of all voxels as a decoder has them, by their definitions. */
typedef struct quantities {
    double of[DBI_QUANTITIES][COUNT], weight[DBI_VOXELS][COUNT];
} quantities;

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

static void distances_of(const dbi_method *m, const double *p, int maps, double *to)
{
    dbi_error error;
    const int64_t size[3] = {X, Y, Z};
    for (int i = 0; i < maps; i++)
        assert_int_equal(
            dbi_transform_forward_f64(&m->transform, &m->normalize, size, p + i * V, to + i * V, NULL, &error), 0);
}

/* Largest minus smallest. */
static double spread(const double *x, int count)
{
    double least = x[0], most = x[0];
    for (int i = 1; i < count; i++) {
        least = fmin(least, x[i]);
        most = fmax(most, x[i]);
    }
    return most - least;
}

/* What p, a = T_r2s(r), r and s = T_s2r(p) of all decoders make of a voxel. */
typedef struct said {
    double p[MOST], a[MOST], r[MOST], s[MOST];
} said;

static double weight_of(const dbi_method *m, const said *x, int decoders)
{
    double probabilities[2 * MOST] = {0}, distances[2 * MOST] = {0};
    const double mean = (x->p[0] + x->p[decoders - 1]) / 2;
    for (int d = 0; d < decoders; d++) {
        probabilities[2 * d] = x->p[d];
        probabilities[2 * d + 1] = x->a[d];
        distances[2 * d] = x->r[d];
        distances[2 * d + 1] = x->s[d];
    }
    const double entropy = -mean * log(mean) - (1 - mean) * log(1 - mean);
    return m->uncertainty
               ? exp(-m->gamma * spread(probabilities, 2 * decoders) - m->delta * spread(distances, 2 * decoders) / 2) *
                     (1 - entropy / log(2))
               : 1;
}

/* Whether a term of the method compares this quantity, or has these voxel weights. T_s2r takes most of the test's time. */
static bool any_needs(const dbi_method *m, dbi_term_quantity quantity, dbi_term_voxels voxels)
{
    for (int t = 0; t < DBI_TERMS; t++)
        if (m->weight[t] > 0 && (dbi_term_needs(t, quantity) || dbi_terms[t].voxels == voxels))
            return true;
    return false;
}

static void define_student(const dbi_method *m, const fields *f, int decoder, quantities *q)
{
    for (int i = 0; i < COUNT; i++) {
        q->of[DBI_OF_LOGIT][i] = f->logits[decoder * COUNT + i];
        q->of[DBI_OF_R][i] = f->sdf[decoder * COUNT + i];
        q->of[DBI_OF_P][i] = sigmoid(q->of[DBI_OF_LOGIT][i]);
        q->of[DBI_OF_A][i] = sigmoid(m->k * q->of[DBI_OF_R][i]);
    }
    if (any_needs(m, DBI_OF_S, DBI_VOXELS_AGREED))
        distances_of(m, q->of[DBI_OF_P], N * K, q->of[DBI_OF_S]);
}

static void define_label(const fields *f, quantities *q)
{
    for (int k = 0; k < DBI_VOXELS; k++)
        for (int i = 0; i < COUNT; i++)
            q->weight[k][i] = 1;
    for (int i = 0; i < COUNT - THEIRS; i++) {
        q->of[DBI_OF_LABEL][i] = f->label[i / V / K * V + i % V] == i / V % K + 1;
        q->of[DBI_OF_DISTANCE][i] = (double)f->label_sdf[i];
    }
}

static void define_teacher(const dbi_method *m, const fields *f, int decoders, quantities *q)
{
    static double p[ALL_THEIRS], s[ALL_THEIRS];
    for (int i = 0; i < decoders * THEIRS; i++)
        p[i] = sigmoid(f->teacher_logits[i]);
    if (any_needs(m, DBI_OF_PSEUDO_DISTANCE, DBI_VOXELS_WEIGHTED))
        distances_of(m, p, decoders * (N - M) * K, s);
    for (int i = 0, at = COUNT - THEIRS; i < THEIRS; i++, at++) {
        said x;
        double label = 0, distance = 0, mean = 0;
        for (int d = 0; d < decoders; d++) {
            x.p[d] = p[d * THEIRS + i];
            x.r[d] = f->teacher_sdf[d * THEIRS + i];
            x.a[d] = sigmoid(m->k * x.r[d]);
            x.s[d] = s[d * THEIRS + i];
            mean += x.p[d] / decoders;
            label += (x.p[d] + x.a[d]) / (2 * decoders);
            distance += (x.r[d] + x.s[d]) / (2 * decoders);
        }
        for (int d = 0; d < decoders; d++) {
            q[d].of[DBI_OF_TEACHER_P][at] = mean;
            q[d].of[DBI_OF_PSEUDO_LABEL][at] = label;
            q[d].of[DBI_OF_PSEUDO_DISTANCE][at] = distance;
            q[d].weight[DBI_VOXELS_KEPT][at] = f->mask[i];
            q[d].weight[DBI_VOXELS_WEIGHTED][at] = weight_of(m, &x, decoders);
        }
    }
}

static void define_exchange(const dbi_method *m, quantities q[MOST])
{
    for (int i = 0; i < COUNT; i++) {
        said x;
        for (int d = 0; d < MOST; d++) {
            x.p[d] = q[d].of[DBI_OF_P][i];
            x.a[d] = q[d].of[DBI_OF_A][i];
            x.r[d] = q[d].of[DBI_OF_R][i];
            x.s[d] = q[d].of[DBI_OF_S][i];
            q[1 - d].of[DBI_OF_OTHER_P][i] = x.p[d];
            q[1 - d].of[DBI_OF_OTHER_R][i] = x.r[d];
            q[1 - d].of[DBI_OF_OTHER_LABEL][i] = (x.p[d] + x.a[d]) / 2;
            q[1 - d].of[DBI_OF_OTHER_DISTANCE][i] = (x.r[d] + x.s[d]) / 2;
        }
        for (int d = 0; d < MOST; d++)
            q[d].weight[DBI_VOXELS_AGREED][i] = weight_of(m, &x, MOST);
    }
}

static void define(const dbi_method *m, const fields *f, int decoders, quantities q[MOST])
{
    memset(q, 0, MOST * sizeof *q);
    for (int d = 0; d < decoders; d++) {
        define_student(m, f, d, &q[d]);
        define_label(f, &q[d]);
    }
    define_teacher(m, f, decoders, q);
    if (decoders == MOST)
        define_exchange(m, q);
}

/* Dice loss of one class, q, y and w being of its first sample. */
static double dice_of(const double *q, const double *y, const double *w, int samples)
{
    double qy = 0, qq = 0, yy = 0;
    for (int n = 0; n < samples; n++)
        for (int i = n * K * V; i < n * K * V + V; i++) {
            qy += w[i] * q[i] * y[i];
            qq += w[i] * q[i] * q[i];
            yy += w[i] * y[i] * y[i];
        }
    return 1 - (2 * qy + 1e-5) / (qq + yy + 1e-5);
}

/* Term t of one decoder written down a second time. */
static double value_of_one(int t, const dbi_method *m, const quantities *all)
{
    const dbi_term_info *term = &dbi_terms[t];
    const int first = term->samples == DBI_SAMPLES_UNLABELED ? M : 0,
              samples = term->samples == DBI_SAMPLES_LABELED ? M : N - first;
    const int from = first * K * V, count = samples * K * V;
    const double *q = all->of[term->what] + from, *y = all->of[term->against] + from,
                 *w = all->weight[term->voxels] + from;
    double squares = 0, entropy = 0, weights = 0, dice = 0;
    for (int i = 0; i < count; i++) {
        squares += w[i] * (q[i] - y[i]) * (q[i] - y[i]);
        entropy -= w[i] * (y[i] * log(q[i]) + (1 - y[i]) * log(1 - q[i]));
        weights += w[i];
    }
    switch (term->form) {
    case DBI_FORM_DICE:
        for (int c = 0; c < K; c++)
            dice += dice_of(q + c * V, y + c * V, w + c * V, samples) / K;
        return dice + (m->cross_entropy ? entropy / count : 0);
    case DBI_FORM_SQUARE:
        return squares / count;
    case DBI_FORM_MASKED:
        return squares / weights;
    }
    fail_msg("%s: this form is not written down here", term->name);
    return NAN;
}

static bool is_computed(int t, const dbi_method *m, int decoders)
{
    return m->weight[t] > 0 && (decoders > 1 || !dbi_term_needs_decoders(t));
}

/* The mean over the decoders. */
static double value_of(int t, const dbi_method *m, int decoders, const quantities *all)
{
    double sum = 0;
    for (int d = 0; d < decoders && is_computed(t, m, decoders); d++)
        sum += value_of_one(t, m, &all[d]);
    return sum / decoders;
}

static double total_of(const dbi_method *m, int decoders, const quantities *all)
{
    double total = 0;
    for (int t = 0; t < DBI_TERMS; t++)
        total += m->weight[t] * (dbi_terms[t].times & DBI_TIMES_LAMBDA ? 0.7 : 1) *
                 (dbi_terms[t].times & DBI_TIMES_BETA ? m->beta : 1) * value_of(t, m, decoders, all);
    return total;
}

/* The total where the student says something else. What the teacher says, and what the decoders tell each other, stays:
 * these are constants for the gradient. */
static double total_at(const dbi_method *m, int decoders, const fields *moved, quantities *q)
{
    for (int d = 0; d < decoders; d++)
        define_student(m, moved, d, &q[d]);
    for (int d = 0; d < decoders && decoders == MOST; d++) {
        memcpy(q[d].of[DBI_OF_OTHER_P], q[1 - d].of[DBI_OF_P], sizeof q[d].of[0]);
        memcpy(q[d].of[DBI_OF_OTHER_R], q[1 - d].of[DBI_OF_R], sizeof q[d].of[0]);
    }
    return total_of(m, decoders, q);
}

/* Along random smooth directions, in each of the two kinds of output. */
static void check_gradient(const dbi_method *m, int decoders, double steepness, const char *what)
{
    static fields f, moved;
    static quantities all[MOST];
    static double dlogits[ALL], dsdf[ALL], direction[ALL];
    dbi_loss_values values;
    make_fields(&f, steepness);
    define(m, &f, decoders, all);
    run(m, &f, decoders, &values, dlogits, dsdf);
    dbi_random random;
    dbi_random_start(&random, 6, DBI_ROLE_TEST, 0, 0);
    for (int side = 0; side < 2; side++)
        for (int repeat = 0; repeat < 3; repeat++) {
            waves(&random, 1, decoders * N * K, direction);
            const double h = 1e-6;
            double end[2], expected = 0, size = 0;
            for (int sign = 0; sign < 2; sign++) {
                moved = f;
                double *array = side ? moved.sdf : moved.logits;
                for (int i = 0; i < decoders * COUNT; i++)
                    array[i] += (sign ? h : -h) * direction[i];
                end[sign] = total_at(m, decoders, &moved, all);
            }
            for (int i = 0; i < decoders * COUNT; i++) {
                const double g = (side ? dsdf : dlogits)[i] * direction[i];
                expected += g;
                size += g * g;
            }
            const double difference = (end[1] - end[0]) / (2 * h);
            if (!(fabs(difference - expected) <= 1e-4 * fmax(fabs(expected), sqrt(size)) + 1e-9))
                fail_msg("%s, %d decoders, side %d: difference quotient %.10g, gradient %.10g", what, decoders, side,
                         difference, expected);
        }
}

static void every_term_has_its_gradient(void **state)
{
    (void)state;
    for (int decoders = 1; decoders <= MOST; decoders++)
        for (int term = 0; term < DBI_TERMS; term++) {
            dbi_method m = method_of(term, "conv:1,3", 8);
            m.delta = 1.5;
            check_gradient(&m, decoders, 0.7, dbi_terms[term].name);
            m.cross_entropy = true;
            if (dbi_terms[term].form == DBI_FORM_DICE)
                check_gradient(&m, decoders, 0.7, dbi_terms[term].name);
        }
}

/* The level set's gradient is bounded where p hardly changes across it; there it is not the derivative, so the field of
 * this test must be steep wherever it crosses 1/2. */
static void assert_steep(const fields *f)
{
    const int stride[3] = {Y * Z, Z, 1}, size[3] = {X, Y, Z};
    for (int i = 0; i < ALL; i++)
        for (int axis = 0; axis < 3; axis++)
            if (i % V / stride[axis] % size[axis] + 1 < size[axis]) {
                const double a = 1 / (1 + exp(-f->logits[i])), b = 1 / (1 + exp(-f->logits[i + stride[axis]]));
                assert_true((a > 0.5) == (b > 0.5) || fabs(a - b) > 1.01 * DBI_LEVELSET_FLOOR);
            }
}

enum { STEEP = 12 };

static void levelset_terms_have_their_gradients(void **state)
{
    (void)state;
    static fields f;
    make_fields(&f, STEEP);
    assert_steep(&f);
    for (int decoders = 1; decoders <= MOST; decoders++)
        for (int term = -1; term < DBI_TERMS; term++)
            if (term < 0 || dbi_term_needs(term, DBI_OF_S)) {
                const dbi_method m = method_of(term, "levelset", 8);
                check_gradient(&m, decoders, STEEP, term < 0 ? "all" : dbi_terms[term].name);
            }
}

static void check_float(int decoders, double k, double tolerance)
{
    static fields f;
    static float logits[ALL], sdf[ALL], teacher_logits[ALL_THEIRS], teacher_sdf[ALL_THEIRS], mask[THEIRS], dlogits[ALL],
        dsdf[ALL];
    static double dlogits64[ALL], dsdf64[ALL];
    make_fields(&f, 0.7);
    /* both start from the same single-precision numbers */
    for (int i = 0; i < ALL; i++) {
        f.logits[i] = logits[i] = (float)f.logits[i];
        f.sdf[i] = sdf[i] = (float)f.sdf[i];
    }
    for (int i = 0; i < ALL_THEIRS; i++) {
        f.teacher_logits[i] = teacher_logits[i] = (float)f.teacher_logits[i];
        f.teacher_sdf[i] = teacher_sdf[i] = (float)f.teacher_sdf[i];
    }
    for (int i = 0; i < THEIRS; i++)
        mask[i] = (float)f.mask[i];
    const dbi_method m = method_of(-1, "levelset", k);
    dbi_loss_values values, values64;
    run(&m, &f, decoders, &values64, dlogits64, dsdf64);
    dbi_error error = {""};
    const dbi_loss_shape shape = {N, M, K, {X, Y, Z}, decoders};
    dbi_loss_f32 *loss = dbi_loss_open_f32(&m, &shape, &error);
    assert_non_null(loss);
    const dbi_loss_input_f32 in = {.logits = logits,
                                   .sdf = sdf,
                                   .teacher_logits = teacher_logits,
                                   .teacher_sdf = teacher_sdf,
                                   .teacher_mask = mask,
                                   .label = f.label,
                                   .label_sdf = f.label_sdf,
                                   .ramp = 0.7};
    assert_int_equal(dbi_loss_step_f32(loss, &in, &values, dlogits, dsdf, &error), 0);
    dbi_loss_close_f32(loss);
    assert_true(fabs(values.total - values64.total) <= tolerance * fabs(values64.total));
    double error2 = 0, norm2 = 0;
    for (int i = 0; i < decoders * COUNT; i++) {
        error2 += pow(dlogits[i] - dlogits64[i], 2) + pow(dsdf[i] - dsdf64[i], 2);
        norm2 += pow(dlogits64[i], 2) + pow(dsdf64[i], 2);
    }
    if (!(error2 <= pow(tolerance, 2) * norm2))
        fail_msg("%d decoders, k = %g: relative difference of the gradients %g", decoders, k, sqrt(error2 / norm2));
}

static void float_agrees_with_double(void **state)
{
    (void)state;
    for (int decoders = 1; decoders <= MOST; decoders++) {
        check_float(decoders, 40, 1e-4);
        check_float(decoders, 1500, 1e-2);
    }
}

/* Each by itself and among all others, whose sums must not get into its own. */
static void every_term_is_its_formula(void **state)
{
    (void)state;
    static fields f;
    static quantities all[MOST];
    static double dlogits[ALL], dsdf[ALL];
    make_fields(&f, 0.7);
    for (int variant = 0; variant < 16; variant++) {
        const int decoders = variant & 8 ? 2 : 1;
        if ((variant & 6) == 4)
            continue; /* without uncertainty delta is for nothing */
        for (int term = -1; term < DBI_TERMS; term++) {
            dbi_loss_values values;
            dbi_method m = method_of(term, "conv:1,3", 8);
            m.cross_entropy = variant & 1;
            m.uncertainty = variant & 2;
            m.delta = variant & 4 ? 1.5 : 0;
            if (term < 0)
                define(&m, &f, decoders, all);
            run(&m, &f, decoders, &values, dlogits, dsdf);
            for (int t = 0; t < DBI_TERMS; t++) {
                const double want = value_of(t, &m, decoders, all);
                if (!(fabs(values.term[t] - want) <= 1e-12 * fabs(want)))
                    fail_msg("%s, variant %d: %.15g, expected %.15g", dbi_terms[t].name, variant, values.term[t], want);
            }
            const double total = total_of(&m, decoders, all);
            assert_true(fabs(values.total - total) <= 1e-12 * total);
        }
    }
}

static void assert_same_values(const dbi_loss_values *a, const dbi_loss_values *b, const char *what)
{
    for (int t = 0; t < DBI_TERMS; t++)
        if (a->term[t] != b->term[t])
            fail_msg("%s: %s is %.17g, expected %.17g", what, dbi_terms[t].name, a->term[t], b->term[t]);
    assert_true(a->total == b->total && a->voxel_weight == b->voxel_weight);
}

/* The presets, then all terms together. NULL behind the last. */
static const char *method_number(int i, dbi_method *m)
{
    dbi_error error;
    const char *name = dbi_method_preset_name(i);
    if (name)
        assert_int_equal(dbi_method_preset(name, m, &error), 0);
    else
        *m = method_of(-1, "levelset", 8);
    m->delta = 1.5;
    return name ? name : i && dbi_method_preset_name(i - 1) ? "all terms" : NULL;
}

/* Two equal decoders have the loss of one, and of its gradient each a half, but for the terms between them. */
static void equal_decoders_are_one(void **state)
{
    (void)state;
    static fields f;
    static double one[2][COUNT], two[2][ALL];
    dbi_method m;
    make_fields(&f, 0.7);
    memcpy(f.logits + COUNT, f.logits, sizeof f.logits / 2);
    memcpy(f.sdf + COUNT, f.sdf, sizeof f.sdf / 2);
    memcpy(f.teacher_logits + THEIRS, f.teacher_logits, sizeof f.teacher_logits / 2);
    memcpy(f.teacher_sdf + THEIRS, f.teacher_sdf, sizeof f.teacher_sdf / 2);
    for (int i = 0; method_number(i, &m); i++) {
        const char *name = method_number(i, &m);
        dbi_loss_values of_one, of_two;
        dbi_method_fit(&m, 1);
        run(&m, &f, 1, &of_one, one[0], one[1]);
        run(&m, &f, 2, &of_two, two[0], two[1]);
        assert_same_values(&of_two, &of_one, name);
        for (int side = 0; side < 2; side++)
            for (int j = 0; j < ALL; j++)
                assert_true(fabs(2 * two[side][j] - one[side][j % COUNT]) < 1e-300); /* the smallest numbers round */
    }
}

/* No decoder comes before the other. */
static void decoders_can_change_places(void **state)
{
    (void)state;
    static fields f, g;
    static double a[2][ALL], b[2][ALL];
    dbi_method m;
    make_fields(&f, 0.7);
    g = f;
    for (int d = 0; d < MOST; d++) {
        memcpy(g.logits + (1 - d) * COUNT, f.logits + d * COUNT, sizeof f.logits / 2);
        memcpy(g.sdf + (1 - d) * COUNT, f.sdf + d * COUNT, sizeof f.sdf / 2);
        memcpy(g.teacher_logits + (1 - d) * THEIRS, f.teacher_logits + d * THEIRS, sizeof f.teacher_logits / 2);
        memcpy(g.teacher_sdf + (1 - d) * THEIRS, f.teacher_sdf + d * THEIRS, sizeof f.teacher_sdf / 2);
    }
    for (int i = 0; method_number(i, &m); i++) {
        const char *name = method_number(i, &m);
        dbi_loss_values of_f, of_g;
        run(&m, &f, 2, &of_f, a[0], a[1]);
        run(&m, &g, 2, &of_g, b[0], b[1]);
        assert_same_values(&of_g, &of_f, name);
        for (int side = 0; side < 2; side++)
            for (int j = 0; j < ALL; j++)
                assert_true(a[side][j] == b[side][(j + COUNT) % ALL]);
    }
}

/* Terms whose weight is 0, and everything unlabelled without a teacher, leave no trace. */
static void off_is_off(void **state)
{
    (void)state;
    static fields f;
    static double a[2][ALL], b[2][ALL];
    dbi_loss_values values;
    make_fields(&f, 0.7);
    dbi_method m = method_of(DBI_TERM_SEG, "levelset", 8);
    run(&m, &f, 2, &values, a[0], a[1]);
    for (int i = 0; i < ALL; i++)
        assert_true(i % COUNT < M * K * V || (a[0][i] == 0 && a[1][i] == 0));
    for (int i = 0; i < ALL_THEIRS; i++)
        f.teacher_logits[i] = -f.teacher_logits[i];
    run(&m, &f, 2, &values, b[0], b[1]);
    assert_memory_equal(a, b, sizeof a);
    for (int i = 0; i < DBI_TERMS; i++)
        assert_true((values.term[i] != 0) == (i == DBI_TERM_SEG));
}

static void ramp_and_rate(void **state)
{
    (void)state;
    dbi_method m;
    dbi_error error;
    assert_int_equal(dbi_method_preset("dtc", &m, &error), 0);
    m.ramp_steps = 6000;
    /* DTC's published ramp: lambda exp(-5 (1 - floor(t/150)/40)^2) */
    for (int t = 0; t < 7000; t += 77)
        assert_true(fabs(dbi_ramp(&m, t, 6000) - exp(-5 * pow(1 - fmin(floor(t / 150) / 40, 1), 2))) < 1e-12);
    strcpy(m.schedule, "every:2500");
    assert_true(fabs(dbi_rate(&m, 2499, 6000) - 0.01) < 1e-15 && fabs(dbi_rate(&m, 2500, 6000) - 0.001) < 1e-15);
    strcpy(m.schedule, "at:70%,90%");
    assert_true(fabs(dbi_rate(&m, 1049, 1500) - 0.01) < 1e-15 && fabs(dbi_rate(&m, 1050, 1500) - 0.001) < 1e-15 &&
                fabs(dbi_rate(&m, 1350, 1500) - 0.0001) < 1e-15);
    strcpy(m.schedule, "poly");
    assert_true(fabs(dbi_rate(&m, 500, 1000) - 0.01 * pow(0.5, 0.9)) < 1e-15);
    const char *bad[] = {"", "at:", "at:x", "at:-1", "at:120%", "every:0", "every:", "poly:0", "polynomial", "at:1,"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dbi_schedule_check(bad[i], &error), -1);
}

static void presets_are_what_they_say(void **state)
{
    (void)state;
    dbi_method m;
    dbi_error error;
    assert_int_equal(dbi_method_preset("nonsense", &m, &error), -1);
    for (int i = 0; dbi_method_preset_name(i); i++) {
        assert_int_equal(dbi_method_preset(dbi_method_preset_name(i), &m, &error), 0);
        assert_string_equal(m.name, dbi_method_preset_name(i));
        assert_int_equal(dbi_schedule_check(m.schedule, &error), 0);
        json_t *settings = dbi_method_settings(&m, 100, &error);
        assert_non_null(settings);
        json_decref(settings);
    }
    assert_int_equal(dbi_method_set_weight(&m, "cross-reg=0.25", &error), 0);
    assert_true(m.weight[DBI_TERM_CROSS_REG] == 0.25);
    assert_int_equal(dbi_method_set_weight(&m, "cross-reg=-1", &error), -1);
    assert_int_equal(dbi_method_set_weight(&m, "cross=1", &error), -1);
    assert_int_equal(dbi_method_without(&m, "pseudo", &error), 0);
    assert_false(dbi_method_needs_teacher(&m));
    assert_int_equal(dbi_method_without(&m, "pseudos", &error), -1);
}

/* Settings of a network with one decoder know nothing of two, and a delta of 0 is no setting. */
static void one_decoder_has_no_terms_between_two(void **state)
{
    (void)state;
    dbi_error error;
    for (int decoders = 1; decoders <= MOST; decoders++) {
        dbi_method m = method_of(-1, "levelset", 8);
        dbi_method_fit(&m, decoders);
        json_t *settings = dbi_method_settings(&m, 100, &error);
        assert_non_null(settings);
        for (int t = 0; t < DBI_TERMS; t++)
            assert_true((json_object_get(json_object_get(settings, "weights"), dbi_terms[t].name) != NULL) ==
                        (decoders > 1 || !dbi_term_needs_decoders(t)));
        assert_null(json_object_get(settings, "delta"));
        json_decref(settings);
        m.delta = 2;
        settings = dbi_method_settings(&m, 100, &error);
        assert_true(json_real_value(json_object_get(settings, "delta")) == 2);
        json_decref(settings);
        assert_int_equal(dbi_method_without(&m, "exchange", &error), 0);
        assert_true(m.weight[DBI_TERM_EXCHANGE_SEG] == 0 && m.weight[DBI_TERM_EXCHANGE_REG] == 0);
        assert_true((m.weight[DBI_TERM_DECODERS_SEG] > 0) == (decoders > 1));
        assert_int_equal(dbi_method_without(&m, "decoders", &error), 0);
        assert_true(m.weight[DBI_TERM_DECODERS_SEG] == 0 && m.weight[DBI_TERM_DECODERS_REG] == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_term_has_its_gradient),
        cmocka_unit_test(every_term_is_its_formula),
        cmocka_unit_test(levelset_terms_have_their_gradients),
        cmocka_unit_test(float_agrees_with_double),
        cmocka_unit_test(equal_decoders_are_one),
        cmocka_unit_test(decoders_can_change_places),
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(ramp_and_rate),
        cmocka_unit_test(presets_are_what_they_say),
        cmocka_unit_test(one_decoder_has_no_terms_between_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
