#include "record/bytes.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 1 << 16 };
static const size_t default_limit = (size_t)64 << 30;

/* Where bytes come from: a descriptor, or an archive that stands at a member. */
typedef struct origin {
    int fd;
    struct archive *archive;
} origin;

/* Reads at most `size` bytes. Returns how many came, 0 at the end, -1 on error. */
static ssize_t pull(const origin *from, void *data, size_t size, dbi_error *error)
{
    ssize_t n;
    if (from->archive) {
        n = archive_read_data(from->archive, data, size);
        if (n < 0)
            return dbi_fail(error, "%s", archive_error_string(from->archive));
        return n;
    }
    do
        n = read(from->fd, data, size);
    while (n < 0 && errno == EINTR);
    return n < 0 ? dbi_fail(error, "%s", strerror(errno)) : n;
}

/* A buffer that grows. It always has room for a NUL behind its bytes. */
typedef struct growing {
    uint8_t *data;
    size_t size, room, limit;
} growing;

/* Makes room for at least one more byte. Fails at the limit. */
static int make_room(growing *heap, dbi_error *error)
{
    if (heap->size < heap->room)
        return 0;
    size_t room = heap->room + (heap->room > CHUNK ? heap->room / 2 : CHUNK);
    if (room > heap->limit)
        room = heap->limit;
    if (room == heap->size)
        return dbi_fail(error, "larger than the %zu bytes that are allowed", heap->limit);
    uint8_t *data = realloc(heap->data, room + 1);
    if (!data)
        return dbi_fail(error, "out of memory: %zu bytes", room);
    heap->data = data;
    heap->room = room;
    return 0;
}

/* Reads what is left. A heap that is full when the input ends is no error, and only reading one more byte tells whether
 * the input has ended. */
static int read_rest(const origin *from, growing *heap, dbi_error *error)
{
    for (;;) {
        uint8_t more[1];
        bool full = heap->size == heap->limit;
        if (!full && make_room(heap, error))
            return -1;
        ssize_t n = pull(from, full ? more : heap->data + heap->size, full ? 1 : heap->room - heap->size, error);
        if (n <= 0)
            return (int)n;
        if (full)
            return make_room(heap, error);
        heap->size += (size_t)n;
    }
}

/* Inflates the chunk into the heap. gzip data may have several members one after another; *ended says whether one has
 * just ended. */
