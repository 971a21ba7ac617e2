/* recent_work.c: rows of memtables become batches, batches become larger ones, and who does it: the writers, or a worker (recent.h).
 *
 * A generation of a table is worked on by at most two threads at a time: one puts its tail into a batch, one merges batches. Both take what they need under the mutex, work without it, and publish under it.
 * Threads: any. Failures: none that anybody is told of; a generation that memory did not suffice for is left to the rows. */
#include <assert.h>
#include <string.h>

#include "engine/recent_private.h"

enum { TAIL_WAIT = 8, LEVELS_MAX = 16 }; /* a writer waits for a builder that is so many batches behind */

/* ---- Building ---- */

/* What a build takes with it from under the mutex. */
struct work {
    struct recents *recents;
    struct recent_table *at;
    struct recent_generation *of;
    struct memtable *memtable;
    const struct schema *schema;
    uint64_t bytes_max, first_section_id;
    uint32_t definition_count;
    struct manifest_index definitions[MANIFEST_TABLE_INDEXES_MAX];
};

/* Under the mutex. */
static void begin_work(struct recents *recents, struct recent_table *at, struct recent_generation *of, struct memtable *memtable, struct work *work)
{
    work->recents = recents;
    work->at = at;
    work->of = of;
    work->memtable = memtable;
    work->schema = atomic_load_explicit(&at->table->schema, memory_order_acquire);
    work->bytes_max = recents->bytes < recents->share_bytes ? recents->share_bytes - recents->bytes : 0;
    work->definition_count = at->definition_count;
    work->first_section_id = recents->next_id;
    recents->next_id += at->definition_count + 1;
    memcpy(work->definitions, at->definitions, at->definition_count * sizeof *work->definitions);
}

/* NULL: no memory for it. *rows is room for twice the count. */
static struct recent_batch *make_batch(const struct work *work, struct recent_row *rows, uint32_t count)
{
    if ((uint64_t)count * sizeof *rows > work->bytes_max)
        return NULL;
    return recent_batch_make(work->recents->db, work->schema, work->memtable, rows, count, work->definitions, work->definition_count, work->bytes_max, work->first_section_id);
}

/* The rows noted behind end_place up to a note, newest note first: the order is that of sorting. */
static struct recent_row *collect_tail(const struct work *work, const struct memtable_note *last, uint32_t end_place, uint32_t count)
{
    struct recent_row *rows = memory_alloc(work->recents->db->memory, 2 * (uint64_t)count * sizeof *rows);
    uint32_t at = count;
    for (struct memtable_note note = *last; rows && note.place != end_place; memtable_note_previous(work->memtable, &note)) {
        assert(note.count <= at);
        at -= note.count;
        for (uint32_t i = 0; i < note.count; i++)
            rows[at + i] = recent_row_of(work->memtable, note.refs[i]);
    }
    assert(!rows || at == 0);
    return rows;
}

static void publish_batch(struct work *work, struct recent_batch *batch)
{
    struct recent_generation *of = work->of;
    assert(of->batch_count < RECENT_BATCHES_MAX);
    work->recents->bytes += batch->bytes;
    of->batches[of->batch_count++] = batch;
}

/* Whether rows noted since the last batch passed a multiple of what makes one. That is when recent_follow looks; to ask for so many rows instead would leave a tail of nearly twice as many, since a batch ends anywhere. */
static bool tail_is_due(const struct recents *recents, const struct recent_generation *of, const struct memtable_note *last)
{
    uint32_t rows = atomic_load(&recents->rows);
    return last->total / rows != of->end_total / rows;
}

/* Puts the tail into a batch. Under the mutex, which is let go meanwhile; the caller keeps the generation. */
static bool build_tail(struct recents *recents, struct recent_table *at, struct recent_generation *of, struct memtable *memtable, struct work *work)
{
    struct memtable_note last;
    memtable_note_last(memtable, &last);
    uint32_t count = last.total - of->end_total, end_place = of->end_place;
    if (of->building || of->given_up || !of->replayed_done || !tail_is_due(recents, of, &last) || of->batch_count == RECENT_BATCHES_MAX)
        return false;
    begin_work(recents, at, of, memtable, work);
    of->building = true;
    pthread_mutex_unlock(&recents->mutex);
    struct recent_row *rows = count <= RECENT_BATCH_ROWS_MAX ? collect_tail(work, &last, end_place, count) : NULL;
    struct recent_batch *batch = rows ? make_batch(work, rows, count) : NULL;
    memory_free(recents->db->memory, rows);
    pthread_mutex_lock(&recents->mutex);
    of->building = false;
    of->given_up = !batch;
    if (batch) {
        publish_batch(work, batch);
        of->end_place = last.place;
        of->end_total = last.total;
    }
    pthread_cond_broadcast(&recents->built);
    return batch != NULL;
}

