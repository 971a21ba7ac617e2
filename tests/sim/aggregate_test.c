/* aggregate_test.c: random tables (keys of several shapes, NULLs, NaN, infinities, extremes, late rows, equal times, replacements, deletes, columns added later, many small blocks in overlapping segments and memtables) and random
 * aggregates, counts and latest rows of them, each compared with what the rows of a scan give. Aggregations stay open over appends, flushes and compactions; snapshots stay open so that keys stand in a block several times.
 *
 *     aggregate_test [--first N] [--seeds N]      MOTE_TEST_SCALE (percent) as usual */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/units.h"
#include "tests/support/aggregate_oracle.h"
#include "tests/support/test_workers.h"

enum { TABLES_OF_VOLUME = 40, SEEDS = 2400, VALUES = 6, COLUMNS_MAX = 16 };

struct world {
    struct fixture fixture;
    mote_table *table;
    uint64_t random, seed;
    struct mote_table_info info;
    uint32_t types[COLUMNS_MAX];
    bool has_default[COLUMNS_MAX];
    uint32_t column_count, shape;
    int64_t clock; /* the newest usual time */
    uint32_t series_max;
    bool wild;     /* extremes come */
    bool added;
    struct mote_value keys[256][3]; /* some that were written */
    uint32_t key_count;
};

static uint32_t draw(struct world *world, uint32_t below) { return below ? (uint32_t)(fixture_random(&world->random) >> 33) % below : 0; }
static bool one_in(struct world *world, uint32_t n) { return draw(world, n) == 0; }

static const char *const words[] = {"", "a", "ab", "gripper", "wrist"};
static const char zeros[] = "a\0b";

/* ---- Schemas ---- */

enum shape { SERIES_TIME, TIME, TEXT_TIME_NUMBER, ROWID, ID_TIME, SERIES_SECONDS, ID, TWO_SERIES_TIME, TIME_SERIES, SHAPES };
static const struct {
    uint32_t types[3], key_count, column_count;
    int32_t time;
} shapes[SHAPES] = {
    [SERIES_TIME] = {{MOTE_TYPE_INT32, MOTE_TYPE_TIMESTAMP}, 2, 2, 1},
    [TIME] = {{MOTE_TYPE_TIMESTAMP}, 1, 1, 0},
    [TEXT_TIME_NUMBER] = {{MOTE_TYPE_TEXT, MOTE_TYPE_INT64, MOTE_TYPE_INT32}, 3, 3, 1},
    [ROWID] = {{MOTE_TYPE_TIMESTAMP}, 0, 1, 0},
    [ID_TIME] = {{MOTE_TYPE_INT64, MOTE_TYPE_TIMESTAMP}, 1, 2, 1},
    [SERIES_SECONDS] = {{MOTE_TYPE_INT32, MOTE_TYPE_FLOAT64}, 2, 2, 1},
    [ID] = {{MOTE_TYPE_INT64}, 1, 1, -1},
    [TWO_SERIES_TIME] = {{MOTE_TYPE_INT32, MOTE_TYPE_TEXT, MOTE_TYPE_TIMESTAMP}, 3, 3, 2},
    [TIME_SERIES] = {{MOTE_TYPE_TIMESTAMP, MOTE_TYPE_INT32}, 2, 2, 0},
};
static const uint32_t value_types[] = {MOTE_TYPE_INT64, MOTE_TYPE_INT32, MOTE_TYPE_FLOAT64, MOTE_TYPE_FLOAT32, MOTE_TYPE_BOOL, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_TEXT};

static void make_table(struct world *world)
{
    static const char *const names[] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14", "c15"};
    struct mote_column_definition columns[COLUMNS_MAX] = {{0}};
    const uint32_t key[] = {0, 1, 2};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    char name[16];
    world->shape = draw(world, SHAPES);
    world->column_count = shapes[world->shape].column_count;
    for (uint32_t i = 0; i < world->column_count; i++)
        world->types[i] = shapes[world->shape].types[i];
    for (uint32_t i = 0; i < VALUES; i++)
        world->types[world->column_count++] = value_types[draw(world, 7)];
    for (uint32_t i = 0; i < world->column_count; i++) {
        columns[i] = (struct mote_column_definition){.name = names[i], .type = world->types[i], .dimension = 1};
        world->has_default[i] = false;
    }
    snprintf(name, sizeof name, "t%llu", (unsigned long long)world->seed);
    schema.name = name;
    schema.columns = columns;
    schema.column_count = world->column_count;
    schema.key_columns = key;
    schema.key_column_count = shapes[world->shape].key_count;
    schema.time_column = shapes[world->shape].time;
    schema.flags = one_in(world, 4) ? MOTE_TABLE_ROW_PAGES : 0;
    must(mote_table_create(world->fixture.db, &schema, &world->table));
    world->info = (struct mote_table_info){.size_bytes = sizeof world->info};
    must(mote_table_describe(world->table, &world->info));
    world->clock = 1000;
    world->series_max = 1 + draw(world, 4);
    world->wild = one_in(world, 3);
    world->added = false;
    world->key_count = 0;
}

