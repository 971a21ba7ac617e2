/* sst_reseal.c: hostile segments: a change somewhere in a structure, and every checksum above it made good again, as someone who knows the format would. Used by the fault test and the fuzz target. */
#include <string.h>

#include "blockdev/base/units.h"
#include "engine/lsm/sst_format.h"
#include "index/timestamp_format.h"
#include "tests/support/sst_world.h"

/* Computes a structure's checksum anew. */
static uint32_t seal(struct sst_world *world, uint8_t *bytes, uint64_t size_bytes, uint64_t at, uint32_t length_bytes)
{
    if (at > size_bytes || length_bytes < SST_HEADER_BYTES || length_bytes > size_bytes - at)
        return 0;
    struct sst_header header = {.magic = load_u32(bytes + at), .length_bytes = length_bytes, .segment_id = load_u64(bytes + at + 8), .offset_bytes = at};
    uint32_t crc = sst_crc(world->context.uuid, &header, bytes + at, NULL);
    store_u32(bytes + at + 4, crc);
    return crc;
}

/* The starts table at `at` of a structure; NULL: the entry lies outside. */
static uint8_t *entry_at(uint8_t *structure, uint32_t length_bytes, uint32_t at, uint32_t index, uint32_t entry_bytes)
{
    if ((uint64_t)at + ((uint64_t)index + 1) * 4 > length_bytes)
        return NULL;
    uint32_t start = load_u32(structure + at + index * 4);
    return start <= length_bytes && entry_bytes <= length_bytes - start ? structure + start : NULL;
}

/* The checksums in a block's page directory, as far as that lies within the partition and its pages within the segment. */
static void seal_units(struct sst_world *world, const uint8_t *bytes, uint64_t size_bytes, uint8_t *entry, const uint8_t *end, uint32_t columns, uint64_t segment_id)
{
    uint64_t at = round_up((uint64_t)SST_ENTRY_BYTES + (uint64_t)columns * SST_ZONE_BYTES + (load_u16(entry + 84) & ~(uint32_t)SST_ENTRY_PAGES) + load_u16(entry + 86), 8), left = (uint64_t)(end - entry);
    uint64_t offset = load_u64(entry), length = load_u32(entry + 8);
    if (!(load_u16(entry + 84) & SST_ENTRY_PAGES) || at > left || left - at < SST_PAGES_HEADER_BYTES || offset > size_bytes || length > size_bytes - offset)
        return;
    uint8_t *units = entry + at + SST_PAGES_HEADER_BYTES;
    for (uint64_t i = 0; i < load_u32(entry + at) && (i + 1) * SST_UNIT_BYTES <= (uint64_t)(end - units); i++) {
        uint8_t *unit = units + i * SST_UNIT_BYTES;
        bool last = i + 1 == load_u32(entry + at) || (i + 2) * SST_UNIT_BYTES > (uint64_t)(end - units);
        uint64_t from = load_u16(unit + 16) * (uint64_t)SST_PAGE_BYTES, to = last ? length : load_u16(unit + SST_UNIT_BYTES + 16) * (uint64_t)SST_PAGE_BYTES;
        if (from < to && to <= length)
            store_u32(unit + 8, crc32c(crc32c_seed(world->context.uuid, SST_MAGIC_PAGE, segment_id, offset + from), bytes + offset + from, to - from));
    }
}

/* The checksums in a block's stream directory, of the ranges that it names itself. */
static void seal_streams(struct sst_world *world, const uint8_t *bytes, uint64_t size_bytes, uint8_t *entry, const uint8_t *end, uint32_t columns, uint64_t segment_id)
{
    uint64_t at = round_up((uint64_t)SST_ENTRY_BYTES + (uint64_t)columns * SST_ZONE_BYTES + load_u16(entry + 84) + load_u16(entry + 86), 8), left = (uint64_t)(end - entry);
    uint64_t offset = load_u64(entry), length = load_u32(entry + 8);
    if ((load_u16(entry + 84) & SST_ENTRY_PAGES) || columns > MOTE_COLUMNS_MAX || at + (columns + 2) * SST_STREAM_BYTES > left || offset > size_bytes || length > size_bytes - offset)
        return;
    for (uint32_t i = 0; i < columns + 2; i++) {
        uint8_t *stream = entry + at + i * SST_STREAM_BYTES;
        uint64_t from = load_u32(stream), to = i == columns + 1 ? length : load_u32(stream + SST_STREAM_BYTES);
        if (from <= to && to <= length)
            store_u32(stream + 4, sst_stream_crc(world->context.uuid, segment_id, offset + from, bytes + offset + from, (uint32_t)(to - from)));
    }
}

