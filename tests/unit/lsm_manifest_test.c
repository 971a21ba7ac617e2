/* lsm_manifest_test.c: the manifest's frames, edits, rotation, healing and refusals (engine/lsm/manifest.h), on a simulated disk. Power cuts: tests/sim/manifest_crash_test.c. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/faulty.h"
#include "engine/lsm/manifest_format.h"
#include "tests/support/lsm_volume.h"

#define DEVICE_BYTES (32u << 20)
#define EXTENT_BYTES 65536u

static struct blockdev *make_device(uint32_t segments_max)
{
    struct blockdev *device = lsm_volume_sim(DEVICE_BYTES, 1, false);
    lsm_volume_format(device, EXTENT_BYTES, segments_max);
    return device;
}

static void open_volume(struct lsm_volume *volume, struct blockdev *device) { lsm_volume_check(lsm_volume_open(volume, device, 8, false), "open"); }

static struct manifest_edit *begin(struct lsm_volume *volume)
{
    struct manifest_edit *edit;
    lsm_volume_check(manifest_edit_begin(volume->manifest, &edit), "manifest_edit_begin");
    return edit;
}

static void commit(struct manifest_edit *edit) { lsm_volume_check(manifest_commit(edit, NULL, NULL), "manifest_commit"); }

static uint64_t add_segment(struct lsm_volume *volume, uint64_t table_id)
{
    struct segment_record record = lsm_volume_segment(volume, table_id, 1);
    struct manifest_edit *edit = begin(volume);
    manifest_edit_add_segment(edit, &record);
    commit(edit);
    return record.id;
}

static uint32_t used_extents(struct lsm_volume *volume)
{
    struct extents_counts counts;
    extents_get_counts(volume->extents, &counts);
    return counts.used;
}

/* Closes and opens again; the state must be the same. */
static void reopen(struct lsm_volume *volume, const char *when)
{
    struct blockdev *device = volume->device;
    char *before = lsm_volume_text(volume->manifest);
    lsm_volume_close(volume);
    open_volume(volume, device);
    char *after = lsm_volume_text(volume->manifest);
    cr_assert_str_eq(after, before, "%s", when);
    free(before);
    free(after);
}

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
    struct manifest_edit *edit = begin(volume);
    struct segment_record records[6];
    struct manifest_log_range range = {0, lsm_volume_extents(volume, 2)};
    for (unsigned i = 0; i < 6; i++) {
        records[i] = lsm_volume_segment(volume, schema->table_id, 1 + i % 2);
        manifest_edit_add_segment(edit, &records[i]);
    }
    manifest_edit_begin_incarnation(edit, 0xabcd, 0, 0);
    manifest_edit_add_log_range(edit, &range);
    commit(edit);
    struct schema *second = lsm_volume_schema(volume, "second"), *third = lsm_volume_schema(volume, "third"), *wider;
    struct mote_column_definition column = {.name = "extra", .type = MOTE_TYPE_FLOAT64};
    lsm_volume_check(schema_add_column(volume->memory, schema, &column, manifest_take_column_ids(volume->manifest, 1), &wider), "schema_add_column");
    edit = begin(volume);
    manifest_edit_put_table(edit, second, 5, 2);
    manifest_edit_put_table(edit, third, 6, 2);
    manifest_edit_put_table(edit, wider, 7, 3);
    manifest_edit_set_rowid(edit, second->table_id, 99);
    struct segment_record dropped = lsm_volume_segment(volume, third->table_id, 1);
    manifest_edit_add_segment(edit, &dropped);
    commit(edit);
    edit = begin(volume);
    struct segment_section section = {.run = lsm_volume_extents(volume, 1), .section_id = manifest_take_section_id(volume->manifest), .length_bytes = 5000, .root_offset_bytes = 4000, .root_bytes = 100, .root_crc = 7};
    manifest_edit_set_timestamp(edit, records[1].id, &section);
    manifest_edit_remove_segment(edit, records[0].id);
    manifest_edit_drop_table(edit, third->table_id);
    manifest_edit_set_flushed_seq(edit, 1234);
    manifest_edit_add_lost_range(edit, &(struct manifest_lost_range){10, 20, 3, 4});
    commit(edit);
    edit = begin(volume);
    manifest_edit_begin_incarnation(edit, 0xdcba, 2 * EXTENT_BYTES, 70000);
    range = (struct manifest_log_range){2 * EXTENT_BYTES, lsm_volume_extents(volume, 3)};
    manifest_edit_add_log_range(edit, &range);
    struct extent_run bad = lsm_volume_extents(volume, 1);
    extents_retire(volume->extents, bad.first);
    manifest_edit_add_bad_extent(edit, bad.first);
    manifest_edit_set_head(edit, 66000);
    manifest_edit_set_clean_end(edit, 70000, 1234);
    commit(edit);
    schema_free(volume->memory, second);
    schema_free(volume->memory, third);
    schema_free(volume->memory, wider);
}

