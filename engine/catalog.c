/* catalog.c: the tables of an open volume and their definition, change and removal.
 *
 * DDL is ordered with the rows by seq and durable at once: under ddl_mutex everything that is visible is first made durable (so that what survives a crash stays a prefix), then the manifest's edit is committed, then the new schema is
 * published to writers. Rows that were encoded with an older schema keep their version; a table remembers all of its versions (a column is only ever added, so version v is the prefix of the columns with added_in <= v).
 *
 * Handles live in slots that never move until close; a dropped table's slot keeps its id, so that late users get MOTE_ENOTABLE.
 */
#include <string.h>

#include "engine/blob.h"
#include "engine/engine_private.h"
#include "engine/recent.h"
#include "engine/retention.h"
#include "engine/unique.h"

static struct schema *table_schema(struct mote_table *table) { return atomic_load_explicit(&table->schema, memory_order_acquire); }

struct mote_table *catalog_find_id(struct mote_db *db, uint64_t table_id)
{
    uint32_t count = __atomic_load_n(&db->table_count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count; i++) {
        if (db->tables[i].id == table_id)
            return &db->tables[i];
    }
    return NULL;
}

static struct mote_table *find_name(struct mote_db *db, const char *name)
{
    uint32_t count = __atomic_load_n(&db->table_count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count; i++) {
        struct mote_table *table = &db->tables[i];
        if (!atomic_load(&table->dropped) && strcmp(table_schema(table)->name, name) == 0)
            return table;
    }
    return NULL;
}

void table_raise_rowid(struct mote_table *table, int64_t seen)
{
    int64_t next = atomic_load_explicit(&table->next_rowid, memory_order_relaxed);
    while (seen >= next && seen != INT64_MAX && !atomic_compare_exchange_weak(&table->next_rowid, &next, seen + 1))
        ;
}

struct schema *table_schema_version(struct mote_table *table, uint32_t version)
{
    return version >= 1 && version <= __atomic_load_n(&table->older_count, __ATOMIC_ACQUIRE) ? table->older[version - 1] : NULL;
}

const struct schema *catalog_live_schema(void *context, uint64_t table_id)
{
    struct mote_table *table = catalog_find_id(context, table_id);
    return table && !atomic_load(&table->dropped) ? table_schema(table) : NULL;
}

/* A free slot: unused, or of a table that was dropped when every slot is taken (its handle is then reused: no live handle may be lost, so never). */
static int take_slot(struct mote_db *db, struct mote_table **slot)
{
    if (db->table_count == db->options.tables_max)
        return error_set(MOTE_EBUDGET, "%u tables were opened or created, the maximum: raise tables_max (dropped ones count until the next open)", db->options.tables_max);
    *slot = &db->tables[db->table_count];
    return MOTE_OK;
}

/* The schemas of all versions of a table, made from the newest; after a failure none is left. */
static int make_versions(struct mote_db *db, struct mote_table *table, struct schema *newest)
{
    if (newest->version > sizeof table->older / sizeof table->older[0])
        return error_set(MOTE_EBUDGET, "table %s has %u schema versions, more than this build keeps", newest->name, newest->version);
    for (uint32_t version = 1; version < newest->version; version++) {
        int result = schema_at_version(db->memory, newest, version, &table->older[version - 1]);
        if (result) {
            while (table->older_count > 0)
                schema_free(db->memory, table->older[--table->older_count]);
            return result;
        }
        table->older_count = version;
    }
    table->older[newest->version - 1] = newest;
    table->older_count = newest->version;
    return MOTE_OK;
}

/* After a failure the schema is still the caller's. */
static int publish_table(struct mote_db *db, struct schema *schema, int64_t next_rowid, struct mote_table **out)
{
    struct mote_table *table = NULL;
    int result = take_slot(db, &table);
    if (result)
        return result;
    memset(table, 0, sizeof *table);
    table->db = db;
    table->id = schema->table_id;
    pthread_mutex_init(&table->insert_mutex, NULL);
    pthread_mutex_init(&table->unique_mutex, NULL);
    result = make_versions(db, table, schema);
    if (result)
        return result;
    atomic_store(&table->schema, schema);
    atomic_store(&table->next_rowid, next_rowid);
    table->used = 1;
    __atomic_store_n(&db->table_count, db->table_count + 1, __ATOMIC_RELEASE);
    *out = table;
    return MOTE_OK;
}

