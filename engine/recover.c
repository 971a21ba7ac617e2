/* recover.c: from a device to the state that its last owner promised: the log's rows that no segment holds are inserted into the memtables again.
 *
 * Order (each step may be cut by a power failure and is then simply done again):
 *   1. scan the log from the manifest's head; rows with seq <= flushed_seq are skipped; a full memtable is flushed as it goes (read-only: the next one is taken);
 *   2. FLUSH: what was read is durable before anything rests on it;
 *   3. lost ranges (on_damage = continue) and the new incarnation, whose first LSN lies beyond everything seen and in fresh extents, become durable in one edit (open.c).
 * Nothing here trusts a length: frames are checked by their CRC, and images and operations once more by their structure.
 */
#include <string.h>

#include "engine/blob.h"
#include "engine/engine_private.h"
#include "engine/log_columns.h"
#include "engine/recover.h"
#include "engine/recover_parts.h"
#include "engine/retention.h"

struct replay {
    struct mote_db *db;
    struct recovery *recovery;
    uint32_t generation; /* the one that is being filled */
    uint64_t flushed_seq;
    uint64_t last_seq;
    uint64_t rows_end_lsn; /* of the last frame with rows */
    struct log_batch *columns; /* made at the first batch of columns */
    struct recover_parts parts;
    bool lost; /* a part of the log is missing */
};

static int damaged(const struct replay *replay, const struct wal_frame *frame, const char *what)
{
    int result = error_set(MOTE_EDAMAGED, "the log's frame at LSN %llu holds %s: run fsck.mote", (unsigned long long)frame->lsn, what);
    error_add_device(blockdev_path(replay->db->device), 0, frame->frame_bytes);
    error_add_lsn(frame->lsn);
    return result;
}

/* ---- Room ---- */

static int always_durable(void *context, uint64_t cut_seq)
{
    (void)context;
    (void)cut_seq;
    return MOTE_OK; /* it is in the log already; the flush's own barrier covers what the dead owner had completed */
}

static const struct schema *find_schema(void *context, uint64_t table_id)
{
    struct replay *replay = context;
    return catalog_live_schema(replay->db, table_id);
}

static int64_t next_rowid(void *context, uint64_t table_id)
{
    struct replay *replay = context;
    struct mote_table *table = catalog_find_id(replay->db, table_id);
    return table ? atomic_load(&table->next_rowid) : 0;
}

static struct window_frame flush_windows(void *context, uint64_t table_id) { return retention_windows_now(((struct replay *)context)->db, table_id); }

/* Flushes one generation, the oldest, whose rows end at cut_seq. */
static int flush_replayed(struct replay *replay, uint32_t generation, uint64_t cut_seq)
{
    struct mote_db *db = replay->db;
    struct memtable_generation *memtables = db->generations[generation].memtables;
    struct lsm_job_context job;
    atomic_store(&db->visible_seq, cut_seq);
    uint64_t *snapshots = memory_alloc(db->memory, (db->snapshot_slots + 1) * sizeof *snapshots);
    if (!snapshots)
        return MOTE_EBUDGET;
    jobs_context(db, db->flush_queue, snapshots, &job);
    job.pace = NULL;
    struct lsm_flush flush = {.generation = memtables, .cut_seq = cut_seq, .find_schema = find_schema, .next_rowid = next_rowid, .windows = flush_windows, .wait_durable = always_durable, .context = replay};
    int result = lsm_flush_generation(&job, &flush);
    memory_free(db->memory, snapshots);
    if (result)
        return result;
    atomic_store(&db->flushed_seq, cut_seq);
    memtable_generation_reset(memtables);
    blobs_forget(db, &db->generations[generation]);
    return MOTE_OK;
}

