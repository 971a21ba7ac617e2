/* engine_private.h: what an open volume is made of, for the files of engine/ alone.
 *
 * One row's way in:  append.c  checks the row, makes its key, takes room in the active generation's memtable and in the log's stage (the two agree on the generation, or it tries again), gets its seq, encodes the row into the
 *                    stage, publishes the slot (the commit may begin), inserts it into the memtable, waits its turn to advance visible_seq.
 * One row's way out: view.c    pins the generations and the version that hold every visible row; cursor.c and get.c merge them.
 * Behind:            jobs.c    rotation, flush, compaction, log space, checkpoint; by the workers, or inline by whoever needs them.
 *
 * Generations (memtables between two cuts of the log):  FREE -> ACTIVE (listed for readers before its first row) -> IMMUTABLE (rotated; in cut order) -> FLUSHED (its rows are in a durable version; unlisted; waits for the pins of readers) -> FREE.
 *
 * Locks, in the order in which they may be taken together:
 *     table->insert_mutex > table->unique_mutex > batch_mutex > ddl_mutex > checkpoint_mutex > rotate_mutex > flush_mutex > compact_mutex > space_mutex > retain_mutex > manifest's commit mutex > version mutex; job_mutex, snapshot_mutex, index_mutex, reader_mutex and the mutex of recent.c are leaves (of these only index_mutex is taken under the last).
 * grow_mutex comes before those of the manifest, the allocator and the log alone.
 * Beside compact_mutex, and never held together with it but by whoever abandons (flush of a full memory): the mutex of index_steps.c, before those of the manifest.
 * Of several tables those of one kind are taken by ascending table ids, all insert_mutexes before the first unique_mutex.
 * Between the first two: the producers' drain_mutex (producer_private.h), since appends are made under it.
 * visible_seq, poisoned, and a table's schema pointer are atomics. No lock is taken by append unless a memtable or the log is full.
 *
 * In the child of a fork: the wipe page (MADV_WIPEONFORK) reads as zero, so every public call knows without a system call.
 */
#ifndef MOTE_ENGINE_ENGINE_PRIVATE_H
#define MOTE_ENGINE_ENGINE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "blockdev/blockdev.h"
#include "blockdev/cache.h"
#include "blockdev/extents.h"
#include "blockdev/layout.h"
#include "blockdev/superblock.h"
#include "engine/engine.h"
#include "engine/lsm/lsm.h"
#include "engine/wear.h"
#include "wal/wal.h"

#define GENERATIONS_MAX 16u
#define SPARE_RUNS 2u  /* why two: space.c */
#define SPARE_TRIES 4u /* windows of recycled tables that may go for them at a time */
#define WORKERS_MAX 8u
#define GET_READERS 8u         /* readers kept for mote_get and mote_insert, beside one for each cursor */
#define READER_ITERATORS_MAX 256u /* segments that one reader has open at a time; others wait for their turn (cursor_pool.c) */
#define READER_SOURCES_KEPT 64u   /* segments for which an idle reader has room to keep account of */
#define SPREAD_MAX 4096u          /* largest compaction_spread_max: a reader keeps account of so many */
#define READER_ITERATORS_KEPT 16u /* of them stay with an idle reader */
#define BUSY_TIMEOUT_MS 5000u  /* for which a device that is in use is tried again: the kernel releases what a killed or just closed handle held a little later */
#define STALL_DEPTH 40u        /* overlap depth at which flushes wait for compaction */

enum generation_state { GENERATION_FREE, GENERATION_ACTIVE, GENERATION_IMMUTABLE, GENERATION_FLUSHED };

struct generation {
    struct memtable_generation *memtables;
    struct wal_cut cut; /* its end in the log; valid from IMMUTABLE on */
    enum generation_state state;
    uint32_t pins;   /* readers; under the version mutex */
    _Atomic uint32_t writers; /* between choosing this generation and having inserted: it is not recycled meanwhile */
    uint64_t number; /* order of rotation */
    uint64_t replayed_seq; /* rows up to it were replayed by the open; 0: none */
};

