/* chunk.c: see chunk.h. */
#include "engine/chunk.h"

#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "blockdev/base/units.h"
#include "engine/blob.h"

#define AREA_BYTES_MAX (1ull << 20) /* of fixed values that lie in one piece; larger ones would be hard to find room for in a small budget */
#define LINE_BYTES 64u

static uint64_t bitmap_bytes(const struct chunk_buffer *chunk) { return round_up(divide_up(chunk->rows_max, 8), LINE_BYTES); }

static uint64_t fixed_bytes(const struct chunk_buffer *chunk, const struct chunk_shape *shape)
{
    return type_is_var(shape->type) ? 0 : round_up((uint64_t)type_value_bytes(shape->type, shape->dimension) * chunk->rows_max, LINE_BYTES);
}

/* *at: the rest of the area. */
static int create_column(struct chunk_buffer *chunk, const struct chunk_shape *shape, bool in_area, uint8_t **at, struct chunk_column *column)
{
    *column = (struct chunk_column){.position = shape->position, .type = shape->type, .dimension = shape->dimension, .value_bytes = type_value_bytes(shape->type, shape->dimension), .large = shape->large};
    bool var = type_is_var(shape->type);
    column->capacity_bytes = var ? 4096 : (uint64_t)column->value_bytes * chunk->rows_max;
    column->owns_values = var || !in_area;
    column->validity = *at;
    *at += bitmap_bytes(chunk);
    column->values = column->owns_values ? memory_alloc(chunk->memory, column->capacity_bytes) : *at;
    *at += column->owns_values ? 0 : fixed_bytes(chunk, shape);
    column->offsets = var ? memory_alloc(chunk->memory, (chunk->rows_max + 1ull) * sizeof *column->offsets) : NULL;
    return column->values && (column->offsets || !var) ? MOTE_OK : MOTE_EBUDGET;
}

int chunk_create(struct memory *memory, const struct schema *schema, const uint32_t *positions, uint32_t column_count, uint32_t rows_max, struct chunk_buffer *chunk)
{
    struct chunk_shape shapes[MOTE_COLUMNS_MAX];
    assert(column_count <= MOTE_COLUMNS_MAX);
    for (uint32_t i = 0; i < column_count; i++)
        shapes[i] = (struct chunk_shape){positions[i], schema->columns[positions[i]].type, schema->columns[positions[i]].dimension, (schema->columns[positions[i]].flags & MOTE_COLUMN_LARGE) != 0};
    return chunk_create_shaped(memory, shapes, column_count, rows_max, chunk);
}

int chunk_create_shaped(struct memory *memory, const struct chunk_shape *shapes, uint32_t column_count, uint32_t rows_max, struct chunk_buffer *chunk)
{
    uint64_t share_bytes = memory_budget_bytes(memory) / 64;
    *chunk = (struct chunk_buffer){.memory = memory, .rows_max = rows_max, .bytes_max = share_bytes < CHUNK_BYTES_SOFT_MAX ? share_bytes : CHUNK_BYTES_SOFT_MAX};
    chunk->columns = memory_alloc_zero(memory, (column_count + 1) * sizeof *chunk->columns);
    chunk->views = memory_alloc_zero(memory, (column_count + 1) * sizeof *chunk->views);
    uint64_t values_bytes = 0;
    for (uint32_t i = 0; i < column_count; i++)
        values_bytes += fixed_bytes(chunk, &shapes[i]);
    bool in_area = values_bytes <= AREA_BYTES_MAX;
    chunk->area = memory_alloc_aligned(memory, column_count * bitmap_bytes(chunk) + (in_area ? values_bytes : 0) + LINE_BYTES, LINE_BYTES);
    int result = chunk->columns && chunk->views && chunk->area ? MOTE_OK : MOTE_EBUDGET;
    uint8_t *at = chunk->area;
    for (uint32_t i = 0; i < column_count && !result; i++) {
        result = create_column(chunk, &shapes[i], in_area, &at, &chunk->columns[i]);
        chunk->has_large = chunk->has_large || shapes[i].large;
        chunk->column_count = i + 1;
    }
    if (result)
        chunk_destroy(chunk);
    else
        chunk_clear(chunk);
    return result;
}

void chunk_destroy(struct chunk_buffer *chunk)
{
    for (uint32_t i = 0; chunk->columns && i < chunk->column_count; i++) {
        if (chunk->columns[i].owns_values)
            memory_free(chunk->memory, chunk->columns[i].values);
        memory_free(chunk->memory, chunk->columns[i].offsets);
    }
    memory_free(chunk->memory, chunk->area);
    memory_free(chunk->memory, chunk->columns);
    memory_free(chunk->memory, chunk->views);
    *chunk = (struct chunk_buffer){0};
}

