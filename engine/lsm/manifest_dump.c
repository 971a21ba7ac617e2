/* manifest_dump.c: the manifest's state as plain lines, for `mote dump` and for eyes. Threads: takes the manifest's mutex. Never fails; what fprintf fails to write is lost. */
#include "engine/lsm/manifest_private.h"

#include <inttypes.h>
#include <stdio.h>

static void dump_key(const struct segment_key *key, FILE *out)
{
    for (unsigned i = 0; i < key->length; i++)
        fprintf(out, "%02x", key->bytes[i]);
    fputs(key->truncated ? "..." : "", out);
}

static void dump_segment(const struct segment *segment, FILE *out)
{
    const struct segment_record *record = &segment->record;
    fprintf(out, "segment %" PRIu64 " table %" PRIu64 " schema %u level %u run %" PRIu64 " rows %" PRIu64 " deletes %" PRIu64 " seq %" PRIu64 "..%" PRIu64 " time %" PRId64 "..%" PRId64, record->id,
            record->table_id, record->schema_version, record->level, record->run_id, record->row_count, record->delete_count, record->seq_min, record->seq_max, record->time_min, record->time_max);
    fprintf(out, " bytes %" PRIu64 " footer %" PRIu64 "+%u crc %08x blocks %u extents", record->segment_bytes, record->footer_offset_bytes, record->footer_bytes, record->footer_crc, record->block_count);
    for (uint32_t i = 0; i < record->extent_run_count; i++)
        fprintf(out, " %u+%u", record->runs[i].first, record->runs[i].count);
    fputs(" keys ", out);
    dump_key(&record->min_key, out);
    fputs("..", out);
    dump_key(&record->max_key, out);
    if (record->timestamp.run.count)
        fprintf(out, " timestamp section %" PRIu64 " extents %u+%u bytes %" PRIu64, record->timestamp.section_id, record->timestamp.run.first, record->timestamp.run.count, record->timestamp.length_bytes);
    for (uint32_t i = 0; i < segment->index_count; i++) {
        const struct segment_section *section = &segment->indexes[i].section;
        fprintf(out, " index %" PRIu64 " section %" PRIu64 " extents %u+%u bytes %" PRIu64, segment->indexes[i].index_id, section->section_id, section->run.first, section->run.count, section->length_bytes);
    }
    fputc('\n', out);
}

static void dump_index(const struct manifest_index *index, FILE *out)
{
    fprintf(out, "index %" PRIu64 " %s table %" PRIu64 " kind %u strategy %u columns", index->id, index->name, index->table_id, index->kind, index->strategy);
    for (uint32_t i = 0; i < index->column_count; i++)
        fprintf(out, " %" PRIu64, index->column_ids[i]);
    fputc('\n', out);
}

static void dump_log(const struct manifest_state *state, FILE *out)
{
    for (uint32_t i = 0; i < state->log_range_count; i++)
        fprintf(out, "log range lsn %" PRIu64 " extents %u+%u\n", state->log_ranges[i].lsn, state->log_ranges[i].run.first, state->log_ranges[i].run.count);
    for (uint32_t i = 0; i < state->incarnation_count; i++) {
        const struct manifest_incarnation *incarnation = &state->incarnations[i];
        fprintf(out, "incarnation %016" PRIx64 " first lsn %" PRIu64, incarnation->id, incarnation->first_lsn);
        if (incarnation->end_lsn == UINT64_MAX)
            fputs(" live\n", out);
        else
            fprintf(out, " end lsn %" PRIu64 "\n", incarnation->end_lsn);
    }
    for (uint32_t i = 0; i < state->lost_range_count; i++) {
        const struct manifest_lost_range *lost = &state->lost_ranges[i];
        fprintf(out, "lost lsn %" PRIu64 "..%" PRIu64 " seq %" PRIu64 "..%" PRIu64 "\n", lost->lsn_from, lost->lsn_to, lost->seq_from, lost->seq_to);
    }
    for (uint32_t i = 0; i < state->bad_extent_count; i++)
        fprintf(out, "bad extent %u\n", state->bad_extents[i]);
}

