/* commit.c: the committer's loop: what it does when there is something to do, and how long it sleeps when there is not.
 *
 * One pass: publish, seal what is urgent, submit, flush, mark or end, ask for space; completions are reaped before it, by sleeping or polling. It seals by itself only when nothing sealed is waiting already and the window has room:
 * under FUA and NONE so that commits are pipelined up to the window, under FLUSH only while no flush is in flight, because a frame sealed earlier would wait for the next flush
 * all the same, and rows that come meanwhile would miss it. Stages that writers filled are submitted at once in any case.
 *
 * Sleeping: `asleep` tells wakers how (futex when nothing is in flight, else in the queue's reap) and whether a publication is worth a wake at all: not when the window is full,
 * where only a completion helps. A writer that was preempted between reserve and publish holds up its stage, not the committer: that spins for a moment, then sleeps, and the
 * publication, which finds the stage sealed, wakes it. */
#include "blockdev/base/errors.h"
#include "blockdev/base/thread.h"
#include "wal/wal_private.h"

enum { PUBLISH_SPINS = 200, REAP_MAX = 64 };

static bool has_failed(const struct wal *wal)
{
    return atomic_load(&wal->poison_code) != 0;
}

/* When the active stage is to be sealed: now (0), at a time, or not at all (INT64_MAX), the window apart. */
static int64_t seal_time_ns(const struct wal *wal)
{
    const struct wal_stage *stage = &wal->stages[atomic_load(&wal->active_index)];
    uint64_t word = atomic_load(&stage->word);
    if ((word & WAL_WORD_SEALED) || wal_word_bytes(word) == 0)
        return INT64_MAX;
    return atomic_load(&stage->urgent) ? 0 : atomic_load(&stage->deadline_ns);
}

/* Whether the window lets a stage be sealed for its urgency. */
static bool may_seal(const struct wal *wal)
{
    return wal->submit_ordinal == atomic_load(&wal->sealed_ordinal) && wal_flight_count(wal) < wal->options.inflight_max && !wal->flush_inflight;
}

bool wal_commit_seal(struct wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    uint64_t ordinal = atomic_load(&wal->sealed_ordinal);
    if (wal->open)
        wal_stage_seal(wal);
    wal_stage_try_open(wal);
    bool sealed = ordinal != atomic_load(&wal->sealed_ordinal);
    pthread_mutex_unlock(&wal->lock);
    return sealed;
}

static bool seal_urgent(struct wal *wal)
{
    if (!may_seal(wal))
        return false;
    int64_t time_ns = seal_time_ns(wal);
    if (time_ns == INT64_MAX || (time_ns > 0 && time_ns > wal_now_ns()))
        return false;
    return wal_commit_seal(wal);
}

void wal_commit_spin(const struct wal *wal)
{
    if (wal->submit_ordinal == atomic_load(&wal->sealed_ordinal))
        return;
    const struct wal_stage *stage = wal_stage_of(wal, wal->submit_ordinal);
    for (int i = 0; i < PUBLISH_SPINS && !wal_stage_is_published(stage); i++)
        thread_pause();
}

static bool settle_cuts(struct wal *wal)
{
    uint32_t pending = atomic_load(&wal->cuts_pending);
    if (pending == 0)
        return false;
    pthread_mutex_lock(&wal->lock);
    wal_stage_settle(wal);
    pthread_mutex_unlock(&wal->lock);
    return atomic_load(&wal->cuts_pending) < pending;
}

/* A mark, or the end frame, may be written. */
bool wal_commit_is_quiet(const struct wal *wal)
{
    return wal_flight_count(wal) == 0 && !wal->flush_inflight && wal->submit_ordinal == atomic_load(&wal->sealed_ordinal);
}

static int64_t mark_time_ns(const struct wal *wal)
{
    if (!wal->mark_due || wal->options.mark_delay_ms == 0 || !wal_commit_is_quiet(wal) || atomic_load(&wal->closing))
        return INT64_MAX;
    /* Written within the delay, so begun a little before its end. */
    return wal->last_durable_ns + (int64_t)wal->options.mark_delay_ms * NS_PER_MS * 9 / 10;
}

static bool wants_end(const struct wal *wal)
{
    return atomic_load(&wal->closing) && !wal->end_submitted && wal_commit_is_quiet(wal) && !atomic_load(&wal->close_error);
}

static bool write_mark_or_end(struct wal *wal)
{
    if (wants_end(wal)) {
        wal->end_submitted = wal_flight_mark(wal, WAL_FRAME_END, wal_now_ns());
        if (atomic_load(&wal->close_error))
            wal_signal(wal, UINT32_MAX);
        return true;
    }
    int64_t time_ns = mark_time_ns(wal);
    if (time_ns == INT64_MAX)
        return false;
    int64_t now_ns = wal_now_ns();
    return time_ns <= now_ns && wal_flight_mark(wal, WAL_FRAME_MARK, now_ns);
}

static bool ask_for_space(struct wal *wal)
{
    if (!atomic_load(&wal->space_wanted) || !atomic_exchange(&wal->space_wanted, 0))
        return false;
    if (wal->options.need_space)
        wal->options.need_space(wal->options.context);
    return true;
}

/* Requests that may still complete; a queue that failed completes none. */
static bool has_inflight(const struct wal *wal)
{
    return !wal->queue_failed && blockdev_queue_inflight(wal->queue) > 0;
}

