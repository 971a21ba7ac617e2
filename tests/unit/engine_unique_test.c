/* engine_unique_test.c: unique indexes: what is refused and what is not, told beforehand by a model, through flushes, compactions, reopens and crashes; batches; producers; declaring one on rows that are there; several writers at once. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_private.h"
#include "tests/support/engine_fixture.h"

enum { KEYS = 300, VALUES = 200, LONG_BYTES = 300 };

/* Key k has value number value[k] - 1 (0: NULL), if it is there. */
struct unique_model {
    uint64_t state;
    mote_table *table;
    uint32_t type;
    bool alive[KEYS];
    uint32_t value[KEYS];
};

static uint64_t draw(struct unique_model *model, uint64_t below) { return fixture_random(&model->state) % below; }

static mote_table *make_table(mote_db *db, uint32_t type)
{
    struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "other", .type = MOTE_TYPE_INT32}, {.name = "value", .type = type}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    const uint32_t key = 0;
    mote_table *table;
    schema.name = "things";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

/* Long texts differ behind what an index keeps. */
static struct mote_value value_number(uint32_t type, uint32_t number, char room[LONG_BYTES + 1])
{
    if (number == 0)
        return value_null(type);
    if (type == MOTE_TYPE_INT64)
        return value_i64((int64_t)number * 1000003);
    if (type == MOTE_TYPE_FLOAT64)
        return value_f64(number == 1 ? -0.0 : (double)number / 8);
    memset(room, 'x', LONG_BYTES);
    snprintf(room + (number % 2 ? 0 : LONG_BYTES - 8), 8, "%u", number % 1000);
    return value_text(room);
}

static int put(struct unique_model *model, uint32_t key, uint32_t number)
{
    char room[LONG_BYTES + 1];
    struct mote_value values[] = {value_i64(key), value_i32(7), value_number(model->type, number, room)};
    return mote_append(model->table, values, 3, NULL, NULL);
}

/* The key that has the value, or KEYS. */
static uint32_t holder(const struct unique_model *model, uint32_t number)
{
    for (uint32_t key = 0; key < KEYS && number; key++)
        if (model->alive[key] && model->value[key] == number)
            return key;
    return KEYS;
}

/* What a row does to the model; false: it is refused. */
static bool take(struct unique_model *model, uint32_t key, uint32_t number)
{
    uint32_t other = holder(model, number);
    if (other != KEYS && other != key)
        return false;
    model->alive[key] = true;
    model->value[key] = number;
    return true;
}

static void change_row(struct unique_model *model)
{
    uint32_t key = (uint32_t)draw(model, KEYS), number = (uint32_t)draw(model, VALUES);
    if (draw(model, 4) == 0) {
        struct mote_value id = value_i64(key);
        must(mote_delete(model->table, &id, 1, NULL, NULL));
        model->alive[key] = false;
        return;
    }
    if (take(model, key, number))
        must(put(model, key, number));
    else
        must_fail(put(model, key, number), MOTE_EEXISTS);
}

static void change_batch(struct unique_model *model)
{
    static char texts[40][LONG_BYTES + 1], joined[40 * LONG_BYTES];
    int64_t ids[40], integers[40];
    int32_t others[40] = {0};
    double floats[40];
    uint32_t offsets[41] = {0}, count = 1 + (uint32_t)draw(model, draw(model, 2) ? 40 : 5);
    uint8_t validity[5] = {0};
    struct unique_model *before = malloc(sizeof *before);
    bool taken = true;
    *before = *model;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = draw(model, 3) ? (uint32_t)draw(model, VALUES) : 0;
        ids[i] = (int64_t)draw(model, KEYS);
        struct mote_value value = value_number(model->type, number, texts[i]);
        taken = taken && take(model, (uint32_t)ids[i], number);
        integers[i] = value.as.i64;
        floats[i] = value.as.f64;
        offsets[i + 1] = offsets[i];
        if (number)
            validity[i / 8] |= (uint8_t)(1 << i % 8);
        if (number && model->type == MOTE_TYPE_TEXT) {
            memcpy(joined + offsets[i], value.as.bytes.data, value.as.bytes.size_bytes);
            offsets[i + 1] += (uint32_t)value.as.bytes.size_bytes;
        }
    }
    struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_INT32, .values = others}, {.type = model->type, .validity = validity}};
    columns[2].values = model->type == MOTE_TYPE_INT64 ? (const void *)integers : model->type == MOTE_TYPE_FLOAT64 ? (const void *)floats : joined;
    columns[2].offsets = model->type == MOTE_TYPE_TEXT ? offsets : NULL;
    const struct mote_batch batch = {.row_count = count, .column_count = 3, .columns = columns};
    if (taken) {
        must(mote_append_columns(model->table, &batch, NULL, NULL));
    } else {
        uint64_t state = model->state;
        must_fail(mote_append_columns(model->table, &batch, NULL, NULL), MOTE_EEXISTS);
        *model = *before; /* all or nothing */
        model->state = state;
    }
    free(before);
}

