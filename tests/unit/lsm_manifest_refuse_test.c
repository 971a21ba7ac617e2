/* lsm_manifest_refuse_test.c: edits that the manifest must refuse, and what a failed write, barrier or allocation leaves: the state as it was. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/faulty.h"
#include "engine/lsm/manifest_format.h"
#include "tests/support/lsm_volume.h"

struct refusal_setup {
    struct lsm_volume *volume;
    uint64_t table_id;
    struct segment_record present, fresh;
    struct schema *schema; /* of a table not yet in the manifest */
};

#define REFUSALS 34

/* Puts the index-th bad thing into the edit; the code that the commit must give. */
static int put_refused(struct refusal_setup *s, struct manifest_edit *edit, unsigned index)
{
    struct segment_record r = s->fresh;
    struct segment_section section = {.run = lsm_volume_extents(s->volume, 1), .section_id = 1, .length_bytes = 100, .root_offset_bytes = 50, .root_bytes = 50};
    struct manifest_log_range range = {1u << 20, section.run};
    uint32_t total = s->volume->superblock.layout.extent_count;
    manifest_take_section_id(s->volume->manifest);
    extents_release_unused(s->volume->extents, section.run);
    switch (index) {
    case 0: manifest_edit_add_segment(edit, &s->present); return MOTE_EEXISTS;
    case 1: manifest_edit_add_segment(edit, &r); manifest_edit_add_segment(edit, &r); return MOTE_EEXISTS;
    case 2: r.table_id = 55; manifest_edit_add_segment(edit, &r); return MOTE_ENOTABLE;
    case 3: r.id += 1000; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 4: r.id = 0; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 5: r.run_id += 1000; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 6: r.schema_version = 2; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 7: r.runs[0].first = total; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 8: r.runs[0].count = total; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 9: r.runs[0] = (struct extent_run){total - 1, UINT32_MAX}; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 10: r.runs[0] = s->present.runs[0]; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 11: r.extent_run_count = 2; r.runs[1] = r.runs[0]; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 12: r.extent_run_count = 0; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 13: r.segment_bytes++; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 14: r.footer_offset_bytes++; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 15: r.delete_count = r.row_count + 1; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 16: r.seq_min = r.seq_max + 1; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 17: r.min_key.bytes[0] = 0xff; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 18: r.level = MANIFEST_LEVEL_MAX + 1; manifest_edit_add_segment(edit, &r); return MOTE_EINVAL;
    case 19: manifest_edit_remove_segment(edit, 4711); return MOTE_ENOTFOUND;
    case 20: manifest_edit_remove_segment(edit, s->present.id); manifest_edit_remove_segment(edit, s->present.id); return MOTE_ENOTFOUND;
    case 21: manifest_edit_set_timestamp(edit, 4711, &section); return MOTE_ENOTFOUND;
    case 22: section.root_bytes = 51; manifest_edit_set_timestamp(edit, s->present.id, &section); return MOTE_EINVAL;
    case 23: section.run = s->present.runs[0]; manifest_edit_set_timestamp(edit, s->present.id, &section); return MOTE_EINVAL;
    case 24: manifest_edit_drop_table(edit, 55); return MOTE_ENOTABLE;
    case 25: manifest_edit_set_rowid(edit, 55, 1); return MOTE_ENOTABLE;
    case 26: manifest_edit_set_flushed_seq(edit, 49); return MOTE_EINVAL;
    case 27: manifest_edit_set_head(edit, 99); return MOTE_EINVAL;
    case 28: range.lsn = 65536; manifest_edit_add_log_range(edit, &range); return MOTE_EINVAL;
    case 29: range.run.count = 0; manifest_edit_add_log_range(edit, &range); return MOTE_EINVAL;
    case 30: manifest_edit_add_bad_extent(edit, s->present.runs[0].first); return MOTE_EINVAL;
    case 31: manifest_edit_begin_incarnation(edit, 0xaa, 70000, 60000); return MOTE_EINVAL;
    case 32: manifest_edit_begin_incarnation(edit, 0xbb, 70000, 80000); return MOTE_EINVAL;
    default: manifest_edit_put_table(edit, s->schema, 1, 1); return MOTE_EEXISTS;
    }
}

