#include "image/voxels.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { TILE = 32 }; /* rows of the slowest and the fastest axis that are copied together, so that both sides stay in the cache */

/* The scan seen along the canonical axes: offset of the first voxel, strides, sizes. */
typedef struct turned {
    int64_t start, stride[3], shape[3];
} turned;

static turned turn(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation)
{
    turned t = {0};
    for (int a = 0; a < 3; a++) {
        int from = orientation->axis[a];
        t.shape[a] = shape[from];
        t.stride[a] = orientation->flip[a] ? -voxels->stride[from] : voxels->stride[from];
        if (orientation->flip[a])
            t.start += (shape[from] - 1) * voxels->stride[from];
    }
    return t;
}

/* The scan's own indices of a canonical voxel. */
static void scan_index(const int64_t at[3], const int64_t shape[3], const dbi_orientation *orientation, int64_t index[3])
{
    for (int a = 0; a < 3; a++) {
        int from = orientation->axis[a];
        index[from] = orientation->flip[a] ? shape[from] - 1 - at[a] : at[a];
    }
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Copies plane x0..x1 (a tile of them) at one y; STORE puts `value`, a double, into out[o]. */
#define COPY_TILES(type, STORE)                                                                                                                      \
    do {                                                                                                                                             \
        const type *from = voxels->at;                                                                                                               \
        for (int64_t z0 = 0; z0 < t->shape[2]; z0 += TILE)                                                                                           \
            for (int64_t x = x0; x < x1; x++) {                                                                                                      \
                const type *row = from + t->start + x * t->stride[0] + y * t->stride[1];                                                             \
                int64_t o = (x * t->shape[1] + y) * t->shape[2];                                                                                     \
                for (int64_t z = z0; z < least(z0 + TILE, t->shape[2]); z++) {                                                                       \
                    double value = slope * (double)row[z * t->stride[2]] + inter;                                                                    \
                    STORE(o + z);                                                                                                                    \
                }                                                                                                                                    \
            }                                                                                                                                        \
    } while (0)

#define COPY_ANY(STORE)                                                                                                                              \
    switch (voxels->type) {                                                                                                                          \
    case DBI_VOXEL_U8:                                                                                                                               \
        COPY_TILES(uint8_t, STORE);                                                                                                                  \
        break;                                                                                                                                       \
    case DBI_VOXEL_I8:                                                                                                                               \
        COPY_TILES(int8_t, STORE);                                                                                                                   \
        break;                                                                                                                                       \
    case DBI_VOXEL_U16:                                                                                                                              \
        COPY_TILES(uint16_t, STORE);                                                                                                                 \
        break;                                                                                                                                       \
    case DBI_VOXEL_I16:                                                                                                                              \
        COPY_TILES(int16_t, STORE);                                                                                                                  \
        break;                                                                                                                                       \
    case DBI_VOXEL_U32:                                                                                                                              \
        COPY_TILES(uint32_t, STORE);                                                                                                                 \
        break;                                                                                                                                       \
    case DBI_VOXEL_I32:                                                                                                                              \
        COPY_TILES(int32_t, STORE);                                                                                                                  \
        break;                                                                                                                                       \
    case DBI_VOXEL_U64:                                                                                                                              \
        COPY_TILES(uint64_t, STORE);                                                                                                                 \
        break;                                                                                                                                       \
    case DBI_VOXEL_I64:                                                                                                                              \
        COPY_TILES(int64_t, STORE);                                                                                                                  \
        break;                                                                                                                                       \
    case DBI_VOXEL_F32:                                                                                                                              \
        COPY_TILES(float, STORE);                                                                                                                    \
        break;                                                                                                                                       \
    case DBI_VOXEL_F64:                                                                                                                              \
        COPY_TILES(double, STORE);                                                                                                                   \
        break;                                                                                                                                       \
    case DBI_VOXEL_NONE:                                                                                                                             \
        break;                                                                                                                                       \
    }

static bool image_tile(const dbi_voxels *voxels, const turned *t, int64_t x0, int64_t x1, int64_t y, float *out)
{
    double slope = voxels->slope, inter = voxels->inter;
    int bad = 0;
#define STORE_FLOAT(o)                                                                                                                               \
    float v = (float)value;                                                                                                                          \
    bad |= !(v - v == 0);                                                                                                                            \
    out[o] = v
    COPY_ANY(STORE_FLOAT)
    return bad;
}

/* Values that are not whole numbers of 0..255 become 255; *largest is theirs, *bad says so. */
static bool label_tile(const dbi_voxels *voxels, const turned *t, int64_t x0, int64_t x1, int64_t y, uint8_t *out)
{
    double slope = voxels->slope, inter = voxels->inter;
    int bad = 0;
#define STORE_LABEL(o)                                                                                                                               \
    bool in = value > -0.5 && value < 255.5;                                                                                                         \
    uint8_t v = in ? (uint8_t)(value + 0.5) : 255;                                                                                                   \
    bad |= !in || fabs(value - v) > 1e-4;                                                                                                            \
    out[o] = v
    COPY_ANY(STORE_LABEL)
    return bad;
}

/* One voxel's value, for messages. */
static double value_at(const dbi_voxels *voxels, const turned *view, const int64_t at[3])
{
    turned one = {view->start + at[0] * view->stride[0] + at[1] * view->stride[1] + at[2] * view->stride[2], {0}, {1, 1, 1}}, *t = &one;
    double slope = voxels->slope, inter = voxels->inter, result = 0;
    const int64_t x0 = 0, x1 = 1, y = 0;
#define STORE_RESULT(o) result = value + 0.0 * (double)(o)
    COPY_ANY(STORE_RESULT)
    return result;
}

int dbi_voxels_image(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, float *out, dbi_error *error)
{
    turned t = turn(voxels, shape, orientation);
    int bad = 0;
#pragma omp parallel for collapse(2) schedule(static) reduction(| : bad)
    for (int64_t x0 = 0; x0 < t.shape[0]; x0 += TILE)
        for (int64_t y = 0; y < t.shape[1]; y++)
            bad |= image_tile(voxels, &t, x0, least(x0 + TILE, t.shape[0]), y, out);
    if (!bad)
        return 0;
    for (int64_t x = 0, i = 0; x < t.shape[0]; x++)
        for (int64_t y = 0; y < t.shape[1]; y++)
            for (int64_t z = 0; z < t.shape[2]; z++, i++)
                if (!isfinite(out[i])) {
                    int64_t index[3];
                    scan_index((int64_t[]){x, y, z}, shape, orientation, index);
                    return dbi_fail(error, "voxel %" PRId64 ",%" PRId64 ",%" PRId64 " is %s", index[0], index[1], index[2],
                                    isnan(out[i]) ? "not a number" : "infinite");
                }
    return -1;
}

static int report_label(const dbi_voxels *voxels, const turned *t, const int64_t shape[3], const dbi_orientation *orientation, int most,
                        dbi_error *error)
{
    for (int64_t x = 0; x < t->shape[0]; x++)
        for (int64_t y = 0; y < t->shape[1]; y++)
            for (int64_t z = 0; z < t->shape[2]; z++) {
                int64_t at[] = {x, y, z}, index[3];
                double value = value_at(voxels, t, at);
                scan_index(at, shape, orientation, index);
                if (!(fabs(value - rint(value)) <= 1e-4))
                    return dbi_fail(error, "the label of voxel %" PRId64 ",%" PRId64 ",%" PRId64 " is %.9g, not a whole number", index[0], index[1],
                                    index[2], value);
                if (!(value > -0.5) || !(value < most + 0.5))
                    return dbi_fail(error, "the label of voxel %" PRId64 ",%" PRId64 ",%" PRId64 " is %.9g, not one of 0 to %d", index[0], index[1],
                                    index[2], value, most);
            }
    return dbi_fail(error, "the label has values other than 0 to %d", most);
}

int dbi_voxels_label(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, int most, uint8_t *out, int *largest,
                     dbi_error *error)
{
    turned t = turn(voxels, shape, orientation);
    int bad = 0, top = 0;
#pragma omp parallel for collapse(2) schedule(static) reduction(| : bad)
    for (int64_t x0 = 0; x0 < t.shape[0]; x0 += TILE)
        for (int64_t y = 0; y < t.shape[1]; y++)
            bad |= label_tile(voxels, &t, x0, least(x0 + TILE, t.shape[0]), y, out);
    int64_t count = t.shape[0] * t.shape[1] * t.shape[2];
#pragma omp parallel for schedule(static) reduction(max : top)
    for (int64_t i = 0; i < count; i++)
        top = out[i] > top ? out[i] : top;
    *largest = top;
    return bad || top > most ? report_label(voxels, &t, shape, orientation, most, error) : 0;
}
