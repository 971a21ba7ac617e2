/* blockdev.h: the contract of a block device, the lowest layer: batches of asynchronous reads, writes, barriers and discards on an open device,
 * the same over every backend (io_uring, libaio, threads, the simulated disk, the fault injector).
 *
 * Objects
 *   struct blockdev          an open device. Geometry, identity and counters; any thread.
 *   struct blockdev_queue    one ring. Used by one thread at a time: the thread that first submits on it becomes its owner, where the kernel
 *                            insists (io_uring single issuer with deferred task work) for ever, unless made with
 *                            BLOCKDEV_QUEUE_SHARED (any thread, one at a time, the caller excludes the others).
 *   struct blockdev_request  owned by the caller, kept alive and unchanged from submit until it is reaped. No allocation per request.
 *
 * Rules that a caller may rely on
 *   1. blockdev_submit hands over the whole array with one system call (io_uring, libaio). It never blocks for a completion; when the queue holds
 *      depth requests already it returns how many it took.
 *   2. Requests complete in any order. A request with BLOCKDEV_LINK is followed by the next one of the same submit: that one starts only after
 *      this one succeeded, and completes with -ECANCELED (result MOTE_EIO, system_errno ECANCELED) if it failed. Chains do not span submits.
 *   3. A completed FLUSH makes durable every write whose completion was reaped before the FLUSH was submitted, or that is linked before it.
 *      A write with BLOCKDEV_FUA is durable when it completes. Nothing else is durable, ever.
 *   4. A short read or write is finished by the backend or reported as MOTE_EIO; result is MOTE_OK or a negative MOTE_E code, never a count.
 *   5. offset, length and buffer must be multiples of geometry.logical_block_bytes (buffer: of buffer_align_bytes); length above 0 and at most
 *      geometry.request_bytes_max (DISCARD: any length that fits its field); the range inside the device; FUA on writes only; no DISCARD in a chain; a chain
 *      no longer than the queue's depth. Otherwise the request completes with MOTE_EINVAL (a write or discard on a read-only device: MOTE_EREADONLY; a
 *      discard on a device without it: MOTE_ENOTSUP), and nothing is done; the other requests of its chain complete as cancelled and are not done
 *      either. FLUSH has no range and ignores offset, length and buffer.
 *   6. A failed write or barrier is reported once and never retried here. Only a DISCARD may block its submit (libaio, and io_uring on kernels before 6.12).
 *   7. Every byte written is counted under the request's source.
 *   8. ENODATA, EREMOTEIO, ETIMEDOUT, ENOLINK, EILSEQ of a media error all become MOTE_EIO; ENODEV and ENXIO MOTE_ENODEV; ENOSPC MOTE_ENOSPC.
 *
 * Simulated disk and fault injector: sim.h, faulty.h. Opening real devices and what is refused: probe.h.
 */
#ifndef MOTE_BLOCKDEV_BLOCKDEV_H
#define MOTE_BLOCKDEV_BLOCKDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blockdev;
struct blockdev_queue;

enum blockdev_op { BLOCKDEV_READ, BLOCKDEV_WRITE, BLOCKDEV_FLUSH, BLOCKDEV_DISCARD };
enum blockdev_flags { BLOCKDEV_FUA = 1, BLOCKDEV_LINK = 2 };

/* Who caused a write; the engine's own count of bytes, by source. */
enum blockdev_source {
    BLOCKDEV_SOURCE_OTHER, BLOCKDEV_SOURCE_SUPERBLOCK, BLOCKDEV_SOURCE_MANIFEST, BLOCKDEV_SOURCE_WAL, BLOCKDEV_SOURCE_FLUSH,
    BLOCKDEV_SOURCE_COMPACTION, BLOCKDEV_SOURCE_INDEX, BLOCKDEV_SOURCE_BLOB, BLOCKDEV_SOURCE_COUNT
};

struct blockdev_request {
    uint8_t op;     /* enum blockdev_op */
    uint8_t flags;  /* enum blockdev_flags */
    uint8_t source; /* enum blockdev_source, of writes */
    uint8_t reserved;
    uint32_t length_bytes;
    uint64_t offset_bytes;
    void *buffer; /* a write does not change it */
    void *user;   /* the caller's own */
    /* Set at completion: */
    int32_t result;       /* MOTE_OK or MOTE_E... */
    int32_t system_errno; /* what the kernel said, or 0 */
    /* The backend's own while in flight: */
    struct blockdev_request *next;
    uint64_t backend_word[2];
};

