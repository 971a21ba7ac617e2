/* engine_aggregate_test.c: aggregates, counts and latest rows through the public API: what they read and what they leave unread, what they refuse, the form of their results. That the figures are right for tables of every kind is
 * aggregate_test's matter (tests/sim). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/aggregate_oracle.h"

TestSuite(aggregate, .timeout = 120);

enum { SERIES = 4, ROWS_OF_SERIES = 20000, BLOCK_ROWS = 256, STEP_NS = 1000 };

/* (series, t) -> x float64, n int64, note text. */
static mote_table *make_table(struct fixture *fixture)
{
    const struct mote_column_definition columns[] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "x", .type = MOTE_TYPE_FLOAT64}, {.name = "n", .type = MOTE_TYPE_INT64}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    const uint32_t key[] = {0, 1};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "arm";
    schema.columns = columns;
    schema.column_count = 5;
    schema.key_columns = key;
    schema.key_column_count = 2;
    schema.time_column = 1;
    must(mote_table_create(fixture->db, &schema, &table));
    return table;
}

static void append_rows(mote_table *table, uint32_t rows_of_series)
{
    enum { BATCH = 1000 };
    static int32_t series[BATCH];
    static int64_t times[BATCH], numbers[BATCH];
    static double values[BATCH];
    for (uint32_t s = 0; s < SERIES; s++) {
        for (uint32_t done = 0; done < rows_of_series; done += BATCH) {
            for (uint32_t i = 0; i < BATCH; i++) {
                series[i] = (int32_t)s;
                times[i] = (int64_t)(done + i) * STEP_NS;
                /* Of little regularity, so that blocks have some size; the greatest is 16383.75. */
                uint64_t mixed = (uint64_t)(done + i) * 0x9E3779B97F4A7C15u;
                values[i] = done + i == 1234 ? 16383.75 : (double)(mixed >> 48 & 0xffff) * 0.25 - 1;
                numbers[i] = (int64_t)(done + i) * 3 - 7;
            }
            const struct mote_column columns[] = {{MOTE_TYPE_INT32, 1, series, NULL, NULL}, {MOTE_TYPE_TIMESTAMP, 1, times, NULL, NULL}, {MOTE_TYPE_FLOAT64, 1, values, NULL, NULL}, {MOTE_TYPE_INT64, 1, numbers, NULL, NULL}};
            const struct mote_batch batch = {BATCH, 4, columns, NULL};
            must(mote_append_columns(table, &batch, NULL, NULL));
        }
    }
}

/* A volume with the rows in blocks that nothing overlaps, opened anew, so that nothing is cached. */
static mote_table *make_settled(struct fixture *fixture, bool image)
{
    mote_table *table;
    if (image)
        fixture_image(fixture, 64 * MIB_BYTES);
    else
        fixture_sim(fixture, 64 * MIB_BYTES, 1, false);
    fixture->options.block_rows = BLOCK_ROWS;
    fixture_open(fixture);
    append_rows(make_table(fixture), ROWS_OF_SERIES);
    must(mote_flush(fixture->db));
    must(mote_compact(fixture->db, "arm"));
    fixture_reopen(fixture);
    must(mote_table_open(fixture->db, "arm", &table));
    return table;
}

static const struct mote_aggregate_value ALL_OF_X[] = {{MOTE_AGGREGATE_ROWS, MOTE_AGGREGATE_COUNT}, {2, MOTE_AGGREGATE_COUNT}, {2, MOTE_AGGREGATE_MIN},  {2, MOTE_AGGREGATE_MAX},
                                                       {2, MOTE_AGGREGATE_SUM},                    {2, MOTE_AGGREGATE_MEAN},  {3, MOTE_AGGREGATE_SUM}, {4, MOTE_AGGREGATE_COUNT}};
static const struct mote_aggregate_value EDGES_OF_X[] = {{2, MOTE_AGGREGATE_FIRST}, {2, MOTE_AGGREGATE_LAST}};

