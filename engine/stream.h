/* stream.h: the framing of a backup stream: records with a checksum each, numbered, and an end that tells their number, their bytes and a checksum of all.
 *
 * The stream, version 1. Little-endian; reserved bytes are zero. Record: a header of 32 bytes, then the payload.
 *
 *   offset size field
 *        0    4 magic "MTST"
 *        4    4 CRC32C of the header's bytes from 8 on and of the payload, seeded with (the stream's id, STREAM_MAGIC, number of the record, 0); of the first record: with an id of zeros
 *        8    2 kind
 *       10    2 flags: 1 may be passed over by whoever does not know the kind
 *       12    4 payload bytes, at most STREAM_PAYLOAD_BYTES_MAX
 *       16    8 number of the record, from 0
 *       24    8 reserved
 *
 *   kind        payload
 *    1 BEGIN    first: struct stream_begin, STREAM_BEGIN_BYTES (stream.c has the offsets)
 *    2 CATALOG  a piece of the catalog: records of the manifest, cut anywhere (engine/lsm/manifest_format.h): tables, lost ranges, retention, pins, watermarks, indexes, named snapshots
 *    3 SEGMENTS n times: flags u32 (1: the stream carries it), reserved u32, segment record (300 bytes, with the extents of the sender's device); ascending ids
 *    4 SECTIONS n times: flags u32 (as above), reserved u32, SECTION record's body (56 bytes); by segment id, then index id
 *    5 PLANNED  empty: from here on come items
 *    6 ITEM     type u32 (1 segment, 2 rebuilt timestamp section, 3 section of an index, 4 blob file), reserved u32, segment id u64 (or the blob file's), index id u64 (or 0), bytes u64
 *    7 DATA     offset in the item u64, bytes
 *    8 ITEM_END bytes of the item u64, CRC32C of them u32, reserved u32
 *   10 BLOBS    n times: flags u32 (as above), reserved u32, blob file id u64, table id u64, bytes u64 (of the file from its beginning; a multiple of 4096); ascending ids; behind SECTIONS
 *   11 USES     n times: segment id u64, blob file id u64, bytes u64 (that the segment's rows use of it); by segment id, then file id; behind BLOBS
 *    9 END      last: records before it u64, bytes before it u64, items u64, CRC32C of all bytes before it u32, reserved u32
 *
 * Items, of what is carried: the blob files, then, in the order of the segments, each segment, its timestamp section, its indexes' sections. A blob file that is carried holds at least what an earlier stream carried of it, in the same places.
 *
 * Invariants: a record is given out only after its checksum was found right; no length is trusted above its bound. A stream that is cut, or of which a byte is wrong, lacks, or is twice, is refused at that record, or at the end.
 * Threads: one. Failures: MOTE_EDAMAGED, MOTE_EVERSION, and what the caller's functions return.
 */
#ifndef MOTE_ENGINE_STREAM_H
#define MOTE_ENGINE_STREAM_H

#include "engine/lsm/manifest.h"

#define STREAM_MAGIC 0x5453544du /* "MTST" */
#define STREAM_VERSION 1u
#define STREAM_HEADER_BYTES 32u
#define STREAM_CHUNK_BYTES (256u * 1024u)
#define STREAM_PAYLOAD_BYTES_MAX (STREAM_CHUNK_BYTES + 4096u)
#define STREAM_BEGIN_BYTES 256u
#define STREAM_SEGMENT_BYTES (8u + 300u)
#define STREAM_SECTION_BYTES (8u + 56u)
#define STREAM_BLOB_BYTES 32u
#define STREAM_USE_BYTES 24u
#define STREAM_ITEM_BYTES 32u
#define STREAM_ITEM_END_BYTES 16u
#define STREAM_END_BYTES 32u
#define STREAM_SKIPPABLE 1u
#define STREAM_CARRIED 1u

enum stream_kind { STREAM_BEGIN = 1, STREAM_CATALOG, STREAM_SEGMENTS, STREAM_SECTIONS, STREAM_PLANNED, STREAM_ITEM, STREAM_DATA, STREAM_ITEM_END, STREAM_END, STREAM_BLOBS, STREAM_USES };
enum stream_item_type { STREAM_ITEM_SEGMENT = 1, STREAM_ITEM_TIMESTAMP = 2, STREAM_ITEM_SECTION = 3, STREAM_ITEM_BLOB = 4 };

/* What a stream leads to, and from where. */
struct stream_begin {
    struct manifest_point point; /* its id is the stream's */
    uint8_t from_id[16];         /* all zero: not an increment */
    uint8_t source_uuid[16], data_uuid[16];
    uint64_t next_seq; /* no row of the state has this seq or a higher one */
    uint64_t counters[MANIFEST_COUNTERS];
    uint64_t extent_bytes, log_bytes_max;
    uint32_t segments_max, table_count;
    uint32_t segment_count, section_count, segments_carried;
    uint32_t catalog_records, catalog_bytes;
    uint32_t blob_count, use_count; /* blob files; their uses by segments */
    uint64_t item_count, item_bytes; /* carried */
    int64_t taken_ns;
};
void stream_begin_encode(const struct stream_begin *begin, uint8_t bytes[STREAM_BEGIN_BYTES]);
int stream_begin_decode(const uint8_t bytes[STREAM_BEGIN_BYTES], struct stream_begin *begin);

struct stream_writer {
    int (*write)(const void *data, size_t size_bytes, void *context);
    void *context;
    uint8_t id[16];
    uint64_t record_count, bytes;
    uint32_t crc; /* of all bytes so far */
};
/* One record, of two parts (the second may be empty). */
int stream_put(struct stream_writer *writer, enum stream_kind kind, const void *head, uint32_t head_bytes, const void *body, uint32_t body_bytes);
int stream_put_end(struct stream_writer *writer, uint64_t item_count);

struct stream_reader {
    int (*read)(void *data, size_t size_max, size_t *size_bytes, void *context);
    void *context;
    uint8_t id[16];
    uint64_t record_count, bytes; /* the END is counted once it was checked */
    uint32_t crc;
    uint32_t kind, payload_bytes; /* of the record last taken */
    uint8_t *payload;             /* STREAM_PAYLOAD_BYTES_MAX bytes, the caller's */
};
/* The next record that is to be looked at: its checksum is right, its kind known. */
int stream_take(struct stream_reader *reader);
/* Of a record of kind END, which was just taken: it says what was read, and nothing follows. */
int stream_check_end(struct stream_reader *reader, uint64_t item_count);
int stream_damaged(const struct stream_reader *reader, const char *what);

/* A point as text, for people to carry: hexadecimal digits with a checksum. */
void stream_token_encode(const struct manifest_point *point, const uint8_t source_uuid[16], char token[MOTE_TOKEN_BYTES]);
bool stream_token_decode(const char *token, struct manifest_point *point, uint8_t source_uuid[16]);

#endif
