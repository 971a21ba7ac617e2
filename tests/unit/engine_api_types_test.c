/* engine_api_types_test.c: values of every type, with NULLs, defaults and limits, bit for bit through the memtable, the log's replay, segments, compaction, and a column that was added later; by rows and by batches. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"

TestSuite(types, .timeout = 60);

enum { COLUMNS = 14, ROWS = 64, DIMENSION = 5 };

static const struct mote_write_options SYNC = {sizeof SYNC, MOTE_DURABILITY_SYNC, 0};

static const float DEFAULT_VECTOR[DIMENSION] = {1, -2, 0.5f, 1e30f, -0.0f};

/* Column 0 is the key; nullable ones, one that is NOT NULL, and three with defaults. */
static const struct mote_column_definition *definitions(void)
{
    static struct mote_column_definition all[COLUMNS] = {
        {.name = "id", .type = MOTE_TYPE_INT64},
        {.name = "i64", .type = MOTE_TYPE_INT64},
        {.name = "i32", .type = MOTE_TYPE_INT32},
        {.name = "f64", .type = MOTE_TYPE_FLOAT64},
        {.name = "f32", .type = MOTE_TYPE_FLOAT32},
        {.name = "flag", .type = MOTE_TYPE_BOOL},
        {.name = "time", .type = MOTE_TYPE_TIMESTAMP},
        {.name = "text", .type = MOTE_TYPE_TEXT},
        {.name = "blob", .type = MOTE_TYPE_BLOB},
        {.name = "v32", .type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION, .flags = MOTE_COLUMN_HAS_DEFAULT},
        {.name = "v16", .type = MOTE_TYPE_VECTOR_F16, .dimension = DIMENSION},
        {.name = "v8", .type = MOTE_TYPE_VECTOR_U8, .dimension = DIMENSION},
        {.name = "point", .type = MOTE_TYPE_POINT3, .flags = MOTE_COLUMN_NOT_NULL},
        {.name = "note", .type = MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_HAS_DEFAULT | MOTE_COLUMN_NOT_NULL},
    };
    all[9].default_value = value_bytes(MOTE_TYPE_VECTOR_F32, DEFAULT_VECTOR, sizeof DEFAULT_VECTOR);
    all[13].default_value = value_text("as usual, é");
    return all;
}

static mote_table *create(mote_db *db)
{
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "all";
    schema.columns = definitions();
    schema.column_count = COLUMNS;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = 6;
    must(mote_table_create(db, &schema, &table));
    return table;
}

/* ---- What each row holds ---- */

struct row_room {
    char text[400];
    uint8_t blob[400];
    float v32[DIMENSION];
    uint16_t v16[DIMENSION];
    uint8_t v8[DIMENSION];
};

static double special(uint32_t number)
{
    const double values[] = {0.0, -0.0, DBL_MAX, -DBL_MAX, DBL_MIN, DBL_TRUE_MIN, INFINITY, -INFINITY, NAN, 0.1, 1.0 / 3, 1e-300, 123456.789};
    return values[number % (sizeof values / sizeof values[0])];
}

static int64_t limit(uint32_t number)
{
    const int64_t values[] = {INT64_MIN, INT64_MAX, 0, -1, 1, INT64_MIN + 1, 1700000000000000000};
    return values[number % 7];
}

static void fill_bytes(struct row_room *room, uint32_t number)
{
    static const char *const signs[] = {"a", "é", "€", "𝄞", "\n", "z"};
    size_t at = 0;
    for (uint32_t i = 0; i < number * 3 % 90; i++) {
        const char *sign = signs[(i + number) % 6];
        memcpy(room->text + at, sign, strlen(sign));
        at += strlen(sign);
    }
    room->text[at] = 0;
    for (uint32_t i = 0; i < sizeof room->blob; i++)
        room->blob[i] = (uint8_t)(i * number);
    for (uint32_t i = 0; i < DIMENSION; i++) {
        room->v32[i] = (float)special(number + i);
        room->v16[i] = (uint16_t)(number * 4099 + i * 31);
        room->v8[i] = (uint8_t)(number + i * 50);
    }
}

