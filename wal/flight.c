/* flight.c: frames between the stage and the device: header and checksum, submission within the window, barriers, completion, publication. Only the committer comes here.
 *
 * A flight is durable when its own write was reaped (written) and a barrier covers it (barrier):
 *   FUA    the write's own completion is both. Frames are pipelined up to the window.
 *   FLUSH  at most one flush is in flight. A frame that finds none, and no write under way, is linked with its own: one submission, one wake. Else frames are written plainly, and
 *          as soon as the oldest is written and no flush is in flight, one flush covers all that are written by then. What a flush covers is fixed when it is submitted: flights whose
 *          write was reaped before, and those linked before it (blockdev.h, rule 3).
 *   NONE   the write's completion is both.
 * Published is the prefix of durable flights in LSN order (wal.h, invariant 4). A failure poisons the log and nothing is published or submitted any more; what is in flight is only reaped. */
#include <string.h>

#include "blockdev/base/errors.h"
#include "wal/wal_private.h"

static struct wal_flight *flight_at(const struct wal *wal, uint64_t index)
{
    assert(index >= wal->flight_first && index < wal->flight_end);
    return &wal->flights[index % wal->options.inflight_max];
}

static bool window_takes(const struct wal *wal, uint64_t end_lsn)
{
    return wal_flight_count(wal) < wal->options.inflight_max &&
           end_lsn - atomic_load_explicit(&wal->durable_lsn, memory_order_relaxed) <= wal->window_bytes;
}

/* Completes a frame in its buffer and appends it to the batch and to the flights. */
static struct wal_flight *append_flight(struct wal *wal, struct wal_frame *frame, uint8_t *buffer, uint64_t offset_bytes, uint32_t write_bytes)
{
    assert(frame->lsn == wal->chain_lsn);
    assert(window_takes(wal, frame->lsn + frame->frame_bytes));
    const uint32_t used_bytes = WAL_FRAME_HEADER_BYTES + frame->payload_bytes;
    frame->incarnation = wal->incarnation;
    frame->superblock_generation = wal->superblock_generation;
    frame->durable_lsn = atomic_load_explicit(&wal->durable_lsn, memory_order_relaxed);
    frame->catalog_version = atomic_load_explicit(&wal->catalog_version, memory_order_relaxed);
    frame->previous_crc = wal->chain_crc;
    memset(buffer + used_bytes, 0, write_bytes - used_bytes);
    wal->chain_crc = wal_frame_encode(buffer, wal->options.uuid, frame);
    wal->chain_lsn = frame->lsn + frame->frame_bytes;

    struct wal_flight *flight = &wal->flights[wal->flight_end++ % wal->options.inflight_max];
    *flight = (struct wal_flight){.request = {.op = BLOCKDEV_WRITE,
                                              .flags = wal->options.barrier == MOTE_BARRIER_FUA ? BLOCKDEV_FUA : 0,
                                              .source = BLOCKDEV_SOURCE_WAL,
                                              .length_bytes = write_bytes,
                                              .offset_bytes = offset_bytes,
                                              .buffer = buffer,
                                              .user = flight},
                                  .lsn = frame->lsn,
                                  .end_lsn = wal->chain_lsn,
                                  .last_seq = frame->first_seq + frame->count - 1,
                                  .ordinal = WAL_NO_ORDINAL,
                                  .kind = frame->kind,
                                  .count = frame->count,
                                  .payload_bytes = frame->payload_bytes,
                                  .frame_bytes = frame->frame_bytes};
    wal->batch[wal->batch_count++] = &flight->request;
    return flight;
}

/* Hands the batch over. The queue is deep enough for all that the window allows, so a queue that takes nothing is broken. */
static void submit_batch(struct wal *wal, struct blockdev_queue *queue)
{
    uint32_t sent = 0;
    while (sent < wal->batch_count) {
        int taken = blockdev_submit(queue, wal->batch + sent, wal->batch_count - sent);
        if (taken <= 0) {
            error_set(taken < 0 ? taken : MOTE_EIO, "the device's queue takes no requests of the log any more; reopen the volume");
            error_add_device(blockdev_path(wal->options.device), wal->batch[sent]->offset_bytes, wal->batch[sent]->length_bytes);
            wal_poison_present(wal, taken < 0 ? taken : MOTE_EIO);
            break;
        }
        sent += (uint32_t)taken;
    }
    wal->batch_count = 0;
}

