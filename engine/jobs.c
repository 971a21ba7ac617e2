/* jobs.c: the background: worker threads that extend the log, checkpoint, flush and compact, in this order of urgency; or the same inline.
 *
 * A job that cannot be done now (no space) is tried again after 100 ms or when something changes; it never ends the thread. Failures that end all promises poison the handle (see rotate.c, checkpoint.c).
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "blockdev/base/thread.h"
#include "engine/blob.h"
#include "engine/engine_private.h"
#include "engine/recent.h"
#include "engine/retention.h"

#define IDLE_MS 50
#define RATE_SLICE_MS 5
#define BETWEEN_RETRY_MS 10
#define BETWEEN_WANT_MS 1000
#define BETWEEN_MS_MAX 500 /* producers have a second's headroom (producer_headroom.c) */
#define POPULATE_BYTES (2u * MIB_BYTES)

void jobs_wake(struct mote_db *db)
{
    pthread_mutex_lock(&db->job_mutex);
    pthread_cond_broadcast(&db->job_cond);
    pthread_mutex_unlock(&db->job_mutex);
}

bool jobs_take_wish(struct mote_db *db, bool *wish)
{
    pthread_mutex_lock(&db->job_mutex);
    bool wanted = *wish;
    *wish = false;
    pthread_mutex_unlock(&db->job_mutex);
    return wanted;
}

static uint64_t background_bytes(struct mote_db *db)
{
    struct blockdev_counters counters;
    blockdev_get_counters(db->device, &counters);
    return counters.written_bytes[BLOCKDEV_SOURCE_FLUSH] + counters.written_bytes[BLOCKDEV_SOURCE_COMPACTION] + counters.written_bytes[BLOCKDEV_SOURCE_INDEX];
}

/* When the bytes written so far would have been due at the limit. What was not written earlier is not made up for. */
static uint64_t due_ns(struct mote_db *db)
{
    uint64_t written = background_bytes(db), now = now_ns(), bytes_per_s = (uint64_t)db->options.background_mib_per_s * MIB_BYTES;
    pthread_mutex_lock(&db->job_mutex);
    uint64_t bytes = written > db->paced_bytes ? written - db->paced_bytes : 0;
    db->paced_until_ns = (db->paced_until_ns > now ? db->paced_until_ns : now) + bytes / bytes_per_s * NS_PER_S + bytes % bytes_per_s * NS_PER_S / bytes_per_s;
    db->paced_bytes = written > db->paced_bytes ? written : db->paced_bytes;
    uint64_t due = db->paced_until_ns;
    pthread_mutex_unlock(&db->job_mutex);
    return due;
}

/* Somebody waits for what the background frees, or soon will. */
static bool is_urgent(struct mote_db *db)
{
    uint64_t log_bytes = atomic_load(&db->mapped_end_lsn) - atomic_load(&db->head_lsn);
    return atomic_load(&db->urgency) != 0 || log_bytes > db->superblock.layout.log_bytes_max / 4 * 3;
}

/* Background writes keep to background_mib_per_s. */
static void limit_rate(struct mote_db *db)
{
    uint64_t now, due = due_ns(db);
    while ((now = now_ns()) < due && !is_urgent(db) && !atomic_load(&db->poisoned)) {
        uint64_t left = due - now < RATE_SLICE_MS * NS_PER_MS ? due - now : RATE_SLICE_MS * NS_PER_MS;
        nanosleep(&(struct timespec){.tv_nsec = (long)left}, NULL);
        if (jobs_take_wish(db, &db->extend_wanted))
            space_extend(db, false);
    }
}

bool jobs_over_rate(struct mote_db *db) { return db->options.background_mib_per_s != 0 && db->options.workers != MOTE_NO_THREADS && due_ns(db) > now_ns() && !is_urgent(db); }

