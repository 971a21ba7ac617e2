/* manifest_blob.c: blob files and what segments use of them in the manifest: composing the records, applying them, the snapshot's share.
 *
 * Invariants: a blob file has extents of its own; a segment names blob files that there are, ascending, and only in the edit that brings the segment; a file that a segment names is not dropped.
 * Threads: the committing thread, under the manifest's mutex; an edit belongs to one thread. Failures: as manifest_stage_apply.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>
#include <inttypes.h>

#define FILE_RECORD_BYTES (MANIFEST_RECORD_HEADER_BYTES + MANIFEST_BLOB_FILE_RECORD_BYTES)

/* ---- Composing ---- */

static void encode_file(uint64_t id, uint64_t table_id, struct extent_run run, struct byte_writer *writer)
{
    write_u64(writer, id);
    write_u64(writer, table_id);
    write_u32(writer, run.first);
    write_u32(writer, run.count);
}

void manifest_edit_add_blob_file(struct manifest_edit *edit, uint64_t file_id, uint64_t table_id, struct extent_run run)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_BLOB_FILE, MANIFEST_BLOB_FILE_RECORD_BYTES);
    encode_file(file_id, table_id, run, &writer);
}

void manifest_edit_drop_blob_file(struct manifest_edit *edit, uint64_t file_id)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_DROP_BLOB_FILE, 8);
    write_u64(&writer, file_id);
}

void manifest_edit_set_blobs(struct manifest_edit *edit, uint64_t segment_id, const struct blob_use *uses, uint32_t count)
{
    uint32_t used_count = 0;
    for (uint32_t i = 0; i < count; i++)
        used_count += uses[i].bytes > 0;
    if (!used_count)
        return;
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_SEGMENT_BLOBS, 8u + 16u * (size_t)used_count);
    write_u64(&writer, segment_id);
    for (uint32_t i = 0; i < count; i++) {
        if (!uses[i].bytes)
            continue;
        write_u64(&writer, uses[i].file_id);
        write_u64(&writer, uses[i].bytes);
    }
}

uint32_t manifest_blob_files_encode(const struct manifest_state *state, struct byte_writer *writer)
{
    for (uint32_t i = 0; i < state->blob_count; i++) {
        const struct blob_file *file = state->blobs[i].file;
        manifest_record_begin(writer, MANIFEST_RECORD_BLOB_FILE, MANIFEST_BLOB_FILE_RECORD_BYTES);
        encode_file(file->id, file->table_id, file->run, writer);
    }
    return state->blob_count;
}

uint32_t manifest_blobs_encode(const struct segment *segment, struct byte_writer *writer)
{
    if (!segment->blob_count)
        return 0;
    manifest_record_begin(writer, MANIFEST_RECORD_SEGMENT_BLOBS, 8u + 16u * (size_t)segment->blob_count);
    write_u64(writer, segment->record.id);
    for (uint32_t i = 0; i < segment->blob_count; i++) {
        write_u64(writer, segment->blobs[i].file->id);
        write_u64(writer, segment->blobs[i].bytes);
    }
    return 1;
}

/* ---- Applying ---- */

