/* aggregate.c: aggregates: the calls, and the walk over blocks and rows (aggregate_private.h).
 *
 * The walk is a scan's (cursor.c): windows, and in each a merge of memtables and segments. But the segments' iterators defer the reading of blocks: they stand on the first key of the next block, which the index tells. There the merge says whether the
 * block is this view's alone up to its last key (merge_block), and if it also lies within the bounds, one series, one bucket and the time range, and its zone maps say what is asked, it is added by them and passed over unread. Else rows: in
 * stretches of one block, decoded columns at a time, or one by one.
 *
 * A view is held for QUANTUM_ROWS of work, then taken anew, so that a long aggregate holds no memtable; cursor->last is where it goes on.
 * Threads: the aggregation's. Failures: those of the segments' iterators; of groups and results. The first one stays.
 */
#include "engine/aggregate_private.h"

#define QUANTUM_ROWS (1u << 19)
#define BLOCK_ROWS_WORTH 64u /* what a block taken by its statistics counts in the quantum */

enum step { STEP_END = 0, STEP_ON = 1, STEP_STOP = 2 /* nothing was taken: a chunk of groups is full */ };

/* ---- Blocks by their statistics ---- */

/* A guess about a block that is ahead: by its times, its series and its zone maps. What lies in between the sources' keys is not known yet. */
bool aggregate_wants_block(void *context, const struct sst_statistics *statistics)
{
    const mote_aggregation *aggregation = context;
    const struct mote_cursor *cursor = &aggregation->cursor;
    const bool all = statistics->timed_count == statistics->row_count;
    if (!statistics->distinct || statistics->seq_max > cursor->snapshot)
        return true;
    if (cursor->use_time && (!all || !cursor_times_inside(cursor, statistics->time_min_ns, statistics->time_max_ns)))
        return true;
    if (aggregation->bucketed && (!all || !aggregate_same_bucket(aggregation, statistics->time_min_ns, statistics->time_max_ns)))
        return true;
    if (aggregation->by_series) {
        uint32_t length = key_prefix_bytes(cursor->schema, statistics->first_key, statistics->first_key_bytes, aggregation->series_columns);
        if (length > statistics->last_key_bytes || memcmp(statistics->first_key, statistics->last_key, length) != 0)
            return true;
    }
    for (uint32_t i = 0; i < aggregation->column_count; i++)
        if (!aggregate_cell_fits(aggregation, &aggregation->columns[i], statistics, NULL))
            return true;
    return false;
}

/* The exclusive end of what may be taken at once: of the window, the scan, the series. unset: none. */
static void find_end(const mote_aggregation *aggregation, struct bound *end)
{
    const struct mote_cursor *cursor = &aggregation->cursor;
    end->set = false;
    if (aggregation->by_series)
        bound_after_prefix(end, aggregation->series.bytes, aggregation->series.length);
    if (cursor->upper.set && (!end->set || bound_compare(end, cursor->upper.bytes, cursor->upper.length) > 0))
        bound_set(end, cursor->upper.bytes, cursor->upper.length);
    if (cursor->window.set && (!end->set || bound_compare(end, cursor->window.bytes, cursor->window.length) > 0))
        bound_set(end, cursor->window.bytes, cursor->window.length);
}

/* Whether the block's times let it go whole into one bucket; *outside: none of its rows counts. */
static bool times_fit(mote_aggregation *aggregation, const struct sst_statistics *statistics, bool *outside)
{
    const struct mote_cursor *cursor = &aggregation->cursor;
    bool some = statistics->timed_count > 0, all = statistics->timed_count == statistics->row_count;
    *outside = false;
    if (cursor->use_time || aggregation->bucketed)
        *outside = !some || (cursor->use_time && cursor_times_outside(cursor, statistics->time_min_ns, statistics->time_max_ns));
    if (*outside)
        return true;
    if (cursor->use_time && (!all || !cursor_times_inside(cursor, statistics->time_min_ns, statistics->time_max_ns)))
        return false;
    if (!aggregation->bucketed) {
        aggregate_bucket_find(aggregation, 0);
        return true;
    }
    aggregate_bucket_find(aggregation, statistics->time_min_ns);
    return all && statistics->time_max_ns <= aggregation->bucket_last_ns;
}

