/* column_format.h: the column index on the device, version 1. Little-endian; reserved fields are zero and checked.
 *
 * A section is the (value, ordinal) pairs of a segment's rows in ascending order, then the ordinals of its NULLs, cut into leaves, with a tree of inner pages above and the root last. The rank of an entry is its place in that order: a
 * search is a range of ranks, found by value in two paths and followed by rank. A leaf holds each of its values once, with the ordinals of the rows that have it: a dictionary with posting lists where values repeat, two sorted arrays
 * where they do not. A value may go on in the next leaf. A leaf holds values or NULLs, not both. Children come before parents.
 *
 * Keys: numbers become unsigned 64-bit numbers that ascend with the value: the sign bit of integers is turned; floats by their bits (32 of float32), all of them turned if negative, the sign bit if not, after -0.0 became 0.0 and NaN
 * the quiet NaN without sign. Text and blob: the bytes, up to 254; of a longer value the first 254 and a byte 0. So a key of 255 bytes stands for a longer value, and keys compare by bytes, then length.
 *
 * Page header, 40 bytes
 *   offset  size  field
 *        0     4  magic          COLUMN_MAGIC_...
 *        4     4  checksum       CRC32C of the bytes from 8 to the page's end, seeded with (UUID, magic, segment id, own offset)
 *        8     8  segment id
 *       16     8  section id
 *       24     8  own offset     in the section
 *       32     4  length         at most 64 KiB
 *       36     2  version        1
 *       38     2  level          leaf 0; inner page and root: one more than their children; a root of no children: 1
 * Leaf
 *       40     4  entries        1 to COLUMN_LEAF_ENTRIES_MAX
 *       44     4  position       rank of the first entry
 *       48     4  runs           different values; NULLs: 1
 *       52     4  flags          COLUMN_CONTINUES: the first value is the last one of the leaf before; COLUMN_NULLS
 *       56     4  keys bytes     NULLs: 0
 *       60     4  ends bytes     0 if no value repeats (entries = runs), or NULLs
 *       64     4  ordinals bytes
 *       68     4  reserved
 *       72        keys (numbers: stream of 64-bit numbers; else front-coded), ends (stream of 32-bit numbers: of each run the number of entries up to its end), ordinals (the same), 8 zeros
 * Stream: n numbers in blocks of 128. First a header for each block, then the packed bits of each block, least significant first, from a byte on.
 *        0   8|4  base           the least number of the block, or with COLUMN_BLOCK_DELTA the first
 *      8|4   8|4  reference      the least difference (modulo 2^64 | 2^32), or 0
 *     16|8     4  place          bits 0 to 16 offset of the packed bits from the stream's first byte, bits 17 to 23 their width (0 to 56, 64), bit 24 COLUMN_BLOCK_DELTA, the rest 0
 *   A number is base + packed; with COLUMN_BLOCK_DELTA the number before + reference + packed, and the first is the base, packed as 0. Keys and ends ascend, so that their bases are their first numbers.
 * Front-coded keys, groups of 16: an offset (2 bytes, from the end of these offsets) for each group, then for each key: bytes shared with the key before (1; 0 at the begin of a group), further bytes (1), these bytes.
 * Inner page
 *       40     4  children       1 or more
 *       44     4  position       rank of the first entry below it
 *       48     4  entries        below it
 *       52     4  reserved
 *       56        child entries, then the bytes of their separators
 * Root
 *       40     4  children
 *       44     4  type           enum mote_type
 *       48     4  values         rows that have one
 *       52     4  NULLs
 *       56     4  distinct values
 *       60     4  reserved
 *       64     8  least key      numbers; else its length; 0 when there is no value
 *       72     8  greatest key
 *       80        the bytes of least and greatest key (text, blob), child entries, the bytes of their separators
 * Child entry, 36 bytes
 *        0     8  separator      numbers: the key; else offset from the first separator's byte (4), length (4). Not above any key in or after the child; above all keys before it, or with COLUMN_CONTINUES equal to the last of them.
 *                                0 with COLUMN_NULLS
 *        8     8  offset         in the section
 *       16     4  length
 *       20     4  checksum of the page
 *       24     4  position       rank of its first entry
 *       28     4  entries        in or below it
 *       32     4  flags          of its first leaf
 */
#ifndef MOTE_INDEX_COLUMN_FORMAT_H
#define MOTE_INDEX_COLUMN_FORMAT_H

#include "index/index.h"

#define COLUMN_MAGIC_LEAF 0x464c434du /* "MCLF" */
#define COLUMN_MAGIC_INNER 0x4e49434du
#define COLUMN_MAGIC_ROOT 0x5452434du

enum {
    COLUMN_VERSION = 1,
    COLUMN_HEADER_BYTES = 40,
    COLUMN_LEAF_HEADER_BYTES = 72,
    COLUMN_INNER_HEADER_BYTES = 56,
    COLUMN_ROOT_HEADER_BYTES = 80,
    COLUMN_CHILD_BYTES = 36,
    COLUMN_LEAF_ENTRIES_MAX = 16384,
    COLUMN_BLOCK = 128,
    COLUMN_GROUP = 16,
    COLUMN_TAIL_BYTES = 8,
    COLUMN_KEY_BYTES_MAX = 255,
    COLUMN_LEVELS_MAX = 12,
    COLUMN_CONTINUES = 1,
    COLUMN_NULLS = 2,
    COLUMN_WIDE_HEADER_BYTES = 20,   /* of a block of 64-bit numbers */
    COLUMN_NARROW_HEADER_BYTES = 12, /* of 32-bit numbers */
    COLUMN_BLOCK_DELTA = 1 << 24,
    COLUMN_BODY_BYTES_MAX = 64 * 1024 - 1024, /* child entries and separators of an inner page, so that they would fit a root too */
};

_Static_assert(COLUMN_ROOT_HEADER_BYTES + 2 * COLUMN_KEY_BYTES_MAX + COLUMN_BODY_BYTES_MAX <= INDEX_PAGE_BYTES_MAX, "what fills an inner page fits a root");
_Static_assert(COLUMN_LEAF_ENTRIES_MAX % COLUMN_BLOCK == 0, "a full leaf has full blocks");

#endif
