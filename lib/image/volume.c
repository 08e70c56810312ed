#include "image/volume.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "record/metadata.h"

void dbi_grid_spacing(const dbi_grid *grid, double spacing[3])
{
    for (int a = 0; a < 3; a++)
        spacing[a] =
            sqrt(grid->affine[0][a] * grid->affine[0][a] + grid->affine[1][a] * grid->affine[1][a] + grid->affine[2][a] * grid->affine[2][a]);
}

int dbi_grid_check(const dbi_grid *grid, dbi_error *error)
{
    int64_t count;
    const int64_t *n = grid->shape;
    if (n[0] < 1 || n[1] < 1 || n[2] < 1 || !dbi_count(n, 3, &count) || count > INT64_MAX / 8)
        return dbi_fail(error, "impossible shape %" PRId64 " x %" PRId64 " x %" PRId64, n[0], n[1], n[2]);
    const double(*m)[4] = grid->affine;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            if (!isfinite(m[i][j]))
                return dbi_fail(error, "the affine has a value that is not finite");
    double spacing[3];
    dbi_grid_spacing(grid, spacing);
    for (int a = 0; a < 3; a++)
        if (!isfinite(spacing[a]))
            return dbi_fail(error, "the spacing along axis %d is beyond all measure", a);
    double det = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
                 m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
    double size = spacing[0] * spacing[1] * spacing[2];
    if (!(size > 0) || !isfinite(size) || !(fabs(det) > 1e-6 * size))
        return dbi_fail(error, "the affine is singular");
    return 0;
}

int dbi_grid_same(const dbi_grid *a, const dbi_grid *b, dbi_error *error)
{
    if (memcmp(a->shape, b->shape, sizeof a->shape))
        return dbi_fail(error, "%" PRId64 " x %" PRId64 " x %" PRId64 " voxels, not %" PRId64 " x %" PRId64 " x %" PRId64, b->shape[0], b->shape[1],
                        b->shape[2], a->shape[0], a->shape[1], a->shape[2]);
    double spacing[3], farthest = 0;
    dbi_grid_spacing(a, spacing);
    for (int corner = 0; corner < 8; corner++) {
        double square = 0;
        for (int i = 0; i < 3; i++) {
            double d = a->affine[i][3] - b->affine[i][3];
            for (int j = 0; j < 3; j++)
                if (corner >> j & 1)
                    d += (a->affine[i][j] - b->affine[i][j]) * (double)(a->shape[j] - 1);
            square += d * d;
        }
        farthest = fmax(farthest, sqrt(square));
    }
    if (farthest > 0.02 * fmin(spacing[0], fmin(spacing[1], spacing[2])))
        return dbi_fail(error, "the affines differ: corners are up to %.4g mm apart", farthest);
    return 0;
}

static json_t *numbers(const double *values, int count)
{
    json_t *array = json_array();
    for (int i = 0; array && i < count; i++)
        if (json_array_append_new(array, json_real(values[i]))) {
            json_decref(array);
            array = NULL;
        }
    return array;
}

static json_t *affine_json(const double affine[4][4])
{
    return json_pack("[o,o,o,o]", numbers(affine[0], 4), numbers(affine[1], 4), numbers(affine[2], 4), numbers(affine[3], 4));
}

int dbi_grid_set(dbi_record *record, const dbi_grid *grid, dbi_error *error)
{
    double spacing[3];
    dbi_grid_spacing(grid, spacing);
    json_t *affine = affine_json(grid->affine);
    int result = affine ? dbi_meta_set_json(record, "affine", affine, error) : dbi_fail(error, "out of memory");
    json_decref(affine);
    return result ? result : dbi_meta_set_numbers(record, "spacing", spacing, 3, error);
}

int dbi_source_set(dbi_record *record, const dbi_source *source, dbi_error *error)
{
    double spacing[3];
    dbi_grid_spacing(&source->grid, spacing);
    const int64_t *n = source->grid.shape;
    json_t *json = json_pack("{s:[I,I,I], s:o, s:o, s:s, s:i, s:i, s:o, s:o, s:f, s:o, s:i}", "shape", (json_int_t)n[0], (json_int_t)n[1],
                             (json_int_t)n[2], "affine", affine_json(source->grid.affine), "spacing", numbers(spacing, 3), "format", source->format,
                             "sform_code", source->sform_code, "qform_code", source->qform_code, "quatern", numbers(source->quatern, 3), "offset",
                             numbers(source->offset, 3), "qfac", source->qfac, "pixdim", numbers(source->pixdim, 3), "units", source->units);
    int result = json ? dbi_meta_set_json(record, "source", json, error) : dbi_fail(error, "the source cannot be written as JSON");
    json_decref(json);
    return result;
}

static bool get_numbers(const json_t *array, double *out, size_t count)
{
    if (json_array_size(array) != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, i);
        out[i] = json_number_value(item);
        if (!json_is_number(item) || !isfinite(out[i]))
            return false;
    }
    return true;
}

static bool get_int(const json_t *object, const char *key, int *out)
{
    const json_t *item = json_object_get(object, key);
    json_int_t value = json_integer_value(item);
    *out = (int)value;
    return json_is_integer(item) && value >= 0 && value <= 255;
}

int dbi_source_get(const dbi_record *record, dbi_source *source, dbi_error *error)
{
    json_t *json = dbi_meta_get_json(record, "source", error);
    if (!json)
        return -1;
    *source = (dbi_source){0};
    const json_t *affine = json_object_get(json, "affine"), *shape = json_object_get(json, "shape");
    const char *format = json_string_value(json_object_get(json, "format"));
    bool good = json_array_size(affine) == 4 && json_array_size(shape) == 3 && format &&
                (!strcmp(format, "nifti1") || !strcmp(format, "nifti2") || !strcmp(format, "hdf5"));
    for (size_t i = 0; good && i < 4; i++)
        good = get_numbers(json_array_get(affine, i), source->grid.affine[i], 4);
    for (size_t i = 0; good && i < 3; i++)
        source->grid.shape[i] = json_integer_value(json_array_get(shape, i));
    good = good && get_int(json, "sform_code", &source->sform_code) && get_int(json, "qform_code", &source->qform_code) &&
           get_int(json, "units", &source->units) && get_numbers(json_object_get(json, "quatern"), source->quatern, 3) &&
           get_numbers(json_object_get(json, "offset"), source->offset, 3) && get_numbers(json_object_get(json, "pixdim"), source->pixdim, 3);
    source->qfac = json_number_value(json_object_get(json, "qfac"));
    if (good)
        strcpy(source->format, format);
    json_decref(json);
    if (!good)
        return dbi_fail(error, "metadata \"source\" is not a scan's grid");
    return dbi_grid_check(&source->grid, error) ? dbi_fail_in(error, "metadata \"source\"") : 0;
}

int dbi_volume_new(dbi_volume *volume, const dbi_grid *grid, int64_t channels, dbi_dtype dtype, dbi_error *error)
{
    int64_t count;
    *volume = (dbi_volume){.grid = *grid, .channels = channels, .dtype = dtype};
    if (!dbi_count((int64_t[]){channels, grid->shape[0], grid->shape[1], grid->shape[2]}, 4, &count))
        return dbi_fail(error, "a volume beyond this machine");
    volume->data = dbi_alloc((size_t)count, dbi_dtype_size(dtype), error);
    return volume->data ? 0 : -1;
}

void dbi_volume_free(dbi_volume *volume)
{
    free(volume->data);
    volume->data = NULL;
}
