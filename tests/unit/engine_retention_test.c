/* engine_retention_test.c: retention by age, bytes and pins as programs see it: what reads show, what is dropped, what survives an open, and what a wrong clock does not do. The clock is the test's. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/gate.h"
#include "tests/support/sample_table.h"

#define SECOND ((int64_t)NS_PER_S)
#define HOUR (3600 * SECOND)
#define BEGIN (1700000000 * SECOND)

static _Atomic int64_t clock_ns;

static int64_t read_clock(void *context)
{
    (void)context;
    return atomic_load(&clock_ns);
}

static void begin(struct fixture *fixture, uint64_t size_bytes)
{
    fixture_image(fixture, size_bytes);
    fixture->realtime_ns = read_clock;
    fixture->options.inline_io = 1;
    atomic_store(&clock_ns, BEGIN);
    fixture_open(fixture);
}

static mote_table *reopen(struct fixture *fixture)
{
    mote_table *table;
    fixture_reopen(fixture);
    must(mote_table_open(fixture->db, "arm", &table));
    return table;
}

static void append(mote_table *table, int32_t series, int64_t time_ns, int64_t value)
{
    const struct mote_value values[] = {value_i32(series), value_timestamp(time_ns), value_i64(value), value_text("note")};
    must(mote_append(table, values, 4, NULL, NULL));
}

static void set_retention(mote_table *table, struct mote_retention retention)
{
    retention.size_bytes = sizeof retention;
    must(mote_table_set_retention(table, &retention));
}

static void set_age(mote_table *table, int64_t age_ns) { set_retention(table, (struct mote_retention){.age_ns = age_ns}); }

static struct mote_retention_info info_of(mote_table *table)
{
    struct mote_retention_info info = {.size_bytes = sizeof info};
    must(mote_table_get_retention(table, NULL, &info));
    return info;
}

static bool has(mote_table *table, int32_t series, int64_t time_ns)
{
    const struct mote_value key[] = {value_i32(series), value_timestamp(time_ns)};
    mote_row *row = NULL;
    int result = mote_get(table, key, 2, &row);
    require(result == MOTE_OK || result == MOTE_ENOTFOUND);
    mote_row_free(row);
    return result == MOTE_OK;
}

static uint64_t count(mote_table *table)
{
    uint64_t rows;
    must(mote_count(table, NULL, &rows));
    require(rows == fixture_count_rows(table));
    return rows;
}

Test(engine_retention, age_expires_and_drops)
{
    struct fixture fixture;
    begin(&fixture, 64 * MIB_BYTES);
    mote_table *table = sample_table_series(fixture.db, "arm", 0);
    set_age(table, 16 * HOUR);
    for (int64_t hour = 0; hour < 48; hour++) {
        atomic_store(&clock_ns, BEGIN + hour * HOUR);
        for (int32_t series = 0; series < 3; series++)
            append(table, series, BEGIN + hour * HOUR, hour);
        if (hour % 4 == 3)
            must(mote_flush(fixture.db));
        uint64_t expected = 3 * (uint64_t)(hour < 16 ? hour + 1 : 17);
        cr_assert_eq(count(table), expected, "hour %ld: %lu rows, expected %lu", (long)hour, (unsigned long)count(table), (unsigned long)expected);
        if (hour > 16) {
            cr_assert(!has(table, 1, BEGIN + (hour - 17) * HOUR));
            cr_assert(has(table, 1, BEGIN + (hour - 16) * HOUR));
        }
    }
    must(mote_retain(fixture.db));
    struct mote_retention_info info = info_of(table);
    cr_assert_eq(info.horizon_ns, BEGIN + 31 * HOUR);
    cr_assert(info.rows_expired >= 3 * 28 && info.rows_expired <= 3 * 31, "%lu rows were dropped", (unsigned long)info.rows_expired);
    cr_assert(info.segments_dropped > 0);
    struct mote_table_info described = {.size_bytes = sizeof described};
    must(mote_table_describe(table, &described));
    cr_assert_eq(described.segment_rows + info.rows_expired, 3 * 48);
    table = reopen(&fixture);
    cr_assert_eq(count(table), 3 * 17);
    fixture_crash(&fixture);
    must(mote_table_open(fixture.db, "arm", &table));
    cr_assert_eq(count(table), 3 * 17);
    fixture_remove(&fixture);
}

Test(engine_retention, wrong_clock_or_row_from_the_future_expires_nothing)
{
    struct fixture fixture;
    begin(&fixture, 64 * MIB_BYTES);
    mote_table *table = sample_table_series(fixture.db, "arm", 0);
    set_age(table, HOUR);
    for (int64_t i = 0; i < 60; i++)
        append(table, 1, BEGIN + i * 60 * SECOND, i);
    atomic_store(&clock_ns, BEGIN + HOUR);
    cr_assert_eq(count(table), 60);
    /* The clock jumps ten years ahead. */
    atomic_store(&clock_ns, BEGIN + 10 * 365 * 24 * HOUR);
    cr_assert_eq(count(table), 60);
    must(mote_retain(fixture.db));
    cr_assert_eq(count(table), 60);
    table = reopen(&fixture);
    cr_assert_eq(count(table), 60);
    /* It is set back, and a row comes from the year 2100. */
    atomic_store(&clock_ns, BEGIN + HOUR);
    append(table, 1, 4102444800 * SECOND, 2100);
    cr_assert_eq(count(table), 61);
    must(mote_retain(fixture.db));
    cr_assert_eq(count(table), 61);
    cr_assert_eq(info_of(table).rows_future, 1);
    cr_assert_eq(fixture_stats(&fixture).rows_future, 1);
    /* The clock goes back before all rows. */
    atomic_store(&clock_ns, 0);
    append(table, 2, BEGIN + HOUR, 1);
    cr_assert_eq(count(table), 62);
    must(mote_retain(fixture.db));
    table = reopen(&fixture);
    cr_assert_eq(count(table), 62);
    cr_assert_eq(info_of(table).horizon_ns, BEGIN + 59 * 60 * SECOND - HOUR);
    /* Both agree: now it does, but for the row that is ahead of both. */
    atomic_store(&clock_ns, BEGIN + 3 * HOUR);
    append(table, 2, BEGIN + 3 * HOUR, 1);
    cr_assert_eq(count(table), 2);
    /* And no clock brings it back. */
    atomic_store(&clock_ns, BEGIN);
    cr_assert_eq(count(table), 2);
    table = reopen(&fixture);
    cr_assert_eq(count(table), 2);
    fixture_remove(&fixture);
}

