/* superblock.c: see superblock.h for the invariants and superblock_format.h for the bytes.
 *
 * Reading judges all slots before it believes one: a slot of a newer version, of another UUID or that contradicts another one of its generation stops the open, because a
 * wrong root is worse than none. A slot that cannot be read or fails its checksum is merely lost: the other end has its copy. */
#include "blockdev/superblock.h"

#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/units.h"
#include "blockdev/superblock_format.h"

static uint32_t slot_crc(const uint8_t slot[SUPERBLOCK_SLOT_BYTES], uint64_t offset_bytes)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c_seed(slot + SUPERBLOCK_AT_UUID, SUPERBLOCK_CRC_KIND, offset_bytes, 0);
    crc = crc32c(crc, slot, SUPERBLOCK_AT_CRC);
    crc = crc32c(crc, zero, sizeof zero);
    return crc32c(crc, slot + SUPERBLOCK_AT_UUID, SUPERBLOCK_SLOT_BYTES - SUPERBLOCK_AT_UUID);
}

static void encode_layout(const struct layout *layout, uint8_t *slot)
{
    store_u64(slot + SUPERBLOCK_AT_DEVICE_SIZE, layout->device_size_bytes);
    store_u64(slot + SUPERBLOCK_AT_EXTENT_BYTES, layout->extent_bytes);
    store_u32(slot + SUPERBLOCK_AT_EXTENT_COUNT, layout->extent_count);
    store_u32(slot + SUPERBLOCK_AT_SEGMENTS_MAX, layout->segments_max);
    store_u64(slot + SUPERBLOCK_AT_LOG_BYTES_MAX, layout->log_bytes_max);
    store_u64(slot + SUPERBLOCK_AT_EXTENTS_OFFSET, layout->extents_offset_bytes);
    store_u64(slot + SUPERBLOCK_AT_MANIFEST_AREA_BYTES, layout->manifest_area_bytes);
    store_u64(slot + SUPERBLOCK_AT_MANIFEST_SECOND, layout->manifest_offset_bytes[1]);
}

void superblock_encode(const struct superblock *superblock, uint64_t offset_bytes, uint8_t slot[SUPERBLOCK_SLOT_BYTES])
{
    assert(superblock->generation > 0 && offset_bytes % SUPERBLOCK_SLOT_BYTES == 0);
    memset(slot, 0, SUPERBLOCK_SLOT_BYTES);
    memcpy(slot + SUPERBLOCK_AT_MAGIC, SUPERBLOCK_MAGIC, SUPERBLOCK_MAGIC_BYTES);
    store_u32(slot + SUPERBLOCK_AT_VERSION, SUPERBLOCK_VERSION);
    memcpy(slot + SUPERBLOCK_AT_UUID, superblock->uuid, sizeof superblock->uuid);
    store_u64(slot + SUPERBLOCK_AT_GENERATION, superblock->generation);
    store_u64(slot + SUPERBLOCK_AT_OWN_OFFSET, offset_bytes);
    store_u32(slot + SUPERBLOCK_AT_PARENT_CRC, superblock->parent_crc);
    store_u32(slot + SUPERBLOCK_AT_LOGICAL_BLOCK, superblock->logical_block_bytes);
    store_u64(slot + SUPERBLOCK_AT_COMPAT, superblock->features_compat);
    store_u64(slot + SUPERBLOCK_AT_RO_COMPAT, superblock->features_ro_compat);
    store_u64(slot + SUPERBLOCK_AT_INCOMPAT, superblock->features_incompat);
    encode_layout(&superblock->layout, slot);
    store_u32(slot + SUPERBLOCK_AT_CLEAN, superblock->clean);
    store_u32(slot + SUPERBLOCK_AT_MANIFEST_AREA, superblock->manifest_area);
    store_u64(slot + SUPERBLOCK_AT_MANIFEST_SEQUENCE, superblock->manifest_sequence);
    store_u32(slot + SUPERBLOCK_AT_WAL_FRAME_BYTES_MAX, superblock->wal_frame_bytes_max);
    store_u32(slot + SUPERBLOCK_AT_BARRIER, superblock->barrier);
    store_u64(slot + SUPERBLOCK_AT_WAL_WINDOW_BYTES, superblock->wal_window_bytes);
    size_t model_bytes = strnlen(superblock->calibrated_model, SUPERBLOCK_MODEL_BYTES - 1);
    memcpy(slot + SUPERBLOCK_AT_MODEL, superblock->calibrated_model, model_bytes);
    store_u64(slot + SUPERBLOCK_AT_OPENS, superblock->opens);
    for (unsigned i = 0; i < BLOCKDEV_SOURCE_COUNT; i++)
        store_u64(slot + SUPERBLOCK_AT_WRITTEN + i * 8, superblock->lifetime_written_bytes[i]);
    if (superblock->features_incompat & SUPERBLOCK_INCOMPAT_DATA_UUID)
        memcpy(slot + SUPERBLOCK_AT_DATA_UUID, superblock->data_uuid, sizeof superblock->data_uuid);
    store_u64(slot + SUPERBLOCK_AT_TRIMMED, superblock->lifetime_trimmed_bytes);
    store_u64(slot + SUPERBLOCK_AT_FORMAT_TIME, superblock->format_time_s);
    store_u64(slot + SUPERBLOCK_AT_USED_SECONDS, superblock->used_seconds);
    store_u32(slot + SUPERBLOCK_AT_CRC, slot_crc(slot, offset_bytes));
}