/* What reads from segments: a queue and iterators, used by one thread at a time. */
struct reader {
    struct blockdev_queue *queue;
    struct sst_iterator *iterators[READER_ITERATORS_MAX];
    uint64_t iterator_segment[READER_ITERATORS_MAX]; /* segment that it was opened on, 0: none */
    uint32_t iterator_end; /* there are none from here on */
    struct merge *merge;
    struct sst_ahead *ahead; /* of its iterators while a cursor has it; made at the first scan that is not short */
    struct reader *next_free;
};

struct blobs;
struct blob_io;
#define BLOB_FILES_AHEAD_MAX 15u

struct mote_table {
    struct mote_db *db;
    uint64_t id;
    _Atomic(struct schema *) schema; /* newest */
    _Atomic uint32_t dropped;
    _Atomic int64_t next_rowid;
    _Atomic uint64_t rows_appended;
    pthread_mutex_t insert_mutex;
    _Atomic uint32_t unique_count; /* unique indexes: writers ask (unique.h) */
    pthread_mutex_t unique_mutex;
    struct unique_set *uniques;    /* under it; NULL: none ever */
    _Atomic uint32_t recent_wanted; /* writers note their rows (recent.h) */
    _Atomic uint32_t hints_taken; /* by one writer at a time; the others go without */
    struct codec_hint *hints;     /* for the batches of columns in the log */
    uint32_t hint_count;
    struct schema *older[64]; /* by version - 1, of the versions that log and memtables may still carry */
    uint32_t older_count;
    uint32_t used; /* slot in db->tables */
    struct blob_file *blob_file; /* what its large values are written to now; this and the next three lines under the mutex of blob.c */
    uint32_t blob_next_page, blob_pages;
    struct blob_file *blob_ahead[BLOB_FILES_AHEAD_MAX]; /* made by the same edit, to be written to next */
    uint32_t blob_ahead_count, blob_ahead_wanted; /* wanted: by the next edit */
    _Atomic(struct table_retention *) retention; /* NULL: none ever (retention.h) */
};

/* What a reader sees at one moment: everything that was visible then. */
struct view {
    struct version *version;
    struct generation *generations[GENERATIONS_MAX]; /* newest first */
    uint32_t generation_count;
};

struct worker {
    struct mote_db *db;
    pthread_t thread;
    bool started;
    uint32_t number;
};

struct engine_counters {
    _Atomic uint64_t rows_appended, rows_deleted, batches, bytes_appended, transactions, conflicts;
    _Atomic uint64_t flushes, compactions, checkpoints, stalls, stall_ns;
};

struct mote_db {
    const uint32_t *fork_page; /* FORK_ALIVE in the owner */
    struct mote_options options;
    struct blockdev *device;
    struct blockdev_queue *queue; /* for open, close and inline work */
    struct superblock superblock;
    struct memory *memory;
    struct extents *extents;
    struct cache *cache;
    struct manifest *manifest;
    struct wal *wal;
    struct sst_context sst;
    bool read_only;
    _Atomic bool trim; /* freed extents are discarded; ends when the device refuses it */
    _Atomic uint64_t trim_next_ns; /* no trims before: the rate */
    struct wear_clock wear;

    _Atomic uint64_t visible_seq;
    _Atomic uint64_t flushed_seq;
    _Atomic int32_t poisoned;
    struct mote_error poison_error;

    pthread_mutex_t batch_mutex; /* write_commit.c */
    uint64_t batch_id;           /* of the last write in parts; under it */
    struct generation generations[GENERATIONS_MAX];
    uint32_t generation_count;
    struct generation *listed[GENERATIONS_MAX]; /* ACTIVE and IMMUTABLE ones, newest first; under the version mutex */
    uint32_t listed_count;
    uint64_t generations_made;
    pthread_mutex_t rotate_mutex, flush_mutex, compact_mutex, checkpoint_mutex, ddl_mutex, space_mutex, grow_mutex;
    struct blockdev_queue *flush_queue, *compact_queue; /* each used under its mutex */

