/* test_workers.c: see test_workers.h. Hanging workers are killed by their own process id. */
#include "tests/support/test_workers.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define POLL_US 50000
#define HANG_POLLS 2400 /* two minutes */

struct shared {
    _Atomic uint64_t next, end;
    _Atomic uint64_t failures;
    struct test_worker workers[TEST_WORKERS_MAX];
};

struct child {
    pid_t pid;
    uint64_t progress;
    uint32_t still;
};

void test_workers_seeds(int count, char **arguments, uint64_t *first, uint64_t *seeds)
{
    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(arguments[i], "--first") == 0)
            *first = strtoull(arguments[i + 1], NULL, 10);
        else if (strcmp(arguments[i], "--seeds") == 0)
            *seeds = strtoull(arguments[i + 1], NULL, 10);
    }
}

uint32_t test_workers_default(void)
{
    const char *jobs = getenv("MOTE_TEST_JOBS");
    cpu_set_t set;
    long count = jobs ? atol(jobs) : sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : count > (long)TEST_WORKERS_MAX ? TEST_WORKERS_MAX : (uint32_t)count;
}

uint64_t test_scale(uint64_t count)
{
    const char *scale = getenv("MOTE_TEST_SCALE");
    uint64_t scaled = scale ? count * strtoull(scale, NULL, 10) / 100 : count;
    return scaled ? scaled : 1;
}

static void run_worker(struct shared *shared, uint32_t number, uint64_t failures_max, void (*work)(struct test_worker *worker, uint64_t item))
{
    struct test_worker *worker = &shared->workers[number];
    for (;;) {
        uint64_t item = atomic_fetch_add(&shared->next, 1);
        if (item >= atomic_load(&shared->end) || atomic_load(&shared->failures) >= failures_max)
            break;
        uint64_t before = worker->failures;
        work(worker, item);
        worker->progress++;
        atomic_fetch_add(&shared->failures, worker->failures - before);
    }
    fflush(stdout);
    _exit(0);
}

static void start_child(struct shared *shared, struct child *child, uint32_t number, uint64_t failures_max, void (*work)(struct test_worker *worker, uint64_t item))
{
    fflush(stdout);
    *child = (struct child){.pid = fork(), .progress = shared->workers[number].progress};
    if (child->pid == 0)
        run_worker(shared, number, failures_max, work);
    if (child->pid < 0)
        perror("fork");
}

/* Notes that the worker died; true: it was at work, so another takes its place. */
static bool bury(struct shared *shared, uint32_t number, int status, bool hung)
{
    struct test_worker *worker = &shared->workers[number];
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    printf("FAILED %s: %s\n", worker->at, hung ? "it hangs" : WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "the process ended");
    worker->failures++;
    atomic_fetch_add(&shared->failures, 1);
    return true;
}

/* One look at a child. Returns whether it is still there (or another in its place). */
static bool look_after(struct shared *shared, struct child *child, uint32_t number, uint64_t failures_max, void (*work)(struct test_worker *worker, uint64_t item))
{
    int status;
    bool hung = false;
    uint64_t progress = shared->workers[number].progress;
    child->still = progress == child->progress ? child->still + 1 : 0;
    child->progress = progress;
    if (child->still > HANG_POLLS) {
        hung = true;
        kill(child->pid, SIGKILL);
    }
    if (waitpid(child->pid, &status, hung ? 0 : WNOHANG) != child->pid)
        return true;
    if (!bury(shared, number, status, hung))
        return false;
    start_child(shared, child, number, failures_max, work);
    return child->pid > 0;
}

uint64_t test_workers_run(uint64_t first, uint64_t count, uint32_t workers, uint64_t failures_max, void (*work)(struct test_worker *worker, uint64_t item), uint64_t sums[8])
{
    struct child children[TEST_WORKERS_MAX] = {0};
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    shared->next = first;
    shared->end = first + count;
    for (uint32_t i = 0; i < workers; i++)
        start_child(shared, &children[i], i, failures_max, work);
    for (uint32_t left = workers; left > 0;) {
        usleep(POLL_US);
        for (uint32_t i = 0; i < workers; i++) {
            if (children[i].pid > 0 && !look_after(shared, &children[i], i, failures_max, work)) {
                children[i].pid = 0;
                left--;
            }
        }
    }
    uint64_t failures = 0;
    for (uint32_t i = 0; i < workers; i++) {
        failures += shared->workers[i].failures;
        for (int c = 0; c < 8; c++)
            sums[c] += shared->workers[i].counts[c];
    }
    munmap(shared, sizeof *shared);
    return failures;
}
