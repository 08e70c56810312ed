/* Streams, events, graphs and pinned memory on the host. What a stream is given is done at once, or, where
 * dbi_emulated_disorder, some time later. */
#include "cuda/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "emulated.h"

uint32_t dbi_emulated_disorder = 1;

/* Of the newest record, and of the newest one that a stream has come to. */
struct CUevent_st {
    int64_t recorded, happened;
};

typedef struct task {
    void (*run)(const void *arguments, int64_t blocks);
    int64_t blocks;
    dbi_event record, before; /* instead: this event's record number `number` has happened; the stream waits for it */
    int64_t number;
    struct task *next;
    _Alignas(64) unsigned char arguments[];
} task;

struct CUstream_st {
    task *first, *last;
    struct CUstream_st *next;
};

static struct CUstream_st default_stream, *streams = &default_stream; /* the first: NULL */

/* ---- What comes next ---- */

static uint32_t draw(uint32_t count)
{
    static uint32_t state, of;
    if (of != dbi_emulated_disorder)
        state = of = dbi_emulated_disorder;
    state = state * 1664525 + 1013904223;
    return (state >> 8) % count;
}

static bool ready(const struct CUstream_st *s)
{
    return s->first && !(s->first->before && s->first->before->happened < s->first->number);
}

/* Does the first task of the stream. */
static void advance(struct CUstream_st *s)
{
    task *t = s->first;
    s->first = t->next;
    if (!s->first)
        s->last = NULL;
    if (t->run)
        t->run(t->arguments, t->blocks);
    else if (t->record)
        t->record->happened = t->number;
    free(t);
}

/* One task of `wanted`, or of another stream that can go on: an odd disorder puts these off as long as it can. false:
 * none can. */
static bool go_on(struct CUstream_st *wanted)
{
    uint32_t count = 0;
    if (wanted && ready(wanted) && (dbi_emulated_disorder % 2 || draw(2))) {
        advance(wanted);
        return true;
    }
    for (struct CUstream_st *s = streams; s; s = s->next)
        count += ready(s);
    uint32_t chosen = count ? draw(count) : 0;
    for (struct CUstream_st *s = streams; s; s = s->next)
        if (ready(s) && chosen-- == 0) {
            advance(s);
            return true;
        }
    return false;
}

static void must_go_on(struct CUstream_st *wanted)
{
    if (!go_on(wanted)) {
        fprintf(stderr, "streams wait for what was not recorded\n");
        abort();
    }
}

static void finish_stream(struct CUstream_st *s)
{
    while (s->first)
        must_go_on(s);
}

void dbi_emulated_finish(void)
{
    for (struct CUstream_st *s = streams; s; s = s->next)
        finish_stream(s);
}

static struct CUstream_st *stream_of(dbi_stream stream)
{
    return stream ? stream : &default_stream;
}

/* An odd disorder does nothing before somebody waits for it. */
static int put_task(dbi_stream stream, const task *head, const void *arguments, size_t bytes, dbi_error *error)
{
    struct CUstream_st *const s = stream_of(stream);
    void *memory;
    if (posix_memalign(&memory, 64, sizeof(task) + bytes))
        return dbi_fail(error, "out of memory");
    task *t = memory;
    *t = *head;
    t->next = NULL;
    if (bytes)
        memcpy(t->arguments, arguments, bytes);
    if (s->last)
        s->last->next = t;
    else
        s->first = t;
    s->last = t;
    if (!dbi_emulated_disorder)
        dbi_emulated_finish();
    else if (dbi_emulated_disorder % 2 == 0)
        while (draw(2) && go_on(NULL))
            ;
    return 0;
}

int dbi_emulated_submit(dbi_stream stream, void (*run)(const void *arguments, int64_t blocks), const void *arguments,
                        size_t bytes, int64_t blocks, dbi_error *error)
{
    const task head = {.run = run, .blocks = blocks};
    return put_task(stream, &head, arguments, bytes, error);
}

/* ---- Copies ---- */

typedef struct move {
    void *to;
    const void *from; /* NULL: zeros */
    size_t bytes;
} move;

static void run_move(const void *arguments, int64_t blocks)
{
    const move *m = arguments;
    (void)blocks;
    if (m->from)
        memcpy(m->to, m->from, m->bytes);
    else
        memset(m->to, 0, m->bytes);
}

static int submit_move(dbi_stream stream, void *to, const void *from, size_t bytes, dbi_error *error)
{
    const move m = {to, from, bytes};
    return bytes ? dbi_emulated_submit(stream, run_move, &m, sizeof m, 1, error) : 0;
}

/* What was copied from memory that is not pinned: `to`, then the bytes. */
typedef struct kept {
    void *to;
    size_t bytes;
    unsigned char byte[];
} kept;

