/* engine_get_many_test.c: mote_get_many against mote_get and against what was written: random keys over memtables and segments, with deletes, replaced rows, rows larger than a page, both layouts, a cache for little and one for all. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/engine_fixture.h"

enum { KEYS = 3000, LARGE_BYTES = 9000 };

struct known {
    int64_t version[KEYS]; /* 0: no row */
};

/* Key (group, name), value, and a text whose size follows from the version: now and then larger than two pages. */
static mote_table *make_table(mote_db *db, uint32_t flags)
{
    const struct mote_column_definition columns[] = {
        {.name = "part", .type = MOTE_TYPE_INT64}, {.name = "name", .type = MOTE_TYPE_TEXT}, {.name = "version", .type = MOTE_TYPE_INT64}, {.name = "note", .type = MOTE_TYPE_TEXT}};
    const uint32_t key[] = {0, 1};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = flags ? "rows" : "columns";
    schema.columns = columns;
    schema.column_count = 4;
    schema.key_columns = key;
    schema.key_column_count = 2;
    schema.flags = flags;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void key_of(uint32_t number, char name[16], struct mote_value key[2])
{
    snprintf(name, 16, "n%u", number * 7919u % 100003u);
    key[0] = value_i64((int64_t)(number % 11) - 5);
    key[1] = value_text(name);
}

static uint64_t note_bytes(int64_t version) { return version % 37 == 0 ? LARGE_BYTES : (uint64_t)(version * 31 % 200); }

static void write_rows(mote_table *table, struct known *known, uint64_t *random, uint32_t count)
{
    static char note[LARGE_BYTES];
    memset(note, 'x', sizeof note);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = (uint32_t)(fixture_random(random) % KEYS);
        char name[16];
        struct mote_value values[4];
        key_of(number, name, values);
        if (fixture_random(random) % 5 == 0) {
            must(mote_delete(table, values, 2, NULL, NULL));
            known->version[number] = 0;
            continue;
        }
        int64_t version = 1 + (int64_t)(fixture_random(random) % 1000000);
        values[2] = value_i64(version);
        values[3] = value_bytes(MOTE_TYPE_TEXT, note, note_bytes(version));
        must(mote_append(table, values, 4, NULL, NULL));
        known->version[number] = version;
    }
}

static void check_row(const mote_row *row, int64_t version, mote_row *single, bool added)
{
    struct mote_value value, other;
    must(mote_row_value(row, 2, &value));
    cr_assert_eq(value.as.i64, version);
    cr_assert_eq(mote_row_seq(row), mote_row_seq(single));
    for (uint32_t column = 0; column < (added ? 5u : 4u); column++) {
        must(mote_row_value(row, column, &value));
        must(mote_row_value(single, column, &other));
        cr_assert(value_equal(&value, &other), "column %u", column);
    }
    must(mote_row_value(row, 3, &value));
    cr_assert_eq(value.as.bytes.size_bytes, note_bytes(version));
}

static void check_many(mote_table *table, const struct known *known, uint64_t *random, uint32_t count, bool added)
{
    struct mote_value *keys = calloc(count, 2 * sizeof *keys);
    char(*names)[16] = calloc(count, sizeof *names);
    uint32_t *numbers = calloc(count, sizeof *numbers);
    mote_row **rows = calloc(count, sizeof(mote_row *)), *single = NULL;
    int32_t *results = calloc(count, sizeof *results);
    for (uint32_t i = 0; i < count; i++) {
        numbers[i] = (uint32_t)(fixture_random(random) % KEYS);
        key_of(numbers[i], names[i], keys + 2 * i);
    }
    for (uint32_t again = 0; again < 2; again++) { /* rows made, and rows reused */
        memset(results, 0x55, count * sizeof *results);
        must(mote_get_many(table, keys, 2, count, rows, results));
        for (uint32_t i = 0; i < count; i++) {
            int64_t version = known->version[numbers[i]];
            int alone = mote_get(table, keys + 2 * i, 2, &single);
            cr_assert_eq(results[i], version ? MOTE_OK : MOTE_ENOTFOUND, "key %u: %d", i, results[i]);
            cr_assert_eq(alone, results[i]);
            cr_assert(version || again || !rows[i], "a row that does not exist was made");
            if (version)
                check_row(rows[i], version, single, added);
        }
    }
    for (uint32_t i = 0; i < count; i++)
        mote_row_free(rows[i]);
    mote_row_free(single);
    free(keys);
    free(names);
    free(numbers);
    free(rows);
    free(results);
}

