/* The network on the device: the order of the passes is that of lib/cpu/net.real.c, and so is what each buffer holds.
 * Training keeps z (convolved) and a (normalized and what follows) of each layer; the gradient of z overwrites z, that
 * of a overwrites a. Without training, z becomes a in place, and buffers are used again after their last reader. What an
 * interpolation makes is z and a at once, always in one buffer. */
#include "cuda/net.h"

#include <assert.h>
#include <stdlib.h>

#include "cuda/common.h"
#include "cuda/conv.h"
#include "cuda/interpolation.h"
#include "net/norm_math.h"

#define T        float
#define E(name)  name##_float
#define LOAD(x)  (x)
#define STORE(f) DBI_STORED(f)
#include "cuda/element.inc.h"
#undef T
#undef E
#undef LOAD
#undef STORE
#define T        dbi_bf16
#define E(name)  name##_bf16
#define LOAD(x)  dbi_bf16_to_float(x)
#define STORE(f) dbi_bf16_from_float(f)
#include "cuda/element.inc.h"
#undef T
#undef E
#undef LOAD
#undef STORE

/* Chunks side by side in a block that adds their sums, of how many of them a thread loads at once, and what is left
 * after the first fold. */
enum { FINISH_ROWS = DBI_FINISH / DBI_GROUP, FINISH_ROUNDS = 5, FINISH_PARTS = 8 * DBI_GROUP };

/* ---- Per-channel numbers: one block for each group of channels, as they lie side by side, adds the chunks' sums in
 * double ---- */

DBI_HD void fold_both(dbi_finish_sums *shared, int thread, int to, int from)
{
    dbi_fold(shared->first, thread, to, from);
    dbi_fold(shared->second, thread, to, from);
}

/* From a batch's moments: mean, scale and shift. z is without the convolution's bias, which a batch's mean would take
 * out again: it only shows in the running mean. Or from a sample's: its channels' means and variances, for
 * group_statistics. */
typedef struct statistics_arguments {
    const float *chunk_shift, *chunk_sum,
        *chunk_squares;       /* [chunks,padded], any chunk's shift a finite number near its values */
    const float *chunk_count; /* [chunks]: values of a channel in each, 0 allowed; NULL: those of `at` */
    dbi_tiling at;
    int64_t chunks, count; /* count: values of a channel */
    int channels, padded;
    bool update;
    const float *bias, *gamma, *beta;
    float *running_mean, *running_variance;
    float *mean, *scale, *shift;
    double *inverse;                       /* 1 / deviation */
    double *sample_mean, *sample_variance; /* of a sample; NULL: of the batch, which goes to those above */
} statistics_arguments;

/* Channel c, whose values' sums, of z - centre and of its square, the block's threads have added. */
DBI_HD void put_statistics(const statistics_arguments *a, int64_t c, double sum, double squares)
{
    const double n = (double)a->count, away = sum / n, within = squares - sum * away;
    const double mean = (double)a->chunk_shift[c] + away, variance = within > 0 ? within / n : 0;
    const double inverse = dbi_norm_inverse(variance);
    if (a->sample_mean) {
        a->sample_mean[c] = a->bias ? mean + (double)a->bias[c] : mean;
        a->sample_variance[c] = variance;
        return;
    }
    a->inverse[c] = inverse;
    a->mean[c] = (float)mean;
    a->scale[c] = (float)((double)a->gamma[c] * inverse);
    a->shift[c] = a->beta[c];
    if (a->update) {
        a->running_mean[c] = (float)dbi_norm_running_mean((double)a->running_mean[c], mean + (double)a->bias[c]);
        a->running_variance[c] = (float)dbi_norm_running_variance((double)a->running_variance[c], variance, n);
    }
}

/* All chunks' sums are moved to one centre, the first chunk's shift: that is a value of the channel, or near them, and
 * what then still cancels in the variance is far above the last bits of a double. */
DBI_HD void statistics(const statistics_arguments *a, int64_t block, int thread, int phase, dbi_finish_sums *shared)
{
    const int64_t c = block * DBI_GROUP + thread % DBI_GROUP;
    if (phase == 0) {
        const double centre = (double)a->chunk_shift[c];
        double sum = 0, squares = 0;
        for (int64_t j = thread / DBI_GROUP; j < a->chunks; j += FINISH_ROUNDS * FINISH_ROWS) {
            float count[FINISH_ROUNDS], shift[FINISH_ROUNDS], sums[FINISH_ROUNDS], all[FINISH_ROUNDS];
            DBI_UNROLL
            for (int k = 0; k < FINISH_ROUNDS; k++) {
                const int64_t there = j + k * FINISH_ROWS < a->chunks ? j + k * FINISH_ROWS : j,
                              i = there * a->padded + c;
                count[k] = a->chunk_count ? a->chunk_count[there] : (float)dbi_tiling_count(&a->at, there);
                shift[k] = a->chunk_shift[i];
                sums[k] = a->chunk_sum[i];
                all[k] = a->chunk_squares[i];
            }
            DBI_UNROLL
            for (int k = 0; k < FINISH_ROUNDS; k++) {
                const double n = (double)count[k], away = (double)shift[k] - centre, of_chunk = (double)sums[k];
                if (j + k * FINISH_ROWS >= a->chunks)
                    continue;
                sum += of_chunk + n * away;
                squares += (double)all[k] + away * (2 * of_chunk + n * away);
            }
        }
        shared->first[thread] = sum;
        shared->second[thread] = squares;
    } else if (phase == 1) {
        fold_both(shared, thread, FINISH_PARTS, DBI_FINISH);
    } else if (thread < DBI_GROUP) {
        fold_both(shared, thread, DBI_GROUP, FINISH_PARTS);
        if (c < a->channels)
            put_statistics(a, c, shared->first[thread], shared->second[thread]);
    }
}
DBI_KERNEL(statistics, statistics_arguments, DBI_FINISH, 3, dbi_finish_sums)

/* By sample and group of channels: a thread for each channel of each sample. The means of a group's channels are with
 * their biases, the mean that is taken from z without. */
typedef struct group_statistics_arguments {
    const double *sample_mean, *sample_variance; /* [rows,padded], the means with biases where there are any */
    const float *bias;                           /* NULL where a group is one channel, which takes it out again */
    const float *gamma, *beta;                   /* NULL: none */
    int64_t rows;
    int channels, padded, width; /* width: of a group */
    float *mean, *scale, *shift; /* [rows,padded] */
    double *inverse, *away;      /* away: of each channel's mean from its group's */
} group_statistics_arguments;