/* The layout's numbers must follow from each other: nothing is placed by a number that was not checked. */
static int decode_layout(const uint8_t *slot, struct layout *layout)
{
    uint8_t again[SUPERBLOCK_AT_CLEAN];
    uint64_t extent_bytes = load_u64(slot + SUPERBLOCK_AT_EXTENT_BYTES), log_bytes_max = load_u64(slot + SUPERBLOCK_AT_LOG_BYTES_MAX);
    uint32_t segments_max = load_u32(slot + SUPERBLOCK_AT_SEGMENTS_MAX);
    if (extent_bytes == 0 || log_bytes_max == 0 || segments_max == 0)
        return MOTE_EDAMAGED;
    struct mote_error kept;
    error_get(&kept);
    int result = layout_compute(load_u64(slot + SUPERBLOCK_AT_DEVICE_SIZE), extent_bytes, segments_max, log_bytes_max, layout);
    error_restore(&kept);
    if (result != MOTE_OK)
        return MOTE_EDAMAGED;
    encode_layout(layout, again);
    bool same = memcmp(again + SUPERBLOCK_AT_DEVICE_SIZE, slot + SUPERBLOCK_AT_DEVICE_SIZE, SUPERBLOCK_AT_CLEAN - SUPERBLOCK_AT_DEVICE_SIZE) == 0;
    return same ? MOTE_OK : MOTE_EDAMAGED;
}

static void decode_fields(const uint8_t *slot, struct superblock *made)
{
    memcpy(made->uuid, slot + SUPERBLOCK_AT_UUID, sizeof made->uuid);
    made->generation = load_u64(slot + SUPERBLOCK_AT_GENERATION);
    made->parent_crc = load_u32(slot + SUPERBLOCK_AT_PARENT_CRC);
    made->logical_block_bytes = load_u32(slot + SUPERBLOCK_AT_LOGICAL_BLOCK);
    made->features_compat = load_u64(slot + SUPERBLOCK_AT_COMPAT);
    made->features_ro_compat = load_u64(slot + SUPERBLOCK_AT_RO_COMPAT);
    made->features_incompat = load_u64(slot + SUPERBLOCK_AT_INCOMPAT);
    made->clean = load_u32(slot + SUPERBLOCK_AT_CLEAN);
    made->manifest_area = load_u32(slot + SUPERBLOCK_AT_MANIFEST_AREA);
    made->manifest_sequence = load_u64(slot + SUPERBLOCK_AT_MANIFEST_SEQUENCE);
    made->wal_frame_bytes_max = load_u32(slot + SUPERBLOCK_AT_WAL_FRAME_BYTES_MAX);
    made->barrier = load_u32(slot + SUPERBLOCK_AT_BARRIER);
    made->wal_window_bytes = load_u64(slot + SUPERBLOCK_AT_WAL_WINDOW_BYTES);
    memcpy(made->calibrated_model, slot + SUPERBLOCK_AT_MODEL, sizeof made->calibrated_model);
    made->opens = load_u64(slot + SUPERBLOCK_AT_OPENS);
    memcpy(made->data_uuid, slot + SUPERBLOCK_AT_DATA_UUID, sizeof made->data_uuid);
    for (unsigned i = 0; i < BLOCKDEV_SOURCE_COUNT; i++)
        made->lifetime_written_bytes[i] = load_u64(slot + SUPERBLOCK_AT_WRITTEN + i * 8);
    made->lifetime_trimmed_bytes = load_u64(slot + SUPERBLOCK_AT_TRIMMED);
    made->format_time_s = load_u64(slot + SUPERBLOCK_AT_FORMAT_TIME);
    made->used_seconds = load_u64(slot + SUPERBLOCK_AT_USED_SECONDS);
}

