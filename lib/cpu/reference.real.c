/* The reference: plain arrays [batch,channels,X,Y,Z], loops as in the formulas. It judges the other devices; nothing
 * here is made to be fast. */
#include "cpu/backend.real.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "net/interpolation_math.h"

typedef struct state {
    dbi_net_shape shape;
} state;

/* One axis and one tap of a kernel: the input and output positions that the tap joins are in_at + in_step p and out_at
 * + out_step p, p < count. */
typedef struct axis {
    int64_t count, in_at, in_step, out_at, out_step;
} axis;

static axis make_axis(dbi_layer_kind kind, int tap, int64_t out_size)
{
    if (kind == DBI_LAYER_DOWN)
        return (axis){out_size, tap, 2, 0, 1};
    if (kind == DBI_LAYER_UP)
        return (axis){out_size / 2, 0, 1, tap, 2};
    int64_t shift = tap - 1;
    return (axis){out_size - (shift != 0), shift > 0, 1, shift < 0, 1};
}

typedef enum operation { FORWARD, DATA, WEIGHT } operation;

/* One input channel, one output channel, one tap (x, y, z): in and out are whole [X,Y,Z] grids. */
static void visit(operation op, const axis at[3], const int64_t in_size[3], const int64_t out_size[3], real *weight,
                  real *in, real *out)
{
    double sum = 0;
    for (int64_t x = 0; x < at[0].count; x++)
        for (int64_t y = 0; y < at[1].count; y++) {
            int64_t ix = at[0].in_at + at[0].in_step * x, iy = at[1].in_at + at[1].in_step * y;
            int64_t ox = at[0].out_at + at[0].out_step * x, oy = at[1].out_at + at[1].out_step * y;
            real *i = in + (ix * in_size[1] + iy) * in_size[2] + at[2].in_at;
            real *o = out + (ox * out_size[1] + oy) * out_size[2] + at[2].out_at;
            for (int64_t z = 0; z < at[2].count; z++)
                if (op == FORWARD)
                    o[at[2].out_step * z] += *weight * i[at[2].in_step * z];
                else if (op == DATA)
                    i[at[2].in_step * z] += *weight * o[at[2].out_step * z];
                else
                    sum += (double)i[at[2].in_step * z] * o[at[2].out_step * z];
        }
    if (op == WEIGHT)
        *weight += (real)sum;
}

/* All taps between one input and one output channel of one sample. */
static void visit_kernel(const state *s, int layer, operation op, int64_t sample, int ci, int co, real *weight,
                         real *in, real *out)
{
    const dbi_layer *l = &s->shape.layout->layer[layer];
    int in_level = dbi_layer_in_level(l), edge = l->kind == DBI_LAYER_CONV3 ? 3 : 2;
    int64_t in_size[3], out_size[3];
    for (int d = 0; d < 3; d++) {
        in_size[d] = s->shape.size[d] >> in_level;
        out_size[d] = s->shape.size[d] >> l->level;
    }
    in += (sample * l->in + ci) * in_size[0] * in_size[1] * in_size[2];
    out += (sample * l->out + co) * out_size[0] * out_size[1] * out_size[2];
    weight += (l->kind == DBI_LAYER_UP ? (int64_t)ci * l->out + co : (int64_t)co * l->in + ci) * edge * edge * edge;
    for (int kx = 0; kx < edge; kx++)
        for (int ky = 0; ky < edge; ky++)
            for (int kz = 0; kz < edge; kz++, weight++) {
                axis at[] = {make_axis(l->kind, kx, out_size[0]), make_axis(l->kind, ky, out_size[1]),
                             make_axis(l->kind, kz, out_size[2])};
                visit(op, at, in_size, out_size, weight, in, out);
            }
}

static int64_t voxels(const dbi_net_shape *shape, int level)
{
    return (shape->size[0] >> level) * (shape->size[1] >> level) * (shape->size[2] >> level);
}

static size_t elements(const dbi_net_shape *shape, int channels, int level)
{
    return ((size_t)(shape->batch * channels * voxels(shape, level)) + 15) / 16 * 16;
}

static void *reference_open(const dbi_net_shape *shape, size_t *scratch, dbi_error *error)
{
    state *s = dbi_alloc(1, sizeof *s, error);
    if (s)
        s->shape = *shape;
    *scratch = 0;
    return s;
}

static void reference_bind(void *opaque, void *scratch)
{
    (void)opaque;
    (void)scratch;
}

