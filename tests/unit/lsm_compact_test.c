/* lsm_compact_test.c: choosing and doing compactions over a simulated disk: the history is the oracle at every snapshot that is held, whatever is flushed and merged when. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "blockdev/faulty.h"
#include "tests/support/lsm_rows.h"
#include "tests/support/lsm_world.h"

#define SNAPSHOTS_MAX 5u

struct setting {
    struct blockdev *sim, *device; /* device: faulty around sim */
    struct lsm_world world;
    uint64_t snapshots[SNAPSHOTS_MAX + 1]; /* ascending; the last is what is visible now */
    uint32_t snapshot_count;
};

static void open_setting(struct setting *setting, uint64_t seed)
{
    setting->sim = lsm_volume_sim(48u << 20, seed, false);
    lsm_volume_format(setting->sim, 65536, 0);
    lsm_volume_check(faulty_create(setting->sim, &setting->device), "faulty_create");
    lsm_world_open(&setting->world, setting->device, seed);
    setting->snapshot_count = 0;
}

static void close_setting(struct setting *setting)
{
    lsm_world_close(&setting->world);
    blockdev_close(setting->device);
}

/* What the engine does before a job: the snapshots that are held, and the present. */
static void set_snapshots(struct setting *setting)
{
    setting->snapshots[setting->snapshot_count] = setting->world.next_seq - 1;
    setting->world.job.snapshots = setting->snapshots;
    setting->world.job.snapshot_count = setting->snapshot_count + 1;
}

static int flush(struct setting *setting)
{
    set_snapshots(setting);
    return lsm_world_flush(&setting->world);
}

/* One job, if there is any: 1, or 0, or what it failed with. */
static int compact(struct setting *setting, uint32_t runs_max, bool everything, struct lsm_compaction *done)
{
    struct lsm_world *world = &setting->world;
    struct version *version = version_acquire(world->volume.manifest);
    static struct lsm_compaction compaction;
    compaction = (struct lsm_compaction){.schema = world->schema};
    set_snapshots(setting);
    int result = 0;
    if (lsm_pick_compaction(version, world->schema->table_id, runs_max, everything, NULL, NULL, &compaction)) {
        result = lsm_compact(&world->job, &compaction);
        result = result ? result : 1;
    }
    version_release(world->volume.manifest, version);
    if (done)
        *done = compaction;
    return result;
}

static void compare(struct setting *setting, const char *when, uint64_t seed)
{
    for (uint32_t i = 0; i < setting->snapshot_count; i++)
        cr_assert_eq(lsm_world_compare(&setting->world, setting->snapshots[i]), 0u, "%s, seed %llu, snapshot %llu", when, (unsigned long long)seed, (unsigned long long)setting->snapshots[i]);
    cr_assert_eq(lsm_world_compare(&setting->world, UINT64_MAX), 0u, "%s, seed %llu", when, (unsigned long long)seed);
}

struct totals {
    uint64_t rows, deletes;
    uint32_t segments, depth;
};

static struct totals count_all(struct setting *setting)
{
    struct totals totals = {0};
    struct version *version = version_acquire(setting->world.volume.manifest);
    const struct segment_list *list = version_find(version, setting->world.schema->table_id);
    for (uint32_t i = 0; list && i < list->count; i++) {
        totals.rows += list->segments[i]->record.row_count;
        totals.deletes += list->segments[i]->record.delete_count;
        totals.segments++;
    }
    totals.depth = lsm_overlap_depth(list, false);
    version_release(setting->world.volume.manifest, version);
    return totals;
}

static struct extents_counts count_extents(struct setting *setting)
{
    struct extents_counts counts;
    extents_get_counts(setting->world.volume.extents, &counts);
    return counts;
}

/* Extents that the present version's segments take. */
static uint32_t referenced_extents(struct setting *setting)
{
    uint32_t count = 0;
    struct version *version = version_acquire(setting->world.volume.manifest);
    const struct segment_list *list = version_find(version, setting->world.schema->table_id);
    for (uint32_t i = 0; list && i < list->count; i++)
        for (uint32_t k = 0; k < list->segments[i]->record.extent_run_count; k++)
            count += list->segments[i]->record.runs[k].count;
    version_release(setting->world.volume.manifest, version);
    return count;
}

