/* cursor.c: the scan. A cursor keeps a snapshot seq (registered, so that flushes and compactions keep the versions that it needs) and the last key that it yielded; each mote_cursor_next takes a view for the time of the call, goes on after
 * that key, fills a chunk, and lets the view go. So a slow reader holds no memtable and no segment.
 * Its windows are in cursor_window.c.
 *
 * Runs. Rows of one block that no other source interrupts are copied column by column; where the block lies whole in the scan what its partition says of it is enough, and its keys and seqs are not read. A chunk that ends in such a block leaves
 * a *place* instead of a last key.
 *
 * Time ranges: every row is filtered by its own time. Whole blocks are skipped (zone maps, timestamp index) only where no older version can come to light by it: the time column is part of the key, the table is append-only, or its
 * key is the hidden rowid, which is never given twice.
 */
#include "engine/cursor_private.h"

#define CHUNK_ROWS_DEFAULT 4096u

/* ---- Filling a chunk ---- */

/* How many of so many rows the chunk and the limit have room for. */
static uint32_t cut_to_room(const struct mote_cursor *cursor, uint32_t count)
{
    uint32_t room = cursor->chunk.rows_max - cursor->chunk.row_count;
    count = count < room ? count : room;
    if (cursor->chunk.has_large && count > 1)
        count = 1; /* after each the chunk may be full */
    return count < cursor->rows_left ? count : (uint32_t)cursor->rows_left;
}

/* Whether all rows of the iterator's block have times that the scan wants, so that none needs a look. */
static bool block_is_inside(const struct mote_cursor *cursor, struct sst_iterator *iterator)
{
    int64_t min_ns, max_ns;
    return !cursor->use_time || (sst_block_times(iterator, &min_ns, &max_ns) && cursor_times_inside(cursor, min_ns, max_ns));
}

/* Copies a run of rows of one segment at once, where the merge says that nothing comes in between. *copied is 0 where that is not so. *cut: the run would go on to its block's end, the chunk or the limit ends it. */
static int take_run(struct mote_cursor *cursor, uint32_t *copied, bool *cut)
{
    struct merge_place place;
    *copied = 0;
    *cut = false;
    if (cursor->descending)
        return MOTE_OK;
    int result = merge_place(cursor->reader->merge, &place);
    if (result || !place.iterator || place.run_length < 2 || !block_is_inside(cursor, place.iterator))
        return result;
    const struct bound *end = &cursor->upper;
    if (!end->set || (cursor->window.set && bound_compare(&cursor->window, end->bytes, end->length) < 0))
        end = &cursor->window;
    uint32_t run = sst_run_length(place.iterator, cursor->snapshot, end->set ? end->bytes : NULL, end->set ? end->length : 0);
    run = run < place.run_length ? run : place.run_length;
    uint32_t count = cut_to_room(cursor, run);
    if (count < 2)
        return MOTE_OK;
    result = chunk_add_run(&cursor->chunk, place.iterator, count);
    if (result)
        return result;
    *copied = count;
    *cut = count < run && run == sst_block_rows_left(place.iterator);
    if (*cut)
        cursor->place = (struct place){true, sst_segment_id(place.iterator), sst_block_number(place.iterator), sst_block_row(place.iterator) + count, count};
    return MOTE_OK;
}

static int remember_last(struct mote_cursor *cursor)
{
    struct record record;
    int result = merge_record(cursor->reader->merge, &record);
    if (!result)
        bound_set(&cursor->last, record.key, record.key_bytes);
    return result;
}

/* Takes the present row (or run) into the chunk and moves on. Returns 1 on a record, 0 at the end of the sources, negative MOTE_E. */
static int take_rows(struct mote_cursor *cursor)
{
    struct merge *merge = cursor->reader->merge;
    uint32_t copied;
    bool inside, cut;
    int result = take_run(cursor, &copied, &cut);
    if (result)
        return result;
    cursor->rows_left -= copied;
    if (cut)
        return 1; /* The chunk is full, or the scan at its limit: the merge is not asked any more. */
    if (copied > 0) {
        result = merge_pass(merge, copied);
    } else {
        result = cursor_in_time_range(cursor, &inside);
        if (!result && inside) {
            result = chunk_add_row(&cursor->chunk, merge);
            cursor->rows_left--;
        }
    }
    if (!result)
        result = remember_last(cursor);
    return result ? result : merge_next(merge);
}

