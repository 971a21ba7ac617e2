/* engine_retention_write_test.c: retention together with write batches, transactions and snapshots: no read of theirs shows an expired row and no insert is refused for one, their rows count as the newest, a transaction sees its own rows
 * whatever their time, and a named snapshot holds back no drop. The clock is the test's. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/sample_table.h"

#define HOUR (3600 * (int64_t)NS_PER_S)
#define BEGIN (1700000000 * (int64_t)NS_PER_S)
#define AGE_HOURS 10

/* Of the table with retention. */
static int64_t at(int64_t hour) { return BEGIN + hour * HOUR; }

static int64_t read_clock(void *context)
{
    (void)context;
    return at(1000);
}

/* Rows stay ten hours behind the newest; the clock is far ahead of all. */
static mote_table *begin(struct fixture *fixture)
{
    struct mote_retention retention = MOTE_RETENTION_INIT;
    fixture_image(fixture, 64 * MIB_BYTES);
    fixture->realtime_ns = read_clock;
    fixture->options.inline_io = 1;
    fixture_open(fixture);
    mote_table *table = sample_table_series(fixture->db, "arm", 0);
    retention.age_ns = AGE_HOURS * HOUR;
    must(mote_table_set_retention(table, &retention));
    return table;
}

static mote_table *arm(struct fixture *fixture)
{
    mote_table *table;
    must(mote_table_open(fixture->db, "arm", &table));
    return table;
}

static const struct mote_value *row_of(struct mote_value values[4], int64_t hour, int64_t value, const char *note)
{
    values[0] = value_i32(1);
    values[1] = value_timestamp(at(hour));
    values[2] = value_i64(value);
    values[3] = value_text(note);
    return values;
}

static void append(mote_table *table, int64_t hour, int64_t value)
{
    struct mote_value values[4];
    must(mote_append(table, row_of(values, hour, value, "note"), 4, NULL, NULL));
}

static int64_t value_of(mote_row *row)
{
    struct mote_value value;
    must(mote_row_value(row, 2, &value));
    mote_row_free(row);
    return value.as.i64;
}

/* -1: there is no row. */
static int64_t get(mote_table *table, const mote_snapshot *snapshot, int64_t hour)
{
    struct mote_value values[4];
    mote_row *row = NULL;
    int result = mote_get_at(table, snapshot, row_of(values, hour, 0, ""), 2, &row);
    require(result == MOTE_OK || result == MOTE_ENOTFOUND);
    return result ? -1 : value_of(row);
}

static int64_t get_own(mote_transaction *transaction, mote_table *table, int64_t hour)
{
    struct mote_value values[4];
    mote_row *row = NULL;
    int result = mote_transaction_get(transaction, table, row_of(values, hour, 0, ""), 2, &row);
    require(result == MOTE_OK || result == MOTE_ENOTFOUND);
    return result ? -1 : value_of(row);
}

/* The hours of a cursor's rows, as "0 3 12 "; closes it. */
static const char *hours_of(mote_cursor *cursor, char text[400])
{
    struct mote_chunk chunk;
    size_t length = 0;
    text[0] = 0;
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++)
            length += (size_t)snprintf(text + length, 400 - length, "%ld ", (long)((chunk_value(&chunk, 1, i).as.i64 - BEGIN) / HOUR));
    } while (chunk.row_count > 0);
    mote_cursor_close(cursor);
    return text;
}

static const char *scan_own(mote_transaction *transaction, mote_table *table, const struct mote_scan_options *options, char text[400])
{
    mote_cursor *cursor;
    must(mote_transaction_scan(transaction, table, options, &cursor));
    return hours_of(cursor, text);
}

static const char *scan(mote_table *table, const mote_snapshot *snapshot, char text[400])
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    mote_cursor *cursor;
    uint64_t rows, spaces = 0;
    options.snapshot = snapshot;
    options.chunk_rows = 2;
    must(mote_scan(table, &options, &cursor));
    hours_of(cursor, text);
    must(mote_count(table, &options, &rows));
    for (const char *c = text; *c; c++)
        spaces += *c == ' ';
    cr_assert_eq(rows, spaces, "%lu rows are counted, the scan has %s", (unsigned long)rows, text);
    return text;
}

