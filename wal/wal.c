/* wal.c: the log's life: create, start, close, destroy. wal.h has the contract; wal_private.h says who touches what.
 *
 * Everything is carved from the arena by wal_create. The queue is made there too, with the stage buffers registered; its owner is the I/O thread, which is the only one to submit on it. So is the queue of writers that
 * commit their own rows.
 * Order at the end: wal_close (reservations are refused, what is staged becomes durable, then the end frame), wal_destroy (stop the thread, reap what is in flight, free the queue). wal_destroy
 * without wal_close leaves the log as a crash would. */
#include <string.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "wal/wal_private.h"

enum { OWN_QUEUE_DEPTH = 4 }; /* a pad, a frame, a flush */

static int check_options(const struct wal_options *options)
{
    if (options->read_only)
        return MOTE_OK;
    const struct blockdev_geometry *geometry = blockdev_geometry(options->device);
    const uint32_t unit_bytes = options->frame_align_bytes;
    if (!is_power_of_two(unit_bytes) || unit_bytes < SECTOR_BYTES || unit_bytes % geometry->logical_block_bytes != 0)
        return error_set(MOTE_EINVAL, "log frames cannot be aligned to %u bytes on a device with blocks of %u; use a power of two times the block", unit_bytes,
                         geometry->logical_block_bytes);
    if (options->frame_bytes_max % unit_bytes || options->frame_bytes_max < 2 * unit_bytes || options->frame_bytes_max > REQUEST_BYTES_MAX ||
        options->frame_bytes_max > geometry->request_bytes_max)
        return error_set(MOTE_EINVAL, "a largest log frame of %u bytes is not a multiple of %u between two of them and %u; choose another", options->frame_bytes_max, unit_bytes,
                         geometry->request_bytes_max);
    if (options->inflight_max == 0 || options->inflight_max > 64 || options->stage_count < options->inflight_max + 2 || options->stage_count > 1024)
        return error_set(MOTE_EINVAL, "%u log frames in flight with %u stages: 1 to 64, and at least two stages more", options->inflight_max, options->stage_count);
    if (options->barrier != MOTE_BARRIER_FLUSH && options->barrier != MOTE_BARRIER_FUA && options->barrier != MOTE_BARRIER_NONE)
        return error_set(MOTE_EINVAL, "barrier %u of the log is unknown; use FLUSH, FUA or NONE", options->barrier);
    return MOTE_OK;
}

static void *carve(const struct wal_options *options, uint64_t size_bytes, uint64_t align_bytes, int *code)
{
    if (*code != MOTE_OK)
        return NULL;
    void *memory = memory_carve(options->memory, size_bytes, align_bytes);
    if (!memory)
        *code = MOTE_EBUDGET;
    return memory;
}

/* Stages, flights, ranges and one piece of memory for all that is written, which becomes the registered buffer. */
static int carve_buffers(struct wal *wal, uint8_t **base, uint64_t *base_bytes)
{
    const struct wal_options *options = &wal->options;
    const uint32_t unit_bytes = options->frame_align_bytes;
    const uint32_t buffer_align_bytes = blockdev_geometry(options->device)->buffer_align_bytes;
    int code = MOTE_OK;
    wal->stages = carve(options, options->stage_count * sizeof *wal->stages, PAGE_BYTES, &code);
    wal->flights = carve(options, options->inflight_max * sizeof *wal->flights, PAGE_BYTES, &code);
    wal->batch = carve(options, (options->inflight_max + 1) * sizeof(*wal->batch), PAGE_BYTES, &code);
    wal->ranges = carve(options, WAL_RANGES_MAX * sizeof *wal->ranges, PAGE_BYTES, &code);
    wal->histogram = carve(options, WAL_HISTOGRAM_BUCKETS * sizeof *wal->histogram, PAGE_BYTES, &code);
    *base_bytes = (uint64_t)options->stage_count * (options->frame_bytes_max + unit_bytes) + 2 * unit_bytes;
    *base = carve(options, *base_bytes, buffer_align_bytes > PAGE_BYTES ? buffer_align_bytes : PAGE_BYTES, &code);
    if (code != MOTE_OK)
        return code;
    uint8_t *at = *base;
    for (uint32_t i = 0; i < options->stage_count; i++) {
        wal->stages[i].buffer = at;
        wal->stages[i].pad_buffer = at + options->frame_bytes_max;
        atomic_store(&wal->stages[i].word, WAL_WORD_SEALED);
        atomic_store(&wal->stages[i].ordinal, WAL_NO_ORDINAL);
        at += options->frame_bytes_max + unit_bytes;
    }
    wal->mark_buffer = at;
    wal->end_buffer = at + unit_bytes;
    return MOTE_OK;
}

/* For writers that commit their own rows: used by one at a time. Its buffers are not registered: the kernel would count them as locked memory once more, and one frame at a time hardly gains. */
static int create_own_queue(struct wal *wal)
{
    if (wal->options.inline_io || wal->options.thread_only)
        return MOTE_OK;
    return blockdev_queue_create(wal->options.device, &(struct blockdev_queue_options){.depth = OWN_QUEUE_DEPTH, .flags = BLOCKDEV_QUEUE_SHARED}, &wal->own_queue);
}

