#include "distance/closeness.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

const char *const dbi_band_names[DBI_BANDS] = {"0-5", "5-20", "20-"};
static const float band_ends[DBI_BANDS] = {5, 20, INFINITY};

/* Signed errors fall into bins; what is farther off than the outermost bin is counted there. */
enum { BINS_PER_VOXEL = 512, FARTHEST = 512, BINS = 2 * FARTHEST * BINS_PER_VOXEL };

struct dbi_closeness {
    int64_t voxels, nonfinite, nonfinite_gradient, gradient;
    double sum[DBI_BANDS]; /* of |error| */
    uint32_t *bins;        /* [DBI_BANDS][BINS], of the error of |s| */
};

dbi_closeness *dbi_closeness_new(dbi_error *error)
{
    dbi_closeness *c = dbi_alloc(1, sizeof *c, error);
    if (c && !(c->bins = dbi_alloc((size_t)DBI_BANDS * BINS, sizeof *c->bins, error))) {
        free(c);
        return NULL;
    }
    return c;
}

void dbi_closeness_free(dbi_closeness *closeness)
{
    if (!closeness)
        return;
    free(closeness->bins);
    free(closeness);
}

static int band_of(float exact)
{
    int band = 0;
    while (band < DBI_BANDS - 1 && fabsf(exact) > band_ends[band])
        band++;
    return band;
}

void dbi_closeness_add(dbi_closeness *closeness, int64_t count, const float *s, const float *exact,
                       const float *gradient)
{
    dbi_closeness *c = closeness;
    c->voxels += count;
    for (int64_t i = 0; i < count; i++) {
        if (gradient) {
            c->nonfinite_gradient += !isfinite(gradient[i]);
            c->gradient += gradient[i] != 0;
        }
        if (!isfinite(s[i])) {
            c->nonfinite++;
            continue;
        }
        const int band = band_of(exact[i]);
        /* positive: too far from the surface, on either side of it */
        const double error = exact[i] > 0 ? (double)s[i] - (double)exact[i] : (double)exact[i] - (double)s[i];
        const double bin = rint(error * BINS_PER_VOXEL) + (double)FARTHEST * BINS_PER_VOXEL;
        c->sum[band] += fabs(error);
        c->bins[(int64_t)band * BINS + (bin < 0 ? 0 : bin < BINS - 1 ? (int64_t)bin : BINS - 1)]++;
    }
}

static double middle(int64_t bin)
{
    return (double)bin / BINS_PER_VOXEL - FARTHEST;
}

/* No other constant leaves a smaller mean |error|. */
static double median(const uint32_t *bins, int64_t voxels)
{
    int64_t below = 0;
    for (int64_t bin = 0; bin < BINS; bin++) {
        below += bins[bin];
        if (2 * below >= voxels)
            return middle(bin);
    }
    return 0;
}

static double shifted_mean(const uint32_t *bins, double offset, int64_t voxels)
{
    double sum = 0;
    for (int64_t bin = 0; bin < BINS; bin++)
        sum += bins[bin] * fabs(middle(bin) - offset);
    return sum / (double)voxels;
}

/* The least distance from `offset` within which 95 % of a band lie: bins are taken from the nearest on. */
static double percentile(const uint32_t *bins, double offset, int64_t voxels)
{
    const int64_t centre = (int64_t)rint((offset + FARTHEST) * BINS_PER_VOXEL);
    int64_t within = 0;
    for (int64_t k = 0; k < BINS; k++) {
        if (centre - k >= 0)
            within += bins[centre - k];
        if (k && centre + k < BINS)
            within += bins[centre + k];
        if ((double)within >= 0.95 * (double)voxels)
            return (double)k / BINS_PER_VOXEL;
    }
    return FARTHEST;
}

void dbi_closeness_sum_up(const dbi_closeness *closeness, dbi_closeness_report *report)
{
    const dbi_closeness *c = closeness;
    const double all = (double)c->voxels;
    *report = (dbi_closeness_report){.voxels = c->voxels,
                                     .nonfinite = (double)c->nonfinite / all,
                                     .nonfinite_gradient = (double)c->nonfinite_gradient / all,
                                     .gradient = (double)c->gradient / all};
    for (int band = 0; band < DBI_BANDS; band++) {
        const uint32_t *bins = c->bins + (int64_t)band * BINS;
        int64_t voxels = 0;
        for (int64_t bin = 0; bin < BINS; bin++)
            voxels += bins[bin];
        const double shift = median(bins, voxels), none = (double)NAN;
        report->bands[band].voxels = voxels;
        report->bands[band].offset = voxels ? 0 - shift : none;
        report->bands[band].mean = voxels ? c->sum[band] / (double)voxels : none;
        report->bands[band].p95 = voxels ? percentile(bins, 0, voxels) : none;
        report->bands[band].shifted_mean = voxels ? shifted_mean(bins, shift, voxels) : none;
        report->bands[band].shifted_p95 = voxels ? percentile(bins, shift, voxels) : none;
    }
}
