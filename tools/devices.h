/* The list of devices. A new device is a row in devices.c. */
#ifndef DBI_TOOLS_DEVICES_H
#define DBI_TOOLS_DEVICES_H

#include "device/device.h"

/* Finds "cpu", "reference" or "cuda[:N]" and sets its table and number; the caller sets precision and fast. network:
 * devices for comparison, which compute the network alone, count too. The error lists the names. */
int devices_find(const char *name, bool network, dbi_device *device, dbi_error *error);

/* The host, in single precision. */
void devices_host(dbi_device *device);

/* --device=auto: the first device that is faster than the host and can be used here with the precision that is set;
 * otherwise the host. */
void devices_choose(dbi_device *device);

/* Returns 0 when the device can be used here; the error says in one line what is missing. */
int devices_check(const dbi_device *device, dbi_error *error);

#endif
