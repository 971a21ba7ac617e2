/* lsm_step_test.c: large merges in steps: each within its bytes and its reservation, published by itself, given up without a trace; tombstones that hide nothing are gone. The history is the oracle. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "blockdev/base/errors.h"
#include "tests/support/lsm_rows.h"
#include "tests/support/lsm_world.h"

#define EXTENT_BYTES 65536u
#define STEP_BYTES (10ull * EXTENT_BYTES)

struct setting {
    struct blockdev *device;
    struct lsm_world world;
    uint64_t visible;
    /* of the job under way */
    uint32_t used_before, used_most;
    int64_t calls_left; /* of pace, until it stops the job; negative: it never does */
};

static struct extents_counts count_extents(struct setting *setting)
{
    struct extents_counts counts;
    extents_get_counts(setting->world.volume.extents, &counts);
    return counts;
}

static int pace(void *context, uint64_t bytes_written)
{
    struct setting *setting = context;
    uint32_t used = count_extents(setting).used - setting->used_before;
    (void)bytes_written;
    setting->used_most = used > setting->used_most ? used : setting->used_most;
    return setting->calls_left >= 0 && setting->calls_left-- == 0 ? error_set(MOTE_EIO, "stopped by the test") : MOTE_OK;
}

static void set_job(struct setting *setting)
{
    struct lsm_world *world = &setting->world;
    world->job.block_rows = 16;
    world->job.segment_bytes_max = EXTENT_BYTES; /* the least that is sensible, some 200 KiB */
    world->job.compression = 1;                  /* none */
    world->job.pace = pace;
    world->job.pace_context = setting;
    setting->calls_left = -1;
}

static void open_setting(struct setting *setting, uint64_t seed, uint64_t device_bytes, bool record)
{
    setting->device = lsm_volume_sim(device_bytes, seed, record);
    lsm_volume_format(setting->device, EXTENT_BYTES, 0);
    lsm_world_open(&setting->world, setting->device, seed);
    set_job(setting);
}

static void close_setting(struct setting *setting)
{
    lsm_world_close(&setting->world);
    blockdev_close(setting->device);
}

static int flush(struct setting *setting)
{
    setting->visible = setting->world.next_seq - 1;
    setting->world.job.snapshots = &setting->visible;
    setting->world.job.snapshot_count = 1;
    return lsm_world_flush(&setting->world);
}

/* One job, if there is any: 1, or 0, or what it failed with. */
static int compact(struct setting *setting, uint32_t runs_max, bool everything, uint64_t bytes_max, struct lsm_compaction *done)
{
    struct lsm_world *world = &setting->world;
    struct version *version = version_acquire(world->volume.manifest);
    int result = 0;
    setting->visible = world->next_seq - 1;
    world->job.snapshots = &setting->visible;
    world->job.snapshot_count = 1;
    *done = (struct lsm_compaction){.schema = world->schema, .bytes_max = bytes_max, .snapshot_min = setting->visible};
    setting->used_before = count_extents(setting).used;
    setting->used_most = 0;
    if (lsm_pick_compaction(version, world->schema->table_id, runs_max, everything, NULL, NULL, done)) {
        result = lsm_compact(&world->job, done);
        result = result ? result : 1;
    }
    version_release(world->volume.manifest, version);
    return result;
}

struct totals {
    uint64_t rows, deletes;
    uint32_t segments, depth, extents;
};

static struct totals count_all(struct setting *setting)
{
    struct totals totals = {0};
    struct version *version = version_acquire(setting->world.volume.manifest);
    const struct segment_list *list = version_find(version, setting->world.schema->table_id);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct segment_record *record = &list->segments[i]->record;
        totals.rows += record->row_count;
        totals.deletes += record->delete_count;
        totals.segments++;
        for (uint32_t k = 0; k < record->extent_run_count; k++)
            totals.extents += record->runs[k].count;
    }
    totals.depth = lsm_overlap_depth(list, false);
    version_release(setting->world.volume.manifest, version);
    return totals;
}

/* Runs of several segments each, which lie above each other over all keys; some rows are deleted again. */
static void make_runs(struct setting *setting, uint32_t runs, int64_t keys)
{
    for (uint32_t run = 0; run < runs; run++) {
        for (int64_t key = 0; key < keys; key++)
            lsm_world_change(&setting->world, key * (int64_t)runs + run - (run && key % 9 == 0), run && key % 9 == 0);
        cr_assert_eq(flush(setting), MOTE_OK);
    }
}

static void check_all(struct setting *setting, const char *when)
{
    cr_assert_eq(lsm_world_compare(&setting->world, UINT64_MAX), 0u, "%s", when);
    cr_assert_eq(count_extents(setting).used, count_all(setting).extents, "%s: nothing leaked, nothing shared", when);
    cr_assert_eq(count_extents(setting).reserved, 0u, "%s", when);
}

