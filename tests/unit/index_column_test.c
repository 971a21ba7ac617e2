/* index_column_test.c: the column index against looking at every row: all types, shapes of data, kinds of searches, both directions, over thousands of seeds. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_format.h"
#include "tests/support/codec_check.h"
#include "tests/support/column_world.h"
#include "tests/support/requests.h"

static const char *why(void)
{
    static struct mote_error error;
    error_get(&error);
    return error.message;
}

/* An operand: mostly a value of the rows, at times one that none has. */
static struct mote_value make_operand(uint64_t *random, const struct column_rows *rows, const struct column_rows *others)
{
    uint64_t r = codec_check_random(random);
    struct mote_value value = r % 5 == 0 || rows->count == 0 ? column_rows_value(others, (uint32_t)(r >> 32) % others->count) : column_rows_value(rows, (uint32_t)(r >> 32) % rows->count);
    if (rows->offsets && r >> 8 & 1 && value.as.bytes.size_bytes > 0) /* a beginning */
        value.as.bytes.size_bytes = (r >> 9) % (value.as.bytes.size_bytes + 1);
    return value;
}

struct ask {
    struct column_query query;
    struct mote_value values[40];
};

static void make_query(uint64_t *random, const struct column_rows *rows, const struct column_rows *others, struct ask *ask)
{
    uint64_t r = codec_check_random(random);
    ask->query = (struct column_query){.kind = (enum column_query_kind)(r % 7 + 1), .descending = r >> 8 & 1};
    ask->query.from.kind = (enum column_bound_kind)((r >> 16) % 3);
    ask->query.to.kind = (enum column_bound_kind)((r >> 24) % 3);
    if (ask->query.kind == COLUMN_PREFIX && !rows->offsets)
        ask->query.kind = COLUMN_RANGE;
    ask->query.from.value = make_operand(random, rows, others);
    ask->query.to.value = r >> 32 & 3 ? make_operand(random, rows, others) : ask->query.from.value;
    ask->query.value_count = (uint32_t)(r >> 40) % 40;
    for (uint32_t i = 0; i < ask->query.value_count; i++)
        ask->values[i] = make_operand(random, rows, others);
    ask->query.values = ask->values;
}

static void check_set(const struct column_world *world, const struct column_rows *rows, const struct column_query *query, const uint32_t *expected, uint32_t count)
{
    struct column_set set;
    uint8_t *in = calloc((size_t)rows->count + 1, 1);
    cr_assert_eq(column_search_set(&world->section, query, rows->count, &set), 0);
    cr_assert_eq(set.count, count);
    for (uint32_t i = 0; i < count; i++)
        in[expected[i]] = 1;
    uint64_t found = 0;
    for (uint32_t i = 0, at = 0; i < rows->count; i++) {
        bool has = set.words ? set.words[i / 64] >> i % 64 & 1 : at < count && set.ordinals[at] == i;
        at += has;
        found += has;
        cr_assert_eq(has, in[i]);
    }
    cr_assert_eq(found, count);
    column_set_destroy(world->section.memory, &set);
    free(in);
}

static void check_query(struct column_world *world, const struct column_rows *rows, const struct column_query *query)
{
    uint32_t expected_count, at = 0;
    uint32_t *expected = column_rows_answer(rows, query, &expected_count);
    struct column_search *search;
    struct column_hits hits;
    struct column_estimate estimate;
    uint64_t counted;
    bool inexact;
    int result;
    cr_assert_eq(column_search_create(&world->section, query, &search), 0);
    while ((result = column_search_next(search, &hits)) > 0) {
        cr_assert_leq(hits.count, expected_count - at, "more rows than %u", expected_count);
        cr_assert(column_rows_fit(rows, &hits, expected + at), "type %u kind %d descending %d at %u of %u", rows->type, (int)query->kind, query->descending, at, expected_count);
        cr_assert_eq(world->pages.pinned, 0);
        at += hits.count;
    }
    cr_assert_eq(result, 0);
    cr_assert_eq(at, expected_count, "type %u kind %d: %u instead of %u", rows->type, (int)query->kind, at, expected_count);
    column_search_destroy(search);
    cr_assert_eq(column_count(&world->section, query, &counted, &inexact), 0);
    cr_assert_eq(counted, expected_count);
    cr_assert_eq(column_estimate(&world->section, query, &estimate), 0);
    cr_assert(estimate.least <= expected_count && estimate.most >= expected_count && estimate.expected >= (double)estimate.least && estimate.expected <= (double)estimate.most);
    check_set(world, rows, query, expected, expected_count);
    cr_assert_eq(world->pages.pinned, 0);
    free(expected);
}

