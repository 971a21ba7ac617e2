/* common.c: the checks with which every public call begins, and the poison that ends all promises. See engine_private.h. */
#include <string.h>
#include <time.h>

#include "engine/engine_private.h"
#include "engine/fork_page.h"

const char *mote_version(void) { return "0.1.0"; }

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * (uint64_t)NS_PER_S + (uint64_t)now.tv_nsec;
}

int db_check(const struct mote_db *db)
{
    if (!db)
        return error_set(MOTE_EINVAL, "the database handle is NULL");
    if (*db->fork_page != FORK_ALIVE)
        return error_set(MOTE_EFORK, "this handle was opened by the parent process and is unusable after fork: open the device in the process that uses it");
    return MOTE_OK;
}

int db_check_writable(struct mote_db *db)
{
    int result = db_check(db);
    if (result)
        return result;
    if (db->read_only)
        return error_set(MOTE_EREADONLY, "%s is open read-only: nothing can be written", blockdev_path(db->device));
    if (atomic_load_explicit(&db->poisoned, memory_order_relaxed))
        return db_poison(db, 0);
    return MOTE_OK;
}

int handle_check(const struct mote_db *db)
{
    if (!db) /* a handle is never without a database, but the heap that it lies in is wiped in a child */
        return error_set(MOTE_EFORK, "this handle was made by the parent process and is unusable after fork: open the device in the process that uses it");
    return db_check(db);
}

int table_check(const struct mote_table *table)
{
    if (!table)
        return error_set(MOTE_EINVAL, "the table handle is NULL");
    int result = handle_check(table->db);
    if (result)
        return result;
    if (atomic_load_explicit(&table->dropped, memory_order_relaxed)) {
        error_set(MOTE_ENOTABLE, "the table was dropped");
        return MOTE_ENOTABLE;
    }
    return MOTE_OK;
}

int table_key(const struct mote_table *table, const struct mote_value *values, size_t count, const struct schema **schema, uint8_t key[MOTE_KEY_BYTES_MAX], uint32_t *key_bytes)
{
    *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    if (!values && count)
        return error_set(MOTE_EINVAL, "the key is NULL");
    if (count != (*schema)->key_column_count)
        return error_set(MOTE_EINVAL, "the key of table %s has %u columns, %zu values were given", (*schema)->name, (*schema)->key_column_count, count);
    return key_from_values(*schema, values, count, key, key_bytes);
}

int table_key_to_delete(const struct mote_table *table, const struct mote_value *values, size_t count, const struct schema **schema, uint8_t key[MOTE_KEY_BYTES_MAX], uint32_t *key_bytes)
{
    *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    if ((*schema)->flags & MOTE_TABLE_APPEND_ONLY)
        return error_set(MOTE_EREADONLY, "table %s is append-only: its rows cannot be deleted", (*schema)->name);
    return table_key(table, values, count, schema, key, key_bytes);
}

int db_poison(struct mote_db *db, int code)
{
    pthread_mutex_lock(&db->job_mutex);
    int32_t before = atomic_load(&db->poisoned);
    if (before == 0 && code != 0) {
        error_get(&db->poison_error);
        atomic_store(&db->poisoned, code);
    }
    struct mote_error cause = db->poison_error;
    pthread_cond_broadcast(&db->done_cond);
    pthread_mutex_unlock(&db->job_mutex);
    if (before == 0 && code != 0) {
        producers_fail(db); /* before the log says it: whose append fails finds the producers' pushes refused */
        if (db->wal)
            wal_poison(db->wal, code);
        return error_restore(&cause);
    }
    error_set(MOTE_EPOISONED, "the handle is read-only since an earlier failure (%s: %.300s); close it, see to the device and open it again",
              mote_error_name(cause.code), cause.message);
    error_add_device(blockdev_path(db->device), cause.offset_bytes, cause.length_bytes);
    return MOTE_EPOISONED;
}

int db_settle(struct mote_db *db, int result)
{
    struct mote_error cause;
    if (!result || atomic_load(&db->poisoned))
        return result;
    int code = db->wal ? wal_poisoned(db->wal, &cause) : 0;
    if (!code)
        code = manifest_poisoned(db->manifest, &cause);
    if (!code)
        return result;
    error_restore(&cause); /* what failed, not who met it later */
    return db_poison(db, code);
}
