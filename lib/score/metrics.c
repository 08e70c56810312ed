#include "score/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distance/edt.h"
#include "score/order.h"

const char *const dbi_metric_names[DBI_METRICS] = {
    "dice", "jaccard", "precision", "recall", "volume",      "reference_volume", "volume_difference",
    "hd",   "hd95",    "asd",       "assd",   "surface_dice"};
const char *const dbi_emptiness_names[4] = {"none", "prediction", "reference", "both"};

/* The bounding box of both masks. All surfaces lie in it, so distances are needed nowhere else. */
typedef struct box {
    int64_t first[3], size[3];
} box;

typedef struct counts {
    int64_t prediction, reference, both;
} counts;

/* Counts a plane's voxels of each mask. `in_row` [rows] and `in_column` [columns] become 1 where either mask has a
 * voxel. */
DBI_CLONES static counts count_plane(const uint8_t *prediction, const uint8_t *reference, uint8_t value, int64_t rows,
                                     int64_t columns, uint8_t *in_row, uint8_t *in_column)
{
    counts c = {0};
    for (int64_t y = 0; y < rows; y++) {
        const uint8_t *p = prediction + y * columns, *r = reference + y * columns;
        int of_p = 0, of_r = 0, of_both = 0;
#pragma omp simd reduction(+ : of_p, of_r, of_both)
        for (int64_t z = 0; z < columns; z++) {
            const uint8_t is_p = p[z] == value, is_r = r[z] == value;
            in_column[z] |= is_p | is_r;
            of_p += is_p;
            of_r += is_r;
            of_both += is_p & is_r;
        }
        in_row[y] |= of_p || of_r;
        c.prediction += of_p;
        c.reference += of_r;
        c.both += of_both;
    }
    return c;
}

/* The range from the first mark to the last. */
static void find_range(const uint8_t *marks, int64_t count, int64_t *first, int64_t *size)
{
    int64_t low = 0, high = count;
    while (low < high && !marks[low])
        low++;
    while (high > low && !marks[high - 1])
        high--;
    *first = low;
    *size = high - low;
}

/* Counts the voxels of both masks and finds the box around them. */
static int survey(const uint8_t *prediction, const uint8_t *reference, uint8_t value, const int64_t shape[3], counts *c,
                  box *b, dbi_error *error)
{
    /* The marks of each plane: one for itself, one for each of its rows and columns. */
    const int64_t length = 1 + shape[1] + shape[2], plane = shape[1] * shape[2];
    uint8_t *marks = dbi_alloc((size_t)(shape[0] + shape[1] + shape[2]), 1, error),
            *own = marks ? dbi_alloc((size_t)(shape[0] * length), 1, error) : NULL;
    int64_t of_p = 0, of_r = 0, of_both = 0;
    if (!own) {
        free(marks);
        return -1;
    }
#pragma omp parallel for schedule(dynamic, 4) reduction(+ : of_p, of_r, of_both)
    for (int64_t x = 0; x < shape[0]; x++) {
        uint8_t *mark = own + x * length;
        const counts here = count_plane(prediction + x * plane, reference + x * plane, value, shape[1], shape[2],
                                        mark + 1, mark + 1 + shape[1]);
        *mark = here.prediction || here.reference;
        of_p += here.prediction;
        of_r += here.reference;
        of_both += here.both;
    }
    for (int64_t x = 0; x < shape[0]; x++) {
        marks[x] = own[x * length];
        for (int64_t i = 0; i < shape[1] + shape[2] && marks[x]; i++)
            marks[shape[0] + i] |= own[x * length + 1 + i];
    }
    for (int64_t a = 0, at = 0; a < 3; at += shape[a++])
        find_range(marks + at, shape[a], &b->first[a], &b->size[a]);
    *c = (counts){of_p, of_r, of_both};
    free(own);
    free(marks);
    return 0;
}

/* Makes a row of the surface from a row of the mask; `step` and `plane` lead to its neighbours. Returns how many voxels
 * of the row are on the surface. */
DBI_CLONES static int64_t surface_row(const uint8_t *m, int64_t step, int64_t plane, int64_t count, uint8_t *out)
{
    int on = 0;
#pragma omp simd reduction(+ : on)
    for (int64_t z = 0; z < count; z++) {
        out[z] = m[z] & ~(m[z - 1] & m[z + 1] & m[z - step] & m[z + step] & m[z - plane] & m[z + plane]);
        on += out[z];
    }
    return on;
}

/* Sets `surface` to 1 on the surface of the mask within the box, and to 0 elsewhere. padded: room for the box with a
 * border of zeros, because no voxel outside belongs to the mask. begin [size of x + 1]: how many voxels of the surface
 * come before each plane; the last is their number. */
static void find_surface(const uint8_t *label, uint8_t value, const int64_t shape[3], const box *b, uint8_t *padded,
                         uint8_t *surface, int64_t *begin)
{
    const int64_t *n = b->size, step = n[2] + 2, plane = (n[1] + 2) * step;
#pragma omp parallel
    {
#pragma omp for schedule(dynamic, 4)
        for (int64_t x = -1; x <= n[0]; x++) {
            memset(padded + (x + 1) * plane, 0, (size_t)plane);
            for (int64_t y = 0; x >= 0 && x < n[0] && y < n[1]; y++) {
                const uint8_t *from = label + ((x + b->first[0]) * shape[1] + y + b->first[1]) * shape[2] + b->first[2];
                uint8_t *to = padded + (x + 1) * plane + (y + 1) * step + 1;
                for (int64_t z = 0; z < n[2]; z++)
                    to[z] = from[z] == value;
            }
        }
#pragma omp for schedule(dynamic, 4)
        for (int64_t x = 0; x < n[0]; x++) {
            begin[x + 1] = 0;
            for (int64_t y = 0; y < n[1]; y++)
                begin[x + 1] += surface_row(padded + (x + 1) * plane + (y + 1) * step + 1, step, plane, n[2],
                                            surface + (x * n[1] + y) * n[2]);
        }
    }
    begin[0] = 0;
    for (int64_t x = 0; x < n[0]; x++)
        begin[x + 1] += begin[x];
}

