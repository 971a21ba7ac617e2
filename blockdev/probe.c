/* probe.c: opens block devices and image files as probe.h says, and chooses the backend.
 *
 * Invariants: O_CREAT is never passed here. What stat saw is what was opened (compared by fstat), so that nothing else can slip in between.
 * Failures: MOTE codes with a sentence; nothing stays open. Threads: any; blocks for at most busy_timeout_ms beyond the system calls.
 */
#include "blockdev/probe.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/probe_private.h"

enum { BUSY_RETRY_NS = 5 * NS_PER_MS };

static int report(const char *path, int code, int system_errno, const char *what)
{
    error_set_errno(code, system_errno, "%s %s", path, what);
    error_add_device(path, 0, 0);
    return code;
}

/* What the operator can do about an errno of open(2). */
static int report_open(const char *path, const struct stat *status, bool read_only, int error)
{
    bool block_device = S_ISBLK(status->st_mode);
    if ((error == EACCES || error == EPERM || error == EROFS) && !read_only && block_device && geometry_is_read_only(status))
        return report(path, MOTE_EACCESS, error, "is a read-only device; make it writable (blockdev --setrw) or open it read-only");
    if (error == EROFS)
        return report(path, MOTE_EACCESS, error, "lies on a read-only file system; open it read-only");
    if (error == EACCES || error == EPERM)
        return report(path, MOTE_EACCESS, error, "may not be opened by this user; grant access to it or run as its owner");
    if (error == ENOENT || error == ENODEV || error == ENXIO)
        return report(path, MOTE_ENODEV, error, "does not exist or has no medium; check the path");
    int code = error_set_errno(error_from_errno(error), error, "%s cannot be opened: %s; check the device", path, strerror(error));
    error_add_device(path, 0, 0);
    return code;
}

static int report_busy(const char *path, const struct stat *status)
{
    char where[256];
    if (usage_find(status, where, sizeof where))
        error_set_errno(MOTE_EBUSY, EBUSY, "%s is in use (%s); unmount or release it, or choose another device", path, where);
    else
        error_set_errno(MOTE_EBUSY, EBUSY, "%s is in use by another process; stop that one first", path);
    error_add_device(path, 0, 0);
    return MOTE_EBUSY;
}

static void sleep_ns(long duration_ns)
{
    struct timespec duration = {.tv_nsec = duration_ns};
    (void)nanosleep(&duration, NULL);
}

