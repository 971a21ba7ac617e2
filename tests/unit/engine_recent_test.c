/* engine_recent_test.c: rows of memtables that are indexed in memory (strategies realtime and hybrid): that they are, how many batches there are, that they come back after a crash, that want of memory costs speed and nothing else.
 * That searches find what they must is shown by the tests of searches and indexes, which run with each strategy. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/recent.h"
#include "tests/support/engine_fixture.h"

enum { VALUES = 1000, COLUMN_VALUE = 1, COLUMN_TEXT = 2, COLUMN_PLACE = 3, BATCH = 64 };
static const uint32_t positions[] = {0, 1, 2, 3};

static mote_table *make_named(mote_db *db, const char *name)
{
    const struct mote_column_definition columns[] = {
        {.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "value", .type = MOTE_TYPE_INT64}, {.name = "text", .type = MOTE_TYPE_TEXT}, {.name = "place", .type = MOTE_TYPE_POINT3}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = 4;
    schema.key_columns = positions;
    schema.key_column_count = 1;
    schema.time_column = -1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static mote_table *make_table(mote_db *db) { return make_named(db, "recent"); }

static void add_index(mote_table *table, uint32_t kind, uint32_t column, uint32_t strategy)
{
    static const char *const names[] = {"", "", "by value", "by vector", "by place", "by words"};
    struct mote_index_options options = MOTE_INDEX_OPTIONS_INIT;
    options.name = names[kind];
    options.kind = kind;
    options.columns = &positions[column];
    options.column_count = 1;
    options.strategy = strategy;
    must(mote_index_create(table, &options));
}

static void put(mote_table *table, int64_t id)
{
    char text[32];
    snprintf(text, sizeof text, "w%lld thing", (long long)(id % VALUES));
    struct mote_value values[] = {value_i64(id), value_i64(id % VALUES), value_text(text), value_point((double)(id % VALUES), 1, 2)};
    must(mote_append(table, values, 4, NULL, NULL));
}

static void put_many(mote_table *table, int64_t from, int64_t to)
{
    for (int64_t id = from; id < to; id++)
        put(table, id);
}

/* Rows that a search looked at one by one, and batches; how many were found. */
struct seen {
    unsigned long long found, batches, indexed, examined;
};

static struct seen search(mote_table *table, const struct mote_term *term)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct seen seen = {0};
    mote_hits *hits;
    options.terms = term;
    options.term_count = 1;
    must(mote_search(table, &options, &hits));
    seen.found = mote_hits_count(hits);
    const char *text = mote_hits_explain(hits), *at = strstr(text, "in memory: ");
    if (at)
        cr_assert_eq(sscanf(at, "in memory: %llu batches of together %llu", &seen.batches, &seen.indexed), 2);
    at = strstr(text, "rows examined: ");
    cr_assert(at && sscanf(at, "rows examined: %llu", &seen.examined) == 1);
    mote_hits_close(hits);
    return seen;
}

static struct seen search_value(mote_table *table, int64_t value)
{
    const struct mote_term term = {.kind = MOTE_TERM_EQUAL, .columns = &positions[COLUMN_VALUE], .column_count = 1, .from = value_i64(value)};
    return search(table, &term);
}

static struct seen search_words(mote_table *table, const char *words)
{
    const struct mote_term term = {.kind = MOTE_TERM_WORDS, .columns = &positions[COLUMN_TEXT], .column_count = 1, .words = words};
    return search(table, &term);
}

static struct seen search_place(mote_table *table, double x)
{
    const struct mote_term term = {.kind = MOTE_TERM_BOX, .columns = &positions[COLUMN_PLACE], .column_count = 1, .min = {x, 0, 0}, .max = {x, 9, 9}};
    return search(table, &term);
}

static void begin(struct fixture *fixture, uint32_t workers)
{
    fixture_image(fixture, 512 << 20);
    fixture->options.memory_bytes = 128 << 20;
    fixture->options.memtable_bytes = 16 << 20;
    fixture->options.workers = workers;
    fixture_open(fixture);
}

static void add_all(mote_table *table, uint32_t strategy)
{
    add_index(table, MOTE_INDEX_COLUMN, COLUMN_VALUE, strategy);
    add_index(table, MOTE_INDEX_TEXT, COLUMN_TEXT, strategy);
    add_index(table, MOTE_INDEX_SPATIAL, COLUMN_PLACE, strategy);
}