Test(lsm_manifest, edits_of_every_kind_survive_reopen)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
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
    uint32_t used = used_extents(&volume);
    cr_assert_eq(used, 8 + 1 + 5, "segments 2..6 are %u extents", used);
    reopen(&volume, "after edits");
    cr_assert_eq(used_extents(&volume), used);
    lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
    reopen(&volume, "after a snapshot");
    cr_assert_eq(used_extents(&volume), used);
    struct extents_counts counts;
    extents_get_counts(volume.extents, &counts);
    cr_assert_eq(counts.bad, 1u);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, counters_are_never_reused_after_reopen)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
    uint64_t highest[5] = {0};
    for (unsigned round = 0; round < 6; round++) {
        uint64_t taken[5] = {manifest_take_segment_id(volume.manifest), manifest_take_table_id(volume.manifest), manifest_take_column_ids(volume.manifest, 10), manifest_take_run_id(volume.manifest),
                             manifest_take_section_id(volume.manifest)};
        for (unsigned i = 0; i < 5; i++) {
            cr_assert_gt(taken[i], highest[i], "counter %u", i);
            highest[i] = taken[i] + (i == 2 ? 9 : 0);
        }
        if (round % 2) {
            struct manifest_edit *edit = begin(&volume);
            manifest_edit_set_flushed_seq(edit, round);
            commit(edit);
        } else {
            lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
        }
        reopen(&volume, "round");
    }
    lsm_volume_close(&volume);
    blockdev_close(device);
}

static uint64_t make_table(struct lsm_volume *volume, const char *name)
{
    struct schema *schema = lsm_volume_table(volume, name);
    uint64_t table_id = schema->table_id;
    schema_free(volume->memory, schema);
    return table_id;
}

static void remove_segment(struct lsm_volume *volume, uint64_t id)
{
    struct manifest_edit *edit = begin(volume);
    manifest_edit_remove_segment(edit, id);
    commit(edit);
}