/* Before a block moves the keys of pending edges: those that it does not replace are looked up. */
static int settle_edges(mote_aggregation *aggregation, const struct sst_statistics *statistics, struct aggregate_cell *cells)
{
    bool new_first = false, old_first = false, kept_last = false;
    if (!aggregation->edges || !aggregation->time_ordered)
        return MOTE_OK;
    for (uint32_t i = 0; i < aggregation->column_count; i++) {
        struct sst_zone zone;
        const struct aggregate_column *column = &aggregation->columns[i];
        if (!column->first && !column->last)
            continue;
        sst_statistics_zone(statistics, column->position, &zone);
        new_first = new_first || (column->first && cells[i].first.state == EDGE_NONE && zone.value_count > 0);
        old_first = old_first || cells[i].first.state == EDGE_PENDING;
        kept_last = kept_last || (cells[i].last.state == EDGE_PENDING && zone.value_count == 0);
    }
    int result = (new_first && old_first) || kept_last ? aggregate_group_close(aggregation) : MOTE_OK;
    for (uint32_t i = 0; i < aggregation->column_count && !result; i++) {
        struct sst_zone zone;
        const struct aggregate_column *column = &aggregation->columns[i];
        if (!column->first && !column->last)
            continue;
        sst_statistics_zone(statistics, column->position, &zone);
        if (column->first && cells[i].first.state == EDGE_NONE && zone.value_count > 0) {
            cells[i].first.state = EDGE_PENDING;
            bound_set(&aggregation->first_key, statistics->first_key, statistics->first_key_bytes);
        }
        if (column->last && zone.value_count > 0) {
            cells[i].last.state = EDGE_PENDING;
            bound_set(&aggregation->last_key, statistics->last_key, statistics->last_key_bytes);
        }
    }
    return result;
}

static int add_block(mote_aggregation *aggregation, const struct sst_statistics *statistics, uint32_t group)
{
    struct aggregate_cell *cells = aggregate_cells_of(aggregation, group);
    int result = settle_edges(aggregation, statistics, cells);
    for (uint32_t i = 0; i < aggregation->column_count && !result; i++)
        if (!aggregation->columns[i].never_null)
            aggregate_cell_add_block(&aggregation->columns[i], statistics, &cells[i]);
    aggregation->groups[group].row_count += statistics->row_count;
    return result;
}

/* *taken: the block went in and the merge may pass over it. STEP_STOP: it could, but not into this chunk. */
static int take_block(mote_aggregation *aggregation, const struct sst_statistics *statistics, bool *taken)
{
    struct bound end;
    uint32_t group;
    bool outside;
    *taken = false;
    find_end(aggregation, &end);
    if (end.set && bound_compare(&end, statistics->last_key, statistics->last_key_bytes) <= 0)
        return STEP_ON;
    if (!times_fit(aggregation, statistics, &outside))
        return STEP_ON;
    *taken = outside;
    if (outside)
        return STEP_ON;
    int result = aggregate_group_find(aggregation, aggregation->bucket_ns, false, &group);
    const struct aggregate_cell *cells = group == GROUP_NONE ? NULL : aggregate_cells_of(aggregation, group);
    for (uint32_t i = 0; i < aggregation->column_count && !result; i++)
        if (!aggregate_cell_fits(aggregation, &aggregation->columns[i], statistics, cells ? &cells[i] : NULL))
            return STEP_ON;
    if (!result)
        result = aggregate_group_find(aggregation, aggregation->bucket_ns, true, &group);
    if (result || group == GROUP_FULL)
        return result ? result : STEP_STOP;
    result = add_block(aggregation, statistics, group);
    *taken = !result;
    return result ? result : STEP_ON;
}

