/* unique.c: no two rows have the same value in the column of a unique index (unique.h).
 *
 * A write holds the table's unique_mutex from its check until its rows are visible, so that each check sees all rows before it. Whether another row has a value is told of what the segments hold by a search of them (the index's sections,
 * or the rows where a segment has none), and of what the memtables hold by a map from the values' hashes to the keys of rows that were written since: it may name keys that have the value no more, since each is looked up, but it lacks none.
 * Rows leave the map when segments hold them (flushed_seq). After an open it is filled from the memtables at the first write.
 * Within a batch the rows count one after the other: a row may take a value that an earlier one, or a deletion before it, gave up. A NULL is equal to nothing. Deletes need no check: they only free values.
 *
 * Locks: unique_mutex comes after insert_mutex and the producers' drain_mutex and before all others; nobody waits for it who is in a generation. A writer that looked before an index was declared and enters a generation afterwards turns back
 * (append.c, try_room).
 * Memory: of the map 32 bytes and the key for each row in the memtables, at most a BUDGET_SHARE-th of the budget: beyond that the memtables are flushed. Of a check some 100 bytes a row and its key. Failures: unique.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/index_type.h"
#include "engine/search_private.h"
#include "engine/unique.h"
#include "index/column_index.h"

#define BUDGET_SHARE 16u

/* The rows of a write: their keys, and their values, which point to what the caller gave. */
struct unique_check {
    struct mote_table *table;
    const struct schema *schema;       /* the newest: it has the indexes' columns */
    const struct schema *image_schema; /* the writer's, which may be older */
    struct memory *memory;
    uint32_t row_count, index_count;
    uint64_t *key_at; /* row_count + 1 */
    uint8_t *keys;
    struct mote_value *values; /* of index 0 all rows, of index 1, ... */
    uint64_t *hashes;          /* the same; of NULLs 0 */
    struct unique_map written; /* by the hash of keys; mark: the number of the newest row, + 1 */
    struct unique_map taken;   /* of the present index: by the hash of values; mark as above */
    struct unique_map stored;  /* of the present index: rows of segments that have one of the values */
    uint8_t *image;            /* of the row that was made last */
    mote_row *row;
};

static uint32_t index_position(const struct schema *schema, const struct manifest_index *definition)
{
    uint32_t positions[ROW_INDEX_COLUMNS_MAX];
    index_columns(schema, definition, positions);
    return positions[0];
}

static const uint8_t *row_key(const struct unique_check *check, uint32_t row, uint32_t *key_bytes)
{
    *key_bytes = (uint32_t)(check->key_at[row + 1] - check->key_at[row]);
    return check->keys + check->key_at[row];
}

/* ---- What memtables hold ---- */

static int remember_memtable(struct unique_index *index, const struct schema *schema, struct memtable *memtable, uint32_t position)
{
    struct memtable_iterator iterator;
    int result = MOTE_OK;
    memtable_iterate(memtable, &iterator);
    for (bool on = memtable_first(&iterator); on && !result; on = memtable_next(&iterator)) {
        struct record record;
        const struct schema *image_schema;
        const uint8_t *image;
        uint32_t image_bytes;
        struct mote_value value;
        memtable_record(&iterator, &record, &image_schema, &image, &image_bytes);
        if (record.kind != RECORD_PUT)
            continue;
        row_value(schema, image_schema, image, position, &value);
        if (value.is_null)
            continue;
        result = unique_map_reserve(&index->recent, 1, record.key_bytes, 0);
        if (!result)
            unique_map_add(&index->recent, unique_hash_value(&value), record.key, record.key_bytes, record.seq);
    }
    return result;
}

/* All of the table's rows in memtables are complete: writers are kept out. */
static int fill(struct mote_table *table, struct unique_index *index, const struct schema *schema)
{
    struct mote_db *db = table->db;
    struct view view;
    int result = MOTE_OK;
    view_acquire(db, &view);
    for (uint32_t i = 0; i < view.generation_count && !result; i++) {
        struct memtable *memtable = memtable_of_table(view.generations[i]->memtables, table->id, false);
        if (memtable)
            result = remember_memtable(index, schema, memtable, index_position(schema, &index->definition));
    }
    view_release(db, &view);
    return result;
}

