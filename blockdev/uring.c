/* uring.c: the io_uring backend.
 *
 * Invariants
 *   1. A submit is one io_uring_enter: every request of the batch is put into the ring first. The ring has room for depth requests and the wake, so that it never
 *      overflows in either direction.
 *   2. A ring made for one thread (not SHARED) is a single-issuer ring with deferred task work, disabled until the thread that first submits or sleeps on it
 *      takes it; that thread also registers the ring's descriptor. Older kernels get fewer flags (flag_ladder), down to none. A SHARED ring has
 *      no such flag: completions must be posted whichever thread is in the kernel.
 *   3. What the kernel did not take of a batch (it is out of memory) is taken back out of the ring before submit returns; a chain that was cut by that
 *      completes its remaining requests as cancelled, so that no barrier ever runs without the write that it was linked to.
 *   4. A short transfer is continued by a new entry, unless it is linked: the kernel has cancelled its successors then, so it fails.
 *   5. When a thread ends, the kernel cancels what it submitted and is not begun: of a SHARED queue that is submitted again, by whoever reaps. It was never carried out, so that repeats no failed write or barrier.
 * Barriers: FLUSH is IORING_OP_FSYNC with DATASYNC, FUA is RWF_DSYNC, a link IOSQE_IO_LINK. A discard of a block device is an IORING_OP_URING_CMD; before Linux 6.12
 * the ioctl, which blocks submit. A hole in an image file is an IORING_OP_FALLOCATE.
 * Threads: one at a time (2.); uring_wake any. Failures: positive errno in system_errno; MOTE codes with a sentence from submit and reap.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/file_private.h"

#define BUFFER_REGION_BYTES (1024ull * MIB_BYTES) /* the kernel registers at most 1 GiB in one piece */
#define BUFFER_REGIONS_MAX 64u
#define DISCARD_COMMAND 0x1200u /* BLOCK_URING_CMD_DISCARD, _IO(0x12, 0), of linux/blkdev.h since 6.12 */
#define PROBE_TIMEOUT_NS NS_PER_S

enum { REQUEST_FOLLOWS = 1, REQUEST_REPEATED = 2, REPEATS_MAX = 8 }; /* in backend_word[1]: behind a linked one; as often submitted again */

struct uring_queue {
    struct blockdev_queue base;
    struct io_uring ring;
    unsigned setup_flags;
    bool owned;                        /* taken by its thread */
    pid_t owner;
    struct io_uring unregistered_ring; /* the ring's fields before its descriptor was registered; only enter_ring_fd and int_flags are used */
    bool fixed_file;
    uint8_t *registered_base; /* NULL: no registered buffers */
    uint64_t registered_bytes;
    struct wake wake;
    bool wake_armed;
    uint64_t wake_value; /* what the armed read of the eventfd fills */
    struct blockdev_request *finished; /* completed without the kernel, to be reaped; linked by next */
};

/* Setup flags from best to least, for older kernels. */
static const unsigned flag_ladder[] = {
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
    IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_SUBMIT_ALL,
    0,
};
enum { LADDER_RUNGS = sizeof flag_ladder / sizeof *flag_ladder, LADDER_SHARED = 2 };

static struct uring_queue *uring_of(struct blockdev_queue *queue) { return (struct uring_queue *)queue; }

/* By system call: the packaged liburing 2.3 declares io_uring_enable_rings and does not export it. Returns 0 or a positive errno. */
static int enable_ring(const struct io_uring *ring)
{
    return syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0 ? errno : 0;
}

/* Makes a ring with the best flags that the kernel knows. Returns 0 or a positive errno. */
static int make_ring(struct io_uring *ring, unsigned entries, bool shared, unsigned *flags)
{
    int error = EINVAL;
    for (unsigned rung = shared ? LADDER_SHARED : 0; error == EINVAL && rung < LADDER_RUNGS; rung++) {
        *flags = flag_ladder[rung];
        error = -io_uring_queue_init(entries, ring, *flags);
    }
    if (error == 0 && !(ring->features & IORING_FEAT_EXT_ARG)) {
        io_uring_queue_exit(ring); /* before 5.11 a timeout is a request of its own; libaio serves such kernels as well */
        return ENOSYS;
    }
    return error;
}