static uint64_t rows_dropped(mote_table *table)
{
    struct mote_retention_info info = {.size_bytes = sizeof info};
    must(mote_table_get_retention(table, NULL, &info));
    return info.rows_expired;
}

static int64_t newest_hour(mote_table *table)
{
    struct mote_retention_info info = {.size_bytes = sizeof info};
    must(mote_table_get_retention(table, NULL, &info));
    return (info.newest_ns - BEGIN) / HOUR;
}

/* ---- Batches ---- */

Test(engine_retention_write, batch_advances_the_newest_and_inserts_over_expired_keys)
{
    struct fixture fixture;
    struct mote_value values[4];
    char text[400];
    mote_write *write;
    mote_table *table = begin(&fixture), *other = sample_table_series(fixture.db, "other", 0);
    for (int64_t hour = 0; hour <= 6; hour += 3)
        append(table, hour, hour);
    must(mote_flush(fixture.db));
    must(mote_write_begin(fixture.db, &write));
    must(mote_write_put(write, other, row_of(values, 500, 1, "other"), 4));
    must(mote_write_put(write, table, row_of(values, 14, 14, "note"), 4));
    must(mote_write_delete(write, table, row_of(values, 999, 0, ""), 2));
    cr_assert_eq(newest_hour(table), 6, "a batch that is only gathered counts already");
    must(mote_write_commit(write, NULL, NULL));
    cr_assert_eq(newest_hour(table), 14);
    cr_assert_str_eq(scan(table, NULL, text), "6 14 ");
    cr_assert_eq(get(table, NULL, 3), -1);
    cr_assert_eq(get(other, NULL, 500), 1);
    /* 3 has expired, so an insert is taken, and is expired at once; 6 has not. */
    must(mote_write_insert(write, table, row_of(values, 3, 33, "again"), 4));
    must(mote_write_commit(write, NULL, NULL));
    cr_assert_str_eq(scan(table, NULL, text), "6 14 ");
    must(mote_write_insert(write, table, row_of(values, 15, 15, "note"), 4));
    must(mote_write_insert(write, table, row_of(values, 6, 66, "again"), 4));
    must_fail(mote_write_commit(write, NULL, NULL), MOTE_EEXISTS);
    cr_assert_eq(newest_hour(table), 14, "a batch that was refused counts");
    mote_write_clear(write);
    mote_write_free(write);
    must(mote_retain(fixture.db));
    fixture_crash(&fixture);
    cr_assert_str_eq(scan(arm(&fixture), NULL, text), "6 14 ");
    cr_assert_eq(get(arm(&fixture), NULL, 6), 6);
    fixture_remove(&fixture);
}

Test(engine_retention_write, batch_in_parts_counts_as_the_newest_after_a_crash)
{
    struct fixture fixture;
    struct mote_value values[4];
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    static char note[60001];
    char text[400];
    mote_write *write;
    mote_table *table = begin(&fixture);
    memset(note, 'n', sizeof note - 1);
    append(table, 0, 0);
    append(table, 5, 5);
    must(mote_write_begin(fixture.db, &write));
    for (int64_t hour = 1; hour <= 12; hour++)
        must(mote_write_put(write, table, row_of(values, hour, 100 + hour, note), 4));
    options.durability = MOTE_DURABILITY_SYNC;
    must(mote_write_commit(write, &options, NULL));
    mote_write_free(write);
    for (int crashed = 0; crashed < 2; crashed++) {
        cr_assert_eq(newest_hour(table), 12);
        cr_assert_str_eq(scan(table, NULL, text), "2 3 4 5 6 7 8 9 10 11 12 ");
        cr_assert_eq(get(table, NULL, 5), 105);
        cr_assert_eq(get(table, NULL, 0), -1);
        fixture_crash(&fixture);
        table = arm(&fixture);
    }
    fixture_remove(&fixture);
}

/* ---- Transactions ---- */

