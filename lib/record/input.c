#include "record/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { RAW = 1 << 17, WINDOW_LOG_MAX = 27 };

struct dbi_input {
    int fd;
    size_t at, end; /* the bytes of raw that are not used yet */
    ZSTD_DCtx *zstd;
    bool compressed; /* whether this record is */
    bool in_frame;
    bool ahead; /* whether ahead_byte is decompressed already, to see whether a frame goes on */
    uint8_t ahead_byte;
    uint8_t raw[RAW];
};

static const char torn[] = "the data end in the middle";

dbi_input *dbi_input_open(const char *path, dbi_error *error)
{
    dbi_input *input = malloc(sizeof *input);
    if (!input) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    memset(input, 0, offsetof(dbi_input, raw));
    input->fd = path ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (input->fd < 0) {
        dbi_fail(error, "%s", strerror(errno));
        free(input);
        return NULL;
    }
    return input;
}

void dbi_input_close(dbi_input *input)
{
    if (!input)
        return;
    if (input->fd != STDIN_FILENO)
        close(input->fd);
    ZSTD_freeDCtx(input->zstd);
    free(input);
}

/* One read() of at most `size` bytes. Returns how many came, 0 at the end, -1 on error. */
static ssize_t read_some(dbi_input *input, void *data, size_t size, dbi_error *error)
{
    ssize_t n;
    do
        n = read(input->fd, data, size < (1U << 30) ? size : 1U << 30);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        dbi_fail(error, "%s", strerror(errno));
    return n;
}

/* Reads more bytes into raw. Returns 1, 0 at the end of the file, -1 on error. */
static int fill(dbi_input *input, dbi_error *error)
{
    memmove(input->raw, input->raw + input->at, input->end - input->at);
    input->end -= input->at;
    input->at = 0;
    ssize_t n = read_some(input, input->raw + input->end, RAW - input->end, error);
    if (n > 0)
        input->end += (size_t)n;
    return n > 0 ? 1 : (int)n;
}

/* Reads until `size` bytes are in raw or the file ends. Returns how many of them are there, -1 on error. */
static int peek(dbi_input *input, size_t size, dbi_error *error)
{
    while (input->end - input->at < size) {
        int more = fill(input, error);
        if (more < 0)
            return -1;
        if (!more)
            break;
    }
    size_t have = input->end - input->at;
    return (int)(have < size ? have : size);
}

static uint32_t little32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static int skip_frame(dbi_input *input, dbi_error *error)
{
    int have = peek(input, 8, error);
    if (have < 8)
        return have < 0 ? -1 : dbi_fail(error, "%s of a skippable frame", torn);
    uint64_t left = 8 + (uint64_t)little32(input->raw + input->at + 4);
    while (left) {
        have = peek(input, 1, error);
        if (have < 1)
            return have < 0 ? -1 : dbi_fail(error, "%s of a skippable frame", torn);
        size_t n = input->end - input->at;
        if (n > left)
            n = (size_t)left;
        input->at += n;
        left -= n;
    }
    return 0;
}

enum { AT_END, AT_FRAME, AT_OTHER };

/* Skips skippable frames, then says what comes next in the file. */
static int next_kind(dbi_input *input, dbi_error *error)
{
    for (;;) {
        int have = peek(input, 4, error);
        if (have < 0)
            return -1;
        if (have < 4)
            return have ? AT_OTHER : AT_END;
        uint32_t magic = little32(input->raw + input->at);
        if (magic == ZSTD_MAGICNUMBER)
            return AT_FRAME;
        if ((magic & ZSTD_MAGIC_SKIPPABLE_MASK) != ZSTD_MAGIC_SKIPPABLE_START)
            return AT_OTHER;
        if (skip_frame(input, error))
            return -1;
    }
}

