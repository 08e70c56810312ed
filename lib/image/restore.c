#include "image/restore.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "image/components.h"
#include "image/geometry.h"
#include "image/scan.h"
#include "image/source.h"

/* For each voxel along one axis of the scan: the two voxels of the tensor to interpolate between (-1: beyond the crop),
 * and the weight of the second. */
typedef struct line {
    int64_t *low, *high;
    float *part;
} line;

/* The way from the scan's grid to the tensor's: lines for the scan's three axes, and the tensor's stride along each. */
typedef struct lookup {
    line axis[3];
    int64_t stride[3];
} lookup;

static void lookup_free(lookup *l)
{
    for (int a = 0; a < 3; a++) {
        free(l->axis[a].low);
        free(l->axis[a].high);
        free(l->axis[a].part);
    }
}

/* The tensor's index of voxel i of the case before the crop; -1: it was cut off. */
static int64_t inside(int64_t i, const dbi_geometry *g, int a)
{
    return i >= g->offset[a] && i < g->offset[a] + g->size[a] ? i - g->offset[a] : -1;
}

static void fill_line(line *l, int64_t count, const dbi_geometry *g, int a)
{
    double step = dbi_geometry_step(g, a);
    for (int64_t i = 0; i < count; i++) {
        int64_t canonical = g->orientation.flip[a] ? count - 1 - i : i;
        double at = ((double)canonical + 0.5) / step - 0.5;
        at = fmin(fmax(at, 0), (double)(g->shape[a] - 1));
        int64_t low = (int64_t)at;
        l->low[i] = inside(low, g, a);
        l->high[i] = inside(low + 1 < g->shape[a] ? low + 1 : low, g, a);
        l->part[i] = (float)(at - (double)low);
    }
}

static int lookup_make(lookup *l, const dbi_geometry *g, const int64_t scan_shape[3], dbi_error *error)
{
    const int64_t stride[] = {g->size[1] * g->size[2], g->size[2], 1};
    *l = (lookup){0};
    for (int a = 0; a < 3; a++) {
        int source = g->orientation.axis[a];
        size_t count = (size_t)scan_shape[source];
        line *axis = &l->axis[source];
        l->stride[source] = stride[a];
        axis->low = dbi_alloc(count, sizeof *axis->low, error);
        axis->high = axis->low ? dbi_alloc(count, sizeof *axis->high, error) : NULL;
        axis->part = axis->high ? dbi_alloc(count, sizeof *axis->part, error) : NULL;
        if (!axis->part) {
            lookup_free(l);
            return -1;
        }
        fill_line(axis, scan_shape[source], g, a);
    }
    return 0;
}

static void restore_nearest(const uint8_t *in, const lookup *l, const int64_t n[3], uint8_t *out)
{
    const line *ax = l->axis;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t x = 0; x < n[0]; x++)
        for (int64_t y = 0; y < n[1]; y++) {
            int64_t i = ax[0].part[x] < 0.5F ? ax[0].low[x] : ax[0].high[x],
                    j = ax[1].part[y] < 0.5F ? ax[1].low[y] : ax[1].high[y];
            uint8_t *row = out + (x * n[1] + y) * n[2];
            if (i < 0 || j < 0)
                continue;
            for (int64_t z = 0; z < n[2]; z++) {
                int64_t k = ax[2].part[z] < 0.5F ? ax[2].low[z] : ax[2].high[z];
                row[z] = k < 0 ? 0 : in[i * l->stride[0] + j * l->stride[1] + k * l->stride[2]];
            }
        }
}

static float fetch(const float *in, int64_t row, int64_t k, int64_t stride, float fill)
{
    return row < 0 || k < 0 ? fill : in[row + k * stride];
}

/* The linear interpolation at one z of a row, from the four rows of the tensor around it. */
static float interpolate(const float *in, const int64_t row[4], float px, float py, const line *az, int64_t z,
                         int64_t stride, float fill)
{
    float value[2];
    const int64_t k[] = {az->low[z], az->high[z]};
    for (int e = 0; e < 2; e++) {
        float a = fetch(in, row[0], k[e], stride, fill), b = fetch(in, row[1], k[e], stride, fill);
        float c = fetch(in, row[2], k[e], stride, fill), d = fetch(in, row[3], k[e], stride, fill);
        float low = a + (b - a) * py, high = c + (d - c) * py;
        value[e] = low + (high - low) * px;
    }
    return value[0] + (value[1] - value[0]) * az->part[z];
}

static void restore_linear(const float *in, const lookup *l, const int64_t n[3], float fill, float *out)
{
    const line *ax = l->axis;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t x = 0; x < n[0]; x++)
        for (int64_t y = 0; y < n[1]; y++) {
            const int64_t i[] = {ax[0].low[x], ax[0].high[x]}, j[] = {ax[1].low[y], ax[1].high[y]};
            int64_t row[4];
            for (int e = 0; e < 4; e++)
                row[e] = i[e >> 1] < 0 || j[e & 1] < 0 ? -1 : i[e >> 1] * l->stride[0] + j[e & 1] * l->stride[1];
            for (int64_t z = 0; z < n[2]; z++)
                out[(x * n[1] + y) * n[2] + z] =
                    interpolate(in, row, ax[0].part[x], ax[1].part[y], &ax[2], z, l->stride[2], fill);
        }
}

