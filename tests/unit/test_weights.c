/* Weights: fresh, through records, optimizer and average. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net/checkpoint.h"
#include "net/weights.f64.h"
#include "record/metadata.h"

static const dbi_arch arch = {2, 3, .filters = 2};

static dbi_checkpoint *fresh(uint64_t seed)
{
    dbi_error error;
    dbi_checkpoint *c = dbi_checkpoint_new(&arch, true, seed, &error);
    assert_non_null(c);
    for (size_t i = 0; i < c->layout.parameters; i++)
        c->weights.momentum[i] = (float)i;
    return c;
}

static dbi_record *record_of(const dbi_checkpoint *c)
{
    dbi_error error;
    dbi_record *record = dbi_checkpoint_to_record(c, &error);
    assert_non_null(record);
    return record;
}

static void test_layout_is_complete(void **state)
{
    (void)state;
    dbi_arch usual = {1, 1, .filters = 16};
    dbi_layout layout;
    dbi_error error;
    assert_int_equal(dbi_layout_make(&usual, &layout, &error), 0);
    assert_int_equal(layout.layers, 29);
    assert_int_equal(layout.tensors, 29 * 6 + 4);
    assert_in_range(layout.parameters, 9400000, 9500000);
    for (int l = 0; l < layout.layers; l++)
        if (layout.layer[l].skip >= 0) {
            const dbi_layer *from = &layout.layer[layout.layer[l].skip];
            assert_int_equal(from->out, layout.layer[l].out);
            assert_int_equal(from->level, layout.layer[l].level);
        }
    for (int l = 0; l < layout.layers; l++) {
        const int reader = dbi_layout_reader(&layout, l, l);
        assert_int_equal(reader < 0, l == layout.layers - 1);
        if (reader >= 0) {
            assert_int_equal(layout.layer[reader].input, l);
            assert_int_equal(layout.layer[reader].in, layout.layer[l].out);
            assert_int_equal(dbi_layer_in_level(&layout.layer[reader]), layout.layer[l].level);
        }
    }
}

/* The tensors lie in the order of PyTorch's state_dict, and every output has its readers. */
static void test_layout_of_two_decoders(void **state)
{
    (void)state;
    dbi_arch two = {1, 1, .filters = 2, .decoders = 2};
    dbi_layout layout;
    dbi_error error;
    int interpolations = 0, readers[2] = {0}, adders[2] = {0};
    assert_int_equal(dbi_layout_make(&two, &layout, &error), 0);
    assert_int_equal(layout.layers, 46);
    assert_int_equal(layout.tensors, 42 * 6 + 2 * 4);
    assert_string_equal(layout.tensor[0].name, "encoder.block_one.conv.0.weight");
    assert_string_equal(layout.tensor[layout.decoder[0].sdf_head].name, "decoder1.out_conv.weight");
    assert_string_equal(layout.tensor[layout.decoder[1].seg_head + 1].name, "decoder2.out_conv2.bias");
    assert_int_equal(layout.decoder[1].seg_head + 2, layout.tensors);
    for (int l = 0; l < layout.layers; l++) {
        const dbi_layer *layer = &layout.layer[l];
        const int first = dbi_layout_reader(&layout, l, l), adder = dbi_layout_adder(&layout, l, l);
        const int second = first < 0 ? -1 : dbi_layout_reader(&layout, l, first);
        const int other = adder < 0 ? -1 : dbi_layout_adder(&layout, l, adder);
        interpolations += layer->kind == DBI_LAYER_INTERPOLATE;
        assert_int_equal(layer->tensor < 0, layer->kind == DBI_LAYER_INTERPOLATE);
        assert_int_equal(first < 0, dbi_layout_heads(&layout, l) >= 0);
        readers[0] += first >= 0 && second < 0;
        readers[1] += second >= 0;
        adders[0] += adder >= 0 && other < 0;
        adders[1] += other >= 0;
        if (second >= 0)
            assert_int_equal(layout.layer[second].kind, DBI_LAYER_INTERPOLATE);
        for (int t = first; t >= 0; t = dbi_layout_reader(&layout, l, t)) {
            assert_int_equal(layout.layer[t].in, layer->out);
            assert_int_equal(dbi_layer_in_level(&layout.layer[t]), layer->level);
        }
    }
    assert_int_equal(interpolations, 4);
    assert_int_equal(readers[0], 43);
    assert_int_equal(readers[1], 1);
    assert_int_equal(adders[0], 0);
    assert_int_equal(adders[1], 4);
}