static struct mote_aggregate_options options_of(const struct mote_aggregate_value *values, size_t count)
{
    struct mote_aggregate_options options = MOTE_AGGREGATE_OPTIONS_INIT;
    options.values = values;
    options.value_count = count;
    return options;
}

/* Reads an aggregation to its end; the number of results in *rows. */
static int run(mote_table *table, const struct mote_aggregate_options *options, uint64_t *rows)
{
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    *rows = 0;
    int code = mote_aggregate(table, options, &aggregation);
    if (code)
        return code;
    while ((code = mote_aggregation_next(aggregation, &chunk)) == MOTE_OK && chunk.row_count > 0)
        *rows += chunk.row_count;
    mote_aggregation_close(aggregation);
    return code;
}

/* What a scan of the whole table reads when nothing is cached; nothing is afterwards. */
static uint64_t scan_bytes(struct fixture *fixture, mote_table **table)
{
    uint64_t before = fixture_stats(fixture).bytes_read;
    require(fixture_count_rows(*table) == (uint64_t)SERIES * ROWS_OF_SERIES);
    uint64_t bytes = fixture_stats(fixture).bytes_read - before;
    fixture_reopen(fixture);
    must(mote_table_open(fixture->db, "arm", table));
    return bytes;
}

static uint64_t bytes_read(struct fixture *fixture) { return fixture_stats(fixture).bytes_read; }

/* ---- What is read ---- */

Test(aggregate, blocks_told_by_statistics_are_not_read)
{
    struct fixture fixture;
    mote_table *table = make_settled(&fixture, false);
    struct mote_aggregate_options options = options_of(ALL_OF_X, 8);
    uint64_t rows, count, scanned = scan_bytes(&fixture, &table), before = bytes_read(&fixture);
    char text[ORACLE_TEXT_BYTES] = "";
    options.by_series = 1;
    must(run(table, &options, &rows));
    cr_assert_eq(rows, SERIES);
    must(mote_count(table, NULL, &count));
    cr_assert_eq(count, (uint64_t)SERIES * ROWS_OF_SERIES);
    uint64_t read = bytes_read(&fixture) - before;
    /* At a change of the series a block belongs to two: these are read, and the index. */
    cr_assert_lt(read * 4, scanned, "%llu bytes were read, by a scan %llu", (unsigned long long)read, (unsigned long long)scanned);

    /* Edges: a row for each series and end. */
    options = options_of(EDGES_OF_X, 2);
    options.by_series = 1;
    fixture_reopen(&fixture);
    must(mote_table_open(fixture.db, "arm", &table));
    before = bytes_read(&fixture);
    must(run(table, &options, &rows));
    read = bytes_read(&fixture) - before;
    cr_assert_lt(read * 4, scanned, "%llu bytes were read, by a scan %llu", (unsigned long long)read, (unsigned long long)scanned);

    /* Buckets of ten blocks: about one block in ten is in two buckets. */
    options = options_of(ALL_OF_X, 8);
    options.by_series = 1;
    options.bucket_ns = 10 * BLOCK_ROWS * STEP_NS;
    options.origin_ns = 3 * STEP_NS;
    fixture_reopen(&fixture);
    must(mote_table_open(fixture.db, "arm", &table));
    before = bytes_read(&fixture);
    must(run(table, &options, &rows));
    read = bytes_read(&fixture) - before;
    cr_assert_lt(read * 3, scanned, "%llu bytes were read, by a scan %llu", (unsigned long long)read, (unsigned long long)scanned);
    cr_assert(aggregate_agrees(table, &options, text), "%s", text);
    fixture_remove(&fixture);
}

