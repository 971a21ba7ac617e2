/* resize.c: mote_resize: a volume grows onto a larger device, or leaves the end of its device.
 *
 * What depends on the device's end is the manifest's second copy, the superblock's copies there, and the number of extents. Order (each step may be cut by a power failure; the next call, or the next open, starts from what it finds)
 *   1. shrinking alone: the volume is opened and closed, so that its log is empty; a log that is not used any more, and what lies behind the new end, is planned away in memory; the copies are written to free extents, read back, FLUSH; the state that
 *      refers to them becomes the volume's in one step (manifest_replace). The size is the old one.
 *   2. the superblock's slots at the new end are cleared, the manifest's second copy is made anew at its new place, FLUSH; the snapshot goes to both copies, FLUSH; the superblock with the new size goes to the start: from here on the size is the new one; then to
 *      the end (manifest_resize). Until then the first copies of both stand for the old size.
 *   3. shrinking alone: the superblock's slots at the old end are cleared, so that nobody who looks there finds the old size; an image file is cut.
 *
 * Invariants: what the present state refers to is never written to; runs of extents move as a whole, so that no structure comes to lie across two; extents keep their size and their place: a volume whose extents would have to be aligned otherwise is refused.
 * Threads: one; the device is its own. Failures: those of mote_resize; the volume is as before, or (a device that fails in step 2 or 3) as after a power cut.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/probe.h"
#include "engine/engine_private.h"
#include "engine/lsm/manifest_format.h"

#define RESIZE_MEMORY_BYTES (256u * MIB_BYTES)
#define RESIZE_TABLES_MAX 16384u
#define RESIZE_SPARE_BYTES (2u * MIB_BYTES) /* of free extents that a volume needs for its log when it is opened */
#define RESIZE_CHUNK_BYTES MIB_BYTES

struct move {
    struct extent_run from;
    uint32_t to;
};

struct resize {
    struct blockdev *device;
    struct blockdev_queue *queue;
    struct memory *memory;
    struct superblock superblock;
    struct wear_clock wear;
    struct manifest *manifest;
    struct manifest_image image;
    struct layout layout;      /* the new one */
    struct extent_run *runs;   /* of segments, sections and blob files, ascending */
    uint32_t run_count;
    struct move *moves;
    uint32_t move_count;
    uint64_t *taken;
    uint8_t *chunk;
    struct mote_resize_result outcome;
};

/* ---- The volume ---- */

static int open_manifest(struct resize *resize)
{
    struct manifest_options options = {.device = resize->device, .memory = resize->memory, .superblock = &resize->superblock, .tables_max = RESIZE_TABLES_MAX, .complete = wear_complete, .complete_context = &resize->wear};
    int result = manifest_open(&options, &resize->manifest);
    return result ? result : manifest_capture(resize->manifest, &resize->image);
}

static void close_manifest(struct resize *resize)
{
    if (resize->manifest)
        version_release(resize->manifest, resize->image.version);
    memory_free(resize->memory, resize->image.bytes);
    resize->image = (struct manifest_image){0};
    manifest_close(resize->manifest);
    resize->manifest = NULL;
}

static int check_volume(const struct resize *resize)
{
    const struct manifest_state *state = manifest_get_state(resize->manifest);
    uint32_t receive = state->receive.state;
    if (receive == MANIFEST_RECEIVE_ANEW || receive == MANIFEST_RECEIVE_INCREMENT)
        return error_set(MOTE_ERESTORING, "a receive into %s is not complete: go on with it before the volume is resized", blockdev_path(resize->device));
    return MOTE_OK;
}

/* ---- Layouts ---- */

int resize_lay_out(const struct layout *old, uint64_t size_bytes, struct layout *layout)
{
    uint64_t log_bytes_max = old->log_bytes_max, end_bytes = 2 * old->manifest_area_bytes + SUPERBLOCK_REGION_BYTES;
    uint64_t extents_bytes = size_bytes > old->extents_offset_bytes + end_bytes ? round_down(size_bytes - old->extents_offset_bytes - end_bytes, old->extent_bytes) : 0;
    if (log_bytes_max > extents_bytes / 2)
        log_bytes_max = extents_bytes / 2;
    int result = layout_compute(size_bytes, old->extent_bytes, old->segments_max, log_bytes_max ? log_bytes_max : 1, layout);
    if (!result && (layout->extents_offset_bytes != old->extents_offset_bytes || layout->manifest_area_bytes != old->manifest_area_bytes))
        return error_set(MOTE_ENOTSUP, "a volume of %" PRIu64 " bytes aligns its extents of %" PRIu64 " bytes otherwise than this one; copy it instead (mote clone)", size_bytes, old->extent_bytes);
    return result;
}

