/* engine_stress_test.c: writers, readers, flushes, checkpoints, compactions, DDL and waits at once, over an image file (each backend) and a simulated disk, with a model of what must be there. A plain program, so that it runs
 * under ThreadSanitizer and AddressSanitizer as well. MOTE_TEST_SCALE (percent) shortens it.
 *
 * While it runs: a read never sees a row older than one whose append had returned before the read began, nor one that was never written; scans are in order. At the end: the tables hold the model, before and after a kill (image) or a
 * power cut (sim), for everything that was acknowledged; the timestamp index equals brute force; the volume verifies. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_model.h"

enum { WRITERS = 3, KEYS_EACH = 400, KEYS = WRITERS * KEYS_EACH, TABLES = 2 };

struct stress {
    struct fixture fixture;
    mote_table *tables[TABLES];
    _Atomic uint32_t floor[TABLES][KEYS]; /* version whose append has returned; keys divisible by 4 may be deleted and have none */
    struct model models[TABLES];
    _Atomic uint32_t stop;
    _Atomic uint64_t reads, scans, jobs, ddl;
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

/* ---- Writers ---- */

static const struct mote_write_options LEVELS[] = {{sizeof LEVELS[0], MOTE_DURABILITY_NONE, 0},
                                                   {sizeof LEVELS[0], MOTE_DURABILITY_GROUP, 0},
                                                   {sizeof LEVELS[0], MOTE_DURABILITY_PERIODIC, 3},
                                                   {sizeof LEVELS[0], MOTE_DURABILITY_SYNC, 0}};

static void set_row(struct stress *stress, uint32_t t, uint32_t key, uint32_t version)
{
    stress->models[t].version[key] = version;
    if (key % 4)
        atomic_store(&stress->floor[t][key], version);
}

/* Each writer has keys of its own, so that the model is exact without a lock. */
static void *write_rows(void *argument)
{
    struct actor *actor = argument;
    struct stress *stress = actor->stress;
    uint64_t random = stress->seed * 31 + actor->number, ticket = 0;
    uint32_t base = actor->number * KEYS_EACH;
    for (uint32_t version = 1; version <= stress->writes_each; version++) {
        uint32_t t = (uint32_t)(fixture_random(&random) % TABLES), key = base + (uint32_t)(fixture_random(&random) % KEYS_EACH), kind = (uint32_t)(fixture_random(&random) % 100);
        const struct mote_write_options *level = &LEVELS[kind % 50 == 0 ? 3 : kind % 3];
        if (kind < 8) {
            uint32_t count = base + KEYS_EACH - key < 60 ? base + KEYS_EACH - key : 60;
            must(model_append_batch(stress->tables[t], key, count, version, level, &ticket));
            for (uint32_t i = 0; i < count; i++)
                set_row(stress, t, key + i, version);
        } else if (kind < 20 && key % 4 == 0) {
            struct mote_value value = value_i64(key);
            must(mote_delete(stress->tables[t], &value, 1, level, &ticket));
            set_row(stress, t, key, 0);
        } else {
            must(model_append(stress->tables[t], key, version, level, &ticket));
            set_row(stress, t, key, version);
        }
        if (kind == 99)
            must(mote_wait(stress->fixture.db, ticket, MOTE_FOREVER));
        require(model_read(stress->tables[t], key) == stress->models[t].version[key]); /* one's own writes are seen at once */
    }
    must(mote_wait(stress->fixture.db, ticket, MOTE_FOREVER));
    return NULL;
}

/* ---- Readers ---- */

static void read_one(struct stress *stress, uint64_t *random)
{
    uint32_t t = (uint32_t)(fixture_random(random) % TABLES), key = (uint32_t)(fixture_random(random) % KEYS);
    uint32_t least = atomic_load(&stress->floor[t][key]), found = model_read(stress->tables[t], key);
    if (found < least)
        fprintf(stderr, "get: table %u, key %u: version %u, %u had been written\n", t, key, found, least);
    require(found >= least);
    atomic_fetch_add(&stress->reads, 1);
}

