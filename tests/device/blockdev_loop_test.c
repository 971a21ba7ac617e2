/* blockdev_loop_test.c: block devices, on loop devices that this program makes and destroys: the contract over every backend with logical blocks of 512 and 4096
 * bytes, what is refused (mounted, partitions in use, held, read-only), what a shrunk device does, that a barrier reaches the device.
 * Needs root and the loop driver; says SKIPPED and why without them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "blockdev/file_private.h"
#include "blockdev/probe.h"
#include "include/mote.h"
#include "tests/support/blockdev_contract.h"
#include "tests/support/loopdev.h"
#include "tests/support/tempdir.h"

enum { IMAGE_BYTES = 16 * 1024 * 1024 };

static struct tempdir folder;
static unsigned passed, failed;
static uint64_t seed;

#define EXPECT(holds) expect((holds), __LINE__, #holds)
static void expect(bool holds, int line, const char *what)
{
    struct mote_error error = {0};
    *(holds ? &passed : &failed) += 1;
    if (!holds) {
        mote_last_error(&error);
        fprintf(stderr, "line %d: not true: %s (errno %d, last error: %s)\n", line, what, errno, error.message);
    }
}

static void make_image(const char *name, uint64_t size_bytes)
{
    (void)unlink(tempdir_file(&folder, name));
    EXPECT(blockdev_image_create(tempdir_file(&folder, name), size_bytes, true, NULL, NULL) == MOTE_OK);
}

static bool make_loop(const char *name, struct loopdev_options options, struct loopdev *loop)
{
    int error = loopdev_create(tempdir_file(&folder, name), &options, loop);
    errno = error;
    EXPECT(error == 0);
    return error == 0;
}

static int open_device(const char *path, bool read_only, uint32_t backend, uint32_t busy_timeout_ms, struct blockdev **device)
{
    struct blockdev_open_options options = {.read_only = read_only, .backend = backend, .busy_timeout_ms = busy_timeout_ms};
    return blockdev_open(path, &options, device);
}

static bool last_error_says(int code, const char *words)
{
    struct mote_error error;
    return mote_last_error(&error) == code && strstr(error.message, words) != NULL;
}

/* A FLUSH reaches the device's cache, a write alone does not; FUA does whatever the device does for it. */
static void test_barriers(const struct loopdev *loop, struct blockdev *device)
{
    struct blockdev_queue_options options = {.depth = 8};
    struct blockdev_queue *queue = NULL;
    uint8_t *data = contract_buffer(PAGE_BYTES, seed);
    EXPECT(blockdev_queue_create(device, &options, &queue) == MOTE_OK);
    struct blockdev_request *done[2], requests[2] = {contract_request(BLOCKDEV_WRITE, 0, PAGE_BYTES, data, 0), contract_request(BLOCKDEV_FLUSH, 0, 0, NULL, 0)};
    struct blockdev_request *write = &requests[0], *flush = &requests[1];
    int64_t before = loopdev_flush_count(loop);
    EXPECT(before >= 0);
    for (int i = 0; i < 10; i++)
        EXPECT(blockdev_submit(queue, &write, 1) == 1 && blockdev_reap(queue, 1, -1, done, 1) == 1 && write->result == MOTE_OK);
    EXPECT(loopdev_flush_count(loop) == before);
    for (int i = 0; i < 10; i++)
        EXPECT(blockdev_submit(queue, &flush, 1) == 1 && blockdev_reap(queue, 1, -1, done, 1) == 1 && flush->result == MOTE_OK);
    EXPECT(loopdev_flush_count(loop) == before + 10);
    struct blockdev_request *commit[2] = {write, flush};
    write->flags = BLOCKDEV_LINK;
    for (int i = 0; i < 10; i++)
        EXPECT(blockdev_submit(queue, commit, 2) == 2 && blockdev_reap(queue, 2, -1, done, 2) == 2 && write->result == MOTE_OK && flush->result == MOTE_OK);
    EXPECT(loopdev_flush_count(loop) == before + 20);
    write->flags = BLOCKDEV_FUA;
    for (int i = 0; i < 10; i++)
        EXPECT(blockdev_submit(queue, &write, 1) == 1 && blockdev_reap(queue, 1, -1, done, 1) == 1 && write->result == MOTE_OK);
    /* Without FUA of its own the kernel flushes behind each such write, on some versions twice. */
    EXPECT(blockdev_geometry(device)->fua || loopdev_flush_count(loop) >= before + 30);
    blockdev_queue_destroy(queue);
    free(data);
}

