/* row_batch.c: row images from a batch of columns (schema.h).
 *
 * row_batch_check looks at each column once, in the order in which its bytes lie in memory, and leaves a list of copies by size class; row_batch_encode then walks the list with one load and one store for each value, without asking for
 * types; whole tiles of neighbouring columns are turned over in registers. Threads: pure functions. Failures: the check names table, column and row; afterwards nothing can fail. */
#include "engine/lsm/schema_private.h"

#include "blockdev/base/errors.h"
#include "blockdev/base/turn.h"
#include "blockdev/base/units.h"
#include "engine/lsm/utf8.h"

#include <assert.h>

enum { TILE_ROWS = 16 }; /* of 4-byte values, a cache line */

static inline bool has_value(const struct mote_column *column, size_t row) { return !column->validity || (column->validity[row / 8] >> row % 8 & 1); }

static inline void set_null(uint8_t *image, uint32_t position) { image[position / 8] = (uint8_t)(image[position / 8] | 1u << position % 8); }

static size_t count_nulls(const struct mote_column *column, size_t row_count)
{
    if (!column->validity)
        return 0;
    size_t values = 0, row = 0;
    for (; row + 64 <= row_count; row += 64)
        values += (size_t)__builtin_popcountll(load_u64(column->validity + row / 8));
    for (; row < row_count; row++)
        values += has_value(column, row);
    return row_count - values;
}

/* Which column of the batch goes where. */
static int map_columns(const struct schema *schema, const struct mote_batch *batch, struct row_batch *prepared)
{
    uint32_t hidden = schema_has_hidden(schema);
    for (uint32_t i = 0; i < schema->column_count; i++)
        prepared->by_position[i] = NULL;
    if (batch->column_count > schema->column_count - hidden)
        return schema_refuse(schema, -1, MOTE_ESCHEMA, "the batch has %zu columns, the table %u", batch->column_count, schema->column_count - hidden);
    if (batch->column_count > 0 && !batch->columns)
        return schema_refuse(schema, -1, MOTE_EINVAL, "the batch's columns are NULL but their count is %zu", batch->column_count);
    for (uint32_t i = 0; i < batch->column_count; i++) {
        uint32_t position = batch->column_index ? batch->column_index[i] : i + hidden;
        if (position >= schema->column_count || schema->columns[position].hidden)
            return schema_refuse(schema, -1, MOTE_ESCHEMA, "the batch's column %u is for position %u, which cannot be written", i, position);
        if (prepared->by_position[position])
            return schema_refuse(schema, (int)position, MOTE_ESCHEMA, "the batch has the column twice");
        prepared->by_position[position] = &batch->columns[i];
    }
    return MOTE_OK;
}

static int refuse_row(const struct schema *schema, uint32_t position, size_t row, int code, const char *why)
{
    return schema_refuse(schema, (int)position, code, "row %zu of the batch: %s", row, why);
}

static int check_bools(const struct schema *schema, uint32_t position, const struct mote_column *column, size_t row_count)
{
    const uint8_t *values = column->values;
    uint8_t all = 0;
    for (size_t row = 0; row < row_count; row++)
        all |= values[row];
    if (all <= 1)
        return MOTE_OK;
    for (size_t row = 0; row < row_count; row++)
        if (values[row] > 1 && has_value(column, row))
            return refuse_row(schema, position, row, MOTE_EINVAL, "a bool is 0 or 1");
    return MOTE_OK;
}

static int check_no_nan(const struct schema *schema, uint32_t position, const struct mote_column *column, size_t row_count)
{
    const struct schema_column *described = &schema->columns[position];
    for (size_t row = 0; row < row_count; row++)
        if (float_is_nan(described->type, (const uint8_t *)column->values + row * described->value_bytes) && has_value(column, row))
            return refuse_row(schema, position, row, MOTE_EINVAL, "a key cannot hold NaN");
    return MOTE_OK;
}