/* The memtable that is being filled is full: it is flushed, or, where nothing may be written or the device has no space, the next one is taken. Once one was left behind full the later ones cannot be flushed before it. */
static int make_room(struct replay *replay)
{
    struct mote_db *db = replay->db;
    int result = db->read_only || replay->generation > 0 ? MOTE_ENOSPC : flush_replayed(replay, replay->generation, replay->last_seq);
    if (result != MOTE_ENOSPC)
        return result;
    if (replay->generation + 1 == db->generation_count)
        return error_set(MOTE_EBUDGET, "the log of %s holds more rows than the memtables (%llu bytes), and they cannot be flushed: raise memtable_bytes or memtable_count%s", blockdev_path(db->device),
                         (unsigned long long)(db->options.memtable_bytes * db->generation_count), db->read_only ? ", or open it read-write once" : "; the device is full");
    db->generations[replay->generation++].cut.seq = replay->last_seq;
    return MOTE_OK;
}

/* Room for one more row in the memtable that is being filled. */
static int take_room(struct replay *replay, uint64_t room_bytes, struct memtable_room *room)
{
    struct mote_db *db = replay->db;
    if (memtable_reserve(db->generations[replay->generation].memtables, room_bytes, room))
        return MOTE_OK;
    int result = make_room(replay);
    if (result)
        return result;
    if (memtable_reserve(db->generations[replay->generation].memtables, room_bytes, room))
        return MOTE_OK;
    return error_set(MOTE_EBUDGET, "a logged row needs %llu bytes, more than a memtable has: raise memtable_bytes", (unsigned long long)room_bytes);
}

/* ---- Operations ---- */

static int find_memtable(struct replay *replay, const struct mote_table *table, struct memtable **memtable)
{
    *memtable = memtable_of_table(replay->db->generations[replay->generation].memtables, table->id, true);
    return *memtable ? MOTE_OK : error_set(MOTE_EBUDGET, "the log holds rows of more tables than tables_max (%u): raise it", replay->db->options.tables_max);
}

static int replay_row(struct replay *replay, struct mote_table *table, const struct schema *schema, uint64_t seq, const uint8_t *image, uint32_t image_bytes)
{
    uint8_t key[MOTE_KEY_BYTES_MAX];
    struct memtable_room room;
    uint32_t key_bytes = key_from_row(schema, image, key);
    int result = take_room(replay, memtable_room_bytes(1, round_up(image_bytes, 8) + key_bytes), &room);
    if (result)
        return result;
    if (schema->auto_increment)
        table_raise_rowid(table, (int64_t)(load_be64(key) ^ (1ull << 63)));
    struct memtable *memtable;
    result = find_memtable(replay, table, &memtable);
    if (result)
        return result;
    memtable_insert(memtable, &room, schema, key, key_bytes, seq, RECORD_PUT, image, image_bytes);
    if (schema->has_large)
        blobs_note_image(replay->db, schema, image, &replay->db->generations[replay->generation]);
    retention_note_row(table, schema, image);
    /* As tight as the dead owner's: on a full device its memtables must do. */
    memtable_unreserve(replay->db->generations[replay->generation].memtables, &room);
    return MOTE_OK;
}

static int replay_put(struct replay *replay, struct mote_table *table, const struct schema *schema, uint64_t seq, const uint8_t *image, uint32_t image_bytes)
{
    int result = row_image_check(schema, image, image_bytes);
    return result ? result : replay_row(replay, table, schema, seq, image, image_bytes);
}

static int replay_delete(struct replay *replay, struct mote_table *table, const struct schema *schema, uint64_t seq, const uint8_t *key, uint32_t key_bytes)
{
    struct memtable_room room;
    int result = take_room(replay, memtable_room_bytes(1, key_bytes), &room);
    if (result)
        return result;
    struct memtable *memtable;
    result = find_memtable(replay, table, &memtable);
    if (result)
        return result;
    memtable_insert(memtable, &room, schema, key, key_bytes, seq, RECORD_DELETE, NULL, 0);
    memtable_unreserve(replay->db->generations[replay->generation].memtables, &room);
    return MOTE_OK;
}

