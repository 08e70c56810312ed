#include "image/intensity.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { BLOCK = 1 << 16 }; /* voxels per partial sum, so that any number of threads adds in the same order */

int dbi_intensity_parse(const char *text, dbi_intensity *intensity, dbi_error *error)
{
    static const struct {
        const char *name;
        dbi_intensity_kind kind;
    } names[] = {{"zscore", DBI_INTENSITY_ZSCORE},
                 {"zscore:foreground", DBI_INTENSITY_FOREGROUND},
                 {"none", DBI_INTENSITY_NONE}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i].name)) {
            *intensity = (dbi_intensity){.kind = names[i].kind};
            return 0;
        }
    if (strncmp(text, "window:", 7))
        return dbi_fail(error, "\"%s\": choose none, zscore, zscore:foreground or window:LO,HI", text);
    char *end;
    double low = strtod(text + 7, &end), high = NAN;
    if (end != text + 7 && *end == ',' && end[1]) {
        high = strtod(end + 1, &end);
        if (*end)
            high = NAN;
    }
    if (!isfinite(low) || !isfinite(high) || !(low < high))
        return dbi_fail(error, "\"%s\": a window is window:LO,HI, two numbers, LO less than HI", text);
    *intensity = (dbi_intensity){DBI_INTENSITY_WINDOW, low, high};
    return 0;
}

void dbi_intensity_format(const dbi_intensity *intensity, char text[80])
{
    switch (intensity->kind) {
    case DBI_INTENSITY_ZSCORE:
        strcpy(text, "zscore");
        break;
    case DBI_INTENSITY_FOREGROUND:
        strcpy(text, "zscore:foreground");
        break;
    case DBI_INTENSITY_WINDOW:
        snprintf(text, 80, "window:%.17g,%.17g", intensity->low, intensity->high);
        break;
    case DBI_INTENSITY_NONE:
        strcpy(text, "none");
        break;
    }
}

/* Sums over the voxels brighter than `above`. */
typedef struct moments {
    double count, sum, squares; /* squares of the differences from `centre` */
} moments;

static moments block_moments(const float *voxels, size_t count, double above, double centre)
{
    moments m = {0};
    for (size_t i = 0; i < count; i++) {
        double v = (double)voxels[i], d = v - centre;
        if (v > above) {
            m.count += 1;
            m.sum += v;
            m.squares += d * d;
        }
    }
    return m;
}

static int measure(const float *voxels, size_t count, double above, double centre, moments *total, dbi_error *error)
{
    size_t n = (count + BLOCK - 1) / BLOCK;
    moments *part = dbi_alloc(n, sizeof *part, error);
    if (!part)
        return -1;
#pragma omp parallel for schedule(static)
    for (size_t b = 0; b < n; b++)
        part[b] = block_moments(voxels + b * BLOCK, b + 1 < n ? BLOCK : count - b * BLOCK, above, centre);
    *total = (moments){0};
    for (size_t b = 0; b < n; b++) {
        total->count += part[b].count;
        total->sum += part[b].sum;
        total->squares += part[b].squares;
    }
    free(part);
    return 0;
}

static int mean_and_deviation(const float *voxels, size_t count, double above, dbi_intensity_result *result,
                              dbi_error *error)
{
    moments m;
    if (measure(voxels, count, above, 0, &m, error))
        return -1;
    double mean = m.sum / m.count;
    if (measure(voxels, count, above, mean, &m, error))
        return -1;
    *result = (dbi_intensity_result){mean, sqrt(m.squares / m.count)};
    return 0;
}

/* Finds the least and the largest voxel. False when a voxel is not finite. */
static bool range(const float *voxels, size_t count, float *least, float *most)
{
    float low = voxels[0], high = voxels[0];
    int bad = 0;
#pragma omp parallel for schedule(static) reduction(min : low) reduction(max : high) reduction(| : bad)
    for (size_t i = 0; i < count; i++) {
        low = voxels[i] < low ? voxels[i] : low;
        high = voxels[i] > high ? voxels[i] : high;
        bad |= !(voxels[i] - voxels[i] == 0);
    }
    *least = low;
    *most = high;
    return !bad;
}

/* Makes (voxel - shift) / scale of each voxel, clipped to [low, high]. False when a result is not finite. */
static bool scale_all(float *voxels, size_t count, const dbi_intensity_result *result, float low, float high)
{
    double shift = result->shift, scale = 1 / result->scale;
    int bad = 0;
#pragma omp parallel for schedule(static) reduction(| : bad)
    for (size_t i = 0; i < count; i++) {
        float v = (float)(((double)voxels[i] - shift) * scale);
        bad |= !(v - v == 0);
        voxels[i] = v < low ? low : v > high ? high : v;
    }
    return !bad;
}

int dbi_intensity_apply(const dbi_intensity *intensity, float *voxels, size_t count, dbi_intensity_result *result,
                        dbi_error *error)
{
    *result = (dbi_intensity_result){0, 1};
    float least, most;
    if (count == 0)
        return dbi_fail(error, "an image without voxels");
    if (!range(voxels, count, &least, &most))
        return dbi_fail(error, "the image has values beyond 32-bit floating point");
    if (least == most)
        return dbi_fail(error, "the image is constant: every voxel is %g", (double)least);
    bool window = intensity->kind == DBI_INTENSITY_WINDOW;
    if (window && ((double)least >= intensity->high || (double)most <= intensity->low))
        return dbi_fail(error, "the image is constant in the window %g to %g: its voxels lie between %g and %g",
                        intensity->low, intensity->high, (double)least, (double)most);
    if (intensity->kind == DBI_INTENSITY_NONE)
        return 0;
    if (window)
        *result = (dbi_intensity_result){intensity->low, intensity->high - intensity->low};
    else if (mean_and_deviation(voxels, count, -INFINITY, result, error))
        return -1;
    if (intensity->kind == DBI_INTENSITY_FOREGROUND) {
        if (mean_and_deviation(voxels, count, result->shift, result, error))
            return -1;
        if (!(result->scale > 0))
            return dbi_fail(error, "the foreground, the voxels above the mean, is constant");
    }
    if (!scale_all(voxels, count, result, window ? 0 : -INFINITY, window ? 1 : INFINITY))
        return dbi_fail(error,
                        "normalized values are beyond 32-bit floating point: voxels from %g to %g, divided by %g",
                        (double)least, (double)most, result->scale);
    return 0;
}
