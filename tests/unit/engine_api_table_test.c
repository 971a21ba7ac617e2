/* engine_api_table_test.c: create, open, list, describe, drop and change of tables; what a definition may not be; the order of DDL and rows across a crash. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_model.h"

TestSuite(table, .timeout = 60);

static const struct mote_write_options SYNC = {sizeof SYNC, MOTE_DURABILITY_SYNC, 0};

static int create(mote_db *db, const char *name, const struct mote_column_definition *columns, uint32_t count, const uint32_t *key, uint32_t key_count, int32_t time)
{
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    schema.name = name;
    schema.columns = columns;
    schema.column_count = count;
    schema.key_columns = key;
    schema.key_column_count = key_count;
    schema.time_column = time;
    return mote_table_create(db, &schema, NULL);
}

/* What is described is what was defined, before and after reopening; the hidden row id stands in front. */
Test(table, describe_tells_what_create_was_given)
{
    struct fixture fixture;
    struct mote_column_definition columns[] = {{.name = "x", .type = MOTE_TYPE_VECTOR_U8, .dimension = 7}, {.name = "when", .type = MOTE_TYPE_FLOAT64, .flags = MOTE_COLUMN_NOT_NULL},
                                               {.name = "label", .type = MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_HAS_DEFAULT}};
    columns[2].default_value = value_text("none");
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    must(create(fixture.db, "plain", columns, 3, NULL, 0, 1));
    const uint32_t key[] = {2, 1};
    must(create(fixture.db, "keyed", columns, 3, key, 2, -1));
    for (int round = 0; round < 3; round++) {
        mote_table *plain, *keyed, *again;
        struct mote_table_info info = {.size_bytes = sizeof info};
        struct mote_column_definition found;
        must(mote_table_open(fixture.db, "plain", &plain));
        must(mote_table_open(fixture.db, "keyed", &keyed));
        must(mote_table_open(fixture.db, "plain", &again));
        cr_expect_eq(plain, again, "a table has one handle");
        must(mote_table_describe(plain, &info));
        cr_expect_str_eq(info.name, "plain");
        cr_expect_eq(info.column_count, 4);
        cr_expect_eq(info.key_column_count, 1);
        cr_expect_eq(info.key_columns[0], 0);
        cr_expect_eq(info.time_column, 2, "positions count the row id");
        cr_expect_eq(info.schema_version, 1);
        must(mote_table_column(plain, 0, &found));
        cr_expect_str_eq(found.name, "rowid");
        cr_expect(found.flags & MOTE_COLUMN_HIDDEN);
        must(mote_table_column(plain, 1, &found));
        cr_expect(strcmp(found.name, "x") == 0 && found.type == MOTE_TYPE_VECTOR_U8 && found.dimension == 7);
        must(mote_table_column(plain, 3, &found));
        cr_expect(found.flags & MOTE_COLUMN_HAS_DEFAULT);
        cr_expect(value_equal(&found.default_value, &columns[2].default_value));
        must_fail(mote_table_column(plain, 4, &found), MOTE_ENOCOLUMN);
        cr_expect_eq(mote_table_find_column(plain, "label"), 3);
        cr_expect_eq(mote_table_find_column(keyed, "label"), 2);
        must_fail(mote_table_find_column(keyed, "rowid"), MOTE_ENOCOLUMN);
        must(mote_table_describe(keyed, &info));
        cr_expect(info.key_column_count == 2 && info.key_columns[0] == 2 && info.key_columns[1] == 1 && info.time_column == -1);
        cr_expect_gt(info.time_min, info.time_max, "no rows, no times");
        if (round == 0)
            fixture_crash(&fixture);
        else
            fixture_reopen(&fixture);
    }
    fixture_remove(&fixture);
}

