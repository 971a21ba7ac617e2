/* manifest_apply.c: applies records to a state: the one code for commits, which apply an edit to a copy before a byte of it is written, and for recovery, which applies what it read.
 *
 * Invariants: a record that does not fit the state (an unknown table, a segment twice, extents that overlap anything or lie outside the device, numbers that go backwards) is refused, and after
 * manifest_stage_rollback the manifest is as before. Extents that an edit frees stay owned until it is installed, so that nothing in the same edit can take them.
 * Threads: the committing thread, under the manifest's mutex. Failures: see manifest_stage_apply.
 */
#include "engine/lsm/manifest_private.h"

#include <assert.h>
#include <inttypes.h>

void *manifest_vector_push(struct memory *memory, struct vector *vector, size_t item_bytes)
{
    if (vector->count == vector->capacity) {
        uint32_t capacity = vector->capacity ? 2 * vector->capacity : 8;
        void *items = memory_realloc(memory, vector->items, capacity * item_bytes);
        if (!items)
            return NULL;
        vector->items = items;
        vector->capacity = capacity;
    }
    return (uint8_t *)vector->items + vector->count++ * item_bytes;
}

int manifest_stage_push_run(struct stage *stage, struct vector *vector, struct extent_run run)
{
    struct extent_run *item = manifest_vector_push(stage->manifest->memory, vector, sizeof *item);
    if (!item)
        return MOTE_EBUDGET;
    *item = run;
    return MOTE_OK;
}

static int push_schema(struct stage *stage, struct vector *vector, struct schema *schema)
{
    struct schema **item = manifest_vector_push(stage->manifest->memory, vector, sizeof *item);
    if (!item)
        return MOTE_EBUDGET;
    *item = schema;
    return MOTE_OK;
}

void manifest_set_owned(struct manifest *manifest, struct extent_run run, bool owned)
{
    for (uint32_t extent = run.first; extent < run.first + run.count; extent++) {
        uint64_t bit = 1ull << (extent % 64);
        if (owned)
            manifest->owned[extent / 64] |= bit;
        else
            manifest->owned[extent / 64] &= ~bit;
    }
}

/* Takes a run of extents for the state; refuses what lies outside the device or is owned already. */
int manifest_stage_own(struct stage *stage, struct extent_run run, const char *what)
{
    const struct manifest *manifest = stage->manifest;
    if (!run.count || run.first >= manifest->layout.extent_count || run.count > manifest->layout.extent_count - run.first)
        return error_set(MOTE_EINVAL, "%s in extents %u to %u lies outside the device's %u extents", what, run.first, run.first + run.count, manifest->layout.extent_count);
    for (uint32_t extent = run.first; extent < run.first + run.count; extent++)
        if (manifest->owned[extent / 64] >> (extent % 64) & 1)
            return error_set(MOTE_EINVAL, "extent %u of %s is in use already", extent, what);
    int result = manifest_stage_push_run(stage, &stage->marked, run);
    if (!result)
        manifest_set_owned(stage->manifest, run, true);
    return result;
}

