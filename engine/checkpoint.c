/* checkpoint.c: the checkpoint, compactions, and the indexes' maintenance.
 *
 * A checkpoint's order is what makes it safe: (1) every visible row is in durable segments; (2) lagging index sections are rebuilt, durable; (3) the manifest's snapshot is durable and the superblock points to it; (4) only now an edit moves the log's head to
 * the newest flushed cut; (5) when that edit is durable the extents before the head are quarantined, (6) trimmed, free. Writers go on throughout: what they append lies behind the cut.
 */
#include <string.h>

#include "engine/blob.h"
#include "engine/engine_private.h"
#include "engine/retention.h"
#include "engine/vector_cache.h"

#define COMPACT_TRIES 16u /* of a compaction that a flush may have left without memory */

/* ---- Timestamp index ---- */

struct rebuild {
    struct mote_db *db;
    bool everything; /* else only sections that failed a check */
    uint64_t first_section_id; /* sections from this one on were made here */
    uint32_t rebuilt;
};

static int rebuild_segment(struct mote_db *db, struct segment *segment, const struct schema *schema)
{
    struct segment_section section;
    struct manifest_edit *edit;
    int result = sst_rebuild_timestamp(&db->sst, db->compact_queue, segment, schema, manifest_take_section_id(db->manifest), &section);
    if (result)
        return result;
    result = blockdev_flush(db->compact_queue);
    if (!result)
        result = manifest_edit_begin(db->manifest, &edit);
    if (!result) {
        manifest_edit_set_timestamp(edit, segment->record.id, &section);
        result = manifest_commit(edit, NULL, NULL);
    }
    /* A refused edit is not on the device; a failed one may be: its extents stay out of use until the next open. */
    if (result && !manifest_poisoned(db->manifest, NULL))
        extents_release_unused(db->extents, section.run);
    return result == MOTE_ENOTFOUND ? MOTE_OK : result; /* its table was dropped meanwhile */
}

static int rebuild_lists(struct rebuild *rebuild, const struct version *version)
{
    for (uint32_t t = 0; t < version->count; t++) {
        const struct segment_list *list = version->lists[t];
        const struct schema *schema = catalog_live_schema(rebuild->db, list->table_id);
        if (!schema || schema->time_column < 0)
            continue;
        for (uint32_t s = 0; s < list->count; s++) {
            struct segment *segment = list->segments[s];
            if (rebuild->everything ? segment->record.timestamp.section_id >= rebuild->first_section_id : !atomic_load(&segment->timestamp_unusable))
                continue;
            int result = rebuild_segment(rebuild->db, segment, schema);
            if (result)
                return result;
            atomic_store(&segment->timestamp_unusable, 0);
            rebuild->rebuilt++;
        }
    }
    return MOTE_OK;
}

static int rebuild_timestamps(struct mote_db *db, bool everything)
{
    struct rebuild rebuild = {db, everything, 0, 0};
    int result;
    bool again;
    pthread_mutex_lock(&db->compact_mutex); /* no compaction replaces the segments meanwhile */
    rebuild.first_section_id = manifest_take_section_id(db->manifest);
    do {
        uint32_t before = rebuild.rebuilt;
        struct version *version = version_acquire(db->manifest);
        result = rebuild_lists(&rebuild, version);
        version_release(db->manifest, version);
        /* What was replaced is free only now that nothing holds it. */
        again = result == MOTE_ENOSPC && rebuild.rebuilt > before && trim_some(db, db->compact_queue) > 0;
    } while (again);
    pthread_mutex_unlock(&db->compact_mutex);
    return result;
}

int mote_rebuild_timestamp_index(mote_db *db)
{
    int result = db_check_writable(db);
    if (!result)
        result = flush_up_to(db, atomic_load(&db->visible_seq));
    return result ? result : db_settle(db, rebuild_timestamps(db, true));
}

/* Index sections are published with their segments in one edit, so what is flushed is indexed; what is left is what a failed check set aside. */
int mote_flush_all_indexes(mote_db *db)
{
    int result = db_check_writable(db);
    struct index_build build = {.best = true};
    if (result)
        return result;
    generations_let_go(db); /* their memory, for the builders */
    result = rebuild_timestamps(db, false);
    if (!result)
        result = indexes_build(db, &build);
    return db_settle(db, result);
}

/* An index that lacks memory or space for now keeps nobody from cutting the log, nor does what takes minutes to build. */
static int build_indexes(struct mote_db *db)
{
    struct index_build build = {0};
    int result = indexes_build(db, &build);
    return result == MOTE_ENOSPC || result == MOTE_EBUDGET || result == MOTE_EDAMAGED ? MOTE_OK : result;
}

/* ---- Checkpoint ---- */

static int move_head(struct mote_db *db)
{
    uint64_t head = atomic_load(&db->flushed_cut_lsn);
    struct manifest_edit *edit;
    if (head <= atomic_load(&db->head_lsn))
        return MOTE_OK;
    int result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    manifest_edit_set_head(edit, head);
    result = manifest_commit(edit, NULL, NULL);
    if (result)
        return result;
    atomic_store(&db->head_lsn, head);
    wal_set_head(db->wal, head);
    return MOTE_OK;
}

