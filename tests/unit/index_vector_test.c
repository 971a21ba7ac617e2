/* index_vector_test.c: the vector index by itself, in memory: kernels against the portable ones; exact searches of flat sections and of graphs against brute force, in every metric and with vectors of every kind; refusals; golden bytes; and that
 * a build for want of memory fails and leaves nothing. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/vector_private.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"
#include "tests/support/vector_world.h"

TestSuite(index_vector, .timeout = 120);

/* ---- Kernels ---- */

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void compare_kernels(const struct vector_kernels *set, const float *query, const uint8_t *vector, const int8_t *a, const int8_t *b, const uint8_t *codes, uint32_t count)
{
    const struct vector_kernels *right = &vector_kernels_portable;
    cr_assert_eq(bits_of(set->square(query, vector, count)), bits_of(right->square(query, vector, count)), "%s square of %u", set->name, count);
    cr_assert_eq(bits_of(set->product(query, vector, count)), bits_of(right->product(query, vector, count)), "%s product of %u", set->name, count);
    cr_assert_eq(set->product_i8(a, b, count), right->product_i8(a, b, count), "%s product_i8 of %u", set->name, count);
    cr_assert_eq(set->product_u4(codes, a, b, count), right->product_u4(codes, a, b, count), "%s product_u4 of %u", set->name, count);
}

Test(index_vector, kernels_of_every_set_give_the_bits_of_the_portable_one)
{
    uint64_t random = requests_seed("index_vector_kernels") | 1;
    const struct vector_kernels *all[VECTOR_KERNELS_MAX];
    size_t sets = vector_kernels_all(all);
    printf("%zu sets, in use: %s\n", sets, vector_kernels()->name);
    cr_assert_eq(all[0], &vector_kernels_portable);
    cr_assert_eq(all[sets - 1], vector_kernels());
    for (uint32_t round = 0; round < 600; round++) {
        uint32_t count = round < 300 ? round + 1 : round % 7 == 0 ? 16384 : 1 + (uint32_t)(codec_check_random(&random) % 2000);
        bool extreme = round % 3 == 0;
        /* Exact sizes, for the address sanitizer; one byte off every alignment. */
        float *query = malloc(count * sizeof *query);
        uint8_t *vector = malloc(4 * (size_t)count + 1), *codes = malloc(count);
        int8_t *a = malloc(count), *b = malloc(count);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t bits = codec_check_random(&random);
            query[i] = ((float)(bits >> 40) - 8e6f) * (extreme ? 2e31f : 1e-3f);
            vector_store_f32(vector + 1 + 4 * (size_t)i, ((float)(bits & 0xffffff) - 8e6f) * (extreme ? 2e31f : 1e-3f));
            a[i] = (int8_t)(extreme ? (bits & 1 ? 127 : -127) : (int)(bits >> 20 & 0xff) % 255 - 127);
            b[i] = (int8_t)(extreme ? 127 : (int)(bits >> 30 & 0xff) % 255 - 127);
            codes[i] = (uint8_t)(extreme ? 0xff : bits >> 50);
        }
        for (size_t s = 1; s < sets; s++)
            compare_kernels(all[s], query, vector + 1, a, b, codes, count);
        /* And the portable ones against the plainest loops. */
        float *copy = malloc(count * sizeof *copy);
        memcpy(copy, vector + 1, count * sizeof *copy);
        cr_assert_eq(bits_of(vector_kernels_portable.square(query, vector + 1, count)), bits_of(vector_world_distance(VECTOR_L2, query, copy, count)));
        cr_assert_eq(bits_of(0 - vector_kernels_portable.product(query, vector + 1, count)), bits_of(vector_world_distance(VECTOR_INNER_PRODUCT, query, copy, count)));
        free(copy);
        free(b);
        free(a);
        free(codes);
        free(vector);
        free(query);
    }
}

