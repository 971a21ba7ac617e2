/* manifest.c: opening, committing and rotating the manifest (manifest.h has the invariants, manifest_format.h the bytes).
 *
 * A commit: apply to the staged state (everything is checked), build the version that readers will see (everything is allocated), rotate if the area is full, write the frame to both copies,
 * FLUSH, install. Up to the first write a failure changes nothing; from there on it poisons.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>
#include <inttypes.h>

static int poison(struct manifest *manifest, int code)
{
    if (!manifest->poison) {
        manifest->poison = code;
        error_get(&manifest->poison_error);
    }
    return code;
}

static int check_writable(const struct manifest *manifest)
{
    if (manifest->read_only)
        return error_set(MOTE_EREADONLY, "the volume was opened read-only");
    if (manifest->poison)
        return error_set(MOTE_EPOISONED, "an earlier write to the manifest failed (%s); reopen the volume", manifest->poison_error.message);
    return MOTE_OK;
}

void manifest_lock(struct manifest *manifest) { pthread_mutex_lock(&manifest->mutex); }
void manifest_unlock(struct manifest *manifest) { pthread_mutex_unlock(&manifest->mutex); }
const struct manifest_state *manifest_get_state(const struct manifest *manifest) { return &manifest->state; }
uint64_t manifest_generation_seen(const struct manifest *manifest) { return manifest->generation_seen; }

static uint64_t take(struct manifest *manifest, enum manifest_counter counter, uint64_t count) { return atomic_fetch_add(&manifest->counters[counter], count); }
uint64_t manifest_take_segment_id(struct manifest *manifest) { return take(manifest, MANIFEST_COUNTER_SEGMENT, 1); }
uint64_t manifest_take_table_id(struct manifest *manifest) { return take(manifest, MANIFEST_COUNTER_TABLE, 1); }
uint64_t manifest_take_column_ids(struct manifest *manifest, uint32_t count) { return take(manifest, MANIFEST_COUNTER_COLUMN, count); }
uint64_t manifest_take_run_id(struct manifest *manifest) { return take(manifest, MANIFEST_COUNTER_RUN, 1); }
uint64_t manifest_take_section_id(struct manifest *manifest) { return take(manifest, MANIFEST_COUNTER_SECTION, 1); }

void manifest_usage(const struct manifest *manifest, uint64_t *used_bytes, uint64_t *area_bytes)
{
    struct manifest *unlocked = (struct manifest *)(uintptr_t)manifest;
    pthread_mutex_lock(&unlocked->mutex);
    *used_bytes = manifest->next_offset_bytes;
    *area_bytes = manifest->layout.manifest_area_bytes;
    pthread_mutex_unlock(&unlocked->mutex);
}

int manifest_poisoned(const struct manifest *manifest, struct mote_error *error)
{
    struct manifest *unlocked = (struct manifest *)(uintptr_t)manifest;
    pthread_mutex_lock(&unlocked->mutex);
    int code = manifest->poison;
    if (code && error)
        *error = manifest->poison_error;
    pthread_mutex_unlock(&unlocked->mutex);
    return code;
}

/* ---- Format ---- */

/* Zeroes a whole area of one copy. Frames of an earlier volume must go: one of the same UUID would continue the new chain. */
static int clear_area(struct blockdev_queue *queue, const struct layout *layout, unsigned copy, unsigned area)
{
    static const _Alignas(PAGE_BYTES) uint8_t zeros[64 * 1024];
    uint64_t offset_bytes = layout_manifest_offset(layout, copy, area), end_bytes = offset_bytes + layout->manifest_area_bytes;
    int result = MOTE_OK;
    while (!result && offset_bytes < end_bytes) {
        uint64_t length_bytes = end_bytes - offset_bytes < sizeof zeros ? end_bytes - offset_bytes : sizeof zeros;
        result = blockdev_write_range(queue, BLOCKDEV_SOURCE_MANIFEST, offset_bytes, zeros, length_bytes);
        offset_bytes += length_bytes;
    }
    return result;
}