int uring_refusal(void)
{
    struct io_uring ring;
    unsigned flags = 0;
    int error = make_ring(&ring, 4, false, &flags);
    if (error != 0)
        return error;
    if (flags & IORING_SETUP_R_DISABLED)
        error = enable_ring(&ring);
    if (error == 0) {
        struct io_uring_cqe *cqe = NULL;
        struct __kernel_timespec limit = {.tv_nsec = PROBE_TIMEOUT_NS - 1};
        io_uring_prep_nop(io_uring_get_sqe(&ring));
        int result = io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &limit, NULL);
        error = result < 0 ? -result : 0;
    }
    io_uring_queue_exit(&ring);
    return error;
}

/* Registers the descriptor and the buffers. What the kernel refuses (locked-memory limit) is done without. */
static void register_resources(struct uring_queue *queue, const struct blockdev_queue_options *options, int fd)
{
    struct iovec regions[BUFFER_REGIONS_MAX];
    unsigned count = 0;
    queue->fixed_file = io_uring_register_files(&queue->ring, &fd, 1) == 0;
    uint64_t left_bytes = options->registered_base ? options->registered_bytes : 0;
    uint8_t *at = options->registered_base;
    for (; left_bytes > 0 && count < BUFFER_REGIONS_MAX; count++) {
        size_t length_bytes = left_bytes < BUFFER_REGION_BYTES ? (size_t)left_bytes : (size_t)BUFFER_REGION_BYTES;
        regions[count] = (struct iovec){.iov_base = at, .iov_len = length_bytes};
        at += length_bytes;
        left_bytes -= length_bytes;
    }
    bool buffers = count > 0 && io_uring_register_buffers(&queue->ring, regions, count) == 0;
    if (buffers) {
        queue->registered_base = options->registered_base;
        queue->registered_bytes = options->registered_bytes - left_bytes;
    }
    queue->base.registered = queue->fixed_file && (buffers || count == 0);
}

static int uring_queue_create(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **made)
{
    struct uring_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return error_set(MOTE_ENOMEM, "no memory for a queue of %s; free some", device->path);
    int error = wake_open(&queue->wake, (options->flags & BLOCKDEV_QUEUE_WAKE) != 0);
    if (error == 0) {
        error = make_ring(&queue->ring, options->depth + 1, (options->flags & BLOCKDEV_QUEUE_SHARED) != 0, &queue->setup_flags);
        if (error != 0)
            wake_close(&queue->wake);
    }
    if (error != 0) {
        free(queue);
        return error_set_errno(error_from_errno(error), error, "no io_uring of %" PRIu32 " requests for %s: %s; check the limits on memory and descriptors",
                               options->depth, device->path, strerror(error));
    }
    register_resources(queue, options, file_of(device)->fd);
    *made = &queue->base;
    return MOTE_OK;
}

/* Makes the calling thread the ring's owner at its first use (invariant 2). */
static int take_ring(struct uring_queue *queue)
{
    if (queue->owned)
        return MOTE_OK;
    int error = queue->setup_flags & IORING_SETUP_R_DISABLED ? enable_ring(&queue->ring) : 0;
    if (error != 0)
        return error_set_errno(error_from_errno(error), error, "the io_uring of %s cannot be enabled: %s; choose another backend", queue->base.device->path,
                               strerror(error));
    queue->unregistered_ring = queue->ring;
    if (!(queue->base.flags & BLOCKDEV_QUEUE_SHARED))
        (void)io_uring_register_ring_fd(&queue->ring); /* saves a lookup at each call; all works without */
    queue->owner = gettid();
    queue->owned = true;
    return MOTE_OK;
}

/* The kernel tears a ring down later; what it holds (the exclusive open, pinned memory) is given back now, where this thread may: a ring of one submitter is that thread's alone. */
static void unregister(struct uring_queue *queue)
{
    if (queue->registered_base)
        (void)io_uring_unregister_buffers(&queue->ring);
    if (queue->fixed_file)
        (void)io_uring_unregister_files(&queue->ring);
    queue->registered_base = NULL;
    queue->fixed_file = false;
}

static void uring_queue_retire(struct blockdev_queue *base) { unregister(uring_of(base)); }

static void uring_queue_destroy(struct blockdev_queue *base)
{
    struct uring_queue *queue = uring_of(base);
    blockdev_drain(base);
    if (queue->owned && queue->owner != gettid()) {
        /* The registered descriptor is a slot of the owner's; in this thread the same slot may be another ring. */
        queue->ring.enter_ring_fd = queue->unregistered_ring.enter_ring_fd;
        queue->ring.int_flags = queue->unregistered_ring.int_flags;
    }
    unregister(queue);
    io_uring_queue_exit(&queue->ring);
    wake_close(&queue->wake);
    free(queue);
}

