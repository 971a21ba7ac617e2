/* engine_model.c: see engine_model.h. */
#include "tests/support/engine_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX 64u
#define COLUMNS 5

struct model model_make(uint32_t key_count)
{
    struct model model = {key_count, calloc(key_count, sizeof *model.version)};
    require(model.version);
    return model;
}

void model_free(struct model *model) { free(model->version); }

mote_table *model_table_create(mote_db *db, const char *name)
{
    const struct mote_column_definition columns[] = {
        {.name = "k", .type = MOTE_TYPE_INT64}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "v", .type = MOTE_TYPE_FLOAT64}, {.name = "s", .type = MOTE_TYPE_TEXT}, {.name = "n", .type = MOTE_TYPE_INT32}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = COLUMNS;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

mote_table *model_table_open(mote_db *db, const char *name)
{
    mote_table *table;
    must(mote_table_open(db, name, &table));
    return table;
}

/* ---- A row ---- */

int64_t model_time(uint32_t key, uint32_t version) { return version % 3 == 2 ? 5 * (int64_t)key : 1000 * (int64_t)key + (int64_t)(version % 1000) * 7; }

static struct mote_value number_of(uint32_t key, uint32_t version) { return version % 7 == 0 ? value_null(MOTE_TYPE_FLOAT64) : value_f64((double)key + (double)version / 1048576.0); }

static struct mote_value text_of(uint32_t key, uint32_t version, char text[TEXT_BYTES_MAX])
{
    if ((key + version) % 5 == 0)
        return value_null(MOTE_TYPE_TEXT);
    snprintf(text, TEXT_BYTES_MAX, "%u/%u-%.*s", key, version, (int)((key + version) % 30), "abcdefghijklmnopqrstuvwxyz0123456789");
    if ((key + version) % 11 == 0)
        text[0] = 0;
    return value_text(text);
}

static void row_of(uint32_t key, uint32_t version, struct mote_value values[COLUMNS], char text[TEXT_BYTES_MAX])
{
    values[0] = value_i64(key);
    values[1] = value_timestamp(model_time(key, version));
    values[2] = number_of(key, version);
    values[3] = text_of(key, version, text);
    values[4] = value_i32((int32_t)version);
}

/* The version that a row says it is; 0 unless every column agrees. */
static uint32_t version_of(const struct mote_value row[COLUMNS])
{
    struct mote_value expected[COLUMNS];
    char text[TEXT_BYTES_MAX];
    if (row[0].is_null || row[4].is_null || row[0].as.i64 < 0 || row[0].as.i64 > UINT32_MAX || row[4].as.i32 <= 0)
        return 0;
    row_of((uint32_t)row[0].as.i64, (uint32_t)row[4].as.i32, expected, text);
    for (int i = 0; i < COLUMNS; i++)
        if (!value_equal(&row[i], &expected[i]))
            return 0;
    return (uint32_t)row[4].as.i32;
}

/* ---- Writing ---- */

int model_append(mote_table *table, uint32_t key, uint32_t version, const struct mote_write_options *options, uint64_t *ticket)
{
    struct mote_value values[COLUMNS];
    char text[TEXT_BYTES_MAX];
    row_of(key, version, values, text);
    return mote_append(table, values, COLUMNS, options, ticket);
}

void model_put(mote_table *table, struct model *model, uint32_t key, uint32_t version, const struct mote_write_options *options, uint64_t *ticket)
{
    must(model_append(table, key, version, options, ticket));
    model->version[key] = version;
}

struct batch_room {
    int64_t *keys, *times;
    double *numbers;
    uint8_t *number_validity, *text_validity, *text;
    uint32_t *offsets;
    int32_t *versions;
};

static void fill_batch(struct batch_room *room, uint32_t first, uint32_t count, uint32_t version)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        char text[TEXT_BYTES_MAX];
        struct mote_value values[COLUMNS];
        row_of(first + i, version, values, text);
        room->keys[i] = values[0].as.i64;
        room->times[i] = values[1].as.i64;
        room->numbers[i] = values[2].is_null ? 0 : values[2].as.f64;
        if (!values[2].is_null)
            room->number_validity[i / 8] |= (uint8_t)(1u << (i % 8));
        if (!values[3].is_null) {
            room->text_validity[i / 8] |= (uint8_t)(1u << (i % 8));
            memcpy(room->text + at, text, values[3].as.bytes.size_bytes);
            at += (uint32_t)values[3].as.bytes.size_bytes;
        }
        room->offsets[i + 1] = at;
        room->versions[i] = values[4].as.i32;
    }
}

int model_append_batch(mote_table *table, uint32_t first, uint32_t count, uint32_t version, const struct mote_write_options *options, uint64_t *ticket)
{
    size_t rows = count ? count : 1;
    struct batch_room room = {calloc(rows, 8), calloc(rows, 8), calloc(rows, 8), calloc(rows, 1), calloc(rows, 1), calloc(rows, TEXT_BYTES_MAX), calloc(rows + 1, 4), calloc(rows, 4)};
    require(room.keys && room.times && room.numbers && room.number_validity && room.text_validity && room.text && room.offsets && room.versions);
    fill_batch(&room, first, count, version);
    const struct mote_column columns[] = {
        {.type = MOTE_TYPE_INT64, .values = room.keys},
        {.type = MOTE_TYPE_TIMESTAMP, .values = room.times},
        {.type = MOTE_TYPE_FLOAT64, .values = room.numbers, .validity = room.number_validity},
        {.type = MOTE_TYPE_TEXT, .values = room.text, .offsets = room.offsets, .validity = room.text_validity},
        {.type = MOTE_TYPE_INT32, .values = room.versions},
    };
    const struct mote_batch batch = {count, COLUMNS, columns, NULL};
    int result = mote_append_columns(table, &batch, options, ticket);
    free(room.keys);
    free(room.times);
    free(room.numbers);
    free(room.number_validity);
    free(room.text_validity);
    free(room.text);
    free(room.offsets);
    free(room.versions);
    return result;
}