static uint64_t map_bytes(const struct unique_map *map) { return map->capacity * sizeof *map->entries + map->keys_capacity; }

/* Room in an index's map for the rows of a write. Where there is none the memtables are flushed, and then the map is all but empty. */
static int reserve_recent(struct mote_table *table, struct unique_index *index, const struct schema *schema, uint64_t rows, uint64_t key_bytes)
{
    struct mote_db *db = table->db;
    int result = index->filled ? MOTE_OK : fill(table, index, schema);
    if (!result && map_bytes(&index->recent) <= memory_budget_bytes(db->memory) / BUDGET_SHARE)
        result = unique_map_reserve(&index->recent, rows, key_bytes, atomic_load(&db->flushed_seq));
    else if (!result)
        result = MOTE_EBUDGET;
    if (result == MOTE_EBUDGET) {
        result = flush_up_to(db, atomic_load(&db->visible_seq));
        if (!result) {
            unique_map_free(&index->recent);
            result = unique_map_reserve(&index->recent, rows, key_bytes, 0);
        }
    }
    index->filled = index->filled || !result;
    return result;
}

/* ---- What segments hold ---- */

static int run_search(struct unique_check *check, const struct mote_search_options *options, struct search_list *list)
{
    struct search *search = memory_alloc_zero(check->memory, sizeof *search);
    struct search_report *report = memory_alloc_zero(check->memory, sizeof *report);
    int result = search && report ? MOTE_OK : MOTE_EBUDGET;
    if (!result) {
        search->table = check->table;
        search->schema = check->schema;
        search->memory = check->memory;
        search->options = options;
        search->list = list;
        search->report = report;
        search->segments_only = true;
        result = search_plan(search);
        if (!result)
            result = search_run(search);
        search_plan_destroy(search);
    }
    memory_free(check->memory, report);
    memory_free(check->memory, search);
    return result;
}

static int keep_stored(struct unique_check *check, const struct search_list *list, uint32_t position)
{
    int result = MOTE_OK;
    for (uint64_t i = 0; i < list->count && !result; i++) {
        const struct search_hit *hit = &list->hits[i];
        const uint8_t *key = list->bytes + hit->key_at;
        struct found_row found;
        struct mote_value value;
        result = lookup(check->table, key, hit->key_bytes, check->row, &found);
        if (result || !found.found)
            continue;
        row_value(check->schema, check->row->image_schema, check->row->image, position, &value);
        if (!value.is_null)
            result = unique_map_reserve(&check->stored, 1, hit->key_bytes, 0);
        if (!result && !value.is_null)
            unique_map_add(&check->stored, unique_hash_value(&value), key, hit->key_bytes, 1);
    }
    return result;
}

/* The rows of segments that have one of the write's values. */
static int search_stored(struct unique_check *check, const struct unique_index *index, const struct mote_value *values)
{
    enum { VALUES_MAX = 65536 }; /* of a list */
    struct mote_value *list_of = memory_alloc(check->memory, (check->row_count < VALUES_MAX ? check->row_count : VALUES_MAX) * sizeof *list_of);
    int result = list_of ? MOTE_OK : MOTE_EBUDGET;
    uint32_t position = index_position(check->schema, &index->definition);
    for (uint32_t row = 0; row < check->row_count && !result;) {
        struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
        struct search_list list = {.memory = check->memory};
        struct mote_term term = {.kind = MOTE_TERM_IN, .columns = &position, .column_count = 1, .values = list_of};
        for (; row < check->row_count && term.value_count < VALUES_MAX; row++)
            if (!values[row].is_null)
                list_of[term.value_count++] = values[row];
        options.terms = &term;
        options.term_count = 1;
        options.rank_by = 1; /* the section gives its few rows one by one; marks would cost a bit for each row of the segment */
        if (term.value_count)
            result = run_search(check, &options, &list);
        if (!result)
            result = keep_stored(check, &list, position);
        search_list_free(&list);
    }
    memory_free(check->memory, list_of);
    return result;
}

