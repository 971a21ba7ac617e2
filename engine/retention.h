/* retention.h: how long rows are kept: what of a table has expired, what is pinned, what is dropped.
 *
 *     retention.c        a table's retention: its settings, its horizon, what reads may show, what was dropped under a cursor
 *     retention_set.c    mote_table_set_retention, mote_pin and their like
 *     retention_plan.c   which segments go
 *     retention_drop.c   they go: by age, by the table's bytes, and for the sake of space
 *
 * Horizon. Rows with a time below a table's horizon are expired, but for those in a pin's range. It is the smaller of the real-time clock and the newest row's time, less the age; it only moves forward, and what is durable of it (the manifest's
 * watermark) is not behind any segment that was dropped for it. Rows that are further ahead of the clock than future_ns do not count as the newest.
 * Every read takes the horizon and the pins once, as a time_filter, together with its snapshot.
 *
 * Dropping. Each row version and tombstone of a table with retention has a time, the same for all versions of a key; or its keys are never given twice (retention_set.c refuses other tables). So a segment that has expired as a whole goes without a
 * look at others. One that is recycled goes together with all that may hold older versions of its keys (retention_plan.c), or these would come to light.
 *
 * Locks: retain_mutex (one that drops at a time) comes after all but the manifest's own; table_retention.mutex is a leaf. In no-one's way: reads and appends look at atomics, and at the pins, where there are any below the horizon, under the leaf.
 * Failures: those of the manifest. */
#ifndef MOTE_ENGINE_RETENTION_H
#define MOTE_ENGINE_RETENTION_H

#include "engine/engine_private.h"

#define RETENTION_DROPS_KEPT 64u

/* A segment that was dropped, for cursors that are older. */
struct retention_drop {
    uint64_t seq_min;
    int64_t time_min, time_max;
    struct segment_key min_key, max_key;
};

struct table_retention {
    _Atomic int64_t age_ns, future_ns;
    _Atomic int64_t window_ns;    /* at present: doubled while too many windows hold segments */
    _Atomic uint64_t bytes_max, pin_bytes_max;
    _Atomic uint32_t recycle;
    _Atomic uint32_t recorded;    /* in the manifest */
    _Atomic int64_t horizon_ns, newest_ns;
    _Atomic uint64_t rows_future, rows_expired, rows_recycled, segments_dropped;
    _Atomic uint32_t pin_count;
    pthread_mutex_t mutex;
    struct manifest_retention set; /* as it was asked, defaults filled in */
    struct manifest_pin pins[MANIFEST_TABLE_PINS_MAX];
    _Atomic uint64_t drop_count;
    struct retention_drop drops[RETENTION_DROPS_KEPT]; /* the n-th at n mod so many */
};

/* What a read may show of a table. */
struct time_filter {
    bool active;        /* else everything */
    int64_t from_ns;    /* nothing below */
    uint32_t gap_count; /* nor in these ranges, inclusive, ascending: between pins, and between them and the horizon */
    struct {
        int64_t from_ns, to_ns;
    } gaps[MANIFEST_TABLE_PINS_MAX];
    uint64_t drop_count; /* drops that the read has nothing to do with */
};

static inline bool time_filter_hides(const struct time_filter *filter, int64_t time_ns)
{
    if (!filter->active)
        return false;
    bool hidden = time_ns < filter->from_ns;
    for (uint32_t i = 0; i < filter->gap_count && !hidden; i++)
        hidden = time_ns >= filter->gaps[i].from_ns && time_ns <= filter->gaps[i].to_ns;
    return hidden;
}
/* Whether something of [min_ns, max_ns] is hidden by a gap. */
static inline bool time_filter_meets_gap(const struct time_filter *filter, int64_t min_ns, int64_t max_ns)
{
    for (uint32_t i = 0; filter->active && i < filter->gap_count; i++)
        if (min_ns <= filter->gaps[i].to_ns && max_ns >= filter->gaps[i].from_ns)
            return true;
    return false;
}

