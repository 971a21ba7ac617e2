/* engine_index_text_test.c: the text index end to end: definition, queries, one ranking wherever rows lie, random changes against brute force, damage, sections built in parts, the glosses of WordNet as SQLite's FTS5 ranks them. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_private.h"
#include "tests/support/text_model.h"

enum { IDS_MAX = 4096 };

static struct mote_index_info describe(mote_table *table, const char *name)
{
    struct mote_index_info info = {.size_bytes = sizeof info};
    must(mote_index_describe(table, name, &info));
    return info;
}

static void require_complete(mote_table *table, const char *name)
{
    struct mote_index_info info = describe(table, name);
    cr_assert_eq(info.segments_indexed, info.segments, "%llu of %llu segments are in the index", (unsigned long long)info.segments_indexed, (unsigned long long)info.segments);
    cr_assert_eq(info.rows_indexed, info.rows);
    cr_assert_eq(info.segments_damaged, 0);
}

static void begin(struct fixture *fixture, struct text_model *model, uint64_t seed)
{
    fixture_image(fixture, 64 << 20);
    text_model_options(&fixture->options);
    fixture_open(fixture);
    text_model_create(model, fixture->db, seed);
}

static void end(struct fixture *fixture, struct text_model *model)
{
    fixture_close(fixture);
    must(mote_verify(fixture->path, NULL, NULL));
    fixture_remove(fixture);
    text_model_free(model);
}

static void put_text(mote_table *table, int64_t id, const char *text)
{
    struct mote_value values[3] = {value_i64(id), value_timestamp(id), text ? value_text(text) : value_null(MOTE_TYPE_TEXT)};
    must(mote_append(table, values, 3, NULL, NULL));
}

/* The ids that a query finds, best first, as "3 1 2". */
static void check_ids(struct text_model *model, const char *words, uint32_t flags, const char *expected)
{
    int64_t ids[64];
    double scores[64];
    char found[512] = "";
    uint32_t count = text_model_ask(model, words, flags, 0, ids, scores, 64);
    for (uint32_t i = 0; i < count; i++)
        sprintf(found + strlen(found), "%s%lld", i ? " " : "", (long long)ids[i]);
    cr_assert_str_eq(found, expected, "%s found %s, not %s", words, found, expected);
}

Test(engine_index_text, bad_definitions_are_refused)
{
    struct fixture fixture;
    struct text_model model;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    struct mote_error error;
    const uint32_t body = 2, columns[] = {2, 2}, at = 1, id = 0;
    begin(&fixture, &model, 1);
    options.kind = MOTE_INDEX_TEXT;
    options.name = "words";
    options.columns = &at;
    options.column_count = 1;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.columns = &id;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.columns = columns;
    options.column_count = 2;
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    options.columns = &body;
    options.column_count = 1;
    options.language = "klingon";
    must_fail(mote_index_create(model.table, &options), MOTE_EINVAL);
    mote_last_error(&error);
    cr_assert_not_null(strstr(error.message, "klingon"), "%s", error.message);
    options.language = "english";
    options.keep_diacritics = 1;
    must(mote_index_create(model.table, &options));
    fixture_reopen(&fixture);
    text_model_open(&model, fixture.db);
    struct mote_index_info info = describe(model.table, "words");
    cr_assert_eq(info.kind, MOTE_INDEX_TEXT);
    cr_assert_str_eq(info.language, "english");
    cr_assert_eq(info.keep_diacritics, 1);
    end(&fixture, &model);
}

