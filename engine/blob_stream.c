/* blob_stream.c: large values piece by piece: mote_blob_writer and mote_blob_reader (mote.h, "Large values").
 *
 * A writer has buffers and requests of its own, so that many can be open at once; a reader borrows those that all calls share, for each read, and keeps the chunk that it read last where a caller asks for less than a chunk.
 */
#include <string.h>

#include "engine/blob.h"
#include "engine/get_private.h"

struct mote_blob_writer {
    struct mote_db *db;
    mote_table *table;
    struct blob_io *io;
    struct blob_sink sink;
    bool finished;
    uint8_t *stored;
    uint64_t stored_bytes;
};

struct mote_blob_reader {
    struct mote_db *db;
    mote_row *row; /* holds image and blob files */
    const uint8_t *stored;
    uint64_t length_bytes;
    bool outside;
    struct blob_reference reference;
    uint8_t *chunk; /* reference.chunk_bytes; NULL: none was needed */
    uint64_t chunk_at_bytes, chunk_bytes;
};

/* ---- Writing ---- */

int mote_blob_writer_open(mote_table *table, uint64_t length_bytes, mote_blob_writer **out)
{
    int result = table_check(table);
    if (!result)
        result = db_check_writable(table->db);
    if (!result && !out)
        result = error_set(MOTE_EINVAL, "the result pointer is NULL");
    if (!result && !table_has_large(table))
        result = error_set(MOTE_EINVAL, "table %s has no large column", atomic_load(&table->schema)->name);
    if (result)
        return result;
    struct mote_db *db = table->db;
    mote_blob_writer *writer = memory_alloc_zero(db->memory, sizeof *writer);
    *out = NULL;
    if (!writer)
        return MOTE_EBUDGET;
    writer->db = db;
    writer->table = table;
    result = blob_io_create(db, &writer->io);
    if (!result)
        result = blob_sink_begin(&writer->sink, table, writer->io, length_bytes);
    if (result) {
        mote_blob_writer_close(writer);
        return result;
    }
    *out = writer;
    return MOTE_OK;
}

static int check_writer(const mote_blob_writer *writer)
{
    int result = writer ? handle_check(writer->db) : error_set(MOTE_EINVAL, "the writer is NULL");
    if (!result)
        result = table_check(writer->table);
    if (!result)
        result = db_check_writable(writer->db);
    if (!result && writer->finished)
        result = error_set(MOTE_EINVAL, "the value was finished already");
    return result;
}

int mote_blob_write(mote_blob_writer *writer, const void *bytes, size_t size_bytes)
{
    int result = check_writer(writer);
    if (!result && !bytes && size_bytes)
        result = error_set(MOTE_EINVAL, "bytes is NULL");
    return result ? result : blob_sink_write(&writer->sink, bytes, size_bytes);
}

int mote_blob_finish(mote_blob_writer *writer, struct mote_value *value)
{
    int result = check_writer(writer);
    if (!result && !value)
        result = error_set(MOTE_EINVAL, "value is NULL");
    if (result)
        return result;
    uint8_t *stored;
    result = blob_sink_finish(&writer->sink, &stored, &writer->stored_bytes);
    if (result)
        return result;
    writer->stored = stored;
    result = blob_io_sync(writer->io);
    if (result) {
        writer->sink.result = result;
        return result;
    }
    writer->finished = true;
    *value = (struct mote_value){.type = MOTE_VALUE_WRITER, .as.bytes = {writer, writer->sink.length_bytes}};
    return MOTE_OK;
}

void mote_blob_writer_close(mote_blob_writer *writer)
{
    if (!writer || handle_check(writer->db))
        return;
    struct memory *memory = writer->db->memory;
    blob_io_destroy(writer->io);
    blob_sink_end(&writer->sink);
    memory_free(memory, writer->stored);
    memory_free(memory, writer);
}

int blob_writer_store(const struct mote_table *table, const struct mote_value *value, struct blob_holds *holds, const uint8_t **stored, uint64_t *stored_bytes)
{
    const mote_blob_writer *writer = value->as.bytes.data;
    struct blob_reference reference;
    if (!writer || writer->db != table->db || !writer->finished)
        return error_set(MOTE_EINVAL, "a value of table %s is of a writer that is NULL, not finished or another database's", atomic_load(&table->schema)->name);
    *stored = writer->stored;
    *stored_bytes = writer->stored_bytes;
    return blob_reference_decode(writer->stored, writer->stored_bytes, &reference) ? blobs_hold_reference(table->db, &reference, holds) : MOTE_OK;
}

/* ---- Reading ---- */

