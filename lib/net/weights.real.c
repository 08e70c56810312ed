#include "net/weights.real.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "record/metadata.h"

int dbi_weights_new_f32(dbi_weights_f32 *weights, const dbi_layout *layout, bool momentum, dbi_error *error)
{
    *weights = (dbi_weights_f32){.layout = layout};
    if (!(weights->parameters = dbi_alloc(layout->parameters, sizeof(real), error)) ||
        !(weights->statistics = dbi_alloc(layout->statistics, sizeof(real), error)) ||
        (momentum && !(weights->momentum = dbi_alloc(layout->parameters, sizeof(real), error)))) {
        dbi_weights_free_f32(weights);
        return -1;
    }
    for (int l = 0; dbi_layout_has(layout, DBI_RUNNING_VARIANCE) && l < layout->layers; l++) {
        if (layout->layer[l].tensor < 0)
            continue;
        const dbi_named *variance = &layout->tensor[layout->layer[l].tensor + DBI_RUNNING_VARIANCE];
        for (size_t i = 0; i < variance->count; i++)
            weights->statistics[variance->offset + i] = 1;
    }
    return 0;
}

void dbi_weights_free_f32(dbi_weights_f32 *weights)
{
    free(weights->parameters);
    free(weights->momentum);
    free(weights->statistics);
    *weights = (dbi_weights_f32){0};
}

/* torch.nn.init's fan-in: the size of dimension 1 times the kernel's, also for transposed convolutions. */
static double fan_in(const dbi_named *weight)
{
    return (double)(weight->shape[1] * weight->shape[2] * weight->shape[3] * weight->shape[4]);
}

static void fill_normal(dbi_weights_f32 *weights, int index, double deviation, uint64_t seed)
{
    const dbi_named *tensor = &weights->layout->tensor[index];
    dbi_random random;
    dbi_random_start(&random, seed, DBI_ROLE_INIT, 0, (uint32_t)index);
    for (size_t i = 0; i < tensor->count; i++)
        weights->parameters[tensor->offset + i] = (real)(float)(deviation * dbi_random_normal(&random));
}

static void fill_uniform(dbi_weights_f32 *weights, int index, double bound, uint64_t seed)
{
    const dbi_named *tensor = &weights->layout->tensor[index];
    dbi_random random;
    dbi_random_start(&random, seed, DBI_ROLE_INIT, 0, (uint32_t)index);
    for (size_t i = 0; i < tensor->count; i++)
        weights->parameters[tensor->offset + i] = (real)(float)(bound * (2 * dbi_random_uniform(&random) - 1));
}

static void fill(dbi_weights_f32 *weights, int index, real value)
{
    const dbi_named *tensor = &weights->layout->tensor[index];
    for (size_t i = 0; i < tensor->count; i++)
        weights->parameters[tensor->offset + i] = value;
}

void dbi_weights_init_f32(dbi_weights_f32 *weights, uint64_t seed)
{
    const dbi_layout *layout = weights->layout;
    for (int l = 0; l < layout->layers; l++) {
        const int first = layout->layer[l].tensor;
        if (first < 0)
            continue;
        for (int i = DBI_CONV_WEIGHT; i <= DBI_CONV_BIAS; i++)
            fill_uniform(weights, first + i, 1 / sqrt(fan_in(&layout->tensor[first + DBI_CONV_WEIGHT])), seed);
        if (dbi_layout_has(layout, DBI_NORM_GAMMA)) {
            fill(weights, first + DBI_NORM_GAMMA, 1);
            fill(weights, first + DBI_NORM_BETA, 0);
        }
    }
    for (int h = 0; h < 2 * layout->arch.decoders; h++) {
        const dbi_decoder *decoder = &layout->decoder[h / 2];
        const int head = h % 2 ? decoder->seg_head : decoder->sdf_head;
        for (int i = 0; i < 2; i++)
            fill_uniform(weights, head + i, 1 / sqrt(fan_in(&layout->tensor[head])), seed);
    }
}

void dbi_weights_init_kaiming_f32(dbi_weights_f32 *weights, uint64_t seed)
{
    const dbi_layout *layout = weights->layout;
    for (int l = 0; l < layout->layers; l++) {
        const int kernel = layout->layer[l].tensor + DBI_CONV_WEIGHT;
        if (layout->layer[l].tensor >= 0)
            fill_normal(weights, kernel, sqrt(2 / fan_in(&layout->tensor[kernel])), seed);
    }
}

static double half(uint16_t bits)
{
    double sign = bits & 0x8000 ? -1 : 1;
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent == 31)
        return mantissa ? NAN : sign * INFINITY;
    return exponent ? sign * ldexp(1024 + mantissa, exponent - 25) : sign * ldexp(mantissa, -24);
}