DBI_HD void group_statistics(const group_statistics_arguments *a, int64_t block, int thread, int phase,
                             dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread, row = dbi_divide(i, a->channels);
    const int c = (int)(i - row * a->channels), first = c - c % a->width;
    if (row >= a->rows)
        return;
    const int64_t to = row * a->padded + c, from = row * a->padded + first;
    const dbi_norm_group g = dbi_norm_group_of(a->sample_mean + from, a->sample_variance + from, a->width);
    a->inverse[to] = g.inverse;
    a->away[to] = a->sample_mean[to] - g.mean;
    a->mean[to] = (float)(a->bias ? g.mean - (double)a->bias[c] : g.mean);
    a->scale[to] = (float)(a->gamma ? (double)a->gamma[c] * g.inverse : g.inverse);
    a->shift[to] = a->beta ? a->beta[c] : 0;
}
DBI_KERNEL(group_statistics, group_statistics_arguments, DBI_BLOCK, 1, dbi_nothing)

/* The same from the running statistics, for all layers at once: a block for each. */
typedef struct running_arguments {
    const float *parameters, *running;
    struct {
        int channels;
        int64_t bias, gamma, beta, mean, variance; /* offsets */
        float *to_mean, *to_scale, *to_shift;
        double *to_inverse;
    } layer[DBI_MAX_LAYERS];
} running_arguments;

DBI_HD void running(const running_arguments *a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    for (int c = thread; c < a->layer[block].channels; c += DBI_FINISH) {
        const double inverse = dbi_norm_inverse((double)a->running[a->layer[block].variance + c]);
        a->layer[block].to_inverse[c] = inverse;
        a->layer[block].to_mean[c] =
            (float)((double)a->running[a->layer[block].mean + c] - (double)a->parameters[a->layer[block].bias + c]);
        a->layer[block].to_scale[c] = (float)((double)a->parameters[a->layer[block].gamma + c] * inverse);
        a->layer[block].to_shift[c] = a->parameters[a->layer[block].beta + c];
    }
}
DBI_KERNEL(running, running_arguments, DBI_FINISH, 1, dbi_nothing)
static_assert(sizeof(running_arguments) <= 4 << 10, "a kernel's arguments: take fewer layers at once");

/* From the sums over dy: what net/norm_math.h makes of them; past the last channel the factors are 0. */
typedef struct factors_arguments {
    const float *chunk_sum, *chunk_dot; /* [chunks,padded] */
    int64_t chunks, count;
    int channels, padded;
    bool batch;
    const float *scale;
    const double *inverse;
    float *dbias, *dgamma, *dbeta;
    float *by_z, *constant;
    double *sample_sum, *sample_dot; /* of a sample, for group_factors; NULL: of the batch */
} factors_arguments;

DBI_HD void put_factors(const factors_arguments *a, int64_t c, double sum, double dot)
{
    if (a->sample_sum) {
        a->sample_sum[c] = sum;
        a->sample_dot[c] = dot;
        return;
    }
    const dbi_norm_gradient g =
        dbi_norm_gradient_of(a->batch, sum, dot, a->inverse[c], (double)a->scale[c], (double)a->count);
    a->dgamma[c] = (float)g.gamma;
    a->dbeta[c] = (float)g.beta;
    a->dbias[c] = (float)g.bias;
    a->by_z[c] = (float)g.by_z;
    a->constant[c] = (float)g.constant;
}

DBI_HD void factors(const factors_arguments *a, int64_t block, int thread, int phase, dbi_finish_sums *shared)
{
    const int64_t c = block * DBI_GROUP + thread % DBI_GROUP;
    if (phase == 0) {
        double sum = 0, dot = 0;
        for (int64_t j = thread / DBI_GROUP; j < a->chunks; j += FINISH_ROWS) {
            sum += (double)a->chunk_sum[j * a->padded + c];
            dot += (double)a->chunk_dot[j * a->padded + c];
        }
        shared->first[thread] = sum;
        shared->second[thread] = dot;
    } else if (phase == 1) {
        fold_both(shared, thread, FINISH_PARTS, DBI_FINISH);
    } else if (thread < DBI_GROUP) {
        fold_both(shared, thread, DBI_GROUP, FINISH_PARTS);
        if (c < a->channels)
            put_factors(a, c, shared->first[thread], shared->second[thread]);
        else if (!a->sample_sum)
            a->by_z[c] = a->constant[c] = 0;
    }
}
DBI_KERNEL(factors, factors_arguments, DBI_FINISH, 3, dbi_finish_sums)

/* By sample and group of channels: a thread for each channel, of all samples. */
typedef struct group_factors_arguments {
    const double *sample_sum, *sample_dot, *inverse, *away; /* [rows,padded] */
    const float *scale;
    int64_t rows, voxels; /* voxels: of a sample */
    int channels, padded, width;
    float *dbias, *dgamma, *dbeta; /* dgamma, dbeta NULL: none */
    float *by_z, *constant;        /* [rows,padded] */
} group_factors_arguments;

DBI_HD dbi_norm_group_gradient group_gradient(const group_factors_arguments *a, int64_t from)
{
    double sum = 0, dot = 0;
    for (int i = 0; i < a->width; i++) {
        sum += (double)a->scale[from + i] * a->sample_sum[from + i];
        dot += (double)a->scale[from + i] * a->sample_dot[from + i];
    }
    return dbi_norm_group_gradient_of(sum, dot, a->inverse[from], (double)a->voxels * a->width);
}

DBI_HD void group_factors(const group_factors_arguments *a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const int c = (int)block * DBI_BLOCK + thread, first = c - c % a->width;
    double bias = 0, gamma = 0, beta = 0;
    if (c >= a->padded)
        return;
    for (int64_t row = 0; row < a->rows; row++) {
        const int64_t at = row * a->padded + c;
        if (c >= a->channels) {
            a->by_z[at] = a->constant[at] = 0;
            continue;
        }
        const dbi_norm_group_gradient g = group_gradient(a, row * a->padded + first);
        a->by_z[at] = (float)g.by_z;
        a->constant[at] = (float)g.constant;
        bias += dbi_norm_group_bias((double)a->scale[at], a->sample_sum[at], g.by_z, g.constant, a->away[at],
                                    (double)a->voxels);
        gamma += a->sample_dot[at] * a->inverse[at];
        beta += a->sample_sum[at];
    }
    if (c >= a->channels)
        return;
    a->dbias[c] = a->width > 1 ? (float)bias : 0;
    if (a->dgamma) {
        a->dgamma[c] = (float)gamma;
        a->dbeta[c] = (float)beta;
    }
}
DBI_KERNEL(group_factors, group_factors_arguments, DBI_BLOCK, 1, dbi_nothing)

/* The heads' gradients: block (channels + 1) output + c, the last one of each output for the bias. */
typedef struct head_finish_arguments {
    const float *weight, *bias; /* [2 classes,chunks,padded], [2 classes,chunks] */
    int64_t chunks;
    int channels, padded, classes;
    float *sdf_weight, *sdf_bias, *seg_weight, *seg_bias;
} head_finish_arguments;

