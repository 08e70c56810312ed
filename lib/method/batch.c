#include "method/batch.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "distance/edt.h"
#include "distance/normalize.h"
#include "net/pass.h"
#include "record/metadata.h"

/* How the record's distances are normalized: "normalize" in the metadata "sdf". */
static int read_normalize(const dbi_record *record, dbi_normalize *normalize, dbi_error *error)
{
    json_t *sdf = dbi_meta_get_json(record, "sdf", error);
    if (!sdf)
        return -1;
    const char *text = json_string_value(json_object_get(sdf, "normalize"));
    int status =
        text ? dbi_normalize_parse(text, normalize, error) : dbi_fail(error, "metadata \"sdf\" has no \"normalize\"");
    json_decref(sdf);
    return status;
}

static bool same_normalize(const dbi_normalize *a, const dbi_normalize *b)
{
    return a->kind == b->kind && (a->kind != DBI_NORMALIZE_CLIP || a->t == b->t);
}

/* Computes the distances from the label. The normalization `max` needs this, because its maximum is that of the
 * crop. */
static int from_labels(dbi_batch *batch, dbi_error *error)
{
    const double voxel[3] = {1, 1, 1};
    const dbi_normalize normalize = {.kind = DBI_NORMALIZE_MAX};
    const int64_t voxels = batch->shape.size[0] * batch->shape.size[1] * batch->shape.size[2];
    for (int64_t n = 0; n < batch->shape.labeled; n++)
        for (int64_t c = 0; c < batch->shape.classes; c++)
            if (dbi_signed_distance(batch->label + n * voxels, (uint8_t)(c + 1), batch->shape.size, voxel, &normalize,
                                    batch->own + (n * batch->shape.classes + c) * voxels, error))
                return -1;
    return 0;
}

static int set_distances(const dbi_record *record, const dbi_method *method, dbi_batch *batch, dbi_error *error)
{
    const int64_t dims[5] = {batch->shape.labeled, batch->shape.classes, batch->shape.size[0], batch->shape.size[1],
                             batch->shape.size[2]};
    int64_t count;
    if (!dbi_count(dims, 5, &count))
        return dbi_fail(error, "the batch is too large");
    if (method->normalize.kind == DBI_NORMALIZE_MAX)
        return (batch->own = dbi_alloc((size_t)count, sizeof(float), error))
                   ? (batch->label_sdf = batch->own, from_labels(batch, error))
                   : -1;
    const dbi_tensor *sdf = dbi_record_need(record, "sdf", DBI_F32, 5, dims, error);
    dbi_normalize has;
    if (!sdf || read_normalize(record, &has, error))
        return -1;
    batch->label_sdf = sdf->data;
    if (same_normalize(&has, &method->normalize))
        return 0;
    if (has.kind != DBI_NORMALIZE_NONE || method->normalize.kind != DBI_NORMALIZE_CLIP) {
        char ours[64], theirs[64];
        dbi_normalize_format(&method->normalize, ours);
        dbi_normalize_format(&has, theirs);
        return dbi_fail(error, "the distances are normalized by %s, not by %s", theirs, ours);
    }
    if (!(batch->own = dbi_alloc((size_t)count, sizeof(float), error)))
        return -1;
    for (int64_t i = 0; i < count; i++) {
        const float r = batch->label_sdf[i] / (float)method->normalize.t;
        batch->own[i] = r > 1 ? 1 : r < -1 ? -1 : r;
    }
    batch->label_sdf = batch->own;
    return 0;
}

/* Checked here, because a normalization with a ReLU behind it can hide a value that is not finite from the loss.
 * Compares the values' bits, because the compiler can vectorize that. */
static int check_image(const dbi_tensor *image, dbi_error *error)
{
    const uint32_t infinite = 0x7f800000;
    const float *value = image->data;
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (size_t i = 0; i < image->count; i++) {
        uint32_t bits;
        memcpy(&bits, &value[i], sizeof bits);
        bad |= (bits & infinite) == infinite;
    }
    return bad ? dbi_fail(error, "tensor \"image\" has values that are not finite") : 0;
}

static int check_labels(const dbi_batch *batch, dbi_error *error)
{
    const int64_t count = batch->shape.labeled * batch->shape.size[0] * batch->shape.size[1] * batch->shape.size[2];
    uint8_t highest = 0;
    for (int64_t i = 0; i < count; i++)
        highest = batch->label[i] > highest ? batch->label[i] : highest;
    return highest > batch->shape.classes
               ? dbi_fail(error, "tensor \"label\" has the value %d, but there are %lld classes", highest,
                          (long long)batch->shape.classes)
               : 0;
}

int dbi_batch_open(const dbi_record *record, const dbi_arch *arch, const dbi_method *method, dbi_batch *batch,
                   dbi_error *error)
{
    *batch = (dbi_batch){0};
    int64_t labeled;
    const char *kind = dbi_meta_get(record, "kind");
    if (!kind || strcmp(kind, "batch"))
        return dbi_fail(error, "not a batch, but a record of kind \"%s\"", kind ? kind : "");
    if (dbi_meta_get_int(record, "step", &batch->step, error) || dbi_meta_get_int(record, "labeled", &labeled, error))
        return -1;
    const int64_t any[5] = {-1, arch->channels, -1, -1, -1};
    const dbi_tensor *image = dbi_record_need(record, "image", DBI_F32, 5, any, error);
    if (!image)
        return -1;
    batch->shape = (dbi_loss_shape){
        image->shape[0], labeled, arch->classes, {image->shape[2], image->shape[3], image->shape[4]}, arch->decoders};
    if (labeled < 1 || labeled > image->shape[0])
        return dbi_fail(error, "%lld labelled samples in a batch of %lld", (long long)labeled,
                        (long long)image->shape[0]);
    if (dbi_net_size_check(batch->shape.size, error))
        return dbi_fail_in(error, "a patch");
    const int64_t label_shape[4] = {labeled, image->shape[2], image->shape[3], image->shape[4]};
    const int64_t truth_shape[4] = {image->shape[0] - labeled, image->shape[2], image->shape[3], image->shape[4]};
    const dbi_tensor *label = dbi_record_need(record, "label", DBI_U8, 4, label_shape, error);
    if (!label)
        return -1;
    if (dbi_record_find(record, "truth")) {
        const dbi_tensor *truth = dbi_record_need(record, "truth", DBI_U8, 4, truth_shape, error);
        if (!truth)
            return -1;
        batch->truth = truth->data;
    }
    batch->image = image->data;
    batch->label = label->data;
    batch->preprocessing = dbi_meta_get(record, "preprocessing");
    if (check_image(image, error) || check_labels(batch, error) || set_distances(record, method, batch, error)) {
        dbi_batch_close(batch);
        return -1;
    }
    return 0;
}

void dbi_batch_close(dbi_batch *batch)
{
    free(batch->own);
    batch->own = NULL;
}
