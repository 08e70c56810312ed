#include "device/window.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

int64_t dbi_window_round(int64_t size)
{
    return (size + DBI_NET_MULTIPLE - 1) / DBI_NET_MULTIPLE * DBI_NET_MULTIPLE;
}

static int64_t axis_start(const dbi_axis *axis, int64_t place)
{
    int64_t padded = axis->extent > axis->window ? axis->extent : axis->window;
    int64_t start = place * axis->stride, last = padded - axis->window;
    return (start < last ? start : last) - axis->before;
}

/* The weight before normalization. With an eighth of the window as sigma the border is at four sigma, and the smallest
 * weight is about exp(-8) of the largest along an axis: never 0 in single precision. */
static double window_weight(dbi_window_weights weights, int64_t offset, int64_t size)
{
    if (weights == DBI_WEIGHTS_UNIFORM)
        return 1;
    double z = ((double)offset - 0.5 * (double)(size - 1)) / (0.125 * (double)size);
    return exp(-0.5 * z * z);
}

static int fill_weights(dbi_axis *axis, dbi_window_weights weights, dbi_error *error)
{
    axis->weight = dbi_alloc((size_t)axis->count * (size_t)axis->window, sizeof *axis->weight, error);
    double *sum = dbi_alloc((size_t)axis->extent, sizeof *sum, error);
    if (!axis->weight || !sum) {
        free(sum);
        return -1;
    }
    for (int64_t i = 0; i < axis->count; i++)
        for (int64_t o = 0, x = axis_start(axis, i); o < axis->window; o++, x++)
            if (x >= 0 && x < axis->extent)
                sum[x] += window_weight(weights, o, axis->window);
    for (int64_t i = 0; i < axis->count; i++)
        for (int64_t o = 0, x = axis_start(axis, i); o < axis->window; o++, x++)
            if (x >= 0 && x < axis->extent)
                axis->weight[i * axis->window + o] = (float)(window_weight(weights, o, axis->window) / sum[x]);
    free(sum);
    return 0;
}

static int plan_axis(dbi_axis *axis, dbi_window_weights weights, dbi_error *error)
{
    if (axis->extent < 1)
        return dbi_fail(error, "an axis of %" PRId64 " voxels", axis->extent);
    if (axis->window < 1 || axis->window % DBI_NET_MULTIPLE)
        return dbi_fail(error, "a window of %" PRId64 " voxels: must be a multiple of %d", axis->window,
                        DBI_NET_MULTIPLE);
    if (axis->stride < 1 || axis->stride > axis->window)
        return dbi_fail(error, "a stride of %" PRId64 ": must be from 1 to the window's %" PRId64 " voxels",
                        axis->stride, axis->window);
    int64_t beyond = axis->extent > axis->window ? axis->extent - axis->window : 0;
    axis->before = axis->window > axis->extent ? (axis->window - axis->extent) / 2 : 0;
    axis->count = (beyond + axis->stride - 1) / axis->stride + 1;
    return fill_weights(axis, weights, error);
}

int dbi_windows_plan(const int64_t shape[3], const int64_t window[3], const int64_t stride[3],
                     dbi_window_weights weights, dbi_windows *windows, dbi_error *error)
{
    *windows = (dbi_windows){0};
    for (int a = 0; a < 3; a++) {
        windows->axis[a] = (dbi_axis){.extent = shape[a], .window = window[a], .stride = stride[a]};
        if (plan_axis(&windows->axis[a], weights, error)) {
            dbi_windows_free(windows);
            return -1;
        }
    }
    return 0;
}

void dbi_windows_free(dbi_windows *windows)
{
    for (int a = 0; a < 3; a++) {
        free(windows->axis[a].weight);
        windows->axis[a].weight = NULL;
    }
}

int64_t dbi_windows_count(const dbi_windows *windows)
{
    return windows->axis[0].count * windows->axis[1].count * windows->axis[2].count;
}

void dbi_windows_start(const dbi_windows *windows, int64_t index, int64_t place[3], int64_t start[3])
{
    for (int a = 2; a >= 0; a--) {
        place[a] = index % windows->axis[a].count;
        index /= windows->axis[a].count;
        start[a] = axis_start(&windows->axis[a], place[a]);
    }
}

dbi_window_part dbi_windows_part(const dbi_windows *windows, int64_t index)
{
    dbi_window_part p;
    dbi_windows_start(windows, index, p.place, p.start);
    for (int a = 0; a < 3; a++) {
        const dbi_axis *axis = &windows->axis[a];
        int64_t end = axis->extent - p.start[a];
        p.from[a] = p.start[a] < 0 ? -p.start[a] : 0;
        p.to[a] = end < axis->window ? end : axis->window;
    }
    return p;
}
