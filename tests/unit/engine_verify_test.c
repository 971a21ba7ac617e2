/* engine_verify_test.c: mote_verify against sections that are sound in themselves, checksums and all, but not of their segment's rows. They are made by index kinds that lie about one row while a section is rebuilt. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_private.h"
#include "index/index.h"
#include "tests/support/engine_fixture.h"

enum { ROWS = 5000, LIAR = 3217, EMPTY = 3218, DIMENSION = 8, KINDS = 5 }; /* the row EMPTY has NULL everywhere */

static const uint32_t positions[] = {0, 1, 2, 3, 4, 5, 6};
static const struct {
    const char *name, *entry;
    uint32_t kind, column;
} kinds[KINDS] = {{"by value", "value", MOTE_INDEX_COLUMN, 2}, {"by name", "value", MOTE_INDEX_COLUMN, 3}, {"by words", "word", MOTE_INDEX_TEXT, 3}, {"by place", "place", MOTE_INDEX_SPATIAL, 4}, {"by vector", "vector", MOTE_INDEX_VECTOR, 5}};

/* ---- Kinds that lie ---- */

enum lie { LIE_ANOTHER, LIE_MISSING, LIE_EXTRA };
static enum lie lie;
static const struct row_index_ops *honest;
static uint32_t lies_told;

static size_t values_bytes(const struct codec_vector *column)
{
    return column->offsets ? column->offsets[column->count] : column->count * codec_value_bytes(column->type, column->dimension);
}

static uint8_t *copy(const void *bytes, size_t size_bytes)
{
    uint8_t *made = malloc(size_bytes + 1);
    require(made);
    if (size_bytes)
        memcpy(made, bytes, size_bytes);
    return made;
}

static int add_lying(struct row_index *index, uint32_t first_ordinal, const struct codec_vector *columns, uint32_t column_count, const uint8_t *deleted)
{
    struct codec_vector column = columns[0];
    uint32_t about = lie == LIE_EXTRA ? EMPTY : LIAR, row = about - first_ordinal;
    if (about < first_ordinal || row >= column.count)
        return honest->add(index, first_ordinal, columns, column_count, deleted);
    uint8_t *values = copy(column.values, values_bytes(&column)), *validity = calloc(1, column.count / 8 + 1), *gone = calloc(1, column.count);
    require(validity && gone && column_count == 1);
    for (uint32_t i = 0; i < column.count; i++)
        validity[i / 8] = (uint8_t)(validity[i / 8] | (!column.validity || (column.validity[i / 8] >> i % 8 & 1)) << i % 8);
    if (deleted)
        memcpy(gone, deleted, column.count);
    if (lie == LIE_MISSING)
        gone[row] = 1;
    else if (lie == LIE_EXTRA)
        validity[row / 8] = (uint8_t)(validity[row / 8] | 1u << row % 8);
    else if (column.offsets)
        values[column.offsets[row]] ^= 1;
    else
        values[row * codec_value_bytes(column.type, column.dimension) + 6] ^= 1;
    column.values = values;
    column.validity = validity;
    lies_told++;
    int result = honest->add(index, first_ordinal, &column, 1, gone);
    free(values);
    free(validity);
    free(gone);
    return result;
}

static const struct ordinal_index_ops *honest_times;

static int add_time(struct ordinal_index *builder, uint32_t ordinal, int64_t value)
{
    if (ordinal != LIAR)
        return honest_times->add(builder, ordinal, value);
    lies_told++;
    return lie == LIE_MISSING ? MOTE_OK : honest_times->add(builder, ordinal, value + 1);
}

/* ---- A table with an index of each kind ---- */

static void append_rows(mote_table *table)
{
    for (int64_t id = 0; id < ROWS; id++) {
        char text[64];
        float vector[DIMENSION];
        bool empty = id == EMPTY;
        snprintf(text, sizeof text, "w%lld arm%lld gripper", (long long)(id % 97), (long long)id);
        for (uint32_t i = 0; i < DIMENSION; i++)
            vector[i] = (float)((id * (i + 3)) % 101);
        struct mote_value values[] = {
            value_i64(id),
            value_timestamp(1000 + id),
            empty ? value_null(MOTE_TYPE_FLOAT64) : value_f64((double)(id % 13)),
            empty ? value_null(MOTE_TYPE_TEXT) : value_text(text),
            empty ? value_null(MOTE_TYPE_POINT3) : value_point((double)id, 2, 3),
            empty ? value_null(MOTE_TYPE_VECTOR_F32) : value_bytes(MOTE_TYPE_VECTOR_F32, vector, sizeof vector),
        };
        must(mote_append(table, values, 6, NULL, NULL));
    }
}