Test(index_vector, estimates_come_near_the_distances)
{
    uint64_t random = requests_seed("index_vector_estimates") | 1;
    enum { DIMENSION = 101, COUNT = 200 };
    struct vector_rows rows = vector_rows_make(&random, 0, COUNT, DIMENSION, false);
    for (uint32_t m = VECTOR_L2; m <= VECTOR_INNER_PRODUCT; m++) {
        float mean[2 * DIMENSION] = {0}, scaled[DIMENSION], residual[DIMENSION];
        int8_t halves[2 * ((DIMENSION + 1) / 2)];
        uint8_t code[VECTOR_CODE_HEADER_BYTES + (DIMENSION + 1) / 2];
        struct vector_model model = {.dimension = DIMENSION, .centroids = 1, .metric = (enum vector_metric)m, .scale = 1, .mean = mean, .centroid = mean + DIMENSION};
        struct vector_question question = {.low = halves, .high = halves + (DIMENSION + 1) / 2};
        double error_square = 0, spread_square = 0, sum = 0;
        vector_question_make(&model, vector_row(&rows, 0), scaled, &question);
        double errors[COUNT], query_square = vector_world_distance(VECTOR_L2, vector_row(&rows, 0), mean, DIMENSION);
        for (uint32_t i = 1; i < COUNT; i++) {
            vector_scale(&model, vector_row(&rows, i), scaled);
            vector_encode(&model, scaled, 0, residual, code);
            double distance = vector_world_distance((enum vector_metric)m, vector_row(&rows, 0), vector_row(&rows, i), DIMENSION);
            double right = m == VECTOR_L2 ? distance - query_square : 2 * distance;
            errors[i] = (double)vector_estimate(vector_kernels(), &question, code) - right;
            error_square += errors[i] * errors[i];
            spread_square += query_square * query_square;
            sum += errors[i];
        }
        cr_assert_lt(sqrt(error_square / spread_square), 0.04, "metric %u: %f", m, sqrt(error_square / spread_square));
        cr_assert_lt(fabs(sum) / COUNT, 0.01 * query_square, "metric %u: biased by %f", m, sum / COUNT / query_square);
    }
    vector_rows_free(&rows);
}

/* ---- Exact searches against brute force ---- */

static void expect_ranked(const struct vector_index *index, const struct vector_rows *rows, enum vector_metric metric, const float *query, const struct vector_search_options *options, const char *what)
{
    uint32_t count;
    struct vector_hit *right = vector_world_ranked(rows, metric, query, options->keep, options->keep_context, &count), hit;
    struct vector_search *search;
    struct vector_search_counts counts;
    cr_assert_eq(vector_search_create(index, query, options, &search), 0);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(vector_search_next(search, &hit), 1, "%s: hit %u of %u", what, i, count);
        cr_assert(bits_of(hit.distance) == bits_of(right[i].distance) && hit.ordinal == right[i].ordinal, "%s: hit %u is row %u at %g, not %u at %g", what, i, hit.ordinal, hit.distance, right[i].ordinal, right[i].distance);
    }
    cr_assert_eq(vector_search_next(search, &hit), 0, "%s", what);
    cr_assert_eq(vector_search_next(search, &hit), 0, "%s: the end stays the end", what);
    vector_search_counts(search, &counts);
    cr_assert(counts.exhaustive || count == 0);
    vector_search_destroy(search);
    free(right);
}

static bool keep_some(void *context, uint32_t ordinal) { return (ordinal * 2654435761u >> 16) % 1000 < *(const uint32_t *)context; }