int manifest_format(struct blockdev_queue *queue, const struct superblock *superblock)
{
    assert(superblock->manifest_area < 2 && superblock->layout.manifest_area_bytes % PAGE_BYTES == 0);
    for (unsigned i = 0; i < 4; i++) {
        int result = clear_area(queue, &superblock->layout, i / 2, i % 2);
        if (result)
            return result;
    }
    _Alignas(PAGE_BYTES) uint8_t bytes[PAGE_BYTES];
    struct manifest_frame frame = {.kind = MANIFEST_FRAME_SNAPSHOT, .generation = superblock->generation, .sequence = superblock->manifest_sequence, .frame_bytes = PAGE_BYTES,
                                   .payload_bytes = MANIFEST_RECORD_HEADER_BYTES + 32, .record_count = 1, .counters = {1, 1, 1, 1, 1}};
    struct byte_writer writer = byte_writer_make(bytes + MANIFEST_HEADER_BYTES, frame.payload_bytes);
    manifest_record_begin(&writer, MANIFEST_RECORD_STATE, 32);
    memset(write_room(&writer, 32), 0, 32);
    manifest_frame_encode(&frame, superblock->uuid, superblock->manifest_area, 0, bytes);
    int result = manifest_write_copies(queue, &superblock->layout, 3, superblock->manifest_area, 0, bytes, PAGE_BYTES);
    return result ? result : blockdev_flush(queue);
}

/* ---- Open, close ---- */

static int check_layout(const struct manifest *manifest)
{
    const struct layout *layout = &manifest->layout;
    uint64_t needed_bytes = MANIFEST_SNAPSHOT_FIXED_BYTES + (uint64_t)layout->segments_max * MANIFEST_SEGMENT_FRAME_BYTES;
    if (!layout->extent_count || layout->segments_max > 1u << 24 || layout->manifest_area_bytes % PAGE_BYTES || manifest->frame_bytes_max <= needed_bytes ||
        manifest->frame_bytes_max > UINT32_MAX)
        return error_set(MOTE_EDAMAGED, "the superblock's manifest areas of %" PRIu64 " bytes cannot hold %u segments", layout->manifest_area_bytes, layout->segments_max);
    return MOTE_OK;
}

/* What in memory depends on the number of extents. */
struct tables {
    uint64_t *owned;
    struct manifest_blob *blobs, *staged_blobs;
    uint32_t blob_files_max;
};

static int make_tables(struct memory *memory, const struct layout *layout, struct tables *tables)
{
    tables->blob_files_max = layout->extent_count < MANIFEST_BLOB_FILES_MAX ? layout->extent_count : MANIFEST_BLOB_FILES_MAX;
    tables->owned = memory_alloc_zero(memory, divide_up(layout->extent_count, 64) * sizeof *tables->owned);
    tables->blobs = memory_alloc_zero(memory, tables->blob_files_max * sizeof *tables->blobs);
    tables->staged_blobs = memory_alloc_zero(memory, tables->blob_files_max * sizeof *tables->staged_blobs);
    return tables->owned && tables->blobs && tables->staged_blobs ? MOTE_OK : MOTE_EBUDGET;
}

static int allocate(struct manifest *manifest, uint32_t tables_max)
{
    struct memory *memory = manifest->memory;
    manifest->bucket_count = 64;
    while (manifest->bucket_count < manifest->layout.segments_max)
        manifest->bucket_count *= 2;
    manifest->state.tables_max = tables_max;
    manifest->state.tables = memory_alloc_zero(memory, (tables_max + 1u) * sizeof *manifest->state.tables);
    manifest->staged.tables = memory_alloc_zero(memory, (tables_max + 1u) * sizeof *manifest->staged.tables);
    manifest->state.indexes = memory_alloc_zero(memory, MANIFEST_INDEXES_MAX * sizeof *manifest->state.indexes);
    manifest->staged.indexes = memory_alloc_zero(memory, MANIFEST_INDEXES_MAX * sizeof *manifest->staged.indexes);
    struct tables tables;
    int result = make_tables(memory, &manifest->layout, &tables);
    manifest->owned = tables.owned;
    manifest->state.blobs = tables.blobs;
    manifest->staged.blobs = tables.staged_blobs;
    manifest->blob_files_max = tables.blob_files_max;
    manifest->buckets = memory_alloc_zero(memory, manifest->bucket_count * sizeof *manifest->buckets);
    manifest->frame = memory_alloc_aligned(memory, manifest->frame_bytes_max, PAGE_BYTES);
    if (result || !manifest->state.tables || !manifest->staged.tables || !manifest->state.indexes || !manifest->staged.indexes || !manifest->buckets || !manifest->frame)
        return MOTE_EBUDGET;
    if (!manifest->device)
        return MOTE_OK; /* one to look at */
    struct blockdev_queue_options queue_options = {.depth = 32, .flags = BLOCKDEV_QUEUE_SHARED};
    return blockdev_queue_create(manifest->device, &queue_options, &manifest->queue);
}

