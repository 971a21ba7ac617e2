/* index_vector_graph_test.c: searches of the graph, in memory: recall on clusters in every metric, filters, rows that come one after the other until all have come, codes read through the source, builds in steps and by fetch, and merges. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/vector_private.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"
#include "tests/support/vector_world.h"

TestSuite(index_vector_graph, .timeout = 120);

enum { K = 10 };

/* Queries beside rows. */
static void make_query(uint64_t *state, const struct vector_rows *rows, float *query)
{
    const float *row = vector_row(rows, (uint32_t)(codec_check_random(state) % rows->count));
    for (uint32_t i = 0; i < rows->dimension; i++)
        query[i] = row[i] + 0.3f * ((float)(codec_check_random(state) >> 40) * 0x1p-24f - 0.5f);
}

/* Share of the K nearest that are among the first K hits; every distance is right, or the test fails. */
static double recall_of(const struct vector_index *index, const struct vector_rows *rows, enum vector_metric metric, const struct vector_search_options *options, uint32_t queries, uint64_t state, uint64_t *nodes_read)
{
    uint32_t found = 0, wanted = 0;
    float *query = malloc(rows->dimension * sizeof *query);
    *nodes_read = 0;
    for (uint32_t q = 0; q < queries; q++) {
        struct vector_search *search;
        struct vector_search_counts counts;
        struct vector_hit hit;
        uint32_t count;
        double last = -INFINITY;
        make_query(&state, rows, query);
        struct vector_hit *right = vector_world_ranked(rows, metric, query, options->keep, options->keep_context, &count);
        count = count < K ? count : K;
        cr_assert_eq(vector_search_create(index, query, options, &search), 0);
        for (uint32_t i = 0; i < count; i++) {
            cr_assert_eq(vector_search_next(search, &hit), 1, "query %u: hit %u of %u", q, i, count);
            cr_assert(hit.distance >= last, "the first wanted hits ascend");
            cr_assert(!options->keep || options->keep(options->keep_context, hit.ordinal));
            last = hit.distance;
            found += hit.distance <= right[count - 1].distance; /* of equals any may come */
        }
        wanted += count;
        vector_search_counts(search, &counts);
        *nodes_read += counts.nodes_read;
        vector_search_destroy(search);
        free(right);
    }
    free(query);
    return (double)found / wanted;
}

static bool keep_share(void *context, uint32_t ordinal) { return (ordinal * 2654435761u >> 16) % 1000 < *(const uint32_t *)context; }

Test(index_vector_graph, recall_on_clusters_reaches_its_bound)
{
    struct memory *memory = section_world_memory(96u << 20);
    for (uint32_t round = 0; round < 6; round++) {
        uint64_t random = 20 + round;
        enum vector_metric metric = (enum vector_metric)(VECTOR_L2 + round % 3);
        struct vector_rows rows = vector_rows_make(&random, round < 3 ? 1 : 0, 6000, round < 3 ? 48 : 12, round % 2);
        struct vector_options options = {.size_bytes = sizeof options, .dimension = rows.dimension, .metric = metric, .degree = 32, .build_list = 64, .seed = 1};
        struct vector_search_options asked = {.size_bytes = sizeof asked, .wanted = K};
        struct vector_world world;
        struct vector_verified verified;
        uint64_t nodes_read, nodes_read_absent;
        vector_world_begin(&world, memory, false, round % 2);
        vector_world_build(&world, &rows, &options);
        cr_assert_eq(vector_verify(&world.section, rows.row_count, &verified), 0);
        cr_assert_eq(verified.reachable, rows.count);
        struct vector_index *index = vector_world_open(&world, true), *absent = vector_world_open(&world, false);
        double recall = recall_of(index, &rows, metric, &asked, 60, 77, &nodes_read);
        printf("metric %d, dimension %u: recall %.4f, %.1f nodes read of %u\n", (int)metric, rows.dimension, recall, (double)nodes_read / 60, rows.count);
        cr_assert_gt(recall, 0.98, "metric %d, dimension %u: %f", (int)metric, rows.dimension, recall);
        cr_assert_lt(nodes_read, 60 * 120);
        /* Codes that are read through the source answer the same. */
        cr_assert_eq(recall_of(absent, &rows, metric, &asked, 20, 77, &nodes_read_absent), recall_of(index, &rows, metric, &asked, 20, 77, &nodes_read));
        cr_assert_eq(nodes_read_absent, nodes_read);
        cr_assert(round % 2 == 0 || world.pages.announced > 0);
        vector_close(absent);
        vector_close(index);
        cr_assert_eq(world.pages.pinned, 0);
        section_world_end(&world.pages);
        vector_rows_free(&rows);
    }
    memory_destroy(memory);
}