/* ---- Whether another row has the value ---- */

static int refuse(const struct unique_check *check, const struct unique_index *index, uint32_t row, const struct mote_value *value)
{
    char text[UNIQUE_TEXT_BYTES];
    unique_value_text(value, text);
    error_set(MOTE_EEXISTS, "table %s has another row with the value %s already, and its index %s is unique", check->schema->name, text, index->definition.name);
    error_add_table(check->schema->name);
    if (check->row_count > 1)
        error_add_line(row + 1ull);
    return MOTE_EEXISTS;
}

/* The number of the newest row of the write with this key, + 1, among those before the present one; 0: none. */
static uint64_t newest_written(const struct unique_check *check, const uint8_t *key, uint32_t key_bytes)
{
    uint64_t at = 0;
    const struct unique_entry *entry;
    uint64_t hash = unique_hash(key, key_bytes);
    while ((entry = unique_map_next(&check->written, hash, &at)))
        if (entry->key_bytes == key_bytes + 1 && memcmp(unique_map_key(&check->written, entry), key, key_bytes) == 0)
            return entry->mark;
    return 0;
}

/* Of rows that are visible: an entry whose key has the value no more is forgotten. */
static int find_visible(struct unique_check *check, struct unique_map *map, uint32_t position, uint32_t row, uint64_t hash, const struct mote_value *value, bool *taken)
{
    uint32_t own_bytes;
    const uint8_t *own = row_key(check, row, &own_bytes);
    struct unique_entry *entry;
    uint64_t at = 0;
    while (!*taken && (entry = unique_map_next(map, hash, &at))) {
        const uint8_t *key = unique_map_key(map, entry);
        uint32_t key_bytes = entry->key_bytes - 1;
        struct found_row found;
        struct mote_value present = {.is_null = true};
        if (entry->mark == 0 || key_compare(key, key_bytes, own, own_bytes) == 0 || newest_written(check, key, key_bytes))
            continue;
        int result = lookup(check->table, key, key_bytes, check->row, &found);
        if (result)
            return result;
        if (found.found)
            row_value(check->schema, check->row->image_schema, check->row->image, position, &present);
        *taken = !present.is_null && column_compare_values(&present, value) == 0;
        if (present.is_null || unique_hash_value(&present) != hash)
            entry->mark = 0;
    }
    return MOTE_OK;
}

/* Of rows of the same write, before this one. */
static bool find_written(const struct unique_check *check, const struct mote_value *values, uint32_t row, uint64_t hash)
{
    uint32_t own_bytes;
    const uint8_t *own = row_key(check, row, &own_bytes);
    const struct unique_entry *entry;
    uint64_t at = 0;
    while ((entry = unique_map_next(&check->taken, hash, &at))) {
        const uint8_t *key = unique_map_key(&check->taken, entry);
        if (key_compare(key, entry->key_bytes - 1, own, own_bytes) != 0 && newest_written(check, key, entry->key_bytes - 1) == entry->mark &&
            column_compare_values(&values[entry->mark - 1], &values[row]) == 0)
            return true;
    }
    return false;
}

static int check_index(struct unique_check *check, struct unique_index *index, uint32_t number)
{
    const struct mote_value *values = check->values + (uint64_t)number * check->row_count;
    uint64_t *hashes = check->hashes + (uint64_t)number * check->row_count, key_bytes = check->key_at[check->row_count];
    uint32_t position = index_position(check->schema, &index->definition);
    int result = reserve_recent(check->table, index, check->schema, check->row_count, key_bytes);
    if (!result)
        result = search_stored(check, index, values);
    if (!result)
        result = unique_map_reserve(&check->taken, check->row_count, key_bytes, 0);
    if (!result)
        result = unique_map_reserve(&check->written, check->row_count, key_bytes, 0);
    for (uint32_t row = 0; row < check->row_count && !result; row++) {
        uint32_t row_key_bytes;
        const uint8_t *key = row_key(check, row, &row_key_bytes);
        bool taken = false;
        hashes[row] = values[row].is_null ? 0 : unique_hash_value(&values[row]);
        if (!values[row].is_null) {
            taken = find_written(check, values, row, hashes[row]);
            result = find_visible(check, &check->stored, position, row, hashes[row], &values[row], &taken);
            if (!result)
                result = find_visible(check, &index->recent, position, row, hashes[row], &values[row], &taken);
            if (!result && taken)
                result = refuse(check, index, row, &values[row]);
            unique_map_add(&check->taken, hashes[row], key, row_key_bytes, row + 1ull);
        }
        unique_map_add(&check->written, unique_hash(key, row_key_bytes), key, row_key_bytes, row + 1ull);
    }
    unique_map_free(&check->taken);
    unique_map_free(&check->written);
    unique_map_free(&check->stored);
    return result;
}

