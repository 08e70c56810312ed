#include "distance/conv.real.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "distance/conv_math.real.h"

/* The rows of the kernel along z whose offsets (dx, dy) are equally long have equal weights: their lines are added
 * up first, and the weights applied once. TAPS at a time are applied, so the weights end in zeros. */
enum { TAPS = 4 };

typedef struct ring {
    int64_t half, count; /* weights from -half to half; offsets */
    const real *weight;
    const int32_t (*offset)[2];
} ring;

typedef struct conv_kernel {
    int64_t count; /* of rings */
    ring *rings;
    real *weights;
    int32_t (*offsets)[2];
} conv_kernel;

static void free_kernel(conv_kernel *k)
{
    free(k->rings);
    free(k->weights);
    free(k->offsets);
}

static void set_weights(const dbi_conv_window *w, int64_t plane2, ring *r, real *weight)
{
    r->half = dbi_conv_half(w, 2, plane2);
    r->weight = weight;
    for (int64_t dz = -r->half; dz <= r->half; dz++)
        weight[dz + r->half] = (real)dbi_conv_weight(plane2 + dz * dz, w->h);
}

static int make_kernel(const dbi_conv_window *w, conv_kernel *k, dbi_error *error)
{
    const int64_t rx = w->radius[0], ry = w->radius[1], longest2 = rx * rx + ry * ry,
                  width = (2 * w->radius[2] + TAPS) / TAPS * TAPS;
    int64_t *counts = dbi_alloc((size_t)longest2 + 2, sizeof *counts, error), *next = NULL;
    k->offsets = counts ? dbi_alloc((size_t)((2 * rx + 1) * (2 * ry + 1)), sizeof *k->offsets, error) : NULL;
    int status = -1;
    if (!k->offsets)
        goto done;
    /* sorted by length, by counting */
    for (int64_t dx = -rx; dx <= rx; dx++)
        for (int64_t dy = -ry; dy <= ry; dy++)
            if (dx * dx + dy * dy <= w->square)
                counts[dx * dx + dy * dy + 1]++;
    for (int64_t d2 = 0; d2 <= longest2; d2++) {
        k->count += counts[d2 + 1] > 0;
        counts[d2 + 1] += counts[d2];
    }
    next = dbi_alloc((size_t)longest2 + 1, sizeof *next, error);
    k->rings = next ? dbi_alloc((size_t)k->count, sizeof *k->rings, error) : NULL;
    k->weights = k->rings ? dbi_alloc((size_t)(k->count * width), sizeof *k->weights, error) : NULL;
    if (!k->weights)
        goto done;
    memcpy(next, counts, (size_t)(longest2 + 1) * sizeof *next);
    for (int64_t dx = -rx; dx <= rx; dx++)
        for (int64_t dy = -ry; dy <= ry; dy++)
            if (dx * dx + dy * dy <= w->square) {
                int32_t *offset = k->offsets[next[dx * dx + dy * dy]++];
                offset[0] = (int32_t)dx;
                offset[1] = (int32_t)dy;
            }
    ring *r = k->rings;
    for (int64_t d2 = 0; d2 <= longest2; d2++)
        if (counts[d2 + 1] > counts[d2]) {
            r->count = counts[d2 + 1] - counts[d2];
            r->offset = (const int32_t(*)[2])k->offsets + counts[d2];
            set_weights(w, d2, r, k->weights + (r - k->rings) * width);
            r++;
        }
    status = 0;
done:
    free(counts);
    free(next);
    return status;
}

/* Lines of q with zeros on either side. */
typedef struct padded {
    const real *q;
    int64_t pitch, margin;
} padded;

/* sum[0 .. n + 2 half + TAPS - 1] = the lines of a ring round line (x, y), from -half on; false: all of them are
 * outside the volume. */
static inline bool add_lines(const int64_t shape[3], int64_t x, int64_t y, const ring *r, const padded *from, real *sum)
{
    const int64_t length = shape[2] + 2 * r->half + TAPS;
    bool any = false;
    for (int64_t k = 0; k < r->count; k++) {
        const int64_t qx = x + r->offset[k][0], qy = y + r->offset[k][1];
        if (qx < 0 || qx >= shape[0] || qy < 0 || qy >= shape[1])
            continue;
        const real *line = from->q + (qx * shape[1] + qy) * from->pitch + from->margin - r->half;
        if (any)
            for (int64_t z = 0; z < length; z++)
                sum[z] += line[z];
        else
            memcpy(sum, line, (size_t)length * sizeof *sum);
        any = true;
    }
    return any;
}

