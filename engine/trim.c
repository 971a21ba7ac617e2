/* trim.c: discards of what nothing refers to: of extents as they come free, a little at a time, and by mote_trim of all free space.
 *
 * An extent is discarded only after the edit that freed it is durable and no reader is on it (extents.h), while nobody can be given it. A device discards whole units of its granularity, which may be larger than an extent or lie askew
 * to it: a run is widened over free neighbours, and what is discarded is the whole units inside. A byte outside free extents is never discarded.
 * The rate: trim_mib_per_s, since a device answers nothing else while it discards. Whoever lacks free extents meanwhile gets them untrimmed (extents_reserve), so that no trim is ever waited for.
 * A trim is advice: a device that refuses one loses nothing, is not asked again by this handle, and the extents are free all the same.
 *
 * Threads: any; the queue is the caller's by its mutex. Failures: mote_trim MOTE_ENOTSUP, MOTE_EIO and what blockdev_discard_range says; the background none.
 */
#include <string.h>
#include <time.h>

#include "engine/engine_private.h"

#define TRIM_RUNS 64u
#define STEP_BYTES (64ull << 20)          /* of free space that mote_trim takes from others at a time */
#define RATE_MIB_PER_S_DEFAULT 1024u

/* The whole units of the device's granularity inside [*from, *end); false: there are none. */
static bool whole_units(const struct blockdev_geometry *geometry, uint64_t *from_bytes, uint64_t *end_bytes)
{
    uint64_t unit = geometry->discard_granularity_bytes, phase = geometry->discard_alignment_bytes % unit;
    uint64_t first = *from_bytes > phase ? phase + divide_up(*from_bytes - phase, unit) * unit : phase;
    uint64_t last = *end_bytes > phase ? phase + (*end_bytes - phase) / unit * unit : 0;
    *from_bytes = first;
    *end_bytes = last;
    return first < last;
}

void trim_plan(struct mote_db *db)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(db->device);
    const struct layout *layout = &db->superblock.layout;
    uint64_t unit = geometry->discard_granularity_bytes, extent_bytes = layout->extent_bytes;
    uint32_t wish = db->options.trim;
    bool may = unit > 0 && !db->read_only && wish != MOTE_TRIM_OFF;
    db->trim = may && (geometry->block_device || wish == MOTE_TRIM_ON);
    extents_set_trim(db->extents, db->trim);
    bool askew = may && (extent_bytes % unit != 0 || (layout->extents_offset_bytes + unit - geometry->discard_alignment_bytes % unit) % unit != 0);
    extents_set_trim_reach(db->extents, askew ? (uint32_t)divide_up(unit, extent_bytes) : 0);
}

static uint64_t rate_bytes_per_s(const struct mote_db *db) { return (db->options.trim_mib_per_s ? db->options.trim_mib_per_s : RATE_MIB_PER_S_DEFAULT) * (uint64_t)MIB_BYTES; }

/* Discards what is whole units of the run; *bytes: how much. */
static int discard_run(struct mote_db *db, struct blockdev_queue *queue, struct extent_run run, uint64_t *bytes)
{
    const struct layout *layout = &db->superblock.layout;
    uint64_t from = layout_extent_offset(layout, run.first), end = from + run.count * layout->extent_bytes;
    *bytes = 0;
    if (!whole_units(blockdev_geometry(db->device), &from, &end))
        return MOTE_OK;
    assert(from >= layout->extents_offset_bytes && end <= layout_extent_offset(layout, layout_extent_count(layout)));
    int result = blockdev_discard_range(queue, from, end - from);
    if (!result)
        *bytes = end - from;
    return result;
}

uint32_t trim_some(struct mote_db *db, struct blockdev_queue *queue)
{
    struct extent_run runs[TRIM_RUNS];
    struct extents_counts counts;
    uint32_t count, trimmed = 0;
    while (now_ns() >= atomic_load(&db->trim_next_ns) && (count = extents_take_trimmable(db->extents, runs, TRIM_RUNS)) > 0) {
        uint64_t sum_bytes = 0, bytes = 0;
        for (uint32_t i = 0; i < count; i++) {
            if (atomic_load(&db->trim) && discard_run(db, queue, runs[i], &bytes))
                atomic_store(&db->trim, false);
            else
                sum_bytes += bytes;
            extents_trimmed(db->extents, runs[i]);
            trimmed += runs[i].count;
        }
        atomic_store(&db->trim_next_ns, now_ns() + sum_bytes * NS_PER_S / rate_bytes_per_s(db));
    }
    extents_get_counts(db->extents, &counts);
    return trimmed + counts.trimming;
}

bool trim_freed(struct mote_db *db)
{
    struct extents_counts before, after;
    extents_get_counts(db->extents, &before);
    if (before.trimming == 0 || now_ns() < atomic_load(&db->trim_next_ns) || pthread_mutex_trylock(&db->compact_mutex) != 0)
        return false; /* a compaction trims at its end, and a worker that waited for it would not flush */
    trim_some(db, db->compact_queue);
    pthread_mutex_unlock(&db->compact_mutex);
    extents_get_counts(db->extents, &after);
    if (after.trimming < before.trimming)
        space_extend(db, false);
    return after.trimming < before.trimming;
}

