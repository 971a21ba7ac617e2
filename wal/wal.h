/* wal.h: the write-ahead log: staging, group commit with pipelined barriers, recovery scan. It knows frames, seqs and LSNs, and nothing of rows: a
 * payload is bytes, and what a payload means comes back to the engine through a callback. wal_format.h has the frame's offsets.
 *
 * Words. LSN: byte position in the log, 64-bit, a multiple of frame_align_bytes; never wraps, never restarts. A *range* maps [lsn, lsn + length) to a contiguous piece of
 * the device; ranges follow each other without a gap inside one incarnation, and the engine's manifest knows each of them durably before it is given to the log. A *stage* is a memory buffer that becomes one
 * frame. A *frame* is one group commit: header, payload, zero padding to frame_align_bytes.
 *
 * Life of a stage: free -> active (writers reserve bytes and seqs by one compare-and-swap of a packed word, copy their payload in, publish) -> sealed (no more
 * reservations; the committer waits the few instructions until the last writer has published, then fixes LSN, first seq, count, checksum) -> in flight -> durable -> free.
 *
 * Invariants
 *   1. A stage becomes active only after log space for its largest frame is set aside in mapped ranges; so nothing that has a seq can lack space.
 *   2. Seqs are given out in stage order without gaps; first seq of stage n+1 = first seq of stage n + its count.
 *   3. Frames are submitted in LSN order. At most inflight_max frames and window_bytes (= inflight_max * largest frame) beyond durable_lsn are ever submitted.
 *   4. durable_lsn / durable_seq cover exactly the contiguous prefix of frames whose barrier completed: FUA: the frame's own completion; FLUSH: a flush linked behind, or submitted after, the
 *      frame's completion. A frame's header carries the durable_lsn known when it was sealed.
 *   5. After the first failed write or barrier the log is poisoned: nothing is acknowledged any more, waiters get the error, reservations fail with MOTE_EPOISONED.
 *   6. A frame never straddles the end of a range unless the next range continues it on the device; a pad frame fills what is left.
 *   7. Within mark_delay_ms of the last durable frame an empty mark frame is written, whose durable_lsn covers it: the witness for recovery's verdict. Marks are not followed by marks.
 *   8. A block of a durable frame is never rewritten.
 *
 * Threads. wal_reserve / wal_publish: any number, lock-free unless the log is full. The committer is the log's own I/O thread ("mote-wal"), or with inline_io whichever thread waits. A writer that waits for its own
 * rows at once (WAL_URGENCY_OWN) commits them itself where the log is idle, and the thread sleeps on (own.c).
 * Everything is allocated by wal_create.
 */
#ifndef MOTE_WAL_WAL_H
#define MOTE_WAL_WAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "blockdev/blockdev.h"

struct memory;
struct mote_error;
struct wal;

struct wal_range {
    uint64_t lsn;
    uint64_t device_offset_bytes;
    uint64_t length_bytes;
};

enum wal_urgency {
    WAL_URGENCY_NOW,   /* seal as soon as the window allows */
    WAL_URGENCY_TIMED, /* seal within delay_ms */
    WAL_URGENCY_NONE,  /* when something else asks, or the stage is full */
    WAL_URGENCY_OWN,   /* as NOW, and the same thread calls wal_finish soon, whatever happens: until then it may have requests of its own under way */
};

struct wal_options {
    struct blockdev *device;
    struct memory *memory; /* stages are carved from it (wal_create comes before memory_seal) */
    uint8_t uuid[16];
    uint64_t superblock_generation;
    uint32_t frame_bytes_max;   /* of a whole frame, a multiple of frame_align_bytes, at most REQUEST_BYTES_MAX */
    uint32_t frame_align_bytes; /* PAGE_BYTES, or the logical block size */
    uint32_t inflight_max;      /* frames in flight */
    uint32_t stage_count;       /* at least inflight_max + 2 */
    uint32_t barrier;           /* enum mote_barrier, not AUTO */
    uint32_t mark_delay_ms;     /* 10; 0: no marks */
    bool inline_io;
    bool thread_only;           /* OWN is taken as NOW: only the I/O thread commits */
    bool read_only;             /* no stage, no thread: only counters */
    /* Called by the committer, outside all of the log's locks, when less than low_space_bytes of mapped space is not set aside: the engine maps more and calls wal_add_range, at once (inline) or soon
     * (another thread). Called again only after ranges were added or space was asked for again. Must not reserve, rotate, wait or close. */
    uint64_t low_space_bytes;
    void (*need_space)(void *context);
    void (*on_durable)(void *context, uint64_t durable_seq); /* may be NULL; called by the committer after it published; the same must-nots */
    void *context;
};

/* Takes everything it will ever need from options->memory; starts nothing. */
int wal_create(const struct wal_options *options, struct wal **wal);

