#include "cuda/cuda.h"

int dbi_arena_need(dbi_arena *arena, void *pointer, size_t bytes, dbi_error *error)
{
    void *none = NULL;
    memcpy(pointer, &none, sizeof none);
    if (!bytes)
        return 0;
    if (arena->count == DBI_ARENA_NEEDS)
        return dbi_fail(error, "more than %d buffers on the device", DBI_ARENA_NEEDS);
    const size_t rounded = (bytes + 255) / 256 * 256;
    if (rounded < bytes || arena->bytes + rounded < rounded || arena->bytes + rounded > SIZE_MAX / 2)
        return dbi_fail(error, "a size beyond this machine");
    arena->need[arena->count].pointer = pointer;
    arena->need[arena->count].offset = arena->bytes;
    arena->need[arena->count].bytes = bytes;
    arena->need[arena->count++].own = NULL;
    arena->bytes += rounded;
    return 0;
}

void dbi_arena_point(const dbi_arena *arena)
{
    for (int i = 0; i < arena->count; i++) {
        void *address = arena->need[i].own ? arena->need[i].own : arena->base + arena->need[i].offset;
        memcpy(arena->need[i].pointer, &address, sizeof address);
    }
}