/* ---- Rows ---- */

static int load_times(const mote_aggregation *aggregation, struct aggregate_slice *slice)
{
    const struct schema *schema = aggregation->cursor.schema;
    slice->times.count = 0;
    slice->times_ns = NULL;
    if (!aggregation->timed || schema->time_column < 0)
        return MOTE_OK;
    int result = sst_block_column(slice->iterator, (uint32_t)schema->time_column, &slice->times);
    if (!result && !slice->times.validity && schema->columns[schema->time_column].type != MOTE_TYPE_FLOAT64)
        slice->times_ns = slice->times.values;
    return result;
}

/* How many rows from this one on, whose time is known to be in the range and the bucket, are there too. */
static uint32_t count_together(const mote_aggregation *aggregation, const struct aggregate_slice *slice, uint32_t row, bool has_time)
{
    const struct mote_cursor *cursor = &aggregation->cursor;
    uint32_t end = slice->first + slice->count, at = row + 1;
    if (!aggregation->bucketed && !cursor->use_time)
        return end - row;
    assert(has_time);
    (void)has_time;
    int64_t from_ns = aggregation->bucket_first_ns, to_ns = aggregation->bucket_last_ns, time_ns;
    if (cursor->use_time && cursor->time_from_ns > from_ns)
        from_ns = cursor->time_from_ns;
    if (cursor->use_time && cursor->time_to_ns < to_ns)
        to_ns = cursor->time_to_ns;
    /* The row's own time lies in no gap of the filter: the next gap ends what is taken with it. */
    for (uint32_t i = 0; i < cursor->filter.gap_count && aggregate_time_at(aggregation, slice, row, &time_ns); i++) {
        if (cursor->filter.gaps[i].to_ns < time_ns)
            from_ns = cursor->filter.gaps[i].to_ns + 1 > from_ns ? cursor->filter.gaps[i].to_ns + 1 : from_ns;
        else if (cursor->filter.gaps[i].from_ns <= to_ns)
            to_ns = cursor->filter.gaps[i].from_ns - 1;
    }
    uint64_t span_ns = (uint64_t)to_ns - (uint64_t)from_ns;
    for (const int64_t *times_ns = slice->times_ns; times_ns && at < end && (uint64_t)times_ns[at] - (uint64_t)from_ns <= span_ns;)
        at++;
    while (!slice->times_ns && at < end && aggregate_time_at(aggregation, slice, at, &time_ns) && time_ns >= from_ns && time_ns <= to_ns)
        at++;
    return at - row;
}

static int add_slice(const mote_aggregation *aggregation, const struct aggregate_slice *slice, uint32_t row, uint32_t count, uint32_t group)
{
    struct aggregate_cell *cells = aggregate_cells_of(aggregation, group);
    int result = MOTE_OK;
    for (uint32_t i = 0; i < aggregation->column_count && !result; i++) {
        const struct aggregate_column *column = &aggregation->columns[i];
        struct codec_vector values;
        if (column->never_null)
            continue;
        result = sst_block_column(slice->iterator, column->position, &values);
        if (!result)
            aggregate_cell_add_slice(aggregation, column, &values, slice, row, count, &cells[i]);
    }
    aggregation->groups[group].row_count += count;
    return result;
}

/* Whether the row of this time counts; then its bucket is found. own: it is one of the transaction's. */
static bool row_counts(mote_aggregation *aggregation, bool own, bool has_time, int64_t time_ns)
{
    const struct mote_cursor *cursor = &aggregation->cursor;
    if (!aggregation->bucketed && !cursor->use_time) {
        aggregate_bucket_find(aggregation, 0);
        return true;
    }
    if (own && !aggregation->bucketed) {
        aggregate_bucket_find(aggregation, 0);
        return cursor_wants_own_time(cursor, has_time, time_ns);
    }
    if (!has_time || (cursor->use_time && !(own ? cursor_wants_own_time(cursor, true, time_ns) : cursor_times_inside(cursor, time_ns, time_ns))))
        return false;
    aggregate_bucket_find(aggregation, time_ns);
    return true;
}

