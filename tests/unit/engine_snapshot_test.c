/* engine_snapshot_test.c: what snapshots see, through writes, flushes, compactions, reopens and crashes, by scans up and down, point reads, counts and searches; names; limits; bad input. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/states.h"

enum { ROUNDS = 400, HELD = 6 };

struct held {
    mote_snapshot *snapshot;
    char name[16]; /* "": anonymous */
    struct state state;
};

struct world {
    struct fixture fixture;
    struct state_tables tables;
    struct state now;
    struct held held[HELD];
    uint64_t random;
    int64_t next_value;
    unsigned names;
};

static uint64_t draw(struct world *world, uint64_t below) { return fixture_random(&world->random) % below; }

static void write_some(struct world *world)
{
    for (uint64_t i = draw(world, 30) + 1; i > 0; i--) {
        unsigned t = (unsigned)draw(world, STATE_TABLES);
        int64_t key = (int64_t)draw(world, STATE_KEYS);
        char text[STATE_TEXT_BYTES];
        struct mote_value row[3];
        int64_t value = draw(world, 4) ? ++world->next_value : 0;
        size_t count = states_row(t, key, value, text, row);
        must(value ? mote_append(world->tables.tables[t], row, count, NULL, NULL) : mote_delete(world->tables.tables[t], row, 1, NULL, NULL));
        world->now.values[t][key] = value;
    }
}

static void check_counts(const struct world *world, const mote_snapshot *snapshot, const struct state *expected)
{
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    options.snapshot = snapshot;
    for (unsigned t = 0; t < STATE_TABLES; t++) {
        uint64_t count, wanted = 0;
        must(mote_count(world->tables.tables[t], &options, &count));
        for (unsigned k = 0; k < STATE_KEYS; k++)
            wanted += expected->values[t][k] != 0;
        cr_assert_eq(count, wanted);
    }
}

/* The rows of a table with a value above the median, found by a search. */
static void check_search(const struct world *world, const mote_snapshot *snapshot, const struct state *expected)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const uint32_t column = 1;
    struct mote_term term = {.kind = MOTE_TERM_RANGE, .columns = &column, .column_count = 1, .from = value_i64(world->next_value / 2), .to = value_null(MOTE_TYPE_INT64)};
    mote_hits *hits;
    struct mote_hit_chunk chunk;
    uint64_t wanted = 0, rows = 0;
    options.terms = &term;
    options.term_count = 1;
    options.snapshot = snapshot;
    for (unsigned k = 0; k < STATE_KEYS; k++)
        wanted += expected->values[0][k] != 0 && expected->values[0][k] >= world->next_value / 2;
    must(mote_search(world->tables.tables[0], &options, &hits));
    do {
        must(mote_hits_next(hits, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++)
            cr_assert_eq(expected->values[0][((const int64_t *)chunk.columns[0].values)[i]], ((const int64_t *)chunk.columns[1].values)[i]);
        rows += chunk.row_count;
    } while (chunk.row_count > 0);
    mote_hits_close(hits);
    cr_assert_eq(rows, wanted);
}

static void check_snapshot(struct world *world, const mote_snapshot *snapshot, const struct state *expected)
{
    struct state found;
    char text[400];
    for (unsigned descending = 0; descending < 2; descending++) {
        must(states_read(&world->tables, snapshot, descending != 0, &found));
        states_describe(&found, expected, text, sizeof text);
        cr_assert(states_equal(&found, expected), "%s", text);
    }
    for (unsigned t = 0; t < STATE_TABLES; t++) {
        int64_t value, key = (int64_t)draw(world, STATE_KEYS);
        must(states_get(&world->tables, snapshot, t, key, &value));
        cr_assert_eq(value, expected->values[t][key]);
    }
    check_counts(world, snapshot, expected);
    check_search(world, snapshot, expected);
}

static void begin(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->random = seed;
    fixture_image(&world->fixture, 64 << 20);
    world->fixture.options.cursors_max = 2;
    fixture_open(&world->fixture);
    states_create(world->fixture.db, &world->tables);
}

static void take(struct world *world, struct held *held)
{
    bool named = draw(world, 2) == 0;
    held->name[0] = 0;
    if (named)
        snprintf(held->name, sizeof held->name, "s%u", ++world->names);
    must(mote_snapshot_take(world->fixture.db, named ? held->name : NULL, &held->snapshot));
    held->state = world->now;
}