/* What each normalization has of its own, and that it goes through a file, with the architecture's metadata and (told
 * where the tensors cannot tell) without. */
static void test_normalizations(void **state)
{
    (void)state;
    static const struct {
        const char *norm;
        int tensors; /* of a layer */
        bool told;
    } kinds[] = {{"batch", 6, false}, {"instance", 2, false}, {"instance:affine", 4, true}, {"group:2", 4, true}};
    dbi_error error;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        dbi_arch a = arch;
        char text[DBI_NORM_TEXT];
        assert_int_equal(dbi_norm_parse(kinds[i].norm, &a.norm, &error), 0);
        dbi_checkpoint *c = dbi_checkpoint_new(&a, true, 1, &error);
        assert_non_null(c);
        assert_int_equal(c->layout.tensors, c->layout.layers * kinds[i].tensors + 4);
        assert_int_equal(c->layout.statistics > 0, i == 0);
        dbi_record *record = record_of(c);
        assert_true(!strstr(dbi_meta_get(record, "architecture"), "norm") ==
                    (i == 0)); /* files from before there was a choice say nothing */
        dbi_checkpoint *back = dbi_checkpoint_from_record(record, &error);
        assert_non_null(back);
        dbi_norm_text(&back->layout.arch.norm, text);
        assert_string_equal(text, kinds[i].norm);
        assert_memory_equal(back->weights.parameters, c->weights.parameters, c->layout.parameters * sizeof(float));
        dbi_checkpoint_free(back);
        assert_null(dbi_checkpoint_from_record_of(record, &(dbi_normalization){DBI_NORM_GROUP, 1}, &error));
        assert_non_null(strstr(error.text, "not group:1"));
        assert_int_equal(dbi_meta_set(record, "architecture", NULL, &error), 0);
        back = dbi_checkpoint_from_record(record, &error);
        assert_int_equal(!back, kinds[i].told);
        dbi_checkpoint_free(back);
        back = dbi_checkpoint_from_record_of(record, &a.norm, &error);
        assert_non_null(back);
        assert_true(dbi_norm_equal(&back->layout.arch.norm, &a.norm));
        dbi_checkpoint_free(back);
        dbi_record_free(record);
        dbi_checkpoint_free(c);
    }
    static const char *const wrong[] = {"",         "Batch",    "group",         "group:",   "group:0",
                                        "group:2x", "group:-1", "group:1000000", "instance:"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(dbi_norm_parse(wrong[i], &(dbi_normalization){0}, &error), -1);
}

/* Times the fan-in. */
static double kernel_variance(const dbi_checkpoint *c, int layer)
{
    const dbi_named *t = &c->layout.tensor[c->layout.layer[layer].tensor];
    double squares = 0, fan = (double)(t->shape[1] * t->shape[2] * t->shape[3] * t->shape[4]);
    for (size_t i = 0; i < t->count; i++)
        squares += (double)c->weights.parameters[t->offset + i] * c->weights.parameters[t->offset + i];
    return squares / (double)t->count * fan;
}

static void test_fresh_weights_have_their_spread(void **state)
{
    (void)state;
    dbi_arch wide = {1, 1, .filters = 8};
    dbi_error error;
    dbi_checkpoint *c = dbi_checkpoint_new(&wide, false, 1, &error),
                   *same = dbi_checkpoint_new(&wide, false, 1, &error);
    dbi_checkpoint *other = dbi_checkpoint_new(&wide, false, 2, &error);
    assert_true(c && same && other);
    for (int l = 5; l < c->layout.layers; l++) /* the first ones are too small to tell */
        if (c->layout.tensor[c->layout.layer[l].tensor].count >= 10000)
            assert_true(fabs(kernel_variance(c, l) * 3 - 1) < 0.05);
    assert_memory_equal(c->weights.parameters, same->weights.parameters, c->layout.parameters * sizeof(float));
    assert_memory_not_equal(c->weights.parameters, other->weights.parameters, c->layout.parameters * sizeof(float));
    dbi_weights_init_kaiming_f32(&other->weights, 2);
    for (int l = 5; l < other->layout.layers; l++)
        if (other->layout.tensor[other->layout.layer[l].tensor].count >= 10000)
            assert_true(fabs(kernel_variance(other, l) / 2 - 1) < 0.05);
    const dbi_named *head = &other->layout.tensor[other->layout.decoder[0].seg_head]; /* as it was */
    for (size_t i = 0; i < head->count; i++)
        assert_true(fabsf(other->weights.parameters[head->offset + i]) <= (float)sqrt(1.0 / wide.filters));
    dbi_checkpoint_free(c);
    dbi_checkpoint_free(same);
    dbi_checkpoint_free(other);
}

