/* open.c: opening and closing a volume.
 *
 * Open, read-write:  superblock -> options and memory plan -> manifest (heals its copies) -> catalog -> log replay and FLUSH (recover.c) -> superblock with generation + 1, clean off -> one edit: lost ranges, the new incarnation in
 *                    fresh extents, the head moved where nothing is pending -> the log starts -> workers.
 * Open, read-only:   the same up to the replay; nothing is written but the FLUSH that makes durable what will be shown.
 * Close:             workers stop -> checkpoint -> the log's end frame -> one edit: head and clean end -> superblock with the clean flag.
 * A failure anywhere in open undoes what was made in memory; on the device each step leaves a state from which open starts again.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "blockdev/probe.h"
#include "engine/blob.h"
#include "engine/engine_private.h"
#include "engine/fork_page.h"
#include "engine/recent.h"
#include "engine/recover.h"
#include "engine/retention.h"
#include "index/index.h"

static int random_bytes(void *bytes, size_t size_bytes)
{
    if (getrandom(bytes, size_bytes, 0) == (ssize_t)size_bytes)
        return MOTE_OK;
    return error_set(MOTE_EINTERNAL, "the kernel gives no random bytes");
}

/* ---- Memory ---- */

static int carve_memory(struct mote_db *db, void **arenas, void **cache_region)
{
    int result = memory_create(db->options.memory_bytes, db->options.huge_pages, &db->memory);
    if (result)
        return result;
    for (uint32_t i = 0; i < db->options.memtable_count; i++) {
        arenas[i] = memory_carve(db->memory, db->options.memtable_bytes, PAGE_BYTES);
        if (!arenas[i])
            return MOTE_EBUDGET;
    }
    *cache_region = memory_carve(db->memory, db->options.cache_bytes, PAGE_BYTES);
    return *cache_region ? MOTE_OK : MOTE_EBUDGET;
}

static void on_durable(void *context, uint64_t durable_seq)
{
    (void)context;
    (void)durable_seq;
}

static int create_log(struct mote_db *db)
{
    uint64_t frame_bytes = db->options.wal_frame_bytes_max;
    struct wal_options options = {
        .device = db->device,
        .memory = db->memory,
        .superblock_generation = db->superblock.generation + 1,
        .frame_bytes_max = db->options.wal_frame_bytes_max,
        .frame_align_bytes = PAGE_BYTES,
        .inflight_max = db->options.wal_inflight_max,
        .stage_count = options_stage_count(&db->options),
        .barrier = db->options.barrier,
        .mark_delay_ms = 10,
        .inline_io = db->options.inline_io,
        .thread_only = db->options.commit_thread,
        .read_only = db->read_only,
        .low_space_bytes = frame_bytes * (options_stage_count(&db->options) + 2),
        .need_space = space_needed,
        .on_durable = on_durable,
        .context = db,
    };
    memcpy(options.uuid, db->superblock.uuid, sizeof options.uuid);
    return wal_create(&options, &db->wal);
}

static int create_memtables(struct mote_db *db, void **arenas)
{
    for (uint32_t i = 0; i < db->options.memtable_count; i++) {
        int result = memtable_generation_create(db->memory, arenas[i], db->options.memtable_bytes, db->options.tables_max, &db->generations[i].memtables);
        if (result)
            return result;
        db->generation_count = i + 1;
    }
    int result = snapshots_create(db);
    if (!result)
        result = readers_create(db);
    return result || db->read_only ? result : producers_create(db);
}

static int create_parts(struct mote_db *db)
{
    void *arenas[GENERATIONS_MAX], *cache_region;
    int result = carve_memory(db, arenas, &cache_region);
    if (!result)
        result = create_log(db);
    if (!result)
        result = memory_seal(db->memory);
    if (!result)
        result = create_memtables(db, arenas);
    if (!result)
        result = cache_create(db->memory, cache_region, db->options.cache_bytes, (uint32_t)(db->options.cache_bytes / PAGE_BYTES), &db->cache);
    if (!result)
        result = extents_create(db->memory, db->superblock.layout.extent_count, &db->extents);
    if (result)
        return result;
    trim_plan(db);
    db->sst = (struct sst_context){.device = db->device, .memory = db->memory, .cache = db->cache, .extents = db->extents, .layout = &db->superblock.layout, .timestamps = &timestamp_index_ops, .indexes = engine_index_ops};
    memcpy(db->sst.uuid, superblock_data_uuid(&db->superblock), sizeof db->sst.uuid);
    return MOTE_OK;
}

