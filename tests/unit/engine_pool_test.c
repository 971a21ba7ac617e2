/* engine_pool_test.c: tables by (series, time) of many more segments than a scan has iterators: recorded in order, some rows late, replaced or deleted. Scans up and down, in chunks of any size,
 * while flushes and compactions go on, give what a model has; memory stays bounded; damage is told. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "engine/engine_private.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/sealed.h"

TestSuite(pool, .timeout = 240);

enum { SERIES = 5, FLUSHES = 280, ROWS = 10, TIMES = FLUSHES * ROWS, ITERATORS_MIN = 8 };

struct world {
    struct fixture fixture;
    mote_table *table;
    bool named; /* series are texts, longer than what a parked source has room for */
    int64_t version[SERIES][TIMES]; /* 0: no row */
    int64_t writes;
    uint64_t random;
    char names[SERIES][128];
};

static struct mote_value series_value(const struct world *world, uint32_t series)
{
    if (!world->named)
        return value_i32((int32_t)series * 300 - 600); /* carries, and both signs */
    return value_text(world->names[series]);
}

static void open_table(struct world *world, bool create)
{
    const struct mote_column_definition columns[] = {{.name = "series", .type = world->named ? MOTE_TYPE_TEXT : MOTE_TYPE_INT32}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "version", .type = MOTE_TYPE_INT64}};
    const uint32_t key[] = {0, 1};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    schema.name = "arm";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = key;
    schema.key_column_count = 2;
    schema.time_column = 1;
    must(create ? mote_table_create(world->fixture.db, &schema, &world->table) : mote_table_open(world->fixture.db, "arm", &world->table));
}

static void make_world(struct world *world, bool named, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->random = seed;
    world->named = named;
    for (uint32_t i = 0; i < SERIES; i++) {
        memset(world->names[i], 'a', 100);
        world->names[i][99] = (char)('a' + i);
    }
    fixture_sim(&world->fixture, 512 * MIB_BYTES, seed, false);
    world->fixture.options.compaction_spread_max = 1024;
    world->fixture.options.block_rows = 16;
    world->fixture.options.workers = MOTE_NO_THREADS; /* nothing is merged but when asked: these segments are small */
    world->fixture.options.cache_bytes = 8 * MIB_BYTES; /* leaves a share of 16 iterators */
    fixture_open(&world->fixture);
    cr_assert_leq(options_iterators(&world->fixture.db->options), 2 * ITERATORS_MIN);
    open_table(world, true);
}

static void put(struct world *world, uint32_t series, uint32_t time, bool remove)
{
    struct mote_value values[] = {series_value(world, series), value_timestamp(time), value_i64(++world->writes)};
    must(remove ? mote_delete(world->table, values, 2, NULL, NULL) : mote_append(world->table, values, 3, NULL, NULL));
    world->version[series][time] = remove ? 0 : world->writes;
}

/* A flush of ROWS times in each series; late: some older rows again, or deleted. */
static void record(struct world *world, uint32_t flush, bool late)
{
    for (uint32_t i = 0; i < ROWS; i++)
        for (uint32_t series = 0; series < SERIES; series++)
            put(world, series, flush * ROWS + i, false);
    for (uint32_t i = 0; late && i < 4; i++)
        put(world, (uint32_t)(fixture_random(&world->random) % SERIES), (uint32_t)(fixture_random(&world->random) % ((flush + 1) * ROWS)), i % 2);
    must(mote_flush(world->fixture.db));
}

static uint32_t segments(struct world *world)
{
    struct mote_table_info info = {.size_bytes = sizeof info};
    must(mote_table_describe(world->table, &info));
    return (uint32_t)info.segment_count;
}

/* The next cell of [0, total) in the scan's direction that has a row, from *at on; false: none. */
static bool next_cell(const int64_t (*version)[TIMES], bool descending, uint32_t *at, uint32_t *series, uint32_t *time)
{
    for (; *at < SERIES * TIMES; ++*at) {
        uint32_t cell = descending ? SERIES * TIMES - 1 - *at : *at;
        *series = cell / TIMES;
        *time = cell % TIMES;
        if (version[*series][*time])
            return true;
    }
    return false;
}

/* A scan of everything, in chunks of so many rows; between: called after each chunk. */
static void check_scan(struct world *world, bool descending, uint32_t chunk_rows, void (*between)(struct world *world, uint32_t chunk))
{
    static int64_t version[SERIES][TIMES];
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint32_t at = 0, series, time, chunks = 0;
    options.descending = descending;
    options.chunk_rows = chunk_rows;
    memcpy(version, world->version, sizeof version);
    must(mote_scan(world->table, &options, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++, at++) {
            cr_assert(next_cell(version, descending, &at, &series, &time), "a row too many");
            cr_assert(chunk_value(&chunk, 1, i).as.i64 == time && chunk_value(&chunk, 2, i).as.i64 == version[series][time], "%s, chunks of %u, row %zu of chunk %u: series %u time %u version %lld expected, time %lld version %lld found",
                      descending ? "down" : "up", chunk_rows, i, chunks, series, time, (long long)version[series][time], (long long)chunk_value(&chunk, 1, i).as.i64, (long long)chunk_value(&chunk, 2, i).as.i64);
        }
        if (between)
            between(world, chunks);
        chunks++;
    } while (chunk.row_count > 0);
    cr_assert(!next_cell(version, descending, &at, &series, &time), "series %u time %u is missing", series, time);
    /* No reader has more iterators than its share. */
    for (uint32_t i = 0; i < world->fixture.db->reader_count; i++)
        cr_assert_leq(world->fixture.db->readers[i].iterator_end, 64);
    mote_cursor_close(cursor);
}

