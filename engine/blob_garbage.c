/* blob_garbage.c: blob files of which most bytes are dead: what lives is written once more, elsewhere, so that they can be dropped (blob.h).
 *
 * A file is worth it when segments use at most half of it, nothing else uses it, and garbage is a quarter of all blob files, or space is wanted now: so a byte is moved for at least a byte that comes free, and moving goes on for garbage
 * only that is much. Of the file with the fewest live bytes one segment after the other is compacted by itself, its rows unchanged but for the references. A value that fails its checksum stays where it is, and its file with it.
 * Threads: under compact_mutex. Failures: as a compaction's; nothing is changed then, and what was moved is garbage itself.
 */
#include "engine/blob.h"

#include <string.h>

#include "engine/retention.h"

struct garbage {
    struct mote_db *db;
    struct mote_table *table;
    uint64_t file_id;
    struct blob_io *from, *to;
    struct blob_holds holds; /* of what was written, until the segment is in the manifest */
    struct mote_value *values; /* of one row */
    uint8_t *image, *piece;    /* piece: BLOB_CHUNK_BYTES_MAX at most, as large as the value's chunks */
    uint32_t image_capacity, piece_capacity;
    bool stuck;
};

/* ---- Moving a row's values ---- */

static bool is_in_file(const struct garbage *garbage, const struct blob_reference *reference)
{
    for (uint32_t i = 0; i < reference->piece_count; i++) {
        struct blob_piece piece;
        blob_reference_piece(reference, i, &piece);
        if (piece.file_id == garbage->file_id)
            return true;
    }
    return false;
}

static int reserve_bytes(struct mote_db *db, uint8_t **bytes, uint32_t *capacity, uint32_t size_bytes)
{
    if (*capacity >= size_bytes)
        return MOTE_OK;
    memory_free(db->memory, *bytes);
    *bytes = memory_alloc(db->memory, size_bytes);
    *capacity = *bytes ? size_bytes : 0;
    return *bytes ? MOTE_OK : MOTE_EBUDGET;
}

static int copy_value(struct garbage *garbage, const struct blob_reference *reference, struct blob_sink *sink)
{
    int result = reserve_bytes(garbage->db, &garbage->piece, &garbage->piece_capacity, reference->chunk_bytes);
    for (uint64_t at = 0; at < reference->length_bytes && !result; at += reference->chunk_bytes) {
        uint64_t left = reference->length_bytes - at, bytes = left < reference->chunk_bytes ? left : reference->chunk_bytes;
        result = blob_read(garbage->from, reference, at, garbage->piece, bytes);
        if (!result)
            result = blob_sink_write(sink, garbage->piece, bytes);
    }
    return result;
}

/* The value's new stored form; the old one where its bytes are damaged. */
static int move_value(struct garbage *garbage, struct mote_value *value, uint8_t **made)
{
    struct blob_reference reference;
    struct blob_sink sink;
    uint64_t stored_bytes;
    *made = NULL;
    if (value->is_null || !blob_reference_decode(value->as.bytes.data, value->as.bytes.size_bytes, &reference) || !is_in_file(garbage, &reference))
        return MOTE_OK;
    int result = blob_sink_begin(&sink, garbage->table, garbage->to, reference.length_bytes);
    sink.in_job = true;
    if (!result)
        result = copy_value(garbage, &reference, &sink);
    if (!result)
        result = blob_sink_finish(&sink, made, &stored_bytes);
    for (uint32_t i = 0; i < BLOB_SLOTS; i++)
        blob_io_wait(garbage->to, &garbage->to->slots[i]);
    if (!result)
        result = garbage->to->result;
    if (!result)
        result = blobs_move_holds(garbage->db, &sink.holds, &garbage->holds);
    if (!result)
        *value = (struct mote_value){.type = MOTE_TYPE_BLOB, .as.bytes = {*made, stored_bytes}};
    blob_sink_end(&sink);
    if (result == MOTE_EDAMAGED) {
        garbage->stuck = true;
        return MOTE_OK;
    }
    return result;
}

static int encode_row(struct garbage *garbage, const struct schema *schema, uint32_t *image_bytes)
{
    uint32_t hidden = schema->columns[0].hidden ? 1u : 0u;
    int64_t rowid = hidden ? garbage->values[0].as.i64 : 0;
    int result = row_check_values(schema, garbage->values + hidden, schema->column_count - hidden, image_bytes);
    if (!result)
        result = reserve_bytes(garbage->db, &garbage->image, &garbage->image_capacity, *image_bytes);
    if (!result)
        row_encode_values(schema, garbage->values + hidden, schema->column_count - hidden, rowid, garbage->image, *image_bytes);
    return result;
}

/* For lsm_compact: the row with its values moved; *moved stays NULL where there is nothing to move. */
static int move_row(void *context, const struct schema *schema, const struct schema *image_schema, const uint8_t *image, const uint8_t **moved, uint32_t *moved_bytes)
{
    struct garbage *garbage = context;
    uint8_t **made = memory_alloc_zero(garbage->db->memory, schema->column_count * sizeof(uint8_t *));
    bool any = false;
    int result = made ? MOTE_OK : MOTE_EBUDGET;
    *moved = NULL;
    for (uint32_t i = 0; i < schema->column_count && !result; i++) {
        row_value(schema, image_schema, image, i, &garbage->values[i]);
        if (schema->columns[i].flags & MOTE_COLUMN_LARGE)
            result = move_value(garbage, &garbage->values[i], &made[i]);
        any = any || made[i];
    }
    if (!result && any) {
        result = encode_row(garbage, schema, moved_bytes);
        *moved = result ? NULL : garbage->image;
    }
    for (uint32_t i = 0; made && i < schema->column_count; i++)
        memory_free(garbage->db->memory, made[i]);
    memory_free(garbage->db->memory, made);
    return result;
}

