/* The CUDA device's loss against the library's, for every preset and every term alone: its kernels in their order,
 * without a GPU run on the host (emulated.h); the teacher's noise and mask against the library's random numbers and the
 * formula. What that cannot show is what CUDA itself does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "base/random.h"
#include "cpu/loss.real.h"
#include "cuda/loss.h"
#include "cuda/loss_math.h"
#include "device_memory.h"
#include "distance/normalize.h"

/* Large enough for a second chunk of sums, and a last block that is not full. */
enum {
    X = 18,
    Y = 17,
    Z = 15,
    V = X * Y * Z,
    MOST_SAMPLES = 4,
    MOST_CLASSES = 3,
    MOST = MOST_SAMPLES * MOST_CLASSES * V
};

/* Everything that a step may need, for any shape. */
typedef struct fields {
    float logits[MOST], sdf[MOST], teacher_logits[MOST], teacher_sdf[MOST], mask[MOST], label_sdf[MOST];
    uint8_t label[MOST_SAMPLES * V], truth[MOST_SAMPLES * V];
    dbi_cuda_parameters parameters;
} fields;

/* Smooth fields, as the outputs of a network are: a few random waves. */
static void wave(dbi_random *random, double amplitude, float *out)
{
    double a[4][4];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            a[i][j] = j < 3 ? 0.9 * (dbi_random_uniform(random) - 0.5) : 6.28 * dbi_random_uniform(random);
    for (int i = 0; i < V; i++) {
        double sum = 0;
        for (int k = 0; k < 4; k++)
            sum += sin(a[k][0] * (i / (Y * Z)) + a[k][1] * (i / Z % Y) + a[k][2] * (i % Z) + a[k][3]);
        out[i] = (float)(amplitude * sum);
    }
}

static void waves(dbi_random *random, double amplitude, float *out)
{
    for (int v = 0; v < MOST / V; v++)
        wave(random, amplitude, out + v * V);
}

/* Where the probabilities pass 1/2 between two voxels, and how far a rounding moves that place. */
typedef struct crossing {
    double at[3], blur;
} crossing;

static int crossings_of(const float *p, crossing *to)
{
    static const int size[3] = {X, Y, Z}, stride[3] = {Y * Z, Z, 1};
    int count = 0;
    for (int i = 0; i < V; i++) {
        const int at[3] = {i / (Y * Z), i / Z % Y, i % Z};
        for (int axis = 0; axis < 3; axis++) {
            if (at[axis] + 1 == size[axis] || (p[i] > 0.5f) == (p[i + stride[axis]] > 0.5f))
                continue;
            const double a = (double)p[i], change = (double)p[i + stride[axis]] - a;
            crossing *c = &to[count++];
            for (int k = 0; k < 3; k++)
                c->at[k] = at[k] + (k == axis ? (0.5 - a) / change : 0);
            c->blur = 1e-6 / fabs(change);
        }
    }
    return count;
}

/* Does the gradient through the level set jump within a rounding of these logits: a voxel on the surface, one with two
 * feet equally far, or one at a distance where the slope changes? */
static bool rounding_decides(const float *z)
{
    static const double kinks[] = {
        0.25, 1,
        3.7415082721930926}; /* of the way from the foot on to a centre; both together 4, where clip:4 cuts off */
    static crossing feet[3 * V];
    static float p[V];
    static double d[3 * V];
    for (int i = 0; i < V; i++) {
        p[i] = (float)(1 / (1 + exp(-(double)z[i])));
        if (fabs((double)p[i] - 0.5) < 1e-6)
            return true;
    }
    const int count = crossings_of(p, feet);
    for (int i = 0; i < V; i++) {
        double most = INFINITY;
        int candidates = 0;
        for (int k = 0; k < count; k++) {
            const double x = feet[k].at[0] - i / (Y * Z), y = feet[k].at[1] - i / Z % Y, w = feet[k].at[2] - i % Z;
            d[k] = sqrt(x * x + y * y + w * w);
            most = fmin(most, d[k] * (1 + 1e-6) + feet[k].blur);
        }
        for (int k = 0; k < count; k++) {
            const double blur = feet[k].blur + 1e-6 * d[k];
            if (d[k] - blur > most)
                continue;
            bool decided = candidates++ == 0;
            for (size_t j = 0; j < sizeof kinks / sizeof *kinks; j++)
                decided = decided && fabs(d[k] - kinks[j]) > blur;
            if (!decided)
                return true;
        }
    }
    return false;
}

