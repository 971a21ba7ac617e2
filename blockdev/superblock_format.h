/* superblock_format.h: one slot of the superblock on the device: 4096 bytes, little-endian. Eight slots: layout.h says where.
 *
 *   offset  bytes  field
 *        0      8  magic "MOTEsb\0\1"
 *        8      4  version, 1
 *       12      4  CRC-32C over all 4096 bytes with this field 0, seeded with crc32c_seed(uuid, SUPERBLOCK_CRC_KIND, own offset, 0)
 *       16     16  uuid of the volume
 *       32      8  generation
 *       40      8  own offset in bytes from the start of the device
 *       48      4  checksum (offset 12) of the start slot of the generation before; 0 for the first
 *       52      4  logical block in bytes at format: 512 or 4096
 *       56      8  feature mask, compatible: unknown bits are kept out of mind
 *       64      8  feature mask, read-only compatible: with unknown bits the volume is opened read-only
 *       72      8  feature mask, incompatible: with unknown bits it is not opened
 *       80      8  device size in bytes
 *       88      8  extent size in bytes
 *       96      4  number of extents
 *      100      4  segments that the manifest has room for
 *      104      8  largest log in bytes
 *      112      8  offset of extent 0
 *      120      8  size of one manifest area in bytes
 *      128      8  offset of the manifest's second copy
 *      136      4  clean: 1 closed cleanly, 0 in use or crashed
 *      140      4  manifest area with the newest snapshot: 0 or 1
 *      144      8  sequence of the snapshot frame at that area's start
 *      152      4  largest log frame in bytes that was ever allowed
 *      156      4  barrier chosen by calibration (enum mote_barrier), 0 none
 *      160      8  largest bytes in flight that were ever allowed
 *      168     64  model of the device that was calibrated, ended by NUL, rest zero
 *      232      8  opens
 *      240    128  bytes written over the volume's life, 16 counters by source (enum blockdev_source); unused ones zero
 *      368     16  UUID that seeds segments and sections, with the incompatible feature 1 (a received volume); else zero
 *      384      8  bytes discarded over the volume's life
 *      392      8  time of format, seconds since 1970; 0: not recorded
 *      400      8  seconds for which the volume was open read-write
 *      408   3688  zero
 *
 * What every version keeps: magic, version, checksum and its coverage, uuid, generation, own offset. So an old mote knows a newer volume from a damaged one.
 * Bytes 88 to 135 follow from the layout's numbers; a slot in which they do not is damaged.
 */
#ifndef MOTE_BLOCKDEV_SUPERBLOCK_FORMAT_H
#define MOTE_BLOCKDEV_SUPERBLOCK_FORMAT_H

#include "blockdev/blockdev.h"
#include "blockdev/layout.h"
#include "blockdev/superblock.h"

/* The first eight bytes of every slot, hence of every device that mote formatted; probe_content.c recognises mote by them. */
#define SUPERBLOCK_MAGIC "MOTEsb\0\1"
#define SUPERBLOCK_MAGIC_BYTES 8u
#define SUPERBLOCK_VERSION 1u
#define SUPERBLOCK_CRC_KIND 0x6273u /* "sb" */
#define SUPERBLOCK_FEATURES_COMPAT UINT64_C(0)
#define SUPERBLOCK_FEATURES_RO_COMPAT UINT64_C(0)
#define SUPERBLOCK_FEATURES_INCOMPAT SUPERBLOCK_INCOMPAT_DATA_UUID /* those that this mote knows */

enum superblock_offset {
    SUPERBLOCK_AT_MAGIC = 0,
    SUPERBLOCK_AT_VERSION = 8,
    SUPERBLOCK_AT_CRC = 12,
    SUPERBLOCK_AT_UUID = 16,
    SUPERBLOCK_AT_GENERATION = 32,
    SUPERBLOCK_AT_OWN_OFFSET = 40,
    SUPERBLOCK_AT_PARENT_CRC = 48,
    SUPERBLOCK_AT_LOGICAL_BLOCK = 52,
    SUPERBLOCK_AT_COMPAT = 56,
    SUPERBLOCK_AT_RO_COMPAT = 64,
    SUPERBLOCK_AT_INCOMPAT = 72,
    SUPERBLOCK_AT_DEVICE_SIZE = 80,
    SUPERBLOCK_AT_EXTENT_BYTES = 88,
    SUPERBLOCK_AT_EXTENT_COUNT = 96,
    SUPERBLOCK_AT_SEGMENTS_MAX = 100,
    SUPERBLOCK_AT_LOG_BYTES_MAX = 104,
    SUPERBLOCK_AT_EXTENTS_OFFSET = 112,
    SUPERBLOCK_AT_MANIFEST_AREA_BYTES = 120,
    SUPERBLOCK_AT_MANIFEST_SECOND = 128,
    SUPERBLOCK_AT_CLEAN = 136,
    SUPERBLOCK_AT_MANIFEST_AREA = 140,
    SUPERBLOCK_AT_MANIFEST_SEQUENCE = 144,
    SUPERBLOCK_AT_WAL_FRAME_BYTES_MAX = 152,
    SUPERBLOCK_AT_BARRIER = 156,
    SUPERBLOCK_AT_WAL_WINDOW_BYTES = 160,
    SUPERBLOCK_AT_MODEL = 168,
    SUPERBLOCK_MODEL_BYTES = 64,
    SUPERBLOCK_AT_OPENS = 232,
    SUPERBLOCK_AT_WRITTEN = 240,
    SUPERBLOCK_WRITTEN_COUNT = 16,
    SUPERBLOCK_AT_DATA_UUID = 368,
    SUPERBLOCK_AT_TRIMMED = 384,
    SUPERBLOCK_AT_FORMAT_TIME = 392,
    SUPERBLOCK_AT_USED_SECONDS = 400,
    SUPERBLOCK_AT_ZERO = 408,
};

_Static_assert((int)BLOCKDEV_SOURCE_COUNT <= (int)SUPERBLOCK_WRITTEN_COUNT, "a counter for each source");
_Static_assert(SUPERBLOCK_AT_WRITTEN + 8 * SUPERBLOCK_WRITTEN_COUNT == SUPERBLOCK_AT_DATA_UUID, "the counters end where the next field begins");
_Static_assert((int)SUPERBLOCK_AT_ZERO < (int)SUPERBLOCK_SLOT_BYTES, "a slot holds all fields");

#endif
