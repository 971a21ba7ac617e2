/* lsm_manifest_test.c: the manifest's frames, edits, rotation, versions and log ranges (engine/lsm/manifest.h), on a simulated disk. Refusals: lsm_manifest_refuse_test.c; damage: lsm_manifest_damage_test.c; power cuts: tests/sim/manifest_crash_test.c. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/lsm/manifest_format.h"
#include "tests/support/lsm_volume.h"

/* ---- Bytes ---- */

static struct segment_record golden_segment(void)
{
    struct segment_record record = {.id = 0x0102030405060708, .table_id = 9, .schema_version = 3, .level = 2, .run_id = 77, .row_count = 1000, .delete_count = 5, .seq_min = 20, .seq_max = 2000, .time_min = -4,
                                    .time_max = 1700000000000000000, .segment_bytes = 65536, .footer_offset_bytes = 65000, .footer_bytes = 500, .footer_crc = 0xdeadbeef, .block_count = 4, .extent_run_count = 2};
    record.runs[0] = (struct extent_run){7, 1};
    record.runs[1] = (struct extent_run){0x01020304, 2};
    record.min_key = (struct segment_key){.bytes = "\x80\1", .length = 2};
    record.max_key = (struct segment_key){.length = SEGMENT_KEY_BYTES, .truncated = 1};
    memset(record.max_key.bytes, 0xfe, SEGMENT_KEY_BYTES);
    record.timestamp = (struct segment_section){.run = {30, 1}, .section_id = 6, .length_bytes = 900, .root_offset_bytes = 800, .root_bytes = 64, .root_crc = 0x11223344};
    return record;
}

static uint32_t fnv(const uint8_t *bytes, size_t size_bytes)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size_bytes; i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    return hash;
}

static void make_golden_frame(uint8_t bytes[PAGE_BYTES])
{
    struct segment_record record = golden_segment();
    struct manifest_frame frame = {.kind = MANIFEST_FRAME_EDIT, .generation = 5, .sequence = 0x1122334455667788, .frame_bytes = PAGE_BYTES, .payload_bytes = MANIFEST_SEGMENT_FRAME_BYTES, .previous_crc = 0xa1b2c3d4,
                                   .record_count = 1, .counters = {11, 12, 13, 14, 15}};
    struct byte_writer writer = byte_writer_make(bytes + MANIFEST_HEADER_BYTES, PAGE_BYTES - MANIFEST_HEADER_BYTES);
    manifest_record_begin(&writer, MANIFEST_RECORD_SEGMENT, MANIFEST_SEGMENT_RECORD_BYTES);
    manifest_segment_encode(&record, &writer);
    cr_assert_eq(byte_writer_size(&writer), MANIFEST_SEGMENT_FRAME_BYTES);
    manifest_frame_encode(&frame, (const uint8_t *)"mote test volume", 1, 8192, bytes);
}

