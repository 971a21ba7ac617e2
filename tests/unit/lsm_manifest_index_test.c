/* lsm_manifest_index_test.c: declared indexes and their sections in the manifest: bytes, what an edit does to them, what is refused. */
#include <criterion/criterion.h>
#include <string.h>

#include "engine/lsm/manifest_format.h"
#include "tests/support/lsm_volume.h"

static struct manifest_index golden_index(void)
{
    struct manifest_index index = {.id = 0x0102030405060708, .table_id = 9, .name = "near", .kind = 4, .strategy = 1, .column_count = 2, .column_ids = {33, 34}, .options_bytes = 3};
    memcpy(index.options, "\1\2\3", 3);
    return index;
}

Test(lsm_manifest_index, encode_golden_bytes_and_back)
{
    static const uint8_t start[62] = {8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 2, 0, 3, 0, 4, 0, 33, 0, 0, 0, 0, 0, 0, 0, 34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'n', 'e', 'a', 'r'};
    uint8_t bytes[MANIFEST_INDEX_RECORD_BYTES], again[MANIFEST_INDEX_RECORD_BYTES];
    struct manifest_index index = golden_index(), decoded;
    struct byte_writer writer = byte_writer_make(bytes, sizeof bytes);
    manifest_index_encode(&index, &writer);
    cr_assert_eq(byte_writer_size(&writer), sizeof bytes);
    cr_assert_arr_eq(bytes, start, sizeof start);
    cr_assert_arr_eq(bytes + 122, "\1\2\3\0", 4);
    struct byte_reader reader = byte_reader_make(bytes, sizeof bytes);
    cr_assert(manifest_index_decode(&reader, &decoded));
    writer = byte_writer_make(again, sizeof again);
    manifest_index_encode(&decoded, &writer);
    cr_assert_arr_eq(again, bytes, sizeof bytes);
}

Test(lsm_manifest_index, malformed_record_is_refused)
{
    static const struct {
        uint32_t at;
        uint8_t value;
    } faults[] = {{20, 0}, {20, 5}, {21, 1}, {22, 65}, {23, 1}, {24, 0}, {24, 64}, {24, 3}, {24, 5}, {42, 1}, {57, 1}, {63, 1}, {121, 1}, {125, 1}, {185, 1}};
    struct manifest_index index = golden_index(), decoded;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        uint8_t bytes[MANIFEST_INDEX_RECORD_BYTES];
        struct byte_writer writer = byte_writer_make(bytes, sizeof bytes);
        manifest_index_encode(&index, &writer);
        bytes[faults[i].at] = faults[i].value;
        struct byte_reader reader = byte_reader_make(bytes, sizeof bytes);
        cr_assert_not(manifest_index_decode(&reader, &decoded), "byte %u", faults[i].at);
    }
}

struct ids {
    uint64_t table_id, column_id;
};

static struct ids make_table(struct lsm_volume *volume, const char *name)
{
    struct schema *schema = lsm_volume_table(volume, name);
    struct ids ids = {schema->table_id, schema->columns[0].id};
    schema_free(volume->memory, schema);
    return ids;
}

static struct manifest_index make_index(struct lsm_volume *volume, struct ids ids, const char *name)
{
    struct manifest_index index = {.id = manifest_take_section_id(volume->manifest), .table_id = ids.table_id, .kind = 4, .column_count = 1, .column_ids = {ids.column_id}};
    strcpy(index.name, name);
    return index;
}

static struct index_section make_section(struct lsm_volume *volume, uint64_t segment_id, uint64_t index_id)
{
    struct index_section section = {.segment_id = segment_id, .index_id = index_id};
    section.section = (struct segment_section){.run = lsm_volume_extents(volume, 1), .section_id = manifest_take_section_id(volume->manifest), .length_bytes = 5000, .root_offset_bytes = 4096, .root_bytes = 900, .root_crc = 7};
    return section;
}

static int commit(struct manifest_edit *edit) { return manifest_commit(edit, NULL, NULL); }

static struct index_section set_section(struct lsm_volume *volume, uint64_t segment_id, uint64_t index_id)
{
    struct index_section section = make_section(volume, segment_id, index_id);
    struct manifest_edit *edit = lsm_volume_begin(volume);
    manifest_edit_set_section(edit, &section);
    lsm_volume_commit(edit);
    return section;
}

