/* engine_full_test.c: devices of many small sizes are filled until MOTE_ENOSPC, with several sizes of extents, frames and memtables, with and without threads. What was acknowledged is there, then and after opening anew, cleanly,
 * killed or cut off, as often as one likes and at every point of an open; a dropped table makes room, and appends go on without opening anew. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "engine/engine.h"
#include "engine/lsm/manifest.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/gate.h"

TestSuite(full, .timeout = 600);

enum { ROW_BYTES = 1000, BATCH_MAX = 64, ROWS_MAX = 1 << 17, WAIT_TRIES = 1000, CRASHES = 6 };

enum threads { WORKERS, NO_THREADS, INLINE };

struct world {
    struct fixture fixture;
    mote_table *table, *keeper;
    uint64_t size_kib, extent_kib;
    uint32_t frame_kib, memtable_kib;
    enum threads threads;
    uint32_t batch_rows;
    int64_t from, to; /* the rows that are there: all keys in [from, to) */
};

static void say(const struct world *world, const char *what)
{
    fprintf(stderr, "%llu KiB, extents %llu KiB, frames %u KiB, memtables %u KiB, threads %d: %s\n", (unsigned long long)world->size_kib, (unsigned long long)world->extent_kib, world->frame_kib, world->memtable_kib, world->threads, what);
}

/* ---- Rows ---- */

static mote_table *create_table(mote_db *db, const char *name)
{
    const struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_INT64}, {.name = "b", .type = MOTE_TYPE_BLOB}, {.name = "n", .type = MOTE_TYPE_INT64}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void fill_row(int64_t key, uint8_t blob[ROW_BYTES])
{
    uint64_t random = (uint64_t)key * 7919 + 1;
    for (size_t i = 0; i < ROW_BYTES; i += 8) {
        uint64_t word = fixture_random(&random);
        memcpy(blob + i, &word, 8);
    }
}

static int append_rows(mote_table *table, int64_t first, uint32_t count)
{
    static uint8_t blobs[BATCH_MAX * ROW_BYTES];
    int64_t keys[BATCH_MAX];
    uint32_t offsets[BATCH_MAX + 1] = {0};
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = first + i;
        fill_row(keys[i], blobs + i * ROW_BYTES);
        offsets[i + 1] = (i + 1) * ROW_BYTES;
    }
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = keys}, {.type = MOTE_TYPE_BLOB, .values = blobs, .offsets = offsets}, {.type = MOTE_TYPE_INT64, .values = keys}};
    const struct mote_batch batch = {count, 3, columns, NULL};
    return mote_append_columns(table, &batch, NULL, NULL);
}

/* The table holds exactly the keys [from, to), with their content. */
static void check_rows(mote_table *table, int64_t from, int64_t to)
{
    struct mote_chunk chunk;
    mote_cursor *cursor;
    int64_t at = from;
    uint8_t blob[ROW_BYTES];
    must(mote_scan(table, NULL, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++, at++) {
            struct mote_value key = chunk_value(&chunk, 0, i), found = chunk_value(&chunk, 1, i);
            require(key.as.i64 == at);
            fill_row(at, blob);
            require(!found.is_null && found.as.bytes.size_bytes == ROW_BYTES && memcmp(found.as.bytes.data, blob, ROW_BYTES) == 0);
        }
    } while (chunk.row_count > 0);
    mote_cursor_close(cursor);
    if (at != to)
        fprintf(stderr, "rows %lld to %lld, there should be up to %lld\n", (long long)from, (long long)at, (long long)to);
    require(at == to);
}

static void check_all(struct world *world)
{
    check_rows(world->keeper, 0, 4);
    check_rows(world->table, world->from, world->to);
}

/* Until there is no space. */
static void fill(struct world *world)
{
    int result = MOTE_OK;
    while (world->to < ROWS_MAX && (result = append_rows(world->table, world->to, world->batch_rows)) == MOTE_OK)
        world->to += world->batch_rows;
    fixture_must(result, MOTE_ENOSPC, "filling the device", __FILE__, __LINE__);
}

/* What has to work, or to say that there is no space and leave everything as it was. */
static void try_it(int result, const char *what)
{
    if (result != MOTE_OK && result != MOTE_ENOSPC)
        fixture_must(result, MOTE_ENOSPC, what, __FILE__, __LINE__);
}

/* Room that was made may come a moment later: a job that began before holds what it reads. */
static void append_soon(struct world *world)
{
    int result = append_rows(world->table, world->to, world->batch_rows);
    for (int tries = 0; result == MOTE_ENOSPC && tries < WAIT_TRIES; tries++) {
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000}, NULL);
        if (world->threads == NO_THREADS)
            try_it(mote_checkpoint(world->fixture.db), "a checkpoint"); /* nobody else makes one */
        result = append_rows(world->table, world->to, world->batch_rows);
    }
    if (result)
        say(world, "appends do not go on");
    must(result);
    world->to += world->batch_rows;
}

