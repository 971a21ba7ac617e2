/* engine_ancestor_flush_test.c: faults of the engine's ancestor around the flush, each with a test that fails if it came back: a flush that says Ok with nothing durable, a failed one that drops rows, rows that
 * cannot be read while it runs, an empty one that writes, indexes that are not atomic with the data. The gate stops a flush in the middle; the fault injector fails it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "tests/support/engine_model.h"
#include "tests/support/gate.h"

#define HOLD_WRITES (1u << BLOCKDEV_WRITE)
#define OF_FLUSH (1u << BLOCKDEV_SOURCE_FLUSH)

TestSuite(flush, .timeout = 60);

struct flusher {
    struct fixture *fixture;
    pthread_t thread;
    _Atomic int done;
    int result;
    struct mote_error error;
};

static void *flush_main(void *argument)
{
    struct flusher *flusher = argument;
    flusher->result = mote_flush(flusher->fixture->db);
    mote_last_error(&flusher->error);
    atomic_store(&flusher->done, 1);
    return NULL;
}

static void start_flush(struct flusher *flusher, struct fixture *fixture)
{
    *flusher = (struct flusher){.fixture = fixture};
    require(pthread_create(&flusher->thread, NULL, flush_main, flusher) == 0);
}

static int finish_flush(struct flusher *flusher)
{
    pthread_join(flusher->thread, NULL);
    return flusher->result;
}

/* Long enough that a call which wants to return early has done so. */
static void give_time(void)
{
    struct timespec pause = {0, 60 * NS_PER_MS};
    nanosleep(&pause, NULL);
}

/* A flush is stopped while it writes its table. Rows that come now are in the next memtable: who flushes then must wait for that one, and who flushes for rows of the first must not be told before it is done. */
Test(flush, concurrent_caller_waits_until_durable)
{
    struct fixture fixture;
    struct flusher first, second, third;
    struct model model = model_make(300);
    uint64_t early, late;
    fixture_sim(&fixture, 64 * MIB_BYTES, 11, false);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t key = 0; key < 100; key++)
        model_put(table, &model, key, 1, NULL, &early);
    gate_hold(fixture.gate, HOLD_WRITES, OF_FLUSH);
    start_flush(&first, &fixture);
    gate_wait_held(fixture.gate);
    start_flush(&second, &fixture); /* for rows that the flush under way covers */
    for (uint32_t key = 100; key < 200; key++)
        model_put(table, &model, key, 1, NULL, &late);
    start_flush(&third, &fixture); /* for rows that it does not cover */
    give_time();
    cr_expect(!atomic_load(&first.done) && !atomic_load(&second.done) && !atomic_load(&third.done), "a flush returned while its table was not written");
    cr_expect_lt(fixture_stats(&fixture).flushed_seq, early);
    gate_release(fixture.gate);
    must(finish_flush(&first));
    must(finish_flush(&second));
    must(finish_flush(&third));
    struct mote_stats stats = fixture_stats(&fixture);
    cr_expect_geq(stats.flushed_seq, late);
    cr_expect_geq(stats.durable_seq, late);
    fixture_power_cut(&fixture, SIM_CRASH_NONE, 1);
    fixture_open(&fixture);
    cr_expect_eq(fixture_stats(&fixture).recovered_rows, 0, "a flushed row was only in the log");
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

struct crowd {
    struct fixture *fixture;
    mote_table *table;
    uint32_t base, count;
};

/* Each thread flushes after each of its rows: when the call returns, that row must be below flushed_seq. */
static void *crowd_main(void *argument)
{
    struct crowd *crowd = argument;
    const struct mote_write_options none = {sizeof none, MOTE_DURABILITY_NONE, 0};
    for (uint32_t i = 0; i < crowd->count; i++) {
        uint64_t ticket;
        must(model_append(crowd->table, crowd->base + i, 1, &none, &ticket));
        must(mote_flush(crowd->fixture->db));
        struct mote_stats stats = fixture_stats(crowd->fixture);
        require(stats.flushed_seq >= ticket);
        require(stats.durable_seq >= ticket);
    }
    return NULL;
}

