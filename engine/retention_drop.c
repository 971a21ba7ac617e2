/* retention_drop.c: segments go: by age, by the table's bytes, and because something lacks space (retention.h). One edit removes all that goes at once, with the watermark that says why.
 *
 * A segment that is gone from the manifest keeps its extents until the last reader of an older version lets go. For whoever lacks space these are held by a reference of their own, so that it can be told when they are free; meanwhile no other window is
 * dropped for the same want. A compaction, which may hold a version for seconds, is asked to give up.
 *
 * Threads: any; one at a time by retain_mutex. A compaction under way that reads what is dropped here is refused by the manifest, and begins anew. Failures: those of the manifest; MOTE_EBUDGET.
 */
#include "engine/blob.h"
#include "engine/retention.h"
#include "engine/vector_cache.h"

#include <string.h>
#include <time.h>

#define RUN_PERIOD_NS (1000 * NS_PER_MS)
#define RETRY_NS (50 * NS_PER_MS) /* of low space, after there was nothing to drop */
#define WAIT_STEP_NS (1 * (long)NS_PER_MS)
#define WAIT_STEPS_MAX 2000
#define TRIES_MAX 8 /* of an edit that a compaction came before */

/* ---- One table's edit ---- */

struct drop_log {
    const struct drop_plan *plan;
};

/* Under the version mutex: whoever takes a view later finds the drops noted. */
static void note_drops(void *context)
{
    const struct drop_plan *plan = ((struct drop_log *)context)->plan;
    struct table_retention *retention = plan->retention;
    pthread_mutex_lock(&retention->mutex);
    for (uint32_t i = 0; i < plan->list->count; i++) {
        const struct segment_record *record = &plan->list->segments[i]->record;
        if (!plan->marks[i])
            continue;
        uint64_t number = atomic_load(&retention->drop_count);
        retention->drops[number % RETENTION_DROPS_KEPT] = (struct retention_drop){record->seq_min, record->time_min, record->time_max, record->min_key, record->max_key};
        atomic_store(&retention->drop_count, number + 1);
        atomic_fetch_add(plan->marks[i] == DROP_AGE ? &retention->rows_expired : &retention->rows_recycled, record->row_count - record->delete_count);
        atomic_fetch_add(&retention->segments_dropped, 1);
    }
    pthread_mutex_unlock(&retention->mutex);
}

/* What goes is held, to be told when nobody else does. Without memory for it, it is not told of. */
static void hold_dropped(struct mote_db *db, const struct drop_plan *plan)
{
    struct segment **held = memory_realloc(db->memory, db->dropping, (db->dropping_count + plan->marked) * sizeof *held);
    if (!held)
        return;
    db->dropping = held;
    for (uint32_t i = 0; i < plan->list->count; i++)
        if (plan->marks[i]) {
            segment_hold(plan->list->segments[i]);
            db->dropping[db->dropping_count++] = plan->list->segments[i];
        }
}

static int commit_plan(struct mote_db *db, const struct drop_plan *plan)
{
    struct manifest_edit *edit;
    struct drop_log log = {plan};
    int result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    for (uint32_t i = 0; i < plan->list->count; i++)
        if (plan->marks[i])
            manifest_edit_remove_segment(edit, plan->list->segments[i]->record.id);
    retention_add_watermark(db, plan->table->id, edit);
    int committed = manifest_commit(edit, note_drops, &log);
    if (!committed && indexes_any(db))
        vector_cache_sweep(db->vector_cache);
    return committed;
}

/* Lets go of what nobody else holds any more, which makes its extents free; the number of segments. */
static uint32_t let_go(struct mote_db *db)
{
    uint32_t kept = 0, before = db->dropping_count;
    for (uint32_t i = 0; i < before; i++) {
        struct segment *segment = db->dropping[i];
        if (atomic_load(&segment->references) == 1)
            segment_let_go(db->manifest, segment);
        else
            db->dropping[kept++] = segment;
    }
    db->dropping_count = kept;
    return before - kept;
}

enum drop_why { WHY_AGE_AND_BYTES, WHY_SPACE_AHEAD, WHY_SPACE };

