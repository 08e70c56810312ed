/* The CUDA device's convolutions on tensor cores (tiled.cu, spread.cu) against the direct ones (direct.cu), and what
 * they do on the way: moments, normalization, the network's outputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#ifdef DBI_ON_DEVICE
#include <cuda_runtime_api.h>
#endif
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cuda/direct.h"
#include "cuda/spread.h"
#include "cuda/tiled.h"
#include "device_memory.h"
#include "warps.h"

/* Channels of x and y that the kernels know. */
static const int tiled_channels[][2] = {{8, 8}, {8, 16}, {16, 16}, {8, 32}, {32, 32}},
                 spread_channels[][2] = {{8, 16}, {16, 32}, {32, 64}};
enum {
    TILED = sizeof tiled_channels / sizeof *tiled_channels,
    SPREAD = sizeof spread_channels / sizeof *spread_channels
};

/* Batch and sizes, of y: no multiples of a tile; the last are more than all multiprocessors do at once, so that a block
 * goes from tile to tile. */
static const int64_t tiled_sizes[][4] = {{1, 13, 9, 21}, {3, 3, 5, 7},    {2, 40, 33, 17},
                                         {2, 1, 1, 1},   {1, 57, 49, 41}, {3, 65, 57, 58}},
                     spread_sizes[][4] = {{1, 13, 9, 21}, {3, 3, 5, 7}, {2, 1, 1, 1}, {1, 33, 35, 37}};
enum {
    TILED_SIZES = sizeof tiled_sizes / sizeof *tiled_sizes,
    SPREAD_SIZES = sizeof spread_sizes / sizeof *spread_sizes
};

enum {
    X,
    WEIGHT,
    Y,
    OPERANDS,
    GUARD = 1024,
    MOST_CHANNELS = 64
}; /* GUARD: bytes after each buffer that nobody may write */

/* Device memory, and what the host has put there or got from there. */
typedef struct buffer {
    void *device, *host;
    size_t bytes;
} buffer;

typedef struct problem {
    char name[128];
    dbi_conv_sides sides;
    dbi_conv_pass pass;
    bool spread;
    dbi_tiled_plan tiles;
    dbi_spread_plan spreading;
    int64_t blocks, voxels; /* voxels: of the computed side, of the batch */
    int channels, target;   /* of what is computed; which operand that is */
    dbi_arena arena;
    buffer operand[OPERANDS], workspace, skip, mean, scale, shift, count, chunk_shift, chunk_sum, chunk_squares;
    buffer sdf_weight, sdf_bias, seg_weight, seg_bias, logits, sdf;
} problem;

static void *copy_of(const void *from, size_t bytes)
{
    void *copy = malloc(bytes ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, from, bytes);
    return copy;
}

static void need(problem *p, buffer *b, size_t bytes)
{
    b->bytes = bytes;
    b->host = malloc(bytes + GUARD);
    assert_non_null(b->host);
    device_need(&p->arena, &b->device, bytes + GUARD);
}

/* NaNs, also in what follows. */
static void poison(buffer *b)
{
    memset(b->host, 0xff, b->bytes + GUARD);
    device_put(b->device, b->host, b->bytes + GUARD);
}

static void get(const problem *p, buffer *b)
{
    device_get(b->host, b->device, b->bytes + GUARD);
    for (size_t i = 0; i < GUARD; i++)
        if (((const unsigned char *)b->host)[b->bytes + i] != 0xff)
            fail_msg("%s: byte %zu after a buffer was written", p->name, i);
}

static size_t count_of(const problem *p, int operand)
{
    const dbi_conv_sides *s = &p->sides;
    const int64_t *size = operand == X ? s->x_size : s->y_size;
    if (operand == WEIGHT)
        return (size_t)(s->edge * s->edge * s->edge * s->x_channels * s->y_channels);
    return (size_t)(s->batch * size[0] * size[1] * size[2] * (operand == X ? s->x_channels : s->y_channels));
}

static const dbi_bf16 *halves(const buffer *b)
{
    return b->host;
}

static const float *floats(const buffer *b)
{
    return b->host;
}

