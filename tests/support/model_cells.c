/* model_cells.c: values as cells, rows of cells, digests (model.h). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/model.h"

/* ---- Digests: two lanes of multiply and rotate, eight bytes a step ---- */

static uint64_t finish_lane(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    h ^= h >> 29;
    h *= 0xCF1BBCDCB7A56463u;
    return h ^ (h >> 32);
}

struct digest digest_bytes(uint64_t seed, const void *data, size_t size_bytes)
{
    const uint8_t *at = data;
    uint64_t a = seed ^ 0x9E3779B97F4A7C15u, b = (seed + size_bytes) * 0xA24BAED4963EE407u;
    for (size_t left = size_bytes; left > 0;) {
        uint64_t word = 0;
        size_t step = left < 8 ? left : 8;
        memcpy(&word, at, step);
        a = (a ^ word) * 0x9FB21C651E98DF25u;
        a ^= a >> 35;
        b = ((b << 23) | (b >> 41)) + word * 0xC2B2AE3D27D4EB4Fu;
        b ^= b >> 31;
        at += step;
        left -= step;
    }
    return (struct digest){finish_lane(a ^ size_bytes), finish_lane(b)};
}

static uint64_t hash_name(const char *name) { return digest_bytes(7, name, strlen(name)).a; }

struct digest row_digest(const char *table, const uint8_t *row, size_t row_bytes) { return digest_bytes(hash_name(table), row, row_bytes); }

struct digest schema_digest(const struct model_schema *schema)
{
    uint8_t text[4096];
    size_t at = 0;
    uint32_t words[5] = {schema->flags, schema->hidden, schema->column_count, schema->key_count, (uint32_t)schema->time_column};
    memcpy(text, words, sizeof words);
    at += sizeof words;
    memcpy(text + at, schema->key, schema->key_count * sizeof schema->key[0]);
    at += schema->key_count * sizeof schema->key[0];
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct model_column *column = &schema->columns[i];
        uint32_t kind[3] = {column->type, column->dimension, column->default_bytes};
        size_t name_bytes = strlen(column->name) + 1;
        memcpy(text + at, kind, sizeof kind);
        memcpy(text + at + sizeof kind, column->name, name_bytes);
        at += sizeof kind + name_bytes;
        memcpy(text + at, column->default_cell, column->default_bytes);
        at += column->default_bytes;
    }
    return digest_bytes(hash_name(schema->name) + 1, text, at);
}

/* ---- Cells ---- */

static bool is_var(uint32_t type) { return type == MOTE_TYPE_TEXT || type == MOTE_TYPE_BLOB; }
static bool is_vector(uint32_t type) { return type == MOTE_TYPE_VECTOR_F32 || type == MOTE_TYPE_VECTOR_F16 || type == MOTE_TYPE_VECTOR_U8; }

static size_t fixed_bytes(const struct model_column *column)
{
    switch (column->type) {
    case MOTE_TYPE_BOOL: return 1;
    case MOTE_TYPE_INT32:
    case MOTE_TYPE_FLOAT32: return 4;
    case MOTE_TYPE_POINT3: return 24;
    case MOTE_TYPE_VECTOR_F32: return 4 * (size_t)column->dimension;
    case MOTE_TYPE_VECTOR_F16: return 2 * (size_t)column->dimension;
    case MOTE_TYPE_VECTOR_U8: return column->dimension;
    default: return 8;
    }
}

size_t cell_bytes(const struct model_column *column, const uint8_t *cell)
{
    uint32_t length;
    if (cell[0] == 0)
        return 1;
    if (!is_var(column->type))
        return 1 + fixed_bytes(column);
    memcpy(&length, cell + 1, sizeof length);
    return 5 + (size_t)length;
}

static size_t put_cell(const struct model_column *column, const void *bytes, size_t size_bytes, uint8_t *cell)
{
    uint32_t length = (uint32_t)size_bytes;
    if (size_bytes + 5 > MODEL_CELL_BYTES_MAX) {
        fprintf(stderr, "model: a cell of %zu bytes\n", size_bytes);
        abort();
    }
    cell[0] = 1;
    if (!is_var(column->type)) {
        memcpy(cell + 1, bytes, size_bytes);
        return 1 + size_bytes;
    }
    memcpy(cell + 1, &length, sizeof length);
    if (size_bytes)
        memcpy(cell + 5, bytes, size_bytes);
    return 5 + size_bytes;
}

size_t cell_from_value(const struct model_column *column, const struct mote_value *value, uint8_t *cell)
{
    cell[0] = 0;
    if (value->is_null)
        return 1;
    if (is_var(column->type) || is_vector(column->type))
        return put_cell(column, value->as.bytes.data, value->as.bytes.size_bytes, cell);
    return put_cell(column, &value->as, fixed_bytes(column), cell);
}

void cell_to_value(const struct model_column *column, const uint8_t *cell, struct mote_value *value)
{
    uint32_t length;
    *value = (struct mote_value){.type = column->type, .is_null = cell[0] == 0};
    if (value->is_null)
        return;
    if (is_var(column->type)) {
        memcpy(&length, cell + 1, sizeof length);
        value->as.bytes.data = cell + 5;
        value->as.bytes.size_bytes = length;
    } else if (is_vector(column->type)) {
        value->as.bytes.data = cell + 1;
        value->as.bytes.size_bytes = fixed_bytes(column);
    } else {
        memcpy(&value->as, cell + 1, fixed_bytes(column));
    }
}

