/* index_column_damage_test.c: the column index when something is wrong: every bit of a section flipped, memory that runs out at every place, a sink and a source that fail, misuse; golden bytes; values at the edges of their types. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/column_format.h"
#include "tests/support/codec_check.h"
#include "tests/support/column_world.h"
#include "tests/support/requests.h"

/* All rows of a search, or its error; *sum: of all that it gave. */
static int run(const struct column_section *section, const struct column_query *query, uint64_t *sum)
{
    struct column_search *search;
    struct column_hits hits;
    int result = column_search_create(section, query, &search);
    *sum = 0;
    if (result)
        return result;
    while ((result = column_search_next(search, &hits)) > 0)
        for (uint32_t i = 0; i < hits.count; i++) {
            *sum = *sum * 31 + hits.ordinals[i] + hits.is_null;
            if (hits.values.offsets)
                for (uint32_t at = hits.values.offsets[i]; at < hits.values.offsets[i + 1]; at++)
                    *sum = *sum * 31 + ((const uint8_t *)hits.values.values)[at];
            else
                for (size_t at = 0, size = codec_value_bytes(hits.values.type, 1); at < size; at++)
                    *sum = *sum * 31 + ((const uint8_t *)hits.values.values)[i * size + at];
        }
    column_search_destroy(search);
    return result;
}

enum { QUERIES = 4 };

static void make_queries(const struct column_rows *rows, struct column_query queries[QUERIES])
{
    queries[0] = (struct column_query){.kind = COLUMN_ALL, .descending = true};
    queries[1] = (struct column_query){.kind = COLUMN_EQUAL, .from.value = column_rows_value(rows, 3)};
    queries[2] = (struct column_query){.kind = COLUMN_RANGE, .from = {COLUMN_EXCLUDED, column_rows_value(rows, 11)}};
    queries[3] = (struct column_query){.kind = COLUMN_NULL};
}

Test(index_column_damage, every_bit_flipped_gives_the_same_answer_or_damage)
{
    static const uint32_t types[] = {MOTE_TYPE_INT64, MOTE_TYPE_TEXT, MOTE_TYPE_BOOL};
    uint64_t random = requests_seed("index_column_bits") | 1;
    struct memory *memory = section_world_memory(16u << 20);
    for (uint32_t t = 0; t < 3; t++) {
        struct column_rows rows = column_rows_make(&random, types[t], 8, t == 2 ? 300 : 90, true);
        struct column_query queries[QUERIES];
        struct column_world world;
        uint64_t right[QUERIES], sum, used_bytes = memory_used_bytes(memory), damaged = 0;
        column_world_begin(&world, memory, true, false);
        cr_assert_eq(column_world_build(&world, memory, &rows, 4096, &random), 0);
        make_queries(&rows, queries);
        for (uint32_t q = 0; q < QUERIES; q++)
            cr_assert_eq(run(&world.section, &queries[q], &right[q]), 0);
        for (uint64_t bit = 0; bit < world.pages.length * 8; bit++) {
            world.pages.bytes[bit / 8] = (uint8_t)(world.pages.bytes[bit / 8] ^ 1u << bit % 8);
            for (uint32_t q = 0; q < QUERIES; q++) {
                int result = run(&world.section, &queries[q], &sum);
                cr_assert(result == MOTE_EDAMAGED || (result == 0 && sum == right[q]), "type %u bit %llu query %u", types[t], (unsigned long long)bit, q);
                damaged += result != 0;
            }
            int result = column_verify(&world.section, rows.count);
            cr_assert(result == MOTE_EDAMAGED || result == 0);
            world.pages.bytes[bit / 8] = (uint8_t)(world.pages.bytes[bit / 8] ^ 1u << bit % 8);
        }
        cr_assert(damaged > 0 && world.pages.pinned == 0 && memory_used_bytes(memory) == used_bytes);
        section_world_end(&world.pages);
        column_rows_free(&rows);
    }
    memory_destroy(memory);
}