/* Copies a tensor of the record into `to`, whatever floating type it has. */
static int load_tensor(const dbi_record *record, const char *name, const dbi_named *as, real *to, dbi_error *error)
{
    const dbi_tensor *tensor = dbi_record_find(record, name);
    dbi_dtype dtype = tensor && (tensor->dtype == DBI_F64 || tensor->dtype == DBI_F16) ? tensor->dtype : DBI_F32;
    if (!(tensor = dbi_record_need(record, name, dtype, as->ndim, as->shape, error)))
        return -1;
    for (size_t i = 0; i < as->count; i++) {
        double value = dtype == DBI_F32   ? (double)((const float *)tensor->data)[i]
                       : dtype == DBI_F64 ? ((const double *)tensor->data)[i]
                                          : half(((const uint16_t *)tensor->data)[i]);
        to[i] = (real)value;
        if (!isfinite(to[i]))
            return dbi_fail(error, "tensor \"%s\": element %zu is not a finite number", name, i);
    }
    return 0;
}

/* A public model's segmentation head may be a softmax over background and one class: the difference of its two rows is
 * the logit of a sigmoid. */
static int load_softmax(const dbi_record *record, const char *name, const dbi_named *as, real *to, dbi_error *error)
{
    real rows[2 * DBI_MAX_FILTERS];
    dbi_named both = *as;
    both.shape[0] = 2;
    both.count = 2 * as->count;
    if (load_tensor(record, name, &both, rows, error))
        return -1;
    for (size_t i = 0; i < as->count; i++)
        to[i] = rows[as->count + i] - rows[i];
    return 0;
}

/* Weight or bias (part 0 or 1) of a decoder's heads from a public state_dict. Without out_conv2 there is no distance
 * head, and out_conv is the segmentation's; the distance is then 0 until it is trained. */
static int load_public_heads(dbi_weights_f32 *weights, const dbi_record *record, const dbi_decoder *decoder, int part,
                             dbi_error *error)
{
    const dbi_named *sdf = &weights->layout->tensor[decoder->sdf_head + part],
                    *seg = &weights->layout->tensor[decoder->seg_head + part];
    const bool both = dbi_record_find(record, seg->name);
    const char *name = both ? seg->name : sdf->name;
    const dbi_tensor *tensor = dbi_record_find(record, name);
    const bool softmax = seg->shape[0] == 1 && tensor && tensor->ndim > 0 && tensor->shape[0] == 2;
    memset(weights->parameters + sdf->offset, 0, sdf->count * sizeof(real));
    return (both && load_tensor(record, sdf->name, sdf, weights->parameters + sdf->offset, error)) ||
                   (softmax ? load_softmax : load_tensor)(record, name, seg, weights->parameters + seg->offset, error)
               ? -1
               : 0;
}

static bool is_head(const dbi_layout *layout, int tensor)
{
    for (int d = 0; d < layout->arch.decoders; d++)
        if (tensor >= layout->decoder[d].sdf_head && tensor < layout->decoder[d].seg_head + 2)
            return true;
    return false;
}

static int load_own(dbi_weights_f32 *weights, const dbi_record *record, dbi_error *error)
{
    const dbi_layout *layout = weights->layout;
    const bool public = !dbi_meta_get(record, "architecture");
    for (int t = 0; t < layout->tensors; t++) {
        const dbi_named *tensor = &layout->tensor[t];
        real *array = tensor->role == DBI_PARAMETER ? weights->parameters : weights->statistics;
        if (!(public && is_head(layout, t)) && load_tensor(record, tensor->name, tensor, array + tensor->offset, error))
            return -1;
    }
    for (int i = 0; public && i < 2 * layout->arch.decoders; i++)
        if (load_public_heads(weights, record, &layout->decoder[i / 2], i % 2, error))
            return -1;
    return 0;
}

/* "block_one.conv.1.num_batches_tracked", from the name of that normalization's weight. */
static void batches_name(const dbi_named *weight, char name[96])
{
    size_t stem = strlen(weight->name) - strlen("weight");
    memcpy(name, weight->name, stem);
    strcpy(name + stem, "num_batches_tracked");
}

static int load_batches(dbi_weights_f32 *weights, const dbi_record *record, dbi_error *error)
{
    char name[96];
    if (!dbi_layout_has(weights->layout, DBI_RUNNING_MEAN))
        return 0;
    batches_name(&weights->layout->tensor[weights->layout->layer[0].tensor + DBI_NORM_GAMMA], name);
    const dbi_tensor *tensor = dbi_record_find(record, name);
    if (!tensor) /* models from before PyTorch 0.4.1 have none */
        return 0;
    if (tensor->dtype != DBI_I64 || tensor->count != 1)
        return dbi_fail(error, "tensor \"%s\" is not one I64", name);
    weights->batches = *(const int64_t *)tensor->data;
    if (weights->batches < 0)
        return dbi_fail(error, "tensor \"%s\" is negative", name);
    return 0;
}

