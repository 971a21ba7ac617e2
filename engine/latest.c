/* latest.c: mote_latest: the newest row of each series, by two searches for each: forward (or backward) to some row of the next series, unless the key prefix names the series; then back from the end of that series, or from the time that is
 * asked for.
 *
 * The second search looks at the newest segments first: at those that hold times from some floor on, which is lowered until a row is found. The time is in the key: a row above the floor, and every version and tombstone of it, lies in a segment (or
 * memtable) that holds times above the floor, so what is found there is the newest of all.
 *
 * In a transaction its own writes are a source of the merge as a memtable is. Those that put a row do not expire: the last of a series' searches goes back as far as was asked for, while the rows of the table end at what has expired.
 *
 * Between calls cursor->last is the position at which the search for the next series begins: ascending inclusive, descending exclusive.
 * Threads: the cursor's. Failures: those of the segments' iterators; MOTE_EBUDGET.
 */
#include "engine/cursor_private.h"

/* To the first visible row from the position on that the bounds (in_time: and the time range) allow: 1, 0, negative MOTE_E. */
static int find_row(struct mote_cursor *cursor, const struct view *view, const struct schema *schema, const struct bound *from, bool in_time)
{
    struct bound position = *from;
    for (;;) {
        int result = cursor_plan_window(cursor, view, schema, &position);
        if (result)
            return result;
        int on_record = cursor_seek_window(cursor, &position, false);
        while (on_record > 0) {
            struct record record;
            bool scan_done, inside = true;
            result = merge_record(cursor->reader->merge, &record);
            if (!result && cursor_beyond_end(cursor, &record, &scan_done)) {
                if (scan_done)
                    return 0;
                break;
            }
            if (!result && in_time)
                result = cursor_in_time_range(cursor, &inside);
            if (result || inside)
                return result ? result : 1;
            on_record = merge_next(cursor->reader->merge);
        }
        if (on_record < 0 || !cursor_has_next_window(cursor))
            return on_record < 0 ? on_record : 0;
        position = cursor->window;
    }
}

static void append_time(struct bound *bound, int64_t time_ns)
{
    struct mote_value time = {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = time_ns};
    bound->length += key_append_value(time.type, &time, bound->bytes + bound->length);
    assert(bound->length <= BOUND_BYTES_MAX);
}

/* Narrows the bounds to the series and, from so early on, the cursor's times in it. */
static void narrow_bounds(struct mote_cursor *cursor, const struct bound *series, int64_t from_ns)
{
    struct bound from = *series, to = *series, end = {0};
    append_time(&from, from_ns);
    append_time(&to, cursor->time_to_ns);
    bound_after_prefix(&end, to.bytes, to.length);
    if (!cursor->lower.set || bound_compare(&cursor->lower, from.bytes, from.length) < 0)
        cursor->lower = from;
    if (end.set && (!cursor->upper.set || bound_compare(&cursor->upper, end.bytes, end.length) > 0))
        cursor->upper = end;
}

/* The times of the segments: the newest, and how far the one that holds it reaches back. false: there are none. */
static bool find_newest(const struct mote_cursor *cursor, const struct view *view, int64_t *newest_ns, uint64_t *span_ns)
{
    const struct segment_list *list = version_find(view->version, cursor->table->id);
    const struct segment_record *found = NULL;
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct segment_record *record = &list->segments[i]->record;
        if (record->time_min <= record->time_max && (!found || record->time_max > found->time_max))
            found = record;
    }
    if (!found)
        return false;
    *newest_ns = found->time_max < cursor->time_to_ns ? found->time_max : cursor->time_to_ns;
    *span_ns = *newest_ns > found->time_min ? (uint64_t)*newest_ns - (uint64_t)found->time_min : 0;
    return true;
}

