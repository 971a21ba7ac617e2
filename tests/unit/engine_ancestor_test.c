/* engine_ancestor_test.c: the other faults of the engine's ancestor, each with a test that fails if it came back: tables not found again and overwritten, late rows and small batches that no index knows,
 * deleted rows that come back, table ids that are hashes, text that is cut, configuration that is not what runs. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_model.h"

TestSuite(tables, .timeout = 60);
TestSuite(indexes, .timeout = 60);
TestSuite(rows, .timeout = 60);
TestSuite(options, .timeout = 60);

static const struct mote_write_options SYNC = {sizeof SYNC, MOTE_DURABILITY_SYNC, 0};

static struct mote_table_info describe(mote_table *table)
{
    struct mote_table_info info = {.size_bytes = sizeof info};
    must(mote_table_describe(table, &info));
    return info;
}

/* ---- Tables ---- */

/* Each life adds segments of its own keys: after each end all of the earlier ones are found, and what the later lives wrote overwrote nothing. */
Test(tables, reopen_finds_all_segments_and_never_overwrites_them)
{
    struct fixture fixture;
    struct model model = model_make(10 * 300);
    uint32_t segments = 0;
    fixture_image(&fixture, 128 * MIB_BYTES);
    fixture.options.compaction_runs_max = 32; /* so that the segments stay */
    fixture_open(&fixture);
    model_table_create(fixture.db, "arm");
    for (uint32_t life = 0; life < 10; life++) {
        mote_table *table = model_table_open(fixture.db, "arm");
        cr_expect_eq(describe(table).segment_count, segments, "life %u: %u segments, %u were written", life, describe(table).segment_count, segments);
        cr_expect_eq(describe(table).segment_rows, life * 300);
        model_check(table, &model);
        model_put_batch(table, &model, life * 300, 300, life + 1, NULL, NULL);
        must(mote_flush(fixture.db));
        segments = describe(table).segment_count;
        if (life % 3 == 2)
            fixture_kill(&fixture);
        else
            fixture_close(&fixture);
        must(mote_verify(fixture.path, NULL, NULL));
        fixture_open(&fixture);
    }
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* Ids go up for ever, also over drops and reopens; a table made under a dropped one's name is empty, with rows of the old one still in log and memtables. */
Test(tables, table_ids_never_reused)
{
    struct fixture fixture;
    struct model model = model_make(50);
    uint64_t last_id = 0;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    for (uint32_t round = 0; round < 12; round++) {
        mote_table *table = model_table_create(fixture.db, "same");
        cr_expect_gt(describe(table).id, last_id, "round %u: id %llu after %llu", round, (unsigned long long)describe(table).id, (unsigned long long)last_id);
        last_id = describe(table).id;
        struct model empty = model_make(50);
        model_check(table, &empty);
        for (uint32_t key = 0; key < 50; key++)
            model_put(table, &model, key, round + 1, &SYNC, NULL);
        if (round % 2)
            must(mote_flush(fixture.db));
        must(mote_table_drop(fixture.db, "same"));
        must_fail(model_append(table, 1, 1, NULL, NULL), MOTE_ENOTABLE);
        if (round % 3 == 0)
            fixture_crash(&fixture);
        if (round % 3 == 1)
            fixture_reopen(&fixture);
        must_fail(mote_table_open(fixture.db, "same", &table), MOTE_ENOTABLE);
        model_free(&empty);
    }
    model_free(&model);
    fixture_remove(&fixture);
}

/* Many names at once: a 32-bit hash of names would not matter here, but each table's rows must be its own. */
Test(tables, rows_of_many_tables_stay_apart)
{
    struct fixture fixture;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    char name[MOTE_NAME_BYTES_MAX + 1];
    for (uint32_t i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "series-%u", i);
        mote_table *table = model_table_create(fixture.db, name);
        for (uint32_t key = 0; key < 5; key++)
            must(model_append(table, key, i + 1, key == 4 ? &SYNC : NULL, NULL));
    }
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 60; i++) {
            snprintf(name, sizeof name, "series-%u", i);
            for (uint32_t key = 0; key < 5; key++)
                cr_expect_eq(model_read(model_table_open(fixture.db, name), key), i + 1);
        }
        if (round == 0)
            fixture_crash(&fixture);
        else
            fixture_reopen(&fixture);
    }
    fixture_remove(&fixture);
}

