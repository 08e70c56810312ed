#pragma once
#include "base/real.h"

/* Included by test_trainer.c for float and for double. */

static void load_state_f32(dbi_weights_f32 *weights, const char *prefix, bool statistics)
{
    for (int i = 0; i < layout.tensors; i++) {
        const dbi_named *t = &layout.tensor[i];
        if (t->role == DBI_STATISTIC && !statistics)
            continue;
        real *to = (t->role == DBI_PARAMETER ? weights->parameters : weights->statistics) + t->offset;
        const float *from = tensor_of(prefix, t->name);
        for (size_t j = 0; j < t->count; j++)
            to[j] = from[j];
    }
}

static void compare_gradient_f32(const real *gradient, const char *prefix, const tolerances *tol)
{
    double error2 = 0, norm2 = 0;
    for (int i = 0; i < layout.tensors; i++) {
        const dbi_named *t = &layout.tensor[i];
        if (t->role != DBI_PARAMETER)
            continue;
        const float *expected = tensor_of(prefix, t->name);
        double e2 = 0, n2 = 0, largest = 0;
        for (size_t j = 0; j < t->count; j++) {
            const double g = (double)gradient[t->offset + j];
            e2 += pow(g - expected[j], 2);
            n2 += pow(expected[j], 2);
            largest = fmax(largest, fabs(g));
        }
        if (vanishing(t)) {
            if (largest > tol->zero)
                fail_msg("%s%s: %g instead of 0", prefix, t->name, largest);
            continue;
        }
        if (!(sqrt(e2) <= tol->each * sqrt(n2)))
            fail_msg("%s%s: relative error %g", prefix, t->name, sqrt(e2 / n2));
        error2 += e2;
        norm2 += n2;
    }
    if (!(sqrt(error2) <= tol->gradient * sqrt(norm2)))
        fail_msg("%s: relative error of the whole gradient %g", prefix, sqrt(error2 / norm2));
}

/* The update w_k - w_0 as one vector, and the running statistics as another. The fixture holds single-precision
 * numbers: what their rounding hides does not count. */
static void compare_update_f32(const dbi_weights_f32 *weights, const char *prefix, double tolerance,
                               const tolerances *tol)
{
    double error2[2] = {0}, norm2[2] = {0};
    for (int i = 0; i < layout.tensors; i++) {
        const dbi_named *t = &layout.tensor[i];
        const bool statistic = t->role == DBI_STATISTIC;
        if (vanishing(t))
            continue;
        const float *expected = tensor_of(prefix, t->name), *start = tensor_of("state.", t->name);
        const real *got = (statistic ? weights->statistics : weights->parameters) + t->offset;
        for (size_t j = 0; j < t->count; j++) {
            const double rounding = fabs(expected[j]) * 0x1p-24;
            error2[statistic] += pow(fmax(fabs((double)got[j] - (double)expected[j]) - rounding, 0), 2);
            norm2[statistic] += pow((double)expected[j] - (statistic ? 0 : (double)start[j]), 2);
        }
    }
    if (!(sqrt(error2[0]) <= tolerance * sqrt(norm2[0])))
        fail_msg("%s: relative error of the update %g", prefix, sqrt(error2[0] / norm2[0]));
    if (!(sqrt(error2[1]) <= tol->statistics * sqrt(norm2[1])))
        fail_msg("%s: relative error of the running statistics %g", prefix, sqrt(error2[1] / norm2[1]));
}

/* The fixture's two images; the caller frees them. */
static real *images_f32(void)
{
    const size_t count = 2 * 32 * 32 * 32;
    const float *fixed = image_tensor("image");
    real *image = malloc(count * sizeof *image);
    assert_non_null(image);
    for (size_t i = 0; i < count; i++)
        image[i] = fixed[i];
    return image;
}

static dbi_samples_f32 samples_f32(const real *image)
{
    return (dbi_samples_f32){.image = image,
                             .label = (const uint8_t *)(const void *)image_tensor("label"),
                             .label_sdf = image_tensor("sdf")};
}