Test(lsm_step, large_merge_is_cut_into_steps_within_their_bytes_and_reservation)
{
    static struct lsm_compaction done;
    for (unsigned everything = 0; everything < 2; everything++) {
        struct setting setting;
        open_setting(&setting, 31 + everything, 48u << 20, false);
        make_runs(&setting, 4, 6000);
        struct totals before = count_all(&setting);
        cr_assert(before.segments >= 8 && before.depth == 4, "%u segments, %u deep", before.segments, before.depth);
        uint64_t bytes_max = STEP_BYTES;
        unsigned steps = 0;
        for (int result; (result = compact(&setting, 4, everything, bytes_max, &done)) != 0; steps++) {
            cr_assert_eq(result, 1, "step %u: %d", steps, result);
            cr_assert(done.bytes_in <= bytes_max || done.input_count <= 2, "step %u took %llu bytes", steps, (unsigned long long)done.bytes_in);
            cr_assert_geq(setting.used_most, 1u);
            cr_assert_leq(setting.used_most, done.extents_reserved, "step %u", steps);
            cr_assert_lt(steps, 100u, "it does not end");
            if (steps % 4 == 0)
                check_all(&setting, "after a step");
        }
        cr_assert_geq(steps, everything ? 3u : 2u, "%u", steps);
        struct totals after = count_all(&setting);
        cr_assert_leq(after.depth, everything ? 1u : before.depth, "%u deep", after.depth);
        if (everything)
            cr_assert(after.deletes == 0 && after.rows < before.rows, "%llu of %llu rows, %llu tombstones", (unsigned long long)after.rows, (unsigned long long)before.rows, (unsigned long long)after.deletes);
        check_all(&setting, "at the end");
        close_setting(&setting);
    }
}

Test(lsm_step, merge_of_a_level_needs_the_space_of_a_step)
{
    static struct lsm_compaction done;
    struct setting setting;
    open_setting(&setting, 33, 48u << 20, false);
    make_runs(&setting, 4, 8000);
    struct totals before = count_all(&setting);
    /* Half of what the level takes is left free. */
    struct extent_reservation hoard;
    struct extents_counts counts = count_extents(&setting);
    uint32_t left = before.extents / 2;
    lsm_volume_check(extents_reserve(setting.world.volume.extents, counts.free - left, true, &hoard), "extents_reserve");
    cr_assert_eq(compact(&setting, 4, true, 0, &done), MOTE_ENOSPC, "the whole level has no room");
    cr_assert_eq(count_extents(&setting).used, counts.used);
    unsigned steps = 0;
    for (int result; (result = compact(&setting, 4, true, (uint64_t)left * EXTENT_BYTES / 4, &done)) != 0; steps++) {
        cr_assert_eq(result, 1, "step %u: %d", steps, result);
        cr_assert_leq(setting.used_most, left);
        cr_assert_lt(steps, 200u, "it does not end");
    }
    cr_assert_eq(count_all(&setting).depth, 1u);
    extents_unreserve(setting.world.volume.extents, &hoard);
    check_all(&setting, "merged where little was free");
    close_setting(&setting);
}

Test(lsm_step, step_that_is_stopped_leaves_nothing_and_what_was_finished_stays)
{
    static struct lsm_compaction done;
    bool complete = false;
    unsigned stopped = 0;
    for (int64_t calls = 0; !complete; calls += 3) {
        struct setting setting;
        open_setting(&setting, 34, 48u << 20, false);
        make_runs(&setting, 4, 3000);
        setting.calls_left = calls;
        unsigned finished = 0;
        int result;
        uint32_t used = count_extents(&setting).used, segments = count_all(&setting).segments;
        while ((result = compact(&setting, 4, true, STEP_BYTES, &done)) == 1) {
            finished++;
            used = count_extents(&setting).used;
            segments = count_all(&setting).segments;
        }
        complete = result == 0;
        if (!complete) {
            stopped++;
            cr_assert_eq(result, MOTE_EIO);
            cr_assert_eq(count_extents(&setting).used, used, "the step that was stopped gave back what it took");
            cr_assert_eq(count_all(&setting).segments, segments);
        }
        check_all(&setting, "after it was stopped");
        /* As after a kill: what is on the device, and nothing else, is known to the next one. */
        struct lsm_history history = setting.world.history;
        uint64_t next_seq = setting.world.next_seq;
        setting.world.history = (struct lsm_history){0};
        lsm_world_close(&setting.world);
        lsm_world_open(&setting.world, setting.device, 34);
        set_job(&setting);
        setting.world.history = history;
        setting.world.next_seq = next_seq;
        cr_assert_eq(count_all(&setting).segments, segments, "after %u steps", finished);
        while ((result = compact(&setting, 4, true, STEP_BYTES, &done)) == 1)
            finished++;
        cr_assert_eq(result, 0);
        cr_assert_geq(finished, 2u);
        cr_assert_eq(count_all(&setting).depth, 1u);
        check_all(&setting, "gone on with");
        close_setting(&setting);
    }
    cr_assert_gt(stopped, 3u, "%u", stopped);
}

