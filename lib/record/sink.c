#include "record/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 16, PIPE = 1 << 18 };

struct dbi_sink {
    int fd;                     /* -1 once closed */
    char *name, *target, *part; /* the name in messages; of a file, its path and its temporary path */
    bool prepared;
    enum { UNPUBLISHED, IS_NEW, EXCHANGED } state; /* when several are published together: how to undo this one */
    struct dbi_sink *next;                         /* of the open files */
    size_t used;
    uint8_t buffer[BUFFER];
};

/* The files that are open. A program that fails exits without closing them; their temporary files are removed at
 * exit. */
static dbi_sink *open_files;
static pthread_mutex_t open_files_lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t open_files_process;

static void remove_open_files(void)
{
    if (getpid() != open_files_process)
        return;
    for (dbi_sink *sink = open_files; sink; sink = sink->next)
        unlink(sink->part);
}

static void remember(dbi_sink *sink)
{
    pthread_mutex_lock(&open_files_lock);
    if (open_files_process != getpid()) {
        open_files_process = getpid();
        open_files = NULL;
        atexit(remove_open_files);
    }
    sink->next = open_files;
    open_files = sink;
    pthread_mutex_unlock(&open_files_lock);
}

static void forget(dbi_sink *sink)
{
    pthread_mutex_lock(&open_files_lock);
    dbi_sink **link = &open_files;
    while (*link && *link != sink)
        link = &(*link)->next;
    if (*link)
        *link = sink->next;
    pthread_mutex_unlock(&open_files_lock);
}

/* A batch goes through a pipe in pieces as large as the pipe, and each piece costs two switches between the programs.
 * The usual 64 KiB make too many pieces. 1 MiB would be hardly faster, and Linux allows a user only 64 MiB of pipes in
 * all. */
static void widen_pipe(int fd)
{
    struct stat is;
    if (!fstat(fd, &is) && S_ISFIFO(is.st_mode) && fcntl(fd, F_GETPIPE_SZ) < PIPE)
        fcntl(fd, F_SETPIPE_SZ, PIPE); /* when this is refused, the pipe works as it is */
}

static void free_sink(dbi_sink *sink)
{
    if (sink->fd >= 0)
        close(sink->fd);
    free(sink->name);
    free(sink->target);
    free(sink->part);
    free(sink);
}

/* DIR/.NAME.part for DIR/NAME */
static char *part_name(const char *target)
{
    const char *slash = strrchr(target, '/');
    size_t directory = slash ? (size_t)(slash + 1 - target) : 0;
    char *part;
    return asprintf(&part, "%.*s.%s.part", (int)directory, target, target + directory) < 0 ? NULL : part;
}

/* Opens the temporary file and locks it, because two programs that write the same target would mix their bytes. What a
 * killed program left is overwritten. */
static int open_part(const char *part, dbi_error *error)
{
    for (;;) {
        int fd = open(part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0)
            return dbi_fail(error, "%s", strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
            close(fd);
            return dbi_fail(error, "another program is writing it");
        }
        struct stat mine, there;
        if (fstat(fd, &mine) || stat(part, &there) || mine.st_ino != there.st_ino || mine.st_dev != there.st_dev) {
            close(fd); /* another program has just renamed it */
            continue;
        }
        if (ftruncate(fd, 0)) {
            dbi_fail(error, "%s", strerror(errno));
            close(fd);
            return -1;
        }
        return fd;
    }
}

static int open_file(dbi_sink *sink, const char *path, dbi_error *error)
{
    struct stat there;
    bool exists = !stat(path, &there);
    if (exists && S_ISDIR(there.st_mode))
        return dbi_fail(error, "%s", strerror(EISDIR));
    if (exists && !S_ISREG(there.st_mode)) {
        sink->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (sink->fd < 0)
            return dbi_fail(error, "%s", strerror(errno));
        widen_pipe(sink->fd);
        return 0;
    }
    sink->target = exists ? realpath(path, NULL) : strdup(path); /* of a link, the file behind it is replaced */
    sink->part = sink->target ? part_name(sink->target) : NULL;
    if (!sink->part)
        return dbi_fail(error, "out of memory");
    sink->fd = open_part(sink->part, error);
    if (sink->fd < 0)
        return -1;
    remember(sink);
    return 0;
}

dbi_sink *dbi_sink_open(const char *path, dbi_error *error)
{
    bool standard = !path || !strcmp(path, "-");
    dbi_sink *sink = malloc(sizeof *sink);
    if (!sink) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    memset(sink, 0, offsetof(dbi_sink, buffer));
    sink->fd = -1;
    sink->name = strdup(standard ? "standard output" : path);
    if (!sink->name)
        dbi_fail(error, "out of memory");
    else if (!standard) {
        if (!open_file(sink, path, error))
            return sink;
        dbi_fail_in(error, "%s", path);
    } else if ((sink->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)) >=
               0) { /* a copy: closing it reports late errors */
        widen_pipe(sink->fd);
        return sink;
    } else
        dbi_fail_errno(error, "standard output");
    free_sink(sink);
    return NULL;
}

