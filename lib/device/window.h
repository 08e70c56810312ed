/* Sliding windows: where they lie along each axis and how much each counts. */
#ifndef DBI_DEVICE_WINDOW_H
#define DBI_DEVICE_WINDOW_H

#include <stdint.h>

#include "base/error.h"
#include "net/arch.h"

typedef enum dbi_window_weights {
    DBI_WEIGHTS_UNIFORM,
    DBI_WEIGHTS_GAUSSIAN /* centred on the window, sigma an eighth of its size along each axis, as nnU-Net weights its
                            windows */
} dbi_window_weights;

/* One axis. The scan's voxels are 0..extent-1. A window that is larger has the scan in its middle; an odd voxel of
 * padding goes behind the scan. Windows follow each other by the stride; the last one is moved back so that it ends
 * where the scan ends. */
typedef struct dbi_axis {
    int64_t extent, window, stride;
    int64_t before; /* voxels of padding before the scan's first */
    int64_t count;  /* number of windows */
    float *weight;  /* [count,window]; the weights of all windows that cover a voxel of the scan sum to 1 */
} dbi_axis;

/* The windows of a scan are all combinations of those of its axes, and the weight of a voxel is the product of its
 * weights along the axes. So the sum of the weights over all windows is 1 at every voxel, and no volume of weights is
 * needed. */
typedef struct dbi_windows {
    dbi_axis axis[3];
} dbi_windows;

/* Plans the windows. shape: of the scan, >= 1; window: multiples of DBI_NET_MULTIPLE; stride: from 1 to the window's
 * size. Free with dbi_windows_free. */
int dbi_windows_plan(const int64_t shape[3], const int64_t window[3], const int64_t stride[3],
                     dbi_window_weights weights, dbi_windows *windows, dbi_error *error);
void dbi_windows_free(dbi_windows *windows);

int64_t dbi_windows_count(const dbi_windows *windows);
/* The first voxel of window `index`, in the scan's voxels (negative in the padding), and the window's number along each
 * axis. Windows are counted with the last axis fastest. */
void dbi_windows_start(const dbi_windows *windows, int64_t index, int64_t place[3], int64_t start[3]);

/* A window, and the part of it that lies in the scan: offsets from..to-1 of each axis. */
typedef struct dbi_window_part {
    int64_t place[3], start[3], from[3], to[3]; /* place: its number along each axis */
} dbi_window_part;

/* The part of window `index` that lies in the scan. */
dbi_window_part dbi_windows_part(const dbi_windows *windows, int64_t index);

/* The smallest multiple of DBI_NET_MULTIPLE that is >= size. */
int64_t dbi_window_round(int64_t size);

#endif
