/* blockdev_thread_test.c: what a thread asks of the scheduler, as the kernel then reports it. Where the kernel knows no slices of ordinary threads (before Linux 6.12) the slice is not looked at, and the test says so. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blockdev/base/thread.h"

enum { NICE = 3 };

/* As the kernel has it: size, policy, flags, nice, priority, runtime, deadline, period. */
struct reported {
    uint32_t size_bytes, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

static void report(struct reported *reported) { cr_assert_eq(syscall(SYS_sched_getattr, 0, reported, sizeof *reported, 0), 0); }

static void *ask(void *argument)
{
    struct reported before = {0}, after = {0};
    int policy = *(int *)argument;
    char name[16] = "";
    cr_assert_eq(setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE), 0);
    cr_assert_eq(sched_setscheduler(0, policy, &(struct sched_param){0}), 0);
    report(&before);
    thread_name("mote-test");
    thread_prefer_latency();
    thread_step_aside();
    report(&after);
    prctl(PR_GET_NAME, name);
    cr_expect_str_eq(name, "mote-test");
    cr_expect_eq(after.nice, NICE, "the nice value is %d, it was %d", after.nice, NICE);
    cr_expect_eq(after.policy, (uint32_t)policy);
    if (before.runtime_ns == 0)
        printf("skipped: this kernel reports no slice of an ordinary thread\n");
    else
        cr_expect_eq(after.runtime_ns, policy == SCHED_OTHER ? 100000 : before.runtime_ns, "the slice is %llu ns, it was %llu", (unsigned long long)after.runtime_ns, (unsigned long long)before.runtime_ns);
    return NULL;
}

Test(blockdev_thread, prefer_latency_shortens_the_slice_alone)
{
    int policies[] = {SCHED_OTHER, SCHED_BATCH};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, ask, &policies[i]), 0);
        pthread_join(thread, NULL);
    }
}
