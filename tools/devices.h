/* The devices that there are. A new one has its row in devices.c. */
#ifndef DBI_TOOLS_DEVICES_H
#define DBI_TOOLS_DEVICES_H

#include "device/device.h"

/* "cpu", "reference" or "cuda[:N]": its table and number; precision and fast are the caller's to set. Fails where there
 * is no device of that name. */
int devices_find(const char *name, dbi_device *device, dbi_error *error);

/* 0 when the device can be used here, otherwise one line that says what is missing. */
int devices_check(const dbi_device *device, dbi_error *error);

#endif