Test(engine_retention, newer_version_expires_older_stays_away)
{
    struct fixture fixture;
    begin(&fixture, 64 * MIB_BYTES);
    mote_table *table = sample_table_series(fixture.db, "arm", 0);
    set_retention(table, (struct mote_retention){.age_ns = 10 * HOUR, .window_ns = HOUR});
    const struct mote_value key[] = {value_i32(1), value_timestamp(BEGIN)};
    for (int64_t version = 0; version < 5; version++) {
        append(table, 1, BEGIN, version);
        append(table, 1, BEGIN + version * HOUR, version);
        must(mote_flush(fixture.db));
    }
    must(mote_delete(table, key, 2, NULL, NULL));
    must(mote_flush(fixture.db));
    cr_assert(!has(table, 1, BEGIN));
    for (int64_t hour = 5; hour < 30; hour++) {
        atomic_store(&clock_ns, BEGIN + hour * HOUR);
        append(table, 1, BEGIN + hour * HOUR, hour);
        must(mote_retain(fixture.db));
        cr_assert(!has(table, 1, BEGIN), "hour %ld", (long)hour);
        cr_assert_eq(count(table), hour < 10 ? (uint64_t)hour : hour == 10 ? 10u : 11u, "hour %ld: %lu", (long)hour, (unsigned long)count(table));
    }
    fixture_remove(&fixture);
}

