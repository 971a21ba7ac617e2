/* engine_index_test.c: declared indexes end to end: definition, flush, compaction, recovery, search against every row of a model, damage. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "engine/engine_private.h"
#include "tests/support/index_model.h"

static struct mote_index_info describe(struct index_model *model, const char *name)
{
    struct mote_index_info info = {.size_bytes = sizeof info};
    must(mote_index_describe(model->table, name, &info));
    return info;
}

static void require_complete(struct index_model *model, const char *name)
{
    struct mote_index_info info = describe(model, name);
    cr_assert_eq(info.segments_indexed, info.segments, "%llu of %llu segments are in the index", (unsigned long long)info.segments_indexed, (unsigned long long)info.segments);
    cr_assert_eq(info.rows_indexed, info.rows);
    cr_assert_eq(info.segments_damaged, 0);
}

Test(engine_index, empty_table_answers_nothing)
{
    struct fixture fixture;
    struct index_model model;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    index_model_create(&model, fixture.db, 1, false);
    index_model_add_index(&model, "near");
    index_model_check(&model, 6);
    must(mote_flush(fixture.db));
    index_model_check(&model, 6);
    require_complete(&model, "near");
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_index, bad_definitions_are_refused)
{
    struct fixture fixture;
    struct index_model model;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t place = 2, at = 1, none = 9;
    char name[80];
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    index_model_create(&model, fixture.db, 1, false);
    options.name = "near";
    options.kind = MOTE_INDEX_SPATIAL;
    options.columns = &place;
    options.column_count = 1;
    must(mote_index_create(model.table, &options));
    must_fail(mote_index_create(model.table, &options), MOTE_EEXISTS);
    options.name = "other";
    options.columns = &at;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.columns = &none;
    must_fail(mote_index_create(model.table, &options), MOTE_ENOCOLUMN);
    options.columns = &place;
    options.kind = 99;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.kind = MOTE_INDEX_SPATIAL;
    options.strategy = 7;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.strategy = MOTE_INDEX_BATCH;
    options.column_count = 0;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.column_count = 1;
    options.name = "";
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    memset(name, 'n', sizeof name);
    name[79] = 0;
    options.name = name;
    must_fail(mote_index_create(model.table, &options), MOTE_ETOOBIG);
    must_fail(mote_index_drop(model.table, "other"), MOTE_ENOTFOUND);
    must_fail(mote_index_rebuild(model.table, "other"), MOTE_ENOTFOUND);
    for (unsigned i = 1; i < 16; i++) {
        snprintf(name, sizeof name, "index %u", i);
        must(mote_index_create(model.table, &options));
    }
    options.name = "one more";
    must_fail(mote_index_create(model.table, &options), MOTE_EBUDGET);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

static void refuse_search(struct index_model *model, const struct mote_search_options *options, int code)
{
    mote_hits *hits;
    must_fail(mote_search(model->table, options, &hits), code);
}

Test(engine_index, bad_searches_are_refused)
{
    struct fixture fixture;
    struct index_model model;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term terms[MOTE_SEARCH_TERMS_MAX + 1] = {{.kind = MOTE_TERM_NEAREST}};
    const uint32_t none = 9, at = 1, place = 2;
    mote_hits *hits;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    index_model_create(&model, fixture.db, 1, false);
    options.terms = terms;
    options.term_count = 1;
    refuse_search(&model, &options, MOTE_ENOTFOUND); /* neither index nor columns, and no index of the kind */
    index_model_add_index(&model, "near");
    terms[0].index = "far";
    refuse_search(&model, &options, MOTE_ENOTFOUND);
    terms[0].index = "near";
    terms[0].columns = &at;
    terms[0].column_count = 1;
    refuse_search(&model, &options, MOTE_EINVAL); /* the index is on another column */
    terms[0].index = NULL;
    refuse_search(&model, &options, MOTE_EINVAL); /* a timestamp is no place */
    terms[0].columns = &none;
    refuse_search(&model, &options, MOTE_ENOCOLUMN);
    terms[0].columns = NULL;
    refuse_search(&model, &options, MOTE_EINVAL);
    terms[0].columns = &place;
    terms[0].kind = 0;
    refuse_search(&model, &options, MOTE_EINVAL);
    terms[0].kind = MOTE_TERM_RADIUS;
    terms[0].radius = -1;
    refuse_search(&model, &options, MOTE_EINVAL);
    terms[0].radius = 1;
    terms[0].centre[1] = (double)__builtin_nanf("");
    refuse_search(&model, &options, MOTE_EINVAL);
    terms[0].centre[1] = 0;
    terms[0].flags = MOTE_TERM_DESCENDING;
    refuse_search(&model, &options, MOTE_EINVAL);
    terms[0].flags = 1u << 20;
    refuse_search(&model, &options, MOTE_EINVAL);
    terms[0].flags = 0;
    options.columns = &none;
    options.column_count = 1;
    refuse_search(&model, &options, MOTE_ENOCOLUMN);
    options.columns = NULL;
    options.flags = 1;
    refuse_search(&model, &options, MOTE_EINVAL);
    options.flags = 0;
    options.terms = NULL;
    refuse_search(&model, &options, MOTE_EINVAL);
    options.terms = terms;
    must_fail(mote_search(model.table, NULL, &hits), MOTE_EINVAL);
    for (size_t i = 1; i <= MOTE_SEARCH_TERMS_MAX; i++)
        terms[i] = terms[0];
    options.term_count = MOTE_SEARCH_TERMS_MAX + 1;
    refuse_search(&model, &options, MOTE_EINVAL);
    options.term_count = MOTE_SEARCH_TERMS_MAX;
    must(mote_search(model.table, &options, &hits));
    mote_hits_close(hits);
    index_model_add_index(&model, "second");
    terms[0].columns = NULL;
    terms[0].column_count = 0;
    options.term_count = 1;
    refuse_search(&model, &options, MOTE_EINVAL); /* which of the two? */
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_index, bad_orders_are_refused)
{
    struct fixture fixture;
    struct index_model model;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term terms[2] = {{.kind = MOTE_TERM_NEAREST}, {.kind = MOTE_TERM_NEAREST}};
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    index_model_create(&model, fixture.db, 1, false);
    index_model_add_index(&model, "near");
    options.terms = terms;
    options.term_count = 2;
    refuse_search(&model, &options, MOTE_EINVAL); /* both rank */
    terms[1].kind = MOTE_TERM_BOX;
    options.rank_by = MOTE_RANK_NONE;
    refuse_search(&model, &options, MOTE_EINVAL);
    options.rank_by = 2;
    refuse_search(&model, &options, MOTE_EINVAL);
    terms[0].kind = MOTE_TERM_RADIUS;
    refuse_search(&model, &options, MOTE_EINVAL); /* a box ranks nothing */
    options.rank_by = 3;
    refuse_search(&model, &options, MOTE_EINVAL);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

static void work(struct fixture *fixture, struct index_model *model, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        index_model_change(model, 1 + (uint32_t)(fixture_random(&model->state) % 900));
        if (fixture_event(fixture, "places", &model->state))
            index_model_open(model, fixture->db);
        index_model_check(model, 9);
    }
    must(mote_flush_all_indexes(fixture->db));
    require_complete(model, "near");
}

