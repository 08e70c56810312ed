/* Training steps against PyTorch in double precision (tests/fixtures/network.safetensors, whose metadata says how it
 * was made, and decoders.safetensors, of the network with two decoders): losses, gradients, and the weights after one and five steps, on the reference backend in double and on the
 * cpu backend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "record/metadata.h"
#include "record/stream.h"

static dbi_record *fixture, *images; /* images: has them, with label and sdf */
static dbi_layout layout;

enum { MAX_STEPS = 5 };

/* How close: relative, but `zero` absolute for the biases of convolutions before a normalization, whose true gradient
 * is 0. */
typedef struct tolerances {
    double loss, gradient, each, zero, update1, update5, statistics;
} tolerances;

/* Index of a tensor of the layout that is the bias of a convolution before a normalization. */
static bool vanishing(const dbi_named *tensor)
{
    const int index = (int)(tensor - layout.tensor);
    for (int i = 0; i < layout.layers; i++)
        if (layout.layer[i].tensor >= 0 && layout.layer[i].tensor + 1 == index)
            return true;
    return false;
}

static const float *find(const dbi_record *record, const char *name)
{
    const dbi_tensor *tensor = dbi_record_find(record, name);
    if (!tensor)
        fail_msg("the fixture has no %s", name);
    return tensor->data;
}

static const float *tensor_of(const char *prefix, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return find(fixture, full);
}

static const float *image_tensor(const char *name)
{
    return find(images, name);
}

static double expected_loss(const char *method, int step, int column)
{
    dbi_error error;
    json_t *losses = dbi_meta_get_json(fixture, "losses", &error);
    const double value = json_number_value(
        json_array_get(json_array_get(json_object_get(losses, method), (size_t)step), (size_t)column));
    json_decref(losses);
    return value;
}

static void close_to(double got, double expected, double tolerance, const char *what)
{
    if (!(fabs(got - expected) <= tolerance * fabs(expected)))
        fail_msg("%s: %.12g, expected %.12g", what, got, expected);
}

#include "trainer_case.f64.h"
#include "trainer_case.real.h"

static const tolerances exact = {1e-6, 1e-6, 1e-6, 1e-9, 1e-6, 1e-6, 1e-6},
                        cpu = {1e-4, 2e-3, 2e-2, 1e-6, 2e-3, 0.1, 1e-3};

static void supervised_reference(void **state)
{
    (void)state;
    train_f64("supervised", "reference", &exact, MAX_STEPS);
}

static void supervised_cpu(void **state)
{
    (void)state;
    train_f32("supervised", "cpu", &cpu, MAX_STEPS);
}

static void dtc_reference(void **state)
{
    (void)state;
    train_f64("dtc", "reference", &exact, 1);
}

static void dtc_cpu(void **state)
{
    (void)state;
    tolerances steep = cpu; /* k = 1500 magnifies single precision */
    steep.gradient = 1e-2;
    train_f32("dtc", "cpu", &steep, 1);
}

static int open_fixture(void **state)
{
    (void)state;
    dbi_error error;
    const dbi_arch arch = {1, 1, .filters = 2};
    images = fixture = dbi_record_load("tests/fixtures/network.safetensors", &error);
    return fixture && !dbi_layout_make(&arch, &layout, &error) ? 0 : -1;
}

static int close_fixture(void **state)
{
    (void)state;
    dbi_record_free(images);
    return 0;
}

static void two_decoders(void **state)
{
    (void)state;
    dbi_error error;
    const dbi_arch two = {1, 1, .filters = 1, .decoders = 2};
    const dbi_layout one = layout;
    fixture = dbi_record_load("tests/fixtures/decoders.safetensors", &error);
    assert_non_null(fixture);
    assert_int_equal(dbi_layout_make(&two, &layout, &error), 0);
    train_decoders_f64("reference", &exact);
    train_decoders_f32("cpu", &cpu);
    dbi_record_free(fixture);
    fixture = images;
    layout = one;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(supervised_reference), cmocka_unit_test(supervised_cpu),
        cmocka_unit_test(dtc_reference),        cmocka_unit_test(dtc_cpu),
        cmocka_unit_test(two_decoders),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
