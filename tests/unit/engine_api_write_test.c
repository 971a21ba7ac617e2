/* engine_api_write_test.c: append, insert, delete and their batches; append-only tables and row ids; what a refused call leaves (nothing); tickets, waits, the eventfd, and what each durability level promises. */
#include <criterion/criterion.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blockdev/base/units.h"
#include "tests/support/engine_model.h"
#include "tests/support/gate.h"

TestSuite(write, .timeout = 60);

static const struct mote_write_options SYNC = {sizeof SYNC, MOTE_DURABILITY_SYNC, 0};
static const struct mote_write_options NONE = {sizeof NONE, MOTE_DURABILITY_NONE, 0};

static void pause_ms(long milliseconds)
{
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * NS_PER_MS};
    nanosleep(&pause, NULL);
}

/* ---- Insert against append ---- */

static int insert(mote_table *table, uint32_t key, int32_t version)
{
    const struct mote_value values[] = {value_i64(key), value_timestamp(0), value_null(MOTE_TYPE_FLOAT64), value_text("new"), value_i32(version)};
    return mote_insert(table, values, 5, NULL, NULL);
}

static int insert_batch(mote_table *table, const int64_t *keys, size_t count)
{
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = keys}};
    const uint32_t index = 0;
    const struct mote_batch batch = {count, 1, columns, &index};
    return mote_insert_columns(table, &batch, NULL, NULL);
}

/* In memory, in a segment, after a deletion, in a batch: insert refuses what is there, and only that. */
Test(write, insert_refuses_what_append_replaces)
{
    struct fixture fixture;
    struct model model = model_make(10);
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (int place = 0; place < 3; place++) {
        model_put(table, &model, 1, 5, NULL, NULL);
        model_put(table, &model, 1, 6, NULL, NULL); /* append replaces */
        if (place > 0)
            must(mote_flush(fixture.db));
        if (place > 1)
            fixture_reopen(&fixture);
        table = model_table_open(fixture.db, "arm");
        must_fail(insert(table, 1, 7), MOTE_EEXISTS);
        const int64_t repeated[] = {20, 21, 20}, existing[] = {22, 1};
        must_fail(insert_batch(table, repeated, 3), MOTE_EEXISTS);
        must_fail(insert_batch(table, existing, 2), MOTE_EEXISTS);
        model_check(table, &model); /* nothing of the refused ones is there */
        cr_expect_eq(fixture_count_rows(table), 1);
        model_delete(table, &model, 1, NULL, NULL);
        must(insert(table, 1, 8));
        must_fail(insert(table, 1, 9), MOTE_EEXISTS);
        const int64_t fresh[] = {20, 21, 22};
        must(insert_batch(table, fresh, 3));
        must_fail(insert_batch(table, fresh, 1), MOTE_EEXISTS);
        cr_expect_eq(fixture_count_rows(table), 4);
        for (int64_t key = 20; key < 23; key++) {
            struct mote_value value = value_i64(key);
            must(mote_delete(table, &value, 1, NULL, NULL));
        }
    }
    model_free(&model);
    fixture_remove(&fixture);
}

struct inserter {
    mote_table *table;
    uint32_t won;
};

static void *insert_main(void *argument)
{
    struct inserter *inserter = argument;
    for (uint32_t key = 0; key < 200; key++) {
        int result = insert(inserter->table, key, 1);
        require(result == MOTE_OK || result == MOTE_EEXISTS);
        inserter->won += result == MOTE_OK;
    }
    return NULL;
}