/* Pages of another segment or volume, or that claim another place, are refused. */
Test(index_column_damage, foreign_pages_are_damage)
{
    uint64_t random = 3, sum;
    struct memory *memory = section_world_memory(16u << 20);
    struct column_rows rows = column_rows_make(&random, MOTE_TYPE_INT32, 1, 500, false);
    struct column_query all = {.kind = COLUMN_ALL};
    struct column_world world;
    column_world_begin(&world, memory, false, false);
    cr_assert_eq(column_world_build(&world, memory, &rows, 0, &random), 0);
    cr_assert_eq(run(&world.section, &all, &sum), 0);
    world.pages.identity.segment_id++;
    cr_assert_eq(run(&world.section, &all, &sum), MOTE_EDAMAGED);
    world.pages.identity.segment_id--;
    world.pages.identity.uuid[3]++;
    cr_assert_eq(run(&world.section, &all, &sum), MOTE_EDAMAGED);
    world.pages.identity.uuid[3]--;
    world.pages.root.root_offset_bytes -= 8;
    cr_assert_eq(run(&world.section, &all, &sum), MOTE_EDAMAGED);
    world.pages.root.root_offset_bytes += 8;
    world.pages.root.root_bytes = 20;
    cr_assert_eq(run(&world.section, &all, &sum), MOTE_EDAMAGED);
    section_world_end(&world.pages);
    column_rows_free(&rows);
    memory_destroy(memory);
}

/* A good section that is not of these rows: verify says so. */
Test(index_column_damage, sections_of_other_rows_fail_verify)
{
    uint64_t random = 9;
    struct memory *memory = section_world_memory(16u << 20);
    struct column_rows rows = column_rows_make(&random, MOTE_TYPE_FLOAT64, 6, 3000, true);
    struct column_world world;
    column_world_begin(&world, memory, false, false);
    cr_assert_eq(column_world_build(&world, memory, &rows, 0, &random), 0);
    cr_assert_eq(column_verify(&world.section, 3000), 0);
    cr_assert_eq(column_verify(&world.section, 3001), 0);
    cr_assert_eq(column_verify(&world.section, 2999), MOTE_EDAMAGED);
    struct section_root root = world.pages.root;
    uint64_t caught = 0, changes = 0;
    uint8_t *kept = malloc(world.pages.length);
    memcpy(kept, world.pages.bytes, world.pages.length);
    for (uint64_t at = 40; at < world.pages.length; at += 7) { /* one byte of what is below the checksum, sealed again */
        world.pages.bytes[at] ^= 1;
        column_world_reseal(&world);
        int result = column_verify(&world.section, 3000);
        cr_assert(result == 0 || result == MOTE_EDAMAGED);
        caught += result == MOTE_EDAMAGED;
        changes++;
        memcpy(world.pages.bytes, kept, world.pages.length);
        world.pages.root = root;
    }
    cr_assert_gt(caught * 10, changes * 3, "%llu of %llu", (unsigned long long)caught, (unsigned long long)changes); /* the lowest bit of a unique value may well be another value */
    cr_assert_eq(column_verify(&world.section, 3000), 0);
    free(kept);
    section_world_end(&world.pages);
    column_rows_free(&rows);
    memory_destroy(memory);
}

