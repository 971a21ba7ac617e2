/* probe_private.h: the parts of probing, split by concept: opening (probe.c), geometry (probe_geometry.c), who else uses a device (probe_usage.c), what is on it
 * (probe_content.c). All block; any thread. */
#ifndef MOTE_BLOCKDEV_PROBE_PRIVATE_H
#define MOTE_BLOCKDEV_PROBE_PRIVATE_H

#include <stddef.h>
#include <sys/stat.h>

#include "blockdev/file_private.h"

/* Fills device->base.geometry from the open descriptor; geometry.direct and read_only are set already, direct is cleared where the file system serves
 * O_DIRECT from its cache. A MOTE code with a sentence. */
int geometry_read(struct file_device *device, const struct stat *status);
/* The device's own read-only switch, from sysfs (a descriptor is not needed). */
bool geometry_is_read_only(const struct stat *status);

/* Reads a small sysfs file of the block device (or of the disk it is a partition of) into text, without the trailing newline. False if there is none. */
bool sysfs_read(dev_t device, const char *name, char *text, size_t text_bytes);
/* The same as a number; fallback if there is none. */
uint64_t sysfs_read_number(dev_t device, const char *name, uint64_t fallback);

/* Whether the device, or a partition of it, is mounted, swap, or held by another driver; an image file: swap or the backing file of a loop device. where says it:
 * the mount point, "swap", "held by dm-0", "loop0". */
bool usage_find(const struct stat *status, char *where, size_t where_bytes);

#endif