int wal_create(const struct wal_options *options, struct wal **wal_out)
{
    *wal_out = NULL;
    int code = check_options(options);
    if (code != MOTE_OK)
        return code;
    struct wal *wal = carve(options, sizeof *wal, PAGE_BYTES, &code);
    if (code != MOTE_OK)
        return code;
    wal->options = *options;
    atomic_store(&wal->eventfd, -1);
    pthread_mutex_init(&wal->lock, NULL);
    pthread_mutex_init(&wal->pass, NULL);
    if (options->read_only) {
        *wal_out = wal;
        return MOTE_OK;
    }
    wal->payload_bytes_max = options->frame_bytes_max - WAL_FRAME_HEADER_BYTES;
    wal->window_bytes = (uint64_t)options->inflight_max * options->frame_bytes_max;
    struct blockdev_queue_options queue_options = {.depth = options->inflight_max + 2, .flags = BLOCKDEV_QUEUE_WAKE};
    if (options->inline_io)
        queue_options.flags |= BLOCKDEV_QUEUE_SHARED;
    uint8_t *base = NULL;
    code = carve_buffers(wal, &base, &queue_options.registered_bytes);
    if (code != MOTE_OK)
        goto fail;
    queue_options.registered_base = base;
    code = blockdev_queue_create(options->device, &queue_options, &wal->queue);
    if (code != MOTE_OK)
        goto fail;
    code = create_own_queue(wal);
    if (code != MOTE_OK)
        goto fail;
    *wal_out = wal;
    return MOTE_OK;
fail:
    if (wal->queue)
        blockdev_queue_destroy(wal->queue);
    wal->queue = NULL;
    pthread_mutex_destroy(&wal->pass);
    pthread_mutex_destroy(&wal->lock);
    return code;
}

int wal_start(struct wal *wal, const struct wal_start *start)
{
    if (wal->options.read_only || wal->started)
        return error_set(MOTE_EINVAL, "the log is read-only or started already");
    if (start->next_seq == 0 || start->first_lsn % wal->options.frame_align_bytes)
        return error_set(MOTE_EINVAL, "the log cannot start at seq %llu and LSN %llu; seqs begin with 1, LSNs are aligned", (unsigned long long)start->next_seq,
                         (unsigned long long)start->first_lsn);
    pthread_mutex_lock(&wal->lock);
    bool held = wal_space_seek(wal, start->first_lsn, &wal->tail);
    if (held) {
        wal->incarnation = start->incarnation;
        wal->superblock_generation = start->superblock_generation;
        wal->next_seq = start->next_seq;
        wal->chain_lsn = start->first_lsn;
        atomic_store(&wal->current_user, start->user);
        atomic_store(&wal->durable_seq, start->next_seq - 1);
        atomic_store(&wal->durable_lsn, start->first_lsn);
        atomic_store(&wal->tail_lsn, start->first_lsn);
        wal->rows_end_lsn = start->first_lsn;
        wal->reserved_end_lsn = start->first_lsn;
        wal->started = true;
        wal_stage_try_open(wal);
    }
    pthread_mutex_unlock(&wal->lock);
    if (!held)
        return error_set(MOTE_EINVAL, "no range of the log holds its first LSN %llu; add it first", (unsigned long long)start->first_lsn);
    return wal->options.inline_io ? MOTE_OK : wal_thread_start(wal);
}

uint64_t wal_next_seq(const struct wal *wal)
{
    const struct wal_stage *stage = &wal->stages[atomic_load(&wal->active_index)];
    return atomic_load(&stage->first_seq) + wal_word_count(atomic_load(&stage->word));
}

uint64_t wal_tail_lsn(const struct wal *wal)
{
    return atomic_load_explicit(&wal->tail_lsn, memory_order_acquire);
}

void wal_set_catalog_version(struct wal *wal, uint64_t catalog_version)
{
    atomic_store_explicit(&wal->catalog_version, catalog_version, memory_order_release);
}

/* Under inline_io as the committer, else by sleeping: until the end frame is durable or cannot be. */
static void wait_for_end(struct wal *wal)
{
    for (;;) {
        uint32_t seen = atomic_load(&wal->signal);
        if (atomic_load(&wal->end_lsn) || atomic_load(&wal->poison_code) || atomic_load(&wal->close_error))
            return;
        if (!wal_role_take(wal)) {
            wal_signal_wait(wal, seen, INT64_MAX, UINT32_MAX);
            continue;
        }
        wal_commit_work(wal);
        if (!atomic_load(&wal->end_lsn) && !atomic_load(&wal->close_error))
            wal_commit_sleep(wal, INT64_MAX);
        wal_role_release(wal);
    }
}

int wal_close(struct wal *wal, uint64_t *end_lsn)
{
    *end_lsn = 0;
    if (wal->options.read_only || !wal->started)
        return error_set(MOTE_EINVAL, "the log is read-only or was never started");
    pthread_mutex_lock(&wal->lock);
    atomic_store(&wal->closing, 1);
    if (wal->open)
        wal_stage_seal(wal);
    pthread_mutex_unlock(&wal->lock);
    wal_signal(wal, WAL_ROOM_MASK);
    wal_wake_committer(wal);
    wait_for_end(wal);
    *end_lsn = atomic_load(&wal->end_lsn);
    if (*end_lsn)
        return MOTE_OK;
    if (atomic_load(&wal->poison_code))
        return wal_poison_report(wal);
    return error_set(MOTE_ENOSPC, "the log has no room for its end frame; it is whole, but the next open will replay it");
}

void wal_destroy(struct wal *wal)
{
    if (!wal)
        return;
    wal_thread_stop(wal);
    if (wal->queue) {
        if (wal->options.inline_io)
            wal_commit_drain(wal);
        blockdev_queue_destroy(wal->queue);
        wal->queue = NULL;
    }
    if (wal->own_queue) {
        blockdev_queue_destroy(wal->own_queue);
        wal->own_queue = NULL;
    }
    int eventfd = atomic_exchange(&wal->eventfd, -1);
    if (eventfd >= 0)
        close(eventfd);
    pthread_mutex_destroy(&wal->pass);
    pthread_mutex_destroy(&wal->lock);
}