DBI_HD void head_finish(const head_finish_arguments *a, int64_t block, int thread, int phase, dbi_finish_sums *shared)
{
    const int64_t output = dbi_divide(block, a->channels + 1), c = block - output * (a->channels + 1);
    if (phase == 0) {
        double sum = 0;
        for (int64_t j = thread; j < a->chunks; j += DBI_FINISH)
            sum += (double)(c < a->channels ? a->weight[(output * a->chunks + j) * a->padded + c]
                                            : a->bias[output * a->chunks + j]);
        shared->first[thread] = sum;
    } else if (phase == 1) {
        dbi_fold(shared->first, thread, FINISH_PARTS, DBI_FINISH);
    } else if (thread == 0) {
        dbi_fold(shared->first, thread, 1, FINISH_PARTS);
        const bool seg = output >= a->classes;
        const int64_t k = seg ? output - a->classes : output;
        float *weight = seg ? a->seg_weight : a->sdf_weight, *bias = seg ? a->seg_bias : a->sdf_bias;
        if (c < a->channels)
            weight[k * a->channels + c] = (float)shared->first[0];
        else
            bias[k] = (float)shared->first[0];
    }
}
DBI_KERNEL(head_finish, head_finish_arguments, DBI_FINISH, 3, dbi_finish_sums)

/* ---- Whole-channel dropout: draw_dropout of net.real.c; channel c of sample n takes numbers 2 (n C + c) and the next
 * ---- */

typedef struct drop_arguments {
    const dbi_cuda_parameters *parameters;
    float *drop; /* [batch,padded] */
    int64_t batch;
    int channels, padded;
    uint32_t role, passes, index, layer;
    double probability;
} drop_arguments;

DBI_HD void drop(const drop_arguments *a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    (void)phase;
    (void)shared;
    const int64_t i = block * DBI_BLOCK + thread;
    if (i >= a->batch * a->channels)
        return;
    const int64_t n = dbi_divide(i, a->channels), c = i - n * a->channels;
    const int at = (int)(2 * i % 4);
    uint32_t number[4];
    dbi_random_block(a->parameters->seed, a->role, a->parameters->step * a->passes + a->index, a->layer,
                     (uint32_t)(2 * i / 4), number);
    a->drop[n * a->padded + c] =
        dbi_uniform_of(number[at], number[at + 1]) < a->probability ? 0 : (float)(1 / (1 - a->probability));
}
DBI_KERNEL(drop, drop_arguments, DBI_BLOCK, 1, dbi_nothing)

/* ---- The net ---- */

struct dbi_cuda_net {
    const dbi_layout *layout;
    int64_t batch, size[3];
    int64_t rows; /* of each normalization: dbi_norm_rows */
    bool training, bf16;
    dbi_convs *convs;
    int conv[DBI_MAX_LAYERS]; /* a layer's place in convs and table, which have convolutions alone */
    dbi_pack_table table;
    dbi_tiling tiling[DBI_MAX_LAYERS]; /* of a row */
    unsigned char *activations;        /* what z and a point into */
    size_t z_at[DBI_MAX_LAYERS], a_at[DBI_MAX_LAYERS];
    void *input, *packed, *dpacked, *workspace;
    float *mean[DBI_MAX_LAYERS], *scale[DBI_MAX_LAYERS], *shift[DBI_MAX_LAYERS], *drop[DBI_MAX_LAYERS];
    double *inverse[DBI_MAX_LAYERS], *away[DBI_MAX_LAYERS]; /* away: group_statistics */
    double *sample[2]; /* two numbers of each channel and sample of the layer at hand; NULL for normalization by the
                          batch */
    float *by_z, *constant, *count, *partial[3], *head_weight, *head_bias; /* count, partial: of chunks */
    /* Of the last forward pass with keep. */
    bool kept, dropout;
    dbi_statistics_mode statistics;
};

static int64_t voxels_at(const dbi_cuda_net *net, int level)
{
    return (net->size[0] >> level) * (net->size[1] >> level) * (net->size[2] >> level);
}

static size_t element_size(const dbi_cuda_net *net)
{
    return net->bf16 ? sizeof(dbi_bf16) : sizeof(float);
}

static size_t activation_bytes(const dbi_cuda_net *net, int layer)
{
    const dbi_layer *l = &net->layout->layer[layer];
    const size_t bytes =
        (size_t)(net->batch * voxels_at(net, l->level)) * (size_t)dbi_padded(l->out) * element_size(net);
    return (bytes + 255) / 256 * 256;
}

/* Without training: gives each layer, in their order, the lowest place where nothing lies that is still read. */
static size_t place_activations(dbi_cuda_net *net)
{
    const dbi_layout *layout = net->layout;
    size_t all = 0;
    for (int l = 0; l < layout->layers; l++) {
        const size_t bytes = activation_bytes(net, l);
        size_t at = 0;
        for (int j = 0; j < l; j++) {
            const bool read = dbi_layout_last_reader(layout, j) >= l;
            if (read && at < net->z_at[j] + activation_bytes(net, j) && net->z_at[j] < at + bytes) {
                at = net->z_at[j] + activation_bytes(net, j);
                j = -1; /* the new place may hit an earlier one */
            }
        }
        net->z_at[l] = net->a_at[l] = at;
        all = at + bytes > all ? at + bytes : all;
    }
    return all;
}

static bool interpolates(const dbi_cuda_net *net, int l)
{
    return net->layout->layer[l].kind == DBI_LAYER_INTERPOLATE;
}

static size_t place_all(dbi_cuda_net *net)
{
    size_t all = 0;
    for (int l = 0; l < net->layout->layers; l++) {
        const size_t bytes = activation_bytes(net, l);
        const bool both = !interpolates(net, l) && dbi_layout_heads(net->layout, l) < 0;
        net->z_at[l] = all;
        net->a_at[l] = both ? all + bytes : all; /* not used where the heads read it */
        all += both ? 2 * bytes : bytes;
    }
    return all;
}

static_assert((int)DBI_MAX_LAYERS <= (int)DBI_PACK_LAYERS, "each layer may be a convolution");

/* Which layers are convolutions. */
static void count_convs(dbi_cuda_net *net)
{
    int convs = 0;
    for (int l = 0; l < net->layout->layers; l++)
        net->conv[l] = interpolates(net, l) ? -1 : convs++;
    net->table.layers = convs;
}

static void make_table(dbi_cuda_net *net)
{
    dbi_pack_table *t = &net->table;
    t->count = t->blocks = 0;
    for (int l = 0; l < net->layout->layers; l++) {
        const dbi_layer *layer = &net->layout->layer[l];
        const int i = net->conv[l];
        const bool up = layer->kind == DBI_LAYER_UP;
        if (i < 0)
            continue;
        t->layer[i].flat = (int64_t)net->layout->tensor[layer->tensor].offset;
        t->layer[i].packed = t->count;
        t->layer[i].a = up ? layer->in : layer->out;
        t->layer[i].b = up ? layer->out : layer->in;
        t->layer[i].taps = layer->kind == DBI_LAYER_CONV3 ? 27 : 8;
        t->layer[i].block = t->blocks;
        t->blocks += dbi_pack_blocks(t->layer[i].a, t->layer[i].b);
        t->count += (int64_t)dbi_padded(t->layer[i].a) * dbi_padded(t->layer[i].b) * t->layer[i].taps;
    }
}