void chunk_clear(struct chunk_buffer *chunk)
{
    chunk->row_count = 0;
    for (uint32_t i = 0; i < chunk->column_count; i++) {
        struct chunk_column *column = &chunk->columns[i];
        column->values_bytes = 0;
        column->has_nulls = false;
        memset(column->validity, 0xff, divide_up(chunk->rows_max, 8));
        if (column->offsets)
            column->offsets[0] = 0;
    }
}

bool chunk_full(const struct chunk_buffer *chunk)
{
    if (chunk->row_count == chunk->rows_max)
        return true;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < chunk->column_count; i++)
        bytes += chunk->columns[i].values_bytes;
    return bytes >= chunk->bytes_max;
}

static int make_room(struct chunk_buffer *chunk, struct chunk_column *column, uint64_t more_bytes)
{
    uint64_t needed = column->values_bytes + more_bytes;
    if (needed <= column->capacity_bytes)
        return MOTE_OK;
    assert(column->offsets);
    /* Twice as much, but not far beyond what a full chunk holds: a small budget has no room for that. */
    uint64_t capacity = 2 * column->capacity_bytes;
    if (capacity > chunk->bytes_max)
        capacity = chunk->bytes_max;
    if (capacity < needed)
        capacity = needed + needed / 4;
    uint8_t *grown = memory_realloc(chunk->memory, column->values, capacity);
    if (!grown)
        return MOTE_EBUDGET;
    column->values = grown;
    column->capacity_bytes = capacity;
    return MOTE_OK;
}

static void set_null(struct chunk_column *column, uint32_t row)
{
    column->validity[row / 8] = (uint8_t)(column->validity[row / 8] & ~(1u << (row % 8)));
    column->has_nulls = true;
}

/* Where a fixed value's bytes are. */
static const void *value_bytes(const struct chunk_column *column, const struct mote_value *value)
{
    if (type_is_vector(column->type))
        return value->as.bytes.data;
    return &value->as; /* every scalar member begins at the union's start */
}

/* A large value is read to where it belongs; the view that the row came from is still held. */
static int add_large(struct chunk_buffer *chunk, struct chunk_column *column, uint32_t row, const uint8_t *stored, uint64_t stored_bytes)
{
    uint64_t length;
    int result = blob_length(stored, stored_bytes, &length);
    if (result)
        return result;
    if (column->values_bytes + length > UINT32_MAX || make_room(chunk, column, length) != MOTE_OK)
        return error_set(MOTE_EBUDGET, "a large value of %llu bytes does not fit a chunk beside the %llu there are, or what is left of the memory budget: ask for fewer rows, or read it piece by piece with mote_blob_reader_open",
                         (unsigned long long)length, (unsigned long long)column->values_bytes);
    result = blob_fetch(chunk->db, stored, stored_bytes, column->values + column->values_bytes);
    if (result)
        return result;
    column->values_bytes += length;
    column->offsets[row + 1] = (uint32_t)column->values_bytes;
    return MOTE_OK;
}

static int add_value(struct chunk_buffer *chunk, struct chunk_column *column, const struct mote_value *value)
{
    uint32_t row = chunk->row_count;
    if (column->large && !value->is_null)
        return add_large(chunk, column, row, value->as.bytes.data, value->as.bytes.size_bytes);
    if (column->offsets) {
        uint64_t length = value->is_null ? 0 : value->as.bytes.size_bytes;
        int result = make_room(chunk, column, length);
        if (result)
            return result;
        if (length)
            memcpy(column->values + column->values_bytes, value->as.bytes.data, length);
        column->values_bytes += length;
        column->offsets[row + 1] = (uint32_t)column->values_bytes;
    } else {
        uint8_t *at = column->values + column->values_bytes;
        if (value->is_null)
            memset(at, 0, column->value_bytes);
        else
            memcpy(at, value_bytes(column, value), column->value_bytes);
        column->values_bytes += column->value_bytes;
    }
    if (value->is_null)
        set_null(column, row);
    return MOTE_OK;
}

int chunk_add_row(struct chunk_buffer *chunk, struct merge *merge)
{
    assert(chunk->row_count < chunk->rows_max);
    for (uint32_t i = 0; i < chunk->column_count; i++) {
        struct mote_value value;
        int result = merge_value(merge, chunk->columns[i].position, &value);
        if (!result)
            result = add_value(chunk, &chunk->columns[i], &value);
        if (result)
            return result;
    }
    chunk->row_count++;
    return MOTE_OK;
}