/* The least size with so many extents, or with as many more as their place demands: where they are aligned to their own size the device holds 64 of them (layout.c). */
static uint64_t size_for(const struct resize *resize, uint32_t extent_count)
{
    const struct layout *old = &resize->superblock.layout;
    struct layout layout;
    uint64_t size = old->extents_offset_bytes + extent_count * old->extent_bytes + 2 * old->manifest_area_bytes + SUPERBLOCK_REGION_BYTES, aligned = 64 * old->extent_bytes;
    bool misplaced = size < aligned && old->device_size_bytes >= aligned && resize_lay_out(&resize->superblock.layout, size, &layout) == MOTE_ENOTSUP;
    return misplaced ? aligned : size;
}

/* ---- What lies where ---- */

static int compare_runs(const void *a, const void *b)
{
    uint32_t x = ((const struct extent_run *)a)->first, y = ((const struct extent_run *)b)->first;
    return x < y ? -1 : x > y;
}

static int list_runs(struct resize *resize)
{
    const struct version *version = resize->image.version;
    const struct manifest_state *state = manifest_get_state(resize->manifest);
    uint64_t room = (uint64_t)state->segment_count * (SEGMENT_RUNS_MAX + 1) + state->section_count + state->blob_count + 1;
    resize->runs = memory_alloc(resize->memory, room * sizeof *resize->runs);
    resize->moves = memory_alloc(resize->memory, room * sizeof *resize->moves);
    resize->taken = memory_alloc(resize->memory, divide_up(resize->superblock.layout.extent_count, 64) * sizeof *resize->taken);
    if (!resize->runs || !resize->moves || !resize->taken)
        return MOTE_EBUDGET;
    for (uint32_t t = 0; t < version->count; t++)
        for (uint32_t s = 0; s < version->lists[t]->count; s++) {
            const struct segment *segment = version->lists[t]->segments[s];
            for (uint32_t i = 0; i < segment->record.extent_run_count; i++)
                resize->runs[resize->run_count++] = segment->record.runs[i];
            if (segment->record.timestamp.run.count)
                resize->runs[resize->run_count++] = segment->record.timestamp.run;
            for (uint32_t i = 0; i < segment->index_count; i++)
                resize->runs[resize->run_count++] = segment->indexes[i].section.run;
        }
    for (uint32_t i = 0; i < state->blob_count; i++)
        resize->runs[resize->run_count++] = state->blobs[i].file->run;
    qsort(resize->runs, resize->run_count, sizeof *resize->runs, compare_runs);
    return MOTE_OK;
}

static void take_run(struct resize *resize, uint32_t first, uint32_t count)
{
    for (uint32_t extent = first; extent < first + count; extent++)
        resize->taken[extent / 64] |= 1ull << (extent % 64);
}

/* First fit below extent_count. */
static bool place(struct resize *resize, uint32_t extent_count, uint32_t count, uint32_t *first)
{
    uint32_t found = 0;
    for (uint32_t extent = 0; extent < extent_count; extent++) {
        found = resize->taken[extent / 64] >> (extent % 64) & 1 ? 0 : found + 1;
        if (found == count) {
            *first = extent + 1 - count;
            take_run(resize, *first, count);
            return true;
        }
    }
    return false;
}

