/* Signed distance maps of records. */
#ifndef DBI_MAPS_MAPS_H
#define DBI_MAPS_MAPS_H

#include <stdbool.h>

#include "device/device.h"
#include "distance/normalize.h"
#include "record/record.h"

/* Adds or replaces the tensor `sdf` f32 [K,X,Y,Z], distances in voxels, and the metadata `sdf`,
 * {"normalize":...,"transform":...}. The maps are made of `label` u8 [X,Y,Z], with K the metadata `classes` and no
 * value above K, or (from_prob) of `prob` f32 [K,X,Y,Z] with values from 0 to 1. *empty (may be NULL): no class has
 * foreground. device: computes the maps. Errors do not name the record. */
int dbi_record_add_sdf(dbi_record *record, bool from_prob, const dbi_transform *transform,
                       const dbi_normalize *normalize, const dbi_device *device, bool *empty, dbi_error *error);

/* What such maps are made of: `label` or `prob`, which belongs to the record, checked as above, and K. */
int dbi_record_distance_source(const dbi_record *record, bool from_prob, const dbi_tensor **from, int64_t *classes,
                               bool *empty, dbi_error *error);

#endif
