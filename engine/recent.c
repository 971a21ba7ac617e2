/* recent.c: which tables have rows indexed in memory, and the batches of each generation: kept, pinned, given back (recent.h). recent_work.c makes them.
 *
 * Threads: any. Failures: none that anybody is told of; a generation that memory did not suffice for is left to the rows. */
#include <assert.h>
#include <string.h>

#include "engine/recent_private.h"

int recents_create(struct mote_db *db)
{
    struct recents *recents = memory_alloc_zero(db->memory, sizeof *recents);
    if (!recents)
        return MOTE_EBUDGET;
    recents->db = db;
    recents->share_bytes = memory_budget_bytes(db->memory) / RECENT_SHARE;
    atomic_store(&recents->rows, RECENT_ROWS);
    recents->next_id = 1;
    pthread_mutex_init(&recents->mutex, NULL);
    pthread_cond_init(&recents->built, NULL);
    db->recents = recents;
    return MOTE_OK;
}

void recents_set_rows(struct mote_db *db, uint32_t rows) { atomic_store(&db->recents->rows, rows); }

uint64_t recents_bytes(struct mote_db *db)
{
    pthread_mutex_lock(&db->recents->mutex);
    uint64_t bytes = db->recents->bytes;
    pthread_mutex_unlock(&db->recents->mutex);
    return bytes;
}

/* ---- Batches; all under the mutex ---- */

void recents_let_go(struct recents *recents, struct recent_batch *batch)
{
    if (batch->pins > 0) {
        batch->dead = true;
        return;
    }
    assert(recents->bytes >= batch->bytes);
    recents->bytes -= batch->bytes;
    recent_batch_free(recents->db, batch);
}

void recents_empty(struct recents *recents, struct recent_generation *of)
{
    for (uint32_t i = 0; i < of->batch_count; i++)
        recents_let_go(recents, of->batches[i]);
    of->batch_count = 0;
}

struct recent_generation *recents_find(struct recent_table *at, const struct generation *generation)
{
    struct recent_generation *of = &at->generations[generation - at->table->db->generations];
    if (at->definition_count == 0 || generation->number <= at->noted_after)
        return NULL;
    if (of->number != generation->number) {
        assert(of->batch_count == 0 && !of->building && !of->merging);
        *of = (struct recent_generation){.number = generation->number, .replayed_done = generation->replayed_seq == 0};
    }
    return of;
}

struct recent_table *recents_find_table(struct recents *recents, const struct mote_table *table)
{
    struct recent_table *at = recents->tables;
    while (at && at->table != table)
        at = at->next;
    return at;
}

void recents_forget(struct mote_db *db, const struct generation *generation)
{
    struct recents *recents = db->recents;
    if (!recents)
        return;
    pthread_mutex_lock(&recents->mutex);
    for (struct recent_table *at = recents->tables; at; at = at->next) {
        struct recent_generation *of = &at->generations[generation - db->generations];
        recents_empty(recents, of);
        *of = (struct recent_generation){0};
    }
    pthread_mutex_unlock(&recents->mutex);
}

void recents_drop(struct mote_db *db)
{
    struct recents *recents = db->recents;
    pthread_mutex_lock(&recents->mutex);
    for (struct recent_table *at = recents->tables; at; at = at->next) {
        for (uint32_t i = 0; i < db->generation_count; i++) {
            struct recent_generation *of = &at->generations[i];
            /* Without its batches its notes are of no use: its end is where its batches end. */
            if (of->merging || of->building)
                continue;
            recents_empty(recents, of);
            of->end_place = of->end_total = 0;
            of->replayed_done = false;
            of->given_up = of->number != 0;
        }
    }
    pthread_mutex_unlock(&recents->mutex);
}

void recents_destroy(struct mote_db *db)
{
    struct recents *recents = db->recents;
    if (!recents)
        return;
    for (uint32_t i = 0; i < db->generation_count; i++)
        recents_forget(db, &db->generations[i]);
    while (recents->tables) {
        struct recent_table *at = recents->tables;
        recents->tables = at->next;
        memory_free(db->memory, at);
    }
    assert(recents->bytes == 0);
    pthread_cond_destroy(&recents->built);
    pthread_mutex_destroy(&recents->mutex);
    memory_free(db->memory, recents);
    db->recents = NULL;
}

/* ---- Readers ---- */

