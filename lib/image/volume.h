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

/* Bounds of the spacing of scans and cases, in mm. The quotient of two such spacings fits into integers. */
#define DBI_LEAST_SPACING 1e-6
#define DBI_MOST_SPACING  1e6

/* Lengths of the affine's columns, mm. */
void dbi_grid_spacing(const dbi_grid *grid, double spacing[3]);
/* Checks that sizes are at least 1 and their product fits, that the affine is finite and invertible, and that spacings
 * are from DBI_LEAST_SPACING to DBI_MOST_SPACING. The error says what is wrong. */
int dbi_grid_check(const dbi_grid *grid, dbi_error *error);
/* Checks that the shapes are equal and that corresponding corner voxels are within 2 % of the smallest spacing. The
 * error says what differs. */
int dbi_grid_same(const dbi_grid *a, const dbi_grid *b, dbi_error *error);

/* Sets the metadata "affine" and "spacing" of a record. */
int dbi_grid_set(dbi_record *record, const dbi_grid *grid, dbi_error *error);

/* Codes of sform and qform have 16 bits in NIfTI-1. */
enum { DBI_MOST_CODE = 32767 };

/* Where a scan's voxels were and what its file said about it: all that is needed to write another volume into the same
 * place. The fields after `format` are those of a NIfTI header. They mean nothing for other formats, whose place is the
 * grid alone. */
typedef struct dbi_source {
    dbi_grid grid;
    char format[8];                     /* a kind of formats.c: "nifti1", "nifti2", "hdf5" */
    int sform_code, qform_code;         /* 0: none; at most DBI_MOST_CODE */
    double quatern[3], offset[3], qfac; /* the header's qform, in the file's unit */
    double pixdim[3];                   /* the header's spacing, in the file's unit */
    int units;                          /* NIFTI_UNITS_...: 1 m, 2 mm, 3 um, 0 unknown (taken as mm) */
} dbi_source;

/* A volume in memory, [channels, X, Y, Z] in C order. */
typedef struct dbi_volume {
    dbi_grid grid;
    int64_t channels;
    dbi_dtype dtype; /* DBI_U8 or DBI_F32 */
    void *data;      /* owned */
} dbi_volume;

/* Makes a volume of zeroed voxels. */
int dbi_volume_new(dbi_volume *volume, const dbi_grid *grid, int64_t channels, dbi_dtype dtype, dbi_error *error);
/* Frees the voxels; a zeroed struct is allowed. */
void dbi_volume_free(dbi_volume *volume);

#endif
