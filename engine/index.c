/* index.c: declared indexes: their definition and removal, and what is known of them.
 *
 * The manifest has the definitions; db->indexes is a copy, so that a search need not wait for a commit's I/O. An index is complete when each of the table's segments has a section of it: nothing beside that tells how far it is, so a crash
 * leaves nothing to repair. A flush or compaction that began before an index was declared publishes segments without it, and one that began before it was dropped gives its sections up: both are put right afterwards.
 * Threads: any. Failures: see include/mote.h.
 */
#include <inttypes.h>
#include <string.h>

#include "engine/index_type.h"
#include "engine/recent.h"
#include "engine/unique.h"
#include "engine/vector_cache.h"

static const struct schema *table_schema(const mote_table *table) { return atomic_load_explicit(&((mote_table *)(uintptr_t)table)->schema, memory_order_acquire); }

int indexes_create(struct mote_db *db)
{
    db->indexes = memory_alloc(db->memory, MANIFEST_INDEXES_MAX * sizeof *db->indexes);
    if (!db->indexes)
        return MOTE_EBUDGET;
    pthread_mutex_init(&db->index_mutex, NULL);
    indexes_load(db);
    int result = index_steps_create(db);
    if (!result)
        result = vector_cache_create(db, &db->vector_cache);
    if (!result)
        result = recents_create(db);
    for (uint32_t i = 0; i < db->table_count && !result; i++)
        result = recent_settle(&db->tables[i]);
    return result ? result : uniques_load(db);
}

bool indexes_any(struct mote_db *db)
{
    pthread_mutex_lock(&db->index_mutex);
    bool any = db->index_count > 0;
    pthread_mutex_unlock(&db->index_mutex);
    return any;
}

bool index_get(struct mote_db *db, uint32_t n, struct manifest_index *index)
{
    pthread_mutex_lock(&db->index_mutex);
    bool found = n < db->index_count;
    if (found)
        *index = db->indexes[n];
    pthread_mutex_unlock(&db->index_mutex);
    return found;
}

void indexes_load(struct mote_db *db)
{
    manifest_lock(db->manifest);
    const struct manifest_state *state = manifest_get_state(db->manifest);
    pthread_mutex_lock(&db->index_mutex);
    memcpy(db->indexes, state->indexes, state->index_count * sizeof *db->indexes);
    db->index_count = state->index_count;
    pthread_mutex_unlock(&db->index_mutex);
    manifest_unlock(db->manifest);
}

void indexes_free(struct mote_db *db)
{
    index_steps_destroy(db);
    vector_cache_destroy(db->vector_cache);
    if (!db->indexes)
        return;
    pthread_mutex_destroy(&db->index_mutex);
    memory_free(db->memory, db->indexes);
    db->indexes = NULL;
}

int index_find(const mote_table *table, const char *name, uint32_t kind, struct manifest_index *index)
{
    struct mote_db *db = table->db;
    uint32_t found = 0;
    pthread_mutex_lock(&db->index_mutex);
    for (uint32_t i = 0; i < db->index_count; i++) {
        const struct manifest_index *candidate = &db->indexes[i];
        if (candidate->table_id != table->id || (name ? strcmp(candidate->name, name) != 0 : candidate->kind != kind))
            continue;
        *index = *candidate;
        found++;
    }
    pthread_mutex_unlock(&db->index_mutex);
    const char *table_name = table_schema(table)->name;
    if (found == 0)
        return name ? error_set(MOTE_ENOTFOUND, "table %s has no index %.63s", table_name, name) : error_set(MOTE_ENOTFOUND, "table %s has no index of this kind; create one", table_name);
    if (found > 1)
        return error_set(MOTE_EINVAL, "table %s has %u indexes of this kind; name one", table_name, found);
    if (kind && index->kind != kind)
        return error_set(MOTE_EINVAL, "index %s of table %s is of another kind than this search", index->name, table_name);
    return MOTE_OK;
}

void index_columns(const struct schema *schema, const struct manifest_index *index, uint32_t *positions)
{
    for (uint32_t i = 0; i < index->column_count; i++) {
        positions[i] = 0;
        while (positions[i] + 1 < schema->column_count && schema->columns[positions[i]].id != index->column_ids[i])
            positions[i]++;
    }
}

/* ---- Creating, dropping ---- */

static int check_columns(const struct schema *schema, const struct mote_index_options *options, struct manifest_index *index)
{
    if (options->column_count == 0 || options->column_count > ROW_INDEX_COLUMNS_MAX)
        return error_set(MOTE_EINVAL, "an index of table %s cannot have %zu columns", schema->name, options->column_count);
    for (size_t i = 0; i < options->column_count; i++)
        if (options->columns[i] >= schema->column_count)
            return error_set(MOTE_ENOCOLUMN, "table %s has %u columns, no column %u", schema->name, schema->column_count, options->columns[i]);
        else if (schema->columns[options->columns[i]].flags & MOTE_COLUMN_LARGE)
            return error_set(MOTE_EINVAL, "column %s of table %s is LARGE, which cannot be indexed", schema->columns[options->columns[i]].name, schema->name);
    index->column_count = (uint32_t)options->column_count;
    for (uint32_t i = 0; i < index->column_count; i++)
        index->column_ids[i] = schema->columns[options->columns[i]].id;
    return MOTE_OK;
}