static struct mote_value value_vector(uint32_t type, const void *data, size_t size_bytes) { return value_bytes(type, data, size_bytes); }

/* Row `number` into values[COLUMNS]; every column is NULL now and then where it may be. */
static void fill_row(uint32_t number, struct row_room *room, struct mote_value *values)
{
    fill_bytes(room, number);
    values[0] = value_i64((int64_t)number * 3 - 30);
    values[1] = value_i64(limit(number));
    values[2] = value_i32((int32_t)limit(number));
    values[3] = value_f64(special(number));
    values[4] = value_f32((float)special(number + 3));
    values[5] = value_bool(number % 3 == 0);
    values[6] = value_timestamp(limit(number + 2));
    values[7] = value_text(room->text);
    values[8] = value_bytes(MOTE_TYPE_BLOB, room->blob, number * 37 % sizeof room->blob);
    values[9] = value_vector(MOTE_TYPE_VECTOR_F32, room->v32, sizeof room->v32);
    values[10] = value_vector(MOTE_TYPE_VECTOR_F16, room->v16, sizeof room->v16);
    values[11] = value_vector(MOTE_TYPE_VECTOR_U8, room->v8, sizeof room->v8);
    values[12] = value_point(special(number), special(number + 1), special(number + 2));
    values[13] = value_text(number % 2 ? "" : "x");
    for (uint32_t column = 1; column < 12; column++)
        if ((number + column) % 6 == 0)
            values[column] = value_null(values[column].type);
}

/* What the table holds for row `number`: of every eighth row the last columns were not given. */
static void expected_row(uint32_t number, struct row_room *room, struct mote_value *values)
{
    fill_row(number, room, values);
    if (number % 8 == 7)
        values[13] = definitions()[13].default_value;
}

static void complain(const char *where, uint32_t number, uint32_t column)
{
    fprintf(stderr, "%s: row %u, column %s differs\n", where, number, definitions()[column].name);
    abort();
}

static void check_by_get(mote_table *table)
{
    mote_row *row = NULL;
    for (uint32_t number = 0; number < ROWS; number++) {
        struct row_room room;
        struct mote_value expected[COLUMNS], found;
        expected_row(number, &room, expected);
        must(mote_get(table, &expected[0], 1, &row));
        for (uint32_t column = 0; column < COLUMNS; column++) {
            must(mote_row_value(row, column, &found));
            if (!value_equal(&found, &expected[column]))
                complain("get", number, column);
        }
        require(mote_row_seq(row) > 0);
    }
    mote_row_free(row);
}

static void check_by_scan(mote_table *table, uint32_t chunk_rows, bool descending)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint32_t seen = 0;
    options.chunk_rows = chunk_rows;
    options.descending = descending;
    must(mote_scan(table, &options, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        require(chunk.column_count >= COLUMNS && chunk.row_count <= chunk_rows);
        for (size_t i = 0; i < chunk.row_count; i++, seen++) {
            uint32_t number = descending ? ROWS - 1 - seen : seen;
            struct row_room room;
            struct mote_value expected[COLUMNS];
            expected_row(number, &room, expected);
            for (uint32_t column = 0; column < COLUMNS; column++) {
                struct mote_value found = chunk_value(&chunk, column, i);
                if (!value_equal(&found, &expected[column]))
                    complain("scan", number, column);
            }
        }
    } while (chunk.row_count > 0);
    require(seen == ROWS);
    mote_cursor_close(cursor);
}

static void check_all(mote_table *table)
{
    check_by_get(table);
    check_by_scan(table, 4096, false);
    check_by_scan(table, 7, false);
    check_by_scan(table, 16, true);
}

