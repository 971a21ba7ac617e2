/* engine_api_scan_test.c: every way to ask a cursor: key prefixes and ranges of a composite key, up and down, limits, chunk sizes, time ranges with the time in the key and not, chosen columns, and a snapshot that
 * stays what it was while writers, flushes and compactions go on. Each answer is compared with brute force over the same rows, in memtables, in segments and in both. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_model.h"

TestSuite(scan, .timeout = 60);

enum { SERIES = 6, TICKS = 150, ROWS = SERIES * TICKS };

/* ---- A table of series: key (series int32, name text, t timestamp); the time is in the key ---- */

struct tick {
    int32_t series;
    const char *name;
    int64_t time_ns;
    double value;
};

static const char *const NAMES[] = {"", "a", "ab", "b", "\x01", "é"};

static struct tick tick_of(uint32_t row)
{
    uint32_t series = row / TICKS;
    return (struct tick){(int32_t)series / 2 * 10 - 10, NAMES[(series * 5) % SERIES], (int64_t)(row % TICKS) * 100 - 2000, row * 0.5};
}

static int compare_ticks(const void *left, const void *right)
{
    const struct tick *a = left, *b = right;
    if (a->series != b->series)
        return a->series < b->series ? -1 : 1;
    int order = strcmp(a->name, b->name);
    return order ? order : (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
}

static mote_table *series_create(mote_db *db)
{
    const struct mote_column_definition columns[] = {
        {.name = "value", .type = MOTE_TYPE_FLOAT64}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "name", .type = MOTE_TYPE_TEXT}, {.name = "series", .type = MOTE_TYPE_INT32}};
    const uint32_t key[] = {3, 2, 1};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "series";
    schema.columns = columns;
    schema.column_count = 4;
    schema.key_columns = key;
    schema.key_column_count = 3;
    schema.time_column = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void append_tick(mote_table *table, const struct tick *tick)
{
    const struct mote_value values[] = {value_f64(tick->value), value_timestamp(tick->time_ns), value_text(tick->name), value_i32(tick->series)};
    must(mote_append(table, values, 4, NULL, NULL));
}

/* One question; NULL and 0 where it does not ask. */
struct question {
    int32_t series;
    const char *name;
    uint32_t prefix;             /* key columns of the prefix: series, name */
    const struct tick *from, *to; /* bounds */
    uint32_t from_count, to_count;
    bool time, descending;
    int64_t time_from, time_to;
    uint64_t limit;
    uint32_t chunk_rows;
};

static int compare_prefix(const struct tick *row, const struct tick *bound, uint32_t count)
{
    if (count >= 1 && row->series != bound->series)
        return row->series < bound->series ? -1 : 1;
    int order = count >= 2 ? strcmp(row->name, bound->name) : 0;
    if (order || count < 3)
        return order;
    return (row->time_ns > bound->time_ns) - (row->time_ns < bound->time_ns);
}

static bool belongs(const struct question *question, const struct tick *row)
{
    struct tick prefix = {question->series, question->name, 0, 0};
    return compare_prefix(row, &prefix, question->prefix) == 0 && (!question->from || compare_prefix(row, question->from, question->from_count) >= 0) &&
           (!question->to || compare_prefix(row, question->to, question->to_count) <= 0) && (!question->time || (row->time_ns >= question->time_from && row->time_ns <= question->time_to));
}

static void key_of(const struct tick *tick, struct mote_value key[3])
{
    key[0] = value_i32(tick->series);
    key[1] = value_text(tick->name);
    key[2] = value_timestamp(tick->time_ns);
}

static mote_cursor *ask(mote_table *table, const struct question *question)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_value prefix[3], from[3], to[3];
    mote_cursor *cursor;
    key_of(&(struct tick){question->series, question->name ? question->name : "", 0, 0}, prefix);
    options.key_prefix = question->prefix ? prefix : NULL;
    options.key_prefix_count = question->prefix;
    if (question->from) {
        key_of(question->from, from);
        options.key_from = from;
        options.key_from_count = question->from_count;
    }
    if (question->to) {
        key_of(question->to, to);
        options.key_to = to;
        options.key_to_count = question->to_count;
    }
    options.use_time_range = question->time;
    options.time_from_ns = question->time_from;
    options.time_to_ns = question->time_to;
    options.descending = question->descending;
    options.limit = question->limit;
    options.chunk_rows = question->chunk_rows;
    must(mote_scan(table, &options, &cursor));
    return cursor;
}