/* Appends the flush to the batch: it covers what is written now and what the batch links before it. */
static void append_flush(struct wal *wal)
{
    assert(!wal->flush_inflight);
    for (uint64_t i = wal->flight_first; i < wal->flight_end; i++) {
        struct wal_flight *flight = flight_at(wal, i);
        if (!flight->barrier && (flight->written || (flight->request.flags & BLOCKDEV_LINK)))
            flight->covered = true;
    }
    wal->flush_request = (struct blockdev_request){.op = BLOCKDEV_FLUSH, .source = BLOCKDEV_SOURCE_WAL};
    wal->batch[wal->batch_count++] = &wal->flush_request;
    wal->flush_inflight = true;
}

static bool is_write_under_way(const struct wal *wal)
{
    for (uint64_t i = wal->flight_first; i < wal->flight_end; i++)
        if (!flight_at(wal, i)->written)
            return true;
    return false;
}

/* Links the batch with a flush of its own where nothing else is under way. rows_count: frames in it apart from pads. */
static void link_flush(struct wal *wal, bool idle, uint32_t rows_count)
{
    if (wal->options.barrier != MOTE_BARRIER_FLUSH || !idle || rows_count != 1)
        return;
    for (uint32_t i = 0; i < wal->batch_count; i++)
        wal->batch[i]->flags |= BLOCKDEV_LINK;
    append_flush(wal);
}

static void append_pad(struct wal *wal, struct wal_stage *stage, uint64_t first_seq)
{
    const struct wal_placement *place = &stage->placement;
    struct wal_frame frame = {.lsn = place->pad_lsn, .first_seq = first_seq, .frame_bytes = place->pad_bytes, .kind = WAL_FRAME_PAD};
    append_flight(wal, &frame, stage->pad_buffer, place->pad_offset_bytes, wal->options.frame_align_bytes);
    stage->pad_submitted = true;
}

static void append_stage(struct wal *wal, struct wal_stage *stage, uint64_t ordinal, uint64_t first_seq)
{
    const struct wal_placement *place = &stage->placement;
    struct wal_frame frame = {.lsn = place->lsn,
                              .first_seq = first_seq,
                              .count = stage->count,
                              .payload_bytes = stage->payload_bytes,
                              .frame_bytes = stage->frame_bytes,
                              .kind = WAL_FRAME_ROWS};
    struct wal_flight *flight = append_flight(wal, &frame, stage->buffer, place->device_offset_bytes, stage->frame_bytes);
    flight->ordinal = ordinal;
    flight->sealed_ns = stage->sealed_ns;
}

/* Whether the next sealed stage (or its pad) is published and inside the window. */
bool wal_flight_can_submit(const struct wal *wal)
{
    if (wal->submit_ordinal == atomic_load(&wal->sealed_ordinal))
        return false;
    const struct wal_stage *stage = wal_stage_of(wal, wal->submit_ordinal);
    const struct wal_placement *place = &stage->placement;
    bool pad_first = place->pad_bytes && !stage->pad_submitted;
    if (!window_takes(wal, pad_first ? place->pad_lsn + place->pad_bytes : place->lsn + stage->frame_bytes))
        return false;
    return wal_stage_is_published(stage);
}

/* Submits up to stages_max of the stages that can be. */
static bool submit_stages(struct wal *wal, struct blockdev_queue *queue, uint32_t stages_max)
{
    bool idle = !wal->flush_inflight && !is_write_under_way(wal);
    uint32_t rows_count = 0;
    while (rows_count < stages_max && wal_flight_can_submit(wal)) {
        struct wal_stage *stage = wal_stage_of(wal, wal->submit_ordinal);
        uint64_t first_seq = atomic_load_explicit(&stage->first_seq, memory_order_relaxed);
        if (stage->placement.pad_bytes && !stage->pad_submitted) {
            append_pad(wal, stage, first_seq);
            continue;
        }
        append_stage(wal, stage, wal->submit_ordinal++, first_seq);
        rows_count++;
        wal->mark_due = true;
    }
    if (wal->batch_count == 0)
        return false;
    link_flush(wal, idle, rows_count);
    submit_batch(wal, queue);
    return true;
}