static void check_rows(struct unique_model *model)
{
    char room[LONG_BYTES + 1];
    for (uint32_t key = 0; key < KEYS; key++) {
        struct mote_value id = value_i64(key), value;
        mote_row *row = NULL;
        int result = mote_get(model->table, &id, 1, &row);
        cr_assert_eq(result, model->alive[key] ? MOTE_OK : MOTE_ENOTFOUND, "key %u", key);
        if (result)
            continue;
        must(mote_row_value(row, 2, &value));
        struct mote_value expected = value_number(model->type, model->value[key], room);
        cr_assert(value_equal(&value, &expected), "key %u", key);
        mote_row_free(row);
    }
}

static void disturb(struct fixture *fixture, struct unique_model *model)
{
    switch (draw(model, 9)) {
    case 0:
    case 1:
    case 2:
        must(mote_flush(fixture->db));
        break;
    case 3:
        must(mote_compact(fixture->db, "things"));
        break;
    case 4:
        fixture_reopen(fixture);
        must(mote_table_open(fixture->db, "things", &model->table));
        break;
    case 5:
        must(mote_wait(fixture->db, mote_visible_seq(fixture->db), MOTE_FOREVER));
        fixture_crash(fixture);
        must(mote_table_open(fixture->db, "things", &model->table));
        break;
    case 6:
        must(mote_index_drop(model->table, "u"));
        must(fixture_declare_unique(model->table, "u", 2));
        break;
    default:
        break;
    }
}

Test(engine_unique, random_writes_are_refused_as_the_model_tells)
{
    static const uint32_t types[] = {MOTE_TYPE_INT64, MOTE_TYPE_TEXT, MOTE_TYPE_FLOAT64};
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture fixture;
        struct unique_model *model = calloc(1, sizeof *model);
        printf("seed %llu\n", (unsigned long long)seed);
        fixture_image(&fixture, 64 << 20);
        fixture.options.workers = seed % 2 ? 1 : MOTE_NO_THREADS;
        fixture_open(&fixture);
        *model = (struct unique_model){.state = seed * 0x9E3779B97F4A7C15u, .type = types[seed % 3]};
        model->table = make_table(fixture.db, model->type);
        must(fixture_declare_unique(model->table, "u", 2));
        for (unsigned step = 0; step < 25; step++) {
            for (unsigned i = 0; i < 120; i++)
                change_row(model);
            for (unsigned i = 0; i < 12; i++)
                change_batch(model);
            check_rows(model);
            disturb(&fixture, model);
        }
        fixture_close(&fixture);
        must(mote_verify(fixture.path, NULL, NULL));
        fixture_remove(&fixture);
        free(model);
    }
}

