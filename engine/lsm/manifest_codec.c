/* manifest_codec.c: the manifest's frames and records as bytes (manifest_format.h), both ways. Pure functions; nothing here decides whether a record makes sense. */
#include "engine/lsm/manifest_private.h"

#include <assert.h>

#include "blockdev/base/crc32c.h"

uint32_t manifest_frame_crc_begin(const uint8_t uuid[16], unsigned area, uint64_t offset_bytes)
{
    return crc32c_seed(uuid, MANIFEST_CRC_KIND, area, offset_bytes);
}

uint32_t manifest_frame_crc_add(uint32_t crc, const uint8_t *bytes, uint64_t at_bytes, size_t size_bytes)
{
    if (at_bytes)
        return crc32c(crc, bytes, size_bytes);
    assert(size_bytes >= MANIFEST_HEADER_BYTES);
    crc = crc32c(crc, bytes, MANIFEST_CRC_OFFSET);
    return crc32c(crc, bytes + MANIFEST_HEADER_BYTES, size_bytes - MANIFEST_HEADER_BYTES);
}

void manifest_frame_encode(struct manifest_frame *frame, const uint8_t uuid[16], unsigned area, uint64_t offset_bytes, uint8_t *bytes)
{
    assert(frame->frame_bytes % PAGE_BYTES == 0 && frame->payload_bytes + MANIFEST_HEADER_BYTES <= frame->frame_bytes);
    memset(bytes, 0, MANIFEST_HEADER_BYTES);
    uint64_t used_bytes = MANIFEST_HEADER_BYTES + frame->payload_bytes;
    memset(bytes + used_bytes, 0, frame->frame_bytes - used_bytes);
    store_u32(bytes, MANIFEST_MAGIC);
    store_u16(bytes + 4, MANIFEST_VERSION);
    store_u8(bytes + 6, (uint8_t)frame->kind);
    store_u64(bytes + 8, frame->generation);
    store_u64(bytes + 16, frame->sequence);
    store_u32(bytes + 24, frame->frame_bytes);
    store_u32(bytes + 28, frame->payload_bytes);
    store_u32(bytes + 32, frame->previous_crc);
    store_u32(bytes + 36, frame->record_count);
    for (unsigned i = 0; i < MANIFEST_COUNTER_COUNT; i++)
        store_u64(bytes + 40 + 8 * i, frame->counters[i]);
    frame->crc = manifest_frame_crc_add(manifest_frame_crc_begin(uuid, area, offset_bytes), bytes, 0, frame->frame_bytes);
    store_u32(bytes + MANIFEST_CRC_OFFSET, frame->crc);
}

bool manifest_frame_header(const uint8_t header[MANIFEST_HEADER_BYTES], uint64_t room_bytes, struct manifest_frame *frame)
{
    if (load_u32(header) != MANIFEST_MAGIC || load_u16(header + 4) != MANIFEST_VERSION || load_u8(header + 7) != 0)
        return false;
    frame->kind = load_u8(header + 6);
    frame->generation = load_u64(header + 8);
    frame->sequence = load_u64(header + 16);
    frame->frame_bytes = load_u32(header + 24);
    frame->payload_bytes = load_u32(header + 28);
    frame->previous_crc = load_u32(header + 32);
    frame->record_count = load_u32(header + 36);
    for (unsigned i = 0; i < MANIFEST_COUNTER_COUNT; i++)
        frame->counters[i] = load_u64(header + 40 + 8 * i);
    frame->crc = load_u32(header + MANIFEST_CRC_OFFSET);
    if (frame->kind != MANIFEST_FRAME_SNAPSHOT && frame->kind != MANIFEST_FRAME_EDIT)
        return false;
    for (unsigned i = 80; i < MANIFEST_CRC_OFFSET; i++)
        if (header[i])
            return false;
    return frame->frame_bytes >= PAGE_BYTES && frame->frame_bytes % PAGE_BYTES == 0 && frame->frame_bytes <= room_bytes &&
           frame->payload_bytes <= frame->frame_bytes - MANIFEST_HEADER_BYTES;
}

void manifest_record_begin(struct byte_writer *writer, enum manifest_record_kind kind, size_t length_bytes)
{
    assert(length_bytes <= UINT32_MAX);
    write_u16(writer, (uint16_t)kind);
    write_u16(writer, 0);
    write_u32(writer, (uint32_t)length_bytes);
}