/* ---- A world ---- */

static void open_tables(struct world *world)
{
    must(mote_table_open(world->fixture.db, "filler", &world->table));
    must(mote_table_open(world->fixture.db, "keeper", &world->keeper));
}

/* false: too small, and it says so. */
static bool make_world(struct world *world)
{
    struct mote_format_options format = MOTE_FORMAT_OPTIONS_INIT;
    struct mote_error error;
    fixture_sim(&world->fixture, world->size_kib * 1024, 91, false);
    format.extent_bytes = world->extent_kib * 1024;
    memcpy(format.uuid, "mote test volume", sizeof format.uuid);
    int result = engine_format(world->fixture.sim, &format, NULL);
    struct mote_options *options = &world->fixture.options;
    options->memtable_bytes = (uint64_t)world->memtable_kib * 1024;
    options->wal_frame_bytes_max = world->frame_kib * 1024;
    options->inline_io = world->threads == INLINE;
    options->workers = world->threads == NO_THREADS ? MOTE_NO_THREADS : 0;
    if (!result) {
        struct fixture *fixture = &world->fixture;
        fixture->gate = gate_create(fixture->sim);
        result = engine_open_at(fixture->gate, options, NULL, NULL, &fixture->db, &error);
    }
    if (!result)
        return true;
    mote_last_error(&error);
    say(world, error.message);
    require(result == MOTE_EINVAL || result == MOTE_ENOSPC || result == MOTE_EBUDGET);
    fixture_remove(&world->fixture);
    return false;
}

/* A close whose checkpoint finds no space says so, and the handle is gone all the same. */
static void close_and_open(struct world *world)
{
    try_it(mote_close(world->fixture.db), "a close");
    world->fixture.db = NULL;
    world->fixture.gate = NULL;
    fixture_open(&world->fixture);
    open_tables(world);
}

/* What room there is may be used up: rows that are taken between two crashes are there, and each open takes a run for its log all the same. */
static void crash_often(struct world *world, unsigned count, bool append)
{
    for (unsigned i = 0; i < count; i++) {
        int result = append ? append_rows(world->table, world->to, world->batch_rows) : MOTE_ENOSPC;
        try_it(result, "an append between two crashes");
        if (!result)
            world->to += world->batch_rows;
        must(mote_wait(world->fixture.db, mote_visible_seq(world->fixture.db), MOTE_FOREVER));
        if (i % 2)
            fixture_power_cut(&world->fixture, SIM_CRASH_TORN, i);
        else
            fixture_kill(&world->fixture);
        fixture_open(&world->fixture);
        open_tables(world);
        check_all(world);
    }
}

static void go_round(struct world *world)
{
    crash_often(world, CRASHES, false);
    crash_often(world, CRASHES, true);
    close_and_open(world);
    check_all(world);
}

static void run_world(struct world *world)
{
    world->batch_rows = world->frame_kib * 1024 / 4 / ROW_BYTES < BATCH_MAX ? world->frame_kib * 1024 / 4 / ROW_BYTES : BATCH_MAX;
    if (world->batch_rows > world->memtable_kib / 32)
        world->batch_rows = world->memtable_kib / 32;
    world->from = world->to = 0;
    if (!make_world(world))
        return;
    world->keeper = create_table(world->fixture.db, "keeper");
    world->table = create_table(world->fixture.db, "filler");
    must(append_rows(world->keeper, 0, 4));
    fill(world);
    char text[100];
    snprintf(text, sizeof text, "%lld rows, %lld %% of the device", (long long)world->to, (long long)(world->to * ROW_BYTES * 100 / (int64_t)(world->size_kib * 1024)));
    say(world, text);
    check_all(world);
    go_round(world);
    must(mote_table_drop(world->fixture.db, "filler"));
    world->table = create_table(world->fixture.db, "filler");
    world->from = world->to = 0;
    for (unsigned i = 0; i < 8; i++)
        append_soon(world);
    check_all(world);
    go_round(world);
    fixture_remove(&world->fixture);
}

static void run_worlds(enum threads threads, uint64_t seed)
{
    static const uint64_t extents_kib[] = {64, 128, 256, 1024};
    static const uint32_t frames_kib[] = {8, 64, 512, 128}, memtables_kib[] = {256, 1024, 4096};
    /* Of the largest frames the device has room for two dozen: with less, what is kept to free space does not do (docs/space.md). */
    for (uint64_t i = 0, size_kib = 8 * 1024; size_kib <= 64 * 1024; size_kib += size_kib / 5 + 1036, i++) {
        struct world world = {.size_kib = size_kib, .extent_kib = extents_kib[(i + seed) % 4], .frame_kib = frames_kib[(i / 2 + seed) % 4], .memtable_kib = memtables_kib[(i + seed / 2) % 3], .threads = threads};
        if (world.frame_kib * 24 > world.size_kib)
            world.frame_kib = 64;
        run_world(&world);
    }
}

