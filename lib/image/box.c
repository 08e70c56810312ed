#include "image/box.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Percentiles of so many voxels, evenly spread, are good enough to tell air from a patient. */
enum { SAMPLES = 65536 };

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The value up to which a voxel of this channel is empty. */
static float empty_below(const float *channel, int64_t voxels, float *samples)
{
    const int64_t count = voxels < SAMPLES ? voxels : SAMPLES;
    for (int64_t i = 0; i < count; i++)
        samples[i] = channel[i * voxels / count];
    qsort(samples, (size_t)count, sizeof *samples, compare);
    const float low = samples[count / 200], high = samples[count - 1 - count / 200];
    return low + (high - low) / 10;
}

/* Counts the voxels of each plane that are not empty: filled[a] has shape[a] planes. */
static void count_planes(const float *image, int64_t channels, const int64_t shape[3], const float *limit,
                         int64_t *filled[3])
{
    const int64_t voxels = shape[0] * shape[1] * shape[2];
    int64_t v = 0;
    for (int64_t x = 0; x < shape[0]; x++)
        for (int64_t y = 0; y < shape[1]; y++)
            for (int64_t z = 0; z < shape[2]; z++, v++) {
                bool is_filled = false;
                for (int64_t c = 0; c < channels; c++)
                    is_filled |= image[c * voxels + v] > limit[c];
                filled[0][x] += is_filled;
                filled[1][y] += is_filled;
                filled[2][z] += is_filled;
            }
}

int dbi_box_of_content(const float *image, int64_t channels, const int64_t shape[3], dbi_box *box, dbi_error *error)
{
    const int64_t voxels = shape[0] * shape[1] * shape[2];
    float *samples = dbi_alloc(SAMPLES, sizeof *samples, error);
    float *limit = samples ? dbi_alloc((size_t)channels, sizeof *limit, error) : NULL;
    int64_t *planes = limit ? dbi_alloc((size_t)(shape[0] + shape[1] + shape[2]), sizeof *planes, error) : NULL;
    if (planes) {
        int64_t *filled[3] = {planes, planes + shape[0], planes + shape[0] + shape[1]};
        for (int64_t c = 0; c < channels; c++)
            limit[c] = empty_below(image + c * voxels, voxels, samples);
        count_planes(image, channels, shape, limit, filled);
        bool none = false;
        for (int a = 0; a < 3; a++) {
            const int64_t few = voxels / shape[a] / 100;
            box->from[a] = 0;
            box->to[a] = shape[a];
            while (box->from[a] < box->to[a] && filled[a][box->from[a]] <= few)
                box->from[a]++;
            while (box->from[a] < box->to[a] && filled[a][box->to[a] - 1] <= few)
                box->to[a]--;
            none |= box->from[a] == box->to[a];
        }
        for (int a = 0; none && a < 3; a++) {
            box->from[a] = 0;
            box->to[a] = shape[a];
        }
    }
    const int status = planes ? 0 : -1;
    free(samples);
    free(limit);
    free(planes);
    return status;
}

void dbi_box_widen(dbi_box *box, const int64_t shape[3], const int64_t least[3])
{
    for (int a = 0; a < 3; a++) {
        const int64_t wanted = least[a] < shape[a] ? least[a] : shape[a], size = box->to[a] - box->from[a];
        if (size >= wanted)
            continue;
        int64_t from = box->from[a] - (wanted - size) / 2;
        from = from > 0 ? from : 0;
        from = from + wanted < shape[a] ? from : shape[a] - wanted;
        box->from[a] = from;
        box->to[a] = from + wanted;
    }
}

bool dbi_box_is_whole(const dbi_box *box, const int64_t shape[3])
{
    for (int a = 0; a < 3; a++)
        if (box->from[a] || box->to[a] != shape[a])
            return false;
    return true;
}

void dbi_box_size(const dbi_box *box, int64_t size[3])
{
    for (int a = 0; a < 3; a++)
        size[a] = box->to[a] - box->from[a];
}

/* Calls copy(in the volumes, in the box's part, bytes) for each line of the box. */
static void each_line(const dbi_box *box, int64_t count, const int64_t shape[3], size_t width,
                      void (*copy)(void *context, size_t in_volumes, size_t in_part, size_t bytes), void *context)
{
    int64_t size[3];
    dbi_box_size(box, size);
    const size_t line = (size_t)size[2] * width;
    size_t at = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t x = box->from[0]; x < box->to[0]; x++)
            for (int64_t y = box->from[1]; y < box->to[1]; y++, at += line)
                copy(context, (size_t)(((i * shape[0] + x) * shape[1] + y) * shape[2] + box->from[2]) * width, at,
                     line);
}

typedef struct lines {
    const char *from;
    char *to;
} lines;

static void out(void *context, size_t in_volumes, size_t in_part, size_t bytes)
{
    const lines *l = context;
    memcpy(l->to + in_part, l->from + in_volumes, bytes);
}

static void back(void *context, size_t in_volumes, size_t in_part, size_t bytes)
{
    const lines *l = context;
    memcpy(l->to + in_volumes, l->from + in_part, bytes);
}

void dbi_box_cut(const dbi_box *box, int64_t count, const int64_t shape[3], size_t width, const void *volumes,
                 void *part)
{
    each_line(box, count, shape, width, out, &(lines){volumes, part});
}

void dbi_box_paste(const dbi_box *box, int64_t count, const int64_t shape[3], size_t width, const void *part,
                   void *volumes)
{
    each_line(box, count, shape, width, back, &(lines){part, volumes});
}
