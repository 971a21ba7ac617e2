/* lsm_flush_test.c: lsm_flush_generation over a simulated disk: rows kept, snapshots respected, extents that cannot be written, no room, failed barriers and commits, dropped tables. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "blockdev/faulty.h"
#include "engine/lsm/lsm_private.h"
#include "tests/support/lsm_rows.h"
#include "tests/support/lsm_world.h"

struct setting {
    struct blockdev *sim, *device; /* device: faulty around sim */
    struct lsm_world world;
};

static void open_setting(struct setting *setting, uint64_t seed)
{
    setting->sim = lsm_volume_sim(96u << 20, seed, false);
    lsm_volume_format(setting->sim, 65536, 0);
    lsm_volume_check(faulty_create(setting->sim, &setting->device), "faulty_create");
    lsm_world_open(&setting->world, setting->device, seed);
}

static void close_setting(struct setting *setting)
{
    lsm_world_close(&setting->world);
    blockdev_close(setting->device);
}

static void change_rows(struct lsm_world *world, uint32_t count, uint32_t keys)
{
    for (uint32_t i = 0; i < count; i++)
        lsm_world_change(world, (int64_t)lsm_world_below(world, keys), lsm_world_below(world, 6) == 0);
}

static struct extents_counts count_extents(struct setting *setting)
{
    struct extents_counts counts;
    extents_get_counts(setting->world.volume.extents, &counts);
    return counts;
}

static uint64_t count_rows(struct setting *setting)
{
    struct version *version = version_acquire(setting->world.volume.manifest);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < version->count; i++)
        for (uint32_t k = 0; k < version->lists[i]->count; k++)
            rows += version->lists[i]->segments[k]->record.row_count;
    version_release(setting->world.volume.manifest, version);
    return rows;
}

/* Closes without ceremony, opens again, and compares with the history that the world had. */
static void reopen(struct setting *setting)
{
    struct lsm_history history = setting->world.history;
    uint64_t next_seq = setting->world.next_seq, random = setting->world.random;
    setting->world.history = (struct lsm_history){0};
    lsm_world_close(&setting->world);
    lsm_world_open(&setting->world, setting->device, random);
    setting->world.history = history;
    setting->world.next_seq = next_seq;
}

Test(lsm_flush, rows_are_in_segments_and_survive_reopen)
{
    struct setting setting;
    uint64_t seed = lsm_seed("lsm_flush_rows");
    open_setting(&setting, seed);
    struct lsm_world *world = &setting.world;
    for (unsigned round = 0; round < 5; round++) {
        change_rows(world, 400, 300);
        cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
        cr_assert_eq(lsm_world_flush(world), MOTE_OK);
        cr_assert_eq(manifest_get_state(world->volume.manifest)->flushed_seq, world->next_seq - 1);
        cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
        reopen(&setting);
        cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
        struct extents_counts counts = count_extents(&setting);
        cr_assert_eq(counts.reserved, 0u);
    }
    close_setting(&setting);
}

Test(lsm_flush, large_generation_becomes_several_segments_of_one_run)
{
    struct setting setting;
    open_setting(&setting, 3);
    struct lsm_world *world = &setting.world;
    world->job.segment_bytes_max = 1; /* the least that is sensible */
    for (int64_t key = 0; key < 60000; key++)
        lsm_world_insert(world, world->generation, &(struct lsm_change){key * 7919 % 60013, world->next_seq++, false});
    int flushed = lsm_world_flush(world);
    struct mote_error error;
    mote_last_error(&error);
    cr_assert_eq(flushed, MOTE_OK, "%s", error.message);
    struct version *version = version_acquire(world->volume.manifest);
    const struct segment_list *list = version_find(version, world->schema->table_id);
    cr_assert_gt(list->count, 2u);
    for (uint32_t i = 1; i < list->count; i++) {
        const struct segment_record *before = &list->segments[i - 1]->record, *record = &list->segments[i]->record;
        cr_assert_eq(record->run_id, before->run_id);
        cr_assert_not(segment_overlap(before, record));
        cr_assert_leq(record->segment_bytes, lsm_segment_bytes(&world->job, world->schema));
    }
    cr_assert_eq(lsm_overlap_depth(list, false), 1u);
    version_release(world->volume.manifest, version);
    cr_assert_eq(count_rows(&setting), 60000u);
    close_setting(&setting);
}

