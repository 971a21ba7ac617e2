/* engine_series_test.c: a table whose key is (series, time): rows in order, late rows, replacements and deletes, over many small flushes, so that segments of different times are left where they are, late ones are merged, and all lie
 * deep above each other by key. After each step a model in memory and the table agree: gets, scans up and down, by series, by key range and by time range; also after kills, reopens and compactions. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "engine/engine_private.h"
#include "tests/support/engine_fixture.h"

TestSuite(series, .timeout = 120);

enum { SERIES = 5, TIMES = 4000 };

struct world {
    struct fixture fixture;
    mote_table *table;
    uint32_t version[SERIES][TIMES]; /* 0: no row */
    uint32_t writes;
    uint64_t random;
};

static mote_table *open_table(struct world *world, bool create)
{
    const struct mote_column_definition columns[] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "version", .type = MOTE_TYPE_INT64}};
    const uint32_t key[] = {0, 1};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "arm";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = key;
    schema.key_column_count = 2;
    schema.time_column = 1;
    if (create)
        must(mote_table_create(world->fixture.db, &schema, &table));
    else
        must(mote_table_open(world->fixture.db, "arm", &table));
    return table;
}

static void make_world(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->random = seed;
    fixture_sim(&world->fixture, 128 * MIB_BYTES, seed, false);
    world->fixture.options.compaction_spread_max = 6;
    world->fixture.options.block_rows = 64;
    fixture_open(&world->fixture);
    world->table = open_table(world, true);
}

static uint32_t draw(struct world *world, uint32_t below) { return (uint32_t)(fixture_random(&world->random) % below); }

static void put(struct world *world, uint32_t series, uint32_t time)
{
    struct mote_value values[] = {value_i32((int32_t)series), value_timestamp(time), value_i64(++world->writes)};
    must(mote_append(world->table, values, 3, NULL, NULL));
    world->version[series][time] = world->writes;
}

static void remove_row(struct world *world, uint32_t series, uint32_t time)
{
    struct mote_value key[] = {value_i32((int32_t)series), value_timestamp(time)};
    must(mote_delete(world->table, key, 2, NULL, NULL));
    world->version[series][time] = 0;
}

/* ---- Checks ---- */

static void check_get(struct world *world, uint32_t series, uint32_t time)
{
    struct mote_value key[] = {value_i32((int32_t)series), value_timestamp(time)}, value;
    mote_row *row = NULL;
    int result = mote_get(world->table, key, 2, &row);
    if (!world->version[series][time]) {
        cr_assert_eq(result, MOTE_ENOTFOUND, "series %u time %u: a row that is not there (%d)", series, time, result);
        return;
    }
    cr_assert_eq(result, MOTE_OK, "series %u time %u: %d", series, time, result);
    must(mote_row_value(row, 2, &value));
    cr_assert_eq(value.as.i64, world->version[series][time], "series %u time %u: version %lld, not %u", series, time, (long long)value.as.i64, world->version[series][time]);
    mote_row_free(row);
}

/* A scan gives exactly the rows of series [first, last] and times [from, to], in order. */
static void check_scan(struct world *world, const struct mote_scan_options *options, uint32_t first, uint32_t last, uint32_t from, uint32_t to)
{
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint32_t total = (last - first + 1) * (to - from + 1), at = 0;
    must(mote_scan(world->table, options, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++, at++) {
            uint32_t series, time, cell;
            do {
                cr_assert_lt(at, total, "a row too many");
                cell = options->descending ? total - 1 - at : at;
                series = first + cell / (to - from + 1);
                time = from + cell % (to - from + 1);
            } while (!world->version[series][time] && ++at);
            struct mote_value row[] = {chunk_value(&chunk, 0, i), chunk_value(&chunk, 1, i), chunk_value(&chunk, 2, i)};
            cr_assert(row[0].as.i32 == (int32_t)series && row[1].as.i64 == time && row[2].as.i64 == world->version[series][time], "series %u time %u version %u expected, %d %lld %lld found", series, time,
                      world->version[series][time], row[0].as.i32, (long long)row[1].as.i64, (long long)row[2].as.i64);
        }
    } while (chunk.row_count > 0);
    for (; at < total; at++) {
        uint32_t cell = options->descending ? total - 1 - at : at;
        cr_assert_eq(world->version[first + cell / (to - from + 1)][from + cell % (to - from + 1)], 0, "a row is missing");
    }
    mote_cursor_close(cursor);
}