/* ---- Indexes ---- */

/* Rows whose time lies before what is flushed already, in any order, with replacements that move a row's time: every time range is exact in memory, in segments, after compaction, rebuild and reopen. */
Test(indexes, late_rows_reach_the_timestamp_index)
{
    struct fixture fixture;
    struct model model = model_make(600);
    uint64_t random = 31;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t round = 0; round < 8; round++) {
        for (uint32_t i = 0; i < 200; i++) /* version % 3 == 2 is the late one, far before its neighbours */
            model_put(table, &model, (uint32_t)(fixture_random(&random) % 600), 1 + (uint32_t)(fixture_random(&random) % 50), NULL, NULL);
        model_check(table, &model);
        must(mote_flush(fixture.db));
        must(engine_check_timestamp_index(fixture.db));
        model_check(table, &model);
    }
    for (int64_t from = 0; from < 3200; from += 400) {
        uint64_t expected = 0;
        for (uint32_t key = 0; key < 600; key++)
            expected += model.version[key] && model_time(key, model.version[key]) >= from && model_time(key, model.version[key]) < from + 400;
        cr_expect_eq(model_count_time(table, from, from + 399), expected);
    }
    must(mote_compact(fixture.db, "arm"));
    must(engine_check_timestamp_index(fixture.db));
    model_check(table, &model);
    must(mote_rebuild_timestamp_index(fixture.db));
    must(engine_check_timestamp_index(fixture.db));
    fixture_crash(&fixture);
    must(engine_check_timestamp_index(fixture.db));
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* One row at a time, each flushed by itself: the index knows every one. */
Test(indexes, small_batches_are_indexed)
{
    struct fixture fixture;
    struct model model = model_make(40);
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t key = 0; key < 40; key++) {
        uint32_t version = 1 + key % 5;
        model_put_batch(table, &model, key, 1, version, NULL, NULL);
        must(mote_flush(fixture.db));
        cr_expect_eq(model_count_time(table, model_time(key, version), model_time(key, version)), 1, "the row of key %u is not found by its time", key);
        must(engine_check_timestamp_index(fixture.db));
    }
    fixture_reopen(&fixture);
    must(engine_check_timestamp_index(fixture.db));
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

struct compacting {
    mote_db *db;
    _Atomic bool stop;
};

static void *compact_all_the_time(void *argument)
{
    struct compacting *compacting = argument;
    while (!atomic_load(&compacting->stop))
        must(mote_compact(compacting->db, NULL));
    return NULL;
}

