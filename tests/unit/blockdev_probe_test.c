/* blockdev_probe_test.c: opening, refusing, creating and recognising image files. Block devices: tests/device/blockdev_loop_test.c. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"
#include "blockdev/probe.h"
#include "blockdev/superblock_format.h"
#include "include/mote.h"
#include "tests/support/tempdir.h"

static struct tempdir folder;

static void make_folder(void) { tempdir_make(&folder); }
static void remove_folder(void) { tempdir_remove(&folder); }
TestSuite(probe, .init = make_folder, .fini = remove_folder, .timeout = 60);

enum { IMAGE_BYTES = 4 * 1024 * 1024 };

static int open_path(const char *path, bool read_only, uint32_t busy_timeout_ms, struct blockdev **device)
{
    struct blockdev_open_options options = {.read_only = read_only, .busy_timeout_ms = busy_timeout_ms};
    return blockdev_open(path, &options, device);
}

static void expect_message(int code, const char *words)
{
    struct mote_error error;
    cr_expect_eq(mote_last_error(&error), code, "%d: %s", error.code, error.message);
    cr_expect_not_null(strstr(error.message, words), "%s", error.message);
}

static const char *make_image(const char *name)
{
    const char *path = tempdir_file(&folder, name);
    cr_assert_eq(blockdev_image_create(path, IMAGE_BYTES, true, NULL, NULL), MOTE_OK);
    return path;
}

Test(probe, geometry_of_an_image_is_honest)
{
    struct blockdev *device = NULL;
    const char *path = make_image("image");
    cr_assert_eq(open_path(path, false, 0, &device), MOTE_OK);
    const struct blockdev_geometry *geometry = blockdev_geometry(device);
    cr_expect_eq(geometry->size_bytes, IMAGE_BYTES);
    cr_expect(geometry->logical_block_bytes == 512 || geometry->logical_block_bytes == 4096);
    cr_expect_geq(geometry->buffer_align_bytes, 512);
    cr_expect_eq(geometry->request_bytes_max, REQUEST_BYTES_MAX);
    cr_expect(geometry->write_cache && !geometry->fua && !geometry->block_device && !geometry->read_only);
    cr_expect_str_eq(geometry->model, "image file");
    cr_expect_str_eq(blockdev_path(device), path);
    blockdev_close(device);
}

Test(probe, path_that_is_no_device_is_refused)
{
    struct blockdev *device = NULL;
    char long_path[400];
    cr_expect_eq(open_path(tempdir_file(&folder, "missing"), false, 0, &device), MOTE_ENODEV);
    expect_message(MOTE_ENODEV, "does not exist");
    cr_expect_neq(access(tempdir_file(&folder, "missing"), F_OK), 0, "opening never creates");
    cr_expect_eq(open_path(folder.path, false, 0, &device), MOTE_ENODEV);
    expect_message(MOTE_ENODEV, "neither a block device nor an image file");
    cr_expect_eq(open_path("/dev/null", false, 0, &device), MOTE_ENODEV);
    cr_assert_eq(mkfifo(tempdir_file(&folder, "fifo"), 0600), 0);
    cr_expect_eq(open_path(tempdir_file(&folder, "fifo"), false, 0, &device), MOTE_ENODEV);
    cr_expect_eq(open_path("", false, 0, &device), MOTE_EINVAL);
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    cr_expect_eq(open_path(long_path, false, 0, &device), MOTE_EINVAL);
    int fd = open(tempdir_file(&folder, "empty"), O_CREAT | O_RDWR, 0600);
    cr_expect_eq(open_path(tempdir_file(&folder, "empty"), false, 0, &device), MOTE_ENODEV);
    close(fd);
    struct blockdev_open_options options = {.backend = 77};
    cr_expect_eq(blockdev_open(make_image("image"), &options, &device), MOTE_EINVAL);
    cr_expect_null(device);
}

Test(probe, image_without_permission_is_refused)
{
    struct blockdev *device = NULL;
    const char *path = make_image("image");
    cr_assert_eq(chmod(path, 0400), 0);
    cr_assert_eq(chmod(folder.path, 0755), 0);
    int status = 0;
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        bool root = geteuid() == 0;
        if (root && (chown(path, 65534, 65534) != 0 || setgid(65534) != 0 || setuid(65534) != 0))
            _exit(10);
        if (open_path(path, false, 0, &device) != MOTE_EACCESS)
            _exit(11);
        if (open_path(path, true, 0, &device) != MOTE_OK)
            _exit(12);
        blockdev_close(device);
        _exit(0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
}

Test(probe, second_opener_is_refused_until_the_first_closes)
{
    struct blockdev *first = NULL, *second = NULL, *third = NULL;
    const char *path = make_image("image");
    struct timespec start, end;
    cr_assert_eq(open_path(path, false, 0, &first), MOTE_OK);
    cr_expect_eq(open_path(path, false, 0, &second), MOTE_EBUSY);
    expect_message(MOTE_EBUSY, "another process");
    cr_expect_eq(open_path(path, true, 0, &second), MOTE_EBUSY);
    clock_gettime(CLOCK_MONOTONIC, &start);
    cr_expect_eq(open_path(path, false, 100, &second), MOTE_EBUSY);
    clock_gettime(CLOCK_MONOTONIC, &end);
    cr_expect_geq((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000, 99);
    blockdev_close(first);
    /* Readers share; a writer waits for them. */
    cr_assert_eq(open_path(path, true, 0, &first), MOTE_OK);
    cr_assert_eq(open_path(path, true, 0, &second), MOTE_OK);
    cr_expect_eq(open_path(path, false, 0, &third), MOTE_EBUSY);
    blockdev_close(first);
    blockdev_close(second);
    cr_assert_eq(open_path(path, false, 0, &third), MOTE_OK);
    blockdev_close(third);
}