/* Uniform values around `offset`, also on the device. */
static void draw(buffer *b, bool bf16, uint32_t stream, double scale, double offset)
{
    dbi_random r;
    dbi_random_start(&r, 11, DBI_ROLE_TEST, 0, stream);
    for (size_t i = 0; i < b->bytes / (bf16 ? sizeof(dbi_bf16) : sizeof(float)); i++) {
        const float value = (float)(offset + scale * (dbi_random_u32(&r) * 0x1p-31 - 1));
        if (bf16)
            ((dbi_bf16 *)b->host)[i] = dbi_bf16_from_float(value);
        else
            ((float *)b->host)[i] = value;
    }
    device_put(b->device, b->host, b->bytes);
}

static dbi_conv_sides sides_of(bool spread, const int channels[2], const int64_t size[4])
{
    dbi_conv_sides s = {.edge = spread ? 2 : 3,
                        .stride = spread ? 2 : 1,
                        .padding = spread ? 0 : 1,
                        .x_channels = channels[0],
                        .y_channels = channels[1],
                        .batch = size[0]};
    for (int d = 0; d < 3; d++) {
        s.y_size[d] = size[1 + d];
        s.x_size[d] = spread ? 2 * size[1 + d] : size[1 + d];
    }
    return s;
}

/* false: there are no kernels for it. Operands are drawn so that outputs are of size 1, or a gradient's the root of
 * what it adds. */
static bool open_problem(problem *p, bool spread, dbi_conv_pass pass, const int channels[2], const int64_t size[4])
{
    memset(p, 0, sizeof *p);
    p->sides = sides_of(spread, channels, size);
    p->pass = pass;
    p->spread = spread;
    snprintf(p->name, sizeof p->name, "%s, pass %d, %d and %d channels, %d x %dx%dx%d", spread ? "spread" : "tiled",
             (int)pass, channels[0], channels[1], (int)size[0], (int)size[1], (int)size[2], (int)size[3]);
    if (spread ? !dbi_spread_make(&p->spreading, &p->sides) : !dbi_tiled_make(&p->tiles, pass, &p->sides))
        return false;
    p->blocks = spread ? p->spreading.blocks : p->tiles.blocks;
    p->target = pass == DBI_CONV_TO_X ? X : pass == DBI_CONV_TO_Y ? Y : WEIGHT;
    p->channels = p->target == X ? channels[0] : channels[1];
    p->voxels = p->target == WEIGHT ? 0 : (int64_t)count_of(p, p->target) / p->channels;
    const size_t each = (size_t)p->channels * sizeof(float), chunks = (size_t)p->blocks;
    for (int i = 0; i < OPERANDS; i++)
        need(p, &p->operand[i], count_of(p, i) * sizeof(dbi_bf16));
    need(p, &p->workspace, spread ? 0 : p->tiles.workspace);
    need(p, &p->skip, p->operand[p->target].bytes);
    buffer *of_channel[] = {&p->mean, &p->scale, &p->shift},
           *of_chunk[] = {&p->chunk_shift, &p->chunk_sum, &p->chunk_squares};
    for (int i = 0; i < 3; i++) {
        need(p, of_channel[i], each);
        need(p, of_chunk[i], each * chunks);
    }
    need(p, &p->count, chunks * sizeof(float));
    return true;
}

static void fill_problem(problem *p)
{
    const double terms = p->spread ? p->sides.y_channels : 27.0 * p->sides.x_channels;
    device_open_arena(&p->arena);
    draw(&p->operand[X], true, 0, 1, 0.25);
    draw(&p->operand[Y], true, 1, 1, -0.25);
    draw(&p->operand[WEIGHT], true, 2, sqrt(3 / terms), 0);
    draw(&p->skip, true, 3, 1, 0);
    draw(&p->mean, false, 4, 0.5, 0);
    draw(&p->scale, false, 5, 1, 1);
    draw(&p->shift, false, 6, 0.5, 0.1);
}

