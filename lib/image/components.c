#include "image/components.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Union-find over provisional numbers. The root of a set is its smallest number, so that the final numbers keep the
 * order of the first voxels. */
static uint32_t root(uint32_t *parent, uint32_t i)
{
    while (parent[i] != i)
        i = parent[i] = parent[parent[i]];
    return i;
}

static uint32_t join(uint32_t *parent, uint32_t a, uint32_t b)
{
    a = root(parent, a);
    b = root(parent, b);
    if (a < b)
        return parent[b] = a;
    return parent[a] = b;
}

/* The provisional numbers so far. A row of voxels begins a new one at most at every other voxel, so doubling is
 * rare. */
typedef struct forest {
    uint32_t *parent, count;
    size_t room;
} forest;

static int grow(forest *f, dbi_error *error)
{
    if (f->count < f->room)
        return 0;
    size_t room = f->room ? 2 * f->room : 1024;
    uint32_t *parent = f->count < UINT32_MAX - 1 ? reallocarray(f->parent, room, sizeof *parent) : NULL;
    if (!parent)
        return dbi_fail(error, "too many components for the memory");
    f->parent = parent;
    f->room = room;
    return 0;
}

/* Joins the components of the 13 neighbours that come before a voxel and returns their number, or 0. These are the
 * voxel before in its own row, and three voxels in each of four rows: three rows of the plane before, and the row
 * before in the same plane. */
static uint32_t join_neighbours(const uint32_t *id, const int64_t n[3], int64_t x, int64_t y, int64_t z,
                                uint32_t *parent)
{
    static const int8_t rows[4][2] = {{-1, -1}, {-1, 0}, {-1, 1}, {0, -1}};
    const uint32_t *here = id + (x * n[1] + y) * n[2];
    uint32_t mine = z > 0 ? here[z - 1] : 0;
    for (int r = 0; r < 4; r++) {
        int64_t i = x + rows[r][0], j = y + rows[r][1];
        if (i < 0 || j < 0 || j >= n[1])
            continue;
        const uint32_t *row = id + (i * n[1] + j) * n[2];
        for (int64_t k = z > 0 ? z - 1 : 0; k <= z + 1 && k < n[2]; k++)
            if (row[k] && row[k] != mine)
                mine = mine ? join(parent, mine, row[k]) : row[k];
    }
    return mine;
}

int dbi_components(const uint8_t *label, uint8_t value, const int64_t n[3], uint32_t *id, uint32_t *count,
                   dbi_error *error)
{
    forest f = {0};
    if (grow(&f, error))
        return -1;
    f.parent[0] = 0;
    f.count = 1;
    int64_t at = 0;
    for (int64_t x = 0; x < n[0]; x++)
        for (int64_t y = 0; y < n[1]; y++)
            for (int64_t z = 0; z < n[2]; z++, at++) {
                id[at] = 0;
                if (label[at] != value)
                    continue;
                uint32_t mine = join_neighbours(id, n, x, y, z, f.parent);
                if (!mine) {
                    if (grow(&f, error)) {
                        free(f.parent);
                        return -1;
                    }
                    mine = f.count++;
                    f.parent[mine] = mine;
                }
                id[at] = mine;
            }
    uint32_t last = 0;
    for (uint32_t i = 1; i < f.count; i++) /* roots come before their members */
        f.parent[i] = f.parent[i] == i ? ++last : f.parent[f.parent[i]];
    for (int64_t i = 0; i < at; i++)
        id[i] = f.parent[id[i]];
    *count = last;
    free(f.parent);
    return 0;
}

static int keep_largest(uint8_t *label, uint8_t value, const int64_t n[3], uint32_t *id, dbi_error *error)
{
    uint32_t count, best = 1;
    size_t voxels = (size_t)(n[0] * n[1] * n[2]);
    if (dbi_components(label, value, n, id, &count, error))
        return -1;
    if (count < 2)
        return 0;
    size_t *size = dbi_alloc((size_t)count + 1, sizeof *size, error);
    if (!size)
        return -1;
    for (size_t i = 0; i < voxels; i++)
        size[id[i]]++;
    for (uint32_t c = 2; c <= count; c++)
        if (size[c] > size[best])
            best = c;
    for (size_t i = 0; i < voxels; i++)
        if (id[i] && id[i] != best)
            label[i] = 0;
    free(size);
    return 0;
}

int dbi_largest_components(uint8_t *label, const int64_t n[3], int64_t classes, dbi_error *error)
{
    bool there[256] = {false};
    size_t voxels = (size_t)(n[0] * n[1] * n[2]);
    for (size_t i = 0; i < voxels; i++)
        there[label[i]] = true;
    uint32_t *id = dbi_alloc(voxels, sizeof *id, error);
    int result = id ? 0 : -1;
    for (int64_t k = 1; !result && k <= classes && k <= 255; k++)
        if (there[k])
            result = keep_largest(label, (uint8_t)k, n, id, error);
    free(id);
    return result;
}
