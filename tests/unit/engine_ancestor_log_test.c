/* engine_ancestor_log_test.c: faults of the engine's ancestor around log and checkpoint: acknowledging without a barrier, truncating the log under active writers, batches that pass the log by, a replay without
 * order, numbers that start again, pending counts that get lost. Each test fails if the fault came back. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_model.h"
#include "tests/support/gate.h"

TestSuite(log, .timeout = 60);
TestSuite(checkpoint, .timeout = 60);

static const struct mote_write_options SYNC = {sizeof SYNC, MOTE_DURABILITY_SYNC, 0};
static const struct mote_write_options NONE = {sizeof NONE, MOTE_DURABILITY_NONE, 0};

static void pause_ms(long milliseconds)
{
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * NS_PER_MS};
    nanosleep(&pause, NULL);
}

struct sync_writer {
    mote_table *table;
    _Atomic int done;
};

static void *sync_main(void *argument)
{
    struct sync_writer *writer = argument;
    must(model_append(writer->table, 7, 3, &SYNC, NULL));
    atomic_store(&writer->done, 1);
    return NULL;
}

/* The barrier is held back: neither a wait nor a SYNC append nor the counters may claim anything until it is through. */
Test(log, group_commit_never_acknowledges_without_barrier)
{
    static const enum mote_barrier barriers[] = {MOTE_BARRIER_FLUSH, MOTE_BARRIER_FUA};
    for (size_t i = 0; i < 2; i++) {
        struct fixture fixture;
        struct sync_writer writer;
        pthread_t thread;
        uint64_t ticket;
        fixture_sim(&fixture, 64 * MIB_BYTES, 21 + i, false);
        fixture.options.barrier = barriers[i];
        fixture_open(&fixture);
        mote_table *table = model_table_create(fixture.db, "arm");
        pause_ms(40); /* the mark after the table's creation */
        if (barriers[i] == MOTE_BARRIER_FLUSH)
            gate_hold(fixture.gate, 1u << BLOCKDEV_FLUSH, 0);
        else
            gate_hold(fixture.gate, 1u << BLOCKDEV_WRITE, 1u << BLOCKDEV_SOURCE_WAL);
        must(model_append(table, 1, 1, NULL, &ticket));
        writer.table = table;
        atomic_init(&writer.done, 0);
        require(pthread_create(&thread, NULL, sync_main, &writer) == 0);
        gate_wait_held(fixture.gate);
        must_fail(mote_wait(fixture.db, ticket, 50 * NS_PER_MS), MOTE_ETIMEOUT);
        cr_expect_lt(mote_durable_seq(fixture.db), ticket);
        cr_expect(!atomic_load(&writer.done), "a SYNC append returned before its barrier");
        cr_expect_eq(model_read(table, 1), 1, "rows are readable before they are durable");
        gate_release(fixture.gate);
        must(mote_wait(fixture.db, ticket, MOTE_FOREVER));
        pthread_join(thread, NULL);
        fixture_power_cut(&fixture, SIM_CRASH_NONE, 1);
        fixture_open(&fixture);
        table = model_table_open(fixture.db, "arm");
        cr_expect_eq(model_read(table, 1), 1);
        cr_expect_eq(model_read(table, 7), 3);
        fixture_remove(&fixture);
    }
}

/* The power goes at the instant in which a wait returned, again and again: what it promised is there. */
Test(log, acknowledged_rows_survive_a_cut_at_the_acknowledgement)
{
    struct fixture fixture;
    struct model model = model_make(200);
    fixture_sim(&fixture, 64 * MIB_BYTES, 23, false);
    fixture_open(&fixture);
    model_table_create(fixture.db, "arm");
    for (uint32_t round = 0; round < 25; round++) {
        mote_table *table = model_table_open(fixture.db, "arm");
        uint64_t ticket;
        for (uint32_t i = 0; i < 8; i++)
            model_put(table, &model, (round * 37 + i * 11) % 200, round + 1, NULL, &ticket);
        must(mote_wait(fixture.db, ticket, MOTE_FOREVER));
        fixture_power_cut(&fixture, round % 2 ? SIM_CRASH_NONE : SIM_CRASH_TORN, round);
        fixture_open(&fixture);
        model_check(model_table_open(fixture.db, "arm"), &model);
    }
    model_free(&model);
    fixture_remove(&fixture);
}