/* Every segment, read in full. */
static void verify_segments(struct setting *setting)
{
    struct lsm_world *world = &setting->world;
    struct version *version = version_acquire(world->volume.manifest);
    const struct segment_list *list = version_find(version, world->schema->table_id);
    for (uint32_t i = 0; list && i < list->count; i++)
        cr_assert_eq(sst_verify(&world->sst, world->volume.queue, list->segments[i], world->schema, NULL, NULL), MOTE_OK);
    version_release(world->volume.manifest, version);
}

Test(lsm_compact, any_life_keeps_what_its_snapshots_see)
{
    uint64_t seed = lsm_seed("lsm_compact_life");
    unsigned jobs = 0;
    for (unsigned life = 0; life < 4; life++, seed++) {
        struct setting setting;
        open_setting(&setting, seed);
        struct lsm_world *world = &setting.world;
        for (unsigned round = 0; round < 24; round++) {
            uint32_t keys = life % 2 ? 2000 : 60, base = life == 3 ? round * 100 : 0;
            for (uint32_t i = 20 + lsm_world_below(world, 100); i-- > 0;)
                lsm_world_change(world, (int64_t)(base + lsm_world_below(world, keys)), lsm_world_below(world, 3) == 0);
            if (setting.snapshot_count < SNAPSHOTS_MAX && lsm_world_below(world, 3) == 0)
                setting.snapshots[setting.snapshot_count++] = world->next_seq - 1;
            cr_assert_eq(flush(&setting), MOTE_OK);
            if (setting.snapshot_count && lsm_world_below(world, 4) == 0) {
                uint32_t gone = lsm_world_below(world, setting.snapshot_count--);
                for (uint32_t i = gone; i < setting.snapshot_count; i++)
                    setting.snapshots[i] = setting.snapshots[i + 1];
            }
            int result = 1;
            while (result == 1 && lsm_world_below(world, 3)) {
                result = compact(&setting, 2 + lsm_world_below(world, 3), lsm_world_below(world, 8) == 0, NULL);
                cr_assert_geq(result, 0, "seed %llu: %d", (unsigned long long)seed, result);
                jobs += result == 1;
            }
            if (round % 4 == 0)
                compare(&setting, "in its life", seed);
        }
        while (compact(&setting, 2, true, NULL) == 1)
            jobs++;
        compare(&setting, "after merging everything", seed);
        verify_segments(&setting);
        cr_assert_leq(count_all(&setting).depth, 1u);
        cr_assert_eq(count_extents(&setting).used, referenced_extents(&setting), "nothing leaked, nothing shared");
        cr_assert_eq(count_extents(&setting).reserved, 0u);
        close_setting(&setting);
    }
    cr_assert_gt(jobs, 20u, "%u", jobs);
}

Test(lsm_compact, everything_at_the_bottom_drops_tombstones_and_old_versions)
{
    struct setting setting;
    open_setting(&setting, 11);
    struct lsm_world *world = &setting.world;
    for (unsigned round = 0; round < 4; round++) {
        for (int64_t key = 0; key < 100; key++)
            lsm_world_change(world, key, round == 3 && key % 2);
        cr_assert_eq(flush(&setting), MOTE_OK);
    }
    cr_assert_eq(count_all(&setting).rows, 400u);
    struct lsm_compaction done;
    cr_assert_eq(compact(&setting, 4, false, &done), 1);
    cr_assert(done.bottom && done.input_count == 4 && done.level == 1 && done.rows_in == 400 && done.rows_out == 50);
    struct totals totals = count_all(&setting);
    cr_assert_eq(totals.rows, 50u);
    cr_assert_eq(totals.deletes, 0u);
    cr_assert_eq(compact(&setting, 4, true, NULL), 0, "nothing is left to do");
    compare(&setting, "at the bottom", 11);
    close_setting(&setting);
}