static void check_answer(mote_table *table, const struct question *question, const struct tick *sorted)
{
    mote_cursor *cursor = ask(table, question);
    struct mote_chunk chunk;
    uint32_t at = 0;
    uint64_t found = 0;
    for (;;) {
        must(mote_cursor_next(cursor, &chunk));
        require(chunk.row_count <= (question->chunk_rows ? question->chunk_rows : 4096));
        if (chunk.row_count == 0)
            break;
        for (size_t i = 0; i < chunk.row_count; i++, at++, found++) {
            while (at < ROWS && !belongs(question, &sorted[question->descending ? ROWS - 1 - at : at]))
                at++;
            require(at < ROWS);
            const struct tick *expected = &sorted[question->descending ? ROWS - 1 - at : at];
            const struct mote_value values[] = {value_f64(expected->value), value_timestamp(expected->time_ns), value_text(expected->name), value_i32(expected->series)};
            for (size_t column = 0; column < 4; column++) {
                struct mote_value value = chunk_value(&chunk, column, i);
                require(value_equal(&value, &values[column]));
            }
        }
    }
    must(mote_cursor_next(cursor, &chunk)); /* the end stays the end */
    require(chunk.row_count == 0);
    for (; at < ROWS && (question->limit == 0 || found < question->limit); at++)
        require(!belongs(question, &sorted[question->descending ? ROWS - 1 - at : at]));
    require(question->limit == 0 || found <= question->limit);
    mote_cursor_close(cursor);
}

static void ask_everything(mote_table *table, const struct tick *sorted)
{
    uint64_t random = 5;
    for (uint32_t turn = 0; turn < 240; turn++) {
        struct tick from = tick_of((uint32_t)(fixture_random(&random) % ROWS)), to = tick_of((uint32_t)(fixture_random(&random) % ROWS)), some = tick_of((uint32_t)(fixture_random(&random) % ROWS));
        struct question question = {.series = some.series + (turn % 37 == 0), .name = some.name, .prefix = turn % 3, .descending = turn / 3 % 2};
        from.time_ns += turn % 5 == 0 ? 50 : 0; /* a key between two rows */
        if (turn % 4 & 1) {
            question.from = &from;
            question.from_count = 1 + turn / 8 % 3;
        }
        if (turn % 4 & 2) {
            question.to = &to;
            question.to_count = 1 + turn / 4 % 3;
        }
        if (turn % 7 < 3) {
            question.time = true;
            question.time_from = turn % 7 == 0 ? INT64_MIN : from.time_ns;
            question.time_to = turn % 7 == 1 ? INT64_MAX : from.time_ns + 1500;
        }
        question.limit = turn % 11 == 0 ? 1 : turn % 11 == 1 ? 97 : 0;
        question.chunk_rows = turn % 13 == 0 ? 1 : turn % 13 < 6 ? 13 : 0;
        check_answer(table, &question, sorted);
    }
}

Test(scan, prefix_range_time_limit_and_order_agree_with_brute_force)
{
    struct fixture fixture;
    struct tick sorted[ROWS];
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture.options.block_rows = 16;
    fixture.options.compaction_runs_max = 32;
    fixture_open(&fixture);
    mote_table *table = series_create(fixture.db);
    for (uint32_t row = 0; row < ROWS; row++)
        sorted[row] = tick_of(row);
    for (uint32_t i = 0; i < ROWS; i++) {
        append_tick(table, &sorted[i * 7919 % ROWS]); /* in a mixed order: 7919 is a prime */
        if (i % 200 == 199)
            must(mote_flush(fixture.db)); /* four overlapping segments, the rest in memory */
    }
    qsort(sorted, ROWS, sizeof sorted[0], compare_ticks);
    ask_everything(table, sorted);
    must(mote_compact(fixture.db, NULL));
    ask_everything(table, sorted);
    fixture_reopen(&fixture);
    must(mote_table_open(fixture.db, "series", &table));
    ask_everything(table, sorted);
    fixture_remove(&fixture);
}

/* The time is not in the key: a replaced row counts by its newest time alone, wherever the versions lie; NULL times never do. */
Test(scan, time_range_outside_the_key_sees_newest_versions_only)
{
    struct fixture fixture;
    struct model model = model_make(900);
    uint64_t random = 6;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture.options.block_rows = 32;
    fixture.options.compaction_runs_max = 32;
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t round = 1; round <= 6; round++) {
        for (uint32_t i = 0; i < 300; i++) {
            uint32_t key = (uint32_t)(fixture_random(&random) % 900);
            if (i % 10 == 9)
                model_delete(table, &model, key, NULL, NULL);
            else
                model_put(table, &model, key, round * 40 + i % 40, NULL, NULL);
        }
        const struct mote_value nulls[] = {value_i64(5000 + round), value_null(MOTE_TYPE_TIMESTAMP)};
        must(mote_append(table, nulls, 2, NULL, NULL));
        must(mote_delete(table, nulls, 1, NULL, NULL)); /* the model does not know it */
        model_check(table, &model);
        must(mote_flush(fixture.db));
        model_check(table, &model);
    }
    const struct mote_value nulls[] = {value_i64(6000), value_null(MOTE_TYPE_TIMESTAMP)};
    uint64_t before = model_count_time(table, INT64_MIN, INT64_MAX);
    must(mote_append(table, nulls, 2, NULL, NULL));
    cr_expect_eq(model_count_time(table, INT64_MIN, INT64_MAX), before);
    must(mote_flush(fixture.db));
    cr_expect_eq(model_count_time(table, INT64_MIN, INT64_MAX), before);
    model_free(&model);
    fixture_remove(&fixture);
}