Test(probe, busy_image_is_taken_when_its_owner_dies)
{
    struct blockdev *device = NULL;
    const char *path = make_image("image");
    int ready[2];
    char byte = 0;
    cr_assert_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (open_path(path, false, 0, &device) != MOTE_OK || write(ready[1], "x", 1) != 1)
            _exit(1);
        struct timespec hold = {.tv_nsec = 150 * NS_PER_MS};
        nanosleep(&hold, NULL);
        _exit(0); /* without closing */
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_expect_eq(open_path(path, false, 5000, &device), MOTE_OK);
    blockdev_close(device);
    waitpid(child, NULL, 0);
}

static void count_progress(uint64_t done_bytes, void *context)
{
    uint64_t *seen = context;
    cr_expect_gt(done_bytes, seen[1]);
    seen[0]++;
    seen[1] = done_bytes;
}

Test(probe, created_image_is_allocated_and_zero)
{
    struct stat status;
    uint64_t seen[2] = {0, 0};
    const char *path = tempdir_file(&folder, "full");
    uint64_t size_bytes = 3 * MIB_BYTES + PAGE_BYTES;
    cr_assert_eq(blockdev_image_create(path, size_bytes, false, count_progress, seen), MOTE_OK);
    cr_assert_eq(stat(path, &status), 0);
    cr_expect_eq((uint64_t)status.st_size, size_bytes);
    cr_expect_geq((uint64_t)status.st_blocks * 512, size_bytes);
    cr_expect_eq(seen[1], size_bytes);
    cr_expect_geq(seen[0], 4);
    struct blockdev *device = NULL;
    struct blockdev_content content;
    cr_assert_eq(open_path(path, false, 0, &device), MOTE_OK);
    cr_expect_eq(blockdev_probe_content(device, &content), MOTE_OK);
    cr_expect_str_eq(content.found, "");
    cr_expect_not(content.mounted);
    blockdev_close(device);
    cr_assert_eq(blockdev_image_create(tempdir_file(&folder, "sparse"), size_bytes, true, NULL, NULL), MOTE_OK);
    cr_assert_eq(stat(tempdir_file(&folder, "sparse"), &status), 0);
    cr_expect_eq((uint64_t)status.st_size, size_bytes);
    cr_expect_lt((uint64_t)status.st_blocks * 512, size_bytes);
}

Test(probe, creation_refuses_what_exists_and_what_is_below_dev)
{
    const char *path = make_image("image"), *link = tempdir_file(&folder, "link");
    cr_expect_eq(blockdev_image_create(path, IMAGE_BYTES, true, NULL, NULL), MOTE_EEXISTS);
    cr_expect_eq(blockdev_image_create("/dev/mote-no-such-device", IMAGE_BYTES, true, NULL, NULL), MOTE_EINVAL);
    expect_message(MOTE_EINVAL, "below /dev");
    cr_expect_neq(access("/dev/mote-no-such-device", F_OK), 0);
    cr_expect_eq(blockdev_image_create("/dev/shm/mote-no-such-device", IMAGE_BYTES, true, NULL, NULL), MOTE_EINVAL);
    cr_expect_eq(blockdev_image_create("/tmp/../dev/mote-no-such-device", IMAGE_BYTES, true, NULL, NULL), MOTE_EINVAL);
    cr_assert_eq(symlink("/dev", link), 0);
    cr_expect_eq(blockdev_image_create(tempdir_file(&folder, "link/mote-no-such-device"), IMAGE_BYTES, true, NULL, NULL), MOTE_EINVAL);
    cr_expect_neq(access("/dev/mote-no-such-device", F_OK), 0);
    cr_expect_eq(blockdev_image_create(tempdir_file(&folder, "no/such/folder"), IMAGE_BYTES, true, NULL, NULL), MOTE_ENODEV);
    cr_expect_eq(blockdev_image_create(tempdir_file(&folder, "odd"), IMAGE_BYTES + 1, true, NULL, NULL), MOTE_EINVAL);
    cr_expect_eq(blockdev_image_create(tempdir_file(&folder, "odd"), 0, true, NULL, NULL), MOTE_EINVAL);
    cr_expect_neq(access(tempdir_file(&folder, "odd"), F_OK), 0);
}