Test(index_vector_graph, filters_are_answered_in_full)
{
    uint64_t random = 5;
    struct memory *memory = section_world_memory(96u << 20);
    struct vector_rows rows = vector_rows_make(&random, 1, 8000, 24, true);
    struct vector_options options = {.size_bytes = sizeof options, .dimension = 24, .metric = VECTOR_L2, .degree = 32, .build_list = 64};
    struct vector_world world;
    vector_world_begin(&world, memory, false, true);
    vector_world_build(&world, &rows, &options);
    struct vector_index *index = vector_world_open(&world, true);
    static const uint32_t shares[] = {0, 1, 10, 50, 300, 900};
    for (uint32_t i = 0; i < sizeof shares / sizeof *shares; i++)
        for (uint32_t told = 0; told < 2; told++) {
            uint32_t share = shares[i];
            struct vector_search_options asked = {.size_bytes = sizeof asked, .wanted = K, .keep = keep_share, .keep_context = &share, .keep_share = told ? (double)share / 1000 : 0};
            uint64_t nodes_read;
            double recall = recall_of(index, &rows, VECTOR_L2, &asked, 20, 9, &nodes_read);
            printf("%u of 1000 kept, %s: recall %.4f, %.1f nodes read\n", share, told ? "told" : "not told", recall, (double)nodes_read / 20);
            cr_assert(share == 0 || recall > 0.98);
            /* Told of a filter that keeps few, a search reads only what is kept. */
            if (told && share > 0 && share <= 10)
                cr_assert(recall == 1 && nodes_read <= 20 * (uint64_t)rows.count * 2 * share / 1000);
        }
    vector_close(index);
    section_world_end(&world.pages);
    vector_rows_free(&rows);
    memory_destroy(memory);
}

Test(index_vector_graph, every_row_comes_once_when_more_is_asked_for)
{
    struct memory *memory = section_world_memory(64u << 20);
    for (uint32_t shape = 0; shape < VECTOR_SHAPES; shape++) {
        uint64_t random = 50 + shape;
        struct vector_rows rows = vector_rows_make(&random, shape, 2500, 10, true);
        struct vector_options options = {.size_bytes = sizeof options, .dimension = 10, .metric = (enum vector_metric)(VECTOR_L2 + shape % 3), .degree = 12, .build_list = 24};
        struct vector_search_options asked = {.size_bytes = sizeof asked, .wanted = 7, .list = 8, .beam = 1 + shape};
        struct vector_world world;
        struct vector_search *search;
        struct vector_hit hit;
        uint8_t *seen = calloc(rows.row_count, 1);
        uint32_t found = 0;
        int result;
        vector_world_begin(&world, memory, true, shape % 2);
        vector_world_build(&world, &rows, &options);
        struct vector_index *index = vector_world_open(&world, shape % 2);
        cr_assert_eq(vector_search_create(index, vector_row(&rows, 17), &asked, &search), 0);
        while ((result = vector_search_next(search, &hit)) == 1) {
            cr_assert(!seen[hit.ordinal], "%s: row %u twice", vector_shape_names[shape], hit.ordinal);
            seen[hit.ordinal] = 1;
            found++;
        }
        cr_assert(result == 0 && found == rows.count, "%s: %u of %u came, %d", vector_shape_names[shape], found, rows.count, result);
        vector_search_destroy(search);
        vector_close(index);
        free(seen);
        section_world_end(&world.pages);
        vector_rows_free(&rows);
    }
    memory_destroy(memory);
}