static void scan_one(struct stress *stress, uint64_t *random, uint32_t *least, uint32_t *found)
{
    uint32_t t = (uint32_t)(fixture_random(random) % TABLES);
    for (uint32_t key = 0; key < KEYS; key++)
        least[key] = atomic_load(&stress->floor[t][key]);
    bool descending = fixture_random(random) % 2;
    model_scan(stress->tables[t], KEYS, descending, found);
    for (uint32_t key = 0; key < KEYS; key++) {
        if (found[key] < least[key])
            fprintf(stderr, "scan %s: table %u, key %u: version %u, %u had been written; a get finds %u\n", descending ? "down" : "up", t, key, found[key], least[key], model_read(stress->tables[t], key));
        require(found[key] >= least[key]);
    }
    uint64_t all = model_count_time(stress->tables[t], INT64_MIN, INT64_MAX);
    require(all <= KEYS);
    atomic_fetch_add(&stress->scans, 1);
}

static void *read_rows(void *argument)
{
    struct actor *actor = argument;
    struct stress *stress = actor->stress;
    uint64_t random = stress->seed * 77 + actor->number;
    uint32_t *least = calloc(KEYS, sizeof *least), *found = calloc(KEYS, sizeof *found);
    require(least && found);
    while (!atomic_load(&stress->stop)) {
        for (int i = 0; i < 30; i++)
            read_one(stress, &random);
        scan_one(stress, &random, least, found);
    }
    free(least);
    free(found);
    return NULL;
}

/* ---- Maintenance ---- */

static void show_space(struct stress *stress)
{
    struct mote_stats stats = fixture_stats(&stress->fixture);
    struct mote_table_info info = {.size_bytes = sizeof info};
    fprintf(stderr, "  %llu of %llu extents are free; log %llu bytes, %llu segments", (unsigned long long)stats.extents_free, (unsigned long long)stats.extents_total, (unsigned long long)stats.log_bytes_in_use,
            (unsigned long long)stats.segment_count);
    for (uint32_t t = 0; t < TABLES; t++) {
        must(mote_table_describe(stress->tables[t], &info));
        fprintf(stderr, "; %s: %u segments, %llu bytes", info.name, info.segment_count, (unsigned long long)info.segment_bytes);
    }
    fputc('\n', stderr);
}

static void *maintain(void *argument)
{
    struct actor *actor = argument;
    struct stress *stress = actor->stress;
    uint64_t random = stress->seed * 13 + actor->number;
    mote_db *db = stress->fixture.db;
    while (!atomic_load(&stress->stop)) {
        uint64_t count;
        switch (fixture_random(&random) % 8) {
        case 0:
        case 1:
        case 2:
            must(mote_flush(db));
            break;
        case 3:
            must(mote_checkpoint(db));
            break;
        case 4:
            must(mote_compact(db, fixture_random(&random) % 2 ? "left" : NULL));
            break;
        case 5:
            must(mote_flush_all_indexes(db));
            break;
        case 6: {
            int result = mote_rebuild_timestamp_index(db);
            if (result)
                show_space(stress);
            must(result);
            break;
        }
        default:
            must(mote_pending_updates(db, NULL, &count));
            (void)fixture_stats(&stress->fixture);
        }
        atomic_fetch_add(&stress->jobs, 1);
        pause_us((long)(fixture_random(&random) % 3000));
    }
    return NULL;
}

/* Tables that come, grow a column, take rows and go. */
static void *change_tables(void *argument)
{
    struct actor *actor = argument;
    struct stress *stress = actor->stress;
    mote_db *db = stress->fixture.db;
    for (uint32_t round = 0; !atomic_load(&stress->stop) && round < 40; round++) {
        struct mote_column_definition column = {.name = "later", .type = MOTE_TYPE_INT32};
        mote_table *table = model_table_create(db, "passing"), *again;
        for (uint32_t key = 0; key < 50; key++)
            must(model_append(table, key, 1, &LEVELS[0], NULL));
        must(mote_table_add_column(table, &column));
        for (uint32_t key = 25; key < 75; key++)
            must(model_append(table, key, 2, &LEVELS[0], NULL));
        for (uint32_t key = 0; key < 75; key++)
            require(model_read(table, key) == (key < 25 ? 1u : 2u));
        must(mote_table_drop(db, "passing"));
        must_fail(mote_table_open(db, "passing", &again), MOTE_ENOTABLE);
        atomic_fetch_add(&stress->ddl, 1);
        pause_us(2000);
    }
    return NULL;
}

/* ---- The run ---- */