Test(lsm_manifest, full_area_rotates_and_advances_superblock)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
    uint64_t table_id = make_table(&volume, "arm"), used, size, before = 0, generation = volume.superblock.generation, ids[64];
    unsigned rotations = 0;
    for (unsigned i = 0; i < 600; i++) {
        uint32_t area = volume.superblock.manifest_area;
        if (i >= 20)
            remove_segment(&volume, ids[i % 20]);
        ids[i % 20] = add_segment(&volume, table_id);
        manifest_usage(volume.manifest, &used, &size);
        cr_assert_leq(used, size);
        if (used < before) {
            rotations++;
            cr_assert_eq(volume.superblock.manifest_area, 1 - area);
            cr_assert_eq(volume.superblock.generation, generation + rotations);
            reopen(&volume, "after a rotation");
        }
        before = used;
    }
    cr_assert_gt(rotations, 5u);
    cr_assert_eq(manifest_get_state(volume.manifest)->segment_count, 20u);
    cr_assert_eq(used_extents(&volume), 20u);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, segments_max_refuses_with_enospc_and_removal_still_fits)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(64);
    open_volume(&volume, device);
    uint64_t table_id = make_table(&volume, "arm"), first = 0;
    for (unsigned i = 0; i < 64; i++) {
        uint64_t id = add_segment(&volume, table_id);
        first = first ? first : id;
    }
    struct segment_record record = lsm_volume_segment(&volume, table_id, 1);
    struct manifest_edit *edit = begin(&volume);
    manifest_edit_add_segment(edit, &record);
    cr_assert_eq(manifest_commit(edit, NULL, NULL), MOTE_ENOSPC);
    edit = begin(&volume);
    manifest_edit_add_segment(edit, &record);
    manifest_edit_remove_segment(edit, first);
    commit(edit);
    reopen(&volume, "at segments_max");
    remove_segment(&volume, record.id);
    cr_assert_eq(manifest_get_state(volume.manifest)->segment_count, 63u);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, catalog_too_large_refuses_with_enospc)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(64);
    lsm_volume_check(lsm_volume_open(&volume, device, 1000, false), "open");
    unsigned made = 0;
    int result = MOTE_OK;
    for (; made < 1000 && !result; made++) {
        char name[16];
        snprintf(name, sizeof name, "table%u", made);
        struct schema *schema = lsm_volume_schema(&volume, name);
        struct manifest_edit *edit = begin(&volume);
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

/* ---- Refusals ---- */

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
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
    struct refusal_setup setup = {.volume = &volume, .table_id = make_table(&volume, "arm")};
    setup.present = lsm_volume_segment(&volume, setup.table_id, 1);
    setup.fresh = lsm_volume_segment(&volume, setup.table_id, 2);
    setup.schema = lsm_volume_schema(&volume, "arm"); /* the same name under another id */
    struct manifest_log_range range = {0, lsm_volume_extents(&volume, 2)};
    struct manifest_edit *edit = begin(&volume);
    manifest_edit_add_segment(edit, &setup.present);
    manifest_edit_set_flushed_seq(edit, 50);
    manifest_edit_begin_incarnation(edit, 0xaa, 0, 0);
    manifest_edit_add_log_range(edit, &range);
    manifest_edit_set_head(edit, 100);
    commit(edit);
    char *before = lsm_volume_text(volume.manifest);
    uint64_t used_before, used_after, size;
    uint32_t extents_before = used_extents(&volume);
    manifest_usage(volume.manifest, &used_before, &size);
    struct blockdev_counters counters_before, counters_after;
    blockdev_get_counters(device, &counters_before);
    for (unsigned i = 0; i < REFUSALS; i++) {
        struct mote_error error;
        edit = begin(&volume);
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
    cr_assert_eq(used_extents(&volume), extents_before);
    edit = begin(&volume);
    manifest_edit_add_segment(edit, &setup.fresh);
    commit(edit);
    schema_free(volume.memory, setup.schema);
    reopen(&volume, "after refusals");
    free(before);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, commit_without_memory_changes_nothing)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
    uint64_t table_id = make_table(&volume, "arm"), old = add_segment(&volume, table_id);
    char *before = lsm_volume_text(volume.manifest);
    struct segment_record record = lsm_volume_segment(&volume, table_id, 1);
    struct schema *schema = lsm_volume_schema(&volume, "leg");
    struct segment_section section = {.run = lsm_volume_extents(&volume, 1), .section_id = manifest_take_section_id(volume.manifest), .length_bytes = 100};
    int result = MOTE_EBUDGET;
    unsigned failures = 0;
    for (int64_t n = 0; result; n++) {
        uint64_t used_bytes = memory_used_bytes(volume.memory);
        struct manifest_edit *edit = begin(&volume);
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
    reopen(&volume, "after failures");
    free(before);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, failed_write_or_barrier_poisons)
{
    static const struct { uint32_t op; uint64_t skip; } faults[] = {{BLOCKDEV_WRITE, 0}, {BLOCKDEV_WRITE, 1}, {BLOCKDEV_FLUSH, 0}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct lsm_volume volume;
        struct blockdev *inner = make_device(0), *device;
        lsm_volume_check(faulty_create(inner, &device), "faulty_create");
        open_volume(&volume, device);
        uint64_t table_id = make_table(&volume, "arm");
        char *before = lsm_volume_text(volume.manifest);
        struct segment_record record = lsm_volume_segment(&volume, table_id, 1);
        faulty_add(device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << faults[i].op, .skip = faults[i].skip, .times = 1, .system_errno = 5});
        struct manifest_edit *edit = begin(&volume);
        manifest_edit_add_segment(edit, &record);
        cr_assert_eq(manifest_commit(edit, NULL, NULL), MOTE_EIO);
        cr_assert_eq(manifest_poisoned(volume.manifest, NULL), MOTE_EIO);
        char *after = lsm_volume_text(volume.manifest);
        cr_assert_str_eq(after, before);
        edit = begin(&volume);
        manifest_edit_set_flushed_seq(edit, 1);
        cr_assert_eq(manifest_commit(edit, NULL, NULL), MOTE_EPOISONED);
        cr_assert_eq(manifest_snapshot(volume.manifest), MOTE_EPOISONED);
        cr_assert_eq(manifest_write_superblock(volume.manifest), MOTE_EPOISONED);
        lsm_volume_close(&volume);
        open_volume(&volume, device);
        free(before);
        free(after);
        lsm_volume_close(&volume);
        blockdev_close(device);
    }
}

