#include "cuda/direct.h"

#include "cuda/common.h"

typedef struct dbi_sums8 {
    float value[DBI_GROUP][DBI_BLOCK];
} dbi_sums8;

/* Sample and position. */
typedef struct dbi_voxel {
    int64_t sample, at[3];
} dbi_voxel;

DBI_HD int64_t dbi_voxels(const int64_t size[3])
{
    return size[0] * size[1] * size[2];
}

DBI_HD dbi_voxel dbi_voxel_at(int64_t index, const int64_t size[3])
{
    dbi_voxel v;
    for (int d = 2; d >= 0; d--) {
        const int64_t rest = dbi_divide(index, size[d]);
        v.at[d] = index - rest * size[d];
        index = rest;
    }
    v.sample = index;
    return v;
}

DBI_HD void dbi_tap(const dbi_conv_sides *s, int t, int64_t offset[3])
{
    offset[0] = t / (s->edge * s->edge) - s->padding;
    offset[1] = t / s->edge % s->edge - s->padding;
    offset[2] = t % s->edge - s->padding;
}

/* The voxel of x that tap t joins to voxel v of y, -1 where it lies outside. */
DBI_HD int64_t dbi_tap_of_x(const dbi_conv_sides *s, const dbi_voxel *v, int t)
{
    int64_t offset[3], index = v->sample;
    dbi_tap(s, t, offset);
    for (int d = 0; d < 3; d++) {
        const int64_t at = s->stride * v->at[d] + offset[d];
        if (at < 0 || at >= s->x_size[d])
            return -1;
        index = index * s->x_size[d] + at;
    }
    return index;
}

/* The voxel of y that tap t joins to voxel v of x, -1 where there is none. */
DBI_HD int64_t dbi_tap_of_y(const dbi_conv_sides *s, const dbi_voxel *v, int t)
{
    int64_t offset[3], index = v->sample;
    dbi_tap(s, t, offset);
    for (int d = 0; d < 3; d++) {
        const int64_t at = v->at[d] - offset[d];
        if (at < 0 || at % s->stride || at / s->stride >= s->y_size[d])
            return -1;
        index = index * s->y_size[d] + at / s->stride;
    }
    return index;
}

#define T               float
#define E(name)         name##_float
#define LAUNCH_OF(name) name##_float_launch
#define LOAD(x)         (x)
#define STORE(f)        (f)
#include "cuda/direct.inc.h"
#undef T
#undef E
#undef LAUNCH_OF
#undef LOAD
#undef STORE
#define T               dbi_bf16
#define E(name)         name##_bf16
#define LAUNCH_OF(name) name##_bf16_launch
#define LOAD(x)         dbi_bf16_to_float(x)
#define STORE(f)        dbi_bf16_from_float(f)
#include "cuda/direct.inc.h"
#undef T
#undef E
#undef LAUNCH_OF
#undef LOAD
#undef STORE

dbi_conv_sides dbi_conv_sides_of(const dbi_conv_shape *shape)
{
    const bool up = shape->kind == DBI_LAYER_UP, conv3 = shape->kind == DBI_LAYER_CONV3;
    dbi_conv_sides s;
    memset(&s, 0, sizeof s);
    s.edge = conv3 ? 3 : 2;
    s.stride = conv3 ? 1 : 2;
    s.padding = conv3 ? 1 : 0;
    s.x_channels = up ? shape->out : shape->in;
    s.y_channels = up ? shape->in : shape->out;
    s.batch = shape->batch;
    for (int d = 0; d < 3; d++) {
        s.x_size[d] = up ? shape->out_size[d] : shape->in_size[d];
        s.y_size[d] = up ? shape->in_size[d] : shape->out_size[d];
    }
    return s;
}

int dbi_direct(dbi_conv_pass pass, bool bf16, const dbi_conv_sides *sides, dbi_stream stream, void *x, void *weight,
               void *y, dbi_error *error)
{
    return bf16 ? run_bf16(pass, sides, stream, x, weight, y, error)
                : run_float(pass, sides, stream, x, weight, y, error);
}
