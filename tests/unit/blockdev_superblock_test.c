/* blockdev_superblock_test.c: the root of the volume: its bytes, every way in which slots can be lost, contradict each other or be torn. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "blockdev/sim.h"
#include "blockdev/superblock.h"
#include "blockdev/superblock_format.h"
#include "include/mote.h"
#include "tests/support/requests.h"

static uint8_t image[DEVICE_BYTES_MIN], changed[DEVICE_BYTES_MIN];

static struct superblock make_superblock(uint64_t generation)
{
    struct superblock made = {.generation = generation, .parent_crc = 0x11223344, .features_compat = 1, .features_ro_compat = 2, .logical_block_bytes = 512,
                              .clean = 1, .manifest_area = 1, .manifest_sequence = 0x0102030405060708, .wal_frame_bytes_max = 0x80000,
                              .wal_window_bytes = 0x200000, .barrier = MOTE_BARRIER_FUA, .calibrated_model = "Model X", .opens = 7};
    for (uint8_t i = 0; i < 16; i++)
        made.uuid[i] = (uint8_t)(0xA0 + i);
    for (unsigned i = 0; i <= BLOCKDEV_SOURCE_INDEX; i++) /* those that the golden bytes have; the others are zero */
        made.lifetime_written_bytes[i] = 1000 + i;
    cr_assert_eq(layout_compute(DEVICE_BYTES_MIN, 0, 0, 0, &made.layout), 0);
    return made;
}

/* The checksum by its definition, bit by bit: independent of crc32c.c and superblock.c. */
static uint32_t crc_bits(uint32_t crc, const uint8_t *data, size_t size_bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < size_bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
    }
    return ~crc;
}

static void seal_slot(uint8_t *slot, uint64_t offset_bytes)
{
    uint8_t seed[36];
    memcpy(seed, slot + 16, 16);
    store_u32(seed + 16, 0x6273);
    store_u64(seed + 20, offset_bytes);
    store_u64(seed + 28, 0);
    store_u32(slot + 12, 0);
    store_u32(slot + 12, crc_bits(crc_bits(0, seed, sizeof seed), slot, 4096));
}

static struct blockdev *open_image(const uint8_t *content, uint64_t size_bytes)
{
    struct sim_options options = {.size_bytes = size_bytes, .logical_block_bytes = 512, .initial = content, .initial_borrowed = true};
    struct blockdev *device;
    cr_assert_eq(sim_create(&options, &device), 0);
    return device;
}

static int read_image(const uint8_t *content, uint64_t size_bytes, struct superblock *found, bool *heal_needed)
{
    struct blockdev *device = open_image(content, size_bytes);
    struct blockdev_queue *queue = requests_queue(device, 4);
    int result = superblock_read(queue, found, heal_needed);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
    return result;
}

/* An image with generations 1 to newest, written as the engine would. */
static void build_image(uint64_t newest)
{
    struct superblock superblock = make_superblock(1);
    memset(image, 0xEE, sizeof image);
    struct blockdev *device = open_image(image, sizeof image);
    struct blockdev_queue *queue = requests_queue(device, 4);
    superblock.parent_crc = 0;
    cr_assert_eq(superblock_format_invalidate(queue, &superblock.layout), 0);
    for (uint64_t generation = 1; generation <= newest; generation++) {
        superblock.generation = generation;
        superblock.opens = generation * 7;
        cr_assert_eq(superblock_write(queue, &superblock), 0);
    }
    blockdev_queue_destroy(queue);
    sim_read_content(device, true, changed);
    blockdev_close(device);
    memcpy(image, changed, sizeof image);
}

static uint64_t slot_at(unsigned copy, unsigned slot) { return (copy ? DEVICE_BYTES_MIN - MIB_BYTES : 0) + slot * 4096; }

/* Field after field as superblock_format.h tells them. A change here is a change of the format. */
static const char *const golden =
    "4d4f5445736200010100000006ad40b8a0a1a2a3a4a5a6a7a8a9aaabacadaeaf0500000000000000001000000000000044332211000200000100000000000000"
    "02000000000000000000000000000000000080000000000000000100000000005200000080000000000020000000000000001700000000000040030000000000"
    "008069000000000001000000010000000807060504030201000008000200000000002000000000004d6f64656c20580000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000700000000000000e803000000000000e903000000000000"
    "ea03000000000000eb03000000000000ec03000000000000ed03000000000000ee03000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

