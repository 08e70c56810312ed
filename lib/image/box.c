#include "image/box.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Percentiles of so many voxels, evenly spread, are good enough to tell air from a patient. */
enum { SAMPLES = 16384 };

typedef struct view {
    const float *image;
    int64_t channels, shape[3];
    const float *limit; /* of each channel: up to it a voxel is empty */
} view;

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float empty_below(const float *channel, int64_t voxels, float *samples)
{
    const int64_t count = voxels < SAMPLES ? voxels : SAMPLES;
    for (int64_t i = 0; i < count; i++)
        samples[i] = channel[i * voxels / count];
    qsort(samples, (size_t)count, sizeof *samples, compare);
    const float low = samples[count / 200], high = samples[count - 1 - count / 200];
    return low + (high - low) / 10;
}

static bool is_filled(const view *v, int64_t voxel)
{
    const int64_t voxels = v->shape[0] * v->shape[1] * v->shape[2];
    for (int64_t c = 0; c < v->channels; c++)
        if (v->image[c * voxels + voxel] > v->limit[c])
            return true;
    return false;
}

static bool is_empty_plane(const view *v, int axis, int64_t place)
{
    const int64_t *n = v->shape, step[3] = {n[1] * n[2], n[2], 1};
    const int a = axis == 0, b = axis == 2 ? 1 : 2; /* the other two axes */
    const int64_t few = n[a] * n[b] / 100;
    int64_t filled = 0;
    for (int64_t i = 0; i < n[a]; i++)
        for (int64_t j = 0; j < n[b]; j++)
            filled += is_filled(v, place * step[axis] + i * step[a] + j * step[b]);
    return filled <= few;
}

/* Only the empty planes and the first one of each side that is not are looked at: most scans cost no time. */
static void find_content(const view *v, dbi_box *box)
{
    bool none = false;
    for (int a = 0; a < 3; a++) {
        box->from[a] = 0;
        box->to[a] = v->shape[a];
        while (box->from[a] < box->to[a] && is_empty_plane(v, a, box->from[a]))
            box->from[a]++;
        while (box->from[a] < box->to[a] && is_empty_plane(v, a, box->to[a] - 1))
            box->to[a]--;
        none |= box->from[a] == box->to[a];
    }
    if (none)
        *box = (dbi_box){.to = {v->shape[0], v->shape[1], v->shape[2]}};
}

int dbi_box_of_content(const float *image, int64_t channels, const int64_t shape[3], dbi_box *box, dbi_error *error)
{
    const int64_t voxels = shape[0] * shape[1] * shape[2];
    float *samples = dbi_alloc(SAMPLES + (size_t)channels, sizeof *samples, error);
    if (!samples)
        return -1;
    float *limit = samples + SAMPLES;
    for (int64_t c = 0; c < channels; c++)
        limit[c] = empty_below(image + c * voxels, voxels, samples);
    const view v = {image, channels, {shape[0], shape[1], shape[2]}, limit};
    find_content(&v, box);
    free(samples);
    return 0;
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