/* Everything that the state refers to is in use. */
static int mark_extents(struct manifest *manifest, struct extents *extents)
{
    const struct manifest_state *state = &manifest->state;
    int result = MOTE_OK;
    for (uint32_t i = 0; i < manifest->bucket_count; i++)
        for (struct segment *segment = manifest->buckets[i]; segment; segment = segment->next) {
            const struct segment_record *record = &segment->record;
            for (uint32_t k = 0; k < record->extent_run_count && !result; k++)
                result = extents_mark_used(extents, record->runs[k]);
            if (!result && record->timestamp.run.count)
                result = extents_mark_used(extents, record->timestamp.run);
            for (uint32_t k = 0; k < segment->index_count && !result; k++)
                result = extents_mark_used(extents, segment->indexes[k].section.run);
        }
    for (uint32_t i = 0; i < state->log_range_count && !result; i++)
        result = extents_mark_used(extents, state->log_ranges[i].run);
    for (uint32_t i = 0; i < state->blob_count && !result; i++)
        result = extents_mark_used(extents, state->blobs[i].file->run);
    for (uint32_t i = 0; i < state->bad_extent_count && !result; i++)
        result = extents_mark_bad(extents, state->bad_extents[i]);
    return result;
}

static int prepare(struct manifest *manifest, struct memory *memory, const struct layout *layout, uint32_t tables_max)
{
    manifest->memory = memory;
    manifest->layout = *layout;
    manifest->frame_bytes_max = manifest_frame_bytes_max(layout);
    pthread_mutex_init(&manifest->mutex, NULL);
    pthread_mutex_init(&manifest->version_mutex, NULL);
    int result = check_layout(manifest);
    if (result)
        return result;
    manifest->catalog_bytes_max = manifest->frame_bytes_max - MANIFEST_SNAPSHOT_FIXED_BYTES - (uint64_t)layout->segments_max * MANIFEST_SEGMENT_FRAME_BYTES;
    return allocate(manifest, tables_max);
}

int manifest_make(struct memory *memory, const struct layout *layout, uint32_t tables_max, struct manifest **manifest_out)
{
    *manifest_out = NULL;
    struct manifest *manifest = memory_alloc_zero(memory, sizeof *manifest);
    if (!manifest)
        return MOTE_EBUDGET;
    manifest->read_only = true;
    int result = prepare(manifest, memory, layout, tables_max);
    if (result)
        manifest_close(manifest);
    else
        *manifest_out = manifest;
    return result;
}

int manifest_open(const struct manifest_options *options, struct manifest **manifest_out)
{
    assert(options->device && options->memory && options->superblock && manifest_out);
    *manifest_out = NULL;
    struct manifest *manifest = memory_alloc_zero(options->memory, sizeof *manifest);
    if (!manifest)
        return MOTE_EBUDGET;
    manifest->device = options->device;
    manifest->superblock = options->superblock;
    memcpy(manifest->uuid, options->superblock->uuid, sizeof manifest->uuid);
    manifest->read_only = options->read_only;
    manifest->complete = options->complete;
    manifest->complete_context = options->complete_context;
    int result = prepare(manifest, options->memory, &options->superblock->layout, options->tables_max);
    if (!result)
        result = manifest_recover(manifest);
    if (!result)
        result = manifest_build_first_version(manifest, &manifest->current);
    if (!result && options->extents)
        result = mark_extents(manifest, options->extents);
    if (result) {
        manifest_close(manifest);
        return result;
    }
    /* Only now: while recovering, what an edit dropped was not the allocator's to take back. */
    manifest->extents = options->extents;
    manifest->cache = options->cache;
    *manifest_out = manifest;
    return MOTE_OK;
}