static int check_texts(const struct schema *schema, uint32_t position, const struct mote_column *column, size_t row_count)
{
    const uint32_t *offsets = column->offsets;
    const uint8_t *values = column->values;
    size_t size_bytes = offsets[row_count] - offsets[0];
    /* Bytes below 0x80 are characters by themselves, however the rows cut them. */
    if (size_bytes == 0 || utf8_ascii_bytes(values + offsets[0], size_bytes) == size_bytes)
        return MOTE_OK;
    for (size_t row = 0; row < row_count; row++)
        if (has_value(column, row) && !utf8_is_valid(values + offsets[row], offsets[row + 1] - offsets[row]))
            return refuse_row(schema, position, row, MOTE_EINVAL, "the text is not valid UTF-8; use a blob for other bytes");
    return MOTE_OK;
}

static int check_var(const struct schema *schema, uint32_t position, const struct mote_column *column, size_t row_count)
{
    const uint32_t *offsets = column->offsets;
    if (!offsets)
        return schema_refuse(schema, (int)position, MOTE_EINVAL, "the batch's column has no offsets");
    for (size_t row = 0; row < row_count; row++) {
        if (offsets[row] > offsets[row + 1])
            return refuse_row(schema, position, row, MOTE_EINVAL, "its offsets descend");
        if (offsets[row + 1] - offsets[row] > MOTE_ROW_BYTES_MAX && has_value(column, row))
            return refuse_row(schema, position, row, MOTE_ETOOBIG, "the value is larger than a row may be (256 KiB); split it");
    }
    if (offsets[row_count] != offsets[0] && !column->values)
        return schema_refuse(schema, (int)position, MOTE_EINVAL, "the batch's column has no values");
    return schema->columns[position].type == MOTE_TYPE_TEXT ? check_texts(schema, position, column, row_count) : MOTE_OK;
}

/* One column that the batch has: its description, then its values. */
static int check_column(const struct schema *schema, uint32_t position, const struct mote_column *column, size_t row_count, size_t *null_count)
{
    const struct schema_column *described = &schema->columns[position];
    if (column->type != described->type)
        return schema_refuse(schema, (int)position, MOTE_ESCHEMA, "the batch's column is of type %s, the table's %s", type_name(column->type), type_name(described->type));
    if (type_is_vector(column->type) && column->dimension != described->dimension)
        return schema_refuse(schema, (int)position, MOTE_ESCHEMA, "the batch's vectors have dimension %u, the table's %u", column->dimension, described->dimension);
    *null_count = count_nulls(column, row_count);
    bool takes_rowid = (described->flags & MOTE_COLUMN_AUTO_INCREMENT) != 0;
    if (*null_count > 0 && (described->flags & MOTE_COLUMN_NOT_NULL) && !takes_rowid) {
        size_t row = 0;
        while (has_value(column, row))
            row++;
        return refuse_row(schema, position, row, MOTE_ESCHEMA, "the column is NOT NULL and the row has no value for it");
    }
    if (type_is_var(column->type))
        return check_var(schema, position, column, row_count);
    if (!column->values && row_count > 0)
        return schema_refuse(schema, (int)position, MOTE_EINVAL, "the batch's column has no values");
    if (column->type == MOTE_TYPE_BOOL)
        return check_bools(schema, position, column, row_count);
    bool is_float = column->type == MOTE_TYPE_FLOAT64 || column->type == MOTE_TYPE_FLOAT32;
    return is_float && schema_column_in_key(schema, position) ? check_no_nan(schema, position, column, row_count) : MOTE_OK;
}

static enum row_copy_class copy_class(uint32_t value_bytes)
{
    return value_bytes == 8 ? ROW_COPY_8 : value_bytes == 4 ? ROW_COPY_4 : value_bytes == 1 ? ROW_COPY_1 : ROW_COPY_WIDE;
}

/* The list of copies, class by class. */
static void plan_copies(struct row_batch *prepared)
{
    const struct schema *schema = prepared->schema;
    uint32_t count = 0;
    for (enum row_copy_class class = ROW_COPY_8; class < ROW_COPY_CLASSES; class++) {
        for (uint32_t i = 0; i < schema->column_count; i++) {
            const struct schema_column *column = &schema->columns[i];
            const struct mote_column *given = prepared->by_position[i];
            if (given && !type_is_var(column->type) && copy_class(column->value_bytes) == class)
                prepared->copies[count++] = (struct row_copy){given->values, column->row_offset, i};
        }
        prepared->copy_ends[class] = count;
    }
}