/* Kept for those who free space: a flush of a full memtable (whose bound is above the memtable's size), the log space of the rotation before it, the next open's log, and a section of an index. */
void standing_reserve_set(struct mote_db *db)
{
    const struct layout *layout = &db->superblock.layout;
    uint64_t bytes = db->options.memtable_bytes / 2 * 5 + layout->log_bytes_max / 2 + 2 * db->log_chunk_bytes;
    uint64_t wanted = divide_up(bytes, layout->extent_bytes) + 2, most = layout_extent_count(layout) / 4;
    uint32_t count = (uint32_t)(wanted < most ? wanted : most);
    atomic_store(&db->standing_extents, count);
    extents_set_standing_reserve(db->extents, count);
}

static int open_manifest(struct mote_db *db)
{
    struct manifest_options options = {
        .device = db->device,
        .memory = db->memory,
        .superblock = &db->superblock,
        .extents = db->extents,
        .cache = db->cache,
        .tables_max = db->options.tables_max,
        .read_only = db->read_only,
        .complete = wear_complete,
        .complete_context = &db->wear,
    };
    int result = manifest_open(&options, &db->manifest);
    if (result)
        return result;
    if (manifest_generation_seen(db->manifest) > db->superblock.generation) {
        error_set(MOTE_EDAMAGED, "the manifest was written under superblock generation %llu, the newest superblock found is %llu: a newer superblock was lost; run fsck.mote",
                  (unsigned long long)manifest_generation_seen(db->manifest), (unsigned long long)db->superblock.generation);
        error_add_device(blockdev_path(db->device), 0, 0);
        return MOTE_EDAMAGED;
    }
    const struct manifest_state *state = manifest_get_state(db->manifest);
    if (state->receive.state == MANIFEST_RECEIVE_ANEW) {
        error_set(MOTE_ERESTORING, "a receive into %s is not complete: go on with the same stream, or with one from mote send --resume, or format it", blockdev_path(db->device));
        error_add_device(blockdev_path(db->device), 0, 0);
        return MOTE_ERESTORING;
    }
    atomic_store(&db->flushed_seq, state->flushed_seq);
    atomic_store(&db->head_lsn, state->head_lsn);
    snapshots_load(db);
    result = blobs_create(db);
    if (!result)
        result = catalog_load(db);
    return result ? result : indexes_create(db);
}

/* ---- The new incarnation ---- */

static int begin_incarnation(struct mote_db *db, const struct recovery *recovery, const struct wal_start *start, struct wal_range *range)
{
    struct manifest_edit *edit;
    int result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    for (uint32_t i = 0; i < recovery->lost_count; i++)
        manifest_edit_add_lost_range(edit, &recovery->lost[i]);
    if (manifest_get_state(db->manifest)->receive.state)
        manifest_edit_set_receive(edit, &(struct manifest_receive){0}); /* from here on it goes its own way: no increment fits it any more */
    manifest_edit_begin_incarnation(edit, start->incarnation, start->first_lsn, recovery->kept_end_lsn);
    /* Frames that this recovery drops may leave the map with this edit: their seqs are remembered here, so that a later recovery, which cannot see them, does not give them out again. */
    manifest_edit_set_clean_end(edit, 0, start->next_seq - 1);
    result = space_map(db, start->first_lsn, true, edit, range);
    if (result) {
        manifest_edit_abandon(edit);
        return result;
    }
    bool pending = false;
    for (uint32_t i = 0; i < recovery->generations_used; i++)
        pending = pending || memtable_generation_count(db->generations[i].memtables) > 0;
    if (!pending)
        manifest_edit_set_head(edit, start->first_lsn);
    result = manifest_commit(edit, NULL, NULL);
    if (result)
        space_unmap(db, range);
    else if (!pending)
        atomic_store(&db->head_lsn, start->first_lsn);
    return result;
}