static int write_all(dbi_sink *sink, const uint8_t *data, size_t size, dbi_error *error)
{
    while (size) {
        ssize_t n = write(sink->fd, data, size < (1U << 30) ? size : 1U << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return dbi_fail_errno(error, "%s", sink->name);
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int flush(dbi_sink *sink, dbi_error *error)
{
    size_t used = sink->used;
    sink->used = 0;
    return write_all(sink, sink->buffer, used, error);
}

int dbi_sink_write(dbi_sink *sink, const void *data, size_t size, dbi_error *error)
{
    if (sink->used + size > BUFFER && flush(sink, error))
        return -1;
    if (size >= BUFFER)
        return write_all(sink, data, size, error);
    if (size)
        memcpy(sink->buffer + sink->used, data, size);
    sink->used += size;
    return 0;
}

int dbi_sink_printf(dbi_sink *sink, dbi_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = dbi_format(error, format, args);
    va_end(args);
    if (!text)
        return dbi_fail_in(error, "%s", sink->name);
    int result = dbi_sink_write(sink, text, strlen(text), error);
    free(text);
    return result;
}

int dbi_sink_flush(dbi_sink *sink, dbi_error *error)
{
    return sink->part ? 0 : flush(sink, error);
}

int dbi_sink_prepare(dbi_sink *sink, dbi_error *error)
{
    if (flush(sink, error))
        return -1;
    if (sink->part && fsync(sink->fd) && errno != EINVAL && errno != ENOSYS)
        return dbi_fail_errno(error, "%s", sink->name);
    int copy = dup(sink->fd); /* Network file systems report errors at close. A copy is closed: the first descriptor
                                 must keep the lock until the rename. */
    if (copy >= 0 && close(copy))
        return dbi_fail_errno(error, "%s", sink->name);
    sink->prepared = true;
    return 0;
}

/* Makes the rename survive a power cut. A failure is ignored: some file systems cannot sync a directory. */
static void sync_directory(const char *target)
{
    const char *slash = strrchr(target, '/');
    char *directory = slash ? strndup(target, (size_t)(slash + 1 - target)) : strdup(".");
    int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(directory);
}

/* Run on all targets before any file is renamed. A rename to a directory would fail, and an exchange with a directory
 * would succeed although it must not. */
static int check_target(const dbi_sink *sink, dbi_error *error)
{
    struct stat there;
    if (!sink->prepared)
        return dbi_fail(error, "%s: not written completely", sink->name);
    if (sink->part && !lstat(sink->target, &there) && S_ISDIR(there.st_mode))
        return dbi_fail(error, "%s: %s", sink->name, strerror(EISDIR));
    return 0;
}

/* undoable: an old file is kept, under the temporary name. */
static int put_in_place(dbi_sink *sink, bool undoable, dbi_error *error)
{
    if (!sink->part)
        return 0;
    struct stat there;
    if (undoable && lstat(sink->target, &there))
        sink->state = IS_NEW;
    else if (undoable && !renameat2(AT_FDCWD, sink->part, AT_FDCWD, sink->target, RENAME_EXCHANGE))
        sink->state = EXCHANGED;
    if (sink->state != EXCHANGED && rename(sink->part, sink->target)) {
        sink->state = UNPUBLISHED;
        return dbi_fail_errno(error, "%s", sink->name);
    }
    return 0;
}

static void take_back(const dbi_sink *sink)
{
    if (sink->state == EXCHANGED)
        renameat2(AT_FDCWD, sink->part, AT_FDCWD, sink->target, RENAME_EXCHANGE);
    else if (sink->state == IS_NEW)
        rename(sink->target, sink->part);
}

static void end_publishing(dbi_sink *sink)
{
    if (sink->part) {
        if (sink->state == EXCHANGED)
            unlink(sink->part);
        forget(sink);
        sync_directory(sink->target);
    }
    free_sink(sink);
}

int dbi_sink_publish(dbi_sink *const *sinks, size_t count, dbi_error *error)
{
    int status = 0;
    size_t done = 0;
    for (size_t i = 0; !status && i < count; i++)
        status = sinks[i] ? check_target(sinks[i], error) : 0;
    for (; !status && done < count; done++)
        status = sinks[done] ? put_in_place(sinks[done], count > 1, error) : 0;
    for (size_t i = 0; status && i < done; i++)
        if (sinks[i])
            take_back(sinks[i]);
    for (size_t i = 0; i < count; i++)
        if (status)
            dbi_sink_abort(sinks[i]);
        else if (sinks[i])
            end_publishing(sinks[i]);
    return status;
}

int dbi_sink_commit(dbi_sink *sink, dbi_error *error)
{
    if (dbi_sink_prepare(sink, error)) {
        dbi_sink_abort(sink);
        return -1;
    }
    return dbi_sink_publish(&sink, 1, error);
}

void dbi_sink_abort(dbi_sink *sink)
{
    if (!sink)
        return;
    if (sink->part && sink->fd >= 0) {
        unlink(sink->part);
        forget(sink);
    }
    free_sink(sink);
}