struct manifest_table *manifest_stage_table(struct manifest_state *state, uint64_t table_id)
{
    uint32_t low = 0, high = state->table_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (state->tables[middle].schema->table_id < table_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < state->table_count && state->tables[low].schema->table_id == table_id ? &state->tables[low] : NULL;
}

int manifest_stage_unknown_table(uint64_t table_id)
{
    return error_set(MOTE_ENOTABLE, "the manifest has no table of id %" PRIu64 "; it was dropped", table_id);
}

/* ---- Log and counters ---- */

static int apply_state(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    state->flushed_seq = read_u64(reader);
    state->head_lsn = read_u64(reader);
    state->clean_end_lsn = read_u64(reader);
    state->clean_end_seq = read_u64(reader);
    return MOTE_OK;
}

static uint64_t range_end(const struct stage *stage, const struct manifest_log_range *range)
{
    return range->lsn + range->run.count * stage->manifest->layout.extent_bytes;
}

static int apply_log_range(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    struct manifest_log_range range;
    range.lsn = read_u64(reader);
    range.run.first = read_u32(reader);
    range.run.count = read_u32(reader);
    if (state->log_range_count == MANIFEST_LOG_RANGES_MAX)
        return error_set(MOTE_ENOSPC, "the log is in %u pieces already; a checkpoint makes room", MANIFEST_LOG_RANGES_MAX);
    int result = manifest_stage_own(stage, range.run, "a log range");
    if (result)
        return result;
    if (range.lsn > UINT64_MAX / 2 || range_end(stage, &range) > UINT64_MAX / 2)
        return error_set(MOTE_EINVAL, "log position %" PRIu64 " is out of range", range.lsn);
    if (state->log_range_count && range.lsn < range_end(stage, &state->log_ranges[state->log_range_count - 1]))
        return error_set(MOTE_EINVAL, "log position %" PRIu64 " is mapped already", range.lsn);
    state->log_ranges[state->log_range_count++] = range;
    return MOTE_OK;
}

/* Removes log range `index`; its extents are freed once the edit is durable. */
static int drop_log_range(struct stage *stage, uint32_t index)
{
    struct manifest_state *state = stage->state;
    struct extent_run run = state->log_ranges[index].run;
    int result = manifest_stage_push_run(stage, &stage->log_freed, run);
    if (!result)
        result = manifest_stage_push_run(stage, &stage->cleared, run);
    if (result)
        return result;
    state->log_range_count--;
    memmove(&state->log_ranges[index], &state->log_ranges[index + 1], (state->log_range_count - index) * sizeof state->log_ranges[0]);
    if (index < stage->ranges_before)
        stage->ranges_before--;
    return MOTE_OK;
}

static int apply_head(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    uint64_t head_lsn = read_u64(reader);
    if (head_lsn < state->head_lsn)
        return error_set(MOTE_EINVAL, "the log's head cannot move back from %" PRIu64 " to %" PRIu64, state->head_lsn, head_lsn);
    state->head_lsn = head_lsn;
    while (state->log_range_count && range_end(stage, &state->log_ranges[0]) <= head_lsn) {
        int result = drop_log_range(stage, 0);
        if (result)
            return result;
    }
    uint32_t ended = 0;
    while (ended < state->incarnation_count && state->incarnations[ended].end_lsn <= head_lsn)
        ended++;
    state->incarnation_count -= ended;
    memmove(state->incarnations, state->incarnations + ended, state->incarnation_count * sizeof state->incarnations[0]);
    return MOTE_OK;
}

static int push_incarnation(struct manifest_state *state, const struct manifest_incarnation *incarnation)
{
    if (state->incarnation_count == MANIFEST_INCARNATIONS_MAX)
        return error_set(MOTE_ENOSPC, "the live log has %u incarnations already; a checkpoint makes room", MANIFEST_INCARNATIONS_MAX);
    const struct manifest_incarnation *last = state->incarnation_count ? &state->incarnations[state->incarnation_count - 1] : NULL;
    if (!incarnation->id || incarnation->end_lsn < incarnation->first_lsn || (last && incarnation->first_lsn < last->end_lsn))
        return error_set(MOTE_EINVAL, "incarnation %" PRIx64 " cannot begin at log position %" PRIu64, incarnation->id, incarnation->first_lsn);
    for (uint32_t i = 0; i < state->incarnation_count; i++)
        if (state->incarnations[i].id == incarnation->id)
            return error_set(MOTE_EINVAL, "incarnation %" PRIx64 " is in the log already", incarnation->id);
    state->incarnations[state->incarnation_count++] = *incarnation;
    return MOTE_OK;
}

static int apply_incarnation_entry(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_incarnation incarnation;
    incarnation.id = read_u64(reader);
    incarnation.first_lsn = read_u64(reader);
    incarnation.end_lsn = read_u64(reader);
    return push_incarnation(stage->state, &incarnation);
}

static int begin_incarnation(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    struct manifest_incarnation incarnation = {.end_lsn = UINT64_MAX};
    incarnation.id = read_u64(reader);
    incarnation.first_lsn = read_u64(reader);
    uint64_t previous_end_lsn = read_u64(reader);
    struct manifest_incarnation *live = state->incarnation_count ? &state->incarnations[state->incarnation_count - 1] : NULL;
    if (live && live->end_lsn == UINT64_MAX) {
        if (previous_end_lsn < live->first_lsn || previous_end_lsn > incarnation.first_lsn)
            return error_set(MOTE_EINVAL, "incarnation %" PRIx64 " cannot end at log position %" PRIu64, live->id, previous_end_lsn);
        live->end_lsn = previous_end_lsn;
        for (uint32_t i = stage->ranges_before; i-- > 0;) {
            int result = state->log_ranges[i].lsn >= previous_end_lsn ? drop_log_range(stage, i) : MOTE_OK;
            if (result)
                return result;
        }
        /* An incarnation that wrote nothing, or nothing that the head has not passed, needs no entry: otherwise a volume that is opened and killed again and again would fill the list. */
        if (live->end_lsn == live->first_lsn || live->end_lsn <= state->head_lsn)
            state->incarnation_count--;
    }
    return push_incarnation(state, &incarnation);
}

static int apply_lost_range(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    struct manifest_lost_range range;
    range.lsn_from = read_u64(reader);
    range.lsn_to = read_u64(reader);
    range.seq_from = read_u64(reader);
    range.seq_to = read_u64(reader);
    if (range.lsn_to < range.lsn_from || range.seq_to < range.seq_from)
        return error_set(MOTE_EINVAL, "a lost range must not end before it begins");
    if (state->lost_range_count < MANIFEST_LOST_RANGES_MAX) {
        state->lost_ranges[state->lost_range_count++] = range;
        return MOTE_OK;
    }
    /* A full list must not keep a machine without an operator from starting: the newest entry is widened to cover this one too. */
    struct manifest_lost_range *last = &state->lost_ranges[MANIFEST_LOST_RANGES_MAX - 1];
    last->lsn_from = range.lsn_from < last->lsn_from ? range.lsn_from : last->lsn_from;
    last->lsn_to = range.lsn_to > last->lsn_to ? range.lsn_to : last->lsn_to;
    last->seq_from = range.seq_from < last->seq_from ? range.seq_from : last->seq_from;
    last->seq_to = range.seq_to > last->seq_to ? range.seq_to : last->seq_to;
    return MOTE_OK;
}

static int apply_bad_extent(struct stage *stage, struct byte_reader *reader)
{
    struct manifest_state *state = stage->state;
    uint32_t extent = read_u32(reader);
    if (state->bad_extent_count == MANIFEST_BAD_EXTENTS_MAX)
        return error_set(MOTE_ENOSPC, "%u extents of the device are bad already; replace the device", MANIFEST_BAD_EXTENTS_MAX);
    int result = manifest_stage_own(stage, (struct extent_run){extent, 1}, "the bad list");
    if (!result)
        state->bad_extents[state->bad_extent_count++] = extent;
    return result;
}

static int apply_flushed_seq(struct stage *stage, struct byte_reader *reader)
{
    uint64_t seq = read_u64(reader);
    if (seq < stage->state->flushed_seq)
        return error_set(MOTE_EINVAL, "the flushed seq cannot move back from %" PRIu64 " to %" PRIu64, stage->state->flushed_seq, seq);
    stage->state->flushed_seq = seq;
    return MOTE_OK;
}

static int apply_clean_end(struct stage *stage, struct byte_reader *reader)
{
    stage->state->clean_end_lsn = read_u64(reader);
    stage->state->clean_end_seq = read_u64(reader);
    return MOTE_OK;
}

/* ---- Tables ---- */

static int check_schema(const struct stage *stage, const struct schema *schema, const struct manifest_table *old)
{
    const struct manifest_state *state = stage->state;
    if (!schema->table_id || schema->table_id >= state->next_table_id)
        return error_set(MOTE_EINVAL, "table id %" PRIu64 " was never given out", schema->table_id);
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (schema->columns[i].id >= state->next_column_id)
            return error_set(MOTE_EINVAL, "column id %" PRIu64 " of table %s was never given out", schema->columns[i].id, schema->name);
    if (old && schema->version < old->schema->version)
        return error_set(MOTE_EINVAL, "the schema of table %s cannot go back from version %u to %u", schema->name, old->schema->version, schema->version);
    for (uint32_t i = 0; i < state->table_count; i++)
        if (&state->tables[i] != old && !strcmp(state->tables[i].schema->name, schema->name))
            return error_set(MOTE_EEXISTS, "a table named %s exists already", schema->name);
    return MOTE_OK;
}

static int put_table(struct stage *stage, struct schema *schema, int64_t next_rowid, uint64_t created_seq)
{
    struct manifest_state *state = stage->state;
    struct manifest_table *table = manifest_stage_table(state, schema->table_id);
    int result = check_schema(stage, schema, table);
    if (result)
        return result;
    if (!table && state->table_count == state->tables_max)
        return error_set(MOTE_EBUDGET, "the volume has %u tables, as many as tables_max allows; open it with a larger tables_max", state->tables_max);
    stage->catalog_bytes += manifest_table_bytes(schema);
    if (table) {
        stage->catalog_bytes -= manifest_table_bytes(table->schema);
        result = push_schema(stage, &stage->replaced, table->schema);
        if (result)
            return result;
        table->schema = schema;
        table->next_rowid = next_rowid > table->next_rowid ? next_rowid : table->next_rowid;
        table->created_seq = created_seq > table->created_seq ? created_seq : table->created_seq;
        return MOTE_OK;
    }
    uint32_t at = state->table_count;
    while (at && state->tables[at - 1].schema->table_id > schema->table_id)
        at--;
    memmove(&state->tables[at + 1], &state->tables[at], (state->table_count - at) * sizeof state->tables[0]);
    state->tables[at] = (struct manifest_table){.schema = schema, .next_rowid = next_rowid, .created_seq = created_seq};
    state->table_count++;
    return MOTE_OK;
}

static int apply_table(struct stage *stage, struct byte_reader *reader)
{
    int64_t next_rowid = (int64_t)read_u64(reader);
    uint64_t created_seq = read_u64(reader);
    struct schema *schema = NULL;
    int result = schema_decode(stage->manifest->memory, reader, &schema);
    if (result)
        return result;
    result = push_schema(stage, &stage->fresh, schema);
    if (result) {
        schema_free(stage->manifest->memory, schema);
        return result;
    }
    return put_table(stage, schema, next_rowid, created_seq);
}

static int apply_rowid(struct stage *stage, struct byte_reader *reader)
{
    uint64_t table_id = read_u64(reader);
    int64_t next_rowid = (int64_t)read_u64(reader);
    struct manifest_table *table = manifest_stage_table(stage->state, table_id);
    if (!table)
        return manifest_stage_unknown_table(table_id);
    table->next_rowid = next_rowid > table->next_rowid ? next_rowid : table->next_rowid;
    return MOTE_OK;
}

/* ---- Segments ---- */

int manifest_stage_change(struct stage *stage, struct segment *segment, struct segment *successor, bool added)
{
    struct change *change = manifest_vector_push(stage->manifest->memory, &stage->changes, sizeof *change);
    if (!change)
        return MOTE_EBUDGET;
    *change = (struct change){segment, successor, added};
    if (added) {
        manifest_insert_segment(stage->manifest, segment);
        stage->state->segment_count++;
        stage->state->section_count += segment->index_count;
    } else {
        manifest_delete_segment(stage->manifest, segment);
        stage->state->segment_count--;
        stage->state->section_count -= segment->index_count;
    }
    return MOTE_OK;
}

int manifest_stage_check_section(const struct stage *stage, const struct segment_section *section)
{
    if (section->section_id >= stage->state->next_section_id || section->length_bytes > section->run.count * stage->manifest->layout.extent_bytes ||
        section->root_offset_bytes > section->length_bytes || section->root_bytes > section->length_bytes - section->root_offset_bytes)
        return error_set(MOTE_EINVAL, "the sizes of index section %" PRIu64 " contradict each other", section->section_id);
    return MOTE_OK;
}

static int check_segment(struct stage *stage, const struct segment_record *record)
{
    const struct manifest_state *state = stage->state;
    if (!record->id || record->id >= state->next_segment_id || record->run_id >= state->next_run_id)
        return error_set(MOTE_EINVAL, "segment id %" PRIu64 " or its run id was never given out", record->id);
    if (manifest_find_segment(stage->manifest, record->id))
        return error_set(MOTE_EEXISTS, "segment %" PRIu64 " is in the manifest already", record->id);
    const struct manifest_table *table = manifest_stage_table(stage->state, record->table_id);
    if (!table)
        return manifest_stage_unknown_table(record->table_id);
    if (!record->schema_version || record->schema_version > table->schema->version)
        return error_set(MOTE_EINVAL, "segment %" PRIu64 " has schema version %u, but table %s is at version %u", record->id, record->schema_version, table->schema->name, table->schema->version);
    uint64_t room_bytes = 0;
    for (uint32_t i = 0; i < record->extent_run_count; i++)
        room_bytes += record->runs[i].count * stage->manifest->layout.extent_bytes;
    if (record->level > MANIFEST_LEVEL_MAX || !record->extent_run_count || record->segment_bytes > room_bytes || record->footer_offset_bytes > record->segment_bytes ||
        record->footer_bytes > record->segment_bytes - record->footer_offset_bytes || record->delete_count > record->row_count || record->seq_min > record->seq_max ||
        key_compare(record->min_key.bytes, record->min_key.length, record->max_key.bytes, record->max_key.length) > 0)
        return error_set(MOTE_EINVAL, "the sizes or bounds of segment %" PRIu64 " of table %s contradict each other", record->id, table->schema->name);
    return record->timestamp.run.count ? manifest_stage_check_section(stage, &record->timestamp) : MOTE_OK;
}

static int apply_segment(struct stage *stage, struct byte_reader *reader)
{
    struct segment_record record;
    if (!manifest_segment_decode(reader, &record))
        return error_set(MOTE_EINVAL, "the record of segment %" PRIu64 " is malformed", record.id);
    int result = check_segment(stage, &record);
    for (uint32_t i = 0; !result && i < record.extent_run_count; i++)
        result = manifest_stage_own(stage, record.runs[i], "a segment");
    if (!result && record.timestamp.run.count)
        result = manifest_stage_own(stage, record.timestamp.run, "a timestamp section");
    struct segment *segment = NULL;
    if (!result)
        result = manifest_new_segment(stage, &record, NULL, 0, &segment);
    if (!result)
        result = manifest_stage_change(stage, segment, NULL, true);
    if (result)
        manifest_free_segment(stage->manifest, segment);
    return result;
}

static int remove_segment(struct stage *stage, struct segment *segment)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; !result && i < segment->record.extent_run_count; i++)
        result = manifest_stage_push_run(stage, &stage->cleared, segment->record.runs[i]);
    if (!result && segment->record.timestamp.run.count)
        result = manifest_stage_push_run(stage, &stage->cleared, segment->record.timestamp.run);
    if (!result)
        result = manifest_clear_sections(stage, segment);
    if (!result)
        manifest_clear_blobs(stage, segment);
    return result ? result : manifest_stage_change(stage, segment, NULL, false);
}

