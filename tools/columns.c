/* columns.c: batches from text (columns.h). */
#include "tools/columns.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/csv.h"
#include "tools/number.h"
#include "tools/output.h"
#include "tools/tool.h"

static const char *const type_names[] = {
    [MOTE_TYPE_INT64] = "int64",
    [MOTE_TYPE_INT32] = "int32",
    [MOTE_TYPE_FLOAT64] = "float64",
    [MOTE_TYPE_FLOAT32] = "float32",
    [MOTE_TYPE_BOOL] = "bool",
    [MOTE_TYPE_TIMESTAMP] = "timestamp",
    [MOTE_TYPE_TEXT] = "text",
    [MOTE_TYPE_BLOB] = "blob",
    [MOTE_TYPE_VECTOR_F32] = "vector_f32",
    [MOTE_TYPE_VECTOR_F16] = "vector_f16",
    [MOTE_TYPE_VECTOR_U8] = "vector_u8",
    [MOTE_TYPE_POINT3] = "point3",
};
enum { TYPE_COUNT = sizeof type_names / sizeof type_names[0] };

const char *type_text(uint32_t type)
{
    return type < TYPE_COUNT && type_names[type] ? type_names[type] : "?";
}

uint32_t type_from_text(const char *text, size_t length)
{
    for (uint32_t i = 1; i < TYPE_COUNT; i++) {
        if (strlen(type_names[i]) == length && memcmp(type_names[i], text, length) == 0)
            return i;
    }
    return 0;
}

uint32_t vector_element_bytes(uint32_t type)
{
    return type == MOTE_TYPE_VECTOR_F32 ? 4 : type == MOTE_TYPE_VECTOR_F16 ? 2 : type == MOTE_TYPE_VECTOR_U8 ? 1 : 0;
}

uint32_t fixed_value_bytes(uint32_t type, uint32_t dimension)
{
    switch (type) {
    case MOTE_TYPE_INT64:
    case MOTE_TYPE_FLOAT64:
    case MOTE_TYPE_TIMESTAMP:
        return 8;
    case MOTE_TYPE_INT32:
    case MOTE_TYPE_FLOAT32:
        return 4;
    case MOTE_TYPE_BOOL:
        return 1;
    case MOTE_TYPE_POINT3:
        return 24;
    default:
        return vector_element_bytes(type) * dimension;
    }
}

void batch_init(struct batch_builder *batch, const struct column_builder *columns, size_t column_count,
                size_t row_capacity)
{
    assert(row_capacity > 0);
    *batch = (struct batch_builder){.column_count = column_count, .row_capacity = row_capacity};
    batch->columns = tool_alloc(column_count * sizeof columns[0]);
    memcpy(batch->columns, columns, column_count * sizeof columns[0]);
    batch->lines = tool_alloc(row_capacity * sizeof batch->lines[0]);
    batch->fixed_bytes = 32 + column_count / 8;
    for (size_t i = 0; i < column_count; i++) {
        struct column_builder *column = &batch->columns[i];
        column->element_bytes = fixed_value_bytes(column->type, column->dimension);
        column->values_capacity = row_capacity * (column->element_bytes ? column->element_bytes : 32);
        column->values = tool_alloc(column->values_capacity);
        column->offsets = column->element_bytes ? NULL : tool_alloc((row_capacity + 1) * sizeof column->offsets[0]);
        column->validity = tool_alloc(row_capacity / 8 + 1);
        batch->fixed_bytes += column->element_bytes ? column->element_bytes : 8;
    }
    batch_clear(batch);
}

void batch_free(struct batch_builder *batch)
{
    for (size_t i = 0; i < batch->column_count; i++) {
        free(batch->columns[i].values);
        free(batch->columns[i].offsets);
        free(batch->columns[i].validity);
    }
    free(batch->columns);
    free(batch->lines);
}

void batch_clear(struct batch_builder *batch)
{
    for (size_t i = 0; i < batch->column_count; i++) {
        struct column_builder *column = &batch->columns[i];
        column->values_used = 0;
        column->has_null = false;
        if (column->offsets)
            column->offsets[0] = 0;
        memset(column->validity, 0xFF, batch->row_capacity / 8 + 1);
    }
    batch->row_count = 0;
    batch->used_bytes = 0;
}

static bool fail(struct field_problem *problem, const char *expected)
{
    snprintf(problem->expected, sizeof problem->expected, "%s", expected);
    return false;
}