struct busy_writer {
    struct fixture *fixture;
    mote_table *table;
    _Atomic uint32_t *stop;
    uint32_t base, keys;
    uint32_t acknowledged[64]; /* version of each key */
};

static void *busy_main(void *argument)
{
    struct busy_writer *writer = argument;
    for (uint32_t version = 1; !atomic_load(writer->stop); version++) {
        uint64_t ticket;
        for (uint32_t i = 0; i < writer->keys; i++)
            must(model_append(writer->table, writer->base + i, version, NULL, &ticket));
        must(mote_wait(writer->fixture->db, ticket, MOTE_FOREVER));
        for (uint32_t i = 0; i < writer->keys; i++)
            writer->acknowledged[i] = version;
    }
    return NULL;
}

/* Checkpoints run one after the other under three writers; what was acknowledged survives the power cut that follows. */
Test(checkpoint, keeps_rows_of_active_writers)
{
    struct fixture fixture;
    pthread_t threads[3];
    struct busy_writer writers[3];
    _Atomic uint32_t stop = 0;
    fixture_sim(&fixture, 96 * MIB_BYTES, 24, false);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t i = 0; i < 3; i++) {
        writers[i] = (struct busy_writer){.fixture = &fixture, .table = table, .stop = &stop, .base = i * 50, .keys = 50};
        require(pthread_create(&threads[i], NULL, busy_main, &writers[i]) == 0);
    }
    for (int i = 0; i < 12; i++) {
        must(mote_checkpoint(fixture.db));
        pause_ms(5);
    }
    struct mote_stats stats = fixture_stats(&fixture);
    cr_expect_gt(stats.head_lsn, 0, "no checkpoint moved the head");
    cr_expect_geq(stats.checkpoints, 12);
    atomic_store(&stop, 1);
    for (uint32_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    fixture_power_cut(&fixture, SIM_CRASH_NONE, 1);
    fixture_open(&fixture);
    table = model_table_open(fixture.db, "arm");
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t k = 0; k < 50; k++)
            cr_expect_eq(model_read(table, i * 50 + k), writers[i].acknowledged[k], "writer %u, key %u: version %u, acknowledged %u", i, k, model_read(table, i * 50 + k), writers[i].acknowledged[k]);
    fixture_remove(&fixture);
}

/* A batch of columns is in the log like a single row, and whole or not at all. */
Test(log, batch_goes_through_the_log)
{
    struct fixture fixture;
    struct model model = model_make(3000);
    uint64_t ticket;
    fixture_sim(&fixture, 64 * MIB_BYTES, 25, false);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    uint64_t wal_before = fixture_stats(&fixture).bytes_wal;
    model_put_batch(table, &model, 0, 1000, 1, NULL, NULL);
    model_put_batch(table, &model, 500, 1000, 2, NULL, NULL);
    model_put_batch(table, &model, 1500, 1, 3, NULL, NULL);
    model_put_batch(table, &model, 1501, 2, 4, NULL, &ticket);
    must(mote_wait(fixture.db, ticket, MOTE_FOREVER));
    cr_expect_geq(fixture_stats(&fixture).bytes_wal - wal_before, 2003 * 28, "the log is shorter than the rows");
    fixture_power_cut(&fixture, SIM_CRASH_NONE, 1);
    fixture_open(&fixture);
    cr_expect_eq(fixture_stats(&fixture).recovered_rows, 2003);
    model_check(model_table_open(fixture.db, "arm"), &model);
    model_free(&model);
    fixture_remove(&fixture);
}

struct contender {
    mote_table *tables[2];
    uint32_t number;
    uint64_t best[2][16]; /* the newest seq that this thread gave each key */
    uint32_t version[2][16];
};