Test(engine_retention, table_that_would_bring_rows_back_is_refused)
{
    struct fixture fixture;
    begin(&fixture, 64 * MIB_BYTES);
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "time", .type = MOTE_TYPE_TIMESTAMP}, {.name = "must", .type = MOTE_TYPE_TIMESTAMP, .flags = MOTE_COLUMN_NOT_NULL}};
    const uint32_t key[] = {0};
    const struct {
        const char *name;
        int32_t time_column;
        uint32_t key_count, flags;
        int code;
    } cases[] = {{"a", -1, 1, 0, MOTE_EINVAL}, {"b", 2, 1, 0, MOTE_EINVAL}, {"c", 1, 0, 0, MOTE_EINVAL}, {"d", 2, 0, 0, MOTE_OK}, {"e", 2, 1, MOTE_TABLE_APPEND_ONLY, MOTE_OK}, {"f", 1, 1, MOTE_TABLE_APPEND_ONLY, MOTE_EINVAL}};
    struct mote_retention retention = MOTE_RETENTION_INIT;
    retention.age_ns = HOUR;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mote_schema schema = MOTE_SCHEMA_INIT;
        mote_table *table;
        schema.name = cases[i].name;
        schema.columns = columns;
        schema.column_count = 3;
        schema.key_columns = key;
        schema.key_column_count = cases[i].key_count;
        schema.time_column = cases[i].time_column;
        schema.flags = cases[i].flags;
        must(mote_table_create(fixture.db, &schema, &table));
        int result = mote_table_set_retention(table, &retention);
        cr_assert_eq(result, cases[i].code, "table %s: %s", cases[i].name, mote_error_name(result));
    }
    fixture_remove(&fixture);
}

