/* sst_format.h: an SSTable on the device, version 2. Little-endian; reserved fields are zero.
 *
 * A segment is one byte string over its runs of extents. In it lie *structures*, each at a multiple of 64 bytes, none across two runs (where the rest of a run is too short for the next structure it is skipped):
 *
 *     block block ... partition [filter]  block ... partition [filter]  [timestamp section]  footer
 *
 * Order of rows: (key ascending, seq descending). A row's ordinal is its number in that order, from 0.
 * What a parent says of its child (offset, length, checksum) must be what the child says of itself: footer -> partition -> block, footer -> filter, manifest -> footer. The streams of a block have no header: the partition alone has their
 * checksums, and the block's checksum holds them together.
 *
 * Header of every structure, 32 bytes
 *   offset  size  field
 *        0     4  magic          SST_MAGIC_...
 *        4     4  checksum       CRC32C of the bytes from 8 to the structure's end, seeded with (UUID, magic, segment id, own offset); of a block of columns: of the bytes from 8 to its first stream, and then of the checksums of its
 *                                streams, 4 bytes each, in their order: each byte is summed once for both
 *        8     8  segment id
 *       16     8  own offset     in the segment
 *       24     4  length
 *       28     2  version        2
 *       30     2  reserved
 *
 * Block: rows, column by column
 *       32     4  row count      1 to SST_BLOCK_ROWS_MAX
 *       36     4  delete count   tombstones among them
 *       40     4  repeat count   rows that have the key of the row before them (in this block)
 *       44     4  column count
 *       48     8  smallest seq
 *       56     8  greatest seq
 *       64        starts of the streams, 4 bytes each: column_count columns, the seqs, the kinds, and the end (= length). Each start is a multiple of 8; what is between the end of a stream and the next start is zero.
 *                 column: codec.h, in the column's type, NULLs as there; of a tombstone the key columns have their values, the others are NULL
 *                 seqs:   codec.h, INT64 bit patterns
 *                 kinds:  codec.h, BOOL, 1 = tombstone; empty if there is none
 *
 *       Stream: from its start to the next one's (so with the zeros behind it). Its checksum is the CRC32C of these bytes, seeded with (UUID, SST_MAGIC_STREAM, segment id, offset of its start in the segment): it can be read and trusted alone.
 *
 * Block of row pages: rows, row by row, in pages of SST_PAGE_BYTES. Offset and length are multiples of SST_PAGE_BYTES. A unit is what a point read reads: one page of whole rows, or, of a row that is larger than a page, as many as it takes,
 * with this row alone.
 *       32        as in a block, up to 64; magic SST_MAGIC_ROWS
 *       64        the first unit; every later one begins with a page
 *   Unit (offsets of rows count from its first page's start; A is 64 in the block's first unit, else 0)
 *        A     2  row count                   A + 2     2  page count
 *    A + 4     4  end of the last row's image
 *    A + 8        slots, 2 bytes for each row: where the row begins (a multiple of 8, in the first page), how many zero bytes (0 to 7) lie between its image and the next row (of the last row: 0), SST_SLOT_DELETED for a tombstone;
 *                 zeros up to a multiple of 8, then the rows, then zeros
 *   Row
 *        0     8  seq
 *        8        row image (schema.h) in the layout of the segment's columns; of a tombstone the key columns have their values, the others are NULL
 *
 * Partition: the index of up to SST_PARTITION_BLOCKS_MAX blocks
 *       32     4  block count
 *       36     4  column count
 *       40     4  number of its first block in the segment
 *       44     4  reserved
 *       48     8  ordinal of its first row
 *       56        starts of the entries, 4 bytes each, and the end (= length); multiples of 8
 *   Entry
 *        0     8  offset of the block            8     4  length          12     4  checksum
 *       16     4  row count                     20     4  delete count
 *       24     8  smallest seq                  32     8  greatest seq
 *       40     8  seq of the first row          48     8  seq of the last row
 *       56     8  least time                    64     8  greatest time   (nanoseconds; of rows and tombstones that have one; least > greatest: none)
 *       72     4  rows with a time              76     4  tombstones without one
 *       80     4  ordinal of the first row, counted from the partition's
 *       84     2  first key's length, and SST_ENTRY_PAGES if the block holds row pages
 *       86     2  last key's length
 *       88     4  repeat count                  92     4  reserved
 *       96        zone maps, SST_ZONE_BYTES for each column, then the first key, the last key, zeros up to a multiple of 8, and the block's stream directory, or of row pages their page directory
 *   Stream directory: SST_STREAM_BYTES for each of the columns, the seqs, the kinds
 *        0     4  start in the block             4     4  checksum
 *   Page directory, zeros up to a multiple of 8 behind it
 *        0     4  unit count                     4     4  reserved
 *        8        units, SST_UNIT_BYTES each, then the key of each unit's first row, without gaps
 *   Unit of the directory
 *        0     8  seq of its first row           8     4  checksum        CRC32C of all its bytes, seeded with (UUID, SST_MAGIC_PAGE, segment id, its offset in the segment)
 *       12     4  end of its first row's key, counted from the first key
 *       16     2  number of its first page in the block                    18     2  row count
 *   Zone map
 *        0     4  values that are not NULL       4     4  flags (SST_ZONE_...)
 *        8     8  min                           16     8  max             24     8  sum      (int64, or the bits of a float64, by the flags; 0 where a flag is not set)
 *     Of -0.0 and 0.0 either may stand for both.
 *
 * Filter: a blocked Bloom filter of one partition's keys (sst_filter.c)
 *       32     8  keys put in
 *       40     4  line count
 *       44     4  bits set for each key: SST_FILTER_PROBES
 *       48    16  reserved
 *       64        lines of 64 bytes
 *
 * Footer
 *       32     8  table id               40     4  schema version        44     4  level
 *       48     8  run id                 56     8  row count             64     8  delete count
 *       72     8  smallest seq           80     8  greatest seq
 *       88     8  least time             96     8  greatest time
 *      104     8  rows with a time
 *      112     4  block count           116     4  partition count
 *      120     4  column count          124     4  reserved
 *      128     8  timestamp section: offset in the segment (0: none)
 *      136     8  its length            144     8  its root's offset in it
 *      152     4  its root's length     156     4  its root's checksum   160     8  section id
 *      168        columns, 16 bytes each: id (8), type (4), dimension (4)
 *                 starts of the directory's entries, 4 bytes each, and the end (= length); multiples of 8
 *   Directory entry
 *        0     8  offset of the partition        8     4  length          12     4  checksum
 *       16     4  number of its first block     20     4  block count
 *       24     8  ordinal of its first row      32     8  seq of its last row
 *       40     8  least time                    48     8  greatest time
 *       56     4  tombstones without a time     60     4  filter's length, 0: none
 *       64     8  filter's offset               72     4  filter's checksum
 *       76     2  last key's length             78     2  reserved
 *       80        last key, zeros up to a multiple of 8
 */