static void close_problem(problem *p)
{
    buffer *all[] = {&p->operand[X], &p->operand[WEIGHT], &p->operand[Y], &p->workspace, &p->skip,
                     &p->mean,       &p->scale,           &p->shift,      &p->count,     &p->chunk_shift,
                     &p->chunk_sum,  &p->chunk_squares,   &p->sdf_weight, &p->sdf_bias,  &p->seg_weight,
                     &p->seg_bias,   &p->logits,          &p->sdf};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]->host);
    dbi_arena_close(&p->arena);
}

/* Computes p's target, by the kernels to be judged or by the direct ones, whatever was there. Each time in another
 * order of warps and blocks: no byte may depend on it. */
static void run(problem *p, bool direct, const dbi_conv_extra *extra)
{
    dbi_error error = {""};
    void *x = p->operand[X].device, *weight = p->operand[WEIGHT].device, *y = p->operand[Y].device;
    static bool backwards;
    poison(&p->operand[p->target]);
    poison(&p->workspace);
    device_backwards(backwards = !backwards);
    const int status = direct ? dbi_direct(p->pass, true, &p->sides, test_stream, x, weight, y, &error)
                       : p->spread
                           ? dbi_spread(&p->spreading, test_stream, x, weight, y, extra, &error)
                           : dbi_tiled(&p->tiles, test_stream, x, weight, y, extra, p->workspace.device, &error);
    if (status)
        fail_msg("%s: %s", p->name, error.text);
    get(p, &p->operand[p->target]);
    get(p, &p->workspace);
}

/* What it then has, to be freed. */
static dbi_bf16 *result(problem *p, bool direct, const dbi_conv_extra *extra)
{
    run(p, direct, extra);
    return copy_of(p->operand[p->target].host, p->operand[p->target].bytes);
}

static void assert_same(const problem *p, const char *what, const void *a, const void *b, size_t bytes)
{
    if (memcmp(a, b, bytes))
        fail_msg("%s: %s: bytes differ", p->name, what);
}

/* Both are sums in single precision, rounded once: no value differs by more than one step of bfloat16, but for what
 * cancels. */
static void compare(const problem *p, const dbi_bf16 *got, const dbi_bf16 *want)
{
    const size_t count = count_of(p, p->target);
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        const double a = dbi_bf16_to_float(got[i]), b = dbi_bf16_to_float(want[i]);
        difference += (a - b) * (a - b);
        norm += b * b;
    }
    if (!(sqrt(difference) <= 5e-3 * sqrt(norm) && norm > 0))
        fail_msg("%s: error %g of %g", p->name, sqrt(difference), sqrt(norm));
    const double scale = sqrt(norm / (double)count);
    for (size_t i = 0; i < count; i++) {
        const double a = dbi_bf16_to_float(got[i]), b = dbi_bf16_to_float(want[i]);
        if (!(fabs(a - b) <= 0x1p-7 * fabs(b) + 0x1p-11 * scale))
            fail_msg("%s: element %zu: %g, not %g", p->name, i, a, b);
    }
}

static void check_pass(problem *p)
{
    buffer before[OPERANDS];
    fill_problem(p);
    for (int i = 0; i < OPERANDS; i++)
        before[i].host = copy_of(p->operand[i].host, p->operand[i].bytes);
    dbi_bf16 *want = result(p, true, NULL), *got = result(p, false, NULL), *again = result(p, false, NULL);
    compare(p, got, want);
    assert_same(p, "the same once more", got, again, p->operand[p->target].bytes);
    for (int i = 0; i < OPERANDS; i++) {
        if (i != p->target) {
            device_get(p->operand[i].host, p->operand[i].device, p->operand[i].bytes);
            assert_same(p, "what is given", p->operand[i].host, before[i].host, p->operand[i].bytes);
        }
        free(before[i].host);
    }
    free(want);
    free(got);
    free(again);
}

/* Under compute-sanitizer: one small size, and for the kernels that have two tiles in memory one of several tiles for a
 * block. The emulation has few multiprocessors: small sizes have several tiles for a block there. */
static bool left_out(int channels, int size)
{
    return on_gpu() ? sanitized() && size != 0 && !(size == 4 && channels == TILED - 1) : tiled_sizes[size][1] > 13;
}

