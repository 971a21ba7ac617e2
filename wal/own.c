/* own.c: a writer that waits for its own rows commits them itself. Two context switches less than by the I/O thread, which stays for everything else: rows that nobody waits for, timed urgency, marks, space, the end.
 *
 * wal_publish with WAL_URGENCY_OWN: if the rows are few, no other writer does the same, nobody has the pass, and nothing is sealed or under way (nor was a moment ago), the writer seals its stage and submits the frame on own_queue, with the barrier. wal_finish reaps that queue,
 * publishes what became durable, and hands over to the thread. In all other cases OWN is NOW, and wal_finish is wal_wait.
 *
 * Invariants
 *   1. A writer leaves wal_finish only when own_queue is empty. io_uring binds requests to the thread that submitted them: what that thread leaves behind would disturb its later system calls, and be cancelled when it ends. So a writer
 *      submits nothing but the frame that it waits for.
 *   2. The frame is the oldest under way, so that it is durable when its barrier completes. Frames that the thread submits meanwhile follow it in LSN order, and become durable behind it.
 *   3. With a FLUSH barrier the frame is linked with its flush, and the thread begins no other until the writer has reaped it.
 *   4. pass is held while anything changes that belongs to the committer, never while anyone sleeps or while the engine inserts its rows.
 *
 * Why the thread misses nothing. It sleeps only after it looked for work under the pass, and its `asleep` was set before it looked. Whatever a writer changes under the pass later, it tells by wal_commit_hand_over before it gives the pass back:
 * that sets the PUBLISH bit where the thread ought to heed publications from now on (a window that was closed when it fell asleep is open again), and then looks itself for work, or for an earlier time than that for which the thread sleeps
 * (a mark, a timed stage whose publication woke nobody). A publication that comes after the bit was set wakes the thread; one that came before is what the look finds. A thread that is awake takes the pass next and sees it all.
 *
 * What it costs others: rows of others that come while a writer is between wal_publish and wal_finish are acknowledged after that writer got round to reaping. It inserts its rows into the memtable meanwhile, so a writer of low
 * priority that is preempted there delays them; wal_options.thread_only is for those whom that matters. */
#include "blockdev/base/errors.h"
#include "wal/wal_private.h"

enum {
    OWN_REAP_MAX = 4,
    OWN_BYTES_MAX = 256 * 1024, /* of more the thread makes the checksum on another core while the writer inserts its rows */
    CROWDED_COMMITS = 32,      /* left to the thread after one that found the log busy */
};

/* own_taken and the pass, if the log is idle. */
static bool take_idle(struct wal *wal)
{
    uint32_t none = 0;
    if (!atomic_compare_exchange_strong(&wal->own_taken, &none, 1))
        return false;
    if (pthread_mutex_trylock(&wal->pass) == 0) {
        if (wal_commit_is_quiet(wal) && !atomic_load(&wal->poison_code) && !atomic_load(&wal->closing))
            return true;
        pthread_mutex_unlock(&wal->pass);
    }
    atomic_store(&wal->own_taken, 0);
    return false;
}

/* Where several commit at once, the thread puts them together into fewer frames: so a writer that finds the log busy lets the next commits, its own and others', be the thread's. The count is only a hint. */
static bool begin_own(struct wal *wal, uint32_t size_bytes)
{
    if (!wal->own_queue || size_bytes > OWN_BYTES_MAX)
        return false;
    uint32_t crowded = atomic_load_explicit(&wal->crowded, memory_order_relaxed);
    if (crowded > 0) {
        atomic_store_explicit(&wal->crowded, crowded - 1, memory_order_relaxed);
        return false;
    }
    if (take_idle(wal))
        return true;
    atomic_store_explicit(&wal->crowded, CROWDED_COMMITS, memory_order_relaxed);
    return false;
}

bool wal_own_publish(struct wal *wal, struct wal_slot *slot)
{
    if (!begin_own(wal, slot->size_bytes))
        return false;
    struct wal_stage *stage = &wal->stages[slot->stage];
    /* Without this writer's bytes its stage cannot have been submitted, so being quiet means that it is the active one, unless it was sealed this moment. */
    atomic_fetch_add(&stage->published_bytes, slot->size_bytes);
    if (wal->submit_ordinal == atomic_load(&wal->sealed_ordinal))
        wal_commit_seal(wal);
    wal_commit_spin(wal);
    /* Where another writer is between reserve and publish in the same stage, its publication finds the stage sealed and wakes the thread. */
    slot->own = wal_flight_submit_own(wal);
    wal_commit_hand_over(wal);
    pthread_mutex_unlock(&wal->pass);
    if (!slot->own)
        atomic_store(&wal->own_taken, 0);
    return true;
}

static void fail_own_queue(struct wal *wal, int code)
{
    error_set(code, "the device's queue gives no completions of the log any more; reopen the volume");
    error_add_device(blockdev_path(wal->options.device), 0, 0);
    wal_poison_present(wal, code);
}

int wal_finish(struct wal *wal, struct wal_slot *slot, uint32_t count)
{
    while (slot->own) {
        struct blockdev_request *done[OWN_REAP_MAX];
        unsigned inflight = blockdev_queue_inflight(wal->own_queue);
        int reaped = inflight ? blockdev_reap(wal->own_queue, inflight, -1, done, OWN_REAP_MAX) : 0;
        pthread_mutex_lock(&wal->pass);
        if (reaped < 0)
            fail_own_queue(wal, reaped);
        else
            wal_flight_complete(wal, done, (unsigned)reaped);
        if (!atomic_load(&wal->poison_code))
            wal_flight_publish(wal);
        wal_commit_hand_over(wal);
        slot->own = reaped >= 0 && blockdev_queue_inflight(wal->own_queue) > 0;
        pthread_mutex_unlock(&wal->pass);
        if (!slot->own)
            atomic_store(&wal->own_taken, 0);
    }
    return wal_wait(wal, slot->first_seq + count - 1, INT64_MAX);
}
