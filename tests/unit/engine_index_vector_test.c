/* engine_index_vector_test.c: declared vector indexes end to end: definition, flush, the graph in the background, compaction, recovery, searches against every row of a model, damage. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine_private.h"
#include "engine/vector_cache.h"
#include "tests/support/vector_model.h"

static const uint32_t metrics[] = {MOTE_METRIC_L2, MOTE_METRIC_INNER_PRODUCT, MOTE_METRIC_COSINE};

static struct mote_index_info describe(struct vector_model *model, const char *name)
{
    struct mote_index_info info = {.size_bytes = sizeof info};
    must(mote_index_describe(model->table, name, &info));
    return info;
}

static void require_complete(struct vector_model *model, const char *name)
{
    struct mote_index_info info = describe(model, name);
    cr_assert_eq(info.segments_indexed, info.segments, "%llu of %llu segments are in the index", (unsigned long long)info.segments_indexed, (unsigned long long)info.segments);
    cr_assert_eq(info.rows_indexed, info.rows);
    cr_assert_eq(info.segments_damaged, 0);
    cr_assert_eq(info.segments_waiting, 0);
}

static void begin(struct fixture *fixture, struct vector_model *model, uint64_t seed, uint32_t dimension, uint32_t metric)
{
    fixture_image(fixture, 128 << 20);
    fixture_open(fixture);
    vector_model_create(model, fixture->db, seed, dimension, metric);
}

static void end(struct fixture *fixture)
{
    fixture_close(fixture);
    must(mote_verify(fixture->path, NULL, NULL));
    fixture_remove(fixture);
}

Test(engine_index_vector, definition_is_kept_with_its_defaults)
{
    struct fixture fixture;
    static struct vector_model model;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t column = 2;
    begin(&fixture, &model, 1, 7, MOTE_METRIC_COSINE);
    vector_model_add_index(&model, "first");
    options.name = "second";
    options.kind = MOTE_INDEX_VECTOR;
    options.columns = &column;
    options.column_count = 1;
    options.degree = 12;
    options.build_list = 40;
    must(mote_index_create(model.table, &options));
    fixture_reopen(&fixture);
    vector_model_open(&model, fixture.db);
    struct mote_index_info info = describe(&model, "first");
    cr_assert_eq(info.metric, MOTE_METRIC_COSINE);
    cr_assert_eq(info.degree, 48);
    cr_assert_eq(info.build_list, 96);
    info = describe(&model, "second");
    cr_assert_eq(info.metric, MOTE_METRIC_L2);
    cr_assert_eq(info.degree, 12);
    cr_assert_eq(info.build_list, 40);
    end(&fixture);
}

Test(engine_index_vector, bad_definitions_are_refused)
{
    struct fixture fixture;
    static struct vector_model model;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t both[] = {2, 2}, id = 0;
    begin(&fixture, &model, 1, 7, MOTE_METRIC_L2);
    options.name = "near";
    options.kind = MOTE_INDEX_VECTOR;
    options.columns = both;
    options.column_count = 2;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.columns = &id;
    options.column_count = 1;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.columns = both;
    options.metric = 4;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.metric = 0;
    options.degree = 3;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.degree = 129;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.degree = 0;
    options.build_list = 1025;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    end(&fixture);
}

Test(engine_index_vector, other_vector_types_are_refused)
{
    const struct mote_column_definition columns[] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "h", .type = MOTE_TYPE_VECTOR_F16, .dimension = 4}, {.name = "b", .type = MOTE_TYPE_VECTOR_U8, .dimension = 4}};
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t key = 0;
    struct fixture fixture;
    mote_table *table;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    schema.name = "halves";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = -1;
    must(mote_table_create(fixture.db, &schema, &table));
    options.name = "near";
    options.kind = MOTE_INDEX_VECTOR;
    options.column_count = 1;
    for (uint32_t column = 1; column <= 2; column++) {
        options.columns = &column;
        must_fail(mote_index_create(table, &options), MOTE_EINVAL);
    }
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_index_vector, bad_searches_are_refused)
{
    struct fixture fixture;
    static struct vector_model model;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    float query[8] = {0};
    struct mote_term term = {.kind = MOTE_TERM_VECTOR, .vector = query, .dimension = 7};
    mote_hits *hits;
    begin(&fixture, &model, 1, 7, MOTE_METRIC_L2);
    options.terms = &term;
    options.term_count = 1;
    must_fail(mote_search(model.table, &options, &hits), MOTE_ENOTFOUND);
    vector_model_add_index(&model, "near");
    must(mote_search(model.table, &options, &hits));
    cr_assert_eq(mote_hits_count(hits), 0);
    mote_hits_close(hits);
    term.dimension = 8;
    must_fail(mote_search(model.table, &options, &hits), MOTE_EINVAL);
    term.dimension = 7;
    term.vector = NULL;
    must_fail(mote_search(model.table, &options, &hits), MOTE_EINVAL);
    term.vector = query;
    term.list = 4097;
    must_fail(mote_search(model.table, &options, &hits), MOTE_EINVAL);
    term.list = 4096;
    query[3] = NAN;
    must_fail(mote_search(model.table, &options, &hits), MOTE_EINVAL);
    query[3] = INFINITY;
    must_fail(mote_search(model.table, &options, &hits), MOTE_EINVAL);
    query[3] = 0;
    options.rank_by = MOTE_RANK_NONE;
    must_fail(mote_search(model.table, &options, &hits), MOTE_EINVAL);
    end(&fixture);
}

static void work(struct fixture *fixture, struct vector_model *model, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        vector_model_change(model, 1 + (uint32_t)(fixture_random(&model->state) % 500), 1500);
        if (fixture_event(fixture, "vectors", &model->state))
            vector_model_open(model, fixture->db);
        vector_model_check(model, 6, true);
        vector_model_check(model, 2, false);
    }
    must(mote_flush_all_indexes(fixture->db));
    require_complete(model, "near");
}

Test(engine_index_vector, random_changes_are_found_as_by_looking_at_every_row, .timeout = 120)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture fixture;
        static struct vector_model model;
        printf("seed %llu\n", (unsigned long long)seed);
        fixture_image(&fixture, 128 << 20);
        fixture.options.workers = seed % 2 ? 1 : MOTE_NO_THREADS;
        fixture_open(&fixture);
        vector_model_create(&model, fixture.db, seed, 3 + (uint32_t)seed * 4, metrics[seed % 3]);
        if (seed % 2 == 0)
            vector_model_add_index(&model, "near");
        vector_model_fill(&model, 0, 1400);
        if (seed % 2) {
            must(mote_flush(fixture.db));
            vector_model_add_index(&model, "near");
        }
        work(&fixture, &model, 14);
        end(&fixture);
    }
}

Test(engine_index_vector, graph_comes_in_the_background_and_misses_next_to_nothing, .timeout = 120)
{
    for (uint32_t i = 0; i < 3; i++) {
        struct fixture fixture;
        static struct vector_model model;
        fixture_image(&fixture, 128 << 20);
        fixture.options.workers = 1;
        fixture_open(&fixture);
        vector_model_create(&model, fixture.db, 7 + i, 24, metrics[i]);
        vector_model_add_index(&model, "near");
        vector_model_fill(&model, 0, 5000);
        must(mote_flush(fixture.db));
        must(mote_compact(fixture.db, NULL));
        struct mote_index_info info = describe(&model, "near");
        cr_assert_eq(info.segments_indexed, info.segments);
        vector_model_check(&model, 10, true);
        for (unsigned waited = 0; describe(&model, "near").segments_waiting > 0; waited++) {
            cr_assert_lt(waited, 6000, "no graph after a minute");
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
        require_complete(&model, "near");
        cr_assert_gt(describe(&model, "near").bytes, info.bytes, "a graph is longer than a flat section");
        vector_model_change(&model, 600, 5000);
        vector_model_check(&model, 20, true);
        vector_model_check(&model, 80, false);
        double recall = (double)model.found / (double)model.wanted;
        printf("metric %u: recall %.4f\n", metrics[i], recall);
        cr_assert_gt(recall, 0.95);
        cr_assert_gt(vector_cache_bytes(fixture.db->vector_cache), 0);
        end(&fixture);
    }
}

Test(engine_index_vector, graph_without_workers_comes_when_it_is_asked_for)
{
    struct fixture fixture;
    static struct vector_model model;
    fixture_image(&fixture, 128 << 20);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    vector_model_create(&model, fixture.db, 3, 16, MOTE_METRIC_L2);
    vector_model_add_index(&model, "near");
    vector_model_fill(&model, 0, 2500);
    must(mote_flush(fixture.db));
    must(mote_checkpoint(fixture.db));
    cr_assert_gt(describe(&model, "near").segments_waiting, 0);
    must(mote_flush_all_indexes(fixture.db));
    require_complete(&model, "near");
    vector_model_check(&model, 20, true);
    fixture_reopen(&fixture);
    vector_model_open(&model, fixture.db);
    require_complete(&model, "near");
    vector_model_check(&model, 20, true);
    uint64_t id = describe(&model, "near").id;
    must(mote_index_rebuild(model.table, "near"));
    require_complete(&model, "near");
    vector_model_check(&model, 20, true);
    must(mote_index_drop(model.table, "near"));
    vector_model_add_index(&model, "near"); /* on a table with rows, within the call */
    cr_assert_gt(describe(&model, "near").id, id);
    require_complete(&model, "near");
    vector_model_check(&model, 20, true);
    end(&fixture);
}

