#include "record/json.h"

#include <jansson.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const size_t tree_limit = (size_t)256 << 20;

/* jansson knows no limit of its own, but lets its callers bring the functions that give it memory. These are malloc and free; while a thread
 * parses, they count. */
static _Thread_local bool counting, exceeded;
static _Thread_local size_t in_use;

static void *counted_malloc(size_t size)
{
    if (counting && in_use + size > tree_limit) {
        exceeded = true;
        return NULL;
    }
    void *memory = malloc(size);
    if (counting && memory)
        in_use += malloc_usable_size(memory);
    return memory;
}

static void counted_free(void *memory)
{
    if (counting && memory)
        in_use -= malloc_usable_size(memory);
    free(memory);
}

static void install(void)
{
    json_set_alloc_funcs(counted_malloc, counted_free);
}

json_t *dbi_json_parse(const char *text, size_t size, dbi_error *error)
{
    static pthread_once_t installed = PTHREAD_ONCE_INIT;
    pthread_once(&installed, install);
    json_error_t fault = {0};
    counting = true;
    exceeded = false;
    in_use = 0;
    json_t *json = json_loadb(text, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &fault);
    counting = false;
    if (!json && exceeded)
        dbi_fail(error, "it would take more than %zu MiB of memory", tree_limit >> 20);
    else if (!json)
        dbi_fail(error, "%s", fault.text[0] ? fault.text : "out of memory");
    return json;
}

typedef struct text {
    char *data;
    size_t size, room;
    bool failed; /* once and for all: jansson does not look at every call's result */
} text;

static int append(const char *bytes, size_t size, void *context)
{
    text *t = context;
    if (t->room - t->size <= size) {
        size_t room = 2 * t->room + size + 128;
        char *data = t->failed ? NULL : realloc(t->data, room);
        t->failed = !data;
        if (!data)
            return -1;
        t->data = data;
        t->room = room;
    }
    memcpy(t->data + t->size, bytes, size);
    t->size += size;
    t->data[t->size] = 0;
    return 0;
}

char *dbi_json_text(const json_t *value, size_t flags, dbi_error *error)
{
    text t = {0};
    if (!json_dump_callback(value, append, &t, flags) && !t.failed && t.data)
        return t.data;
    free(t.data);
    dbi_fail(error, "a value cannot be written as JSON: out of memory?");
    return NULL;
}