int catalog_load(struct mote_db *db)
{
    db->tables = memory_alloc_zero(db->memory, db->options.tables_max * sizeof *db->tables);
    if (!db->tables)
        return MOTE_EBUDGET;
    const struct manifest_state *state = manifest_get_state(db->manifest);
    for (uint32_t i = 0; i < state->table_count; i++) {
        struct schema *copy;
        struct mote_table *table;
        int result = schema_at_version(db->memory, state->tables[i].schema, state->tables[i].schema->version, &copy);
        if (result)
            return result;
        result = publish_table(db, copy, state->tables[i].next_rowid, &table);
        if (result)
            schema_free(db->memory, copy);
        if (!result)
            result = retention_load(table, state, &state->tables[i]);
        if (result)
            return result;
    }
    return MOTE_OK;
}

void catalog_free(struct mote_db *db)
{
    for (uint32_t i = 0; db->tables && i < db->table_count; i++) {
        for (uint32_t v = 0; v < db->tables[i].older_count; v++)
            schema_free(db->memory, db->tables[i].older[v]);
        memory_free(db->memory, db->tables[i].hints);
        uniques_free(&db->tables[i]);
        pthread_mutex_destroy(&db->tables[i].unique_mutex);
        pthread_mutex_destroy(&db->tables[i].insert_mutex);
    }
    memory_free(db->memory, db->tables);
    db->tables = NULL;
    db->table_count = 0;
}

/* ---- DDL ---- */

/* Under ddl_mutex: what is visible becomes durable; *seq is where the change stands among the rows. */
static int begin_ddl(struct mote_db *db, uint64_t *seq)
{
    *seq = atomic_load(&db->visible_seq);
    return wal_wait(db->wal, *seq, MOTE_FOREVER);
}

static int commit_schema(struct mote_db *db, const struct schema *schema, int64_t next_rowid, uint64_t seq)
{
    struct manifest_edit *edit;
    int result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    manifest_edit_put_table(edit, schema, next_rowid, seq);
    return manifest_commit(edit, NULL, NULL);
}

static int create_locked(struct mote_db *db, const struct mote_schema *definition, struct mote_table **out)
{
    struct schema *schema = NULL;
    struct mote_table *table = NULL;
    uint64_t seq;
    if (definition->name && find_name(db, definition->name)) {
        error_set(MOTE_EEXISTS, "table %s exists already", definition->name);
        error_add_table(definition->name);
        return MOTE_EEXISTS;
    }
    int result = take_slot(db, &table);
    if (!result)
        result = schema_create(db->memory, definition, manifest_take_table_id(db->manifest), manifest_take_column_ids(db->manifest, definition->column_count + 1), &schema);
    if (!result)
        result = begin_ddl(db, &seq);
    if (!result)
        result = commit_schema(db, schema, 1, seq);
    if (!result)
        result = publish_table(db, schema, 1, &table);
    if (result) {
        if (schema)
            schema_free(db->memory, schema);
        return result;
    }
    if (out)
        *out = table;
    return MOTE_OK;
}

int mote_table_create(mote_db *db, const struct mote_schema *definition, mote_table **out)
{
    int result = db_check_writable(db);
    if (result)
        return result;
    if (!definition || definition->size_bytes < sizeof *definition)
        return error_set(MOTE_EINVAL, "schema is NULL or its size_bytes is not set: begin with MOTE_SCHEMA_INIT");
    pthread_mutex_lock(&db->ddl_mutex);
    result = db_settle(db, create_locked(db, definition, out));
    pthread_mutex_unlock(&db->ddl_mutex);
    return result;
}

static int add_column_locked(struct mote_table *table, const struct mote_column_definition *column)
{
    struct mote_db *db = table->db;
    struct schema *old = table_schema(table), *next = NULL;
    uint64_t seq;
    if (table->older_count == sizeof table->older / sizeof table->older[0])
        return error_set(MOTE_EBUDGET, "table %s has %u schema versions, the maximum", old->name, table->older_count);
    int result = schema_add_column(db->memory, old, column, manifest_take_column_ids(db->manifest, 1), &next);
    if (result)
        return result;
    result = begin_ddl(db, &seq);
    if (!result)
        result = commit_schema(db, next, atomic_load(&table->next_rowid), seq);
    if (result) {
        schema_free(db->memory, next);
        return result;
    }
    table->older[next->version - 1] = next;
    __atomic_store_n(&table->older_count, next->version, __ATOMIC_RELEASE);
    atomic_store_explicit(&table->schema, next, memory_order_release);
    return MOTE_OK;
}

int mote_table_add_column(mote_table *table, const struct mote_column_definition *column)
{
    int result = table_check(table);
    if (!result)
        result = db_check_writable(table->db);
    if (!result && !column)
        result = error_set(MOTE_EINVAL, "column is NULL");
    if (result)
        return result;
    pthread_mutex_lock(&table->db->ddl_mutex);
    result = db_settle(table->db, add_column_locked(table, column));
    pthread_mutex_unlock(&table->db->ddl_mutex);
    return result;
}

