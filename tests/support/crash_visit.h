/* crash_visit.h: which images a power cut may leave are looked at, one after the other, for crash tests with a recording on a simulated disk.
 *
 * Threads: one. Failures: what the check says; what cannot be set up aborts. */
#ifndef MOTE_TESTS_SUPPORT_CRASH_VISIT_H
#define MOTE_TESTS_SUPPORT_CRASH_VISIT_H

#include "blockdev/sim.h"
#include "tests/support/test_workers.h"

/* For tests with workers: each image is built and checked, and what fails is printed with the way to repeat it. */
struct crash_check {
    struct test_worker *worker; /* its counts[0] are images */
    struct blockdev *device;    /* recorded */
    uint64_t seed;
    char what[256];             /* how the recording is repeated, and what it is */
    bool (*check)(void *context, struct blockdev *image); /* false: with an error of the thread */
    void *context;
};
/* The images after one event: nothing unflushed survives; all of it; all but one write, or only one, for up to three of them; two torn ones. */
void crash_check_event(const struct crash_check *check, uint64_t event);

/* From the first event with a mark of this kind on, after each that changes what may be left: nothing, all, all but one, only one, torn. Ends early where *failures is 3. */
void crash_visit_all(struct blockdev *device, uint64_t mark_kind, const uint64_t *failures, void (*visit)(void *context, uint64_t event, enum sim_crash_policy policy, uint32_t index), void *context);

#endif