static void run_kept(const void *arguments, int64_t blocks)
{
    const kept *k = arguments;
    (void)blocks;
    memcpy(k->to, k->byte, k->bytes);
}

typedef struct pinned {
    struct pinned *next;
    size_t bytes;
    _Alignas(64) unsigned char byte[];
} pinned;

static pinned *pinned_memory;

static bool is_pinned(const void *from)
{
    for (const pinned *p = pinned_memory; p; p = p->next)
        if ((uintptr_t)from - (uintptr_t)p->byte < p->bytes)
            return true;
    return false;
}

int dbi_cuda_put(dbi_stream stream, void *device, const void *host, size_t bytes, dbi_error *error)
{
    if (!bytes || !dbi_emulated_disorder || is_pinned(host))
        return submit_move(stream, device, host, bytes, error);
    kept *k = dbi_alloc(1, sizeof *k + bytes, error);
    if (!k)
        return -1;
    k->to = device;
    k->bytes = bytes;
    memcpy(k->byte, host, bytes);
    const int status = dbi_emulated_submit(stream, run_kept, k, sizeof *k + bytes, 1, error);
    free(k);
    return status;
}

int dbi_cuda_get(dbi_stream stream, void *host, const void *device, size_t bytes, dbi_error *error)
{
    return submit_move(stream, host, device, bytes, error);
}

int dbi_cuda_copy(dbi_stream stream, void *device, const void *from_device, size_t bytes, dbi_error *error)
{
    return submit_move(stream, device, from_device, bytes, error);
}

int dbi_cuda_clear(dbi_stream stream, void *device, size_t bytes, dbi_error *error)
{
    return submit_move(stream, device, NULL, bytes, error);
}

int dbi_pinned_open(void **memory, size_t bytes, dbi_error *error)
{
    void *p;
    *memory = NULL;
    if (posix_memalign(&p, 64, sizeof(pinned) + bytes))
        return dbi_fail(error, "out of memory");
    pinned *const mine = p;
    mine->bytes = bytes;
    mine->next = pinned_memory;
    pinned_memory = mine;
    *memory = mine->byte;
    return 0;
}

void dbi_pinned_close(void *memory)
{
    pinned **p = &pinned_memory;
    while (*p && (*p)->byte != memory)
        p = &(*p)->next;
    pinned *const mine = *p;
    if (mine)
        *p = mine->next;
    free(mine);
}

/* ---- Streams, events, graphs ---- */

int dbi_cuda_wait(dbi_stream stream, dbi_error *error)
{
    (void)error;
    finish_stream(stream_of(stream));
    return 0;
}

int dbi_stream_open(dbi_stream *stream, dbi_error *error)
{
    if (!(*stream = dbi_alloc(1, sizeof **stream, error)))
        return -1;
    (*stream)->next = streams;
    streams = *stream;
    return 0;
}

void dbi_stream_close(dbi_stream stream)
{
    if (!stream)
        return;
    finish_stream(stream);
    struct CUstream_st **s = &streams;
    while (*s != stream)
        s = &(*s)->next;
    *s = stream->next;
    free(stream);
}

int dbi_event_open(dbi_event *event, dbi_error *error)
{
    return (*event = dbi_alloc(1, sizeof **event, error)) ? 0 : -1;
}

void dbi_event_close(dbi_event event)
{
    dbi_emulated_finish();
    free(event);
}

int dbi_event_record(dbi_event event, dbi_stream stream, dbi_error *error)
{
    const task head = {.record = event, .number = ++event->recorded};
    return put_task(stream, &head, NULL, 0, error);
}

int dbi_event_before(dbi_event event, dbi_stream stream, dbi_error *error)
{
    const task head = {.before = event, .number = event->recorded};
    return put_task(stream, &head, NULL, 0, error);
}

int dbi_event_wait(dbi_event event, dbi_error *error)
{
    (void)error;
    while (event->happened < event->recorded)
        must_go_on(NULL);
    return 0;
}

/* A graph is the call that was to be recorded: made again at each launch. */
struct CUgraphExec_st {
    int (*run)(void *context, dbi_error *error);
    void *context;
};

int dbi_graph_record(dbi_graph *graph, dbi_stream stream, int (*run)(void *context, dbi_error *error), void *context,
                     dbi_error *error)
{
    (void)stream;
    *graph = dbi_alloc(1, sizeof **graph, error);
    if (!*graph)
        return -1;
    (*graph)->run = run;
    (*graph)->context = context;
    return 0;
}

int dbi_graph_launch(dbi_graph graph, dbi_stream stream, dbi_error *error)
{
    (void)stream;
    return graph->run(graph->context, error);
}

void dbi_graph_close(dbi_graph graph)
{
    free(graph);
}