bool wal_flight_submit(struct wal *wal)
{
    return submit_stages(wal, wal->queue, UINT32_MAX);
}

bool wal_flight_submit_own(struct wal *wal)
{
    return submit_stages(wal, wal->own_queue, 1);
}

bool wal_flight_wants_flush(const struct wal *wal)
{
    return wal->options.barrier == MOTE_BARRIER_FLUSH && !wal->flush_inflight && wal_flight_count(wal) > 0 && flight_at(wal, wal->flight_first)->written;
}

bool wal_flight_flush(struct wal *wal)
{
    if (!wal_flight_wants_flush(wal))
        return false;
    append_flush(wal);
    submit_batch(wal, wal->queue);
    return true;
}

bool wal_flight_mark(struct wal *wal, enum wal_frame_kind kind, int64_t now_ns)
{
    assert(wal_flight_count(wal) == 0 && wal->batch_count == 0);
    struct wal_placement place;
    pthread_mutex_lock(&wal->lock);
    /* A stage that was sealed meanwhile comes before it in LSN order, and is a witness itself. */
    bool placed = wal->submit_ordinal == atomic_load(&wal->sealed_ordinal);
    bool in_order = placed;
    if (placed) {
        struct wal_position position = wal->tail;
        placed = wal_space_place(wal, &position, wal->options.frame_align_bytes, &place);
        if (placed) {
            wal->tail = position;
            atomic_store_explicit(&wal->tail_lsn, position.lsn, memory_order_release);
        }
    }
    uint64_t first_seq = wal->next_seq;
    pthread_mutex_unlock(&wal->lock);
    if (!placed) {
        assert(!in_order || kind == WAL_FRAME_END); /* A mark's place was set aside with that of its rows. */
        if (in_order)
            atomic_store(&wal->close_error, MOTE_ENOSPC); /* The log was started without room for a single frame. */
        return false;
    }
    assert(place.pad_bytes == 0); /* What is left of a range is at least one unit. */
    struct wal_frame frame = {.lsn = place.lsn, .first_seq = first_seq, .frame_bytes = wal->options.frame_align_bytes, .kind = kind};
    uint8_t *buffer = kind == WAL_FRAME_MARK ? wal->mark_buffer : wal->end_buffer;
    append_flight(wal, &frame, buffer, place.device_offset_bytes, wal->options.frame_align_bytes)->sealed_ns = now_ns;
    wal->mark_due = false;
    link_flush(wal, !wal->flush_inflight, 1);
    submit_batch(wal, wal->queue);
    return true;
}

/* ---- Completion ---- */

static void fail_request(struct wal *wal, const struct blockdev_request *request)
{
    const struct wal_flight *flight = request->user;
    if (flight)
        error_set_errno(request->result, request->system_errno, "a write of %u bytes to the log failed: %s; the log takes no more rows, reopen the volume",
                        request->length_bytes, request->system_errno ? strerror(request->system_errno) : mote_error_name(request->result));
    else
        error_set_errno(request->result, request->system_errno, "a barrier of the log failed: %s; the log takes no more rows, reopen the volume",
                        request->system_errno ? strerror(request->system_errno) : mote_error_name(request->result));
    error_add_device(blockdev_path(wal->options.device), request->offset_bytes, request->length_bytes);
    if (flight)
        error_add_lsn(flight->lsn);
    wal_poison_present(wal, request->result);
}

static void complete_flush(struct wal *wal)
{
    wal->flush_inflight = false;
    atomic_fetch_add_explicit(&wal->barriers, 1, memory_order_relaxed);
    for (uint64_t i = wal->flight_first; i < wal->flight_end; i++) {
        struct wal_flight *flight = flight_at(wal, i);
        flight->barrier |= flight->covered;
        flight->covered = false;
    }
}

