/* kept_device.c: see kept_device.h. A queue here stands before a queue of the inner device and hands the caller's own requests through: the inner device completes them, and what it
 * reports as system_errno is mapped once more to the same result. */
#include "tests/support/kept_device.h"

#include <stdio.h>
#include <stdlib.h>

#include "blockdev/blockdev_private.h"
#include "include/mote.h"

struct kept_device {
    struct blockdev blockdev;
    struct blockdev *inner;
    kept_device_watch watch;
    void *context;
};

struct kept_queue {
    struct blockdev_queue queue;
    struct blockdev_queue *inner;
};

static struct kept_device *kept_of(struct blockdev *device) { return (struct kept_device *)device; }
static struct blockdev_queue *inner_of(struct blockdev_queue *queue) { return ((struct kept_queue *)queue)->inner; }

static void *allocate(size_t size_bytes)
{
    void *made = calloc(1, size_bytes);
    if (!made) {
        fprintf(stderr, "kept_device: no memory\n");
        abort();
    }
    return made;
}

static int create_queue(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **queue)
{
    struct kept_queue *made = allocate(sizeof *made);
    int result = blockdev_queue_create(kept_of(device)->inner, options, &made->inner);
    if (result) {
        free(made);
        return result;
    }
    *queue = &made->queue;
    return MOTE_OK;
}

static void destroy_queue(struct blockdev_queue *queue)
{
    blockdev_queue_destroy(inner_of(queue));
    free(queue);
}

static int submit(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    struct kept_device *kept = kept_of(queue->device);
    for (unsigned i = 0; kept->watch && i < count; i++)
        kept->watch(kept->context, requests[i]);
    return blockdev_submit(inner_of(queue), requests, count);
}

static int reap(struct blockdev_queue *queue, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max)
{
    return blockdev_reap(inner_of(queue), wait_count, timeout_ns, done, done_max);
}

static void wake(struct blockdev_queue *queue) { blockdev_wake(inner_of(queue)); }

static int refresh(struct blockdev *device)
{
    struct kept_device *kept = kept_of(device);
    int result = blockdev_refresh(kept->inner);
    device->geometry = *blockdev_geometry(kept->inner);
    return result;
}

static void close_device(struct blockdev *device) { free(device); }

static const struct blockdev_ops KEPT_OPS = {
    .name = "kept",
    .queue_create = create_queue,
    .queue_destroy = destroy_queue,
    .submit = submit,
    .reap = reap,
    .wake = wake,
    .refresh = refresh,
    .close = close_device,
};

struct blockdev *kept_device_create(struct blockdev *inner, kept_device_watch watch, void *context)
{
    struct kept_device *made = allocate(sizeof *made);
    blockdev_init(&made->blockdev, &KEPT_OPS, blockdev_path(inner));
    made->blockdev.geometry = *blockdev_geometry(inner);
    made->inner = inner;
    made->watch = watch;
    made->context = context;
    return &made->blockdev;
}
