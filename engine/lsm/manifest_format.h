/* manifest_format.h: the manifest's frames and records as they lie on the device. Little-endian; reserved bytes are zero; version 1.
 *
 * Frame: header of 128 bytes, payload (records one after the other), zero padding to a multiple of 4 KiB. Both copies hold the same bytes.
 *
 *   offset size field
 *        0    4 magic "MTMF"
 *        4    2 version, 1
 *        6    1 kind: 1 snapshot (the whole state; only at an area's start), 2 edit
 *        7    1 reserved
 *        8    8 generation of the superblock when the area was begun
 *       16    8 sequence: the frame before it plus one
 *       24    4 frame_bytes, a multiple of 4096
 *       28    4 payload_bytes, at most frame_bytes - 128
 *       32    4 previous_crc: checksum of the frame before it (of a snapshot: of the last frame of the area before; diagnostic)
 *       36    4 record_count
 *       40    8 next_segment_id     the counters of the numbers that are never reused: each is above every number that was ever
 *       48    8 next_table_id       handed out and became part of the state
 *       56    8 next_column_id
 *       64    8 next_run_id
 *       72    8 next_section_id
 *       80   44 reserved
 *      124    4 CRC32C of the whole frame but for these 4 bytes, seeded with UUID, MANIFEST_CRC_KIND, area, offset in the area
 *
 * Record: kind u16, reserved u16, length_bytes u32, then the body. Kinds marked s occur in snapshots only, e in edits only.
 *
 *   kind              body
 *    1 STATE        s flushed_seq u64, head_lsn u64, clean_end_lsn u64, clean_end_seq u64
 *    2 LOG_RANGES     n times: lsn u64, first extent u32, extent count u32; ascending
 *    3 INCARNATIONS s n times: id u64, first_lsn u64, end_lsn u64; ascending
 *    4 LOST_RANGES    n times: lsn_from u64, lsn_to u64, seq_from u64, seq_to u64
 *    5 BAD_EXTENTS    n times: extent u32
 *    6 TABLE          next_rowid i64, created_seq u64, schema (schema_format.h)
 *    7 SEGMENT        300 bytes, see below
 *    8 REMOVE       e segment id u64
 *    9 TIMESTAMP    e segment id u64, section (40 bytes, see below)
 *   10 DROP_TABLE   e table id u64: the table and its segments
 *   11 ROWID        e table id u64, next_rowid i64
 *   12 FLUSHED_SEQ  e seq u64
 *   13 HEAD         e head_lsn u64
 *   14 INCARNATION  e id u64, first_lsn u64, previous_end_lsn u64
 *   15 CLEAN_END    e end_lsn u64, end_seq u64
 *   16 INDEX          186 bytes, see below
 *   17 DROP_INDEX   e index id u64: the index and its sections
 *   18 SECTION        segment id u64, index id u64, section (40 bytes, see below): of a declared index; in a snapshot behind its segment
 *   24 NAMED            90 bytes, see below
 *   25 DROP_NAMED     e id u64
 *   20 RETENTION      table id u64, age_ns i64 (0: none), bytes_max u64 (0: none), window_ns i64, future_ns i64, pin_bytes_max u64, recycle u32 (0 or 1), reserved u32
 *   21 PIN            table id u64, from_ns i64, to_ns i64, seq u64, name 64 bytes with zeros behind
 *   22 UNPIN        e table id u64, name 64 bytes with zeros behind
 *   23 WATERMARK      table id u64, horizon_ns i64, newest_ns i64
 *   30 BLOB_FILE      id u64 (from the counter of sections), table id u64, run (first u32, count u32); in a snapshot before all segments
 *   31 DROP_BLOB_FILE e id u64
 *   32 SEGMENT_BLOBS  segment id u64, n times: blob file id u64, bytes u64; ascending; only behind the segment's own record
 *   34 RECEIVE        state u32, done_count u32, source uuid 16 bytes, point, incoming point (40 bytes each, see below), journal run (first u32, count u32), journal_bytes u32, journal_crc u32: what the volume is to a stream that it receives
 *   35 BASE           name 64 bytes with zeros behind, point, taken_ns i64: a state that was sent
 *   36 DROP_BASE    e name 64 bytes with zeros behind
 *
 * Segment: id u64 @0, table_id u64 @8, schema_version u32 @16, level u32 @20, run_id u64 @24, row_count u64 @32, delete_count u64 @40,
 *   seq_min u64 @48, seq_max u64 @56, time_min i64 @64, time_max i64 @72, segment_bytes u64 @80, footer_offset_bytes u64 @88,
 *   footer_bytes u32 @96, footer_crc u32 @100, block_count u32 @104, extent_run_count u32 @108, 8 runs (first u32, count u32) @112 (unused
 *   ones zero), min_key (40 bytes, length u8, truncated u8) @176, max_key the same @218, timestamp section @260.
 * Section: run (first u32, count u32) @0, section_id u64 @8, length_bytes u64 @16, root_offset_bytes u64 @24, root_bytes u32 @32, root_crc u32 @36;
 *   all zero: none.
 * Index: id u64 @0 (from the counter of sections), table_id u64 @8, kind u16 @16, strategy u16 @18, column count u16 @20, options_bytes u16 @22, name_bytes u16 @24, 4 column ids u64 @26 (unused ones zero), name 64 bytes @58 and
 *   options 64 bytes @122, both with zeros behind.
 * Named (a snapshot with a name): id u64 @0 (from the counter of sections), seq u64 @8, taken_ns i64 @16, name_bytes u16 @24, name 64 bytes @26 with zeros behind.
 * Point (a state that was sent): id 16 bytes, flushed_seq u64, segment_mark u64, section_mark u64.
 *
 * A frame is valid when magic, version, kind, sizes, reserved bytes and checksum are right; that its records make sense is checked when they are applied
 * (manifest_apply.c), for frames read and frames about to be written alike.
 */