int jobs_pace(void *context, uint64_t bytes_written)
{
    struct mote_db *db = context;
    (void)bytes_written; /* of rows; the limit counts what reaches the device */
    if (!db->options.inline_io && jobs_take_wish(db, &db->extend_wanted))
        space_extend(db, false);
    if (db->options.workers != MOTE_NO_THREADS)
        thread_step_aside(); /* a commit or a producer may wait for this processor */
    if (db->options.background_mib_per_s != 0 && db->options.workers != MOTE_NO_THREADS)
        limit_rate(db);
    int32_t poisoned = atomic_load(&db->poisoned);
    return poisoned ? poisoned : MOTE_OK;
}

int jobs_pace_holding(void *context, uint64_t bytes_written)
{
    struct mote_db *db = context;
    int result = jobs_pace(context, bytes_written);
    if (!result && atomic_load(&db->log_starved))
        result = error_set(MOTE_EBUDGET, "a compaction on %s made way for the log, which lacked space", blockdev_path(db->device));
    return result;
}

void jobs_context(struct mote_db *db, struct blockdev_queue *queue, uint64_t *snapshots, struct lsm_job_context *job)
{
    uint32_t count = snapshot_collect(db, snapshots);
    uint64_t extent_bytes = db->superblock.layout.extent_bytes;
    uint64_t segment_bytes = (uint64_t)layout_extent_count(&db->superblock.layout) * extent_bytes / 16;
    if (segment_bytes > 64ull << 20)
        segment_bytes = 64ull << 20;
    if (segment_bytes < 4 * extent_bytes)
        segment_bytes = 4 * extent_bytes;
    *job = (struct lsm_job_context){
        .sst = &db->sst,
        .manifest = db->manifest,
        .queue = queue,
        .block_rows = db->options.block_rows,
        .compression = db->options.compression,
        .segment_bytes_max = segment_bytes,
        .snapshots = snapshots,
        .snapshot_count = count,
        .pace = jobs_pace,
        .pace_context = db,
    };
}

/* Whether a flush failed too short a time ago to be tried again. */
static bool flush_must_wait(struct mote_db *db)
{
    pthread_mutex_lock(&db->job_mutex);
    bool must_wait = db->flush_retry_ns != 0 && now_ns() < db->flush_retry_ns;
    pthread_mutex_unlock(&db->job_mutex);
    return must_wait;
}

/* Whether flushes must wait for a compaction: so many overlapping segments that reads get slow and at last impossible, or old versions fill the device. Else a steady writer would keep the only worker flushing for ever.
 * critical: so many that flushes wait even where another worker compacts already. deepest: the depth of the worst table, 0 where none comes near. */
static bool compaction_urgent(struct mote_db *db, bool *critical, uint32_t *deepest)
{
    struct extents_counts counts;
    extents_get_counts(db->extents, &counts);
    uint32_t spread_stall = db->options.compaction_spread_max + db->options.compaction_spread_max / 2;
    uint32_t depth_max = 2 * db->options.compaction_runs_max < STALL_DEPTH ? 2 * db->options.compaction_runs_max : STALL_DEPTH;
    if (counts.free < counts.total / 4 && depth_max > db->options.compaction_runs_max)
        depth_max = db->options.compaction_runs_max;
    bool urgent = false;
    *critical = false;
    *deepest = 0;
    struct version *version = version_acquire(db->manifest);
    for (uint32_t t = 0; t < version->count && !*critical; t++) {
        const struct segment_list *list = version->lists[t];
        const struct schema *schema = list->count >= depth_max ? catalog_live_schema(db, list->table_id) : NULL;
        if (!schema)
            continue;
        uint32_t depth = lsm_overlap_depth(list, schema->time_in_key), spread = schema->time_in_key && list->count >= spread_stall ? lsm_spread(list, UINT64_MAX) : 0;
        *deepest = depth > *deepest ? depth : *deepest;
        urgent = urgent || depth >= depth_max || spread >= spread_stall;
        *critical = depth >= STALL_DEPTH || spread >= spread_stall + spread_stall / 4;
    }
    version_release(db->manifest, version);
    return urgent;
}

/* A compaction takes seconds, and writers at full speed fill the memtables in less: their flushes come between its steps, or everybody's appends would wait for its end. The compaction keeps a share of the time that grows with
 * the depth, since each flush adds to what is to be compacted: so writers are slowed down rather than stopped, until it is critical. On a device that is almost full the flush waits: the compaction may need what it would take. */