/* Adds rows of the iterator's block from its present one on; *added of count, fewer where a chunk of groups is full. */
static int add_rows(mote_aggregation *aggregation, struct sst_iterator *iterator, uint32_t count, uint32_t *added)
{
    struct aggregate_slice slice = {.iterator = iterator, .count = count};
    int result = load_times(aggregation, &slice);
    slice.first = sst_block_row(iterator);
    *added = 0;
    while (!result && *added < count) {
        uint32_t group, row = slice.first + *added;
        int64_t time_ns = 0;
        bool has_time = aggregation->timed && aggregate_time_at(aggregation, &slice, row, &time_ns);
        if (!row_counts(aggregation, false, has_time, time_ns)) {
            ++*added;
            continue;
        }
        result = aggregate_group_find(aggregation, aggregation->bucket_ns, true, &group);
        if (result || group == GROUP_FULL)
            break;
        uint32_t together = count_together(aggregation, &slice, row, has_time);
        result = add_slice(aggregation, &slice, row, together, group);
        *added += together;
    }
    return result;
}

/* Takes a stretch of rows of one segment, where the merge says that nothing comes in between. *taken 0: there is none, or (STEP_STOP) no room. */
static int take_run(mote_aggregation *aggregation, uint32_t *taken)
{
    struct mote_cursor *cursor = &aggregation->cursor;
    struct merge_place place;
    struct bound end;
    *taken = 0;
    int result = merge_place(cursor->reader->merge, &place);
    if (result || !place.iterator || place.run_length < 2)
        return result ? result : STEP_ON;
    find_end(aggregation, &end);
    uint32_t count = sst_run_length(place.iterator, cursor->snapshot, end.set ? end.bytes : NULL, end.set ? end.length : 0);
    if (count > place.run_length)
        count = place.run_length;
    if (count < 2)
        return STEP_ON;
    result = add_rows(aggregation, place.iterator, count, taken);
    return result ? result : *taken > 0 ? STEP_ON : STEP_STOP;
}

static int take_row(mote_aggregation *aggregation)
{
    struct merge *merge = aggregation->cursor.reader->merge;
    int64_t time_ns = 0;
    bool has_time = false, own;
    uint32_t group;
    int result = cursor_on_own_row(&aggregation->cursor, &own);
    if (!result && aggregation->timed)
        result = merge_time(merge, &time_ns, &has_time);
    if (result || !row_counts(aggregation, own, has_time, time_ns))
        return result ? result : STEP_ON;
    result = aggregate_group_find(aggregation, aggregation->bucket_ns, true, &group);
    if (result || group == GROUP_FULL)
        return result ? result : STEP_STOP;
    struct aggregate_cell *cells = aggregate_cells_of(aggregation, group);
    for (uint32_t i = 0; i < aggregation->column_count && !result; i++) {
        const struct aggregate_column *column = &aggregation->columns[i];
        struct mote_value value;
        if (column->never_null)
            continue;
        result = merge_value(merge, column->position, &value);
        if (!result)
            aggregate_cell_add(aggregation, column, &value, time_ns, has_time, &cells[i]);
    }
    aggregation->groups[group].row_count++;
    return result ? result : STEP_ON;
}

/* ---- The walk ---- */

static int enter_series(mote_aggregation *aggregation, const struct record *record)
{
    if (!aggregation->by_series)
        return MOTE_OK;
    struct bound *series = &aggregation->series;
    uint32_t length = key_prefix_bytes(aggregation->cursor.schema, record->key, record->key_bytes, aggregation->series_columns);
    if (series->set && series->length == length && memcmp(series->bytes, record->key, length) == 0)
        return MOTE_OK;
    int result = aggregate_group_close(aggregation);
    aggregation->closed = true;
    bound_set(series, record->key, length);
    return result;
}

