/* cursor_pool.c: the iterators that a cursor's segments share, and from where on a segment needs one (merge.h: segments of the pool).
 *
 * How many. An iterator holds a block's decoded columns, so there are as many as a share of the memory budget allows (options_iterators), but no fewer than one key may be in, and all that a reader can have where the key does not hold the
 * time: segments that lie above each other there are interleaved row by row, and parking would read a block for each row. Segments of different times take turns once for each series: there parking costs at most a block for each turn.
 *
 * From where on. In a table with the time in the key, and all key columns before it of a fixed size, the segment's times bound its keys: from a position in series S the segment has nothing before (S, its least time), and where the position
 * is behind its times nothing before the next series. So a scan opens a segment when it comes to its times, and a look at some range the segments of that time alone.
 *
 * Threads: the cursor's. Failures: those of the segments' iterators; MOTE_EBUDGET.
 */
#include "engine/cursor_private.h"

#define AHEAD_ROWS_MIN 256u /* a scan that has fewer rows to go does not read ahead */
#define FEW_ROWS_MAX 4096u  /* of so few it reads no more than the blocks in which they lie */
#define TIME_BYTES 8u       /* of a time in a key */

/* ---- Iterators ---- */

/* Tells the iterator what the scan wants. Going up whole runs are copied, mostly without a look at their keys; going down each row's key is needed. */
static void choose_streams(const struct mote_cursor *cursor, struct sst_iterator *iterator)
{
    uint32_t columns[MOTE_COLUMNS_MAX], count = 0;
    for (uint32_t position = 0; position < cursor->schema->column_count; position++)
        if (cursor->wanted[position / 64] >> position % 64 & 1)
            columns[count++] = position;
    sst_iterator_set_columns(iterator, columns, count, cursor->descending || cursor->wants_keys, cursor->keep);
}

static bool slot_used(const uint64_t *slots_used, uint32_t slot) { return (slots_used[slot / 64] >> slot % 64) & 1; }

static void use_slot(struct mote_cursor *cursor, uint32_t slot, bool used)
{
    uint64_t bit = 1ull << slot % 64;
    if (slot_used(cursor->slots_used, slot) == used)
        return;
    cursor->slots_used[slot / 64] ^= bit;
    cursor->slots_used_count += used ? 1 : UINT32_MAX;
}

/* Each of the window's segments is taken to have its share. */
static void expect_rows(struct mote_cursor *cursor)
{
    for (uint32_t i = 0; i < cursor->reader->iterator_end; i++)
        if (slot_used(cursor->slots_used, i))
            sst_iterator_set_expected(cursor->reader->iterators[i], (uint32_t)(cursor->rows_left / cursor->slots_used_count) + 1);
}

/* How many iterators there may be. The depth is looked for where it matters, once for a list. */
static uint32_t slots_max(struct mote_cursor *cursor)
{
    uint32_t count = options_iterators(&cursor->table->db->options);
    if (!cursor->schema->time_in_key)
        return READER_ITERATORS_MAX;
    if (cursor->slots_used_count < count || !cursor->list)
        return count;
    const struct segment_list *list = cursor->list;
    uint64_t last_id = list->count ? list->segments[list->count - 1]->record.id : 0;
    if (cursor->depth_count != list->count || cursor->depth_id != last_id) {
        cursor->depth = lsm_overlap_depth(list, true);
        cursor->depth_count = list->count;
        cursor->depth_id = last_id;
    }
    uint32_t needed = cursor->depth + 2;
    needed = needed > count ? needed : count;
    return needed < READER_ITERATORS_MAX ? needed : READER_ITERATORS_MAX;
}

/* A free one, if possible one that is on the segment. READER_ITERATORS_MAX: none. */
static uint32_t find_slot(struct mote_cursor *cursor, const struct segment *segment)
{
    struct reader *reader = cursor->reader;
    uint32_t end = slots_max(cursor), free_slot = READER_ITERATORS_MAX;
    for (uint32_t i = 0; i < reader->iterator_end; i++) {
        if (slot_used(cursor->slots_used, i))
            continue;
        if (reader->iterators[i] && reader->iterator_segment[i] == segment->record.id)
            return i;
        free_slot = free_slot == READER_ITERATORS_MAX ? i : free_slot;
    }
    if (cursor->slots_used_count >= end)
        return READER_ITERATORS_MAX;
    return free_slot == READER_ITERATORS_MAX && reader->iterator_end < READER_ITERATORS_MAX ? reader->iterator_end : free_slot;
}