static inline uint32_t row_var_bytes(const struct mote_column *column, size_t row) { return has_value(column, row) ? column->offsets[row + 1] - column->offsets[row] : 0; }

/* Key sizes row by row; only tables with text or blob in the key come here. */
static int check_keys(const struct row_batch *prepared)
{
    const struct schema *schema = prepared->schema;
    for (size_t row = 0; row < prepared->batch->row_count; row++) {
        uint64_t key_bytes = 0;
        for (uint32_t i = 0; i < schema->key_column_count; i++) {
            const struct schema_column *column = &schema->columns[schema->key_columns[i]];
            const struct mote_column *given = prepared->by_position[schema->key_columns[i]];
            if (!type_is_var(column->type))
                key_bytes += column->value_bytes;
            else if (given)
                key_bytes += key_var_bytes((const uint8_t *)given->values + given->offsets[row], given->offsets[row + 1] - given->offsets[row]);
            else
                key_bytes += key_var_bytes(column->default_value.as.bytes.data, column->default_value.as.bytes.size_bytes);
        }
        if (key_bytes > MOTE_KEY_BYTES_MAX)
            return refuse_row(schema, schema->key_columns[0], row, MOTE_ETOOBIG, "the row's key takes more than 1024 bytes; shorten its text or blob");
    }
    return MOTE_OK;
}

/* Row sizes and their sum. */
static int sum_rows(struct row_batch *prepared)
{
    size_t row_count = prepared->batch->row_count;
    if (prepared->row_bytes_min > MOTE_ROW_BYTES_MAX)
        return schema_refuse(prepared->schema, -1, MOTE_ETOOBIG, "the defaults make the rows larger than 256 KiB; split the table");
    prepared->total_bytes = row_count * round_up(prepared->row_bytes_min, 8);
    if (prepared->var_count == 0)
        return MOTE_OK;
    prepared->total_bytes = 0;
    for (size_t row = 0; row < row_count; row++) {
        /* At most 1024 values of 256 KiB each: no overflow. */
        uint32_t row_bytes = row_batch_row_bytes(prepared, row);
        if (row_bytes > MOTE_ROW_BYTES_MAX)
            return schema_refuse(prepared->schema, -1, MOTE_ETOOBIG, "row %zu of the batch takes %u bytes, at most 262144 are possible; split it", row, row_bytes);
        prepared->total_bytes += round_up(row_bytes, 8);
    }
    return MOTE_OK;
}

/* A column that the batch lacks. */
static int plan_absent(struct row_batch *prepared, uint32_t position)
{
    const struct schema *schema = prepared->schema;
    const struct schema_column *column = &schema->columns[position];
    prepared->some_absent = true;
    if (column->flags & MOTE_COLUMN_AUTO_INCREMENT) {
        prepared->auto_increment_count = (uint32_t)prepared->batch->row_count;
    } else if (column->flags & MOTE_COLUMN_HAS_DEFAULT) {
        if (type_is_var(column->type)) {
            prepared->var[prepared->var_count++] = (uint16_t)position;
            prepared->row_bytes_min += (uint32_t)column->default_value.as.bytes.size_bytes;
        }
    } else if (column->flags & MOTE_COLUMN_NOT_NULL) {
        return schema_refuse(schema, (int)position, MOTE_ESCHEMA, "the column is NOT NULL without a default and the batch lacks it");
    } else {
        set_null(prepared->absent_nulls, position);
    }
    return MOTE_OK;
}

int row_batch_check(const struct schema *schema, const struct mote_batch *batch, struct row_batch *prepared)
{
    prepared->schema = schema;
    prepared->batch = batch;
    prepared->total_bytes = 0;
    prepared->auto_increment_count = prepared->nullable_count = prepared->var_count = 0;
    prepared->some_absent = false;
    prepared->row_bytes_min = schema->fixed_bytes;
    memset(prepared->absent_nulls, 0, sizeof prepared->absent_nulls);
    if (batch->row_count > INT32_MAX)
        return schema_refuse(schema, -1, MOTE_ETOOBIG, "the batch has %zu rows; split it", batch->row_count);
    int code = map_columns(schema, batch, prepared);
    for (uint32_t i = 0; i < schema->column_count && code == MOTE_OK; i++) {
        const struct mote_column *column = prepared->by_position[i];
        size_t null_count = 0;
        if (!column) {
            code = plan_absent(prepared, i);
            continue;
        }
        code = check_column(schema, i, column, batch->row_count, &null_count);
        if (type_is_var(schema->columns[i].type))
            prepared->var[prepared->var_count++] = (uint16_t)i;
        else if (schema->columns[i].flags & MOTE_COLUMN_AUTO_INCREMENT)
            prepared->auto_increment_count = (uint32_t)null_count;
        else if (null_count > 0)
            prepared->nullable[prepared->nullable_count++] = (uint16_t)i;
    }
    if (code == MOTE_OK)
        code = sum_rows(prepared);
    if (code == MOTE_OK && !schema->key_bytes_fixed)
        code = check_keys(prepared);
    if (code == MOTE_OK)
        plan_copies(prepared);
    return code;
}