void model_put_batch(mote_table *table, struct model *model, uint32_t first, uint32_t count, uint32_t version, const struct mote_write_options *options, uint64_t *ticket)
{
    must(model_append_batch(table, first, count, version, options, ticket));
    for (uint32_t i = 0; i < count; i++)
        model->version[first + i] = version;
}

void model_delete(mote_table *table, struct model *model, uint32_t key, const struct mote_write_options *options, uint64_t *ticket)
{
    struct mote_value value = value_i64(key);
    must(mote_delete(table, &value, 1, options, ticket));
    model->version[key] = 0;
}

/* ---- Reading ---- */

static void complain(mote_table *table, const char *what, uint64_t key, uint64_t found, uint64_t expected)
{
    struct mote_table_info info = {.size_bytes = sizeof info};
    must(mote_table_describe(table, &info));
    fprintf(stderr, "table %s, %s: key %llu: found %llu, expected %llu (%u segments, %llu pending)\n", info.name, what, (unsigned long long)key, (unsigned long long)found, (unsigned long long)expected,
            info.segment_count, (unsigned long long)info.pending_updates);
    abort();
}

uint32_t model_read(mote_table *table, uint32_t key)
{
    struct mote_value value = value_i64(key), row_values[COLUMNS];
    mote_row *row = NULL;
    int result = mote_get(table, &value, 1, &row);
    if (result == MOTE_ENOTFOUND)
        return 0;
    must(result);
    for (uint32_t i = 0; i < COLUMNS; i++)
        must(mote_row_value(row, i, &row_values[i]));
    uint32_t version = row_values[0].as.i64 == key ? version_of(row_values) : 0;
    mote_row_free(row);
    if (version == 0)
        complain(table, "get, a row that was never written", key, 0, 0);
    return version;
}

uint64_t model_scan(mote_table *table, uint32_t key_count, bool descending, uint32_t *version)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint64_t rows = 0;
    int64_t last = descending ? INT64_MAX : -1;
    options.descending = descending;
    options.chunk_rows = 777;
    memset(version, 0, key_count * sizeof *version);
    must(mote_scan(table, &options, &cursor));
    for (;;) {
        must(mote_cursor_next(cursor, &chunk));
        if (chunk.row_count == 0)
            break;
        for (size_t i = 0; i < chunk.row_count; i++) {
            struct mote_value row[COLUMNS];
            for (size_t c = 0; c < COLUMNS; c++)
                row[c] = chunk_value(&chunk, c, i);
            int64_t key = row[0].as.i64;
            if (key < 0 || key >= key_count || (descending ? key >= last : key <= last))
                complain(table, "scan, a key out of order or never written, after", (uint64_t)last, (uint64_t)key, key_count);
            version[key] = version_of(row);
            if (version[key] == 0)
                complain(table, "scan, a row that was never written", (uint64_t)key, 0, 0);
            last = key;
            rows++;
        }
    }
    mote_cursor_close(cursor);
    return rows;
}

uint64_t model_count_time(mote_table *table, int64_t from_ns, int64_t to_ns)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint64_t rows = 0;
    options.use_time_range = 1;
    options.time_from_ns = from_ns;
    options.time_to_ns = to_ns;
    must(mote_scan(table, &options, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            struct mote_value time = chunk_value(&chunk, 1, i);
            require(!time.is_null && time.as.i64 >= from_ns && time.as.i64 <= to_ns);
        }
        rows += chunk.row_count;
    } while (chunk.row_count > 0);
    mote_cursor_close(cursor);
    return rows;
}

static void check_time(mote_table *table, const struct model *model, int64_t from_ns, int64_t to_ns)
{
    uint64_t expected = 0;
    for (uint32_t key = 0; key < model->key_count; key++) {
        int64_t time = model_time(key, model->version[key]);
        expected += model->version[key] && time >= from_ns && time <= to_ns;
    }
    uint64_t found = model_count_time(table, from_ns, to_ns);
    if (found != expected)
        complain(table, "time range from", (uint64_t)from_ns, found, expected);
}

void model_check(mote_table *table, const struct model *model)
{
    uint32_t *found = calloc(model->key_count, sizeof *found);
    uint64_t expected = 0;
    require(found);
    for (uint32_t key = 0; key < model->key_count; key++)
        expected += model->version[key] != 0;
    for (int descending = 0; descending < 2; descending++) {
        uint64_t rows = model_scan(table, model->key_count, descending, found);
        for (uint32_t key = 0; key < model->key_count; key++)
            if (found[key] != model->version[key])
                complain(table, descending ? "scan down" : "scan", key, found[key], model->version[key]);
        require(rows == expected);
    }
    uint32_t step = model->key_count / 200 + 1;
    for (uint32_t key = 0; key < model->key_count; key += step) {
        uint32_t version = model_read(table, key);
        if (version != model->version[key])
            complain(table, "get", key, version, model->version[key]);
    }
    int64_t end = 1000 * (int64_t)model->key_count;
    check_time(table, model, INT64_MIN, INT64_MAX);
    check_time(table, model, 0, 5000);
    check_time(table, model, end / 3, end / 2);
    check_time(table, model, end - 3000, end + 10000);
    free(found);
}