Test(aggregate, sum_of_both_infinities_is_the_same_nan_everywhere)
{
    static const struct mote_aggregate_value wanted[] = {{2, MOTE_AGGREGATE_SUM}, {2, MOTE_AGGREGATE_MEAN}};
    struct fixture fixture;
    fixture_sim(&fixture, 64 * MIB_BYTES, 1, false);
    fixture_open(&fixture);
    mote_table *table = make_table(&fixture);
    const int32_t series[] = {1, 1, 1};
    const int64_t times[] = {1, 2, 3}, numbers[] = {1, 2, 3};
    const double values[] = {INFINITY, -INFINITY, 1};
    const struct mote_column columns[] = {{MOTE_TYPE_INT32, 1, series, NULL, NULL}, {MOTE_TYPE_TIMESTAMP, 1, times, NULL, NULL}, {MOTE_TYPE_FLOAT64, 1, values, NULL, NULL}, {MOTE_TYPE_INT64, 1, numbers, NULL, NULL}};
    const struct mote_batch batch = {3, 4, columns, NULL};
    must(mote_append_columns(table, &batch, NULL, NULL));
    for (int flushed = 0; flushed < 2; flushed++) {
        struct mote_aggregate_options options = options_of(wanted, 2);
        mote_aggregation *aggregation;
        struct mote_chunk chunk;
        must(mote_aggregate(table, &options, &aggregation));
        must(mote_aggregation_next(aggregation, &chunk));
        cr_assert_eq(chunk.row_count, 1);
        for (size_t i = 0; i < 2; i++) {
            uint64_t bits;
            memcpy(&bits, chunk.columns[i + chunk.column_count - 2].values, sizeof bits);
            cr_assert_eq(bits, UINT64_C(0x7FF8000000000000), "%zu: %llx", i, (unsigned long long)bits);
        }
        mote_aggregation_close(aggregation);
        must(mote_flush(fixture.db));
    }
    fixture_remove(&fixture);
}

Test(aggregate, latest_rows_are_sought)
{
    struct fixture fixture;
    mote_table *table = make_settled(&fixture, false);
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    mote_cursor *cursor;
    struct mote_chunk chunk;
    char text[ORACLE_TEXT_BYTES] = "";
    uint64_t scanned = scan_bytes(&fixture, &table), before = bytes_read(&fixture);
    must(mote_latest(table, &options, &cursor));
    must(mote_cursor_next(cursor, &chunk));
    cr_assert_eq(chunk.row_count, SERIES);
    for (size_t i = 0; i < SERIES; i++) {
        cr_assert_eq(chunk_value(&chunk, 0, i).as.i32, (int32_t)i);
        cr_assert_eq(chunk_value(&chunk, 1, i).as.i64, (int64_t)(ROWS_OF_SERIES - 1) * STEP_NS);
    }
    must(mote_cursor_next(cursor, &chunk));
    cr_assert_eq(chunk.row_count, 0);
    mote_cursor_close(cursor);
    uint64_t read = bytes_read(&fixture) - before;
    cr_assert_lt(read * 4, scanned, "%llu bytes were read, by a scan %llu", (unsigned long long)read, (unsigned long long)scanned);
    cr_assert(latest_agrees(table, &options, text), "%s", text);

    /* As of a moment, of one series. */
    const struct mote_value one = value_i32(2);
    options.key_prefix = &one;
    options.key_prefix_count = 1;
    options.use_time_range = 1;
    options.time_from_ns = INT64_MIN;
    options.time_to_ns = 5 * STEP_NS + 1;
    must(mote_latest(table, &options, &cursor));
    must(mote_cursor_next(cursor, &chunk));
    cr_assert_eq(chunk.row_count, 1);
    cr_assert_eq(chunk_value(&chunk, 1, 0).as.i64, 5 * STEP_NS);
    mote_cursor_close(cursor);
    fixture_remove(&fixture);
}

