#include "image/resample.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void dbi_grid_step(const dbi_grid *from, const double step[3], const int64_t shape[3], dbi_grid *to)
{
    dbi_grid grid = *from;
    for (int a = 0; a < 3; a++) {
        grid.shape[a] = shape[a];
        for (int i = 0; i < 3; i++) {
            grid.affine[i][a] = from->affine[i][a] * step[a];
            grid.affine[i][3] += from->affine[i][a] * (0.5 * step[a] - 0.5);
        }
    }
    *to = grid;
}

int dbi_resample_shape(const int64_t from[3], const double step[3], int64_t to[3], dbi_error *error)
{
    double count = 1;
    for (int a = 0; a < 3; a++) {
        double size = fmax(1, rint((double)from[a] / step[a]));
        count *= size;
        if (!(count <= 0x1p31))
            return dbi_fail(error, "the resampled grid would have more than 2^31 voxels");
        to[a] = (int64_t)size;
    }
    return 0;
}

/* The weights of one axis: result i is the sum over j < width of weight[i * width + j] * in[first[i] + j]. */
typedef struct kernel {
    int64_t width, *first;
    float *weight;
} kernel;

static void kernel_free(kernel *k)
{
    free(k->first);
    free(k->weight);
}

/* The weights of one result, from its centre and the first voxel that has a weight. A triangle that is sampled at
 * voxels has a centre of mass up to 0.05 voxels beside its centre. Inside the scan a factor that is linear in the
 * distance moves it back, so that ramps stay ramps. */
static void fill_weights(double centre, double reach, int64_t from, int64_t first, int64_t width, float *weight)
{
    double sum = 0, moment = 0, square = 0;
    for (int64_t j = 0; j < width; j++) {
        double d = (double)(first + j) - centre, w = fmax(0, 1 - fabs(d) / reach);
        sum += w;
        moment += w * d;
        square += w * d * d;
    }
    bool inside = centre - reach >= -1 && centre + reach <= (double)from;
    double tilt = inside && square > 0 ? -moment / square : 0, total = sum + tilt * moment;
    for (int64_t j = 0; j < width; j++) {
        double d = (double)(first + j) - centre;
        weight[j] = (float)(fmax(0, 1 - fabs(d) / reach) * (1 + tilt * d) / total);
    }
}

static int kernel_make(kernel *k, int64_t from, double step, int64_t to, dbi_error *error)
{
    double reach = fmax(1, step);
    k->width = (int64_t)fmin(2 * ceil(reach) + 1, (double)from);
    k->first = dbi_alloc((size_t)to, sizeof *k->first, error);
    k->weight = k->first ? dbi_alloc((size_t)to * (size_t)k->width, sizeof *k->weight, error) : NULL;
    if (!k->weight) {
        free(k->first);
        return -1;
    }
    for (int64_t i = 0; i < to; i++) {
        double centre = fmin(fmax(((double)i + 0.5) * step - 0.5, 0), (double)(from - 1));
        k->first[i] = (int64_t)fmin(fmax(ceil(centre - reach), 0), (double)(from - k->width));
        fill_weights(centre, reach, from, k->first[i], k->width, k->weight + i * k->width);
    }
    return 0;
}

/* out[o, i, :] from in[o, ., :], rows of `inner` voxels. */
static void along_rows(const float *in, const kernel *k, int64_t i, int64_t inner, float *restrict out)
{
    const float *from = in + k->first[i] * inner;
    memset(out, 0, (size_t)inner * sizeof *out);
    for (int64_t j = 0; j < k->width; j++) {
        float w = k->weight[i * k->width + j];
        if (w != 0)
            for (int64_t v = 0; v < inner; v++)
                out[v] += w * from[j * inner + v];
    }
}

static void along_line(const float *in, const kernel *k, int64_t to, float *out)
{
    for (int64_t i = 0; i < to; i++) {
        float sum = 0;
        for (int64_t j = 0; j < k->width; j++)
            sum += k->weight[i * k->width + j] * in[k->first[i] + j];
        out[i] = sum;
    }
}

static float *resample_axis(const float *in, int axis, const int64_t shape[3], double step, int64_t to,
                            dbi_error *error)
{
    kernel k;
    int64_t outer = 1, inner = 1;
    for (int a = 0; a < axis; a++)
        outer *= shape[a];
    for (int a = axis + 1; a < 3; a++)
        inner *= shape[a];
    float *out = dbi_alloc((size_t)(outer * to * inner), sizeof *out, error);
    if (!out || kernel_make(&k, shape[axis], step, to, error)) {
        free(out);
        return NULL;
    }
    if (inner > 1) {
#pragma omp parallel for collapse(2) schedule(static)
        for (int64_t o = 0; o < outer; o++)
            for (int64_t i = 0; i < to; i++)
                along_rows(in + o * shape[axis] * inner, &k, i, inner, out + (o * to + i) * inner);
    } else {
#pragma omp parallel for schedule(static)
        for (int64_t o = 0; o < outer; o++)
            along_line(in + o * shape[axis], &k, to, out + o * to);
    }
    kernel_free(&k);
    return out;
}