bool row_batch_takes_rowid(const struct row_batch *prepared, size_t row)
{
    if (prepared->auto_increment_count == 0)
        return false;
    const struct mote_column *column = prepared->by_position[prepared->schema->key_columns[0]];
    return !column || !has_value(column, row);
}

uint32_t row_batch_row_bytes(const struct row_batch *prepared, size_t row)
{
    uint32_t row_bytes = prepared->row_bytes_min;
    for (uint32_t i = 0; i < prepared->var_count; i++) {
        const struct mote_column *column = prepared->by_position[prepared->var[i]];
        if (column)
            row_bytes += row_var_bytes(column, row);
    }
    return row_bytes;
}

static void encode_nulls(const struct row_batch *prepared, size_t row, uint8_t *image)
{
    for (uint32_t i = 0; i < prepared->nullable_count; i++) {
        uint32_t position = prepared->nullable[i];
        if (has_value(prepared->by_position[position], row))
            continue;
        const struct schema_column *column = &prepared->schema->columns[position];
        set_null(image, position);
        memset(image + column->row_offset, 0, column->value_bytes);
    }
}

/* Texts and blobs in column order. Returns the end of the image. */
static uint32_t encode_vars(const struct row_batch *prepared, size_t row, uint8_t *image)
{
    uint32_t var_at = prepared->schema->fixed_bytes;
    for (uint32_t i = 0; i < prepared->var_count; i++) {
        uint32_t position = prepared->var[i], size_bytes;
        const struct schema_column *column = &prepared->schema->columns[position];
        const struct mote_column *given = prepared->by_position[position];
        const uint8_t *from;
        uint8_t *at = image + column->row_offset;
        if (!given) {
            from = column->default_value.as.bytes.data;
            size_bytes = (uint32_t)column->default_value.as.bytes.size_bytes;
        } else if (!has_value(given, row)) {
            set_null(image, position);
            store_u64(at, 0);
            continue;
        } else {
            from = (const uint8_t *)given->values + given->offsets[row];
            size_bytes = given->offsets[row + 1] - given->offsets[row];
        }
        store_u32(at, var_at);
        store_u32(at + 4, size_bytes);
        if (size_bytes != 0)
            memcpy(image + var_at, from, size_bytes);
        var_at += size_bytes;
    }
    return var_at;
}

/* The bitmap, and the defaults of absent columns. */
static inline void begin_row(const struct row_batch *prepared, uint8_t *image)
{
    const struct schema *schema = prepared->schema;
    if (prepared->some_absent)
        memcpy(image + schema->null_bytes, schema->default_image + schema->null_bytes, schema->fixed_bytes - schema->null_bytes);
    for (uint32_t at = 0; at < schema->null_bytes; at += 8)
        store_u64(image + at, load_u64(prepared->absent_nulls + at));
}

/* NULLs, and the rowid that the row takes. */
static inline void end_row(const struct row_batch *prepared, size_t row, int64_t rowid, uint8_t *image)
{
    if (prepared->nullable_count > 0)
        encode_nulls(prepared, row, image);
    if (row_batch_takes_rowid(prepared, row))
        store_u64(image + prepared->schema->columns[prepared->schema->key_columns[0]].row_offset, (uint64_t)rowid);
}

