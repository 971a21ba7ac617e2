/* append.c: a row's way in, or a batch's of one table: check, key, room (intake.c), encode, publish, insert. See engine_private.h for the path and mote.h for the contract.
 */
#include <string.h>

#include "blockdev/base/codec.h"
#include "engine/append_private.h"
#include "engine/blob.h"
#include "engine/key_set.h"
#include "engine/log_columns.h"
#include "engine/retention.h"
#include "engine/unique.h"

static struct schema *writer_schema(struct mote_table *table) { return atomic_load_explicit(&table->schema, memory_order_acquire); }

/* ---- One row ---- */

static uint32_t hidden_columns(const struct schema *schema) { return schema->columns[0].hidden ? 1u : 0u; }

static int64_t take_rowids(struct mote_table *table, const struct schema *schema, int64_t count)
{
    return schema->auto_increment ? atomic_fetch_add_explicit(&table->next_rowid, count, memory_order_relaxed) : 0;
}

static void insert_row(struct mote_table *table, const struct schema *schema, struct intake *intake, uint64_t seq, const uint8_t *image, uint32_t image_bytes)
{
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes = key_from_row(schema, image, key);
    if (schema->auto_increment)
        table_raise_rowid(table, (int64_t)(load_be64(key) ^ (1ull << 63)));
    if (schema->has_large)
        blobs_note_image(table->db, schema, image, intake->generation);
    memtable_insert(intake->memtable, &intake->room, schema, key, key_bytes, seq, RECORD_PUT, image, image_bytes);
}

static int append_row(mote_table *table, const struct mote_value *values, size_t value_count, const struct mote_write_options *options, uint64_t *ticket)
{
    struct mote_db *db = table->db;
    const struct schema *schema = writer_schema(table);
    struct write_level level;
    uint32_t image_bytes;
    int result = write_level_resolve(db, options, &level);
    if (!result)
        result = row_check_values(schema, values, value_count, &image_bytes);
    if (result)
        return result;
    uint32_t padded_bytes = (uint32_t)round_up(image_bytes, 8);
    uint32_t item_bytes = schema->has_var ? LOG_ITEM_HEADER_BYTES : 0;
    struct intake intake = {
        .memtable_bytes = memtable_room_bytes(1, padded_bytes + (schema->key_bytes_fixed ? schema->key_bytes_fixed : MOTE_KEY_BYTES_MAX)),
        .log_bytes = LOG_OP_HEADER_BYTES + item_bytes + padded_bytes,
        .count = 1,
    };
    if (intake.log_bytes > wal_payload_bytes_max(db->wal))
        return error_set(MOTE_ETOOBIG, "a row of table %s takes %u bytes, more than one commit holds (%u)", schema->name, image_bytes, wal_payload_bytes_max(db->wal));
    int64_t rowid = take_rowids(table, schema, row_values_take_rowid(schema, values, value_count));
    struct unique_check *check;
    do {
        check = NULL;
        result = unique_wanted(table) ? unique_begin_row(table, schema, values, value_count, rowid, image_bytes, &check) : MOTE_OK;
        intake.checked = check != NULL;
        if (!result)
            result = intake_take_room(table, &intake);
        if (result)
            unique_end(check, 0);
    } while (result == UNIQUE_AGAIN);
    if (result)
        return result;
    uint8_t *at = intake.slot.payload;
    struct log_op op = {LOG_OP_PUT, schema->has_var ? 0u : LOG_OP_FIXED, schema->version, 1, intake.log_bytes, schema->has_var ? 0u : image_bytes, table->id};
    log_op_encode(at, &op);
    at += LOG_OP_HEADER_BYTES;
    if (schema->has_var) {
        store_u32(at, image_bytes);
        store_u32(at + 4, 0);
        at += LOG_ITEM_HEADER_BYTES;
    }
    row_encode_values(schema, values, value_count, rowid, at, image_bytes);
    memset(at + image_bytes, 0, padded_bytes - image_bytes);
    intake_publish(db, &intake, &level);
    insert_row(table, schema, &intake, intake.slot.first_seq, at, image_bytes);
    retention_note_row(table, schema, at);
    intake_make_visible(table, &intake);
    unique_end(check, intake.slot.first_seq);
    atomic_fetch_add_explicit(&db->counters.rows_appended, 1, memory_order_relaxed);
    return intake_finish(table->db, &intake, &level, image_bytes, ticket);
}