static void dump_retention(const struct manifest_table *table, FILE *out)
{
    const struct manifest_retention *retention = &table->retention;
    if (table->has_retention)
        fprintf(out, "retention table %" PRIu64 " age %" PRId64 " bytes %" PRIu64 " window %" PRId64 " future %" PRId64 " pin bytes %" PRIu64 " recycle %u\n", table->schema->table_id, retention->age_ns, retention->bytes_max,
                retention->window_ns, retention->future_ns, retention->pin_bytes_max, retention->recycle);
    if (table->has_watermark)
        fprintf(out, "watermark table %" PRIu64 " horizon %" PRId64 " newest %" PRId64 "\n", table->schema->table_id, table->watermark.horizon_ns, table->watermark.newest_ns);
}

void manifest_dump(const struct manifest *manifest, FILE *out)
{
    struct manifest *unlocked = (struct manifest *)(uintptr_t)manifest;
    manifest_lock(unlocked);
    const struct manifest_state *state = &manifest->state;
    fprintf(out, "manifest area %u generation %" PRIu64 " sequence %" PRIu64 " used %" PRIu64 " of %" PRIu64 " bytes\n", manifest->area, manifest->generation, state->sequence,
            manifest->next_offset_bytes, manifest->layout.manifest_area_bytes);
    fprintf(out, "flushed seq %" PRIu64 " head lsn %" PRIu64 " clean end lsn %" PRIu64 " seq %" PRIu64 "\n", state->flushed_seq, state->head_lsn, state->clean_end_lsn, state->clean_end_seq);
    fprintf(out, "next segment %" PRIu64 " table %" PRIu64 " column %" PRIu64 " run %" PRIu64 " section %" PRIu64 "\n", state->next_segment_id, state->next_table_id, state->next_column_id,
            state->next_run_id, state->next_section_id);
    dump_log(state, out);
    for (uint32_t i = 0; i < state->table_count; i++) {
        const struct schema *schema = state->tables[i].schema;
        fprintf(out, "table %" PRIu64 " %s schema %u columns %u next rowid %" PRId64 " ddl seq %" PRIu64 "\n", schema->table_id, schema->name, schema->version, schema->column_count,
                state->tables[i].next_rowid, state->tables[i].created_seq);
    }
    for (uint32_t i = 0; i < state->table_count; i++)
        dump_retention(&state->tables[i], out);
    for (uint32_t i = 0; i < state->pin_count; i++)
        fprintf(out, "pin %s table %" PRIu64 " time %" PRId64 "..%" PRId64 "\n", state->pins[i].name, state->pins[i].table_id, state->pins[i].from_ns, state->pins[i].to_ns);
    for (uint32_t i = 0; i < state->index_count; i++)
        dump_index(&state->indexes[i], out);
    for (uint32_t i = 0; i < state->named_count; i++)
        fprintf(out, "snapshot %" PRIu64 " %s seq %" PRIu64 " taken %" PRId64 "\n", state->named[i].id, state->named[i].name, state->named[i].seq, state->named[i].taken_ns);
    for (uint32_t i = 0; i < state->blob_count; i++)
        fprintf(out, "blob file %" PRIu64 " table %" PRIu64 " extents %u+%u segments %u\n", state->blobs[i].file->id, state->blobs[i].file->table_id, state->blobs[i].file->run.first, state->blobs[i].file->run.count,
                state->blobs[i].segment_count);
    for (uint32_t i = 0; i < state->base_count; i++)
        fprintf(out, "base %s flushed seq %" PRIu64 " segments below %" PRIu64 " taken %" PRId64 "\n", state->bases[i].name, state->bases[i].point.flushed_seq, state->bases[i].point.segment_mark, state->bases[i].taken_ns);
    if (state->receive.state)
        fprintf(out, "receive state %u items done %u journal extents %u+%u\n", state->receive.state, state->receive.done_count, state->receive.journal.first, state->receive.journal.count);
    for (uint32_t i = 0; i < manifest->current->count; i++)
        for (uint32_t k = 0; k < manifest->current->lists[i]->count; k++)
            dump_segment(manifest->current->lists[i]->segments[k], out);
    manifest_unlock(unlocked);
}
