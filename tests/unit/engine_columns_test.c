/* engine_columns_test.c: scans of few columns of a wide table, which read these alone, and whole blocks without a look at their keys: whatever columns, bounds, times, order, limit and chunk size are asked for, each answer is the model's as of
 * the cursor's opening, while rows are put and deleted, memtables flushed and segments compacted between the chunks. And the bytes read are few. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"

TestSuite(columns, .timeout = 120);

enum { SERIES = 5, TICKS = 900, KEYS = SERIES * TICKS, FIXED = 4, FLOATS = 12, COLUMNS = FIXED + FLOATS };

static uint64_t mix(uint64_t key, uint64_t version, uint64_t column)
{
    uint64_t z = (key * 1000003 + version * 31 + column) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    return z ^ (z >> 31);
}

/* Columns: series int32, tick timestamp (together the key), late timestamp (follows from the version), note text, floats that do not pack. */
static struct mote_value value_of(uint32_t key, uint32_t version, uint32_t column)
{
    static const char *const notes[] = {"", "a note", "another one"};
    uint64_t bits = mix(key, version, column);
    switch (column) {
    case 0:
        return value_i32((int32_t)(key / TICKS));
    case 1:
        return value_timestamp((int64_t)(key % TICKS) * 1000);
    case 2:
        return value_timestamp((int64_t)((key * 7 + version * 1000) % 9000) * 100);
    case 3:
        return bits % 4 == 3 ? value_null(MOTE_TYPE_TEXT) : value_text(notes[bits % 4]);
    default:
        return bits % 41 == 0 && column % 2 ? value_null(MOTE_TYPE_FLOAT64) : value_f64((double)(bits >> 11) * 0x1p-40);
    }
}

static mote_table *create_table(mote_db *db, int32_t time_column)
{
    static char names[FLOATS][8];
    struct mote_column_definition columns[COLUMNS] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "tick", .type = MOTE_TYPE_TIMESTAMP}, {.name = "late", .type = MOTE_TYPE_TIMESTAMP}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    const uint32_t key[] = {0, 1};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    for (uint32_t i = 0; i < FLOATS; i++) {
        snprintf(names[i], sizeof names[i], "f%u", i);
        columns[FIXED + i] = (struct mote_column_definition){.name = names[i], .type = MOTE_TYPE_FLOAT64};
    }
    schema.name = "wide";
    schema.columns = columns;
    schema.column_count = COLUMNS;
    schema.key_columns = key;
    schema.key_column_count = 2;
    schema.time_column = time_column;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void put(mote_table *table, uint32_t *versions, uint32_t key, uint32_t version)
{
    struct mote_value values[COLUMNS];
    for (uint32_t i = 0; i < COLUMNS; i++)
        values[i] = value_of(key, version, i);
    must(mote_append(table, values, COLUMNS, NULL, NULL));
    versions[key] = version;
}

static void delete_key(mote_table *table, uint32_t *versions, uint32_t key)
{
    struct mote_value values[2] = {value_of(key, 0, 0), value_of(key, 0, 1)};
    must(mote_delete(table, values, 2, NULL, NULL));
    versions[key] = 0;
}

struct world {
    struct fixture fixture;
    mote_table *table;
    uint32_t versions[KEYS], next_version;
    int32_t time_column;
    uint64_t random;
};

static uint32_t below(struct world *world, uint32_t bound) { return (uint32_t)(fixture_random(&world->random) >> 16) % bound; }

/* A stretch of keys is put again, some of it deleted; now and then a flush or a compaction. */
static void change(struct world *world, uint32_t most)
{
    uint32_t first = below(world, KEYS), count = 1 + below(world, most), step = 1 + below(world, 3) * below(world, 9);
    bool deleting = below(world, 4) == 0;
    for (uint32_t i = 0, key = first; i < count && key < KEYS; i++, key += step) {
        if (deleting)
            delete_key(world->table, world->versions, key);
        else
            put(world->table, world->versions, key, ++world->next_version);
    }
    if (below(world, 3) == 0)
        must(mote_flush(world->fixture.db));
    if (below(world, 12) == 0)
        must(mote_compact(world->fixture.db, "wide"));
}

struct question {
    struct mote_scan_options options;
    struct mote_value from[2], to[2];
    uint32_t columns[COLUMNS];
    uint32_t key_from, key_to; /* inclusive */
};