static void test_records_keep_everything(void **state)
{
    (void)state;
    dbi_error error;
    dbi_checkpoint *c = fresh(1);
    c->step = 77;
    c->weights.batches = 78;
    assert_int_equal(dbi_meta_set(c->meta, "preprocessing", "{}", &error), 0);
    dbi_record *record = record_of(c);
    assert_string_equal(dbi_meta_get(record, "kind"), "checkpoint");
    assert_int_equal(dbi_record_find(record, "block_one.conv.1.num_batches_tracked")->ndim, 0);
    dbi_checkpoint *back = dbi_checkpoint_from_record(record, &error);
    assert_non_null(back);
    assert_int_equal(back->step, 77);
    assert_int_equal(back->weights.batches, 78);
    assert_string_equal(dbi_meta_get(back->meta, "preprocessing"), "{}");
    assert_memory_equal(back->weights.parameters, c->weights.parameters, c->layout.parameters * sizeof(float));
    assert_memory_equal(back->weights.momentum, c->weights.momentum, c->layout.parameters * sizeof(float));
    assert_memory_equal(back->weights.statistics, c->weights.statistics, c->layout.statistics * sizeof(float));
    dbi_record_free(record);
    dbi_checkpoint_free(c);
    dbi_checkpoint_free(back);
}

/* Through a file, with the architecture's metadata and without; other numbers of decoders are not its own. */
static void test_two_decoders_are_kept(void **state)
{
    (void)state;
    dbi_arch two = arch;
    dbi_error error;
    two.decoders = 2;
    dbi_checkpoint *c = dbi_checkpoint_new(&two, true, 1, &error), *one = fresh(1);
    assert_non_null(c);
    dbi_record *record = record_of(c), *plain = record_of(one);
    assert_non_null(strstr(dbi_meta_get(record, "architecture"), "\"decoders\":2"));
    assert_null(strstr(dbi_meta_get(plain, "architecture"), "decoders"));
    for (int i = 0; i < 2; i++) {
        dbi_checkpoint *back = dbi_checkpoint_from_record(record, &error);
        if (!back)
            fail_msg("%s", error.text);
        assert_int_equal(back->layout.arch.decoders, 2);
        assert_memory_equal(back->weights.parameters, c->weights.parameters, c->layout.parameters * sizeof(float));
        assert_memory_equal(back->weights.statistics, c->weights.statistics, c->layout.statistics * sizeof(float));
        assert_non_null(back->weights.momentum);
        assert_int_equal(dbi_checkpoint_average(back, one, 0.5, true, &error), -1);
        assert_non_null(strstr(error.text, "1 decoder, the teacher's 2"));
        dbi_checkpoint_free(back);
        assert_int_equal(dbi_meta_set(record, "architecture", NULL, &error), 0);
    }
    dbi_meta_set(plain, "architecture",
                 "{\"name\":\"dual-vnet\",\"channels\":2,\"classes\":3,\"decoders\":2,\"filters\":2}", &error);
    assert_null(dbi_checkpoint_from_record(plain, &error));
    assert_non_null(strstr(error.text, "two decoders"));
    dbi_meta_set(plain, "architecture",
                 "{\"name\":\"dual-vnet\",\"channels\":2,\"classes\":3,\"decoders\":3,\"filters\":2}", &error);
    assert_null(dbi_checkpoint_from_record(plain, &error));
    dbi_record_free(record);
    dbi_record_free(plain);
    dbi_checkpoint_free(c);
    dbi_checkpoint_free(one);
}

/* Puts a softmax over background and one class in the place of a decoder's segmentation head; without `distance`, there
 * is no distance head, and it has that one's name. */
