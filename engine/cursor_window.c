/* cursor_window.c: what a cursor covers: its bounds, and the windows in which it walks them (cursor_private.h).
 *
 * Windows. A table may have thousands of segments, most of them disjoint. The key space is walked in windows between segment boundaries: within a window every source is a memtable or a segment that lies in it. Ascending, at position K: the
 * segments that cover K and the next BEHIND_MAX by least key, up to the least key of the one after; descending, at position U (exclusive): those that cover U, down to the largest end of a segment below it. Where segments lie deep above
 * each other they share a pool of iterators (cursor_pool.c).
 *
 * Threads: the cursor's. Failures: those of the segments' iterators; MOTE_EBUDGET.
 */
#include "engine/cursor_private.h"
#include "engine/overlay.h"

#define BEHIND_MAX 32u       /* segments of a window that begin behind its begin; they are not opened before the scan comes to them */
#define KEPT_SHARE 2u        /* what a scan reads ahead of few columns may stay in the cache if all of it takes no more than this part of it */

/* ---- Bounds ---- */

void bound_after_prefix(struct bound *bound, const uint8_t *bytes, uint32_t length)
{
    bound_set(bound, bytes, length);
    while (bound->length > 0 && bound->bytes[bound->length - 1] == 0xff)
        bound->length--;
    bound->set = bound->length > 0;
    if (bound->set)
        bound->bytes[bound->length - 1]++;
}

void cursor_segment_end(const struct segment_record *record, struct bound *end)
{
    const struct segment_key *max = &record->max_key;
    if (max->truncated) {
        bound_after_prefix(end, max->bytes, max->length);
    } else {
        bound_set(end, max->bytes, max->length);
        end->bytes[end->length++] = 0; /* the key's direct successor */
    }
}

/* ---- Planning a window ---- */

void cursor_want(struct mote_cursor *cursor, uint32_t position)
{
    uint64_t bit = 1ull << position % 64;
    cursor->wanted_count += !(cursor->wanted[position / 64] & bit);
    cursor->wanted[position / 64] |= bit;
}

/* Whether the wanted columns of the whole table, by a guess of their share and in whole pages, are small against the cache. Who defers reads few blocks, and will read the same the next time. */
static bool worth_keeping(const struct mote_cursor *cursor, const struct segment_list *list)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct segment_record *record = &list->segments[i]->record;
        if (record->block_count)
            bytes += record->block_count * cursor->wanted_count * round_up(record->segment_bytes / record->block_count / cursor->schema->column_count, PAGE_BYTES);
    }
    return cursor->deferred || bytes <= cursor->table->db->options.cache_bytes / KEPT_SHARE;
}

/* Whether the segment has no key in the scan's series from the position on (descending: before it). */
static bool beside_series(const struct mote_cursor *cursor, const struct bound *position, const struct bound *least, const struct bound *greatest)
{
    const struct bound *from = cursor->descending ? &cursor->lower : position, *to = cursor->descending ? position : &cursor->upper;
    if (to->set && bound_compare(least, to->bytes, to->length) >= 0)
        return true;
    uint32_t common = from->length < greatest->length ? from->length : greatest->length;
    return from->set && key_compare(greatest->bytes, greatest->length, from->bytes, common) < 0;
}

/* The segment becomes a source, unless it is known to have nothing of the scan from the position on. */
static int add_segment(struct mote_cursor *cursor, struct segment *segment, const struct bound *position)
{
    struct merge *merge = cursor->reader->merge;
    struct merge_hint hint = {0};
    bool known = merge_recall(merge, segment->record.id, &hint);
    struct sst_iterator *held = known ? cursor_hold_iterator(cursor, segment, hint.iterator) : NULL;
    struct bound bound;
    if (known && hint.ended)
        return MOTE_OK;
    if (known && hint.bound_bytes)
        return merge_add_later(merge, segment, hint.bound, hint.bound_bytes, held);
    if (!cursor_segment_bound(cursor, &segment->record, position, &bound) || cursor_bound_outside(cursor, &bound))
        return MOTE_OK;
    if (bound.length > MERGE_BOUND_BYTES)
        bound.length = cursor->descending ? 0 : MERGE_BOUND_BYTES; /* cut short it is one from below only */
    return merge_add_later(merge, segment, bound.bytes, bound.set ? bound.length : 0, held);
}

