/* The voxels of HDF5 files. libhdf5 says where they are (hdf5_facts.h). Its facts are checked here, and then the voxels
 * are taken from the file's bytes without it. */
#include "image/hdf5.h"

#include <hdf5.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "image/hdf5_facts.h"

enum { LARGEST_RATIO = 1100 }; /* deflate makes at most 1032 bytes of one */

bool dbi_hdf5_probe(const uint8_t *bytes, size_t size)
{
    static const uint8_t magic[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    return size >= sizeof magic && !memcmp(bytes, magic, sizeof magic);
}

/* Where the voxels of one dataset are, checked. */
typedef struct layout {
    const uint8_t *bytes; /* the file */
    size_t size, stored;
    size_t width;
    int64_t shape[3], chunk[3], grid[3]; /* voxels; voxels of a chunk; chunks along each axis */
    int filters;
    const int *filter;
    const uint8_t *fill;
} layout;

/* A chunk that has been written: its number in the grid, its bytes. */
typedef struct chunk {
    int64_t index;
    size_t at, length;
} chunk;

static bool fits(const layout *l, uint64_t at, uint64_t length)
{
    return at <= l->size && length <= l->size - at;
}

/* The shape must have three sizes, and no more voxels than deflate can make from the stored bytes. */
static int check_shape(const dbi_hdf5_facts *facts, layout *l, dbi_error *error)
{
    if (facts->rank != 3)
        return dbi_fail(error, "%dD data: a scan is one 3D volume", facts->rank < 0 ? 0 : facts->rank);
    int64_t bytes;
    for (int i = 0; i < 3; i++)
        l->shape[i] = facts->shape[i] > INT64_MAX ? -1 : (int64_t)facts->shape[i];
    if (!dbi_count((int64_t[]){l->shape[0], l->shape[1], l->shape[2], (int64_t)l->width}, 4, &bytes) || bytes == 0)
        return dbi_fail(error, "impossible shape %" PRIu64 " x %" PRIu64 " x %" PRIu64, facts->shape[0],
                        facts->shape[1], facts->shape[2]);
    if (facts->stored > l->size || (uint64_t)bytes / LARGEST_RATIO > facts->stored)
        return dbi_fail(error, "%" PRId64 " x %" PRId64 " x %" PRId64 " voxels, but %s", l->shape[0], l->shape[1],
                        l->shape[2], facts->stored > l->size ? "more data than the file has" : "hardly any data");
    l->stored = facts->stored;
    return 0;
}

static int check_filters(const dbi_hdf5_facts *facts, layout *l, dbi_error *error)
{
    if (facts->filters < 0 || facts->filters > DBI_HDF5_MOST_FILTERS)
        return dbi_fail(error, "the voxels went through %d filters", facts->filters);
    for (int i = 0; i < facts->filters; i++)
        if (facts->filter[i] != H5Z_FILTER_DEFLATE && facts->filter[i] != H5Z_FILTER_SHUFFLE)
            return dbi_fail(error, "the voxels went through filter %d; gzip and shuffle are supported",
                            facts->filter[i]);
    l->filters = facts->filters;
    l->filter = facts->filter;
    return 0;
}

/* *bytes: the size of one chunk without compression. */
static int check_grid(const dbi_hdf5_facts *facts, layout *l, int64_t *bytes, dbi_error *error)
{
    int64_t count;
    for (int a = 0; a < 3; a++) {
        l->chunk[a] = facts->chunk[a] > UINT32_MAX ? -1 : (int64_t)facts->chunk[a];
        l->grid[a] = l->chunk[a] > 0 ? (l->shape[a] - 1) / l->chunk[a] + 1 : -1;
    }
    if (!dbi_count((int64_t[]){l->chunk[0], l->chunk[1], l->chunk[2], (int64_t)l->width}, 4, bytes) || *bytes < 1 ||
        !dbi_count(l->grid, 3, &count) || (uint64_t)*bytes / LARGEST_RATIO > l->stored)
        return dbi_fail(error, "impossible chunks");
    return 0;
}

static int by_index(const void *a, const void *b)
{
    int64_t i = ((const chunk *)a)->index, j = ((const chunk *)b)->index;
    return (i > j) - (i < j);
}

/* Puts the chunks in the order of the grid. Each must lie inside the file and inside the grid, and none may come
 * twice. */
static int check_chunks(const layout *l, const dbi_hdf5_chunk *from, size_t count, chunk *chunks, dbi_error *error)
{
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        int64_t index = 0;
        for (int a = 0; a < 3; a++) {
            uint64_t size = (uint64_t)l->chunk[a], place = from[i].begin[a] / size;
            good = good && from[i].begin[a] % size == 0 && place < (uint64_t)l->grid[a];
            index = good ? index * l->grid[a] + (int64_t)place : 0;
        }
        good = good && from[i].length > 0 && fits(l, from[i].at, from[i].length);
        chunks[i] = (chunk){index, from[i].at, from[i].length};
    }
    if (good)
        qsort(chunks, count, sizeof *chunks, by_index);
    for (size_t i = 1; good && i < count; i++)
        good = chunks[i].index != chunks[i - 1].index;
    return good ? 0 : dbi_fail(error, "the list of chunks is damaged");
}

