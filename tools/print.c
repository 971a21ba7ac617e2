/* print.c: rows as CSV or JSON lines (print.h). */
#include "tools/print.h"

#include <math.h>
#include <string.h>

#include "tools/columns.h"
#include "tools/number.h"

const char *const print_format_names[] = {"csv", "jsonl", NULL};
const char *const print_time_names[] = {"ns", "rfc3339", NULL};

static void print_double(struct output *out, double value, bool json)
{
    bool quoted = json && !isfinite(value);
    char *at = output_reserve(out);
    size_t length = 0;
    if (quoted)
        at[length++] = '"';
    length += number_print_double(value, at + length);
    if (quoted)
        at[length++] = '"';
    output_advance(out, length);
}

static void print_float(struct output *out, float value, bool json)
{
    bool quoted = json && !isfinite(value);
    char *at = output_reserve(out);
    size_t length = 0;
    if (quoted)
        at[length++] = '"';
    length += number_print_float(value, at + length);
    if (quoted)
        at[length++] = '"';
    output_advance(out, length);
}

static void print_integer(struct output *out, int64_t value)
{
    output_advance(out, number_print_int64(value, output_reserve(out)));
}

static void print_timestamp(struct output *out, const struct print_style *style, int64_t ns)
{
    if (style->time == PRINT_TIME_NS) {
        print_integer(out, ns);
        return;
    }
    bool json = style->format == PRINT_JSONL;
    if (json)
        output_char(out, '"');
    output_advance(out, number_print_rfc3339(ns, output_reserve(out)));
    if (json)
        output_char(out, '"');
}

/* Quoted only where RFC 4180 asks for it, or where the text would read back as NULL. */
static void print_csv_text(struct output *out, const char *text, size_t length)
{
    bool quote = length == 0;
    for (size_t i = 0; i < length && !quote; i++)
        quote = text[i] == ',' || text[i] == '"' || text[i] == '\n' || text[i] == '\r';
    if (!quote) {
        output_bytes(out, text, length);
        return;
    }
    output_char(out, '"');
    for (size_t first = 0; first < length;) {
        const char *found = memchr(text + first, '"', length - first);
        size_t count = found ? (size_t)(found - text) + 1 - first : length - first;
        output_bytes(out, text + first, count);
        if (found)
            output_char(out, '"');
        first += count;
    }
    output_char(out, '"');
}

static void print_blob(struct output *out, const uint8_t *data, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    output_text(out, "0x");
    for (size_t i = 0; i < length; i++) {
        char *at = output_reserve(out);
        at[0] = digits[data[i] >> 4];
        at[1] = digits[data[i] & 15];
        output_advance(out, 2);
    }
}

static void print_elements(struct output *out, uint32_t type, uint32_t count, const uint8_t *values, bool json)
{
    if (!json)
        output_char(out, '"');
    output_char(out, '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            output_char(out, ',');
        double wide;
        float narrow;
        uint16_t half;
        switch (type) {
        case MOTE_TYPE_POINT3:
            memcpy(&wide, values + 8 * (size_t)i, 8);
            print_double(out, wide, json);
            break;
        case MOTE_TYPE_VECTOR_F32:
            memcpy(&narrow, values + 4 * (size_t)i, 4);
            print_float(out, narrow, json);
            break;
        case MOTE_TYPE_VECTOR_F16:
            memcpy(&half, values + 2 * (size_t)i, 2);
            print_float(out, number_from_half(half), json);
            break;
        default:
            print_integer(out, values[i]);
        }
    }
    output_char(out, ']');
    if (!json)
        output_char(out, '"');
}

static void print_var(struct output *out, const struct mote_column *column, size_t row, bool json)
{
    const uint8_t *data = (const uint8_t *)column->values + column->offsets[row];
    size_t length = column->offsets[row + 1] - column->offsets[row];
    if (column->type == MOTE_TYPE_TEXT && json) {
        output_json_string(out, (const char *)data, length);
    } else if (column->type == MOTE_TYPE_TEXT) {
        print_csv_text(out, (const char *)data, length);
    } else {
        if (json)
            output_char(out, '"');
        print_blob(out, data, length);
        if (json)
            output_char(out, '"');
    }
}

