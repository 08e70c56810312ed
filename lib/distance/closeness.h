/* How close maps of signed distances are to exact ones, summed up over many maps. */
#ifndef DBI_DISTANCE_CLOSENESS_H
#define DBI_DISTANCE_CLOSENESS_H

#include <stdint.h>

#include "base/error.h"

/* Bands of |exact distance| in voxels: up to 5, up to 20, beyond. */
enum { DBI_BANDS = 3 };
extern const char *const dbi_band_names[DBI_BANDS];

typedef struct dbi_closeness dbi_closeness;

dbi_closeness *dbi_closeness_new(dbi_error *error);
void dbi_closeness_free(dbi_closeness *closeness);

/* One map of `count` voxels: distances s and the exact ones, both positive inside and in voxels; gradient: what a
 * loss gave the voxels that the map was made of (NULL: nothing). */
void dbi_closeness_add(dbi_closeness *closeness, int64_t count, const float *s, const float *exact,
                       const float *gradient);

/* Errors in voxels. "shifted": after the band's distances were made longer by its `offset`, on both sides of the
 * surface alike: the constant that leaves the least mean error. Percentiles and shifted errors are read from a
 * histogram with bins of 1/512 voxel. NAN where a band has no voxel. */
typedef struct dbi_closeness_report {
    int64_t voxels;
    double nonfinite;          /* share of the voxels whose distance is not finite; no band counts them */
    double nonfinite_gradient; /* share whose gradient is not finite */
    double gradient;           /* share whose gradient is not 0 */
    struct {
        int64_t voxels;
        double mean, p95, offset, shifted_mean, shifted_p95;
    } bands[DBI_BANDS];
} dbi_closeness_report;

void dbi_closeness_sum_up(const dbi_closeness *closeness, dbi_closeness_report *report);

#endif
