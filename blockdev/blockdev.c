/* blockdev.c: the part of the contract in blockdev.h that is the same over every backend: which requests are refused (rule 5), what is counted (rule 7),
 * which code an errno becomes (rule 8), and the conveniences for cold paths.
 *
 * Invariants
 *   1. queue->inflight counts the requests that submit took and reap has not handed back, refused ones included.
 *   2. A backend never holds more than depth requests and never gets a part of a chain.
 *   3. A request is counted once, when it is handed back; written_bytes counts successful writes only.
 * Threads: a queue is used by one thread at a time; counters are atomic. Nothing here allocates except a queue.
 */
#include "blockdev/blockdev.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/blockdev_private.h"

enum {
    QUEUE_DEPTH_MAX = 1024,
    RANGE_REQUESTS_MAX = 32,          /* in flight of the conveniences: they live on the stack */
    DISCARD_BYTES_MAX = 1 << 30,      /* of one request of blockdev_discard_range */
};

void blockdev_init(struct blockdev *device, const struct blockdev_ops *ops, const char *path)
{
    assert(ops && path);
    device->ops = ops;
    snprintf(device->path, sizeof device->path, "%s", path);
    snprintf(device->backend_name, sizeof device->backend_name, "%s", ops->name);
}

const struct blockdev_geometry *blockdev_geometry(const struct blockdev *device) { return &device->geometry; }
const char *blockdev_path(const struct blockdev *device) { return device->path; }
const char *blockdev_backend(const struct blockdev *device) { return device->backend_name; }
const char *blockdev_backend_reason(const struct blockdev *device) { return device->backend_reason; }
struct blockdev *blockdev_queue_device(const struct blockdev_queue *queue) { return queue->device; }
bool blockdev_queue_registered(const struct blockdev_queue *queue) { return queue->registered; }

unsigned blockdev_queue_inflight(const struct blockdev_queue *queue)
{
    return atomic_load_explicit(&queue->inflight, memory_order_relaxed);
}

static uint64_t load_counter(const _Atomic uint64_t *counter) { return atomic_load_explicit(counter, memory_order_relaxed); }
static void add_counter(_Atomic uint64_t *counter, uint64_t by) { atomic_fetch_add_explicit(counter, by, memory_order_relaxed); }

void blockdev_get_counters(const struct blockdev *device, struct blockdev_counters *counters)
{
    for (int source = 0; source < BLOCKDEV_SOURCE_COUNT; source++)
        counters->written_bytes[source] = load_counter(&device->written_bytes[source]);
    counters->read_bytes = load_counter(&device->read_bytes);
    counters->discarded_bytes = load_counter(&device->discarded_bytes);
    counters->write_count = load_counter(&device->write_count);
    counters->read_count = load_counter(&device->read_count);
    counters->flush_count = load_counter(&device->flush_count);
    counters->error_count = load_counter(&device->error_count);
}

int blockdev_refresh(struct blockdev *device) { return device->ops->refresh(device); }

void blockdev_close(struct blockdev *device)
{
    if (device)
        device->ops->close(device);
}

int blockdev_queue_create(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **queue)
{
    *queue = NULL;
    if (options->depth < 1 || options->depth > QUEUE_DEPTH_MAX)
        return error_set(MOTE_EINVAL, "a device queue of depth %" PRIu32 " cannot be made; choose 1 to %d", options->depth, QUEUE_DEPTH_MAX);
    struct blockdev_queue *made = NULL;
    int result = device->ops->queue_create(device, options, &made);
    if (result != MOTE_OK)
        return result;
    assert(made);
    made->device = device;
    made->depth = options->depth;
    made->flags = options->flags;
    *queue = made;
    return MOTE_OK;
}

void blockdev_queue_destroy(struct blockdev_queue *queue)
{
    if (queue)
        queue->device->ops->queue_destroy(queue);
}

void blockdev_queue_retire(struct blockdev_queue *queue)
{
    if (queue->device->ops->queue_retire && blockdev_queue_inflight(queue) == 0)
        queue->device->ops->queue_retire(queue);
}

void blockdev_drain(struct blockdev_queue *queue)
{
    struct blockdev_request *done[RANGE_REQUESTS_MAX];
    while (blockdev_queue_inflight(queue) > 0)
        if (blockdev_reap(queue, 1, -1, done, RANGE_REQUESTS_MAX) < 0)
            return;
}

/* Rule 8, and the ECANCELED of rule 2. */
static int map_errno(int system_errno)
{
    switch (system_errno) {
    case 0: return MOTE_OK;
    case ENODATA: case EREMOTEIO: case ETIMEDOUT: case ENOLINK: case EILSEQ: case ECANCELED: case EIO:
    case EAGAIN: case EBUSY: case EINTR: case ETIME: return MOTE_EIO; /* what a request ends with is a failed request, not advice to try again */
    case ENODEV: case ENXIO: return MOTE_ENODEV;
    case ENOSPC: return MOTE_ENOSPC;
    default: return error_from_errno(system_errno);
    }
}