static void check_all(struct world *world)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    check_scan(world, &options, 0, SERIES - 1, 0, TIMES - 1);
    options.descending = 1;
    check_scan(world, &options, 0, SERIES - 1, 0, TIMES - 1);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t series = draw(world, SERIES), from = draw(world, TIMES), to = from + draw(world, TIMES - from);
        struct mote_value prefix = value_i32((int32_t)series), low[] = {prefix, value_timestamp(from)}, high[] = {prefix, value_timestamp(to)};
        options = (struct mote_scan_options)MOTE_SCAN_OPTIONS_INIT;
        options.descending = i % 2;
        options.use_time_range = 1;
        options.time_from_ns = from;
        options.time_to_ns = to;
        check_scan(world, &options, 0, SERIES - 1, from, to);
        options.key_prefix = &prefix;
        options.key_prefix_count = 1;
        check_scan(world, &options, series, series, from, to);
        options.use_time_range = 0;
        check_scan(world, &options, series, series, 0, TIMES - 1);
        options.key_prefix = NULL;
        options.key_prefix_count = 0;
        options.key_from = low;
        options.key_to = high;
        options.key_from_count = options.key_to_count = 2;
        check_scan(world, &options, series, series, from, to);
    }
    for (uint32_t i = 0; i < 300; i++)
        check_get(world, draw(world, SERIES), draw(world, TIMES));
}

static uint32_t segments(struct world *world)
{
    struct mote_table_info info = {.size_bytes = sizeof info};
    must(mote_table_describe(world->table, &info));
    return (uint32_t)info.segment_count;
}

/* ---- Cases ---- */

/* Rows in time order over all series: no segment is ever rewritten until they lie as deep as the option allows. */
Test(series, in_order_segments_stay)
{
    static struct world world;
    make_world(&world, 11);
    for (uint32_t flush = 0; flush < 5; flush++) {
        for (uint32_t time = flush * 300; time < (flush + 1) * 300; time++)
            for (uint32_t series = 0; series < SERIES; series++)
                put(&world, series, time);
        must(mote_flush(world.fixture.db));
    }
    must(mote_checkpoint(world.fixture.db));
    cr_assert_eq(segments(&world), 5);
    cr_assert_eq(fixture_stats(&world.fixture).compactions, 0);
    check_all(&world);
    fixture_remove(&world.fixture);
}

static void step(struct world *world, uint32_t clock)
{
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t what = draw(world, 100), series = draw(world, SERIES), recent = clock + i / 8;
        if (what < 88)
            put(world, series, recent);
        else if (what < 93)
            put(world, series, draw(world, recent + 1)); /* late */
        else
            remove_row(world, series, draw(world, recent + 1));
    }
}

Test(series, rows_agree_with_a_model)
{
    static struct world world;
    for (uint64_t seed = 1; seed <= fixture_scale(6); seed++) {
        make_world(&world, seed);
        printf("seed %llu\n", (unsigned long long)seed);
        for (uint32_t round = 0; round < 60; round++) {
            step(&world, round * 50);
            uint32_t what = draw(&world, 10);
            if (what < 7)
                must(mote_flush(world.fixture.db));
            else if (what == 7)
                fixture_reopen(&world.fixture);
            else if (what == 8) {
                must(mote_wait(world.fixture.db, mote_visible_seq(world.fixture.db), MOTE_FOREVER));
                fixture_crash(&world.fixture);
            } else if (draw(&world, 4) == 0)
                must(mote_compact(world.fixture.db, NULL));
            world.table = open_table(&world, false);
            if (round % 6 == 5)
                check_all(&world);
        }
        fixture_remove(&world.fixture);
    }
}

