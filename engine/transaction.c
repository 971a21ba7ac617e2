/* transaction.c: transactions with snapshot isolation: reads of one moment and of one's own writes, which stay in an overlay (overlay.h) until the commit, and are refused there if any of their keys was changed by somebody else since that
 * moment (write_commit.c). Nothing is locked and nobody waits while a transaction is open; what it costs others is that row versions are kept for its snapshot. Threads: one at a time, its cursors included. Failures: see include/mote.h. */
#include <string.h>

#include "engine/aggregate_private.h"
#include "engine/blob.h"
#include "engine/cursor_private.h"
#include "engine/get_private.h"
#include "engine/overlay.h"
#include "engine/search_private.h"
#include "engine/write_set.h"

#define SAVEPOINTS_MAX 256u

struct savepoint {
    uint64_t id, writes;
};

struct mote_transaction {
    struct mote_snapshot snapshot;
    struct overlay *overlay;
    struct blob_holds blobs; /* of large values of its rows */
    uint8_t *image; /* of the row that is written */
    uint32_t image_capacity_bytes;
    bool inserts; /* other inserts are kept out while it commits */
    uint64_t savepoint_id; /* the last that was given out */
    uint32_t savepoint_count;
    struct savepoint savepoints[SAVEPOINTS_MAX];
};

/* ---- Beginning, ending ---- */

int mote_transaction_begin(mote_db *db, const struct mote_transaction_options *options, mote_transaction **out)
{
    int result = db_check(db);
    if (!result && (!out || (options && options->size_bytes < sizeof(size_t))))
        result = error_set(MOTE_EINVAL, "the result pointer is NULL or options.size_bytes is not set: begin with MOTE_TRANSACTION_OPTIONS_INIT");
    if (!result && options && options->size_bytes >= sizeof *options && options->flags)
        result = error_set(MOTE_EINVAL, "the flags %#x of a transaction do not exist", options->flags);
    if (result)
        return result;
    mote_transaction *transaction = memory_alloc_zero(db->memory, sizeof *transaction);
    if (!transaction)
        return MOTE_EBUDGET;
    result = overlay_create(db, &transaction->overlay);
    if (!result)
        result = snapshot_begin(db, &transaction->snapshot);
    if (result) {
        if (transaction->overlay)
            overlay_release(transaction->overlay);
        memory_free(db->memory, transaction);
        return result;
    }
    *out = transaction;
    return MOTE_OK;
}

static void end(mote_transaction *transaction)
{
    struct mote_db *db = transaction->snapshot.db;
    transaction->overlay->epoch++;
    overlay_release(transaction->overlay);
    blobs_release(db, &transaction->blobs);
    snapshot_forget(db, transaction->snapshot.slot);
    memory_free(db->memory, transaction->image);
    memory_free(db->memory, transaction);
}

void mote_transaction_abort(mote_transaction *transaction)
{
    if (transaction && !handle_check(transaction->snapshot.db))
        end(transaction);
}

const mote_snapshot *mote_transaction_snapshot(const mote_transaction *transaction) { return transaction ? &transaction->snapshot : NULL; }

static int check(const mote_transaction *transaction, const mote_table *table)
{
    int result = transaction ? handle_check(transaction->snapshot.db) : error_set(MOTE_EINVAL, "the transaction is NULL");
    return result ? result : write_check_table(transaction->snapshot.db, table);
}

static int check_writing(const mote_transaction *transaction, const mote_table *table)
{
    int result = check(transaction, table);
    return result ? result : db_check_writable(transaction->snapshot.db);
}

/* ---- Reading ---- */

/* What the transaction itself made of the key; *decided: anything. */
static int look_at_own(const mote_transaction *transaction, uint64_t table_id, const uint8_t *key, uint32_t key_bytes, mote_row *row, struct found_row *found, bool *decided)
{
    struct generation own = {.memtables = transaction->overlay->memtables};
    const struct view view = {.generations = {&own}, .generation_count = 1};
    const struct get_key wanted = {key, key_bytes, UINT64_MAX};
    *found = (struct found_row){false, 0};
    *decided = false;
    return get_from_memtables(&view, table_id, &wanted, row, found, decided);
}

