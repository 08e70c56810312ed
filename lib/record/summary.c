#include "record/summary.h"

#include <math.h>
#include <string.h>

static double from_half(uint16_t bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double size;
    if (exponent == 31)
        size = mantissa ? NAN : INFINITY;
    else
        size = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return bits & 0x8000 ? -size : size;
}

static double from_bfloat(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

static double element(const dbi_tensor *tensor, size_t i)
{
    switch (tensor->dtype) {
    case DBI_BOOL:
        return ((const uint8_t *)tensor->data)[i] != 0;
    case DBI_U8:
        return ((const uint8_t *)tensor->data)[i];
    case DBI_I8:
        return ((const int8_t *)tensor->data)[i];
    case DBI_U16:
        return ((const uint16_t *)tensor->data)[i];
    case DBI_I16:
        return ((const int16_t *)tensor->data)[i];
    case DBI_F16:
        return from_half(((const uint16_t *)tensor->data)[i]);
    case DBI_BF16:
        return from_bfloat(((const uint16_t *)tensor->data)[i]);
    case DBI_U32:
        return ((const uint32_t *)tensor->data)[i];
    case DBI_I32:
        return ((const int32_t *)tensor->data)[i];
    case DBI_F32:
        return (double)((const float *)tensor->data)[i];
    case DBI_U64:
        return (double)((const uint64_t *)tensor->data)[i];
    case DBI_I64:
        return (double)((const int64_t *)tensor->data)[i];
    default:
        return ((const double *)tensor->data)[i];
    }
}

dbi_summary dbi_tensor_summary(const dbi_tensor *tensor)
{
    dbi_summary summary = {INFINITY, -INFINITY, 0, 0};
    for (size_t i = 0; i < tensor->count; i++) {
        double value = element(tensor, i);
        if (!isfinite(value)) {
            summary.nonfinite++;
            continue;
        }
        summary.min = value < summary.min ? value : summary.min;
        summary.max = value > summary.max ? value : summary.max;
        summary.mean += value;
    }
    size_t finite = tensor->count - summary.nonfinite;
    if (!finite)
        summary.min = summary.max = NAN;
    summary.mean = finite ? summary.mean / (double)finite : NAN;
    return summary;
}