/* The student's logits: drawn again, map by map, until they say which foot each voxel has. */
static const float *decided_logits(dbi_random *random)
{
    static float logits[MOST];
    static bool drawn;
    for (int v = 0; v < MOST / V && !drawn; v++)
        do
            wave(random, 2.5, logits + v * V);
        while (rounding_decides(logits + v * V));
    drawn = true;
    return logits;
}

static fields *make_fields(int classes)
{
    fields *f = calloc(1, sizeof *f);
    assert_non_null(f);
    dbi_random random;
    dbi_random_start(&random, 21, DBI_ROLE_TEST, 1, 0);
    memcpy(f->logits, decided_logits(&random), sizeof f->logits);
    dbi_random_start(&random, 21, DBI_ROLE_TEST, 0, 0);
    waves(&random, 0.7, f->sdf);
    waves(&random, 2.5, f->teacher_logits);
    waves(&random, 0.7, f->teacher_sdf);
    for (int i = 0; i < MOST; i++) {
        f->sdf[i] = tanhf(f->sdf[i]);
        f->teacher_sdf[i] = tanhf(f->teacher_sdf[i]);
        f->mask[i] = (float)dbi_random_below(&random, 2);
        f->label_sdf[i] = (float)(2 * dbi_random_uniform(&random) - 1);
    }
    for (int i = 0; i < MOST_SAMPLES * V; i++) {
        f->label[i] = (uint8_t)dbi_random_below(&random, (uint32_t)classes + 1);
        f->truth[i] = (uint8_t)dbi_random_below(&random, (uint32_t)classes + 1);
    }
    f->parameters.ramp = 0.7;
    return f;
}

typedef struct outcome {
    dbi_loss_values values;
    float dlogits[MOST], dsdf[MOST];
} outcome;

/* Which of the inputs are there. */
typedef struct given {
    bool teacher, mask, truth;
} given;

static void on_device(const dbi_method *m, const dbi_loss_shape *shape, const fields *f, given g, outcome *o)
{
    dbi_arena arena = {0};
    dbi_error error = {""};
    fields *at;
    outcome *to;
    dbi_cuda_loss *loss = dbi_cuda_loss_new(m, shape, &arena, &error);
    if (!loss)
        fail_msg("%s", error.text);
    device_need(&arena, &at, sizeof *at);
    device_need(&arena, &to, sizeof *to);
    device_open_arena(&arena);
    device_put(at, f, sizeof *f);
    const dbi_cuda_loss_input in = {.logits = at->logits,
                                    .sdf = at->sdf,
                                    .teacher_logits = g.teacher ? at->teacher_logits : NULL,
                                    .teacher_sdf = g.teacher ? at->teacher_sdf : NULL,
                                    .teacher_mask = g.mask ? at->mask : NULL,
                                    .label = at->label,
                                    .label_sdf = at->label_sdf,
                                    .truth = g.truth ? at->truth : NULL,
                                    .parameters = &at->parameters};
    if (dbi_cuda_loss_step(loss, test_stream, &in, &to->values, to->dlogits, to->dsdf, &error))
        fail_msg("%s", error.text);
    device_get(o, to, sizeof *o);
    dbi_cuda_loss_free(loss);
    dbi_arena_close(&arena);
}