static int start_frame(dbi_input *input, dbi_error *error)
{
    if (!input->zstd) {
        input->zstd = ZSTD_createDCtx();
        if (!input->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(input->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
            return dbi_fail(error, "out of memory");
    }
    ZSTD_DCtx_reset(input->zstd, ZSTD_reset_session_only);
    input->in_frame = true;
    return 0;
}

/* Decompresses within the frame until at least one byte has come or the frame has ended. Returns how many bytes came.
 * libzstd checks the frame's content size and its checksum. */
static ssize_t decompress(dbi_input *input, void *data, size_t size, dbi_error *error)
{
    ZSTD_outBuffer out = {data, size, 0};
    while (!out.pos && input->in_frame) {
        ZSTD_inBuffer in = {input->raw, input->end, input->at};
        size_t left = ZSTD_decompressStream(input->zstd, &out, &in);
        if (ZSTD_isError(left))
            return dbi_fail(error, "zstd: %s", ZSTD_getErrorName(left));
        bool still = in.pos == input->at && !out.pos;
        input->at = in.pos;
        input->in_frame = left != 0;
        if (!input->in_frame || !still)
            continue;
        int more = fill(input, error);
        if (more < 1)
            return more < 0 ? -1 : dbi_fail(error, "%s of a zstd frame", torn);
    }
    return (ssize_t)out.pos;
}

/* Decompresses one byte ahead if the frame has one: without it the frame's end would not be seen. */
static int look_ahead(dbi_input *input, dbi_error *error)
{
    if (input->ahead || !input->in_frame)
        return 0;
    ssize_t n = decompress(input, &input->ahead_byte, 1, error);
    input->ahead = n > 0;
    return n < 0 ? -1 : 0;
}

int dbi_input_begin(dbi_input *input, dbi_error *error)
{
    if (look_ahead(input, error))
        return -1;
    while (!input->ahead) {
        int kind = next_kind(input, error);
        input->compressed = kind == AT_FRAME;
        if (kind != AT_FRAME)
            return kind < 0 ? -1 : kind == AT_OTHER;
        if (start_frame(input, error) || look_ahead(input, error))
            return -1;
    }
    return 1;
}

static ssize_t read_plain(dbi_input *input, uint8_t *data, size_t size, dbi_error *error)
{
    if (input->at == input->end && size >= RAW)
        return read_some(input, data, size, error);
    int have = peek(input, 1, error);
    if (have < 1)
        return have;
    size_t n = input->end - input->at < size ? input->end - input->at : size;
    memcpy(data, input->raw + input->at, n);
    input->at += n;
    return (ssize_t)n;
}

/* Reads some bytes of the record. Returns how many, 0 where the file ends, -1 on error. */
static ssize_t read_compressed(dbi_input *input, uint8_t *data, size_t size, dbi_error *error)
{
    if (input->ahead) {
        *data = input->ahead_byte;
        input->ahead = false;
        return 1;
    }
    for (;;) {
        ssize_t n = decompress(input, data, size, error);
        if (n)
            return n;
        int kind = next_kind(input, error);
        if (kind == AT_OTHER)
            return dbi_fail(error,
                            "a zstd frame ends in the middle of the record, and something else than a frame follows");
        if (kind != AT_FRAME)
            return kind == AT_END ? 0 : -1;
        if (start_frame(input, error))
            return -1;
    }
}

int dbi_input_read(dbi_input *input, void *data, size_t size, dbi_error *error)
{
    for (uint8_t *to = data, *end = to + size; to < end;) {
        ssize_t n = input->compressed ? read_compressed(input, to, (size_t)(end - to), error)
                                      : read_plain(input, to, (size_t)(end - to), error);
        if (n < 1)
            return n < 0 ? -1 : dbi_fail(error, "%s of the record", torn);
        to += n;
    }
    return 0;
}

void *dbi_input_take(dbi_input *input, size_t size, dbi_error *error)
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
        if (dbi_input_read(input, data + have, room - have, error))
            break;
        if (room == size)
            return data;
        have = room;
    }
    free(data);
    return NULL;
}

int dbi_input_end(dbi_input *input, dbi_error *error)
{
    return input->compressed ? look_ahead(input, error) : 0;
}
