#include "devices.h"

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
                           "CUDNN_ROOT say where they are), then "
                           "build it again; --device cpu needs neither");
}

/* All that is ever asked of it is whether it can be used. */
static const dbi_device_table dbi_cuda = {.name = "cuda", .precisions = true, .check = no_cuda};
#endif

static const struct {
    const dbi_device_table *table;
    bool numbered; /* there may be several: NAME:N */
} registry[] = {{&dbi_cpu, false}, {&dbi_reference, false}, {&dbi_cuda, true}};

enum { MOST_INDEX = 1023 };

static int read_index(const char *text, int *index)
{
    char *end;
    const long value = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value > MOST_INDEX)
        return -1;
    *index = (int)value;
    return 0;
}

int devices_find(const char *name, dbi_device *device, dbi_error *error)
{
    const size_t length = strcspn(name, ":");
    *device = (dbi_device){.precision = DBI_PRECISION_FP32};
    for (size_t i = 0; i < sizeof registry / sizeof *registry; i++) {
        const char *known = registry[i].table->name;
        if (strlen(known) != length || memcmp(known, name, length) || (name[length] && !registry[i].numbered))
            continue;
        if (name[length] && read_index(name + length + 1, &device->index))
            return dbi_fail(error, "\"%s\": the device's number is missing or wrong (%s:0)", name, known);
        device->table = registry[i].table;
        return 0;
    }
    return dbi_fail(error, "\"%s\": choose cpu, cuda, cuda:N, auto or reference", name);
}

int devices_check(const dbi_device *device, dbi_error *error)
{
    return device->table->check ? device->table->check(device, error) : 0;
}