/* Four threads insert the same keys: of each key exactly one succeeds. */
Test(write, concurrent_inserts_of_a_key_succeed_once)
{
    struct fixture fixture;
    pthread_t threads[4];
    struct inserter inserters[4];
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    uint32_t won = 0;
    for (int i = 0; i < 4; i++) {
        inserters[i] = (struct inserter){table, 0};
        require(pthread_create(&threads[i], NULL, insert_main, &inserters[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        won += inserters[i].won;
    }
    cr_expect_eq(won, 200);
    cr_expect_eq(fixture_count_rows(table), 200);
    fixture_remove(&fixture);
}

/* ---- Append-only, row ids ---- */

Test(write, append_only_refuses_delete_and_checks_nothing)
{
    struct fixture fixture;
    const struct mote_column_definition columns[] = {{.name = "k", .type = MOTE_TYPE_INT64}, {.name = "v", .type = MOTE_TYPE_INT32}};
    const uint32_t key = 0;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "log";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.flags = MOTE_TABLE_APPEND_ONLY;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    must(mote_table_create(fixture.db, &schema, &table));
    for (int64_t i = 0; i < 20; i++) {
        const struct mote_value values[] = {value_i64(i), value_i32(1)};
        must(i % 2 ? mote_insert(table, values, 2, NULL, NULL) : mote_append(table, values, 2, NULL, NULL));
    }
    struct mote_value first = value_i64(0);
    must_fail(mote_delete(table, &first, 1, NULL, NULL), MOTE_EREADONLY);
    const struct mote_value again[] = {value_i64(3), value_i32(2)};
    must(mote_insert(table, again, 2, NULL, NULL)); /* by promise it is not looked for */
    fixture_reopen(&fixture);
    must(mote_table_open(fixture.db, "log", &table));
    cr_expect_eq(fixture_count_rows(table), 20);
    must_fail(mote_delete(table, &first, 1, NULL, NULL), MOTE_EREADONLY);
    fixture_remove(&fixture);
}

/* A declared AUTO_INCREMENT key: NULL or absent takes the next number, a given one is kept and passed over later. */
Test(write, auto_increment_takes_the_next_number)
{
    struct fixture fixture;
    const struct mote_column_definition columns[] = {{.name = "v", .type = MOTE_TYPE_INT32}, {.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_AUTO_INCREMENT}};
    const uint32_t key = 1;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    mote_row *row = NULL;
    schema.name = "numbered";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    must(mote_table_create(fixture.db, &schema, &table));
    const struct mote_value absent[] = {value_i32(1)}, null[] = {value_i32(2), value_null(MOTE_TYPE_INT64)}, given[] = {value_i32(3), value_i64(100)};
    must(mote_append(table, absent, 1, NULL, NULL));
    must(mote_append(table, null, 2, NULL, NULL));
    must(mote_append(table, given, 2, NULL, NULL));
    must(mote_insert(table, absent, 1, NULL, NULL));
    must_fail(mote_insert(table, given, 2, NULL, NULL), MOTE_EEXISTS);
    const int32_t values[] = {4, 5, 6};
    const struct mote_column batch_column = {.type = MOTE_TYPE_INT32, .values = values};
    const struct mote_batch batch = {3, 1, &batch_column, NULL};
    must(mote_append_columns(table, &batch, &SYNC, NULL));
    fixture_crash(&fixture);
    must(mote_table_open(fixture.db, "numbered", &table));
    must(mote_append(table, absent, 1, NULL, NULL));
    const int64_t ids[] = {1, 2, 100, 101, 102, 103, 104, 105};
    const int32_t expected[] = {1, 2, 3, 1, 4, 5, 6, 1};
    cr_expect_eq(fixture_count_rows(table), 8);
    for (int i = 0; i < 8; i++) {
        struct mote_value id = value_i64(ids[i]), found;
        must(mote_get(table, &id, 1, &row));
        must(mote_row_value(row, 0, &found));
        cr_expect_eq(found.as.i32, expected[i], "row %lld holds %d", (long long)ids[i], found.as.i32);
    }
    mote_row_free(row);
    fixture_remove(&fixture);
}

/* ---- Refusals ---- */

/* Each bad row or batch is refused with its code, and nothing of it is there: no row, no seq. */
Test(write, bad_rows_are_refused_and_change_nothing)
{
    struct fixture fixture;
    struct model model = model_make(4);
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    model_put(table, &model, 1, 1, NULL, NULL);
    uint64_t before = mote_visible_seq(fixture.db);
    const struct mote_value key = value_i64(2), time = value_timestamp(0), number = value_f64(1), text = value_text("x"), version = value_i32(1), bad_text = value_bytes(MOTE_TYPE_TEXT, "\xff\xfe", 2);
    const struct mote_value wrong_type[] = {key, key, number, text, version}, null_key[] = {value_null(MOTE_TYPE_INT64), time}, too_many[] = {key, time, number, text, version, version},
                            not_utf8[] = {key, time, number, bad_text, version}, no_pointer[] = {key, time, number, value_bytes(MOTE_TYPE_TEXT, NULL, 5), version};
    must_fail(mote_append(table, wrong_type, 5, NULL, NULL), MOTE_ESCHEMA);
    must_fail(mote_append(table, null_key, 2, NULL, NULL), MOTE_ESCHEMA);
    must_fail(mote_append(table, too_many, 6, NULL, NULL), MOTE_ESCHEMA);
    must_fail(mote_append(table, not_utf8, 5, NULL, NULL), MOTE_EINVAL);
    int result = mote_append(table, no_pointer, 5, NULL, NULL);
    cr_expect(result == MOTE_EINVAL || result == MOTE_ESCHEMA, "a text without a pointer: %s", mote_error_name(result));
    must_fail(mote_append(table, &key, 0, NULL, NULL), MOTE_ESCHEMA); /* no key at all */
    must_fail(mote_append(table, NULL, 1, NULL, NULL), MOTE_EINVAL);
    must_fail(mote_append(NULL, &key, 1, NULL, NULL), MOTE_EINVAL);
    must_fail(mote_append_columns(table, NULL, NULL, NULL), MOTE_EINVAL);
    const struct mote_write_options unknown = {sizeof unknown, 99, 0}, unsized = {0, MOTE_DURABILITY_SYNC, 0};
    must_fail(mote_append(table, &key, 1, &unknown, NULL), MOTE_EINVAL);
    must_fail(mote_append(table, &key, 1, &unsized, NULL), MOTE_EINVAL);
    const int64_t keys[] = {2, 3};
    const int32_t others[] = {1, 2};
    const uint8_t half = 1;
    const uint32_t offsets_down[] = {0, 4, 2}, twice[] = {0, 0}, beyond[] = {9};
    const struct mote_column key_column = {.type = MOTE_TYPE_INT64, .values = keys}, mistyped = {.type = MOTE_TYPE_INT32, .values = others}, holes = {.type = MOTE_TYPE_INT64, .values = keys, .validity = &half},
                             crooked[] = {key_column, {.type = MOTE_TYPE_TEXT, .values = "abcd", .offsets = offsets_down}}, doubled[] = {key_column, key_column};
    const uint32_t key_and_text[] = {0, 3};
    const struct mote_batch batches[] = {{2, 1, &mistyped, NULL}, {2, 1, &holes, NULL}, {2, 2, crooked, key_and_text}, {2, 2, doubled, twice}, {2, 1, &key_column, beyond}, {2, 0, NULL, NULL}};
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        result = mote_append_columns(table, &batches[i], NULL, NULL);
        cr_expect(result == MOTE_ESCHEMA || result == MOTE_EINVAL || result == MOTE_ENOCOLUMN, "batch %zu: %s", i, mote_error_name(result));
    }
    const struct mote_value short_key[] = {key, key};
    must_fail(mote_delete(table, short_key, 2, NULL, NULL), MOTE_EINVAL);
    must_fail(mote_delete(table, &text, 1, NULL, NULL), MOTE_ESCHEMA);
    cr_expect_eq(mote_visible_seq(fixture.db), before, "a refused call took a seq");
    model_check(table, &model);
    must(mote_append_columns(table, &(struct mote_batch){0, 1, &key_column, NULL}, NULL, NULL)); /* no rows: nothing to do */
    cr_expect_eq(mote_visible_seq(fixture.db), before);
    model_free(&model);
    fixture_remove(&fixture);
}

/* Keys: a text key beyond the limit, NaN, and a batch that no commit could hold. */
Test(write, limits_are_refused_not_cut)
{
    struct fixture fixture;
    const struct mote_column_definition columns[] = {{.name = "name", .type = MOTE_TYPE_TEXT}, {.name = "x", .type = MOTE_TYPE_FLOAT64}, {.name = "pad", .type = MOTE_TYPE_BLOB}};
    const uint32_t key[] = {0, 1};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    mote_row *row = NULL;
    schema.name = "limits";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = key;
    schema.key_column_count = 2;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    must(mote_table_create(fixture.db, &schema, &table));
    char *name = malloc(1 << 20);
    require(name);
    memset(name, 'n', 1 << 20);
    uint32_t longest = 0;
    for (uint32_t length = MOTE_KEY_BYTES_MAX - 20; length <= MOTE_KEY_BYTES_MAX; length++) {
        const struct mote_value values[] = {value_bytes(MOTE_TYPE_TEXT, name, length), value_f64(1)};
        int result = mote_append(table, values, 2, NULL, NULL);
        require(result == MOTE_OK || result == MOTE_ETOOBIG);
        if (result == MOTE_OK) {
            require(length == MOTE_KEY_BYTES_MAX - 20 || longest == length - 1);
            longest = length;
        }
    }
    cr_expect_eq(longest, MOTE_KEY_BYTES_MAX - 10, "a text of %u bytes beside a float64", longest); /* 8 for the number, 2 for the text's end */
    const struct mote_value deepest[] = {value_bytes(MOTE_TYPE_TEXT, name, longest), value_f64(1)};
    must(mote_flush(fixture.db));
    must(mote_get(table, deepest, 2, &row));
    mote_row_free(row);
    const struct mote_value nan[] = {value_text("x"), value_f64(NAN)};
    must_fail(mote_append(table, nan, 2, NULL, NULL), MOTE_EINVAL);
    /* Three rows of 200 KiB are more than one commit. */
    const double numbers[] = {1, 2, 3};
    const uint32_t names_at[] = {0, 1, 2, 3}, pads_at[] = {0, 200 << 10, 400 << 10, 600 << 10};
    const struct mote_column three[] = {{.type = MOTE_TYPE_TEXT, .values = name, .offsets = names_at}, {.type = MOTE_TYPE_FLOAT64, .values = numbers}, {.type = MOTE_TYPE_BLOB, .values = name, .offsets = pads_at}};
    const struct mote_batch large = {3, 3, three, NULL}, fits = {2, 3, three, NULL};
    uint64_t rows = fixture_count_rows(table);
    must_fail(mote_append_columns(table, &large, NULL, NULL), MOTE_ETOOBIG);
    cr_expect_eq(fixture_count_rows(table), rows);
    must(mote_append_columns(table, &fits, NULL, NULL));
    cr_expect_eq(fixture_count_rows(table), rows + 2);
    free(name);
    fixture_remove(&fixture);
}

/* Within one batch the last of equal keys wins, here and after a replay. */
Test(write, last_of_equal_keys_in_a_batch_wins)
{
    struct fixture fixture;
    int64_t keys[] = {5, 6, 5, 5};
    const int32_t versions[] = {1, 2, 3, 4};
    const uint32_t index[] = {0, 4};
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = keys}, {.type = MOTE_TYPE_INT32, .values = versions}};
    const struct mote_batch batch = {4, 2, columns, index};
    mote_row *row = NULL;
    fixture_image(&fixture, 64 * MIB_BYTES);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    must(mote_append_columns(table, &batch, &SYNC, NULL));
    for (int round = 0; round < 4; round++) {
        struct mote_value key = value_i64(5), found;
        must(mote_get(table, &key, 1, &row));
        must(mote_row_value(row, 4, &found));
        cr_expect_eq(found.as.i32, 4);
        cr_expect_eq(fixture_count_rows(table), 2);
        mote_row_free(row);
        row = NULL;
        if (round == 0)
            fixture_crash(&fixture);
        else if (round == 1)
            must(mote_flush(fixture.db));
        else
            must(mote_compact(fixture.db, NULL));
        table = model_table_open(fixture.db, "arm");
    }
    fixture_remove(&fixture);
}