/* What a job works on. */
typedef struct job {
    const dbi_restore_options *options;
    dbi_source source;
    dbi_geometry geometry;
    lookup lookup;
    const dbi_tensor *tensor;
    int64_t classes;
} job;

static float smallest(const float *values, size_t count)
{
    float least = INFINITY;
    for (size_t i = 0; i < count; i++)
        least = values[i] < least ? values[i] : least;
    return least;
}

static void restore_class(const job *j, int64_t k, float *out)
{
    const int64_t *size = j->geometry.size;
    size_t count = (size_t)(size[0] * size[1] * size[2]);
    const float *in = (const float *)j->tensor->data + (size_t)k * count;
    restore_linear(in, &j->lookup, j->source.grid.shape, strcmp(j->options->from, "sdf") ? 0 : smallest(in, count),
                   out);
}

static int restore_floats(const job *j, dbi_volume *volume, dbi_error *error)
{
    const int64_t *n = j->source.grid.shape;
    if (dbi_volume_new(volume, &j->source.grid, j->classes, DBI_F32, error))
        return -1;
    for (int64_t k = 0; k < j->classes; k++)
        restore_class(j, k, (float *)volume->data + k * n[0] * n[1] * n[2]);
    return 0;
}

/* Takes one class at a time, so that many classes need no more memory than two. */
static int restore_thresholded(const job *j, dbi_volume *volume, dbi_error *error)
{
    const int64_t *n = j->source.grid.shape, count = n[0] * n[1] * n[2];
    if (dbi_volume_new(volume, &j->source.grid, 1, DBI_U8, error))
        return -1;
    float *one = dbi_alloc((size_t)count, sizeof *one, error), *best = NULL;
    if (!one || (j->classes > 1 && !(best = dbi_alloc((size_t)count, sizeof *best, error)))) {
        free(one);
        return -1;
    }
    uint8_t *label = volume->data;
    for (int64_t k = 0; k < j->classes; k++) {
        restore_class(j, k, one);
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < count; i++)
            if ((double)one[i] > j->options->threshold && (!label[i] || one[i] > best[i])) {
                label[i] = (uint8_t)(k + 1);
                if (best)
                    best[i] = one[i];
            }
    }
    free(one);
    free(best);
    return 0;
}

static int restore_label(const job *j, dbi_volume *volume, dbi_error *error)
{
    if (dbi_volume_new(volume, &j->source.grid, 1, DBI_U8, error))
        return -1;
    restore_nearest(j->tensor->data, &j->lookup, j->source.grid.shape, volume->data);
    return 0;
}

static int find_tensor(const dbi_record *record, job *j, dbi_error *error)
{
    const char *from = j->options->from;
    const int64_t *n = j->geometry.size, shape[] = {-1, n[0], n[1], n[2]};
    bool label = !strcmp(from, "label"), uncertainty = !strcmp(from, "uncertainty");
    if (!label && !uncertainty && strcmp(from, "prob") && strcmp(from, "sdf"))
        return dbi_fail(error, "\"%s\": choose label, prob, sdf or uncertainty", from);
    j->tensor = label || uncertainty ? dbi_record_need(record, from, label ? DBI_U8 : DBI_F32, 3, shape + 1, error)
                                     : dbi_record_need(record, from, DBI_F32, 4, shape, error);
    if (!j->tensor)
        return -1;
    j->classes = label || uncertainty ? 1 : j->tensor->shape[0];
    return j->classes < 1 || j->classes > 255 ? dbi_fail(error, "tensor \"%s\" is not of 1 to 255 classes", from) : 0;
}

int dbi_restore(const dbi_record *record, const dbi_restore_options *options, dbi_volume *volume, dbi_error *error)
{
    job j = {.options = options};
    *volume = (dbi_volume){0};
    if (dbi_source_get(record, &j.source, error) || dbi_geometry_get(record, j.source.grid.shape, &j.geometry, error) ||
        find_tensor(record, &j, error) || lookup_make(&j.lookup, &j.geometry, j.source.grid.shape, error))
        return -1;
    bool label = j.tensor->dtype == DBI_U8,
         to_label = options->to_label && !label && strcmp(options->from, "uncertainty");
    int result = label      ? restore_label(&j, volume, error)
                 : to_label ? restore_thresholded(&j, volume, error)
                            : restore_floats(&j, volume, error);
    if (!result && options->largest && volume->dtype == DBI_U8)
        result = dbi_largest_components(volume->data, volume->grid.shape, 255, error);
    lookup_free(&j.lookup);
    if (result)
        dbi_volume_free(volume);
    return result;
}

int dbi_restore_to_file(const dbi_record *record, const dbi_restore_options *options, const char *path,
                        dbi_error *error)
{
    dbi_volume volume;
    dbi_source source;
    if (dbi_restore(record, options, &volume, error))
        return -1;
    int result = dbi_source_get(record, &source, error) || dbi_scan_write(path, &volume, &source, error) ? -1 : 0;
    dbi_volume_free(&volume);
    return result;
}