static inline void apply_weights(const ring *r, const real *line, int64_t n, real *sum)
{
    for (int64_t k = 0; k <= 2 * r->half; k += TAPS) {
        const real a = r->weight[k], b = r->weight[k + 1], c = r->weight[k + 2], d = r->weight[k + 3];
        const real *q = line + k;
        for (int64_t z = 0; z < n; z++)
            sum[z] += a * q[z] + b * q[z + 1] + c * q[z + 2] + d * q[z + 3];
    }
}

/* line: room for one line of the padded volume. */
DBI_CLONES static void correlate_slab(const int64_t shape[3], int64_t x, const conv_kernel *kernel, const padded *from,
                                      real *restrict line, real *restrict out)
{
    for (int64_t y = 0; y < shape[1]; y++)
        for (int64_t k = 0; k < kernel->count; k++)
            if (add_lines(shape, x, y, kernel->rings + k, from, line))
                apply_weights(kernel->rings + k, line, shape[2], out + (x * shape[1] + y) * shape[2]);
}

/* out = the kernel's correlation with q, q being 0 outside the volume. */
static int correlate(const dbi_conv_window *w, const int64_t shape[3], const real *q, real *out, dbi_error *error)
{
    const int64_t lines = shape[0] * shape[1], nz = shape[2], margin = w->radius[2] + TAPS, pitch = nz + 2 * margin;
    conv_kernel kernel = {0};
    real *wide = dbi_alloc((size_t)(lines * pitch), sizeof *wide, error);
    real *line = wide ? dbi_alloc((size_t)omp_get_max_threads(), (size_t)pitch * sizeof *line, error) : NULL;
    const int status = line ? make_kernel(w, &kernel, error) : -1;
    if (!status) {
        const padded from = {wide, pitch, margin};
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < lines; i++)
            for (int64_t z = 0; z < nz; z++) {
                wide[i * pitch + margin + z] = q[i * nz + z];
                out[i * nz + z] = 0;
            }
#pragma omp parallel for schedule(static)
        for (int64_t x = 0; x < shape[0]; x++)
            correlate_slab(shape, x, &kernel, &from, line + omp_get_thread_num() * pitch, out);
    }
    free(wide);
    free(line);
    free_kernel(&kernel);
    return status;
}

static int sum_logs(const dbi_conv_window *w, const int64_t shape[3], const real *q, real *out, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    real *log_q = dbi_alloc((size_t)count, sizeof *log_q, error);
    if (!log_q)
        return -1;
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < count; i++)
            log_q[i] = dbi_conv_log_f32(q[i]);
#pragma omp for schedule(static)
        for (int64_t x = 0; x < shape[0]; x++)
            for (int64_t y = 0; y < shape[1]; y++)
                for (int64_t z = 0; z < shape[2]; z++)
                    out[(x * shape[1] + y) * shape[2] + z] = dbi_conv_log_sum_f32(w, shape, x, y, z, log_q);
    }
    free(log_q);
    return 0;
}

int dbi_conv_logs_f32(const dbi_transform *transform, const int64_t shape[3], const real *p, real *log_in,
                      real *log_out, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    const dbi_conv_window w = dbi_conv_window_of(transform, shape);
    real *q = dbi_alloc((size_t)count, sizeof *q, error);
    int status = q ? 0 : -1;
    for (int side = 0; side < 2 && !status; side++) {
        real *out = side ? log_out : log_in;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < count; i++) {
            const real inside = dbi_conv_clamped_f32(p[i]);
            q[i] = side ? 1 - inside : inside;
        }
        if (!dbi_conv_is_short_f32(transform)) {
            status = sum_logs(&w, shape, q, out, error);
            continue;
        }
        status = correlate(&w, shape, q, out, error);
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < count; i++)
            out[i] = (real)log((double)out[i]);
    }
    free(q);
    return status;
}

int dbi_conv_gradient_f32(const dbi_transform *transform, const int64_t shape[3], const real *log_in,
                          const real *log_out, const real *g, real *dp, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    const dbi_conv_window w = dbi_conv_window_of(transform, shape);
    if (!dbi_conv_is_short_f32(transform)) {
#pragma omp parallel for schedule(static)
        for (int64_t x = 0; x < shape[0]; x++)
            for (int64_t y = 0; y < shape[1]; y++)
                for (int64_t z = 0; z < shape[2]; z++)
                    dp[(x * shape[1] + y) * shape[2] + z] = dbi_conv_gather_f32(&w, shape, x, y, z, log_in, log_out, g);
        return 0;
    }
    real *q = dbi_alloc((size_t)count, sizeof *q, error);
    if (!q)
        return -1;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++)
        q[i] = dbi_conv_share_f32(w.h, g[i], log_in[i], log_out[i]);
    const int status = correlate(&w, shape, q, dp, error);
    free(q);
    return status;
}