Test(blockdev_superblock, encoding_has_golden_bytes)
{
    struct superblock superblock = make_superblock(5), back;
    uint8_t slot[4096];
    char text[2 * 368 + 1];
    superblock_encode(&superblock, 4096, slot);
    for (int i = 0; i < 368; i++)
        sprintf(text + 2 * i, "%02x", slot[i]);
    cr_expect_str_eq(text, golden);
    for (int i = 368; i < 4096; i++)
        cr_assert_eq(slot[i], 0);
    uint32_t crc = load_u32(slot + 12);
    seal_slot(slot, 4096);
    cr_expect_eq(load_u32(slot + 12), crc, "the checksum is what the format says");
    cr_assert_eq(superblock_decode(slot, 4096, &back), 0);
    cr_expect_eq(memcmp(&back, &superblock, sizeof back), 0);
}

Test(blockdev_superblock, no_flipped_bit_is_accepted)
{
    struct superblock superblock = make_superblock(5), back, untouched;
    uint8_t slot[4096];
    superblock_encode(&superblock, 4096, slot);
    memset(&back, 0x55, sizeof back);
    untouched = back;
    for (unsigned bit = 0; bit < 4096 * 8; bit++) {
        slot[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int result = superblock_decode(slot, 4096, &back);
        cr_assert_eq(result, bit < 64 ? MOTE_EFOREIGN : MOTE_EDAMAGED, "bit %u", bit);
        slot[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    cr_expect_eq(memcmp(&back, &untouched, sizeof back), 0);
    cr_expect_eq(superblock_decode(slot, 8192, &back), MOTE_EDAMAGED, "a slot at another place");
}

Test(blockdev_superblock, fields_out_of_range_are_damaged_whatever_the_checksum_says)
{
    static const struct { unsigned at, size; uint64_t value; } cases[] = {
        {32, 8, 0}, {52, 4, 1024}, {80, 8, 4096}, {80, 8, UINT64_MAX}, {88, 8, 0}, {88, 8, 12345}, {96, 4, 1}, {100, 4, 0}, {100, 4, 3},
        {104, 8, 0}, {112, 8, 0}, {120, 8, 4096}, {128, 8, 0}, {136, 4, 2}, {140, 4, 2}, {156, 4, 4}, {231, 1, 'x'},
    };
    struct superblock superblock = make_superblock(5), back;
    uint8_t slot[4096];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        superblock_encode(&superblock, 4096, slot);
        for (unsigned byte = 0; byte < cases[i].size; byte++)
            slot[cases[i].at + byte] = (uint8_t)(cases[i].value >> (8 * byte));
        seal_slot(slot, 4096);
        cr_expect_eq(superblock_decode(slot, 4096, &back), MOTE_EDAMAGED, "offset %u", cases[i].at);
    }
    superblock_encode(&superblock, 4096, slot);
    store_u64(slot + 56, UINT64_MAX); /* unknown compatible features do no harm */
    seal_slot(slot, 4096);
    cr_expect_eq(superblock_decode(slot, 4096, &back), 0);
    store_u64(slot + 72, 2); /* the first incompatible feature that is not known */
    seal_slot(slot, 4096);
    cr_expect_eq(superblock_decode(slot, 4096, &back), MOTE_EVERSION);
}

Test(blockdev_superblock, uuid_of_received_data_is_kept_with_its_feature)
{
    uint8_t slot[SUPERBLOCK_SLOT_BYTES];
    struct superblock superblock = make_superblock(3), back;
    cr_expect_eq(superblock_data_uuid(&superblock), superblock.uuid);
    superblock.features_incompat = SUPERBLOCK_INCOMPAT_DATA_UUID;
    memset(superblock.data_uuid, 0x5a, sizeof superblock.data_uuid);
    superblock_encode(&superblock, 4096, slot);
    cr_assert_eq(superblock_decode(slot, 4096, &back), 0);
    cr_expect_eq(memcmp(superblock_data_uuid(&back), superblock.data_uuid, 16), 0);
    cr_expect_eq(slot[368], 0x5a);
    cr_expect_eq(slot[384], 0);
}

Test(blockdev_superblock, wear_counters_follow_the_uuid_of_received_data)
{
    static const uint8_t golden_wear[24] = {8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21};
    uint8_t slot[SUPERBLOCK_SLOT_BYTES];
    struct superblock superblock = make_superblock(3), back;
    superblock.lifetime_written_bytes[BLOCKDEV_SOURCE_BLOB] = 0x31;
    superblock.lifetime_trimmed_bytes = 0x0102030405060708;
    superblock.format_time_s = 0x1112131415161718;
    superblock.used_seconds = 0x2122232425262728;
    superblock_encode(&superblock, 4096, slot);
    cr_expect_eq(slot[240 + 8 * BLOCKDEV_SOURCE_BLOB], 0x31);
    cr_expect_eq(memcmp(slot + 384, golden_wear, sizeof golden_wear), 0);
    for (int i = 408; i < 4096; i++)
        cr_assert_eq(slot[i], 0);
    cr_assert_eq(superblock_decode(slot, 4096, &back), 0);
    cr_expect_eq(memcmp(&back, &superblock, sizeof back), 0);
}

Test(blockdev_superblock, write_fills_both_ends_and_chains_the_checksums)
{
    struct superblock found;
    bool heal_needed = true;
    build_image(6);
    cr_assert_eq(read_image(image, sizeof image, &found, &heal_needed), 0);
    cr_expect_eq(found.generation, 6);
    cr_expect_eq(found.opens, 42);
    cr_expect_not(heal_needed);
    cr_expect_eq(found.parent_crc, load_u32(image + slot_at(0, 5 % 4) + 12));
    for (unsigned slot = 0; slot < 4; slot++) {
        uint64_t expected = slot == 1 ? 5 : slot == 2 ? 6 : slot == 3 ? 3 : 4;
        cr_expect_eq(load_u64(image + slot_at(0, slot) + 32), expected);
        cr_expect_eq(load_u64(image + slot_at(1, slot) + 32), expected);
    }
    for (size_t i = 4 * 4096; i < MIB_BYTES; i++) {
        cr_assert_eq(image[i], 0);
        cr_assert_eq(image[DEVICE_BYTES_MIN - MIB_BYTES + i], 0);
    }
    cr_expect_eq(image[MIB_BYTES], 0xEE, "what is between the ends is not format's");
}

Test(blockdev_superblock, every_mixture_of_lost_slots_yields_the_newest_left)
{
    build_image(6);
    for (unsigned how = 0; how < 2; how++) { /* damaged or blank */
        for (unsigned lost = 0; lost < 256; lost++) {
            struct superblock found;
            bool heal_needed;
            uint64_t newest = 0, generations[8];
            memcpy(changed, image, sizeof image);
            for (unsigned i = 0; i < 8; i++) {
                uint8_t *slot = changed + slot_at(i / 4, i % 4);
                generations[i] = load_u64(slot + 32);
                if (!(lost >> i & 1))
                    newest = generations[i] > newest ? generations[i] : newest;
                else if (how == 0)
                    slot[1000 + i] ^= 0x10;
                else
                    memset(slot, 0, 4096);
            }
            int result = read_image(changed, sizeof changed, &found, &heal_needed);
            if (newest == 0) {
                cr_assert_eq(result, how == 0 ? MOTE_EDAMAGED : MOTE_EFOREIGN);
                continue;
            }
            bool heal_expected = false;
            for (unsigned i = 0; i < 8; i++)
                heal_expected |= generations[i] == newest && (lost >> i & 1);
            cr_assert_eq(result, 0);
            cr_assert_eq(found.generation, newest, "lost %02x", lost);
            cr_assert_eq(found.opens, newest * 7);
            cr_assert_eq(heal_needed, heal_expected);
        }
    }
}

Test(blockdev_superblock, contradictions_and_newer_versions_are_never_passed_over)
{
    struct superblock found;
    bool heal_needed;
    for (unsigned i = 0; i < 8; i++) {
        build_image(6);
        uint8_t *slot = image + slot_at(i / 4, i % 4);
        memcpy(changed, image, sizeof image);
        store_u32(slot + 8, 2); /* version */
        seal_slot(slot, slot_at(i / 4, i % 4));
        cr_expect_eq(read_image(image, sizeof image, &found, &heal_needed), MOTE_EVERSION);
        memcpy(image, changed, sizeof image);
        slot[16] ^= 1; /* uuid */
        seal_slot(slot, slot_at(i / 4, i % 4));
        cr_expect_eq(read_image(image, sizeof image, &found, &heal_needed), MOTE_EFOREIGN);
        memcpy(image, changed, sizeof image);
        slot[232] ^= 1; /* opens */
        seal_slot(slot, slot_at(i / 4, i % 4));
        cr_expect_eq(read_image(image, sizeof image, &found, &heal_needed), MOTE_EDAMAGED);
        struct mote_error error;
        error_get(&error);
        cr_expect_eq(error.code, MOTE_EDAMAGED);
        cr_expect_eq(error.length_bytes, 4096);
    }
}

Test(blockdev_superblock, size_of_the_device_is_compared)
{
    static uint8_t larger[DEVICE_BYTES_MIN + MIB_BYTES];
    struct superblock found = {0};
    bool heal_needed;
    build_image(3);
    cr_expect_eq(read_image(image, sizeof image - 4096, &found, &heal_needed), MOTE_ESHRUNK);
    cr_expect_eq(found.generation, 3);
    cr_expect_eq(found.layout.device_size_bytes, DEVICE_BYTES_MIN);
    cr_expect_eq(read_image(image, 64 * 1024, &found, &heal_needed), MOTE_ESHRUNK);
    cr_expect_eq(read_image(image, 4096, &found, &heal_needed), MOTE_EFOREIGN);
    /* A larger device: the end is where the start says. */
    memcpy(larger, image, sizeof image);
    cr_expect_eq(read_image(larger, sizeof larger, &found, &heal_needed), 0);
    cr_expect_not(heal_needed);
    struct blockdev *device = open_image(larger, sizeof larger);
    struct blockdev_queue *queue = requests_queue(device, 1);
    cr_expect_eq(superblock_format_invalidate(queue, &found.layout), MOTE_EINVAL);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
}

Test(blockdev_superblock, unreadable_slots_are_lost_slots)
{
    struct superblock found;
    bool heal_needed;
    struct blockdev *device;
    build_image(6);
    cr_assert_eq(faulty_create(open_image(image, sizeof image), &device), 0);
    struct blockdev_queue *queue = requests_queue(device, 4);
    struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = 1 << BLOCKDEV_READ, .length_bytes = MIB_BYTES, .times = UINT64_MAX, .system_errno = EIO};
    faulty_add(device, &rule);
    cr_expect_eq(superblock_read(queue, &found, &heal_needed), 0);
    cr_expect_eq(found.generation, 6);
    cr_expect(heal_needed);
    rule.length_bytes = 0;
    faulty_add(device, &rule);
    cr_expect_eq(superblock_read(queue, &found, &heal_needed), MOTE_EIO);
    faulty_clear(device);
    rule.system_errno = ENODEV;
    faulty_add(device, &rule);
    cr_expect_eq(superblock_read(queue, &found, &heal_needed), MOTE_ENODEV);
    blockdev_queue_destroy(queue);
    blockdev_close(device);
}

/* A write or barrier that fails at any step leaves the older generation, or the new one, readable. */
Test(blockdev_superblock, failed_write_leaves_a_valid_generation)
{
    build_image(5);
    for (uint64_t step = 0; step < 4; step++) {
        struct blockdev *device;
        struct superblock found;
        bool heal_needed;
        cr_assert_eq(faulty_create(open_image(image, sizeof image), &device), 0);
        struct blockdev_queue *queue = requests_queue(device, 4);
        cr_assert_eq(superblock_read(queue, &found, &heal_needed), 0);
        struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = 1 << BLOCKDEV_WRITE | 1 << BLOCKDEV_FLUSH, .skip = step, .times = UINT64_MAX, .system_errno = EIO};
        faulty_add(device, &rule);
        found.generation = 6;
        cr_expect_eq(superblock_write(queue, &found), MOTE_EIO);
        faulty_clear(device);
        cr_expect_eq(superblock_read(queue, &found, &heal_needed), 0);
        cr_expect_eq(found.generation, step == 0 ? 5 : 6);
        cr_expect_eq(heal_needed, step == 1 || step == 2);
        blockdev_queue_destroy(queue);
        blockdev_close(device);
    }
}

