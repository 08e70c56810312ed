/* The CPU device: convolutions by oneDNN where it has the faster code and by winograd.h and direct.h where not,
 * those behind an interpolation by interpolated.h, everything else by the kernels of blocked.h.
 *
 * Blocks have 16 channels with AVX-512 and 8 without; up to 8 channels are one block of 8 everywhere, half empty
 * vectors being a waste. oneDNN sees channels rounded up to whole blocks: with ragged ones it falls back to its
 * reference code, which is hundreds of times slower. */
#include "cpu/fast.h"

#include <dnnl.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "cpu/direct.h"
#include "cpu/interpolated.h"
#include "cpu/winograd.h"

/* Threads of a convolution by winograd.h. There is always working memory for all of them, so that what a network takes,
 * and with it the size of the windows of a prediction, does not depend on their number; what no thread touches is never
 * there. */
enum { MOST_THREADS = 32 };

/* One pass of one layer: a primitive, its weights' own layout, and the reorder between that and the plain one; without
 * a primitive, our own loops. */
typedef struct pass {
    dbi_direct direct;
    bool ours; /* our loops are the faster ones: no primitive */
    dnnl_primitive_t primitive, reorder;
    dnnl_memory_t weight, scratch;
} pass;

typedef struct conv {
    pass forward, data, weight;
    dnnl_memory_t in, out, plain; /* plain: PyTorch's layout, channels rounded up */
    bool behind_interpolation;    /* then by interpolated.h, and nothing above is used */
    dbi_interpolated interpolated;
} conv;

typedef struct state {
    dbi_net_shape shape;
    int lanes;   /* of blocks of more than 8 channels */
    int threads; /* at most MOST_THREADS */
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    conv conv[DBI_MAX_LAYERS];
    size_t weight_bytes, plain_bytes, scratch_bytes, partial_bytes, image_bytes;
    float *weight, *plain, *partial,
        *image; /* working memory: the pass's weights, rounded up ones, sums, the padded image */
    void *scratch;
} state;

static const dbi_layer *layer_of(const state *s, int l)
{
    return &s->shape.layout->layer[l];
}

