/* log_columns.c: see log_columns.h; the form is described in log_format.h. */
#include "engine/log_columns.h"

#include <assert.h>

#include "blockdev/base/codec.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"

#define COLUMN_HEADER_BYTES 8u
#define HEAD_BYTES 8u /* the first rowid */

static struct codec_vector vector_of(const struct mote_column *column, size_t row_count)
{
    return (struct codec_vector){.type = column->type, .dimension = column->dimension, .count = (uint32_t)row_count, .values = column->values, .validity = column->validity};
}

static uint64_t raw_bytes(const struct schema *schema, uint64_t row_count) { return row_count * round_up(schema->fixed_bytes, 8); }

static bool is_suitable(const struct row_batch *prepared)
{
    const struct schema *schema = prepared->schema;
    size_t row_count = prepared->batch->row_count;
    return row_count >= LOG_COLUMNS_ROWS_MIN && row_count >= LOG_COLUMNS_ROWS_PER_COLUMN * schema->column_count && row_count <= CODEC_COUNT_MAX && !schema->has_var && schema->fixed_bytes <= LOG_COLUMNS_ROW_BYTES_MAX && raw_bytes(schema, row_count) <= LOG_COLUMNS_RAW_BYTES_MAX;
}

bool log_columns_encode(struct memory *memory, const struct row_batch *prepared, int64_t first_rowid, struct codec_hint *hints, struct log_columns *out)
{
    const struct schema *schema = prepared->schema;
    size_t row_count = prepared->batch->row_count, column_bytes_max = 0;
    uint64_t capacity = HEAD_BYTES;
    *out = (struct log_columns){0};
    if (!is_suitable(prepared))
        return false;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        if (!prepared->by_position[i])
            continue;
        struct codec_vector vector = vector_of(prepared->by_position[i], row_count);
        capacity += COLUMN_HEADER_BYTES + round_up(codec_encode_bound(&vector), 8);
        column_bytes_max = codec_vector_bytes(&vector) > column_bytes_max ? codec_vector_bytes(&vector) : column_bytes_max;
    }
    size_t scratch_bytes = codec_scratch_bytes((uint32_t)row_count, (uint32_t)column_bytes_max);
    uint8_t *room = memory_alloc(memory, round_up(scratch_bytes, 16) + capacity);
    if (!room)
        return false;
    uint8_t *data = room + round_up(scratch_bytes, 16), *at = data, *end = data + capacity;
    store_u64(at, (uint64_t)first_rowid);
    at += HEAD_BYTES;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        if (!prepared->by_position[i])
            continue;
        struct codec_vector vector = vector_of(prepared->by_position[i], row_count);
        int64_t encoded = codec_encode_hinted(&vector, CODEC_TEXT_NONE, hints ? &hints[i] : NULL, at + COLUMN_HEADER_BYTES, (size_t)(end - at) - COLUMN_HEADER_BYTES, room, scratch_bytes);
        if (encoded < 0) {
            memory_free(memory, room);
            return false;
        }
        store_u32(at, i);
        store_u32(at + 4, (uint32_t)encoded);
        at += COLUMN_HEADER_BYTES;
        memset(at + encoded, 0, round_up((uint64_t)encoded, 8) - (uint64_t)encoded);
        at += round_up((uint64_t)encoded, 8);
    }
    assert(at <= end);
    *out = (struct log_columns){room, data, (uint32_t)(at - data)};
    return true;
}

void log_columns_free(struct memory *memory, struct log_columns *columns)
{
    memory_free(memory, columns->room);
    *columns = (struct log_columns){0};
}

/* ---- Decoding ---- */

/* Values, and validity bitmap, of one column: bounded by the operation's raw bytes and one bit more a value. */
static uint64_t column_room_bytes(const struct schema_column *column, uint32_t row_count) { return round_up((uint64_t)column->value_bytes * row_count, 16) + round_up(divide_up(row_count, 8), 16); }

static int reserve(struct memory *memory, struct log_batch *batch, uint64_t size_bytes)
{
    if (batch->room_bytes >= size_bytes)
        return MOTE_OK;
    memory_free(memory, batch->room);
    batch->room_bytes = 0;
    batch->room = memory_alloc_aligned(memory, size_bytes, 16);
    if (!batch->room)
        return MOTE_EBUDGET;
    batch->room_bytes = size_bytes;
    return MOTE_OK;
}

static int decode_column(const struct schema *schema, uint32_t row_count, struct byte_reader *reader, struct log_batch *batch, uint8_t **free_room, size_t scratch_bytes)
{
    uint32_t position = read_u32(reader), encoded_bytes = read_u32(reader), number = (uint32_t)batch->batch.column_count;
    const uint8_t *encoded = read_bytes(reader, round_up(encoded_bytes, 8));
    if (!encoded || position >= schema->column_count || number == schema->column_count)
        return MOTE_EDAMAGED;
    const struct schema_column *column = &schema->columns[position];
    struct mote_column *made = &batch->columns[number];
    uint8_t *values = *free_room, *validity = values + round_up((uint64_t)column->value_bytes * row_count, 16);
    bool has_nulls = false;
    *free_room += column_room_bytes(column, row_count);
    if (*free_room > batch->room + batch->room_bytes)
        return MOTE_EDAMAGED; /* a column twice */
    int result = codec_decode(encoded, encoded_bytes, column->type, column->dimension, row_count, values, (size_t)column->value_bytes * row_count, NULL, validity, &has_nulls, NULL, batch->room, scratch_bytes);
    *made = (struct mote_column){.type = column->type, .dimension = column->dimension, .values = values, .validity = has_nulls ? validity : NULL};
    batch->column_index[number] = position;
    batch->batch.column_count++;
    return result;
}

int log_columns_decode(struct memory *memory, const struct schema *schema, const struct log_op *op, const uint8_t *data, struct log_batch *batch, const char **what)
{
    *what = "a batch of columns that none of its table makes";
    if (schema->has_var || schema->fixed_bytes > LOG_COLUMNS_ROW_BYTES_MAX || op->row_count > CODEC_COUNT_MAX || raw_bytes(schema, op->row_count) > LOG_COLUMNS_RAW_BYTES_MAX)
        return MOTE_EDAMAGED;
    uint64_t size_bytes = 0, widest = 0;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        size_bytes += column_room_bytes(&schema->columns[i], op->row_count);
        widest = schema->columns[i].value_bytes > widest ? schema->columns[i].value_bytes : widest;
    }
    size_t scratch_bytes = round_up(codec_scratch_bytes(op->row_count, (uint32_t)widest * op->row_count), 16);
    int result = reserve(memory, batch, scratch_bytes + size_bytes);
    struct byte_reader reader = byte_reader_make(data, op->op_bytes - LOG_OP_HEADER_BYTES);
    uint8_t *free_room = batch->room + scratch_bytes;
    batch->batch = (struct mote_batch){.row_count = op->row_count, .columns = batch->columns, .column_index = batch->column_index};
    batch->first_rowid = (int64_t)read_u64(&reader);
    while (!result && byte_reader_left(&reader) > 0)
        result = decode_column(schema, op->row_count, &reader, batch, &free_room, scratch_bytes);
    if (!result && row_batch_check(schema, &batch->batch, &batch->prepared))
        result = MOTE_EDAMAGED;
    return result;
}

void log_batch_free(struct memory *memory, struct log_batch *batch)
{
    if (!batch)
        return;
    memory_free(memory, batch->room);
    memory_free(memory, batch);
}
