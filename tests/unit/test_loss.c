/* Every term of the loss against its formula and against central differences in double, and float against double. */
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

typedef struct fields {
    double logits[COUNT], sdf[COUNT], teacher_logits[THEIRS], teacher_sdf[THEIRS], mask[THEIRS];
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

/* steepness: of the student's logits. */
static void make_fields(fields *f, double steepness)
{
    dbi_random random;
    dbi_random_start(&random, 5, DBI_ROLE_TEST, 0, 0);
    waves(&random, steepness, N * K, f->logits);
    waves(&random, 0.7, N * K, f->sdf);
    waves(&random, 1.0, (N - M) * K, f->teacher_logits);
    waves(&random, 0.7, (N - M) * K, f->teacher_sdf);
    for (int i = 0; i < COUNT; i++)
        f->sdf[i] = tanh(f->sdf[i]);
    for (int i = 0; i < THEIRS; i++) {
        f->teacher_sdf[i] = tanh(f->teacher_sdf[i]);
        f->mask[i] = dbi_random_below(&random, 2);
    }
    for (int i = 0; i < M * V; i++)
        f->label[i] = (uint8_t)dbi_random_below(&random, K + 1);
    for (int i = 0; i < M * K * V; i++)
        f->label_sdf[i] = (float)(2 * dbi_random_uniform(&random) - 1);
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

static double run(const dbi_method *m, const fields *f, dbi_loss_values *values, double *dlogits, double *dsdf)
{
    dbi_error error = {""};
    const dbi_loss_shape shape = {N, M, K, {X, Y, Z}, 1};
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
    return values->total;
}

/* Along random smooth directions, in each of the two outputs. */
static void check_gradient(const dbi_method *m, double steepness, const char *what)
{
    static fields f, moved;
    static double dlogits[COUNT], dsdf[COUNT], spare[2][COUNT], direction[COUNT];
    dbi_loss_values values;
    make_fields(&f, steepness);
    run(m, &f, &values, dlogits, dsdf);
    dbi_random random;
    dbi_random_start(&random, 6, DBI_ROLE_TEST, 0, 0);
    for (int side = 0; side < 2; side++)
        for (int repeat = 0; repeat < 3; repeat++) {
            waves(&random, 1, N * K, direction);
            const double h = 1e-6;
            double end[2], expected = 0, size = 0;
            for (int sign = 0; sign < 2; sign++) {
                moved = f;
                double *array = side ? moved.sdf : moved.logits;
                for (int i = 0; i < COUNT; i++)
                    array[i] += (sign ? h : -h) * direction[i];
                end[sign] = run(m, &moved, &values, spare[0], spare[1]);
            }
            for (int i = 0; i < COUNT; i++) {
                const double g = (side ? dsdf : dlogits)[i] * direction[i];
                expected += g;
                size += g * g;
            }
            const double difference = (end[1] - end[0]) / (2 * h);
            if (!(fabs(difference - expected) <= 1e-4 * fmax(fabs(expected), sqrt(size)) + 1e-9))
                fail_msg("%s, side %d: difference quotient %.10g, gradient %.10g", what, side, difference, expected);
        }
}

static void every_term_has_its_gradient(void **state)
{
    (void)state;
    for (int term = 0; term < DBI_TERMS; term++) {
        dbi_method m = method_of(term, "conv:1,3", 8);
        check_gradient(&m, 0.7, dbi_terms[term].name);
        m.cross_entropy = true;
        check_gradient(&m, 0.7, dbi_terms[term].name);
    }
}

/* The level set's gradient is bounded where p hardly changes across it; there it is not the derivative, so the field of
 * this test must be steep wherever it crosses 1/2. */
static void assert_steep(const fields *f)
{
    const int stride[3] = {Y * Z, Z, 1}, size[3] = {X, Y, Z};
    for (int i = 0; i < COUNT; i++)
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
    for (int term = -1; term < DBI_TERMS; term++)
        if (term < 0 || dbi_term_needs(term, DBI_OF_S)) {
            const dbi_method m = method_of(term, "levelset", 8);
            check_gradient(&m, STEEP, term < 0 ? "all" : dbi_terms[term].name);
        }
}

static void float_agrees_with_double(void **state)
{
    (void)state;
    static fields f;
    static float logits[COUNT], sdf[COUNT], teacher_logits[THEIRS], teacher_sdf[THEIRS], mask[THEIRS], dlogits[COUNT],
        dsdf[COUNT];
    static double dlogits64[COUNT], dsdf64[COUNT];
    make_fields(&f, 0.7);
    /* both start from the same single-precision numbers */
    for (int i = 0; i < COUNT; i++) {
        f.logits[i] = logits[i] = (float)f.logits[i];
        f.sdf[i] = sdf[i] = (float)f.sdf[i];
    }
    for (int i = 0; i < THEIRS; i++) {
        f.teacher_logits[i] = teacher_logits[i] = (float)f.teacher_logits[i];
        f.teacher_sdf[i] = teacher_sdf[i] = (float)f.teacher_sdf[i];
        mask[i] = (float)f.mask[i];
    }
    const struct {
        double k, tolerance;
    } cases[] = {{40, 1e-4}, {1500, 1e-2}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const dbi_method m = method_of(-1, "levelset", cases[c].k);
        dbi_loss_values values, values64;
        run(&m, &f, &values64, dlogits64, dsdf64);
        dbi_error error = {""};
        const dbi_loss_shape shape = {N, M, K, {X, Y, Z}, 1};
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
        assert_true(fabs(values.total - values64.total) <= cases[c].tolerance * fabs(values64.total));
        double error2 = 0, norm2 = 0;
        for (int i = 0; i < COUNT; i++) {
            error2 += pow(dlogits[i] - dlogits64[i], 2) + pow(dsdf[i] - dsdf64[i], 2);
            norm2 += pow(dlogits64[i], 2) + pow(dsdf64[i], 2);
        }
        if (!(error2 <= pow(cases[c].tolerance, 2) * norm2))
            fail_msg("k = %g: relative difference of the gradients %g", cases[c].k, sqrt(error2 / norm2));
    }
}

/* All quantities of all voxels, by their definitions. */
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

static void define(const dbi_method *m, const fields *f, quantities *q)
{
    static double seen[THEIRS];
    memset(q, 0, sizeof *q);
    for (int i = 0; i < COUNT; i++) {
        q->of[DBI_OF_LOGIT][i] = f->logits[i];
        q->of[DBI_OF_R][i] = f->sdf[i];
        q->of[DBI_OF_P][i] = sigmoid(f->logits[i]);
        q->of[DBI_OF_A][i] = sigmoid(m->k * f->sdf[i]);
        for (int k = 0; k < DBI_VOXELS; k++)
            q->weight[k][i] = 1;
    }
    distances_of(m, q->of[DBI_OF_P], N * K, q->of[DBI_OF_S]);
    for (int i = 0; i < COUNT - THEIRS; i++) {
        q->of[DBI_OF_LABEL][i] = f->label[i / V / K * V + i % V] == i / V % K + 1;
        q->of[DBI_OF_DISTANCE][i] = (double)f->label_sdf[i];
    }
    double *p = q->of[DBI_OF_TEACHER_P] + COUNT - THEIRS;
    for (int i = 0; i < THEIRS; i++)
        p[i] = sigmoid(f->teacher_logits[i]);
    distances_of(m, p, (N - M) * K, seen);
    for (int i = 0, at = COUNT - THEIRS; i < THEIRS; i++, at++) {
        const double a = sigmoid(m->k * f->teacher_sdf[i]), entropy = -p[i] * log(p[i]) - (1 - p[i]) * log(1 - p[i]);
        q->of[DBI_OF_PSEUDO_LABEL][at] = (p[i] + a) / 2;
        q->of[DBI_OF_PSEUDO_DISTANCE][at] = (f->teacher_sdf[i] + seen[i]) / 2;
        q->weight[DBI_VOXELS_KEPT][at] = f->mask[i];
        if (m->uncertainty)
            q->weight[DBI_VOXELS_WEIGHTED][at] = exp(-m->gamma * fabs(p[i] - a)) * (1 - entropy / log(2));
    }
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

/* Term t written down a second time. */
static double value_of(int t, const dbi_method *m, const quantities *all)
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

/* Each by itself and among all others, whose sums must not get into its own. */
static void every_term_is_its_formula(void **state)
{
    (void)state;
    static fields f;
    static quantities all;
    static double dlogits[COUNT], dsdf[COUNT];
    make_fields(&f, 0.7);
    for (int variant = 0; variant < 4; variant++)
        for (int term = -1; term < DBI_TERMS; term++) {
            dbi_loss_values values;
            dbi_method m = method_of(term, "conv:1,3", 8);
            m.cross_entropy = variant & 1;
            m.uncertainty = variant & 2;
            define(&m, &f, &all);
            run(&m, &f, &values, dlogits, dsdf);
            double total = 0;
            for (int t = 0; t < DBI_TERMS; t++) {
                const double want = m.weight[t] > 0 ? value_of(t, &m, &all) : 0;
                if (!(fabs(values.term[t] - want) <= 1e-12 * fabs(want)))
                    fail_msg("%s, variant %d: %.15g, expected %.15g", dbi_terms[t].name, variant, values.term[t], want);
                total += m.weight[t] * (dbi_terms[t].times & DBI_TIMES_LAMBDA ? 0.7 : 1) *
                         (dbi_terms[t].times & DBI_TIMES_BETA ? m.beta : 1) * want;
            }
            assert_true(fabs(values.total - total) <= 1e-12 * total);
        }
}

/* Terms whose weight is 0, and everything unlabelled without a teacher, leave no trace. */
static void off_is_off(void **state)
{
    (void)state;
    static fields f;
    static double a[2][COUNT], b[2][COUNT];
    dbi_loss_values values;
    make_fields(&f, 0.7);
    dbi_method m = method_of(DBI_TERM_SEG, "levelset", 8);
    run(&m, &f, &values, a[0], a[1]);
    for (int i = M * K * V; i < COUNT; i++)
        assert_true(a[0][i] == 0 && a[1][i] == 0);
    for (int i = 0; i < THEIRS; i++)
        f.teacher_logits[i] = -f.teacher_logits[i];
    run(&m, &f, &values, b[0], b[1]);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_term_has_its_gradient),
        cmocka_unit_test(every_term_is_its_formula),
        cmocka_unit_test(levelset_terms_have_their_gradients),
        cmocka_unit_test(float_agrees_with_double),
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(ramp_and_rate),
        cmocka_unit_test(presets_are_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