static int convolve(void *opaque, int layer, const real *in, const real *weight, real *z, dbi_error *error)
{
    const state *s = opaque;
    const dbi_layer *l = &s->shape.layout->layer[layer];
    (void)error;
    memset(z, 0, elements(&s->shape, l->out, l->level) * sizeof *z);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s->shape.batch; n++)
        for (int co = 0; co < l->out; co++)
            for (int ci = 0; ci < l->in; ci++)
                visit_kernel(s, layer, FORWARD, n, ci, co, (real *)weight, (real *)in, z);
    return 0;
}

static int data_gradient(void *opaque, int layer, const real *dz, const real *weight, real *din, dbi_error *error)
{
    const state *s = opaque;
    const dbi_layer *l = &s->shape.layout->layer[layer];
    (void)error;
    memset(din, 0, elements(&s->shape, l->in, dbi_layer_in_level(l)) * sizeof *din);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s->shape.batch; n++)
        for (int ci = 0; ci < l->in; ci++)
            for (int co = 0; co < l->out; co++)
                visit_kernel(s, layer, DATA, n, ci, co, (real *)weight, din, (real *)dz);
    return 0;
}

static int weight_gradient(void *opaque, int layer, const real *in, const real *dz, real *dweight, dbi_error *error)
{
    const state *s = opaque;
    const dbi_layer *l = &s->shape.layout->layer[layer];
    (void)error;
    memset(dweight, 0, s->shape.layout->tensor[l->tensor].count * sizeof *dweight);
#pragma omp parallel for collapse(2) schedule(static)
    for (int co = 0; co < l->out; co++)
        for (int ci = 0; ci < l->in; ci++)
            for (int64_t n = 0; n < s->shape.batch; n++)
                visit_kernel(s, layer, WEIGHT, n, ci, co, dweight, (real *)in, (real *)dz);
    return 0;
}

static void moments(void *opaque, int layer, const real *z, double *mean, double *variance)
{
    const state *s = opaque;
    const dbi_layer *l = &s->shape.layout->layer[layer];
    const int64_t v = voxels(&s->shape, l->level), rows = dbi_norm_rows(&s->shape), samples = s->shape.batch / rows,
                  count = samples * v;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows * l->out; r++) {
        const int64_t c = r % l->out, first = r / l->out * samples;
        double sum = 0, squares = 0;
        for (int64_t n = first; n < first + samples; n++)
            for (int64_t i = 0; i < v; i++)
                sum += z[(n * l->out + c) * v + i];
        mean[r] = sum / (double)count;
        for (int64_t n = first; n < first + samples; n++)
            for (int64_t i = 0; i < v; i++) {
                double d = z[(n * l->out + c) * v + i] - mean[r];
                squares += d * d;
            }
        variance[r] = squares / (double)count;
    }
}

static real dropped(const dbi_norm_f32 *norm, const dbi_layer *l, int64_t n, int c)
{
    return norm->drop ? norm->drop[n * (l->out + DBI_LANES) + c] : 1;
}

static real normalized(const dbi_norm_f32 *norm, int64_t n, int c, real z)
{
    const int64_t at = n * norm->step + c;
    return norm->scale[at] * (z - norm->mean[at]) + norm->shift[at];
}

/* relu(y) drop, without the skip. */
static real activate(const dbi_norm_f32 *norm, const dbi_layer *l, int64_t n, int c, real z)
{
    real y = normalized(norm, n, c, z);
    return y > 0 ? y * dropped(norm, l, n, c) : 0;
}

static void normalize(void *opaque, int layer, const real *z, const dbi_norm_f32 *norm, real *a)
{
    const state *s = opaque;
    const dbi_layer *l = &s->shape.layout->layer[layer];
    int64_t v = voxels(&s->shape, l->level);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s->shape.batch; n++)
        for (int c = 0; c < l->out; c++)
            for (int64_t i = (n * l->out + c) * v; i < (n * l->out + c + 1) * v; i++)
                a[i] = activate(norm, l, n, c, z[i]) + (norm->skip ? norm->skip[i] : 0);
}