static int open_in_slot(struct mote_cursor *cursor, struct segment *segment, uint32_t slot, struct sst_iterator **iterator)
{
    const struct schema *schema = cursor->schema;
    struct mote_db *db = cursor->table->db;
    struct reader *reader = cursor->reader;
    int result = reader_make_iterator(db, reader, slot);
    if (result)
        return result;
    reader->iterator_segment[slot] = 0;
    result = sst_iterator_open(reader->iterators[slot], segment, schema);
    if (result)
        return result;
    use_slot(cursor, slot, true);
    reader->iterator_segment[slot] = segment->record.id;
    bool ahead = !cursor->descending && !cursor->short_reads && cursor->rows_left > AHEAD_ROWS_MIN;
    if (!reader->ahead && ahead && sst_ahead_create(&db->sst, &reader->ahead))
        reader->ahead = NULL; /* without memory for it a scan is only slower */
    sst_iterator_set_ahead(reader->iterators[slot], ahead ? reader->ahead : NULL);
    if (ahead && cursor->rows_left <= FEW_ROWS_MAX)
        expect_rows(cursor);
    if (cursor->projects)
        choose_streams(cursor, reader->iterators[slot]);
    if (cursor->deferred)
        sst_iterator_set_deferred(reader->iterators[slot], cursor->wants, cursor->wants_context);
    if (cursor->use_time && cursor->prunable)
        sst_iterator_set_time_range(reader->iterators[slot], cursor->time_from_ns, cursor->time_to_ns);
    *iterator = reader->iterators[slot];
    return MOTE_OK;
}

static uint32_t slot_of(const struct reader *reader, const struct sst_iterator *iterator)
{
    uint32_t slot = 0;
    while (slot < reader->iterator_end && reader->iterators[slot] != iterator)
        slot++;
    return slot;
}

int cursor_open_segment(struct mote_cursor *cursor, struct segment *segment, struct sst_iterator **iterator)
{
    uint32_t slot = find_slot(cursor, segment);
    assert(slot < READER_ITERATORS_MAX);
    return open_in_slot(cursor, segment, slot, iterator);
}

int cursor_open_pooled(void *context, struct segment *segment, struct sst_iterator *held, struct sst_iterator **iterator)
{
    struct mote_cursor *cursor = context;
    uint32_t slot = held ? slot_of(cursor->reader, held) : find_slot(cursor, segment);
    return slot == READER_ITERATORS_MAX ? MERGE_POOL_FULL : open_in_slot(cursor, segment, slot, iterator);
}

void cursor_close_pooled(void *context, struct sst_iterator *iterator, bool parked)
{
    struct mote_cursor *cursor = context;
    struct reader *reader = cursor->reader;
    uint32_t slot = slot_of(reader, iterator);
    assert(slot < reader->iterator_end);
    use_slot(cursor, slot, false);
    /* What was parked may lie anywhere; what comes next in its slot needs the windows. */
    if (parked)
        sst_iterator_set_ahead(iterator, NULL);
}

struct sst_iterator *cursor_hold_iterator(struct mote_cursor *cursor, const struct segment *segment, struct sst_iterator *iterator)
{
    uint32_t slot = iterator ? slot_of(cursor->reader, iterator) : READER_ITERATORS_MAX;
    if (!iterator || slot >= cursor->reader->iterator_end || cursor->reader->iterator_segment[slot] != segment->record.id || slot_used(cursor->slots_used, slot))
        return NULL;
    use_slot(cursor, slot, true);
    return iterator;
}

/* ---- Bounds ---- */

bool cursor_series_bounds(const struct mote_cursor *cursor, const struct segment_record *record, struct bound *least, struct bound *greatest)
{
    if (!cursor->series.set || record->time_min > record->time_max)
        return false;
    struct mote_value time = {.type = MOTE_TYPE_TIMESTAMP};
    *least = *greatest = cursor->series;
    time.as.i64 = record->time_min;
    least->length += key_append_value(time.type, &time, least->bytes + least->length);
    time.as.i64 = record->time_max;
    greatest->length += key_append_value(time.type, &time, greatest->bytes + greatest->length);
    return true;
}

static void encode_time(int64_t time_ns, uint8_t bytes[TIME_BYTES])
{
    struct mote_value time = {.type = MOTE_TYPE_TIMESTAMP, .as.i64 = time_ns};
    uint32_t length = key_append_value(time.type, &time, bytes);
    assert(length == TIME_BYTES);
    (void)length;
}

