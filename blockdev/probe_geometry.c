/* probe_geometry.c: what a device is like: sizes and alignments from ioctls and statx, its cache, FUA, discard and name from sysfs. Where the kernel does not say, the
 * safe answer is taken: a volatile cache, no FUA, no discard, 4096-byte blocks of an image file.
 *
 * Failures: MOTE_ENODEV (no answer, no size), MOTE_ENOTSUP (logical blocks above a page). Reads only; any thread.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/probe_private.h"

/* Reads a whole small file as one line. */
static bool read_line(const char *path, char *text, size_t text_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, text_bytes - 1);
    close(fd);
    if (length < 0)
        return false;
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    text[length] = '\0';
    return true;
}

bool sysfs_read(dev_t device, const char *name, char *text, size_t text_bytes)
{
    char path[160];
    assert(text_bytes > 0);
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s", major(device), minor(device), name);
    if (read_line(path, text, text_bytes))
        return true;
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/partition", major(device), minor(device));
    if (access(path, F_OK) != 0)
        return false;
    /* The queue and the device's name are the whole disk's. */
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/../%s", major(device), minor(device), name);
    return read_line(path, text, text_bytes);
}

uint64_t sysfs_read_number(dev_t device, const char *name, uint64_t fallback)
{
    char text[32], *end = NULL;
    if (!sysfs_read(device, name, text, sizeof text))
        return fallback;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    return errno == 0 && end != text ? value : fallback;
}

bool geometry_is_read_only(const struct stat *status) { return sysfs_read_number(status->st_rdev, "ro", 0) != 0; }

/* The driver's name of a device that has no model: "loop", "virtblk". */
static void read_driver_name(dev_t device, char *name, size_t name_bytes)
{
    char line[128];
    bool in_blocks = false;
    unsigned disk_major = 0;
    /* A partition may have a number of its own kind: the disk's counts. */
    if (!sysfs_read(device, "../dev", line, sizeof line) || sscanf(line, "%u:", &disk_major) != 1)
        disk_major = major(device);
    snprintf(name, name_bytes, "block device");
    FILE *drivers = fopen("/proc/devices", "re");
    if (!drivers)
        return;
    while (fgets(line, sizeof line, drivers)) {
        unsigned number = 0;
        char driver[64];
        if (strncmp(line, "Block devices", 13) == 0)
            in_blocks = true;
        else if (in_blocks && sscanf(line, "%u %63s", &number, driver) == 2 && number == disk_major)
            snprintf(name, name_bytes, "%.*s", (int)name_bytes - 1, driver);
    }
    fclose(drivers);
}

static int read_block_device(struct file_device *device, dev_t number)
{
    struct blockdev_geometry *geometry = &device->base.geometry;
    int logical_bytes = 0;
    unsigned physical_bytes = 0;
    char text[32];
    if (ioctl(device->fd, BLKSSZGET, &logical_bytes) != 0 || ioctl(device->fd, BLKPBSZGET, &physical_bytes) != 0)
        return error_set_errno(MOTE_ENODEV, errno, "%s does not tell its block size: %s; check the device", device->base.path, strerror(errno));
    if (logical_bytes < (int)SECTOR_BYTES || logical_bytes > (int)PAGE_BYTES || !is_power_of_two((uint64_t)logical_bytes))
        return error_set(MOTE_ENOTSUP, "%s has logical blocks of %d bytes; only 512 to 4096 are supported", device->base.path, logical_bytes);
    geometry->logical_block_bytes = (uint32_t)logical_bytes;
    geometry->physical_block_bytes = physical_bytes;
    geometry->write_cache = !sysfs_read(number, "queue/write_cache", text, sizeof text) || strcmp(text, "write through") != 0;
    geometry->fua = sysfs_read_number(number, "queue/fua", 0) != 0;
    if (sysfs_read_number(number, "queue/discard_max_bytes", 0) > 0) {
        uint64_t granularity_bytes = sysfs_read_number(number, "queue/discard_granularity", 0);
        geometry->discard_granularity_bytes = granularity_bytes > 0 && granularity_bytes <= UINT32_MAX ? (uint32_t)granularity_bytes : (uint32_t)logical_bytes;
        /* Of the partition, not of the disk: sysfs has it beside `partition`. */
        geometry->discard_alignment_bytes = (uint32_t)(sysfs_read_number(number, "discard_alignment", 0) % geometry->discard_granularity_bytes);
    }
    if (!sysfs_read(number, "device/model", geometry->model, sizeof geometry->model) || geometry->model[0] == '\0')
        read_driver_name(number, geometry->model, sizeof geometry->model);
    return MOTE_OK;
}