    struct mote_table *tables; /* options.tables_max slots, never moved */
    uint32_t table_count;      /* slots in use; guarded by ddl_mutex for writers, published by table->used */

    pthread_mutex_t index_mutex; /* of the copy of the declared indexes below, which the manifest has */
    struct manifest_index *indexes; /* MANIFEST_INDEXES_MAX */
    uint32_t index_count;
    struct index_steps *index_steps; /* what is built in steps (index_steps.c) */
    struct recents *recents; /* rows indexed in memory (recent.h); NULL: none */
    struct vector_cache *vector_cache; /* open vector indexes (vector_cache.h) */

    pthread_mutex_t snapshot_mutex;
    uint64_t *snapshots; /* live seqs, 0: unused (snapshot.c) */
    uint32_t snapshot_slots;
    struct manifest_named *named; /* MANIFEST_NAMED_MAX: those of the last slots */

    pthread_mutex_t reader_mutex;
    pthread_cond_t reader_cond;
    struct reader *readers, *free_readers;
    uint32_t reader_count, cursors_open, gets_active;

    /* Jobs. job_mutex guards the wishes; job_cond wakes workers, done_cond whoever waits for a free generation. */
    pthread_mutex_t job_mutex;
    pthread_cond_t job_cond, done_cond;
    bool stopping, extend_wanted, checkpoint_wanted, compact_wanted, index_wanted;
    _Atomic uint64_t headroom_bytes; /* of the active generation's arena, kept for producers and deletes; 0: no producer is open (producer_headroom.c) */
    _Atomic uint64_t flush_ns; /* of the longest flush of late */
    _Atomic uint32_t writers_held; /* a compaction that flushes wait for is under way, and what room there is is the producers' */
    _Atomic uint32_t urgency; /* who waits for a flush or a checkpoint: the rate limit does not hold meanwhile */
    _Atomic uint64_t populated_bytes; /* of the memtables' arenas, which lie at the beginning of the budget */
    uint64_t paced_bytes, paced_until_ns; /* background writes under the rate limit */
    uint64_t flush_retry_ns; /* after a failed flush: not before */
    uint64_t job_count;      /* flushes that ended, good or bad */
    _Atomic uint32_t idle_workers;
    uint64_t between_ns; /* no flush between a compaction's steps before; under compact_mutex */
    _Atomic uint32_t flushes_starved; /* flushes that wait for a compaction to give its memory back */
    _Atomic uint32_t log_starved;     /* the compaction under way found no space for the log where a window could go: it makes way */
    _Atomic int32_t flush_failure; /* of the last flush, 0: it succeeded */
    _Atomic uint64_t checkpoint_last_ns, checkpoint_last_seq;
    _Atomic uint64_t head_lsn, mapped_end_lsn, flushed_cut_lsn;
    uint64_t log_chunk_bytes;
    struct extent_run spare_runs[SPARE_RUNS]; /* kept for the logs of later opens, see space.c; count 0: none; space_mutex */
    atomic_bool spares_short; /* no row is taken */
    struct worker workers[WORKERS_MAX];
    uint32_t worker_count;

    struct producer_set *producers; /* NULL: read-only */

    /* Large values (blob.h). */
    struct blobs *blobs;
    pthread_mutex_t blob_io_mutex;
    pthread_cond_t blob_io_cond;
    struct blob_io *blob_io; /* idle ones */
    uint32_t blob_io_left;   /* that may be made */
    _Atomic uint64_t blob_looked_at; /* the version in which garbage was looked for last */
    bool blob_flush_left_out; /* test hook: the fault that crash enumeration must find */

    /* Retention (retention.h). */
    int64_t (*realtime_ns)(void *context); /* in place of CLOCK_REALTIME, in tests; NULL: none */
    void *realtime_context;
    _Atomic uint32_t retained_count; /* tables that have, or had, some */
    pthread_mutex_t retain_mutex;
    struct blockdev_queue *retain_queue; /* under it, for trims */
    _Atomic uint64_t retain_last_ns, retain_retry_ns;
    _Atomic uint32_t retain_wanted;
    struct segment **dropping;       /* under retain_mutex: dropped for the sake of space, and maybe in use still */
    _Atomic uint32_t dropping_count;
    _Atomic uint32_t standing_extents; /* the standing reserve */
    _Atomic uint32_t compacting;     /* a compaction is under way, by this thread */
    _Atomic pthread_t compact_thread;
    _Atomic uint64_t compact_first_id; /* no segment that it writes has a lower id; 0: none is under way */

