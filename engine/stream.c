/* stream.c: records of a backup stream, written and read (stream.h). */
#include "engine/stream.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"

#define TOKEN_BYTES 62u /* version u8, reserved u8, point 40, uuid 16, checksum u32 */
_Static_assert(TOKEN_BYTES * 2 < MOTE_TOKEN_BYTES, "a token is text of two digits a byte");

/* ---- The beginning ---- */

/*   0 version u32, reserved u32; 8 point (id, flushed_seq, segment_mark, section_mark); 48 from id; 64 source uuid; 80 data uuid; 96 next_seq; 104 five counters; 144 extent_bytes; 152 log_bytes_max; 160 segments_max u32;
 *   164 table_count u32; 168 segment_count u32; 172 section_count u32; 176 segments_carried u32; 180 catalog_records u32; 184 catalog_bytes u32; 188 blob_count u32; 192 item_count; 200 item_bytes; 208 taken_ns; 216 use_count u32; 220 zeros */
void stream_begin_encode(const struct stream_begin *begin, uint8_t bytes[STREAM_BEGIN_BYTES])
{
    memset(bytes, 0, STREAM_BEGIN_BYTES);
    struct byte_writer writer = byte_writer_make(bytes, STREAM_BEGIN_BYTES);
    write_u32(&writer, STREAM_VERSION);
    write_u32(&writer, 0);
    write_bytes(&writer, begin->point.id, 16);
    write_u64(&writer, begin->point.flushed_seq);
    write_u64(&writer, begin->point.segment_mark);
    write_u64(&writer, begin->point.section_mark);
    write_bytes(&writer, begin->from_id, 16);
    write_bytes(&writer, begin->source_uuid, 16);
    write_bytes(&writer, begin->data_uuid, 16);
    write_u64(&writer, begin->next_seq);
    for (unsigned i = 0; i < MANIFEST_COUNTERS; i++)
        write_u64(&writer, begin->counters[i]);
    write_u64(&writer, begin->extent_bytes);
    write_u64(&writer, begin->log_bytes_max);
    write_u32(&writer, begin->segments_max);
    write_u32(&writer, begin->table_count);
    write_u32(&writer, begin->segment_count);
    write_u32(&writer, begin->section_count);
    write_u32(&writer, begin->segments_carried);
    write_u32(&writer, begin->catalog_records);
    write_u32(&writer, begin->catalog_bytes);
    write_u32(&writer, begin->blob_count);
    write_u64(&writer, begin->item_count);
    write_u64(&writer, begin->item_bytes);
    write_u64(&writer, (uint64_t)begin->taken_ns);
    write_u32(&writer, begin->use_count);
    assert(!writer.failed && byte_writer_size(&writer) == 220);
}

static void take_bytes(struct byte_reader *reader, uint8_t target[16])
{
    const uint8_t *bytes = read_bytes(reader, 16);
    if (bytes)
        memcpy(target, bytes, 16);
}

int stream_begin_decode(const uint8_t bytes[STREAM_BEGIN_BYTES], struct stream_begin *begin)
{
    struct byte_reader reader = byte_reader_make(bytes, STREAM_BEGIN_BYTES);
    *begin = (struct stream_begin){0};
    uint32_t version = read_u32(&reader);
    if (version != STREAM_VERSION)
        return error_set(MOTE_EVERSION, "the stream is of version %u, which this mote does not know; use a newer one", version);
    read_u32(&reader);
    take_bytes(&reader, begin->point.id);
    begin->point.flushed_seq = read_u64(&reader);
    begin->point.segment_mark = read_u64(&reader);
    begin->point.section_mark = read_u64(&reader);
    take_bytes(&reader, begin->from_id);
    take_bytes(&reader, begin->source_uuid);
    take_bytes(&reader, begin->data_uuid);
    begin->next_seq = read_u64(&reader);
    for (unsigned i = 0; i < MANIFEST_COUNTERS; i++)
        begin->counters[i] = read_u64(&reader);
    begin->extent_bytes = read_u64(&reader);
    begin->log_bytes_max = read_u64(&reader);
    begin->segments_max = read_u32(&reader);
    begin->table_count = read_u32(&reader);
    begin->segment_count = read_u32(&reader);
    begin->section_count = read_u32(&reader);
    begin->segments_carried = read_u32(&reader);
    begin->catalog_records = read_u32(&reader);
    begin->catalog_bytes = read_u32(&reader);
    begin->blob_count = read_u32(&reader);
    begin->item_count = read_u64(&reader);
    begin->item_bytes = read_u64(&reader);
    begin->taken_ns = (int64_t)read_u64(&reader);
    begin->use_count = read_u32(&reader);
    assert(!reader.failed);
    return MOTE_OK;
}

