/* index_spatial_test.c: the spatial index by itself, in memory: box, radius, count and estimate against brute force over clouds of many shapes; what is built, byte for byte; misuse and want of memory. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/bytes.h"
#include "blockdev/base/crc32c.h"
#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/spatial_private.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"
#include "tests/support/spatial_world.h"

TestSuite(index_spatial, .timeout = 120);

/* What a search found, by ordinal. */
struct found {
    const struct spatial_cloud *cloud;
    uint32_t *row_of; /* ordinal to cloud row, UINT32_MAX: none */
    uint8_t *seen;
    uint64_t count;
    const double *centre; /* NULL: a box */
    bool wrong;
};

static struct found make_found(const struct spatial_cloud *cloud)
{
    struct found found = {.cloud = cloud, .row_of = malloc((cloud->row_count + 1) * sizeof(uint32_t)), .seen = calloc(cloud->row_count + 1, 1)};
    memset(found.row_of, 0xff, (cloud->row_count + 1) * sizeof(uint32_t));
    for (uint32_t i = 0; i < cloud->count; i++)
        found.row_of[cloud->ordinals[i]] = i;
    return found;
}

static void forget_found(struct found *found)
{
    memset(found->seen, 0, found->cloud->row_count + 1);
    found->count = 0;
    found->centre = NULL;
}

static void free_found(struct found *found)
{
    free(found->row_of);
    free(found->seen);
}

static int visit(void *context, const struct spatial_hits *hits)
{
    struct found *found = context;
    found->wrong |= (found->centre == NULL) != (hits->squared_distances == NULL) || hits->count == 0;
    for (uint32_t i = 0; i < hits->count && !found->wrong; i++) {
        uint32_t ordinal = hits->ordinals[i];
        if (ordinal >= found->cloud->row_count || found->row_of[ordinal] == UINT32_MAX || found->seen[ordinal]) {
            found->wrong = true;
            break;
        }
        const double *point = found->cloud->points[found->row_of[ordinal]];
        found->wrong |= memcmp(point, hits->points[i], 24) != 0; /* bit for bit */
        found->wrong |= found->centre && hits->squared_distances[i] != spatial_world_square(point, found->centre);
        found->seen[ordinal] = 1;
    }
    found->count += hits->count;
    return found->wrong ? 77 : 0;
}

static bool inside(const double point[3], const double min[3], const double max[3])
{
    return point[0] >= min[0] && point[0] <= max[0] && point[1] >= min[1] && point[1] <= max[1] && point[2] >= min[2] && point[2] <= max[2];
}

static void check_box(struct spatial_world *world, struct found *found, const double min[3], const double max[3], const char *what)
{
    const struct spatial_cloud *cloud = found->cloud;
    uint64_t expected = 0, counted = 1;
    struct spatial_estimate estimate;
    forget_found(found);
    cr_assert_eq(spatial_search_box(&world->section, min, max, visit, found), 0, "%s", what);
    cr_assert(!found->wrong, "%s", what);
    for (uint32_t i = 0; i < cloud->count; i++) {
        bool in = inside(cloud->points[i], min, max);
        expected += in;
        cr_assert_eq(found->seen[cloud->ordinals[i]], in, "%s: row %u", what, i);
    }
    cr_assert_eq(spatial_count_box(&world->section, min, max, &counted), 0);
    cr_assert_eq(counted, expected, "%s: count", what);
    for (uint32_t pages = 0; pages < 100; pages = pages * 5 + 1) {
        cr_assert_eq(spatial_estimate_box(&world->section, min, max, pages, &estimate), 0);
        cr_assert(estimate.least <= expected && expected <= estimate.most && estimate.rows == cloud->count, "%s: from %llu to %llu, not %llu", what, (unsigned long long)estimate.least, (unsigned long long)estimate.most,
                  (unsigned long long)expected);
        cr_assert(estimate.expected >= (double)estimate.least && estimate.expected <= (double)estimate.most * (1 + 1e-12));
    }
}

static void check_ball(struct spatial_world *world, struct found *found, const double centre[3], double radius, const char *what)
{
    const struct spatial_cloud *cloud = found->cloud;
    forget_found(found);
    found->centre = centre;
    cr_assert_eq(spatial_search_radius(&world->section, centre, radius, visit, found), 0, "%s", what);
    cr_assert(!found->wrong, "%s", what);
    for (uint32_t i = 0; i < cloud->count; i++)
        cr_assert_eq(found->seen[cloud->ordinals[i]], spatial_world_square(cloud->points[i], centre) <= radius * radius, "%s: row %u, radius %g", what, i, radius);
}