/* ---- Damage ---- */

/* A device whose area 0 holds the snapshot and four edits of one page each. */
static struct blockdev *make_chain(char *texts[5])
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
    texts[0] = lsm_volume_text(volume.manifest);
    uint64_t table_id = make_table(&volume, "arm");
    texts[1] = lsm_volume_text(volume.manifest);
    for (unsigned i = 2; i < 5; i++) {
        add_segment(&volume, table_id);
        texts[i] = lsm_volume_text(volume.manifest);
    }
    lsm_volume_close(&volume);
    return device;
}

static struct layout layout_of(void)
{
    struct layout layout;
    lsm_volume_check(layout_compute(DEVICE_BYTES, EXTENT_BYTES, 0, 0, &layout), "layout_compute");
    return layout;
}

static void access_page(struct blockdev *device, unsigned copy, unsigned page, uint8_t bytes[PAGE_BYTES], bool write)
{
    struct layout layout = layout_of();
    struct blockdev_queue_options options = {.depth = 4};
    struct blockdev_queue *queue;
    uint64_t offset = layout_manifest_offset(&layout, copy, 0) + (uint64_t)page * PAGE_BYTES;
    lsm_volume_check(blockdev_queue_create(device, &options, &queue), "queue");
    lsm_volume_check(write ? blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, offset, bytes, PAGE_BYTES) : blockdev_read_range(queue, offset, bytes, PAGE_BYTES), "page");
    blockdev_queue_destroy(queue);
}

static void flip(struct blockdev *device, unsigned copy, unsigned page, uint32_t bit)
{
    _Alignas(PAGE_BYTES) uint8_t bytes[PAGE_BYTES];
    access_page(device, copy, page, bytes, false);
    bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    access_page(device, copy, page, bytes, true);
}

static bool copies_equal(struct blockdev *device, unsigned page)
{
    static _Alignas(PAGE_BYTES) uint8_t a[PAGE_BYTES], b[PAGE_BYTES];
    access_page(device, 0, page, a, false);
    access_page(device, 1, page, b, false);
    return !memcmp(a, b, PAGE_BYTES);
}

/* Bits of a frame that are tried on a device: the header, the first record, some of the padding. */
static uint32_t next_bit(uint32_t bit) { return bit < 8 * 128 ? bit + 7 : bit < 8 * 460 ? bit + 67 : bit + 3999; }

