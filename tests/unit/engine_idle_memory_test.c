/* engine_idle_memory_test.c: what readers hold when nobody reads: whoever has read long rows leaves no decoded blocks of them behind, which a flush would lack in a small budget. */
#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"

enum { ROWS = 600, BLOB_BYTES = 60000 };

static mote_table *fill(mote_db *db)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "frame", .type = MOTE_TYPE_BLOB}};
    const uint32_t key = 0;
    static uint8_t frame[BLOB_BYTES];
    struct mote_schema schema = {sizeof schema, "frames", columns, 2, 0, &key, 1, -1};
    mote_table *table;
    uint64_t random = 4;
    must(mote_table_create(db, &schema, &table));
    for (int64_t id = 0; id < ROWS; id++) {
        for (size_t i = 0; i < sizeof frame; i++)
            frame[i] = (uint8_t)fixture_random(&random);
        struct mote_value row[] = {value_i64(id), {.type = MOTE_TYPE_BLOB, .as.bytes = {frame, sizeof frame}}};
        must(mote_append(table, row, 2, NULL, NULL));
    }
    must(mote_flush(db));
    return table;
}

Test(idle_memory, readers_of_long_rows_hold_little_afterwards)
{
    struct fixture fixture;
    fixture_image(&fixture, 256 * MIB_BYTES);
    fixture.options.memory_bytes = 48 * MIB_BYTES;
    fixture_open(&fixture);
    mote_table *table = fill(fixture.db);
    uint64_t before_bytes = fixture_stats(&fixture).memory_used_bytes;
    mote_row *row = NULL;
    for (int64_t id = 0; id < ROWS; id += 7) {
        struct mote_value key = value_i64(id);
        must(mote_get(table, &key, 1, &row));
    }
    mote_row_free(row);
    cr_assert_eq(fixture_count_rows(table), (uint64_t)ROWS);
    /* Two MiB of iterators and chunks are kept. A worker may be at a job, whose memory comes back. */
    uint64_t after_bytes, begin_ns = (uint64_t)fixture_now_ns();
    while ((after_bytes = fixture_stats(&fixture).memory_used_bytes) > before_bytes + 3 * MIB_BYTES && (uint64_t)fixture_now_ns() - begin_ns < 20 * NS_PER_S)
        nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
    cr_assert_leq(after_bytes, before_bytes + 3 * MIB_BYTES, "%llu bytes were in use, then %llu", (unsigned long long)before_bytes, (unsigned long long)after_bytes);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}