int manifest_stage_segment(struct stage *stage, uint64_t segment_id, struct segment **segment)
{
    *segment = manifest_find_segment(stage->manifest, segment_id);
    return *segment ? MOTE_OK : error_set(MOTE_ENOTFOUND, "the manifest has no segment of id %" PRIu64 "; its table was dropped or it was merged", segment_id);
}

static int apply_remove(struct stage *stage, struct byte_reader *reader)
{
    struct segment *segment;
    int result = manifest_stage_segment(stage, read_u64(reader), &segment);
    return result ? result : remove_segment(stage, segment);
}

static int apply_timestamp(struct stage *stage, struct byte_reader *reader)
{
    uint64_t segment_id = read_u64(reader);
    struct segment_section section;
    manifest_section_decode(reader, &section);
    struct segment *old, *segment = NULL;
    int result = manifest_stage_segment(stage, segment_id, &old);
    if (result)
        return result;
    if (section.run.count) {
        result = manifest_stage_check_section(stage, &section);
        if (!result)
            result = manifest_stage_own(stage, section.run, "a timestamp section");
    } else {
        section = (struct segment_section){0};
    }
    if (!result && old->record.timestamp.run.count)
        result = manifest_stage_push_run(stage, &stage->cleared, old->record.timestamp.run);
    if (!result)
        result = manifest_new_segment(stage, &old->record, old, 0, &segment);
    if (result)
        return result;
    segment->record.timestamp = section;
    result = manifest_stage_change(stage, old, segment, false);
    if (!result)
        result = manifest_stage_change(stage, segment, NULL, true);
    if (result)
        manifest_free_segment(stage->manifest, segment);
    return result;
}