Test(index_vector, exact_searches_equal_brute_force)
{
    uint64_t random = requests_seed("index_vector_exact") | 1;
    struct memory *memory = section_world_memory(64u << 20);
    const uint64_t empty_bytes = memory_used_bytes(memory);
    static const uint32_t dimensions[] = {1, 3, 16, 33, 100}, counts[] = {0, 1, 2, 60, 700};
    for (uint32_t round = 0; round < 150; round++) {
        uint32_t shape = round % VECTOR_SHAPES, dimension = dimensions[round / VECTOR_SHAPES % 5], count = counts[round / 3 % 5], kept = 300;
        enum vector_metric metric = (enum vector_metric)(VECTOR_L2 + round % 3);
        struct vector_rows rows = vector_rows_make(&random, shape, count, dimension, round % 2);
        struct vector_options options = {.size_bytes = sizeof options, .dimension = dimension, .metric = metric, .rows_flat_max = round % 4 ? 0 : 1, .degree = 16, .build_list = 20};
        struct vector_world world;
        struct vector_verified verified;
        char what[96];
        snprintf(what, sizeof what, "round %u: %u %s of %u", round, count, vector_shape_names[shape], dimension);
        vector_world_begin(&world, memory, round % 5 == 0, round % 2);
        vector_world_build(&world, &rows, &options);
        cr_assert_eq(vector_verify(&world.section, rows.row_count, &verified), 0, "%s", what);
        cr_assert(verified.rows == count && verified.reachable == count, "%s: %llu of %u reachable", what, (unsigned long long)verified.reachable, count);
        struct vector_index *index = vector_world_open(&world, round % 3 == 0);
        float query[100] = {0};
        for (uint32_t i = 0; i < dimension; i++)
            query[i] = count > 0 && round % 7 ? vector_row(&rows, count / 2)[i] * 0.75f : 0;
        struct vector_search_options asked = {.size_bytes = sizeof asked, .exact = true, .wanted = 1 + round % 40, .beam = 1 + round % 32};
        expect_ranked(index, &rows, metric, query, &asked, what);
        asked.keep = keep_some;
        asked.keep_context = &kept;
        expect_ranked(index, &rows, metric, query, &asked, what);
        vector_close(index);
        cr_assert_eq(world.pages.pinned, 0);
        section_world_end(&world.pages);
        vector_rows_free(&rows);
    }
    cr_assert_eq(memory_used_bytes(memory), empty_bytes);
    memory_destroy(memory);
}

Test(index_vector, vectors_longer_than_a_page_are_found)
{
    uint64_t random = requests_seed("index_vector_long") | 1;
    struct memory *memory = section_world_memory(64u << 20);
    const uint64_t empty_bytes = memory_used_bytes(memory);
    static const uint32_t dimensions[] = {1023, 1100, 16230, MOTE_VECTOR_DIMENSION_MAX};
    for (uint32_t round = 0; round < 8; round++) {
        uint32_t dimension = dimensions[round / 2], count = dimension > 2000 ? 24 : 60;
        struct vector_rows rows = vector_rows_make(&random, 0, count, dimension, true);
        struct vector_options options = {.size_bytes = sizeof options, .dimension = dimension, .metric = VECTOR_L2, .rows_flat_max = round % 2 ? 1 : 0, .degree = 100, .build_list = 20};
        struct vector_search_options asked = {.size_bytes = sizeof asked, .wanted = 5, .list = 8};
        struct vector_world world;
        struct vector_search *search;
        struct vector_hit hit;
        vector_world_begin(&world, memory, round % 4 == 1, true);
        vector_world_build(&world, &rows, &options);
        cr_assert_eq(vector_verify(&world.section, rows.row_count, NULL), 0);
        struct vector_index *index = vector_world_open(&world, false);
        for (uint32_t i = 0; i < count; i += 5) {
            cr_assert_eq(vector_search_create(index, vector_row(&rows, i), &asked, &search), 0);
            cr_assert_eq(vector_search_next(search, &hit), 1);
            cr_assert(hit.ordinal == rows.ordinals[i] && hit.distance == 0, "row %u of dimension %u", i, dimension);
            vector_search_destroy(search);
        }
        asked.exact = true;
        expect_ranked(index, &rows, VECTOR_L2, vector_row(&rows, 1), &asked, "long vectors");
        vector_close(index);
        section_world_end(&world.pages);
        vector_rows_free(&rows);
    }
    cr_assert_eq(memory_used_bytes(memory), empty_bytes);
    memory_destroy(memory);
}

