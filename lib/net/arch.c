#include "net/arch.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CHANNELS = 256 };

static int add_tensor(dbi_layout *layout, const char *block, const char *part, dbi_tensor_role role, int ndim,
                      const int64_t *shape)
{
    dbi_named *tensor = &layout->tensor[layout->tensors];
    snprintf(tensor->name, sizeof tensor->name, "%s.%s", block, part);
    tensor->role = role;
    tensor->ndim = ndim;
    tensor->count = 1;
    for (int i = 0; i < ndim; i++) {
        tensor->shape[i] = shape[i];
        tensor->count *= (size_t)shape[i];
    }
    size_t *total = role == DBI_PARAMETER ? &layout->parameters : &layout->statistics;
    tensor->offset = *total;
    *total += tensor->count;
    return layout->tensors++;
}

static int tensors_of_layer(const dbi_normalization *norm)
{
    if (norm->kind == DBI_NORM_BATCH)
        return DBI_RUNNING_VARIANCE + 1;
    return norm->kind == DBI_NORM_INSTANCE ? DBI_CONV_BIAS + 1 : DBI_NORM_BETA + 1;
}

/* Appends a layer that reads the one before it; `at` is the convolution's place in the block's nn.Sequential, where
 * normalization and ReLU follow. */
static dbi_layer *add_layer(dbi_layout *layout, const char *block, int at, dbi_layer_kind kind, int in, int out,
                            int level)
{
    dbi_layer *layer = &layout->layer[layout->layers++];
    *layer = (dbi_layer){.kind = kind, .in = in, .out = out, .level = level, .input = layout->layers - 2, .skip = -1};
    layer->groups = dbi_norm_groups(&layout->arch.norm, out);
    char part[32];
    const char *names[] = {"weight", "bias", "weight", "bias", "running_mean", "running_var"};
    int64_t edge = kind == DBI_LAYER_CONV3 ? 3 : 2, channels[] = {out};
    int64_t kernel[] = {out, in, edge, edge, edge}, transposed[] = {in, out, edge, edge, edge};
    for (int i = 0; i < layout->layer_tensors; i++) {
        snprintf(part, sizeof part, "conv.%d.%s", at + (i >= 2), names[i]);
        int index = i ? add_tensor(layout, block, part, i < 4 ? DBI_PARAMETER : DBI_STATISTIC, 1, channels)
                      : add_tensor(layout, block, part, DBI_PARAMETER, 5, kind == DBI_LAYER_UP ? transposed : kernel);
        if (i == 0)
            layer->tensor = index;
    }
    return layer;
}

/* A stage of `depth` 3^3 layers; the index of the last one. */
static int add_stage(dbi_layout *layout, const char *block, int depth, int in, int out, int level)
{
    for (int i = 0; i < depth; i++)
        add_layer(layout, block, 3 * i, DBI_LAYER_CONV3, i ? out : in, out, level);
    return layout->layers - 1;
}

static dbi_layer *add_interpolation(dbi_layout *layout, int channels, int level)
{
    dbi_layer *layer = &layout->layer[layout->layers++];
    *layer = (dbi_layer){.kind = DBI_LAYER_INTERPOLATE,
                         .in = channels,
                         .out = channels,
                         .level = level,
                         .input = layout->layers - 2,
                         .skip = -1,
                         .tensor = -1};
    return layer;
}

static int add_head(dbi_layout *layout, const char *block)
{
    int64_t shape[] = {layout->arch.classes, layout->arch.filters, 1, 1, 1};
    int index = add_tensor(layout, block, "weight", DBI_PARAMETER, 5, shape);
    add_tensor(layout, block, "bias", DBI_PARAMETER, 1, shape);
    return index;
}

enum { NAME = 48 };

static const int depth[] = {1, 2, 3, 3}; /* layers of a stage, by level */

/* Returns the index of the deepest layer; skip: those whose outputs the decoders add. */
static int add_encoder(dbi_layout *layout, const char *prefix, int skip[DBI_NET_LEVELS])
{
    static const char *const stage[] = {"block_one", "block_two", "block_three", "block_four"};
    const int f = layout->arch.filters;
    char name[NAME];
    for (int level = 0; level < DBI_NET_LEVELS; level++) {
        const int out = f << level;
        snprintf(name, sizeof name, "%s%s", prefix, stage[level]);
        skip[level] = add_stage(layout, name, depth[level], level ? out : layout->arch.channels, out, level);
        snprintf(name, sizeof name, "%s%s_dw", prefix, stage[level]);
        add_layer(layout, name, 0, DBI_LAYER_DOWN, out, 2 * out, level + 1);
    }
    snprintf(name, sizeof name, "%sblock_five", prefix);
    const int deepest = add_stage(layout, name, 3, f << DBI_NET_LEVELS, f << DBI_NET_LEVELS, DBI_NET_LEVELS);
    layout->layer[deepest].dropout = true;
    return deepest;
}

