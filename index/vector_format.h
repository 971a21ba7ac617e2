/* vector_format.h: the vector index on the device, version 1. Little-endian; reserved fields and unused bytes are zero.
 *
 * A section is five streams of records in pages of whole 4 KiB, then the root. Records of a stream have one size, its pages one length and one number of records (the last page shorter), so that a record's page and place are computed. The pages
 * of streams 0 to 3 are numbered through, stream after stream; the directory tells for each number where the page lies and what its checksum is; the root tells it for the pages of the directory. A node is a row with a vector; nodes are
 * numbered in the order of their ordinals.
 *
 * Page header, 48 bytes
 *   offset  size  field
 *        0     4  magic          VECTOR_MAGIC
 *        4     4  checksum       CRC32C of the bytes from 8 to the page's end, seeded with (UUID, magic, segment id, own offset)
 *        8     8  segment id
 *       16     8  section id
 *       24     8  own offset     in the section
 *       32     4  length
 *       36     2  version        1
 *       38     2  stream         0 nodes, 1 codes, 2 model, 3 ordinals, 4 directory, 5 root
 *       40     4  page number    in the stream
 *       44     4  record count
 *       48        records, zeros
 *
 * Nodes: of 8 + 4 degree + 4 dimension bytes; as many as fit in the fewest pages of 4 KiB that hold one (in a flat section: in 64 KiB). A node above 64 KiB - 48 bytes is cut in VECTOR_PARTS records, the first a multiple of 4 bytes long and the
 * second no longer, zeros behind it.
 *        0     4  ordinal
 *        4     2  neighbour count    at most the degree
 *        6     2  reserved
 *        8     4 degree      neighbours' node numbers, zeros behind them; a flat section has degree 0
 *        ..    4 dimension   vector, float32 (VECTOR_COSINE: divided by its length)
 * Codes (not in a flat section): of 9 + (dimension + 1) / 2 bytes, in pages of 16 KiB
 *   With v the vector times 2^-e (e: in the root), c its centroid, m the mean, r = v - c, g = code - 7.5 for each element:
 *        0     4  b   float32: r.r + 2 s (c - m).g, with VECTOR_INNER_PRODUCT less v.v
 *        4     4  s   float32: r.r / r.g, 0 where r is 0
 *        8     1  number of the centroid
 *        9        element i in the low half of byte i, element i + (dimension + 1) / 2 in its high half; an odd dimension's last high half is 0
 *   The squared distance of v from a query q is then about (q - c).(q - c) + b - 2 s (q - m).g: without bias, as g is a direction near that of r (after RaBitQ, Gao and Long 2024, here with four bits and without its rotation).
 *   code = r / d + 7.5 rounded down after adding a half, cut to 0 to 15, d = f max|r| / 7.5; of f = 1, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3 that one which makes (r.g)^2 / g.g greatest, the first of equals.
 * Model (not in a flat section): records of 4 bytes, in pages of 16 KiB: mean m, the centroids (float32), and for each the number of the node that is nearest to it, where searches enter.
 * Ordinals (only where a node's ordinal is not its number): 4 bytes each, in pages of 64 KiB.
 * Directory: entries of 12 bytes, in pages of 64 KiB: offset in the section (8), checksum (4).
 * Root
 *       48     8  node count
 *       56     8  ordinals' end    above every ordinal
 *       64     4  dimension
 *       68     4  metric           enum vector_metric
 *       72     4  kind             1 flat, 2 graph
 *       76     4  degree
 *       80     4  centroids        0 in a flat section, else 1 to VECTOR_CENTROIDS_MAX
 *       84     4  e                signed
 *       88     4  flags            bit 0: the ordinals are the node numbers
 *       92     4  pages of the directory
 *       96        entries, of the directory's pages
 */
#ifndef MOTE_INDEX_VECTOR_FORMAT_H
#define MOTE_INDEX_VECTOR_FORMAT_H

#include "include/mote.h"
#include "index/vector.h"

#define VECTOR_MAGIC 0x4356534du /* "MSVC" */

enum vector_stream { VECTOR_NODES, VECTOR_CODES, VECTOR_MODEL, VECTOR_ORDINALS, VECTOR_STREAMS, VECTOR_DIRECTORY = VECTOR_STREAMS, VECTOR_ROOT };
enum vector_kind { VECTOR_FLAT = 1, VECTOR_GRAPH = 2 };

enum {
    VECTOR_VERSION = 1,
    VECTOR_HEADER_BYTES = 48,
    VECTOR_UNIT_BYTES = 4096,
    VECTOR_PAYLOAD_MAX = INDEX_PAGE_BYTES_MAX - VECTOR_HEADER_BYTES,
    VECTOR_PARTS = 2,
    VECTOR_CODE_PAGE_BYTES = 16384,
    VECTOR_CODE_HEADER_BYTES = 9,
    VECTOR_NODE_HEADER_BYTES = 8,
    VECTOR_ENTRY_BYTES = 12,
    VECTOR_DIRECTORY_ENTRIES = VECTOR_PAYLOAD_MAX / VECTOR_ENTRY_BYTES,
    VECTOR_ROOT_FIXED_BYTES = 96,
    VECTOR_ROOT_ENTRIES_MAX = (INDEX_PAGE_BYTES_MAX - VECTOR_ROOT_FIXED_BYTES) / VECTOR_ENTRY_BYTES,
    VECTOR_CENTROIDS_MAX = 64,
    VECTOR_FLAG_DENSE = 1,
    VECTOR_EXPONENT_MAX = 160, /* of either sign */
};
#define VECTOR_PAGES_MAX ((uint64_t)VECTOR_ROOT_ENTRIES_MAX * VECTOR_DIRECTORY_ENTRIES)

_Static_assert(VECTOR_NODE_HEADER_BYTES + 4 * VECTOR_DEGREE_MAX + 4 * MOTE_VECTOR_DIMENSION_MAX <= VECTOR_PARTS * VECTOR_PAYLOAD_MAX, "a node has at most two parts");
_Static_assert(VECTOR_CODE_HEADER_BYTES + MOTE_VECTOR_DIMENSION_MAX / 2 <= VECTOR_CODE_PAGE_BYTES - VECTOR_HEADER_BYTES, "a code fits its page");

#endif