/* ---- Writing ---- */

static int put_bytes(struct stream_writer *writer, const void *data, size_t size_bytes)
{
    writer->crc = crc32c(writer->crc, data, size_bytes);
    writer->bytes += size_bytes;
    return size_bytes > 0 ? writer->write(data, size_bytes, writer->context) : MOTE_OK;
}

static uint32_t record_seed(const uint8_t id[16], uint64_t number)
{
    static const uint8_t none[16];
    return crc32c_seed(number == 0 ? none : id, STREAM_MAGIC, number, 0);
}

int stream_put(struct stream_writer *writer, enum stream_kind kind, const void *head, uint32_t head_bytes, const void *body, uint32_t body_bytes)
{
    uint8_t header[STREAM_HEADER_BYTES] = {0};
    assert(head_bytes + body_bytes <= STREAM_PAYLOAD_BYTES_MAX);
    store_u32(header, STREAM_MAGIC);
    store_u16(header + 8, (uint16_t)kind);
    store_u32(header + 12, head_bytes + body_bytes);
    store_u64(header + 16, writer->record_count);
    uint32_t crc = crc32c(record_seed(writer->id, writer->record_count), header + 8, sizeof header - 8);
    crc = crc32c(crc, head, head_bytes);
    crc = crc32c(crc, body, body_bytes);
    store_u32(header + 4, crc);
    writer->record_count++;
    int result = put_bytes(writer, header, sizeof header);
    if (!result)
        result = put_bytes(writer, head, head_bytes);
    return result ? result : put_bytes(writer, body, body_bytes);
}

int stream_put_end(struct stream_writer *writer, uint64_t item_count)
{
    uint8_t end[STREAM_END_BYTES] = {0};
    store_u64(end, writer->record_count);
    store_u64(end + 8, writer->bytes);
    store_u64(end + 16, item_count);
    store_u32(end + 24, writer->crc);
    return stream_put(writer, STREAM_END, end, sizeof end, NULL, 0);
}

/* ---- Reading ---- */

int stream_damaged(const struct stream_reader *reader, const char *what)
{
    return error_set(MOTE_EDAMAGED, "the stream %s, at its record %llu (byte %llu): send it again", what, (unsigned long long)reader->record_count, (unsigned long long)reader->bytes);
}

static int take(struct stream_reader *reader, void *data, size_t size_bytes)
{
    for (size_t at = 0; at < size_bytes;) {
        size_t got = 0;
        int result = reader->read((uint8_t *)data + at, size_bytes - at, &got, reader->context);
        if (result)
            return result;
        if (got == 0 || got > size_bytes - at)
            return stream_damaged(reader, "ends before its end");
        at += got;
    }
    reader->crc = crc32c(reader->crc, data, size_bytes);
    reader->bytes += size_bytes;
    return MOTE_OK;
}

