/* cursor_private.h: what scans, aggregates and the search for latest rows share: a cursor over the keys of a table under a snapshot, its bounds and its windows (cursor_window.c).
 *
 * Threads: one at a time. Failures: those of the segments' iterators; MOTE_EBUDGET. */
#ifndef MOTE_ENGINE_CURSOR_PRIVATE_H
#define MOTE_ENGINE_CURSOR_PRIVATE_H

#include <string.h>

#include "engine/chunk.h"
#include "engine/engine_private.h"
#include "engine/retention.h"

#define BOUND_BYTES_MAX (MOTE_KEY_BYTES_MAX + 8u)

/* A key, or a key prefix, used as a boundary. */
struct bound {
    bool set;
    uint32_t length;
    uint8_t bytes[BOUND_BYTES_MAX];
};

/* A chunk may end within a block whose rows are taken as they lie, without their keys. It then goes on at this row of the block while the segment exists; and whatever became of it, after the first `taken` rows behind the last key: what a
 * snapshot sees does not change. */
struct place {
    bool inside; /* rows of the block are left: to its end they follow each other in the scan */
    uint64_t segment_id;
    uint32_t block, row;
    uint64_t taken;
};

struct overlay;

struct mote_cursor {
    mote_table *table;
    struct reader *reader;
    uint64_t snapshot;
    uint32_t snapshot_slot;
    struct overlay *overlay; /* of a transaction: its writes up to overlay_seq, while the epoch is the same; NULL: none */
    uint64_t overlay_seq, overlay_epoch;
    struct chunk_buffer chunk;
    bool descending, use_time, asked_time, prunable, done;
    bool deferred; /* segments' iterators defer the reading of blocks (ascending); wants and its context: as theirs */
    bool latest; /* of mote_latest (latest.c) */
    bool short_reads; /* never reads ahead */
    bool projects; /* nothing but the wanted columns is asked for, and with wants_keys keys and seqs: segments' iterators may read these alone */
    bool wants_keys;
    uint64_t wanted[MOTE_COLUMNS_MAX / 64]; /* by position; see cursor_want */
    uint32_t wanted_count;
    int64_t time_from_ns, time_to_ns; /* cut to what the filter shows; its gaps are asked as well */
    int64_t asked_from_ns;            /* for rows of the overlay, which do not expire: as it was asked for, if asked_time */
    struct time_filter filter;        /* what has expired, as of the opening */
    uint64_t rows_left;
    struct bound lower, upper; /* [lower, upper) of keys */
    struct bound last;         /* last key yielded or passed; but for what `place` says */
    struct place place;
    struct bound series;       /* the key columns before the time column, where the scan stays within one of their values: a segment's times then bound its keys */
    sst_wants wants;
    void *wants_context;
    /* For the time of a call: */
    const struct schema *schema;
    bool keep; /* what is read ahead of few columns may stay in the cache */
    const struct segment_list *list; /* NULL: none */
    uint64_t slots_used[READER_ITERATORS_MAX / 64];
    uint32_t slots_used_count;
    uint32_t depth, depth_count; /* how many segments one key may be in, in the list of so many segments whose last is depth_id */
    uint64_t depth_id;
    struct bound window; /* ascending: its exclusive end; descending: its inclusive begin */
};

static inline int bound_compare(const struct bound *bound, const uint8_t *key, uint32_t key_bytes) { return key_compare(bound->bytes, bound->length, key, key_bytes); }

static inline void bound_set(struct bound *bound, const uint8_t *bytes, uint32_t length)
{
    assert(length <= BOUND_BYTES_MAX);
    bound->set = true;
    bound->length = length;
    memcpy(bound->bytes, bytes, length);
}