/* ---- retention.c ---- */
void retention_free(struct mote_db *db);
/* From the manifest, at open. */
int retention_load(struct mote_table *table, const struct manifest_state *state, const struct manifest_table *recorded);
/* The table's, made if it has none. MOTE_EBUDGET. */
int retention_of(struct mote_table *table, struct table_retention **retention);
void retention_take(struct mote_table *table, const struct manifest_retention *settings);
int64_t retention_clock(const struct mote_db *db); /* CLOCK_REALTIME */
/* Rows were appended: their times may be the newest. */
void retention_note_row(struct mote_table *table, const struct schema *schema, const uint8_t *image);
void retention_note_batch(struct mote_table *table, const struct row_batch *prepared);
/* The horizon at this moment; INT64_MIN: nothing has expired. */
int64_t retention_horizon(struct mote_table *table);
void retention_filter(struct mote_table *table, struct time_filter *filter);
/* Whether the row that a point read found is hidden. */
bool retention_hides_key(const struct time_filter *filter, const struct schema *schema, const uint8_t *key, uint32_t key_bytes);
bool retention_hides_image(const struct time_filter *filter, const struct schema *schema, const struct schema *image_schema, const uint8_t *image);
/* MOTE_ERECYCLED if rows that the snapshot saw were dropped since the filter was taken and may lie in these keys and times; else the filter knows the drops. from, to: NULL: open. */
struct recycled_range {
    const uint8_t *from, *to;
    uint32_t from_bytes, to_bytes;
    int64_t from_ns, to_ns;
};
int retention_check_recycled(struct mote_table *table, uint64_t snapshot, const struct recycled_range *range, struct time_filter *filter);
/* The watermark, for an edit: of a table, where it has one in the manifest already; of all tables. */
void retention_watermark(struct mote_table *table, struct manifest_watermark *watermark);
void retention_add_watermark(struct mote_db *db, uint64_t table_id, struct manifest_edit *edit);
void retention_add_watermarks(struct mote_db *db, struct manifest_edit *edit);
/* The windows in which the table's segments lie, doubled if need be. */
struct window_frame retention_windows(struct mote_db *db, uint64_t table_id, const struct segment_list *list);
struct window_frame retention_windows_now(struct mote_db *db, uint64_t table_id); /* of the present version */
void retention_add_stats(struct mote_db *db, struct mote_stats *stats);

/* ---- retention_plan.c ---- */
enum drop_mark { DROP_KEEP = 0, DROP_AGE, DROP_SPACE };
struct drop_plan {
    struct mote_table *table;
    struct table_retention *retention;
    const struct segment_list *list; /* of a version that is held */
    uint64_t extent_bytes;
    struct window_frame windows;
    uint8_t *marks;     /* enum drop_mark, of each of the list's segments */
    uint8_t *protected; /* 1: a pin keeps it */
    uint64_t bytes_kept, bytes_protected;
    uint32_t marked;
};
int drop_plan_make(struct mote_table *table, const struct segment_list *list, struct drop_plan *plan);
void drop_plan_free(struct drop_plan *plan);
void drop_plan_age(struct drop_plan *plan);
/* The oldest window that may go; false: there is none. of_pins: where nothing else is left, what came last under the pins goes. */
bool drop_plan_oldest(struct drop_plan *plan, bool of_pins);
/* Bytes that could not go for the sake of the pins and this one more: what they cover, and what may hide older versions of that. Spoils the plan. */
uint64_t drop_plan_blocked_bytes(const struct drop_plan *plan, const struct manifest_pin *pin);
/* The mean seq of that window, without marking it; UINT64_MAX: there is none. */
uint64_t drop_plan_oldest_seq(struct drop_plan *plan, bool of_pins);
uint64_t segment_device_bytes(const struct segment *segment, uint64_t extent_bytes);
/* Bytes of the segments that the pins hold. */
uint64_t retention_pinned_bytes(struct table_retention *retention, const struct segment_list *list, uint64_t extent_bytes);

/* ---- retention_drop.c ---- */
/* Drops what has expired, and what is above the tables' bytes. *dropped (may be NULL): segments. */
int retention_run(struct mote_db *db, uint32_t *dropped);
/* What a worker does of it, now and then; whether something was dropped. */
bool retention_some(struct mote_db *db);
/* A flush has made segments. */
void retention_want(struct mote_db *db);
/* Something lacks space on the device: the oldest window of the tables that are recycled goes, and is waited for while readers still hold it; where nothing else is left, what came last under the pins. false: there is none. */
bool retention_make_room(struct mote_db *db);
/* Before something does: never what a pin keeps. */
bool retention_make_room_ahead(struct mote_db *db);
/* Within a compaction, whose version holds what would go: whether there would be something once it has made way. */
bool retention_held_up(struct mote_db *db);

#endif
