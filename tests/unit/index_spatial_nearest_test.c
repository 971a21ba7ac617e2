/* index_spatial_nearest_test.c: the nearest rows in order, exactly as brute force sorts them by (squared distance, ordinal): all of them, in batches of many sizes, with rows refused, with a limit, with few subtrees allowed to wait. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/errors.h"
#include "blockdev/base/memory.h"
#include "index/spatial_private.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"
#include "tests/support/spatial_world.h"

TestSuite(index_spatial_nearest, .timeout = 120);

static int compare_hits(const void *a, const void *b)
{
    const struct spatial_hit *x = a, *y = b;
    if (x->squared_distance != y->squared_distance)
        return x->squared_distance < y->squared_distance ? -1 : 1;
    return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

static bool accept_some(void *context, uint32_t ordinal, const double point[3])
{
    (void)point;
    return (ordinal * 2654435761u >> 16) % *(const uint32_t *)context == 0;
}

/* The first `rows` of the iterator, against all points sorted. */
static void check_nearest(struct spatial_world *world, const struct spatial_cloud *cloud, const double centre[3], const struct spatial_nearest_options *options, uint32_t rows, uint32_t pending_max, const char *what)
{
    struct spatial_hit *expected = malloc((cloud->count + 1) * sizeof *expected), hit;
    struct spatial_nearest *nearest;
    uint32_t count = 0;
    for (uint32_t i = 0; i < cloud->count; i++) {
        struct spatial_hit made = {spatial_world_square(cloud->points[i], centre), {0}, cloud->ordinals[i]};
        memcpy(made.point, cloud->points[i], 24);
        if (made.squared_distance <= options->squared_distance_max && (!options->accept || options->accept(options->accept_context, made.ordinal, made.point)))
            expected[count++] = made;
    }
    qsort(expected, count, sizeof *expected, compare_hits);
    cr_assert_eq(spatial_nearest_create(&world->section, centre, options, &nearest), 0);
    if (pending_max)
        spatial_nearest_set_pending_max(nearest, pending_max);
    for (uint32_t i = 0; i < rows && i <= count; i++) {
        int result = spatial_nearest_next(nearest, &hit);
        cr_assert_eq(result, i < count, "%s: %d at %u of %u", what, result, i, count);
        if (i < count)
            cr_assert(memcmp(hit.point, expected[i].point, 24) == 0 && hit.ordinal == expected[i].ordinal && hit.squared_distance == expected[i].squared_distance, "%s: number %u of %u is row %u at %g, not %u at %g", what, i, count,
                      hit.ordinal, hit.squared_distance, expected[i].ordinal, expected[i].squared_distance);
    }
    if (rows > count)
        cr_assert_eq(spatial_nearest_next(nearest, &hit), 0);
    cr_assert_eq(world->pages.pinned, 0);
    spatial_nearest_destroy(nearest);
    free(expected);
}

static void check_centres(struct spatial_world *world, const struct spatial_cloud *cloud, uint64_t *random, const char *what)
{
    static const uint32_t wanted[] = {1, 10, 100, 5000};
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t r = codec_check_random(random);
        double centre[3] = {0, 0, 0};
        uint32_t every = 3 + (uint32_t)(r % 30);
        struct spatial_nearest_options options = {.wanted = wanted[i % 4], .squared_distance_max = INFINITY};
        if (cloud->count > 0)
            memcpy(centre, cloud->points[r % cloud->count], sizeof centre);
        if (i % 3 == 1)
            centre[r >> 40 & 1] += (double)(r >> 50) * 0.001;
        if (i == 5)
            centre[2] = r & 1 ? INFINITY : -INFINITY;
        check_nearest(world, cloud, centre, &options, wanted[i % 4], 0, what);
        if (i < 4)
            check_nearest(world, cloud, centre, &options, UINT32_MAX, i == 2 ? 3 : 0, what);
        options.accept = accept_some;
        options.accept_context = &every;
        check_nearest(world, cloud, centre, &options, 30, 0, what);
        if (cloud->count > 0)
            options.squared_distance_max = spatial_world_square(cloud->points[(r >> 20) % cloud->count], centre);
        check_nearest(world, cloud, centre, &options, 200, i % 2 ? 1 : 0, what);
        options.accept = NULL;
        check_nearest(world, cloud, centre, &options, 200, 0, what);
    }
}