Test(lsm_manifest, one_damaged_copy_is_healed)
{
    char *texts[5];
    struct blockdev *device = make_chain(texts);
    for (unsigned page = 0; page < 5; page++)
        for (unsigned copy = 0; copy < 2; copy++)
            for (uint32_t bit = page; bit < 8 * PAGE_BYTES; bit = next_bit(bit)) {
                struct lsm_volume volume;
                flip(device, copy, page, bit);
                lsm_volume_check(lsm_volume_open(&volume, device, 8, false), "open with one damaged copy");
                char *text = lsm_volume_text(volume.manifest);
                cr_assert_str_eq(text, texts[4], "page %u copy %u bit %u", page, copy, bit);
                free(text);
                lsm_volume_close(&volume);
                cr_assert(copies_equal(device, page), "page %u copy %u bit %u was not healed", page, copy, bit);
            }
    for (unsigned i = 0; i < 5; i++)
        free(texts[i]);
    blockdev_close(device);
}

Test(lsm_manifest, both_copies_damaged_is_damage_or_a_torn_tail)
{
    char *texts[5];
    struct blockdev *device = make_chain(texts);
    for (unsigned page = 0; page < 5; page++)
        for (uint32_t bit = 0; bit < 8 * PAGE_BYTES; bit = next_bit(bit)) {
            struct lsm_volume volume;
            uint32_t other = 8 * PAGE_BYTES - 1 - bit;
            flip(device, 0, page, bit);
            flip(device, 1, page, other);
            int result = lsm_volume_open(&volume, device, 8, true);
            if (page < 4) {
                struct mote_error error;
                mote_last_error(&error);
                cr_assert_eq(result, MOTE_EDAMAGED, "page %u bit %u: %d", page, bit, result);
                cr_assert(error.offset_bytes && error.message[0]);
            } else {
                cr_assert_eq(result, MOTE_OK);
                char *text = lsm_volume_text(volume.manifest);
                cr_assert_str_eq(text, texts[3]);
                free(text);
                lsm_volume_close(&volume);
            }
            flip(device, 0, page, bit);
            flip(device, 1, page, other);
        }
    for (unsigned i = 0; i < 5; i++)
        free(texts[i]);
    blockdev_close(device);
}

Test(lsm_manifest, torn_tail_is_overwritten_by_the_next_edit)
{
    char *texts[5];
    struct blockdev *device = make_chain(texts);
    struct lsm_volume volume;
    flip(device, 0, 4, 700);
    flip(device, 1, 4, 800);
    open_volume(&volume, device);
    char *text = lsm_volume_text(volume.manifest);
    cr_assert_str_eq(text, texts[3]);
    free(text);
    for (unsigned i = 0; i < 3; i++) {
        struct manifest_edit *edit = begin(&volume);
        manifest_edit_set_flushed_seq(edit, 7 + i);
        commit(edit);
        reopen(&volume, "after a torn tail");
    }
    lsm_volume_close(&volume);
    for (unsigned i = 0; i < 5; i++)
        free(texts[i]);
    blockdev_close(device);
}

Test(lsm_manifest, unreadable_copy_is_healed_and_two_are_eio)
{
    char *texts[5];
    struct blockdev *inner = make_chain(texts), *device;
    struct layout layout = layout_of();
    lsm_volume_check(faulty_create(inner, &device), "faulty_create");
    struct lsm_volume volume;
    struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_READ, .offset_bytes = layout_manifest_offset(&layout, 0, 0) + 2 * PAGE_BYTES, .length_bytes = PAGE_BYTES, .times = UINT64_MAX, .system_errno = 5};
    faulty_add(device, &rule);
    open_volume(&volume, device);
    char *text = lsm_volume_text(volume.manifest);
    cr_assert_str_eq(text, texts[4]);
    free(text);
    lsm_volume_close(&volume);
    rule.offset_bytes = layout_manifest_offset(&layout, 1, 0) + 2 * PAGE_BYTES;
    faulty_add(device, &rule);
    cr_assert_eq(lsm_volume_open(&volume, device, 8, false), MOTE_EIO);
    for (unsigned i = 0; i < 5; i++)
        free(texts[i]);
    blockdev_close(device);
}