static void print_value(struct output *out, const struct print_style *style, const struct mote_column *column,
                        size_t row)
{
    bool json = style->format == PRINT_JSONL;
    const uint8_t *values = column->values;
    int64_t i64;
    int32_t i32;
    double f64;
    float f32;
    switch (column->type) {
    case MOTE_TYPE_FLOAT64:
        memcpy(&f64, values + 8 * row, 8);
        print_double(out, f64, json);
        break;
    case MOTE_TYPE_FLOAT32:
        memcpy(&f32, values + 4 * row, 4);
        print_float(out, f32, json);
        break;
    case MOTE_TYPE_INT64:
        memcpy(&i64, values + 8 * row, 8);
        print_integer(out, i64);
        break;
    case MOTE_TYPE_INT32:
        memcpy(&i32, values + 4 * row, 4);
        print_integer(out, i32);
        break;
    case MOTE_TYPE_TIMESTAMP:
        memcpy(&i64, values + 8 * row, 8);
        print_timestamp(out, style, i64);
        break;
    case MOTE_TYPE_BOOL:
        output_text(out, values[row] ? "true" : "false");
        break;
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB:
        print_var(out, column, row, json);
        break;
    default: {
        uint32_t count = column->type == MOTE_TYPE_POINT3 ? 3 : column->dimension;
        size_t stride = fixed_value_bytes(column->type, column->dimension);
        print_elements(out, column->type, count, values + stride * row, json);
    }
    }
}

void print_row(struct output *out, const struct print_style *style, const struct mote_column *columns,
               const char *const *names, size_t column_count, size_t row)
{
    bool json = style->format == PRINT_JSONL;
    if (json)
        output_char(out, '{');
    for (size_t i = 0; i < column_count; i++) {
        const struct mote_column *column = &columns[i];
        if (i)
            output_char(out, ',');
        if (json) {
            output_json_string(out, names[i], strlen(names[i]));
            output_char(out, ':');
        }
        if (column->validity && !(column->validity[row / 8] >> (row % 8) & 1)) {
            if (json)
                output_text(out, "null");
            continue;
        }
        print_value(out, style, column, row);
    }
    if (json)
        output_char(out, '}');
    output_char(out, '\n');
}

void print_header(struct output *out, const struct print_style *style, const char *const *names, size_t column_count)
{
    if (style->format != PRINT_CSV)
        return;
    for (size_t i = 0; i < column_count; i++) {
        if (i)
            output_char(out, ',');
        print_csv_text(out, names[i], strlen(names[i]));
    }
    output_char(out, '\n');
}

void print_column_of_value(const struct mote_value *value, uint32_t dimension, uint32_t offsets[2], uint8_t *validity,
                           struct mote_column *column)
{
    *column = (struct mote_column){.type = value->type, .dimension = dimension, .validity = validity};
    *validity = value->is_null ? 0 : 1;
    offsets[0] = 0;
    bool in_bytes =
        value->type == MOTE_TYPE_TEXT || value->type == MOTE_TYPE_BLOB || vector_element_bytes(value->type) != 0;
    offsets[1] = in_bytes && !value->is_null ? (uint32_t)value->as.bytes.size_bytes : 0;
    column->offsets = offsets;
    column->values = in_bytes ? value->as.bytes.data : (const void *)&value->as;
}

int print_close(const struct tool_common *common, struct output *out, int code)
{
    struct mote_error cause;
    mote_last_error(&cause);
    int write_errno = output_close(out);
    if (code)
        return tool_fail(common, &cause);
    return write_errno ? tool_refuse(common, TOOL_REFUSED, 0, "cannot write the output: %s", strerror(write_errno)) : 0;
}
