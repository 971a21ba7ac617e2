/* producer_push_test.c: what a push may not do: a system call, an allocation. Both are watched by means that answer to nothing the engine does:
 *
 *   system calls   a seccomp filter of the pushing thread alone kills the process at its first system call of any kind. The thread pushes, with the ring full and not full, then notes that it came so far in shared memory, then makes one system call on
 *                  purpose. The test passes only if the note is there and the process was killed by SIGSYS: a filter that is not in force lets the process end otherwise, a push that calls the kernel leaves no note.
 *   allocations    the program's own malloc, calloc, realloc, free (sanitizer builds: the sanitizer's hooks) count calls of the thread while it pushes. The count must be 0, and after one deliberate malloc and free it must be 2.
 *
 * Also here: page faults of the pushing thread, by its resource usage: none in a ring that was opened before. Under ThreadSanitizer the first test says that it skipped: the sanitizer's run-time library waits on futexes of its own inside any memory
 * access, as soon as other threads want the processor. A plain program. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "tests/support/producer_rows.h"

enum { PUSHES = 200000 };

/* ---- Counting allocations ---- */

static _Thread_local volatile uint64_t allocation_calls;
static _Thread_local volatile bool counting;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZED 1
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifdef SANITIZED
/* Of the sanitizers' run-time library; not every compiler brings its header. */
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *at, size_t size_bytes), void (*on_free)(const volatile void *at));
static void on_malloc(const volatile void *at, size_t size_bytes)
{
    (void)at;
    (void)size_bytes;
    if (counting)
        allocation_calls++;
}
static void on_free(const volatile void *at)
{
    (void)at;
    if (counting)
        allocation_calls++;
}
static void watch_allocations(void) { require(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0); }
#else
/* The C library's own, under the names that it keeps for this. */
void *__libc_malloc(size_t size_bytes);
void *__libc_calloc(size_t count, size_t size_bytes);
void *__libc_realloc(void *old, size_t size_bytes);
void __libc_free(void *old);
__attribute__((visibility("default"))) void *malloc(size_t size_bytes)
{
    if (counting)
        allocation_calls++;
    return __libc_malloc(size_bytes);
}
__attribute__((visibility("default"))) void *calloc(size_t count, size_t size_bytes)
{
    if (counting)
        allocation_calls++;
    return __libc_calloc(count, size_bytes);
}
__attribute__((visibility("default"))) void *realloc(void *old, size_t size_bytes)
{
    if (counting)
        allocation_calls++;
    return __libc_realloc(old, size_bytes);
}
__attribute__((visibility("default"))) void free(void *old)
{
    if (counting)
        allocation_calls++;
    __libc_free(old);
}
static void watch_allocations(void) {}
#endif

/* ---- The pushes: every way through the call ---- */

struct pushed {
    uint64_t taken, dropped, refused, other;
};

static void push_all(mote_producer *dropping, mote_producer *refusing, struct pushed *pushed)
{
    for (int64_t i = 0; i < PUSHES; i++) {
        struct sample sample = sample_make(0, i);
        int results[] = {mote_producer_push(dropping, &sample), mote_producer_push(refusing, &sample), mote_producer_push(NULL, &sample)};
        for (int r = 0; r < 3; r++) {
            pushed->taken += results[r] == MOTE_OK;
            pushed->dropped += results[r] == MOTE_DROPPED;
            pushed->refused += results[r] == MOTE_EAGAIN;
            pushed->other += results[r] == MOTE_EINVAL;
        }
    }
}

struct volume {
    struct fixture fixture;
    mote_table *table;
    mote_producer *dropping, *refusing;
};

static void open_volume(struct volume *volume)
{
    struct mote_producer_options options = samples_options(128, MOTE_PRODUCER_DROP, 0);
    fixture_open(&volume->fixture);
    volume->table = samples_create(volume->fixture.db, "t");
    must(mote_producer_open(volume->table, &options, &volume->dropping));
    options.policy = MOTE_PRODUCER_REFUSE;
    must(mote_producer_open(volume->table, &options, &volume->refusing));
}

/* ---- System calls ---- */

struct note {
    _Atomic uint32_t pushed_all;
    struct pushed pushed;
};