/* The row's large values are stored, then it is passed on. */
static int with_large_row(mote_table *table, const struct mote_value *values, size_t value_count, const struct mote_write_options *options, uint64_t *ticket, int (*pass)(mote_table *table, const struct mote_value *values, size_t value_count, const struct mote_write_options *options, uint64_t *ticket))
{
    int result = table_check(table);
    if (!result)
        result = db_check_writable(table->db);
    if (!result && !values && value_count)
        result = error_set(MOTE_EINVAL, "values is NULL");
    if (result || !table_has_large(table))
        return result ? result : pass(table, values, value_count, options, ticket);
    struct blob_stored stored;
    result = blob_store_values(table, values, value_count, &stored);
    if (!result)
        result = pass(table, stored.values ? stored.values : values, value_count, options, ticket);
    blob_stored_free(&stored);
    return result;
}

int mote_append(mote_table *table, const struct mote_value *values, size_t value_count, const struct mote_write_options *options, uint64_t *ticket) { return with_large_row(table, values, value_count, options, ticket, append_row); }

/* ---- A batch ---- */

static void encode_batch(struct mote_table *table, const struct row_batch *prepared, struct intake *intake, int64_t rowid)
{
    const struct schema *schema = prepared->schema;
    size_t row_count = prepared->batch->row_count;
    struct log_op op = {LOG_OP_PUT, schema->has_var ? 0u : LOG_OP_FIXED, schema->version, (uint32_t)row_count, intake->log_bytes, schema->has_var ? 0u : schema->fixed_bytes, table->id};
    uint8_t *at = intake->slot.payload;
    log_op_encode(at, &op);
    at += LOG_OP_HEADER_BYTES;
    if (!schema->has_var) {
        row_batch_encode_rows(prepared, 0, row_count, rowid, at);
        return;
    }
    for (size_t row = 0; row < row_count; row++) {
        uint32_t image_bytes = row_batch_row_bytes(prepared, row), padded_bytes = (uint32_t)round_up(image_bytes, 8);
        store_u32(at, image_bytes);
        store_u32(at + 4, 0);
        at += LOG_ITEM_HEADER_BYTES;
        row_batch_encode(prepared, row, rowid, at, image_bytes);
        rowid += row_batch_takes_rowid(prepared, row);
        memset(at + image_bytes, 0, padded_bytes - image_bytes);
        at += padded_bytes;
    }
    assert(at == intake->slot.payload + intake->log_bytes);
}

/* Inserts the encoded rows into the memtable one by one, from the stage: rows of several sizes. */
static void insert_rows(struct mote_table *table, const struct schema *schema, struct intake *intake)
{
    const uint8_t *at = intake->slot.payload + LOG_OP_HEADER_BYTES;
    for (size_t row = 0; row < intake->count; row++) {
        uint32_t image_bytes = load_u32(at);
        at += LOG_ITEM_HEADER_BYTES;
        insert_row(table, schema, intake, intake->slot.first_seq + row, at, image_bytes);
        at += round_up(image_bytes, 8);
    }
}

/* All rows at once; in_columns: the stage holds no images to copy. */
static void insert_batch(struct mote_table *table, const struct row_batch *prepared, struct intake *intake, int64_t rowid, bool in_columns)
{
    const struct schema *schema = prepared->schema;
    int64_t rowid_max = INT64_MIN;
    if (schema->has_var) {
        insert_rows(table, schema, intake);
        return;
    }
    memtable_insert_batch(intake->memtable, &intake->room, prepared, in_columns ? NULL : intake->slot.payload + LOG_OP_HEADER_BYTES, 0, intake->count, intake->slot.first_seq, rowid, &rowid_max);
    table_raise_rowid(table, rowid_max);
}

static void copy_columns(const struct row_batch *prepared, const struct intake *intake, const struct log_columns *columns)
{
    const struct schema *schema = prepared->schema;
    struct log_op op = {LOG_OP_COLUMNS, 0, schema->version, intake->count, intake->log_bytes, 0, schema->table_id};
    log_op_encode(intake->slot.payload, &op);
    memcpy(intake->slot.payload + LOG_OP_HEADER_BYTES, columns->data, columns->size_bytes);
}

static uint64_t rows_log_bytes(const struct row_batch *prepared)
{
    return LOG_OP_HEADER_BYTES + prepared->total_bytes + (prepared->schema->has_var ? LOG_ITEM_HEADER_BYTES * (uint64_t)prepared->batch->row_count : 0);
}