/* Rule 5: MOTE_OK, or the result with which the request is refused. */
static int check_request(const struct blockdev *device, const struct blockdev_request *request, bool in_chain)
{
    const struct blockdev_geometry *geometry = &device->geometry;
    uint64_t size_bytes = __atomic_load_n(&geometry->size_bytes, __ATOMIC_RELAXED);
    uint32_t block_mask = geometry->logical_block_bytes - 1;
    assert(is_power_of_two(geometry->logical_block_bytes));
    if ((request->flags & ~(BLOCKDEV_FUA | BLOCKDEV_LINK)) != 0 || ((request->flags & BLOCKDEV_FUA) && request->op != BLOCKDEV_WRITE))
        return MOTE_EINVAL;
    if (request->op == BLOCKDEV_FLUSH)
        return MOTE_OK;
    if (request->op > BLOCKDEV_DISCARD || request->length_bytes == 0 || ((request->offset_bytes | request->length_bytes) & block_mask) != 0
        || request->length_bytes > size_bytes || request->offset_bytes > size_bytes - request->length_bytes)
        return MOTE_EINVAL;
    if (request->op != BLOCKDEV_READ && geometry->read_only)
        return MOTE_EREADONLY;
    if (request->op == BLOCKDEV_DISCARD)
        return in_chain ? MOTE_EINVAL : geometry->discard_granularity_bytes == 0 ? MOTE_ENOTSUP : MOTE_OK;
    if (request->buffer == NULL || ((uintptr_t)request->buffer & (geometry->buffer_align_bytes - 1)) != 0
        || request->length_bytes > geometry->request_bytes_max || request->source >= BLOCKDEV_SOURCE_COUNT)
        return MOTE_EINVAL;
    return MOTE_OK;
}

/* Length of the chain that begins at requests[0]: 1 for an unlinked request. A chain ends with the array. */
static unsigned chain_length(struct blockdev_request *const *requests, unsigned count)
{
    unsigned length = 1;
    while (length < count && (requests[length - 1]->flags & BLOCKDEV_LINK))
        length++;
    return length;
}

static bool chain_is_valid(const struct blockdev_queue *queue, struct blockdev_request *const *chain, unsigned length)
{
    if (length > queue->depth)
        return false;
    for (unsigned i = 0; i < length; i++)
        if (check_request(queue->device, chain[i], length > 1) != MOTE_OK)
            return false;
    return true;
}

/* Completes a whole chain without doing any of it. Only the culprits say why; of a chain that is too long that is its first request. */
static void reject_chain(struct blockdev_queue *queue, struct blockdev_request *const *chain, unsigned length)
{
    for (unsigned i = 0; i < length; i++) {
        int result = check_request(queue->device, chain[i], length > 1);
        if (result == MOTE_OK && i == 0 && length > queue->depth)
            result = MOTE_EINVAL;
        chain[i]->result = result == MOTE_OK ? MOTE_EIO : result;
        chain[i]->system_errno = result == MOTE_OK ? ECANCELED : 0;
        chain[i]->next = queue->rejected;
        queue->rejected = chain[i];
    }
    atomic_fetch_add_explicit(&queue->inflight, length, memory_order_relaxed);
}

/* Hands a run of valid, whole chains to the backend. Returns how many it took or a negative code. */
static int submit_run(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    if (count == 0)
        return 0;
    int taken = queue->device->ops->submit(queue, requests, count);
    assert(taken <= (int)count);
    if (taken > 0)
        atomic_fetch_add_explicit(&queue->inflight, (unsigned)taken, memory_order_relaxed);
    return taken;
}

int blockdev_submit(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    unsigned inflight = blockdev_queue_inflight(queue);
    unsigned room = inflight < queue->depth ? queue->depth - inflight : 0;
    unsigned run_start = 0; /* requests[run_start..at) are valid, fit the room and wait to be handed over together */
    unsigned at = 0;
    while (at < count) {
        unsigned length = chain_length(requests + at, count - at);
        if (chain_is_valid(queue, requests + at, length)) {
            if (length > room)
                break;
            room -= length;
            at += length;
            continue;
        }
        int taken = submit_run(queue, requests + run_start, at - run_start);
        if (taken < 0)
            return run_start > 0 ? (int)run_start : taken;
        if ((unsigned)taken < at - run_start)
            return (int)run_start + taken;
        reject_chain(queue, requests + at, length);
        at += length;
        run_start = at;
    }
    int taken = submit_run(queue, requests + run_start, at - run_start);
    if (taken < 0 && run_start == 0)
        return taken;
    return (int)run_start + (taken > 0 ? taken : 0);
}