int superblock_decode(const uint8_t slot[SUPERBLOCK_SLOT_BYTES], uint64_t offset_bytes, struct superblock *superblock)
{
    if (memcmp(slot, SUPERBLOCK_MAGIC, SUPERBLOCK_MAGIC_BYTES) != 0)
        return MOTE_EFOREIGN;
    if (load_u64(slot + SUPERBLOCK_AT_OWN_OFFSET) != offset_bytes || load_u32(slot + SUPERBLOCK_AT_CRC) != slot_crc(slot, offset_bytes))
        return MOTE_EDAMAGED;
    uint64_t incompat = load_u64(slot + SUPERBLOCK_AT_INCOMPAT);
    if (load_u32(slot + SUPERBLOCK_AT_VERSION) != SUPERBLOCK_VERSION || (incompat & ~SUPERBLOCK_FEATURES_INCOMPAT) != 0)
        return MOTE_EVERSION;
    struct superblock made = {0};
    decode_fields(slot, &made);
    if (made.generation == 0 || made.clean > 1 || made.manifest_area > 1 || made.barrier > MOTE_BARRIER_NONE)
        return MOTE_EDAMAGED;
    if (made.logical_block_bytes != SECTOR_BYTES && made.logical_block_bytes != PAGE_BYTES)
        return MOTE_EDAMAGED;
    if (made.calibrated_model[sizeof made.calibrated_model - 1] != 0)
        return MOTE_EDAMAGED;
    int result = decode_layout(slot, &made.layout);
    if (result == MOTE_OK)
        *superblock = made;
    return result;
}

int superblock_format_invalidate(struct blockdev_queue *queue, const struct layout *layout)
{
    static const uint8_t zeros[64 * 1024] __attribute__((aligned(PAGE_BYTES)));
    uint64_t size_bytes = blockdev_geometry(blockdev_queue_device(queue))->size_bytes;
    uint64_t tail_bytes = size_bytes - round_down(size_bytes, PAGE_BYTES); /* beyond the last page: foreign backup tables live there */
    if (round_down(size_bytes, PAGE_BYTES) != layout->device_size_bytes)
        return error_set(MOTE_EINVAL, "the layout is made for a device of %llu bytes, this one has %llu", (unsigned long long)layout->device_size_bytes,
                         (unsigned long long)size_bytes);
    const uint64_t starts[2] = {0, layout->device_size_bytes - SUPERBLOCK_REGION_BYTES};
    for (unsigned copy = 0; copy < 2; copy++) {
        for (uint64_t at = 0; at < SUPERBLOCK_REGION_BYTES; at += sizeof zeros) {
            int result = blockdev_write_range(queue, BLOCKDEV_SOURCE_SUPERBLOCK, starts[copy] + at, zeros, sizeof zeros);
            if (result != MOTE_OK)
                return result;
        }
    }
    if (tail_bytes > 0) {
        int result = blockdev_write_range(queue, BLOCKDEV_SOURCE_SUPERBLOCK, layout->device_size_bytes, zeros, tail_bytes);
        if (result != MOTE_OK)
            return result;
    }
    return blockdev_flush(queue);
}

