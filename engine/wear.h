/* wear.h: the lifetime counters of a volume, for whoever writes its superblock: an open handle, and format, receive and resize, which have none.
 *
 * A superblock in memory keeps the sums that were read; what was written since is the device's counters since wear_begin, and is added to each copy that goes to the device (wear_complete), never to the one in memory.
 * Threads: any. Failures: those of reading and writing.
 */
#ifndef MOTE_ENGINE_WEAR_H
#define MOTE_ENGINE_WEAR_H

#include "blockdev/blockdev.h"
#include "blockdev/superblock.h"

struct wear_clock {
    struct blockdev *device;
    uint64_t opened_ns; /* by a clock that counts while the machine sleeps, and does not jump */
    struct blockdev_counters before; /* of the device, when the superblock had been read or written anew */
};
void wear_begin(struct wear_clock *clock, struct blockdev *device);
/* Of a superblock that is about to be written (struct manifest_options). context: the struct wear_clock. */
void wear_complete(void *context, struct superblock *superblock);
/* Reads the superblock of a volume, and begins. What superblock_read returns. */
int wear_read_superblock(struct wear_clock *clock, struct blockdev *device, struct blockdev_queue *queue, struct superblock *superblock);
/* Writes the first superblock of a fresh volume, whose device was written only for it, and begins. What superblock_write returns. */
int wear_write_first_superblock(struct wear_clock *clock, struct blockdev *device, struct blockdev_queue *queue, struct superblock *superblock);

#endif