static int open_convs(dbi_cuda_net *net, const dbi_device *device, size_t *workspace, dbi_error *error)
{
    dbi_conv_shape shapes[DBI_MAX_LAYERS];
    for (int l = 0; l < net->layout->layers; l++) {
        const dbi_layer *layer = &net->layout->layer[l];
        const int in_level = dbi_layer_in_level(layer);
        if (net->conv[l] < 0)
            continue;
        dbi_conv_shape *shape = &shapes[net->conv[l]];
        shape->kind = layer->kind;
        shape->in = dbi_padded(layer->in);
        shape->out = dbi_padded(layer->out);
        shape->batch = net->batch;
        for (int d = 0; d < 3; d++) {
            shape->in_size[d] = net->size[d] >> in_level;
            shape->out_size[d] = net->size[d] >> layer->level;
        }
    }
    net->convs = dbi_convs_open(device, net->table.layers, shapes, net->training, workspace, error);
    return net->convs ? 0 : -1;
}

static int need_memory(dbi_cuda_net *net, dbi_arena *arena, size_t workspace, dbi_error *error)
{
    const dbi_layout *layout = net->layout;
    const int widest = dbi_padded(dbi_layout_widest(layout)), last = layout->decoder[0].layer;
    const size_t size = element_size(net),
                 image = (size_t)(net->batch * voxels_at(net, 0)) * (size_t)dbi_padded(layout->arch.channels);
    const size_t outputs = 2 * (size_t)layout->arch.classes, rows = (size_t)net->rows,
                 head_chunks = rows * (size_t)net->tiling[last].chunks;
    size_t partial = 0, counts = 0;
    for (int l = 0; l < layout->layers; l++) {
        const dbi_layer *layer = &layout->layer[l];
        if (interpolates(net, l))
            continue;
        const size_t channels = (size_t)dbi_padded(layer->out),
                     of_conv = (size_t)dbi_convs_chunks(net->convs, net->conv[l]);
        const size_t chunks = of_conv > (size_t)net->tiling[l].chunks ? of_conv : (size_t)net->tiling[l].chunks;
        partial = partial < channels * chunks ? channels * chunks : partial;
        counts = counts < of_conv ? of_conv : counts;
        if (dbi_arena_need(arena, &net->mean[l], rows * channels * sizeof(float), error) ||
            dbi_arena_need(arena, &net->scale[l], rows * channels * sizeof(float), error) ||
            dbi_arena_need(arena, &net->shift[l], rows * channels * sizeof(float), error) ||
            dbi_arena_need(arena, &net->inverse[l], rows * channels * sizeof(double), error) ||
            (layer->groups && dbi_arena_need(arena, &net->away[l], rows * channels * sizeof(double), error)) ||
            (layer->dropout &&
             dbi_arena_need(arena, &net->drop[l], (size_t)net->batch * channels * sizeof(float), error)))
            return -1;
    }
    for (int i = 0; i < 3; i++)
        if (dbi_arena_need(arena, &net->partial[i], partial * sizeof(float), error))
            return -1;
    if (dbi_arena_need(arena, &net->count, counts * sizeof(float), error))
        return -1;
    for (int i = 0; layout->layer[0].groups && i < 2; i++)
        if (dbi_arena_need(arena, &net->sample[i], rows * (size_t)widest * sizeof(double), error))
            return -1;
    if (net->training &&
        (dbi_arena_need(arena, &net->dpacked, (size_t)net->table.count * size, error) ||
         dbi_arena_need(arena, &net->by_z, rows * (size_t)widest * sizeof(float), error) ||
         dbi_arena_need(arena, &net->constant, rows * (size_t)widest * sizeof(float), error) ||
         dbi_arena_need(arena, &net->head_weight,
                        outputs * head_chunks * (size_t)dbi_padded(layout->arch.filters) * sizeof(float), error) ||
         dbi_arena_need(arena, &net->head_bias, outputs * head_chunks * sizeof(float), error)))
        return -1;
    return dbi_arena_need(arena, &net->activations, net->training ? place_all(net) : place_activations(net), error) ||
                   dbi_arena_need(arena, &net->input, image * size, error) ||
                   dbi_arena_need(arena, &net->packed, (size_t)net->table.count * size, error) ||
                   dbi_arena_need(arena, &net->workspace, workspace, error)
               ? -1
               : 0;
}

dbi_cuda_net *dbi_cuda_net_new(const dbi_device *device, const dbi_net_shape *shape, dbi_arena *arena, dbi_error *error)
{
    const dbi_layout *layout = shape->layout;
    size_t workspace = 0;
    dbi_cuda_net *net = (dbi_cuda_net *)calloc(1, sizeof *net);
    if (!net) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    net->layout = layout;
    net->batch = shape->batch;
    memcpy(net->size, shape->size, sizeof net->size);
    net->training = shape->training;
    net->bf16 = device->precision == DBI_PRECISION_BF16;
    net->rows = dbi_norm_rows(shape);
    for (int l = 0; l < layout->layers; l++)
        net->tiling[l] =
            dbi_tiling_make(shape->batch / net->rows * voxels_at(net, layout->layer[l].level), layout->layer[l].out);
    count_convs(net);
    make_table(net);
    if (open_convs(net, device, &workspace, error) || need_memory(net, arena, workspace, error)) {
        dbi_cuda_net_free(net);
        return NULL;
    }
    return net;
}

void dbi_cuda_net_free(dbi_cuda_net *net)
{
    if (!net)
        return;
    dbi_convs_close(net->convs);
    free(net);
}

static void *z_of(const dbi_cuda_net *net, int l)
{
    return net->activations + net->z_at[l];
}

static void *a_of(const dbi_cuda_net *net, int l)
{
    return net->activations + net->a_at[l];
}

static int64_t values_of(const dbi_cuda_net *net, int l)
{
    return net->batch * voxels_at(net, net->layout->layer[l].level) * dbi_padded(net->layout->layer[l].out);
}

/* Elements of layer l's activations before a row of the normalization. */
static int64_t row_at(const dbi_cuda_net *net, int l, int64_t row)
{
    return row * net->tiling[l].voxels * dbi_padded(net->layout->layer[l].out);
}

static void *packed_of(const dbi_cuda_net *net, void *array, int l)
{
    return (unsigned char *)array + (size_t)net->table.layer[net->conv[l]].packed * element_size(net);
}

/* What layer l convolves: another layer's activations, or the image. */
static const void *input_of(const dbi_cuda_net *net, int l)
{
    const int input = net->layout->layer[l].input;
    return input < 0 ? (const void *)net->input : a_of(net, input);
}

/* STATUS = the launch of the kernel for the net's type of activations, `element`, with the fields that the statements
 * set in `a`. */
