/* layout.h: the one table of the device's regions. Every I/O offset of the engine comes from here or from an extent.
 *
 *   0                          superblock region, 1 MiB: slots 0..3 at 0, 4 KiB, 8 KiB, 12 KiB; the rest zero
 *   1 MiB                      manifest, first copy: two areas (A, B) of manifest_area_bytes each
 *   extents_offset             extent 0, 1, 2, ... (aligned to extent_bytes where the device is large enough, else to 64 KiB)
 *   manifest_second_offset     manifest, second copy: the same two areas
 *   size - 1 MiB               superblock region again: slots 0..3 at its start; the rest zero  (size rounded down to 4 KiB)
 *
 * Pure functions; no I/O. All of it follows from the few numbers that the superblock stores.
 */
#ifndef MOTE_BLOCKDEV_LAYOUT_H
#define MOTE_BLOCKDEV_LAYOUT_H

#include <stdint.h>

#define SUPERBLOCK_SLOTS 4u
#define SUPERBLOCK_SLOT_BYTES 4096u
#define SUPERBLOCK_REGION_BYTES (1024u * 1024u)
#define DEVICE_BYTES_MIN (8u * 1024u * 1024u)

struct layout {
    uint64_t device_size_bytes; /* as formatted, resized or grown, rounded down to 4 KiB */
    uint64_t extent_bytes;
    uint32_t extent_count;
    uint32_t segments_max;
    uint64_t manifest_area_bytes; /* of one area; a copy is two of them */
    uint64_t manifest_offset_bytes[2]; /* of the two copies */
    uint64_t extents_offset_bytes;
    uint64_t log_bytes_max;
};

/* Fills *layout for a device of device_size_bytes. 0 for extent_bytes, segments_max, log_bytes_max: chosen. extent_bytes default: 1 MiB, on devices below 128 MiB the
 * power of two (at least 64 KiB) that gives some 100 extents. segments_max default: extent_count clamped to 64..16384; range 16 to 65536. log_bytes_max default: an
 * eighth of the device, 2 MiB to 4 GiB; range: 256 KiB to half of the extents. Computing again with a layout's own numbers gives the same layout. manifest_area_bytes: at least two largest snapshots (segments_max * MANIFEST_SEGMENT_BYTES_MAX + MANIFEST_FIXED_BYTES_MAX), so that the
 * ring of two areas holds four. MOTE_ENODEV: too small; MOTE_EINVAL: an option out of range. */
int layout_compute(uint64_t device_size_bytes, uint64_t extent_bytes, uint32_t segments_max, uint64_t log_bytes_max, struct layout *layout);
#define MANIFEST_SEGMENT_BYTES_MAX 320u
#define MANIFEST_FIXED_BYTES_MAX (64u * 1024u)

/* A volume may grow while it is open (engine/grow.c). Its layout then changes in three fields and no other, which are stored and loaded as atomics wherever another thread may be at it. */
static inline uint32_t layout_extent_count(const struct layout *layout) { return __atomic_load_n(&layout->extent_count, __ATOMIC_RELAXED); }
static inline void layout_move_end(struct layout *layout, const struct layout *grown)
{
    __atomic_store_n(&layout->device_size_bytes, grown->device_size_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&layout->manifest_offset_bytes[1], grown->manifest_offset_bytes[1], __ATOMIC_RELAXED);
    __atomic_store_n(&layout->extent_count, grown->extent_count, __ATOMIC_RELAXED);
}
static inline uint64_t layout_slot_offset(const struct layout *layout, unsigned copy, uint64_t generation)
{
    uint64_t base = copy == 0 ? 0 : layout->device_size_bytes - SUPERBLOCK_REGION_BYTES;
    return base + (generation % SUPERBLOCK_SLOTS) * SUPERBLOCK_SLOT_BYTES;
}
static inline uint64_t layout_extent_offset(const struct layout *layout, uint32_t extent)
{
    return layout->extents_offset_bytes + (uint64_t)extent * layout->extent_bytes;
}
static inline uint64_t layout_manifest_offset(const struct layout *layout, unsigned copy, unsigned area)
{
    return layout->manifest_offset_bytes[copy] + area * layout->manifest_area_bytes;
}

#endif