static void ask(struct world *world, struct question *question)
{
    struct mote_scan_options *options = &question->options;
    *question = (struct question){.options = MOTE_SCAN_OPTIONS_INIT, .key_to = KEYS - 1};
    options->columns = question->columns;
    options->column_count = below(world, 3) == 0 ? 1 + below(world, COLUMNS) : below(world, 4);
    for (uint32_t i = 0; i < options->column_count; i++)
        question->columns[i] = below(world, COLUMNS);
    if (below(world, 2)) {
        question->key_from = below(world, KEYS);
        question->from[0] = value_of(question->key_from, 0, 0);
        question->from[1] = value_of(question->key_from, 0, 1);
        options->key_from = question->from;
        options->key_from_count = 2;
    }
    if (below(world, 3) == 0) {
        question->key_to = below(world, KEYS);
        question->to[0] = value_of(question->key_to, 0, 0);
        question->to[1] = value_of(question->key_to, 0, 1);
        options->key_to = question->to;
        options->key_to_count = 2;
    }
    options->descending = below(world, 4) == 0;
    options->limit = below(world, 4) == 0 ? 1 + below(world, KEYS) : 0;
    options->chunk_rows = below(world, 3) ? 1 + below(world, below(world, 2) ? 2000 : 150) : 0;
    if (below(world, 3) == 0) {
        options->use_time_range = 1;
        options->time_from_ns = (int64_t)below(world, 900) * 1000 - 1000;
        options->time_to_ns = options->time_from_ns + (int64_t)below(world, 900000);
    }
}

static bool is_answer(const struct world *world, const struct question *question, uint32_t key, uint32_t version)
{
    if (version == 0 || key < question->key_from || key > question->key_to)
        return false;
    int64_t time_ns = value_of(key, version, (uint32_t)world->time_column).as.i64;
    return !question->options.use_time_range || (time_ns >= question->options.time_from_ns && time_ns <= question->options.time_to_ns);
}

/* The next key of the answer at or behind `at` (counted in the scan's direction). */
static uint32_t next_answer(const struct world *world, const struct question *question, const uint32_t *versions, uint32_t at)
{
    while (at < KEYS) {
        uint32_t key = question->options.descending ? KEYS - 1 - at : at;
        if (is_answer(world, question, key, versions[key]))
            return at;
        at++;
    }
    return KEYS;
}

static void check_scan(struct world *world)
{
    static uint32_t seen[KEYS];
    struct question question;
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint32_t at = 0;
    ask(world, &question);
    uint64_t left = question.options.limit ? question.options.limit : UINT64_MAX;
    bool changing = below(world, 2);
    must(mote_scan(world->table, &question.options, &cursor));
    memcpy(seen, world->versions, sizeof seen);
    do {
        must(mote_cursor_next(cursor, &chunk));
        cr_assert_leq(chunk.row_count, question.options.chunk_rows ? question.options.chunk_rows : 4096);
        for (size_t row = 0; row < chunk.row_count; row++, at++, left--) {
            at = next_answer(world, &question, seen, at);
            cr_assert(at < KEYS && left > 0, "more rows than there are");
            uint32_t key = question.options.descending ? KEYS - 1 - at : at;
            for (uint32_t i = 0; i < question.options.column_count; i++) {
                struct mote_value got = chunk_value(&chunk, i, row), wanted = value_of(key, seen[key], question.columns[i]);
                cr_assert(value_equal(&got, &wanted), "column %u of key %u, version %u, after %u keys", question.columns[i], key, seen[key], at);
            }
        }
        if (changing && below(world, 2))
            change(world, 60);
    } while (chunk.row_count > 0);
    cr_assert(left == 0 || next_answer(world, &question, seen, at) == KEYS, "rows are missing from key %u on", at);
    mote_cursor_close(cursor);
}

static void open_world(struct world *world, int32_t time_column, uint64_t seed)
{
    *world = (struct world){.time_column = time_column, .random = seed};
    fixture_image(&world->fixture, 96 * MIB_BYTES);
    world->fixture.options.block_rows = 256;
    fixture_open(&world->fixture);
    world->table = create_table(world->fixture.db, time_column);
}