/* The bytes of a key before its time, where these columns are of a fixed size. */
static bool fixed_series(const struct schema *schema, uint32_t *series_bytes)
{
    *series_bytes = 0;
    for (uint32_t k = 0; (int32_t)schema->key_columns[k] != schema->time_column; k++) {
        const struct schema_column *column = &schema->columns[schema->key_columns[k]];
        if (type_is_var(column->type))
            return false;
        *series_bytes += column->value_bytes;
    }
    return true;
}

static void append_bytes(struct bound *bound, const uint8_t *bytes, uint32_t length)
{
    memcpy(bound->bytes + bound->length, bytes, length);
    bound->length += length;
}

/* A number of so many bytes, the first the greatest, by one more or less. false: it has no neighbour. */
static bool next_number(uint8_t *bytes, uint32_t length, bool down)
{
    while (length-- > 0) {
        bool carries = bytes[length] == (down ? 0 : 0xff);
        bytes[length] = (uint8_t)(bytes[length] + (down ? 0xff : 1));
        if (!carries)
            return true;
    }
    return false;
}

/* From `bound`, which no key of the segment is before, on to the first time of the segment in that series or the next. */
static bool raise_bound(struct bound *bound, uint32_t series_bytes, const uint8_t *least, const uint8_t *greatest)
{
    uint32_t left = bound->length - series_bytes;
    const uint8_t *time = bound->bytes + series_bytes;
    bool before = key_compare(time, left < TIME_BYTES ? left : TIME_BYTES, least, TIME_BYTES) < 0;
    bool behind = memcmp(time, greatest, left < TIME_BYTES ? left : TIME_BYTES) > 0;
    if (!before && !behind)
        return true;
    if (behind && !next_number(bound->bytes, series_bytes, false))
        return false;
    bound->length = series_bytes;
    append_bytes(bound, least, TIME_BYTES);
    return true;
}

/* From `bound`, which all keys of the segment are before, back to the last time of the segment in that series or the one before. */
static bool lower_bound(struct bound *bound, uint32_t series_bytes, const uint8_t *least, const uint8_t *greatest)
{
    struct bound start = *bound;
    uint32_t left = bound->length - series_bytes;
    const uint8_t *time = bound->bytes + series_bytes;
    bool before = key_compare(time, left, least, TIME_BYTES) <= 0;
    bool behind = memcmp(time, greatest, left < TIME_BYTES ? left : TIME_BYTES) > 0;
    if (!before && !behind)
        return true;
    if (before && !next_number(start.bytes, series_bytes, true))
        return false;
    start.length = series_bytes;
    append_bytes(&start, greatest, TIME_BYTES);
    struct bound end;
    bound_after_prefix(&end, start.bytes, start.length);
    if (end.set)
        *bound = end;
    return true;
}

static void start_bound(const struct mote_cursor *cursor, const struct segment_record *record, const struct bound *position, struct bound *bound)
{
    struct bound least, greatest, end;
    bool in_series = cursor_series_bounds(cursor, record, &least, &greatest);
    if (cursor->descending) {
        cursor_segment_end(record, bound);
        if (position->set && (!bound->set || bound_compare(position, bound->bytes, bound->length) < 0))
            *bound = *position;
        if (!in_series)
            return;
        bound_after_prefix(&end, greatest.bytes, greatest.length);
        if (end.set && (!bound->set || bound_compare(&end, bound->bytes, bound->length) < 0))
            *bound = end;
        return;
    }
    bound_set(bound, record->min_key.bytes, record->min_key.length);
    if (position->set && bound_compare(position, bound->bytes, bound->length) > 0)
        *bound = *position;
    if (in_series && bound_compare(&least, bound->bytes, bound->length) > 0)
        bound_set(bound, least.bytes, least.length);
}

bool cursor_segment_bound(const struct mote_cursor *cursor, const struct segment_record *record, const struct bound *position, struct bound *bound)
{
    uint8_t least[TIME_BYTES], greatest[TIME_BYTES];
    uint32_t series_bytes;
    start_bound(cursor, record, position, bound);
    if (!bound->set || !cursor->schema->time_in_key || record->time_min > record->time_max || !fixed_series(cursor->schema, &series_bytes) || bound->length < series_bytes)
        return true;
    encode_time(record->time_min, least);
    encode_time(record->time_max, greatest);
    return cursor->descending ? lower_bound(bound, series_bytes, least, greatest) : raise_bound(bound, series_bytes, least, greatest);
}

bool cursor_bound_outside(const struct mote_cursor *cursor, const struct bound *bound)
{
    const struct bound *end = cursor->descending ? &cursor->lower : &cursor->upper;
    if (!end->set || !bound->set)
        return false;
    int order = bound_compare(bound, end->bytes, end->length);
    return cursor->descending ? order <= 0 : order >= 0;
}
