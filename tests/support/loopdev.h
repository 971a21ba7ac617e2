/* loopdev.h: loop devices that a test makes over its own image files and destroys again. Needs root and the loop driver; without them loopdev_available says
 * why, and the test reports SKIPPED with that reason. */
#ifndef MOTE_TESTS_LOOPDEV_H
#define MOTE_TESTS_LOOPDEV_H

#include <stdbool.h>
#include <stdint.h>

struct loopdev_options {
    uint32_t block_bytes; /* logical blocks: 512 or 4096; 0: 512 */
    bool direct;          /* direct I/O on the backing file */
    bool read_only;
    bool partitions;      /* scan for partitions, and allow them */
};

struct loopdev {
    int number;
    char path[32]; /* "/dev/loop7"; "" when there is none */
    char name[24]; /* "loop7" */
};

/* NULL, or why there can be no loop device. */
const char *loopdev_available(void);
/* Returns 0 or a positive errno. The backing file must exist. */
int loopdev_create(const char *backing_path, const struct loopdev_options *options, struct loopdev *device);
/* Takes over the backing file's present size (after ftruncate). Returns 0 or a positive errno. */
int loopdev_resize(const struct loopdev *device);
/* Detaches the backing file; waits up to 2 s for other openers. Returns 0 or a positive errno. Does nothing for an unmade device. */
int loopdev_destroy(struct loopdev *device);
/* Flushes that the device has executed, by /sys/block/.../stat. -1: unknown. */
int64_t loopdev_flush_count(const struct loopdev *device);

#endif