static void encode_run(struct extent_run run, struct byte_writer *writer)
{
    write_u32(writer, run.first);
    write_u32(writer, run.count);
}

static struct extent_run decode_run(struct byte_reader *reader)
{
    struct extent_run run;
    run.first = read_u32(reader);
    run.count = read_u32(reader);
    return run;
}

void manifest_section_encode(const struct segment_section *section, struct byte_writer *writer)
{
    static const struct segment_section none;
    if (!section->run.count)
        section = &none;
    encode_run(section->run, writer);
    write_u64(writer, section->section_id);
    write_u64(writer, section->length_bytes);
    write_u64(writer, section->root_offset_bytes);
    write_u32(writer, section->root_bytes);
    write_u32(writer, section->root_crc);
}

void manifest_section_decode(struct byte_reader *reader, struct segment_section *section)
{
    section->run = decode_run(reader);
    section->section_id = read_u64(reader);
    section->length_bytes = read_u64(reader);
    section->root_offset_bytes = read_u64(reader);
    section->root_bytes = read_u32(reader);
    section->root_crc = read_u32(reader);
}

/* Zeros behind the text, or the bytes, so that each definition has one encoding. */
static void encode_padded(const void *bytes, uint32_t size_bytes, uint32_t room_bytes, struct byte_writer *writer)
{
    uint8_t room[ROW_INDEX_OPTIONS_BYTES_MAX] = {0};
    assert(size_bytes <= room_bytes && room_bytes <= sizeof room);
    memcpy(room, bytes, size_bytes);
    write_bytes(writer, room, room_bytes);
}

static bool decode_padded(struct byte_reader *reader, void *bytes, uint32_t size_bytes, uint32_t room_bytes)
{
    const uint8_t *from = read_bytes(reader, room_bytes);
    if (!from || size_bytes > room_bytes)
        return false;
    for (uint32_t i = size_bytes; i < room_bytes; i++)
        if (from[i])
            return false;
    memcpy(bytes, from, size_bytes);
    return true;
}

void manifest_index_encode(const struct manifest_index *index, struct byte_writer *writer)
{
    uint32_t name_bytes = (uint32_t)strnlen(index->name, sizeof index->name);
    write_u64(writer, index->id);
    write_u64(writer, index->table_id);
    write_u16(writer, (uint16_t)index->kind);
    write_u16(writer, (uint16_t)index->strategy);
    write_u16(writer, (uint16_t)index->column_count);
    write_u16(writer, (uint16_t)index->options_bytes);
    write_u16(writer, (uint16_t)name_bytes);
    for (uint32_t i = 0; i < ROW_INDEX_COLUMNS_MAX; i++)
        write_u64(writer, i < index->column_count ? index->column_ids[i] : 0);
    encode_padded(index->name, name_bytes, sizeof index->name, writer);
    encode_padded(index->options, index->options_bytes, sizeof index->options, writer);
}

bool manifest_index_decode(struct byte_reader *reader, struct manifest_index *index)
{
    *index = (struct manifest_index){.id = read_u64(reader)};
    index->table_id = read_u64(reader);
    index->kind = read_u16(reader);
    index->strategy = read_u16(reader);
    index->column_count = read_u16(reader);
    index->options_bytes = read_u16(reader);
    uint32_t name_bytes = read_u16(reader);
    for (uint32_t i = 0; i < ROW_INDEX_COLUMNS_MAX; i++) {
        index->column_ids[i] = read_u64(reader);
        if (i >= index->column_count && index->column_ids[i])
            return false;
    }
    if (name_bytes == 0 || name_bytes > MOTE_NAME_BYTES_MAX || index->column_count == 0 || index->column_count > ROW_INDEX_COLUMNS_MAX || index->options_bytes > ROW_INDEX_OPTIONS_BYTES_MAX)
        return false;
    return decode_padded(reader, index->name, name_bytes, sizeof index->name) && strlen(index->name) == name_bytes &&
           decode_padded(reader, index->options, index->options_bytes, sizeof index->options) && !reader->failed;
}

void manifest_named_encode(const struct manifest_named *named, struct byte_writer *writer)
{
    uint32_t name_bytes = (uint32_t)strnlen(named->name, sizeof named->name);
    write_u64(writer, named->id);
    write_u64(writer, named->seq);
    write_u64(writer, (uint64_t)named->taken_ns);
    write_u16(writer, (uint16_t)name_bytes);
    encode_padded(named->name, name_bytes, sizeof named->name, writer);
}