void manifest_close(struct manifest *manifest)
{
    if (!manifest)
        return;
    struct memory *memory = manifest->memory;
    assert(!manifest->current || atomic_load(&manifest->current->references) == 1);
    version_release(manifest, manifest->current);
    for (uint32_t i = 0; manifest->buckets && i < manifest->bucket_count; i++)
        while (manifest->buckets[i]) {
            struct segment *segment = manifest->buckets[i];
            manifest->buckets[i] = segment->next;
            manifest_release_segment(manifest, segment);
        }
    for (uint32_t i = 0; i < manifest->state.blob_count; i++)
        memory_free(memory, manifest->state.blobs[i].file);
    for (uint32_t i = 0; i < manifest->state.table_count; i++)
        schema_free(memory, manifest->state.tables[i].schema);
    for (uint32_t i = 0; i < manifest->retired_schemas.count; i++)
        schema_free(memory, ((struct schema **)manifest->retired_schemas.items)[i]);
    if (manifest->queue)
        blockdev_queue_destroy(manifest->queue);
    memory_free(memory, manifest->retired_schemas.items);
    memory_free(memory, manifest->frame);
    memory_free(memory, manifest->owned);
    memory_free(memory, manifest->buckets);
    memory_free(memory, manifest->staged.blobs);
    memory_free(memory, manifest->state.blobs);
    memory_free(memory, manifest->staged.indexes);
    memory_free(memory, manifest->state.indexes);
    memory_free(memory, manifest->staged.tables);
    memory_free(memory, manifest->state.tables);
    pthread_mutex_destroy(&manifest->version_mutex);
    pthread_mutex_destroy(&manifest->mutex);
    memory_free(memory, manifest);
}

/* ---- Writing; the mutex is held ---- */

static void load_counters(struct manifest *manifest, uint64_t counters[MANIFEST_COUNTER_COUNT])
{
    for (unsigned i = 0; i < MANIFEST_COUNTER_COUNT; i++)
        counters[i] = atomic_load(&manifest->counters[i]);
}

/* Writes manifest->frame, whose payload is in place, to both copies and makes it durable. */
static int write_frame(struct manifest *manifest, struct manifest_frame *frame, unsigned area, uint64_t offset_bytes)
{
    frame->frame_bytes = (uint32_t)round_up(MANIFEST_HEADER_BYTES + (uint64_t)frame->payload_bytes, PAGE_BYTES);
    assert(frame->frame_bytes <= manifest->frame_bytes_max && offset_bytes + frame->frame_bytes <= manifest->layout.manifest_area_bytes);
    manifest_frame_encode(frame, manifest->uuid, area, offset_bytes, manifest->frame);
    int result = manifest_write_copies(manifest->queue, &manifest->layout, 3, area, offset_bytes, manifest->frame, frame->frame_bytes);
    if (!result)
        result = blockdev_flush(manifest->queue);
    return result ? poison(manifest, result) : MOTE_OK;
}

static int write_superblock(struct manifest *manifest, uint32_t area, uint64_t sequence)
{
    struct superblock superblock = *manifest->superblock;
    superblock.layout = manifest->layout; /* ahead of what others read, while the volume grows */
    uint64_t highest = superblock.generation > manifest->generation_seen ? superblock.generation : manifest->generation_seen;
    superblock.generation = highest + 1;
    superblock.manifest_area = area;
    superblock.manifest_sequence = sequence;
    if (manifest->complete)
        manifest->complete(manifest->complete_context, &superblock);
    int result = superblock_write(manifest->queue, &superblock);
    if (result)
        return poison(manifest, result);
    /* Only what changed: others read the layout without a lock. */
    manifest->superblock->generation = superblock.generation;
    manifest->superblock->manifest_area = area;
    manifest->superblock->manifest_sequence = sequence;
    manifest->superblock->parent_crc = superblock.parent_crc;
    return MOTE_OK;
}

/* The snapshot whose payload is in manifest->frame goes to the other area, then the superblock that points to it. */
static int switch_areas(struct manifest *manifest, struct manifest_frame *frame)
{
    unsigned area = 1 - manifest->area;
    int result = write_frame(manifest, frame, area, 0);
    if (!result)
        result = write_superblock(manifest, area, frame->sequence);
    if (result)
        return result;
    manifest->area = area;
    manifest->next_offset_bytes = frame->frame_bytes;
    manifest->generation = frame->generation;
    manifest->last_crc = frame->crc;
    manifest->state.sequence = frame->sequence;
    return MOTE_OK;
}

/* The installed state. */
static int rotate(struct manifest *manifest)
{
    struct byte_writer writer = byte_writer_make(manifest->frame + MANIFEST_HEADER_BYTES, manifest->frame_bytes_max - MANIFEST_HEADER_BYTES);
    struct manifest_frame frame = {.kind = MANIFEST_FRAME_SNAPSHOT, .generation = manifest->superblock->generation, .sequence = manifest->state.sequence + 1, .previous_crc = manifest->last_crc};
    if (!manifest_snapshot_encode(&manifest->state, manifest->current, &writer, &frame.record_count))
        return error_set(MOTE_EINTERNAL, "the manifest's state does not fit half an area; please report it");
    frame.payload_bytes = (uint32_t)byte_writer_size(&writer);
    load_counters(manifest, frame.counters);
    return switch_areas(manifest, &frame);
}