/* ---- Refusals ---- */

Test(index_vector, what_is_not_finite_or_out_of_order_is_refused)
{
    struct memory *memory = section_world_memory(4u << 20);
    const uint64_t empty_bytes = memory_used_bytes(memory);
    struct vector_options options = {.size_bytes = sizeof options, .dimension = 3, .metric = VECTOR_COSINE};
    struct vector_builder *builder;
    struct vector_world world;
    bool finished;
    static const float good[3] = {1, 2, 3}, bad[][3] = {{1, NAN, 3}, {INFINITY, 2, 3}, {1, 2, -INFINITY}};
    cr_assert_eq(vector_builder_create(memory, &options, 3, &builder), 0);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(vector_builder_add(builder, 5, bad[i]), MOTE_EINVAL);
    cr_assert_eq(vector_builder_add(builder, 5, good), 0);
    cr_assert_eq(vector_builder_add(builder, 5, good), MOTE_EINVAL, "no ordinal twice");
    cr_assert_eq(vector_builder_add(builder, 4, good), MOTE_EINVAL, "ascending");
    cr_assert_eq(vector_builder_add(builder, 9, good), 0);
    cr_assert_eq(vector_builder_add(builder, 10, good), 0);
    cr_assert_eq(vector_builder_add(builder, 11, good), MOTE_EINVAL, "rows_max");
    cr_assert_eq(vector_builder_step(builder, 1, &finished), MOTE_EINVAL, "begin comes first");
    vector_world_begin(&world, memory, false, false);
    cr_assert_eq(vector_builder_finish(builder, &world.pages.identity, &world.pages.sink, &world.pages.root), 0);
    cr_assert_eq(vector_builder_add(builder, 20, good), MOTE_EINVAL, "a finished builder");
    cr_assert_eq(vector_builder_finish(builder, &world.pages.identity, &world.pages.sink, &world.pages.root), MOTE_EINVAL, "twice");
    vector_builder_destroy(builder);
    struct vector_index *index = vector_world_open(&world, true);
    struct vector_search *search;
    struct vector_search_options asked = {.size_bytes = sizeof asked, .list = VECTOR_LIST_MAX + 1};
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(vector_search_create(index, bad[i], NULL, &search), MOTE_EINVAL);
    cr_assert_eq(vector_search_create(index, good, &asked, &search), MOTE_EINVAL);
    vector_close(index);
    section_world_end(&world.pages);
    static const struct vector_options wrong[] = {{.dimension = 0, .metric = VECTOR_L2},
                                                  {.dimension = MOTE_VECTOR_DIMENSION_MAX + 1, .metric = VECTOR_L2},
                                                  {.dimension = 3},
                                                  {.dimension = 3, .metric = (enum vector_metric)4},
                                                  {.dimension = 3, .metric = VECTOR_L2, .degree = VECTOR_DEGREE_MAX + 1},
                                                  {.dimension = 3, .metric = VECTOR_L2, .degree = 3},
                                                  {.dimension = 3, .metric = VECTOR_L2, .build_list = 7}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        options = wrong[i];
        options.size_bytes = sizeof options;
        cr_assert_eq(vector_builder_create(memory, &options, 3, &builder), MOTE_EINVAL, "options %zu", i);
    }
    cr_assert_eq(memory_used_bytes(memory), empty_bytes);
    memory_destroy(memory);
}