/* The budget has room for one job at a time: flush and compaction both go on all the same, and neither fails for the other's memory. */
Test(indexes, flushes_go_before_compactions_that_hold_the_memory)
{
    struct fixture fixture;
    struct model model = model_make(3000);
    pthread_t thread;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture.options.memtable_bytes = 4 * MIB_BYTES;
    fixture.options.memtable_count = 2;
    fixture.options.cache_bytes = 1 * MIB_BYTES;
    fixture.options.memory_bytes = 22 * MIB_BYTES + MIB_BYTES / 2;
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    struct compacting compacting = {.db = fixture.db};
    cr_assert_eq(pthread_create(&thread, NULL, compact_all_the_time, &compacting), 0);
    for (uint32_t round = 1; round <= 60; round++) {
        model_put_batch(table, &model, 0, 3000, round, NULL, NULL);
        must(mote_flush(fixture.db));
    }
    atomic_store(&compacting.stop, true);
    pthread_join(thread, NULL);
    model_check(table, &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* ---- Rows ---- */

/* What happens between put, delete and look: each combination of flush, kill, close and compaction. */
static void step(struct fixture *fixture, uint32_t what)
{
    switch (what) {
    case 0:
        break;
    case 1:
        must(mote_flush(fixture->db));
        break;
    case 2:
        must(mote_wait(fixture->db, mote_visible_seq(fixture->db), MOTE_FOREVER));
        fixture_crash(fixture);
        break;
    case 3:
        fixture_reopen(fixture);
        break;
    default:
        must(mote_compact(fixture->db, NULL));
    }
}

Test(rows, deleted_rows_never_come_back)
{
    struct fixture fixture;
    struct model model = model_make(5 * 5 * 5 * 2);
    fixture_sim(&fixture, 128 * MIB_BYTES, 41, false);
    fixture_open(&fixture);
    model_table_create(fixture.db, "arm");
    for (uint32_t combination = 0; combination < 125; combination++) {
        uint32_t key = combination * 2;
        model_put(model_table_open(fixture.db, "arm"), &model, key, 1, NULL, NULL);
        model_put(model_table_open(fixture.db, "arm"), &model, key + 1, 1, NULL, NULL);
        step(&fixture, combination % 5);
        model_delete(model_table_open(fixture.db, "arm"), &model, key, NULL, NULL);
        step(&fixture, combination / 5 % 5);
        mote_table *table = model_table_open(fixture.db, "arm");
        cr_expect_eq(model_read(table, key), 0, "combination %u: a deleted row came back", combination);
        cr_expect_eq(model_read(table, key + 1), 1);
        if (combination % 7 == 0) /* a row may be written again, and deleted again */
            model_put(table, &model, key, 2, NULL, NULL);
        step(&fixture, combination / 25);
        if (combination % 14 == 0)
            model_delete(model_table_open(fixture.db, "arm"), &model, key, NULL, NULL);
        if (combination % 20 == 0)
            model_check(model_table_open(fixture.db, "arm"), &model);
    }
    model_check(model_table_open(fixture.db, "arm"), &model);
    must(mote_compact(fixture.db, NULL));
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

static mote_table *notes_create(mote_db *db)
{
    const struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_INT32}, {.name = "s", .type = MOTE_TYPE_TEXT}, {.name = "b", .type = MOTE_TYPE_BLOB}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "notes";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

/* Text and blob of a note: its number decides the bytes. */
static void fill_note(uint32_t number, char *text, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        text[i] = (char)('a' + (i * 7 + i / 251 + number) % 26);
}

static void check_note(mote_table *table, int32_t number, uint64_t text_bytes, uint64_t blob_bytes, char *room)
{
    struct mote_value key = value_i32(number), value;
    mote_row *row = NULL;
    must(mote_get(table, &key, 1, &row));
    must(mote_row_value(row, 1, &value));
    fill_note((uint32_t)number, room, text_bytes);
    cr_expect(!value.is_null && value.as.bytes.size_bytes == text_bytes && memcmp(value.as.bytes.data, room, text_bytes) == 0, "note %d: %llu of %llu bytes of text", number,
              (unsigned long long)value.as.bytes.size_bytes, (unsigned long long)text_bytes);
    must(mote_row_value(row, 2, &value));
    fill_note((uint32_t)number + 13, room, blob_bytes);
    cr_expect(!value.is_null && value.as.bytes.size_bytes == blob_bytes && memcmp(value.as.bytes.data, room, blob_bytes) == 0, "note %d: blob", number);
    mote_row_free(row);
}

/* Around 64 KiB and up to the limit of a row: kept in full through log, memtable and segment, or refused with nothing changed. */
Test(rows, long_text_kept_or_refused_never_cut)
{
    static const uint64_t sizes[] = {0, 1, 4095, 65534, 65535, 65536, 65537, 100000, 131072, 200000, MOTE_ROW_BYTES_MAX - 100, MOTE_ROW_BYTES_MAX, MOTE_ROW_BYTES_MAX + 1, 1 << 20};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    struct fixture fixture;
    bool kept[COUNT][2];
    char *room = malloc(2 << 20);
    require(room);
    fixture_image(&fixture, 256 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = notes_create(fixture.db);
    for (int32_t i = 0; i < COUNT; i++)
        for (int32_t half = 0; half < 2; half++) { /* all in the text, or half of it in the blob */
            int32_t number = 2 * i + half;
            uint64_t blob_bytes = half ? sizes[i] / 2 : 0, text_bytes = sizes[i] - blob_bytes;
            fill_note((uint32_t)number, room, text_bytes);
            fill_note((uint32_t)number + 13, room + text_bytes, blob_bytes);
            struct mote_value values[] = {value_i32(number), value_bytes(MOTE_TYPE_TEXT, room, text_bytes), value_bytes(MOTE_TYPE_BLOB, room + text_bytes, blob_bytes)};
            int result = mote_append(table, values, 3, &SYNC, NULL);
            kept[i][half] = result == MOTE_OK;
            cr_expect(result == MOTE_OK || result == MOTE_ETOOBIG, "%llu bytes: %s", (unsigned long long)sizes[i], mote_error_name(result));
            cr_expect_eq(kept[i][half], sizes[i] <= MOTE_ROW_BYTES_MAX - 100, "%llu bytes were %s", (unsigned long long)sizes[i], kept[i][half] ? "kept" : "refused");
        }
    for (int round = 0; round < 4; round++) {
        for (int32_t i = 0; i < COUNT; i++)
            for (int32_t half = 0; half < 2; half++) {
                struct mote_value key = value_i32(2 * i + half);
                mote_row *row = NULL;
                if (kept[i][half])
                    check_note(table, 2 * i + half, sizes[i] - (half ? sizes[i] / 2 : 0), half ? sizes[i] / 2 : 0, room);
                else
                    must_fail(mote_get(table, &key, 1, &row), MOTE_ENOTFOUND);
            }
        if (round == 0)
            fixture_crash(&fixture);
        else if (round == 1)
            must(mote_flush(fixture.db));
        else
            fixture_reopen(&fixture);
        must(mote_table_open(fixture.db, "notes", &table));
    }
    free(room);
    fixture_remove(&fixture);
}

/* ---- Options ---- */

static void check_options(const struct fixture *fixture)
{
    struct mote_options found = {.size_bytes = sizeof found};
    const struct mote_options *given = &fixture->options;
    must(mote_get_options(fixture->db, &found));
    cr_expect_eq(found.durability, given->durability);
    cr_expect_eq(found.period_ms, given->period_ms);
    cr_expect_eq(found.memory_bytes, given->memory_bytes);
    cr_expect_eq(found.memtable_bytes, given->memtable_bytes);
    cr_expect_eq(found.memtable_count, given->memtable_count);
    cr_expect_eq(found.workers, given->workers);
    cr_expect_eq(found.cache_bytes, given->cache_bytes);
    cr_expect_eq(found.checkpoint_log_bytes, given->checkpoint_log_bytes);
    cr_expect_eq(found.checkpoint_period_ms, given->checkpoint_period_ms);
    cr_expect_eq(found.tables_max, given->tables_max);
    cr_expect_eq(found.cursors_max, given->cursors_max);
    cr_expect_eq(found.producers_max, given->producers_max);
    cr_expect_eq(found.commit_thread, given->commit_thread);
    cr_expect_eq(found.wal_inflight_max, given->wal_inflight_max);
    cr_expect_eq(found.wal_frame_bytes_max, given->wal_frame_bytes_max);
    cr_expect_eq(found.block_rows, given->block_rows);
    cr_expect_eq(found.compaction_runs_max, given->compaction_runs_max);
    cr_expect_eq(found.compression, given->compression);
    cr_expect_eq(found.open_timeout_ms, given->open_timeout_ms);
    cr_expect_eq(found.barrier, given->barrier);
}

static void open_with(struct fixture *fixture, uint32_t turn)
{
    struct mote_options *options = &fixture->options;
    options->durability = turn % 2 ? MOTE_DURABILITY_SYNC : MOTE_DURABILITY_PERIODIC;
    options->period_ms = 3 + turn;
    options->memory_bytes = (64 + turn) * MIB_BYTES;
    options->memtable_bytes = (2 + turn) * MIB_BYTES;
    options->memtable_count = 2 + turn;
    options->workers = 1 + turn;
    options->cache_bytes = (3 + turn) * MIB_BYTES;
    options->checkpoint_log_bytes = (5 + turn) * MIB_BYTES;
    options->checkpoint_period_ms = 12345 + turn;
    options->tables_max = 7 + turn;
    options->cursors_max = 3 + turn;
    options->producers_max = 2 + turn;
    options->commit_thread = turn % 2;
    options->wal_inflight_max = 2 + turn;
    options->wal_frame_bytes_max = (64 + 4 * turn) * 1024;
    options->block_rows = 100 + turn;
    options->compaction_runs_max = 5 + turn;
    options->compression = 1 + turn;
    options->open_timeout_ms = 100 + turn;
    options->barrier = turn % 2 ? MOTE_BARRIER_FUA : MOTE_BARRIER_FLUSH;
    fixture_open(fixture);
}

/* What is given at open is what runs, at every open anew, and where that shows from outside it does. */
Test(options, configuration_on_open_is_honoured)
{
    struct fixture fixture;
    fixture_image(&fixture, 128 * MIB_BYTES);
    for (uint32_t turn = 0; turn < 3; turn++) {
        open_with(&fixture, turn);
        check_options(&fixture);
        struct mote_stats stats = fixture_stats(&fixture);
        cr_expect_eq(stats.memory_budget_bytes, (64 + turn) * MIB_BYTES);
        cr_expect_str_eq(stats.barrier, turn % 2 ? "fua" : "flush");
        mote_table *table = turn ? model_table_open(fixture.db, "arm") : model_table_create(fixture.db, "arm");
        uint64_t ticket;
        must(model_append(table, turn, 1, NULL, &ticket)); /* SYNC by the handle's option in turn 1 */
        if (turn % 2)
            cr_expect_geq(mote_durable_seq(fixture.db), ticket);
        mote_cursor *cursors[16];
        for (uint32_t i = 0; i < 3 + turn; i++)
            must(mote_scan(table, NULL, &cursors[i]));
        must_fail(mote_scan(table, NULL, &cursors[15]), MOTE_EBUDGET);
        for (uint32_t i = 0; i < 3 + turn; i++)
            mote_cursor_close(cursors[i]);
        fixture_close(&fixture);
    }
    fixture_remove(&fixture);
}

Test(options, backend_asked_for_is_the_one_that_runs)
{
    static const char *const names[] = {"", "io_uring", "libaio", "threads"};
    struct fixture fixture;
    struct model model = model_make(500);
    fixture_image(&fixture, 64 * MIB_BYTES);
    for (uint32_t backend = 1; backend <= 3; backend++) {
        fixture.options.backend = backend;
        mote_db *db;
        struct mote_error error;
        int result = mote_open(fixture.path, &fixture.options, &db, &error);
        if (result == MOTE_ENOTSUP) { /* a container that denies this one */
            fprintf(stderr, "SKIPPED %s: %s\n", names[backend], error.message);
            continue;
        }
        must(result);
        fixture.db = db;
        cr_expect_str_eq(fixture_stats(&fixture).backend, names[backend]);
        mote_table *table;
        if (mote_table_open(db, "arm", &table))
            table = model_table_create(db, "arm");
        model_check(table, &model);
        model_put_batch(table, &model, backend * 100, 150, backend, NULL, NULL);
        must(mote_checkpoint(db));
        model_put(table, &model, 0, backend, &SYNC, NULL);
        fixture_kill(&fixture);
    }
    fixture.options.backend = MOTE_BACKEND_AUTO;
    fixture_open(&fixture);
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}
