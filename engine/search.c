/* search.c: mote_search and the handle of its hits. The search is made as a whole within the call (search_run.c); the handle keeps the hits' keys and its snapshot, registered so that flushes and compactions keep the versions, and reads
 * the rows chunk by chunk. Threads: a handle belongs to one at a time. Failures: see include/mote.h. */
#include <string.h>

#include "engine/chunk.h"
#include "engine/search_private.h"

#define CHUNK_ROWS_DEFAULT 1024u
#define CHUNK_ROWS_MAX (1u << 20)
#define NEAREST_LIMIT_DEFAULT 10u

struct mote_hits {
    mote_table *table;
    uint64_t snapshot;
    uint32_t snapshot_slot;
    struct search_list list;
    uint64_t next; /* in the list */
    struct search_report report;
    char *explained; /* NULL: not asked yet */
    struct chunk_buffer chunk;
    double *scores; /* of the chunk's rows */
    mote_row *row;     /* the row that is being read */
};

/* ---- Reading rows ---- */

static int read_hit(mote_hits *hits, const struct view *view, struct reader *reader, const struct schema *schema, const struct search_hit *hit)
{
    const struct get_key key = {hits->list.bytes + hit->key_at, hit->key_bytes, hits->snapshot};
    const struct segment_list *list = version_find(view->version, hits->table->id);
    struct found_row found = {false, 0};
    bool decided = false;
    int result = get_from_memtables(view, hits->table->id, &key, hits->row, &found, &decided);
    if (!result && !decided && list)
        result = get_look_in_segments(hits->table->db, reader, list, schema, &key, hits->row, &found);
    if (!result && !found.found)
        result = error_set(MOTE_EINTERNAL, "a row that a search of table %s found is not there under its snapshot; please report it", schema->name);
    return result ? result : chunk_add_image(&hits->chunk, schema, hits->row->image_schema, hits->row->image);
}

int mote_hits_next(mote_hits *hits, struct mote_hit_chunk *chunk)
{
    if (!hits || !chunk)
        return error_set(MOTE_EINVAL, "the hits or the chunk is NULL");
    int result = table_check(hits->table);
    if (result)
        return result;
    struct mote_db *db = hits->table->db;
    const struct schema *schema = atomic_load_explicit(&hits->table->schema, memory_order_acquire);
    chunk_clear(&hits->chunk);
    if (hits->next < hits->list.count) {
        struct view view;
        struct reader *reader = reader_take(db, false);
        if (!reader)
            return MOTE_EBUDGET;
        view_acquire(db, &view);
        while (!result && hits->next < hits->list.count && !chunk_full(&hits->chunk)) {
            const struct search_hit *hit = &hits->list.hits[hits->next++];
            hits->scores[hits->chunk.row_count] = hit->value;
            result = read_hit(hits, &view, reader, schema, hit);
        }
        reader_rest(reader);
        reader_give(db, reader, false);
        view_release(db, &view);
    }
    if (result) {
        error_add_table(schema->name);
        return result;
    }
    chunk_finish(&hits->chunk);
    *chunk = (struct mote_hit_chunk){hits->chunk.row_count, hits->chunk.column_count, hits->chunk.views, hits->scores};
    return MOTE_OK;
}

uint64_t mote_hits_count(const mote_hits *hits) { return hits ? hits->list.count : 0; }

const char *mote_hits_explain(const mote_hits *given)
{
    mote_hits *hits = (mote_hits *)(uintptr_t)given; /* what it keeps is made at the first question */
    if (!hits || handle_check(hits->table->db))
        return NULL;
    if (!hits->explained)
        hits->explained = search_explain(hits->table->db->memory, &hits->report, atomic_load_explicit(&hits->table->schema, memory_order_acquire), hits->list.count);
    return hits->explained;
}

void mote_hits_close(mote_hits *hits)
{
    if (!hits || handle_check(hits->table->db))
        return;
    struct mote_db *db = hits->table->db;
    if (hits->snapshot_slot != UINT32_MAX)
        snapshot_forget(db, hits->snapshot_slot);
    mote_row_free(hits->row);
    chunk_destroy(&hits->chunk);
    search_list_free(&hits->list);
    memory_free(db->memory, hits->scores);
    memory_free(db->memory, hits->explained);
    memory_free(db->memory, hits);
}

