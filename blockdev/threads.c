/* threads.c: the backend of last resort: a few threads for each queue that serve requests with pread, pwrite and fdatasync.
 *
 * Invariants
 *   1. A chain is served by one thread, in order; the first failure cancels the rest of it.
 *   2. The queue holds at most depth requests: `chains` is a ring of depth heads, and the finished ones are linked by next.
 *   3. Everything in the struct below the lock is touched under the lock only.
 * Barriers: FLUSH is fdatasync, FUA is pwritev2 with RWF_DSYNC, or pwrite and fdatasync where that is unknown.
 * Threads: one user at a time; threads_wake any. The pool blocks all signals. Failures: positive errno in system_errno.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/file_private.h"

enum { POOL_THREADS_MAX = 8, POOL_STACK_BYTES = 128 * 1024 };

struct pool_queue {
    struct blockdev_queue base;
    struct file_device *file;
    unsigned thread_count;
    pthread_t threads[POOL_THREADS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t work_or_stop, finished_or_wake;
    struct blockdev_request **chains; /* a ring of `depth` heads, oldest first */
    uint32_t depth, chains_first, chains_count;
    struct blockdev_request *finished;
    unsigned finished_count;
    unsigned wanted_count; /* what the sleeping reap waits for; nobody sleeps: UINT_MAX */
    bool stop, woken;
};

static struct pool_queue *pool_of(struct blockdev_queue *queue) { return (struct pool_queue *)queue; }

/* One system call of a transfer. Returns bytes or a negative errno. */
static ssize_t transfer_some(const struct file_device *file, const struct blockdev_request *request)
{
    uint64_t done_bytes = request->backend_word[0];
    struct iovec piece = {.iov_base = (uint8_t *)request->buffer + done_bytes, .iov_len = request->length_bytes - (size_t)done_bytes};
    off_t offset_bytes = (off_t)(request->offset_bytes + done_bytes);
    if (request->op == BLOCKDEV_READ) {
        ssize_t moved = pread(file->fd, piece.iov_base, piece.iov_len, offset_bytes);
        return moved < 0 ? -errno : moved;
    }
    ssize_t moved = pwritev2(file->fd, &piece, 1, offset_bytes, request->flags & BLOCKDEV_FUA ? RWF_DSYNC : 0);
    if (moved < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        moved = pwrite(file->fd, piece.iov_base, piece.iov_len, offset_bytes);
        if (moved >= 0 && (request->flags & BLOCKDEV_FUA) && fdatasync(file->fd) != 0)
            moved = -1;
    }
    return moved < 0 ? -errno : moved;
}

/* Serves one request; sets system_errno. */
static void serve_request(const struct file_device *file, struct blockdev_request *request)
{
    request->backend_word[0] = 0;
    if (request->op == BLOCKDEV_FLUSH) {
        request->system_errno = file_flush(file);
        return;
    }
    if (request->op == BLOCKDEV_DISCARD) {
        request->system_errno = file_discard(file, request->offset_bytes, request->length_bytes);
        return;
    }
    for (;;) {
        ssize_t moved = transfer_some(file, request);
        if (moved < 0) {
            request->system_errno = (int)-moved;
            return;
        }
        if (!file_advance(&file->base, request, (uint64_t)moved))
            return;
    }
}

/* Serves a chain in order. The lock is held on entry and on return. */
static void serve_chain(struct pool_queue *queue, struct blockdev_request *request)
{
    bool cancelled = false;
    while (request) {
        struct blockdev_request *rest = request->next;
        if (cancelled) {
            request->system_errno = ECANCELED;
        } else {
            pthread_mutex_unlock(&queue->lock);
            serve_request(queue->file, request);
            cancelled = request->system_errno != 0;
            pthread_mutex_lock(&queue->lock);
        }
        request->next = queue->finished;
        queue->finished = request;
        if (++queue->finished_count >= queue->wanted_count)
            pthread_cond_signal(&queue->finished_or_wake);
        request = rest;
    }
}