static void check_all(struct world *world)
{
    for (uint32_t descending = 0; descending < 2; descending++) {
        check_scan(world, descending, 0, NULL);
        check_scan(world, descending, 333, NULL);
        check_scan(world, descending, 20000, NULL);
    }
}

static void in_order(bool named)
{
    static struct world world;
    make_world(&world, named, 5);
    for (uint32_t flush = 0; flush < FLUSHES; flush++)
        record(&world, flush, false);
    cr_assert_eq(segments(&world), FLUSHES);
    check_all(&world);
    fixture_remove(&world.fixture);
}

Test(pool, more_segments_than_iterators_are_scanned_up_and_down) { in_order(false); }

Test(pool, keys_too_long_to_be_kept_beside_are_scanned_up_and_down) { in_order(true); }

Test(pool, late_rows_and_deletes_agree_with_a_model)
{
    static struct world world;
    for (uint32_t named = 0; named < 2; named++) {
        make_world(&world, named, 6 + named);
        for (uint32_t flush = 0; flush < FLUSHES / 2; flush++)
            record(&world, flush, true);
        check_all(&world);
        fixture_remove(&world.fixture);
    }
}

/* Between chunks rows become segments, and segments others. */
static void disturb(struct world *world, uint32_t chunk)
{
    if (chunk % 3 == 0)
        record(world, (uint32_t)(fixture_random(&world->random) % FLUSHES), true);
    if (chunk == 5)
        must(mote_compact(world->fixture.db, NULL));
}

Test(pool, cursors_go_on_while_segments_come_and_go)
{
    static struct world world;
    for (uint32_t descending = 0; descending < 2; descending++) {
        make_world(&world, false, 8 + descending);
        for (uint32_t flush = 0; flush < FLUSHES / 2; flush++)
            record(&world, flush, true);
        check_scan(&world, descending, 500, disturb);
        check_all(&world);
        fixture_remove(&world.fixture);
    }
}

/* A range of one series, by its keys or its times, reads a few segments alone. */
Test(pool, ranges_open_the_segments_of_their_time)
{
    static struct world world;
    make_world(&world, false, 10);
    for (uint32_t flush = 0; flush < FLUSHES; flush++)
        record(&world, flush, false);
    fixture_reopen(&world.fixture);
    open_table(&world, false);
    for (uint32_t way = 0; way < 4; way++) {
        uint32_t series = 1 + way % 3, first = (10 + 37 * way) * ROWS + 3;
        struct mote_value from[] = {series_value(&world, series), value_timestamp(first)}, to[] = {from[0], value_timestamp(first + 29)};
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        mote_cursor *cursor;
        struct mote_chunk chunk;
        options.descending = way % 2;
        options.key_from = from;
        options.key_to = to;
        options.key_from_count = options.key_to_count = 2;
        if (way == 2)
            options.limit = 30, options.key_to = NULL; /* open above */
        if (way == 3)
            options.limit = 30, options.key_from = NULL; /* open below, from the end back */
        uint64_t misses = fixture_stats(&world.fixture).cache_misses;
        must(mote_scan(world.table, &options, &cursor));
        must(mote_cursor_next(cursor, &chunk));
        cr_assert_eq(chunk.row_count, 30, "way %u: %zu rows", way, chunk.row_count);
        for (uint32_t i = 0; i < 30; i++)
            cr_assert_eq(chunk_value(&chunk, 1, i).as.i64, first + (way % 2 ? 29 - i : i));
        mote_cursor_close(cursor);
        misses = fixture_stats(&world.fixture).cache_misses - misses;
        cr_assert_leq(misses, 20, "way %u: %llu structures were read for 30 rows in %u segments", way, (unsigned long long)misses, (unsigned)FLUSHES);
    }
    fixture_remove(&world.fixture);
}

/* A block that is met only when its segment's turn comes again. */
Test(pool, damage_in_a_segment_whose_turn_comes_late_is_told)
{
    static struct world world;
    make_world(&world, false, 12);
    for (uint32_t flush = 0; flush < 60; flush++)
        record(&world, flush, false);
    must(mote_checkpoint(world.fixture.db));
    struct version *version = version_acquire(world.fixture.db->manifest);
    const struct segment_list *list = version_find(version, world.table->id);
    const struct segment_record *segment = &list->segments[30]->record;
    uint64_t contiguous_bytes, offset = segment_device_offset(segment, world.fixture.db->sst.layout, 2000, 1, &contiguous_bytes);
    version_release(world.fixture.db->manifest, version);
    fixture_close(&world.fixture);
    device_flip_bit(world.fixture.sim, offset, 3);
    fixture_open(&world.fixture);
    open_table(&world, false);
    for (uint32_t descending = 0; descending < 2; descending++) {
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        mote_cursor *cursor;
        struct mote_chunk chunk;
        uint32_t rows = 0;
        int result;
        options.descending = descending;
        options.chunk_rows = 100;
        must(mote_scan(world.table, &options, &cursor));
        while ((result = mote_cursor_next(cursor, &chunk)) == MOTE_OK && chunk.row_count > 0)
            rows += (uint32_t)chunk.row_count;
        cr_assert_eq(result, MOTE_EDAMAGED, "%u rows, then %d", rows, result);
        cr_assert(rows > 100 && rows < 60 * ROWS * SERIES, "%u rows", rows);
        cr_assert_eq(mote_cursor_next(cursor, &chunk), MOTE_EDAMAGED);
        mote_cursor_close(cursor);
    }
    fixture_remove(&world.fixture);
}
