/* aggregate_stress_test.c: aggregates, counts and latest rows beside writers, flushes, compactions and checkpoints. A plain program, so that it runs under the sanitizers. MOTE_TEST_SCALE (percent) shortens it.
 *
 * Every batch is atomic and keeps the sum of the column at 0, in all rows and in each series: new rows in pairs of opposite values, two rows replaced by what shifts an amount from one to the other, rows of value 0 deleted. So whatever
 * the moment of an aggregate, its sums over all buckets are 0, by statistics or by rows; counts are at least what had been appended before and not deleted since; the latest rows are not older than the last append that had returned. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"

enum { SERIES = 3, BATCH = 16, KEPT = 512, BUCKET_NS = 1000, READERS = 2 };

struct stress {
    struct fixture fixture;
    mote_table *table;
    _Atomic int64_t newest[SERIES];   /* time of the newest row whose append has returned; -1: none */
    _Atomic uint64_t appended;        /* rows of appends that have returned */
    _Atomic uint64_t deleted;         /* rows whose deletion has begun */
    _Atomic uint32_t stop;
    _Atomic uint64_t aggregates, jobs;
    uint64_t seed, writes_each;
};

struct actor {
    struct stress *stress;
    pthread_t thread;
    uint32_t number;
};

static void pause_us(long microseconds)
{
    struct timespec pause = {0, microseconds * 1000};
    nanosleep(&pause, NULL);
}

/* ---- Writers: one for each series ---- */

struct kept {
    int64_t time_ns, value;
};

static void append_batch(struct stress *stress, uint32_t series, const int64_t *times_ns, const int64_t *values, size_t count)
{
    int32_t keys[BATCH];
    double halves[BATCH];
    for (size_t i = 0; i < count; i++) {
        keys[i] = (int32_t)series;
        halves[i] = (double)values[i] / 2;
    }
    const struct mote_column columns[] = {{MOTE_TYPE_INT32, 1, keys, NULL, NULL}, {MOTE_TYPE_TIMESTAMP, 1, times_ns, NULL, NULL}, {MOTE_TYPE_INT64, 1, values, NULL, NULL}, {MOTE_TYPE_FLOAT64, 1, halves, NULL, NULL}};
    const struct mote_batch batch = {count, 4, columns, NULL};
    const struct mote_write_options level = {sizeof level, MOTE_DURABILITY_NONE, 0};
    must(mote_append_columns(stress->table, &batch, &level, NULL));
}

static void replace_two(struct stress *stress, uint32_t series, struct kept *kept, uint64_t *random)
{
    struct kept *a = &kept[fixture_random(random) % KEPT], *b = &kept[fixture_random(random) % KEPT];
    if (a->time_ns < 0 || b->time_ns < 0 || a->time_ns == b->time_ns)
        return;
    int64_t amount = (int64_t)(fixture_random(random) % 100);
    a->value += amount;
    b->value -= amount;
    const int64_t times_ns[2] = {a->time_ns, b->time_ns}, values[2] = {a->value, b->value};
    append_batch(stress, series, times_ns, values, 2);
}

static void append_and_delete_zero(struct stress *stress, uint32_t series, int64_t time_ns)
{
    const int64_t zero = 0;
    const struct mote_value key[] = {value_i32((int32_t)series), value_timestamp(time_ns)};
    append_batch(stress, series, &time_ns, &zero, 1);
    atomic_fetch_add(&stress->appended, 1);
    atomic_fetch_add(&stress->deleted, 1);
    must(mote_delete(stress->table, key, 2, NULL, NULL));
}