enum { MARK_STARTED = 1, MARK_WRITTEN = 2, GENERATIONS = 9, TORN_SEEDS = 24 };

static struct blockdev *record_writes(void)
{
    struct superblock superblock = make_superblock(1);
    struct sim_options options = {.size_bytes = DEVICE_BYTES_MIN, .logical_block_bytes = 512, .record = true, .reorder = true};
    struct blockdev *device;
    cr_assert_eq(sim_create(&options, &device), 0);
    struct blockdev_queue *queue = requests_queue(device, 4);
    cr_assert_eq(superblock_format_invalidate(queue, &superblock.layout), 0);
    for (uint64_t generation = 1; generation <= GENERATIONS; generation++) {
        superblock.generation = generation;
        superblock.opens = generation * 7;
        sim_mark(device, MARK_STARTED, generation);
        cr_assert_eq(superblock_write(queue, &superblock), 0);
        sim_mark(device, MARK_WRITTEN, generation);
    }
    blockdev_queue_destroy(queue);
    return device;
}

static void check_crash(struct blockdev *device, uint64_t event, enum sim_crash_policy policy, uint32_t index, uint64_t seed)
{
    struct blockdev *crashed;
    struct superblock found;
    bool heal_needed;
    uint64_t oldest = sim_mark_at(device, event, MARK_WRITTEN), newest = sim_mark_at(device, event, MARK_STARTED);
    cr_assert_eq(sim_create_from_crash(device, event, policy, index, seed, NULL, &crashed), 0);
    struct blockdev_queue *queue = requests_queue(crashed, 4);
    int result = superblock_read(queue, &found, &heal_needed);
    if (oldest == 0 && result != 0) {
        cr_assert(result == MOTE_EFOREIGN || result == MOTE_EDAMAGED);
    } else {
        cr_assert_eq(result, 0, "event %llu", (unsigned long long)event);
        cr_assert_geq(found.generation, oldest);
        cr_assert_leq(found.generation, newest);
        cr_assert_eq(found.opens, found.generation * 7);
        /* The next generation after recovery, and all is whole again. */
        found.generation++;
        cr_assert_eq(superblock_write(queue, &found), 0);
        cr_assert_eq(superblock_read(queue, &found, &heal_needed), 0);
        cr_assert_not(heal_needed);
    }
    blockdev_queue_destroy(queue);
    blockdev_close(crashed);
}