static int inflate_chunk(z_stream *z, growing *heap, bool *ended, dbi_error *error)
{
    while (z->avail_in) {
        if (*ended) {
            if (*z->next_in == 0) { /* tapes and some tools pad with zeros */
                z->next_in++;
                z->avail_in--;
                continue;
            }
            inflateReset(z);
            *ended = false;
        }
        uint8_t more[1];
        bool full = heap->size == heap->limit;
        if (!full && make_room(heap, error))
            return -1;
        size_t room = full ? 1 : heap->room - heap->size;
        z->next_out = full ? more : heap->data + heap->size;
        z->avail_out = room < (1U << 30) ? (uInt)room : 1U << 30;
        uInt before = z->avail_out;
        int status = inflate(z, Z_NO_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            return dbi_fail(error, "gzip: %s", z->msg ? z->msg : "damaged data");
        if (full && z->avail_out < before)
            return make_room(heap, error);
        heap->size += before - z->avail_out;
        *ended = status == Z_STREAM_END;
    }
    return 0;
}

static int read_gzip(const origin *from, uint8_t *chunk, size_t size, growing *heap, dbi_error *error)
{
    z_stream z = {.next_in = chunk, .avail_in = (uInt)size};
    if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return dbi_fail(error, "out of memory");
    bool ended = false;
    ssize_t n = 0;
    int result = inflate_chunk(&z, heap, &ended, error);
    while (!result && (n = pull(from, chunk, CHUNK, error)) > 0) {
        z.next_in = chunk;
        z.avail_in = (uInt)n;
        result = inflate_chunk(&z, heap, &ended, error);
    }
    inflateEnd(&z);
    if (!result && !n && !ended)
        return dbi_fail(error, "gzip: the data end too early");
    return n < 0 ? -1 : result;
}

/* hint: how many bytes will probably come; 0 when unknown. */
static int read_all(const origin *from, size_t hint, growing *heap, dbi_error *error)
{
    uint8_t *chunk = malloc(CHUNK);
    if (!chunk)
        return dbi_fail(error, "out of memory");
    size_t size = 0;
    ssize_t n;
    do {
        n = pull(from, chunk + size, CHUNK - size, error);
        size += n > 0 ? (size_t)n : 0;
    } while (n > 0 && size < 2);
    int result = n < 0 ? -1 : 0;
    if (!result && size >= 2 && chunk[0] == 0x1f && chunk[1] == 0x8b) {
        result = read_gzip(from, chunk, size, heap, error);
    } else if (!result) {
        heap->room = hint > size ? hint : size;
        if (size > heap->limit || hint > heap->limit)
            result = dbi_fail(error, "larger than the %zu bytes that are allowed", heap->limit);
        else if (!(heap->data = malloc(heap->room + 1)))
            result = dbi_fail(error, "out of memory: %zu bytes", heap->room);
        else {
            memcpy(heap->data, chunk, size);
            heap->size = size;
            result = read_rest(from, heap, error);
        }
    }
    free(chunk);
    return result;
}

static int read_descriptor(int fd, growing *heap, dbi_error *error)
{
    struct stat is;
    size_t hint = !fstat(fd, &is) && S_ISREG(is.st_mode) && is.st_size > 0 ? (size_t)is.st_size : 0;
    return read_all(&(origin){.fd = fd}, hint, heap, error);
}

/* The name without "./" at its start: "./a" and "a" are the same member. */
static const char *plain_name(const char *name)
{
    while (name[0] == '.' && name[1] == '/')
        for (name += 2; *name == '/';)
            name++;
    return name;
}

/* Opens an archive in one of the formats that the manual names. None of these filters starts another program, as some
 * of libarchive's do. */
static struct archive *open_archive(const char *path, dbi_error *error)
{
    struct archive *archive = archive_read_new();
    if (!archive) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    archive_read_support_format_tar(archive);
    archive_read_support_format_zip(archive);
    archive_read_support_filter_gzip(archive);
    archive_read_support_filter_bzip2(archive);
    archive_read_support_filter_xz(archive);
    archive_read_support_filter_lzma(archive);
    archive_read_support_filter_zstd(archive);
    archive_read_support_filter_compress(archive);
    if (archive_read_open_filename(archive, path, CHUNK) == ARCHIVE_OK)
        return archive;
    dbi_fail(error, "not a tar or zip archive: %s", archive_error_string(archive));
    archive_read_free(archive);
    return NULL;
}

/* Moves to the member, so that its data can be read. */
static int find_member(struct archive *archive, const char *member, dbi_error *error)
{
    struct archive_entry *entry;
    int status;
    while ((status = archive_read_next_header(archive, &entry)) == ARCHIVE_OK || status == ARCHIVE_WARN) {
        const char *name = archive_entry_pathname_utf8(entry);
        if (!name)
            name = archive_entry_pathname(entry);
        if (!name || strcmp(plain_name(name), plain_name(member)))
            continue;
        if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry))
            return dbi_fail(error, "the member \"%s\" is no regular file", member);
        return 0;
    }
    if (status == ARCHIVE_EOF)
        return dbi_fail(error, "no member \"%s\" in the archive", member);
    return dbi_fail(error, "%s", archive_error_string(archive));
}

static int read_member(const char *path, const char *member, growing *heap, dbi_error *error)
{
    struct archive *archive = open_archive(path, error);
    if (!archive)
        return -1;
    int result = find_member(archive, member, error);
    if (!result)
        result = read_all(&(origin){.archive = archive}, 0, heap, error);
    archive_read_free(archive);
    return result;
}

const char *dbi_bytes_member(const char *path)
{
    struct stat whole;
    if (!stat(path, &whole) || (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG))
        return NULL;
    for (const char *colon = path; (colon = strchr(colon, ':')); colon++) {
        char *archive = strndup(path, (size_t)(colon - path));
        struct stat is;
        bool file = archive && !stat(archive, &is) && S_ISREG(is.st_mode);
        free(archive);
        if (file && colon[1])
            return colon + 1;
    }
    return NULL;
}

static int read_path(const char *path, growing *heap, dbi_error *error)
{
    if (!path || !strcmp(path, "-"))
        return read_descriptor(STDIN_FILENO, heap, error);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        int result = read_descriptor(fd, heap, error);
        close(fd);
        return result;
    }
    int reason = errno;
    const char *member = dbi_bytes_member(path);
    if (!member)
        return dbi_fail(error, "%s", strerror(reason));
    char *archive = strndup(path, (size_t)(member - 1 - path));
    int result = archive ? read_member(archive, member, heap, error) : dbi_fail(error, "out of memory");
    free(archive);
    return result;
}

int dbi_bytes_read(const char *path, size_t limit, uint8_t **data, size_t *size, dbi_error *error)
{
    growing heap = {.limit = limit ? limit : default_limit};
    int result = read_path(path, &heap, error);
    if (!result && !heap.data && !(heap.data = malloc(1)))
        result = dbi_fail(error, "out of memory");
    if (result) {
        free(heap.data);
        return dbi_fail_in(error, "%s", path && strcmp(path, "-") ? path : "standard input");
    }
    uint8_t *exact = realloc(heap.data, heap.size + 1);
    if (exact)
        heap.data = exact;
    heap.data[heap.size] = 0;
    *data = heap.data;
    *size = heap.size;
    return 0;
}