/* How many of the copies from here on go to neighbouring places of the row, if they are `wanted` many; else 1. */
static inline uint32_t count_neighbours(const struct row_copy *copy, const struct row_copy *end, uint32_t wanted, uint32_t value_bytes)
{
    if (end - copy < wanted)
        return 1;
    for (uint32_t k = 1; k < wanted; k++)
        if (copy[k].row_offset != copy->row_offset + k * value_bytes)
            return 1;
    return wanted;
}

/* The given columns' values of a few rows, column by column: a line of a column's values is loaded once, wherever the columns lie to each other in memory. */
static inline void copy_fixed(const struct row_batch *prepared, size_t first, size_t count, uint8_t *const *images)
{
    const struct row_copy *copy = prepared->copies;
    for (const struct row_copy *end = prepared->copies + prepared->copy_ends[ROW_COPY_8]; copy < end;) {
        uint32_t together = count_neighbours(copy, end, 2, 8);
        size_t i = 0;
        for (; together == 2 && i + 2 <= count; i += 2) {
            const uint8_t *const from[2] = {copy[0].values + (first + i) * 8, copy[1].values + (first + i) * 8};
            uint8_t *const to[2] = {images[i] + copy->row_offset, images[i + 1] + copy->row_offset};
            turn_two(from, to);
        }
        for (uint32_t k = 0; k < together; k++, copy++)
            for (size_t left = i; left < count; left++)
                memcpy(images[left] + copy->row_offset, copy->values + (first + left) * 8, 8);
    }
    for (const struct row_copy *end = prepared->copies + prepared->copy_ends[ROW_COPY_4]; copy < end;) {
        uint32_t together = count_neighbours(copy, end, 4, 4);
        size_t i = 0;
        for (; together == 4 && i + 4 <= count; i += 4) {
            const size_t at = (first + i) * 4, offset = copy->row_offset;
            const uint8_t *const from[4] = {copy[0].values + at, copy[1].values + at, copy[2].values + at, copy[3].values + at};
            uint8_t *const to[4] = {images[i] + offset, images[i + 1] + offset, images[i + 2] + offset, images[i + 3] + offset};
            turn_four(from, to);
        }
        for (uint32_t k = 0; k < together; k++, copy++)
            for (size_t left = i; left < count; left++)
                memcpy(images[left] + copy->row_offset, copy->values + (first + left) * 4, 4);
    }
    for (const struct row_copy *end = prepared->copies + prepared->copy_ends[ROW_COPY_1]; copy < end; copy++)
        for (size_t i = 0; i < count; i++)
            images[i][copy->row_offset] = copy->values[first + i];
    for (const struct row_copy *end = prepared->copies + prepared->copy_ends[ROW_COPY_WIDE]; copy < end; copy++) {
        size_t value_bytes = prepared->schema->columns[copy->position].value_bytes;
        for (size_t i = 0; i < count; i++)
            memcpy(images[i] + copy->row_offset, copy->values + (first + i) * value_bytes, value_bytes);
    }
}

void row_batch_encode(const struct row_batch *prepared, size_t row, int64_t rowid, uint8_t *image, uint32_t row_bytes)
{
    assert(row < prepared->batch->row_count);
    begin_row(prepared, image);
    copy_fixed(prepared, row, 1, &image);
    end_row(prepared, row, rowid, image);
    uint32_t end_bytes = prepared->var_count > 0 ? encode_vars(prepared, row, image) : prepared->schema->fixed_bytes;
    assert(end_bytes == row_bytes);
    (void)end_bytes;
    (void)row_bytes;
}

/* A tile of rows. */
static inline int64_t encode_tile(const struct row_batch *prepared, size_t first, size_t count, int64_t rowid, uint8_t *const *images)
{
    size_t stride_bytes = round_up(prepared->schema->fixed_bytes, 8);
    for (size_t i = 0; i < count; i++) {
        store_u64(images[i] + stride_bytes - 8, 0); /* the padding */
        begin_row(prepared, images[i]);
    }
    copy_fixed(prepared, first, count, images);
    if (prepared->nullable_count == 0 && prepared->auto_increment_count == 0)
        return rowid;
    for (size_t i = 0; i < count; i++) {
        end_row(prepared, first + i, rowid, images[i]);
        rowid += row_batch_takes_rowid(prepared, first + i);
    }
    return rowid;
}

