/* aio.c: the libaio backend, for kernels and sandboxes that deny io_uring.
 *
 * Invariants
 *   1. A submit is one io_submit for all requests that may start at once: unlinked ones and the heads of chains.
 *   2. A chain waits in memory, linked by request->next; its next request is submitted when the one before it was seen to succeed, in reap.
 *   3. Each request in the kernel has one slot (an iocb and its request); there are depth of them and one iocb for the wake.
 *   4. What io_submit refuses for one request (EINVAL, EIO, ...) is that request's result, not the batch's. EAGAIN puts requests on the ready
 *      list, from which reap submits them.
 * Barriers: FLUSH is IOCB_CMD_FDSYNC, on kernels without it (before 4.18) an fdatasync in submit; FUA is RWF_DSYNC. A discard is done in submit.
 * The wake is an IOCB_CMD_POLL of an eventfd; without it (before 4.18) the waits are cut to WAKE_POLL_NS.
 * Threads: one at a time; aio_wake any. Failures: positive errno in system_errno; MOTE codes with a sentence.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <libaio.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/file_private.h"

enum { EVENTS_MAX = 64, WAKE_POLL_NS = NS_PER_MS };

struct aio_queue {
    struct blockdev_queue base;
    io_context_t context;
    uint32_t depth;
    struct iocb *slots;           /* depth of them */
    uint32_t *free_slots;         /* a stack of indexes into slots */
    uint32_t free_count;
    uint32_t kernel_count;        /* requests in the kernel, without the wake */
    bool no_fdsync, no_poll;      /* the kernel lacks IOCB_CMD_FDSYNC, IOCB_CMD_POLL */
    struct wake wake;
    struct iocb wake_iocb;
    bool wake_armed;
    struct iocb **batch;                               /* depth of them, for io_submit */
    uint32_t chained_count;                            /* requests that wait behind another of their chain */
    struct blockdev_request *ready, *ready_last;       /* heads of chains to be submitted; linked by backend_word[1] */
    struct blockdev_request *finished;                 /* to be reaped; linked by next */
};

static struct aio_queue *aio_of(struct blockdev_queue *queue) { return (struct aio_queue *)queue; }

int aio_refusal(void)
{
    io_context_t context = NULL;
    struct io_event event;
    int result = io_setup(1, &context);
    if (result != 0)
        return -result;
    result = io_submit(context, 0, NULL);
    if (result >= 0)
        result = io_getevents(context, 0, 1, &event, NULL);
    (void)io_destroy(context);
    return result < 0 ? -result : 0;
}

static void free_queue(struct aio_queue *queue)
{
    wake_close(&queue->wake);
    free(queue->slots);
    free(queue->free_slots);
    free(queue->batch);
    free(queue);
}

static int aio_queue_create(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **made)
{
    struct aio_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return error_set(MOTE_ENOMEM, "no memory for a queue of %s; free some", device->path);
    queue->depth = options->depth;
    queue->slots = calloc(options->depth, sizeof *queue->slots);
    queue->free_slots = calloc(options->depth, sizeof *queue->free_slots);
    queue->batch = calloc(options->depth, sizeof *queue->batch);
    queue->wake.fd = -1;
    int error = queue->slots && queue->free_slots && queue->batch ? 0 : ENOMEM;
    if (error == 0)
        error = wake_open(&queue->wake, (options->flags & BLOCKDEV_QUEUE_WAKE) != 0);
    if (error == 0)
        error = -io_setup((int)options->depth + 1, &queue->context);
    if (error != 0) {
        free_queue(queue);
        return error_set_errno(error == EAGAIN ? MOTE_ENOMEM : error_from_errno(error), error,
                               "no libaio context of %" PRIu32 " requests for %s: %s; raise fs.aio-max-nr", options->depth, device->path, strerror(error));
    }
    for (uint32_t i = 0; i < options->depth; i++)
        queue->free_slots[queue->free_count++] = i;
    *made = &queue->base;
    return MOTE_OK;
}

static void aio_queue_destroy(struct blockdev_queue *base)
{
    struct aio_queue *queue = aio_of(base);
    blockdev_drain(base);
    (void)io_destroy(queue->context); /* cancels the armed wake */
    free_queue(queue);
}

static void push_ready(struct aio_queue *queue, struct blockdev_request *head)
{
    head->backend_word[0] = 0;
    head->backend_word[1] = 0;
    if (queue->ready)
        queue->ready_last->backend_word[1] = (uintptr_t)head;
    else
        queue->ready = head;
    queue->ready_last = head;
}

static struct blockdev_request *pop_ready(struct aio_queue *queue)
{
    struct blockdev_request *head = queue->ready;
    queue->ready = (struct blockdev_request *)(uintptr_t)head->backend_word[1];
    return head;
}

static void finish_one(struct aio_queue *queue, struct blockdev_request *request)
{
    request->next = queue->finished;
    queue->finished = request;
}