/* Of the schema, a hidden rowid not counted: what the public calls count it as. */
static uint32_t position(const struct world *world, uint32_t column) { return column + (world->shape == ROWID); }

/* ---- Rows ---- */

static int64_t draw_time(struct world *world)
{
    if (world->wild && one_in(world, 60))
        return one_in(world, 2) ? INT64_MIN + draw(world, 3) : INT64_MAX - draw(world, 3);
    if (one_in(world, 6))
        return world->clock - draw(world, 600); /* late */
    if (!one_in(world, 4))
        world->clock += draw(world, 9);
    return world->clock;
}

static double draw_float(struct world *world)
{
    static const double specials[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 5e-324, 1e300, -1e300};
    if (one_in(world, world->wild ? 12 : 300))
        return specials[draw(world, 8)];
    return (double)((int32_t)draw(world, 200000) - 100000) / 64.0 + (one_in(world, 3) ? 1e-7 * draw(world, 1000) : 0);
}

static struct mote_value draw_value(struct world *world, uint32_t type)
{
    switch (type) {
    case MOTE_TYPE_INT64:
        if (world->wild && one_in(world, 40))
            return value_i64(one_in(world, 2) ? INT64_MAX : INT64_MIN);
        return value_i64((int64_t)draw(world, 2000) - 1000);
    case MOTE_TYPE_INT32:
        return value_i32(one_in(world, 30) ? (one_in(world, 2) ? INT32_MAX : INT32_MIN) : (int32_t)draw(world, 100));
    case MOTE_TYPE_FLOAT64:
        return value_f64(draw_float(world));
    case MOTE_TYPE_FLOAT32:
        return value_f32((float)(draw_float(world) * (one_in(world, 8) ? 1.0 : 0.001)));
    case MOTE_TYPE_BOOL:
        return value_bool(one_in(world, 2));
    case MOTE_TYPE_TIMESTAMP:
        return value_timestamp(draw_time(world));
    default:
        return one_in(world, 8) ? value_bytes(MOTE_TYPE_TEXT, zeros, 3) : value_text(words[draw(world, 5)]);
    }
}

/* The value of a key column, or of the time column. */
static struct mote_value draw_key(struct world *world, uint32_t column)
{
    uint32_t type = world->types[column];
    if ((int32_t)column == shapes[world->shape].time) {
        int64_t time = draw_time(world);
        if (world->shape == ROWID || world->shape == ID_TIME)
            return one_in(world, 10) ? value_null(type) : value_timestamp(time);
        if (type == MOTE_TYPE_FLOAT64)
            return value_f64(world->wild && one_in(world, 30) ? (one_in(world, 2) ? INFINITY : -1e300) : (double)(time % 100000) * 0x1p-20);
        return type == MOTE_TYPE_INT64 ? value_i64(time) : value_timestamp(time);
    }
    switch (type) {
    case MOTE_TYPE_INT64:
        return value_i64(world->shape == ID || world->shape == ID_TIME ? (int64_t)draw(world, 900) : (int64_t)draw(world, 3));
    case MOTE_TYPE_INT32:
        return value_i32((int32_t)draw(world, world->series_max) - 1);
    default:
        return one_in(world, 8) ? value_bytes(MOTE_TYPE_TEXT, zeros, 3) : value_text(words[draw(world, world->series_max)]);
    }
}

static void keep_key(struct world *world, const struct mote_value *key)
{
    uint32_t at = world->key_count < 256 ? world->key_count++ : draw(world, 256);
    memcpy(world->keys[at], key, 3 * sizeof *key);
}

static void append_some(struct world *world, uint32_t count)
{
    const uint32_t keys = shapes[world->shape].key_count, fixed = shapes[world->shape].column_count;
    bool full = one_in(world, 3); /* no NULLs */
    for (uint32_t i = 0; i < count; i++) {
        struct mote_value values[COLUMNS_MAX];
        for (uint32_t c = 0; c < world->column_count; c++)
            values[c] = c < fixed ? draw_key(world, c) : !full && one_in(world, 5) ? value_null(world->types[c]) : draw_value(world, world->types[c]);
        if (keys > 0 && world->key_count > 0 && one_in(world, 12))
            memcpy(values, world->keys[draw(world, world->key_count)], keys * sizeof *values); /* replaces */
        if (keys > 0)
            keep_key(world, values);
        must(mote_append(world->table, values, world->column_count, NULL, NULL));
    }
}