static void start(struct stress *stress, struct actor *actor, uint32_t number, void *(*run)(void *argument))
{
    *actor = (struct actor){.stress = stress, .number = number};
    require(pthread_create(&actor->thread, NULL, run, actor) == 0);
}

static void check_models(struct stress *stress)
{
    model_check(model_table_open(stress->fixture.db, "left"), &stress->models[0]);
    model_check(model_table_open(stress->fixture.db, "right"), &stress->models[1]);
    must(engine_check_timestamp_index(stress->fixture.db));
}

static void finish(struct stress *stress)
{
    check_models(stress);
    if (stress->fixture.sim)
        fixture_power_cut(&stress->fixture, SIM_CRASH_TORN, stress->seed);
    else
        fixture_kill(&stress->fixture);
    fixture_open(&stress->fixture);
    check_models(stress);
    fixture_reopen(&stress->fixture);
    check_models(stress);
    struct mote_stats stats = fixture_stats(&stress->fixture);
    fprintf(stderr, "  %llu gets, %llu scans, %llu jobs, %llu DDL rounds; %llu opens\n", (unsigned long long)stress->reads, (unsigned long long)stress->scans, (unsigned long long)stress->jobs,
            (unsigned long long)stress->ddl, (unsigned long long)stats.opens);
    fixture_close(&stress->fixture);
    if (!stress->fixture.sim)
        must(mote_verify(stress->fixture.path, NULL, NULL));
}

static void run(struct stress *stress)
{
    struct actor writers[WRITERS], others[5];
    fixture_open(&stress->fixture);
    stress->tables[0] = model_table_create(stress->fixture.db, "left");
    stress->tables[1] = model_table_create(stress->fixture.db, "right");
    for (uint32_t i = 0; i < TABLES; i++)
        stress->models[i] = model_make(KEYS);
    start(stress, &others[0], 0, read_rows);
    start(stress, &others[1], 1, read_rows);
    start(stress, &others[2], 0, maintain);
    start(stress, &others[3], 1, maintain);
    start(stress, &others[4], 0, change_tables);
    for (uint32_t i = 0; i < WRITERS; i++)
        start(stress, &writers[i], i, write_rows);
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    atomic_store(&stress->stop, 1);
    for (uint32_t i = 0; i < 5; i++)
        pthread_join(others[i].thread, NULL);
    finish(stress);
    for (uint32_t i = 0; i < TABLES; i++)
        model_free(&stress->models[i]);
    fixture_remove(&stress->fixture);
}

/* backend 0: the simulated disk. */
static void run_on(uint32_t backend, uint32_t workers, uint64_t seed)
{
    static const char *const names[] = {"sim", "io_uring", "libaio", "threads"};
    struct stress *stress = calloc(1, sizeof *stress);
    require(stress);
    if (backend)
        fixture_image(&stress->fixture, 512 * MIB_BYTES);
    else
        fixture_sim(&stress->fixture, 512 * MIB_BYTES, seed, false);
    stress->seed = seed;
    stress->writes_each = fixture_scale(4000);
    stress->fixture.options.backend = backend;
    stress->fixture.options.workers = workers;
    stress->fixture.options.memory_bytes = 64 * MIB_BYTES;
    stress->fixture.options.memtable_bytes = 256 * 1024;
    stress->fixture.options.block_rows = 64;
    stress->fixture.options.wal_frame_bytes_max = 64 * 1024;
    fprintf(stderr, "%s, %u workers, seed %llu\n", names[backend], workers, (unsigned long long)seed);
    run(stress);
    free(stress);
}

int main(void)
{
    unsigned passed = 0, failed = 0; /* a failure ends the program with its place and sentence */
    run_on(0, 1, 1);
    passed++;
    run_on(0, 3, 2);
    passed++;
    for (uint32_t backend = MOTE_BACKEND_IO_URING; backend <= MOTE_BACKEND_THREADS; backend++) {
        struct fixture probe;
        fixture_image(&probe, 16 * MIB_BYTES);
        probe.options.backend = backend;
        int result = mote_open(probe.path, &probe.options, &probe.db, NULL);
        fixture_remove(&probe);
        if (result == MOTE_ENOTSUP) {
            fprintf(stderr, "SKIPPED backend %u: this machine denies it\n", backend);
            continue;
        }
        must(result);
        run_on(backend, backend == MOTE_BACKEND_LIBAIO ? 2 : 1, 10 + backend);
        passed++;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