static void heads(void *opaque, const real *z, const dbi_norm_f32 *norm, const dbi_heads_f32 *h, real *logits,
                  real *sdf)
{
    const state *s = opaque;
    const dbi_layout *layout = s->shape.layout;
    const dbi_layer *l = &layout->layer[layout->decoder[0].layer];
    int64_t v = voxels(&s->shape, 0);
    int classes = layout->arch.classes;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s->shape.batch; n++)
        for (int64_t i = 0; i < v; i++)
            for (int k = 0; k < classes; k++) {
                real r = h->sdf_bias[k], seg = h->seg_bias[k];
                for (int c = 0; c < l->out; c++) {
                    real a = activate(norm, l, n, c, z[(n * l->out + c) * v + i]);
                    r += h->sdf_weight[k * l->out + c] * a;
                    seg += h->seg_weight[k * l->out + c] * a;
                }
                logits[(n * classes + k) * v + i] = seg;
                sdf[(n * classes + k) * v + i] = (real)tanh(r);
            }
}

/* Where the gradient of the activation comes from: the next layers, or the heads. */
typedef struct source {
    const real *da, *da_skip;
    const dbi_heads_f32 *heads;
    const real *dlogits, *dr;
} source;

static real gradient_of_a(const state *s, const source *from, const dbi_layer *l, int64_t n, int c, int64_t i)
{
    int classes = s->shape.layout->arch.classes;
    int64_t v = voxels(&s->shape, l->level), at = (n * l->out + c) * v + i;
    if (!from->heads)
        return from->da[at] + (from->da_skip ? from->da_skip[at] : 0);
    real sum = 0;
    for (int k = 0; k < classes; k++)
        sum += from->heads->sdf_weight[k * l->out + c] * from->dr[(n * classes + k) * v + i] +
               from->heads->seg_weight[k * l->out + c] * from->dlogits[(n * classes + k) * v + i];
    return sum;
}

static real gradient_of_y(const state *s, const source *from, const dbi_norm_f32 *norm, const dbi_layer *l, int64_t n,
                          int c, int64_t i, real z)
{
    return normalized(norm, n, c, z) > 0 ? gradient_of_a(s, from, l, n, c, i) * dropped(norm, l, n, c) : 0;
}

static void sums(const state *s, int layer, const real *z, const dbi_norm_f32 *norm, const source *from, double *sum,
                 double *dot)
{
    const dbi_layer *l = &s->shape.layout->layer[layer];
    const int64_t v = voxels(&s->shape, l->level), rows = dbi_norm_rows(&s->shape), samples = s->shape.batch / rows;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows * l->out; r++) {
        const int64_t first = r / l->out * samples;
        const int c = (int)(r % l->out);
        sum[r] = dot[r] = 0;
        for (int64_t n = first; n < first + samples; n++)
            for (int64_t i = 0; i < v; i++) {
                real at = z[(n * l->out + c) * v + i], dy = gradient_of_y(s, from, norm, l, n, c, i, at);
                sum[r] += dy;
                dot[r] += (double)dy * (at - norm->mean[n * norm->step + c]);
            }
    }
}

static void gradient(const state *s, int layer, real *z, const dbi_norm_f32 *norm, const source *from,
                     const real *by_dy, const real *by_z, const real *constant)
{
    const dbi_layer *l = &s->shape.layout->layer[layer];
    int64_t v = voxels(&s->shape, l->level);
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t n = 0; n < s->shape.batch; n++)
        for (int c = 0; c < l->out; c++)
            for (int64_t i = 0; i < v; i++) {
                const int64_t k = n * norm->step + c;
                real *at = &z[(n * l->out + c) * v + i];
                *at = by_dy[k] * gradient_of_y(s, from, norm, l, n, c, i, *at) + by_z[k] * (*at - norm->mean[k]) +
                      constant[k];
            }
}

static void normalize_sums(void *opaque, int layer, const real *z, const dbi_norm_f32 *norm, const real *da,
                           const real *da_skip, double *sum, double *dot)
{
    sums(opaque, layer, z, norm, &(source){.da = da, .da_skip = da_skip}, sum, dot);
}

static void normalize_gradient(void *opaque, int layer, real *z, const dbi_norm_f32 *norm, const real *da,
                               const real *da_skip, const real *by_dy, const real *by_z, const real *constant)
{
    gradient(opaque, layer, z, norm, &(source){.da = da, .da_skip = da_skip}, by_dy, by_z, constant);
}

static void head_gradient(const state *s, const real *z, const dbi_norm_f32 *norm, const real *dout, real *dweight,
                          real *dbias)
{
    const dbi_layout *layout = s->shape.layout;
    const dbi_layer *l = &layout->layer[layout->decoder[0].layer];
    int64_t v = voxels(&s->shape, 0);
    int classes = layout->arch.classes;
#pragma omp parallel for schedule(static)
    for (int k = 0; k < classes; k++) {
        double bias = 0;
        for (int c = 0; c <= l->out; c++) { /* one more, for the bias */
            double sum = 0;
            for (int64_t n = 0; n < s->shape.batch; n++)
                for (int64_t i = 0; i < v; i++)
                    sum += (double)dout[(n * classes + k) * v + i] *
                           (c < l->out ? activate(norm, l, n, c, z[(n * l->out + c) * v + i]) : 1);
            if (c < l->out)
                dweight[k * l->out + c] = (real)sum;
            else
                bias = sum;
        }
        dbias[k] = (real)bias;
    }
}