/* ---- Replayed rows ---- */

/* The rows that the generation had at the open, in batches; in order as they are. */
static bool fill_replayed(struct work *work, uint64_t seq_max)
{
    uint64_t left = memtable_count(work->memtable), room = left < RECENT_BATCH_ROWS_MAX / 4 ? left : RECENT_BATCH_ROWS_MAX / 4;
    struct recent_row *rows = memory_alloc(work->recents->db->memory, 2 * (room + 1) * sizeof *rows);
    struct memtable_iterator iterator;
    bool good = rows != NULL;
    memtable_iterate(work->memtable, &iterator);
    for (bool on = good && memtable_first(&iterator); on && good;) {
        uint32_t count = 0;
        for (; on && count < room; on = memtable_next(&iterator)) {
            const struct schema *schema;
            const uint8_t *image;
            uint32_t image_bytes;
            struct record record;
            memtable_record(&iterator, &record, &schema, &image, &image_bytes);
            if (record.kind == RECORD_PUT && record.seq <= seq_max)
                rows[count++] = recent_row_of(work->memtable, memtable_iterator_ref(&iterator));
        }
        if (count == 0)
            break;
        struct recent_batch *batch = make_batch(work, rows, count);
        pthread_mutex_lock(&work->recents->mutex);
        good = batch && work->of->batch_count < RECENT_BATCHES_MAX;
        if (good)
            publish_batch(work, batch);
        if (good)
            begin_work(work->recents, work->at, work->of, work->memtable, work);
        pthread_mutex_unlock(&work->recents->mutex);
        if (batch && !good)
            recent_batch_free(work->recents->db, batch);
    }
    memory_free(work->recents->db->memory, rows);
    return good;
}

/* Under the mutex, which is let go meanwhile. */
static bool build_replayed(struct recents *recents, struct recent_table *at, struct recent_generation *of, const struct generation *generation, struct memtable *memtable, struct work *work)
{
    if (of->replayed_done || of->given_up || of->building)
        return false;
    begin_work(recents, at, of, memtable, work);
    of->building = true;
    pthread_mutex_unlock(&recents->mutex);
    bool good = fill_replayed(work, generation->replayed_seq);
    pthread_mutex_lock(&recents->mutex);
    of->building = false;
    of->replayed_done = good;
    of->given_up = !good;
    if (!good)
        recents_empty(recents, of);
    pthread_cond_broadcast(&recents->built);
    return good;
}

/* ---- Merging ---- */

static uint32_t level_of(const struct recents *recents, const struct recent_batch *batch)
{
    uint32_t level = 0;
    for (uint64_t rows = (uint64_t)atomic_load(&recents->rows) * RECENT_FANOUT; rows <= batch->row_count && level + 1 < LEVELS_MAX; rows *= RECENT_FANOUT)
        level++;
    return level;
}

static bool has_section(const struct recent_batch *batch, uint64_t index_id)
{
    bool found = false;
    for (uint32_t k = 0; k < batch->section_count && !found; k++)
        found = batch->sections[k].index_id == index_id;
    return found;
}

static bool is_wanting(const struct work *work, const struct recent_batch *batch)
{
    for (uint32_t i = 0; i < work->definition_count; i++)
        if (!has_section(batch, work->definitions[i].id))
            return true;
    return false;
}

/* Whether memory did not suffice for a section of the larger batch that all of the smaller ones have. */
static bool loses_section(const struct work *work, struct recent_batch *const *chosen, uint32_t chosen_count, const struct recent_batch *batch)
{
    for (uint32_t i = 0; i < work->definition_count; i++) {
        uint32_t have = 0;
        for (uint32_t k = 0; k < chosen_count; k++)
            have += has_section(chosen[k], work->definitions[i].id);
        if (have == chosen_count && !has_section(batch, work->definitions[i].id))
            return true;
    }
    return false;
}

