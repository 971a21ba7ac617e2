/* lsm_manifest_named_test.c: named snapshots in the manifest: bytes, what an edit does to them, what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "engine/lsm/manifest_format.h"
#include "tests/support/lsm_volume.h"

static const struct manifest_named GOLDEN = {.id = 0x0102030405060708, .seq = 77, .taken_ns = -2, .name = "monday"};

static void encode(const struct manifest_named *named, uint8_t bytes[MANIFEST_NAMED_RECORD_BYTES])
{
    struct byte_writer writer = byte_writer_make(bytes, MANIFEST_NAMED_RECORD_BYTES);
    manifest_named_encode(named, &writer);
    cr_assert_eq(byte_writer_size(&writer), MANIFEST_NAMED_RECORD_BYTES);
}

Test(lsm_manifest_named, encode_golden_bytes_and_back)
{
    static const uint8_t start[34] = {8, 7, 6, 5, 4, 3, 2, 1, 77, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 6, 0, 'm', 'o', 'n', 'd', 'a', 'y', 0, 0};
    uint8_t bytes[MANIFEST_NAMED_RECORD_BYTES];
    struct manifest_named decoded;
    encode(&GOLDEN, bytes);
    cr_assert_arr_eq(bytes, start, sizeof start);
    struct byte_reader reader = byte_reader_make(bytes, sizeof bytes);
    cr_assert(manifest_named_decode(&reader, &decoded));
    cr_assert_eq(memcmp(&decoded, &GOLDEN, sizeof decoded), 0);
}

Test(lsm_manifest_named, malformed_record_is_refused)
{
    static const struct {
        uint32_t at;
        uint8_t value;
    } faults[] = {{24, 0}, {24, 64}, {24, 5}, {24, 7}, {25, 1}, {28, 0}, {32, 1}, {89, 1}};
    struct manifest_named decoded;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        uint8_t bytes[MANIFEST_NAMED_RECORD_BYTES];
        encode(&GOLDEN, bytes);
        bytes[faults[i].at] = faults[i].value;
        struct byte_reader reader = byte_reader_make(bytes, sizeof bytes);
        cr_assert_not(manifest_named_decode(&reader, &decoded), "byte %u", faults[i].at);
    }
}

static int add(struct lsm_volume *volume, const char *name, uint64_t id, uint64_t seq)
{
    struct manifest_named named = {.id = id, .seq = seq};
    struct manifest_edit *edit = lsm_volume_begin(volume);
    strcpy(named.name, name);
    manifest_edit_add_named(edit, &named);
    return manifest_commit(edit, NULL, NULL);
}

static int drop(struct lsm_volume *volume, uint64_t id)
{
    struct manifest_edit *edit = lsm_volume_begin(volume);
    manifest_edit_drop_named(edit, id);
    return manifest_commit(edit, NULL, NULL);
}

static uint64_t take_id(struct lsm_volume *volume) { return manifest_take_section_id(volume->manifest); }

Test(lsm_manifest_named, edits_survive_reopen_and_contradictions_change_nothing)
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(64);
    uint64_t ids[MANIFEST_NAMED_MAX];
    lsm_volume_open_rw(&volume, device);
    for (unsigned i = 0; i < MANIFEST_NAMED_MAX; i++) {
        char name[8];
        snprintf(name, sizeof name, "n%u", i);
        ids[i] = take_id(&volume);
        cr_assert_eq(add(&volume, name, ids[i], i), MOTE_OK);
    }
    cr_assert_eq(add(&volume, "more", take_id(&volume), 1), MOTE_EBUDGET);
    lsm_volume_reopen(&volume, "after edits");
    lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
    lsm_volume_reopen(&volume, "after a snapshot");
    cr_assert_eq(drop(&volume, ids[7]), MOTE_OK);
    cr_assert_eq(drop(&volume, ids[7]), MOTE_ENOTFOUND);
    cr_assert_eq(add(&volume, "n8", take_id(&volume), 1), MOTE_EEXISTS);
    cr_assert_eq(add(&volume, "other", ids[8], 1), MOTE_EEXISTS);
    cr_assert_eq(add(&volume, "other", take_id(&volume) + 5, 1), MOTE_EINVAL);
    cr_assert_eq(add(&volume, "other", 0, 1), MOTE_EINVAL);
    cr_assert_eq(add(&volume, "other", take_id(&volume), UINT64_MAX), MOTE_EINVAL);
    const struct manifest_state *state = manifest_get_state(volume.manifest);
    cr_assert_eq(state->named_count, MANIFEST_NAMED_MAX - 1);
    cr_assert_str_eq(state->named[7].name, "n8");
    cr_assert_eq(state->named[7].seq, 8);
    lsm_volume_reopen(&volume, "after a drop");
    for (unsigned i = 0; i < MANIFEST_NAMED_MAX; i++)
        cr_assert_eq(drop(&volume, ids[i]), i == 7 ? MOTE_ENOTFOUND : MOTE_OK);
    cr_assert_eq(manifest_get_state(volume.manifest)->named_count, 0);
    lsm_volume_close(&volume);
    blockdev_close(device);
}
