#include "image/grid_json.h"

#include <jansson.h>
#include <math.h>

json_t *dbi_numbers_json(const double *values, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < count; i++)
        if (json_array_append_new(array, json_real(values[i]))) {
            json_decref(array);
            array = NULL;
        }
    return array;
}

json_t *dbi_affine_json(const double affine[4][4])
{
    return json_pack("[o,o,o,o]", dbi_numbers_json(affine[0], 4), dbi_numbers_json(affine[1], 4),
                     dbi_numbers_json(affine[2], 4), dbi_numbers_json(affine[3], 4));
}

bool dbi_json_numbers(const json_t *array, double *out, size_t count)
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
