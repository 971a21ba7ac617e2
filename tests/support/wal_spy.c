/* wal_spy.c: a device around another that looks at each write of the log: frames in LSN order without a gap, no block written twice, at most inflight_max frames and window_bytes beyond durable_lsn. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/blockdev_private.h"
#include "tests/support/wal_spy.h"
#include "wal/wal_format.h"

struct wal_spy {
    struct blockdev blockdev;
    struct blockdev *inner;
    pthread_mutex_t lock;
    struct wal *wal;
    uint32_t inflight_max;
    uint64_t window_bytes;
    uint64_t next_lsn;
    bool next_known;
    uint8_t *written; /* one byte for each sector */
    uint64_t ends[128]; /* ends of the newest frames submitted */
    uint64_t end_count;
    uint64_t flushes_inflight;
    bool hold;
    uint32_t let;
    struct wal_spy_report report;
};

struct spy_queue {
    struct blockdev_queue queue;
    struct blockdev_queue *inner;
};

static struct wal_spy *spy_of(struct blockdev *device) { return (struct wal_spy *)device; }
static struct spy_queue *queue_of(struct blockdev_queue *queue) { return (struct spy_queue *)queue; }

static void violate(struct wal_spy *spy, const char *what, uint64_t lsn)
{
    if (spy->report.violations++ == 0)
        snprintf(spy->report.violation, sizeof spy->report.violation, "%s at LSN %llu", what, (unsigned long long)lsn);
}

static void look_at_frame(struct wal_spy *spy, const struct blockdev_request *request)
{
    const uint8_t *data = request->buffer;
    const uint64_t lsn = load_u64(data + WAL_FRAME_AT_LSN);
    const uint32_t frame_bytes = load_u32(data + WAL_FRAME_AT_FRAME_BYTES);
    const uint32_t kind = load_u16(data + WAL_FRAME_AT_KIND);
    const uint64_t durable_lsn = wal_durable_lsn(spy->wal);
    struct wal_spy_report *report = &spy->report;
    report->writes++;
    report->fua_writes += (request->flags & BLOCKDEV_FUA) != 0;
    report->marks += kind == WAL_FRAME_MARK;
    report->pads += kind == WAL_FRAME_PAD;
    report->ends += kind == WAL_FRAME_END;
    report->last_lsn = lsn;
    report->last_kind = kind;
    report->last_durable_lsn = load_u64(data + WAL_FRAME_AT_DURABLE_LSN);
    if (load_u32(data + WAL_FRAME_AT_MAGIC) != WAL_FRAME_MAGIC)
        violate(spy, "no frame", lsn);
    if (spy->next_known && lsn != spy->next_lsn)
        violate(spy, "not in LSN order", lsn);
    spy->next_known = true;
    spy->next_lsn = lsn + frame_bytes;
    if (report->last_durable_lsn > durable_lsn)
        violate(spy, "claims more durable than is", lsn);
    if (spy->next_lsn - durable_lsn > report->window_bytes_max)
        report->window_bytes_max = spy->next_lsn - durable_lsn;
    if (spy->next_lsn - durable_lsn > spy->window_bytes)
        violate(spy, "beyond the window in bytes", lsn);
    spy->ends[spy->end_count++ % 128] = spy->next_lsn;
    uint64_t beyond = 0;
    for (uint64_t i = spy->end_count; i > 0 && spy->end_count - i < 128 && spy->ends[(i - 1) % 128] > durable_lsn; i--)
        beyond++;
    if (beyond > report->frames_inflight_max)
        report->frames_inflight_max = beyond;
    if (beyond > spy->inflight_max)
        violate(spy, "beyond the window in frames", lsn);
    for (uint64_t at = request->offset_bytes; at < request->offset_bytes + request->length_bytes; at += 512) {
        if (spy->written[at / 512]++)
            violate(spy, "a block is written twice", lsn);
    }
}

static int submit(struct blockdev_queue *queue, struct blockdev_request *const *requests, unsigned count)
{
    struct wal_spy *spy = spy_of(queue->device);
    pthread_mutex_lock(&spy->lock);
    for (unsigned i = 0; i < count; i++) {
        if (requests[i]->op == BLOCKDEV_WRITE && requests[i]->source == BLOCKDEV_SOURCE_WAL)
            look_at_frame(spy, requests[i]);
        if (requests[i]->op == BLOCKDEV_FLUSH) {
            spy->report.flushes++;
            spy->report.linked_flushes += i > 0 && (requests[i - 1]->flags & BLOCKDEV_LINK);
            if (++spy->flushes_inflight > spy->report.flushes_inflight_max)
                spy->report.flushes_inflight_max = spy->flushes_inflight;
        }
    }
    pthread_mutex_unlock(&spy->lock);
    int taken = blockdev_submit(queue_of(queue)->inner, requests, count);
    if (taken != (int)count)
        violate(spy, "the queue did not take all", 0);
    return taken;
}