/* ---- Searching ---- */

static int check_options(mote_table *table, const struct mote_search_options *given, mote_hits **hits, struct mote_search_options *options)
{
    int result = table_check(table);
    if (result)
        return result;
    if (!hits || !given || given->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "the options or the result pointer is NULL, or options.size_bytes is not set: begin with MOTE_SEARCH_OPTIONS_INIT");
    *options = (struct mote_search_options)MOTE_SEARCH_OPTIONS_INIT;
    memcpy(options, given, given->size_bytes < sizeof *options ? given->size_bytes : sizeof *options);
    const struct schema *schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    if (options->flags)
        return error_set(MOTE_EINVAL, "the flags %#x of a search do not exist", options->flags);
    if (options->use_time_range && schema->time_column < 0)
        return error_set(MOTE_EINVAL, "table %s has no time column: it cannot be searched by time", schema->name);
    if (options->chunk_rows > CHUNK_ROWS_MAX)
        return error_set(MOTE_EINVAL, "chunk_rows is %u, above %u", options->chunk_rows, CHUNK_ROWS_MAX);
    return MOTE_OK;
}

static int make_chunk(mote_hits *hits, const struct schema *schema, const struct mote_search_options *options)
{
    struct memory *memory = hits->table->db->memory;
    uint32_t rows = options->chunk_rows ? options->chunk_rows : CHUNK_ROWS_DEFAULT, positions[MOTE_COLUMNS_MAX + 1], count = 0;
    bool made;
    for (size_t i = 0; options->columns && i < options->column_count; i++) {
        if (options->columns[i] >= schema->column_count || count == MOTE_COLUMNS_MAX)
            return error_set(MOTE_ENOCOLUMN, "table %s has %u columns, no column %u", schema->name, schema->column_count, options->columns[i]);
        positions[count++] = options->columns[i];
    }
    for (uint32_t i = 0; !options->columns && i < schema->column_count; i++)
        if (!schema->columns[i].hidden)
            positions[count++] = i;
    hits->scores = memory_alloc(memory, rows * sizeof *hits->scores);
    if (!hits->scores)
        return MOTE_EBUDGET;
    int result = row_make(hits->table->db, &hits->row, &made);
    return result ? result : chunk_create(memory, schema, positions, count, rows, &hits->chunk);
}

static int run(mote_hits *hits, const struct mote_search_options *options)
{
    mote_table *table = hits->table;
    struct memory *memory = table->db->memory;
    struct search *search = memory_alloc_zero(memory, sizeof *search);
    if (!search)
        return MOTE_EBUDGET;
    search->table = table;
    search->schema = atomic_load_explicit(&table->schema, memory_order_acquire);
    search->memory = memory;
    search->options = options;
    search->list = &hits->list;
    search->report = &hits->report;
    int result = search_plan(search);
    if (!result)
        result = make_chunk(hits, search->schema, options);
    if (!result)
        result = snapshot_register(table->db, &hits->snapshot, &hits->snapshot_slot);
    if (!result) {
        search->snapshot = hits->snapshot;
        result = search_run(search);
    }
    search_plan_destroy(search);
    memory_free(memory, search);
    return result;
}

int mote_search(mote_table *table, const struct mote_search_options *given, mote_hits **out)
{
    struct mote_search_options options;
    int result = check_options(table, given, out, &options);
    if (result)
        return result;
    struct mote_db *db = table->db;
    mote_hits *hits = memory_alloc_zero(db->memory, sizeof *hits);
    if (!hits)
        return MOTE_EBUDGET;
    hits->table = table;
    hits->snapshot_slot = UINT32_MAX;
    hits->list = (struct search_list){.memory = db->memory};
    result = run(hits, &options);
    if (result) {
        struct mote_error cause;
        error_get(&cause);
        mote_hits_close(hits);
        error_restore(&cause);
        error_add_table(atomic_load_explicit(&table->schema, memory_order_acquire)->name);
        return result;
    }
    *out = hits;
    return MOTE_OK;
}
