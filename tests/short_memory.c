/* Loaded before a program (LD_PRELOAD): allocation number $SHORT of jansson's fails, and the file "short" is made. What
 * happens while jansson reads does not count, as the programs make sure before that there is memory for it. */
#include <dlfcn.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static long left;
static bool reading;

static void *short_malloc(size_t size)
{
    if (!reading && left > 0 && !--left) {
        close(open("short", O_CREAT | O_WRONLY, 0666));
        return NULL;
    }
    return malloc(size);
}

json_t *json_loadb(const char *text, size_t size, size_t flags, json_error_t *error)
{
    json_t *(*load)(const char *, size_t, size_t, json_error_t *);
    *(void **)&load = dlsym(RTLD_NEXT, "json_loadb");
    reading = true;
    json_t *json = load(text, size, flags, error);
    reading = false;
    return json;
}

__attribute__((constructor)) static void begin(void)
{
    const char *which = getenv("SHORT");
    left = which ? atol(which) : 0;
    json_set_alloc_funcs(short_malloc, free);
}
