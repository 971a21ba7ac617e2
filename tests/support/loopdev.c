/* loopdev.c: see loopdev.h. Other tests make loop devices at the same time: a free number that was taken meanwhile (EBUSY) is asked for again. */
#include "tests/support/loopdev.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { ATTEMPTS_MAX = 200, PAUSE_NS = 10 * 1000 * 1000 };

static void pause_shortly(void)
{
    struct timespec duration = {.tv_nsec = PAUSE_NS};
    (void)nanosleep(&duration, NULL);
}

const char *loopdev_available(void)
{
    if (geteuid() != 0)
        return "not root";
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return "no loop driver (/dev/loop-control cannot be opened)";
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    close(control);
    return number < 0 ? "the loop driver has no free device" : NULL;
}

/* One attempt at a free device. Returns 0 or a positive errno. */
static int try_create(int backing, const struct loop_config *config, struct loopdev *device)
{
    struct loop_config settings = *config;
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return errno;
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    int error = number < 0 ? errno : 0;
    close(control);
    if (error != 0)
        return error;
    snprintf(device->name, sizeof device->name, "loop%d", number);
    snprintf(device->path, sizeof device->path, "/dev/%s", device->name);
    int fd = open(device->path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno;
    settings.fd = (unsigned)backing;
    error = ioctl(fd, LOOP_CONFIGURE, &settings) == 0 ? 0 : errno;
    close(fd);
    device->number = number;
    return error;
}

int loopdev_create(const char *backing_path, const struct loopdev_options *options, struct loopdev *device)
{
    struct loop_config config;
    memset(&config, 0, sizeof config);
    memset(device, 0, sizeof *device);
    config.block_size = options->block_bytes ? options->block_bytes : 512;
    config.info.lo_flags = (options->direct ? LO_FLAGS_DIRECT_IO : 0u) | (options->read_only ? LO_FLAGS_READ_ONLY : 0u)
                           | (options->partitions ? LO_FLAGS_PARTSCAN : 0u);
    int backing = open(backing_path, (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (backing < 0)
        return errno;
    int error = EBUSY;
    for (int attempt = 0; attempt < ATTEMPTS_MAX && error == EBUSY; attempt++) {
        if (attempt > 0)
            pause_shortly();
        error = try_create(backing, &config, device);
    }
    close(backing);
    if (error != 0)
        device->path[0] = '\0';
    return error;
}

/* An ioctl without argument on the device. */
static int command(const struct loopdev *device, unsigned long request)
{
    int fd = open(device->path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        fd = open(device->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = ioctl(fd, request, 0) == 0 ? 0 : errno;
    close(fd);
    return error;
}

int loopdev_resize(const struct loopdev *device) { return command(device, LOOP_SET_CAPACITY); }

/* The backing file as sysfs names it; "" when the device is free. */
static void read_backing(const struct loopdev *device, char *text, size_t text_bytes)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/block/%s/loop/backing_file", device->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, text_bytes - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = '\0';
}

int loopdev_destroy(struct loopdev *device)
{
    char before[512], after[512];
    if (device->path[0] == '\0')
        return 0;
    read_backing(device, before, sizeof before);
    /* Once only: after it the number may be another test's. The device goes when its last opener closes it. */
    int error = command(device, LOOP_CLR_FD);
    device->path[0] = '\0';
    for (int attempt = 0; error == 0 && attempt < ATTEMPTS_MAX; attempt++) {
        read_backing(device, after, sizeof after);
        if (strcmp(before, after) != 0 || before[0] == '\0')
            return 0;
        pause_shortly();
    }
    return error != 0 ? error : EBUSY;
}

int64_t loopdev_flush_count(const struct loopdev *device)
{
    char path[96];
    int64_t fields[17] = {0};
    snprintf(path, sizeof path, "/sys/block/%s/stat", device->name);
    FILE *statistics = fopen(path, "re");
    if (!statistics)
        return -1;
    int count = 0;
    while (count < 17 && fscanf(statistics, "%" SCNd64, &fields[count]) == 1)
        count++;
    fclose(statistics);
    return count > 15 ? fields[15] : -1;
}
