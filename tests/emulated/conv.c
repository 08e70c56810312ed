/* Convolutions in plain loops: an own way, so that direct.cu can be judged by it. */
#include <stdlib.h>

#include "base/memory.h"
#include "emulated.h"

static float *widen(bool bf16, const void *from, size_t count, bool read, dbi_error *error)
{
    float *to = dbi_alloc(count, sizeof *to, error);
    for (size_t i = 0; to && read && i < count; i++)
        to[i] = bf16 ? dbi_bf16_to_float(((const dbi_bf16 *)from)[i]) : ((const float *)from)[i];
    return to;
}

static void narrow(bool bf16, const float *from, size_t count, void *to)
{
    for (size_t i = 0; i < count; i++)
        if (bf16)
            ((dbi_bf16 *)to)[i] = dbi_bf16_from_float(from[i]);
        else
            ((float *)to)[i] = DBI_STORED(from[i]);
}

/* One voxel of each side and the tap that joins them. */
static void join(dbi_conv_pass pass, const dbi_conv_sides *s, float *x, float *weight, float *y)
{
    const int channels = s->x_channels, taps = s->edge * s->edge * s->edge;
    for (int o = 0; o < s->y_channels; o++) {
        float *w = weight + (int64_t)o * taps * channels, sum = 0;
        if (pass == DBI_CONV_TO_Y) {
            for (int c = 0; c < channels; c++)
                sum += w[c] * x[c];
            y[o] += sum;
        } else if (pass == DBI_CONV_TO_X) {
            for (int c = 0; c < channels; c++)
                x[c] += w[c] * y[o];
        } else {
            for (int c = 0; c < channels; c++)
                w[c] += x[c] * y[o];
        }
    }
}

static void visit(dbi_conv_pass pass, const dbi_conv_sides *s, float *x, float *weight, float *y)
{
    const int64_t *xs = s->x_size, *ys = s->y_size;
    int tap = 0;
    for (int i = 0; i < s->edge; i++)
        for (int j = 0; j < s->edge; j++)
            for (int k = 0; k < s->edge; k++, tap++)
                for (int64_t n = 0; n < s->batch; n++)
                    for (int64_t a = 0; a < ys[0]; a++)
                        for (int64_t b = 0; b < ys[1]; b++)
                            for (int64_t c = 0; c < ys[2]; c++) {
                                const int64_t u = a * s->stride + i - s->padding, v = b * s->stride + j - s->padding,
                                              w = c * s->stride + k - s->padding;
                                if (u >= 0 && u < xs[0] && v >= 0 && v < xs[1] && w >= 0 && w < xs[2])
                                    join(pass, s, x + (((n * xs[0] + u) * xs[1] + v) * xs[2] + w) * s->x_channels,
                                         weight + tap * s->x_channels,
                                         y + (((n * ys[0] + a) * ys[1] + b) * ys[2] + c) * s->y_channels);
                            }
}

int dbi_emulated_conv(dbi_conv_pass pass, bool bf16, const dbi_conv_sides *s, void *x, void *weight, void *y,
                      dbi_error *error)
{
    const size_t counts[] = {(size_t)(s->batch * s->y_size[0] * s->y_size[1] * s->y_size[2] * s->y_channels),
                             (size_t)(s->batch * s->x_size[0] * s->x_size[1] * s->x_size[2] * s->x_channels),
                             (size_t)s->x_channels * (size_t)s->y_channels * (size_t)(s->edge * s->edge * s->edge)};
    void *const arrays[] = {y, x, weight}; /* in the order of the passes that write them */
    float *wide[3];
    for (int i = 0; i < 3; i++)
        wide[i] = widen(bf16, arrays[i], counts[i], i != (int)pass, error);
    const bool good = wide[0] && wide[1] && wide[2];
    if (good) {
        visit(pass, s, wide[1], wide[2], wide[0]);
        narrow(bf16, wide[pass], counts[pass], arrays[pass]);
    }
    for (int i = 0; i < 3; i++)
        free(wide[i]);
    return good ? 0 : -1;
}
