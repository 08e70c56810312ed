#include "image/gzip.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "record/sink.h"

enum { BLOCK = 1 << 20, TOGETHER = 16 };

/* Compression can make a block longer; a mark follows it. */
enum { ROOM = BLOCK + BLOCK / 1000 + 1024 };

/* Compresses one block to raw deflate data that end on a whole byte and do not end the stream, so that blocks can stand
 * one after another. Returns 0 bytes on failure. */
static size_t deflate_block(const uint8_t *data, size_t size, int level, uint8_t *out)
{
    z_stream z = {0};
    if (deflateInit2(&z, level, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)size;
    z.next_out = out;
    z.avail_out = ROOM;
    int result = deflate(&z, Z_FULL_FLUSH);
    size_t length = ROOM - z.avail_out;
    bool whole = result == Z_OK && z.avail_in == 0 && z.avail_out > 0;
    deflateEnd(&z);
    return whole ? length : 0;
}

static int write_blocks(dbi_sink *sink, const uint8_t *data, size_t size, int level, uint8_t *room, dbi_error *error)
{
    for (size_t begin = 0; begin < size; begin += (size_t)TOGETHER * BLOCK) {
        size_t length[TOGETHER] = {0}, left = size - begin;
        int blocks = left >= (size_t)TOGETHER * BLOCK ? TOGETHER : (int)((left + BLOCK - 1) / BLOCK);
#pragma omp parallel for schedule(static, 1)
        for (int b = 0; b < blocks; b++) {
            size_t at = begin + (size_t)b * BLOCK;
            length[b] = deflate_block(data + at, size - at < BLOCK ? size - at : BLOCK, level, room + (size_t)b * ROOM);
        }
        for (int b = 0; b < blocks; b++) {
            if (length[b] == 0)
                return dbi_fail(error, "zlib cannot compress: out of memory?");
            if (dbi_sink_write(sink, room + (size_t)b * ROOM, length[b], error))
                return -1;
        }
    }
    return 0;
}

int dbi_gzip_write(dbi_sink *sink, const void *data, size_t size, int level, dbi_error *error)
{
    static const uint8_t header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}, last[2] = {3, 0}; /* an empty final block */
    uint32_t crc = (uint32_t)crc32_z(crc32_z(0, NULL, 0), data, size), length = (uint32_t)size;
    uint8_t trailer[8];
    for (int i = 0; i < 4; i++) {
        trailer[i] = (uint8_t)(crc >> 8 * i);
        trailer[4 + i] = (uint8_t)(length >> 8 * i);
    }
    uint8_t *room = dbi_alloc(TOGETHER, ROOM, error);
    if (!room)
        return -1;
    int result = dbi_sink_write(sink, header, sizeof header, error) ||
                 write_blocks(sink, data, size, level, room, error) || dbi_sink_write(sink, last, sizeof last, error) ||
                 dbi_sink_write(sink, trailer, sizeof trailer, error);
    free(room);
    return result ? -1 : 0;
}