int chunk_add_values(struct chunk_buffer *chunk, const struct mote_value *values)
{
    assert(chunk->row_count < chunk->rows_max);
    int result = MOTE_OK;
    for (uint32_t i = 0; i < chunk->column_count && !result; i++)
        result = add_value(chunk, &chunk->columns[i], &values[i]);
    chunk->row_count += !result;
    return result;
}

int chunk_add_image(struct chunk_buffer *chunk, const struct schema *schema, const struct schema *image_schema, const uint8_t *image)
{
    assert(chunk->row_count < chunk->rows_max);
    for (uint32_t i = 0; i < chunk->column_count; i++) {
        struct mote_value value;
        row_value(schema, image_schema, image, chunk->columns[i].position, &value);
        int result = add_value(chunk, &chunk->columns[i], &value);
        if (result)
            return result;
    }
    chunk->row_count++;
    return MOTE_OK;
}

static bool is_valid(const struct codec_vector *vector, uint32_t row) { return !vector->validity || (vector->validity[row / 8] >> (row % 8) & 1); }

static int add_large_run(struct chunk_buffer *chunk, struct chunk_column *column, const struct codec_vector *from, uint32_t first, uint32_t count)
{
    int result = MOTE_OK;
    for (uint32_t i = 0; i < count && !result; i++) {
        uint32_t begin = from->offsets[first + i];
        column->offsets[chunk->row_count + i + 1] = (uint32_t)column->values_bytes;
        if (is_valid(from, first + i))
            result = add_large(chunk, column, chunk->row_count + i, (const uint8_t *)from->values + begin, from->offsets[first + i + 1] - begin);
    }
    return result;
}

static int add_run(struct chunk_buffer *chunk, struct chunk_column *column, const struct codec_vector *from, uint32_t first, uint32_t count)
{
    if (column->large) {
        int result = add_large_run(chunk, column, from, first, count);
        if (result)
            return result;
    } else if (column->offsets) {
        uint32_t begin = from->offsets[first], end = from->offsets[first + count];
        int result = make_room(chunk, column, end - begin);
        if (result)
            return result;
        memcpy(column->values + column->values_bytes, (const uint8_t *)from->values + begin, end - begin);
        for (uint32_t i = 0; i < count; i++)
            column->offsets[chunk->row_count + i + 1] = (uint32_t)column->values_bytes + from->offsets[first + i + 1] - begin;
        column->values_bytes += end - begin;
    } else {
        uint64_t bytes = (uint64_t)count * column->value_bytes;
        memcpy(column->values + column->values_bytes, (const uint8_t *)from->values + (uint64_t)first * column->value_bytes, bytes);
        column->values_bytes += bytes;
    }
    for (uint32_t i = 0; from->validity && i < count; i++) {
        if (!is_valid(from, first + i))
            set_null(column, chunk->row_count + i);
    }
    return MOTE_OK;
}

/* The column's values of the run: decoded in their places, or copied out of the decoded block. */
static int take_run(struct chunk_buffer *chunk, struct chunk_column *column, struct sst_iterator *iterator, uint32_t count)
{
    struct codec_vector vector;
    if (!column->offsets) {
        assert(column->values_bytes + (uint64_t)count * column->value_bytes <= column->capacity_bytes);
        int copied = sst_run_copy(iterator, column->position, column->values + column->values_bytes);
        if (copied != 0) {
            column->values_bytes += copied > 0 ? (uint64_t)count * column->value_bytes : 0;
            return copied > 0 ? MOTE_OK : copied;
        }
    }
    int result = sst_block_column(iterator, column->position, &vector);
    return result ? result : add_run(chunk, column, &vector, sst_block_row(iterator), count);
}

int chunk_add_run(struct chunk_buffer *chunk, struct sst_iterator *iterator, uint32_t count)
{
    int result = MOTE_OK;
    assert(chunk->row_count + count <= chunk->rows_max);
    sst_run_begin(iterator, count);
    for (uint32_t i = 0; i < chunk->column_count && !result; i++)
        result = take_run(chunk, &chunk->columns[i], iterator, count);
    sst_run_end(iterator);
    chunk->row_count += result ? 0 : count;
    return result;
}

void chunk_finish(struct chunk_buffer *chunk)
{
    for (uint32_t i = 0; i < chunk->column_count; i++) {
        const struct chunk_column *column = &chunk->columns[i];
        chunk->views[i] = (struct mote_column){column->type, column->dimension, column->values, column->offsets, column->has_nulls ? column->validity : NULL};
    }
}
