/* engine_headroom_test.c: who waits when the memtables are full: other writers, not the producers; and a compaction does not hold up the flushes that they all wait for. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "tests/support/gate.h"
#include "tests/support/producer_rows.h"

TestSuite(headroom, .timeout = 120);

enum { BATCH_ROWS = 64, PAYLOAD_BYTES = 200, QUIET_POLLS = 30 };

/* A writer that appends batches without end, in a thread of its own. */
struct writer {
    mote_table *table;
    uint64_t keys; /* after how many they come round again */
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint64_t rows;
};

static void sleep_ms(long milliseconds)
{
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

static mote_table *create_bulk(mote_db *db)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "payload", .type = MOTE_TYPE_BLOB}};
    static const uint32_t key[] = {0};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "bulk";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void *write_without_end(void *opaque)
{
    struct writer *writer = opaque;
    static int64_t ids[BATCH_ROWS];
    static uint8_t payloads[BATCH_ROWS * PAYLOAD_BYTES];
    uint32_t offsets[BATCH_ROWS + 1];
    uint64_t random = 7;
    for (unsigned i = 0; i <= BATCH_ROWS; i++)
        offsets[i] = i * PAYLOAD_BYTES;
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_BLOB, .values = payloads, .offsets = offsets}};
    const struct mote_batch batch = {.row_count = BATCH_ROWS, .column_count = 2, .columns = columns};
    while (!atomic_load(&writer->stop)) {
        uint64_t rows = atomic_load(&writer->rows);
        for (unsigned i = 0; i < BATCH_ROWS; i++)
            ids[i] = (int64_t)((rows + i) % writer->keys);
        for (unsigned i = 0; i + 8 <= sizeof payloads; i += 8) {
            uint64_t word = fixture_random(&random);
            memcpy(payloads + i, &word, 8);
        }
        must(mote_append_columns(writer->table, &batch, NULL, NULL));
        atomic_store(&writer->rows, rows + BATCH_ROWS);
    }
    return NULL;
}

static void writer_start(struct writer *writer, mote_table *table, uint64_t keys)
{
    *writer = (struct writer){.table = table, .keys = keys};
    require(pthread_create(&writer->thread, NULL, write_without_end, writer) == 0);
}

static void writer_stop(struct writer *writer)
{
    atomic_store(&writer->stop, true);
    pthread_join(writer->thread, NULL);
}

/* Returns when the writer has not moved for a while: it waits. */
static uint64_t wait_until_blocked(struct fixture *fixture, struct writer *writer)
{
    uint64_t rows = 0;
    for (unsigned quiet = 0; quiet < QUIET_POLLS || fixture_stats(fixture).writer_stalls == 0; quiet++) {
        uint64_t now = atomic_load(&writer->rows);
        quiet = now == rows ? quiet : 0;
        rows = now;
        sleep_ms(10);
    }
    return rows;
}

static mote_producer *open_producer(mote_table *table)
{
    struct mote_producer_options options = samples_options(400, MOTE_PRODUCER_DROP, MOTE_DURABILITY_PERIODIC);
    mote_producer *producer;
    must(mote_producer_open(table, &options, &producer));
    return producer;
}

static void open_volume(struct fixture *fixture)
{
    fixture_sim(fixture, 128 * MIB_BYTES, 21, false);
    fixture->options.memtable_bytes = 1 * MIB_BYTES;
    fixture->options.memtable_count = 2;
    fixture->options.workers = 1;
    fixture_open(fixture);
}