static void delete_some(struct world *world, uint32_t count)
{
    uint32_t keys = shapes[world->shape].key_count;
    for (uint32_t i = 0; i < count && keys > 0 && world->key_count > 0; i++)
        must(mote_delete(world->table, world->keys[draw(world, world->key_count)], keys, NULL, NULL));
}

static void add_column(struct world *world)
{
    uint32_t type = value_types[draw(world, 6)];
    struct mote_column_definition column = {.name = "later", .type = type, .dimension = 1};
    if (world->added)
        return;
    if (!one_in(world, 3)) {
        column.flags = MOTE_COLUMN_HAS_DEFAULT;
        column.default_value = draw_value(world, type);
    }
    must(mote_table_add_column(world->table, &column));
    world->types[world->column_count++] = type;
    world->added = true;
}

static void change(struct world *world)
{
    mote_cursor *snapshot = NULL;
    if (one_in(world, 4)) /* keeps older versions through the flush */
        must(mote_scan(world->table, NULL, &snapshot));
    append_some(world, 1 + draw(world, one_in(world, 3) ? 150 : 20));
    if (one_in(world, 3))
        delete_some(world, 1 + draw(world, 4));
    if (one_in(world, 12))
        add_column(world);
    if (one_in(world, 2))
        must(mote_flush(world->fixture.db));
    if (one_in(world, 10))
        must(mote_compact(world->fixture.db, NULL));
    mote_cursor_close(snapshot);
}

/* ---- Questions ---- */

struct question {
    struct mote_aggregate_options options;
    struct mote_aggregate_value values[8];
    struct mote_value prefix[3], from[3], to[3];
};

static void draw_range(struct world *world, struct question *question)
{
    struct mote_aggregate_options *options = &question->options;
    uint32_t keys = shapes[world->shape].key_count;
    if (keys > 0 && world->key_count > 0 && one_in(world, 3)) {
        memcpy(question->prefix, world->keys[draw(world, world->key_count)], sizeof question->prefix);
        options->key_prefix = question->prefix;
        options->key_prefix_count = 1 + draw(world, keys);
    }
    if (keys > 0 && world->key_count > 0 && one_in(world, 4)) {
        memcpy(question->from, world->keys[draw(world, world->key_count)], sizeof question->from);
        options->key_from = question->from;
        options->key_from_count = 1 + draw(world, keys);
    }
    if (keys > 0 && world->key_count > 0 && one_in(world, 4)) {
        memcpy(question->to, world->keys[draw(world, world->key_count)], sizeof question->to);
        options->key_to = question->to;
        options->key_to_count = 1 + draw(world, keys);
    }
    if (shapes[world->shape].time >= 0 && one_in(world, 3)) {
        int64_t scale = world->shape == SERIES_SECONDS ? 953 : 1;
        options->use_time_range = 1;
        options->time_from_ns = one_in(world, 4) ? INT64_MIN : (world->clock - draw(world, 1500)) * scale;
        options->time_to_ns = one_in(world, 4) ? INT64_MAX : options->time_from_ns == INT64_MIN ? world->clock * scale : options->time_from_ns + draw(world, 900) * scale;
    }
}

static void draw_question(struct world *world, struct question *question)
{
    static const int64_t buckets[] = {1, 7, 10, 64, 100, 500, 1000, 1000000, 60000000000, INT64_MAX};
    static const uint32_t chunks[] = {0, 1, 2, 3, 17};
    uint32_t fixed = shapes[world->shape].column_count;
    int32_t time = shapes[world->shape].time;
    *question = (struct question){.options = MOTE_AGGREGATE_OPTIONS_INIT};
    struct mote_aggregate_options *options = &question->options;
    draw_range(world, question);
    options->by_series = time >= 0 && time < (int32_t)shapes[world->shape].key_count && one_in(world, 2);
    if (time >= 0 && !one_in(world, 3)) {
        options->bucket_ns = buckets[draw(world, 10)];
        if (world->shape == SERIES_SECONDS && options->bucket_ns < 1000000)
            options->bucket_ns *= 953;
        options->origin_ns = one_in(world, 3) ? (int64_t)draw(world, 1000) : one_in(world, 8) ? (one_in(world, 2) ? INT64_MIN : INT64_MAX) : 0;
    }
    options->values = question->values;
    options->value_count = 1 + draw(world, 8);
    options->chunk_rows = chunks[draw(world, 5)];
    for (size_t i = 0; i < options->value_count; i++) {
        struct mote_aggregate_value *value = &question->values[i];
        uint32_t column = one_in(world, 5) ? draw(world, world->column_count) : fixed + draw(world, world->column_count - fixed);
        uint32_t type = world->types[column];
        *value = (struct mote_aggregate_value){position(world, column), 1 + draw(world, 7)};
        bool sums = value->function == MOTE_AGGREGATE_SUM || value->function == MOTE_AGGREGATE_MEAN;
        if (type == MOTE_TYPE_TEXT || (type == MOTE_TYPE_TIMESTAMP && sums) || one_in(world, 10))
            value->function = MOTE_AGGREGATE_COUNT;
        if (value->function == MOTE_AGGREGATE_COUNT && one_in(world, 3))
            value->column = MOTE_AGGREGATE_ROWS;
    }
}

