/* engine_transaction_test.c: transactions of one thread: their reads against a model, beside writes of others, flushes and compactions; savepoints; conflicts of every kind; inserts and unique indexes; limits; bad input. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/states.h"

struct world {
    struct fixture fixture;
    struct state_tables tables;
    struct state now; /* committed */
    uint64_t random;
    int64_t next_value;
};

static uint64_t draw(struct world *world, uint64_t below) { return fixture_random(&world->random) % below; }

static void begin(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->random = seed;
    fixture_image(&world->fixture, 64 << 20);
    fixture_open(&world->fixture);
    states_create(world->fixture.db, &world->tables);
}

static int put(struct world *world, mote_transaction *transaction, unsigned t, int64_t key, int64_t value)
{
    char text[STATE_TEXT_BYTES];
    struct mote_value row[3];
    size_t count = states_row(t, key, value, text, row);
    mote_table *table = world->tables.tables[t];
    if (value == 0)
        return transaction ? mote_transaction_delete(transaction, table, row, 1) : mote_delete(table, row, 1, NULL, NULL);
    return transaction ? mote_transaction_put(transaction, table, row, count) : mote_append(table, row, count, NULL, NULL);
}

static int insert(struct world *world, mote_transaction *transaction, unsigned t, int64_t key, int64_t value)
{
    char text[STATE_TEXT_BYTES];
    struct mote_value row[3];
    size_t count = states_row(t, key, value, text, row);
    return transaction ? mote_transaction_insert(transaction, world->tables.tables[t], row, count) : mote_insert(world->tables.tables[t], row, count, NULL, NULL);
}

static void read_all(struct world *world, mote_transaction *transaction, bool descending, struct state *state)
{
    memset(state, 0, sizeof *state);
    for (unsigned t = 0; t < STATE_TABLES; t++) {
        struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
        mote_cursor *cursor;
        options.descending = descending;
        options.chunk_rows = 1 + (uint32_t)draw(world, 9);
        must(mote_transaction_scan(transaction, world->tables.tables[t], &options, &cursor));
        must(states_read_cursor(t, cursor, state));
    }
}

static void expect(struct world *world, mote_transaction *transaction, const struct state *expected)
{
    struct state found;
    char text[400];
    for (unsigned descending = 0; descending < 2; descending++) {
        if (transaction)
            read_all(world, transaction, descending != 0, &found);
        else
            must(states_read(&world->tables, NULL, descending != 0, &found));
        states_describe(&found, expected, text, sizeof text);
        cr_assert(states_equal(&found, expected), "%s", text);
    }
    for (unsigned i = 0; transaction && i < 4; i++) {
        unsigned t = (unsigned)draw(world, STATE_TABLES);
        int64_t key = (int64_t)draw(world, STATE_KEYS);
        struct mote_value wanted = value_i64(key);
        mote_row *row = NULL;
        int result = mote_transaction_get(transaction, world->tables.tables[t], &wanted, 1, &row);
        cr_assert_eq(result, expected->values[t][key] ? MOTE_OK : MOTE_ENOTFOUND);
        if (row)
            cr_assert_eq(states_row_value(row), expected->values[t][key]);
        mote_row_free(row);
    }
}

static void change(struct world *world, mote_transaction *transaction, struct state *state, bool *touched)
{
    unsigned t = (unsigned)draw(world, STATE_TABLES);
    int64_t key = (int64_t)draw(world, STATE_KEYS), value = draw(world, 3) ? ++world->next_value : 0;
    if (value && draw(world, 4) == 0 && transaction) {
        int result = insert(world, transaction, t, key, value);
        cr_assert_eq(result, state->values[t][key] ? MOTE_EEXISTS : MOTE_OK);
        if (result)
            return;
    } else {
        must(put(world, transaction, t, key, value));
    }
    state->values[t][key] = value;
    touched[t * STATE_KEYS + key] = true;
}

