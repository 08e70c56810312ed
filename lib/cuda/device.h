/* The CUDA device as the rest of the library sees it: its name, and whether it can be used. Where dbisl is built without CUDA, everything here is there and
 * says so. */
#ifndef DBI_CUDA_DEVICE_H
#define DBI_CUDA_DEVICE_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/error.h"

typedef enum dbi_precision {
    DBI_PRECISION_FP32, /* everything in single precision */
    DBI_PRECISION_TF32, /* convolutions on tensor cores, factors rounded to 10 bits */
    DBI_PRECISION_BF16  /* activations and convolutions in bfloat16; master weights, sums, statistics and outputs in single precision */
} dbi_precision;

/* "cuda[:N][,fp32|tf32|bf16][,fast]": device N (default 0), precision (default fp32); fast: also algorithms whose last bits depend on timing. */
typedef struct dbi_cuda_device {
    int index;
    dbi_precision precision;
    bool fast;
} dbi_cuda_device;

/* Is this the name of a CUDA device, right or wrong? */
bool dbi_is_cuda(const char *name);
int dbi_cuda_parse(const char *name, dbi_cuda_device *device, dbi_error *error);
int dbi_precision_parse(const char *name, dbi_precision *precision, dbi_error *error);
const char *dbi_precision_name(dbi_precision precision);

/* 0 when the device can be used here; otherwise one line that says what is missing: CUDA in this build, the driver, the device, its generation, or cuDNN. */
int dbi_cuda_check_device(const char *name, dbi_error *error);

/* What a device could do at most, from its clocks and units, for comparison: bytes of its memory and floating-point operations of convolutions in the name's
 * precision, per second (boost clock, no sparsity). */
typedef struct dbi_cuda_facts {
    char name[256];
    double bandwidth, arithmetic;
} dbi_cuda_facts;

int dbi_cuda_describe(const char *name, dbi_cuda_facts *facts, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
