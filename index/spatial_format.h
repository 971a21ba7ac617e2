/* spatial_format.h: the spatial index on the device, version 1. Little-endian; reserved fields and unused bytes are zero.
 *
 * A section is a tree of pages of 4 KiB, children before parents, the root last: leaves (level 0) hold points, the pages above them hold boxes. Points are divided in halves along the longest side of what is to be divided, until
 * the parts fill a leaf; so the leaves under one page of level 1 are a region of space, too. A section without points is one empty leaf.
 *
 * Page header, 64 bytes
 *   offset  size  field
 *        0     4  magic          SPATIAL_MAGIC
 *        4     4  checksum       CRC32C of the bytes from 8 to the page's end, seeded with (UUID, magic, segment id, own offset)
 *        8     8  segment id
 *       16     8  section id
 *       24     8  own offset     in the section
 *       32     4  length         4096
 *       36     2  version        1
 *       38     2  level          0: leaf; SPATIAL_LEVELS_MAX - 1 at most
 *       40     4  entry count    leaf: 1 to SPATIAL_LEAF_POINTS_MAX points, 0 in an empty section; else 1 to SPATIAL_FANOUT children
 *       44     4  reserved
 *       48     8  point count    in this page and all below it
 *       56     8  leaf: three shifts (x, y, z), three widths, width of the ordinals, reserved: one byte each; else reserved
 * Leaf
 *       64    24  bases          of x, y, z
 *       88     4  base of the ordinals
 *       92     4  reserved
 *       96        x: entry count numbers of width bits each (0 to 57, or 64), the first in the lowest bits; then from the next whole byte on y, z, and the ordinals (0 to 32 bits each); zeros, at least 8 bytes
 *   A coordinate's bits b are turned into a number that ascends with the coordinate: ~b if the sign is set, else b with the sign set. Of all its points a leaf stores that number, less the bits that are zero at the lower end of
 *   every b (shift), less the smallest (base): float64 that were made of float32 need some 20 bits each, those of a plane none.
 * Inner page: arrays of SPATIAL_FANOUT elements each, unused ones zero
 *       64   400  least x of each child, float32, rounded down
 *      464   400  least y
 *      864   400  least z
 *     1264   400  greatest x, rounded up
 *     1664   400  greatest y
 *     2064   400  greatest z
 *     2464   800  offset of the child's page in the section
 *     3264   400  checksum of the child's page
 *     3664   400  points in and below it
 *     4064    32  reserved
 */
#ifndef MOTE_INDEX_SPATIAL_FORMAT_H
#define MOTE_INDEX_SPATIAL_FORMAT_H

#include "index/index.h"

#define SPATIAL_MAGIC 0x5053534du /* "MSSP" */

enum {
    SPATIAL_VERSION = 1,
    SPATIAL_PAGE_BYTES = 4096,
    SPATIAL_FANOUT = 100,
    SPATIAL_LEVELS_MAX = 8,
    SPATIAL_LEAF_POINTS_MAX = 512,
    SPATIAL_HEADER_BYTES = 64,
    SPATIAL_LEAF_HEADER_BYTES = 96,
    SPATIAL_WIDTH_MAX = 57, /* bits; wider numbers take 64 */
    SPATIAL_LEAF_SLACK_BYTES = 8, /* every number can be loaded as eight bytes */
    SPATIAL_LEAF_BODY_BYTES = SPATIAL_PAGE_BYTES - SPATIAL_LEAF_HEADER_BYTES - SPATIAL_LEAF_SLACK_BYTES,
    SPATIAL_BOXES_AT = SPATIAL_HEADER_BYTES,
    SPATIAL_OFFSETS_AT = SPATIAL_BOXES_AT + 6 * 4 * SPATIAL_FANOUT,
    SPATIAL_CHECKSUMS_AT = SPATIAL_OFFSETS_AT + 8 * SPATIAL_FANOUT,
    SPATIAL_COUNTS_AT = SPATIAL_CHECKSUMS_AT + 4 * SPATIAL_FANOUT,
    SPATIAL_INNER_END = SPATIAL_COUNTS_AT + 4 * SPATIAL_FANOUT,
};

_Static_assert(SPATIAL_INNER_END == 4064, "as the table says");
_Static_assert((uint32_t)SPATIAL_PAGE_BYTES <= INDEX_PAGE_BYTES_MAX, "a page of an index");

#endif