#ifndef MOTE_ENGINE_LSM_MANIFEST_FORMAT_H
#define MOTE_ENGINE_LSM_MANIFEST_FORMAT_H

#include "blockdev/base/bytes.h"
#include "blockdev/base/units.h"
#include "blockdev/layout.h"
#include "engine/lsm/manifest.h"

#define MANIFEST_MAGIC 0x464d544du /* "MTMF" */
#define MANIFEST_VERSION 1u
#define MANIFEST_CRC_KIND 0x464d544du
#define MANIFEST_HEADER_BYTES 128u
#define MANIFEST_CRC_OFFSET 124u
#define MANIFEST_RECORD_HEADER_BYTES 8u
#define MANIFEST_SEGMENT_RECORD_BYTES 300u
#define MANIFEST_SECTION_BYTES 40u
#define MANIFEST_INDEX_RECORD_BYTES 186u
#define MANIFEST_NAMED_RECORD_BYTES 90u
#define MANIFEST_RETENTION_RECORD_BYTES 56u
#define MANIFEST_PIN_RECORD_BYTES 96u
#define MANIFEST_UNPIN_RECORD_BYTES 72u
#define MANIFEST_WATERMARK_RECORD_BYTES 24u
#define MANIFEST_BLOB_FILE_RECORD_BYTES 24u
#define MANIFEST_POINT_BYTES 40u
#define MANIFEST_RECEIVE_RECORD_BYTES (24u + 2u * MANIFEST_POINT_BYTES + 16u)
#define MANIFEST_BASE_RECORD_BYTES (64u + MANIFEST_POINT_BYTES + 8u)
#define MANIFEST_INDEX_SECTION_BYTES (16u + MANIFEST_SECTION_BYTES)

enum manifest_frame_kind { MANIFEST_FRAME_SNAPSHOT = 1, MANIFEST_FRAME_EDIT = 2 };

enum manifest_record_kind {
    MANIFEST_RECORD_STATE = 1,
    MANIFEST_RECORD_LOG_RANGES = 2,
    MANIFEST_RECORD_INCARNATIONS = 3,
    MANIFEST_RECORD_LOST_RANGES = 4,
    MANIFEST_RECORD_BAD_EXTENTS = 5,
    MANIFEST_RECORD_TABLE = 6,
    MANIFEST_RECORD_SEGMENT = 7,
    MANIFEST_RECORD_REMOVE = 8,
    MANIFEST_RECORD_TIMESTAMP = 9,
    MANIFEST_RECORD_DROP_TABLE = 10,
    MANIFEST_RECORD_ROWID = 11,
    MANIFEST_RECORD_FLUSHED_SEQ = 12,
    MANIFEST_RECORD_HEAD = 13,
    MANIFEST_RECORD_INCARNATION = 14,
    MANIFEST_RECORD_CLEAN_END = 15,
    MANIFEST_RECORD_INDEX = 16,
    MANIFEST_RECORD_DROP_INDEX = 17,
    MANIFEST_RECORD_SECTION = 18,
    MANIFEST_RECORD_NAMED = 24,
    MANIFEST_RECORD_DROP_NAMED = 25,
    MANIFEST_RECORD_RETENTION = 20,
    MANIFEST_RECORD_PIN = 21,
    MANIFEST_RECORD_UNPIN = 22,
    MANIFEST_RECORD_WATERMARK = 23,
    MANIFEST_RECORD_BLOB_FILE = 30,
    MANIFEST_RECORD_DROP_BLOB_FILE = 31,
    MANIFEST_RECORD_SEGMENT_BLOBS = 32,
    MANIFEST_RECORD_RECEIVE = 34,
    MANIFEST_RECORD_BASE = 35,
    MANIFEST_RECORD_DROP_BASE = 36,
};

