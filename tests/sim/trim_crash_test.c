/* trim_crash_test.c: no discard comes before the edit that freed its range is durable.
 *
 * A seeded owner (tests/support/workload.h) works on a small volume while the disk records what it does. Then, for each discard of the recording:
 *   sound    the power is cut in the moment before it, with nothing, all or a torn part of the cache left, and its range is lost already: everything that was acknowledged is there
 *   planted  the same in the moments before that, one after the other: as if the engine had discarded too early. Up to the edit that freed the range somebody needs it, and the recovery from such an image must be found
 *            to lack rows, or to fail. A test that finds this nowhere could not tell an early discard from a good one, and fails.
 *
 *     trim_crash_test [--first N] [--seeds N]    MOTE_TEST_SCALE, MOTE_TEST_JOBS as usual */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/sim.h"
#include "engine/engine.h"
#include "tests/support/test_workers.h"
#include "tests/support/virtual_clock.h"
#include "tests/support/workload.h"

#define SEEDS_DEFAULT 12u
#define DISCARDS_MAX 40u /* of a recording, spread over it */
#define BACK_MAX 120u    /* events before a discard that are tried for its planted fault, every third */

enum { COUNT_DISCARDS, COUNT_SOUND, COUNT_PLANTED, COUNT_FOUND };

struct range {
    uint64_t event, offset_bytes, length_bytes;
};

struct explorer {
    struct test_worker *worker;
    uint64_t seed;
    struct run run; /* recorded */
    struct oracle oracle;
};

static int fail(struct explorer *explorer, uint64_t event, const char *when, const char *why)
{
    printf("FAILED seed %" PRIu64 ", discard at event %" PRIu64 ", %s: %s\n", explorer->seed, event, when, why);
    fflush(stdout);
    explorer->worker->failures++;
    return -1;
}

/* ---- One image ---- */

static void lose(struct blockdev *device, const struct range *range)
{
    struct blockdev_queue_options options = {.depth = 1};
    struct blockdev_queue *queue;
    if (blockdev_queue_create(device, &options, &queue) || blockdev_discard_range(queue, range->offset_bytes, range->length_bytes))
        abort();
    blockdev_queue_destroy(queue);
}

/* The recovery from the cut after `event`, with the range lost: whether all is there that was acknowledged by then. why: the sentence of who found that it is not. */
static bool survives(struct explorer *explorer, const struct range *range, uint64_t event, enum sim_crash_policy policy, char why[500])
{
    const struct run *parent = &explorer->run;
    struct blockdev *origin = parent->device, *device;
    struct promise promise = {
        .point = (uint32_t)sim_mark_at(origin, event, MARK_POINT),
        .flushed_seq = sim_mark_at(origin, event, MARK_FLUSHED),
        .head_lsn = sim_mark_at(origin, event, MARK_HEAD),
        .clean = sim_mark_at(origin, event, MARK_CLOSED) > event,
    };
    uint64_t seed = explorer->seed * 1000003 + event;
    struct sim_options options = {.reorder = parent->profile.reorder, .seed = seed};
    struct run run;
    explorer->worker->progress++;
    virtual_clock_reset(seed);
    if (sim_create_from_crash(origin, event, policy, 0, seed, &options, &device))
        abort();
    lose(device, range);
    run_begin(&run, device, &parent->profile, parent->epochs[sim_mark_at(origin, event, MARK_EPOCH)], &promise, seed);
    run.advance_clock = virtual_clock_advance;
    run.oracle.content = explorer->oracle.content; /* its memory goes from image to image */
    int result = run_open(&run);
    snprintf(why, 500, "%.499s", result ? run.oracle.why : "");
    explorer->oracle.content = run.oracle.content;
    memset(&run.oracle.content, 0, sizeof run.oracle.content);
    run_kill(&run);
    run_free(&run);
    blockdev_close(device);
    return result == 0;
}

/* ---- One discard ---- */

static int check_sound(struct explorer *explorer, const struct range *range)
{
    static const enum sim_crash_policy policies[] = {SIM_CRASH_NONE, SIM_CRASH_ALL, SIM_CRASH_TORN};
    char why[500];
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        explorer->worker->counts[COUNT_SOUND]++;
        if (!survives(explorer, range, range->event - 1, policies[i], why))
            return fail(explorer, range->event, "lost before the edit that freed it was durable", why);
    }
    return MOTE_OK;
}

