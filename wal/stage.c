/* stage.c: reservation, publication, sealing and rotation of stages.
 *
 * The hot path is one compare-and-swap (wal_reserve) and one fetch-add (wal_publish). A reservation that succeeded holds its stage: it cannot be submitted, so not recycled, before
 * the reserved bytes are published; hence user, first_seq and buffer, read after the swap, are those of the word's generation.
 *
 * Everything else happens under the log's lock, once for each stage: whoever finds the stage full (a writer), urgent (the committer) or cut (wal_rotate) seals it by one fetch-or of the sealed
 * bit. What the word holds at that moment is final, so LSN, pad and the next stage's first seq follow at once, and the next stage opens under the same lock if a buffer is free and
 * space can be set aside. If not, the log is closed for reservations until the committer frees a stage or the engine adds a range; writers then sleep on the room bit.
 *
 * Failures: MOTE_ETOOBIG, MOTE_EINVAL, MOTE_ENOSPC (the engine's code), MOTE_EPOISONED; none of them holds a seq. */
#include "blockdev/base/errors.h"
#include "wal/wal_private.h"

/* Sequentially consistent, here and in rotate_stage: a writer counts itself into a user and then looks whether that is still the active one, while whoever recycles a user has replaced it and then looks at the count. One of the two must see
 * the other, which acquire and release do not promise (a processor may load before an older store of its own is seen). */
void *wal_active_user(const struct wal *wal)
{
    return atomic_load(&wal->current_user);
}

uint32_t wal_payload_bytes_max(const struct wal *wal)
{
    return wal->payload_bytes_max;
}

bool wal_stage_is_published(const struct wal_stage *stage)
{
    return atomic_load(&stage->published_bytes) == stage->payload_bytes;
}

/* ---- Sealing and opening, under lock ---- */

void wal_stage_seal(struct wal *wal)
{
    assert(wal->open);
    const uint64_t ordinal = atomic_load_explicit(&wal->sealed_ordinal, memory_order_relaxed);
    struct wal_stage *stage = wal_stage_of(wal, ordinal);
    uint64_t word = atomic_fetch_or(&stage->word, WAL_WORD_SEALED);
    assert(!(word & WAL_WORD_SEALED));
    wal->open = false;
    if (wal_word_bytes(word) == 0)
        return;
    stage->payload_bytes = wal_word_bytes(word);
    stage->count = wal_word_count(word);
    stage->frame_bytes = (uint32_t)round_up(WAL_FRAME_HEADER_BYTES + stage->payload_bytes, wal->options.frame_align_bytes);
    stage->pad_submitted = false;
    stage->sealed_ns = wal_now_ns();
    bool placed = wal_space_place(wal, &wal->tail, stage->frame_bytes, &stage->placement);
    assert(placed); /* Set aside when the stage opened. */
    (void)placed;
    wal->next_seq += stage->count;
    wal->rows_end_lsn = wal->tail.lsn;
    atomic_store_explicit(&wal->tail_lsn, wal->tail.lsn, memory_order_release);
    atomic_store(&wal->sealed_ordinal, ordinal + 1);
}

/* Tells the committer to ask the engine for ranges when little is left, once until something changes. */
static void ask_when_low(struct wal *wal)
{
    uint64_t free_bytes = wal_space_mapped_end(wal) - wal->reserved_end_lsn;
    if (free_bytes < wal->options.low_space_bytes && !wal->space_asked) {
        wal->space_asked = true;
        atomic_store(&wal->space_wanted, 1);
    }
}

/* Whether somebody still reads the old payload of the stage that is to open; held_up says so until this is asked again. Who lets go of it last looks at held_up after the count, we look at the count after held_up: one of the
 * two sees the other. */
static bool is_held_up(struct wal *wal, const struct wal_stage *stage)
{
    if (atomic_load(&stage->holders) != 0) {
        atomic_store(&wal->held_up, 1);
        if (atomic_load(&stage->holders) != 0)
            return true;
    }
    atomic_store(&wal->held_up, 0);
    return false;
}