/* Every state that a power cut could leave while steps are under way: the rows are there, and no extent belongs to nobody. */
Test(lsm_step, power_cut_anywhere_between_steps_loses_nothing)
{
    static struct lsm_compaction done;
    static const enum sim_crash_policy policies[] = {SIM_CRASH_NONE, SIM_CRASH_ALL, SIM_CRASH_TORN};
    struct setting setting;
    uint64_t seed = lsm_seed("lsm_step_cut");
    open_setting(&setting, seed, 16u << 20, true);
    make_runs(&setting, 4, 1200);
    uint64_t first = sim_event_count(setting.device);
    unsigned steps = 0, states = 0, kinds = 0;
    while (compact(&setting, 4, true, 1, &done) == 1)
        steps++;
    cr_assert_geq(steps, 3u, "%u", steps);
    uint32_t seen[256] = {0};
    for (uint64_t event = first; event < sim_event_count(setting.device); event++) {
        bool barrier;
        if (!sim_event_is_cut(setting.device, event, &barrier))
            continue;
        for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
            struct setting cut;
            lsm_volume_check(sim_create_from_crash(setting.device, event, policies[i], 0, seed + event, NULL, &cut.device), "sim_create_from_crash");
            lsm_world_open(&cut.world, cut.device, seed);
            cut.world.history = setting.world.history;
            cut.world.next_seq = setting.world.next_seq;
            cr_assert_eq(lsm_world_compare(&cut.world, UINT64_MAX), 0u, "seed %llu, event %llu, policy %zu", (unsigned long long)seed, (unsigned long long)event, i);
            struct totals totals = count_all(&cut);
            cr_assert_eq(count_extents(&cut).used, totals.extents);
            kinds += totals.segments < 256 && seen[totals.segments]++ == 0;
            cut.world.history = (struct lsm_history){0};
            close_setting(&cut);
            states++;
        }
    }
    cr_assert_gt(states, 50u, "%u", states);
    cr_assert_gt(kinds, 2u, "states before, between and after the steps were seen, of %u kinds", kinds);
    close_setting(&setting);
}

/* ---- Tombstones ---- */

static void change_range(struct setting *setting, int64_t from, int64_t to, bool deleted)
{
    for (int64_t key = from; key < to; key++)
        lsm_world_change(&setting->world, key, deleted);
    cr_assert_eq(flush(setting), MOTE_OK);
}

Test(lsm_step, tombstones_vanish_key_by_key_where_nothing_older_is_outside)
{
    static struct lsm_compaction done;
    struct setting setting;
    open_setting(&setting, 35, 16u << 20, false);
    /* Older rows of the keys 0 to 49 in a higher level; above them two runs that delete 0 to 99. */
    change_range(&setting, 0, 50, false);
    change_range(&setting, 0, 50, false);
    cr_assert_eq(compact(&setting, 2, false, 0, &done), 1);
    change_range(&setting, 0, 200, true);
    change_range(&setting, 0, 100, true);
    cr_assert_eq(compact(&setting, 2, false, 0, &done), 1);
    cr_assert(!done.bottom && done.outside_count == 1, "%u", done.outside_count);
    cr_assert_eq(count_all(&setting).deletes, 50u, "those that hide something, and no others: %llu", (unsigned long long)count_all(&setting).deletes);
    check_all(&setting, "half of them vanished");
    cr_assert_eq(compact(&setting, 2, true, 0, &done), 1);
    cr_assert_eq(count_all(&setting).segments, 0u);
    check_all(&setting, "all of them");
    close_setting(&setting);
}

Test(lsm_step, segment_of_tombstones_alone_goes_when_nothing_older_is_below)
{
    static struct lsm_compaction done;
    struct setting setting;
    open_setting(&setting, 36, 16u << 20, false);
    change_range(&setting, 0, 50, false);
    change_range(&setting, 25, 75, true);
    cr_assert_eq(compact(&setting, 4, false, 0, &done), 0, "it hides rows");
    change_range(&setting, 1000, 1050, true);
    cr_assert_eq(compact(&setting, 4, false, 0, &done), 1, "the other hides none");
    cr_assert(done.input_count == 1 && done.rows_in == 50 && done.rows_out == 0);
    cr_assert_eq(compact(&setting, 4, false, 0, &done), 0);
    check_all(&setting, "gone");
    /* Rows and tombstones in one segment: whoever asks for everything gets rid of these too, unless a snapshot needs them. */
    for (int64_t key = 2000; key < 2100; key++)
        lsm_world_change(&setting.world, key, key % 2);
    cr_assert_eq(flush(&setting), MOTE_OK);
    cr_assert_eq(compact(&setting, 4, false, 0, &done), 0);
    while (compact(&setting, 4, true, 0, &done) == 1)
        ;
    cr_assert_eq(count_all(&setting).deletes, 0u);
    cr_assert_eq(count_all(&setting).rows, 25u + 50u);
    check_all(&setting, "everything");
    close_setting(&setting);
}