static void *contend(void *argument)
{
    struct contender *contender = argument;
    uint64_t random = 77 + contender->number;
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t t = (uint32_t)(fixture_random(&random) % 2), key = (uint32_t)(fixture_random(&random) % 16), version = contender->number * 1000 + i + 1;
        uint64_t ticket;
        if (i % 9 == 0) {
            struct mote_value value = value_i64(key);
            must(mote_delete(contender->tables[t], &value, 1, &NONE, &ticket));
            version = 0;
        } else {
            must(model_append(contender->tables[t], key, version, &NONE, &ticket));
        }
        require(ticket > contender->best[t][key]);
        contender->best[t][key] = ticket;
        contender->version[t][key] = version;
    }
    return NULL;
}

static void check_order(struct fixture *fixture, const struct model models[2])
{
    model_check(model_table_open(fixture->db, "left"), &models[0]);
    model_check(model_table_open(fixture->db, "right"), &models[1]);
}

/* Four threads write the same keys of two tables; the highest seq of a key wins: while they live, after a replay, after another replay, and after a flush. */
Test(log, replay_keeps_one_total_order)
{
    struct fixture fixture;
    pthread_t threads[4];
    struct contender contenders[4];
    struct model models[2] = {model_make(16), model_make(16)};
    fixture_sim(&fixture, 512 * MIB_BYTES, 26, false); /* large enough that no checkpoint comes by itself */
    fixture_open(&fixture);
    mote_table *tables[2] = {model_table_create(fixture.db, "left"), model_table_create(fixture.db, "right")};
    memset(contenders, 0, sizeof contenders);
    for (uint32_t i = 0; i < 4; i++) {
        contenders[i].number = i;
        memcpy(contenders[i].tables, tables, sizeof tables);
        require(pthread_create(&threads[i], NULL, contend, &contenders[i]) == 0);
    }
    for (uint32_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t t = 0; t < 2; t++)
        for (uint32_t key = 0; key < 16; key++) {
            uint32_t winner = 0;
            for (uint32_t i = 1; i < 4; i++)
                if (contenders[i].best[t][key] > contenders[winner].best[t][key])
                    winner = i;
            models[t].version[key] = contenders[winner].version[t][key];
        }
    check_order(&fixture, models);
    must(mote_wait(fixture.db, mote_visible_seq(fixture.db), MOTE_FOREVER));
    for (int round = 0; round < 2; round++) {
        fixture_power_cut(&fixture, SIM_CRASH_NONE, 1);
        fixture_open(&fixture);
        cr_expect_eq(fixture_stats(&fixture).recovered_rows, 1600);
        check_order(&fixture, models);
    }
    must(mote_flush(fixture.db));
    check_order(&fixture, models);
    model_free(&models[0]);
    model_free(&models[1]);
    fixture_remove(&fixture);
}

static int64_t append_numbered(mote_table *table, mote_db *db, int32_t value, uint64_t *ticket)
{
    struct mote_value values[] = {value_i32(value)};
    must(mote_append(table, values, 1, NULL, ticket));
    must(mote_wait(db, *ticket, MOTE_FOREVER));
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    const uint32_t columns[] = {0, 1};
    struct mote_chunk chunk;
    mote_cursor *cursor;
    options.descending = 1;
    options.limit = 1;
    options.columns = columns;
    options.column_count = 2;
    must(mote_scan(table, &options, &cursor));
    must(mote_cursor_next(cursor, &chunk));
    require(chunk.row_count == 1);
    require(chunk_value(&chunk, 1, 0).as.i32 == value);
    int64_t rowid = chunk_value(&chunk, 0, 0).as.i64;
    mote_cursor_close(cursor);
    return rowid;
}