Test(engine_index_text, bad_searches_are_refused)
{
    struct fixture fixture;
    struct text_model model;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const uint32_t body = 2;
    struct mote_term term = {.kind = MOTE_TERM_WORDS, .words = "a AND"};
    struct mote_error error;
    mote_hits *hits;
    char *many = malloc(70000);
    begin(&fixture, &model, 1);
    options.terms = &term;
    options.term_count = 1;
    must_fail(mote_search(model.table, &options, &hits), MOTE_ENOTFOUND);
    term.columns = &body;
    term.column_count = 1;
    must_fail(mote_search(model.table, &options, &hits), MOTE_ENOTFOUND);
    text_model_add_index(&model, "words");
    must_fail(mote_search(model.table, &options, &hits), MOTE_EINVAL);
    mote_last_error(&error);
    cr_assert_not_null(strstr(error.message, "byte 5"), "%s", error.message);
    static const char *const malformed[] = {"(a", "a)", "\"a", "*", "a OR OR b", "NOT a", "a ** b"};
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        term.words = malformed[i];
        must_fail(mote_search(model.table, &options, &hits), MOTE_EINVAL);
        mote_last_error(&error);
        cr_assert_not_null(strstr(error.message, "byte"), "%s: %s", malformed[i], error.message);
    }
    term.words = NULL;
    must_fail(mote_search(model.table, &options, &hits), MOTE_EINVAL);
    memset(many, 'a', 70000);
    for (size_t i = 1; i < 70000; i += 2)
        many[i] = ' ';
    many[69999] = 0;
    term.words = many;
    must_fail(mote_search(model.table, &options, &hits), MOTE_ETOOBIG);
    many[300] = 0;
    must_fail(mote_search(model.table, &options, &hits), MOTE_ETOOBIG);
    term.words = "";
    must(mote_search(model.table, &options, &hits));
    cr_assert_eq(mote_hits_count(hits), 0);
    mote_hits_close(hits);
    free(many);
    end(&fixture, &model);
}

static void check_sentences(struct text_model *model)
{
    check_ids(model, "fox", 0, "3 1");
    check_ids(model, "quick fox", 0, "1");
    check_ids(model, "quick fox", MOTE_TERM_ANY_WORD, "3 1 2");
    check_ids(model, "fox OR dog", 0, "2 3 1");
    check_ids(model, "dog NOT lazy", 0, "");
    check_ids(model, "\"lazy dog\"", 0, "2");
    check_ids(model, "\"dog lazy\"", 0, "");
    check_ids(model, "qui*", 0, "2 1");
    check_ids(model, "running", 0, "4");
    check_ids(model, "r\xC3\xA9sum\xC3\xA9", 0, "5");
    check_ids(model, "\xE5\x8C\x97\xE4\xBA\xAC", 0, "6");             /* Beijing */
    check_ids(model, "\xE4\xBA\xAC\xE5\xA4\xA7", 0, "6");             /* across its end */
    check_ids(model, "\xE4\xBA\xAC", 0, "6 7");                       /* one character */
    check_ids(model, "(fox OR dog) AND quick", 0, "2 1");
    check_ids(model, "nothing", 0, "");
}

Test(engine_index_text, sentences_are_found_in_memtables_and_segments)
{
    struct fixture fixture;
    struct text_model model;
    begin(&fixture, &model, 1);
    text_model_add_index(&model, "words");
    put_text(model.table, 1, "The quick brown fox jumps and runs away from here");
    put_text(model.table, 2, "A quicksand swallows the lazy dog, quick!");
    put_text(model.table, 3, "fox, and again: Fox");
    put_text(model.table, 4, "Someone was running.");
    put_text(model.table, 5, "his resume is long");
    put_text(model.table, 6, "\xE5\x8C\x97\xE4\xBA\xAC\xE5\xA4\xA7\xE5\xAD\xA6"); /* Beijing University */
    put_text(model.table, 7, "\xE6\x9D\xB1\xE4\xBA\xAC and much else is written in this one"); /* Tokyo */
    put_text(model.table, 8, NULL);
    put_text(model.table, 9, "");
    check_sentences(&model);
    must(mote_flush(fixture.db));
    require_complete(model.table, "words");
    check_sentences(&model);
    fixture_reopen(&fixture);
    text_model_open(&model, fixture.db);
    check_sentences(&model);
    must(mote_index_drop(model.table, "words"));
    must_fail(mote_index_drop(model.table, "words"), MOTE_ENOTFOUND);
    text_model_add_index(&model, "words");
    check_sentences(&model);
    end(&fixture, &model);
}

