#include "score/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "distance/squares.h"
#include "score/order.h"

const char *const dbi_metric_names[DBI_METRICS] = {"dice", "jaccard", "precision", "recall", "volume",      "reference_volume", "volume_difference",
                                                   "hd",   "hd95",    "asd",       "assd",   "surface_dice"};
const char *const dbi_emptiness_names[4] = {"none", "prediction", "reference", "both"};

/* Surfaces and what lies between them are inside the bounding box of both masks; nothing else needs a distance. */
typedef struct box {
    int64_t first[3], size[3];
} box;

typedef struct counts {
    int64_t prediction, reference, both;
} counts;

static counts count_voxels(const uint8_t *prediction, const uint8_t *reference, uint8_t value, int64_t count)
{
    counts c = {0};
    for (int64_t i = 0; i < count; i++) {
        const int p = prediction[i] == value, r = reference[i] == value;
        c.prediction += p;
        c.reference += r;
        c.both += p & r;
    }
    return c;
}

/* One of the masks has a voxel. */
static void find_box(const uint8_t *prediction, const uint8_t *reference, uint8_t value, const int64_t shape[3], box *b)
{
    int64_t first[3] = {INT64_MAX, INT64_MAX, INT64_MAX}, last[3] = {-1, -1, -1};
    for (int64_t x = 0; x < shape[0]; x++)
        for (int64_t y = 0; y < shape[1]; y++) {
            const uint8_t *p = prediction + (x * shape[1] + y) * shape[2], *r = reference + (x * shape[1] + y) * shape[2];
            int any = 0;
            for (int64_t z = 0; z < shape[2]; z++)
                any |= (p[z] == value) | (r[z] == value);
            if (!any)
                continue;
            int64_t low = 0, high = shape[2] - 1;
            while (p[low] != value && r[low] != value)
                low++;
            while (p[high] != value && r[high] != value)
                high--;
            const int64_t from[3] = {x, y, low}, to[3] = {x, y, high};
            for (int a = 0; a < 3; a++) {
                first[a] = from[a] < first[a] ? from[a] : first[a];
                last[a] = to[a] > last[a] ? to[a] : last[a];
            }
        }
    for (int a = 0; a < 3; a++) {
        b->first[a] = first[a];
        b->size[a] = last[a] - first[a] + 1;
    }
}

/* 1 on the surface of the mask within the box, 0 elsewhere. padded: the mask with a border of zeros; beyond the box nothing belongs to it. Returns the
 * number of voxels on the surface. */
static size_t find_surface(const uint8_t *label, uint8_t value, const int64_t shape[3], const box *b, uint8_t *padded, uint8_t *surface)
{
    const int64_t *n = b->size, step = n[2] + 2, plane = (n[1] + 2) * step;
    size_t count = 0;
    memset(padded, 0, (size_t)((n[0] + 2) * plane));
    for (int64_t x = 0; x < n[0]; x++)
        for (int64_t y = 0; y < n[1]; y++) {
            const uint8_t *from = label + ((x + b->first[0]) * shape[1] + y + b->first[1]) * shape[2] + b->first[2];
            uint8_t *to = padded + (x + 1) * plane + (y + 1) * step + 1;
            for (int64_t z = 0; z < n[2]; z++)
                to[z] = from[z] == value;
        }
    for (int64_t x = 0; x < n[0]; x++)
        for (int64_t y = 0; y < n[1]; y++) {
            const uint8_t *m = padded + (x + 1) * plane + (y + 1) * step + 1;
            uint8_t *out = surface + (x * n[1] + y) * n[2];
            for (int64_t z = 0; z < n[2]; z++) {
                out[z] = m[z] & ~(m[z - 1] & m[z + 1] & m[z - step] & m[z + step] & m[z - plane] & m[z + plane]);
                count += out[z];
            }
        }
    return count;
}

typedef struct direction {
    size_t count, near;
    double sum, most;
} direction;

/* Distances from one surface to the other, appended to `all`. */
static int measure(const uint8_t *from, const uint8_t *to, const box *b, const double spacing[3], double tolerance, float *square, double *all,
                   direction *d, dbi_error *error)
{
    if (dbi_squares(to, 1, b->size, spacing, 0, false, square, error))
        return -1;
    const int64_t count = b->size[0] * b->size[1] * b->size[2];
    *d = (direction){0};
    for (int64_t i = 0; i < count; i++) {
        if (!from[i])
            continue;
        const double distance = square[i] > 0 ? 0 : sqrt(-(double)square[i]);
        all[d->count++] = distance;
        d->near += distance <= tolerance;
        d->sum += distance;
        d->most = distance > d->most ? distance : d->most;
    }
    return 0;
}