/* Passes over a row that an earlier chunk held. As take_rows. */
static int pass_row(struct mote_cursor *cursor)
{
    bool inside;
    int result = cursor_in_time_range(cursor, &inside);
    if (!result)
        result = remember_last(cursor);
    if (result)
        return result;
    cursor->place.taken -= inside;
    return merge_next(cursor->reader->merge);
}

/* Goes on within the block where the last chunk ended, if its segment is still there. */
static int resume_block(struct mote_cursor *cursor, const struct view *view, const struct schema *schema)
{
    const struct segment_list *list = version_find(view->version, cursor->table->id);
    struct place *place = &cursor->place;
    struct segment *segment = NULL;
    struct sst_iterator *iterator;
    struct record record;
    for (uint32_t i = 0; list && i < list->count && !segment; i++)
        segment = list->segments[i]->record.id == place->segment_id ? list->segments[i] : NULL;
    if (!segment) {
        place->inside = false;
        return MOTE_OK;
    }
    cursor_begin_sources(cursor, schema, list);
    int result = cursor_open_segment(cursor, segment, &iterator);
    if (!result)
        result = sst_stand(iterator, place->block, place->row);
    if (result)
        return result;
    uint32_t left = sst_block_rows_left(iterator), count = cut_to_room(cursor, left);
    result = chunk_add_run(&cursor->chunk, iterator, count);
    if (result)
        return result;
    cursor->rows_left -= count;
    place->row += count;
    place->taken += count;
    if (count < left || cursor->rows_left == 0)
        return MOTE_OK;
    sst_skip(iterator, count - 1);
    result = sst_record(iterator, &record);
    if (result)
        return result;
    bound_set(&cursor->last, record.key, record.key_bytes);
    *place = (struct place){0};
    return MOTE_OK;
}

/* Walks one window. *advance: the window is through, the next begins at cursor->window. */
static int fill_window(struct mote_cursor *cursor, int on_record, bool *advance)
{
    *advance = true;
    while (on_record > 0) {
        struct record record;
        bool scan_done;
        if (chunk_full(&cursor->chunk) || cursor->rows_left == 0) {
            *advance = false;
            return MOTE_OK;
        }
        int result = merge_record(cursor->reader->merge, &record);
        if (result)
            return result;
        if (cursor_beyond_end(cursor, &record, &scan_done)) {
            cursor->done = cursor->done || scan_done;
            return MOTE_OK;
        }
        on_record = cursor->place.taken > 0 ? pass_row(cursor) : take_rows(cursor);
    }
    return on_record;
}

static int fill_chunk(struct mote_cursor *cursor, const struct view *view, const struct schema *schema)
{
    if (cursor->place.inside && !cursor->done) {
        int result = resume_block(cursor, view, schema);
        cursor->done = cursor->rows_left == 0;
        if (result || cursor->place.inside || chunk_full(&cursor->chunk))
            return result;
    }
    bool after_last = cursor->last.set;
    struct bound position = after_last ? cursor->last : cursor->descending ? cursor->upper : cursor->lower;
    while (!cursor->done) {
        bool advance;
        int result = cursor_plan_window(cursor, view, schema, &position);
        if (result)
            return result;
        int on_record = cursor_seek_window(cursor, &position, after_last);
        if (on_record < 0)
            return on_record;
        result = fill_window(cursor, on_record, &advance);
        if (result)
            return result;
        cursor_remember(cursor);
        cursor->done = cursor->done || cursor->rows_left == 0;
        if (!advance)
            return MOTE_OK;
        cursor->done = cursor->done || !cursor_has_next_window(cursor);
        position = cursor->window;
        after_last = false;
    }
    return MOTE_OK;
}