Test(probe, creation_without_room_leaves_nothing)
{
    const char *path = tempdir_file(&folder, "huge");
    cr_expect_eq(blockdev_image_create(path, 1ull << 50, false, NULL, NULL), MOTE_ENOSPC);
    cr_expect_neq(access(path, F_OK), 0);
}

/* Writes bytes at an offset of a file. */
static void put(const char *path, uint64_t offset_bytes, const void *data, size_t size_bytes)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, data, size_bytes, (off_t)offset_bytes), (ssize_t)size_bytes);
    close(fd);
}

static void expect_content(const char *path, const char *found)
{
    struct blockdev *device = NULL;
    struct blockdev_content content;
    cr_assert_eq(open_path(path, true, 0, &device), MOTE_OK);
    cr_expect_eq(blockdev_probe_content(device, &content), MOTE_OK);
    cr_expect_str_eq(content.found, found, "%s instead of %s", content.found, found);
    cr_expect_not(content.mounted);
    blockdev_close(device);
}

Test(probe, blank_image_shows_nothing) { expect_content(make_image("image"), ""); }

Test(probe, single_byte_at_either_end_is_data)
{
    static const uint64_t places[] = {0, 1, 511, MIB_BYTES - 1, IMAGE_BYTES - MIB_BYTES, IMAGE_BYTES - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char name[16];
        snprintf(name, sizeof name, "image%zu", i);
        const char *path = make_image(name);
        put(path, places[i], "x", 1);
        expect_content(path, "data");
    }
    const char *path = make_image("middle");
    put(path, 2 * MIB_BYTES - 1, "x", 1);
    expect_content(path, "");
}

Test(probe, signatures_are_named)
{
    uint8_t block[1024];
    const char *path = make_image("mote");
    put(path, 0, SUPERBLOCK_MAGIC, sizeof SUPERBLOCK_MAGIC - 1);
    expect_content(path, "mote");

    path = make_image("swap");
    memset(block, 0, sizeof block);
    store_u32(block, 1);       /* version */
    store_u32(block + 4, 100); /* last page */
    put(path, 1024, block, 12);
    put(path, 4096 - 10, "SWAPSPACE2", 10);
    expect_content(path, "swap");

    path = make_image("ext2");
    memset(block, 0, sizeof block);
    store_u32(block + 0, 64);       /* inodes */
    store_u32(block + 4, 1024);     /* blocks */
    store_u32(block + 0x20, 8192);  /* blocks per group */
    store_u32(block + 0x28, 64);    /* inodes per group */
    store_u16(block + 0x38, 0xef53);
    store_u32(block + 0x4c, 1);     /* revision */
    put(path, 1024, block, sizeof block);
    expect_content(path, "ext2");

    path = make_image("dos");
    memset(block, 0, sizeof block);
    block[446 + 4] = 0x83;            /* a Linux partition */
    store_u32(block + 446 + 8, 2048); /* first sector */
    store_u32(block + 446 + 12, 2048);
    block[510] = 0x55;
    block[511] = 0xaa;
    put(path, 0, block, 512);
    expect_content(path, "dos");

    path = make_image("luks");
    memset(block, 0, sizeof block);
    memcpy(block, "LUKS\xba\xbe\0\1", 8);
    put(path, 0, block, 1024);
    expect_content(path, "crypto_LUKS");
}

/* The real tools' work, where they are installed. */
Test(probe, signatures_of_real_tools_are_named)
{
    static const struct {
        const char *tool, *command, *found;
    } tools[] = {
        {"/usr/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4 -q -F %s >/dev/null 2>&1", "ext4"},
        {"/usr/sbin/mkswap", "/usr/sbin/mkswap %s >/dev/null 2>&1", "swap"},
        {"/usr/sbin/sfdisk", "echo 'label: gpt' | /usr/sbin/sfdisk -q %s >/dev/null 2>&1", "gpt"},
    };
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
        char command[512], name[16];
        snprintf(name, sizeof name, "tool%zu", i);
        if (access(tools[i].tool, X_OK) != 0) {
            fprintf(stderr, "SKIPPED %s: not installed\n", tools[i].tool);
            continue;
        }
        const char *path = make_image(name);
        snprintf(command, sizeof command, tools[i].command, path);
        cr_assert_eq(system(command), 0, "%s", command);
        expect_content(path, tools[i].found);
    }
}