    struct engine_counters counters;
    uint64_t recovery_ns, recovered_rows, recovered_log_bytes;
    bool clean_open;
};

/* ---- common.c ---- */
int db_check(const struct mote_db *db);           /* MOTE_EINVAL (NULL), MOTE_EFORK */
int db_check_writable(struct mote_db *db);        /* and MOTE_EREADONLY, MOTE_EPOISONED */
int handle_check(const struct mote_db *db);       /* db of a table, cursor or row that is not NULL itself: MOTE_EFORK */
int table_check(const struct mote_table *table);  /* and MOTE_ENOTABLE */
/* A whole key as a caller gives it, and the schema that it was read by: MOTE_EINVAL, MOTE_ESCHEMA, MOTE_ETOOBIG. */
int table_key(const struct mote_table *table, const struct mote_value *values, size_t count, const struct schema **schema, uint8_t key[MOTE_KEY_BYTES_MAX], uint32_t *key_bytes);
/* The same of a row that is to be deleted: and MOTE_EREADONLY (append-only). */
int table_key_to_delete(const struct mote_table *table, const struct mote_value *values, size_t count, const struct schema **schema, uint8_t key[MOTE_KEY_BYTES_MAX], uint32_t *key_bytes);
/* Nothing is acknowledged from here on; the first caller's present error is kept for all later ones. Returns code. */
int db_poison(struct mote_db *db, int code);
/* Passes a call's result on. If it failed and that poisoned the log or the manifest, the handle is poisoned as a whole: what the failed write left on the device is unknown until the next open. */
int db_settle(struct mote_db *db, int result);
uint64_t now_ns(void); /* CLOCK_MONOTONIC */

/* ---- open.c ---- */
/* Anew, of the present number of extents. */
void standing_reserve_set(struct mote_db *db);

/* ---- resize.c ---- */
/* The volume's layout on a device of another size; MOTE_ENOTSUP where its extents would have to lie elsewhere. */
int resize_lay_out(const struct layout *old, uint64_t size_bytes, struct layout *layout);

/* ---- options.c ---- */
int options_resolve(const struct mote_options *given, const struct blockdev_geometry *geometry, const struct superblock *superblock, struct mote_options *resolved);
uint32_t options_stage_count(const struct mote_options *options);
/* Segments of different times that one reader may have open at a time. */
uint32_t options_iterators(const struct mote_options *options);

/* ---- format.c ---- */
int format_choose_uuid(const struct mote_format_options *options, uint8_t uuid[16]);
/* MOTE_EFOREIGN, MOTE_EBUSY: what is on the device may not be destroyed. layout->found is filled (NULL: not). */
int format_refuse_content(struct blockdev *device, const struct mote_format_options *options, struct mote_layout *layout);

/* ---- catalog.c ---- */
int catalog_load(struct mote_db *db); /* tables from the manifest */
struct mote_table *catalog_find_id(struct mote_db *db, uint64_t table_id); /* also dropped ones; NULL */
struct schema *table_schema_version(struct mote_table *table, uint32_t version); /* NULL: no such version */
/* An explicit AUTO_INCREMENT value moves the counter beyond it, so that no later row takes the same number. Any thread. */
void table_raise_rowid(struct mote_table *table, int64_t seen);
const struct schema *catalog_live_schema(void *context, uint64_t table_id); /* NULL: dropped */
void catalog_free(struct mote_db *db);
/* Whoever lacked space tries again: a flush that failed, and the log. */
void use_freed_space(struct mote_db *db);