/* A recording that goes on, in segments of ever later times: the newest row of a series is in the newest of them. */
Test(aggregate, latest_row_of_a_series_reads_the_newest_segment)
{
    struct fixture fixture;
    mote_cursor *cursor;
    struct mote_chunk chunk;
    char text[ORACLE_TEXT_BYTES] = "";
    fixture_sim(&fixture, 64 * MIB_BYTES, 7, false);
    fixture.options.compaction_spread_max = 16;
    fixture_open(&fixture);
    mote_table *table = make_table(&fixture);
    for (int64_t part = 0; part < 8; part++) {
        for (int64_t i = 0; i < 600; i++) {
            const struct mote_value row[] = {value_i32((int32_t)(i % 3)), value_timestamp(part * 600 + i), value_f64(0.1 * (double)i), value_i64(i), value_null(MOTE_TYPE_TEXT)};
            must(mote_append(table, row, 5, NULL, NULL));
        }
        if (part == 1) { /* a series that ends early */
            const struct mote_value row[] = {value_i32(9), value_timestamp(800), value_null(MOTE_TYPE_FLOAT64), value_i64(-1), value_null(MOTE_TYPE_TEXT)};
            must(mote_append(table, row, 5, NULL, NULL));
        }
        must(mote_flush(fixture.db));
    }
    fixture_reopen(&fixture);
    must(mote_table_open(fixture.db, "arm", &table));
    struct mote_table_info info = {.size_bytes = sizeof info};
    must(mote_table_describe(table, &info));
    cr_assert_geq(info.segment_count, 8);
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_value series = value_i32(1);
    options.key_prefix = &series;
    options.key_prefix_count = 1;
    uint64_t before = fixture_stats(&fixture).cache_misses;
    must(mote_latest(table, &options, &cursor));
    must(mote_cursor_next(cursor, &chunk));
    cr_assert_eq(chunk.row_count, 1);
    cr_assert_eq(chunk_value(&chunk, 1, 0).as.i64, 7 * 600 + 598);
    must(mote_cursor_next(cursor, &chunk));
    cr_assert_eq(chunk.row_count, 0);
    mote_cursor_close(cursor);
    cr_assert_leq(fixture_stats(&fixture).cache_misses - before, 4, "footer, partition, block");
    series = value_i32(9);
    cr_assert(latest_agrees(table, &options, text), "%s", text);
    options.key_prefix_count = 0;
    cr_assert(latest_agrees(table, &options, text), "%s", text);
    fixture_remove(&fixture);
}

/* Changes a byte in the middle of every block of the closed volume. */
static uint64_t damage_blocks(const char *path)
{
    static uint8_t page[4096];
    FILE *file = fopen(path, "r+b");
    uint64_t damaged = 0, offset = 0;
    require(file != NULL);
    while (fread(page, 1, sizeof page, file) == sizeof page) {
        bool changed = false;
        for (size_t at = 0; at < sizeof page; at += 64) {
            if (memcmp(page + at, "MSBK", 4) != 0)
                continue;
            page[at + 56] ^= 1; /* its greatest seq */
            damaged++;
            changed = true;
        }
        if (changed) {
            require(fseek(file, (long)offset, SEEK_SET) == 0 && fwrite(page, 1, sizeof page, file) == sizeof page);
            require(fseek(file, (long)(offset + sizeof page), SEEK_SET) == 0);
        }
        offset += sizeof page;
    }
    require(fclose(file) == 0);
    return damaged;
}