static int drop_of_table(struct mote_db *db, struct mote_table *table, enum drop_why why, uint32_t *dropped)
{
    int result = MOTE_ENOTFOUND;
    *dropped = 0;
    for (uint32_t tries = 0; result == MOTE_ENOTFOUND && tries < TRIES_MAX; tries++) {
        struct version *version = version_acquire(db->manifest);
        const struct segment_list *list = version_find(version, table->id);
        struct drop_plan plan;
        result = list ? drop_plan_make(table, list, &plan) : MOTE_OK;
        if (!list || result) {
            version_release(db->manifest, version);
            return result;
        }
        uint64_t bytes_max = atomic_load(&plan.retention->bytes_max);
        bool more = true;
        drop_plan_age(&plan);
        /* What came last stays, however little is allowed. */
        while (why == WHY_AGE_AND_BYTES && more && bytes_max && plan.bytes_kept > bytes_max && plan.marked + 1 < list->count)
            more = drop_plan_oldest(&plan, false);
        if (why != WHY_AGE_AND_BYTES && !plan.marked)
            drop_plan_oldest(&plan, why == WHY_SPACE);
        if (plan.marked) {
            result = commit_plan(db, &plan);
            if (!result && why != WHY_AGE_AND_BYTES)
                hold_dropped(db, &plan);
            *dropped = result ? 0 : plan.marked;
        }
        drop_plan_free(&plan);
        version_release(db->manifest, version);
    }
    return result == MOTE_ENOTFOUND || result == MOTE_ENOTABLE ? MOTE_OK : result;
}

/* ---- By age and bytes ---- */

int retention_run(struct mote_db *db, uint32_t *dropped)
{
    int result = MOTE_OK;
    uint32_t all = 0;
    if (atomic_load(&db->retained_count) > 0) {
        pthread_mutex_lock(&db->retain_mutex);
        db->retain_last_ns = now_ns();
        for (uint32_t i = 0; i < __atomic_load_n(&db->table_count, __ATOMIC_ACQUIRE) && !result; i++) {
            struct mote_table *table = &db->tables[i];
            uint32_t count = 0;
            if (atomic_load(&table->retention) && !atomic_load(&table->dropped))
                result = drop_of_table(db, table, WHY_AGE_AND_BYTES, &count);
            all += count;
        }
        pthread_mutex_unlock(&db->retain_mutex);
    }
    if (dropped)
        *dropped = all;
    if (result == MOTE_EIO || result == MOTE_ENODEV)
        db_poison(db, result);
    return result;
}

int mote_retain(mote_db *db)
{
    int result = db_check_writable(db);
    if (!result)
        result = flush_up_to(db, atomic_load(&db->visible_seq));
    if (!result)
        result = retention_run(db, NULL);
    if (!result)
        trim_freed(db);
    return result;
}

void retention_want(struct mote_db *db)
{
    if (atomic_load(&db->retained_count) > 0)
        atomic_store(&db->retain_wanted, 1);
}

/* ---- For the sake of space ---- */

/* The table of those that are recycled whose oldest window came first. */
static struct mote_table *find_oldest(struct mote_db *db, enum drop_why why)
{
    struct mote_table *oldest = NULL;
    uint64_t oldest_seq = UINT64_MAX;
    struct version *version = version_acquire(db->manifest);
    for (uint32_t i = 0; i < __atomic_load_n(&db->table_count, __ATOMIC_ACQUIRE); i++) {
        struct mote_table *table = &db->tables[i];
        struct table_retention *retention = atomic_load(&table->retention);
        const struct segment_list *list = version_find(version, table->id);
        struct drop_plan plan;
        if (!retention || !atomic_load(&retention->recycle) || atomic_load(&table->dropped) || !list || drop_plan_make(table, list, &plan))
            continue;
        uint64_t seq = drop_plan_oldest_seq(&plan, why == WHY_SPACE);
        drop_plan_free(&plan);
        if (seq < oldest_seq) {
            oldest_seq = seq;
            oldest = table;
        }
    }
    version_release(db->manifest, version);
    return oldest;
}

