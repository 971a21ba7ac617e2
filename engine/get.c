/* get.c: the point read. Memtable generations are ordered by seq, so the first that has the key has its newest version; segments are not, so each that may hold the key is asked, but those that are older than what was found already.
 *
 * A row handle holds a copy of the row image; it needs neither view nor reader. */
#include <string.h>

#include "engine/blob.h"
#include "engine/get_private.h"
#include "engine/retention.h"

#define ROW_IMAGE_BYTES_MAX (MOTE_ROW_BYTES_MAX + 32u * 1024u) /* values, null bits and offsets */

static int row_reserve(struct mote_row *row, uint32_t image_bytes)
{
    if (row->capacity_bytes >= image_bytes)
        return MOTE_OK;
    uint8_t *grown = memory_alloc(row->db->memory, round_up(image_bytes, 256));
    if (!grown)
        return MOTE_EBUDGET;
    memory_free(row->db->memory, row->image);
    row->image = grown;
    row->capacity_bytes = (uint32_t)round_up(image_bytes, 256);
    return MOTE_OK;
}

/* The row's image is complete; the view that it came from is still held. */
static int row_keep(struct mote_row *row)
{
    if (row->image_schema->has_large)
        return row_blobs_hold(row->db, row->image_schema, row->image_schema, row->image, &row->blobs);
    row_blobs_free(row->db, row->blobs);
    row->blobs = NULL;
    return MOTE_OK;
}

/* ---- Memtables ---- */

int get_from_memtables(const struct view *view, uint64_t table_id, const struct get_key *key, struct mote_row *row, struct found_row *found, bool *decided)
{
    for (uint32_t i = 0; i < view->generation_count; i++) {
        struct memtable *memtable = memtable_of_table(view->generations[i]->memtables, table_id, false);
        struct memtable_iterator iterator;
        struct record record;
        const struct schema *image_schema;
        const uint8_t *image;
        uint32_t image_bytes;
        if (!memtable)
            continue;
        memtable_iterate(memtable, &iterator);
        if (!memtable_seek(&iterator, key->key, key->key_bytes, key->snapshot))
            continue;
        memtable_record(&iterator, &record, &image_schema, &image, &image_bytes);
        if (key_compare(record.key, record.key_bytes, key->key, key->key_bytes) != 0)
            continue;
        *decided = true;
        *found = (struct found_row){record.kind == RECORD_PUT, record.seq};
        if (!row || record.kind != RECORD_PUT)
            return MOTE_OK;
        int result = row_reserve(row, image_bytes);
        if (result)
            return result;
        memcpy(row->image, image, image_bytes);
        row->image_bytes = image_bytes;
        row->image_schema = image_schema;
        row->seq = record.seq;
        return row_keep(row);
    }
    return MOTE_OK;
}

/* ---- Segments ---- */

static int copy_from_segment(struct sst_iterator *iterator, const struct schema *schema, struct mote_row *row, uint64_t seq)
{
    int result = row_reserve(row, schema->fixed_bytes + 4096);
    if (!result)
        result = sst_get_image(iterator, row->image, row->capacity_bytes, &row->image_bytes);
    if (result == MOTE_ETOOBIG) {
        result = row_reserve(row, ROW_IMAGE_BYTES_MAX);
        if (!result)
            result = sst_get_image(iterator, row->image, row->capacity_bytes, &row->image_bytes);
    }
    row->image_schema = schema;
    row->seq = seq;
    return result ? result : row_keep(row);
}

int get_iterator(struct mote_db *db, struct reader *reader, struct segment *segment, const struct schema *schema, struct sst_iterator **iterator)
{
    uint32_t slot = (uint32_t)(segment->record.id % READER_ITERATORS_KEPT);
    int result = reader_make_iterator(db, reader, slot);
    *iterator = reader->iterators[slot];
    return result ? result : sst_iterator_open(*iterator, segment, schema);
}

int get_from_segment(struct sst_iterator *iterator, const struct schema *schema, const struct get_key *key, struct mote_row *row, struct found_row *found)
{
    struct record record;
    int result = sst_get(iterator, key->key, key->key_bytes, key->snapshot, &record);
    if (result <= 0)
        return result;
    if (record.seq <= found->seq)
        return MOTE_OK;
    *found = (struct found_row){record.kind == RECORD_PUT, record.seq};
    return row && found->found ? copy_from_segment(iterator, schema, row, record.seq) : MOTE_OK;
}

bool get_may_be_in(const struct segment_record *record, const struct schema *schema, const struct get_key *key, int64_t time_ns, const struct found_row *found)
{
    if (schema->time_in_key && !segment_may_hold_times(record, time_ns, time_ns))
        return false;
    return record->seq_max > found->seq && segment_may_hold(record, key->key, key->key_bytes, key->key, key->key_bytes);
}

