#include "net/arch.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CHANNELS = 256, MAX_FILTERS = 256 };

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

/* Appends a layer that reads the one before it; `at` is its place in the block's nn.Sequential, in steps of three:
 * convolution, normalization, ReLU. */
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
        snprintf(part, sizeof part, "conv.%d.%s", 3 * at + (i >= 2), names[i]);
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
        add_layer(layout, block, i, DBI_LAYER_CONV3, i ? out : in, out, level);
    return layout->layers - 1;
}

static int add_head(dbi_layout *layout, const char *block)
{
    int64_t shape[] = {layout->arch.classes, layout->arch.filters, 1, 1, 1};
    int index = add_tensor(layout, block, "weight", DBI_PARAMETER, 5, shape);
    add_tensor(layout, block, "bias", DBI_PARAMETER, 1, shape);
    return index;
}

int dbi_layout_make(const dbi_arch *arch, dbi_layout *layout, dbi_error *error)
{
    static const char *const down[] = {"block_one", "block_two", "block_three", "block_four"};
    static const char *const up[] = {"block_eight", "block_seven", "block_six",
                                     "block_five"}; /* by the level they lead to */
    static const char *const merged[] = {"block_nine", "block_eight", "block_seven", "block_six"};
    static const int depth[] = {1, 2, 3, 3};
    if (arch->channels < 1 || arch->channels > MAX_CHANNELS)
        return dbi_fail(error, "%d channels: from 1 to %d are possible", arch->channels, MAX_CHANNELS);
    if (arch->classes < 1 || arch->classes > DBI_MAX_CLASSES)
        return dbi_fail(error, "%d classes: from 1 to %d are possible", arch->classes, DBI_MAX_CLASSES);
    if (arch->filters < 1 || arch->filters > MAX_FILTERS)
        return dbi_fail(error, "%d filters: from 1 to %d are possible", arch->filters, MAX_FILTERS);
    if (arch->decoders < 0 || arch->decoders > 1)
        return dbi_fail(error, "%d decoders: 1 is possible", arch->decoders);
    if (dbi_norm_check(&arch->norm, arch->filters, error))
        return -1;
    memset(layout, 0, sizeof *layout);
    layout->arch = *arch;
    layout->arch.decoders = arch->decoders ? arch->decoders : 1;
    layout->layer_tensors = tensors_of_layer(&arch->norm);
    int f = arch->filters, skip[DBI_NET_LEVELS];
    char name[32];
    for (int level = 0; level < DBI_NET_LEVELS; level++) {
        int out = f << level;
        skip[level] = add_stage(layout, down[level], depth[level], level ? out : arch->channels, out, level);
        snprintf(name, sizeof name, "%s_dw", down[level]);
        add_layer(layout, name, 0, DBI_LAYER_DOWN, out, 2 * out, level + 1);
    }
    layout->layer[add_stage(layout, "block_five", 3, f << DBI_NET_LEVELS, f << DBI_NET_LEVELS, DBI_NET_LEVELS)]
        .dropout = true;
    for (int level = DBI_NET_LEVELS - 1; level >= 0; level--) {
        int out = f << level;
        snprintf(name, sizeof name, "%s_up", up[level]);
        add_layer(layout, name, 0, DBI_LAYER_UP, 2 * out, out, level)->skip = skip[level];
        add_stage(layout, merged[level], depth[level], out, out, level);
    }
    layout->layer[layout->layers - 1].dropout = true;
    layout->decoder[0].layer = layout->layers - 1;
    layout->decoder[0].sdf_head = add_head(layout, "out_conv");
    layout->decoder[0].seg_head = add_head(layout, "out_conv2");
    return 0;
}

int dbi_layer_in_level(const dbi_layer *layer)
{
    return layer->level + (layer->kind == DBI_LAYER_UP) - (layer->kind == DBI_LAYER_DOWN);
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
