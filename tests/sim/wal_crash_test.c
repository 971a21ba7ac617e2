/* wal_crash_test.c: power cuts on the log alone. Random workloads run on the simulated disk; after every event at which a cut makes a difference, every kind of image that the cut could have left is recovered.
 *
 * Oracle: the rows recovered are exactly those of seqs 1..n, with their bytes, for some n that is at least what was acknowledged at that event; the verdict is never DAMAGED. Some images are
 * then given to a second owner (a new incarnation), whose cuts are enumerated too, and some of those to a third.
 *
 * One seed in four runs with the log's thread, and appends of which some are committed by their writer: what such a seed does depends on the scheduler.
 *
 * Arguments: number of seeds (default 100), first seed (default 1; or the environment's MOTE_SEED). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "include/mote.h"
#include "tests/support/wal_rig.h"
#include "wal/wal_format.h"

enum { MARK_ACKNOWLEDGED = 1, MARK_APPENDED = 2, MARK_CLOSED = 3, TORN_SEEDS = 3 };

static uint64_t image_count, event_count, failed_count, passed_count;
static uint64_t seen_clean, seen_torn, seen_dropped, own_count;

struct random {
    uint64_t state;
};

static uint64_t next_random(struct random *random)
{
    uint64_t z = random->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint32_t below(struct random *random, uint32_t limit)
{
    return (uint32_t)(next_random(random) % limit);
}

static void on_durable(void *context, uint64_t durable_seq)
{
    struct wal_rig *rig = context;
    sim_mark(rig->sim, MARK_ACKNOWLEDGED, durable_seq);
}

/* ---- Workload ---- */

static void sleep_past_mark(void)
{
    struct timespec delay = {0, 1100000};
    nanosleep(&delay, NULL);
}

/* Reserves, publishes and, where the writer commits its own rows, finishes. The seqs are noted before anybody can write them. */
static int append(struct wal_rig *rig, struct random *random, uint64_t *last)
{
    uint32_t size_bytes = below(random, 4) ? 16 + below(random, 300) : 16 + below(random, wal_payload_bytes_max(rig->wal) - 16);
    uint32_t count = 1 + below(random, 4);
    enum wal_urgency urgency = (enum wal_urgency)below(random, 4);
    struct wal_slot slot;
    int code = wal_rig_reserve(rig, size_bytes, count, &slot);
    if (code != MOTE_OK)
        return code;
    *last = slot.first_seq + count - 1;
    sim_mark(rig->sim, MARK_APPENDED, *last);
    wal_publish(rig->wal, &slot, urgency, below(random, 2));
    own_count += slot.own;
    return urgency == WAL_URGENCY_OWN ? wal_finish(rig->wal, &slot, count) : MOTE_OK;
}

static void run_step(struct wal_rig *rig, struct random *random, uint64_t *seq)
{
    static char users[4];
    uint32_t choice = below(random, 100);
    if (choice < 70) {
        uint64_t last;
        int code = append(rig, random, &last);
        if (code == MOTE_OK) {
            *seq = last;
        } else if (code != MOTE_ENOSPC) {
            fprintf(stderr, "append: %d\n", code);
            abort();
        }
    } else if (choice < 85) {
        wal_pump(rig->wal);
    } else if (choice < 93) {
        if (*seq && wal_wait(rig->wal, *seq, INT64_MAX) != MOTE_OK)
            abort();
    } else if (choice < 96) {
        sleep_past_mark();
        wal_pump(rig->wal);
    } else {
        struct wal_cut cut;
        if (wal_rotate(rig->wal, &users[below(random, 4)], &cut) != MOTE_OK || cut.seq != wal_next_seq(rig->wal) - 1)
            abort();
    }
}

static void run_workload(struct wal_rig *rig, struct random *random, uint32_t step_count, bool close)
{
    uint64_t seq = 0;
    for (uint32_t i = 0; i < step_count; i++)
        run_step(rig, random, &seq);
    uint64_t end_lsn;
    if (close) {
        if (wal_close(rig->wal, &end_lsn) != MOTE_OK)
            abort();
        sim_mark(rig->sim, MARK_CLOSED, 1);
    }
    struct wal_spy_report report;
    wal_spy_report(rig->spy, &report);
    if (report.violations) {
        fprintf(stderr, "violation: %s\n", report.violation);
        failed_count++;
    }
}