static void check_statistics(const struct column_world *world, const struct column_rows *rows)
{
    static const struct column_query values = {.kind = COLUMN_NOT_NULL};
    struct column_statistics statistics;
    uint32_t count;
    uint32_t *answer = column_rows_answer(rows, &values, &count);
    cr_assert_eq(column_read_statistics(&world->section, &statistics), 0);
    cr_assert(statistics.type == rows->type && statistics.rows == rows->count && statistics.nulls == rows->count - count);
    cr_assert_eq(statistics.min.is_null, count == 0);
    cr_assert((statistics.distinct == 0) == (count == 0) && statistics.distinct <= count);
    if (count > 0) {
        struct column_query equal = {.kind = COLUMN_EQUAL, .from.value = statistics.min};
        uint32_t of_least;
        uint32_t *least = column_rows_answer(rows, &equal, &of_least);
        cr_assert(statistics.min_inexact || (of_least > 0 && least[0] == answer[0]));
        free(least);
        equal.from.value = statistics.max;
        least = column_rows_answer(rows, &equal, &of_least);
        cr_assert(statistics.max_inexact || (of_least > 0 && least[of_least - 1] == answer[count - 1]));
        free(least);
    }
    free(answer);
}

static uint32_t choose_count(uint64_t *random, uint64_t seed)
{
    static const uint32_t edges[] = {0, 1, 2, 127, 128, 129, 255, 256, 257, 1000, 2048};
    if (seed % 400 == 7)
        return 17000 + (uint32_t)(codec_check_random(random) % 20000);
    return seed % 3 == 0 ? edges[codec_check_random(random) % 11] : (uint32_t)(codec_check_random(random) % (seed % 10 ? 300 : 4000));
}

Test(index_column, random_columns_answers_equal_brute_force)
{
    static const uint32_t page_bytes[] = {4096, 0, 65536};
    uint64_t random = requests_seed("index_column_random") | 1;
    struct memory *memory = section_world_memory(64u << 20);
    uint64_t used_bytes = memory_used_bytes(memory);
    for (uint64_t seed = 0; seed < 3000; seed++) {
        uint32_t type = column_types[codec_check_random(&random) % COLUMN_TYPES], shape = (uint32_t)(codec_check_random(&random) % COLUMN_SHAPES), count = choose_count(&random, seed);
        struct column_rows rows = column_rows_make(&random, type, shape, count, codec_check_random(&random) % 2), others = column_rows_make(&random, type, 5, 20, false);
        struct column_world world;
        column_world_begin(&world, memory, codec_check_random(&random) % 2, seed % 2);
        cr_assert_eq(column_world_build(&world, memory, &rows, page_bytes[codec_check_random(&random) % 3], &random), 0);
        cr_assert_eq(world.pages.root.length_bytes, world.pages.length);
        if (!world.pages.gaps)
            cr_assert_leq(world.pages.length, column_bytes_bound(type, count, rows.offsets ? rows.offsets[count] : 0));
        cr_assert_eq(column_verify(&world.section, count), 0, "seed %llu type %u shape %u count %u: %s", (unsigned long long)seed, type, shape, count, why());
        check_statistics(&world, &rows);
        for (uint32_t i = 0; i < (count > 10000 ? 30 : 12); i++) {
            struct ask ask;
            make_query(&random, &rows, &others, &ask);
            check_query(&world, &rows, &ask.query);
        }
        section_world_end(&world.pages);
        column_rows_free(&rows);
        column_rows_free(&others);
        cr_assert_eq(memory_used_bytes(memory), used_bytes, "memory was not given back");
    }
    memory_destroy(memory);
}