static int apply_drop_table(struct stage *stage, struct byte_reader *reader)
{
    struct manifest *manifest = stage->manifest;
    uint64_t table_id = read_u64(reader);
    struct manifest_table *table = manifest_stage_table(stage->state, table_id);
    if (!table)
        return manifest_stage_unknown_table(table_id);
    for (uint32_t i = 0; i < manifest->bucket_count; i++)
        for (struct segment *segment = manifest->buckets[i], *next; segment; segment = next) {
            next = segment->next;
            int result = segment->record.table_id == table_id ? remove_segment(stage, segment) : MOTE_OK;
            if (result)
                return result;
        }
    manifest_drop_table_indexes(stage, table_id);
    manifest_drop_table_retention(stage, table);
    stage->catalog_bytes -= manifest_table_bytes(table->schema);
    int result = push_schema(stage, &stage->replaced, table->schema);
    if (result)
        return result;
    stage->state->table_count--;
    memmove(table, table + 1, (size_t)(&stage->state->tables[stage->state->table_count] - table) * sizeof *table);
    return MOTE_OK;
}

/* ---- Records ---- */

/* How each kind of record is applied. A list's items follow each other; item_bytes 0: one item of any length. */
static const struct {
    int (*apply)(struct stage *stage, struct byte_reader *reader);
    uint32_t item_bytes;
    bool list;
    uint32_t only; /* enum manifest_frame_kind, or 0: in both */
} kinds[] = {
    [MANIFEST_RECORD_STATE] = {apply_state, 32, false, MANIFEST_FRAME_SNAPSHOT},
    [MANIFEST_RECORD_LOG_RANGES] = {apply_log_range, 16, true, 0},
    [MANIFEST_RECORD_INCARNATIONS] = {apply_incarnation_entry, 24, true, MANIFEST_FRAME_SNAPSHOT},
    [MANIFEST_RECORD_LOST_RANGES] = {apply_lost_range, 32, true, 0},
    [MANIFEST_RECORD_BAD_EXTENTS] = {apply_bad_extent, 4, true, 0},
    [MANIFEST_RECORD_TABLE] = {apply_table, 0, false, 0},
    [MANIFEST_RECORD_SEGMENT] = {apply_segment, MANIFEST_SEGMENT_RECORD_BYTES, false, 0},
    [MANIFEST_RECORD_REMOVE] = {apply_remove, 8, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_TIMESTAMP] = {apply_timestamp, 8 + MANIFEST_SECTION_BYTES, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_DROP_TABLE] = {apply_drop_table, 8, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_ROWID] = {apply_rowid, 16, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_FLUSHED_SEQ] = {apply_flushed_seq, 8, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_HEAD] = {apply_head, 8, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_INCARNATION] = {begin_incarnation, 24, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_CLEAN_END] = {apply_clean_end, 16, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_INDEX] = {manifest_apply_index, MANIFEST_INDEX_RECORD_BYTES, false, 0},
    [MANIFEST_RECORD_DROP_INDEX] = {manifest_apply_drop_index, 8, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_SECTION] = {manifest_apply_section, MANIFEST_INDEX_SECTION_BYTES, false, 0},
    [MANIFEST_RECORD_NAMED] = {manifest_apply_named, MANIFEST_NAMED_RECORD_BYTES, false, 0},
    [MANIFEST_RECORD_DROP_NAMED] = {manifest_apply_drop_named, 8, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_RETENTION] = {manifest_apply_retention, MANIFEST_RETENTION_RECORD_BYTES, false, 0},
    [MANIFEST_RECORD_PIN] = {manifest_apply_pin, MANIFEST_PIN_RECORD_BYTES, false, 0},
    [MANIFEST_RECORD_UNPIN] = {manifest_apply_unpin, MANIFEST_UNPIN_RECORD_BYTES, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_WATERMARK] = {manifest_apply_watermark, MANIFEST_WATERMARK_RECORD_BYTES, false, 0},
    [MANIFEST_RECORD_BLOB_FILE] = {manifest_apply_blob_file, MANIFEST_BLOB_FILE_RECORD_BYTES, false, 0},
    [MANIFEST_RECORD_DROP_BLOB_FILE] = {manifest_apply_drop_blob_file, 8, false, MANIFEST_FRAME_EDIT},
    [MANIFEST_RECORD_SEGMENT_BLOBS] = {manifest_apply_segment_blobs, 0, false, 0},
    [MANIFEST_RECORD_RECEIVE] = {manifest_apply_receive, MANIFEST_RECEIVE_RECORD_BYTES, false, 0},
    [MANIFEST_RECORD_BASE] = {manifest_apply_base, MANIFEST_BASE_RECORD_BYTES, false, 0},
    [MANIFEST_RECORD_DROP_BASE] = {manifest_apply_drop_base, MOTE_NAME_BYTES_MAX + 1, false, MANIFEST_FRAME_EDIT},
};