bool wal_stage_try_open(struct wal *wal)
{
    const uint64_t ordinal = atomic_load_explicit(&wal->sealed_ordinal, memory_order_relaxed);
    if (wal->open)
        return true;
    if (!wal->started || atomic_load(&wal->closing) || ordinal == wal->durable_ordinal + wal->options.stage_count)
        return false;
    struct wal_stage *stage = wal_stage_of(wal, ordinal);
    if (is_held_up(wal, stage) || !wal_space_set_aside(wal))
        return false;
    ask_when_low(wal);
    uint64_t word = atomic_load_explicit(&stage->word, memory_order_relaxed);
    assert(word & WAL_WORD_SEALED);
    uint64_t generation = (word >> WAL_WORD_GENERATION_SHIFT) & WAL_WORD_GENERATION_MASK;
    atomic_store_explicit(&stage->user, atomic_load_explicit(&wal->current_user, memory_order_relaxed), memory_order_relaxed);
    atomic_store_explicit(&stage->first_seq, wal->next_seq, memory_order_relaxed);
    atomic_store_explicit(&stage->ordinal, ordinal, memory_order_release);
    atomic_store_explicit(&stage->published_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&stage->urgent, 0, memory_order_relaxed);
    atomic_store_explicit(&stage->delay_ms, UINT32_MAX, memory_order_relaxed);
    atomic_store_explicit(&stage->deadline_ns, INT64_MAX, memory_order_relaxed);
    wal->open = true;
    atomic_store_explicit(&stage->word, ((generation + 1) & WAL_WORD_GENERATION_MASK) << WAL_WORD_GENERATION_SHIFT, memory_order_release);
    atomic_store(&wal->active_index, (uint32_t)(ordinal % wal->options.stage_count));
    return true;
}

void wal_stage_settle(struct wal *wal)
{
    const uint64_t sealed = atomic_load_explicit(&wal->sealed_ordinal, memory_order_relaxed);
    if (wal->settled_ordinal < wal->durable_ordinal)
        wal->settled_ordinal = wal->durable_ordinal;
    while (wal->settled_ordinal < sealed && wal_stage_is_published(wal_stage_of(wal, wal->settled_ordinal)))
        wal->settled_ordinal++;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < wal->cut_count; i++) {
        struct wal_pending_cut pending = wal->cuts[i];
        if (pending.ordinal > wal->settled_ordinal) {
            wal->cuts[kept++] = pending;
            continue;
        }
        /* The lsn last: from then on the cut may be gone. */
        atomic_store_explicit(&pending.cut->settled, 1, memory_order_release);
        atomic_store_explicit(&pending.cut->lsn, pending.lsn, memory_order_release);
    }
    wal->cut_count = kept;
    atomic_store(&wal->cuts_pending, kept);
}

/* ---- Reservation ---- */

/* One try in the active stage. MOTE_OK: reserved; WAL_RETRY: another user; MOTE_EBUSY: sealed or too full. */
static int reserve_in_active(struct wal *wal, uint32_t size_bytes, uint32_t count, const void *expected_user, struct wal_slot *slot)
{
    uint32_t index = atomic_load_explicit(&wal->active_index, memory_order_acquire);
    struct wal_stage *stage = &wal->stages[index];
    uint64_t word = atomic_load_explicit(&stage->word, memory_order_acquire);
    void *user;
    do {
        if (word & WAL_WORD_SEALED)
            return MOTE_EBUSY;
        user = atomic_load_explicit(&stage->user, memory_order_relaxed);
        if (user != expected_user)
            return WAL_RETRY;
        if (wal_word_bytes(word) + size_bytes > wal->payload_bytes_max || wal_word_count(word) + count > WAL_WORD_COUNT_MASK)
            return MOTE_EBUSY;
    } while (!atomic_compare_exchange_weak_explicit(&stage->word, &word, word + size_bytes + ((uint64_t)count << WAL_WORD_COUNT_SHIFT),
                                                    memory_order_acq_rel, memory_order_acquire));
    slot->payload = stage->buffer + WAL_FRAME_HEADER_BYTES + wal_word_bytes(word);
    slot->first_seq = atomic_load_explicit(&stage->first_seq, memory_order_relaxed) + wal_word_count(word);
    slot->user = user;
    slot->size_bytes = size_bytes;
    slot->stage = index;
    slot->own = false;
    return MOTE_OK;
}