/* Where the log goes on: an incarnation that is durable in the manifest, its first LSN, the first seq to give out. At least one range must have been added. user: see wal_rotate. Starts the
 * I/O thread (unless inline_io). */
struct wal_start {
    uint64_t incarnation;
    uint64_t first_lsn;
    uint64_t next_seq;
    uint64_t superblock_generation;
    void *user;
};
int wal_start(struct wal *wal, const struct wal_start *start);
/* A mapped range behind the last one, at least frame_bytes_max long (so that one pad always suffices). After wal_start it must begin where the last one ends. MOTE_EINVAL, MOTE_EBUDGET beyond 4096 ranges.
 * Clears the space error. */
int wal_add_range(struct wal *wal, const struct wal_range *range);
/* The engine cannot map more: from now on reservations that find no space fail with this code (MOTE_ENOSPC), until MOTE_OK is set or a range is added. */
void wal_set_space_error(struct wal *wal, int code);
/* Forgets ranges that end at or below head_lsn (the engine's edit is durable). */
void wal_set_head(struct wal *wal, uint64_t head_lsn);
/* What frames completed from now on carry as catalog_version. */
void wal_set_catalog_version(struct wal *wal, uint64_t catalog_version);

/* ---- Writing ---- */

struct wal_slot {
    uint8_t *payload;    /* size_bytes bytes to fill */
    uint64_t first_seq;  /* of its count seqs */
    void *user;
    uint32_t size_bytes; /* as reserved */
    uint32_t stage;      /* the log's own */
    bool own;            /* the log's own: its commit is under way on the writer's queue */
};

/* The user pointer of the stage that is active now (see wal_rotate). */
void *wal_active_user(const struct wal *wal);
enum { WAL_RETRY = 1 };
/* Reserves size_bytes (at least 1) of payload and count seqs in the active stage, if that stage still carries expected_user: else WAL_RETRY (positive). One compare-and-swap; a short lock when a stage
 * is full and the next is opened. Blocks while no stage is free (inline: commits meanwhile). MOTE_ETOOBIG: size_bytes > wal_payload_bytes_max, or more than 2^20 - 1 seqs. MOTE_ENOSPC, MOTE_EPOISONED;
 * MOTE_EINVAL before wal_start and after wal_close. */
int wal_reserve(struct wal *wal, uint32_t size_bytes, uint32_t count, const void *expected_user, struct wal_slot *slot);
/* The payload is complete; from here the stage may be written. urgency decides when. Never fails. Wakes the committer if it sleeps and the urgency asks for it. */
void wal_publish(struct wal *wal, struct wal_slot *slot, enum wal_urgency urgency, uint32_t delay_ms);
/* Ends what wal_publish with WAL_URGENCY_OWN began, by the same thread: returns as wal_wait without a limit for the last seq of the slot, of `count` seqs. */
int wal_finish(struct wal *wal, struct wal_slot *slot, uint32_t count);
/* Keeps the slot's payload readable after wal_publish, so that the commit can be under way while the caller still works on it: called between reserve and publish, ended by wal_release. The payload must not be changed
 * after wal_publish, and the holder must not block on the log meanwhile. */
void wal_hold(struct wal *wal, const struct wal_slot *slot);
void wal_release(struct wal *wal, const struct wal_slot *slot);
uint32_t wal_payload_bytes_max(const struct wal *wal);

/* A cut of the log: between two seqs and two frames. */
struct wal_cut {
    uint64_t seq;             /* last seq before the cut; set by wal_rotate */
    _Atomic uint64_t lsn;     /* end of the last frame with rows before the cut; UINT64_MAX until that is settled, set before it becomes durable, and last: the log never touches the cut again */
    _Atomic uint32_t settled; /* 1: every slot before the cut is published */
};
/* Seals the active stage (if it holds anything) and lets the next one carry `user`. The cut must live until its lsn is set: usually on return, else (a writer is between reserve and publish) soon, by the
 * committer (inline: by wal_pump or whoever waits). Excludes other rotations by itself. Does not block for space or stages. MOTE_EPOISONED, MOTE_EINVAL. */
int wal_rotate(struct wal *wal, void *user, struct wal_cut *cut);

/* Makes everything up to seq urgent. Does not wait. */
void wal_commit(struct wal *wal, uint64_t seq);
/* Returns when durable_seq >= seq, MOTE_ETIMEOUT after timeout_ns (INT64_MAX: never), or the error that poisoned the log. Implies wal_commit. */
int wal_wait(struct wal *wal, uint64_t seq, int64_t timeout_ns);
/* Inline mode: does what the committer would do now without blocking (a mark, a timed seal, completions). Harmless otherwise. */
void wal_pump(struct wal *wal);
uint64_t wal_durable_seq(const struct wal *wal);
uint64_t wal_durable_lsn(const struct wal *wal);
/* Next seq that will be given out; exact when no writer is at work. */
uint64_t wal_next_seq(const struct wal *wal);
/* End of the last sealed frame. */
uint64_t wal_tail_lsn(const struct wal *wal);
/* The code that poisoned the log, or 0; *error (may be NULL) gets its context. */
int wal_poisoned(const struct wal *wal, struct mote_error *error);
/* Poisons it on behalf of the engine. */
void wal_poison(struct wal *wal, int code);
/* An eventfd that the committer writes to at each advance of durable_seq and when poisoned; made at the first call. */
int wal_eventfd(struct wal *wal);

