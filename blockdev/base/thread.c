/* thread.c: see thread.h. */
#include "blockdev/base/thread.h"

#include <sched.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blockdev/base/units.h"

#define SLICE_NS (100 * NS_PER_US)

/* The kernel's struct sched_attr, first version (sched_setattr(2)); the C library of Debian 12 does not declare it. */
struct scheduling {
    uint32_t size_bytes;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* of SCHED_OTHER: the slice */
    uint64_t deadline_ns;
    uint64_t period_ns;
};
_Static_assert(sizeof(struct scheduling) == 48, "the size that the kernel expects of the first version");

void thread_name(const char *name) { prctl(PR_SET_NAME, name); }

void thread_prefer_latency(void)
{
    struct scheduling scheduling = {0};
    if (syscall(SYS_sched_getattr, 0, &scheduling, sizeof scheduling, 0) || scheduling.policy != SCHED_OTHER)
        return;
    scheduling.size_bytes = sizeof scheduling;
    scheduling.runtime_ns = SLICE_NS;
    syscall(SYS_sched_setattr, 0, &scheduling, 0);
}

void thread_step_aside(void) { sched_yield(); }
