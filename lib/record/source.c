#include "record/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { RAW = 1 << 17, WINDOW_LOG_MAX = 27 };

struct dbi_source {
    int fd;
    size_t at, end; /* the bytes of raw that are not used yet */
    ZSTD_DCtx *zstd;
    bool compressed; /* this record */
    bool in_frame;
    bool ahead; /* one byte has been decompressed ahead, to see whether a frame goes on */
    uint8_t ahead_byte;
    uint8_t raw[RAW];
};

static const char torn[] = "the data end in the middle";

dbi_source *dbi_source_open(const char *path, dbi_error *error)
{
    dbi_source *source = malloc(sizeof *source);
    if (!source) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    memset(source, 0, offsetof(dbi_source, raw));
    source->fd = path ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (source->fd < 0) {
        dbi_fail(error, "%s", strerror(errno));
        free(source);
        return NULL;
    }
    return source;
}

void dbi_source_close(dbi_source *source)
{
    if (!source)
        return;
    if (source->fd != STDIN_FILENO)
        close(source->fd);
    ZSTD_freeDCtx(source->zstd);
    free(source);
}

/* One read() of at most `size` bytes: 0 at the end. */
static ssize_t read_some(dbi_source *source, void *data, size_t size, dbi_error *error)
{
    ssize_t n;
    do
        n = read(source->fd, data, size < (1U << 30) ? size : 1U << 30);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        dbi_fail(error, "%s", strerror(errno));
    return n;
}

/* More bytes into raw: 1, 0 at the end, -1. */
static int fill(dbi_source *source, dbi_error *error)
{
    memmove(source->raw, source->raw + source->at, source->end - source->at);
    source->end -= source->at;
    source->at = 0;
    ssize_t n = read_some(source, source->raw + source->end, RAW - source->end, error);
    if (n > 0)
        source->end += (size_t)n;
    return n > 0 ? 1 : (int)n;
}

/* Until `size` bytes are in raw or the file ends; how many are there, or -1. */
static int peek(dbi_source *source, size_t size, dbi_error *error)
{
    while (source->end - source->at < size) {
        int more = fill(source, error);
        if (more < 0)
            return -1;
        if (!more)
            break;
    }
    size_t have = source->end - source->at;
    return (int)(have < size ? have : size);
}

static uint32_t little32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static int skip_frame(dbi_source *source, dbi_error *error)
{
    int have = peek(source, 8, error);
    if (have < 8)
        return have < 0 ? -1 : dbi_fail(error, "%s of a skippable frame", torn);
    uint64_t left = 8 + (uint64_t)little32(source->raw + source->at + 4);
    while (left) {
        have = peek(source, 1, error);
        if (have < 1)
            return have < 0 ? -1 : dbi_fail(error, "%s of a skippable frame", torn);
        size_t n = source->end - source->at;
        if (n > left)
            n = (size_t)left;
        source->at += n;
        left -= n;
    }
    return 0;
}

enum { AT_END, AT_FRAME, AT_OTHER };

/* What comes next in the file, between frames, skippable frames left behind. */
static int next_kind(dbi_source *source, dbi_error *error)
{
    for (;;) {
        int have = peek(source, 4, error);
        if (have < 0)
            return -1;
        if (have < 4)
            return have ? AT_OTHER : AT_END;
        uint32_t magic = little32(source->raw + source->at);
        if (magic == ZSTD_MAGICNUMBER)
            return AT_FRAME;
        if ((magic & ZSTD_MAGIC_SKIPPABLE_MASK) != ZSTD_MAGIC_SKIPPABLE_START)
            return AT_OTHER;
        if (skip_frame(source, error))
            return -1;
    }
}

