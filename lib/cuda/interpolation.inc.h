/* Included by interpolation.cu for each type of activations; T, E(name), LOAD(x) and STORE(f) as in vector.inc.h. */
#include "cuda/vector.inc.h"

typedef struct E(interpolate_arguments) {
    tiles tiles;
    int n[3]; /* size of the input */
    const T *in;
    T *out;
} E(interpolate_arguments);

DBI_HD void E(interpolate_item)(const E(interpolate_arguments) * a, const place *p, const item *i, const pairs *shared)
{
    const int padded = a->tiles.groups * DBI_GROUP;
    const pair *x = &shared->entry[0], *y = &shared->entry[1 + i->line],
               *z = &shared->entry[1 + a->tiles.lines + i->place];
    const T *in = a->in + (int64_t)p->sample * a->n[0] * a->n[1] * a->n[2] * padded + i->group * DBI_GROUP;
    E(eight) raw[8];
    DBI_UNROLL
    for (int k = 0; k < 8; k++)
        raw[k] =
            E(take)(in + (((int64_t)x->at[k >> 2] * a->n[1] + y->at[k >> 1 & 1]) * a->n[2] + z->at[k & 1]) * padded);
    float sum[DBI_GROUP] = {0}, of[DBI_GROUP];
    DBI_UNROLL
    for (int k = 0; k < 8; k++) {
        const float share = x->share[k >> 2] * y->share[k >> 1 & 1] * z->share[k & 1];
        E(spread)(&raw[k], of);
        for (int c = 0; c < DBI_GROUP; c++)
            sum[c] += share * of[c];
    }
    E(store)
    (a->out + ((p->plane * a->tiles.size[1] + p->y + i->line) * a->tiles.size[2] + p->z + i->place) * padded +
         i->group * DBI_GROUP,
     sum);
}

DBI_HD void E(interpolate)(const E(interpolate_arguments) * a, int64_t block, int thread, int phase, pairs *shared)
{
    const place p = place_of(&a->tiles, block);
    if (phase == 0) {
        int axis, at;
        if (entry_of(&a->tiles, &p, thread, &axis, &at))
            shared->entry[thread] = pair_of(at, a->n[axis]);
        return;
    }
    for (int i = thread; i < a->tiles.lines * a->tiles.places * a->tiles.groups; i += DBI_BLOCK) {
        item of;
        if (item_of(&a->tiles, &p, i, &of))
            E(interpolate_item)(a, &p, &of, shared);
    }
}
DBI_KERNEL(E(interpolate), E(interpolate_arguments), DBI_BLOCK, 2, pairs)

static int E(forward)(const dbi_interpolation_shape *shape, dbi_stream stream, const void *in, void *out,
                      dbi_error *error)
{
    E(interpolate_arguments) a;
    memset(&a, 0, sizeof a);
    a.tiles = tiles_of(shape, 2);
    for (int d = 0; d < 3; d++)
        a.n[d] = (int)shape->size[d];
    a.in = (const T *)in;
    a.out = (T *)out;
    return LAUNCH_OF(interpolate)(stream, blocks_of(shape, &a.tiles), &a, error);
}

/* The gradient gathers, so that each voxel has one writer. */
typedef struct E(gather_arguments) {
    tiles tiles;
    const T *dout;
    T *din;
    bool add;
} E(gather_arguments);

/* Σ share of 8 channels along z, all loads before the first use; past the last place the first one again. */
DBI_HD void E(gather_line)(const T *from, int padded, const fan *z, float sum[DBI_GROUP])
{
    E(eight) raw[DBI_INTERPOLATION_MOST];
    float of[DBI_GROUP];
    for (int c = 0; c < DBI_GROUP; c++)
        sum[c] = 0;
    DBI_UNROLL
    for (int k = 0; k < DBI_INTERPOLATION_MOST; k++)
        raw[k] = E(take)(from + (k < z->count ? k : 0) * padded);
    DBI_UNROLL
    for (int k = 0; k < DBI_INTERPOLATION_MOST; k++) {
        E(spread)(&raw[k], of);
        for (int c = 0; c < DBI_GROUP; c++)
            sum[c] += z->share[k] * of[c];
    }
}

DBI_HD void E(gather_item)(const E(gather_arguments) * a, const place *p, const item *i, const fans *shared)
{
    const int padded = a->tiles.groups * DBI_GROUP, *size = a->tiles.size;
    const fan *x = &shared->entry[0], *y = &shared->entry[1 + i->line],
              *z = &shared->entry[1 + a->tiles.lines + i->place];
    T *to =
        a->din + ((p->plane * size[1] + p->y + i->line) * size[2] + p->z + i->place) * padded + i->group * DBI_GROUP;
    float sum[DBI_GROUP] = {0}, line[DBI_GROUP];
    if (a->add)
        E(load)(to, sum);
    for (int j = 0; j < x->count; j++)
        for (int k = 0; k < y->count; k++) {
            const int64_t plane = (int64_t)p->sample * 2 * size[0] + x->begin + j,
                          at = (plane * 2 * size[1] + y->begin + k) * 2 * size[2] + z->begin;
            const float share = x->share[j] * y->share[k];
            E(gather_line)(a->dout + at * padded + i->group * DBI_GROUP, padded, z, line);
            for (int c = 0; c < DBI_GROUP; c++)
                sum[c] += share * line[c];
        }
    E(store)(to, sum);
}

DBI_HD void E(gather)(const E(gather_arguments) * a, int64_t block, int thread, int phase, fans *shared)
{
    const place p = place_of(&a->tiles, block);
    if (phase == 0) {
        int axis, at;
        if (entry_of(&a->tiles, &p, thread, &axis, &at))
            shared->entry[thread] = fan_of(at, a->tiles.size[axis]);
        return;
    }
    for (int i = thread; i < a->tiles.lines * a->tiles.places * a->tiles.groups; i += DBI_BLOCK) {
        item of;
        if (item_of(&a->tiles, &p, i, &of))
            E(gather_item)(a, &p, &of, shared);
    }
}
DBI_KERNEL(E(gather), E(gather_arguments), DBI_BLOCK, 2, fans)

static int E(backward)(const dbi_interpolation_shape *shape, dbi_stream stream, const void *dout, void *din, bool add,
                       dbi_error *error)
{
    E(gather_arguments) a;
    memset(&a, 0, sizeof a);
    a.tiles = tiles_of(shape, 1);
    a.dout = (const T *)dout;
    a.din = (T *)din;
    a.add = add;
    return LAUNCH_OF(gather)(stream, blocks_of(shape, &a.tiles), &a, error);
}
