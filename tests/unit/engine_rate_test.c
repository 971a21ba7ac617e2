/* engine_rate_test.c: the limit of background writes: a flush in the background keeps to it, one that somebody waits for does not. Only lower bounds of time are looked at: a slow machine fails nothing. */
#include <criterion/criterion.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"

TestSuite(rate, .timeout = 120);

enum { BATCH_ROWS = 500, COLUMNS = 9 };

/* Some MiB of values that no codec makes smaller. */
static void append_random(mote_table *table, uint64_t *random, uint32_t batches)
{
    static int64_t keys[BATCH_ROWS], values[COLUMNS][BATCH_ROWS];
    static int64_t next;
    struct mote_column columns[1 + COLUMNS] = {{MOTE_TYPE_INT64, 0, keys, NULL, NULL}};
    for (uint32_t b = 0; b < batches; b++) {
        for (uint32_t i = 0; i < BATCH_ROWS; i++) {
            keys[i] = next++;
            for (uint32_t c = 0; c < COLUMNS; c++)
                values[c][i] = (int64_t)fixture_random(random);
        }
        for (uint32_t c = 0; c < COLUMNS; c++)
            columns[1 + c] = (struct mote_column){MOTE_TYPE_INT64, 0, values[c], NULL, NULL};
        struct mote_batch batch = {.row_count = BATCH_ROWS, .column_count = 1 + COLUMNS, .columns = columns};
        must(mote_append_columns(table, &batch, NULL, NULL));
    }
}

static mote_table *create_table(mote_db *db)
{
    static const char *const names[1 + COLUMNS] = {"k", "a", "b", "c", "d", "e", "f", "g", "h", "i"};
    struct mote_column_definition columns[1 + COLUMNS];
    static const uint32_t key[] = {0};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    for (uint32_t c = 0; c <= COLUMNS; c++)
        columns[c] = (struct mote_column_definition){.name = names[c], .type = MOTE_TYPE_INT64};
    schema.name = "noise";
    schema.columns = columns;
    schema.column_count = 1 + COLUMNS;
    schema.key_columns = key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static uint64_t flushes(struct fixture *fixture) { return fixture_stats(fixture).flushes; }

static void wait_for_flushes(struct fixture *fixture, uint64_t count)
{
    while (flushes(fixture) < count)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

Test(rate, background_flushes_keep_to_the_limit_and_waited_ones_do_not)
{
    struct fixture fixture;
    uint64_t random = 77;
    fixture_image(&fixture, 256 * MIB_BYTES);
    fixture.options.memory_bytes = 96 * MIB_BYTES;
    fixture.options.memtable_bytes = 8 * MIB_BYTES;
    fixture.options.memtable_count = 4;
    fixture.options.background_mib_per_s = 8;
    fixture_open(&fixture);
    mote_table *table = create_table(fixture.db);
    while (flushes(&fixture) == 0 && fixture_stats(&fixture).pending_updates < 120000)
        append_random(table, &random, 1);
    /* At least one memtable is full by now, about 5 MiB of values: its flush takes half a second at this limit. */
    int64_t begin = fixture_now_ns();
    wait_for_flushes(&fixture, 1);
    struct mote_stats stats = fixture_stats(&fixture);
    double seconds = (double)(fixture_now_ns() - begin) / 1e9, mib = (double)stats.bytes_flush / MIB_BYTES;
    cr_expect_gt(mib, 2.0);
    cr_expect_gt(seconds, mib / 8 * 0.4, "%.1f MiB in %.2f s are above the limit", mib, seconds);
    must(mote_flush(fixture.db));
    cr_expect_eq(fixture_stats(&fixture).pending_updates, 0);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}