static int longest_lanes(void)
{
    int isa = (int)dnnl_get_effective_cpu_isa();
    return (isa & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core ? 16 : 8;
}

static int lanes_of(const state *s, int channels)
{
    return channels > 8 ? s->lanes : 8;
}

static const dbi_blocked_kernels *kernels_of(const state *s, int channels)
{
    return lanes_of(s, channels) == 16 ? &dbi_blocked_16 : &dbi_blocked_8;
}

static int rounded(const state *s, int channels)
{
    int lanes = lanes_of(s, channels);
    return (channels + lanes - 1) / lanes * lanes;
}

static dbi_blocked blocked_of(const state *s, int channels, int level)
{
    return (dbi_blocked){
        s->shape.batch, {s->shape.size[0] >> level, s->shape.size[1] >> level, s->shape.size[2] >> level}, channels};
}

static size_t elements(const dbi_net_shape *shape, int channels, int level)
{
    size_t block = channels > 8 ? (size_t)longest_lanes() : 8, blocks = ((size_t)channels + block - 1) / block;
    return (size_t)(shape->batch * (shape->size[0] >> level) * (shape->size[1] >> level) * (shape->size[2] >> level)) *
           blocks * block;
}

static int check(dnnl_status_t status, const char *what, dbi_error *error)
{
    return status == dnnl_success ? 0 : dbi_fail(error, "oneDNN: %s failed with status %d", what, (int)status);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int make_memory(state *s, dnnl_memory_t *memory, const dnnl_memory_desc_t *desc, dbi_error *error)
{
    return check(dnnl_memory_create(memory, desc, s->engine, DNNL_MEMORY_NONE), "a memory object", error);
}

static bool is_fast(const_dnnl_primitive_desc_t pd)
{
    const char *name = "";
    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
           !strncmp(name, "jit", 3);
}

/* Makes the primitive of a described operation with its reorder, or none when oneDNN has no fast one. weight: which of
 * its descriptions is the weights'. */
static int make_pass(state *s, pass *p, const_dnnl_op_desc_t desc, dnnl_primitive_desc_t hint, dnnl_query_t weight,
                     const dnnl_memory_desc_t *plain, dnnl_primitive_desc_t *made, dbi_error *error)
{
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t pd = NULL, reorder = NULL;
    int status = check(dnnl_primitive_attr_create(&attributes), "an attribute", error);
    if (!status)
        status = check(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user), "an attribute",
                       error);
    if (!status && dnnl_primitive_desc_create(&pd, desc, attributes, s->engine, hint) == dnnl_success && is_fast(pd) &&
        !p->ours) {
        const dnnl_memory_desc_t *own = dnnl_primitive_desc_query_md(pd, weight, 0),
                                 *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        bool back = weight == dnnl_query_diff_weights_md;
        status = check(dnnl_primitive_create(&p->primitive, pd), "making a convolution", error) ||
                 make_memory(s, &p->weight, own, error) || make_memory(s, &p->scratch, scratch, error) ||
                 check(dnnl_reorder_primitive_desc_create(&reorder, back ? own : plain, s->engine, back ? plain : own,
                                                          s->engine, attributes),
                       "describing a reorder", error) ||
                 check(dnnl_primitive_create(&p->reorder, reorder), "making a reorder", error);
        s->weight_bytes = larger(s->weight_bytes, dnnl_memory_desc_get_size(own));
        s->scratch_bytes = larger(s->scratch_bytes, dnnl_memory_desc_get_size(scratch));
    }
    if (reorder)
        dnnl_primitive_desc_destroy(reorder);
    dnnl_primitive_attr_destroy(attributes);
    if (made)
        *made = pd;
    else if (pd)
        dnnl_primitive_desc_destroy(pd);
    return status ? -1 : 0;
}

/* A layer's shapes as oneDNN describes them. */
typedef struct described {
    dnnl_memory_desc_t in, out, weight, plain;
    dnnl_dims_t stride, padding;
} described;

static int describe(const state *s, const dbi_layer *l, described *d, dbi_error *error)
{
    int in = rounded(s, l->in), out = rounded(s, l->out), edge = l->kind == DBI_LAYER_CONV3 ? 3 : 2,
        taps = edge * edge * edge;
    dbi_blocked from = blocked_of(s, in, dbi_layer_in_level(l)), to = blocked_of(s, out, l->level);
    dnnl_dims_t in_dims = {from.batch, in, from.size[0], from.size[1], from.size[2]},
                out_dims = {to.batch, out, to.size[0], to.size[1], to.size[2]};
    dnnl_dims_t dims = {out, in, edge, edge, edge}, strides = {(dnnl_dim_t)in * taps, taps, edge * edge, edge, 1};
    if (l->kind == DBI_LAYER_UP) { /* PyTorch keeps [in,out,...] */
        strides[0] = taps;
        strides[1] = (dnnl_dim_t)out * taps;
    }
    for (int i = 0; i < 3; i++) {
        d->stride[i] = l->kind == DBI_LAYER_CONV3 ? 1 : 2;
        d->padding[i] = l->kind == DBI_LAYER_CONV3;
    }
    dnnl_format_tag_t tag = s->lanes == 16 ? dnnl_nCdhw16c : dnnl_nCdhw8c;
    return check(dnnl_memory_desc_init_by_tag(&d->in, 5, in_dims, dnnl_f32, tag), "a description", error) ||
                   check(dnnl_memory_desc_init_by_tag(&d->out, 5, out_dims, dnnl_f32, tag), "a description", error) ||
                   check(dnnl_memory_desc_init_by_tag(&d->weight, 5, dims, dnnl_f32, dnnl_format_tag_any),
                         "a description", error) ||
                   check(dnnl_memory_desc_init_by_strides(&d->plain, 5, dims, dnnl_f32, strides), "a description",
                         error)
               ? -1
               : 0;
}

/* Rows in tiles of four voxels: where they fill so much of them, half the multiplications are less work. With AVX-512
 * it has not been measured, and direct.h takes two rows in one vector there. */
static bool fills_tiles(const dbi_direct *d, double share)
{
    return !d->long_vectors && dbi_winograd_serves(d) &&
           (double)d->b.size[2] >= share * 4 * (double)((d->b.size[2] + 3) / 4);
}

/* Forward and data gradient. */
static bool applies_winograd(const dbi_direct *d)
{
    return fills_tiles(d, 0.8);
}

/* Weights' gradient. */
static bool sums_winograd(const dbi_direct *d)
{
    return fills_tiles(d, 0.9);
}

static size_t apply_floats(const dbi_direct *d)
{
    return applies_winograd(d) ? dbi_winograd_apply_floats(d, MOST_THREADS) : dbi_direct_packed(d);
}

static size_t weights_floats(const dbi_direct *d)
{
    return sums_winograd(d) ? dbi_winograd_weights_floats(d, MOST_THREADS) : dbi_direct_partials(d);
}

static void apply(const state *s, const dbi_direct *d, const float *a, const float *weight, float *b)
{
    if (applies_winograd(d))
        dbi_winograd_apply(d, s->threads, a, weight, s->weight, b);
    else
        dbi_direct_apply(d, a, weight, s->weight, b);
}

static void sum_weights(const state *s, const dbi_direct *d, const float *a, const float *db, float *dweight)
{
    if (sums_winograd(d))
        dbi_winograd_weights(d, s->threads, a, db, s->partial, dweight);
    else
        dbi_direct_weights(d, a, db, s->partial, dweight);
}

static int make_convolution(state *s, conv *c, const described *d, dbi_error *error)
{
    dnnl_convolution_desc_t f, b, w;
    dnnl_primitive_desc_t hint = NULL;
    int status =
        check(dnnl_convolution_forward_desc_init(&f, s->shape.training ? dnnl_forward_training : dnnl_forward_inference,
                                                 dnnl_convolution_direct, &d->in, &d->weight, NULL, &d->out, d->stride,
                                                 d->padding, d->padding),
              "a convolution", error) ||
        make_pass(s, &c->forward, &f, NULL, dnnl_query_weights_md, &d->plain, &hint, error);
    if (!status && hint && s->shape.training)
        status = check(dnnl_convolution_backward_data_desc_init(&b, dnnl_convolution_direct, &d->in, &d->weight,
                                                                &d->out, d->stride, d->padding, d->padding),
                       "a convolution", error) ||
                 make_pass(s, &c->data, &b, hint, dnnl_query_weights_md, &d->plain, NULL, error) ||
                 check(dnnl_convolution_backward_weights_desc_init(&w, dnnl_convolution_direct, &d->in, &d->weight,
                                                                   NULL, &d->out, d->stride, d->padding, d->padding),
                       "a convolution", error) ||
                 make_pass(s, &c->weight, &w, hint, dnnl_query_diff_weights_md, &d->plain, NULL, error);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    return status ? -1 : 0;
}

static int make_transposed(state *s, conv *c, const described *d, dbi_error *error)
{
    dnnl_deconvolution_desc_t f, b, w;
    dnnl_primitive_desc_t hint = NULL;
    int status =
        check(dnnl_deconvolution_forward_desc_init(
                  &f, s->shape.training ? dnnl_forward_training : dnnl_forward_inference, dnnl_deconvolution_direct,
                  &d->in, &d->weight, NULL, &d->out, d->stride, d->padding, d->padding),
              "a transposed convolution", error) ||
        make_pass(s, &c->forward, &f, NULL, dnnl_query_weights_md, &d->plain, &hint, error);
    if (!status && hint && s->shape.training)
        status = check(dnnl_deconvolution_backward_data_desc_init(&b, dnnl_deconvolution_direct, &d->in, &d->weight,
                                                                  &d->out, d->stride, d->padding, d->padding),
                       "a transposed convolution", error) ||
                 make_pass(s, &c->data, &b, hint, dnnl_query_weights_md, &d->plain, NULL, error) ||
                 check(dnnl_deconvolution_backward_weights_desc_init(&w, dnnl_deconvolution_direct, &d->in, &d->weight,
                                                                     NULL, &d->out, d->stride, d->padding, d->padding),
                       "a transposed convolution", error) ||
                 make_pass(s, &c->weight, &w, hint, dnnl_query_diff_weights_md, &d->plain, NULL, error);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    return status ? -1 : 0;
}

/* The three passes as loops of direct.h. */
static void describe_direct(const state *s, conv *c, const dbi_layer *l)
{
    dbi_blocked in = blocked_of(s, l->in, dbi_layer_in_level(l)), out = blocked_of(s, l->out, l->level);
    bool up = l->kind == DBI_LAYER_UP;
    int taps = l->kind == DBI_LAYER_CONV3 ? 27 : 8, in_lanes = lanes_of(s, l->in), out_lanes = lanes_of(s, l->out);
    int64_t in_step = up ? (int64_t)l->out * taps : taps, out_step = up ? taps : (int64_t)l->in * taps;
    dbi_direct_kind forward = up ? DBI_DIRECT_SCATTER : DBI_DIRECT_GATHER,
                    back = up ? DBI_DIRECT_GATHER : DBI_DIRECT_SCATTER;
    if (l->kind == DBI_LAYER_CONV3)
        forward = back = DBI_DIRECT_SAME;
    c->forward.direct = c->weight.direct =
        (dbi_direct){forward, in, out, in_lanes, out_lanes, in_step, out_step, false, s->lanes == 16};
    c->data.direct =
        (dbi_direct){back, out, in, out_lanes, in_lanes, out_step, in_step, l->kind == DBI_LAYER_CONV3, s->lanes == 16};
    if (l->kind == DBI_LAYER_CONV3 &&
        s->lanes == 8) { /* oneDNN has the faster code for rows too short for our tiles, but for the sums over them */
        c->forward.ours = c->data.ours = out.size[2] >= 8 || applies_winograd(&c->forward.direct);
        c->weight.ours = true;
    }
}

/* The working memory of the passes without a primitive. */
static void make_direct(state *s, const conv *c)
{
    if (!c->forward.primitive)
        s->weight_bytes = larger(s->weight_bytes, sizeof(float) * apply_floats(&c->forward.direct));
    if (s->shape.training && !c->data.primitive)
        s->weight_bytes = larger(s->weight_bytes, sizeof(float) * apply_floats(&c->data.direct));
    if (s->shape.training && !c->weight.primitive)
        s->partial_bytes = larger(s->partial_bytes, sizeof(float) * weights_floats(&c->weight.direct));
}

/* A convolution that interpolates on the way. */
static void make_interpolated(state *s, conv *c, const dbi_layer *l)
{
    c->behind_interpolation = true;
    c->interpolated = (dbi_interpolated){.in = blocked_of(s, l->in, l->level + 1),
                                         .out = blocked_of(s, l->out, l->level),
                                         .in_lanes = lanes_of(s, l->in),
                                         .out_lanes = lanes_of(s, l->out)};
    s->weight_bytes = larger(
        s->weight_bytes, sizeof(float) * dbi_interpolated_floats(&c->interpolated, MOST_THREADS, s->shape.training));
}

static int make_layer(state *s, int index, dbi_error *error)
{
    const dbi_layer *l = layer_of(s, index);
    conv *c = &s->conv[index];
    described d;
    if (l->kind == DBI_LAYER_INTERPOLATE)
        return 0;
    dbi_blocked out = blocked_of(s, l->out, l->level);
    int classes = dbi_layout_heads(s->shape.layout, index) >= 0 ? s->shape.layout->arch.classes : 0;
    s->partial_bytes = larger(
        s->partial_bytes, sizeof(float) * dbi_blocked_partials(&out, lanes_of(s, l->out), classes, index ? 0 : l->in));
    if (index == 0) {
        s->image_bytes = sizeof(float) * dbi_image_padded_count(s->shape.batch, l->in, s->shape.size);
        return 0;
    }
    if (layer_of(s, l->input)->kind == DBI_LAYER_INTERPOLATE) {
        make_interpolated(s, c, l);
        return 0;
    }
    if (describe(s, l, &d, error) || make_memory(s, &c->in, &d.in, error) || make_memory(s, &c->out, &d.out, error) ||
        make_memory(s, &c->plain, &d.plain, error))
        return -1;
    if (rounded(s, l->in) != l->in || rounded(s, l->out) != l->out)
        s->plain_bytes = larger(s->plain_bytes, dnnl_memory_desc_get_size(&d.plain));
    describe_direct(s, c, l);
    if (lanes_of(s, l->in) == s->lanes && lanes_of(s, l->out) == s->lanes &&
        (l->kind == DBI_LAYER_UP ? make_transposed(s, c, &d, error) : make_convolution(s, c, &d, error)))
        return -1;
    make_direct(s, c);
    return 0;
}

static void free_pass(pass *p)
{
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    if (p->reorder)
        dnnl_primitive_destroy(p->reorder);
    if (p->weight)
        dnnl_memory_destroy(p->weight);
    if (p->scratch)
        dnnl_memory_destroy(p->scratch);
}

static void cpu_close(void *opaque)
{
    state *s = opaque;
    for (int l = 0; l < DBI_MAX_LAYERS; l++) {
        conv *c = &s->conv[l];
        dnnl_memory_t memory[] = {c->in, c->out, c->plain};
        free_pass(&c->forward);
        free_pass(&c->data);
        free_pass(&c->weight);
        for (int i = 0; i < 3; i++)
            if (memory[i])
                dnnl_memory_destroy(memory[i]);
    }
    if (s->stream)
        dnnl_stream_destroy(s->stream);
    if (s->engine)
        dnnl_engine_destroy(s->engine);
    free(s);
}

static size_t page(size_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

static void *cpu_open(const dbi_net_shape *shape, size_t *scratch, dbi_error *error)
{
    state *s = dbi_alloc(1, sizeof *s, error);
    if (!s)
        return NULL;
    s->shape = *shape;
    s->lanes = longest_lanes();
    s->threads = omp_get_max_threads() < MOST_THREADS ? omp_get_max_threads() : MOST_THREADS;
    int status = check(dnnl_engine_create(&s->engine, dnnl_cpu, 0), "an engine", error) ||
                 check(dnnl_stream_create(&s->stream, s->engine, dnnl_stream_default_flags), "a stream", error);
    for (int l = 0; !status && l < shape->layout->layers; l++)
        status = make_layer(s, l, error);
    if (status) {
        cpu_close(s);
        return NULL;
    }
    *scratch = page(s->weight_bytes) + page(s->plain_bytes) + page(s->scratch_bytes) + page(s->partial_bytes) +
               page(s->image_bytes);
    return s;
}

static void cpu_bind(void *opaque, void *scratch)
{
    state *s = opaque;
    float *at = scratch;
    s->weight = at;
    s->plain = at += page(s->weight_bytes) / sizeof *at;
    s->scratch = at += page(s->plain_bytes) / sizeof *at;
    s->partial = at += page(s->scratch_bytes) / sizeof *at;
    s->image = at + page(s->partial_bytes) / sizeof *at;
}

/* The weights' two channel dimensions as they lie in memory, with and without rounding. */
typedef struct extent {
    int outer, inner, rounded_outer, rounded_inner, taps;
} extent;

static extent extent_of(const state *s, const dbi_layer *l)
{
    bool up = l->kind == DBI_LAYER_UP;
    int outer = up ? l->in : l->out, inner = up ? l->out : l->in;
    return (extent){outer, inner, rounded(s, outer), rounded(s, inner), l->kind == DBI_LAYER_CONV3 ? 27 : 8};
}

static bool is_ragged(const extent *e)
{
    return e->outer != e->rounded_outer || e->inner != e->rounded_inner;
}

/* Plain weights with the channels rounded up: the given ones where they are already. */
static const float *round_up(const state *s, const extent *e, const float *weight)
{
    if (!is_ragged(e))
        return weight;
    memset(s->plain, 0, sizeof(float) * (size_t)e->rounded_outer * (size_t)e->rounded_inner * (size_t)e->taps);
    for (int o = 0; o < e->outer; o++)
        memcpy(s->plain + (size_t)o * (size_t)e->rounded_inner * (size_t)e->taps,
               weight + (size_t)o * (size_t)e->inner * (size_t)e->taps,
               sizeof(float) * (size_t)e->inner * (size_t)e->taps);
    return s->plain;
}

static void round_down(const state *s, const extent *e, float *weight)
{
    for (int o = 0; o < e->outer; o++)
        memcpy(weight + (size_t)o * (size_t)e->inner * (size_t)e->taps,
               s->plain + (size_t)o * (size_t)e->rounded_inner * (size_t)e->taps,
               sizeof(float) * (size_t)e->inner * (size_t)e->taps);
}

static int reorder(const state *s, const pass *p, dnnl_memory_t from, dnnl_memory_t to, dbi_error *error)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    return check(dnnl_primitive_execute(p->reorder, s->stream, 2, args), "a reorder", error) ||
           check(dnnl_stream_wait(s->stream), "a reorder", error);
}

/* Runs a pass of a layer on plain weights: read, or with `back` written. */
static int run(state *s, int index, const pass *p, const int role[3], const float *in, const float *out,
               const float *weight, float *back, dbi_error *error)
{
    const conv *c = &s->conv[index];
    extent e = extent_of(s, layer_of(s, index));
    const float *plain = back ? (is_ragged(&e) ? s->plain : back) : round_up(s, &e, weight);
    dnnl_exec_arg_t args[] = {
        {role[0], c->in}, {role[1], c->out}, {role[2], p->weight}, {DNNL_ARG_SCRATCHPAD, p->scratch}};
    dnnl_memory_set_data_handle(c->in, (void *)(uintptr_t)in);
    dnnl_memory_set_data_handle(c->out, (void *)(uintptr_t)out);
    dnnl_memory_set_data_handle(c->plain, (void *)(uintptr_t)plain);
    dnnl_memory_set_data_handle(p->weight, s->weight);
    dnnl_memory_set_data_handle(p->scratch, s->scratch);
    if ((!back && reorder(s, p, c->plain, p->weight, error)) ||
        check(dnnl_primitive_execute(p->primitive, s->stream, 4, args), "a convolution", error) ||
        check(dnnl_stream_wait(s->stream), "a convolution", error) ||
        (back && reorder(s, p, p->weight, c->plain, error)))
        return -1;
    if (back && is_ragged(&e))
        round_down(s, &e, back);
    return 0;
}

static int convolve(void *opaque, int index, const float *in, const float *weight, float *z, dbi_error *error)
{
    state *s = opaque;
    const dbi_layer *l = layer_of(s, index);
    static const int role[] = {DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WEIGHTS};
    const pass *p = &s->conv[index].forward;
    if (s->conv[index].behind_interpolation) {
        dbi_interpolated_apply(&s->conv[index].interpolated, s->threads, in, weight, s->weight, z);
        return 0;
    }
    if (index && p->primitive)
        return run(s, index, p, role, in, z, weight, NULL, error);
    if (index) {
        apply(s, &p->direct, in, weight, z);
        return 0;
    }
    dbi_blocked at = blocked_of(s, l->out, 0);
    dbi_image_pad(at.batch, l->in, at.size, in, s->image);
    kernels_of(s, l->out)->first(&at, l->in, s->image, weight, z);
    return 0;
}

static int weight_gradient(void *opaque, int index, const float *in, const float *dz, float *dweight, dbi_error *error)
{
    state *s = opaque;
    const dbi_layer *l = layer_of(s, index);
    static const int role[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS};
    const pass *p = &s->conv[index].weight;
    if (s->conv[index].behind_interpolation) {
        dbi_interpolated_weights(&s->conv[index].interpolated, s->threads, in, dz, s->weight, dweight);
        return 0;
    }
    if (index && p->primitive)
        return run(s, index, p, role, in, dz, NULL, dweight, error);
    if (index) {
        sum_weights(s, &p->direct, in, dz, dweight);
        return 0;
    }
    dbi_blocked at = blocked_of(s, l->out, 0);
    dbi_image_pad(at.batch, l->in, at.size, in, s->image);
    kernels_of(s, l->out)->first_weight_gradient(&at, l->in, s->image, dz, s->partial, dweight);
    return 0;
}

static int data_gradient(void *opaque, int index, const float *dz, const float *weight, float *din, dbi_error *error)
{
    state *s = opaque;
    static const int role[] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS};
    const pass *p = &s->conv[index].data;
    if (p->primitive)
        return run(s, index, p, role, din, dz, weight, NULL, error);
    apply(s, &p->direct, dz, weight, din);
    return 0;
}