static int begin_writing(struct mote_db *db, const struct recovery *recovery, struct wal_start *start, struct wal_range *range)
{
    int result = random_bytes(&start->incarnation, sizeof start->incarnation);
    if (result)
        return result;
    db->superblock.clean = 0;
    db->superblock.opens++;
    uint64_t window = (uint64_t)db->options.wal_frame_bytes_max * db->options.wal_inflight_max;
    if (db->superblock.wal_frame_bytes_max < db->options.wal_frame_bytes_max)
        db->superblock.wal_frame_bytes_max = db->options.wal_frame_bytes_max;
    if (db->superblock.wal_window_bytes < window)
        db->superblock.wal_window_bytes = window;
    result = manifest_write_superblock(db->manifest);
    if (result)
        return result;
    start->first_lsn = round_up(recovery->next_lsn, PAGE_BYTES);
    start->next_seq = recovery->next_seq;
    start->superblock_generation = db->superblock.generation;
    space_use_spare(db);
    do
        result = begin_incarnation(db, recovery, start, range);
    while (result == MOTE_ENOSPC && retention_make_room(db));
    return result;
}

/* Whether the log that this open needs might not find room beside the old ones. */
static bool space_is_short(struct mote_db *db)
{
    struct extents_counts counts;
    extents_get_counts(db->extents, &counts);
    return (uint64_t)counts.free * db->superblock.layout.extent_bytes < 2 * db->superblock.layout.log_bytes_max;
}

/* Too many ends without a checkpoint between them, too little space, or a hole that was accepted (on_damage = continue) and that no later open is to find again: what was replayed is flushed now, so that the old incarnations can be
 * forgotten. */
static int shorten_log(struct mote_db *db, struct recovery *recovery)
{
    bool full = space_lists_full(db, recovery->kept_end_lsn);
    if (!full && !space_is_short(db) && !recovery->damaged)
        return MOTE_OK;
    int result = recover_flush(db, recovery);
    return result == MOTE_ENOSPC && !full ? MOTE_OK : result; /* the rows stay in memory and in the log then */
}

/* The memtables that the replay filled, oldest first; the last goes on as the active one, those before it wait for their flush. */
static void list_replayed(struct mote_db *db, const struct recovery *recovery)
{
    uint32_t used = recovery->generations_used;
    for (uint32_t i = 0; i < used; i++) {
        struct generation *generation = &db->generations[i];
        generation->state = i + 1 < used ? GENERATION_IMMUTABLE : GENERATION_ACTIVE;
        generation->number = ++db->generations_made;
        generation->replayed_seq = memtable_generation_count(generation->memtables) ? atomic_load(&db->visible_seq) : 0;
        atomic_store(&generation->cut.lsn, UINT64_MAX); /* of an older incarnation: the head moves with the next cut */
        db->listed[used - 1 - i] = generation;
    }
    db->listed_count = used;
}

static int start_writing(struct mote_db *db, struct recovery *recovery)
{
    struct wal_start start = {0};
    struct wal_range range;
    int result = shorten_log(db, recovery);
    start.user = &db->generations[recovery->generations_used - 1];
    if (!result)
        result = begin_writing(db, recovery, &start, &range);
    if (!result)
        result = wal_add_range(db->wal, &range);
    if (result)
        return result;
    atomic_store(&db->mapped_end_lsn, range.lsn + range.length_bytes);
    atomic_store(&db->visible_seq, start.next_seq - 1);
    list_replayed(db, recovery);
    if (recovery->generations_used > 1)
        atomic_store(&db->flush_failure, MOTE_ENOSPC); /* the replay's, which is why there are several: no row is taken before one of them is flushed, or the next replay might lack memory for them */
    result = wal_start(db->wal, &start);
    for (uint32_t tries = 0; !space_keep_spares(db) && tries < SPARE_TRIES && retention_make_room_ahead(db);)
        tries++;
    if (!result)
        result = space_extend(db, false);
    if (result == MOTE_ENOSPC)
        result = MOTE_OK; /* a full device opens all the same: writers are told, and what frees space can be done */
    db->compact_wanted = true; /* an earlier owner may have left some */
    db->checkpoint_wanted = atomic_load(&db->spares_short); /* it frees the old logs, as soon as there is room to flush what they hold */
    atomic_store(&db->checkpoint_last_ns, now_ns());
    atomic_store(&db->checkpoint_last_seq, db->recovered_rows ? 0 : start.next_seq - 1);
    db->index_wanted = db->index_count > 0; /* what a crash cut short goes on */
    return result ? result : workers_start(db);
}

