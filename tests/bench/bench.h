/* What the timing programs share. */
#ifndef BENCH_H
#define BENCH_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/random.h"

static inline _Noreturn void die(const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit(1);
}

static inline double wall_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* "112x112x80" */
static inline void parse_size(const char *text, int64_t size[3])
{
    long long n[3];
    char end;
    if (!text || sscanf(text, "%lldx%lldx%lld%c", &n[0], &n[1], &n[2], &end) != 3 || n[0] < 1 || n[1] < 1 || n[2] < 1)
        die("a size is XxYxZ");
    for (int i = 0; i < 3; i++)
        size[i] = n[i];
}

static inline void *need_memory(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p)
        die("out of memory");
    memset(p, 0, (bytes + 63) / 64 * 64); /* the pages are there before the clock runs */
    return p;
}

static inline float *random_array(size_t count, double scale)
{
    float *array = need_memory(count * sizeof *array);
    dbi_random random;
    dbi_random_start(&random, 1, DBI_ROLE_TEST, 0, 0);
    for (size_t i = 0; i < count; i++)
        array[i] = (float)(scale * dbi_random_normal(&random));
    return array;
}

/* A ball in the middle, a third of the shortest side in radius: distance to its surface, positive inside. */
static inline double ball(const int64_t size[3], int64_t x, int64_t y, int64_t z)
{
    const int64_t at[] = {x, y, z};
    double square = 0, shortest = INFINITY;
    for (int i = 0; i < 3; i++) {
        const double d = (double)at[i] - 0.5 * (double)size[i] + 0.5;
        square += d * d;
        shortest = fmin(shortest, (double)size[i]);
    }
    return shortest / 3 - sqrt(square);
}

/* Largest resident memory of this process so far, MB. */
static inline double peak_mb(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

#endif
