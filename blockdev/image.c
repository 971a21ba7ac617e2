/* image.c: creates image files: allocated and written with zeros, because the first write to an unwritten extent costs a commit of the file system's journal; file
 * and folder synced, so that the file is there after a power cut.
 *
 * Nothing is created below /dev (a mistyped device name would fill the memory behind devtmpfs), whatever links the path goes through. A failure removes
 * the file. Threads: any; blocks.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/probe.h"

static int report(const char *path, int error, const char *what)
{
    int code = error == EEXIST ? MOTE_EEXISTS : error == EFBIG || error == EDQUOT ? MOTE_ENOSPC : error_from_errno(error);
    error_set_errno(code, error, "the image file %s cannot be %s: %s", path, what, strerror(error));
    error_add_device(path, 0, 0);
    return code;
}

/* The real folder of the path into folder[PATH_MAX]. Refuses what lies below /dev. */
static int find_folder(const char *path, char *folder)
{
    char copy[PATH_MAX];
    if (path[0] == '\0' || strlen(path) >= sizeof copy)
        return error_set(MOTE_EINVAL, "the path of the image file is empty or too long; use a shorter one");
    memcpy(copy, path, strlen(path) + 1);
    bool below_dev = strncmp(path, "/dev/", 5) == 0;
    if (!below_dev && !realpath(dirname(copy), folder))
        return report(path, errno, "created");
    if (below_dev || strcmp(folder, "/dev") == 0 || strncmp(folder, "/dev/", 5) == 0) {
        error_set(MOTE_EINVAL, "no image file is created below /dev (%s); check the device's name or choose a path in a file system", path);
        error_add_device(path, 0, 0);
        return MOTE_EINVAL;
    }
    return MOTE_OK;
}

/* Writes zeros from one place on to the end, past the page cache where the file system allows. Returns 0 or an errno. */
static int write_zeros(int fd, uint64_t from_bytes, uint64_t size_bytes, void (*progress)(uint64_t done_bytes, void *context), void *context)
{
    void *zeros = NULL;
    int error = 0;
    if (posix_memalign(&zeros, PAGE_BYTES, MIB_BYTES) != 0)
        return ENOMEM;
    memset(zeros, 0, MIB_BYTES);
    int flags = fcntl(fd, F_GETFL);
    bool direct = flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
    for (uint64_t at_bytes = from_bytes; at_bytes < size_bytes && error == 0;) {
        size_t length_bytes = size_bytes - at_bytes < MIB_BYTES ? (size_t)(size_bytes - at_bytes) : MIB_BYTES;
        ssize_t written = pwrite(fd, zeros, length_bytes, (off_t)at_bytes);
        if (written < 0 && errno == EINVAL && direct) {
            direct = false; /* refused only now: through the cache */
            if (fcntl(fd, F_SETFL, flags) == 0)
                continue;
        }
        if (written < 0 && errno == EINTR)
            continue;
        error = written < 0 ? errno : written == 0 ? EIO : 0;
        at_bytes += written > 0 ? (uint64_t)written : 0;
        if (error == 0 && progress)
            progress(at_bytes, context);
    }
    free(zeros);
    return error;
}

static int fill_file(int fd, uint64_t from_bytes, uint64_t size_bytes, bool sparse, void (*progress)(uint64_t done_bytes, void *context), void *context)
{
    if (sparse)
        return ftruncate(fd, (off_t)size_bytes) == 0 ? 0 : errno;
    /* Allocation first: it fails early when there is no room, and keeps the file in few pieces. */
    if (fallocate(fd, 0, (off_t)from_bytes, (off_t)(size_bytes - from_bytes)) != 0 && errno != EOPNOTSUPP)
        return errno;
    return write_zeros(fd, from_bytes, size_bytes, progress, context);
}

static int sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error;
}

int blockdev_image_create(const char *path, uint64_t size_bytes, bool sparse, void (*progress)(uint64_t done_bytes, void *context), void *context)
{
    char folder[PATH_MAX];
    if (size_bytes == 0 || size_bytes % PAGE_BYTES != 0 || size_bytes > INT64_MAX)
        return error_set(MOTE_EINVAL, "an image file of %" PRIu64 " bytes cannot be made; choose a multiple of %u above 0", size_bytes, PAGE_BYTES);
    int result = find_folder(path, folder);
    if (result != MOTE_OK)
        return result;
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0)
        return report(path, errno, "created");
    int error = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (error == 0)
        error = fill_file(fd, 0, size_bytes, sparse, progress, context);
    if (error == 0 && fsync(fd) != 0)
        error = errno;
    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error == 0)
        error = sync_folder(folder);
    if (error != 0) {
        (void)unlink(path);
        return report(path, error, "written");
    }
    return MOTE_OK;
}

int blockdev_image_resize(const char *path, uint64_t size_bytes, bool sparse)
{
    struct stat status;
    if (size_bytes == 0 || size_bytes % PAGE_BYTES != 0 || size_bytes > INT64_MAX)
        return error_set(MOTE_EINVAL, "an image file cannot have %" PRIu64 " bytes; choose a multiple of %u above 0", size_bytes, PAGE_BYTES);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return report(path, errno, "opened");
    int error = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (error == 0 && fstat(fd, &status) != 0)
        error = errno;
    if (error == 0 && !S_ISREG(status.st_mode))
        error = EINVAL;
    uint64_t old_bytes = error == 0 ? (uint64_t)status.st_size : 0;
    bool grows = size_bytes > old_bytes;
    if (error == 0)
        error = grows ? fill_file(fd, old_bytes - old_bytes % PAGE_BYTES, size_bytes, sparse, NULL, NULL) : ftruncate(fd, (off_t)size_bytes) == 0 ? 0 : errno;
    if (error == 0 && fsync(fd) != 0)
        error = errno;
    if (error != 0 && grows && old_bytes > 0)
        (void)ftruncate(fd, (off_t)old_bytes);
    if (close(fd) != 0 && error == 0)
        error = errno;
    return error == 0 ? MOTE_OK : report(path, error, "resized");
}