/* The layer that leads to a level, from the layer `input`. */
static void add_way_up(dbi_layout *layout, const char *block, bool interpolated, int input, int skip, int level)
{
    const int out = layout->arch.filters << level;
    dbi_layer *first = interpolated ? add_interpolation(layout, 2 * out, level) : NULL;
    dbi_layer *layer =
        add_layer(layout, block, interpolated, interpolated ? DBI_LAYER_CONV3 : DBI_LAYER_UP, 2 * out, out, level);
    (first ? first : layer)->input = input;
    layer->skip = skip;
}

static void add_decoder(dbi_layout *layout, dbi_decoder *decoder, const char *prefix, bool interpolated, int deepest,
                        const int skip[DBI_NET_LEVELS])
{
    static const char *const up[] = {"block_eight", "block_seven", "block_six",
                                     "block_five"}; /* by the level they lead to */
    static const char *const merged[] = {"block_nine", "block_eight", "block_seven", "block_six"};
    char name[NAME];
    int last = deepest;
    for (int level = DBI_NET_LEVELS - 1; level >= 0; level--) {
        const int out = layout->arch.filters << level;
        snprintf(name, sizeof name, "%s%s_up", prefix, up[level]);
        add_way_up(layout, name, interpolated, last, skip[level], level);
        snprintf(name, sizeof name, "%s%s", prefix, merged[level]);
        last = add_stage(layout, name, depth[level], out, out, level);
    }
    layout->layer[last].dropout = true;
    decoder->layer = last;
    snprintf(name, sizeof name, "%sout_conv", prefix);
    decoder->sdf_head = add_head(layout, name);
    snprintf(name, sizeof name, "%sout_conv2", prefix);
    decoder->seg_head = add_head(layout, name);
}

static int check_arch(const dbi_arch *arch, dbi_error *error)
{
    if (arch->channels < 1 || arch->channels > MAX_CHANNELS)
        return dbi_fail(error, "%d channels: from 1 to %d are possible", arch->channels, MAX_CHANNELS);
    if (arch->classes < 1 || arch->classes > DBI_MAX_CLASSES)
        return dbi_fail(error, "%d classes: from 1 to %d are possible", arch->classes, DBI_MAX_CLASSES);
    if (arch->filters < 1 || arch->filters > DBI_MAX_FILTERS)
        return dbi_fail(error, "%d filters: from 1 to %d are possible", arch->filters, DBI_MAX_FILTERS);
    if (arch->decoders < 0 || arch->decoders > DBI_MAX_DECODERS)
        return dbi_fail(error, "%d decoders: 1 or %d are possible", arch->decoders, DBI_MAX_DECODERS);
    return dbi_norm_check(&arch->norm, arch->filters, error);
}

int dbi_layout_make(const dbi_arch *arch, dbi_layout *layout, dbi_error *error)
{
    int skip[DBI_NET_LEVELS];
    if (check_arch(arch, error))
        return -1;
    memset(layout, 0, sizeof *layout);
    layout->arch = *arch;
    layout->arch.decoders = arch->decoders ? arch->decoders : 1;
    layout->layer_tensors = tensors_of_layer(&arch->norm);
    const int decoders = layout->arch.decoders, deepest = add_encoder(layout, dbi_encoder_prefix(decoders), skip);
    for (int d = 0; d < decoders; d++)
        add_decoder(layout, &layout->decoder[d], dbi_decoder_prefix(decoders, d), d > 0, deepest, skip);
    return 0;
}

const char *dbi_encoder_prefix(int decoders)
{
    return decoders > 1 ? "encoder." : "";
}

const char *dbi_decoder_prefix(int decoders, int d)
{
    return decoders < 2 ? "" : d ? "decoder2." : "decoder1.";
}

int dbi_layer_in_level(const dbi_layer *layer)
{
    const bool up = layer->kind == DBI_LAYER_UP || layer->kind == DBI_LAYER_INTERPOLATE;
    return layer->level + up - (layer->kind == DBI_LAYER_DOWN);
}

int dbi_layout_widest(const dbi_layout *layout)
{
    int widest = 0;
    for (int l = 0; l < layout->layers; l++)
        widest = layout->layer[l].out > widest ? layout->layer[l].out : widest;
    return widest;
}

bool dbi_layout_has(const dbi_layout *layout, dbi_layer_tensor tensor)
{
    return (int)tensor < layout->layer_tensors;
}

size_t dbi_layout_offset(const dbi_layout *layout, int l, dbi_layer_tensor tensor)
{
    return layout->tensor[layout->layer[l].tensor + (int)tensor].offset;
}

int dbi_layout_heads(const dbi_layout *layout, int l)
{
    for (int d = 0; d < layout->arch.decoders; d++)
        if (layout->decoder[d].layer == l)
            return d;
    return -1;
}

int dbi_layout_reader(const dbi_layout *layout, int l, int after)
{
    for (int t = after + 1; t < layout->layers; t++)
        if (layout->layer[t].input == l)
            return t;
    return -1;
}

int dbi_layout_adder(const dbi_layout *layout, int l, int after)
{
    for (int t = after + 1; t < layout->layers; t++)
        if (layout->layer[t].skip == l)
            return t;
    return -1;
}

int dbi_layout_last_reader(const dbi_layout *layout, int l)
{
    int last = l;
    for (int t = l + 1; t < layout->layers; t++)
        if (layout->layer[t].input == l || layout->layer[t].skip == l)
            last = t;
    return last;
}