/* The batches of the lowest level that has `fanout` of them; 0: none has. Or else one that lacks a section of an index that was declared later. */
static uint32_t choose_batches(const struct recents *recents, const struct work *work, uint32_t fanout, struct recent_batch **chosen)
{
    const struct recent_generation *of = work->of;
    for (uint32_t level = 0; level < LEVELS_MAX; level++) {
        uint64_t rows = 0;
        uint32_t count = 0;
        for (uint32_t i = 0; i < of->batch_count; i++)
            if (level_of(recents, of->batches[i]) == level) {
                chosen[count++] = of->batches[i];
                rows += of->batches[i]->row_count;
            }
        if (count >= fanout && rows <= RECENT_BATCH_ROWS_MAX)
            return count;
    }
    for (uint32_t i = 0; i < of->batch_count; i++)
        if (!of->batches[i]->remade && is_wanting(work, of->batches[i])) {
            chosen[0] = of->batches[i];
            return 1;
        }
    return 0;
}

static struct recent_batch *merge_batches(const struct work *work, struct recent_batch *const *chosen, uint32_t chosen_count)
{
    struct memory *memory = work->recents->db->memory;
    uint32_t count = 0, at = 0;
    for (uint32_t i = 0; i < chosen_count; i++)
        count += chosen[i]->row_count;
    struct recent_row *rows = memory_alloc(memory, 2 * (uint64_t)count * sizeof *rows);
    for (uint32_t i = 0; i < chosen_count && rows; i++)
        for (uint32_t k = 0; k < chosen[i]->row_count; k++)
            rows[at++] = recent_row_of(work->memtable, chosen[i]->rows[k]);
    struct recent_batch *batch = rows ? make_batch(work, rows, count) : NULL;
    memory_free(memory, rows);
    if (batch)
        batch->remade = true; /* what it lacks now it lacks for want of memory */
    return batch;
}

static void replace_batches(struct work *work, struct recent_batch *const *chosen, uint32_t chosen_count, struct recent_batch *batch)
{
    struct recent_generation *of = work->of;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < of->batch_count; i++) {
        bool gone = false;
        for (uint32_t k = 0; k < chosen_count && !gone; k++)
            gone = chosen[k] == of->batches[i];
        if (gone)
            recents_let_go(work->recents, of->batches[i]);
        else
            of->batches[kept++] = of->batches[i];
    }
    assert(kept + chosen_count == of->batch_count);
    of->batch_count = kept;
    publish_batch(work, batch);
}

/* Merges where there are so many batches of a level. Under the mutex, which is let go meanwhile; the caller keeps the generation. */
static bool merge_some(struct recents *recents, struct recent_table *at, struct recent_generation *of, struct memtable *memtable, uint32_t fanout, struct work *work)
{
    struct recent_batch *chosen[RECENT_BATCHES_MAX];
    if (of->merging || of->building || of->given_up || of->merging_given_up || !of->replayed_done)
        return false;
    begin_work(recents, at, of, memtable, work);
    uint32_t count = choose_batches(recents, work, fanout, chosen);
    if (count == 0)
        return false;
    of->merging = true;
    pthread_mutex_unlock(&recents->mutex);
    struct recent_batch *batch = merge_batches(work, chosen, count);
    if (batch && loses_section(work, chosen, count, batch)) {
        recent_batch_free(recents->db, batch);
        batch = NULL;
    }
    pthread_mutex_lock(&recents->mutex);
    of->merging = false;
    of->merging_given_up = !batch;
    if (batch)
        replace_batches(work, chosen, count, batch);
    return batch != NULL;
}

/* ---- Who builds ---- */

void recents_wake(struct recents *recents)
{
    struct mote_db *db = recents->db;
    if (atomic_exchange(&recents->wanted, 1))
        return;
    pthread_mutex_lock(&db->job_mutex);
    pthread_cond_signal(&db->job_cond);
    pthread_mutex_unlock(&db->job_mutex);
}

/* A writer's part. Under the mutex. */
static void build_here(struct recents *recents, struct recent_table *at, struct recent_generation *of, struct memtable *memtable, bool alone, struct work *work)
{
    struct memtable_note last;
    memtable_note_last(memtable, &last);
    while (of->building && !of->given_up && last.total >= of->end_total + TAIL_WAIT * atomic_load(&recents->rows))
        pthread_cond_wait(&recents->built, &recents->mutex);
    build_tail(recents, at, of, memtable, work);
    /* A worker merges, if there is one and it comes to it. */
    while (merge_some(recents, at, of, memtable, alone ? RECENT_FANOUT : 2 * RECENT_FANOUT, work))
        continue;
}

