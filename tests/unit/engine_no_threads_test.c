/* engine_no_threads_test.c: a handle without background workers does their work within the calls: more rows than log and memtables hold at once go in, at every level of durability, and none waits for a worker that does not exist. */
#include <criterion/criterion.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"

enum { ROWS = 256, BATCHES = 160, BLOB_BYTES = 1024 };

static mote_table *make_table(mote_db *db)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "body", .type = MOTE_TYPE_BLOB}};
    const uint32_t key = 0;
    struct mote_schema schema = {sizeof schema, "t", columns, 2, 0, &key, 1, -1};
    mote_table *table;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void append_batch(mote_table *table, int64_t first, uint32_t durability)
{
    static int64_t ids[ROWS];
    static uint8_t bodies[ROWS * BLOB_BYTES];
    static uint32_t offsets[ROWS + 1];
    struct mote_write_options how = MOTE_WRITE_OPTIONS_INIT;
    uint64_t random = (uint64_t)first + 1, ticket;
    for (uint32_t i = 0; i < ROWS; i++) {
        ids[i] = first + i;
        offsets[i + 1] = (i + 1) * BLOB_BYTES;
    }
    for (size_t i = 0; i < sizeof bodies; i++)
        bodies[i] = (uint8_t)fixture_random(&random);
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_BLOB, .values = bodies, .offsets = offsets}};
    const struct mote_batch batch = {.row_count = ROWS, .column_count = 2, .columns = columns};
    how.durability = durability;
    must(mote_append_columns(table, &batch, &how, &ticket));
}

static void load(uint32_t durability)
{
    struct fixture fixture;
    fixture_image(&fixture, 206 * MIB_BYTES);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture.options.memory_bytes = 256 * MIB_BYTES;
    fixture.options.memtable_bytes = 64 * MIB_BYTES; /* more than the log has mapped at first: no flush comes before it must grow */
    fixture_open(&fixture);
    mote_table *table = make_table(fixture.db);
    for (int64_t batch = 0; batch < BATCHES; batch++)
        append_batch(table, batch * ROWS, durability);
    cr_assert_eq(fixture_count_rows(table), (uint64_t)BATCHES * ROWS);
    fixture_reopen(&fixture);
    must(mote_table_open(fixture.db, "t", &table));
    cr_assert_eq(fixture_count_rows(table), (uint64_t)BATCHES * ROWS);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_no_threads, a_load_larger_than_log_and_memtables_goes_in, .timeout = 300)
{
    static const uint32_t levels[] = {MOTE_DURABILITY_NONE, MOTE_DURABILITY_GROUP, MOTE_DURABILITY_SYNC};
    for (unsigned i = 0; i < 3; i++)
        load(levels[i]);
}

/* Each flush makes a segment that holds all keys' range: without a compaction in between, no reader could open all of them. */
Test(engine_no_threads, flushes_without_end_leave_a_table_that_can_be_scanned, .timeout = 300)
{
    enum { FLUSHES = 300 };
    struct fixture fixture;
    fixture_image(&fixture, 512 * MIB_BYTES);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    mote_table *table = make_table(fixture.db);
    for (int64_t i = 0; i < FLUSHES; i++) {
        for (int64_t end = 0; end < 2; end++) {
            const struct mote_value values[] = {{.type = MOTE_TYPE_INT64, .as.i64 = end ? 1000000 - i : i}, {.type = MOTE_TYPE_BLOB, .as.bytes = {"b", 1}}};
            must(mote_append(table, values, 2, NULL, NULL));
        }
        must(mote_flush(fixture.db));
    }
    cr_assert_eq(fixture_count_rows(table), 2 * FLUSHES);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}