Test(lsm_manifest, frame_encode_golden_bytes)
{
    static const uint8_t header[80] = {
        'M',  'T',  'M',  'F',  1,    0,    2,    0,    5, 0, 0,  0, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0x10, 0, 0, 0x34, 0x01, 0, 0,
        0xd4, 0xc3, 0xb2, 0xa1, 1,    0,    0,    0,    11, 0, 0, 0, 0, 0, 0, 0, 12,   0,    0,    0,    0,    0,    0,    0,    13,   0,    0, 0, 0,    0,    0, 0,
        14,   0,    0,    0,    0,    0,    0,    0,    15, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t record_start[48] = {7, 0, 0, 0, 44, 1, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0};
    uint8_t bytes[PAGE_BYTES];
    make_golden_frame(bytes);
    cr_assert_arr_eq(bytes, header, sizeof header);
    cr_assert_arr_eq(bytes + 128, record_start, sizeof record_start);
    cr_assert_arr_eq(bytes + 128 + 8 + 112, "\7\0\0\0\1\0\0\0\4\3\2\1\2\0\0\0", 16);
    cr_assert_arr_eq(bytes + 128 + 8 + 260, "\36\0\0\0\1\0\0\0\6\0\0\0\0\0\0\0\204\3\0\0\0\0\0\0\40\3\0\0\0\0\0\0\100\0\0\0\104\63\42\21", 40);
    cr_assert_eq(load_u32(bytes + 124), 0x48ab6136u, "crc %08x", load_u32(bytes + 124));
    cr_assert_eq(fnv(bytes, PAGE_BYTES), 0x1551b97fu, "fnv %08x", fnv(bytes, PAGE_BYTES));
    struct byte_reader reader = byte_reader_make(bytes + 136, MANIFEST_SEGMENT_RECORD_BYTES);
    struct segment_record decoded;
    cr_assert(manifest_segment_decode(&reader, &decoded));
    uint8_t again[MANIFEST_SEGMENT_RECORD_BYTES];
    struct byte_writer writer = byte_writer_make(again, sizeof again);
    manifest_segment_encode(&decoded, &writer);
    cr_assert_arr_eq(again, bytes + 136, sizeof again);
    cr_assert(decoded.time_min == -4 && decoded.runs[1].first == 0x01020304 && decoded.timestamp.root_crc == 0x11223344 && decoded.max_key.truncated);
}

static bool frame_is_valid(const uint8_t bytes[PAGE_BYTES], unsigned area, uint64_t offset_bytes)
{
    struct manifest_frame frame;
    return manifest_frame_header(bytes, PAGE_BYTES, &frame) &&
           manifest_frame_crc_add(manifest_frame_crc_begin((const uint8_t *)"mote test volume", area, offset_bytes), bytes, 0, PAGE_BYTES) == frame.crc;
}

Test(lsm_manifest, frame_any_bit_flipped_is_invalid)
{
    uint8_t bytes[PAGE_BYTES];
    make_golden_frame(bytes);
    cr_assert(frame_is_valid(bytes, 1, 8192));
    cr_assert_not(frame_is_valid(bytes, 0, 8192), "a frame of another area");
    cr_assert_not(frame_is_valid(bytes, 1, 4096), "a frame of another place");
    for (uint32_t bit = 0; bit < 8 * PAGE_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not(frame_is_valid(bytes, 1, 8192), "bit %u", bit);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

Test(lsm_manifest, segment_record_reserved_bytes_refused)
{
    uint8_t bytes[MANIFEST_SEGMENT_RECORD_BYTES];
    struct segment_record record = golden_segment(), decoded;
    struct byte_writer writer = byte_writer_make(bytes, sizeof bytes);
    manifest_segment_encode(&record, &writer);
    static const uint32_t places[] = {108, 112 + 16, 112 + 63, 176 + 2, 176 + 39, 176 + 40, 176 + 41, 218 + 40, 218 + 41};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        uint8_t old = bytes[places[i]];
        bytes[places[i]] = 200;
        struct byte_reader reader = byte_reader_make(bytes, sizeof bytes);
        cr_assert_not(manifest_segment_decode(&reader, &decoded), "byte %u", places[i]);
        bytes[places[i]] = old;
    }
}

/* ---- Edits ---- */

static void edit_everything(struct lsm_volume *volume, struct schema *schema)
{
    struct manifest_edit *edit = lsm_volume_begin(volume);
    struct segment_record records[6];
    struct manifest_log_range range = {0, lsm_volume_extents(volume, 2)};
    for (unsigned i = 0; i < 6; i++) {
        records[i] = lsm_volume_segment(volume, schema->table_id, 1 + i % 2);
        manifest_edit_add_segment(edit, &records[i]);
    }
    manifest_edit_begin_incarnation(edit, 0xabcd, 0, 0);
    manifest_edit_add_log_range(edit, &range);
    lsm_volume_commit(edit);
    struct schema *second = lsm_volume_schema(volume, "second"), *third = lsm_volume_schema(volume, "third"), *wider;
    struct mote_column_definition column = {.name = "extra", .type = MOTE_TYPE_FLOAT64};
    lsm_volume_check(schema_add_column(volume->memory, schema, &column, manifest_take_column_ids(volume->manifest, 1), &wider), "schema_add_column");
    edit = lsm_volume_begin(volume);
    manifest_edit_put_table(edit, second, 5, 2);
    manifest_edit_put_table(edit, third, 6, 2);
    manifest_edit_put_table(edit, wider, 7, 3);
    manifest_edit_set_rowid(edit, second->table_id, 99);
    struct segment_record dropped = lsm_volume_segment(volume, third->table_id, 1);
    manifest_edit_add_segment(edit, &dropped);
    lsm_volume_commit(edit);
    edit = lsm_volume_begin(volume);
    struct segment_section section = {.run = lsm_volume_extents(volume, 1), .section_id = manifest_take_section_id(volume->manifest), .length_bytes = 5000, .root_offset_bytes = 4000, .root_bytes = 100, .root_crc = 7};
    manifest_edit_set_timestamp(edit, records[1].id, &section);
    manifest_edit_remove_segment(edit, records[0].id);
    manifest_edit_drop_table(edit, third->table_id);
    manifest_edit_set_flushed_seq(edit, 1234);
    manifest_edit_add_lost_range(edit, &(struct manifest_lost_range){10, 20, 3, 4});
    lsm_volume_commit(edit);
    edit = lsm_volume_begin(volume);
    manifest_edit_begin_incarnation(edit, 0xdcba, 2 * LSM_VOLUME_EXTENT_BYTES, 70000);
    range = (struct manifest_log_range){2 * LSM_VOLUME_EXTENT_BYTES, lsm_volume_extents(volume, 3)};
    manifest_edit_add_log_range(edit, &range);
    struct extent_run bad = lsm_volume_extents(volume, 1);
    extents_retire(volume->extents, bad.first);
    manifest_edit_add_bad_extent(edit, bad.first);
    manifest_edit_set_head(edit, 66000);
    manifest_edit_set_clean_end(edit, 70000, 1234);
    lsm_volume_commit(edit);
    schema_free(volume->memory, second);
    schema_free(volume->memory, third);
    schema_free(volume->memory, wider);
}

Test(lsm_manifest, edits_of_every_kind_survive_reopen)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    struct schema *schema = lsm_volume_table(&volume, "first");
    edit_everything(&volume, schema);
    schema_free(volume.memory, schema);
    char *text = lsm_volume_text(volume.manifest);
    static const char *const parts[] = {"flushed seq 1234 head lsn 66000 clean end lsn 70000 seq 1234", "log range lsn 0 extents", "log range lsn 131072 extents", "incarnation 000000000000abcd first lsn 0 end lsn 70000",
                                        "incarnation 000000000000dcba first lsn 131072 live", "lost lsn 10..20 seq 3..4", "bad extent", "first schema 2 columns 4 next rowid 7 ddl seq 3", "second schema 1 columns 3 next rowid 99",
                                        "timestamp section 1 "};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        cr_assert(strstr(text, parts[i]), "%s is missing in\n%s", parts[i], text);
    cr_assert_not(strstr(text, "third"));
    free(text);
    uint32_t used = lsm_volume_used(&volume);
    cr_assert_eq(used, 8 + 1 + 5, "segments 2..6 are %u extents", used);
    lsm_volume_reopen(&volume, "after edits");
    cr_assert_eq(lsm_volume_used(&volume), used);
    lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
    lsm_volume_reopen(&volume, "after a snapshot");
    cr_assert_eq(lsm_volume_used(&volume), used);
    struct extents_counts counts;
    extents_get_counts(volume.extents, &counts);
    cr_assert_eq(counts.bad, 1u);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, counters_are_never_reused_after_reopen)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    uint64_t highest[5] = {0};
    for (unsigned round = 0; round < 6; round++) {
        uint64_t taken[5] = {manifest_take_segment_id(volume.manifest), manifest_take_table_id(volume.manifest), manifest_take_column_ids(volume.manifest, 10), manifest_take_run_id(volume.manifest),
                             manifest_take_section_id(volume.manifest)};
        for (unsigned i = 0; i < 5; i++) {
            cr_assert_gt(taken[i], highest[i], "counter %u", i);
            highest[i] = taken[i] + (i == 2 ? 9 : 0);
        }
        if (round % 2) {
            struct manifest_edit *edit = lsm_volume_begin(&volume);
            manifest_edit_set_flushed_seq(edit, round);
            lsm_volume_commit(edit);
        } else {
            lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
        }
        lsm_volume_reopen(&volume, "round");
    }
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, full_area_rotates_and_advances_superblock)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    uint64_t table_id = lsm_volume_make_table(&volume, "arm"), used, size, before = 0, generation = volume.superblock.generation, ids[64];
    unsigned rotations = 0;
    for (unsigned i = 0; i < 600; i++) {
        uint32_t area = volume.superblock.manifest_area;
        if (i >= 20)
            lsm_volume_remove(&volume, ids[i % 20]);
        ids[i % 20] = lsm_volume_add(&volume, table_id);
        manifest_usage(volume.manifest, &used, &size);
        cr_assert_leq(used, size);
        if (used < before) {
            rotations++;
            cr_assert_eq(volume.superblock.manifest_area, 1 - area);
            cr_assert_eq(volume.superblock.generation, generation + rotations);
            lsm_volume_reopen(&volume, "after a rotation");
        }
        before = used;
    }
    cr_assert_gt(rotations, 5u);
    cr_assert_eq(manifest_get_state(volume.manifest)->segment_count, 20u);
    cr_assert_eq(lsm_volume_used(&volume), 20u);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, segments_max_refuses_with_enospc_and_removal_still_fits)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(64);
    lsm_volume_open_rw(&volume, device);
    uint64_t table_id = lsm_volume_make_table(&volume, "arm"), first = 0;
    for (unsigned i = 0; i < 64; i++) {
        uint64_t id = lsm_volume_add(&volume, table_id);
        first = first ? first : id;
    }
    struct segment_record record = lsm_volume_segment(&volume, table_id, 1);
    struct manifest_edit *edit = lsm_volume_begin(&volume);
    manifest_edit_add_segment(edit, &record);
    cr_assert_eq(manifest_commit(edit, NULL, NULL), MOTE_ENOSPC);
    edit = lsm_volume_begin(&volume);
    manifest_edit_add_segment(edit, &record);
    manifest_edit_remove_segment(edit, first);
    lsm_volume_commit(edit);
    lsm_volume_reopen(&volume, "at segments_max");
    lsm_volume_remove(&volume, record.id);
    cr_assert_eq(manifest_get_state(volume.manifest)->segment_count, 63u);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, catalog_too_large_refuses_with_enospc)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(64);
    lsm_volume_check(lsm_volume_open(&volume, device, 1000, false), "open");
    unsigned made = 0;
    int result = MOTE_OK;
    for (; made < 1000 && !result; made++) {
        char name[16];
        snprintf(name, sizeof name, "table%u", made);
        struct schema *schema = lsm_volume_schema(&volume, name);
        struct manifest_edit *edit = lsm_volume_begin(&volume);
        manifest_edit_put_table(edit, schema, 1, 1);
        result = manifest_commit(edit, NULL, NULL);
        schema_free(volume.memory, schema);
    }
    cr_assert_eq(result, MOTE_ENOSPC);
    cr_assert_gt(made, 50u);
    /* The largest state of all still fits half an area: all segments, and the log in pieces. */
    lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
    char *before = lsm_volume_text(volume.manifest);
    lsm_volume_close(&volume);
    cr_assert_eq(lsm_volume_open(&volume, device, made - 2, false), MOTE_EBUDGET, "tables_max below the number of tables");
    lsm_volume_check(lsm_volume_open(&volume, device, made - 1, false), "open");
    char *after = lsm_volume_text(volume.manifest);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