/* New rows have even times, ever later, or odd ones that are late. */
static void *write_rows(void *argument)
{
    struct actor *actor = argument;
    struct stress *stress = actor->stress;
    uint64_t random = stress->seed * 31 + actor->number;
    static struct kept all[SERIES][KEPT];
    struct kept *kept = all[actor->number];
    int64_t clock = 0, late = 1;
    for (uint32_t i = 0; i < KEPT; i++)
        kept[i].time_ns = -1;
    for (uint64_t write = 0; write < stress->writes_each; write++) {
        int64_t times_ns[BATCH], values[BATCH];
        bool is_late = late + 2 * BATCH < clock && fixture_random(&random) % 8 == 0;
        for (uint32_t i = 0; i < BATCH; i++) {
            times_ns[i] = is_late ? (late += 2) : (clock += 2);
            values[i] = i % 2 ? -values[i - 1] : (int64_t)(fixture_random(&random) % 100000);
            kept[fixture_random(&random) % KEPT] = (struct kept){times_ns[i], values[i]};
        }
        append_batch(stress, actor->number, times_ns, values, BATCH);
        atomic_fetch_add(&stress->appended, BATCH);
        if (!is_late)
            atomic_store(&stress->newest[actor->number], clock);
        if (write % 3 == 0)
            replace_two(stress, actor->number, kept, &random);
        if (write % 16 == 0)
            append_and_delete_zero(stress, actor->number, -2 - (int64_t)write);
    }
    return NULL;
}

/* ---- Readers ---- */

static void read_sums(struct stress *stress, uint64_t *random)
{
    const struct mote_aggregate_value values[] = {{MOTE_AGGREGATE_ROWS, MOTE_AGGREGATE_COUNT}, {2, MOTE_AGGREGATE_SUM}, {3, MOTE_AGGREGATE_SUM}, {1, MOTE_AGGREGATE_LAST}, {1, MOTE_AGGREGATE_MAX}};
    struct mote_aggregate_options options = MOTE_AGGREGATE_OPTIONS_INIT;
    mote_aggregation *aggregation;
    struct mote_chunk chunk;
    int64_t sum = 0, rows = 0, deleted;
    double halves = 0;
    options.values = values;
    options.value_count = 5;
    options.by_series = fixture_random(random) % 2;
    options.bucket_ns = fixture_random(random) % 3 ? BUCKET_NS * (int64_t)(1 + fixture_random(random) % 20) : 0;
    options.chunk_rows = fixture_random(random) % 2 ? 4 : 0;
    int64_t appended = (int64_t)atomic_load(&stress->appended);
    must(mote_aggregate(stress->table, &options, &aggregation));
    deleted = (int64_t)atomic_load(&stress->deleted);
    size_t at = (options.by_series ? 1u : 0u) + (options.bucket_ns ? 1u : 0u);
    for (;;) {
        must(mote_aggregation_next(aggregation, &chunk));
        if (chunk.row_count == 0)
            break;
        for (size_t row = 0; row < chunk.row_count; row++) {
            rows += chunk_value(&chunk, at, row).as.i64;
            sum += chunk_value(&chunk, at + 1, row).as.i64;
            halves += chunk_value(&chunk, at + 2, row).as.f64;
            require(chunk_value(&chunk, at + 3, row).as.i64 == chunk_value(&chunk, at + 4, row).as.i64);
        }
        if (fixture_random(random) % 4 == 0)
            pause_us(300);
    }
    mote_aggregation_close(aggregation);
    if (sum != 0 || halves != 0 || rows < appended - deleted)
        fprintf(stderr, "by series %u, bucket %lld: sum %lld, of halves %g, %lld rows of at least %lld\n", options.by_series, (long long)options.bucket_ns, (long long)sum, halves, (long long)rows, (long long)(appended - deleted));
    require(sum == 0 && halves == 0 && rows >= appended - deleted); /* the halves are exact in a double */
    atomic_fetch_add(&stress->aggregates, 1);
}

static void read_count(struct stress *stress)
{
    uint64_t count, appended = atomic_load(&stress->appended);
    must(mote_count(stress->table, NULL, &count));
    require(count + atomic_load(&stress->deleted) >= appended);
}

static void read_latest(struct stress *stress)
{
    int64_t newest[SERIES];
    mote_cursor *cursor;
    struct mote_chunk chunk;
    size_t series = 0;
    for (uint32_t i = 0; i < SERIES; i++)
        newest[i] = atomic_load(&stress->newest[i]);
    must(mote_latest(stress->table, NULL, &cursor));
    for (;;) {
        must(mote_cursor_next(cursor, &chunk));
        if (chunk.row_count == 0)
            break;
        for (size_t row = 0; row < chunk.row_count; row++, series++) {
            int32_t number = chunk_value(&chunk, 0, row).as.i32;
            require(number >= 0 && number < SERIES && chunk_value(&chunk, 1, row).as.i64 >= newest[number]);
        }
    }
    mote_cursor_close(cursor);
    for (uint32_t i = 0; i < SERIES; i++)
        require(newest[i] < 0 || series >= 1);
    require(series <= SERIES);
}