/* Calls `check` for all channels and sizes that there are kernels for. */
static void each_tiled(dbi_conv_pass pass, void (*check)(problem *p))
{
    for (int c = 0; c < TILED; c++)
        for (int s = 0; s < TILED_SIZES; s++) {
            problem p;
            if (left_out(c, s))
                continue;
            if (!open_problem(&p, false, pass, tiled_channels[c], tiled_sizes[s]))
                continue;
            check(&p);
            close_problem(&p);
        }
}

static void each_spread(void (*check)(problem *p))
{
    for (int c = 0; c < SPREAD; c++)
        for (int s = 0; s < (sanitized() ? 1 : SPREAD_SIZES); s++) {
            problem p;
            if (!on_gpu() && spread_sizes[s][1] > 13)
                continue;
            if (!open_problem(&p, true, DBI_CONV_TO_X, spread_channels[c], spread_sizes[s]))
                fail_msg("%s: no kernel", p.name);
            check(&p);
            close_problem(&p);
        }
}

static void tiled_agrees(void **state)
{
    (void)state;
    each_tiled(DBI_CONV_TO_Y, check_pass);
    each_tiled(DBI_CONV_TO_X, check_pass);
    each_tiled(DBI_CONV_TO_WEIGHT, check_pass);
}

/* What only the emulation can show: the kernels for devices with less shared memory, A100s among them, and that no load
 * of a matrix meets a bank twice. */
static void tiled_with_less_memory(void **state)
{
    (void)state;
#ifndef DBI_ON_DEVICE
    static const int wide[] = {32, 32};
    const size_t most = dbi_emulated_shared;
    for (dbi_conv_pass pass = DBI_CONV_TO_Y; pass <= DBI_CONV_TO_WEIGHT; pass++) {
        problem p;
        size_t shared[2];
        for (int i = 0; i < 2; i++) {
            dbi_emulated_shared = i ? 163 << 10 : most;
            assert_true(open_problem(&p, false, pass, wide, tiled_sizes[0]));
            shared[i] = dbi_tiled_shared(&p.tiles);
            if (i)
                check_pass(&p);
            close_problem(&p);
        }
        assert_true(shared[0] > 163 << 10 && shared[1] <= 163 << 10);
    }
    dbi_emulated_shared = most;
#else
    skip();
#endif
}

static void tiled_meets_no_bank_twice(void **state)
{
    (void)state;
#ifndef DBI_ON_DEVICE
    for (dbi_conv_pass pass = DBI_CONV_TO_Y; pass <= DBI_CONV_TO_WEIGHT; pass++)
        for (int c = 0; c < TILED; c++) {
            problem p;
            if (!open_problem(&p, false, pass, tiled_channels[c], tiled_sizes[1]))
                continue;
            fill_problem(&p);
            dbi_emulated_loads = dbi_emulated_conflicts = 0;
            run(&p, false, NULL);
            if (dbi_emulated_loads == 0 || dbi_emulated_conflicts)
                fail_msg("%s: %lld of %lld loads of matrices", p.name, (long long)dbi_emulated_conflicts,
                         (long long)dbi_emulated_loads);
            close_problem(&p);
        }
#else
    skip();
#endif
}

static void spread_agrees(void **state)
{
    (void)state;
    each_spread(check_pass);
}

/* ---- Moments: all chunks together give the outputs' number, mean and squares of differences from it, computed in
 * double ---- */