static int append_edit(struct manifest *manifest, const struct manifest_edit *edit)
{
    uint64_t frame_bytes = round_up(MANIFEST_HEADER_BYTES + edit->size_bytes, PAGE_BYTES);
    if (manifest->next_offset_bytes + frame_bytes > manifest->layout.manifest_area_bytes) {
        int result = rotate(manifest);
        if (result)
            return result;
    }
    struct manifest_frame frame = {.kind = MANIFEST_FRAME_EDIT, .generation = manifest->generation, .sequence = manifest->state.sequence + 1, .previous_crc = manifest->last_crc,
                                   .payload_bytes = (uint32_t)edit->size_bytes, .record_count = edit->record_count};
    load_counters(manifest, frame.counters); /* again: they must not be below those of a snapshot that was just written */
    if (edit->size_bytes)
        memcpy(manifest->frame + MANIFEST_HEADER_BYTES, edit->bytes, edit->size_bytes);
    int result = write_frame(manifest, &frame, manifest->area, manifest->next_offset_bytes);
    if (result)
        return result;
    manifest->next_offset_bytes += frame.frame_bytes;
    manifest->last_crc = frame.crc;
    return MOTE_OK;
}

static int commit_locked(struct manifest_edit *edit, void (*installed)(void *context), void *context)
{
    struct manifest *manifest = edit->manifest;
    int result = check_writable(manifest);
    if (result)
        return result;
    uint64_t counters[MANIFEST_COUNTER_COUNT];
    load_counters(manifest, counters);
    struct stage stage;
    struct version *version = NULL;
    manifest_stage_begin(manifest, &stage, MANIFEST_FRAME_EDIT, false, counters);
    result = manifest_stage_apply(&stage, edit->bytes, (uint32_t)edit->size_bytes, edit->record_count);
    if (!result)
        result = manifest_build_version(manifest, &stage, &version);
    if (!result)
        result = append_edit(manifest, edit);
    if (result) {
        version_release(manifest, version);
        manifest_stage_rollback(&stage);
        return result;
    }
    stage.state->sequence = manifest->state.sequence + 1;
    manifest_stage_install(&stage, version, installed, context);
    return MOTE_OK;
}

int manifest_commit(struct manifest_edit *edit, void (*installed)(void *context), void *context)
{
    struct manifest *manifest = edit->manifest;
    int result = edit->error;
    if (result) {
        error_restore(&edit->error_context);
    } else {
        pthread_mutex_lock(&manifest->mutex);
        result = commit_locked(edit, installed, context);
        pthread_mutex_unlock(&manifest->mutex);
    }
    manifest_edit_abandon(edit);
    return result;
}

int manifest_snapshot(struct manifest *manifest)
{
    pthread_mutex_lock(&manifest->mutex);
    int result = check_writable(manifest);
    if (!result)
        result = rotate(manifest);
    pthread_mutex_unlock(&manifest->mutex);
    return result;
}

static int replace_locked(struct manifest *manifest, const struct manifest_image *image)
{
    assert(image->size_bytes + MANIFEST_HEADER_BYTES <= manifest->frame_bytes_max);
    struct manifest_frame frame = {.kind = MANIFEST_FRAME_SNAPSHOT, .generation = manifest->superblock->generation, .sequence = manifest->state.sequence + 1, .previous_crc = manifest->last_crc,
                                   .payload_bytes = image->size_bytes, .record_count = image->record_count};
    memcpy(frame.counters, image->counters, sizeof frame.counters);
    memcpy(manifest->frame + MANIFEST_HEADER_BYTES, image->bytes, image->size_bytes);
    return switch_areas(manifest, &frame);
}

int manifest_replace(struct manifest *manifest, const struct manifest_image *image)
{
    pthread_mutex_lock(&manifest->mutex);
    int result = check_writable(manifest);
    if (!result)
        result = replace_locked(manifest, image);
    pthread_mutex_unlock(&manifest->mutex);
    return result;
}