Test(index_column_damage, memory_that_runs_out_is_told_and_given_back)
{
    uint64_t random = 3;
    struct memory *memory = section_world_memory(16u << 20);
    for (uint32_t t = 0; t < 2; t++) {
        struct column_rows rows = column_rows_make(&random, t ? MOTE_TYPE_TEXT : MOTE_TYPE_INT64, 1, 2000, true);
        struct column_world world;
        struct mote_value values[3] = {column_rows_value(&rows, 1), column_rows_value(&rows, 2), column_rows_value(&rows, 3)};
        struct column_query in = {.kind = COLUMN_IN, .values = values, .value_count = 3};
        struct column_set set;
        uint64_t used_bytes = memory_used_bytes(memory), sum;
        int result = MOTE_EBUDGET;
        uint32_t failures = 0;
        for (int64_t n = 0; result; n++, failures++) {
            column_world_begin(&world, memory, false, false);
            memory_fail_after(memory, n, false);
            result = column_world_build(&world, memory, &rows, 0, &random);
            memory_fail_after(memory, -1, false);
            cr_assert(result == 0 || result == MOTE_EBUDGET);
            cr_assert_eq(memory_used_bytes(memory), used_bytes);
            if (result)
                section_world_end(&world.pages);
        }
        cr_assert_gt(failures, 8);
        for (int64_t n = 0; n < 12; n++) {
            memory_fail_after(memory, n, true);
            int searched = run(&world.section, &in, &sum), verified = column_verify(&world.section, rows.count), collected = column_search_set(&world.section, &in, rows.count, &set);
            memory_fail_after(memory, -1, false);
            cr_assert((searched == 0 || searched == MOTE_EBUDGET) && (verified == 0 || verified == MOTE_EBUDGET) && (collected == 0 || collected == MOTE_EBUDGET));
            cr_assert(n > 0 || (searched && verified && collected));
            if (!collected)
                column_set_destroy(memory, &set);
            cr_assert_eq(memory_used_bytes(memory), used_bytes);
        }
        section_world_end(&world.pages);
        column_rows_free(&rows);
    }
    memory_destroy(memory);
}

/* What column_builder_bytes says suffices, and the sort in it. */
Test(index_column_damage, builder_stays_within_its_formula)
{
    uint64_t random = 3;
    for (uint32_t t = 0; t < 2; t++) {
        struct column_rows rows = column_rows_make(&random, t ? MOTE_TYPE_TEXT : MOTE_TYPE_FLOAT64, 1, 100000, false);
        uint64_t most = column_builder_bytes(rows.type, rows.count, rows.count, rows.offsets ? rows.offsets[rows.count] : 0);
        struct memory *memory = section_world_memory(most + (64u << 10));
        struct column_world world;
        column_world_begin(&world, memory, false, false);
        cr_assert_eq(column_world_build(&world, memory, &rows, 0, &random), 0, "type %u", rows.type);
        section_world_end(&world.pages);
        column_rows_free(&rows);
        memory_destroy(memory);
    }
}

static int refuse_place(void *context, uint32_t length_bytes, uint64_t *offset_bytes)
{
    (void)length_bytes, (void)offset_bytes;
    return --*(int *)context < 0 ? MOTE_ENOSPC : (*offset_bytes = 0, 0);
}

static int take_write(void *context, const void *data, uint32_t length_bytes)
{
    (void)context, (void)data, (void)length_bytes;
    return 0;
}

Test(index_column_damage, failing_sink_is_passed_on)
{
    uint64_t random = 3;
    struct memory *memory = section_world_memory(16u << 20);
    struct column_rows rows = column_rows_make(&random, MOTE_TYPE_INT64, 1, 20000, true);
    uint64_t used_bytes = memory_used_bytes(memory);
    int pages = 0;
    for (int result = MOTE_ENOSPC; result; pages++) {
        struct column_world world;
        int left = pages;
        column_world_begin(&world, memory, false, false);
        world.pages.sink = (struct section_sink){refuse_place, take_write, &left};
        result = column_world_build(&world, memory, &rows, 4096, &random);
        cr_assert(result == 0 || result == MOTE_ENOSPC);
        cr_assert_eq(memory_used_bytes(memory), used_bytes);
        section_world_end(&world.pages);
    }
    cr_assert_gt(pages, 5);
    column_rows_free(&rows);
    memory_destroy(memory);
}