Test(lsm_manifest_index, edits_survive_reopen_and_free_what_they_replace)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(64);
    lsm_volume_open_rw(&volume, device);
    struct ids schema = make_table(&volume, "places");
    uint64_t segments[3], empty = lsm_volume_used(&volume);
    for (unsigned i = 0; i < 3; i++)
        segments[i] = lsm_volume_add(&volume, schema.table_id);
    uint64_t without = lsm_volume_used(&volume);
    struct manifest_index near = make_index(&volume, schema, "near"), far = make_index(&volume, schema, "far");
    struct manifest_edit *edit = lsm_volume_begin(&volume);
    manifest_edit_add_index(edit, &near);
    manifest_edit_add_index(edit, &far);
    lsm_volume_commit(edit);
    for (unsigned i = 0; i < 3; i++) {
        set_section(&volume, segments[i], near.id);
        set_section(&volume, segments[i], far.id);
    }
    cr_assert_eq(lsm_volume_used(&volume), without + 6);
    set_section(&volume, segments[1], near.id); /* replaces one */
    cr_assert_eq(lsm_volume_used(&volume), without + 6);
    lsm_volume_reopen(&volume, "after edits");
    lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
    lsm_volume_reopen(&volume, "after a snapshot");
    cr_assert_eq(manifest_get_state(volume.manifest)->section_count, 6);
    struct version *held = version_acquire(volume.manifest);
    edit = lsm_volume_begin(&volume);
    manifest_edit_drop_index(edit, near.id);
    lsm_volume_commit(edit);
    cr_assert_eq(lsm_volume_used(&volume), without + 6, "a reader still holds them");
    version_release(volume.manifest, held);
    cr_assert_eq(lsm_volume_used(&volume), without + 3);
    lsm_volume_reopen(&volume, "after the drop of an index");
    edit = lsm_volume_begin(&volume);
    manifest_edit_drop_table(edit, schema.table_id);
    lsm_volume_commit(edit);
    cr_assert_eq(lsm_volume_used(&volume), empty);
    cr_assert_eq(manifest_get_state(volume.manifest)->index_count, 0);
    cr_assert_eq(manifest_get_state(volume.manifest)->section_count, 0);
    lsm_volume_close(&volume);
    blockdev_close(device);
}

Test(lsm_manifest_index, contradictions_are_refused_and_change_nothing)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(64);
    lsm_volume_open_rw(&volume, device);
    struct ids schema = make_table(&volume, "places"), other = make_table(&volume, "others");
    uint64_t segment = lsm_volume_add(&volume, schema.table_id), foreign = lsm_volume_add(&volume, other.table_id);
    struct manifest_index near = make_index(&volume, schema, "near"), bad;
    struct manifest_edit *edit = lsm_volume_begin(&volume);
    manifest_edit_add_index(edit, &near);
    lsm_volume_commit(edit);
    bad = make_index(&volume, schema, "near");
    edit = lsm_volume_begin(&volume);
    manifest_edit_add_index(edit, &bad);
    cr_assert_eq(commit(edit), MOTE_EEXISTS);
    bad = make_index(&volume, schema, "column");
    bad.column_ids[0] = 999;
    edit = lsm_volume_begin(&volume);
    manifest_edit_add_index(edit, &bad);
    cr_assert_eq(commit(edit), MOTE_EINVAL);
    bad = make_index(&volume, schema, "table");
    bad.table_id = 999;
    edit = lsm_volume_begin(&volume);
    manifest_edit_add_index(edit, &bad);
    cr_assert_eq(commit(edit), MOTE_ENOTABLE);
    bad = make_index(&volume, schema, "future");
    bad.id += 1000;
    edit = lsm_volume_begin(&volume);
    manifest_edit_add_index(edit, &bad);
    cr_assert_eq(commit(edit), MOTE_EINVAL);
    edit = lsm_volume_begin(&volume);
    manifest_edit_drop_index(edit, 777);
    cr_assert_eq(commit(edit), MOTE_ENOTFOUND);
    struct index_section good = set_section(&volume, segment, near.id), section = make_section(&volume, foreign, near.id);
    edit = lsm_volume_begin(&volume);
    manifest_edit_set_section(edit, &section);
    cr_assert_eq(commit(edit), MOTE_EINVAL, "a segment of another table");
    section.segment_id = 12345;
    edit = lsm_volume_begin(&volume);
    manifest_edit_set_section(edit, &section);
    cr_assert_eq(commit(edit), MOTE_ENOTFOUND);
    section.segment_id = segment;
    section.section.run = good.section.run;
    edit = lsm_volume_begin(&volume);
    manifest_edit_set_section(edit, &section);
    cr_assert_eq(commit(edit), MOTE_EINVAL, "extents of another section");
    section = make_section(&volume, segment, near.id);
    section.section.length_bytes = 1u << 30;
    edit = lsm_volume_begin(&volume);
    manifest_edit_drop_index(edit, near.id); /* rolled back with the rest */
    manifest_edit_set_section(edit, &section);
    cr_assert_eq(commit(edit), MOTE_ENOTFOUND);
    cr_assert_eq(manifest_get_state(volume.manifest)->section_count, 1);
    cr_assert_eq(manifest_get_state(volume.manifest)->index_count, 1);
    lsm_volume_close(&volume);
    blockdev_close(device);
}