bool manifest_named_decode(struct byte_reader *reader, struct manifest_named *named)
{
    *named = (struct manifest_named){.id = read_u64(reader)};
    named->seq = read_u64(reader);
    named->taken_ns = (int64_t)read_u64(reader);
    uint32_t name_bytes = read_u16(reader);
    if (name_bytes == 0 || name_bytes > MOTE_NAME_BYTES_MAX)
        return false;
    return decode_padded(reader, named->name, name_bytes, sizeof named->name) && strlen(named->name) == name_bytes && !reader->failed;
}

static void encode_key(const struct segment_key *key, struct byte_writer *writer)
{
    uint8_t bytes[SEGMENT_KEY_BYTES] = {0};
    memcpy(bytes, key->bytes, key->length <= SEGMENT_KEY_BYTES ? key->length : SEGMENT_KEY_BYTES);
    write_bytes(writer, bytes, sizeof bytes);
    write_u8(writer, key->length);
    write_u8(writer, key->truncated);
}

static bool decode_key(struct byte_reader *reader, struct segment_key *key)
{
    const uint8_t *bytes = read_bytes(reader, SEGMENT_KEY_BYTES);
    key->length = read_u8(reader);
    key->truncated = read_u8(reader);
    if (!bytes || key->length > SEGMENT_KEY_BYTES || key->truncated > 1 || (key->truncated && key->length < SEGMENT_KEY_BYTES))
        return false;
    memcpy(key->bytes, bytes, SEGMENT_KEY_BYTES);
    for (unsigned i = key->length; i < SEGMENT_KEY_BYTES; i++)
        if (bytes[i])
            return false;
    return true;
}

void manifest_segment_encode(const struct segment_record *record, struct byte_writer *writer)
{
    write_u64(writer, record->id);
    write_u64(writer, record->table_id);
    write_u32(writer, record->schema_version);
    write_u32(writer, record->level);
    write_u64(writer, record->run_id);
    write_u64(writer, record->row_count);
    write_u64(writer, record->delete_count);
    write_u64(writer, record->seq_min);
    write_u64(writer, record->seq_max);
    write_u64(writer, (uint64_t)record->time_min);
    write_u64(writer, (uint64_t)record->time_max);
    write_u64(writer, record->segment_bytes);
    write_u64(writer, record->footer_offset_bytes);
    write_u32(writer, record->footer_bytes);
    write_u32(writer, record->footer_crc);
    write_u32(writer, record->block_count);
    write_u32(writer, record->extent_run_count);
    for (unsigned i = 0; i < SEGMENT_RUNS_MAX; i++)
        encode_run(i < record->extent_run_count ? record->runs[i] : (struct extent_run){0, 0}, writer);
    encode_key(&record->min_key, writer);
    encode_key(&record->max_key, writer);
    manifest_section_encode(&record->timestamp, writer);
}

bool manifest_segment_decode(struct byte_reader *reader, struct segment_record *record)
{
    record->id = read_u64(reader);
    record->table_id = read_u64(reader);
    record->schema_version = read_u32(reader);
    record->level = read_u32(reader);
    record->run_id = read_u64(reader);
    record->row_count = read_u64(reader);
    record->delete_count = read_u64(reader);
    record->seq_min = read_u64(reader);
    record->seq_max = read_u64(reader);
    record->time_min = (int64_t)read_u64(reader);
    record->time_max = (int64_t)read_u64(reader);
    record->segment_bytes = read_u64(reader);
    record->footer_offset_bytes = read_u64(reader);
    record->footer_bytes = read_u32(reader);
    record->footer_crc = read_u32(reader);
    record->block_count = read_u32(reader);
    record->extent_run_count = read_u32(reader);
    if (record->extent_run_count > SEGMENT_RUNS_MAX)
        return false;
    for (unsigned i = 0; i < SEGMENT_RUNS_MAX; i++) {
        record->runs[i] = decode_run(reader);
        if (i >= record->extent_run_count && (record->runs[i].first || record->runs[i].count))
            return false;
    }
    if (!decode_key(reader, &record->min_key) || !decode_key(reader, &record->max_key))
        return false;
    manifest_section_decode(reader, &record->timestamp);
    return !reader->failed;
}