Test(engine_index_text, stems_are_found)
{
    struct fixture fixture;
    struct text_model model;
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t body = 2;
    begin(&fixture, &model, 1);
    options.kind = MOTE_INDEX_TEXT;
    options.name = "english";
    options.columns = &body;
    options.column_count = 1;
    options.language = "english";
    must(mote_index_create(model.table, &options));
    put_text(model.table, 1, "She runs every morning");
    put_text(model.table, 2, "Running is healthy");
    put_text(model.table, 3, "a runner");
    for (unsigned i = 0; i < 2; i++) {
        check_ids(&model, "run", 0, "2 1");
        check_ids(&model, "\"running every mornings\"", 0, "1");
        check_ids(&model, "runn*", 0, "3");
        must(mote_flush(fixture.db));
    }
    end(&fixture, &model);
}

/* Rows in a memtable and in several segments; then all in one: the same order and the same scores, to the last bit. */
Test(engine_index_text, ranking_is_the_same_wherever_rows_lie)
{
    static const char *const queries[] = {"a", "ab OR bad", "strasse", "a b*", "\"a a\"", "42 OR zz OR c", "b NOT a", "\xE5\xB1\xB1"};
    enum { QUERIES = sizeof queries / sizeof queries[0] };
    static int64_t ids[2][QUERIES][IDS_MAX];
    static double scores[2][QUERIES][IDS_MAX];
    uint32_t counts[2][QUERIES];
    struct fixture fixture;
    struct text_model model;
    begin(&fixture, &model, 21);
    text_model_add_index(&model, "words");
    for (int64_t id = 0; id < TEXT_MODEL_KEYS; id++) {
        text_model_insert(&model, id * 211 % TEXT_MODEL_KEYS);
        if (id % 120 == 100)
            text_model_flush(&model, fixture.db);
    }
    for (unsigned state = 0; state < 2; state++) {
        for (uint32_t q = 0; q < QUERIES; q++)
            counts[state][q] = text_model_ask(&model, queries[q], 0, q % 2 ? 20 : 0, ids[state][q], scores[state][q], IDS_MAX);
        text_model_compact(&model, fixture.db);
        cr_assert_eq(describe(model.table, "words").segments, 1);
    }
    for (uint32_t q = 0; q < QUERIES; q++) {
        cr_assert_eq(counts[0][q], counts[1][q], "%s", queries[q]);
        cr_assert_gt(counts[0][q], 0, "%s", queries[q]);
        cr_assert_eq(memcmp(ids[0][q], ids[1][q], counts[0][q] * sizeof ids[0][q][0]), 0, "%s", queries[q]);
        cr_assert_eq(memcmp(scores[0][q], scores[1][q], counts[0][q] * sizeof scores[0][q][0]), 0, "%s", queries[q]);
    }
    end(&fixture, &model);
}

static void work(struct fixture *fixture, struct text_model *model, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        text_model_change(model, 1 + (uint32_t)(fixture_random(&model->state) % 200));
        switch (fixture_random(&model->state) % 7) {
        case 0:
        case 1:
        case 2:
            text_model_flush(model, fixture->db);
            break;
        case 3:
            text_model_compact(model, fixture->db);
            break;
        case 4:
            text_model_flush(model, fixture->db);
            fixture_reopen(fixture);
            text_model_open(model, fixture->db);
            break;
        case 5:
            must(mote_wait(fixture->db, mote_visible_seq(fixture->db), MOTE_FOREVER));
            fixture_crash(fixture);
            text_model_open(model, fixture->db);
            break;
        default:
            break;
        }
        text_model_check(model, 15);
    }
    text_model_flush(model, fixture->db);
    must(mote_flush_all_indexes(fixture->db));
    require_complete(model->table, "words");
}

