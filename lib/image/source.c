#include "image/source.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "image/formats.h"
#include "image/grid_json.h"
#include "record/metadata.h"

enum { MOST_UNITS = 7 }; /* three bits of a NIfTI header */

bool dbi_source_placed(const dbi_source *source)
{
    const dbi_scan_format *format = dbi_format_of_kind(source->format);
    return format && format->placed;
}

static bool get_int(const json_t *object, const char *key, int *out)
{
    const json_t *item = json_object_get(object, key);
    json_int_t value = json_integer_value(item);
    *out = (int)value;
    return json_is_integer(item) && value >= 0 && value <= INT_MAX;
}

static bool codes_good(const dbi_source *source)
{
    return source->sform_code >= 0 && source->sform_code <= DBI_MOST_CODE && source->qform_code >= 0 &&
           source->qform_code <= DBI_MOST_CODE && source->units >= 0 && source->units <= MOST_UNITS;
}

int dbi_source_set(dbi_record *record, const dbi_source *source, dbi_error *error)
{
    double spacing[3];
    if (!codes_good(source))
        return dbi_fail(error, "the sform code %d, the qform code %d or the unit %d is beyond what a scan can have",
                        source->sform_code, source->qform_code, source->units);
    dbi_grid_spacing(&source->grid, spacing);
    const int64_t *n = source->grid.shape;
    json_t *json = json_pack(
        "{s:[I,I,I], s:o, s:o, s:s, s:i, s:i, s:o, s:o, s:f, s:o, s:i}", "shape", (json_int_t)n[0], (json_int_t)n[1],
        (json_int_t)n[2], "affine", dbi_affine_json(source->grid.affine), "spacing", dbi_numbers_json(spacing, 3),
        "format", source->format, "sform_code", source->sform_code, "qform_code", source->qform_code, "quatern",
        dbi_numbers_json(source->quatern, 3), "offset", dbi_numbers_json(source->offset, 3), "qfac", source->qfac,
        "pixdim", dbi_numbers_json(source->pixdim, 3), "units", source->units);
    int result = json ? dbi_meta_set_json(record, "source", json, error)
                      : dbi_fail(error, "the source cannot be written as JSON");
    json_decref(json);
    return result;
}

int dbi_source_get(const dbi_record *record, dbi_source *source, dbi_error *error)
{
    json_t *json = dbi_meta_get_json(record, "source", error);
    if (!json)
        return -1;
    *source = (dbi_source){0};
    const json_t *affine = json_object_get(json, "affine"), *shape = json_object_get(json, "shape");
    const char *format = json_string_value(json_object_get(json, "format"));
    bool good = json_array_size(affine) == 4 && json_array_size(shape) == 3 && format && dbi_format_of_kind(format);
    for (size_t i = 0; good && i < 4; i++)
        good = dbi_json_numbers(json_array_get(affine, i), source->grid.affine[i], 4);
    for (size_t i = 0; good && i < 3; i++)
        source->grid.shape[i] = json_integer_value(json_array_get(shape, i));
    good = good && get_int(json, "sform_code", &source->sform_code) &&
           get_int(json, "qform_code", &source->qform_code) && get_int(json, "units", &source->units) &&
           codes_good(source) && dbi_json_numbers(json_object_get(json, "quatern"), source->quatern, 3) &&
           dbi_json_numbers(json_object_get(json, "offset"), source->offset, 3) &&
           dbi_json_numbers(json_object_get(json, "pixdim"), source->pixdim, 3);
    source->qfac = json_number_value(json_object_get(json, "qfac"));
    if (good)
        strcpy(source->format, format);
    json_decref(json);
    if (!good)
        return dbi_fail(error, "metadata \"source\" is not a scan's grid");
    return dbi_grid_check(&source->grid, error) ? dbi_fail_in(error, "metadata \"source\"") : 0;
}
