/* space.c: log space: extents mapped ahead of the log, so that the committer never waits for the manifest.
 *
 * The log is a sequence of ranges, each a contiguous run of extents, mapped by a durable edit before the log may use it. log_bytes_max is the size at which mapping stops and a checkpoint is asked for; a rotation may exceed it by
 * what its own stage needs, since the checkpoint needs the rotation, and so may a handle without workers, where nobody but a writer that waits could make one. Extents come back when an edit moves the head (checkpoint.c).
 *
 * Spare runs: whatever fills the device, a later open needs a run for its log, beside the old ones. Two are kept in memory alone, so that a crash leaves them free and in one piece, and no row is taken before both are. An open takes them
 * out of the free space before its replay can flush into them, maps one, and drops the log of the incarnation before it if that wrote no row (recover.c), whose run becomes the spare. So opens that are cut short one after the other find one
 * each time: after a log with rows one spare is mapped and one is left; that one is mapped by the next open, and what that gives back is the one of the open after it. With a single one the second of them would find none.
 * The same holds for the manifest's lists of incarnations and ranges, of which an open takes one each.
 */
#include "engine/engine_private.h"
#include "engine/retention.h"

/* At least room for two of the largest frames in a row, so that a pad loses less than half of a range; a sixteenth of the log where that is more. */
void space_plan(struct mote_db *db)
{
    const struct layout *layout = &db->superblock.layout;
    uint64_t chunk = layout->log_bytes_max / 16;
    uint64_t floor = 2ull * db->options.wal_frame_bytes_max;
    if (chunk < floor)
        chunk = floor;
    if (chunk > (64ull << 20) && floor < (64ull << 20))
        chunk = 64ull << 20;
    db->log_chunk_bytes = divide_up(chunk, layout->extent_bytes) * layout->extent_bytes;
}

int space_map(struct mote_db *db, uint64_t lsn, bool force, struct manifest_edit *edit, struct wal_range *range)
{
    const struct layout *layout = &db->superblock.layout;
    uint32_t count_max = (uint32_t)(db->log_chunk_bytes / layout->extent_bytes);
    uint32_t count_min = (uint32_t)divide_up(2ull * db->options.wal_frame_bytes_max, layout->extent_bytes);
    uint32_t count_least = (uint32_t)divide_up(db->options.wal_frame_bytes_max, layout->extent_bytes);
    const uint32_t counts[][2] = {{count_min, count_max}, {count_min, count_min}, {count_least, count_min}, {count_least, count_least}};
    struct extent_run run;
    int result = MOTE_ENOSPC;
    /* The last ones, a range of one frame, only where there would be none else. */
    for (size_t i = 0; result && i < (force ? 4u : 2u); i++) {
        struct extent_reservation reservation;
        result = extents_reserve(db->extents, counts[i][1], force, &reservation);
        if (result)
            continue;
        reservation.log = true;
        result = extents_allocate(db->extents, &reservation, counts[i][0], counts[i][1], &run);
        extents_unreserve(db->extents, &reservation);
    }
    if (result)
        return result;
    struct manifest_log_range mapped = {lsn, run};
    manifest_edit_add_log_range(edit, &mapped);
    *range = (struct wal_range){lsn, layout_extent_offset(layout, run.first), run.count * layout->extent_bytes};
    return MOTE_OK;
}

void space_unmap(struct mote_db *db, const struct wal_range *range)
{
    const struct layout *layout = &db->superblock.layout;
    if (manifest_poisoned(db->manifest, NULL))
        return; /* the edit may be on the device: the run stays taken until the next open */
    struct extent_run run = {(uint32_t)((range->device_offset_bytes - layout->extents_offset_bytes) / layout->extent_bytes), (uint32_t)(range->length_bytes / layout->extent_bytes)};
    extents_release_unused(db->extents, run);
}

/* ---- Spare runs ---- */

static bool lists_full(uint32_t incarnation_count, uint32_t range_count) { return incarnation_count + 2 >= MANIFEST_INCARNATIONS_MAX || range_count + 8 >= MANIFEST_LOG_RANGES_MAX; }

bool space_lists_full(struct mote_db *db, uint64_t end_lsn)
{
    manifest_lock(db->manifest);
    const struct manifest_state *state = manifest_get_state(db->manifest);
    uint32_t count = state->incarnation_count, range_count = state->log_range_count;
    bool dropped = count && state->incarnations[count - 1].end_lsn == UINT64_MAX && state->incarnations[count - 1].first_lsn == end_lsn;
    manifest_unlock(db->manifest);
    return lists_full(count - dropped, range_count);
}

/* A whole one, or one of a single frame where there is no other. */
static bool keep_run(struct mote_db *db, struct extent_run *spare)
{
    uint64_t extent_bytes = db->superblock.layout.extent_bytes;
    for (uint64_t frames = 2; frames > 0 && spare->count == 0; frames--) {
        uint32_t count = (uint32_t)divide_up(frames * db->options.wal_frame_bytes_max, extent_bytes);
        struct extent_reservation reservation;
        if (extents_reserve(db->extents, count, true, &reservation) != MOTE_OK)
            continue;
        if (extents_allocate(db->extents, &reservation, count, count, spare) != MOTE_OK)
            *spare = (struct extent_run){0};
        extents_unreserve(db->extents, &reservation);
    }
    return spare->count > 0;
}

static bool keep_spares_locked(struct mote_db *db)
{
    bool kept = true;
    for (uint32_t i = 0; i < SPARE_RUNS; i++)
        kept = (db->spare_runs[i].count || keep_run(db, &db->spare_runs[i])) && kept;
    kept = kept && !space_lists_full(db, 0);
    atomic_store(&db->spares_short, !kept);
    return kept;
}