/* The kernel's statx with the direct-I/O fields, which the C library's struct may lack. False where the kernel or the file system does not say. */
static bool read_direct_alignment(int fd, uint32_t *memory_bytes, uint32_t *offset_bytes)
{
    struct {
        struct statx fields;
        uint8_t room[256]; /* the kernel's struct may be longer than this header's */
    } answer;
    memset(&answer, 0, sizeof answer);
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer) != 0 || !(answer.fields.stx_mask & STATX_DIOALIGN))
        return false;
    *memory_bytes = answer.fields.stx_dio_mem_align;
    *offset_bytes = answer.fields.stx_dio_offset_align;
    return true;
}

static void read_image_file(struct file_device *device, const struct stat *status)
{
    struct blockdev_geometry *geometry = &device->base.geometry;
    uint32_t memory_bytes = 0, offset_bytes = 0;
    bool known = read_direct_alignment(device->fd, &memory_bytes, &offset_bytes);
    /* Alignments of 0: the file system accepts O_DIRECT and goes through its cache all the same. */
    if (known && offset_bytes == 0)
        geometry->direct = false;
    if (known && offset_bytes > PAGE_BYTES) {
        int flags = fcntl(device->fd, F_GETFL);
        if (flags >= 0 && fcntl(device->fd, F_SETFL, flags & ~O_DIRECT) == 0)
            geometry->direct = false;
    }
    bool small = geometry->direct && known && offset_bytes <= SECTOR_BYTES && memory_bytes <= SECTOR_BYTES;
    geometry->logical_block_bytes = small ? SECTOR_BYTES : PAGE_BYTES;
    geometry->physical_block_bytes = status->st_blksize >= (blksize_t)SECTOR_BYTES ? (uint32_t)status->st_blksize : PAGE_BYTES;
    geometry->write_cache = true; /* the page cache, the file system's journal and whatever lies below */
    geometry->fua = false;
    geometry->discard_granularity_bytes = geometry->physical_block_bytes;
    snprintf(geometry->model, sizeof geometry->model, "image file");
}

int geometry_read(struct file_device *device, const struct stat *status)
{
    struct blockdev_geometry *geometry = &device->base.geometry;
    uint64_t size_bytes = 0;
    int result = MOTE_OK;
    if (geometry->block_device)
        result = read_block_device(device, status->st_rdev);
    else
        read_image_file(device, status);
    if (result == MOTE_OK) {
        int error = file_size(device->fd, geometry->block_device, &size_bytes);
        geometry->size_bytes = round_down(size_bytes, geometry->logical_block_bytes);
        if (error != 0 || geometry->size_bytes == 0)
            result = error_set_errno(MOTE_ENODEV, error, "%s has no size%s%s; check the device", device->base.path, error ? ": " : "",
                                     error ? strerror(error) : "");
    }
    if (result != MOTE_OK) {
        error_add_device(device->base.path, 0, 0);
        return result;
    }
    geometry->buffer_align_bytes = geometry->logical_block_bytes;
    geometry->request_bytes_max = REQUEST_BYTES_MAX;
    return MOTE_OK;
}