Test(index_spatial_nearest, clouds_of_all_shapes_order_equals_brute_force)
{
    uint64_t random = requests_seed("index_spatial_nearest") | 1;
    static const uint32_t counts[] = {0, 1, 2, 142, 143, 1000, 5000, 30000};
    struct memory *memory = section_world_memory(64u << 20);
    uint64_t used_bytes = memory_used_bytes(memory);
    for (uint32_t shape = 0; shape < SPATIAL_SHAPES; shape++)
        for (uint32_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            if (counts[c] > 10000 && shape % 4 > 0)
                continue;
            struct spatial_cloud cloud = spatial_cloud_make(&random, shape, counts[c]);
            struct spatial_world world;
            spatial_world_begin(&world, memory, c % 2, shape % 2);
            spatial_world_build(&world, &cloud);
            check_centres(&world, &cloud, &random, spatial_shape_names[shape]);
            section_world_end(&world.pages);
            spatial_cloud_free(&cloud);
        }
    cr_assert_eq(memory_used_bytes(memory), used_bytes, "memory was not given back");
    memory_destroy(memory);
}

/* All points on a sphere: nothing can be left out, and every leaf waits. */
Test(index_spatial_nearest, sphere_order_equals_brute_force)
{
    uint64_t random = requests_seed("index_spatial_sphere") | 1;
    struct memory *memory = section_world_memory(64u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&random, 0, 60000);
    struct spatial_world world;
    struct spatial_nearest_options options = {.wanted = 10, .squared_distance_max = INFINITY};
    const double centre[3] = {0};
    for (uint32_t i = 0; i < cloud.count; i++) {
        double *point = cloud.points[i], length = 0;
        point[2] -= 505;
        length = sqrt(spatial_world_square(point, centre));
        for (int axis = 0; axis < 3; axis++)
            point[axis] /= length;
    }
    spatial_world_begin(&world, memory, false, true);
    spatial_world_build(&world, &cloud);
    check_nearest(&world, &cloud, centre, &options, 9000, 0, "sphere");
    check_nearest(&world, &cloud, centre, &options, 9000, 20, "sphere, depth first");
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}

Test(index_spatial_nearest, few_wanted_reads_few_pages)
{
    uint64_t random = requests_seed("index_spatial_nearest_reads") | 1;
    struct memory *memory = section_world_memory(64u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&random, 0, 200000);
    struct spatial_world world;
    struct spatial_nearest_options options = {.wanted = 10, .squared_distance_max = INFINITY};
    struct spatial_nearest *nearest;
    struct spatial_hit hit;
    spatial_world_begin(&world, memory, false, false);
    spatial_world_build(&world, &cloud);
    for (uint32_t i = 0; i < 100; i++) {
        cr_assert_eq(spatial_nearest_create(&world.section, cloud.points[i * 1000], &options, &nearest), 0);
        for (uint32_t k = 0; k < 10; k++)
            cr_assert_eq(spatial_nearest_next(nearest, &hit), 1);
        spatial_nearest_destroy(nearest);
    }
    cr_assert_lt(world.pages.reads, 100 * 10, "%llu pages for a hundred searches", (unsigned long long)world.pages.reads);
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}

/* Memory for more runs out between two passes: it goes on with what it has, or says MOTE_EBUDGET. */
Test(index_spatial_nearest, want_of_memory_between_passes_is_no_wrong_answer)
{
    uint64_t random = 5;
    struct memory *memory = section_world_memory(64u << 20);
    struct spatial_cloud cloud = spatial_cloud_make(&random, 0, 60000);
    struct spatial_world world;
    struct spatial_nearest_options options = {.wanted = 4, .squared_distance_max = INFINITY};
    struct spatial_nearest *nearest;
    struct spatial_hit hit;
    double last = -1;
    int result = 1;
    spatial_world_begin(&world, memory, false, false);
    spatial_world_build(&world, &cloud);
    cr_assert_eq(spatial_nearest_create(&world.section, cloud.points[7], &options, &nearest), 0);
    memory_fail_after(memory, 0, true);
    for (uint32_t i = 0; i < 200 && (result = spatial_nearest_next(nearest, &hit)) == 1; i++) {
        cr_assert(hit.squared_distance >= last);
        last = hit.squared_distance;
    }
    memory_fail_after(memory, -1, false);
    cr_assert(result == 1 || result == MOTE_EBUDGET, "%d", result);
    spatial_nearest_destroy(nearest);
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}