/* ---- index.c, index_build.c, index_steps.c, index_<kind>.c ---- */
int indexes_create(struct mote_db *db);
void indexes_load(struct mote_db *db); /* from the manifest, after each change */
void indexes_free(struct mote_db *db);
bool indexes_any(struct mote_db *db);
/* Copies the n-th of the indexes, in the order of their ids; false: there are not so many. */
bool index_get(struct mote_db *db, uint32_t n, struct manifest_index *index);
/* The table's index of that name (NULL: its only one of that kind); MOTE_ENOTFOUND. */
int index_find(const mote_table *table, const char *name, uint32_t kind, struct manifest_index *index);
/* The positions of its columns. */
void index_columns(const struct schema *schema, const struct manifest_index *index, uint32_t *positions);
struct index_build {
    uint64_t table_id, index_id; /* 0: all */
    bool everything;             /* also what is there and good */
    bool best;                   /* and what a better section is due for: takes minutes */
    uint32_t section_max;        /* 0: all */
    uint32_t built;              /* out */
    uint64_t first_section_id;   /* its own: sections from this one on were made here */
    uint64_t segment_id_end;     /* its own: segments from this one on came later. 0: none did */
};
/* Builds sections that lack or failed a check. Takes compact_mutex, but for what is built in steps. */
int indexes_build(struct mote_db *db, struct index_build *build);
void indexes_want(struct mote_db *db);
/* The section, written and not durable, is made durable and published; if that is refused its extents are free again, and where index or segment are gone that is no failure. */
int index_commit_section(struct mote_db *db, struct blockdev_queue *queue, const struct index_section *section);
bool index_is_wanted(const struct segment *segment, uint64_t index_id, const struct index_build *build);
/* What a worker does of it at a time; whether it did something. */
bool indexes_build_some(struct mote_db *db);
int index_steps_create(struct mote_db *db);
void index_steps_destroy(struct mote_db *db);
/* All that is wanted of kinds that are built in steps, by this thread, beside a worker that does the same. */
int index_steps_build(struct mote_db *db, struct index_build *build);
/* A few milliseconds of it, by a worker; whether it did something. *again: there is more to do, now or in a while. */
bool index_steps_some(struct mote_db *db, bool *again);
/* Gives up what is under way, with its memory: it begins anew when it is wanted again. */
void index_steps_abandon(struct mote_db *db);
/* Whether a better section of the segment is due in the background. A section that cannot be looked at is marked as unusable. */
bool index_is_due(struct mote_db *db, struct blockdev_queue *queue, struct segment *segment, struct segment_index *section, const struct manifest_index *index);
/* index_audit.c: all sections of the segment, the timestamp index's too, in themselves and against its rows; report: the thread's present error is a fault. */
int indexes_verify(struct mote_db *db, struct segment *segment, const struct schema *schema, void (*report)(void *context), void *context);
extern const struct row_index_ops vector_row_index_ops;
extern const struct row_index_ops spatial_row_index_ops;
extern const struct row_index_ops column_row_index_ops;
extern const struct row_index_ops text_row_index_ops;
extern const struct row_index_ops *const engine_index_ops[];
/* The squared distance as the spatial index computes it. */
double spatial_distance(const double centre[3], const double point[3]);

/* ---- view.c ---- */
void view_acquire(struct mote_db *db, struct view *view);
void view_release(struct mote_db *db, struct view *view);
int readers_create(struct mote_db *db);
void readers_destroy(struct mote_db *db);
struct reader *reader_take(struct mote_db *db, bool for_cursor); /* waits for gets; NULL with MOTE_EBUDGET for cursors */
void reader_give(struct mote_db *db, struct reader *reader, bool of_cursor);
/* Before the view goes: its iterators hold nothing of the cache and of segments any more. */
void reader_rest(struct reader *reader);
/* Its iterator of that slot is there, open on nothing in particular. */
int reader_make_iterator(struct mote_db *db, struct reader *reader, uint32_t slot);