int mote_cursor_next(mote_cursor *cursor, struct mote_chunk *chunk)
{
    if (!cursor || !chunk)
        return error_set(MOTE_EINVAL, "the cursor or the chunk is NULL");
    int result = cursor->table ? table_check(cursor->table) : handle_check(NULL);
    if (result)
        return result;
    struct mote_db *db = cursor->table->db;
    struct view view;
    result = cursor_check_overlay(cursor);
    if (result)
        return result;
    const struct schema *schema = atomic_load_explicit(&cursor->table->schema, memory_order_acquire);
    chunk_clear(&cursor->chunk);
    view_acquire(db, &view);
    result = cursor_check_recycled(cursor);
    if (!result)
        result = cursor->latest ? latest_fill_chunk(cursor, &view, schema) : fill_chunk(cursor, &view, schema);
    reader_rest(cursor->reader);
    view_release(db, &view);
    if (result) {
        error_add_table(schema->name);
        return result;
    }
    chunk_finish(&cursor->chunk);
    *chunk = (struct mote_chunk){cursor->chunk.row_count, cursor->chunk.column_count, cursor->chunk.views};
    return MOTE_OK;
}

/* ---- Opening ---- */

static int choose_columns(struct mote_cursor *cursor, const struct schema *schema, const struct mote_scan_options *options)
{
    uint32_t positions[MOTE_COLUMNS_MAX];
    uint32_t count = 0;
    if (options->columns) {
        for (size_t i = 0; i < options->column_count; i++) {
            if (options->columns[i] >= schema->column_count || count == MOTE_COLUMNS_MAX)
                return error_set(MOTE_ENOCOLUMN, "table %s has %u columns, no column %u", schema->name, schema->column_count, options->columns[i]);
            positions[count++] = options->columns[i];
        }
    } else {
        for (uint32_t i = 0; i < schema->column_count && count < MOTE_COLUMNS_MAX; i++) {
            if (!schema->columns[i].hidden)
                positions[count++] = i;
        }
    }
    uint32_t rows = options->chunk_rows ? options->chunk_rows : CHUNK_ROWS_DEFAULT;
    if (rows > 1u << 20)
        return error_set(MOTE_EINVAL, "chunk_rows is %u, above 1048576", rows);
    if (options->limit && options->limit < rows)
        rows = (uint32_t)options->limit; /* what a small chunk touches stays near the processor */
    for (uint32_t i = 0; i < count; i++)
        cursor_want(cursor, positions[i]);
    int result = chunk_create(cursor->table->db->memory, schema, positions, count, rows, &cursor->chunk);
    cursor->chunk.db = cursor->table->db;
    return result;
}

int cursor_open_checked(mote_table *table, const struct mote_scan_options *options, bool latest, struct overlay *overlay, mote_cursor **out)
{
    struct mote_db *db = table->db;
    const struct schema *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    if (latest && !schema->time_in_key)
        return error_set(MOTE_EINVAL, "the key of table %s holds no time column (timestamp or int64): it has no latest rows", schema->name);
    struct mote_cursor *cursor = memory_alloc_zero(db->memory, sizeof *cursor);
    if (!cursor)
        return MOTE_EBUDGET;
    cursor->latest = latest;
    cursor->projects = !latest;
    int result = cursor_open(table, options, cursor);
    if (!result) {
        result = choose_columns(cursor, schema, options);
        if (result)
            cursor_shut(cursor);
    }
    if (result) {
        memory_free(db->memory, cursor);
        return result;
    }
    cursor_add_overlay(cursor, overlay);
    *out = cursor;
    return MOTE_OK;
}

static int open_scan(mote_table *table, const struct mote_scan_options *given, bool latest, mote_cursor **out)
{
    struct mote_scan_options options;
    int result = cursor_check(table, given, out, &options);
    return result ? result : cursor_open_checked(table, &options, latest, NULL, out);
}

int mote_scan(mote_table *table, const struct mote_scan_options *options, mote_cursor **cursor) { return open_scan(table, options, false, cursor); }

int mote_latest(mote_table *table, const struct mote_scan_options *options, mote_cursor **cursor) { return open_scan(table, options, true, cursor); }

void mote_cursor_close(mote_cursor *cursor)
{
    if (!cursor || !cursor->table || handle_check(cursor->table->db))
        return;
    struct mote_db *db = cursor->table->db;
    cursor_shut(cursor);
    chunk_destroy(&cursor->chunk);
    memory_free(db->memory, cursor);
}