static struct wal_rig_options random_options(struct random *random, uint64_t seed)
{
    static const uint32_t barriers[] = {MOTE_BARRIER_FLUSH, MOTE_BARRIER_FLUSH, MOTE_BARRIER_FUA};
    return (struct wal_rig_options){.barrier = barriers[below(random, 3)],
                                    .inflight_max = 1 + below(random, 4),
                                    .frame_bytes_max = 8192u << below(random, 3),
                                    .frame_align_bytes = below(random, 3) ? 4096 : 512,
                                    .mark_delay_ms = below(random, 3) ? 1 : 0,
                                    .extent_bytes = 65536,
                                    .extent_count = 24,
                                    .extents_first = 1 + below(random, 3),
                                    .low_space_bytes = below(random, 2) ? 40000 : 0,
                                    .seed = seed,
                                    .threaded = below(random, 4) == 0,
                                    .record = true,
                                    .reorder = below(random, 4) != 0,
                                    .on_durable = on_durable};
}

/* ---- Enumeration ---- */

/* What must be found in an image of a rig's device. */
struct expectation {
    uint64_t before_first_seq, before_last_seq; /* the rows of earlier incarnations; 0: none */
    uint64_t before_gap_count;                  /* and the gaps between those, where dropped frames had seqs */
    uint64_t first_seq;                         /* first that this incarnation gives out */
    uint64_t acknowledged_seq, appended_seq;
    bool closed;
};

static bool check_image(struct wal_rig *rig, struct blockdev *image, const struct expectation *expected, struct wal_rig_found *found)
{
    wal_rig_recover(rig, image, false, found);
    image_count++;
    const struct wal_recovery *recovery = &found->recovery;
    if (found->result != MOTE_OK || recovery->verdict == WAL_DAMAGED || found->damage_count || recovery->damage_count)
        return false;
    uint64_t least = expected->acknowledged_seq > expected->before_last_seq ? expected->acknowledged_seq : expected->before_last_seq;
    uint64_t gap_count = expected->before_gap_count;
    if (expected->before_last_seq && found->last_seq > expected->before_last_seq && expected->first_seq != expected->before_last_seq + 1)
        gap_count++;
    uint64_t first_seq = found->last_seq == 0 ? 0 : expected->before_first_seq ? expected->before_first_seq : expected->first_seq;
    seen_clean += recovery->verdict == WAL_CLEAN;
    seen_torn += recovery->verdict == WAL_TORN_TAIL;
    seen_dropped += recovery->next_seq > found->last_seq + 1;
    return found->content_good && found->gap_count == gap_count && found->first_seq == first_seq && found->last_seq >= least && found->last_seq <= expected->appended_seq && (recovery->next_seq > found->last_seq || found->last_seq == 0) &&
           recovery->highest_lsn >= recovery->end_lsn && (!expected->closed || (recovery->verdict == WAL_CLEAN && found->last_seq == expected->appended_seq)) &&
           recovery->durable_lsn_seen <= recovery->end_lsn && recovery->highest_generation <= 7;
}

static void report_failure(const struct wal_rig *rig, uint64_t seed, uint64_t event, int policy, uint32_t index, const struct expectation *expected, const struct wal_rig_found *found)
{
    struct mote_error error = {0};
    mote_last_error(&error);
    fprintf(stderr,
            "FAILED seed %" PRIu64 " event %" PRIu64 " policy %d index %u barrier %u: result %d verdict %d rows %" PRIu64 "..%" PRIu64 " gaps %" PRIu64 " content %d acknowledged %" PRIu64
            " appended %" PRIu64 " before %" PRIu64 " end_lsn %" PRIu64 " next_seq %" PRIu64 " damaged %" PRIu64 "..%" PRIu64 " %s\n",
            seed, event, policy, index, rig->options.barrier, found->result, (int)found->recovery.verdict, found->first_seq, found->last_seq, found->gap_count, found->content_good,
            expected->acknowledged_seq, expected->appended_seq, expected->before_last_seq, found->recovery.end_lsn, found->recovery.next_seq, found->recovery.damaged_lsn_from,
            found->recovery.damaged_lsn_to, error.message);
}

static void enumerate_generation(struct wal_rig *rig, uint64_t seed, struct random *random, const struct expectation *base, unsigned depth);

