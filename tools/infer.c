/* infer.c: types from a CSV's header and first lines (infer.h). */
#include "tools/infer.h"

#include <stdlib.h>
#include <string.h>

#include "tools/number.h"
#include "tools/output.h"

/* Which types still fit. */
enum fits { FITS_BOOL = 1, FITS_INT64 = 2, FITS_FLOAT64 = 4, FITS_TIMESTAMP = 8, FITS_ALL = 15 };

int infer_header(const struct tool_common *common, const struct csv *csv, struct column_builder *columns)
{
    if (csv->field_count > MOTE_COLUMNS_MAX)
        return tool_refuse(common, TOOL_REFUSED, csv->line, "line %llu: %zu columns; a table has at most %d",
                           (unsigned long long)csv->line, csv->field_count, MOTE_COLUMNS_MAX);
    for (size_t i = 0; i < csv->field_count; i++) {
        const struct csv_field *field = &csv->fields[i];
        if (field->length == 0 || field->length > MOTE_NAME_BYTES_MAX || memchr(field->data, '\0', field->length) ||
            !utf8_valid((const uint8_t *)field->data, field->length))
            return tool_refuse(common, TOOL_REFUSED, csv->line,
                               "line %llu, column %zu: expected a column's name of 1 to %d bytes of UTF-8",
                               (unsigned long long)csv->line, i + 1, MOTE_NAME_BYTES_MAX);
        columns[i] = (struct column_builder){0};
        memcpy(columns[i].name, field->data, field->length);
        for (size_t other = 0; other < i; other++) {
            if (strcmp(columns[other].name, columns[i].name) == 0)
                return tool_refuse(common, TOOL_REFUSED, csv->line,
                                   "line %llu, column %zu: the name \"%s\" stands twice", (unsigned long long)csv->line,
                                   i + 1, columns[i].name);
        }
    }
    return 0;
}

/* A whole number written without leading zeros or a plus sign, so that printing it gives the text back. */
static bool is_plain_integer(const char *text, size_t length)
{
    int64_t value;
    if (!number_parse_int64(text, length, &value) || text[0] == '+')
        return false;
    size_t first = text[0] == '-';
    return text[first] != '0' || length == first + 1;
}

static bool has_leading_zero(const char *text, size_t length)
{
    size_t first = length > 0 && text[0] == '-';
    return length > first + 1 && text[first] == '0' && text[first + 1] >= '0' && text[first + 1] <= '9';
}

static bool is_digits(const char *text, size_t length)
{
    size_t at = length > 0 && text[0] == '-';
    for (size_t i = at; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
    }
    return length > at;
}

static unsigned fits_field(const char *text, size_t length)
{
    while (length > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        length--;
    }
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        length--;
    if (length == 0)
        return FITS_ALL;
    double number;
    int64_t ns;
    unsigned fits = 0;
    bool word;
    if (length >= 4 && number_parse_bool(text, length, &word))
        fits |= FITS_BOOL;
    if (is_plain_integer(text, length))
        return fits | FITS_INT64 | FITS_FLOAT64;
    if (!is_digits(text, length) && !has_leading_zero(text, length) && number_parse_double(text, length, &number))
        fits |= FITS_FLOAT64;
    if (number_parse_rfc3339(text, length, &ns))
        fits |= FITS_TIMESTAMP;
    return fits;
}

static uint32_t choose_type(unsigned fits, bool seen, bool time)
{
    if (!seen)
        return time ? MOTE_TYPE_TIMESTAMP : MOTE_TYPE_TEXT;
    if (fits & FITS_BOOL)
        return MOTE_TYPE_BOOL;
    if (fits & FITS_INT64)
        return time ? MOTE_TYPE_TIMESTAMP : MOTE_TYPE_INT64;
    if (fits & FITS_FLOAT64)
        return MOTE_TYPE_FLOAT64;
    if (fits & FITS_TIMESTAMP)
        return MOTE_TYPE_TIMESTAMP;
    return MOTE_TYPE_TEXT;
}

int infer_types(const struct tool_common *common, struct csv *csv, struct column_builder *columns, size_t count,
                int32_t time_column, uint64_t *rows)
{
    if (csv_fill(csv, INFER_BYTES, INFER_PAUSE_MS) == CSV_FAILED)
        return tool_refuse(common, TOOL_REFUSED, 0, "cannot read the input: %s", strerror(csv->system_errno));
    unsigned *fits = tool_alloc(count * sizeof fits[0]);
    bool *seen = tool_alloc(count * sizeof seen[0]);
    for (size_t i = 0; i < count; i++) {
        fits[i] = FITS_ALL;
        seen[i] = false;
    }
    struct csv *ahead = csv_peek(csv);
    enum csv_result result;
    *rows = 0;
    while (*rows < INFER_ROWS && (result = csv_next(ahead)) != CSV_END) {
        /* Malformed lines are reported when their turn comes. */
        if (result != CSV_RECORD || ahead->field_count != count)
            continue;
        ++*rows;
        for (size_t i = 0; i < count; i++) {
            const struct csv_field *field = &ahead->fields[i];
            if (field->length == 0 && !field->quoted)
                continue;
            fits[i] &= field->length == 0 ? 0 : fits_field(field->data, field->length);
            seen[i] = true;
        }
    }
    free(ahead);
    for (size_t i = 0; i < count; i++) {
        if (columns[i].type == 0)
            columns[i].type = choose_type(fits[i], seen[i], (int32_t)i == time_column);
    }
    free(fits);
    free(seen);
    return 0;
}

/* "float64", "vector_f32[128]". */
static bool parse_type(const char *text, size_t length, uint32_t *type, uint32_t *dimension)
{
    const char *bracket = memchr(text, '[', length);
    size_t name_length = bracket ? (size_t)(bracket - text) : length;
    *type = type_from_text(text, name_length);
    *dimension = 0;
    bool vector = vector_element_bytes(*type) != 0;
    if (!bracket)
        return *type != 0 && !vector;
    int64_t number;
    if (!vector || text[length - 1] != ']' || !number_parse_int64(bracket + 1, length - name_length - 2, &number) ||
        number < 1 || number > MOTE_VECTOR_DIMENSION_MAX)
        return false;
    *dimension = (uint32_t)number;
    return true;
}

int infer_apply_types(const struct tool_common *common, const char *types, struct column_builder *columns, size_t count)
{
    for (const char *at = types; at && *at;) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at);
        const char *colon = memchr(at, ':', length);
        size_t name_length = colon ? (size_t)(colon - at) : length, column = count;
        for (size_t i = 0; i < count; i++) {
            if (strlen(columns[i].name) == name_length && memcmp(columns[i].name, at, name_length) == 0)
                column = i;
        }
        if (column == count)
            return tool_refuse(common, TOOL_USAGE, 0, "--types: the header has no column \"%.*s\"", (int)name_length,
                               at);
        if (!colon ||
            !parse_type(colon + 1, length - name_length - 1, &columns[column].type, &columns[column].dimension))
            return tool_refuse(
                common, TOOL_USAGE, 0,
                "--types: \"%.*s\": expected name:type with int64, int32, float64, float32, bool, timestamp, text, "
                "blob, point3, vector_f32[N], vector_f16[N] or vector_u8[N]",
                (int)length, at);
        at = comma ? comma + 1 : NULL;
    }
    return 0;
}