/* The next row image or key of an operation; NULL: it runs past the operation's end. */
static const uint8_t *next_item(struct byte_reader *reader, const struct log_op *op, uint32_t *item_bytes)
{
    if (op->flags & LOG_OP_FIXED) {
        *item_bytes = op->image_bytes;
        return read_bytes(reader, round_up(op->image_bytes, 8));
    }
    *item_bytes = read_u32(reader);
    read_u32(reader);
    return read_bytes(reader, round_up(*item_bytes, 8));
}

/* Up to *count rows of a batch, fewer where the memtable is all but full: it is filled to the last row. *count: how many they were. */
static int replay_rows(struct replay *replay, struct mote_table *table, const struct row_batch *prepared, size_t first, size_t *count, uint64_t first_seq, int64_t *rowid)
{
    const struct schema *schema = prepared->schema;
    struct memtable_room room;
    uint64_t row_bytes = round_up(schema->fixed_bytes, 8) + schema->key_bytes_fixed;
    if (!memtable_reserve(replay->db->generations[replay->generation].memtables, memtable_room_bytes(*count, *count * row_bytes), &room)) {
        int result = take_room(replay, memtable_room_bytes(1, row_bytes), &room);
        *count = result ? 0 : 1;
        if (result)
            return result;
    }
    struct memtable *memtable;
    int result = find_memtable(replay, table, &memtable);
    if (result)
        return result;
    int64_t rowid_max = INT64_MIN;
    *rowid = memtable_insert_batch(memtable, &room, prepared, NULL, first, *count, first_seq, *rowid, &rowid_max);
    memtable_unreserve(replay->db->generations[replay->generation].memtables, &room);
    table_raise_rowid(table, rowid_max);
    replay->last_seq = first_seq + *count - 1;
    replay->recovery->rows += *count;
    return MOTE_OK;
}

static int replay_columns(struct replay *replay, const struct wal_frame *frame, struct mote_table *table, const struct schema *schema, const struct log_op *op, const uint8_t *data, uint64_t first_seq)
{
    struct memory *memory = replay->db->memory;
    const char *what;
    if (!replay->columns && !(replay->columns = memory_alloc_zero(memory, sizeof *replay->columns)))
        return MOTE_EBUDGET;
    int result = log_columns_decode(memory, schema, op, data, replay->columns, &what);
    if (result)
        return result == MOTE_EDAMAGED ? damaged(replay, frame, what) : result;
    int64_t rowid = replay->columns->first_rowid;
    size_t done = 0;
    for (; done < op->row_count && first_seq + done <= replay->flushed_seq; done++)
        rowid += row_batch_takes_rowid(&replay->columns->prepared, done);
    if (done < op->row_count)
        retention_note_batch(table, &replay->columns->prepared);
    while (done < op->row_count && !result) {
        size_t count = op->row_count - done < MEMTABLE_WRITE_ROWS_MAX ? op->row_count - done : MEMTABLE_WRITE_ROWS_MAX;
        result = replay_rows(replay, table, &replay->columns->prepared, done, &count, first_seq + done, &rowid);
        done += count;
    }
    return result;
}