void recent_follow(struct mote_table *table, struct generation *generation, struct memtable *memtable, uint32_t total, uint32_t count, bool from_ring)
{
    struct mote_db *db = table->db;
    struct recents *recents = db->recents;
    struct mote_error kept;
    uint32_t rows = atomic_load_explicit(&recents->rows, memory_order_relaxed);
    /* Whoever's rows reach the next batch looks further. */
    if (total / rows == (total - count) / rows)
        return;
    int code = error_get(&kept);
    struct work *work = memory_alloc(db->memory, sizeof *work);
    pthread_mutex_lock(&recents->mutex);
    struct recent_table *at = recents_find_table(recents, table);
    struct recent_generation *of = at ? recents_find(at, generation) : NULL;
    bool here = of && work && (db->worker_count == 0 || (at->realtime && !from_ring));
    if (here)
        build_here(recents, at, of, memtable, db->worker_count == 0, work);
    bool wake = of && db->worker_count > 0 && !of->given_up && (!here || of->batch_count >= RECENT_FANOUT);
    pthread_mutex_unlock(&recents->mutex);
    memory_free(db->memory, work);
    if (wake)
        recents_wake(recents);
    if (code)
        error_restore(&kept);
}

/* All that is due of one generation of one table; the caller has it pinned. */
static bool build_generation(struct recents *recents, struct recent_table *at, const struct generation *generation, bool only_realtime, struct work *work)
{
    struct memtable *memtable = memtable_of_table(generation->memtables, at->table->id, false);
    bool did = false;
    if (!memtable)
        return false;
    pthread_mutex_lock(&recents->mutex);
    struct recent_generation *of = at->realtime || !only_realtime ? recents_find(at, generation) : NULL;
    if (of) {
        did = build_replayed(recents, at, of, generation, memtable, work);
        did = build_tail(recents, at, of, memtable, work) || did;
        did = merge_some(recents, at, of, memtable, RECENT_FANOUT, work) || did;
    }
    pthread_mutex_unlock(&recents->mutex);
    return did;
}

static bool build_some(struct mote_db *db, bool only_realtime)
{
    struct recents *recents = db->recents;
    struct view view;
    struct mote_error kept;
    bool did = false;
    int code = error_get(&kept);
    struct work *work = memory_alloc(db->memory, sizeof *work);
    view_acquire(db, &view);
    /* Tables stay in the list once they are in it, at its front. */
    pthread_mutex_lock(&recents->mutex);
    struct recent_table *at = recents->tables;
    pthread_mutex_unlock(&recents->mutex);
    for (; at && work; at = at->next)
        for (uint32_t i = view.generation_count; i-- > 0;)
            did = build_generation(recents, at, view.generations[i], only_realtime, work) || did;
    view_release(db, &view);
    memory_free(db->memory, work);
    if (code)
        error_restore(&kept);
    return did;
}

bool recents_build_some(struct mote_db *db)
{
    if (!db->recents || !atomic_exchange(&db->recents->wanted, 0))
        return false;
    bool did = build_some(db, false);
    if (did)
        atomic_store(&db->recents->wanted, 1);
    return did;
}

/* Whether somebody was building, and has ended. */
static bool wait_for_builder(struct recents *recents)
{
    bool waited = false;
    pthread_mutex_lock(&recents->mutex);
    for (struct recent_table *at = recents->tables; at; at = at->next)
        for (uint32_t i = 0; i < recents->db->generation_count; i++)
            while (at->realtime && at->generations[i].building) {
                pthread_cond_wait(&recents->built, &recents->mutex);
                waited = true;
            }
    pthread_mutex_unlock(&recents->mutex);
    return waited;
}

/* A worker may have begun with it already. */
void recents_begin(struct mote_db *db)
{
    bool alone = db->options.workers == MOTE_NO_THREADS || db->read_only;
    if (!db->recents->tables)
        return;
    while (build_some(db, !alone) || wait_for_builder(db->recents))
        continue;
    atomic_store(&db->recents->wanted, 1);
}