Test(lsm_manifest, what_recovery_showed_survives_a_power_cut)
{
    /* A commit whose barrier fails is refused, yet its frame stands in the device's cache: the next open shows it, and must make it durable before anyone relies on it. */
    struct blockdev *sim = make_device(0), *device;
    struct lsm_volume volume;
    lsm_volume_check(faulty_create(sim, &device), "faulty_create");
    open_volume(&volume, device);
    faulty_add(device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_FLUSH, .times = 1, .system_errno = 5});
    struct manifest_edit *edit = begin(&volume);
    manifest_edit_set_flushed_seq(edit, 77);
    cr_assert_eq(manifest_commit(edit, NULL, NULL), MOTE_EIO);
    lsm_volume_close(&volume);
    faulty_clear(device);
    open_volume(&volume, device);
    cr_assert_eq(manifest_get_state(volume.manifest)->flushed_seq, 77u);
    lsm_volume_close(&volume);
    sim_power_cut(sim, SIM_CRASH_NONE, 0, 1);
    sim_power_on(sim);
    open_volume(&volume, device);
    cr_assert_eq(manifest_get_state(volume.manifest)->flushed_seq, 77u);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, read_only_writes_nothing)
{
    char *texts[5];
    struct blockdev *device = make_chain(texts);
    struct blockdev_counters before, after;
    struct lsm_volume volume;
    flip(device, 0, 2, 1000);
    flip(device, 1, 3, 1000);
    blockdev_get_counters(device, &before);
    lsm_volume_check(lsm_volume_open(&volume, device, 8, true), "open read-only");
    char *text = lsm_volume_text(volume.manifest);
    cr_assert_str_eq(text, texts[4]);
    free(text);
    struct manifest_edit *edit = begin(&volume);
    manifest_edit_set_flushed_seq(edit, 1);
    cr_assert_eq(manifest_commit(edit, NULL, NULL), MOTE_EREADONLY);
    cr_assert_eq(manifest_snapshot(volume.manifest), MOTE_EREADONLY);
    cr_assert_eq(manifest_write_superblock(volume.manifest), MOTE_EREADONLY);
    lsm_volume_close(&volume);
    blockdev_get_counters(device, &after);
    cr_assert_eq(before.write_count, after.write_count);
    cr_assert_eq(before.flush_count, after.flush_count);
    cr_assert_not(copies_equal(device, 2));
    for (unsigned i = 0; i < 5; i++)
        free(texts[i]);
    blockdev_close(device);
}

Test(lsm_manifest, superblock_older_than_the_manifest_is_damage)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
    uint64_t table_id = make_table(&volume, "arm");
    struct superblock old = volume.superblock;
    struct layout layout = old.layout;
    lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
    uint64_t newer = volume.superblock.generation;
    add_segment(&volume, table_id);
    lsm_volume_close(&volume);
    /* Loses every slot of the newer generation. */
    struct blockdev_queue_options options = {.depth = 4};
    struct blockdev_queue *queue;
    static _Alignas(PAGE_BYTES) uint8_t zeros[PAGE_BYTES];
    lsm_volume_check(blockdev_queue_create(device, &options, &queue), "queue");
    for (unsigned copy = 0; copy < 2; copy++)
        lsm_volume_check(blockdev_write_range(queue, BLOCKDEV_SOURCE_OTHER, layout_slot_offset(&layout, copy, newer), zeros, PAGE_BYTES), "slot");
    blockdev_queue_destroy(queue);
    cr_assert_eq(lsm_volume_open(&volume, device, 8, false), MOTE_EDAMAGED);
    blockdev_close(device);
}

