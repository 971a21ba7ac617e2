/* engine_write_test.c: write batches over several tables: visible as one, in one frame and in parts, through flushes, reopens and crashes; inserts and unique indexes in them; their limits; bad input. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/states.h"

struct world {
    struct fixture fixture;
    struct state_tables tables;
    struct state now;
    mote_write *write;
    uint64_t random;
    int64_t next_value;
};

static uint64_t draw(struct world *world, uint64_t below) { return fixture_random(&world->random) % below; }

static void begin(struct world *world, uint64_t seed, uint32_t frame_bytes)
{
    memset(world, 0, sizeof *world);
    world->random = seed;
    fixture_image(&world->fixture, 64 << 20);
    world->fixture.options.wal_frame_bytes_max = frame_bytes;
    fixture_open(&world->fixture);
    states_create(world->fixture.db, &world->tables);
    must(mote_write_begin(world->fixture.db, &world->write));
}

static void end(struct world *world)
{
    mote_write_free(world->write);
    fixture_remove(&world->fixture);
}

static void put(struct world *world, unsigned t, int64_t key, int64_t value)
{
    char text[STATE_TEXT_BYTES];
    struct mote_value row[3];
    size_t count = states_row(t, key, value, text, row);
    must(mote_write_put(world->write, world->tables.tables[t], row, count));
}

static void erase(struct world *world, unsigned t, int64_t key)
{
    const struct mote_value value = value_i64(key);
    must(mote_write_delete(world->write, world->tables.tables[t], &value, 1));
}

static void expect(struct world *world, const struct state *expected)
{
    struct state found;
    char text[400];
    must(states_read(&world->tables, NULL, draw(world, 2) == 0, &found));
    states_describe(&found, expected, text, sizeof text);
    cr_assert(states_equal(&found, expected), "%s", text);
}

static void reopen(struct world *world, bool crash)
{
    mote_write_free(world->write);
    if (crash)
        must(mote_wait(world->fixture.db, mote_visible_seq(world->fixture.db), MOTE_FOREVER));
    if (crash)
        fixture_crash(&world->fixture);
    else
        fixture_reopen(&world->fixture);
    states_open(world->fixture.db, &world->tables);
    must(mote_write_begin(world->fixture.db, &world->write));
}

static void work(uint64_t seed, uint32_t frame_bytes)
{
    struct world world;
    begin(&world, seed, frame_bytes);
    for (unsigned round = 0; round < 150; round++) {
        struct state next = world.now;
        uint64_t rows = draw(&world, 4) == 0 ? draw(&world, 120) : draw(&world, 6), seq = mote_visible_seq(world.fixture.db), ticket;
        for (uint64_t i = 0; i < rows; i++) {
            unsigned t = (unsigned)draw(&world, STATE_TABLES);
            int64_t key = (int64_t)draw(&world, STATE_KEYS), value = draw(&world, 4) ? ++world.next_value : 0;
            if (value)
                put(&world, t, key, value);
            else
                erase(&world, t, key);
            next.values[t][key] = value;
        }
        cr_assert_eq(mote_write_rows(world.write), rows);
        if (draw(&world, 8) == 0)
            expect(&world, &world.now); /* nothing is to be seen before the commit */
        must(mote_write_commit(world.write, NULL, &ticket));
        cr_assert_eq(ticket, seq + rows);
        cr_assert_eq(mote_write_rows(world.write), 0);
        world.now = next;
        if (draw(&world, 5) == 0)
            must(draw(&world, 2) ? mote_flush(world.fixture.db) : mote_checkpoint(world.fixture.db));
        if (draw(&world, 10) == 0)
            reopen(&world, draw(&world, 3) > 0);
        if (round % 3 == 0)
            expect(&world, &world.now);
    }
    expect(&world, &world.now);
    end(&world);
}

Test(write, batches_read_back_in_one_frame) { work(1, 0); }
Test(write, batches_read_back_in_parts) { work(2, 8192); }