static int start_frame(dbi_source *source, dbi_error *error)
{
    if (!source->zstd) {
        source->zstd = ZSTD_createDCtx();
        if (!source->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(source->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
            return dbi_fail(error, "out of memory");
    }
    ZSTD_DCtx_reset(source->zstd, ZSTD_reset_session_only);
    source->in_frame = true;
    return 0;
}

/* Decompresses within the frame until at least one byte has come or the frame has ended; how many came. libzstd compares the frame's content size
 * and its checksum. */
static ssize_t decompress(dbi_source *source, void *data, size_t size, dbi_error *error)
{
    ZSTD_outBuffer out = {data, size, 0};
    while (!out.pos && source->in_frame) {
        ZSTD_inBuffer in = {source->raw, source->end, source->at};
        size_t left = ZSTD_decompressStream(source->zstd, &out, &in);
        if (ZSTD_isError(left))
            return dbi_fail(error, "zstd: %s", ZSTD_getErrorName(left));
        bool still = in.pos == source->at && !out.pos;
        source->at = in.pos;
        source->in_frame = left != 0;
        if (!source->in_frame || !still)
            continue;
        int more = fill(source, error);
        if (more < 1)
            return more < 0 ? -1 : dbi_fail(error, "%s of a zstd frame", torn);
    }
    return (ssize_t)out.pos;
}

/* Takes one byte ahead, if the frame has another. */
static int look_ahead(dbi_source *source, dbi_error *error)
{
    if (source->ahead || !source->in_frame)
        return 0;
    ssize_t n = decompress(source, &source->ahead_byte, 1, error);
    source->ahead = n > 0;
    return n < 0 ? -1 : 0;
}

int dbi_source_begin(dbi_source *source, dbi_error *error)
{
    if (look_ahead(source, error))
        return -1;
    while (!source->ahead) {
        int kind = next_kind(source, error);
        source->compressed = kind == AT_FRAME;
        if (kind != AT_FRAME)
            return kind < 0 ? -1 : kind == AT_OTHER;
        if (start_frame(source, error) || look_ahead(source, error))
            return -1;
    }
    return 1;
}

static ssize_t read_plain(dbi_source *source, uint8_t *data, size_t size, dbi_error *error)
{
    if (source->at == source->end && size >= RAW)
        return read_some(source, data, size, error);
    int have = peek(source, 1, error);
    if (have < 1)
        return have;
    size_t n = source->end - source->at < size ? source->end - source->at : size;
    memcpy(data, source->raw + source->at, n);
    source->at += n;
    return (ssize_t)n;
}

/* Some bytes of the record; 0 where the file ends. */
static ssize_t read_compressed(dbi_source *source, uint8_t *data, size_t size, dbi_error *error)
{
    if (source->ahead) {
        *data = source->ahead_byte;
        source->ahead = false;
        return 1;
    }
    for (;;) {
        ssize_t n = decompress(source, data, size, error);
        if (n)
            return n;
        int kind = next_kind(source, error);
        if (kind == AT_OTHER)
            return dbi_fail(error, "a zstd frame ends in the middle of the record, and something else than a frame follows");
        if (kind != AT_FRAME)
            return kind == AT_END ? 0 : -1;
        if (start_frame(source, error))
            return -1;
    }
}

int dbi_source_read(dbi_source *source, void *data, size_t size, dbi_error *error)
{
    for (uint8_t *to = data, *end = to + size; to < end;) {
        ssize_t n = source->compressed ? read_compressed(source, to, (size_t)(end - to), error) : read_plain(source, to, (size_t)(end - to), error);
        if (n < 1)
            return n < 0 ? -1 : dbi_fail(error, "%s of the record", torn);
        to += n;
    }
    return 0;
}

void *dbi_source_take(dbi_source *source, size_t size, dbi_error *error)
{
    enum { FIRST = 1 << 26, FACTOR = 16 };
    uint8_t *data = NULL;
    for (size_t have = 0, room = FIRST;; room *= FACTOR) {
        if (room > size)
            room = size;
        uint8_t *larger = aligned_alloc(64, room ? (room + 63) / 64 * 64 : 64);
        if (!larger) {
            dbi_fail(error, "out of memory: %zu bytes", room);
            break;
        }
        if (have)
            memcpy(larger, data, have);
        free(data);
        data = larger;
        if (dbi_source_read(source, data + have, room - have, error))
            break;
        if (room == size)
            return data;
        have = room;
    }
    free(data);
    return NULL;
}

int dbi_source_end(dbi_source *source, dbi_error *error)
{
    return source->compressed ? look_ahead(source, error) : 0;
}