static mote_table *make_table(mote_db *db)
{
    const struct mote_column_definition columns[] = {
        {.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "at", .type = MOTE_TYPE_TIMESTAMP}, {.name = "value", .type = MOTE_TYPE_FLOAT64}, {.name = "text", .type = MOTE_TYPE_TEXT},
        {.name = "place", .type = MOTE_TYPE_POINT3}, {.name = "vector", .type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION},
    };
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    mote_table *table;
    schema.name = "arm";
    schema.columns = columns;
    schema.column_count = 6;
    schema.key_columns = positions;
    schema.key_column_count = 1;
    schema.time_column = 1;
    must(mote_table_create(db, &schema, &table));
    for (uint32_t i = 0; i < KINDS; i++) {
        struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
        options.name = kinds[i].name;
        options.kind = kinds[i].kind;
        options.columns = &positions[kinds[i].column];
        options.column_count = 1;
        must(mote_index_create(table, &options));
    }
    append_rows(table);
    must(mote_flush(db));
    must(mote_flush_all_indexes(db));
    return table;
}

/* ---- What mote_verify says ---- */

struct said {
    uint32_t count;
    char sentences[4][512];
};

static void hear(const struct mote_error *fault, void *context)
{
    struct said *said = context;
    if (said->count < 4)
        snprintf(said->sentences[said->count], sizeof said->sentences[0], "%s", fault->message);
    said->count++;
}

static void require_said(const struct fixture *fixture, const char *index, const char *what)
{
    struct said said = {0};
    cr_assert_eq(mote_verify(fixture->path, hear, &said), MOTE_EDAMAGED, "%s: not found: %s", index, what);
    cr_assert_eq(said.count, 1, "%u faults: %s; %s", said.count, said.sentences[0], said.sentences[1]);
    cr_assert(strstr(said.sentences[0], index) && strstr(said.sentences[0], what) && strstr(said.sentences[0], "segment"), "not \"%s ... %s\" but: %s", index, what, said.sentences[0]);
}

static void rebuild_lying(struct fixture *fixture, mote_table *table, uint32_t kind, enum lie which)
{
    struct mote_db *db = fixture->db;
    const struct row_index_ops *const *before = db->sst.indexes;
    honest = sst_index_ops(&db->sst, kinds[kind].kind);
    struct row_index_ops lying = *honest;
    const struct row_index_ops *const ops[] = {&lying, NULL};
    lying.add = add_lying;
    lying.steps = NULL; /* a graph's vectors are fetched from the rows */
    lie = which;
    lies_told = 0;
    db->sst.indexes = ops;
    must(mote_index_rebuild(table, kinds[kind].name));
    db->sst.indexes = before;
    cr_assert_eq(lies_told, 1);
}

Test(engine_verify, sections_of_other_rows_are_told_of_with_index_segment_and_row)
{
    struct fixture fixture;
    fixture_image(&fixture, 96 << 20);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture.options.memory_bytes = 256 << 20; /* one segment */
    fixture_open(&fixture);
    mote_table *table = make_table(fixture.db);
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        for (enum lie which = LIE_ANOTHER; which <= LIE_EXTRA; which++) {
            char what[128];
            fixture_open(&fixture);
            must(mote_table_open(fixture.db, "arm", &table));
            rebuild_lying(&fixture, table, kind, which);
            fixture_close(&fixture);
            bool column = kinds[kind].kind == MOTE_INDEX_COLUMN;
            if (which == LIE_MISSING)
                snprintf(what, sizeof what, "it lacks the %s of row %d;", kinds[kind].entry, LIAR);
            else if (which == LIE_EXTRA && !column)
                snprintf(what, sizeof what, "it holds a %s of row %d, which has none;", kinds[kind].entry, EMPTY);
            else
                snprintf(what, sizeof what, "it holds another %s of row %d than the row has;", kinds[kind].entry, which == LIE_EXTRA ? EMPTY : LIAR);
            require_said(&fixture, kinds[kind].name, what);
            fixture_open(&fixture);
            must(mote_table_open(fixture.db, "arm", &table));
            must(mote_index_rebuild(table, kinds[kind].name));
            fixture_close(&fixture);
            must(mote_verify(fixture.path, NULL, NULL));
        }
    }
    fixture_remove(&fixture);
}

Test(engine_verify, timestamp_index_of_other_rows_is_told_of)
{
    struct fixture fixture;
    fixture_image(&fixture, 96 << 20);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture.options.memory_bytes = 256 << 20; /* one segment */
    fixture_open(&fixture);
    mote_table *table = make_table(fixture.db);
    (void)table;
    for (enum lie which = LIE_ANOTHER; which <= LIE_MISSING; which++) {
        struct ordinal_index_ops lying = *fixture.db->sst.timestamps;
        struct mote_error error;
        honest_times = fixture.db->sst.timestamps;
        lying.add = add_time;
        lie = which;
        lies_told = 0;
        fixture.db->sst.timestamps = &lying;
        must(mote_rebuild_timestamp_index(fixture.db));
        fixture.db->sst.timestamps = honest_times;
        cr_assert_eq(lies_told, 1);
        must_fail(engine_check_timestamp_index(fixture.db), MOTE_EDAMAGED);
        mote_last_error(&error);
        cr_assert(strstr(error.message, which == LIE_MISSING ? "lacks the time of row 3217;" : "holds another time of row 3217 than"), "%s", error.message);
        fixture_close(&fixture);
        require_said(&fixture, "timestamp index", "segment");
        fixture_open(&fixture);
        must(mote_rebuild_timestamp_index(fixture.db));
        must(engine_check_timestamp_index(fixture.db));
    }
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
}