Test(columns, any_scan_answers_as_the_model_at_its_opening)
{
    uint64_t seed = (uint64_t)fixture_now_ns() | 1;
    static struct world world;
    fprintf(stderr, "engine_columns: seed %llu\n", (unsigned long long)seed);
    for (int32_t time_column = 1; time_column <= 2; time_column++) {
        open_world(&world, time_column, seed + (uint64_t)time_column);
        for (uint32_t key = 0; key < KEYS; key++)
            put(world.table, world.versions, key, ++world.next_version);
        must(mote_flush(world.fixture.db));
        must(mote_compact(world.fixture.db, "wide"));
        for (uint64_t round = 0; round < fixture_scale(160) + 20; round++) {
            /* Mostly quiet, so that whole blocks are met; then ever more segments over each other. */
            if (round % 8 == 7)
                change(&world, 400);
            if (round % 50 == 49)
                must(mote_compact(world.fixture.db, "wide"));
            check_scan(&world);
        }
        fixture_close(&world.fixture);
        fixture_remove(&world.fixture);
    }
}

/* A cursor stands in the middle of a block whose keys it has not looked at; the segment is compacted away under it. */
Test(columns, a_chunk_that_ends_in_a_block_goes_on_after_its_segment_is_gone)
{
    static struct world world;
    open_world(&world, 1, 77);
    for (uint32_t rows = 100; rows < 700; rows += 150) {
        uint32_t column = FIXED + 3, at = 0;
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        struct mote_chunk chunk;
        mote_cursor *cursor;
        static uint32_t seen[KEYS];
        for (uint32_t key = 0; key < KEYS; key++)
            put(world.table, world.versions, key, ++world.next_version);
        must(mote_flush(world.fixture.db));
        must(mote_compact(world.fixture.db, "wide"));
        options.columns = &column;
        options.column_count = 1;
        options.chunk_rows = rows;
        must(mote_scan(world.table, &options, &cursor));
        memcpy(seen, world.versions, sizeof seen);
        do {
            must(mote_cursor_next(cursor, &chunk));
            for (size_t row = 0; row < chunk.row_count; row++, at++) {
                struct mote_value got = chunk_value(&chunk, 0, row), wanted = value_of(at, seen[at], column);
                cr_assert(value_equal(&got, &wanted), "row %u with chunks of %u rows", at, rows);
            }
            for (uint32_t key = at % 3; key < KEYS && at < KEYS / 2; key += 97)
                delete_key(world.table, world.versions, key);
            if (at < KEYS / 2) {
                must(mote_flush(world.fixture.db));
                must(mote_compact(world.fixture.db, "wide"));
            }
        } while (chunk.row_count > 0);
        cr_assert_eq(at, KEYS);
        mote_cursor_close(cursor);
    }
    fixture_close(&world.fixture);
    fixture_remove(&world.fixture);
}

static uint64_t bytes_of_scan(struct world *world, const uint32_t *columns, uint32_t count)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint64_t rows = 0;
    fixture_reopen(&world->fixture); /* Nothing is cached. */
    must(mote_table_open(world->fixture.db, "wide", &world->table));
    uint64_t before = fixture_stats(&world->fixture).bytes_read;
    options.columns = columns;
    options.column_count = count;
    must(mote_scan(world->table, &options, &cursor));
    for (;;) {
        must(mote_cursor_next(cursor, &chunk));
        if (chunk.row_count == 0)
            break;
        rows += chunk.row_count;
    }
    mote_cursor_close(cursor);
    cr_assert_eq(rows, 4 * KEYS);
    return fixture_stats(&world->fixture).bytes_read - before;
}

Test(columns, one_column_reads_an_eighth_of_the_bytes_at_most)
{
    static struct world world;
    const uint32_t column = FIXED + 5;
    world = (struct world){.time_column = 1};
    fixture_image(&world.fixture, 96 * MIB_BYTES);
    fixture_open(&world.fixture); /* blocks of 1024 rows */
    world.table = create_table(world.fixture.db, 1);
    for (uint32_t key = 0; key < 4 * KEYS; key++) {
        struct mote_value values[COLUMNS];
        for (uint32_t i = 0; i < COLUMNS; i++)
            values[i] = value_of(key, 1, i);
        must(mote_append(world.table, values, COLUMNS, NULL, NULL));
    }
    must(mote_flush(world.fixture.db));
    must(mote_compact(world.fixture.db, "wide"));
    uint64_t all = bytes_of_scan(&world, NULL, 0), one = bytes_of_scan(&world, &column, 1);
    cr_assert_leq(one * 8, all, "%llu bytes for one column, %llu for all", (unsigned long long)one, (unsigned long long)all);
    fixture_close(&world.fixture);
    fixture_remove(&world.fixture);
}