static void seal_partition(struct sst_world *world, uint8_t *bytes, uint64_t size_bytes, uint64_t at, uint32_t length_bytes)
{
    if (at > size_bytes || length_bytes < SST_PARTITION_HEADER_BYTES || length_bytes > size_bytes - at)
        return;
    uint32_t blocks = load_u32(bytes + at + 32);
    for (uint32_t i = 0; i < blocks && i < SST_PARTITION_BLOCKS_MAX; i++) {
        uint8_t *entry = entry_at(bytes + at, length_bytes, SST_PARTITION_HEADER_BYTES, i, SST_ENTRY_BYTES);
        if (!entry)
            continue;
        store_u32(entry + 12, seal(world, bytes, size_bytes, load_u64(entry), load_u32(entry + 8)));
        seal_streams(world, bytes, size_bytes, entry, bytes + at + length_bytes, load_u32(bytes + at + 36), load_u64(bytes + at + 8));
        seal_units(world, bytes, size_bytes, entry, bytes + at + length_bytes, load_u32(bytes + at + 36), load_u64(bytes + at + 8));
    }
}

static uint32_t seal_page(struct sst_world *world, uint8_t *page, uint32_t length_bytes, uint64_t segment_id, uint64_t offset_bytes)
{
    uint32_t crc = crc32c(crc32c_seed(world->context.uuid, load_u32(page), segment_id, offset_bytes), page + 8, length_bytes - 8);
    store_u32(page + 4, crc);
    return crc;
}

/* The leaves and the root of a timestamp section of one level. */
static void seal_timestamps(struct sst_world *world, uint8_t *bytes, uint64_t size_bytes, uint8_t *footer, uint64_t segment_id)
{
    uint64_t start = load_u64(footer + 128), root_at = load_u64(footer + 144);
    uint32_t root_bytes = load_u32(footer + 152);
    if (start == 0 || start > size_bytes || root_at > size_bytes - start || root_bytes > size_bytes - start - root_at || root_bytes < TIMESTAMP_ROOT_HEADER_BYTES)
        return;
    uint8_t *root = bytes + start + root_at;
    for (uint32_t at = TIMESTAMP_ROOT_HEADER_BYTES; at + TIMESTAMP_ENTRY_BYTES <= root_bytes; at += TIMESTAMP_ENTRY_BYTES) {
        uint64_t offset = load_u64(root + at + 8);
        uint32_t length = load_u32(root + at + 16);
        if (offset <= size_bytes - start && length <= size_bytes - start - offset && length >= TIMESTAMP_HEADER_BYTES)
            store_u32(root + at + 20, seal_page(world, bytes + start + offset, length, segment_id, offset));
    }
    store_u32(footer + 156, seal_page(world, root, root_bytes, segment_id, root_at));
}

void sst_reseal(struct sst_world *world, uint8_t *bytes, uint64_t size_bytes, struct segment_record *record, uint64_t random)
{
    /* One to four bytes anywhere behind a header of 32 bytes change: to a random, a small, a large value, or by one bit. */
    for (uint32_t i = 0; i <= (random >> 60) % 4; i++) {
        uint64_t pick = (random + i) * 0x9E3779B97F4A7C15u;
        uint64_t at = (pick >> 20) % record->segment_bytes;
        if (random % 3 == 0) /* the footer and what is near it, or the heads of blocks: where the numbers are */
            at = record->footer_offset_bytes + 32 + (pick >> 20) % (record->footer_bytes - 32);
        else if (random % 3 == 1)
            at = round_down(at, 64) + 32 + (pick >> 50) % 160;
        if (at >= record->segment_bytes)
            continue;
        uint8_t values[] = {(uint8_t)pick, 0, 0xFF, (uint8_t)(bytes[at] + 1), (uint8_t)(bytes[at] ^ 1u << (pick >> 8) % 8), 0x80};
        bytes[at] = values[(pick >> 12) % 6];
    }
    sst_seal(world, bytes, size_bytes, record);
}

void sst_seal(struct sst_world *world, uint8_t *bytes, uint64_t size_bytes, struct segment_record *record)
{
    uint8_t *footer = bytes + record->footer_offset_bytes;
    uint32_t columns = load_u32(footer + 120), partitions = load_u32(footer + 116), at = SST_FOOTER_HEADER_BYTES + columns * SST_FOOTER_COLUMN_BYTES;
    for (uint32_t i = 0; i < partitions && i < 1000 && columns < MOTE_COLUMNS_MAX; i++) {
        uint8_t *entry = entry_at(footer, record->footer_bytes, at, i, SST_DIRECTORY_ENTRY_BYTES);
        if (!entry)
            continue;
        seal_partition(world, bytes, size_bytes, load_u64(entry), load_u32(entry + 8));
        store_u32(entry + 12, seal(world, bytes, size_bytes, load_u64(entry), load_u32(entry + 8)));
        store_u32(entry + 72, seal(world, bytes, size_bytes, load_u64(entry + 64), load_u32(entry + 60)));
    }
    seal_timestamps(world, bytes, size_bytes, footer, record->id);
    record->footer_crc = seal(world, bytes, size_bytes, record->footer_offset_bytes, record->footer_bytes);
}