/* One attempt: the descriptor or a negative errno. *direct is cleared where an image file's file system refuses O_DIRECT. */
static int try_open(const char *path, bool block_device, bool read_only, bool *direct)
{
    int flags = O_CLOEXEC | O_NOCTTY | (read_only ? O_RDONLY : O_RDWR) | (block_device ? O_EXCL : 0);
    int fd = open(path, flags | O_DIRECT);
    *direct = true;
    if (fd < 0 && errno == EINVAL && !block_device) {
        fd = open(path, flags);
        *direct = false;
    }
    if (fd < 0)
        return -errno;
    if (!block_device && flock(fd, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
        int error = errno == EWOULDBLOCK ? EBUSY : errno;
        close(fd);
        return -error;
    }
    return fd;
}

/* Opens the path and holds it alone. A mounted device is refused at once, one that another process holds after the timeout. */
static int open_exclusive(struct file_device *device, const char *path, const struct blockdev_open_options *options, const struct stat *status)
{
    bool block_device = S_ISBLK(status->st_mode);
    int64_t deadline_ns = deadline_after((int64_t)options->busy_timeout_ms * NS_PER_MS);
    char where[256];
    for (;;) {
        int fd = try_open(path, block_device, options->read_only, &device->base.geometry.direct);
        if (fd >= 0) {
            device->fd = fd;
            device->locked = !block_device;
            break;
        }
        if (fd != -EBUSY)
            return report_open(path, status, options->read_only, -fd);
        if (clock_now_ns() >= deadline_ns || usage_find(status, where, sizeof where))
            return report_busy(path, status);
        sleep_ns(BUSY_RETRY_NS);
    }
    struct stat opened;
    if (fstat(device->fd, &opened) != 0 || (opened.st_mode & S_IFMT) != (status->st_mode & S_IFMT) || opened.st_ino != status->st_ino
        || opened.st_dev != status->st_dev || opened.st_rdev != status->st_rdev)
        return report(path, MOTE_ENODEV, 0, "was replaced while it was being opened; try again");
    int kernel_read_only = 0;
    if (block_device && ioctl(device->fd, BLKROGET, &kernel_read_only) != 0)
        return report(path, MOTE_ENODEV, errno, "does not answer; check the device");
    if (kernel_read_only && !options->read_only)
        return report(path, MOTE_EACCESS, EROFS, "is a read-only device; make it writable (blockdev --setrw) or open it read-only");
    device->base.geometry.block_device = block_device;
    device->base.geometry.read_only = options->read_only || kernel_read_only;
    return MOTE_OK;
}

struct backend_choice {
    uint32_t backend; /* enum mote_backend */
    const struct blockdev_ops *ops;
    int (*refusal)(void);
};

static int never_refused(void) { return 0; }

static const struct backend_choice backend_choices[] = {
    {MOTE_BACKEND_IO_URING, &uring_ops, uring_refusal},
    {MOTE_BACKEND_LIBAIO, &aio_ops, aio_refusal},
    {MOTE_BACKEND_THREADS, &threads_ops, never_refused},
};

/* The first backend that the kernel allows, or the one that was asked for. *reason tells of those passed over. */
static int choose_backend(const char *path, uint32_t backend, const struct blockdev_ops **ops, char *reason, size_t reason_bytes)
{
    size_t used_bytes = 0;
    reason[0] = '\0';
    for (size_t i = 0; i < sizeof backend_choices / sizeof *backend_choices; i++) {
        const struct backend_choice *choice = &backend_choices[i];
        if (backend != MOTE_BACKEND_AUTO && backend != choice->backend)
            continue;
        int error = choice->refusal();
        if (error == 0) {
            *ops = choice->ops;
            return MOTE_OK;
        }
        if (backend != MOTE_BACKEND_AUTO) {
            error_set_errno(MOTE_ENOTSUP, error, "%s cannot be served by %s: %s; choose another backend or none", path, choice->ops->name, strerror(error));
            error_add_device(path, 0, 0);
            return MOTE_ENOTSUP;
        }
        int length = snprintf(reason + used_bytes, reason_bytes - used_bytes, "%s%s: %s", used_bytes ? "; " : "", choice->ops->name, strerror(error));
        used_bytes += length > 0 && (size_t)length < reason_bytes - used_bytes ? (size_t)length : 0;
    }
    return report(path, MOTE_EINVAL, 0, "cannot be opened with a backend of that number; use one of enum mote_backend");
}

int blockdev_open(const char *path, const struct blockdev_open_options *options, struct blockdev **opened)
{
    struct stat status;
    *opened = NULL;
    struct file_device *device = calloc(1, sizeof *device);
    if (!device)
        return report(path, MOTE_ENOMEM, ENOMEM, "cannot be opened: no memory; free some");
    device->fd = -1;
    int result = MOTE_EINVAL;
    const struct blockdev_ops *ops = NULL;
    if (path[0] == '\0' || strlen(path) >= sizeof device->base.path) {
        report(path, result, ENAMETOOLONG, "is not a usable path: 1 to 255 bytes; use a shorter one, for example a symbolic link");
        goto failed;
    }
    if (stat(path, &status) != 0) {
        int error = errno;
        status = (struct stat){0};
        result = report_open(path, &status, true, error == ENOTDIR || error == ELOOP ? ENOENT : error);
        goto failed;
    }
    if (!S_ISBLK(status.st_mode) && !S_ISREG(status.st_mode)) {
        result = report(path, MOTE_ENODEV, ENOTBLK, "is neither a block device nor an image file; check the path");
        goto failed;
    }
    result = choose_backend(path, options->backend, &ops, device->base.backend_reason, sizeof device->base.backend_reason);
    if (result != MOTE_OK)
        goto failed;
    blockdev_init(&device->base, ops, path);
    result = open_exclusive(device, path, options, &status);
    if (result != MOTE_OK)
        goto failed;
    result = geometry_read(device, &status);
    if (result != MOTE_OK)
        goto failed;
    assert(is_power_of_two(device->base.geometry.logical_block_bytes) && device->base.geometry.size_bytes > 0);
    *opened = &device->base;
    return MOTE_OK;

failed:
    if (device->fd >= 0)
        close(device->fd);
    free(device);
    return result;
}
