/* blockdev_layout_test.c: the table of regions: nothing overlaps, everything is aligned, and a layout's own numbers give the same layout again. */
#include <criterion/criterion.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "blockdev/layout.h"
#include "include/mote.h"

static void check_regions(const struct layout *layout)
{
    uint64_t copy_bytes = 2 * layout->manifest_area_bytes;
    cr_assert_eq(layout->device_size_bytes % PAGE_BYTES, 0);
    cr_assert_eq(layout->manifest_area_bytes % PAGE_BYTES, 0);
    cr_assert_eq(layout->manifest_offset_bytes[0], SUPERBLOCK_REGION_BYTES);
    cr_assert_leq(layout->manifest_offset_bytes[0] + copy_bytes, layout->extents_offset_bytes);
    cr_assert_leq(layout_extent_offset(layout, layout->extent_count), layout->manifest_offset_bytes[1]);
    cr_assert_leq(layout->manifest_offset_bytes[1] + copy_bytes, layout->device_size_bytes - SUPERBLOCK_REGION_BYTES);
    cr_assert_eq(layout_manifest_offset(layout, 1, 1), layout->manifest_offset_bytes[1] + layout->manifest_area_bytes);
    cr_assert_eq(layout->extents_offset_bytes % (64 * 1024), 0);
    if (layout->device_size_bytes >= 64 * layout->extent_bytes)
        cr_assert_eq(layout->extents_offset_bytes % layout->extent_bytes, 0);
    cr_assert_geq(layout->manifest_area_bytes, 2 * ((uint64_t)layout->segments_max * MANIFEST_SEGMENT_BYTES_MAX + MANIFEST_FIXED_BYTES_MAX));
    cr_assert_geq(layout->extent_count, 16);
    cr_assert_geq(layout->log_bytes_max, 256 * 1024);
    cr_assert_leq(layout->log_bytes_max, layout->extent_count * layout->extent_bytes / 2);
    uint64_t unused_bytes = layout->manifest_offset_bytes[1] - layout_extent_offset(layout, layout->extent_count);
    cr_assert_lt(unused_bytes, layout->extent_bytes);
}

Test(blockdev_layout, every_size_gives_a_sound_and_repeatable_layout)
{
    uint64_t size_bytes = DEVICE_BYTES_MIN;
    while (size_bytes < (UINT64_C(1) << 50)) {
        struct layout layout, again;
        cr_assert_eq(layout_compute(size_bytes, 0, 0, 0, &layout), 0, "%llu bytes", (unsigned long long)size_bytes);
        check_regions(&layout);
        cr_assert_eq(layout.device_size_bytes, size_bytes / PAGE_BYTES * PAGE_BYTES);
        cr_assert_leq(layout.extent_bytes, MIB_BYTES);
        cr_assert_eq(layout_compute(layout.device_size_bytes, layout.extent_bytes, layout.segments_max, layout.log_bytes_max, &again), 0);
        cr_assert_eq(memcmp(&layout, &again, sizeof layout), 0);
        size_bytes += size_bytes / 37 + 512;
    }
}

Test(blockdev_layout, default_extents_are_a_mebibyte_and_smaller_on_small_devices)
{
    static const struct { uint64_t mib, extent_kib; } cases[] = {{8, 64}, {16, 128}, {64, 512}, {128, 1024}, {256, 1024}, {1 << 20, 1024}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct layout layout;
        cr_assert_eq(layout_compute(cases[i].mib * MIB_BYTES, 0, 0, 0, &layout), 0);
        cr_expect_eq(layout.extent_bytes, cases[i].extent_kib * 1024);
        cr_expect_geq(layout.extent_count, 64);
        cr_expect_geq(layout.segments_max, layout.extent_count < 16384 ? layout.extent_count : 16384);
    }
}

Test(blockdev_layout, options_are_kept_or_refused)
{
    struct layout layout;
    for (uint64_t extent_bytes = 64 * 1024; extent_bytes <= 64 * MIB_BYTES; extent_bytes *= 2) {
        cr_assert_eq(layout_compute(UINT64_C(8) << 30, extent_bytes, 100, 8 * MIB_BYTES, &layout), 0);
        cr_expect_eq(layout.extent_bytes, extent_bytes);
        cr_expect_eq(layout.segments_max, 100);
        cr_expect_eq(layout.log_bytes_max, 8 * MIB_BYTES);
        check_regions(&layout);
    }
    memset(&layout, 0x55, sizeof layout);
    struct layout untouched = layout;
    cr_expect_eq(layout_compute(DEVICE_BYTES_MIN - 1, 0, 0, 0, &layout), MOTE_ENODEV);
    cr_expect_eq(layout_compute(UINT64_MAX, 0, 0, 0, &layout), MOTE_ENODEV);
    cr_expect_eq(layout_compute(UINT64_C(1) << 30, 3 << 20, 0, 0, &layout), MOTE_EINVAL);
    cr_expect_eq(layout_compute(UINT64_C(1) << 30, 32 * 1024, 0, 0, &layout), MOTE_EINVAL);
    cr_expect_eq(layout_compute(UINT64_C(1) << 30, 128 * MIB_BYTES, 0, 0, &layout), MOTE_EINVAL);
    cr_expect_eq(layout_compute(DEVICE_BYTES_MIN, MIB_BYTES, 0, 0, &layout), MOTE_EINVAL, "too few extents");
    cr_expect_eq(layout_compute(UINT64_C(1) << 30, 0, 15, 0, &layout), MOTE_EINVAL);
    cr_expect_eq(layout_compute(UINT64_C(1) << 30, 0, 65537, 0, &layout), MOTE_EINVAL);
    cr_expect_eq(layout_compute(DEVICE_BYTES_MIN, 0, 65536, 0, &layout), MOTE_EINVAL, "a manifest larger than the device");
    cr_expect_eq(layout_compute(UINT64_C(1) << 30, 0, 0, 4096, &layout), MOTE_EINVAL);
    cr_expect_eq(layout_compute(UINT64_C(1) << 30, 0, 0, UINT64_C(1) << 30, &layout), MOTE_EINVAL);
    cr_expect_eq(memcmp(&layout, &untouched, sizeof layout), 0, "a failure changes nothing");
}

Test(blockdev_layout, generations_cycle_through_the_slots_at_both_ends)
{
    struct layout layout;
    cr_assert_eq(layout_compute(DEVICE_BYTES_MIN + 4095, 0, 0, 0, &layout), 0);
    for (uint64_t generation = 1; generation < 10; generation++) {
        cr_expect_eq(layout_slot_offset(&layout, 0, generation), generation % 4 * 4096);
        cr_expect_eq(layout_slot_offset(&layout, 1, generation), DEVICE_BYTES_MIN - MIB_BYTES + generation % 4 * 4096);
    }
}