Test(engine_index, random_changes_are_found_as_by_looking_at_every_row)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture fixture;
        struct index_model model;
        printf("seed %llu\n", (unsigned long long)seed);
        fixture_image(&fixture, 64 << 20);
        fixture.options.workers = seed % 2 ? 1 : MOTE_NO_THREADS;
        fixture_open(&fixture);
        index_model_create(&model, fixture.db, seed, seed % 3 == 0);
        if (seed % 2 == 0)
            index_model_add_index(&model, "near");
        index_model_change(&model, 3000);
        if (seed % 2) {
            must(mote_flush(fixture.db));
            index_model_add_index(&model, "near");
        }
        work(&fixture, &model, 25);
        fixture_close(&fixture);
        must(mote_verify(fixture.path, NULL, NULL));
        fixture_remove(&fixture);
    }
}

Test(engine_index, dropped_index_gives_its_extents_back)
{
    struct fixture fixture;
    struct index_model model;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    index_model_create(&model, fixture.db, 5, false);
    for (unsigned i = 0; i < 4; i++) {
        index_model_change(&model, 1000);
        must(mote_flush(fixture.db));
    }
    must(mote_checkpoint(fixture.db));
    must(mote_compact(fixture.db, NULL));
    must(mote_checkpoint(fixture.db));
    uint64_t before = fixture_stats(&fixture).extents_free;
    index_model_add_index(&model, "near");
    must(mote_flush_all_indexes(fixture.db));
    require_complete(&model, "near");
    cr_assert_lt(fixture_stats(&fixture).extents_free, before);
    uint64_t id = describe(&model, "near").id;
    must(mote_index_rebuild(model.table, "near"));
    index_model_check(&model, 9);
    must(mote_index_drop(model.table, "near"));
    must(mote_checkpoint(fixture.db));
    cr_assert_eq(fixture_stats(&fixture).extents_free, before);
    index_model_add_index(&model, "near");
    cr_assert_gt(describe(&model, "near").id, id);
    must(mote_flush_all_indexes(fixture.db));
    must(mote_table_drop(fixture.db, "places"));
    must(mote_checkpoint(fixture.db));
    fixture_reopen(&fixture);
    cr_assert_geq(fixture_stats(&fixture).extents_free, before);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* Flips a bit of each page of the index's sections, one after the other: the answer stays what it is, the damage is noted, and the section is built anew from the rows. */
Test(engine_index, flipped_bit_in_a_page_changes_no_answer)
{
    struct fixture fixture;
    struct index_model model;
    fixture_sim(&fixture, 32 << 20, 3, false);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    index_model_create(&model, fixture.db, 11, false);
    index_model_add_index(&model, "near");
    for (unsigned i = 0; i < 3; i++) {
        index_model_change(&model, 900);
        must(mote_flush(fixture.db));
    }
    uint64_t noted = 0;
    for (unsigned round = 0; round < 12; round++) {
        fixture_close(&fixture);
        fixture_open(&fixture);
        index_model_open(&model, fixture.db);
        struct version *version = version_acquire(fixture.db->manifest);
        const struct segment_list *list = version->lists[0];
        const struct segment *segment = list->segments[round % list->count];
        cr_assert_eq(segment->index_count, 1);
        uint64_t pages = segment->indexes[0].section.length_bytes / 4096, at = layout_extent_offset(&fixture.db->superblock.layout, segment->indexes[0].section.run.first) + (round / 3 + 1) * 7 % pages * 4096;
        uint8_t page[4096] __attribute__((aligned(4096)));
        must(blockdev_read_range(fixture.db->queue, at, page, sizeof page));
        page[100 + round * 13] ^= 4;
        must(blockdev_write_range(fixture.db->queue, BLOCKDEV_SOURCE_INDEX, at, page, sizeof page));
        version_release(fixture.db->manifest, version);
        index_model_check(&model, 60);
        noted += describe(&model, "near").segments_damaged;
        must(mote_flush_all_indexes(fixture.db));
        index_model_check(&model, 6);
        must(mote_index_rebuild(model.table, "near")); /* also what no search came upon */
        require_complete(&model, "near");
    }
    cr_assert_gt(noted, 6, "only %llu of 12 flips were met", (unsigned long long)noted);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}
