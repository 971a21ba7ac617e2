/* blob_format.h: how a value of a large column (MOTE_COLUMN_LARGE) lies in a row, wherever rows lie: in memtables, the log and segments. Little-endian; reserved bytes are zero.
 *
 * Inline:     u8 0, then the value's bytes.
 * Reference:
 *   offset size field
 *        0    1 tag 1
 *        1    1 version, 1
 *        2    2 piece_count, at least 1
 *        4    4 chunk_count: length_bytes divided by chunk_bytes, rounded up
 *        8    8 length_bytes of the value, at least 1
 *       16    4 chunk_bytes: a power of two from 4 KiB to 4 MiB
 *       20    4 reserved
 *       24      pieces: file id u64, first page u32, page count u32 (of 4 KiB, within the blob file); together they hold the value, and zeros behind its end
 *               chunks: CRC32C u32 of each chunk_bytes of the value (the last: of what is left), seeded with the data's UUID (superblock.h), BLOB_CRC_KIND, the file id and the byte offset in the file where the chunk begins
 *
 * Every value of such a column has one of the two forms, so that no value can be taken for a reference. Blob files: blob_file.h. Threads: pure. Failures: false for bytes that no encoder makes.
 */
#ifndef MOTE_ENGINE_LSM_BLOB_FORMAT_H
#define MOTE_ENGINE_LSM_BLOB_FORMAT_H

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"

enum { BLOB_INLINE = 0, BLOB_REFERENCE = 1 };
#define BLOB_VERSION 1u
#define BLOB_CRC_KIND 0x424c424du /* "MBLB" */
#define BLOB_HEAD_BYTES 24u
#define BLOB_PIECE_BYTES 16u
#define BLOB_CHUNK_CRC_BYTES 4u
#define BLOB_PIECES_MAX 4096u
#define BLOB_CHUNKS_MAX 16384u
#define BLOB_CHUNK_BYTES_MIN PAGE_BYTES
#define BLOB_CHUNK_BYTES_MAX (4u * MIB_BYTES)

struct blob_reference {
    const uint8_t *stored; /* the whole of it */
    uint64_t length_bytes;
    uint32_t piece_count, chunk_count, chunk_bytes;
};
struct blob_piece {
    uint64_t file_id;
    uint32_t first_page, page_count;
};

static inline uint64_t blob_reference_bytes(uint32_t piece_count, uint32_t chunk_count) { return BLOB_HEAD_BYTES + (uint64_t)piece_count * BLOB_PIECE_BYTES + (uint64_t)chunk_count * BLOB_CHUNK_CRC_BYTES; }

static inline void blob_reference_encode(uint8_t *at, uint64_t length_bytes, uint32_t chunk_bytes, const struct blob_piece *pieces, uint32_t piece_count, const uint32_t *chunk_crcs, uint32_t chunk_count)
{
    memset(at, 0, BLOB_HEAD_BYTES);
    store_u8(at, BLOB_REFERENCE);
    store_u8(at + 1, BLOB_VERSION);
    store_u16(at + 2, (uint16_t)piece_count);
    store_u32(at + 4, chunk_count);
    store_u64(at + 8, length_bytes);
    store_u32(at + 16, chunk_bytes);
    at += BLOB_HEAD_BYTES;
    for (uint32_t i = 0; i < piece_count; i++, at += BLOB_PIECE_BYTES) {
        store_u64(at, pieces[i].file_id);
        store_u32(at + 8, pieces[i].first_page);
        store_u32(at + 12, pieces[i].page_count);
    }
    for (uint32_t i = 0; i < chunk_count; i++, at += BLOB_CHUNK_CRC_BYTES)
        store_u32(at, chunk_crcs[i]);
}

static inline void blob_reference_piece(const struct blob_reference *reference, uint32_t number, struct blob_piece *piece)
{
    const uint8_t *at = reference->stored + BLOB_HEAD_BYTES + (uint64_t)number * BLOB_PIECE_BYTES;
    *piece = (struct blob_piece){load_u64(at), load_u32(at + 8), load_u32(at + 12)};
}

static inline uint32_t blob_reference_crc(const struct blob_reference *reference, uint32_t chunk)
{
    return load_u32(reference->stored + BLOB_HEAD_BYTES + (uint64_t)reference->piece_count * BLOB_PIECE_BYTES + (uint64_t)chunk * BLOB_CHUNK_CRC_BYTES);
}

static inline bool blob_is_reference(const uint8_t *stored, uint64_t stored_bytes) { return stored_bytes > 0 && stored[0] == BLOB_REFERENCE; }

/* false: not a reference that blob_reference_encode makes. What it points to may be missing all the same. */
static inline bool blob_reference_decode(const uint8_t *stored, uint64_t stored_bytes, struct blob_reference *reference)
{
    if (stored_bytes < BLOB_HEAD_BYTES || load_u8(stored) != BLOB_REFERENCE || load_u8(stored + 1) != BLOB_VERSION || load_u32(stored + 20))
        return false;
    *reference = (struct blob_reference){stored, load_u64(stored + 8), load_u16(stored + 2), load_u32(stored + 4), load_u32(stored + 16)};
    if (!is_power_of_two(reference->chunk_bytes) || reference->chunk_bytes < BLOB_CHUNK_BYTES_MIN || reference->chunk_bytes > BLOB_CHUNK_BYTES_MAX)
        return false;
    if (!reference->piece_count || reference->piece_count > BLOB_PIECES_MAX || !reference->length_bytes || reference->chunk_count > BLOB_CHUNKS_MAX ||
        reference->length_bytes > (uint64_t)BLOB_CHUNKS_MAX * BLOB_CHUNK_BYTES_MAX || divide_up(reference->length_bytes, reference->chunk_bytes) != reference->chunk_count ||
        stored_bytes != blob_reference_bytes(reference->piece_count, reference->chunk_count))
        return false;
    uint64_t pages = 0;
    for (uint32_t i = 0; i < reference->piece_count; i++) {
        struct blob_piece piece;
        blob_reference_piece(reference, i, &piece);
        if (!piece.page_count)
            return false;
        pages += piece.page_count;
    }
    return pages == divide_up(reference->length_bytes, PAGE_BYTES);
}

#endif