/* The device became smaller behind our back: what crosses its end fails, and cancels what is linked. */
static void test_shrunk(const struct loopdev *loop, struct blockdev *device)
{
    struct blockdev_queue_options options = {.depth = 8};
    struct blockdev_queue *queue = NULL;
    uint8_t *data = contract_buffer(8 * PAGE_BYTES, seed);
    uint64_t end_bytes = IMAGE_BYTES / 2;
    EXPECT(blockdev_queue_create(device, &options, &queue) == MOTE_OK);
    EXPECT(truncate(tempdir_file(&folder, "image"), (off_t)end_bytes) == 0 && loopdev_resize(loop) == 0);
    for (int op = BLOCKDEV_READ; op <= BLOCKDEV_WRITE; op++) {
        struct blockdev_request *done[3], *all[3], requests[3] = {
            contract_request((enum blockdev_op)op, end_bytes - PAGE_BYTES, 2 * PAGE_BYTES, data, BLOCKDEV_LINK), contract_request(BLOCKDEV_FLUSH, 0, 0, NULL, 0),
            contract_request((enum blockdev_op)op, end_bytes + PAGE_BYTES, PAGE_BYTES, data, 0)};
        for (int i = 0; i < 3; i++)
            all[i] = &requests[i];
        EXPECT(blockdev_submit(queue, all, 3) == 3 && blockdev_reap(queue, 3, -1, done, 3) == 3);
        EXPECT(requests[0].result == MOTE_EIO || requests[0].result == MOTE_ENOSPC);
        EXPECT(requests[1].result == MOTE_EIO && requests[1].system_errno == ECANCELED);
        EXPECT(requests[2].result == MOTE_EIO || requests[2].result == MOTE_ENOSPC);
    }
    EXPECT(blockdev_refresh(device) == MOTE_OK && blockdev_geometry(device)->size_bytes == end_bytes);
    EXPECT(blockdev_read_range(queue, end_bytes - PAGE_BYTES, data, 2 * PAGE_BYTES) == MOTE_EINVAL);
    blockdev_queue_destroy(queue);
    free(data);
}

/* io_uring on a kernel without a discard command. */
static void test_discard_by_ioctl(struct blockdev *device)
{
    struct contract contract = {.device = device, .seed = seed};
    printf("io_uring discards by %s here\n", atomic_load(&file_of(device)->discard_by_ioctl) ? "ioctl" : "command");
    atomic_store(&file_of(device)->discard_by_ioctl, true);
    for (unsigned i = 0; i < contract_case_count; i++) {
        contract.case_name = contract_cases[i].name;
        if (strcmp(contract.case_name, "discard") == 0)
            contract_cases[i].run(&contract);
    }
    EXPECT(contract.check_count > 0 && contract.failure_count == 0);
}

static void test_contract(uint32_t block_bytes, uint32_t backend)
{
    struct loopdev loop;
    struct blockdev *device = NULL;
    struct mote_error error;
    make_image("image", IMAGE_BYTES);
    if (!make_loop("image", (struct loopdev_options){.block_bytes = block_bytes, .direct = true}, &loop))
        return;
    int result = open_device(loop.path, false, backend, 2000, &device);
    if (result == MOTE_ENOTSUP) {
        mote_last_error(&error);
        printf("SKIPPED: %s\n", error.message);
    } else if (result != MOTE_OK) {
        EXPECT(result == MOTE_OK);
    } else {
        const struct blockdev_geometry *geometry = blockdev_geometry(device);
        EXPECT(geometry->logical_block_bytes == block_bytes && geometry->size_bytes == IMAGE_BYTES && geometry->block_device && geometry->direct);
        EXPECT(geometry->write_cache && !geometry->read_only && strcmp(geometry->model, "loop") == 0);
        EXPECT(contract_run(device, seed) == 0);
        if (backend == MOTE_BACKEND_IO_URING)
            test_discard_by_ioctl(device);
        test_barriers(&loop, device);
        test_shrunk(&loop, device);
        printf("%s, %" PRIu32 "-byte blocks: done\n", blockdev_backend(device), block_bytes);
        blockdev_close(device);
    }
    EXPECT(loopdev_destroy(&loop) == 0);
}