/* A table of definitions that are refused. */
Test(table, bad_definitions_are_refused)
{
    struct fixture fixture;
    char long_name[MOTE_NAME_BYTES_MAX + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    struct mote_column_definition good[] = {{.name = "a", .type = MOTE_TYPE_INT64}, {.name = "b", .type = MOTE_TYPE_TEXT}};
    struct mote_column_definition same[] = {{.name = "a", .type = MOTE_TYPE_INT64}, {.name = "a", .type = MOTE_TYPE_TEXT}};
    struct mote_column_definition nameless[] = {{.name = "", .type = MOTE_TYPE_INT64}}, unnamed[] = {{.name = NULL, .type = MOTE_TYPE_INT64}}, typeless[] = {{.name = "a", .type = 99}};
    struct mote_column_definition flat[] = {{.name = "a", .type = MOTE_TYPE_VECTOR_F32}}, deep[] = {{.name = "a", .type = MOTE_TYPE_VECTOR_F32, .dimension = MOTE_VECTOR_DIMENSION_MAX + 1}};
    struct mote_column_definition lengthy[] = {{.name = long_name, .type = MOTE_TYPE_INT64}}, counting[] = {{.name = "a", .type = MOTE_TYPE_INT32, .flags = MOTE_COLUMN_AUTO_INCREMENT}};
    struct mote_column_definition mistaken[] = {{.name = "a", .type = MOTE_TYPE_INT32, .flags = MOTE_COLUMN_HAS_DEFAULT}}, pointed[] = {{.name = "a", .type = MOTE_TYPE_POINT3}};
    mistaken[0].default_value = value_text("no number");
    const uint32_t first[] = {0}, beyond[] = {2}, twice[] = {0, 0}, text[] = {1};
    uint32_t nine[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    struct mote_column_definition many[9];
    for (int i = 0; i < 9; i++)
        many[i] = (struct mote_column_definition){.name = (const char *[]){"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"}[i], .type = MOTE_TYPE_INT64};
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    const struct {
        const char *what, *name;
        const struct mote_column_definition *columns;
        uint32_t count;
        const uint32_t *key;
        uint32_t key_count;
        int32_t time;
        int code, other_code;
    } cases[] = {
        {"no name", NULL, good, 2, first, 1, -1, MOTE_EINVAL, 0},
        {"empty name", "", good, 2, first, 1, -1, MOTE_EINVAL, 0},
        {"long name", long_name, good, 2, first, 1, -1, MOTE_ETOOBIG, MOTE_EINVAL},
        {"no columns", "t", good, 0, NULL, 0, -1, MOTE_EINVAL, 0},
        {"two columns of one name", "t", same, 2, first, 1, -1, MOTE_EEXISTS, MOTE_EINVAL},
        {"empty column name", "t", nameless, 1, first, 1, -1, MOTE_EINVAL, 0},
        {"no column name", "t", unnamed, 1, first, 1, -1, MOTE_EINVAL, 0},
        {"long column name", "t", lengthy, 1, first, 1, -1, MOTE_ETOOBIG, MOTE_EINVAL},
        {"unknown type", "t", typeless, 1, first, 1, -1, MOTE_EINVAL, 0},
        {"vector without dimension", "t", flat, 1, NULL, 0, -1, MOTE_EINVAL, 0},
        {"vector too deep", "t", deep, 1, NULL, 0, -1, MOTE_ETOOBIG, MOTE_EINVAL},
        {"AUTO_INCREMENT of int32", "t", counting, 1, first, 1, -1, MOTE_EINVAL, 0},
        {"default of another type", "t", mistaken, 1, NULL, 0, -1, MOTE_EINVAL, MOTE_ESCHEMA},
        {"key of a point", "t", pointed, 1, first, 1, -1, MOTE_EINVAL, 0},
        {"key beyond the columns", "t", good, 2, beyond, 1, -1, MOTE_EINVAL, MOTE_ENOCOLUMN},
        {"key column twice", "t", good, 2, twice, 2, -1, MOTE_EINVAL, 0},
        {"nine key columns", "t", many, 9, nine, 9, -1, MOTE_EINVAL, MOTE_ETOOBIG},
        {"time of text", "t", good, 2, text, 1, 1, MOTE_EINVAL, 0},
        {"time beyond the columns", "t", good, 2, first, 1, 5, MOTE_EINVAL, MOTE_ENOCOLUMN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mote_table *table;
        int result = create(fixture.db, cases[i].name, cases[i].columns, cases[i].count, cases[i].key, cases[i].key_count, cases[i].time);
        cr_expect(result == cases[i].code || (cases[i].other_code && result == cases[i].other_code), "%s: %s", cases[i].what, mote_error_name(result));
        if (cases[i].name && cases[i].name[0])
            cr_expect_eq(mote_table_open(fixture.db, cases[i].name, &table), MOTE_ENOTABLE, "%s: the table is there", cases[i].what);
    }
    must_fail(mote_table_create(fixture.db, NULL, NULL), MOTE_EINVAL);
    struct mote_schema unsized = {0};
    must_fail(mote_table_create(fixture.db, &unsized, NULL), MOTE_EINVAL);
    fixture_remove(&fixture);
}

static int collect(mote_table *table, const char *name, void *context)
{
    struct mote_table_info info = {.size_bytes = sizeof info};
    must(mote_table_describe(table, &info));
    require(strcmp(info.name, name) == 0);
    strcat(context, name);
    strcat(context, " ");
    return strcmp(name, "stop") == 0 ? 77 : 0;
}

static void check_list(mote_db *db, const char *expected, int expected_result)
{
    char found[200] = "";
    int result = mote_table_list(db, collect, found);
    cr_expect_eq(result, expected_result);
    cr_expect_str_eq(found, expected);
}

Test(table, list_is_in_name_order_and_stops_when_told)
{
    struct fixture fixture;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    check_list(fixture.db, "", 0);
    model_table_create(fixture.db, "zeta");
    model_table_create(fixture.db, "alpha");
    model_table_create(fixture.db, "mid");
    const struct mote_column_definition column = {.name = "a", .type = MOTE_TYPE_INT64};
    must_fail(create(fixture.db, "mid", &column, 1, NULL, 0, -1), MOTE_EEXISTS);
    check_list(fixture.db, "alpha mid zeta ", 0);
    must(mote_table_drop(fixture.db, "mid"));
    must_fail(mote_table_drop(fixture.db, "mid"), MOTE_ENOTABLE);
    model_table_create(fixture.db, "stop");
    check_list(fixture.db, "alpha stop ", 77);
    fixture_reopen(&fixture);
    check_list(fixture.db, "alpha stop ", 77);
    fixture_remove(&fixture);
}

/* A dropped table's handle answers MOTE_ENOTABLE everywhere; its space is free afterwards. */
Test(table, dropped_handle_answers_and_space_returns)
{
    struct fixture fixture;
    struct model model = model_make(3000);
    struct mote_value key = value_i64(1);
    struct mote_column_definition column = {.name = "later", .type = MOTE_TYPE_INT32};
    struct mote_table_info info = {.size_bytes = sizeof info};
    mote_row *row = NULL;
    mote_cursor *cursor;
    fixture_sim(&fixture, 128 * MIB_BYTES, 61, false);
    fixture_open(&fixture);
    mote_table *other = model_table_create(fixture.db, "other");
    must(model_append(other, 1, 1, &SYNC, NULL));
    must(mote_checkpoint(fixture.db));
    uint64_t free_before = fixture_stats(&fixture).extents_free;
    mote_table *table = model_table_create(fixture.db, "arm");
    for (uint32_t i = 0; i < 5; i++) {
        model_put_batch(table, &model, i * 600, 600, i + 1, NULL, NULL);
        must(mote_flush(fixture.db));
    }
    must(model_append(table, 1, 9, &SYNC, NULL)); /* and one in memory */
    cr_expect_lt(fixture_stats(&fixture).extents_free, free_before);
    must(mote_table_drop(fixture.db, "arm"));
    must_fail(mote_get(table, &key, 1, &row), MOTE_ENOTABLE);
    must_fail(mote_scan(table, NULL, &cursor), MOTE_ENOTABLE);
    must_fail(model_append(table, 1, 1, NULL, NULL), MOTE_ENOTABLE);
    must_fail(model_append_batch(table, 1, 2, 1, NULL, NULL), MOTE_ENOTABLE);
    must_fail(mote_delete(table, &key, 1, NULL, NULL), MOTE_ENOTABLE);
    must_fail(mote_insert(table, &key, 1, NULL, NULL), MOTE_ENOTABLE);
    must_fail(mote_table_add_column(table, &column), MOTE_ENOTABLE);
    must_fail(mote_table_describe(table, &info), MOTE_ENOTABLE);
    must_fail(mote_compact(fixture.db, "arm"), MOTE_ENOTABLE);
    uint64_t count;
    must_fail(mote_pending_updates(fixture.db, "arm", &count), MOTE_ENOTABLE);
    must(mote_checkpoint(fixture.db));
    must(mote_checkpoint(fixture.db));
    cr_expect_geq(fixture_stats(&fixture).extents_free + 4, free_before, "%llu extents are free, %llu were before the table", (unsigned long long)fixture_stats(&fixture).extents_free,
                  (unsigned long long)free_before);
    cr_expect_eq(model_read(other, 1), 1);
    fixture_reopen(&fixture);
    cr_expect_eq(model_read(model_table_open(fixture.db, "other"), 1), 1);
    model_free(&model);
    fixture_remove(&fixture);
}

/* DDL is durable when it returns, and stands in order among the rows: cut the power right after each step. */
Test(table, ddl_is_durable_and_ordered_with_rows)
{
    struct fixture fixture;
    fixture_sim(&fixture, 96 * MIB_BYTES, 62, false);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    fixture_power_cut(&fixture, SIM_CRASH_NONE, 1);
    fixture_open(&fixture);
    table = model_table_open(fixture.db, "arm");
    uint64_t ticket;
    const struct mote_write_options none = {sizeof none, MOTE_DURABILITY_NONE, 0};
    for (int32_t i = 0; i < 5; i++) {
        char name[8];
        snprintf(name, sizeof name, "c%d", i);
        struct mote_column_definition column = {.name = name, .type = MOTE_TYPE_INT32, .flags = MOTE_COLUMN_HAS_DEFAULT};
        column.default_value = value_i32(i * 10);
        must(model_append(table, (uint32_t)i, 1, &none, &ticket)); /* not durable yet: the DDL makes it so */
        must(mote_table_add_column(table, &column));
        must_fail(mote_table_add_column(table, &column), MOTE_EEXISTS);
        fixture_power_cut(&fixture, SIM_CRASH_NONE, 1);
        fixture_open(&fixture);
        table = model_table_open(fixture.db, "arm");
        cr_expect_eq(mote_table_find_column(table, name), 5 + i);
        for (int32_t k = 0; k <= i; k++)
            cr_expect_eq(model_read(table, (uint32_t)k), 1, "a row before DDL %d was lost", i);
    }
    struct mote_column_definition needy = {.name = "needy", .type = MOTE_TYPE_INT32, .flags = MOTE_COLUMN_NOT_NULL};
    must_fail(mote_table_add_column(table, &needy), MOTE_EINVAL);
    must_fail(mote_table_add_column(table, NULL), MOTE_EINVAL);
    must(model_append(table, 9, 1, &none, &ticket));
    must(mote_table_drop(fixture.db, "arm"));
    fixture_power_cut(&fixture, SIM_CRASH_NONE, 1);
    fixture_open(&fixture);
    must_fail(mote_table_open(fixture.db, "arm", &table), MOTE_ENOTABLE);
    fixture_remove(&fixture);
}