static int find(const mote_transaction *transaction, mote_table *table, const struct schema *schema, const uint8_t *key, uint32_t key_bytes, mote_row *row, bool *there)
{
    struct found_row found;
    bool decided;
    int result = look_at_own(transaction, table->id, key, key_bytes, row, &found, &decided);
    if (!result && decided && row) {
        row->schema = schema;
        row->seq = 0; /* it has none yet */
    }
    if (!result && !decided)
        result = lookup_at(table, key, key_bytes, transaction->snapshot.seq, NULL, row, &found);
    *there = found.found;
    return result;
}

int mote_transaction_get(mote_transaction *transaction, mote_table *table, const struct mote_value *key_values, size_t key_count, mote_row **row)
{
    const struct schema *schema;
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes;
    bool made, there;
    int result = check(transaction, table);
    if (!result && !row)
        result = error_set(MOTE_EINVAL, "the result pointer is NULL");
    if (!result)
        result = table_key(table, key_values, key_count, &schema, key, &key_bytes);
    if (!result)
        result = row_make(table->db, row, &made);
    if (result)
        return result;
    result = find(transaction, table, schema, key, key_bytes, *row, &there);
    if (!result && !there)
        result = error_set(MOTE_ENOTFOUND, "table %s has no row with this key", schema->name);
    if (result && made) {
        mote_row_free(*row);
        *row = NULL;
    }
    return result;
}

static int open_cursor(mote_transaction *transaction, mote_table *table, const struct mote_scan_options *given, bool latest, mote_cursor **cursor)
{
    struct mote_scan_options options;
    int result = check(transaction, table);
    if (!result)
        result = cursor_check(table, given, cursor, &options);
    if (!result && options.snapshot)
        result = error_set(MOTE_EINVAL, "a transaction reads its own snapshot: options.snapshot must be NULL");
    if (result)
        return result;
    options.snapshot = &transaction->snapshot;
    return cursor_open_checked(table, &options, latest, transaction->overlay, cursor);
}

int mote_transaction_scan(mote_transaction *transaction, mote_table *table, const struct mote_scan_options *options, mote_cursor **cursor) { return open_cursor(transaction, table, options, false, cursor); }

int mote_transaction_latest(mote_transaction *transaction, mote_table *table, const struct mote_scan_options *options, mote_cursor **cursor) { return open_cursor(transaction, table, options, true, cursor); }

int mote_transaction_aggregate(mote_transaction *transaction, mote_table *table, const struct mote_aggregate_options *options, mote_aggregation **aggregation)
{
    int result = check(transaction, table);
    return result ? result : aggregate_run(table, options, &transaction->snapshot, transaction->overlay, aggregation);
}

int mote_transaction_count(mote_transaction *transaction, mote_table *table, const struct mote_scan_options *options, uint64_t *count)
{
    int result = check(transaction, table);
    return result ? result : aggregate_count(table, options, &transaction->snapshot, transaction->overlay, count);
}

int mote_transaction_search(mote_transaction *transaction, mote_table *table, const struct mote_search_options *options, mote_hits **hits)
{
    int result = check(transaction, table);
    return result ? result : search_open(table, options, &transaction->snapshot, transaction->overlay, hits);
}

/* ---- Writing ---- */

static int take_image(mote_transaction *transaction, uint32_t image_bytes)
{
    struct memory *memory = transaction->snapshot.db->memory;
    if (transaction->image_capacity_bytes >= image_bytes)
        return MOTE_OK;
    uint32_t capacity = (uint32_t)round_up(image_bytes, 256);
    uint8_t *image = memory_alloc(memory, capacity);
    if (!image)
        return MOTE_EBUDGET;
    memory_free(memory, transaction->image);
    transaction->image = image;
    transaction->image_capacity_bytes = capacity;
    return MOTE_OK;
}

static int refuse_existing(const mote_transaction *transaction, mote_table *table, const struct schema *schema, const uint8_t *key, uint32_t key_bytes)
{
    bool there;
    int result = find(transaction, table, schema, key, key_bytes, NULL, &there);
    if (result || !there)
        return result;
    error_set(MOTE_EEXISTS, "table %s has a row with this key already, as the transaction sees it", schema->name);
    error_add_table(schema->name);
    return MOTE_EEXISTS;
}