/* ---- Which file, which segment ---- */

/* The manifest's mutex is held. */
static struct blob_file *choose_file(struct mote_db *db, bool wanted)
{
    const struct manifest_state *state = manifest_get_state(db->manifest);
    uint64_t extent_bytes = db->superblock.layout.extent_bytes, total = 0, dead = 0, best_live = UINT64_MAX;
    struct blob_file *best = NULL;
    for (uint32_t i = 0; i < state->blob_count; i++) {
        const struct manifest_blob *blob = &state->blobs[i];
        uint64_t bytes = blob->file->run.count * extent_bytes;
        bool settled = blobs_is_settled(db, blob->file);
        total += bytes;
        dead += settled && blob->live_bytes < bytes ? bytes - blob->live_bytes : 0;
        if (settled && blob->segment_count > 0 && blob->live_bytes <= bytes / 2 && blob->live_bytes < best_live) {
            best = blob->file;
            best_live = blob->live_bytes;
        }
    }
    return wanted || dead >= total / 4 ? best : NULL;
}

static struct segment *find_segment(const struct version *version, uint64_t file_id)
{
    for (uint32_t t = 0; t < version->count; t++)
        for (uint32_t s = 0; s < version->lists[t]->count; s++) {
            struct segment *segment = version->lists[t]->segments[s];
            for (uint32_t i = 0; i < segment->blob_count; i++)
                if (segment->blobs[i].file->id == file_id)
                    return segment;
        }
    return NULL;
}

/* ---- The job ---- */

static int compact_segment(struct garbage *garbage, const struct schema *schema, struct segment *segment)
{
    struct mote_db *db = garbage->db;
    struct lsm_compaction *compaction = memory_alloc_zero(db->memory, sizeof *compaction);
    uint64_t *snapshots = memory_alloc(db->memory, (db->snapshot_slots + 1) * sizeof *snapshots);
    struct lsm_job_context job;
    int result = compaction && snapshots ? MOTE_OK : MOTE_EBUDGET;
    if (!result)
        result = blob_io_create(db, &garbage->from);
    if (!result)
        result = blob_io_create(db, &garbage->to);
    garbage->values = memory_alloc_zero(db->memory, schema->column_count * sizeof *garbage->values);
    if (!result && !garbage->values)
        result = MOTE_EBUDGET;
    if (!result) {
        jobs_context(db, db->compact_queue, snapshots, &job);
        job.pace = jobs_pace_holding;
        job.move_row = move_row;
        job.move_context = garbage;
        *compaction = (struct lsm_compaction){.table_id = schema->table_id, .schema = schema, .level = segment->record.level, .input_count = 1, .inputs = {segment}};
        result = lsm_compact(&job, compaction);
    }
    blob_io_destroy(garbage->to);
    blob_io_destroy(garbage->from);
    blobs_release(db, &garbage->holds);
    memory_free(db->memory, garbage->values);
    memory_free(db->memory, garbage->image);
    memory_free(db->memory, garbage->piece);
    memory_free(db->memory, snapshots);
    memory_free(db->memory, compaction);
    if (!result)
        atomic_fetch_add(&db->counters.compactions, 1);
    return result;
}

bool blobs_collect_garbage(struct mote_db *db, bool wanted)
{
    if (db->read_only || atomic_load(&db->poisoned) || pthread_mutex_trylock(&db->compact_mutex) != 0)
        return false;
    struct version *version = version_acquire(db->manifest);
    manifest_lock(db->manifest);
    struct blob_file *file = choose_file(db, wanted);
    uint64_t file_id = file ? file->id : 0;
    manifest_unlock(db->manifest);
    struct segment *segment = file ? find_segment(version, file_id) : NULL; /* none: a newer version names it */
    const struct schema *schema = segment ? catalog_live_schema(db, segment->record.table_id) : NULL;
    struct garbage garbage = {.db = db, .file_id = file_id};
    uint64_t counters[MANIFEST_COUNTERS];
    int result = MOTE_ENOTFOUND;
    if (schema) {
        garbage.table = catalog_find_id(db, schema->table_id);
        atomic_store(&db->compact_thread, pthread_self());
        atomic_store(&db->compacting, 1);
        manifest_get_counters(db->manifest, counters);
        atomic_store(&db->compact_first_id, counters[0]); /* as any compaction: what it numbers may be published after a send took its version */
        result = compact_segment(&garbage, schema, segment);
        atomic_store(&db->compact_first_id, 0);
        atomic_store(&db->compacting, 0);
    }
    if (garbage.stuck)
        blobs_set_stuck(db, file_id);
    version_release(db->manifest, version);
    trim_some(db, db->compact_queue);
    pthread_mutex_unlock(&db->compact_mutex);
    space_extend_after_compaction(db);
    if (result == MOTE_EIO || result == MOTE_ENODEV)
        db_poison(db, result);
    return result == MOTE_OK;
}

bool blobs_collect_some(struct mote_db *db)
{
    uint64_t files, bytes;
    blobs_count(db, &files, &bytes);
    if (!files)
        return false;
    struct version *version = version_acquire(db->manifest);
    uint64_t number = version->number;
    version_release(db->manifest, version);
    if (atomic_exchange(&db->blob_looked_at, number) == number)
        return false;
    return blobs_collect_garbage(db, false);
}