/* Held by another opener, ourselves included; free again after close; blank and signed content. */
static void test_exclusive(void)
{
    struct loopdev loop;
    struct blockdev *device = NULL, *second = NULL;
    struct blockdev_content content;
    make_image("image", IMAGE_BYTES);
    if (!make_loop("image", (struct loopdev_options){.block_bytes = 512}, &loop))
        return;
    EXPECT(open_device(loop.path, false, 0, 0, &device) == MOTE_OK);
    EXPECT(open_device(loop.path, false, 0, 0, &second) == MOTE_EBUSY && second == NULL && last_error_says(MOTE_EBUSY, "another process"));
    EXPECT(open_device(loop.path, true, 0, 30, &second) == MOTE_EBUSY);
    EXPECT(blockdev_probe_content(device, &content) == MOTE_OK && content.found[0] == '\0' && !content.mounted);
    blockdev_close(device);
    EXPECT(open_device(loop.path, false, 0, 2000, &device) == MOTE_OK);
    blockdev_close(device);
    /* The image below the loop device is in use, too. */
    EXPECT(open_device(tempdir_file(&folder, "image"), false, 0, 0, &device) == MOTE_OK);
    EXPECT(blockdev_probe_content(device, &content) == MOTE_OK && content.mounted && strcmp(content.mounted_at, loop.name) == 0);
    blockdev_close(device);
    EXPECT(loopdev_destroy(&loop) == 0);
    EXPECT(open_device(loop.name, false, 0, 0, &device) == MOTE_ENODEV);
}

static void test_read_only(void)
{
    struct loopdev loop;
    struct blockdev *device = NULL;
    make_image("image", IMAGE_BYTES);
    for (int by_ioctl = 0; by_ioctl < 2; by_ioctl++) {
        int on = 1;
        if (!make_loop("image", (struct loopdev_options){.read_only = !by_ioctl}, &loop))
            return;
        int fd = open(loop.path, O_RDONLY | O_CLOEXEC);
        EXPECT(fd >= 0 && (!by_ioctl || ioctl(fd, BLKROSET, &on) == 0));
        close(fd);
        EXPECT(open_device(loop.path, false, 0, 0, &device) == MOTE_EACCESS && device == NULL && last_error_says(MOTE_EACCESS, "read-only device"));
        EXPECT(open_device(loop.path, true, 0, 1000, &device) == MOTE_OK);
        if (device)
            EXPECT(blockdev_geometry(device)->read_only);
        blockdev_close(device);
        on = 0; /* the switch outlives the device's backing file */
        fd = open(loop.path, O_RDONLY | O_CLOEXEC);
        EXPECT(fd >= 0 && ioctl(fd, BLKROSET, &on) == 0);
        close(fd);
        EXPECT(loopdev_destroy(&loop) == 0);
    }
}

/* Makes partition 1 from 1 MiB on, by ioctl: the kernel may have no parser for any partition table. */
static bool add_partition(const struct loopdev *loop)
{
    struct blkpg_partition partition = {.start = MIB_BYTES, .length = 10 * MIB_BYTES, .pno = 1};
    struct blkpg_ioctl_arg argument = {.op = BLKPG_ADD_PARTITION, .datalen = sizeof partition, .data = &partition};
    int fd = open(loop->path, O_RDWR | O_CLOEXEC);
    bool added = fd >= 0 && ioctl(fd, BLKPG, &argument) == 0;
    EXPECT(added);
    close(fd);
    return added;
}

/* Runs a tool quietly. False, and says SKIPPED, if it is not installed. */
static bool run_tool(const char *tool, const char *command)
{
    if (access(tool, X_OK) != 0) {
        printf("SKIPPED: %s is not installed\n", tool);
        return false;
    }
    int status = system(command);
    EXPECT(status == 0);
    return status == 0;
}

/* What the kernel says of the disk now: a loop device takes discards only while its file's system does. */
static bool discards(const struct loopdev *loop)
{
    char path[128];
    unsigned long long bytes = 0;
    snprintf(path, sizeof path, "/sys/block/%s/queue/discard_max_bytes", loop->path + strlen("/dev/"));
    FILE *file = fopen(path, "r");
    bool read = file && fscanf(file, "%llu", &bytes) == 1;
    if (file)
        fclose(file);
    return read && bytes > 0;
}

