/* file_private.h: what the three backends over a file descriptor share (io_uring, libaio, threads): the device struct, the synchronous primitives, the
 * wake flag, deadlines and the continuation of short transfers. probe.c opens the descriptor and chooses the backend; after that the geometry does not
 * change but for size_bytes (file_refresh).
 *
 * Failures of the primitives: 0 or a positive errno. Threads: any.
 */
#ifndef MOTE_BLOCKDEV_FILE_PRIVATE_H
#define MOTE_BLOCKDEV_FILE_PRIVATE_H

#include <stdatomic.h>

#include "blockdev/blockdev_private.h"

struct file_device {
    struct blockdev base;
    int fd;
    bool locked; /* an image file's flock is held */
    _Atomic bool discard_by_ioctl; /* io_uring on this kernel has no discard for block devices */
};

extern const struct blockdev_ops uring_ops;
extern const struct blockdev_ops aio_ops;
extern const struct blockdev_ops threads_ops;

/* Whether the kernel allows this backend: 0 or the errno with which it refuses. Makes and frees a small ring. */
int uring_refusal(void);
int aio_refusal(void);

static inline struct file_device *file_of(struct blockdev *device) { return (struct file_device *)device; }

/* fdatasync: reaches the device's own cache, for block devices too. */
int file_flush(const struct file_device *device);
/* BLKDISCARD of a block device, a hole in an image file. */
int file_discard(const struct file_device *device, uint64_t offset_bytes, uint64_t length_bytes);
/* The present size in bytes, not rounded. */
int file_size(int fd, bool block_device, uint64_t *size_bytes);
int file_refresh(struct blockdev *device);
void file_health(struct blockdev *device, struct blockdev_health *health); /* health.c */
void file_close(struct blockdev *device);

/* Takes note of moved_bytes more of a read or write. Returns true if the rest must be submitted (from backend_word[0] on), false when the request
 * is complete: system_errno says how. A transfer that ends inside a block resumes at that block's start, as direct I/O demands. */
bool file_advance(const struct blockdev *device, struct blockdev_request *request, uint64_t moved_bytes);

/* CLOCK_MONOTONIC in nanoseconds. A negative timeout is no limit: INT64_MAX. */
int64_t clock_now_ns(void);
int64_t deadline_after(int64_t timeout_ns);

/* A wake that costs no system call unless its queue's thread sleeps. The sleeper sets `sleeping` and then looks at `requested`; the waker sets `requested` and
 * then looks at `sleeping` (both sequentially consistent), so that one of them sees the other. An eventfd count that outlives its request is a wake
 * without `requested` and is ignored. A request is used up only where it ends or prevents a sleep: one that arrives while completions satisfy the reap
 * anyway serves the next, so that a layer that reaps in a loop of its own (faulty.c) loses none. */
struct wake {
    _Atomic bool requested;
    _Atomic bool sleeping;
    int fd; /* eventfd, or -1 */
};
int wake_open(struct wake *wake, bool wanted);
void wake_close(struct wake *wake);
void wake_request(struct wake *wake);
/* True, once, after a request. */
static inline bool wake_take(struct wake *wake)
{
    return atomic_load_explicit(&wake->requested, memory_order_relaxed) && atomic_exchange(&wake->requested, false);
}
/* False: a wake came first, do not sleep (it is left for wake_take). */
static inline bool wake_sleep_begin(struct wake *wake)
{
    atomic_store(&wake->sleeping, true);
    if (!atomic_load(&wake->requested))
        return true;
    atomic_store(&wake->sleeping, false);
    return false;
}
static inline void wake_sleep_end(struct wake *wake) { atomic_store_explicit(&wake->sleeping, false, memory_order_relaxed); }

#endif