/* Undoes the filters, the last one first, with two buffers in turn. Returns the chunk's voxels, or NULL when their size
 * is not `wanted`. */
static const uint8_t *decode(const layout *l, const chunk *c, size_t wanted, uint8_t *one, uint8_t *two)
{
    const uint8_t *from = l->bytes + c->at;
    size_t length = c->length;
    for (int f = l->filters - 1; f >= 0; f--) {
        uint8_t *to = from == one ? two : one;
        if (l->filter[f] == H5Z_FILTER_DEFLATE) {
            uLongf made = wanted;
            if (uncompress(to, &made, from, length) != Z_OK)
                return NULL;
            length = made;
        } else {
            if (length != wanted)
                return NULL;
            size_t count = length / l->width;
            for (size_t b = 0; b < l->width; b++)
                for (size_t v = 0; v < count; v++)
                    to[v * l->width + b] = from[b * count + v];
        }
        from = to;
    }
    return length == wanted ? from : NULL;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void place_chunk(const layout *l, int64_t i, const uint8_t *voxels, uint8_t *out)
{
    int64_t begin[3], end[3];
    begin[2] = i % l->grid[2] * l->chunk[2];
    begin[1] = i / l->grid[2] % l->grid[1] * l->chunk[1];
    begin[0] = i / l->grid[2] / l->grid[1] * l->chunk[0];
    for (int a = 0; a < 3; a++)
        end[a] = least(begin[a] + l->chunk[a], l->shape[a]);
    for (int64_t x = begin[0]; x < end[0]; x++)
        for (int64_t y = begin[1]; y < end[1]; y++) {
            size_t from = (size_t)(((x - begin[0]) * l->chunk[1] + y - begin[1]) * l->chunk[2]),
                   to = (size_t)((x * l->shape[1] + y) * l->shape[2] + begin[2]);
            memcpy(out + to * l->width, voxels + from * l->width, (size_t)(end[2] - begin[2]) * l->width);
        }
}

static int decode_all(const layout *l, const chunk *chunks, size_t count, size_t wanted, uint8_t *out, dbi_error *error)
{
    int bad = 0, memory = 0;
#pragma omp parallel reduction(| : bad, memory)
    {
        uint8_t *one = malloc(wanted), *two = malloc(wanted);
        memory |= !one || !two;
#pragma omp for schedule(static)
        for (size_t i = 0; i < count; i++) {
            if (memory)
                continue;
            const uint8_t *voxels = decode(l, &chunks[i], wanted, one, two);
            if (voxels)
                place_chunk(l, chunks[i].index, voxels, out);
            else
                bad = 1;
        }
        free(one);
        free(two);
    }
    return memory ? dbi_fail(error, "out of memory: chunks of %zu bytes", wanted)
           : bad  ? dbi_fail(error, "a chunk of voxels is damaged")
                  : 0;
}

/* Sets all voxels to the fill value. They are 0 already. */
static void fill(const layout *l, uint8_t *out)
{
    static const uint8_t zero[8];
    size_t count = (size_t)(l->shape[0] * l->shape[1] * l->shape[2]);
    if (memcmp(l->fill, zero, l->width) != 0)
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < count; i++)
            memcpy(out + i * l->width, l->fill, l->width);
}

