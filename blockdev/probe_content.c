/* probe_content.c: what is on a device before it is formatted. mote's own superblock is recognised here, everything else by libblkid, from a second, read-only, buffered
 * descriptor (libblkid's buffers are not aligned for direct I/O). A device that is no file (the simulated disk, a fault injector) is judged by its
 * magic and by whether its first and last MiB are zero.
 *
 * Reads only; any thread; blocks. Failures: MOTE_EIO and the like from the reads, MOTE_ENODEV if the path is no longer the device, MOTE_ENOMEM.
 */
#include <assert.h>
#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/probe.h"
#include "blockdev/probe_private.h"
#include "blockdev/layout.h"
#include "blockdev/superblock_format.h"

static bool is_file(const struct blockdev *device) { return device->ops == &uring_ops || device->ops == &aio_ops || device->ops == &threads_ops; }

static bool is_zero(const uint8_t *data, size_t size_bytes) { return size_bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, size_bytes - 1) == 0); }

/* A superblock in any of the slots: generation g lies in slot g mod 4, so the first slot may well be empty. */
static bool holds_superblock(const uint8_t *region, uint64_t length_bytes)
{
    for (uint64_t at = 0; at < SUPERBLOCK_SLOTS * SUPERBLOCK_SLOT_BYTES && at + SUPERBLOCK_SLOT_BYTES <= length_bytes; at += SUPERBLOCK_SLOT_BYTES) {
        if (memcmp(region + at, SUPERBLOCK_MAGIC, SUPERBLOCK_MAGIC_BYTES) == 0)
            return true;
    }
    return false;
}

/* Name of what the first and last MiB show without libblkid: "mote", "data" or "". */
static int judge_ends(struct blockdev *device, uint8_t *buffer, char *found, size_t found_bytes)
{
    struct blockdev_queue_options options = {.depth = 4};
    struct blockdev_queue *queue = NULL;
    uint64_t size_bytes = device->geometry.size_bytes;
    uint64_t length_bytes = size_bytes < MIB_BYTES ? size_bytes : MIB_BYTES;
    int result = blockdev_queue_create(device, &options, &queue);
    if (result != MOTE_OK)
        return result;
    found[0] = '\0';
    result = blockdev_read_range(queue, 0, buffer, length_bytes);
    if (result == MOTE_OK && holds_superblock(buffer, length_bytes))
        snprintf(found, found_bytes, "mote");
    else if (result == MOTE_OK && !is_zero(buffer, (size_t)length_bytes))
        snprintf(found, found_bytes, "data");
    if (result == MOTE_OK && found[0] == '\0') {
        result = blockdev_read_range(queue, size_bytes - length_bytes, buffer, length_bytes);
        if (result == MOTE_OK && !is_zero(buffer, (size_t)length_bytes))
            snprintf(found, found_bytes, holds_superblock(buffer, length_bytes) ? "mote" : "data");
    }
    blockdev_queue_destroy(queue);
    return result;
}

/* The first signature that libblkid finds; "" for none. Damaged superblocks count too: they may be somebody's data. */
static int ask_blkid(int fd, char *found, size_t found_bytes)
{
    const char *name = NULL;
    int result = MOTE_OK;
    found[0] = '\0';
    blkid_probe probe = blkid_new_probe();
    if (!probe)
        return error_set(MOTE_ENOMEM, "no memory to look for signatures; free some");
    if (blkid_probe_set_device(probe, fd, 0, 0) != 0) {
        result = error_set_errno(MOTE_EIO, errno, "signatures cannot be looked for: %s; check the device", strerror(errno));
        goto done;
    }
    (void)blkid_probe_enable_superblocks(probe, 1);
    (void)blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_BADCSUM);
    (void)blkid_probe_enable_partitions(probe, 1);
    int outcome = blkid_do_probe(probe);
    if (outcome < 0) {
        result = error_set_errno(MOTE_EIO, errno, "signatures cannot be read: %s; check the device", strerror(errno));
        goto done;
    }
    if (outcome == 0 && (blkid_probe_lookup_value(probe, "TYPE", &name, NULL) == 0 || blkid_probe_lookup_value(probe, "PTTYPE", &name, NULL) == 0))
        snprintf(found, found_bytes, "%s", name);
done:
    blkid_free_probe(probe);
    return result;
}

/* Signatures and usage of a device that is a file. */
static int probe_file(struct file_device *device, struct blockdev_content *content)
{
    struct stat held, seen;
    char signature[sizeof content->found];
    int fd = open(device->base.path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &seen) != 0 || fstat(device->fd, &held) != 0 || seen.st_ino != held.st_ino || seen.st_dev != held.st_dev
        || seen.st_rdev != held.st_rdev) {
        int result = error_set_errno(MOTE_ENODEV, errno, "%s is not the device that was opened any more; open it again", device->base.path);
        if (fd >= 0)
            close(fd);
        return result;
    }
    content->mounted = usage_find(&held, content->mounted_at, sizeof content->mounted_at);
    int result = ask_blkid(fd, signature, sizeof signature);
    close(fd);
    /* A signature is a better name than "data", and counts also where the ends are zero. */
    if (result == MOTE_OK && signature[0] != '\0')
        memcpy(content->found, signature, sizeof signature);
    return result;
}

int blockdev_probe_content(struct blockdev *device, struct blockdev_content *content)
{
    uint8_t *buffer = NULL;
    memset(content, 0, sizeof *content);
    if (posix_memalign((void **)&buffer, PAGE_BYTES, MIB_BYTES) != 0)
        return error_set(MOTE_ENOMEM, "no memory to read %s; free some", device->path);
    int result = judge_ends(device, buffer, content->found, sizeof content->found);
    free(buffer);
    if (result == MOTE_OK && is_file(device) && strcmp(content->found, "mote") != 0)
        result = probe_file(file_of(device), content);
    else if (result == MOTE_OK && is_file(device)) {
        struct stat held;
        content->mounted = fstat(file_of(device)->fd, &held) == 0 && usage_find(&held, content->mounted_at, sizeof content->mounted_at);
    }
    if (result != MOTE_OK)
        error_add_device(device->path, 0, 0);
    return result;
}
