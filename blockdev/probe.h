/* probe.h: finding, opening and refusing real devices. Block devices are opened with O_EXCL | O_DIRECT, image files with O_DIRECT (a buffered
 * tier where that is refused, geometry.direct = false) and an flock (LOCK_EX; LOCK_SH read-only), never POSIX locks. Nothing is ever created below /dev.
 * The backend is chosen in the order io_uring, libaio, threads; a denied one (ENOSYS, EPERM, EACCES, ENOMEM) is passed over and the reason kept.
 *
 * Never writes, apart from blockdev_image_create, blockdev_image_resize and what callers submit on the device it opened. Threads: any; blocks.
 */
#ifndef MOTE_BLOCKDEV_PROBE_H
#define MOTE_BLOCKDEV_PROBE_H

#include "blockdev/blockdev.h"

struct blockdev_open_options {
    bool read_only;
    uint32_t backend;          /* enum mote_backend; not AUTO: that one or MOTE_ENOTSUP */
    uint32_t busy_timeout_ms;  /* how long EBUSY is retried */
};

/* Errors: MOTE_ENODEV (no such path, not a block device or regular file), MOTE_EACCESS, MOTE_EBUSY, MOTE_ENOTSUP, MOTE_EINVAL (a path that does not fit). */
int blockdev_open(const char *path, const struct blockdev_open_options *options, struct blockdev **device);

/* Creates an image file of size_bytes (MOTE_EEXISTS if the path exists, MOTE_EINVAL below /dev), allocated and written with zeros unless sparse; file and folder
 * are synced. progress (may be NULL) is called with bytes done. A failure removes the file. */
int blockdev_image_create(const char *path, uint64_t size_bytes, bool sparse, void (*progress)(uint64_t done_bytes, void *context), void *context);

/* Cuts or enlarges an image file, which nobody has open (MOTE_EBUSY); what is new is allocated and written with zeros unless sparse. Durable on return. A failure to enlarge leaves the old size. */
int blockdev_image_resize(const char *path, uint64_t size_bytes, bool sparse);

/* What an unformatted or foreign device holds: found gets the name of the signature that libblkid finds ("ext4", "gpt", "mote", ...), "data" when there is none but
 * the first or last MiB is not zero, "" when blank. mounted: the device or a partition of it is mounted or swap. */
struct blockdev_content {
    char found[64];
    bool mounted;
    char mounted_at[256];
};
int blockdev_probe_content(struct blockdev *device, struct blockdev_content *content);

#endif