/* The place of the file of that id, or where it would be. */
static uint32_t find_place(const struct manifest_state *state, uint64_t file_id)
{
    uint32_t low = 0, high = state->blob_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (state->blobs[middle].file->id < file_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct manifest_blob *find_file(const struct manifest_state *state, uint64_t file_id)
{
    uint32_t at = find_place(state, file_id);
    return at < state->blob_count && state->blobs[at].file->id == file_id ? &state->blobs[at] : NULL;
}

struct blob_file *manifest_find_blob_file(struct manifest *manifest, uint64_t file_id)
{
    manifest_lock(manifest);
    const struct manifest_blob *found = find_file(&manifest->state, file_id);
    struct blob_file *file = found ? found->file : NULL;
    manifest_unlock(manifest);
    return file;
}

static int push_file(struct stage *stage, struct vector *vector, struct blob_file *file)
{
    struct blob_file **item = manifest_vector_push(stage->manifest->memory, vector, sizeof *item);
    if (!item)
        return MOTE_EBUDGET;
    *item = file;
    return MOTE_OK;
}

int manifest_apply_blob_file(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    uint64_t id = read_u64(reader), table_id = read_u64(reader);
    struct extent_run run;
    run.first = read_u32(reader);
    run.count = read_u32(reader);
    if (!id || id >= state->next_section_id || find_file(state, id))
        return error_set(MOTE_EINVAL, "blob file id %" PRIu64 " was never given out, or twice", id);
    if (state->blob_count == stage->manifest->blob_files_max)
        return error_set(MOTE_ENOSPC, "the volume has %u blob files already: delete rows with large values, or compact", state->blob_count);
    int result = manifest_stage_own(stage, run, "a blob file");
    if (result)
        return result;
    struct blob_file *file = memory_alloc_zero(stage->manifest->memory, sizeof *file);
    if (!file)
        return MOTE_EBUDGET;
    file->id = id;
    file->table_id = table_id;
    file->run = run;
    result = push_file(stage, &stage->fresh_blobs, file);
    if (result) {
        memory_free(stage->manifest->memory, file);
        return result;
    }
    uint32_t at = find_place(state, id);
    memmove(&state->blobs[at + 1], &state->blobs[at], (state->blob_count - at) * sizeof state->blobs[0]);
    state->blobs[at] = (struct manifest_blob){file, 0, 0};
    state->blob_count++;
    state->blob_record_bytes += FILE_RECORD_BYTES;
    return MOTE_OK;
}

int manifest_apply_drop_blob_file(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    uint64_t id = read_u64(reader);
    struct manifest_blob *found = find_file(state, id);
    if (!found)
        return error_set(MOTE_ENOTFOUND, "the manifest has no blob file of id %" PRIu64, id);
    if (found->segment_count || (!stage->recovering && atomic_load(&found->file->segments)))
        return error_set(MOTE_EINVAL, "blob file %" PRIu64 " is in use by segments", id);
    int result = manifest_stage_push_run(stage, &stage->cleared, found->file->run);
    if (!result)
        result = push_file(stage, &stage->dropped_blobs, found->file);
    if (result)
        return result;
    state->blob_count--;
    memmove(found, found + 1, (size_t)(&state->blobs[state->blob_count] - found) * sizeof *found);
    state->blob_record_bytes -= FILE_RECORD_BYTES;
    return MOTE_OK;
}

/* Bytes of the segment's record of blobs. */
static uint64_t uses_bytes(uint32_t count) { return count ? MANIFEST_RECORD_HEADER_BYTES + 8u + 16ull * count : 0; }

int manifest_apply_segment_blobs(struct stage *stage, struct byte_reader *reader)
{
    struct segment *segment;
    uint64_t last_id = 0;
    int result = manifest_stage_segment(stage, read_u64(reader), &segment);
    if (result)
        return result;
    size_t left_bytes = byte_reader_left(reader);
    if (!segment->staged || segment->blob_count || !left_bytes || left_bytes % 16)
        return error_set(MOTE_EINVAL, "the blobs of segment %" PRIu64 " are named at the wrong time, or malformed", segment->record.id);
    uint32_t count = (uint32_t)(left_bytes / 16);
    segment->blobs = memory_alloc_zero(stage->manifest->memory, count * sizeof *segment->blobs);
    if (!segment->blobs)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t id = read_u64(reader), bytes = read_u64(reader);
        struct manifest_blob *found = find_file(stage->state, id);
        if (!found || id <= last_id || !bytes)
            return error_set(MOTE_EINVAL, "segment %" PRIu64 " refers to blob file %" PRIu64 ", which is not there, or names it twice", segment->record.id, id);
        last_id = id;
        found->segment_count++;
        found->live_bytes += bytes;
        atomic_fetch_add(&found->file->segments, 1);
        segment->blobs[segment->blob_count++] = (struct segment_blob){found->file, bytes};
    }
    stage->state->blob_record_bytes += uses_bytes(count);
    return MOTE_OK;
}

void manifest_clear_blobs(struct stage *stage, const struct segment *segment)
{
    for (uint32_t i = 0; i < segment->blob_count; i++) {
        struct manifest_blob *found = find_file(stage->state, segment->blobs[i].file->id);
        assert(found && found->segment_count);
        found->segment_count--;
        found->live_bytes -= segment->blobs[i].bytes;
    }
    stage->state->blob_record_bytes -= uses_bytes(segment->blob_count);
}

int manifest_copy_blobs(struct manifest *manifest, const struct segment *from, struct segment *to)
{
    if (!from->blob_count)
        return MOTE_OK;
    to->blobs = memory_alloc(manifest->memory, from->blob_count * sizeof *to->blobs);
    if (!to->blobs)
        return MOTE_EBUDGET;
    for (; to->blob_count < from->blob_count; to->blob_count++) {
        to->blobs[to->blob_count] = from->blobs[to->blob_count];
        atomic_fetch_add(&to->blobs[to->blob_count].file->segments, 1);
    }
    return MOTE_OK;
}

void manifest_free_blobs(struct manifest *manifest, struct segment *segment)
{
    for (uint32_t i = 0; i < segment->blob_count; i++)
        if (atomic_fetch_sub(&segment->blobs[i].file->segments, 1) == 1)
            atomic_store(&manifest->blobs_wanted, 1);
    memory_free(manifest->memory, segment->blobs);
}

bool manifest_take_blobs_unused(struct manifest *manifest) { return atomic_load_explicit(&manifest->blobs_wanted, memory_order_relaxed) && atomic_exchange(&manifest->blobs_wanted, 0); }

/* ---- The ends of a stage ---- */

void manifest_stage_free_blobs(struct stage *stage, bool installed)
{
    struct manifest *manifest = stage->manifest;
    struct blob_file **fresh = stage->fresh_blobs.items, **dropped = stage->dropped_blobs.items;
    for (uint32_t i = 0; i < stage->fresh_blobs.count && !installed; i++)
        memory_free(manifest->memory, fresh[i]);
    for (uint32_t i = 0; i < stage->dropped_blobs.count && installed; i++) {
        if (manifest->extents && !stage->recovering)
            extents_free(manifest->extents, dropped[i]->run);
        memory_free(manifest->memory, dropped[i]);
    }
    memory_free(manifest->memory, stage->fresh_blobs.items);
    memory_free(manifest->memory, stage->dropped_blobs.items);
}