static void heads_sums(void *opaque, const real *z, const dbi_norm_f32 *norm, const dbi_heads_f32 *h,
                       const real *dlogits, const real *dr, double *sum, double *dot, const dbi_heads_gradient_f32 *out)
{
    const state *s = opaque;
    head_gradient(s, z, norm, dlogits, out->seg_weight, out->seg_bias);
    head_gradient(s, z, norm, dr, out->sdf_weight, out->sdf_bias);
    sums(s, s->shape.layout->decoder[0].layer, z, norm, &(source){.heads = h, .dlogits = dlogits, .dr = dr}, sum, dot);
}

static void heads_gradient(void *opaque, real *z, const dbi_norm_f32 *norm, const dbi_heads_f32 *h, const real *dlogits,
                           const real *dr, const real *by_dy, const real *by_z, const real *constant)
{
    const state *s = opaque;
    gradient(s, s->shape.layout->decoder[0].layer, z, norm, &(source){.heads = h, .dlogits = dlogits, .dr = dr}, by_dy,
             by_z, constant);
}

/* One channel of one sample, gathered by output place; back: the gradient, added to `in`. */
static void interpolate_grid(const int64_t n[3], bool back, real *in, real *out)
{
    for (int64_t x = 0; x < 2 * n[0]; x++)
        for (int64_t y = 0; y < 2 * n[1]; y++)
            for (int64_t z = 0; z < 2 * n[2]; z++) {
                const dbi_interpolation p[] = {dbi_interpolation_at(x, n[0]), dbi_interpolation_at(y, n[1]),
                                               dbi_interpolation_at(z, n[2])};
                real *o = &out[(x * 2 * n[1] + y) * 2 * n[2] + z], sum = 0;
                for (int corner = 0; corner < 8; corner++) {
                    int64_t at = 0;
                    double share = 1;
                    for (int d = 0; d < 3; d++) {
                        const bool high = corner >> d & 1;
                        at = at * n[d] + (high ? p[d].high : p[d].low);
                        share *= high ? p[d].share : 1 - p[d].share;
                    }
                    if (back)
                        in[at] += (real)share * *o;
                    else
                        sum += (real)share * in[at];
                }
                if (!back)
                    *o = sum;
            }
}

static void interpolate_all(const state *s, int layer, bool back, real *in, real *out)
{
    const dbi_layer *l = &s->shape.layout->layer[layer];
    const int in_level = dbi_layer_in_level(l);
    const int64_t n[] = {s->shape.size[0] >> in_level, s->shape.size[1] >> in_level, s->shape.size[2] >> in_level},
                  v = voxels(&s->shape, in_level);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < s->shape.batch * l->in; i++)
        interpolate_grid(n, back, in + i * v, out + i * 8 * v);
}

static void interpolate(void *opaque, int layer, const real *in, real *out)
{
    interpolate_all(opaque, layer, false, (real *)in, out);
}

static void interpolate_gradient(void *opaque, int layer, const real *dout, real *din, bool add)
{
    const state *s = opaque;
    const dbi_layer *l = &s->shape.layout->layer[layer];
    if (!add)
        memset(din, 0, elements(&s->shape, l->in, dbi_layer_in_level(l)) * sizeof *din);
    interpolate_all(s, layer, true, din, (real *)dout);
}

const dbi_backend_f32 dbi_backend_reference_f32 = {.elements = elements,
                                                   .open = reference_open,
                                                   .bind = reference_bind,
                                                   .close = free,
                                                   .convolve = convolve,
                                                   .moments = moments,
                                                   .normalize = normalize,
                                                   .heads = heads,
                                                   .normalize_sums = normalize_sums,
                                                   .normalize_gradient = normalize_gradient,
                                                   .heads_sums = heads_sums,
                                                   .heads_gradient = heads_gradient,
                                                   .weight_gradient = weight_gradient,
                                                   .data_gradient = data_gradient,
                                                   .interpolate = interpolate,
                                                   .interpolate_gradient = interpolate_gradient};