static int replay_op(struct replay *replay, const struct wal_frame *frame, const struct log_op *op, const uint8_t *items, uint64_t first_seq)
{
    struct mote_table *table = catalog_find_id(replay->db, op->table_id);
    bool known = table && !atomic_load(&table->dropped);
    if (!known && op->table_id >= manifest_get_state(replay->db->manifest)->next_table_id)
        return damaged(replay, frame, "rows of a table that never was");
    const struct schema *schema = known ? table_schema_version(table, op->schema_version) : NULL;
    if (known && !schema)
        return damaged(replay, frame, "rows of a schema version that never was");
    if (op->kind == LOG_OP_COLUMNS)
        return known && first_seq + op->row_count - 1 > replay->flushed_seq ? replay_columns(replay, frame, table, schema, op, items, first_seq) : MOTE_OK;
    struct byte_reader reader = byte_reader_make(items, op->op_bytes - LOG_OP_HEADER_BYTES);
    for (uint32_t i = 0; i < op->row_count; i++) {
        uint32_t item_bytes;
        uint64_t seq = first_seq + i;
        const uint8_t *item = next_item(&reader, op, &item_bytes);
        if (!item || (op->kind == LOG_OP_DELETE && (item_bytes == 0 || item_bytes > MOTE_KEY_BYTES_MAX)))
            return damaged(replay, frame, "an operation that runs past its end");
        if (!known || seq <= replay->flushed_seq)
            continue;
        int result = op->kind == LOG_OP_PUT ? replay_put(replay, table, schema, seq, item, item_bytes) : replay_delete(replay, table, schema, seq, item, item_bytes);
        if (result == MOTE_EDAMAGED)
            return damaged(replay, frame, "a malformed row");
        if (result)
            return result;
        replay->last_seq = seq;
        replay->recovery->rows++;
    }
    return MOTE_OK;
}

static void lose_rows(struct recovery *recovery, const struct manifest_lost_range *range)
{
    if (recovery->lost_count < MANIFEST_LOST_RANGES_MAX)
        recovery->lost[recovery->lost_count++] = *range;
}

/* The operations of a batch in parts, whose end gave them their seqs. */
static int replay_batch(struct replay *replay, const struct wal_frame *frame, const struct log_op *end, uint64_t total_bytes, uint64_t first_seq)
{
    const struct recover_parts *parts = &replay->parts;
    uint64_t seq = first_seq, last_seq = first_seq + end->row_count - 1;
    if (last_seq <= replay->flushed_seq)
        return MOTE_OK;
    if (!recover_parts_complete(parts, end->table_id, end->schema_version, total_bytes)) {
        if (!replay->lost)
            return damaged(replay, frame, "the end of a batch whose parts are not there");
        lose_rows(replay->recovery, &(struct manifest_lost_range){frame->lsn, frame->lsn + frame->frame_bytes, first_seq, last_seq});
        return MOTE_OK;
    }
    for (uint64_t at = 0; at < total_bytes;) {
        struct log_op op;
        if (!log_op_decode(parts->bytes + at, total_bytes - at, &op) || op.kind > LOG_OP_DELETE || op.row_count > last_seq + 1 - seq)
            return damaged(replay, frame, "a batch with a malformed operation");
        int result = replay_op(replay, frame, &op, parts->bytes + at + LOG_OP_HEADER_BYTES, seq);
        if (result)
            return result;
        seq += op.row_count;
        at += op.op_bytes;
    }
    return seq == last_seq + 1 ? MOTE_OK : damaged(replay, frame, "a batch of another number of rows than its end says");
}

static int replay_any(struct replay *replay, const struct wal_frame *frame, const struct log_op *op, const uint8_t *body, uint64_t seq)
{
    if (op->kind == LOG_OP_PART) {
        int result = recover_parts_add(&replay->parts, replay->db->memory, frame->incarnation, op, body);
        return result == MOTE_EDAMAGED ? damaged(replay, frame, "a part of a batch that does not follow the one before") : result;
    }
    if (op->kind == LOG_OP_END) {
        int result = replay_batch(replay, frame, op, load_u64(body), seq);
        recover_parts_drop(&replay->parts);
        return result;
    }
    if (op->kind == LOG_OP_NOTHING)
        return MOTE_OK;
    return replay_op(replay, frame, op, body, seq);
}

static int on_frame(void *context, const struct wal_frame *frame, const uint8_t *payload)
{
    struct replay *replay = context;
    uint64_t left = frame->payload_bytes, seq = frame->first_seq;
    replay->rows_end_lsn = frame->lsn + frame->frame_bytes;
    while (left > 0) {
        struct log_op op;
        if (!log_op_decode(payload, left, &op))
            return damaged(replay, frame, "a malformed operation");
        int result = replay_any(replay, frame, &op, payload + LOG_OP_HEADER_BYTES, seq);
        if (result)
            return result;
        seq += op.row_count;
        payload += op.op_bytes;
        left -= op.op_bytes;
    }
    if (seq != frame->first_seq + frame->count)
        return damaged(replay, frame, "another number of rows than it says");
    return MOTE_OK;
}

