/* view.c: what a reader sees: the pinned version and memtable generations, and the pool of readers (queue + segment iterators).
 *
 * Invariant: a view holds every row with seq <= any visible_seq loaded before view_acquire: a generation is listed before its first row, and leaves the list in the same instant (the version mutex) in which the version with its rows is installed.
 */
#include "engine/engine_private.h"

struct acquire {
    struct mote_db *db;
    struct view *view;
};

static void acquire_locked(void *context)
{
    struct acquire *acquire = context;
    struct mote_db *db = acquire->db;
    acquire->view->version = version_acquire_locked(db->manifest);
    acquire->view->generation_count = db->listed_count;
    for (uint32_t i = 0; i < db->listed_count; i++) {
        acquire->view->generations[i] = db->listed[i];
        db->listed[i]->pins++;
    }
}

void view_acquire(struct mote_db *db, struct view *view)
{
    struct acquire acquire = {db, view};
    version_exclusive(db->manifest, acquire_locked, &acquire);
}

struct release {
    struct view *view;
    bool freed; /* a flushed generation lost its last pin: a writer may be waiting for it */
};

static void release_locked(void *context)
{
    struct release *release = context;
    for (uint32_t i = 0; i < release->view->generation_count; i++) {
        struct generation *generation = release->view->generations[i];
        assert(generation->pins > 0);
        generation->pins--;
        release->freed = release->freed || (generation->pins == 0 && generation->state == GENERATION_FLUSHED);
    }
}

void view_release(struct mote_db *db, struct view *view)
{
    struct release release = {view, false};
    version_exclusive(db->manifest, release_locked, &release);
    version_release(db->manifest, view->version);
    view->version = NULL;
    view->generation_count = 0;
    if (release.freed) {
        pthread_mutex_lock(&db->job_mutex);
        pthread_cond_broadcast(&db->done_cond);
        pthread_mutex_unlock(&db->job_mutex);
    }
}

/* ---- Readers ---- */

static int reader_create(struct mote_db *db, struct reader *reader)
{
    struct blockdev_queue_options options = {.depth = 32, .flags = BLOCKDEV_QUEUE_SHARED};
    int result = blockdev_queue_create(db->device, &options, &reader->queue);
    if (result)
        return result;
    return merge_create(db->memory, GENERATIONS_MAX + 1 + READER_SOURCES_KEPT, &reader->merge);
}

static void reader_destroy(struct reader *reader)
{
    for (uint32_t i = 0; i < reader->iterator_end; i++) {
        if (reader->iterators[i])
            sst_iterator_destroy(reader->iterators[i]);
    }
    sst_ahead_destroy(reader->ahead);
    if (reader->merge)
        merge_destroy(reader->merge);
    if (reader->queue)
        blockdev_queue_destroy(reader->queue);
    *reader = (struct reader){0};
}

int readers_create(struct mote_db *db)
{
    db->reader_count = GET_READERS + db->options.cursors_max;
    db->readers = memory_alloc_zero(db->memory, db->reader_count * sizeof *db->readers);
    if (!db->readers)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < db->reader_count; i++) {
        db->readers[i].next_free = db->free_readers;
        db->free_readers = &db->readers[i];
    }
    return MOTE_OK;
}

void readers_destroy(struct mote_db *db)
{
    for (uint32_t i = 0; db->readers && i < db->reader_count; i++)
        reader_destroy(&db->readers[i]);
    memory_free(db->memory, db->readers);
    db->readers = db->free_readers = NULL;
}

int reader_make_iterator(struct mote_db *db, struct reader *reader, uint32_t slot)
{
    assert(slot < READER_ITERATORS_MAX);
    if (slot >= reader->iterator_end)
        reader->iterator_end = slot + 1;
    return reader->iterators[slot] ? MOTE_OK : sst_iterator_create(&db->sst, reader->queue, &reader->iterators[slot]);
}

void reader_rest(struct reader *reader)
{
    for (uint32_t i = 0; i < reader->iterator_end; i++) {
        if (reader->iterators[i])
            sst_iterator_unpin(reader->iterators[i]);
    }
}

/* Readers are made at their first use, so that an open that reads nothing pays nothing. There is one for every cursor and, beside them, GET_READERS. */
struct reader *reader_take(struct mote_db *db, bool for_cursor)
{
    pthread_mutex_lock(&db->reader_mutex);
    while (!for_cursor && db->gets_active == GET_READERS)
        pthread_cond_wait(&db->reader_cond, &db->reader_mutex);
    bool allowed = !for_cursor || db->cursors_open < db->options.cursors_max;
    struct reader *reader = NULL;
    if (allowed) {
        reader = db->free_readers;
        assert(reader);
        db->free_readers = reader->next_free;
        if (for_cursor)
            db->cursors_open++;
        else
            db->gets_active++;
    }
    pthread_mutex_unlock(&db->reader_mutex);
    if (!allowed) {
        error_set(MOTE_EBUDGET, "%u cursors are open, the maximum: close one or raise cursors_max", db->options.cursors_max);
        return NULL;
    }
    reader->next_free = NULL;
    if (!reader->queue && reader_create(db, reader) != MOTE_OK) {
        reader_destroy(reader);
        reader_give(db, reader, for_cursor);
        return NULL;
    }
    return reader;
}

/* What a scan over many segments opened is given back; a few iterators keep their memory for the next read. */
static void close_iterators(struct reader *reader)
{
    if (reader->merge)
        merge_rest(reader->merge);
    for (uint32_t i = 0; reader->ahead && i < reader->iterator_end; i++)
        if (reader->iterators[i])
            sst_iterator_set_ahead(reader->iterators[i], NULL);
    sst_ahead_rest(reader->ahead);
    for (uint32_t i = 0; i < READER_ITERATORS_KEPT && i < reader->iterator_end; i++)
        if (reader->iterators[i])
            sst_iterator_shrink(reader->iterators[i]);
    for (uint32_t i = READER_ITERATORS_KEPT; i < reader->iterator_end; i++) {
        if (reader->iterators[i])
            sst_iterator_destroy(reader->iterators[i]);
        reader->iterators[i] = NULL;
        reader->iterator_segment[i] = 0;
    }
    if (reader->iterator_end > READER_ITERATORS_KEPT)
        reader->iterator_end = READER_ITERATORS_KEPT;
}

void reader_give(struct mote_db *db, struct reader *reader, bool of_cursor)
{
    close_iterators(reader);
    pthread_mutex_lock(&db->reader_mutex);
    reader->next_free = db->free_readers;
    db->free_readers = reader;
    if (of_cursor)
        db->cursors_open--;
    else
        db->gets_active--;
    pthread_cond_signal(&db->reader_cond);
    pthread_mutex_unlock(&db->reader_mutex);
}