/* A queue that gives no completions any more: what it holds is lost. */
static void fail_queue(struct wal *wal, int code)
{
    wal->queue_failed = true;
    error_set(code, "the device's queue gives no completions of the log any more; reopen the volume");
    error_add_device(blockdev_path(wal->options.device), 0, 0);
    wal_poison_present(wal, code);
}

/* Lets go of the pass while it waits: only the committer reaps this queue. */
static bool reap_completed(struct wal *wal, unsigned wait_count, int64_t timeout_ns)
{
    struct blockdev_request *done[REAP_MAX];
    if (wait_count > 0)
        wal_pass_leave(wal);
    int count = blockdev_reap(wal->queue, wait_count, timeout_ns, done, REAP_MAX);
    if (wait_count > 0)
        wal_pass_enter(wal);
    if (count < 0)
        fail_queue(wal, count);
    else
        wal_flight_complete(wal, done, (unsigned)count);
    return count > 0;
}

bool wal_commit_poll(struct wal *wal)
{
    return has_inflight(wal) && reap_completed(wal, 0, 0);
}

bool wal_commit_work(struct wal *wal)
{
    bool worked = false;
    if (has_failed(wal))
        return false;
    worked |= wal_flight_publish(wal);
    worked |= settle_cuts(wal);
    worked |= seal_urgent(wal);
    wal_commit_spin(wal);
    worked |= wal_flight_submit(wal);
    if (has_failed(wal))
        return true;
    worked |= wal_flight_flush(wal);
    worked |= write_mark_or_end(wal);
    worked |= ask_for_space(wal);
    return worked;
}

/* Whether wal_commit_work would find something, apart from completions. */
static bool has_work(const struct wal *wal)
{
    if (atomic_load(&wal->stop))
        return true;
    if (has_failed(wal))
        return wal->options.inline_io; /* Whoever has the role is to notice; the thread just sleeps until it is stopped. */
    if (wal_flight_can_submit(wal) || wal_flight_wants_flush(wal) || atomic_load(&wal->space_wanted) || wants_end(wal))
        return true;
    if (mark_time_ns(wal) <= wal_now_ns())
        return true;
    return may_seal(wal) && seal_time_ns(wal) <= wal_now_ns();
}

/* Whether a publication, or a new urgency, may be something for the committer to do. */
static bool heeds_publications(const struct wal *wal)
{
    return may_seal(wal) || wal->submit_ordinal != atomic_load(&wal->sealed_ordinal) || atomic_load(&wal->cuts_pending) > 0;
}

/* When there will be something to do, if nothing happens before. */
static int64_t next_time_ns(const struct wal *wal)
{
    if (has_failed(wal))
        return INT64_MAX;
    int64_t mark_ns = mark_time_ns(wal);
    int64_t seal_ns = may_seal(wal) ? seal_time_ns(wal) : INT64_MAX;
    return mark_ns < seal_ns ? mark_ns : seal_ns;
}

void wal_commit_sleep(struct wal *wal, int64_t limit_ns)
{
    const bool inflight = has_inflight(wal);
    const uint32_t asleep = (inflight ? WAL_ASLEEP_REAP : WAL_ASLEEP_FUTEX) | (heeds_publications(wal) ? WAL_ASLEEP_PUBLISH : 0);
    atomic_store(&wal->asleep, asleep);
    if (has_work(wal)) {
        atomic_store(&wal->asleep, 0);
        wal_commit_poll(wal);
        return;
    }
    int64_t next_ns = next_time_ns(wal);
    limit_ns = next_ns < limit_ns ? next_ns : limit_ns;
    /* A writer's own commit is under way: its mark is due no sooner than this. Without it the end of each such commit would have to wake the thread for the sake of its clock. */
    if (atomic_load(&wal->own_taken) && wal->mark_due && wal->options.mark_delay_ms > 0) {
        next_ns = wal_now_ns() + (int64_t)wal->options.mark_delay_ms * NS_PER_MS * 9 / 10;
        limit_ns = next_ns < limit_ns ? next_ns : limit_ns;
    }
    wal->sleep_limit_ns = limit_ns;
    if (inflight) {
        int64_t left_ns = limit_ns == INT64_MAX ? -1 : limit_ns - wal_now_ns();
        if (limit_ns == INT64_MAX || left_ns > 0)
            reap_completed(wal, 1, left_ns);
    } else {
        wal_pass_leave(wal);
        wal_futex_wait(&wal->asleep, asleep, limit_ns, UINT32_MAX);
        wal_pass_enter(wal);
    }
    atomic_store(&wal->asleep, 0);
}

void wal_commit_hand_over(struct wal *wal)
{
    uint32_t asleep = atomic_load(&wal->asleep);
    /* A thread that is awake takes the pass next, and looks at everything. */
    while (asleep && !(asleep & WAL_ASLEEP_PUBLISH) && heeds_publications(wal))
        if (atomic_compare_exchange_weak(&wal->asleep, &asleep, asleep | WAL_ASLEEP_PUBLISH))
            asleep |= WAL_ASLEEP_PUBLISH;
    if (asleep && (has_work(wal) || next_time_ns(wal) < wal->sleep_limit_ns))
        wal_wake_committer(wal);
}

void wal_commit_drain(struct wal *wal)
{
    while (has_inflight(wal))
        reap_completed(wal, 1, -1);
}