/* A build is given up in the middle: by a close, by a drop of its index, of its table, by a compaction that replaces its segment. */
Test(engine_index_vector, build_under_way_is_given_up_without_a_trace, .timeout = 120)
{
    for (unsigned how = 0; how < 4; how++) {
        struct fixture fixture;
        static struct vector_model model;
        fixture_image(&fixture, 128 << 20);
        fixture.options.workers = 1;
        fixture_open(&fixture);
        vector_model_create(&model, fixture.db, how, 32, MOTE_METRIC_L2);
        vector_model_fill(&model, 0, VECTOR_MODEL_KEYS);
        must(mote_checkpoint(fixture.db));
        must(mote_compact(fixture.db, NULL));
        must(mote_checkpoint(fixture.db));
        uint64_t before = fixture_stats(&fixture).extents_free;
        vector_model_add_index(&model, "near");
        nanosleep(&(struct timespec){.tv_nsec = 60000000}, NULL);
        if (how == 0) {
            fixture_reopen(&fixture);
            vector_model_open(&model, fixture.db);
        } else if (how == 1) {
            must(mote_index_drop(model.table, "near"));
        } else if (how == 2) {
            must(mote_table_drop(fixture.db, "vectors"));
        } else {
            vector_model_change(&model, 300, VECTOR_MODEL_KEYS);
            must(mote_compact(fixture.db, NULL));
        }
        if (how == 0 || how == 3) {
            vector_model_check(&model, 10, true);
            must(mote_flush_all_indexes(fixture.db));
            require_complete(&model, "near");
            vector_model_check(&model, 10, true);
        }
        if (how == 1) {
            must(mote_flush_all_indexes(fixture.db));
            must(mote_checkpoint(fixture.db));
            cr_assert_eq(fixture_stats(&fixture).extents_free, before);
        }
        end(&fixture);
    }
}