#ifndef MOTE_ENGINE_LSM_SST_FORMAT_H
#define MOTE_ENGINE_LSM_SST_FORMAT_H

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"

#define SST_MAGIC_BLOCK 0x4b42534du     /* "MSBK" */
#define SST_MAGIC_ROWS 0x4252534du      /* "MSRB" */
#define SST_MAGIC_PAGE 0x4750534du      /* "MSPG"; only in seeds */
#define SST_MAGIC_STREAM 0x5453534du    /* "MSST"; only in seeds */
#define SST_MAGIC_PARTITION 0x5450534du /* "MSPT" */
#define SST_MAGIC_FILTER 0x4c46534du    /* "MSFL" */
#define SST_MAGIC_FOOTER 0x5446534du    /* "MSFT" */

enum {
    SST_VERSION = 2,
    SST_ALIGN_BYTES = 64,
    SST_HEADER_BYTES = 32,
    SST_BLOCK_HEADER_BYTES = 64,
    SST_BLOCK_ROWS_MAX = 65536,
    SST_BLOCK_RAW_BYTES_MAX = 1024 * 1024, /* of all its values, decoded */
    SST_BLOCK_BYTES_MAX = 4 * 1024 * 1024, /* encoded: raw bytes, and what the codecs may add for 1024 columns */
    SST_PARTITION_HEADER_BYTES = 56,
    SST_PARTITION_BLOCKS_MAX = 64,
    SST_PARTITION_ROWS_MAX = 128 * 1024,   /* a partition ends with the block that reaches it: a filter stays small */
    SST_PARTITION_BYTES_MAX = 64 * 1024,   /* and before the block that would exceed it */
    SST_ENTRY_BYTES = 96,
    SST_ZONE_BYTES = 32,
    SST_STREAM_BYTES = 8,                  /* of the stream directory */
    SST_ENTRY_PAGES = 0x8000,
    SST_PAGE_BYTES = 4096,
    SST_PAGES_HEADER_BYTES = 8,            /* of the page directory */
    SST_UNIT_BYTES = 20,
    SST_UNIT_HEADER_BYTES = 8,
    SST_SLOT_START = 0x0FF8,
    SST_SLOT_PADDING = 7,
    SST_SLOT_DELETED = 0x8000,
    SST_PAGES_RAW_BYTES_MAX = 256 * 1024,  /* of a block of row pages, so that a scan over many segments needs little of the cache; with what is left empty in its pages it stays far below SST_BLOCK_BYTES_MAX */
    SST_PAGES_ROWS_MAX = 16384,
    SST_FILTER_HEADER_BYTES = 64,
    SST_FILTER_LINE_BYTES = 64,
    SST_FILTER_PROBES = 7,
    SST_FILTER_BITS_PER_KEY = 10,
    SST_FOOTER_HEADER_BYTES = 168,
    SST_FOOTER_COLUMN_BYTES = 16,
    SST_DIRECTORY_ENTRY_BYTES = 80,
    SST_FOOTER_BYTES_MAX = 512 * 1024, /* a builder is full before */
    SST_SECTION_ID = 0,                /* of the timestamp section inside the segment; rebuilt ones have others */
};

