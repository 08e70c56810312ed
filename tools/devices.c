#include "devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"

#ifdef DBI_WITH_CUDA
#include "cuda/device.h"
#else
static int no_cuda(const dbi_device *device, dbi_error *error)
{
    (void)device;
    return dbi_fail(error, "this dbisl was built without CUDA: install the CUDA toolkit and cuDNN 9 (CUDA_HOME and "
                           "CUDNN_ROOT say where they are), then build it again; --device cpu needs neither");
}

/* Only its check is ever called. */
static const dbi_device_table dbi_cuda = {.name = "cuda", .precisions = true, .check = no_cuda};
#endif

/* The first one is the host, which can always be used. */
static const struct {
    const dbi_device_table *table;
    bool numbered;  /* there may be several: NAME:0, NAME:1, ... */
    bool automatic; /* "auto" takes it if it can be used */
    bool judge;     /* for comparison: it computes the network alone */
} registry[] = {{.table = &dbi_cpu},
                {.table = &dbi_cuda, .numbered = true, .automatic = true},
                {.table = &dbi_reference, .judge = true}};

enum { DEVICES = sizeof registry / sizeof *registry, MOST_INDEX = 1023 };

static int read_index(const char *text, int *index)
{
    char *end;
    const long value = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value > MOST_INDEX)
        return -1;
    *index = (int)value;
    return 0;
}

static int refuse(const char *name, bool network, dbi_error *error)
{
    const char *names[2 * DEVICES + 2] = {NULL};
    char numbered[DEVICES][32];
    size_t count = 0;
    for (size_t i = 0; i < DEVICES; i++) {
        if (registry[i].judge)
            continue;
        names[count++] = registry[i].table->name;
        snprintf(numbered[i], sizeof numbered[i], "%s:N", registry[i].table->name);
        if (registry[i].numbered)
            names[count++] = numbered[i];
    }
    names[count++] = "auto";
    for (size_t i = 0; network && i < DEVICES; i++)
        if (registry[i].judge)
            names[count++] = registry[i].table->name;
    return dbi_fail_choose(error, name, names);
}

int devices_find(const char *name, bool network, dbi_device *device, dbi_error *error)
{
    const size_t length = strcspn(name, ":");
    *device = (dbi_device){.precision = DBI_PRECISION_FP32};
    for (size_t i = 0; i < DEVICES; i++) {
        const char *known = registry[i].table->name;
        if (strlen(known) != length || memcmp(known, name, length) || (name[length] && !registry[i].numbered) ||
            (registry[i].judge && !network))
            continue;
        if (name[length] && read_index(name + length + 1, &device->index))
            return dbi_fail(error, "\"%s\": the device's number is missing or wrong (%s:0)", name, known);
        device->table = registry[i].table;
        return 0;
    }
    return refuse(name, network, error);
}

void devices_host(dbi_device *device)
{
    *device = (dbi_device){.table = registry[0].table, .precision = DBI_PRECISION_FP32};
}

void devices_choose(dbi_device *device)
{
    device->index = 0;
    for (size_t i = 0; i < DEVICES; i++) {
        device->table = registry[i].table;
        if (registry[i].automatic && !devices_check(device, NULL))
            return;
    }
    devices_host(device);
}

int devices_check(const dbi_device *device, dbi_error *error)
{
    return device->table->check ? device->table->check(device, error) : 0;
}
