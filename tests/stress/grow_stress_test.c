/* grow_stress_test.c: a volume grows again and again, by little and by much, beside appends, scans, point reads, searches for statistics, flushes, compactions, large values and changes of retention, from two threads at once. No call fails, what a scan shows is whole,
 * and after a kill every row is there. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_model.h"

enum { APPENDERS = 2, GROWERS = 2, FRAME_BYTES = 9000 };
static const uint64_t OLD_BYTES = 24 * MIB_BYTES, NEW_BYTES = 160 * MIB_BYTES;

static struct {
    struct fixture fixture;
    mote_table *table, *frames;
    uint32_t keys_each, frame_count;
    _Atomic uint64_t size_bytes, growths, reads;
    _Atomic bool stop;
} world;

static void *append_rows(void *argument)
{
    uint32_t first = (uint32_t)(uintptr_t)argument * world.keys_each;
    for (uint32_t i = 0; i < world.keys_each; i += 10)
        must(model_append_batch(world.table, first + i, 10, 1, NULL, NULL));
    return NULL;
}

static void *append_frames(void *argument)
{
    static uint8_t bytes[FRAME_BYTES];
    (void)argument;
    for (uint32_t i = 0; i < world.frame_count; i++) {
        memset(bytes, (int)(i % 251), sizeof bytes);
        const struct mote_value values[] = {value_timestamp(i), value_bytes(MOTE_TYPE_BLOB, bytes, sizeof bytes)};
        must(mote_append(world.frames, values, 2, NULL, NULL));
    }
    return NULL;
}

static void *read_rows(void *argument)
{
    uint64_t random = 5, count;
    uint32_t keys = APPENDERS * world.keys_each;
    (void)argument;
    while (!atomic_load(&world.stop)) {
        struct mote_stats stats = fixture_stats(&world.fixture);
        require(stats.extents_free <= stats.extents_total && stats.device_bytes >= OLD_BYTES);
        require(model_read(world.table, (uint32_t)(fixture_random(&random) % keys)) <= 1);
        must(mote_count(world.table, NULL, &count));
        require(fixture_count_rows(world.table) >= count);
        atomic_fetch_add(&world.reads, 1);
    }
    return NULL;
}

static void *work_behind(void *argument)
{
    struct mote_trim_options dry = MOTE_TRIM_OPTIONS_INIT;
    (void)argument;
    dry.dry_run = 1;
    while (!atomic_load(&world.stop)) {
        struct mote_retention retention = MOTE_RETENTION_INIT;
        struct mote_trim_result trimmed = {.size_bytes = sizeof trimmed};
        must(mote_checkpoint(world.fixture.db));
        must(mote_compact(world.fixture.db, NULL));
        must(mote_table_set_retention(world.frames, &retention));
        (void)mote_trim(world.fixture.db, &dry, &trimmed);
    }
    return NULL;
}

static void *grow(void *argument)
{
    uint64_t random = (uint64_t)(uintptr_t)argument + 3;
    while (!atomic_load(&world.stop)) {
        uint64_t step = fixture_random(&random) % 3 ? PAGE_BYTES * (1 + fixture_random(&random) % 40) : MIB_BYTES + fixture_random(&random) % (2 * MIB_BYTES);
        uint64_t size_bytes = (atomic_fetch_add(&world.size_bytes, step) + step) / PAGE_BYTES * PAGE_BYTES;
        if (size_bytes > NEW_BYTES)
            break;
        int result = mote_grow(world.fixture.db, size_bytes, NULL, NULL);
        require(result == MOTE_OK || result == MOTE_EBUSY); /* the other came first, with more */
        atomic_fetch_add(&world.growths, result == MOTE_OK);
    }
    return NULL;
}

static void make_tables(void)
{
    const struct mote_column_definition columns[] = {{.name = "time", .type = MOTE_TYPE_TIMESTAMP, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "frame", .type = MOTE_TYPE_BLOB, .flags = MOTE_COLUMN_LARGE}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    world.table = model_table_create(world.fixture.db, "arm");
    schema.name = "frames";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = 0;
    must(mote_table_create(world.fixture.db, &schema, &world.frames));
}

int main(void)
{
    pthread_t writers[APPENDERS + 1], others[2 + GROWERS];
    world.keys_each = (uint32_t)(fixture_scale(30000) / 10 * 10 + 10);
    world.frame_count = (uint32_t)fixture_scale(1500);
    fixture_image(&world.fixture, OLD_BYTES);
    require(truncate(world.fixture.path, (off_t)NEW_BYTES) == 0);
    world.fixture.options.workers = 2;
    world.fixture.options.memory_bytes = 96 * MIB_BYTES;
    world.fixture.options.memtable_bytes = MIB_BYTES;
    fixture_open(&world.fixture);
    make_tables();
    atomic_store(&world.size_bytes, OLD_BYTES);
    require(pthread_create(&others[0], NULL, read_rows, NULL) == 0 && pthread_create(&others[1], NULL, work_behind, NULL) == 0);
    for (uintptr_t i = 0; i < GROWERS; i++)
        require(pthread_create(&others[2 + i], NULL, grow, (void *)i) == 0);
    for (uintptr_t i = 0; i < APPENDERS; i++)
        require(pthread_create(&writers[i], NULL, append_rows, (void *)i) == 0);
    require(pthread_create(&writers[APPENDERS], NULL, append_frames, NULL) == 0);
    for (uint32_t i = 0; i < APPENDERS + 1; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&world.stop, true);
    for (uint32_t i = 0; i < 2 + GROWERS; i++)
        pthread_join(others[i], NULL);
    must(mote_wait(world.fixture.db, mote_visible_seq(world.fixture.db), MOTE_FOREVER));
    uint64_t extents = fixture_stats(&world.fixture).extents_total;
    fixture_crash(&world.fixture);
    struct model model = model_make(APPENDERS * world.keys_each);
    for (uint32_t i = 0; i < model.key_count; i++)
        model.version[i] = 1;
    model_check(model_table_open(world.fixture.db, "arm"), &model);
    must(mote_table_open(world.fixture.db, "frames", &world.frames));
    require(fixture_count_rows(world.frames) == world.frame_count);
    require(fixture_stats(&world.fixture).extents_total == extents && atomic_load(&world.growths) > 0);
    fixture_close(&world.fixture);
    must(mote_verify(world.fixture.path, NULL, NULL));
    fixture_remove(&world.fixture);
    model_free(&model);
    printf("grow_stress_test: %llu growths, %llu rounds of reads\n1 passed, 0 failed\n", (unsigned long long)atomic_load(&world.growths), (unsigned long long)atomic_load(&world.reads));
    return 0;
}
