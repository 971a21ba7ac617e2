/* wal_format.h: one frame of the log as it lies on the device. Little-endian; version 1; no other file knows an offset.
 *
 *   offset size  field
 *        0    4  magic                  "MWAF"
 *        4    4  crc                    CRC-32C of header bytes [8, 128) and the payload, seeded (below)
 *        8    2  version                1
 *       10    2  kind                   enum wal_frame_kind
 *       12    4  flags                  enum wal_frame_flags (0 in a frame that is a batch by itself)
 *       16    8  incarnation            the owner's random number
 *       24    8  lsn                    the frame's own position
 *       32    8  first_seq              of its count seqs; a frame without rows: the seq that the next row gets
 *       40    8  durable_lsn            durable prefix of the log when the frame was completed (wal.h, invariant 4)
 *       48    8  superblock_generation  that its owner runs under
 *       56    8  catalog_version        newest one when the frame was completed
 *       64    8  batch_id               0: none; unused: what is to be there as a whole is marked in the payload, since frames are shared
 *       72    4  count                  seqs in the frame
 *       76    4  payload_bytes          0 unless kind is rows
 *       80    4  frame_bytes            header, payload and padding; of a pad: all that it covers
 *       84    4  previous_crc           crc of the frame before, 0 in the first of an incarnation
 *       88   40  reserved               zeros
 *      128    n  payload
 *              zeros up to frame_bytes, a multiple of the log's alignment (not covered by crc: nothing reads them). Of a pad only the first aligned unit is written.
 *
 * The seed is crc32c_seed(uuid, WAL_FRAME_SEED_KIND, lsn, incarnation), so a frame of another volume, another place or another owner fails its check.
 *
 * A frame is valid where it is found if: magic, version, kind and lsn are right; 128 + payload_bytes <= frame_bytes <= the largest frame; frame_bytes is a multiple of 512; only rows
 * carry a count or a payload, and rows carry a payload; the reserved bytes are zero; the checksum agrees. Whether it belongs there (incarnation, chain, seqs) is recovery's question.
 */
#ifndef MOTE_WAL_FORMAT_H
#define MOTE_WAL_FORMAT_H

#include <assert.h>
#include <stdint.h>

#define WAL_FRAME_MAGIC 0x4641574Du /* "MWAF" */
#define WAL_FRAME_VERSION 1u
#define WAL_FRAME_SEED_KIND 0x4641574Du
#define WAL_FRAME_HEADER_BYTES 128u

enum wal_frame_kind { WAL_FRAME_ROWS = 1, WAL_FRAME_MARK = 2, WAL_FRAME_PAD = 3, WAL_FRAME_END = 4 };
enum wal_frame_flags { WAL_FRAME_BATCH_BEGIN = 1, WAL_FRAME_BATCH_CONTINUE = 2, WAL_FRAME_BATCH_COMMIT = 4 };

enum wal_frame_offset {
    WAL_FRAME_AT_MAGIC = 0,
    WAL_FRAME_AT_CRC = 4,
    WAL_FRAME_AT_VERSION = 8,
    WAL_FRAME_AT_KIND = 10,
    WAL_FRAME_AT_FLAGS = 12,
    WAL_FRAME_AT_INCARNATION = 16,
    WAL_FRAME_AT_LSN = 24,
    WAL_FRAME_AT_FIRST_SEQ = 32,
    WAL_FRAME_AT_DURABLE_LSN = 40,
    WAL_FRAME_AT_SUPERBLOCK_GENERATION = 48,
    WAL_FRAME_AT_CATALOG_VERSION = 56,
    WAL_FRAME_AT_BATCH_ID = 64,
    WAL_FRAME_AT_COUNT = 72,
    WAL_FRAME_AT_PAYLOAD_BYTES = 76,
    WAL_FRAME_AT_FRAME_BYTES = 80,
    WAL_FRAME_AT_PREVIOUS_CRC = 84,
    WAL_FRAME_AT_RESERVED = 88,
};
_Static_assert(WAL_FRAME_AT_PREVIOUS_CRC + 4 == WAL_FRAME_AT_RESERVED, "fields are packed");
_Static_assert(WAL_FRAME_AT_RESERVED + 40 == WAL_FRAME_HEADER_BYTES, "the header is 128 bytes");

struct wal_frame;

/* Writes the header of *frame in front of the payload, which is at data[128 ..] already, and returns the checksum (also in
 * frame->crc). */
uint32_t wal_frame_encode(uint8_t *data, const uint8_t uuid[16], struct wal_frame *frame);

#endif