/* A mounted device, and a disk with a mounted partition, are refused at once, and the sentence names the mount point. */
static void test_mounted(void)
{
    struct loopdev loop;
    struct blockdev *device = NULL;
    struct blockdev_content content;
    char command[512], partition[64];
    struct timespec start, end;
    const char *point = tempdir_file(&folder, "mount point");
    make_image("disk", IMAGE_BYTES);
    if (!make_loop("disk", (struct loopdev_options){.partitions = true}, &loop))
        return;
    if (!add_partition(&loop))
        goto done;
    snprintf(partition, sizeof partition, "%sp1", loop.path);
    snprintf(command, sizeof command, "/usr/sbin/mkfs.ext4 -q -F %s >/dev/null 2>&1", partition);
    EXPECT(open_device(partition, false, 0, 2000, &device) == MOTE_OK);
    if (device) {
        EXPECT(blockdev_geometry(device)->size_bytes == 10 * MIB_BYTES && strcmp(blockdev_geometry(device)->model, "loop") == 0);
        EXPECT(blockdev_geometry(device)->discard_granularity_bytes > 0 || !discards(&loop));
        struct blockdev *whole = NULL;
        EXPECT(open_device(loop.path, false, 0, 0, &whole) == MOTE_EBUSY);
    }
    blockdev_close(device);
    if (run_tool("/usr/sbin/mkfs.ext4", command)) {
        EXPECT(mkdir(point, 0700) == 0 && mount(partition, point, "ext4", 0, NULL) == 0);
        clock_gettime(CLOCK_MONOTONIC, &start);
        EXPECT(open_device(partition, false, 0, 5000, &device) == MOTE_EBUSY && last_error_says(MOTE_EBUSY, point));
        EXPECT(open_device(loop.path, false, 0, 5000, &device) == MOTE_EBUSY && last_error_says(MOTE_EBUSY, point));
        clock_gettime(CLOCK_MONOTONIC, &end);
        EXPECT(end.tv_sec - start.tv_sec < 4);
        EXPECT(umount(point) == 0);
        EXPECT(open_device(partition, false, 0, 2000, &device) == MOTE_OK);
        if (device)
            EXPECT(blockdev_probe_content(device, &content) == MOTE_OK && strcmp(content.found, "ext4") == 0 && !content.mounted);
        blockdev_close(device);
        EXPECT(open_device(loop.path, false, 0, 2000, &device) == MOTE_OK);
        if (device)
            EXPECT(blockdev_probe_content(device, &content) == MOTE_OK && content.found[0] == '\0');
        blockdev_close(device);
    }
done:
    EXPECT(loopdev_destroy(&loop) == 0);
}

/* Writes without end, with many requests in flight, until it is killed. */
static void write_until_killed(const char *path, int ready)
{
    struct blockdev *device = NULL;
    struct blockdev_queue *queue = NULL;
    struct blockdev_queue_options options = {.depth = 32};
    struct blockdev_request requests[32], *done[32];
    uint8_t *data = contract_buffer(MIB_BYTES, seed);
    if (open_device(path, false, MOTE_BACKEND_AUTO, 0, &device) != MOTE_OK || blockdev_queue_create(device, &options, &queue) != MOTE_OK)
        _exit(1);
    for (unsigned i = 0;; i++) {
        struct blockdev_request *one = &requests[i % 32];
        if (i >= 32 && blockdev_reap(queue, 1, -1, done, 1) == 1)
            one = done[0];
        *one = contract_request(BLOCKDEV_WRITE, i % 64 * (uint64_t)REQUEST_BYTES_MAX / 4, REQUEST_BYTES_MAX / 4, data, i % 8 ? 0 : BLOCKDEV_FUA);
        if (blockdev_submit(queue, &one, 1) != 1 || (i == 64 && write(ready, "x", 1) != 1))
            _exit(2);
    }
}

/* The kernel gives a killed writer's device back only when its requests are done: the next open waits for that. */
static void test_killed_owner(void)
{
    struct loopdev loop;
    int ready[2];
    char byte;
    make_image("image", IMAGE_BYTES);
    if (!make_loop("image", (struct loopdev_options){.direct = true}, &loop))
        return;
    for (int round = 0; round < 5; round++) {
        struct blockdev *device = NULL;
        EXPECT(pipe2(ready, O_CLOEXEC) == 0);
        pid_t child = fork();
        if (child == 0)
            write_until_killed(loop.path, ready[1]);
        close(ready[1]);
        EXPECT(read(ready[0], &byte, 1) == 1);
        close(ready[0]);
        EXPECT(kill(child, SIGKILL) == 0);
        EXPECT(waitpid(child, NULL, 0) == child);
        EXPECT(open_device(loop.path, false, 0, 5000, &device) == MOTE_OK);
        blockdev_close(device);
    }
    EXPECT(loopdev_destroy(&loop) == 0);
}

int main(int argc, char **argv)
{
    const char *why = loopdev_available();
    if (why) {
        printf("SKIPPED: %s\n0 passed, 0 failed\n", why);
        return 0;
    }
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    printf("seed %" PRIu64 "\n", seed);
    tempdir_make(&folder);
    for (uint32_t block_bytes = 512; block_bytes <= 4096; block_bytes *= 8)
        for (uint32_t backend = MOTE_BACKEND_IO_URING; backend <= MOTE_BACKEND_THREADS; backend++)
            test_contract(block_bytes, backend);
    test_exclusive();
    test_read_only();
    test_mounted();
    test_killed_owner();
    tempdir_remove(&folder);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