/* Makes everything durable and writes the end frame (durable on return): the log ends at *end_lsn. Nothing may be reserved any more. */
int wal_close(struct wal *wal, uint64_t *end_lsn);
/* Stops the thread and waits for what is in flight. The memory belongs to the arena. */
void wal_destroy(struct wal *wal);

struct wal_counters {
    uint64_t frames, marks, pads, rows, payload_bytes, frame_bytes, barriers, writer_stalls, writer_stall_ns;
    uint64_t commit_ns_p50, commit_ns_p99, commit_ns_p999, commit_ns_max; /* seal to durable, from a log-scaled histogram (error below 2 %) */
    bool registered;
};
void wal_get_counters(const struct wal *wal, struct wal_counters *counters);

/* ---- Recovery ---- */

struct wal_incarnation {
    uint64_t id;
    uint64_t first_lsn;
    uint64_t end_lsn; /* UINT64_MAX: live, its end is what recovery finds out */
};

struct wal_frame {
    uint64_t lsn, incarnation, first_seq, durable_lsn, superblock_generation, catalog_version, batch_id;
    uint32_t count, payload_bytes, frame_bytes, kind, flags, crc, previous_crc;
};

enum wal_verdict {
    WAL_CLEAN,     /* ends with an end frame */
    WAL_TORN_TAIL, /* what follows the end was never acknowledged */
    WAL_DAMAGED,   /* acknowledged frames are missing */
};

struct wal_recovery {
    /* in */
    struct blockdev_queue *queue;
    struct memory *memory; /* after memory_seal; for read buffers */
    uint8_t uuid[16];
    const struct wal_range *ranges; /* ascending lsn */
    uint32_t range_count;
    const struct wal_incarnation *incarnations; /* ascending first_lsn */
    uint32_t incarnation_count;
    uint64_t head_lsn;          /* a frame boundary: the scan begins here */
    uint64_t window_bytes;      /* largest window in flight that was ever allowed */
    uint32_t frame_bytes_max;   /* largest frame that was ever allowed */
    uint32_t frame_align_bytes;
    bool continue_on_damage;
    int (*on_frame)(void *context, const struct wal_frame *frame, const uint8_t *payload); /* in order; each valid frame with rows; non-zero stops */
    void (*on_damage)(void *context, uint64_t lsn_from, uint64_t lsn_to, uint64_t seq_from, uint64_t seq_to); /* a lost range; seq_to may be UINT64_MAX (unknown) */
    void *context;
    /* out */
    enum wal_verdict verdict;
    uint64_t end_lsn;        /* end of the last frame that counts */
    uint64_t highest_lsn;    /* beyond everything that any frame seen, also after the end, occupies or is mapped */
    uint64_t next_seq;       /* above every seq seen, also in frames after the end (0: none seen) */
    uint64_t highest_generation; /* of the superblock, seen in any frame */
    uint64_t durable_lsn_seen;
    uint64_t frame_count, row_count, bytes_read;
    uint32_t damage_count;
    uint64_t damaged_lsn_from, damaged_lsn_to; /* the first lost range */
};
/* Scans the log, calls on_frame for each frame that counts, gives the verdict (design: a later frame of a live incarnation that lies beyond the largest window in flight, or whose durable_lsn covers
 * the hole, proves damage; else a torn tail). A bad frame below the known end of an ended incarnation is damage. MOTE_ELOST: damaged and !continue_on_damage (with the range as error context). MOTE_EIO: the log
 * could not be read. Writes nothing. */
int wal_recover(struct wal_recovery *recovery);
/* Notes on what recovery reports. A torn tail's dropped frames, and those behind the end of an ended incarnation, are noted in next_seq and highest_generation. on_damage's seq_from is a lower bound where an
 * incarnation's first frames are lost, seq_to an upper one where an ended incarnation's last frames are; seq_to = seq_from - 1: only marks or pads are lost, no row. With continue_on_damage a part that cannot be read counts as damaged; else it is MOTE_EIO (after one repetition). */
/* One frame's header at data[0..size): MOTE_OK when magic, lengths, lsn, uuid and checksum are good (the payload must be in data too), else MOTE_EDAMAGED without a sentence. For recovery, dump and tests. */
int wal_frame_decode(const uint8_t *data, uint64_t size_bytes, const uint8_t uuid[16], uint64_t lsn, uint32_t frame_bytes_max, struct wal_frame *frame);

#endif