enum sst_zone_flags { SST_ZONE_RANGE = 1 /* min and max hold */, SST_ZONE_SUM = 2, SST_ZONE_FLOAT = 4, SST_ZONE_NAN = 8 /* floats: some are NaN and not in the rest */ };

/* What every structure says of itself. */
struct sst_header {
    uint32_t magic, crc, length_bytes;
    uint64_t segment_id, offset_bytes;
};

/* The first stream of a block of columns. */
static inline uint32_t sst_streams_at(uint32_t column_count) { return (SST_BLOCK_HEADER_BYTES + (column_count + 3) * 4 + 7) & ~7u; }

static inline uint32_t sst_stream_crc(const uint8_t uuid[16], uint64_t segment_id, uint64_t offset_bytes, const uint8_t *data, uint32_t size_bytes)
{
    return crc32c(crc32c_seed(uuid, SST_MAGIC_STREAM, segment_id, offset_bytes), data, size_bytes);
}

/* The checksum of a structure, whose bytes need not be trusted; of a block whose starts are impossible one that is not header->crc. Of a block of columns the checksums of its streams also go to stream_crcs (one for each stream; NULL:
 * nowhere). */
uint32_t sst_crc(const uint8_t uuid[16], const struct sst_header *header, const uint8_t *data, uint32_t *stream_crcs);

/* Completes a structure whose body is in place. Sets header->crc, and of a block of columns stream_crcs, as sst_crc. */
static inline void sst_header_store(uint8_t *data, const uint8_t uuid[16], struct sst_header *header, uint32_t *stream_crcs)
{
    store_u32(data, header->magic);
    store_u64(data + 8, header->segment_id);
    store_u64(data + 16, header->offset_bytes);
    store_u32(data + 24, header->length_bytes);
    store_u16(data + 28, SST_VERSION);
    store_u16(data + 30, 0);
    header->crc = sst_crc(uuid, header, data, stream_crcs);
    store_u32(data + 4, header->crc);
}

/* Whether the structure says of itself what its parent says of it. data has header->length_bytes, at least SST_HEADER_BYTES. */
static inline bool sst_header_fits(const uint8_t *data, const struct sst_header *header)
{
    return load_u32(data) == header->magic && load_u32(data + 4) == header->crc && load_u64(data + 8) == header->segment_id && load_u64(data + 16) == header->offset_bytes &&
           load_u32(data + 24) == header->length_bytes && load_u16(data + 28) == SST_VERSION && load_u16(data + 30) == 0;
}

#endif