static void start_reading(struct mote_db *db, const struct recovery *recovery)
{
    atomic_store(&db->visible_seq, recovery->next_seq - 1);
    atomic_store(&db->mapped_end_lsn, recovery->end_lsn);
    list_replayed(db, recovery);
}

/* ---- Open ---- */

static void init_locks(struct mote_db *db)
{
    pthread_mutex_t *mutexes[] = {&db->rotate_mutex, &db->batch_mutex, &db->flush_mutex, &db->compact_mutex, &db->checkpoint_mutex, &db->ddl_mutex, &db->space_mutex, &db->grow_mutex, &db->retain_mutex, &db->snapshot_mutex, &db->reader_mutex, &db->job_mutex};
    for (size_t i = 0; i < sizeof mutexes / sizeof mutexes[0]; i++)
        pthread_mutex_init(mutexes[i], NULL);
    pthread_cond_init(&db->reader_cond, NULL);
    pthread_cond_init(&db->job_cond, NULL);
    pthread_cond_init(&db->done_cond, NULL);
}

/* Everything in memory; the device stays open. */
static void destroy(struct mote_db *db)
{
    producers_destroy(db);
    workers_stop(db);
    if (db->wal)
        wal_destroy(db->wal);
    if (db->cache)
        readers_destroy(db);
    if (db->memory)
        retention_free(db);
    if (db->memory)
        blobs_destroy(db);
    if (db->memory)
        catalog_free(db);
    if (db->memory)
        indexes_free(db);
    if (db->manifest)
        manifest_close(db->manifest);
    if (db->cache)
        cache_destroy(db->cache);
    if (db->extents)
        extents_destroy(db->extents);
    recents_destroy(db);
    for (uint32_t i = 0; i < db->generation_count; i++)
        memtable_generation_destroy(db->memory, db->generations[i].memtables);
    struct blockdev_queue *queues[] = {db->queue, db->flush_queue, db->compact_queue};
    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++) {
        if (queues[i])
            blockdev_queue_destroy(queues[i]);
    }
    if (db->memory) {
        snapshots_free(db);
        memory_destroy(db->memory);
    }
    fork_page_free(db->fork_page);
    free(db);
}

static int open_parts(struct mote_db *db, const struct mote_options *options)
{
    struct blockdev_queue_options shared = {.depth = 64, .flags = BLOCKDEV_QUEUE_SHARED};
    const struct blockdev_geometry *geometry = blockdev_geometry(db->device);
    struct recovery *recovery = NULL;
    bool heal;
    uint64_t begin_ns = now_ns();
    db->fork_page = fork_page_make();
    int result = db->fork_page ? MOTE_OK : error_set(MOTE_ENOMEM, "the operating system refused a page of memory");
    if (!result)
        result = blockdev_queue_create(db->device, &shared, &db->queue);
    if (!result)
        result = blockdev_queue_create(db->device, &shared, &db->flush_queue);
    if (!result)
        result = blockdev_queue_create(db->device, &shared, &db->compact_queue);
    if (!result)
        result = superblock_read(db->queue, &db->superblock, &heal);
    if (!result)
        result = options_resolve(options, geometry, &db->superblock, &db->options);
    if (result)
        return result;
    db->read_only = db->options.read_only || geometry->read_only;
    wear_begin(&db->wear, db->device);
    db->clean_open = db->superblock.clean != 0;
    space_plan(db);
    result = create_parts(db);
    if (!result)
        result = open_manifest(db);
    if (result)
        return result;
    standing_reserve_set(db);
    if (!db->read_only)
        space_keep_spares(db); /* before the replay, whose flushes would take them */
    recovery = calloc(1, sizeof *recovery);
    if (!recovery)
        return error_set(MOTE_ENOMEM, "out of memory while opening");
    result = recover(db, recovery);
    if (!result && db->read_only)
        start_reading(db, recovery);
    else if (!result)
        result = start_writing(db, recovery);
    if (!result)
        recents_begin(db);
    free(recovery);
    db->recovery_ns = now_ns() - begin_ns;
    return result;
}

