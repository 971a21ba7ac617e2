/* wal_private.h: the log's own structures, seen by wal/ only. wal.h has the vocabulary and the numbered invariants.
 *
 * Stages are a ring: ordinal o (counted from 0 since wal_start) uses stages[o % stage_count]. Always
 *     durable_ordinal <= submit_ordinal <= settled <= sealed_ordinal < durable_ordinal + stage_count
 * Ordinals below durable_ordinal are free, below submit_ordinal in flight, below sealed_ordinal sealed; sealed_ordinal is the active stage's, if one is open.
 *
 * Who may touch what
 *   hot      wal_reserve and wal_publish touch active_index, one stage's atomics and `asleep`; nothing else, and no lock
 *   lock     guards ranges, tail, sealing and opening of stages, pending cuts, the poison's sentence. Held for well under a microsecond, never across I/O or a callback
 *   role     flights, queue, chain, histogram: whoever is the committer. With inline_io whoever took `role`, also while it sleeps. With the I/O thread whoever holds `pass`: the thread, which lets go of it to sleep, and for
 *            moments a writer that commits its own rows (own.c). `queue` is reaped by the thread alone, own_queue by the writer that has own_taken
 *   signal   one futex word for all sleepers but the committer: bit 31 of the mask for those who wait for room, bit (ordinal mod 31) for those who wait for that stage
 *
 * Wakes cannot be lost: each sleeper first tells that it sleeps (waiters, asleep), then looks once more; each waker first changes the state, then looks for sleepers; all four are sequentially consistent. own.c says why that
 * holds for the thread while a writer commits.
 */
#ifndef MOTE_WAL_PRIVATE_H
#define MOTE_WAL_PRIVATE_H

#include <assert.h>
#include <pthread.h>

#include "blockdev/base/units.h"
#include "include/mote.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

enum {
    WAL_RANGES_MAX = 4096,
    WAL_CUTS_MAX = 32,
    WAL_CACHE_LINE_BYTES = 64,
    WAL_HISTOGRAM_SHIFT = 6, /* 64 buckets for each power of two: an error below 1.6 % */
    WAL_HISTOGRAM_BUCKETS = (42 - WAL_HISTOGRAM_SHIFT) << WAL_HISTOGRAM_SHIFT, /* up to 2^41 ns, half an hour */
};
#define WAL_NO_ORDINAL UINT64_MAX
#define WAL_ROOM_MASK (1u << 31)

/* The packed word of a stage: bytes 20 bits, count 20 bits, generation 23 bits, sealed 1 bit. The generation makes a compare-and-swap fail whose thread
 * slept while the stage was recycled (it would take 2^23 recyclings within one preemption, and equal bytes and count, to fool it). */
#define WAL_WORD_COUNT_SHIFT 20
#define WAL_WORD_GENERATION_SHIFT 40
#define WAL_WORD_BYTES_MASK ((UINT64_C(1) << 20) - 1)
#define WAL_WORD_COUNT_MASK ((UINT64_C(1) << 20) - 1)
#define WAL_WORD_GENERATION_MASK ((UINT64_C(1) << 23) - 1)
#define WAL_WORD_SEALED (UINT64_C(1) << 63)
static inline uint32_t wal_word_bytes(uint64_t word) { return (uint32_t)(word & WAL_WORD_BYTES_MASK); }
static inline uint32_t wal_word_count(uint64_t word) { return (uint32_t)((word >> WAL_WORD_COUNT_SHIFT) & WAL_WORD_COUNT_MASK); }

/* Where a frame goes: the tail of the log between two frames. */
struct wal_position {
    uint64_t lsn;
    uint64_t range; /* absolute index of the range that holds lsn, or range_end */
};
struct wal_placement {
    uint64_t lsn, device_offset_bytes;
    uint64_t pad_lsn, pad_offset_bytes;
    uint32_t pad_bytes; /* 0: no pad before it */
};

struct wal_stage {
    /* What a reservation touches. user, first_seq and ordinal change only while the word is sealed. */
    _Alignas(WAL_CACHE_LINE_BYTES) _Atomic uint64_t word;
    _Atomic(void *) user;
    _Atomic uint64_t first_seq;
    _Atomic uint64_t ordinal;
    uint8_t *buffer; /* frame_bytes_max bytes */
    /* What a publication touches. */
    _Alignas(WAL_CACHE_LINE_BYTES) _Atomic uint64_t published_bytes;
    _Atomic uint32_t holders; /* who still reads its payload: it is not opened again meanwhile */
    _Atomic uint32_t urgent;
    _Atomic uint32_t delay_ms; /* shortest that a TIMED publication asked for; UINT32_MAX: none */
    _Atomic int64_t deadline_ns;
    /* Fixed when sealed. */
    _Alignas(WAL_CACHE_LINE_BYTES) struct wal_placement placement;
    uint8_t *pad_buffer;
    int64_t sealed_ns;
    uint32_t payload_bytes, count, frame_bytes;
    bool pad_submitted;
};

