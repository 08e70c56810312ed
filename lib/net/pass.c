#include "net/pass.h"

#include "base/memory.h"

int dbi_net_size_check(const int64_t size[3], dbi_error *error)
{
    for (int d = 0; d < 3; d++)
        if (size[d] < DBI_NET_MULTIPLE || size[d] % DBI_NET_MULTIPLE)
            return dbi_fail(error, "size %lldx%lldx%lld: the network takes multiples of %d", (long long)size[0],
                            (long long)size[1], (long long)size[2], DBI_NET_MULTIPLE);
    return 0;
}

int dbi_net_shape_check(const dbi_net_shape *shape, dbi_error *error)
{
    /* The widest array has a few channels more than there are, for whole vectors, and values of at most 8 bytes. */
    const int64_t channels = dbi_layout_widest(shape->layout) + 16, classes = shape->layout->arch.classes;
    const int64_t widest = channels > classes ? channels : classes;
    const int64_t dims[] = {shape->batch, shape->size[0], shape->size[1], shape->size[2], 16 * widest};
    int64_t count;
    if (shape->batch < 1)
        return dbi_fail(error, "a batch of %lld samples", (long long)shape->batch);
    if (dbi_net_size_check(shape->size, error))
        return -1;
    return dbi_count(dims, 5, &count) && count < INT64_MAX / DBI_MAX_LAYERS
               ? 0
               : dbi_fail(error, "a size beyond this machine");
}

int64_t dbi_layer_values(const dbi_net_shape *shape, int l)
{
    const int level = shape->layout->layer[l].level;
    return shape->batch * (shape->size[0] >> level) * (shape->size[1] >> level) * (shape->size[2] >> level);
}

int64_t dbi_norm_rows(const dbi_net_shape *shape)
{
    return shape->layout->arch.norm.kind == DBI_NORM_BATCH ? 1 : shape->batch;
}

bool dbi_norm_own(const dbi_layout *layout, dbi_statistics_mode statistics)
{
    return layout->arch.norm.kind != DBI_NORM_BATCH || statistics == DBI_BATCH_STATISTICS;
}

/* One value has no deviation. */
static int check_values(const dbi_net_shape *shape, const dbi_pass *pass, dbi_error *error)
{
    for (int l = 0; dbi_norm_own(shape->layout, pass->statistics) && l < shape->layout->layers; l++) {
        const dbi_layer *layer = &shape->layout->layer[l];
        if (!layer->groups && dbi_layer_values(shape, l) < 2)
            return dbi_fail(
                error,
                "a batch's statistics need more than one value per channel: take a larger patch or more samples");
        if (layer->groups && dbi_layer_values(shape, l) / shape->batch * (layer->out / layer->groups) < 2)
            return dbi_fail(
                error, "a sample's own statistics need more than one value per channel: take a larger patch or window");
    }
    return 0;
}

int dbi_pass_check(const dbi_net_shape *shape, const dbi_pass *pass, dbi_error *error)
{
    if (pass->keep && !shape->training)
        return dbi_fail(error, "a net that was not opened for training cannot keep a pass");
    if (!(pass->dropout >= 0 && pass->dropout < 1))
        return dbi_fail(error, "dropout %g is not in [0, 1)", pass->dropout);
    return check_values(shape, pass, error);
}