/* Large enough for three levels of pages. */
Test(index_column, deep_trees_answers_equal_brute_force)
{
    uint64_t random = requests_seed("index_column_deep") | 1;
    struct memory *memory = section_world_memory(64u << 20);
    for (uint32_t t = 0; t < COLUMN_TYPES; t++)
        for (uint32_t shape = 0; shape < COLUMN_SHAPES; shape++) {
            if (t % 3 == 1 && shape % 2)
                continue;
            struct column_rows rows = column_rows_make(&random, column_types[t], shape, 60000, shape == 0), others = column_rows_make(&random, column_types[t], 5, 20, false);
            struct column_world world;
            column_world_begin(&world, memory, false, true);
            cr_assert_eq(column_world_build(&world, memory, &rows, 4096, &random), 0);
            cr_assert_eq(column_verify(&world.section, rows.count), 0, "type %u shape %u: %s", rows.type, shape, why());
            struct column_query all = {.kind = COLUMN_ALL};
            check_query(&world, &rows, &all);
            for (uint32_t i = 0; i < 8; i++) {
                struct ask ask;
                make_query(&random, &rows, &others, &ask);
                check_query(&world, &rows, &ask.query);
            }
            if (world.pages.length > 100000)
                cr_assert_gt(world.pages.announced, 0);
            section_world_end(&world.pages);
            column_rows_free(&rows);
            column_rows_free(&others);
        }
    memory_destroy(memory);
}

/* An equality of a value that few rows have reads one path; a count two. */
Test(index_column, equality_reads_one_path_and_count_two)
{
    uint64_t random = 5;
    struct memory *memory = section_world_memory(64u << 20);
    struct column_rows rows = column_rows_make(&random, MOTE_TYPE_INT64, 1, 200000, false);
    struct column_world world;
    column_world_begin(&world, memory, false, false);
    cr_assert_eq(column_world_build(&world, memory, &rows, 4096, &random), 0);
    uint64_t most = 0, most_of_count = 0;
    uint32_t levels = load_u16(world.pages.bytes + world.pages.root.root_offset_bytes + 38);
    for (uint32_t i = 0; i < 500; i++) {
        struct column_query query = {.kind = COLUMN_EQUAL, .from.value = column_rows_value(&rows, i * 7)};
        struct column_search *search;
        struct column_hits hits;
        uint64_t count, reads;
        cr_assert_eq(column_search_create(&world.section, &query, &search), 0);
        reads = world.pages.reads;
        cr_assert_eq(column_search_next(search, &hits), 1);
        most = world.pages.reads - reads > most ? world.pages.reads - reads : most;
        column_search_destroy(search);
        query = (struct column_query){.kind = COLUMN_RANGE, .from = {COLUMN_INCLUDED, column_rows_value(&rows, i)}, .to = {COLUMN_EXCLUDED, column_rows_value(&rows, i + 1)}};
        reads = world.pages.reads;
        cr_assert_eq(column_count(&world.section, &query, &count, NULL), 0);
        most_of_count = world.pages.reads - reads > most_of_count ? world.pages.reads - reads : most_of_count;
    }
    cr_assert_leq(most, levels + 2, "%llu reads with %u levels", (unsigned long long)most, levels); /* a value at the end of a leaf: and the next */
    cr_assert_leq(most_of_count, 1 + 2 * levels);
    section_world_end(&world.pages);
    column_rows_free(&rows);
    memory_destroy(memory);
}
