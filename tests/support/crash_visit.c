/* crash_visit.c: see crash_visit.h. */
#include "tests/support/crash_visit.h"

#include <inttypes.h>
#include <stdio.h>

#include "tests/support/engine_fixture.h"

enum { EACH_MAX = 3, TORN_SEEDS = 2, FAILURES_MAX = 3 };

static void check_image(const struct crash_check *check, uint64_t event, enum sim_crash_policy policy, uint32_t index, uint64_t torn_seed)
{
    struct test_worker *worker = check->worker;
    struct blockdev *image;
    struct sim_options options = {.reorder = true, .seed = event + torn_seed};
    snprintf(worker->at, sizeof worker->at, "%s, event %" PRIu64 ", policy %d, index %u, torn %" PRIu64, check->what, event, (int)policy, index, torn_seed);
    worker->progress++;
    worker->counts[0]++;
    must(sim_create_from_crash(check->device, event, policy, index, torn_seed, &options, &image));
    if (!check->check(check->context, image)) {
        struct mote_error error;
        mote_last_error(&error);
        printf("FAILED %s\n  %s\n", worker->at, error.message);
        fflush(stdout);
        worker->failures++;
    }
    blockdev_close(image);
}

void crash_check_event(const struct crash_check *check, uint64_t event)
{
    uint32_t unflushed = sim_unflushed_count(check->device, event), each = unflushed < EACH_MAX ? unflushed : EACH_MAX;
    uint64_t random = check->seed * 77 + event + 1;
    check_image(check, event, SIM_CRASH_NONE, 0, 0);
    if (unflushed == 0)
        return;
    check_image(check, event, SIM_CRASH_ALL, 0, 0);
    for (uint32_t i = 0; i < each; i++) {
        uint32_t index = (uint32_t)(fixture_random(&random) % unflushed);
        check_image(check, event, SIM_CRASH_LOSE_ONE, index, 0);
        check_image(check, event, SIM_CRASH_KEEP_ONE, index, 0);
    }
    for (uint64_t i = 0; i < TORN_SEEDS; i++)
        check_image(check, event, SIM_CRASH_TORN, 0, fixture_random(&random));
}

void crash_visit_all(struct blockdev *device, uint64_t mark_kind, const uint64_t *failures, void (*visit)(void *context, uint64_t event, enum sim_crash_policy policy, uint32_t index), void *context)
{
    static const enum sim_crash_policy policies[] = {SIM_CRASH_ALL, SIM_CRASH_LOSE_ONE, SIM_CRASH_KEEP_ONE, SIM_CRASH_TORN}; /* NONE comes first */
    uint64_t events = sim_event_count(device), first = 0;
    while (first < events && sim_mark_at(device, first, mark_kind) == 0)
        first++;
    for (uint64_t event = first; event < events && *failures < FAILURES_MAX; event++) {
        bool barrier;
        if (!sim_event_is_cut(device, event, &barrier))
            continue;
        uint32_t unflushed = sim_unflushed_count(device, event);
        visit(context, event, SIM_CRASH_NONE, 0);
        for (size_t i = 0; i < sizeof policies / sizeof policies[0] && unflushed > 0; i++) {
            bool one = policies[i] == SIM_CRASH_LOSE_ONE || policies[i] == SIM_CRASH_KEEP_ONE;
            visit(context, event, policies[i], one ? (uint32_t)(event % unflushed) : 0);
        }
    }
}
