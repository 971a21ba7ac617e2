/* send_list.c: what a stream lists before its items: the catalog, and each segment, section and blob file of the state with whether it is carried (stream.h). For send.c. */
#include <string.h>

#include "engine/lsm/manifest_format.h"
#include "engine/send_private.h"

static int put_catalog(struct send *send)
{
    uint32_t total = send->begin.catalog_bytes;
    int result = MOTE_OK;
    for (uint32_t at = 0, length; at < total && !result; at += length) {
        length = total - at < STREAM_CHUNK_BYTES ? total - at : STREAM_CHUNK_BYTES;
        result = stream_put(&send->writer, STREAM_CATALOG, send->image.bytes + at, length, NULL, 0);
    }
    return result;
}

/* Puts what was written as a record, where another entry of this size would not fit or none comes. */
static int put_if_full(struct send *send, struct byte_writer *writer, enum stream_kind kind, bool last, uint32_t entry_bytes)
{
    if (!last && byte_writer_size(writer) + entry_bytes <= STREAM_CHUNK_BYTES)
        return MOTE_OK;
    uint32_t length = (uint32_t)byte_writer_size(writer);
    writer->at = writer->start;
    return stream_put(&send->writer, kind, send->buffer, length, NULL, 0);
}

static int put_segments(struct send *send)
{
    struct byte_writer writer = byte_writer_make(send->buffer, STREAM_CHUNK_BYTES);
    int result = MOTE_OK;
    for (uint32_t i = 0; i < send->begin.segment_count && !result; i++) {
        const struct sending *sending = &send->segments[i];
        write_u32(&writer, sending->carried ? STREAM_CARRIED : 0);
        write_u32(&writer, sending->timestamp_carried ? STREAM_CARRIED : 0);
        manifest_segment_encode(&sending->segment->record, &writer);
        result = put_if_full(send, &writer, STREAM_SEGMENTS, i + 1 == send->begin.segment_count, STREAM_SEGMENT_BYTES);
    }
    return result;
}

static int put_sections(struct send *send)
{
    struct byte_writer writer = byte_writer_make(send->buffer, STREAM_CHUNK_BYTES);
    int result = MOTE_OK;
    uint32_t left = send->begin.section_count; /* the last one ends the last record */
    for (uint32_t i = 0; i < send->begin.segment_count && !result; i++) {
        const struct sending *sending = &send->segments[i];
        for (uint32_t k = 0; k < sending->segment->index_count && !result; k++) {
            const struct segment_index *index = &sending->segment->indexes[k];
            if (!(sending->sections >> k & 1))
                continue;
            write_u32(&writer, sending->sections_carried >> k & 1 ? STREAM_CARRIED : 0);
            write_u32(&writer, 0);
            write_u64(&writer, sending->segment->record.id);
            write_u64(&writer, index->index_id);
            manifest_section_encode(&index->section, &writer);
            result = put_if_full(send, &writer, STREAM_SECTIONS, --left == 0, STREAM_SECTION_BYTES);
        }
    }
    return result;
}

static int put_files(struct send *send)
{
    struct byte_writer writer = byte_writer_make(send->buffer, STREAM_CHUNK_BYTES);
    int result = MOTE_OK;
    for (uint32_t i = 0; i < send->begin.blob_count && !result; i++) {
        const struct blob_copy *copy = &send->files[i];
        uint8_t entry[STREAM_BLOB_BYTES] = {0};
        store_u32(entry, send_is_file_carried(send, copy) ? STREAM_CARRIED : 0);
        store_u64(entry + 8, copy->file->id);
        store_u64(entry + 16, copy->file->table_id);
        store_u64(entry + 24, copy->bytes);
        write_bytes(&writer, entry, sizeof entry);
        result = put_if_full(send, &writer, STREAM_BLOBS, i + 1 == send->begin.blob_count, STREAM_BLOB_BYTES);
    }
    return result;
}

static int put_uses(struct send *send)
{
    struct byte_writer writer = byte_writer_make(send->buffer, STREAM_CHUNK_BYTES);
    int result = MOTE_OK;
    uint32_t left = send->begin.use_count;
    for (uint32_t i = 0; i < send->begin.segment_count && !result; i++) {
        const struct segment *segment = send->segments[i].segment;
        for (uint32_t k = 0; k < segment->blob_count && !result; k++) {
            write_u64(&writer, segment->record.id);
            write_u64(&writer, segment->blobs[k].file->id);
            write_u64(&writer, segment->blobs[k].bytes);
            result = put_if_full(send, &writer, STREAM_USES, --left == 0, STREAM_USE_BYTES);
        }
    }
    return result;
}

int send_lists(struct send *send)
{
    int result = put_catalog(send);
    if (!result)
        result = put_segments(send);
    if (!result)
        result = put_sections(send);
    if (!result)
        result = put_files(send);
    return result ? result : put_uses(send);
}