/* One transaction, with savepoints, beside the writes of others; committed or not. */
static void run_one(struct world *world)
{
    enum { SAVED = 4, KEYS = STATE_TABLES * STATE_KEYS };
    struct state own = world->now, saved[SAVED];
    bool mine[KEYS] = {false}, others[KEYS] = {false}, saved_mine[SAVED][KEYS];
    uint64_t savepoints[SAVED], steps = draw(world, 30);
    unsigned saved_count = 0;
    mote_transaction *transaction;
    must(mote_transaction_begin(world->fixture.db, NULL, &transaction));
    for (uint64_t i = 0; i < steps; i++) {
        switch (draw(world, 12)) {
        case 0:
            if (saved_count == SAVED)
                break;
            must(mote_transaction_savepoint(transaction, &savepoints[saved_count]));
            memcpy(saved_mine[saved_count], mine, sizeof mine);
            saved[saved_count++] = own;
            break;
        case 1:
            if (saved_count == 0)
                break;
            saved_count = (unsigned)draw(world, saved_count) + 1;
            must(mote_transaction_rollback_to(transaction, savepoints[saved_count - 1]));
            own = saved[saved_count - 1];
            memcpy(mine, saved_mine[saved_count - 1], sizeof mine);
            break;
        case 2:
            must(draw(world, 2) ? mote_flush(world->fixture.db) : mote_compact(world->fixture.db, NULL));
            break;
        case 3:
        case 4:
            if (draw(world, 3) == 0)
                change(world, NULL, &world->now, others);
            break;
        default:
            change(world, transaction, &own, mine);
        }
        if (draw(world, 4) == 0)
            expect(world, transaction, &own);
    }
    expect(world, transaction, &own);
    expect(world, NULL, &world->now);
    bool conflict = false;
    for (unsigned i = 0; i < KEYS; i++)
        conflict = conflict || (mine[i] && others[i]);
    if (draw(world, 4) == 0) {
        mote_transaction_abort(transaction);
    } else {
        /* A row that others made and deleted again may leave no trace, and then is no conflict. */
        int result = mote_transaction_commit(transaction, NULL, NULL);
        if (!conflict || result != MOTE_OK)
            cr_assert_eq(result, conflict ? MOTE_ECONFLICT : MOTE_OK);
        for (unsigned i = 0; !result && i < KEYS; i++)
            if (mine[i])
                world->now.values[i / STATE_KEYS][i % STATE_KEYS] = own.values[i / STATE_KEYS][i % STATE_KEYS];
        for (unsigned i = 0; conflict && !result && i < KEYS; i++)
            cr_assert(!mine[i] || !others[i] || world->now.values[i / STATE_KEYS][i % STATE_KEYS] == own.values[i / STATE_KEYS][i % STATE_KEYS]);
    }
    expect(world, NULL, &world->now);
}

Test(transaction, reads_and_commits_as_the_model)
{
    struct world world;
    begin(&world, 20261123);
    for (unsigned i = 0; i < 250; i++) {
        run_one(&world);
        if (i % 25 == 24) {
            fixture_reopen(&world.fixture);
            states_open(world.fixture.db, &world.tables);
        }
    }
    struct mote_stats stats = fixture_stats(&world.fixture);
    cr_assert_eq(stats.snapshots_open, 0);
    fixture_remove(&world.fixture);
}

/* What somebody else does between a transaction's begin and commit, to one row that it writes; and whether that is a conflict. */
enum meanwhile { NOTHING, FLUSH, COMPACT };

static int race(struct world *world, int64_t before, int64_t others, int64_t mine, enum meanwhile meanwhile)
{
    mote_transaction *transaction, *other;
    must(put(world, NULL, 1, 3, before));
    must(mote_transaction_begin(world->fixture.db, NULL, &transaction));
    must(put(world, transaction, 1, 3, mine));
    must(mote_transaction_begin(world->fixture.db, NULL, &other));
    must(put(world, other, 1, 3, others));
    must(mote_transaction_commit(other, NULL, NULL));
    if (meanwhile != NOTHING)
        must(mote_flush(world->fixture.db));
    if (meanwhile == COMPACT)
        must(mote_compact(world->fixture.db, NULL));
    return mote_transaction_commit(transaction, NULL, NULL);
}