static void plant(struct explorer *explorer, const struct range *range)
{
    char why[500];
    bool found = false;
    for (uint64_t back = 2; back <= BACK_MAX && back < range->event && !found; back += 3)
        found = !survives(explorer, range, range->event - back, SIM_CRASH_NONE, why);
    explorer->worker->counts[COUNT_PLANTED]++;
    explorer->worker->counts[COUNT_FOUND] += found;
}

static void explore(struct explorer *explorer)
{
    struct blockdev *device = explorer->run.device;
    uint64_t count = sim_event_count(device), discards = 0, number = 0;
    struct range range = {0};
    for (uint64_t event = 1; event < count; event++)
        discards += sim_event_is_discard(device, event, &range.offset_bytes, &range.length_bytes);
    uint64_t each = discards / DISCARDS_MAX + 1;
    for (range.event = 1; range.event < count; range.event++) {
        if (!sim_event_is_discard(device, range.event, &range.offset_bytes, &range.length_bytes) || number++ % each != 0)
            continue;
        snprintf(explorer->worker->at, sizeof explorer->worker->at, "trim_crash_test --first %" PRIu64 " --seeds 1, event %" PRIu64, explorer->seed, range.event);
        explorer->worker->counts[COUNT_DISCARDS]++;
        if (check_sound(explorer, &range))
            return;
        plant(explorer, &range);
    }
}

/* ---- One seed ---- */

static int record_run(struct explorer *explorer)
{
    struct run *run = &explorer->run;
    int result = run_open(run);
    if (!result)
        result = run_create_tables(run);
    for (uint32_t i = 0; i < run->profile.step_count && !result; i++) {
        explorer->worker->progress++;
        result = run_step(run);
        /* What frees space comes more often than in an owner's life. */
        if (!result && run->db && i % 12 == 11)
            result = run_checkpoint(run);
    }
    return result;
}

static void work(struct test_worker *worker, uint64_t seed)
{
    struct explorer explorer = {.worker = worker, .seed = seed};
    struct profile profile;
    struct blockdev *fresh, *device;
    uint64_t planted = worker->counts[COUNT_PLANTED], found = worker->counts[COUNT_FOUND];
    profile_choose(&profile, seed);
    struct sim_options options = {.size_bytes = profile.device_bytes, .logical_block_bytes = profile.logical_block_bytes, .seed = seed, .reorder = profile.reorder, .record = true};
    snprintf(worker->at, sizeof worker->at, "trim_crash_test --first %" PRIu64 " --seeds 1", seed);
    virtual_clock_reset(seed);
    if (sim_create(&options, &fresh) || workload_format(fresh, &profile) || sim_create_from_crash(fresh, sim_event_count(fresh), SIM_CRASH_ALL, 0, 0, &options, &device))
        abort();
    struct model *empty = model_create();
    run_begin(&explorer.run, device, &profile, empty, &(struct promise){.clean = true}, seed);
    explorer.run.advance_clock = virtual_clock_advance;
    int result = record_run(&explorer);
    run_kill(&explorer.run);
    if (result)
        fail(&explorer, 0, "before any cut", explorer.run.oracle.why);
    else
        explore(&explorer);
    printf("seed %" PRIu64 ": %" PRIu64 " events, %" PRIu64 " discards looked at, %" PRIu64 " found when planted too early\n", seed, sim_event_count(device), worker->counts[COUNT_PLANTED] - planted,
           worker->counts[COUNT_FOUND] - found);
    fflush(stdout);
    oracle_free(&explorer.oracle);
    run_free(&explorer.run);
    model_destroy(empty);
    blockdev_close(device);
    blockdev_close(fresh);
}

int main(int argument_count, char **arguments)
{
    uint64_t first = 1, seeds = test_scale(SEEDS_DEFAULT), sums[8] = {0};
    test_workers_seeds(argument_count, arguments, &first, &seeds);
    uint64_t failures = test_workers_run(first, seeds, test_workers_default(), 12, work, sums);
    printf("%" PRIu64 " discards, %" PRIu64 " images in the moment before them, %" PRIu64 " planted too early, of which %" PRIu64 " were found\n", sums[COUNT_DISCARDS], sums[COUNT_SOUND], sums[COUNT_PLANTED], sums[COUNT_FOUND]);
    if (sums[COUNT_FOUND] * 4 < sums[COUNT_PLANTED] || sums[COUNT_FOUND] == 0) {
        printf("FAILED discards that come too early go unnoticed\n");
        failures++;
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sums[COUNT_SOUND] - (failures < sums[COUNT_SOUND] ? failures : sums[COUNT_SOUND]), failures);
    return failures != 0 || sums[COUNT_SOUND] == 0;
}