int64_t row_batch_encode_at(const struct row_batch *prepared, size_t first_row, size_t row_count, int64_t rowid, uint8_t *const *images)
{
    assert(prepared->var_count == 0 && first_row + row_count <= prepared->batch->row_count);
    for (size_t done = 0; done < row_count; done += TILE_ROWS)
        rowid = encode_tile(prepared, first_row + done, row_count - done < TILE_ROWS ? row_count - done : TILE_ROWS, rowid, images + done);
    return rowid;
}

int64_t row_batch_encode_rows(const struct row_batch *prepared, size_t first_row, size_t row_count, int64_t rowid, uint8_t *images)
{
    size_t stride_bytes = round_up(prepared->schema->fixed_bytes, 8);
    for (size_t done = 0; done < row_count; done += TILE_ROWS) {
        size_t count = row_count - done < TILE_ROWS ? row_count - done : TILE_ROWS;
        uint8_t *places[TILE_ROWS];
        for (size_t i = 0; i < count; i++)
            places[i] = images + (done + i) * stride_bytes;
        rowid = row_batch_encode_at(prepared, first_row + done, count, rowid, places);
    }
    return rowid;
}

static inline __attribute__((always_inline)) void encode_key_column(uint32_t type, const uint8_t *values, size_t value_stride_bytes, size_t count, uint8_t *keys, size_t stride_bytes)
{
    for (size_t i = 0; i < count; i++)
        key_append_fixed(type, values + i * value_stride_bytes, keys + i * stride_bytes);
}

int64_t row_batch_encode_keys(const struct row_batch *prepared, size_t first_row, size_t row_count, int64_t rowid, uint8_t *keys, size_t stride_bytes)
{
    const struct schema *schema = prepared->schema;
    assert(schema->key_bytes_fixed != 0 && stride_bytes >= schema->key_bytes_fixed);
    uint32_t key_at = 0;
    for (uint32_t k = 0; k < schema->key_column_count; k++) {
        uint32_t position = schema->key_columns[k], value_bytes = schema->columns[position].value_bytes, type = schema->key_parts[k].type;
        const struct mote_column *given = prepared->by_position[position];
        /* An absent column of a key has a default or takes the rowid. */
        const uint8_t *values = given ? (const uint8_t *)given->values + first_row * value_bytes : schema->default_image + schema->columns[position].row_offset;
        size_t value_stride_bytes = given ? value_bytes : 0;
        uint8_t *at = keys + key_at;
        switch (type) { /* a loop of its own for the usual ones */
        case MOTE_TYPE_INT32:
            encode_key_column(MOTE_TYPE_INT32, values, value_stride_bytes, row_count, at, stride_bytes);
            break;
        case MOTE_TYPE_INT64:
        case MOTE_TYPE_TIMESTAMP:
            encode_key_column(MOTE_TYPE_INT64, values, value_stride_bytes, row_count, at, stride_bytes);
            break;
        default:
            encode_key_column(type, values, value_stride_bytes, row_count, at, stride_bytes);
        }
        key_at += value_bytes;
    }
    assert(key_at == schema->key_bytes_fixed);
    for (size_t i = 0; i < row_count && prepared->auto_increment_count > 0; i++) {
        if (!row_batch_takes_rowid(prepared, first_row + i))
            continue;
        key_append_fixed(MOTE_TYPE_INT64, &rowid, keys + i * stride_bytes);
        rowid++;
    }
    return rowid;
}

uint64_t row_batch_key_bytes(const struct row_batch *prepared)
{
    const struct schema *schema = prepared->schema;
    size_t row_count = prepared->batch->row_count;
    if (schema->key_bytes_fixed)
        return (uint64_t)schema->key_bytes_fixed * row_count;
    uint64_t bytes = 0;
    for (uint32_t k = 0; k < schema->key_column_count; k++) {
        const struct schema_column *column = &schema->columns[schema->key_columns[k]];
        const struct mote_column *given = prepared->by_position[schema->key_columns[k]];
        if (!type_is_var(column->type))
            bytes += (uint64_t)column->value_bytes * row_count;
        else if (given)
            bytes += 2ull * (given->offsets[row_count] - given->offsets[0]) + 2ull * row_count;
        else
            bytes += (2ull * column->default_value.as.bytes.size_bytes + 2ull) * row_count;
    }
    return bytes;
}
