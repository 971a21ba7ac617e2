/* filesystem.c: a fresh ext4 on the benchmark's device for each run of a peer, and what peers need of files (peers.h). mkfs.ext4 as it comes, but without lazy initialisation, which would
 * write into the measured time, and without discard, which would make a loop device's file sparse again; mounted with noatime.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/peers/peers.h"

extern char **environ;

static int make_ext4(const char *device, const char *folder)
{
    struct stat stat_buffer;
    char *arguments[] = {"mkfs.ext4", "-F", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", NULL, NULL};
    char path[4096];
    pid_t pid;
    int status = 0;
    if (stat(device, &stat_buffer) || !S_ISBLK(stat_buffer.st_mode))
        return bench_fail("%s is no block device: the other engines need one for their ext4 (bench/peers/run makes a loop device of a file)", device);
    snprintf(path, sizeof path, "%s", device);
    arguments[5] = path;
    int code = posix_spawnp(&pid, arguments[0], NULL, NULL, arguments, environ);
    if (code)
        return bench_fail("cannot run mkfs.ext4: %s", strerror(code));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return bench_fail("mkfs.ext4 %s failed", device);
    if (mkdir(folder, 0700) && errno != EEXIST)
        return bench_fail("cannot make %s: %s", folder, strerror(errno));
    if (mount(device, folder, "ext4", MS_NOATIME, ""))
        return bench_fail("cannot mount %s at %s: %s", device, folder, strerror(errno));
    return 0;
}

static int unmake_ext4(const char *folder)
{
    for (unsigned tries = 0; umount(folder); tries++) {
        if (errno != EBUSY || tries == 100)
            return bench_fail("cannot unmount %s: %s", folder, strerror(errno));
        usleep(20000);
    }
    return rmdir(folder) ? bench_fail("cannot remove %s: %s", folder, strerror(errno)) : 0;
}

const struct filesystem filesystem_ext4 = {make_ext4, unmake_ext4};

int peer_sync_filesystem(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = fd < 0 ? -1 : syncfs(fd);
    if (fd >= 0)
        close(fd);
    return code ? bench_fail("cannot sync %s: %s", folder, strerror(errno)) : 0;
}

/* Calls visit for each regular file of the folder and of the folders in it. */
static int each_file(const char *folder, int depth, int (*visit)(const char *path, const struct stat *stat_buffer, void *context), void *context)
{
    DIR *directory = opendir(folder);
    if (!directory)
        return bench_fail("cannot list %s: %s", folder, strerror(errno));
    int code = 0;
    for (struct dirent *entry; !code && (entry = readdir(directory)) != NULL;) {
        char path[4352];
        struct stat stat_buffer;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(path, &stat_buffer))
            continue; /* an engine removes files at any time */
        if (S_ISREG(stat_buffer.st_mode))
            code = visit(path, &stat_buffer, context);
        else if (S_ISDIR(stat_buffer.st_mode) && depth > 0 && strcmp(entry->d_name, "lost+found") != 0)
            code = each_file(path, depth - 1, visit, context);
    }
    closedir(directory);
    return code;
}

static int add_blocks(const char *path, const struct stat *stat_buffer, void *context)
{
    (void)path;
    *(uint64_t *)context += (uint64_t)stat_buffer->st_blocks * 512;
    return 0;
}

int peer_space(const char *folder, uint64_t *bytes)
{
    *bytes = 0;
    return each_file(folder, 1, add_blocks, bytes);
}

static int remove_file(const char *path, const struct stat *stat_buffer, void *context)
{
    (void)stat_buffer;
    (void)context;
    return unlink(path) ? bench_fail("cannot remove %s: %s", path, strerror(errno)) : 0;
}

int peer_remove_folder(const char *folder)
{
    if (each_file(folder, 0, remove_file, NULL))
        return -1;
    return rmdir(folder) ? bench_fail("cannot remove %s: %s", folder, strerror(errno)) : 0;
}
