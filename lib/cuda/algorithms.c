#include "cuda/algorithms.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct entry {
    char key[DBI_ALGORITHM_KEY];
    int choice;
} entry;

struct dbi_algorithms {
    char *path; /* NULL: nowhere */
    bool lasting, changed;
    int lock; /* open file, -1: none */
    entry *entry;
    size_t count, room;
};

enum { MOST_ENTRIES = 100000 };

/* $XDG_CACHE_HOME/dbisl/convolutions.tsv; makes the folders. NULL where there is no home or no memory. */
static char *usual_path(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *folder = NULL, *path = NULL;
    if (cache && *cache == '/' ? asprintf(&folder, "%s", cache) < 0
        : home && *home        ? asprintf(&folder, "%s/.cache", home) < 0
                               : true)
        return NULL;
    mkdir(folder, 0700);
    if (asprintf(&path, "%s/dbisl", folder) >= 0) {
        mkdir(path, 0777);
        free(path);
    }
    if (asprintf(&path, "%s/dbisl/convolutions.tsv", folder) < 0)
        path = NULL;
    free(folder);
    return path;
}

static entry *find(const dbi_algorithms *a, const char *key)
{
    for (size_t i = 0; i < a->count; i++)
        if (!strcmp(a->entry[i].key, key))
            return &a->entry[i];
    return NULL;
}

static int add(dbi_algorithms *a, const char *key, int choice)
{
    entry *e = find(a, key);
    if (!e) {
        if (a->count == a->room) {
            size_t room = a->room ? 2 * a->room : 64;
            entry *more = realloc(a->entry, room * sizeof *more);
            if (!more)
                return -1;
            a->entry = more;
            a->room = room;
        }
        e = &a->entry[a->count++];
        snprintf(e->key, sizeof e->key, "%s", key);
    }
    e->choice = choice;
    return 0;
}

/* "key TAB number"; false for everything else. */
static bool parse(char *line, char **key, int *choice)
{
    char *tab = strchr(line, '\t'), *end;
    if (!tab || tab == line || tab - line >= DBI_ALGORITHM_KEY || tab[1] < '0' || tab[1] > '9')
        return false;
    for (const char *p = line; p < tab; p++)
        if (*p < ' ' || *p > '~')
            return false;
    *tab = 0;
    errno = 0;
    long number = strtol(tab + 1, &end, 10);
    if (errno || (*end && strcmp(end, "\n")) || number > DBI_ALGORITHM_MOST)
        return false;
    *key = line;
    *choice = (int)number;
    return true;
}

static int read_file(dbi_algorithms *a)
{
    FILE *file = a->path ? fopen(a->path, "re") : NULL;
    char line[DBI_ALGORITHM_KEY + 32], *key;
    int choice, status = 0;
    bool whole = true; /* the line at hand starts at its start */
    while (file && !status && a->count < MOST_ENTRIES && fgets(line, sizeof line, file)) {
        const bool ends = strchr(line, '\n');
        if (whole && ends && parse(line, &key, &choice))
            status = add(a, key, choice);
        whole = ends;
    }
    if (file)
        fclose(file);
    return status;
}

dbi_algorithms *dbi_algorithms_open(const char *path, dbi_error *error)
{
    dbi_algorithms *a = calloc(1, sizeof *a);
    if (a) {
        a->lock = -1;
        a->path = path ? strdup(path) : usual_path();
    }
    if (!a || read_file(a)) {
        dbi_algorithms_close(a);
        dbi_fail(error, "out of memory");
        return NULL;
    }
    const int file = a->path ? open(a->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    a->lasting = file >= 0;
    if (file >= 0)
        close(file);
    return a;
}

void dbi_algorithms_close(dbi_algorithms *a)
{
    if (!a)
        return;
    if (a->lock >= 0)
        close(a->lock);
    free(a->path);
    free(a->entry);
    free(a);
}

bool dbi_algorithms_lasting(const dbi_algorithms *a)
{
    return a->lasting;
}

int dbi_algorithms_lock(dbi_algorithms *a, dbi_error *error)
{
    char *path = NULL;
    if (a->lock >= 0 || !a->lasting)
        return 0;
    if (asprintf(&path, "%s.lock", a->path) < 0)
        return dbi_fail(error, "out of memory");
    a->lock = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    free(path);
    if (a->lock >= 0)
        while (flock(a->lock, LOCK_EX) && errno == EINTR)
            ;
    return read_file(a) ? dbi_fail(error, "out of memory") : 0;
}

int dbi_algorithms_find(const dbi_algorithms *a, const char *key)
{
    const entry *e = find(a, key);
    return e ? e->choice : -1;
}

int dbi_algorithms_set(dbi_algorithms *a, const char *key, int choice, dbi_error *error)
{
    a->changed = true;
    return add(a, key, choice) ? dbi_fail(error, "out of memory") : 0;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->key, ((const entry *)b)->key);
}

static bool write_file(const dbi_algorithms *a)
{
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.%ld", a->path, (long)getpid()) < 0)
        return false;
    FILE *file = fopen(temporary, "we");
    bool good = file;
    for (size_t i = 0; good && i < a->count; i++)
        good = fprintf(file, "%s\t%d\n", a->entry[i].key, a->entry[i].choice) > 0;
    good = (file && !fclose(file)) && good && !rename(temporary, a->path);
    if (file && !good)
        unlink(temporary);
    free(temporary);
    return good;
}

void dbi_algorithms_save(dbi_algorithms *a)
{
    if (a->changed && a->lasting) {
        qsort(a->entry, a->count, sizeof *a->entry, by_key);
        a->lasting = write_file(a);
        a->changed = false;
    }
    if (a->lock >= 0)
        close(a->lock);
    a->lock = -1;
}
