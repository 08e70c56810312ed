/* Grids and volumes: voxels with a place in space. */
#ifndef DBI_IMAGE_VOLUME_H
#define DBI_IMAGE_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "record/record.h"

/* A regular grid: sizes, and the affine that takes voxel indices to millimetres, +x to the patient's right, +y to
 * the front, +z up (RAS+). The last row of the affine is 0 0 0 1. */
typedef struct dbi_grid {
    int64_t shape[3];
    double affine[4][4];
} dbi_grid;

/* Of any scan and any case, mm: quotients of two spacings are far from the bounds of integers. */
#define DBI_LEAST_SPACING 1e-6
#define DBI_MOST_SPACING  1e6

/* Lengths of the affine's columns, mm. */
void dbi_grid_spacing(const dbi_grid *grid, double spacing[3]);
/* Sizes >= 1 whose product fits, a finite and invertible affine, spacings from DBI_LEAST_SPACING to DBI_MOST_SPACING;
 * else an error that says which is wrong. */
int dbi_grid_check(const dbi_grid *grid, dbi_error *error);
/* Do all corner voxels of the two grids lie within 2 % of the smallest spacing of one another? Fails with what
 * differs. */
int dbi_grid_same(const dbi_grid *a, const dbi_grid *b, dbi_error *error);

/* Metadata "affine" and "spacing" of a record. */
int dbi_grid_set(dbi_record *record, const dbi_grid *grid, dbi_error *error);

/* Codes of sform and qform have 16 bits in NIfTI-1. */
enum { DBI_MOST_CODE = 32767 };

/* Where a scan's voxels were and how its file said so: what is needed to write another volume into the same place. What
 * follows the format is a NIfTI header's, and means nothing for other formats, whose place is the grid alone. */
typedef struct dbi_source {
    dbi_grid grid;
    char format[8];                     /* a kind of formats.c: "nifti1", "nifti2", "hdf5" */
    int sform_code, qform_code;         /* 0: none; at most DBI_MOST_CODE */
    double quatern[3], offset[3], qfac; /* the header's qform, in the file's unit */
    double pixdim[3];                   /* the header's spacing, in the file's unit */
    int units;                          /* NIFTI_UNITS_...: 1 m, 2 mm, 3 um, 0 unknown (taken as mm) */
} dbi_source;

/* A volume of its own, [channels, X, Y, Z] in C order. */
typedef struct dbi_volume {
    dbi_grid grid;
    int64_t channels;
    dbi_dtype dtype; /* DBI_U8 or DBI_F32 */
    void *data;      /* owned */
} dbi_volume;

/* Zeroed voxels. */
int dbi_volume_new(dbi_volume *volume, const dbi_grid *grid, int64_t channels, dbi_dtype dtype, dbi_error *error);
/* Frees the voxels; a zeroed struct is allowed. */
void dbi_volume_free(dbi_volume *volume);

#endif