Test(write, large_batch_is_replayed_as_a_whole)
{
    enum { ROWS = 20000 };
    struct world world;
    static int64_t ids[ROWS], values[ROWS];
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_INT64, .values = values}};
    const struct mote_batch batch = {.row_count = ROWS / 2, .column_count = 2, .columns = columns};
    uint64_t count, ticket;
    begin(&world, 3, 0);
    for (unsigned i = 0; i < ROWS; i++) {
        ids[i] = i;
        values[i] = i * 7 + 1;
    }
    must(mote_write_columns(world.write, world.tables.tables[0], &batch)); /* half a megabyte of log: two frames or more */
    put(&world, 1, 3, 33);
    must(mote_write_commit(world.write, NULL, &ticket));
    must(mote_wait(world.fixture.db, ticket, MOTE_FOREVER));
    reopen(&world, true);
    must(mote_count(world.tables.tables[0], NULL, &count));
    cr_assert_eq(count, ROWS / 2);
    must(mote_count(world.tables.tables[1], NULL, &count));
    cr_assert_eq(count, 1);
    end(&world);
}

Test(write, limits_are_told_before_anything_is_written)
{
    struct world world;
    char text[STATE_TEXT_BYTES];
    struct mote_value row[3];
    uint64_t rows = 0, seq;
    int result;
    static int64_t ids[70000];
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_INT64, .values = ids}};
    const struct mote_batch batch = {.row_count = 70000, .column_count = 2, .columns = columns};
    begin(&world, 4, 0);
    seq = mote_visible_seq(world.fixture.db);
    put(&world, 0, 1, 5);
    must_fail(mote_write_columns(world.write, world.tables.tables[0], &batch), MOTE_ETOOBIG);
    cr_assert_eq(mote_write_rows(world.write), 1);
    size_t count = states_row(1, 1, 18, text, row);
    while ((result = mote_write_put(world.write, world.tables.tables[1], row, count)) == MOTE_OK)
        rows++;
    cr_assert_eq(result, MOTE_ETOOBIG);
    cr_assert_gt(rows, 100);
    cr_assert_eq(mote_write_rows(world.write), rows + 1);
    cr_assert_eq(mote_visible_seq(world.fixture.db), seq);
    must(mote_write_commit(world.write, NULL, NULL));
    world.now.values[0][1] = 5;
    world.now.values[1][1] = 18;
    expect(&world, &world.now);
    end(&world);
}

Test(write, inserts_count_in_the_order_of_the_rows)
{
    struct world world;
    char text[STATE_TEXT_BYTES];
    struct mote_value row[3];
    begin(&world, 5, 0);
    size_t count = states_row(1, 7, 70, text, row);
    mote_table *table = world.tables.tables[1];
    must(mote_write_insert(world.write, table, row, count));
    must(mote_write_commit(world.write, NULL, NULL));
    /* There is a row now. */
    must(mote_write_insert(world.write, table, row, count));
    put(&world, 0, 1, 1);
    must_fail(mote_write_commit(world.write, NULL, NULL), MOTE_EEXISTS);
    cr_assert_eq(mote_write_rows(world.write), 2);
    world.now.values[1][7] = 70;
    expect(&world, &world.now);
    mote_write_clear(world.write);
    /* Not after its deletion. */
    erase(&world, 1, 7);
    states_row(1, 7, 71, text, row);
    must(mote_write_insert(world.write, table, row, count));
    must(mote_write_commit(world.write, NULL, NULL));
    world.now.values[1][7] = 71;
    expect(&world, &world.now);
    /* Nor twice in one batch; the same key of another table is another key. */
    states_row(1, 8, 80, text, row);
    must(mote_write_insert(world.write, table, row, count));
    must(mote_write_insert(world.write, world.tables.tables[2], row, count));
    must(mote_write_insert(world.write, table, row, count));
    must_fail(mote_write_commit(world.write, NULL, NULL), MOTE_EEXISTS);
    expect(&world, &world.now);
    end(&world);
}

