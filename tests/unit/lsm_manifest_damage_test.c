/* lsm_manifest_damage_test.c: bits flipped in one copy of a frame or in both, pages that cannot be read, lost superblocks: healed, told from a torn tail, or reported. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/faulty.h"
#include "engine/lsm/manifest_format.h"
#include "tests/support/lsm_volume.h"

/* A device whose area 0 holds the snapshot and four edits of one page each. */
static struct blockdev *make_chain(char *texts[5])
{
    struct lsm_volume volume;
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    texts[0] = lsm_volume_text(volume.manifest);
    uint64_t table_id = lsm_volume_make_table(&volume, "arm");
    texts[1] = lsm_volume_text(volume.manifest);
    for (unsigned i = 2; i < 5; i++) {
        lsm_volume_add(&volume, table_id);
        texts[i] = lsm_volume_text(volume.manifest);
    }
    lsm_volume_close(&volume);
    return device;
}

static struct layout layout_of(void)
{
    struct layout layout;
    lsm_volume_check(layout_compute(LSM_VOLUME_DEVICE_BYTES, LSM_VOLUME_EXTENT_BYTES, 0, 0, &layout), "layout_compute");
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
    lsm_volume_open_rw(&volume, device);
    char *text = lsm_volume_text(volume.manifest);
    cr_assert_str_eq(text, texts[3]);
    free(text);
    for (unsigned i = 0; i < 3; i++) {
        struct manifest_edit *edit = lsm_volume_begin(&volume);
        manifest_edit_set_flushed_seq(edit, 7 + i);
        lsm_volume_commit(edit);
        lsm_volume_reopen(&volume, "after a torn tail");
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
    lsm_volume_open_rw(&volume, device);
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
    struct blockdev *sim = lsm_volume_device(0), *device;
    struct lsm_volume volume;
    lsm_volume_check(faulty_create(sim, &device), "faulty_create");
    lsm_volume_open_rw(&volume, device);
    faulty_add(device, &(struct faulty_rule){.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_FLUSH, .times = 1, .system_errno = 5});
    struct manifest_edit *edit = lsm_volume_begin(&volume);
    manifest_edit_set_flushed_seq(edit, 77);
    cr_assert_eq(manifest_commit(edit, NULL, NULL), MOTE_EIO);
    lsm_volume_close(&volume);
    faulty_clear(device);
    lsm_volume_open_rw(&volume, device);
    cr_assert_eq(manifest_get_state(volume.manifest)->flushed_seq, 77u);
    lsm_volume_close(&volume);
    sim_power_cut(sim, SIM_CRASH_NONE, 0, 1);
    sim_power_on(sim);
    lsm_volume_open_rw(&volume, device);
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
    struct manifest_edit *edit = lsm_volume_begin(&volume);
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
    struct blockdev *device = lsm_volume_device(0);
    lsm_volume_open_rw(&volume, device);
    uint64_t table_id = lsm_volume_make_table(&volume, "arm");
    struct superblock old = volume.superblock;
    struct layout layout = old.layout;
    lsm_volume_check(manifest_snapshot(volume.manifest), "manifest_snapshot");
    uint64_t newer = volume.superblock.generation;
    lsm_volume_add(&volume, table_id);
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
    lsm_volume_format(device, LSM_VOLUME_EXTENT_BYTES, 0);
    lsm_volume_open_rw(&volume, device);
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
    lsm_volume_open_rw(&volume, device);
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