/* ---- Versions ---- */

static void note_install(void *context) { ++*(unsigned *)context; }

Test(lsm_manifest, versions_keep_dropped_segments_until_released)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    uint64_t table_id = lsm_volume_make_table(&volume, "arm"), other = lsm_volume_make_table(&volume, "leg"), id = lsm_volume_add(&volume, table_id);
    lsm_volume_add(&volume, table_id);
    lsm_volume_add(&volume, other);
    struct version *old = version_acquire(volume.manifest);
    const struct segment_list *list = version_find(old, table_id);
    cr_assert(list && list->count == 2 && list->segments[0]->record.id == id && list->segments[2] == list->segments[0]);
    cr_assert_null(version_find(old, 999));
    unsigned calls = 0;
    struct manifest_edit *edit = lsm_volume_begin(&volume);
    manifest_edit_remove_segment(edit, id);
    manifest_edit_set_flushed_seq(edit, 40);
    lsm_volume_check(manifest_commit(edit, note_install, &calls), "manifest_commit");
    cr_assert_eq(calls, 1u);
    struct version *new = version_acquire(volume.manifest);
    cr_assert_eq(new->number, old->number + 1);
    cr_assert_eq(new->flushed_seq, 40u);
    cr_assert_eq(version_find(new, table_id)->count, 1u);
    cr_assert_eq(version_find(new, other), version_find(old, other), "a list that is not touched is shared");
    cr_assert_eq(lsm_volume_used(&volume), 3u);
    cr_assert_eq(list->segments[0]->record.id, id);
    version_release(volume.manifest, old);
    cr_assert_eq(lsm_volume_used(&volume), 2u);
    version_release(volume.manifest, new);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, rebuilt_timestamp_section_frees_the_old_one_and_keeps_the_segment)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    uint64_t table_id = lsm_volume_make_table(&volume, "arm"), id = lsm_volume_add(&volume, table_id);
    struct version *versions[4];
    for (unsigned i = 0; i < 3; i++) {
        versions[i] = version_acquire(volume.manifest);
        struct segment_section section = {.run = lsm_volume_extents(&volume, 1), .section_id = manifest_take_section_id(volume.manifest), .length_bytes = 100, .root_bytes = 10 + i};
        struct manifest_edit *edit = lsm_volume_begin(&volume);
        manifest_edit_set_timestamp(edit, id, &section);
        lsm_volume_commit(edit);
    }
    versions[3] = version_acquire(volume.manifest);
    lsm_volume_remove(&volume, id);
    cr_assert_eq(lsm_volume_used(&volume), 4u);
    /* The newest copy first: its extents must wait for the older copies' readers. */
    version_release(volume.manifest, versions[3]);
    cr_assert_eq(lsm_volume_used(&volume), 4u);
    cr_assert_eq(version_find(versions[1], table_id)->segments[0]->record.timestamp.root_bytes, 10u);
    version_release(volume.manifest, versions[1]);
    cr_assert_eq(lsm_volume_used(&volume), 4u, "an older copy has a reader yet, and keeps its successor");
    version_release(volume.manifest, versions[0]);
    cr_assert_eq(lsm_volume_used(&volume), 3u);
    version_release(volume.manifest, versions[2]);
    cr_assert_eq(lsm_volume_used(&volume), 0u);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