/* Boxes and balls whose corners, centres and radii come from the points, so that the inclusive borders are met. */
static void check_searches(struct spatial_world *world, const struct spatial_cloud *cloud, uint64_t *random, uint32_t rounds, const char *what)
{
    static const double all_min[3] = {-INFINITY, -INFINITY, -INFINITY}, all_max[3] = {INFINITY, INFINITY, INFINITY}, zero[3] = {0, -0.0, 0};
    struct found found = make_found(cloud);
    check_box(world, &found, all_min, all_max, what);
    cr_assert_eq(found.count, cloud->count);
    check_box(world, &found, all_max, all_min, what);
    check_box(world, &found, zero, zero, what);
    check_ball(world, &found, zero, INFINITY, what);
    check_ball(world, &found, all_max, 1, what);
    for (uint32_t i = 0; i < rounds && cloud->count > 0; i++) {
        const double *a = cloud->points[codec_check_random(random) % cloud->count], *b = cloud->points[codec_check_random(random) % cloud->count];
        double min[3], max[3], nudge = (double)(codec_check_random(random) % 3) * 0.01, shrink = i % 4 == 3 ? 0.05 : 1;
        for (int axis = 0; axis < 3; axis++) {
            min[axis] = fmin(a[axis], b[axis]);
            max[axis] = isinf(min[axis]) || isinf(fmax(a[axis], b[axis])) ? fmax(a[axis], b[axis]) : min[axis] + (fmax(a[axis], b[axis]) - min[axis]) * shrink + nudge;
        }
        check_box(world, &found, min, max, what);
        check_box(world, &found, a, a, what);
        check_ball(world, &found, a, sqrt(spatial_world_square(a, b)) * shrink, what);
        check_ball(world, &found, min, nudge, what);
    }
    free_found(&found);
}

Test(index_spatial, clouds_of_all_shapes_answers_equal_brute_force)
{
    uint64_t random = requests_seed("index_spatial_shapes") | 1;
    static const uint32_t counts[] = {0, 1, 2, 3, 70, 141, 142, 143, 144, 177, 178, 285, 361, 362, 511, 512, 513, 1025, 5000, 40000};
    struct memory *memory = section_world_memory(64u << 20);
    uint64_t used_bytes = memory_used_bytes(memory);
    for (uint32_t shape = 0; shape < SPATIAL_SHAPES; shape++)
        for (uint32_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            struct spatial_cloud cloud = spatial_cloud_make(&random, shape, counts[c]);
            struct spatial_world world;
            spatial_world_begin(&world, memory, (shape + c) % 2, c % 3 == 0);
            spatial_world_build(&world, &cloud);
            cr_assert_eq(spatial_verify(&world.section, cloud.row_count), 0, "%s %u", spatial_shape_names[shape], counts[c]);
            check_searches(&world, &cloud, &random, counts[c] > 10000 ? 6 : 12, spatial_shape_names[shape]);
            cr_assert_eq(world.pages.pinned, 0);
            cr_assert(c % 3 != 0 || counts[c] < 5000 || world.pages.announced > 0);
            section_world_end(&world.pages);
            spatial_cloud_free(&cloud);
        }
    cr_assert_eq(memory_used_bytes(memory), used_bytes, "memory was not given back");
    memory_destroy(memory);
}

Test(index_spatial, three_levels_answers_equal_brute_force)
{
    uint64_t random = requests_seed("index_spatial_levels") | 1;
    struct memory *memory = section_world_memory(256u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&random, 0, 1500000);
    struct spatial_world world;
    spatial_world_begin(&world, memory, false, true);
    spatial_world_build(&world, &cloud);
    cr_assert_geq(load_u16(world.pages.bytes + world.pages.root.root_offset_bytes + 38), 2, "the tree is not as high as the test wants");
    cr_assert_eq(spatial_verify(&world.section, cloud.row_count), 0);
    check_searches(&world, &cloud, &random, 3, "three levels");
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}