static void scan_options(const struct question *question, struct mote_scan_options *scan)
{
    const struct mote_aggregate_options *options = &question->options;
    *scan = (struct mote_scan_options)MOTE_SCAN_OPTIONS_INIT;
    scan->key_prefix = options->key_prefix;
    scan->key_prefix_count = options->key_prefix_count;
    scan->key_from = options->key_from;
    scan->key_from_count = options->key_from_count;
    scan->key_to = options->key_to;
    scan->key_to_count = options->key_to_count;
    scan->use_time_range = options->use_time_range;
    scan->time_from_ns = options->time_from_ns;
    scan->time_to_ns = options->time_to_ns;
}

static void fail(const struct world *world, const char *what, const char *text)
{
    fprintf(stderr, "seed %llu, key shape %u: %s: %s\n", (unsigned long long)world->seed, world->shape, what, text);
    abort();
}

/* An aggregation that was opened before the changes and read beside them. */
static void check_open_aggregation(struct world *world)
{
    struct question question;
    struct mote_chunk chunk;
    mote_aggregation *aggregation;
    char text[ORACLE_TEXT_BYTES] = "";
    int code;
    draw_question(world, &question);
    struct aggregate_oracle *oracle = aggregate_oracle_make(world->table, &question.options);
    must(mote_aggregate(world->table, &question.options, &aggregation));
    do {
        if (one_in(world, 3))
            change(world);
        code = mote_aggregation_next(aggregation, &chunk);
        if (!code && !aggregate_oracle_check(oracle, &chunk, text))
            fail(world, "an aggregation beside changes", text);
    } while (!code && chunk.row_count > 0);
    if (code != MOTE_ERANGE || !aggregate_oracle_overflows(oracle))
        must(code);
    mote_aggregation_close(aggregation);
    aggregate_oracle_free(oracle);
}

static void ask(struct world *world)
{
    struct question question;
    struct mote_scan_options scan;
    char text[ORACLE_TEXT_BYTES] = "";
    draw_question(world, &question);
    if (!aggregate_agrees(world->table, &question.options, text))
        fail(world, "an aggregate", text);
    scan_options(&question, &scan);
    scan.limit = one_in(world, 4) ? 1 + draw(world, 50) : 0;
    if (!count_agrees(world->table, &scan, text))
        fail(world, "a count", text);
    bool has_latest = world->shape == SERIES_TIME || world->shape == TIME || world->shape == TEXT_TIME_NUMBER || world->shape == TWO_SERIES_TIME || world->shape == TIME_SERIES;
    scan.descending = one_in(world, 3);
    scan.chunk_rows = one_in(world, 3);
    if (has_latest && !latest_agrees(world->table, &scan, text))
        fail(world, "the latest rows", text);
}

static void run_seed(struct world *world)
{
    make_table(world);
    uint32_t rounds = 2 + draw(world, 5);
    for (uint32_t round = 0; round < rounds; round++) {
        change(world);
        for (uint32_t i = 0; i < 6; i++)
            ask(world);
        if (one_in(world, 2))
            check_open_aggregation(world);
    }
    char name[16];
    snprintf(name, sizeof name, "t%llu", (unsigned long long)world->seed);
    must(mote_table_drop(world->fixture.db, name));
}

int main(int argc, char **argv)
{
    static struct world world;
    uint64_t first = 1, seeds = fixture_scale(SEEDS);
    test_workers_seeds(argc, argv, &first, &seeds);
    printf("seeds %llu to %llu\n", (unsigned long long)first, (unsigned long long)(first + seeds - 1));
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t random = seed * 0x9E3779B97F4A7C15u + 1;
        if ((seed - first) % TABLES_OF_VOLUME == 0) {
            if (world.fixture.db)
                fixture_remove(&world.fixture);
            fixture_sim(&world.fixture, 64 * MIB_BYTES, seed, false);
            world.fixture.options.block_rows = (uint32_t)(1 + seed / TABLES_OF_VOLUME % 3 * 7);
            world.fixture.options.inline_io = 1;
            fixture_open(&world.fixture);
        }
        world.seed = seed;
        world.random = random;
        run_seed(&world);
    }
    fixture_remove(&world.fixture);
    printf("%llu passed, 0 failed\n", (unsigned long long)seeds);
    return 0;
}
