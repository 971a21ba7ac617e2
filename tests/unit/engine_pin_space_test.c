/* engine_pin_space_test.c: a pin where space is short: what it keeps goes when an append would fail otherwise, and not before, neither for the free space that is kept ahead of need nor for the runs that an open keeps. The clock is the test's. */
#include <criterion/criterion.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_fixture.h"

#define SECOND ((int64_t)NS_PER_S)
#define BEGIN (1700000000 * SECOND)
#define NOTE_BYTES 2048
#define PINNED_ROWS 2000
#define DEVICE_BYTES (32 * MIB_BYTES)

static int64_t read_clock(void *context)
{
    (void)context;
    return BEGIN + PINNED_ROWS * SECOND;
}

static mote_table *make_table(struct fixture *fixture, const char *name)
{
    const struct mote_column_definition columns[] = {{.name = "time", .type = MOTE_TYPE_TIMESTAMP}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    const uint32_t key[] = {0};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = key;
    schema.key_column_count = 1;
    schema.time_column = 0;
    must(mote_table_create(fixture->db, &schema, &table));
    return table;
}

static int append(mote_table *table, int64_t at, uint64_t *random)
{
    static char note[NOTE_BYTES];
    for (size_t i = 0; i + 1 < sizeof note; i++)
        note[i] = (char)(33 + fixture_random(random) % 90);
    const struct mote_value values[] = {value_timestamp(BEGIN + at * SECOND), value_text(note)};
    return mote_append(table, values, 2, NULL, NULL);
}

static uint64_t pinned_rows(mote_table *recorder)
{
    uint64_t rows = 0;
    for (int64_t i = 0; i < PINNED_ROWS; i++) {
        const struct mote_value key[] = {value_timestamp(BEGIN + i * SECOND)};
        mote_row *row = NULL;
        int result = mote_get(recorder, key, 1, &row);
        require(result == MOTE_OK || result == MOTE_ENOTFOUND);
        mote_row_free(row);
        rows += result == MOTE_OK;
    }
    return rows;
}

/* A recorder all of whose rows are pinned, and beside it a table that is not recycled, which takes what is left. */
static mote_table *begin(struct fixture *fixture, uint64_t *random)
{
    struct mote_retention retention = MOTE_RETENTION_INIT;
    fixture_image(fixture, DEVICE_BYTES);
    fixture->realtime_ns = read_clock;
    fixture->options.inline_io = 1;
    fixture->options.memtable_bytes = MIB_BYTES;
    fixture_open(fixture);
    mote_table *recorder = make_table(fixture, "recorder");
    retention.recycle = 1;
    retention.pin_bytes_max = DEVICE_BYTES / 4;
    must(mote_table_set_retention(recorder, &retention));
    for (int64_t i = 0; i < PINNED_ROWS; i++)
        must(append(recorder, i, random));
    must(mote_pin(recorder, "incident", BEGIN, BEGIN + PINNED_ROWS * SECOND));
    return recorder;
}

static uint64_t free_percent(struct fixture *fixture)
{
    struct mote_stats stats = fixture_stats(fixture);
    return 100 * stats.extents_free / stats.extents_total;
}

Test(engine_pin_space, low_space_takes_nothing_of_a_pin)
{
    struct fixture fixture;
    uint64_t random = 5;
    mote_table *recorder = begin(&fixture, &random), *other = make_table(&fixture, "other");
    bool low = false;
    for (int64_t i = 0; append(other, i, &random) == MOTE_OK; i++) {
        low = low || free_percent(&fixture) < 30; /* a quarter is the standing reserve, and a sixteenth is kept free above it */
        if (i % 64 == 0 || low) {
            must(mote_flush(fixture.db));
            cr_assert_eq(pinned_rows(recorder), PINNED_ROWS, "with %lu percent free", (unsigned long)free_percent(&fixture));
        }
        if (low && i % 8 == 0)
            break;
    }
    cr_assert(low, "%lu percent free", (unsigned long)free_percent(&fixture));
    for (int k = 0; k < 4; k++) {
        fixture_reopen(&fixture);
        must(mote_table_open(fixture.db, "recorder", &recorder));
        cr_assert_eq(pinned_rows(recorder), PINNED_ROWS, "open %d, with %lu percent free", k, (unsigned long)free_percent(&fixture));
    }
    fixture_remove(&fixture);
}

Test(engine_pin_space, what_is_pinned_goes_before_an_append_fails)
{
    struct fixture fixture;
    uint64_t random = 6;
    mote_table *recorder = begin(&fixture, &random), *other = make_table(&fixture, "other");
    int64_t at = 0;
    int result = MOTE_OK;
    while (!(result = append(other, at, &random)))
        at++;
    cr_assert_eq(result, MOTE_ENOSPC, "%s", mote_error_name(result));
    cr_assert(pinned_rows(recorder) < PINNED_ROWS / 2, "%lu pinned rows are left, and an append failed", (unsigned long)pinned_rows(recorder));
    fixture_remove(&fixture);
}