Test(index_vector, zero_vectors_have_the_distance_one_by_cosine)
{
    struct memory *memory = section_world_memory(4u << 20);
    struct vector_options options = {.size_bytes = sizeof options, .dimension = 2, .metric = VECTOR_COSINE};
    float vectors[] = {0, 0, 3, 4, -3, -4, 1e-42f, 0};
    uint32_t ordinals[] = {0, 1, 2, 3};
    struct vector_rows rows = {.count = 4, .dimension = 2, .ordinals = ordinals, .vectors = vectors, .row_count = 4};
    struct vector_world world;
    struct vector_search *search;
    struct vector_hit hit;
    static const float query[2] = {30, 40}, zero[2] = {0, -0.0f};
    static const uint32_t right[] = {1, 3, 0, 2};
    static const double distances[] = {0, 0.4, 1, 2};
    vector_world_begin(&world, memory, false, false);
    vector_world_build(&world, &rows, &options);
    struct vector_index *index = vector_world_open(&world, true);
    cr_assert_eq(vector_search_create(index, query, NULL, &search), 0);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(vector_search_next(search, &hit), 1);
        cr_assert(hit.ordinal == right[i] && fabs(hit.distance - distances[i]) < 1e-6, "hit %u is %u at %g", i, hit.ordinal, hit.distance);
    }
    vector_search_destroy(search);
    cr_assert_eq(vector_search_create(index, zero, NULL, &search), 0);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(vector_search_next(search, &hit), 1);
        cr_assert(hit.ordinal == i && hit.distance == 1);
    }
    vector_search_destroy(search);
    vector_close(index);
    section_world_end(&world.pages);
    memory_destroy(memory);
}

/* ---- Memory, bytes ---- */

Test(index_vector, too_little_memory_fails_and_leaves_nothing)
{
    uint64_t random = requests_seed("index_vector_memory") | 1;
    struct memory *memory = section_world_memory(16u << 20);
    const uint64_t empty_bytes = memory_used_bytes(memory);
    struct vector_rows rows = vector_rows_make(&random, 1, 300, 20, true);
    struct vector_options options = {.size_bytes = sizeof options, .dimension = 20, .metric = VECTOR_INNER_PRODUCT, .rows_flat_max = 1, .degree = 8, .build_list = 16};
    int result = MOTE_EBUDGET;
    uint32_t refused = 0;
    for (int64_t n = 0; result; n++) {
        struct vector_builder *builder = NULL;
        struct vector_index *index = NULL;
        struct vector_search *search = NULL;
        struct vector_hit hit;
        struct vector_world world;
        vector_world_begin(&world, memory, false, false);
        memory_fail_after(memory, n, true);
        result = vector_builder_create(memory, &options, rows.count, &builder);
        for (uint32_t i = 0; !result && i < rows.count; i++)
            result = vector_builder_add(builder, rows.ordinals[i], vector_row(&rows, i));
        result = result ? result : vector_builder_finish(builder, &world.pages.identity, &world.pages.sink, &world.pages.root);
        vector_builder_destroy(builder);
        result = result ? result : vector_verify(&world.section, rows.row_count, NULL);
        result = result ? result : vector_open(&world.section, UINT64_MAX, &index);
        result = result ? result : vector_search_create(index, vector_row(&rows, 0), NULL, &search);
        int found = 1;
        for (uint32_t i = 0; !result && found == 1; i++)
            result = (found = vector_search_next(search, &hit)) < 0 ? found : 0;
        vector_search_destroy(search);
        vector_close(index);
        memory_fail_after(memory, -1, false);
        cr_assert(result == 0 || result == MOTE_EBUDGET, "allocation %lld: %d", (long long)n, result);
        cr_assert_eq(memory_used_bytes(memory), empty_bytes, "allocation %lld", (long long)n);
        cr_assert_eq(world.pages.pinned, 0);
        refused += result != 0;
        section_world_end(&world.pages);
    }
    cr_assert_gt(refused, 40);
    vector_rows_free(&rows);
    memory_destroy(memory);
}