/* Fills result and counts (rule 7). */
static void complete_request(struct blockdev *device, struct blockdev_request *request)
{
    request->result = map_errno(request->system_errno);
    if (request->result != MOTE_OK) {
        add_counter(&device->error_count, 1);
        return;
    }
    switch (request->op) {
    case BLOCKDEV_READ:
        add_counter(&device->read_count, 1);
        add_counter(&device->read_bytes, request->length_bytes);
        break;
    case BLOCKDEV_WRITE:
        add_counter(&device->write_count, 1);
        add_counter(&device->written_bytes[request->source], request->length_bytes);
        break;
    case BLOCKDEV_FLUSH:
        add_counter(&device->flush_count, 1);
        break;
    default:
        add_counter(&device->discarded_bytes, request->length_bytes);
        break;
    }
}

int blockdev_reap(struct blockdev_queue *queue, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max)
{
    unsigned got = 0;
    while (queue->rejected && got < done_max) {
        done[got++] = queue->rejected;
        queue->rejected = queue->rejected->next;
    }
    if (got > 0)
        add_counter(&queue->device->error_count, got);
    if (wait_count > done_max)
        wait_count = done_max;
    unsigned inflight = blockdev_queue_inflight(queue) - got;
    unsigned wanted = wait_count > got ? wait_count - got : 0;
    bool wakeable = (queue->flags & BLOCKDEV_QUEUE_WAKE) != 0;
    if (wanted > inflight && !wakeable)
        wanted = inflight;
    int more = 0;
    if (got < done_max && (inflight > 0 || wakeable))
        more = queue->device->ops->reap(queue, wanted, timeout_ns, done + got, done_max - got);
    if (more < 0 && got == 0)
        return more;
    for (int i = 0; i < more; i++)
        complete_request(queue->device, done[got + (unsigned)i]);
    got += more > 0 ? (unsigned)more : 0;
    unsigned before = atomic_fetch_sub_explicit(&queue->inflight, got, memory_order_relaxed);
    assert(before >= got);
    (void)before;
    return (int)got;
}

void blockdev_wake(struct blockdev_queue *queue)
{
    assert(queue->flags & BLOCKDEV_QUEUE_WAKE);
    queue->device->ops->wake(queue);
}

static const char *op_name(unsigned op)
{
    static const char *const names[] = {"read", "write", "flush", "discard"};
    return op <= BLOCKDEV_DISCARD ? names[op] : "do";
}

/* Sets the sentence for a request of the conveniences that failed. */
static int report_request(const struct blockdev *device, const struct blockdev_request *request)
{
    const char *why = request->result == MOTE_EREADONLY ? "it is open read-only"
                    : request->result == MOTE_ENOTSUP   ? "it does not support that"
                    : request->system_errno             ? strerror(request->system_errno)
                                                        : "the range is misaligned or outside the device";
    if (request->op == BLOCKDEV_FLUSH)
        error_set_errno(request->result, request->system_errno, "cannot flush the cache of %s: %s; check the device", device->path, why);
    else
        error_set_errno(request->result, request->system_errno, "cannot %s %" PRIu32 " bytes at offset %" PRIu64 " of %s: %s; check the device",
                        op_name(request->op), request->length_bytes, request->offset_bytes, device->path, why);
    error_add_device(device->path, request->offset_bytes, request->length_bytes);
    return request->result;
}

/* A range that is cut into requests, and the requests of it that are in flight. */
struct range_job {
    struct blockdev_request model; /* op, source; the rest is filled for each request */
    uint64_t offset_bytes, end_bytes;
    uint8_t *buffer; /* of offset_bytes; NULL for a discard */
    uint32_t step_bytes;
};

static void next_request(struct range_job *job, struct blockdev_request *request)
{
    uint64_t left_bytes = job->end_bytes - job->offset_bytes;
    *request = job->model;
    request->length_bytes = (uint32_t)(left_bytes < job->step_bytes ? left_bytes : job->step_bytes);
    request->offset_bytes = job->offset_bytes;
    request->buffer = job->buffer;
    job->offset_bytes += request->length_bytes;
    if (job->buffer)
        job->buffer += request->length_bytes;
}