Test(lsm_manifest, invalid_edits_are_refused_and_change_nothing)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    struct refusal_setup setup = {.volume = &volume, .table_id = lsm_volume_make_table(&volume, "arm")};
    setup.present = lsm_volume_segment(&volume, setup.table_id, 1);
    setup.fresh = lsm_volume_segment(&volume, setup.table_id, 2);
    setup.schema = lsm_volume_schema(&volume, "arm"); /* the same name under another id */
    struct manifest_log_range range = {0, lsm_volume_extents(&volume, 2)};
    struct manifest_edit *edit = lsm_volume_begin(&volume);
    manifest_edit_add_segment(edit, &setup.present);
    manifest_edit_set_flushed_seq(edit, 50);
    manifest_edit_begin_incarnation(edit, 0xaa, 0, 0);
    manifest_edit_add_log_range(edit, &range);
    manifest_edit_set_head(edit, 100);
    lsm_volume_commit(edit);
    char *before = lsm_volume_text(volume.manifest);
    uint64_t used_before, used_after, size;
    uint32_t extents_before = lsm_volume_used(&volume);
    manifest_usage(volume.manifest, &used_before, &size);
    struct blockdev_counters counters_before, counters_after;
    blockdev_get_counters(device, &counters_before);
    for (unsigned i = 0; i < REFUSALS; i++) {
        struct mote_error error;
        edit = lsm_volume_begin(&volume);
        /* Good records around the bad one must not take effect either. */
        struct schema *good = lsm_volume_schema(&volume, "good");
        manifest_edit_put_table(edit, good, 1, 1);
        manifest_edit_set_timestamp(edit, setup.present.id, &(struct segment_section){0});
        int expected = put_refused(&setup, edit, i);
        manifest_edit_set_clean_end(edit, 1, 1);
        int result = manifest_commit(edit, NULL, NULL);
        cr_assert_eq(result, expected, "refusal %u: %d instead of %d", i, result, expected);
        mote_last_error(&error);
        cr_assert(error.code == expected && error.message[0], "refusal %u has no sentence", i);
        schema_free(volume.memory, good);
        char *after = lsm_volume_text(volume.manifest);
        cr_assert_str_eq(after, before, "refusal %u", i);
        free(after);
    }
    manifest_usage(volume.manifest, &used_after, &size);
    blockdev_get_counters(device, &counters_after);
    cr_assert_eq(used_before, used_after);
    cr_assert_eq(counters_before.write_count, counters_after.write_count);
    cr_assert_eq(lsm_volume_used(&volume), extents_before);
    edit = lsm_volume_begin(&volume);
    manifest_edit_add_segment(edit, &setup.fresh);
    lsm_volume_commit(edit);
    schema_free(volume.memory, setup.schema);
    lsm_volume_reopen(&volume, "after refusals");
    free(before);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, commit_without_memory_changes_nothing)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    uint64_t table_id = lsm_volume_make_table(&volume, "arm"), old = lsm_volume_add(&volume, table_id);
    char *before = lsm_volume_text(volume.manifest);
    struct segment_record record = lsm_volume_segment(&volume, table_id, 1);
    struct schema *schema = lsm_volume_schema(&volume, "leg");
    struct segment_section section = {.run = lsm_volume_extents(&volume, 1), .section_id = manifest_take_section_id(volume.manifest), .length_bytes = 100};
    int result = MOTE_EBUDGET;
    unsigned failures = 0;
    for (int64_t n = 0; result; n++) {
        uint64_t used_bytes = memory_used_bytes(volume.memory);
        struct manifest_edit *edit = lsm_volume_begin(&volume);
        memory_fail_after(volume.memory, n, false);
        manifest_edit_put_table(edit, schema, 1, 1);
        manifest_edit_add_segment(edit, &record);
        manifest_edit_set_timestamp(edit, old, &section);
        result = manifest_commit(edit, NULL, NULL);
        memory_fail_after(volume.memory, -1, false);
        if (!result)
            break;
        cr_assert_eq(result, MOTE_EBUDGET, "%d", result);
        char *after = lsm_volume_text(volume.manifest);
        cr_assert_str_eq(after, before);
        free(after);
        cr_assert_geq(used_bytes + 1024, memory_used_bytes(volume.memory), "memory was lost");
        failures++;
    }
    cr_assert_gt(failures, 8u);
    schema_free(volume.memory, schema);
    lsm_volume_reopen(&volume, "after failures");
    free(before);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, failed_write_or_barrier_poisons)
{
    static const struct { uint32_t op; uint64_t skip; } faults[] = {{BLOCKDEV_WRITE, 0}, {BLOCKDEV_WRITE, 1}, {BLOCKDEV_FLUSH, 0}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct lsm_volume volume;
        struct blockdev *inner = lsm_volume_device(0), *device;
        lsm_volume_check(faulty_create(inner, &device), "faulty_create");
        lsm_volume_open_rw(&volume, device);
        uint64_t table_id = lsm_volume_make_table(&volume, "arm");
        char *before = lsm_volume_text(volume.manifest);
        struct segment_record record = lsm_volume_segment(&volume, table_id, 1);
        faulty_add(device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << faults[i].op, .skip = faults[i].skip, .times = 1, .system_errno = 5});
        struct manifest_edit *edit = lsm_volume_begin(&volume);
        manifest_edit_add_segment(edit, &record);
        cr_assert_eq(manifest_commit(edit, NULL, NULL), MOTE_EIO);
        cr_assert_eq(manifest_poisoned(volume.manifest, NULL), MOTE_EIO);
        char *after = lsm_volume_text(volume.manifest);
        cr_assert_str_eq(after, before);
        edit = lsm_volume_begin(&volume);
        manifest_edit_set_flushed_seq(edit, 1);
        cr_assert_eq(manifest_commit(edit, NULL, NULL), MOTE_EPOISONED);
        cr_assert_eq(manifest_snapshot(volume.manifest), MOTE_EPOISONED);
        cr_assert_eq(manifest_write_superblock(volume.manifest), MOTE_EPOISONED);
        lsm_volume_close(&volume);
        lsm_volume_open_rw(&volume, device);
        free(before);
        free(after);
        lsm_volume_close(&volume);
        blockdev_close(device);
    }
}