/* ---- Writing ---- */

static void append_rows(mote_table *table)
{
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t number = i * 37 % ROWS; /* not in key order */
        struct row_room room;
        struct mote_value values[COLUMNS];
        fill_row(number, &room, values);
        must(mote_append(table, values, number % 8 == 7 ? 13 : 14, &SYNC, NULL));
    }
}

/* One column of a batch out of values. */
struct column_room {
    uint8_t *values;
    uint32_t *offsets;
    uint8_t *validity;
};

static void make_column(const struct mote_value (*rows)[COLUMNS], const uint32_t *numbers, uint32_t count, uint32_t column, struct column_room *room, struct mote_column *out)
{
    const struct mote_column_definition *definition = &definitions()[column];
    size_t at = 0;
    *room = (struct column_room){calloc(count, 512), calloc(count + 1, sizeof(uint32_t)), calloc(count / 8 + 1, 1)};
    require(room->values && room->offsets && room->validity);
    bool var = definition->type == MOTE_TYPE_TEXT || definition->type == MOTE_TYPE_BLOB;
    for (uint32_t i = 0; i < count; i++) {
        const struct mote_value *value = &rows[numbers[i]][column];
        static const size_t sizes[] = {0, 8, 4, 8, 4, 1, 8, 0, 0, 4 * DIMENSION, 2 * DIMENSION, DIMENSION, 24};
        size_t bytes = var ? (value->is_null ? 0 : value->as.bytes.size_bytes) : sizes[definition->type];
        if (!value->is_null) {
            bool by_pointer = var || (definition->type >= MOTE_TYPE_VECTOR_F32 && definition->type <= MOTE_TYPE_VECTOR_U8);
            memcpy(room->values + at, by_pointer ? value->as.bytes.data : (const void *)&value->as, bytes);
            room->validity[i / 8] |= (uint8_t)(1u << (i % 8));
        }
        at += bytes;
        room->offsets[i + 1] = (uint32_t)at;
    }
    *out = (struct mote_column){definition->type, definition->dimension, room->values, var ? room->offsets : NULL, room->validity};
}

static void append_one_batch(mote_table *table, const struct mote_value (*rows)[COLUMNS], const uint32_t *numbers, uint32_t count, uint32_t column_count)
{
    struct mote_column columns[COLUMNS];
    struct column_room rooms[COLUMNS];
    uint32_t index[COLUMNS];
    for (uint32_t i = 0; i < column_count; i++) { /* columns in another order than the schema's */
        index[i] = column_count - 1 - i;
        make_column(rows, numbers, count, index[i], &rooms[i], &columns[i]);
    }
    const struct mote_batch batch = {count, column_count, columns, index};
    must(mote_append_columns(table, &batch, &SYNC, NULL));
    for (uint32_t i = 0; i < column_count; i++) {
        free(rooms[i].values);
        free(rooms[i].offsets);
        free(rooms[i].validity);
    }
}

static void append_batches(mote_table *table)
{
    static struct row_room rooms[ROWS];
    static struct mote_value rows[ROWS][COLUMNS];
    uint32_t given[ROWS], absent[ROWS], given_count = 0, absent_count = 0;
    for (uint32_t number = 0; number < ROWS; number++) {
        fill_row(number, &rooms[number], rows[number]);
        if (number % 8 == 7)
            absent[absent_count++] = number;
        else
            given[given_count++] = number;
    }
    append_one_batch(table, (const struct mote_value(*)[COLUMNS])rows, given, given_count, COLUMNS);
    append_one_batch(table, (const struct mote_value(*)[COLUMNS])rows, absent, absent_count, COLUMNS - 1);
}