static bool parse_elements(uint32_t type, uint32_t count, const char *text, size_t length, uint8_t *out)
{
    if (length < 2 || text[0] != '[' || text[length - 1] != ']')
        return false;
    const char *at = text + 1, *end = text + length - 1;
    for (uint32_t i = 0; i < count; i++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = i + 1 == count ? end : comma;
        if (!stop || (i + 1 == count && comma))
            return false;
        while (at < stop && *at == ' ')
            at++;
        size_t size = (size_t)(stop - at);
        double wide = 0;
        float narrow = 0;
        int64_t whole = 0;
        if (type == MOTE_TYPE_POINT3      ? !number_parse_double(at, size, &wide)
            : type == MOTE_TYPE_VECTOR_U8 ? !number_parse_int64(at, size, &whole) || whole < 0 || whole > 255
                                          : !number_parse_float(at, size, &narrow))
            return false;
        uint16_t half = number_to_half(narrow);
        uint8_t byte = (uint8_t)whole;
        switch (type) {
        case MOTE_TYPE_POINT3:
            memcpy(out + 8 * i, &wide, 8);
            break;
        case MOTE_TYPE_VECTOR_F32:
            memcpy(out + 4 * i, &narrow, 4);
            break;
        case MOTE_TYPE_VECTOR_F16:
            memcpy(out + 2 * i, &half, 2);
            break;
        default:
            out[i] = byte;
        }
        at = stop + 1;
    }
    return true;
}

static bool parse_timestamp(const char *text, size_t length, int64_t *ns)
{
    return number_parse_int64(text, length, ns) || number_parse_rfc3339(text, length, ns);
}