int manifest_resize(struct manifest *manifest, const struct manifest_image *image, const struct layout *layout)
{
    assert(layout->manifest_area_bytes == manifest->layout.manifest_area_bytes && layout->manifest_offset_bytes[0] == manifest->layout.manifest_offset_bytes[0] && layout->extents_offset_bytes == manifest->layout.extents_offset_bytes);
    pthread_mutex_lock(&manifest->mutex);
    int result = check_writable(manifest);
    for (unsigned area = 0; area < 2 && !result; area++)
        result = clear_area(manifest->queue, layout, 1, area); /* what is there may look like a frame */
    if (!result)
        result = blockdev_flush(manifest->queue);
    if (!result) {
        manifest->layout = *layout;
        manifest->superblock->layout = *layout;
        result = replace_locked(manifest, image);
    }
    pthread_mutex_unlock(&manifest->mutex);
    return result;
}

/* ---- Growing under way of others ---- */

int manifest_clear_end(struct blockdev_queue *queue, const struct layout *layout, uint64_t from_bytes, uint64_t to_bytes)
{
    static const _Alignas(PAGE_BYTES) uint8_t zeros[256 * 1024];
    const uint64_t slots_bytes = layout->device_size_bytes - SUPERBLOCK_REGION_BYTES;
    const struct {
        enum blockdev_source source;
        uint64_t from_bytes, to_bytes;
    } parts[] = {{BLOCKDEV_SOURCE_MANIFEST, layout->manifest_offset_bytes[1], slots_bytes}, {BLOCKDEV_SOURCE_SUPERBLOCK, slots_bytes, slots_bytes + SUPERBLOCK_SLOTS * SUPERBLOCK_SLOT_BYTES}};
    int result = MOTE_OK;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t at = parts[i].from_bytes > from_bytes ? parts[i].from_bytes : from_bytes, end = parts[i].to_bytes < to_bytes ? parts[i].to_bytes : to_bytes;
        for (uint64_t piece_bytes; at < end && !result; at += piece_bytes) {
            piece_bytes = end - at < sizeof zeros ? end - at : sizeof zeros;
            result = blockdev_write_range(queue, parts[i].source, at, zeros, piece_bytes);
        }
    }
    return result;
}

/* The manifest's own are exchanged for them. */
static void use_tables(struct manifest *manifest, const struct layout *before, struct tables *tables)
{
    struct tables old = {manifest->owned, manifest->state.blobs, manifest->staged.blobs, manifest->blob_files_max};
    memcpy(tables->owned, old.owned, divide_up(before->extent_count, 64) * sizeof *old.owned);
    memcpy(tables->blobs, old.blobs, manifest->state.blob_count * sizeof *old.blobs);
    manifest->owned = tables->owned;
    manifest->state.blobs = tables->blobs;
    manifest->staged.blobs = tables->staged_blobs;
    manifest->blob_files_max = tables->blob_files_max;
    *tables = old;
}

static int grow_locked(struct manifest *manifest, const struct layout *layout, struct tables *tables)
{
    const struct layout before = manifest->layout;
    int result = check_writable(manifest);
    if (result)
        return result;
    assert(layout->device_size_bytes > before.device_size_bytes && layout->manifest_area_bytes == before.manifest_area_bytes && layout->extents_offset_bytes == before.extents_offset_bytes);
    result = manifest_clear_end(manifest->queue, layout, 0, before.device_size_bytes);
    if (!result) {
        manifest->layout = *layout;
        result = rotate(manifest); /* the snapshot's barrier covers what was cleared, too */
    }
    if (result) {
        manifest->layout = before;
        return poison(manifest, result);
    }
    layout_move_end(&manifest->superblock->layout, layout);
    use_tables(manifest, &before, tables);
    return MOTE_OK;
}

int manifest_grow(struct manifest *manifest, const struct layout *layout)
{
    struct tables tables;
    int result = make_tables(manifest->memory, layout, &tables);
    if (!result) {
        pthread_mutex_lock(&manifest->mutex);
        result = grow_locked(manifest, layout, &tables);
        pthread_mutex_unlock(&manifest->mutex);
    }
    memory_free(manifest->memory, tables.owned);
    memory_free(manifest->memory, tables.blobs);
    memory_free(manifest->memory, tables.staged_blobs);
    return result;
}

int manifest_write_superblock(struct manifest *manifest)
{
    pthread_mutex_lock(&manifest->mutex);
    int result = check_writable(manifest);
    if (!result)
        result = write_superblock(manifest, manifest->area, manifest->superblock->manifest_sequence);
    pthread_mutex_unlock(&manifest->mutex);
    return result;
}