/* Room for the batch, in whichever form is smaller. */
static int take_batch_room(struct mote_table *table, const struct row_batch *prepared, const struct log_columns *columns, const struct write_level *level, bool checked, struct intake *intake)
{
    uint64_t log_bytes = columns->data ? LOG_OP_HEADER_BYTES + columns->size_bytes : rows_log_bytes(prepared);
    uint32_t payload_max = wal_payload_bytes_max(table->db->wal);
    size_t row_count = prepared->batch->row_count;
    if (log_bytes > payload_max) {
        error_set(MOTE_ETOOBIG, "a batch of %zu rows takes %llu bytes, more than one commit holds (%u): split it", row_count, (unsigned long long)log_bytes, payload_max);
        error_add_table(prepared->schema->name);
        return MOTE_ETOOBIG;
    }
    *intake = (struct intake){
        .memtable_bytes = memtable_room_bytes(row_count, prepared->total_bytes + row_batch_key_bytes(prepared)),
        .log_bytes = (uint32_t)log_bytes,
        .count = (uint32_t)row_count,
        .checked = checked,
        .from_ring = level->from_ring,
    };
    return intake_take_room(table, intake);
}

/* What the log's encoder remembers of the table's columns; NULL: another writer has it, or there is no memory. */
static struct codec_hint *take_hints(struct mote_table *table, const struct schema *schema)
{
    if (atomic_exchange_explicit(&table->hints_taken, 1, memory_order_acquire))
        return NULL;
    if (table->hint_count < schema->column_count) {
        memory_free(table->db->memory, table->hints);
        table->hints = memory_alloc_zero(table->db->memory, schema->column_count * sizeof *table->hints);
        table->hint_count = table->hints ? schema->column_count : 0;
    }
    if (!table->hints)
        atomic_store_explicit(&table->hints_taken, 0, memory_order_release);
    return table->hints;
}

/* The batch in columns, if that is the smaller form. */
static void encode_columns(struct mote_table *table, const struct row_batch *prepared, int64_t rowid, struct log_columns *columns)
{
    struct memory *memory = table->db->memory;
    *columns = (struct log_columns){0};
    if (prepared->batch->row_count < LOG_COLUMNS_ROWS_MIN)
        return;
    struct codec_hint *hints = take_hints(table, prepared->schema);
    bool made = log_columns_encode(memory, prepared, rowid, hints, columns);
    if (hints)
        atomic_store_explicit(&table->hints_taken, 0, memory_order_release);
    if (made && LOG_OP_HEADER_BYTES + columns->size_bytes > rows_log_bytes(prepared))
        log_columns_free(memory, columns);
}

static int append_batch(struct mote_table *table, const struct row_batch *prepared, const struct write_level *level, uint64_t *ticket)
{
    struct mote_db *db = table->db;
    size_t row_count = prepared->batch->row_count;
    int64_t rowid = take_rowids(table, prepared->schema, prepared->auto_increment_count);
    struct log_columns columns;
    struct intake intake;
    encode_columns(table, prepared, rowid, &columns);
    struct unique_check *check;
    int result;
    do {
        check = NULL;
        result = unique_wanted(table) ? unique_begin_batch(table, prepared, row_batch_key_bytes(prepared), rowid, &check) : MOTE_OK;
        if (!result)
            result = take_batch_room(table, prepared, &columns, level, check != NULL, &intake);
        if (result)
            unique_end(check, 0);
    } while (result == UNIQUE_AGAIN);
    if (result) {
        log_columns_free(db->memory, &columns);
        return result;
    }
    if (columns.data) {
        copy_columns(prepared, &intake, &columns);
        intake_publish(db, &intake, level);
        log_columns_free(db->memory, &columns);
        insert_batch(table, prepared, &intake, rowid, true);
    } else {
        encode_batch(table, prepared, &intake, rowid);
        intake_publish(db, &intake, level);
        insert_batch(table, prepared, &intake, rowid, false);
    }
    retention_note_batch(table, prepared);
    intake_make_visible(table, &intake);
    unique_end(check, intake.slot.first_seq);
    atomic_fetch_add_explicit(&db->counters.rows_appended, row_count, memory_order_relaxed);
    return intake_finish(table->db, &intake, level, prepared->total_bytes, ticket);
}