Test(index_column_damage, misuse_is_refused)
{
    uint64_t random = 3, sum;
    struct memory *memory = section_world_memory(16u << 20);
    struct column_builder *builder;
    struct column_rows rows = column_rows_make(&random, MOTE_TYPE_INT32, 1, 10, false);
    struct column_world world;
    uint8_t validity[8];
    struct codec_vector v = column_rows_slice(&rows, 0, 10, validity), other = v;
    cr_assert_eq(column_builder_create(memory, MOTE_TYPE_POINT3, 10, 0, &builder), MOTE_EINVAL);
    cr_assert_eq(column_builder_create(memory, MOTE_TYPE_INT32, UINT32_MAX, 0, &builder), MOTE_EINVAL);
    cr_assert_eq(column_builder_create(memory, MOTE_TYPE_INT32, 10, 4095, &builder), MOTE_EINVAL);
    cr_assert_eq(column_builder_create(memory, MOTE_TYPE_INT32, 10, 65537, &builder), MOTE_EINVAL);
    cr_assert_eq(column_builder_create(memory, MOTE_TYPE_INT32, 15, 0, &builder), 0);
    other.type = MOTE_TYPE_FLOAT32;
    cr_assert_eq(column_builder_add_many(builder, 0, &other), MOTE_EINVAL);
    cr_assert_eq(column_builder_add_many(builder, 5, &v), 0);
    cr_assert_eq(column_builder_add_many(builder, 14, &v), MOTE_EINVAL, "out of order");
    cr_assert_eq(column_builder_add_many(builder, 15, &v), MOTE_EINVAL, "too many");
    v.count = 2;
    cr_assert_eq(column_builder_add_many(builder, UINT32_MAX - 1, &v), MOTE_EINVAL, "ordinals end before");
    column_world_begin(&world, memory, false, false);
    cr_assert_eq(column_builder_finish(builder, &world.pages.identity, &world.pages.sink, &world.pages.root), 0);
    cr_assert_eq(column_builder_finish(builder, &world.pages.identity, &world.pages.sink, &world.pages.root), MOTE_EINVAL);
    column_builder_destroy(builder);
    struct column_query query = {.kind = COLUMN_EQUAL, .from.value = {.type = MOTE_TYPE_INT64}};
    cr_assert_eq(run(&world.section, &query, &sum), MOTE_EINVAL, "another type");
    query.from.value = (struct mote_value){.type = MOTE_TYPE_INT32, .is_null = 1};
    cr_assert_eq(run(&world.section, &query, &sum), MOTE_EINVAL, "NULL");
    query.from.value.is_null = 0;
    query.kind = COLUMN_PREFIX;
    cr_assert_eq(run(&world.section, &query, &sum), MOTE_EINVAL, "a prefix of a number");
    query.kind = (enum column_query_kind)99;
    cr_assert_eq(run(&world.section, &query, &sum), MOTE_EINVAL);
    query = (struct column_query){.kind = COLUMN_RANGE, .from.kind = (enum column_bound_kind)7};
    cr_assert_eq(run(&world.section, &query, &sum), MOTE_EINVAL);
    section_world_end(&world.pages);
    column_rows_free(&rows);
    memory_destroy(memory);
}

/* -0.0 is 0.0, NaN is one value behind infinity. */
Test(index_column_damage, floats_are_ordered_as_stated)
{
    double values[] = {NAN, INFINITY, -0.0, 0.0, -INFINITY, -NAN, 1};
    struct memory *memory = section_world_memory(16u << 20);
    struct column_rows rows = {.type = MOTE_TYPE_FLOAT64, .count = 7, .values = (uint8_t *)values};
    struct column_world world;
    struct column_search *search;
    struct column_hits hits;
    uint64_t random = 1, count;
    column_world_begin(&world, memory, false, false);
    cr_assert_eq(column_world_build(&world, memory, &rows, 0, &random), 0);
    struct column_query all = {.kind = COLUMN_ALL}, zero = {.kind = COLUMN_EQUAL, .from.value = {.type = MOTE_TYPE_FLOAT64, .as.f64 = -0.0}}, nan = {.kind = COLUMN_EQUAL, .from.value = {.type = MOTE_TYPE_FLOAT64, .as.f64 = -NAN}};
    struct column_query to_infinity = {.kind = COLUMN_RANGE, .to = {COLUMN_INCLUDED, {.type = MOTE_TYPE_FLOAT64, .as.f64 = INFINITY}}};
    static const uint32_t order[] = {4, 2, 3, 6, 1, 0, 5};
    cr_assert_eq(column_search_create(&world.section, &all, &search), 0);
    cr_assert_eq(column_search_next(search, &hits), 1);
    cr_assert_eq(hits.count, 7);
    const double *found = hits.values.values;
    for (uint32_t i = 0; i < 7; i++)
        cr_assert_eq(hits.ordinals[i], order[i]);
    cr_assert(!signbit(found[1]) && found[1] == 0 && isnan(found[5]) && !signbit(found[6]) && isnan(found[6]));
    column_search_destroy(search);
    cr_assert(column_count(&world.section, &zero, &count, NULL) == 0 && count == 2);
    cr_assert(column_count(&world.section, &nan, &count, NULL) == 0 && count == 2);
    cr_assert(column_count(&world.section, &to_infinity, &count, NULL) == 0 && count == 5);
    section_world_end(&world.pages);
    memory_destroy(memory);
}