static void give_up(struct world *world, struct held *held)
{
    mote_snapshot_release(held->snapshot);
    held->snapshot = NULL;
    if (held->name[0])
        must(mote_snapshot_drop(world->fixture.db, held->name));
    held->name[0] = 0;
}

/* What lives on is found again by its name; the rest is gone. */
static void reopen(struct world *world)
{
    bool crash = draw(world, 2) == 0;
    for (unsigned i = 0; i < HELD; i++) {
        mote_snapshot_release(world->held[i].snapshot);
        world->held[i].snapshot = NULL;
    }
    if (crash) {
        must(mote_wait(world->fixture.db, mote_visible_seq(world->fixture.db), MOTE_FOREVER));
        fixture_crash(&world->fixture);
    } else {
        fixture_reopen(&world->fixture);
    }
    states_open(world->fixture.db, &world->tables);
    for (unsigned i = 0; i < HELD; i++)
        if (world->held[i].name[0])
            must(mote_snapshot_open(world->fixture.db, world->held[i].name, &world->held[i].snapshot));
}

Test(snapshot, reads_the_same_through_everything)
{
    struct world world;
    begin(&world, 20261123);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct held *held = &world.held[draw(&world, HELD)];
        write_some(&world);
        switch (draw(&world, 8)) {
        case 0:
        case 1:
            must(mote_flush(world.fixture.db));
            break;
        case 2:
            must(mote_compact(world.fixture.db, NULL));
            break;
        case 3:
            must(mote_checkpoint(world.fixture.db));
            break;
        case 4:
            reopen(&world);
            break;
        default:
            if (held->snapshot)
                give_up(&world, held);
            else
                take(&world, held);
        }
        check_snapshot(&world, NULL, &world.now);
        for (unsigned i = 0; i < HELD; i++)
            if (world.held[i].snapshot)
                check_snapshot(&world, world.held[i].snapshot, &world.held[i].state);
    }
    for (unsigned i = 0; i < HELD; i++)
        mote_snapshot_release(world.held[i].snapshot);
    fixture_remove(&world.fixture);
}

Test(snapshot, cursor_outlives_its_snapshot)
{
    struct world world;
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct state found = {0};
    mote_snapshot *snapshot;
    mote_cursor *cursor;
    begin(&world, 7);
    for (unsigned i = 0; i < 10; i++)
        write_some(&world);
    const struct state before = world.now;
    must(mote_snapshot_take(world.fixture.db, NULL, &snapshot));
    write_some(&world);
    options.snapshot = snapshot;
    options.chunk_rows = 3;
    must(mote_scan(world.tables.tables[1], &options, &cursor));
    mote_snapshot_release(snapshot);
    write_some(&world);
    must(mote_compact(world.fixture.db, NULL));
    must(states_read_cursor(1, cursor, &found));
    cr_assert(memcmp(found.values[1], before.values[1], sizeof found.values[1]) == 0);
    fixture_remove(&world.fixture);
}

static int count_names(const struct mote_snapshot_info *info, void *context)
{
    unsigned *count = context;
    char expected[16];
    snprintf(expected, sizeof expected, "n%u", ++*count);
    return strcmp(info->name, expected) == 0 && info->taken_ns > 0 ? 0 : 1;
}

Test(snapshot, names_and_handles_have_limits)
{
    struct world world;
    mote_snapshot *handles[4], *snapshot = NULL;
    char name[80];
    unsigned count = 0;
    begin(&world, 9);
    mote_db *db = world.fixture.db;
    world.fixture.options.snapshots_max = 4;
    for (unsigned i = 1; i <= 64; i++) {
        snprintf(name, sizeof name, "n%u", i);
        must(mote_snapshot_take(db, name, NULL));
    }
    must_fail(mote_snapshot_take(db, "n65", NULL), MOTE_EBUDGET);
    must_fail(mote_snapshot_take(db, "n7", NULL), MOTE_EEXISTS);
    must(mote_snapshot_list(db, count_names, &count));
    cr_assert_eq(count, 64);
    cr_assert_eq(fixture_stats(&world.fixture).snapshots_named, 64);
    fixture_reopen(&world.fixture);
    db = world.fixture.db;
    for (unsigned i = 0; i < 4; i++)
        must(i % 2 ? mote_snapshot_open(db, "n5", &handles[i]) : mote_snapshot_take(db, NULL, &handles[i]));
    must_fail(mote_snapshot_take(db, NULL, &snapshot), MOTE_EBUDGET);
    must_fail(mote_snapshot_open(db, "n5", &snapshot), MOTE_EBUDGET);
    cr_assert_eq(fixture_stats(&world.fixture).snapshots_open, 4);
    mote_snapshot_release(handles[3]);
    must(mote_snapshot_open(db, "n64", &handles[3]));
    must(mote_snapshot_drop(db, "n64"));
    must_fail(mote_snapshot_drop(db, "n64"), MOTE_ENOTFOUND);
    must_fail(mote_snapshot_open(db, "n64", &snapshot), MOTE_ENOTFOUND);
    for (unsigned i = 0; i < 4; i++)
        mote_snapshot_release(handles[i]);
    must(mote_snapshot_take(db, "n64", &snapshot));
    mote_snapshot_release(snapshot);
    fixture_remove(&world.fixture);
}