void recent_pin(struct mote_table *table, const struct generation *generation, struct memtable *memtable, struct recent_view *view)
{
    struct recents *recents = table->db->recents;
    *view = (struct recent_view){.memtable = memtable};
    if (!recents || !memtable || !recent_wanted(table))
        return;
    pthread_mutex_lock(&recents->mutex);
    struct recent_table *at = recents_find_table(recents, table);
    struct recent_generation *of = at ? recents_find(at, generation) : NULL;
    view->complete = of && of->replayed_done;
    if (view->complete) {
        view->batch_count = of->batch_count;
        for (uint32_t i = 0; i < of->batch_count; i++) {
            view->batches[i] = of->batches[i];
            view->batches[i]->pins++;
        }
        view->end_place = of->end_place;
        memtable_note_last(memtable, &view->last);
    }
    pthread_mutex_unlock(&recents->mutex);
}

void recent_unpin(struct mote_table *table, struct recent_view *view)
{
    struct recents *recents = table->db->recents;
    if (view->batch_count == 0)
        return;
    pthread_mutex_lock(&recents->mutex);
    for (uint32_t i = 0; i < view->batch_count; i++) {
        struct recent_batch *batch = view->batches[i];
        assert(batch->pins > 0);
        if (--batch->pins == 0 && batch->dead)
            recents_let_go(recents, batch);
    }
    pthread_mutex_unlock(&recents->mutex);
    view->batch_count = 0;
}

/* ---- Declarations ---- */

struct numbering {
    struct mote_db *db;
    uint64_t made;
};

static void number_locked(void *context)
{
    struct numbering *numbering = context;
    numbering->made = numbering->db->generations_made;
}

/* From here on rows are noted, in every generation that begins later: a writer that did not see it yet is in an earlier one (append.c). */
static uint64_t begin_noting(struct mote_table *table)
{
    struct numbering numbering = {table->db, 0};
    atomic_store(&table->recent_wanted, 1);
    version_exclusive(table->db->manifest, number_locked, &numbering);
    return numbering.made;
}

static struct recent_table *make_table(struct recents *recents, struct mote_table *table)
{
    struct recent_table *at = recents_find_table(recents, table);
    if (at)
        return at;
    at = memory_alloc_zero(recents->db->memory, sizeof *at);
    if (!at)
        return NULL;
    at->table = table;
    at->next = recents->tables;
    recents->tables = at;
    return at;
}

static void take_definitions(struct recent_table *at)
{
    struct mote_db *db = at->table->db;
    at->definition_count = 0;
    at->realtime = false;
    pthread_mutex_lock(&db->index_mutex);
    for (uint32_t i = 0; i < db->index_count && at->definition_count < MANIFEST_TABLE_INDEXES_MAX; i++) {
        if (db->indexes[i].table_id != at->table->id || db->indexes[i].strategy == MOTE_INDEX_BATCH)
            continue;
        at->definitions[at->definition_count++] = db->indexes[i];
        at->realtime |= db->indexes[i].strategy == MOTE_INDEX_REALTIME;
    }
    pthread_mutex_unlock(&db->index_mutex);
}

static bool has_definitions(struct mote_table *table)
{
    struct mote_db *db = table->db;
    bool found = false;
    pthread_mutex_lock(&db->index_mutex);
    for (uint32_t i = 0; i < db->index_count && !found; i++)
        found = db->indexes[i].table_id == table->id && db->indexes[i].strategy != MOTE_INDEX_BATCH;
    pthread_mutex_unlock(&db->index_mutex);
    return found;
}

int recent_settle(struct mote_table *table)
{
    struct recents *recents = table->db->recents;
    bool wanted = has_definitions(table), began = wanted && !recent_wanted(table);
    uint64_t noted_after = began ? begin_noting(table) : 0;
    int result = MOTE_OK;
    if (!wanted && !recent_wanted(table))
        return MOTE_OK;
    pthread_mutex_lock(&recents->mutex);
    struct recent_table *at = make_table(recents, table);
    if (at) {
        at->noted_after = began ? noted_after : at->noted_after;
        take_definitions(at);
    } else {
        result = MOTE_EBUDGET;
    }
    pthread_mutex_unlock(&recents->mutex);
    if (!wanted || result)
        atomic_store(&table->recent_wanted, 0);
    else
        recents_wake(recents);
    return result;
}
