/* engine_api_space_test.c: a device that gets full: appends end with MOTE_ENOSPC and never before acknowledged rows are lost, a reopen works, dropping a table frees space and writes go on; many crashes in a row; compaction
 * keeps a table that is only overwritten within bounds. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "tests/support/blob_rows.h"
#include "tests/support/engine_model.h"

TestSuite(space, .timeout = 120);

/* The table holds exactly keys 0 to count - 1, or, with more, at least these and in whole batches. */
static int64_t check_blobs(mote_table *table, int64_t count, bool more)
{
    struct mote_chunk chunk;
    mote_cursor *cursor;
    int64_t at = 0;
    uint8_t blob[BLOB_ROW_BYTES];
    must(mote_scan(table, NULL, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++, at++) {
            struct mote_value key = chunk_value(&chunk, 0, i), found = chunk_value(&chunk, 1, i);
            require(key.as.i64 == at);
            blob_rows_fill(at, blob);
            require(!found.is_null && found.as.bytes.size_bytes == BLOB_ROW_BYTES && memcmp(found.as.bytes.data, blob, BLOB_ROW_BYTES) == 0);
        }
    } while (chunk.row_count > 0);
    mote_cursor_close(cursor);
    if (more ? at < count || at % BLOB_ROWS_BATCH != 0 : at != count)
        fprintf(stderr, "%lld rows, %lld were appended\n", (long long)at, (long long)count);
    require(more ? at >= count && at % BLOB_ROWS_BATCH == 0 : at == count);
    return at;
}

/* Appends until the device is full; the number of rows that were taken. */
static int64_t fill_device(mote_db *db, mote_table *table, int64_t from)
{
    int64_t at = from;
    uint64_t ticket = 0;
    int result = MOTE_OK;
    for (; at < 1 << 20; at += BLOB_ROWS_BATCH) {
        result = blob_rows_append(table, at, &ticket);
        if (result)
            break;
    }
    fixture_must(result, MOTE_ENOSPC, "filling the device", __FILE__, __LINE__);
    if (ticket)
        must(mote_wait(db, ticket, MOTE_FOREVER));
    return at;
}

/* A job of the worker that began before the drop holds what it reads until it ends; until then there may be no room. */
static int append_soon(mote_table *table, int64_t at)
{
    int result = blob_rows_append(table, at, NULL);
    for (int tries = 0; result == MOTE_ENOSPC && tries < 500; tries++) {
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000}, NULL);
        result = blob_rows_append(table, at, NULL);
    }
    return result;
}

static void run_full(struct fixture *fixture)
{
    fixture_open(fixture);
    mote_table *keeper = blob_rows_create(fixture->db, "keeper"), *table = blob_rows_create(fixture->db, "filler");
    must(blob_rows_append(keeper, 0, NULL));
    int64_t count = fill_device(fixture->db, table, 0);
    uint64_t payload = (uint64_t)count * BLOB_ROW_BYTES;
    fprintf(stderr, "%s: %llu rows, %llu KiB of %llu KiB\n", fixture->sim ? "sim" : fixture_stats(fixture).backend, (unsigned long long)count, (unsigned long long)payload / 1024,
            (unsigned long long)fixture_stats(fixture).device_bytes / 1024);
    cr_expect_gt(payload * 4, fixture_stats(fixture).device_bytes, "the device was called full at a quarter");
    check_blobs(table, count, false);
    count = fill_device(fixture->db, table, count); /* what the background may have freed meanwhile */
    check_blobs(table, count, false);
    for (int round = 0; round < 3; round++) { /* full, killed, opened again: nothing is lost, and it opens at all */
        fixture_crash(fixture);
        must(mote_table_open(fixture->db, "filler", &table));
        count = check_blobs(table, count, true);
        must(mote_table_open(fixture->db, "keeper", &keeper));
        check_blobs(keeper, BLOB_ROWS_BATCH, false);
    }
    count = fill_device(fixture->db, table, count); /* some room may have come back */
    must(mote_table_drop(fixture->db, "filler"));
    table = blob_rows_create(fixture->db, "second");
    int64_t half = count / BLOB_ROWS_BATCH / 2 * BLOB_ROWS_BATCH;
    for (int64_t at = 0; at < half; at += BLOB_ROWS_BATCH)
        must(append_soon(table, at)); /* half of what there was must fit again, without reopening */
    must(mote_flush(fixture->db));
    check_blobs(table, half, false);
    fixture_reopen(fixture);
    must(mote_table_open(fixture->db, "second", &table));
    check_blobs(table, half, false);
    must(mote_table_open(fixture->db, "keeper", &keeper));
    check_blobs(keeper, BLOB_ROWS_BATCH, false);
    fixture_remove(fixture);
}

