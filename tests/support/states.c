/* states.c: see states.h. */
#include "tests/support/states.h"

#include <stdio.h>
#include <string.h>

const char *const state_names[STATE_TABLES] = {"fixed", "texts", "pages"};

void states_create(mote_db *db, struct state_tables *tables)
{
    const uint32_t key = 0;
    for (unsigned t = 0; t < STATE_TABLES; t++) {
        struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "value", .type = MOTE_TYPE_INT64}, {.name = "text", .type = MOTE_TYPE_TEXT}};
        struct mote_schema schema = MOTE_SCHEMA_INIT;
        schema.name = state_names[t];
        schema.columns = columns;
        schema.column_count = t == 0 ? 2 : 3;
        schema.key_columns = &key;
        schema.key_column_count = 1;
        schema.flags = t == 2 ? (uint32_t)MOTE_TABLE_ROW_PAGES : 0;
        must(mote_table_create(db, &schema, &tables->tables[t]));
    }
}

void states_open(mote_db *db, struct state_tables *tables)
{
    for (unsigned t = 0; t < STATE_TABLES; t++)
        must(mote_table_open(db, state_names[t], &tables->tables[t]));
}

static size_t make_text(int64_t value, char text[STATE_TEXT_BYTES])
{
    size_t bytes = 16 + (size_t)((uint64_t)value * 37 % (STATE_TEXT_BYTES - 16));
    snprintf(text, STATE_TEXT_BYTES, "%015lld", (long long)value);
    for (size_t i = 15; i < bytes; i++)
        text[i] = (char)('a' + (uint64_t)value * (i + 3) % 23);
    return bytes;
}

size_t states_row(unsigned table, int64_t key, int64_t value, char text[STATE_TEXT_BYTES], struct mote_value row[3])
{
    row[0] = value_i64(key);
    row[1] = value_i64(value);
    row[2] = value_bytes(MOTE_TYPE_TEXT, text, make_text(value, text));
    return table == 0 ? 2 : 3;
}

static void check_row(unsigned table, int64_t value, const struct mote_value *text)
{
    char expected[STATE_TEXT_BYTES];
    if (table == 0)
        return;
    size_t bytes = make_text(value, expected);
    require(!text->is_null && text->as.bytes.size_bytes == bytes && memcmp(text->as.bytes.data, expected, bytes) == 0);
}

int states_read_cursor(unsigned table, mote_cursor *cursor, struct state *state)
{
    struct mote_chunk chunk;
    int result;
    do {
        result = mote_cursor_next(cursor, &chunk);
        for (size_t i = 0; !result && i < chunk.row_count; i++) {
            int64_t key = chunk_value(&chunk, 0, i).as.i64, value = chunk_value(&chunk, 1, i).as.i64;
            struct mote_value text = table == 0 ? value_null(MOTE_TYPE_TEXT) : chunk_value(&chunk, 2, i);
            require(key >= 0 && key < STATE_KEYS && value != 0 && state->values[table][key] == 0);
            check_row(table, value, &text);
            state->values[table][key] = value;
        }
    } while (!result && chunk.row_count > 0);
    mote_cursor_close(cursor);
    return result;
}

int states_read(const struct state_tables *tables, const mote_snapshot *snapshot, bool descending, struct state *state)
{
    int result = MOTE_OK;
    memset(state, 0, sizeof *state);
    for (unsigned t = 0; t < STATE_TABLES && !result; t++) {
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        mote_cursor *cursor;
        options.snapshot = snapshot;
        options.descending = descending;
        options.chunk_rows = 7; /* several chunks, so that a cursor goes on */
        result = mote_scan(tables->tables[t], &options, &cursor);
        if (!result)
            result = states_read_cursor(t, cursor, state);
    }
    return result;
}

int64_t states_row_value(const mote_row *row)
{
    struct mote_value value;
    must(mote_row_value(row, 1, &value));
    return value.as.i64;
}

int states_get(const struct state_tables *tables, const mote_snapshot *snapshot, unsigned table, int64_t key, int64_t *value)
{
    const struct mote_value wanted = value_i64(key);
    mote_row *row = NULL;
    int result = mote_get_at(tables->tables[table], snapshot, &wanted, 1, &row);
    *value = result ? 0 : states_row_value(row);
    mote_row_free(row);
    return result == MOTE_ENOTFOUND ? MOTE_OK : result;
}

bool states_equal(const struct state *a, const struct state *b) { return memcmp(a, b, sizeof *a) == 0; }

void states_describe(const struct state *found, const struct state *expected, char *text, size_t text_bytes)
{
    size_t length = 0;
    text[0] = 0;
    for (unsigned t = 0; t < STATE_TABLES; t++)
        for (unsigned k = 0; k < STATE_KEYS && length + 80 < text_bytes; k++)
            if (found->values[t][k] != expected->values[t][k])
                length += (size_t)snprintf(text + length, text_bytes - length, "%s[%u] is %lld, not %lld; ", state_names[t], k, (long long)found->values[t][k], (long long)expected->values[t][k]);
}
