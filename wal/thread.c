/* thread.c: sleeping and waking: the futex of all waiters, the committer's wake, the committer's role, and the I/O thread "mote-wal".
 *
 * The thread sleeps whenever there is nothing to do and is woken by a system call only if it says that it sleeps. With inline_io there is no thread: whoever waits takes the role by one
 * compare-and-swap, works until its own wish is fulfilled, and gives the role back with a signal to all who sleep, of whom the first takes it on. */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/thread.h"
#include "wal/wal_private.h"

int64_t wal_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

void wal_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t limit_ns, uint32_t mask)
{
    struct timespec limit = {limit_ns / NS_PER_S, limit_ns % NS_PER_S};
    /* The limit is absolute here; a wake too many, a signal or a timeout look alike to the caller, which looks again. */
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, limit_ns == INT64_MAX ? NULL : &limit, NULL, mask);
}

void wal_futex_wake(_Atomic uint32_t *word, uint32_t mask)
{
    syscall(SYS_futex, word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, INT32_MAX, NULL, NULL, mask);
}

void wal_wake_committer(struct wal *wal)
{
    if (atomic_load(&wal->asleep) == 0)
        return;
    uint32_t asleep = atomic_exchange(&wal->asleep, 0);
    if (asleep & WAL_ASLEEP_FUTEX)
        wal_futex_wake(&wal->asleep, UINT32_MAX);
    else if (asleep & WAL_ASLEEP_REAP)
        blockdev_wake(wal->queue);
}

void wal_signal(struct wal *wal, uint32_t mask)
{
    atomic_fetch_add(&wal->signal, 1);
    if (atomic_load(&wal->waiters) > 0)
        wal_futex_wake(&wal->signal, mask);
}

void wal_signal_wait(struct wal *wal, uint32_t seen, int64_t limit_ns, uint32_t mask)
{
    atomic_fetch_add(&wal->waiters, 1);
    wal_futex_wait(&wal->signal, seen, limit_ns, mask);
    atomic_fetch_sub(&wal->waiters, 1);
}

bool wal_role_take(struct wal *wal)
{
    uint32_t none = 0;
    return wal->options.inline_io && atomic_compare_exchange_strong(&wal->role, &none, 1);
}

void wal_role_release(struct wal *wal)
{
    assert(wal->options.inline_io && atomic_load(&wal->role) == 1);
    atomic_store(&wal->role, 0);
    wal_signal(wal, UINT32_MAX);
}

void wal_pass_enter(struct wal *wal)
{
    if (!wal->options.inline_io)
        pthread_mutex_lock(&wal->pass);
}

void wal_pass_leave(struct wal *wal)
{
    if (!wal->options.inline_io)
        pthread_mutex_unlock(&wal->pass);
}

static void *run_committer(void *argument)
{
    struct wal *wal = argument;
    thread_name("mote-wal");
    thread_prefer_latency();
    wal_pass_enter(wal);
    while (!atomic_load(&wal->stop)) {
        wal_commit_work(wal);
        wal_commit_sleep(wal, INT64_MAX);
    }
    wal_commit_drain(wal);
    blockdev_queue_retire(wal->queue);
    wal_pass_leave(wal);
    return NULL;
}

int wal_thread_start(struct wal *wal)
{
    int system_errno = pthread_create(&wal->thread, NULL, run_committer, wal);
    if (system_errno)
        return error_set_errno(MOTE_ENOMEM, system_errno, "cannot start the log's I/O thread; allow more threads or open with inline_io");
    wal->thread_started = true;
    return MOTE_OK;
}

void wal_thread_stop(struct wal *wal)
{
    if (!wal->thread_started)
        return;
    atomic_store(&wal->stop, 1);
    wal_wake_committer(wal);
    pthread_join(wal->thread, NULL);
    wal->thread_started = false;
}
