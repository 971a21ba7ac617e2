/* oracle_content.c: the whole content of an open volume, read by scans (oracle.h). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/oracle.h"

static void *resize(void *array, size_t size_bytes)
{
    array = realloc(array, size_bytes);
    if (!array) {
        fprintf(stderr, "oracle: no memory for %zu bytes\n", size_bytes);
        abort();
    }
    return array;
}

void oracle_free(struct oracle *oracle)
{
    free(oracle->content.row_at);
    free(oracle->content.bytes);
    memset(&oracle->content, 0, sizeof oracle->content);
}

int oracle_fail(struct oracle *oracle, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(oracle->why, sizeof oracle->why, format, arguments);
    va_end(arguments);
    return -1;
}

int oracle_fail_code(struct oracle *oracle, int code, const char *format, ...)
{
    struct mote_error error;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(oracle->why, sizeof oracle->why, format, arguments);
    va_end(arguments);
    mote_last_error(&error);
    if (length > 0 && (size_t)length < sizeof oracle->why)
        snprintf(oracle->why + length, sizeof oracle->why - (size_t)length, ": %s (%s)", mote_error_name(code), error.message);
    return -1;
}

/* ---- Definitions ---- */

static int read_column(struct oracle *oracle, mote_table *table, struct model_schema *schema, uint32_t position)
{
    struct mote_column_definition definition;
    struct model_column *column = &schema->columns[position];
    int result = mote_table_column(table, position, &definition);
    if (result)
        return oracle_fail_code(oracle, result, "column %u of table %s", position, schema->name);
    snprintf(column->name, sizeof column->name, "%s", definition.name);
    column->type = definition.type;
    bool vector = definition.type >= MOTE_TYPE_VECTOR_F32 && definition.type <= MOTE_TYPE_VECTOR_U8;
    column->dimension = vector ? definition.dimension : 0;
    schema->hidden = schema->hidden || (definition.flags & MOTE_COLUMN_HIDDEN);
    if (definition.flags & MOTE_COLUMN_HAS_DEFAULT) {
        uint8_t cell[MODEL_CELL_BYTES_MAX];
        size_t size_bytes = cell_from_value(column, &definition.default_value, cell);
        if (size_bytes > sizeof column->default_cell)
            return oracle_fail(oracle, "the default of column %s takes %zu bytes", column->name, size_bytes);
        memcpy(column->default_cell, cell, size_bytes);
        column->default_bytes = (uint32_t)size_bytes;
    }
    return MOTE_OK;
}

static int read_schema(struct oracle *oracle, mote_table *table, struct model_schema *schema)
{
    struct mote_table_info info = {.size_bytes = sizeof info};
    memset(schema, 0, sizeof *schema);
    int result = mote_table_describe(table, &info);
    if (result)
        return oracle_fail_code(oracle, result, "describe");
    if (info.column_count > MODEL_COLUMNS_MAX || info.key_column_count > MODEL_KEY_MAX || strlen(info.name) >= MODEL_NAME_BYTES)
        return oracle_fail(oracle, "table %s has %u columns and %u key columns", info.name, info.column_count, info.key_column_count);
    snprintf(schema->name, sizeof schema->name, "%.*s", (int)sizeof schema->name - 1, info.name);
    schema->flags = info.flags;
    schema->column_count = info.column_count;
    schema->key_count = info.key_column_count;
    memcpy(schema->key, info.key_columns, info.key_column_count * sizeof schema->key[0]);
    schema->time_column = info.time_column;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        if (read_column(oracle, table, schema, i))
            return -1;
    }
    return MOTE_OK;
}

/* ---- Scans ---- */

size_t oracle_row_from_chunk(const struct model_schema *schema, const struct mote_chunk *chunk, size_t row, uint8_t *cells)
{
    size_t at = 0;
    for (uint32_t i = 0; i < schema->column_count; i++)
        at += cell_from_column(&schema->columns[i], &chunk->columns[i], row, cells + at);
    return at;
}

static int visit_chunk(const struct model_schema *schema, const struct mote_chunk *chunk, oracle_visit visit, void *context)
{
    uint8_t cells[MODEL_ROW_BYTES_MAX * 2];
    for (size_t row = 0; row < chunk->row_count; row++) {
        size_t size_bytes = oracle_row_from_chunk(schema, chunk, row, cells);
        int result = visit(context, cells, size_bytes);
        if (result)
            return result;
    }
    return MOTE_OK;
}