static int checkpoint_locked(struct mote_db *db)
{
    uint64_t seq = atomic_load(&db->visible_seq);
    int result = flush_up_to(db, seq);
    if (!result)
        result = retention_run(db, NULL);
    if (result == MOTE_EBUDGET && atomic_load(&db->flushed_seq) >= seq)
        result = MOTE_OK; /* what has expired may go later */
    if (!result)
        result = rebuild_timestamps(db, false);
    if (!result)
        result = build_indexes(db);
    if (!result)
        result = manifest_snapshot(db->manifest);
    if (!result)
        result = move_head(db);
    if (result)
        return result;
    trim_some(db, db->queue);
    atomic_fetch_add(&db->counters.checkpoints, 1);
    atomic_store(&db->checkpoint_last_seq, seq);
    return MOTE_OK;
}

int checkpoint_run(struct mote_db *db)
{
    pthread_mutex_lock(&db->checkpoint_mutex);
    int result = checkpoint_locked(db);
    atomic_store(&db->checkpoint_last_ns, now_ns());
    pthread_mutex_unlock(&db->checkpoint_mutex);
    if (result == MOTE_EIO || result == MOTE_ENODEV)
        db_poison(db, result);
    if (result == MOTE_ENOSPC)
        wal_set_space_error(db->wal, MOTE_ENOSPC); /* the log will get nothing back: whoever waits for room must hear it */
    if (!result && db->worker_count > 0)
        space_extend(db, false); /* writers may be waiting for what the head gave back */
    return result;
}

bool checkpoint_due(struct mote_db *db)
{
    uint64_t tail = wal_tail_lsn(db->wal), head = atomic_load(&db->head_lsn);
    if (tail > head && tail - head >= db->options.checkpoint_log_bytes)
        return true;
    if (db->options.checkpoint_period_ms == MOTE_NEVER || atomic_load(&db->visible_seq) == atomic_load(&db->checkpoint_last_seq))
        return false;
    return now_ns() - atomic_load(&db->checkpoint_last_ns) >= (uint64_t)db->options.checkpoint_period_ms * NS_PER_MS;
}

int mote_checkpoint(mote_db *db)
{
    int result = db_check_writable(db);
    if (result)
        return result;
    producers_inline(db);
    jobs_relieve(db);
    atomic_fetch_add(&db->urgency, 1);
    result = checkpoint_run(db);
    atomic_fetch_sub(&db->urgency, 1);
    return result;
}

/* ---- Compaction ---- */

/* A flush that found no memory goes first, and so does a log that found no space: what this job has written so far is given back. */
static int pace_compaction(void *context, uint64_t bytes_written)
{
    struct mote_db *db = context;
    if (atomic_load(&db->flushes_starved))
        return error_set(MOTE_EBUDGET, "a compaction on %s made way for a flush that lacked memory; raise memory_bytes", blockdev_path(db->device));
    jobs_flush_between(db);
    return jobs_pace_holding(context, bytes_written);
}

/* How much a step takes: beside the inputs there must be room for the outputs and what a flush needs meanwhile. */
static void choose_step(struct mote_db *db, uint64_t *snapshots, struct lsm_job_context *job, struct lsm_compaction *compaction)
{
    struct extents_counts counts;
    extents_get_counts(db->extents, &counts);
    jobs_context(db, db->compact_queue, snapshots, job);
    uint64_t step_bytes = LSM_STEP_SEGMENTS * job->segment_bytes_max, free_bytes = (uint64_t)(counts.free - counts.reserved) * db->superblock.layout.extent_bytes;
    compaction->bytes_max = free_bytes / 2 < step_bytes ? free_bytes / 2 + 1 : step_bytes;
    compaction->snapshot_min = job->snapshot_count ? snapshots[0] : 0;
}

static int compact_list(struct mote_db *db, const struct version *version, const struct schema *schema, bool everything, bool *did)
{
    struct lsm_compaction *compaction = memory_alloc_zero(db->memory, sizeof *compaction);
    uint64_t *snapshots = memory_alloc(db->memory, (db->snapshot_slots + 1) * sizeof *snapshots);
    int result = compaction && snapshots ? MOTE_OK : MOTE_EBUDGET;
    struct lsm_job_context job;
    if (!result)
        choose_step(db, snapshots, &job, compaction);
    if (!result && schema->time_in_key)
        compaction->spread_max = db->options.compaction_spread_max;
    if (!result)
        compaction->windows = retention_windows(db, schema->table_id, version_find(version, schema->table_id));
    bool again = !result;
    for (uint32_t lanes_max = LSM_LANES_MAX; again && lsm_pick_compaction(version, schema->table_id, db->options.compaction_runs_max, everything, NULL, NULL, compaction); lanes_max /= 2) {
        jobs_context(db, db->compact_queue, snapshots, &job);
        job.pace = pace_compaction;
        compaction->schema = schema;
        result = lsm_compact(&job, compaction);
        if (result == MOTE_ENOSPC && trim_some(db, db->compact_queue) > 0)
            result = lsm_compact(&job, compaction);
        if (result == MOTE_EBUDGET && (atomic_load(&db->flushes_starved) || atomic_load(&db->log_starved))) {
            result = MOTE_OK;
            *did = true; /* its turn comes again after the flush, or when the log has its space */
            break;
        }
        *did = result == MOTE_OK && !(everything && compaction->in_vain);
        again = result == MOTE_EBUDGET && lanes_max > 2; /* fewer inputs at a time need less memory */
        compaction->lanes_max = lanes_max / 2;
        if (result == MOTE_OK)
            atomic_fetch_add(&db->counters.compactions, 1);
    }
    memory_free(db->memory, snapshots);
    memory_free(db->memory, compaction);
    return result;
}