Test(snapshot, bad_input_is_refused)
{
    struct world world;
    struct fixture other;
    mote_snapshot *snapshot, *foreign;
    mote_cursor *cursor;
    mote_row *row = NULL;
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_value key = value_i64(1);
    char name[80];
    begin(&world, 11);
    mote_db *db = world.fixture.db;
    fixture_image(&other, 32 << 20);
    fixture_open(&other);
    memset(name, 'x', sizeof name);
    name[MOTE_NAME_BYTES_MAX + 1] = 0;
    must_fail(mote_snapshot_take(db, name, NULL), MOTE_ETOOBIG);
    name[MOTE_NAME_BYTES_MAX] = 0;
    must(mote_snapshot_take(db, name, NULL));
    must_fail(mote_snapshot_take(db, "", NULL), MOTE_EINVAL);
    must_fail(mote_snapshot_take(db, NULL, NULL), MOTE_EINVAL);
    must_fail(mote_snapshot_take(NULL, "a", NULL), MOTE_EINVAL);
    must_fail(mote_snapshot_open(db, name, NULL), MOTE_EINVAL);
    must_fail(mote_snapshot_open(db, NULL, &snapshot), MOTE_EINVAL);
    must_fail(mote_snapshot_list(db, NULL, NULL), MOTE_EINVAL);
    must(mote_snapshot_take(other.db, NULL, &foreign));
    options.snapshot = foreign;
    must_fail(mote_scan(world.tables.tables[0], &options, &cursor), MOTE_EINVAL);
    must_fail(mote_get_at(world.tables.tables[0], foreign, &key, 1, &row), MOTE_EINVAL);
    /* Of an empty volume: it goes on being empty. */
    must(mote_snapshot_take(db, "empty", &snapshot));
    write_some(&world);
    const struct state empty = {0};
    check_snapshot(&world, snapshot, &empty);
    /* A dropped table is gone for snapshots too; a new column reads as its default. */
    must(mote_table_drop(db, state_names[0]));
    options.snapshot = snapshot;
    must_fail(mote_scan(world.tables.tables[0], &options, &cursor), MOTE_ENOTABLE);
    mote_snapshot_release(snapshot);
    mote_snapshot_release(foreign);
    mote_snapshot_release(NULL);
    cr_assert_eq(mote_snapshot_seq(NULL), 0);
    fixture_remove(&other);
    fixture_remove(&world.fixture);
}

Test(snapshot, read_only_handles_read_named_ones)
{
    struct world world;
    mote_snapshot *snapshot;
    struct state before;
    begin(&world, 13);
    write_some(&world);
    before = world.now;
    must(mote_snapshot_take(world.fixture.db, "kept", NULL));
    write_some(&world);
    must(mote_wait(world.fixture.db, mote_visible_seq(world.fixture.db), MOTE_FOREVER));
    fixture_kill(&world.fixture);
    world.fixture.options.read_only = 1;
    fixture_open(&world.fixture);
    states_open(world.fixture.db, &world.tables);
    must(mote_snapshot_open(world.fixture.db, "kept", &snapshot));
    check_snapshot(&world, snapshot, &before);
    check_snapshot(&world, NULL, &world.now);
    must_fail(mote_snapshot_take(world.fixture.db, "more", NULL), MOTE_EREADONLY);
    must_fail(mote_snapshot_drop(world.fixture.db, "kept"), MOTE_EREADONLY);
    mote_snapshot_release(snapshot);
    fixture_remove(&world.fixture);
}