/* After every kind of end (kill, power cut, clean close, after a checkpoint, with the newest rows deleted): row ids, seqs and LSNs go on above all that were given out. */
Test(log, rowids_and_seqs_never_restart)
{
    struct fixture fixture;
    struct mote_column_definition column = {.name = "n", .type = MOTE_TYPE_INT32};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "events";
    schema.columns = &column;
    schema.column_count = 1;
    fixture_sim(&fixture, 64 * MIB_BYTES, 27, false);
    fixture_open(&fixture);
    must(mote_table_create(fixture.db, &schema, &table));
    int64_t last_rowid = 0;
    uint64_t last_seq = 0, last_lsn = 0;
    for (int32_t round = 0; round < 16; round++) {
        must(mote_table_open(fixture.db, "events", &table));
        for (int32_t i = 0; i < 3; i++) {
            uint64_t ticket;
            int64_t rowid = append_numbered(table, fixture.db, round * 10 + i, &ticket);
            cr_expect_gt(rowid, last_rowid, "round %d: row id %lld after %lld", round, (long long)rowid, (long long)last_rowid);
            cr_expect_gt(ticket, last_seq, "round %d: seq %llu after %llu", round, (unsigned long long)ticket, (unsigned long long)last_seq);
            cr_expect_gt(mote_durable_lsn(fixture.db), last_lsn, "round %d: LSN %llu after %llu", round, (unsigned long long)mote_durable_lsn(fixture.db), (unsigned long long)last_lsn);
            last_rowid = rowid;
            last_seq = ticket;
            last_lsn = mote_durable_lsn(fixture.db);
        }
        if (round & 4) { /* the newest row is gone, its number must stay used */
            struct mote_value key = value_i64(last_rowid);
            must(mote_delete(table, &key, 1, &SYNC, &last_seq));
        }
        if (round & 2)
            must(mote_checkpoint(fixture.db));
        if ((round & 6) == 6)
            must(mote_compact(fixture.db, NULL));
        if (round & 1)
            fixture_close(&fixture);
        else
            fixture_power_cut(&fixture, round & 8 ? SIM_CRASH_ALL : SIM_CRASH_NONE, 1);
        fixture_open(&fixture);
    }
    fixture_remove(&fixture);
}

struct counter_thread {
    mote_table *table;
    uint32_t base;
};

static void *count_main(void *argument)
{
    struct counter_thread *counter = argument;
    for (uint32_t i = 0; i < 500; i++)
        must(model_append(counter->table, counter->base + i % 100, i + 1, &NONE, NULL));
    for (uint32_t i = 0; i < 10; i++)
        must(model_append_batch(counter->table, counter->base, 50, 600 + i, &NONE, NULL));
    return NULL;
}

/* Pending updates are row changes, not keys, and none is lost when four threads count at once; a flush takes exactly its own off. */
Test(log, pending_updates_exact_under_concurrency)
{
    struct fixture fixture;
    pthread_t threads[4];
    struct counter_thread counters[4];
    uint64_t count;
    fixture_image(&fixture, 512 * MIB_BYTES); /* large enough that no checkpoint comes by itself */
    fixture_open(&fixture);
    mote_table *tables[2] = {model_table_create(fixture.db, "left"), model_table_create(fixture.db, "right")};
    for (uint32_t round = 1; round <= 3; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            counters[i] = (struct counter_thread){tables[i % 2], i * 100};
            require(pthread_create(&threads[i], NULL, count_main, &counters[i]) == 0);
        }
        for (uint32_t i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        must(mote_pending_updates(fixture.db, "left", &count));
        cr_expect_eq(count, 2000, "left: %llu", (unsigned long long)count);
        must(mote_pending_updates(fixture.db, "right", &count));
        cr_expect_eq(count, 2000, "right: %llu", (unsigned long long)count);
        must(mote_pending_updates(fixture.db, NULL, &count));
        cr_expect_eq(count, 4000, "both: %llu", (unsigned long long)count);
        if (round == 2) { /* exact after a replay as well */
            must(mote_wait(fixture.db, mote_visible_seq(fixture.db), MOTE_FOREVER));
            fixture_crash(&fixture);
            tables[0] = model_table_open(fixture.db, "left");
            tables[1] = model_table_open(fixture.db, "right");
            must(mote_pending_updates(fixture.db, NULL, &count));
            cr_expect_eq(count, 4000, "after the replay: %llu", (unsigned long long)count);
        }
        must(mote_flush(fixture.db));
        must(mote_pending_updates(fixture.db, NULL, &count));
        cr_expect_eq(count, 0, "after the flush: %llu", (unsigned long long)count);
    }
    fixture_remove(&fixture);
}