bool space_keep_spares(struct mote_db *db)
{
    pthread_mutex_lock(&db->space_mutex);
    bool kept = keep_spares_locked(db);
    pthread_mutex_unlock(&db->space_mutex);
    return kept;
}

void space_use_spare(struct mote_db *db)
{
    struct extent_run *spare = db->spare_runs[0].count ? &db->spare_runs[0] : &db->spare_runs[1];
    if (spare->count)
        extents_release_unused(db->extents, *spare);
    *spare = (struct extent_run){0};
}

int space_check(struct mote_db *db)
{
    if (!atomic_load_explicit(&db->spares_short, memory_order_relaxed) || space_keep_spares(db))
        return MOTE_OK;
    for (uint32_t tries = 0; tries < SPARE_TRIES && retention_make_room(db); tries++)
        if (space_keep_spares(db))
            return MOTE_OK;
    error_set(MOTE_ENOSPC, "no row can be taken: beside what it holds, %s lacks room for the logs of later opens; free space (drop tables, let them expire, enlarge the device)", blockdev_path(db->device));
    error_add_device(blockdev_path(db->device), 0, 0);
    return MOTE_ENOSPC;
}

/* ---- Extending ---- */

static int extend_locked(struct mote_db *db, bool force)
{
    struct manifest_edit *edit;
    struct wal_range range;
    uint64_t lsn = atomic_load(&db->mapped_end_lsn);
    int result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    result = space_map(db, lsn, force, edit, &range);
    if (result) {
        manifest_edit_abandon(edit);
        return result;
    }
    result = manifest_commit(edit, NULL, NULL);
    if (result) {
        space_unmap(db, &range);
        return result;
    }
    result = wal_add_range(db->wal, &range);
    if (!result)
        atomic_store(&db->mapped_end_lsn, lsn + range.length_bytes);
    return result;
}

/* Mapped space that the log has not written yet. */
static uint64_t space_ahead(struct mote_db *db)
{
    uint64_t end = atomic_load(&db->mapped_end_lsn), tail = wal_tail_lsn(db->wal);
    return end > tail ? end - tail : 0;
}

int space_extend(struct mote_db *db, bool force)
{
    /* Twice what all stages could take, since a pad may lose as much; on a small device half of the log: four of the largest frames at least, for one stage and the rotation's. */
    uint64_t frame_bytes = db->options.wal_frame_bytes_max, half_bytes = db->superblock.layout.log_bytes_max / 2;
    uint64_t staged = (options_stage_count(&db->options) + 2) * frame_bytes * 2;
    if (staged > half_bytes)
        staged = half_bytes > 4 * frame_bytes ? half_bytes : 4 * frame_bytes;
    uint64_t wanted = force ? staged : staged + db->log_chunk_bytes;
    int result = MOTE_OK;
    bool full = false, held_up = false;
    pthread_mutex_lock(&db->space_mutex);
    keep_spares_locked(db); /* what an open lacked space for may be had since */
    while (!result && !full && space_ahead(db) < wanted) {
        uint64_t in_use = atomic_load(&db->mapped_end_lsn) - atomic_load(&db->head_lsn);
        full = !force && db->options.workers != MOTE_NO_THREADS && in_use + db->log_chunk_bytes > db->superblock.layout.log_bytes_max;
        if (!full)
            result = extend_locked(db, force);
        if (result == MOTE_ENOSPC) {
            /* Who holds what is dropped may be waiting for this mutex. */
            pthread_mutex_unlock(&db->space_mutex);
            bool made = retention_make_room(db);
            held_up = !made && retention_held_up(db);
            pthread_mutex_lock(&db->space_mutex);
            result = made ? MOTE_OK : result;
        }
    }
    pthread_mutex_unlock(&db->space_mutex);
    /* No failure yet, and nobody is told: the compaction that this is called from ends, and asks again (space_extend_after_compaction). */
    if (held_up && result == MOTE_ENOSPC) {
        atomic_store(&db->log_starved, 1);
        return result;
    }
    /* Want of space or memory may pass: whoever needs room in the log is told, and asks again (append.c). */
    if (result == MOTE_ENOSPC || result == MOTE_EBUDGET || result == MOTE_ENOMEM)
        wal_set_space_error(db->wal, result);
    else if (result)
        db_poison(db, result);
    /* A checkpoint gives back whole ranges below the head: one that would give none is not asked for, or a small log would be checkpointed without end. */
    bool gains = wal_tail_lsn(db->wal) >= atomic_load(&db->head_lsn) + db->log_chunk_bytes;
    if (gains && (full || result == MOTE_ENOSPC)) {
        pthread_mutex_lock(&db->job_mutex);
        db->checkpoint_wanted = true;
        pthread_cond_signal(&db->job_cond);
        pthread_mutex_unlock(&db->job_mutex);
    }
    /* A rotation goes on while there is space for its one stage, even when no more could be mapped. */
    return force && !atomic_load(&db->poisoned) && space_ahead(db) >= 4ull * db->options.wal_frame_bytes_max ? MOTE_OK : result;
}

void space_extend_after_compaction(struct mote_db *db)
{
    if (atomic_exchange(&db->log_starved, 0))
        space_extend(db, false);
}

void space_needed(void *context)
{
    struct mote_db *db = context;
    /* Without workers the log's thread does it: a writer may be waiting, and nobody else would come. */
    if (db->options.workers == MOTE_NO_THREADS) {
        space_extend(db, false);
        return;
    }
    pthread_mutex_lock(&db->job_mutex);
    db->extend_wanted = true;
    pthread_cond_signal(&db->job_cond);
    pthread_mutex_unlock(&db->job_mutex);
}