Test(lsm_manifest, format_with_the_same_uuid_forgets_the_old_chain)
{
    char *texts[5];
    struct blockdev *device = make_chain(texts);
    struct lsm_volume volume;
    lsm_volume_format(device, EXTENT_BYTES, 0);
    open_volume(&volume, device);
    char *text = lsm_volume_text(volume.manifest);
    cr_assert_str_eq(text, texts[0]);
    free(text);
    lsm_volume_close(&volume);
    for (unsigned i = 0; i < 5; i++)
        free(texts[i]);
    blockdev_close(device);
}

struct walked {
    unsigned frames[2][2], invalid;
};

static void visit_frame(void *context, unsigned copy, unsigned area, uint64_t offset_bytes, uint64_t sequence, uint64_t generation, uint32_t kind, uint32_t length_bytes, bool valid)
{
    struct walked *walked = context;
    walked->frames[copy][area] += valid;
    walked->invalid += !valid;
    cr_assert(sequence && generation && length_bytes == PAGE_BYTES);
    cr_assert_eq(kind, offset_bytes ? MANIFEST_FRAME_EDIT : MANIFEST_FRAME_SNAPSHOT);
}

Test(lsm_manifest, walk_visits_every_frame_of_both_copies)
{
    char *texts[5];
    struct blockdev *device = make_chain(texts);
    struct lsm_volume volume;
    open_volume(&volume, device);
    lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
    flip(device, 1, 2, 8 * 200);
    struct walked walked = {0};
    lsm_volume_check(manifest_walk(volume.queue, volume.memory, &volume.superblock, visit_frame, &walked), "manifest_walk");
    cr_assert_eq(walked.frames[0][0], 5u);
    cr_assert_eq(walked.frames[1][0], 4u);
    cr_assert_eq(walked.frames[0][1], 1u);
    cr_assert_eq(walked.frames[1][1], 1u);
    cr_assert_eq(walked.invalid, 1u);
    lsm_volume_close(&volume);
    for (unsigned i = 0; i < 5; i++)
        free(texts[i]);
    blockdev_close(device);
}

/* ---- Versions ---- */

struct install_check {
    struct lsm_volume *volume;
    unsigned calls;
};

static void note_install(void *context) { ((struct install_check *)context)->calls++; }

Test(lsm_manifest, versions_keep_dropped_segments_until_released)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
    uint64_t table_id = make_table(&volume, "arm"), other = make_table(&volume, "leg"), id = add_segment(&volume, table_id);
    add_segment(&volume, table_id);
    add_segment(&volume, other);
    struct version *old = version_acquire(volume.manifest);
    const struct segment_list *list = version_find(old, table_id);
    cr_assert(list && list->count == 2 && list->segments[0]->record.id == id && list->segments[2] == list->segments[0]);
    cr_assert_null(version_find(old, 999));
    struct install_check check = {&volume, 0};
    struct manifest_edit *edit = begin(&volume);
    manifest_edit_remove_segment(edit, id);
    manifest_edit_set_flushed_seq(edit, 40);
    lsm_volume_check(manifest_commit(edit, note_install, &check), "manifest_commit");
    cr_assert_eq(check.calls, 1u);
    struct version *new = version_acquire(volume.manifest);
    cr_assert_eq(new->number, old->number + 1);
    cr_assert_eq(new->flushed_seq, 40u);
    cr_assert_eq(version_find(new, table_id)->count, 1u);
    cr_assert_eq(version_find(new, other), version_find(old, other), "a list that is not touched is shared");
    cr_assert_eq(used_extents(&volume), 3u);
    cr_assert_eq(list->segments[0]->record.id, id);
    version_release(volume.manifest, old);
    cr_assert_eq(used_extents(&volume), 2u);
    version_release(volume.manifest, new);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest, rebuilt_timestamp_section_frees_the_old_one_and_keeps_the_segment)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
    uint64_t table_id = make_table(&volume, "arm"), id = add_segment(&volume, table_id);
    struct version *versions[4];
    for (unsigned i = 0; i < 3; i++) {
        versions[i] = version_acquire(volume.manifest);
        struct segment_section section = {.run = lsm_volume_extents(&volume, 1), .section_id = manifest_take_section_id(volume.manifest), .length_bytes = 100, .root_bytes = 10 + i};
        struct manifest_edit *edit = begin(&volume);
        manifest_edit_set_timestamp(edit, id, &section);
        commit(edit);
    }
    versions[3] = version_acquire(volume.manifest);
    remove_segment(&volume, id);
    cr_assert_eq(used_extents(&volume), 4u);
    /* The newest copy first: its extents must wait for the older copies' readers. */
    version_release(volume.manifest, versions[3]);
    cr_assert_eq(used_extents(&volume), 4u);
    cr_assert_eq(version_find(versions[1], table_id)->segments[0]->record.timestamp.root_bytes, 10u);
    version_release(volume.manifest, versions[1]);
    cr_assert_eq(used_extents(&volume), 4u, "an older copy has a reader yet, and keeps its successor");
    version_release(volume.manifest, versions[0]);
    cr_assert_eq(used_extents(&volume), 3u);
    version_release(volume.manifest, versions[2]);
    cr_assert_eq(used_extents(&volume), 0u);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