/* No compaction but the test's: one that drops the deletion of what was not there leaves no trace of it, which then is no conflict, and takes nothing of the other's away. */
Test(transaction, first_to_commit_wins)
{
    struct world world;
    begin(&world, 3);
    world.fixture.options.compaction_runs_max = 32;
    fixture_reopen(&world.fixture);
    states_open(world.fixture.db, &world.tables);
    const int64_t values[] = {0, 100};
    for (unsigned i = 0; i < 24; i++) {
        int64_t before = values[i & 1], others = values[i >> 1 & 1] * 2, mine = values[i >> 2 & 1] * 3, found;
        bool traceless = i >> 3 == COMPACT && !before && !others;
        cr_assert_eq(race(&world, before, others, mine, (enum meanwhile)(i >> 3)), traceless ? MOTE_OK : MOTE_ECONFLICT, "%u", i);
        must(states_get(&world.tables, NULL, 1, 3, &found));
        cr_assert_eq(found, traceless ? mine : others);
    }
    cr_assert_eq(fixture_stats(&world.fixture).transaction_conflicts, 24 - 2);
    /* Writes outside of transactions and batches count as well. */
    mote_transaction *transaction;
    mote_write *write;
    const struct mote_value key = value_i64(3);
    for (unsigned i = 0; i < 4; i++) {
        must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
        must(put(&world, transaction, 1, 3, 5));
        must(mote_write_begin(world.fixture.db, &write));
        must(mote_write_delete(write, world.tables.tables[1], &key, 1));
        must(i == 0 ? put(&world, NULL, 1, 3, 6) : i == 1 ? put(&world, NULL, 1, 3, 0) : i == 2 ? mote_write_commit(write, NULL, NULL) : put(&world, NULL, 1, 4, 6));
        mote_write_free(write);
        cr_assert_eq(mote_transaction_commit(transaction, NULL, NULL), i < 3 ? MOTE_ECONFLICT : MOTE_OK);
    }
    fixture_remove(&world.fixture);
}

Test(transaction, inserts_see_what_the_transaction_sees)
{
    struct world world;
    mote_transaction *transaction;
    begin(&world, 4);
    must(put(&world, NULL, 0, 1, 10));
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    must_fail(insert(&world, transaction, 0, 1, 11), MOTE_EEXISTS);
    must(put(&world, transaction, 0, 1, 0));
    must(insert(&world, transaction, 0, 1, 12));
    must_fail(insert(&world, transaction, 0, 1, 13), MOTE_EEXISTS);
    must(insert(&world, transaction, 0, 2, 20));
    must(mote_transaction_commit(transaction, NULL, NULL));
    world.now.values[0][1] = 12;
    world.now.values[0][2] = 20;
    expect(&world, NULL, &world.now);
    /* A row that came meanwhile is a conflict of the insert. */
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    must(insert(&world, NULL, 0, 3, 30));
    must(insert(&world, transaction, 0, 3, 31));
    must_fail(mote_transaction_commit(transaction, NULL, NULL), MOTE_ECONFLICT);
    world.now.values[0][3] = 30;
    expect(&world, NULL, &world.now);
    fixture_remove(&world.fixture);
}

Test(transaction, unique_index_is_checked_by_the_commit)
{
    struct world world;
    mote_transaction *transaction;
    begin(&world, 5);
    must(fixture_declare_unique(world.tables.tables[2], "u", 1));
    must(put(&world, NULL, 2, 1, 10));
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    must(put(&world, transaction, 2, 2, 10));
    must(put(&world, transaction, 0, 2, 10));
    must_fail(mote_transaction_commit(transaction, NULL, NULL), MOTE_EEXISTS);
    world.now.values[2][1] = 10;
    expect(&world, NULL, &world.now);
    /* What counts is the state at the end: the value changes its row. */
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    must(put(&world, transaction, 2, 1, 0));
    must(put(&world, transaction, 2, 2, 10));
    must(mote_transaction_commit(transaction, NULL, NULL));
    world.now.values[2][1] = 0;
    world.now.values[2][2] = 10;
    expect(&world, NULL, &world.now);
    fixture_remove(&world.fixture);
}