/* The memtables are full and their flush does not end: other writers wait, a producer's records become durable, and rows can be deleted. Then all goes on. */
Test(headroom, full_memtables_leave_room_for_producers)
{
    struct fixture fixture;
    struct writer writer;
    open_volume(&fixture);
    mote_table *bulk = create_bulk(fixture.db), *samples = samples_create(fixture.db, "samples");
    mote_producer *producer = open_producer(samples);
    gate_hold(fixture.gate, 1u << BLOCKDEV_WRITE, 1u << BLOCKDEV_SOURCE_FLUSH);
    writer_start(&writer, bulk, UINT64_MAX);
    uint64_t blocked_at = wait_until_blocked(&fixture, &writer);
    for (int64_t i = 0; i < 400; i++) {
        struct sample sample = sample_make(0, i);
        must(mote_producer_push(producer, &sample));
    }
    must(mote_producer_flush(producer, MOTE_FOREVER));
    cr_expect_eq(producer_stats_of(producer).durable, 400);
    cr_expect_eq(producer_stats_of(producer).dropped, 0);
    cr_expect_eq(samples_prefix(samples, 0), 400);
    struct mote_value first = value_i64(0);
    must(mote_delete(bulk, &first, 1, NULL, NULL));
    cr_expect_eq(atomic_load(&writer.rows), blocked_at, "other writers wait");
    struct mote_stats stats = fixture_stats(&fixture);
    cr_expect_eq(stats.flushes, 0);
    cr_expect_eq(stats.producers_open, 1);
    cr_expect_geq(stats.producer_headroom_bytes, MIB_BYTES / 20);
    cr_expect_leq(stats.producer_headroom_bytes, MIB_BYTES / 4);
    gate_release(fixture.gate);
    while (atomic_load(&writer.rows) < 2 * blocked_at)
        sleep_ms(1);
    writer_stop(&writer);
    must(mote_producer_close(producer));
    fixture_reopen(&fixture);
    mote_table *again;
    must(mote_table_open(fixture.db, "bulk", &again));
    cr_expect_eq(fixture_count_rows(again), atomic_load(&writer.rows) - 1);
    cr_expect_eq(samples_prefix(samples_open(fixture.db, "samples"), 0), 400);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

enum producer_life { NEVER_OPEN, OPEN, CLOSED };

/* Rows that a writer gets into the memtables while no flush ends. */
static uint64_t rows_until_full(enum producer_life life)
{
    struct fixture fixture;
    struct writer writer;
    open_volume(&fixture);
    mote_table *bulk = create_bulk(fixture.db), *samples = samples_create(fixture.db, "samples");
    mote_producer *producer = life == NEVER_OPEN ? NULL : open_producer(samples);
    if (life == CLOSED)
        must(mote_producer_close(producer));
    gate_hold(fixture.gate, 1u << BLOCKDEV_WRITE, 1u << BLOCKDEV_SOURCE_FLUSH);
    writer_start(&writer, bulk, UINT64_MAX);
    uint64_t rows = wait_until_blocked(&fixture, &writer);
    gate_release(fixture.gate);
    writer_stop(&writer);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    return rows;
}

/* What is kept is a sixteenth of each generation at least, a quarter at most, and nothing without a producer. */
Test(headroom, is_kept_only_while_a_producer_is_open)
{
    uint64_t all = rows_until_full(NEVER_OPEN), beside = rows_until_full(OPEN);
    cr_expect_leq(beside, all - all / 20, "%llu rows beside a producer, %llu without", (unsigned long long)beside, (unsigned long long)all);
    cr_expect_geq(beside, all * 2 / 3, "%llu rows beside a producer, %llu without", (unsigned long long)beside, (unsigned long long)all);
    cr_expect_eq(rows_until_full(CLOSED), all);
}

/* The only worker is in a compaction: it reads, flushes end meanwhile, and it has not ended. Counters only grow, so that what was read in this order happened in it. */
static bool flushed_within_compaction(struct fixture *fixture)
{
    struct mote_stats before = fixture_stats(fixture), reading, flushed;
    for (unsigned poll = 0; poll < 200; poll++) {
        sleep_ms(1);
        reading = fixture_stats(fixture);
        if (reading.bytes_read > before.bytes_read)
            break;
    }
    if (reading.bytes_read == before.bytes_read)
        return false;
    for (unsigned poll = 0; poll < 200; poll++) {
        sleep_ms(1);
        flushed = fixture_stats(fixture);
        if (flushed.compactions != before.compactions)
            return false;
        if (flushed.flushes > reading.flushes + 1) /* + 1: one may have ended just after the counters of the device were read */
            return fixture_stats(fixture).compactions == before.compactions;
    }
    return false;
}

Test(headroom, flushes_come_between_the_steps_of_a_compaction)
{
    struct fixture fixture;
    struct writer writer;
    open_volume(&fixture);
    mote_table *bulk = create_bulk(fixture.db);
    gate_slow(fixture.gate, BLOCKDEV_READ, 0, 10000);
    writer_start(&writer, bulk, 20000);
    int64_t begin_ns = fixture_now_ns();
    bool seen = false;
    while (!seen && fixture_now_ns() - begin_ns < 60 * NS_PER_S)
        seen = flushed_within_compaction(&fixture);
    gate_slow(fixture.gate, BLOCKDEV_READ, 0, 0);
    writer_stop(&writer);
    cr_expect(seen, "no flush ended while a compaction was under way");
    uint64_t rows = atomic_load(&writer.rows);
    cr_expect_eq(fixture_count_rows(bulk), rows < 20000 ? rows : 20000);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}
