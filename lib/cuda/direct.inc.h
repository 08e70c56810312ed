/* Included by direct.cu for each type of activations; T, E(name), LOAD(x) and STORE(f) as in vector.inc.h. */
#include "cuda/vector.inc.h"

typedef struct E(direct_arguments) {
    dbi_conv_sides at;
    T *x, *weight, *y;
} E(direct_arguments);

/* Thread: one voxel of y, 8 of its channels. */
DBI_HD void E(to_y)(const E(direct_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    const dbi_conv_sides *s = &a->at;
    const int64_t i = block * DBI_BLOCK + thread, groups = s->y_channels / DBI_GROUP;
    (void)phase;
    (void)shared;
    if (i >= s->batch * dbi_voxels(s->y_size) * groups)
        return;
    const int64_t voxel = dbi_divide(i, groups), o = (i - voxel * groups) * DBI_GROUP,
                  taps = (int64_t)s->edge * s->edge * s->edge;
    const dbi_voxel v = dbi_voxel_at(voxel, s->y_size);
    float sum[DBI_GROUP] = {0};
    for (int t = 0; t < taps; t++) {
        const int64_t from = dbi_tap_of_x(s, &v, t);
        if (from < 0)
            continue;
        const T *x = a->x + from * s->x_channels, *w = a->weight + (o * taps + t) * s->x_channels;
        for (int c = 0; c < s->x_channels; c++)
            for (int k = 0; k < DBI_GROUP; k++)
                sum[k] += LOAD(w[k * taps * s->x_channels + c]) * LOAD(x[c]);
    }
    E(store)(a->y + voxel * s->y_channels + o, sum);
}
DBI_KERNEL(E(to_y), E(direct_arguments), DBI_BLOCK, 1, dbi_nothing)

/* Thread: one voxel of x, 8 of its channels. */
DBI_HD void E(to_x)(const E(direct_arguments) * a, int64_t block, int thread, int phase, dbi_nothing *shared)
{
    const dbi_conv_sides *s = &a->at;
    const int64_t i = block * DBI_BLOCK + thread, groups = s->x_channels / DBI_GROUP;
    (void)phase;
    (void)shared;
    if (i >= s->batch * dbi_voxels(s->x_size) * groups)
        return;
    const int64_t voxel = dbi_divide(i, groups), c = (i - voxel * groups) * DBI_GROUP,
                  taps = (int64_t)s->edge * s->edge * s->edge;
    const dbi_voxel v = dbi_voxel_at(voxel, s->x_size);
    float sum[DBI_GROUP] = {0}, w[DBI_GROUP];
    for (int t = 0; t < taps; t++) {
        const int64_t from = dbi_tap_of_y(s, &v, t);
        for (int o = 0; from >= 0 && o < s->y_channels; o++) {
            const float y = LOAD(a->y[from * s->y_channels + o]);
            E(load)(a->weight + (o * taps + t) * s->x_channels + c, w);
            for (int k = 0; k < DBI_GROUP; k++)
                sum[k] += w[k] * y;
        }
    }
    E(store)(a->x + voxel * s->x_channels + c, sum);
}
DBI_KERNEL(E(to_x), E(direct_arguments), DBI_BLOCK, 1, dbi_nothing)

/* Block: one tap, one channel of y, 8 channels of x; its threads share the voxels. */
DBI_HD void E(to_weight)(const E(direct_arguments) * a, int64_t block, int thread, int phase, dbi_sums8 *shared)
{
    const dbi_conv_sides *s = &a->at;
    const int64_t groups = s->x_channels / DBI_GROUP, taps = (int64_t)s->edge * s->edge * s->edge;
    const int64_t row = dbi_divide(block, groups), c = (block - row * groups) * DBI_GROUP, o = dbi_divide(row, taps);
    const int t = (int)(row - o * taps);
    if (phase == 0) {
        const int64_t all = s->batch * dbi_voxels(s->y_size);
        float sum[DBI_GROUP] = {0}, x[DBI_GROUP];
        for (int64_t voxel = thread; voxel < all; voxel += DBI_BLOCK) {
            const dbi_voxel v = dbi_voxel_at(voxel, s->y_size);
            const int64_t from = dbi_tap_of_x(s, &v, t);
            if (from < 0)
                continue;
            const float y = LOAD(a->y[voxel * s->y_channels + o]);
            E(load)(a->x + from * s->x_channels + c, x);
            for (int k = 0; k < DBI_GROUP; k++)
                sum[k] += x[k] * y;
        }
        for (int k = 0; k < DBI_GROUP; k++)
            shared->value[k][thread] = sum[k];
    } else if (phase <= DBI_BLOCK_LOG) {
        dbi_halve(&shared->value[0][0], DBI_GROUP, phase, thread, 1);
    } else if (thread == 0) {
        float sum[DBI_GROUP];
        for (int k = 0; k < DBI_GROUP; k++)
            sum[k] = shared->value[k][0];
        E(store)(a->weight + row * s->x_channels + c, sum);
    }
}
DBI_KERNEL(E(to_weight), E(direct_arguments), DBI_BLOCK, DBI_BLOCK_LOG + 2, dbi_sums8)

static int E(run)(dbi_conv_pass pass, const dbi_conv_sides *s, dbi_stream stream, void *x, void *weight, void *y,
                  dbi_error *error)
{
    const int64_t taps = (int64_t)s->edge * s->edge * s->edge;
    E(direct_arguments) a;
    memset(&a, 0, sizeof a);
    a.at = *s;
    a.x = (T *)x;
    a.weight = (T *)weight;
    a.y = (T *)y;
    if (pass == DBI_CONV_TO_Y)
        return LAUNCH_OF(to_y)(
            stream, dbi_cuda_blocks(s->batch * dbi_voxels(s->y_size) * (s->y_channels / DBI_GROUP), DBI_BLOCK), &a,
            error);
    if (pass == DBI_CONV_TO_X)
        return LAUNCH_OF(to_x)(
            stream, dbi_cuda_blocks(s->batch * dbi_voxels(s->x_size) * (s->x_channels / DBI_GROUP), DBI_BLOCK), &a,
            error);
    return LAUNCH_OF(to_weight)(stream, s->y_channels * taps * (s->x_channels / DBI_GROUP), &a, error);
}