/* Completes a request whose system_errno is set, and starts or cancels what is linked behind it. */
static void finish_request(struct aio_queue *queue, struct blockdev_request *request)
{
    struct blockdev_request *rest = request->next;
    bool failed = request->system_errno != 0;
    finish_one(queue, request);
    if (rest && !failed) {
        queue->chained_count--;
        push_ready(queue, rest);
        return;
    }
    while (rest) {
        struct blockdev_request *after = rest->next;
        assert(queue->chained_count > 0);
        queue->chained_count--;
        rest->system_errno = ECANCELED;
        finish_one(queue, rest);
        rest = after;
    }
}

static struct blockdev_request *release_slot(struct aio_queue *queue, struct iocb *slot)
{
    assert(slot >= queue->slots && slot < queue->slots + queue->depth);
    queue->free_slots[queue->free_count++] = (uint32_t)(slot - queue->slots);
    return slot->data;
}

/* Fills a slot with a request, or with the rest of it. */
static struct iocb *fill_slot(struct aio_queue *queue, struct blockdev_request *request, int fd)
{
    assert(queue->free_count > 0);
    struct iocb *slot = &queue->slots[queue->free_slots[--queue->free_count]];
    uint64_t done_bytes = request->backend_word[0];
    uint8_t *buffer = (uint8_t *)request->buffer + done_bytes;
    size_t length_bytes = request->length_bytes - (size_t)done_bytes;
    if (request->op == BLOCKDEV_FLUSH)
        io_prep_fdsync(slot, fd);
    else if (request->op == BLOCKDEV_READ)
        io_prep_pread(slot, fd, buffer, length_bytes, (long long)(request->offset_bytes + done_bytes));
    else
        io_prep_pwrite(slot, fd, buffer, length_bytes, (long long)(request->offset_bytes + done_bytes));
    if (request->flags & BLOCKDEV_FUA)
        slot->aio_rw_flags = RWF_DSYNC;
    slot->data = request;
    return slot;
}

/* Serves a request without the kernel's queue: true if it is done. */
static bool finish_here(struct aio_queue *queue, struct blockdev_request *request)
{
    const struct file_device *file = file_of(queue->base.device);
    if (request->op == BLOCKDEV_DISCARD)
        request->system_errno = file_discard(file, request->offset_bytes, request->length_bytes);
    else if (request->op == BLOCKDEV_FLUSH && queue->no_fdsync)
        request->system_errno = file_flush(file);
    else
        return false;
    finish_request(queue, request);
    return true;
}

/* Puts a slot's request back to the front of the ready list. */
static void put_back(struct aio_queue *queue, struct iocb *slot)
{
    struct blockdev_request *request = release_slot(queue, slot);
    if (!queue->ready)
        queue->ready_last = request;
    request->backend_word[1] = (uintptr_t)queue->ready;
    queue->ready = request;
}

/* What io_submit says about the first slot that it did not take. */
static void refuse_slot(struct aio_queue *queue, struct iocb *slot, int error)
{
    struct blockdev_request *request = release_slot(queue, slot);
    if (request->op == BLOCKDEV_FLUSH && error == EINVAL) {
        queue->no_fdsync = true;
        bool done = finish_here(queue, request);
        assert(done);
        (void)done;
        return;
    }
    request->system_errno = error;
    finish_request(queue, request);
}

/* Submits batch[0..count). False if the kernel has no room now: the rest is back on the ready list. */
static bool submit_batch(struct aio_queue *queue, unsigned count)
{
    unsigned sent = 0;
    while (sent < count) {
        int taken = io_submit(queue->context, (long)(count - sent), queue->batch + sent);
        if (taken > 0) {
            queue->kernel_count += (uint32_t)taken;
            sent += (unsigned)taken;
        } else if (taken == 0 || taken == -EAGAIN) {
            while (count > sent)
                put_back(queue, queue->batch[--count]);
            return false;
        } else if (taken != -EINTR) {
            refuse_slot(queue, queue->batch[sent++], -taken);
        }
    }
    return true;
}

/* Submits everything that is ready, and what becomes ready by that. */
static void start_ready(struct aio_queue *queue)
{
    int fd = file_of(queue->base.device)->fd;
    while (queue->ready) {
        unsigned count = 0;
        while (queue->ready) {
            struct blockdev_request *request = pop_ready(queue);
            if (!finish_here(queue, request))
                queue->batch[count++] = fill_slot(queue, request, fd);
        }
        if (!submit_batch(queue, count))
            return;
    }
}

static int aio_submit(struct blockdev_queue *base, struct blockdev_request *const *requests, unsigned count)
{
    struct aio_queue *queue = aio_of(base);
    for (unsigned i = 0; i < count; i++) {
        bool linked = (requests[i]->flags & BLOCKDEV_LINK) && i + 1 < count;
        bool behind = i > 0 && (requests[i - 1]->flags & BLOCKDEV_LINK);
        requests[i]->next = linked ? requests[i + 1] : NULL;
        if (behind)
            queue->chained_count++;
        else
            push_ready(queue, requests[i]);
    }
    start_ready(queue);
    return (int)count;
}