/* What was dropped is held by readers still: they let go within a call of theirs, a compaction when it is asked. */
static bool wait_for_readers(struct mote_db *db)
{
    bool freed = let_go(db) > 0;
    atomic_fetch_add(&db->flushes_starved, 1);
    for (uint32_t i = 0; i < WAIT_STEPS_MAX && !freed && db->dropping_count > 0; i++) {
        nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_NS}, NULL);
        freed = let_go(db) > 0;
    }
    atomic_fetch_sub(&db->flushes_starved, 1);
    return freed;
}

static bool make_room_locked(struct mote_db *db, enum drop_why why, bool may_wait)
{
    uint32_t dropped = 0;
    if (let_go(db) > 0)
        return true;
    if (db->dropping_count > 0 && (!may_wait || wait_for_readers(db)))
        return may_wait;
    struct mote_table *table = find_oldest(db, why);
    if (!table || drop_of_table(db, table, why, &dropped) || dropped == 0)
        return false;
    if (let_go(db) == 0 && may_wait)
        wait_for_readers(db);
    return true;
}

/* Of a thread that is in a compaction, and holds a version itself. */
static bool in_compaction(struct mote_db *db) { return atomic_load(&db->compacting) && pthread_equal(atomic_load(&db->compact_thread), pthread_self()); }

static bool make_room(struct mote_db *db, enum drop_why why)
{
    bool may_wait = !in_compaction(db);
    if (blobs_reclaim(db, false))
        return true; /* what went before may have let blob files go */
    if (atomic_load(&db->retained_count) == 0 || atomic_load(&db->poisoned))
        return false;
    if (may_wait)
        pthread_mutex_lock(&db->retain_mutex);
    else if (pthread_mutex_trylock(&db->retain_mutex) != 0)
        return false;
    bool made = make_room_locked(db, why, may_wait);
    if (made)
        trim_some(db, db->retain_queue);
    pthread_mutex_unlock(&db->retain_mutex);
    if (made)
        blobs_reclaim(db, false);
    return made && may_wait;
}

bool retention_make_room(struct mote_db *db) { return make_room(db, WHY_SPACE); }

bool retention_make_room_ahead(struct mote_db *db) { return make_room(db, WHY_SPACE_AHEAD); }

bool retention_held_up(struct mote_db *db)
{
    if (!in_compaction(db) || atomic_load(&db->retained_count) == 0 || atomic_load(&db->poisoned))
        return false;
    if (pthread_mutex_trylock(&db->retain_mutex) != 0)
        return true; /* somebody is at it, and waits for this compaction or not at all */
    bool held_up = db->dropping_count > 0 || find_oldest(db, WHY_SPACE) != NULL;
    pthread_mutex_unlock(&db->retain_mutex);
    return held_up;
}

/* Free space is kept above this while there is something to recycle, so that few flushes have to wait for it. */
static bool space_is_low(struct mote_db *db)
{
    struct extents_counts counts;
    extents_get_counts(db->extents, &counts);
    return counts.free + counts.quarantined + counts.trimming < db->standing_extents + counts.total / 16;
}

bool retention_some(struct mote_db *db)
{
    uint32_t dropped = 0;
    if (atomic_load(&db->retained_count) == 0)
        return false;
    bool wanted = atomic_exchange(&db->retain_wanted, 0) != 0;
    if (wanted || now_ns() - db->retain_last_ns >= RUN_PERIOD_NS)
        retention_run(db, &dropped);
    if (now_ns() >= db->retain_retry_ns && space_is_low(db) && pthread_mutex_trylock(&db->retain_mutex) == 0) {
        if (make_room_locked(db, WHY_SPACE_AHEAD, false)) {
            trim_some(db, db->retain_queue);
            dropped++;
        } else {
            db->retain_retry_ns = now_ns() + RETRY_NS;
        }
        pthread_mutex_unlock(&db->retain_mutex);
    } else if (db->dropping_count > 0 && pthread_mutex_trylock(&db->retain_mutex) == 0) {
        let_go(db);
        pthread_mutex_unlock(&db->retain_mutex);
    }
    return dropped > 0;
}