int engine_open(struct blockdev *device, const struct mote_options *options, struct mote_db **out, struct mote_error *error) { return engine_open_at(device, options, NULL, NULL, out, error); }

int engine_open_at(struct blockdev *device, const struct mote_options *options, int64_t (*realtime_ns)(void *context), void *context, struct mote_db **out, struct mote_error *error)
{
    *out = NULL;
    struct mote_db *db = calloc(1, sizeof *db);
    if (!db) {
        error_set(MOTE_ENOMEM, "out of memory while opening");
        return error ? error_get(error) : MOTE_ENOMEM;
    }
    init_locks(db);
    db->device = device;
    db->realtime_ns = realtime_ns;
    db->realtime_context = context;
    int result = open_parts(db, options);
    if (result) {
        struct mote_error cause;
        error_get(&cause);
        if (cause.device[0] == 0)
            memcpy(cause.device, blockdev_path(device), strnlen(blockdev_path(device), sizeof cause.device - 1));
        destroy(db);
        if (error)
            *error = cause;
        return error_restore(&cause);
    }
    *out = db;
    return MOTE_OK;
}

int mote_open(const char *path, const struct mote_options *options, mote_db **db, struct mote_error *error)
{
    struct mote_options given = MOTE_OPTIONS_INIT;
    struct blockdev *device = NULL;
    int result = MOTE_OK;
    if (db)
        *db = NULL;
    if (!path || !db)
        result = error_set(MOTE_EINVAL, "the path or the result pointer is NULL");
    else if (options && options->size_bytes < sizeof(size_t))
        result = error_set(MOTE_EINVAL, "options.size_bytes is %zu: begin with MOTE_OPTIONS_INIT", options->size_bytes);
    else if (options)
        memcpy(&given, options, options->size_bytes < sizeof given ? options->size_bytes : sizeof given);
    struct blockdev_open_options how = {.read_only = given.read_only != 0, .backend = given.backend, .busy_timeout_ms = given.open_timeout_ms ? given.open_timeout_ms : BUSY_TIMEOUT_MS};
    if (!result)
        result = blockdev_open(path, &how, &device);
    if (!result)
        result = engine_open(device, options, db, error);
    if (result && device)
        blockdev_close(device);
    if (result && error)
        mote_last_error(error);
    return result;
}

/* ---- Close ---- */

static int close_cleanly(struct mote_db *db)
{
    struct manifest_edit *edit;
    uint64_t end_lsn, end_seq;
    int result = checkpoint_run(db);
    if (!result)
        result = wal_close(db->wal, &end_lsn);
    if (!result)
        result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    end_seq = atomic_load(&db->visible_seq);
    manifest_edit_set_head(edit, end_lsn);
    manifest_edit_set_clean_end(edit, end_lsn, end_seq);
    retention_add_watermarks(db, edit); /* what has expired stays so, whatever the clock says at the next open */
    result = manifest_commit(edit, NULL, NULL);
    if (result)
        return result;
    manifest_lock(db->manifest);
    db->superblock.clean = 1;
    manifest_unlock(db->manifest);
    return manifest_write_superblock(db->manifest);
}

int mote_close(mote_db *db)
{
    if (!db)
        return MOTE_OK;
    int result = db_check(db);
    if (result)
        return result; /* in the child of a fork the memory is not mapped: nothing can be freed, and nothing must be */
    struct blockdev *device = db->device;
    struct mote_error cause, given_up;
    int undrained = producers_finish(db);
    error_get(&given_up);
    workers_stop(db);
    if (!db->read_only)
        result = atomic_load(&db->poisoned) ? db_poison(db, 0) : close_cleanly(db);
    if (undrained && !result)
        result = error_restore(&given_up);
    error_get(&cause);
    destroy(db);
    blockdev_close(device);
    if (result)
        error_restore(&cause);
    return result;
}

struct blockdev *engine_abandon(struct mote_db *db)
{
    struct blockdev *device = db->device;
    destroy(db);
    return device;
}