Test(transaction, cursors_see_the_writes_before_them)
{
    struct world world;
    mote_transaction *transaction;
    mote_cursor *cursor, *late;
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_chunk chunk;
    struct state found = {0};
    uint64_t savepoint;
    begin(&world, 6);
    for (int64_t key = 0; key < STATE_KEYS; key += 2)
        must(put(&world, NULL, 1, key, world.now.values[1][key] = key + 1));
    must(mote_flush(world.fixture.db));
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    must(put(&world, transaction, 1, 4, 1000));
    must(put(&world, transaction, 1, 6, 0));
    must(put(&world, transaction, 1, 7, 1001));
    struct state before = world.now;
    before.values[1][4] = 1000;
    before.values[1][6] = 0;
    before.values[1][7] = 1001;
    options.chunk_rows = 2;
    must(mote_transaction_scan(transaction, world.tables.tables[1], &options, &cursor));
    /* None of this is for the cursor: later writes of one's own, others', and where the rows lie. */
    for (int64_t key = 0; key < STATE_KEYS; key++) {
        must(put(&world, transaction, 1, key, 2000 + key));
        must(put(&world, NULL, 1, key, 3000 + key));
    }
    must(mote_compact(world.fixture.db, NULL));
    must(states_read_cursor(1, cursor, &found));
    cr_assert(memcmp(found.values[1], before.values[1], sizeof found.values[1]) == 0);
    must(mote_transaction_savepoint(transaction, &savepoint));
    must(put(&world, transaction, 1, 1, 5));
    must(mote_transaction_scan(transaction, world.tables.tables[1], &options, &cursor));
    must(mote_transaction_scan(transaction, world.tables.tables[1], &options, &late));
    must(mote_cursor_next(cursor, &chunk));
    must(mote_transaction_rollback_to(transaction, savepoint));
    must_fail(mote_cursor_next(cursor, &chunk), MOTE_EINVAL);
    mote_cursor_close(cursor);
    must(mote_transaction_scan(transaction, world.tables.tables[1], &options, &cursor));
    mote_transaction_abort(transaction);
    must_fail(mote_cursor_next(cursor, &chunk), MOTE_EINVAL);
    mote_cursor_close(cursor);
    mote_cursor_close(late);
    fixture_remove(&world.fixture);
}

Test(transaction, limits_and_savepoints)
{
    struct world world;
    mote_transaction *transaction, *more[40];
    uint64_t savepoint, rows = 0, ticket;
    int result;
    begin(&world, 7);
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    while ((result = put(&world, transaction, 1, (int64_t)(rows % STATE_KEYS), 18)) == MOTE_OK)
        rows++;
    cr_assert_eq(result, MOTE_ETOOBIG);
    cr_assert_gt(rows, 100);
    for (unsigned i = 0; i < 256; i++)
        must(mote_transaction_savepoint(transaction, &savepoint));
    must_fail(mote_transaction_savepoint(transaction, &savepoint), MOTE_EBUDGET);
    must(mote_transaction_rollback_to(transaction, 1));
    must_fail(mote_transaction_rollback_to(transaction, 2), MOTE_EINVAL);
    must(mote_transaction_commit(transaction, NULL, &ticket)); /* each row once */
    cr_assert_eq(ticket, STATE_KEYS);
    for (unsigned i = 0; i < 32; i++)
        must(mote_transaction_begin(world.fixture.db, NULL, &more[i]));
    must_fail(mote_transaction_begin(world.fixture.db, NULL, &transaction), MOTE_EBUDGET);
    for (unsigned i = 0; i < 32; i++)
        mote_transaction_abort(more[i]);
    fixture_remove(&world.fixture);
}

Test(transaction, columns_of_a_batch_are_all_or_nothing)
{
    enum { ROWS = 60000 };
    static int64_t ids[ROWS];
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_INT64, .values = ids}};
    struct mote_batch batch = {.row_count = 5000, .column_count = 2, .columns = columns};
    struct world world;
    mote_transaction *transaction;
    uint64_t count;
    begin(&world, 8);
    for (unsigned i = 0; i < ROWS; i++)
        ids[i] = i + 1;
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    must(mote_transaction_columns(transaction, world.tables.tables[0], &batch));
    batch.row_count = ROWS;
    must_fail(mote_transaction_columns(transaction, world.tables.tables[0], &batch), MOTE_ETOOBIG);
    must(mote_transaction_commit(transaction, NULL, NULL));
    must(mote_count(world.tables.tables[0], NULL, &count));
    cr_assert_eq(count, 5000);
    fixture_remove(&world.fixture);
}