static void finish_event(struct aio_queue *queue, const struct io_event *event)
{
    if (event->obj == &queue->wake_iocb) {
        uint64_t value;
        ssize_t drained = read(queue->wake.fd, &value, sizeof value);
        (void)drained; /* whether it was meant for now, wake.requested says */
        queue->wake_armed = false;
        return;
    }
    struct blockdev_request *request = release_slot(queue, event->obj);
    long moved = (long)event->res;
    queue->kernel_count--;
    if (moved < 0 || request->op == BLOCKDEV_FLUSH) {
        request->system_errno = moved < 0 ? (int)-moved : 0;
        finish_request(queue, request);
    } else if (file_advance(queue->base.device, request, (uint64_t)moved)) {
        uint64_t done_bytes = request->backend_word[0];
        push_ready(queue, request);
        request->backend_word[0] = done_bytes;
    } else {
        finish_request(queue, request);
    }
}

/* Waits for min_count events for at most wait_ns (INT64_MAX: no limit) and takes note of all that are there. Returns 0 or a positive errno. */
static int harvest(struct aio_queue *queue, unsigned min_count, int64_t wait_ns)
{
    struct io_event events[EVENTS_MAX];
    struct timespec limit = {.tv_sec = wait_ns / NS_PER_S, .tv_nsec = wait_ns % NS_PER_S};
    if (min_count > EVENTS_MAX)
        min_count = EVENTS_MAX;
    int count = io_getevents(queue->context, min_count, EVENTS_MAX, events, wait_ns == INT64_MAX ? NULL : &limit);
    for (int i = 0; i < count; i++)
        finish_event(queue, &events[i]);
    if (queue->ready)
        start_ready(queue);
    return count < 0 && count != -EINTR ? -count : 0;
}

static void arm_wake(struct aio_queue *queue)
{
    struct iocb *iocb = &queue->wake_iocb;
    if (queue->wake_armed || queue->no_poll)
        return;
    io_prep_poll(iocb, queue->wake.fd, POLLIN);
    int taken = io_submit(queue->context, 1, &iocb);
    queue->wake_armed = taken == 1;
    if (taken == -EINVAL)
        queue->no_poll = true;
}

/* Sleeps until some of the wanted completions, the deadline or a wake. Returns 0, ETIME when the deadline has passed, or the errno of a failure. */
static int sleep_in_queue(struct aio_queue *queue, unsigned wanted, int64_t deadline_ns)
{
    bool wakeable = queue->wake.fd >= 0;
    int64_t wait_ns = INT64_MAX;
    if (deadline_ns != INT64_MAX && (wait_ns = deadline_ns - clock_now_ns()) <= 0)
        return ETIME;
    if (wakeable) {
        arm_wake(queue);
        if (!wake_sleep_begin(&queue->wake))
            return 0;
    }
    if ((queue->ready || (wakeable && !queue->wake_armed)) && wait_ns > WAKE_POLL_NS)
        wait_ns = WAKE_POLL_NS;
    /* A wake or a chain's next request must not wait for the others. */
    if (wakeable || queue->chained_count > 0 || wanted > queue->kernel_count)
        wanted = 1;
    int error = harvest(queue, wanted, wait_ns);
    if (wakeable)
        wake_sleep_end(&queue->wake);
    return error;
}

static unsigned take_finished(struct aio_queue *queue, struct blockdev_request **done, unsigned done_max)
{
    unsigned got = 0;
    while (queue->finished && got < done_max) {
        done[got++] = queue->finished;
        queue->finished = queue->finished->next;
    }
    return got;
}

static int aio_reap(struct blockdev_queue *base, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max)
{
    struct aio_queue *queue = aio_of(base);
    int64_t deadline_ns = wait_count > 0 && timeout_ns != 0 ? deadline_after(timeout_ns) : 0;
    if (queue->ready)
        start_ready(queue);
    int error = harvest(queue, 0, 0);
    unsigned got = take_finished(queue, done, done_max);
    while (error == 0 && got < wait_count && timeout_ns != 0 && !wake_take(&queue->wake)) {
        error = sleep_in_queue(queue, wait_count - got, deadline_ns);
        got += take_finished(queue, done + got, done_max - got);
    }
    if (error != 0 && error != ETIME && got == 0)
        return error_set_errno(error_from_errno(error), error, "completions of %s cannot be awaited: %s; reopen it", base->device->path, strerror(error));
    return (int)got;
}

static void aio_wake(struct blockdev_queue *base) { wake_request(&aio_of(base)->wake); }

const struct blockdev_ops aio_ops = {
    .name = "libaio",
    .queue_create = aio_queue_create,
    .queue_destroy = aio_queue_destroy,
    .submit = aio_submit,
    .reap = aio_reap,
    .wake = aio_wake,
    .refresh = file_refresh,
    .health = file_health,
    .close = file_close,
};
