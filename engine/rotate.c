/* rotate.c: generations of memtables: the cut, and the flush of the oldest immutable one.
 *
 * Invariants
 *   1. A generation is listed for readers before the log hands it to writers, and is unlisted in the instant in which the version with its rows is installed.
 *   2. Generations are flushed in the order of their cuts; flushed_seq is the newest flushed cut.
 *   3. A failed flush changes nothing: the generation stays listed and immutable, its rows readable and in the log, and is tried again.
 *   4. A generation is recycled when it is flushed and neither a reader nor a writer is on it.
 */
#include <sched.h>
#include <time.h>

#include "engine/blob.h"
#include "engine/engine_private.h"
#include "engine/recent.h"
#include "engine/retention.h"
#include "engine/vector_cache.h"

/* ---- The list that readers see; all under the version mutex ---- */

struct listing {
    struct mote_db *db;
    struct generation *generation;
};

static void recycle_locked(void *context)
{
    struct listing *listing = context;
    struct mote_db *db = listing->db;
    for (uint32_t i = 0; i < db->generation_count && !listing->generation; i++) {
        struct generation *generation = &db->generations[i];
        bool idle = generation->state == GENERATION_FLUSHED && generation->pins == 0 && atomic_load(&generation->writers) == 0;
        if (idle) {
            recents_forget(db, generation);
            memtable_generation_reset(generation->memtables);
            blobs_forget(db, generation);
            generation->state = GENERATION_FREE;
        }
        if (generation->state == GENERATION_FREE && atomic_load(&generation->writers) == 0)
            listing->generation = generation;
    }
}

/* Nobody reads or writes a flushed generation without pins and writers any more, though its memory waits to be used again: what it holds elsewhere need not wait. */
static void let_go_locked(void *context)
{
    struct mote_db *db = context;
    for (uint32_t i = 0; i < db->generation_count; i++)
        if (db->generations[i].state == GENERATION_FLUSHED && db->generations[i].pins == 0 && atomic_load(&db->generations[i].writers) == 0) {
            recents_forget(db, &db->generations[i]);
            blobs_forget(db, &db->generations[i]);
        }
}

void generations_let_go(struct mote_db *db) { version_exclusive(db->manifest, let_go_locked, db); }

static void list_locked(void *context)
{
    struct listing *listing = context;
    struct mote_db *db = listing->db;
    assert(db->listed_count < GENERATIONS_MAX);
    for (uint32_t i = db->listed_count++; i > 0; i--)
        db->listed[i] = db->listed[i - 1];
    db->listed[0] = listing->generation;
    listing->generation->state = GENERATION_ACTIVE;
    listing->generation->number = ++db->generations_made;
    listing->generation->replayed_seq = 0;
}

static void unlist(struct mote_db *db, struct generation *generation)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < db->listed_count; i++) {
        if (db->listed[i] != generation)
            db->listed[kept++] = db->listed[i];
    }
    assert(kept + 1 == db->listed_count);
    db->listed_count = kept;
}

static void unlist_unused_locked(void *context)
{
    struct listing *listing = context;
    unlist(listing->db, listing->generation);
    listing->generation->state = GENERATION_FREE;
}

static void immutable_locked(void *context)
{
    struct listing *listing = context;
    listing->generation->state = GENERATION_IMMUTABLE;
}

static void oldest_locked(void *context)
{
    struct listing *listing = context;
    struct mote_db *db = listing->db;
    for (uint32_t i = db->listed_count; i > 0 && !listing->generation; i--) {
        if (db->listed[i - 1]->state == GENERATION_IMMUTABLE)
            listing->generation = db->listed[i - 1];
    }
}

static struct generation *oldest_immutable(struct mote_db *db)
{
    struct listing listing = {db, NULL};
    version_exclusive(db->manifest, oldest_locked, &listing);
    return listing.generation;
}

struct shortage {
    const struct mote_db *db;
    bool waiting, free;
};