Test(engine_unique, refusal_names_table_index_and_value)
{
    struct fixture fixture;
    struct mote_error error;
    struct unique_model model = {.type = MOTE_TYPE_TEXT};
    struct mote_index_info info = {.size_bytes = sizeof info};
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    model.table = make_table(fixture.db, MOTE_TYPE_TEXT);
    must(fixture_declare_unique(model.table, "by value", 2));
    must_fail(fixture_declare_unique(model.table, "by value", 2), MOTE_EEXISTS);
    struct mote_value values[] = {value_i64(1), value_i32(0), value_text("red")}, again[] = {value_i64(2), value_i32(0), value_text("red")};
    must(mote_append(model.table, values, 3, NULL, NULL));
    must(mote_append(model.table, values, 3, NULL, NULL)); /* its own value */
    must(mote_insert(model.table, (struct mote_value[]){value_i64(9), value_i32(0), value_text("blue")}, 3, NULL, NULL));
    must_fail(mote_append(model.table, again, 3, NULL, NULL), MOTE_EEXISTS);
    cr_assert_eq(mote_last_error(&error), MOTE_EEXISTS);
    cr_assert(strstr(error.message, "things") && strstr(error.message, "by value") && strstr(error.message, "\"red\""), "%s", error.message);
    must_fail(mote_insert(model.table, again, 3, NULL, NULL), MOTE_EEXISTS);
    must(mote_index_describe(model.table, "by value", &info));
    cr_assert_eq(info.unique, 1);
    must(mote_index_drop(model.table, "by value"));
    must(mote_append(model.table, again, 3, NULL, NULL));
    must_fail(fixture_declare_unique(model.table, "by value", 2), MOTE_EEXISTS);
    cr_assert_eq(mote_last_error(&error), MOTE_EEXISTS);
    cr_assert(strstr(error.message, "\"red\""), "%s", error.message);
    must_fail(mote_index_describe(model.table, "by value", &info), MOTE_ENOTFOUND);
    must(mote_append(model.table, (struct mote_value[]){value_i64(3), value_i32(0), value_text("red")}, 3, NULL, NULL)); /* nobody asks any more */
    must(mote_flush(fixture.db));
    must_fail(fixture_declare_unique(model.table, "by value", 2), MOTE_EEXISTS);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

static int append_pairs(mote_table *table, const int64_t *ids, const int64_t *numbers, size_t count)
{
    static const int32_t others[8];
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_INT32, .values = others}, {.type = MOTE_TYPE_INT64, .values = numbers}};
    const struct mote_batch batch = {.row_count = count, .column_count = 3, .columns = columns};
    return mote_append_columns(table, &batch, NULL, NULL);
}

/* Rows of a batch count one after the other, on top of what memtables and segments hold. */
Test(engine_unique, value_is_handed_over_within_a_batch)
{
    for (unsigned flushed = 0; flushed < 3; flushed++) {
        struct fixture fixture;
        fixture_image(&fixture, 64 << 20);
        fixture.options.workers = MOTE_NO_THREADS;
        fixture_open(&fixture);
        mote_table *table = make_table(fixture.db, MOTE_TYPE_INT64);
        must(fixture_declare_unique(table, "u", 2));
        must(append_pairs(table, (const int64_t[]){1, 2}, (const int64_t[]){10, 20}, 2));
        if (flushed)
            must(mote_flush(fixture.db));
        if (flushed == 2) {
            fixture_reopen(&fixture);
            must(mote_table_open(fixture.db, "things", &table));
        }
        must_fail(append_pairs(table, (const int64_t[]){2, 1}, (const int64_t[]){10, 30}, 2), MOTE_EEXISTS); /* too early */
        must_fail(append_pairs(table, (const int64_t[]){3, 4}, (const int64_t[]){40, 40}, 2), MOTE_EEXISTS);
        must(append_pairs(table, (const int64_t[]){3, 3, 4}, (const int64_t[]){40, 41, 40}, 3));
        must(append_pairs(table, (const int64_t[]){1, 2, 1}, (const int64_t[]){30, 10, 20}, 3)); /* 10 and 20 change hands */
        must_fail(append_pairs(table, (const int64_t[]){5}, (const int64_t[]){20}, 1), MOTE_EEXISTS);
        must(append_pairs(table, (const int64_t[]){5}, (const int64_t[]){30}, 1));
        cr_assert_eq(fixture_count_rows(table), 5);
        fixture_close(&fixture);
        fixture_remove(&fixture);
    }
}

