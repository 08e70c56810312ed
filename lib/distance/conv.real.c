#include "distance/conv.real.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clones.h"
#include "base/memory.h"
#include "base/parallel.h"

/* Two ways to the same sums. When the smallest weight exp(-radius/h) is far from underflow, sums of products are exact enough: a correlation with
 * one positive kernel. Otherwise (long radius, low temperature, whole volumes) every term is kept as a logarithm. The first is hundreds of times
 * faster, and the paper's h and radius are in its reach. */
static const int reach = sizeof(real) == sizeof(double) ? 300 : 60;

/* Terms this much (in log) below the largest are lost in rounding. */
#define LOST 40
/* No gradient is above exp(60) times the loss's derivative, so that sums of them stay finite. */
#define STEEPEST 60

typedef struct window {
    int64_t radius[3]; /* per axis, not beyond the volume */
    double radius2;    /* the ball's, squared */
    double h;
} window;

static window window_of(const dbi_transform *transform, const int64_t shape[3])
{
    window w = {.h = transform->h, .radius2 = transform->radius ? (double)transform->radius * transform->radius : INFINITY};
    for (int a = 0; a < 3; a++)
        w.radius[a] = transform->radius && transform->radius < shape[a] - 1 ? transform->radius : shape[a] - 1;
    return w;
}

static bool is_short(const dbi_transform *transform)
{
    return transform->radius && transform->radius <= reach * transform->h;
}

/* The rows of the kernel along z whose offsets (dx, dy) are equally long have equal weights: their lines are added up first, and the weights applied
 * once. TAPS at a time are applied, so the weights end in zeros. */
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

static void set_weights(const window *w, int64_t plane2, ring *r, real *weight)
{
    const int64_t rz = w->radius[2];
    const double left = w->radius2 - (double)plane2;
    r->half = left > (double)(rz * rz) ? rz : (int64_t)sqrt(left);
    r->weight = weight;
    for (int64_t dz = -r->half; dz <= r->half; dz++)
        weight[dz + r->half] = (real)exp(-sqrt((double)(plane2 + dz * dz)) / w->h);
}

static int make_kernel(const window *w, conv_kernel *k, dbi_error *error)
{
    const int64_t rx = w->radius[0], ry = w->radius[1], longest2 = rx * rx + ry * ry, width = (2 * w->radius[2] + TAPS) / TAPS * TAPS;
    int64_t *counts = dbi_alloc((size_t)longest2 + 2, sizeof *counts, error), *next = NULL;
    k->offsets = counts ? dbi_alloc((size_t)((2 * rx + 1) * (2 * ry + 1)), sizeof *k->offsets, error) : NULL;
    int status = -1;
    if (!k->offsets)
        goto done;
    /* sorted by length, by counting */
    for (int64_t dx = -rx; dx <= rx; dx++)
        for (int64_t dy = -ry; dy <= ry; dy++)
            if ((double)(dx * dx + dy * dy) <= w->radius2)
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
            if ((double)(dx * dx + dy * dy) <= w->radius2) {
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

/* sum[0 .. n + 2 half + TAPS - 1] = the lines of a ring round line (x, y), from -half on; false: all of them are outside the volume. */
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
DBI_CLONES static void correlate_slab(const int64_t shape[3], int64_t x, const conv_kernel *kernel, const padded *from, real *restrict line,
                                      real *restrict out)
{
    for (int64_t y = 0; y < shape[1]; y++)
        for (int64_t k = 0; k < kernel->count; k++)
            if (add_lines(shape, x, y, kernel->rings + k, from, line))
                apply_weights(kernel->rings + k, line, shape[2], out + (x * shape[1] + y) * shape[2]);
}

/* out = the kernel's correlation with q, q being 0 outside the volume. */
static int correlate(const window *w, const int64_t shape[3], const real *q, real *out, dbi_error *error)
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

typedef struct span {
    int64_t first, end;
} span;

static span span_of(int64_t at, int64_t radius, int64_t n)
{
    return (span){at > radius ? at - radius : 0, at + radius < n ? at + radius + 1 : n};
}

/* log sum exp of log_q(y) - |x-y|/h over the window round (x, y, z): the largest term first, then the sum of what counts beside it. */
static real log_sum(const window *w, const int64_t shape[3], int64_t x, int64_t y, int64_t z, const real *log_q)
{
    const span sx = span_of(x, w->radius[0], shape[0]), sy = span_of(y, w->radius[1], shape[1]), sz = span_of(z, w->radius[2], shape[2]);
    const double per_h = 1 / w->h;
    double most = -INFINITY, sum = 0;
    for (int second = 0; second < 2; second++) {
        const double least = second ? most - LOST : 0;
        for (int64_t i = sx.first; i < sx.end; i++)
            for (int64_t j = sy.first; j < sy.end; j++) {
                const double plane2 = (double)((i - x) * (i - x) + (j - y) * (j - y));
                if (plane2 > w->radius2 || -sqrt(plane2) * per_h < (second ? least : most))
                    continue;
                const real *line = log_q + (i * shape[1] + j) * shape[2];
                for (int64_t k = sz.first; k < sz.end; k++) {
                    double d2 = plane2 + (double)((k - z) * (k - z)), term = (double)line[k] - sqrt(d2) * per_h;
                    if (d2 > w->radius2)
                        continue;
                    if (!second)
                        most = term > most ? term : most;
                    else if (term >= least)
                        sum += exp(term - most);
                }
            }
        if (!(most > -INFINITY))
            return -INFINITY;
    }
    return (real)(most + log(sum));
}

static int sum_logs(const window *w, const int64_t shape[3], const real *q, real *out, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    real *log_q = dbi_alloc((size_t)count, sizeof *log_q, error);
    if (!log_q)
        return -1;
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < count; i++)
            log_q[i] = q[i] > 0 ? (real)log((double)q[i]) : -INFINITY;
#pragma omp for schedule(static)
        for (int64_t x = 0; x < shape[0]; x++)
            for (int64_t y = 0; y < shape[1]; y++)
                for (int64_t z = 0; z < shape[2]; z++)
                    out[(x * shape[1] + y) * shape[2] + z] = log_sum(w, shape, x, y, z, log_q);
    }
    free(log_q);
    return 0;
}