/* ---- snapshot.c ---- */
struct mote_snapshot {
    struct mote_db *db;
    uint64_t seq;
    uint32_t slot;
};
int snapshots_create(struct mote_db *db);
void snapshots_free(struct mote_db *db);
void snapshots_load(struct mote_db *db); /* the named ones, from the manifest */
/* A cursor's own: what `of` sees, or (NULL) the present visible_seq. MOTE_EBUDGET, MOTE_EINVAL (another database's). */
int snapshot_register(struct mote_db *db, const struct mote_snapshot *of, uint64_t *seq, uint32_t *slot);
void snapshot_forget(struct mote_db *db, uint32_t slot);
/* An anonymous one, in place, for a transaction; MOTE_EBUDGET. */
int snapshot_begin(struct mote_db *db, struct mote_snapshot *snapshot);
/* The live snapshots and visible_seq, ascending; count at most snapshot_slots + 1. */
uint32_t snapshot_collect(struct mote_db *db, uint64_t *seqs);
/* No seq up to this one may be given to a row: a named snapshot would see it. */
uint64_t snapshots_newest_named(struct mote_db *db);
void snapshots_add_stats(struct mote_db *db, struct mote_stats *stats);

/* ---- get.c ---- */
#define SEQ_PRESENT UINT64_MAX /* in place of a snapshot: all that is visible */
struct found_row {
    bool found;
    uint64_t seq;
};
/* The newest visible version of the key, into row if not NULL. */
int lookup(struct mote_table *table, const uint8_t *key, uint32_t key_bytes, struct mote_row *row, struct found_row *found);
/* The same under a registered snapshot, or SEQ_PRESENT, and as a filter taken with it shows it; NULL: one of this moment. */
struct time_filter;
int lookup_at(struct mote_table *table, const uint8_t *key, uint32_t key_bytes, uint64_t seq, const struct time_filter *filter, struct mote_row *row, struct found_row *found);

/* ---- rotate.c ---- */
/* memtable_reserve of rows: all but the headroom is everybody's. */
bool generation_reserve(const struct mote_db *db, struct generation *generation, uint64_t room_bytes, bool may_use_headroom, struct memtable_room *room);
/* Ends the active generation if it is `expected` (NULL: whatever it is, if it holds rows); waits for a free one. */
int rotate(struct mote_db *db, struct generation *expected);
/* Whether rows may be taken: once a flush found no space, what more is taken only makes the log longer that the next open has to find room beside. Waits a little for a flush, and while writers other than producers are held; MOTE_ENOSPC. */
int rotate_check_space(struct mote_db *db, bool from_ring);
/* Flushes the oldest immutable generation, on the calling thread; *did tells whether there was one. */
int flush_oldest(struct mote_db *db, bool *did);
/* The same by a thread that is in a compaction and holds compact_mutex: nothing while another thread flushes. Want of memory or space is no failure that writers are told of, since the compaction's end may give it. */
int flush_in_compaction(struct mote_db *db, bool *did);
/* Flushed generations that nobody reads keep no blob files (blob.h) and no sections of rows in memory (recent.h) any more. */
void generations_let_go(struct mote_db *db);
/* Whether the rows that come have only the active generation: a flush waits, and no other generation is free. */
bool memory_is_short(struct mote_db *db);
/* Returns when flushed_seq >= seq. */
int flush_up_to(struct mote_db *db, uint64_t seq);
bool flush_waiting(struct mote_db *db);

/* ---- checkpoint.c ---- */
int checkpoint_run(struct mote_db *db);
bool checkpoint_due(struct mote_db *db); /* by log size or time */
/* One compaction of one table (NULL: any); everything: until nothing overlaps. */
int compact_once(struct mote_db *db, const struct mote_table *table, bool everything, bool *did);
/* The same for any table, unless a compaction is under way already, whose worker's neighbour had better flush: COMPACT_BUSY. */
#define COMPACT_BUSY 1
int compact_if_idle(struct mote_db *db, bool *did);

/* ---- trim.c ---- */
/* What is trimmed in the background, and in which units. */
void trim_plan(struct mote_db *db);
/* Discards what was freed and makes it free, as far as the rate allows; the number of extents that came free, or may be had without their trim. The queue is the caller's by its mutex. */
uint32_t trim_some(struct mote_db *db, struct blockdev_queue *queue);
/* The same for whoever holds no mutex; true: there was something. What came free goes to the log if it lacks space. */
bool trim_freed(struct mote_db *db);