static void in_library(const dbi_method *m, const dbi_loss_shape *shape, const fields *f, given g, outcome *o)
{
    dbi_error error = {""};
    dbi_loss_f32 *loss = dbi_loss_open_f32(m, shape, &error);
    assert_non_null(loss);
    const dbi_loss_input_f32 in = {.logits = f->logits,
                                   .sdf = f->sdf,
                                   .teacher_logits = g.teacher ? f->teacher_logits : NULL,
                                   .teacher_sdf = g.teacher ? f->teacher_sdf : NULL,
                                   .teacher_mask = g.mask ? f->mask : NULL,
                                   .label = f->label,
                                   .label_sdf = f->label_sdf,
                                   .truth = g.truth ? f->truth : NULL,
                                   .ramp = f->parameters.ramp};
    memset(o, 0, sizeof *o);
    if (dbi_loss_step_f32(loss, &in, &o->values, o->dlogits, o->dsdf, &error))
        fail_msg("%s", error.text);
    dbi_loss_close_f32(loss);
}

static void close_to(double got, double want, double tolerance, const char *what, const char *which)
{
    if (isnan(want) ? !isnan(got) : !(fabs(got - want) <= tolerance * fabs(want) + 1e-12))
        fail_msg("%s: %s is %.12g, expected %.12g", what, which, got, want);
}

/* Values, and the gradients by their norm and voxel by voxel relative to the largest one. */
static void compare(const dbi_method *m, const dbi_loss_shape *shape, const fields *f, given g, double tolerance,
                    const char *what)
{
    static outcome got, want;
    const int64_t count = shape->decoders * shape->batch * shape->classes * V;
    on_device(m, shape, f, g, &got);
    in_library(m, shape, f, g, &want);
    for (int t = 0; t < DBI_TERMS; t++)
        close_to(got.values.term[t], want.values.term[t], 1e-5, what, dbi_terms[t].name);
    close_to(got.values.total, want.values.total, 1e-5, what, "the total");
    close_to(got.values.voxel_weight, want.values.voxel_weight, 1e-6, what, "the voxel weight");
    close_to(got.values.pseudo_dice, want.values.pseudo_dice, 0, what, "the pseudo-label's Dice");
    close_to(got.values.weighted_dice, want.values.weighted_dice, 1e-6, what, "its weighted Dice");
    for (int side = 0; side < 2; side++) {
        const float *a = side ? got.dsdf : got.dlogits, *b = side ? want.dsdf : want.dlogits;
        double largest = 0, wrong = 0, all = 0;
        for (int64_t i = 0; i < count; i++) {
            largest = fmax(largest, fabs((double)b[i]));
            wrong += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
            all += (double)b[i] * (double)b[i];
        }
        if (!(wrong <= tolerance * tolerance * all))
            fail_msg("%s: gradient of output %d: relative difference %g", what, side, sqrt(wrong / all));
        for (int64_t i = 0; i < count; i++)
            if (!(fabs((double)a[i] - (double)b[i]) <= 10 * tolerance * largest))
                fail_msg("%s: gradient of output %d at %lld: %g, expected %g", what, side, (long long)i, (double)a[i],
                         (double)b[i]);
    }
}

static const dbi_loss_shape shapes[] = {{4, 2, 1, {X, Y, Z}, 1}, {3, 1, 2, {X, Y, Z}, 1}, {2, 2, 3, {X, Y, Z}, 1},
                                        {2, 0, 1, {X, Y, Z}, 1}, {3, 1, 2, {X, Y, Z}, 2}, {2, 0, 1, {X, Y, Z}, 2}};
enum { ONE_DECODER = 1, TWO_DECODERS = 4 }; /* two that differ in nothing else */

static void every_preset_agrees(void **state)
{
    (void)state;
    for (int i = 0; dbi_method_preset_name(i); i++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int k = 0; k < 4; k++) {
                dbi_method m;
                dbi_error error;
                char what[128];
                fields *f = make_fields((int)shapes[s].classes);
                assert_int_equal(dbi_method_preset(dbi_method_preset_name(i), &m, &error), 0);
                m.normalize.t = m.normalize.kind == DBI_NORMALIZE_CLIP ? 4 : 0;
                m.cross_entropy = k & 1;
                const bool teacher = dbi_method_needs_teacher(&m) && shapes[s].batch > shapes[s].labeled;
                snprintf(what, sizeof what, "%s, shape %d, variant %d", m.name, (int)s, k);
                /* with k = 1500 the last bit of a distance shows */
                compare(&m, &shapes[s], f, (given){teacher, teacher && m.passes, k & 2}, m.k > 100 ? 1e-4 : 1e-5, what);
                free(f);
            }
}

