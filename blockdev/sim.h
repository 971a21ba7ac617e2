/* sim.h: a seeded simulated disk, for tests. Not linked with real I/O; deterministic for a seed when one thread uses it.
 *
 * It models a device with a volatile write cache at 512-byte granularity:
 *   - completed writes are visible to reads at once; only a FLUSH (of writes whose completion was reaped before its submission, or linked before it) or FUA
 *     makes them durable;
 *   - requests complete in a seeded order, some only at later reaps (SIM_REORDER);
 *   - it records every event (write submitted with its data, write completed, flush submitted, flush completed, discard, mark) so that every state that a power
 *     cut could have left can be built afterwards.
 * Faults it injects by itself: torn writes (any subset of sectors of an unflushed write survives), reordering, loss. Others (EIO, bit rot, misdirection, shrink) come from
 * faulty.h around it.
 *
 * Crash images: after event e, each 512-byte sector holds its durable content or the content of any write to it that was submitted and is not yet durable (in any
 * order: unflushed writes to the same sector may survive in any version). sim_crash_image builds one; the policies enumerate.
 */
#ifndef MOTE_BLOCKDEV_SIM_H
#define MOTE_BLOCKDEV_SIM_H

#include "blockdev/blockdev.h"

struct sim_options {
    uint64_t size_bytes;
    uint32_t logical_block_bytes; /* 512 or 4096 */
    uint64_t seed;
    bool reorder;      /* complete in seeded order and at seeded reaps */
    bool record;       /* keep the event log */
    const uint8_t *initial; /* size_bytes bytes that are durable at the start; NULL: zeros. Copied (copy-on-write where possible) */
};

int sim_create(const struct sim_options *options, struct blockdev **device);
/* The recorded events. */
uint64_t sim_event_count(struct blockdev *device);
/* Events after which a cut makes a difference: a write or flush was submitted or completed there. is_barrier: the event is a flush's or FUA write's completion. */
bool sim_event_is_cut(struct blockdev *device, uint64_t event, bool *is_barrier);
/* Records a mark with two words (for example: acknowledged seq). Any thread. */
void sim_mark(struct blockdev *device, uint64_t kind, uint64_t value);
/* The newest mark of this kind at or before event; 0 if none. */
uint64_t sim_mark_at(struct blockdev *device, uint64_t event, uint64_t kind);

enum sim_crash_policy {
    SIM_CRASH_NONE,     /* nothing unflushed survives */
    SIM_CRASH_ALL,      /* everything submitted survives */
    SIM_CRASH_LOSE_ONE, /* all but the index-th unflushed write */
    SIM_CRASH_KEEP_ONE, /* only the index-th unflushed write */
    SIM_CRASH_TORN,     /* a seeded random subset of sectors of a random subset of the unflushed writes */
};
/* Unflushed writes at that cut: the range of index for LOSE_ONE and KEEP_ONE. */
uint32_t sim_unflushed_count(struct blockdev *device, uint64_t event);
/* Builds the image after `event` into image[size_bytes]. Calls for ascending events are incremental and cheap. */
void sim_crash_image(struct blockdev *device, uint64_t event, enum sim_crash_policy policy, uint32_t index, uint64_t seed, uint8_t *image);
/* The present content as reads see it, and what is durable. */
void sim_read_content(struct blockdev *device, bool durable_only, uint8_t *image);
/* A cut now, in place: what is unflushed is resolved by policy; requests in flight never complete; every later request fails with ENODEV until sim_power_on. */
void sim_power_cut(struct blockdev *device, enum sim_crash_policy policy, uint32_t index, uint64_t seed);
void sim_power_on(struct blockdev *device);

#endif