void wal_flight_complete(struct wal *wal, struct blockdev_request **done, unsigned count)
{
    /* The failure itself before the flush that was cancelled because of it, so that the sentence names the cause. */
    for (unsigned i = 0; i < count; i++)
        if (done[i]->result != MOTE_OK && done[i]->user)
            fail_request(wal, done[i]);
    for (unsigned i = 0; i < count; i++) {
        struct wal_flight *flight = done[i]->user;
        if (done[i]->result != MOTE_OK) {
            if (!flight)
                fail_request(wal, done[i]);
            continue;
        }
        if (!flight) {
            complete_flush(wal);
            continue;
        }
        assert(!flight->written);
        flight->written = true;
        if (wal->options.barrier != MOTE_BARRIER_FLUSH)
            flight->barrier = true;
        if (wal->options.barrier == MOTE_BARRIER_FUA)
            atomic_fetch_add_explicit(&wal->barriers, 1, memory_order_relaxed);
    }
}

/* ---- Publication ---- */

static void count_frame(struct wal *wal, const struct wal_flight *flight, int64_t now_ns)
{
    _Atomic uint64_t *kind = flight->kind == WAL_FRAME_ROWS ? &wal->frames : flight->kind == WAL_FRAME_PAD ? &wal->pads : &wal->marks;
    atomic_fetch_add_explicit(kind, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&wal->frame_bytes, flight->frame_bytes, memory_order_relaxed);
    if (flight->kind != WAL_FRAME_ROWS)
        return;
    atomic_fetch_add_explicit(&wal->rows, flight->count, memory_order_relaxed);
    atomic_fetch_add_explicit(&wal->payload_bytes, flight->payload_bytes, memory_order_relaxed);
    wal_counters_commit(wal, flight, now_ns);
}

static void free_stages(struct wal *wal, uint64_t stage_count)
{
    pthread_mutex_lock(&wal->lock);
    if (wal->cut_count)
        wal_stage_settle(wal);
    wal->durable_ordinal += stage_count;
    assert(wal->durable_ordinal <= wal->submit_ordinal);
    if (!wal->open)
        wal_stage_try_open(wal);
    pthread_mutex_unlock(&wal->lock);
}

bool wal_flight_publish(struct wal *wal)
{
    uint64_t durable_seq = 0, durable_lsn = 0, stage_count = 0, end_lsn = 0;
    uint32_t mask = 0;
    int64_t now_ns = 0;
    while (wal_flight_count(wal) > 0) {
        const struct wal_flight *flight = flight_at(wal, wal->flight_first);
        if (!flight->written || !flight->barrier)
            break;
        if (now_ns == 0)
            now_ns = wal_now_ns();
        durable_seq = flight->last_seq;
        durable_lsn = flight->end_lsn;
        if (flight->kind == WAL_FRAME_END)
            end_lsn = flight->end_lsn;
        if (flight->ordinal != WAL_NO_ORDINAL) {
            mask |= WAL_ROOM_MASK | (1u << (flight->ordinal % 31));
            stage_count++;
        }
        count_frame(wal, flight, now_ns);
        wal->flight_first++;
    }
    if (now_ns == 0)
        return false;
    if (stage_count)
        free_stages(wal, stage_count);
    const bool advanced = durable_seq != atomic_load_explicit(&wal->durable_seq, memory_order_relaxed);
    wal->last_durable_ns = now_ns;
    atomic_store(&wal->durable_lsn, durable_lsn);
    atomic_store(&wal->durable_seq, durable_seq);
    if (end_lsn) {
        atomic_store(&wal->end_lsn, end_lsn);
        mask = UINT32_MAX;
    }
    if (mask)
        wal_signal(wal, mask);
    if (advanced) {
        int eventfd = atomic_load(&wal->eventfd);
        if (eventfd >= 0)
            wal_write_eventfd(eventfd);
        if (wal->options.on_durable)
            wal->options.on_durable(wal->options.context, durable_seq);
    }
    return true;
}