static void interpolated_gradient(void *opaque, int index, const float *dz, const float *weight, float *din, bool add)
{
    const state *s = opaque;
    dbi_interpolated_data(&s->conv[index].interpolated, s->threads, dz, weight, s->weight, din, add);
}

static void moments(void *opaque, int index, const float *z, double *mean, double *variance)
{
    const state *s = opaque;
    const int64_t rows = dbi_norm_rows(&s->shape);
    dbi_blocked at = blocked_of(s, layer_of(s, index)->out, layer_of(s, index)->level);
    const size_t sample = elements(&s->shape, at.channels, layer_of(s, index)->level) / (size_t)rows;
    at.batch /= rows;
    for (int64_t r = 0; r < rows; r++)
        kernels_of(s, at.channels)
            ->moments(&at, z + (size_t)r * sample, s->partial, mean + r * at.channels, variance + r * at.channels);
}

static void normalize(void *opaque, int index, const float *z, const dbi_norm_f32 *norm, float *a)
{
    const state *s = opaque;
    dbi_blocked at = blocked_of(s, layer_of(s, index)->out, layer_of(s, index)->level);
    kernels_of(s, at.channels)->normalize(&at, z, norm, a);
}

static void normalize_sums(void *opaque, int index, const float *z, const dbi_norm_f32 *norm, const float *da,
                           const float *da_skip, double *sum, double *dot)
{
    const state *s = opaque;
    dbi_blocked at = blocked_of(s, layer_of(s, index)->out, layer_of(s, index)->level);
    kernels_of(s, at.channels)->normalize_sums(&at, z, norm, da, da_skip, s->partial, sum, dot);
}

