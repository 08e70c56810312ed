#include "device/device.h"

#include <string.h>

static const char *const precisions[] = {
    [DBI_PRECISION_FP32] = "fp32", [DBI_PRECISION_TF32] = "tf32", [DBI_PRECISION_BF16] = "bf16"};

const char *dbi_precision_name(dbi_precision precision)
{
    return precisions[precision];
}

int dbi_precision_parse(const char *name, dbi_precision *precision, dbi_error *error)
{
    for (int i = 0; i < (int)(sizeof precisions / sizeof *precisions); i++)
        if (!strcmp(name, precisions[i])) {
            *precision = (dbi_precision)i;
            return 0;
        }
    return dbi_fail(error, "\"%s\": choose fp32, tf32 or bf16", name);
}
