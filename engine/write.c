/* write.c: the calls of a write batch: rows of several tables, gathered in memory (write_set.h) and written as one (write_commit.c). Threads: one at a time. Failures: see include/mote.h. */
#include "engine/write_set.h"

struct mote_write {
    struct mote_db *db;
    struct write_set set;
};

int mote_write_begin(mote_db *db, mote_write **out)
{
    int result = db_check_writable(db);
    if (!result && !out)
        result = error_set(MOTE_EINVAL, "the result pointer is NULL");
    if (result)
        return result;
    mote_write *write = memory_alloc_zero(db->memory, sizeof *write);
    if (!write)
        return MOTE_EBUDGET;
    write->db = db;
    write_set_init(&write->set, db);
    *out = write;
    return MOTE_OK;
}

static int check_write(const mote_write *write)
{
    return write ? handle_check(write->db) : error_set(MOTE_EINVAL, "the write is NULL");
}

static int check_table(const mote_write *write, const mote_table *table)
{
    int result = check_write(write);
    return result ? result : write_check_table(write->db, table);
}

/* A row whose large values are written already, which the set holds until it is cleared or freed. */
static int put(mote_write *write, mote_table *table, const struct mote_value *values, size_t value_count, bool insert)
{
    int result = check_table(write, table);
    if (result || !table_has_large(table))
        return result ? result : write_set_put(&write->set, table, values, value_count, insert);
    struct blob_stored stored;
    result = db_check_writable(write->db);
    if (result)
        return result;
    result = !values && value_count ? error_set(MOTE_EINVAL, "values is NULL") : blob_store_values(table, values, value_count, &stored);
    if (!values && value_count)
        return result;
    if (!result)
        result = write_set_put(&write->set, table, stored.values ? stored.values : values, value_count, insert);
    if (!result)
        result = blobs_move_holds(write->db, &stored.holds, &write->set.blobs);
    blob_stored_free(&stored);
    return result;
}

int mote_write_put(mote_write *write, mote_table *table, const struct mote_value *values, size_t value_count)
{
    return put(write, table, values, value_count, false);
}

int mote_write_insert(mote_write *write, mote_table *table, const struct mote_value *values, size_t value_count)
{
    return put(write, table, values, value_count, true);
}

int mote_write_columns(mote_write *write, mote_table *table, const struct mote_batch *batch)
{
    int result = check_table(write, table);
    if (result || !batch || !table_has_large(table))
        return result ? result : write_set_columns(&write->set, table, batch);
    struct blob_stored stored;
    result = db_check_writable(write->db);
    if (result)
        return result;
    result = blob_store_batch(table, batch, &stored);
    if (!result)
        result = write_set_columns(&write->set, table, &stored.batch);
    if (!result)
        result = blobs_move_holds(write->db, &stored.holds, &write->set.blobs);
    blob_stored_free(&stored);
    return result;
}

int mote_write_delete(mote_write *write, mote_table *table, const struct mote_value *key_values, size_t key_count)
{
    const struct schema *schema;
    uint8_t key[MOTE_KEY_BYTES_MAX];
    uint32_t key_bytes;
    int result = check_table(write, table);
    if (!result)
        result = table_key_to_delete(table, key_values, key_count, &schema, key, &key_bytes);
    return result ? result : write_set_delete_key(&write->set, table, schema, key, key_bytes);
}

uint64_t mote_write_rows(const mote_write *write) { return check_write(write) ? 0 : write->set.row_count; }

void mote_write_clear(mote_write *write)
{
    if (!check_write(write))
        write_set_clear(&write->set);
}

int mote_write_commit(mote_write *write, const struct mote_write_options *options, uint64_t *ticket)
{
    struct commit_terms terms = {0};
    int result = check_write(write);
    if (!result)
        result = db_check_writable(write->db);
    if (!result)
        result = write_level_resolve(write->db, options, &terms.level);
    if (!result)
        result = write_commit(&write->set, &terms, ticket);
    if (!result)
        write_set_clear(&write->set);
    return result;
}

void mote_write_free(mote_write *write)
{
    if (!write || handle_check(write->db))
        return;
    write_set_free(&write->set);
    memory_free(write->db->memory, write);
}
