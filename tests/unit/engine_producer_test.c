/* engine_producer_test.c: the producer handle: layout, order, exact counts, policies, failures, durability, close, fork. What needs threads at full speed is in stress/producer_stress_test.c, what a push may not do in
 * stress/producer_push_test.c. With inline_io nothing empties a ring but the test's own calls, so that the counts of a full ring are known beforehand. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "blockdev/faulty.h"
#include "tests/support/gate.h"
#include "tests/support/producer_rows.h"

TestSuite(producer, .timeout = 120);

static void open_volume(struct fixture *fixture, bool inline_io)
{
    fixture_image(fixture, 64 * MIB_BYTES);
    fixture->options.inline_io = inline_io;
    fixture_open(fixture);
}

static mote_producer *open_producer(mote_table *table, uint32_t ring_records, uint32_t policy, uint32_t durability)
{
    struct mote_producer_options options = samples_options(ring_records, policy, durability);
    mote_producer *producer;
    must(mote_producer_open(table, &options, &producer));
    return producer;
}

static void push_some(mote_producer *producer, int32_t source, int64_t first, int64_t count)
{
    for (int64_t i = first; i < first + count; i++) {
        struct sample sample = sample_make(source, i);
        must(mote_producer_push(producer, &sample));
    }
}

static void sleep_ms(long milliseconds)
{
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* ---- Layout ---- */

Test(producer, layout_is_the_struct)
{
    struct fixture fixture;
    struct mote_producer_field fields[16];
    size_t count, bytes;
    open_volume(&fixture, false);
    mote_table *table = samples_create(fixture.db, "t");
    must(mote_producer_layout(table, NULL, fields, 16, &count, &bytes));
    cr_assert_eq(bytes, sizeof(struct sample));
    cr_assert_eq(count, 13);
    const size_t offsets[] = {offsetof(struct sample, source), offsetof(struct sample, sequence), offsetof(struct sample, time_ns)};
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(fields[i].offset_bytes, offsets[i]);
    for (unsigned i = 0; i < SAMPLE_CHANNELS; i++)
        cr_expect_eq(fields[3 + i].offset_bytes, offsetof(struct sample, channels) + 4 * i);
    cr_expect_eq(fields[11].offset_bytes, offsetof(struct sample, flag));
    cr_expect_eq(fields[12].offset_bytes, offsetof(struct sample, point));
    cr_expect_eq(fields[12].value_bytes, 24);
    cr_expect_eq(fields[12].column, 13, "column 0 is the hidden rowid");
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(producer, layout_refuses_what_a_record_cannot_hold)
{
    struct fixture fixture;
    open_volume(&fixture, false);
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_AUTO_INCREMENT},
                                                     {.name = "note", .type = MOTE_TYPE_TEXT},
                                                     {.name = "v", .type = MOTE_TYPE_VECTOR_F16, .dimension = 3},
                                                     {.name = "must", .type = MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_NOT_NULL}};
    const uint32_t key = 0, only_v[] = {2}, twice[] = {2, 2}, text[] = {1};
    struct mote_schema schema = {sizeof schema, "a", columns, 3, 0, &key, 1, -1};
    struct mote_producer_options options = MOTE_PRODUCER_OPTIONS_INIT;
    mote_table *table, *strict;
    mote_producer *producer;
    size_t bytes, count;
    must(mote_table_create(fixture.db, &schema, &table));
    must(mote_producer_layout(table, NULL, NULL, 0, &count, &bytes));
    cr_expect_eq(count, 1);
    cr_expect_eq(bytes, 6);
    options.columns = only_v;
    options.column_count = 1;
    must(mote_producer_layout(table, &options, NULL, 0, NULL, &bytes));
    cr_expect_eq(bytes, 6);
    options.columns = twice;
    options.column_count = 2;
    must_fail(mote_producer_open(table, &options, &producer), MOTE_EINVAL);
    options.columns = text;
    options.column_count = 1;
    must_fail(mote_producer_open(table, &options, &producer), MOTE_EINVAL);
    options = (struct mote_producer_options)MOTE_PRODUCER_OPTIONS_INIT;
    options.record_bytes = 8;
    must_fail(mote_producer_open(table, &options, &producer), MOTE_EINVAL);
    schema.name = "b";
    schema.column_count = 4;
    must(mote_table_create(fixture.db, &schema, &strict));
    must_fail(mote_producer_open(strict, NULL, &producer), MOTE_EINVAL);
    options.record_bytes = 0;
    options.durability = MOTE_DURABILITY_SYNC;
    must_fail(mote_producer_open(table, &options, &producer), MOTE_EINVAL);
    options.durability = 0;
    options.policy = 2;
    must_fail(mote_producer_open(table, &options, &producer), MOTE_EINVAL);
    /* What is not in the record: the next number, and NULL. */
    const uint16_t halves[3] = {1, 2, 3};
    must(mote_producer_open(table, NULL, &producer));
    must(mote_producer_push(producer, halves));
    must(mote_producer_flush(producer, MOTE_FOREVER));
    struct mote_value id = value_i64(1), note;
    mote_row *row = NULL;
    must(mote_get(table, &id, 1, &row));
    must(mote_row_value(row, 1, &note));
    cr_expect(note.is_null);
    mote_row_free(row);
    must(mote_producer_close(producer));
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* ---- Order and counts ---- */

