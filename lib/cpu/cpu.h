/* The host as a device. */
#ifndef DBI_CPU_CPU_H
#define DBI_CPU_CPU_H

#include "device/device.h"

/* oneDNN and kernels of our own; plain C, slow, the judge of all other devices. Both compute in single precision. */
extern const dbi_device_table dbi_cpu, dbi_reference;

#endif