/* The moves that leave everything below extent_count, the longest runs first; false: there is no place for one, or none left for a log. */
static bool plan_moves(struct resize *resize, uint32_t extent_count)
{
    const struct manifest_state *state = manifest_get_state(resize->manifest);
    uint32_t longest = (uint32_t)divide_up(RESIZE_SPARE_BYTES, resize->superblock.layout.extent_bytes), spare = longest, next;
    memset(resize->taken, 0, divide_up(resize->superblock.layout.extent_count, 64) * sizeof *resize->taken);
    resize->move_count = 0;
    for (uint32_t i = 0; i < state->bad_extent_count; i++)
        take_run(resize, state->bad_extents[i], 1);
    for (uint32_t i = 0; i < resize->run_count; i++) {
        take_run(resize, resize->runs[i].first, resize->runs[i].count);
        longest = resize->runs[i].count > longest ? resize->runs[i].count : longest;
    }
    for (uint32_t length = longest; length > 0; length = next) {
        next = 0;
        for (uint32_t i = 0; i < resize->run_count; i++) {
            struct extent_run run = resize->runs[i];
            if (run.first + run.count <= extent_count)
                continue;
            if (run.count < length)
                next = run.count > next ? run.count : next;
            if (run.count != length)
                continue;
            struct move *move = &resize->moves[resize->move_count++];
            move->from = run;
            if (!place(resize, extent_count, run.count, &move->to))
                return false;
        }
    }
    return place(resize, extent_count, spare, &next);
}

static bool fits(struct resize *resize, uint32_t extent_count)
{
    struct layout layout;
    return resize_lay_out(&resize->superblock.layout, size_for(resize, extent_count), &layout) == MOTE_OK && plan_moves(resize, layout.extent_count);
}

/* The least size that the volume can be brought to as it lies now; not above its own. */
static uint64_t find_least(struct resize *resize)
{
    uint32_t low = 1, high = resize->superblock.layout.extent_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (fits(resize, middle))
            high = middle;
        else
            low = middle + 1;
    }
    uint64_t size = size_for(resize, low);
    resize->move_count = 0;
    return size < resize->superblock.layout.device_size_bytes ? size : resize->superblock.layout.device_size_bytes;
}

/* ---- Moving ---- */

static int copy_run(struct resize *resize, const struct move *move)
{
    const struct layout *layout = &resize->superblock.layout;
    uint64_t length = move->from.count * layout->extent_bytes, from = layout_extent_offset(layout, move->from.first), to = layout_extent_offset(layout, move->to);
    uint32_t crc = 0, again = 0;
    int result = MOTE_OK;
    for (uint64_t at = 0, piece; at < length && !result; at += piece) {
        piece = length - at < RESIZE_CHUNK_BYTES ? length - at : RESIZE_CHUNK_BYTES;
        result = blockdev_read_range(resize->queue, from + at, resize->chunk, piece);
        crc = crc32c(crc, resize->chunk, piece);
        if (!result)
            result = blockdev_write_range(resize->queue, BLOCKDEV_SOURCE_OTHER, to + at, resize->chunk, piece);
    }
    for (uint64_t at = 0, piece; at < length && !result; at += piece) {
        piece = length - at < RESIZE_CHUNK_BYTES ? length - at : RESIZE_CHUNK_BYTES;
        result = blockdev_read_range(resize->queue, to + at, resize->chunk, piece);
        again = crc32c(again, resize->chunk, piece);
    }
    if (!result && crc != again) {
        result = error_set(MOTE_EDAMAGED, "what was copied to extent %u reads otherwise than it was written; check the device", move->to);
        error_add_device(blockdev_path(resize->device), to, length);
    }
    resize->outcome.moved_bytes += result ? 0 : length;
    return result;
}

static struct extent_run moved(const struct resize *resize, struct extent_run run)
{
    for (uint32_t i = 0; i < resize->move_count; i++)
        if (resize->moves[i].from.first == run.first && run.count > 0)
            return (struct extent_run){resize->moves[i].to, run.count};
    return run;
}

