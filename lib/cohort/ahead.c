#include "cohort/ahead.h"

/* Each of several threads makes whole batches; a queue of bounded length hands them over in order. */
#include <pthread.h>
#include <stdlib.h>

#include "base/parallel.h"

struct dbi_ahead {
    dbi_sampler *sampler;
    uint32_t first, count; /* count: how many; it ends before a batch that cannot be made */
    pthread_t *threads;
    int thread_count,
        loaders; /* loaders: how many threads each uses to load cases; all together are no more than OpenMP's */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* any of the fields below, or count */
    dbi_record **queue;     /* a ring; NULL: this batch is not made yet */
    int size;
    uint32_t begun, taken;
    bool stop, failed;
    dbi_error error;
};

/* Waits for room in the queue and gives the number of the next batch to make. False when there is nothing more to
 * do. */
static bool begin(dbi_ahead *a, uint32_t *number)
{
    pthread_mutex_lock(&a->lock);
    while (!a->stop && a->begun < a->count && a->begun - a->taken == (uint32_t)a->size)
        pthread_cond_wait(&a->changed, &a->lock);
    const bool go_on = !a->stop && a->begun < a->count;
    if (go_on)
        *number = a->begun++;
    pthread_mutex_unlock(&a->lock);
    return go_on;
}

static void *make_batches(void *argument)
{
    dbi_ahead *a = argument;
    dbi_set_threads(a->loaders);
    for (uint32_t i; begin(a, &i);) {
        dbi_error error;
        dbi_record *batch = dbi_sampler_batch(a->sampler, a->first + i, &error);
        pthread_mutex_lock(&a->lock);
        if (batch)
            a->queue[i % (uint32_t)a->size] = batch;
        else if (i < a->count) {
            a->failed = true;
            a->count = i;
            a->error = error;
        }
        pthread_cond_broadcast(&a->changed);
        pthread_mutex_unlock(&a->lock);
    }
    return NULL;
}

static int start_threads(dbi_ahead *a, dbi_error *error)
{
    const int cores = omp_get_max_threads(), most = a->count < (uint32_t)a->size ? (int)a->count : a->size,
              wanted = cores < most ? cores : most;
    a->loaders = cores / wanted;
    a->threads = calloc((size_t)wanted, sizeof *a->threads);
    if (!a->threads)
        return dbi_fail(error, "out of memory");
    while (a->thread_count < wanted && pthread_create(&a->threads[a->thread_count], NULL, make_batches, a) == 0)
        a->thread_count++;
    return a->thread_count ? 0 : dbi_fail(error, "no thread can be started");
}

dbi_ahead *dbi_ahead_start(dbi_sampler *sampler, uint32_t first, uint32_t count, int ahead, dbi_error *error)
{
    if (ahead < 1 || count < 1) {
        dbi_fail(error, "%u batches, %d ahead: at least one", count, ahead);
        return NULL;
    }
    dbi_ahead *a = calloc(1, sizeof *a);
    if (!a) {
        dbi_fail(error, "out of memory");
        return NULL;
    }
    *a = (dbi_ahead){.sampler = sampler,
                     .first = first,
                     .count = count,
                     .size = ahead,
                     .queue = calloc((size_t)ahead, sizeof(dbi_record *))};
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    if (!a->queue)
        dbi_fail(error, "out of memory");
    if (a->queue && start_threads(a, error) == 0)
        return a;
    dbi_ahead_stop(a);
    return NULL;
}

int dbi_ahead_next(dbi_ahead *a, dbi_record **batch, dbi_error *error)
{
    *batch = NULL;
    int result = 0;
    pthread_mutex_lock(&a->lock);
    const size_t size = (size_t)a->size;
    while (a->taken < a->count && !a->queue[a->taken % size])
        pthread_cond_wait(&a->changed, &a->lock);
    if (a->taken < a->count) {
        *batch = a->queue[a->taken % size];
        a->queue[a->taken++ % size] = NULL;
        result = 1;
        pthread_cond_broadcast(&a->changed);
    } else if (a->failed) {
        if (error)
            *error = a->error;
        result = -1;
    }
    pthread_mutex_unlock(&a->lock);
    return result;
}

void dbi_ahead_stop(dbi_ahead *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    for (int i = 0; i < a->thread_count; i++)
        pthread_join(a->threads[i], NULL);
    for (int i = 0; a->queue && i < a->size; i++)
        dbi_record_free(a->queue[i]);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
    free(a->threads);
    free(a->queue);
    free(a);
}