/* Where the segment lies, ascending: holds keys at or after the position and begins at or before it, or begins behind it. */
enum reach { BEFORE, COVERS, BEHIND };

static enum reach reach_ascending(const struct bound *position, const struct segment_record *record)
{
    struct bound end;
    const uint8_t *key = position->bytes;
    uint32_t length = position->set ? position->length : 0;
    if (key_compare(record->min_key.bytes, record->min_key.length, key, length) > 0)
        return BEHIND;
    cursor_segment_end(record, &end);
    return end.set && key_compare(end.bytes, end.length, key, length) <= 0 ? BEFORE : COVERS;
}

/* Whether it covers the position; otherwise its boundary may end the window. */
static bool covers_descending(struct mote_cursor *cursor, const struct bound *position, const struct segment_record *record)
{
    struct bound end;
    if (position->set && key_compare(record->min_key.bytes, record->min_key.length, position->bytes, position->length) >= 0)
        return false; /* all behind */
    cursor_segment_end(record, &end);
    if (!end.set || (position->set && bound_compare(&end, position->bytes, position->length) >= 0))
        return true;
    if (!cursor->window.set || bound_compare(&cursor->window, end.bytes, end.length) < 0)
        cursor->window = end;
    return false;
}

void cursor_begin_sources(struct mote_cursor *cursor, const struct schema *schema, const struct segment_list *list)
{
    cursor->schema = schema;
    cursor->list = list;
    cursor->keep = cursor->projects && worth_keeping(cursor, list);
    memset(cursor->slots_used, 0, sizeof cursor->slots_used);
    cursor->slots_used_count = 0;
}

/* The segments of the window. Ascending, in the order of their least keys: those that cover the position and BEHIND_MAX that begin behind it; the next one ends the window. */
static int add_segments(struct mote_cursor *cursor, const struct segment_list *list, const struct bound *position)
{
    struct segment *const *segments = cursor->descending ? list->segments : list->segments + list->count;
    struct bound least, greatest;
    int result = MOTE_OK;
    uint32_t behind = 0;
    for (uint32_t i = 0; i < list->count && !result; i++) {
        const struct segment_record *record = &segments[i]->record;
        enum reach reach = COVERS;
        if (!cursor->descending && (reach = reach_ascending(position, record)) == BEHIND && cursor->upper.set && bound_compare(&cursor->upper, record->min_key.bytes, record->min_key.length) <= 0)
            return MOTE_OK; /* and so do all that follow */
        if (reach == BEFORE || (cursor->use_time && cursor->schema->time_in_key && !segment_may_hold_times(record, cursor->time_from_ns, cursor->time_to_ns)))
            continue;
        if (cursor_series_bounds(cursor, record, &least, &greatest) && beside_series(cursor, position, &least, &greatest))
            continue;
        if (reach == BEHIND && behind++ == BEHIND_MAX) {
            bound_set(&cursor->window, record->min_key.bytes, record->min_key.length);
            return MOTE_OK;
        }
        if (!cursor->descending || covers_descending(cursor, position, record))
            result = add_segment(cursor, segments[i], position);
    }
    return result;
}