Test(blockdev_superblock, power_cut_at_any_event_leaves_the_old_or_the_new_generation, .timeout = 60)
{
    uint64_t seed = requests_seed("power_cut"), image_count = 0;
    struct blockdev *device = record_writes();
    for (uint64_t event = 0; event < sim_event_count(device); event++) {
        uint32_t unflushed = sim_unflushed_count(device, event);
        if (sim_mark_at(device, event, MARK_STARTED) == 0 && event % 16 != 0)
            continue; /* format's own writes: a sample */
        for (int policy = SIM_CRASH_NONE; policy <= SIM_CRASH_TORN; policy++) {
            uint32_t count = policy == SIM_CRASH_TORN ? TORN_SEEDS : policy == SIM_CRASH_LOSE_ONE || policy == SIM_CRASH_KEEP_ONE ? unflushed : 1;
            for (uint32_t index = 0; index < count; index++, image_count++)
                check_crash(device, event, (enum sim_crash_policy)policy, index, seed + index);
        }
    }
    cr_expect_gt(image_count, 1000);
    blockdev_close(device);
}

Test(blockdev_superblock, format_invalidates_before_anything_is_valid)
{
    /* Over an old volume of 6 generations: a cut before the barrier shows the old one or none, a cut after it the new one or none; never a mixture. */
    build_image(6);
    struct superblock fresh = make_superblock(1);
    struct sim_options options = {.size_bytes = DEVICE_BYTES_MIN, .logical_block_bytes = 512, .record = true, .initial = image, .initial_borrowed = true};
    struct blockdev *device;
    cr_assert_eq(sim_create(&options, &device), 0);
    struct blockdev_queue *queue = requests_queue(device, 4);
    memset(fresh.uuid, 0x77, 16);
    cr_assert_eq(superblock_format_invalidate(queue, &fresh.layout), 0);
    sim_mark(device, 1, 1);
    cr_assert_eq(superblock_write(queue, &fresh), 0);
    blockdev_queue_destroy(queue);
    for (uint64_t event = 0; event < sim_event_count(device); event++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct superblock found;
            bool heal_needed, invalidated = sim_mark_at(device, event, 1);
            struct blockdev *crashed;
            cr_assert_eq(sim_create_from_crash(device, event, SIM_CRASH_TORN, 0, seed, NULL, &crashed), 0);
            queue = requests_queue(crashed, 1);
            int result = superblock_read(queue, &found, &heal_needed);
            cr_assert(result == 0 || result == MOTE_EFOREIGN || result == MOTE_EDAMAGED);
            if (result == 0)
                cr_assert_eq(found.uuid[0], invalidated ? 0x77 : 0xA0);
            blockdev_queue_destroy(queue);
            blockdev_close(crashed);
        }
    }
    blockdev_close(device);
}