static int check_batch(struct mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options, struct row_batch *prepared, struct write_level *level)
{
    int result = table_check(table);
    if (!result)
        result = db_check_writable(table->db);
    if (!result && !batch)
        result = error_set(MOTE_EINVAL, "batch is NULL");
    if (!result && batch->row_count > UINT32_MAX / 64)
        result = error_set(MOTE_ETOOBIG, "a batch of %zu rows is more than one commit holds: split it", batch->row_count);
    if (!result)
        result = write_level_resolve(table->db, options, level);
    return result ? result : row_batch_check(writer_schema(table), batch, prepared);
}

int append_columns(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options, bool from_ring, uint64_t *ticket)
{
    struct row_batch prepared;
    struct write_level level;
    int result = check_batch(table, batch, options, &prepared, &level);
    if (result)
        return result;
    level.from_ring = from_ring;
    if (batch->row_count == 0) {
        if (ticket)
            *ticket = atomic_load(&table->db->visible_seq);
        return MOTE_OK;
    }
    return append_batch(table, &prepared, &level, ticket);
}

/* The batch's large values are stored, then it is passed on. */
static int with_large_batch(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options, uint64_t *ticket, int (*pass)(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options, uint64_t *ticket))
{
    struct blob_stored stored;
    int result = table_check(table);
    if (result || !table_has_large(table))
        return result ? result : pass(table, batch, options, ticket);
    result = db_check_writable(table->db);
    if (result)
        return result;
    result = blob_store_batch(table, batch, &stored);
    if (!result)
        result = pass(table, batch ? &stored.batch : NULL, options, ticket);
    blob_stored_free(&stored);
    return result;
}

static int append_plain(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options, uint64_t *ticket) { return append_columns(table, batch, options, false, ticket); }

int mote_append_columns(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options, uint64_t *ticket) { return with_large_batch(table, batch, options, ticket, append_plain); }

/* ---- Delete ---- */

int mote_delete(mote_table *table, const struct mote_value *key_values, size_t key_count, const struct mote_write_options *options, uint64_t *ticket)
{
    int result = table_check(table);
    const struct schema *schema;
    struct write_level level;
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes;
    if (!result)
        result = db_check_writable(table->db);
    if (!result)
        result = table_key_to_delete(table, key_values, key_count, &schema, key, &key_bytes);
    if (!result)
        result = write_level_resolve(table->db, options, &level);
    if (result)
        return result;
    uint32_t padded_bytes = (uint32_t)round_up(key_bytes, 8);
    struct intake intake = {.memtable_bytes = memtable_room_bytes(1, padded_bytes), .log_bytes = LOG_OP_HEADER_BYTES + LOG_ITEM_HEADER_BYTES + padded_bytes, .count = 1, .deletes = true};
    result = intake_take_room(table, &intake);
    if (result)
        return result;
    struct log_op op = {LOG_OP_DELETE, 0, schema->version, 1, intake.log_bytes, 0, table->id};
    uint8_t *at = intake.slot.payload;
    log_op_encode(at, &op);
    store_u32(at + LOG_OP_HEADER_BYTES, key_bytes);
    store_u32(at + LOG_OP_HEADER_BYTES + 4, 0);
    at += LOG_OP_HEADER_BYTES + LOG_ITEM_HEADER_BYTES;
    memcpy(at, key, key_bytes);
    memset(at + key_bytes, 0, padded_bytes - key_bytes);
    intake_publish(table->db, &intake, &level);
    memtable_insert(intake.memtable, &intake.room, schema, key, key_bytes, intake.slot.first_seq, RECORD_DELETE, NULL, 0);
    intake_make_visible(table, &intake);
    atomic_fetch_add_explicit(&table->db->counters.rows_deleted, 1, memory_order_relaxed);
    return intake_finish(table->db, &intake, &level, 0, ticket);
}

/* ---- Insert: only where the key has no row ---- */

static int refuse_existing(struct mote_table *table, const struct schema *schema, const uint8_t *key, uint32_t key_bytes)
{
    struct found_row found;
    int result = lookup(table, key, key_bytes, NULL, &found);
    if (result || !found.found)
        return result;
    error_set(MOTE_EEXISTS, "table %s has a row with this key already (seq %llu)", schema->name, (unsigned long long)found.seq);
    error_add_table(schema->name);
    return MOTE_EEXISTS;
}