static int put_stored(mote_transaction *transaction, mote_table *table, const struct mote_value *values, size_t value_count, bool insert)
{
    const struct schema *schema;
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t image_bytes;
    int64_t rowid;
    int result = check_writing(transaction, table);
    if (!result)
        result = write_check_row(table, values, value_count, &schema, &image_bytes, &rowid);
    if (!result)
        result = take_image(transaction, image_bytes);
    if (result)
        return result;
    row_encode_values(schema, values, value_count, rowid, transaction->image, image_bytes);
    uint32_t key_bytes = key_from_row(schema, transaction->image, key);
    insert = insert && !(schema->flags & MOTE_TABLE_APPEND_ONLY) && rowid == 0;
    if (insert)
        result = refuse_existing(transaction, table, schema, key, key_bytes);
    transaction->inserts = transaction->inserts || insert;
    return result ? result : overlay_write(transaction->overlay, table->id, schema, key, key_bytes, transaction->image, image_bytes);
}

/* Large values are written first, and held until the transaction ends. */
static int put(mote_transaction *transaction, mote_table *table, const struct mote_value *values, size_t value_count, bool insert)
{
    int result = check_writing(transaction, table);
    if (!result && !values && value_count)
        result = error_set(MOTE_EINVAL, "values is NULL");
    if (result || !table_has_large(table))
        return result ? result : put_stored(transaction, table, values, value_count, insert);
    struct blob_stored stored;
    result = blob_store_values(table, values, value_count, &stored);
    if (!result)
        result = put_stored(transaction, table, stored.values ? stored.values : values, value_count, insert);
    if (!result)
        result = blobs_move_holds(table->db, &stored.holds, &transaction->blobs);
    blob_stored_free(&stored);
    return result;
}

int mote_transaction_put(mote_transaction *transaction, mote_table *table, const struct mote_value *values, size_t value_count) { return put(transaction, table, values, value_count, false); }

int mote_transaction_insert(mote_transaction *transaction, mote_table *table, const struct mote_value *values, size_t value_count) { return put(transaction, table, values, value_count, true); }

int mote_transaction_delete(mote_transaction *transaction, mote_table *table, const struct mote_value *key_values, size_t key_count)
{
    const struct schema *schema;
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes;
    int result = check_writing(transaction, table);
    if (!result)
        result = table_key_to_delete(table, key_values, key_count, &schema, key, &key_bytes);
    return result ? result : overlay_write(transaction->overlay, table->id, schema, key, key_bytes, NULL, 0);
}

static int put_batch(mote_transaction *transaction, mote_table *table, const struct row_batch *prepared)
{
    const struct schema *schema = prepared->schema;
    struct overlay *overlay = transaction->overlay;
    uint64_t writes = overlay->writes;
    int64_t rowid = schema->auto_increment ? atomic_fetch_add_explicit(&table->next_rowid, prepared->auto_increment_count, memory_order_relaxed) : 0;
    int result = MOTE_OK;
    for (size_t row = 0; row < prepared->batch->row_count && !result; row++) {
        uint8_t key[MOTE_KEY_BYTES_MAX];
        uint32_t image_bytes = row_batch_row_bytes(prepared, row);
        result = take_image(transaction, image_bytes);
        if (result)
            break;
        row_batch_encode(prepared, row, rowid, transaction->image, image_bytes);
        rowid += row_batch_takes_rowid(prepared, row);
        uint32_t key_bytes = key_from_row(schema, transaction->image, key);
        result = overlay_write(overlay, table->id, schema, key, key_bytes, transaction->image, image_bytes);
    }
    if (!result)
        return MOTE_OK;
    struct mote_error cause;
    error_get(&cause);
    int returned = overlay_return(overlay, writes);
    return returned ? returned : error_restore(&cause);
}

static int put_columns(mote_transaction *transaction, mote_table *table, const struct mote_batch *batch)
{
    struct row_batch prepared;
    int result = check_writing(transaction, table);
    if (!result && !batch)
        result = error_set(MOTE_EINVAL, "batch is NULL");
    if (!result && batch->row_count > UINT32_MAX / 64)
        result = error_set(MOTE_ETOOBIG, "a batch of %zu rows is more than one step may have: split it", batch->row_count);
    if (!result)
        result = row_batch_check(atomic_load_explicit(&table->schema, memory_order_acquire), batch, &prepared);
    return result ? result : put_batch(transaction, table, &prepared);
}

int mote_transaction_columns(mote_transaction *transaction, mote_table *table, const struct mote_batch *batch)
{
    int result = check_writing(transaction, table);
    if (result || !batch || !table_has_large(table))
        return result ? result : put_columns(transaction, table, batch);
    struct blob_stored stored;
    result = blob_store_batch(table, batch, &stored);
    if (!result)
        result = put_columns(transaction, table, &stored.batch);
    if (!result)
        result = blobs_move_holds(table->db, &stored.holds, &transaction->blobs);
    blob_stored_free(&stored);
    return result;
}