Test(write, unique_indexes_of_several_tables_hold)
{
    struct world world;
    begin(&world, 6, 0);
    must(fixture_declare_unique(world.tables.tables[0], "u", 1));
    must(fixture_declare_unique(world.tables.tables[2], "u", 1));
    put(&world, 0, 1, 100);
    put(&world, 2, 1, 100);
    must(mote_write_commit(world.write, NULL, NULL));
    world.now.values[0][1] = world.now.values[2][1] = 100;
    for (unsigned flushed = 0; flushed < 2; flushed++) {
        put(&world, 2, 2, 200);
        put(&world, 0, 2, 100);
        must_fail(mote_write_commit(world.write, NULL, NULL), MOTE_EEXISTS);
        mote_write_clear(world.write);
        put(&world, 0, 2, 100); /* before the row that has it is deleted */
        erase(&world, 0, 1);
        must_fail(mote_write_commit(world.write, NULL, NULL), MOTE_EEXISTS);
        mote_write_clear(world.write);
        expect(&world, &world.now);
        must(mote_flush(world.fixture.db));
    }
    erase(&world, 0, 1);
    put(&world, 0, 2, 100);
    put(&world, 2, 1, 101);
    put(&world, 2, 3, 100);
    must(mote_write_commit(world.write, NULL, NULL));
    world.now.values[0][1] = 0;
    world.now.values[0][2] = 100;
    world.now.values[2][1] = 101;
    world.now.values[2][3] = 100;
    expect(&world, &world.now);
    /* What a batch wrote is known to the writes after it. */
    char text[STATE_TEXT_BYTES];
    struct mote_value row[3];
    size_t count = states_row(2, 9, 100, text, row);
    must_fail(mote_append(world.tables.tables[2], row, count, NULL, NULL), MOTE_EEXISTS);
    end(&world);
}

Test(write, bad_input_is_refused)
{
    struct world world;
    struct fixture other;
    mote_write *write;
    struct mote_value row[3] = {value_i64(1), value_i64(2), value_i64(3)};
    struct mote_write_options options = MOTE_WRITE_OPTIONS_INIT;
    uint64_t ticket;
    begin(&world, 8, 0);
    fixture_image(&other, 32 << 20);
    fixture_open(&other);
    mote_table *table = world.tables.tables[1];
    must_fail(mote_write_begin(NULL, &write), MOTE_EINVAL);
    must_fail(mote_write_begin(other.db, NULL), MOTE_EINVAL);
    must(mote_write_begin(other.db, &write));
    must_fail(mote_write_put(write, table, row, 3), MOTE_EINVAL);
    mote_write_free(write);
    must_fail(mote_write_put(NULL, table, row, 3), MOTE_EINVAL);
    must_fail(mote_write_put(world.write, NULL, row, 3), MOTE_EINVAL);
    must_fail(mote_write_put(world.write, table, row, 3), MOTE_ESCHEMA);
    must_fail(mote_write_put(world.write, table, NULL, 3), MOTE_EINVAL);
    must_fail(mote_write_delete(world.write, table, row, 2), MOTE_EINVAL);
    must_fail(mote_write_columns(world.write, table, NULL), MOTE_EINVAL);
    options.durability = 77;
    must_fail(mote_write_commit(world.write, &options, NULL), MOTE_EINVAL);
    must(mote_write_commit(world.write, NULL, &ticket)); /* of nothing */
    must(mote_wait(world.fixture.db, ticket, MOTE_FOREVER));
    put(&world, 0, 1, 1);
    put(&world, 2, 1, 1);
    must(mote_table_drop(world.fixture.db, state_names[2]));
    must_fail(mote_write_commit(world.write, NULL, NULL), MOTE_ENOTABLE);
    mote_write_free(NULL);
    mote_write_clear(NULL);
    fixture_remove(&other);
    end(&world);
}