static void require_few(struct seen seen, uint64_t rows, uint64_t tail)
{
    cr_assert_eq(seen.indexed / RECENT_ROWS, (rows - tail) / RECENT_ROWS, "%llu rows indexed of %llu", seen.indexed, (unsigned long long)rows);
    cr_assert_leq(seen.batches, 3 * RECENT_FANOUT);
    cr_assert_eq(seen.found, rows / VALUES);
    cr_assert_leq(seen.examined, seen.found + tail, "%llu rows were looked at", seen.examined);
}

Test(engine_recent, realtime_rows_are_indexed_by_their_writer)
{
    struct fixture fixture;
    enum { ROWS = 20000 };
    begin(&fixture, MOTE_NO_THREADS);
    mote_table *table = make_table(fixture.db);
    add_all(table, MOTE_INDEX_REALTIME);
    put_many(table, 0, ROWS);
    require_few(search_value(table, 7), ROWS, ROWS % RECENT_ROWS);
    require_few(search_place(table, 7), ROWS, ROWS % RECENT_ROWS);
    struct seen words = search_words(table, "w7");
    cr_assert_eq(words.found, ROWS / VALUES);
    cr_assert_leq(words.examined, words.found + ROWS % RECENT_ROWS);
    cr_assert_gt(recents_bytes(fixture.db), 0);
    must(mote_flush(fixture.db));
    cr_assert_eq(search_value(table, 7).batches, 0);
    cr_assert_eq(search_value(table, 7).found, ROWS / VALUES);
    put_many(table, ROWS, 3 * ROWS);
    cr_assert_eq(search_value(table, 7).found, 3 * ROWS / VALUES);
    cr_assert_gt(search_value(table, 7).batches, 0);
    must(mote_flush(fixture.db));
    put(table, 1);
    put_many(table, 0, RECENT_ROWS); /* recycles what was flushed */
    must(mote_flush(fixture.db));
    put(table, 1);
    must(mote_flush(fixture.db));
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
}

/* Not a matter of time: it waits until it is so, or for ever. */
static struct seen wait_indexed(mote_table *table, uint64_t rows)
{
    struct seen seen;
    while ((seen = search_value(table, 7)).indexed < rows)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    return seen;
}