static int check_options(const mote_table *table, const struct mote_index_options *options, struct manifest_index *index)
{
    const struct schema *schema = table_schema(table);
    if (!options || options->size_bytes < sizeof *options || !options->name || (!options->columns && options->column_count))
        return error_set(MOTE_EINVAL, "the index's options are NULL or incomplete: begin with MOTE_INDEX_OPTIONS_INIT, and give name and columns");
    size_t name_bytes = strlen(options->name);
    if (name_bytes == 0 || name_bytes > MOTE_NAME_BYTES_MAX)
        return error_set(name_bytes ? MOTE_ETOOBIG : MOTE_EINVAL, "the name of an index has 1 to %d bytes, not %zu", MOTE_NAME_BYTES_MAX, name_bytes);
    const struct index_type *kind = index_type_find(options->kind);
    if (!kind)
        return error_set(MOTE_EINVAL, "there is no index of kind %u", options->kind);
    if (options->strategy > MOTE_INDEX_HYBRID)
        return error_set(MOTE_EINVAL, "there is no index strategy %u", options->strategy);
    if (options->unique && options->kind != MOTE_INDEX_COLUMN)
        return error_set(MOTE_EINVAL, "only a column index can be unique, not a %s index", kind->name);
    *index = (struct manifest_index){.table_id = table->id, .kind = options->kind, .strategy = options->strategy};
    memcpy(index->name, options->name, name_bytes);
    int result = check_columns(schema, options, index);
    return result ? result : kind->declare(schema, options, index);
}

static int create_locked(mote_table *table, struct manifest_index *index)
{
    struct mote_db *db = table->db;
    struct manifest_edit *edit;
    int result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    index->id = manifest_take_section_id(db->manifest);
    manifest_edit_add_index(edit, index);
    result = manifest_commit(edit, NULL, NULL);
    if (!result)
        indexes_load(db);
    return result;
}

/* The rows of memtables are indexed in memory from now on, or not any more. Without memory for it they are looked at row by row. */
static void follow_rows(mote_table *table)
{
    struct mote_error kept;
    int code = error_get(&kept);
    if (recent_settle(table) && code)
        error_restore(&kept);
}

/* A memtable that was begun before is not noted as a whole, even if it is empty yet: the next one will be, so that it begins now. If it cannot, those rows are looked at one by one until it does. */
static void begin_memtable(mote_table *table, const struct manifest_index *index)
{
    struct mote_error kept;
    int code = error_get(&kept);
    if (index->strategy != MOTE_INDEX_BATCH && rotate(table->db, wal_active_user(table->db->wal)) && code)
        error_restore(&kept);
}

/* Writers are kept out until it is declared and, as far as memory and space suffice, built: they need not look at every row then. */
static int create_unique(mote_table *table, struct manifest_index *index)
{
    struct mote_db *db = table->db;
    unique_lock(table);
    pthread_mutex_lock(&db->ddl_mutex);
    int result = unique_declare(table, index);
    if (!result)
        result = create_locked(table, index);
    result = db_settle(db, result);
    unique_settle(table);
    follow_rows(table);
    pthread_mutex_unlock(&db->ddl_mutex);
    struct index_build build = {.table_id = table->id, .index_id = index->id};
    if (!result)
        begin_memtable(table, index);
    int built = result ? MOTE_OK : indexes_build(db, &build);
    unique_unlock(table);
    return result || built == MOTE_ENOSPC || built == MOTE_EBUDGET ? result : db_settle(db, built);
}

int mote_index_create(mote_table *table, const struct mote_index_options *options)
{
    struct manifest_index index;
    int result = table_check(table);
    if (!result)
        result = db_check_writable(table->db);
    if (!result)
        result = check_options(table, options, &index);
    if (result)
        return result;
    struct mote_db *db = table->db;
    if (options->unique)
        return create_unique(table, &index);
    pthread_mutex_lock(&db->ddl_mutex);
    result = db_settle(db, create_locked(table, &index));
    follow_rows(table);
    pthread_mutex_unlock(&db->ddl_mutex);
    if (result)
        return result;
    begin_memtable(table, &index);
    if (db->worker_count > 0) {
        indexes_want(db);
        return MOTE_OK;
    }
    /* The index is declared and answers; what memory or space does not suffice for now is built later. */
    struct index_build build = {.table_id = table->id, .index_id = index.id, .best = true};
    result = indexes_build(db, &build);
    return result == MOTE_ENOSPC || result == MOTE_EBUDGET ? MOTE_OK : db_settle(db, result);
}