int dbi_conv_logs_f32(const dbi_transform *transform, const int64_t shape[3], const real *p, real *log_in, real *log_out, dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    const window w = window_of(transform, shape);
    real *q = dbi_alloc((size_t)count, sizeof *q, error);
    int status = q ? 0 : -1;
    for (int side = 0; side < 2 && !status; side++) {
        real *out = side ? log_out : log_in;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < count; i++) {
            real inside = p[i] > 0 ? (p[i] < 1 ? p[i] : 1) : 0;
            q[i] = side ? 1 - inside : inside;
        }
        if (!is_short(transform)) {
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

static double weight_of(double log_weight)
{
    return exp(log_weight < STEEPEST ? log_weight : STEEPEST);
}

/* The gradient at one voxel where sums are kept as logarithms: gathered from all the voxels whose window it is in. */
static double gather(const window *w, const int64_t shape[3], int64_t x, int64_t y, int64_t z, const real *log_in, const real *log_out, const real *g)
{
    const span sx = span_of(x, w->radius[0], shape[0]), sy = span_of(y, w->radius[1], shape[1]), sz = span_of(z, w->radius[2], shape[2]);
    double sum = 0;
    for (int64_t i = sx.first; i < sx.end; i++)
        for (int64_t j = sy.first; j < sy.end; j++)
            for (int64_t k = sz.first; k < sz.end; k++) {
                const int64_t at = (i * shape[1] + j) * shape[2] + k;
                const double d2 = (double)((i - x) * (i - x) + (j - y) * (j - y) + (k - z) * (k - z)), near = -sqrt(d2) / w->h;
                if (d2 <= w->radius2 && g[at] != 0)
                    sum += (double)g[at] * (weight_of(near - (double)log_in[at]) + weight_of(near - (double)log_out[at]));
            }
    return w->h * sum;
}

int dbi_conv_gradient_f32(const dbi_transform *transform, const int64_t shape[3], const real *log_in, const real *log_out, const real *g, real *dp,
                          dbi_error *error)
{
    const int64_t count = shape[0] * shape[1] * shape[2];
    const window w = window_of(transform, shape);
    if (!is_short(transform)) {
#pragma omp parallel for schedule(static)
        for (int64_t x = 0; x < shape[0]; x++)
            for (int64_t y = 0; y < shape[1]; y++)
                for (int64_t z = 0; z < shape[2]; z++)
                    dp[(x * shape[1] + y) * shape[2] + z] = (real)gather(&w, shape, x, y, z, log_in, log_out, g);
        return 0;
    }
    real *q = dbi_alloc((size_t)count, sizeof *q, error);
    if (!q)
        return -1;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++)
        q[i] = g[i] != 0 ? (real)(w.h * (double)g[i] * (weight_of(-(double)log_in[i]) + weight_of(-(double)log_out[i]))) : 0;
    const int status = correlate(&w, shape, q, dp, error);
    free(q);
    return status;
}