Test(lsm_compact, all_rows_deleted_leaves_no_segment)
{
    struct setting setting;
    open_setting(&setting, 12);
    for (unsigned round = 0; round < 2; round++) {
        for (int64_t key = 0; key < 300; key++)
            lsm_world_change(&setting.world, key, round == 1);
        cr_assert_eq(flush(&setting), MOTE_OK);
    }
    cr_assert_eq(compact(&setting, 2, false, NULL), 1);
    cr_assert_eq(count_all(&setting).segments, 0u);
    cr_assert_eq(count_extents(&setting).used, 0u);
    compare(&setting, "all deleted", 12);
    close_setting(&setting);
}

Test(lsm_compact, tombstone_above_an_older_segment_is_kept)
{
    struct setting setting;
    open_setting(&setting, 13);
    struct lsm_world *world = &setting.world;
    /* An old run of a higher level, then two young ones of level 0 with the deletions. */
    for (unsigned round = 0; round < 2; round++) {
        for (int64_t key = 0; key < 50; key++)
            lsm_world_change(world, key, false);
        cr_assert_eq(flush(&setting), MOTE_OK);
    }
    cr_assert_eq(compact(&setting, 2, false, NULL), 1);
    for (unsigned round = 0; round < 2; round++) {
        for (int64_t key = 0; key < 50; key += 2)
            lsm_world_change(world, key, true);
        cr_assert_eq(flush(&setting), MOTE_OK);
    }
    struct lsm_compaction done;
    cr_assert_eq(compact(&setting, 2, false, &done), 1);
    cr_assert_not(done.bottom);
    cr_assert_eq(count_all(&setting).deletes, 25u);
    compare(&setting, "tombstones above older rows", 13);
    cr_assert_eq(compact(&setting, 2, true, &done), 1);
    cr_assert(done.bottom);
    cr_assert_eq(count_all(&setting).deletes, 0u);
    cr_assert_eq(count_all(&setting).rows, 25u);
    compare(&setting, "merged with them", 13);
    close_setting(&setting);
}

Test(lsm_compact, tombstone_beside_a_segment_of_interleaved_seqs_is_kept)
{
    struct setting setting;
    open_setting(&setting, 23);
    struct lsm_world *world = &setting.world;
    for (unsigned round = 0; round < 3; round++) {
        for (int64_t key = 0; key < 30; key++)
            if (round != 1 || key % 2)
                lsm_world_change(world, key + (round == 2 ? 30 : 0), round == 1);
        if (round == 1)
            lsm_world_change(world, 500, false);
        cr_assert_eq(flush(&setting), MOTE_OK);
    }
    /* The first and the third into one, whose seqs enclose those of the second. */
    struct version *version = version_acquire(world->volume.manifest);
    const struct segment_list *list = version_find(version, world->schema->table_id);
    static struct lsm_compaction compaction;
    compaction = (struct lsm_compaction){.schema = world->schema, .table_id = world->schema->table_id, .level = 1, .input_count = 2, .inputs = {list->segments[0], list->segments[2]}};
    set_snapshots(&setting);
    cr_assert_eq(lsm_compact(&world->job, &compaction), MOTE_OK);
    version_release(world->volume.manifest, version);
    /* Merged with the second alone, which has the tombstones. */
    lsm_world_change(world, 499, false);
    lsm_world_change(world, 501, false);
    cr_assert_eq(flush(&setting), MOTE_OK);
    struct lsm_compaction done;
    cr_assert_eq(compact(&setting, 2, false, &done), 1);
    cr_assert(done.input_count == 2 && !done.bottom);
    cr_assert_eq(count_all(&setting).deletes, 15u);
    compare(&setting, "interleaved", 23);
    close_setting(&setting);
}