/* ---- Columns ---- */

Test(scan, chosen_columns_come_in_the_order_asked_for)
{
    struct fixture fixture;
    struct mote_column_definition columns[] = {{.name = "a", .type = MOTE_TYPE_INT32}, {.name = "b", .type = MOTE_TYPE_TEXT}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    mote_cursor *cursor;
    struct mote_chunk chunk;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    schema.name = "hidden";
    schema.columns = columns;
    schema.column_count = 2;
    must(mote_table_create(fixture.db, &schema, &table));
    for (int32_t i = 0; i < 10; i++) {
        const struct mote_value values[] = {value_i32(i), value_text("text")};
        must(mote_append(table, values, 2, NULL, NULL));
    }
    for (int round = 0; round < 2; round++) {
        must(mote_scan(table, NULL, &cursor)); /* all but the hidden row id */
        must(mote_cursor_next(cursor, &chunk));
        cr_expect_eq(chunk.column_count, 2);
        cr_expect_eq(chunk.row_count, 10);
        cr_expect_eq(chunk.columns[0].type, MOTE_TYPE_INT32);
        mote_cursor_close(cursor);
        const uint32_t wanted[] = {2, 0, 1, 2};
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        options.columns = wanted;
        options.column_count = 4;
        must(mote_scan(table, &options, &cursor));
        must(mote_cursor_next(cursor, &chunk));
        require(chunk.column_count == 4 && chunk.row_count == 10);
        for (size_t i = 0; i < 10; i++) {
            struct mote_value text = chunk_value(&chunk, 0, i), again = chunk_value(&chunk, 3, i), expected = value_text("text");
            cr_expect(value_equal(&text, &expected) && value_equal(&again, &expected));
            cr_expect_eq(chunk_value(&chunk, 1, i).as.i64, (int64_t)i + 1, "row ids begin at 1");
            cr_expect_eq(chunk_value(&chunk, 2, i).as.i32, (int32_t)i);
        }
        mote_cursor_close(cursor);
        const uint32_t none = 3;
        options.columns = &none;
        options.column_count = 1;
        must_fail(mote_scan(table, &options, &cursor), MOTE_ENOCOLUMN);
        must(mote_flush(fixture.db));
    }
    fixture_remove(&fixture);
}

/* ---- Snapshot ---- */

struct disturber {
    struct fixture *fixture;
    mote_table *table;
    _Atomic uint32_t *stop;
    uint32_t kind;
};

static void *disturb(void *argument)
{
    struct disturber *disturber = argument;
    uint64_t random = 9;
    for (uint32_t version = 2; !atomic_load(disturber->stop); version++) {
        if (disturber->kind == 0)
            must(mote_flush(disturber->fixture->db));
        else if (disturber->kind == 1)
            must(mote_compact(disturber->fixture->db, NULL));
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t key = (uint32_t)(fixture_random(&random) % 2000);
            struct mote_value value = value_i64(key);
            if (i % 5 == 0)
                must(mote_delete(disturber->table, &value, 1, NULL, NULL));
            else
                must(model_append(disturber->table, key, version, NULL, NULL));
        }
    }
    return NULL;
}

/* Reads a cursor slowly: every row is of the version of its time. */
static void read_snapshot(mote_table *table, bool descending)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint32_t rows = 0;
    options.chunk_rows = 50;
    options.descending = descending;
    must(mote_scan(table, &options, &cursor));
    /* From here on nothing that changes may be seen. The changes begin now. */
    for (uint32_t key = 0; key < 2000; key += 7)
        must(model_append(table, key, 3, NULL, NULL));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++, rows++) {
            struct mote_value key = chunk_value(&chunk, 0, i), version = chunk_value(&chunk, 4, i);
            require(key.as.i64 == (descending ? 1999 - (int64_t)rows : (int64_t)rows));
            require(version.as.i32 == 1);
        }
        struct timespec pause = {0, NS_PER_MS};
        nanosleep(&pause, NULL);
    } while (chunk.row_count > 0);
    require(rows == 2000);
    mote_cursor_close(cursor);
}