/* ---- The log ---- */

Test(lsm_manifest, head_and_incarnations_free_log_ranges)
{
    struct lsm_volume volume;
    struct blockdev *device = make_device(0);
    open_volume(&volume, device);
    const struct manifest_state *state = manifest_get_state(volume.manifest);
    struct manifest_edit *edit = begin(&volume);
    manifest_edit_begin_incarnation(edit, 1, 0, 0);
    for (unsigned i = 0; i < 4; i++)
        manifest_edit_add_log_range(edit, &(struct manifest_log_range){i * 2 * EXTENT_BYTES, lsm_volume_extents(&volume, 2)});
    commit(edit);
    edit = begin(&volume);
    manifest_edit_set_head(edit, 2 * EXTENT_BYTES + 5);
    commit(edit);
    cr_assert_eq(state->log_range_count, 3u);
    cr_assert_eq(used_extents(&volume), 6u);
    /* The log ended within the second range that is left; the third is mapped beyond it. The new incarnation's own range, in the same edit, stays. */
    edit = begin(&volume);
    manifest_edit_begin_incarnation(edit, 2, 8 * EXTENT_BYTES, 4 * EXTENT_BYTES + 100);
    manifest_edit_add_log_range(edit, &(struct manifest_log_range){8 * EXTENT_BYTES, lsm_volume_extents(&volume, 1)});
    commit(edit);
    cr_assert_eq(state->log_range_count, 3u);
    cr_assert_eq(state->incarnation_count, 2u);
    cr_assert_eq(state->incarnations[0].end_lsn, 4 * EXTENT_BYTES + 100);
    cr_assert_eq(used_extents(&volume), 5u);
    reopen(&volume, "two incarnations");
    state = manifest_get_state(volume.manifest);
    edit = begin(&volume);
    manifest_edit_set_head(edit, 8 * EXTENT_BYTES);
    commit(edit);
    cr_assert_eq(state->log_range_count, 1u);
    cr_assert_eq(state->incarnation_count, 1u);
    cr_assert_eq(state->incarnations[0].id, 2u);
    cr_assert_eq(used_extents(&volume), 1u);
    for (uint64_t i = 0; i < MANIFEST_LOST_RANGES_MAX + 5; i++) {
        edit = begin(&volume);
        manifest_edit_add_lost_range(edit, &(struct manifest_lost_range){i, i + 1, 100 + i, 101 + i});
        commit(edit);
    }
    cr_assert_eq(state->lost_range_count, MANIFEST_LOST_RANGES_MAX);
    cr_assert_eq(state->lost_ranges[MANIFEST_LOST_RANGES_MAX - 1].lsn_to, MANIFEST_LOST_RANGES_MAX + 5);
    reopen(&volume, "full lists");
    lsm_volume_close(&volume);
    blockdev_close(device);
}