int superblock_write(struct blockdev_queue *queue, struct superblock *superblock)
{
    uint8_t slot[SUPERBLOCK_SLOT_BYTES] __attribute__((aligned(PAGE_BYTES)));
    uint32_t start_crc = 0;
    assert(superblock->generation > 0);
    for (unsigned copy = 0; copy < 2; copy++) {
        uint64_t offset_bytes = layout_slot_offset(&superblock->layout, copy, superblock->generation);
        superblock_encode(superblock, offset_bytes, slot);
        if (copy == 0)
            start_crc = load_u32(slot + SUPERBLOCK_AT_CRC);
        int result = blockdev_write_range(queue, BLOCKDEV_SOURCE_SUPERBLOCK, offset_bytes, slot, sizeof slot);
        if (result == MOTE_OK)
            result = blockdev_flush(queue);
        if (result != MOTE_OK)
            return result;
    }
    superblock->parent_crc = start_crc;
    return MOTE_OK;
}

/* ---- Reading ---- */

/* A valid slot. digest: CRC of its bytes without its place and checksum, which all copies of a generation share. */
struct valid_slot {
    uint64_t generation;
    uint32_t digest;
};

/* What was found so far. */
struct search {
    struct blockdev_queue *queue;
    struct superblock newest;
    struct valid_slot valid[2 * SUPERBLOCK_SLOTS];
    bool found[2];           /* the newest generation was found at the start, at the end */
    unsigned valid_count, damaged_count, unreadable_count;
    int refused;             /* MOTE_EVERSION, MOTE_EFOREIGN or MOTE_EDAMAGED: what no other slot can outweigh */
    uint64_t refused_offset_bytes;
    uint64_t damaged_offset_bytes;
};

static void refuse(struct search *search, int code, uint64_t offset_bytes)
{
    if (search->refused == MOTE_OK) {
        search->refused = code;
        search->refused_offset_bytes = offset_bytes;
    }
}

static void judge_slot(struct search *search, unsigned copy, uint64_t offset_bytes, uint8_t slot[SUPERBLOCK_SLOT_BYTES])
{
    struct superblock found;
    int result = superblock_decode(slot, offset_bytes, &found);
    if (result == MOTE_EFOREIGN)
        return;
    if (result == MOTE_EDAMAGED) {
        search->damaged_count++;
        search->damaged_offset_bytes = offset_bytes;
        return;
    }
    if (result != MOTE_OK) {
        refuse(search, result, offset_bytes);
        return;
    }
    if (search->valid_count > 0 && memcmp(found.uuid, search->newest.uuid, sizeof found.uuid) != 0) {
        refuse(search, MOTE_EFOREIGN, offset_bytes);
        return;
    }
    memset(slot + SUPERBLOCK_AT_CRC, 0, 4);
    memset(slot + SUPERBLOCK_AT_OWN_OFFSET, 0, 8);
    uint32_t digest = crc32c(0, slot, SUPERBLOCK_SLOT_BYTES);
    for (unsigned i = 0; i < search->valid_count; i++) {
        if (search->valid[i].generation == found.generation && search->valid[i].digest != digest)
            refuse(search, MOTE_EDAMAGED, offset_bytes);
    }
    assert(search->valid_count < 2 * SUPERBLOCK_SLOTS);
    search->valid[search->valid_count++] = (struct valid_slot){found.generation, digest};
    if (found.generation > search->newest.generation) {
        search->newest = found;
        search->found[0] = false;
        search->found[1] = false;
    }
    if (found.generation == search->newest.generation)
        search->found[copy] = true;
}