/* Takes the block, the stretch of rows or the row that the merge stands on, and moves on. enum step, or negative MOTE_E. */
static int take(mote_aggregation *aggregation)
{
    struct mote_cursor *cursor = &aggregation->cursor;
    struct merge *merge = cursor->reader->merge;
    struct sst_statistics statistics;
    struct record record;
    uint32_t rows = 0;
    bool taken = false;
    int result = merge_block(merge, &statistics) ? take_block(aggregation, &statistics, &taken) : STEP_ON;
    if (taken) {
        bound_set(&cursor->last, statistics.last_key, statistics.last_key_bytes);
        aggregation->left_rows -= aggregation->left_rows < BLOCK_ROWS_WORTH ? aggregation->left_rows : BLOCK_ROWS_WORTH;
        return merge_skip_block(merge);
    }
    if (result == STEP_ON)
        result = take_run(aggregation, &rows);
    if (result == STEP_ON && rows == 0) {
        result = take_row(aggregation);
        rows = result == MOTE_OK || result == STEP_ON;
    }
    if (result < 0 || result == STEP_STOP)
        return result;
    result = rows > 1 ? merge_skip(merge, rows - 1) : STEP_ON;
    if (result >= 0)
        result = merge_record(merge, &record);
    if (result)
        return result;
    bound_set(&cursor->last, record.key, record.key_bytes);
    aggregation->left_rows -= aggregation->left_rows < rows ? aggregation->left_rows : rows;
    return merge_next(merge);
}

/* Walks one window. *advance: it is through. */
static int walk_window(mote_aggregation *aggregation, int on_record, bool *advance)
{
    struct mote_cursor *cursor = &aggregation->cursor;
    *advance = true;
    while (on_record == STEP_ON) {
        struct record record;
        bool scan_done;
        *advance = false;
        if (aggregation->left_rows == 0)
            return MOTE_OK;
        int result = merge_record(cursor->reader->merge, &record);
        if (result)
            return result;
        if (cursor_beyond_end(cursor, &record, &scan_done)) {
            cursor->done = cursor->done || scan_done;
            *advance = true;
            return MOTE_OK;
        }
        result = enter_series(aggregation, &record);
        if (result)
            return result;
        on_record = take(aggregation);
        *advance = on_record == STEP_END;
    }
    aggregation->putting = on_record == STEP_STOP;
    return on_record < 0 ? on_record : MOTE_OK;
}

/* Until a chunk of groups is full, the quantum is used up, or everything was walked. */
static int walk(mote_aggregation *aggregation, const struct view *view, const struct schema *schema)
{
    struct mote_cursor *cursor = &aggregation->cursor;
    bool after = cursor->last.set;
    struct bound position = after ? cursor->last : cursor->lower;
    aggregation->left_rows = QUANTUM_ROWS;
    while (!cursor->done) {
        bool advance;
        int result = cursor_plan_window(cursor, view, schema, &position);
        if (result)
            return result;
        int on_record = cursor_seek_window(cursor, &position, after);
        result = on_record < 0 ? on_record : walk_window(aggregation, on_record, &advance);
        if (result)
            return result;
        cursor_remember(cursor);
        if (!advance)
            return MOTE_OK;
        cursor->done = cursor->done || !cursor_has_next_window(cursor);
        position = cursor->window;
        after = false;
    }
    return MOTE_OK;
}

static int gather(mote_aggregation *aggregation)
{
    struct mote_cursor *cursor = &aggregation->cursor;
    struct mote_db *db = cursor->table->db;
    const struct schema *schema = atomic_load_explicit(&cursor->table->schema, memory_order_acquire);
    struct view view;
    view_acquire(db, &view);
    int result = cursor_check_recycled(cursor);
    if (!result)
        result = walk(aggregation, &view, schema);
    reader_rest(cursor->reader);
    view_release(db, &view);
    aggregation->putting = aggregation->putting || cursor->done;
    if (!result && aggregation->putting)
        result = aggregate_group_close(aggregation);
    return result;
}