static void check_moments(problem *p)
{
    buffer *chunk[] = {&p->count, &p->chunk_shift, &p->chunk_sum, &p->chunk_squares};
    void *first[4];
    fill_problem(p);
    const dbi_conv_extra extra = {
        .moments = {p->count.device, p->chunk_shift.device, p->chunk_sum.device, p->chunk_squares.device}};
    dbi_bf16 *plain = result(p, false, NULL), *z = NULL;
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < 4; i++)
            poison(chunk[i]);
        free(z);
        z = result(p, false, &extra);
        for (int i = 0; i < 4; i++) {
            get(p, chunk[i]);
            if (again)
                assert_same(p, "moments once more", chunk[i]->host, first[i], chunk[i]->bytes);
            else
                first[i] = copy_of(chunk[i]->host, chunk[i]->bytes);
        }
        assert_same(p, "with and without moments", z, plain, p->operand[p->target].bytes);
    }
    double mean[MOST_CHANNELS] = {0}, squares[MOST_CHANNELS] = {0};
    for (int64_t i = 0; i < p->voxels * p->channels; i++)
        mean[i % p->channels] += dbi_bf16_to_float(z[i]) / (double)p->voxels;
    for (int64_t i = 0; i < p->voxels * p->channels; i++) {
        const double away = dbi_bf16_to_float(z[i]) - mean[i % p->channels];
        squares[i % p->channels] += away * away;
    }
    for (int c = 0; c < p->channels; c++) {
        double count = 0, sum = 0, all = 0;
        for (int64_t j = 0; j < p->blocks; j++) {
            const int64_t i = j * p->channels + c;
            const double n = floats(&p->count)[j], away = floats(&p->chunk_shift)[i] - mean[c];
            count += n;
            sum += floats(&p->chunk_sum)[i] + n * away;
            all += floats(&p->chunk_squares)[i] + away * (2 * floats(&p->chunk_sum)[i] + n * away);
        }
        const double deviation = sqrt(squares[c] / (double)p->voxels);
        if (count != (double)p->voxels)
            fail_msg("%s: %g values, not %g", p->name, count, (double)p->voxels);
        if (!(fabs(sum / count) <= 1e-5 * deviation + 1e-7 * fabs(mean[c])))
            fail_msg("%s: channel %d: the mean is %g off %g, deviation %g", p->name, c, sum / count, mean[c],
                     deviation);
        if (!(fabs(all - squares[c]) <= 1e-5 * squares[c] + 1e-12 * mean[c] * mean[c]))
            fail_msg("%s: channel %d: squares %g, not %g", p->name, c, all, squares[c]);
    }
    for (int i = 0; i < 4; i++)
        free(first[i]);
    free(plain);
    free(z);
}

static void tiled_takes_moments(void **state)
{
    (void)state;
    each_tiled(DBI_CONV_TO_Y, check_moments);
}

static void spread_takes_moments(void **state)
{
    (void)state;
    each_spread(check_moments);
}

/* ---- Normalization ---- */

static double activated(const problem *p, int c, double z)
{
    const double on = floats(&p->scale)[c] * (z - floats(&p->mean)[c]) + floats(&p->shift)[c];
    return on > 0 ? on : 0;
}

static dbi_conv_norm norm_of(const problem *p, bool skip)
{
    return (dbi_conv_norm){p->mean.device, p->scale.device, p->shift.device, skip ? p->skip.device : NULL};
}

static void check_normalized(problem *p)
{
    fill_problem(p);
    dbi_bf16 *z = result(p, false, NULL);
    for (int skip = 0; skip < 2; skip++) {
        const dbi_conv_extra extra = {.norm = norm_of(p, skip)};
        dbi_bf16 *got = result(p, false, &extra), *again = result(p, false, &extra);
        for (int64_t i = 0; i < p->voxels * p->channels; i++) {
            const double added = skip ? dbi_bf16_to_float(halves(&p->skip)[i]) : 0;
            const double want = activated(p, (int)(i % p->channels), dbi_bf16_to_float(z[i])) + added,
                         a = dbi_bf16_to_float(got[i]);
            if (!(fabs(a - want) <= 0x1p-8 * fabs(want) + 1e-5)) /* rounded once, and what single precision loses */
                fail_msg("%s, %s: element %lld: %g, not %g", p->name, skip ? "skip" : "no skip", (long long)i, a, want);
        }
        assert_same(p, "normalized once more", got, again, p->operand[p->target].bytes);
        free(got);
        free(again);
    }
    free(z);
}

static void tiled_normalizes(void **state)
{
    (void)state;
    each_tiled(DBI_CONV_TO_Y, check_normalized);
}

static void spread_normalizes(void **state)
{
    (void)state;
    each_spread(check_normalized);
}

/* ---- Heads: logits and distances instead of the activation ---- */