/* Pages that a search for a phrase asks the cache for. */
static uint64_t count_pages(struct text_model *model, mote_db *db, uint32_t flags)
{
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const struct mote_term term = {.kind = MOTE_TERM_WORDS, .words = "\"two one\""};
    struct mote_stats before = {.size_bytes = sizeof before}, after = {.size_bytes = sizeof after};
    mote_hits *hits;
    options.terms = &term;
    options.term_count = 1;
    options.rank_by = flags;
    must(mote_get_stats(db, &before));
    must(mote_search(model->table, &options, &hits));
    must(mote_get_stats(db, &after));
    cr_assert_eq(mote_hits_count(hits), 0);
    mote_hits_close(hits);
    return after.cache_hits + after.cache_misses - before.cache_hits - before.cache_misses;
}

/* The survey's work on a phrase is not done again for the ranking. */
Test(engine_index_text, ranked_phrases_are_evaluated_once)
{
    struct fixture fixture;
    struct text_model model;
    begin(&fixture, &model, 7);
    text_model_add_index(&model, "words");
    for (int64_t id = 0; id < 20000; id++) {
        char text[200] = "x ";
        for (int64_t i = 0; id % 20 == 0 && i < id / 20 * 31 % 17; i++)
            strcat(text, i * id % 3 ? "y one x " : "x two ");
        put_text(model.table, id, text);
    }
    must(mote_flush(fixture.db));
    (void)count_pages(&model, fixture.db, 0);
    uint64_t unranked = count_pages(&model, fixture.db, MOTE_RANK_NONE), ranked = count_pages(&model, fixture.db, 0);
    cr_assert_gt(unranked, 200, "%llu pages", (unsigned long long)unranked);
    cr_assert_lt(ranked, unranked + unranked / 3, "%llu pages ranked, %llu unranked", (unsigned long long)ranked, (unsigned long long)unranked);
    end(&fixture, &model);
}

Test(engine_index_text, random_changes_rank_as_brute_force_does)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct fixture fixture;
        struct text_model model;
        printf("seed %llu\n", (unsigned long long)seed);
        begin(&fixture, &model, seed);
        if (seed % 2 == 0)
            text_model_add_index(&model, "words");
        text_model_change(&model, 400);
        if (seed % 2) {
            text_model_flush(&model, fixture.db);
            text_model_add_index(&model, "words");
        }
        work(&fixture, &model, 25);
        end(&fixture, &model);
    }
}

/* Flips a bit of a page of a section: the answer stays what it is, the damage is noted, and the section is built anew from the rows. */
Test(engine_index_text, flipped_bit_in_a_page_changes_no_answer)
{
    struct fixture fixture;
    struct text_model model;
    fixture_sim(&fixture, 32 << 20, 3, false);
    text_model_options(&fixture.options);
    fixture_open(&fixture);
    text_model_create(&model, fixture.db, 31);
    text_model_add_index(&model, "words");
    for (int64_t id = 0; id < TEXT_MODEL_KEYS; id++) {
        text_model_insert(&model, id); /* each once: nothing is dead, so that statistics are the same from sections and from rows */
        if (id % 200 == 150)
            text_model_flush(&model, fixture.db);
    }
    text_model_flush(&model, fixture.db);
    uint64_t noted = 0;
    for (unsigned round = 0; round < 12; round++) {
        fixture_close(&fixture);
        fixture_open(&fixture);
        text_model_open(&model, fixture.db);
        struct version *version = version_acquire(fixture.db->manifest);
        const struct segment_list *list = version->lists[0];
        const struct segment *segment = list->segments[round % list->count];
        cr_assert_eq(segment->index_count, 1);
        uint64_t pages = (segment->indexes[0].section.length_bytes + 4095) / 4096, at = layout_extent_offset(&fixture.db->superblock.layout, segment->indexes[0].section.run.first) + round / 3 % pages * 4096;
        uint8_t page[4096] __attribute__((aligned(4096)));
        must(blockdev_read_range(fixture.db->queue, at, page, sizeof page));
        page[60 + round * 13] ^= 4;
        must(blockdev_write_range(fixture.db->queue, BLOCKDEV_SOURCE_INDEX, at, page, sizeof page));
        version_release(fixture.db->manifest, version);
        text_model_check(&model, 40);
        noted += describe(model.table, "words").segments_damaged;
        must(mote_flush_all_indexes(fixture.db));
        text_model_check(&model, 6);
        must(mote_index_rebuild(model.table, "words")); /* also what no search came upon */
        require_complete(model.table, "words");
    }
    cr_assert_geq(noted, 6, "only %llu of 12 flips were met", (unsigned long long)noted);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    text_model_free(&model);
}