Test(index_spatial, visit_that_stops_returns_its_result)
{
    uint64_t random = 3;
    struct memory *memory = section_world_memory(16u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&random, 0, 3000), none = {.row_count = 0};
    struct found found = {.cloud = &none}; /* every hit is wrong to it */
    struct spatial_world world;
    static const double min[3] = {-INFINITY, -INFINITY, -INFINITY}, max[3] = {INFINITY, INFINITY, INFINITY};
    spatial_world_begin(&world, memory, false, false);
    spatial_world_build(&world, &cloud);
    cr_assert_eq(spatial_search_box(&world.section, min, max, visit, &found), 77);
    cr_assert_eq(world.pages.pinned, 0);
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}

/* Coordinates that make samples lie: sorted, organ pipes, sawtooth, few values, many equal with outliers where the sample does not look. */
Test(index_spatial, select_of_hard_sequences_divides)
{
    uint64_t random = requests_seed("index_spatial_select") | 1;
    enum { COUNT_MAX = 20000 };
    struct spatial_record *records = malloc(COUNT_MAX * sizeof *records);
    for (uint32_t shape = 0; shape < 9; shape++)
        for (uint32_t round = 0; round < 60; round++) {
            size_t count = 2 + codec_check_random(&random) % (round % 6 ? 300 : COUNT_MAX - 2), rank = 1 + codec_check_random(&random) % (count - 1);
            uint32_t axis = round % 3;
            double below = -INFINITY, above = INFINITY;
            uint64_t sum = 0;
            for (size_t i = 0; i < count; i++) {
                uint64_t r = codec_check_random(&random);
                double values[] = {(double)i, -(double)i, (double)(i < count / 2 ? i : count - i), (double)(i % 17), (double)(r % 3), r % 100 ? 5 : (double)(r >> 40), i % 64 == 32 ? 1e300 : (double)(r >> 11), r & 1 ? 0.0 : -0.0, r % 9 ? INFINITY : -INFINITY};
                records[i] = (struct spatial_record){{1, 2, 3}, (uint32_t)i};
                records[i].at[axis] = values[shape];
            }
            spatial_select(records, count, rank, axis);
            for (size_t i = 0; i < count; i++) {
                if (i < rank)
                    below = fmax(below, records[i].at[axis]);
                else
                    above = fmin(above, records[i].at[axis]);
                sum += records[i].ordinal;
            }
            cr_assert(below <= above, "shape %u, %zu of %zu", shape, rank, count);
            cr_assert_eq(sum, (uint64_t)count * (count - 1) / 2, "a record was lost");
        }
    free(records);
}