/* ---- Durability ---- */

/* Waits with and without patience, and with a ticket that was never given. */
Test(write, wait_times_out_returns_and_refuses)
{
    struct fixture fixture;
    uint64_t ticket;
    fixture_sim(&fixture, 64 * MIB_BYTES, 51, false);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    must_fail(mote_wait(fixture.db, mote_visible_seq(fixture.db) + 1, 0), MOTE_EINVAL);
    gate_hold(fixture.gate, 1u << BLOCKDEV_WRITE | 1u << BLOCKDEV_FLUSH, 0);
    must(model_append(table, 1, 1, NULL, &ticket));
    must_fail(mote_wait(fixture.db, ticket, 0), MOTE_ETIMEOUT);
    int64_t begin_ns = fixture_now_ns();
    must_fail(mote_wait(fixture.db, ticket, 30 * NS_PER_MS), MOTE_ETIMEOUT);
    cr_expect_geq(fixture_now_ns() - begin_ns, 30 * NS_PER_MS - NS_PER_MS);
    gate_release(fixture.gate);
    must(mote_wait(fixture.db, ticket, 10 * NS_PER_S));
    cr_expect_geq(mote_durable_seq(fixture.db), ticket);
    must(mote_wait(fixture.db, ticket, 0));
    must(mote_wait(fixture.db, 0, 0));
    fixture_remove(&fixture);
}

