/* tempdir.h: a temporary folder for a test, below TMPDIR or /tmp. Aborts the program when it cannot be made: no test can go on then. */
#ifndef MOTE_TESTS_TEMPDIR_H
#define MOTE_TESTS_TEMPDIR_H

#include <stddef.h>

enum { TEMPDIR_PATH_BYTES = 200 };

struct tempdir {
    char path[TEMPDIR_PATH_BYTES];
};

void tempdir_make(struct tempdir *folder);
/* The path of a file in it, in one of eight buffers of the calling thread that are used in turn. */
const char *tempdir_file(const struct tempdir *folder, const char *name);
/* Removes the folder with all its files. */
void tempdir_remove(struct tempdir *folder);

#endif
