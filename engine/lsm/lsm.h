/* lsm.h: the jobs of the LSM: a flush of one memtable generation and a compaction of some segments of one table, both from sources to a durable manifest edit.
 *
 * Version keeping: of each key the newest version is kept, and of each live snapshot seq the newest version at or below it; others are dropped. A tombstone is dropped only by a compaction into the last place where the key could be
 * (no segment outside the job may hold the key with an older seq), and when no snapshot needs it.
 *
 * Steps. Segments are small, and order comes from seqs alone, so any of a table's segments may be merged at any time. A merge that is too large for one job is therefore cut by segments and not by rows: each step takes whole segments, those
 * that lie deepest first and then their neighbours in key order up to bytes_max, and publishes its outputs in an edit of its own. What reaches beyond the step's end lies above its neighbours there until these are merged. So a step needs space for
 * its own outputs only, what it finished is never done again, and one that is given up leaves nothing behind.
 *
 * Threads: one flush at a time, any number of compactions of disjoint segments. Failures: a failed write retires the extent (bad list, in the same edit) and the job starts over, at most LSM_RETRIES times; MOTE_ENOSPC, MOTE_EBUDGET leave everything as it was;
 * a failed barrier or manifest commit poisons.
 */
#ifndef MOTE_ENGINE_LSM_LSM_H
#define MOTE_ENGINE_LSM_LSM_H

#include "engine/lsm/manifest.h"
#include "engine/lsm/merge.h"
#include "engine/lsm/window.h"

#define LSM_RETRIES 8
#define LSM_INPUTS_MAX 256u /* segments that one compaction reads */
#define LSM_LANES_MAX 16u   /* of them at most so many at a time: what one key may be in */
#define LSM_STEP_SEGMENTS 16u /* a compaction of more than so many full segments is cut into steps, each a job of its own */
#define LSM_OUTSIDE_MAX 256u  /* segments that a compaction asks key by key whether they may hold older versions */

struct lsm_job_context {
    struct sst_context *sst;
    struct manifest *manifest;
    struct blockdev_queue *queue; /* the worker's: for writes */
    struct blockdev_queue *read_queue; /* for what a compaction reads while its writes are in flight; NULL: the job makes one for itself */
    uint32_t block_rows, compression;
    uint64_t segment_bytes_max;
    /* Live snapshot seqs, ascending, as of the job's start; and the newest visible seq then. */
    const uint64_t *snapshots;
    uint32_t snapshot_count;
    /* Called now and then while the job runs: rate limit, and a non-zero MOTE_E stops the job. May be NULL. */
    int (*pace)(void *context, uint64_t bytes_written);
    void *pace_context;
    /* Called by a compaction for each row of a table with large columns: may give another image, of the newest schema, that stays until the next call. NULL: none. */
    int (*move_row)(void *context, const struct schema *schema, const struct schema *image_schema, const uint8_t *image, const uint8_t **moved, uint32_t *moved_bytes);
    void *move_context;
};

struct lsm_flush {
    struct memtable_generation *generation;
    uint64_t cut_seq;
    /* The newest schema of a table, or NULL if it was dropped (its rows vanish). */
    const struct schema *(*find_schema)(void *context, uint64_t table_id);
    int64_t (*next_rowid)(void *context, uint64_t table_id); /* 0: none */
    struct window_frame (*windows)(void *context, uint64_t table_id); /* the table's (window.h). May be NULL: no table has any */
    void (*add_watermark)(void *context, uint64_t table_id, struct manifest_edit *edit); /* what else the edit says of the table's times. May be NULL */
    /* Blocks until the log is durable up to cut_seq; called after the tables' FLUSH, before the edit. */
    int (*wait_durable)(void *context, uint64_t cut_seq);
    void (*installed)(void *context); /* see manifest_commit */
    void *context;
    uint64_t segments_written, rows_written, bytes_written; /* out */
};
/* Reserves the worst case first; writes one segment (or several, if large) per table with rows, one FLUSH, one edit with flushed_seq = cut_seq. */
int lsm_flush_generation(const struct lsm_job_context *job, struct lsm_flush *flush);

struct lsm_compaction {
    uint64_t table_id;
    const struct schema *schema;
    uint32_t level; /* of the outputs */
    uint64_t bytes_max; /* in: of the inputs together, beyond the first two: a step, or less where space is short; 0: any */
    struct window_frame windows; /* in: the table's: only segments of one are merged */
    uint32_t spread_max; /* in: tables whose key holds the time: how deep segments of different times may lie by key; 0: other tables */
    uint32_t lanes_max; /* in: how deep the inputs may overlap, at least 2 (memory is short); 0: LSM_LANES_MAX */
    uint64_t snapshot_min; /* in: the oldest live snapshot, or an older one */
    uint32_t input_count;
    struct segment *inputs[LSM_INPUTS_MAX];
    bool bottom; /* no other segment of the table can hold older versions of the inputs' keys */
    uint32_t outside_count; /* not bottom: those that can, by least key; 0: unknown, or too many */
    struct segment *outside[LSM_OUTSIDE_MAX];
    uint32_t extents_reserved; /* out: the most that an attempt had reserved for the rows; it took no more */
    uint64_t rows_in, rows_out, bytes_in, bytes_out;
    bool in_vain; /* out: the segments are as they were before, key range by key range */
};
/* Chooses the most urgent job: size-tiered by sorted runs: runs_max runs of one level that overlap are merged into one run of the next level; segments that overlap nothing are left alone, but many small neighbours are merged. false: nothing to do.
 * everything: all segments of that table that overlap another, and those with tombstones that nothing is below. Pins are held by the version. busy(context, segment): taken by another job. */
bool lsm_pick_compaction(const struct version *version, uint64_t table_id, uint32_t runs_max, bool everything, bool (*busy)(void *context, const struct segment *segment), void *context, struct lsm_compaction *compaction);
int lsm_compact(const struct lsm_job_context *job, struct lsm_compaction *compaction);
/* Overlap depth: the largest number of segments of the table that lie above each other by their keys; by_time (the key holds the time): by keys and times, hence the largest number that one key may be in. */
uint32_t lsm_overlap_depth(const struct segment_list *list, bool by_time);
/* How many segments of at most so many bytes lie above each other by their keys alone, any number of them (lsm_overlap_depth tells no more than 256 apart): looked for at some places of the key range, so perhaps a few less than at the deepest. */
uint32_t lsm_spread(const struct segment_list *list, uint64_t bytes_max);

#endif
