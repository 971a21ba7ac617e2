/* engine_index_column_test.c: the column index as a declared index: every type and every kind of term against a model that looks at each row, through flushes, compactions, reopens and crashes; damage; segments that end for the sake of
 * their index; what cannot be declared. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_private.h"
#include "tests/support/column_model.h"

static struct mote_index_info describe(mote_table *table, const char *name)
{
    struct mote_index_info info = {.size_bytes = sizeof info};
    must(mote_index_describe(table, name, &info));
    return info;
}

static int require_complete(const struct mote_index_info *info, void *context)
{
    (void)context;
    cr_assert_eq(info->segments_indexed, info->segments, "%s: %llu of %llu segments are in the index", info->name, (unsigned long long)info->segments_indexed, (unsigned long long)info->segments);
    cr_assert_eq(info->rows_indexed, info->rows);
    cr_assert_eq(info->segments_damaged, 0);
    return 0;
}

static void require_all_complete(mote_table *table) { must(mote_index_list(table, require_complete, NULL)); }

static void add_indexes(struct column_model *model, uint32_t first, uint32_t step)
{
    for (uint32_t i = first; i <= COLUMN_MODEL_COLUMNS; i += step)
        column_model_add_index(model, i);
}

Test(engine_index_column, bad_definitions_are_refused)
{
    struct fixture fixture;
    struct column_model *model = malloc(sizeof *model);
    struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "place", .type = MOTE_TYPE_POINT3}, {.name = "v", .type = MOTE_TYPE_VECTOR_F32, .dimension = 3}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t key = 0;
    uint32_t positions[2] = {1, 2};
    mote_table *table;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    column_model_create(model, fixture.db, 1);
    column_model_add_index(model, 1);
    schema.name = "other";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(fixture.db, &schema, &table));
    options.name = "by value";
    options.kind = MOTE_INDEX_COLUMN;
    options.columns = positions;
    options.column_count = 1;
    must_fail(mote_index_create(table, &options), MOTE_EINVAL);
    positions[0] = 2;
    must_fail(mote_index_create(table, &options), MOTE_EINVAL);
    positions[0] = 9;
    must_fail(mote_index_create(table, &options), MOTE_ENOCOLUMN);
    positions[0] = 1;
    options.column_count = 2;
    must_fail(mote_index_create(model->table, &options), MOTE_EINVAL);
    options.column_count = 0;
    must_fail(mote_index_create(model->table, &options), MOTE_EINVAL);
    options.name = "i64";
    options.column_count = 1;
    must_fail(mote_index_create(model->table, &options), MOTE_EEXISTS);
    struct mote_index_info info = describe(model->table, "i64");
    cr_assert_eq(info.kind, MOTE_INDEX_COLUMN);
    cr_assert_eq(info.column_count, 1);
    cr_assert_eq(info.columns[0], 1);
    cr_assert_eq(info.unique, 0);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    free(model);
}

Test(engine_index_column, bad_terms_are_refused)
{
    struct fixture fixture;
    struct column_model *model = malloc(sizeof *model);
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const uint32_t i64 = 1, text = 7;
    struct mote_term term = {.kind = MOTE_TERM_EQUAL, .columns = &i64, .column_count = 1, .from = value_i64(1)};
    mote_hits *hits;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    column_model_create(model, fixture.db, 1);
    options.terms = &term;
    options.term_count = 1;
    must(mote_search(model->table, &options, &hits));
    mote_hits_close(hits);
    term.from = value_i32(1);
    must_fail(mote_search(model->table, &options, &hits), MOTE_ESCHEMA);
    term.from = value_null(MOTE_TYPE_INT64);
    must_fail(mote_search(model->table, &options, &hits), MOTE_EINVAL);
    term.from = value_i64(1);
    term.kind = MOTE_TERM_PREFIX;
    must_fail(mote_search(model->table, &options, &hits), MOTE_EINVAL);
    term.kind = MOTE_TERM_EQUAL;
    term.flags = MOTE_TERM_FROM_EXCLUDED;
    must_fail(mote_search(model->table, &options, &hits), MOTE_EINVAL);
    term.flags = 0;
    term.kind = MOTE_TERM_IN;
    term.value_count = 1;
    must_fail(mote_search(model->table, &options, &hits), MOTE_EINVAL);
    struct mote_value *values = calloc(65537, sizeof *values);
    for (size_t i = 0; i < 65537; i++)
        values[i] = value_i64((int64_t)i);
    term.values = values;
    term.value_count = 65537;
    must_fail(mote_search(model->table, &options, &hits), MOTE_ETOOBIG);
    term.value_count = 65536;
    must(mote_search(model->table, &options, &hits));
    mote_hits_close(hits);
    free(values);
    term = (struct mote_term){.kind = MOTE_TERM_PREFIX, .columns = &text, .column_count = 1, .from = value_text("a")};
    must(mote_search(model->table, &options, &hits));
    mote_hits_close(hits);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    free(model);
}

static void work(struct fixture *fixture, struct column_model *model, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        column_model_change(model, 1 + (uint32_t)(fixture_random(&model->state) % 500));
        if (fixture_event(fixture, "values", &model->state))
            column_model_open(model, fixture->db);
        column_model_check(model, 40);
    }
    must(mote_flush_all_indexes(fixture->db));
    require_all_complete(model->table);
}

Test(engine_index_column, random_changes_are_found_as_by_looking_at_every_row)
{
    struct column_model *model = malloc(sizeof *model);
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture fixture;
        printf("seed %llu\n", (unsigned long long)seed);
        fixture_image(&fixture, 64 << 20);
        fixture.options.workers = seed % 2 ? 1 : MOTE_NO_THREADS;
        fixture_open(&fixture);
        column_model_create(model, fixture.db, seed);
        if (seed % 2 == 0)
            add_indexes(model, 1, 1);
        column_model_change(model, 2000);
        if (seed % 2) {
            must(mote_flush(fixture.db));
            add_indexes(model, 2, (uint32_t)seed % 3 + 1); /* some columns have none */
        }
        work(&fixture, model, 12);
        fixture_close(&fixture);
        must(mote_verify(fixture.path, NULL, NULL));
        fixture_remove(&fixture);
    }
    free(model);
}