/* From z, the activation before its normalization, `channels` of which count. */
static void check_outputs(const problem *p, const dbi_bf16 *z, int classes, int channels)
{
    const int64_t voxels = p->voxels / p->sides.batch;
    for (int64_t i = 0; i < p->voxels * classes; i++) {
        const int64_t at = i % voxels, k = i / voxels % classes, n = i / voxels / classes;
        double seg = floats(&p->seg_bias)[k], sdf = floats(&p->sdf_bias)[k];
        for (int c = 0; c < channels; c++) {
            const double value = activated(p, c, dbi_bf16_to_float(z[(n * voxels + at) * p->channels + c]));
            seg += floats(&p->seg_weight)[k * channels + c] * value;
            sdf += floats(&p->sdf_weight)[k * channels + c] * value;
        }
        const double logit = floats(&p->logits)[i], distance = floats(&p->sdf)[i];
        if (!(fabs(logit - seg) <= 4e-5 * (1 + fabs(seg)) && fabs(distance - tanh(sdf)) <= 4e-5))
            fail_msg("%s, class %d of %d: output %lld: %g, %g, not %g, %g", p->name, (int)k, classes, (long long)i,
                     logit, distance, seg, tanh(sdf));
    }
}

static void check_heads(int classes, const int channels[2], const int64_t size[4], bool *some)
{
    problem p;
    if (!open_problem(&p, false, DBI_CONV_TO_Y, channels, size))
        return;
    if (!dbi_tiled_has_heads(&p.tiles)) {
        close_problem(&p);
        return;
    }
    const int there = p.channels - 3;
    buffer *weight[] = {&p.sdf_weight, &p.seg_weight}, *bias[] = {&p.sdf_bias, &p.seg_bias},
           *out[] = {&p.logits, &p.sdf}, *y = &p.operand[Y];
    for (int i = 0; i < 2; i++) {
        need(&p, weight[i], (size_t)(classes * there) * sizeof(float));
        need(&p, bias[i], (size_t)classes * sizeof(float));
        need(&p, out[i], (size_t)(classes * p.voxels) * sizeof(float));
    }
    fill_problem(&p);
    for (uint32_t i = 0; i < 2; i++) {
        draw(weight[i], false, 7 + 2 * i, 1, 0);
        draw(bias[i], false, 8 + 2 * i, 1, 0);
    }
    const dbi_conv_extra extra = {.norm = norm_of(&p, false),
                                  .heads = {p.sdf_weight.device, p.sdf_bias.device, p.seg_weight.device,
                                            p.seg_bias.device, p.logits.device, p.sdf.device, classes, there}};
    dbi_bf16 *z = result(&p, false, NULL);
    void *first[2];
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < 2; i++)
            poison(out[i]);
        run(&p, false, &extra);
        for (size_t i = 0; i < y->bytes; i++)
            if (((const unsigned char *)y->host)[i] != 0xff)
                fail_msg("%s: outputs, and byte %zu of the activation too", p.name, i);
        for (int i = 0; i < 2; i++) {
            get(&p, out[i]);
            if (again)
                assert_same(&p, "outputs once more", out[i]->host, first[i], out[i]->bytes);
            else
                first[i] = copy_of(out[i]->host, out[i]->bytes);
        }
    }
    check_outputs(&p, z, classes, there);
    free(first[0]);
    free(first[1]);
    free(z);
    close_problem(&p);
    *some = true;
}

static void tiled_makes_the_outputs(void **state)
{
    (void)state;
    for (int classes = 1; classes < 4; classes += 2) {
        bool some = false;
        for (int c = 0; c < TILED; c++)
            for (int s = 0; s < TILED_SIZES; s++)
                if (!left_out(c, s))
                    check_heads(classes, tiled_channels[c], tiled_sizes[s], &some);
        assert_true(some);
    }
}

/* ---- What there are kernels for ---- */

static bool has_tiled(dbi_conv_pass pass, const dbi_conv_sides *sides)
{
    dbi_tiled_plan plan;
    return dbi_tiled_make(&plan, pass, sides);
}

static bool has_spread(const dbi_conv_sides *sides)
{
    dbi_spread_plan plan;
    return dbi_spread_make(&plan, sides);
}