/* The region of registered memory that holds the whole buffer, or -1. */
static int find_region(const struct uring_queue *queue, const uint8_t *buffer, uint32_t length_bytes)
{
    uint64_t offset_bytes = (uint64_t)((uintptr_t)buffer - (uintptr_t)queue->registered_base);
    if (!queue->registered_base || buffer < queue->registered_base || offset_bytes + length_bytes > queue->registered_bytes)
        return -1;
    uint64_t first = offset_bytes / BUFFER_REGION_BYTES;
    return first == (offset_bytes + length_bytes - 1) / BUFFER_REGION_BYTES ? (int)first : -1;
}

static void prepare_transfer(const struct uring_queue *queue, struct io_uring_sqe *sqe, const struct blockdev_request *request, int fd)
{
    uint64_t done_bytes = request->backend_word[0];
    uint8_t *buffer = (uint8_t *)request->buffer + done_bytes;
    uint32_t length_bytes = request->length_bytes - (uint32_t)done_bytes;
    int region = find_region(queue, buffer, length_bytes);
    if (request->op == BLOCKDEV_READ && region >= 0)
        io_uring_prep_read_fixed(sqe, fd, buffer, length_bytes, request->offset_bytes + done_bytes, region);
    else if (request->op == BLOCKDEV_READ)
        io_uring_prep_read(sqe, fd, buffer, length_bytes, request->offset_bytes + done_bytes);
    else if (region >= 0)
        io_uring_prep_write_fixed(sqe, fd, buffer, length_bytes, request->offset_bytes + done_bytes, region);
    else
        io_uring_prep_write(sqe, fd, buffer, length_bytes, request->offset_bytes + done_bytes);
    if (request->flags & BLOCKDEV_FUA)
        sqe->rw_flags = RWF_DSYNC;
}

static void prepare_discard(struct io_uring_sqe *sqe, const struct blockdev_request *request, int fd, bool block_device)
{
    if (block_device) {
        io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
        sqe->cmd_op = DISCARD_COMMAND;
        sqe->addr = request->offset_bytes;
        sqe->addr3 = request->length_bytes;
    } else {
        io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)request->offset_bytes, (off_t)request->length_bytes);
    }
}

/* Puts one request, or the rest of it, into the ring. */
static void push_request(struct uring_queue *queue, struct blockdev_request *request, bool linked)
{
    const struct file_device *file = file_of(queue->base.device);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);
    assert(sqe); /* invariant 1 */
    int fd = queue->fixed_file ? 0 : file->fd;
    if (request->op == BLOCKDEV_FLUSH)
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    else if (request->op == BLOCKDEV_DISCARD)
        prepare_discard(sqe, request, fd, file->base.geometry.block_device);
    else
        prepare_transfer(queue, sqe, request, fd);
    sqe->flags |= (__u8)((queue->fixed_file ? IOSQE_FIXED_FILE : 0) | (linked ? IOSQE_IO_LINK : 0));
    io_uring_sqe_set_data(sqe, request);
}

static void finish_here(struct uring_queue *queue, struct blockdev_request *request, int system_errno)
{
    request->system_errno = system_errno;
    request->next = queue->finished;
    queue->finished = request;
}

/* Takes the entries that the kernel has not consumed back out of the ring and returns their number. Between two calls of io_uring_enter the kernel does not
 * look at the submission ring (no SQPOLL here). */
static unsigned take_back(struct io_uring *ring)
{
    unsigned head = *ring->sq.khead;
    unsigned left_count = ring->sq.sqe_tail - head;
    ring->sq.sqe_head = ring->sq.sqe_tail = head;
    io_uring_smp_store_release(ring->sq.ktail, head);
    return left_count;
}

/* A request that does not go through the ring: on kernels without a discard command. */
static bool is_ioctl(const struct blockdev_request *request, bool discard_by_ioctl) { return discard_by_ioctl && request->op == BLOCKDEV_DISCARD; }