Test(transaction, bad_input_is_refused)
{
    struct world world;
    mote_transaction *transaction;
    mote_snapshot *snapshot;
    mote_cursor *cursor;
    mote_row *row = NULL;
    struct mote_value values[3] = {value_i64(1), value_i64(2), value_i64(3)};
    struct mote_scan_options options = MOTE_SCAN_OPTIONS_INIT;
    struct mote_transaction_options how = MOTE_TRANSACTION_OPTIONS_INIT;
    uint64_t savepoint, ticket;
    begin(&world, 9);
    mote_db *db = world.fixture.db;
    mote_table *table = world.tables.tables[1];
    must_fail(mote_transaction_begin(NULL, NULL, &transaction), MOTE_EINVAL);
    must_fail(mote_transaction_begin(db, NULL, NULL), MOTE_EINVAL);
    how.flags = 1;
    must_fail(mote_transaction_begin(db, &how, &transaction), MOTE_EINVAL);
    how.flags = 0;
    must(mote_transaction_begin(db, &how, &transaction));
    must_fail(mote_transaction_put(NULL, table, values, 3), MOTE_EINVAL);
    must_fail(mote_transaction_put(transaction, NULL, values, 3), MOTE_EINVAL);
    must_fail(mote_transaction_put(transaction, table, NULL, 3), MOTE_EINVAL);
    must_fail(mote_transaction_put(transaction, table, values, 3), MOTE_ESCHEMA);
    must_fail(mote_transaction_delete(transaction, table, values, 3), MOTE_EINVAL);
    must_fail(mote_transaction_get(transaction, table, values, 1, NULL), MOTE_EINVAL);
    must_fail(mote_transaction_get(transaction, table, values, 2, &row), MOTE_EINVAL);
    must_fail(mote_transaction_columns(transaction, table, NULL), MOTE_EINVAL);
    must_fail(mote_transaction_savepoint(transaction, NULL), MOTE_EINVAL);
    must_fail(mote_transaction_savepoint(NULL, &savepoint), MOTE_EINVAL);
    must_fail(mote_transaction_rollback_to(transaction, 1), MOTE_EINVAL);
    must(mote_snapshot_take(db, NULL, &snapshot));
    options.snapshot = snapshot;
    must_fail(mote_transaction_scan(transaction, table, &options, &cursor), MOTE_EINVAL);
    mote_snapshot_release(snapshot);
    must_fail(mote_transaction_commit(NULL, NULL, NULL), MOTE_EINVAL);
    must(mote_transaction_commit(transaction, NULL, &ticket)); /* of nothing */
    must(mote_wait(db, ticket, MOTE_FOREVER));
    must(mote_transaction_begin(db, NULL, &transaction));
    must(put(&world, transaction, 0, 1, 1));
    must(put(&world, transaction, 2, 1, 1));
    must(mote_table_drop(db, state_names[2]));
    must_fail(put(&world, transaction, 2, 1, 1), MOTE_ENOTABLE);
    must_fail(mote_transaction_commit(transaction, NULL, NULL), MOTE_ENOTABLE);
    mote_transaction_abort(NULL);
    cr_assert_null(mote_transaction_snapshot(NULL));
    must(mote_wait(db, mote_visible_seq(db), MOTE_FOREVER));
    fixture_kill(&world.fixture);
    world.fixture.options.read_only = 1;
    fixture_open(&world.fixture);
    must(mote_table_open(world.fixture.db, state_names[0], &world.tables.tables[0]));
    must(mote_transaction_begin(world.fixture.db, NULL, &transaction));
    must_fail(put(&world, transaction, 0, 1, 1), MOTE_EREADONLY);
    must_fail(mote_transaction_get(transaction, world.tables.tables[0], values, 1, &row), MOTE_ENOTFOUND);
    must(mote_transaction_commit(transaction, NULL, NULL));
    fixture_remove(&world.fixture);
}