#define LAUNCH(STATUS, KERNEL, ARGUMENTS, BLOCKS, ...)                                                                 \
    do {                                                                                                               \
        if (net->bf16) {                                                                                               \
            typedef dbi_bf16 element __attribute__((unused));                                                          \
            ARGUMENTS##_bf16 a;                                                                                        \
            memset(&a, 0, sizeof a);                                                                                   \
            __VA_ARGS__                                                                                                \
            STATUS = KERNEL##_bf16_launch(stream, (BLOCKS), &a, error);                                                \
        } else {                                                                                                       \
            typedef float element __attribute__((unused));                                                             \
            ARGUMENTS##_float a;                                                                                       \
            memset(&a, 0, sizeof a);                                                                                   \
            __VA_ARGS__                                                                                                \
            STATUS = KERNEL##_float_launch(stream, (BLOCKS), &a, error);                                               \
        }                                                                                                              \
    } while (0)

int dbi_cuda_net_weights(dbi_cuda_net *net, dbi_stream stream, const float *parameters, dbi_error *error)
{
    int status;
    LAUNCH(status, pack, pack_arguments, net->table.blocks, a.table = net->table; a.parameters = parameters;
           a.packed = (element *)net->packed;);
    return status;
}

static int unpack_gradient(dbi_cuda_net *net, dbi_stream stream, float *gradient, dbi_error *error)
{
    int status;
    LAUNCH(status, unpack, unpack_arguments, net->table.blocks, a.table = net->table;
           a.packed = (const element *)net->dpacked; a.gradient = gradient;);
    return status;
}

static int take_image(dbi_cuda_net *net, dbi_stream stream, const float *image, dbi_error *error)
{
    int status;
    const int64_t voxels = voxels_at(net, 0), all = net->batch * voxels;
    LAUNCH(status, image, image_arguments, dbi_cuda_blocks(all, DBI_BLOCK), a.image = image;
           a.out = (element *)net->input; a.voxels = voxels; a.all = all; a.channels = net->layout->arch.channels;
           a.padded = dbi_padded(net->layout->arch.channels););
    return status;
}

static int take_moments(dbi_cuda_net *net, dbi_stream stream, int l, int64_t row, dbi_error *error)
{
    int status;
    LAUNCH(status, moments, moments_arguments, dbi_tiling_blocks(&net->tiling[l]), a.at = net->tiling[l];
           a.z = (const element *)z_of(net, l) + row_at(net, l, row); a.shift = net->partial[0];
           a.sum = net->partial[1]; a.squares = net->partial[2];);
    return status;
}

/* The moments of a row, and what the sums over its chunks are added from; chunks: of the moments that the convolution
 * took, 0: it took none. */
static int statistics_of(dbi_cuda_net *net, dbi_stream stream, int l, int64_t row, int64_t chunks,
                         statistics_arguments *a, dbi_error *error)
{
    memset(a, 0, sizeof *a);
    a->chunk_count = chunks ? net->count : NULL;
    a->chunk_shift = net->partial[0];
    a->chunk_sum = net->partial[1];
    a->chunk_squares = net->partial[2];
    a->chunks = chunks ? chunks : net->tiling[l].chunks;
    a->at = net->tiling[l];
    a->count = net->tiling[l].voxels;
    a->channels = net->layout->layer[l].out;
    a->padded = dbi_padded(a->channels);
    return chunks ? 0 : take_moments(net, stream, l, row, error);
}

/* Mean, scale and shift of the layer's normalization from its batch. */
static int batch_statistics(dbi_cuda_net *net, dbi_stream stream, int l, int64_t chunks, const float *parameters,
                            float *running, bool update, dbi_error *error)
{
    const dbi_layout *layout = net->layout;
    statistics_arguments a;
    if (statistics_of(net, stream, l, 0, chunks, &a, error))
        return -1;
    a.update = update;
    a.bias = parameters + dbi_layout_offset(layout, l, DBI_CONV_BIAS);
    a.gamma = parameters + dbi_layout_offset(layout, l, DBI_NORM_GAMMA);
    a.beta = parameters + dbi_layout_offset(layout, l, DBI_NORM_BETA);
    a.running_mean = running + dbi_layout_offset(layout, l, DBI_RUNNING_MEAN);
    a.running_variance = running + dbi_layout_offset(layout, l, DBI_RUNNING_VARIANCE);
    a.mean = net->mean[l];
    a.scale = net->scale[l];
    a.shift = net->shift[l];
    a.inverse = net->inverse[l];
    return statistics_launch(stream, a.padded / DBI_GROUP, &a, error);
}

/* A layer's tensor, NULL where it has none. */
static const float *tensor_of(const dbi_layout *layout, int l, dbi_layer_tensor tensor, const float *parameters)
{
    return dbi_layout_has(layout, tensor) ? parameters + dbi_layout_offset(layout, l, tensor) : NULL;
}

/* The same by sample and group. The sums of one sample after another pass through the same memory. */
static int sample_statistics(dbi_cuda_net *net, dbi_stream stream, int l, const float *parameters, dbi_error *error)
{
    const dbi_layout *layout = net->layout;
    const dbi_layer *layer = &layout->layer[l];
    group_statistics_arguments g;
    memset(&g, 0, sizeof g);
    g.width = layer->out / layer->groups;
    g.bias = g.width > 1 ? tensor_of(layout, l, DBI_CONV_BIAS, parameters) : NULL;
    for (int64_t row = 0; row < net->rows; row++) {
        statistics_arguments a;
        if (statistics_of(net, stream, l, row, 0, &a, error))
            return -1;
        a.bias = g.bias;
        a.sample_mean = net->sample[0] + row * a.padded;
        a.sample_variance = net->sample[1] + row * a.padded;
        if (statistics_launch(stream, a.padded / DBI_GROUP, &a, error))
            return -1;
    }
    g.sample_mean = net->sample[0];
    g.sample_variance = net->sample[1];
    g.gamma = tensor_of(layout, l, DBI_NORM_GAMMA, parameters);
    g.beta = tensor_of(layout, l, DBI_NORM_BETA, parameters);
    g.rows = net->rows;
    g.channels = layer->out;
    g.padded = dbi_padded(layer->out);
    g.mean = net->mean[l];
    g.scale = net->scale[l];
    g.shift = net->shift[l];
    g.inverse = net->inverse[l];
    g.away = net->away[l];
    return group_statistics_launch(stream, dbi_cuda_blocks(g.rows * g.channels, DBI_BLOCK), &g, error);
}

/* The same of all layers from the running statistics. */
static int running_statistics(dbi_cuda_net *net, dbi_stream stream, const float *parameters, const float *running,
                              dbi_error *error)
{
    const dbi_layout *layout = net->layout;
    running_arguments a;
    memset(&a, 0, sizeof a);
    a.parameters = parameters;
    a.running = running;
    for (int l = 0; l < layout->layers; l++) {
        if (interpolates(net, l))
            continue; /* no channels: its block does nothing */
        a.layer[l].channels = layout->layer[l].out;
        a.layer[l].bias = (int64_t)dbi_layout_offset(layout, l, DBI_CONV_BIAS);
        a.layer[l].gamma = (int64_t)dbi_layout_offset(layout, l, DBI_NORM_GAMMA);
        a.layer[l].beta = (int64_t)dbi_layout_offset(layout, l, DBI_NORM_BETA);
        a.layer[l].mean = (int64_t)dbi_layout_offset(layout, l, DBI_RUNNING_MEAN);
        a.layer[l].variance = (int64_t)dbi_layout_offset(layout, l, DBI_RUNNING_VARIANCE);
        a.layer[l].to_mean = net->mean[l];
        a.layer[l].to_scale = net->scale[l];
        a.layer[l].to_shift = net->shift[l];
        a.layer[l].to_inverse = net->inverse[l];
    }
    return running_launch(stream, layout->layers, &a, error);
}

