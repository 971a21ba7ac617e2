/* manifest_edit.c: composing an edit: records encoded one after the other into a buffer that grows within the budget. Nothing is checked here but sizes: the records are read back and
 * applied by manifest_commit as recovery would. Threads: an edit belongs to one thread. Failures: kept in the edit, returned by manifest_commit. */
#include "engine/lsm/manifest_private.h"

#include <assert.h>

int manifest_edit_begin(struct manifest *manifest, struct manifest_edit **edit)
{
    assert(manifest && edit);
    *edit = memory_alloc_zero(manifest->memory, sizeof **edit);
    if (!*edit)
        return MOTE_EBUDGET;
    (*edit)->manifest = manifest;
    return MOTE_OK;
}

void manifest_edit_abandon(struct manifest_edit *edit)
{
    if (!edit)
        return;
    memory_free(edit->manifest->memory, edit->bytes);
    memory_free(edit->manifest->memory, edit);
}

static void keep_error(struct manifest_edit *edit, int code)
{
    edit->error = code;
    error_get(&edit->error_context);
}

/* A writer over exactly the body of one more record whose header is written already; a failed one if there is no room. */
struct byte_writer manifest_edit_record(struct manifest_edit *edit, enum manifest_record_kind kind, size_t length_bytes)
{
    struct byte_writer none = {NULL, NULL, NULL, true};
    if (edit->error)
        return none;
    size_t needed_bytes = edit->size_bytes + MANIFEST_RECORD_HEADER_BYTES + length_bytes;
    if (needed_bytes + MANIFEST_HEADER_BYTES > edit->manifest->frame_bytes_max) {
        keep_error(edit, error_set(MOTE_ETOOBIG, "a manifest edit of more than %llu bytes does not fit half an area; do it in several edits",
                                   (unsigned long long)edit->manifest->frame_bytes_max));
        return none;
    }
    if (needed_bytes > edit->capacity_bytes) {
        size_t capacity_bytes = edit->capacity_bytes ? 2 * edit->capacity_bytes : 1024;
        if (capacity_bytes < needed_bytes)
            capacity_bytes = needed_bytes;
        uint8_t *bytes = memory_realloc(edit->manifest->memory, edit->bytes, capacity_bytes);
        if (!bytes) {
            keep_error(edit, MOTE_EBUDGET);
            return none;
        }
        edit->bytes = bytes;
        edit->capacity_bytes = capacity_bytes;
    }
    assert(edit->bytes);
    struct byte_writer writer = byte_writer_make(edit->bytes + edit->size_bytes, MANIFEST_RECORD_HEADER_BYTES + length_bytes);
    manifest_record_begin(&writer, kind, length_bytes);
    edit->size_bytes = needed_bytes;
    edit->record_count++;
    return writer;
}

static void end_record(const struct byte_writer *writer)
{
    assert(!writer->start || (!writer->failed && writer->at == writer->end));
    (void)writer;
}

/* A record of up to four 64-bit words. */
static void add_words(struct manifest_edit *edit, enum manifest_record_kind kind, const uint64_t *words, unsigned count)
{
    struct byte_writer writer = manifest_edit_record(edit, kind, 8u * count);
    for (unsigned i = 0; i < count; i++)
        write_u64(&writer, words[i]);
    end_record(&writer);
}

void manifest_edit_add_segment(struct manifest_edit *edit, const struct segment_record *record)
{
    assert(record->extent_run_count <= SEGMENT_RUNS_MAX);
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_SEGMENT, MANIFEST_SEGMENT_RECORD_BYTES);
    manifest_segment_encode(record, &writer);
    end_record(&writer);
}

void manifest_edit_remove_segment(struct manifest_edit *edit, uint64_t segment_id) { add_words(edit, MANIFEST_RECORD_REMOVE, &segment_id, 1); }

void manifest_edit_set_timestamp(struct manifest_edit *edit, uint64_t segment_id, const struct segment_section *section)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_TIMESTAMP, 8u + MANIFEST_SECTION_BYTES);
    write_u64(&writer, segment_id);
    manifest_section_encode(section, &writer);
    end_record(&writer);
}

void manifest_edit_put_table(struct manifest_edit *edit, const struct schema *schema, int64_t next_rowid, uint64_t ddl_seq)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_TABLE, 16u + schema_encoded_bytes(schema));
    write_u64(&writer, (uint64_t)next_rowid);
    write_u64(&writer, ddl_seq);
    if (writer.start)
        schema_encode(schema, &writer);
    end_record(&writer);
}

void manifest_edit_drop_table(struct manifest_edit *edit, uint64_t table_id) { add_words(edit, MANIFEST_RECORD_DROP_TABLE, &table_id, 1); }

void manifest_edit_set_rowid(struct manifest_edit *edit, uint64_t table_id, int64_t next_rowid)
{
    add_words(edit, MANIFEST_RECORD_ROWID, (uint64_t[]){table_id, (uint64_t)next_rowid}, 2);
}

void manifest_edit_set_flushed_seq(struct manifest_edit *edit, uint64_t seq) { add_words(edit, MANIFEST_RECORD_FLUSHED_SEQ, &seq, 1); }

void manifest_edit_add_log_range(struct manifest_edit *edit, const struct manifest_log_range *range)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_LOG_RANGES, 16);
    write_u64(&writer, range->lsn);
    write_u32(&writer, range->run.first);
    write_u32(&writer, range->run.count);
    end_record(&writer);
}

void manifest_edit_set_head(struct manifest_edit *edit, uint64_t head_lsn) { add_words(edit, MANIFEST_RECORD_HEAD, &head_lsn, 1); }

void manifest_edit_begin_incarnation(struct manifest_edit *edit, uint64_t id, uint64_t first_lsn, uint64_t previous_end_lsn)
{
    add_words(edit, MANIFEST_RECORD_INCARNATION, (uint64_t[]){id, first_lsn, previous_end_lsn}, 3);
}

void manifest_edit_add_lost_range(struct manifest_edit *edit, const struct manifest_lost_range *range)
{
    add_words(edit, MANIFEST_RECORD_LOST_RANGES, (uint64_t[]){range->lsn_from, range->lsn_to, range->seq_from, range->seq_to}, 4);
}

void manifest_edit_add_bad_extent(struct manifest_edit *edit, uint32_t extent)
{
    struct byte_writer writer = manifest_edit_record(edit, MANIFEST_RECORD_BAD_EXTENTS, 4);
    write_u32(&writer, extent);
    end_record(&writer);
}

void manifest_edit_set_clean_end(struct manifest_edit *edit, uint64_t end_lsn, uint64_t end_seq)
{
    add_words(edit, MANIFEST_RECORD_CLEAN_END, (uint64_t[]){end_lsn, end_seq}, 2);
}