Test(lsm_compact, tombstone_over_a_row_that_a_snapshot_sees_is_kept)
{
    struct setting setting;
    open_setting(&setting, 14);
    struct lsm_world *world = &setting.world;
    lsm_world_change(world, 1, false);
    lsm_world_change(world, 2, false);
    setting.snapshots[setting.snapshot_count++] = world->next_seq - 1;
    cr_assert_eq(flush(&setting), MOTE_OK);
    lsm_world_change(world, 1, true);
    lsm_world_change(world, 3, true);
    cr_assert_eq(flush(&setting), MOTE_OK);
    cr_assert_eq(compact(&setting, 2, true, NULL), 1);
    /* The row 1 for the snapshot, its tombstone for everyone else; nothing of 3. */
    cr_assert_eq(count_all(&setting).rows, 3u);
    cr_assert_eq(count_all(&setting).deletes, 1u);
    compare(&setting, "with the snapshot", 14);
    close_setting(&setting);
}

Test(lsm_compact, append_only_neighbours_are_left_alone_until_they_are_many)
{
    struct setting setting;
    open_setting(&setting, 15);
    struct lsm_world *world = &setting.world;
    int64_t key = 0;
    for (unsigned round = 1; round <= 40; round++) {
        for (unsigned i = 0; i < 20; i++)
            lsm_world_change(world, key++, false);
        cr_assert_eq(flush(&setting), MOTE_OK);
        struct lsm_compaction done;
        int result = compact(&setting, 4, false, &done);
        if (round == 16 || round == 32)
            cr_assert(result == 1 && done.input_count == 16 && done.level == 1 && done.rows_out == 320, "round %u: %d", round, result);
        else
            cr_assert_eq(result, 0, "round %u: %d", round, result);
    }
    cr_assert_eq(count_all(&setting).segments, 10u);
    cr_assert_eq(count_all(&setting).depth, 1u);
    compare(&setting, "append-only", 15);
    close_setting(&setting);
}

static bool all_busy(void *context, const struct segment *segment)
{
    (void)segment;
    ++*(unsigned *)context;
    return true;
}

Test(lsm_compact, busy_segments_and_unknown_tables_are_not_chosen)
{
    struct setting setting;
    open_setting(&setting, 16);
    struct lsm_world *world = &setting.world;
    for (unsigned round = 0; round < 3; round++) {
        lsm_world_change(world, 1, false);
        cr_assert_eq(flush(&setting), MOTE_OK);
    }
    struct version *version = version_acquire(world->volume.manifest);
    static struct lsm_compaction compaction;
    unsigned asked = 0;
    cr_assert_not(lsm_pick_compaction(version, world->schema->table_id, 2, true, all_busy, &asked, &compaction));
    cr_assert_gt(asked, 2u);
    cr_assert_not(lsm_pick_compaction(version, 4711, 2, true, NULL, NULL, &compaction));
    cr_assert_not(lsm_pick_compaction(version, world->schema->table_id, 4, false, NULL, NULL, &compaction));
    cr_assert(lsm_pick_compaction(version, world->schema->table_id, 3, false, NULL, NULL, &compaction));
    cr_assert_eq(lsm_overlap_depth(version_find(version, world->schema->table_id), false), 3u);
    cr_assert_eq(lsm_overlap_depth(NULL, false), 0u);
    version_release(world->volume.manifest, version);
    close_setting(&setting);
}

Test(lsm_compact, deeper_than_one_job_takes_several)
{
    struct setting setting;
    open_setting(&setting, 17);
    struct lsm_world *world = &setting.world;
    for (unsigned round = 0; round < 45; round++) {
        for (int64_t key = 0; key < 10; key++)
            lsm_world_change(world, key * 10 + round % 10, round % 5 == 4);
        cr_assert_eq(flush(&setting), MOTE_OK);
    }
    cr_assert_eq(count_all(&setting).depth, 45u);
    unsigned jobs = 0;
    struct lsm_compaction done;
    while (compact(&setting, 4, true, &done) == 1) {
        cr_assert_leq(done.input_count, LSM_INPUTS_MAX);
        jobs++;
    }
    cr_assert(jobs >= 3 && jobs < 10, "%u", jobs);
    compare(&setting, "45 deep", 17);
    close_setting(&setting);
}