size_t cell_absent(const struct model_column *column, uint8_t *cell)
{
    cell[0] = 0;
    if (column->default_bytes == 0)
        return 1;
    memcpy(cell, column->default_cell, column->default_bytes);
    return column->default_bytes;
}

size_t cell_from_column(const struct model_column *column, const struct mote_column *values, size_t row, uint8_t *cell)
{
    const uint8_t *bytes = values->values;
    cell[0] = 0;
    if (values->validity && !(values->validity[row / 8] >> (row % 8) & 1))
        return 1;
    if (is_var(column->type))
        return put_cell(column, bytes + values->offsets[row], values->offsets[row + 1] - values->offsets[row], cell);
    return put_cell(column, bytes + row * fixed_bytes(column), fixed_bytes(column), cell);
}

int cell_compare(const struct model_column *column, const uint8_t *a, const uint8_t *b)
{
    struct mote_value x, y;
    cell_to_value(column, a, &x);
    cell_to_value(column, b, &y);
    switch (column->type) {
    case MOTE_TYPE_INT32: return (x.as.i32 > y.as.i32) - (x.as.i32 < y.as.i32);
    case MOTE_TYPE_BOOL: return (int)x.as.boolean - (int)y.as.boolean;
    case MOTE_TYPE_TEXT:
    case MOTE_TYPE_BLOB: {
        size_t common = x.as.bytes.size_bytes < y.as.bytes.size_bytes ? x.as.bytes.size_bytes : y.as.bytes.size_bytes;
        int order = common ? memcmp(x.as.bytes.data, y.as.bytes.data, common) : 0;
        return order ? order : (x.as.bytes.size_bytes > y.as.bytes.size_bytes) - (x.as.bytes.size_bytes < y.as.bytes.size_bytes);
    }
    default: return (x.as.i64 > y.as.i64) - (x.as.i64 < y.as.i64);
    }
}

/* ---- Rows ---- */

const uint8_t *row_cell(const struct model_schema *schema, const uint8_t *row, uint32_t position)
{
    for (uint32_t i = 0; i < position; i++)
        row += cell_bytes(&schema->columns[i], row);
    return row;
}

size_t row_key(const struct model_schema *schema, const uint8_t *row, uint8_t *key)
{
    size_t at = 0;
    for (uint32_t k = 0; k < schema->key_count; k++) {
        const uint8_t *cell = row_cell(schema, row, schema->key[k]);
        size_t size_bytes = cell_bytes(&schema->columns[schema->key[k]], cell);
        memcpy(key + at, cell, size_bytes);
        at += size_bytes;
    }
    return at;
}

int row_compare_keys(const struct model_schema *schema, const uint8_t *a, const uint8_t *b)
{
    for (uint32_t k = 0; k < schema->key_count; k++) {
        uint32_t position = schema->key[k];
        int order = cell_compare(&schema->columns[position], row_cell(schema, a, position), row_cell(schema, b, position));
        if (order)
            return order;
    }
    return 0;
}

bool row_model_time(const struct model_schema *schema, const uint8_t *row, int64_t *time_ns)
{
    struct mote_value value;
    if (schema->time_column < 0)
        return false;
    const struct model_column *column = &schema->columns[schema->time_column];
    cell_to_value(column, row_cell(schema, row, (uint32_t)schema->time_column), &value);
    if (value.is_null)
        return false;
    *time_ns = column->type == MOTE_TYPE_FLOAT64 ? (int64_t)llroundl((long double)value.as.f64 * 1e9L) : value.as.i64;
    return true;
}

static size_t describe_value(const struct mote_value *value, char *text, size_t text_bytes)
{
    int length;
    if (value->is_null)
        length = snprintf(text, text_bytes, "NULL");
    else if (value->type == MOTE_TYPE_INT32)
        length = snprintf(text, text_bytes, "%d", value->as.i32);
    else if (value->type == MOTE_TYPE_FLOAT32)
        length = snprintf(text, text_bytes, "%g", (double)value->as.f32);
    else if (value->type == MOTE_TYPE_FLOAT64 || value->type == MOTE_TYPE_POINT3)
        length = snprintf(text, text_bytes, "%g", value->as.f64);
    else if (value->type == MOTE_TYPE_BOOL)
        length = snprintf(text, text_bytes, "%d", value->as.boolean);
    else if (value->type == MOTE_TYPE_TEXT)
        length = snprintf(text, text_bytes, "'%.*s'", (int)(value->as.bytes.size_bytes < 24 ? value->as.bytes.size_bytes : 24), (const char *)value->as.bytes.data);
    else if (is_var(value->type) || is_vector(value->type))
        length = snprintf(text, text_bytes, "[%llu]", (unsigned long long)value->as.bytes.size_bytes);
    else
        length = snprintf(text, text_bytes, "%lld", (long long)value->as.i64);
    return length < 0 ? 0 : (size_t)length < text_bytes ? (size_t)length : text_bytes - 1;
}

void row_describe(const struct model_schema *schema, const uint8_t *row, char *text, size_t text_bytes)
{
    size_t at = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < schema->column_count && at + 2 < text_bytes; i++) {
        struct mote_value value;
        cell_to_value(&schema->columns[i], row, &value);
        row += cell_bytes(&schema->columns[i], row);
        if (i) {
            text[at++] = ' ';
            text[at] = 0;
        }
        at += describe_value(&value, text + at, text_bytes - at);
    }
}