/* A record of the present state, as it is in the next one; *keep false: it is not. The log is empty: with the log go its ranges and incarnations. */
static int rewrite_record(const struct resize *resize, uint32_t kind, uint8_t *body, uint32_t length, bool drop_log, bool *keep)
{
    struct byte_reader reader = byte_reader_make(body, length);
    struct byte_writer writer = byte_writer_make(body, length);
    struct segment_record record;
    struct segment_section section;
    struct extent_run run;
    *keep = true;
    switch (kind) {
    case MANIFEST_RECORD_LOG_RANGES:
    case MANIFEST_RECORD_INCARNATIONS:
        *keep = !drop_log;
        return MOTE_OK;
    case MANIFEST_RECORD_SEGMENT:
        if (!manifest_segment_decode(&reader, &record))
            break;
        for (uint32_t i = 0; i < record.extent_run_count; i++)
            record.runs[i] = moved(resize, record.runs[i]);
        record.timestamp.run = moved(resize, record.timestamp.run);
        manifest_segment_encode(&record, &writer);
        return MOTE_OK;
    case MANIFEST_RECORD_SECTION:
        read_bytes(&reader, 16);
        manifest_section_decode(&reader, &section);
        section.run = moved(resize, section.run);
        write_room(&writer, 16);
        manifest_section_encode(&section, &writer);
        return MOTE_OK;
    case MANIFEST_RECORD_BLOB_FILE:
        read_bytes(&reader, 16);
        run.first = read_u32(&reader);
        run.count = read_u32(&reader);
        run = moved(resize, run);
        write_room(&writer, 16);
        write_u32(&writer, run.first);
        write_u32(&writer, run.count);
        return MOTE_OK;
    case MANIFEST_RECORD_STATE:
    case MANIFEST_RECORD_LOST_RANGES:
    case MANIFEST_RECORD_BAD_EXTENTS:
    case MANIFEST_RECORD_TABLE:
    case MANIFEST_RECORD_INDEX:
    case MANIFEST_RECORD_NAMED:
    case MANIFEST_RECORD_RETENTION:
    case MANIFEST_RECORD_PIN:
    case MANIFEST_RECORD_WATERMARK:
    case MANIFEST_RECORD_SEGMENT_BLOBS:
    case MANIFEST_RECORD_RECEIVE:
    case MANIFEST_RECORD_BASE:
        return MOTE_OK;
    default:
        break;
    }
    return error_set(MOTE_ENOTSUP, "%s holds something (manifest records of kind %u) that a resize cannot move yet", blockdev_path(resize->device), kind);
}

/* Of the bad extents those below extent_count stay. The new length of the record's body. */
static uint32_t cut_bad_extents(uint8_t *body, uint32_t length, uint32_t extent_count)
{
    uint32_t kept = 0;
    for (uint32_t at = 0; at < length; at += 4) {
        uint32_t extent = load_u32(body + at);
        if (extent >= extent_count)
            continue;
        store_u32(body + kept, extent);
        kept += 4;
    }
    return kept;
}

/* The image becomes that of the next state, in place. */
static int rewrite_image(struct resize *resize, bool drop_log, uint32_t extent_count)
{
    struct manifest_image *image = &resize->image;
    uint32_t at = 0, kept = 0, records = 0;
    for (uint32_t i = 0; i < image->record_count; i++) {
        uint8_t *record = image->bytes + at;
        uint32_t kind = load_u16(record), length = load_u32(record + 4);
        bool keep;
        at += MANIFEST_RECORD_HEADER_BYTES + length;
        int result = rewrite_record(resize, kind, record + MANIFEST_RECORD_HEADER_BYTES, length, drop_log, &keep);
        if (result)
            return result;
        if (kind == MANIFEST_RECORD_BAD_EXTENTS) {
            length = cut_bad_extents(record + MANIFEST_RECORD_HEADER_BYTES, length, extent_count);
            store_u32(record + 4, length);
            keep = length > 0;
        }
        if (!keep)
            continue;
        memmove(image->bytes + kept, record, MANIFEST_RECORD_HEADER_BYTES + length);
        kept += MANIFEST_RECORD_HEADER_BYTES + length;
        records++;
    }
    image->size_bytes = kept;
    image->record_count = records;
    return MOTE_OK;
}

static int try_image(struct resize *resize, const struct layout *layout)
{
    struct manifest *tried;
    int result = manifest_try(resize->memory, layout, RESIZE_TABLES_MAX, &resize->image, &tried);
    if (!result)
        manifest_close(tried);
    return result;
}

/* Step 1. */
static int vacate(struct resize *resize)
{
    const struct manifest_state *state = manifest_get_state(resize->manifest);
    if (state->incarnation_count > 0 && (state->clean_end_lsn == 0 || state->clean_end_lsn != state->head_lsn))
        return error_set(MOTE_EINTERNAL, "the log of %s is not empty after a close; please report it", blockdev_path(resize->device));
    int result = MOTE_OK;
    for (uint32_t i = 0; i < resize->move_count && !result; i++)
        result = copy_run(resize, &resize->moves[i]);
    if (!result)
        result = blockdev_flush(resize->queue);
    if (!result)
        result = rewrite_image(resize, true, resize->superblock.layout.extent_count);
    if (!result)
        result = try_image(resize, &resize->superblock.layout);
    if (!result)
        result = manifest_replace(resize->manifest, &resize->image);
    close_manifest(resize);
    resize->move_count = 0; /* they are what the state says now */
    return result ? result : open_manifest(resize);
}

