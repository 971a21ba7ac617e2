/* sim.h: a seeded simulated disk, for tests. Not linked with real I/O; deterministic for a seed when one thread uses it.
 *
 * It models a device with a volatile write cache at 512-byte granularity:
 *   - completed writes are visible to reads at once; only a FLUSH (of writes whose completion was reaped before its submission, or linked before it) or FUA
 *     makes them durable;
 *   - requests complete in a seeded order, some only at later reaps (SIM_REORDER);
 *   - it records every event (write submitted with its data, write completed, flush submitted, flush completed, mark) so that every state that a power cut could
 *     have left can be built afterwards. A request linked behind another counts as submitted when that one completed. A discard
 *     loses its range at once, when it is submitted: the sectors hold SIM_LOST_BYTE from then on, whatever a cut does, so that one that touches anything live is found out.
 *   - a request completes when its queue is reaped (or destroyed), not before; the data of a write is what its buffer held at submission, and a buffer that changed in
 *     flight aborts the program.
 * Faults it injects by itself: torn writes (any subset of sectors of an unflushed write survives), reordering, loss. Others (EIO, bit rot, misdirection, shrink) come from
 * faulty.h around it.
 *
 * Crash images: after event e, each 512-byte sector holds its durable content or the content of any write to it that was submitted and is not yet durable (in any
 * order: unflushed writes to the same sector may survive in any version). A write that completed before another one to the same sector completed cannot come back once
 * that other one is durable. sim_crash_image builds one; the policies enumerate.
 *
 * Threads: any (one mutex a device). Memory: plain malloc; content is shared copy-on-write in 4 KiB pages.
 */
#ifndef MOTE_BLOCKDEV_SIM_H
#define MOTE_BLOCKDEV_SIM_H

#include "blockdev/blockdev.h"

#define SIM_LOST_BYTE 0xD5

struct sim_options {
    uint64_t size_bytes;
    uint32_t logical_block_bytes; /* 512 or 4096 */
    uint64_t seed;
    bool reorder;      /* complete in seeded order and at seeded reaps */
    bool record;       /* keep the event log */
    const uint8_t *initial; /* size_bytes bytes that are durable at the start; NULL: zeros. Copied, unless: */
    uint32_t discard_granularity_bytes, discard_alignment_bytes; /* 0: 4096, 0 */
    bool initial_borrowed;  /* initial stays as it is, unchanged, until the device is closed: nothing is copied (copy-on-write) */
};

/* MOTE_EINVAL: a size that is no multiple of the logical block, or another block size. MOTE_ENOMEM. Memory that runs out later aborts: this is test code. */
int sim_create(const struct sim_options *options, struct blockdev **device);
/* The recorded events, numbered from 0. */
uint64_t sim_event_count(struct blockdev *device);
/* Events after which a cut makes a difference: a write or flush was submitted or completed there. is_barrier: the event is a flush's or FUA write's completion. */
bool sim_event_is_cut(struct blockdev *device, uint64_t event, bool *is_barrier);
/* Whether a discard was submitted there, and of what. */
bool sim_event_is_discard(struct blockdev *device, uint64_t event, uint64_t *offset_bytes, uint64_t *length_bytes);
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
/* The same image as a new device, some hundred times faster: it shares all pages copy-on-write with its origin (which may be closed before it). options: NULL
 * for a device without record and reorder; size and initial in it are ignored. Any thread; several may do so at once. */
int sim_create_from_crash(struct blockdev *device, uint64_t event, enum sim_crash_policy policy, uint32_t index, uint64_t seed,
                          const struct sim_options *options, struct blockdev **new_device);
/* The present content as reads see it, and what is durable. */
void sim_read_content(struct blockdev *device, bool durable_only, uint8_t *image);
/* A cut now, in place: what is unflushed is resolved by policy; requests in flight (whatever became of them) and every later one fail with ENODEV until
 * sim_power_on, so that an owner can wind down. */
void sim_power_cut(struct blockdev *device, enum sim_crash_policy policy, uint32_t index, uint64_t seed);
void sim_power_on(struct blockdev *device);

#endif
