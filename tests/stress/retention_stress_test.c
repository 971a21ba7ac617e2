/* retention_stress_test.c: appenders, scans, aggregates, point reads, pins and changes of the retention at once on a small device, with two workers: no append fails, a read is whole or told that its rows were recycled, values fit their keys, and what
 * was counted is what went. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/sample_table.h"

#define SECOND ((int64_t)NS_PER_S)
#define BEGIN (1700000000 * SECOND)
#define APPENDERS 2

struct world {
    struct fixture fixture;
    mote_table *table;
    _Atomic int64_t clock_ns;
    _Atomic uint64_t appended, recycled_reads, reads;
    _Atomic bool stop;
    uint64_t rows_each;
};

struct thread {
    struct world *world;
    uint32_t number;
};

static int64_t read_clock(void *context) { return atomic_load(&((struct world *)context)->clock_ns); }

static void *append_rows(void *argument)
{
    const struct thread *thread = argument;
    struct world *world = thread->world;
    uint64_t random = thread->number + 1;
    char note[1500];
    for (uint64_t i = 0; i < world->rows_each; i++) {
        int64_t time_ns = BEGIN + (int64_t)i * SECOND / 10 - (fixture_random(&random) % 10 == 0 ? (int64_t)(fixture_random(&random) % 600) * SECOND + thread->number + 1 : 0);
        for (size_t k = 0; k + 1 < sizeof note; k++)
            note[k] = (char)(33 + fixture_random(&random) % 90);
        note[sizeof note - 1] = 0;
        const struct mote_value values[] = {value_i32((int32_t)thread->number), value_timestamp(time_ns), value_i64(time_ns / 7 + thread->number), value_text(note)};
        must(mote_append(world->table, values, 4, NULL, NULL));
        atomic_fetch_add(&world->appended, 1);
        if (BEGIN + (int64_t)i * SECOND / 10 > atomic_load(&world->clock_ns))
            atomic_store(&world->clock_ns, BEGIN + (int64_t)i * SECOND / 10);
    }
    return NULL;
}

static bool told(struct world *world, int result)
{
    if (result != MOTE_ERECYCLED)
        must(result);
    atomic_fetch_add(&world->recycled_reads, result == MOTE_ERECYCLED);
    return result == MOTE_ERECYCLED;
}

static void *scan_rows(void *argument)
{
    struct world *world = ((const struct thread *)argument)->world;
    while (!atomic_load(&world->stop)) {
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        mote_cursor *cursor;
        struct mote_chunk chunk = {.row_count = 1};
        options.chunk_rows = 64;
        must(mote_scan(world->table, &options, &cursor));
        while (chunk.row_count > 0 && !atomic_load(&world->stop)) {
            if (told(world, mote_cursor_next(cursor, &chunk)))
                break;
            for (size_t i = 0; i < chunk.row_count; i++)
                require(chunk_value(&chunk, 2, i).as.i64 == chunk_value(&chunk, 1, i).as.i64 / 7 + chunk_value(&chunk, 0, i).as.i32);
        }
        mote_cursor_close(cursor);
        atomic_fetch_add(&world->reads, 1);
    }
    return NULL;
}

static void *ask_rows(void *argument)
{
    struct world *world = ((const struct thread *)argument)->world;
    uint64_t random = 99, count;
    while (!atomic_load(&world->stop)) {
        const struct mote_value key[] = {value_i32((int32_t)(fixture_random(&random) % APPENDERS)), value_timestamp(atomic_load(&world->clock_ns) / SECOND * SECOND - (int64_t)(fixture_random(&random) % 100) * SECOND)};
        mote_row *row = NULL;
        struct mote_value value;
        int result = mote_get(world->table, key, 2, &row);
        require(result == MOTE_OK || result == MOTE_ENOTFOUND);
        if (!result) {
            must(mote_row_value(row, 2, &value));
            require(value.as.i64 == key[1].as.i64 / 7 + key[0].as.i32);
        }
        mote_row_free(row);
        told(world, mote_count(world->table, NULL, &count));
        atomic_fetch_add(&world->reads, 1);
    }
    return NULL;
}

static void *change_settings(void *argument)
{
    struct world *world = ((const struct thread *)argument)->world;
    uint64_t random = 7;
    for (uint32_t round = 0; !atomic_load(&world->stop); round++) {
        struct mote_retention retention = MOTE_RETENTION_INIT;
        int64_t from_ns = atomic_load(&world->clock_ns) - (int64_t)(fixture_random(&random) % 200) * SECOND;
        retention.recycle = 1;
        retention.age_ns = round % 3 == 0 ? 0 : (300 + (int64_t)(fixture_random(&random) % 900)) * SECOND;
        must(mote_table_set_retention(world->table, &retention));
        int result = mote_pin(world->table, "incident", from_ns, from_ns + 20 * SECOND);
        require(result == MOTE_OK || result == MOTE_EBUDGET || result == MOTE_EINVAL);
        must(mote_retain(world->fixture.db));
        if (!result)
            must(mote_unpin(world->table, "incident"));
        nanosleep(&(struct timespec){.tv_nsec = 30 * NS_PER_MS}, NULL); /* each round flushes three times: compactions must come along */
    }
    return NULL;
}