static void make_softmax(dbi_record *record, const dbi_checkpoint *c, int decoder, bool distance)
{
    dbi_error error;
    for (int part = 0; part < 2; part++) {
        const dbi_named *seg = &c->layout.tensor[c->layout.decoder[decoder].seg_head + part],
                        *sdf = &c->layout.tensor[c->layout.decoder[decoder].sdf_head + part];
        int64_t shape[5] = {2, seg->shape[1], 1, 1, 1};
        dbi_record_drop(record, seg->name);
        if (!distance)
            dbi_record_drop(record, sdf->name);
        dbi_tensor *to = dbi_record_add(record, distance ? seg->name : sdf->name, DBI_F32, seg->ndim, shape, &error);
        assert_non_null(to);
        for (size_t i = 0; i < seg->count; i++) {
            const float logit = c->weights.parameters[seg->offset + i];
            ((float *)to->data)[i] = 0.25f;
            ((float *)to->data)[seg->count + i] = logit + 0.25f;
        }
    }
}

/* Its two outputs' difference is the logit; a missing distance head is 0. */
static void test_public_softmax(void **state)
{
    (void)state;
    dbi_error error;
    for (int i = 0; i < 4; i++) {
        const dbi_arch a = {1, 1, .filters = 2, .decoders = 1 + i / 2};
        const bool distance = i % 2;
        dbi_checkpoint *c = dbi_checkpoint_new(&a, false, 4, &error);
        dbi_record *record = record_of(c);
        assert_int_equal(dbi_meta_set(record, "architecture", NULL, &error), 0);
        for (int d = 0; d < a.decoders; d++)
            make_softmax(record, c, d, distance);
        dbi_checkpoint *back = dbi_checkpoint_from_record(record, &error);
        if (!back)
            fail_msg("%s", error.text);
        assert_int_equal(back->layout.arch.classes, 1);
        for (int t = 0; t < c->layout.tensors; t++) {
            const dbi_named *tensor = &c->layout.tensor[t];
            bool sdf = false;
            for (int d = 0; d < a.decoders; d++)
                sdf |= t == c->layout.decoder[d].sdf_head || t == c->layout.decoder[d].sdf_head + 1;
            for (size_t j = 0; tensor->role == DBI_PARAMETER && j < tensor->count; j++) {
                const float was = sdf && !distance ? 0 : c->weights.parameters[tensor->offset + j];
                assert_true(fabsf(back->weights.parameters[tensor->offset + j] - was) < 1e-6f);
            }
        }
        dbi_checkpoint_free(back);
        dbi_record_free(record);
        dbi_checkpoint_free(c);
    }
}

/* A public state_dict: no metadata, num_batches_tracked as [1], some tensors in other floating types. */
static void test_public_models_are_read(void **state)
{
    (void)state;
    dbi_error error;
    dbi_checkpoint *c = fresh(1);
    dbi_record *record = record_of(c), *public = dbi_record_new(&error);
    for (size_t i = 0; i < dbi_record_count(record); i++) {
        const dbi_tensor *t = dbi_record_at(record, i);
        if (!strncmp(t->name, "momentum.", 9))
            continue;
        bool norm = strstr(t->name, "conv.1.weight"), variance = strstr(t->name, "running_var"), count = t->ndim == 0;
        int64_t one[] = {1};
        dbi_dtype dtype = norm ? DBI_F64 : variance ? DBI_F16 : t->dtype;
        dbi_tensor *to = dbi_record_add(public, t->name, dtype, count ? 1 : t->ndim, count ? one : t->shape, &error);
        assert_non_null(to);
        for (size_t e = 0; e < t->count; e++)
            if (norm)
                ((double *)to->data)[e] = ((const float *)t->data)[e];
            else if (variance)
                ((uint16_t *)to->data)[e] = 0x3c00; /* 1 */
        if (!norm && !variance)
            memcpy(to->data, t->data, t->count * dbi_dtype_size(t->dtype));
    }
    dbi_checkpoint *back = dbi_checkpoint_from_record(public, &error);
    if (!back)
        fail_msg("%s", error.text);
    assert_null(back->weights.momentum);
    assert_int_equal(back->step, 0);
    assert_int_equal(back->layout.arch.channels, arch.channels);
    assert_int_equal(back->layout.arch.classes, arch.classes);
    assert_memory_equal(back->weights.parameters, c->weights.parameters, c->layout.parameters * sizeof(float));
    assert_memory_equal(back->weights.statistics, c->weights.statistics, c->layout.statistics * sizeof(float));
    assert_int_equal(dbi_checkpoint_restart(back, true, &error), 0);
    const dbi_named *head = &back->layout.tensor[back->layout.decoder[0].sdf_head];
    assert_true(back->weights.parameters[head->offset] == -c->weights.parameters[head->offset]);
    assert_true(back->weights.parameters[0] == c->weights.parameters[0]);
    dbi_record_free(record);
    dbi_record_free(public);
    dbi_checkpoint_free(c);
    dbi_checkpoint_free(back);
}

