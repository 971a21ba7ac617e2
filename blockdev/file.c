/* file.c: the primitives of file_private.h. Threads: any. Failures: positive errno values, or MOTE codes with a sentence (file_refresh). */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/file_private.h"

int file_flush(const struct file_device *device) { return fdatasync(device->fd) == 0 ? 0 : errno; }

int file_discard(const struct file_device *device, uint64_t offset_bytes, uint64_t length_bytes)
{
    uint64_t range[2] = {offset_bytes, length_bytes};
    int result = device->base.geometry.block_device
                     ? ioctl(device->fd, BLKDISCARD, range)
                     : fallocate(device->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset_bytes, (off_t)length_bytes);
    return result == 0 ? 0 : errno;
}

int file_size(int fd, bool block_device, uint64_t *size_bytes)
{
    struct stat status;
    if (block_device)
        return ioctl(fd, BLKGETSIZE64, size_bytes) == 0 ? 0 : errno;
    if (fstat(fd, &status) != 0)
        return errno;
    *size_bytes = (uint64_t)status.st_size;
    return 0;
}

int file_refresh(struct blockdev *device)
{
    uint64_t size_bytes = 0;
    int error = file_size(file_of(device)->fd, device->geometry.block_device, &size_bytes);
    if (error != 0 || size_bytes == 0)
        return error_set_errno(MOTE_ENODEV, error, "%s is gone: %s; check its connection", device->path, error ? strerror(error) : "its size is 0");
    __atomic_store_n(&device->geometry.size_bytes, round_down(size_bytes, device->geometry.logical_block_bytes), __ATOMIC_RELAXED);
    return MOTE_OK;
}

void file_close(struct blockdev *device)
{
    struct file_device *file = file_of(device);
    /* The kernel may keep the open file a little longer than close(), for a ring that is being torn down: the lock must not last with it. */
    if (file->locked)
        flock(file->fd, LOCK_UN);
    close(file->fd);
    free(file);
}

bool file_advance(const struct blockdev *device, struct blockdev_request *request, uint64_t moved_bytes)
{
    uint64_t done_bytes = request->backend_word[0] + moved_bytes;
    assert(request->op == BLOCKDEV_READ || request->op == BLOCKDEV_WRITE);
    request->system_errno = 0;
    if (done_bytes >= request->length_bytes)
        return false;
    uint64_t resume_bytes = round_down(done_bytes, device->geometry.logical_block_bytes);
    if (resume_bytes <= request->backend_word[0]) {
        request->system_errno = EIO; /* no progress: the device ends here */
        return false;
    }
    request->backend_word[0] = resume_bytes;
    return true;
}

int64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t deadline_after(int64_t timeout_ns)
{
    if (timeout_ns < 0)
        return INT64_MAX;
    int64_t now_ns = clock_now_ns();
    return timeout_ns < INT64_MAX - now_ns ? now_ns + timeout_ns : INT64_MAX;
}

int wake_open(struct wake *wake, bool wanted)
{
    atomic_init(&wake->requested, false);
    atomic_init(&wake->sleeping, false);
    wake->fd = wanted ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    return wanted && wake->fd < 0 ? errno : 0;
}

void wake_close(struct wake *wake)
{
    if (wake->fd >= 0)
        close(wake->fd);
    wake->fd = -1;
}

void wake_request(struct wake *wake)
{
    atomic_store(&wake->requested, true);
    if (!atomic_load(&wake->sleeping) || wake->fd < 0)
        return;
    uint64_t one = 1;
    /* A full counter (EAGAIN) wakes as well. */
    ssize_t written = write(wake->fd, &one, sizeof one);
    (void)written;
}