float *dbi_resample_linear(float *in, const int64_t from[3], const double step[3], const int64_t to[3],
                           dbi_error *error)
{
    int64_t shape[3] = {from[0], from[1], from[2]};
    bool done[3] = {false};
    for (int pass = 0; pass < 3;
         pass++) { /* the axis that shrinks most comes first, so that there is less to do for the others */
        int axis = -1;
        for (int a = 0; a < 3; a++)
            if (!done[a] && (axis < 0 || step[a] > step[axis]))
                axis = a;
        done[axis] = true;
        if (step[axis] == 1 && to[axis] == from[axis])
            continue;
        float *out = resample_axis(in, axis, shape, step[axis], to[axis], error);
        free(in);
        if (!out)
            return NULL;
        in = out;
        shape[axis] = to[axis];
    }
    return in;
}

uint8_t *dbi_resample_nearest(const uint8_t *in, const int64_t from[3], const double step[3], const int64_t to[3],
                              dbi_error *error)
{
    int64_t *map = dbi_alloc((size_t)(to[0] + to[1] + to[2]), sizeof *map, error),
            *axis[] = {map, map + to[0], map + to[0] + to[1]};
    uint8_t *out = map ? dbi_alloc((size_t)(to[0] * to[1] * to[2]), 1, error) : NULL;
    if (!out) {
        free(map);
        return NULL;
    }
    for (int a = 0; a < 3; a++)
        for (int64_t i = 0; i < to[a]; i++) {
            double at = ((double)i + 0.5) * step[a], last = (double)(from[a] - 1);
            axis[a][i] =
                (int64_t)(at < last ? at
                                    : last); /* compared as doubles, because a large step does not fit into int64_t */
        }
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t x = 0; x < to[0]; x++)
        for (int64_t y = 0; y < to[1]; y++) {
            const uint8_t *row = in + (axis[0][x] * from[1] + axis[1][y]) * from[2];
            for (int64_t z = 0; z < to[2]; z++)
                out[(x * to[1] + y) * to[2] + z] = row[axis[2][z]];
        }
    free(map);
    return out;
}

static int blocks(const int64_t from[3], int64_t factor, int64_t to[3], dbi_error *error)
{
    for (int a = 0; a < 3; a++) {
        to[a] = from[a] / factor;
        if (to[a] < 1)
            return dbi_fail(error,
                            "%" PRId64 " x %" PRId64 " x %" PRId64 " voxels are too few to take the mean of %" PRId64
                            " along each axis",
                            from[0], from[1], from[2], factor);
    }
    return 0;
}

float *dbi_downsample_mean(const float *in, const int64_t from[3], int64_t factor, dbi_error *error)
{
    int64_t to[3];
    float *out =
        blocks(from, factor, to, error) ? NULL : dbi_alloc((size_t)(to[0] * to[1] * to[2]), sizeof *out, error);
    if (!out)
        return NULL;
    double voxels = (double)factor * (double)factor * (double)factor;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t x = 0; x < to[0]; x++)
        for (int64_t y = 0; y < to[1]; y++)
            for (int64_t z = 0; z < to[2]; z++) {
                double sum = 0;
                for (int64_t i = 0; i < factor; i++)
                    for (int64_t j = 0; j < factor; j++)
                        for (int64_t k = 0; k < factor; k++)
                            sum += (double)in[((x * factor + i) * from[1] + y * factor + j) * from[2] + z * factor + k];
                out[(x * to[1] + y) * to[2] + z] = (float)(sum / voxels);
            }
    return out;
}

/* `count` has 256 elements, which are 0 before and after the call. */
static uint8_t majority(const uint8_t *in, const int64_t from[3], int64_t factor, uint32_t *count)
{
    uint8_t best = 0;
    for (int64_t i = 0; i < factor; i++)
        for (int64_t j = 0; j < factor; j++)
            for (int64_t k = 0; k < factor; k++)
                count[in[(i * from[1] + j) * from[2] + k]]++;
    for (int64_t i = 0; i < factor; i++)
        for (int64_t j = 0; j < factor; j++)
            for (int64_t k = 0; k < factor; k++) {
                uint8_t value = in[(i * from[1] + j) * from[2] + k];
                if (value && 2 * (int64_t)count[value] >= factor * factor * factor && (!best || value < best))
                    best = value;
            }
    for (int64_t i = 0; i < factor; i++)
        for (int64_t j = 0; j < factor; j++)
            for (int64_t k = 0; k < factor; k++)
                count[in[(i * from[1] + j) * from[2] + k]] = 0;
    return best;
}

uint8_t *dbi_downsample_label(const uint8_t *in, const int64_t from[3], int64_t factor, dbi_error *error)
{
    int64_t to[3];
    uint8_t *out = blocks(from, factor, to, error) ? NULL : dbi_alloc((size_t)(to[0] * to[1] * to[2]), 1, error);
    if (!out)
        return NULL;
#pragma omp parallel for schedule(static)
    for (int64_t x = 0; x < to[0]; x++) {
        uint32_t count[256] = {0};
        for (int64_t y = 0; y < to[1]; y++)
            for (int64_t z = 0; z < to[2]; z++)
                out[(x * to[1] + y) * to[2] + z] =
                    majority(in + (x * factor * from[1] + y * factor) * from[2] + z * factor, from, factor, count);
    }
    return out;
}
