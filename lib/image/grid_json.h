/* Numbers and affines as values of jansson. */
#ifndef DBI_IMAGE_GRID_JSON_H
#define DBI_IMAGE_GRID_JSON_H

#include <stdbool.h>
#include <stddef.h>

struct json_t;

/* Return new references; NULL when memory is out or a number is not finite. */
struct json_t *dbi_numbers_json(const double *values, size_t count);
struct json_t *dbi_affine_json(const double affine[4][4]);

/* Reads an array of exactly `count` finite numbers; false when it is anything else. */
bool dbi_json_numbers(const struct json_t *array, double *out, size_t count);

#endif
