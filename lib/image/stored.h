/* A scan as its file holds it: voxels that are not yet converted, their place in space, a checksum. */
#ifndef DBI_IMAGE_STORED_H
#define DBI_IMAGE_STORED_H

#include <stddef.h>
#include <stdint.h>

#include "image/volume.h"

/* Types of stored voxels; all of them native-endian once loaded. */
typedef enum dbi_voxel_type {
    DBI_VOXEL_NONE, /* no voxels */
    DBI_VOXEL_U8,
    DBI_VOXEL_I8,
    DBI_VOXEL_U16,
    DBI_VOXEL_I16,
    DBI_VOXEL_U32,
    DBI_VOXEL_I32,
    DBI_VOXEL_U64,
    DBI_VOXEL_I64,
    DBI_VOXEL_F32,
    DBI_VOXEL_F64
} dbi_voxel_type;

/* Voxel (x,y,z) is at[x * stride[0] + y * stride[1] + z * stride[2]], its value slope * stored + inter. */
typedef struct dbi_voxels {
    dbi_voxel_type type;
    void *owned; /* to be freed */
    const void *at;
    int64_t stride[3];
    double slope, inter;
} dbi_voxels;

typedef struct dbi_scan {
    dbi_source source;
    dbi_voxels image, label; /* type DBI_VOXEL_NONE: not there */
    char checksum[33];       /* XXH3-128 of the file (gzip undone; of a pair, of both files) in hexadecimal */
} dbi_scan;

/* What is wanted of a scan. */
enum { DBI_SCAN_IMAGE = 1, DBI_SCAN_LABEL = 2 };

/* A zeroed struct is allowed. */
void dbi_scan_free(dbi_scan *scan);

/* Bytes of one voxel; 0 for DBI_VOXEL_NONE and for what is no type. */
size_t dbi_voxel_size(dbi_voxel_type type);

/* The text becomes the XXH3-128 of the bytes in hexadecimal. A text that is not empty goes in front of the new
 * checksum, and both together are hashed: so the second file of a pair is added. */
void dbi_scan_checksum(char text[33], const uint8_t *bytes, size_t size);

#endif
