/* blockdev_private.h: what a backend implements. A backend's device struct begins with struct blockdev, its queue struct with struct blockdev_queue.
 * The generic part (blockdev.c) checks arguments (rule 5), counts (rule 7) and maps errno (rule 8) for all of them: a backend's submit gets only valid
 * requests, and its reap hands back requests with system_errno set to 0 or the positive errno; blockdev.c fills result.
 *
 * Who does what
 *   blockdev.c   owns queue->inflight and queue->rejected: adds what submit took, subtracts what reap handed back. Never passes more than depth - inflight
 *                requests, nor a part of a chain; the last request of an array may carry BLOCKDEV_LINK, which then means nothing.
 *   queue_create allocates the queue (zeroed), sets what is its own and `registered`; blockdev.c fills device, depth and flags afterwards.
 *   submit       returns how many it took, or a negative MOTE_E code (sentence set) when it took none and never will.
 *   reap         wait_count is at most done_max; without BLOCKDEV_QUEUE_WAKE it is at most what the backend has in flight, with it it may be more: then only the
 *                wake or the timeout ends the wait. Several completions of one call may come in any order.
 *   queue_destroy waits for whatever is in flight (blockdev_drain does it by reaping), then frees the queue.
 *   close        frees the device. */
#ifndef MOTE_BLOCKDEV_BLOCKDEV_PRIVATE_H
#define MOTE_BLOCKDEV_BLOCKDEV_PRIVATE_H

#include <stdatomic.h>

#include "blockdev/blockdev.h"

struct blockdev_health;

struct blockdev_ops {
    const char *name;
    int (*queue_create)(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **queue);
    void (*queue_destroy)(struct blockdev_queue *queue);
    void (*queue_retire)(struct blockdev_queue *queue); /* NULL: nothing to do */
    int (*submit)(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count);
    int (*reap)(struct blockdev_queue *queue, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max);
    void (*wake)(struct blockdev_queue *queue);
    int (*refresh)(struct blockdev *device);
    void (*health)(struct blockdev *device, struct blockdev_health *health); /* NULL: it tells nothing */
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

/* Fills the fields of a new device that every backend shares; path is cut to fit. geometry is the backend's to set. */
void blockdev_init(struct blockdev *device, const struct blockdev_ops *ops, const char *path);
/* Reaps and drops whatever is in flight; stops at the first failure of reap itself. For queue_destroy. */
void blockdev_drain(struct blockdev_queue *queue);

#endif