/* Runs a job to its end, or to its first failure once everything in flight is back. */
static int run_range(struct blockdev_queue *queue, struct range_job *job)
{
    struct blockdev_request requests[RANGE_REQUESTS_MAX], *idle[RANGE_REQUESTS_MAX], *batch[RANGE_REQUESTS_MAX], *done[RANGE_REQUESTS_MAX];
    unsigned idle_count = 0, batch_count = 0; /* batch: cut, not yet taken by the queue */
    int result = MOTE_OK;
    if (blockdev_queue_inflight(queue) != 0)
        return error_set(MOTE_EINVAL, "a range of %s cannot be transferred on a queue with requests in flight; reap them first", queue->device->path);
    for (; idle_count < RANGE_REQUESTS_MAX && idle_count < queue->depth; idle_count++)
        idle[idle_count] = &requests[idle_count];
    for (;;) {
        while (result == MOTE_OK && idle_count > 0 && job->offset_bytes < job->end_bytes)
            next_request(job, batch[batch_count++] = idle[--idle_count]);
        if (result == MOTE_OK && batch_count > 0) {
            int taken = blockdev_submit(queue, batch, batch_count);
            if (taken < 0) {
                result = taken;
            } else {
                batch_count -= (unsigned)taken;
                memmove(batch, batch + taken, batch_count * sizeof *batch);
            }
        }
        if (blockdev_queue_inflight(queue) == 0) {
            if (result != MOTE_OK || (batch_count == 0 && job->offset_bytes == job->end_bytes))
                return result;
            continue;
        }
        int reaped = blockdev_reap(queue, 1, -1, done, RANGE_REQUESTS_MAX);
        if (reaped < 0)
            return reaped;
        for (int i = 0; i < reaped; i++) {
            if (done[i]->result != MOTE_OK && result == MOTE_OK)
                result = report_request(queue->device, done[i]);
            idle[idle_count++] = done[i];
        }
    }
}

/* A range whose end cannot be computed, or that is empty, before it is cut. */
static int check_range(const struct blockdev_queue *queue, uint64_t offset_bytes, uint64_t length_bytes)
{
    uint64_t size_bytes = __atomic_load_n(&queue->device->geometry.size_bytes, __ATOMIC_RELAXED);
    if (length_bytes <= size_bytes && offset_bytes <= size_bytes - length_bytes)
        return MOTE_OK;
    error_set(MOTE_EINVAL, "%" PRIu64 " bytes at offset %" PRIu64 " do not lie inside %s of %" PRIu64 " bytes; choose a range inside", length_bytes,
              offset_bytes, queue->device->path, size_bytes);
    error_add_device(queue->device->path, offset_bytes, length_bytes);
    return MOTE_EINVAL;
}

int blockdev_read_range(struct blockdev_queue *queue, uint64_t offset_bytes, void *buffer, uint64_t length_bytes)
{
    int result = check_range(queue, offset_bytes, length_bytes);
    if (result != MOTE_OK)
        return result;
    struct range_job job = {.model = {.op = BLOCKDEV_READ}, .offset_bytes = offset_bytes, .end_bytes = offset_bytes + length_bytes,
                            .buffer = (uint8_t *)buffer, .step_bytes = queue->device->geometry.request_bytes_max};
    return run_range(queue, &job);
}

int blockdev_write_range(struct blockdev_queue *queue, enum blockdev_source source, uint64_t offset_bytes, const void *buffer,
                         uint64_t length_bytes)
{
    int result = check_range(queue, offset_bytes, length_bytes);
    if (result != MOTE_OK)
        return result;
    union { const void *in; uint8_t *out; } data = {.in = buffer}; /* a write does not change its buffer */
    struct range_job job = {.model = {.op = BLOCKDEV_WRITE, .source = (uint8_t)source}, .offset_bytes = offset_bytes,
                            .end_bytes = offset_bytes + length_bytes, .buffer = data.out, .step_bytes = queue->device->geometry.request_bytes_max};
    return run_range(queue, &job);
}

int blockdev_flush(struct blockdev_queue *queue)
{
    struct blockdev_request request = {.op = BLOCKDEV_FLUSH}, *one = &request;
    if (blockdev_queue_inflight(queue) != 0)
        return error_set(MOTE_EINVAL, "%s cannot be flushed on a queue with requests in flight; reap them first", queue->device->path);
    int result = blockdev_submit(queue, &one, 1);
    if (result < 0)
        return result;
    while (blockdev_queue_inflight(queue) > 0) {
        result = blockdev_reap(queue, 1, -1, &one, 1);
        if (result < 0)
            return result;
    }
    return request.result == MOTE_OK ? MOTE_OK : report_request(queue->device, &request);
}

int blockdev_discard_range(struct blockdev_queue *queue, uint64_t offset_bytes, uint64_t length_bytes)
{
    int result = check_range(queue, offset_bytes, length_bytes);
    if (result != MOTE_OK)
        return result;
    struct range_job job = {.model = {.op = BLOCKDEV_DISCARD}, .offset_bytes = offset_bytes, .end_bytes = offset_bytes + length_bytes,
                            .step_bytes = DISCARD_BYTES_MAX};
    return run_range(queue, &job);
}