Test(engine_retention_write, transaction_reads_no_expired_row_but_its_own)
{
    for (unsigned flushed = 0; flushed < 2; flushed++) {
        struct fixture fixture;
        struct mote_value values[4];
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        char text[400];
        mote_transaction *transaction;
        mote_table *table = begin(&fixture);
        for (int64_t hour = 0; hour <= 8; hour += 2)
            append(table, hour, hour);
        must(mote_transaction_begin(fixture.db, NULL, &transaction));
        cr_assert_eq(get_own(transaction, table, 2), 2);
        cr_assert_str_eq(scan_own(transaction, table, NULL, text), "0 2 4 6 8 ");
        append(table, 15, 15); /* the horizon is 5 */
        if (flushed)
            must(mote_retain(fixture.db));
        cr_assert_eq(get_own(transaction, table, 2), -1);
        cr_assert_eq(get_own(transaction, table, 6), 6);
        cr_assert_str_eq(scan_own(transaction, table, NULL, text), "6 8 ");
        must(mote_transaction_insert(transaction, table, row_of(values, 2, 22, "own"), 4));
        must(mote_transaction_put(transaction, table, row_of(values, 3, 33, "own"), 4));
        must(mote_transaction_put(transaction, table, row_of(values, 8, 88, "own"), 4));
        must_fail(mote_transaction_insert(transaction, table, row_of(values, 2, 23, "own"), 4), MOTE_EEXISTS);
        must_fail(mote_transaction_insert(transaction, table, row_of(values, 6, 66, "own"), 4), MOTE_EEXISTS);
        must(mote_transaction_delete(transaction, table, row_of(values, 0, 0, ""), 2));
        cr_assert_eq(get_own(transaction, table, 2), 22);
        cr_assert_str_eq(scan_own(transaction, table, NULL, text), "2 3 6 8 ");
        options.descending = 1;
        cr_assert_str_eq(scan_own(transaction, table, &options, text), "8 6 3 2 ");
        options.descending = 0;
        options.use_time_range = 1;
        options.time_from_ns = at(3);
        options.time_to_ns = at(4); /* all others of it have expired */
        cr_assert_str_eq(scan_own(transaction, table, &options, text), "3 ");
        cr_assert_str_eq(scan(table, NULL, text), "6 8 15 ");
        must(mote_transaction_commit(transaction, NULL, NULL));
        cr_assert_str_eq(scan(table, NULL, text), "6 8 15 ");
        cr_assert_eq(get(table, NULL, 8), 88);
        cr_assert_eq(get(table, NULL, 2), -1);
        fixture_remove(&fixture);
    }
}

Test(engine_retention_write, transaction_shows_pinned_rows_and_its_own_between)
{
    struct fixture fixture;
    struct mote_value values[4];
    char text[400];
    mote_transaction *transaction;
    mote_table *table = begin(&fixture);
    for (int64_t hour = 0; hour <= 8; hour += 2)
        append(table, hour, hour);
    must(mote_pin(table, "incident", at(2), at(4)));
    must(mote_transaction_begin(fixture.db, NULL, &transaction));
    append(table, 17, 17); /* the horizon is 7 */
    must(mote_transaction_put(transaction, table, row_of(values, 5, 55, "own"), 4));
    must(mote_transaction_put(transaction, table, row_of(values, 4, 44, "own"), 4));
    cr_assert_str_eq(scan_own(transaction, table, NULL, text), "2 4 5 8 ");
    must_fail(mote_transaction_insert(transaction, table, row_of(values, 2, 22, "own"), 4), MOTE_EEXISTS);
    must(mote_transaction_insert(transaction, table, row_of(values, 6, 66, "own"), 4));
    must(mote_transaction_commit(transaction, NULL, NULL));
    cr_assert_str_eq(scan(table, NULL, text), "2 4 8 17 ");
    cr_assert_eq(get(table, NULL, 4), 44);
    fixture_remove(&fixture);
}