/* ---- Builds in steps, by fetch ---- */

struct fetched {
    const struct vector_rows *rows;
    uint32_t calls;
};

static int fetch_row(void *context, uint32_t position, uint32_t ordinal, float *vector)
{
    struct fetched *fetched = context;
    cr_assert(position < fetched->rows->count && fetched->rows->ordinals[position] == ordinal);
    memcpy(vector, vector_row(fetched->rows, position), fetched->rows->dimension * sizeof(float));
    fetched->calls++;
    return 0;
}

Test(index_vector_graph, steps_and_fetched_vectors_give_the_same_bytes)
{
    uint64_t random = 8;
    struct memory *memory = section_world_memory(64u << 20);
    for (uint32_t round = 0; round < 3; round++) {
        struct vector_rows rows = vector_rows_make(&random, 1, 1500, 20, round % 2);
        struct vector_options options = {.size_bytes = sizeof options, .dimension = 20, .metric = (enum vector_metric)(1 + round), .degree = 16, .build_list = 32, .seed = 9};
        struct fetched fetched = {&rows, 0};
        struct vector_world whole, stepped;
        struct vector_builder *builder;
        uint32_t steps = 0;
        vector_world_begin(&whole, memory, false, false);
        vector_world_build(&whole, &rows, &options);
        vector_world_begin(&stepped, memory, false, false);
        options.fetch = fetch_row;
        options.fetch_context = &fetched;
        cr_assert_eq(vector_builder_create(memory, &options, rows.count, &builder), 0);
        for (uint32_t i = 0; i < rows.count; i++)
            cr_assert_eq(vector_builder_add(builder, rows.ordinals[i], vector_row(&rows, i)), 0);
        cr_assert_eq(vector_builder_begin(builder, &stepped.pages.identity, &stepped.pages.sink), 0);
        for (bool finished = false; !finished; steps++)
            cr_assert_eq(vector_builder_step(builder, 1 + round * 10, &finished), 0);
        vector_builder_root(builder, &stepped.pages.root);
        vector_builder_destroy(builder);
        cr_assert_gt(steps, 3000 / (1 + round * 10));
        cr_assert_leq(fetched.calls, 3 * rows.count);
        cr_assert(stepped.pages.length == whole.pages.length && memcmp(stepped.pages.bytes, whole.pages.bytes, whole.pages.length) == 0 && stepped.pages.root.root_crc == whole.pages.root.root_crc);
        section_world_end(&stepped.pages);
        section_world_end(&whole.pages);
        vector_rows_free(&rows);
    }
    memory_destroy(memory);
}

/* ---- Merging ---- */

enum { INPUTS_MAX = 3 };

/* Rows of the inputs take turns as chance has it; some are dropped. */
struct mapping {
    uint32_t *new_ordinals[INPUTS_MAX]; /* by old ordinal */
    struct vector_rows merged;
};

static int map_ordinals(void *context, uint32_t input, uint32_t *ordinals, uint32_t count)
{
    const struct mapping *mapping = context;
    for (uint32_t i = 0; i < count; i++)
        ordinals[i] = mapping->new_ordinals[input][ordinals[i]];
    return 0;
}

static struct mapping make_mapping(uint64_t *state, const struct vector_rows *inputs, uint32_t input_count, uint32_t drop_of_1000)
{
    struct mapping mapping = {{0}};
    uint32_t at[INPUTS_MAX] = {0}, total = 0, left = 0, ordinal = 0, dimension = inputs[0].dimension;
    for (uint32_t i = 0; i < input_count; i++) {
        mapping.new_ordinals[i] = malloc((inputs[i].row_count + 1) * sizeof(uint32_t));
        left += inputs[i].count;
    }
    mapping.merged = (struct vector_rows){.dimension = dimension, .ordinals = malloc((left + 1) * sizeof(uint32_t)), .vectors = malloc(((size_t)left + 1) * dimension * sizeof(float))};
    for (; left > 0; left--) {
        uint32_t i = (uint32_t)(codec_check_random(state) % input_count);
        while (at[i] == inputs[i].count)
            i = (i + 1) % input_count;
        uint32_t row = at[i]++, *renamed = &mapping.new_ordinals[i][inputs[i].ordinals[row]];
        *renamed = VECTOR_DROPPED;
        if (codec_check_random(state) % 1000 < drop_of_1000)
            continue;
        ordinal += codec_check_random(state) % 3 == 0;
        *renamed = ordinal;
        mapping.merged.ordinals[total] = ordinal++;
        memcpy(mapping.merged.vectors + (size_t)total++ * dimension, vector_row(&inputs[i], row), dimension * sizeof(float));
    }
    mapping.merged.count = total;
    mapping.merged.row_count = ordinal;
    return mapping;
}