/* ---- Savepoints ---- */

int mote_transaction_savepoint(mote_transaction *transaction, uint64_t *savepoint)
{
    int result = transaction ? handle_check(transaction->snapshot.db) : error_set(MOTE_EINVAL, "the transaction is NULL");
    if (!result && !savepoint)
        result = error_set(MOTE_EINVAL, "the result pointer is NULL");
    if (!result && transaction->savepoint_count == SAVEPOINTS_MAX)
        result = error_set(MOTE_EBUDGET, "the transaction has %u savepoints, the maximum: go back to one, or commit", SAVEPOINTS_MAX);
    if (result)
        return result;
    *savepoint = ++transaction->savepoint_id;
    transaction->savepoints[transaction->savepoint_count++] = (struct savepoint){*savepoint, transaction->overlay->writes};
    return MOTE_OK;
}

int mote_transaction_rollback_to(mote_transaction *transaction, uint64_t savepoint)
{
    int result = transaction ? handle_check(transaction->snapshot.db) : error_set(MOTE_EINVAL, "the transaction is NULL");
    uint32_t at = 0;
    while (!result && at < transaction->savepoint_count && transaction->savepoints[at].id != savepoint)
        at++;
    if (!result && at == transaction->savepoint_count)
        result = error_set(MOTE_EINVAL, "savepoint %llu is not one of this transaction, or was passed by going back further", (unsigned long long)savepoint);
    if (result)
        return result;
    if (transaction->overlay->writes == transaction->savepoints[at].writes) {
        transaction->savepoint_count = at + 1;
        return MOTE_OK;
    }
    result = overlay_return(transaction->overlay, transaction->savepoints[at].writes);
    if (result)
        return result;
    transaction->overlay->epoch++;
    transaction->savepoint_count = at + 1;
    return MOTE_OK;
}

/* ---- Commit ---- */

/* Of each key what it was given last. */
static int gather_table(void *context, uint64_t table_id, struct memtable *memtable)
{
    struct write_set *set = context;
    struct mote_table *table = catalog_find_id(set->db, table_id);
    struct memtable_iterator iterator;
    uint8_t last[MOTE_KEY_BYTES_MAX];
    uint32_t last_bytes = UINT32_MAX;
    int result = MOTE_OK;
    memtable_iterate(memtable, &iterator);
    for (bool on = memtable_first(&iterator); on && !result; on = memtable_next(&iterator)) {
        struct record record;
        const struct schema *schema;
        const uint8_t *image;
        uint32_t image_bytes;
        memtable_record(&iterator, &record, &schema, &image, &image_bytes);
        if (last_bytes == record.key_bytes && memcmp(last, record.key, last_bytes) == 0)
            continue;
        last_bytes = record.key_bytes;
        memcpy(last, record.key, last_bytes);
        result = image ? write_set_put_image(set, table, schema, image, image_bytes) : write_set_delete_key(set, table, schema, record.key, record.key_bytes);
    }
    return result;
}

static int commit(mote_transaction *transaction, const struct mote_write_options *options, uint64_t *ticket)
{
    struct mote_db *db = transaction->snapshot.db;
    struct commit_terms terms = {.snapshot = &transaction->snapshot};
    struct write_set set;
    int result = write_level_resolve(db, options, &terms.level);
    if (!result && transaction->overlay->row_count)
        result = db_check_writable(db);
    if (result)
        return result;
    write_set_init(&set, db);
    result = memtable_visit(transaction->overlay->memtables, gather_table, &set);
    for (uint32_t i = 0; i < set.table_count && transaction->inserts; i++)
        set.tables[i].inserts = true;
    if (!result)
        result = write_commit(&set, &terms, ticket);
    write_set_free(&set);
    return result;
}

int mote_transaction_commit(mote_transaction *transaction, const struct mote_write_options *options, uint64_t *ticket)
{
    int result = transaction ? handle_check(transaction->snapshot.db) : error_set(MOTE_EINVAL, "the transaction is NULL");
    if (result)
        return result;
    struct engine_counters *counters = &transaction->snapshot.db->counters;
    result = commit(transaction, options, ticket);
    if (!result)
        atomic_fetch_add_explicit(&counters->transactions, 1, memory_order_relaxed);
    if (result == MOTE_ECONFLICT)
        atomic_fetch_add_explicit(&counters->conflicts, 1, memory_order_relaxed);
    end(transaction);
    return result;
}