/* ---- cursor_window.c ---- */
/* The smallest key that is above every key beginning with these bytes; unset: there is none. */
void bound_after_prefix(struct bound *bound, const uint8_t *bytes, uint32_t length);
/* The column will be asked for. */
void cursor_want(struct mote_cursor *cursor, uint32_t position);
/* No iterator is in use yet. */
void cursor_begin_sources(struct mote_cursor *cursor, const struct schema *schema, const struct segment_list *list);
/* The exclusive end of a segment's keys. */
void cursor_segment_end(const struct segment_record *record, struct bound *end);
/* Sets the merge's sources for the window at `position` (ascending: its begin; descending: its exclusive end). */
int cursor_plan_window(struct mote_cursor *cursor, const struct view *view, const struct schema *schema, const struct bound *position);
/* To the window's first record: 1, 0 at the end of its sources, negative MOTE_E. after: behind the key `position` itself. */
int cursor_seek_window(struct mote_cursor *cursor, const struct bound *position, bool after);
/* After a window, or a part of it, was walked: the next one, which goes on from there, need not look for what is known of its segments. */
void cursor_remember(struct mote_cursor *cursor);
/* Whether the key is beyond the window, and beyond the scan. A key that is beyond both ends the window alone: the sources of the next windows may have keys before it. */
bool cursor_beyond_end(const struct mote_cursor *cursor, const struct record *record, bool *scan_done);
/* Whether a window follows the one that was walked to its end. */
bool cursor_has_next_window(const struct mote_cursor *cursor);
/* Whether all times of a range are in the cursor's and shown; whether none is. */
bool cursor_times_inside(const struct mote_cursor *cursor, int64_t min_ns, int64_t max_ns);
bool cursor_times_outside(const struct mote_cursor *cursor, int64_t min_ns, int64_t max_ns);
/* MOTE_ERECYCLED if rows that are still to come were dropped. Under a view. */
int cursor_check_recycled(struct mote_cursor *cursor);
/* Whether the row that the merge stands on has a time in the cursor's range; always, where it has none. */
int cursor_in_time_range(struct mote_cursor *cursor, bool *inside);
/* Whether that is a row of the overlay. */
int cursor_on_own_row(struct mote_cursor *cursor, bool *own);
/* Whether the time (has_time) of a row of the overlay is in the range that was asked for. */
bool cursor_wants_own_time(const struct mote_cursor *cursor, bool has_time, int64_t time_ns);
/* The cursor, open so far without, is also over what the transaction has written until now. NULL is allowed. */
void cursor_add_overlay(struct mote_cursor *cursor, struct overlay *overlay);
/* MOTE_EINVAL once the transaction has ended, or taken back what the cursor is to show. */
int cursor_check_overlay(const struct mote_cursor *cursor);
/* Checks what every call with such options checks, and completes them. out: the caller's result pointer. */
int cursor_check(mote_table *table, const struct mote_scan_options *given, const void *out, struct mote_scan_options *options);
/* Fills the cursor (zeros so far) by the options, registers its snapshot and takes a reader; what is to come out of it is the caller's. After a failure there is nothing to be shut. */
int cursor_open(mote_table *table, const struct mote_scan_options *options, struct mote_cursor *cursor);
void cursor_shut(struct mote_cursor *cursor);

/* ---- cursor_pool.c ---- */
/* An iterator of the cursor's reader on the segment, as the scan wants it: the first after cursor_begin_sources. */
int cursor_open_segment(struct mote_cursor *cursor, struct segment *segment, struct sst_iterator **iterator);
/* The functions of the merge's pool. */
int cursor_open_pooled(void *cursor, struct segment *segment, struct sst_iterator *held, struct sst_iterator **iterator);
void cursor_close_pooled(void *cursor, struct sst_iterator *iterator, bool parked);
/* The iterator, if it is still on the segment and free: it is in use then. NULL: not so. */
struct sst_iterator *cursor_hold_iterator(struct mote_cursor *cursor, const struct segment *segment, struct sst_iterator *iterator);
/* The least and the greatest start of a key that a segment may have in the scan's series. false: the scan has none, or the segment no times. */
bool cursor_series_bounds(const struct mote_cursor *cursor, const struct segment_record *record, struct bound *least, struct bound *greatest);
/* From where on, from the position, the segment may have keys: ascending none is before the bound, descending all are; unset: nothing is known. false: it has none at all. */
bool cursor_segment_bound(const struct mote_cursor *cursor, const struct segment_record *record, const struct bound *position, struct bound *bound);
/* Whether what begins at such a bound is outside of the scan. */
bool cursor_bound_outside(const struct mote_cursor *cursor, const struct bound *bound);

/* ---- cursor.c ---- */
/* mote_scan or mote_latest with checked options, over the writes of a transaction (overlay; NULL: none). */
int cursor_open_checked(mote_table *table, const struct mote_scan_options *options, bool latest, struct overlay *overlay, mote_cursor **cursor);

/* ---- latest.c ---- */
/* The next chunk of mote_latest. */
int latest_fill_chunk(struct mote_cursor *cursor, const struct view *view, const struct schema *schema);

#endif