static int check_named(mote_table *table, const char *name, bool writing, struct manifest_index *index)
{
    int result = table_check(table);
    if (!result && writing)
        result = db_check_writable(table->db);
    if (!result && !name)
        result = error_set(MOTE_EINVAL, "the index's name is NULL");
    return result ? result : index_find(table, name, 0, index);
}

int mote_index_drop(mote_table *table, const char *name)
{
    struct manifest_index index;
    struct manifest_edit *edit;
    int result = check_named(table, name, true, &index);
    if (result)
        return result;
    struct mote_db *db = table->db;
    unique_lock(table);
    pthread_mutex_lock(&db->ddl_mutex);
    result = manifest_edit_begin(db->manifest, &edit);
    if (!result) {
        manifest_edit_drop_index(edit, index.id);
        result = manifest_commit(edit, NULL, NULL);
    }
    if (!result)
        indexes_load(db);
    result = db_settle(db, result);
    unique_settle(table);
    follow_rows(table);
    pthread_mutex_unlock(&db->ddl_mutex);
    unique_unlock(table);
    if (!result)
        trim_freed(db);
    return result;
}

int mote_index_rebuild(mote_table *table, const char *name)
{
    struct manifest_index index;
    int result = check_named(table, name, true, &index);
    if (!result)
        result = flush_up_to(table->db, atomic_load(&table->db->visible_seq));
    if (result)
        return result;
    struct index_build build = {.table_id = table->id, .index_id = index.id, .everything = true, .best = true};
    return db_settle(table->db, indexes_build(table->db, &build));
}

/* ---- Looking at indexes ---- */

/* The segments whose better section is due; looks at those that nobody has looked at. */
static uint64_t count_waiting(struct mote_db *db, const struct segment_list *list, const struct manifest_index *index)
{
    const struct row_index_ops *ops = sst_index_ops(&db->sst, index->kind);
    struct reader *reader = list && ops && ops->steps ? reader_take(db, false) : NULL;
    uint64_t count = 0;
    for (uint32_t i = 0; reader && i < list->count; i++) {
        struct segment_index *section = segment_find_index(list->segments[i], index->id);
        count += section && !atomic_load(&section->unusable) && index_is_due(db, reader->queue, list->segments[i], section, index);
    }
    if (reader)
        reader_give(db, reader, false);
    return count;
}

static void describe(const mote_table *table, const struct manifest_index *index, struct mote_index_info *info)
{
    struct mote_db *db = table->db;
    *info = (struct mote_index_info){.size_bytes = sizeof *info, .id = index->id, .kind = index->kind, .strategy = index->strategy, .column_count = index->column_count};
    memcpy(info->name, index->name, sizeof info->name);
    index_columns(table_schema(table), index, info->columns);
    const struct index_type *kind = index_type_find(index->kind);
    if (kind && kind->describe)
        kind->describe(index, info);
    struct version *version = version_acquire(db->manifest);
    const struct segment_list *list = version_find(version, table->id);
    for (uint32_t i = 0; list && i < list->count; i++) {
        const struct segment *segment = list->segments[i];
        const struct segment_index *section = segment_find_index(segment, index->id);
        info->segments++;
        info->rows += segment->record.row_count;
        if (!section)
            continue;
        info->segments_indexed++;
        info->rows_indexed += segment->record.row_count;
        info->segments_damaged += atomic_load(&section->unusable);
        info->bytes += section->section.length_bytes;
    }
    info->segments_waiting = count_waiting(db, list, index);
    version_release(db->manifest, version);
}

int mote_index_describe(mote_table *table, const char *name, struct mote_index_info *info)
{
    struct manifest_index index;
    struct mote_index_info made;
    int result = check_named(table, name, false, &index);
    if (!result && (!info || info->size_bytes < sizeof info->size_bytes))
        result = error_set(MOTE_EINVAL, "info is NULL or its size_bytes is not set");
    if (result)
        return result;
    describe(table, &index, &made);
    size_t size_bytes = info->size_bytes < sizeof made ? info->size_bytes : sizeof made;
    made.size_bytes = info->size_bytes;
    memcpy(info, &made, size_bytes);
    return MOTE_OK;
}

int mote_index_list(mote_table *table, int (*visit)(const struct mote_index_info *info, void *context), void *context)
{
    int result = table_check(table);
    if (!result && !visit)
        result = error_set(MOTE_EINVAL, "visit is NULL");
    uint64_t last = 0;
    while (!result) {
        struct manifest_index index;
        struct mote_index_info info;
        bool found = false;
        pthread_mutex_lock(&table->db->index_mutex);
        for (uint32_t i = 0; i < table->db->index_count && !found; i++) {
            found = table->db->indexes[i].table_id == table->id && table->db->indexes[i].id > last;
            if (found)
                index = table->db->indexes[i];
        }
        pthread_mutex_unlock(&table->db->index_mutex);
        if (!found)
            break;
        last = index.id;
        describe(table, &index, &info);
        result = visit(&info, context);
    }
    return result;
}