Test(lsm_compact, large_job_reads_while_its_writes_are_in_flight)
{
    struct setting setting;
    open_setting(&setting, 24);
    struct lsm_world *world = &setting.world;
    world->job.block_rows = 512;
    world->job.segment_bytes_max = 64u << 20;
    for (unsigned round = 0; round < 2; round++) {
        for (int64_t key = 0; key < 50000; key++)
            lsm_world_change(world, key * 2 + round, key % 50 == 49);
        cr_assert_eq(flush(&setting), MOTE_OK);
    }
    struct lsm_compaction done;
    cr_assert_eq(compact(&setting, 2, false, &done), 1);
    cr_assert_gt(done.bytes_out, 1000000u, "%llu: no write was in flight", (unsigned long long)done.bytes_out);
    cr_assert_eq(done.rows_out, 100000u - 2000u);
    verify_segments(&setting);
    close_setting(&setting);
}

/* ---- Failures ---- */

/* Two overlapping segments. */
static void make_work(struct setting *setting)
{
    for (unsigned round = 0; round < 2; round++) {
        for (int64_t key = 0; key < 400; key++)
            lsm_world_change(&setting->world, key * 3 + round, key % 7 == round);
        cr_assert_eq(flush(setting), MOTE_OK);
    }
}

Test(lsm_compact, failed_write_retires_the_extent_and_goes_elsewhere)
{
    struct setting setting;
    open_setting(&setting, 18);
    make_work(&setting);
    faulty_add(setting.device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_COMPACTION, .times = 1, .system_errno = 5});
    cr_assert_eq(compact(&setting, 2, true, NULL), 1);
    cr_assert_eq(manifest_get_state(setting.world.volume.manifest)->bad_extent_count, 1u);
    cr_assert_eq(count_extents(&setting).used, referenced_extents(&setting));
    compare(&setting, "after a failed write", 18);
    close_setting(&setting);
}

Test(lsm_compact, failures_change_nothing)
{
    static const struct faulty_rule rules[] = {
        {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_READ, .times = UINT64_MAX, .system_errno = 5},
        {.kind = FAULTY_BIT_FLIP, .op_mask = 1u << BLOCKDEV_READ, .times = UINT64_MAX, .bit = 4000},
        {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_COMPACTION, .times = UINT64_MAX, .system_errno = 5},
        {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_FLUSH, .times = 1, .system_errno = 5},
    };
    static const int codes[] = {MOTE_EIO, MOTE_EDAMAGED, MOTE_EIO, MOTE_EIO};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct setting setting;
        open_setting(&setting, 19);
        make_work(&setting);
        char *before = lsm_volume_text(setting.world.volume.manifest);
        uint32_t used = count_extents(&setting).used;
        faulty_add(setting.device, &rules[i]);
        int result = compact(&setting, 2, true, NULL);
        cr_assert_eq(result, codes[i], "rule %zu: %d", i, result);
        char *after = lsm_volume_text(setting.world.volume.manifest);
        cr_assert_str_eq(before, after);
        cr_assert_eq(count_extents(&setting).used, used, "rule %zu", i);
        cr_assert_eq(count_extents(&setting).reserved, 0u);
        faulty_clear(setting.device);
        cr_assert_eq(compact(&setting, 2, true, NULL), 1, "rule %zu", i);
        compare(&setting, "after a failure", i);
        free(before);
        free(after);
        close_setting(&setting);
    }
}