/* A tombstone's columns are NULL where they lie; no search for NULLs finds them, and the index does not count them. */
Test(engine_index_column, deleted_row_is_no_null)
{
    struct fixture fixture;
    struct column_model *model = malloc(sizeof *model);
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const uint32_t i64 = 1;
    struct mote_term term = {.kind = MOTE_TERM_NULL, .columns = &i64, .column_count = 1};
    mote_hits *hits;
    fixture_image(&fixture, 64 << 20);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    column_model_create(model, fixture.db, 1);
    column_model_add_index(model, 1);
    for (int64_t id = 0; id < 50; id++) {
        struct mote_value values[9] = {value_i64(id), value_i64(id)};
        for (uint32_t k = 2; k < 9; k++)
            values[k] = value_null((const uint32_t[]){0, 0, MOTE_TYPE_INT32, MOTE_TYPE_TIMESTAMP, MOTE_TYPE_FLOAT64, MOTE_TYPE_FLOAT32, MOTE_TYPE_BOOL, MOTE_TYPE_TEXT, MOTE_TYPE_BLOB}[k]);
        must(mote_append(model->table, values, 9, NULL, NULL));
    }
    must(mote_flush(fixture.db));
    for (int64_t id = 0; id < 50; id += 2) {
        struct mote_value key = value_i64(id);
        must(mote_delete(model->table, &key, 1, NULL, NULL));
    }
    must(mote_flush(fixture.db));
    options.terms = &term;
    options.term_count = 1;
    must(mote_search(model->table, &options, &hits));
    cr_assert_eq(mote_hits_count(hits), 0);
    mote_hits_close(hits);
    term.kind = MOTE_TERM_NOT_NULL;
    must(mote_search(model->table, &options, &hits));
    cr_assert_eq(mote_hits_count(hits), 25);
    mote_hits_close(hits);
    require_all_complete(model->table);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    free(model);
}

