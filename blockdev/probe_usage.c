/* probe_usage.c: who else uses a device: mounts (/proc/self/mountinfo, by device number and by the mounted source), swap (/proc/swaps), drivers that hold it or
 * a partition of it (sysfs holders), loop devices over an image file.
 *
 * The kernel's exclusive open is what protects a device; this names the reason, and covers what holds no claim (another mount namespace's view aside).
 * Reads only; any thread. A file that cannot be read counts as saying nothing.
 */
#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "blockdev/probe_private.h"

enum { NUMBERS_MAX = 257 }; /* a disk and its partitions; later ones are not looked at */

struct numbers {
    dev_t all[NUMBERS_MAX];
    unsigned count;
};

/* The device itself and, of a whole disk, its partitions. */
static void collect_numbers(dev_t device, struct numbers *numbers)
{
    char path[64];
    numbers->all[0] = device;
    numbers->count = 1;
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u", major(device), minor(device));
    DIR *folder = opendir(path);
    if (!folder)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) && numbers->count < NUMBERS_MAX;) {
        char name[300], text[32];
        unsigned major_number = 0, minor_number = 0;
        if (entry->d_name[0] == '.' || strchr(entry->d_name, '/'))
            continue;
        snprintf(name, sizeof name, "%s/partition", entry->d_name);
        if (!sysfs_read(device, name, text, sizeof text))
            continue;
        snprintf(name, sizeof name, "%s/dev", entry->d_name);
        if (sysfs_read(device, name, text, sizeof text) && sscanf(text, "%u:%u", &major_number, &minor_number) == 2)
            numbers->all[numbers->count++] = makedev(major_number, minor_number);
    }
    closedir(folder);
}

static bool has_number(const struct numbers *numbers, dev_t device)
{
    for (unsigned i = 0; i < numbers->count; i++)
        if (numbers->all[i] == device)
            return true;
    return false;
}

/* Undoes the octal escapes (\040 for a space) of /proc in place. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* One line of mountinfo: "36 35 98:0 /root /mount options [tags] - type source options". */
static bool match_mount(char *line, const struct numbers *numbers, char *where, size_t where_bytes)
{
    unsigned major_number = 0, minor_number = 0;
    int mount_start = 0, mount_end = 0;
    if (sscanf(line, "%*d %*d %u:%u %*s %n%*s%n", &major_number, &minor_number, &mount_start, &mount_end) != 2 || mount_end <= mount_start)
        return false;
    bool found = has_number(numbers, makedev(major_number, minor_number));
    char *tail = strstr(line + mount_end, " - ");
    if (!found && tail) {
        /* File systems over several devices mount under a number of their own: compare what was mounted. */
        int source_start = 0, source_end = 0;
        struct stat source;
        if (sscanf(tail + 3, "%*s %n%*s%n", &source_start, &source_end) == 0 && source_end > source_start) {
            char *name = tail + 3 + source_start;
            name[source_end - source_start] = '\0';
            unescape(name);
            found = name[0] == '/' && stat(name, &source) == 0 && S_ISBLK(source.st_mode) && has_number(numbers, source.st_rdev);
        }
    }
    if (found) {
        line[mount_end] = '\0';
        unescape(line + mount_start);
        snprintf(where, where_bytes, "%s", line + mount_start);
    }
    return found;
}

static bool find_mount(const struct numbers *numbers, char *where, size_t where_bytes)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t line_bytes = 0;
    bool found = false;
    if (!mounts)
        return false;
    while (!found && getline(&line, &line_bytes, mounts) > 0)
        found = match_mount(line, numbers, where, where_bytes);
    free(line);
    fclose(mounts);
    return found;
}

static bool same_file(const struct stat *one, const struct stat *other) { return one->st_dev == other->st_dev && one->st_ino == other->st_ino; }

/* numbers: NULL for an image file. */
static bool find_swap(const struct stat *status, const struct numbers *numbers, char *where, size_t where_bytes)
{
    FILE *swaps = fopen("/proc/swaps", "re");
    char *line = NULL;
    size_t line_bytes = 0;
    bool found = false;
    if (!swaps)
        return false;
    while (!found && getline(&line, &line_bytes, swaps) > 0) {
        struct stat swap;
        line[strcspn(line, " \t\n")] = '\0';
        unescape(line);
        if (line[0] != '/' || stat(line, &swap) != 0)
            continue;
        found = numbers ? S_ISBLK(swap.st_mode) && has_number(numbers, swap.st_rdev) : same_file(&swap, status);
    }
    if (found)
        snprintf(where, where_bytes, "swap");
    free(line);
    fclose(swaps);
    return found;
}

static bool find_holder(const struct numbers *numbers, char *where, size_t where_bytes)
{
    bool found = false;
    for (unsigned i = 0; i < numbers->count && !found; i++) {
        char path[96];
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/holders", major(numbers->all[i]), minor(numbers->all[i]));
        DIR *folder = opendir(path);
        if (!folder)
            continue;
        for (struct dirent *entry; !found && (entry = readdir(folder));) {
            if (entry->d_name[0] == '.')
                continue;
            snprintf(where, where_bytes, "held by %.200s", entry->d_name);
            found = true;
        }
        closedir(folder);
    }
    return found;
}

static bool find_loop(const struct stat *status, char *where, size_t where_bytes)
{
    bool found = false;
    DIR *folder = opendir("/sys/block");
    if (!folder)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(folder));) {
        char path[320], backing[4096];
        struct stat file;
        if (strncmp(entry->d_name, "loop", 4) != 0)
            continue;
        snprintf(path, sizeof path, "/sys/block/%s/loop/backing_file", entry->d_name);
        FILE *text = fopen(path, "re");
        if (!text)
            continue;
        if (fgets(backing, sizeof backing, text)) {
            backing[strcspn(backing, "\n")] = '\0';
            found = stat(backing, &file) == 0 && same_file(&file, status);
        }
        fclose(text);
        if (found)
            snprintf(where, where_bytes, "%.200s", entry->d_name);
    }
    closedir(folder);
    return found;
}

bool usage_find(const struct stat *status, char *where, size_t where_bytes)
{
    assert(where_bytes > 0);
    where[0] = '\0';
    if (!S_ISBLK(status->st_mode))
        return find_swap(status, NULL, where, where_bytes) || find_loop(status, where, where_bytes);
    struct numbers numbers;
    collect_numbers(status->st_rdev, &numbers);
    return find_mount(&numbers, where, where_bytes) || find_swap(status, &numbers, where, where_bytes) || find_holder(&numbers, where, where_bytes);
}