Test(lsm_compact, no_room_or_memory_changes_nothing)
{
    struct setting setting;
    open_setting(&setting, 20);
    make_work(&setting);
    struct lsm_world *world = &setting.world;
    char *before = lsm_volume_text(world->volume.manifest);
    struct extents_counts counts = count_extents(&setting);
    int result = MOTE_ENOSPC;
    for (uint32_t left = 0; left < 3; left++) {
        struct extent_reservation hoard;
        lsm_volume_check(extents_reserve(world->volume.extents, counts.free - left, true, &hoard), "extents_reserve");
        cr_assert_eq(compact(&setting, 2, true, NULL), MOTE_ENOSPC);
        extents_unreserve(world->volume.extents, &hoard);
    }
    for (int64_t n = 0; result != 1 && n < 1000; n++) {
        char *after = lsm_volume_text(world->volume.manifest);
        cr_assert_str_eq(before, after);
        cr_assert_eq(count_extents(&setting).used, counts.used);
        cr_assert_eq(count_extents(&setting).reserved, 0u);
        free(after);
        memory_fail_after(world->volume.memory, n, false);
        result = compact(&setting, 2, true, NULL);
        memory_fail_after(world->volume.memory, -1, false);
        cr_assert(result == 1 || result == MOTE_EBUDGET, "%d", result);
    }
    cr_assert_eq(result, 1);
    compare(&setting, "at last", 20);
    free(before);
    close_setting(&setting);
}

Test(lsm_compact, table_dropped_meanwhile_ends_the_job)
{
    struct setting setting;
    open_setting(&setting, 21);
    make_work(&setting);
    struct lsm_world *world = &setting.world;
    struct version *version = version_acquire(world->volume.manifest);
    static struct lsm_compaction compaction;
    cr_assert(lsm_pick_compaction(version, world->schema->table_id, 2, true, NULL, NULL, &compaction));
    compaction.schema = world->schema;
    struct manifest_edit *edit;
    lsm_volume_check(manifest_edit_begin(world->volume.manifest, &edit), "edit");
    manifest_edit_drop_table(edit, world->schema->table_id);
    lsm_volume_check(manifest_commit(edit, NULL, NULL), "drop");
    set_snapshots(&setting);
    cr_assert_eq(lsm_compact(&world->job, &compaction), MOTE_ENOTFOUND);
    version_release(world->volume.manifest, version);
    cr_assert_eq(count_extents(&setting).used, 0u);
    close_setting(&setting);
}

Test(lsm_compact, segment_that_yields_too_few_rows_is_damage)
{
    struct setting setting;
    open_setting(&setting, 22);
    make_work(&setting);
    struct version *version = version_acquire(setting.world.volume.manifest);
    /* What a fault in the reader or a forged manifest would look like. */
    struct segment *segment = version_find(version, setting.world.schema->table_id)->segments[0];
    segment->record.row_count++;
    int result = compact(&setting, 2, true, NULL);
    cr_assert_eq(result, MOTE_EDAMAGED, "%d", result);
    segment->record.row_count--;
    version_release(setting.world.volume.manifest, version);
    cr_assert_eq(compact(&setting, 2, true, NULL), 1);
    compare(&setting, "after all", 22);
    close_setting(&setting);
}

/* Versions that snapshots hold keep together with their key where segments end: else the two segments would overlap for ever, and asking for everything would never come to an end. */
Test(lsm_compact, versions_of_one_key_do_not_straddle_segments)
{
    uint64_t seed = lsm_seed("lsm_compact_straddle");
    struct setting setting;
    open_setting(&setting, seed);
    struct lsm_world *world = &setting.world;
    world->job.segment_bytes_max = 64 << 10;
    world->job.block_rows = 32;
    for (uint32_t i = 0; i < 3; i++) {
        for (int64_t key = 0; key < 12000; key++)
            lsm_world_change(world, key, false);
        setting.snapshots[setting.snapshot_count++] = world->next_seq - 1;
        cr_assert_eq(flush(&setting), MOTE_OK);
    }
    unsigned jobs = 0;
    struct lsm_compaction done;
    for (int result = 1; (result = compact(&setting, 4, true, &done)) > 0; jobs++) {
        cr_assert_lt(jobs, 60, "everything was asked for, and it does not end");
        cr_assert(!done.in_vain, "job %u changed nothing", jobs);
    }
    struct totals totals = count_all(&setting);
    cr_assert_gt(totals.segments, 1);
    cr_assert_eq(totals.depth, 1, "%u segments lie up to %u deep", totals.segments, totals.depth);
    cr_assert_eq(totals.rows, 36000);
    compare(&setting, "merged", seed);
    close_setting(&setting);
}