/* A frame between submit and durable. */
struct wal_flight {
    struct blockdev_request request;
    uint64_t lsn, end_lsn, last_seq, ordinal;
    int64_t sealed_ns;
    uint32_t kind, count, payload_bytes, frame_bytes;
    bool written; /* its own completion was reaped */
    bool covered; /* the flush in flight covers it */
    bool barrier; /* a barrier covers it */
};

struct wal_pending_cut {
    struct wal_cut *cut;
    uint64_t ordinal; /* settled when every stage below it is */
    uint64_t lsn;
};

enum wal_asleep { WAL_ASLEEP_FUTEX = 1, WAL_ASLEEP_REAP = 2, WAL_ASLEEP_PUBLISH = 4 /* a publication is worth a wake */ };

struct wal {
    /* Read by every reservation, changed once for each stage. */
    _Alignas(WAL_CACHE_LINE_BYTES) struct wal_stage *stages;
    uint32_t payload_bytes_max;
    _Atomic uint32_t active_index;
    _Atomic(void *) current_user;
    _Atomic uint32_t asleep; /* enum wal_asleep bits, 0: the committer is awake */
    _Atomic int poison_code;

    _Alignas(WAL_CACHE_LINE_BYTES) _Atomic uint64_t durable_seq;
    _Atomic uint64_t durable_lsn;
    _Atomic uint64_t tail_lsn; /* copy of tail.lsn */
    _Atomic uint64_t sealed_ordinal;
    _Atomic uint32_t signal; /* futex word */
    _Atomic uint32_t waiters;
    _Atomic uint32_t role; /* 1: there is a committer (inline_io) */
    _Atomic uint32_t own_taken; /* 1: a writer commits its own rows */
    _Atomic uint32_t crowded;   /* so many commits more are the thread's before a writer tries to commit its own */
    _Atomic uint32_t space_wanted; /* need_space is to be called */
    _Atomic uint32_t cuts_pending;
    _Atomic uint32_t closing, stop;
    _Atomic uint32_t held_up; /* a stage could not be opened because it is held */
    _Atomic int eventfd;
    _Atomic uint64_t catalog_version;

    /* lock */
    _Alignas(WAL_CACHE_LINE_BYTES) pthread_mutex_t lock;
    struct wal_range *ranges; /* ring of WAL_RANGES_MAX, by absolute index */
    uint64_t range_first, range_end;
    struct wal_position tail;
    uint64_t rows_end_lsn;     /* end of the last sealed frame with rows: a cut's lsn, durable as soon as its seq is */
    uint64_t reserved_end_lsn; /* tail as it could be at worst, all that is set aside used */
    uint64_t next_seq;         /* first seq of the stage sealed_ordinal */
    uint64_t durable_ordinal, settled_ordinal;
    uint64_t space_epoch; /* counts wal_add_range and wal_set_space_error */
    int space_error;
    bool open; /* the stage sealed_ordinal takes reservations */
    bool started;
    bool space_asked; /* need_space was called and nothing happened since */
    struct wal_pending_cut cuts[WAL_CUTS_MAX];
    uint32_t cut_count;
    struct mote_error poison_error;

    /* role */
    _Alignas(WAL_CACHE_LINE_BYTES) pthread_mutex_t pass;
    struct blockdev_queue *queue;
    struct blockdev_queue *own_queue; /* NULL: nobody commits its own rows */
    int64_t sleep_limit_ns;           /* until when the thread sleeps, while `asleep` says that it does */
    struct wal_flight *flights; /* ring of inflight_max */
    uint64_t flight_first, flight_end;
    uint64_t submit_ordinal;
    struct blockdev_request flush_request;
    struct blockdev_request **batch; /* inflight_max + 1 */
    uint32_t batch_count;
    uint64_t chain_lsn; /* where the next frame submitted begins: the frames' chain has no gap */
    int64_t last_durable_ns;
    uint32_t chain_crc;
    bool flush_inflight;
    bool mark_due;      /* the newest frame has rows (or is a pad) and no mark follows it */
    bool end_submitted;
    bool queue_failed; /* it will complete nothing any more */
    uint8_t *mark_buffer, *end_buffer;
    _Atomic uint64_t end_lsn; /* end of the end frame once it is durable, 0 before */
    _Atomic int close_error;

    struct wal_options options;
    uint64_t incarnation, superblock_generation;
    uint64_t window_bytes;
    pthread_t thread;
    bool thread_started;

    _Atomic uint64_t frames, marks, pads, rows, payload_bytes, frame_bytes, barriers, writer_stalls, writer_stall_ns, commit_ns_max;
    _Atomic uint64_t *histogram; /* WAL_HISTOGRAM_BUCKETS */
};