Test(aggregate, damaged_block_is_told_by_its_statistics_alone)
{
    struct fixture fixture;
    mote_table *table = make_settled(&fixture, true);
    struct mote_aggregate_options options = options_of(ALL_OF_X, 8);
    mote_aggregation *aggregation;
    mote_cursor *cursor;
    struct mote_chunk chunk;
    uint64_t count;
    fixture_close(&fixture);
    cr_assert_gt(damage_blocks(fixture.path), SERIES * ROWS_OF_SERIES / BLOCK_ROWS);
    fixture_open(&fixture);
    must(mote_table_open(fixture.db, "arm", &table));

    must(mote_aggregate(table, &options, &aggregation));
    must(mote_aggregation_next(aggregation, &chunk));
    cr_assert_eq(chunk.row_count, 1);
    cr_assert_eq(chunk_value(&chunk, 0, 0).as.i64, SERIES * ROWS_OF_SERIES);
    cr_assert_eq(chunk_value(&chunk, 3, 0).as.f64, 16383.75);
    cr_assert_eq(chunk_value(&chunk, 6, 0).as.i64, SERIES * (3ll * ROWS_OF_SERIES * (ROWS_OF_SERIES - 1) / 2 - 7ll * ROWS_OF_SERIES));
    mote_aggregation_close(aggregation);
    must(mote_count(table, NULL, &count));
    cr_assert_eq(count, (uint64_t)SERIES * ROWS_OF_SERIES);

    must(mote_scan(table, NULL, &cursor));
    must_fail(mote_cursor_next(cursor, &chunk), MOTE_EDAMAGED);
    mote_cursor_close(cursor);

    /* What needs rows is refused, and stays refused. */
    options.bucket_ns = 10;
    must(mote_aggregate(table, &options, &aggregation));
    must_fail(mote_aggregation_next(aggregation, &chunk), MOTE_EDAMAGED);
    must_fail(mote_aggregation_next(aggregation, &chunk), MOTE_EDAMAGED);
    mote_aggregation_close(aggregation);
    options = options_of(EDGES_OF_X, 2);
    options.by_series = 1;
    uint64_t rows;
    must_fail(run(table, &options, &rows), MOTE_EDAMAGED);
    must_fail(mote_latest(table, NULL, &cursor) ? -99 : mote_cursor_next(cursor, &chunk), MOTE_EDAMAGED);
    mote_cursor_close(cursor);
    fixture_remove(&fixture);
}

/* Longer than one view is held: 600,000 rows, no two in one bucket beside each other. */
Test(aggregate, long_aggregate_over_several_views_is_exact)
{
    struct fixture fixture;
    char text[ORACLE_TEXT_BYTES] = "";
    fixture_sim(&fixture, 256 * MIB_BYTES, 2, false);
    fixture_open(&fixture);
    mote_table *table = make_table(&fixture);
    append_rows(table, 150000);
    struct mote_aggregate_options options = options_of(ALL_OF_X, 7);
    options.bucket_ns = 40000 * (int64_t)STEP_NS;
    cr_assert(aggregate_agrees(table, &options, text), "%s", text);
    options.by_series = 1;
    options.values = EDGES_OF_X;
    options.value_count = 2;
    cr_assert(aggregate_agrees(table, &options, text), "%s", text);
    fixture_remove(&fixture);
}

/* ---- What is refused ---- */