void jobs_flush_between(struct mote_db *db)
{
    bool critical, did;
    uint32_t deepest;
    uint64_t begin_ns = now_ns();
    if (db->worker_count == 0 || atomic_load(&db->idle_workers) > 0 || begin_ns < db->between_ns || !memory_is_short(db) || flush_must_wait(db))
        return;
    struct extents_counts counts;
    extents_get_counts(db->extents, &counts);
    compaction_urgent(db, &critical, &deepest);
    /* A producer's records are not slowed down: before its headroom ends a flush comes all the same. It adds one segment to the depth in the time for which the headroom lasts. */
    if ((critical && !producer_headroom_is_low(db)) || counts.free < counts.total / 16) {
        db->between_ns = begin_ns + BETWEEN_RETRY_MS * NS_PER_MS;
        return;
    }
    int result = flush_in_compaction(db, &did);
    uint64_t now = now_ns(), share_ns = (now - begin_ns) * (1 + deepest / 8);
    if (result)
        db->between_ns = now + BETWEEN_WANT_MS * NS_PER_MS; /* memory and space may be the compaction's: its end is what the flush waits for */
    else
        db->between_ns = now + (share_ns < BETWEEN_MS_MAX * NS_PER_MS ? share_ns : BETWEEN_MS_MAX * NS_PER_MS);
}

/* Flushes wait for its end. Where producers are open, other writers wait already before it: what they would fill the last generation with, these would lack. */
static int compact_first(struct mote_db *db, bool *did)
{
    uint32_t hold = atomic_load_explicit(&db->headroom_bytes, memory_order_relaxed) > 0;
    atomic_fetch_add(&db->writers_held, hold);
    int result = compact_once(db, NULL, false, did);
    atomic_fetch_sub(&db->writers_held, hold);
    pthread_mutex_lock(&db->job_mutex);
    pthread_cond_broadcast(&db->done_cond);
    pthread_mutex_unlock(&db->job_mutex);
    return result;
}

void jobs_relieve(struct mote_db *db)
{
    bool critical, did;
    uint32_t deepest;
    if (compaction_urgent(db, &critical, &deepest) && critical)
        compact_once(db, NULL, false, &did); /* a failure is the next one's: the flush itself needs nothing of it */
}

static bool compact_some(struct mote_db *db)
{
    bool did = false;
    if (!jobs_take_wish(db, &db->compact_wanted))
        return false;
    int result = compact_if_idle(db, &did);
    if (did || result == COMPACT_BUSY) {
        pthread_mutex_lock(&db->job_mutex);
        db->compact_wanted = true; /* there may be more */
        pthread_mutex_unlock(&db->job_mutex);
    }
    return did && !result;
}

bool jobs_make_space(struct mote_db *db)
{
    if (blobs_reclaim(db, true))
        return true;
    bool did = retention_make_room(db);
    if (!did && (compact_once(db, NULL, true, &did) != MOTE_OK || !did))
        return false;
    pthread_mutex_lock(&db->job_mutex);
    db->flush_retry_ns = 0;
    pthread_mutex_unlock(&db->job_mutex);
    blobs_reclaim(db, true);
    return true;
}

/* Pages of the memtables are provided ahead of the rows, so that no append waits for the kernel to clear them; not before the first row, for who opens to read needs none. */
static bool populate_some(struct mote_db *db)
{
    uint64_t arenas_bytes = round_up(db->options.memtable_bytes, PAGE_BYTES) * db->options.memtable_count;
    if (atomic_load(&db->counters.batches) == 0 || atomic_load(&db->populated_bytes) >= arenas_bytes)
        return false;
    uint64_t at = atomic_fetch_add(&db->populated_bytes, POPULATE_BYTES);
    if (at >= arenas_bytes)
        return false;
    uint64_t size_bytes = arenas_bytes - at < POPULATE_BYTES ? arenas_bytes - at : POPULATE_BYTES;
    if (memory_populate(db->memory, at, size_bytes))
        return true;
    atomic_store(&db->populated_bytes, arenas_bytes); /* a kernel that cannot: pages come at their first use */
    return false;
}