Test(engine_unique, other_kinds_and_other_numbers_are_refused)
{
    struct fixture fixture;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t column = 2;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    mote_table *table = make_table(fixture.db, MOTE_TYPE_POINT3);
    options.name = "near";
    options.kind = MOTE_INDEX_SPATIAL;
    options.columns = &column;
    options.column_count = 1;
    options.unique = 1;
    must_fail(mote_index_create(table, &options), MOTE_EINVAL);
    options.kind = MOTE_INDEX_COLUMN;
    options.columns = (const uint32_t[]){1};
    options.unique = 2;
    must_fail(mote_index_create(table, &options), MOTE_EINVAL);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* ---- Several writers ---- */

struct writer {
    mote_table *table;
    uint64_t state;
    int64_t first_key;
    _Atomic bool *stop;
    uint64_t accepted, refused;
};

/* Rows with keys of its own and values of all. */
static void *write_rows(void *context)
{
    struct writer *writer = context;
    for (int64_t key = writer->first_key; !atomic_load(writer->stop); key++) {
        struct mote_value values[] = {value_i64(key), value_i32(1), value_i64((int64_t)(fixture_random(&writer->state) % 4000))};
        int result = mote_append(writer->table, values, 3, NULL, NULL);
        if (result != MOTE_EEXISTS)
            must(result);
        writer->accepted += result == MOTE_OK;
        writer->refused += result != MOTE_OK;
    }
    return NULL;
}

static uint64_t count_doubled(mote_table *table)
{
    static bool seen[8000];
    struct mote_chunk chunk;
    mote_cursor *cursor;
    uint64_t doubled = 0;
    memset(seen, 0, sizeof seen);
    must(mote_scan(table, NULL, &cursor));
    do {
        must(mote_cursor_next(cursor, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++) {
            int64_t value = ((const int64_t *)chunk.columns[2].values)[i];
            doubled += seen[value];
            seen[value] = true;
        }
    } while (chunk.row_count > 0);
    mote_cursor_close(cursor);
    return doubled;
}

Test(engine_unique, writers_at_once_share_no_value)
{
    struct fixture fixture;
    struct writer writers[4];
    pthread_t threads[4];
    fixture_image(&fixture, 128 << 20);
    fixture_open(&fixture);
    mote_table *table = make_table(fixture.db, MOTE_TYPE_INT64);
    uint64_t accepted = 0, refused = 0, rounds = 0;
    for (unsigned round = 0; round < 12 || (refused == 0 && round < 100); round++, rounds++) { /* on a busy machine the writers may come to few rows while it is declared */
        _Atomic bool stop = false;
        for (unsigned i = 0; i < 4; i++) {
            writers[i] = (struct writer){.table = table, .state = 77 + 4 * round + i, .first_key = (int64_t)(round * 4 + i) * 1000000, .stop = &stop};
            pthread_create(&threads[i], NULL, write_rows, &writers[i]);
        }
        /* Declared while they write; where a value is there twice already, it is refused, and in the next round there are no rows. */
        int result = fixture_declare_unique(table, "u", 2);
        if (result != MOTE_EEXISTS)
            must(result);
        for (unsigned i = 0; i < 3 && !result; i++)
            must(mote_flush(fixture.db));
        atomic_store(&stop, true);
        for (unsigned i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            accepted += writers[i].accepted;
            refused += writers[i].refused;
        }
        if (!result) {
            cr_assert_eq(count_doubled(table), 0);
            must(mote_index_drop(table, "u"));
        }
        must(mote_table_drop(fixture.db, "things"));
        table = make_table(fixture.db, MOTE_TYPE_INT64);
    }
    printf("%llu rounds, %llu rows accepted, %llu refused\n", (unsigned long long)rounds, (unsigned long long)accepted, (unsigned long long)refused);
    cr_assert_gt(refused, 0);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* A record whose value is there already is rejected and counted; the others are appended. */
Test(engine_unique, producer_counts_what_is_refused)
{
    struct sample {
        int64_t id, value;
    };
    struct fixture fixture;
    const uint32_t columns[] = {0, 2};
    struct mote_producer_options options = MOTE_PRODUCER_OPTIONS_INIT;
    struct mote_producer_stats stats = {.size_bytes = sizeof stats};
    mote_producer *producer;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    mote_table *table = make_table(fixture.db, MOTE_TYPE_INT64);
    must(fixture_declare_unique(table, "u", 2));
    options.columns = columns;
    options.column_count = 2;
    options.record_bytes = sizeof(struct sample);
    must(mote_producer_open(table, &options, &producer));
    for (int64_t id = 0; id < 100; id++) {
        struct sample sample = {id, id / 2};
        must(mote_producer_push(producer, &sample));
    }
    must(mote_producer_flush(producer, MOTE_FOREVER));
    must(mote_producer_stats(producer, &stats));
    cr_assert_eq(stats.rejected, 50);
    must(mote_producer_close(producer));
    cr_assert_eq(fixture_count_rows(table), 50);
    cr_assert_eq(count_doubled(table), 0);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}