Test(engine_recent, hybrid_rows_are_indexed_by_a_worker)
{
    struct fixture fixture;
    enum { ROWS = 20000 };
    begin(&fixture, 1);
    mote_table *table = make_table(fixture.db);
    add_all(table, MOTE_INDEX_HYBRID);
    put_many(table, 0, ROWS);
    struct seen seen = wait_indexed(table, ROWS - RECENT_ROWS);
    cr_assert_eq(seen.found, ROWS / VALUES);
    cr_assert_leq(seen.examined, seen.found + ROWS - seen.indexed);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* A worker that came late ended a batch between two multiples of RECENT_ROWS: the next one is not late for that. */
Test(engine_recent, batch_that_ends_anywhere_does_not_hold_up_the_next)
{
    struct fixture fixture;
    enum { FIRST = 2 * RECENT_ROWS - 24, ROWS = FIRST + RECENT_ROWS - 1 };
    mote_write *write;
    begin(&fixture, 1);
    mote_table *table = make_table(fixture.db);
    add_all(table, MOTE_INDEX_HYBRID);
    must(mote_write_begin(fixture.db, &write));
    for (int64_t id = 0; id < FIRST; id++) {
        const struct mote_value values[] = {value_i64(id), value_i64(id % VALUES), value_text("thing"), value_point((double)(id % VALUES), 1, 2)};
        must(mote_write_put(write, table, values, 4));
    }
    must(mote_write_commit(write, NULL, NULL));
    mote_write_free(write);
    cr_assert_eq(wait_indexed(table, FIRST).indexed, FIRST);
    put_many(table, FIRST, ROWS);
    cr_assert_geq(wait_indexed(table, 2 * RECENT_ROWS).indexed, 2 * RECENT_ROWS);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_recent, replayed_rows_are_indexed_after_a_crash)
{
    enum { ROWS = 9000 };
    for (uint32_t strategy = MOTE_INDEX_REALTIME; strategy <= MOTE_INDEX_HYBRID; strategy++) {
        for (uint32_t workers = 0; workers < 2; workers++) {
            struct fixture fixture;
            begin(&fixture, workers ? workers : MOTE_NO_THREADS);
            mote_table *table = make_table(fixture.db);
            add_all(table, strategy);
            put_many(table, 0, ROWS);
            for (int64_t id = 0; id < ROWS; id += 3) { /* versions, and deletes */
                struct mote_value key = value_i64(id);
                if (id % 2)
                    put(table, id);
                else
                    must(mote_delete(table, &key, 1, NULL, NULL));
            }
            unsigned long long found = search_value(table, 7).found;
            must(mote_wait(fixture.db, mote_visible_seq(fixture.db), MOTE_FOREVER));
            fixture_crash(&fixture);
            must(mote_table_open(fixture.db, "recent", &table));
            struct seen seen = strategy == MOTE_INDEX_HYBRID && workers ? wait_indexed(table, ROWS) : search_value(table, 7);
            cr_assert_eq(seen.found, found);
            cr_assert_geq(seen.indexed, ROWS);
            cr_assert_leq(seen.examined, 2 * ROWS / VALUES);
            put_many(table, ROWS, ROWS + 3 * VALUES);
            cr_assert_eq(search_value(table, 7).found, found + 3);
            fixture_kill(&fixture);
            fixture.options.read_only = 1;
            fixture_open(&fixture);
            must(mote_table_open(fixture.db, "recent", &table));
            cr_assert_gt(search_value(table, 7).batches, 0, "read-only");
            fixture_remove(&fixture);
        }
    }
}

/* ---- Writes over several tables ---- */

/* Into a batch, or else a transaction. */
static void put_into(mote_write *write, mote_transaction *transaction, mote_table *table, int64_t id)
{
    char text[32];
    snprintf(text, sizeof text, "w%lld thing", (long long)(id % VALUES));
    struct mote_value values[] = {value_i64(id), value_i64(id % VALUES), value_text(text), value_point((double)(id % VALUES), 1, 2)};
    must(write ? mote_write_put(write, table, values, 4) : mote_transaction_put(transaction, table, values, 4));
}

/* Tables whose rows take turns, with deletes among them; the one between has no indexes in memory. */
static void work_together(uint32_t strategy, uint32_t frame_bytes, bool transacts)
{
    enum { TABLES = 3, PLAIN = 1, STEP = 3 * VALUES, ROWS = 6 * STEP };
    static const char *const names[TABLES] = {"first", "plain", "last"};
    struct fixture fixture;
    mote_table *tables[TABLES];
    begin(&fixture, MOTE_NO_THREADS);
    fixture.options.wal_frame_bytes_max = frame_bytes;
    fixture_reopen(&fixture);
    for (unsigned t = 0; t < TABLES; t++)
        tables[t] = make_named(fixture.db, names[t]);
    add_all(tables[0], strategy);
    add_all(tables[PLAIN], MOTE_INDEX_BATCH);
    add_all(tables[2], strategy);
    for (int64_t from = 0; from < ROWS; from += STEP) {
        mote_write *write = NULL;
        mote_transaction *transaction = NULL;
        must(transacts ? mote_transaction_begin(fixture.db, NULL, &transaction) : mote_write_begin(fixture.db, &write));
        for (int64_t id = from; id < from + STEP; id++)
            for (unsigned t = 0; t < TABLES; t++)
                put_into(write, transaction, tables[t], id);
        struct mote_value key = value_i64(from + 7);
        must(transacts ? mote_transaction_delete(transaction, tables[2], &key, 1) : mote_write_delete(write, tables[2], &key, 1));
        must(transacts ? mote_transaction_commit(transaction, NULL, NULL) : mote_write_commit(write, NULL, NULL));
        mote_write_free(write);
    }
    for (unsigned t = 0; t < TABLES; t++) {
        uint64_t deleted = t == 2 ? ROWS / STEP : 0;
        struct seen seen = search_value(tables[t], 7), others = search_value(tables[t], 8), words = search_words(tables[t], "w7"), places = search_place(tables[t], 7);
        cr_assert_eq(seen.found, ROWS / VALUES - deleted, "%s: %llu", names[t], seen.found);
        cr_assert_eq(words.found, seen.found);
        cr_assert_eq(places.found, seen.found);
        cr_assert_eq(others.found, ROWS / VALUES);
        cr_assert(t == PLAIN ? seen.batches == 0 : seen.indexed >= ROWS - ROWS / STEP, "%s: %llu rows indexed", names[t], seen.indexed);
        cr_assert(t == PLAIN || others.examined == ROWS / VALUES, "%s: %llu rows were looked at", names[t], others.examined);
    }
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
}

Test(engine_recent, rows_of_write_batches_are_indexed)
{
    work_together(MOTE_INDEX_REALTIME, 0, false);
    work_together(MOTE_INDEX_HYBRID, 8192, false); /* in parts */
}

Test(engine_recent, rows_of_transactions_are_indexed)
{
    work_together(MOTE_INDEX_REALTIME, 8192, true);
    work_together(MOTE_INDEX_HYBRID, 0, true);
}

/* What is rolled back, aborted or refused is in no batch; a snapshot from before sees none of what is. */
Test(engine_recent, only_what_was_committed_is_indexed)
{
    struct fixture fixture;
    mote_transaction *transaction;
    mote_snapshot *snapshot;
    mote_hits *hits;
    uint64_t savepoint;
    begin(&fixture, MOTE_NO_THREADS);
    mote_table *table = make_table(fixture.db);
    add_all(table, MOTE_INDEX_REALTIME);
    put_many(table, 0, RECENT_ROWS);
    must(mote_snapshot_take(fixture.db, NULL, &snapshot));
    for (unsigned refused = 0; refused < 2; refused++) {
        must(mote_transaction_begin(fixture.db, NULL, &transaction));
        for (int64_t id = 0; id < 2 * RECENT_ROWS; id++)
            put_into(NULL, transaction, table, id + 1);
        if (refused)
            put(table, 5);
        if (refused)
            must_fail(mote_transaction_commit(transaction, NULL, NULL), MOTE_ECONFLICT);
        else
            mote_transaction_abort(transaction);
        cr_assert_eq(search_value(table, 7).indexed, RECENT_ROWS);
        cr_assert_eq(search_value(table, 7).found, 2);
    }
    must(mote_transaction_begin(fixture.db, NULL, &transaction));
    for (int64_t id = 0; id < 2 * VALUES; id++)
        put_into(NULL, transaction, table, id);
    must(mote_transaction_savepoint(transaction, &savepoint));
    for (int64_t id = 0; id < 9 * VALUES; id++)
        put_into(NULL, transaction, table, id);
    must(mote_transaction_rollback_to(transaction, savepoint));
    cr_assert_eq(search_value(table, 7).indexed, RECENT_ROWS);
    must(mote_transaction_commit(transaction, NULL, NULL));
    struct seen seen = search_value(table, 7);
    cr_assert_eq(seen.indexed, RECENT_ROWS + 1 + 2 * VALUES); /* and the row that was in nobody's batch */
    cr_assert_eq(seen.found, 2);
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const struct mote_term term = {.kind = MOTE_TERM_EQUAL, .columns = &positions[COLUMN_VALUE], .column_count = 1, .from = value_i64(100)};
    options.terms = &term;
    options.term_count = 1;
    options.snapshot = snapshot;
    must(mote_search(table, &options, &hits));
    cr_assert_eq(mote_hits_count(hits), 1); /* not the one of 1100 */
    mote_hits_close(hits);
    cr_assert_eq(search_value(table, 100).found, 2);
    mote_snapshot_release(snapshot);
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
}

/* Rows that were there before the index are looked at one by one; those that come later are indexed. */
Test(engine_recent, index_declared_late_finds_the_rows_of_memtables)
{
    struct fixture fixture;
    begin(&fixture, MOTE_NO_THREADS);
    mote_table *table = make_table(fixture.db);
    put_many(table, 0, 5 * VALUES);
    add_index(table, MOTE_INDEX_COLUMN, COLUMN_VALUE, MOTE_INDEX_REALTIME);
    cr_assert_eq(search_value(table, 7).found, 5);
    put_many(table, 5 * VALUES, 10 * VALUES);
    struct seen seen = search_value(table, 7);
    cr_assert_eq(seen.found, 10);
    cr_assert_geq(seen.indexed, 4 * RECENT_ROWS);
    add_index(table, MOTE_INDEX_SPATIAL, COLUMN_PLACE, MOTE_INDEX_HYBRID); /* which the batches lack until they are made anew */
    cr_assert_eq(search_place(table, 7).found, 10);
    put_many(table, 10 * VALUES, 20 * VALUES);
    cr_assert_eq(search_place(table, 7).found, 20);
    must(mote_index_drop(table, "by value"));
    cr_assert_eq(search_value(table, 7).found, 20);
    must(mote_index_drop(table, "by place"));
    cr_assert_eq(search_value(table, 7).batches, 0);
    put_many(table, 0, 2 * VALUES); /* noted by nobody */
    add_index(table, MOTE_INDEX_COLUMN, COLUMN_VALUE, MOTE_INDEX_REALTIME);
    cr_assert_eq(search_value(table, 7).found, 20);
    put_many(table, 20 * VALUES, 25 * VALUES);
    cr_assert_eq(search_value(table, 7).found, 25);
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
}

/* Whichever allocation fails, and all after it: appends succeed, and searches find all rows. */
Test(engine_recent, want_of_memory_costs_no_row)
{
    struct fixture fixture;
    uint32_t without = 0;
    begin(&fixture, MOTE_NO_THREADS);
    mote_table *table = make_table(fixture.db);
    add_all(table, MOTE_INDEX_REALTIME);
    recents_set_rows(fixture.db, BATCH);
    int64_t id = 0;
    for (int64_t n = 0; n < 160; n++) {
        must(mote_flush(fixture.db));
        put_many(table, id, id + 6 * BATCH - 1);
        id += 6 * BATCH - 1;
        memory_fail_after(fixture.db->memory, n, n % 2);
        put_many(table, id, id + 1 + 3 * BATCH);
        id += 1 + 3 * BATCH;
        memory_fail_after(fixture.db->memory, -1, false);
        struct seen seen = search_value(table, id % VALUES);
        cr_assert_eq(seen.found, (unsigned long long)((id - id % VALUES + VALUES - 1) / VALUES), "at allocation %lld: %llu", (long long)n, seen.found);
        without += seen.indexed < 8 * BATCH;
    }
    cr_assert_gt(without, 20, "no allocation failed");
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
}

/* Batches never take more than their share. */
Test(engine_recent, batches_keep_to_their_share_of_the_budget)
{
    struct fixture fixture;
    fixture_image(&fixture, 128 << 20);
    fixture.options.memory_bytes = 48 << 20;
    fixture.options.memtable_bytes = 12 << 20;
    fixture.options.memtable_count = 2;
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    mote_table *table = make_table(fixture.db);
    add_all(table, MOTE_INDEX_REALTIME);
    for (int64_t id = 0; id < 100 * VALUES; id += VALUES) {
        put_many(table, id, id + VALUES);
        cr_assert_leq(recents_bytes(fixture.db), (48u << 20) / RECENT_SHARE);
        cr_assert_eq(search_value(table, 7).found, (unsigned long long)(id / VALUES + 1));
    }
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_recent, strategies_are_told)
{
    struct fixture fixture;
    struct mote_index_info info = {.size_bytes = sizeof info};
    begin(&fixture, MOTE_NO_THREADS);
    mote_table *table = make_table(fixture.db);
    add_index(table, MOTE_INDEX_COLUMN, COLUMN_VALUE, MOTE_INDEX_REALTIME);
    add_index(table, MOTE_INDEX_TEXT, COLUMN_TEXT, MOTE_INDEX_HYBRID);
    add_index(table, MOTE_INDEX_SPATIAL, COLUMN_PLACE, MOTE_INDEX_BATCH);
    fixture_reopen(&fixture);
    must(mote_table_open(fixture.db, "recent", &table));
    must(mote_index_describe(table, "by value", &info));
    cr_assert_eq(info.strategy, MOTE_INDEX_REALTIME);
    must(mote_index_describe(table, "by words", &info));
    cr_assert_eq(info.strategy, MOTE_INDEX_HYBRID);
    must(mote_index_describe(table, "by place", &info));
    cr_assert_eq(info.strategy, MOTE_INDEX_BATCH);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}