/* Slot by slot, so that one bad sector costs one slot (and leaves no error behind). Returns the failure only when the device is gone. */
static int search_region(struct search *search, unsigned copy, uint64_t region_offset_bytes)
{
    uint8_t slot[SUPERBLOCK_SLOT_BYTES] __attribute__((aligned(PAGE_BYTES)));
    for (unsigned i = 0; i < SUPERBLOCK_SLOTS; i++) {
        uint64_t offset_bytes = region_offset_bytes + (uint64_t)i * SUPERBLOCK_SLOT_BYTES;
        struct mote_error kept;
        error_get(&kept);
        int result = blockdev_read_range(search->queue, offset_bytes, slot, sizeof slot);
        if (result == MOTE_OK) {
            judge_slot(search, copy, offset_bytes, slot);
        } else if (result == MOTE_EIO) {
            search->unreadable_count++;
            error_restore(&kept);
        } else {
            return result;
        }
    }
    return MOTE_OK;
}

static int report_refusal(const struct search *search, const char *path)
{
    int code = search->refused;
    if (code == MOTE_EVERSION)
        error_set(code, "the superblock of %s was written by a newer mote; use that version", path);
    else if (code == MOTE_EFOREIGN)
        error_set(code, "the superblock slots of %s belong to different volumes; find out which is wanted and format or restore the device", path);
    else
        error_set(code, "two superblock slots of %s have one generation and differ; run fsck.mote", path);
    error_add_device(path, search->refused_offset_bytes, SUPERBLOCK_SLOT_BYTES);
    return code;
}

static int report_nothing(const struct search *search, const char *path)
{
    if (search->unreadable_count > 0) {
        error_set(MOTE_EIO, "no superblock slot of %s is valid and %u cannot be read; check the device", path, search->unreadable_count);
        error_add_device(path, 0, SUPERBLOCK_SLOTS * SUPERBLOCK_SLOT_BYTES);
        return MOTE_EIO;
    }
    if (search->damaged_count > 0) {
        error_set(MOTE_EDAMAGED, "none of the superblock slots of %s passes its checksum; restore the device from a backup", path);
        error_add_device(path, search->damaged_offset_bytes, SUPERBLOCK_SLOT_BYTES);
        return MOTE_EDAMAGED;
    }
    error_set(MOTE_EFOREIGN, "%s holds no mote volume; format it first", path);
    error_add_device(path, 0, 0);
    return MOTE_EFOREIGN;
}

/* Both regions. Where the start says how long the volume is, its end is there; only else the device's own end is looked at. */
static int search_all(struct search *search, uint64_t size_bytes)
{
    int result = MOTE_OK;
    if (size_bytes >= SUPERBLOCK_SLOTS * SUPERBLOCK_SLOT_BYTES)
        result = search_region(search, 0, 0);
    uint64_t end_bytes = search->valid_count > 0 ? search->newest.layout.device_size_bytes : size_bytes;
    if (result == MOTE_OK && end_bytes >= 2 * SUPERBLOCK_REGION_BYTES && end_bytes <= size_bytes)
        result = search_region(search, 1, end_bytes - SUPERBLOCK_REGION_BYTES);
    return result;
}

int superblock_read(struct blockdev_queue *queue, struct superblock *superblock, bool *heal_needed)
{
    struct search search = {.queue = queue};
    const struct blockdev *device = blockdev_queue_device(queue);
    const char *path = blockdev_path(device);
    uint64_t size_bytes = round_down(blockdev_geometry(device)->size_bytes, PAGE_BYTES);
    int result = search_all(&search, size_bytes);
    if (result != MOTE_OK)
        return result;
    if (search.refused != MOTE_OK)
        return report_refusal(&search, path);
    if (search.valid_count == 0)
        return report_nothing(&search, path);
    *superblock = search.newest;
    *heal_needed = !search.found[0] || !search.found[1];
    if (size_bytes < search.newest.layout.device_size_bytes) {
        error_set(MOTE_ESHRUNK, "%s has %llu bytes and held %llu when it was formatted; make it as large again", path, (unsigned long long)size_bytes,
                  (unsigned long long)search.newest.layout.device_size_bytes);
        error_add_device(path, size_bytes, search.newest.layout.device_size_bytes - size_bytes);
        return MOTE_ESHRUNK;
    }
    return MOTE_OK;
}