/* Segments of different times lie above each other by key; a look at the start of one series opens those alone that it comes to. */
Test(series, short_scan_of_one_series_opens_few_segments)
{
    enum { FLUSHES = 20, ROWS = 100 };
    static struct world world;
    make_world(&world, 4711);
    world.fixture.options.compaction_spread_max = 64;
    fixture_reopen(&world.fixture);
    world.table = open_table(&world, false);
    for (uint32_t flush = 0; flush < FLUSHES; flush++) {
        for (uint32_t series = 0; series < SERIES; series++)
            for (uint32_t i = 0; i < ROWS; i++)
                put(&world, series, flush * ROWS + i);
        must(mote_flush(world.fixture.db));
    }
    fixture_reopen(&world.fixture);
    world.table = open_table(&world, false);
    struct mote_table_info info = MOTE_INIT(struct mote_table_info);
    must(mote_table_describe(world.table, &info));
    cr_assert_geq(info.segment_count, 10, "%u segments: the test needs many", info.segment_count);
    for (uint32_t part = 0; part < 3; part++) {
        struct mote_value prefix = value_i32(2), from[] = {value_i32(2), value_timestamp(part * FLUSHES * ROWS / 3 + 7)};
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        mote_cursor *cursor;
        struct mote_chunk chunk;
        options.key_prefix = &prefix;
        options.key_prefix_count = 1;
        options.key_from = from;
        options.key_from_count = 2;
        options.limit = 20;
        uint64_t misses = fixture_stats(&world.fixture).cache_misses;
        must(mote_scan(world.table, &options, &cursor));
        must(mote_cursor_next(cursor, &chunk));
        cr_assert_eq(chunk.row_count, 20);
        for (uint32_t i = 0; i < 20; i++)
            cr_assert_eq(chunk_value(&chunk, 1, i).as.i64, from[1].as.i64 + i);
        mote_cursor_close(cursor);
        misses = fixture_stats(&world.fixture).cache_misses - misses;
        cr_assert_leq(misses, 10, "%llu structures were read for 20 rows of one series in %u segments", (unsigned long long)misses, info.segment_count);
    }
    check_all(&world);
    fixture_close(&world.fixture);
    fixture_remove(&world.fixture);
}

/* Older rows of other times have the same series, hence keys on both sides of the deleted ones, and hide behind no tombstone. */
Test(series, deletes_vanish_though_older_times_overlap_by_key)
{
    static struct world world;
    make_world(&world, 14);
    world.fixture.options.workers = MOTE_NO_THREADS;
    world.fixture.options.compaction_runs_max = 2;
    fixture_reopen(&world.fixture);
    world.table = open_table(&world, false);
    for (uint32_t flush = 0; flush < 3; flush++) {
        for (uint32_t time = flush * 200; time < (flush + 1) * 200; time++)
            for (uint32_t series = 0; series < SERIES; series++)
                put(&world, series, time);
        must(mote_flush(world.fixture.db));
    }
    for (uint32_t series = 0; series < SERIES; series++)
        for (uint32_t time = 200; time < 400; time++)
            remove_row(&world, series, time);
    must(mote_flush(world.fixture.db));
    bool did = true;
    while (did)
        must(compact_once(world.fixture.db, world.table, false, &did));
    struct mote_table_info info = {.size_bytes = sizeof info};
    must(mote_table_describe(world.table, &info));
    cr_assert_eq(info.segment_rows, 2 * 200 * SERIES, "%llu rows and tombstones are left", (unsigned long long)info.segment_rows);
    cr_assert_eq(info.segment_count, 2, "the segments of other times were left alone");
    check_all(&world);
    fixture_remove(&world.fixture);
}