Test(lsm_flush, snapshots_keep_the_versions_that_they_see)
{
    struct setting setting;
    uint64_t seed = lsm_seed("lsm_flush_snapshots");
    open_setting(&setting, seed);
    struct lsm_world *world = &setting.world;
    change_rows(world, 600, 40);
    uint64_t snapshots[6];
    for (unsigned i = 0; i < 6; i++)
        snapshots[i] = 50 + 100 * i + lsm_world_below(world, 90);
    world->job.snapshots = snapshots;
    world->job.snapshot_count = 6;
    cr_assert_eq(lsm_world_flush(world), MOTE_OK);
    for (unsigned i = 0; i < 6; i++)
        cr_assert_eq(lsm_world_compare(world, snapshots[i]), 0u, "seed %llu snapshot %llu", (unsigned long long)seed, (unsigned long long)snapshots[i]);
    cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
    /* At most one version for each key and snapshot, and the newest: what nobody sees is gone. */
    cr_assert_leq(count_rows(&setting), 40u * 7);
    cr_assert_gt(count_rows(&setting), 40u);
    close_setting(&setting);
}

Test(lsm_flush, without_snapshots_only_the_newest_versions_stay)
{
    struct setting setting;
    open_setting(&setting, 9);
    struct lsm_world *world = &setting.world;
    for (unsigned i = 0; i < 500; i++)
        lsm_world_change(world, i % 50, i >= 450 && i % 3 == 0);
    cr_assert_eq(lsm_world_flush(world), MOTE_OK);
    cr_assert_eq(count_rows(&setting), 50u, "newest versions, tombstones too: older ones may lie in other segments");
    cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
    close_setting(&setting);
}

Test(lsm_flush, failed_write_retires_the_extent_and_goes_elsewhere)
{
    struct setting setting;
    open_setting(&setting, 4);
    struct lsm_world *world = &setting.world;
    change_rows(world, 900, 2000);
    faulty_add(setting.device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_FLUSH, .times = 2, .system_errno = 5});
    faulty_add(setting.device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_INDEX, .times = 1, .system_errno = 5});
    cr_assert_eq(lsm_world_flush(world), MOTE_OK);
    const struct manifest_state *state = manifest_get_state(world->volume.manifest);
    cr_assert_gt(state->bad_extent_count, 0u);
    cr_assert_eq(count_extents(&setting).bad, state->bad_extent_count);
    cr_assert_eq(count_extents(&setting).reserved, 0u);
    cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
    uint32_t bad = state->bad_extent_count, used = count_extents(&setting).used;
    reopen(&setting);
    cr_assert_eq(count_extents(&setting).bad, bad, "the bad list is durable");
    cr_assert_eq(count_extents(&setting).used, used, "nothing leaked");
    cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
    close_setting(&setting);
}

Test(lsm_flush, writes_that_fail_everywhere_end_in_eio)
{
    struct setting setting;
    open_setting(&setting, 4);
    struct lsm_world *world = &setting.world;
    change_rows(world, 50, 50);
    char *before = lsm_volume_text(world->volume.manifest);
    faulty_add(setting.device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .source_mask = 1u << BLOCKDEV_SOURCE_FLUSH | 1u << BLOCKDEV_SOURCE_INDEX, .times = UINT64_MAX, .system_errno = 5});
    cr_assert_eq(lsm_world_flush(world), MOTE_EIO);
    char *after = lsm_volume_text(world->volume.manifest);
    cr_assert_str_eq(before, after);
    cr_assert_eq(count_extents(&setting).used, 0u);
    cr_assert_eq(count_extents(&setting).reserved, 0u);
    cr_assert_leq(count_extents(&setting).bad, (uint32_t)LSM_RETRIES);
    faulty_clear(setting.device);
    cr_assert_eq(lsm_world_flush(world), MOTE_OK);
    cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
    free(before);
    free(after);
    close_setting(&setting);
}

Test(lsm_flush, no_room_changes_nothing)
{
    struct setting setting;
    open_setting(&setting, 5);
    struct lsm_world *world = &setting.world;
    struct extent_reservation hoard;
    change_rows(world, 300, 300);
    uint32_t free_count = count_extents(&setting).free;
    /* From not a single extent on: refused, or done, never something between. */
    int result = MOTE_ENOSPC;
    for (uint32_t left = 0; result; left++) {
        char *before = lsm_volume_text(world->volume.manifest);
        lsm_volume_check(extents_reserve(world->volume.extents, free_count - left, true, &hoard), "extents_reserve");
        result = lsm_world_flush(world);
        extents_unreserve(world->volume.extents, &hoard);
        if (result) {
            char *after = lsm_volume_text(world->volume.manifest);
            cr_assert_eq(result, MOTE_ENOSPC, "%d", result);
            cr_assert_str_eq(before, after);
            cr_assert_eq(count_extents(&setting).free, free_count);
            cr_assert_eq(count_extents(&setting).reserved, 0u);
            free(after);
        }
        free(before);
    }
    cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
    close_setting(&setting);
}

