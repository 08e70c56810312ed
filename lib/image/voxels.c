#include "image/voxels.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Rows of the slowest and the fastest axis are copied in squares of this size, so that both the voxels read and those
 * written stay in the cache. */
enum { TILE = 32 };

/* The scan along the canonical axes: offset of the first voxel, strides, sizes. */
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
static void scan_index(const int64_t at[3], const int64_t shape[3], const dbi_orientation *orientation,
                       int64_t index[3])
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

/* Loads `count` stored values as doubles, `stride` apart, from voxel `first` of the array on. */
typedef void load_row(const void *voxels, int64_t first, int64_t stride, int64_t count, double *restrict out);

#define LOAD_ROW(name, type)                                                                                           \
    static void name(const void *voxels, int64_t first, int64_t stride, int64_t count, double *restrict out)           \
    {                                                                                                                  \
        const type *from = (const type *)voxels + first;                                                               \
        for (int64_t i = 0; i < count; i++)                                                                            \
            out[i] = (double)from[i * stride];                                                                         \
    }

LOAD_ROW(load_u8, uint8_t)
LOAD_ROW(load_i8, int8_t)
LOAD_ROW(load_u16, uint16_t)
LOAD_ROW(load_i16, int16_t)
LOAD_ROW(load_u32, uint32_t)
LOAD_ROW(load_i32, int32_t)
LOAD_ROW(load_u64, uint64_t)
LOAD_ROW(load_i64, int64_t)
LOAD_ROW(load_f32, float)
LOAD_ROW(load_f64, double)

static load_row *const loaders[] = {
    [DBI_VOXEL_U8] = load_u8,   [DBI_VOXEL_I8] = load_i8,   [DBI_VOXEL_U16] = load_u16, [DBI_VOXEL_I16] = load_i16,
    [DBI_VOXEL_U32] = load_u32, [DBI_VOXEL_I32] = load_i32, [DBI_VOXEL_U64] = load_u64, [DBI_VOXEL_I64] = load_i64,
    [DBI_VOXEL_F32] = load_f32, [DBI_VOXEL_F64] = load_f64,
};

/* The values of a row of at most TILE voxels along the turned scan's last axis. */
static void values_of(const dbi_voxels *voxels, const turned *t, const int64_t at[3], int64_t count, double *out)
{
    int64_t first = t->start + at[0] * t->stride[0] + at[1] * t->stride[1] + at[2] * t->stride[2];
    loaders[voxels->type](voxels->at, first, t->stride[2], count, out);
    for (int64_t i = 0; i < count; i++)
        out[i] = voxels->slope * out[i] + voxels->inter;
}

/* Converts planes x0 to x1, at most TILE of them, at one y. True when a voxel is not finite. */
static bool image_tile(const dbi_voxels *voxels, const turned *t, int64_t x0, int64_t x1, int64_t y, float *out)
{
    double value[TILE];
    int bad = 0;
    for (int64_t z = 0; z < t->shape[2]; z += TILE)
        for (int64_t x = x0; x < x1; x++) {
            int64_t count = least(TILE, t->shape[2] - z);
            float *to = out + (x * t->shape[1] + y) * t->shape[2] + z;
            values_of(voxels, t, (int64_t[]){x, y, z}, count, value);
            for (int64_t i = 0; i < count; i++) {
                float v = (float)value[i];
                bad |= !(v - v == 0);
                to[i] = v;
            }
        }
    return bad;
}

/* The same for a label. True when a voxel is not a whole number from 0 to 255; a value beyond them becomes 255. */
static bool label_tile(const dbi_voxels *voxels, const turned *t, int64_t x0, int64_t x1, int64_t y, uint8_t *out)
{
    double value[TILE];
    int bad = 0;
    for (int64_t z = 0; z < t->shape[2]; z += TILE)
        for (int64_t x = x0; x < x1; x++) {
            int64_t count = least(TILE, t->shape[2] - z);
            uint8_t *to = out + (x * t->shape[1] + y) * t->shape[2] + z;
            values_of(voxels, t, (int64_t[]){x, y, z}, count, value);
            for (int64_t i = 0; i < count; i++) {
                bool in = value[i] > -0.5 && value[i] < 255.5;
                uint8_t v = in ? (uint8_t)(value[i] + 0.5) : 255;
                bad |= !in || fabs(value[i] - v) > 1e-4;
                to[i] = v;
            }
        }
    return bad;
}

int dbi_voxels_image(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, float *out,
                     dbi_error *error)
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
                    return dbi_fail(error, "voxel %" PRId64 ",%" PRId64 ",%" PRId64 " is %s", index[0], index[1],
                                    index[2], isnan(out[i]) ? "not a number" : "infinite");
                }
    return -1;
}

static int report_label(const dbi_voxels *voxels, const turned *t, const int64_t shape[3],
                        const dbi_orientation *orientation, int most, dbi_error *error)
{
    for (int64_t x = 0; x < t->shape[0]; x++)
        for (int64_t y = 0; y < t->shape[1]; y++)
            for (int64_t z = 0; z < t->shape[2]; z++) {
                int64_t at[] = {x, y, z}, index[3];
                double value;
                values_of(voxels, t, at, 1, &value);
                scan_index(at, shape, orientation, index);
                if (!(fabs(value - rint(value)) <= 1e-4))
                    return dbi_fail(
                        error, "the label of voxel %" PRId64 ",%" PRId64 ",%" PRId64 " is %.9g, not a whole number",
                        index[0], index[1], index[2], value);
                if (!(value > -0.5) || !(value < most + 0.5))
                    return dbi_fail(
                        error, "the label of voxel %" PRId64 ",%" PRId64 ",%" PRId64 " is %.9g, not one of 0 to %d",
                        index[0], index[1], index[2], value, most);
            }
    return dbi_fail(error, "the label has values other than 0 to %d", most);
}

int dbi_voxels_label(const dbi_voxels *voxels, const int64_t shape[3], const dbi_orientation *orientation, int most,
                     uint8_t *out, int *largest, dbi_error *error)
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