int oracle_scan(mote_table *table, const struct model_schema *schema, const struct mote_scan_options *options, oracle_visit visit, void *context)
{
    struct mote_scan_options all = *options;
    uint32_t positions[MODEL_COLUMNS_MAX];
    struct mote_chunk chunk;
    mote_cursor *cursor;
    for (uint32_t i = 0; i < schema->column_count; i++)
        positions[i] = i;
    all.columns = positions;
    all.column_count = schema->column_count;
    int result = mote_scan(table, &all, &cursor);
    if (result)
        return result;
    do {
        result = mote_cursor_next(cursor, &chunk);
        if (!result)
            result = visit_chunk(schema, &chunk, visit, context);
    } while (!result && chunk.row_count > 0);
    mote_cursor_close(cursor);
    return result;
}

struct reading {
    struct oracle *oracle;
    struct content_table *table;
};

static void add_row(struct content *content, const uint8_t *row, size_t row_bytes)
{
    if (content->row_count + 2 > content->row_capacity) {
        content->row_capacity = content->row_capacity ? content->row_capacity * 2 : 1024;
        content->row_at = resize(content->row_at, content->row_capacity * sizeof *content->row_at);
        if (content->row_count == 0)
            content->row_at[0] = 0;
    }
    size_t at = content->row_at[content->row_count];
    if (at + row_bytes > content->byte_capacity) {
        content->byte_capacity = (at + row_bytes) * 2;
        content->bytes = resize(content->bytes, content->byte_capacity);
    }
    memcpy(content->bytes + at, row, row_bytes);
    content->row_at[++content->row_count] = at + row_bytes;
}

static int read_row(void *context, const uint8_t *row, size_t row_bytes)
{
    struct reading *reading = context;
    struct content *content = &reading->oracle->content;
    struct content_table *table = reading->table;
    if (table->row_count > 0 && row_compare_keys(&table->schema, content->bytes + content->row_at[content->row_count - 1], row) >= 0) {
        char text[256];
        row_describe(&table->schema, row, text, sizeof text);
        oracle_fail(reading->oracle, "a scan of %s yields row %u out of order: %s", table->schema.name, table->row_count, text);
        return 1;
    }
    add_row(content, row, row_bytes);
    table->row_count++;
    content->digest = digest_add(content->digest, row_digest(table->schema.name, row, row_bytes));
    return MOTE_OK;
}

struct listing {
    struct oracle *oracle;
    uint32_t chunk_rows;
};

static int read_table(mote_table *handle, const char *name, void *context)
{
    struct listing *listing = context;
    struct oracle *oracle = listing->oracle;
    struct content *content = &oracle->content;
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    if (content->table_count == ORACLE_TABLES_MAX)
        return oracle_fail(oracle, "more than %u tables", ORACLE_TABLES_MAX), 1;
    struct content_table *table = &content->tables[content->table_count++];
    *table = (struct content_table){.handle = handle, .row_first = content->row_count};
    if (read_schema(oracle, handle, &table->schema))
        return 1;
    content->digest = digest_add(content->digest, schema_digest(&table->schema));
    options.chunk_rows = listing->chunk_rows;
    struct reading reading = {oracle, table};
    int result = oracle_scan(handle, &table->schema, &options, read_row, &reading);
    if (result < 0)
        oracle_fail_code(oracle, result, "the scan of table %s failed after %u rows", name, table->row_count);
    return result;
}

int oracle_read_content(struct oracle *oracle, mote_db *db, uint32_t chunk_rows)
{
    struct listing listing = {oracle, chunk_rows};
    struct content *content = &oracle->content;
    content->table_count = 0;
    content->row_count = 0;
    content->digest = (struct digest){0, 0};
    if (!content->row_at) {
        content->row_capacity = 1024;
        content->row_at = resize(NULL, content->row_capacity * sizeof *content->row_at);
    }
    content->row_at[0] = 0;
    int result = mote_table_list(db, read_table, &listing);
    return result > 0 ? -1 : result;
}