#ifndef THREAD_SANITIZED
/* Every system call of this thread from now on kills the process. */
static void forbid_system_calls(void)
{
    struct sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
    struct sock_fprog filter = {1, program};
    require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    require(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0);
}

struct watched {
    struct volume *volume;
    struct note *note;
};

static void *push_watched(void *argument)
{
    struct watched *watched = argument;
    struct note *note = watched->note;
    forbid_system_calls();
    push_all(watched->volume->dropping, watched->volume->refusing, &note->pushed);
    atomic_store(&note->pushed_all, 1);
    syscall(SYS_getppid); /* must be the end */
    atomic_store(&note->pushed_all, 2);
    return NULL;
}
#endif

static int test_push_makes_no_system_call(void)
{
#ifdef THREAD_SANITIZED
    printf("skipped: ThreadSanitizer's run-time library makes system calls of its own while a thread pushes\n");
    return 0;
#else
    int status;
    static struct volume volume;
    fixture_image(&volume.fixture, 128 * MIB_BYTES);
    struct note *note = mmap(NULL, sizeof *note, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(note != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        struct watched watched = {&volume, note};
        pthread_t thread;
        open_volume(&volume);
        require(pthread_create(&thread, NULL, push_watched, &watched) == 0);
        pthread_join(thread, NULL);
        _exit(0);
    }
    require(waitpid(child, &status, 0) == child);
    printf("seccomp: %llu taken, %llu dropped, %llu refused without a system call; the deliberate one: %s\n", (unsigned long long)note->pushed.taken, (unsigned long long)note->pushed.dropped,
           (unsigned long long)note->pushed.refused, WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? "killed" : "NOT KILLED");
    int failed = atomic_load(&note->pushed_all) != 1 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS;
    failed |= note->pushed.taken == 0 || note->pushed.dropped == 0 || note->pushed.refused == 0 || note->pushed.other != PUSHES;
    munmap(note, sizeof *note);
    fixture_remove(&volume.fixture);
    return failed;
#endif
}

/* ---- Allocations and page faults ---- */

static int test_push_allocates_nothing(void)
{
    struct volume volume;
    struct pushed pushed = {0};
    struct rusage before, after;
    void *volatile deliberate;
    fixture_image(&volume.fixture, 128 * MIB_BYTES);
    watch_allocations();
    open_volume(&volume);
    struct sample warm = sample_make(0, 0);
    mote_producer_push(volume.dropping, &warm); /* the code itself may be paged in */
    mote_producer_push(volume.refusing, &warm);
    require(getrusage(RUSAGE_THREAD, &before) == 0);
    counting = true;
    push_all(volume.dropping, volume.refusing, &pushed);
    counting = false;
    require(getrusage(RUSAGE_THREAD, &after) == 0);
    uint64_t calls = allocation_calls;
    counting = true;
    deliberate = malloc(100);
    free(deliberate);
    counting = false;
    long faults = after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt;
    printf("allocator calls during %llu pushes: %llu; after a deliberate malloc and free: %llu; page faults: %ld\n", (unsigned long long)(pushed.taken + pushed.dropped + pushed.refused), (unsigned long long)calls,
           (unsigned long long)allocation_calls, faults);
    int failed = calls != 0 || allocation_calls != 2 || pushed.taken == 0 || pushed.dropped == 0 || pushed.refused == 0;
#ifndef SANITIZED
    failed |= faults > 8; /* the test's own pages (its stack, its printing); a ring touched late would be dozens */
#endif
    fixture_close(&volume.fixture);
    fixture_open(&volume.fixture);
    failed |= samples_scan(samples_open(volume.fixture.db, "t"), NULL, NULL) != pushed.taken + 2;
    fixture_close(&volume.fixture);
    fixture_remove(&volume.fixture);
    return failed;
}

int main(void)
{
    int failed = 0;
    const struct {
        const char *name;
        int (*run)(void);
    } tests[] = {{"push_makes_no_system_call", test_push_makes_no_system_call}, {"push_allocates_nothing", test_push_allocates_nothing}};
    for (unsigned i = 0; i < 2; i++) {
        int result = tests[i].run();
        printf("%s test_producer_%s\n", result ? "FAILED" : "ok", tests[i].name);
        failed += result != 0;
    }
    printf("%d passed, %d failed\n", 2 - failed, failed);
    return failed != 0;
}