/* Each term alone, and all together, with each of the transforms and normalizations. */
static void every_term_agrees(void **state)
{
    (void)state;
    static const char *const transforms[] = {"levelset", "exact", "conv:1,2"};
    for (int term = -2; term < DBI_TERMS; term++)
        for (int k = 0; k < 6; k++) {
            const bool two = term == -2 || (term >= 0 && dbi_term_needs_decoders(term));
            const dbi_loss_shape *shape = &shapes[two ? TWO_DECODERS : ONE_DECODER];
            dbi_method m;
            dbi_error error;
            char what[128];
            if (k && term >= 0 && !dbi_term_needs(term, DBI_OF_S) && !dbi_term_needs(term, DBI_OF_PSEUDO_DISTANCE) &&
                !dbi_term_needs(term, DBI_OF_OTHER_DISTANCE) && k != 3)
                continue;
            fields *f = make_fields((int)shape->classes);
            assert_int_equal(dbi_method_preset("dbisl", &m, &error), 0);
            assert_int_equal(dbi_transform_parse(transforms[k % 3], &m.transform, &error), 0);
            m.normalize = k < 3 ? (dbi_normalize){DBI_NORMALIZE_CLIP, 4} : (dbi_normalize){DBI_NORMALIZE_MAX, 0};
            m.cross_entropy = k >= 3;
            m.delta = k % 2 ? 1.5 : 0;
            for (int t = 0; t < DBI_TERMS; t++)
                m.weight[t] = term < 0 ? 0.5 + 0.1 * t : t == term;
            snprintf(what, sizeof what, "%s, %s, %d decoders, variant %d", term < 0 ? "all" : dbi_terms[term].name,
                     transforms[k % 3], shape->decoders, k);
            compare(&m, shape, f, (given){true, true, true}, 1e-5, what);
            free(f);
        }
}

/* Without its teacher, and without pseudo-targets' weights. */
static void what_is_missing_is_left_out(void **state)
{
    (void)state;
    static const int which[] = {ONE_DECODER, TWO_DECODERS};
    for (int i = 0; i < 2; i++) {
        const dbi_loss_shape *shape = &shapes[which[i]];
        dbi_method m;
        dbi_error error;
        fields *f = make_fields(2);
        assert_int_equal(dbi_method_preset("dbisl", &m, &error), 0);
        m.weight[DBI_TERM_TEACHER] = 1;
        compare(&m, shape, f, (given){false, false, true}, 1e-5, "no teacher");
        m.uncertainty = false;
        compare(&m, shape, f, (given){true, true, true}, 1e-5, "no uncertainty");
        f->parameters.ramp = 0;
        compare(&m, shape, f, (given){true, true, true}, 1e-5, "no ramp");
        assert_int_equal(dbi_method_without(&m, "cross", &error), 0);
        assert_int_equal(dbi_method_without(&m, "consistency", &error), 0);
        compare(&m, shape, f, (given){true, false, false}, 1e-5, "neither cross nor consistency");
        free(f);
    }
}

/* Extreme outputs: where probabilities are 0 and 1 in single precision. */
static void saturated_outputs_agree(void **state)
{
    (void)state;
    dbi_method m;
    dbi_error error;
    fields *f = make_fields(2);
    assert_int_equal(dbi_method_preset("dbisl", &m, &error), 0);
    m.cross_entropy = true;
    for (int i = 0; i < MOST; i++) {
        f->logits[i] *= 40;
        f->teacher_logits[i] *= 60;
        f->sdf[i] = f->sdf[i] > 0 ? 1 : -1;
    }
    compare(&m, &shapes[ONE_DECODER], f, (given){true, false, true}, 1e-5, "saturated");
    compare(&m, &shapes[TWO_DECODERS], f, (given){true, false, true}, 1e-5, "saturated, two decoders");
    for (int i = 0; i < MOST; i++)
        f->logits[i] = -200; /* no level set anywhere */
    compare(&m, &shapes[ONE_DECODER], f, (given){true, false, true}, 1e-5, "no level set");
    compare(&m, &shapes[TWO_DECODERS], f, (given){true, false, true}, 1e-5, "no level set, two decoders");
    free(f);
}