Test(engine_retention_write, transaction_conflicts_and_counts_as_the_newest)
{
    struct fixture fixture;
    struct mote_value values[4];
    char text[400];
    mote_transaction *transaction;
    mote_table *table = begin(&fixture);
    append(table, 0, 0);
    append(table, 12, 12); /* 0 has expired */
    must(mote_transaction_begin(fixture.db, NULL, &transaction));
    must(mote_transaction_insert(transaction, table, row_of(values, 13, 13, "own"), 4));
    must(mote_transaction_put(transaction, table, row_of(values, 12, 122, "own"), 4));
    append(table, 12, 123);
    must_fail(mote_transaction_commit(transaction, NULL, NULL), MOTE_ECONFLICT);
    cr_assert_eq(newest_hour(table), 12, "a transaction that was refused counts");
    must(mote_transaction_begin(fixture.db, NULL, &transaction));
    must(mote_transaction_insert(transaction, table, row_of(values, 0, 1, "own"), 4));
    must(mote_transaction_put(transaction, table, row_of(values, 24, 24, "own"), 4));
    cr_assert_eq(newest_hour(table), 12);
    must(mote_transaction_commit(transaction, NULL, NULL));
    cr_assert_eq(newest_hour(table), 24);
    cr_assert_str_eq(scan(table, NULL, text), "24 ");
    table = (fixture_reopen(&fixture), arm(&fixture));
    cr_assert_str_eq(scan(table, NULL, text), "24 ");
    fixture_remove(&fixture);
}

/* ---- Snapshots ---- */

Test(engine_retention_write, named_snapshot_keeps_no_row_from_drops)
{
    struct fixture fixture;
    char text[400];
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    mote_snapshot *snapshot;
    mote_cursor *begun;
    mote_table *table = begin(&fixture);
    for (int64_t hour = 0; hour <= 9; hour++) {
        append(table, hour, hour);
        if (hour % 5 == 4)
            must(mote_flush(fixture.db)); /* so few rows are one segment */
    }
    must(mote_snapshot_take(fixture.db, "before", &snapshot));
    append(table, 9, 99);
    must(mote_flush(fixture.db));
    options.snapshot = snapshot;
    options.chunk_rows = 1;
    must(mote_scan(table, &options, &begun));
    must(mote_cursor_next(begun, &chunk));
    cr_assert_eq(chunk.row_count, 1);
    append(table, 16, 16);
    cr_assert_str_eq(scan(table, snapshot, text), "6 7 8 9 ");
    must(mote_retain(fixture.db));
    cr_assert_eq(rows_dropped(table), 5);
    must_fail(mote_cursor_next(begun, &chunk), MOTE_ERECYCLED);
    mote_cursor_close(begun);
    for (unsigned step = 0; step < 4; step++) {
        cr_assert_gt(fixture_stats(&fixture).visible_seq, mote_snapshot_seq(snapshot));
        cr_assert_str_eq(scan(table, snapshot, text), "6 7 8 9 ", "step %u: %s", step, text);
        cr_assert_str_eq(scan(table, NULL, text), "6 7 8 9 16 ", "step %u: %s", step, text);
        cr_assert_eq(get(table, snapshot, 9), 9, "step %u", step);
        cr_assert_eq(get(table, NULL, 9), 99);
        cr_assert_eq(get(table, snapshot, 2), -1);
        if (step == 0)
            must(mote_compact(fixture.db, NULL));
        if (step == 1 || step == 2) {
            mote_snapshot_release(snapshot);
            if (step == 1)
                fixture_reopen(&fixture);
            else
                fixture_crash(&fixture);
            table = arm(&fixture);
            must(mote_snapshot_open(fixture.db, "before", &snapshot));
        }
    }
    /* All that it saw goes. */
    append(table, 30, 30);
    must(mote_retain(fixture.db));
    cr_assert_str_eq(scan(table, snapshot, text), "");
    cr_assert_eq(get(table, snapshot, 9), -1);
    mote_snapshot_release(snapshot);
    must(mote_snapshot_drop(fixture.db, "before"));
    cr_assert_str_eq(scan(table, NULL, text), "30 ");
    fixture_remove(&fixture);
}