static int draw_dropout(dbi_cuda_net *net, dbi_stream stream, int l, const dbi_cuda_pass *pass, dbi_error *error)
{
    drop_arguments a;
    memset(&a, 0, sizeof a);
    a.parameters = pass->parameters;
    a.drop = net->drop[l];
    a.batch = net->batch;
    a.channels = net->layout->layer[l].out;
    a.padded = dbi_padded(a.channels);
    a.role = (uint32_t)pass->role;
    a.passes = pass->passes;
    a.index = pass->index;
    a.layer = (uint32_t)l;
    a.probability = pass->dropout;
    return drop_launch(stream, dbi_cuda_blocks(a.batch * a.channels, DBI_BLOCK), &a, error);
}

/* Of a row: the batch, or a sample. */
static dbi_norm_cuda norm_of(const dbi_cuda_net *net, int l, int64_t row, bool dropout)
{
    const int64_t from = row * dbi_padded(net->layout->layer[l].out);
    dbi_norm_cuda norm;
    norm.mean = net->mean[l] + from;
    norm.scale = net->scale[l] + from;
    norm.shift = net->shift[l] + from;
    norm.drop = dropout && net->layout->layer[l].dropout ? net->drop[l] + from : NULL;
    return norm;
}

/* Values of an output before a row of a decoder. */
static int64_t outputs_at(const dbi_cuda_net *net, int decoder, int64_t row)
{
    return (decoder * net->rows + row) * net->tiling[net->layout->decoder[decoder].layer].voxels *
           net->layout->arch.classes;
}

static dbi_heads_cuda heads_of(const dbi_layout *layout, int decoder, const float *parameters)
{
    const dbi_decoder *end = &layout->decoder[decoder];
    dbi_heads_cuda h;
    memset(&h, 0, sizeof h);
    h.sdf_weight = parameters + layout->tensor[end->sdf_head].offset;
    h.sdf_bias = parameters + layout->tensor[end->sdf_head + 1].offset;
    h.seg_weight = parameters + layout->tensor[end->seg_head].offset;
    h.seg_bias = parameters + layout->tensor[end->seg_head + 1].offset;
    h.classes = layout->arch.classes;
    h.channels = layout->arch.filters;
    return h;
}

#define NORMALIZE_FIELDS                                                                                               \
    a.at = net->tiling[l];                                                                                             \
    a.norm = norm_of(net, l, row, dropout);                                                                            \
    a.z = (const element *)z_of(net, l) + row_at(net, l, row);                                                         \
    a.a = (element *)a_of(net, l) + row_at(net, l, row);                                                               \
    a.voxels = voxels_at(net, net->layout->layer[l].level);

static int normalize(dbi_cuda_net *net, dbi_stream stream, int l, bool dropout, dbi_error *error)
{
    int status = 0;
    const int64_t blocks = dbi_tiling_run_blocks(&net->tiling[l]);
    const int skip = net->layout->layer[l].skip;
    for (int64_t row = net->rows - 1; row >= 0 && !status; row--)
        if (skip < 0)
            LAUNCH(status, normalize, normalize_arguments, blocks, NORMALIZE_FIELDS);
        else
            LAUNCH(status, normalize_skip, normalize_arguments, blocks,
                   NORMALIZE_FIELDS a.skip = (const element *)a_of(net, skip) + row_at(net, l, row););
    return status;
}

static int heads(dbi_cuda_net *net, dbi_stream stream, int decoder, const float *parameters, bool dropout,
                 float *logits, float *sdf, dbi_error *error)
{
    int status = 0;
    const int last = net->layout->decoder[decoder].layer;
    const int64_t all = net->tiling[last].voxels;
    for (int64_t row = 0; row < net->rows && !status; row++)
        LAUNCH(status, heads, heads_arguments, dbi_cuda_blocks(all, DBI_BLOCK),
               a.norm = norm_of(net, last, row, dropout);
               a.heads = heads_of(net->layout, decoder, parameters);
               a.z = (const element *)z_of(net, last) + row_at(net, last, row);
               a.logits = logits + outputs_at(net, decoder, row); a.sdf = sdf + outputs_at(net, decoder, row);
               a.all = all; a.voxels = voxels_at(net, 0););
    return status;
}

static dbi_interpolation_shape interpolation_of(const dbi_cuda_net *net, int l)
{
    dbi_interpolation_shape shape;
    shape.batch = net->batch;
    shape.channels = dbi_padded(net->layout->layer[l].out);
    for (int d = 0; d < 3; d++)
        shape.size[d] = net->size[d] >> dbi_layer_in_level(&net->layout->layer[l]);
    return shape;
}

static int interpolate(dbi_cuda_net *net, dbi_stream stream, int l, dbi_error *error)
{
    const dbi_interpolation_shape shape = interpolation_of(net, l);
    return dbi_interpolate(net->bf16, &shape, stream, input_of(net, l), a_of(net, l), error);
}

/* One layer that is a convolution: normalization, dropout, sum; that of a decoder's last one is in the heads. */
static int conv_forward(dbi_cuda_net *net, dbi_stream stream, int l, const float *parameters, float *running,
                        const dbi_cuda_pass *pass, float *logits, float *sdf, dbi_error *error)
{
    const dbi_layer *layer = &net->layout->layer[l];
    const bool own = dbi_norm_own(net->layout, pass->statistics), dropout = pass->dropout > 0 && layer->dropout;
    const int conv = net->conv[l], decoder = dbi_layout_heads(net->layout, l);
    const bool last = decoder >= 0;
    /* A chunk of the convolution's moments may reach from one sample into the next. A sample by itself does without,
     * too: its last bits are not to depend on how many are beside it. */
    const int64_t chunks = layer->groups ? 0 : dbi_convs_chunks(net->convs, conv);
    /* Where z itself is not needed later, the convolution's kernel normalizes, adds the skip and gives the heads'
     * outputs too. */
    const bool at_once = chunks && !own && !dropout && !pass->keep && (!last || dbi_convs_has_heads(net->convs, conv));
    const dbi_norm_cuda norm = norm_of(net, l, 0, false);
    dbi_conv_extra extra;
    memset(&extra, 0, sizeof extra);
    if (at_once) {
        extra.norm.mean = norm.mean;
        extra.norm.scale = norm.scale;
        extra.norm.shift = norm.shift;
        extra.norm.skip = layer->skip < 0 ? NULL : a_of(net, layer->skip);
    } else if (chunks && own) {
        extra.moments.count = net->count;
        extra.moments.shift = net->partial[0];
        extra.moments.sum = net->partial[1];
        extra.moments.squares = net->partial[2];
    }
    if (at_once && last) {
        const dbi_heads_cuda h = heads_of(net->layout, decoder, parameters);
        extra.heads.sdf_weight = h.sdf_weight;
        extra.heads.sdf_bias = h.sdf_bias;
        extra.heads.seg_weight = h.seg_weight;
        extra.heads.seg_bias = h.seg_bias;
        extra.heads.logits = logits + outputs_at(net, decoder, 0);
        extra.heads.sdf = sdf + outputs_at(net, decoder, 0);
        extra.heads.classes = h.classes;
        extra.heads.channels = h.channels;
    }
    if (dbi_convs_forward(net->convs, stream, conv, input_of(net, l), packed_of(net, net->packed, l),
                          at_once ? a_of(net, l) : z_of(net, l), chunks ? &extra : NULL, net->workspace, error))
        return -1;
    if (at_once)
        return 0;
    return (own && (layer->groups ? sample_statistics(net, stream, l, parameters, error)
                                  : batch_statistics(net, stream, l, chunks, parameters, running, pass->update_running,
                                                     error))) ||
                   (dropout && draw_dropout(net, stream, l, pass, error)) ||
                   (last ? heads(net, stream, decoder, parameters, pass->dropout > 0, logits, sdf, error)
                         : normalize(net, stream, l, pass->dropout > 0, error))
               ? -1
               : 0;
}