Test(lsm_flush, no_memory_changes_nothing)
{
    struct setting setting;
    open_setting(&setting, 5);
    struct lsm_world *world = &setting.world;
    change_rows(world, 200, 200);
    char *before = lsm_volume_text(world->volume.manifest);
    uint32_t free_count = count_extents(&setting).free;
    unsigned failures = 0;
    int result = MOTE_EBUDGET;
    for (int64_t n = 0; result; n++, failures++) {
        memory_fail_after(world->volume.memory, n, false);
        result = lsm_world_flush(world);
        memory_fail_after(world->volume.memory, -1, false);
        if (!result)
            break;
        char *after = lsm_volume_text(world->volume.manifest);
        cr_assert_eq(result, MOTE_EBUDGET, "%d", result);
        cr_assert_str_eq(before, after);
        cr_assert_eq(count_extents(&setting).free, free_count);
        cr_assert_eq(count_extents(&setting).reserved, 0u);
        free(after);
    }
    cr_assert_gt(failures, 10u);
    cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
    free(before);
    close_setting(&setting);
}

Test(lsm_flush, failed_barrier_publishes_nothing_and_failed_commit_keeps_the_extents)
{
    for (uint64_t skip = 0; skip < 2; skip++) {
        struct setting setting;
        open_setting(&setting, 6);
        struct lsm_world *world = &setting.world;
        change_rows(world, 100, 100);
        char *before = lsm_volume_text(world->volume.manifest);
        /* The first barrier is that of the segments, the second the manifest's. */
        faulty_add(setting.device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_FLUSH, .skip = skip, .times = 1, .system_errno = 5});
        cr_assert_eq(lsm_world_flush(world), MOTE_EIO);
        char *after = lsm_volume_text(world->volume.manifest);
        cr_assert_str_eq(before, after);
        cr_assert_eq(manifest_poisoned(world->volume.manifest, NULL), skip ? MOTE_EIO : MOTE_OK);
        /* The edit may be on the device, so that its extents must not be given to anyone. */
        cr_assert_eq(count_extents(&setting).used > 0, skip == 1);
        faulty_clear(setting.device);
        reopen(&setting);
        if (!skip)
            for (uint32_t i = 0; i < world->history.count; i++)
                lsm_world_insert(world, world->generation, &world->history.changes[i]);
        cr_assert_eq(lsm_world_compare(world, UINT64_MAX), 0u);
        free(before);
        free(after);
        close_setting(&setting);
    }
}

/* ---- Callbacks and dropped tables ---- */

struct calls {
    struct lsm_world *world;
    struct schema *other;
    bool drop_in_wait, hide_other;
    unsigned waits, installs;
    uint64_t flushes_at_wait;
};

static const struct schema *find_schema(void *context, uint64_t table_id)
{
    struct calls *calls = context;
    if (calls->other && table_id == calls->other->table_id)
        return calls->hide_other ? NULL : calls->other;
    return table_id == calls->world->schema->table_id ? calls->world->schema : NULL;
}

static int64_t next_rowid(void *context, uint64_t table_id)
{
    (void)context;
    return 100 + (int64_t)table_id;
}

static int wait_durable(void *context, uint64_t cut_seq)
{
    struct calls *calls = context;
    struct blockdev_counters counters;
    cr_assert_eq(cut_seq, calls->world->next_seq - 1);
    cr_assert_eq(manifest_get_state(calls->world->volume.manifest)->flushed_seq, 0u, "the edit comes after the log");
    blockdev_get_counters(calls->world->volume.device, &counters);
    cr_assert_gt(counters.flush_count, calls->flushes_at_wait, "the segments' barrier comes first");
    calls->waits++;
    if (calls->drop_in_wait) {
        struct manifest_edit *edit;
        lsm_volume_check(manifest_edit_begin(calls->world->volume.manifest, &edit), "edit");
        manifest_edit_drop_table(edit, calls->other->table_id);
        lsm_volume_check(manifest_commit(edit, NULL, NULL), "drop");
    }
    return MOTE_OK;
}