/* A number that is not finite shows in the total, wherever it comes in. */
static void not_finite_shows(void **state)
{
    (void)state;
    dbi_method m;
    dbi_error error;
    static outcome o;
    assert_int_equal(dbi_method_preset("dbisl", &m, &error), 0);
    for (int where = 0; where < 8; where++) {
        const dbi_loss_shape *shape = &shapes[TWO_DECODERS];
        fields *f = make_fields(2);
        float *const arrays[] = {f->logits, f->sdf, f->teacher_logits, f->teacher_sdf};
        const int64_t samples = shape->batch - (where % 4 < 2 ? 0 : shape->labeled);
        arrays[where % 4][V / 2 + (where < 4 ? 0 : samples * shape->classes * V)] = NAN;
        on_device(&m, shape, f, (given){true, false, true}, &o);
        assert_false(isfinite(o.values.total));
        free(f);
    }
}

static void order_changes_nothing(void **state)
{
    (void)state;
    static outcome o[2];
    for (int i = 0; dbi_method_preset_name(i); i++) {
        dbi_method m;
        dbi_error error;
        fields *f = make_fields(2);
        assert_int_equal(dbi_method_preset(dbi_method_preset_name(i), &m, &error), 0);
        for (int k = 0; k < 2; k++) {
            device_backwards(k);
            on_device(&m, &shapes[TWO_DECODERS], f, (given){dbi_method_needs_teacher(&m), m.passes > 0, true}, &o[k]);
        }
        device_backwards(false);
        assert_memory_equal(&o[0], &o[1], sizeof o[0]);
        free(f);
    }
}

/* What the kernels of the teacher's side work on. */
typedef struct teacher_side {
    dbi_cuda_parameters parameters;
    float from[1000], to[1000], mask[1000];
} teacher_side;

static teacher_side *teacher_side_open(dbi_arena *arena)
{
    teacher_side *side;
    memset(arena, 0, sizeof *arena);
    device_need(arena, &side, sizeof *side);
    device_open_arena(arena); /* sets the pointer */
    return side;
}

static void noise_is_the_library_s(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static const uint64_t seeds[] = {0, 1, 0xfedcba9876543210};
    float image[COUNT], to[COUNT];
    dbi_arena arena;
    teacher_side *side = teacher_side_open(&arena);
    for (int k = 0; k < 6; k++) {
        const double sigma = k % 2 ? 0.1 : 2;
        const uint32_t pass = (uint32_t)(k * 3 % 9);
        const dbi_cuda_parameters parameters = {.seed = seeds[k / 2], .step = (uint32_t)(7 + k)};
        dbi_random random;
        dbi_error error;
        int clipped = 0;
        for (int i = 0; i < COUNT; i++)
            image[i] = (float)(i - 500) / 100;
        device_put(&side->parameters, &parameters, sizeof parameters);
        device_put(side->from, image, sizeof image);
        assert_int_equal(
            dbi_cuda_noise(test_stream, side->from, COUNT, sigma, pass, &side->parameters, side->to, &error), 0);
        device_get(to, side->to, sizeof to);
        dbi_random_start(&random, parameters.seed, DBI_ROLE_TEACHER_NOISE, parameters.step, pass);
        for (int i = 0; i < COUNT; i++) {
            const double noise = fmax(-2 * sigma, fmin(2 * sigma, sigma * dbi_random_normal(&random)));
            clipped += fabs(noise) == 2 * sigma;
            assert_true(fabsf(to[i] - (image[i] + (float)noise)) <= 1e-6f * (fabsf(image[i]) + (float)sigma));
        }
        assert_true(clipped > COUNT / 50 && clipped < COUNT / 10);
    }
    static const uint32_t places[] = {0, 1, 1000003, UINT32_MAX / 4, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        dbi_random random;
        dbi_random_start(&random, 9, DBI_ROLE_TEACHER_NOISE, 3, 2);
        dbi_random_seek(&random, 4 * (uint64_t)places[i]);
        const double want = dbi_random_normal(&random);
        assert_true(fabs(dbi_normal_of(9, DBI_ROLE_TEACHER_NOISE, 3, 2, places[i]) - want) <= 1e-12 * (1 + fabs(want)));
    }
    dbi_error error;
    assert_int_equal(
        dbi_cuda_noise(test_stream, side->from, (int64_t)1 << 33, 1, 0, &side->parameters, side->to, &error), -1);
    dbi_arena_close(&arena);
}