int cursor_plan_window(struct mote_cursor *cursor, const struct view *view, const struct schema *schema, const struct bound *position)
{
    struct reader *reader = cursor->reader;
    const struct segment_list *list = version_find(view->version, cursor->table->id);
    const struct merge_pool pool = {cursor_open_pooled, cursor_close_pooled, cursor};
    int result = MOTE_OK;
    cursor->window.set = false;
    cursor_begin_sources(cursor, schema, list);
    merge_reset(reader->merge, MERGE_VISIBLE, cursor->descending, cursor->snapshot, schema);
    merge_set_pool(reader->merge, &pool);
    for (uint32_t i = 0; i < view->generation_count && !result; i++) {
        struct memtable *memtable = memtable_of_table(view->generations[i]->memtables, cursor->table->id, false);
        if (memtable)
            result = merge_add_memtable(reader->merge, memtable);
    }
    struct memtable *own = cursor->overlay ? memtable_of_table(cursor->overlay->memtables, cursor->table->id, false) : NULL;
    if (own && !result)
        result = merge_add_private(reader->merge, own, cursor->overlay_seq);
    if (!result && list)
        result = add_segments(cursor, list, position);
    if (cursor->window.set)
        merge_set_end(reader->merge, cursor->window.bytes, cursor->window.length);
    for (uint32_t i = 0; reader->ahead && i < reader->iterator_end; i++)
        if (reader->iterators[i] && !(cursor->slots_used[i / 64] >> i % 64 & 1))
            sst_iterator_set_ahead(reader->iterators[i], NULL); /* others of this window need what it holds */
    return result;
}

/* ---- Within a window ---- */

int cursor_seek_window(struct mote_cursor *cursor, const struct bound *position, bool after)
{
    struct merge *merge = cursor->reader->merge;
    if (after || (cursor->descending && position->set))
        return merge_seek_after(merge, position->bytes, position->length);
    if (cursor->descending)
        return merge_seek_last(merge, NULL, 0, false);
    return merge_seek(merge, position->set ? position->bytes : NULL, position->set ? position->length : 0);
}

void cursor_remember(struct mote_cursor *cursor)
{
    const uint8_t *key;
    uint32_t key_bytes;
    merge_remember(cursor->reader->merge);
    if (!merge_last_deleted(cursor->reader->merge, &key, &key_bytes))
        return;
    int order = cursor->last.set ? bound_compare(&cursor->last, key, key_bytes) : 0;
    if (!cursor->last.set || (cursor->descending ? order > 0 : order < 0))
        bound_set(&cursor->last, key, key_bytes);
}

bool cursor_beyond_end(const struct mote_cursor *cursor, const struct record *record, bool *scan_done)
{
    *scan_done = false;
    if (cursor->descending) {
        if (cursor->window.set && bound_compare(&cursor->window, record->key, record->key_bytes) > 0)
            return true;
        *scan_done = cursor->lower.set && bound_compare(&cursor->lower, record->key, record->key_bytes) > 0;
        return *scan_done;
    }
    if (cursor->window.set && bound_compare(&cursor->window, record->key, record->key_bytes) <= 0)
        return true;
    *scan_done = cursor->upper.set && bound_compare(&cursor->upper, record->key, record->key_bytes) <= 0;
    return *scan_done;
}

bool cursor_has_next_window(const struct mote_cursor *cursor)
{
    const struct bound *window = &cursor->window, *lower = &cursor->lower, *upper = &cursor->upper;
    if (!window->set)
        return false; /* no segment lies further on, and the memtables were in this window too */
    return cursor->descending ? !lower->set || bound_compare(window, lower->bytes, lower->length) > 0 : !upper->set || bound_compare(window, upper->bytes, upper->length) < 0;
}

int cursor_on_own_row(struct mote_cursor *cursor, bool *own)
{
    struct record record;
    *own = false;
    if (!cursor->overlay)
        return MOTE_OK;
    int result = merge_record(cursor->reader->merge, &record);
    *own = !result && record.seq > OVERLAY_SEQ;
    return result;
}

bool cursor_wants_own_time(const struct mote_cursor *cursor, bool has_time, int64_t time_ns)
{
    return !cursor->asked_time || (has_time && time_ns >= cursor->asked_from_ns && time_ns <= cursor->time_to_ns);
}

void cursor_add_overlay(struct mote_cursor *cursor, struct overlay *overlay)
{
    if (!overlay)
        return;
    overlay_hold(overlay);
    cursor->overlay = overlay;
    cursor->overlay_seq = OVERLAY_SEQ + overlay->writes;
    cursor->overlay_epoch = overlay->epoch;
    cursor->done = false; /* where the table's rows have expired, one's own have not */
}