/* Long texts, all different, take more than a builder plans with for so many rows: segments end early, and each has its section at once. */
Test(engine_index_column, long_different_texts_end_segments_early)
{
    struct fixture fixture;
    struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "text", .type = MOTE_TYPE_TEXT}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t key = 0, position = 1;
    uint64_t state = 7;
    mote_table *table;
    fixture_image(&fixture, 128 << 20);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    schema.name = "texts";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(fixture.db, &schema, &table));
    options.name = "text";
    options.kind = MOTE_INDEX_COLUMN;
    options.columns = &position;
    options.column_count = 1;
    must(mote_index_create(table, &options));
    for (int64_t id = 0; id < 12000; id++) {
        char text[241];
        for (size_t i = 0; i < 240; i++)
            text[i] = (char)('a' + fixture_random(&state) % 26);
        text[240] = 0;
        struct mote_value values[] = {value_i64(id), value_text(text)};
        must(mote_append(table, values, 2, NULL, NULL));
    }
    must(mote_flush(fixture.db));
    struct mote_index_info info = describe(table, "text");
    cr_assert_geq(info.segments, 3, "%llu segments", (unsigned long long)info.segments);
    require_all_complete(table);
    must(mote_compact(fixture.db, NULL));
    cr_assert_geq(describe(table, "text").segments, 3);
    require_all_complete(table);
    cr_assert_eq(fixture_count_rows(table), 12000);
    fixture_close(&fixture);
    must(mote_verify(fixture.path, NULL, NULL));
    fixture_remove(&fixture);
}

/* ---- Texts that begin alike ---- */

enum { LONG_IDS = 90, LONG_BYTES = 1200 };

/* The text of an id, of `change` 0 to 2: beginnings of several lengths that many share, then letters. */
static const char *long_text(int64_t id, uint64_t change, char text[LONG_BYTES + 1])
{
    static const size_t starts[] = {100, 447, 448, 449, 700, 1100};
    uint64_t state = (uint64_t)id * 7919 + change * 104729 + 1;
    size_t start = starts[fixture_random(&state) % 6], rest = fixture_random(&state) % 12;
    memset(text, 'x', start);
    for (size_t i = 0; i < rest; i++)
        text[start + i] = (char)('w' + fixture_random(&state) % 3);
    text[start + rest] = 0;
    return text;
}

static int compare_long(const void *a, const void *b, void *changes)
{
    char x[LONG_BYTES + 1], y[LONG_BYTES + 1];
    int64_t i = *(const int64_t *)a, k = *(const int64_t *)b;
    int order = strcmp(long_text(i, ((uint64_t *)changes)[i], x), long_text(k, ((uint64_t *)changes)[k], y));
    return order ? order : (i > k) - (i < k);
}

static void expect_long_order(mote_table *table, mote_transaction *transaction, uint64_t changes[LONG_IDS])
{
    const uint32_t text = 1;
    int64_t order[LONG_IDS];
    for (int64_t i = 0; i < LONG_IDS; i++)
        order[i] = i;
    qsort_r(order, LONG_IDS, sizeof *order, compare_long, changes);
    for (unsigned i = 0; i < 8; i++) {
        static const uint64_t limits[] = {0, 1, 7, 40};
        struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
        struct mote_term term = {.kind = MOTE_TERM_NOT_NULL, .columns = &text, .column_count = 1, .flags = i % 2 ? MOTE_TERM_DESCENDING : 0};
        struct mote_hit_chunk chunk;
        mote_hits *hits;
        uint64_t wanted = limits[i / 2] ? limits[i / 2] : LONG_IDS;
        options.terms = &term;
        options.term_count = 1;
        options.rank_by = 1;
        options.limit = limits[i / 2];
        must(transaction ? mote_transaction_search(transaction, table, &options, &hits) : mote_search(table, &options, &hits));
        must(mote_hits_next(hits, &chunk));
        cr_assert_eq(chunk.row_count, wanted);
        const struct mote_chunk values = {chunk.row_count, chunk.column_count, chunk.columns};
        for (size_t k = 0; k < wanted; k++)
            cr_assert_eq(chunk_value(&values, 0, k).as.i64, order[i % 2 ? LONG_IDS - 1 - k : k], "hit %zu of %llu, %s", k, (unsigned long long)wanted, i % 2 ? "down" : "up");
        mote_hits_close(hits);
    }
}

