/* tempdir.c: see tempdir.h. */
#include "tests/support/tempdir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_BUFFERS = 8, NAME_BYTES = 256 };

void tempdir_make(struct tempdir *folder)
{
    const char *base = getenv("TMPDIR");
    int length = snprintf(folder->path, sizeof folder->path, "%s/mote-test-XXXXXX", base && base[0] == '/' ? base : "/tmp");
    if (length < 0 || (size_t)length >= sizeof folder->path || !mkdtemp(folder->path)) {
        perror(folder->path);
        abort();
    }
}

const char *tempdir_file(const struct tempdir *folder, const char *name)
{
    static _Thread_local char names[NAME_BUFFERS][NAME_BYTES];
    static _Thread_local unsigned turn;
    char *path = names[turn++ % NAME_BUFFERS];
    if (snprintf(path, NAME_BYTES, "%s/%s", folder->path, name) >= NAME_BYTES)
        abort();
    return path;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

void tempdir_remove(struct tempdir *folder)
{
    if (folder->path[0] == '/')
        (void)nftw(folder->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    folder->path[0] = '\0';
}