int dbi_cuda_net_forward(dbi_cuda_net *net, dbi_stream stream, const float *parameters, float *running,
                         const dbi_cuda_pass *pass, const float *image, float *logits, float *sdf, dbi_error *error)
{
    net->kept = false;
    if (take_image(net, stream, image, error) ||
        (!dbi_norm_own(net->layout, pass->statistics) && running_statistics(net, stream, parameters, running, error)))
        return -1;
    for (int l = 0; l < net->layout->layers; l++)
        if (interpolates(net, l) ? interpolate(net, stream, l, error)
                                 : conv_forward(net, stream, l, parameters, running, pass, logits, sdf, error))
            return -1;
    net->kept = pass->keep;
    net->statistics = pass->statistics;
    net->dropout = pass->dropout > 0;
    return 0;
}

/* Where the gradient of layer l's activation comes from: the layers that read it, or the heads of a decoder. */
typedef struct source {
    const void *da, *da_skip; /* da NULL: the heads */
    int decoder;
    dbi_heads_cuda heads;
} source;

/* The heads as a row sees them. */
static dbi_heads_cuda row_of_heads(const dbi_cuda_net *net, const source *from, int64_t row)
{
    const int64_t at = outputs_at(net, from->decoder, row);
    dbi_heads_cuda h = from->heads;
    h.sdf += at;
    h.dlogits += at;
    h.dsdf += at;
    return h;
}

/* What both kernels take. */
#define GRADIENT_FIELDS                                                                                                \
    a.at = net->tiling[l];                                                                                             \
    a.norm = norm_of(net, l, row, net->dropout);                                                                       \
    a.da = from->da ? (const element *)from->da + row_at(net, l, row) : NULL;                                          \
    a.da_skip = from->da_skip ? (const element *)from->da_skip + row_at(net, l, row) : NULL;                           \
    a.z = (element *)z_of(net, l) + row_at(net, l, row);                                                               \
    a.voxels = voxels_at(net, net->layout->layer[l].level);

static int gradient_sums(dbi_cuda_net *net, dbi_stream stream, int l, int64_t row, const source *from, dbi_error *error)
{
    int status;
    const int64_t blocks = dbi_tiling_blocks(&net->tiling[l]);
    if (from->da)
        LAUNCH(status, sums, gradient_arguments, blocks, GRADIENT_FIELDS a.sum = net->partial[0];
               a.dot = net->partial[1];);
    else
        LAUNCH(status, head_sums, gradient_arguments, blocks, GRADIENT_FIELDS a.heads = row_of_heads(net, from, row);
               a.sum = net->partial[0]; a.dot = net->partial[1];);
    return status;
}

static int gradient_of_z(dbi_cuda_net *net, dbi_stream stream, int l, const source *from, dbi_error *error)
{
    int status = 0;
    const int64_t blocks = dbi_tiling_run_blocks(&net->tiling[l]), padded = dbi_padded(net->layout->layer[l].out);
    for (int64_t row = net->rows - 1; row >= 0 && !status; row--) {
        const float *by_z = net->by_z + row * padded, *constant = net->constant + row * padded;
        if (from->da)
            LAUNCH(status, gradient, gradient_arguments, blocks, GRADIENT_FIELDS a.by_z = by_z; a.constant = constant;);
        else
            LAUNCH(status, head_gradient, gradient_arguments, blocks,
                   GRADIENT_FIELDS a.heads = row_of_heads(net, from, row);
                   a.by_z = by_z; a.constant = constant;);
    }
    return status;
}

static int head_weight_sums(dbi_cuda_net *net, dbi_stream stream, const source *from, dbi_error *error)
{
    int status = 0;
    const int last = net->layout->decoder[from->decoder].layer;
    const dbi_tiling *at = &net->tiling[last];
    for (int64_t row = 0; row < net->rows && !status; row++)
        LAUNCH(status, head_weights, head_weights_arguments, (int64_t)from->heads.classes * dbi_tiling_blocks(at),
               a.at = *at;
               a.norm = norm_of(net, last, row, net->dropout); a.heads = row_of_heads(net, from, row);
               a.z = (const element *)z_of(net, last) + row_at(net, last, row); a.voxels = voxels_at(net, 0);
               a.first = row * at->chunks; a.chunks = net->rows * at->chunks; a.weight = net->head_weight;
               a.bias = net->head_bias;);
    return status;
}

static int head_gradients(dbi_cuda_net *net, dbi_stream stream, const source *from, float *gradient, dbi_error *error)
{
    const dbi_layout *layout = net->layout;
    const dbi_decoder *end = &layout->decoder[from->decoder];
    head_finish_arguments a;
    memset(&a, 0, sizeof a);
    if (head_weight_sums(net, stream, from, error))
        return -1;
    a.weight = net->head_weight;
    a.bias = net->head_bias;
    a.chunks = net->rows * net->tiling[end->layer].chunks;
    a.channels = from->heads.channels;
    a.padded = dbi_padded(a.channels);
    a.classes = from->heads.classes;
    a.sdf_weight = gradient + layout->tensor[end->sdf_head].offset;
    a.sdf_bias = gradient + layout->tensor[end->sdf_head + 1].offset;
    a.seg_weight = gradient + layout->tensor[end->seg_head].offset;
    a.seg_bias = gradient + layout->tensor[end->seg_head + 1].offset;
    return head_finish_launch(stream, 2 * (int64_t)a.classes * (a.channels + 1), &a, error);
}

