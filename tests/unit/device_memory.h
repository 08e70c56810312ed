/* Device memory for the tests that call kernels: the host's (emulated.h), or a GPU's where the test is compiled with
 * DBI_ON_DEVICE and linked with the library's CUDA objects in place of the emulated ones. Included after cmocka.h. */
#ifndef DEVICE_MEMORY_H
#define DEVICE_MEMORY_H

#include <stdlib.h>
#include <string.h>

#include "cuda/stream.h"
#include "emulated.h"

static dbi_stream test_stream;

/* Setup and teardown of a group of tests. */
static int open_device(void **state)
{
    (void)state;
    dbi_error error = {""};
    const dbi_device device = {.index = 0};
    if (dbi_cuda_select(&device, &error) || dbi_stream_open(&test_stream, &error)) {
        print_error("%s\n", error.text);
        return -1;
    }
    return 0;
}

static int close_device(void **state)
{
    (void)state;
    dbi_stream_close(test_stream);
    return 0;
}

static void device_put(void *to, const void *from, size_t bytes)
{
    dbi_error error = {""};
    if (dbi_cuda_put(test_stream, to, from, bytes, &error))
        fail_msg("%s", error.text);
}

/* Also waits for what was launched, and fails where that did. */
static void device_get(void *to, const void *from, size_t bytes)
{
    dbi_error error = {""};
    if (dbi_cuda_get(test_stream, to, from, bytes, &error) || dbi_cuda_wait(test_stream, &error))
        fail_msg("%s", error.text);
}

static void device_need(dbi_arena *arena, void *pointer, size_t bytes)
{
    dbi_error error = {""};
    if (dbi_arena_need(arena, pointer, bytes, &error))
        fail_msg("%s", error.text);
}

/* Opens the arena and fills it with NaNs: nothing may depend on what was there. */
static void device_open_arena(dbi_arena *arena)
{
    dbi_error error = {""};
    if (dbi_arena_open(arena, &error))
        fail_msg("%s", error.text);
    for (int i = 0; i < arena->count; i++) {
        void *buffer, *nans = malloc(arena->need[i].bytes);
        assert_non_null(nans);
        memset(nans, 0xff, arena->need[i].bytes);
        memcpy(&buffer, arena->need[i].pointer, sizeof buffer);
        device_put(buffer, nans, arena->need[i].bytes);
        dbi_cuda_wait(test_stream, &error);
        free(nans);
    }
}

/* Another order of blocks and threads; a GPU has its own each time. */
static inline void device_backwards(bool backwards)
{
#ifdef DBI_ON_DEVICE
    (void)backwards;
#else
    dbi_emulated_backwards = backwards;
#endif
}

#endif