/* ---- The end ---- */

static int clear_slots(struct resize *resize, uint64_t size_bytes)
{
    static const _Alignas(PAGE_BYTES) uint8_t zeros[SUPERBLOCK_SLOTS * SUPERBLOCK_SLOT_BYTES];
    int result = blockdev_write_range(resize->queue, BLOCKDEV_SOURCE_SUPERBLOCK, size_bytes - SUPERBLOCK_REGION_BYTES, zeros, sizeof zeros);
    return result ? result : blockdev_flush(resize->queue);
}

/* Steps 2 and 3. */
static int move_end(struct resize *resize)
{
    uint64_t old_bytes = resize->superblock.layout.device_size_bytes, new_bytes = resize->layout.device_size_bytes;
    int result = rewrite_image(resize, false, resize->layout.extent_count);
    if (!result)
        result = try_image(resize, &resize->layout);
    if (!result)
        result = clear_slots(resize, new_bytes);
    if (!result)
        result = manifest_resize(resize->manifest, &resize->image, &resize->layout);
    bool apart = new_bytes + SUPERBLOCK_REGION_BYTES <= old_bytes;
    return result || !apart ? result : clear_slots(resize, old_bytes);
}

static int refuse_shrink(struct resize *resize, uint64_t size_bytes)
{
    resize->outcome.least_bytes = find_least(resize);
    return error_set(MOTE_ENOSPC, "%s cannot be made %" PRIu64 " bytes: as its segments lie now, %" PRIu64 " is the least; drop or compact tables, or choose that", blockdev_path(resize->device), size_bytes, resize->outcome.least_bytes);
}

static int run(struct resize *resize, uint64_t size_bytes, bool dry_run)
{
    uint64_t old_bytes = resize->superblock.layout.device_size_bytes;
    int result = check_volume(resize);
    if (!result)
        result = list_runs(resize);
    if (result)
        return result;
    resize->outcome.old_bytes = resize->outcome.new_bytes = old_bytes;
    resize->outcome.least_bytes = find_least(resize);
    if (size_bytes == old_bytes)
        return MOTE_OK;
    result = resize_lay_out(&resize->superblock.layout, size_bytes, &resize->layout);
    if (size_bytes < old_bytes && (result || !plan_moves(resize, resize->layout.extent_count)))
        return refuse_shrink(resize, size_bytes);
    if (result || dry_run)
        return result;
    if (size_bytes < old_bytes)
        result = vacate(resize);
    if (!result)
        result = move_end(resize);
    if (!result)
        resize->outcome.new_bytes = size_bytes;
    return result;
}

static int prepare(struct resize *resize)
{
    struct blockdev_queue_options shared = {.depth = 32, .flags = BLOCKDEV_QUEUE_SHARED};
    int result = memory_create(RESIZE_MEMORY_BYTES, false, &resize->memory);
    if (!result)
        result = memory_seal(resize->memory);
    if (!result)
        result = blockdev_queue_create(resize->device, &shared, &resize->queue);
    if (!result && !(resize->chunk = memory_alloc_aligned(resize->memory, RESIZE_CHUNK_BYTES, PAGE_BYTES)))
        result = MOTE_EBUDGET;
    if (!result)
        result = wear_read_superblock(&resize->wear, resize->device, resize->queue, &resize->superblock);
    return result ? result : open_manifest(resize);
}

static void finish(struct resize *resize)
{
    if (resize->memory) {
        close_manifest(resize);
        void *objects[] = {resize->runs, resize->moves, resize->taken, resize->chunk};
        for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++)
            memory_free(resize->memory, objects[i]);
    }
    if (resize->queue)
        blockdev_queue_destroy(resize->queue);
    if (resize->memory)
        memory_destroy(resize->memory);
}