int cursor_check_overlay(const struct mote_cursor *cursor)
{
    if (cursor->overlay && cursor->overlay->epoch != cursor->overlay_epoch)
        return error_set(MOTE_EINVAL, "the transaction of this cursor or aggregation has ended, or taken back writes since it was opened: it can only be closed");
    return MOTE_OK;
}

int cursor_in_time_range(struct mote_cursor *cursor, bool *inside)
{
    int64_t time_ns;
    bool has_time, own = false;
    *inside = true;
    if (!cursor->use_time)
        return MOTE_OK;
    int result = merge_time(cursor->reader->merge, &time_ns, &has_time);
    if (!result)
        result = cursor_on_own_row(cursor, &own);
    if (result)
        return result;
    if (own)
        *inside = cursor_wants_own_time(cursor, has_time, time_ns);
    else
        *inside = has_time && time_ns >= cursor->time_from_ns && time_ns <= cursor->time_to_ns && !time_filter_hides(&cursor->filter, time_ns);
    return MOTE_OK;
}

bool cursor_times_inside(const struct mote_cursor *cursor, int64_t min_ns, int64_t max_ns)
{
    return min_ns >= cursor->time_from_ns && max_ns <= cursor->time_to_ns && !time_filter_meets_gap(&cursor->filter, min_ns, max_ns);
}

bool cursor_times_outside(const struct mote_cursor *cursor, int64_t min_ns, int64_t max_ns)
{
    const struct time_filter *filter = &cursor->filter;
    if (min_ns > cursor->time_to_ns || max_ns < cursor->time_from_ns)
        return true;
    for (uint32_t i = 0; filter->active && i < filter->gap_count; i++)
        if (min_ns >= filter->gaps[i].from_ns && max_ns <= filter->gaps[i].to_ns)
            return true;
    return false;
}

int cursor_check_recycled(struct mote_cursor *cursor)
{
    const struct bound *from = &cursor->lower, *to = &cursor->upper;
    if (cursor->done)
        return MOTE_OK;
    if (cursor->last.set && cursor->descending)
        to = &cursor->last;
    else if (cursor->last.set)
        from = &cursor->last;
    const struct recycled_range range = {
        .from = from->set ? from->bytes : NULL,
        .from_bytes = from->length,
        .to = to->set ? to->bytes : NULL,
        .to_bytes = to->length,
        .from_ns = cursor->use_time ? cursor->time_from_ns : INT64_MIN,
        .to_ns = cursor->use_time ? cursor->time_to_ns : INT64_MAX,
    };
    return retention_check_recycled(cursor->table, cursor->snapshot, &range, &cursor->filter);
}

/* ---- Opening ---- */

static int set_bounds(struct mote_cursor *cursor, const struct schema *schema, const struct mote_scan_options *options)
{
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes;
    int result = MOTE_OK;
    if (options->key_from) {
        result = key_from_values(schema, options->key_from, options->key_from_count, key, &key_bytes);
        if (!result)
            bound_set(&cursor->lower, key, key_bytes);
    }
    if (!result && options->key_to) {
        result = key_from_values(schema, options->key_to, options->key_to_count, key, &key_bytes);
        if (!result)
            bound_after_prefix(&cursor->upper, key, key_bytes);
    }
    if (result || !options->key_prefix || options->key_prefix_count == 0)
        return result;
    struct bound end = {0};
    result = key_from_values(schema, options->key_prefix, options->key_prefix_count, key, &key_bytes);
    if (result)
        return result;
    if (!cursor->lower.set || bound_compare(&cursor->lower, key, key_bytes) < 0)
        bound_set(&cursor->lower, key, key_bytes);
    bound_after_prefix(&end, key, key_bytes);
    if (end.set && (!cursor->upper.set || bound_compare(&cursor->upper, end.bytes, end.length) > 0))
        cursor->upper = end;
    return MOTE_OK;
}

