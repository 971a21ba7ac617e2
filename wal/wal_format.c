/* wal_format.c: frames to bytes and back (wal_format.h). Pure functions; threads: any. A frame that fails a check is
 * MOTE_EDAMAGED without a sentence: for recovery that is the usual end of a log. */
#include "wal/wal_format.h"

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/units.h"
#include "include/mote.h"
#include "wal/wal.h"

static uint32_t frame_crc(const uint8_t *data, const uint8_t uuid[16], const struct wal_frame *frame)
{
    uint32_t seed = crc32c_seed(uuid, WAL_FRAME_SEED_KIND, frame->lsn, frame->incarnation);
    return crc32c(seed, data + WAL_FRAME_AT_VERSION, WAL_FRAME_HEADER_BYTES - WAL_FRAME_AT_VERSION + frame->payload_bytes);
}

uint32_t wal_frame_encode(uint8_t *data, const uint8_t uuid[16], struct wal_frame *frame)
{
    assert(WAL_FRAME_HEADER_BYTES + (uint64_t)frame->payload_bytes <= frame->frame_bytes);
    assert((frame->kind == WAL_FRAME_ROWS) == (frame->payload_bytes > 0));
    store_u32(data + WAL_FRAME_AT_MAGIC, WAL_FRAME_MAGIC);
    store_u16(data + WAL_FRAME_AT_VERSION, WAL_FRAME_VERSION);
    store_u16(data + WAL_FRAME_AT_KIND, (uint16_t)frame->kind);
    store_u32(data + WAL_FRAME_AT_FLAGS, frame->flags);
    store_u64(data + WAL_FRAME_AT_INCARNATION, frame->incarnation);
    store_u64(data + WAL_FRAME_AT_LSN, frame->lsn);
    store_u64(data + WAL_FRAME_AT_FIRST_SEQ, frame->first_seq);
    store_u64(data + WAL_FRAME_AT_DURABLE_LSN, frame->durable_lsn);
    store_u64(data + WAL_FRAME_AT_SUPERBLOCK_GENERATION, frame->superblock_generation);
    store_u64(data + WAL_FRAME_AT_CATALOG_VERSION, frame->catalog_version);
    store_u64(data + WAL_FRAME_AT_BATCH_ID, frame->batch_id);
    store_u32(data + WAL_FRAME_AT_COUNT, frame->count);
    store_u32(data + WAL_FRAME_AT_PAYLOAD_BYTES, frame->payload_bytes);
    store_u32(data + WAL_FRAME_AT_FRAME_BYTES, frame->frame_bytes);
    store_u32(data + WAL_FRAME_AT_PREVIOUS_CRC, frame->previous_crc);
    memset(data + WAL_FRAME_AT_RESERVED, 0, WAL_FRAME_HEADER_BYTES - WAL_FRAME_AT_RESERVED);
    frame->crc = frame_crc(data, uuid, frame);
    store_u32(data + WAL_FRAME_AT_CRC, frame->crc);
    return frame->crc;
}

static bool reserved_is_zero(const uint8_t *data)
{
    uint8_t any = 0;
    for (unsigned i = WAL_FRAME_AT_RESERVED; i < WAL_FRAME_HEADER_BYTES; i++)
        any |= data[i];
    return any == 0;
}

/* Whether the lengths of a header agree with each other, before any of them is used. */
static bool lengths_are_sane(const struct wal_frame *frame, uint32_t frame_bytes_max)
{
    if (frame->frame_bytes > frame_bytes_max || frame->frame_bytes < WAL_FRAME_HEADER_BYTES)
        return false;
    if (frame->frame_bytes % SECTOR_BYTES != 0 || frame->payload_bytes > frame->frame_bytes - WAL_FRAME_HEADER_BYTES)
        return false;
    if (frame->kind == WAL_FRAME_ROWS)
        return frame->payload_bytes > 0 && frame->count <= UINT64_MAX - frame->first_seq;
    return frame->payload_bytes == 0 && frame->count == 0;
}

int wal_frame_decode(const uint8_t *data, uint64_t size_bytes, const uint8_t uuid[16], uint64_t lsn, uint32_t frame_bytes_max,
                     struct wal_frame *frame)
{
    if (size_bytes < WAL_FRAME_HEADER_BYTES)
        return MOTE_EDAMAGED;
    if (load_u32(data + WAL_FRAME_AT_MAGIC) != WAL_FRAME_MAGIC || load_u64(data + WAL_FRAME_AT_LSN) != lsn)
        return MOTE_EDAMAGED;
    if (load_u16(data + WAL_FRAME_AT_VERSION) != WAL_FRAME_VERSION)
        return MOTE_EDAMAGED;
    frame->lsn = lsn;
    frame->kind = load_u16(data + WAL_FRAME_AT_KIND);
    frame->flags = load_u32(data + WAL_FRAME_AT_FLAGS);
    frame->incarnation = load_u64(data + WAL_FRAME_AT_INCARNATION);
    frame->first_seq = load_u64(data + WAL_FRAME_AT_FIRST_SEQ);
    frame->durable_lsn = load_u64(data + WAL_FRAME_AT_DURABLE_LSN);
    frame->superblock_generation = load_u64(data + WAL_FRAME_AT_SUPERBLOCK_GENERATION);
    frame->catalog_version = load_u64(data + WAL_FRAME_AT_CATALOG_VERSION);
    frame->batch_id = load_u64(data + WAL_FRAME_AT_BATCH_ID);
    frame->count = load_u32(data + WAL_FRAME_AT_COUNT);
    frame->payload_bytes = load_u32(data + WAL_FRAME_AT_PAYLOAD_BYTES);
    frame->frame_bytes = load_u32(data + WAL_FRAME_AT_FRAME_BYTES);
    frame->previous_crc = load_u32(data + WAL_FRAME_AT_PREVIOUS_CRC);
    frame->crc = load_u32(data + WAL_FRAME_AT_CRC);
    if (frame->kind < WAL_FRAME_ROWS || frame->kind > WAL_FRAME_END || !lengths_are_sane(frame, frame_bytes_max))
        return MOTE_EDAMAGED;
    if (frame->payload_bytes > size_bytes - WAL_FRAME_HEADER_BYTES || !reserved_is_zero(data))
        return MOTE_EDAMAGED;
    return frame_crc(data, uuid, frame) == frame->crc ? MOTE_OK : MOTE_EDAMAGED;
}
