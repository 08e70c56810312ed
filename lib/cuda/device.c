#include "cuda/device.h"

#include <stdlib.h>
#include <string.h>

static const char *const precisions[] = {[DBI_PRECISION_FP32] = "fp32", [DBI_PRECISION_TF32] = "tf32", [DBI_PRECISION_BF16] = "bf16"};
enum { MAX_DEVICE = 1023 };

bool dbi_is_cuda(const char *name)
{
    return !strncmp(name, "cuda", 4) && (!name[4] || name[4] == ':' || name[4] == ',');
}

const char *dbi_precision_name(dbi_precision precision)
{
    return precisions[precision];
}

static int find_precision(const char *name, size_t length)
{
    for (int i = 0; i < (int)(sizeof precisions / sizeof *precisions); i++)
        if (strlen(precisions[i]) == length && !memcmp(precisions[i], name, length))
            return i;
    return -1;
}

int dbi_precision_parse(const char *name, dbi_precision *precision, dbi_error *error)
{
    int found = find_precision(name, strlen(name));
    if (found < 0)
        return dbi_fail(error, "\"%s\" is none of fp32, tf32, bf16", name);
    *precision = (dbi_precision)found;
    return 0;
}

int dbi_cuda_parse(const char *name, dbi_cuda_device *device, dbi_error *error)
{
    *device = (dbi_cuda_device){.precision = DBI_PRECISION_FP32};
    if (!dbi_is_cuda(name))
        return dbi_fail(error, "\"%s\" is no CUDA device", name);
    const char *p = name + 4;
    if (*p == ':') {
        char *end;
        long index = strtol(p + 1, &end, 10);
        if (p[1] < '0' || p[1] > '9' || (*end && *end != ',') || index > MAX_DEVICE)
            return dbi_fail(error, "\"%s\": the device's number is missing or wrong (cuda:0)", name);
        device->index = (int)index;
        p = end;
    }
    while (*p == ',') {
        size_t length = strcspn(++p, ",");
        int precision = find_precision(p, length);
        if (precision >= 0)
            device->precision = (dbi_precision)precision;
        else if (length == 4 && !memcmp(p, "fast", 4))
            device->fast = true;
        else
            return dbi_fail(error, "\"%s\": \"%.*s\" is none of fp32, tf32, bf16, fast", name, (int)length, p);
        p += length;
    }
    return 0;
}