static void on_damage(void *context, uint64_t lsn_from, uint64_t lsn_to, uint64_t seq_from, uint64_t seq_to)
{
    struct replay *replay = context;
    struct recovery *recovery = replay->recovery;
    replay->lost = true;
    recover_parts_drop(&replay->parts);
    /* What segments hold, and what was replayed, is not lost; nor is anything where only marks and pads are missing. */
    if (seq_from <= replay->last_seq)
        seq_from = replay->last_seq + 1;
    if (seq_to < seq_from)
        return;
    lose_rows(recovery, &(struct manifest_lost_range){lsn_from, lsn_to, seq_from, seq_to});
}

/* ---- The scan ---- */

static int describe_log(struct mote_db *db, struct wal_range **ranges, struct wal_incarnation **incarnations, struct wal_recovery *scan)
{
    const struct manifest_state *state = manifest_get_state(db->manifest);
    const struct layout *layout = &db->superblock.layout;
    *ranges = memory_alloc_zero(db->memory, (state->log_range_count + 1) * sizeof **ranges);
    *incarnations = memory_alloc_zero(db->memory, (state->incarnation_count + 1) * sizeof **incarnations);
    if (!*ranges || !*incarnations)
        return MOTE_EBUDGET;
    for (uint32_t i = 0; i < state->log_range_count; i++)
        (*ranges)[i] = (struct wal_range){state->log_ranges[i].lsn, layout_extent_offset(layout, state->log_ranges[i].run.first), state->log_ranges[i].run.count * layout->extent_bytes};
    for (uint32_t i = 0; i < state->incarnation_count; i++)
        (*incarnations)[i] = (struct wal_incarnation){state->incarnations[i].id, state->incarnations[i].first_lsn, state->incarnations[i].end_lsn};
    /* Closed cleanly with everything in segments: the edit that says so was made after the log's end was durable, and the one of the next open takes it back before a frame is written. Behind the head there is nothing to look for. */
    if (state->incarnation_count > 0 && state->clean_end_lsn != 0 && state->clean_end_lsn == state->head_lsn)
        (*incarnations)[state->incarnation_count - 1].end_lsn = state->clean_end_lsn;
    scan->ranges = *ranges;
    scan->range_count = state->log_range_count;
    scan->incarnations = *incarnations;
    scan->incarnation_count = state->incarnation_count;
    scan->head_lsn = state->head_lsn;
    return MOTE_OK;
}

static void conclude(struct mote_db *db, const struct replay *replay, const struct wal_recovery *scan)
{
    const struct manifest_state *state = manifest_get_state(db->manifest);
    struct recovery *recovery = replay->recovery;
    recovery->verdict = scan->verdict;
    recovery->damaged = scan->damage_count > 0;
    recovery->end_lsn = scan->range_count > 0 ? scan->end_lsn : state->head_lsn; /* nothing is mapped: the log ends where it begins */
    const struct manifest_incarnation *live = state->incarnation_count ? &state->incarnations[state->incarnation_count - 1] : NULL;
    bool no_rows = live && live->end_lsn == UINT64_MAX && live->first_lsn >= replay->rows_end_lsn && live->first_lsn <= recovery->end_lsn && !recovery->damaged;
    recovery->kept_end_lsn = no_rows ? live->first_lsn : recovery->end_lsn;
    recovery->generations_used = replay->generation + 1;
    recovery->next_lsn = scan->highest_lsn > scan->end_lsn ? scan->highest_lsn : scan->end_lsn;
    if (recovery->next_lsn < state->head_lsn)
        recovery->next_lsn = state->head_lsn;
    if (state->log_range_count > 0) {
        const struct wal_range *last = &scan->ranges[state->log_range_count - 1];
        if (recovery->next_lsn < last->lsn + last->length_bytes)
            recovery->next_lsn = last->lsn + last->length_bytes;
    }
    recovery->next_seq = scan->next_seq;
    if (recovery->next_seq <= atomic_load(&db->flushed_seq))
        recovery->next_seq = atomic_load(&db->flushed_seq) + 1;
    if (recovery->next_seq <= state->clean_end_seq)
        recovery->next_seq = state->clean_end_seq + 1;
    if (recovery->next_seq <= snapshots_newest_named(db))
        recovery->next_seq = snapshots_newest_named(db) + 1; /* rows that it saw were lost, their numbers too */
    db->recovered_rows = recovery->rows;
    db->recovered_log_bytes = scan->bytes_read;
}