/* Under lock: makes sure that a reservation has a chance: seals a stage that is too full for it and opens the next. MOTE_OK: try again; MOTE_EBUSY: wait; else the reason why not. */
static int make_room(struct wal *wal, uint32_t size_bytes, uint32_t count, uint64_t *asked_epoch)
{
    if (atomic_load(&wal->poison_code))
        return MOTE_EPOISONED;
    if (atomic_load(&wal->closing) || !wal->started)
        return MOTE_EINVAL;
    if (wal->open) {
        const struct wal_stage *stage = wal_stage_of(wal, atomic_load(&wal->sealed_ordinal));
        uint64_t word = atomic_load(&stage->word);
        if (wal_word_bytes(word) + size_bytes <= wal->payload_bytes_max && wal_word_count(word) + count <= WAL_WORD_COUNT_MASK)
            return MOTE_OK;
        wal_stage_seal(wal);
    }
    if (wal_stage_try_open(wal))
        return MOTE_OK;
    if (atomic_load(&wal->sealed_ordinal) == wal->durable_ordinal + wal->options.stage_count || atomic_load(&wal->held_up))
        return MOTE_EBUSY; /* Every stage is on its way to the device, or the next one is still being read. */
    if (wal->space_error)
        return wal->space_error;
    if (*asked_epoch != wal->space_epoch) {
        *asked_epoch = wal->space_epoch;
        wal->space_asked = true;
        atomic_store(&wal->space_wanted, 1);
    }
    return MOTE_EBUSY;
}

static int refuse_reservation(const struct wal *wal, int code)
{
    if (code == MOTE_EPOISONED)
        error_set(code, "an earlier write or barrier of the log failed; reopen the volume");
    else if (code == MOTE_EINVAL)
        error_set(code, "the log takes no rows before it is started or after it is closed");
    else
        error_set(code, "the log is full and the engine could not map more of the device to it; free space or checkpoint");
    error_add_device(blockdev_path(wal->options.device), 0, 0);
    return code;
}

/* Inline: nobody else may be at work, so the writer that waits does the committer's work itself. */
static void wait_for_room(struct wal *wal, uint32_t seen, uint64_t *asked_epoch)
{
    int64_t limit_ns = INT64_MAX;
    if (wal->options.inline_io) {
        limit_ns = wal_now_ns() + NS_PER_MS;
        if (wal_role_take(wal)) {
            bool worked = wal_commit_work(wal);
            bool inflight = wal_flight_count(wal) > 0;
            /* What completes is published by the next turn; here it is enough that something moved. */
            if (!worked && inflight) {
                wal_commit_sleep(wal, limit_ns);
                wal_commit_work(wal);
            }
            wal_role_release(wal);
            if (worked || inflight)
                return;
            /* Nothing on its way: only the engine can make room. It is asked again each time. */
            *asked_epoch = UINT64_MAX;
        }
    }
    wal_signal_wait(wal, seen, limit_ns, WAL_ROOM_MASK);
}

/* The stage is sealed or too full. Returns when there may be room, or with the reason why there will be none. */
static int reserve_slowly(struct wal *wal, uint32_t size_bytes, uint32_t count)
{
    int64_t stalled_ns = 0;
    uint64_t asked_epoch = UINT64_MAX;
    int code;
    for (;;) {
        uint32_t seen = atomic_load(&wal->signal);
        pthread_mutex_lock(&wal->lock);
        uint64_t sealed = atomic_load(&wal->sealed_ordinal);
        code = make_room(wal, size_bytes, count, &asked_epoch);
        bool wake = sealed != atomic_load(&wal->sealed_ordinal) || atomic_load(&wal->space_wanted);
        pthread_mutex_unlock(&wal->lock);
        if (wake)
            wal_wake_committer(wal);
        if (code != MOTE_EBUSY)
            break;
        if (stalled_ns == 0) {
            stalled_ns = wal_now_ns();
            atomic_fetch_add_explicit(&wal->writer_stalls, 1, memory_order_relaxed);
        }
        wait_for_room(wal, seen, &asked_epoch);
    }
    if (stalled_ns)
        atomic_fetch_add_explicit(&wal->writer_stall_ns, (uint64_t)(wal_now_ns() - stalled_ns), memory_order_relaxed);
    return code == MOTE_OK ? MOTE_OK : refuse_reservation(wal, code);
}

int wal_reserve(struct wal *wal, uint32_t size_bytes, uint32_t count, const void *expected_user, struct wal_slot *slot)
{
    if (size_bytes == 0)
        return error_set(MOTE_EINVAL, "a reservation in the log needs at least one byte");
    if (size_bytes > wal->payload_bytes_max || count > WAL_WORD_COUNT_MASK)
        return error_set(MOTE_ETOOBIG, "%u bytes with %u rows exceed the largest log frame of %u bytes and %u rows; split them", size_bytes, count,
                         wal->payload_bytes_max, (unsigned)WAL_WORD_COUNT_MASK);
    for (;;) {
        if (atomic_load_explicit(&wal->poison_code, memory_order_relaxed))
            return refuse_reservation(wal, MOTE_EPOISONED);
        int code = reserve_in_active(wal, size_bytes, count, expected_user, slot);
        if (code != MOTE_EBUSY)
            return code;
        code = reserve_slowly(wal, size_bytes, count);
        if (code != MOTE_OK)
            return code;
    }
}