struct blockdev_geometry {
    uint64_t size_bytes; /* as of open, or of the last blockdev_refresh */
    uint32_t logical_block_bytes, physical_block_bytes;
    uint32_t buffer_align_bytes;
    uint32_t request_bytes_max;       /* at most REQUEST_BYTES_MAX */
    uint32_t discard_granularity_bytes; /* 0: no discard */
    bool write_cache; /* a volatile cache: barriers are needed. Image files: always true */
    bool fua;         /* the device says it honours FUA itself (BLOCKDEV_FUA works everywhere; this only informs the choice) */
    bool block_device;
    bool read_only;
    bool direct;      /* O_DIRECT is in force */
    uint32_t discard_alignment_bytes; /* where the first whole unit of discard_granularity_bytes begins */
    char model[64];   /* name by which calibration recognises the device; "image file" */
};

enum blockdev_queue_flags {
    BLOCKDEV_QUEUE_SHARED = 1, /* used by several threads, one at a time */
    BLOCKDEV_QUEUE_WAKE = 2,   /* blockdev_wake will be used */
};

struct blockdev_queue_options {
    uint32_t depth; /* requests in flight at most, 1 to 1024 */
    uint32_t flags; /* enum blockdev_queue_flags */
    /* Memory that most buffers come from; registered where the kernel allows, so that requests inside it need no page pinning. NULL: none */
    void *registered_base;
    uint64_t registered_bytes;
};

struct blockdev_counters {
    uint64_t written_bytes[BLOCKDEV_SOURCE_COUNT];
    uint64_t read_bytes, discarded_bytes;
    uint64_t write_count, read_count, flush_count, error_count;
};

const struct blockdev_geometry *blockdev_geometry(const struct blockdev *device);
const char *blockdev_path(const struct blockdev *device);
/* Name of the backend: "io_uring", "libaio", "threads", "sim", "faulty(io_uring)". */
const char *blockdev_backend(const struct blockdev *device);
/* Why a better backend was passed over ("io_uring: Operation not permitted"), or "". */
const char *blockdev_backend_reason(const struct blockdev *device);
void blockdev_get_counters(const struct blockdev *device, struct blockdev_counters *counters);
/* Reads the device's present size again; MOTE_ENODEV if it is gone. */
int blockdev_refresh(struct blockdev *device);
/* Closes the device and frees it. Every queue must have been destroyed. */
void blockdev_close(struct blockdev *device);

int blockdev_queue_create(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **queue);
/* Waits for whatever is in flight, then frees the queue. With requests in flight only the queue's owner may do it; an idle queue may be destroyed by any thread. */
void blockdev_queue_destroy(struct blockdev_queue *queue);
/* The last call of the thread that used an idle queue which another thread will destroy: what the kernel gives back at once only to that thread (the exclusive open, pinned memory) need not wait for the kernel's own time then. Afterwards only
 * blockdev_wake and blockdev_queue_destroy may be called. */
void blockdev_queue_retire(struct blockdev_queue *queue);
struct blockdev *blockdev_queue_device(const struct blockdev_queue *queue);
/* Whether registered buffers and files are in use. */
bool blockdev_queue_registered(const struct blockdev_queue *queue);
/* Requests submitted and not yet reaped. */
unsigned blockdev_queue_inflight(const struct blockdev_queue *queue);

/* Takes requests[0..count). Returns how many were taken (a chain is taken whole or not at all), or a negative MOTE_E code if none could be and none ever
 * will (the device or ring is gone). */
int blockdev_submit(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count);
/* Fills done[] with up to done_max completed requests. Blocks until at least wait_count are completed, or timeout_ns passed (negative: no limit, 0: poll),
 * or blockdev_wake was called. wait_count is cut to done_max and, without BLOCKDEV_QUEUE_WAKE, to what is in flight; with BLOCKDEV_QUEUE_WAKE it may exceed
 * that, so that an idle thread sleeps here until it is woken. Returns their number, or a negative MOTE_E code. */
int blockdev_reap(struct blockdev_queue *queue, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max);
/* Makes a blockdev_reap that blocks, or the next one that would, return at once. Any thread; needs BLOCKDEV_QUEUE_WAKE. */
void blockdev_wake(struct blockdev_queue *queue);

/* Conveniences for cold paths: split into requests of at most request_bytes_max, keep up to the queue's depth in flight, wait for all. The queue must be idle.
 * offset, length and buffer aligned as above. The first failure is returned, with error_set context (device, offset). */
int blockdev_read_range(struct blockdev_queue *queue, uint64_t offset_bytes, void *buffer, uint64_t length_bytes);
int blockdev_write_range(struct blockdev_queue *queue, enum blockdev_source source, uint64_t offset_bytes, const void *buffer,
                         uint64_t length_bytes);
int blockdev_flush(struct blockdev_queue *queue);
int blockdev_discard_range(struct blockdev_queue *queue, uint64_t offset_bytes, uint64_t length_bytes);

#endif