static void *run_pool_thread(void *argument)
{
    struct pool_queue *queue = argument;
    pthread_mutex_lock(&queue->lock);
    for (;;) {
        while (queue->chains_count == 0 && !queue->stop)
            pthread_cond_wait(&queue->work_or_stop, &queue->lock);
        if (queue->chains_count == 0)
            break;
        struct blockdev_request *head = queue->chains[queue->chains_first];
        queue->chains_first = (queue->chains_first + 1) % queue->depth;
        queue->chains_count--;
        serve_chain(queue, head);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

/* Starts the threads; fewer than wished are enough. Returns 0 or the errno if there is none. */
static int start_pool(struct pool_queue *queue, unsigned wished_count)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    (void)pthread_attr_setstacksize(&attributes, POOL_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (queue->thread_count < wished_count && error == 0) {
        error = pthread_create(&queue->threads[queue->thread_count], &attributes, run_pool_thread, queue);
        if (error == 0)
            (void)pthread_setname_np(queue->threads[queue->thread_count++], "mote-pool");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return queue->thread_count > 0 ? 0 : error;
}

static void free_queue(struct pool_queue *queue)
{
    pthread_cond_destroy(&queue->finished_or_wake);
    pthread_cond_destroy(&queue->work_or_stop);
    pthread_mutex_destroy(&queue->lock);
    free(queue->chains);
    free(queue);
}

static int threads_queue_create(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **made)
{
    struct pool_queue *queue = calloc(1, sizeof *queue);
    struct blockdev_request **chains = calloc(options->depth, sizeof *chains);
    if (!queue || !chains) {
        free(chains);
        free(queue);
        return error_set(MOTE_ENOMEM, "no memory for a queue of %s; free some", device->path);
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->work_or_stop, NULL);
    pthread_cond_init(&queue->finished_or_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    queue->file = file_of(device);
    queue->chains = chains;
    queue->depth = options->depth;
    queue->wanted_count = UINT32_MAX;
    int error = start_pool(queue, options->depth < POOL_THREADS_MAX ? options->depth : POOL_THREADS_MAX);
    if (error != 0) {
        free_queue(queue);
        return error_set_errno(MOTE_ENOMEM, error, "no thread for a queue of %s: %s; raise the limit on threads", device->path, strerror(error));
    }
    *made = &queue->base;
    return MOTE_OK;
}

static void threads_queue_destroy(struct blockdev_queue *base)
{
    struct pool_queue *queue = pool_of(base);
    blockdev_drain(base);
    pthread_mutex_lock(&queue->lock);
    queue->stop = true;
    pthread_cond_broadcast(&queue->work_or_stop);
    pthread_mutex_unlock(&queue->lock);
    for (unsigned i = 0; i < queue->thread_count; i++)
        pthread_join(queue->threads[i], NULL);
    assert(queue->chains_count == 0);
    free_queue(queue);
}

static int threads_submit(struct blockdev_queue *base, struct blockdev_request *const *requests, unsigned count)
{
    struct pool_queue *queue = pool_of(base);
    for (unsigned i = 0; i < count; i++)
        requests[i]->next = (requests[i]->flags & BLOCKDEV_LINK) && i + 1 < count ? requests[i + 1] : NULL;
    pthread_mutex_lock(&queue->lock);
    for (unsigned i = 0; i < count; i++) {
        if (i > 0 && (requests[i - 1]->flags & BLOCKDEV_LINK))
            continue;
        assert(queue->chains_count < queue->depth);
        queue->chains[(queue->chains_first + queue->chains_count++) % queue->depth] = requests[i];
        pthread_cond_signal(&queue->work_or_stop);
    }
    pthread_mutex_unlock(&queue->lock);
    return (int)count;
}

static int threads_reap(struct blockdev_queue *base, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max)
{
    struct pool_queue *queue = pool_of(base);
    unsigned got = 0;
    int64_t deadline_ns = wait_count > 0 && timeout_ns != 0 ? deadline_after(timeout_ns) : 0;
    struct timespec limit = {.tv_sec = deadline_ns / NS_PER_S, .tv_nsec = deadline_ns % NS_PER_S};
    pthread_mutex_lock(&queue->lock);
    int error = timeout_ns == 0 ? ETIMEDOUT : 0;
    queue->wanted_count = wait_count;
    while (queue->finished_count < wait_count && !queue->woken && error != ETIMEDOUT)
        error = deadline_ns == INT64_MAX ? pthread_cond_wait(&queue->finished_or_wake, &queue->lock)
                                         : pthread_cond_timedwait(&queue->finished_or_wake, &queue->lock, &limit);
    queue->wanted_count = UINT32_MAX;
    if (queue->finished_count < wait_count && timeout_ns != 0)
        queue->woken = false; /* used up only where it ended a wait */
    while (queue->finished && got < done_max) {
        done[got++] = queue->finished;
        queue->finished = queue->finished->next;
    }
    queue->finished_count -= got;
    pthread_mutex_unlock(&queue->lock);
    return (int)got;
}

static void threads_wake(struct blockdev_queue *base)
{
    struct pool_queue *queue = pool_of(base);
    pthread_mutex_lock(&queue->lock);
    queue->woken = true;
    pthread_cond_signal(&queue->finished_or_wake);
    pthread_mutex_unlock(&queue->lock);
}

const struct blockdev_ops threads_ops = {
    .name = "threads",
    .queue_create = threads_queue_create,
    .queue_destroy = threads_queue_destroy,
    .submit = threads_submit,
    .reap = threads_reap,
    .wake = threads_wake,
    .refresh = file_refresh,
    .health = file_health,
    .close = file_close,
};
