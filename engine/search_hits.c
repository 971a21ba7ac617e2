/* search_hits.c: the handle of a search's hits: their rows, read in batches of sorted keys with many reads in flight (get_many.c), handed out in the order of the hits; where only columns of the key are wanted, no row is read.
 *
 * Memory: the rows of a batch, whose number follows the size of the rows read so far; what rows took beyond a share of the budget is given back after the batch. Threads: a handle belongs to one at a time. Failures: see include/mote.h. */
#include <stdlib.h>
#include <string.h>

#include "engine/overlay.h"
#include "engine/search_private.h"

#define BATCH_ROWS_FIRST 32u /* before anything is known of their size */

static void free_rows(mote_hits *hits)
{
    for (uint32_t i = 0; i < SEARCH_BATCH_ROWS; i++) {
        mote_row_free(hits->rows[i]);
        hits->rows[i] = NULL;
    }
}

static int compare_by_key(const void *a, const void *b, void *context)
{
    const mote_hits *hits = context;
    const struct search_hit *x = &hits->list.hits[hits->next + *(const uint16_t *)a], *y = &hits->list.hits[hits->next + *(const uint16_t *)b];
    return key_compare(hits->list.bytes + x->key_at, x->key_bytes, hits->list.bytes + y->key_at, y->key_bytes);
}

/* The rows of the batch that the searching transaction has written; they do not stay in the order. */
static int read_own(mote_hits *hits, uint16_t *order, uint32_t *count)
{
    const struct schema *schema = atomic_load_explicit(&hits->table->schema, memory_order_acquire);
    uint32_t kept = 0;
    int result = MOTE_OK;
    for (uint32_t i = 0; i < *count && !result; i++) {
        const struct search_hit *hit = &hits->list.hits[hits->next + order[i]];
        bool made, decided, found = false;
        if (hit->segment_id != SEARCH_OWN_ROWS) {
            order[kept++] = order[i];
            continue;
        }
        mote_row **row = &hits->rows[order[i]];
        result = row_make(hits->table->db, row, &made);
        if (!result)
            result = search_own_find(&hits->own, hits->table->id, hits->list.bytes + hit->key_at, hit->key_bytes, *row, &decided, &found);
        if (!result && !found)
            result = error_set(MOTE_EINTERNAL, "a row of a transaction that its search of table %s found is not there; please report it", schema->name);
        if (!result)
            (*row)->schema = schema;
    }
    *count = kept;
    return result;
}

/* A batch of `count` hits from `next` on. Neighbours by key lie in one block or page: they are asked for in that order. */
static int read_batch(mote_hits *hits, const struct view *view, uint32_t count)
{
    const struct schema *schema = atomic_load_explicit(&hits->table->schema, memory_order_acquire);
    struct get_key keys[SEARCH_BATCH_ROWS];
    mote_row *rows[SEARCH_BATCH_ROWS];
    int32_t results[SEARCH_BATCH_ROWS];
    uint16_t order[SEARCH_BATCH_ROWS];
    for (uint32_t i = 0; i < count; i++)
        order[i] = (uint16_t)i;
    int own = hits->own.overlay ? read_own(hits, order, &count) : MOTE_OK;
    if (own || count == 0)
        return own;
    qsort_r(order, count, sizeof *order, compare_by_key, hits);
    for (uint32_t i = 0; i < count; i++) {
        const struct search_hit *hit = &hits->list.hits[hits->next + order[i]];
        keys[i] = (struct get_key){hits->list.bytes + hit->key_at, hit->key_bytes, hits->snapshot};
        rows[i] = hits->rows[order[i]];
        results[i] = MOTE_OK;
    }
    int result = get_many_at(hits->table, view, hits->snapshot, &hits->filter, keys, count, rows, results);
    for (uint32_t i = 0; i < count; i++) {
        hits->rows[order[i]] = rows[i];
        if (!result && results[i]) {
            const struct recycled_range range = {keys[i].key, keys[i].key, keys[i].key_bytes, keys[i].key_bytes, INT64_MIN, INT64_MAX};
            struct time_filter filter = hits->filter; /* the other hits' keys are not asked here */
            result = retention_check_recycled(hits->table, hits->snapshot, &range, &filter);
        }
        if (!result && results[i])
            result = error_set(MOTE_EINTERNAL, "a row that a search of table %s found is not there under its snapshot; please report it", schema->name);
    }
    return result;
}

/* So many rows at once that they take about as much as a chunk. */
static void adapt_batch(mote_hits *hits, uint32_t count)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += hits->rows[i]->image_bytes;
    uint64_t fitting = hits->chunk.bytes_max / (bytes / count + 1);
    hits->batch_rows = fitting < 1 ? 1 : fitting > SEARCH_BATCH_ROWS ? SEARCH_BATCH_ROWS : (uint32_t)fitting;
}

static uint64_t held_bytes(const mote_hits *hits)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < SEARCH_BATCH_ROWS; i++)
        bytes += hits->rows[i] ? hits->rows[i]->capacity_bytes : 0;
    return bytes;
}

