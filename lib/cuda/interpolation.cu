#include "cuda/interpolation.h"

#include "cuda/common.h"
#include "net/interpolation_math.h"

/* A block writes, of one sample and one x, a tile of `lines` values of y and `places` of z, with all channels, 8 of one
 * voxel by a thread. First it makes tables of what its places along each axis are made of, because divisions are slow;
 * ITEMS voxels of 8 channels are work enough to hide that. */
enum { MOST_LINES = 16, MOST_PLACES = 128, ITEMS = 4 * DBI_BLOCK };

typedef struct tiles {
    int size[3]; /* of what is written */
    int groups;  /* of channels */
    int lines, places;
    int along_y, along_z; /* tiles */
} tiles;

static tiles tiles_of(const dbi_interpolation_shape *shape, int factor)
{
    tiles t;
    memset(&t, 0, sizeof t);
    for (int d = 0; d < 3; d++)
        t.size[d] = factor * (int)shape->size[d];
    t.groups = shape->channels / DBI_GROUP;
    t.along_z = (t.size[2] + MOST_PLACES - 1) / MOST_PLACES;
    t.places = (t.size[2] + t.along_z - 1) / t.along_z;
    t.lines = ITEMS / (t.places * t.groups);
    t.lines = t.lines < 1 ? 1 : t.lines > MOST_LINES ? MOST_LINES : t.lines;
    t.along_y = (t.size[1] + t.lines - 1) / t.lines;
    return t;
}

static int64_t blocks_of(const dbi_interpolation_shape *shape, const tiles *t)
{
    return shape->batch * t->size[0] * t->along_y * t->along_z;
}

/* A block's tile: its plane of x, those of all samples one after another, and its first y and z. */
typedef struct place {
    int64_t plane;
    int sample, x, y, z;
} place;

DBI_HD place place_of(const tiles *t, int64_t block)
{
    const int64_t column = dbi_divide(block, t->along_z);
    place p;
    p.plane = dbi_divide(column, t->along_y);
    p.sample = (int)dbi_divide(p.plane, t->size[0]);
    p.x = (int)(p.plane - (int64_t)p.sample * t->size[0]);
    p.y = (int)(column - p.plane * t->along_y) * t->lines;
    p.z = (int)(block - column * t->along_z) * t->places;
    return p;
}

/* Entry `entry` of a block's table: 0 of x, then `lines` of y, then `places` of z. *at: the place along the axis; false
 * where there is none. */
DBI_HD bool entry_of(const tiles *t, const place *p, int entry, int *axis, int *at)
{
    *axis = entry == 0 ? 0 : entry <= t->lines ? 1 : 2;
    *at = entry == 0 ? p->x : entry <= t->lines ? p->y + entry - 1 : p->z + entry - 1 - t->lines;
    return entry < 1 + t->lines + t->places && *at < t->size[*axis];
}

/* What a thread writes: voxel (line, z) of the tile, 8 channels; false where there is none. */
typedef struct item {
    int line, place, group;
} item;

DBI_HD bool item_of(const tiles *t, const place *p, int i, item *of)
{
    const int voxel = (int)((unsigned)i / (unsigned)t->groups);
    of->group = i - voxel * t->groups;
    of->line = (int)((unsigned)voxel / (unsigned)t->places);
    of->place = voxel - of->line * t->places;
    return p->y + of->line < t->size[1] && p->z + of->place < t->size[2];
}

enum { MOST_ENTRIES = 1 + MOST_LINES + MOST_PLACES };

/* Two neighbours, and the share of each. */
typedef struct pair {
    int at[2];
    float share[2];
} pair;

typedef struct pairs {
    pair entry[MOST_ENTRIES];
} pairs;

DBI_HD pair pair_of(int o, int n)
{
    const dbi_interpolation at = dbi_interpolation_at(o, n);
    pair p;
    p.at[0] = (int)at.low;
    p.at[1] = (int)at.high;
    p.share[0] = (float)(1 - at.share);
    p.share[1] = (float)at.share;
    return p;
}

/* Places `begin` and the following that a gradient is gathered from, and the shares in them, 0 past the last one. */
typedef struct fan {
    int begin, count;
    float share[DBI_INTERPOLATION_MOST];
} fan;

typedef struct fans {
    fan entry[MOST_ENTRIES];
} fans;

DBI_HD fan fan_of(int i, int n)
{
    const dbi_interpolation_range range = dbi_interpolation_range_of(i, n);
    fan f;
    f.begin = (int)range.begin;
    f.count = (int)(range.end - range.begin);
    for (int k = 0; k < DBI_INTERPOLATION_MOST; k++)
        f.share[k] = k < f.count ? (float)dbi_interpolation_share(range.begin + k, i, n) : 0;
    return f;
}

#define T               float
#define E(name)         name##_float
#define LAUNCH_OF(name) name##_float_launch
#define LOAD(x)         (x)
#define STORE(f)        DBI_STORED(f)
#include "cuda/interpolation.inc.h"
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
#include "cuda/interpolation.inc.h"
#undef T
#undef E
#undef LAUNCH_OF
#undef LOAD
#undef STORE

int dbi_interpolate(bool bf16, const dbi_interpolation_shape *shape, dbi_stream stream, const void *in, void *out,
                    dbi_error *error)
{
    return bf16 ? forward_bf16(shape, stream, in, out, error) : forward_float(shape, stream, in, out, error);
}

int dbi_interpolate_gradient(bool bf16, const dbi_interpolation_shape *shape, dbi_stream stream, const void *dout,
                             void *din, bool add, dbi_error *error)
{
    return bf16 ? backward_bf16(shape, stream, dout, din, add, error)
                : backward_float(shape, stream, dout, din, add, error);
}