/* More crashes than the manifest's list of incarnations has places, on a device that never has room to flush what they hold. */
Test(full, device_that_is_opened_and_killed_again_and_again)
{
    struct world world = {.size_kib = 10866, .extent_kib = 64, .frame_kib = 64, .memtable_kib = 1024, .batch_rows = 4};
    require(make_world(&world));
    world.keeper = create_table(world.fixture.db, "keeper");
    world.table = create_table(world.fixture.db, "filler");
    must(append_rows(world.keeper, 0, 4));
    fill(&world);
    crash_often(&world, 2 * MANIFEST_INCARNATIONS_MAX, true);
    crash_often(&world, 2 * MANIFEST_INCARNATIONS_MAX, false);
    fixture_remove(&world.fixture);
}

/* ---- A cut at every point of an open ---- */

static void check_db(const struct world *world, mote_db *db)
{
    mote_table *table, *keeper;
    must(mote_table_open(db, "filler", &table));
    must(mote_table_open(db, "keeper", &keeper));
    check_rows(keeper, 0, 4);
    check_rows(table, world->from, world->to);
}

/* What the cut left opens, and once more after it was killed at once. */
static void check_cut(const struct world *world, struct blockdev *recorded, uint64_t event, enum sim_crash_policy policy)
{
    struct blockdev *device;
    must(sim_create_from_crash(recorded, event, policy, 0, event, NULL, &device));
    for (unsigned opens = 0; opens < 3; opens++) {
        mote_db *db;
        must(engine_open(device, &world->fixture.options, &db, NULL));
        check_db(world, db);
        engine_abandon(db);
    }
    blockdev_close(device);
}

/* One open of the image, recorded, and what a few rows more do; image becomes what is left. Returns the number of cuts. */
static uint64_t cut_an_open(struct world *world, uint8_t *image, uint64_t seed)
{
    static const enum sim_crash_policy policies[] = {SIM_CRASH_NONE, SIM_CRASH_ALL, SIM_CRASH_TORN};
    struct sim_options options = {.size_bytes = world->size_kib * 1024, .logical_block_bytes = 512, .seed = seed, .reorder = true, .record = true, .initial = image};
    struct blockdev *device;
    mote_db *db;
    mote_table *table;
    uint64_t cuts = 0;
    bool barrier;
    must(sim_create(&options, &device));
    must(engine_open(device, &world->fixture.options, &db, NULL));
    check_db(world, db);
    uint64_t count = sim_event_count(device);
    must(mote_table_open(db, "filler", &table));
    struct world before = *world;
    int result = append_rows(table, world->to, world->batch_rows);
    try_it(result, "an append after an open");
    world->to += result ? 0 : world->batch_rows;
    must(mote_wait(db, mote_visible_seq(db), MOTE_FOREVER));
    engine_abandon(db);
    for (uint64_t event = 0; event < count; event++) {
        if (!sim_event_is_cut(device, event, &barrier))
            continue;
        for (size_t p = 0; p < sizeof policies / sizeof policies[0]; p++, cuts++)
            check_cut(&before, device, event, policies[p]);
    }
    sim_read_content(device, true, image);
    blockdev_close(device);
    return cuts;
}

Test(full, cut_at_every_point_of_an_open)
{
    for (uint64_t i = 0; i < 3; i++) {
        struct world world = {.size_kib = 8192 + i * 4700, .extent_kib = 64u << i, .frame_kib = 64, .memtable_kib = 256u << 2 * (i % 2), .threads = NO_THREADS, .batch_rows = 4};
        uint8_t *image = malloc(world.size_kib * 1024);
        uint64_t cuts = 0;
        require(image != NULL && make_world(&world));
        world.keeper = create_table(world.fixture.db, "keeper");
        world.table = create_table(world.fixture.db, "filler");
        must(append_rows(world.keeper, 0, 4));
        fill(&world);
        must(mote_wait(world.fixture.db, mote_visible_seq(world.fixture.db), MOTE_FOREVER));
        fixture_kill(&world.fixture);
        sim_read_content(world.fixture.sim, false, image);
        for (uint64_t opens = 0; opens < 3; opens++)
            cuts += cut_an_open(&world, image, i * 10 + opens);
        fprintf(stderr, "%llu cuts of opens\n", (unsigned long long)cuts);
        cr_assert_gt(cuts, 30);
        free(image);
        fixture_remove(&world.fixture);
    }
}

/* ---- Filled, killed, filled again ---- */

Test(full, devices_of_many_sizes_with_workers) { run_worlds(WORKERS, 0); }
Test(full, devices_of_many_sizes_with_workers_again) { run_worlds(WORKERS, 1); }
Test(full, devices_of_many_sizes_without_threads) { run_worlds(NO_THREADS, 2); }
Test(full, devices_of_many_sizes_with_the_caller_alone) { run_worlds(INLINE, 3); }