static int drop_locked(struct mote_db *db, const char *name)
{
    struct mote_table *table = find_name(db, name);
    struct manifest_edit *edit;
    uint64_t seq;
    if (!table) {
        error_set(MOTE_ENOTABLE, "no table is named %s", name);
        return MOTE_ENOTABLE;
    }
    int result = begin_ddl(db, &seq);
    if (!result)
        result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    atomic_store(&table->dropped, 1);
    manifest_edit_drop_table(edit, table->id);
    result = manifest_commit(edit, NULL, NULL);
    if (result)
        atomic_store(&table->dropped, 0);
    else
        blobs_seal(table);
    return result;
}

void use_freed_space(struct mote_db *db)
{
    pthread_mutex_lock(&db->job_mutex);
    db->flush_retry_ns = 0;
    atomic_store(&db->flush_failure, MOTE_OK);
    pthread_cond_broadcast(&db->job_cond);
    pthread_mutex_unlock(&db->job_mutex);
    wal_set_space_error(db->wal, MOTE_OK);
    space_extend(db, false);
}

int mote_table_drop(mote_db *db, const char *name)
{
    int result = db_check_writable(db);
    if (!result && !name)
        result = error_set(MOTE_EINVAL, "the table name is NULL");
    if (result)
        return result;
    /* A flush or a compaction under way must not commit segments of a table that is gone. */
    pthread_mutex_lock(&db->ddl_mutex);
    pthread_mutex_lock(&db->flush_mutex);
    result = db_settle(db, drop_locked(db, name));
    if (!result)
        indexes_load(db);
    for (uint32_t i = 0; i < db->table_count && !result; i++)
        (void)recent_settle(&db->tables[i]); /* takes memory for none */
    if (!result)
        trim_some(db, db->flush_queue);
    pthread_mutex_unlock(&db->flush_mutex);
    pthread_mutex_unlock(&db->ddl_mutex);
    if (!result)
        use_freed_space(db);
    return result;
}

/* ---- Looking at tables ---- */

int mote_table_open(mote_db *db, const char *name, mote_table **table)
{
    int result = db_check(db);
    if (result)
        return result;
    if (!name || !table)
        return error_set(MOTE_EINVAL, "the table name or the result pointer is NULL");
    *table = find_name(db, name);
    if (*table)
        return MOTE_OK;
    error_set(MOTE_ENOTABLE, "no table is named %.63s on %s", name, blockdev_path(db->device));
    error_add_table(name);
    return MOTE_ENOTABLE;
}

int mote_table_column(mote_table *table, uint32_t position, struct mote_column_definition *column)
{
    int result = table_check(table);
    if (result)
        return result;
    const struct schema *schema = table_schema(table);
    if (position >= schema->column_count || !column)
        return error_set(MOTE_ENOCOLUMN, "table %s has %u columns, no column %u", schema->name, schema->column_count, position);
    const struct schema_column *found = &schema->columns[position];
    *column = (struct mote_column_definition){found->name, found->type, found->dimension, found->flags | (found->hidden ? (uint32_t)MOTE_COLUMN_HIDDEN : 0u), 0, found->default_value};
    return MOTE_OK;
}

int mote_table_find_column(mote_table *table, const char *name)
{
    int result = table_check(table);
    if (result)
        return result;
    const struct schema *schema = table_schema(table);
    int position = name ? schema_find_column(schema, name) : -1;
    return position >= 0 ? position : error_set(MOTE_ENOCOLUMN, "table %s has no column %.63s", schema->name, name ? name : "(NULL)");
}

int mote_table_list(mote_db *db, int (*visit)(mote_table *table, const char *name, void *context), void *context)
{
    int result = db_check(db);
    if (result)
        return result;
    const char *last = "";
    for (;;) {
        struct mote_table *next = NULL;
        uint32_t count = __atomic_load_n(&db->table_count, __ATOMIC_ACQUIRE);
        for (uint32_t i = 0; i < count; i++) {
            struct mote_table *table = &db->tables[i];
            if (atomic_load(&table->dropped) || strcmp(table_schema(table)->name, last) <= 0)
                continue;
            if (!next || strcmp(table_schema(table)->name, table_schema(next)->name) < 0)
                next = table;
        }
        if (!next)
            return MOTE_OK;
        last = table_schema(next)->name;
        result = visit(next, last, context);
        if (result)
            return result;
    }
}