Test(aggregate, bad_input_is_refused)
{
    struct fixture fixture;
    fixture_sim(&fixture, 64 * MIB_BYTES, 3, false);
    fixture_open(&fixture);
    mote_table *table = make_table(&fixture), *timeless;
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "x", .type = MOTE_TYPE_FLOAT64}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    schema.name = "timeless";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(fixture.db, &schema, &timeless));
    mote_aggregation *aggregation = NULL;
    mote_cursor *cursor = NULL;
    struct mote_chunk chunk;
    uint64_t count;
    const struct mote_aggregate_options good = options_of(ALL_OF_X, 8);
    struct mote_aggregate_options options = good;

    must_fail(mote_aggregate(NULL, &good, &aggregation), MOTE_EINVAL);
    must_fail(mote_aggregate(table, NULL, &aggregation), MOTE_EINVAL);
    must_fail(mote_aggregate(table, &good, NULL), MOTE_EINVAL);
    must_fail(mote_aggregation_next(NULL, &chunk), MOTE_EINVAL);
    must_fail(mote_count(table, NULL, NULL), MOTE_EINVAL);
    must_fail(mote_count(NULL, NULL, &count), MOTE_EINVAL);
    must_fail(mote_latest(table, NULL, NULL), MOTE_EINVAL);
    must_fail(mote_latest(timeless, NULL, &cursor), MOTE_EINVAL);
    mote_aggregation_close(NULL);
    options.size_bytes = 0;
    must_fail(mote_aggregate(table, &options, &aggregation), MOTE_EINVAL);
    options = good;
    options.values = NULL;
    must_fail(mote_aggregate(table, &options, &aggregation), MOTE_EINVAL);
    options = good;
    options.value_count = 0;
    must_fail(mote_aggregate(table, &options, &aggregation), MOTE_EINVAL);
    options.value_count = 1025;
    must_fail(mote_aggregate(table, &options, &aggregation), MOTE_EINVAL);
    options = good;
    options.bucket_ns = -1;
    must_fail(mote_aggregate(table, &options, &aggregation), MOTE_EINVAL);
    options = good;
    options.chunk_rows = (1u << 20) + 1;
    must_fail(mote_aggregate(table, &options, &aggregation), MOTE_EINVAL);
    options = good;
    options.key_prefix_count = 3;
    must_fail(mote_aggregate(table, &options, &aggregation), MOTE_EINVAL);
    const struct mote_value wrong = value_text("not a series");
    options.key_prefix = &wrong;
    options.key_prefix_count = 1;
    must_fail(mote_aggregate(table, &options, &aggregation), MOTE_ESCHEMA);

    static const struct {
        struct mote_aggregate_value value;
        int code;
    } values[] = {{{4, MOTE_AGGREGATE_MIN}, MOTE_EINVAL},  {{4, MOTE_AGGREGATE_LAST}, MOTE_EINVAL}, {{1, MOTE_AGGREGATE_SUM}, MOTE_EINVAL},   {{1, MOTE_AGGREGATE_MEAN}, MOTE_EINVAL},
                  {{5, MOTE_AGGREGATE_MIN}, MOTE_ENOCOLUMN}, {{2, 0}, MOTE_EINVAL},                   {{2, 8}, MOTE_EINVAL},                    {{MOTE_AGGREGATE_ROWS, MOTE_AGGREGATE_SUM}, MOTE_EINVAL}};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        options = options_of(&values[i].value, 1);
        must_fail(mote_aggregate(table, &options, &aggregation), values[i].code);
    }
    const struct mote_aggregate_value rows = {MOTE_AGGREGATE_ROWS, MOTE_AGGREGATE_COUNT};
    options = options_of(&rows, 1);
    options.bucket_ns = 1;
    must_fail(mote_aggregate(timeless, &options, &aggregation), MOTE_EINVAL);
    options = options_of(&rows, 1);
    options.by_series = 1;
    must_fail(mote_aggregate(timeless, &options, &aggregation), MOTE_EINVAL);
    options = options_of(&rows, 1);
    options.use_time_range = 1;
    must_fail(mote_aggregate(timeless, &options, &aggregation), MOTE_EINVAL);
    cr_assert_null(aggregation);
    struct mote_error error;
    cr_assert_eq(mote_last_error(&error), MOTE_EINVAL);
    cr_assert_str_eq(error.table, "timeless");
    fixture_remove(&fixture);
}

Test(aggregate, aggregations_count_as_cursors_and_give_everything_back)
{
    struct fixture fixture;
    fixture_sim(&fixture, 64 * MIB_BYTES, 4, false);
    fixture_open(&fixture);
    mote_table *table = make_table(&fixture);
    append_rows(table, 1000);
    struct mote_aggregate_options options = options_of(ALL_OF_X, 8);
    mote_aggregation *open[9];
    options.bucket_ns = 17;
    const struct mote_value prefix = value_text("refused");
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 8; i++)
            must(mote_aggregate(table, &options, &open[i]));
        must_fail(mote_aggregate(table, &options, &open[8]), MOTE_EBUDGET);
        for (unsigned i = 0; i < 8; i++)
            mote_aggregation_close(open[i]);
        struct mote_aggregate_options refused = options;
        refused.key_prefix = &prefix;
        refused.key_prefix_count = 1;
        for (unsigned i = 0; i < 20; i++)
            must_fail(mote_aggregate(table, &refused, &open[0]), MOTE_ESCHEMA);
    }
    /* The heap's own check at close tells of memory that was not given back. */
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(aggregate, more_buckets_than_memory_is_over_budget)
{
    struct fixture fixture;
    uint64_t rows;
    char text[ORACLE_TEXT_BYTES] = "";
    fixture_sim(&fixture, 128 * MIB_BYTES, 5, false);
    fixture_open(&fixture);
    mote_table *table = make_table(&fixture);
    append_rows(table, 60000);
    struct mote_aggregate_options options = options_of(ALL_OF_X, 8);
    options.bucket_ns = STEP_NS; /* of four series: held until the end */
    must_fail(run(table, &options, &rows), MOTE_EBUDGET);
    options.by_series = 1; /* one after the other */
    must(run(table, &options, &rows));
    cr_assert_eq(rows, 4 * 60000);
    options.by_series = 0;
    options.bucket_ns = 1000 * STEP_NS;
    cr_assert(aggregate_agrees(table, &options, text), "%s", text);
    fixture_remove(&fixture);
}