static int score_surfaces(const uint8_t *prediction, const uint8_t *reference, uint8_t value, const int64_t shape[3], const double spacing[3],
                          double tolerance, double *v, dbi_error *error)
{
    box b;
    find_box(prediction, reference, value, shape, &b);
    const size_t count = (size_t)(b.size[0] * b.size[1] * b.size[2]), padded_count = (size_t)((b.size[0] + 2) * (b.size[1] + 2) * (b.size[2] + 2));
    uint8_t *bytes = dbi_alloc(2 * count + padded_count, 1, error);
    float *square = bytes ? dbi_alloc(count, sizeof *square, error) : NULL;
    double *all = NULL;
    direction there = {0}, back = {0};
    int status = -1;
    if (square) {
        uint8_t *p = bytes, *r = bytes + count, *padded = bytes + 2 * count;
        const size_t on_p = find_surface(prediction, value, shape, &b, padded, p), on_r = find_surface(reference, value, shape, &b, padded, r);
        all = dbi_alloc(on_p + on_r, sizeof *all, error);
        if (all && !measure(p, r, &b, spacing, tolerance, square, all, &there, error))
            status = measure(r, p, &b, spacing, tolerance, square, all + on_p, &back, error);
    }
    if (!status) {
        const size_t n = there.count + back.count;
        v[DBI_METRIC_HD] = there.most > back.most ? there.most : back.most;
        v[DBI_METRIC_HD95] = dbi_quantile(all, n, 0.95);
        v[DBI_METRIC_ASD] = there.sum / (double)there.count;
        v[DBI_METRIC_ASSD] = (v[DBI_METRIC_ASD] + back.sum / (double)back.count) / 2;
        v[DBI_METRIC_SURFACE_DICE] = (double)(there.near + back.near) / (double)n;
    }
    free(bytes);
    free(square);
    free(all);
    return status;
}

dbi_scores dbi_score_of_nothing(void)
{
    dbi_scores s = {.empty = DBI_EMPTY_BOTH};
    s.value[DBI_METRIC_DICE] = s.value[DBI_METRIC_JACCARD] = s.value[DBI_METRIC_PRECISION] = s.value[DBI_METRIC_RECALL] = 1;
    s.value[DBI_METRIC_SURFACE_DICE] = 1;
    return s;
}

int dbi_score(const uint8_t *prediction, const uint8_t *reference, uint8_t value, const int64_t shape[3], const double spacing[3], double tolerance,
              dbi_scores *scores, dbi_error *error)
{
    int64_t count;
    if (!dbi_count(shape, 3, &count))
        return dbi_fail(error, "impossible shape [%lld,%lld,%lld]", (long long)shape[0], (long long)shape[1], (long long)shape[2]);
    const counts c = count_voxels(prediction, reference, value, count);
    *scores = dbi_score_of_nothing();
    if (!c.prediction && !c.reference)
        return 0;
    double *v = scores->value;
    const double voxel = spacing[0] * spacing[1] * spacing[2];
    scores->empty = !c.prediction ? DBI_EMPTY_PREDICTION : !c.reference ? DBI_EMPTY_REFERENCE : DBI_EMPTY_NONE;
    v[DBI_METRIC_DICE] = 2 * (double)c.both / (double)(c.prediction + c.reference);
    v[DBI_METRIC_JACCARD] = (double)c.both / (double)(c.prediction + c.reference - c.both);
    v[DBI_METRIC_PRECISION] = c.prediction ? (double)c.both / (double)c.prediction : 0;
    v[DBI_METRIC_RECALL] = c.reference ? (double)c.both / (double)c.reference : 0;
    v[DBI_METRIC_VOLUME] = voxel * (double)c.prediction;
    v[DBI_METRIC_REFERENCE_VOLUME] = voxel * (double)c.reference;
    v[DBI_METRIC_VOLUME_DIFFERENCE] = voxel * (double)(c.prediction - c.reference);
    if (scores->empty == DBI_EMPTY_NONE)
        return score_surfaces(prediction, reference, value, shape, spacing, tolerance, v, error);
    const double x = (double)shape[0] * spacing[0], y = (double)shape[1] * spacing[1], z = (double)shape[2] * spacing[2];
    v[DBI_METRIC_HD] = v[DBI_METRIC_HD95] = v[DBI_METRIC_ASD] = v[DBI_METRIC_ASSD] = sqrt(x * x + y * y + z * z);
    v[DBI_METRIC_SURFACE_DICE] = 0;
    return 0;
}