int recover(struct mote_db *db, struct recovery *recovery)
{
    *recovery = (struct recovery){0};
    struct replay replay = {.db = db, .recovery = recovery, .flushed_seq = atomic_load(&db->flushed_seq)};
    replay.last_seq = replay.flushed_seq;
    struct wal_range *ranges = NULL;
    struct wal_incarnation *incarnations = NULL;
    struct wal_recovery scan = {
        .queue = db->queue,
        .memory = db->memory,
        .window_bytes = db->superblock.wal_window_bytes,
        .frame_bytes_max = db->superblock.wal_frame_bytes_max,
        .frame_align_bytes = PAGE_BYTES,
        .continue_on_damage = db->options.on_damage == MOTE_DAMAGE_CONTINUE,
        .on_frame = on_frame,
        .on_damage = on_damage,
        .context = &replay,
    };
    memcpy(scan.uuid, db->superblock.uuid, sizeof scan.uuid);
    int result = describe_log(db, &ranges, &incarnations, &scan);
    if (!result && scan.range_count > 0)
        result = wal_recover(&scan);
    if (!result && scan.highest_generation > db->superblock.generation) {
        result = error_set(MOTE_EDAMAGED, "the log was written under superblock generation %llu, the newest superblock found is %llu: a newer superblock was lost; run fsck.mote",
                           (unsigned long long)scan.highest_generation, (unsigned long long)db->superblock.generation);
        error_add_device(blockdev_path(db->device), 0, 0);
    }
    if (!result)
        result = blockdev_flush(db->queue);
    if (!result)
        conclude(db, &replay, &scan);
    log_batch_free(db->memory, replay.columns);
    recover_parts_free(&replay.parts, db->memory);
    memory_free(db->memory, incarnations);
    memory_free(db->memory, ranges);
    return result;
}

int recover_flush(struct mote_db *db, struct recovery *recovery)
{
    struct replay replay = {.db = db, .recovery = recovery};
    struct manifest_edit *edit;
    int result = MOTE_OK;
    for (uint32_t i = 0; i < recovery->generations_used && !result; i++) {
        bool last = i + 1 == recovery->generations_used;
        if (memtable_generation_count(db->generations[i].memtables) > 0)
            result = flush_replayed(&replay, i, last ? recovery->next_seq - 1 : db->generations[i].cut.seq);
    }
    if (!result)
        result = manifest_edit_begin(db->manifest, &edit);
    if (result)
        return result;
    /* What was lost is on record in the same edit in which the log that shows it is forgotten. */
    for (uint32_t i = 0; i < recovery->lost_count; i++)
        manifest_edit_add_lost_range(edit, &recovery->lost[i]);
    recovery->generations_used = 1;
    manifest_edit_set_head(edit, recovery->end_lsn);
    result = manifest_commit(edit, NULL, NULL);
    if (result)
        return result;
    recovery->lost_count = 0;
    atomic_store(&db->head_lsn, recovery->end_lsn);
    return MOTE_OK;
}
