/* layout.c: see layout.h. Pure arithmetic, 64 bits wide; the largest device is bounded first, so that nothing overflows. */
#include "blockdev/layout.h"

#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"

#define EXTENT_BYTES_MIN (64u * 1024u)
#define EXTENT_BYTES_MAX (64u * MIB_BYTES)
#define EXTENT_BYTES_DEFAULT MIB_BYTES
#define EXTENT_COUNT_MIN 16u
#define EXTENT_COUNT_MAX (1u << 30)
#define EXTENT_COUNT_WANTED 128u /* of a small device, before the regions are taken off */
#define SEGMENTS_MIN 16u
#define SEGMENTS_MAX 65536u
#define SEGMENTS_DEFAULT_MIN 64u
#define SEGMENTS_DEFAULT_MAX 16384u
#define LOG_BYTES_MIN (256u * 1024u)
#define LOG_BYTES_DEFAULT_MIN (2u * MIB_BYTES)
#define LOG_BYTES_DEFAULT_MAX (4096ull * MIB_BYTES)
#define DEVICE_BYTES_MAX (1ull << 56)

static uint64_t clamp(uint64_t value, uint64_t min, uint64_t max) { return value < min ? min : value > max ? max : value; }

static uint64_t choose_extent_bytes(uint64_t device_size_bytes)
{
    uint64_t extent_bytes = EXTENT_BYTES_DEFAULT;
    while (extent_bytes > EXTENT_BYTES_MIN && device_size_bytes / extent_bytes < EXTENT_COUNT_WANTED)
        extent_bytes /= 2;
    return extent_bytes;
}

/* Places the regions for the layout's size, extent_bytes and segments_max. Returns the number of extents that fit, 0 if none does. */
static uint64_t place_regions(struct layout *layout)
{
    uint64_t snapshot_bytes = (uint64_t)layout->segments_max * MANIFEST_SEGMENT_BYTES_MAX + MANIFEST_FIXED_BYTES_MAX;
    layout->manifest_area_bytes = round_up(2 * snapshot_bytes, PAGE_BYTES);
    uint64_t copy_bytes = 2 * layout->manifest_area_bytes;
    uint64_t end = layout->device_size_bytes - SUPERBLOCK_REGION_BYTES;
    bool large = layout->device_size_bytes / layout->extent_bytes >= 64; /* then the alignment wastes little */
    uint64_t align_bytes = large ? layout->extent_bytes : EXTENT_BYTES_MIN;
    layout->manifest_offset_bytes[0] = SUPERBLOCK_REGION_BYTES;
    layout->extents_offset_bytes = round_up(SUPERBLOCK_REGION_BYTES + copy_bytes, align_bytes);
    if (layout->extents_offset_bytes + copy_bytes >= end)
        return 0;
    layout->manifest_offset_bytes[1] = end - copy_bytes;
    return (layout->manifest_offset_bytes[1] - layout->extents_offset_bytes) / layout->extent_bytes;
}

int layout_compute(uint64_t device_size_bytes, uint64_t extent_bytes, uint32_t segments_max, uint64_t log_bytes_max, struct layout *layout)
{
    struct layout made = {.device_size_bytes = round_down(device_size_bytes, PAGE_BYTES), .extent_bytes = extent_bytes, .segments_max = segments_max};
    if (made.device_size_bytes < DEVICE_BYTES_MIN || made.device_size_bytes > DEVICE_BYTES_MAX)
        return error_set(MOTE_ENODEV, "a device of %llu bytes cannot hold a volume: it needs 8 MiB to 64 PiB", (unsigned long long)device_size_bytes);
    if (extent_bytes == 0)
        made.extent_bytes = choose_extent_bytes(made.device_size_bytes);
    if (!is_power_of_two(made.extent_bytes) || made.extent_bytes < EXTENT_BYTES_MIN || made.extent_bytes > EXTENT_BYTES_MAX)
        return error_set(MOTE_EINVAL, "extents of %llu bytes cannot be used: choose a power of two from 64 KiB to 64 MiB", (unsigned long long)extent_bytes);
    if (segments_max == 0)
        made.segments_max = (uint32_t)clamp(made.device_size_bytes / made.extent_bytes, SEGMENTS_DEFAULT_MIN, SEGMENTS_DEFAULT_MAX);
    if (made.segments_max < SEGMENTS_MIN || made.segments_max > SEGMENTS_MAX)
        return error_set(MOTE_EINVAL, "a manifest for %u segments cannot be made: choose 16 to 65536", segments_max);
    uint64_t extent_count = place_regions(&made);
    if (extent_count < EXTENT_COUNT_MIN || extent_count > EXTENT_COUNT_MAX)
        return error_set(MOTE_EINVAL, "%llu bytes hold %llu extents of %llu bytes beside the manifest for %u segments: choose other sizes, for 16 to 2^30 extents",
                         (unsigned long long)device_size_bytes, (unsigned long long)extent_count, (unsigned long long)made.extent_bytes, made.segments_max);
    made.extent_count = (uint32_t)extent_count;
    uint64_t half_bytes = extent_count * made.extent_bytes / 2;
    made.log_bytes_max = log_bytes_max;
    if (log_bytes_max == 0) {
        made.log_bytes_max = clamp(made.device_size_bytes / 8, LOG_BYTES_DEFAULT_MIN, LOG_BYTES_DEFAULT_MAX);
        made.log_bytes_max = clamp(round_down(made.log_bytes_max, made.extent_bytes), LOG_BYTES_MIN, half_bytes);
    }
    if (made.log_bytes_max < LOG_BYTES_MIN || made.log_bytes_max > half_bytes)
        return error_set(MOTE_EINVAL, "a log of %llu bytes does not fit this device: choose 256 KiB to %llu bytes", (unsigned long long)log_bytes_max,
                         (unsigned long long)half_bytes);
    assert(made.extents_offset_bytes + (uint64_t)made.extent_count * made.extent_bytes <= made.manifest_offset_bytes[1]);
    assert(made.manifest_offset_bytes[1] + 2 * made.manifest_area_bytes + SUPERBLOCK_REGION_BYTES == made.device_size_bytes);
    *layout = made;
    return MOTE_OK;
}
