/* blockdev_private.h: what a backend implements. A backend's device struct begins with struct blockdev, its queue struct with struct blockdev_queue.
 * The generic part (blockdev.c) checks arguments (rule 5), counts (rule 7) and maps errno (rule 8) for all of them: a backend's submit gets only valid
 * requests, and its reap hands back requests with system_errno set to 0 or the positive errno; blockdev.c fills result. */
#ifndef MOTE_BLOCKDEV_BLOCKDEV_PRIVATE_H
#define MOTE_BLOCKDEV_BLOCKDEV_PRIVATE_H

#include <stdatomic.h>

#include "blockdev/blockdev.h"

struct blockdev_ops {
    const char *name;
    int (*queue_create)(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **queue);
    void (*queue_destroy)(struct blockdev_queue *queue);
    int (*submit)(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count);
    int (*reap)(struct blockdev_queue *queue, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max);
    void (*wake)(struct blockdev_queue *queue);
    int (*refresh)(struct blockdev *device);
    void (*close)(struct blockdev *device);
};

struct blockdev {
    const struct blockdev_ops *ops;
    struct blockdev_geometry geometry;
    char path[256];
    char backend_reason[160];
    char backend_name[48]; /* usually ops->name */
    _Atomic uint64_t written_bytes[BLOCKDEV_SOURCE_COUNT];
    _Atomic uint64_t read_bytes, discarded_bytes, write_count, read_count, flush_count, error_count;
};

struct blockdev_queue {
    struct blockdev *device;
    uint32_t depth;
    uint32_t flags;
    _Atomic unsigned inflight;
    bool registered;
    struct blockdev_request *rejected; /* refused by rule 5, waiting to be reaped; linked by next */
};

#endif