/* ---- The form of results ---- */

Test(aggregate, columns_of_the_results_are_as_told)
{
    struct fixture fixture;
    fixture_sim(&fixture, 64 * MIB_BYTES, 6, false);
    fixture_open(&fixture);
    mote_table *table = make_table(&fixture);
    const struct mote_aggregate_value values[] = {{2, MOTE_AGGREGATE_MEAN}, {3, MOTE_AGGREGATE_MAX}, {3, MOTE_AGGREGATE_SUM}, {4, MOTE_AGGREGATE_COUNT}, {1, MOTE_AGGREGATE_LAST}, {2, MOTE_AGGREGATE_SUM}};
    struct mote_aggregate_options options = options_of(values, 6);
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    options.by_series = 1;
    options.bucket_ns = 100;
    options.origin_ns = 5;
    must(mote_aggregate(table, &options, &aggregation)); /* of nothing */
    must(mote_aggregation_next(aggregation, &chunk));
    cr_assert_eq(chunk.row_count, 0);
    must(mote_aggregation_next(aggregation, &chunk));
    cr_assert_eq(chunk.row_count, 0);
    mote_aggregation_close(aggregation);

    const struct mote_value row[] = {value_i32(7), value_timestamp(-1), value_null(MOTE_TYPE_FLOAT64), value_i64(-4), value_text("bumped")};
    must(mote_append(table, row, 5, NULL, NULL));
    must(mote_aggregate(table, &options, &aggregation));
    const struct mote_value late[] = {value_i32(7), value_timestamp(0), value_f64(1), value_i64(1), value_null(MOTE_TYPE_TEXT)};
    must(mote_append(table, late, 5, NULL, NULL)); /* not seen */
    must(mote_aggregation_next(aggregation, &chunk));
    cr_assert_eq(chunk.row_count, 1);
    cr_assert_eq(chunk.column_count, 8);
    static const uint32_t types[] = {MOTE_TYPE_INT32, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_FLOAT64, MOTE_TYPE_INT64, MOTE_TYPE_INT64, MOTE_TYPE_INT64, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_FLOAT64};
    for (size_t i = 0; i < 8; i++)
        cr_assert_eq(chunk.columns[i].type, types[i], "column %zu", i);
    cr_assert_eq(chunk_value(&chunk, 0, 0).as.i32, 7);
    cr_assert_eq(chunk_value(&chunk, 1, 0).as.i64, -95);
    cr_assert_eq(chunk_value(&chunk, 2, 0).is_null, 1);
    cr_assert_eq(chunk_value(&chunk, 3, 0).as.i64, -4);
    cr_assert_eq(chunk_value(&chunk, 4, 0).as.i64, -4);
    cr_assert_eq(chunk_value(&chunk, 5, 0).as.i64, 1);
    cr_assert_eq(chunk_value(&chunk, 6, 0).as.i64, -1);
    cr_assert_eq(chunk_value(&chunk, 7, 0).is_null, 1);
    mote_aggregation_close(aggregation);

    /* A program built before the last members were added. */
    options.size_bytes = offsetof(struct mote_aggregate_options, chunk_rows);
    options.chunk_rows = UINT32_MAX;
    uint64_t rows;
    must(run(table, &options, &rows));
    cr_assert_eq(rows, 1);
    fixture_remove(&fixture);
}