static void check_merge(uint64_t *state, struct memory *memory, const uint32_t *counts, uint32_t input_count, enum vector_metric metric, uint32_t drop_of_1000)
{
    struct vector_rows rows[INPUTS_MAX];
    struct vector_world worlds[INPUTS_MAX], merged;
    struct vector_index *inputs[INPUTS_MAX];
    struct vector_builder *builder;
    struct vector_verified verified;
    uint64_t nodes_read;
    char what[96];
    struct vector_options options = {.size_bytes = sizeof options, .dimension = 16, .metric = metric, .degree = 24, .build_list = 48};
    snprintf(what, sizeof what, "%u inputs, the first of %u rows, metric %d, %u of 1000 dropped", input_count, counts[0], (int)metric, drop_of_1000);
    for (uint32_t i = 0; i < input_count; i++) {
        rows[i] = vector_rows_make(state, 1, counts[i], 16, i % 2);
        vector_world_begin(&worlds[i], memory, i == 1, false);
        vector_world_build(&worlds[i], &rows[i], &options);
        inputs[i] = vector_world_open(&worlds[i], false);
    }
    struct mapping mapping = make_mapping(state, rows, input_count, drop_of_1000);
    struct vector_merge_options merging = {.size_bytes = sizeof merging, .degree = 24, .build_list = 48, .rows_max = mapping.merged.count, .map = map_ordinals, .map_context = &mapping};
    struct memory *bounded = section_world_memory(vector_merge_bytes(&merging, 16) + 65536);
    vector_world_begin(&merged, bounded, true, true);
    cr_assert_eq(vector_merge_create((const struct vector_index *const *)inputs, input_count, &merging, bounded, &builder), 0, "%s", what);
    cr_assert_eq(vector_builder_finish(builder, &merged.pages.identity, &merged.pages.sink, &merged.pages.root), 0, "%s", what);
    vector_builder_destroy(builder);
    memory_destroy(bounded);
    merged.section.memory = memory;
    cr_assert_eq(vector_verify(&merged.section, mapping.merged.row_count, &verified), 0, "%s", what);
    cr_assert(verified.rows == mapping.merged.count && verified.reachable == verified.rows, "%s", what);
    struct vector_index *index = vector_world_open(&merged, true);
    struct vector_search_options asked = {.size_bytes = sizeof asked, .wanted = K, .exact = true};
    if (mapping.merged.count > 0) {
        cr_assert_eq(recall_of(index, &mapping.merged, metric, &asked, 20, 3, &nodes_read), 1, "%s", what);
        asked.exact = false;
        double recall = recall_of(index, &mapping.merged, metric, &asked, 60, 3, &nodes_read);
        printf("%s: recall %.4f, %.1f nodes read of %u\n", what, recall, (double)nodes_read / 60, mapping.merged.count);
        cr_assert_gt(recall, 0.96, "%s: %f", what, recall);
    }
    vector_close(index);
    for (uint32_t i = 0; i < input_count; i++) {
        vector_close(inputs[i]);
        cr_assert_eq(worlds[i].pages.pinned, 0);
        section_world_end(&worlds[i].pages);
        vector_rows_free(&rows[i]);
        free(mapping.new_ordinals[i]);
    }
    section_world_end(&merged.pages);
    vector_rows_free(&mapping.merged);
}