typedef void change(dbi_record *record);

static void no_tensor(dbi_record *record)
{
    dbi_record_drop(record, "block_six.conv.4.running_mean");
}

static void no_first_tensor(dbi_record *record)
{
    dbi_record_drop(record, "block_one.conv.0.weight");
}

static void not_finite(dbi_record *record)
{
    ((float *)dbi_record_find(record, "block_two.conv.0.bias")->data)[1] = NAN;
}

static void negative_variance(dbi_record *record)
{
    ((float *)dbi_record_find(record, "block_two.conv.1.running_var")->data)[1] = -1;
}

static void negative_count(dbi_record *record)
{
    *(int64_t *)dbi_record_find(record, "block_one.conv.1.num_batches_tracked")->data = -1;
}

static void other_shape(dbi_record *record)
{
    dbi_error error;
    int64_t shape[] = {5};
    dbi_record_drop(record, "block_two.conv.0.bias");
    assert_non_null(dbi_record_add(record, "block_two.conv.0.bias", DBI_F32, 1, shape, &error));
}

static void other_type(dbi_record *record)
{
    dbi_error error;
    int64_t shape[] = {4};
    dbi_record_drop(record, "block_two.conv.0.bias");
    assert_non_null(dbi_record_add(record, "block_two.conv.0.bias", DBI_I32, 1, shape, &error));
}

static void other_network(dbi_record *record)
{
    dbi_error error;
    dbi_meta_set(record, "architecture", "{\"name\":\"u-net\",\"channels\":1,\"classes\":1,\"filters\":1}", &error);
}

static void huge_network(dbi_record *record)
{
    dbi_error error;
    dbi_meta_set(record, "architecture", "{\"name\":\"dual-vnet\",\"channels\":2,\"classes\":3,\"filters\":256}",
                 &error);
}

static void no_number(dbi_record *record)
{
    dbi_error error;
    dbi_meta_set(record, "architecture", "{\"name\":\"dual-vnet\",\"channels\":2,\"classes\":\"3\",\"filters\":2}",
                 &error);
}

static void other_kind(dbi_record *record)
{
    dbi_error error;
    dbi_meta_set(record, "kind", "batch", &error);
}

static void other_sign(dbi_record *record)
{
    dbi_error error;
    dbi_meta_set(record, "sdf_sign", "negative-inside", &error);
}

static void negative_step(dbi_record *record)
{
    dbi_error error;
    dbi_meta_set(record, "step", "-4", &error);
}

