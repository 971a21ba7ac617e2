/* target.c: the device or image that the benchmark destroys (bench.h): nothing is written to a path that was not named, to a device without --destroy, or to one that is mounted. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/ceiling.h"
#include "blockdev/probe.h"
#include "include/mote.h"

static int make_image(struct bench_options *options)
{
    if (blockdev_image_create(options->path, options->size_bytes, false, NULL, NULL)) {
        bench_fail_mote("cannot make the image");
        return EXIT_DEVICE;
    }
    options->made = true;
    return EXIT_GOOD;
}

int target_prepare(struct bench_options *options, struct report *report)
{
    struct stat stat_buffer;
    bool exists = stat(options->path, &stat_buffer) == 0;
    if (!exists && errno == ENOENT) {
        int code = make_image(options);
        if (code)
            return code;
    } else if (!options->destroy) {
        bench_fail("%s exists; everything on it would be lost: --destroy says that this is meant", options->path);
        return EXIT_USAGE;
    }
    struct blockdev *device;
    struct blockdev_content content;
    if (blockdev_open(options->path, &(struct blockdev_open_options){.busy_timeout_ms = 5000}, &device)) {
        bench_fail_mote("cannot open the target");
        return EXIT_DEVICE;
    }
    int code = blockdev_probe_content(device, &content);
    const struct blockdev_geometry *geometry = blockdev_geometry(device);
    snprintf(report->device, sizeof report->device, "%s (%s, %llu MiB, %u-byte blocks%s%s%s)", options->path, geometry->model, (unsigned long long)(geometry->size_bytes >> 20),
             geometry->logical_block_bytes, geometry->direct ? ", direct I/O" : ", BUFFERED", geometry->write_cache ? ", write cache" : ", no write cache", geometry->fua ? ", FUA" : "");
    snprintf(report->backend, sizeof report->backend, "%s", blockdev_backend(device));
    options->size_bytes = geometry->size_bytes;
    blockdev_close(device);
    if (code || content.mounted) {
        bench_fail("%s is mounted or in use%s%s", options->path, content.mounted_at[0] ? " at " : "", content.mounted_at);
        return EXIT_DEVICE;
    }
    return EXIT_GOOD;
}

int target_wait(const char *path)
{
    struct blockdev *device;
    if (blockdev_open(path, &(struct blockdev_open_options){.read_only = true, .busy_timeout_ms = 5000}, &device))
        return bench_fail_mote("the target does not become free");
    blockdev_close(device);
    return 0;
}

void target_release(const struct bench_options *options)
{
    if (options->made && !options->keep)
        unlink(options->path);
}

bool target_is_block_device(const char *path)
{
    struct stat stat_buffer;
    return stat(path, &stat_buffer) == 0 && S_ISBLK(stat_buffer.st_mode);
}

bool target_written_bytes(const char *path, uint64_t *bytes)
{
    struct stat stat_buffer;
    char name[128];
    unsigned long long fields[7];
    if (stat(path, &stat_buffer) || !S_ISBLK(stat_buffer.st_mode))
        return false;
    snprintf(name, sizeof name, "/sys/dev/block/%u:%u/stat", major(stat_buffer.st_rdev), minor(stat_buffer.st_rdev));
    FILE *file = fopen(name, "re");
    if (!file)
        return false;
    int found = fscanf(file, "%llu %llu %llu %llu %llu %llu %llu", &fields[0], &fields[1], &fields[2], &fields[3], &fields[4], &fields[5], &fields[6]);
    fclose(file);
    *bytes = fields[6] * 512; /* sectors of 512 bytes, whatever the device's blocks are */
    return found == 7;
}