/* ---- All free space ---- */

static int check_trim(struct mote_db *db, const struct mote_trim_options *given, struct mote_trim_options *options, const struct mote_trim_result *out)
{
    const struct blockdev_geometry *geometry = blockdev_geometry(db->device);
    *options = (struct mote_trim_options)MOTE_TRIM_OPTIONS_INIT;
    if ((given && given->size_bytes < sizeof(size_t)) || (out && out->size_bytes < sizeof(size_t)))
        return error_set(MOTE_EINVAL, "trim options or result: size_bytes is not set");
    if (given)
        memcpy(options, given, given->size_bytes < sizeof *options ? given->size_bytes : sizeof *options);
    if (options->dry_run)
        return geometry->discard_granularity_bytes ? MOTE_OK : error_set(MOTE_ENOTSUP, "%s has no discard", blockdev_path(db->device));
    int result = db_check_writable(db);
    if (!result && geometry->discard_granularity_bytes == 0)
        result = error_set(MOTE_ENOTSUP, "%s has no discard", blockdev_path(db->device));
    if (!result && !geometry->block_device && db->options.trim != MOTE_TRIM_ON)
        result = error_set(MOTE_ENOTSUP, "%s is an image file, whose blocks a trim would give back to the file system, so that writing them again is slower and may fail; open it with trim = MOTE_TRIM_ON if that is wanted", blockdev_path(db->device));
    return result;
}

/* Between steps, so that others get the device. */
static void keep_rate(uint64_t begin_ns, uint64_t bytes, uint64_t bytes_per_s)
{
    uint64_t due_ns = begin_ns + bytes / bytes_per_s * NS_PER_S + bytes % bytes_per_s * NS_PER_S / bytes_per_s, now = now_ns();
    if (due_ns > now)
        nanosleep(&(struct timespec){.tv_sec = (time_t)((due_ns - now) / NS_PER_S), .tv_nsec = (long)((due_ns - now) % NS_PER_S)}, NULL);
}

static int trim_all(struct mote_db *db, struct blockdev_queue *queue, const struct mote_trim_options *options, struct mote_trim_result *result)
{
    const struct layout *layout = &db->superblock.layout;
    const struct blockdev_geometry *geometry = blockdev_geometry(db->device);
    uint32_t step = (uint32_t)divide_up(STEP_BYTES > geometry->discard_granularity_bytes * 2ull ? STEP_BYTES : geometry->discard_granularity_bytes * 2ull, layout->extent_bytes);
    uint64_t begin_ns = now_ns(), bytes_per_s = options->mib_per_s ? options->mib_per_s * (uint64_t)MIB_BYTES : rate_bytes_per_s(db);
    struct extent_run run;
    int code = MOTE_OK;
    for (uint32_t at = 0; !code && extents_take_free(db->extents, at, step, &run); at = run.first + run.count) {
        uint64_t from = layout_extent_offset(layout, run.first), end = from + run.count * layout->extent_bytes, free_end = end, bytes = 0;
        bool whole = whole_units(geometry, &from, &end);
        if (whole && options->dry_run)
            bytes = end - from;
        else if (whole)
            code = discard_run(db, queue, run, &bytes);
        extents_trimmed(db->extents, run);
        result->free_bytes += run.count * layout->extent_bytes;
        result->trimmed_bytes += bytes;
        result->range_count += bytes > 0;
        /* A unit that the step cut in two is tried again with what follows. */
        uint32_t done = whole && end < free_end && run.count == step ? (uint32_t)((end - layout_extent_offset(layout, run.first)) / layout->extent_bytes) : 0;
        if (done > 0) {
            result->free_bytes -= (run.count - done) * layout->extent_bytes;
            run.count = done;
        }
        if (!options->dry_run)
            keep_rate(begin_ns, result->trimmed_bytes, bytes_per_s);
    }
    return code;
}

int mote_trim(mote_db *db, const struct mote_trim_options *given, struct mote_trim_result *out)
{
    struct mote_trim_options options;
    struct mote_trim_result result = {.size_bytes = sizeof result};
    struct blockdev_queue_options shared = {.depth = 8};
    struct blockdev_queue *queue = NULL;
    int code = db_check(db);
    if (!code)
        code = check_trim(db, given, &options, out);
    if (!code)
        code = blockdev_queue_create(db->device, &shared, &queue);
    if (code)
        return code;
    result.granularity_bytes = blockdev_geometry(db->device)->discard_granularity_bytes;
    code = trim_all(db, queue, &options, &result);
    blockdev_queue_destroy(queue);
    if (!db->read_only)
        space_extend(db, false); /* the log may have lacked what was taken for a step */
    if (out) {
        size_t wanted = out->size_bytes;
        memcpy(out, &result, wanted < sizeof result ? wanted : sizeof result);
        out->size_bytes = wanted;
    }
    return code;
}