/* One value of a fixed type, in host order, to out. */
static bool parse_fixed(uint32_t type, uint32_t dimension, const char *text, size_t length, uint8_t *out,
                        struct field_problem *problem)
{
    union {
        int64_t i64;
        int32_t i32;
        double f64;
        float f32;
        bool boolean;
    } value;
    switch (type) {
    case MOTE_TYPE_FLOAT64:
        if (!number_parse_double(text, length, &value.f64))
            return fail(problem, "a number (float64)");
        memcpy(out, &value.f64, 8);
        return true;
    case MOTE_TYPE_INT64:
        if (!number_parse_int64(text, length, &value.i64))
            return fail(problem, "a whole number (int64)");
        memcpy(out, &value.i64, 8);
        return true;
    case MOTE_TYPE_TIMESTAMP:
        if (!parse_timestamp(text, length, &value.i64))
            return fail(problem, "a timestamp (whole nanoseconds, or RFC 3339)");
        memcpy(out, &value.i64, 8);
        return true;
    case MOTE_TYPE_FLOAT32:
        if (!number_parse_float(text, length, &value.f32))
            return fail(problem, "a number (float32)");
        memcpy(out, &value.f32, 4);
        return true;
    case MOTE_TYPE_INT32:
        if (!number_parse_int64(text, length, &value.i64) || value.i64 < INT32_MIN || value.i64 > INT32_MAX)
            return fail(problem, "a whole number of 32 bits (int32)");
        value.i32 = (int32_t)value.i64;
        memcpy(out, &value.i32, 4);
        return true;
    case MOTE_TYPE_BOOL:
        if (!number_parse_bool(text, length, &value.boolean))
            return fail(problem, "true or false (bool)");
        out[0] = value.boolean;
        return true;
    default:
        if (parse_elements(type, type == MOTE_TYPE_POINT3 ? 3 : dimension, text, length, out))
            return true;
        snprintf(problem->expected, sizeof problem->expected, "[%u numbers, separated by commas] (%s)",
                 type == MOTE_TYPE_POINT3 ? 3 : dimension, type_text(type));
        return false;
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool parse_blob(const char *text, size_t length, uint8_t *out)
{
    if (length < 2 || length % 2 || text[0] != '0' || (text[1] != 'x' && text[1] != 'X'))
        return false;
    for (size_t i = 2; i < length; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0)
            return false;
        *out++ = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Text or blob to out (room for length bytes); *size_bytes is what it takes. */
static bool parse_var(uint32_t type, const char *text, size_t length, uint8_t *out, size_t *size_bytes,
                      struct field_problem *problem)
{
    if (length > MOTE_ROW_BYTES_MAX)
        return fail(problem, "at most 256 KiB (a row's limit)");
    if (type == MOTE_TYPE_BLOB) {
        *size_bytes = length / 2 - (length >= 2);
        return parse_blob(text, length, out) ? true : fail(problem, "0x and pairs of hexadecimal digits (blob)");
    }
    if (!utf8_valid((const uint8_t *)text, length))
        return fail(problem, "UTF-8 (text)");
    memcpy(out, text, length);
    *size_bytes = length;
    return true;
}

static void trim(const char **text, size_t *length)
{
    while (*length > 0 && (**text == ' ' || **text == '\t')) {
        ++*text;
        --*length;
    }
    while (*length > 0 && ((*text)[*length - 1] == ' ' || (*text)[*length - 1] == '\t'))
        --*length;
}

static void reserve_values(struct column_builder *column, size_t more)
{
    if (column->values_used + more <= column->values_capacity)
        return;
    while (column->values_used + more > column->values_capacity)
        column->values_capacity *= 2;
    column->values = tool_realloc(column->values, column->values_capacity);
}

/* Adds the field as row `row` of its column. */
static bool add_field(struct column_builder *column, const struct csv_field *field, size_t row,
                      struct field_problem *problem)
{
    const char *text = field->data;
    size_t length = field->length, size_bytes = column->element_bytes;
    if (column->element_bytes)
        trim(&text, &length);
    bool null = length == 0 && !(field->quoted && !column->element_bytes);
    if (null && column->required)
        return fail(problem, "a value (the column is NOT NULL)");
    reserve_values(column, column->element_bytes ? column->element_bytes : length);
    uint8_t *out = column->values + column->values_used;
    if (null) {
        memset(out, 0, size_bytes);
        column->validity[row / 8] = (uint8_t)(column->validity[row / 8] & ~(1u << (row % 8)));
        column->has_null = true;
    } else if (column->element_bytes) {
        if (!parse_fixed(column->type, column->dimension, text, length, out, problem))
            return false;
    } else if (!parse_var(column->type, text, length, out, &size_bytes, problem)) {
        return false;
    }
    column->values_used += size_bytes;
    if (column->offsets)
        column->offsets[row + 1] = (uint32_t)column->values_used;
    return true;
}

bool batch_add(struct batch_builder *batch, const struct csv_field *fields, uint64_t line,
               struct field_problem *problem)
{
    size_t row = batch->row_count;
    assert(row < batch->row_capacity);
    uint64_t row_bytes = batch->fixed_bytes;
    for (size_t i = 0; i < batch->column_count; i++) {
        struct column_builder *column = &batch->columns[i];
        if (add_field(column, &fields[i], row, problem)) {
            row_bytes += column->offsets ? column->offsets[row + 1] - column->offsets[row] : 0;
            continue;
        }
        problem->column = i;
        /* Takes back what the row has added so far; has_null may stay: the bitmap then says that all have a value. */
        for (size_t back = 0; back <= i; back++) {
            struct column_builder *undo = &batch->columns[back];
            undo->values_used = undo->offsets ? undo->offsets[row] : row * undo->element_bytes;
            undo->validity[row / 8] |= (uint8_t)(1u << (row % 8));
        }
        return false;
    }
    batch->lines[row] = line;
    batch->row_count++;
    batch->used_bytes += row_bytes;
    return true;
}

void batch_slice(const struct batch_builder *batch, size_t first, size_t count, struct mote_column *columns,
                 uint8_t *scratch)
{
    assert(first + count <= batch->row_count);
    size_t bitmap_bytes = (count + 7) / 8 + 1;
    for (size_t i = 0; i < batch->column_count; i++) {
        const struct column_builder *from = &batch->columns[i];
        struct mote_column *to = &columns[i];
        *to = (struct mote_column){.type = from->type, .dimension = from->dimension};
        to->values = from->offsets ? from->values : from->values + first * from->element_bytes;
        to->offsets = from->offsets ? from->offsets + first : NULL;
        if (!from->has_null)
            continue;
        if (first % 8 == 0) {
            to->validity = from->validity + first / 8;
            continue;
        }
        uint8_t *bitmap = scratch + i * bitmap_bytes;
        memset(bitmap, 0, bitmap_bytes);
        for (size_t row = 0; row < count; row++) {
            size_t source = first + row;
            bitmap[row / 8] |= (uint8_t)((from->validity[source / 8] >> (source % 8) & 1) << (row % 8));
        }
        to->validity = bitmap;
    }
}

bool value_parse(uint32_t type, uint32_t dimension, const char *text, size_t length, struct mote_value *value,
                 void **bytes, struct field_problem *problem)
{
    uint32_t size = fixed_value_bytes(type, dimension);
    uint8_t *room = tool_alloc(size > length ? size : length);
    *bytes = room;
    *value = (struct mote_value){.type = type};
    bool vector = vector_element_bytes(type) != 0;
    size_t used = size;
    if (size) {
        trim(&text, &length);
        if (!parse_fixed(type, dimension, text, length, room, problem))
            return false;
    } else if (!parse_var(type, text, length, room, &used, problem)) {
        return false;
    }
    if (size && !vector) {
        memcpy(&value->as, room, size);
    } else {
        value->as.bytes.data = room;
        value->as.bytes.size_bytes = used;
    }
    return true;
}