Test(write, eventfd_tells_of_durable_rows)
{
    struct fixture fixture;
    uint64_t ticket, word;
    fixture_sim(&fixture, 64 * MIB_BYTES, 52, false);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    int fd = mote_durable_eventfd(fixture.db);
    require(fd >= 0);
    cr_expect_eq(mote_durable_eventfd(fixture.db), fd);
    pause_ms(30);
    struct pollfd look = {.fd = fd, .events = POLLIN};
    while (poll(&look, 1, 0) == 1)
        require(read(fd, &word, 8) == 8);
    gate_hold(fixture.gate, 1u << BLOCKDEV_WRITE | 1u << BLOCKDEV_FLUSH, 0);
    must(model_append(table, 1, 1, NULL, &ticket));
    cr_expect_eq(poll(&look, 1, 30), 0, "the eventfd was signalled before the row was durable");
    gate_release(fixture.gate);
    for (int i = 0; i < 200 && mote_durable_seq(fixture.db) < ticket; i++) {
        require(poll(&look, 1, 5000) == 1);
        require(read(fd, &word, 8) == 8);
    }
    cr_expect_geq(mote_durable_seq(fixture.db), ticket);
    fixture_remove(&fixture);
}

/* PERIODIC commits by itself within its period; NONE does not until another level, a flush or a full stage takes it along; GROUP at once. */
Test(write, durability_levels_keep_their_times)
{
    struct fixture fixture;
    const struct mote_write_options periodic = {sizeof periodic, MOTE_DURABILITY_PERIODIC, 60};
    uint64_t ticket;
    fixture_sim(&fixture, 64 * MIB_BYTES, 53, false);
    fixture_open(&fixture);
    mote_table *table = model_table_create(fixture.db, "arm");
    for (int i = 0; i < 3; i++) {
        pause_ms(25);
        int64_t begin_ns = fixture_now_ns();
        must(model_append(table, 1, 1, &periodic, &ticket));
        while (mote_durable_seq(fixture.db) < ticket && fixture_now_ns() - begin_ns < 5 * NS_PER_S)
            pause_ms(1);
        int64_t took_ns = fixture_now_ns() - begin_ns;
        cr_expect_geq(mote_durable_seq(fixture.db), ticket);
        cr_expect_lt(took_ns, NS_PER_S, "PERIODIC of 60 ms took %lld ms", (long long)(took_ns / NS_PER_MS));
        cr_expect_geq(took_ns, 30 * NS_PER_MS, "PERIODIC committed at once");
    }
    must(model_append(table, 2, 1, &NONE, &ticket));
    pause_ms(150);
    cr_expect_lt(mote_durable_seq(fixture.db), ticket, "NONE was committed by itself");
    must(mote_flush(fixture.db));
    cr_expect_geq(mote_durable_seq(fixture.db), ticket);
    must(model_append(table, 3, 1, &NONE, &ticket));
    must(model_append(table, 4, 1, &SYNC, NULL));
    cr_expect_geq(mote_durable_seq(fixture.db), ticket, "what came before a SYNC row is durable with it");
    int64_t begin_ns = fixture_now_ns();
    must(model_append(table, 5, 1, NULL, &ticket)); /* GROUP, without a wait */
    while (mote_durable_seq(fixture.db) < ticket && fixture_now_ns() - begin_ns < 5 * NS_PER_S)
        pause_ms(1);
    cr_expect_geq(mote_durable_seq(fixture.db), ticket, "GROUP does not commit by itself");
    fixture_remove(&fixture);
}
