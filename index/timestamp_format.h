/* timestamp_format.h: the timestamp index on the device, version 1. Little-endian; reserved fields are zero and checked.
 *
 * A section is the rows' (time, ordinal) pairs in ascending order (time, then ordinal), cut into leaves of TIMESTAMP_LEAF_ENTRIES
 * pairs (the last one shorter), each encoded by the column codecs; then, if there are more than TIMESTAMP_FANOUT leaves, directory
 * pages; then the root. Where times ascend with ordinals, which is the common case, a leaf stores its first ordinal only, and its times
 * cost what their differences of differences cost: two or three bytes a row, a few bits when sampled regularly.
 * The first time and the position (rank in the whole order) of each leaf are in the directory, so that a count needs two leaves.
 *
 * Page header, 40 bytes
 *   offset  size  field
 *        0     4  magic          TIMESTAMP_MAGIC_...
 *        4     4  checksum       CRC32C of the bytes from 8 to the page's end, seeded with (UUID, magic, segment id, own offset)
 *        8     8  segment id
 *       16     8  section id
 *       24     8  own offset     in the section
 *       32     4  length
 *       36     2  version        1
 *       38     2  reserved
 * Leaf
 *       40     4  entry count    1 to TIMESTAMP_LEAF_ENTRIES
 *       44     4  position       rank of the first entry
 *       48     4  flags          bit 0: the ordinals are first ordinal, + 1, + 2, ...
 *       52     4  first ordinal
 *       56     4  times bytes
 *       60     4  ordinals bytes 0 with bit 0
 *       64        times (codec, TIMESTAMP), zeros up to a multiple of 8, ordinals (codec, INT32 bit patterns)
 * Directory page
 *       40     4  entry count    TIMESTAMP_FANOUT, the last page of a directory 1 to TIMESTAMP_FANOUT
 *       44     4  reserved
 *       48        entries, of leaves
 * Root
 *       40     4  entry count
 *       44     4  levels         1: the entries are leaves; 2: directory pages
 *       48     8  row count
 *       56     8  first time     of all rows; 0 when there are none
 *       64     8  last time
 *       72     4  leaf count
 *       76     4  reserved
 *       80        entries
 * Entry, 32 bytes
 *        0     8  first time
 *        8     8  offset in the section
 *       16     4  length
 *       20     4  checksum of the page
 *       24     4  position of its first row
 *       28     4  row count
 */
#ifndef MOTE_INDEX_TIMESTAMP_FORMAT_H
#define MOTE_INDEX_TIMESTAMP_FORMAT_H

#include "index/index.h"

#define TIMESTAMP_MAGIC_LEAF 0x464c534du /* "MSLF" */
#define TIMESTAMP_MAGIC_DIRECTORY 0x4944534du
#define TIMESTAMP_MAGIC_ROOT 0x5452534du

enum {
    TIMESTAMP_VERSION = 1,
    TIMESTAMP_LEAF_ENTRIES = 4096,
    TIMESTAMP_FANOUT = 2000,
    TIMESTAMP_HEADER_BYTES = 40,
    TIMESTAMP_LEAF_HEADER_BYTES = 64,
    TIMESTAMP_DIRECTORY_HEADER_BYTES = 48,
    TIMESTAMP_ROOT_HEADER_BYTES = 80,
    TIMESTAMP_ENTRY_BYTES = 32,
    TIMESTAMP_LEAF_CONSECUTIVE = 1,
};

_Static_assert(TIMESTAMP_ROOT_HEADER_BYTES + TIMESTAMP_FANOUT * TIMESTAMP_ENTRY_BYTES <= INDEX_PAGE_BYTES_MAX, "a root is one page");
_Static_assert(TIMESTAMP_LEAF_HEADER_BYTES + TIMESTAMP_LEAF_ENTRIES * 12 + 4096 <= INDEX_PAGE_BYTES_MAX, "a leaf is one page, incompressible or not");
_Static_assert((uint64_t)TIMESTAMP_FANOUT * TIMESTAMP_FANOUT * TIMESTAMP_LEAF_ENTRIES > UINT32_MAX, "two levels hold every ordinal");

#endif