enum manifest_counter {
    MANIFEST_COUNTER_SEGMENT,
    MANIFEST_COUNTER_TABLE,
    MANIFEST_COUNTER_COLUMN,
    MANIFEST_COUNTER_RUN,
    MANIFEST_COUNTER_SECTION,
    MANIFEST_COUNTER_COUNT,
};
_Static_assert((int)MANIFEST_COUNTER_COUNT == (int)MANIFEST_COUNTERS, "an image has all counters");

struct manifest_frame {
    uint32_t kind; /* enum manifest_frame_kind */
    uint64_t generation, sequence;
    uint32_t frame_bytes, payload_bytes, previous_crc, record_count;
    uint64_t counters[MANIFEST_COUNTER_COUNT];
    uint32_t crc;
};

/* Bytes of a snapshot's header and of everything in it but tables and segments, at most. */
#define MANIFEST_SNAPSHOT_FIXED_BYTES                                                                                                                \
    (MANIFEST_HEADER_BYTES + 5u * MANIFEST_RECORD_HEADER_BYTES + 32u + 16u * MANIFEST_LOG_RANGES_MAX + 24u * MANIFEST_INCARNATIONS_MAX +               \
     32u * MANIFEST_LOST_RANGES_MAX + 4u * MANIFEST_BAD_EXTENTS_MAX)
#define MANIFEST_SEGMENT_FRAME_BYTES (MANIFEST_RECORD_HEADER_BYTES + MANIFEST_SEGMENT_RECORD_BYTES)
_Static_assert(MANIFEST_SEGMENT_FRAME_BYTES <= MANIFEST_SEGMENT_BYTES_MAX, "the areas are sized for MANIFEST_SEGMENT_BYTES_MAX a segment");
_Static_assert(MANIFEST_SNAPSHOT_FIXED_BYTES + 16384u <= MANIFEST_FIXED_BYTES_MAX, "room for a catalog must be left on the smallest device");

/* The largest frame of an area: half of it, so that a snapshot and one edit always fit. */
static inline uint64_t manifest_frame_bytes_max(const struct layout *layout) { return round_down(layout->manifest_area_bytes / 2, PAGE_BYTES); }

/* Completes a frame of frame->frame_bytes bytes whose payload is in place behind the header: header, padding, checksum (frame->crc is set). */
void manifest_frame_encode(struct manifest_frame *frame, const uint8_t uuid[16], unsigned area, uint64_t offset_bytes, uint8_t *bytes);
/* Reads the header alone: false unless magic, version, kind, sizes (at most room_bytes) and reserved bytes are right. */
bool manifest_frame_header(const uint8_t header[MANIFEST_HEADER_BYTES], uint64_t room_bytes, struct manifest_frame *frame);
/* The checksum over parts of a frame: begin with the seed, then its bytes from offset 0 on in pieces (the first holds the whole header). */
uint32_t manifest_frame_crc_begin(const uint8_t uuid[16], unsigned area, uint64_t offset_bytes);
uint32_t manifest_frame_crc_add(uint32_t crc, const uint8_t *bytes, uint64_t at_bytes, size_t size_bytes);

void manifest_segment_encode(const struct segment_record *record, struct byte_writer *writer);
/* false: reserved bytes or counts are out of their bounds; whether the values make sense is for manifest_apply.c. */
bool manifest_segment_decode(struct byte_reader *reader, struct segment_record *record);
void manifest_index_encode(const struct manifest_index *index, struct byte_writer *writer);
bool manifest_index_decode(struct byte_reader *reader, struct manifest_index *index);
void manifest_named_encode(const struct manifest_named *named, struct byte_writer *writer);
bool manifest_named_decode(struct byte_reader *reader, struct manifest_named *named);
void manifest_receive_encode(const struct manifest_receive *receive, struct byte_writer *writer);
bool manifest_receive_decode(struct byte_reader *reader, struct manifest_receive *receive);
void manifest_base_encode(const struct manifest_base *base, struct byte_writer *writer);
bool manifest_base_decode(struct byte_reader *reader, struct manifest_base *base);
void manifest_section_encode(const struct segment_section *section, struct byte_writer *writer);
void manifest_section_decode(struct byte_reader *reader, struct segment_section *section);
void manifest_record_begin(struct byte_writer *writer, enum manifest_record_kind kind, size_t length_bytes);

#endif