Test(index_vector_graph, merged_sections_answer_like_built_ones)
{
    uint64_t random = 31;
    struct memory *memory = section_world_memory(64u << 20);
    static const uint32_t counts[][INPUTS_MAX] = {{3000, 500, 20}, {1200, 1500, 900}, {0, 30, 0}, {1, 0, 4000}, {2000, 2000, 0}};
    for (uint32_t round = 0; round < 15; round++)
        check_merge(&random, memory, counts[round % 5], 1 + (round + 2) % 3, (enum vector_metric)(1 + round / 5), round % 4 == 0 ? 0 : round % 4 == 1 ? 300 : round % 4 == 2 ? 700 : 1000 * (round == 11));
    memory_destroy(memory);
}

static int map_to_one(void *context, uint32_t input, uint32_t *ordinals, uint32_t count)
{
    (void)input;
    for (uint32_t i = 0; i < count; i++)
        ordinals[i] = *(const uint32_t *)context;
    return 0;
}

static int map_fails(void *context, uint32_t input, uint32_t *ordinals, uint32_t count)
{
    (void)context;
    (void)input;
    (void)ordinals;
    (void)count;
    return MOTE_EIO;
}

Test(index_vector_graph, merges_that_cannot_be_are_refused)
{
    uint64_t random = 4;
    struct memory *memory = section_world_memory(16u << 20);
    uint64_t empty_bytes = memory_used_bytes(memory);
    struct vector_world worlds[3];
    struct vector_index *inputs[3];
    struct vector_builder *builder;
    for (uint32_t i = 0; i < 3; i++) {
        struct vector_rows rows = vector_rows_make(&random, 0, 40, i == 1 ? 5 : 4, false);
        struct vector_options options = {.size_bytes = sizeof options, .dimension = i == 1 ? 5 : 4, .metric = i == 2 ? VECTOR_COSINE : VECTOR_L2};
        vector_world_begin(&worlds[i], memory, false, false);
        vector_world_build(&worlds[i], &rows, &options);
        inputs[i] = vector_world_open(&worlds[i], true);
        vector_rows_free(&rows);
    }
    uint32_t one = 7;
    struct vector_merge_options merging = {.size_bytes = sizeof merging, .rows_max = 100, .map = map_to_one, .map_context = &one};
    const struct vector_index *dimensions[2] = {inputs[0], inputs[1]}, *metrics[2] = {inputs[0], inputs[2]}, *same[2] = {inputs[0], inputs[0]};
    cr_assert_eq(vector_merge_create(same, 0, &merging, memory, &builder), MOTE_EINVAL, "no input");
    cr_assert_eq(vector_merge_create(dimensions, 2, &merging, memory, &builder), MOTE_EINVAL, "two dimensions");
    cr_assert_eq(vector_merge_create(metrics, 2, &merging, memory, &builder), MOTE_EINVAL, "two metrics");
    cr_assert_eq(vector_merge_create(same, 2, &merging, memory, &builder), MOTE_EINVAL, "all rows of one ordinal");
    merging.rows_max = 10;
    cr_assert_eq(vector_merge_create(same, 2, &merging, memory, &builder), MOTE_EINVAL, "more than rows_max");
    merging.map = map_fails;
    cr_assert_eq(vector_merge_create(same, 2, &merging, memory, &builder), MOTE_EIO, "what map returns");
    one = VECTOR_DROPPED;
    merging.map = map_to_one;
    for (int64_t n = 0, result = MOTE_EBUDGET; result; n++) {
        memory_fail_after(memory, n, true);
        result = vector_merge_create(same, 2, &merging, memory, &builder);
        memory_fail_after(memory, -1, false);
        cr_assert(result == 0 || result == MOTE_EBUDGET);
        if (!result)
            vector_builder_destroy(builder);
    }
    for (uint32_t i = 0; i < 3; i++) {
        vector_close(inputs[i]);
        cr_assert_eq(worlds[i].pages.pinned, 0);
        section_world_end(&worlds[i].pages);
    }
    cr_assert_eq(memory_used_bytes(memory), empty_bytes);
    memory_destroy(memory);
}