int mote_aggregation_next(mote_aggregation *aggregation, struct mote_chunk *chunk)
{
    if (!aggregation || !chunk)
        return error_set(MOTE_EINVAL, "the aggregation or the chunk is NULL");
    struct mote_cursor *cursor = &aggregation->cursor;
    int result = table_check(cursor->table);
    if (result)
        return result;
    result = cursor_check_overlay(cursor);
    if (result)
        return result;
    if (aggregation->failure)
        return error_set(aggregation->failure, "this aggregation failed before: open another one");
    cursor->schema = atomic_load_explicit(&cursor->table->schema, memory_order_acquire);
    chunk_clear(&aggregation->chunk);
    while (!result && aggregation->chunk.row_count == 0) {
        if (aggregation->group_count > 0 && aggregation->putting)
            result = aggregate_groups_put_out(aggregation);
        else if (cursor->done)
            break;
        else
            result = gather(aggregation);
    }
    if (result) {
        aggregation->failure = result;
        error_add_table(cursor->schema->name);
        return result;
    }
    chunk_finish(&aggregation->chunk);
    *chunk = (struct mote_chunk){aggregation->chunk.row_count, aggregation->chunk.column_count, aggregation->chunk.views};
    return MOTE_OK;
}

int aggregate_run(mote_table *table, const struct mote_aggregate_options *given, const mote_snapshot *snapshot, struct overlay *overlay, mote_aggregation **out)
{
    struct mote_aggregate_options options = MOTE_AGGREGATE_OPTIONS_INIT;
    int result = table_check(table);
    if (result)
        return result;
    if (!out || !given || given->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "the options or the result pointer are NULL, or options.size_bytes is not set: begin with MOTE_AGGREGATE_OPTIONS_INIT");
    memcpy(&options, given, given->size_bytes < sizeof options ? given->size_bytes : sizeof options);
    if (overlay && options.snapshot)
        return error_set(MOTE_EINVAL, "a transaction reads its own snapshot: options.snapshot must be NULL");
    options.snapshot = overlay ? snapshot : options.snapshot;
    return aggregate_open(table, &options, overlay, out);
}

int mote_aggregate(mote_table *table, const struct mote_aggregate_options *given, mote_aggregation **out) { return aggregate_run(table, given, NULL, NULL, out); }

int aggregate_count(mote_table *table, const struct mote_scan_options *given, const mote_snapshot *snapshot, struct overlay *overlay, uint64_t *count)
{
    struct mote_scan_options scan;
    struct mote_aggregate_options options = MOTE_AGGREGATE_OPTIONS_INIT;
    const struct mote_aggregate_value rows = {MOTE_AGGREGATE_ROWS, MOTE_AGGREGATE_COUNT};
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    int result = cursor_check(table, given, count, &scan);
    if (result)
        return result;
    options.key_prefix = scan.key_prefix;
    options.key_prefix_count = scan.key_prefix_count;
    options.key_from = scan.key_from;
    options.key_from_count = scan.key_from_count;
    options.key_to = scan.key_to;
    options.key_to_count = scan.key_to_count;
    options.use_time_range = scan.use_time_range;
    options.time_from_ns = scan.time_from_ns;
    options.time_to_ns = scan.time_to_ns;
    options.snapshot = scan.snapshot;
    options.values = &rows;
    options.value_count = 1;
    result = aggregate_run(table, &options, snapshot, overlay, &aggregation);
    if (result)
        return result;
    result = mote_aggregation_next(aggregation, &chunk);
    uint64_t found = !result && chunk.row_count > 0 ? ((const uint64_t *)chunk.columns[0].values)[0] : 0;
    if (!result)
        *count = scan.limit && found > scan.limit ? scan.limit : found;
    mote_aggregation_close(aggregation);
    return result;
}

int mote_count(mote_table *table, const struct mote_scan_options *given, uint64_t *count) { return aggregate_count(table, given, NULL, NULL, count); }