/* Recovers one image; sometimes a next owner takes it over. */
static void try_image(struct wal_rig *rig, uint64_t seed, struct random *random, uint64_t event, enum sim_crash_policy policy, uint32_t index, const struct expectation *expected,
                      unsigned depth)
{
    static struct wal_rig_found found;
    struct blockdev *image;
    if (sim_create_from_crash(rig->sim, event, policy, index, seed * 1000003 + event * 31 + index, NULL, &image) != MOTE_OK)
        abort();
    if (!check_image(rig, image, expected, &found)) {
        if (failed_count++ < 20)
            report_failure(rig, seed, event, (int)policy, index, expected, &found);
        blockdev_close(image);
        return;
    }
    passed_count++;
    blockdev_close(image);
    if (depth == 0 || below(random, 150) != 0)
        return;
    /* The next owner: ends the incarnation where recovery found its end and begins behind everything seen. */
    struct sim_options sim_options = {.seed = seed + event, .record = true, .reorder = true, .logical_block_bytes = rig->options.logical_block_bytes};
    if (sim_create_from_crash(rig->sim, event, policy, index, seed * 1000003 + event * 31 + index, &sim_options, &image) != MOTE_OK)
        abort();
    const struct {
        uint64_t first_seq, last_seq, gap_count;
    } before = {found.first_seq, found.last_seq, found.gap_count};
    struct wal_incarnation ended[8];
    memcpy(ended, rig->incarnations, rig->incarnation_count * sizeof *ended);
    ended[rig->incarnation_count - 1].end_lsn = found.recovery.end_lsn;
    uint64_t next_seq = found.recovery.next_seq ? found.recovery.next_seq : expected->first_seq;
    struct wal_rig *next = wal_rig_open_on(&rig->options, image, ended, rig->incarnation_count, rig->ranges, rig->range_count, found.recovery.highest_lsn, next_seq);
    sim_mark(image, MARK_APPENDED, found.last_seq);
    run_workload(next, random, 12, below(random, 3) == 0);
    struct expectation base = {.before_first_seq = before.first_seq, .before_last_seq = before.last_seq, .before_gap_count = before.gap_count, .first_seq = next_seq};
    enumerate_generation(next, seed, random, &base, depth - 1);
    wal_rig_destroy(next);
}

static void enumerate_event(struct wal_rig *rig, uint64_t seed, struct random *random, uint64_t event, const struct expectation *base, unsigned depth)
{
    struct expectation expected = *base;
    expected.acknowledged_seq = sim_mark_at(rig->sim, event, MARK_ACKNOWLEDGED);
    expected.appended_seq = UINT64_MAX;
    expected.closed = false;
    if (sim_mark_at(rig->sim, event, MARK_CLOSED)) {
        expected.closed = true;
        expected.appended_seq = sim_mark_at(rig->sim, event, MARK_APPENDED);
    }
    uint32_t unflushed = sim_unflushed_count(rig->sim, event);
    try_image(rig, seed, random, event, SIM_CRASH_NONE, 0, &expected, depth);
    try_image(rig, seed, random, event, SIM_CRASH_ALL, 0, &expected, depth);
    for (uint32_t i = 0; i < unflushed && unflushed > 1; i++) {
        try_image(rig, seed, random, event, SIM_CRASH_LOSE_ONE, i, &expected, depth);
        try_image(rig, seed, random, event, SIM_CRASH_KEEP_ONE, i, &expected, depth);
    }
    for (uint32_t i = 0; i < TORN_SEEDS && unflushed > 0; i++)
        try_image(rig, seed, random, event, SIM_CRASH_TORN, i, &expected, depth);
}

static void enumerate_generation(struct wal_rig *rig, uint64_t seed, struct random *random, const struct expectation *base, unsigned depth)
{
    wal_rig_stop(rig); /* What is in flight completes; its events are part of the record. */
    uint64_t count = sim_event_count(rig->sim);
    for (uint64_t event = 0; event < count; event++) {
        bool is_barrier;
        if (!sim_event_is_cut(rig->sim, event, &is_barrier) && event + 1 != count)
            continue;
        event_count++;
        enumerate_event(rig, seed, random, event, base, depth);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed_count = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    const char *environment = getenv("MOTE_SEED");
    uint64_t first_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : environment ? strtoull(environment, NULL, 10) : 1;
    for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed++) {
        struct random random = {seed};
        struct wal_rig_options options = random_options(&random, seed);
        struct wal_rig *rig = wal_rig_open(&options);
        run_workload(rig, &random, 25 + below(&random, 40), below(&random, 3) == 0);
        struct expectation base = {.first_seq = 1};
        enumerate_generation(rig, seed, &random, &base, 2);
        wal_rig_destroy(rig);
    }
    printf("seeds %" PRIu64 "..%" PRIu64 ": %" PRIu64 " images after %" PRIu64 " events; %" PRIu64 " clean ends, %" PRIu64 " torn tails, %" PRIu64 " with dropped frames; %" PRIu64 " commits by their writer\n", first_seed,
           first_seed + seed_count - 1, image_count, event_count, seen_clean, seen_torn, seen_dropped, own_count);
    if (seen_clean == 0 || seen_torn == 0 || seen_dropped == 0 || (seed_count >= 20 && own_count == 0)) {
        printf("the workloads did not reach every outcome\n");
        failed_count++;
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed_count, failed_count);
    return failed_count != 0;
}