/* What the sums over a row's chunks are added from. */
static factors_arguments factors_of(const dbi_cuda_net *net, int l)
{
    factors_arguments a;
    memset(&a, 0, sizeof a);
    a.chunk_sum = net->partial[0];
    a.chunk_dot = net->partial[1];
    a.chunks = net->tiling[l].chunks;
    a.count = net->tiling[l].voxels;
    a.channels = net->layout->layer[l].out;
    a.padded = dbi_padded(a.channels);
    return a;
}

/* Sums over dy, and what the gradient of z is made of. */
static int batch_gradient(dbi_cuda_net *net, dbi_stream stream, int l, const source *from, float *gradient,
                          dbi_error *error)
{
    const dbi_layout *layout = net->layout;
    factors_arguments a = factors_of(net, l);
    if (gradient_sums(net, stream, l, 0, from, error))
        return -1;
    a.batch = net->statistics == DBI_BATCH_STATISTICS;
    a.scale = net->scale[l];
    a.inverse = net->inverse[l];
    a.dbias = gradient + dbi_layout_offset(layout, l, DBI_CONV_BIAS);
    a.dgamma = gradient + dbi_layout_offset(layout, l, DBI_NORM_GAMMA);
    a.dbeta = gradient + dbi_layout_offset(layout, l, DBI_NORM_BETA);
    a.by_z = net->by_z;
    a.constant = net->constant;
    return factors_launch(stream, a.padded / DBI_GROUP, &a, error);
}

/* The same by sample and group. */
static int sample_gradient(dbi_cuda_net *net, dbi_stream stream, int l, const source *from, float *gradient,
                           dbi_error *error)
{
    const dbi_layout *layout = net->layout;
    const dbi_layer *layer = &layout->layer[l];
    const bool affine = dbi_layout_has(layout, DBI_NORM_GAMMA);
    group_factors_arguments g;
    for (int64_t row = 0; row < net->rows; row++) {
        factors_arguments a = factors_of(net, l);
        a.sample_sum = net->sample[0] + row * a.padded;
        a.sample_dot = net->sample[1] + row * a.padded;
        if (gradient_sums(net, stream, l, row, from, error) || factors_launch(stream, a.padded / DBI_GROUP, &a, error))
            return -1;
    }
    memset(&g, 0, sizeof g);
    g.sample_sum = net->sample[0];
    g.sample_dot = net->sample[1];
    g.inverse = net->inverse[l];
    g.away = net->away[l];
    g.scale = net->scale[l];
    g.rows = net->rows;
    g.voxels = net->tiling[l].voxels;
    g.channels = layer->out;
    g.padded = dbi_padded(layer->out);
    g.width = layer->out / layer->groups;
    g.dbias = gradient + dbi_layout_offset(layout, l, DBI_CONV_BIAS);
    g.dgamma = affine ? gradient + dbi_layout_offset(layout, l, DBI_NORM_GAMMA) : NULL;
    g.dbeta = affine ? gradient + dbi_layout_offset(layout, l, DBI_NORM_BETA) : NULL;
    g.by_z = net->by_z;
    g.constant = net->constant;
    return group_factors_launch(stream, dbi_cuda_blocks(g.padded, DBI_BLOCK), &g, error);
}

/* a of layer l becomes its gradient, or gets reader r's share of it added; z of r is its gradient. Of several readers of a
 * layer all but the first are interpolations, so that no convolution has to add. */
static int data_gradient(dbi_cuda_net *net, dbi_stream stream, int l, int r, bool add, dbi_error *error)
{
    if (interpolates(net, r)) {
        const dbi_interpolation_shape shape = interpolation_of(net, r);
        return dbi_interpolate_gradient(net->bf16, &shape, stream, z_of(net, r), a_of(net, l), add, error);
    }
    if (add)
        return dbi_fail(error, "the gradient of a convolution cannot be added");
    return dbi_convs_data(net->convs, stream, net->conv[r], z_of(net, r), packed_of(net, net->packed, r), a_of(net, l),
                          net->workspace, error);
}

static int gather_gradient(dbi_cuda_net *net, dbi_stream stream, int l, dbi_error *error)
{
    const int first = dbi_layout_reader(net->layout, l, l);
    int status = 0;
    for (int r = first; r >= 0 && !status; r = dbi_layout_reader(net->layout, l, r))
        status = data_gradient(net, stream, l, r, r != first, error);
    return status;
}

/* The gradient of what layer l gives as a skip, NULL where nothing adds it: that of the layers that add it, summed up in
 * the first one's, which is used no more. */
static int skip_gradient(dbi_cuda_net *net, dbi_stream stream, int l, const void **da_skip, dbi_error *error)
{
    int status = 0;
    const int first = dbi_layout_adder(net->layout, l, l);
    const int64_t groups = values_of(net, l) / DBI_GROUP;
    *da_skip = first < 0 ? NULL : a_of(net, first);
    for (int t = first; t >= 0 && !status && (t = dbi_layout_adder(net->layout, l, t)) >= 0;)
        LAUNCH(status, sum, sum_arguments, dbi_cuda_blocks(groups, DBI_BLOCK), a.to = (element *)a_of(net, first);
               a.term = (const element *)a_of(net, t); a.groups = groups;);
    return status;
}

/* z of layer l becomes its gradient, and so do its tensors. */
static int conv_backward(dbi_cuda_net *net, dbi_stream stream, int l, const source *from, float *gradient,
                         dbi_error *error)
{
    return (net->layout->layer[l].groups ? sample_gradient : batch_gradient)(net, stream, l, from, gradient, error) ||
                   gradient_of_z(net, stream, l, from, error) ||
                   dbi_convs_weight(net->convs, stream, net->conv[l], input_of(net, l), z_of(net, l),
                                    packed_of(net, net->dpacked, l), net->workspace, error)
               ? -1
               : 0;
}

int dbi_cuda_net_backward(dbi_cuda_net *net, dbi_stream stream, const float *parameters, const float *sdf,
                          const float *dlogits, const float *dsdf, float *gradient, dbi_error *error)
{
    if (!net->kept)
        return dbi_fail(error, "a backward pass without a forward pass that was kept");
    net->kept = false;
    for (int l = net->layout->layers - 1; l >= 0; l--) {
        source from;
        memset(&from, 0, sizeof from);
        from.decoder = dbi_layout_heads(net->layout, l);
        if (from.decoder >= 0) {
            from.heads = heads_of(net->layout, from.decoder, parameters);
            from.heads.sdf = sdf;
            from.heads.dlogits = dlogits;
            from.heads.dsdf = dsdf;
            if (head_gradients(net, stream, &from, gradient, error))
                return -1;
        } else if (gather_gradient(net, stream, l, error)) {
            return -1;
        } else if (interpolates(net, l)) {
            continue;
        } else {
            from.da = a_of(net, l);
        }
        if (skip_gradient(net, stream, l, &from.da_skip, error) ||
            conv_backward(net, stream, l, &from, gradient, error))
            return -1;
    }
    return unpack_gradient(net, stream, gradient, error);
}
