#include "image/geometry.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "image/resample.h"
#include "record/metadata.h"

static json_t *integers(const int64_t values[3])
{
    return json_pack("[I,I,I]", (json_int_t)values[0], (json_int_t)values[1], (json_int_t)values[2]);
}

double dbi_geometry_step(const dbi_geometry *g, int axis)
{
    return (g->resampled ? g->ratio[axis] : 1) * (double)g->downsample;
}

int dbi_geometry_set(dbi_record *record, const dbi_geometry *g, dbi_error *error)
{
    const dbi_orientation *o = &g->orientation;
    json_t *list = json_pack("[{s:s, s:[i,i,i], s:[b,b,b]}]", "op", "orient", "axes", o->axis[0], o->axis[1],
                             o->axis[2], "flip", o->flip[0], o->flip[1], o->flip[2]);
    bool good = list != NULL;
    if (good && g->resampled)
        good = !json_array_append_new(list, json_pack("{s:s, s:[f,f,f], s:o}", "op", "resample", "ratio", g->ratio[0],
                                                      g->ratio[1], g->ratio[2], "size", integers(g->resampled_shape)));
    if (good && g->downsample > 1)
        good = !json_array_append_new(list, json_pack("{s:s, s:I, s:o}", "op", "downsample", "factor",
                                                      (json_int_t)g->downsample, "size", integers(g->shape)));
    if (good && g->cropped)
        good = !json_array_append_new(
            list, json_pack("{s:s, s:o, s:o}", "op", "crop", "offset", integers(g->offset), "size", integers(g->size)));
    int result = good ? dbi_meta_set_json(record, "geometry", list, error) : dbi_fail(error, "out of memory");
    json_decref(list);
    return result;
}

static bool get_integers(const json_t *array, int64_t out[3])
{
    if (json_array_size(array) != 3)
        return false;
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_integer(item))
            return false;
        out[i] = json_integer_value(item);
    }
    return true;
}

static bool get_orient(const json_t *step, const int64_t scan_shape[3], dbi_geometry *g)
{
    int64_t axes[3];
    const json_t *flip = json_object_get(step, "flip");
    unsigned seen = 0;
    if (!get_integers(json_object_get(step, "axes"), axes) || json_array_size(flip) != 3)
        return false;
    for (size_t a = 0; a < 3; a++) {
        if (axes[a] < 0 || axes[a] > 2 || !json_is_boolean(json_array_get(flip, a)))
            return false;
        seen |= 1U << axes[a];
        g->orientation.axis[a] = (int)axes[a];
        g->orientation.flip[a] = json_is_true(json_array_get(flip, a));
        g->shape[a] = scan_shape[axes[a]];
    }
    return seen == 7;
}

static bool get_resample(const json_t *step, dbi_geometry *g)
{
    const json_t *ratio = json_object_get(step, "ratio");
    int64_t size[3];
    if (g->resampled || g->downsample > 1 || json_array_size(ratio) != 3 ||
        !get_integers(json_object_get(step, "size"), size))
        return false;
    for (size_t a = 0; a < 3; a++) {
        g->ratio[a] = json_number_value(json_array_get(ratio, a));
        if (!(g->ratio[a] > 0) || !isfinite(g->ratio[a]))
            return false;
    }
    g->resampled = true;
    if (dbi_resample_shape(g->shape, g->ratio, g->resampled_shape, NULL))
        return false;
    memcpy(g->shape, g->resampled_shape, sizeof g->shape);
    return !memcmp(size, g->shape, sizeof size);
}

static bool get_downsample(const json_t *step, dbi_geometry *g)
{
    int64_t size[3];
    json_int_t factor = json_integer_value(json_object_get(step, "factor"));
    if (g->downsample > 1 || factor < 2 || !get_integers(json_object_get(step, "size"), size))
        return false;
    g->downsample = factor;
    for (int a = 0; a < 3; a++)
        g->shape[a] /= factor;
    return g->shape[0] > 0 && g->shape[1] > 0 && g->shape[2] > 0 && !memcmp(size, g->shape, sizeof size);
}

static bool get_crop(const json_t *step, dbi_geometry *g)
{
    if (!get_integers(json_object_get(step, "offset"), g->offset) ||
        !get_integers(json_object_get(step, "size"), g->size))
        return false;
    for (int a = 0; a < 3; a++)
        if (g->offset[a] < 0 || g->size[a] < 1 || g->offset[a] > g->shape[a] || g->size[a] > g->shape[a] - g->offset[a])
            return false;
    g->cropped = true;
    return true;
}

static bool get_steps(const json_t *list, const int64_t scan_shape[3], dbi_geometry *g)
{
    size_t i;
    json_t *step;
    json_array_foreach(list, i, step)
    {
        const char *op = json_string_value(json_object_get(step, "op"));
        if (!op || g->cropped || (i == 0) != !strcmp(op, "orient"))
            return false;
        if (i == 0                      ? !get_orient(step, scan_shape, g)
            : !strcmp(op, "resample")   ? !get_resample(step, g)
            : !strcmp(op, "downsample") ? !get_downsample(step, g)
            : !strcmp(op, "crop")       ? !get_crop(step, g)
                                        : true)
            return false;
    }
    return json_array_size(list) > 0;
}

int dbi_geometry_get(const dbi_record *record, const int64_t scan_shape[3], dbi_geometry *g, dbi_error *error)
{
    json_t *list = dbi_meta_get_json(record, "geometry", error);
    if (!list)
        return -1;
    *g = (dbi_geometry){.downsample = 1, .ratio = {1, 1, 1}};
    bool good = get_steps(list, scan_shape, g);
    json_decref(list);
    if (!good)
        return dbi_fail(error, "metadata \"geometry\" does not tell how the scan became the case");
    if (!g->cropped)
        memcpy(g->size, g->shape, sizeof g->size);
    return 0;
}