/* ---- More words than memory ---- */

enum { LONG_ROWS = 100, LONG_BYTES = 60000 };

static void put_long(mote_table *table, uint64_t *state, int64_t id, uint32_t vocabulary, char *text)
{
    size_t length = (size_t)sprintf(text, "row%lld ", (long long)id);
    while (length < LONG_BYTES - 40)
        length += (size_t)sprintf(text + length, "w%llx ", (unsigned long long)fixture_random(state) % vocabulary);
    sprintf(text + length, "last%lld", (long long)id);
    put_text(table, id, text);
}

static void check_long(struct text_model *model)
{
    for (int64_t id = 0; id < LONG_ROWS; id += 13) {
        char query[64], expected[32];
        sprintf(expected, "%lld", (long long)id);
        sprintf(query, "row%lld AND last%lld", (long long)id, (long long)id);
        check_ids(model, query, 0, expected);
    }
}

static void begin_long(struct fixture *fixture, struct text_model *model)
{
    fixture_image(fixture, 512ull << 20);
    text_model_options(&fixture->options);
    fixture->options.memory_bytes = 64ull << 20; /* of which an index's builder has 8 MiB, and readers of such rows may keep 10 */
    fixture_open(fixture);
    text_model_create(model, fixture->db, 1);
}

/* 6 MB of nothing but different words: one block holds more of them than the index may have memory for. Segments that are there already get a section that is built in parts; flushes and compactions give theirs up,
 * and none of them fails. */
Test(engine_index_text, words_beyond_memory_are_indexed)
{
    struct fixture fixture;
    struct text_model model;
    static char text[LONG_BYTES + 64];
    uint64_t state = 77;
    begin_long(&fixture, &model);
    for (int64_t id = 0; id < LONG_ROWS; id++)
        put_long(model.table, &state, id, 100000000, text);
    must(mote_flush(fixture.db));
    must(mote_compact(fixture.db, "texts"));
    must(mote_checkpoint(fixture.db));
    uint64_t free_before = fixture_stats(&fixture).extents_free, written_before = fixture_stats(&fixture).bytes_index;
    text_model_add_index(&model, "words");
    must(mote_flush_all_indexes(fixture.db));
    require_complete(model.table, "words");
    struct mote_index_info info = describe(model.table, "words");
    cr_assert_gt(fixture_stats(&fixture).bytes_index - written_before, 2 * info.bytes, "nothing was built in parts");
    must(mote_checkpoint(fixture.db));
    uint64_t taken = free_before - fixture_stats(&fixture).extents_free, extent_bytes = fixture.db->superblock.layout.extent_bytes;
    cr_assert_leq(taken * extent_bytes, info.bytes + info.segments * extent_bytes, "%llu extents for %llu bytes", (unsigned long long)taken, (unsigned long long)info.bytes);
    check_long(&model);
    for (int64_t id = 0; id < LONG_ROWS; id++)
        put_long(model.table, &state, id, 100000000, text);
    check_long(&model);
    must(mote_flush(fixture.db));
    must(mote_compact(fixture.db, "texts"));
    must(mote_flush_all_indexes(fixture.db));
    require_complete(model.table, "words");
    check_long(&model);
    end(&fixture, &model);
}