static void shortage_locked(void *context)
{
    struct shortage *shortage = context;
    for (uint32_t i = 0; i < shortage->db->generation_count; i++) {
        const struct generation *generation = &shortage->db->generations[i];
        shortage->waiting = shortage->waiting || generation->state == GENERATION_IMMUTABLE;
        shortage->free = shortage->free || generation->state == GENERATION_FREE || (generation->state == GENERATION_FLUSHED && generation->pins == 0);
    }
}

bool memory_is_short(struct mote_db *db)
{
    struct shortage shortage = {.db = db};
    version_exclusive(db->manifest, shortage_locked, &shortage);
    return shortage.waiting && !shortage.free;
}

bool flush_waiting(struct mote_db *db) { return oldest_immutable(db) != NULL; }

/* ---- Rotation ---- */

/* Writers that come at the same time may each pass by their own rows: the headroom is a share, not a promise to the byte. */
bool generation_reserve(const struct mote_db *db, struct generation *generation, uint64_t room_bytes, bool may_use_headroom, struct memtable_room *room)
{
    uint64_t kept_bytes = may_use_headroom ? 0 : atomic_load_explicit(&db->headroom_bytes, memory_order_relaxed);
    if (kept_bytes > 0 && memtable_used_bytes(generation->memtables) + room_bytes + kept_bytes > memtable_arena_bytes(generation->memtables))
        return false;
    return memtable_reserve(generation->memtables, room_bytes, room);
}