/* Flips a bit of a page of the sections, flat and graph: exact answers stay what they are, the damage is noted, and the section is built anew from the rows. */
Test(engine_index_vector, flipped_bit_in_a_page_changes_no_answer, .timeout = 120)
{
    struct fixture fixture;
    static struct vector_model model;
    fixture_sim(&fixture, 64 << 20, 3, false);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    vector_model_create(&model, fixture.db, 11, 16, MOTE_METRIC_L2);
    vector_model_add_index(&model, "near");
    for (unsigned i = 0; i < 2; i++) {
        vector_model_fill(&model, i * 2000, i ? 700 : 2000);
        must(mote_flush(fixture.db));
    }
    must(mote_flush_all_indexes(fixture.db));
    uint64_t noted = 0;
    for (unsigned round = 0; round < 12; round++) {
        fixture_close(&fixture);
        fixture_open(&fixture);
        vector_model_open(&model, fixture.db);
        struct version *version = version_acquire(fixture.db->manifest);
        const struct segment_list *list = version->lists[0];
        const struct segment *segment = list->segments[round % list->count];
        cr_assert_eq(segment->index_count, 1);
        uint64_t pages = segment->indexes[0].section.length_bytes / 4096, at = layout_extent_offset(&fixture.db->superblock.layout, segment->indexes[0].section.run.first) + (round * 5 + 1) * 7 % pages * 4096;
        uint8_t page[4096] __attribute__((aligned(4096)));
        must(blockdev_read_range(fixture.db->queue, at, page, sizeof page));
        page[100 + round * 13] ^= 4;
        must(blockdev_write_range(fixture.db->queue, BLOCKDEV_SOURCE_INDEX, at, page, sizeof page));
        version_release(fixture.db->manifest, version);
        vector_model_check(&model, 20, true);
        vector_model_check(&model, 20, false);
        noted += describe(&model, "near").segments_damaged;
        must(mote_flush_all_indexes(fixture.db));
        vector_model_check(&model, 6, true);
        must(mote_index_rebuild(model.table, "near")); /* also what no search came upon */
        require_complete(&model, "near");
    }
    cr_assert_gt(noted, 6, "only %llu of 12 flips were met", (unsigned long long)noted);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* 784 elements in 64 MiB: a row is 3 KiB, and builders, graphs and open indexes have to do with what memtables and cache leave. */
Test(engine_index_vector, long_vectors_fit_a_small_budget, .timeout = 120)
{
    enum { DIMENSION = 784, ROWS = 9000, BATCH = 150 };
    static float vectors[BATCH * DIMENSION];
    static int64_t ids[BATCH];
    const struct mote_column_definition definitions[] = {{.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL}, {.name = "v", .type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION}};
    const struct mote_column columns[] = {{.type = MOTE_TYPE_INT64, .values = ids}, {.type = MOTE_TYPE_VECTOR_F32, .dimension = DIMENSION, .values = vectors}};
    const struct mote_batch batch = {.row_count = BATCH, .column_count = 2, .columns = columns};
    const uint32_t key = 0, column = 1;
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    struct mote_index_options index = FIXTURE_INDEX_OPTIONS_INIT;
    struct mote_index_info info = {.size_bytes = sizeof info};
    struct fixture fixture;
    mote_table *table;
    uint64_t random = 5;
    fixture_image(&fixture, 512 << 20);
    fixture.options = (struct mote_options)MOTE_OPTIONS_INIT;
    fixture.options.memory_bytes = (index.strategy == MOTE_INDEX_BATCH ? 64 : 96) * MIB_BYTES; /* the sections of rows in memory come on top */
    fixture_open(&fixture);
    schema.name = "long";
    schema.columns = definitions;
    schema.column_count = 2;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = -1;
    must(mote_table_create(fixture.db, &schema, &table));
    index.name = "near";
    index.kind = MOTE_INDEX_VECTOR;
    index.columns = &column;
    index.column_count = 1;
    must(mote_index_create(table, &index));
    for (int64_t first = 0; first < ROWS; first += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++)
            ids[i] = first + i;
        for (size_t i = 0; i < BATCH * DIMENSION; i++)
            vectors[i] = (float)(fixture_random(&random) % 1000) / 1000;
        must(mote_append_columns(table, &batch, NULL, NULL));
    }
    must(mote_flush(fixture.db));
    must(mote_compact(fixture.db, NULL));
    must(mote_flush_all_indexes(fixture.db));
    must(mote_index_describe(table, "near", &info));
    cr_assert_eq(info.segments_indexed, info.segments);
    cr_assert_eq(info.segments_waiting, 0);
    cr_assert_leq(info.segments, 8, "%llu segments", (unsigned long long)info.segments);
    cr_assert_geq(info.rows, ROWS);
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term term = {.kind = MOTE_TERM_VECTOR, .vector = vectors + 77 * DIMENSION, .dimension = DIMENSION};
    struct mote_hit_chunk chunk;
    mote_hits *hits;
    options.terms = &term;
    options.term_count = 1;
    must(mote_search(table, &options, &hits));
    must(mote_hits_next(hits, &chunk));
    cr_assert_eq(chunk.row_count, 10);
    cr_assert_eq(((const int64_t *)chunk.columns[0].values)[0], ids[77]);
    cr_assert_eq(chunk.scores[0], 0);
    mote_hits_close(hits);
    end(&fixture);
}
