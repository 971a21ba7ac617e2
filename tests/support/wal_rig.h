/* wal_rig.h: a log on a simulated disk for tests: device stack, memory, ranges that are partly scattered over the device, rows that can be recognised, and a spy that checks every
 * submission against the log's invariants. Helpers abort the program with a sentence where the set-up itself fails. Not for several rigs on one thread's sim at once with different seeds: that is fine too,
 * nothing is shared. */
#ifndef MOTE_TESTS_SUPPORT_WAL_RIG_H
#define MOTE_TESTS_SUPPORT_WAL_RIG_H

#include "blockdev/faulty.h"
#include "blockdev/sim.h"
#include "wal/wal.h"

enum { WAL_RIG_EXTENTS_MAX = 64, WAL_RIG_DAMAGES_MAX = 16 };

struct wal_rig_options {
    uint32_t barrier; /* default FLUSH */
    uint32_t inflight_max, stage_count, frame_bytes_max, frame_align_bytes, mark_delay_ms; /* defaults: 3, inflight_max + 2, 16 KiB, 4096, 0 */
    uint32_t logical_block_bytes;                                                          /* default: 4096, or frame_align_bytes if smaller */
    uint64_t extent_bytes;                                                                 /* default 64 KiB */
    uint32_t extent_count;  /* default 16: all that the engine would map */
    uint32_t extents_first; /* default extent_count: mapped before the start; the others when the log asks */
    uint64_t low_space_bytes;
    uint64_t seed, first_lsn; /* first_lsn: default 0 */
    bool threaded, thread_only, record, reorder, faulty;
    bool keep_space; /* need_space maps nothing by itself and sets no error */
    void (*on_durable)(void *context, uint64_t durable_seq);
};

struct wal_spy;

struct wal_rig {
    struct wal_rig_options options;
    struct blockdev *sim, *faulty, *device; /* device: the top of the stack */
    struct wal_spy *spy;
    struct memory *memory, *recovery_memory;
    struct wal *wal;
    struct wal_range ranges[WAL_RIG_EXTENTS_MAX];
    uint32_t range_count;
    struct wal_incarnation incarnations[8];
    uint32_t incarnation_count;
    uint64_t next_seq;
    void *user;
    _Atomic uint64_t need_space_calls;
};

extern const uint8_t wal_rig_uuid[16];

/* With an own simulated disk. */
struct wal_rig *wal_rig_open(const struct wal_rig_options *options);
/* On a simulated disk that is there already (taken over), after others: incarnations before this one and the first LSN and seq are the caller's. */
struct wal_rig *wal_rig_open_on(const struct wal_rig_options *options, struct blockdev *sim, const struct wal_incarnation *ended, uint32_t ended_count, const struct wal_range *ranges,
                                uint32_t range_count, uint64_t first_lsn, uint64_t next_seq);
/* Without wal_close: as a crash leaves it. */
void wal_rig_destroy(struct wal_rig *rig);
/* Destroys the log only; the device stays for recovery. */
void wal_rig_stop(struct wal_rig *rig);

/* Maps the next extent for the log. False: none is left. */
bool wal_rig_add_extent(struct wal_rig *rig);
/* Reserves and fills; the caller publishes. */
int wal_rig_reserve(struct wal_rig *rig, uint32_t size_bytes, uint32_t count, struct wal_slot *slot);
/* Reserves, fills, publishes. Returns MOTE_OK and the last seq, or an error. size_bytes at least 16. */
int wal_rig_append(struct wal_rig *rig, uint32_t size_bytes, uint32_t count, enum wal_urgency urgency, uint32_t delay_ms, uint64_t *seq);
/* Append and wait; aborts on failure. */
uint64_t wal_rig_append_durable(struct wal_rig *rig, uint32_t size_bytes, uint32_t count);
void wal_rig_fill(const struct wal_slot *slot, uint32_t count);

/* What recovery found. */
struct wal_rig_found {
    struct wal_recovery recovery;
    int result;
    uint64_t first_seq, last_seq; /* of the rows delivered; 0: none */
    uint64_t gap_count;           /* places where a seq does not follow the one before */
    bool content_good;            /* every row was what was written under its seq */
    uint32_t damage_count;
    struct {
        uint64_t lsn_from, lsn_to, seq_from, seq_to;
    } damages[WAL_RIG_DAMAGES_MAX];
    uint64_t frame_lsn[4096];
    uint32_t frame_bytes[4096];
    uint64_t frame_first_seq[4096];
    uint32_t frame_count;
    uint64_t check_seq;
};
/* Recovers from any device with the rig's map of the log. */
void wal_rig_recover(struct wal_rig *rig, struct blockdev *device, bool continue_on_damage, struct wal_rig_found *found);
/* Device offset of an LSN. */
uint64_t wal_rig_offset(const struct wal_rig *rig, uint64_t lsn);

/* ---- The spy ---- */

struct wal_spy_report {
    uint64_t writes, flushes, linked_flushes, fua_writes, marks, pads, ends;
    uint64_t frames_inflight_max; /* submitted and not covered by durable_lsn */
    uint64_t window_bytes_max;    /* end of a submitted frame - durable_lsn */
    uint64_t violations;          /* of LSN order, one write a block, window */
    uint64_t flushes_inflight_max;
    uint64_t last_lsn, last_durable_lsn; /* of the newest frame submitted */
    uint32_t last_kind;
    char violation[160]; /* the first */
};
/* While held, completions are kept back (inline rigs only). */
void wal_spy_hold(struct wal_spy *spy, bool hold);
/* Completions that pass although held. */
void wal_spy_let(struct wal_spy *spy, uint32_t count);
void wal_spy_report(struct wal_spy *spy, struct wal_spy_report *report);

#endif