/* The portable loops and those that this processor runs: random pages, whatever they mean, give the same bits. */
Test(index_spatial, loops_of_all_sets_give_the_same_bits)
{
    uint64_t random = requests_seed("index_spatial_loops") | 1;
    const struct spatial_loops *portable = spatial_loops(true), *fast = spatial_loops(false);
    static struct spatial_points points[2];
    static double squares[4][SPATIAL_LEAF_POINTS_MAX];
    uint8_t page[SPATIAL_PAGE_BYTES];
    for (uint32_t round = 0; round < 3000; round++) {
        uint32_t width = (uint32_t)(codec_check_random(&random) >> 40) % (SPATIAL_WIDTH_MAX + 2), count = (uint32_t)(codec_check_random(&random) >> 40) % (SPATIAL_LEAF_POINTS_MAX + 1), shift = round % 64;
        uint64_t base = codec_check_random(&random) >> (round % 64);
        double centre[3];
        width = width > SPATIAL_WIDTH_MAX ? 64 : width;
        count = count * width / 8 > SPATIAL_LEAF_BODY_BYTES ? SPATIAL_LEAF_BODY_BYTES * 8 / width : count;
        for (uint32_t i = 0; i < SPATIAL_PAGE_BYTES; i += 8)
            store_u64(page + i, codec_check_random(&random) >> (round % 3 ? 0 : 30));
        for (uint32_t axis = 0; axis < 3; axis++) {
            portable->decode_axis(page + SPATIAL_LEAF_HEADER_BYTES, width, shift, base, count, points[0].at[axis]);
            fast->decode_axis(page + SPATIAL_LEAF_HEADER_BYTES, width, shift, base, count, points[1].at[axis]);
            cr_assert_eq(memcmp(points[0].at[axis], points[1].at[axis], count * sizeof(double)), 0, "width %u, shift %u, count %u", width, shift, count);
            for (uint32_t i = 0; i < count; i++)
                points[0].at[axis][i] = isnan(points[0].at[axis][i]) ? INFINITY : points[0].at[axis][i];
            centre[axis] = round % 5 == 0 ? INFINITY : round % 5 == 1 || count == 0 ? 0.3 : points[0].at[axis][count / 2];
        }
        points[0].count = count;
        portable->square(&points[0], centre, squares[0]);
        fast->square(&points[0], centre, squares[1]);
        cr_assert_eq(memcmp(squares[0], squares[1], count * sizeof(double)), 0);
        for (uint32_t i = 0; i < count; i++) {
            const double point[3] = {points[0].at[0][i], points[0].at[1][i], points[0].at[2][i]};
            cr_assert_eq(squares[0][i], spatial_world_square(point, centre));
        }
        for (uint32_t i = 0; i < 6 * SPATIAL_FANOUT; i++) {
            const float sides[] = {-INFINITY, INFINITY, 0.5f, -3e38f, (float)i, 1e-40f, -0.0f, 7};
            uint32_t bits;
            memcpy(&bits, &sides[codec_check_random(&random) >> 61], sizeof bits);
            store_u32(page + SPATIAL_BOXES_AT + 4 * i, bits);
        }
        portable->square_boxes(page, round % (SPATIAL_FANOUT + 1), centre, squares[0], squares[1]);
        fast->square_boxes(page, round % (SPATIAL_FANOUT + 1), centre, squares[2], squares[3]);
        cr_assert_eq(memcmp(squares[0], squares[2], round % (SPATIAL_FANOUT + 1) * sizeof(double)), 0);
        cr_assert_eq(memcmp(squares[1], squares[3], round % (SPATIAL_FANOUT + 1) * sizeof(double)), 0);
    }
}

/* The same rows, however they were handed over, are the same bytes; and these bytes are version 1. */
Test(index_spatial, golden_section_is_byte_for_byte_the_same)
{
    struct memory *memory = section_world_memory(16u << 20);
    struct spatial_cloud cloud = {.count = 40000, .row_count = 40000, .ordinals = malloc(40000 * sizeof(uint32_t)), .points = malloc(40000 * 24)};
    struct spatial_world world, many;
    struct spatial_builder *builder;
    for (uint32_t i = 0; i < cloud.count; i++) {
        cloud.ordinals[i] = i;
        cloud.points[i][0] = (double)(i * 7919u % 1000) / 8;
        cloud.points[i][1] = (double)(i * 104729u % 4096) - 2000;
        cloud.points[i][2] = i % 5 ? 0.1 : -0.0;
    }
    spatial_world_begin(&world, memory, false, false);
    spatial_world_build(&world, &cloud);
    spatial_world_begin(&many, memory, false, false);
    cr_assert_eq(spatial_builder_create(memory, cloud.count, &builder), 0);
    for (uint32_t i = 0; i < cloud.count; i += 1000)
        cr_assert_eq(spatial_builder_add_many(builder, i, cloud.points[i], 1000), 0);
    cr_assert_eq(spatial_builder_finish(builder, &many.pages.identity, &many.pages.sink, &many.pages.root), 0);
    spatial_builder_destroy(builder);
    cr_assert_eq(world.pages.length, many.pages.length);
    cr_assert_eq(memcmp(world.pages.bytes, many.pages.bytes, world.pages.length), 0);
    cr_assert_eq(world.pages.length, 593920, "%llu bytes", (unsigned long long)world.pages.length);
    cr_assert_eq(crc32c(0, world.pages.bytes, world.pages.length), 0x993bbf0a, "0x%08x", crc32c(0, world.pages.bytes, world.pages.length));
    section_world_end(&many.pages);
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}