/* ---- Publication ---- */

/* Notes the shortest delay asked for; true if it changed, so that the committer must look at its clock again. */
static bool note_delay(struct wal_stage *stage, uint32_t delay_ms)
{
    uint32_t delay_min_ms = atomic_load_explicit(&stage->delay_ms, memory_order_relaxed);
    do {
        if (delay_ms >= delay_min_ms)
            return false;
    } while (!atomic_compare_exchange_weak(&stage->delay_ms, &delay_min_ms, delay_ms));
    int64_t deadline_ns = wal_now_ns() + (int64_t)delay_ms * NS_PER_MS;
    int64_t present_ns = atomic_load(&stage->deadline_ns);
    while (deadline_ns < present_ns && !atomic_compare_exchange_weak(&stage->deadline_ns, &present_ns, deadline_ns)) {
    }
    return true;
}

void wal_publish(struct wal *wal, struct wal_slot *slot, enum wal_urgency urgency, uint32_t delay_ms)
{
    struct wal_stage *stage = &wal->stages[slot->stage];
    bool ask = false;
    if (urgency == WAL_URGENCY_OWN && wal_own_publish(wal, slot))
        return;
    if (urgency == WAL_URGENCY_NOW || urgency == WAL_URGENCY_OWN) {
        if (!atomic_load_explicit(&stage->urgent, memory_order_relaxed))
            atomic_store(&stage->urgent, 1);
        ask = true;
    } else if (urgency == WAL_URGENCY_TIMED) {
        ask = note_delay(stage, delay_ms);
    }
    atomic_fetch_add(&stage->published_bytes, slot->size_bytes);
    /* From here on the stage may be recycled; a look at its word is then only a hint too many. */
    if (atomic_load(&wal->asleep) & WAL_ASLEEP_PUBLISH) {
        if (ask || (atomic_load(&stage->word) & WAL_WORD_SEALED))
            wal_wake_committer(wal);
    }
}

void wal_hold(struct wal *wal, const struct wal_slot *slot)
{
    atomic_fetch_add(&wal->stages[slot->stage].holders, 1);
}

void wal_release(struct wal *wal, const struct wal_slot *slot)
{
    if (atomic_fetch_sub(&wal->stages[slot->stage].holders, 1) != 1 || !atomic_load(&wal->held_up))
        return;
    pthread_mutex_lock(&wal->lock);
    wal_stage_try_open(wal);
    pthread_mutex_unlock(&wal->lock);
    wal_signal(wal, WAL_ROOM_MASK);
}

/* ---- Rotation ---- */

/* Under lock, unless the list of cuts is full (false). */
static bool rotate_stage(struct wal *wal, void *user, struct wal_cut *cut)
{
    wal_stage_settle(wal);
    if (wal->cut_count == WAL_CUTS_MAX)
        return false;
    if (wal->open)
        wal_stage_seal(wal);
    atomic_store(&wal->current_user, user);
    cut->seq = wal->next_seq - 1;
    atomic_store_explicit(&cut->settled, 0, memory_order_relaxed);
    atomic_store_explicit(&cut->lsn, UINT64_MAX, memory_order_relaxed);
    wal->cuts[wal->cut_count++] = (struct wal_pending_cut){cut, atomic_load(&wal->sealed_ordinal), wal->rows_end_lsn};
    wal_stage_try_open(wal);
    wal_stage_settle(wal);
    return true;
}

int wal_rotate(struct wal *wal, void *user, struct wal_cut *cut)
{
    for (;;) {
        if (atomic_load(&wal->poison_code))
            return refuse_reservation(wal, MOTE_EPOISONED);
        pthread_mutex_lock(&wal->lock);
        if (!wal->started || atomic_load(&wal->closing)) {
            pthread_mutex_unlock(&wal->lock);
            return refuse_reservation(wal, MOTE_EINVAL);
        }
        bool rotated = rotate_stage(wal, user, cut);
        pthread_mutex_unlock(&wal->lock);
        wal_wake_committer(wal);
        if (rotated)
            return MOTE_OK;
        /* Dozens of cuts wait for a writer that was preempted between reserve and publish: its time will come. */
        sched_yield();
    }
}