Test(producer, rows_arrive_in_order_exactly_once)
{
    struct fixture fixture;
    open_volume(&fixture, false);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *producer = open_producer(table, 1000, MOTE_PRODUCER_REFUSE, MOTE_DURABILITY_GROUP);
    uint64_t refused = 0;
    for (int64_t i = 0; i < 30000; i++) {
        struct sample sample = sample_make(1, i);
        int result;
        while ((result = mote_producer_push(producer, &sample)) == MOTE_EAGAIN) {
            refused++;
            sleep_ms(1);
        }
        must(result);
    }
    must(mote_producer_flush(producer, MOTE_FOREVER));
    struct mote_producer_stats stats = producer_stats_of(producer);
    cr_expect_eq(stats.pushed, 30000);
    cr_expect_eq(stats.appended, 30000);
    cr_expect_eq(stats.durable, 30000);
    cr_expect_eq(stats.refused, refused);
    cr_expect_eq(stats.dropped, 0);
    cr_expect_eq(stats.rejected, 0);
    cr_expect_eq(stats.ring_used, 0);
    cr_expect_leq(stats.ring_used_max, 1000);
    cr_expect_str_eq(stats.name, "t");
    must(mote_producer_close(producer));
    cr_expect_eq(samples_prefix(table, 1), 30000);
    fixture_reopen(&fixture);
    cr_expect_eq(samples_prefix(samples_open(fixture.db, "t"), 1), 30000);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* Both policies, and a ring that is emptied and filled again across its end. */
Test(producer, full_ring_is_counted_exactly)
{
    for (uint32_t policy = MOTE_PRODUCER_DROP; policy <= MOTE_PRODUCER_REFUSE; policy++) {
        struct fixture fixture;
        open_volume(&fixture, true);
        mote_table *table = samples_create(fixture.db, "t");
        mote_producer *producer = open_producer(table, 7, policy, MOTE_DURABILITY_GROUP);
        int64_t next = 0;
        uint64_t missed = 0;
        for (uint64_t round = 1; round <= 50; round++) {
            for (uint64_t i = 0; i < 7 + round % 4; i++) {
                struct sample sample = sample_make(0, next);
                int result = mote_producer_push(producer, &sample);
                cr_assert_eq(result, i < 7 ? MOTE_OK : policy == MOTE_PRODUCER_DROP ? MOTE_DROPPED : MOTE_EAGAIN, "round %llu, push %llu gave %d", (unsigned long long)round, (unsigned long long)i, result);
                next += result == MOTE_OK;
                missed += result != MOTE_OK;
            }
            struct mote_producer_stats stats = producer_stats_of(producer);
            cr_assert_eq(stats.ring_used, 7);
            cr_assert_eq(stats.pushed, 7 * round);
            cr_assert_eq(stats.appended, 7 * (round - 1), "a push alone appends nothing with inline_io");
            must(mote_producer_flush(producer, MOTE_FOREVER));
        }
        struct mote_producer_stats stats = producer_stats_of(producer);
        cr_expect_eq(policy == MOTE_PRODUCER_DROP ? stats.dropped : stats.refused, missed);
        cr_expect_eq(policy == MOTE_PRODUCER_DROP ? stats.refused : stats.dropped, 0);
        cr_expect_eq(stats.durable, 350);
        must(mote_producer_close(producer));
        cr_expect_eq(samples_prefix(table, 0), 350);
        fixture_close(&fixture);
        fixture_remove(&fixture);
    }
}

/* The handle's stats are the sums of its producers', closed ones included. */
Test(producer, stats_of_the_handle_are_sums)
{
    struct fixture fixture;
    open_volume(&fixture, true);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *small = open_producer(table, 7, MOTE_PRODUCER_DROP, MOTE_DURABILITY_GROUP), *large = open_producer(table, 100, MOTE_PRODUCER_REFUSE, MOTE_DURABILITY_GROUP);
    struct sample sample = sample_make(2, 0);
    push_some(small, 0, 0, 5);
    cr_expect_eq(producer_stats_of(small).ring_used_max, 5, "before anybody looked at the ring");
    must(mote_producer_flush(small, MOTE_FOREVER));
    cr_expect_eq(producer_stats_of(small).ring_used_max, 5);
    push_some(large, 1, 0, 20);
    for (uint32_t closed = 0; closed < 2; closed++) {
        struct mote_stats stats = fixture_stats(&fixture);
        cr_expect_eq(stats.producers_open, 2 - closed);
        cr_expect_eq(stats.producer_pushed, 25 + 7 * closed);
        cr_expect_eq(stats.producer_appended, 5 + 7 * closed);
        cr_expect_eq(stats.producer_dropped, 2 * closed);
        cr_expect_eq(stats.producer_ring_used_max, 20);
        cr_expect_eq(stats.producer_ring_percent_max, closed ? 100 : 72);
        if (closed)
            break;
        push_some(small, 0, 5, 7);
        cr_expect_eq(mote_producer_push(small, &sample), MOTE_DROPPED);
        cr_expect_eq(mote_producer_push(small, &sample), MOTE_DROPPED);
        must(mote_producer_close(small));
    }
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(producer, inline_calls_of_the_handle_drain)
{
    struct fixture fixture;
    open_volume(&fixture, true);
    mote_table *table = samples_create(fixture.db, "t"), *other = samples_create(fixture.db, "other");
    mote_producer *producer = open_producer(table, 100, MOTE_PRODUCER_DROP, MOTE_DURABILITY_GROUP);
    push_some(producer, 0, 0, 10);
    cr_expect_eq(samples_prefix(table, 0), 0);
    must(mote_append(other, NULL, 0, NULL, NULL));
    cr_expect_eq(samples_prefix(table, 0), 10);
    push_some(producer, 0, 10, 10);
    must(mote_flush(fixture.db));
    cr_expect_eq(samples_prefix(table, 0), 20);
    cr_expect_eq(producer_stats_of(producer).durable, 20);
    push_some(producer, 0, 20, 10);
    must(mote_checkpoint(fixture.db));
    cr_expect_eq(samples_prefix(table, 0), 30);
    push_some(producer, 0, 30, 10);
    fixture_reopen(&fixture);
    cr_expect_eq(samples_prefix(samples_open(fixture.db, "t"), 0), 40);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(producer, refused_record_is_left_out_alone)
{
    struct fixture fixture;
    open_volume(&fixture, true);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *producer = open_producer(table, 100, MOTE_PRODUCER_DROP, MOTE_DURABILITY_GROUP);
    push_some(producer, 0, 0, 20);
    for (int i = 0; i < 2; i++) {
        struct sample bad = sample_make(0, 999);
        bad.flag = 2;
        must(mote_producer_push(producer, &bad));
        push_some(producer, 0, 20 + 5 * i, 5);
    }
    must(mote_producer_flush(producer, MOTE_FOREVER));
    struct mote_producer_stats stats = producer_stats_of(producer);
    cr_expect_eq(stats.pushed, 32);
    cr_expect_eq(stats.rejected, 2);
    cr_expect_eq(stats.appended, 30);
    cr_expect_eq(stats.last_error, MOTE_EINVAL);
    cr_expect_eq(stats.failure, 0);
    must(mote_producer_close(producer));
    cr_expect_eq(samples_prefix(table, 0), 30);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* The tickets of many small batches that nothing commits: still counted exactly, and the commit comes in the end. */
Test(producer, many_undurable_batches_are_counted_exactly)
{
    struct fixture fixture;
    open_volume(&fixture, true);
    mote_table *table = samples_create(fixture.db, "t"), *other = samples_create(fixture.db, "other");
    mote_producer *producer = open_producer(table, 4096, MOTE_PRODUCER_DROP, MOTE_DURABILITY_NONE);
    const struct mote_write_options none = {sizeof none, MOTE_DURABILITY_NONE, 0};
    for (int64_t i = 0; i < 3000; i++) {
        push_some(producer, 0, i, 1);
        must(mote_append(other, NULL, 0, &none, NULL));
        struct mote_producer_stats stats = producer_stats_of(producer);
        cr_assert_leq(stats.durable, stats.appended);
        cr_assert_eq(stats.pushed, stats.appended + stats.ring_used);
    }
    must(mote_producer_flush(producer, MOTE_FOREVER));
    cr_expect_eq(producer_stats_of(producer).durable, 3000);
    must(mote_producer_close(producer));
    cr_expect_eq(samples_prefix(table, 0), 3000);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* ---- Durability ---- */

/* The thread appends by itself; with a period the rows become durable by themselves too. */
Test(producer, thread_appends_and_commits_by_itself)
{
    struct fixture fixture;
    open_volume(&fixture, false);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *producer = open_producer(table, 100, MOTE_PRODUCER_DROP, 0);
    push_some(producer, 0, 0, 50);
    int64_t begin_ns = fixture_now_ns();
    while (producer_stats_of(producer).durable < 50 && fixture_now_ns() - begin_ns < 20 * NS_PER_S)
        sleep_ms(1);
    cr_expect_eq(producer_stats_of(producer).durable, 50);
    fixture_crash(&fixture);
    cr_expect_eq(samples_prefix(samples_open(fixture.db, "t"), 0), 50);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(producer, flush_survives_a_power_cut)
{
    struct fixture fixture;
    fixture_sim(&fixture, 64 * MIB_BYTES, 11, false);
    fixture_open(&fixture);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *producer = open_producer(table, 512, MOTE_PRODUCER_DROP, MOTE_DURABILITY_NONE);
    push_some(producer, 0, 0, 300);
    must(mote_producer_flush(producer, MOTE_FOREVER));
    cr_expect_eq(producer_stats_of(producer).durable, 300);
    push_some(producer, 0, 300, 100);
    fixture_power_cut(&fixture, SIM_CRASH_NONE, 5);
    fixture_open(&fixture);
    uint64_t kept = samples_prefix(samples_open(fixture.db, "t"), 0);
    cr_expect(kept >= 300 && kept <= 400, "%llu rows", (unsigned long long)kept);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* While the device answers no barrier: flush says that the time passed, nothing counts as durable, and the ring takes its records all the same. */
Test(producer, stalled_device_shows_as_not_durable)
{
    struct fixture fixture;
    fixture_sim(&fixture, 64 * MIB_BYTES, 12, false);
    fixture.options.barrier = MOTE_BARRIER_FLUSH;
    fixture_open(&fixture);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *producer = open_producer(table, 100, MOTE_PRODUCER_DROP, MOTE_DURABILITY_GROUP);
    gate_hold(fixture.gate, 1u << BLOCKDEV_WRITE | 1u << BLOCKDEV_FLUSH, 0);
    push_some(producer, 0, 0, 60);
    must_fail(mote_producer_flush(producer, 20 * NS_PER_MS), MOTE_ETIMEOUT);
    cr_expect_eq(producer_stats_of(producer).appended, 60);
    cr_expect_eq(producer_stats_of(producer).durable, 0);
    push_some(producer, 0, 60, 40);
    gate_release(fixture.gate);
    must(mote_producer_flush(producer, MOTE_FOREVER));
    cr_expect_eq(producer_stats_of(producer).durable, 100);
    cr_expect_eq(samples_prefix(table, 0), 100);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* ---- Failures ---- */

Test(producer, poisoned_handle_ends_pushes)
{
    struct fixture fixture;
    fixture_sim(&fixture, 64 * MIB_BYTES, 13, false);
    fixture_open_faulty(&fixture);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *producer = open_producer(table, 100, MOTE_PRODUCER_DROP, MOTE_DURABILITY_GROUP);
    push_some(producer, 0, 0, 5);
    must(mote_producer_flush(producer, MOTE_FOREVER));
    const struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .times = UINT64_MAX, .system_errno = EIO};
    require(faulty_add(fixture.faulty, &rule) >= 0);
    struct sample sample = sample_make(0, 5);
    int result = MOTE_OK;
    int64_t begin_ns = fixture_now_ns();
    while ((result == MOTE_OK || result == MOTE_DROPPED) && fixture_now_ns() - begin_ns < 20 * NS_PER_S) {
        result = mote_producer_push(producer, &sample);
        sleep_ms(1);
    }
    cr_expect_eq(result, MOTE_EPOISONED, "%s", mote_error_name(result));
    struct mote_producer_stats stats = producer_stats_of(producer);
    cr_expect_eq(stats.failure, MOTE_EPOISONED);
    cr_expect_eq(stats.durable, 5);
    cr_expect_eq(stats.pushed, stats.appended + stats.ring_used);
    result = mote_producer_flush(producer, NS_PER_S);
    cr_expect(result == MOTE_EPOISONED || result == MOTE_EIO, "%s", mote_error_name(result));
    mote_producer *late;
    must_fail(mote_producer_open(table, NULL, &late), MOTE_EPOISONED);
    result = mote_producer_close(producer);
    cr_expect_eq(result, stats.ring_used ? MOTE_EPOISONED : MOTE_OK);
    fixture_kill(&fixture);
    fixture_open(&fixture);
    uint64_t kept = samples_scan(samples_open(fixture.db, "t"), NULL, NULL);
    cr_expect_geq(kept, 5);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* Another thread's failure poisons the handle: an idle producer is told without an append of its own. */
Test(producer, poison_by_others_reaches_an_idle_producer)
{
    struct fixture fixture;
    fixture_sim(&fixture, 64 * MIB_BYTES, 14, false);
    fixture_open_faulty(&fixture);
    mote_table *table = samples_create(fixture.db, "t"), *other = samples_create(fixture.db, "other");
    mote_producer *producer = open_producer(table, 100, MOTE_PRODUCER_DROP, MOTE_DURABILITY_GROUP);
    const struct mote_write_options sync = {sizeof sync, MOTE_DURABILITY_SYNC, 0};
    const struct faulty_rule rule = {.kind = FAULTY_ERRNO, .op_mask = 1u << BLOCKDEV_WRITE, .times = UINT64_MAX, .system_errno = EIO};
    require(faulty_add(fixture.faulty, &rule) >= 0);
    must_fail(mote_append(other, NULL, 0, &sync, NULL), MOTE_EIO);
    struct sample sample = sample_make(0, 0);
    must_fail(mote_producer_push(producer, &sample), MOTE_EPOISONED);
    cr_expect_eq(producer_stats_of(producer).refused, 1);
    must(mote_producer_close(producer));
    fixture_remove(&fixture);
}

Test(producer, dropped_table_ends_the_producer)
{
    struct fixture fixture;
    open_volume(&fixture, true);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *producer = open_producer(table, 10, MOTE_PRODUCER_DROP, MOTE_DURABILITY_GROUP);
    push_some(producer, 0, 0, 3);
    must(mote_table_drop(fixture.db, "t"));
    must_fail(mote_producer_flush(producer, MOTE_FOREVER), MOTE_ENOTABLE);
    struct sample sample = sample_make(0, 3);
    must_fail(mote_producer_push(producer, &sample), MOTE_ENOTABLE);
    must_fail(mote_producer_close(producer), MOTE_ENOTABLE);
    struct mote_error error;
    mote_last_error(&error);
    cr_expect(strncmp(error.message, "3 records of producer t", 23) == 0, "%s", error.message);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* A full device: the records wait in the ring, drops begin when it is full, and go on when there is space. */
Test(producer, full_device_fills_the_ring_and_recovers)
{
    struct fixture fixture;
    fixture_image(&fixture, 16 * MIB_BYTES);
    fixture.options.memtable_bytes = MIB_BYTES;
    fixture_open(&fixture);
    mote_table *table = samples_create(fixture.db, "t"), *filler = samples_create(fixture.db, "filler");
    mote_producer *fill = open_producer(filler, 4096, MOTE_PRODUCER_DROP, MOTE_DURABILITY_GROUP);
    mote_producer *producer = open_producer(table, 100, MOTE_PRODUCER_DROP, MOTE_DURABILITY_GROUP);
    uint64_t random = 7;
    int64_t begin_ns = fixture_now_ns();
    while (producer_stats_of(fill).last_error != MOTE_ENOSPC && fixture_now_ns() - begin_ns < 60 * NS_PER_S) {
        struct sample sample = sample_make(0, 0);
        uint64_t noise[6];
        for (int i = 0; i < 6; i++)
            noise[i] = fixture_random(&random) >> 2; /* nothing compresses */
        memcpy(sample.channels, noise, sizeof sample.channels);
        memcpy(sample.point, noise + 3, sizeof sample.point);
        mote_producer_push(fill, &sample);
    }
    cr_assert_eq(producer_stats_of(fill).last_error, MOTE_ENOSPC);
    cr_expect_eq(producer_stats_of(fill).failure, 0);
    must(mote_table_drop(fixture.db, "filler"));
    (void)mote_producer_close(fill);
    begin_ns = fixture_now_ns();
    push_some(producer, 3, 0, 100);
    int result = MOTE_ENOSPC;
    while (result && fixture_now_ns() - begin_ns < 60 * NS_PER_S) {
        result = mote_producer_flush(producer, MOTE_FOREVER);
        sleep_ms(5);
    }
    must(result);
    cr_expect_eq(samples_prefix(table, 3), 100);
    must(mote_producer_close(producer));
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(producer, more_than_the_maximum_is_refused)
{
    struct fixture fixture;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture.options.producers_max = 2;
    fixture_open(&fixture);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *producers[3];
    struct mote_producer_options huge = MOTE_PRODUCER_OPTIONS_INIT;
    huge.ring_records = 1u << 27;
    uint64_t before = fixture_stats(&fixture).memory_used_bytes;
    must_fail(mote_producer_open(table, &huge, &producers[0]), MOTE_EBUDGET);
    cr_expect_eq(fixture_stats(&fixture).memory_used_bytes, before);
    for (int i = 0; i < 2; i++)
        must(mote_producer_open(table, NULL, &producers[i]));
    must_fail(mote_producer_open(table, NULL, &producers[2]), MOTE_EBUDGET);
    must(mote_producer_close(producers[0]));
    must(mote_producer_open(table, NULL, &producers[2]));
    must(mote_producer_close(producers[1]));
    must(mote_producer_close(producers[2]));
    must(mote_producer_close(NULL));
    fixture_close(&fixture);
    fixture.options.read_only = 1;
    fixture_open(&fixture);
    must_fail(mote_producer_open(samples_open(fixture.db, "t"), NULL, &producers[0]), MOTE_EREADONLY);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(producer, close_of_the_handle_appends_what_was_pushed)
{
    struct fixture fixture;
    open_volume(&fixture, false);
    mote_table *table = samples_create(fixture.db, "t");
    mote_producer *producers[3];
    for (int i = 0; i < 3; i++)
        producers[i] = open_producer(table, 5000, MOTE_PRODUCER_DROP, MOTE_DURABILITY_NONE);
    for (int i = 0; i < 3; i++)
        push_some(producers[i], i, 0, 5000);
    must(mote_producer_close(producers[1]));
    fixture_reopen(&fixture); /* the others are open still */
    for (int i = 0; i < 3; i++)
        cr_expect_eq(samples_prefix(samples_open(fixture.db, "t"), i), 5000);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(producer, child_of_a_fork_is_refused)
{
    struct fixture fixture;
    int status;
    open_volume(&fixture, false);
    mote_producer *producer = open_producer(samples_create(fixture.db, "t"), 10, MOTE_PRODUCER_DROP, 0);
    struct sample sample = sample_make(0, 0);
    struct mote_producer_stats stats = {.size_bytes = sizeof stats};
    pid_t child = fork();
    if (child == 0)
        _exit(mote_producer_push(producer, &sample) == MOTE_EFORK && mote_producer_flush(producer, 0) == MOTE_EFORK && mote_producer_stats(producer, &stats) == MOTE_EFORK && mote_producer_close(producer) == MOTE_EFORK ? 0 : 1);
    require(waitpid(child, &status, 0) == child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    must_fail(mote_producer_push(NULL, &sample), MOTE_EINVAL);
    must_fail(mote_producer_push(producer, NULL), MOTE_EINVAL);
    must(mote_producer_push(producer, &sample));
    must(mote_producer_close(producer));
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* A process that is killed while it pushes: at least what its stats had called durable is there, and it is a prefix. */
Test(producer, sigkill_keeps_a_prefix)
{
    for (int round = 0; round < 4; round++) {
        struct fixture fixture;
        int pipe_ends[2];
        uint64_t durable = 0, told;
        fixture_image(&fixture, 64 * MIB_BYTES);
        require(pipe(pipe_ends) == 0);
        pid_t child = fork();
        if (child == 0) {
            fixture_open(&fixture);
            mote_producer *producer = open_producer(samples_create(fixture.db, "t"), 1000, MOTE_PRODUCER_REFUSE, round % 2 ? MOTE_DURABILITY_GROUP : MOTE_DURABILITY_PERIODIC);
            for (int64_t i = 0;;) {
                struct sample sample = sample_make(0, i);
                i += mote_producer_push(producer, &sample) == MOTE_OK;
                uint64_t now = producer_stats_of(producer).durable;
                if (i % 16 == 0 && write(pipe_ends[1], &now, sizeof now) != sizeof now)
                    _exit(1);
            }
        }
        close(pipe_ends[1]);
        while (durable < 200 + 997u * (unsigned)round && read(pipe_ends[0], &told, sizeof told) == sizeof told)
            durable = told;
        kill(child, SIGKILL);
        require(waitpid(child, NULL, 0) == child);
        while (read(pipe_ends[0], &told, sizeof told) == sizeof told)
            durable = told;
        close(pipe_ends[0]);
        fixture_open(&fixture);
        uint64_t kept = samples_prefix(samples_open(fixture.db, "t"), 0);
        cr_expect_geq(kept, durable, "round %d: %llu rows are there, %llu were durable", round, (unsigned long long)kept, (unsigned long long)durable);
        cr_expect_gt(kept, 0);
        fixture_close(&fixture);
        fixture_remove(&fixture);
    }
}