/* A leaf of three points, written out. */
Test(index_spatial, golden_leaf_is_byte_for_byte_the_same)
{
    static const uint8_t expected[] = {
        3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,     /* counts */
        51, 53, 63, 12, 11, 0, 9, 0,                        /* shifts, widths */
        0x01, 0x08, 0, 0, 0, 0, 0, 0,                       /* base of x: -1 is ~0xbff0... >> 51 */
        0x00, 0x02, 0, 0, 0, 0, 0, 0,                       /* of y: -0.5 is ~0xbfe0... >> 53 */
        1, 0, 0, 0, 0, 0, 0, 0,                             /* of z: 0 is 2^63 >> 63 */
        7, 0, 0, 0, 0, 0, 0, 0,                             /* of the ordinals */
        0xfd, 0xef, 0xff, 0, 0,                             /* x: 0xffd, 0xffe, 0 in 12 bits each */
        0, 0, 0xe0, 0xff, 0,                                /* y: 0, 0x400, 0x3ff in 11 */
        0, 0x4a, 0x06, 0,                                   /* ordinals: 0, 293, 1 in 9 */
    };
    struct spatial_record records[3] = {{{1, -0.5, 0}, 7}, {{1.5, 2, 0}, 300}, {{-1, 0.5, 0}, 8}};
    struct spatial_points points;
    uint8_t page[SPATIAL_PAGE_BYTES] = {0};
    spatial_leaf_encode(page, records, 3);
    for (uint32_t i = 0; i < sizeof expected; i++)
        cr_assert_eq(page[40 + i], expected[i], "byte %u: %u", 40 + i, page[40 + i]);
    for (uint32_t i = 40 + sizeof expected; i < SPATIAL_PAGE_BYTES; i++)
        cr_assert_eq(page[i], 0);
    cr_assert(spatial_leaf_decode(page, &points) && points.count == 3);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(points.ordinals[i], records[i].ordinal);
        for (uint32_t axis = 0; axis < 3; axis++)
            cr_assert_eq(memcmp(&points.at[axis][i], &records[i].at[axis], 8), 0);
    }
}

Test(index_spatial, misuse_is_refused)
{
    struct memory *memory = section_world_memory(16u << 20);
    struct spatial_builder *builder;
    struct spatial_world world;
    struct spatial_nearest *nearest;
    struct spatial_nearest_options options = {.wanted = 1, .squared_distance_max = INFINITY};
    struct spatial_estimate estimate;
    uint64_t counted;
    const double good[3] = {1, 2, 3}, bad[3] = {1, NAN, 3}, pair[6] = {1, 2, 3, 4, 5, NAN};
    spatial_world_begin(&world, memory, false, false);
    cr_assert_eq(spatial_builder_create(memory, 1ull << 32, &builder), MOTE_EINVAL);
    cr_assert_eq(spatial_builder_create(memory, 3, &builder), 0);
    cr_assert_eq(spatial_builder_add(builder, 5, bad), MOTE_EINVAL);
    cr_assert_eq(spatial_builder_add_many(builder, 5, pair, 2), MOTE_EINVAL);
    cr_assert_eq(spatial_builder_add(builder, 5, good), 0);
    cr_assert_eq(spatial_builder_add(builder, 5, good), MOTE_EINVAL);
    cr_assert_eq(spatial_builder_add(builder, UINT32_MAX, good), MOTE_EINVAL);
    cr_assert_eq(spatial_builder_add_many(builder, 9, NULL, 0), 0);
    cr_assert_eq(spatial_builder_add(builder, 6, good), 0);
    cr_assert_eq(spatial_builder_add_many(builder, 7, pair, 2), MOTE_EINVAL);
    cr_assert_eq(spatial_builder_add(builder, 7, good), 0);
    cr_assert_eq(spatial_builder_add(builder, 8, good), MOTE_EINVAL);
    cr_assert_eq(spatial_builder_finish(builder, &world.pages.identity, &world.pages.sink, &world.pages.root), 0);
    cr_assert_eq(spatial_builder_finish(builder, &world.pages.identity, &world.pages.sink, &world.pages.root), MOTE_EINVAL);
    cr_assert_eq(spatial_builder_add(builder, 9, good), MOTE_EINVAL);
    spatial_builder_destroy(builder);
    spatial_builder_destroy(NULL);
    cr_assert_eq(spatial_search_box(&world.section, bad, good, visit, NULL), MOTE_EINVAL);
    cr_assert_eq(spatial_search_box(&world.section, good, bad, visit, NULL), MOTE_EINVAL);
    cr_assert_eq(spatial_count_box(&world.section, good, bad, &counted), MOTE_EINVAL);
    cr_assert_eq(spatial_estimate_box(&world.section, good, bad, 1, &estimate), MOTE_EINVAL);
    cr_assert_eq(spatial_search_radius(&world.section, bad, 1, visit, NULL), MOTE_EINVAL);
    cr_assert_eq(spatial_search_radius(&world.section, good, -1, visit, NULL), MOTE_EINVAL);
    cr_assert_eq(spatial_search_radius(&world.section, good, NAN, visit, NULL), MOTE_EINVAL);
    cr_assert_eq(spatial_nearest_create(&world.section, bad, &options, &nearest), MOTE_EINVAL);
    options.squared_distance_max = NAN;
    cr_assert_eq(spatial_nearest_create(&world.section, good, &options, &nearest), MOTE_EINVAL);
    section_world_end(&world.pages);
    memory_destroy(memory);
}