Test(space, full_image_loses_nothing_and_goes_on_after_a_drop)
{
    struct fixture fixture;
    fixture_image(&fixture, 48 * MIB_BYTES);
    run_full(&fixture);
}

Test(space, full_device_with_trim_loses_nothing_and_goes_on_after_a_drop)
{
    struct fixture fixture;
    fixture_sim(&fixture, 48 * MIB_BYTES, 71, false);
    run_full(&fixture);
}

Test(space, full_device_without_threads_does_the_same)
{
    struct fixture fixture;
    fixture_sim(&fixture, 48 * MIB_BYTES, 72, false);
    fixture.options.inline_io = 1;
    run_full(&fixture);
}

/* A device that is opened and killed again and again, with a few rows each time and no checkpoint, must not fill up with old logs. */
Test(space, many_crashes_do_not_fill_the_device)
{
    struct fixture fixture;
    struct model model = model_make(400);
    fixture_sim(&fixture, 32 * MIB_BYTES, 73, false);
    fixture_open(&fixture);
    model_table_create(fixture.db, "arm");
    for (uint32_t round = 0; round < 60; round++) {
        mote_table *table = model_table_open(fixture.db, "arm");
        uint64_t ticket;
        for (uint32_t i = 0; i < 20; i++)
            model_put(table, &model, (round * 13 + i) % 400, round + 1, NULL, &ticket);
        must(mote_wait(fixture.db, ticket, MOTE_FOREVER));
        fixture_power_cut(&fixture, SIM_CRASH_NONE, round);
        fixture_open(&fixture);
    }
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* The same rows overwritten many times over the size of the device: old versions make room. */
Test(space, overwriting_for_ever_fits)
{
    struct fixture fixture;
    uint64_t written = 0;
    fixture_sim(&fixture, 64 * MIB_BYTES, 74, false);
    fixture.options.memtable_bytes = 2 * MIB_BYTES;
    fixture_open(&fixture);
    mote_table *table = blob_rows_create(fixture.db, "same");
    for (int64_t i = 0; written < 200 * MIB_BYTES; i++) {
        must(blob_rows_append(table, i * BLOB_ROWS_BATCH % 320, NULL));
        written += BLOB_ROWS_BATCH * BLOB_ROW_BYTES;
    }
    check_blobs(table, 320, false);
    struct mote_table_info info = {.size_bytes = sizeof info};
    must(mote_compact(fixture.db, NULL));
    must(mote_table_describe(table, &info));
    cr_expect_eq(info.segment_rows, 320, "%llu versions of 320 rows are left", (unsigned long long)info.segment_rows);
    fixture_reopen(&fixture);
    must(mote_table_open(fixture.db, "same", &table));
    check_blobs(table, 320, false);
    fixture_remove(&fixture);
}

/* A ring that wraps: far more is logged than the log may hold, on a device whose tables stay small. */
Test(space, log_wraps_many_times)
{
    struct fixture fixture;
    struct model model = model_make(1000);
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t version = 1; version <= 600; version++)
        model_put_batch(table, &model, version % 2 * 500, 500, version, NULL, NULL);
    struct mote_stats stats = fixture_stats(&fixture);
    cr_expect_gt(stats.checkpoints, 0);
    cr_expect_gt(stats.tail_lsn, 16 * MIB_BYTES);
    cr_expect_leq(stats.log_bytes_in_use, 16 * MIB_BYTES, "%llu bytes of log are in use", (unsigned long long)stats.log_bytes_in_use);
    model_check(table, &model);
    must(mote_wait(fixture.db, mote_visible_seq(fixture.db), MOTE_FOREVER));
    fixture_crash(&fixture);
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}