typedef struct direction {
    int64_t count, near;
    double sum, most;
} direction;

/* Writes the distances from one surface, whose planes begin[] counts, to the other into `all`. */
static int measure(const uint8_t *from, const int64_t *begin, const uint8_t *to, const box *b, const double spacing[3],
                   double tolerance, float *square, double *all, direction *d, dbi_error *error)
{
    if (dbi_squares(to, 1, b->size, spacing, 0, from, square, error))
        return -1;
    const int64_t plane = b->size[1] * b->size[2];
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t x = 0; x < b->size[0]; x++) {
        double *next = all + begin[x];
        for (int64_t i = x * plane; i < (x + 1) * plane && next < all + begin[x + 1]; i++)
            if (from[i])
                *next++ = square[i] > 0 ? 0 : sqrt(-(double)square[i]);
    }
    *d = (direction){.count = begin[b->size[0]]};
    for (int64_t i = 0; i < d->count; i++) {
        d->near += all[i] <= tolerance;
        d->sum += all[i];
        d->most = all[i] > d->most ? all[i] : d->most;
    }
    return 0;
}

static int score_surfaces(const uint8_t *prediction, const uint8_t *reference, uint8_t value, const int64_t shape[3],
                          const box *b, const double spacing[3], double tolerance, double *v, dbi_error *error)
{
    const size_t count = (size_t)(b->size[0] * b->size[1] * b->size[2]), planes = (size_t)b->size[0] + 1,
                 padded_count = (size_t)((b->size[0] + 2) * (b->size[1] + 2) * (b->size[2] + 2));
    uint8_t *bytes = dbi_alloc(2 * count + padded_count, 1, error);
    float *square = bytes ? dbi_alloc(count, sizeof *square, error) : NULL;
    int64_t *begin = square ? dbi_alloc(2 * planes, sizeof *begin, error) : NULL;
    double *all = NULL;
    direction there = {0}, back = {0};
    int status = -1;
    if (begin) {
        uint8_t *p = bytes, *r = bytes + count, *padded = bytes + 2 * count;
        find_surface(prediction, value, shape, b, padded, p, begin);
        find_surface(reference, value, shape, b, padded, r, begin + planes);
        const size_t on_p = (size_t)begin[planes - 1], on_r = (size_t)begin[2 * planes - 1];
        all = dbi_alloc(on_p + on_r, sizeof *all, error);
        if (all && !measure(p, begin, r, b, spacing, tolerance, square, all, &there, error))
            status = measure(r, begin + planes, p, b, spacing, tolerance, square, all + on_p, &back, error);
    }
    if (!status) {
        const size_t n = (size_t)(there.count + back.count);
        v[DBI_METRIC_HD] = there.most > back.most ? there.most : back.most;
        v[DBI_METRIC_HD95] = dbi_quantile(all, n, 0.95);
        v[DBI_METRIC_ASD] = there.sum / (double)there.count;
        v[DBI_METRIC_ASSD] = (v[DBI_METRIC_ASD] + back.sum / (double)back.count) / 2;
        v[DBI_METRIC_SURFACE_DICE] = (double)(there.near + back.near) / (double)n;
    }
    free(bytes);
    free(square);
    free(begin);
    free(all);
    return status;
}

dbi_scores dbi_score_of_nothing(void)
{
    dbi_scores s = {.empty = DBI_EMPTY_BOTH};
    s.value[DBI_METRIC_DICE] = s.value[DBI_METRIC_JACCARD] = s.value[DBI_METRIC_PRECISION] =
        s.value[DBI_METRIC_RECALL] = 1;
    s.value[DBI_METRIC_SURFACE_DICE] = 1;
    return s;
}

int dbi_score(const uint8_t *prediction, const uint8_t *reference, uint8_t value, const int64_t shape[3],
              const double spacing[3], double tolerance, dbi_scores *scores, dbi_error *error)
{
    int64_t count;
    if (!dbi_count(shape, 3, &count))
        return dbi_fail(error, "impossible shape [%lld,%lld,%lld]", (long long)shape[0], (long long)shape[1],
                        (long long)shape[2]);
    counts c;
    box b;
    if (survey(prediction, reference, value, shape, &c, &b, error))
        return -1;
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
        return score_surfaces(prediction, reference, value, shape, &b, spacing, tolerance, v, error);
    const double x = (double)shape[0] * spacing[0], y = (double)shape[1] * spacing[1],
                 z = (double)shape[2] * spacing[2];
    v[DBI_METRIC_HD] = v[DBI_METRIC_HD95] = v[DBI_METRIC_ASD] = v[DBI_METRIC_ASSD] = sqrt(x * x + y * y + z * z);
    v[DBI_METRIC_SURFACE_DICE] = 0;
    return 0;
}