/* Does the most urgent job, if there is one. A checkpoint flushes as well: it comes before flushes, or the log would grow as long as there is something to flush. */
static bool do_one_job(struct mote_db *db)
{
    bool did = false;
    int result = MOTE_OK;
    if (atomic_load(&db->poisoned))
        return false;
    if (jobs_take_wish(db, &db->extend_wanted)) {
        space_extend(db, false);
        return true;
    }
    if (retention_some(db) || blobs_reclaim(db, false))
        return true;
    bool critical;
    uint32_t deepest;
    if (compaction_urgent(db, &critical, &deepest) && (critical ? compact_first(db, &did) : compact_if_idle(db, &did)) == MOTE_OK && did)
        return true;
    if (!flush_must_wait(db)) {
        if (jobs_take_wish(db, &db->checkpoint_wanted) || checkpoint_due(db)) {
            result = checkpoint_run(db);
            did = result == MOTE_OK;
        } else if (flush_waiting(db)) {
            result = flush_oldest(db, &did);
            did = did && result == MOTE_OK;
        }
        if (result == MOTE_ENOSPC && !(did = jobs_make_space(db)))
            wal_set_space_error(db->wal, MOTE_ENOSPC); /* writers that wait for log space would wait for ever */
    }
    /* Indexes last: they may have work for minutes. */
    return did || recents_build_some(db) || compact_some(db) || blobs_collect_some(db) || trim_freed(db) || populate_some(db) || indexes_build_some(db);
}

static void wait_for_work(struct mote_db *db)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += IDLE_MS * NS_PER_MS;
    if (until.tv_nsec >= NS_PER_S) {
        until.tv_sec++;
        until.tv_nsec -= NS_PER_S;
    }
    pthread_mutex_lock(&db->job_mutex);
    atomic_fetch_add(&db->idle_workers, 1);
    if (!db->stopping && !db->extend_wanted && !db->checkpoint_wanted)
        pthread_cond_timedwait(&db->job_cond, &db->job_mutex, &until);
    atomic_fetch_sub(&db->idle_workers, 1);
    pthread_mutex_unlock(&db->job_mutex);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct mote_db *db = worker->db;
    char name[16];
    snprintf(name, sizeof name, "mote-work%u", worker->number);
    thread_name(name);
    for (;;) {
        pthread_mutex_lock(&db->job_mutex);
        bool stopping = db->stopping;
        pthread_mutex_unlock(&db->job_mutex);
        if (stopping)
            return NULL;
        if (!do_one_job(db))
            wait_for_work(db);
    }
}

int workers_start(struct mote_db *db)
{
    uint32_t count = db->options.workers == MOTE_NO_THREADS || db->read_only ? 0 : db->options.workers;
    for (uint32_t i = 0; i < count; i++) {
        struct worker *worker = &db->workers[i];
        *worker = (struct worker){.db = db, .number = i};
        int error = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (error)
            return error_set_errno(MOTE_ENOMEM, error, "cannot start background worker %u", i);
        worker->started = true;
        db->worker_count = i + 1;
    }
    if (count && indexes_any(db))
        indexes_want(db); /* what the last owner did not come to */
    return MOTE_OK;
}

void workers_stop(struct mote_db *db)
{
    atomic_fetch_add(&db->urgency, 1); /* for good: what is under way ends without the rate limit */
    pthread_mutex_lock(&db->job_mutex);
    db->stopping = true;
    pthread_cond_broadcast(&db->job_cond);
    pthread_mutex_unlock(&db->job_mutex);
    for (uint32_t i = 0; i < db->worker_count; i++) {
        if (db->workers[i].started)
            pthread_join(db->workers[i].thread, NULL);
    }
    db->worker_count = 0;
}

void jobs_inline(struct mote_db *db)
{
    producers_inline(db);
    wal_pump(db->wal);
    while (do_one_job(db))
        ;
}