static void mask_is_the_entropy_s(void **state)
{
    (void)state;
    enum { COUNT = 700, PASSES = 8 };
    static float logits[PASSES][COUNT];
    float mean[COUNT], mask[COUNT];
    const dbi_cuda_parameters parameters = {.threshold = 0.8 * 0.69314718055994530942};
    dbi_random random;
    dbi_error error;
    int certain = 0;
    dbi_random_start(&random, 22, DBI_ROLE_TEST, 0, 0);
    dbi_arena arena;
    teacher_side *side = teacher_side_open(&arena);
    device_put(&side->parameters, &parameters, sizeof parameters);
    for (int i = 0; i < PASSES; i++) {
        for (int j = 0; j < COUNT; j++)
            logits[i][j] = j == 0 ? 200 : j == 1 ? -200 : (float)(dbi_random_normal(&random) + (j - 350) / 100.0);
        device_put(side->from, logits[i], sizeof logits[i]);
        assert_int_equal(dbi_cuda_mean(test_stream, side->from, COUNT, PASSES, i, side->to, &error), 0);
    }
    assert_int_equal(dbi_cuda_mask(test_stream, side->to, COUNT, &side->parameters, side->mask, &error), 0);
    device_get(mean, side->to, sizeof mean);
    device_get(mask, side->mask, sizeof mask);
    dbi_arena_close(&arena);
    for (int j = 0; j < COUNT; j++) {
        double p = 0;
        for (int i = 0; i < PASSES; i++)
            p += 1 / (1 + exp(-(double)logits[i][j])) / PASSES;
        const double entropy = -(p * log(p + 1e-6) + (1 - p) * log(1 - p + 1e-6));
        assert_true(fabs((double)mean[j] - p) < 1e-6);
        assert_true(mask[j] == 0 || mask[j] == 1);
        if (fabs(entropy - parameters.threshold) > 1e-5)
            assert_true(mask[j] == (entropy < parameters.threshold));
        certain += mask[j] > 0;
    }
    assert_true(certain > COUNT / 4 && certain < COUNT);
}

static void refusals(void **state)
{
    (void)state;
    static const dbi_loss_shape bad[] = {{0, 0, 1, {4, 4, 4}, 1},          {2, 3, 1, {4, 4, 4}, 1},
                                         {2, -1, 1, {4, 4, 4}, 1},         {2, 1, 0, {4, 4, 4}, 1},
                                         {2, 1, 1, {4, -4, 4}, 1},         {2, 1, 1, {INT64_MAX, 2, 4}, 1},
                                         {2, 1, 1, {2000, 2000, 2000}, 1}, {2, 1, 1, {4, 4, 4}, 0}};
    dbi_method m;
    dbi_error error;
    assert_int_equal(dbi_method_preset("dbisl", &m, &error), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dbi_arena arena = {0};
        assert_null(dbi_cuda_loss_new(&m, &bad[i], &arena, &error));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_preset_agrees),
        cmocka_unit_test(every_term_agrees),
        cmocka_unit_test(what_is_missing_is_left_out),
        cmocka_unit_test(saturated_outputs_agree),
        cmocka_unit_test(not_finite_shows),
        cmocka_unit_test(order_changes_nothing),
        cmocka_unit_test(noise_is_the_library_s),
        cmocka_unit_test(mask_is_the_entropy_s),
        cmocka_unit_test(refusals),
    };
    dbi_set_threads(1); /* small volumes, where threads wait for each other */
    return cmocka_run_group_tests(tests, open_device, close_device);
}