/* After the kernel took less than the whole batch: invariant 3. Returns how many of count requests are now taken, or a negative code. */
static int settle_partial(struct uring_queue *queue, struct blockdev_request *const *requests, unsigned count, bool discard_by_ioctl, int submitted)
{
    unsigned left_count = take_back(&queue->ring), taken = count;
    while (left_count > 0) {
        assert(taken > 0);
        left_count -= is_ioctl(requests[--taken], discard_by_ioctl) ? 0 : 1;
    }
    if (taken > 0 && (requests[taken - 1]->flags & BLOCKDEV_LINK)) {
        for (bool cut = true; cut && taken < count; taken++) {
            cut = (requests[taken]->flags & BLOCKDEV_LINK) != 0;
            finish_here(queue, requests[taken], ECANCELED);
        }
    }
    if (taken > 0)
        return (int)taken;
    int error = submitted < 0 ? -submitted : EAGAIN;
    if (error == EEXIST)
        return error_set_errno(MOTE_EINVAL, error, "a queue of %s belongs to another thread; submit from that one", queue->base.device->path);
    if (error != EAGAIN && error != EBUSY && error != EINTR)
        return error_set_errno(error_from_errno(error), error, "%s takes no requests: %s; reopen it", queue->base.device->path, strerror(error));
    if (blockdev_queue_inflight(&queue->base) == 0)
        return error_set_errno(MOTE_ENOMEM, ENOMEM, "the kernel has no memory for a request to %s; free some", queue->base.device->path);
    return 0;
}

static int uring_submit(struct blockdev_queue *base, struct blockdev_request *const *requests, unsigned count)
{
    struct uring_queue *queue = uring_of(base);
    struct file_device *file = file_of(base->device);
    bool discard_by_ioctl = atomic_load_explicit(&file->discard_by_ioctl, memory_order_relaxed);
    unsigned ring_count = 0;
    int taken = take_ring(queue);
    if (taken != MOTE_OK)
        return taken;
    if (io_uring_sq_ready(&queue->ring) > 0 && (io_uring_submit(&queue->ring) < 0 || io_uring_sq_ready(&queue->ring) > 0))
        return 0; /* entries of an earlier reap come first, else settle_partial would take them for ones of this batch */
    for (unsigned i = 0; i < count; i++) {
        requests[i]->backend_word[0] = 0;
        requests[i]->backend_word[1] = i > 0 && (requests[i - 1]->flags & BLOCKDEV_LINK) ? REQUEST_FOLLOWS : 0;
        if (is_ioctl(requests[i], discard_by_ioctl))
            continue;
        push_request(queue, requests[i], (requests[i]->flags & BLOCKDEV_LINK) && i + 1 < count);
        ring_count++;
    }
    taken = (int)count;
    if (ring_count > 0) {
        int submitted = io_uring_submit(&queue->ring);
        if (submitted < (int)ring_count)
            taken = settle_partial(queue, requests, count, discard_by_ioctl, submitted);
    }
    for (int i = 0; discard_by_ioctl && i < taken; i++)
        if (is_ioctl(requests[i], true))
            finish_here(queue, requests[i], file_discard(file, requests[i]->offset_bytes, requests[i]->length_bytes));
    return taken;
}

/* A discard command that the kernel does not know becomes an ioctl, now and from now on. */
static void finish_discard(struct file_device *file, struct blockdev_request *request, int error)
{
    if (file->base.geometry.block_device && (error == EOPNOTSUPP || error == EINVAL || error == ENOTTY)) {
        atomic_store_explicit(&file->discard_by_ioctl, true, memory_order_relaxed);
        error = file_discard(file, request->offset_bytes, request->length_bytes);
    }
    request->system_errno = error;
}

/* Whether the kernel dropped a request because the thread that submitted it ended: EFAULT where it was to follow another, ECANCELED where it waited for a kernel thread (what follows a failed request is cancelled in
 * the same way, but rightly). The thread that submits it again may end as well; not so often that it would not be believed. */
static bool is_orphan(const struct uring_queue *queue, struct blockdev_request *request, int result)
{
    const uint64_t word = request->backend_word[1];
    bool dropped = word & REQUEST_FOLLOWS ? result == -EFAULT : result == -ECANCELED;
    if (!dropped || word >= REPEATS_MAX * REQUEST_REPEATED || !(queue->base.flags & BLOCKDEV_QUEUE_SHARED) || (request->flags & BLOCKDEV_LINK))
        return false;
    request->backend_word[1] = (word & ~(uint64_t)REQUEST_FOLLOWS) + REQUEST_REPEATED;
    return true;
}