Test(index_vector, builders_and_open_indexes_take_no_more_than_stated)
{
    uint64_t random = requests_seed("index_vector_stated") | 1;
    static const uint32_t dimensions[] = {2, 64, 300, 2000};
    for (uint32_t round = 0; round < 12; round++) {
        uint32_t dimension = dimensions[round % 4], count = round < 4 ? 40 : dimension > 1000 ? 600 : 3000;
        struct vector_options options = {.size_bytes = sizeof options, .dimension = dimension, .metric = (enum vector_metric)(1 + round % 3), .rows_flat_max = round < 4 ? 0 : 1, .degree = 12, .build_list = 16};
        struct vector_rows rows = vector_rows_make(&random, 1, count, dimension, round % 2);
        uint64_t stated_bytes = vector_builder_bytes(&options, count);
        /* The heap's own words for each piece are in what is stated; the arena has a little more for its pages. */
        struct memory *memory = section_world_memory(stated_bytes + 65536);
        struct vector_world world;
        struct vector_facts facts;
        vector_world_begin(&world, memory, false, false);
        vector_world_build(&world, &rows, &options);
        memory_destroy(memory);
        world.section.memory = memory = section_world_memory(64u << 20);
        uint64_t empty_bytes = memory_used_bytes(memory);
        struct vector_index *index = vector_world_open(&world, true);
        vector_describe(index, &facts);
        cr_assert_leq(memory_used_bytes(memory) - empty_bytes, facts.resident_bytes + 6 * 64);
        cr_assert(facts.rows == count && facts.dimension == dimension && facts.flat == (round < 4) && facts.codes_resident == (round >= 4));
        cr_assert_eq(facts.codes_bytes, round < 4 ? 0 : (uint64_t)count * (9 + (dimension + 1) / 2));
        /* The codes stay out when the limit is one byte lower. */
        vector_close(index);
        cr_assert_eq(vector_open(&world.section, facts.resident_bytes - 1, &index), 0);
        vector_describe(index, &facts);
        cr_assert_not(facts.codes_resident);
        vector_close(index);
        memory_destroy(memory);
        section_world_end(&world.pages);
        vector_rows_free(&rows);
    }
}

Test(index_vector, golden_sections_keep_their_bytes)
{
    static const struct {
        uint32_t count, dimension, metric;
        uint64_t length;
        uint32_t crc;
    } golden[] = {{0, 4, 1, 4096, 0xefb7b89b},     {20, 7, 1, 16384, 0xa4718599},    {400, 9, 1, 57344, 0xf6443d12},
                {400, 9, 2, 61440, 0x69dd2f52}, {1500, 5, 3, 139264, 0x92391cd5}, {60, 1100, 1, 552960, 0x397e42ff}};
    struct memory *memory = section_world_memory(16u << 20);
    uint32_t changed = 0;
    for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
        uint64_t random = 12345;
        struct vector_rows rows = vector_rows_make(&random, 1, golden[g].count, golden[g].dimension, g % 2);
        struct vector_options options = {.size_bytes = sizeof options, .dimension = golden[g].dimension, .metric = (enum vector_metric)golden[g].metric, .rows_flat_max = 50, .degree = 10, .build_list = 24, .seed = 3};
        struct vector_world world;
        vector_world_begin(&world, memory, false, false);
        vector_world_build(&world, &rows, &options);
        uint32_t crc = crc32c(0, world.pages.bytes, world.pages.length);
        if (world.pages.length != golden[g].length || crc != golden[g].crc) {
            printf("{%u, %u, %u, %llu, 0x%08x}, now\n", golden[g].count, golden[g].dimension, golden[g].metric, (unsigned long long)world.pages.length, crc);
            changed++;
        }
        cr_assert_eq(world.pages.root.root_crc, load_u32(world.pages.bytes + world.pages.root.root_offset_bytes + 4));
        section_world_end(&world.pages);
        vector_rows_free(&rows);
    }
    cr_assert_eq(changed, 0);
    memory_destroy(memory);
}
