/* superblock.h: the root of the volume: eight 4 KiB slots, four at each end of the device (layout.h). superblock_format.h has the offsets.
 *
 * Invariants
 *   1. Generation g is written to slot g mod 4: first at the start of the device, barrier, then at the end, barrier.
 *   2. The next generation is the highest ever seen (slots, WAL frames, manifest frames) plus 1; a slot of the newest valid generation is never the one overwritten.
 *   3. Open takes the highest valid slot. Two valid slots of one generation that differ, or of differing UUIDs, are MOTE_EDAMAGED / MOTE_EFOREIGN, never a fallback.
 *   4. Format invalidates all eight slots, barrier, and writes generation 1 last.
 * Validity of a slot: magic, version, incompat features known, own offset, CRC32C seeded with the slot's offset and the UUID it carries.
 * Failures: MOTE_EIO leaves the older generation valid. Threads: one at a time.
 */
#ifndef MOTE_BLOCKDEV_SUPERBLOCK_H
#define MOTE_BLOCKDEV_SUPERBLOCK_H

#include <stdbool.h>

#include "blockdev/blockdev.h"
#include "blockdev/layout.h"

#define SUPERBLOCK_INCOMPAT_DATA_UUID UINT64_C(1) /* data_uuid is set: the volume was received */

struct superblock {
    uint8_t uuid[16];
    uint64_t generation;
    uint32_t parent_crc;             /* checksum of the generation before (diagnostic) */
    uint64_t features_compat, features_ro_compat, features_incompat;
    struct layout layout;            /* stored as its few numbers */
    uint32_t logical_block_bytes;    /* at format */
    uint32_t clean;                  /* 1: closed cleanly, 0: in use or crashed */
    uint32_t manifest_area;          /* 0 or 1: the area with the newest snapshot */
    uint64_t manifest_sequence;      /* sequence of the snapshot frame at that area's start */
    uint32_t wal_frame_bytes_max;    /* largest frame that was ever allowed */
    uint64_t wal_window_bytes;       /* largest bytes in flight that were ever allowed */
    uint32_t barrier;                /* enum mote_barrier chosen by calibration, 0 none */
    char calibrated_model[64];       /* of the device on which it was chosen */
    uint64_t opens;
    uint64_t lifetime_written_bytes[BLOCKDEV_SOURCE_COUNT]; /* as of this slot, its own two copies included */
    uint64_t lifetime_trimmed_bytes;
    uint64_t format_time_s;          /* since 1970, by the clock of the machine that formatted it; 0: not recorded */
    uint64_t used_seconds;           /* for which it was open read-write, by a clock that does not jump */
    uint8_t data_uuid[16];           /* seeds the checksums of segments and their sections where these came from another volume; all zero: uuid does */
};

/* The UUID that seeds the checksums of segments and their sections. */
static inline const uint8_t *superblock_data_uuid(const struct superblock *superblock)
{
    return (superblock->features_incompat & SUPERBLOCK_INCOMPAT_DATA_UUID) != 0 ? superblock->data_uuid : superblock->uuid;
}

/* Writes a fresh volume's superblock (generation 1) as invariant 4 says. The manifest must be on the device and durable already. */
int superblock_format_invalidate(struct blockdev_queue *queue, const struct layout *layout);
/* Writes superblock->generation to its slot at both ends with barriers; sets superblock->parent_crc for the next. */
int superblock_write(struct blockdev_queue *queue, struct superblock *superblock);
/* Reads all slots of a device (its geometry tells where the end is; where only the start region is valid the layout in it tells where the end copies are)
 * and yields the newest. heal_needed: a slot of that generation is missing at one end. MOTE_EFOREIGN: no mote volume; MOTE_EVERSION; MOTE_EDAMAGED; MOTE_ESHRUNK (when
 * the device is smaller than the superblock says: *superblock is filled all the same). */
int superblock_read(struct blockdev_queue *queue, struct superblock *superblock, bool *heal_needed);
/* One slot's bytes, for dump and tests. decode: MOTE_EDAMAGED, MOTE_EVERSION or MOTE_EFOREIGN without a sentence set. */
void superblock_encode(const struct superblock *superblock, uint64_t offset_bytes, uint8_t slot[SUPERBLOCK_SLOT_BYTES]);
int superblock_decode(const uint8_t slot[SUPERBLOCK_SLOT_BYTES], uint64_t offset_bytes, struct superblock *superblock);

#endif