/* What a completion means for its request. True if the request is complete; its rest is in the ring otherwise. */
static bool finish_request(struct uring_queue *queue, struct blockdev_request *request, int result)
{
    if (request->op == BLOCKDEV_DISCARD) {
        finish_discard(file_of(queue->base.device), request, result < 0 ? -result : 0);
        return true;
    }
    if (is_orphan(queue, request, result)) {
        push_request(queue, request, false);
        return false;
    }
    if (result < 0 || request->op == BLOCKDEV_FLUSH) {
        request->system_errno = result < 0 ? -result : 0;
        return true;
    }
    if (!file_advance(queue->base.device, request, (uint64_t)result))
        return true;
    if (request->flags & BLOCKDEV_LINK) {
        request->system_errno = EIO; /* invariant 4 */
        return true;
    }
    push_request(queue, request, false);
    return false;
}

/* Takes what is complete. peek enters the kernel only when there is deferred task work to run. */
static unsigned drain_ring(struct uring_queue *queue, struct blockdev_request **done, unsigned done_max)
{
    unsigned got = 0;
    struct io_uring_cqe *cqe = NULL;
    while (queue->finished && got < done_max) {
        done[got++] = queue->finished;
        queue->finished = queue->finished->next;
    }
    while (got < done_max && io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
        void *data = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&queue->ring, cqe);
        if (data == &queue->wake)
            queue->wake_armed = false; /* whether it was meant for now, wake.requested says */
        else if (finish_request(queue, data, result))
            done[got++] = data;
    }
    return got;
}

static void arm_wake(struct uring_queue *queue)
{
    if (queue->wake_armed || queue->wake.fd < 0)
        return;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);
    assert(sqe); /* invariant 1 */
    io_uring_prep_read(sqe, queue->wake.fd, &queue->wake_value, sizeof queue->wake_value, 0);
    io_uring_sqe_set_data(sqe, &queue->wake);
    queue->wake_armed = true;
}

/* Sleeps until wait_count entries, the deadline or a wake. Returns 0, ETIME when the deadline has passed, or the errno of a failure. */
static int sleep_in_ring(struct uring_queue *queue, unsigned wait_count, int64_t deadline_ns)
{
    struct io_uring_cqe *cqe = NULL;
    struct __kernel_timespec limit, *limit_or_none = NULL;
    bool wakeable = queue->wake.fd >= 0;
    if (deadline_ns != INT64_MAX) {
        int64_t left_ns = deadline_ns - clock_now_ns();
        if (left_ns <= 0)
            return ETIME;
        limit = (struct __kernel_timespec){.tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S};
        limit_or_none = &limit;
    }
    if (wakeable) {
        arm_wake(queue);
        if (!wake_sleep_begin(&queue->wake))
            return 0;
    }
    int result = io_uring_submit_and_wait_timeout(&queue->ring, &cqe, wakeable ? 1 : wait_count, limit_or_none, NULL);
    if (wakeable)
        wake_sleep_end(&queue->wake);
    int error = result < 0 ? -result : 0;
    return error == ETIME || error == EINTR || error == EAGAIN || error == EBUSY ? 0 : error;
}

static int uring_reap(struct blockdev_queue *base, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max)
{
    struct uring_queue *queue = uring_of(base);
    int64_t deadline_ns = wait_count > 0 && timeout_ns != 0 ? deadline_after(timeout_ns) : 0;
    int result = take_ring(queue);
    if (result != MOTE_OK)
        return result;
    unsigned got = drain_ring(queue, done, done_max);
    while (got < wait_count && timeout_ns != 0 && !wake_take(&queue->wake)) {
        int error = sleep_in_ring(queue, wait_count - got, deadline_ns);
        if (error == ETIME)
            break;
        if (error != 0) {
            if (got > 0)
                break;
            return error_set_errno(error == EEXIST ? MOTE_EINVAL : error_from_errno(error), error, "completions of %s cannot be awaited: %s%s",
                                   base->device->path, strerror(error), error == EEXIST ? " (its queue belongs to another thread)" : "; reopen it");
        }
        got += drain_ring(queue, done + got, done_max - got);
    }
    if (io_uring_sq_ready(&queue->ring) > 0)
        (void)io_uring_submit(&queue->ring); /* the rest of a short transfer, or an armed wake; what is not taken goes with the next call */
    return (int)got;
}

static void uring_wake(struct blockdev_queue *base) { wake_request(&uring_of(base)->wake); }

const struct blockdev_ops uring_ops = {
    .name = "io_uring",
    .queue_create = uring_queue_create,
    .queue_destroy = uring_queue_destroy,
    .queue_retire = uring_queue_retire,
    .submit = uring_submit,
    .reap = uring_reap,
    .wake = uring_wake,
    .refresh = file_refresh,
    .health = file_health,
    .close = file_close,
};