/* Waits until a flush ended or a reader let go. Returns the last flush's failure when it is one that will not pass by itself. */
static int wait_for_room(struct mote_db *db)
{
    if (atomic_load(&db->poisoned))
        return db_poison(db, 0);
    if (db->options.workers == MOTE_NO_THREADS) {
        bool did;
        int result = flush_oldest(db, &did);
        if (!result && !did)
            sched_yield();
        return result;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20 * NS_PER_MS;
    if (until.tv_nsec >= NS_PER_S) {
        until.tv_sec++;
        until.tv_nsec -= NS_PER_S;
    }
    uint64_t begin_ns = now_ns();
    atomic_fetch_add(&db->urgency, 1);
    pthread_mutex_lock(&db->job_mutex);
    pthread_cond_signal(&db->job_cond);
    pthread_cond_timedwait(&db->done_cond, &db->job_mutex, &until);
    pthread_mutex_unlock(&db->job_mutex);
    atomic_fetch_sub(&db->urgency, 1);
    atomic_fetch_add(&db->counters.stalls, 1);
    atomic_fetch_add(&db->counters.stall_ns, now_ns() - begin_ns);
    int failure = atomic_load(&db->flush_failure);
    if (failure && oldest_immutable(db))
        return error_set(failure, "no row can be taken: the memtables are full and the flush fails (%s); free space on %s (drop or compact tables)", mote_error_name(failure), blockdev_path(db->device));
    return MOTE_OK;
}

int rotate_check_space(struct mote_db *db, bool from_ring)
{
    while (!from_ring && atomic_load_explicit(&db->writers_held, memory_order_relaxed)) {
        int result = wait_for_room(db);
        if (result)
            return result;
    }
    if (atomic_load_explicit(&db->flush_failure, memory_order_relaxed) != MOTE_ENOSPC)
        return MOTE_OK;
    return oldest_immutable(db) ? wait_for_room(db) : MOTE_OK;
}

static int switch_generation(struct mote_db *db, struct generation *old, struct generation *next)
{
    struct listing listing = {db, next};
    version_exclusive(db->manifest, list_locked, &listing);
    /* The stage that the rotation opens needs log space, and log space may need this rotation's flush: so it may exceed the log's usual maximum. */
    int result = space_extend(db, true);
    if (!result)
        result = wal_rotate(db->wal, next, &old->cut);
    if (result) {
        version_exclusive(db->manifest, unlist_unused_locked, &listing);
        return result;
    }
    listing.generation = old;
    version_exclusive(db->manifest, immutable_locked, &listing);
    jobs_wake(db);
    return MOTE_OK;
}

int rotate(struct mote_db *db, struct generation *expected)
{
    int result = MOTE_OK;
    for (;;) {
        pthread_mutex_lock(&db->rotate_mutex);
        struct generation *active = wal_active_user(db->wal);
        bool needed = expected ? active == expected : memtable_generation_count(active->memtables) > 0;
        struct listing free_one = {db, NULL};
        if (needed)
            version_exclusive(db->manifest, recycle_locked, &free_one);
        if (!needed || free_one.generation) {
            if (needed)
                result = switch_generation(db, active, free_one.generation);
            pthread_mutex_unlock(&db->rotate_mutex);
            return result;
        }
        pthread_mutex_unlock(&db->rotate_mutex);
        if (!expected && oldest_immutable(db))
            return MOTE_OK; /* a writer rotated meanwhile: the caller flushes, and must not wait for a flush that only it may be there to do */
        result = wait_for_room(db);
        if (result)
            return result;
    }
}

/* ---- Flush ---- */

static int wait_durable(void *context, uint64_t cut_seq)
{
    struct listing *listing = context;
    return wal_wait(listing->db->wal, cut_seq, MOTE_FOREVER);
}

static const struct schema *find_schema(void *context, uint64_t table_id)
{
    struct listing *listing = context;
    return catalog_live_schema(listing->db, table_id);
}

static int64_t next_rowid(void *context, uint64_t table_id)
{
    struct listing *listing = context;
    struct mote_table *table = catalog_find_id(listing->db, table_id);
    return table ? atomic_load(&table->next_rowid) : 0;
}

static struct window_frame flush_windows(void *context, uint64_t table_id) { return retention_windows_now(((struct listing *)context)->db, table_id); }

static void flush_watermark(void *context, uint64_t table_id, struct manifest_edit *edit) { retention_add_watermark(((struct listing *)context)->db, table_id, edit); }

static void installed(void *context)
{
    struct listing *listing = context;
    struct generation *generation = listing->generation;
    unlist(listing->db, generation);
    generation->state = GENERATION_FLUSHED;
    atomic_store(&listing->db->flushed_seq, generation->cut.seq);
    uint64_t cut_lsn = atomic_load(&generation->cut.lsn);
    if (cut_lsn != UINT64_MAX)
        atomic_store(&listing->db->flushed_cut_lsn, cut_lsn);
}

/* Writers that have a seq before the cut finish within a few instructions; all of them are visible then. */
static void wait_settled(struct mote_db *db, const struct generation *generation)
{
    while (atomic_load(&db->visible_seq) < generation->cut.seq)
        sched_yield();
}

static int flush_locked(struct mote_db *db, struct generation *generation)
{
    uint64_t *snapshots = memory_alloc(db->memory, (db->snapshot_slots + 1) * sizeof *snapshots);
    if (!snapshots)
        return MOTE_EBUDGET;
    uint64_t begin_ns = now_ns(), longest_ns = atomic_load(&db->flush_ns);
    wait_settled(db, generation);
    struct listing listing = {db, generation};
    struct lsm_job_context job;
    jobs_context(db, db->flush_queue, snapshots, &job);
    struct lsm_flush flush = {
        .generation = generation->memtables,
        .cut_seq = generation->cut.seq,
        .find_schema = find_schema,
        .next_rowid = next_rowid,
        .windows = flush_windows,
        .add_watermark = flush_watermark,
        .wait_durable = wait_durable,
        .installed = installed,
        .context = &listing,
    };
    int result = lsm_flush_generation(&job, &flush);
    memory_free(db->memory, snapshots);
    if (!result) {
        atomic_fetch_add(&db->counters.flushes, 1);
        generations_let_go(db);
    }
    uint64_t took_ns = now_ns() - begin_ns;
    longest_ns -= longest_ns / 8;
    atomic_store(&db->flush_ns, took_ns > longest_ns ? took_ns : longest_ns);
    return result;
}

/* Whether a failure leaves everything as it was (and may pass), or ends all promises. */
static bool flush_may_retry(int result) { return result == MOTE_ENOSPC || result == MOTE_EBUDGET || result == MOTE_ENOMEM; }

/* A flush found no memory: a compaction that is under way gives its own back, and none begins before the flush ends; so does the building of an index; and what is only kept for later goes. */
static int flush_starved(struct mote_db *db, struct generation *generation)
{
    atomic_fetch_add(&db->flushes_starved, 1);
    pthread_mutex_lock(&db->compact_mutex);
    index_steps_abandon(db);
    vector_cache_drop_idle(db->vector_cache);
    recents_drop(db);
    sst_scratch_drain(&db->sst);
    int result = flush_locked(db, generation);
    pthread_mutex_unlock(&db->compact_mutex);
    atomic_fetch_sub(&db->flushes_starved, 1);
    return result;
}

/* The caller holds flush_mutex; it is let go. */
static int flush_and_let_go(struct mote_db *db, bool in_compaction, bool *did)
{
    struct generation *generation = oldest_immutable(db);
    *did = generation != NULL;
    int result = MOTE_OK;
    if (generation) {
        result = flush_locked(db, generation);
        if (result == MOTE_EBUDGET && !in_compaction)
            result = flush_starved(db, generation);
        if (result == MOTE_ENOSPC && trim_some(db, db->flush_queue) > 0)
            result = flush_locked(db, generation);
        while (result == MOTE_ENOSPC && !in_compaction && retention_make_room(db))
            result = flush_locked(db, generation);
        if (in_compaction && flush_may_retry(result)) {
            pthread_mutex_unlock(&db->flush_mutex);
            return result;
        }
        /* Writers that were told of a failure are let in again: the log may take what the flush gave back. */
        if (atomic_exchange(&db->flush_failure, result) == MOTE_ENOSPC && !result)
            wal_set_space_error(db->wal, MOTE_OK);
    }
    pthread_mutex_unlock(&db->flush_mutex);
    if (!*did)
        return MOTE_OK;
    if (result && !flush_may_retry(result) && result != MOTE_EPOISONED)
        db_poison(db, result);
    bool indexed = indexes_any(db);
    retention_want(db);
    if (!result && db->options.workers == MOTE_NO_THREADS && !db->options.inline_io)
        retention_run(db, NULL); /* nobody else would; what fails now is tried again */
    pthread_mutex_lock(&db->job_mutex);
    db->job_count++;
    db->compact_wanted = db->compact_wanted || !result;
    db->index_wanted = db->index_wanted || (!result && indexed);
    db->flush_retry_ns = result ? now_ns() + 100 * NS_PER_MS : 0;
    pthread_cond_broadcast(&db->done_cond);
    pthread_mutex_unlock(&db->job_mutex);
    return result;
}

int flush_oldest(struct mote_db *db, bool *did)
{
    pthread_mutex_lock(&db->flush_mutex);
    return flush_and_let_go(db, false, did);
}

/* The order of the locks is the other way round: whoever holds flush_mutex flushes, or waits for the compaction's memory. */
int flush_in_compaction(struct mote_db *db, bool *did)
{
    *did = false;
    return pthread_mutex_trylock(&db->flush_mutex) == 0 ? flush_and_let_go(db, true, did) : MOTE_OK;
}

/* Whether any row is in memory only. */
static bool rows_pending(struct mote_db *db)
{
    struct view view;
    uint64_t rows = 0;
    view_acquire(db, &view);
    for (uint32_t i = 0; i < view.generation_count; i++)
        rows += memtable_generation_count(view.generations[i]->memtables);
    view_release(db, &view);
    return rows != 0;
}

int flush_up_to(struct mote_db *db, uint64_t seq)
{
    while (atomic_load(&db->flushed_seq) < seq) {
        bool did = false;
        int result = flush_oldest(db, &did);
        if (!result && !did && atomic_load(&db->flushed_seq) < seq) {
            if (!rows_pending(db))
                return MOTE_OK; /* the seqs up to seq that are not flushed were never given to rows */
            result = rotate(db, NULL);
        }
        if (result == MOTE_ENOSPC && jobs_make_space(db))
            continue;
        if (result)
            return result;
    }
    return MOTE_OK;
}

int mote_flush(mote_db *db)
{
    int result = db_check_writable(db);
    if (result)
        return result;
    producers_inline(db);
    jobs_relieve(db);
    atomic_fetch_add(&db->urgency, 1);
    result = flush_up_to(db, atomic_load(&db->visible_seq));
    atomic_fetch_sub(&db->urgency, 1);
    return result;
}