static void make_table(struct world *world)
{
    struct mote_retention retention = MOTE_RETENTION_INIT;
    world->table = sample_table_series(world->fixture.db, "arm", 0);
    retention.recycle = 1;
    must(mote_table_set_retention(world->table, &retention));
}

int main(void)
{
    static struct world world;
    pthread_t appenders[APPENDERS], others[3];
    struct thread threads[APPENDERS];
    void *(*const roles[])(void *argument) = {scan_rows, ask_rows, change_settings};
    fixture_image(&world.fixture, 48 * MIB_BYTES);
    world.fixture.realtime_ns = read_clock;
    world.fixture.realtime_context = &world;
    world.fixture.options.workers = 2;
    world.fixture.options.memory_bytes = 96 * MIB_BYTES;
    world.fixture.options.memtable_bytes = MIB_BYTES;
    world.fixture.options.cache_bytes = 24 * MIB_BYTES;
    world.fixture.options.block_rows = 64; /* of 1.5 KB: all segments that lie above each other are open in a scan */
    world.fixture.options.compaction_spread_max = 16;
    atomic_store(&world.clock_ns, BEGIN);
    world.rows_each = fixture_scale(60000);
    fixture_open(&world.fixture);
    make_table(&world);
    for (uint32_t i = 0; i < APPENDERS; i++)
        threads[i] = (struct thread){&world, i};
    for (uint32_t i = 0; i < APPENDERS; i++)
        require(pthread_create(&appenders[i], NULL, append_rows, &threads[i]) == 0);
    for (uint32_t i = 0; i < 3; i++)
        require(pthread_create(&others[i], NULL, roles[i], &threads[0]) == 0);
    for (uint32_t i = 0; i < APPENDERS; i++)
        pthread_join(appenders[i], NULL);
    atomic_store(&world.stop, true);
    for (uint32_t i = 0; i < 3; i++)
        pthread_join(others[i], NULL);
    printf("%llu rows, %llu reads, %llu told of recycled rows\n", (unsigned long long)atomic_load(&world.appended), (unsigned long long)atomic_load(&world.reads), (unsigned long long)atomic_load(&world.recycled_reads));
    require(atomic_load(&world.appended) == APPENDERS * world.rows_each);
    struct mote_stats stats = fixture_stats(&world.fixture);
    require(stats.poisoned == 0);
    fixture_close(&world.fixture);
    fixture_open(&world.fixture);
    must(mote_table_open(world.fixture.db, "arm", &world.table));
    require(fixture_count_rows(world.table) > 0);
    fixture_remove(&world.fixture);
    printf("1 passed, 0 failed\n");
    return 0;
}