static int count_hits(void *context, const struct spatial_hits *hits)
{
    *(uint64_t *)context += hits->count;
    return 0;
}

/* Each allocation of each call fails once: MOTE_EBUDGET, and nothing is kept. */
Test(index_spatial, want_of_memory_is_budget)
{
    uint64_t random = 5, counted = 0;
    struct memory *memory = section_world_memory(16u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&random, 0, 3000);
    struct spatial_world world, merged;
    struct spatial_builder *builder;
    struct spatial_estimate estimate;
    struct spatial_nearest *nearest;
    struct spatial_nearest_options options = {.wanted = 1, .squared_distance_max = INFINITY};
    const double min[3] = {-INFINITY, -INFINITY, -INFINITY}, max[3] = {INFINITY, INFINITY, INFINITY}, centre[3] = {0};
    spatial_world_begin(&world, memory, false, false);
    spatial_world_begin(&merged, memory, false, false);
    spatial_world_build(&world, &cloud);
    uint64_t used_bytes = memory_used_bytes(memory);
    for (int call = 0; call < 6; call++)
        for (int n = 0, result = MOTE_EBUDGET; result; n++) {
            memory_fail_after(memory, n, true);
            switch (call) {
            case 0: result = spatial_search_box(&world.section, min, max, count_hits, &counted); break;
            case 1: result = spatial_search_radius(&world.section, centre, 1, count_hits, &counted); break;
            case 2: result = spatial_estimate_box(&world.section, min, max, 3, &estimate); break;
            case 3: result = spatial_verify(&world.section, 3000); break;
            case 4:
                result = spatial_builder_create(memory, 3000, &builder);
                if (!result) {
                    result = spatial_builder_finish(builder, &merged.pages.identity, &merged.pages.sink, &merged.pages.root);
                    spatial_builder_destroy(builder);
                }
                break;
            default:
                result = spatial_nearest_create(&world.section, centre, &options, &nearest);
                if (!result)
                    spatial_nearest_destroy(nearest);
                break;
            }
            memory_fail_after(memory, -1, false);
            cr_assert(result == (n < 20 && result ? MOTE_EBUDGET : 0), "call %d, allocation %d: %d", call, n, result);
            cr_assert(result || n > 0, "call %d takes no memory", call);
            cr_assert_eq(memory_used_bytes(memory), used_bytes, "call %d, allocation %d", call, n);
        }
    section_world_end(&world.pages);
    section_world_end(&merged.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}

/* What the header promises of memory: a budget of just that is enough. */
Test(index_spatial, memory_promised_is_enough)
{
    uint64_t random = 5, counted = 0;
    struct spatial_cloud cloud = spatial_cloud_make(&random, 0, 100000);
    struct memory *memory = section_world_memory(32u << 20);
    struct spatial_world world;
    struct spatial_builder *builder;
    uint64_t before_bytes = memory_used_bytes(memory);
    spatial_world_begin(&world, memory, false, false);
    cr_assert_eq(spatial_builder_create(memory, cloud.count, &builder), 0);
    cr_assert_leq(memory_used_bytes(memory) - before_bytes + sizeof(struct spatial_writer), spatial_builder_bytes(cloud.count));
    spatial_builder_destroy(builder);
    spatial_world_build(&world, &cloud);
    struct memory *small = section_world_memory(SPATIAL_SEARCH_BYTES_MAX + 8192);
    world.section.memory = small;
    cr_assert_eq(spatial_search_radius(&world.section, cloud.points[5], 0.1, count_hits, &counted), 0);
    cr_assert_gt(counted, 0);
    memory_destroy(small);
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}