int dbi_weights_load_f32(dbi_weights_f32 *weights, const dbi_record *record, dbi_error *error)
{
    const dbi_layout *layout = weights->layout;
    char name[96];
    bool momentum = weights->momentum;
    if (load_own(weights, record, error))
        return -1;
    for (int t = 0; t < layout->tensors; t++) {
        const dbi_named *tensor = &layout->tensor[t];
        snprintf(name, sizeof name, "momentum.%s", tensor->name);
        momentum = momentum && (tensor->role != DBI_PARAMETER || dbi_record_find(record, name));
    }
    for (int l = 0; dbi_layout_has(layout, DBI_RUNNING_VARIANCE) && l < layout->layers; l++) {
        if (layout->layer[l].tensor < 0)
            continue;
        const dbi_named *variance = &layout->tensor[layout->layer[l].tensor + DBI_RUNNING_VARIANCE];
        for (size_t i = 0; i < variance->count; i++)
            if (weights->statistics[variance->offset + i] < 0)
                return dbi_fail(error, "tensor \"%s\": element %zu is negative", variance->name, i);
    }
    for (int t = 0; momentum && t < layout->tensors; t++) {
        const dbi_named *tensor = &layout->tensor[t];
        snprintf(name, sizeof name, "momentum.%s", tensor->name);
        if (tensor->role == DBI_PARAMETER &&
            load_tensor(record, name, tensor, weights->momentum + tensor->offset, error))
            return -1;
    }
    return load_batches(weights, record, error);
}

static int store_tensor(dbi_record *record, const char *name, const dbi_named *as, const real *from, dbi_error *error)
{
    dbi_tensor *tensor = dbi_record_add(record, name, DBI_F32, as->ndim, as->shape, error);
    if (!tensor)
        return -1;
    for (size_t i = 0; i < as->count; i++)
        ((float *)tensor->data)[i] = (float)from[i];
    return 0;
}

int dbi_weights_store_f32(const dbi_weights_f32 *weights, dbi_record *record, dbi_error *error)
{
    const dbi_layout *layout = weights->layout;
    char name[96];
    for (int t = 0; t < layout->tensors; t++) {
        const dbi_named *tensor = &layout->tensor[t];
        const real *array = tensor->role == DBI_PARAMETER ? weights->parameters : weights->statistics;
        if (store_tensor(record, tensor->name, tensor, array + tensor->offset, error))
            return -1;
    }
    for (int l = 0; dbi_layout_has(layout, DBI_RUNNING_MEAN) && l < layout->layers; l++) {
        if (layout->layer[l].tensor < 0)
            continue;
        batches_name(&layout->tensor[layout->layer[l].tensor + DBI_NORM_GAMMA], name);
        dbi_tensor *tensor = dbi_record_add(record, name, DBI_I64, 0, NULL, error);
        if (!tensor)
            return -1;
        *(int64_t *)tensor->data = weights->batches;
    }
    for (int t = 0; weights->momentum && t < layout->tensors; t++) {
        const dbi_named *tensor = &layout->tensor[t];
        snprintf(name, sizeof name, "momentum.%s", tensor->name);
        if (tensor->role == DBI_PARAMETER &&
            store_tensor(record, name, tensor, weights->momentum + tensor->offset, error))
            return -1;
    }
    return 0;
}

void dbi_sgd_step_f32(dbi_weights_f32 *weights, const dbi_sgd *sgd, const real *gradient)
{
    real rate = (real)sgd->rate, keep = (real)sgd->momentum, decay = (real)sgd->weight_decay;
    real *w = weights->parameters, *m = weights->momentum;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < weights->layout->parameters; i++) {
        m[i] = keep * m[i] + (gradient[i] + decay * w[i]);
        w[i] -= rate * m[i];
    }
}

static void average_array(real *to, const real *from, size_t count, real a, real b)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        to[i] = a * to[i] + b * from[i];
}

void dbi_average_f32(dbi_weights_f32 *teacher, const dbi_weights_f32 *student, double a)
{
    const dbi_layout *layout = teacher->layout;
    average_array(teacher->parameters, student->parameters, layout->parameters, (real)a, (real)(1 - a));
    average_array(teacher->statistics, student->statistics, layout->statistics, (real)a, (real)(1 - a));
    teacher->batches = student->batches;
}