/* ---- A write ---- */

static void free_check(struct unique_check *check)
{
    struct memory *memory = check->memory;
    unique_map_free(&check->taken);
    unique_map_free(&check->written);
    unique_map_free(&check->stored);
    mote_row_free(check->row);
    memory_free(memory, check->image);
    memory_free(memory, check->hashes);
    memory_free(memory, check->values);
    memory_free(memory, check->keys);
    memory_free(memory, check->key_at);
    memory_free(memory, check);
}

/* Locked on success, with room for rows whose keys take key_bytes together. *out NULL: nothing is to be checked. */
static int begin(struct mote_table *table, const struct schema *image_schema, uint32_t row_count, uint64_t key_bytes, struct unique_check **out)
{
    struct memory *memory = table->db->memory;
    bool made;
    *out = NULL;
    pthread_mutex_lock(&table->unique_mutex);
    uint32_t count = table->uniques ? table->uniques->count : 0;
    if (count == 0) {
        pthread_mutex_unlock(&table->unique_mutex);
        return MOTE_OK;
    }
    struct unique_check *check = memory_alloc_zero(memory, sizeof *check);
    int result = check ? MOTE_OK : MOTE_EBUDGET;
    if (check) {
        *check = (struct unique_check){.table = table, .schema = atomic_load(&table->schema), .image_schema = image_schema, .memory = memory, .row_count = row_count, .index_count = count, .written.memory = memory, .taken.memory = memory, .stored.memory = memory};
        check->key_at = memory_alloc_zero(memory, (row_count + 1ull) * sizeof *check->key_at);
        check->keys = memory_alloc(memory, key_bytes + 1);
        check->values = memory_alloc_zero(memory, (uint64_t)count * row_count * sizeof *check->values);
        check->hashes = memory_alloc_zero(memory, (uint64_t)count * row_count * sizeof *check->hashes);
        result = check->key_at && check->keys && check->values && check->hashes ? row_make(table->db, &check->row, &made) : MOTE_EBUDGET;
    }
    if (!result) {
        *out = check;
        return MOTE_OK;
    }
    if (check)
        free_check(check);
    pthread_mutex_unlock(&table->unique_mutex);
    return result;
}

static int check_all(struct unique_check *check, int result)
{
    struct mote_table *table = check->table;
    for (uint32_t i = 0; i < check->index_count && !result; i++)
        result = check_index(check, table->uniques->indexes[i], i);
    if (result) {
        free_check(check);
        pthread_mutex_unlock(&table->unique_mutex);
    }
    return result;
}

/* The values of the indexes' columns in an image, and its key. */
static void take_values(struct unique_check *check, uint32_t row, const uint8_t *image)
{
    for (uint32_t i = 0; i < check->index_count; i++)
        row_value(check->schema, check->image_schema, image, index_position(check->schema, &check->table->uniques->indexes[i]->definition), &check->values[(uint64_t)i * check->row_count + row]);
    check->key_at[row + 1] = check->key_at[row] + key_from_row(check->image_schema, image, check->keys + check->key_at[row]);
}

int unique_begin_row(struct mote_table *table, const struct schema *schema, const struct mote_value *values, size_t value_count, int64_t rowid, uint32_t image_bytes, struct unique_check **out)
{
    int result = begin(table, schema, 1, MOTE_KEY_BYTES_MAX, out);
    struct unique_check *check = *out;
    if (result || !check)
        return result;
    check->image = memory_alloc(check->memory, round_up(image_bytes, 8));
    if (check->image) {
        row_encode_values(schema, values, value_count, rowid, check->image, image_bytes);
        take_values(check, 0, check->image);
    }
    result = check_all(check, check->image ? MOTE_OK : MOTE_EBUDGET);
    *out = result ? NULL : check;
    return result;
}