/* The series, if the key prefix names all of it. */
static int set_series(struct mote_cursor *cursor, const struct schema *schema, const struct mote_scan_options *options)
{
    uint32_t before = 0, key_bytes;
    uint8_t key[MOTE_KEY_BYTES_MAX];
    if (!schema->time_in_key || !options->key_prefix)
        return MOTE_OK;
    while ((int32_t)schema->key_columns[before] != schema->time_column)
        before++;
    if (before == 0 || options->key_prefix_count < before)
        return MOTE_OK;
    int result = key_from_values(schema, options->key_prefix, before, key, &key_bytes);
    if (!result && key_bytes <= MOTE_KEY_BYTES_MAX - 8)
        bound_set(&cursor->series, key, key_bytes);
    return result;
}

static bool time_prunable(const struct schema *schema)
{
    for (uint32_t k = 0; k < schema->key_column_count; k++) {
        if ((int32_t)schema->key_columns[k] == schema->time_column)
            return true;
    }
    return (schema->flags & MOTE_TABLE_APPEND_ONLY) || schema->columns[0].hidden;
}

int cursor_check(mote_table *table, const struct mote_scan_options *given, const void *out, struct mote_scan_options *options)
{
    int result = table_check(table);
    if (result)
        return result;
    if (!out || (given && given->size_bytes < sizeof(size_t)))
        return error_set(MOTE_EINVAL, "the result pointer is NULL or options.size_bytes is not set: begin with MOTE_SCAN_OPTIONS_INIT");
    *options = (struct mote_scan_options)MOTE_SCAN_OPTIONS_INIT;
    if (given)
        memcpy(options, given, given->size_bytes < sizeof *options ? given->size_bytes : sizeof *options);
    const struct schema *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    if (options->use_time_range && schema->time_column < 0)
        return error_set(MOTE_EINVAL, "table %s has no time column: it cannot be scanned by time", schema->name);
    if (options->key_prefix_count > schema->key_column_count || options->key_from_count > schema->key_column_count || options->key_to_count > schema->key_column_count)
        return error_set(MOTE_EINVAL, "the key of table %s has %u columns only", schema->name, schema->key_column_count);
    return MOTE_OK;
}

/* What has expired is left out as what lies outside of the time range. */
static void apply_retention(struct mote_cursor *cursor)
{
    struct time_filter *filter = &cursor->filter;
    retention_filter(cursor->table, filter);
    if (!filter->active || filter->from_ns == INT64_MIN)
        return;
    if (!cursor->use_time) {
        cursor->time_from_ns = INT64_MIN;
        cursor->time_to_ns = INT64_MAX;
    }
    cursor->use_time = true;
    cursor->time_from_ns = cursor->time_from_ns > filter->from_ns ? cursor->time_from_ns : filter->from_ns;
    cursor->done = cursor->time_from_ns > cursor->time_to_ns;
}

int cursor_open(mote_table *table, const struct mote_scan_options *options, struct mote_cursor *cursor)
{
    struct mote_db *db = table->db;
    const struct schema *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    cursor->table = table;
    cursor->descending = options->descending != 0;
    cursor->use_time = options->use_time_range != 0;
    cursor->prunable = time_prunable(schema);
    cursor->time_from_ns = options->time_from_ns;
    cursor->time_to_ns = options->time_to_ns;
    cursor->asked_time = cursor->use_time;
    cursor->asked_from_ns = cursor->time_from_ns;
    cursor->rows_left = options->limit ? options->limit : UINT64_MAX;
    int result = set_bounds(cursor, schema, options);
    if (!result)
        result = set_series(cursor, schema, options);
    if (!result)
        result = snapshot_register(db, options->snapshot, &cursor->snapshot, &cursor->snapshot_slot);
    if (result)
        return result;
    apply_retention(cursor);
    if (cursor->use_time)
        cursor_want(cursor, (uint32_t)schema->time_column);
    cursor->reader = reader_take(db, true);
    if (cursor->reader)
        return MOTE_OK;
    snapshot_forget(db, cursor->snapshot_slot);
    return MOTE_EBUDGET;
}

void cursor_shut(struct mote_cursor *cursor)
{
    reader_give(cursor->table->db, cursor->reader, true);
    snapshot_forget(cursor->table->db, cursor->snapshot_slot);
    if (cursor->overlay)
        overlay_release(cursor->overlay);
}
