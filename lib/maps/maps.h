/* Signed distance maps of records. */
#ifndef DBI_MAPS_MAPS_H
#define DBI_MAPS_MAPS_H

#include <stdbool.h>

#include "device/device.h"
#include "distance/normalize.h"
#include "record/record.h"

/* Adds or replaces tensor `sdf` f32 [K,X,Y,Z], distances in voxels, and metadata `sdf`,
 * {"normalize":...,"transform":...}. From `label` u8 [X,Y,Z], K being the metadata `classes` and every value at most K,
 * or (from_prob) from `prob` f32 [K,X,Y,Z], values from 0 to 1. *empty (may be NULL): there is no foreground of any
 * class. device: what computes them. Errors do not name the record. */
int dbi_record_add_sdf(dbi_record *record, bool from_prob, const dbi_transform *transform,
                       const dbi_normalize *normalize, const dbi_device *device, bool *empty, dbi_error *error);

/* What such maps are made from: `label` or `prob`, borrowed from the record and checked as said above, and K. */
int dbi_record_distance_source(const dbi_record *record, bool from_prob, const dbi_tensor **from, int64_t *classes,
                               bool *empty, dbi_error *error);

#endif