Test(get_many, agrees_with_get_over_memtables_segments_and_deletes)
{
    uint64_t random = 88172645463325252ull ^ (uint64_t)fixture_now_ns();
    printf("seed %llu\n", (unsigned long long)random);
    static struct known known[2];
    for (uint32_t round = 0; round < 2; round++) {
        struct fixture fixture;
        mote_table *tables[2];
        memset(known, 0, sizeof known);
        fixture_image(&fixture, 256ull << 20);
        fixture.options.memory_bytes = 96ull << 20;
        fixture.options.cache_bytes = round ? 24ull << 20 : 3ull << 20;
        fixture_open(&fixture);
        for (uint32_t i = 0; i < 2; i++)
            tables[i] = make_table(fixture.db, i ? MOTE_TABLE_ROW_PAGES : 0);
        for (uint32_t step = 0; step < 6; step++) {
            for (uint32_t i = 0; i < 2; i++)
                write_rows(tables[i], &known[i], &random, step == 0 ? 6000 : 700);
            if (step == 3)
                for (uint32_t i = 0; i < 2; i++) {
                    struct mote_column_definition added = {.name = "later", .type = MOTE_TYPE_FLOAT64, .flags = MOTE_COLUMN_HAS_DEFAULT, .default_value = value_f64(0.5)};
                    must(mote_table_add_column(tables[i], &added));
                }
            if (step < 5)
                must(mote_flush(fixture.db));
            if (step == 4)
                must(mote_compact(fixture.db, NULL));
            if (step % 2 == 0) {
                fixture_reopen(&fixture); /* cold */
                must(mote_table_open(fixture.db, "columns", &tables[0]));
                must(mote_table_open(fixture.db, "rows", &tables[1]));
            }
            for (uint32_t i = 0; i < 2; i++) {
                check_many(tables[i], &known[i], &random, 1, step >= 3);
                check_many(tables[i], &known[i], &random, 900, step >= 3);
            }
        }
        fixture_close(&fixture);
        must(mote_verify(fixture.path, NULL, NULL));
        fixture_remove(&fixture);
    }
}

Test(get_many, bad_calls_are_refused_and_no_keys_are_answered)
{
    struct fixture fixture;
    fixture_image(&fixture, 64ull << 20);
    fixture_open(&fixture);
    mote_table *table = make_table(fixture.db, MOTE_TABLE_ROW_PAGES);
    struct mote_value key[2] = {value_i64(1), value_text("a")}, wrong[2] = {value_text("a"), value_i64(1)};
    mote_row *row = NULL;
    int32_t result = 7;
    must(mote_get_many(table, NULL, 2, 0, NULL, NULL));
    must_fail(mote_get_many(table, key, 1, 1, &row, &result), MOTE_EINVAL);
    must_fail(mote_get_many(table, key, 2, 1, NULL, &result), MOTE_EINVAL);
    must_fail(mote_get_many(table, NULL, 2, 1, &row, &result), MOTE_EINVAL);
    must_fail(mote_get_many(table, key, 2, 1, &row, NULL), MOTE_EINVAL);
    must_fail(mote_get_many(table, wrong, 2, 1, &row, &result), MOTE_ESCHEMA);
    must(mote_get_many(table, key, 2, 1, &row, &result));
    cr_assert(result == MOTE_ENOTFOUND && !row);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}