/* The bytes of small sections of each kind of leaf, by the checksum of the whole and the header fields that every reader needs. */
Test(index_column_damage, golden_bytes)
{
    static const struct {
        uint32_t type, shape, count;
        uint64_t length;
        uint32_t crc;
    } golden[] = {
#include "tests/unit/index_column_golden.inc"
    };
    struct memory *memory = section_world_memory(16u << 20);
    for (uint32_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        uint64_t random = 1 + i;
        struct column_rows rows = column_rows_make(&random, golden[i].type, golden[i].shape, golden[i].count, i % 2);
        struct column_world world;
        column_world_begin(&world, memory, false, false);
        cr_assert_eq(column_world_build(&world, memory, &rows, 4096, &random), 0);
        uint32_t crc = crc32c(0, world.pages.bytes, world.pages.length);
        if (world.pages.length != golden[i].length || crc != golden[i].crc) /* the line as it would have to be after a change of format, which needs another version */
            printf("    {%u, %u, %u, %llu, 0x%08xu},\n", golden[i].type, golden[i].shape, golden[i].count, (unsigned long long)world.pages.length, crc);
        cr_expect(world.pages.length == golden[i].length && crc == golden[i].crc);
        section_world_end(&world.pages);
        column_rows_free(&rows);
    }
    memory_destroy(memory);
}

/* Three rows, byte by byte: 5, NULL, 5 as int32. */
Test(index_column_damage, golden_page)
{
    static const uint8_t leaf[] = {
        0x4d, 0x43, 0x4c, 0x46, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 124, 0, 0, 0, 1, 0, 0, 0, /* header; the checksum is left out */
        2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0,                                  /* 2 entries from 0 on, 1 run, lengths of the streams */
        5, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0,                                                                       /* the key, in no bits */
        2, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0,                                                                                                  /* its end */
        0, 0, 0, 0, 2, 0, 0, 0, 12, 0, 0, 1,                                                                                                  /* ordinals 0 and 2: differences */
        0, 0, 0, 0, 0, 0, 0, 0,
    };
    int32_t values[] = {5, 77, 5};
    uint8_t validity[] = {5};
    uint64_t random = 1;
    struct memory *memory = section_world_memory(16u << 20);
    struct column_rows rows = {.type = MOTE_TYPE_INT32, .count = 3, .values = (uint8_t *)values, .validity = validity};
    struct column_world world;
    column_world_begin(&world, memory, false, false);
    cr_assert_eq(column_world_build(&world, memory, &rows, 0, &random), 0);
    cr_assert_gt(world.pages.length, sizeof leaf);
    for (uint32_t i = 0; i < sizeof leaf; i++)
        cr_assert((i >= 4 && i < 8) || world.pages.bytes[i] == leaf[i], "byte %u is %02x", i, world.pages.bytes[i]);
    cr_assert_eq(column_verify(&world.section, 3), 0);
    store_u32(world.pages.bytes + 104, 2); /* the rows of 5 as 2, 0: each exists once, out of order */
    store_u32(world.pages.bytes + 108, (uint32_t)-2);
    column_world_reseal(&world);
    cr_assert_eq(column_verify(&world.section, 3), MOTE_EDAMAGED);
    store_u32(world.pages.bytes + 108, 0); /* as 2, 2 */
    column_world_reseal(&world);
    cr_assert_eq(column_verify(&world.section, 3), MOTE_EDAMAGED);
    section_world_end(&world.pages);
    memory_destroy(memory);
}