int64_t wal_now_ns(void);

/* ---- space.c; under lock ---- */
/* Puts a frame of frame_bytes at *position and moves it behind; false: it does not fit in the mapped ranges (*position is then undefined). */
bool wal_space_place(const struct wal *wal, struct wal_position *position, uint32_t frame_bytes, struct wal_placement *placement);
/* Whether a largest frame with the marks around it and the end frame fit behind tail; sets them aside (invariant 1). */
bool wal_space_set_aside(struct wal *wal);
uint64_t wal_space_mapped_end(const struct wal *wal);
/* Finds the range of an lsn; false if none holds it (the end of the last counts as held). */
bool wal_space_seek(const struct wal *wal, uint64_t lsn, struct wal_position *position);

/* ---- stage.c ---- */
/* Seals the active stage; an empty one is only closed and will open again under the same ordinal. Under lock, open. */
void wal_stage_seal(struct wal *wal);
/* Opens stage sealed_ordinal if none is open, a buffer is free and space can be set aside. Under lock. */
bool wal_stage_try_open(struct wal *wal);
/* Completes the cuts whose stages are all published. Under lock. */
void wal_stage_settle(struct wal *wal);
bool wal_stage_is_published(const struct wal_stage *stage);
static inline struct wal_stage *wal_stage_of(const struct wal *wal, uint64_t ordinal) { return &wal->stages[ordinal % wal->options.stage_count]; }

/* ---- commit.c; by the committer ---- */
/* Reaps what is complete; true if anything was. */
bool wal_commit_poll(struct wal *wal);
/* Does all that can be done now, apart from reaping; never blocks. True if anything was done. */
bool wal_commit_work(struct wal *wal);
/* Sleeps until there is something to do, at most until limit_ns; reaps completions while it does. */
void wal_commit_sleep(struct wal *wal, int64_t limit_ns);
/* Waits until nothing is in flight. */
void wal_commit_drain(struct wal *wal);
/* Seals the active stage if it holds anything and opens the next; true if it sealed one. */
bool wal_commit_seal(struct wal *wal);
/* Gives writers that are about to publish into the stage that is next a moment. */
void wal_commit_spin(const struct wal *wal);
/* Nothing is sealed or under way. */
bool wal_commit_is_quiet(const struct wal *wal);
/* By another than the thread, which holds `pass` and changed what the thread's sleep depends on: wakes it if there is work for it now, or sooner than it sleeps. */
void wal_commit_hand_over(struct wal *wal);
/* Takes and gives back `pass`; nothing with inline_io. */
void wal_pass_enter(struct wal *wal);
void wal_pass_leave(struct wal *wal);

/* ---- own.c ---- */
/* Publishes the slot and begins its commit in the calling thread, if the log is idle. False: nothing was done. */
bool wal_own_publish(struct wal *wal, struct wal_slot *slot);

/* ---- flight.c; by the committer ---- */
bool wal_flight_submit(struct wal *wal);
/* The same for the next stage alone, on the own committer's queue. */
bool wal_flight_submit_own(struct wal *wal);
/* A frame is written, no barrier covers it, and none is under way. */
bool wal_flight_wants_flush(const struct wal *wal);
bool wal_flight_flush(struct wal *wal);
bool wal_flight_mark(struct wal *wal, enum wal_frame_kind kind, int64_t now_ns);
void wal_flight_complete(struct wal *wal, struct blockdev_request **done, unsigned count);
bool wal_flight_publish(struct wal *wal);
bool wal_flight_can_submit(const struct wal *wal);
static inline uint64_t wal_flight_count(const struct wal *wal) { return wal->flight_end - wal->flight_first; }

/* ---- thread.c ---- */
void wal_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t limit_ns, uint32_t mask);
void wal_futex_wake(_Atomic uint32_t *word, uint32_t mask);
void wal_wake_committer(struct wal *wal);
/* Wakes the sleepers of mask. */
void wal_signal(struct wal *wal, uint32_t mask);
/* Never fails: a full counter is readable already. */
void wal_write_eventfd(int fd);
/* Sleeps until a signal of mask after `seen` was loaded from wal->signal. */
void wal_signal_wait(struct wal *wal, uint32_t seen, int64_t limit_ns, uint32_t mask);
bool wal_role_take(struct wal *wal);
void wal_role_release(struct wal *wal);
int wal_thread_start(struct wal *wal);
void wal_thread_stop(struct wal *wal);

/* Poisons with the calling thread's present error. Not under lock. */
void wal_poison_present(struct wal *wal, int code);
/* Makes the poison's sentence the calling thread's and returns its code. */
int wal_poison_report(struct wal *wal);

/* ---- counters.c ---- */
void wal_counters_commit(struct wal *wal, const struct wal_flight *flight, int64_t now_ns);

#endif