Test(flush, many_concurrent_callers_are_never_told_early)
{
    struct fixture fixture;
    pthread_t threads[4];
    struct crowd crowds[4];
    struct model model = model_make(4 * 15);
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t i = 0; i < 4; i++) {
        crowds[i] = (struct crowd){&fixture, table, i * 15, 15};
        require(pthread_create(&threads[i], NULL, crowd_main, &crowds[i]) == 0);
    }
    for (uint32_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t key = 0; key < 60; key++)
        model.version[key] = 1;
    fixture_crash(&fixture);
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* The device refuses the table for want of space: the rows stay readable and in the log, and the flush works when there is space again. */
Test(flush, failed_flush_keeps_memtable_and_log)
{
    struct fixture fixture;
    struct model model = model_make(500);
    uint64_t ticket;
    fixture_sim(&fixture, 64 * MIB_BYTES, 12, false);
    fixture_open_faulty(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t key = 0; key < 500; key++)
        model_put(table, &model, key, 1 + key % 5, NULL, &ticket);
    must(mote_wait(fixture.db, ticket, MOTE_FOREVER));
    struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = HOLD_WRITES, .source_mask = OF_FLUSH, .times = UINT64_MAX, .system_errno = EIO};
    int number = faulty_add(fixture.faulty, &rule);
    int result = mote_flush(fixture.db);
    cr_expect_lt(result, 0, "a flush whose every write failed said Ok");
    cr_expect_gt(faulty_hits(fixture.faulty, number), 0);
    cr_expect_lt(fixture_stats(&fixture).flushed_seq, ticket);
    model_check(table, &model);
    struct mote_table_info info = {.size_bytes = sizeof info};
    must(mote_table_describe(table, &info));
    cr_expect_eq(info.pending_updates, 500);
    cr_expect_eq(info.segment_count, 0);
    fixture_power_cut(&fixture, SIM_CRASH_NONE, 1);
    fixture_open(&fixture);
    cr_expect_eq(fixture_stats(&fixture).recovered_rows, 500, "the log lost rows that no table holds");
    table = model_table_open(fixture.db, "arm");
    model_check(table, &model);
    must(mote_flush(fixture.db));
    model_check(table, &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* One bad write to an extent that nothing refers to is no failure at all: the extent is retired and the table goes elsewhere. */
Test(flush, one_failed_write_goes_elsewhere)
{
    struct fixture fixture;
    struct model model = model_make(500);
    fixture_sim(&fixture, 64 * MIB_BYTES, 13, false);
    fixture_open_faulty(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    model_put_batch(table, &model, 0, 500, 3, NULL, NULL);
    struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = HOLD_WRITES, .source_mask = OF_FLUSH, .times = 1, .system_errno = EIO};
    int number = faulty_add(fixture.faulty, &rule);
    must(mote_flush(fixture.db));
    cr_expect_eq(faulty_hits(fixture.faulty, number), 1);
    cr_expect_eq(fixture_stats(&fixture).extents_bad, 1);
    model_check(table, &model);
    fixture_close(&fixture);
    fixture_open(&fixture);
    cr_expect_eq(fixture_stats(&fixture).extents_bad, 1, "the bad extent was forgotten");
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

/* The background has a memtable in hand, its table not yet durable: every row of it is readable, in all ways, and newer ones win over it. */
Test(flush, rows_readable_while_flush_is_under_way)
{
    struct fixture fixture;
    struct flusher flusher;
    struct model model = model_make(2000);
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open_gated(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t key = 0; key < 2000; key += 500)
        model_put_batch(table, &model, key, 500, 1, NULL, NULL);
    gate_hold(fixture.gate, HOLD_WRITES, OF_FLUSH);
    start_flush(&flusher, &fixture);
    gate_wait_held(fixture.gate);
    model_check(table, &model);
    for (uint32_t key = 0; key < 2000; key += 3)
        model_put(table, &model, key, 2, NULL, NULL);
    for (uint32_t key = 1; key < 2000; key += 30)
        model_delete(table, &model, key, NULL, NULL);
    model_check(table, &model);
    gate_hold(fixture.gate, HOLD_WRITES | 1u << BLOCKDEV_FLUSH, 1u << BLOCKDEV_SOURCE_MANIFEST); /* on to the edit */
    model_check(table, &model);
    gate_release(fixture.gate);
    must(finish_flush(&flusher));
    model_check(table, &model);
    must(mote_flush(fixture.db));
    model_check(table, &model);
    model_free(&model);
    fixture_remove(&fixture);
}

static struct blockdev_counters device_counters(const struct fixture *fixture)
{
    struct blockdev_counters counters;
    blockdev_get_counters(fixture->gate, &counters);
    return counters;
}

Test(flush, empty_flush_writes_nothing)
{
    struct fixture fixture;
    struct model model = model_make(10);
    fixture_sim(&fixture, 64 * MIB_BYTES, 14, false);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (int round = 0; round < 3; round++) {
        give_time(); /* the mark after the last commit, log space mapped ahead */
        struct blockdev_counters before = device_counters(&fixture);
        for (int i = 0; i < 10; i++) {
            must(mote_flush(fixture.db));
            must(mote_flush_all_indexes(fixture.db));
        }
        struct blockdev_counters after = device_counters(&fixture);
        for (int source = 0; source < BLOCKDEV_SOURCE_COUNT; source++)
            cr_expect_eq(after.written_bytes[source], before.written_bytes[source], "round %d: an empty flush wrote %llu bytes of source %d", round,
                         (unsigned long long)(after.written_bytes[source] - before.written_bytes[source]), source);
        cr_expect_eq(fixture_stats(&fixture).segment_count, (uint64_t)round);
        model_check(table, &model);
        model_put(table, &model, (uint32_t)round, 1, NULL, NULL);
        must(mote_flush(fixture.db));
    }
    model_free(&model);
    fixture_remove(&fixture);
}

/* Opens a crash image; the index must agree with the rows that are there, and the rows with a moment of the history. */
static void check_cut(struct blockdev *device, const struct mote_options *options)
{
    mote_db *db;
    struct mote_error error;
    int result = engine_open(device, options, &db, &error);
    if (result)
        fprintf(stderr, "a cut cannot be opened: %s\n", error.message);
    require(!result);
    must(engine_check_timestamp_index(db));
    mote_table *table;
    if (mote_table_open(db, "arm", &table) == MOTE_OK) {
        uint32_t version[400];
        uint64_t rows = model_scan(table, 400, false, version);
        require(rows == 0 || rows == 400); /* batches are atomic */
        require(model_count_time(table, INT64_MIN, INT64_MAX) == rows);
        for (uint32_t key = 1; key < rows; key++)
            require(version[key] == version[0]);
    }
    must(mote_rebuild_timestamp_index(db));
    require(engine_abandon(db) == device);
}

/* Power cuts at every event of flushes of late rows: at no moment does an index know less or more than its table. */
Test(flush, indexes_atomic_with_data)
{
    struct fixture fixture;
    struct model model = model_make(400);
    uint64_t cuts = 0;
    fixture_sim(&fixture, 24 * MIB_BYTES, 15, true);
    uint64_t first_event = sim_event_count(fixture.sim); /* the format is not what is cut here */
    fixture.options.inline_io = 1;
    fixture.options.memory_bytes = 24 * MIB_BYTES;
    fixture.options.memtable_bytes = MIB_BYTES;
    fixture.options.cache_bytes = MIB_BYTES;
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t version = 1; version <= 3; version++) {
        model_put_batch(table, &model, 0, 400, version, NULL, NULL);
        must(mote_flush(fixture.db));
    }
    must(mote_compact(fixture.db, NULL));
    uint64_t events = sim_event_count(fixture.sim);
    for (uint64_t event = first_event; event < events; event++) {
        bool barrier;
        if (!sim_event_is_cut(fixture.sim, event, &barrier))
            continue;
        struct blockdev *device;
        enum sim_crash_policy policy = cuts % 3 == 0 ? SIM_CRASH_NONE : cuts % 3 == 1 ? SIM_CRASH_TORN : SIM_CRASH_ALL;
        must(sim_create_from_crash(fixture.sim, event, policy, 0, event, NULL, &device));
        check_cut(device, &fixture.options);
        blockdev_close(device);
        cuts++;
    }
    fprintf(stderr, "indexes_atomic_with_data: %llu cuts\n", (unsigned long long)cuts);
    cr_expect_gt(cuts, 50);
    model_free(&model);
    fixture_remove(&fixture);
}