/* Texts and blobs of the image that was made last lie where the caller has them, or in the schema. */
static void point_to_batch(struct unique_check *check, const struct row_batch *prepared, uint32_t row)
{
    for (uint32_t i = 0; i < check->index_count; i++) {
        uint32_t position = index_position(check->schema, &check->table->uniques->indexes[i]->definition);
        struct mote_value *value = &check->values[(uint64_t)i * check->row_count + row];
        const struct mote_column *column = position < prepared->schema->column_count ? prepared->by_position[position] : NULL;
        if (value->is_null || (value->type != MOTE_TYPE_TEXT && value->type != MOTE_TYPE_BLOB))
            continue;
        value->as.bytes.data = column ? (const void *)((const uint8_t *)column->values + column->offsets[row]) : check->schema->columns[position].default_value.as.bytes.data;
    }
}

int unique_begin_batch(struct mote_table *table, const struct row_batch *prepared, uint64_t key_bytes, int64_t rowid, struct unique_check **out)
{
    uint32_t row_count = (uint32_t)prepared->batch->row_count, image_bytes_max = 0;
    int result = begin(table, prepared->schema, row_count, key_bytes + MOTE_KEY_BYTES_MAX, out);
    struct unique_check *check = *out;
    if (result || !check)
        return result;
    for (uint32_t row = 0; row < row_count; row++) {
        uint32_t image_bytes = row_batch_row_bytes(prepared, row);
        image_bytes_max = image_bytes > image_bytes_max ? image_bytes : image_bytes_max;
    }
    check->image = memory_alloc(check->memory, round_up(image_bytes_max, 8));
    for (uint32_t row = 0; row < row_count && check->image; row++) {
        row_batch_encode(prepared, row, rowid, check->image, row_batch_row_bytes(prepared, row));
        rowid += row_batch_takes_rowid(prepared, row);
        take_values(check, row, check->image);
        point_to_batch(check, prepared, row);
    }
    result = check_all(check, check->image ? MOTE_OK : MOTE_EBUDGET);
    *out = result ? NULL : check;
    return result;
}

int unique_begin_writes(struct mote_table *table, uint32_t row_count, uint64_t key_bytes, bool (*next)(void *context, struct unique_write *write), void *context, struct unique_check **out)
{
    int result = begin(table, NULL, row_count, key_bytes + MOTE_KEY_BYTES_MAX, out);
    struct unique_check *check = *out;
    struct unique_write write;
    if (result || !check)
        return result;
    for (uint32_t row = 0; row < row_count && next(context, &write); row++) {
        check->image_schema = write.schema;
        if (write.image) {
            take_values(check, row, write.image);
            continue;
        }
        for (uint32_t i = 0; i < check->index_count; i++)
            check->values[(uint64_t)i * row_count + row] = (struct mote_value){.is_null = 1};
        memcpy(check->keys + check->key_at[row], write.key, write.key_bytes);
        check->key_at[row + 1] = check->key_at[row] + write.key_bytes;
    }
    result = check_all(check, MOTE_OK);
    *out = result ? NULL : check;
    return result;
}

void unique_end(struct unique_check *check, uint64_t first_seq)
{
    if (!check)
        return;
    struct mote_table *table = check->table;
    for (uint32_t i = 0; i < check->index_count && first_seq; i++) {
        for (uint32_t row = 0; row < check->row_count; row++) {
            uint64_t at = (uint64_t)i * check->row_count + row;
            uint32_t key_bytes;
            const uint8_t *key = row_key(check, row, &key_bytes);
            if (!check->values[at].is_null)
                unique_map_add(&table->uniques->indexes[i]->recent, check->hashes[at], key, key_bytes, first_seq + row);
        }
    }
    free_check(check);
    pthread_mutex_unlock(&table->unique_mutex);
}