static int reap(struct blockdev_queue *queue, unsigned wait_count, int64_t timeout_ns, struct blockdev_request **done, unsigned done_max)
{
    struct wal_spy *spy = spy_of(queue->device);
    pthread_mutex_lock(&spy->lock);
    bool hold = spy->hold;
    uint32_t let = spy->let;
    pthread_mutex_unlock(&spy->lock);
    if (hold && let == 0)
        return 0;
    if (hold && done_max > let)
        done_max = let;
    int count = blockdev_reap(queue_of(queue)->inner, wait_count < done_max ? wait_count : done_max, timeout_ns, done, done_max);
    pthread_mutex_lock(&spy->lock);
    for (int i = 0; i < count; i++)
        spy->flushes_inflight -= done[i]->op == BLOCKDEV_FLUSH;
    if (hold && count > 0)
        spy->let -= (uint32_t)count;
    pthread_mutex_unlock(&spy->lock);
    return count;
}

static int create_queue(struct blockdev *device, const struct blockdev_queue_options *options, struct blockdev_queue **queue)
{
    struct spy_queue *made = calloc(1, sizeof *made);
    if (!made)
        abort();
    int code = blockdev_queue_create(spy_of(device)->inner, options, &made->inner);
    if (code != 0) {
        free(made);
        return code;
    }
    *queue = &made->queue;
    return 0;
}

static void destroy_queue(struct blockdev_queue *queue)
{
    blockdev_queue_destroy(queue_of(queue)->inner);
    free(queue_of(queue));
}

static void wake(struct blockdev_queue *queue) { blockdev_wake(queue_of(queue)->inner); }
static int refresh(struct blockdev *device) { return blockdev_refresh(spy_of(device)->inner); }

static void close_device(struct blockdev *device)
{
    struct wal_spy *spy = spy_of(device);
    blockdev_close(spy->inner);
    pthread_mutex_destroy(&spy->lock);
    free(spy->written);
    free(spy);
}

static const struct blockdev_ops spy_ops = {
    .name = "spy",
    .queue_create = create_queue,
    .queue_destroy = destroy_queue,
    .submit = submit,
    .reap = reap,
    .wake = wake,
    .refresh = refresh,
    .close = close_device,
};

struct wal_spy *wal_spy_create(struct blockdev *inner, uint32_t inflight_max, uint64_t window_bytes, struct blockdev **device)
{
    struct wal_spy *spy = calloc(1, sizeof *spy);
    if (!spy)
        abort();
    spy->blockdev.ops = &spy_ops;
    spy->blockdev.geometry = inner->geometry;
    snprintf(spy->blockdev.path, sizeof spy->blockdev.path, "%s", inner->path);
    snprintf(spy->blockdev.backend_name, sizeof spy->blockdev.backend_name, "spy");
    pthread_mutex_init(&spy->lock, NULL);
    spy->inner = inner;
    spy->inflight_max = inflight_max;
    spy->window_bytes = window_bytes;
    spy->written = calloc(1, inner->geometry.size_bytes / 512);
    if (!spy->written)
        abort();
    *device = &spy->blockdev;
    return spy;
}

void wal_spy_watch(struct wal_spy *spy, struct wal *wal)
{
    spy->wal = wal;
}

void wal_spy_hold(struct wal_spy *spy, bool hold)
{
    pthread_mutex_lock(&spy->lock);
    spy->hold = hold;
    spy->let = 0;
    pthread_mutex_unlock(&spy->lock);
}

void wal_spy_let(struct wal_spy *spy, uint32_t count)
{
    pthread_mutex_lock(&spy->lock);
    spy->let += count;
    pthread_mutex_unlock(&spy->lock);
}

void wal_spy_report(struct wal_spy *spy, struct wal_spy_report *report)
{
    pthread_mutex_lock(&spy->lock);
    *report = spy->report;
    pthread_mutex_unlock(&spy->lock);
}