static void train_f32(const char *name, const char *device, const tolerances *tol, int steps)
{
    dbi_error error = {""};
    dbi_method method;
    assert_int_equal(dbi_method_preset(name, &method, &error), 0);
    const bool dtc = !strcmp(name, "dtc");
    method.dropout = 0;
    method.lambda = 0.1;
    method.ramp = 0;
    strcpy(method.schedule, "constant");
    const dbi_loss_shape shape = {2, dtc ? 1 : 2, 1, {32, 32, 32}, 1};
    dbi_weights_f32 weights;
    assert_int_equal(dbi_weights_new_f32(&weights, &layout, true, &error), 0);
    load_state_f32(&weights, "state.", true);
    trainer_f32 *trainer = trainer_open_f32(&method, 100, 0, &layout, device, &shape, &error);
    if (!trainer)
        fail_msg("%s", error.text);

    real *image = images_f32();
    const dbi_samples_f32 samples = samples_f32(image);
    for (int step = 0; step < steps; step++) {
        dbi_step_log log;
        if (trainer_step_f32(trainer, &weights, NULL, &samples, step, &log, &error))
            fail_msg("%s", error.text);
        close_to(log.loss.total, expected_loss(name, step, 0), tol->loss, "total");
        close_to(log.loss.term[DBI_TERM_SEG], expected_loss(name, step, 1), tol->loss, "seg");
        close_to(log.loss.term[DBI_TERM_REG], expected_loss(name, step, 2), tol->loss, "reg");
        if (dtc)
            close_to(log.loss.term[DBI_TERM_CONSISTENCY_SEG], expected_loss(name, step, 3), tol->loss, "consistency");
        char prefix[64];
        if (step == 0) {
            snprintf(prefix, sizeof prefix, "%s.grad.", name);
            real *gradient = calloc(layout.parameters, sizeof *gradient);
            compare_gradient_f32(trainer_gradient_f32(trainer, gradient), prefix, tol);
            free(gradient);
        }
        if (!dtc && step == 0)
            compare_update_f32(&weights, "supervised.after1.", tol->update1, tol);
        if (!dtc && step == 4)
            compare_update_f32(&weights, "supervised.after5.", tol->update5, tol);
    }
    free(image);
    trainer_close_f32(trainer);
    dbi_weights_free_f32(&weights);
}

/* A step of the network with two decoders, whose loss is the mean of theirs. */
static void train_decoders_f32(const char *device, const tolerances *tol)
{
    dbi_error error = {""};
    dbi_method method;
    dbi_step_log log;
    dbi_weights_f32 weights;
    assert_int_equal(dbi_method_preset("supervised", &method, &error), 0);
    method.dropout = 0;
    strcpy(method.schedule, "constant");
    const dbi_loss_shape shape = {2, 2, 1, {32, 32, 32}, 2};
    assert_int_equal(dbi_weights_new_f32(&weights, &layout, true, &error), 0);
    load_state_f32(&weights, "state.", true);
    trainer_f32 *trainer = trainer_open_f32(&method, 100, 0, &layout, device, &shape, &error);
    if (!trainer)
        fail_msg("%s", error.text);
    real *image = images_f32(), *gradient = calloc(layout.parameters, sizeof *gradient);
    const dbi_samples_f32 samples = samples_f32(image);
    if (trainer_step_f32(trainer, &weights, NULL, &samples, 0, &log, &error))
        fail_msg("%s", error.text);
    json_t *losses = dbi_meta_get_json(fixture, "losses", &error);
    close_to(log.loss.total, json_number_value(json_object_get(losses, "batch")), tol->loss, "total");
    json_decref(losses);
    compare_gradient_f32(trainer_gradient_f32(trainer, gradient), "batch.grad.", tol);
    free(gradient);
    free(image);
    trainer_close_f32(trainer);
    dbi_weights_free_f32(&weights);
}