/* A table with the engine's rowid: rows have no time in their key, tombstones none at all. */
Test(engine_retention, rowid_table_expires_and_keeps_its_deletes)
{
    struct fixture fixture;
    begin(&fixture, 64 * MIB_BYTES);
    const struct mote_column_definition columns[] = {{.name = "time", .type = MOTE_TYPE_TIMESTAMP, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "value", .type = MOTE_TYPE_INT64}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "log";
    schema.columns = columns;
    schema.column_count = 2;
    schema.time_column = 0;
    must(mote_table_create(fixture.db, &schema, &table));
    set_age(table, 10 * HOUR);
    for (int64_t hour = 0; hour < 40; hour++) {
        const struct mote_value values[] = {value_timestamp(BEGIN + hour * HOUR), value_i64(hour)};
        const struct mote_value key[] = {value_i64(hour)}; /* the row of the hour before */
        atomic_store(&clock_ns, BEGIN + hour * HOUR);
        must(mote_append(table, values, 2, NULL, NULL));
        if (hour % 5 == 4)
            must(mote_delete(table, key, 1, NULL, NULL));
        if (hour % 3 == 2)
            must(mote_retain(fixture.db));
        uint64_t expected = 0;
        for (int64_t of = 0; of <= hour; of++)
            expected += of >= hour - 10 && !(of % 5 == 3 && of < hour);
        cr_assert_eq(count(table), expected, "hour %ld: %lu, expected %lu", (long)hour, (unsigned long)count(table), (unsigned long)expected);
    }
    fixture_remove(&fixture);
}

Test(engine_retention, insert_and_unique_take_the_place_of_the_expired)
{
    struct fixture fixture;
    begin(&fixture, 64 * MIB_BYTES);
    mote_table *table = sample_table_series(fixture.db, "arm", 0);
    const uint32_t columns[] = {2};
    struct mote_index_options index = MOTE_INDEX_OPTIONS_INIT;
    index.name = "values";
    index.kind = MOTE_INDEX_COLUMN;
    index.columns = columns;
    index.column_count = 1;
    index.unique = 1;
    must(mote_index_create(table, &index));
    set_age(table, HOUR);
    append(table, 1, BEGIN, 77);
    const struct mote_value same_key[] = {value_i32(1), value_timestamp(BEGIN), value_i64(78), value_text("")}, same_value[] = {value_i32(1), value_timestamp(BEGIN + 5 * HOUR), value_i64(77), value_text("")};
    must_fail(mote_insert(table, same_key, 4, NULL, NULL), MOTE_EEXISTS);
    must_fail(mote_append(table, same_value, 4, NULL, NULL), MOTE_EEXISTS);
    must(mote_flush(fixture.db));
    must_fail(mote_append(table, same_value, 4, NULL, NULL), MOTE_EEXISTS);
    atomic_store(&clock_ns, BEGIN + 5 * HOUR);
    append(table, 2, BEGIN + 5 * HOUR, 1);
    cr_assert_eq(count(table), 1);
    must(mote_append(table, same_value, 4, NULL, NULL));
    must(mote_insert(table, same_key, 4, NULL, NULL)); /* and is expired itself */
    cr_assert_eq(count(table), 2);
    fixture_remove(&fixture);
}

/* ---- Bytes, pins ---- */

static void append_large(mote_table *table, int64_t time_ns, uint64_t *random)
{
    static char note[2048];
    for (size_t i = 0; i + 1 < sizeof note; i++)
        note[i] = (char)(33 + fixture_random(random) % 90);
    const struct mote_value values[] = {value_i32(1), value_timestamp(time_ns), value_i64(0), value_text(note)};
    must(mote_append(table, values, 4, NULL, NULL));
}

Test(engine_retention, bytes_keep_the_newest_windows)
{
    struct fixture fixture;
    uint64_t random = 5;
    begin(&fixture, 128 * MIB_BYTES);
    mote_table *table = sample_table_series(fixture.db, "arm", 0);
    set_retention(table, (struct mote_retention){.bytes_max = 8 * MIB_BYTES, .window_ns = 60 * SECOND});
    for (int64_t i = 0; i < 20000; i++) {
        atomic_store(&clock_ns, BEGIN + i * SECOND);
        append_large(table, BEGIN + i * SECOND, &random);
    }
    must(mote_retain(fixture.db));
    struct mote_retention_info info = info_of(table);
    cr_assert(info.segment_bytes <= 8 * MIB_BYTES, "%lu bytes", (unsigned long)info.segment_bytes);
    cr_assert(info.rows_recycled > 15000);
    uint64_t rows = count(table);
    cr_assert(rows > 800, "%lu rows are left", (unsigned long)rows);
    cr_assert_eq(rows + info.rows_recycled, 20000);
    for (int64_t i = 0; i < (int64_t)rows; i++)
        cr_assert(has(table, 1, BEGIN + (19999 - i) * SECOND), "row %ld from the end is gone", (long)i);
    cr_assert_eq(fixture_stats(&fixture).rows_recycled, info.rows_recycled);
    fixture_remove(&fixture);
}

Test(engine_retention, pinned_range_outlives_age_and_bytes)
{
    struct fixture fixture;
    uint64_t random = 6;
    begin(&fixture, 128 * MIB_BYTES);
    mote_table *table = sample_table_series(fixture.db, "arm", 0);
    must_fail(mote_pin(table, "early", 0, 1), MOTE_EINVAL);
    set_retention(table, (struct mote_retention){.bytes_max = 16 * MIB_BYTES, .age_ns = 4000 * SECOND, .window_ns = 60 * SECOND, .pin_bytes_max = 6 * MIB_BYTES});
    for (int64_t i = 0; i < 20000; i++) {
        atomic_store(&clock_ns, BEGIN + i * SECOND);
        append_large(table, BEGIN + i * SECOND, &random);
        if (i == 1300) {
            must_fail(mote_pin(table, "backwards", BEGIN + 1, BEGIN), MOTE_EINVAL);
            must(mote_pin(table, "crash", BEGIN + 1000 * SECOND, BEGIN + 1100 * SECOND));
            must_fail(mote_pin(table, "crash", BEGIN, BEGIN + 1), MOTE_EEXISTS);
        }
        if (i == 10000) {
            table = reopen(&fixture);
            cr_assert_eq(info_of(table).pin_count, 1);
            must_fail(mote_pin(table, "long gone", BEGIN, BEGIN + 500 * SECOND), MOTE_EINVAL);
            must_fail(mote_pin(table, "all", BEGIN, BEGIN + i * SECOND), MOTE_EBUDGET);
        }
    }
    must(mote_retain(fixture.db));
    for (int64_t i = 1000; i <= 1100; i++)
        cr_assert(has(table, 1, BEGIN + i * SECOND), "pinned second %ld is gone", (long)i);
    cr_assert(!has(table, 1, BEGIN + 999 * SECOND) && !has(table, 1, BEGIN + 1101 * SECOND));
    uint64_t with_pin = count(table);
    cr_assert(info_of(table).segment_bytes <= 16 * MIB_BYTES);
    must_fail(mote_unpin(table, "cras"), MOTE_ENOTFOUND);
    must(mote_unpin(table, "crash"));
    cr_assert_eq(count(table), with_pin - 101);
    must(mote_retain(fixture.db));
    cr_assert_eq(count(table), with_pin - 101);
    cr_assert_eq(info_of(table).pinned_bytes, 0);
    fixture_remove(&fixture);
}

/* ---- Cursors ---- */

Test(engine_retention, cursor_is_told_that_its_rows_were_recycled)
{
    struct fixture fixture;
    uint64_t random = 7;
    begin(&fixture, 128 * MIB_BYTES);
    mote_table *table = sample_table_series(fixture.db, "arm", 0);
    set_retention(table, (struct mote_retention){.bytes_max = 8 * MIB_BYTES});
    for (int64_t i = 0; i < 2000; i++)
        append_large(table, BEGIN + i * SECOND, &random);
    must(mote_flush(fixture.db));
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    mote_cursor *slow, *late, *spared;
    struct mote_chunk chunk;
    options.chunk_rows = 16;
    must(mote_scan(table, &options, &slow));
    must(mote_scan(table, &options, &late));
    must(mote_cursor_next(slow, &chunk));
    cr_assert_eq(chunk.row_count, 16);
    options.use_time_range = 1;
    options.time_from_ns = BEGIN + 19990 * SECOND;
    options.time_to_ns = BEGIN + 30000 * SECOND;
    must(mote_scan(table, &options, &spared));
    mote_aggregation *aggregation;
    struct mote_aggregate_options aggregate = MOTE_AGGREGATE_OPTIONS_INIT;
    const struct mote_aggregate_value last = {2, MOTE_AGGREGATE_SUM};
    aggregate.values = &last;
    aggregate.value_count = 1;
    must(mote_aggregate(table, &aggregate, &aggregation));
    struct mote_search_options search = MOTE_SEARCH_OPTIONS_INIT;
    mote_hits *hits;
    struct mote_hit_chunk hit_chunk;
    must(mote_search(table, &search, &hits));
    for (int64_t i = 2000; i < 20000; i++)
        append_large(table, BEGIN + i * SECOND, &random);
    must(mote_retain(fixture.db));
    must_fail(mote_cursor_next(slow, &chunk), MOTE_ERECYCLED);
    must_fail(mote_cursor_next(late, &chunk), MOTE_ERECYCLED);
    must(mote_cursor_next(spared, &chunk));
    cr_assert_eq(chunk.row_count, 0);
    must_fail(mote_aggregation_next(aggregation, &chunk), MOTE_ERECYCLED);
    must_fail(mote_hits_next(hits, &hit_chunk), MOTE_ERECYCLED);
    mote_cursor_close(slow);
    mote_cursor_close(late);
    mote_cursor_close(spared);
    mote_aggregation_close(aggregation);
    mote_hits_close(hits);
    cr_assert(count(table) > 0);
    fixture_remove(&fixture);
}

/* ---- A flight recorder ---- */

/* All rows of one moment: a worker may recycle some while they are counted. */
static uint64_t count_at_once(mote_table *table)
{
    uint64_t rows = 0;
    int result = MOTE_ERECYCLED;
    for (uint32_t tries = 0; result == MOTE_ERECYCLED && tries < 1000; tries++)
        result = mote_count(table, NULL, &rows);
    must(result);
    return rows;
}

static void record(struct fixture *fixture, uint64_t device_bytes, uint64_t seed)
{
    uint64_t random = seed, bytes = 0;
    mote_table *table = sample_table_series(fixture->db, "arm", 0);
    set_retention(table, (struct mote_retention){.recycle = 1});
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_cursor *cursor = NULL;
    bool recycled = false;
    int64_t i = 0;
    options.chunk_rows = 8;
    uint64_t wanted = fixture_scale(20 * device_bytes);
    for (; bytes < wanted; i++, bytes += 2048) {
        append_large(table, BEGIN + i * SECOND / 10, &random);
        if (i % 1000 == 999) {
            if (!cursor)
                must(mote_scan(table, &options, &cursor));
            int result = mote_cursor_next(cursor, &chunk);
            cr_assert(result == MOTE_OK || result == MOTE_ERECYCLED, "%s", mote_error_name(result));
            recycled = recycled || result == MOTE_ERECYCLED;
            if (result) {
                mote_cursor_close(cursor);
                cursor = NULL;
            }
        }
    }
    mote_cursor_close(cursor);
    cr_assert(recycled || wanted < 20 * device_bytes, "the slow cursor was never told");
    struct mote_stats stats;
    uint64_t rows, before;
    do { /* a worker may recycle in between */
        before = fixture_stats(fixture).rows_recycled;
        rows = count_at_once(table);
        stats = fixture_stats(fixture);
    } while (before != stats.rows_recycled);
    cr_assert(rows * 2048 > device_bytes / 6 || wanted < 4 * device_bytes, "%lu rows are left of %ld", (unsigned long)rows, (long)i);
    for (int64_t back = 1; back <= (int64_t)rows && back < 2000; back++)
        cr_assert(has(table, 1, BEGIN + (i - back) * SECOND / 10), "the newest row but %ld is gone", (long)back);
    cr_assert_eq(stats.rows_recycled + rows, (uint64_t)i);
}

Test(engine_retention, recorder_inline_never_fails_for_space)
{
    struct fixture fixture;
    begin(&fixture, 32 * MIB_BYTES);
    record(&fixture, 32 * MIB_BYTES, 11);
    mote_table *table = reopen(&fixture);
    cr_assert(count_at_once(table) > 0);
    fixture_remove(&fixture);
}

Test(engine_retention, recorder_with_a_worker_never_fails_for_space)
{
    struct fixture fixture;
    fixture_image(&fixture, 32 * MIB_BYTES);
    fixture.realtime_ns = read_clock;
    atomic_store(&clock_ns, BEGIN + 1000 * HOUR);
    fixture_open(&fixture);
    record(&fixture, 32 * MIB_BYTES, 12);
    fixture_crash(&fixture);
    mote_table *table;
    must(mote_table_open(fixture.db, "arm", &table));
    cr_assert(count_at_once(table) > 0);
    fixture_remove(&fixture);
}

/* ---- A recorder that is full, beside compactions ---- */

struct writer {
    mote_table *table;
    _Atomic int64_t count;
    _Atomic int32_t result;
    _Atomic bool stop, pause;
};

/* One row of eight is late, so that there is something to merge. */
static void *write_all_the_time(void *argument)
{
    static char note[2049];
    struct writer *writer = argument;
    uint64_t random = 77;
    while (!writer->stop && !writer->result) {
        if (writer->pause) {
            sched_yield();
            continue;
        }
        for (size_t k = 0; k + 8 < sizeof note; k += 8)
            snprintf(note + k, 9, "%08x", (uint32_t)fixture_random(&random));
        int64_t i = writer->count, late = i % 8 == 7 ? (int64_t)(fixture_random(&random) % 3000) : 0;
        const struct mote_value values[] = {value_i32((int32_t)(i % 3)), value_timestamp(BEGIN + (i - late) * SECOND / 10), value_i64(i), value_text(note)};
        atomic_store(&writer->result, mote_append(writer->table, values, 4, NULL, NULL));
        atomic_fetch_add(&writer->count, 1);
    }
    return NULL;
}

static void sleep_ms(long milliseconds) { nanosleep(&(struct timespec){.tv_nsec = milliseconds * (long)NS_PER_MS}, NULL); }

/* Until no row has gone in for a while, or rows went on for long. */
static void wait_until_it_waits(struct writer *writer)
{
    int64_t before = -1;
    for (int i = 0; i < 20 && before != writer->count; i++) {
        before = writer->count;
        sleep_ms(25);
    }
}

/* The only worker stands in a compaction while rows use the log up. When it goes on, there is no space for more log until a window goes that the compaction holds: it makes way, and no append fails. */
Test(engine_retention, recorder_takes_rows_while_a_compaction_holds_what_could_go)
{
    struct fixture fixture;
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct writer writer = {.count = 0};
    pthread_t thread;
    fixture_image(&fixture, 64 * MIB_BYTES);
    format.image_size_bytes = 64 * MIB_BYTES;
    format.log_bytes_max = 24 * MIB_BYTES; /* the memtables take more than what is kept free beside a recorder, and so does their log */
    format.force = "mote";
    format.sparse = 1;
    must(mote_format(fixture.path, &format, NULL));
    fixture.realtime_ns = read_clock;
    fixture.options.compaction_spread_max = 8; /* rows in order are compacted soon */
    fixture.options.wal_frame_bytes_max = 64 << 10; /* little is mapped ahead: rows wait for log before they wait for memtables */
    atomic_store(&clock_ns, BEGIN + 1000 * HOUR);
    fixture_open(&fixture);
    writer.table = sample_table_series(fixture.db, "arm", 0);
    set_retention(writer.table, (struct mote_retention){.recycle = 1});
    cr_assert_eq(pthread_create(&thread, NULL, write_all_the_time, &writer), 0);
    while (!writer.result && fixture_stats(&fixture).rows_recycled == 0)
        sleep_ms(5);
    uint32_t met = 0;
    for (int round = 0; (round < 60 || (met == 0 && round < 600)) && !writer.result; round++) {
        gate_hold(fixture.gate, 1u << BLOCKDEV_WRITE, 1u << BLOCKDEV_SOURCE_COMPACTION);
        /* A worker that has something to flush all the time, on a slow machine, would never compact. */
        writer.pause = true;
        for (int i = 0; i < 40 && gate_held(fixture.gate) == 0; i++)
            sleep_ms(5);
        met += gate_held(fixture.gate) > 0;
        writer.pause = false;
        wait_until_it_waits(&writer);
        gate_release(fixture.gate);
        sleep_ms(5 + round % 4 * 10);
    }
    writer.stop = true;
    pthread_join(thread, NULL);
    must(writer.result);
    cr_assert_gt(met, 0);
    must(mote_compact(fixture.db, NULL)); /* nobody is in its way now */
    cr_assert(fixture_stats(&fixture).compactions > 0);
    fixture_remove(&fixture);
}