int engine_resize(struct blockdev *device, uint64_t size_bytes, bool dry_run, struct mote_resize_result *outcome)
{
    struct resize *resize = calloc(1, sizeof *resize);
    if (!resize)
        return error_set(MOTE_ENOMEM, "out of memory while resizing");
    resize->device = device;
    resize->outcome.size_bytes = sizeof resize->outcome;
    uint64_t device_bytes = round_down(blockdev_geometry(device)->size_bytes, PAGE_BYTES), wanted = size_bytes ? round_down(size_bytes, PAGE_BYTES) : device_bytes;
    int result = wanted > device_bytes ? error_set(MOTE_ENODEV, "%s has %" PRIu64 " bytes, less than the %" PRIu64 " that the volume is to have; enlarge it first", blockdev_path(device), device_bytes, wanted) : prepare(resize);
    if (!result)
        result = run(resize, wanted, dry_run);
    struct mote_error cause;
    error_get(&cause);
    finish(resize);
    if (outcome)
        *outcome = resize->outcome;
    free(resize);
    return result ? error_restore(&cause) : MOTE_OK;
}

/* ---- By path ---- */

static int describe(const char *path, bool *image_file, uint64_t *device_bytes, struct superblock *superblock)
{
    struct blockdev *device;
    struct blockdev_open_options how = {.busy_timeout_ms = BUSY_TIMEOUT_MS, .read_only = true};
    struct blockdev_queue_options shared = {.depth = 8, .flags = BLOCKDEV_QUEUE_SHARED};
    struct blockdev_queue *queue;
    bool heal;
    int result = blockdev_open(path, &how, &device);
    if (result)
        return result;
    *image_file = !blockdev_geometry(device)->block_device;
    *device_bytes = blockdev_geometry(device)->size_bytes;
    result = blockdev_queue_create(device, &shared, &queue);
    if (!result) {
        result = superblock_read(queue, superblock, &heal);
        blockdev_queue_destroy(queue);
    }
    blockdev_close(device);
    return result;
}

/* Everything that is in the log goes to segments. A volume that was closed cleanly has no log; if it was received it stays what it is. */
static int settle_log(const char *path)
{
    struct mote_options options = MOTE_OPTIONS_INIT;
    mote_db *db;
    options.inline_io = 1;
    int result = mote_open(path, &options, &db, NULL);
    return result ? result : mote_close(db);
}

static int resize_device(const char *path, uint64_t size_bytes, bool dry_run, struct mote_resize_result *outcome)
{
    struct blockdev *device;
    struct blockdev_open_options how = {.busy_timeout_ms = BUSY_TIMEOUT_MS};
    int result = blockdev_open(path, &how, &device);
    if (result)
        return result;
    result = engine_resize(device, size_bytes, dry_run, outcome);
    blockdev_close(device);
    return result;
}

int mote_resize(const char *path, uint64_t size_bytes, const struct mote_resize_options *given, struct mote_resize_result *outcome)
{
    struct mote_resize_options options = MOTE_RESIZE_OPTIONS_INIT;
    struct superblock superblock;
    bool image_file = false;
    uint64_t device_bytes = 0;
    if (!path || (given && given->size_bytes < sizeof(size_t)))
        return error_set(MOTE_EINVAL, "the path is NULL, or options.size_bytes is not set: begin with MOTE_RESIZE_OPTIONS_INIT");
    if (given)
        memcpy(&options, given, given->size_bytes < sizeof options ? given->size_bytes : sizeof options);
    size_bytes = round_down(size_bytes, PAGE_BYTES);
    int result = describe(path, &image_file, &device_bytes, &superblock);
    if (result)
        return result;
    uint64_t wanted = size_bytes ? size_bytes : round_down(device_bytes, PAGE_BYTES);
    bool shrinks = wanted < superblock.layout.device_size_bytes;
    if (shrinks && !options.dry_run && !superblock.clean)
        result = settle_log(path);
    if (!result && image_file && wanted > device_bytes && !options.dry_run)
        result = blockdev_image_resize(path, wanted, options.sparse != 0);
    if (!result)
        result = resize_device(path, options.dry_run && wanted > device_bytes ? round_down(device_bytes, PAGE_BYTES) : wanted, options.dry_run != 0, outcome);
    if (!result && image_file && wanted < device_bytes && !options.dry_run)
        result = blockdev_image_resize(path, wanted, true);
    return result;
}
