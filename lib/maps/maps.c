#include "maps/maps.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/memory.h"
#include "distance/edt.h"
#include "distance/normalize.h"
#include "distance/transform.real.h"
#include "record/metadata.h"

static const double voxels[3] = {1, 1, 1};

static int check_label(const dbi_tensor *label, int64_t classes, bool *empty, dbi_error *error)
{
    const uint8_t *value = label->data;
    int most = 0;
    for (size_t i = 0; i < label->count; i++)
        most = value[i] > most ? value[i] : most;
    if (most > classes)
        return dbi_fail(error, "the label has a value of %d, above the %lld of \"classes\"", most, (long long)classes);
    *empty = !most;
    return 0;
}

static int check_prob(const dbi_tensor *prob, bool *empty, dbi_error *error)
{
    const float *p = prob->data;
    const int64_t *n = prob->shape;
    *empty = true;
    for (size_t i = 0; i < prob->count; i++) {
        if (!(p[i] >= 0 && p[i] <= 1)) {
            const long long at = (long long)i;
            return dbi_fail(error, "\"prob\" has a value of %g at [%lld,%lld,%lld,%lld], which is no probability",
                            (double)p[i], at / (n[1] * n[2] * n[3]), at / (n[2] * n[3]) % n[1], at / n[3] % n[2],
                            at % n[3]);
        }
        *empty = *empty && p[i] <= 0.5f;
    }
    return 0;
}

/* The map of one class. scratch: [X,Y,Z] for its indicator, used by transforms of probabilities. */
static int map_label(const dbi_tensor *label, uint8_t value, const dbi_transform *transform,
                     const dbi_normalize *normalize, float *scratch, float *out, dbi_error *error)
{
    const uint8_t *values = label->data;
    if (transform->kind == DBI_TRANSFORM_EXACT)
        return dbi_signed_distance(values, value, label->shape, voxels, normalize, out, error);
    for (size_t i = 0; i < label->count; i++)
        scratch[i] = values[i] == value;
    return dbi_transform_forward_f32(transform, normalize, label->shape, scratch, out, NULL, error);
}

static int set_metadata(dbi_record *record, const dbi_transform *transform, const dbi_normalize *normalize,
                        dbi_error *error)
{
    char transform_text[64], normalize_text[64];
    dbi_transform_format(transform, transform_text);
    dbi_normalize_format(normalize, normalize_text);
    json_t *what = json_pack("{s:s, s:s}", "transform", transform_text, "normalize", normalize_text);
    int status = what ? dbi_meta_set_json(record, "sdf", what, error) : dbi_fail(error, "out of memory");
    json_decref(what);
    return status;
}

int dbi_record_distance_source(const dbi_record *record, bool from_prob, const dbi_tensor **from, int64_t *classes,
                               bool *empty, dbi_error *error)
{
    bool nothing = true;
    *from = from_prob ? dbi_record_need(record, "prob", DBI_F32, 4, NULL, error)
                      : dbi_record_need(record, "label", DBI_U8, 3, NULL, error);
    if (!*from)
        return -1;
    *classes = (*from)->shape[0];
    if (!from_prob && dbi_meta_get_int(record, "classes", classes, error))
        return -1;
    if (*classes < 1 || *classes > UINT8_MAX)
        return dbi_fail(error, "%lld classes, not from 1 to %d", (long long)*classes, UINT8_MAX);
    if (!(*from)->count)
        return dbi_fail(error, "tensor \"%s\" has no voxels", (*from)->name);
    if (from_prob ? check_prob(*from, &nothing, error) : check_label(*from, *classes, &nothing, error))
        return -1;
    if (empty)
        *empty = nothing;
    return 0;
}

int dbi_record_add_sdf(dbi_record *record, bool from_prob, const dbi_transform *transform,
                       const dbi_normalize *normalize, const dbi_device *device, bool *empty, dbi_error *error)
{
    const dbi_tensor *from;
    int64_t classes;
    if (dbi_record_distance_source(record, from_prob, &from, &classes, empty, error))
        return -1;
    const int64_t *extent = from->shape + (from_prob ? 1 : 0), shape[4] = {classes, extent[0], extent[1], extent[2]},
                  *size = shape + 1;
    const size_t count = from->count / (size_t)(from_prob ? classes : 1);
    dbi_record_drop(record, "sdf");
    dbi_tensor *sdf = dbi_record_add(record, "sdf", DBI_F32, 4, shape, error);
    if (sdf && device->table->maps)
        return device->table->maps(device, from_prob ? NULL : from->data, from_prob ? from->data : NULL, transform,
                                   normalize, size, classes, sdf->data, error)
                   ? -1
                   : set_metadata(record, transform, normalize, error);
    float *scratch = sdf ? dbi_alloc(from_prob ? 0 : count, sizeof *scratch, error) : NULL;
    int status = scratch ? 0 : -1;
    for (int64_t k = 0; k < classes && !status; k++) {
        float *out = (float *)sdf->data + (size_t)k * count;
        status = from_prob ? dbi_transform_forward_f32(transform, normalize, size,
                                                       (const float *)from->data + (size_t)k * count, out, NULL, error)
                           : map_label(from, (uint8_t)(k + 1), transform, normalize, scratch, out, error);
    }
    free(scratch);
    return status ? -1 : set_metadata(record, transform, normalize, error);
}