/* The life of a row: memory, replay, segment, reopened segment, compacted segment. */
static void live(struct fixture *fixture, void (*append)(mote_table *table))
{
    mote_table *table = create(fixture->db);
    append(table);
    check_all(table);
    fixture_crash(fixture);
    require(fixture_stats(fixture).recovered_rows == ROWS);
    must(mote_table_open(fixture->db, "all", &table));
    check_all(table);
    must(mote_flush(fixture->db));
    check_all(table);
    fixture_reopen(fixture);
    must(mote_table_open(fixture->db, "all", &table));
    check_all(table);
    append(table); /* over the segment: replaced by the same */
    check_all(table);
    must(mote_compact(fixture->db, NULL));
    check_all(table);
}

Test(types, every_type_by_rows_round_trips)
{
    struct fixture fixture;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    live(&fixture, append_rows);
    fixture_remove(&fixture);
}

Test(types, every_type_by_batches_round_trips)
{
    struct fixture fixture;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture.options.block_rows = 10;
    fixture.options.compression = 3;
    fixture_open(&fixture);
    live(&fixture, append_batches);
    fixture_remove(&fixture);
}

/* A column that comes later reads as its default in rows that lie in memtables, in the log and in segments, and as given in new ones. */
Test(types, added_column_reads_as_default_in_old_rows)
{
    struct fixture fixture;
    struct mote_column_definition later[] = {
        {.name = "gain", .type = MOTE_TYPE_FLOAT32, .flags = MOTE_COLUMN_HAS_DEFAULT | MOTE_COLUMN_NOT_NULL},
        {.name = "unit", .type = MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_HAS_DEFAULT},
        {.name = "spare", .type = MOTE_TYPE_BLOB},
    };
    later[0].default_value = value_f32(-0.0f);
    later[1].default_value = value_text("newton");
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = create(fixture.db);
    append_rows(table);
    must(mote_flush(fixture.db)); /* all of them in a segment */
    struct row_room room;
    struct mote_value values[COLUMNS + 3], key = value_i64(1000), found;
    fill_row(2, &room, values);
    values[0] = key;
    must(mote_append(table, values, 14, &SYNC, NULL)); /* one in the memtable */
    for (uint32_t i = 0; i < 3; i++)
        must(mote_table_add_column(table, &later[i]));
    values[0] = value_i64(1001);
    values[14] = value_f32(2.5f);
    values[15] = value_null(MOTE_TYPE_TEXT);
    values[16] = value_bytes(MOTE_TYPE_BLOB, "spare", 5);
    must(mote_append(table, values, 17, &SYNC, NULL));
    values[0] = value_i64(1002);
    must(mote_append(table, values, 14, &SYNC, NULL)); /* the rest absent */
    for (int round = 0; round < 5; round++) {
        mote_row *row = NULL;
        for (int64_t id = -30; id <= 1002; id = id == -30 ? 1000 : id + 1) {
            bool given = id == 1001;
            key = value_i64(id);
            must(mote_get(table, &key, 1, &row));
            must(mote_row_value(row, 14, &found));
            cr_expect(value_equal(&found, given ? &values[14] : &later[0].default_value), "round %d: gain of %lld", round, (long long)id);
            must(mote_row_value(row, 15, &found));
            cr_expect(value_equal(&found, given ? &values[15] : &later[1].default_value), "round %d: unit of %lld", round, (long long)id);
            must(mote_row_value(row, 16, &found));
            cr_expect(given ? value_equal(&found, &values[16]) : found.is_null != 0, "round %d: spare of %lld", round, (long long)id);
        }
        mote_row_free(row);
        if (round == 0)
            fixture_crash(&fixture);
        else if (round == 1)
            must(mote_flush(fixture.db));
        else if (round == 2)
            must(mote_compact(fixture.db, NULL));
        else
            fixture_reopen(&fixture);
        must(mote_table_open(fixture.db, "all", &table));
    }
    for (int64_t id = 1000; id <= 1002; id++) {
        key = value_i64(id);
        must(mote_delete(table, &key, 1, NULL, NULL));
    }
    check_all(table);
    fixture_remove(&fixture);
}