static int apply_record(struct stage *stage, uint32_t kind, const uint8_t *body, uint32_t length_bytes)
{
    if (kind >= sizeof kinds / sizeof kinds[0] || !kinds[kind].apply || (kinds[kind].only && kinds[kind].only != stage->kind))
        return error_set(MOTE_EDAMAGED, "a manifest frame has a record of unknown kind %u", kind);
    uint32_t item_bytes = kinds[kind].item_bytes ? kinds[kind].item_bytes : length_bytes;
    if (!length_bytes || length_bytes % item_bytes || (!kinds[kind].list && length_bytes != item_bytes))
        return error_set(MOTE_EDAMAGED, "a manifest record of kind %u has the impossible length %u", kind, length_bytes);
    struct byte_reader reader = byte_reader_make(body, length_bytes);
    while (byte_reader_left(&reader)) {
        int result = kinds[kind].apply(stage, &reader);
        if (result)
            return result;
        if (reader.failed || (byte_reader_left(&reader) && !kinds[kind].list))
            return error_set(MOTE_EDAMAGED, "a manifest record of kind %u is cut off or too long", kind);
    }
    return MOTE_OK;
}

/* What only the whole edit can be held to: counters that do not go back, and the bounds that keep the largest snapshot in half an area. An edit that removes is never refused for them. */
static int check_bounds(const struct stage *stage)
{
    const struct manifest *manifest = stage->manifest;
    const struct manifest_state *old = &manifest->state, *new = stage->state;
    if (new->next_segment_id < old->next_segment_id || new->next_table_id < old->next_table_id || new->next_column_id < old->next_column_id ||
        new->next_run_id < old->next_run_id || new->next_section_id < old->next_section_id)
        return error_set(MOTE_EDAMAGED, "the manifest's counters go back");
    if (new->segment_count > manifest->layout.segments_max && new->segment_count > old->segment_count)
        return error_set(MOTE_ENOSPC, "the manifest has room for %u segments and %u would be needed; compact, or format with a larger segments_max", manifest->layout.segments_max,
                         new->segment_count);
    if (stage->catalog_bytes > manifest->catalog_bytes_max && stage->catalog_bytes > manifest->catalog_bytes)
        return error_set(MOTE_ENOSPC, "the tables' schemas would need %" PRIu64 " bytes and the manifest has room for %" PRIu64 "; drop a table, or format with a larger segments_max",
                         stage->catalog_bytes, manifest->catalog_bytes_max);
    uint64_t sections_bytes = (uint64_t)new->section_count * (MANIFEST_RECORD_HEADER_BYTES + MANIFEST_INDEX_SECTION_BYTES);
    uint64_t state_bytes = MANIFEST_SNAPSHOT_FIXED_BYTES + (uint64_t)new->segment_count * MANIFEST_SEGMENT_FRAME_BYTES + stage->catalog_bytes + sections_bytes + new->blob_record_bytes;
    bool beside = new->section_count || new->blob_record_bytes;
    if (state_bytes > manifest->frame_bytes_max && (new->section_count > old->section_count || new->blob_record_bytes > old->blob_record_bytes || (beside && new->segment_count > old->segment_count)))
        return error_set(MOTE_ENOSPC, "the manifest has no room for %u segments with %u index sections and %u blob files; compact, drop an index, or format with a larger segments_max", new->segment_count,
                         new->section_count, new->blob_count);
    return MOTE_OK;
}