static void installed(void *context)
{
    struct calls *calls = context;
    calls->installs++;
}

static int refuse_wait(void *context, uint64_t cut_seq)
{
    (void)context;
    (void)cut_seq;
    return MOTE_EPOISONED;
}

static int flush_two_tables(struct setting *setting, struct calls *calls, int (*wait)(void *context, uint64_t cut_seq))
{
    struct lsm_world *world = &setting->world;
    struct blockdev_counters counters;
    if (!calls->other)
        calls->other = lsm_volume_table(&world->volume, "other");
    calls->world = world;
    change_rows(world, 80, 80);
    struct schema *rows = world->schema;
    world->schema = calls->other;
    for (int64_t key = 0; key < 50; key++)
        lsm_world_insert(world, world->generation, &(struct lsm_change){key, world->next_seq++, false});
    world->schema = rows;
    blockdev_get_counters(setting->device, &counters);
    calls->flushes_at_wait = counters.flush_count;
    struct lsm_flush flush = {.generation = world->generation, .cut_seq = world->next_seq - 1, .find_schema = find_schema, .next_rowid = next_rowid, .wait_durable = wait, .installed = installed, .context = calls};
    int result = lsm_flush_generation(&world->job, &flush);
    if (!result)
        memtable_generation_reset(world->generation);
    return result;
}

static uint32_t count_tables_with_segments(struct setting *setting)
{
    struct version *version = version_acquire(setting->world.volume.manifest);
    uint32_t count = version->count;
    version_release(setting->world.volume.manifest, version);
    return count;
}

Test(lsm_flush, two_tables_in_one_edit_after_the_log)
{
    struct setting setting;
    struct calls calls = {0};
    open_setting(&setting, 8);
    cr_assert_eq(flush_two_tables(&setting, &calls, wait_durable), MOTE_OK);
    cr_assert_eq(calls.waits, 1u);
    cr_assert_eq(calls.installs, 1u);
    cr_assert_eq(count_tables_with_segments(&setting), 2u);
    const struct manifest_state *state = manifest_get_state(setting.world.volume.manifest);
    cr_assert_eq(state->tables[1].next_rowid, 100 + (int64_t)calls.other->table_id);
    cr_assert_eq(lsm_world_compare(&setting.world, UINT64_MAX), 0u);
    close_setting(&setting);
}

Test(lsm_flush, log_that_fails_publishes_nothing)
{
    struct setting setting;
    struct calls calls = {0};
    open_setting(&setting, 8);
    cr_assert_eq(flush_two_tables(&setting, &calls, refuse_wait), MOTE_EPOISONED);
    cr_assert_eq(calls.installs, 0u);
    cr_assert_eq(count_extents(&setting).used, 0u);
    cr_assert_eq(count_tables_with_segments(&setting), 0u);
    close_setting(&setting);
}

Test(lsm_flush, table_dropped_before_or_meanwhile_loses_its_rows_alone)
{
    for (unsigned i = 0; i < 2; i++) {
        struct setting setting;
        struct calls calls = {.drop_in_wait = i == 1, .hide_other = i == 0};
        open_setting(&setting, 8);
        cr_assert_eq(flush_two_tables(&setting, &calls, wait_durable), MOTE_OK);
        cr_assert_eq(calls.installs, 1u);
        cr_assert_eq(count_tables_with_segments(&setting), 1u);
        cr_assert_eq(lsm_world_compare(&setting.world, UINT64_MAX), 0u);
        uint32_t used = count_extents(&setting).used;
        reopen(&setting);
        cr_assert_eq(count_extents(&setting).used, used, "the dropped table's extents are free");
        close_setting(&setting);
    }
}

static int pace(void *context, uint64_t bytes_written)
{
    uint64_t *left = context;
    cr_assert_gt(bytes_written, 0u);
    return (*left)-- == 0 ? MOTE_EPOISONED : MOTE_OK;
}

Test(lsm_flush, pace_is_called_and_can_stop_the_job)
{
    struct setting setting;
    open_setting(&setting, 8);
    struct lsm_world *world = &setting.world;
    uint64_t left = 1;
    world->job.pace = pace;
    world->job.pace_context = &left;
    change_rows(world, 12000, 12000);
    cr_assert_eq(lsm_world_flush(world), MOTE_EPOISONED);
    cr_assert_eq(count_extents(&setting).used, 0u);
    left = 1000;
    cr_assert_eq(lsm_world_flush(world), MOTE_OK);
    cr_assert_lt(left, 1000u);
    close_setting(&setting);
}