int get_look_in_segments(struct mote_db *db, struct reader *reader, const struct segment_list *list, const struct schema *schema, const struct get_key *key, struct mote_row *row, struct found_row *found)
{
    int64_t time_ns = 0;
    int result = schema->time_in_key ? key_time(schema, key->key, key->key_bytes, &time_ns) : MOTE_OK;
    for (uint32_t i = list->count; i > 0 && !result; i--) {
        struct segment *segment = list->segments[i - 1];
        struct sst_iterator *iterator;
        if (!get_may_be_in(&segment->record, schema, key, time_ns, found))
            continue;
        result = get_iterator(db, reader, segment, schema, &iterator);
        if (!result)
            result = get_from_segment(iterator, schema, key, row, found);
    }
    return result;
}

int lookup_at(struct mote_table *table, const uint8_t *key, uint32_t key_bytes, uint64_t seq, const struct time_filter *filter, struct mote_row *row, struct found_row *found)
{
    struct mote_db *db = table->db;
    struct view view;
    struct time_filter present;
    bool decided = false;
    *found = (struct found_row){false, 0};
    if (!filter) {
        retention_filter(table, &present);
        filter = &present;
    }
    if (retention_hides_key(filter, atomic_load_explicit(&table->schema, memory_order_acquire), key, key_bytes))
        return MOTE_OK;
    view_acquire(db, &view);
    /* Loaded after the view: every version that the view can miss is newer, and jobs kept the newest at or below it. */
    uint64_t snapshot = seq != SEQ_PRESENT ? seq : atomic_load(&db->visible_seq);
    const struct schema *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    const struct get_key wanted = {key, key_bytes, snapshot};
    const struct segment_list *list = version_find(view.version, table->id);
    int result = get_from_memtables(&view, table->id, &wanted, row, found, &decided);
    if (!result && !decided && list) {
        struct reader *reader = reader_take(db, false);
        if (reader) {
            result = get_look_in_segments(db, reader, list, schema, &wanted, row, found);
            reader_rest(reader);
            reader_give(db, reader, false);
        } else {
            result = MOTE_EBUDGET;
        }
    }
    view_release(db, &view);
    if (!result && row && found->found && retention_hides_image(filter, schema, row->image_schema, row->image))
        *found = (struct found_row){false, 0};
    if (row)
        row->schema = schema;
    if (result)
        error_add_table(schema->name);
    return result;
}

int lookup(struct mote_table *table, const uint8_t *key, uint32_t key_bytes, struct mote_row *row, struct found_row *found) { return lookup_at(table, key, key_bytes, SEQ_PRESENT, NULL, row, found); }

/* ---- Public ---- */

int row_make(struct mote_db *db, mote_row **row, bool *made)
{
    *made = *row == NULL;
    if (!*made)
        return MOTE_OK;
    *row = memory_alloc_zero(db->memory, sizeof **row);
    if (!*row)
        return MOTE_EBUDGET;
    (*row)->db = db;
    return MOTE_OK;
}

int mote_get_at(mote_table *table, const mote_snapshot *snapshot, const struct mote_value *key_values, size_t key_count, mote_row **row)
{
    int result = table_check(table);
    const struct schema *schema;
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes;
    if (!result && !row)
        result = error_set(MOTE_EINVAL, "the result pointer is NULL");
    if (!result && snapshot && snapshot->db != table->db)
        result = error_set(MOTE_EINVAL, "the snapshot is of another database than the table");
    if (!result)
        result = table_key(table, key_values, key_count, &schema, key, &key_bytes);
    if (result)
        return result;
    struct found_row found;
    bool made;
    result = row_make(table->db, row, &made);
    if (result)
        return result;
    result = lookup_at(table, key, key_bytes, snapshot ? snapshot->seq : SEQ_PRESENT, NULL, *row, &found);
    if (!result && !found.found)
        result = error_set(MOTE_ENOTFOUND, "table %s has no row with this key", schema->name);
    if (result && made) {
        mote_row_free(*row);
        *row = NULL;
    }
    return result;
}

int mote_get(mote_table *table, const struct mote_value *key_values, size_t key_count, mote_row **row) { return mote_get_at(table, NULL, key_values, key_count, row); }

int mote_row_value(const mote_row *row, uint32_t position, struct mote_value *value)
{
    if (!row || !value)
        return error_set(MOTE_EINVAL, "the row or the value is NULL");
    int result = handle_check(row->db);
    if (result)
        return result;
    if (!row->schema || !row->image)
        return error_set(MOTE_EINVAL, "the row holds nothing");
    if (position >= row->schema->column_count)
        return error_set(MOTE_ENOCOLUMN, "table %s has %u columns, no column %u", row->schema->name, row->schema->column_count, position);
    row_value(row->schema, row->image_schema, row->image, position, value);
    if (!value->is_null && (row->schema->columns[position].flags & MOTE_COLUMN_LARGE))
        return row_blobs_value(row->blobs, position, value);
    return MOTE_OK;
}

uint64_t mote_row_seq(const mote_row *row) { return row ? row->seq : 0; }

void mote_row_free(mote_row *row)
{
    if (!row || handle_check(row->db))
        return;
    struct memory *memory = row->db->memory;
    row_blobs_free(row->db, row->blobs);
    memory_free(memory, row->image);
    memory_free(memory, row);
}
