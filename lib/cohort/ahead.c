/* Batches made ahead of time: a bounded queue between the thread that makes them and the one that takes them. */
#include <pthread.h>
#include <stdlib.h>

#include "cohort/sampler.h"

struct dbi_ahead {
    dbi_sampler *sampler;
    uint32_t first, count;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* any of the fields below */
    dbi_record **queue;     /* a ring */
    int size;
    uint32_t made, taken;
    bool stop, failed;
    dbi_error error;
};

/* Waits for room. False when there is nothing more to do. */
static bool wait_for_room(dbi_ahead *a)
{
    pthread_mutex_lock(&a->lock);
    while (!a->stop && a->made - a->taken == (uint32_t)a->size)
        pthread_cond_wait(&a->changed, &a->lock);
    bool go_on = !a->stop;
    pthread_mutex_unlock(&a->lock);
    return go_on;
}

static void *make_batches(void *argument)
{
    dbi_ahead *a = argument;
    for (uint32_t i = 0; i < a->count && wait_for_room(a); i++) {
        dbi_error error;
        dbi_record *batch = dbi_sampler_batch(a->sampler, a->first + i, &error);
        pthread_mutex_lock(&a->lock);
        if (batch)
            a->queue[a->made++ % (uint32_t)a->size] = batch;
        else {
            a->failed = a->stop = true;
            a->error = error;
        }
        pthread_cond_broadcast(&a->changed);
        pthread_mutex_unlock(&a->lock);
    }
    return NULL;
}

dbi_ahead *dbi_ahead_start(dbi_sampler *sampler, uint32_t first, uint32_t count, int ahead, dbi_error *error)
{
    if (ahead < 1) {
        dbi_fail(error, "%d batches ahead: at least one", ahead);
        return NULL;
    }
    dbi_ahead *a = calloc(1, sizeof *a);
    if (a)
        *a = (dbi_ahead){.sampler = sampler, .first = first, .count = count, .size = ahead, .queue = calloc((size_t)ahead, sizeof(dbi_record *))};
    if (!a || !a->queue) {
        free(a);
        dbi_fail(error, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    if (pthread_create(&a->thread, NULL, make_batches, a) == 0)
        return a;
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
    free(a->queue);
    free(a);
    dbi_fail(error, "no thread can be started");
    return NULL;
}

int dbi_ahead_next(dbi_ahead *a, dbi_record **batch, dbi_error *error)
{
    *batch = NULL;
    int result = 0;
    pthread_mutex_lock(&a->lock);
    while (a->taken < a->count && a->made == a->taken && !a->failed)
        pthread_cond_wait(&a->changed, &a->lock);
    if (a->made != a->taken) {
        *batch = a->queue[a->taken++ % (uint32_t)a->size];
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
    pthread_join(a->thread, NULL);
    for (; a->taken != a->made; a->taken++)
        dbi_record_free(a->queue[a->taken % (uint32_t)a->size]);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
    free(a->queue);
    free(a);
}