uint64_t manifest_table_bytes(const struct schema *schema) { return MANIFEST_RECORD_HEADER_BYTES + 16u + schema_encoded_bytes(schema); }

void manifest_table_encode(const struct schema *schema, int64_t next_rowid, uint64_t created_seq, struct byte_writer *writer)
{
    manifest_record_begin(writer, MANIFEST_RECORD_TABLE, 16u + schema_encoded_bytes(schema));
    write_u64(writer, (uint64_t)next_rowid);
    write_u64(writer, created_seq);
    schema_encode(schema, writer);
}

/* The records of a snapshot that are neither tables nor segments; returns their number. */
static uint32_t encode_fixed(const struct manifest_state *state, struct byte_writer *writer)
{
    uint32_t count = 1;
    manifest_record_begin(writer, MANIFEST_RECORD_STATE, 32);
    write_u64(writer, state->flushed_seq);
    write_u64(writer, state->head_lsn);
    write_u64(writer, state->clean_end_lsn);
    write_u64(writer, state->clean_end_seq);
    if (state->log_range_count) {
        manifest_record_begin(writer, MANIFEST_RECORD_LOG_RANGES, 16u * state->log_range_count);
        count++;
    }
    for (uint32_t i = 0; i < state->log_range_count; i++) {
        write_u64(writer, state->log_ranges[i].lsn);
        encode_run(state->log_ranges[i].run, writer);
    }
    if (state->incarnation_count) {
        manifest_record_begin(writer, MANIFEST_RECORD_INCARNATIONS, 24u * state->incarnation_count);
        count++;
    }
    for (uint32_t i = 0; i < state->incarnation_count; i++) {
        write_u64(writer, state->incarnations[i].id);
        write_u64(writer, state->incarnations[i].first_lsn);
        write_u64(writer, state->incarnations[i].end_lsn);
    }
    if (state->lost_range_count) {
        manifest_record_begin(writer, MANIFEST_RECORD_LOST_RANGES, 32u * state->lost_range_count);
        count++;
    }
    for (uint32_t i = 0; i < state->lost_range_count; i++) {
        write_u64(writer, state->lost_ranges[i].lsn_from);
        write_u64(writer, state->lost_ranges[i].lsn_to);
        write_u64(writer, state->lost_ranges[i].seq_from);
        write_u64(writer, state->lost_ranges[i].seq_to);
    }
    if (state->bad_extent_count) {
        manifest_record_begin(writer, MANIFEST_RECORD_BAD_EXTENTS, 4u * state->bad_extent_count);
        count++;
    }
    for (uint32_t i = 0; i < state->bad_extent_count; i++)
        write_u32(writer, state->bad_extents[i]);
    return count;
}

bool manifest_snapshot_encode(const struct manifest_state *state, const struct version *version, struct byte_writer *writer, uint32_t *record_count)
{
    uint32_t count = encode_fixed(state, writer);
    for (uint32_t i = 0; i < state->table_count; i++, count++)
        manifest_table_encode(state->tables[i].schema, state->tables[i].next_rowid, state->tables[i].created_seq, writer);
    count += manifest_retention_encode(state, writer);
    for (uint32_t i = 0; i < state->index_count; i++, count++) {
        manifest_record_begin(writer, MANIFEST_RECORD_INDEX, MANIFEST_INDEX_RECORD_BYTES);
        manifest_index_encode(&state->indexes[i], writer);
    }
    for (uint32_t i = 0; i < state->named_count; i++, count++) {
        manifest_record_begin(writer, MANIFEST_RECORD_NAMED, MANIFEST_NAMED_RECORD_BYTES);
        manifest_named_encode(&state->named[i], writer);
    }
    count += manifest_blob_files_encode(state, writer);
    count += manifest_copies_encode(state, writer);
    for (uint32_t i = 0; version && i < version->count; i++) {
        const struct segment_list *list = version->lists[i];
        for (uint32_t k = 0; k < list->count; k++, count++) {
            manifest_record_begin(writer, MANIFEST_RECORD_SEGMENT, MANIFEST_SEGMENT_RECORD_BYTES);
            manifest_segment_encode(&list->segments[k]->record, writer);
            count += manifest_sections_encode(list->segments[k], writer) + manifest_blobs_encode(list->segments[k], writer);
        }
    }
    *record_count = count;
    return !writer->failed;
}