static int read_chunked(const dbi_hdf5_facts *facts, const dbi_hdf5_chunk *list, layout *l, uint8_t *out,
                        dbi_error *error)
{
    int64_t bytes;
    if (check_filters(facts, l, error) || check_grid(facts, l, &bytes, error))
        return -1;
    chunk *chunks = dbi_alloc(facts->count, sizeof *chunks, error);
    int result = chunks ? check_chunks(l, list, facts->count, chunks, error) : -1;
    if (!result && facts->count < (uint64_t)(l->grid[0] * l->grid[1] * l->grid[2]))
        fill(l, out);
    if (!result)
        result = decode_all(l, chunks, facts->count, (size_t)bytes, out, error);
    free(chunks);
    return result;
}

static int read_whole(uint64_t at, const layout *l, size_t bytes, uint8_t *out, dbi_error *error)
{
    if (l->stored < bytes || at == UINT64_MAX || !fits(l, at, bytes))
        return dbi_fail(error, "the voxels are not all in the file");
    memcpy(out, l->bytes + at, bytes);
    return 0;
}

static void swap(uint8_t *data, size_t count, size_t width)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++)
        for (size_t b = 0; b < width / 2; b++) {
            uint8_t byte = data[i * width + b];
            data[i * width + b] = data[i * width + width - 1 - b];
            data[i * width + width - 1 - b] = byte;
        }
}

static int read_voxels(const dbi_hdf5_facts *facts, const dbi_hdf5_chunk *chunks, layout *l, dbi_voxels *voxels,
                       dbi_error *error)
{
    l->width = dbi_voxel_size(facts->type);
    l->fill = facts->fill;
    if (!l->width)
        return dbi_fail(error, "the voxels are not numbers of 8 to 64 bits");
    if (check_shape(facts, l, error))
        return -1;
    size_t count = (size_t)(l->shape[0] * l->shape[1] * l->shape[2]);
    uint8_t *data = dbi_alloc(count, l->width, error);
    if (!data)
        return -1;
    if (facts->chunked ? read_chunked(facts, chunks, l, data, error)
                       : read_whole(facts->at, l, count * l->width, data, error)) {
        free(data);
        return -1;
    }
    if (facts->swapped)
        swap(data, count, l->width);
    *voxels = (dbi_voxels){.type = facts->type,
                           .owned = data,
                           .at = data,
                           .stride = {l->shape[1] * l->shape[2], l->shape[2], 1},
                           .slope = 1};
    return 0;
}

static void place(const int64_t shape[3], const double *spacing, dbi_source *source)
{
    memcpy(source->grid.shape, shape, sizeof source->grid.shape);
    for (int i = 0; i < 3; i++)
        source->grid.affine[i][i] = source->pixdim[i] = spacing ? spacing[i] : 1;
    source->grid.affine[3][3] = 1;
    source->qfac = 1;
    source->units = 2;
    strcpy(source->format, "hdf5");
}

static int load(layout *l, unsigned want, const double *spacing, dbi_scan *scan, dbi_error *error)
{
    dbi_hdf5_facts facts[2];
    dbi_hdf5_chunk *chunks;
    int64_t shape[3];
    if (dbi_hdf5_facts_get(l->bytes, l->size, want, facts, &chunks, error))
        return -1;
    int result = 0;
    if (facts[0].found && (result = read_voxels(&facts[0], chunks, l, &scan->image, error)))
        dbi_fail_in(error, "dataset \"image\"");
    memcpy(shape, l->shape, sizeof shape);
    if (!result && facts[1].found && (result = read_voxels(&facts[1], chunks + facts[0].count, l, &scan->label, error)))
        dbi_fail_in(error, "dataset \"label\"");
    free(chunks);
    if (!result && facts[0].found && memcmp(shape, l->shape, sizeof shape) != 0)
        result = dbi_fail(error, "datasets \"image\" and \"label\" have different shapes");
    if (result)
        return -1;
    place(l->shape, spacing, &scan->source);
    return dbi_grid_check(&scan->source.grid, error);
}

int dbi_hdf5_read(const char *path, uint8_t *bytes, size_t size, unsigned want, const double *source_spacing,
                  dbi_scan *scan, dbi_error *error)
{
    (void)path;
    layout l = {.bytes = bytes, .size = size};
    dbi_scan_checksum(scan->checksum, bytes, size);
    int result = load(&l, want, source_spacing, scan, error);
    free(bytes);
    return result;
}