static void *read_rows(void *argument)
{
    struct actor *actor = argument;
    uint64_t random = actor->stress->seed * 77 + actor->number;
    while (!atomic_load(&actor->stress->stop)) {
        read_sums(actor->stress, &random);
        read_count(actor->stress);
        read_latest(actor->stress);
    }
    return NULL;
}

static void *maintain(void *argument)
{
    struct actor *actor = argument;
    struct stress *stress = actor->stress;
    uint64_t random = stress->seed * 13;
    while (!atomic_load(&stress->stop)) {
        uint64_t kind = fixture_random(&random) % 10;
        must(kind < 7 ? mote_flush(stress->fixture.db) : kind < 9 ? mote_compact(stress->fixture.db, NULL) : mote_checkpoint(stress->fixture.db));
        atomic_fetch_add(&stress->jobs, 1);
        pause_us(2000);
    }
    return NULL;
}

/* ---- Runs ---- */

static mote_table *make_table(mote_db *db)
{
    const struct mote_column_definition columns[] = {{.name = "series", .type = MOTE_TYPE_INT32}, {.name = "t", .type = MOTE_TYPE_TIMESTAMP}, {.name = "v", .type = MOTE_TYPE_INT64}, {.name = "half", .type = MOTE_TYPE_FLOAT64}};
    const uint32_t key[] = {0, 1};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "arm";
    schema.columns = columns;
    schema.column_count = 4;
    schema.key_columns = key;
    schema.key_column_count = 2;
    schema.time_column = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void start(struct stress *stress, struct actor *actor, uint32_t number, void *(*run)(void *))
{
    *actor = (struct actor){.stress = stress, .number = number};
    require(pthread_create(&actor->thread, NULL, run, actor) == 0);
}

static void run(uint64_t seed, uint32_t block_rows, uint64_t writes_each)
{
    static struct stress stress;
    struct actor writers[SERIES], readers[READERS], maintainer;
    memset(&stress, 0, sizeof stress);
    stress.seed = seed;
    stress.writes_each = writes_each;
    fixture_image(&stress.fixture, 256 * MIB_BYTES);
    stress.fixture.options.block_rows = block_rows;
    stress.fixture.options.memory_bytes = 128 * MIB_BYTES;
    fixture_open(&stress.fixture);
    stress.table = make_table(stress.fixture.db);
    for (uint32_t i = 0; i < SERIES; i++)
        atomic_store(&stress.newest[i], -1);
    for (uint32_t i = 0; i < SERIES; i++)
        start(&stress, &writers[i], i, write_rows);
    for (uint32_t i = 0; i < READERS; i++)
        start(&stress, &readers[i], i, read_rows);
    start(&stress, &maintainer, 0, maintain);
    for (uint32_t i = 0; i < SERIES; i++)
        pthread_join(writers[i].thread, NULL);
    pause_us(100000);
    atomic_store(&stress.stop, 1);
    for (uint32_t i = 0; i < READERS; i++)
        pthread_join(readers[i].thread, NULL);
    pthread_join(maintainer.thread, NULL);
    uint64_t count;
    must(mote_count(stress.table, NULL, &count));
    require(count == stress.appended - stress.deleted);
    require(count == fixture_count_rows(stress.table));
    require(stress.aggregates > 0 && stress.jobs > 0);
    printf("seed %llu: %llu rows, %llu aggregates, %llu flushes and the like\n", (unsigned long long)seed, (unsigned long long)count, (unsigned long long)stress.aggregates, (unsigned long long)stress.jobs);
    fixture_close(&stress.fixture);
    fixture_remove(&stress.fixture);
}

int main(void)
{
    uint64_t writes = fixture_scale(3000);
    run(1, 32, writes);
    run(2, 256, writes);
    printf("2 passed, 0 failed\n");
    return 0;
}