/* ---- The log ---- */

Test(lsm_manifest, head_and_incarnations_free_log_ranges)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    const struct manifest_state *state = manifest_get_state(volume.manifest);
    struct manifest_edit *edit = lsm_volume_begin(&volume);
    manifest_edit_begin_incarnation(edit, 1, 0, 0);
    for (unsigned i = 0; i < 4; i++)
        manifest_edit_add_log_range(edit, &(struct manifest_log_range){i * 2 * LSM_VOLUME_EXTENT_BYTES, lsm_volume_extents(&volume, 2)});
    lsm_volume_commit(edit);
    edit = lsm_volume_begin(&volume);
    manifest_edit_set_head(edit, 2 * LSM_VOLUME_EXTENT_BYTES + 5);
    lsm_volume_commit(edit);
    cr_assert_eq(state->log_range_count, 3u);
    cr_assert_eq(lsm_volume_used(&volume), 6u);
    /* The log ended within the second range that is left; the third is mapped beyond it. The new incarnation's own range, in the same edit, stays. */
    edit = lsm_volume_begin(&volume);
    manifest_edit_begin_incarnation(edit, 2, 8 * LSM_VOLUME_EXTENT_BYTES, 4 * LSM_VOLUME_EXTENT_BYTES + 100);
    manifest_edit_add_log_range(edit, &(struct manifest_log_range){8 * LSM_VOLUME_EXTENT_BYTES, lsm_volume_extents(&volume, 1)});
    lsm_volume_commit(edit);
    cr_assert_eq(state->log_range_count, 3u);
    cr_assert_eq(state->incarnation_count, 2u);
    cr_assert_eq(state->incarnations[0].end_lsn, 4 * LSM_VOLUME_EXTENT_BYTES + 100);
    cr_assert_eq(lsm_volume_used(&volume), 5u);
    lsm_volume_reopen(&volume, "two incarnations");
    state = manifest_get_state(volume.manifest);
    edit = lsm_volume_begin(&volume);
    manifest_edit_set_head(edit, 8 * LSM_VOLUME_EXTENT_BYTES);
    lsm_volume_commit(edit);
    cr_assert_eq(state->log_range_count, 1u);
    cr_assert_eq(state->incarnation_count, 1u);
    cr_assert_eq(state->incarnations[0].id, 2u);
    cr_assert_eq(lsm_volume_used(&volume), 1u);
    for (uint64_t i = 0; i < MANIFEST_LOST_RANGES_MAX + 5; i++) {
        edit = lsm_volume_begin(&volume);
        manifest_edit_add_lost_range(edit, &(struct manifest_lost_range){i, i + 1, 100 + i, 101 + i});
        lsm_volume_commit(edit);
    }
    cr_assert_eq(state->lost_range_count, MANIFEST_LOST_RANGES_MAX);
    cr_assert_eq(state->lost_ranges[MANIFEST_LOST_RANGES_MAX - 1].lsn_to, MANIFEST_LOST_RANGES_MAX + 5);
    lsm_volume_reopen(&volume, "full lists");
    lsm_volume_close(&volume);
    blockdev_close(device);
}