/* Values of the key columns among values given in schema order without the hidden rowid; false: the key is made by the engine, so it is new. */
static bool key_given(const struct schema *schema, const struct mote_value *values, size_t value_count, struct mote_value *key)
{
    uint32_t hidden = hidden_columns(schema);
    for (uint32_t k = 0; k < schema->key_column_count; k++) {
        uint32_t position = schema->key_columns[k];
        if (position < hidden)
            return false;
        bool given = position - hidden < value_count && !values[position - hidden].is_null;
        if (!given && schema->auto_increment)
            return false;
        key[k] = given ? values[position - hidden] : schema->columns[position].default_value;
    }
    return true;
}

static int insert_stored(mote_table *table, const struct mote_value *values, size_t value_count, const struct mote_write_options *options, uint64_t *ticket)
{
    int result;
    const struct schema *schema = writer_schema(table);
    struct mote_value key_values[MOTE_KEY_COLUMNS_MAX];
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes, image_bytes;
    result = row_check_values(schema, values, value_count, &image_bytes);
    if (result)
        return result;
    if ((schema->flags & MOTE_TABLE_APPEND_ONLY) || !key_given(schema, values, value_count, key_values))
        return append_row(table, values, value_count, options, ticket);
    result = key_from_values(schema, key_values, schema->key_column_count, key, &key_bytes);
    if (result)
        return result;
    pthread_mutex_lock(&table->insert_mutex);
    result = refuse_existing(table, schema, key, key_bytes);
    if (!result)
        result = append_row(table, values, value_count, options, ticket);
    pthread_mutex_unlock(&table->insert_mutex);
    return result;
}

int mote_insert(mote_table *table, const struct mote_value *values, size_t value_count, const struct mote_write_options *options, uint64_t *ticket) { return with_large_row(table, values, value_count, options, ticket, insert_stored); }

/* The keys of a prepared batch are looked up one by one, and among themselves by a sorted list of their images' keys. */
static int refuse_existing_batch(struct mote_table *table, const struct row_batch *prepared)
{
    const struct schema *schema = prepared->schema;
    struct memory *memory = table->db->memory;
    size_t row_count = prepared->batch->row_count;
    uint8_t *image = memory_alloc(memory, MOTE_ROW_BYTES_MAX + 64);
    struct key_set *seen = NULL;
    int result = image ? key_set_create(memory, row_count, row_batch_key_bytes(prepared), &seen) : MOTE_EBUDGET;
    for (size_t row = 0; row < row_count && !result; row++) {
        uint8_t key[MOTE_KEY_BYTES_MAX];
        if (row_batch_takes_rowid(prepared, row))
            continue;
        row_batch_encode(prepared, row, 0, image, row_batch_row_bytes(prepared, row));
        uint32_t key_bytes = key_from_row(schema, image, key);
        result = refuse_existing(table, schema, key, key_bytes);
        if (!result && !key_set_add(seen, key, key_bytes))
            result = error_set(MOTE_EEXISTS, "row %zu of the batch repeats a key of the same batch", row);
        if (result)
            error_add_line(row + 1);
    }
    key_set_destroy(memory, seen);
    memory_free(memory, image);
    return result;
}

static int insert_columns(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options, uint64_t *ticket)
{
    struct row_batch prepared;
    struct write_level level;
    int result = check_batch(table, batch, options, &prepared, &level);
    if (result)
        return result;
    if (batch->row_count == 0 || (prepared.schema->flags & MOTE_TABLE_APPEND_ONLY))
        return append_plain(table, batch, options, ticket);
    pthread_mutex_lock(&table->insert_mutex);
    result = refuse_existing_batch(table, &prepared);
    if (!result)
        result = append_batch(table, &prepared, &level, ticket);
    pthread_mutex_unlock(&table->insert_mutex);
    return result;
}

int mote_insert_columns(mote_table *table, const struct mote_batch *batch, const struct mote_write_options *options, uint64_t *ticket) { return with_large_batch(table, batch, options, ticket, insert_columns); }

/* ---- Waiting ---- */

int mote_wait(mote_db *db, uint64_t ticket, int64_t timeout_ns)
{
    int result = db_check(db);
    if (result)
        return result;
    if (db->read_only)
        return MOTE_OK;
    if (ticket > atomic_load(&db->visible_seq))
        return error_set(MOTE_EINVAL, "ticket %llu was never given out by this handle", (unsigned long long)ticket);
    result = wal_wait(db->wal, ticket, timeout_ns);
    if (result == MOTE_ETIMEOUT)
        return error_set(MOTE_ETIMEOUT, "ticket %llu is not durable after %lld ns; the commit goes on", (unsigned long long)ticket, (long long)timeout_ns);
    return intake_settle_wait(db, result);
}
