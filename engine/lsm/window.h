/* window.h: windows of time, in which a table with retention is kept, so that what has expired goes segment by segment, unread.
 *
 * Window n of length w covers [n * w, (n + 1) * w) nanoseconds. A flush cuts its rows by windows, a compaction merges segments of one window only. Windows are doubled while too many of them hold segments (a scan in key order has one segment
 * of each open): two windows of length w make one of length 2 w, so that what lies in one window stays in one.
 * Rows that are older than all that is kept, and those from beyond the newest that counts, are kept apart from the windows, each of the two together, so that times that make no sense cost a segment and no more.
 * A segment that spans windows (late rows of several, each too few for a segment of their own; from before the table had retention, or from a flush with rows of very many windows, or without space for a segment of each) is a class of its own.
 *
 * Threads: pure functions. Failures: none.
 */
#ifndef MOTE_ENGINE_LSM_WINDOW_H
#define MOTE_ENGINE_LSM_WINDOW_H

#include "engine/lsm/manifest.h"
#include "engine/lsm/memtable.h"

#define WINDOW_PARTS_MAX 8u /* segments that one flush makes of one table for the sake of windows, besides one for what has no time */

static inline int64_t window_number(int64_t time_ns, int64_t window_ns) { return time_ns / window_ns - (time_ns % window_ns < 0); }

/* The windows of a table at a moment. */
struct window_frame {
    int64_t window_ns;      /* length; 0: the table has none */
    int64_t from_ns, to_ns; /* inclusive: from the begin of the first window to the end of the last */
};
/* The windows from that of least_ns to that of greatest_ns. */
struct window_frame window_frame_make(int64_t window_ns, int64_t least_ns, int64_t greatest_ns);

enum window_kind { WINDOW_INSIDE, WINDOW_SPANNING, WINDOW_BEFORE, WINDOW_BEYOND, WINDOW_UNTIMED };
/* Segments of one class may be merged, and go together. */
struct window_class {
    enum window_kind kind;
    int64_t number; /* of the window of the newest time */
};
struct window_class window_classify(const struct segment_record *record, const struct window_frame *frame);
static inline bool window_same(struct window_class a, struct window_class b) { return a.kind == b.kind && a.number == b.number; }
/* The length, from the frame's on by doubling, at which the list's segments are in at most count_max of its windows. */
int64_t window_widen(const struct segment_list *list, const struct window_frame *frame, uint32_t count_max);

/* Rows of a memtable that are written as one segment: those of a range of windows, or those without a time (tombstones whose key holds none). */
struct window_part {
    bool all;     /* every row: the table has no windows */
    bool untimed;
    int64_t from_ns, to_ns; /* inclusive */
    uint64_t rows, raw_bytes; /* raw_bytes: of the images; of tombstones: of the keys */
};
/* Deals the memtable's rows into parts: each window is one, but neighbours that are small are one together (a segment takes an extent at least), and where there would be more than WINDOW_PARTS_MAX those that are closest to each other. Their number;
 * at most WINDOW_PARTS_MAX + 1. */
uint32_t window_deal(struct memtable *memtable, const struct schema *schema, const struct window_frame *frame, uint64_t small_bytes, struct window_part *parts);
/* Whether a record is in the part. */
bool window_holds(const struct window_part *part, const struct schema *schema, const struct record *record, const struct schema *image_schema, const uint8_t *image);
enum window_share { WINDOW_NONE, WINDOW_SOME, WINDOW_ALL };
/* How much of a stretch is in the part. */
enum window_share window_holds_stretch(const struct window_part *part, const struct schema *schema, const struct record_stretch *stretch);

#endif