static int next_batch(mote_hits *hits, const struct view *view)
{
    uint64_t left = hits->list.count - hits->next, room = hits->chunk.rows_max - hits->chunk.row_count;
    uint32_t count = hits->batch_rows ? hits->batch_rows : BATCH_ROWS_FIRST;
    if (count > left)
        count = (uint32_t)left;
    if (count > room)
        count = (uint32_t)room;
    if (held_bytes(hits) > 2 * hits->chunk.bytes_max)
        free_rows(hits);
    int result = read_batch(hits, view, count);
    while (result == MOTE_EBUDGET && count > 1) {
        /* Rows that are larger than those before. */
        free_rows(hits);
        count /= 2;
        result = read_batch(hits, view, count);
    }
    hits->row_next = hits->row_count = 0;
    if (result)
        return result;
    adapt_batch(hits, count);
    hits->row_count = count;
    hits->next += count;
    return MOTE_OK;
}

/* ---- Hits of which only columns of the key are wanted ---- */

/* The hit's key has them: no row is read. Not of floats, whose zero has a sign that a key may lack. */
static bool keys_have_all(const mote_hits *hits, const struct schema *schema)
{
    for (uint32_t i = 0; i < hits->chunk.column_count; i++) {
        uint32_t position = hits->chunk.columns[i].position, type = schema->columns[position].type;
        bool found = false;
        for (uint32_t k = 0; k < schema->key_column_count && !found; k++)
            found = schema->key_columns[k] == position;
        if (!found || i == MOTE_KEY_COLUMNS_MAX || type == MOTE_TYPE_FLOAT32 || type == MOTE_TYPE_FLOAT64)
            return false;
    }
    return true;
}

static int add_from_key(mote_hits *hits, const struct schema *schema, const struct search_hit *hit)
{
    struct mote_value keys[MOTE_KEY_COLUMNS_MAX], values[MOTE_KEY_COLUMNS_MAX];
    uint8_t scratch[MOTE_KEY_BYTES_MAX];
    int result = key_decode(schema, hits->list.bytes + hit->key_at, hit->key_bytes, keys, scratch);
    for (uint32_t k = 0; k < schema->key_column_count && !result; k++)
        for (uint32_t i = 0; i < hits->chunk.column_count; i++)
            if (hits->chunk.columns[i].position == schema->key_columns[k])
                values[i] = keys[k];
    return result ? result : chunk_add_values(&hits->chunk, values);
}

static int fill_chunk_from_keys(mote_hits *hits, const struct schema *schema)
{
    int result = MOTE_OK;
    while (!result && !chunk_full(&hits->chunk) && hits->next < hits->list.count) {
        const struct search_hit *hit = &hits->list.hits[hits->next++];
        hits->scores[hits->chunk.row_count] = hit->value;
        result = add_from_key(hits, schema, hit);
    }
    return result;
}

/* ---- Chunks ---- */

static int fill_chunk(mote_hits *hits, const struct schema *schema)
{
    struct view view;
    int result = MOTE_OK;
    if (keys_have_all(hits, schema))
        return fill_chunk_from_keys(hits, schema);
    view_acquire(hits->table->db, &view);
    while (!result && !chunk_full(&hits->chunk) && (hits->row_next < hits->row_count || hits->next < hits->list.count)) {
        if (hits->row_next == hits->row_count) {
            result = next_batch(hits, &view);
            continue;
        }
        const mote_row *row = hits->rows[hits->row_next];
        hits->scores[hits->chunk.row_count] = hits->list.hits[hits->next - hits->row_count + hits->row_next].value;
        result = chunk_add_image(&hits->chunk, schema, row->image_schema, row->image);
        hits->row_next++;
    }
    view_release(hits->table->db, &view);
    return result;
}

int mote_hits_next(mote_hits *hits, struct mote_hit_chunk *chunk)
{
    if (!hits || !chunk)
        return error_set(MOTE_EINVAL, "the hits or the chunk is NULL");
    int result = handle_check(hits->table ? hits->table->db : NULL);
    if (!result)
        result = table_check(hits->table);
    if (!result)
        result = search_own_check(&hits->own);
    if (result)
        return result;
    const struct schema *schema = atomic_load_explicit(&hits->table->schema, memory_order_acquire);
    chunk_clear(&hits->chunk);
    result = fill_chunk(hits, schema);
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
    if (!hits || handle_check(hits->table ? hits->table->db : NULL))
        return NULL;
    if (!hits->explained)
        hits->explained = search_explain(hits->table->db->memory, &hits->report, atomic_load_explicit(&hits->table->schema, memory_order_acquire), hits->list.count);
    return hits->explained;
}

void mote_hits_close(mote_hits *hits)
{
    if (!hits || handle_check(hits->table ? hits->table->db : NULL))
        return;
    struct mote_db *db = hits->table->db;
    if (hits->snapshot_slot != UINT32_MAX)
        snapshot_forget(db, hits->snapshot_slot);
    if (hits->own.overlay)
        overlay_release(hits->own.overlay);
    free_rows(hits);
    chunk_destroy(&hits->chunk);
    search_list_free(&hits->list);
    memory_free(db->memory, hits->explained);
    memory_free(db->memory, hits->scores);
    memory_free(db->memory, hits);
}
