/* engine_search_test.c: searches of several terms: what the planner does and says, with indexes, without them, by time, by zone maps; rows of hits read in batches, as of the moment of the search. What each kind of term finds, the tests of
 * the kinds compare with models. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_private.h"
#include "tests/support/engine_fixture.h"

enum { ROWS = 10000, SIDE = 100 };

/* id int64 (key), at timestamp (1000 * id), place (id % SIDE, id / SIDE, 0), note text (NULL). */
static mote_table *create_table(mote_db *db)
{
    const struct mote_column_definition columns[] = {
        {.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL},
        {.name = "at", .type = MOTE_TYPE_TIMESTAMP},
        {.name = "place", .type = MOTE_TYPE_POINT3},
        {.name = "note", .type = MOTE_TYPE_BLOB},
    };
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    const uint32_t key = 0;
    mote_table *table;
    schema.name = "places";
    schema.columns = columns;
    schema.column_count = 4;
    schema.key_columns = &key;
    schema.key_column_count = 1;
    schema.time_column = 1;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void put(mote_table *table, int64_t id, const void *note, size_t note_bytes)
{
    struct mote_value values[] = {value_i64(id), value_timestamp(1000 * id), value_point((double)(id % SIDE), (double)(id / SIDE), 0), {.type = MOTE_TYPE_BLOB, .is_null = note == NULL}};
    values[3].as.bytes.data = note;
    values[3].as.bytes.size_bytes = note_bytes;
    must(mote_append(table, values, 4, NULL, NULL));
}

static void add_index(mote_table *table)
{
    struct mote_index_options options = FIXTURE_INDEX_OPTIONS_INIT;
    const uint32_t place = 2;
    options.name = "near";
    options.kind = MOTE_INDEX_SPATIAL;
    options.columns = &place;
    options.column_count = 1;
    must(mote_index_create(table, &options));
}

static mote_table *fill(struct fixture *fixture, bool indexed)
{
    mote_table *table = create_table(fixture->db);
    for (int64_t id = 0; id < ROWS; id++)
        put(table, id, NULL, 0);
    if (indexed)
        add_index(table);
    must(mote_flush(fixture->db));
    must(mote_compact(fixture->db, NULL));
    must(mote_flush_all_indexes(fixture->db));
    return table;
}

static const uint32_t place_column = 2;

static struct mote_term box_term(double from_x, double to_x, double from_y, double to_y)
{
    struct mote_term term = {.kind = MOTE_TERM_BOX, .columns = &place_column, .column_count = 1};
    term.min[0] = from_x;
    term.max[0] = to_x;
    term.min[1] = from_y;
    term.max[1] = to_y;
    return term;
}

static struct mote_term ball_term(uint32_t kind, double x, double y, double radius)
{
    struct mote_term term = {.kind = kind, .columns = &place_column, .column_count = 1, .radius = radius};
    term.centre[0] = x;
    term.centre[1] = y;
    return term;
}

/* The ids of the hits, in their order; the explanation, to be freed. */
static size_t search(mote_table *table, const struct mote_search_options *options, int64_t *ids, size_t ids_max, char **explained)
{
    mote_hits *hits;
    struct mote_hit_chunk chunk;
    size_t count = 0;
    must(mote_search(table, options, &hits));
    do {
        must(mote_hits_next(hits, &chunk));
        for (size_t i = 0; i < chunk.row_count; i++, count++) {
            cr_assert_lt(count, ids_max);
            ids[count] = ((const int64_t *)chunk.columns[0].values)[i];
            cr_assert_eq(((const int64_t *)chunk.columns[1].values)[i], 1000 * ids[count]);
        }
    } while (chunk.row_count > 0);
    cr_assert_eq(mote_hits_count(hits), count);
    *explained = strdup(mote_hits_explain(hits));
    cr_assert(*explained);
    mote_hits_close(hits);
    return count;
}

static void expect_said(char *explained, const char *words)
{
    cr_assert(strstr(explained, words), "\"%s\" is not in:\n%s", words, explained);
    free(explained);
}

Test(engine_search, explanation_tells_what_was_done)
{
    struct fixture fixture;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term terms[2] = {box_term(3, 5, 0, 99), box_term(0, 99, 7, 8)};
    int64_t ids[100];
    char *explained;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    mote_table *table = fill(&fixture, true);
    options.terms = terms;
    options.term_count = 2;
    /* 300 rows and 200 rows, of which 6 are in both. */
    cr_assert_eq(search(table, &options, ids, 100, &explained), 6);
    cr_assert_eq(ids[0], 703);
    cr_assert_eq(ids[5], 805);
    cr_assert(strstr(explained, "term 1: box(place), index near: marked in 1 segments"), "%s", explained);
    cr_assert(strstr(explained, "6 rows left"), "%s", explained);
    expect_said(explained, "looked at row by row where marked, 6 rows examined");
    /* One row beside, in the memtable. */
    put(table, 3 + 7 * SIDE, NULL, 0);
    cr_assert_eq(search(table, &options, ids, 100, &explained), 6);
    expect_said(explained, "rows examined: 1 in memtables, 6 in segments");
    /* The nearest rows come best first by the tree, unless a time range leaves few rows. */
    terms[0] = ball_term(MOTE_TERM_NEAREST, 50, 50, 0);
    options.term_count = 1;
    cr_assert_eq(search(table, &options, ids, 100, &explained), 10);
    cr_assert_eq(ids[0], 5050);
    expect_said(explained, "looked at best first by the index of the term that ranks");
    options.use_time_range = 1;
    options.time_from_ns = 1000 * 4000;
    options.time_to_ns = 1000 * 4019;
    cr_assert_eq(search(table, &options, ids, 100, &explained), 10);
    cr_assert_eq(ids[0], 4019); /* (19, 40) is the nearest of (0, 40) to (19, 40) */
    cr_assert(strstr(explained, "time about 20 rows, marked: 20 rows left"), "%s", explained);
    expect_said(explained, "looked at row by row where marked, 20 rows examined");
    options.time_to_ns = 1000 * 8000;
    cr_assert_eq(search(table, &options, ids, 100, &explained), 10);
    cr_assert_eq(ids[0], 5050);
    expect_said(explained, "ranked in 1");
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_search, rows_alone_answer_what_no_index_is_declared_for)
{
    struct fixture fixture;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    struct mote_term terms[3] = {box_term(10, 60, 10, 60), ball_term(MOTE_TERM_RADIUS, 50, 50, 3), ball_term(MOTE_TERM_RADIUS, 53, 50, 3)};
    static int64_t with[ROWS], without[ROWS];
    char *explained;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    mote_table *table = fill(&fixture, false);
    options.terms = terms;
    for (size_t count = 0; count <= 3; count++) {
        for (uint32_t rank = 0; rank <= (count == 2 ? 2 : 0); rank += 2) {
            options.term_count = count;
            options.rank_by = rank;
            size_t found = search(table, &options, without, ROWS, &explained);
            expect_said(explained, "1 block by block");
            add_index(table);
            must(mote_flush_all_indexes(fixture.db));
            cr_assert_eq(search(table, &options, with, ROWS, &explained), found);
            cr_assert_arr_eq(with, without, found * sizeof *with);
            expect_said(explained, count ? "0 block by block" : "1 block by block");
            must(mote_index_drop(table, "near"));
            cr_assert_eq(found, count == 0 ? ROWS : count == 1 ? 51 * 51 : count == 2 ? 29 : 12);
        }
    }
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

Test(engine_search, time_range_alone_reads_what_it_must)
{
    struct fixture fixture;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    static int64_t ids[ROWS];
    char *explained;
    fixture_image(&fixture, 64 << 20);
    fixture_open(&fixture);
    mote_table *table = fill(&fixture, false);
    options.use_time_range = 1;
    options.time_from_ns = 1000 * 2500;
    options.time_to_ns = 1000 * 2999;
    cr_assert_eq(search(table, &options, ids, ROWS, &explained), 500);
    cr_assert_eq(ids[0], 2500);
    cr_assert_eq(ids[499], 2999);
    expect_said(explained, "marked in 1 segments");
    /* Without the timestamp section the zone maps say which blocks have such rows. */
    struct version *version = version_acquire(fixture.db->manifest);
    for (uint32_t i = 0; i < version->lists[0]->count; i++)
        atomic_store(&version->lists[0]->segments[i]->timestamp_unusable, 1);
    version_release(fixture.db->manifest, version);
    options.time_from_ns = 1000 * 1500;
    options.time_to_ns = 1000 * 4499;
    cr_assert_eq(search(table, &options, ids, ROWS, &explained), 3000);
    cr_assert_eq(ids[0], 1500);
    cr_assert(!strstr(explained, " 0 blocks excluded"), "%s", explained);
    expect_said(explained, "blocks excluded by their zone maps");
    options.limit = 7;
    cr_assert_eq(search(table, &options, ids, ROWS, &explained), 7);
    free(explained);
    options.time_from_ns = 1000 * ROWS;
    options.time_to_ns = INT64_MAX;
    cr_assert_eq(search(table, &options, ids, ROWS, &explained), 0);
    expect_said(explained, "1 out of the time range");
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* Rows of some 100 bytes, then of 200 KiB, whose batch does not fit the budget: all come, in order, with what they held at the moment of the search. */
Test(engine_search, hits_are_read_as_they_were_whatever_their_size)
{
    struct fixture fixture;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const struct mote_term nearest = ball_term(MOTE_TERM_NEAREST, 40, 3, 0);
    struct mote_hit_chunk chunk;
    mote_hits *hits;
    enum { SMALL = 300, LARGE = 60, LARGE_BYTES = 200 << 10 };
    uint8_t *note = malloc(LARGE_BYTES);
    size_t count = 0;
    double last = -1;
    cr_assert(note);
    fixture_image(&fixture, 256 << 20);
    fixture.options.memory_bytes = 48 << 20;
    fixture_open(&fixture);
    mote_table *table = create_table(fixture.db);
    for (int64_t id = 0; id < SMALL + LARGE; id++) {
        size_t note_bytes = id < SMALL ? (size_t)(id % 100) : LARGE_BYTES;
        memset(note, (int)(id % 251), LARGE_BYTES);
        put(table, id, note, note_bytes);
        if (id % 90 == 89)
            must(mote_flush(fixture.db));
    }
    options.terms = &nearest;
    options.term_count = 1;
    options.limit = SMALL + LARGE;
    must(mote_search(table, &options, &hits));
    for (int64_t id = 0; id < SMALL + LARGE; id += 2)
        put(table, id, "other", 5);
    must(mote_flush(fixture.db));
    must(mote_compact(fixture.db, NULL));
    for (;;) {
        must(mote_hits_next(hits, &chunk));
        if (chunk.row_count == 0)
            break;
        for (size_t i = 0; i < chunk.row_count; i++, count++) {
            int64_t id = ((const int64_t *)chunk.columns[0].values)[i];
            const uint8_t *bytes = chunk.columns[3].values;
            uint32_t from = chunk.columns[3].offsets[i], to = chunk.columns[3].offsets[i + 1];
            cr_assert_eq(to - from, id < SMALL ? id % 100 : LARGE_BYTES, "row %lld", (long long)id);
            for (uint32_t k = from; k < to; k++)
                cr_assert(bytes[k] == id % 251, "row %lld", (long long)id);
            cr_assert_geq(chunk.scores[i], last);
            last = chunk.scores[i];
        }
    }
    cr_assert_eq(count, SMALL + LARGE);
    mote_hits_close(hits);
    fixture_close(&fixture);
    fixture_remove(&fixture);
    free(note);
}

/* Returns how many pages the section has. */
static uint64_t flip_bit(struct fixture *fixture, uint64_t page, uint32_t byte)
{
    struct version *version = version_acquire(fixture->db->manifest);
    const struct segment_section *section = &version->lists[0]->segments[0]->indexes[0].section;
    uint64_t at = layout_extent_offset(&fixture->db->superblock.layout, section->run.first) + page * 4096;
    uint8_t bytes[4096] __attribute__((aligned(4096)));
    uint64_t page_count = section->length_bytes / 4096;
    cr_assert_lt(page, page_count);
    must(blockdev_read_range(fixture->db->queue, at, bytes, sizeof bytes));
    bytes[byte] ^= 16;
    must(blockdev_write_range(fixture->db->queue, BLOCKDEV_SOURCE_INDEX, at, bytes, sizeof bytes));
    version_release(fixture->db->manifest, version);
    return page_count;
}

/* The nearest rows come in several passes over the tree: one that meets a bad page when hits were found already gives none twice. */
Test(engine_search, section_that_fails_in_between_gives_no_row_twice)
{
    struct fixture fixture;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    const struct mote_term nearest = ball_term(MOTE_TERM_NEAREST, 0, 0, 0);
    static int64_t expected[ROWS], ids[ROWS];
    enum { LIMIT = 8000 };
    char *explained;
    unsigned failed = 0;
    fixture_sim(&fixture, 64 << 20, 9, false);
    fixture.options.workers = MOTE_NO_THREADS;
    fixture_open(&fixture);
    mote_table *table = fill(&fixture, true);
    options.terms = &nearest;
    options.term_count = 1;
    options.limit = LIMIT;
    cr_assert_eq(search(table, &options, expected, ROWS, &explained), LIMIT);
    expect_said(explained, "ranked in 1");
    for (uint64_t page = 0, page_count = 1; page < page_count; page += 2) {
        page_count = flip_bit(&fixture, page, 200);
        fixture_reopen(&fixture);
        must(mote_table_open(fixture.db, "places", &table));
        cr_assert_eq(search(table, &options, ids, ROWS, &explained), LIMIT);
        cr_assert_arr_eq(ids, expected, LIMIT * sizeof *ids);
        failed += strstr(explained, "failed a check in 1") != NULL;
        free(explained);
        must(mote_index_rebuild(table, "near"));
    }
    cr_assert_gt(failed, 4);
    fixture_close(&fixture);
    fixture_remove(&fixture);
}

/* ---- Hits of which only columns of the key are wanted ---- */

/* place point3, name text, id int64; the key is (id, name). */
static mote_table *create_named_table(mote_db *db)
{
    const struct mote_column_definition columns[] = {
        {.name = "place", .type = MOTE_TYPE_POINT3},
        {.name = "name", .type = MOTE_TYPE_TEXT, .flags = MOTE_COLUMN_NOT_NULL},
        {.name = "id", .type = MOTE_TYPE_INT64, .flags = MOTE_COLUMN_NOT_NULL},
    };
    struct mote_schema schema = MOTE_SCHEMA_INIT;
    const uint32_t key[] = {2, 1};
    mote_table *table;
    schema.name = "named";
    schema.columns = columns;
    schema.column_count = 3;
    schema.key_columns = key;
    schema.key_column_count = 2;
    must(mote_table_create(db, &schema, &table));
    return table;
}

static void put_named(mote_table *table, mote_transaction *transaction, int64_t id)
{
    char name[32];
    snprintf(name, sizeof name, "n%lld", (long long)(id * 7 % 1000));
    struct mote_value values[] = {value_point((double)(id % SIDE), 0, 0), value_text(name), value_i64(id)};
    must(transaction ? mote_transaction_put(transaction, table, values, 3) : mote_append(table, values, 3, NULL, NULL));
}

/* Those within three steps of x = 50 (seven of each SIDE), asked for by `columns`: the same as by all columns; the pages that were looked for. */
static uint64_t ask_named(struct fixture *fixture, mote_table *table, mote_transaction *transaction, const uint32_t *columns, size_t column_count, size_t expected)
{
    const uint32_t place = 0;
    struct mote_term term = ball_term(MOTE_TERM_RADIUS, 50, 0, 3.5);
    term.columns = &place;
    struct mote_search_options options = MOTE_SEARCH_OPTIONS_INIT;
    mote_hits *hits;
    struct mote_hit_chunk chunk;
    size_t count = 0;
    options.terms = &term;
    options.term_count = 1;
    options.columns = columns;
    options.column_count = column_count;
    options.chunk_rows = 100;
    must(transaction ? mote_transaction_search(transaction, table, &options, &hits) : mote_search(table, &options, &hits));
    struct mote_stats before = fixture_stats(fixture);
    do {
        must(mote_hits_next(hits, &chunk));
        cr_assert_eq(chunk.column_count, column_count);
        for (size_t i = 0; i < chunk.row_count; i++, count++) {
            int64_t id = ((const int64_t *)chunk.columns[0].values)[i];
            cr_assert_leq(llabs(id % SIDE - 50), 3);
            char name[32];
            int length = snprintf(name, sizeof name, "n%lld", (long long)(id * 7 % 1000));
            const struct mote_column *names = &chunk.columns[column_count - 1];
            cr_assert_eq(names->offsets[i + 1] - names->offsets[i], (uint32_t)length);
            cr_assert_arr_eq((const char *)names->values + names->offsets[i], name, (size_t)length);
        }
    } while (chunk.row_count > 0);
    cr_assert_eq(count, expected);
    cr_assert_eq(mote_hits_count(hits), expected);
    struct mote_stats after = fixture_stats(fixture);
    mote_hits_close(hits);
    return after.cache_hits + after.cache_misses - before.cache_hits - before.cache_misses;
}

Test(engine_search, columns_of_the_key_are_had_without_reading_a_row)
{
    struct fixture fixture;
    fixture_image(&fixture, 256 << 20);
    fixture_open(&fixture);
    mote_table *table = create_named_table(fixture.db);
    for (int64_t id = 0; id < ROWS; id++)
        put_named(table, NULL, id);
    must(mote_flush(fixture.db));
    const uint32_t keys[] = {2, 1}, with_place[] = {2, 0, 1}, many[] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 1}; /* more than a key can have */
    cr_assert_eq(ask_named(&fixture, table, NULL, keys, 2, ROWS / SIDE * 7), 0);
    cr_assert_gt(ask_named(&fixture, table, NULL, with_place, 3, ROWS / SIDE * 7), 0);
    ask_named(&fixture, table, NULL, many, 10, ROWS / SIDE * 7);
    /* A transaction's own rows as well, and without those that it deletes. */
    mote_transaction *transaction;
    const struct mote_value gone[] = {value_i64(50), value_text("n350")};
    must(mote_transaction_begin(fixture.db, NULL, &transaction));
    put_named(table, transaction, ROWS + 50);
    put_named(table, transaction, ROWS + 51);
    must(mote_transaction_delete(transaction, table, gone, 2));
    cr_assert_eq(ask_named(&fixture, table, transaction, keys, 2, ROWS / SIDE * 7 + 1), 0);
    ask_named(&fixture, table, transaction, with_place, 3, ROWS / SIDE * 7 + 1);
    mote_transaction_abort(transaction);
    fixture_remove(&fixture);
}