/* ---- space.c ---- */
void space_plan(struct mote_db *db);
/* Maps more log if little is left. force: also beyond log_bytes_max. MOTE_ENOSPC is told to the log as well. */
int space_extend(struct mote_db *db, bool force);
/* By whoever compacted, once it holds no version and no mutex any more: what it made way for. */
void space_extend_after_compaction(struct mote_db *db);
void space_needed(void *context); /* the log's callback */
/* Keeps what of the spare runs is not kept yet; whether rows may be taken now (space.c). */
bool space_keep_spares(struct mote_db *db);
/* Before the log of this open is mapped, which takes one of them. Nobody else is there yet. */
void space_use_spare(struct mote_db *db);
/* Whether rows may be taken as far as later opens are concerned; MOTE_ENOSPC. A load where all is well. */
int space_check(struct mote_db *db);
/* Whether an open that ends the live incarnation at end_lsn has too few places left in the manifest's lists for itself and the next one. */
bool space_lists_full(struct mote_db *db, uint64_t end_lsn);
/* Takes extents for a range that begins at lsn and adds it to the edit. */
int space_map(struct mote_db *db, uint64_t lsn, bool force, struct manifest_edit *edit, struct wal_range *range);
/* Gives the extents back after the edit was refused. */
void space_unmap(struct mote_db *db, const struct wal_range *range);

/* ---- producer.c, producer_drain.c ---- */
int producers_create(struct mote_db *db);
/* The handle is poisoned: pushes are told. */
void producers_fail(struct mote_db *db);
/* Appends what is in the rings and frees the producers; the first error. Before the workers stop. */
int producers_finish(struct mote_db *db);
/* The same without appending anything. */
void producers_destroy(struct mote_db *db);
/* The producers' share of the stats. */
void producers_add_stats(struct mote_db *db, struct mote_stats *stats);
/* Inline mode: what the thread would do now, unless it is being done. */
void producers_inline(struct mote_db *db);
/* Producers keep a headroom of the active generation, and half of it is used up: a flush must come. */
bool producer_headroom_is_low(const struct mote_db *db);

/* ---- append.c ---- */
/* mote_append_columns; from_ring: a producer's records, which may use the headroom that other writers leave. */
int append_columns(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options, bool from_ring, uint64_t *ticket);

/* ---- jobs.c ---- */
int workers_start(struct mote_db *db);
void workers_stop(struct mote_db *db);
void jobs_wake(struct mote_db *db);
bool jobs_take_wish(struct mote_db *db, bool *wish);
/* Inline mode: whatever the workers would do now. */
void jobs_inline(struct mote_db *db);
/* A flush found no space: old versions and scattered small segments are made to give some; true: it may be tried again at once. */
bool jobs_make_space(struct mote_db *db);
/* Called by long jobs now and then: small urgent work of others (log space) is done in between. */
int jobs_pace(void *context, uint64_t bytes_written);
/* The same for a job under compact_mutex that holds a version: MOTE_EBUDGET to end it where the log lacks space that may come free with it. */
int jobs_pace_holding(void *context, uint64_t bytes_written);
/* Whether the background has written all that background_mib_per_s allows so far. */
bool jobs_over_rate(struct mote_db *db);
/* Before a flush on a caller's own account: where segments lie so deep that workers would compact first, so does the caller. Flushes in a loop would outrun the worker, until no reader could open all segments that hold a key. */
void jobs_relieve(struct mote_db *db);
/* Called by a compaction now and then, under compact_mutex: flushes where rows lack memory and no worker is free to do it. */
void jobs_flush_between(struct mote_db *db);
/* What an LSM job needs of the volume; snapshots[] must have room for snapshot_slots + 1. */
void jobs_context(struct mote_db *db, struct blockdev_queue *queue, uint64_t *snapshots, struct lsm_job_context *job);

#endif