/* One compaction of the first table that needs one. The caller holds compact_mutex. */
static int compact_locked(struct mote_db *db, const struct mote_table *table, bool everything, bool *did)
{
    int result = MOTE_OK;
    struct version *version = version_acquire(db->manifest);
    uint64_t counters[MANIFEST_COUNTERS];
    manifest_get_counters(db->manifest, counters);
    atomic_store(&db->compact_first_id, counters[0]); /* its segments have ids from this one on, and may be published long after later ones */
    atomic_store(&db->compact_thread, pthread_self());
    atomic_store(&db->compacting, 1);
    for (uint32_t t = 0; t < version->count && !result && !*did; t++) {
        const struct segment_list *list = version->lists[t];
        const struct schema *schema = catalog_live_schema(db, list->table_id);
        if (!schema || (table && table->id != list->table_id))
            continue;
        result = compact_list(db, version, schema, everything, did);
        /* A table that was dropped meanwhile took its segments along: nothing is left to do for it. */
        if (result && !catalog_live_schema(db, list->table_id))
            result = MOTE_OK;
        /* Retention dropped what was being merged: there is no more to it. */
        if (result == MOTE_ENOTFOUND && atomic_load(&db->retained_count) > 0) {
            result = MOTE_OK;
            *did = true;
        }
    }
    atomic_store(&db->compacting, 0);
    atomic_store(&db->compact_first_id, 0);
    version_release(db->manifest, version); /* with it go the last pins of what was merged */
    trim_some(db, db->compact_queue);
    return result;
}

/* A budget that has room for one job at a time: the flush under way ends first, and none begins meanwhile. */
static int compact_alone(struct mote_db *db, const struct mote_table *table, bool everything, bool *did)
{
    pthread_mutex_lock(&db->flush_mutex);
    pthread_mutex_lock(&db->compact_mutex);
    int result = compact_locked(db, table, everything, did);
    pthread_mutex_unlock(&db->compact_mutex);
    pthread_mutex_unlock(&db->flush_mutex);
    return result;
}

/* The caller has taken compact_mutex; it is let go. */
static int compact_and_let_go(struct mote_db *db, const struct mote_table *table, bool everything, bool *did)
{
    int result = compact_locked(db, table, everything, did);
    pthread_mutex_unlock(&db->compact_mutex);
    if (result == MOTE_EBUDGET)
        result = compact_alone(db, table, everything, did);
    space_extend_after_compaction(db);
    if (*did && indexes_any(db)) {
        indexes_want(db);
        vector_cache_sweep(db->vector_cache);
    }
    if (result == MOTE_EIO || result == MOTE_ENODEV)
        db_poison(db, result);
    return result;
}

int compact_if_idle(struct mote_db *db, bool *did)
{
    *did = false;
    if (atomic_load(&db->flushes_starved) || pthread_mutex_trylock(&db->compact_mutex) != 0)
        return COMPACT_BUSY;
    return compact_and_let_go(db, NULL, false, did);
}

int compact_once(struct mote_db *db, const struct mote_table *table, bool everything, bool *did)
{
    *did = false;
    if (atomic_load(&db->flushes_starved)) {
        pthread_mutex_lock(&db->flush_mutex);
        pthread_mutex_unlock(&db->flush_mutex);
    }
    pthread_mutex_lock(&db->compact_mutex);
    return compact_and_let_go(db, table, everything, did);
}

int mote_compact(mote_db *db, const char *name)
{
    mote_table *table = NULL;
    int result = db_check_writable(db);
    if (!result && name)
        result = mote_table_open(db, name, &table);
    if (!result)
        result = flush_up_to(db, atomic_load(&db->visible_seq));
    bool did = true;
    atomic_fetch_add(&db->urgency, 1);
    for (uint32_t left = COMPACT_TRIES; !result && did;) {
        result = compact_once(db, table, true, &did);
        if (result != MOTE_EBUDGET || --left == 0)
            continue;
        /* A flush beside it may have had the memory: it ends soon. */
        sst_scratch_drain(&db->sst);
        pthread_mutex_lock(&db->flush_mutex);
        pthread_mutex_unlock(&db->flush_mutex);
        result = MOTE_OK;
        did = true;
    }
    while (!result && blobs_collect_garbage(db, false))
        ;
    atomic_fetch_sub(&db->urgency, 1);
    return result;
}
