/* index_spatial_data_test.c: recorded point clouds through the spatial index: every point comes back bit for bit, boxes, balls and nearest rows equal brute force. Prints what a point takes. The clouds lie outside the repository
 * (../shared/data, or where MOTE_TEST_DATA says); a test whose file is not there prints SKIPPED. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blockdev/base/memory.h"
#include "index/spatial.h"
#include "tests/support/codec_check.h"
#include "tests/support/requests.h"
#include "tests/support/spatial_world.h"

TestSuite(index_spatial_data, .timeout = 120);

static bool load_cloud(const char *name, struct spatial_cloud *cloud)
{
    static const char *const roots[] = {MOTE_SOURCE_DIR "/../shared/data", MOTE_SOURCE_DIR "/../../shared/data"};
    const char *folder = getenv("MOTE_TEST_DATA");
    FILE *file = NULL;
    char path[1024];
    for (int i = 0; !file && i < (folder ? 1 : 2); i++) {
        snprintf(path, sizeof path, "%s/points-pcl/%s", folder ? folder : roots[i], name);
        file = fopen(path, "rb");
    }
    if (!file) {
        fprintf(stderr, "SKIPPED: %s is not there\n", path);
        return false;
    }
    fseek(file, 0, SEEK_END);
    *cloud = (struct spatial_cloud){.count = (uint32_t)(ftell(file) / 12)};
    rewind(file);
    cloud->points = malloc(cloud->count * sizeof *cloud->points);
    cloud->ordinals = malloc(cloud->count * sizeof(uint32_t));
    for (uint32_t i = 0; i < cloud->count; i++) {
        float read[3];
        cr_assert_eq(fread(read, sizeof(float), 3, file), 3);
        cloud->ordinals[i] = i;
        for (int axis = 0; axis < 3; axis++)
            cloud->points[i][axis] = (double)read[axis];
    }
    cloud->row_count = cloud->count;
    fclose(file);
    return true;
}

struct found {
    const struct spatial_cloud *cloud;
    uint8_t *seen;
    uint64_t count;
    bool wrong;
};

static int visit(void *context, const struct spatial_hits *hits)
{
    struct found *found = context;
    for (uint32_t i = 0; i < hits->count; i++) {
        uint32_t ordinal = hits->ordinals[i];
        found->wrong |= ordinal >= found->cloud->count || found->seen[ordinal] || memcmp(found->cloud->points[ordinal], hits->points[i], 24) != 0;
        if (found->wrong)
            return 1;
        found->seen[ordinal] = 1;
    }
    found->count += hits->count;
    return 0;
}

static int compare_hits(const void *a, const void *b)
{
    const struct spatial_hit *x = a, *y = b;
    if (x->squared_distance != y->squared_distance)
        return x->squared_distance < y->squared_distance ? -1 : 1;
    return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

static void check_nearest(const struct spatial_world *world, const struct spatial_cloud *cloud, const double centre[3], struct spatial_hit *sorted)
{
    struct spatial_nearest_options options = {.wanted = 100, .squared_distance_max = INFINITY};
    struct spatial_nearest *nearest;
    struct spatial_hit hit;
    for (uint32_t i = 0; i < cloud->count; i++)
        sorted[i] = (struct spatial_hit){spatial_world_square(cloud->points[i], centre), {0}, i};
    qsort(sorted, cloud->count, sizeof *sorted, compare_hits);
    cr_assert_eq(spatial_nearest_create(&world->section, centre, &options, &nearest), 0);
    for (uint32_t i = 0; i < 1000; i++) {
        cr_assert_eq(spatial_nearest_next(nearest, &hit), 1);
        cr_assert(hit.ordinal == sorted[i].ordinal && hit.squared_distance == sorted[i].squared_distance, "number %u", i);
    }
    spatial_nearest_destroy(nearest);
}

static void check_cloud(const char *name)
{
    uint64_t random = requests_seed(name) | 1;
    struct memory *memory = section_world_memory(64u << 20);
    struct spatial_cloud cloud;
    struct spatial_world world;
    static const double least[3] = {-INFINITY, -INFINITY, -INFINITY}, most[3] = {INFINITY, INFINITY, INFINITY};
    if (!load_cloud(name, &cloud)) {
        memory_destroy(memory);
        return;
    }
    spatial_world_begin(&world, memory, false, false);
    spatial_world_build(&world, &cloud);
    printf("%s: %u points, %.2f bytes each\n", name, cloud.count, (double)world.pages.length / cloud.count);
    cr_assert_eq(spatial_verify(&world.section, cloud.count), 0);
    struct found found = {.cloud = &cloud, .seen = calloc(cloud.count, 1)};
    cr_assert_eq(spatial_search_box(&world.section, least, most, visit, &found), 0);
    cr_assert(!found.wrong && found.count == cloud.count);
    for (uint32_t i = 0; i < 30; i++) {
        const double *a = cloud.points[codec_check_random(&random) % cloud.count];
        double min[3], max[3], half = pow(10, -(double)(i % 4)), radius = half / 2;
        uint64_t in_box = 0, in_ball = 0;
        for (int axis = 0; axis < 3; axis++) {
            min[axis] = a[axis] - half;
            max[axis] = a[axis] + half / 2;
        }
        for (uint32_t row = 0; row < cloud.count; row++) {
            const double *p = cloud.points[row];
            in_box += p[0] >= min[0] && p[0] <= max[0] && p[1] >= min[1] && p[1] <= max[1] && p[2] >= min[2] && p[2] <= max[2];
            in_ball += spatial_world_square(p, a) <= radius * radius;
        }
        memset(found.seen, 0, cloud.count);
        found.count = 0;
        cr_assert_eq(spatial_search_box(&world.section, min, max, visit, &found), 0);
        cr_assert(!found.wrong && found.count == in_box);
        memset(found.seen, 0, cloud.count);
        found.count = 0;
        cr_assert_eq(spatial_search_radius(&world.section, a, radius, visit, &found), 0);
        cr_assert(!found.wrong && found.count == in_ball);
    }
    struct spatial_hit *sorted = malloc(cloud.count * sizeof *sorted);
    for (uint32_t i = 0; i < 6; i++)
        check_nearest(&world, &cloud, i % 2 ? cloud.points[codec_check_random(&random) % cloud.count] : (const double[3]){0.1 * i, 0.2, 1}, sorted);
    free(sorted);
    free(found.seen);
    section_world_end(&world.pages);
    spatial_cloud_free(&cloud);
    memory_destroy(memory);
}

Test(index_spatial_data, room_equals_brute_force) { check_cloud("room_scan1.xyz.f32"); }
Test(index_spatial_data, region_equals_brute_force) { check_cloud("region_growing_tutorial.xyz.f32"); }
Test(index_spatial_data, milk_carton_equals_brute_force) { check_cloud("milk_cartoon_all_small_clorox.xyz.f32"); }