static void test_wrong_records_are_refused(void **state)
{
    (void)state;
    static const struct {
        change *change;
        const char *text;
    } wrong[] = {{no_tensor, "block_six.conv.4.running_mean"},
                 {no_first_tensor, "block_one.conv.0.weight"},
                 {not_finite, "finite"},
                 {negative_variance, "negative"},
                 {negative_count, "negative"},
                 {other_shape, "shape"},
                 {other_type, "I32"},
                 {other_network, "u-net"},
                 {huge_network, "256 filters"},
                 {no_number, "classes"},
                 {other_kind, "batch"},
                 {other_sign, "negative-inside"},
                 {negative_step, "step"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dbi_error error = {""};
        dbi_checkpoint *c = fresh(1);
        dbi_record *record = record_of(c);
        if (wrong[i].change == no_first_tensor)
            dbi_meta_set(record, "architecture", NULL, &error);
        wrong[i].change(record);
        assert_null(dbi_checkpoint_from_record(record, &error));
        if (!strstr(error.text, wrong[i].text))
            fail_msg("\"%s\" does not say \"%s\"", error.text, wrong[i].text);
        dbi_record_free(record);
        dbi_checkpoint_free(c);
    }
}

static void test_sgd_is_pytorchs(void **state)
{
    (void)state;
    dbi_error error;
    dbi_layout layout;
    dbi_weights_f64 w;
    dbi_sgd sgd = {0.1, 0.9, 0.01};
    assert_int_equal(dbi_layout_make(&arch, &layout, &error), 0);
    assert_int_equal(dbi_weights_new_f64(&w, &layout, true, &error), 0);
    double *gradient = calloc(layout.parameters, sizeof *gradient);
    assert_non_null(gradient);
    w.parameters[7] = 2;
    gradient[7] = 0.5;
    double m = 0, value = 2;
    for (int step = 0; step < 3; step++) {
        m = 0.9 * m + (0.5 + 0.01 * value);
        value -= 0.1 * m;
        dbi_sgd_step_f64(&w, &sgd, gradient);
        assert_true(fabs(w.parameters[7] - value) < 1e-14);
    }
    assert_true(w.parameters[8] == 0);
    dbi_weights_free_f64(&w);
    free(gradient);
}

static void test_average(void **state)
{
    (void)state;
    dbi_error error;
    assert_true(dbi_average_decay(1, 0.99, true) == 0.5);
    assert_true(fabs(dbi_average_decay(9, 0.99, true) - 0.9) < 1e-15);
    assert_true(dbi_average_decay(1000, 0.99, true) == 0.99);
    assert_true(dbi_average_decay(1, 0.99, false) == 0.99);
    dbi_checkpoint *teacher = fresh(1), *student = fresh(2), *before = fresh(1);
    student->step = 3;
    student->weights.batches = 4;
    for (size_t i = 0; i < student->layout.statistics; i++)
        student->weights.statistics[i] = 5;
    assert_int_equal(dbi_meta_set(student->meta, "preprocessing", "{\"a\":1}", &error), 0);
    assert_int_equal(dbi_checkpoint_average(teacher, student, 0.99, true, &error), 0);
    for (size_t i = 0; i < teacher->layout.parameters; i++)
        assert_true(fabs(teacher->weights.parameters[i] -
                         (0.75 * before->weights.parameters[i] + 0.25 * student->weights.parameters[i])) < 1e-6);
    for (size_t i = 0; i < teacher->layout.statistics; i++)
        assert_true(fabs(teacher->weights.statistics[i] - (0.75 * before->weights.statistics[i] + 0.25 * 5)) < 1e-6);
    assert_int_equal(teacher->step, 3);
    assert_int_equal(teacher->weights.batches, 4);
    assert_null(teacher->weights.momentum);
    assert_string_equal(dbi_meta_get(teacher->meta, "preprocessing"), "{\"a\":1}");
    dbi_arch other = {1, 3, .filters = 2};
    dbi_checkpoint *stranger = dbi_checkpoint_new(&other, false, 1, &error);
    assert_int_equal(dbi_checkpoint_average(stranger, student, 0.99, true, &error), -1);
    dbi_checkpoint_free(stranger);
    dbi_arch another = arch;
    another.norm.kind = DBI_NORM_INSTANCE;
    stranger = dbi_checkpoint_new(&another, false, 1, &error);
    assert_int_equal(dbi_checkpoint_average(stranger, student, 0.99, true, &error), -1);
    assert_non_null(strstr(error.text, "batch, is not the teacher's, instance"));
    dbi_checkpoint_free(teacher);
    dbi_checkpoint_free(student);
    dbi_checkpoint_free(before);
    dbi_checkpoint_free(stranger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_is_complete),
        cmocka_unit_test(test_layout_of_two_decoders),
        cmocka_unit_test(test_normalizations),
        cmocka_unit_test(test_fresh_weights_have_their_spread),
        cmocka_unit_test(test_records_keep_everything),
        cmocka_unit_test(test_two_decoders_are_kept),
        cmocka_unit_test(test_public_models_are_read),
        cmocka_unit_test(test_public_softmax),
        cmocka_unit_test(test_wrong_records_are_refused),
        cmocka_unit_test(test_sgd_is_pytorchs),
        cmocka_unit_test(test_average),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
