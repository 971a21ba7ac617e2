/* wait.c: asking for a commit, waiting for durability, the inline committer's turns, the poison.
 *
 * A waiter sleeps on the signal word with the bit of the stage that holds its seq, so that a commit wakes those it covers and few others. */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "wal/wal_private.h"

uint64_t wal_durable_seq(const struct wal *wal)
{
    return atomic_load_explicit(&wal->durable_seq, memory_order_acquire);
}

uint64_t wal_durable_lsn(const struct wal *wal)
{
    return atomic_load_explicit(&wal->durable_lsn, memory_order_acquire);
}

void wal_commit(struct wal *wal, uint64_t seq)
{
    if (wal_durable_seq(wal) >= seq)
        return;
    struct wal_stage *stage = &wal->stages[atomic_load(&wal->active_index)];
    uint64_t word = atomic_load(&stage->word);
    /* First seqs only grow: a seq below belongs to a stage that is sealed, and so on its way already. */
    if ((word & WAL_WORD_SEALED) || wal_word_bytes(word) == 0 || seq < atomic_load(&stage->first_seq))
        return;
    if (!atomic_load(&stage->urgent))
        atomic_store(&stage->urgent, 1);
    if (atomic_load(&wal->asleep) & WAL_ASLEEP_PUBLISH)
        wal_wake_committer(wal);
}

/* The signal bit of the stage that holds seq; all bits where that cannot be told. Called after the signal word was loaded and seq was found not durable: so a stage found here becomes durable later
 * than that load, and its signal is not missed. */
static uint32_t signal_mask(const struct wal *wal, uint64_t seq)
{
    const uint64_t active = atomic_load(&wal->sealed_ordinal);
    for (uint64_t back = 0; back < wal->options.stage_count && back <= active; back++) {
        const uint64_t ordinal = active - back;
        const struct wal_stage *stage = wal_stage_of(wal, ordinal);
        if (atomic_load(&stage->ordinal) != ordinal)
            break;
        uint64_t first_seq = atomic_load(&stage->first_seq);
        if (atomic_load(&stage->ordinal) != ordinal)
            break;
        if (seq >= first_seq)
            return 1u << (ordinal % 31);
    }
    return ~WAL_ROOM_MASK;
}

/* As the committer, until seq is durable, the log is poisoned or the time is over. */
static void commit_inline(struct wal *wal, uint64_t seq, int64_t limit_ns)
{
    for (;;) {
        wal_commit_work(wal);
        if (wal_durable_seq(wal) >= seq || atomic_load(&wal->poison_code) || (limit_ns != INT64_MAX && wal_now_ns() >= limit_ns))
            break;
        wal_commit_sleep(wal, limit_ns);
    }
}

static int64_t limit_of(int64_t timeout_ns)
{
    if (timeout_ns == INT64_MAX)
        return INT64_MAX;
    int64_t now_ns = wal_now_ns();
    return timeout_ns > INT64_MAX - 1 - now_ns ? INT64_MAX : now_ns + (timeout_ns > 0 ? timeout_ns : 0);
}

int wal_wait(struct wal *wal, uint64_t seq, int64_t timeout_ns)
{
    if (wal_durable_seq(wal) >= seq)
        return MOTE_OK;
    const int64_t limit_ns = limit_of(timeout_ns);
    for (;;) {
        uint32_t seen = atomic_load(&wal->signal);
        /* Each time: a seq that was not given out at the first call may be in an active stage now. */
        wal_commit(wal, seq);
        if (wal_durable_seq(wal) >= seq)
            return MOTE_OK;
        if (atomic_load(&wal->poison_code))
            return wal_poison_report(wal);
        if (limit_ns != INT64_MAX && wal_now_ns() >= limit_ns)
            return MOTE_ETIMEOUT;
        if (wal_role_take(wal)) {
            commit_inline(wal, seq, limit_ns);
            wal_role_release(wal);
            continue;
        }
        wal_signal_wait(wal, seen, limit_ns, wal->options.inline_io ? UINT32_MAX : signal_mask(wal, seq));
    }
}

void wal_pump(struct wal *wal)
{
    if (!wal->started || !wal_role_take(wal))
        return;
    bool polled, worked;
    do {
        polled = wal_commit_poll(wal);
        worked = wal_commit_work(wal);
    } while (polled || worked);
    wal_role_release(wal);
}

/* ---- Poison ---- */

void wal_poison_present(struct wal *wal, int code)
{
    assert(code < 0);
    pthread_mutex_lock(&wal->lock);
    bool first = atomic_load(&wal->poison_code) == 0;
    if (first) {
        error_get(&wal->poison_error);
        atomic_store(&wal->poison_code, code);
    }
    pthread_mutex_unlock(&wal->lock);
    if (!first)
        return;
    wal_signal(wal, UINT32_MAX);
    int eventfd = atomic_load(&wal->eventfd);
    if (eventfd >= 0)
        wal_write_eventfd(eventfd);
    wal_wake_committer(wal);
}

void wal_poison(struct wal *wal, int code)
{
    struct mote_error present;
    if (error_get(&present) != code)
        error_set(code, "the engine stopped the log after a failure elsewhere; reopen the volume");
    wal_poison_present(wal, code);
}

int wal_poisoned(const struct wal *wal, struct mote_error *error)
{
    int code = atomic_load(&wal->poison_code);
    if (code && error) {
        /* The sentence is complete before the code is stored, and never changes again. */
        memcpy(error, &wal->poison_error, sizeof *error);
    }
    return code;
}

int wal_poison_report(struct wal *wal)
{
    int code = atomic_load(&wal->poison_code);
    error_restore(&wal->poison_error);
    return code;
}

/* ---- eventfd ---- */

void wal_write_eventfd(int fd)
{
    uint64_t one = 1;
    /* It cannot fail but by a full counter, and then it is readable anyhow. */
    if (write(fd, &one, sizeof one) != (ssize_t)sizeof one)
        return;
}

int wal_eventfd(struct wal *wal)
{
    int present = atomic_load(&wal->eventfd);
    if (present >= 0)
        return present;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return error_set(MOTE_ENOMEM, "cannot make an eventfd; raise the limit of open files");
    if (!atomic_compare_exchange_strong(&wal->eventfd, &present, fd)) {
        close(fd);
        return present;
    }
    return fd;
}