static int take_record(struct stream_reader *reader, bool *pass)
{
    uint8_t header[STREAM_HEADER_BYTES];
    uint32_t crc_before = reader->crc;
    uint64_t bytes_before = reader->bytes;
    int result = take(reader, header, sizeof header);
    if (result)
        return result;
    uint32_t flags = load_u16(header + 10);
    reader->kind = load_u16(header + 8);
    reader->payload_bytes = load_u32(header + 12);
    if (load_u32(header) != STREAM_MAGIC)
        return reader->record_count == 0 ? error_set(MOTE_EDAMAGED, "the input is no stream of mote") : stream_damaged(reader, "holds something that is no record");
    if (reader->payload_bytes > STREAM_PAYLOAD_BYTES_MAX || load_u64(header + 16) != reader->record_count || load_u64(header + 24) != 0)
        return stream_damaged(reader, "holds a record that fails its check");
    result = take(reader, reader->payload, reader->payload_bytes);
    if (result)
        return result;
    uint32_t crc = crc32c(record_seed(reader->id, reader->record_count), header + 8, sizeof header - 8);
    if (crc32c(crc, reader->payload, reader->payload_bytes) != load_u32(header + 4))
        return stream_damaged(reader, "holds a record that fails its check");
    *pass = reader->kind < STREAM_BEGIN || reader->kind > STREAM_USES;
    if (*pass && !(flags & STREAM_SKIPPABLE))
        return error_set(MOTE_EVERSION, "the stream holds records of kind %u, which this mote does not know; use a newer one", reader->kind);
    if (reader->kind == STREAM_END) { /* what it tells is of the bytes before it */
        reader->crc = crc_before;
        reader->bytes = bytes_before;
        return MOTE_OK;
    }
    reader->record_count++;
    return MOTE_OK;
}

int stream_take(struct stream_reader *reader)
{
    bool pass;
    int result;
    do
        result = take_record(reader, &pass);
    while (!result && pass);
    return result;
}

int stream_check_end(struct stream_reader *reader, uint64_t item_count)
{
    uint8_t more;
    size_t got = 0;
    assert(reader->kind == STREAM_END);
    if (reader->payload_bytes != STREAM_END_BYTES || load_u64(reader->payload) != reader->record_count || load_u64(reader->payload + 8) != reader->bytes || load_u64(reader->payload + 16) != item_count ||
        load_u32(reader->payload + 24) != reader->crc || load_u32(reader->payload + 28) != 0)
        return stream_damaged(reader, "is not what its end says");
    reader->bytes += STREAM_HEADER_BYTES + STREAM_END_BYTES;
    int result = reader->read(&more, 1, &got, reader->context);
    return result ? result : got > 0 ? stream_damaged(reader, "goes on behind its end") : MOTE_OK;
}

/* ---- Tokens ---- */

void stream_token_encode(const struct manifest_point *point, const uint8_t source_uuid[16], char token[MOTE_TOKEN_BYTES])
{
    uint8_t bytes[TOKEN_BYTES] = {1};
    memcpy(bytes + 2, point->id, 16);
    store_u64(bytes + 18, point->flushed_seq);
    store_u64(bytes + 26, point->segment_mark);
    store_u64(bytes + 34, point->section_mark);
    memcpy(bytes + 42, source_uuid, 16);
    store_u32(bytes + 58, crc32c(0, bytes, 58));
    for (unsigned i = 0; i < TOKEN_BYTES; i++)
        snprintf(token + (size_t)2 * i, 3, "%02x", bytes[i]);
}

static int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

bool stream_token_decode(const char *token, struct manifest_point *point, uint8_t source_uuid[16])
{
    uint8_t bytes[TOKEN_BYTES];
    if (strlen(token) != (size_t)2 * TOKEN_BYTES)
        return false;
    for (unsigned i = 0; i < TOKEN_BYTES; i++) {
        int high = digit(token[2 * i]), low = digit(token[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high * 16 + low);
    }
    if (bytes[0] != 1 || bytes[1] != 0 || load_u32(bytes + 58) != crc32c(0, bytes, 58))
        return false;
    memcpy(point->id, bytes + 2, 16);
    point->flushed_seq = load_u64(bytes + 18);
    point->segment_mark = load_u64(bytes + 26);
    point->section_mark = load_u64(bytes + 34);
    memcpy(source_uuid, bytes + 42, 16);
    return true;
}
