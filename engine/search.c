/* search.c: mote_search. The search is made as a whole within the call (search_run.c); the handle keeps the hits' keys and its snapshot, registered so that flushes and compactions keep the versions, and reads the rows chunk by chunk
 * (search_hits.c). Threads: a handle belongs to one at a time. Failures: see include/mote.h. */
#include <string.h>

#include "engine/overlay.h"
#include "engine/search_private.h"

#define CHUNK_ROWS_DEFAULT 1024u
#define CHUNK_ROWS_MAX (1u << 20)
#define NEAREST_LIMIT_DEFAULT 10u

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

/* What has been written until now. */
static void take_own(mote_hits *hits, struct overlay *overlay, const struct mote_search_options *options)
{
    overlay_hold(overlay);
    hits->own = (struct search_own){overlay, OVERLAY_SEQ + overlay->writes, overlay->epoch, options->use_time_range != 0, options->time_from_ns, options->time_to_ns};
}

static int make_chunk(mote_hits *hits, const struct schema *schema, const struct mote_search_options *options)
{
    struct memory *memory = hits->table->db->memory;
    uint32_t rows = options->chunk_rows ? options->chunk_rows : CHUNK_ROWS_DEFAULT, positions[MOTE_COLUMNS_MAX + 1], count = 0;
    for (size_t i = 0; options->columns && i < options->column_count; i++) {
        if (options->columns[i] >= schema->column_count || count == MOTE_COLUMNS_MAX)
            return error_set(MOTE_ENOCOLUMN, "table %s has %u columns, no column %u", schema->name, schema->column_count, options->columns[i]);
        positions[count++] = options->columns[i];
    }
    for (uint32_t i = 0; !options->columns && i < schema->column_count; i++)
        if (!schema->columns[i].hidden)
            positions[count++] = i;
    hits->scores = memory_alloc(memory, rows * sizeof *hits->scores);
    int result = hits->scores ? chunk_create(memory, schema, positions, count, rows, &hits->chunk) : MOTE_EBUDGET;
    hits->chunk.db = hits->table->db;
    return result;
}

/* What has expired is left out as what lies outside of the time range. */
static void apply_retention(mote_hits *hits, struct mote_search_options *options)
{
    retention_filter(hits->table, &hits->filter);
    if (!hits->filter.active || hits->filter.from_ns == INT64_MIN)
        return;
    if (!options->use_time_range) {
        options->time_from_ns = INT64_MIN;
        options->time_to_ns = INT64_MAX;
    }
    options->use_time_range = 1;
    options->time_from_ns = options->time_from_ns > hits->filter.from_ns ? options->time_from_ns : hits->filter.from_ns;
}

static int run(mote_hits *hits, struct mote_search_options *options)
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
    search->filter = &hits->filter;
    search->own = hits->own.overlay ? &hits->own : NULL;
    int result = snapshot_register(table->db, options->snapshot, &hits->snapshot, &hits->snapshot_slot);
    if (!result) {
        apply_retention(hits, options);
        result = search_plan(search);
    }
    if (!result)
        result = make_chunk(hits, search->schema, options);
    if (!result) {
        search->snapshot = hits->snapshot;
        result = search_run(search);
    }
    search_plan_destroy(search);
    memory_free(memory, search);
    return result;
}

int search_open(mote_table *table, const struct mote_search_options *given, const mote_snapshot *snapshot, struct overlay *overlay, mote_hits **out)
{
    struct mote_search_options options;
    int result = check_options(table, given, out, &options);
    if (!result && overlay && options.snapshot)
        result = error_set(MOTE_EINVAL, "a transaction reads its own snapshot: options.snapshot must be NULL");
    if (result)
        return result;
    options.snapshot = overlay ? snapshot : options.snapshot;
    struct mote_db *db = table->db;
    mote_hits *hits = memory_alloc_zero(db->memory, sizeof *hits);
    if (!hits)
        return MOTE_EBUDGET;
    hits->table = table;
    hits->snapshot_slot = UINT32_MAX;
    hits->list = (struct search_list){.memory = db->memory};
    if (overlay)
        take_own(hits, overlay, &options);
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

int mote_search(mote_table *table, const struct mote_search_options *options, mote_hits **hits) { return search_open(table, options, NULL, NULL, hits); }
