/* Numbers and affines as values of jansson. */
#ifndef DBI_IMAGE_GRID_JSON_H
#define DBI_IMAGE_GRID_JSON_H

#include <stdbool.h>
#include <stddef.h>

struct json_t;

/* New references; NULL where memory is short or a number is not finite. */
struct json_t *dbi_numbers_json(const double *values, size_t count);
struct json_t *dbi_affine_json(const double affine[4][4]);

/* False where it is not an array of exactly so many finite numbers. */
bool dbi_json_numbers(const struct json_t *array, double *out, size_t count);

#endif