Test(scan, cursor_is_consistent_under_writers_flush_and_compaction)
{
    for (uint32_t round = 0; round < 4; round++) {
        struct fixture fixture;
        struct disturber disturbers[3];
        pthread_t threads[3];
        _Atomic uint32_t stop = 0;
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        struct mote_chunk chunk;
        mote_cursor *held;
        fixture_sim(&fixture, 256 * MIB_BYTES, round, false);
        fixture.options.memtable_bytes = MIB_BYTES;
        fixture_open(&fixture);
        mote_table *table = model_table_create(fixture.db, "arm");
        must(model_append_batch(table, 0, 1000, 1, NULL, NULL));
        if (round & 1)
            must(mote_flush(fixture.db));
        must(model_append_batch(table, 1000, 1000, 1, NULL, NULL));
        if (round & 2)
            must(mote_compact(fixture.db, NULL));
        options.chunk_rows = 33;
        must(mote_scan(table, &options, &held)); /* before all changes; read at the end */
        read_snapshot(table, round & 1);
        for (uint32_t i = 0; i < 3; i++) {
            disturbers[i] = (struct disturber){&fixture, table, &stop, i};
            require(pthread_create(&threads[i], NULL, disturb, &disturbers[i]) == 0);
        }
        uint32_t rows = 0;
        do {
            must(mote_cursor_next(held, &chunk));
            for (size_t i = 0; i < chunk.row_count; i++, rows++) {
                require(chunk_value(&chunk, 0, i).as.i64 == rows);
                require(chunk_value(&chunk, 4, i).as.i32 == 1);
            }
            struct timespec pause = {0, 3 * NS_PER_MS};
            nanosleep(&pause, NULL);
        } while (chunk.row_count > 0);
        cr_expect_eq(rows, 2000);
        atomic_store(&stop, 1);
        for (uint32_t i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
        mote_cursor_close(held);
        fixture_remove(&fixture);
    }
}

/* A cursor outlives a dropped table only as an error, and an added column not at all. */
Test(scan, cursor_meets_ddl)
{
    struct fixture fixture;
    struct mote_chunk chunk;
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    mote_cursor *cursor;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    must(model_append_batch(table, 0, 100, 1, NULL, NULL));
    options.chunk_rows = 30;
    must(mote_scan(table, &options, &cursor));
    must(mote_cursor_next(cursor, &chunk));
    cr_expect_eq(chunk.row_count, 30);
    struct mote_column_definition column = {.name = "later", .type = MOTE_TYPE_INT32};
    must(mote_table_add_column(table, &column));
    must(mote_cursor_next(cursor, &chunk));
    cr_expect_eq(chunk.row_count, 30);
    cr_expect_eq(chunk.column_count, 5);
    cr_expect_eq(chunk_value(&chunk, 0, 0).as.i64, 30);
    must(mote_table_drop(fixture.db, "arm"));
    must_fail(mote_cursor_next(cursor, &chunk), MOTE_ENOTABLE);
    mote_cursor_close(cursor);
    fixture_remove(&fixture);
}

struct overwriter {
    mote_table *table;
    _Atomic uint32_t *stop;
};

static void *overwrite(void *argument)
{
    struct overwriter *overwriter = argument;
    const struct mote_write_options none = {sizeof none, MOTE_DURABILITY_NONE, 0};
    for (uint32_t version = 2; !atomic_load(overwriter->stop); version++)
        for (uint32_t key = 0; key < 20; key++)
            must(model_append(overwriter->table, key, version, &none, NULL));
    return NULL;
}

/* A version newer than the snapshot is inserted beside the one that a descending cursor is about to yield: the key must not be lost by it. */
Test(scan, cursor_misses_no_key_that_is_overwritten_meanwhile)
{
    struct fixture fixture;
    pthread_t thread;
    _Atomic uint32_t stop = 0;
    uint32_t version[20];
    fixture_sim(&fixture, 256 * MIB_BYTES, 91, false);
    fixture.options.memory_bytes = 128 * MIB_BYTES;
    fixture.options.memtable_bytes = 16 * MIB_BYTES;
    fixture_open(&fixture);
    struct overwriter overwriter = {model_table_create(fixture.db, "arm"), &stop};
    must(model_append_batch(overwriter.table, 0, 20, 1, NULL, NULL));
    require(pthread_create(&thread, NULL, overwrite, &overwriter) == 0);
    for (uint32_t i = 0; i < 6000; i++) {
        uint64_t rows = model_scan(overwriter.table, 20, i % 4 != 0, version);
        if (rows != 20)
            fprintf(stderr, "scan %u found %llu of 20 keys\n", i, (unsigned long long)rows);
        require(rows == 20);
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    fixture_remove(&fixture);
}