static void normalize_gradient(void *opaque, int index, float *z, const dbi_norm_f32 *norm, const float *da,
                               const float *da_skip, const float *by_dy, const float *by_z, const float *constant)
{
    const state *s = opaque;
    dbi_blocked at = blocked_of(s, layer_of(s, index)->out, layer_of(s, index)->level);
    kernels_of(s, at.channels)->normalize_gradient(&at, z, norm, da, da_skip, by_dy, by_z, constant);
}

static void heads(void *opaque, const float *z, const dbi_norm_f32 *norm, const dbi_heads_f32 *h, float *logits,
                  float *sdf)
{
    const state *s = opaque;
    const dbi_arch *arch = &s->shape.layout->arch;
    dbi_blocked at = blocked_of(s, arch->filters, 0);
    kernels_of(s, at.channels)->heads(&at, arch->classes, z, norm, h, logits, sdf);
}

static void heads_sums(void *opaque, const float *z, const dbi_norm_f32 *norm, const dbi_heads_f32 *h,
                       const float *dlogits, const float *dr, double *sum, double *dot,
                       const dbi_heads_gradient_f32 *gradient)
{
    const state *s = opaque;
    const dbi_arch *arch = &s->shape.layout->arch;
    dbi_blocked at = blocked_of(s, arch->filters, 0);
    kernels_of(s, at.channels)->heads_sums(&at, arch->classes, z, norm, h, dlogits, dr, s->partial, sum, dot, gradient);
    dbi_channel_sums(at.batch, arch->classes, at.size, dlogits, s->partial, gradient->seg_bias);
    dbi_channel_sums(at.batch, arch->classes, at.size, dr, s->partial, gradient->sdf_bias);
}

static void heads_gradient(void *opaque, float *z, const dbi_norm_f32 *norm, const dbi_heads_f32 *h,
                           const float *dlogits, const float *dr, const float *by_dy, const float *by_z,
                           const float *constant)
{
    const state *s = opaque;
    const dbi_arch *arch = &s->shape.layout->arch;
    dbi_blocked at = blocked_of(s, arch->filters, 0);
    kernels_of(s, at.channels)->heads_gradient(&at, arch->classes, z, norm, h, dlogits, dr, by_dy, by_z, constant);
}

const dbi_backend_f32 dbi_backend_fast = {.elements = elements,
                                          .open = cpu_open,
                                          .bind = cpu_bind,
                                          .close = cpu_close,
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
                                          .interpolated_gradient = interpolated_gradient};
