/* The devices that there are. A new one has its row in devices.c. */
#ifndef DBI_TOOLS_DEVICES_H
#define DBI_TOOLS_DEVICES_H

#include "device/device.h"

/* "cpu", "reference" or "cuda[:N]": its table and number; precision and fast are the caller's to set. network: a device
 * for comparison counts as well, of which the network alone is of use. Fails where there is no device of that name. */
int devices_find(const char *name, bool network, dbi_device *device, dbi_error *error);

/* The host, in single precision. */
void devices_host(dbi_device *device);

/* --device=auto: the first device that is faster than the host and can be used here with the precision that is set;
 * else the host. */
void devices_choose(dbi_device *device);

/* 0 when the device can be used here, otherwise one line that says what is missing. */
int devices_check(const dbi_device *device, dbi_error *error);

#endif