/* The last row of the series that lies within the cursor's bounds and times: 1, 0, negative MOTE_E. */
static int find_last(struct mote_cursor *cursor, const struct view *view, const struct schema *schema, const struct bound *series)
{
    const struct bound lower = cursor->lower, upper = cursor->upper;
    const int64_t least_ns = cursor->time_from_ns, own_from_ns = cursor->asked_time ? cursor->asked_from_ns : INT64_MIN;
    int64_t newest_ns = INT64_MIN;
    uint64_t span_ns = 0;
    bool all = !find_newest(cursor, view, &newest_ns, &span_ns);
    for (int found = 0;; span_ns = span_ns * 4 + 1) {
        all = all || newest_ns <= least_ns || (uint64_t)newest_ns - (uint64_t)least_ns <= span_ns || span_ns > UINT64_MAX / 8;
        cursor->time_from_ns = all ? least_ns : (int64_t)((uint64_t)newest_ns - span_ns);
        cursor->lower = lower;
        cursor->upper = upper;
        narrow_bounds(cursor, series, all && cursor->overlay ? own_from_ns : cursor->time_from_ns);
        if (!cursor->upper.set || bound_compare(&cursor->upper, cursor->lower.bytes, cursor->lower.length) > 0)
            found = find_row(cursor, view, schema, &cursor->upper, true);
        if (found != 0 || all)
            return found;
    }
}

/* Takes the series' last row into the chunk, if it has one. */
static int take_last(struct mote_cursor *cursor, const struct view *view, const struct schema *schema, const struct bound *series)
{
    const struct bound lower = cursor->lower, upper = cursor->upper, outer = cursor->series;
    const int64_t time_from_ns = cursor->time_from_ns, time_to_ns = cursor->time_to_ns;
    const bool descending = cursor->descending, use_time = cursor->use_time;
    if (!use_time) {
        cursor->time_from_ns = INT64_MIN;
        cursor->time_to_ns = INT64_MAX;
    }
    cursor->series = *series;
    cursor->series.set = series->length > 0;
    cursor->descending = cursor->use_time = true;
    int found = find_last(cursor, view, schema, series);
    if (found > 0) {
        found = chunk_add_row(&cursor->chunk, cursor->reader->merge);
        cursor->rows_left -= found == MOTE_OK;
    }
    cursor->lower = lower;
    cursor->upper = upper;
    cursor->series = outer;
    cursor->time_from_ns = time_from_ns;
    cursor->time_to_ns = time_to_ns;
    cursor->descending = descending;
    cursor->use_time = use_time;
    return found;
}

int latest_fill_chunk(struct mote_cursor *cursor, const struct view *view, const struct schema *schema)
{
    uint32_t before = 0;
    cursor->short_reads = true;
    while ((int32_t)schema->key_columns[before] != schema->time_column)
        before++;
    if (cursor->series.set && !cursor->done) {
        const struct bound series = cursor->series;
        cursor->done = true;
        return take_last(cursor, view, schema, &series);
    }
    while (!cursor->done && !chunk_full(&cursor->chunk) && cursor->rows_left > 0) {
        struct record record;
        struct bound series = {0}, position = cursor->last.set ? cursor->last : cursor->descending ? cursor->upper : cursor->lower;
        int result = find_row(cursor, view, schema, &position, false);
        if (result <= 0) {
            cursor->done = result == 0;
            return result;
        }
        result = merge_record(cursor->reader->merge, &record);
        if (result)
            return result;
        bound_set(&series, record.key, key_prefix_bytes(schema, record.key, record.key_bytes, before));
        result = take_last(cursor, view, schema, &series);
        if (result)
            return result;
        if (cursor->descending)
            cursor->last = series;
        else
            bound_after_prefix(&cursor->last, series.bytes, series.length);
        const struct bound *last = &cursor->last;
        cursor->done = !last->set || last->length == 0 ||
                       (cursor->descending ? cursor->lower.set && bound_compare(last, cursor->lower.bytes, cursor->lower.length) <= 0 : cursor->upper.set && bound_compare(last, cursor->upper.bytes, cursor->upper.length) >= 0);
    }
    return MOTE_OK;
}