/* What a network of 16 channels needs; the widest ones where a block can have 227 KB of shared memory. */
static void enough_kernels(void **state)
{
    (void)state;
    static const int64_t size[] = {2, 40, 40, 40};
#ifdef DBI_ON_DEVICE
    int shared = 0;
    assert_int_equal(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), cudaSuccess);
#else
    const size_t shared = dbi_emulated_shared;
#endif
    const dbi_conv_sides first = sides_of(false, (int[]){8, 16}, size), same = sides_of(false, (int[]){16, 16}, size),
                         wide = sides_of(false, (int[]){32, 32}, size);
    assert_true(has_tiled(DBI_CONV_TO_Y, &first) && has_tiled(DBI_CONV_TO_WEIGHT, &first));
    for (dbi_conv_pass pass = DBI_CONV_TO_Y; pass <= DBI_CONV_TO_WEIGHT; pass++) {
        assert_true(has_tiled(pass, &same));
        assert_true(has_tiled(pass, &wide) || shared < 227 * 1024);
    }
    for (int c = 0; c < SPREAD; c++) {
        const dbi_conv_sides s = sides_of(true, spread_channels[c], size);
        assert_true(has_spread(&s));
    }
}

static void tiled_refuses(void **state)
{
    (void)state;
    const dbi_conv_sides good = sides_of(false, (int[]){16, 16}, (int64_t[]){2, 40, 33, 17});
    dbi_conv_sides bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].stride = 2;
    bad[1].edge = 2;
    bad[2].padding = 0;
    bad[3].x_channels = 24;
    bad[4].y_channels = 40;
    bad[5].batch = 0;
    bad[6] = sides_of(false, (int[]){16, 16}, (int64_t[]){1, 1 << 10, 1 << 10, 1 << 7}); /* 2^31 values */
    bad[7] = sides_of(false, (int[]){16, 16}, (int64_t[]){1 << 20, 1 << 20, 1 << 20, 1 << 20});
    for (dbi_conv_pass pass = DBI_CONV_TO_Y; pass <= DBI_CONV_TO_WEIGHT; pass++) {
        assert_true(has_tiled(pass, &good));
        for (int i = 0; i < 8; i++)
            if (has_tiled(pass, &bad[i]))
                fail_msg("pass %d: convolution %d is not refused", (int)pass, i);
    }
}

static void spread_refuses(void **state)
{
    (void)state;
    const dbi_conv_sides good = sides_of(true, (int[]){16, 32}, (int64_t[]){2, 20, 17, 9});
    dbi_conv_sides bad[9];
    for (int i = 0; i < 9; i++)
        bad[i] = good;
    bad[0].stride = 1;
    bad[1].edge = 3;
    bad[2].padding = 1;
    bad[3].x_channels = 24;
    bad[4].y_channels = 16;
    bad[5].batch = 0;
    bad[6].x_size[2]++; /* of an odd size: voxels that have none of y */
    bad[7] = sides_of(true, (int[]){16, 32}, (int64_t[]){1, 1 << 10, 1 << 10, 1 << 8}); /* 2^31 voxels of x */
    bad[8] = sides_of(true, (int[]){16, 32}, (int64_t[]){1 << 20, 1 << 20, 1 << 20, 1 << 20});
    assert_true(has_spread(&good));
    for (int i = 0; i < 9; i++)
        if (has_spread(&bad[i]))
            fail_msg("convolution %d is not refused", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiled_agrees),
        cmocka_unit_test(tiled_with_less_memory),
        cmocka_unit_test(tiled_meets_no_bank_twice),
        cmocka_unit_test(spread_agrees),
        cmocka_unit_test(tiled_takes_moments),
        cmocka_unit_test(spread_takes_moments),
        cmocka_unit_test(tiled_normalizes),
        cmocka_unit_test(spread_normalizes),
        cmocka_unit_test(tiled_makes_the_outputs),
        cmocka_unit_test(enough_kernels),
        cmocka_unit_test(tiled_refuses),
        cmocka_unit_test(spread_refuses),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
