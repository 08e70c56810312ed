/* CUDA devices, as a row for the table of devices (device/device.h). */
#ifndef DBI_CUDA_DEVICE_H
#define DBI_CUDA_DEVICE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "device/device.h"

/* NVIDIA GPUs, by cuDNN and kernels of our own. */
extern const dbi_device_table dbi_cuda;

/* 0 when the device can be used here; otherwise one line that says what is missing: the driver, the device, its
 * generation, or cuDNN. Makes it the calling thread's. */
int dbi_cuda_select(const dbi_device *device, dbi_error *error);

int dbi_cuda_describe(const dbi_device *device, dbi_device_facts *facts, dbi_error *error);

#ifdef __cplusplus
}
#endif

#endif