static int find_value(mote_blob_reader *reader, uint32_t column)
{
    const mote_row *row = reader->row;
    struct mote_value value;
    if (column >= row->schema->column_count)
        return error_set(MOTE_ENOCOLUMN, "table %s has %u columns, no column %u", row->schema->name, row->schema->column_count, column);
    if (!(row->schema->columns[column].flags & MOTE_COLUMN_LARGE))
        return error_set(MOTE_EINVAL, "column %s of table %s is not large: mote_get gives its values", row->schema->columns[column].name, row->schema->name);
    row_value(row->schema, row->image_schema, row->image, column, &value);
    if (value.is_null)
        return error_set(MOTE_ENOTFOUND, "column %s of this row of table %s is NULL", row->schema->columns[column].name, row->schema->name);
    reader->stored = value.as.bytes.data;
    reader->outside = blob_reference_decode(reader->stored, value.as.bytes.size_bytes, &reader->reference);
    return blob_length(reader->stored, value.as.bytes.size_bytes, &reader->length_bytes);
}

int mote_blob_reader_open(mote_table *table, const mote_snapshot *snapshot, const struct mote_value *key_values, size_t key_count, uint32_t column, mote_blob_reader **out)
{
    mote_row *row = NULL;
    if (!out)
        return error_set(MOTE_EINVAL, "the result pointer is NULL");
    *out = NULL;
    int result = mote_get_at(table, snapshot, key_values, key_count, &row);
    if (result)
        return result;
    mote_blob_reader *reader = memory_alloc_zero(table->db->memory, sizeof *reader);
    if (!reader) {
        mote_row_free(row);
        return MOTE_EBUDGET;
    }
    reader->db = table->db;
    reader->row = row;
    result = find_value(reader, column);
    if (result) {
        mote_blob_reader_close(reader);
        return result;
    }
    *out = reader;
    return MOTE_OK;
}

uint64_t mote_blob_size(const mote_blob_reader *reader) { return reader && !handle_check(reader->db) ? reader->length_bytes : 0; }

/* The chunk of that byte, into the reader's buffer. */
static int load_chunk(mote_blob_reader *reader, struct blob_io *io, uint64_t offset_bytes)
{
    const struct blob_reference *reference = &reader->reference;
    uint64_t at = round_down(offset_bytes, reference->chunk_bytes), left = reference->length_bytes - at;
    if (reader->chunk_bytes && reader->chunk_at_bytes == at)
        return MOTE_OK;
    if (!reader->chunk && !(reader->chunk = memory_alloc(reader->db->memory, reference->chunk_bytes)))
        return MOTE_EBUDGET;
    reader->chunk_bytes = 0;
    uint64_t bytes = left < reference->chunk_bytes ? left : reference->chunk_bytes;
    int result = blob_read(io, reference, at, reader->chunk, bytes);
    if (result)
        return result;
    reader->chunk_at_bytes = at;
    reader->chunk_bytes = bytes;
    return MOTE_OK;
}

static int read_outside(mote_blob_reader *reader, uint64_t offset_bytes, uint8_t *buffer, uint64_t size_bytes)
{
    uint64_t chunk_bytes = reader->reference.chunk_bytes;
    struct blob_io *io = blob_io_take(reader->db);
    int result = io ? MOTE_OK : MOTE_EBUDGET;
    while (size_bytes > 0 && !result) {
        uint64_t inside = offset_bytes & (chunk_bytes - 1), whole = round_down(size_bytes, chunk_bytes), part;
        if (inside == 0 && offset_bytes + size_bytes == reader->length_bytes)
            whole = size_bytes; /* the last chunk may be shorter */
        if (inside == 0 && whole > 0) {
            result = blob_read(io, &reader->reference, offset_bytes, buffer, whole);
            part = whole;
        } else {
            result = load_chunk(reader, io, offset_bytes);
            part = size_bytes < chunk_bytes - inside ? size_bytes : chunk_bytes - inside;
            if (!result)
                memcpy(buffer, reader->chunk + inside, part);
        }
        offset_bytes += part;
        buffer += part;
        size_bytes -= part;
    }
    if (io)
        blob_io_give(io);
    return result;
}

int mote_blob_read(mote_blob_reader *reader, uint64_t offset_bytes, void *buffer, size_t size_bytes, size_t *read)
{
    int result = reader ? handle_check(reader->db) : error_set(MOTE_EINVAL, "the reader is NULL");
    if (!result && ((!buffer && size_bytes) || !read))
        result = error_set(MOTE_EINVAL, "the buffer or the result pointer is NULL");
    if (result)
        return result;
    uint64_t left = offset_bytes < reader->length_bytes ? reader->length_bytes - offset_bytes : 0, bytes = size_bytes < left ? size_bytes : left;
    *read = 0;
    if (reader->outside)
        result = read_outside(reader, offset_bytes, buffer, bytes);
    else if (bytes)
        memcpy(buffer, reader->stored + 1 + offset_bytes, bytes);
    *read = result ? 0 : bytes;
    return result;
}

void mote_blob_reader_close(mote_blob_reader *reader)
{
    if (!reader || handle_check(reader->db))
        return;
    struct memory *memory = reader->db->memory;
    mote_row_free(reader->row);
    memory_free(memory, reader->chunk);
    memory_free(memory, reader);
}