/* The same amount with the words of a language: segments end before memory does, and each has its section from the start. */
Test(engine_index_text, segments_end_before_memory_does)
{
    struct fixture fixture;
    struct text_model model;
    static char text[LONG_BYTES + 64];
    uint64_t state = 78;
    begin_long(&fixture, &model);
    text_model_add_index(&model, "words");
    for (int64_t id = 0; id < LONG_ROWS; id++)
        put_long(model.table, &state, id, 10000, text);
    must(mote_flush(fixture.db));
    require_complete(model.table, "words");
    must(mote_compact(fixture.db, "texts"));
    require_complete(model.table, "words");
    struct mote_index_info info = describe(model.table, "words");
    cr_assert_gt(info.segments, 2, "%llu segments of 6 MB", (unsigned long long)info.segments);
    check_long(&model);
    end(&fixture, &model);
}

/* Whatever allocation fails while parts are written and merged: the build is given up or goes on, every extent of its parts is free again, searches answer, and the next build succeeds. */
Test(engine_index_text, parts_of_a_failed_build_are_given_back)
{
    struct fixture fixture;
    struct text_model model;
    static char text[LONG_BYTES + 64];
    uint64_t state = 79, failed = 0;
    fixture_image(&fixture, 128ull << 20);
    text_model_options(&fixture.options);
    fixture_open(&fixture);
    text_model_create(&model, fixture.db, 1);
    for (int64_t id = 0; id < 20; id++)
        put_long(model.table, &state, id, 100000000, text);
    text_model_flush(&model, fixture.db);
    must(mote_checkpoint(fixture.db));
    uint64_t free_before = fixture_stats(&fixture).extents_free;
    memory_fail_after(fixture.db->memory, 0, true);
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t body = 2;
    options.name = "words";
    options.kind = MOTE_INDEX_TEXT;
    options.columns = &body;
    options.column_count = 1;
    must_fail(mote_index_create(model.table, &options), MOTE_EBUDGET);
    memory_fail_after(fixture.db->memory, -1, false);
    must(mote_index_create(model.table, &options));
    require_complete(model.table, "words");
    for (int64_t n = 0; n < 3000; n = n * 5 / 4 + 3) {
        must(mote_index_drop(model.table, "words"));
        must(mote_checkpoint(fixture.db));
        if (n == 0 && fixture_stats(&fixture).extents_free + 1 == free_before)
            free_before--; /* the worker has given the log the extent that it keeps from now on */
        cr_assert_eq(fixture_stats(&fixture).extents_free, free_before, "before allocation %lld", (long long)n);
        memory_fail_after(fixture.db->memory, n + 40, true); /* the declaration itself takes fewer */
        int result = mote_index_create(model.table, &options);
        memory_fail_after(fixture.db->memory, -1, false);
        cr_assert(result == MOTE_OK || result == MOTE_EBUDGET);
        if (result)
            must(mote_index_create(model.table, &options));
        struct mote_index_info info = describe(model.table, "words");
        failed += info.segments_indexed < info.segments;
        uint64_t free_after = fixture_stats(&fixture).extents_free;
        cr_assert(info.segments_indexed > 0 || free_after == free_before, "after allocation %lld failed: %llu extents are free, not %llu", (long long)n, (unsigned long long)free_after, (unsigned long long)free_before);
        check_ids(&model, "row7 AND last7", 0, "7");
        must(mote_flush_all_indexes(fixture.db));
        require_complete(model.table, "words");
        check_ids(&model, "row7 AND last7", 0, "7");
    }
    cr_assert_gt(failed, 5, "only %llu builds failed", (unsigned long long)failed);
    end(&fixture, &model);
}
