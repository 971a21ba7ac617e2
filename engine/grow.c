/* grow.c: mote_grow: a volume that is open, and written to, takes over more of its device.
 *
 * What depends on the device's end is the manifest's second copy, the superblock's copies there, and the number of extents (resize.c). Order (a power cut at any point leaves the old size up to step 4, the new one from there on):
 *   1. all memory that the larger volume needs is taken, so that nothing fails later for want of it
 *   2. of the new end, what lies behind the old end is cleared: nothing refers to it. Commits go on at the old places meanwhile.
 *   3. under the manifest's mutex: what lies before the old end is cleared as well (where it grows by little the new end lies over the old one, and the first copies of manifest and superblock stand for both)
 *   4. still under it: the snapshot, in both copies, FLUSH; the superblock with the new size to the start, FLUSH: from here on the size is the new one; then to the new end, FLUSH (manifest_grow). The start comes first: open looks at the end where the start says
 *      that it is, and at the device's own end only where the start is lost; a slot at the new end with a generation that the start does not know could then win over later ones.
 *   5. the allocator has the new extents. No edit, and so no log range and no segment, names one before.
 *
 * Invariants: extents keep their size and place, so readers need no lock; of the layout only the three fields of layout_move_end change, once the superblock is durable.
 * Threads: any; grow_mutex, one growth at a time. Failures: a write in step 2 leaves everything as it was; one in 3 or 4, and any barrier, poisons the handle.
 */
#include <inttypes.h>
#include <string.h>

#include "engine/engine_private.h"

struct growth {
    struct mote_db *db;
    struct layout layout; /* the new one */
    struct extents_growth *extents;
};

static int refuse_memory(struct mote_db *db)
{
    return error_set(MOTE_EBUDGET, "%s cannot grow while it is open: the memory budget has no room for a larger table of extents; close it and use mote resize, or open it with more memory_bytes", blockdev_path(db->device));
}

/* The size that is wanted: *wanted above *old, or MOTE_OK with both the same. */
static int choose_size(struct mote_db *db, uint64_t size_bytes, uint64_t *old, uint64_t *wanted)
{
    const char *path = blockdev_path(db->device);
    *old = *wanted = db->superblock.layout.device_size_bytes;
    int result = blockdev_refresh(db->device);
    if (result)
        return result;
    uint64_t device_bytes = round_down(__atomic_load_n(&blockdev_geometry(db->device)->size_bytes, __ATOMIC_RELAXED), PAGE_BYTES), size = size_bytes ? round_down(size_bytes, PAGE_BYTES) : device_bytes;
    if (device_bytes < *old) {
        error_set(MOTE_ESHRUNK, "%s has %" PRIu64 " bytes now, and the volume on it %" PRIu64 "; make it as large again", path, device_bytes, *old);
        error_add_device(path, device_bytes, *old - device_bytes);
        return MOTE_ESHRUNK;
    }
    if (size > device_bytes)
        return error_set(MOTE_ENODEV, "%s has %" PRIu64 " bytes, less than the %" PRIu64 " that the volume is to have; enlarge it first", path, device_bytes, size);
    if (size < *old)
        return error_set(MOTE_EBUSY, "%s cannot be made smaller (%" PRIu64 " bytes, from %" PRIu64 ") while it is open; close it and use mote resize", path, size, *old);
    *wanted = size;
    return MOTE_OK;
}

static int prepare(struct growth *growth, uint64_t size_bytes)
{
    struct mote_db *db = growth->db;
    const struct layout *old = &db->superblock.layout;
    int result = resize_lay_out(old, size_bytes, &growth->layout);
    if (!result && growth->layout.log_bytes_max != old->log_bytes_max)
        result = error_set(MOTE_ENOTSUP, "a volume of %" PRIu64 " bytes has another log than this one; copy it instead (mote clone)", size_bytes);
    if (!result && extents_growth_prepare(db->extents, growth->layout.extent_count, &growth->extents))
        result = refuse_memory(db);
    return result;
}

/* Steps 2 to 5. */
static int move_end(struct growth *growth)
{
    struct mote_db *db = growth->db;
    struct blockdev_queue_options shared = {.depth = 32};
    struct blockdev_queue *queue;
    int result = blockdev_queue_create(db->device, &shared, &queue);
    if (result)
        return result;
    result = manifest_clear_end(queue, &growth->layout, db->superblock.layout.device_size_bytes, growth->layout.device_size_bytes);
    blockdev_queue_destroy(queue);
    if (result)
        return result;
    result = manifest_grow(db->manifest, &growth->layout);
    if (result == MOTE_EBUDGET && !manifest_poisoned(db->manifest, NULL))
        return refuse_memory(db);
    if (result)
        return db_settle(db, result);
    extents_growth_install(db->extents, growth->extents);
    growth->extents = NULL;
    standing_reserve_set(db);
    space_keep_spares(db);
    return MOTE_OK;
}

static int grow_locked(struct mote_db *db, uint64_t size_bytes, bool dry_run, struct mote_resize_result *outcome)
{
    struct growth growth = {.db = db};
    uint64_t wanted;
    int result = db_check_writable(db);
    if (!result)
        result = choose_size(db, size_bytes, &outcome->old_bytes, &wanted);
    outcome->new_bytes = outcome->old_bytes;
    if (result || wanted == outcome->old_bytes)
        return result;
    result = prepare(&growth, wanted);
    if (!result && !dry_run)
        result = move_end(&growth);
    if (!result && !dry_run)
        outcome->new_bytes = wanted;
    struct mote_error cause;
    error_get(&cause);
    extents_growth_abandon(db->extents, growth.extents);
    return result ? error_restore(&cause) : MOTE_OK;
}

int mote_grow(mote_db *db, uint64_t size_bytes, const struct mote_resize_options *given, struct mote_resize_result *out)
{
    struct mote_resize_options options = MOTE_RESIZE_OPTIONS_INIT;
    struct mote_resize_result outcome = {.size_bytes = sizeof outcome};
    int result = db_check(db);
    if (result)
        return result;
    if (given && given->size_bytes < sizeof(size_t))
        return error_set(MOTE_EINVAL, "options.size_bytes is not set: begin with MOTE_RESIZE_OPTIONS_INIT");
    if (given)
        memcpy(&options, given, given->size_bytes < sizeof options ? given->size_bytes : sizeof options);
    pthread_mutex_lock(&db->grow_mutex);
    result = grow_locked(db, size_bytes, options.dry_run != 0, &outcome);
    pthread_mutex_unlock(&db->grow_mutex);
    if (out)
        *out = outcome;
    if (!result && outcome.new_bytes > outcome.old_bytes)
        use_freed_space(db);
    return result;
}