/* Room for every replaced schema, so that the installation cannot fail. */
static int reserve_retired(const struct stage *stage)
{
    struct vector *retired = &stage->manifest->retired_schemas;
    uint32_t needed = retired->count + stage->replaced.count;
    if (stage->recovering || needed <= retired->capacity)
        return MOTE_OK;
    uint32_t capacity = needed + needed / 2 + 8;
    void *items = memory_realloc(stage->manifest->memory, retired->items, capacity * sizeof(struct schema *));
    if (!items)
        return MOTE_EBUDGET;
    retired->items = items;
    retired->capacity = capacity;
    return MOTE_OK;
}

int manifest_stage_apply(struct stage *stage, const uint8_t *payload, uint32_t payload_bytes, uint32_t record_count)
{
    struct byte_reader reader = byte_reader_make(payload, payload_bytes);
    for (uint32_t i = 0; i < record_count; i++) {
        uint32_t kind = read_u16(&reader), reserved = read_u16(&reader), length_bytes = read_u32(&reader);
        const uint8_t *body = read_bytes(&reader, length_bytes);
        if (!body || reserved)
            return error_set(MOTE_EDAMAGED, "a manifest frame's records are cut off");
        int result = apply_record(stage, kind, body, length_bytes);
        if (result)
            return result;
    }
    if (byte_reader_left(&reader))
        return error_set(MOTE_EDAMAGED, "a manifest frame has bytes behind its last record");
    int result = check_bounds(stage);
    return result ? result : reserve_retired(stage);
}