Test(engine_index_column, long_texts_are_in_order)
{
    struct fixture fixture;
    struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64}, {.name = "text", .type = MOTE_TYPE_TEXT}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t key = 0, position = 1;
    uint64_t changes[LONG_IDS] = {0}, random = 3;
    char text[LONG_BYTES + 1];
    mote_transaction *transaction;
    mote_table *table;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    schema.name = "texts";
    schema.columns = columns;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    must(mote_table_create(fixture.db, &schema, &table));
    for (unsigned round = 0; round < 8; round++) {
        for (int64_t id = 0; id < LONG_IDS; id++) {
            if (round > 0 && fixture_random(&random) % 3)
                continue;
            changes[id] = fixture_random(&random) % 3;
            const struct mote_value values[] = {value_i64(id), value_text(long_text(id, changes[id], text))};
            must(mote_append(table, values, 2, NULL, NULL));
        }
        if (round % 2)
            must(mote_flush(fixture.db));
        expect_long_order(table, NULL, changes);
        if (round != 3)
            continue;
        options.name = "text";
        options.kind = MOTE_INDEX_COLUMN;
        options.columns = &position;
        options.column_count = 1;
        must(mote_index_create(table, &options));
        must(mote_flush_all_indexes(fixture.db));
    }
    must(mote_transaction_begin(fixture.db, NULL, &transaction));
    for (int64_t id = 0; id < LONG_IDS; id += 2) {
        changes[id] = (changes[id] + 1) % 3;
        const struct mote_value values[] = {value_i64(id), value_text(long_text(id, changes[id], text))};
        must(mote_transaction_put(transaction, table, values, 2));
    }
    expect_long_order(table, transaction, changes);
    mote_transaction_abort(transaction);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_index_column, dropped_index_gives_its_extents_back)
{
    struct fixture fixture;
    struct column_model *model = malloc(sizeof *model);
    fixture_image(&fixture, 64 << 20);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    column_model_create(model, fixture.db, 5);
    column_model_change(model, 2000);
    must(mote_compact(fixture.db, NULL));
    must(mote_checkpoint(fixture.db));
    uint64_t before = fixture_stats(&fixture).extents_free;
    add_indexes(model, 1, 1);
    require_all_complete(model->table);
    cr_assert_lt(fixture_stats(&fixture).extents_free, before);
    must(mote_index_rebuild(model->table, "words"));
    column_model_check(model, 60);
    static const char *const names[] = {"i64", "i32", "at", "f64", "f32", "flag", "words", "bytes"};
    for (unsigned i = 0; i < 8; i++)
        must(mote_index_drop(model->table, names[i]));
    must(mote_checkpoint(fixture.db));
    cr_assert_eq(fixture_stats(&fixture).extents_free, before);
    column_model_check(model, 60);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    free(model);
}

/* Flips a bit of a page of each index's section, one after the other: the answer stays what it is, the damage is noted, and the section is built anew from the rows. */
Test(engine_index_column, flipped_bit_in_a_page_changes_no_answer)
{
    struct fixture fixture;
    struct column_model *model = malloc(sizeof *model);
    fixture_sim(&fixture, 64 << 20, 3, false);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    column_model_create(model, fixture.db, 11);
    add_indexes(model, 1, 1);
    for (unsigned i = 0; i < 2; i++) {
        column_model_change(model, 900);
        must(mote_flush(fixture.db));
    }
    uint64_t noted = 0;
    for (uint32_t round = 0; round < 16; round++) {
        fixture_close(&fixture);
        fixture_open(&fixture);
        column_model_open(model, fixture.db);
        struct version *version = version_acquire(fixture.db->manifest);
        const struct segment *segment = version->lists[0]->segments[round / 8];
        cr_assert_eq(segment->index_count, 8);
        const struct segment_section *section = &segment->indexes[round % 8].section;
        uint64_t inside = (round * 977) % section->length_bytes, at = layout_extent_offset(&fixture.db->superblock.layout, section->run.first) + inside / 4096 * 4096;
        uint8_t page[4096] __attribute__((aligned(4096)));
        must(blockdev_read_range(fixture.db->queue, at, page, sizeof page));
        page[inside % 4096] ^= 4;
        must(blockdev_write_range(fixture.db->queue, BLOCKDEV_SOURCE_INDEX, at, page, sizeof page));
        version_release(fixture.db->manifest, version);
        column_model_check(model, 150);
        static const char *const names[] = {"i64", "i32", "at", "f64", "f32", "flag", "words", "bytes"};
        for (unsigned i = 0; i < 8; i++)
            noted += describe(model->table, names[i]).segments_damaged;
        must(mote_flush_all_indexes(fixture.db));
        column_model_check(model, 20);
        for (unsigned i = 0; i < 8; i++)
            must(mote_index_rebuild(model->table, names[i])); /* also what no search came upon */
        require_all_complete(model->table);
    }
    cr_assert_gt(noted, 8, "only %llu of 16 flips were met", (unsigned long long)noted);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    free(model);
}
